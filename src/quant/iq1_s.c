/*
 * iq1_s.c - 8 blocks of 32 weights of 1.5 bits, w = d / 8 * (2 * scale + 1) * value: each eight
 * choose an entry of a codebook of -1, 0, 1; an eighth is added to all of a block's, or subtracted.
 *    0  d    F16
 *    2  qs   a byte for each eight weights: the entry's low bits
 *   34  qh   16 bits for each 32 weights: four times the entries' three high bits, the scale of 3
 *            bits, and whether the eighth is subtracted
 * Source of layout and dequantization: ggml (ggml-common.h block_iq1_s, ggml-quants.c); of the
 * codebook: grids.c. Depends on quant/dot.h and quant/grid.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct iq1_s_block {
    uint16_t d;
    uint8_t qs[32];
    uint16_t qh[8];
} iq1_s_block;
_Static_assert(sizeof(iq1_s_block) == 50, "iq1_s block");

#define Q_BYTES 50
#define Q_BLOCKS 8
#define Q_KIND VI_U5
#define Q_BIAS 9
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 1
#define Q_MINS 0
#include "quant/grid.h"

/* Eight times the entry's -1, 0, 1 with an eighth added or, behind, subtracted; with Q_BIAS. */
static const int8_t values[16] = {2, 10, 18, 0, 0, 8, 16};

typedef struct q_head {
    vf d, m;
    vi qh[4];
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = h->m = vf_mul(vf_from_f16_low(vi_rows4(p, stride)), vf_set1(0.125f));
    vi_rows16(p + 34, stride, h->qh);
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    (void)half;
    return vi_or(vi_and(vi_shr(h->qh[b / 2], 16 * (b % 2) + 11), vi_set1(14)), vi_set1(1));
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    const vi more = vi_shr(h->qh[u / 2], 16 * (u % 2));
    const vi minus = vi_sub(vi_set1(0), vi_and(vi_shr(more, 15), vi_set1(1)));
    const vi shift = vi_and(minus, vi_set1(0x44444444));
    vi q[4];
    (void)step;
    vi_rows16(p + 2 + 16 * (u / 4), stride, q);
    LAR_UNROLL
    for (int l = 0; l < 4; l++) {
        const vi high = vi_and(vi_shr(more, 3 * l), vi_set1(7));
        const vi n = vi_gather(lar__grid_iq1, vi_or(grid_byte(q[u % 4], l), vi_shl(high, 8)));
        grid_bytes(values, vi_or(n, shift), w[l / 2] + l % 2 * 2);
    }
}

#include "quant/dot.h"
#include "quant/grid_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(iq1_s_block)) {
        iq1_s_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d) * 0.125f;
        for (int k = 0; k < 32; k++, dst += 8) {
            const unsigned more = b.qh[k / 4];
            const uint32_t q = lar__grid_iq1[b.qs[k] | (more >> k % 4 * 3 & 7) << 8];
            grid_weights(values + (more >> 15) * 4, Q_BIAS, q, 0,
                         d * (float)(2 * (more >> 12 & 7) + 1), dst);
        }
    }
}

static const grid_how how = {.grid = lar__grid_iq1,
                             .entries = 2048,
                             .dims = 8,
                             .sizes = 3,
                             .size = {{-7, 1, 9}, {-9, -1, 7}},
                             .signs = G_VALUES,
                             .shifted = 32,
                             .group = 32,
                             .max = 15,
                             .unit = 0.125f,
                             .first = 0.8f,
                             .step = 0.25f,
                             .steps = 2};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    grid_work work;
    grid_begin(&how, &work);
    for (int64_t i = 0; i < n; i += G_SUPER, p += sizeof(iq1_s_block)) {
        iq1_s_block b = {0};
        grid_block g;
        grid_fit(&work, src + i, importance ? importance + i : NULL, &g);
        b.d = g.d;
        for (int k = 0; k < 32; k++) {
            b.qs[k] = (uint8_t)g.entry[k];
            b.qh[k / 4] = (uint16_t)(b.qh[k / 4] | g.entry[k] >> 8 << k % 4 * 3);
        }
        for (int k = 0; k < 8; k++)
            b.qh[k] = (uint16_t)(b.qh[k] | g.sc[k] / 2 << 12 | g.signs[4 * k] << 15);
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(iq1_s, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
