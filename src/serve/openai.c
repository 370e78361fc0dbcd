/*
 * openai.c - the front of OpenAI's API: its routes, its errors, and what completions of both kinds
 * share. The conversation is in openai_chat.c, plain completions in openai_text.c.
 */
#include "serve/openai.h"
#include "base/os.h"
#include <stdio.h>
#include <string.h>

json_t *serve_openai_error(int status, const char *kind, const char *param, const char *message)
{
    const bool code =
        strcmp(kind, "model_not_found") == 0 || strcmp(kind, "context_length_exceeded") == 0;
    (void)status;
    return json_pack("{s:{s:s,s:s,s:s?,s:s?}}", "error", "message", message, "type",
                     code ? "invalid_request_error" : kind, "param", param, "code",
                     code ? kind : NULL);
}

/* ---- what completions share
 * ------------------------------------------------------------------------ */

static bool read_options(serve_completion *k)
{
    const json_t *o = json_object_get(k->body, "stream_options");
    if (o && !json_is_null(o) && !json_is_object(o)) {
        serve_fail(k->c, 400, "invalid_request_error", "stream_options",
                   "stream_options: want an object");
        return false;
    }
    return serve_get_text(k->c, k->body, "model", &k->model_name) &&
           serve_get_bool(k->c, k->body, "stream", &k->stream) &&
           serve_get_bool(k->c, o, "include_usage", &k->include_usage) &&
           serve_get_int(k->c, k->body, "n", 1, SERVE_N_MOST, &k->n);
}

static bool read_limits(serve_completion *k)
{
    int64_t most = -1, seed = -1;
    json_t *stop;
    if (!serve_get_int(k->c, k->body, "max_tokens", 0, 1 << 28, &most) ||
        !serve_get_int(k->c, k->body, "max_completion_tokens", 0, 1 << 28, &most) ||
        !serve_get_int(k->c, k->body, "seed", -(1ll << 53), 1ll << 53, &seed) ||
        !serve_get_texts(k->c, k->body, "stop", SERVE_STOPS_MOST, &stop))
        return false;
    if (most >= 0)
        json_object_set_new(k->fields, "max-tokens", json_integer(most));
    if (json_is_integer(json_object_get(k->body, "seed")))
        json_object_set_new(k->fields, "seed", json_integer(seed & ((1ll << 52) - 1)));
    if (stop)
        json_object_set_new(k->fields, "stop", stop);
    return true;
}

bool serve_completion_begin(serve_completion *k, serve_call *c)
{
    k->c = c;
    k->n = 1;
    k->created = (json_int_t)(lar_time() / 1000000000);
    snprintf(k->id, sizeof k->id, "%s-%llx%llx", k->prefix, (unsigned long long)k->created,
             (unsigned long long)serve_id(c));
    if (!(k->body = serve_body(c)))
        return false;
    if (!(k->fields = json_object())) {
        serve_fail(c, 503, "server_error", NULL, "out of memory");
        return false;
    }
    return read_options(k) && read_limits(k) &&
           serve_take_fields(c, k->body,
                             "max_tokens|max_completion_tokens|n_predict|seed|stop|n|echo",
                             k->fields);
}

void serve_completion_end(serve_completion *k)
{
    if (k->model.entry)
        serve_model_give(k->c, &k->model);
    json_decref(k->fields);
}

void serve_completion_seed(serve_completion *k, int64_t i)
{
    const json_t *seed = json_object_get(k->fields, "seed");
    if (seed && i)
        json_object_set_new(k->fields, "seed", json_integer(json_integer_value(seed) + 1));
}

void serve_completion_count(serve_completion *k, const json_t *result)
{
    const json_t *t = json_object_get(result, "timings");
    k->prompt_tokens = json_integer_value(json_object_get(t, "prompt_tokens"));
    k->cached_tokens =
        LAR_MAX(k->cached_tokens, json_integer_value(json_object_get(t, "cached_tokens")));
    k->answer_tokens += json_integer_value(json_object_get(t, "predicted_tokens"));
}

