/* elementwise.c - add, mul, scale, softcap: pointwise, F32. add and mul take a second source whose
 * dims are each either equal or 1 (a bias, a weight per channel). */
#include "base/simd.h"
#include "ops/ops.h"

static lar_status shape_broadcast(lar_tensor *t, lar_err *e)
{
    const lar_tensor *a = t->src[0], *b = t->src[1];
    LAR_TRY(lar_want_f32(t, e));
    for (int d = 0; d < LAR_MAX_DIM; d++)
        if (b->dim[d] != a->dim[d] && (d == 0 || b->dim[d] != 1))
            return lar_shape_fail(t, 1, "dims equal to source 0's, or 1 beyond the first", e);
    memcpy(t->dim, a->dim, sizeof t->dim);
    return LAR_OK;
}

/* The row of b that meets row r of t. */
static const float *other_row(const lar_tensor *t, int64_t r)
{
    const lar_tensor *b = t->src[1];
    int64_t i1 = r % t->dim[1], i2 = r / t->dim[1] % t->dim[2], i3 = r / (t->dim[1] * t->dim[2]);
    return (const float *)(const void *)((const char *)b->data +
                                         (b->dim[1] > 1 ? (size_t)i1 * b->stride[1] : 0) +
                                         (b->dim[2] > 1 ? (size_t)i2 * b->stride[2] : 0) +
                                         (b->dim[3] > 1 ? (size_t)i3 * b->stride[3] : 0));
}

static void add_cpu(const lar_tensor *t, const lar_work *w)
{
    const int64_t n = t->dim[0];
    for (int64_t r = w->begin; r < w->end; r++) {
        const float *a = lar_row(t->src[0], r), *b = other_row(t, r);
        float *y = lar_row(t, r);
        int64_t i = 0;
        for (; i + 16 <= n; i += 16)
            vf_store(y + i, vf_add(vf_load(a + i), vf_load(b + i)));
        for (; i < n; i++)
            y[i] = a[i] + b[i];
    }
}

static void mul_cpu(const lar_tensor *t, const lar_work *w)
{
    for (int64_t r = w->begin; r < w->end; r++) {
        const float *a = lar_row(t->src[0], r), *b = other_row(t, r);
        float *y = lar_row(t, r);
        int64_t i = 0;
        for (; i + 16 <= t->dim[0]; i += 16)
            vf_store(y + i, vf_mul(vf_load(a + i), vf_load(b + i)));
        for (; i < t->dim[0]; i++)
            y[i] = a[i] * b[i];
    }
}

static void scale_cpu(const lar_tensor *t, const lar_work *w)
{
    const float s = LAR_PARAM(lar_scale_param, t)->s;
    for (int64_t r = w->begin; r < w->end; r++) {
        const float *a = lar_row(t->src[0], r);
        float *y = lar_row(t, r);
        for (int64_t i = 0; i < t->dim[0]; i++)
            y[i] = a[i] * s;
    }
}

static void softcap_cpu(const lar_tensor *t, const lar_work *w)
{
    const vf cap = vf_set1(LAR_PARAM(lar_softcap_param, t)->cap);
    for (int64_t r = w->begin; r < w->end; r++) {
        const float *a = lar_row(t->src[0], r);
        float *y = lar_row(t, r);
        for (int64_t i = 0; i < t->dim[0]; i += 16) {
            const int n = (int)LAR_MIN(16, t->dim[0] - i);
            vf_store_n(y + i, vf_mul(cap, vf_tanh(vf_div(vf_load_n(a + i, n), cap))), n);
        }
    }
}

static lar_status no_broadcast(const lar_tensor *t, lar_err *e)
{
    if (!lar_same_shape(t->src[0], t->src[1]) && t->src[1]->wants_grad)
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: no gradient for a broadcast source", t->op->name);
    return LAR_OK;
}

static lar_status add_grad(lar_graph *g, lar_tensor *t, lar_err *e)
{
    LAR_TRY(no_broadcast(t, e));
    LAR_TRY(lar_grad_add(g, t->src[0], t->grad, e));
    return lar_grad_add(g, t->src[1], t->grad, e);
}

static lar_status mul_grad(lar_graph *g, lar_tensor *t, lar_err *e)
{
    LAR_TRY(no_broadcast(t, e));
    for (int i = 0; i < 2; i++)
        if (t->src[i]->wants_grad) {
            lar_tensor *d =
                lar_node(g, LAR_OPDEF(mul), (lar_tensor *[]){t->grad, t->src[1 - i]}, 2, NULL);
            LAR_TRY(lar_grad_add(g, t->src[i], d, e));
        }
    return LAR_OK;
}

static lar_status scale_grad(lar_graph *g, lar_tensor *t, lar_err *e)
{
    lar_tensor *d = lar_node(g, LAR_OPDEF(scale), (lar_tensor *[]){t->grad}, 1, t->param);
    return lar_grad_add(g, t->src[0], d, e);
}

static const lar_case two[] = {
    {.n_src = 2, .dim = {{5, 3, 2, 1}, {5, 3, 2, 1}}},
    {.n_src = 2, .dim = {{1, 1, 1, 1}, {1, 1, 1, 1}}},
    {.n_src = 2, .dim = {{67, 4, 1, 1}, {67, 1, 1, 1}}, .no_grad = {false, true}},
};
static const lar_case one[] = {
    {.n_src = 1, .dim = {{5, 3, 1, 1}}, .param = {0, 0, 0x20, 0xc0}}, /* -2.5f */
    {.n_src = 1, .dim = {{33, 2, 2, 1}}, .param = {0, 0, 0x20, 0x40}},
};
static const lar_case caps[] = {
    {.n_src = 1, .dim = {{50, 3, 1, 1}}, .param = {0, 0, 0x20, 0x40}, .no_grad = {true}},
};

LAR_OP(add, .min_src = 2, .max_src = 2, .shape = shape_broadcast, .units = lar_units_rows,
       .cpu = add_cpu, .grad = add_grad, LAR_CASES(two));
LAR_OP(mul, .min_src = 2, .max_src = 2, .shape = shape_broadcast, .units = lar_units_rows,
       .cpu = mul_cpu, .grad = mul_grad, LAR_CASES(two));
LAR_OP(scale, .min_src = 1, .max_src = 1, .param_size = sizeof(lar_scale_param),
       .shape = lar_shape_same, .units = lar_units_rows, .cpu = scale_cpu, .grad = scale_grad,
       LAR_CASES(one));
LAR_OP(softcap, .min_src = 1, .max_src = 1, .param_size = sizeof(lar_softcap_param),
       .shape = lar_shape_same, .units = lar_units_rows, .cpu = softcap_cpu, LAR_CASES(caps));
