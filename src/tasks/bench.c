/*
 * bench.c - the task `bench`: tokens per second of prompts and of generation, with the spread over
 * repetitions, for every combination of threads, cache types, depths, batches and sequences that is
 * asked for; beside what each must read and multiply at least, and what the machine can do at best.
 * The work does not depend on which tokens: they are taken in turn from the vocabulary.
 *
 * A row is delivered as text (one JSON object in a line) as soon as it is measured, so that a
 * listener that cancels has what there is. The machine is measured last: the buffer for it would
 * show in the peak of memory.
 */
#include "tasks/event.h"
#include "tasks/json.h"
#include "tasks/machine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct params {
    const char *prompts, *gens, *depths, *parallel, *threads, *batches, *kv;
    int64_t reps;
    double seconds;
    bool limits;
} params;

enum {
    MAX_LIST = 32,
    MAX_TOKENS = 1 << 20,
    MAX_BATCH = 1 << 14,
    MAX_PARALLEL = 1024,
    MAX_THREADS = 1024,
    MAX_TESTS = 10000,
    MAX_REPS = 1000,
    WARM_TOKENS = 8 /* of generation, before it is measured */
};

#define AT(f) .offset = offsetof(params, f)
#define LIST(n, l, f, d, h)                                                                        \
    .name = n, .letter = l, .type = LAR_FIELD_STRING, AT(f), .def_str = d, .unit = "N,N...",       \
    .help = h
static const lar_field fields[] = {
    {LIST("prompts", 'p', prompts, "16,128,512", "Prompt lengths to measure")},
    {LIST("generate", 'n', gens, "128", "Numbers of generated tokens to measure"), .alias = "gen"},
    {LIST("depths", 'd', depths, "0", "Tokens already held when measuring begins")},
    {LIST("parallel", 0, parallel, "1", "Sequences that generate at once, a token of each a step"),
     .alias = "sequences"},
    {LIST("threads", 't', threads, "0", "Numbers of threads; 0: one per physical core")},
    {LIST("batch", 'b', batches, "512", "Prompt tokens in one step"), .alias = "ubatch|batch-size"},
    {.name = "kv",
     .alias = "kv-type|cache-type",
     .type = LAR_FIELD_STRING,
     AT(kv),
     .def_str = "f16",
     .unit = "TYPE,...",
     .help = "How the cache stores keys and values: f32, f16, q8_0, q4_0"},
    {.name = "repetitions",
     .letter = 'r',
     .type = LAR_FIELD_INT,
     AT(reps),
     .def = 3,
     .min = 1,
     .max = MAX_REPS,
     .unit = "N",
     .help = "How often each is measured at least, after a step or more to warm up"},
    {.name = "seconds",
     .type = LAR_FIELD_NUMBER,
     AT(seconds),
     .def = 0.5,
     .min = 0,
     .max = 3600,
     .unit = "S",
     .help = "Short ones are repeated for so long, up to 1,000 times"},
    {.name = "limits",
     .type = LAR_FIELD_BOOL,
     AT(limits),
     .def = 1,
     .help = "Measure what the machine can do at best, too"},
};

typedef struct list {
    int v[MAX_LIST], n;
} list;

typedef struct test {
    const lar_dtype *kv;
    int threads, depth, n, batch, parallel;
    bool gen;
    double time; /* the median, once measured */
    uint64_t bytes, integer_macs, float_macs;
} test;

typedef struct state {
    list prompts, gens, depths, parallel, threads, batches;
    const lar_dtype *kv[LAR_N_DTYPES];
    int n_kv;
    test *tests;
    size_t n_tests, cap_tests, at;
    int ctx, max_batch, max_parallel; /* that suffice for all tests */
    lar_pool *pool;                   /* NULL: the runtime's; else of pool_threads */
    int pool_threads;
    const test *made_for; /* what the engine was made for: threads and cache type */
    lar_engine *engine;
    lar_seq **seqs;  /* [max_parallel] of the engine */
    lar_step *parts; /* [max_parallel] */
    int32_t *tokens; /* [max_batch or max_parallel] of the next step */
    double *seconds; /* [MAX_REPS] */
    size_t peak_rss;
    json_t *rows, *machine;
} state;

