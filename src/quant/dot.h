/*
 * dot.h - the dot products of an integer format, a template: a format's file defines the Q_ macros
 * and the q_ functions below, includes this once, and names q_dot in its descriptor. Depends on
 * base/simd.h and quant/format.h (where the numerics are defined).
 *
 *   Q_BYTES, Q_BLOCKS   a format block: bytes, and 32-blocks in it (1 or 8)
 *   Q_KIND, Q_BIAS      the weights' kind (base/simd.h), and what q_step yields above their true
 *                       value (0 for VI_S8)
 *   Q_UNIT, Q_STEPS     32-blocks that one q_step yields. Q_STEPS 1: q_step gives both halves of
 *                       one block (w[0], w[1]; Q_UNIT 1). Q_STEPS 2: step h gives half h of
 *                       Q_UNIT blocks
 *   Q_SCALES            integer scales: 0 none, 1 per 32, 2 per 16
 *   Q_MINS              0 none; 1 the float m alone; 2 integer minima per 32; 3 per 16
 *   q_head, q_head_load(p, stride, head)             d, m and scales of 16 rows' blocks at p
 *   q_step(p, stride, head, unit, step, w)           weights of sixteen rows
 *   q_scale(head, block, half), q_min(head, block, half)       as far as Q_SCALES, Q_MINS ask
 *
 * Sixteen rows are the lanes of every vector, so that all that format.h defines per output happens
 * lane by lane and no sum crosses lanes. One column: unpacked in registers and used at once.
 * Several columns: a tile of sixteen rows is expanded into cache (q_expand), then multiplied with
 * columns (q_product). The tile's layout, [4 neighbours along k][row], is what VNNI, dot-product
 * instructions and AMX take.
 *
 * LAR_LOOSE (make LOOSE=1, to measure what one answer costs): two sums per output, which breaks
 * format.h's order.
 */
#ifndef LAR_DOT_H
#define LAR_DOT_H
#include "base/simd.h"
#include "quant/kernels.h"

enum {
    Q_ROWS = 16,
    Q_PIECES = Q_STEPS == 1 ? 2 : Q_UNIT,
    Q_TILE = 20,                     /* 32-blocks in a tile: 10 KiB of weights, within any L1 */
    Q_TILE_HEADS = Q_TILE / Q_BLOCKS /* format blocks in a tile */
};
/* Scale groups and minimum groups in a block of 32. */
enum { Q_GROUPS = Q_SCALES == 2 ? 2 : 1, Q_MIN_GROUPS = Q_MINS == 3 ? 2 : Q_MINS ? 1 : 0 };
/* What weights hold above their true value: with instructions for unsigned ones, in registers, and
 * in a tile. */
#define Q_FULL_BIAS (Q_KIND == VI_S8 ? VI_S8_BIAS : Q_BIAS)
#ifdef VI_S8_AT_ONCE
#define Q_ROW_BIAS Q_BIAS
#else
#define Q_ROW_BIAS Q_FULL_BIAS
#endif
#define Q_TILE_BIAS (VI_TILE_SIGNED ? 0 : Q_FULL_BIAS)
/* Vectors that hold four neighbours of sixteen rows; of these, how many products a vp may sum. */
#define Q_PLANES VI_PLANES(Q_KIND)
#define Q_CHAIN LAR_MIN(VI_CHAIN(Q_KIND), 8 / Q_GROUPS)
#define Q_COLS VI_COLS(Q_PLANES)

/* Activations of one column from one 32-block on. */
typedef struct q_col {
    const int8_t *q;
    const float *d, *sx, *sx16;
    const int16_t *s;
} q_col;

static inline q_col q_column(const lar_acts *x, int c, int64_t block)
{
    int64_t at = c * (x->k / 32) + block;
    return (q_col){x->q + 32 * at, x->d + at, x->sx + at, x->sx16 + 2 * at, x->s + 2 * at};
}

