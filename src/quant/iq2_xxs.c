/*
 * iq2_xxs.c - 8 blocks of 32 weights of 2 bits, w = d / 8 * (2 * scale + 1) * value: each eight
 * choose an entry of a codebook and seven signs; the eighth makes the number of signs even.
 *   0  d    F16
 *   2  qs   8 bytes for each 32 weights: four entries of 8 bits, then as a 32-bit number four
 *           times seven signs and the scale of 4 bits
 * Source of layout and dequantization: ggml (ggml-common.h block_iq2_xxs, ggml-quants.c); of the
 * codebook: grids.c. Depends on quant/dot.h and quant/grid.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct iq2_xxs_block {
    uint16_t d;
    uint8_t qs[64];
} iq2_xxs_block;
_Static_assert(sizeof(iq2_xxs_block) == 66, "iq2_xxs block");

#define Q_BYTES 66
#define Q_BLOCKS 8
#define Q_KIND VI_S8
#define Q_BIAS 0
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 1
#define Q_MINS 0
#include "quant/grid.h"

/* By entry, then sign. */
static const int8_t values[16] = {8, 25, 43, 0, 0, 0, 0, 0, -8, -25, -43};

typedef struct q_head {
    vf d, m;
    vi q[8][2]; /* entries; signs and scale */
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = h->m = vf_mul(vf_from_f16_low(vi_rows4(p, stride)), vf_set1(0.125f));
    for (int i = 0; i < 4; i++)
        vi_rows16(p + 2 + 16 * i, stride, h->q[2 * i]);
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    (void)half;
    return vi_or(vi_shl(vi_shr(h->q[b][1], 28), 1), vi_set1(1));
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    const vi signs = grid_even(grid_sevens(h->q[u][1]));
    (void)p, (void)stride, (void)step;
    LAR_UNROLL
    for (int l = 0; l < 4; l++) {
        const vi n = vi_gather(lar__grid_iq2_xxs, grid_byte(h->q[u][0], l));
        grid_bytes(values, vi_or(n, grid_signs(grid_byte(signs, l))), w[l / 2] + l % 2 * 2);
    }
}

#include "quant/dot.h"
#include "quant/grid_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(iq2_xxs_block)) {
        iq2_xxs_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d) * 0.125f;
        for (int k = 0; k < 32; k++, dst += 8) {
            const uint8_t *q = b.qs + k / 4 * 8;
            const uint32_t more = lar_u32(q + 4);
            grid_weights(values, 0, lar__grid_iq2_xxs[q[k % 4]],
                         grid_even1(more >> 7 * (k % 4) & 127), d * (float)(2 * (more >> 28) + 1),
                         dst);
        }
    }
}

static const grid_how how = {.grid = lar__grid_iq2_xxs,
                             .entries = 256,
                             .dims = 8,
                             .sizes = 3,
                             .size = {{8, 25, 43}},
                             .signs = G_EVEN_SIGNS,
                             .group = 32,
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
    for (int64_t i = 0; i < n; i += G_SUPER, p += sizeof(iq2_xxs_block)) {
        iq2_xxs_block b = {0};
        grid_block g;
        grid_fit(&work, src + i, importance ? importance + i : NULL, &g);
        b.d = g.d;
        for (int k = 0; k < 8; k++) {
            uint32_t more = (uint32_t)(g.sc[k] / 2) << 28;
            for (int l = 0; l < 4; l++) {
                b.qs[8 * k + l] = (uint8_t)g.entry[4 * k + l];
                more |= (uint32_t)(g.signs[4 * k + l] & 127) << 7 * l;
            }
            memcpy(b.qs + 8 * k + 4, &more, 4);
        }
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(iq2_xxs, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
