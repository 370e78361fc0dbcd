/*
 * attention.c - causal attention over paged keys and values, with an online softmax.
 * Milakov and Gimelshein 2018; Dao et al., "FlashAttention", 2022; Kwon et al., "PagedAttention",
 * 2023. Sources: q F32 [dk, heads, T]; K cache [dk, LAR_PAGE, kv heads, pages], V cache [dv,
 * LAR_PAGE, kv heads, pages] of any type; pos I32 [T]; slot I32 [T]: the row of `table` that holds
 * a token's pages; table I32 [max pages, slots]. Result F32 [dv * heads, T].
 *
 * Numerics: a page is a chunk. Of each chunk by itself: m_c = max of the scores, p_j = e^(s_j -
 * m_c), l_c = their sum in 16 lanes, o_c = fma over its keys in ascending order. Chunks are
 * combined in ascending order: m' = max(m, m_c), a = e^(m - m'), b = e^(m_c - m'), l = fma(l, a,
 * l_c * b), o = fma(o, a, o_c * b). Keys that are masked (later than the query, or before its
 * window) are skipped.
 */
#include "base/simd.h"
#include "ops/ops.h"
#include <math.h>

enum { TILE = 16 }; /* tokens that share one conversion of a chunk */

static lar_status shape(lar_tensor *t, lar_err *e)
{
    const lar_attention_param *p = LAR_PARAM(lar_attention_param, t);
    const lar_tensor *q = t->src[0], *k = t->src[1], *v = t->src[2];
    if (q->type != LAR_DTYPE(f32) || q->dim[3] != 1 || q->dim[0] > LAR_MAX_HEAD_DIM)
        return lar_shape_fail(t, 0, "f32 [head_dim <= 1024, heads, T]", e);
    if (p->n_head_kv < 1 || q->dim[1] % p->n_head_kv)
        return lar_fail(e, LAR_EARG, "attention: %lld heads for %d of keys", (long long)q->dim[1],
                        (int)p->n_head_kv);
    if (k->dim[0] != q->dim[0] || k->dim[1] != LAR_PAGE || k->dim[2] != p->n_head_kv)
        return lar_shape_fail(t, 1, "a cache [head_dim, page, kv heads, pages]", e);
    if (v->dim[0] > LAR_MAX_HEAD_DIM || v->dim[1] != LAR_PAGE || v->dim[2] != p->n_head_kv ||
        v->dim[3] != k->dim[3])
        return lar_shape_fail(t, 2, "a cache like the keys'", e);
    for (int i = 3; i < 6; i++)
        if (t->src[i]->type != LAR_DTYPE(i32) || (i < 5 && t->src[i]->dim[0] != q->dim[2]))
            return lar_shape_fail(t, i, "i32 [T]", e);
    t->dim[0] = v->dim[0] * q->dim[1];
    t->dim[1] = q->dim[2];
    return LAR_OK;
}

/* A unit is one head of keys, or when there are few tokens one head of queries, times a tile of
 * tokens. */
static int64_t heads_per_unit(const lar_tensor *t)
{
    const int64_t group = t->src[0]->dim[1] / LAR_PARAM(lar_attention_param, t)->n_head_kv;
    return t->dim[1] > 2 ? group : 1;
}

static int64_t units(const lar_tensor *t, int phase)
{
    (void)phase;
    return t->src[0]->dim[1] / heads_per_unit(t) * ((t->dim[1] + TILE - 1) / TILE);
}

/* Running state of one (token, head) and a converted chunk, per worker. */
typedef struct state {
    float m, l;
} state;

static size_t worker_floats(const lar_tensor *t)
{
    const int64_t dk = t->src[1]->dim[0], dv = t->src[2]->dim[0], n = heads_per_unit(t) * TILE;
    return (size_t)((LAR_PAGE * (dk + dv) + n * dv + 2 * n + dv + LAR_PAGE + 63) / 64 * 64);
}

static size_t scratch(const lar_tensor *t, int nth)
{
    return worker_floats(t) * sizeof(float) * (size_t)nth;
}

