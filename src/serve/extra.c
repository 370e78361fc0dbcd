/*
 * extra.c - the front of what no API of others has: health, figures for Prometheus, tokens,
 * templates, and the description of all fronts.
 */
#include "serve/answer.h"
#include "serve/openai.h"
#include <stdio.h>
#include <string.h>

static void health(serve_call *c)
{
    serve_reply_json(c, 200, json_pack("{s:s}", "status", "ok"));
}

static void metrics(serve_call *c)
{
    const serve_figures f = serve_get_figures(serve_of(c));
    const struct {
        const char *name, *type, *help;
        double value;
    } all[] = {
        {"requests_total", "counter", "Requests", (double)f.requests},
        {"requests_failed_total", "counter", "Requests answered by an error", (double)f.failed},
        {"requests_refused_total", "counter", "Requests for which there was no room",
         (double)f.refused},
        {"requests_cancelled_total", "counter", "Requests whose client left", (double)f.cancelled},
        {"prompt_tokens_total", "counter", "Tokens of prompts", (double)f.prompt_tokens},
        {"prompt_tokens_cached_total", "counter", "Of those, not evaluated again",
         (double)f.cached_tokens},
        {"answer_tokens_total", "counter", "Tokens of answers", (double)f.answer_tokens},
        {"requests_running", "gauge", "Requests being answered", f.running},
        {"requests_queued", "gauge", "Requests that wait", f.queued},
        {"connections", "gauge", "Open connections", f.connections},
        {"uptime_seconds", "gauge", "Seconds since the start", f.uptime},
    };
    lar_buf b = {0};
    for (size_t i = 0; i < LAR_LEN(all); i++)
        lar_buf_printf(&b, "# HELP lar_%s %s\n# TYPE lar_%s %s\nlar_%s %.17g\n", all[i].name,
                       all[i].help, all[i].name, all[i].type, all[i].name, all[i].value);
    serve_reply(c, 200, "text/plain; version=0.0.4", b.p ? b.p : "", b.n);
    lar_buf_free(&b);
}

/* ---- tokens and templates
 * -------------------------------------------------------------------------- */

/* A task that needs no more than the model: fields in, its whole result out. */
static void run_task(serve_call *c, const char *task, const json_t *fields, const char *param,
                     json_t *(*reply)(const json_t *result))
{
    const json_t *body = serve_body(c);
    const char *name = NULL;
    serve_model m;
    lar_err e = {0};
    json_t *result = NULL;
    if (!body || !serve_get_text(c, body, "model", &name) || !serve_model_take(c, name, &m))
        return;
    if (serve_task(c, &m, task, fields, &result, &e) == LAR_OK)
        serve_reply_json(c, 200, reply(result));
    else
        serve_fail_lar(c, param, &e);
    json_decref(result);
    serve_model_give(c, &m);
}

static json_t *tokens_of(const json_t *result)
{
    const json_t *tokens = json_object_get(result, "tokens");
    return json_pack("{s:O,s:I}", "tokens", tokens, "count", (json_int_t)json_array_size(tokens));
}

static void tokenize(serve_call *c)
{
    const json_t *body = serve_body(c), *text = NULL;
    static const char *const keys[] = {"content", "text", "prompt"};
    bool special = false, add = true;
    for (size_t i = 0; body && i < LAR_LEN(keys) && !text; i++)
        text = json_object_get(body, keys[i]);
    if (!body || !serve_get_bool(c, body, "parse_special", &special) ||
        !serve_get_bool(c, body, "add_special", &add))
        return;
    if (!json_is_string(text)) {
        serve_fail(c, 400, "invalid_request_error", "content", "content: want a string");
        return;
    }
    json_t *fields = json_pack("{s:O,s:b,s:b}", "text", text, "special", special, "no-bos", !add);
    run_task(c, "tokenize", fields, "content", tokens_of);
    json_decref(fields);
}

static json_t *text_of(const json_t *result)
{
    return json_pack("{s:O,s:O}", "content", json_object_get(result, "text"), "text",
                     json_object_get(result, "text"));
}

static void detokenize(serve_call *c)
{
    const json_t *body = serve_body(c), *ids = json_object_get(body, "tokens");
    if (!body)
        return;
    if (!json_is_array(ids)) {
        serve_fail(c, 400, "invalid_request_error", "tokens", "tokens: want an array of ids");
        return;
    }
    json_t *fields = json_pack("{s:O}", "ids", ids);
    run_task(c, "detokenize", fields, "tokens", text_of);
    json_decref(fields);
}

static json_t *prompt_of(const json_t *result)
{
    return json_pack("{s:O}", "prompt", json_object_get(result, "text"));
}

static void apply_template(serve_call *c)
{
    const json_t *body = serve_body(c);
    json_t *messages = body ? serve_messages(c, json_object_get(body, "messages")) : NULL;
    if (!messages)
        return;
    json_t *vars = json_pack("{s:o,s:b}", "messages", messages, "add_generation_prompt", true);
    if (json_is_array(json_object_get(body, "tools")))
        json_object_set(vars, "tools", json_object_get(body, "tools"));
    if (json_is_object(json_object_get(body, "chat_template_kwargs")))
        json_object_update(vars, json_object_get(body, "chat_template_kwargs"));
    json_t *fields = json_pack("{s:o}", "vars", vars);
    run_task(c, "template", fields, "messages", prompt_of);
    json_decref(fields);
}

