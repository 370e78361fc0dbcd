/*
 * test_api.c - lar.h: fields and their messages, schemas, requests and events, cancelling, the
 * order of frees, what objects say of themselves, and the list of exported functions
 * (tests/abi.txt).
 */
#include "tasks/chat_prompt.h"
#include "tasks/event.h"
#include "tasks/json.h"
#include "oom.h"
#include "small_vocab.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* ---- fields
 * --------------------------------------------------------------------------------------------- */

typedef struct all_types {
    const char *name, *mode;
    int64_t top_k, seed;
    double temp;
    bool raw;
    lar_field_list stop;
    json_t *tools;
    lar_str data;
} all_types;

static const lar_field all_fields[] = {
    {.name = "name",
     .type = LAR_FIELD_STRING,
     .offset = offsetof(all_types, name),
     .def_str = "none",
     .help = "A name"},
    {.name = "mode",
     .type = LAR_FIELD_STRING,
     .offset = offsetof(all_types, mode),
     .def_str = "fast",
     .choices = "fast|good",
     .help = "A choice"},
    {.name = "top-k",
     .alias = "k|topk",
     .letter = 'k',
     .type = LAR_FIELD_INT,
     .offset = offsetof(all_types, top_k),
     .def = 40,
     .min = 0,
     .max = 2147483647,
     .unit = "N",
     .help = "Whole"},
    {.name = "seed",
     .type = LAR_FIELD_INT,
     .offset = offsetof(all_types, seed),
     .def = -1,
     .help = "Any"},
    {.name = "temp",
     .alias = "temperature",
     .type = LAR_FIELD_NUMBER,
     .offset = offsetof(all_types, temp),
     .def = 0.8,
     .min = 0,
     .max = 100,
     .help = "Real"},
    {.name = "raw",
     .type = LAR_FIELD_BOOL,
     .offset = offsetof(all_types, raw),
     .help = "Yes or no"},
    {.name = "stop",
     .type = LAR_FIELD_STRINGS,
     .offset = offsetof(all_types, stop),
     .help = "Many"},
    {.name = "tools", .type = LAR_FIELD_JSON, .offset = offsetof(all_types, tools), .help = "JSON"},
    {.name = "data", .type = LAR_FIELD_BYTES, .offset = offsetof(all_types, data), .help = "Bytes"},
};
static const lar_task_def all_def = {.name = "all",
                                     .verb = "all",
                                     .help = "Every type",
                                     .positional = "name",
                                     .needs = LAR_NEEDS_VOCAB,
                                     .fields = all_fields,
                                     .n_fields = LAR_LEN(all_fields),
                                     .params_size = sizeof(all_types)};

static lar_status set_json(lar_params *p, const char *name, const char *text, lar_err *e)
{
    json_t *v;
    LAR_TRY(lar_json_load(text, strlen(text), "test", &v, e));
    lar_status s = lar_params_set_json(p, name, v, e);
    json_decref(v);
    return s;
}

static void fields_have_defaults(void **state)
{
    (void)state;
    lar_params p;
    assert_int_equal(lar_params_new(&all_def, &p, NULL), LAR_OK);
    const all_types *a = p.data;
    assert_string_equal(a->name, "none");
    assert_int_equal(a->top_k, 40);
    assert_int_equal(a->seed, -1);
    assert_true(a->temp == 0.8);
    assert_false(a->raw);
    assert_null(a->tools);
    assert_int_equal(a->stop.n, 0);
    assert_int_equal(a->data.n, 0);
    assert_false(p.is_set[2]);
    lar_params_free(&p);
}

