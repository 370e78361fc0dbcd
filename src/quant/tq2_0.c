/*
 * tq2_0.c - 256 weights of -1, 0 or 1, w = d * (q - 1).
 *    0  qs   32 bytes for 128 weights: bits 2b, 2b + 1 of byte j are q[j] of the b-th 32
 *   64  d    F16
 * Source of layout and dequantization: ggml (ggml-common.h block_tq2_0, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct tq2_0_block {
    uint8_t qs[64];
    uint16_t d;
} tq2_0_block;
_Static_assert(sizeof(tq2_0_block) == 66, "tq2_0 block");

#define Q_BYTES 66
#define Q_BLOCKS 8
#define Q_KIND VI_U4
#define Q_BIAS 1
#define Q_UNIT 4
#define Q_STEPS 2
#define Q_SCALES 0
#define Q_MINS 0
#include "base/simd.h"

typedef struct q_head {
    vf d, m;
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = h->m = vf_from_f16_low(vi_shr(vi_rows4(p + 62, stride), 16));
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[4][4])
{
    const vi low = vi_set1(0x03030303);
    vi q[4];
    (void)h;
    vi_rows16(p + 32 * u + 16 * step, stride, q);
    LAR_UNROLL
    for (int b = 0; b < 4; b++) {
        LAR_UNROLL
        for (int e = 0; e < 4; e++)
            w[b][e] = vi_and(vi_shr(q[e], 2 * b), low);
    }
}

#include "quant/dot.h"
#include "quant/tq_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(tq2_0_block), dst += 256) {
        tq2_0_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d);
        for (int j = 0; j < 256; j++)
            dst[j] = d * (float)((b.qs[j / 128 * 32 + j % 32] >> 2 * (j / 32 % 4) & 3) - 1);
    }
}

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += TQ_SUPER, p += sizeof(tq2_0_block)) {
        uint8_t q[TQ_SUPER];
        tq2_0_block b = {.d = tq_fit(src + i, importance ? importance + i : NULL, q)};
        for (int j = 0; j < TQ_SUPER; j++) {
            uint8_t *at = &b.qs[j / 128 * 32 + j % 32];
            *at = (uint8_t)(*at | q[j] << 2 * (j / 32 % 4));
        }
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(tq2_0, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
