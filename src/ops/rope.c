/*
 * rope.c - rotary position embedding. Su et al., "RoFormer", 2021.
 * rope_table: sources pos I32 [T], inv_freq F64 [half]; result F32 [2*half, T]: cos then sin of pos
 * * inv_freq (angles in double), times mscale. Once per step; every layer reads it. rope: sources x
 * F32 [head_dim, heads, T], table [n_rot, T]; rotates the first n_rot of each head, copies the
 * rest. neox pairs (i, i + n_rot/2), else (2i, 2i+1).
 */
#include "base/simd.h"
#include "ops/ops.h"

static lar_status table_shape(lar_tensor *t, lar_err *e)
{
    if (t->src[0]->type != LAR_DTYPE(i32) || lar_rows(t->src[0]) != 1)
        return lar_shape_fail(t, 0, "i32 positions [T]", e);
    if (t->src[1]->type != LAR_DTYPE(f64) || lar_rows(t->src[1]) != 1)
        return lar_shape_fail(t, 1, "f64 frequencies [half]", e);
    t->dim[0] = 2 * t->src[1]->dim[0];
    t->dim[1] = t->src[0]->dim[0];
    return LAR_OK;
}

static void table_cpu(const lar_tensor *t, const lar_work *w)
{
    const int64_t half = t->dim[0] / 2;
    const int32_t *pos = t->src[0]->data;
    const double *freq = t->src[1]->data, m = (double)LAR_PARAM(lar_rope_table_param, t)->mscale;
    for (int64_t r = w->begin; r < w->end; r++) {
        float *y = lar_row(t, r);
        for (int64_t i = 0; i < half; i++) {
            const double a = (double)pos[r] * freq[i];
            y[i] = (float)(lar_cos(a) * m);
            y[half + i] = (float)(lar_sin(a) * m);
        }
    }
}

static lar_status rope_shape(lar_tensor *t, lar_err *e)
{
    const lar_rope_param *p = LAR_PARAM(lar_rope_param, t);
    const lar_tensor *x = t->src[0], *tab = t->src[1];
    LAR_TRY(lar_want_f32(t, e));
    if (p->n_rot <= 0 || p->n_rot % 2 || p->n_rot > x->dim[0] || x->dim[3] != 1 ||
        p->n_rot > LAR_MAX_HEAD_DIM)
        return lar_shape_fail(t, 0, "[head_dim >= n_rot <= 1024, heads, T]", e);
    if (tab->dim[0] != p->n_rot || tab->dim[1] != x->dim[2])
        return lar_shape_fail(t, 1, "[n_rot, T]", e);
    memcpy(t->dim, x->dim, sizeof t->dim);
    return LAR_OK;
}

static int64_t rope_units(const lar_tensor *t, int phase)
{
    (void)phase;
    return t->dim[2];
}

/* Pairs (i, i + half). */
static void rotate_halves(const float *x, float *y, const float *c, const float *s, int64_t half)
{
    for (int64_t i = 0; i < half; i += 16) {
        const int n = (int)LAR_MIN(16, half - i);
        const vf a = vf_load_n(x + i, n), b = vf_load_n(x + half + i, n);
        const vf vc = vf_load_n(c + i, n), vs = vf_load_n(s + i, n);
        vf_store_n(y + i, vf_sub(vf_mul(a, vc), vf_mul(b, vs)), n);
        vf_store_n(y + half + i, vf_add(vf_mul(a, vs), vf_mul(b, vc)), n);
    }
}

/* Pairs (2i, 2i + 1): c holds each cosine twice, s each sine negated, then as it is. Since -(b*s)
 * is b*(-s) exactly, these are the same two products and one sum. */
static void rotate_pairs(const float *x, float *y, const float *c, const float *s, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        const int k = (int)LAR_MIN(16, n - i);
        const vf a = vf_load_n(x + i, k);
        vf_store_n(y + i,
                   vf_add(vf_mul(a, vf_load_n(c + i, k)), vf_mul(vf_swap2(a), vf_load_n(s + i, k))),
                   k);
    }
}

static void rope_cpu(const lar_tensor *t, const lar_work *w)
{
    const lar_rope_param *p = LAR_PARAM(lar_rope_param, t);
    const int64_t half = p->n_rot / 2, rest = t->dim[0] - p->n_rot;
    float twice[2][LAR_MAX_HEAD_DIM];
    for (int64_t u = w->begin; u < w->end; u++) {
        const float *c = lar_row(t->src[1], u), *s = c + half;
        for (int64_t i = 0; !p->neox && i < half; i++) {
            twice[0][2 * i] = twice[0][2 * i + 1] = c[i];
            twice[1][2 * i] = -s[i];
            twice[1][2 * i + 1] = s[i];
        }
        for (int64_t r = u * t->dim[1]; r < (u + 1) * t->dim[1]; r++) {
            const float *x = lar_row(t->src[0], r);
            float *y = lar_row(t, r);
            if (p->neox)
                rotate_halves(x, y, c, s, half);
            else
                rotate_pairs(x, y, twice[0], twice[1], p->n_rot);
            if (rest)
                memcpy(y + p->n_rot, x + p->n_rot, (size_t)rest * sizeof *y);
        }
    }
}

static const lar_case tables[] = {
    {.n_src = 2,
     .dim = {{5, 1, 1, 1}, {8, 1, 1, 1}},
     .type = {LAR_DTYPE(i32), LAR_DTYPE(f64)},
     .ints = {4000},
     .param = {0, 0, 0x80, 0x3f},
     .no_grad = {true, true}},
};
static const lar_case ropes[] = {
    {.n_src = 2, .dim = {{16, 3, 5, 1}, {16, 5, 1, 1}}, .param = {16}, .no_grad = {true, true}},
    {.n_src = 2,
     .dim = {{20, 2, 3, 1}, {12, 3, 1, 1}},
     .param = {12, 0, 0, 0, 1},
     .no_grad = {true, true}},
    {.n_src = 2,
     .dim = {{64, 2, 3, 1}, {64, 3, 1, 1}},
     .param = {64, 0, 0, 0, 1},
     .no_grad = {true, true}},
};

LAR_OP(rope_table, .min_src = 2, .max_src = 2, .param_size = sizeof(lar_rope_table_param),
       .shape = table_shape, .units = lar_units_rows, .cpu = table_cpu, LAR_CASES(tables));
LAR_OP(rope, .min_src = 2, .max_src = 2, .param_size = sizeof(lar_rope_param), .shape = rope_shape,
       .units = rope_units, .cpu = rope_cpu, LAR_CASES(ropes));
