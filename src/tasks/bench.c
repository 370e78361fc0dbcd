/*
 * bench.c - the task `bench`: tokens per second of prompts of several lengths and of generation,
 * with the spread over repetitions. The work does not depend on which tokens: they are taken in
 * turn from the vocabulary.
 */
#include "tasks/json.h"
#include "tasks/task.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct params {
    const char *prompts, *gens, *depths;
    int64_t reps;
} params;

#define AT(f) .offset = offsetof(params, f)
static const lar_field fields[] = {
    {.name = "prompts",
     .letter = 'p',
     .type = LAR_FIELD_STRING,
     AT(prompts),
     .def_str = "512",
     .unit = "N,N...",
     .help = "Prompt lengths to measure"},
    {.name = "generate",
     .alias = "gen",
     .letter = 'n',
     .type = LAR_FIELD_STRING,
     AT(gens),
     .def_str = "128",
     .unit = "N,N...",
     .help = "Numbers of generated tokens to measure"},
    {.name = "depths",
     .letter = 'd',
     .type = LAR_FIELD_STRING,
     AT(depths),
     .def_str = "0",
     .unit = "N,N...",
     .help = "Tokens already held when measuring begins"},
    {.name = "repetitions",
     .letter = 'r',
     .type = LAR_FIELD_INT,
     AT(reps),
     .def = 3,
     .min = 1,
     .max = 1000,
     .unit = "N",
     .help = "How often each is measured, after one run to warm up"},
};

enum { MAX_LIST = 32 };
typedef struct list {
    int v[MAX_LIST], n;
} list;

typedef struct state {
    list prompts, gens, depths;
    int test; /* depth-major: every prompt, then every generation */
    int32_t *tokens;
    json_t *rows;
} state;

static lar_status parse(const char *field, const char *text, int min, int max, list *out,
                        lar_err *e)
{
    for (const char *p = text; *p;) {
        char *end;
        const long v = strtol(p, &end, 10);
        if (end == p || (*end && *end != ',') || v < min || v > max || out->n == MAX_LIST)
            return lar_fail(e, LAR_EARG,
                            "%s: '%.40s', want up to %d numbers from %d to %d, separated by commas",
                            field, text, MAX_LIST, min, max);
        out->v[out->n++] = (int)v;
        p = *end ? end + 1 : end;
    }
    return LAR_OK;
}

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    const int ctx = lar_engine_ctx(t->session->engine);
    LAR_TRY(parse("prompts", p->prompts, 1, ctx, &s->prompts, e));
    LAR_TRY(parse("generate", p->gens, 1, ctx, &s->gens, e));
    LAR_TRY(parse("depths", p->depths, 0, ctx - 1, &s->depths, e));
    s->tokens = lar_alloc_array((size_t)ctx, sizeof *s->tokens);
    s->rows = json_array();
    if (!s->tokens || !s->rows)
        return lar_fail(e, LAR_ENOMEM, "bench: out of memory");
    for (int i = 0; i < ctx; i++)
        s->tokens[i] = (int32_t)(((int64_t)i * 7919 + 17) % t->model->net->hp.n_vocab);
    return LAR_OK;
}

/* Evaluate n tokens, `each` at a time. */
static lar_status eval(lar_task *t, int n, int each, lar_err *e)
{
    const state *s = t->state;
    for (int i = 0; i < n; i += each) {
        lar_step part = {
            .seq = t->session->seq, .tokens = s->tokens + i, .n = LAR_MIN(each, n - i)};
        if (lar_task_cancelled(t))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        LAR_TRY(lar_engine_step(t->session->engine, &part, 1, e));
    }
    return LAR_OK;
}

static lar_status measure(lar_task *t, int depth, int n, bool gen, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    const int batch = lar_engine_batch(t->session->engine);
    double best = 0, worst = 0, sum = 0;
    bool bad = false;
    char name[64];
    snprintf(name, sizeof name, "%s%d", gen ? "generate " : "prompt ", n);
    for (int64_t r = -1; r < p->reps; r++) {
        lar_seq_truncate(t->session->seq, 0);
        LAR_TRY(eval(t, depth, batch, e));
        const double t0 = lar_clock();
        LAR_TRY(eval(t, n, gen ? 1 : batch, e));
        const double rate = n / LAR_MAX(1e-9, lar_clock() - t0);
        if (r < 0)
            continue; /* to warm up */
        sum += rate;
        best = r == 0 ? rate : LAR_MAX(best, rate);
        worst = r == 0 ? rate : LAR_MIN(worst, rate);
    }
    json_t *o = json_object();
    lar_json_put(o, "test", json_string(gen ? "generate" : "prompt"), &bad);
    lar_json_put(o, "tokens", json_integer(n), &bad);
    lar_json_put(o, "depth", json_integer(depth), &bad);
    lar_json_put(o, "per_second", json_real(sum / (double)p->reps), &bad);
    lar_json_put(o, "per_second_min", json_real(worst), &bad);
    lar_json_put(o, "per_second_max", json_real(best), &bad);
    if (gen) /* every weight is read once a token */
        lar_json_put(o, "gb_per_second",
                     json_real(sum / (double)p->reps * (double)t->model->net->weight_bytes * 1e-9),
                     &bad);
    lar_json_push(s->rows, o, &bad);
    if (bad)
        return lar_fail(e, LAR_ENOMEM, "bench: out of memory");
    const int total = s->depths.n * (s->prompts.n + s->gens.n);
    return lar_task_progress(t, (double)(s->test + 1) / total, name, e);
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    state *s = t->state;
    const int per_depth = s->prompts.n + s->gens.n, total = s->depths.n * per_depth,
              ctx = lar_engine_ctx(t->session->engine);
    if (s->test < total) {
        const int depth = s->depths.v[s->test / per_depth], i = s->test % per_depth;
        const bool gen = i >= s->prompts.n;
        const int n = gen ? s->gens.v[i - s->prompts.n] : s->prompts.v[i];
        if (n > ctx - depth)
            return lar_fail(
                e, LAR_EARG,
                "bench: %d tokens at depth %d need a context of %d, this one is %d (--ctx)", n,
                depth, n + depth, ctx);
        LAR_TRY(measure(t, depth, n, gen, e));
        s->test++;
        return LAR_OK;
    }
    *done = true;
    json_t *r = json_object();
    bool bad = false;
    lar_json_put(r, "variant", json_string(t->rt->variant->name), &bad);
    lar_json_put(r, "threads", json_integer(lar_pool_threads(t->rt->pool)), &bad);
    lar_json_put(r, "kv", json_string(lar_engine_kv_type(t->session->engine)->name), &bad);
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
    lar_free(s->tokens);
    json_decref(s->rows);
}

extern const lar_task_def lar_task_def_bench;
const lar_task_def lar_task_def_bench = {.name = "bench",
                                         .verb = "bench",
                                         .help = "Measure tokens per second",
                                         .needs = LAR_NEEDS_SESSION,
                                         .fields = fields,
                                         .n_fields = LAR_LEN(fields),
                                         .params_size = sizeof(params),
                                         .state_size = sizeof(state),
                                         .start = start,
                                         .step = step,
                                         .finish = finish};
