/*
 * iq4_fit.h - what IQ4_NL and IQ4_XS share: the table, and finding scales for it. Candidates put
 * the value farthest from zero on the table's end and on whole steps beside it; the best real scale
 * by least squares (ggml's idea: ggml-quants.c, quantize_row_iq4_nl_impl). Depends on fit32.h.
 */
#ifndef LAR_IQ4_FIT_H
#define LAR_IQ4_FIT_H
#include "quant/fit32.h"

/* values[i], and where values[i] ends: half-way to the next. */
static const float iq4_step[15] = {23, 21, 18, 16, 14, 13, 12, 11, 12, 12, 13, 15, 16, 20, 24};
static const float iq4_end[15] = {-115.5f, -93.5f, -74,   -57,   -42, -28.5f, -16, -4.5f,
                                  7,       19,     31.5f, 45.5f, 61,  79,     101};

/* The table's value nearest to x. */
LAR_INLINE vf iq4_near(vf x)
{
    vf v = vf_set1(-127);
    for (int i = 0; i < 15; i++)
        v = vf_add(v, vf_lt(x, vf_set1(iq4_end[i]), vf_zero(), vf_set1(iq4_step[i])));
    return v;
}

/* Which value it is. */
static inline int iq4_index(float x)
{
    int i = 0;
    while (i < 15 && x >= iq4_end[i])
        i++;
    return i;
}

static inline void iq4_fit(const k_lanes *l, vf *scale, vf *weight)
{
    const vf zero = vf_zero();
    vf far = zero, sw = zero, best = zero, bs = zero;
    for (int i = 0; i < 32; i++) {
        const vf x = vf_load(l->x[i]);
        far = vf_lt(vf_abs(far), vf_abs(x), x, far);
        sw = vf_add(sw, vf_load(l->w[i]));
    }
    for (int s = -7; s <= 7; s++) {
        const vf inv = k_ratio(vf_set1((float)s - 127), far);
        vf sxl = zero, sl2 = zero;
        for (int i = 0; i < 32; i++) {
            const vf x = vf_load(l->x[i]), w = vf_load(l->w[i]);
            const vf q = iq4_near(vf_mul(inv, x)), wq = vf_mul(w, q);
            sxl = vf_fma(wq, x, sxl);
            sl2 = vf_fma(wq, q, sl2);
        }
        const vf a = k_ratio(sxl, sl2), gain = vf_mul(a, sxl);
        bs = vf_lt(best, gain, a, bs);
        best = vf_max(best, gain);
    }
    *scale = bs;
    *weight = sw;
}

/* 32 indexes as 16 bytes: the first half in the low halves. */
static inline void iq4_pack(const float *x, float d, uint8_t *qs)
{
    const float inv = d != 0 ? 1 / d : 0;
    for (int j = 0; j < 16; j++)
        qs[j] = (uint8_t)(iq4_index(x[j] * inv) | iq4_index(x[j + 16] * inv) << 4);
}

#endif
