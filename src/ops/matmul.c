/*
 * matmul.c - y = [W0 x; W1 x; ...] + biases: the weight product. Several weights share one input,
 * so that Q, K, V or gate and up cost one quantization of x and one barrier. Sources: x F32 [k, T];
 * n_weights of W [k, rows_i] in any format; then as many biases F32 [rows_i], each may be NULL or
 * the rest left out. Result: [sum of rows_i, T]. Phase 0 quantizes the columns, phase 1 takes
 * blocks of rows times tiles of columns (quant/format.h has the numerics).
 */
#include "base/simd.h"
#include "ops/ops.h"

enum { ROW_BLOCK = 32, COL_TILE = 256 };

static int n_weights(const lar_tensor *t)
{
    return LAR_PARAM(lar_matmul_param, t)->n_weights;
}

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const int n = n_weights(t);
    const lar_tensor *x = t->src[0];
    int64_t rows = 0;
    if (n < 1 || 1 + n > t->n_src || t->n_src > 1 + 2 * n)
        return lar_fail(e, LAR_EARG, "matmul: %d sources for %d weights", t->n_src, n);
    if (x->type != LAR_DTYPE(f32) || x->dim[2] != 1 || x->dim[3] != 1)
        return lar_shape_fail(t, 0, "f32 [k, T]", e);
    for (int i = 1; i <= n; i++) {
        const lar_tensor *w = t->src[i], *b = i + n < t->n_src ? t->src[i + n] : NULL;
        if (!w || w->dim[0] != x->dim[0] || w->dim[2] != 1 || w->dim[3] != 1)
            return lar_shape_fail(t, w ? i : 0, "a weight with rows as long as x's columns", e);
        if (b && (b->type != LAR_DTYPE(f32) || b->dim[0] != w->dim[1] || lar_rows(b) != 1))
            return lar_shape_fail(t, i + n, "an f32 bias, one per row of its weight", e);
        rows += w->dim[1];
    }
    t->dim[0] = rows;
    t->dim[1] = x->dim[1];
    return LAR_OK;
}

/* Whether a type's products want quantized activations is the same in every variant; floats are
 * those whose block is one element. */
static bool wants_quantized(const lar_tensor *t)
{
    for (int i = 1; i <= n_weights(t); i++)
        if (t->src[i]->type->block > 1)
            return true;
    return false;
}

static int64_t row_blocks(const lar_tensor *w)
{
    return (w->dim[1] + ROW_BLOCK - 1) / ROW_BLOCK;
}

static int64_t units(const lar_tensor *t, int phase)
{
    int64_t blocks = 0;
    if (phase == 0)
        return wants_quantized(t) ? t->dim[1] : 0;
    for (int i = 1; i <= n_weights(t); i++)
        blocks += row_blocks(t->src[i]);
    return blocks * ((t->dim[1] + COL_TILE - 1) / COL_TILE);
}

static size_t scratch(const lar_tensor *t, int nth)
{
    (void)nth;
    return wants_quantized(t) ? lar_acts_bytes(t->src[0]->dim[0], (int)t->dim[1]) : 0;
}

/* As many of the units [unit, end) as are rows of one weight by the same columns: for few columns a
 * call must be worth its start. Returns how many. */
static int64_t product(const lar_tensor *t, const lar_work *w, const lar_acts *a, int64_t unit,
                       int64_t end)
{
    const lar_kernels *k = w->kernels;
    int64_t blocks = 0, first_row = 0;
    for (int i = 1; i <= n_weights(t); i++)
        blocks += row_blocks(t->src[i]);
    int64_t rb = unit % blocks, c0 = unit / blocks * COL_TILE,
            c1 = LAR_MIN(c0 + COL_TILE, t->dim[1]);
    int i = 1;
    for (; rb >= row_blocks(t->src[i]); i++) {
        rb -= row_blocks(t->src[i]);
        first_row += t->src[i]->dim[1];
    }
    const lar_tensor *wt = t->src[i],
                     *b = i + n_weights(t) < t->n_src ? t->src[i + n_weights(t)] : NULL;
    const int64_t n = LAR_MIN(end - unit, row_blocks(wt) - rb);
    const int64_t r0 = rb * ROW_BLOCK, nr = LAR_MIN(n * ROW_BLOCK, wt->dim[1] - r0);
    float *y = (float *)t->data + first_row + r0;
    k->formats[lar_dtype_index(wt->type)]->dot((const char *)wt->data + (size_t)r0 * wt->stride[1],
                                               wt->stride[1], (int)nr, a, (int)c0, (int)c1, y,
                                               (size_t)t->dim[0]);
    if (b)
        for (int64_t c = c0; c < c1; c++)
            for (int64_t r = 0; r < nr; r++)
                y[c * t->dim[0] + r] += ((const float *)b->data)[r0 + r];
    return n;
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    const lar_kernels *k = w->kernels;
    const lar_tensor *x = t->src[0];
    lar_acts a = {.k = x->dim[0], .cols = (int)x->dim[1]};
    if (wants_quantized(t))
        lar_acts_layout(&a, w->scratch, x->dim[0], (int)x->dim[1]);
    a.x = x->data;
    a.ldx = x->stride[1] / sizeof(float);
    if (w->phase == 0) {
        k->acts_quantize(&a, (int)w->begin, (int)w->end);
        return;
    }
    for (int64_t u = w->begin; u < w->end;)
        u += product(t, w, &a, u, w->end);
}

#define N1 .param = {1}
static const lar_case cases[] = {
    {.n_src = 2, .dim = {{40, 3, 1, 1}, {40, 37, 1, 1}}, N1, .no_grad = {true, true}},
    {.n_src = 3,
     .dim = {{7, 1, 1, 1}, {7, 5, 1, 1}, {5, 1, 1, 1}},
     N1,
     .no_grad = {true, true, true}},
    {.n_src = 5,
     .dim = {{64, 5, 1, 1}, {64, 33, 1, 1}, {64, 70, 1, 1}, {33, 1, 1, 1}, {70, 1, 1, 1}},
     .param = {2},
     .type = {NULL, LAR_DTYPE(q8_0), LAR_DTYPE(f16)},
     .no_grad = {true, true, true, true, true}},
    {.n_src = 2,
     .dim = {{96, 1, 1, 1}, {96, 65, 1, 1}},
     N1,
     .type = {NULL, LAR_DTYPE(q4_0)},
     .no_grad = {true, true}},
    {.n_src = 2,
     .dim = {{96, 131, 1, 1}, {96, 9, 1, 1}},
     N1,
     .type = {NULL, LAR_DTYPE(q5_1)},
     .no_grad = {true, true}},
    {.n_src = 2,
     .dim = {{64, 17, 1, 1}, {64, 33, 1, 1}},
     N1,
     .type = {NULL, LAR_DTYPE(bf16)},
     .no_grad = {true, true}},
};

LAR_OP(matmul, .min_src = 2, .max_src = 9, .param_size = sizeof(lar_matmul_param), .shape = shape,
       .phases = 2, .units = units, .scratch = scratch, .cpu = cpu, LAR_CASES(cases));
