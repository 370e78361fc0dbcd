/* openai_chat.c - /v1/chat/completions, whole and streamed. */
#include "serve/openai.h"
#include <stdio.h>
#include <string.h>

/* One of the n answers, as it comes. */
typedef struct turn {
    serve_completion *k;
    int64_t index;
    bool begun;       /* its first chunk, with the role, was sent */
    json_t *logprobs; /* of tokens whose text has not been sent */
    lar_buf text, thinking;
} turn;

static void send_delta(turn *t, json_t *delta, const char *finish)
{
    serve_completion *k = t->k;
    serve_stream(k->c, "text/event-stream");
    json_t *choice = json_pack("{s:I,s:o,s:s?}", "index", (json_int_t)t->index, "delta", delta,
                               "finish_reason", finish);
    json_object_set_new(choice, "logprobs",
                        t->logprobs ? json_pack("{s:o}", "content", t->logprobs) : json_null());
    t->logprobs = NULL;
    json_t *chunk = serve_completion_frame(k, "chat.completion.chunk", json_pack("[o]", choice));
    if (k->include_usage)
        json_object_set_new(chunk, "usage", json_null());
    serve_put_event(k->c, NULL, chunk);
}

static void begin(turn *t)
{
    if (t->begun)
        return;
    t->begun = true;
    send_delta(t, json_pack("{s:s,s:s}", "role", "assistant", "content", ""), NULL);
}

static int on_event(const lar_event *ev, void *user)
{
    turn *t = user;
    size_t n;
    const char *text = lar_event_get_text(ev, &n);
    const lar_event_kind kind = lar_event_get_kind(ev);
    if (kind != LAR_EVENT_TEXT && kind != LAR_EVENT_THINKING)
        return 0;
    if (!t->k->stream) {
        lar_buf_add(kind == LAR_EVENT_TEXT ? &t->text : &t->thinking, text, n);
        return 0;
    }
    begin(t);
    send_delta(
        t, json_pack("{s:s%}", kind == LAR_EVENT_TEXT ? "content" : "reasoning_content", text, n),
        NULL);
    return 0;
}

static json_t *choice_of(turn *t, const json_t *result)
{
    json_t *message = json_pack("{s:s,s:s%}", "role", "assistant", "content",
                                t->text.p ? t->text.p : "", t->text.n);
    if (t->thinking.n)
        json_object_set_new(message, "reasoning_content",
                            json_stringn(t->thinking.p, t->thinking.n));
    json_t *choice = json_pack("{s:I,s:o,s:s}", "index", (json_int_t)t->index, "message", message,
                               "finish_reason", serve_finish_reason(result));
    json_object_set_new(choice, "logprobs", json_null());
    return choice;
}

/* One answer; its choice where nothing is streamed. False: the call has been answered. */
static bool answer_one(serve_completion *k, int64_t i, json_t *choices)
{
    turn t = {.k = k, .index = i};
    lar_err e = {0};
    json_t *result;
    serve_completion_seed(k, i);
    const lar_status st = serve_generate(k->c, &k->model, k->fields, on_event, &t, &result, &e);
    if (st != LAR_OK) {
        serve_fail_lar(k->c, "messages", &e);
    } else if (k->stream) {
        begin(&t);
        send_delta(&t, json_object(), serve_finish_reason(result));
    } else {
        json_array_append_new(choices, choice_of(&t, result));
    }
    if (st == LAR_OK)
        serve_completion_count(k, result);
    json_decref(result);
    json_decref(t.logprobs);
    lar_buf_free(&t.text);
    lar_buf_free(&t.thinking);
    return st == LAR_OK;
}

static void answer_all(serve_completion *k)
{
    json_t *choices = json_array();
    for (int64_t i = 0; i < k->n; i++)
        if (!answer_one(k, i, choices)) {
            json_decref(choices);
            return;
        }
    if (!k->stream) {
        json_t *reply = serve_completion_frame(k, "chat.completion", choices);
        json_object_set_new(reply, "usage", serve_completion_usage(k));
        serve_reply_json(k->c, 200, reply);
        return;
    }
    if (k->include_usage) {
        json_t *last = serve_completion_frame(k, "chat.completion.chunk", choices);
        json_object_set_new(last, "usage", serve_completion_usage(k));
        serve_put_event(k->c, NULL, last);
    } else {
        json_decref(choices);
    }
    serve_put(k->c, "data: [DONE]\n\n", 14);
}

void serve_openai_chat(serve_call *c)
{
    serve_completion k = {.prefix = "chatcmpl"};
    if (serve_completion_begin(&k, c, "")) {
        json_t *messages = serve_messages(c, json_object_get(k.body, "messages"));
        if (messages)
            json_object_set_new(k.fields, "messages", messages);
        if (messages && serve_model_take(c, k.model_name, &k.model))
            answer_all(&k);
    }
    serve_completion_end(&k);
}
