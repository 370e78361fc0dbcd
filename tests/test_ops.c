/* One test for all ops: every case of every op. Each variant gives the generic kernel's bits
 * however the work is cut; gradients agree with differences; attention agrees with its definition
 * in double. */
#include "base/math.h"
#include "engine_test.h"
#include "ops/ops.h"
#include "quant/kernels.h"
#include <math.h>

static float rnd(uint64_t seed, uint64_t i)
{
    return (float)((double)(lar_random(seed, i) >> 11) * 0x1p-52 - 1);
}

typedef struct setup {
    lar_arena *arena;
    lar_graph *g;
    lar_tensor *src[LAR_MAX_SRC], *y;
    void *mem;
} setup;

static void fill_source(lar_tensor *t, const lar_case *c, int i)
{
    const int64_t n = lar_count(t);
    if (t->type == LAR_DTYPE(i32)) {
        for (int64_t k = 0; k < n; k++)
            ((int32_t *)t->data)[k] = (int32_t)(lar_random(3 + (uint64_t)i, (uint64_t)k) %
                                                (uint64_t)LAR_MAX(1, c->ints[i]));
    } else if (t->type == LAR_DTYPE(i8)) {
        for (int64_t k = 0; k < n; k++)
            ((int8_t *)t->data)[k] = (int8_t)(127 * rnd(9 + (uint64_t)i, (uint64_t)k));
    } else if (t->type == LAR_DTYPE(f64)) {
        for (int64_t k = 0; k < n; k++)
            ((double *)t->data)[k] = 0.5 + (double)rnd(5, (uint64_t)k) / 3;
    } else {
        float *x = malloc((size_t)n * sizeof *x);
        for (int64_t k = 0; k < n; k++)
            x[k] = rnd(11 + (uint64_t)i, (uint64_t)k);
        lar_kernels__generic.formats[lar_dtype_index(t->type)]->from_f32(x, t->data, n);
        free(x);
    }
}

static bool differentiable(const lar_op *op, const lar_case *c)
{
    bool any = false;
    for (int i = 0; i < c->n_src; i++)
        any = any || !c->no_grad[i];
    return op->grad && any;
}

/* Sources are leaves with memory of their own, so that the planner leaves them alone. */
static void build(setup *s, const lar_op *op, const lar_case *c)
{
    lar_err e = {0};
    *s = (setup){.arena = lar_arena_new()};
    s->g = lar_graph_new(s->arena);
    for (int i = 0; i < c->n_src; i++) {
        const lar_dtype *type = c->type[i] ? c->type[i] : LAR_DTYPE(f32);
        const int64_t *d = c->dim[i];
        if (!d[0])
            continue;
        void *data =
            lar_arena_alloc(s->arena, lar_row_bytes(type, d[0]) * (size_t)(d[1] * d[2] * d[3]));
        s->src[i] = lar_leaf(s->g, type, d, data);
        s->src[i]->wants_grad = differentiable(op, c) && !c->no_grad[i];
        fill_source(s->src[i], c, i);
    }
    s->y = lar_node(s->g, op, s->src, c->n_src, c->param);
    if (lar_graph_error(s->g, &e) != LAR_OK)
        fail_msg("%s: %s", op->name, e.msg);
    lar_keep(s->y);
}

