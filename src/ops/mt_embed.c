/*
 * mt_embed.c - rows of a table of bytes as numbers, with the signal of their position:
 * y = (w * inv) * scale + signal. Sources: w I8 [n, rows]; signal F32 [n, positions]; ids, pos I32
 * [T]; an id below 0 is a row of zeros. ops/mt.h; every operation is rounded.
 */
#include "ops/mt.h"

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *w = t->src[0], *s = t->src[1];
    if (w->type != LAR_DTYPE(i8) || w->dim[0] % 16)
        return lar_shape_fail(t, 0, "i8 rows of a multiple of 16", e);
    if (s->type != LAR_DTYPE(f32) || s->dim[0] != w->dim[0])
        return lar_shape_fail(t, 1, "f32 rows as long as the table's", e);
    for (int i = 2; i < 4; i++)
        if (t->src[i]->type != LAR_DTYPE(i32) || t->src[i]->dim[0] != t->src[2]->dim[0] ||
            lar_rows(t->src[i]) != 1)
            return lar_shape_fail(t, i, "i32 [T]", e);
    t->dim[0] = w->dim[0];
    t->dim[1] = t->src[2]->dim[0];
    return LAR_OK;
}

static void cpu(const lar_tensor *t, const lar_work *wk)
{
    const lar_mt_embed_param *p = LAR_PARAM(lar_mt_embed_param, t);
    const int32_t *ids = t->src[2]->data, *pos = t->src[3]->data;
    const vf inv = vf_set1(p->inv), scale = vf_set1(p->scale);
    for (int64_t c = wk->begin; c < wk->end; c++) {
        const int8_t *w = ids[c] < 0 ? NULL : lar_row(t->src[0], ids[c]);
        const float *s = lar_row(t->src[1], pos[c]);
        float *y = lar_row(t, c);
        for (int64_t i = 0; i < t->dim[0]; i += 16) {
            const vf x = w ? vf_mul(vf_mul(vf_from_i(vi_load_s8(w + i)), inv), scale) : vf_zero();
            vf_store(y + i, vf_add(x, vf_load(s + i)));
        }
    }
}

static const lar_case cases[] = {
    {.n_src = 4,
     .dim = {{48, 6, 1, 1}, {48, 9, 1, 1}, {5, 1, 1, 1}, {5, 1, 1, 1}},
     .type = {LAR_DTYPE(i8), NULL, LAR_DTYPE(i32), LAR_DTYPE(i32)},
     .ints = {0, 0, 6, 9},
     .param = {0, 0, 0, 0x3d, 0, 0, 0x80, 0x40},
     .no_grad = {true, true, true, true}},
};

LAR_OP(mt_embed, .min_src = 4, .max_src = 4, .param_size = sizeof(lar_mt_embed_param),
       .shape = shape, .units = lar_units_rows, .cpu = cpu, LAR_CASES(cases));