/* Scores of keys [lo, hi) of a chunk: s[j] = scale * q.k_j, capped. Those outside get -inf. */
static float scores(const lar_attention_param *p, const float *q, const float *k, int64_t dk,
                    int lo, int hi, float *s)
{
    float m = -INFINITY;
    for (int j = 0; j < LAR_PAGE; j++)
        s[j] = -INFINITY;
    for (int j = lo; j < hi; j++)
        s[j] = vf_dot(q, k + j * dk, dk) * p->scale;
    if (p->softcap != 0)
        for (int j = 0; j < LAR_PAGE; j += 16) {
            const vf cap = vf_set1(p->softcap);
            float c[16];
            vf_store(c, vf_mul(cap, vf_tanh(vf_div(vf_load(s + j), cap))));
            for (int i = LAR_MAX(0, lo - j); i < LAR_MIN(16, hi - j); i++)
                s[j + i] = c[i];
        }
    for (int j = lo; j < hi; j++)
        m = s[j] > m ? s[j] : m;
    return m;
}

/* o = sum over keys of s[j] * v_j, keys ascending; 64 of dv at a time stay in registers. */
static void weigh(const float *s, const float *v, int64_t dv, int lo, int hi, float *o)
{
    int64_t d = 0;
    for (; d + 64 <= dv; d += 64) {
        vf a0 = vf_zero(), a1 = vf_zero(), a2 = vf_zero(), a3 = vf_zero();
        for (int j = lo; j < hi; j++) {
            const float *r = v + j * dv + d;
            const vf w = vf_set1(s[j]);
            a0 = vf_fma(w, vf_load(r), a0);
            a1 = vf_fma(w, vf_load(r + 16), a1);
            a2 = vf_fma(w, vf_load(r + 32), a2);
            a3 = vf_fma(w, vf_load(r + 48), a3);
        }
        vf_store(o + d, a0);
        vf_store(o + d + 16, a1);
        vf_store(o + d + 32, a2);
        vf_store(o + d + 48, a3);
    }
    for (; d < dv; d += 16) {
        const int n = (int)LAR_MIN(16, dv - d);
        vf a = vf_zero();
        for (int j = lo; j < hi; j++)
            a = vf_fma(vf_set1(s[j]), vf_load_n(v + j * dv + d, n), a);
        vf_store_n(o + d, a, n);
    }
}

static float exp1(float x)
{
    float r[16];
    vf_store(r, vf_exp(vf_set1(x)));
    return r[0];
}

/* Fold one chunk's keys [lo, hi) into the state and output of one (token, head). */
static void fold(const lar_attention_param *p, const float *q, const float *k, const float *v,
                 int64_t dk, int64_t dv, int lo, int hi, state *st, float *o, float *s, float *oc)
{
    const float mc = scores(p, q, k, dk, lo, hi, s), m = st->m > mc ? st->m : mc;
    vf sum = vf_zero();
    for (int j = 0; j < LAR_PAGE; j += 16) {
        const vf e = vf_exp(vf_sub(vf_load(s + j), vf_set1(mc)));
        vf_store(s + j, e);
        sum = vf_add(sum, e);
    }
    const float a = exp1(st->m - m), b = exp1(mc - m);
    weigh(s, v, dv, lo, hi, oc);
    st->l = lar_fma(st->l, a, vf_hsum(sum) * b);
    st->m = m;
    for (int64_t d = 0; d < dv; d += 16) {
        const int n = (int)LAR_MIN(16, dv - d);
        const vf add = vf_mul(vf_load_n(oc + d, n), vf_set1(b));
        vf_store_n(o + d, vf_fma(vf_load_n(o + d, n), vf_set1(a), add), n);
    }
}

typedef struct tile {
    const lar_tensor *t;
    const lar_kernels *kernels;
    int64_t head0, n_heads, kv_head;
    float *k, *v, *o, *oc, *s;
    state *st;
} tile;

/* Cells [lo, hi) of one page's keys and values as F32. */
static void convert(const tile *x, int32_t page, int lo, int hi)
{
    const lar_tensor *c[2] = {x->t->src[1], x->t->src[2]};
    float *to[2] = {x->k, x->v};
    for (int i = 0; i < 2; i++) {
        const char *from = (const char *)c[i]->data + (size_t)page * c[i]->stride[3] +
                           (size_t)x->kv_head * c[i]->stride[2] + (size_t)lo * c[i]->stride[1];
        x->kernels->formats[lar_dtype_index(c[i]->type)]->to_f32(from, to[i] + lo * c[i]->dim[0],
                                                                 (hi - lo) * c[i]->dim[0]);
    }
}

