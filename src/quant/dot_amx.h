/*
 * dot_amx.h - many columns by tile instructions, for quant/dot.h in the variant amx. Depends on
 * quant/format.h (the activations in the order of tiles) and base/simd.h.
 *
 * A tile product takes 16 columns (rows of A) and 16 rows of weights (columns of B, as q_tile has
 * them) and yields the exact sums of one scale group; the rest of quant/format.h follows in
 * vectors, rows in the lanes, from where the tile was stored.
 *
 * What bounds it (Emerald Rapids): a tile takes 16 cycles to multiply and 16 to store, which hardly
 * overlap; and for about a hundred cycles after any tile instruction the second of the two units
 * for float vectors is off. So tiles are multiplied in batches, those of the next batch beside the
 * floats of the first half of this one, and the other half has both units. Eight columns are too
 * few for that: one block ahead.
 */
#ifndef LAR_DOT_AMX_H
#define LAR_DOT_AMX_H
#include <immintrin.h>

enum {
    Q_AMX_COLS = LAR_ACTS_GROUP,
    Q_AMX_FEW = 8,               /* up to so many columns a group takes the small tiles */
    Q_AMX_BATCH = 10 / Q_GROUPS, /* 32-blocks of which sums are held, twice: 20 KiB of the L1 */
    Q_AMX_K = 32 / Q_GROUPS      /* weights in a scale group */
};

/* For ldtilecfg. Registers: 0 sums, 1 columns, 2 weights; 3 and 4 as 0 and 1, for eight columns. A
 * constant, since compilers know of the first eight bytes only that they are read. */
