/*
 * get_rows.c - rows of a table by index, as F32, times a scale: token embeddings, and the choice of
 * the columns that reach the head. Sources: table [n, rows] of any format; ids I32 [T]. The caller
 * has checked ids.
 */
#include "base/simd.h"
#include "ops/ops.h"

static lar_status shape(lar_tensor *t, lar_err *e)
{
    if (t->src[1]->type != LAR_DTYPE(i32) || lar_rows(t->src[1]) != 1)
        return lar_shape_fail(t, 1, "i32 ids [T]", e);
    t->dim[0] = t->src[0]->dim[0];
    t->dim[1] = t->src[1]->dim[0];
    return LAR_OK;
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    const lar_kernels *k = w->kernels;
    const lar_format *f = k->formats[lar_dtype_index(t->src[0]->type)];
    const int32_t *id = t->src[1]->data;
    const float s = LAR_PARAM(lar_get_rows_param, t)->scale;
    for (int64_t r = w->begin; r < w->end; r++) {
        float *y = lar_row(t, r);
        f->to_f32((const char *)t->src[0]->data + (size_t)id[r] * t->src[0]->stride[1], y,
                  t->dim[0]);
        if (s != 1.0f)
            for (int64_t i = 0; i < t->dim[0]; i++)
                y[i] *= s;
    }
}

static const lar_case cases[] = {
    {.n_src = 2,
     .dim = {{32, 9, 1, 1}, {5, 1, 1, 1}},
     .type = {NULL, LAR_DTYPE(i32)},
     .ints = {0, 9},
     .param = {0, 0, 0, 0x40},
     .no_grad = {true, true}},
    {.n_src = 2,
     .dim = {{64, 9, 1, 1}, {3, 1, 1, 1}},
     .type = {LAR_DTYPE(q8_0), LAR_DTYPE(i32)},
     .ints = {0, 9},
     .param = {0, 0, 0x80, 0x3f},
     .no_grad = {true, true}},
};

LAR_OP(get_rows, .min_src = 2, .max_src = 2, .param_size = sizeof(lar_get_rows_param),
       .shape = shape, .units = lar_units_rows, .cpu = cpu, LAR_CASES(cases));
