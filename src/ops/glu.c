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

/* erf: x + x P(x^2) for |x| < 1; beyond, 1 - e^Q(|x|) with Q near ln(1 - erf), and 1 from 4 on.
 * Both polynomials interpolate at Chebyshev's nodes; within 1.5e-7. */
static inline vf erf_of(vf x)
{
    const vf a = vf_abs(x), s = vf_mul(x, x), t = vf_min(vf_set1(4.0f), a);
    vf p = vf_set1(7.882497448e-5f);
    p = vf_fma(p, s, vf_set1(-8.018855006e-4f));
    p = vf_fma(p, s, vf_set1(5.189312156e-3f));
    p = vf_fma(p, s, vf_set1(-2.685432881e-2f));
    p = vf_fma(p, s, vf_set1(1.128359735e-1f));
    p = vf_fma(p, s, vf_set1(-3.761262596e-1f));
    p = vf_fma(p, s, vf_set1(1.283791661e-1f));
    p = vf_fma(p, x, x);
    vf q = vf_set1(1.614133339e-06f);
    q = vf_fma(q, t, vf_set1(-4.559211084e-05f));
    q = vf_fma(q, t, vf_set1(0.0005927827442f));
    q = vf_fma(q, t, vf_set1(-0.00474028755f));
    q = vf_fma(q, t, vf_set1(0.02636491507f));
    q = vf_fma(q, t, vf_set1(-0.1099786162f));
    q = vf_fma(q, t, vf_set1(-0.6319366693f));
    q = vf_fma(q, t, vf_set1(-1.130166888f));
    q = vf_fma(q, t, vf_set1(0.0003032836248f));
    q = vf_sub(vf_set1(1.0f), vf_exp_neg(q));
    q = vf_lt(x, vf_zero(), vf_neg(q), q);
    return vf_lt(a, vf_set1(1.0f), p, q);
}

/* 0.5 x (1 + erf(x / sqrt(2))) */
static inline vf gelu_erf(vf x)
{
    const vf e = erf_of(vf_mul(x, vf_set1(0.7071067812f)));
    return vf_mul(vf_mul(vf_set1(0.5f), x), vf_add(vf_set1(1.0f), e));
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
