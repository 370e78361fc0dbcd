/*
 * simd.h - sixteen virtual float lanes, whatever the processor has. A kernel is written once with
 * these and compiled once per variant (ops/variants.def); since every primitive is
 * exactly defined by IEEE 754 and every reduction is one fixed tree, all variants give the same
 * bits (docs/NUMERICS.md). Include only from files that are compiled per variant (quant, ops).
 *
 *   vf: 16 floats          vi: 16 int32
 *   vf_load vf_store vf_set1 vf_zero        p need not be aligned
 *   vf_load_n vf_store_n                    the first n (0..16) lanes; lanes past n are +0, or are
 *                                           not written
 *   vf_load_f16 vf_load_bf16 vf_store_f16   (and _n forms of the loads)
 *   vf_add vf_sub vf_mul vf_div vf_sqrt vf_abs vf_neg
 *   vf_fma(a,b,c) = a*b+c rounded once
 *   vf_max(a,b) = a > b ? a : b             vf_min(a,b) = a < b ? a : b
 *   vf_lt(a,b,x,y) = a < b ? x : y          lanewise
 *   vf_round_i(a) -> vi, to nearest even    vf_from_i(vi) -> vf
 *   vf_scale2(a, n) = a * 2^n for n in [-126,127] (by a product with the power of two)
 *   vf_swap2(a)      lanes 2i and 2i + 1 exchanged
 *   vf_hsum: ((l0..7)+(l8..15)) -> 8, then 8+4, 4+2, 2+1: lane j with lane j+half, always
 *   vf_hmax
 *
 * Integers, for blocks of quantized weights: lane r of a vi belongs to row r of sixteen rows that
 * lie `stride` bytes apart, so that scales, minima and sums of sixteen rows are ordinary vectors
 * and no horizontal sum is needed. A lane also holds four bytes, of four neighbours along the row.
 *   vi_load vi_store vi_set1 vi_add vi_sub vi_mul vi_and vi_or vi_shl vi_shr(logical) vi_sra1
 *   vi_sra24
 *   vi_rows4(p, stride)          4 bytes of each of 16 rows
 *   vi_rows16(p, stride, out)    16 bytes of each: out[i] has bytes 4i..4i+3
 *   vi_load_s8(p)                16 signed bytes, a lane each
 *   vi_store_s8(p, a)            lanes within -128..127 as 16 bytes
 *   vi_hsum(a)                   the sum of the lanes
 *   vi_pairs16(sum, w, x)        sum + of each lane's two pairs of neighbours the products of w's
 *                                signed and x's unsigned bytes, each pair's sum cut to sixteen bits
 *   vf_from_f16_low(a)           the F16 in the low half of each lane
 *   vi_lut16(table, index)       each byte (< 16) replaced by table[byte]
 *   vi_gather(table, index)      table[index] of 32 bits in each lane
 *   vi_sub_bytes(a, b)           byte by byte, modulo 256
 *   vi_offset(s, a, b)           a * s[0] + b * s[1] in each lane; a, b constants within int16
 *
 * Products of sixteen rows with one column, exact, four neighbours at a time, |x| <= 127:
 *   vx_load(x)                   four bytes of x, for all rows
 *   vi_planes(w, kind, out)      weights as vp_first and vp_next want them: VI_PLANES(kind)
 *                                vectors. VI_U4, VI_U5, VI_U6: w in 0..15, 0..31, 0..63; VI_S8:
 *                                signed bytes, which then count as VI_S8_BIAS more
 *   vp_first(start, w, x)        begins a sum of up to VI_CHAIN(kind) products,
 *   vp_next(p, w, x)             goes on, and
 *   vp_sum(start, p)             adds it to start; of two planes the second counts sixteenfold
 *   VI_COLS(planes)              columns whose sums the registers hold
 *   VI_S8_AT_ONCE, vi_next_s8(sum, w, x)      where it is: a product of signed bytes, with no bias
 *   VI_TILE_SIGNED               weights may as well be signed (-16..15 where VI_U5), those of
 * VI_S8 are taken as they are: tiles hold true values (quant/dot.h)
 *   VI_PAIRS                     where it is (with VI_TILE_SIGNED and one plane): sums of two
 *                                columns at once, eight neighbours at a time:
 *   vi_pair_zero()               begins them,
 *   vi_pair_next(p, w0, w1, x0, x1)       adds weights w0 and the four neighbours behind, w1,
 *                                times eight bytes of either column, and
 *   vi_pair_sums(p, sum0, sum1)  gives either column's sums
 */
#ifndef LAR_SIMD_H
#define LAR_SIMD_H
#include "base/math.h"
#include <math.h>
#include <string.h>

#if defined(__GNUC__)
#define LAR_INLINE static inline __attribute__((always_inline))
#else
#define LAR_INLINE static inline
#endif
/* Before a loop of constant, small length over registers. In plain C a register is an array:
 * unrolled sixteen times sixteen lanes, one file takes a minute to compile, and three under the
 * sanitizers. Nor would it be right: GCC 12 at -O1 then puts a temporary on the stack over a live
 * variable (GCC bug 90348). */
