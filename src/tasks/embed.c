/*
 * embed.c - the task `embed`: texts to vectors. Texts go through the engine together, as many as a
 * step takes; each text's states become one vector (pooling) as the model's file or the request
 * says. The session is emptied first. Depends on infer and the tokenizer.
 */
#include "tasks/json.h"
#include "tasks/task.h"
#include <math.h>
#include <string.h>

typedef struct params {
    lar_field_list input;
    const char *pooling, *normalize;
    int64_t dimensions, max_tokens;
    bool truncate;
} params;

#define AT(f) .offset = offsetof(params, f)
static const lar_field fields[] = {
    {.name = "input",
     .alias = "prompt|text|content",
     .letter = 'p',
     .type = LAR_FIELD_STRINGS,
     AT(input),
     .unit = "TEXT",
     .help = "Text to embed; may be given many times"},
    {.name = "pooling",
     .type = LAR_FIELD_STRING,
     AT(pooling),
     .choices = "mean|cls|last",
     .unit = "HOW",
     .help = "How a text's states become one vector; without it as the model's file says"},
    {.name = "normalize",
     .type = LAR_FIELD_STRING,
     AT(normalize),
     .choices = "l2|none",
     .unit = "HOW",
     .help =
         "Make vectors 1 long, or not; without it as the model's file says (l2 if it does not)"},
    {.name = "dimensions",
     .type = LAR_FIELD_INT,
     AT(dimensions),
     .min = 0,
     .max = 1 << 20,
     .unit = "N",
     .help = "Keep the first N numbers only, for models trained to be cut so; 0: all"},
    {.name = "truncate",
     .type = LAR_FIELD_BOOL,
     AT(truncate),
     .help = "Cut texts that are too long instead of refusing them"},
    {.name = "max-tokens",
     .type = LAR_FIELD_INT,
     AT(max_tokens),
     .min = 0,
     .max = 1 << 30,
     .unit = "N",
     .help = "Tokens of a text at most; 0: as the model's file says, and as the context holds"},
};

typedef struct text {
    lar_ids ids;
    int done;     /* tokens evaluated */
    lar_seq *seq; /* while some are, but not all */
} text;

typedef struct state {
    text *text;
    size_t n, next; /* next: the first that is not finished */
    int pooling;    /* LAR_POOL_* */
    bool normalize;
    int width, kept; /* numbers of a state, of a vector */
    double *sum;     /* [width]: of text `next`, when it takes several steps */
    lar_step *part;
    int most_parts;
    uint64_t total, done; /* tokens */
    size_t n_cut;
    json_t *vectors, *counts;
} state;

/* ---- what is wanted ---------------------------------------------------------------------------
 */

static lar_status choose_pooling(const lar_task *t, int *out, lar_err *e)
{
    static const char *const names[] = {"none", "mean", "cls", "last"};
    const params *p = t->params;
    const lar_net *net = t->model->net;
    *out = (int)net->hp.pooling;
    for (int i = 0; p->pooling && i < (int)LAR_LEN(names); i++)
        if (strcmp(p->pooling, names[i]) == 0)
            *out = i;
    if (*out == LAR_POOL_UNSAID)
        *out = net->causal ? LAR_POOL_LAST : LAR_POOL_MEAN;
    if (*out == LAR_POOL_NONE || *out == LAR_POOL_RANK)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "%s.pooling_type is %s, which gives no vector of a text: say pooling",
                        net->def->arch, *out == LAR_POOL_NONE ? "none" : "rank");
    return LAR_OK;
}

/* Tokens that a text may have. */
static lar_status choose_limit(const lar_task *t, int *out, lar_err *e)
{
    const params *p = t->params;
    const lar_net *net = t->model->net;
    const lar_engine *en = t->session->engine;
    const int own = (int)net->hp.max_tokens;
    const int room =
        net->causal ? lar_engine_ctx(en) : LAR_MIN(lar_engine_ctx(en), lar_engine_batch(en));
    if (p->max_tokens > room)
        return lar_fail(e, LAR_EARG, "max_tokens: got %lld, the context takes texts of %d",
                        (long long)p->max_tokens, room);
    *out = p->max_tokens ? (int)p->max_tokens : own ? LAR_MIN(own, room) : room;
    return LAR_OK;
}

/* ---- texts ------------------------------------------------------------------------------------
 */

