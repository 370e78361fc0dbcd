/*
 * iq3_s.c - 8 blocks of 32 weights of 3 bits, w = d * (2 * scale + 1) * value: each four choose
 * an entry of a codebook of 512, and signs.
 *     0  d        F16
 *     2  qs       a byte for each four weights: the entry's low bits
 *    66  qh       the entries' high bit
 *    74  signs    a bit for each weight
 *   106  scales   4 bits for each 32 weights
 * Source of layout and dequantization: ggml (ggml-common.h block_iq3_s, ggml-quants.c); of the
 * codebook: grids.c. Depends on quant/dot.h and quant/grid.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct iq3_s_block {
    uint16_t d;
    uint8_t qs[64];
    uint8_t qh[8];
    uint8_t signs[32];
    uint8_t scales[4];
} iq3_s_block;
_Static_assert(sizeof(iq3_s_block) == 110, "iq3_s block");

#define Q_BYTES 110
#define Q_BLOCKS 8
#define Q_KIND VI_U5
#define Q_BIAS 15
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 1
#define Q_MINS 0
#include "quant/grid.h"

/* By entry, then sign; with Q_BIAS added. */
static const int8_t values[16] = {16, 18, 20, 22, 24, 26, 28, 30, 14, 12, 10, 8, 6, 4, 2, 0};

typedef struct q_head {
    vf d, m;
    vi qh[2], s;
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = h->m = vf_from_f16_low(vi_rows4(p, stride));
    for (int i = 0; i < 2; i++)
        h->qh[i] = vi_rows4(p + 66 + 4 * i, stride);
    h->s = vi_rows4(p + 106, stride);
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    (void)half;
    return vi_or(vi_shl(vi_and(vi_shr(h->s, 4 * b), vi_set1(15)), 1), vi_set1(1));
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    vi q[4], signs[4];
    (void)step;
    vi_rows16(p + 2 + 16 * (u / 2), stride, q);
    vi_rows16(p + 74 + 16 * (u / 4), stride, signs);
    const vi high = vi_shr(h->qh[u / 4], 8 * (u % 4));
    LAR_UNROLL
    for (int l = 0; l < 4; l++) {
        const vi e = q[u % 2 * 2 + l / 2], top = vi_set1(256);
        const vi ha = vi_and(vi_shl(high, 8 - 2 * l), top);
        const vi hb = vi_and(vi_shl(high, 7 - 2 * l), top);
        const vi a = vi_gather(lar__grid_iq3_s, vi_or(grid_byte(e, l % 2 * 2), ha));
        const vi b = vi_gather(lar__grid_iq3_s, vi_or(grid_byte(e, l % 2 * 2 + 1), hb));
        grid_fours(values, a, b, grid_signs(grid_byte(signs[u % 4], l)), w[l / 2] + l % 2 * 2);
    }
}

#include "quant/dot.h"
#include "quant/grid_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(iq3_s_block)) {
        iq3_s_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d);
        for (int k = 0; k < 32; k++, dst += 8) {
            const int high = b.qh[k / 4] >> k % 4 * 2, s = b.scales[k / 8] >> k / 4 % 2 * 4 & 15;
            const uint32_t lo = lar__grid_iq3_s[b.qs[2 * k] | (high & 1) << 8];
            const uint32_t hi = lar__grid_iq3_s[b.qs[2 * k + 1] | (high & 2) << 7];
            grid_weights(values, Q_BIAS, lo | hi << 4, b.signs[k], d * (float)(2 * s + 1), dst);
        }
    }
}

static const grid_how how = {.grid = lar__grid_iq3_s,
                             .entries = 512,
                             .dims = 4,
                             .sizes = 8,
                             .size = {{1, 3, 5, 7, 9, 11, 13, 15}},
                             .signs = G_ANY_SIGNS,
                             .group = 32,
                             .max = 31,
                             .unit = 1,
                             .first = 0.7f,
                             .step = 0.1f,
                             .steps = 6};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    grid_work work;
    grid_begin(&how, &work);
    for (int64_t i = 0; i < n; i += G_SUPER, p += sizeof(iq3_s_block)) {
        iq3_s_block b = {0};
        grid_block g;
        grid_fit(&work, src + i, importance ? importance + i : NULL, &g);
        b.d = g.d;
        memcpy(b.signs, g.signs, sizeof b.signs);
        for (int k = 0; k < 64; k++) {
            b.qs[k] = (uint8_t)g.entry[k];
            b.qh[k / 8] = (uint8_t)(b.qh[k / 8] | g.entry[k] >> 8 << k % 8);
        }
        for (int k = 0; k < 4; k++)
            b.scales[k] = (uint8_t)(g.sc[2 * k] / 2 | g.sc[2 * k + 1] / 2 << 4);
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(iq3_s, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
