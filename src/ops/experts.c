/*
 * experts.c - the weight product of mixtures of experts, and the weighted sum of what they give.
 *
 * experts: x F32 [k, T], the same for all experts of a token, or [k, n_used, T]; ids I32 [n_used,
 * T], or NULL: rank i takes expert i, as heads do that each have a weight; n_weights of W [k,
 * rows_i, experts] in any format; as many biases F32 [rows_i, experts], each may be NULL or the
 * rest left out. Result [sum of rows_i, n_used, T]. Phase 0 sorts (token, rank) by expert, phase 1
 * quantizes the columns in that order, phase 2 takes blocks of rows times the columns of one
 * expert: each expert's weights are read once a step, and only of those that are asked for.
 * Numerics: quant/format.h; a column's result does not depend on the others.
 *
 * experts_sum: y F32 [rows, n_used, T]; weights F32 [n_used, T]: sum over ranks, ascending, by fma.
 */
#include "base/simd.h"
#include "ops/ops.h"

enum { ROW_BLOCK = 32, COL_TILE = 64 };

static int n_weights(const lar_tensor *t)
{
    return LAR_PARAM(lar_matmul_param, t)->n_weights;
}

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const int n = n_weights(t);
    const lar_tensor *x = t->src[0], *ids = t->src[1];
    int64_t rows = 0;
    if (n < 1 || 2 + n > t->n_src || t->n_src > 2 + 2 * n)
        return lar_fail(e, LAR_EARG, "experts: %d sources for %d weights", t->n_src, n);
    if (ids && (ids->type != LAR_DTYPE(i32) || ids->dim[2] != 1 || ids->dim[3] != 1))
        return lar_shape_fail(t, 1, "i32 ids [n_used, T]", e);
    const int64_t used = ids ? ids->dim[0] : x->dim[1], tokens = ids ? ids->dim[1] : x->dim[2];
    const bool shared = x->dim[2] == 1 && x->dim[1] == tokens && used != 1;
    if (x->type != LAR_DTYPE(f32) || x->dim[3] != 1 ||
        (!shared && x->dim[1] * x->dim[2] != used * tokens))
        return lar_shape_fail(t, 0, "f32 [k, T] or [k, n_used, T]", e);
    for (int i = 2; i < 2 + n; i++) {
        const lar_tensor *w = t->src[i], *b = i + n < t->n_src ? t->src[i + n] : NULL;
        if (!w || w->dim[0] != x->dim[0] || w->dim[2] > LAR_MAX_EXPERTS || w->dim[3] != 1)
            return lar_shape_fail(t, w ? i : 0, "weights [k, rows, experts]", e);
        if (!ids && w->dim[2] != used)
            return lar_shape_fail(t, i, "a weight for each of the ranks", e);
        if (b && (b->type != LAR_DTYPE(f32) || b->dim[0] != w->dim[1] || b->dim[1] != w->dim[2]))
            return lar_shape_fail(t, i + n, "an f32 bias [rows, experts]", e);
        rows += w->dim[1];
    }
    t->dim[0] = rows;
    t->dim[1] = used;
    t->dim[2] = tokens;
    return LAR_OK;
}

static bool wants_quantized(const lar_tensor *t)
{
    for (int i = 2; i < 2 + n_weights(t); i++)
        if (t->src[i]->type->block > 1)
            return true;
    return false;
}

static int64_t n_pairs(const lar_tensor *t)
{
    return t->dim[1] * t->dim[2];
}

static int64_t row_blocks(const lar_tensor *t)
{
    int64_t blocks = 0;
    for (int i = 2; i < 2 + n_weights(t); i++)
        blocks += (t->src[i]->dim[1] + ROW_BLOCK - 1) / ROW_BLOCK;
    return blocks;
}

static int64_t units(const lar_tensor *t, int phase)
{
    return phase == 0   ? 1
           : phase == 1 ? n_pairs(t)
                        : LAR_MIN(n_pairs(t), t->src[2]->dim[2]) * row_blocks(t);
}

/* Pairs sorted by expert: pair p = token * n_used + rank stands at slot[p]; pair_at[slot] = p. */
typedef struct order {
    int32_t *slot, *pair_at; /* [pairs] */
    int32_t *expert, *first; /* [experts]: those asked for, ascending; [experts + 1]: their slots */
    int32_t *n_active;
} order;

static size_t order_bytes(const lar_tensor *t)
{
    const size_t n = (size_t)n_pairs(t) * 2 + (size_t)t->src[2]->dim[2] * 2 + 2;
    return (n * sizeof(int32_t) + 63) & ~(size_t)63;
}