/* acc after 32-block b of x, of which the integer sums are known. */
LAR_INLINE vf q_finish(vf acc, const vi sum[Q_GROUPS], const vf d[Q_GROUPS], const vf m[2],
                       const q_col *x, int b)
{
    LAR_UNROLL
    for (int g = 0; g < Q_GROUPS; g++)
        acc = vf_fma(vf_from_i(sum[g]), vf_mul(d[g], vf_set1(x->d[b])), acc);
    LAR_UNROLL
    for (int g = 0; g < Q_MIN_GROUPS; g++)
        acc = vf_fma(m[g], vf_set1(Q_MINS == 3 ? x->sx16[2 * b + g] : x->sx[b]), acc);
    return acc;
}

/* What the sum of scale group g of block b starts from: the bias of all its weights, taken back. */
LAR_INLINE vi q_start(int bias, const q_col *x, int b, int g)
{
    if (!bias)
        return vi_set1(0);
    return vi_offset(x->s + 2 * b, Q_GROUPS == 1 || !g ? -bias : 0, Q_GROUPS == 1 || g ? -bias : 0);
}

/* Scales and minima of a block's groups as floats: ds and ms of format.h. */
LAR_INLINE vf q_scaled(const q_head *h, int block, int g)
{
#if Q_SCALES
    return vf_mul(h->d, vf_from_i(q_scale(h, block, g)));
#else
    (void)block, (void)g;
    return h->d;
#endif
}
LAR_INLINE vf q_minimum(const q_head *h, int block, int g)
{
#if Q_MINS >= 2
    return vf_mul(h->m, vf_from_i(q_min(h, block, g)));
#else
    (void)block, (void)g;
    return h->m;
#endif
}

/* ---- one column -------------------------------------------------------------------------- */

/* sum after the four neighbours e of a half (of 0..3), of which p holds the running part. */
LAR_INLINE vi q_quad(vi sum, vp p[Q_PLANES], const vi w[Q_PLANES], vx x, int e)
{
    LAR_UNROLL
    for (int i = 0; i < Q_PLANES; i++)
        p[i] = e % Q_CHAIN ? vp_next(p[i], w[i], x) : vp_first(i ? vi_set1(0) : sum, w[i], x);
    if ((e + 1) % Q_CHAIN)
        return sum;
    sum = vp_sum(sum, p[0]);
    return Q_PLANES == 2 ? vi_add(sum, vi_shl(vp_sum(vi_set1(0), p[Q_PLANES - 1]), 4)) : sum;
}

/* The same with weights as q_step gives them. */
LAR_INLINE vi q_next(vi sum, vp p[Q_PLANES], vi w, vx x, int e)
{
#ifdef VI_S8_AT_ONCE
    if (Q_KIND == VI_S8)
        return vi_next_s8(sum, w, x);
#endif
    vi planes[Q_PLANES];
    vi_planes(w, Q_KIND, planes);
    return q_quad(sum, p, planes, x, e);
}

/* One format block of sixteen rows times one column. */
LAR_INLINE vf q_block(const uint8_t *p, size_t stride, q_col x, vf acc)
{
    q_head h;
    q_head_load(p, stride, &h);
    LAR_UNROLL
    for (int u = 0; u < Q_BLOCKS / Q_UNIT; u++) {
        vi sum[Q_UNIT][Q_GROUPS];
        vp part[Q_UNIT][Q_PLANES];
        LAR_UNROLL
        for (int j = 0; j < Q_UNIT; j++) {
            LAR_UNROLL
            for (int g = 0; g < Q_GROUPS; g++)
                sum[j][g] = q_start(Q_ROW_BIAS, &x, u * Q_UNIT + j, g);
        }
        LAR_UNROLL
        for (int step = 0; step < Q_STEPS; step++) {
            vi w[Q_PIECES][4];
            q_step(p, stride, &h, u, step, w);
            LAR_UNROLL
            for (int i = 0; i < Q_PIECES; i++) {
                const int j = Q_STEPS == 1 ? 0 : i, half = Q_STEPS == 1 ? i : step;
                const int g = Q_GROUPS == 2 ? half : 0;
                LAR_UNROLL
                for (int e = 0; e < 4; e++) {
                    const vx v = vx_load(x.q + 32 * (u * Q_UNIT + j) + 16 * half + 4 * e);
                    sum[j][g] = q_next(sum[j][g], part[j], w[i][e], v, 4 * half + e);
                }
            }
        }
        LAR_UNROLL
        for (int j = 0; j < Q_UNIT; j++) {
            const int b = u * Q_UNIT + j;
            vf d[Q_GROUPS], m[2];
            LAR_UNROLL
            for (int g = 0; g < Q_GROUPS; g++)
                d[g] = q_scaled(&h, b, g);
            LAR_UNROLL
            for (int g = 0; g < 2; g++)
                m[g] = q_minimum(&h, b, g);
            acc = q_finish(acc, sum[j], d, m, &x, b);
        }
    }
    return acc;
}

