/*
 * generate_test.h - a runtime, models, sessions and requests for tests of tasks through lar.h; what
 * a request said is kept and checked on the way: every text is whole UTF-8, the pieces are the
 * result.
 */
#ifndef LAR_GENERATE_TEST_H
#define LAR_GENERATE_TEST_H
#include "tasks/host.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct said {
    lar_status st;
    lar_err e;
    json_t *result;
    lar_buf text, thinking, notice;
    int events, after_cancel;
    int cancel_at; /* this event asks to stop (from 1); 0: none */
    bool by_call;  /* ... by lar_request_cancel instead of the return value */
    lar_request *request;
} said;

static inline bool utf8_valid(const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        const int k = lar_utf8_decode(p + i, n - i, NULL);
        if (!k)
            return false;
        i += (size_t)k;
    }
    return true;
}

static inline void same_text(const json_t *json, const char *p, size_t n)
{
    assert_int_equal(json_string_length(json), n);
    if (n)
        assert_memory_equal(json_string_value(json), p, n);
}

static inline int said_event(const lar_event *ev, void *user)
{
    said *s = user;
    size_t n;
    const char *text = lar_event_get_text(ev, &n);
    const lar_event_kind kind = lar_event_get_kind(ev);
    /* A model may say U+0000: it is a character like another. */
    json_t *json =
        json_loads(lar_event_get_json(ev), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    s->events++;
    s->after_cancel += s->cancel_at && s->events > s->cancel_at;
    assert_non_null(json);
    if (!utf8_valid(text, n))
        fail_msg("event %d: not whole UTF-8: \"%s\"", s->events, text);
    if (kind == LAR_EVENT_TEXT || kind == LAR_EVENT_THINKING || kind == LAR_EVENT_NOTICE) {
        assert_true(n > 0);
        assert_int_equal(text[n], 0);
        lar_buf_add(kind == LAR_EVENT_TEXT       ? &s->text
                    : kind == LAR_EVENT_THINKING ? &s->thinking
                                                 : &s->notice,
                    text, n);
        same_text(json_object_get(json, "text"), text, n);
    }
    if (kind == LAR_EVENT_PROGRESS)
        assert_true(lar_event_get_number(ev) > 0 && lar_event_get_number(ev) <= 1);
    if (kind == LAR_EVENT_RESULT) {
        assert_null(s->result);
        s->result = json_incref(json);
    }
    json_decref(json);
    if (s->events == s->cancel_at && s->by_call)
        lar_request_cancel(s->request);
    return s->events == s->cancel_at && !s->by_call;
}

static inline const char *buf_text(const lar_buf *b)
{
    return b->p ? b->p : "";
}

static inline void said_free(said *s)
{
    json_decref(s->result);
    lar_buf_free(&s->text);
    lar_buf_free(&s->thinking);
    lar_buf_free(&s->notice);
    memset(s, 0, sizeof *s);
}

/* ---- handles ------------------------------------------------------------------------------------
 */

static inline lar_runtime *test_runtime(int threads)
{
    lar_err e = {0};
    lar_runtime *rt;
    const lar_runtime_options o = {.size = sizeof o, .threads = threads};
    if (lar_runtime_new(&o, &rt, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return rt;
}

static inline lar_model *test_model_open(lar_runtime *rt, const char *path)
{
    lar_err e = {0};
    lar_model *m;
    if (lar_model_open(rt, path, NULL, &m, &e) != LAR_OK)
        fail_msg("%s: %s", path, e.msg);
    return m;
}

static inline lar_session *test_session(lar_model *m, int ctx, int batch, const char *kv)
{
    lar_err e = {0};
    lar_session *s;
    const lar_session_options o = {.size = sizeof o, .ctx = ctx, .batch = batch, .kv_type = kv};
    if (lar_session_new(m, &o, &s, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return s;
}

/* ---- one request
 * ----------------------------------------------------------------------------------- */

/* fields: JSON. The texts of a result are checked against its pieces. */
static inline void ask_into(said *s, lar_session *ses, const char *task, const char *fields)
{
    lar_request *r;
    if (lar_request_new(ses->model->rt, task, &r, &s->e) != LAR_OK)
        fail_msg("%s", s->e.msg);
    if (s->cancel_at < 0)
        lar_request_cancel(r); /* before it runs */
    s->request = r;
    assert_int_equal(lar_request_set_session(r, ses, &s->e), LAR_OK);
    s->st = lar_request_set_json(r, NULL, fields, &s->e);
    if (s->st == LAR_OK)
        s->st = lar_request_run(r, said_event, s, &s->e);
    lar_request_free(r);
    assert_int_equal(s->after_cancel, 0);
    if (s->st == LAR_OK && strcmp(task, "generate") == 0) {
        same_text(json_object_get(s->result, "text"), s->text.p, s->text.n);
        same_text(json_object_get(s->result, "thinking"), s->thinking.p, s->thinking.n);
    }
}

static inline said ask_any(lar_session *ses, const char *task, const char *fields)
{
    said s = {0};
    ask_into(&s, ses, task, fields);
    return s;
}

/* The same; it must succeed. */
static inline said ask(lar_session *ses, const char *task, const char *fields)
{
    said s = ask_any(ses, task, fields);
    if (s.st != LAR_OK)
        fail_msg("%s %s: %s", task, fields, s.e.msg);
    return s;
}

static inline const char *stop_reason(const said *s)
{
    return json_string_value(json_object_get(s->result, "stop_reason"));
}

static inline int timing(const said *s, const char *key)
{
    const json_t *v = json_object_get(json_object_get(s->result, "timings"), key);
    assert_true(json_is_integer(v));
    return (int)json_integer_value(v);
}

static inline int n_tokens(const said *s)
{
    return (int)json_array_size(json_object_get(s->result, "tokens"));
}

static inline int token(const said *s, int i)
{
    return (int)json_integer_value(json_array_get(json_object_get(s->result, "tokens"), (size_t)i));
}

static inline void same_tokens(const said *a, const said *b)
{
    char *x = json_dumps(json_object_get(a->result, "tokens"), JSON_COMPACT);
    char *y = json_dumps(json_object_get(b->result, "tokens"), JSON_COMPACT);
    assert_string_equal(x, y);
    same_text(json_object_get(a->result, "text"), b->text.p, b->text.n);
    free(x);
    free(y);
}

/* A temporary path; the caller removes the file and frees it. */
static inline char *temp_path(const char *what)
{
    const char *dir = getenv("TMPDIR");
    char *path = malloc(512);
    snprintf(path, 512, "%s/lar-test-%s-%ld", dir ? dir : "/tmp", what, (long)(lar_clock() * 1e9));
    return path;
}

#endif