/* ---- what is asked for --------------------------------------------------------------------- */

static lar_status parse(const char *field, const char *text, int min, int max, list *out,
                        lar_err *e)
{
    for (const char *p = text; *p;) {
        char *end;
        const long v = strtol(p, &end, 10);
        if (end == p || (*end && *end != ',') || (*end && !end[1]) || v < min || v > max ||
            out->n == MAX_LIST)
            return lar_fail(e, LAR_EARG,
                            "%s: '%.40s', want up to %d numbers from %d to %d, separated by commas",
                            field, text, MAX_LIST, min, max);
        out->v[out->n++] = (int)v;
        p = *end ? end + 1 : end;
    }
    return LAR_OK;
}

/* The same of lengths; 0 means none. */
static lar_status parse_lengths(const char *field, const char *text, list *out, lar_err *e)
{
    int n = 0;
    LAR_TRY(parse(field, text, 0, MAX_TOKENS, out, e));
    for (int i = 0; i < out->n; i++)
        if (out->v[i])
            out->v[n++] = out->v[i];
    out->n = n;
    return LAR_OK;
}

/* The same with at least one. */
static lar_status parse_some(const char *field, const char *text, int min, int max, list *out,
                             lar_err *e)
{
    LAR_TRY(parse(field, text, min, max, out, e));
    return out->n ? LAR_OK
                  : lar_fail(e, LAR_EARG, "%s: want a number from %d to %d", field, min, max);
}

static lar_status parse_kv(const char *text, state *s, lar_err *e)
{
    for (const char *p = text; s->n_kv == 0 || *p;) {
        char name[16];
        const size_t n = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)LAR_MIN(n, sizeof name), p);
        const lar_dtype *t = lar_engine_kv_by_name(name);
        if (!t || s->n_kv == LAR_N_DTYPES || (p[n] && !p[n + 1]))
            return lar_fail(e, LAR_EARG,
                            "kv: '%.40s', want f32, f16, q8_0, q4_0, separated by commas", text);
        s->kv[s->n_kv++] = t;
        p += n + (p[n] == ',');
    }
    return LAR_OK;
}

static lar_status add_test(state *s, test t, lar_err *e)
{
    const int64_t cells = ((int64_t)t.depth + t.n + LAR_PAGE - 1) / LAR_PAGE * LAR_PAGE;
    if (s->n_tests == MAX_TESTS)
        return lar_fail(e, LAR_EARG, "bench: more than %d combinations to measure", MAX_TESTS);
    if (cells * t.parallel > 1 << 28)
        return lar_fail(e, LAR_EARG, "bench: %d sequences of %d tokens are more than 2^28",
                        t.parallel, t.depth + t.n);
    if (!lar_grow((void **)&s->tests, &s->cap_tests, s->n_tests + 1, sizeof *s->tests))
        return lar_fail(e, LAR_ENOMEM, "bench: out of memory");
    s->ctx = LAR_MAX(s->ctx, (int)(cells * t.parallel));
    s->max_parallel = LAR_MAX(s->max_parallel, t.parallel);
    s->tests[s->n_tests++] = t;
    return LAR_OK;
}

/* Batches that a prompt fits into are the same test. */
static bool same_batch(const list *batches, int i, int n)
{
    for (int j = 0; j < i; j++)
        if (LAR_MIN(batches->v[j], n) == LAR_MIN(batches->v[i], n))
            return true;
    return false;
}

