/* detokenize.c - the task `detokenize`: token ids to text. Depends on json.h and the tokenizer. */
#include "tasks/json.h"
#include "tasks/task.h"

typedef struct params {
    json_t *ids;
    bool special;
} params;

static const lar_field fields[] = {
    {.name = "ids",
     .alias = "tokens",
     .type = LAR_FIELD_JSON,
     .offset = offsetof(params, ids),
     .unit = "JSON",
     .help = "An array of token ids"},
    {.name = "special",
     .type = LAR_FIELD_BOOL,
     .offset = offsetof(params, special),
     .def = 1,
     .help = "Show control tokens"},
};

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    return json_is_array(p->ids) ? LAR_OK
                                 : lar_fail(e, LAR_EARG, "ids: want an array of token ids");
}

static lar_status read_ids(lar_task *t, lar_buf *out, lar_err *e)
{
    const params *p = t->params;
    const lar_tokenizer *tok = t->model->vocab.tok;
    const size_t size = lar_tokenizer_size(tok);
    lar_detok d;
    json_t *v;
    size_t i;
    lar_detok_init(&d, tok, p->special);
    json_array_foreach(p->ids, i, v)
    {
        const json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || (size_t)id >= size)
            return lar_fail(e, LAR_EARG, "ids[%zu]: want a token id, 0 to %zu", i, size - 1);
        lar_detok_put(&d, (int32_t)id, out);
    }
    lar_detok_end(&d, out);
    return LAR_OK;
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    lar_buf b = {0};
    bool bad = false;
    json_t *r = NULL;
    const lar_status st = read_ids(t, &b, e);
    if (st == LAR_OK) {
        r = json_object();
        lar_json_put(r, "text", b.oom ? NULL : lar_json_text(b.p ? b.p : "", b.n), &bad);
    }
    lar_buf_free(&b);
    *done = true;
    return st == LAR_OK ? lar_task_built(t, r, bad, e) : st;
}

static void finish(lar_task *t)
{
    (void)t;
}

extern const lar_task_def lar_task_def_detokenize;
const lar_task_def lar_task_def_detokenize = {.name = "detokenize",
                                              .help = "Token ids to text",
                                              .needs = LAR_NEEDS_VOCAB,
                                              .fields = fields,
                                              .n_fields = LAR_LEN(fields),
                                              .params_size = sizeof(params),
                                              .state_size = 1,
                                              .start = start,
                                              .step = step,
                                              .finish = finish};
