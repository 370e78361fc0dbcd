/*
 * perplexity.c - the task `perplexity`: how well a model predicts a text, and how far its
 * predictions are from a reference model's.
 *
 * Chunked (the default, as the field's tools do it): the text's tokens in windows that do not
 * overlap, the first of each replaced by BOS where the model wants one; the second half of a window
 * is scored, so that every scored token has at least half a window before it. With a stride:
 * windows that overlap, in each of which only the last `stride` tokens are scored.
 *
 * perplexity = e^mean(nll), its standard error by the delta method: perplexity * sd(nll) / sqrt(n).
 * Kullback and Leibler's divergence of a position: sum of p (ln p - ln q) over the vocabulary, p
 * the reference's probabilities, in double.
 */
#include "base/math.h"
#include "tasks/chart.h"
#include "tasks/json.h"
#include "tasks/log_sum.h"
#include "tasks/windows.h"
#include <math.h>
#include <string.h>

typedef struct params {
    const char *text, *file, *reference, *plot;
    int64_t window, stride, chunks;
} params;

#define AT(f) .offset = offsetof(params, f)
static const lar_field fields[] = {
    {.name = "text", .type = LAR_FIELD_STRING, AT(text), .unit = "TEXT", .help = "The text itself"},
    {.name = "file",
     .letter = 'f',
     .type = LAR_FIELD_STRING,
     AT(file),
     .unit = "FILE",
     .help = "A file with the text"},
    {.name = "window",
     .type = LAR_FIELD_INT,
     AT(window),
     .def = 0,
     .min = 0,
     .max = 1 << 20,
     .unit = "N",
     .help = "Tokens in a window; 0: 512, or the context where that is less"},
    {.name = "stride",
     .type = LAR_FIELD_INT,
     AT(stride),
     .def = 0,
     .min = 0,
     .max = 1 << 20,
     .unit = "N",
     .help = "Slide windows by N tokens and score those; 0: windows apart, second halves scored"},
    {.name = "chunks",
     .type = LAR_FIELD_INT,
     AT(chunks),
     .def = 0,
     .min = 0,
     .max = 1 << 28,
     .unit = "N",
     .help = "Stop after N windows; 0: the whole text"},
    {.name = "reference",
     .type = LAR_FIELD_STRING,
     AT(reference),
     .unit = "FILE",
     .help = "A GGUF file with the same vocabulary whose predictions count as true: report the "
             "divergence from them"},
    {.name = "plot",
     .type = LAR_FIELD_STRING,
     AT(plot),
     .unit = "FILE",
     .help = "Draw the running perplexity, or the divergences in order, as SVG"},
};

/* What a scored position gives. */
typedef struct score {
    double nll, ref_nll, kl;
    bool same_top;
} score;

typedef struct reference {
    lar_gguf *file;
    lar_net *net;
    lar_engine *engine;
    lar_seq *seq;
} reference;

typedef struct state {
    lar_windows windows;
    reference ref;
    score *scores;
    size_t n_scores, cap_scores;
} state;

/* ---- text and models ---------------------------------------------------------------------------
 */

static lar_status open_reference(lar_task *t, const char *path, lar_err *e)
{
    state *s = t->state;
    reference *r = &s->ref;
    const lar_engine *en = t->session->engine;
    const lar_engine_options o = {.ctx = s->windows.size,
                                  .batch = LAR_MIN(lar_engine_batch(en), s->windows.size),
                                  .max_seqs = 1,
                                  .kv_type = lar_engine_kv_type(en)};
    LAR_TRY(lar_gguf_open(path, &r->file, e));
    LAR_TRY(lar_net_open(r->file, &t->rt->log, &r->net, e));
    if (r->net->hp.n_vocab != t->model->net->hp.n_vocab)
        return lar_fail(e, LAR_EARG, "reference: %u tokens in its vocabulary, the model has %u",
                        r->net->hp.n_vocab, t->model->net->hp.n_vocab);
    LAR_TRY(lar_engine_new(r->net, t->rt->variant, t->rt->pool, &o, &r->engine, e));
    return lar_seq_new(r->engine, &r->seq, e);
}

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    if (p->plot)
        LAR_TRY(lar_task_can_write(p->plot, e));
    LAR_TRY(lar_windows_open(t, p->text, p->file, p->window, p->stride, p->chunks, &s->windows, e));
    return p->reference ? open_reference(t, p->reference, e) : LAR_OK;
}

/* ---- scores ------------------------------------------------------------------------------------
 */

/* Rows of logits, shared by the pool's threads. */
typedef struct rows {
    const float *x, *ref; /* [n][n_vocab]; ref may be NULL */
    const int32_t *want;  /* [n]: the token that came */
    size_t n, n_vocab;
    score *out;
} rows;