/* n format blocks of sixteen rows. The sixteen rows behind are asked for on the way. */
static vf q_rows(const uint8_t *p, size_t stride, int64_t n, q_col x, vf acc)
{
    const uint8_t *ahead = p + Q_ROWS * stride;
#ifdef LAR_LOOSE
    vf odd = vf_zero();
#endif
    for (int64_t i = 0; i < n; i++) {
        for (int line = 0; line < Q_ROWS * Q_BYTES; line += 64)
            __builtin_prefetch(ahead + line, 0, 3);
        ahead += Q_ROWS * Q_BYTES;
        acc = q_block(p, stride, x, acc);
        p += Q_BYTES;
        x.q += 32 * Q_BLOCKS;
        x.d += Q_BLOCKS;
        x.sx += Q_BLOCKS;
        x.sx16 += 2 * Q_BLOCKS;
        x.s += 2 * Q_BLOCKS;
#ifdef LAR_LOOSE
        const vf other = odd;
        odd = acc;
        acc = other;
#endif
    }
#ifdef LAR_LOOSE
    acc = vf_add(acc, odd);
#endif
    return acc;
}

/* ---- several columns --------------------------------------------------------------------- */

/* Sixteen rows of a few blocks. Weights are true signed bytes where the variant says so
 * (VI_TILE_SIGNED) or multiplies by tile instructions, else they hold Q_TILE_BIAS more. Order:
 * block, half, 4 along k, row; four bytes each. Where weights have two planes, they lie one behind
 * the other; tile instructions know one plane. */
typedef struct q_tile {
    _Alignas(64) int32_t w[Q_TILE][2][4 * Q_PLANES][Q_ROWS];
    float d[Q_TILE][Q_GROUPS][Q_ROWS];            /* ds */
    float m[Q_TILE][Q_MINS == 3 ? 2 : 1][Q_ROWS]; /* ms, where there are any */
} q_tile;

LAR_INLINE void q_store(int32_t out[][Q_ROWS], vi w, const bool exact)
{
    vi planes[Q_PLANES];
    if (exact)
        planes[0] = Q_BIAS ? vi_sub_bytes(w, vi_set1(Q_BIAS * 0x01010101)) : w;
    else
        vi_planes(w, Q_KIND, planes);
    LAR_UNROLL
    for (int i = 0; i < Q_PLANES; i++)
        vi_store(out[i], planes[i]);
}

/* n format blocks of sixteen rows from p on; exact: as true signed bytes. What will be expanded
 * next, from `ahead` on, is asked for on the way. */
