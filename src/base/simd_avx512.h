/*
 * simd_avx512.h - sixteen lanes in one 512-bit register (AVX-512 F, BW, VL, DQ; VNNI where the
 * variant has it). The meaning of every primitive is simd_generic.h's; Intel's min and max return
 * the second operand where neither is greater, which is what the definition says.
 */
#ifndef LAR_SIMD_AVX512_H
#define LAR_SIMD_AVX512_H
#include <immintrin.h>

typedef __m512 vf;
typedef __m512i vi;

static inline __mmask16 vf_mask_(int n)
{
    return (__mmask16)((1u << n) - 1u);
}
static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void vf_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}
static inline vf vf_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(vf_mask_(n), p);
}
static inline void vf_store_n(float *p, vf a, int n)
{
    _mm512_mask_storeu_ps(p, vf_mask_(n), a);
}
static inline vf vf_set1(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf vf_zero(void)
{
    return _mm512_setzero_ps();
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline vf vf_load_f16_n(const uint16_t *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(vf_mask_(n), p));
}
static inline vf vf_bf16_(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    return vf_bf16_(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline vf vf_load_bf16_n(const uint16_t *p, int n)
{
    return vf_bf16_(_mm256_maskz_loadu_epi16(vf_mask_(n), p));
}
static inline void vf_store_f16(uint16_t *p, vf a)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
static inline vf vf_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
static inline vf vf_abs(vf a)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a);
}
static inline vf vf_neg(vf a)
{
    return _mm512_xor_ps(_mm512_set1_ps(-0.0f), a);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static inline vf vf_lt(vf a, vf b, vf x, vf y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
static inline vi vf_round_i(vf a)
{
    return _mm512_cvtps_epi32(a);
}
static inline vf vf_from_i(vi a)
{
    return _mm512_cvtepi32_ps(a);
}
static inline vi vi_sra1(vi a)
{
    return _mm512_srai_epi32(a, 1);
}
static inline vi vi_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}
static inline vf vf_scale2(vf a, vi n)
{
    __m512i e = _mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23);
    return _mm512_mul_ps(a, _mm512_castsi512_ps(e));
}
/* a * 2^n, f being n: exact where the two halves of the definition are (0.5 < a < 2, n within
 * [-126, 128]; e^x is finite up to there). */
#define VF_SCALE_EXP 1
static inline vf vf_scale_exp_(vf a, vi n, vf f)
{
    (void)n;
    return _mm512_scalef_ps(a, f);
}
static inline vf vf_swap2(vf a)
{
    return _mm512_permute_ps(a, 0xb1);
}
static inline float vf_hsum(vf a)
{
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
static inline float vf_hmax(vf a)
{
    __m256 b = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* ---- integers: sixteen rows in the lanes -------------------------------------------------------
 */

static inline vi vi_load(const int32_t *p)
{
    return _mm512_loadu_si512(p);
}
static inline void vi_store(int32_t *p, vi a)
{
    _mm512_storeu_si512(p, a);
}
static inline vi vi_load_s8(const int8_t *p)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline void vi_store_s8(int8_t *p, vi a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(a));
}
static inline int32_t vi_hsum(vi a)
{
    __m256i b = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
    __m128i c = _mm_add_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
    c = _mm_add_epi32(c, _mm_shuffle_epi32(c, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(c, _mm_shuffle_epi32(c, 0xb1)));
}
static inline vi vi_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}
static inline vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}
static inline vi vi_pairs16(vi sum, vi w, vi x)
{
    return _mm512_add_epi32(sum,
                            _mm512_madd_epi16(_mm512_maddubs_epi16(x, w), _mm512_set1_epi16(1)));
}
static inline vi vi_mul(vi a, vi b)
{
    return _mm512_mullo_epi32(a, b);
}
static inline vi vi_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}
static inline vi vi_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}
static inline vi vi_shl(vi a, int n)
{
    return _mm512_slli_epi32(a, (unsigned)n);
}
static inline vi vi_shr(vi a, int n)
{
    return _mm512_srli_epi32(a, (unsigned)n);
}
static inline vi vi_sra24(vi a)
{
    return _mm512_srai_epi32(a, 24);
}
static inline vi vi_rows4(const uint8_t *p, size_t stride)
{
#define R_(i) (int)vi_ld32_(p + (i)*stride)
    return _mm512_setr_epi32(R_(0), R_(1), R_(2), R_(3), R_(4), R_(5), R_(6), R_(7), R_(8), R_(9),
                             R_(10), R_(11), R_(12), R_(13), R_(14), R_(15));
#undef R_
}
/* Rows r, r+4, r+8, r+12 in the four 128-bit parts. */
static inline __m512i vi_4rows_(const uint8_t *p, size_t stride)
{
#define R_(i) _mm_loadu_si128((const __m128i *)(const void *)(p + (i)*stride))
    __m512i a = _mm512_inserti32x4(_mm512_castsi128_si512(R_(0)), R_(4), 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(a, R_(8), 2), R_(12), 3);
#undef R_
}
static inline void vi_rows16(const uint8_t *p, size_t stride, vi out[4])
{
    __m512i a = vi_4rows_(p, stride), b = vi_4rows_(p + stride, stride);
    __m512i c = vi_4rows_(p + 2 * stride, stride), d = vi_4rows_(p + 3 * stride, stride);
    __m512i ab0 = _mm512_unpacklo_epi32(a, b), ab1 = _mm512_unpackhi_epi32(a, b);
    __m512i cd0 = _mm512_unpacklo_epi32(c, d), cd1 = _mm512_unpackhi_epi32(c, d);
    out[0] = _mm512_unpacklo_epi64(ab0, cd0);
    out[1] = _mm512_unpackhi_epi64(ab0, cd0);
    out[2] = _mm512_unpacklo_epi64(ab1, cd1);
    out[3] = _mm512_unpackhi_epi64(ab1, cd1);
}
static inline vf vf_from_f16_low(vi a)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a));
}
static inline vi vi_lut16(const int8_t table[16], vi index)
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), index);
}
static inline vi vi_gather(const uint32_t *table, vi index)
{
    return _mm512_i32gather_epi32(index, table, 4);
}
/* Both ways of multiplying take unsigned weights: signed ones count as 128 more, and the caller
 * subtracts 128 times the sum of x. */