static void plan(setup *s)
{
    lar_err e = {0};
    if (lar_plan(s->g, 4, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    s->mem = lar_alloc_aligned(s->g->work_bytes + 64);
    lar_bind(s->g, s->mem);
}

static void done(setup *s)
{
    lar_free_aligned(s->mem);
    lar_arena_free(s->arena);
}

/* All nodes from `first`, each unit by itself and last to first: no unit may depend on another. */
static void run_units(const setup *s, const lar_cpu_variant *v, int first)
{
    for (int i = first; i < s->g->n; i++) {
        const lar_tensor *t = s->g->node[i];
        for (int p = 0; t->op && p < LAR_MAX(1, t->op->phases); p++)
            for (int64_t u = t->op->units(t, p); u-- > 0;) {
                const lar_work w = {u, u + 1, p, 0, 4, s->g->scratch, v->kernels};
                v->ops[t->op->id]->cpu(t, &w);
            }
    }
}

static void test_variants(void **state)
{
    (void)state;
    lar_cpu_features f;
    lar_pool *pool;
    lar_err e = {0};
    int n_cases = 0;
    lar_cpu_detect(&f);
    assert_int_equal(lar_pool_new(4, &pool, &e), LAR_OK);
    for (int o = 0; o < LAR_N_OPS; o++) {
        const lar_op *op = lar_variants[0]->ops[o];
        for (int k = 0; k < op->n_cases; k++, n_cases++) {
            setup s;
            build(&s, op, &op->cases[k]);
            plan(&s);
            const size_t bytes = (size_t)lar_count(s.y) * sizeof(float);
            float *want = malloc(bytes);
            run_units(&s, lar_variants[0], 0);
            memcpy(want, s.y->data, bytes);
            for (int v = 0; v < lar_n_variants; v++) {
                if (!lar_variants[v]->usable(&f))
                    continue;
                for (int way = 0; way < 2; way++) {
                    memset(s.y->data, 0xff, bytes);
                    if (way)
                        lar_cpu_run(s.g, lar_variants[v], pool, NULL);
                    else
                        run_units(&s, lar_variants[v], 0);
                    if (memcmp(want, s.y->data, bytes) != 0)
                        fail_msg("%s case %d: %s differs from generic", op->name, k,
                                 lar_variants[v]->name);
                }
            }
            free(want);
            done(&s);
        }
    }
    lar_pool_free(pool);
    assert_true(n_cases > 20);
}

static double weighted(const setup *s, const float *w)
{
    double sum = 0;
    for (int64_t i = 0; i < lar_count(s->y); i++)
        sum += (double)((const float *)s->y->data)[i] * (double)w[i];
    return sum;
}

static void check_gradient(const lar_op *op, int k)
{
    const lar_case *c = &op->cases[k];
    setup s;
    lar_err e = {0};
    build(&s, op, c);
    const int first = s.g->n;
    if (lar_backward(s.g, s.y, LAR_OPDEF(add), &e) != LAR_OK)
        fail_msg("%s: %s", op->name, e.msg);
    for (int i = 0; i < c->n_src; i++)
        lar_keep(s.src[i] ? s.src[i]->grad : NULL);
    plan(&s);
    float *w = s.y->grad->data; /* a random cotangent: ones would hide errors */
    for (int64_t i = 0; i < lar_count(s.y); i++)
        w[i] = rnd(77, (uint64_t)i);
    run_units(&s, lar_variants[0], 0);
    for (int i = 0; i < c->n_src; i++) {
        float *x = s.src[i]->data;
        for (int64_t j = 0; !c->no_grad[i] && j < lar_count(s.src[i]); j++) {
            const float x0 = x[j], h = 1e-2f;
            const double got = (double)((const float *)s.src[i]->grad->data)[j];
            const lar_graph all = *s.g;
            s.g->n = first;
            x[j] = x0 + h;
            run_units(&s, lar_variants[0], 0);
            const double up = weighted(&s, w);
            x[j] = x0 - h;
            run_units(&s, lar_variants[0], 0);
            const double want = (up - weighted(&s, w)) / (2 * (double)h);
            x[j] = x0;
            *s.g = all;
            if (!(__builtin_fabs(want - got) <= 1e-2 * __builtin_fabs(want) + 2e-3))
                fail_msg("%s case %d: d/dsrc%d[%d] is %g, differences say %g", op->name, k, i,
                         (int)j, got, want);
        }
    }
    done(&s);
}

static void test_gradients(void **state)
{
    (void)state;
    int n = 0;
    for (int o = 0; o < LAR_N_OPS; o++) {
        const lar_op *op = lar_variants[0]->ops[o];
        for (int k = 0; k < op->n_cases; k++)
            if (differentiable(op, &op->cases[k])) {
                check_gradient(op, k);
                n++;
            }
    }
    assert_true(n >= 8);
}

/* What has no gradient says so instead of giving none. */
static void test_no_gradient(void **state)
{
    (void)state;
    setup s;
    lar_err e = {0};
    build(&s, LAR_OPDEF(glu), &LAR_OPDEF(glu)->cases[0]);
    s.y->wants_grad = true;
    assert_int_equal(lar_backward(s.g, s.y, LAR_OPDEF(add), &e), LAR_EUNSUPPORTED);
    assert_string_equal(e.msg, "glu has no gradient");
    lar_arena_free(s.arena);
}

/* Wrong shapes are errors that say what was found. */
static void test_bad_shapes(void **state)
{
    (void)state;
    lar_arena *a = lar_arena_new();
    lar_graph *g = lar_graph_new(a);
    lar_err e = {0};
    lar_tensor *x = lar_leaf(g, LAR_DTYPE(f32), (int64_t[]){4, 1, 1, 1}, NULL);
    lar_tensor *y = lar_leaf(g, LAR_DTYPE(f32), (int64_t[]){5, 1, 1, 1}, NULL);
    assert_null(lar_node(g, LAR_OPDEF(add), (lar_tensor *[]){x, y}, 2, NULL));
    assert_int_equal(lar_graph_error(g, &e), LAR_EARG);
    assert_non_null(strstr(e.msg, "add: source 1"));
    assert_non_null(strstr(e.msg, "[5,1,1,1]"));
    assert_null(
        lar_leaf(g, LAR_DTYPE(f32), (int64_t[]){5, 1, 1, 1}, NULL)); /* the first failure sticks */
    lar_arena_free(a);
}

/* GELU against its definition. */
static void test_gelu(void **state)
{
    (void)state;
    enum { N = 4096 };
    lar_arena *a = lar_arena_new();
    lar_graph *g = lar_graph_new(a);
    lar_err e = {0};
    float *x = lar_arena_alloc(a, N * sizeof *x);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) / 256;
    x[0] = -INFINITY, x[1] = INFINITY, x[2] = NAN;
    lar_tensor *t = lar_leaf(g, LAR_DTYPE(f32), (int64_t[]){N, 1, 1, 1}, x);
    lar_tensor *y = lar_node(g, LAR_OPDEF(glu), &t, 1, &(lar_glu_param){LAR_ACT_GELU_ERF});
    setup s = {.arena = a, .g = g, .y = y};
    assert_int_equal(lar_graph_error(g, &e), LAR_OK);
    lar_keep(y);
    plan(&s);
    run_units(&s, lar_variants[0], 0);
    const float *got = y->data;
    assert_true(got[1] == INFINITY && got[2] != got[2]);
    for (int i = 3; i < N; i++) {
        const double want = 0.5 * (double)x[i] * (1 + lar_erf((double)x[i] * 0.70710678118654752));
        if (!(__builtin_fabs((double)got[i] - want) <= 3e-7 * (1 + __builtin_fabs(want))))
            fail_msg("gelu(%g) is %g, want %g", (double)x[i], (double)got[i], want);
    }
    done(&s);
}

/* ---- attention against its definition
 * ------------------------------------------------------------- */

typedef struct shape {
    int dk, dv, heads, kv, tokens, past, window;
    float cap;
    bool both; /* tokens see what comes after them too */
} shape;

enum { PAGES = 8 };

/* Element d of a cell in F32 pages: of values, and of keys, which lie [dim][LAR_PAGE]. */
static double value(const float *c, int dim, int kv, int page, int head, int cell, int d)
{
    return (double)c[(((int64_t)page * kv + head) * LAR_PAGE + cell) * dim + d];
}
static double key(const float *c, int dim, int kv, int page, int head, int cell, int d)
{
    return (double)c[(((int64_t)page * kv + head) * dim + d) * LAR_PAGE + cell];
}

/* v or sinks may be NULL: the first dv of each key are the value; there are none. */
static void reference(const shape *s, const float *q, const float *k, const float *v,
                      const float *sinks, const int32_t *pages, int t, int h, double *out)
{
    const int pos = s->past + t, g = h / (s->heads / s->kv), end = s->past + s->tokens - 1;
    const int lo = s->window ? LAR_MAX(0, pos - s->window + 1) : 0;
    const int hi = !s->both ? pos : s->window ? LAR_MIN(end, pos + s->window - 1) : end;
    double p[PAGES * LAR_PAGE], m = -1e300, sum = 0;
    for (int j = lo; j <= hi; j++) {
        double x = 0;
        for (int d = 0; d < s->dk; d++)
            x += (double)q[((size_t)t * (size_t)s->heads + (size_t)h) * (size_t)s->dk + (size_t)d] *
                 key(k, s->dk, s->kv, pages[j / LAR_PAGE], g, j % LAR_PAGE, d);
        x *= 0.3;
        p[j] = s->cap != 0 ? (double)s->cap * __builtin_tanh(x / (double)s->cap) : x;
        m = LAR_MAX(m, p[j]);
    }
    if (sinks)
        sum = __builtin_exp((double)sinks[h] - m);
    for (int j = lo; j <= hi; j++)
        sum += p[j] = __builtin_exp(p[j] - m);
    for (int d = 0; d < s->dv; d++) {
        out[d] = 0;
        for (int j = lo; j <= hi; j++)
            out[d] += p[j] / sum *
                      (v ? value(v, s->dv, s->kv, pages[j / LAR_PAGE], g, j % LAR_PAGE, d)
                         : key(k, s->dk, s->kv, pages[j / LAR_PAGE], g, j % LAR_PAGE, d));
    }
}

static void check_attention(const shape *s, bool sinks, bool in_keys)
{
    static const int32_t pages[PAGES] = {5, 2, 7, 0, 3, 1, 6, 4};
    lar_arena *a = lar_arena_new();
    lar_graph *g = lar_graph_new(a);
    lar_err e = {0};
    lar_pool *pool;
    lar_cpu_features features;
    const int n_src = s->both ? 8 : sinks ? 7 : 6;
    const int64_t dims[8][4] = {{s->dk, s->heads, s->tokens, 1},
                                {s->dk, LAR_PAGE, s->kv, PAGES},
                                {s->dv, LAR_PAGE, s->kv, PAGES},
                                {s->tokens, 1, 1, 1},
                                {s->tokens, 1, 1, 1},
                                {PAGES, 2, 1, 1},
                                {s->heads, 1, 1, 1},
                                {s->tokens, 1, 1, 1}};
    lar_tensor *src[8] = {NULL};
    for (int i = 0; i < n_src; i++) {
        if (i == 6 && !sinks)
            continue;
        const int64_t n = dims[i][0] * dims[i][1] * dims[i][2] * dims[i][3];
        const bool floats = i < 3 || i == 6;
        src[i] = lar_leaf(g, floats ? LAR_DTYPE(f32) : LAR_DTYPE(i32), dims[i],
                          lar_arena_alloc(a, (size_t)n * 4));
        for (int64_t k = 0; floats && k < n; k++)
            ((float *)src[i]->data)[k] = rnd(40 + (uint64_t)i, (uint64_t)k) * (i == 6 ? 5 : 2);
    }
    for (int t = 0; t < s->tokens; t++) {
        ((int32_t *)src[3]->data)[t] = s->past + t;
        ((int32_t *)src[4]->data)[t] = 1;
        if (s->both)
            ((int32_t *)src[7]->data)[t] = s->past + s->tokens - 1;
    }
    memcpy((int32_t *)src[5]->data + PAGES, pages, sizeof pages);
    src[2] = in_keys ? src[1] : src[2];
    lar_tensor *y = lar_node(g, LAR_OPDEF(attention), src, n_src,
                             &(lar_attention_param){.scale = 0.3f,
                                                    .softcap = s->cap,
                                                    .window = s->window,
                                                    .n_head_kv = s->kv,
                                                    .n_value = in_keys ? s->dv : 0});
    lar_keep(y);
    if (lar_plan(g, 2, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    void *mem = lar_alloc_aligned(g->work_bytes);
    lar_bind(g, mem);
    assert_int_equal(lar_pool_new(2, &pool, &e), LAR_OK);
    lar_cpu_run(g, lar_variants[0], pool, NULL);
    for (int t = 0; t < s->tokens; t++)
        for (int h = 0; h < s->heads; h++) {
            double want[LAR_MAX_HEAD_DIM];
            reference(s, src[0]->data, src[1]->data, in_keys ? NULL : src[2]->data,
                      sinks ? src[6]->data : NULL, pages, t, h, want);
            for (int d = 0; d < s->dv; d++) {
                const double got = (double)((float *)lar_row(y, t))[h * s->dv + d];
                if (!(__builtin_fabs(got - want[d]) < LAR_MAX(1e-5, 4e-8 * s->dk)))
                    fail_msg("token %d head %d [%d]: %g, want %g", t, h, d, got, want[d]);
            }
        }
    const size_t bytes = (size_t)lar_count(y) * sizeof(float);
    void *first = malloc(bytes);
    memcpy(first, y->data, bytes);
    lar_cpu_detect(&features);
    for (int v = 1; v < lar_n_variants; v++)
        if (lar_variants[v]->usable(&features)) {
            lar_cpu_run(g, lar_variants[v], pool, NULL);
            if (memcmp(first, y->data, bytes) != 0)
                fail_msg("attention: %s differs from generic", lar_variants[v]->name);
        }
    free(first);
    lar_pool_free(pool);
    lar_free_aligned(mem);
    lar_arena_free(a);
}

static void test_attention(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {64, 64, 4, 2, 1, 0, 0, 0, false},     {64, 64, 4, 2, 1, 200, 0, 0, false},
        {64, 64, 9, 3, 40, 100, 0, 0, false},  {20, 36, 2, 1, 33, 63, 0, 0, false},
        {256, 256, 4, 1, 3, 130, 0, 0, false}, {64, 64, 4, 4, 70, 60, 10, 0, false},
        {64, 64, 4, 2, 2, 300, 64, 0, false},  {32, 32, 4, 2, 20, 90, 65, 5, false},
        {16, 80, 2, 2, 17, 0, 1, 0, false},    {32, 32, 4, 4, 3, 0, 0, 0, true},
        {32, 32, 4, 4, 200, 0, 0, 0, true},    {16, 16, 2, 1, 150, 0, 9, 0, true},
        {16, 16, 2, 2, 4, 0, 2, 0, true},      {16, 16, 2, 2, 100, 30, 65, 0, true},
        {576, 512, 16, 1, 2, 70, 0, 0, false}, {28, 20, 3, 1, 7, 70, 0, 0, false},
    };
    for (size_t i = 0; i < LAR_LEN(shapes); i++)
        for (int way = 0; way < 4; way++)
            if (way < 2 || shapes[i].dv <= shapes[i].dk)
                check_attention(&shapes[i], way % 2, way >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),    cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_no_gradient), cmocka_unit_test(test_bad_shapes),
        cmocka_unit_test(test_attention),   cmocka_unit_test(test_gelu),
    };
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
