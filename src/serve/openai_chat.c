/* openai_chat.c - /v1/chat/completions, whole and streamed. */
#include "serve/openai.h"
#include "serve/tools.h"
#include <stdio.h>
#include <string.h>

/* One of the n answers, as it comes. */
typedef struct turn {
    serve_completion *k;
    int64_t index;
    bool begun;       /* its first chunk, with the role, was sent */
    json_t *logprobs; /* of tokens whose text has not been sent */
    lar_buf text, thinking;
    serve_tools tools;
    json_t *calls; /* whole, where nothing is streamed */
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

/* ---- tools
 * --------------------------------------------------------------------------------------- */

static json_t *call_of(const turn *t, const char *p, size_t n)
{
    char id[48];
    snprintf(id, sizeof id, "call_%llx_%lld_%d", (unsigned long long)serve_id(t->k->c),
             (long long)t->index, t->tools.calls);
    return json_pack("{s:s,s:s,s:{s:s%,s:s}}", "id", id, "type", "function", "function", "name", p,
                     n, "arguments", "");
}

/* An answer's call as streams have it. */
static void send_call(turn *t, json_t *call)
{
    json_object_set_new(call, "index", json_integer(t->tools.calls - 1));
    send_delta(t, json_pack("{s:[o]}", "tool_calls", call), NULL);
}

static void add_arguments(turn *t, const char *p, size_t n)
{
    json_t *call = json_array_get(t->calls, json_array_size(t->calls) - 1),
           *fn = json_object_get(call, "function");
    const char *old = json_string_value(json_object_get(fn, "arguments"));
    json_object_set_new(fn, "arguments", json_sprintf("%s%.*s", old ? old : "", (int)n, p));
}

static void on_piece(serve_tool_event kind, const char *p, size_t n, void *user)
{
    turn *t = user;
    if (t->k->stream)
        begin(t);
    if (kind == SERVE_TOOL_TEXT && t->k->stream)
        send_delta(t, json_pack("{s:s%}", "content", p, n), NULL);
    else if (kind == SERVE_TOOL_TEXT)
        lar_buf_add(&t->text, p, n);
    else if (kind == SERVE_TOOL_NAME && t->k->stream)
        send_call(t, call_of(t, p, n));
    else if (kind == SERVE_TOOL_NAME)
        json_array_append_new(t->calls, call_of(t, p, n));
    else if (t->k->stream)
        send_call(t, json_pack("{s:{s:s%}}", "function", "arguments", p, n));
    else
        add_arguments(t, p, n);
}

/* ---- events
 * --------------------------------------------------------------------------------------- */

/* {"id", "text", "bytes", "logprob", "top"} as this API has it. */
static json_t *logprob_of(const json_t *entry)
{
    const json_t *top = json_object_get(entry, "top");
    json_t *o =
        json_pack("{s:O,s:O,s:O}", "token", json_object_get(entry, "text"), "logprob",
                  json_object_get(entry, "logprob"), "bytes", json_object_get(entry, "bytes"));
    if (top && o) {
        json_t *list = json_array(), *v;
        size_t i;
        json_array_foreach((json_t *)top, i, v) json_array_append_new(list, logprob_of(v));
        json_object_set_new(o, "top_logprobs", list);
    }
    return o;
}

static int on_event(const lar_event *ev, void *user)
{
    turn *t = user;
    size_t n;
    const char *text = lar_event_get_text(ev, &n);
    switch ((int)lar_event_get_kind(ev)) {
    case LAR_EVENT_TEXT:
        serve_tools_put(&t->tools, text, n);
        break;
    case LAR_EVENT_THINKING:
        if (!t->k->stream) {
            lar_buf_add(&t->thinking, text, n);
            break;
        }
        begin(t);
        send_delta(t, json_pack("{s:s%}", "reasoning_content", text, n), NULL);
        break;
    case LAR_EVENT_TOKEN: {
        json_t *entry = json_loads(lar_event_get_json(ev), 0, NULL);
        if (!t->logprobs)
            t->logprobs = json_array();
        json_array_append_new(t->logprobs, logprob_of(entry));
        json_decref(entry);
        break;
    }
    }
    return 0;
}

static const char *finish_of(const turn *t, const json_t *result)
{
    return t->tools.calls ? "tool_calls" : serve_finish_reason(result);
}

static json_t *choice_of(turn *t, const json_t *result)
{
    json_t *message = json_pack("{s:s,s:s%}", "role", "assistant", "content",
                                t->text.p ? t->text.p : "", t->text.n);
    if (t->thinking.n)
        json_object_set_new(message, "reasoning_content",
                            json_stringn(t->thinking.p, t->thinking.n));
    if (t->tools.calls) {
        json_object_set(message, "tool_calls", t->calls);
        if (!t->text.n)
            json_object_set_new(message, "content", json_null());
    }
    json_t *choice = json_pack("{s:I,s:o,s:s}", "index", (json_int_t)t->index, "message", message,
                               "finish_reason", finish_of(t, result));
    json_object_set_new(choice, "logprobs",
                        t->logprobs ? json_pack("{s:O}", "content", t->logprobs) : json_null());
    return choice;
}

/* One answer; its choice where nothing is streamed. False: the call has been answered. */
static bool answer_one(serve_completion *k, int64_t i, json_t *choices)
{
    turn t = {.k = k, .index = i, .calls = json_array()};
    lar_err e = {0};
    json_t *result;
    serve_tools_init(&t.tools, json_object_get(k->fields, "tools"), on_piece, &t);
    serve_completion_seed(k, i);
    const lar_status st = serve_generate(k->c, &k->model, k->fields, on_event, &t, &result, &e);
    serve_tools_end(&t.tools);
    if (st != LAR_OK) {
        serve_fail_lar(k->c, "messages", &e);
    } else if (k->stream) {
        begin(&t);
        send_delta(&t, json_object(), finish_of(&t, result));
    } else {
        json_array_append_new(choices, choice_of(&t, result));
    }
    if (st == LAR_OK)
        serve_completion_count(k, result);
    json_decref(result);
    json_decref(t.logprobs);
    json_decref(t.calls);
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
    serve_completion_finish(k, "chat.completion", "chat.completion.chunk", choices);
}

/* ---- the request
 * ------------------------------------------------------------------------------------ */

/* "none" takes the tools away; one that must be called is not promised yet. */
static bool read_tools(serve_completion *k)
{
    json_t *tools = json_object_get(k->body, "tools");
    const json_t *choice = json_object_get(k->body, "tool_choice");
    const char *word = json_string_value(choice);
    if (!tools || json_is_null(tools) || (word && strcmp(word, "none") == 0))
        return true;
    if (!json_is_array(tools)) {
        serve_fail(k->c, 400, "invalid_request_error", "tools", "tools: want an array");
        return false;
    }
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *fn = json_object_get(json_array_get(tools, i), "function");
        if (!json_is_string(json_object_get(fn, "name"))) {
            serve_fail(k->c, 400, "invalid_request_error", "tools",
                       "tools[%zu]: want {\"type\": \"function\", \"function\": {\"name\", ...}}",
                       i);
            return false;
        }
    }
    if (choice && !json_is_null(choice) && !word && !json_is_object(choice)) {
        serve_fail(k->c, 400, "invalid_request_error", "tool_choice",
                   "tool_choice: want \"auto\", \"none\", \"required\" or a function");
        return false;
    }
    if (json_array_size(tools)) {
        json_object_set(k->fields, "tools", tools);
        json_object_set_new(k->fields, "special", json_true()); /* marks of calls may be tokens */
    }
    return true;
}

