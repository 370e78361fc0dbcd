/*
 * mt_attention.c - attention of a column to a span of others. ops/mt.h.
 *
 * mt_attention: q F32 [d, T]; k F32 [n, d], a row for each feature; v F32 [d, n]; span I32 [2, T]:
 * first and count (>= 1) of the columns of k and v that a column of q sees. Result F32 [d, T].
 * mt_turn: y = x transposed. Source: x F32 [a, b].
 *
 * Numerics, for each head: score = (ascending sum over features of q k) * scale, minus the largest;
 * where the count is a multiple of 4, lar_mt_exp and a sum in 4 lanes, added up in ascending order,
 * else e^x correctly rounded and an ascending sum; p = e / sum; the result is the ascending sum
 * over keys of p v. Every operation is rounded.
 */
#include "ops/mt.h"

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *q = t->src[0], *k = t->src[1], *v = t->src[2], *span = t->src[3];
    const int64_t heads = LAR_PARAM(lar_mt_attention_param, t)->heads;
    if (q->type != LAR_DTYPE(f32) || q->dim[2] * q->dim[3] != 1 || heads < 1 || q->dim[0] % heads)
        return lar_shape_fail(t, 0, "f32 [heads * head_dim, T]", e);
    if (k->type != LAR_DTYPE(f32) || k->dim[1] != q->dim[0] || k->dim[2] * k->dim[3] != 1)
        return lar_shape_fail(t, 1, "f32 [n, heads * head_dim]", e);
    if (v->type != LAR_DTYPE(f32) || v->dim[0] != q->dim[0] || v->dim[1] != k->dim[0])
        return lar_shape_fail(t, 2, "f32 [heads * head_dim, n]", e);
    if (span->type != LAR_DTYPE(i32) || span->dim[0] != 2 || span->dim[1] != q->dim[1])
        return lar_shape_fail(t, 3, "i32 [2, T]", e);
    t->dim[0] = q->dim[0];
    t->dim[1] = q->dim[1];
    return LAR_OK;
}

static int64_t units(const lar_tensor *t, int phase)
{
    (void)phase;
    return t->dim[1] * LAR_PARAM(lar_mt_attention_param, t)->heads;
}

/* One score per key, in whole vectors. */
static size_t worker_floats(const lar_tensor *t)
{
    return (size_t)(t->src[1]->dim[0] + 15) / 16 * 16;
}
static size_t scratch(const lar_tensor *t, int nth)
{
    return worker_floats(t) * sizeof(float) * (size_t)nth;
}

static float scores(const lar_tensor *k, const float *q, int64_t first, int64_t n, int64_t row,
                    int64_t dim, float *s)
{
    const float scale = 1.0f / __builtin_sqrtf((float)dim);
    float max = -INFINITY;
    for (int64_t j = 0; j < n; j += 16) {
        const int m = (int)LAR_MIN(16, n - j);
        vf sum = vf_zero();
        for (int64_t d = 0; d < dim; d++) {
            const float *p = (const float *)lar_row(k, row + d) + first + j;
            sum = vf_add(sum, vf_mul(vf_set1(q[d]), m == 16 ? vf_load(p) : vf_load_n(p, m)));
        }
        vf_store(s + j, vf_mul(sum, vf_set1(scale)));
        for (int i = 0; i < m; i++)
            max = LAR_MAX(max, s[j + i]);
    }
    return max;
}