/* Tokens [t0, t1), all of one sequence: go over the chunks that any of them sees. */
static void run_tokens(const tile *x, int64_t t0, int64_t t1)
{
    const lar_tensor *t = x->t;
    const lar_attention_param *p = LAR_PARAM(lar_attention_param, t);
    const int32_t *pos = t->src[3]->data, *slot = t->src[4]->data;
    const int32_t *pages = lar_row(t->src[5], slot[t0]);
    const int64_t dk = t->src[1]->dim[0], dv = t->src[2]->dim[0];
    int32_t first = INT32_MAX, last = 0;
    for (int64_t i = t0; i < t1; i++) {
        first = LAR_MIN(first, p->window ? LAR_MAX(0, pos[i] - p->window + 1) : 0);
        last = LAR_MAX(last, pos[i]);
    }
    for (int32_t c = first / LAR_PAGE; c <= last / LAR_PAGE; c++) {
        const int32_t base = c * LAR_PAGE;
        convert(x, pages[c], LAR_MAX(0, first - base), LAR_MIN(LAR_PAGE, last + 1 - base));
        for (int64_t i = t0; i < t1; i++) {
            const int lo = LAR_MAX(0, (p->window ? pos[i] - p->window + 1 : 0) - base);
            const int hi = LAR_MIN(LAR_PAGE, pos[i] + 1 - base);
            for (int64_t h = 0; lo < hi && h < x->n_heads; h++) {
                const int64_t n = (i % TILE) * x->n_heads + h;
                fold(p, lar_row(t->src[0], i * t->src[0]->dim[1] + x->head0 + h), x->k, x->v, dk,
                     dv, lo, hi, &x->st[n], x->o + n * dv, x->s, x->oc);
            }
        }
    }
    for (int64_t i = t0; i < t1; i++)
        for (int64_t h = 0; h < x->n_heads; h++) {
            const int64_t n = (i % TILE) * x->n_heads + h;
            float *y = (float *)lar_row(t, i) + (x->head0 + h) * dv;
            for (int64_t d = 0; d < dv; d++)
                y[d] = x->o[n * dv + d] / x->st[n].l;
        }
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    const int64_t per = heads_per_unit(t), n_groups = t->src[0]->dim[1] / per, T = t->dim[1];
    const int64_t dk = t->src[1]->dim[0], dv = t->src[2]->dim[0], n = per * TILE;
    const int64_t group = t->src[0]->dim[1] / LAR_PARAM(lar_attention_param, t)->n_head_kv;
    const int32_t *slot = t->src[4]->data;
    float *mem = (float *)w->scratch + (size_t)w->ith * worker_floats(t);
    tile x = {.t = t, .kernels = w->kernels, .n_heads = per, .k = mem};
    x.v = x.k + LAR_PAGE * dk;
    x.o = x.v + LAR_PAGE * dv;
    x.st = (state *)(void *)(x.o + n * dv);
    x.oc = (float *)(void *)(x.st + n);
    x.s = x.oc + dv;
    for (int64_t u = w->begin; u < w->end; u++) {
        const int64_t first = u / n_groups * TILE, end = LAR_MIN(first + TILE, T);
        x.head0 = u % n_groups * per;
        x.kv_head = x.head0 / group;
        for (int64_t i = 0; i < n; i++)
            x.st[i] = (state){-INFINITY, 0};
        memset(x.o, 0, (size_t)(n * dv) * sizeof(float));
        for (int64_t a = first, b; a < end; a = b) {
            for (b = a + 1; b < end && slot[b] == slot[a];)
                b++;
            run_tokens(&x, a, b);
        }
    }
}

LAR_OP(attention, .min_src = 6, .max_src = 6, .param_size = sizeof(lar_attention_param),
       .shape = shape, .units = units, .scratch = scratch, .cpu = cpu);