static lar_status add_depth(state *s, test t, lar_err *e)
{
    for (int i = 0; i < s->prompts.n; i++)
        for (int b = 0; b < s->batches.n; b++) {
            t.n = s->prompts.v[i];
            t.batch = s->batches.v[b];
            if (!same_batch(&s->batches, b, t.n))
                LAR_TRY(add_test(s, t, e));
        }
    t.gen = true;
    for (int i = 0; i < s->gens.n; i++)
        for (int q = 0; q < s->parallel.n; q++) {
            t.n = s->gens.v[i];
            t.batch = t.parallel = s->parallel.v[q];
            LAR_TRY(add_test(s, t, e));
        }
    return LAR_OK;
}

static lar_status add_tests(state *s, int threads_of_runtime, lar_err *e)
{
    for (int i = 0; i < s->threads.n; i++)
        for (int k = 0; k < s->n_kv; k++)
            for (int d = 0; d < s->depths.n; d++) {
                const test t = {.kv = s->kv[k],
                                .threads = s->threads.v[i] ? s->threads.v[i] : threads_of_runtime,
                                .depth = s->depths.v[d],
                                .parallel = 1};
                LAR_TRY(add_depth(s, t, e));
            }
    for (int b = 0; b < s->batches.n; b++)
        s->max_batch = LAR_MAX(s->max_batch, s->batches.v[b]);
    s->max_batch = LAR_MAX(s->max_batch, s->max_parallel);
    return LAR_OK;
}

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    s->ctx = s->max_parallel = 1;
    LAR_TRY(parse_lengths("prompts", p->prompts, &s->prompts, e));
    LAR_TRY(parse_lengths("generate", p->gens, &s->gens, e));
    LAR_TRY(parse_some("depths", p->depths, 0, MAX_TOKENS, &s->depths, e));
    LAR_TRY(parse_some("parallel", p->parallel, 1, MAX_PARALLEL, &s->parallel, e));
    LAR_TRY(parse_some("threads", p->threads, 0, MAX_THREADS, &s->threads, e));
    LAR_TRY(parse_some("batch", p->batches, 1, MAX_BATCH, &s->batches, e));
    LAR_TRY(parse_kv(p->kv, s, e));
    LAR_TRY(add_tests(s, lar_pool_threads(t->rt->pool), e));
    s->seqs = lar_alloc_array((size_t)s->max_parallel, sizeof *s->seqs);
    s->parts = lar_alloc_array((size_t)s->max_parallel, sizeof *s->parts);
    s->tokens = lar_alloc_array((size_t)s->max_batch, sizeof *s->tokens);
    s->seconds = lar_alloc_array(MAX_REPS, sizeof *s->seconds);
    s->rows = json_array();
    s->machine = json_array();
    if (!s->seqs || !s->parts || !s->tokens || !s->seconds || !s->rows || !s->machine)
        return lar_fail(e, LAR_ENOMEM, "bench: out of memory");
    return LAR_OK;
}

/* ---- pool and engine ----------------------------------------------------------------------- */

static lar_status pool_of(lar_task *t, int threads, lar_pool **out, lar_err *e)
{
    state *s = t->state;
    *out = t->rt->pool;
    if (threads == lar_pool_threads(t->rt->pool))
        return LAR_OK;
    if (!s->pool || s->pool_threads != threads) {
        lar_pool_free(s->pool);
        s->pool = NULL;
        LAR_TRY(lar_pool_new(threads, &s->pool, e));
        s->pool_threads = threads;
        if (lar_pool_threads(s->pool) < threads)
            LAR_TRY(lar_task_notice(t, e, "%d threads wanted, the system gave %d", threads,
                                    lar_pool_threads(s->pool)));
    }
    *out = s->pool;
    return LAR_OK;
}

static void close_engine(state *s)
{
    for (int i = 0; s->seqs && i < s->max_parallel; i++) {
        lar_seq_free(s->seqs[i]);
        s->seqs[i] = NULL;
    }
    lar_engine_free(s->engine);
    s->engine = NULL;
    s->made_for = NULL;
}

/* The engine that a test runs on, which is that of the test before unless they differ in what an
 * engine is made with. */
