/*
 * k_fit.h - finding scales for the K formats: sixteen groups of weights lie in the lanes, so that
 * each lane searches the scale (and minimum) of its own group. The searches minimise the weighted
 * square error: candidates for the scale of the integers, then the best real scale for them by
 * least squares; the idea and the candidates are ggml's (ggml-quants.c, make_qkx2_quants,
 * make_qx_quants). Without an importance matrix the weights are those that ggml uses. A format's
 * file includes this once. Depends on base/simd.h.
 */
#ifndef LAR_K_FIT_H
#define LAR_K_FIT_H
#include "base/simd.h"
#include "quant/format.h"

enum { K_LANES = 16, K_GROUP = 32, K_SUPER = 256 };

/* One block of 256 as integers: w = d * sc * (q - offset) - dmin * mn. */
typedef struct k_block {
    uint16_t d, dmin; /* F16 */
    int sc[16], mn[16];
    int8_t q[K_SUPER];
} k_block;

typedef struct k_how {
    int group;         /* 16 or 32 weights share a scale */
    int max;           /* largest integer; symmetric: integers are -max .. max - 1 */
    int sc_max;        /* largest integer scale */
    float first, step; /* candidates: max + first + step * i, i = 0 .. steps */
    int steps;
    bool plain; /* without importance: weights |x|, else rms + |x| */
} k_how;

typedef struct k_lanes {
    float x[K_GROUP][K_LANES], w[K_GROUP][K_LANES];
} k_lanes;

/* Sixteen groups (absent ones are zeros) and their weights. */
static inline void k_load(const float *x, const float *importance, int n_groups, const k_how *how,
                          bool square, k_lanes *l)
{
    memset(l, 0, sizeof *l);
    for (int g = 0; g < n_groups; g++, x += how->group) {
        /* Importance is of columns; large weights matter more, small ones still do. */
        const int first = g * how->group / K_SUPER * K_SUPER;
        const float *super = x - (g * how->group - first);
        float sum = 0, all = 0;
        for (int i = 0; i < how->group; i++)
            sum += x[i] * x[i];
        for (int i = 0; importance && i < K_SUPER; i++)
            all += super[i] * super[i];
        const float rms = how->plain ? 0 : __builtin_sqrtf(sum / (float)how->group);
        for (int i = 0; i < how->group; i++) {
            const float v = x[i], a = v < 0 ? -v : v;
            l->x[i][g] = v;
            if (importance)
                l->w[i][g] = importance[g * how->group + i] *
                             __builtin_sqrtf(2 * all / (float)K_SUPER + v * v);
            else
                l->w[i][g] = square ? v * v : rms + a;
        }
    }
}

LAR_INLINE vf k_round(vf x, float lo, float hi)
{
    return vf_from_i(vf_round_i(vf_max(vf_min(x, vf_set1(hi)), vf_set1(lo))));
}

/* a / b, 0 where b is 0. */
LAR_INLINE vf k_ratio(vf a, vf b)
{
    const vf zero = vf_zero();
    const vf safe = vf_lt(zero, vf_abs(b), b, vf_set1(1.0f));
    return vf_lt(zero, vf_abs(b), vf_div(a, safe), zero);
}

/* scale >= 0 and minimum <= 0 of w = scale * q + minimum, q in 0 .. max; returns minus the minimum
 * in *mn, and the lanes' total weight. */
