/*
 * float.h - the dot products of a float format, a template: a format's file defines f_weight (the
 * type as stored), f_load and f_load_n (16 weights to vf), then includes this. Depends on
 * base/simd.h.
 *
 * Every output is vf_dot of the row and the column: lane j sums elements j, j + 16, ... and the
 * lanes are added by vf_hsum's tree. Rows and columns are taken several at a time for the
 * processor's sake only.
 */
#ifndef LAR_FLOAT_H
#define LAR_FLOAT_H
#include "quant/kernels.h"

#ifdef __AVX512F__
enum { F_ROWS = 4, F_COLS = 6 };
#else
enum { F_ROWS = 2, F_COLS = 2 };
#endif
enum {
    F_ROWS1 = 4,
    F_MAX_ROWS = 4
}; /* rows at a time for a single column; the greater of the two */
enum { F_GROUP_BYTES = 256 << 10 };

LAR_INLINE void f_tile(const uint8_t *w, size_t stride, const int nr, const lar_acts *x, int c,
                       const int nc, float *y, size_t ldy)
{
    const f_weight *row[F_MAX_ROWS];
    const float *col[F_COLS];
    vf acc[F_MAX_ROWS][F_COLS];
    LAR_UNROLL
    for (int r = 0; r < nr; r++) {
        row[r] = (const f_weight *)(const void *)(w + (size_t)r * stride);
        LAR_UNROLL
        for (int j = 0; j < nc; j++)
            acc[r][j] = vf_zero();
    }
    LAR_UNROLL
    for (int j = 0; j < nc; j++)
        col[j] = x->x + (size_t)(c + j) * x->ldx;
    int64_t i = 0;
    for (; i + 16 <= x->k; i += 16) {
        vf v[F_MAX_ROWS];
        LAR_UNROLL
        for (int r = 0; r < nr; r++)
            v[r] = f_load(row[r] + i);
        LAR_UNROLL
        for (int j = 0; j < nc; j++) {
            const vf u = vf_load(col[j] + i);
            LAR_UNROLL
            for (int r = 0; r < nr; r++)
                acc[r][j] = vf_fma(v[r], u, acc[r][j]);
        }
    }
    const int rest = (int)(x->k - i);
    LAR_UNROLL
    for (int j = 0; j < nc; j++) {
        LAR_UNROLL
        for (int r = 0; r < nr; r++) {
            if (rest)
                acc[r][j] =
                    vf_fma(f_load_n(row[r] + i, rest), vf_load_n(col[j] + i, rest), acc[r][j]);
            y[(size_t)(c + j) * ldy + (size_t)r] = vf_hsum(acc[r][j]);
        }
    }
}

#if defined(LAR_LOOSE) && defined(__AVX512BF16__) && defined(F_LOOSE)
#include <immintrin.h>
/* Pairs of BF16 at once, which rounds activations to it: what one answer forgoes. */
#define F_BY_PAIRS 1

/* y[r][c] of nr rows and nc columns of k BF16, k a multiple of 32. */
LAR_INLINE void f_pairs(const uint8_t *w, size_t stride, const int nr, const uint16_t *x, int64_t k,
                        const int nc, float *y, size_t ldy)
{
    __m512 acc[F_MAX_ROWS][F_COLS];
    LAR_UNROLL
    for (int r = 0; r < nr; r++) {
        LAR_UNROLL
        for (int j = 0; j < nc; j++)
            acc[r][j] = vf_zero();
    }
    for (int64_t i = 0; i < k; i += 32) {
        __m512bh v[F_MAX_ROWS];
        LAR_UNROLL
        for (int r = 0; r < nr; r++)
            v[r] = F_LOOSE((const f_weight *)(const void *)(w + (size_t)r * stride) + i);
        LAR_UNROLL
        for (int j = 0; j < nc; j++) {
            const __m512bh u = (__m512bh)_mm512_loadu_si512(x + j * k + i);
            LAR_UNROLL
            for (int r = 0; r < nr; r++)
                acc[r][j] = _mm512_dpbf16_ps(acc[r][j], v[r], u);
        }
    }
    LAR_UNROLL
    for (int r = 0; r < nr; r++) {
        LAR_UNROLL
        for (int j = 0; j < nc; j++)
            y[(size_t)j * ldy + (size_t)r] = vf_hsum(acc[r][j]);
    }
}