#if defined(LAR_VARIANT_generic)
#define LAR_UNROLL
#elif defined(__clang__)
#define LAR_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define LAR_UNROLL _Pragma("GCC unroll 16")
#else
#define LAR_UNROLL
#endif

enum { VI_U4, VI_U5, VI_U6, VI_S8 };

/* As the machine has it: every variant but generic is for little-endian processors. */
static inline uint32_t vi_ld32_(const void *p)
{
    uint32_t u;
    memcpy(&u, p, 4);
    return u;
}

/* Which header a variant takes is said by the flags that it is compiled with. */
#if defined(LAR_VARIANT_generic)
#include "base/simd_generic.h"
#elif defined(__AVX512BW__)
#include "base/simd_avx512.h"
#elif defined(__AVX2__)
#include "base/simd_avx2.h"
#elif defined(__ARM_NEON)
#include "base/simd_neon.h"
#endif

/* Name of a symbol that exists once per variant: LAR_VSYM(lar_op_add) -> lar_op_add__avx2. */
#define LAR_CAT_(a, b) a##__##b
#define LAR_CAT(a, b) LAR_CAT_(a, b)
#define LAR_VSYM(name) LAR_CAT(name, LAR_VARIANT)

#ifndef VF_SCALE_EXP /* where there is no instruction for it */
/* a * 2^n for n in [-126, 128] and 0.5 < a < 2, f being n: in two halves, since 2^128 is none. */
static inline vf vf_scale_exp_(vf a, vi n, vf f)
{
    (void)f;
    const vi h = vi_sra1(n);
    return vf_scale2(vf_scale2(a, h), vi_sub(n, h));
}
#endif

/* e^c for c within [-87.33654, 88.72283], or NaN. */
static inline vf vf_exp_(vf c)
{
    vi n = vf_round_i(vf_mul(c, vf_set1(1.44269504088896341f)));
    vf fn = vf_from_i(n);
    vf r = vf_fma(fn, vf_set1(-0.693145751953125f), c);
    r = vf_fma(fn, vf_set1(-1.42860677e-06f), r);
    vf p = vf_set1(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set1(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
    p = vf_add(vf_fma(vf_mul(r, r), p, r), vf_set1(1.0f));
    return vf_scale_exp_(p, n, fn);
}

/* e^x in every lane, within 1 ulp; 0 below -87.33, +inf above 88.72 (no subnormal results). */
static inline vf vf_exp(vf x)
{
    const vf hi = vf_set1(88.72283f), lo = vf_set1(-87.33654f);
    vf p = vf_exp_(vf_max(lo, vf_min(hi, x))); /* in this order a NaN stays one */
    p = vf_lt(x, lo, vf_zero(), p);
    return vf_lt(hi, x, vf_set1(INFINITY), p);
}

/* The same for x <= 0 (or NaN), with less ado. */
static inline vf vf_exp_neg(vf x)
{
    const vf lo = vf_set1(-87.33654f);
    return vf_lt(x, lo, vf_zero(), vf_exp_(vf_max(lo, x)));
}

/* 1 / (1 + e^-x) */
static inline vf vf_sigmoid(vf x)
{
    return vf_div(vf_set1(1.0f), vf_add(vf_set1(1.0f), vf_exp(vf_neg(x))));
}

/* tanh: an odd polynomial for small |x|, (1 - e)/(1 + e) with e = e^-2|x| beyond. */
static inline vf vf_tanh(vf x)
{
    vf a = vf_abs(x), s = vf_mul(x, x);
    vf p = vf_set1(-5.70498872745e-3f);
    p = vf_fma(p, s, vf_set1(2.06390887954e-2f));
    p = vf_fma(p, s, vf_set1(-5.37397155531e-2f));
    p = vf_fma(p, s, vf_set1(1.33314422036e-1f));
    p = vf_fma(p, s, vf_set1(-3.33332819422e-1f));
    p = vf_fma(vf_mul(p, s), x, x);
    vf e = vf_exp(vf_mul(a, vf_set1(-2.0f)));
    vf q = vf_div(vf_sub(vf_set1(1.0f), e), vf_add(vf_set1(1.0f), e));
    q = vf_lt(x, vf_zero(), vf_neg(q), q);
    return vf_lt(a, vf_set1(0.625f), p, q);
}

/* sum of a[i]*b[i] in 16 lanes: lane j takes elements j, j+16, ...; then the fixed tree. */
static inline float vf_dot(const float *a, const float *b, int64_t n)
{
    vf s = vf_zero();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        s = vf_fma(vf_load(a + i), vf_load(b + i), s);
    if (i < n)
        s = vf_fma(vf_load_n(a + i, (int)(n - i)), vf_load_n(b + i, (int)(n - i)), s);
    return vf_hsum(s);
}

#endif