static inline void k_affine_fit(const k_lanes *l, const k_how *how, vf *scale, vf *mn, vf *weight)
{
    const int n = how->group;
    vf lo = vf_zero(), hi = vf_load(l->x[0]), sw = vf_zero(), sx = vf_zero();
    for (int i = 0; i < n; i++) {
        const vf x = vf_load(l->x[i]), w = vf_load(l->w[i]);
        lo = vf_min(lo, x);
        hi = vf_max(hi, x);
        sw = vf_add(sw, w);
        sx = vf_fma(w, x, sx);
    }
    const vf range = vf_sub(hi, lo), zero = vf_zero();
    vf best = vf_set1(INFINITY), bs = zero, bm = zero;
    for (int s = -1; s <= how->steps; s++) {
        const float m = (float)how->max + (s < 0 ? 0 : how->first + how->step * (float)s);
        const vf inv = k_ratio(vf_set1(m), range);
        vf sl = zero, sl2 = zero, sxl = zero, err = zero;
        for (int i = 0; i < n; i++) {
            const vf x = vf_load(l->x[i]), w = vf_load(l->w[i]);
            const vf q = k_round(vf_mul(inv, vf_sub(x, lo)), 0, (float)how->max), wq = vf_mul(w, q);
            sl = vf_add(sl, wq);
            sl2 = vf_fma(wq, q, sl2);
            sxl = vf_fma(wq, x, sxl);
        }
        const vf det = vf_sub(vf_mul(sw, sl2), vf_mul(sl, sl));
        vf a = k_ratio(vf_sub(vf_mul(sw, sxl), vf_mul(sx, sl)), det);
        vf b = k_ratio(vf_sub(vf_mul(sl2, sx), vf_mul(sl, sxl)), det);
        a = vf_lt(zero, b, k_ratio(sxl, sl2), a); /* the minimum cannot be above 0 */
        b = vf_min(b, zero);
        a = vf_max(a, zero);
        for (int i = 0; i < n; i++) {
            const vf x = vf_load(l->x[i]), w = vf_load(l->w[i]);
            const vf q = k_round(vf_mul(inv, vf_sub(x, lo)), 0, (float)how->max);
            const vf d = vf_sub(vf_fma(a, q, b), x);
            err = vf_fma(vf_mul(w, d), d, err);
        }
        bs = vf_lt(err, best, a, bs);
        bm = vf_lt(err, best, b, bm);
        best = vf_min(err, best);
    }
    *scale = bs;
    *mn = vf_neg(bm);
    *weight = sw;
}

