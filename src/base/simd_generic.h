/* simd_generic.h - the definition: sixteen lanes in plain C. Everything else must agree with it. */
#ifndef LAR_SIMD_GENERIC_H
#define LAR_SIMD_GENERIC_H

typedef struct vf {
    float v[16];
} vf;
typedef struct vi {
    int32_t v[16];
} vi;

#define LAR_LANES_(expr)                                                                           \
    do {                                                                                           \
        vf r_;                                                                                     \
        for (int i = 0; i < 16; i++)                                                               \
            r_.v[i] = (expr);                                                                      \
        return r_;                                                                                 \
    } while (0)

static inline vf vf_load(const float *p)
{
    vf r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
static inline void vf_store(float *p, vf a)
{
    memcpy(p, a.v, sizeof a.v);
}
static inline vf vf_load_n(const float *p, int n)
{
    LAR_LANES_(i < n ? p[i] : 0.0f);
}
static inline void vf_store_n(float *p, vf a, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = a.v[i];
}
static inline vf vf_set1(float x)
{
    LAR_LANES_(x);
}
static inline vf vf_zero(void)
{
    return vf_set1(0.0f);
}
static inline vf vf_load_f16(const uint16_t *p)
{
    LAR_LANES_(lar_f16_to_f32(p[i]));
}
static inline vf vf_load_f16_n(const uint16_t *p, int n)
{
    LAR_LANES_(i < n ? lar_f16_to_f32(p[i]) : 0.0f);
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    LAR_LANES_(lar_bf16_to_f32(p[i]));
}
static inline vf vf_load_bf16_n(const uint16_t *p, int n)
{
    LAR_LANES_(i < n ? lar_bf16_to_f32(p[i]) : 0.0f);
}
static inline void vf_store_f16(uint16_t *p, vf a)
{
    for (int i = 0; i < 16; i++)
        p[i] = lar_f32_to_f16(a.v[i]);
}
static inline vf vf_add(vf a, vf b)
{
    LAR_LANES_(a.v[i] + b.v[i]);
}
static inline vf vf_sub(vf a, vf b)
{
    LAR_LANES_(a.v[i] - b.v[i]);
}
static inline vf vf_mul(vf a, vf b)
{
    LAR_LANES_(a.v[i] * b.v[i]);
}
static inline vf vf_div(vf a, vf b)
{
    LAR_LANES_(a.v[i] / b.v[i]);
}
static inline vf vf_sqrt(vf a)
{
    LAR_LANES_(__builtin_sqrtf(a.v[i]));
}
static inline vf vf_abs(vf a)
{
    LAR_LANES_(__builtin_fabsf(a.v[i]));
}
static inline vf vf_neg(vf a)
{
    LAR_LANES_(-a.v[i]);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    LAR_LANES_(lar_fma(a.v[i], b.v[i], c.v[i]));
}
static inline vf vf_max(vf a, vf b)
{
    LAR_LANES_(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
static inline vf vf_min(vf a, vf b)
{
    LAR_LANES_(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
static inline vf vf_lt(vf a, vf b, vf x, vf y)
{
    LAR_LANES_(a.v[i] < b.v[i] ? x.v[i] : y.v[i]);
}
/* |a| < 2^22: adding 1.5 * 2^23 leaves the integer, rounded to nearest even, in the low bits. */
static inline vi vf_round_i(vf a)
{
    vi r;
    for (int i = 0; i < 16; i++) {
        float t = a.v[i] + 12582912.0f;
        uint32_t u;
        memcpy(&u, &t, 4);
        r.v[i] = (int32_t)(u - 0x4b400000u);
    }
    return r;
}
static inline vf vf_from_i(vi a)
{
    LAR_LANES_((float)a.v[i]);
}
static inline vi vi_sra1(vi a)
{
    vi r;
    for (int i = 0; i < 16; i++)
        r.v[i] = a.v[i] >> 1;
    return r;
}
static inline vi vi_sub(vi a, vi b)
{
    vi r;
    for (int i = 0; i < 16; i++)
        r.v[i] = (int32_t)((uint32_t)a.v[i] - (uint32_t)b.v[i]);
    return r;
}
static inline vf vf_scale2(vf a, vi n)
{
    vf r;
    for (int i = 0; i < 16; i++) {
        uint32_t u = (uint32_t)(n.v[i] + 127) << 23;
        float p;
        memcpy(&p, &u, 4);
        r.v[i] = a.v[i] * p;
    }
    return r;
}
static inline vf vf_swap2(vf a)
{
    LAR_LANES_(a.v[i ^ 1]);
}
static inline float vf_hsum(vf a)
{
    for (int h = 8; h; h >>= 1)
        for (int i = 0; i < h; i++)
            a.v[i] = a.v[i] + a.v[i + h];
    return a.v[0];
}
static inline float vf_hmax(vf a)
{
    for (int h = 8; h; h >>= 1)
        for (int i = 0; i < h; i++)
            a.v[i] = a.v[i] > a.v[i + h] ? a.v[i] : a.v[i + h];
    return a.v[0];
}

/* ---- integers: sixteen rows in the lanes -------------------------------------------------------
 */

#define LAR_ILANES_(expr)                                                                          \
    do {                                                                                           \
        vi r_;                                                                                     \
        for (int i = 0; i < 16; i++)                                                               \
            r_.v[i] = (expr);                                                                      \
        return r_;                                                                                 \
    } while (0)

static inline vi vi_load(const int32_t *p)
{
    vi r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
static inline void vi_store(int32_t *p, vi a)
{
    memcpy(p, a.v, sizeof a.v);
}
static inline vi vi_load_s8(const int8_t *p)
{
    vi r;
    for (int i = 0; i < 16; i++)
        r.v[i] = p[i];
    return r;
}
static inline void vi_store_s8(int8_t *p, vi a)
{
    for (int i = 0; i < 16; i++)
        p[i] = (int8_t)a.v[i];
}
static inline int32_t vi_hsum(vi a)
{
    uint32_t sum = 0;
    for (int i = 0; i < 16; i++)
        sum += (uint32_t)a.v[i];
    return (int32_t)sum;
}
static inline vi vi_set1(int32_t x)
{
    LAR_ILANES_(x);
}
static inline vi vi_add(vi a, vi b)
{
    LAR_ILANES_((int32_t)((uint32_t)a.v[i] + (uint32_t)b.v[i]));
}
static inline vi vi_pairs16(vi sum, vi w, vi x)
{
    for (int i = 0; i < 16; i++) {
        const uint32_t wb = (uint32_t)w.v[i], xb = (uint32_t)x.v[i];
        for (int k = 0; k < 32; k += 16) {
            const int32_t p = (int32_t)(xb >> k & 255) * (int8_t)(wb >> k & 255) +
                              (int32_t)(xb >> (k + 8) & 255) * (int8_t)(wb >> (k + 8) & 255);
            sum.v[i] =
                (int32_t)((uint32_t)sum.v[i] + (uint32_t)LAR_MAX(INT16_MIN, LAR_MIN(INT16_MAX, p)));
        }
    }
    return sum;
}
static inline vi vi_mul(vi a, vi b)
{
    LAR_ILANES_((int32_t)((uint32_t)a.v[i] * (uint32_t)b.v[i]));
}
static inline vi vi_and(vi a, vi b)
{
    LAR_ILANES_(a.v[i] & b.v[i]);
}
static inline vi vi_or(vi a, vi b)
{
    LAR_ILANES_(a.v[i] | b.v[i]);
}
static inline vi vi_shl(vi a, int n)
{
    LAR_ILANES_((int32_t)((uint32_t)a.v[i] << n));
}
static inline vi vi_shr(vi a, int n)
{
    LAR_ILANES_((int32_t)((uint32_t)a.v[i] >> n));
}
static inline vi vi_sra24(vi a)
{
    LAR_ILANES_(a.v[i] >> 24);
}
static inline vi vi_rows4(const uint8_t *p, size_t stride)
{
    LAR_ILANES_((int32_t)lar_u32(p + (size_t)i * stride));
}
static inline void vi_rows16(const uint8_t *p, size_t stride, vi out[4])
{
    for (int j = 0; j < 4; j++)
        out[j] = vi_rows4(p + 4 * j, stride);
}
static inline vf vf_from_f16_low(vi a)
{
    LAR_LANES_(lar_f16_to_f32((uint16_t)a.v[i]));
}
static inline vi vi_lut16(const int8_t table[16], vi index)
{
    uint8_t t[64];
    memcpy(t, index.v, 64);
    for (int i = 0; i < 64; i++)
        t[i] = (uint8_t)table[t[i]];
    memcpy(index.v, t, 64);
    return index;
}
static inline vi vi_gather(const uint32_t *table, vi index)
{
    LAR_ILANES_((int32_t)table[index.v[i]]);
}
#define VI_TILE_SIGNED 1
static inline vi vi_sub_bytes(vi a, vi b)
{
    uint8_t s[64], t[64];
    memcpy(s, a.v, 64);
    memcpy(t, b.v, 64);
    for (int i = 0; i < 64; i++)
        s[i] = (uint8_t)(s[i] - t[i]);
    memcpy(a.v, s, 64);
    return a;
}
static inline vi vi_offset(const int16_t s[2], int a, int b)
{
    return vi_set1(a * s[0] + b * s[1]);
}
#define VI_S8_BIAS 0
#define VI_PLANES(kind) 1
#define VI_CHAIN(kind) 8
#define VI_COLS(planes) 4
typedef struct vx {
    int8_t v[4];
} vx;
typedef vi vp;
static inline void vi_planes(vi w, int kind, vi out[])
{
    (void)kind;
    out[0] = w;
}
static inline vx vx_load(const int8_t *p)
{
    return (vx){{p[0], p[1], p[2], p[3]}};
}
static inline vp vp_next(vp acc, vi w, vx x)
{
    int8_t t[64];
    memcpy(t, w.v, 64);
    for (int r = 0; r < 16; r++)
        for (int j = 0; j < 4; j++)
            acc.v[r] += t[4 * r + j] * x.v[j];
    return acc;
}
#define vp_first vp_next
static inline vi vp_sum(vi start, vp p)
{
    (void)start;
    return p;
}
#undef LAR_ILANES_
#undef LAR_LANES_
#endif
