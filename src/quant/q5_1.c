/*
 * q5_1.c - 32 weights of 5 bits with a minimum, w = d * q + m.
 *   0  d    F16
 *   2  m    F16
 *   4  qh   32 bits, little-endian: bit j is the fifth bit of q[j]
 *   8  qs   16 bytes: byte j holds the low bits of q[j] (low half) and q[j + 16] (high half)
 * Source of layout and dequantization: ggml (ggml-common.h block_q5_1, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct q5_1_block {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
} q5_1_block;
_Static_assert(sizeof(q5_1_block) == 24, "q5_1 block");

#define Q_BYTES 24
#define Q_BLOCKS 1
#define Q_KIND VI_U5
#define Q_BIAS 0
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 0
#define Q_MINS 1
#include "base/simd.h"

typedef struct q_head {
    vf d, m;
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    vi t = vi_rows4(p, stride);
    h->d = vf_from_f16_low(t);
    h->m = vf_from_f16_low(vi_shr(t, 16));
}

/* Bits n..n+3 of every lane to bit 4 of its four bytes. */
static inline vi fifth_bits(vi qh, int n)
{
    vi t = vi_mul(vi_and(vi_shr(qh, n), vi_set1(15)), vi_set1(0x00204081));
    return vi_shl(vi_and(t, vi_set1(0x01010101)), 4);
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    const vi low = vi_set1(0x0f0f0f0f);
    vi q[4];
    (void)h, (void)u, (void)step;
    vi_rows16(p + 8, stride, q);
    const vi qh = vi_rows4(p + 4, stride);
    LAR_UNROLL
    for (int e = 0; e < 4; e++) {
        w[0][e] = vi_or(vi_and(q[e], low), fifth_bits(qh, 4 * e));
        w[1][e] = vi_or(vi_and(vi_shr(q[e], 4), low), fifth_bits(qh, 16 + 4 * e));
    }
}

#include "quant/dot.h"
#include "quant/fit32.h"
#include "quant/rounding.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 32, p += sizeof(q5_1_block), dst += 32) {
        q5_1_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d), m = lar_f16_to_f32(b.m);
        const uint32_t qh = lar_u32(b.qh);
        for (int j = 0; j < 16; j++) {
            const int lo = (b.qs[j] & 15) | (int)(qh >> j & 1) << 4;
            const int hi = b.qs[j] >> 4 | (int)(qh >> (j + 16) & 1) << 4;
            dst[j] = (float)lo * d + m;
            dst[j + 16] = (float)hi * d + m;
        }
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += 32, p += sizeof(q5_1_block), src += 32) {
        q5_1_block b;
        float lo, hi;
        lar__range(src, &lo, &hi);
        const float d = (hi - lo) / 31.0f, id = d != 0.0f ? 1.0f / d : 0.0f;
        b.d = lar_f32_to_f16(d);
        b.m = lar_f32_to_f16(lo);
        uint32_t qh = 0;
        for (int j = 0; j < 16; j++) {
            const unsigned x0 = lar__trunc_to((double)((src[j] - lo) * id + 0.5f), 31);
            const unsigned x1 = lar__trunc_to((double)((src[j + 16] - lo) * id + 0.5f), 31);
            b.qs[j] = (uint8_t)((x0 & 15) | (x1 & 15) << 4);
            qh |= (uint32_t)(x0 >> 4) << j | (uint32_t)(x1 >> 4) << (j + 16);
        }
        for (int j = 0; j < 4; j++)
            b.qh[j] = (uint8_t)(qh >> 8 * j);
        memcpy(p, &b, sizeof b);
    }
}

static const k_how how = {.group = 32, .max = 31, .first = -0.9f, .step = 0.05f, .steps = 36};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    fit_block fit[K_LANES];
    if (!importance) {
        from_f32(src, dst, n);
        return;
    }
    const float square = fit_mean_square(src, n);
    for (int64_t i = 0; i < n; i += 32, p += sizeof(q5_1_block)) {
        const int at = (int)(i / 32 % K_LANES);
        q5_1_block b;
        if (at == 0)
            fit32(src + i, importance + i, (int)LAR_MIN(K_LANES, (n - i) / 32), square, &how, true,
                  fit);
        b.d = fit[at].d;
        b.m = fit[at].m;
        uint32_t qh = 0;
        for (int j = 0; j < 16; j++) {
            const unsigned x0 = (unsigned)(fit[at].q[j]), x1 = (unsigned)(fit[at].q[j + 16]);
            b.qs[j] = (uint8_t)((x0 & 15) | (x1 & 15) << 4);
            qh |= (uint32_t)(x0 >> 4) << j | (uint32_t)(x1 >> 4) << (j + 16);
        }
        for (int j = 0; j < 4; j++)
            b.qh[j] = (uint8_t)(qh >> 8 * j);
        memcpy(p, &b, sizeof b);
    }
}

LAR_FORMAT(q5_1, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