json_t *serve_completion_usage(const serve_completion *k)
{
    return json_pack("{s:I,s:I,s:I,s:{s:I}}", "prompt_tokens", (json_int_t)k->prompt_tokens,
                     "completion_tokens", (json_int_t)k->answer_tokens, "total_tokens",
                     (json_int_t)(k->prompt_tokens + k->answer_tokens), "prompt_tokens_details",
                     "cached_tokens", (json_int_t)k->cached_tokens);
}

json_t *serve_completion_frame(const serve_completion *k, const char *object, json_t *choices)
{
    return json_pack("{s:s,s:s,s:I,s:s,s:s,s:o}", "id", k->id, "object", object, "created",
                     k->created, "model", k->model.name, "system_fingerprint", "lar-" LAR_VERSION,
                     "choices", choices);
}

void serve_completion_finish(serve_completion *k, const char *object, const char *chunk,
                             json_t *choices)
{
    if (!k->stream) {
        json_t *reply = serve_completion_frame(k, object, choices);
        json_object_set_new(reply, "usage", serve_completion_usage(k));
        serve_reply_json(k->c, 200, reply);
        return;
    }
    if (k->include_usage) {
        json_t *last = serve_completion_frame(k, chunk, choices);
        json_object_set_new(last, "usage", serve_completion_usage(k));
        serve_put_event(k->c, NULL, last);
    } else {
        json_decref(choices);
    }
    static const char done[] = "data: [DONE]\n\n";
    serve_put(k->c, done, sizeof done - 1);
}

const char *serve_finish_reason(const json_t *result)
{
    const char *why = json_string_value(json_object_get(result, "stop_reason"));
    return why && (strcmp(why, "length") == 0 || strcmp(why, "context") == 0) ? "length" : "stop";
}

/* ---- models
 * ------------------------------------------------------------------------------------------ */

static json_t *model_card(const json_t *m)
{
    return json_pack("{s:O,s:s,s:O,s:s}", "id", json_object_get(m, "name"), "object", "model",
                     "created", json_object_get(m, "created"), "owned_by", "lar");
}

static void models(serve_call *c)
{
    json_t *all = serve_models_list(serve_the_models(serve_of(c))), *data = json_array(), *m;
    size_t i;
    json_array_foreach(all, i, m) json_array_append_new(data, model_card(m));
    json_decref(all);
    serve_reply_json(c, 200, json_pack("{s:s,s:o}", "object", "list", "data", data));
}

static void one_model(serve_call *c)
{
    json_t *all = serve_models_list(serve_the_models(serve_of(c))), *m;
    size_t i;
    json_array_foreach(
        all, i, m) if (strcmp(json_string_value(json_object_get(m, "name")), serve_rest(c)) == 0)
        serve_reply_json(c, 200, model_card(m));
    json_decref(all);
    if (!serve_replied(c))
        serve_fail(c, 404, "model_not_found", "model", "there is no model '%.100s'", serve_rest(c));
}

static const serve_route routes[] = {
    {.method = "POST",
     .path = "/v1/chat/completions",
     .run = serve_openai_chat,
     .help = "Answer a conversation",
     .task = "generate"},
    {.method = "POST",
     .path = "/v1/completions",
     .run = serve_openai_completions,
     .help = "Continue a text",
     .task = "generate"},
    {.method = "POST",
     .path = "/v1/embeddings",
     .run = serve_openai_embeddings,
     .help = "Texts to vectors",
     .task = "embed"},
    {.method = "GET", .path = "/v1/models", .run = models, .help = "List the models"},
    {.method = "GET", .path = "/v1/models/*", .run = one_model, .help = "Show a model"},
};
extern const serve_front serve_front_openai;
const serve_front serve_front_openai = {"openai", serve_openai_error, routes, LAR_LEN(routes)};
