/*
 * attention.c - attention over paged keys and values, with an online softmax.
 * Milakov and Gimelshein 2018; Dao et al., "FlashAttention", 2022; Kwon et al., "PagedAttention",
 * 2023. Sources: q F32 [dk, heads, T]; K cache [dk, LAR_PAGE, kv heads, pages], V cache [dv,
 * LAR_PAGE, kv heads, pages] (ops/kv_page.h), or K's itself: then the first n_value of each key are
 * the value; pos I32 [T]; slot I32 [T]: the row of `table` that
 * holds a token's pages; table I32 [max pages, slots]; sinks F32 [heads], may be left out: a score
 * that joins each head's softmax and carries no value; last I32 [T], may be left out: the last key
 * that a token may see, where that is not itself (both ways). Result F32 [dv * heads, T].
 *
 * Numerics: a page is a chunk. Of each chunk by itself: s_j = scale times the sum over d,
 * ascending, of q[d] * k_j[d], by fma; m_c = max of the scores, p_j = e^(s_j - m_c), l_c = their
 * sum in 16 lanes, o_c = fma over its keys in ascending order. Chunks are combined in ascending
 * order: m' = max(m, m_c), a = e^(m - m'), b = e^(m_c - m'), l = fma(l, a, l_c * b), o = fma(o, a,
 * o_c * b). Keys that are masked (later than the query's last, or outside its window) are skipped.
 * A sink s comes last, like a chunk with m_c = s, l_c = 1 and o_c = 0.
 *
 * A unit is one head of keys times a tile of tokens: all heads of queries that share it see each
 * chunk together. With few tokens a unit is also a part of the chunks: phase 0 then leaves every
 * chunk's m, l and o in scratch, and phase 1 combines them, in the same order.
 */
#include "base/simd.h"
#include "ops/kv_page.h"
#include <math.h>

/* Queries and sixteens of columns whose sums stay in registers. */
#if defined(LAR_VARIANT_generic)
enum { ROWS = 1, VECS = 1 };
#elif defined(__AVX512F__)
enum { ROWS = 6, VECS = 4 };
#else
enum { ROWS = 6, VECS = 1 };
#endif
enum {
    MAX_ROWS = 6,         /* of any variant: one plan serves all */
    QUERIES = 48,         /* of a tile, about: they share a conversion of each chunk */
    FEW = 4,              /* tokens, up to which a unit is a part of the chunks */
    PARTS = 16,           /* into which a tile's chunks are then cut */
    FOLD_BYTES = 1 << 19, /* chunks' results that one worker combines while the others wait */
    LAST = 7              /* the source */
};

static bool values_in_keys(const lar_tensor *t)
{
    return t->src[2] == t->src[1];
}
static int64_t value_dim(const lar_tensor *t)
{
    return values_in_keys(t) ? LAR_PARAM(lar_attention_param, t)->n_value : t->src[2]->dim[0];
}

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const lar_attention_param *p = LAR_PARAM(lar_attention_param, t);
    const lar_tensor *q = t->src[0], *k = t->src[1], *v = t->src[2];
    if (q->type != LAR_DTYPE(f32) || q->dim[3] != 1 || q->dim[0] > LAR_MAX_HEAD_DIM)
        return lar_shape_fail(t, 0, "f32 [head_dim <= 1024, heads, T]", e);
    if (p->n_head_kv < 1 || q->dim[1] % p->n_head_kv)
        return lar_fail(e, LAR_EARG, "attention: %lld heads for %d of keys", (long long)q->dim[1],
                        (int)p->n_head_kv);
    if (k->dim[0] != q->dim[0] || k->dim[1] != LAR_PAGE || k->dim[2] != p->n_head_kv ||
        !lar_kv_type_ok(k->type))
        return lar_shape_fail(t, 1, "a cache [head_dim, page, kv heads, pages]", e);
    if (v == k && (p->n_value < 1 || p->n_value > k->dim[0]))
        return lar_fail(e, LAR_EARG, "attention: values of %d in keys of %lld", (int)p->n_value,
                        (long long)k->dim[0]);
    if (v->dim[0] > LAR_MAX_HEAD_DIM || v->dim[1] != LAR_PAGE || v->dim[2] != p->n_head_kv ||
        v->dim[3] != k->dim[3] || !lar_kv_type_ok(v->type))
        return lar_shape_fail(t, 2, "a cache like the keys'", e);
    for (int i = 3; i <= LAST; i++)
        if (i != 6 && t->src[i] &&
            (t->src[i]->type != LAR_DTYPE(i32) || (i != 5 && t->src[i]->dim[0] != q->dim[2])))
            return lar_shape_fail(t, i, "i32 [T]", e);
    if (t->src[6] && (t->src[6]->type != LAR_DTYPE(f32) || lar_count(t->src[6]) != q->dim[1]))
        return lar_shape_fail(t, 6, "an f32 sink per head", e);
    t->dim[0] = value_dim(t) * q->dim[1];
    t->dim[1] = q->dim[2];
    return LAR_OK;
}