LAR_INLINE void q_expand_as(const uint8_t *p, size_t stride, int n, const uint8_t *ahead, q_tile *t,
                            const bool exact)
{
    for (int i = 0; i < n; i++, p += Q_BYTES) {
        q_head h;
        for (int line = 0; line < Q_ROWS * Q_BYTES; line += 64)
            __builtin_prefetch(ahead + line, 0, 3);
        ahead += Q_ROWS * Q_BYTES;
        q_head_load(p, stride, &h);
        LAR_UNROLL
        for (int u = 0; u < Q_BLOCKS / Q_UNIT; u++) {
            LAR_UNROLL
            for (int step = 0; step < Q_STEPS; step++) {
                vi w[Q_PIECES][4];
                q_step(p, stride, &h, u, step, w);
                LAR_UNROLL
                for (int j = 0; j < Q_PIECES; j++) {
                    const int b = i * Q_BLOCKS + u * Q_UNIT + (Q_STEPS == 1 ? 0 : j);
                    const int half = Q_STEPS == 1 ? j : step;
                    LAR_UNROLL
                    for (int e = 0; e < 4; e++)
                        q_store(t->w[b][half] + e * Q_PLANES, w[j][e], exact);
                }
            }
        }
        LAR_UNROLL
        for (int j = 0; j < Q_BLOCKS; j++) {
            const int b = i * Q_BLOCKS + j;
            LAR_UNROLL
            for (int g = 0; g < Q_GROUPS; g++)
                vf_store(t->d[b][g], q_scaled(&h, j, g));
            LAR_UNROLL
            for (int g = 0; g < Q_MIN_GROUPS; g++)
                vf_store(t->m[b][g], q_minimum(&h, j, g));
        }
    }
}

static void q_expand(const uint8_t *p, size_t stride, int n, const uint8_t *ahead, q_tile *t)
{
    q_expand_as(p, stride, n, ahead, t, VI_TILE_SIGNED);
}

#ifdef VI_PAIRS
/* q_sums for an even number of columns. */
LAR_INLINE void q_pair_sums(const q_tile *t, int b, const q_col *col, const int nc,
                            vi sum[][Q_GROUPS])
{
    vi_pair p[Q_COLS / 2];
    LAR_UNROLL
    for (int e = 0; e < 8; e += 2) {
        const int g = Q_GROUPS == 2 ? e / 4 : 0;
        const vi w0 = vi_load(t->w[b][e / 4][e % 4]), w1 = vi_load(t->w[b][e / 4][e % 4 + 1]);
        LAR_UNROLL
        for (int j = 0; j < nc; j += 2) {
            const int8_t *x0 = col[j].q + 32 * b + 4 * e, *x1 = col[j + 1].q + 32 * b + 4 * e;
            if (e % (8 / Q_GROUPS) == 0)
                p[j / 2] = vi_pair_zero();
            p[j / 2] = vi_pair_next(p[j / 2], w0, w1, x0, x1);
            if ((e + 2) % (8 / Q_GROUPS) == 0)
                vi_pair_sums(p[j / 2], &sum[j][g], &sum[j + 1][g]);
        }
    }
}
#endif

/* The integer sums of block b of the tile times that of every column. */
LAR_INLINE void q_sums(const q_tile *t, int b, const q_col *col, const int nc, vi sum[][Q_GROUPS])
{
#ifdef VI_PAIRS
    if (nc % 2 == 0) {
        q_pair_sums(t, b, col, nc, sum);
        return;
    }
#endif
    vp part[Q_COLS][Q_PLANES];
    LAR_UNROLL
    for (int j = 0; j < nc; j++) {
        LAR_UNROLL
        for (int g = 0; g < Q_GROUPS; g++)
            sum[j][g] = q_start(Q_TILE_BIAS, &col[j], b, g);
    }
    LAR_UNROLL
    for (int e = 0; e < 8; e++) {
        const int g = Q_GROUPS == 2 ? e / 4 : 0;
        vi w[Q_PLANES];
        LAR_UNROLL
        for (int i = 0; i < Q_PLANES; i++)
            w[i] = vi_load(t->w[b][e / 4][e % 4 * Q_PLANES + i]);
        LAR_UNROLL
        for (int j = 0; j < nc; j++)
            sum[j][g] = q_quad(sum[j][g], part[j], w, vx_load(col[j].q + 32 * b + 4 * e), e);
    }
}