static void fields_take_values(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_params p;
    assert_int_equal(lar_params_new(&all_def, &p, &e), LAR_OK);
    const all_types *a = p.data;
    assert_int_equal(
        set_json(
            &p, NULL,
            "{\"name\":\"x\",\"mode\":\"good\",\"top_k\":7,\"seed\":-9007199254740993,"
            "\"temperature\":1,\"raw\":true,\"stop\":[\"a\",\"b\"],\"tools\":[1],\"data\":\"é\"}",
            &e),
        LAR_OK);
    assert_string_equal(a->name, "x");
    assert_string_equal(a->mode, "good");
    assert_int_equal(a->top_k, 7);
    assert_true(a->seed == -9007199254740993); /* integers of JSON are not rounded to doubles */
    assert_true(a->temp == 1.0);
    assert_true(a->raw);
    assert_int_equal(a->stop.n, 2);
    assert_string_equal(a->stop.p[1], "b");
    assert_int_equal(json_array_size(a->tools), 1);
    assert_memory_equal(a->data.p, "é", 2);
    assert_true(p.is_set[2]);
    /* By flags: text is parsed, lists grow; '_' and '-' are the same. */
    assert_int_equal(lar_params_set_string(&p, "top-k", "3", &e), LAR_OK);
    assert_int_equal(a->top_k, 3);
    assert_int_equal(lar_params_set_string(&p, "k", "1e3", &e), LAR_OK);
    assert_int_equal(a->top_k, 1000);
    assert_int_equal(lar_params_set_string(&p, "temp", ".5", &e), LAR_OK);
    assert_true(a->temp == 0.5);
    assert_int_equal(lar_params_set_string(&p, "raw", "off", &e), LAR_OK);
    assert_false(a->raw);
    assert_int_equal(lar_params_set_string(&p, "stop", "c", &e), LAR_OK);
    assert_int_equal(a->stop.n, 3);
    assert_string_equal(a->stop.p[0], "a");
    assert_string_equal(a->stop.p[2], "c");
    assert_int_equal(lar_params_set_string(&p, "tools", "{\"a\":null}", &e), LAR_OK);
    assert_true(json_is_object(a->tools));
    assert_int_equal(lar_params_set_number(&p, "seed", 12, &e), LAR_OK);
    assert_int_equal(a->seed, 12);
    assert_int_equal(lar_params_set_bytes(&p, "data", "a\0b", 3, &e), LAR_OK);
    assert_int_equal(a->data.n, 3);
    /* null is the default again. */
    assert_int_equal(
        set_json(&p, NULL, "{\"name\":null,\"stop\":null,\"tools\":null,\"top-k\":null}", &e),
        LAR_OK);
    assert_string_equal(a->name, "none");
    assert_int_equal(a->stop.n, 0);
    assert_null(a->tools);
    assert_int_equal(a->top_k, 40);
    assert_false(p.is_set[2]);
    lar_params_free(&p);
}

static void fields_refuse(void **state)
{
    (void)state;
    static const struct {
        const char *name, *json, *want; /* the message */
    } cases[] = {
        {"top-k", "-3", "field 'top-k': got -3, want 0 to 2147483647"},
        {"top_k", "2147483648", "field 'top-k': got 2147483648, want 0 to 2147483647"},
        {"top-k", "1e300", "field 'top-k': got 1e+300, want 0 to 2147483647"},
        {"top-k", "1.5", "field 'top-k': got 1.5, want a whole number"},
        {"top-k", "\"5\"", "field 'top-k': got \"5\", want 0 to 2147483647"},
        {"top-k", "true", "field 'top-k': got true, want 0 to 2147483647"},
        {"seed", "[]", "field 'seed': got a list, want a whole number"},
        {"temp", "101", "field 'temp': got 101, want 0 to 100"},
        {"temp", "{}", "field 'temp': got an object, want 0 to 100"},
        {"raw", "2", "field 'raw': got 2, want true or false"},
        {"raw", "\"true\"", "field 'raw': got \"true\", want true or false"},
        {"mode", "\"best\"", "field 'mode': got \"best\", want one of fast|good"},
        {"mode", "1", "field 'mode': got 1, want one of fast|good"},
        {"name", "[\"a\"]", "field 'name': got a list, want text"},
        {"stop", "[\"a\",1]", "field 'stop': element 1 is not text"},
        {"stop", "1", "field 'stop': got 1, want text, or a list of texts"},
        {"data", "1", "field 'data': got 1, want bytes"},
        {"tempe", "1", "task 'all' has no field 'tempe'; did you mean 'temp'?"},
        {"top_kk", "1", "task 'all' has no field 'top_kk'; did you mean 'top-k'?"},
        {"temperatur", "1", "task 'all' has no field 'temperatur'; did you mean 'temp'?"},
        {"zzzzzz", "1", "task 'all' has no field 'zzzzzz'"},
    };
    static const struct {
        const char *name, *text;
    } flags[] = {{"top-k", ""},
                 {"top-k", " 1"},
                 {"top-k", "0x10"},
                 {"top-k", "1k"},
                 {"top-k", "99999999999999999999"},
                 {"temp", "nan"},
                 {"temp", "inf"},
                 {"temp", "1e999"},
                 {"temp", "--1"},
                 {"raw", ""},
                 {"raw", "maybe"},
                 {"tools", "{"},
                 {"tools", ""},
                 {"mode", "fas"},
                 {"mode", "fast|good"}};
    lar_params p;
    lar_err e = {0};
    assert_int_equal(lar_params_new(&all_def, &p, &e), LAR_OK);
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        assert_int_equal(set_json(&p, cases[i].name, cases[i].json, &e), LAR_EARG);
        assert_string_equal(e.msg, cases[i].want);
    }
    for (size_t i = 0; i < LAR_LEN(flags); i++)
        if (lar_params_set_string(&p, flags[i].name, flags[i].text, &e) != LAR_EARG)
            fail_msg("%s \"%s\" was taken", flags[i].name, flags[i].text);
    const double bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < LAR_LEN(bad); i++) {
        assert_int_equal(lar_params_set_number(&p, "temp", bad[i], &e), LAR_EARG);
        assert_int_equal(lar_params_set_number(&p, "seed", bad[i], &e), LAR_EARG);
    }
    assert_int_equal(lar_params_set_bytes(&p, "name", "a\0b", 3, &e), LAR_EARG);
    assert_int_equal(lar_params_set_bytes(&p, "data", NULL, 3, &e), LAR_EARG);
    assert_int_equal(lar_params_set_string(&p, "name", NULL, &e), LAR_EARG);
    assert_int_equal(lar_params_set_string(&p, NULL, "x", &e), LAR_EARG);
    const all_types *a = p.data; /* nothing of that has left a trace */
    assert_int_equal(a->top_k, 40);
    assert_string_equal(a->mode, "fast");
    assert_int_equal(a->stop.n, 0);
    lar_params_free(&p);
}

