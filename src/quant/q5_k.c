/*
 * q5_k.c - 8 blocks of 32 weights of 5 bits, w = d * scale[b] * q - dmin * min[b].
 *   0  d        F16
 *   2  dmin     F16
 *   4  scales   12 bytes, as Q4_K has them (q4_k.c)
 *  16  qh       32 bytes: bit b of byte j is the fifth bit of q[j] of block b
 *  48  qs       128 bytes: 32 bytes for two blocks, the even one in the low halves
 *
 * Source of layout and dequantization: ggml (ggml-common.h block_q5_K, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct q5_k_block {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} q5_k_block;
_Static_assert(sizeof(q5_k_block) == 176, "q5_k block");

#define Q_BYTES 176
#define Q_BLOCKS 8
#define Q_KIND VI_U5
#define Q_BIAS 0
#define Q_UNIT 2
#define Q_STEPS 2
#define Q_SCALES 1
#define Q_MINS 2
#include "quant/k_scales.h"

/* Bit b of every byte to its bit 4. */
LAR_INLINE vi fifth_bit(vi qh, int b)
{
    return vi_and(b <= 4 ? vi_shl(qh, 4 - b) : vi_shr(qh, b - 4), vi_set1(0x10101010));
}
LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    const vi low = vi_set1(0x0f0f0f0f);
    vi q[4], qh[4];
    (void)h;
    vi_rows16(p + 16 + 16 * step, stride, qh);
    vi_rows16(p + 48 + 32 * u + 16 * step, stride, q);
    LAR_UNROLL
    for (int e = 0; e < 4; e++) {
        w[0][e] = vi_or(vi_and(q[e], low), fifth_bit(qh[e], 2 * u));
        w[1][e] = vi_or(vi_and(vi_shr(q[e], 4), low), fifth_bit(qh[e], 2 * u + 1));
    }
}

#include "quant/dot.h"
#include "quant/k_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(q5_k_block), dst += 256) {
        q5_k_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d), dmin = lar_f16_to_f32(b.dmin);
        for (int k = 0; k < 8; k++) {
            int sc, mn;
            k_scale_min(b.scales, k, &sc, &mn);
            const float dl = d * (float)sc, ml = dmin * (float)mn;
            for (int j = 0; j < 32; j++) {
                const int q = b.qs[k / 2 * 32 + j] >> 4 * (k % 2) & 15;
                dst[32 * k + j] = dl * (float)(q | (b.qh[j] >> k & 1) << 4) - ml;
            }
        }
    }
}

static const k_how how = {
    .group = 32, .max = 31, .sc_max = 63, .first = -0.5f, .step = 0.1f, .steps = 15};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += 2 * K_SUPER) {
        const int m = (int)LAR_MIN(2, (n - i) / K_SUPER);
        k_block k[2];
        k_affine(src + i, importance ? importance + i : NULL, m, &how, k);
        for (int j = 0; j < m; j++, p += sizeof(q5_k_block)) {
            q5_k_block b = {.d = k[j].d, .dmin = k[j].dmin};
            k_pack_scales(&k[j], b.scales);
            for (int c = 0; c < 128; c++) {
                const int at = c / 32 * 64 + c % 32;
                b.qs[c] = (uint8_t)((k[j].q[at] & 15) | (k[j].q[at + 32] & 15) << 4);
            }
            for (int c = 0; c < K_SUPER; c++)
                b.qh[c % 32] = (uint8_t)(b.qh[c % 32] | k[j].q[c] >> 4 << c / 32);
            memcpy(p, &b, sizeof b);
        }
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(q5_k, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