typedef struct q_amx_config {
    uint8_t palette, start, zero[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} q_amx_config;
_Static_assert(sizeof(q_amx_config) == 64, "tile configuration");

static const q_amx_config q_amx_shapes = {
    .palette = 1,
    .bytes = {64, Q_AMX_K, 64, 64, Q_AMX_K},
    .rows = {Q_AMX_COLS, Q_AMX_COLS, Q_AMX_K / 4, Q_AMX_FEW, Q_AMX_FEW},
};

/* Activations of a group of columns from one 32-block on. */
static inline const lar_acts_tile *q_amx_group(const lar_acts *x, int group, int64_t block)
{
    return x->tile + group * (x->k / 32) + block;
}

/* The integer sums of one 32-block. */
LAR_INLINE void q_amx_tiles(const q_tile *t, int b, const lar_acts_tile *x, const bool few,
                            int32_t (*sums)[Q_AMX_COLS][Q_ROWS])
{
    LAR_UNROLL
    for (int g = 0; g < Q_GROUPS; g++) {
        const int8_t *a = x->q[0] + g * Q_AMX_K;
        const void *w = t->w[b][Q_GROUPS == 2 ? g : 0];
        if (few) {
            _tile_loadd(4, a, 32);
            _tile_loadd(2, w, 64);
            _tile_zero(3);
            _tile_dpbssd(3, 4, 2);
            _tile_stored(3, sums[g], 64);
        } else {
            _tile_loadd(1, a, 32);
            _tile_loadd(2, w, 64);
            _tile_zero(0);
            _tile_dpbssd(0, 1, 2);
            _tile_stored(0, sums[g], 64);
        }
    }
}

/* What format.h asks for with the sums of one 32-block. */
LAR_INLINE void q_amx_finish(const q_tile *t, int b, const lar_acts_tile *x, const int nc,
                             int32_t (*sums)[Q_AMX_COLS][Q_ROWS], vf *acc)
{
    vf d[Q_GROUPS], m[2];
    LAR_UNROLL
    for (int g = 0; g < Q_GROUPS; g++)
        d[g] = vf_load(t->d[b][g]);
    LAR_UNROLL
    for (int g = 0; g < Q_MIN_GROUPS; g++)
        m[g] = vf_load(t->m[b][g]);
    LAR_UNROLL
    for (int j = 0; j < nc; j++) {
        const vf dx = vf_set1(x->d[j]);
        LAR_UNROLL
        for (int g = 0; g < Q_GROUPS; g++)
            acc[j] = vf_fma(vf_from_i(vi_load(sums[g][j])), vf_mul(d[g], dx), acc[j]);
        LAR_UNROLL
        for (int g = 0; g < Q_MIN_GROUPS; g++)
            acc[j] = vf_fma(m[g], vf_set1(Q_MINS == 3 ? x->sx16[g][j] : x->sx[j]), acc[j]);
    }
}

/* y[c + j][row] for column j of a group, from <= j < to: those that are wanted. */
typedef struct q_amx_out {
    float *y;
    size_t ldy;
    int c, from, to, rows;
} q_amx_out;

static inline q_amx_out q_amx_output(const lar_acts *x, int g, int c0, int c1, float *y, size_t ldy,
                                     int n)
{
    const int c = g * Q_AMX_COLS - x->tile_first;
    return (q_amx_out){y, ldy, c, LAR_MAX(c0 - c, 0), LAR_MIN(c1 - c, Q_AMX_COLS), n};
}

/* The sums so far: what y holds where block0 > 0, otherwise nothing, and y's lines are asked for.
 */
LAR_INLINE void q_amx_load(const q_amx_out *o, int64_t block0, const int nc, vf *acc)
{
    LAR_UNROLL
    for (int j = 0; j < nc; j++)
        acc[j] = vf_zero();
    LAR_UNROLL
    for (int j = 0; j < nc; j++) {
        if (j < o->from || j >= o->to)
            continue;
        const float *y = o->y + (size_t)(o->c + j) * o->ldy;
        if (block0)
            acc[j] = vf_load_n(y, o->rows);
        else
            __builtin_prefetch(y, 1, 3);
    }
}

LAR_INLINE void q_amx_store(const q_amx_out *o, const int nc, const vf *acc)
{
    LAR_UNROLL
    for (int j = 0; j < nc; j++)
        if (j >= o->from && j < o->to)
            vf_store_n(o->y + (size_t)(o->c + j) * o->ldy, acc[j], o->rows);
}

/* y[c][row] += tile * columns [c0, c1) of the groups [g0, g1), from 32-block block0 on; continuing
 * the sums in y where block0 > 0. */
static void q_amx_many(const q_tile *t, int blocks, const lar_acts *x, int64_t block0, int g0,
                       int g1, int c0, int c1, float *y, size_t ldy, int n)
{
    _Alignas(64) int32_t sums[2][Q_AMX_BATCH][Q_GROUPS][Q_AMX_COLS][Q_ROWS];
    const int parts = (blocks + Q_AMX_BATCH - 1) / Q_AMX_BATCH, step = (blocks + parts - 1) / parts;
    const lar_acts_tile *x0 = q_amx_group(x, g0, block0);
    int turn = 0;
    for (int b = 0; b < step; b++)
        q_amx_tiles(t, b, x0 + b, false, sums[0][b]);
    for (int g = g0; g < g1; g++) {
        const q_amx_out out = q_amx_output(x, g, c0, c1, y, ldy, n);
        vf acc[Q_AMX_COLS];
        q_amx_load(&out, block0, Q_AMX_COLS, acc);
        for (int b0 = 0; b0 < blocks; b0 += step, turn ^= 1) {
            const int b1 = LAR_MIN(b0 + step, blocks);
            /* The next batch: of this group, of the next, or none. */
            const bool wrap = b1 == blocks, last = wrap && g + 1 == g1;
            const int next = wrap ? 0 : b1, end = last ? 0 : LAR_MIN(next + step, blocks);
            const lar_acts_tile *xn = wrap && !last ? q_amx_group(x, g + 1, block0) : x0;
            int b = b0;
            for (int i = next; i < end;) {
                for (int two = 0; two < 2 && i < end; two++, i++)
                    q_amx_tiles(t, i, xn + i, false, sums[turn ^ 1][i - next]);
                if (b < b1) {
                    q_amx_finish(t, b, x0 + b, Q_AMX_COLS, sums[turn][b - b0], acc);
                    b++;
                }
            }
            for (; b < b1; b++)
                q_amx_finish(t, b, x0 + b, Q_AMX_COLS, sums[turn][b - b0], acc);
            x0 = xn;
        }
        q_amx_store(&out, Q_AMX_COLS, acc);
    }
}

/* The same for the group g alone, of which at most Q_AMX_FEW columns are wanted. */
static void q_amx_few(const q_tile *t, int blocks, const lar_acts *x, int64_t block0, int g, int c0,
                      int c1, float *y, size_t ldy, int n)
{
    _Alignas(64) int32_t sums[2][Q_GROUPS][Q_AMX_COLS][Q_ROWS];
    const lar_acts_tile *xt = q_amx_group(x, g, block0);
    const q_amx_out out = q_amx_output(x, g, c0, c1, y, ldy, n);
    vf acc[Q_AMX_FEW];
    q_amx_load(&out, block0, Q_AMX_FEW, acc);
    q_amx_tiles(t, 0, xt, true, sums[0]);
    for (int b = 0; b < blocks; b++) {
        if (b + 1 < blocks)
            q_amx_tiles(t, b + 1, xt + b + 1, true, sums[(b + 1) % 2]);
        q_amx_finish(t, b, xt + b, Q_AMX_FEW, sums[b % 2], acc);
    }
    q_amx_store(&out, Q_AMX_FEW, acc);
}

static void q_amx_columns(const q_tile *t, int blocks, const lar_acts *x, int64_t block0, int c0,
                          int c1, float *y, size_t ldy, int n)
{
    const int first = x->tile_first + c0, end = x->tile_first + c1;
    const int g0 = first / Q_AMX_COLS, g1 = (end + Q_AMX_COLS - 1) / Q_AMX_COLS;
    const int few = end - (g1 - 1) * Q_AMX_COLS <= Q_AMX_FEW;
    /* The tile instructions do not tell the compiler that they read memory. */
    __asm__ volatile("" ::: "memory");
    if (g0 < g1 - few)
        q_amx_many(t, blocks, x, block0, g0, g1 - few, c0, c1, y, ldy, n);
    if (few)
        q_amx_few(t, blocks, x, block0, g1 - 1, c0, c1, y, ldy, n);
}

#endif