static void schema_is_exact(void **state)
{
    (void)state;
    char *s = lar_json_dump(NULL);
    lar_string_free(s);
    json_t *v = lar_task_schema_json(&all_def);
    assert_non_null(v);
    json_t *k = json_array_get(json_object_get(v, "fields"), 2),
           *temp = json_array_get(json_object_get(v, "fields"), 4);
    s = lar_json_dump(k);
    assert_string_equal(
        s, "{\"name\":\"top-k\",\"aliases\":[\"top_k\",\"k\",\"topk\"],\"letter\":\"k\",\"type\":"
           "\"int\","
           "\"default\":40,\"min\":0,\"max\":2147483647,\"choices\":null,\"unit\":\"N\","
           "\"help\":\"Whole\"}");
    lar_string_free(s);
    s = lar_json_dump(temp);
    assert_string_equal(
        s, "{\"name\":\"temp\",\"aliases\":[\"temperature\"],\"letter\":null,\"type\":\"number\","
           "\"default\":0.8,\"min\":0.0,\"max\":100.0,\"choices\":null,\"unit\":null,"
           "\"help\":\"Real\"}");
    lar_string_free(s);
    json_object_del(v, "fields");
    s = lar_json_dump(v);
    assert_string_equal(
        s, "{\"name\":\"all\",\"verb\":\"all\",\"help\":\"Every type\",\"needs\":\"vocab\","
           "\"positional\":\"name\"}");
    lar_string_free(s);
    json_decref(v);
}

/* Every task's table: names and letters unique, choices and bounds hold the default, the positional
 * exists. */
static void tables_are_sound(void **state)
{
    (void)state;
    assert_true(lar_task_count() > 0);
    assert_null(lar_task_name(-1));
    assert_null(lar_task_name(lar_task_count()));
    assert_null(lar_task_schema("no such task"));
    assert_null(lar_task_schema(NULL));
    for (int i = 0; i < lar_task_count(); i++) {
        const lar_task_def *d = lar_tasks[i];
        char *s = lar_task_schema(lar_task_name(i));
        assert_non_null(s);
        json_error_t je;
        json_t *v = json_loads(s, JSON_REJECT_DUPLICATES, &je);
        assert_non_null(v);
        json_decref(v);
        lar_string_free(s);
        bool positional = !d->positional;
        for (size_t a = 0; a < d->n_fields; a++) {
            const lar_field *f = &d->fields[a];
            positional = positional || strcmp(f->name, d->positional) == 0;
            assert_true(f->offset < d->params_size);
            if (!f->help || !f->help[0] || f->help[strlen(f->help) - 1] == '.')
                fail_msg("%s %s: the help line", d->name, f->name);
            if (f->min < f->max && !(f->def >= f->min && f->def <= f->max))
                fail_msg("%s %s: the default %g is out of bounds", d->name, f->name, f->def);
            for (size_t b = a + 1; b < d->n_fields; b++)
                if (strcmp(f->name, d->fields[b].name) == 0 ||
                    (f->letter && f->letter == d->fields[b].letter))
                    fail_msg("%s: %s and %s have a name or letter in common", d->name, f->name,
                             d->fields[b].name);
        }
        assert_true(positional);
    }
}

