/*
 * mt_linear.c - products of byte weights. ops/mt.h.
 *
 * mt_linear: y = act(W x + b). Sources: w I8 [LAR_MT_PANEL, k / 4, n / 16]; b F32 [n]; x F32 [k,
 * T]. mt_logits: some rows of a table only. Sources: w I8 [k, rows]; b F32 [rows]; x F32 [k, T];
 * ids I32 [any]: rows; span I32 [2, T]: first and count of a column's ids. Result F32 [LAR_MT_LIST
 * of the parameter, T]; what is behind a column's count is not written.
 *
 * Numerics: q = round to nearest even of x * alpha, within -127..127, plus 127; isum = sum over
 * pairs of neighbours of W[i] q[i] + W[i+1] q[i+1] cut to sixteen bits; y = isum * scale + b, each
 * operation rounded. b holds what takes away the 127 (models/marian.c).
 */
#include "ops/mt.h"

enum { COLS = 8, IDS = 64 };

static lar_status check_common(const lar_tensor *t, int64_t k, int64_t n, lar_err *e)
{
    const lar_tensor *w = t->src[0], *b = t->src[1], *x = t->src[2];
    if (w->type != LAR_DTYPE(i8))
        return lar_shape_fail(t, 0, "i8", e);
    if (b->type != LAR_DTYPE(f32) || b->dim[0] != n || lar_rows(b) != 1)
        return lar_shape_fail(t, 1, "f32, one per row of the weights", e);
    if (x->type != LAR_DTYPE(f32) || x->dim[0] != k || k % LAR_MT_PANEL || k < 1 ||
        x->dim[2] * x->dim[3] != 1)
        return lar_shape_fail(t, 2, "f32 [k, T], k a multiple of 64, as the weights have it", e);
    return LAR_OK;
}

static lar_status linear_shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *w = t->src[0];
    if (w->dim[0] != LAR_MT_PANEL || w->dim[3] != 1)
        return lar_shape_fail(t, 0, "i8 [64, k / 4, n / 16]", e);
    LAR_TRY(check_common(t, w->dim[1] * LAR_MT_STEP, w->dim[2] * LAR_MT_ROWS, e));
    t->dim[0] = w->dim[2] * LAR_MT_ROWS;
    t->dim[1] = t->src[2]->dim[1];
    return LAR_OK;
}

static int64_t linear_units(const lar_tensor *t, int phase)
{
    return phase ? t->src[0]->dim[2] : t->dim[1];
}

static size_t scratch(const lar_tensor *t, int nth)
{
    (void)nth;
    return (size_t)(t->src[2]->dim[0] * t->dim[1]);
}

static void quantize(const lar_tensor *t, const lar_work *w)
{
    const int64_t k = t->src[2]->dim[0];
    const float alpha = LAR_PARAM(lar_mt_linear_param, t)->alpha;
    for (int64_t c = w->begin; c < w->end; c++)
        lar_mt_quantize(lar_row(t->src[2], c), alpha, k, (uint8_t *)w->scratch + c * k);
}

/* n <= COLS columns of one panel. */
LAR_INLINE void panel(const int8_t *w, const uint8_t *x, int64_t k, int n, vi sum[COLS])
{
    LAR_UNROLL
    for (int c = 0; c < n; c++)
        sum[c] = vi_set1(0);
    for (int64_t i = 0; i < k; i += LAR_MT_STEP) {
        const vi v = vi_load((const int32_t *)(const void *)(w + i * LAR_MT_ROWS));
        LAR_UNROLL
        for (int c = 0; c < n; c++)
            sum[c] = vi_pairs16(sum[c], v, vi_set1((int32_t)vi_ld32_(x + c * k + i)));
    }
}

static void linear_cpu(const lar_tensor *t, const lar_work *wk)
{
    if (wk->phase == 0) {
        quantize(t, wk);
        return;
    }
    const lar_mt_linear_param *p = LAR_PARAM(lar_mt_linear_param, t);
    const int64_t k = t->src[2]->dim[0], cols = t->dim[1];
    const vf scale = vf_set1(p->scale), zero = vf_zero();
    for (int64_t u = wk->begin; u < wk->end; u++) {
        const int8_t *w = (const int8_t *)t->src[0]->data + u * LAR_MT_ROWS * k;
        const vf b = vf_load((const float *)t->src[1]->data + u * LAR_MT_ROWS);
        for (int64_t c = 0; c < cols;) {
            const uint8_t *x = (const uint8_t *)wk->scratch + c * k;
            vi sum[COLS];
            const int n = cols - c >= COLS ? COLS : cols - c >= 4 ? 4 : 1;
            if (n == COLS)
                panel(w, x, k, COLS, sum);
            else if (n == 4)
                panel(w, x, k, 4, sum);
            else
                panel(w, x, k, 1, sum);
            for (int i = 0; i < n; i++, c++) {
                const vf y = vf_add(vf_mul(vf_from_i(sum[i]), scale), b);
                vf_store((float *)lar_row(t, c) + u * LAR_MT_ROWS, p->relu ? vf_max(y, zero) : y);
            }
        }
    }
}

