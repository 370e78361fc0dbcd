/* event.c - from a running task to its request's listener. Depends on event.h, json.h. */
#include "tasks/event.h"
#include "base/math.h"
#include "tasks/json.h"
#include <stdio.h>

static const char *const kind_names[] = {
    [LAR_EVENT_TEXT] = "text",         [LAR_EVENT_THINKING] = "thinking",
    [LAR_EVENT_PROGRESS] = "progress", [LAR_EVENT_NOTICE] = "notice",
    [LAR_EVENT_RESULT] = "result",     [LAR_EVENT_TOKEN] = "token",
};

char *lar__event_json(const lar_event *ev)
{
    bool bad = false;
    json_t *o = json_object();
    lar_json_put(o, "event", json_string(kind_names[ev->kind]), &bad);
    lar_json_put(o, "text", lar_json_text(ev->text, ev->n), &bad);
    if (ev->kind == LAR_EVENT_PROGRESS)
        lar_json_put(o, "progress", json_real(ev->number), &bad);
    char *s = bad ? NULL : lar_json_dump(o);
    json_decref(o);
    return s;
}

bool lar_task_cancelled(const lar_task *t)
{
    return t->request && atomic_load(&t->request->cancel) != 0;
}

/* The listener runs in its own floating-point mode. */
static int listen(lar_request *r, const lar_event *ev)
{
    lar_fp_leave(r->fp);
    const int stop = r->fn(ev, r->user);
    lar_fp_enter();
    return stop;
}

static lar_status deliver(lar_task *t, lar_event *ev, char *json, lar_err *e)
{
    struct lar_request *r = t->request;
    ev->json = &json;
    if (r->fn && !lar_task_cancelled(t) && listen(r, ev) != 0)
        atomic_store(&r->cancel, 1);
    lar_free(json);
    return lar_task_cancelled(t) ? lar_fail(e, LAR_ECANCELLED, "cancelled") : LAR_OK;
}

lar_status lar_task_text(lar_task *t, lar_event_kind kind, const char *s, size_t n, lar_err *e)
{
    lar_buf *b = &t->request->text;
    lar_buf_clear(b);
    lar_buf_add(b, s, n);
    if (b->oom) {
        lar_buf_free(b);
        return lar_fail(e, LAR_ENOMEM, "out of memory for an event of %zu bytes", n);
    }
    lar_event ev = {.kind = kind, .text = b->p, .n = n};
    return deliver(t, &ev, NULL, e);
}

lar_status lar_task_progress(lar_task *t, double done, const char *what, lar_err *e)
{
    lar_event ev = {.kind = LAR_EVENT_PROGRESS, .text = what ? what : "", .number = done};
    while (ev.text[ev.n])
        ev.n++;
    return deliver(t, &ev, NULL, e);
}

lar_status lar_task_notice(lar_task *t, lar_err *e, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : LAR_MIN((size_t)n, sizeof line - 1);
    len -= lar_utf8_incomplete(line, len);
    return lar_task_text(t, LAR_EVENT_NOTICE, line, len, e);
}

lar_status lar_task_token(lar_task *t, const json_t *token, lar_err *e)
{
    char *json = token ? lar_json_dump(token) : NULL;
    if (!json)
        return lar_fail(e, LAR_ENOMEM, "out of memory for a token");
    lar_event ev = {.kind = LAR_EVENT_TOKEN, .text = ""};
    return deliver(t, &ev, json, e);
}

lar_status lar_task_result(lar_task *t, json_t *result, lar_err *e)
{
    char *json = result ? lar_json_dump(result) : NULL;
    json_decref(result);
    if (!json)
        return lar_fail(e, LAR_ENOMEM, "out of memory for the result");
    lar_event ev = {.kind = LAR_EVENT_RESULT, .text = ""};
    return deliver(t, &ev, json, e);
}

lar_status lar_task_built(lar_task *t, json_t *result, bool bad, lar_err *e)
{
    if (!bad)
        return lar_task_result(t, result, e);
    json_decref(result);
    return lar_fail(e, LAR_ENOMEM, "%s: out of memory", t->def->name);
}

int lar_task_report(double done, const char *what, void *task)
{
    return lar_task_progress(task, done, what, NULL) != LAR_OK;
}
