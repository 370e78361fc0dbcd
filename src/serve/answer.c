/* answer.c - see answer.h. */
#include "serve/answer.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct listener {
    serve_call *c;
    lar_event_fn *fn;
    void *user;
    json_t *result;
} listener;

static int on_event(const lar_event *ev, void *user)
{
    listener *l = user;
    if (lar_event_get_kind(ev) == LAR_EVENT_RESULT) {
        json_decref(l->result);
        l->result = json_loads(lar_event_get_json(ev), JSON_ALLOW_NUL, NULL);
        return 0;
    }
    return (l->fn ? l->fn(ev, l->user) : 0) || serve_gone(l->c);
}

static lar_status set_fields(lar_request *r, const json_t *fields, lar_err *e)
{
    char *text = json_dumps(fields, JSON_COMPACT);
    if (!text)
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    const lar_status st = lar_request_set_json(r, NULL, text, e);
    lar_free(text);
    return st;
}

static lar_status run(serve_call *c, lar_request *r, const json_t *fields, listener *l, lar_err *e)
{
    LAR_TRY(set_fields(r, fields, e));
    serve_watch(c, r);
    const lar_status st = lar_request_run(r, on_event, l, e);
    serve_watch(c, NULL);
    if (st == LAR_OK && !l->result)
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    return st;
}

static void count(serve_call *c, const json_t *result)
{
    const json_t *t = json_object_get(result, "timings");
    serve_count_tokens(serve_of(c),
                       (uint64_t)json_integer_value(json_object_get(t, "prompt_tokens")),
                       (uint64_t)json_integer_value(json_object_get(t, "cached_tokens")),
                       (uint64_t)json_integer_value(json_object_get(t, "predicted_tokens")));
}

lar_status serve_generate(serve_call *c, const serve_model *m, const json_t *fields,
                          lar_event_fn *fn, void *user, json_t **result, lar_err *e)
{
    const lar_session_options so = {.size = sizeof so, .with = m->base};
    listener l = {.c = c, .fn = fn, .user = user};
    lar_session *s = NULL;
    lar_request *r = NULL;
    lar_status st = lar_session_new(m->model, &so, &s, e);
    if (st == LAR_OK)
        st = lar_request_new(serve_runtime(serve_of(c)), "generate", &r, e);
    if (st == LAR_OK)
        st = lar_request_set_session(r, s, e);
    if (st == LAR_OK)
        st = run(c, r, fields, &l, e);
    lar_request_free(r);
    lar_session_free(s);
    if (st == LAR_OK)
        count(c, l.result);
    else
        json_decref(l.result);
    *result = st == LAR_OK ? l.result : NULL;
    return st;
}

lar_status serve_task(serve_call *c, const serve_model *m, const char *task, const json_t *fields,
                      json_t **result, lar_err *e)
{
    listener l = {.c = c};
    lar_session *s = NULL;
    lar_request *r = NULL;
    lar_status st = lar_request_new(serve_runtime(serve_of(c)), task, &r, e);
    if (st == LAR_OK)
        st = lar_request_set_model(r, m->model, e);
    if (st == LAR_OK && strcmp(task, "embed") == 0) /* whole texts in a step: memory of its own */
        st = lar_session_new(m->model, NULL, &s, e);
    if (st == LAR_OK && s)
        st = lar_request_set_session(r, s, e);
    if (st == LAR_OK)
        st = run(c, r, fields, &l, e);
    lar_request_free(r);
    lar_session_free(s);
    if (st != LAR_OK)
        json_decref(l.result);
    *result = st == LAR_OK ? l.result : NULL;
    return st;
}

/* ---- fields
 * ---------------------------------------------------------------------------------------- */

static bool same(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a == '_' ? '-' : *a) != (*b == '_' ? '-' : *b))
            return false;
    return *a == *b;
}

