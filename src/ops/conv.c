/*
 * conv.c - short causal convolution over a sequence's tokens, each channel by itself.
 * Sources: x F32 [channels, T]; w F32 [K, channels], the present token's weight last; a state of
 * (K - 1) * channels floats, the last K - 1 inputs, oldest first; slot, turn (ops/state.h). Result
 * F32 [channels, T]; the state's other half gets what the next step reads.
 *
 * Numerics: from +0 by fma, the oldest input first. A unit is sixteen channels.
 */
#include "base/simd.h"
#include "ops/state.h"

enum { LANES = 16, MOST = 8 /* K */ };

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *x = t->src[0], *w = t->src[1];
    if (x->type != LAR_DTYPE(f32) || x->dim[2] * x->dim[3] != 1)
        return lar_shape_fail(t, 0, "f32 [channels, T]", e);
    if (w->type != LAR_DTYPE(f32) || w->dim[0] < 2 || w->dim[0] > MOST || w->dim[1] != x->dim[0])
        return lar_shape_fail(t, 1, "f32 [2 to 8, channels]", e);
    LAR_TRY(lar_state_check(t, 2, (w->dim[0] - 1) * x->dim[0], x->dim[1], e));
    memcpy(t->dim, x->dim, sizeof t->dim);
    return LAR_OK;
}

static int64_t units(const lar_tensor *t, int phase)
{
    (void)phase;
    return (t->dim[0] + LANES - 1) / LANES;
}

/* Channels c to c + n. */
static void channels(const lar_tensor *t, int64_t c, int n)
{
    const lar_tensor *x = t->src[0], *weight = t->src[1], *state = t->src[2];
    const int32_t *slot = t->src[3]->data, *turn = t->src[4]->data;
    const int64_t tokens = t->dim[1], wide = t->dim[0];
    const int k = (int)weight->dim[0], past = k - 1;
    vf w[MOST], in[MOST];
    for (int j = 0; j < k; j++) {
        float one[LANES];
        for (int i = 0; i < n; i++)
            one[i] = ((const float *)lar_row(weight, c + i))[j];
        w[j] = vf_load_n(one, n);
    }
    for (int64_t i = 0, end; i < tokens; i = end) {
        const int32_t s = slot[i];
        const float *from = lar_state_from(state, s, turn[s]);
        float *to = lar_state_to(state, s, turn[s]) + c;
        end = lar_state_span(slot, i, tokens);
        for (int j = 0; j < past; j++)
            in[j] = from ? vf_load_n(from + c + j * wide, n) : vf_zero();
        for (; i < end; i++) {
            vf sum = vf_zero();
            in[past] = vf_load_n((const float *)lar_row(x, i) + c, n);
            for (int j = 0; j < k; j++)
                sum = vf_fma(w[j], in[j], sum);
            vf_store_n((float *)lar_row(t, i) + c, sum, n);
            for (int j = 0; j < past; j++)
                in[j] = in[j + 1];
        }
        for (int j = 0; j < past; j++)
            vf_store_n(to + j * wide, in[j], n);
    }
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    for (int64_t u = w->begin; u < w->end; u++)
        channels(t, u * LANES, (int)LAR_MIN(LANES, t->dim[0] - u * LANES));
}

#define INTS .type = {NULL, NULL, NULL, LAR_DTYPE(i32), LAR_DTYPE(i32)}, .ints = {0, 0, 0, 2, 3}
#define NO_GRAD .no_grad = {true, true, true, true, true}
static const lar_case cases[] = {
    {.n_src = 5,
     .dim = {{37, 9, 1, 1}, {3, 37, 1, 1}, {74, 2, 2, 1}, {9, 1, 1, 1}, {2, 1, 1, 1}},
     INTS,
     NO_GRAD},
    {.n_src = 5,
     .dim = {{64, 6, 1, 1}, {4, 64, 1, 1}, {192, 3, 2, 1}, {6, 1, 1, 1}, {2, 1, 1, 1}},
     INTS,
     NO_GRAD},
    {.n_src = 5,
     .dim = {{1, 1, 1, 1}, {2, 1, 1, 1}, {1, 2, 2, 1}, {1, 1, 1, 1}, {2, 1, 1, 1}},
     INTS,
     NO_GRAD},
};

LAR_OP(conv, .min_src = 5, .max_src = 5, .shape = shape, .units = units, .cpu = cpu,
       LAR_CASES(cases));