/* scale, of either sign, of w = scale * q, q in -max .. max - 1. */
static inline void k_symmetric_fit(const k_lanes *l, const k_how *how, vf *scale, vf *weight)
{
    const int n = how->group;
    const float lo = (float)-how->max, hi = (float)(how->max - 1);
    const vf zero = vf_zero();
    vf far = zero, sw = zero, best = zero, bs = zero;
    for (int i = 0; i < n; i++) {
        const vf x = vf_load(l->x[i]);
        far = vf_lt(vf_abs(far), vf_abs(x), x, far);
        sw = vf_add(sw, vf_load(l->w[i]));
    }
    for (int s = 0; s <= how->steps; s++) {
        const vf inv =
            k_ratio(vf_set1(-((float)how->max + how->first + how->step * (float)s)), far);
        vf sxl = zero, sl2 = zero;
        for (int i = 0; i < n; i++) {
            const vf x = vf_load(l->x[i]), w = vf_load(l->w[i]);
            const vf q = k_round(vf_mul(inv, x), lo, hi), wq = vf_mul(w, q);
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

static inline int k_near(float x, int lo, int hi)
{
    if (x != x)
        return 0;
    x = x < (float)lo ? (float)lo : x > (float)hi ? (float)hi : x;
    return (int)(x + (x < 0 ? -0.5f : 0.5f));
}

/* Integers sc[i] in lo .. hi and one d with d * sc[i] near s[i], weighted; returns d as F16. */
static inline uint16_t k_scales(const float *s, const float *w, int n, int lo, int hi, int *sc)
{
    float far = 0, best = 0, bd = 0;
    for (int i = 0; i < n; i++) {
        const float a = s[i] < 0 ? -s[i] : s[i], b = far < 0 ? -far : far;
        far = a > b ? s[i] : far;
        sc[i] = 0;
    }
    if (far == 0)
        return 0;
    const float top = (float)(lo < 0 ? lo : hi);
    for (int c = -5; c <= 5; c++) {
        const float inv = (top + 0.1f * (float)c * (top < 0 ? -1.0f : 1.0f)) / far;
        float sxl = 0, sl2 = 0;
        for (int i = 0; i < n; i++) {
            const float q = (float)k_near(inv * s[i], lo, hi);
            sxl += w[i] * q * s[i];
            sl2 += w[i] * q * q;
        }
        if (sl2 > 0 && sxl * sxl > best * sl2) {
            best = sxl * sxl / sl2;
            bd = sxl / sl2;
        }
    }
    if (bd == 0)
        bd = far / top;
    if (bd - bd != 0) /* not finite: weights that no block can hold */
        bd = 0;
    const uint16_t h = lar_f32_to_f16(bd);
    const float d = lar_f16_to_f32(h);
    for (int i = 0; i < n; i++)
        sc[i] = d != 0 ? k_near(s[i] / d, lo, hi) : 0;
    return h;
}

/* The integers of one block, by the scales as they are stored. */
static inline void k_integers(const float *x, const k_how *how, int lo, int hi, k_block *b)
{
    const float d = lar_f16_to_f32(b->d), m = lar_f16_to_f32(b->dmin);
    for (int i = 0; i < K_SUPER; i += 16) {
        const int g = i / how->group;
        const float s = d * (float)b->sc[g];
        vf q = vf_add(vf_load(x + i), vf_set1(m * (float)b->mn[g]));
        q = s != 0 ? k_round(vf_div(q, vf_set1(s)), (float)lo, (float)hi) : vf_zero();
        vi_store_s8(b->q + i, vf_round_i(q));
    }
}

static inline void k_affine(const float *x, const float *importance, int n_super, const k_how *how,
                            k_block *out)
{
    const int per = K_SUPER / how->group;
    float scale[K_LANES], mn[K_LANES], weight[K_LANES];
    k_lanes l;
    vf s, m, w;
    k_load(x, importance, n_super * per, how, false, &l);
    k_affine_fit(&l, how, &s, &m, &w);
    vf_store(scale, s);
    vf_store(mn, m);
    vf_store(weight, w);
    for (int i = 0; i < n_super; i++) {
        out[i].d = k_scales(scale + i * per, weight + i * per, per, 0, how->sc_max, out[i].sc);
        out[i].dmin = k_scales(mn + i * per, weight + i * per, per, 0, how->sc_max, out[i].mn);
        k_integers(x + i * K_SUPER, how, 0, how->max, &out[i]);
    }
}

static inline void k_symmetric(const float *x, const float *importance, const k_how *how,
                               k_block *out)
{
    float scale[K_LANES], weight[K_LANES];
    k_lanes l;
    vf s, w;
    k_load(x, importance, K_LANES, how, true, &l);
    k_symmetric_fit(&l, how, &s, &w);
    vf_store(scale, s);
    vf_store(weight, w);
    out->d = k_scales(scale, weight, K_LANES, -how->sc_max - 1, how->sc_max, out->sc);
    out->dmin = 0;
    memset(out->mn, 0, sizeof out->mn);
    k_integers(x, how, -how->max, how->max - 1, out);
}

/* Scale and minimum of block b; Q4_K's and Q5_K's field s (layout: q4_k.c). */
static inline void k_scale_min(const uint8_t *s, int b, int *sc, int *mn)
{
    if (b < 4) {
        *sc = s[b] & 63;
        *mn = s[b + 4] & 63;
    } else {
        *sc = (s[b + 4] & 15) | (s[b - 4] >> 6) << 4;
        *mn = s[b + 4] >> 4 | (s[b] >> 6) << 4;
    }
}

/* Six-bit scales and minima; the reverse of k_scale_min. */
static inline void k_pack_scales(const k_block *k, uint8_t *s)
{
    for (int b = 0; b < 4; b++) {
        s[b] = (uint8_t)(k->sc[b] | k->sc[b + 4] >> 4 << 6);
        s[b + 4] = (uint8_t)(k->mn[b] | k->mn[b + 4] >> 4 << 6);
        s[b + 8] = (uint8_t)((k->sc[b + 4] & 15) | (k->mn[b + 4] & 15) << 4);
    }
}

#endif
