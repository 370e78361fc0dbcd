/*
 * mt_norm.c - layer norm of a + b: y = s * ((x - mean) / sqrt(var + eps)) + t. ops/mt.h.
 * Sources: a, b F32 [n, T]; s, t F32 [n]. Ba, Kiros and Hinton, "Layer Normalization", 2016.
 *
 * Numerics: both sums of one accumulator, in ascending order; every operation rounded.
 */
#include "ops/mt.h"

enum { AT_ONCE = 8 }; /* columns whose sums run beside each other */

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *x = t->src[0];
    LAR_TRY(lar_want_f32(t, e));
    if (!lar_same_shape(x, t->src[1]))
        return lar_shape_fail(t, 1, "as source 0", e);
    for (int i = 2; i < 4; i++)
        if (t->src[i]->dim[0] != x->dim[0] || lar_rows(t->src[i]) != 1)
            return lar_shape_fail(t, i, "one per element of a row", e);
    memcpy(t->dim, x->dim, sizeof t->dim);
    return LAR_OK;
}

static int64_t units(const lar_tensor *t, int phase)
{
    (void)phase;
    return (lar_rows(t) + AT_ONCE - 1) / AT_ONCE;
}

static void add_rows(const float *a, const float *b, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        const int k = (int)LAR_MIN(16, n - i);
        vf_store_n(y + i, vf_add(vf_load_n(a + i, k), vf_load_n(b + i, k)), k);
    }
}

/* Rows of a + b are in y. */
static void norm(const lar_tensor *t, float *const *y, int rows)
{
    const int64_t n = t->dim[0];
    const float eps = LAR_PARAM(lar_rms_norm_param, t)->eps, *s = t->src[2]->data,
                *b = t->src[3]->data;
    float mean[AT_ONCE] = {0}, var[AT_ONCE] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < rows; r++)
            mean[r] += y[r][i];
    for (int r = 0; r < rows; r++)
        mean[r] /= (float)n;
    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < rows; r++) {
            const float d = y[r][i] - mean[r];
            var[r] += d * d;
        }
    for (int r = 0; r < rows; r++) {
        const vf m = vf_set1(mean[r]), sd = vf_set1(__builtin_sqrtf(var[r] / (float)n + eps));
        for (int64_t i = 0; i < n; i += 16) {
            const int k = (int)LAR_MIN(16, n - i);
            const vf d = vf_div(vf_sub(vf_load_n(y[r] + i, k), m), sd);
            vf_store_n(y[r] + i, vf_add(vf_mul(vf_load_n(s + i, k), d), vf_load_n(b + i, k)), k);
        }
    }
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    for (int64_t u = w->begin; u < w->end; u++) {
        const int rows = (int)LAR_MIN(AT_ONCE, lar_rows(t) - u * AT_ONCE);
        float *y[AT_ONCE];
        for (int r = 0; r < rows; r++) {
            y[r] = lar_row(t, u * AT_ONCE + r);
            add_rows(lar_row(t->src[0], u * AT_ONCE + r), lar_row(t->src[1], u * AT_ONCE + r), y[r],
                     t->dim[0]);
        }
        norm(t, y, rows);
    }
}

#define NONE .no_grad = {true, true, true, true}
static const lar_case cases[] = {
    {.n_src = 4, .dim = {{37, 11, 1, 1}, {37, 11, 1, 1}, {37, 1, 1, 1}, {37, 1, 1, 1}}, NONE},
    {.n_src = 4, .dim = {{64, 1, 1, 1}, {64, 1, 1, 1}, {64, 1, 1, 1}, {64, 1, 1, 1}}, NONE},
};

LAR_OP(mt_norm, .min_src = 4, .max_src = 4, .param_size = sizeof(lar_rms_norm_param),
       .shape = shape, .units = units, .cpu = cpu, LAR_CASES(cases));
