/*
 * iq3_xxs.c - 8 blocks of 32 weights of 3 bits, w = d / 4 * (2 * scale + 1) * value: each four
 * choose an entry of a codebook, each eight seven signs; the eighth makes the number of signs even.
 *    0  d      F16
 *    2  qs     a byte for each four weights
 *   66  more   as a 32-bit number for each 32 weights four times seven signs and the scale of 4
 * bits Source of layout and dequantization: ggml (ggml-common.h block_iq3_xxs, ggml-quants.c); of
 * the codebook: grids.c. Depends on quant/dot.h and quant/grid.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct iq3_xxs_block {
    uint16_t d;
    uint8_t qs[64];
    uint8_t more[32];
} iq3_xxs_block;
_Static_assert(sizeof(iq3_xxs_block) == 98, "iq3_xxs block");

#define Q_BYTES 98
#define Q_BLOCKS 8
#define Q_KIND VI_S8
#define Q_BIAS 0
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 1
#define Q_MINS 0
#include "quant/grid.h"

/* By entry, then sign. */
static const int8_t values[16] = {4,  12,  20,  28,  36,  44,  52,  62,
                                  -4, -12, -20, -28, -36, -44, -52, -62};

typedef struct q_head {
    vf d, m;
    vi more[8];
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = h->m = vf_mul(vf_from_f16_low(vi_rows4(p, stride)), vf_set1(0.25f));
    for (int i = 0; i < 2; i++)
        vi_rows16(p + 66 + 16 * i, stride, h->more + 4 * i);
}
LAR_INLINE vi q_scale(const q_head *h, int b, int half)
{
    (void)half;
    return vi_or(vi_shl(vi_shr(h->more[b], 28), 1), vi_set1(1));
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    const vi signs = grid_even(grid_sevens(h->more[u]));
    vi q[4];
    (void)step;
    vi_rows16(p + 2 + 16 * (u / 2), stride, q);
    LAR_UNROLL
    for (int l = 0; l < 4; l++) {
        const vi e = q[u % 2 * 2 + l / 2];
        const vi a = vi_gather(lar__grid_iq3_xxs, grid_byte(e, l % 2 * 2));
        const vi b = vi_gather(lar__grid_iq3_xxs, grid_byte(e, l % 2 * 2 + 1));
        grid_fours(values, a, b, grid_signs(grid_byte(signs, l)), w[l / 2] + l % 2 * 2);
    }
}

#include "quant/dot.h"
#include "quant/grid_fit.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(iq3_xxs_block)) {
        iq3_xxs_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d) * 0.25f;
        for (int k = 0; k < 32; k++, dst += 8) {
            const uint32_t more = lar_u32(b.more + k / 4 * 4);
            const uint32_t *grid = lar__grid_iq3_xxs;
            grid_weights(values, 0, grid[b.qs[2 * k]] | grid[b.qs[2 * k + 1]] << 4,
                         grid_even1(more >> 7 * (k % 4) & 127), d * (float)(2 * (more >> 28) + 1),
                         dst);
        }
    }
}

static const grid_how how = {.grid = lar__grid_iq3_xxs,
                             .entries = 256,
                             .dims = 4,
                             .sizes = 8,
                             .size = {{4, 12, 20, 28, 36, 44, 52, 62}},
                             .signs = G_EVEN_SIGNS,
                             .group = 32,
                             .max = 31,
                             .unit = 0.25f,
                             .first = 0.7f,
                             .step = 0.1f,
                             .steps = 6};

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    grid_work work;
    grid_begin(&how, &work);
    for (int64_t i = 0; i < n; i += G_SUPER, p += sizeof(iq3_xxs_block)) {
        iq3_xxs_block b = {0};
        grid_block g;
        grid_fit(&work, src + i, importance ? importance + i : NULL, &g);
        b.d = g.d;
        for (int k = 0; k < 64; k++)
            b.qs[k] = (uint8_t)g.entry[k];
        for (int k = 0; k < 8; k++) {
            uint32_t more = (uint32_t)(g.sc[k] / 2) << 28;
            for (int l = 0; l < 4; l++)
                more |= (uint32_t)(g.signs[4 * k + l] & 127) << 7 * l;
            memcpy(b.more + 4 * k, &more, 4);
        }
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(iq3_xxs, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
