/*
 * q5_0.c - 32 weights of 5 bits, w = d * (q - 16).
 *   0  d    F16
 *   2  qh   32 bits, little-endian: bit j is the fifth bit of q[j]
 *   6  qs   16 bytes: byte j holds the low bits of q[j] (low half) and q[j + 16] (high half)
 * Source of layout and dequantization: ggml (ggml-common.h block_q5_0, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct q5_0_block {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
} q5_0_block;
_Static_assert(sizeof(q5_0_block) == 22, "q5_0 block");

#define Q_BYTES 22
#define Q_BLOCKS 1
#define Q_KIND VI_U5
#define Q_BIAS 16
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 0
#define Q_MINS 0
#include "base/simd.h"

typedef struct q_head {
    vf d, m;
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = vf_from_f16_low(vi_rows4(p, stride));
    h->m = h->d;
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
    vi_rows16(p + 6, stride, q);
    const vi qh = vi_rows4(p + 2, stride);
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
    for (int64_t i = 0; i < n; i += 32, p += sizeof(q5_0_block), dst += 32) {
        q5_0_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d);
        const uint32_t qh = lar_u32(b.qh);
        for (int j = 0; j < 16; j++) {
            const int lo = (b.qs[j] & 15) | (int)(qh >> j & 1) << 4;
            const int hi = b.qs[j] >> 4 | (int)(qh >> (j + 16) & 1) << 4;
            dst[j] = (float)(lo - 16) * d;
            dst[j + 16] = (float)(hi - 16) * d;
        }
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += 32, p += sizeof(q5_0_block), src += 32) {
        q5_0_block b;
        /* The value farthest from zero becomes -16; sums in double as an FMA would have them. */
        const float d = lar__absmax_signed(src) / -16.0f, id = d != 0.0f ? 1.0f / d : 0.0f;
        b.d = lar_f32_to_f16(d);
        uint32_t qh = 0;
        for (int j = 0; j < 16; j++) {
            const unsigned x0 = lar__trunc_to((double)src[j] * (double)id + 16.5, 31);
            const unsigned x1 = lar__trunc_to((double)src[j + 16] * (double)id + 16.5, 31);
            b.qs[j] = (uint8_t)((x0 & 15) | (x1 & 15) << 4);
            qh |= (uint32_t)(x0 >> 4) << j | (uint32_t)(x1 >> 4) << (j + 16);
        }
        for (int j = 0; j < 4; j++)
            b.qh[j] = (uint8_t)(qh >> 8 * j);
        memcpy(p, &b, sizeof b);
    }
}

static const k_how how = {.group = 32, .max = 16, .first = -0.9f, .step = 0.1f, .steps = 18};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    fit_block fit[K_LANES];
    if (!importance) {
        from_f32(src, dst, n);
        return;
    }
    const float square = fit_mean_square(src, n);
    for (int64_t i = 0; i < n; i += 32, p += sizeof(q5_0_block)) {
        const int at = (int)(i / 32 % K_LANES);
        q5_0_block b;
        if (at == 0)
            fit32(src + i, importance + i, (int)LAR_MIN(K_LANES, (n - i) / 32), square, &how, false,
                  fit);
        b.d = fit[at].d;
        uint32_t qh = 0;
        for (int j = 0; j < 16; j++) {
            const unsigned x0 = (unsigned)(fit[at].q[j] + 16),
                           x1 = (unsigned)(fit[at].q[j + 16] + 16);
            b.qs[j] = (uint8_t)((x0 & 15) | (x1 & 15) << 4);
            qh |= (uint32_t)(x0 >> 4) << j | (uint32_t)(x1 >> 4) << (j + 16);
        }
        for (int j = 0; j < 4; j++)
            b.qh[j] = (uint8_t)(qh >> 8 * j);
        memcpy(p, &b, sizeof b);
    }
}

LAR_FORMAT(q5_0, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
