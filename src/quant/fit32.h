/*
 * fit32.h - quantizing blocks of 32 that stand by themselves with importance: sixteen blocks lie in
 * the lanes and search their scales (k_fit.h). A weight counts importance * sqrt(mean square of its
 * row + its own), as in ggml (ggml-quants.c, quantize_row_q4_0_impl). A format's file includes this
 * once.
 */
#ifndef LAR_FIT32_H
#define LAR_FIT32_H
#include "quant/k_fit.h"

/* w = d * q + m; q in 0 .. max, or for symmetric ones in -max .. max - 1 and m 0. */
typedef struct fit_block {
    uint16_t d, m; /* F16 */
    int8_t q[32];
} fit_block;

static inline float fit_mean_square(const float *x, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum / (float)n;
}

/* square: the mean square of the row, < 0: twice that of each block; without importance: weights
 * x * x. */
static inline void fit_load(const float *x, const float *importance, int blocks, float square,
                            k_lanes *l)
{
    memset(l, 0, sizeof *l);
    for (int b = 0; b < blocks; b++, x += 32) {
        const float more = square < 0 ? 2 * fit_mean_square(x, 32) : square;
        for (int i = 0; i < 32; i++) {
            const float v = x[i];
            l->x[i][b] = v;
            l->w[i][b] =
                importance ? importance[b * 32 + i] * __builtin_sqrtf(more + v * v) : v * v;
        }
    }
}

static inline uint16_t fit_half(float v)
{
    return lar_f32_to_f16(v - v == 0 ? v : 0);
}

/* Up to sixteen blocks. */
static inline void fit32(const float *x, const float *importance, int blocks, float square,
                         const k_how *how, bool affine, fit_block *out)
{
    float scale[K_LANES], low[K_LANES] = {0};
    k_lanes l;
    vf s, m, w;
    fit_load(x, importance, blocks, square, &l);
    if (affine) {
        k_affine_fit(&l, how, &s, &m, &w);
        vf_store(low, vf_neg(m));
    } else {
        k_symmetric_fit(&l, how, &s, &w);
    }
    vf_store(scale, s);
    for (int b = 0; b < blocks; b++) {
        const float lo = affine ? 0 : (float)-how->max;
        const float hi = (float)(affine ? how->max : how->max - 1);
        out[b].d = fit_half(scale[b]);
        out[b].m = fit_half(low[b]);
        const float d = lar_f16_to_f32(out[b].d), min = lar_f16_to_f32(out[b].m);
        for (int i = 0; i < 32; i += 16) {
            vf q = vf_sub(vf_load(x + b * 32 + i), vf_set1(min));
            q = d != 0 ? k_round(vf_div(q, vf_set1(d)), lo, hi) : vf_zero();
            vi_store_s8(out[b].q + i, vf_round_i(q));
        }
    }
}

#endif
