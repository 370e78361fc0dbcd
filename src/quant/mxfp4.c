/*
 * mxfp4.c - 32 weights of 4 bits that are floats (E2M1), w = 2^(e - 128) * values[q]: the values
 * are twice those of the OCP microscaling format, whose scale is 2^(e - 127).
 *   0  e    the exponent (E8M0)
 *   1  qs   16 bytes: byte j holds q[j] in its low and q[j + 16] in its high four bits
 * Source of layout and dequantization: ggml (ggml-common.h block_mxfp4, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct mxfp4_block {
    uint8_t e;
    uint8_t qs[16];
} mxfp4_block;
_Static_assert(sizeof(mxfp4_block) == 17, "mxfp4 block");

#define Q_BYTES 17
#define Q_BLOCKS 1
#define Q_KIND VI_U5
#define Q_BIAS 12
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 0
#define Q_MINS 0
#include "base/simd.h"

/* With Q_BIAS added. */
static const int8_t values[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

typedef struct q_head {
    vf d, m;
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    const vi n = vi_sub(vi_and(vi_rows4(p, stride), vi_set1(255)), vi_set1(128)), half = vi_sra1(n);
    h->d = vf_scale2(vf_scale2(vf_set1(1), half), vi_sub(n, half)); /* 2^-128 is subnormal */
    h->m = h->d;
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    const vi low = vi_set1(0x0f0f0f0f);
    vi q[4];
    (void)h, (void)u, (void)step;
    vi_rows16(p + 1, stride, q);
    LAR_UNROLL
    for (int e = 0; e < 4; e++) {
        w[0][e] = vi_lut16(values, vi_and(q[e], low));
        w[1][e] = vi_lut16(values, vi_and(vi_shr(q[e], 4), low));
    }
}

#include "quant/dot.h"

/* 2^(e - 128) */
static float scale_of(int e)
{
    const uint32_t bits = e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23;
    float d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 32, p += sizeof(mxfp4_block), dst += 32) {
        mxfp4_block b;
        memcpy(&b, p, sizeof b);
        const float d = scale_of(b.e);
        for (int j = 0; j < 16; j++) {
            dst[j] = (float)(values[b.qs[j] & 15] - Q_BIAS) * d;
            dst[j + 16] = (float)(values[b.qs[j] >> 4] - Q_BIAS) * d;
        }
    }
}

/* Of the sizes 0 1 2 3 4 6 8 12 those nearest to |x| / d, as sums of steps from one to the next. */
static inline vf nearest(vf size, const float step[7])
{
    static const float ends[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};
    vf v = vf_zero();
    for (int i = 0; i < 7; i++)
        v = vf_add(v, vf_lt(size, vf_set1(ends[i]), vf_zero(), vf_set1(step[i])));
    return v;
}

static inline vf sizes(const float *x, float d)
{
    return vf_div(vf_abs(vf_load(x)), vf_set1(d));
}

/* The weighted square error of 16 weights with the scale d. */
static inline vf error_of(const float *x, const float *importance, float d)
{
    static const float steps[7] = {1, 1, 1, 1, 2, 2, 4};
    const vf size = sizes(x, d);
    vf v = vf_mul(vf_sub(nearest(size, steps), size), vf_set1(d));
    v = vf_mul(v, v);
    return importance ? vf_mul(v, vf_load(importance)) : v;
}

/* The best of three exponents: in the middle one the largest weight is 8 to 16 times the scale. */
static int exponent_of(const float *x, const float *importance)
{
    const float far = vf_hmax(vf_max(vf_abs(vf_load(x)), vf_abs(vf_load(x + 16))));
    uint32_t bits;
    memcpy(&bits, &far, sizeof bits);
    const int middle = (int)(bits >> 23 & 255) - 2;
    int e = LAR_MAX(middle, 0);
    float least = INFINITY;
    for (int c = LAR_MAX(middle - 1, 0); far > 0 && c <= middle + 1; c++) {
        const float d = scale_of(c), *second = importance ? importance + 16 : NULL;
        const float err = vf_hsum(vf_add(error_of(x, importance, d), error_of(x + 16, second, d)));
        if (err < least)
            least = err, e = c;
    }
    return e;
}

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    static const float one[7] = {1, 1, 1, 1, 1, 1, 1};
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += 32, p += sizeof(mxfp4_block), src += 32) {
        mxfp4_block b;
        int8_t q[32];
        b.e = (uint8_t)exponent_of(src, importance ? importance + i : NULL);
        const float d = scale_of(b.e);
        for (int j = 0; j < 32; j += 16)
            vi_store_s8(q + j, vf_round_i(nearest(sizes(src + j, d), one)));
        for (int j = 0; j < 16; j++)
            b.qs[j] = (uint8_t)(q[j] | (src[j] < 0 ? 8 : 0) | q[j + 16] << 4 |
                                (src[j + 16] < 0 ? 128 : 0));
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(mxfp4, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
