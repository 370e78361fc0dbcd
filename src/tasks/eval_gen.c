/* eval_gen.c - an answer to a conversation, its reasoning apart. Greedy or sampled by seed: the
 * same settings give the same text. */
#include "infer/prefix.h"
#include "infer/sampler.h"
#include "tasks/chat_prompt.h"
#include "tasks/eval.h"
#include "tasks/json.h"
#include <string.h>

void lar__eval_answered_free(lar_eval_answered *a)
{
    lar_buf_free(&a->text);
    lar_buf_free(&a->thinking);
    *a = (lar_eval_answered){0};
}

static bool ends_with(const lar_buf *b, const char *tag)
{
    size_t n = b->n;
    while (n && (b->p[n - 1] == '\n' || b->p[n - 1] == ' '))
        n--;
    return n >= strlen(tag) && memcmp(b->p + n - strlen(tag), tag, strlen(tag)) == 0;
}

/* Whether the template has opened a reasoning block at the prompt's end. */
static bool opens_thinking(const lar_tokenizer *tok, const lar_ids *ids)
{
    lar_detok d;
    lar_buf b = {0};
    lar_detok_init(&d, tok, true);
    for (size_t i = ids->n > 16 ? ids->n - 16 : 0; i < ids->n; i++)
        lar_detok_put(&d, ids->p[i], &b);
    const bool open = b.p && ends_with(&b, "<think>");
    lar_buf_free(&b);
    return open;
}

static const char *find(const char *p, size_t n, const char *tag)
{
    const size_t m = strlen(tag);
    for (size_t i = 0; i + m <= n; i++)
        if (memcmp(p + i, tag, m) == 0)
            return p + i;
    return NULL;
}

/* A block that is not closed is all reasoning: there is no answer. */
static void split(const lar_buf *said, bool open, lar_eval_answered *out)
{
    const char *p = said->p ? said->p : "", *end = p + said->n, *from = p;
    while (from < end && (*from == ' ' || *from == '\n'))
        from++;
    if (!open && (size_t)(end - from) >= 7 && memcmp(from, "<think>", 7) == 0) {
        open = true;
        from += 7;
    }
    if (!open) {
        lar_buf_add(&out->text, p, said->n);
        return;
    }
    const char *close = find(from, (size_t)(end - from), "</think>");
    lar_buf_add(&out->thinking, from, (size_t)((close ? close : end) - from));
    for (from = close ? close + 8 : end; from < end && (*from == ' ' || *from == '\n');)
        from++;
    lar_buf_add(&out->text, from, (size_t)(end - from));
}

typedef struct writer {
    lar_task *t;
    const lar_eval_llm *llm;
    const lar_eval_sampling *p;
    lar_ids prompt;
    lar_sampler *sampler;
    const float *logits;
    lar_detok detok;
    lar_buf said;
} writer;

static lar_status prompt_ids(writer *w, const json_t *messages, lar_err *e)
{
    bool bad = false;
    json_t *vars = json_object();
    lar_json_put(vars, "messages", json_incref((json_t *)(uintptr_t)messages), &bad);
    /* A fixed date, where a template prints one: the same prompt every day. */
    const lar_status s = bad ? lar_fail(e, LAR_ENOMEM, "prompt: out of memory")
                             : lar_chat_tokens_at(w->llm->model, vars, w->p->vars, true, 1735689600,
                                                  &w->prompt, NULL, e);
    json_decref(vars);
    return s;
}

static lar_status eval_prompt(writer *w, lar_err *e)
{
    const int batch = lar_engine_batch(w->llm->engine), n = (int)w->prompt.n;
    lar_step s = {.seq = w->llm->seq};
    for (int i = lar_seq_prefix(s.seq, w->prompt.p, n - 1); i < n; i += s.n) {
        if (lar_task_cancelled(w->t))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        s.tokens = w->prompt.p + i;
        s.n = LAR_MIN(batch, n - i);
        LAR_TRY(lar_engine_step(w->llm->engine, &s, 1, e));
    }
    w->logits = s.logits;
    return LAR_OK;
}

static lar_status make_sampler(writer *w, lar_err *e)
{
    lar_sampler_params sp;
    lar_sampler_defaults(&sp);
    sp.seed = w->p->seed;
    sp.temp = (float)w->p->temp;
    sp.top_k = w->p->top_k;
    sp.top_p = (float)w->p->top_p;
    sp.min_p = (float)w->p->min_p;
    return lar_sampler_new(&sp, w->llm->model->net->hp.n_vocab, &w->sampler, e);
}

static lar_status write_tokens(writer *w, lar_eval_answered *out, lar_err *e)
{
    const lar_tokenizer *tok = w->llm->model->vocab.tok;
    lar_seq *q = w->llm->seq;
    const int ctx = lar_engine_ctx(w->llm->engine);
    for (;;) {
        int32_t id;
        if (lar_task_cancelled(w->t))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        LAR_TRY(lar_sampler_pick(w->sampler, w->logits, lar_seq_tokens(q),
                                 (size_t)lar_seq_length(q), w->prompt.n + (size_t)out->tokens, NULL,
                                 &id, e));
        if (lar_tokenizer_is_end(tok, id))
            return LAR_OK;
        lar_detok_put(&w->detok, id, &w->said);
        out->tokens++;
        out->truncated = out->tokens == w->p->max_tokens || lar_seq_length(q) == ctx;
        if (out->truncated)
            return LAR_OK;
        lar_step s = {.seq = q, .tokens = &id, .n = 1};
        LAR_TRY(lar_engine_step(w->llm->engine, &s, 1, e));
        w->logits = s.logits;
    }
}

static lar_status answer(writer *w, const json_t *messages, lar_eval_answered *out, lar_err *e)
{
    const lar_tokenizer *tok = w->llm->model->vocab.tok;
    LAR_TRY(prompt_ids(w, messages, e));
    if (!w->prompt.n)
        return lar_fail(e, LAR_EFORMAT, "the prompt has no tokens");
    if (w->prompt.n > (size_t)lar_engine_ctx(w->llm->engine)) {
        out->truncated = true; /* no room for an answer: none */
        return LAR_OK;
    }
    LAR_TRY(make_sampler(w, e));
    LAR_TRY(eval_prompt(w, e));
    lar_detok_init(&w->detok, tok, false);
    LAR_TRY(write_tokens(w, out, e));
    lar_detok_end(&w->detok, &w->said);
    split(&w->said, opens_thinking(tok, &w->prompt), out);
    if (w->said.oom || out->text.oom || out->thinking.oom)
        return lar_fail(e, LAR_ENOMEM, "answer: out of memory");
    return LAR_OK;
}

lar_status lar__eval_generate(lar_task *t, const lar_eval_llm *llm, const json_t *messages,
                              const lar_eval_sampling *p, lar_eval_answered *out, lar_err *e)
{
    writer w = {.t = t, .llm = llm, .p = p};
    *out = (lar_eval_answered){0};
    const lar_status s = answer(&w, messages, out, e);
    lar_ids_free(&w.prompt);
    lar_sampler_free(w.sampler);
    lar_buf_free(&w.said);
    if (s != LAR_OK)
        lar__eval_answered_free(out);
    return s;
}