/* ---- sizes ------------------------------------------------------------------------------------
 */

static int64_t n_kv(const lar_tensor *t)
{
    return LAR_PARAM(lar_attention_param, t)->n_head_kv;
}
/* Heads of queries for one of keys. */
static int64_t group(const lar_tensor *t)
{
    return t->src[0]->dim[1] / n_kv(t);
}
static bool is_few(const lar_tensor *t)
{
    return t->dim[1] <= FEW;
}
static int64_t tile_tokens(const lar_tensor *t)
{
    return t->dim[1] <= 32 ? FEW : LAR_MAX(FEW, QUERIES / group(t));
}
static int64_t n_tiles(const lar_tensor *t)
{
    return (t->dim[1] + tile_tokens(t) - 1) / tile_tokens(t);
}
/* Rows of values and of results are padded to whole lanes. */
static int64_t padded(const lar_tensor *t)
{
    return (value_dim(t) + 15) / 16 * 16;
}
/* Floats of one query's result of one chunk, or of all so far: o, then m and l. */
static int64_t result_floats(const lar_tensor *t)
{
    return padded(t) + 16;
}
/* Those of all chunks and queries, when there are few tokens. */
static size_t parts_bytes(const lar_tensor *t)
{
    return is_few(t)
               ? (size_t)(t->src[5]->dim[0] * t->src[0]->dim[1] * t->dim[1] * result_floats(t)) *
                     sizeof(float)
               : 0;
}
static size_t worker_floats(const lar_tensor *t)
{
    const int64_t dk = t->src[1]->dim[0], dv = padded(t);
    return (size_t)(LAR_PAGE * (dk + dv) + MAX_ROWS * (LAR_PAGE + dv) +
                    tile_tokens(t) * group(t) * result_floats(t));
}

static int64_t units(const lar_tensor *t, int phase)
{
    if (phase == 0)
        return n_kv(t) * n_tiles(t) * (is_few(t) ? PARTS : 1);
    if (!is_few(t))
        return 0;
    return parts_bytes(t) <= FOLD_BYTES ? 1 : t->src[0]->dim[1] * t->dim[1];
}

static size_t scratch(const lar_tensor *t, int nth)
{
    return parts_bytes(t) + worker_floats(t) * sizeof(float) * (size_t)nth;
}

/* ---- sums of products -------------------------------------------------------------------------
 */

/* Rows of F32 or F16, ld elements apart. */
typedef struct matrix {
    const void *p;
    int64_t ld;
    bool half;
} matrix;

/* c[r][x] = sum over j in [j0, j1), ascending, of a[r][j] * b[j][x], by fma from c itself (more) or
 * from +0, for nr rows and nv * 16 columns x from col. */
LAR_INLINE void tile(const int nr, const int nv, const bool half, const float *const *a, int64_t j0,
                     int64_t j1, const matrix *m, int64_t col, float *c, int64_t ldc, bool more)
{
    vf acc[ROWS][VECS];
    LAR_UNROLL
    for (int r = 0; r < nr; r++) {
        LAR_UNROLL
        for (int v = 0; v < nv; v++)
            acc[r][v] = more ? vf_load(c + r * ldc + 16 * v) : vf_zero();
    }
    const float *b = (const float *)m->p + (half ? 0 : j0 * m->ld + col);
    const uint16_t *h = (const uint16_t *)m->p + (half ? j0 * m->ld + col : 0);
    for (int64_t j = j0; j < j1; j++, b += half ? 0 : m->ld, h += half ? m->ld : 0) {
        vf x[VECS];
        LAR_UNROLL
        for (int v = 0; v < nv; v++)
            x[v] = half ? vf_load_f16(h + 16 * v) : vf_load(b + 16 * v);
        LAR_UNROLL
        for (int r = 0; r < nr; r++) {
            const vf w = vf_set1(a[r][j]);
            LAR_UNROLL
            for (int v = 0; v < nv; v++)
                acc[r][v] = vf_fma(w, x[v], acc[r][v]);
        }
    }
    LAR_UNROLL
    for (int r = 0; r < nr; r++) {
        LAR_UNROLL
        for (int v = 0; v < nv; v++)
            vf_store(c + r * ldc + 16 * v, acc[r][v]);
    }
}

