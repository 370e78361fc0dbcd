/*
 * q2_k.c - 16 blocks of 16 weights of 2 bits, w = d * scale * q - dmin * min.
 *    0  scales   16 bytes, one for each 16 weights: scale in the low, min in the high half
 *   16  qs       32 bytes for 128 weights: bits 2b, 2b + 1 of byte j are q[j] of the b-th 32
 *   80  d        F16
 *   82  dmin     F16
 * Source of layout and dequantization: ggml (ggml-common.h block_q2_K, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct q2_k_block {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
} q2_k_block;
_Static_assert(sizeof(q2_k_block) == 84, "q2_k block");

#define Q_BYTES 84
#define Q_BLOCKS 8
#define Q_KIND VI_U4
#define Q_BIAS 0
#define Q_UNIT 4
#define Q_STEPS 2
#define Q_SCALES 2
#define Q_MINS 3
#include "base/simd.h"

typedef struct q_head {
    vf d, m;
    vi s[4]; /* the 16 scales and minima */
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    vi t = vi_rows4(p + 80, stride);
    h->d = vf_from_f16_low(t);
    h->m = vf_neg(vf_from_f16_low(vi_shr(t, 16)));
    vi_rows16(p, stride, h->s);
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    return vi_and(vi_shr(h->s[b / 2], 8 * (b % 2 * 2 + half)), vi_set1(15));
}
LAR_INLINE vi q_min(const q_head *h, int b, int half)
{
    return vi_and(vi_shr(h->s[b / 2], 8 * (b % 2 * 2 + half) + 4), vi_set1(15));
}
LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[4][4])
{
    const vi low = vi_set1(0x03030303);
    vi q[4];
    (void)h;
    vi_rows16(p + 16 + 32 * u + 16 * step, stride, q);
    LAR_UNROLL
    for (int b = 0; b < 4; b++) {
        LAR_UNROLL
        for (int e = 0; e < 4; e++)
            w[b][e] = vi_and(vi_shr(q[e], 2 * b), low);
    }
}

#include "quant/dot.h"
#include "quant/k_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(q2_k_block), dst += 256) {
        q2_k_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d), dmin = lar_f16_to_f32(b.dmin);
        for (int j = 0; j < 256; j++) {
            const int s = b.scales[j / 16], q = b.qs[j / 128 * 32 + j % 32] >> 2 * (j / 32 % 4) & 3;
            dst[j] = d * (float)(s & 15) * (float)q - dmin * (float)(s >> 4);
        }
    }
}

static const k_how how = {
    .group = 16, .max = 3, .sc_max = 15, .first = -0.5f, .step = 0.1f, .steps = 15, .plain = true};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += K_SUPER, p += sizeof(q2_k_block)) {
        q2_k_block b = {0};
        k_block k;
        k_affine(src + i, importance ? importance + i : NULL, 1, &how, &k);
        b.d = k.d;
        b.dmin = k.dmin;
        for (int g = 0; g < 16; g++)
            b.scales[g] = (uint8_t)(k.sc[g] | k.mn[g] << 4);
        for (int j = 0; j < K_SUPER; j++) {
            uint8_t *at = &b.qs[j / 128 * 32 + j % 32];
            *at = (uint8_t)(*at | k.q[j] << 2 * (j / 32 % 4));
        }
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(q2_k, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