/* ---- the description
 * --------------------------------------------------------------------------------- */

static const char *schema_type(const char *type)
{
    static const struct {
        const char *ours, *theirs;
    } types[] = {{"int", "integer"},   {"number", "number"}, {"bool", "boolean"},
                 {"string", "string"}, {"bytes", "string"},  {"strings", "array"}};
    for (size_t i = 0; type && i < LAR_LEN(types); i++)
        if (strcmp(types[i].ours, type) == 0)
            return types[i].theirs;
    return NULL;
}

/* A field of a task as a JSON Schema. */
static json_t *property(const json_t *f)
{
    const char *type = schema_type(json_string_value(json_object_get(f, "type")));
    json_t *p = json_pack("{s:O}", "description", json_object_get(f, "help"));
    if (type)
        json_object_set_new(p, "type", json_string(type));
    if (type && strcmp(type, "array") == 0)
        json_object_set_new(p, "items", json_pack("{s:s}", "type", "string"));
    if (json_is_number(json_object_get(f, "min")))
        json_object_set(p, "minimum", json_object_get(f, "min"));
    if (json_is_number(json_object_get(f, "max")))
        json_object_set(p, "maximum", json_object_get(f, "max"));
    if (json_is_array(json_object_get(f, "choices")))
        json_object_set(p, "enum", json_object_get(f, "choices"));
    return p;
}

static json_t *body_schema(const char *task)
{
    char *text = lar_task_schema(task);
    json_t *schema = text ? json_loads(text, 0, NULL) : NULL, *f, *all = json_object();
    size_t i;
    lar_string_free(text);
    json_array_foreach(json_object_get(schema, "fields"), i, f)
    {
        char key[64];
        snprintf(key, sizeof key, "%s", json_string_value(json_object_get(f, "name")));
        for (char *p = key; *p; p++)
            *p = *p == '-' ? '_' : *p;
        json_object_set_new(all, key, property(f));
    }
    json_decref(schema);
    return json_pack("{s:s,s:o}", "type", "object", "properties", all);
}

static json_t *operation(const serve_front *front, const serve_route *r)
{
    json_t *o = json_pack("{s:s?,s:[s],s:{s:{s:s},s:{s:s}}}", "summary", r->help, "tags",
                          front->name, "responses", "200", "description", "The answer", "default",
                          "description", "An error");
    if (strcmp(r->method, "POST") == 0)
        json_object_set_new(
            o, "requestBody",
            json_pack("{s:{s:{s:o}}}", "content", "application/json", "schema",
                      r->task ? body_schema(r->task) : json_pack("{s:s}", "type", "object")));
    if (r->open)
        json_object_set_new(o, "security", json_array());
    return o;
}

static void openapi(serve_call *c)
{
    json_t *paths = json_object();
    for (size_t i = 0; i < serve_n_fronts; i++)
        for (size_t k = 0; k < serve_fronts[i]->n_routes; k++) {
            const serve_route *r = &serve_fronts[i]->routes[k];
            char path[128], method[16];
            const size_t n = strcspn(r->path, "*");
            snprintf(path, sizeof path, "%.*s%s", (int)n, r->path, r->path[n] ? "{name}" : "");
            snprintf(method, sizeof method, "%s", r->method);
            for (char *p = method; *p; p++)
                *p = (char)(*p | 32);
            json_t *op = operation(serve_fronts[i], r);
            if (r->path[n])
                json_object_set_new(op, "parameters",
                                    json_pack("[{s:s,s:s,s:b,s:{s:s}}]", "name", "name", "in",
                                              "path", "required", true, "schema", "type",
                                              "string"));
            if (!json_object_get(paths, path))
                json_object_set_new(paths, path, json_object());
            json_object_set_new(json_object_get(paths, path), method, op);
        }
    serve_reply_json(c, 200,
                     json_pack("{s:s,s:{s:s,s:s},s:o,s:{s:{s:{s:s,s:s}}},s:[{s:[]}]}", "openapi",
                               "3.1.0", "info", "title", "LAR", "version", LAR_VERSION, "paths",
                               paths, "components", "securitySchemes", "key", "type", "http",
                               "scheme", "bearer", "security", "key"));
}

static const serve_route routes[] = {
    {.method = "GET",
     .path = "/health",
     .run = health,
     .quick = true,
     .open = true,
     .help = "Whether the server is there"},
    {.method = "GET",
     .path = "/metrics",
     .run = metrics,
     .quick = true,
     .help = "Figures for Prometheus"},
    {.method = "GET", .path = "/openapi.json", .run = openapi, .help = "This description"},
    {.method = "POST", .path = "/tokenize", .run = tokenize, .help = "Text to token ids"},
    {.method = "POST", .path = "/detokenize", .run = detokenize, .help = "Token ids to text"},
    {.method = "POST",
     .path = "/apply-template",
     .run = apply_template,
     .help = "The prompt that the model's template makes of messages"},
};
extern const serve_front serve_front_extra;
const serve_front serve_front_extra = {"extra", serve_openai_error, routes, LAR_LEN(routes)};
