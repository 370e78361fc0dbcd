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

lar_tensor *lar_nn_layer_norm(lar_graph *g, lar_tensor *x, const lar_norm *n, float eps)
{
    return n->w ? lar_node(g, LAR_OPDEF(layer_norm), (lar_tensor *[]){x, n->w, n->b}, 3,
                           &(lar_layer_norm_param){eps})
                : x;
}

lar_tensor *lar_nn_add(lar_graph *g, lar_tensor *a, lar_tensor *b)
{
    return lar_node(g, LAR_OPDEF(add), (lar_tensor *[]){a, b}, 2, NULL);
}

lar_tensor *lar_nn_mul(lar_graph *g, lar_tensor *a, lar_tensor *b)
{
    return lar_node(g, LAR_OPDEF(mul), (lar_tensor *[]){a, b}, 2, NULL);
}

lar_tensor *lar_nn_act(lar_graph *g, lar_tensor *x, int act)
{
    return lar_node(g, LAR_OPDEF(glu), (lar_tensor *[]){x}, 1, &(lar_glu_param){act});
}

lar_tensor *lar_nn_gate(lar_graph *g, lar_tensor *gate, lar_tensor *x, int act)
{
    lar_tensor *y =
        lar_node(g, LAR_OPDEF(glu), (lar_tensor *[]){gate, x}, 2, &(lar_glu_param){act});
    return lar_join0(g, y);
}

lar_tensor *lar_nn_concat(lar_graph *g, lar_tensor *a, lar_tensor *b)
{
    return lar_node(g, LAR_OPDEF(concat), (lar_tensor *[]){a, b}, 2, NULL);
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

lar_tensor *lar_nn_scale(lar_graph *g, lar_tensor *x, float f)
{
    return f == 1 ? x
                  : lar_node(g, LAR_OPDEF(scale), (lar_tensor *[]){x}, 1, &(lar_scale_param){f});
}

/* act(first half) * second half, of what both gave at once. */
static lar_tensor *gated(lar_graph *g, lar_tensor *gu, int64_t n, int act)
{
    const lar_glu_param p = {act};
    return lar_node(g, LAR_OPDEF(glu),
                    (lar_tensor *[]){lar_slice(g, gu, 0, n), lar_slice(g, gu, n, n)}, 2, &p);
}

lar_tensor *lar_nn_ffn(lar_graph *g, const lar_ffn *f, int act, lar_tensor *x)
{
    lar_tensor *h;
    if (f->gate.w) {
        h = lar_nn_linear(g, (const lar_linear *[]){&f->gate, &f->up}, 2, x);
        h = gated(g, h, f->gate.w->dim[1], act);
    } else {
        h = lar_nn_linear(g, (const lar_linear *[]){&f->up}, 1, x);
        h = f->fused ? gated(g, h, f->up.w->dim[1] / 2, act) : lar_nn_act(g, h, act);
    }
    return lar_nn_linear(g, (const lar_linear *[]){&f->down}, 1, h);
}

/* Products with the chosen experts' weights (ids NULL: of each in turn): x [k, T] or [k, n_used,
 * T].
 */
static lar_tensor *experts(lar_graph *g, const lar_linear *const *l, int n, lar_tensor *ids,
                           lar_tensor *x)
{
    lar_tensor *src[6] = {x, ids};
    bool bias = false;
    for (int i = 0; i < n; i++) {
        src[2 + i] = l[i]->w;
        src[2 + n + i] = l[i]->b;
        bias = bias || l[i]->b;
    }
    return lar_node(g, LAR_OPDEF(experts), src, 2 + n + (bias ? n : 0), &(lar_matmul_param){n});
}

lar_tensor *lar_nn_linear_heads(lar_graph *g, const lar_linear *l, lar_tensor *x)
{
    return experts(g, &l, 1, NULL, x);
}

lar_tensor *lar_nn_moe(lar_graph *g, const lar_moe *m, int act, const lar_route_param *route,
                       lar_tensor *x)
{
    lar_tensor *scores = lar_nn_linear(g, (const lar_linear *[]){&m->router}, 1, x);
    lar_tensor *ids = lar_node(g, LAR_OPDEF(route_ids), (lar_tensor *[]){scores, m->rank_bias},
                               m->rank_bias ? 2 : 1, route);
    lar_tensor *weights =
        lar_node(g, LAR_OPDEF(route_weights), (lar_tensor *[]){scores, ids}, 2, route);
    lar_tensor *h = experts(g, (const lar_linear *[]){&m->gate, &m->up}, 2, ids, x);
    h = gated(g, h, m->gate.w->dim[1], act);
    h = experts(g, (const lar_linear *[]){&m->down}, 1, ids, h);
    h = lar_node(g, LAR_OPDEF(experts_sum), (lar_tensor *[]){h, weights}, 2, NULL);
    if (!m->shared.up.w)
        return h;
    lar_tensor *s = lar_nn_ffn(g, &m->shared, act, x);
    if (m->shared_gate.w) {
        lar_tensor *y = lar_nn_linear(g, (const lar_linear *[]){&m->shared_gate}, 1, x);
        y = lar_nn_act(g, y, LAR_ACT_SIGMOID);
        s = lar_node(g, LAR_OPDEF(row_scale), (lar_tensor *[]){s, y}, 2, NULL);
    }
    return lar_nn_add(g, h, s);
}

lar_tensor *lar_nn_attention(const lar_build *b, int l, lar_tensor *q, lar_tensor *k, lar_tensor *v,
                             lar_tensor *sinks, const lar_attention_param *p)
{
    k = lar_node(b->g, LAR_OPDEF(kv_store), (lar_tensor *[]){k, b->cell, b->k[l]}, 3,
                 &(lar_kv_store_param){.keys = true});
    v = v ? lar_node(b->g, LAR_OPDEF(kv_store), (lar_tensor *[]){v, b->cell, b->v[l]}, 3,
                     &(lar_kv_store_param){.keys = false})
          : k;
    return lar_node(b->g, LAR_OPDEF(attention),
                    (lar_tensor *[]){q, k, v, b->pos, b->slot, b->table, sinks, b->last},
                    b->last ? 8
                    : sinks ? 7
                            : 6,
                    p);
}