static void score_row(const rows *r, size_t i)
{
    const float *x = r->x + i * r->n_vocab, *ref = r->ref ? r->ref + i * r->n_vocab : NULL;
    size_t top, ref_top;
    const double lse = lar_log_sum(x, r->n_vocab, &top);
    score *o = &r->out[i];
    *o = (score){.nll = lse - (double)x[r->want[i]]};
    if (!ref)
        return;
    const double ref_lse = lar_log_sum(ref, r->n_vocab, &ref_top);
    for (size_t k = 0; k < r->n_vocab; k++) {
        const double lp = (double)ref[k] - ref_lse;
        if (lp > -40)
            o->kl += lar_exp(lp) * (lp - ((double)x[k] - lse));
    }
    o->kl = LAR_MAX(0.0, o->kl); /* never below 0 but by rounding */
    o->ref_nll = ref_lse - (double)ref[r->want[i]];
    o->same_top = top == ref_top;
}

static void score_share(void *arg, int ith, int nth)
{
    const rows *r = arg;
    for (size_t i = (size_t)ith; i < r->n; i += (size_t)nth)
        score_row(r, i);
}

static lar_status eval(lar_engine *en, lar_seq *q, const int32_t *ids, int n, bool all,
                       const float **logits, lar_err *e)
{
    lar_step part = {.seq = q, .tokens = ids, .n = n, .all_logits = all};
    LAR_TRY(lar_engine_step(en, &part, 1, e));
    *logits = part.logits;
    return LAR_OK;
}

/* n tokens, of which those from `scored` on are scored by the token that follows (the last one of
 * the window by none). */
static lar_status do_window(lar_task *t, const int32_t *ids, int scored, lar_err *e)
{
    state *s = t->state;
    const int batch = LAR_MIN(lar_engine_batch(t->session->engine), s->windows.size);
    const int most = LAR_MIN(batch, 64); /* rows of logits at once: they are large */
    const float *x, *ref = NULL;
    lar_seq_truncate(t->session->seq, 0);
    if (s->ref.seq)
        lar_seq_truncate(s->ref.seq, 0);
    for (int i = 0; i < s->windows.size;) {
        const bool all = i >= scored;
        const int n = LAR_MIN(all ? most : batch, (all ? s->windows.size - 1 : scored) - i);
        if (n <= 0)
            break;
        if (lar_task_cancelled(t))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        LAR_TRY(eval(t->session->engine, t->session->seq, ids + i, n, all, &x, e));
        if (s->ref.engine)
            LAR_TRY(eval(s->ref.engine, s->ref.seq, ids + i, n, all, &ref, e));
        if (all) {
            rows r = {x, ref, ids + i + 1, (size_t)n, t->model->net->hp.n_vocab, NULL};
            if (!lar_grow((void **)&s->scores, &s->cap_scores, s->n_scores + (size_t)n,
                          sizeof *s->scores))
                return lar_fail(e, LAR_ENOMEM, "perplexity: out of memory");
            r.out = s->scores + s->n_scores;
            lar_pool_run(t->rt->pool, score_share, &r);
            s->n_scores += (size_t)n;
        }
        i += n;
    }
    return LAR_OK;
}

/* ---- the result --------------------------------------------------------------------------------
 */

typedef struct moments {
    double mean, stderr_; /* of the mean */
} moments;

/* Two passes: the variance of close numbers. */
static moments moments_of(const score *s, size_t n, size_t offset)
{
    moments m = {0};
    double var = 0;
    for (size_t i = 0; i < n; i++)
        m.mean += *(const double *)(const void *)((const char *)&s[i] + offset) / (double)n;
    for (size_t i = 0; i < n; i++) {
        const double d = *(const double *)(const void *)((const char *)&s[i] + offset) - m.mean;
        var += d * d;
    }
    m.stderr_ = n > 1 ? sqrt(var / (double)(n - 1) / (double)n) : 0;
    return m;
}

static void sift(double *h, size_t n, size_t i)
{
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        c += c + 1 < n && h[c] < h[c + 1];
        if (h[i] >= h[c])
            return;
        const double v = h[i];
        h[i] = h[c];
        h[c] = v;
    }
}

static double *sorted_kl(const score *s, size_t n)
{
    double *h = lar_alloc_array(n, sizeof *h);
    for (size_t i = 0; h && i < n; i++)
        h[i] = s[i].kl;
    for (size_t i = n; h && i-- > 0;)
        sift(h, n, i);
    for (size_t i = n; h && i-- > 1;) {
        const double v = h[0];
        h[0] = h[i];
        h[i] = v;
        sift(h, i, 0);
    }
    return h;
}

