/*
 * simd_neon.h - sixteen lanes in four 128-bit registers (the baseline of AArch64; SDOT and
 * SMMLA where the variant has them). The meaning of every primitive is simd_generic.h's: max and
 * min are a comparison and a selection, since FMAX orders zeros.
 */
#ifndef LAR_SIMD_NEON_H
#define LAR_SIMD_NEON_H
#include <arm_neon.h>

typedef struct vf {
    float32x4_t v[4];
} vf;
typedef struct vi {
    int32x4_t v[4];
} vi;

#define LAR_NEON1_(name, fn)                                                                       \
    static inline vf name(vf x)                                                                    \
    {                                                                                              \
        return (vf){{fn(x.v[0]), fn(x.v[1]), fn(x.v[2]), fn(x.v[3])}};                             \
    }
#define LAR_NEON2_(type, name, fn)                                                                 \
    static inline type name(type x, type y)                                                        \
    {                                                                                              \
        return (type){                                                                             \
            {fn(x.v[0], y.v[0]), fn(x.v[1], y.v[1]), fn(x.v[2], y.v[2]), fn(x.v[3], y.v[3])}};     \
    }

static inline vf vf_load(const float *p)
{
    return (vf){{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}
static inline void vf_store(float *p, vf x)
{
    vst1q_f32(p, x.v[0]);
    vst1q_f32(p + 4, x.v[1]);
    vst1q_f32(p + 8, x.v[2]);
    vst1q_f32(p + 12, x.v[3]);
}
static inline vf vf_load_n(const float *p, int n)
{
    float t[16] = {0};
    memcpy(t, p, (size_t)n * 4);
    return vf_load(t);
}
static inline void vf_store_n(float *p, vf x, int n)
{
    float t[16];
    vf_store(t, x);
    memcpy(p, t, (size_t)n * 4);
}
static inline vf vf_set1(float x)
{
    float32x4_t q = vdupq_n_f32(x);
    return (vf){{q, q, q, q}};
}
static inline vf vf_zero(void)
{
    return vf_set1(0.0f);
}
static inline float32x4_t vf_f16_(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return (vf){{vf_f16_(p), vf_f16_(p + 4), vf_f16_(p + 8), vf_f16_(p + 12)}};
}
static inline vf vf_load_f16_n(const uint16_t *p, int n)
{
    uint16_t t[16] = {0};
    memcpy(t, p, (size_t)n * 2);
    return vf_load_f16(t);
}
static inline float32x4_t vf_bf16_(const uint16_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    return (vf){{vf_bf16_(p), vf_bf16_(p + 4), vf_bf16_(p + 8), vf_bf16_(p + 12)}};
}
static inline vf vf_load_bf16_n(const uint16_t *p, int n)
{
    uint16_t t[16] = {0};
    memcpy(t, p, (size_t)n * 2);
    return vf_load_bf16(t);
}
static inline void vf_store_f16(uint16_t *p, vf x)
{
    for (int i = 0; i < 4; i++)
        vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
}
LAR_NEON2_(vf, vf_add, vaddq_f32)
LAR_NEON2_(vf, vf_sub, vsubq_f32)
LAR_NEON2_(vf, vf_mul, vmulq_f32)
LAR_NEON2_(vf, vf_div, vdivq_f32)
LAR_NEON1_(vf_sqrt, vsqrtq_f32)
LAR_NEON1_(vf_abs, vabsq_f32)
LAR_NEON1_(vf_neg, vnegq_f32)
static inline vf vf_fma(vf x, vf y, vf z)
{
    return (vf){{vfmaq_f32(z.v[0], x.v[0], y.v[0]), vfmaq_f32(z.v[1], x.v[1], y.v[1]),
                 vfmaq_f32(z.v[2], x.v[2], y.v[2]), vfmaq_f32(z.v[3], x.v[3], y.v[3])}};
}
static inline float32x4_t vf_max4_(float32x4_t x, float32x4_t y)
{
    return vbslq_f32(vcgtq_f32(x, y), x, y);
}
static inline float32x4_t vf_min4_(float32x4_t x, float32x4_t y)
{
    return vbslq_f32(vcltq_f32(x, y), x, y);
}
LAR_NEON2_(vf, vf_max, vf_max4_)
LAR_NEON2_(vf, vf_min, vf_min4_)
static inline vf vf_lt(vf a, vf b, vf x, vf y)
{
    return (vf){{vbslq_f32(vcltq_f32(a.v[0], b.v[0]), x.v[0], y.v[0]),
                 vbslq_f32(vcltq_f32(a.v[1], b.v[1]), x.v[1], y.v[1]),
                 vbslq_f32(vcltq_f32(a.v[2], b.v[2]), x.v[2], y.v[2]),
                 vbslq_f32(vcltq_f32(a.v[3], b.v[3]), x.v[3], y.v[3])}};
}
static inline vi vf_round_i(vf x)
{
    return (vi){{vcvtnq_s32_f32(x.v[0]), vcvtnq_s32_f32(x.v[1]), vcvtnq_s32_f32(x.v[2]),
                 vcvtnq_s32_f32(x.v[3])}};
}
static inline vf vf_from_i(vi x)
{
    return (vf){{vcvtq_f32_s32(x.v[0]), vcvtq_f32_s32(x.v[1]), vcvtq_f32_s32(x.v[2]),
                 vcvtq_f32_s32(x.v[3])}};
}
static inline vi vi_sra1(vi x)
{
    return (vi){{vshrq_n_s32(x.v[0], 1), vshrq_n_s32(x.v[1], 1), vshrq_n_s32(x.v[2], 1),
                 vshrq_n_s32(x.v[3], 1)}};
}
LAR_NEON2_(vi, vi_sub, vsubq_s32)
static inline vf vf_scale2(vf x, vi n)
{
    vf r;
    for (int i = 0; i < 4; i++) {
        int32x4_t e = vshlq_n_s32(vaddq_s32(n.v[i], vdupq_n_s32(127)), 23);
        r.v[i] = vmulq_f32(x.v[i], vreinterpretq_f32_s32(e));
    }
    return r;
}
static inline vf vf_swap2(vf x)
{
    return (vf){
        {vrev64q_f32(x.v[0]), vrev64q_f32(x.v[1]), vrev64q_f32(x.v[2]), vrev64q_f32(x.v[3])}};
}
static inline float vf_hsum(vf x)
{
    float32x4_t a = vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3]));
    float32x2_t b = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(b, 0) + vget_lane_f32(b, 1);
}
static inline float vf_hmax(vf x)
{
    float32x4_t a = vf_max4_(vf_max4_(x.v[0], x.v[2]), vf_max4_(x.v[1], x.v[3]));
    float t[4];
    vst1q_f32(t, a);
    float b = t[0] > t[2] ? t[0] : t[2], c = t[1] > t[3] ? t[1] : t[3];
    return b > c ? b : c;
}