LAR_INLINE void columns(const int nr, const bool half, const float *const *a, int64_t j0,
                        int64_t j1, const matrix *m, int64_t col0, int64_t col1, float *c,
                        int64_t ldc, bool more)
{
    int64_t col = col0;
    for (; col + 16 * VECS <= col1; col += 16 * VECS)
        tile(nr, VECS, half, a, j0, j1, m, col, c + col, ldc, more);
    for (; VECS > 1 && col < col1; col += 16)
        tile(nr, 1, half, a, j0, j1, m, col, c + col, ldc, more);
}

LAR_INLINE void some_rows(const bool half, int nr, const float *const *a, int64_t j0, int64_t j1,
                          const matrix *m, int64_t col0, int64_t col1, float *c, int64_t ldc,
                          bool more)
{
    for (; nr >= ROWS; nr -= ROWS, a += ROWS, c += ROWS * ldc)
        columns(ROWS, half, a, j0, j1, m, col0, col1, c, ldc, more);
#define N(n)                                                                                       \
    case n:                                                                                        \
        if (n < ROWS)                                                                              \
            columns(n < ROWS ? n : 1, half, a, j0, j1, m, col0, col1, c, ldc, more);               \
        break;
    switch (nr) {
        N(1)
        N(2)
        N(3)
        N(4)
        N(5)
    default:
        break;
    }
#undef N
}

/* col0 and col1 are multiples of 16. */
static void product(int nr, const float *const *a, int64_t j0, int64_t j1, const matrix *m,
                    int64_t col0, int64_t col1, float *c, int64_t ldc, bool more)
{
    if (m->half)
        some_rows(true, nr, a, j0, j1, m, col0, col1, c, ldc, more);
    else
        some_rows(false, nr, a, j0, j1, m, col0, col1, c, ldc, more);
}

/* ---- a chunk ----------------------------------------------------------------------------------
 */

/* A worker's memory and what it is at. */
typedef struct work {
    const lar_tensor *t;
    const lar_kernels *kernels;
    int64_t kv_head;
    float *kbuf, *vbuf;   /* a converted chunk */
    float *s, *oc;        /* [ROWS][LAR_PAGE] scores, [ROWS][dv] sums */
    float *state, *parts; /* results so far per query of a tile; per chunk, head and token */
    matrix k, v;          /* the chunk: [dk][LAR_PAGE], [LAR_PAGE][dv] */
} work;

/* Queries that meet a chunk together: row r sees its keys [lo, hi). */
typedef struct block {
    int n, lo[ROWS], hi[ROWS];
    const float *q[ROWS], *s[ROWS];
    float m[ROWS], l[ROWS];
    float *to[ROWS]; /* the result that this chunk's is folded into, or stored in */
} block;

/* s = the scores of row r's keys, scaled and capped, then their weights e^(s - m). */
static void soften(const lar_attention_param *p, float *s, block *b, int r)
{
    static const float lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const int lo = b->lo[r], hi = b->hi[r], first = lo / 16 * 16;
    const vf scale = vf_set1(p->scale), none = vf_set1(-INFINITY);
    vf m = none, sum = vf_zero();
    for (int j = first; j < hi; j += 16) {
        vf x = vf_mul(vf_load(s + j), scale);
        if (p->softcap != 0) {
            const vf cap = vf_set1(p->softcap);
            x = vf_mul(cap, vf_tanh(vf_div(x, cap)));
        }
        if (j < lo)
            x = vf_lt(vf_load(lane), vf_set1((float)(lo - j)), none, x);
        if (j + 16 > hi)
            x = vf_lt(vf_load(lane), vf_set1((float)(hi - j)), x, none);
        vf_store(s + j, x);
        m = vf_max(x, m); /* a NaN is passed over here, and makes its weight one */
    }
    b->m[r] = vf_hmax(m);
    const vf top = vf_set1(b->m[r]);
    for (int j = first; j < hi; j += 16) {
        const vf e = vf_exp_neg(vf_sub(vf_load(s + j), top));
        vf_store(s + j, e);
        sum = vf_add(sum, e);
    }
    b->l[r] = vf_hsum(sum);
}

