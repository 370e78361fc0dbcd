/*
 * q6_k.c - 16 blocks of 16 weights of 6 bits, w = d * scale * (q - 32).
 * Each half of 128 weights is four blocks of 32, b = 0..3:
 *     0  ql       64 bytes a half: low four bits; blocks 0, 1 in the low halves, 2, 3 in the high
 *   128  qh       32 bytes a half: bits 2b, 2b + 1 of byte j are the high bits of q[j] of block b
 *   192  scales   16 signed bytes, one for each 16 weights
 *   208  d        F16
 *
 * Source of layout and dequantization: ggml (ggml-common.h block_q6_K, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct q6_k_block {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
} q6_k_block;
_Static_assert(sizeof(q6_k_block) == 210, "q6_k block");

#define Q_BYTES 210
#define Q_BLOCKS 8
#define Q_KIND VI_U6
#define Q_BIAS 32
#define Q_UNIT 4
#define Q_STEPS 2
#define Q_SCALES 2
#define Q_MINS 0
#include "base/simd.h"

typedef struct q_head {
    vf d, m;
    vi s[4]; /* the 16 scales */
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = h->m = vf_from_f16_low(vi_shr(vi_rows4(p + 206, stride), 16));
    vi_rows16(p + 192, stride, h->s);
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    return vi_sra24(vi_shl(h->s[b / 2], 24 - 8 * (b % 2 * 2 + half)));
}
LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[4][4])
{
    const vi low = vi_set1(0x0f0f0f0f), high = vi_set1(0x30303030);
    vi q0[4], q1[4], qh[4];
    (void)h;
    vi_rows16(p + 64 * u + 16 * step, stride, q0);
    vi_rows16(p + 64 * u + 32 + 16 * step, stride, q1);
    vi_rows16(p + 128 + 32 * u + 16 * step, stride, qh);
    LAR_UNROLL
    for (int e = 0; e < 4; e++) {
        w[0][e] = vi_or(vi_and(q0[e], low), vi_and(vi_shl(qh[e], 4), high));
        w[1][e] = vi_or(vi_and(q1[e], low), vi_and(vi_shl(qh[e], 2), high));
        w[2][e] = vi_or(vi_and(vi_shr(q0[e], 4), low), vi_and(qh[e], high));
        w[3][e] = vi_or(vi_and(vi_shr(q1[e], 4), low), vi_and(vi_shr(qh[e], 2), high));
    }
}

#include "quant/dot.h"
#include "quant/k_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(q6_k_block), dst += 256) {
        q6_k_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d);
        for (int j = 0; j < 256; j++) {
            const int half = j / 128, k = j / 32 % 4, at = j % 32;
            const int lo = b.ql[64 * half + 32 * (k % 2) + at] >> 4 * (k / 2) & 15;
            const int q = lo | (b.qh[32 * half + at] >> 2 * k & 3) << 4;
            dst[j] = d * (float)b.scales[j / 16] * (float)(q - 32);
        }
    }
}

static const k_how how = {
    .group = 16, .max = 32, .sc_max = 127, .first = -0.9f, .step = 0.1f, .steps = 18};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += K_SUPER, p += sizeof(q6_k_block)) {
        q6_k_block b = {0};
        k_block k;
        k_symmetric(src + i, importance ? importance + i : NULL, &how, &k);
        b.d = k.d;
        for (int g = 0; g < 16; g++)
            b.scales[g] = (int8_t)k.sc[g];
        for (int j = 0; j < K_SUPER; j++) {
            const int half = j / 128, c = j / 32 % 4, at = j % 32, q = k.q[j] + 32;
            uint8_t *lo = &b.ql[64 * half + 32 * (c % 2) + at], *hi = &b.qh[32 * half + at];
            *lo = (uint8_t)(*lo | (q & 15) << 4 * (c / 2));
            *hi = (uint8_t)(*hi | q >> 4 << 2 * c);
        }
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(q6_k, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
