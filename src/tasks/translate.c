/*
 * translate.c - the task `translate`: text into another language, line by line. A line's sentences
 * are translated each by itself and joined with what was between them. Depends on
 * infer/translate.h, text/sentences.h.
 */
#include "infer/translate.h"
#include "tasks/json.h"
#include "tasks/task.h"
#include "text/sentences.h"
#include <string.h>

/* A sentence of more tokens is cut, as Bergamot does it; lines are translated so many at a time,
 * the first soon. */
enum { PIECE = 127, BATCH = 64, FIRST_WINDOW = 8, WINDOW = 512 };

typedef struct params {
    lar_str text;
    const char *from, *to;
} params;

/* A piece of a line, and what is to be copied before it. */
typedef struct piece {
    lar_str gap;
    size_t ids, n_ids; /* in state.ids */
    size_t target;     /* in state.target, room for 2 n_ids */
    int n_target;
    bool last; /* of its line; n_ids 0 where it is only a gap */
} piece;

typedef struct state {
    lar_translator *tr;
    lar_buf out;
    lar_ids ids;
    piece *pieces;
    size_t n_pieces, cap_pieces;
    int32_t *target;
    size_t target_room;
    size_t at, window;
    int64_t lines, sentences, words, cut;
} state;

#define AT(f) .offset = offsetof(params, f)
static const lar_field fields[] = {
    {.name = "text",
     .alias = "q|prompt|content",
     .letter = 'p',
     .type = LAR_FIELD_BYTES,
     AT(text),
     .def_str = "",
     .unit = "TEXT",
     .help = "Text to translate, line by line"},
    {.name = "from",
     .alias = "source",
     .type = LAR_FIELD_STRING,
     AT(from),
     .unit = "LANGUAGE",
     .help = "The text's language, such as en; the model must be for it"},
    {.name = "to",
     .alias = "target",
     .type = LAR_FIELD_STRING,
     AT(to),
     .unit = "LANGUAGE",
     .help = "The language wanted, such as pt; likewise"},
};

static lar_status check_language(const lar_task *t, const char *want, const char *key, lar_err *e)
{
    lar_str has;
    if (!want || lar_gguf_get_str(t->model->gguf, key, &has, NULL) != LAR_OK)
        return LAR_OK;
    return lar_str_eq(has, want)
               ? LAR_OK
               : lar_fail(e, LAR_EARG, "%s: this model's is '%.*s', not '%.20s'",
                          strcmp(key, "marian.source_language") == 0 ? "from" : "to",
                          (int)LAR_MIN(has.n, 20), has.p, want);
}

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    LAR_TRY(check_language(t, p->from, "marian.source_language", e));
    LAR_TRY(check_language(t, p->to, "marian.target_language", e));
    if (!t->model->vocab.tok)
        return lar_fail(e, LAR_EFORMAT, "the model's file has no tokenizer");
    s->window = FIRST_WINDOW;
    return lar_translator_new(t->model->net, t->rt->variant, t->rt->pool, &s->tr, e);
}

static lar_status add_piece(state *s, lar_str gap, size_t first, bool last, lar_err *e)
{
    if (!lar_grow((void **)&s->pieces, &s->cap_pieces, s->n_pieces + 1, sizeof *s->pieces))
        return lar_fail(e, LAR_ENOMEM, "translate: out of memory");
    s->pieces[s->n_pieces++] =
        (piece){.gap = gap, .ids = first, .n_ids = s->ids.n - first, .last = last};
    return LAR_OK;
}

static int64_t count_words(lar_str s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] > ' ' && (!i || s.p[i - 1] <= ' ');
    return n;
}

/* A sentence's tokens in pieces, each with the end of sentence. */
static lar_status add_sentence(lar_task *t, lar_str gap, lar_str text, lar_err *e)
{
    state *s = t->state;
    const lar_tokenizer *tok = t->model->vocab.tok;
    lar_ids ids = {0};
    lar_status st = lar_tokenizer_encode(tok, text.p, text.n, 0, &ids, e);
    for (size_t i = 0; st == LAR_OK && i < ids.n; i += PIECE) {
        const size_t first = s->ids.n;
        for (size_t k = i; st == LAR_OK && k < LAR_MIN(ids.n, i + PIECE); k++)
            st = lar_ids_add(&s->ids, ids.p[k], e);
        if (st == LAR_OK)
            st = lar_ids_add(&s->ids, lar_tokenizer_eos(tok), e);
        if (st == LAR_OK)
            st = add_piece(s, i ? (lar_str){"", 0} : gap, first, false, e);
    }
    /* Nothing that the vocabulary knows: as it is. */
    if (st == LAR_OK && !ids.n)
        st = add_piece(s, (lar_str){gap.n ? gap.p : text.p, gap.n + text.n}, s->ids.n, false, e);
    lar_ids_free(&ids);
    s->sentences++;
    s->words += count_words(text);
    return st;
}

static lar_status add_line(lar_task *t, lar_str line, lar_err *e)
{
    lar_str sentence;
    size_t at = 0, copied = 0;
    while (lar_sentence_next(line, &at, &sentence)) {
        const size_t from = (size_t)(sentence.p - line.p);
        LAR_TRY(add_sentence(t, (lar_str){line.p + copied, from - copied}, sentence, e));
        copied = from + sentence.n;
    }
    return add_piece(t->state, (lar_str){line.p + copied, line.n - copied},
                     ((state *)t->state)->ids.n, true, e);
}

