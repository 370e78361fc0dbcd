/*
 * rms_norm.c - y = x / sqrt(mean(x^2) + eps) [* w], over each row.
 * Sources: x [n, ...]; w [n], optional. Zhang and Sennrich, "Root Mean Square Layer Normalization",
 * 2019.
 */
#include "base/simd.h"
#include "ops/ops.h"

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *x = t->src[0], *w = t->src[1];
    LAR_TRY(lar_want_f32(t, e));
    if (w && (w->dim[0] != x->dim[0] || lar_rows(w) != 1))
        return lar_shape_fail(t, 1, "one weight per element of a row", e);
    memcpy(t->dim, x->dim, sizeof t->dim);
    return LAR_OK;
}

static void cpu(const lar_tensor *t, const lar_work *wk)
{
    const int64_t n = t->dim[0];
    const float eps = LAR_PARAM(lar_rms_norm_param, t)->eps,
                *w = t->src[1] ? t->src[1]->data : NULL;
    for (int64_t r = wk->begin; r < wk->end; r++) {
        const float *x = lar_row(t->src[0], r);
        float *y = lar_row(t, r);
        const float k = 1.0f / __builtin_sqrtf(vf_dot(x, x, n) / (float)n + eps);
        const vf vk = vf_set1(k);
        int64_t i = 0;
        for (; i + 16 <= n; i += 16) {
            const vf v = vf_mul(vf_load(x + i), vk);
            vf_store(y + i, w ? vf_mul(v, vf_load(w + i)) : v);
        }
        for (; i < n; i++)
            y[i] = w ? x[i] * k * w[i] : x[i] * k;
    }
}

/* With k = 1/rms and y = k*x:  dx = k*(dy - y*dot(y,dy)/n). k is recovered per row from x, so the
 * rule needs no saved state and no backward kernel. A weight first scales dy. */
static lar_status grad(lar_graph *g, lar_tensor *t, lar_err *e)
{
    lar_tensor *x = t->src[0], *w = t->src[1], *dy = t->grad;
    const lar_rms_norm_param *p = LAR_PARAM(lar_rms_norm_param, t);
    const float inv_n = 1.0f / (float)t->dim[0];
    if (w && w->wants_grad)
        return lar_fail(e, LAR_EUNSUPPORTED, "rms_norm: no gradient for the weight yet");
    if (w)
        dy = lar_node(g, LAR_OPDEF(mul), (lar_tensor *[]){dy, w}, 2, NULL);
    lar_tensor *y = lar_node(g, LAR_OPDEF(rms_norm), (lar_tensor *[]){x, NULL}, 2, p);
    lar_tensor *c = lar_node(g, LAR_OPDEF(row_dot), (lar_tensor *[]){y, dy}, 2,
                             &(lar_row_dot_param){.mul = -inv_n, .pow = 1});
    lar_tensor *yc = lar_node(g, LAR_OPDEF(row_scale), (lar_tensor *[]){y, c}, 2, NULL);
    lar_tensor *d = lar_node(g, LAR_OPDEF(add), (lar_tensor *[]){dy, yc}, 2, NULL);
    lar_tensor *k = lar_node(g, LAR_OPDEF(row_dot), (lar_tensor *[]){x, x}, 2,
                             &(lar_row_dot_param){.mul = inv_n, .add = p->eps, .pow = -0.5f});
    d = lar_node(g, LAR_OPDEF(row_scale), (lar_tensor *[]){d, k}, 2, NULL);
    return lar_grad_add(g, x, d, e);
}

#define EPS .param = {0xac, 0xc5, 0x27, 0x37} /* 1e-5f */
static const lar_case cases[] = {
    {.n_src = 2, .dim = {{7, 3, 1, 1}, {7, 1, 1, 1}}, .no_grad = {false, true}, EPS},
    {.n_src = 1, .dim = {{64, 2, 2, 1}}, EPS},
    {.n_src = 1, .dim = {{1, 1, 1, 1}}, EPS},
    {.n_src = 2, .dim = {{100, 5, 2, 1}, {100, 1, 1, 1}}, .no_grad = {false, true}, EPS},
};

LAR_OP(rms_norm, .min_src = 1, .max_src = 2, .param_size = sizeof(lar_rms_norm_param),
       .shape = shape, .units = lar_units_rows, .cpu = cpu, .grad = grad, LAR_CASES(cases));
