/*
 * state.h - what a layer remembers of a sequence beside keys and values: a state of fixed size, in
 * two halves. Depends on tensor.
 *
 * A step reads the half that `turn` names for the sequence's slot and writes the other, so that a
 * step that is given up leaves the sequence as it was. State tensor: F32 [floats, halves (and what
 * the engine keeps behind them), slots]; slot I32 [T], of each token: neighbours of the same slot
 * are one sequence's, in order; turn I32 [slots]: 0 or 1, or LAR_STATE_FRESH: zeros are read, half
 * 0 is written.
 */
#ifndef LAR_STATE_H
#define LAR_STATE_H
#include "ops/ops.h"

/* The sources from `first` on are a state of so many floats, slot and turn. */
static inline lar_status lar_state_check(const lar_tensor *t, int first, int64_t floats, int64_t n,
                                         lar_err *e)
{
    const lar_tensor *state = t->src[first], *slot = t->src[first + 1], *turn = t->src[first + 2];
    if (state->type != LAR_DTYPE(f32) || state->dim[0] != floats || state->dim[1] < 2)
        return lar_shape_fail(t, first, "a state, f32 [floats, 2 or more, slots]", e);
    if (slot->type != LAR_DTYPE(i32) || slot->dim[0] != n)
        return lar_shape_fail(t, first + 1, "i32 [T]", e);
    if (turn->type != LAR_DTYPE(i32) || turn->dim[0] != state->dim[2])
        return lar_shape_fail(t, first + 2, "i32 [slots]", e);
    return LAR_OK;
}

/* Of the tokens from `i` on, those of one sequence end before ... */
static inline int64_t lar_state_span(const int32_t *slot, int64_t i, int64_t n)
{
    int64_t end = i + 1;
    while (end < n && slot[end] == slot[i])
        end++;
    return end;
}

/* NULL: zeros. */
static inline const float *lar_state_from(const lar_tensor *state, int32_t slot, int32_t turn)
{
    return turn == LAR_STATE_FRESH
               ? NULL
               : (const float *)lar_row(state, (int64_t)slot * state->dim[1] + turn);
}
static inline float *lar_state_to(const lar_tensor *state, int32_t slot, int32_t turn)
{
    return lar_row(state, (int64_t)slot * state->dim[1] + (turn == 0));
}

#endif
