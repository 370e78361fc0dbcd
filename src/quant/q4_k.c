/*
 * q4_k.c - 8 blocks of 32 weights of 4 bits, w = d * scale[b] * q - dmin * min[b].
 *   0  d        F16
 *   2  dmin     F16
 *   4  scales   12 bytes: six-bit scale[b] and min[b]. b < 4: low six bits of bytes b and b + 4;
 *               b >= 4: low and high half of byte b + 4, with the two top bits of bytes b - 4
 *               and b above
 *  16  qs       128 bytes: 32 bytes for two blocks, the even one in the low halves
 *
 * Source of layout and dequantization: ggml (ggml-common.h block_q4_K, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct q4_k_block {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} q4_k_block;
_Static_assert(sizeof(q4_k_block) == 144, "q4_k block");

#define Q_BYTES 144
#define Q_BLOCKS 8
#define Q_KIND VI_U4
#define Q_BIAS 0
#define Q_UNIT 2
#define Q_STEPS 2
#define Q_SCALES 1
#define Q_MINS 2
#include "quant/k_scales.h"

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    const vi low = vi_set1(0x0f0f0f0f);
    vi q[4];
    (void)h;
    vi_rows16(p + 16 + 32 * u + 16 * step, stride, q);
    LAR_UNROLL
    for (int e = 0; e < 4; e++) {
        w[0][e] = vi_and(q[e], low);
        w[1][e] = vi_and(vi_shr(q[e], 4), low);
    }
}

#include "quant/dot.h"
#include "quant/k_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(q4_k_block), dst += 256) {
        q4_k_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d), dmin = lar_f16_to_f32(b.dmin);
        for (int k = 0; k < 8; k++) {
            int sc, mn;
            k_scale_min(b.scales, k, &sc, &mn);
            const float dl = d * (float)sc, ml = dmin * (float)mn;
            for (int j = 0; j < 32; j++)
                dst[32 * k + j] = dl * (float)(b.qs[k / 2 * 32 + j] >> 4 * (k % 2) & 15) - ml;
        }
    }
}

static const k_how how = {
    .group = 32, .max = 15, .sc_max = 63, .first = -1, .step = 0.1f, .steps = 20};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += 2 * K_SUPER) {
        const int m = (int)LAR_MIN(2, (n - i) / K_SUPER);
        k_block k[2];
        k_affine(src + i, importance ? importance + i : NULL, m, &how, k);
        for (int j = 0; j < m; j++, p += sizeof(q4_k_block)) {
            q4_k_block b = {.d = k[j].d, .dmin = k[j].dmin};
            k_pack_scales(&k[j], b.scales);
            for (int c = 0; c < 128; c++) {
                const int at = c / 32 * 64 + c % 32;
                b.qs[c] = (uint8_t)(k[j].q[at] | k[j].q[at + 32] << 4);
            }
            memcpy(p, &b, sizeof b);
        }
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(q4_k, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