/* ---- requests
 * ---------------------------------------------------------------------------------------------- */

typedef struct heard {
    int events, cancel_at;
    char *result;
    lar_request *self;
    lar_status inner;
} heard;

static int listen(const lar_event *ev, void *user)
{
    heard *h = user;
    h->events++;
    if (lar_event_get_kind(ev) == LAR_EVENT_RESULT) {
        lar_string_free(h->result);
        h->result = lar_strdup(lar_event_get_json(ev));
        size_t n = 9;
        assert_string_equal(lar_event_get_text(ev, &n), "");
        assert_int_equal(n, 0);
    }
    if (h->self)
        h->inner = lar_request_set_string(h->self, "text", "changed", NULL);
    return h->events == h->cancel_at;
}

static int free_it(const lar_event *ev, void *user)
{
    (void)ev;
    lar_request_free(user);
    return 0;
}

static lar_runtime *runtime(void)
{
    lar_err e = {0};
    lar_runtime *rt;
    lar_runtime_options o = {.size = sizeof o, .threads = 2};
    if (lar_runtime_new(&o, &rt, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return rt;
}

static lar_model *small_model(lar_runtime *rt, const char *chat)
{
    lar_err e = {0};
    lar_model *m;
    lar_model_options o = {.size = sizeof o, .vocab_only = 1};
    char *path = sv_write(chat, true, true);
    lar_status s = lar_model_open(rt, path, &o, &m, &e);
    unlink(path);
    free(path);
    if (s != LAR_OK)
        fail_msg("%s", e.msg);
    return m;
}

static void tokenize_runs(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *want;
    } cases[] = {
        {"{\"text\":\"\"}", "{\"tokens\":[1]}"},
        {"{\"text\":\"hello\",\"pieces\":true}",
         "{\"tokens\":[1,288],\"pieces\":[\"<s>\",\" hello\"]}"},
        {"{\"prompt\":\"hello\",\"no_bos\":true}", "{\"tokens\":[288]}"},
        {"{\"text\":\"<|im_end|>\",\"no-bos\":true,\"special\":true}", "{\"tokens\":[260]}"},
    };
    lar_err e = {0};
    lar_runtime *rt = runtime();
    lar_model *m = small_model(rt, NULL);
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        lar_request *r;
        heard h = {0};
        assert_int_equal(lar_request_new(rt, "tokenize", &r, &e), LAR_OK);
        assert_int_equal(lar_request_set_model(r, m, &e), LAR_OK);
        assert_int_equal(lar_request_set_json(r, NULL, cases[i].fields, &e), LAR_OK);
        assert_int_equal(lar_request_run(r, listen, &h, &e), LAR_OK);
        assert_int_equal(h.events, 1);
        assert_string_equal(h.result, cases[i].want);
        assert_int_equal(lar_request_run(r, NULL, NULL, &e),
                         LAR_OK); /* again, with nobody listening */
        lar_string_free(h.result);
        lar_request_free(r);
    }
    lar_model_free(m);
    lar_runtime_free(rt);
}

static void template_runs(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_runtime *rt = runtime();
    lar_model *m = small_model(
        rt, "{{ bos_token }}{{ messages[0].content }}{{ add_generation_prompt is defined }}");
    lar_request *r;
    heard h = {0};
    assert_int_equal(lar_request_new(rt, "template", &r, &e), LAR_OK);
    assert_int_equal(lar_request_run(r, listen, &h, &e), LAR_EARG); /* neither model nor template */
    assert_non_null(strstr(e.msg, "no model"));
    assert_int_equal(lar_request_set_json(r, "vars", "{\"messages\":[{\"content\":\"hi\"}]}", &e),
                     LAR_OK);
    assert_int_equal(lar_request_set_model(r, m, &e), LAR_OK);
    assert_int_equal(lar_request_run(r, listen, &h, &e), LAR_OK);
    assert_string_equal(h.result, "{\"text\":\"<s>hiFalse\"}");
    assert_int_equal(
        lar_request_set_json(
            r, "vars", "{\"bos_token\":\"B\",\"messages\":[{\"content\":\"\\u00e9\\n\"}]}", &e),
        LAR_OK);
    assert_int_equal(lar_request_run(r, listen, &h, &e), LAR_OK);
    assert_string_equal(h.result, "{\"text\":\"Bé\\nFalse\"}");
    assert_int_equal(lar_request_set_model(r, NULL, &e), LAR_OK);
    assert_int_equal(
        lar_request_set_string(r, "template", "{{ strftime_now('%Y-%m-%d') }}{{ bos_token }}", &e),
        LAR_OK);
    assert_int_equal(lar_request_set_number(r, "now", 86400, &e), LAR_OK);
    assert_int_equal(lar_request_run(r, listen, &h, &e), LAR_OK);
    assert_string_equal(h.result, "{\"text\":\"1970-01-02B\"}");
    assert_int_equal(lar_request_set_json(r, "vars", "[]", &e), LAR_OK);
    assert_int_equal(lar_request_run(r, listen, &h, &e), LAR_EARG);
    assert_int_equal(lar_request_set_json(r, "vars", "{\"a\":1,\"a\":2}", &e),
                     LAR_EARG); /* a key twice */
    lar_string_free(h.result);
    lar_request_free(r);
    lar_model_free(m);
    lar_runtime_free(rt);
}