static order order_of(const lar_tensor *t, void *scratch)
{
    order o;
    o.slot = scratch;
    o.pair_at = o.slot + n_pairs(t);
    o.expert = o.pair_at + n_pairs(t);
    o.first = o.expert + t->src[2]->dim[2];
    o.n_active = o.first + t->src[2]->dim[2] + 1;
    return o;
}

static size_t columns_bytes(const lar_tensor *t)
{
    const size_t k = (size_t)t->src[0]->dim[0], n = (size_t)n_pairs(t);
    return wants_quantized(t) ? lar_acts_bytes(t->src[0]->dim[0], (int)n_pairs(t))
                              : k * n * sizeof(float);
}

static size_t scratch(const lar_tensor *t, int nth)
{
    (void)nth;
    return order_bytes(t) + columns_bytes(t);
}

/* Which expert a pair takes. */
static int64_t expert_of(const lar_tensor *t, int64_t pair)
{
    return t->src[1] ? ((const int32_t *)t->src[1]->data)[pair] : pair % t->dim[1];
}

/* Counting sort, stable. */
static void sort_pairs(const lar_tensor *t, const order *o)
{
    const int64_t n = n_pairs(t), experts = t->src[2]->dim[2];
    int32_t count[LAR_MAX_EXPERTS + 1] = {0};
    int32_t active = 0;
    for (int64_t p = 0; p < n; p++)
        count[expert_of(t, p) + 1]++;
    for (int64_t i = 0; i < experts; i++) {
        if (count[i + 1]) {
            o->expert[active] = (int32_t)i;
            o->first[active++] = count[i];
        }
        count[i + 1] += count[i];
    }
    o->first[active] = (int32_t)n;
    *o->n_active = active;
    for (int64_t p = 0; p < n; p++) {
        const int32_t s = count[expert_of(t, p)]++;
        o->slot[p] = s;
        o->pair_at[s] = (int32_t)p;
    }
}

/* The columns in order of expert: quantized, or copied for float weights. */
static lar_acts columns(const lar_tensor *t, void *scratch_mem)
{
    lar_acts a = {.k = t->src[0]->dim[0], .cols = (int)n_pairs(t)};
    char *mem = (char *)scratch_mem + order_bytes(t);
    if (wants_quantized(t)) {
        lar_acts_layout(&a, mem, a.k, a.cols);
        return a;
    }
    a.x = (float *)(void *)mem;
    a.ldx = (size_t)a.k;
    return a;
}

static void place_column(const lar_tensor *t, const lar_work *w, const order *o, const lar_acts *a,
                         int64_t p)
{
    const lar_kernels *k = w->kernels;
    const lar_tensor *x = t->src[0];
    const bool shared = lar_rows(x) != n_pairs(t);
    const float *from = lar_row(x, shared ? p / t->dim[1] : p);
    if (wants_quantized(t)) {
        lar_acts one = lar_acts_column(a, o->slot[p]);
        one.x = from;
        k->acts_quantize(&one, 0, 1);
    } else {
        memcpy((float *)(uintptr_t)a->x + (size_t)o->slot[p] * a->ldx, from,
               (size_t)a->k * sizeof *from);
    }
}

/* Rows [r0, r0 + nr) of weight i for an expert's columns [c0, c1). */
static void tile(const lar_tensor *t, const lar_work *w, const order *o, const lar_acts *a, int i,
                 int64_t expert, int64_t r0, int nr, int c0, int c1, int64_t row)
{
    const lar_kernels *k = w->kernels;
    const lar_tensor *wt = t->src[i];
    const lar_tensor *b = i + n_weights(t) < t->n_src ? t->src[i + n_weights(t)] : NULL;
    float y[COL_TILE * ROW_BLOCK];
    const char *p = (const char *)wt->data + (size_t)expert * wt->stride[2];
    const lar_acts some = lar_acts_column(a, c0);
    k->formats[lar_dtype_index(wt->type)]->dot(p + (size_t)r0 * wt->stride[1], wt->stride[1], nr,
                                               &some, 0, c1 - c0, y, ROW_BLOCK);
    for (int c = c0; c < c1; c++) {
        float *to = (float *)lar_row(t, o->pair_at[c]) + row;
        const float *from = y + (size_t)(c - c0) * ROW_BLOCK;
        const float *bias = b ? (const float *)lar_row(b, expert) + r0 : NULL;
        for (int r = 0; r < nr; r++)
            to[r] = bias ? from[r] + bias[r] : from[r];
    }
}