/* oc = each row's weights times the values: together where all rows see the key. */
static void weigh(const work *x, const block *b, int64_t dv)
{
    int all0 = 0, all1 = LAR_PAGE;
    for (int r = 0; r < b->n; r++) {
        all0 = LAR_MAX(all0, b->lo[r]);
        all1 = LAR_MIN(all1, b->hi[r]);
    }
    if (all0 >= all1)
        all0 = all1 = LAR_PAGE;
    bool more = false;
    for (int r = 0; r < b->n; r++)
        more = more || b->lo[r] < all0;
    for (int r = 0; more && r < b->n; r++) /* those before */
        product(1, b->s + r, b->lo[r], LAR_MIN(b->hi[r], all0), &x->v, 0, dv, x->oc + r * dv, dv,
                false);
    if (all0 < all1)
        product(b->n, b->s, all0, all1, &x->v, 0, dv, x->oc, dv, more);
    for (int r = 0; r < b->n; r++)
        if (b->hi[r] > all1)
            product(1, b->s + r, all1, b->hi[r], &x->v, 0, dv, x->oc + r * dv, dv, true);
}

/* Fold the block's m, l and o into its rows' results. */
static void fold(const block *b, const float *oc, int64_t dv)
{
    float m[16] = {0}, l[16] = {0}, lc[16] = {0}, x[16] = {0}, y[16] = {0};
    for (int r = 0; r < b->n; r++) {
        const float was = b->to[r][dv];
        m[r] = was > b->m[r] ? was : b->m[r];
        x[r] = was - m[r];
        y[r] = b->m[r] - m[r];
        l[r] = b->to[r][dv + 1];
        lc[r] = b->l[r];
    }
    const vf ex = vf_exp_neg(vf_load(x)), ey = vf_exp_neg(vf_load(y));
    vf_store(l, vf_fma(vf_load(l), ex, vf_mul(vf_load(lc), ey)));
    vf_store(x, ex);
    vf_store(y, ey);
    for (int r = 0; r < b->n; r++, oc += dv) {
        float *o = b->to[r];
        const vf va = vf_set1(x[r]), vb = vf_set1(y[r]);
        for (int64_t d = 0; d < dv; d += 16)
            vf_store(o + d, vf_fma(vf_load(o + d), va, vf_mul(vf_load(oc + d), vb)));
        o[dv] = m[r];
        o[dv + 1] = l[r];
    }
}

static void clear(float *to, int64_t dv)
{
    memset(to, 0, (size_t)(dv + 16) * sizeof *to);
    to[dv] = -INFINITY;
}

/* The block's rows meet the chunk; then the block is empty. */
static void meet(const work *x, block *b)
{
    const lar_attention_param *p = LAR_PARAM(lar_attention_param, x->t);
    const int64_t dk = x->t->src[1]->dim[0], dv = padded(x->t);
    int lo = LAR_PAGE, hi = 0;
    for (int r = 0; r < b->n; r++) {
        lo = LAR_MIN(lo, b->lo[r]);
        hi = LAR_MAX(hi, b->hi[r]);
        b->s[r] = x->s + r * LAR_PAGE;
    }
    product(b->n, b->q, 0, dk, &x->k, lo / 16 * 16, (hi + 15) / 16 * 16, x->s, LAR_PAGE, false);
    for (int r = 0; r < b->n; r++)
        soften(p, x->s + r * LAR_PAGE, b, r);
    weigh(x, b, dv);
    if (!x->parts)
        fold(b, x->oc, dv);
    for (int r = 0; x->parts && r < b->n; r++) {
        memcpy(b->to[r], x->oc + r * dv, (size_t)dv * sizeof(float));
        b->to[r][dv] = b->m[r];
        b->to[r][dv + 1] = b->l[r];
    }
    b->n = 0;
}