static lar_status logits_shape(lar_tensor *t, lar_err *e)
{
    const lar_tensor *w = t->src[0];
    LAR_TRY(check_common(t, w->dim[0], lar_rows(w), e));
    for (int i = 3; i < 5; i++)
        if (t->src[i]->type != LAR_DTYPE(i32))
            return lar_shape_fail(t, i, "i32", e);
    if (t->src[4]->dim[0] != 2 || t->src[4]->dim[1] != t->src[2]->dim[1])
        return lar_shape_fail(t, 4, "i32 [2, T]", e);
    t->dim[0] = LAR_PARAM(lar_mt_linear_param, t)->list;
    t->dim[1] = t->src[2]->dim[1];
    return t->dim[0] > 0 ? LAR_OK : lar_fail(e, LAR_EARG, "mt_logits: no room for a list");
}

static int64_t lists(const lar_tensor *t)
{
    return (t->dim[0] + IDS - 1) / IDS;
}
static int64_t logits_units(const lar_tensor *t, int phase)
{
    return phase ? t->dim[1] * lists(t) : t->dim[1];
}

static void logits_cpu(const lar_tensor *t, const lar_work *wk)
{
    if (wk->phase == 0) {
        quantize(t, wk);
        return;
    }
    const int64_t k = t->src[2]->dim[0];
    const float scale = LAR_PARAM(lar_mt_linear_param, t)->scale, *b = t->src[1]->data;
    for (int64_t u = wk->begin; u < wk->end; u++) {
        const int64_t c = u / lists(t), from = u % lists(t) * IDS;
        const int32_t *span = lar_row(t->src[4], c), *ids = (int32_t *)t->src[3]->data + span[0];
        const uint8_t *x = (const uint8_t *)wk->scratch + c * k;
        float *y = lar_row(t, c);
        for (int64_t i = from; i < LAR_MIN(from + IDS, LAR_MIN(span[1], t->dim[0])); i++) {
            const int8_t *w = (const int8_t *)t->src[0]->data + ids[i] * k;
            vi sum = vi_set1(0);
            for (int64_t j = 0; j < k; j += LAR_MT_PANEL)
                sum = vi_pairs16(sum, vi_load((const int32_t *)(const void *)(w + j)),
                                 vi_load((const int32_t *)(const void *)(x + j)));
            y[i] = (float)vi_hsum(sum) * scale + b[ids[i]];
        }
    }
}

/* alpha 40, scale 2^-10, relu; lists of up to 3 */
#define PARAM .param = {0, 0, 0x20, 0x42, 0, 0, 0x80, 0x3a, 1, 0, 0, 0, 3}
#define NONE .no_grad = {true, true, true, true, true}
static const lar_case linear_cases[] = {
    {.n_src = 3,
     .dim = {{64, 16, 2, 1}, {32, 1, 1, 1}, {64, 13, 1, 1}},
     .type = {LAR_DTYPE(i8)},
     PARAM,
     NONE},
    {.n_src = 3,
     .dim = {{64, 96, 3, 1}, {48, 1, 1, 1}, {384, 5, 1, 1}},
     .type = {LAR_DTYPE(i8)},
     PARAM,
     NONE},
};
static const lar_case logits_cases[] = {
    {.n_src = 5,
     .dim = {{128, 9, 1, 1}, {9, 1, 1, 1}, {128, 1, 1, 1}, {8, 1, 1, 1}, {2, 1, 1, 1}},
     .type = {LAR_DTYPE(i8), NULL, NULL, LAR_DTYPE(i32), LAR_DTYPE(i32)},
     .ints = {0, 0, 0, 9, 4},
     PARAM,
     NONE},
};

LAR_OP(mt_linear, .min_src = 3, .max_src = 3, .param_size = sizeof(lar_mt_linear_param),
       .shape = linear_shape, .phases = 2, .units = linear_units, .scratch = scratch,
       .cpu = linear_cpu, LAR_CASES(linear_cases));
LAR_OP(mt_logits, .min_src = 5, .max_src = 5, .param_size = sizeof(lar_mt_linear_param),
       .shape = logits_shape, .phases = 2, .units = logits_units, .scratch = scratch,
       .cpu = logits_cpu, LAR_CASES(logits_cases));