static void cancelling(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_runtime *rt = runtime();
    lar_model *m = small_model(rt, NULL);
    lar_request *r;
    heard h = {.cancel_at = 1};
    assert_int_equal(lar_request_new(rt, "tokenize", &r, &e), LAR_OK);
    assert_int_equal(lar_request_set_model(r, m, &e), LAR_OK);
    assert_int_equal(lar_request_run(r, listen, &h, &e), LAR_ECANCELLED); /* by the listener */
    h = (heard){.result = h.result};
    lar_request_cancel(r); /* before it has begun */
    assert_int_equal(lar_request_run(r, listen, &h, &e), LAR_ECANCELLED);
    assert_int_equal(h.events, 0);
    h.self = r; /* and it can be run again; while it runs it cannot be changed */
    assert_int_equal(lar_request_run(r, listen, &h, &e), LAR_OK);
    assert_int_equal(h.inner, LAR_EARG);
    lar_string_free(h.result);
    lar_request_cancel(NULL);
    lar_request_free(r);
    lar_model_free(m);
    lar_runtime_free(rt);
}

static void frees_in_any_order(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_runtime *rt = runtime();
    lar_model *m = small_model(rt, NULL);
    lar_request *r;
    heard h = {0};
    assert_int_equal(lar_request_new(rt, "tokenize", &r, &e), LAR_OK);
    assert_int_equal(lar_request_set_model(r, m, &e), LAR_OK);
    assert_int_equal(lar_request_set_model(r, m, &e), LAR_OK);
    lar_runtime_free(rt);
    lar_model_free(m);
    assert_int_equal(lar_request_set_string(r, "text", "hello", &e), LAR_OK);
    assert_int_equal(lar_request_run(r, listen, &h, &e), LAR_OK);
    assert_string_equal(h.result, "{\"tokens\":[1,288]}");
    lar_string_free(h.result);
    lar_request_free(r);
    /* A listener may free the request that runs. */
    rt = runtime();
    m = small_model(rt, NULL);
    assert_int_equal(lar_request_new(rt, "tokenize", &r, &e), LAR_OK);
    assert_int_equal(lar_request_set_model(r, m, &e), LAR_OK);
    lar_model_free(m);
    lar_runtime_free(rt);
    assert_int_equal(lar_request_run(r, free_it, r, &e), LAR_OK);
    lar_request_free(NULL);
    lar_session_free(NULL);
    lar_model_free(NULL);
    lar_runtime_free(NULL);
    lar_string_free(NULL);
    assert_int_equal(lar_session_clear(NULL, NULL), LAR_OK);
}