/* ---- integers: sixteen rows in the lanes -------------------------------------------------------
 */

static inline vi vi_load(const int32_t *p)
{
    return (vi){{vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}};
}
static inline void vi_store(int32_t *p, vi x)
{
    for (int i = 0; i < 4; i++)
        vst1q_s32(p + 4 * i, x.v[i]);
}
static inline vi vi_load_s8(const int8_t *p)
{
    const int16x8_t lo = vmovl_s8(vld1_s8(p)), hi = vmovl_s8(vld1_s8(p + 8));
    return (vi){{vmovl_s16(vget_low_s16(lo)), vmovl_s16(vget_high_s16(lo)),
                 vmovl_s16(vget_low_s16(hi)), vmovl_s16(vget_high_s16(hi))}};
}
static inline void vi_store_s8(int8_t *p, vi x)
{
    for (int i = 0; i < 2; i++) {
        int16x8_t h = vcombine_s16(vmovn_s32(x.v[2 * i]), vmovn_s32(x.v[2 * i + 1]));
        vst1_s8(p + 8 * i, vmovn_s16(h));
    }
}
static inline vi vi_pairs16(vi sum, vi w, vi x)
{
    for (int i = 0; i < 4; i++) {
        const int8x16_t b = vreinterpretq_s8_s32(w.v[i]);
        const uint8x16_t a = vreinterpretq_u8_s32(x.v[i]);
        const int16x8_t b0 = vmovl_s8(vget_low_s8(b)), b1 = vmovl_s8(vget_high_s8(b));
        const int16x8_t a0 = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(a))),
                        a1 = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(a)));
        /* -255 * 128 to 255 * 127: each product by itself fits in sixteen bits. */
        const int16x8_t p0 = vmulq_s16(a0, b0), p1 = vmulq_s16(a1, b1);
        sum.v[i] = vpadalq_s16(sum.v[i], vqaddq_s16(vuzp1q_s16(p0, p1), vuzp2q_s16(p0, p1)));
    }
    return sum;
}
static inline int32_t vi_hsum(vi x)
{
    return vaddvq_s32(vaddq_s32(vaddq_s32(x.v[0], x.v[1]), vaddq_s32(x.v[2], x.v[3])));
}
static inline vi vi_set1(int32_t x)
{
    int32x4_t q = vdupq_n_s32(x);
    return (vi){{q, q, q, q}};
}
LAR_NEON2_(vi, vi_add, vaddq_s32)
LAR_NEON2_(vi, vi_mul, vmulq_s32)
LAR_NEON2_(vi, vi_and, vandq_s32)
LAR_NEON2_(vi, vi_or, vorrq_s32)
static inline vi vi_shl(vi x, int n)
{
    const int32x4_t s = vdupq_n_s32(n);
    return (vi){
        {vshlq_s32(x.v[0], s), vshlq_s32(x.v[1], s), vshlq_s32(x.v[2], s), vshlq_s32(x.v[3], s)}};
}
static inline int32x4_t vi_shr4_(int32x4_t x, int32x4_t s)
{
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(x), s));
}
static inline vi vi_shr(vi x, int n)
{
    const int32x4_t s = vdupq_n_s32(-n);
    return (vi){
        {vi_shr4_(x.v[0], s), vi_shr4_(x.v[1], s), vi_shr4_(x.v[2], s), vi_shr4_(x.v[3], s)}};
}
static inline vi vi_sra24(vi x)
{
    return (vi){{vshrq_n_s32(x.v[0], 24), vshrq_n_s32(x.v[1], 24), vshrq_n_s32(x.v[2], 24),
                 vshrq_n_s32(x.v[3], 24)}};
}
static inline vi vi_rows4(const uint8_t *p, size_t stride)
{
    int32_t t[16];
    for (int i = 0; i < 16; i++)
        memcpy(t + i, p + (size_t)i * stride, 4);
    return vi_load(t);
}
static inline void vi_rows16(const uint8_t *p, size_t stride, vi out[4])
{
    for (int g = 0; g < 4; g++, p += 4 * stride) {
        int32x4_t a = vreinterpretq_s32_u8(vld1q_u8(p));
        int32x4_t b = vreinterpretq_s32_u8(vld1q_u8(p + stride));
        int32x4_t c = vreinterpretq_s32_u8(vld1q_u8(p + 2 * stride));
        int32x4_t d = vreinterpretq_s32_u8(vld1q_u8(p + 3 * stride));
        int64x2_t ab0 = vreinterpretq_s64_s32(vtrn1q_s32(a, b));
        int64x2_t ab1 = vreinterpretq_s64_s32(vtrn2q_s32(a, b));
        int64x2_t cd0 = vreinterpretq_s64_s32(vtrn1q_s32(c, d));
        int64x2_t cd1 = vreinterpretq_s64_s32(vtrn2q_s32(c, d));
        out[0].v[g] = vreinterpretq_s32_s64(vtrn1q_s64(ab0, cd0));
        out[1].v[g] = vreinterpretq_s32_s64(vtrn1q_s64(ab1, cd1));
        out[2].v[g] = vreinterpretq_s32_s64(vtrn2q_s64(ab0, cd0));
        out[3].v[g] = vreinterpretq_s32_s64(vtrn2q_s64(ab1, cd1));
    }
}
static inline vf vf_from_f16_low(vi x)
{
    vf r;
    for (int i = 0; i < 4; i++) {
        uint16x4_t h = vmovn_u32(vreinterpretq_u32_s32(x.v[i]));
        r.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(h));
    }
    return r;
}
static inline vi vi_lut16(const int8_t table[16], vi index)
{
    int8x16_t t = vld1q_s8(table);
    for (int i = 0; i < 4; i++)
        index.v[i] = vreinterpretq_s32_s8(vqtbl1q_s8(t, vreinterpretq_u8_s32(index.v[i])));
    return index;
}
static inline vi vi_gather(const uint32_t *table, vi index)
{
    int32_t t[16];
    vi_store(t, index);
    for (int i = 0; i < 16; i++)
        t[i] = (int32_t)table[t[i]];
    return vi_load(t);
}
#define VI_TILE_SIGNED 1
static inline int32x4_t vi_sub_bytes_(int32x4_t a, int32x4_t b)
{
    return vreinterpretq_s32_u8(vsubq_u8(vreinterpretq_u8_s32(a), vreinterpretq_u8_s32(b)));
}
LAR_NEON2_(vi, vi_sub_bytes, vi_sub_bytes_)
static inline vi vi_offset(const int16_t s[2], int a, int b)
{
    return vi_set1(a * s[0] + b * s[1]);
}
#define VI_S8_BIAS 0
#define VI_PLANES(kind) 1
typedef int8x16_t vx;
static inline void vi_planes(vi w, int kind, vi out[])
{
    (void)kind;
    out[0] = w;
}
static inline vx vx_load(const int8_t *x)
{
    return vreinterpretq_s8_u32(vdupq_n_u32(vi_ld32_(x)));
}
#ifdef __ARM_FEATURE_DOTPROD
#define VI_CHAIN(kind) 8
#define VI_COLS(planes) 4
typedef vi vp;
static inline vp vp_next(vp p, vi w, vx x)
{
    for (int g = 0; g < 4; g++)
        p.v[g] = vdotq_s32(p.v[g], vreinterpretq_s8_s32(w.v[g]), x);
    return p;
}
#define vp_first vp_next
static inline vi vp_sum(vi start, vp p)
{
    (void)start;
    return p;
}
#ifdef __ARM_FEATURE_MATMUL_INT8
/* SMMLA (Arm ARM, FEAT_I8MM): of two rows and two columns, eight bytes each, all four products are
 * added to the lanes [r0c0 r0c1 r1c0 r1c1]: twice the work of an SDOT, in int32, so just as exact.
 */