const char *serve_field(const char *task, const char *name, char out[64])
{
    char *text = lar_task_schema(task);
    json_t *schema = text ? json_loads(text, 0, NULL) : NULL, *f, *a;
    const char *found = NULL;
    size_t i, k;
    lar_string_free(text);
    json_array_foreach(json_object_get(schema, "fields"), i, f)
    {
        const char *own = json_string_value(json_object_get(f, "name"));
        bool is = same(own, name);
        json_array_foreach(json_object_get(f, "aliases"), k, a) is =
            is || same(json_string_value(a), name);
        if (is && !found) {
            snprintf(out, 64, "%s", own);
            found = out;
        }
    }
    json_decref(schema);
    return found;
}

static bool in_list(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (const char *p = list; *p; p += *p == '|') {
        const size_t k = strcspn(p, "|");
        if (k == n && strncmp(p, name, n) == 0)
            return true;
        p += k;
    }
    return false;
}

static bool wrong(serve_call *c, const char *key, const char *want)
{
    serve_fail(c, 400, "invalid_request_error", key, "%.100s: want %s", key, want);
    return false;
}

/* NULL for null, too. */
static const json_t *member(const json_t *body, const char *key)
{
    const json_t *v = json_object_get(body, key);
    return json_is_null(v) ? NULL : v;
}

bool serve_get_bool(serve_call *c, const json_t *body, const char *key, bool *out)
{
    const json_t *v = member(body, key);
    if (v && !json_is_boolean(v))
        return wrong(c, key, "true or false");
    if (v)
        *out = json_is_true(v);
    return true;
}

bool serve_get_int(serve_call *c, const json_t *body, const char *key, int64_t min, int64_t max,
                   int64_t *out)
{
    const json_t *v = member(body, key);
    const double x = json_number_value(v);
    char want[80];
    snprintf(want, sizeof want, "a whole number, %lld to %lld", (long long)min, (long long)max);
    if (v && (!json_is_number(v) || !(x >= (double)min && x <= (double)max) || x != floor(x)))
        return wrong(c, key, want);
    if (v)
        *out = json_is_integer(v) ? json_integer_value(v) : (int64_t)x;
    return true;
}

bool serve_get_text(serve_call *c, const json_t *body, const char *key, const char **out)
{
    const json_t *v = member(body, key);
    if (v && (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v)))
        return wrong(c, key, "a string (without U+0000)");
    if (v)
        *out = json_string_value(v);
    return true;
}

bool serve_get_texts(serve_call *c, const json_t *body, const char *key, size_t most, json_t **out)
{
    const json_t *v = member(body, key);
    char want[80];
    *out = NULL;
    if (!v)
        return true;
    json_t *all = json_is_array(v) ? json_copy((json_t *)v) : json_pack("[O]", v);
    bool good = json_array_size(all) <= most;
    for (size_t i = 0; i < json_array_size(all); i++)
        good = good && json_is_string(json_array_get(all, i));
    snprintf(want, sizeof want, "a string or an array of at most %zu strings", most);
    if (!good) {
        json_decref(all);
        return wrong(c, key, want);
    }
    *out = all;
    return true;
}

bool serve_take_fields(serve_call *c, const json_t *body, const char *except, json_t *fields)
{
    /* What names files or changes who is asked is not the client's to say. */
    static const char own[] =
        "prompt|messages|system|tools|raw|ids|logprobs|prompt-logprobs|special";
    lar_request *r = NULL;
    lar_err e = {0};
    const char *key;
    json_t *v;
    if (lar_request_new(serve_runtime(serve_of(c)), "generate", &r, &e) != LAR_OK) {
        serve_fail_lar(c, NULL, &e);
        return false;
    }
    json_object_foreach((json_t *)body, key, v)
    {
        char name[64];
        if (json_is_null(v) || in_list(except, key) || !serve_field("generate", key, name) ||
            in_list(own, name))
            continue;
        char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        const lar_status st = text ? lar_request_set_json(r, name, text, &e)
                                   : lar_fail(&e, LAR_ENOMEM, "out of memory");
        lar_free(text);
        if (st != LAR_OK) {
            serve_fail_lar(c, key, &e);
            break;
        }
        json_object_set(fields, name, v);
    }
    lar_request_free(r);
    return !serve_replied(c);
}