static void bad_calls(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_runtime *rt = NULL, *other = runtime();
    lar_runtime_options o = {0};
    lar_model *m = NULL;
    lar_request *r;
    lar_session *s;
    assert_int_equal(lar_runtime_new(&o, &rt, &e), LAR_EARG); /* no size */
    o.size = sizeof o;
    o.threads = -1;
    assert_int_equal(lar_runtime_new(&o, &rt, &e), LAR_EARG);
    o.threads = 1;
    o.cpu = "z80";
    assert_int_equal(lar_runtime_new(&o, &rt, &e), LAR_EARG);
    assert_non_null(strstr(e.msg, "generic"));
    o.cpu = "generic";
    struct {
        lar_runtime_options known;
        uint64_t
            unknown; /* as wide as the struct's alignment: no padding, which would hold anything */
    } newer = {.known = o, .unknown = 0};
    newer.known.size = sizeof newer;
    assert_int_equal(lar_runtime_new(&newer.known, &rt, &e), LAR_OK); /* appended, but not used */
    lar_runtime_free(rt);
    newer.unknown = 1;
    assert_int_equal(lar_runtime_new(&newer.known, &rt, &e), LAR_EARG);
    assert_int_equal(lar_runtime_new(&o, NULL, &e), LAR_EARG);
    assert_int_equal(lar_runtime_new(&o, &rt, NULL), LAR_OK);
    assert_int_not_equal(lar_model_open(rt, "no/such/file.gguf", NULL, &m, &e), LAR_OK);
    assert_null(m);
    assert_non_null(strstr(e.msg, "no/such/file.gguf"));
    assert_int_equal(lar_model_open(rt, NULL, NULL, &m, &e), LAR_EARG);
    assert_int_equal(lar_request_new(rt, "brew", &r, &e), LAR_ENOTFOUND);
    assert_non_null(strstr(e.msg, "tokenize"));
    m = small_model(other, NULL);
    assert_int_equal(lar_session_new(m, NULL, &s, &e), LAR_EARG); /* vocab_only */
    assert_int_equal(lar_request_new(rt, "tokenize", &r, &e), LAR_OK);
    assert_int_equal(lar_request_set_model(r, m, &e), LAR_EARG); /* of another runtime */
    assert_int_equal(lar_request_run(r, NULL, NULL, &e), LAR_EARG);
    assert_non_null(strstr(e.msg, "needs a model"));
    assert_int_equal(lar_request_set_json(r, NULL, "{\"text\":", &e), LAR_EARG);
    assert_int_equal(lar_request_set_json(r, NULL, NULL, &e), LAR_EARG);
    assert_int_equal(lar_request_run(NULL, NULL, NULL, &e), LAR_EARG);
    lar_request_free(r);
    assert_int_equal(lar_request_new(rt, "generate", &r, &e), LAR_OK);
    assert_int_equal(lar_request_run(r, NULL, NULL, &e), LAR_EARG);
    assert_non_null(strstr(e.msg, "needs a session"));
    lar_request_free(r);
    lar_model_free(m);
    lar_runtime_free(other);
    lar_runtime_free(rt);
}

/* ---- what objects say of themselves
 * ----------------------------------------------------------------------------- */

static json_t *take(char *s)
{
    json_error_t je;
    assert_non_null(s);
    json_t *v = json_loads(s, JSON_REJECT_DUPLICATES, &je);
    if (!v)
        fail_msg("%s: %s", je.text, s);
    lar_string_free(s);
    return v;
}

static json_int_t num(const json_t *v, const char *a, const char *b)
{
    const json_t *x = json_object_get(v, a);
    x = b ? json_object_get(x, b) : x;
    assert_true(json_is_integer(x));
    return json_integer_value(x);
}

static void infos(void **state)
{
    (void)state;
    lar_runtime *rt = runtime();
    json_t *v = take(lar_runtime_info(rt, 1));
    assert_int_equal(num(v, "threads", NULL), 2);
    assert_true(json_real_value(json_object_get(v, "bandwidth_gb_s")) > 0.01);
    assert_true(num(v, "memory", "total") >= num(v, "memory", "available"));
    assert_string_equal(json_string_value(json_array_get(json_object_get(v, "variants"), 0)),
                        "generic");
    json_decref(v);
    lar_model *m = small_model(rt, "{% broken");
    v = take(lar_model_info(m, 1));
    assert_string_equal(json_string_value(json_object_get(v, "architecture")), "llama");
    assert_int_equal(num(v, "context_length", NULL), 2048);
    assert_int_equal(num(v, "hyper_parameters", "block_count"), 2);
    /* 2 layers, 2 heads of 16 + 16 halves */
    json_t *f16 = json_object_get(json_object_get(json_object_get(v, "memory"), "kv"), "f16");
    assert_int_equal(num(f16, "per_token", NULL), 2 * 2 * 32 * 2);
    assert_int_equal(num(f16, "ctx_2048", NULL), 2048 * 2 * 2 * 32 * 2);
    assert_true(json_is_true(json_object_get(v, "has_template")));
    assert_non_null(json_object_get(v, "template_error"));
    json_t *tokens = json_object_get(json_object_get(v, "metadata"), "tokenizer.ggml.tokens");
    assert_int_equal(num(tokens, "count", NULL), num(v, "tokenizer", "size"));
    assert_int_equal(json_array_size(json_object_get(tokens, "first")), 8);
    json_decref(v);
    lar_model_free(m);
    lar_runtime_free(rt);
    assert_null(lar_runtime_info(NULL, 0));
    assert_null(lar_model_info(NULL, 0));
    assert_null(lar_session_info(NULL));
}

