/*
 * layer_norm.c - center: y = x - mean(x); layer_norm: y = (x - mean) / sqrt(var + eps) * w + b;
 * over each row. Sources: x [n, ...]; of layer_norm also w [n] and b [n], both optional. Ba, Kiros
 * and Hinton, "Layer Normalization", 2016.
 */
#include "base/simd.h"
#include "ops/ops.h"

static lar_status norm_shape(lar_tensor *t, lar_err *e)
{
    LAR_TRY(lar_want_f32(t, e));
    for (int i = 1; i < t->n_src; i++) {
        const lar_tensor *w = t->src[i];
        if (w && (w->dim[0] != t->src[0]->dim[0] || lar_rows(w) != 1))
            return lar_shape_fail(t, i, "one number per element of a row", e);
    }
    memcpy(t->dim, t->src[0]->dim, sizeof t->dim);
    return LAR_OK;
}

/* As vf_dot sums: lane j takes elements j, j + 16, ..., then the fixed tree. */
static float sum_of(const float *a, int64_t n)
{
    vf s = vf_zero();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        s = vf_add(s, vf_load(a + i));
    if (i < n)
        s = vf_add(s, vf_load_n(a + i, (int)(n - i)));
    return vf_hsum(s);
}

static void center(const float *x, float *y, int64_t n)
{
    const vf mean = vf_set1(sum_of(x, n) / (float)n);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        vf_store(y + i, vf_sub(vf_load(x + i), mean));
    if (i < n)
        vf_store_n(y + i, vf_sub(vf_load_n(x + i, (int)(n - i)), mean), (int)(n - i));
}

static void center_cpu(const lar_tensor *t, const lar_work *wk)
{
    for (int64_t r = wk->begin; r < wk->end; r++)
        center(lar_row(t->src[0], r), lar_row(t, r), t->dim[0]);
}

static inline vf affine(vf x, const vf *w, const vf *b)
{
    return w && b ? vf_fma(x, *w, *b) : w ? vf_mul(x, *w) : b ? vf_add(x, *b) : x;
}

static void norm_cpu(const lar_tensor *t, const lar_work *wk)
{
    const int64_t n = t->dim[0];
    const float eps = LAR_PARAM(lar_layer_norm_param, t)->eps;
    const float *w = t->n_src > 1 && t->src[1] ? t->src[1]->data : NULL;
    const float *b = t->n_src > 2 && t->src[2] ? t->src[2]->data : NULL;
    for (int64_t r = wk->begin; r < wk->end; r++) {
        float *y = lar_row(t, r);
        center(lar_row(t->src[0], r), y, n);
        const vf k = vf_set1(1.0f / __builtin_sqrtf(vf_dot(y, y, n) / (float)n + eps));
        for (int64_t i = 0; i < n; i += 16) {
            const int m = (int)LAR_MIN(16, n - i);
            const vf x = vf_mul(vf_load_n(y + i, m), k);
            const vf vw = w ? vf_load_n(w + i, m) : x, vb = b ? vf_load_n(b + i, m) : x;
            vf_store_n(y + i, affine(x, w ? &vw : NULL, b ? &vb : NULL), m);
        }
    }
}

static lar_tensor *node1(lar_graph *g, const lar_op *op, lar_tensor *a, const void *param)
{
    return lar_node(g, op, (lar_tensor *[]){a}, 1, param);
}
static lar_tensor *node2(lar_graph *g, const lar_op *op, lar_tensor *a, lar_tensor *b,
                         const void *param)
{
    return lar_node(g, op, (lar_tensor *[]){a, b}, 2, param);
}

/* Taking the mean away is its own transpose. */
static lar_status center_grad(lar_graph *g, lar_tensor *t, lar_err *e)
{
    return lar_grad_add(g, t->src[0], node1(g, LAR_OPDEF(center), t->grad, NULL), e);
}

/* With c = x - mean, k = 1 / sqrt(var + eps) and y = k c:  dx = k center(dy - y dot(y, dy) / n), dy
 * first scaled by a weight. */
static lar_status norm_grad(lar_graph *g, lar_tensor *t, lar_err *e)
{
    const lar_layer_norm_param *p = LAR_PARAM(lar_layer_norm_param, t);
    lar_tensor *x = t->src[0], *dy = t->grad;
    const float inv_n = 1.0f / (float)t->dim[0];
    for (int i = 1; i < t->n_src; i++)
        if (t->src[i] && t->src[i]->wants_grad)
            return lar_fail(e, LAR_EUNSUPPORTED, "layer_norm: no gradient for the weight yet");
    if (t->n_src > 1 && t->src[1])
        dy = node2(g, LAR_OPDEF(mul), dy, t->src[1], NULL);
    lar_tensor *y = node1(g, LAR_OPDEF(layer_norm), x, p),
               *c = node1(g, LAR_OPDEF(center), x, NULL);
    lar_tensor *s =
        node2(g, LAR_OPDEF(row_dot), y, dy, &(lar_row_dot_param){.mul = -inv_n, .pow = 1});
    lar_tensor *d = node2(g, LAR_OPDEF(add), dy, node2(g, LAR_OPDEF(row_scale), y, s, NULL), NULL);
    lar_tensor *k = node2(g, LAR_OPDEF(row_dot), c, c,
                          &(lar_row_dot_param){.mul = inv_n, .add = p->eps, .pow = -0.5f});
    d = node2(g, LAR_OPDEF(row_scale), node1(g, LAR_OPDEF(center), d, NULL), k, NULL);
    return lar_grad_add(g, x, d, e);
}

static const lar_case centers[] = {
    {.n_src = 1, .dim = {{37, 3, 1, 1}}},
    {.n_src = 1, .dim = {{16, 2, 2, 1}}},
    {.n_src = 1, .dim = {{1, 1, 1, 1}}, .no_grad = {true}},
};
#define EPS .param = {0xac, 0xc5, 0x27, 0x37} /* 1e-5f */
static const lar_case norms[] = {
    {.n_src = 3,
     .dim = {{7, 3, 1, 1}, {7, 1, 1, 1}, {7, 1, 1, 1}},
     .no_grad = {false, true, true},
     EPS},
    {.n_src = 2, .dim = {{100, 5, 2, 1}, {100, 1, 1, 1}}, .no_grad = {false, true}, EPS},
    {.n_src = 1, .dim = {{64, 2, 2, 1}}, EPS},
    {.n_src = 1, .dim = {{1, 1, 1, 1}}, .no_grad = {true}, EPS},
};

LAR_OP(center, .min_src = 1, .max_src = 1, .shape = lar_shape_same, .units = lar_units_rows,
       .cpu = center_cpu, .grad = center_grad, LAR_CASES(centers));
LAR_OP(layer_norm, .min_src = 1, .max_src = 3, .param_size = sizeof(lar_layer_norm_param),
       .shape = norm_shape, .units = lar_units_rows, .cpu = norm_cpu, .grad = norm_grad,
       LAR_CASES(norms));