/* What ends a text ([SEP], EOS) stays when the text is cut. */
static lar_status cut(const lar_tokenizer *tok, lar_ids *ids, int limit, lar_err *e)
{
    const size_t tail = lar_tokenizer_n_end(tok);
    if ((size_t)limit <= tail)
        return lar_fail(e, LAR_EARG, "max_tokens: got %d, want more than the %zu that end a text",
                        limit, tail);
    memmove(ids->p + limit - tail, ids->p + ids->n - tail, tail * sizeof *ids->p);
    ids->n = (size_t)limit;
    return LAR_OK;
}

static lar_status take_text(lar_task *t, size_t i, int limit, lar_err *e)
{
    const params *p = t->params;
    const lar_tokenizer *tok = t->model->vocab.tok;
    state *s = t->state;
    lar_ids *ids = &s->text[i].ids;
    const char *input = p->input.p[i];
    LAR_TRY(lar_tokenizer_encode(tok, input, strlen(input), LAR_TOK_BOS, ids, e));
    if (!ids->n)
        return lar_fail(e, LAR_EARG, "input %zu has no tokens", i);
    if (ids->n > (size_t)limit) {
        if (!p->truncate)
            return lar_fail(e, LAR_EFULL,
                            "input %zu has %zu tokens, want at most %d: ask for it to be truncated",
                            i, ids->n, limit);
        LAR_TRY(cut(tok, ids, limit, e));
        s->n_cut++;
    }
    s->total += ids->n;
    return LAR_OK;
}

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    int limit = 0;
    if (!t->model->vocab.tok)
        return lar_fail(e, LAR_EUNSUPPORTED, "the model file has no tokenizer");
    if (!p->input.n)
        return lar_fail(e, LAR_EARG, "input is missing: want a text, or a list of texts");
    LAR_TRY(choose_pooling(t, &s->pooling, e));
    LAR_TRY(choose_limit(t, &limit, e));
    s->normalize =
        p->normalize ? strcmp(p->normalize, "l2") == 0 : t->model->net->hp.normalize != 1;
    s->width = (int)t->model->net->hp.n_embd;
    s->kept = p->dimensions ? (int)p->dimensions : s->width;
    if (s->kept > s->width)
        return lar_fail(e, LAR_EARG, "dimensions: got %d, the model has %d", s->kept, s->width);
    s->most_parts = lar_engine_max_seqs(t->session->engine) - 1; /* one is the session's own */
    s->text = lar_alloc_array(p->input.n, sizeof *s->text);
    s->sum = lar_alloc_array((size_t)s->width, sizeof *s->sum);
    s->part = lar_alloc_array((size_t)LAR_MAX(s->most_parts, 1), sizeof *s->part);
    s->vectors = json_array();
    s->counts = json_array();
    if (!s->text || !s->sum || !s->part || !s->vectors || !s->counts)
        return lar_fail(e, LAR_ENOMEM, "embed: out of memory for %zu texts", p->input.n);
    s->n = p->input.n;
    for (size_t i = 0; i < s->n; i++)
        LAR_TRY(take_text(t, i, limit, e));
    if (s->n_cut)
        LAR_TRY(
            lar_task_notice(t, e, "%zu of %zu texts were cut to %d tokens", s->n_cut, s->n, limit));
    lar_seq_truncate(t->session->seq, 0);
    return LAR_OK;
}

/* ---- vectors ----------------------------------------------------------------------------------
 */

/* A number of nine digits, which is the float when it is read back, and short to write. */
static double nine_digits(double x)
{
    const double a = fabs(x);
    double scale = 1;
    if (a < 1e-13 || a >= 1e8)
        return x;
    while (a * scale < 1e8)
        scale *= 10;
    return (double)(int64_t)(x * scale + (x < 0 ? -0.5 : 0.5)) / scale;
}

/* Text `next` is finished: its vector stands in sum. */
static lar_status deliver(state *s, lar_err *e)
{
    const text *x = &s->text[s->next++];
    double squares = 0, k = s->pooling == LAR_POOL_MEAN ? 1 / (double)x->ids.n : 1;
    bool bad = false;
    json_t *v = json_array();
    for (int i = 0; i < s->kept; i++)
        squares += s->sum[i] * s->sum[i];
    if (s->normalize && squares > 0)
        k = 1 / sqrt(squares);
    for (int i = 0; i < s->kept; i++)
        lar_json_push(v, json_real(nine_digits((double)(float)(s->sum[i] * k))), &bad);
    memset(s->sum, 0, (size_t)s->width * sizeof *s->sum);
    lar_json_push(s->vectors, v, &bad);
    lar_json_push(s->counts, json_integer((json_int_t)x->ids.n), &bad);
    return bad ? lar_fail(e, LAR_ENOMEM, "embed: out of memory for the vectors") : LAR_OK;
}