/* Lines up to a window's worth of pieces. */
static lar_status gather(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    s->n_pieces = s->ids.n = 0;
    while (s->at < p->text.n && s->n_pieces < s->window) {
        const char *from = p->text.p + s->at, *nl = memchr(from, '\n', p->text.n - s->at);
        const size_t n = nl ? (size_t)(nl - from) : p->text.n - s->at;
        LAR_TRY(add_line(t, (lar_str){from, n}, e));
        s->at += n + (nl != NULL);
        s->lines++;
    }
    s->window = LAR_MIN(WINDOW, 4 * s->window);
    size_t room = 0;
    for (size_t i = 0; i < s->n_pieces; i++) {
        s->pieces[i].target = room;
        room += 2 * s->pieces[i].n_ids;
    }
    if (room <= s->target_room)
        return LAR_OK;
    lar_free(s->target);
    s->target_room = 0;
    if (!(s->target = lar_alloc_array(room, sizeof *s->target)))
        return lar_fail(e, LAR_ENOMEM, "translate: out of memory");
    s->target_room = room;
    return LAR_OK;
}

/* Texts of a batch are of about one length: the longest first. Counting keeps equals in order. */
static lar_status sorted(const state *s, size_t **out, size_t *n, lar_err *e)
{
    size_t *order = lar_alloc_array(s->n_pieces, sizeof *order);
    *n = 0;
    if (!order)
        return lar_fail(e, LAR_ENOMEM, "translate: out of memory");
    for (size_t len = PIECE + 1; len > 0; len--)
        for (size_t i = 0; i < s->n_pieces; i++)
            if (s->pieces[i].n_ids == len)
                order[(*n)++] = i;
    *out = order;
    return LAR_OK;
}

static lar_status translate_all(lar_task *t, lar_err *e)
{
    state *s = t->state;
    lar_translation x[BATCH];
    size_t *order = NULL, n = 0;
    if (!s->n_pieces)
        return LAR_OK;
    LAR_TRY(sorted(s, &order, &n, e));
    lar_status st = LAR_OK;
    for (size_t i = 0; st == LAR_OK && i < n; i += BATCH) {
        const int k = (int)LAR_MIN(BATCH, n - i);
        for (int j = 0; j < k; j++) {
            const piece *p = &s->pieces[order[i + (size_t)j]];
            x[j] = (lar_translation){.source = s->ids.p + p->ids,
                                     .n_source = (int)p->n_ids,
                                     .target = s->target + p->target};
        }
        st = lar_task_cancelled(t) ? lar_fail(e, LAR_ECANCELLED, "cancelled")
                                   : lar_translate(s->tr, x, k, e);
        for (int j = 0; st == LAR_OK && j < k; j++) {
            s->pieces[order[i + (size_t)j]].n_target = x[j].n_target;
            s->cut += x[j].cut;
        }
    }
    lar_free(order);
    return st;
}

static lar_status deliver(lar_task *t, lar_err *e)
{
    state *s = t->state;
    const params *p = t->params;
    const size_t from = s->out.n;
    for (size_t i = 0; i < s->n_pieces; i++) {
        const piece *y = &s->pieces[i];
        lar_detok d;
        lar_buf_add(&s->out, y->gap.p, y->gap.n);
        lar_detok_init(&d, t->model->vocab.tok, false);
        for (int k = 0; k < y->n_target; k++)
            lar_detok_put(&d, s->target[y->target + (size_t)k], &s->out);
        lar_detok_end(&d, &s->out);
        if (y->last &&
            (i + 1 < s->n_pieces || s->at < p->text.n || p->text.p[p->text.n - 1] == '\n'))
            lar_buf_putc(&s->out, '\n');
    }
    if (s->out.oom)
        return lar_fail(e, LAR_ENOMEM, "translate: out of memory");
    if (s->out.n > from)
        LAR_TRY(lar_task_text(t, LAR_EVENT_TEXT, s->out.p + from, s->out.n - from, e));
    return lar_task_progress(t, p->text.n ? (double)s->at / (double)p->text.n : 1, "translate", e);
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    bool bad = false;
    LAR_TRY(gather(t, e));
    LAR_TRY(translate_all(t, e));
    LAR_TRY(deliver(t, e));
    *done = s->at >= p->text.n;
    if (!*done)
        return LAR_OK;
    if (s->cut)
        LAR_TRY(lar_task_notice(t, e, "%lld sentences were cut: their translations did not end",
                                (long long)s->cut));
    json_t *o = json_object();
    lar_json_put(o, "text", lar_json_text(s->out.p ? s->out.p : "", s->out.n), &bad);
    lar_json_put(o, "lines", json_integer(s->lines), &bad);
    lar_json_put(o, "sentences", json_integer(s->sentences), &bad);
    lar_json_put(o, "words", json_integer(s->words), &bad);
    return lar_task_built(t, o, bad, e);
}

static void finish(lar_task *t)
{
    state *s = t->state;
    lar_translator_free(s->tr);
    lar_buf_free(&s->out);
    lar_ids_free(&s->ids);
    lar_free(s->pieces);
    lar_free(s->target);
}

extern const lar_task_def lar_task_def_translate;
const lar_task_def lar_task_def_translate = {
    .name = "translate",
    .verb = "translate",
    .route = "/translate",
    .help = "Translate text into another language",
    .needs = LAR_NEEDS_MODEL,
    .fields = fields,
    .n_fields = LAR_LEN(fields),
    .params_size = sizeof(params),
    .state_size = sizeof(state),
    .start = start,
    .step = step,
    .finish = finish,
};
