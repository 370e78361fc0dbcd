/*
 * iq4_xs.c - 8 blocks of 32 weights of 4 bits that choose from a table.
 *   0  d        F16
 *   2  high     16 bits, little-endian: bits 2b, 2b + 1 are the high bits of scale b
 *   4  low      4 bytes: low bits of scale b in byte b / 2, low half first
 *   8  qs       128 bytes: of block b, byte 16b + j holds q[j] and q[j + 16]
 * w = d * (scale[b] - 32) * values[q]
 * Source of layout and dequantization: ggml (ggml-common.h block_iq4_xs, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct iq4_xs_block {
    uint16_t d, high;
    uint8_t low[4];
    uint8_t qs[128];
} iq4_xs_block;
_Static_assert(sizeof(iq4_xs_block) == 136, "iq4_xs block");

#define Q_BYTES 136
#define Q_BLOCKS 8
#define Q_KIND VI_S8
#define Q_BIAS 0
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 1
#define Q_MINS 0
#include "base/simd.h"

static const int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

typedef struct q_head {
    vf d, m;
    vi high, low;
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    vi t = vi_rows4(p, stride);
    h->d = h->m = vf_from_f16_low(t);
    h->high = vi_shr(t, 16);
    h->low = vi_rows4(p + 4, stride);
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    (void)half;
    vi lo = vi_and(vi_shr(h->low, 4 * b), vi_set1(15));
    vi hi = vi_and(vi_shr(h->high, 2 * b), vi_set1(3));
    return vi_sub(vi_or(lo, vi_shl(hi, 4)), vi_set1(32));
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    const vi low = vi_set1(0x0f0f0f0f);
    vi q[4];
    (void)h, (void)step;
    vi_rows16(p + 8 + 16 * u, stride, q);
    LAR_UNROLL
    for (int e = 0; e < 4; e++) {
        w[0][e] = vi_lut16(values, vi_and(q[e], low));
        w[1][e] = vi_lut16(values, vi_and(vi_shr(q[e], 4), low));
    }
}

#include "quant/dot.h"
#include "quant/iq4_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(iq4_xs_block), dst += 256) {
        iq4_xs_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d);
        for (int k = 0; k < 8; k++) {
            const int low = b.low[k / 2] >> 4 * (k % 2) & 15;
            const float dl = d * (float)((low | (b.high >> 2 * k & 3) << 4) - 32);
            for (int j = 0; j < 16; j++) {
                dst[32 * k + j] = dl * (float)values[b.qs[16 * k + j] & 15];
                dst[32 * k + j + 16] = dl * (float)values[b.qs[16 * k + j] >> 4];
            }
        }
    }
}

static const k_how how = {.group = 32};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += K_SUPER, p += sizeof(iq4_xs_block)) {
        iq4_xs_block b = {0};
        float scale[K_LANES], weight[K_LANES];
        int sc[8];
        k_lanes l;
        vf s, w;
        k_load(src + i, importance ? importance + i : NULL, 8, &how, true, &l);
        iq4_fit(&l, &s, &w);
        vf_store(scale, s);
        vf_store(weight, w);
        b.d = k_scales(scale, weight, 8, -32, 31, sc);
        for (int g = 0; g < 8; g++) {
            const int u = sc[g] + 32;
            b.low[g / 2] = (uint8_t)(b.low[g / 2] | (u & 15) << g % 2 * 4);
            b.high = (uint16_t)(b.high | u >> 4 << 2 * g);
            iq4_pack(src + i + 32 * g, lar_f16_to_f32(b.d) * (float)sc[g], b.qs + 16 * g);
        }
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(iq4_xs, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
