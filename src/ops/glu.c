/*
 * glu.c - gated linear unit: y = act(a) * b. Shazeer, "GLU Variants Improve Transformer", 2020.
 * Sources: a, b of one shape; b may be left out (y = act(a)). LAR_ACT_CLAMPED, of gpt-oss, with
 * c = min(a, 7): y = (c * sigmoid(1.702 c)) * (max(-7, min(b, 7)) + 1).
 */
#include "base/simd.h"
#include "ops/ops.h"

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const int32_t act = LAR_PARAM(lar_glu_param, t)->act;
    if (act < 0 || act >= LAR_N_ACTS)
        return lar_fail(e, LAR_EARG, "glu: unknown activation %d", (int)act);
    return lar_shape_same(t, e);
}

static inline vf silu(vf x)
{
    return vf_mul(x, vf_sigmoid(x));
}

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static inline vf gelu_tanh(vf x)
{
    vf u = vf_mul(vf_set1(0.7978845608f), vf_fma(vf_mul(vf_set1(0.044715f), vf_mul(x, x)), x, x));
    return vf_mul(vf_mul(vf_set1(0.5f), x), vf_add(vf_set1(1.0f), vf_tanh(u)));
}

static inline vf gelu_erf(vf x)
{
    float a[16];
    vf_store(a, x);
    for (int i = 0; i < 16; i++)
        a[i] = (float)(0.5 * (double)a[i] * (1.0 + lar_erf((double)a[i] * 0.70710678118654752440)));
    return vf_load(a);
}

static inline vf relu(vf x)
{
    return vf_max(x, vf_zero());
}

/* What the clamps leave alone, a NaN among it, is the second operand of vf_min and vf_max. */
static inline vf clamped_swish(vf x)
{
    const vf c = vf_min(vf_set1(7.0f), x);
    return vf_mul(c, vf_sigmoid(vf_mul(c, vf_set1(1.702f))));
}

static inline vf clamped_plus1(vf x)
{
    return vf_add(vf_max(vf_set1(-7.0f), vf_min(vf_set1(7.0f), x)), vf_set1(1.0f));
}

static inline vf same(vf x)
{
    return x;
}

/* One row: act and factor are constants where this is used, so that their code is in the loop. */
LAR_INLINE void row(vf (*const act)(vf), vf (*const factor)(vf), const float *a, const float *b,
                    float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const vf v = act(vf_load(a + i));
        vf_store(y + i, b ? vf_mul(v, factor(vf_load(b + i))) : v);
    }
    if (i < n) {
        const int k = (int)(n - i);
        const vf v = act(vf_load_n(a + i, k));
        vf_store_n(y + i, b ? vf_mul(v, factor(vf_load_n(b + i, k))) : v, k);
    }
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    const int64_t n = t->dim[0];
    for (int64_t r = w->begin; r < w->end; r++) {
        const float *a = lar_row(t->src[0], r),
                    *b = t->n_src > 1 && t->src[1] ? lar_row(t->src[1], r) : NULL;
        float *y = lar_row(t, r);
        switch (LAR_PARAM(lar_glu_param, t)->act) {
        case LAR_ACT_SILU:
            row(silu, same, a, b, y, n);
            break;
        case LAR_ACT_GELU_TANH:
            row(gelu_tanh, same, a, b, y, n);
            break;
        case LAR_ACT_GELU_ERF:
            row(gelu_erf, same, a, b, y, n);
            break;
        case LAR_ACT_RELU:
            row(relu, same, a, b, y, n);
            break;
        case LAR_ACT_CLAMPED:
            row(clamped_swish, clamped_plus1, a, b, y, n);
            break;
        default:
            row(vf_sigmoid, same, a, b, y, n);
        }
    }
}

static const lar_case cases[] = {
    {.n_src = 2, .dim = {{50, 3, 1, 1}, {50, 3, 1, 1}}, .no_grad = {true, true}},
    {.n_src = 2, .dim = {{64, 2, 1, 1}, {64, 2, 1, 1}}, .no_grad = {true, true}, .param = {1}},
    {.n_src = 1, .dim = {{19, 2, 1, 1}}, .no_grad = {true}, .param = {2}},
    {.n_src = 1, .dim = {{16, 2, 1, 1}}, .no_grad = {true}, .param = {3}},
    {.n_src = 1, .dim = {{1, 3, 1, 1}}, .no_grad = {true}, .param = {4}},
    {.n_src = 2, .dim = {{37, 2, 1, 1}, {37, 2, 1, 1}}, .no_grad = {true, true}, .param = {5}},
};

LAR_OP(glu, .min_src = 1, .max_src = 2, .param_size = sizeof(lar_glu_param), .shape = shape,
       .units = lar_units_rows, .cpu = cpu, LAR_CASES(cases));