/* ---- messages
 * ---------------------------------------------------------------------------------------- */

/* Where in a body something is wrong. */
typedef struct place {
    serve_call *c;
    char at[96];
} place;

static bool bad(const place *p, const char *what, const char *want)
{
    char at[160];
    snprintf(at, sizeof at, "%s%s", p->at, what);
    return wrong(p->c, at, want);
}

/* [{"type": "text", "text": ...}, ...] as one string. */
static json_t *join_parts(const place *p, const json_t *parts)
{
    lar_buf b = {0};
    size_t i;
    json_t *part, *out = NULL;
    bool good = true;
    json_array_foreach((json_t *)parts, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_object_get(part, "text");
        if (!type || !json_is_string(text) ||
            (strcmp(type, "text") != 0 && strcmp(type, "input_text") != 0 &&
             strcmp(type, "output_text") != 0)) {
            char at[64];
            snprintf(at, sizeof at, ".content[%zu]", i);
            good = bad(p, at, "{\"type\": \"text\", \"text\": ...}: this model reads text");
            break;
        }
        lar_buf_add(&b, json_string_value(text), json_string_length(text));
    }
    if (good)
        out = json_stringn(b.p ? b.p : "", b.n);
    lar_buf_free(&b);
    return out;
}

static bool fix_calls(const place *p, json_t *message)
{
    json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t i;
    if (!calls || json_is_null(calls))
        return true;
    if (!json_is_array(calls))
        return bad(p, ".tool_calls", "an array");
    json_array_foreach(calls, i, call)
    {
        json_t *fn = json_object_get(call, "function"), *args = json_object_get(fn, "arguments");
        if (!json_is_string(json_object_get(fn, "name")))
            return bad(p, ".tool_calls", "{\"function\": {\"name\", \"arguments\"}} each");
        json_t *parsed = json_is_string(args) ? json_loads(json_string_value(args), 0, NULL) : NULL;
        if (json_is_object(parsed))
            json_object_set(fn, "arguments", parsed);
        json_decref(parsed);
    }
    return true;
}

static bool fix_message(const place *p, json_t *m)
{
    json_t *content = json_object_get(m, "content");
    if (!json_is_object(m))
        return bad(p, "", "an object with role and content");
    if (!json_is_string(json_object_get(m, "role")))
        return bad(p, ".role", "a string");
    if (strcmp(json_string_value(json_object_get(m, "role")), "developer") == 0)
        json_object_set_new(m, "role", json_string("system"));
    if (json_is_array(content)) {
        json_t *text = join_parts(p, content);
        if (!text)
            return false;
        json_object_set_new(m, "content", text);
    } else if (!content || json_is_null(content)) {
        json_object_set_new(m, "content", json_string(""));
    } else if (!json_is_string(content)) {
        return bad(p, ".content", "a string or an array of parts");
    }
    return fix_calls(p, m);
}

json_t *serve_messages(serve_call *c, const json_t *messages)
{
    if (!json_is_array(messages) || !json_array_size(messages)) {
        wrong(c, "messages", "an array of at least one {\"role\", \"content\"}");
        return NULL;
    }
    json_t *all = json_deep_copy(messages);
    for (size_t i = 0; i < json_array_size(all); i++) {
        place p = {.c = c};
        snprintf(p.at, sizeof p.at, "messages[%zu]", i);
        if (!fix_message(&p, json_array_get(all, i))) {
            json_decref(all);
            return NULL;
        }
    }
    if (!all)
        serve_fail(c, 503, "server_error", NULL, "out of memory");
    return all;
}