/* How many columns from c on it took: six at a time, of all rows. */
static int f_by_pairs(const uint8_t *p, size_t stride, int rows, const lar_acts *x, int c0, int c1,
                      float *y, size_t ldy)
{
    const int n = (c1 - c0) / F_COLS * F_COLS;
    uint16_t *b = n && x->k % 32 == 0 && rows % F_ROWS == 0
                      ? lar_alloc_aligned((size_t)n * (size_t)x->k * sizeof *b)
                      : NULL;
    if (!b)
        return 0;
    for (int c = 0; c < n; c++)
        for (int64_t i = 0; i < x->k; i += 32) {
            const float *s = x->x + (size_t)(c0 + c) * x->ldx + i;
            _mm512_storeu_si512(b + c * x->k + i, (__m512i)_mm512_cvtne2ps_pbh(
                                                      _mm512_loadu_ps(s + 16), _mm512_loadu_ps(s)));
        }
    for (int r = 0; r < rows; r += F_ROWS)
        for (int c = 0; c < n; c += F_COLS)
            f_pairs(p + (size_t)r * stride, stride, F_ROWS, b + c * x->k, x->k, F_COLS,
                    y + (size_t)(c0 + c) * ldy + r, ldy);
    lar_free_aligned(b);
    return n;
}
#endif

static void f_columns(const uint8_t *p, size_t stride, int rows, const lar_acts *x, int c0, int c1,
                      float *y, size_t ldy)
{
    int r = 0, c;
#ifdef F_BY_PAIRS
    c0 += f_by_pairs(p, stride, rows, x, c0, c1, y, ldy);
#endif
    if (c1 - c0 == 1)
        for (; r + F_ROWS1 <= rows; r += F_ROWS1)
            f_tile(p + (size_t)r * stride, stride, F_ROWS1, x, c0, 1, y + r, ldy);
    for (; r + F_ROWS <= rows; r += F_ROWS) {
        for (c = c0; c + F_COLS <= c1; c += F_COLS)
            f_tile(p + (size_t)r * stride, stride, F_ROWS, x, c, F_COLS, y + r, ldy);
        for (; c < c1; c++)
            f_tile(p + (size_t)r * stride, stride, F_ROWS, x, c, 1, y + r, ldy);
    }
    for (; r < rows; r++)
        for (c = c0; c < c1; c++)
            f_tile(p + (size_t)r * stride, stride, 1, x, c, 1, y + r, ldy);
}

/* Columns in groups that stay in a core's cache while all rows meet them. */
static void f_dot(const void *w, size_t stride, int rows, const lar_acts *x, int c0, int c1,
                  float *y, size_t ldy)
{
    const int64_t fit = F_GROUP_BYTES / (int64_t)sizeof(float) / LAR_MAX(x->k, 1);
    const int group = (int)LAR_MIN(LAR_MAX(fit, 4 * F_COLS), 1 << 20) / F_COLS * F_COLS;
    for (int c = c0; c < c1; c += group)
        f_columns(w, stride, rows, x, c, LAR_MIN(c + group, c1), y, ldy);
}

#define LAR_FLOAT_FORMAT(name, ...)                                                                \
    extern const lar_format LAR_VSYM(lar_format_##name);                                           \
    const lar_format LAR_VSYM(lar_format_##name) = {                                               \
        .type = LAR_DTYPE(name), .integer = false, .dot = f_dot, __VA_ARGS__}

#endif