static void softmax(float *s, int64_t n, float max)
{
    float lane[4] = {0}, sum = 0;
    if (n % 4 == 0) {
        for (int64_t j = 0; j < n; j += 16)
            vf_store(s + j, lar_mt_exp(vf_sub(vf_load(s + j), vf_set1(max))));
        for (int64_t j = 0; j < n; j += 4)
            for (int i = 0; i < 4; i++)
                lane[i] += s[j + i];
        for (int i = 0; i < 4; i++)
            sum += lane[i];
    } else {
        for (int64_t j = 0; j < n; j++)
            sum += s[j] = (float)lar_exp((double)(s[j] - max));
    }
    for (int64_t j = 0; j < n; j += 16)
        vf_store(s + j, vf_div(vf_load(s + j), vf_set1(sum)));
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    const int64_t heads = LAR_PARAM(lar_mt_attention_param, t)->heads, dim = t->dim[0] / heads;
    const lar_tensor *v = t->src[2];
    float *s = (float *)w->scratch + worker_floats(t) * (size_t)w->ith;
    for (int64_t u = w->begin; u < w->end; u++) {
        const int64_t c = u / heads, row = u % heads * dim;
        const int32_t *span = lar_row(t->src[3], c);
        const int64_t first = span[0], n = span[1];
        float *y = (float *)lar_row(t, c) + row;
        softmax(
            s, n,
            scores(t->src[1], (const float *)lar_row(t->src[0], c) + row, first, n, row, dim, s));
        for (int64_t d = 0; d < dim; d += 16) {
            const int m = (int)LAR_MIN(16, dim - d);
            vf sum = vf_zero();
            for (int64_t j = 0; j < n; j++) {
                const float *p = (const float *)lar_row(v, first + j) + row + d;
                sum = vf_add(sum, vf_mul(vf_set1(s[j]), m == 16 ? vf_load(p) : vf_load_n(p, m)));
            }
            vf_store_n(y + d, sum, m);
        }
    }
}

static lar_status turn_shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *x = t->src[0];
    if (x->type != LAR_DTYPE(f32) || x->dim[2] * x->dim[3] != 1)
        return lar_shape_fail(t, 0, "f32 of two dimensions", e);
    t->dim[0] = x->dim[1];
    t->dim[1] = x->dim[0];
    return LAR_OK;
}

static void turn_cpu(const lar_tensor *t, const lar_work *w)
{
    const lar_tensor *x = t->src[0];
    for (int64_t c = 0; c < t->dim[0]; c++) {
        const float *p = lar_row(x, c);
        for (int64_t r = w->begin; r < w->end; r++)
            ((float *)lar_row(t, r))[c] = p[r];
    }
}

static lar_status turn_grad(lar_graph *g, lar_tensor *t, lar_err *e)
{
    return lar_grad_add(g, t->src[0],
                        lar_node(g, LAR_OPDEF(mt_turn), (lar_tensor *[]){t->grad}, 1, NULL), e);
}

#define NONE .no_grad = {true, true, true, true}
static const lar_case cases[] = {
    {.n_src = 4,
     .dim = {{40, 7, 1, 1}, {30, 40, 1, 1}, {40, 30, 1, 1}, {2, 7, 1, 1}},
     .type = {NULL, NULL, NULL, LAR_DTYPE(i32)},
     .ints = {0, 0, 0, 15},
     .param = {2},
     NONE},
    {.n_src = 4,
     .dim = {{64, 9, 1, 1}, {60, 64, 1, 1}, {64, 60, 1, 1}, {2, 9, 1, 1}},
     .type = {NULL, NULL, NULL, LAR_DTYPE(i32)},
     .ints = {0, 0, 0, 30},
     .param = {4},
     NONE},
};
static const lar_case turns[] = {{.n_src = 1, .dim = {{5, 3, 1, 1}}},
                                 {.n_src = 1, .dim = {{1, 1, 1, 1}}}};

LAR_OP(mt_attention, .min_src = 4, .max_src = 4, .param_size = sizeof(lar_mt_attention_param),
       .shape = shape, .units = units, .scratch = scratch, .cpu = cpu, LAR_CASES(cases));
LAR_OP(mt_turn, .min_src = 1, .max_src = 1, .shape = turn_shape, .units = lar_units_rows,
       .cpu = turn_cpu, .grad = turn_grad, LAR_CASES(turns));