static lar_status open_engine(lar_task *t, const test *x, lar_err *e)
{
    state *s = t->state;
    lar_pool *pool;
    if (s->made_for && s->made_for->threads == x->threads && s->made_for->kv == x->kv)
        return LAR_OK;
    close_engine(s);
    LAR_TRY(pool_of(t, x->threads, &pool, e));
    const lar_engine_options o = {
        .ctx = s->ctx, .batch = s->max_batch, .max_seqs = s->max_parallel, .kv_type = x->kv};
    LAR_TRY(lar_engine_new(t->model->net, t->rt->variant, pool, &o, &s->engine, e));
    lar_engine_watch(s->engine, &t->request->cancel);
    for (int i = 0; i < s->max_parallel; i++)
        LAR_TRY(lar_seq_new(s->engine, &s->seqs[i], e));
    s->made_for = x;
    return LAR_OK;
}

/* ---- measuring ----------------------------------------------------------------------------- */

static int32_t token_at(const lar_task *t, int seq, int pos)
{
    return (int32_t)(((int64_t)pos * 7919 + (int64_t)seq * 131 + 17) % t->model->net->hp.n_vocab);
}

/* Evaluate the next n tokens of one sequence, `each` in a step. */
static lar_status eval(lar_task *t, int seq, int n, int each, lar_err *e)
{
    const state *s = t->state;
    for (int i = 0; i < n; i += each) {
        lar_step part = {.seq = s->seqs[seq], .tokens = s->tokens, .n = LAR_MIN(each, n - i)};
        const int held = lar_seq_length(part.seq);
        if (lar_task_cancelled(t))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        for (int k = 0; k < part.n; k++)
            s->tokens[k] = token_at(t, seq, held + k);
        LAR_TRY(lar_engine_step(s->engine, &part, 1, e));
    }
    return LAR_OK;
}

/* The next n tokens of each of the first `parallel` sequences, one of each in a step. */
static lar_status generate(lar_task *t, int n, int parallel, lar_err *e)
{
    const state *s = t->state;
    for (int i = 0; i < n; i++) {
        if (lar_task_cancelled(t))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        for (int q = 0; q < parallel; q++) {
            s->tokens[q] = token_at(t, q, lar_seq_length(s->seqs[q]));
            s->parts[q] = (lar_step){.seq = s->seqs[q], .tokens = s->tokens + q, .n = 1};
        }
        LAR_TRY(lar_engine_step(s->engine, s->parts, parallel, e));
    }
    return LAR_OK;
}

/* Sequences at the test's depth; what they hold of it already stays. */
static lar_status rewind_to(lar_task *t, const test *x, lar_err *e)
{
    const state *s = t->state;
    for (int q = 0; q < s->max_parallel; q++)
        lar_seq_truncate(s->seqs[q],
                         q < x->parallel ? LAR_MIN(x->depth, lar_seq_length(s->seqs[q])) : 0);
    for (int q = 0; q < x->parallel; q++)
        LAR_TRY(eval(t, q, x->depth - lar_seq_length(s->seqs[q]), s->max_batch, e));
    return LAR_OK;
}

static lar_status run(lar_task *t, const test *x, int n, lar_err *e)
{
    return x->gen ? generate(t, n, x->parallel, e) : eval(t, 0, n, x->batch, e);
}

/* What the test's steps have to touch and multiply at least. */
static void add_costs(const lar_task *t, test *x)
{
    const lar_net *net = t->model->net;
    const int each = x->gen ? 1 : x->batch;
    for (int i = 0; i < x->n; i += each) {
        const int n = LAR_MIN(each, x->n - i);
        lar_net_cost c;
        lar_net_cost_of(net, n * x->parallel, x->parallel, &c);
        x->bytes += c.weight_bytes +
                    (uint64_t)x->parallel * lar_net_kv_touched(net, x->kv, x->depth + i, n);
        x->integer_macs += c.integer_macs;
        x->float_macs += c.float_macs;
    }
}

