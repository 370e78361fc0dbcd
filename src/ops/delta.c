/*
 * delta.c - the gated delta rule, a linear attention whose memory is a matrix per head.
 * Yang et al., "Gated Delta Networks", 2024.
 *
 * delta: sources q, k F32 [dk, key heads, T]; v F32 [dv, heads, T]; decay and beta F32 [.., .., T],
 * one for each head; a state of [dv, dk, heads]; slot, turn (ops/state.h). For each token, with
 * the head's matrix S and its key head's q and k:
 *
 *     S = decay S;   d = beta (v - S^T k);   S = S + k d^T;   y = S^T q
 *
 * Result F32 [dv, heads, T]; the state's other half gets S after the last token. Key head of head
 * h: h / (heads / key heads), or h % key heads where `tiled`.
 *
 * Numerics: tokens one by one. Columns of S lie in the lanes; S^T k and S^T q sum over dk by fma in
 * four accumulators, element i in number i mod 4, which begin at +0 and are added as
 * (0 + 2) + (1 + 3). S + k d^T is an fma. A unit is sixteen columns of one head.
 *
 * delta_decay: sources x F32 [a, b, T]; dt, rate F32 [a * b]; e^(rate * ln(1 + e^(x + dt))), in
 * double.
 */
#include "base/simd.h"
#include "ops/state.h"

enum { LANES = 16, SUMS = 4, MOST = 256 /* dk */ };

static bool per_head(const lar_tensor *x, int64_t heads, int64_t n)
{
    return x->dim[0] * x->dim[1] == heads && x->dim[2] == n && x->dim[3] == 1;
}

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *q = t->src[0], *v = t->src[2];
    for (int i = 0; i < 5; i++)
        if (t->src[i]->type != LAR_DTYPE(f32) || t->src[i]->dim[3] != 1)
            return lar_shape_fail(t, i, "f32", e);
    if (q->dim[0] > MOST || !lar_same_shape(q, t->src[1]))
        return lar_shape_fail(t, 0, "[up to 256, key heads, T], the keys' shape", e);
    if (v->dim[1] % q->dim[1] || v->dim[2] != q->dim[2])
        return lar_shape_fail(t, 2, "[dv, a multiple of the key heads, T]", e);
    for (int i = 3; i < 5; i++)
        if (!per_head(t->src[i], v->dim[1], v->dim[2]))
            return lar_shape_fail(t, i, "one for each head and token", e);
    LAR_TRY(lar_state_check(t, 5, v->dim[0] * q->dim[0] * v->dim[1], v->dim[2], e));
    memcpy(t->dim, v->dim, sizeof t->dim);
    return LAR_OK;
}

static int64_t blocks(const lar_tensor *t)
{
    return (t->dim[0] + LANES - 1) / LANES;
}

static int64_t units(const lar_tensor *t, int phase)
{
    (void)phase;
    return blocks(t) * t->dim[1];
}

static float of_head(const lar_tensor *x, int64_t head, int64_t token)
{
    const int64_t row = token * x->dim[1] + head / x->dim[0];
    return ((const float *)lar_row(x, row))[head % x->dim[0]];
}

/* S = decay S; gives S^T k. */
LAR_INLINE vf decay_and_read(vf *s, const float *k, int64_t dk, vf decay)
{
    vf sum[SUMS] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    for (int64_t i = 0; i < dk; i++) {
        s[i] = vf_mul(s[i], decay);
        sum[i % SUMS] = vf_fma(s[i], vf_set1(k[i]), sum[i % SUMS]);
    }
    return vf_add(vf_add(sum[0], sum[2]), vf_add(sum[1], sum[3]));
}

/* S = S + k d^T; gives S^T q. */
LAR_INLINE vf write_and_read(vf *s, const float *k, const float *q, int64_t dk, vf d)
{
    vf sum[SUMS] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    for (int64_t i = 0; i < dk; i++) {
        s[i] = vf_fma(vf_set1(k[i]), d, s[i]);
        sum[i % SUMS] = vf_fma(s[i], vf_set1(q[i]), sum[i % SUMS]);
    }
    return vf_add(vf_add(sum[0], sum[2]), vf_add(sum[1], sum[3]));
}

