/*
 * logits.c - the task `logits`: what the model says after a text, as numbers, with a hash that
 * anyone can compare. The session is emptied first; its batch size is how the prompt is cut.
 */
#include "tasks/json.h"
#include "tasks/log_sum.h"
#include "tasks/task.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

typedef struct params {
    const char *prompt, *ids, *out;
    int64_t top;
    bool all;
} params;

#define AT(f) .offset = offsetof(params, f)
static const lar_field fields[] = {
    {.name = "prompt",
     .letter = 'p',
     .type = LAR_FIELD_STRING,
     AT(prompt),
     .unit = "TEXT",
     .help = "Text, taken as it is; BOS is added as the file says"},
    {.name = "ids",
     .type = LAR_FIELD_STRING,
     AT(ids),
     .unit = "IDS",
     .help = "Token ids separated by spaces or commas, or @FILE of them, instead of a prompt"},
    {.name = "top",
     .letter = 'k',
     .type = LAR_FIELD_INT,
     AT(top),
     .def = 10,
     .min = 0,
     .max = 1 << 24,
     .unit = "K",
     .help = "Show the K likeliest tokens of the last position"},
    {.name = "all",
     .type = LAR_FIELD_BOOL,
     AT(all),
     .help = "Evaluate the logits of every position (hash and --out)"},
    {.name = "out",
     .letter = 'o',
     .type = LAR_FIELD_STRING,
     AT(out),
     .unit = "FILE",
     .help = "Write the logits there: little-endian F32, one row per position"},
};

typedef struct state {
    lar_ids ids;
    size_t at;
    crypto_hash_sha256_state sha;
    lar_file *file;
    int32_t *order;
} state;

static lar_status parse_ids(const char *p, size_t n, lar_ids *ids, lar_err *e)
{
    for (const char *end = p + n; p < end;) {
        int64_t v = 0;
        if (*p == ' ' || *p == ',' || *p == '\n' || *p == '\t' || *p == '\r') {
            p++;
            continue;
        }
        const char *begin = p;
        for (; p < end && *p >= '0' && *p <= '9' && v <= INT32_MAX; p++)
            v = v * 10 + (*p - '0');
        if (p == begin || v > INT32_MAX)
            return lar_fail(e, LAR_EARG, "ids: '%.*s' is not a token id",
                            (int)LAR_MIN(20, end - begin), begin);
        LAR_TRY(lar_ids_add(ids, (int32_t)v, e));
    }
    return LAR_OK;
}

static lar_status read_ids(const char *text, lar_ids *ids, lar_err *e)
{
    lar_map m;
    if (*text != '@')
        return parse_ids(text, strlen(text), ids, e);
    LAR_TRY(lar_map_open(text + 1, &m, e));
    const lar_status s = parse_ids((const char *)m.data, m.size, ids, e);
    lar_map_close(&m);
    return s;
}

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    crypto_hash_sha256_init(&s->sha);
    if (p->ids) {
        LAR_TRY(read_ids(p->ids, &s->ids, e));
    } else {
        const lar_tokenizer *tok = t->model->vocab.tok;
        if (!tok)
            return lar_fail(e, LAR_EUNSUPPORTED, "the model file has no tokenizer: use ids");
        const char *text = p->prompt ? p->prompt : "";
        LAR_TRY(lar_tokenizer_encode(tok, text, strlen(text), LAR_TOK_BOS, &s->ids, e));
    }
    if (!s->ids.n)
        return lar_fail(e, LAR_EARG, "the prompt has no tokens");
    const int ctx = lar_engine_ctx(t->session->engine);
    if (s->ids.n > (size_t)ctx)
        return lar_fail(e, LAR_EFULL, "the prompt has %zu tokens, the context only %d", s->ids.n,
                        ctx);
    lar_seq_truncate(t->session->seq, 0);
    return p->out ? lar_file_create(p->out, &s->file, e) : LAR_OK;
}

/* Rows of logits into the hash and the file, in little-endian whatever the machine's order. */
static lar_status put_rows(lar_task *t, const float *x, size_t n, lar_err *e)
{
    state *s = t->state;
    uint8_t buf[4096];
    for (size_t i = 0; i < n;) {
        size_t k = 0;
        for (; k + 4 <= sizeof buf && i < n; i++, k += 4) {
            uint32_t u;
            memcpy(&u, &x[i], 4);
            for (int b = 0; b < 4; b++)
                buf[k + (size_t)b] = (uint8_t)(u >> (8 * b));
        }
        crypto_hash_sha256_update(&s->sha, buf, k);
        if (s->file)
            LAR_TRY(lar_file_write(s->file, buf, k, e));
    }
    return LAR_OK;
}