/* What a step gave for some of the tokens of text `next`. */
static void pool(state *s, const lar_step *part)
{
    const text *x = &s->text[s->next];
    const size_t width = (size_t)s->width;
    const int rows = part->all_logits ? part->n : 1;
    int first = 0, end = rows;
    if (s->pooling == LAR_POOL_CLS) /* the text's first token */
        end = x->done == part->n ? 1 : 0;
    else if (s->pooling == LAR_POOL_LAST)
        first = (size_t)x->done == x->ids.n ? rows - 1 : rows;
    for (int r = first; r < end; r++)
        for (size_t i = 0; i < width; i++)
            s->sum[i] += (double)part->logits[(size_t)r * width + i];
}

/* ---- steps ------------------------------------------------------------------------------------
 */

/* Texts from `next` on, as many as fit; of a causal model also the first tokens of one. */
static lar_status collect(lar_task *t, int *n_parts, lar_err *e)
{
    state *s = t->state;
    lar_engine *en = t->session->engine;
    const bool causal = t->model->net->causal;
    int room = lar_engine_batch(en), ctx = lar_engine_ctx(en);
    for (size_t i = s->next; i < s->n && *n_parts < s->most_parts; i++) {
        text *x = &s->text[i];
        const int left = (int)x->ids.n - x->done;
        const int n = LAR_MIN(left, LAR_MIN(room, ctx - x->done));
        if (n < 1 || (n < left && !causal))
            break;
        if (!x->seq)
            LAR_TRY(lar_seq_new(en, &x->seq, e));
        s->part[(*n_parts)++] = (lar_step){.seq = x->seq,
                                           .tokens = x->ids.p + x->done,
                                           .n = n,
                                           .all_logits = s->pooling != LAR_POOL_LAST,
                                           .hidden = true};
        room -= n;
        ctx -= x->done + n;
    }
    return *n_parts ? LAR_OK
                    : lar_fail(e, LAR_EFULL, "embed: no room for a text in the session's engine");
}

static lar_status result(lar_task *t, lar_err *e)
{
    state *s = t->state;
    const bool one = s->n == 1;
    bool bad = false;
    json_t *o = json_object();
    lar_json_put(o, one ? "embedding" : "embeddings",
                 json_incref(one ? json_array_get(s->vectors, 0) : s->vectors), &bad);
    lar_json_put(o, "tokens", json_incref(one ? json_array_get(s->counts, 0) : s->counts), &bad);
    return lar_task_built(t, o, bad, e);
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    state *s = t->state;
    int n_parts = 0;
    LAR_TRY(collect(t, &n_parts, e));
    LAR_TRY(lar_engine_step(t->session->engine, s->part, n_parts, e));
    for (int i = 0; i < n_parts; i++) {
        text *x = &s->text[s->next];
        x->done += s->part[i].n;
        s->done += (uint64_t)s->part[i].n;
        pool(s, &s->part[i]);
        if ((size_t)x->done < x->ids.n)
            break; /* the last one */
        lar_seq_free(x->seq);
        x->seq = NULL;
        LAR_TRY(deliver(s, e));
    }
    *done = s->next == s->n;
    return *done ? result(t, e)
                 : lar_task_progress(t, (double)s->done / (double)s->total, "texts", e);
}

static void finish(lar_task *t)
{
    state *s = t->state;
    for (size_t i = 0; s->text && i < s->n; i++) {
        lar_seq_free(s->text[i].seq);
        lar_ids_free(&s->text[i].ids);
    }
    lar_free(s->text);
    lar_free(s->sum);
    lar_free(s->part);
    json_decref(s->vectors);
    json_decref(s->counts);
}

extern const lar_task_def lar_task_def_embed;
const lar_task_def lar_task_def_embed = {
    .name = "embed",
    .verb = "embed",
    .route = "/v1/embeddings",
    .help = "Make vectors of texts",
    .positional = "input",
    .needs = LAR_NEEDS_SESSION,
    .encoders = true,
    .fields = fields,
    .n_fields = LAR_LEN(fields),
    .params_size = sizeof(params),
    .state_size = sizeof(state),
    .start = start,
    .step = step,
    .finish = finish,
};
