/*
 * acts.c - activations quantized per 32, the same for every format, variant and number of columns.
 * Depends on quant/format.h and base/simd.h. The one formula, every step rounded once to F32:
 *
 *     amax = max |x[i]|
 *     d    = amax / 127
 *     id   = amax > 0 and 127 / amax finite ? 127 / amax : 0
 *     q[i] = x[i] * id rounded to the nearest integer, ties to even
 *
 * so |q| <= 127: amax * (127 / amax) is below 127.5 however its two roundings fall. Blocks whose
 * amax is below 3.8e-37 (127 / amax overflows) count as zeros; d is then 0 too. Where x holds a NaN
 * or an infinity, d is infinite, so that no output hides it.
 */
#include "base/simd.h"
#include "quant/kernels.h"

#ifdef LAR_VARIANT_generic
#define ALIGN64_(n) (((size_t)(n) + 63) & ~(size_t)63)

static size_t tile_bytes(int64_t k, int cols)
{
#if defined(__x86_64__)
    if (cols > LAR_ACTS_FEW)
        return sizeof(lar_acts_tile) * (size_t)(k / 32) *
               (((size_t)cols + LAR_ACTS_GROUP - 1) / LAR_ACTS_GROUP);
#endif
    (void)k, (void)cols;
    return 0;
}

size_t lar_acts_bytes(int64_t k, int cols)
{
    size_t n = (size_t)k * (size_t)cols;
    return ALIGN64_(n) + 2 * ALIGN64_(n / 32 * sizeof(float)) + ALIGN64_(n / 16 * sizeof(float)) +
           ALIGN64_(n / 16 * sizeof(int16_t)) + tile_bytes(k, cols);
}

void lar_acts_layout(lar_acts *a, void *mem, int64_t k, int cols)
{
    size_t n = (size_t)k * (size_t)cols;
    uint8_t *p = mem;
    *a = (lar_acts){.k = k, .cols = cols};
    a->q = (int8_t *)p;
    p += ALIGN64_(n);
    a->d = (float *)(void *)p;
    p += ALIGN64_(n / 32 * sizeof(float));
    a->sx = (float *)(void *)p;
    p += ALIGN64_(n / 32 * sizeof(float));
    a->sx16 = (float *)(void *)p;
    p += ALIGN64_(n / 16 * sizeof(float));
    a->s = (int16_t *)(void *)p;
    p += ALIGN64_(n / 16 * sizeof(int16_t));
    if (tile_bytes(k, cols))
        a->tile = (lar_acts_tile *)(void *)p;
}

lar_acts lar_acts_column(const lar_acts *a, int64_t c)
{
    lar_acts r = *a;
    r.cols = (int)(a->cols - c);
    r.tile_first += (int)c;
    if (a->q) {
        r.q += c * a->k;
        r.d += c * (a->k / 32);
        r.sx += c * (a->k / 32);
        r.sx16 += c * (a->k / 16);
        r.s += c * (a->k / 16);
    }
    if (a->x)
        r.x += (size_t)c * a->ldx;
    return r;
}
#endif

extern void LAR_VSYM(lar_acts_quantize)(lar_acts *a, int c0, int c1);

/* |x|, infinity for NaN: a maximum would drop it. */
static inline vf magnitude(vf x)
{
    const vf inf = vf_set1(INFINITY);
    x = vf_abs(x);
    return vf_lt(x, inf, x, inf);
}

/* 16 of them; returns their sum. */
static inline int32_t quantize16(vf x, vf id, int8_t *q)
{
    /* The clamp keeps the conversion defined for NaN and infinity; other values never reach it. */
    vf v = vf_max(vf_min(vf_mul(x, id), vf_set1(127.0f)), vf_set1(-127.0f));
    const vi r = vf_round_i(v);
    vi_store_s8(q, r);
    return vi_hsum(r);
}

#ifdef LAR_VARIANT_amx
/* Column c once more, in the order of tiles. */
static void group_column(lar_acts *a, int c)
{
    const int64_t blocks = a->k / 32;
    const int g = (a->tile_first + c) / LAR_ACTS_GROUP, j = (a->tile_first + c) % LAR_ACTS_GROUP;
    const int end = c == a->cols - 1 ? LAR_ACTS_GROUP : j + 1;
    lar_acts_tile *t = a->tile + g * blocks;
    for (int64_t b = 0, at = c * blocks; b < blocks; b++, at++, t++) {
        memcpy(t->q[j], a->q + 32 * at, 32);
        t->d[j] = a->d[at];
        t->sx[j] = a->sx[at];
        t->sx16[0][j] = a->sx16[2 * at];
        t->sx16[1][j] = a->sx16[2 * at + 1];
        /* No sums are wanted of what is not there, but subnormal numbers would slow them. */
        for (int i = j + 1; i < end; i++)
            t->d[i] = t->sx[i] = t->sx16[0][i] = t->sx16[1][i] = 0;
    }
}
#endif

void LAR_VSYM(lar_acts_quantize)(lar_acts *a, int c0, int c1)
{
    const int64_t blocks = a->k / 32;
    for (int c = c0; c < c1; c++) {
        const float *x = a->x + (size_t)c * a->ldx;
        for (int64_t b = 0; b < blocks; b++, x += 32) {
            const int64_t at = c * blocks + b;
            vf lo = vf_load(x), hi = vf_load(x + 16);
            float amax = vf_hmax(vf_max(magnitude(lo), magnitude(hi)));
            float inv = amax > 0.0f ? 127.0f / amax : 0.0f;
            bool ok = inv <= 3.402823466e38f;
            vf id = vf_set1(ok ? inv : 0.0f);
            const float d = ok ? amax / 127.0f : 0.0f;
            const int32_t s0 = quantize16(lo, id, a->q + 32 * at);
            const int32_t s1 = quantize16(hi, id, a->q + 32 * at + 16);
            a->d[at] = d;
            a->s[2 * at] = (int16_t)s0;
            a->s[2 * at + 1] = (int16_t)s1;
            a->sx[at] = d * (float)(s0 + s1);
            a->sx16[2 * at] = d * (float)s0;
            a->sx16[2 * at + 1] = d * (float)s1;
        }
#ifdef LAR_VARIANT_amx
        if (a->tile)
            group_column(a, c);
#endif
    }
}
