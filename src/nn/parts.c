/* parts.c - linear, norms, feed-forward, sums. */
#include "nn/nn.h"

lar_tensor *lar_nn_linear(lar_graph *g, const lar_linear *const *l, int n, lar_tensor *x)
{
    lar_tensor *src[9] = {x};
    bool bias = false;
    for (int i = 0; i < n; i++) {
        src[1 + i] = l[i]->w;
        src[1 + n + i] = l[i]->b;
        bias = bias || l[i]->b;
    }
    return lar_node(g, LAR_OPDEF(matmul), src, 1 + n + (bias ? n : 0), &(lar_matmul_param){n});
}

lar_tensor *lar_nn_rms_norm(lar_graph *g, lar_tensor *x, lar_tensor *w, float eps)
{
    return lar_node(g, LAR_OPDEF(rms_norm), (lar_tensor *[]){x, w}, 2, &(lar_rms_norm_param){eps});
}

lar_tensor *lar_nn_add(lar_graph *g, lar_tensor *a, lar_tensor *b)
{
    return lar_node(g, LAR_OPDEF(add), (lar_tensor *[]){a, b}, 2, NULL);
}

lar_tensor *lar_nn_rows(lar_graph *g, lar_tensor *table, lar_tensor *ids, float scale)
{
    return lar_node(g, LAR_OPDEF(get_rows), (lar_tensor *[]){table, ids}, 2,
                    &(lar_get_rows_param){scale});
}

lar_tensor *lar_nn_softcap(lar_graph *g, lar_tensor *x, float cap)
{
    return cap == 0
               ? x
               : lar_node(g, LAR_OPDEF(softcap), (lar_tensor *[]){x}, 1, &(lar_softcap_param){cap});
}

lar_tensor *lar_nn_ffn(lar_graph *g, const lar_ffn *f, int act, lar_tensor *x)
{
    const lar_glu_param p = {act};
    lar_tensor *h;
    if (f->gate.w) {
        const int64_t n = f->gate.w->dim[1];
        lar_tensor *gu = lar_nn_linear(g, (const lar_linear *[]){&f->gate, &f->up}, 2, x);
        h = lar_node(g, LAR_OPDEF(glu),
                     (lar_tensor *[]){lar_slice(g, gu, 0, n), lar_slice(g, gu, n, n)}, 2, &p);
    } else {
        lar_tensor *u = lar_nn_linear(g, (const lar_linear *[]){&f->up}, 1, x);
        h = lar_node(g, LAR_OPDEF(glu), (lar_tensor *[]){u}, 1, &p);
    }
    return lar_nn_linear(g, (const lar_linear *[]){&f->down}, 1, h);
}