static void product(const lar_tensor *t, const lar_work *w, const order *o, const lar_acts *a,
                    int64_t unit)
{
    const int64_t blocks = row_blocks(t), active = unit / blocks;
    int64_t rb = unit % blocks, row = 0;
    int i = 2;
    if (active >= *o->n_active)
        return;
    for (;; i++) {
        const int64_t n = (t->src[i]->dim[1] + ROW_BLOCK - 1) / ROW_BLOCK;
        if (rb < n)
            break;
        rb -= n;
        row += t->src[i]->dim[1];
    }
    const int64_t r0 = rb * ROW_BLOCK, nr = LAR_MIN(ROW_BLOCK, t->src[i]->dim[1] - r0);
    const int end = o->first[active + 1];
    for (int c = o->first[active]; c < end; c += COL_TILE)
        tile(t, w, o, a, i, o->expert[active], r0, (int)nr, c, LAR_MIN(c + COL_TILE, end),
             row + r0);
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    const order o = order_of(t, w->scratch);
    if (w->phase == 0) {
        sort_pairs(t, &o);
        return;
    }
    const lar_acts a = columns(t, w->scratch);
    for (int64_t u = w->begin; u < w->end; u++)
        if (w->phase == 1)
            place_column(t, w, &o, &a, u);
        else
            product(t, w, &o, &a, u);
}

static lar_status sum_shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *y = t->src[0], *g = t->src[1];
    LAR_TRY(lar_want_f32(t, e));
    if (g->dim[0] != y->dim[1] || g->dim[1] != y->dim[2] || y->dim[3] != 1)
        return lar_shape_fail(t, 1, "a weight per expert and token", e);
    t->dim[0] = y->dim[0];
    t->dim[1] = y->dim[2];
    return LAR_OK;
}

static void sum_cpu(const lar_tensor *t, const lar_work *w)
{
    const int64_t used = t->src[0]->dim[1];
    for (int64_t r = w->begin; r < w->end; r++) {
        const float *g = lar_row(t->src[1], r);
        float *to = lar_row(t, r);
        for (int64_t i = 0; i < t->dim[0]; i += 16) {
            const int n = (int)LAR_MIN(16, t->dim[0] - i);
            vf a = vf_zero();
            for (int64_t k = 0; k < used; k++)
                a = vf_fma(vf_set1(g[k]),
                           vf_load_n((const float *)lar_row(t->src[0], r * used + k) + i, n), a);
            vf_store_n(to + i, a, n);
        }
    }
}

#define N(n) .param = {n}
static const lar_case cases[] = {
    {.n_src = 3,
     .dim = {{64, 5, 1, 1}, {2, 5, 1, 1}, {64, 37, 6, 1}},
     .type = {NULL, LAR_DTYPE(i32), LAR_DTYPE(q8_0)},
     .ints = {0, 6},
     N(1),
     .no_grad = {true, true, true}},
    {.n_src = 6,
     .dim = {{32, 3, 4, 1},
             {3, 4, 1, 1},
             {32, 16, 5, 1},
             {32, 33, 5, 1},
             {16, 5, 1, 1},
             {33, 5, 1, 1}},
     .type = {NULL, LAR_DTYPE(i32), LAR_DTYPE(q4_0), LAR_DTYPE(q4_1)},
     .ints = {0, 5},
     N(2),
     .no_grad = {true, true, true, true, true, true}},
    {.n_src = 3,
     .dim = {{19, 70, 1, 1}, {2, 70, 1, 1}, {19, 8, 2, 1}},
     .type = {NULL, LAR_DTYPE(i32), LAR_DTYPE(f16)},
     .ints = {0, 2},
     N(1),
     .no_grad = {true, true, true}},
    {.n_src = 3,
     .dim = {{32, 3, 7, 1}, {0}, {32, 33, 3, 1}},
     .type = {NULL, NULL, LAR_DTYPE(q8_0)},
     N(1),
     .no_grad = {true, true, true}},
    {.n_src = 3, .dim = {{19, 4, 1, 1}, {0}, {19, 8, 4, 1}}, N(1), .no_grad = {true, true, true}},
};
static const lar_case sums[] = {
    {.n_src = 2, .dim = {{21, 3, 4, 1}, {3, 4, 1, 1}}, .no_grad = {true, true}},
};

LAR_OP(experts, .min_src = 1, .max_src = 6, .param_size = sizeof(lar_matmul_param), .shape = shape,
       .phases = 3, .units = units, .scratch = scratch, .cpu = cpu, LAR_CASES(cases));
LAR_OP(experts_sum, .min_src = 2, .max_src = 2, .shape = sum_shape, .units = lar_units_rows,
       .cpu = sum_cpu, LAR_CASES(sums));
