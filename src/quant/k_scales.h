/*
 * k_scales.h - the head that Q4_K and Q5_K share: d, dmin, and eight six-bit scales and minima in
 * 12 bytes (their layout is in q4_k.c). Each includes it once, before quant/dot.h. Depends on
 * base/simd.h.
 */
#ifndef LAR_K_SCALES_H
#define LAR_K_SCALES_H
#include "base/simd.h"

typedef struct q_head {
    vf d, m;
    vi s[3]; /* the 12 bytes of scales and minima */
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    vi t[4];
    vi_rows16(p, stride, t);
    h->d = vf_from_f16_low(t[0]);
    h->m = vf_neg(vf_from_f16_low(vi_shr(t[0], 16)));
    h->s[0] = t[1], h->s[1] = t[2], h->s[2] = t[3];
}
LAR_INLINE vi six_bits(const q_head *h, int first, int b, int nibble)
{
    if (b < 4)
        return vi_and(vi_shr(h->s[first], 8 * b), vi_set1(63));
    vi lo = vi_and(vi_shr(h->s[2], 8 * (b - 4) + nibble), vi_set1(15));
    vi hi = vi_and(vi_shr(h->s[first], 8 * (b - 4) + 6), vi_set1(3));
    return vi_or(lo, vi_shl(hi, 4));
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    (void)half;
    return six_bits(h, 0, b, 0);
}
LAR_INLINE vi q_min(const q_head *h, int b, int half)
{
    (void)half;
    return six_bits(h, 1, b, 4);
}

#endif