/* acc[j] += block b of the tile times that of column j. */
LAR_INLINE void q_product_block(const q_tile *t, int b, const q_col *col, const int nc, vf *acc)
{
    vi sum[Q_COLS][Q_GROUPS];
    q_sums(t, b, col, nc, sum);
    vf d[Q_GROUPS], m[2];
    LAR_UNROLL
    for (int g = 0; g < Q_GROUPS; g++)
        d[g] = vf_load(t->d[b][g]);
    m[0] = m[1] = d[0];
    LAR_UNROLL
    for (int g = 0; g < Q_MIN_GROUPS; g++)
        m[g] = vf_load(t->m[b][g]);
    LAR_UNROLL
    for (int j = 0; j < nc; j++)
        acc[j] = q_finish(acc[j], sum[j], d, m, &col[j], b);
}

/* y[c][row] += tile * columns [c, c + nc), for n rows and `blocks` 32-blocks from `block0` on. */
LAR_INLINE void q_product(const q_tile *t, int blocks, const lar_acts *x, int64_t block0, int c,
                          const int nc, float *y, size_t ldy, int n)
{
    q_col col[Q_COLS];
    vf acc[Q_COLS];
    LAR_UNROLL
    for (int j = 0; j < nc; j++) {
        col[j] = q_column(x, c + j, block0);
        acc[j] = block0 ? vf_load_n(y + (size_t)j * ldy, n) : vf_zero();
    }
    int b = 0;
#ifdef LAR_LOOSE
    vf odd[Q_COLS];
    LAR_UNROLL
    for (int j = 0; j < nc; j++)
        odd[j] = vf_zero();
    for (; b + 2 <= blocks; b += 2) {
        q_product_block(t, b, col, nc, acc);
        q_product_block(t, b + 1, col, nc, odd);
    }
    LAR_UNROLL
    for (int j = 0; j < nc; j++)
        acc[j] = vf_add(acc[j], odd[j]);
#endif
    for (; b < blocks; b++)
        q_product_block(t, b, col, nc, acc);
    LAR_UNROLL
    for (int j = 0; j < nc; j++)
        vf_store_n(y + (size_t)j * ldy, acc[j], n);
}

/* y[c][row] for columns [c0, c1), continuing the sums in y where block0 > 0. */
static void q_columns(const q_tile *t, int blocks, const lar_acts *x, int64_t block0, int c0,
                      int c1, float *y, size_t ldy, int n)
{
    int c = c0;
    for (; c + Q_COLS <= c1; c += Q_COLS)
        q_product(t, blocks, x, block0, c, Q_COLS, y + (size_t)c * ldy, ldy, n);
    for (; Q_COLS > 4 && c + 4 <= c1; c += 4)
        q_product(t, blocks, x, block0, c, LAR_MIN(4, Q_COLS), y + (size_t)c * ldy, ldy, n);
    for (; Q_COLS > 2 && c + 2 <= c1; c += 2)
        q_product(t, blocks, x, block0, c, 2, y + (size_t)c * ldy, ldy, n);
    if (c < c1)
        q_product(t, blocks, x, block0, c, 1, y + (size_t)c * ldy, ldy, n);
}

#ifdef LAR_VARIANT_amx
#include "quant/dot_amx.h"
#endif

/* ---- any number of rows and columns ------------------------------------------------------ */

/* Whether tile instructions multiply these columns. */
LAR_INLINE bool q_by_tiles(const lar_acts *x, int c0, int c1)
{
#ifdef LAR_VARIANT_amx
    return x->tile && c1 - c0 > LAR_ACTS_FEW;
#else
    (void)x, (void)c0, (void)c1;
    return false;
#endif
}