static double percentile(const double *sorted, size_t n, double p)
{
    const double at = p / 100 * (double)(n - 1);
    const size_t i = (size_t)at;
    return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

static json_t *kl_json(const state *s, const double *sorted, bool *bad)
{
    static const struct {
        const char *name;
        double p;
    } points[] = {{"p01", 1},  {"p05", 5},  {"p10", 10},     {"median", 50}, {"p90", 90},
                  {"p95", 95}, {"p99", 99}, {"p99_9", 99.9}, {"max", 100}};
    const moments m = moments_of(s->scores, s->n_scores, offsetof(score, kl));
    const moments ref = moments_of(s->scores, s->n_scores, offsetof(score, ref_nll));
    double same = 0;
    json_t *o = json_object();
    for (size_t i = 0; i < s->n_scores; i++)
        same += s->scores[i].same_top;
    lar_json_put(o, "mean", json_real(m.mean), bad);
    lar_json_put(o, "stderr", json_real(m.stderr_), bad);
    for (size_t i = 0; i < LAR_LEN(points); i++)
        lar_json_put(o, points[i].name, json_real(percentile(sorted, s->n_scores, points[i].p)),
                     bad);
    lar_json_put(o, "same_top", json_real(same / (double)s->n_scores), bad);
    lar_json_put(o, "reference_perplexity", json_real(lar_exp(ref.mean)), bad);
    return o;
}

/* The running perplexity with its 95 % interval, or the sorted divergences. */
static lar_status plot(const state *s, const double *sorted, const char *path, lar_err *e)
{
    enum { POINTS = 400 };
    double x[POINTS], y[POINTS], low[POINTS], high[POINTS], sum = 0, sq = 0;
    const size_t n = s->n_scores;
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        sum += s->scores[i].nll;
        sq += s->scores[i].nll * s->scores[i].nll;
        if (i + 1 < 16 || k == POINTS || (i + 1) * POINTS / n <= k * (n >= POINTS))
            continue;
        const double c = (double)(i + 1), mean = sum / c;
        const double se = sqrt(LAR_MAX(0.0, sq / c - mean * mean) / (c - 1));
        x[k] = sorted ? 100.0 * (double)i / (double)n : c;
        y[k] = sorted ? LAR_MAX(sorted[i], 1e-9) : lar_exp(mean);
        low[k] = lar_exp(mean - 1.96 * se);
        high[k++] = lar_exp(mean + 1.96 * se);
    }
    const lar_line l = {
        .x = x, .y = y, .n = k, .low = sorted ? NULL : low, .high = sorted ? NULL : high};
    const lar_chart c = {.title = sorted ? "Divergence from the reference" : "Perplexity so far",
                         .x_label = sorted ? "share of positions, %" : "tokens scored",
                         .y_label = sorted ? "KL divergence, nats" : "perplexity, 95 % interval",
                         .log_y = sorted != NULL,
                         .line = &l,
                         .n_lines = 1};
    return lar_chart_write(&c, path, e);
}

static lar_status deliver(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    const moments m = moments_of(s->scores, s->n_scores, offsetof(score, nll));
    const double ppl = lar_exp(m.mean);
    double *sorted = NULL;
    bool bad = false;
    json_t *o = json_object(), *ci = json_array();
    lar_json_put(o, "perplexity", json_real(ppl), &bad);
    lar_json_put(o, "stderr", json_real(ppl * m.stderr_), &bad);
    lar_json_put(o, "tokens", json_integer((json_int_t)s->n_scores), &bad);
    lar_json_push(ci, json_real(lar_exp(m.mean - 1.96 * m.stderr_)), &bad);
    lar_json_push(ci, json_real(lar_exp(m.mean + 1.96 * m.stderr_)), &bad);
    lar_json_put(o, "ci95", ci, &bad);
    lar_json_put(o, "windows", json_integer(s->windows.n), &bad);
    lar_json_put(o, "window", json_integer(s->windows.size), &bad);
    lar_json_put(o, "stride", json_integer((json_int_t)p->stride), &bad);
    /* The reference's cache is of the same type. */
    lar_json_put(o, "kv_type", json_string(lar_engine_kv_type(t->session->engine)->name), &bad);
    if (s->ref.engine) {
        sorted = sorted_kl(s->scores, s->n_scores);
        bad = bad || !sorted;
        if (sorted)
            lar_json_put(o, "kl", kl_json(s, sorted, &bad), &bad);
    }
    lar_status st = bad ? lar_fail(e, LAR_ENOMEM, "perplexity: out of memory") : LAR_OK;
    if (st == LAR_OK && p->plot)
        st = plot(s, sorted, p->plot, e);
    lar_free(sorted);
    if (st != LAR_OK) {
        json_decref(o);
        return st;
    }
    return lar_task_result(t, o, e);
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    int scored = s->windows.size / 2;
    if (p->stride)
        scored = s->windows.done ? s->windows.size - 1 - (int)p->stride : 0;
    LAR_TRY(do_window(t, lar_windows_next(&s->windows), scored, e));
    if (lar_windows_done(&s->windows)) {
        *done = true;
        return deliver(t, e);
    }
    return lar_windows_tell(t, &s->windows, e);
}

static void finish(lar_task *t)
{
    state *s = t->state;
    lar_seq_free(s->ref.seq);
    lar_engine_free(s->ref.engine);
    lar_net_free(s->ref.net);
    lar_gguf_close(s->ref.file);
    lar_windows_free(&s->windows);
    lar_free(s->scores);
}

extern const lar_task_def lar_task_def_perplexity;
const lar_task_def lar_task_def_perplexity = {.name = "perplexity",
                                              .verb = "perplexity",
                                              .help = "Measure how well a model predicts a text",
                                              .positional = "file",
                                              .needs = LAR_NEEDS_SESSION,
                                              .fields = fields,
                                              .n_fields = LAR_LEN(fields),
                                              .params_size = sizeof(params),
                                              .state_size = sizeof(state),
                                              .start = start,
                                              .step = step,
                                              .finish = finish};