#define VI_PAIRS
typedef struct vi_pair {
    int32x4_t a[4], b[4]; /* of rows 4g and 4g + 1; of 4g + 2 and 4g + 3 */
} vi_pair;
static inline vi_pair vi_pair_zero(void)
{
    const int32x4_t z = vdupq_n_s32(0);
    return (vi_pair){{z, z, z, z}, {z, z, z, z}};
}
static inline vi_pair vi_pair_next(vi_pair p, vi w0, vi w1, const int8_t *x0, const int8_t *x1)
{
    const int8x16_t x = vcombine_s8(vld1_s8(x0), vld1_s8(x1));
    for (int g = 0; g < 4; g++) { /* four bytes of w0, then of w1: eight neighbours of a row */
        const int32x4_t a = vzip1q_s32(w0.v[g], w1.v[g]), b = vzip2q_s32(w0.v[g], w1.v[g]);
        p.a[g] = vmmlaq_s32(p.a[g], vreinterpretq_s8_s32(a), x);
        p.b[g] = vmmlaq_s32(p.b[g], vreinterpretq_s8_s32(b), x);
    }
    return p;
}
static inline void vi_pair_sums(vi_pair p, vi *sum0, vi *sum1)
{
    for (int g = 0; g < 4; g++) {
        sum0->v[g] = vuzp1q_s32(p.a[g], p.b[g]);
        sum1->v[g] = vuzp2q_s32(p.a[g], p.b[g]);
    }
}
#endif
#else
/* Products of bytes, summed in sixteen bits: weights to 31 leave room for eight, to 63 for four,
 * signed bytes for two. */
