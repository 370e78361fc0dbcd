/*
 * simd_avx2.h - sixteen lanes in two 256-bit registers (AVX2, FMA, F16C; AVX-VNNI where the variant
 * has it). The meaning of every
 * primitive is simd_generic.h's; Intel's min and max return the second operand where neither is
 * greater, which is what the definition says.
 */
#ifndef LAR_SIMD_AVX2_H
#define LAR_SIMD_AVX2_H
#include <immintrin.h>

typedef struct vf {
    __m256 a, b; /* lanes 0..7, 8..15 */
} vf;
typedef struct vi {
    __m256i a, b;
} vi;

/* All ones in the lanes below n (of 8, beginning with lane `from`). */
static inline __m256i vf_mask_(int n, int from)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - from), lane);
}
static inline vf vf_load(const float *p)
{
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}
static inline vf vf_load_n(const float *p, int n)
{
    vf r = {_mm256_maskload_ps(p, vf_mask_(n, 0)), _mm256_setzero_ps()};
    if (n > 8)
        r.b = _mm256_maskload_ps(p + 8, vf_mask_(n, 8));
    return r;
}
static inline void vf_store_n(float *p, vf v, int n)
{
    _mm256_maskstore_ps(p, vf_mask_(n, 0), v.a);
    if (n > 8)
        _mm256_maskstore_ps(p + 8, vf_mask_(n, 8), v.b);
}
static inline vf vf_set1(float x)
{
    return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
static inline vf vf_zero(void)
{
    return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()};
}
static inline __m128i vf_half_(const uint16_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return (vf){_mm256_cvtph_ps(vf_half_(p)), _mm256_cvtph_ps(vf_half_(p + 8))};
}
static inline vf vf_load_f16_n(const uint16_t *p, int n)
{
    uint16_t t[16] = {0};
    memcpy(t, p, (size_t)n * 2);
    return vf_load_f16(t);
}
static inline __m256 vf_bf16_(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(vf_half_(p)), 16));
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    return (vf){vf_bf16_(p), vf_bf16_(p + 8)};
}
static inline vf vf_load_bf16_n(const uint16_t *p, int n)
{
    uint16_t t[16] = {0};
    memcpy(t, p, (size_t)n * 2);
    return vf_load_bf16(t);
}
static inline void vf_store_f16(uint16_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(void *)(p + 8), _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
}
static inline vf vf_add(vf x, vf y)
{
    return (vf){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
static inline vf vf_sub(vf x, vf y)
{
    return (vf){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
static inline vf vf_mul(vf x, vf y)
{
    return (vf){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
static inline vf vf_div(vf x, vf y)
{
    return (vf){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
static inline vf vf_sqrt(vf x)
{
    return (vf){_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)};
}
static inline vf vf_abs(vf x)
{
    const __m256 s = _mm256_set1_ps(-0.0f);
    return (vf){_mm256_andnot_ps(s, x.a), _mm256_andnot_ps(s, x.b)};
}
static inline vf vf_neg(vf x)
{
    const __m256 s = _mm256_set1_ps(-0.0f);
    return (vf){_mm256_xor_ps(s, x.a), _mm256_xor_ps(s, x.b)};
}
static inline vf vf_fma(vf x, vf y, vf z)
{
    return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static inline vf vf_max(vf x, vf y)
{
    return (vf){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
static inline vf vf_min(vf x, vf y)
{
    return (vf){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
static inline vf vf_lt(vf p, vf q, vf x, vf y)
{
    return (vf){_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(p.a, q.a, _CMP_LT_OQ)),
                _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(p.b, q.b, _CMP_LT_OQ))};
}
static inline vi vf_round_i(vf x)
{
    return (vi){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
static inline vf vf_from_i(vi x)
{
    return (vf){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
static inline vi vi_sra1(vi x)
{
    return (vi){_mm256_srai_epi32(x.a, 1), _mm256_srai_epi32(x.b, 1)};
}
static inline vi vi_sub(vi x, vi y)
{
    return (vi){_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}
static inline __m256 vf_pow2_(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
static inline vf vf_scale2(vf x, vi n)
{
    return (vf){_mm256_mul_ps(x.a, vf_pow2_(n.a)), _mm256_mul_ps(x.b, vf_pow2_(n.b))};
}
static inline vf vf_swap2(vf x)
{
    return (vf){_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)};
}
static inline float vf_hsum(vf x)
{
    __m256 b = _mm256_add_ps(x.a, x.b);
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
static inline float vf_hmax(vf x)
{
    __m256 b = _mm256_max_ps(x.a, x.b);
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* ---- integers: sixteen rows in the lanes -------------------------------------------------------
 */

static inline vi vi_load(const int32_t *p)
{
    const __m256i *q = (const __m256i *)(const void *)p;
    return (vi){_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
static inline void vi_store(int32_t *p, vi x)
{
    __m256i *q = (__m256i *)(void *)p;
    _mm256_storeu_si256(q, x.a);
    _mm256_storeu_si256(q + 1, x.b);
}
static inline vi vi_load_s8(const int8_t *p)
{
    const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (vi){_mm256_cvtepi8_epi32(b), _mm256_cvtepi8_epi32(_mm_srli_si128(b, 8))};
}
static inline void vi_store_s8(int8_t *p, vi x)
{
    __m256i h = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
    __m128i b = _mm_packs_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    _mm_storeu_si128((__m128i *)(void *)p, b);
}
static inline int32_t vi_hsum(vi x)
{
    __m256i b = _mm256_add_epi32(x.a, x.b);
    __m128i c = _mm_add_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
    c = _mm_add_epi32(c, _mm_shuffle_epi32(c, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(c, _mm_shuffle_epi32(c, 0xb1)));
}
static inline vi vi_set1(int32_t x)
{
    return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
static inline vi vi_add(vi x, vi y)
{
    return (vi){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
static inline vi vi_pairs16(vi sum, vi w, vi x)
{
    const __m256i one = _mm256_set1_epi16(1);
    return (vi){_mm256_add_epi32(sum.a, _mm256_madd_epi16(_mm256_maddubs_epi16(x.a, w.a), one)),
                _mm256_add_epi32(sum.b, _mm256_madd_epi16(_mm256_maddubs_epi16(x.b, w.b), one))};
}
static inline vi vi_mul(vi x, vi y)
{
    return (vi){_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)};
}
static inline vi vi_and(vi x, vi y)
{
    return (vi){_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
}
static inline vi vi_or(vi x, vi y)
{
    return (vi){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
static inline vi vi_shl(vi x, int n)
{
    return (vi){_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)};
}
static inline vi vi_shr(vi x, int n)
{
    return (vi){_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)};
}
static inline vi vi_sra24(vi x)
{
    return (vi){_mm256_srai_epi32(x.a, 24), _mm256_srai_epi32(x.b, 24)};
}
static inline vi vi_rows4(const uint8_t *p, size_t stride)
{
#define R_(i) (int)vi_ld32_(p + (i)*stride)
    return (vi){_mm256_setr_epi32(R_(0), R_(1), R_(2), R_(3), R_(4), R_(5), R_(6), R_(7)),
                _mm256_setr_epi32(R_(8), R_(9), R_(10), R_(11), R_(12), R_(13), R_(14), R_(15))};
#undef R_
}
static inline __m256i vi_2rows_(const uint8_t *p, const uint8_t *q)
{
    __m256i a = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_inserti128_si256(a, _mm_loadu_si128((const __m128i *)(const void *)q), 1);
}
/* Eight rows: rows r and r+4 in the halves of a register, then 4x4 transposes inside the halves. */
static inline void vi_8rows_(const uint8_t *p, size_t stride, __m256i out[4])
{
    const uint8_t *q = p + 4 * stride;
    __m256i a = vi_2rows_(p, q), b = vi_2rows_(p + stride, q + stride);
    __m256i c = vi_2rows_(p + 2 * stride, q + 2 * stride);
    __m256i d = vi_2rows_(p + 3 * stride, q + 3 * stride);
    __m256i ab0 = _mm256_unpacklo_epi32(a, b), ab1 = _mm256_unpackhi_epi32(a, b);
    __m256i cd0 = _mm256_unpacklo_epi32(c, d), cd1 = _mm256_unpackhi_epi32(c, d);
    out[0] = _mm256_unpacklo_epi64(ab0, cd0);
    out[1] = _mm256_unpackhi_epi64(ab0, cd0);
    out[2] = _mm256_unpacklo_epi64(ab1, cd1);
    out[3] = _mm256_unpackhi_epi64(ab1, cd1);
}
static inline void vi_rows16(const uint8_t *p, size_t stride, vi out[4])
{
    __m256i a[4], b[4];
    vi_8rows_(p, stride, a);
    vi_8rows_(p + 8 * stride, stride, b);
    out[0] = (vi){a[0], b[0]};
    out[1] = (vi){a[1], b[1]};
    out[2] = (vi){a[2], b[2]};
    out[3] = (vi){a[3], b[3]};
}
static inline vf vf_from_f16_low(vi x)
{
    const __m256i low = _mm256_set1_epi32(0xffff);
    __m256i h = _mm256_packus_epi32(_mm256_and_si256(x.a, low), _mm256_and_si256(x.b, low));
    h = _mm256_permute4x64_epi64(h, 0xd8);
    return (vf){_mm256_cvtph_ps(_mm256_castsi256_si128(h)),
                _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1))};
}
static inline vi vi_lut16(const int8_t table[16], vi index)
{
    __m128i q = _mm_loadu_si128((const __m128i *)(const void *)table);
    __m256i t = _mm256_broadcastsi128_si256(q);
    return (vi){_mm256_shuffle_epi8(t, index.a), _mm256_shuffle_epi8(t, index.b)};
}
static inline vi vi_gather(const uint32_t *table, vi index)
{
    const int *t = (const int *)(const void *)table;
    return (vi){_mm256_i32gather_epi32(t, index.a, 4), _mm256_i32gather_epi32(t, index.b, 4)};
}
#define VI_TILE_SIGNED 0
static inline vi vi_sub_bytes(vi x, vi y)
{
    return (vi){_mm256_sub_epi8(x.a, y.a), _mm256_sub_epi8(x.b, y.b)};
}
static inline vi vi_offset(const int16_t s[2], int a, int b)
{
    const __m256i t = _mm256_madd_epi16(_mm256_set1_epi32((int)vi_ld32_(s)),
                                        _mm256_set1_epi32((a & 0xffff) | (int)((unsigned)b << 16)));
    return (vi){t, t};
}
#define VI_S8_BIAS 128
typedef __m256i vx;
static inline vx vx_load(const int8_t *p)
{
    return _mm256_set1_epi32((int)vi_ld32_(p));
}
#ifdef __AVXVNNI__
#define VI_PLANES(kind) 1
#define VI_CHAIN(kind) 8
#define VI_COLS(planes) 4
typedef vi vp;
static inline void vi_planes(vi w, int kind, vi out[])
{
    const __m256i top = _mm256_set1_epi8(-128);
    out[0] = w;
    if (kind == VI_S8)
        out[0] = (vi){_mm256_xor_si256(w.a, top), _mm256_xor_si256(w.b, top)};
}
static inline vp vp_next(vp p, vi w, vx x)
{
    return (vp){_mm256_dpbusd_avx_epi32(p.a, w.a, x), _mm256_dpbusd_avx_epi32(p.b, w.b, x)};
}
#define vp_first vp_next
static inline vi vp_sum(vi start, vp p)
{
    (void)start;
    return p;
}
#else
/* vpmaddubsw multiplies unsigned weights and saturates at 32,767: those to 15 leave room for eight
 * products of pairs (8 * 2 * 15 * 127), to 31 for four, to 63 for two. Signed bytes become two
 * planes of four bits, w + 128 = 16 * high + low. */
#define VI_PLANES(kind) ((kind) == VI_S8 ? 2 : 1)
#define VI_CHAIN(kind) ((kind) == VI_U6 ? 2 : (kind) == VI_U5 ? 4 : 8)
#define VI_COLS(planes) ((planes) == 2 ? 2 : 4)
typedef vi vp; /* sixteen bits, in pairs */
static inline void vi_planes(vi w, int kind, vi out[])
{
    const vi low = vi_set1(0x0f0f0f0f);
    out[0] = kind == VI_S8 ? vi_and(w, low) : w;
    if (kind == VI_S8)
        out[VI_PLANES(kind) - 1] =
            vi_and(vi_shr((vi){_mm256_xor_si256(w.a, _mm256_set1_epi8(-128)),
                               _mm256_xor_si256(w.b, _mm256_set1_epi8(-128))},
                          4),
                   low);
}
static inline vp vp_first(vi start, vi w, vx x)
{
    (void)start;
    return (vp){_mm256_maddubs_epi16(w.a, x), _mm256_maddubs_epi16(w.b, x)};
}
/* Signed bytes at once, of which x takes the sign: quicker than to part them for one column alone.
 * 2 * 128 * 127 fit. */
#define VI_S8_AT_ONCE 1
static inline __m256i vi_next_s8_(__m256i sum, __m256i w, vx x)
{
    const __m256i p = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(p, _mm256_set1_epi16(1)));
}
static inline vi vi_next_s8(vi sum, vi w, vx x)
{
    return (vi){vi_next_s8_(sum.a, w.a, x), vi_next_s8_(sum.b, w.b, x)};
}
/* The empty statement keeps GCC from adding in an order of its own, in which all products of a
 * block are there before the first is added, and most of them on the stack. */
static inline vp vp_next(vp p, vi w, vx x)
{
    p.a = _mm256_add_epi16(p.a, _mm256_maddubs_epi16(w.a, x));
    p.b = _mm256_add_epi16(p.b, _mm256_maddubs_epi16(w.b, x));
    __asm__("" : "+x"(p.a), "+x"(p.b));
    return p;
}
static inline vi vp_sum(vi start, vp p)
{
    const __m256i one = _mm256_set1_epi16(1);
    return (vi){_mm256_add_epi32(start.a, _mm256_madd_epi16(p.a, one)),
                _mm256_add_epi32(start.b, _mm256_madd_epi16(p.b, one))};
}
#endif
#endif
