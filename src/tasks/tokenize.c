/* tokenize.c - the task `tokenize`: text to token ids, as the model's file says. Depends on json.h
 * and the tokenizer. */
#include "tasks/json.h"
#include "tasks/task.h"

typedef struct params {
    lar_str text;
    bool no_bos, special, pieces;
} params;

static const lar_field fields[] = {
    {.name = "text",
     .alias = "prompt|content",
     .letter = 'p',
     .type = LAR_FIELD_BYTES,
     .offset = offsetof(params, text),
     .def_str = "",
     .unit = "TEXT",
     .help = "Text to tokenize"},
    {.name = "no-bos",
     .type = LAR_FIELD_BOOL,
     .offset = offsetof(params, no_bos),
     .help = "Add no token for the beginning or end of the text, whatever the file says"},
    {.name = "special",
     .alias = "parse-special",
     .type = LAR_FIELD_BOOL,
     .offset = offsetof(params, special),
     .help = "Let the text name control tokens, such as <|im_end|>"},
    {.name = "pieces",
     .alias = "with-pieces",
     .type = LAR_FIELD_BOOL,
     .offset = offsetof(params, pieces),
     .help = "Show each token's text too"},
};

static lar_status start(lar_task *t, lar_err *e)
{
    (void)t;
    (void)e;
    return LAR_OK;
}

/* The text of one token by itself; what is not whole UTF-8 shows as U+FFFD. */
static json_t *piece(const lar_tokenizer *tok, int32_t id, lar_buf *b)
{
    lar_detok d;
    lar_buf_clear(b);
    lar_detok_init(&d, tok, true);
    d.started = true; /* a leading space belongs to the piece */
    lar_detok_put(&d, id, b);
    lar_detok_end(&d, b);
    return b->oom ? NULL : lar_json_text(b->p, b->n);
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    const params *p = t->params;
    const lar_tokenizer *tok = t->model->vocab.tok;
    int flags = (p->no_bos ? 0 : LAR_TOK_BOS) | (p->special ? LAR_TOK_SPECIAL : 0);
    lar_ids ids = {0};
    lar_buf b = {0};
    json_t *o = NULL;
    bool bad = false;
    lar_status s = lar_tokenizer_encode(tok, p->text.p ? p->text.p : "", p->text.n, flags, &ids, e);
    if (s != LAR_OK)
        goto out;
    o = json_object();
    json_t *tokens = json_array(), *pieces = p->pieces ? json_array() : NULL;
    for (size_t i = 0; i < ids.n && !bad; i++) {
        lar_json_push(tokens, json_integer(ids.p[i]), &bad);
        if (pieces)
            lar_json_push(pieces, piece(tok, ids.p[i], &b), &bad);
    }
    lar_json_put(o, "tokens", tokens, &bad);
    if (p->pieces)
        lar_json_put(o, "pieces", pieces, &bad);
    *done = true;
    if (bad) {
        s = lar_fail(e, LAR_ENOMEM, "out of memory for %zu tokens", ids.n);
        goto out;
    }
    s = lar_task_result(t, o, e);
    o = NULL;
out:
    json_decref(o);
    lar_ids_free(&ids);
    lar_buf_free(&b);
    return s;
}

static void finish(lar_task *t)
{
    (void)t;
}

extern const lar_task_def lar_task_def_tokenize;
const lar_task_def lar_task_def_tokenize = {
    .name = "tokenize",
    .verb = "tokenize",
    .route = "/tokenize",
    .help = "Show the token ids that a model reads a text as",
    .positional = "text",
    .needs = LAR_NEEDS_VOCAB,
    .fields = fields,
    .n_fields = LAR_LEN(fields),
    .params_size = sizeof(params),
    .start = start,
    .step = step,
    .finish = finish,
};
