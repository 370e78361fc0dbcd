/*
 * iq2_xs.c - 16 blocks of 16 weights of 2 bits, w = d / 8 * (2 * scale + 1) * value: each eight
 * choose an entry of a codebook and seven signs; the eighth makes the number of signs even.
 *    0  d        F16
 *    2  qs       16 bits for each eight weights: entry of 9 bits, seven signs
 *   66  scales   4 bits for each 16 weights
 * Source of layout and dequantization: ggml (ggml-common.h block_iq2_xs, ggml-quants.c); of the
 * codebook: grids.c. Depends on quant/dot.h and quant/grid.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct iq2_xs_block {
    uint16_t d;
    uint16_t qs[32];
    uint8_t scales[8];
} iq2_xs_block;
_Static_assert(sizeof(iq2_xs_block) == 74, "iq2_xs block");

#define Q_BYTES 74
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
    vi q[16]; /* two entries with signs */
    vi s[2];  /* the scales */
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = h->m = vf_mul(vf_from_f16_low(vi_rows4(p, stride)), vf_set1(0.125f));
    for (int i = 0; i < 4; i++)
        vi_rows16(p + 2 + 16 * i, stride, h->q + 4 * i);
    for (int i = 0; i < 2; i++)
        h->s[i] = vi_rows4(p + 66 + 4 * i, stride);
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    const vi s = vi_and(vi_shr(h->s[b / 4], 8 * (b % 4) + 4 * half), vi_set1(15));
    return vi_or(vi_shl(s, 1), vi_set1(1));
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    const vi *q = h->q + 2 * u;
    const vi s0 =
        vi_or(vi_and(vi_shr(q[0], 9), vi_set1(0x7f)), vi_and(vi_shr(q[0], 17), vi_set1(0x7f00)));
    const vi s1 = vi_or(vi_and(vi_shl(q[1], 7), vi_set1(0x7f0000)),
                        vi_and(vi_shr(q[1], 1), vi_set1(0x7f000000)));
    const vi signs = grid_even(vi_or(s0, s1));
    (void)p, (void)stride, (void)step;
    LAR_UNROLL
    for (int l = 0; l < 4; l++) {
        const vi entry = vi_and(vi_shr(q[l / 2], 16 * (l % 2)), vi_set1(511));
        const vi n = vi_gather(lar__grid_iq2_xs, entry);
        grid_bytes(values, vi_or(n, grid_signs(grid_byte(signs, l))), w[l / 2] + l % 2 * 2);
    }
}

#include "quant/dot.h"
#include "quant/grid_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(iq2_xs_block)) {
        iq2_xs_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d) * 0.125f;
        for (int k = 0; k < 32; k++, dst += 8) {
            const unsigned q = b.qs[k], s = b.scales[k / 4] >> k / 2 % 2 * 4 & 15;
            grid_weights(values, 0, lar__grid_iq2_xs[q & 511], grid_even1(q >> 9),
                         d * (float)(2 * s + 1), dst);
        }
    }
}

static const grid_how how = {.grid = lar__grid_iq2_xs,
                             .entries = 512,
                             .dims = 8,
                             .sizes = 3,
                             .size = {{8, 25, 43}},
                             .signs = G_EVEN_SIGNS,
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
    for (int64_t i = 0; i < n; i += G_SUPER, p += sizeof(iq2_xs_block)) {
        iq2_xs_block b = {0};
        grid_block g;
        grid_fit(&work, src + i, importance ? importance + i : NULL, &g);
        b.d = g.d;
        for (int k = 0; k < 32; k++)
            b.qs[k] = (uint16_t)(g.entry[k] | (g.signs[k] & 127) << 9);
        for (int k = 0; k < 8; k++)
            b.scales[k] = (uint8_t)(g.sc[2 * k] / 2 | g.sc[2 * k + 1] / 2 << 4);
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(iq2_xs, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
