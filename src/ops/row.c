/* row.c - row_dot: s[r] = (mul * dot(a, b) + add)^pow with pow 1 or -1/2;  row_scale: y[r,:] =
 * x[r,:] * s[r]. The pieces of normalisations' gradients. */
#include "base/simd.h"
#include "ops/ops.h"

static lar_status dot_shape(lar_tensor *t, lar_err *e)
{
    const lar_row_dot_param *p = LAR_PARAM(lar_row_dot_param, t);
    LAR_TRY(lar_shape_same(t, e));
    if (p->pow != 1.0f && p->pow != -0.5f)
        return lar_fail(e, LAR_EARG, "row_dot: power %g, want 1 or -0.5", (double)p->pow);
    t->dim[0] = 1;
    return LAR_OK;
}

static void dot_cpu(const lar_tensor *t, const lar_work *w)
{
    const lar_row_dot_param p = *LAR_PARAM(lar_row_dot_param, t);
    for (int64_t r = w->begin; r < w->end; r++) {
        float s = vf_dot(lar_row(t->src[0], r), lar_row(t->src[1], r), t->src[0]->dim[0]);
        s = lar_fma(p.mul, s, p.add);
        *(float *)lar_row(t, r) = p.pow == 1.0f ? s : 1.0f / __builtin_sqrtf(s);
    }
}

static lar_status scale_shape(lar_tensor *t, lar_err *e)
{
    LAR_TRY(lar_want_f32(t, e));
    for (int d = 0; d < LAR_MAX_DIM; d++)
        if (t->src[1]->dim[d] != (d ? t->src[0]->dim[d] : 1))
            return lar_shape_fail(t, 1, "one scale per row of source 0", e);
    memcpy(t->dim, t->src[0]->dim, sizeof t->dim);
    return LAR_OK;
}

static void scale_cpu(const lar_tensor *t, const lar_work *w)
{
    for (int64_t r = w->begin; r < w->end; r++) {
        const float *x = lar_row(t->src[0], r), s = *(const float *)lar_row(t->src[1], r);
        float *y = lar_row(t, r);
        for (int64_t i = 0; i < t->dim[0]; i++)
            y[i] = x[i] * s;
    }
}

static const lar_case dots[] = {
    {.n_src = 2,
     .dim = {{7, 3, 1, 1}, {7, 3, 1, 1}},
     .param = {0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0x80, 0x3f},
     .no_grad = {true, true}}, /* 1 * dot + 2 */
    {.n_src = 2,
     .dim = {{129, 2, 1, 1}, {129, 2, 1, 1}},
     .param = {0, 0, 0, 0, 0, 0, 0x80, 0x40, 0, 0, 0, 0xbf},
     .no_grad = {true, true}}, /* (0 * dot + 4)^-1/2 */
};
static const lar_case scales[] = {
    {.n_src = 2, .dim = {{7, 3, 1, 1}, {1, 3, 1, 1}}, .no_grad = {true, true}},
};

LAR_OP(row_dot, .min_src = 2, .max_src = 2, .param_size = sizeof(lar_row_dot_param),
       .shape = dot_shape, .units = lar_units_rows, .cpu = dot_cpu, LAR_CASES(dots));
LAR_OP(row_scale, .min_src = 2, .max_src = 2, .shape = scale_shape, .units = lar_units_rows,
       .cpu = scale_cpu, LAR_CASES(scales));