/* a before b: the higher logit, then the lower id. */
static bool before(const float *x, int32_t a, int32_t b)
{
    return x[a] > x[b] || (x[a] == x[b] && a < b);
}

/* The k best of n, best first: a heap of the best so far with the worst on top, then sorted out of
 * it. */
static void sift(const float *x, int32_t *h, size_t n, size_t i)
{
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= n)
            return;
        if (c + 1 < n && before(x, h[c], h[c + 1]))
            c++;
        if (before(x, h[c], h[i]))
            return;
        const int32_t v = h[i];
        h[i] = h[c];
        h[c] = v;
        i = c;
    }
}

static void top(const float *x, size_t n, int32_t *h, size_t k)
{
    for (size_t i = 0; i < k; i++)
        h[i] = (int32_t)i;
    for (size_t i = k; i-- > 0;)
        sift(x, h, k, i);
    for (size_t i = k; k && i < n; i++)
        if (before(x, (int32_t)i, h[0])) {
            h[0] = (int32_t)i;
            sift(x, h, k, 0);
        }
    for (size_t i = k; i-- > 1;) {
        const int32_t v = h[0];
        h[0] = h[i];
        h[i] = v;
        sift(x, h, i, 0);
    }
}

static lar_status deliver(lar_task *t, const float *x, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    const size_t n = t->model->net->hp.n_vocab, k = LAR_MIN((size_t)p->top, n);
    const double lse = lar_log_sum(x, n, NULL);
    uint8_t hash[32];
    char hex[65];
    bool bad = false;
    s->order = lar_alloc_array(k + 1, sizeof *s->order);
    if (!s->order)
        return lar_fail(e, LAR_ENOMEM, "logits: out of memory");
    top(x, n, s->order, k);
    json_t *r = json_object(), *rows = json_array();
    for (size_t i = 0; i < k; i++) {
        json_t *o = json_object();
        const double v = (double)x[s->order[i]];
        lar_json_put(o, "id", json_integer(s->order[i]), &bad);
        if (t->model->vocab.tok) {
            const lar_str text = lar_tokenizer_text(t->model->vocab.tok, s->order[i]);
            lar_json_put(o, "token", lar_json_text(text.p, text.n), &bad);
        }
        lar_json_put(o, "logit", json_real(v), &bad);
        lar_json_put(o, "logprob", json_real(v - lse), &bad);
        lar_json_push(rows, o, &bad);
    }
    lar_json_put(r, "logits", rows, &bad);
    crypto_hash_sha256_final(&s->sha, hash);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    lar_json_put(r, "sha256", json_string(hex), &bad);
    lar_json_put(r, "prompt_tokens", json_integer((json_int_t)s->ids.n), &bad);
    if (bad || !r) {
        json_decref(r);
        return lar_fail(e, LAR_ENOMEM, "logits: out of memory");
    }
    return lar_task_result(t, r, e);
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    const size_t n_vocab = t->model->net->hp.n_vocab, left = s->ids.n - s->at;
    const int n = (int)LAR_MIN(left, (size_t)lar_engine_batch(t->session->engine));
    lar_step part = {
        .seq = t->session->seq, .tokens = s->ids.p + s->at, .n = n, .all_logits = p->all};
    LAR_TRY(lar_engine_step(t->session->engine, &part, 1, e));
    s->at += (size_t)n;
    const bool last = s->at == s->ids.n;
    const size_t rows = p->all ? (size_t)n : 1;
    if (p->all || last)
        LAR_TRY(put_rows(t, part.logits, rows * n_vocab, e));
    if (!last)
        return lar_task_progress(t, (double)s->at / (double)s->ids.n, "prompt", e);
    if (s->file) {
        lar_file *f = s->file;
        s->file = NULL;
        LAR_TRY(lar_file_commit(f, e));
    }
    *done = true;
    return deliver(t, part.logits + (rows - 1) * n_vocab, e);
}

static void finish(lar_task *t)
{
    state *s = t->state;
    lar_ids_free(&s->ids);
    lar_file_abort(s->file);
    lar_free(s->order);
}

extern const lar_task_def lar_task_def_logits;
const lar_task_def lar_task_def_logits = {
    .name = "logits",
    .verb = "logits",
    .help = "Show what the model expects after a text, and a hash of it",
    .positional = "prompt",
    .needs = LAR_NEEDS_SESSION,
    .fields = fields,
    .n_fields = LAR_LEN(fields),
    .params_size = sizeof(params),
    .state_size = sizeof(state),
    .start = start,
    .step = step,
    .finish = finish};
