/*
 * format.h - block formats: one file each, one line in formats.def. A format says how its blocks
 * become 32 integers with scales and minima (unpack), and gets from quant/dot.h its dot products
 * for every variant.
 *
 * Numerics (docs/NUMERICS.md). Integer formats: activations are quantized per 32
 * (lar_acts_quantize). A scale group is 32 weights, or 16 where a format has a scale per 16, and a
 * minimum group likewise; every product below is rounded once to F32:
 *
 *   ds   = d * sc                        d alone where a format has no integer scales
 *   ms   = m * mn                        m alone likewise; negative where the format subtracts
 *   isum = sum of q_w[i] * q_x[i] over a scale group, an exact int32
 *   sx   = dx * (float)(sum of q_x[i] over a minimum group)
 *
 * For each 32-block, ascending: acc = fma((float)isum, ds * dx, acc) for its scale groups, then acc
 * = fma(ms, sx, acc) for its minimum groups; one accumulator per output, from +0. Float formats
 * (F32, F16, BF16) take F32 activations: vf_dot's 16 lanes.
 */
#ifndef LAR_FORMAT_H
#define LAR_FORMAT_H
#include "tensor/dtype.h"

enum { LAR_ACTS_GROUP = 16, LAR_ACTS_FEW = 8 };

/* A 32-block of sixteen columns; behind the last column all but q is 0. */
typedef struct lar_acts_tile {
    int8_t q[LAR_ACTS_GROUP][32];
    float d[LAR_ACTS_GROUP], sx[LAR_ACTS_GROUP], sx16[2][LAR_ACTS_GROUP];
} lar_acts_tile;

/* Quantized activations of `cols` columns of k elements, k a multiple of 32. Structure of arrays;
 * all in one block of lar_acts_bytes(k, cols) bytes, 64-byte aligned. */
typedef struct lar_acts {
    int64_t k;
    int cols;
    int8_t *q;      /* [cols][k], |q| <= 127 */
    float *d;       /* [cols][k/32] */
    float *sx;      /* [cols][k/32] d times the sum of 32 q, for minima */
    float *sx16;    /* [cols][k/16] d times the sum of 16 q, for minima of 16 */
    int16_t *s;     /* [cols][k/16] sums of 16 q, for weights stored with a constant added */
    const float *x; /* [cols] of ldx floats: the activations themselves, for float formats */
    size_t ldx;     /* in floats */
    /* [columns/16][k/32]: the same once more, in the order in which the variant amx multiplies more
     * than LAR_ACTS_FEW columns; NULL if there are no more. Column 0 is column tile_first of it. */
    lar_acts_tile *tile;
    int tile_first;
} lar_acts;

size_t lar_acts_bytes(int64_t k, int cols);
void lar_acts_layout(lar_acts *a, void *mem, int64_t k, int cols);
lar_acts lar_acts_column(const lar_acts *a, int64_t c); /* column c and those after it */

typedef struct lar_format {
    const lar_dtype *type;
    bool integer;                                             /* wants quantized activations */
    void (*to_f32)(const void *src, float *dst, int64_t n);   /* n a multiple of the block */
    void (*from_f32)(const float *src, void *dst, int64_t n); /* NULL: cannot be produced (yet) */
    /* The same with time for a search; importance (of n columns, or NULL): the mean square of what
     * they are multiplied with. NULL: from_f32 is all there is. */
    void (*quantize)(const float *src, const float *importance, void *dst, int64_t n);
    /* y[c * ldy + r] = W[r] . X[c]  for r < rows, c0 <= c < c1. Rows lie w_stride bytes apart. */
    void (*dot)(const void *w, size_t w_stride, int rows, const lar_acts *x, int c0, int c1,
                float *y, size_t ldy);
} lar_format;

/* All kernels of one variant. formats[] is indexed as lar_dtypes[]; NULL where a type has none. */
typedef struct lar_kernels {
    const char *variant;
    const lar_format *formats[LAR_N_DTYPES];
    /* Quantize columns [c0, c1): d = amax/127, q = round to nearest even of x * (1/d) (d = 0: all
     * 0). */
    void (*acts_quantize)(lar_acts *a, int c0, int c1);
    /* For measuring: `rounds` times a few products of whole numbers (else of floats) over registers
     * and a little L1; gives how many multiply-adds that were. *sum takes what has to be used. */
    uint64_t (*peak)(bool integer, int64_t rounds, uint64_t *sum);
    /* Reads n bytes, a multiple of 4,096, from `streams` places at once; the sum is for use, too.
     */
    uint64_t (*read)(const uint8_t *p, size_t n, int streams);
} lar_kernels;

#endif
