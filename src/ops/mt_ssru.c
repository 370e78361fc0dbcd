/*
 * mt_ssru.c - a step of the simpler simple recurrent unit: f = sigmoid(f), c = f c + (1 - f) w,
 * y = relu(c). Sources: f, w F32 [n, T]; c F32 [n, T], which holds the state and gets the new one.
 * Kim et al., "From Research to Production and Back: Ludicrously Fast Neural Machine Translation",
 * 2019. ops/mt.h; every operation is rounded.
 */
#include "ops/mt.h"

static lar_status shape(lar_tensor *t, lar_err *e)
{
    LAR_TRY(lar_want_f32(t, e));
    for (int i = 1; i < 3; i++)
        if (!lar_same_shape(t->src[i], t->src[0]))
            return lar_shape_fail(t, i, "as source 0", e);
    memcpy(t->dim, t->src[0]->dim, sizeof t->dim);
    return LAR_OK;
}

static void cpu(const lar_tensor *t, const lar_work *wk)
{
    const vf one = vf_set1(1.0f);
    for (int64_t r = wk->begin; r < wk->end; r++) {
        const float *f = lar_row(t->src[0], r), *w = lar_row(t->src[1], r);
        float *c = lar_row(t->src[2], r), *y = lar_row(t, r);
        for (int64_t i = 0; i < t->dim[0]; i += 16) {
            const int k = (int)LAR_MIN(16, t->dim[0] - i);
            const vf ex = lar_mt_exp(vf_load_n(f + i, k)), s = vf_div(ex, vf_add(one, ex));
            const vf n =
                vf_add(vf_mul(s, vf_load_n(c + i, k)), vf_mul(vf_sub(one, s), vf_load_n(w + i, k)));
            vf_store_n(c + i, n, k);
            vf_store_n(y + i, vf_max(n, vf_zero()), k);
        }
    }
}

LAR_OP(mt_ssru, .min_src = 3, .max_src = 3, .shape = shape, .units = lar_units_rows, .cpu = cpu);