/* Insertion: the order of equals does not matter, and there are few. */
static void sort(double *v, int n)
{
    for (int i = 1; i < n; i++) {
        const double x = v[i];
        int j = i;
        for (; j > 0 && v[j - 1] > x; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
}

static lar_status add_row(lar_task *t, const test *x, int reps, lar_err *e)
{
    state *s = t->state;
    const double tokens = (double)x->n * x->parallel;
    const uint64_t macs = x->integer_macs + x->float_macs;
    json_t *o = json_object();
    bool bad = false;
    lar_json_put(o, "test", json_string(x->gen ? "generate" : "prompt"), &bad);
    lar_json_put(o, "tokens", json_integer(x->n), &bad);
    lar_json_put(o, "depth", json_integer(x->depth), &bad);
    lar_json_put(o, "parallel", json_integer(x->parallel), &bad);
    lar_json_put(o, "batch", json_integer(x->batch), &bad);
    lar_json_put(o, "threads", json_integer(x->threads), &bad);
    lar_json_put(o, "kv", json_string(x->kv->name), &bad);
    lar_json_put(o, "repetitions", json_integer(reps), &bad);
    lar_json_put(o, "per_second", json_real(tokens / x->time), &bad);
    lar_json_put(o, "per_second_min", json_real(tokens / s->seconds[reps - 1]), &bad);
    lar_json_put(o, "per_second_max", json_real(tokens / s->seconds[0]), &bad);
    lar_json_put(o, "bytes", json_integer((json_int_t)x->bytes), &bad);
    lar_json_put(o, "macs", json_integer((json_int_t)macs), &bad);
    lar_json_put(o, "gb_per_second", json_real((double)x->bytes / x->time * 1e-9), &bad);
    lar_json_put(o, "gmac_per_second", json_real((double)macs / x->time * 1e-9), &bad);
    lar_json_push(s->rows, json_incref(o), &bad);
    lar_buf line = {0};
    if (!bad)
        lar_json_write(&line, o);
    lar_buf_putc(&line, '\n');
    json_decref(o);
    lar_status st = bad || line.oom ? lar_fail(e, LAR_ENOMEM, "bench: out of memory")
                                    : lar_task_text(t, LAR_EVENT_TEXT, line.p, line.n, e);
    lar_buf_free(&line);
    return st;
}

static lar_status measure(lar_task *t, test *x, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    double total = 0;
    int reps = 0;
    LAR_TRY(open_engine(t, x, e));
    LAR_TRY(rewind_to(t, x, e));
    LAR_TRY(run(t, x, LAR_MIN(x->n, x->gen ? (int)WARM_TOKENS : x->batch), e));
    while (reps < p->reps || (total < p->seconds && reps < MAX_REPS)) {
        LAR_TRY(rewind_to(t, x, e));
        const double t0 = lar_clock();
        LAR_TRY(run(t, x, x->n, e));
        s->seconds[reps] = LAR_MAX(1e-9, lar_clock() - t0);
        total += s->seconds[reps++];
    }
    sort(s->seconds, reps);
    x->time = (s->seconds[(reps - 1) / 2] + s->seconds[reps / 2]) / 2;
    add_costs(t, x);
    return add_row(t, x, reps, e);
}

/* ---- beside what the machine can do -------------------------------------------------------- */

/* One thread count: its bounds, and each row's share of them. */
static lar_status compare(lar_task *t, int threads, lar_err *e)
{
    state *s = t->state;
    lar_pool *pool;
    bool bad = false;
    LAR_TRY(pool_of(t, threads, &pool, e));
    const double read = lar_machine_read_speed(pool, t->rt->variant),
                 integers = lar_machine_peak(pool, t->rt->variant, true),
                 floats = lar_machine_peak(pool, t->rt->variant, false);
    json_t *o = json_object();
    lar_json_put(o, "threads", json_integer(threads), &bad);
    lar_json_put(o, "bandwidth_gb_s", json_real(read * 1e-9), &bad);
    lar_json_put(o, "peak_gmac_s", json_real(integers * 1e-9), &bad);
    lar_json_put(o, "peak_float_gmac_s", json_real(floats * 1e-9), &bad);
    lar_json_push(s->machine, o, &bad);
    for (size_t i = 0; i < s->n_tests && !bad; i++) {
        const test *x = &s->tests[i];
        json_t *row = json_array_get(s->rows, i);
        if (x->threads != threads)
            continue;
        const double best = (double)x->integer_macs / integers + (double)x->float_macs / floats;
        if (read > 0) /* there was memory to measure it */
            lar_json_put(row, "gb_share", json_real((double)x->bytes / x->time / read), &bad);
        lar_json_put(row, "gmac_share", json_real(best / x->time), &bad);
    }
    return bad ? lar_fail(e, LAR_ENOMEM, "bench: out of memory") : LAR_OK;
}

static lar_status compare_all(lar_task *t, lar_err *e)
{
    state *s = t->state;
    for (size_t i = 0; i < s->n_tests; i++) {
        bool known = false;
        for (size_t j = 0; j < i && !known; j++)
            known = s->tests[j].threads == s->tests[i].threads;
        if (lar_task_cancelled(t))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        if (!known)
            LAR_TRY(compare(t, s->tests[i].threads, e));
    }
    return LAR_OK;
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    state *s = t->state;
    if (s->at < s->n_tests) {
        test *x = &s->tests[s->at];
        char what[160];
        char more[32] = "", depth[32] = "";
        if (x->parallel > 1)
            snprintf(more, sizeof more, " ×%d", x->parallel);
        if (x->depth)
            snprintf(depth, sizeof depth, " at %d", x->depth);
        snprintf(what, sizeof what, "%zu of %zu: %s %d%s%s, threads %d", s->at + 1, s->n_tests,
                 x->gen ? "generate" : "prompt", x->n, more, depth, x->threads);
        LAR_TRY(lar_task_progress(t, (double)(s->at + 1) / (double)(s->n_tests + 1), what, e));
        LAR_TRY(measure(t, x, e));
        s->at++;
        return LAR_OK;
    }
    *done = true;
    close_engine(s);
    s->peak_rss = lar_peak_rss();
    if (s->n_tests && ((const params *)t->params)->limits) {
        LAR_TRY(lar_task_progress(t, 1, "what the machine can do", e));
        LAR_TRY(compare_all(t, e));
    }
    const lar_net *net = t->model->net;
    json_t *r = json_object();
    bool bad = false;
    lar_json_put(r, "architecture", json_string(net->def->arch), &bad);
    lar_json_put(r, "parameters", json_integer((json_int_t)net->n_params), &bad);
    lar_json_put(r, "weight_bytes", json_integer((json_int_t)net->weight_bytes), &bad);
    lar_json_put(r, "variant", json_string(t->rt->variant->name), &bad);
    lar_json_put(r, "peak_rss", json_integer((json_int_t)s->peak_rss), &bad);
    lar_json_put(r, "machine", json_incref(s->machine), &bad);
    lar_json_put(r, "rows", json_incref(s->rows), &bad);
    if (bad || !r) {
        json_decref(r);
        return lar_fail(e, LAR_ENOMEM, "bench: out of memory");
    }
    return lar_task_result(t, r, e);
}

static void finish(lar_task *t)
{
    state *s = t->state;
    close_engine(s);
    lar_pool_free(s->pool);
    lar_free(s->tests);
    lar_free(s->seqs);
    lar_free(s->parts);
    lar_free(s->tokens);
    lar_free(s->seconds);
    json_decref(s->rows);
    json_decref(s->machine);
}

extern const lar_task_def lar_task_def_bench;
const lar_task_def lar_task_def_bench = {.name = "bench",
                                         .verb = "bench",
                                         .help = "Measure tokens per second",
                                         .needs = LAR_NEEDS_MODEL,
                                         .fields = fields,
                                         .n_fields = LAR_LEN(fields),
                                         .params_size = sizeof(params),
                                         .state_size = sizeof(state),
                                         .start = start,
                                         .step = step,
                                         .finish = finish};
