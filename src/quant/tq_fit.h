/*
 * tq_fit.h - choosing -1, 0 or 1 for the ternary formats: 256 weights with one scale. What is
 * ternary already stays so exactly; else the scales tried lead to the least weighted square error.
 * A format's file includes this once. Depends on base/simd.h.
 */
#ifndef LAR_TQ_FIT_H
#define LAR_TQ_FIT_H
#include "base/simd.h"

enum { TQ_SUPER = 256, TQ_TRIES = 24 };

/* q = 0, 1, 2; returns the scale as F16. */
static inline uint16_t tq_fit(const float *x, const float *importance, uint8_t *q)
{
    float far = 0, best = 0, scale = 0;
    for (int i = 0; i < TQ_SUPER; i++) {
        const float a = x[i] < 0 ? -x[i] : x[i];
        far = a > far ? a : far;
    }
    for (int t = 0; t < TQ_TRIES; t++) {
        const vf end = vf_set1(far * 0.5f * (1.0f - (float)t * (1.0f / TQ_TRIES))),
                 zero = vf_zero();
        vf sx = zero, sw = zero;
        for (int i = 0; i < TQ_SUPER; i += 16) {
            const vf a = vf_abs(vf_load(x + i));
            const vf all = importance ? vf_load(importance + i) : vf_set1(1.0f);
            const vf w = vf_lt(a, end, zero, all);
            sx = vf_fma(w, a, sx);
            sw = vf_add(w, sw);
        }
        const float x1 = vf_hsum(sx), w1 = vf_hsum(sw);
        if (w1 > 0 && x1 * x1 > best * w1) {
            best = x1 * x1 / w1;
            scale = x1 / w1;
        }
    }
    const uint16_t h = lar_f32_to_f16(scale - scale == 0 ? scale : 0);
    const float end = 0.5f * lar_f16_to_f32(h);
    for (int i = 0; i < TQ_SUPER; i++)
        q[i] = (uint8_t)(end > 0 && x[i] >= end ? 2 : end > 0 && x[i] <= -end ? 0 : 1);
    return h;
}

#endif