static bool read_format(serve_completion *k)
{
    char name[64];
    const json_t *f = json_object_get(k->body, "response_format");
    const char *type = json_string_value(json_object_get(f, "type"));
    if (!f || json_is_null(f) || (type && strcmp(type, "text") == 0))
        return true;
    json_t *schema = json_object_get(json_object_get(f, "json_schema"), "schema");
    const bool any = type && strcmp(type, "json_object") == 0;
    if (!any && !(type && strcmp(type, "json_schema") == 0 && schema)) {
        serve_fail(
            k->c, 400, "invalid_request_error", "response_format",
            "response_format: want {\"type\": \"text\"}, \"json_object\", or \"json_schema\" "
            "with json_schema.schema");
        return false;
    }
    if (!serve_field("generate", any ? "json-object" : "json-schema", name)) {
        serve_fail(k->c, 400, "invalid_request_error", "response_format",
                   "response_format: this version cannot keep answers to it");
        return false;
    }
    json_object_set(k->fields, name, any ? json_true() : schema);
    return true;
}

static bool read_logprobs(serve_completion *k)
{
    bool want = false;
    int64_t top = 0;
    if (!serve_get_bool(k->c, k->body, "logprobs", &want) ||
        !serve_get_int(k->c, k->body, "top_logprobs", 0, SERVE_TOP_MOST, &top))
        return false;
    if (want)
        json_object_set_new(k->fields, "logprobs", json_integer(top));
    return true;
}

void serve_openai_chat(serve_call *c)
{
    serve_completion k = {.prefix = "chatcmpl"};
    if (serve_completion_begin(&k, c) && read_logprobs(&k) && read_tools(&k) && read_format(&k)) {
        json_t *messages = serve_messages(c, json_object_get(k.body, "messages"));
        if (messages)
            json_object_set_new(k.fields, "messages", messages);
        if (messages && serve_model_take(c, k.model_name, &k.model))
            answer_all(&k);
    }
    serve_completion_end(&k);
}
