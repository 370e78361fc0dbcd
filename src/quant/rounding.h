/*
 * rounding.h - what the simple quantizers (from_f32) share. They follow ggml's reference quantizers
 * as the gguf Python package evaluates them. Infinite and NaN weights give some block, never
 * undefined behaviour.
 */
#ifndef LAR_ROUNDING_H
#define LAR_ROUNDING_H
#include "base/base.h"

/* x cut to an integer within 0..max; NaN is 0. */
static inline unsigned lar__trunc_to(double x, int max)
{
    return x >= (double)max ? (unsigned)max : x >= 0.0 ? (unsigned)x : 0u;
}
/* Of 32 values, the first of those farthest from zero. */
static inline float lar__absmax_signed(const float *x)
{
    float best = 0.0f, amax = 0.0f;
    for (int i = 0; i < 32; i++) {
        const float a = x[i] < 0.0f ? -x[i] : x[i];
        if (a > amax)
            amax = a, best = x[i];
    }
    return best;
}
static inline void lar__range(const float *x, float *lo, float *hi)
{
    *lo = *hi = x[0];
    for (int i = 1; i < 32; i++) {
        *lo = x[i] < *lo ? x[i] : *lo;
        *hi = x[i] > *hi ? x[i] : *hi;
    }
}

#endif