/* Keys of quantized types: per 32 of dk the cells' scales, then 32 (or 16 of two) rows of cells. */
static void expand_keys(const lar_dtype *type, const uint8_t *p, int64_t dk, float *to)
{
    for (int64_t d = 0; d < dk; d += 32, p += LAR_PAGE * type->bytes, to += 32 * LAR_PAGE) {
        const int8_t *q = (const int8_t *)p + 2 * LAR_PAGE;
        for (int c = 0; c < LAR_PAGE; c += 16) {
            const vf scale = vf_load_f16((const uint16_t *)(const void *)p + c);
            if (type == LAR_DTYPE(q8_0)) {
                for (int i = 0; i < 32; i++)
                    vf_store(to + i * LAR_PAGE + c,
                             vf_mul(vf_from_i(vi_load_s8(q + i * LAR_PAGE + c)), scale));
                continue;
            }
            const vi low = vi_set1(15), eight = vi_set1(8);
            for (int i = 0; i < 16; i++) {
                const vi b = vi_load_s8(q + i * LAR_PAGE + c);
                vf_store(to + i * LAR_PAGE + c,
                         vf_mul(vf_from_i(vi_sub(vi_and(b, low), eight)), scale));
                vf_store(to + (i + 16) * LAR_PAGE + c,
                         vf_mul(vf_from_i(vi_sub(vi_and(vi_shr(b, 4), low), eight)), scale));
            }
        }
    }
}

/* Cells [lo, hi) of the values, that are the keys' first dv rows, as rows. */
static void values_of_keys(const matrix *k, int64_t dk, int64_t dv, int lo, int hi, float *to,
                           int64_t ld)
{
    const float *from = k->p;
    for (int64_t d = 0; d < dv; d += 16)
        for (int j = lo / 4 * 4; d + 16 <= dk && j < hi; j += 4) {
            int32_t cells[4][16];
            vi x[4];
            vi_rows16((const uint8_t *)(from + d * LAR_PAGE + j), LAR_PAGE * sizeof *from, x);
            for (int i = 0; i < 4; i++) {
                vi_store(cells[i], x[i]);
                memcpy(to + (j + i) * ld + d, cells[i], sizeof cells[i]);
            }
        }
    for (int64_t d = dk / 16 * 16; d < dv; d++) /* fewer than sixteen rows are left */
        for (int j = lo; j < hi; j++)
            to[j * ld + d] = from[d * LAR_PAGE + j];
}

/* Make x->k and x->v cells [lo, hi) of a page, as they lie or converted. Halfs that only a few
 * queries will meet are converted in registers. */
static void open_chunk(work *x, int32_t page, int lo, int hi, int64_t n_queries)
{
    const lar_tensor *k = x->t->src[1], *v = x->t->src[2];
    const char *kp =
        (const char *)k->data + (size_t)page * k->stride[3] + (size_t)x->kv_head * k->stride[2];
    const char *rows =
        (const char *)v->data + (size_t)page * v->stride[3] + (size_t)x->kv_head * v->stride[2];
    const int64_t dk = k->dim[0], dv = value_dim(x->t), ld = padded(x->t);
    const bool direct = n_queries <= ROWS && !values_in_keys(x->t);
    x->k = (matrix){kp, LAR_PAGE, direct && k->type == LAR_DTYPE(f16)};
    x->v = (matrix){rows, ld, direct && v->type == LAR_DTYPE(f16) && dv == ld};
    if (k->type->block > 1) {
        expand_keys(k->type, (const uint8_t *)kp, dk, x->kbuf);
        x->k.p = x->kbuf;
    } else if (k->type == LAR_DTYPE(f16) && !x->k.half) {
        for (int64_t i = 0; i < dk * LAR_PAGE; i += 16)
            vf_store(x->kbuf + i, vf_load_f16((const uint16_t *)(const void *)kp + i));
        x->k.p = x->kbuf;
    }
    if (values_in_keys(x->t)) {
        values_of_keys(&x->k, dk, dv, lo, hi, x->vbuf, ld);
        x->v = (matrix){x->vbuf, ld, false};
        return;
    }
    if (x->v.half || (v->type == LAR_DTYPE(f32) && dv == ld))
        return;
    const lar_format *f = x->kernels->formats[lar_dtype_index(v->type)];
    if (dv == ld)
        f->to_f32(rows + (size_t)lo * v->stride[1], x->vbuf + lo * ld, (hi - lo) * dv);
    for (int j = lo; dv < ld && j < hi; j++)
        f->to_f32(rows + (size_t)j * v->stride[1], x->vbuf + j * ld, dv);
    x->v.p = x->vbuf;
}