#define VI_CHAIN(kind) ((kind) == VI_S8 ? 2 : (kind) == VI_U6 ? 4 : 8)
#define VI_COLS(planes) 2
typedef struct vp {
    int16x8_t a[4], b[4]; /* of rows 4g and 4g + 1; of 4g + 2 and 4g + 3 */
} vp;
static inline vp vp_first(vi start, vi w, vx x)
{
    vp p;
    (void)start;
    for (int g = 0; g < 4; g++) {
        const int8x16_t q = vreinterpretq_s8_s32(w.v[g]);
        p.a[g] = vmull_s8(vget_low_s8(q), vget_low_s8(x));
        p.b[g] = vmull_high_s8(q, x);
    }
    return p;
}
static inline vp vp_next(vp p, vi w, vx x)
{
    for (int g = 0; g < 4; g++) {
        const int8x16_t q = vreinterpretq_s8_s32(w.v[g]);
        p.a[g] = vmlal_s8(p.a[g], vget_low_s8(q), vget_low_s8(x));
        p.b[g] = vmlal_high_s8(p.b[g], q, x);
    }
    return p;
}
static inline vi vp_sum(vi start, vp p)
{
    for (int g = 0; g < 4; g++)
        start.v[g] = vaddq_s32(start.v[g], vpaddq_s32(vpaddlq_s16(p.a[g]), vpaddlq_s16(p.b[g])));
    return start;
}
#endif
#endif
