/*
 * openai_text.c - /v1/completions: text goes on, without a template. With echo and logprobs it says
 * what the model thinks of the prompt itself, as tools that evaluate models want.
 */
#include "serve/openai.h"
#include <stdio.h>
#include <string.h>

enum { PROMPTS_MOST = 64 };

typedef struct text {
    serve_completion k;
    bool echo;
    int64_t top; /* -1: no log-probabilities */
    int64_t index;
    lar_buf out;
    json_t *probs; /* tokens that have not been sent */
} text;

/* {"tokens", "token_logprobs", "top_logprobs", "text_offset"} of tokens in the library's form. */
static json_t *logprobs_of(const json_t *entries, size_t *offset)
{
    json_t *tokens = json_array(), *probs = json_array(), *tops = json_array(),
           *offsets = json_array(), *v, *t;
    size_t i, k;
    json_array_foreach((json_t *)entries, i, v)
    {
        json_t *word = json_object_get(v, "text"), *prob = json_object_get(v, "logprob"),
               *top = json_is_null(prob) ? json_null() : json_object();
        json_array_foreach(
            json_object_get(v, "top"), k,
            t) if (!json_object_get(top, json_string_value(json_object_get(t, "text"))))
            json_object_set(top, json_string_value(json_object_get(t, "text")),
                            json_object_get(t, "logprob"));
        if (json_is_object(top) && !json_object_get(top, json_string_value(word)))
            json_object_set(top, json_string_value(word), prob);
        json_array_append(tokens, word);
        json_array_append(probs, prob);
        json_array_append_new(tops, top);
        json_array_append_new(offsets, json_integer((json_int_t)*offset));
        *offset += json_string_length(word);
    }
    return json_pack("{s:o,s:o,s:o,s:o}", "tokens", tokens, "token_logprobs", probs, "top_logprobs",
                     tops, "text_offset", offsets);
}

static json_t *choice_of(const text *t, const char *p, size_t n, json_t *probs, const char *finish)
{
    return json_pack("{s:I,s:s%,s:o,s:s?}", "index", (json_int_t)t->index, "text", p ? p : "", n,
                     "logprobs", probs ? probs : json_null(), "finish_reason", finish);
}

static void send(text *t, const char *p, size_t n, const char *finish)
{
    size_t offset = 0;
    json_t *probs = t->probs ? logprobs_of(t->probs, &offset) : NULL;
    json_decref(t->probs);
    t->probs = NULL;
    serve_stream(t->k.c, "text/event-stream");
    json_t *chunk = serve_completion_frame(&t->k, "text_completion",
                                           json_pack("[o]", choice_of(t, p, n, probs, finish)));
    serve_put_event(t->k.c, NULL, chunk);
}

static int on_event(const lar_event *ev, void *user)
{
    text *t = user;
    size_t n;
    const char *p = lar_event_get_text(ev, &n);
    const lar_event_kind kind = lar_event_get_kind(ev);
    if (kind == LAR_EVENT_TEXT && t->k.stream) {
        send(t, p, n, NULL);
    } else if (kind == LAR_EVENT_TEXT) {
        lar_buf_add(&t->out, p, n);
    } else if (kind == LAR_EVENT_TOKEN && t->k.stream) {
        if (!t->probs)
            t->probs = json_array();
        json_array_append_new(t->probs, json_loads(lar_event_get_json(ev), 0, NULL));
    }
    return 0;
}

/* The prompt's text where it shall be repeated. */
static bool echo_prompt(text *t, const json_t *prompt)
{
    lar_err e = {0};
    json_t *ids = json_pack("{s:O}", "ids", prompt), *result = NULL;
    if (json_is_string(prompt)) {
        lar_buf_add(&t->out, json_string_value(prompt), json_string_length(prompt));
    } else if (serve_task(t->k.c, &t->k.model, "detokenize", ids, &result, &e) == LAR_OK) {
        const json_t *s = json_object_get(result, "text");
        lar_buf_add(&t->out, json_string_value(s), json_string_length(s));
    }
    json_decref(ids);
    json_decref(result);
    return !t->out.oom;
}