#define VI_S8_BIAS 128
#define VI_TILE_SIGNED 0
#define VI_COLS(planes) 8
typedef vi vx, vp;
static inline vi vi_sub_bytes(vi a, vi b)
{
    return _mm512_sub_epi8(a, b);
}
static inline vi vi_offset(const int16_t s[2], int a, int b)
{
    return _mm512_madd_epi16(_mm512_set1_epi32((int)vi_ld32_(s)),
                             _mm512_set1_epi32((a & 0xffff) | (int)((unsigned)b << 16)));
}
static inline vx vx_load(const int8_t *p)
{
    return _mm512_set1_epi32((int)vi_ld32_(p));
}
#ifdef __AVX512VNNI__
#define VI_PLANES(kind) 1
#define VI_CHAIN(kind) 8
static inline void vi_planes(vi w, int kind, vi out[])
{
    out[0] = kind == VI_S8 ? _mm512_xor_si512(w, _mm512_set1_epi8(-128)) : w;
}
static inline vp vp_next(vp acc, vi w, vx x)
{
    return _mm512_dpbusd_epi32(acc, w, x);
}
#define vp_first vp_next
static inline vi vp_sum(vi start, vp p)
{
    (void)start;
    return p;
}
#else /* as in simd_avx2.h, where the bounds are explained */
#define VI_PLANES(kind) ((kind) == VI_S8 ? 2 : 1)
#define VI_CHAIN(kind) ((kind) == VI_U6 ? 2 : (kind) == VI_U5 ? 4 : 8)
static inline void vi_planes(vi w, int kind, vi out[])
{
    const vi low = _mm512_set1_epi8(0x0f);
    out[0] = kind == VI_S8 ? _mm512_and_si512(w, low) : w;
    if (kind == VI_S8)
        out[VI_PLANES(kind) - 1] = _mm512_and_si512(
            _mm512_srli_epi32(_mm512_xor_si512(w, _mm512_set1_epi8(-128)), 4), low);
}
static inline vp vp_first(vi start, vi w, vx x)
{
    (void)start;
    return _mm512_maddubs_epi16(w, x);
}
static inline vp vp_next(vp p, vi w, vx x)
{
    p = _mm512_add_epi16(p, _mm512_maddubs_epi16(w, x));
    __asm__("" : "+v"(p));
    return p;
}
static inline vi vp_sum(vi start, vp p)
{
    return _mm512_add_epi32(start, _mm512_madd_epi16(p, _mm512_set1_epi16(1)));
}
#endif
#endif
