/*
 * iq4_nl.c - 32 weights of 4 bits that choose from a table, w = d * values[q].
 *   0  d    F16
 *   2  qs   16 bytes: byte j holds q[j] in its low and q[j + 16] in its high four bits
 * Source of layout and dequantization: ggml (ggml-common.h block_iq4_nl, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct iq4_nl_block {
    uint16_t d;
    uint8_t qs[16];
} iq4_nl_block;
_Static_assert(sizeof(iq4_nl_block) == 18, "iq4_nl block");

#define Q_BYTES 18
#define Q_BLOCKS 1
#define Q_KIND VI_S8
#define Q_BIAS 0
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 0
#define Q_MINS 0
#include "base/simd.h"

static const int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

typedef struct q_head {
    vf d, m;
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = vf_from_f16_low(vi_rows4(p, stride));
    h->m = h->d;
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    const vi low = vi_set1(0x0f0f0f0f);
    vi q[4];
    (void)h, (void)u, (void)step;
    vi_rows16(p + 2, stride, q);
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
    for (int64_t i = 0; i < n; i += 32, p += sizeof(iq4_nl_block), dst += 32) {
        iq4_nl_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)values[b.qs[j] & 15];
            dst[j + 16] = d * (float)values[b.qs[j] >> 4];
        }
    }
}

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    float scale[K_LANES] = {0};
    for (int64_t i = 0; i < n; i += 32, p += sizeof(iq4_nl_block)) {
        const int at = (int)(i / 32 % K_LANES);
        iq4_nl_block b;
        if (at == 0) {
            k_lanes l;
            vf s, w;
            fit_load(src + i, importance ? importance + i : NULL,
                     (int)LAR_MIN(K_LANES, (n - i) / 32), -1, &l);
            iq4_fit(&l, &s, &w);
            vf_store(scale, s);
        }
        b.d = fit_half(scale[at]);
        iq4_pack(src + i, lar_f16_to_f32(b.d), b.qs);
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(iq4_nl, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