static void q_expand_columns(const uint8_t *p, size_t stride, int n, const uint8_t *ahead,
                             q_tile *t, const lar_acts *x, int64_t block0, int c0, int c1, float *y,
                             size_t ldy, int rows)
{
#ifdef LAR_VARIANT_amx
    if (q_by_tiles(x, c0, c1)) {
        q_expand_as(p, stride, n, ahead, t, true);
        q_amx_columns(t, n * Q_BLOCKS, x, block0, c0, c1, y, ldy, rows);
        return;
    }
#endif
    q_expand(p, stride, n, ahead, t);
    q_columns(t, n * Q_BLOCKS, x, block0, c0, c1, y, ldy, rows);
}

/* n <= 16 rows. Fewer than sixteen are copied aside, since the kernels read sixteen. */
static void q_dot_rows(const uint8_t *w, size_t stride, int n, const lar_acts *x, int c0, int c1,
                       float *y, size_t ldy)
{
    const int64_t heads = x->k / (32 * Q_BLOCKS);
    uint8_t copy[Q_ROWS][Q_TILE_HEADS * Q_BYTES];
    q_tile tile;
    vf acc = vf_zero();
    if (c1 - c0 == 1 && n == Q_ROWS) {
        acc = q_rows(w, stride, heads, q_column(x, c0, 0), acc);
        vf_store(y + (size_t)c0 * ldy, acc);
        return;
    }
    /* Tiles of about equal length. */
    const int64_t tiles = (heads + Q_TILE_HEADS - 1) / Q_TILE_HEADS;
    const int64_t step = (heads + tiles - 1) / tiles;
    for (int64_t i = 0; i < heads; i += step) {
        const int m = (int)LAR_MIN(step, heads - i);
        /* The next sixteen rows as one stretch, in as many pieces. */
        const uint8_t *p = w + (size_t)i * Q_BYTES,
                      *ahead = w + Q_ROWS * (stride + (size_t)i * Q_BYTES);
        size_t ps = stride;
        if (n < Q_ROWS) {
            for (int r = 0; r < Q_ROWS; r++)
                memcpy(copy[r], p + (size_t)(r < n ? r : 0) * stride, (size_t)m * Q_BYTES);
            p = copy[0];
            ps = sizeof copy[0];
        }
        q_expand_columns(p, ps, m, ahead, &tile, x, i * Q_BLOCKS, c0, c1, y, ldy, n);
    }
}

static void q_dot_all(const uint8_t *p, size_t stride, int rows, const lar_acts *x, int c0, int c1,
                      float *y, size_t ldy)
{
    int r = 0;
    for (; r + Q_ROWS <= rows; r += Q_ROWS)
        q_dot_rows(p + (size_t)r * stride, stride, Q_ROWS, x, c0, c1, y + r, ldy);
    if (r == rows)
        return;
    if (rows >= Q_ROWS) { /* the last sixteen again: same bits, no special case */
        r = rows - Q_ROWS;
        q_dot_rows(p + (size_t)r * stride, stride, Q_ROWS, x, c0, c1, y + r, ldy);
    } else {
        q_dot_rows(p, stride, rows, x, c0, c1, y, ldy);
    }
}

static void q_dot(const void *w, size_t stride, int rows, const lar_acts *x, int c0, int c1,
                  float *y, size_t ldy)
{
#ifdef LAR_VARIANT_amx
    /* The thread may be anybody's: it is left without tiles, which would burden its switches. */
    if (q_by_tiles(x, c0, c1)) {
        _tile_loadconfig(&q_amx_shapes);
        q_dot_all(w, stride, rows, x, c0, c1, y, ldy);
        _tile_release();
        return;
    }
#endif
    q_dot_all(w, stride, rows, x, c0, c1, y, ldy);
}

/* At the end of a format's file. */
#define LAR_FORMAT(name, ...)                                                                      \
    extern const lar_format LAR_VSYM(lar_format_##name);                                           \
    const lar_format LAR_VSYM(lar_format_##name) = {                                               \
        .type = LAR_DTYPE(name), .integer = true, .dot = q_dot, __VA_ARGS__}

#endif
