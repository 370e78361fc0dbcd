/*
 * grid.h - what the formats with codebooks share (IQ1, IQ2, IQ3): the codebooks (grids.c), and how
 * entries of sixteen rows and the signs of their weights become bytes. Depends on base/simd.h.
 */
#ifndef LAR_GRID_H
#define LAR_GRID_H
#include "base/simd.h"

/* Four bits for each weight: the first four weights have the low halves of the bytes, the others
 * the high ones. */
extern const uint32_t lar__grid_iq1[2048];
extern const uint32_t lar__grid_iq2_xxs[256];
extern const uint32_t lar__grid_iq2_xs[512];
extern const uint32_t lar__grid_iq2_s[1024];
/* Four weights, a byte each. */
extern const uint32_t lar__grid_iq3_xxs[256];
extern const uint32_t lar__grid_iq3_s[512];

/* Eight signs, in the low byte of s, to bit 3 of as many halves of bytes, in the order of an entry.
 */
LAR_INLINE vi grid_signs(vi s)
{
    s = vi_and(vi_or(vi_shl(s, 3), vi_shl(s, 17)), vi_set1(0x01980198));
    return vi_and(vi_or(s, vi_shl(s, 7)), vi_set1((int32_t)0x88888888u));
}

/* Bytes of seven signs get the eighth: the number of signs is even. */
LAR_INLINE vi grid_even(vi seven)
{
    static const int8_t odd[16] = {0,    -128, -128, 0,    -128, 0,    0,    -128,
                                   -128, 0,    0,    -128, 0,    -128, -128, 0};
    const vi low = vi_set1(0x0f0f0f0f);
    const vi a = vi_lut16(odd, vi_and(seven, low)),
             b = vi_lut16(odd, vi_and(vi_shr(seven, 4), low));
    return vi_or(seven, vi_sub_bytes(a, b));
}

/* Four times seven signs, the lowest bits, as four bytes. */
LAR_INLINE vi grid_sevens(vi s)
{
    vi r = vi_and(s, vi_set1(0x7f));
    LAR_UNROLL
    for (int i = 1; i < 4; i++)
        r = vi_or(r, vi_and(vi_shl(s, i), vi_set1(0x7f << 8 * i)));
    return r;
}

/* Byte i of each lane. */
LAR_INLINE vi grid_byte(vi a, int i)
{
    return i == 3 ? vi_shr(a, 24) : vi_and(vi_shr(a, 8 * i), vi_set1(255));
}

/* The values that eight halves of bytes choose. */
LAR_INLINE void grid_bytes(const int8_t values[16], vi n, vi w[2])
{
    const vi low = vi_set1(0x0f0f0f0f);
    w[0] = vi_lut16(values, vi_and(n, low));
    w[1] = vi_lut16(values, vi_and(vi_shr(n, 4), low));
}

/* Those of two entries for four weights each, with signs. */
LAR_INLINE void grid_fours(const int8_t values[16], vi a, vi b, vi signs, vi w[2])
{
    const vi sign = vi_set1(0x08080808);
    w[0] = vi_lut16(values, vi_or(a, vi_and(signs, sign)));
    w[1] = vi_lut16(values, vi_or(b, vi_and(vi_shr(signs, 4), sign)));
}

/* The same of one row: eight weights, d times the values less `bias`. */
static inline void grid_weights(const int8_t values[16], int bias, uint32_t entry, unsigned signs,
                                float d, float *dst)
{
    for (int i = 0; i < 8; i++) {
        const unsigned q = entry >> (8 * (i % 4) + 4 * (i / 4)) & 15;
        dst[i] = d * (float)(values[q | (signs >> i & 1) << 3] - bias);
    }
}

static inline unsigned grid_even1(unsigned seven)
{
    unsigned n = seven ^ seven >> 4;
    n ^= n >> 2;
    return seven | ((n ^ n >> 1) & 1) << 7;
}

#endif
