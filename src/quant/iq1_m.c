/*
 * iq1_m.c - 16 blocks of 16 weights of 1.5 bits, w = d / 8 * (2 * scale + 1) * value: each eight
 * choose an entry of a codebook of -1, 0, 1, and whether an eighth is added or subtracted.
 *    0  qs       a byte for each eight weights: the entry's low bits
 *   32  qh       half a byte for each: the entry's three high bits, and whether the eighth is
 *                subtracted
 *   48  scales   four times 16 bits: four scales of 3 bits and four bits of d, an F16
 * Source of layout and dequantization: ggml (ggml-common.h block_iq1_m, ggml-quants.c); of the
 * codebook: grids.c. Depends on quant/dot.h and quant/grid.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct iq1_m_block {
    uint8_t qs[32];
    uint8_t qh[16];
    uint16_t scales[4];
} iq1_m_block;
_Static_assert(sizeof(iq1_m_block) == 56, "iq1_m block");

#define Q_BYTES 56
#define Q_BLOCKS 8
#define Q_KIND VI_U5
#define Q_BIAS 9
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 2
#define Q_MINS 0
#include "quant/grid.h"

/* Eight times the entry's -1, 0, 1 with an eighth added or, behind, subtracted; with Q_BIAS. */
static const int8_t values[16] = {2, 10, 18, 0, 0, 8, 16};

typedef struct q_head {
    vf d, m;
    vi qh[4], s[2];
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    vi_rows16(p + 32, stride, h->qh);
    for (int i = 0; i < 2; i++)
        h->s[i] = vi_rows4(p + 48 + 4 * i, stride);
    const vi low =
        vi_or(vi_and(vi_shr(h->s[0], 12), vi_set1(15)), vi_and(vi_shr(h->s[0], 24), vi_set1(0xf0)));
    const vi high = vi_or(vi_and(vi_shr(h->s[1], 4), vi_set1(0xf00)),
                          vi_and(vi_shr(h->s[1], 16), vi_set1(0xf000)));
    h->d = h->m = vf_mul(vf_from_f16_low(vi_or(low, high)), vf_set1(0.125f));
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    const int at = b / 2 % 2 * 16 + b % 2 * 6 + 3 * half;
    return vi_or(vi_shl(vi_and(vi_shr(h->s[b / 4], at), vi_set1(7)), 1), vi_set1(1));
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    vi q[4];
    (void)step;
    vi_rows16(p + 16 * (u / 4), stride, q);
    LAR_UNROLL
    for (int l = 0; l < 4; l++) {
        const vi more = vi_shr(h->qh[u / 2], 16 * (u % 2) + 4 * l);
        const vi minus = vi_sub(vi_set1(0), vi_and(vi_shr(more, 3), vi_set1(1)));
        const vi high = vi_shl(vi_and(more, vi_set1(7)), 8);
        const vi n = vi_gather(lar__grid_iq1, vi_or(grid_byte(q[u % 4], l), high));
        grid_bytes(values, vi_or(n, vi_and(minus, vi_set1(0x44444444))), w[l / 2] + l % 2 * 2);
    }
}

#include "quant/dot.h"
#include "quant/grid_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(iq1_m_block)) {
        iq1_m_block b;
        memcpy(&b, p, sizeof b);
        unsigned half = 0;
        for (int k = 0; k < 4; k++)
            half |= (unsigned)b.scales[k] >> 12 << 4 * k;
        const float d = lar_f16_to_f32((uint16_t)half) * 0.125f;
        for (int k = 0; k < 32; k++, dst += 8) {
            const unsigned more = b.qh[k / 2] >> k % 2 * 4;
            const uint32_t q = lar__grid_iq1[b.qs[k] | (more & 7) << 8];
            grid_weights(values + (more >> 3 & 1) * 4, Q_BIAS, q, 0,
                         d * (float)(2 * (b.scales[k / 8] >> k / 2 % 4 * 3 & 7) + 1), dst);
        }
    }
}

static const grid_how how = {.grid = lar__grid_iq1,
                             .entries = 2048,
                             .dims = 8,
                             .sizes = 3,
                             .size = {{-7, 1, 9}, {-9, -1, 7}},
                             .signs = G_VALUES,
                             .shifted = 8,
                             .group = 16,
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
    for (int64_t i = 0; i < n; i += G_SUPER, p += sizeof(iq1_m_block)) {
        iq1_m_block b = {0};
        grid_block g;
        grid_fit(&work, src + i, importance ? importance + i : NULL, &g);
        for (int k = 0; k < 32; k++) {
            b.qs[k] = (uint8_t)g.entry[k];
            b.qh[k / 2] = (uint8_t)(b.qh[k / 2] | (g.entry[k] >> 8 | g.signs[k] << 3) << k % 2 * 4);
        }
        for (int k = 0; k < 4; k++)
            b.scales[k] = (uint16_t)((g.d >> 4 * k & 15) << 12);
        for (int k = 0; k < 16; k++)
            b.scales[k / 4] = (uint16_t)(b.scales[k / 4] | g.sc[k] / 2 << k % 4 * 3);
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(iq1_m, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