static json_t *probs_of(const text *t, const json_t *result)
{
    json_t *all = json_array();
    size_t offset = 0;
    if (t->echo)
        json_array_extend(all, json_object_get(result, "prompt_logprobs"));
    json_array_extend(all, json_object_get(result, "logprobs"));
    json_t *out = t->top >= 0 ? logprobs_of(all, &offset) : NULL;
    json_decref(all);
    return out;
}

static bool answer_one(text *t, const json_t *prompt, json_t *choices)
{
    lar_err e = {0};
    json_t *result;
    lar_buf_clear(&t->out);
    if (t->echo && echo_prompt(t, prompt) && t->k.stream)
        send(t, t->out.p, t->out.n, NULL);
    const lar_status st =
        serve_generate(t->k.c, &t->k.model, t->k.fields, on_event, t, &result, &e);
    if (st != LAR_OK) {
        serve_fail_lar(t->k.c, "prompt", &e);
        return false;
    }
    serve_completion_count(&t->k, result);
    const char *why = serve_finish_reason(result);
    if (t->k.stream)
        send(t, "", 0, why);
    else
        json_array_append_new(choices, choice_of(t, t->out.p, t->out.n, probs_of(t, result), why));
    json_decref(result);
    return true;
}

static bool answer_prompt(text *t, const json_t *prompt, json_t *choices)
{
    json_object_del(t->k.fields, "prompt");
    json_object_del(t->k.fields, "ids");
    json_object_set(t->k.fields, json_is_string(prompt) ? "prompt" : "ids", (json_t *)prompt);
    for (int64_t i = 0; i < t->k.n; i++, t->index++) {
        serve_completion_seed(&t->k, i);
        if (!answer_one(t, prompt, choices))
            return false;
    }
    return true;
}

/* A text, ids, or several of either: as an array of them. */
static json_t *prompts_of(serve_call *c, const json_t *v)
{
    const json_t *first = json_array_get(v, 0);
    if (json_is_string(v) || json_is_integer(first))
        return json_pack("[O]", v);
    bool good = json_is_array(v) && json_array_size(v) >= 1 && json_array_size(v) <= PROMPTS_MOST;
    for (size_t i = 0; good && i < json_array_size(v); i++)
        good = json_is_string(json_array_get(v, i)) || json_is_array(json_array_get(v, i));
    if (good)
        return json_incref((json_t *)v);
    serve_fail(c, 400, "invalid_request_error", "prompt",
               "prompt: want a string, an array of token ids, or an array of at most %d of either",
               PROMPTS_MOST);
    return NULL;
}

static bool read_own(text *t)
{
    const json_t *body = t->k.body;
    t->top = -1;
    if (!serve_get_bool(t->k.c, body, "echo", &t->echo) ||
        !serve_get_int(t->k.c, body, "logprobs", 0, SERVE_TOP_MOST, &t->top))
        return false;
    json_object_set_new(t->k.fields, "raw", json_true());
    if (!json_object_get(t->k.fields, "max-tokens"))
        json_object_set_new(t->k.fields, "max-tokens", json_integer(16)); /* as the API says */
    if (t->top >= 0)
        json_object_set_new(t->k.fields, "logprobs", json_integer(t->top));
    if (t->top >= 0 && t->echo)
        json_object_set_new(t->k.fields, "prompt-logprobs", json_true());
    return true;
}

void serve_openai_completions(serve_call *c)
{
    text t = {.k = {.prefix = "cmpl"}};
    if (serve_completion_begin(&t.k, c) && read_own(&t)) {
        json_t *prompts = prompts_of(c, json_object_get(t.k.body, "prompt")),
               *choices = json_array();
        bool good = prompts && serve_model_take(c, t.k.model_name, &t.k.model);
        for (size_t i = 0; good && i < json_array_size(prompts); i++)
            good = answer_prompt(&t, json_array_get(prompts, i), choices);
        if (good)
            serve_completion_finish(&t.k, "text_completion", "text_completion",
                                    json_incref(choices));
        json_decref(prompts);
        json_decref(choices);
    }
    serve_completion_end(&t.k);
    json_decref(t.probs);
    lar_buf_free(&t.out);
}
