/*
 * q3_k.c - 16 blocks of 16 weights of 3 bits, w = d * (scale - 32) * (q - 4).
 *     0  hmask    32 bytes: bit b of byte j is the third bit of q[j] of the b-th 32
 *    32  qs       32 bytes for 128 weights: bits 2b, 2b + 1 of byte j are the low bits of the
 *                 b-th 32
 *    96  scales   12 bytes: six-bit scale[i] of each 16 weights; its low half in byte i % 8, low
 *                 half first, its two high bits in byte 8 + i % 4 at 2 * (i / 4)
 *   108  d        F16
 *
 * Source of layout and dequantization: ggml (ggml-common.h block_q3_K, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct q3_k_block {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
} q3_k_block;
_Static_assert(sizeof(q3_k_block) == 110, "q3_k block");

#define Q_BYTES 110
#define Q_BLOCKS 8
#define Q_KIND VI_U4
#define Q_BIAS 4
#define Q_UNIT 4
#define Q_STEPS 2
#define Q_SCALES 2
#define Q_MINS 0
#include "base/simd.h"

typedef struct q_head {
    vf d, m;
    vi s[3]; /* the 12 bytes of scales */
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = h->m = vf_from_f16_low(vi_shr(vi_rows4(p + 106, stride), 16));
    for (int i = 0; i < 3; i++)
        h->s[i] = vi_rows4(p + 96 + 4 * i, stride);
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    const int i = 2 * b + half;
    vi lo = vi_and(vi_shr(h->s[i / 4 % 2], 8 * (i % 4) + i / 8 * 4), vi_set1(15));
    vi hi = vi_and(vi_shr(h->s[2], 8 * (i % 4) + i / 4 * 2), vi_set1(3));
    return vi_sub(vi_or(lo, vi_shl(hi, 4)), vi_set1(32));
}
/* Bit b of every byte to its bit 2. */
LAR_INLINE vi third_bit(vi hmask, int b)
{
    return vi_and(b <= 2 ? vi_shl(hmask, 2 - b) : vi_shr(hmask, b - 2), vi_set1(0x04040404));
}
LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[4][4])
{
    const vi low = vi_set1(0x03030303);
    vi q[4], hm[4];
    (void)h;
    vi_rows16(p + 16 * step, stride, hm);
    vi_rows16(p + 32 + 32 * u + 16 * step, stride, q);
    LAR_UNROLL
    for (int b = 0; b < 4; b++) {
        LAR_UNROLL
        for (int e = 0; e < 4; e++)
            w[b][e] = vi_or(vi_and(vi_shr(q[e], 2 * b), low), third_bit(hm[e], 4 * u + b));
    }
}

#include "quant/dot.h"
#include "quant/k_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(q3_k_block), dst += 256) {
        q3_k_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d);
        for (int j = 0; j < 256; j++) {
            const int g = j / 16, k = j / 32;
            const int sc =
                (b.scales[g % 8] >> g / 8 * 4 & 15) | (b.scales[8 + g % 4] >> g / 4 * 2 & 3) << 4;
            const int q = b.qs[j / 128 * 32 + j % 32] >> 2 * (k % 4) & 3;
            dst[j] = d * (float)(sc - 32) * (float)((q | (b.hmask[j % 32] >> k & 1) << 2) - 4);
        }
    }
}

static const k_how how = {
    .group = 16, .max = 4, .sc_max = 31, .first = -0.9f, .step = 0.1f, .steps = 18};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += K_SUPER, p += sizeof(q3_k_block)) {
        q3_k_block b = {0};
        k_block k;
        k_symmetric(src + i, importance ? importance + i : NULL, &how, &k);
        b.d = k.d;
        for (int g = 0; g < 16; g++) {
            const int s = k.sc[g] + 32;
            b.scales[g % 8] = (uint8_t)(b.scales[g % 8] | (s & 15) << g / 8 * 4);
            b.scales[8 + g % 4] = (uint8_t)(b.scales[8 + g % 4] | s >> 4 << g / 4 * 2);
        }
        for (int j = 0; j < K_SUPER; j++) {
            const int q = k.q[j] + 4;
            uint8_t *at = &b.qs[j / 128 * 32 + j % 32];
            *at = (uint8_t)(*at | (q & 3) << 2 * (j / 32 % 4));
            b.hmask[j % 32] = (uint8_t)(b.hmask[j % 32] | q >> 2 << j / 32);
        }
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(q3_k, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