/* Columns c to c + n of a head. */
static void columns(const lar_tensor *t, int64_t head, int64_t c, int n)
{
    const lar_tensor *q = t->src[0], *k = t->src[1], *v = t->src[2], *state = t->src[5];
    const int32_t *slot = t->src[6]->data, *turn = t->src[7]->data;
    const int64_t tokens = t->dim[2], dk = q->dim[0], dv = t->dim[0], heads = t->dim[1];
    const int64_t key_head =
        LAR_PARAM(lar_delta_param, t)->tiled ? head % q->dim[1] : head / (heads / q->dim[1]);
    const int64_t at = head * dk * dv + c;
    vf s[MOST];
    for (int64_t i = 0, end; i < tokens; i = end) {
        const int32_t seq = slot[i];
        const float *from = lar_state_from(state, seq, turn[seq]);
        float *to = lar_state_to(state, seq, turn[seq]) + at;
        end = lar_state_span(slot, i, tokens);
        for (int64_t j = 0; j < dk; j++)
            s[j] = from ? vf_load_n(from + at + j * dv, n) : vf_zero();
        for (; i < end; i++) {
            const float *kt = lar_row(k, i * k->dim[1] + key_head),
                        *qt = lar_row(q, i * q->dim[1] + key_head);
            const vf vt = vf_load_n((const float *)lar_row(v, i * heads + head) + c, n);
            const vf held = decay_and_read(s, kt, dk, vf_set1(of_head(t->src[3], head, i)));
            const vf d = vf_mul(vf_sub(vt, held), vf_set1(of_head(t->src[4], head, i)));
            vf_store_n((float *)lar_row(t, i * heads + head) + c, write_and_read(s, kt, qt, dk, d),
                       n);
        }
        for (int64_t j = 0; j < dk; j++)
            vf_store_n(to + j * dv, s[j], n);
    }
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    for (int64_t u = w->begin; u < w->end; u++) {
        const int64_t c = u % blocks(t) * LANES;
        columns(t, u / blocks(t), c, (int)LAR_MIN(LANES, t->dim[0] - c));
    }
}

static lar_status decay_shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *x = t->src[0];
    LAR_TRY(lar_want_f32(t, e));
    for (int i = 1; i < 3; i++)
        if (lar_rows(t->src[i]) != 1 || t->src[i]->dim[0] != x->dim[0] * x->dim[1])
            return lar_shape_fail(t, i, "one for each head", e);
    memcpy(t->dim, x->dim, sizeof t->dim);
    return LAR_OK;
}

static double softplus(double x)
{
    return x > 40 ? x : x < -40 ? lar_exp(x) : lar_ln(1 + lar_exp(x));
}

static void decay_cpu(const lar_tensor *t, const lar_work *w)
{
    const float *dt = t->src[1]->data, *rate = t->src[2]->data;
    for (int64_t r = w->begin; r < w->end; r++) {
        const int64_t first = r % t->dim[1] * t->dim[0];
        const float *x = lar_row(t->src[0], r);
        float *y = lar_row(t, r);
        for (int64_t i = 0; i < t->dim[0]; i++)
            y[i] = (float)lar_exp((double)rate[first + i] *
                                  softplus((double)x[i] + (double)dt[first + i]));
    }
}

#define INTS                                                                                       \
    .type = {NULL, NULL, NULL, NULL, NULL, NULL, LAR_DTYPE(i32), LAR_DTYPE(i32)},                  \
    .ints = {0, 0, 0, 0, 0, 0, 2, 3}
#define NO_GRAD .no_grad = {true, true, true, true, true, true, true, true}
static const lar_case cases[] = {
    {.n_src = 8,
     .dim = {{10, 2, 7, 1},
             {10, 2, 7, 1},
             {19, 4, 7, 1},
             {2, 2, 7, 1},
             {4, 1, 7, 1},
             {760, 2, 2, 1},
             {7, 1, 1, 1},
             {2, 1, 1, 1}},
     INTS,
     NO_GRAD},
    {.n_src = 8,
     .dim = {{16, 3, 5, 1},
             {16, 3, 5, 1},
             {32, 6, 5, 1},
             {6, 1, 5, 1},
             {6, 1, 5, 1},
             {3072, 3, 2, 1},
             {5, 1, 1, 1},
             {2, 1, 1, 1}},
     .param = {1},
     INTS,
     NO_GRAD},
    {.n_src = 8,
     .dim = {{1, 1, 1, 1},
             {1, 1, 1, 1},
             {1, 1, 1, 1},
             {1, 1, 1, 1},
             {1, 1, 1, 1},
             {1, 2, 2, 1},
             {1, 1, 1, 1},
             {2, 1, 1, 1}},
     INTS,
     NO_GRAD},
};
static const lar_case decays[] = {
    {.n_src = 3, .dim = {{3, 2, 5, 1}, {6, 1, 1, 1}, {6, 1, 1, 1}}, .no_grad = {true, true, true}},
};

LAR_OP(delta, .min_src = 8, .max_src = 8, .param_size = sizeof(lar_delta_param), .shape = shape,
       .units = units, .cpu = cpu, LAR_CASES(cases));
LAR_OP(delta_decay, .min_src = 3, .max_src = 3, .shape = decay_shape, .units = lar_units_rows,
       .cpu = decay_cpu, LAR_CASES(decays));