/* ---- tokens -----------------------------------------------------------------------------------
 */

/* The keys that a token sees: first to last. */
typedef struct span {
    int32_t first, last;
} span;

static span seen(const lar_tensor *t, int64_t token)
{
    const int32_t window = LAR_PARAM(lar_attention_param, t)->window;
    const int32_t pos = ((const int32_t *)t->src[3]->data)[token];
    span s = {0, t->src[LAST] ? ((const int32_t *)t->src[LAST]->data)[token] : pos};
    if (window) {
        s.first = LAR_MAX(0, pos - window + 1);
        s.last = s.last - pos < window ? s.last : pos + window - 1;
    }
    return s;
}

/* Where the result of a chunk goes: phase 1 finds it there. */
static float *part_of(const lar_tensor *t, float *parts, int64_t chunk, int64_t token, int64_t head)
{
    return parts + ((chunk * t->dim[1] + token) * t->src[0]->dim[1] + head) * result_floats(t);
}

/* Tokens [t0, t1), all of one sequence, meet part `part` of `n_parts` of the chunks that any of
 * them sees. */
static void run_tokens(work *x, int64_t t0, int64_t t1, int64_t part, int64_t n_parts)
{
    const lar_tensor *t = x->t;
    const int32_t *pages = lar_row(t->src[5], ((const int32_t *)t->src[4]->data)[t0]);
    const int64_t per = group(t), head0 = x->kv_head * per, rf = result_floats(t);
    int32_t first = INT32_MAX, last = 0;
    for (int64_t i = t0; i < t1; i++) {
        const span s = seen(t, i);
        first = LAR_MIN(first, s.first);
        last = LAR_MAX(last, s.last);
    }
    const int64_t c0 = first / LAR_PAGE, n = last / LAR_PAGE + 1 - c0;
    for (int64_t c = c0 + n * part / n_parts; c < c0 + n * (part + 1) / n_parts; c++) {
        const int32_t base = (int32_t)c * LAR_PAGE;
        block b = {0};
        open_chunk(x, pages[c], LAR_MAX(0, first - base), LAR_MIN(LAR_PAGE, last + 1 - base),
                   (t1 - t0) * per);
        for (int64_t i = t0; i < t1; i++) {
            const span s = seen(t, i);
            const int lo = LAR_MAX(0, s.first - base), hi = LAR_MIN(LAR_PAGE, s.last + 1 - base);
            for (int64_t h = 0; lo < hi && h < per; h++) {
                b.lo[b.n] = lo;
                b.hi[b.n] = hi;
                b.q[b.n] = lar_row(t->src[0], i * t->src[0]->dim[1] + head0 + h);
                b.to[b.n++] = x->parts ? part_of(t, x->parts, c, i, head0 + h)
                                       : x->state + ((i - t0) * per + h) * rf;
                if (b.n == ROWS)
                    meet(x, &b);
            }
        }
        if (b.n)
            meet(x, &b);
    }
}

/* Fold the head's sink into a query's result. */
static void add_sink(float *o, int64_t dv, float sink)
{
    const float m = o[dv] > sink ? o[dv] : sink;
    float x[16] = {o[dv] - m, sink - m};
    vf_store(x, vf_exp_neg(vf_load(x)));
    for (int64_t d = 0; d < dv; d += 16)
        vf_store(o + d, vf_mul(vf_load(o + d), vf_set1(x[0])));
    o[dv] = m;
    o[dv + 1] = lar_fma(o[dv + 1], x[0], x[1]);
}

/* y = o / l */
static void finish(const lar_tensor *t, float *result, int64_t token, int64_t head)
{
    const int64_t dv = value_dim(t);
    float *y = (float *)lar_row(t, token) + head * dv;
    if (t->src[6])
        add_sink(result, padded(t), ((const float *)t->src[6]->data)[head]);
    const vf l = vf_set1(result[padded(t) + 1]);
    for (int64_t d = 0; d < dv; d += 16)
        vf_store_n(y + d, vf_div(vf_load(result + d), l), (int)LAR_MIN(16, dv - d));
}