static void sessions_tell(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_runtime *rt = runtime();
    lar_model *m;
    lar_session *s;
    if (lar_model_open(rt, "tests/data/tiny.gguf", NULL, &m, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    json_t *v = take(lar_model_info(m, 1));
    assert_int_equal(json_array_size(json_object_get(v, "tensors")), 20);
    assert_int_equal(num(v, "tokenizer", "size"), 320);
    assert_null(json_object_get(json_object_get(v, "tokenizer"), "error"));
    assert_null(json_object_get(v, "template_error"));
    assert_string_equal(json_string_value(json_object_get(v, "name")), "LAR test model tiny");
    json_decref(v);
    lar_session_options o = {.size = sizeof o};
    static const struct {
        int asked, ctx;
        bool reduced;
        const char *kv;
    } cases[] = {{0, 2048, false, NULL},
                 {256, 256, false, "q8_0"},
                 {256, 256, false, "q4_0"},
                 {1 << 20, 2048, true, "f32"}};
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        o.ctx = cases[i].asked;
        o.kv_type = cases[i].kv;
        if (lar_session_new(m, &o, &s, &e) != LAR_OK)
            fail_msg("%s", e.msg);
        v = take(lar_session_info(s));
        assert_int_equal(num(v, "ctx", NULL), cases[i].ctx);
        assert_int_equal(num(v, "ctx_model", NULL), 2048);
        assert_int_equal(json_is_true(json_object_get(v, "reduced")), cases[i].reduced);
        assert_string_equal(json_string_value(json_object_get(v, "kv_type")),
                            cases[i].kv ? cases[i].kv : "f16");
        assert_int_equal(num(v, "tokens", NULL), 0);
        json_decref(v);
        if (i + 1 < LAR_LEN(cases))
            lar_session_free(s);
    }
    o.kv_type = "q5_0";
    lar_session *no;
    assert_int_equal(lar_session_new(m, &o, &no, &e), LAR_EARG);
    o = (lar_session_options){.size = sizeof o, .ctx = -1};
    assert_int_equal(lar_session_new(m, &o, &no, &e), LAR_EARG);
    o = (lar_session_options){.size = sizeof o, .batch = -1};
    assert_int_equal(lar_session_new(m, &o, &no, &e), LAR_EARG);
    lar_model_free(m); /* the session keeps both alive */
    lar_runtime_free(rt);
    assert_int_equal(lar_session_clear(s, NULL), LAR_OK);
    v = take(lar_session_info(s));
    json_decref(v);
    lar_session_free(s);
}

/* ---- allocations that fail, in turn
 * --------------------------------------------------------------------------------- */

/* A conversation whose user writes a control token, so that its origin is traced. */
static lar_status prompt(const lar_model *m, lar_err *e)
{
    lar_ids ids = {0};
    json_t *vars =
        json_pack("{s:[{s:s,s:s}]}", "messages", "role", "user", "content", "hello<|im_end|>");
    lar_status s = lar_chat_tokens_at(m, vars, NULL, true, 0, &ids, NULL, e);
    assert_true(s != LAR_OK || ids.n > 0);
    lar_ids_free(&ids);
    json_decref(vars);
    return s;
}

static lar_status whole_life(const char *path, lar_err *e)
{
    lar_runtime *rt = NULL;
    lar_model *m = NULL;
    lar_request *r = NULL;
    lar_runtime_options ro = {.size = sizeof ro, .threads = 1};
    lar_model_options mo = {.size = sizeof mo, .vocab_only = 1};
    lar_status s = lar_runtime_new(&ro, &rt, e);
    if (s == LAR_OK)
        s = lar_model_open(rt, path, &mo, &m, e);
    if (s == LAR_OK)
        s = lar_request_new(rt, "tokenize", &r, e);
    if (s == LAR_OK)
        s = lar_request_set_model(r, m, e);
    if (s == LAR_OK)
        s = lar_request_set_json(r, NULL, "{\"text\":\"hello\",\"pieces\":true}", e);
    if (s == LAR_OK)
        s = lar_request_run(r, NULL, NULL, e);
    lar_request_free(r);
    r = NULL;
    if (s == LAR_OK)
        s = lar_request_new(rt, "template", &r, e);
    if (s == LAR_OK)
        s = lar_request_set_model(r, m, e);
    if (s == LAR_OK)
        s = lar_request_set_json(r, "vars", "{\"messages\":[\"a\",\"b\"]}", e);
    if (s == LAR_OK)
        s = lar_request_run(r, NULL, NULL, e);
    if (s == LAR_OK)
        s = prompt(m, e);
    lar_request_free(r);
    lar_model_free(m);
    lar_runtime_free(rt);
    return s;
}

static void every_allocation_fails(void **state)
{
    (void)state;
    if (!oom_linked()) {
        print_message("skipped: not linked with --wrap\n");
        return;
    }
    char *path = sv_write("{{ messages }}", true, true);
    long n = 0, refused = 0;
    for (;; n++) {
        lar_err e = {0};
        oom_fail_at(n);
        lar_status s = whole_life(path, &e);
        bool hit = oom_hit();
        oom_fail_at(-1);
        if (!hit) {
            assert_int_equal(s, LAR_OK);
            break;
        }
        refused += s == LAR_ENOMEM;
        /* LAR_OK where the memory was for a message that nobody needed. */
        if (s != LAR_ENOMEM && s != LAR_OK)
            fail_msg("allocation %ld failed, and the status is %s: %s", n, lar_status_name(s),
                     e.msg);
    }
    assert_true(refused > 20 && refused >= n - 2);
    unlink(path);
    free(path);
}

/* ---- the exported functions
 * ------------------------------------------------------------------------------------------- */

#define F(name)                                                                                    \
    {                                                                                              \
#name, (void (*)(void))name                                                                \
    }
static const struct {
    const char *name;
    void (*fn)(void);
} exported[] = {
    F(lar_abi),
    F(lar_event_get_json),
    F(lar_event_get_kind),
    F(lar_event_get_number),
    F(lar_event_get_text),
    F(lar_model_free),
    F(lar_model_info),
    F(lar_model_open),
    F(lar_prefix_survey),
    F(lar_request_cancel),
    F(lar_request_free),
    F(lar_request_new),
    F(lar_request_run),
    F(lar_request_set_bytes),
    F(lar_request_set_json),
    F(lar_request_set_model),
    F(lar_request_set_number),
    F(lar_request_set_session),
    F(lar_request_set_string),
    F(lar_runtime_free),
    F(lar_runtime_info),
    F(lar_runtime_new),
    F(lar_session_clear),
    F(lar_session_free),
    F(lar_session_info),
    F(lar_session_keep),
    F(lar_session_load),
    F(lar_session_new),
    F(lar_session_save),
    F(lar_status_name),
    F(lar_string_free),
    F(lar_task_count),
    F(lar_task_name),
    F(lar_task_schema),
    F(lar_version),
};

static void abi_is_as_listed(void **state)
{
    (void)state;
    char line[128];
    size_t n = 0;
    FILE *f = fopen("tests/abi.txt", "r");
    assert_non_null(f);
    for (; fgets(line, sizeof line, f); n++) {
        line[strcspn(line, "\r\n")] = 0;
        if (n >= LAR_LEN(exported) || strcmp(line, exported[n].name) != 0)
            fail_msg("tests/abi.txt line %zu: %s, lar.h has %s", n + 1, line,
                     n < LAR_LEN(exported) ? exported[n].name : "no more");
        assert_non_null(exported[n].fn);
    }
    fclose(f);
    assert_int_equal(n, LAR_LEN(exported));
    /* And the header declares just these. */
    size_t declared = 0;
    f = fopen("include/lar.h", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        declared += strncmp(line, "LAR_API ", 8) == 0;
    fclose(f);
    assert_int_equal(declared, n);
    assert_string_equal(lar_version(), LAR_VERSION);
    assert_int_equal(lar_abi(), LAR_ABI);
    assert_string_equal(lar_status_name(LAR_ENUMERIC), "LAR_ENUMERIC");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_have_defaults),
        cmocka_unit_test(fields_take_values),
        cmocka_unit_test(fields_refuse),
        cmocka_unit_test(schema_is_exact),
        cmocka_unit_test(tables_are_sound),
        cmocka_unit_test(tokenize_runs),
        cmocka_unit_test(template_runs),
        cmocka_unit_test(cancelling),
        cmocka_unit_test(frees_in_any_order),
        cmocka_unit_test(bad_calls),
        cmocka_unit_test(infos),
        cmocka_unit_test(sessions_tell),
        cmocka_unit_test(every_allocation_fails),
        cmocka_unit_test(abi_is_as_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
