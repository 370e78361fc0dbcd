/*
 * concat.c - y = [a; b], row by row. Sources F32: a [n, heads, T]; b [m, heads, T], or [m, 1, T],
 * which every head of a gets. Result [n + m, heads, T].
 */
#include "base/simd.h"
#include "ops/ops.h"

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *a = t->src[0], *b = t->src[1];
    LAR_TRY(lar_want_f32(t, e));
    if (a->dim[3] != 1)
        return lar_shape_fail(t, 0, "[n, heads, T]", e);
    if ((b->dim[1] != a->dim[1] && b->dim[1] != 1) || b->dim[2] != a->dim[2] || b->dim[3] != 1)
        return lar_shape_fail(t, 1, "[m, heads or 1, T]", e);
    memcpy(t->dim, a->dim, sizeof t->dim);
    t->dim[0] += b->dim[0];
    return LAR_OK;
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    const lar_tensor *a = t->src[0], *b = t->src[1];
    const bool each = b->dim[1] == a->dim[1];
    for (int64_t r = w->begin; r < w->end; r++) {
        float *y = lar_row(t, r);
        memcpy(y, lar_row(a, r), (size_t)a->dim[0] * sizeof *y);
        memcpy(y + a->dim[0], lar_row(b, each ? r : r / a->dim[1]), (size_t)b->dim[0] * sizeof *y);
    }
}

static const lar_case cases[] = {
    {.n_src = 2, .dim = {{17, 3, 5, 1}, {4, 3, 5, 1}}, .no_grad = {true, true}},
    {.n_src = 2, .dim = {{1, 3, 2, 1}, {19, 1, 2, 1}}, .no_grad = {true, true}},
};

LAR_OP(concat, .min_src = 2, .max_src = 2, .shape = shape, .units = lar_units_rows, .cpu = cpu,
       LAR_CASES(cases));