static void run_tile(work *x, int64_t t0, int64_t t1, int64_t part)
{
    const lar_tensor *t = x->t;
    const int32_t *slot = t->src[4]->data;
    const int64_t per = group(t), rf = result_floats(t);
    for (int64_t a = t0, b; a < t1; a = b) {
        for (b = a + 1; b < t1 && slot[b] == slot[a];)
            b++;
        for (int64_t i = 0; !x->parts && i < (b - a) * per; i++)
            clear(x->state + i * rf, padded(t));
        run_tokens(x, a, b, part, x->parts ? PARTS : 1);
        for (int64_t i = 0; !x->parts && i < (b - a) * per; i++)
            finish(t, x->state + i * rf, a + i / per, x->kv_head * per + i % per);
    }
}

/* Fold n <= 16 chunks, whose results lie `ld` floats apart. */
static void fold_chunks(float *to, int64_t dv, const float *from, int64_t ld, int n)
{
    float x[16] = {0}, y[16] = {0}, m = to[dv], l = to[dv + 1];
    for (int c = 0; c < n; c++) {
        const float mc = from[c * ld + dv], m1 = m > mc ? m : mc;
        x[c] = m - m1;
        y[c] = mc - m1;
        m = m1;
    }
    vf_store(x, vf_exp_neg(vf_load(x)));
    vf_store(y, vf_exp_neg(vf_load(y)));
    for (int c = 0; c < n; c++)
        l = lar_fma(l, x[c], from[c * ld + dv + 1] * y[c]);
    to[dv] = m;
    to[dv + 1] = l;
    for (int64_t d = 0; d < dv; d += 16) {
        vf o = vf_load(to + d);
        for (int c = 0; c < n; c++)
            o = vf_fma(o, vf_set1(x[c]), vf_mul(vf_load(from + c * ld + d), vf_set1(y[c])));
        vf_store(to + d, o);
    }
}

/* Combine the chunks of one query. */
static void combine(const lar_tensor *t, float *parts, float *state, int64_t token, int64_t head)
{
    const span s = seen(t, token);
    const int64_t dv = padded(t), ld = t->dim[1] * t->src[0]->dim[1] * result_floats(t);
    const int32_t end = s.last / LAR_PAGE + 1;
    clear(state, dv);
    for (int32_t c = s.first / LAR_PAGE; c < end; c += 16)
        fold_chunks(state, dv, part_of(t, parts, c, token, head), ld, LAR_MIN(16, end - c));
    finish(t, state, token, head);
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    const int64_t dk = t->src[1]->dim[0], dv = padded(t), heads = t->src[0]->dim[1];
    work x = {.t = t, .kernels = w->kernels};
    x.parts = is_few(t) ? w->scratch : NULL;
    x.kbuf =
        (float *)(void *)((char *)w->scratch + parts_bytes(t)) + (size_t)w->ith * worker_floats(t);
    x.vbuf = x.kbuf + LAR_PAGE * dk;
    x.s = x.vbuf + LAR_PAGE * dv;
    x.oc = x.s + MAX_ROWS * LAR_PAGE;
    x.state = x.oc + MAX_ROWS * dv;
    if (w->phase == 1) {
        const bool one = units(t, 1) == 1;
        for (int64_t u = one ? 0 : w->begin; u < (one ? heads * t->dim[1] : w->end); u++)
            combine(t, x.parts, x.state, u / heads, u % heads);
        return;
    }
    for (int64_t u = w->begin; u < w->end; u++) {
        const int64_t n = n_tiles(t), tt = tile_tokens(t), part = u / (n_kv(t) * n);
        const int64_t at = n - 1 - u / n_kv(t) % n; /* the last, which sees most, first */
        x.kv_head = u % n_kv(t);
        run_tile(&x, at * tt, LAR_MIN((at + 1) * tt, t->dim[1]), part);
    }
}

LAR_OP(attention, .min_src = 6, .max_src = 1 + LAST, .param_size = sizeof(lar_attention_param),
       .shape = shape, .phases = 2, .units = units, .scratch = scratch, .cpu = cpu);
