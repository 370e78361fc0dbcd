/*
 * iq2_s.c - 16 blocks of 16 weights of 2 bits, w = d / 8 * (2 * scale + 1) * value: each eight
 * choose an entry of a codebook of 1,024, and signs.
 *    0  d        F16
 *    2  qs       a byte for each eight weights: the entry's low bits
 *   34  signs    a byte for each eight weights
 *   66  qh       the entries' two high bits
 *   74  scales   4 bits for each 16 weights
 * Source of layout and dequantization: ggml (ggml-common.h block_iq2_s, ggml-quants.c); of the
 * codebook: grids.c. Depends on quant/dot.h and quant/grid.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct iq2_s_block {
    uint16_t d;
    uint8_t qs[32];
    uint8_t signs[32];
    uint8_t qh[8];
    uint8_t scales[8];
} iq2_s_block;
_Static_assert(sizeof(iq2_s_block) == 82, "iq2_s block");

#define Q_BYTES 82
#define Q_BLOCKS 8
#define Q_KIND VI_S8
#define Q_BIAS 0
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 2
#define Q_MINS 0
#include "quant/grid.h"

/* By entry, then sign. */
static const int8_t values[16] = {8, 25, 43, 0, 0, 0, 0, 0, -8, -25, -43};

typedef struct q_head {
    vf d, m;
    vi qh[2], s[2];
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = h->m = vf_mul(vf_from_f16_low(vi_rows4(p, stride)), vf_set1(0.125f));
    vi t[4];
    vi_rows16(p + 66, stride, t);
    h->qh[0] = t[0], h->qh[1] = t[1], h->s[0] = t[2], h->s[1] = t[3];
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    const vi s = vi_and(vi_shr(h->s[b / 4], 8 * (b % 4) + 4 * half), vi_set1(15));
    return vi_or(vi_shl(s, 1), vi_set1(1));
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    vi q[4], signs[4];
    (void)step;
    vi_rows16(p + 2 + 16 * (u / 4), stride, q);
    vi_rows16(p + 34 + 16 * (u / 4), stride, signs);
    LAR_UNROLL
    for (int l = 0; l < 4; l++) {
        const vi high = vi_and(vi_shr(h->qh[u / 4], 8 * (u % 4) + 2 * l), vi_set1(3));
        const vi n = vi_gather(lar__grid_iq2_s, vi_or(grid_byte(q[u % 4], l), vi_shl(high, 8)));
        grid_bytes(values, vi_or(n, grid_signs(grid_byte(signs[u % 4], l))), w[l / 2] + l % 2 * 2);
    }
}

#include "quant/dot.h"
#include "quant/grid_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(iq2_s_block)) {
        iq2_s_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d) * 0.125f;
        for (int k = 0; k < 32; k++, dst += 8) {
            const int entry = b.qs[k] | (b.qh[k / 4] >> k % 4 * 2 & 3) << 8;
            const int s = b.scales[k / 4] >> k / 2 % 2 * 4 & 15;
            grid_weights(values, 0, lar__grid_iq2_s[entry], b.signs[k], d * (float)(2 * s + 1),
                         dst);
        }
    }
}

static const grid_how how = {.grid = lar__grid_iq2_s,
                             .entries = 1024,
                             .dims = 8,
                             .sizes = 3,
                             .size = {{8, 25, 43}},
                             .signs = G_ANY_SIGNS,
                             .group = 16,
                             .max = 31,
                             .unit = 0.125f,
                             .first = 0.8f,
                             .step = 0.25f,
                             .steps = 2};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    grid_work work;
    grid_begin(&how, &work);
    for (int64_t i = 0; i < n; i += G_SUPER, p += sizeof(iq2_s_block)) {
        iq2_s_block b = {0};
        grid_block g;
        grid_fit(&work, src + i, importance ? importance + i : NULL, &g);
        b.d = g.d;
        memcpy(b.signs, g.signs, sizeof b.signs);
        for (int k = 0; k < 32; k++) {
            b.qs[k] = (uint8_t)g.entry[k];
            b.qh[k / 4] = (uint8_t)(b.qh[k / 4] | g.entry[k] >> 8 << k % 4 * 2);
        }
        for (int k = 0; k < 8; k++)
            b.scales[k] = (uint8_t)(g.sc[2 * k] / 2 | g.sc[2 * k + 1] / 2 << 4);
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(iq2_s, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
