/*
 * call.c - a call from its queue to its reply: the workers, and what fronts reply with. A call that
 * a worker has is suspended in libmicrohttpd and resumed when there is something to send.
 */
#include "base/os.h"
#include "serve/part.h"
#include <stdio.h>
#include <string.h>

enum { LAG = 8 << 20 }; /* bytes that a reader may be behind */

serve_call *serve__call_new(serve_server *s, struct MHD_Connection *mhd, const char *path)
{
    serve_call *c = lar_alloc(sizeof *c);
    if (!c)
        return NULL;
    if (lar_lock_init(&c->lock, NULL) != LAR_OK) {
        lar_free(c);
        return NULL;
    }
    c->server = s;
    c->mhd = mhd;
    c->refs = 1;
    c->path = lar_strdup(path);
    c->t0 = lar_clock();
    lar_lock_take(&s->lock);
    c->id = ++s->last_id;
    c->next = s->calls;
    s->calls = c;
    s->fig.requests++;
    lar_lock_give(&s->lock);
    return c;
}

void serve__call_unref(serve_call *c)
{
    serve_server *s = c->server;
    lar_lock_take(&s->lock);
    const bool last = --c->refs == 0;
    if (last) {
        serve_call **p = &s->calls;
        while (*p != c)
            p = &(*p)->next;
        *p = c->next;
    }
    lar_lock_give(&s->lock);
    if (!last)
        return;
    lar_lock_end(&c->lock);
    lar_buf_free(&c->body);
    lar_buf_free(&c->headers);
    lar_buf_free(&c->out);
    json_decref(c->json);
    lar_free(c->path);
    lar_free(c);
}

void serve__call_cancel(serve_call *c)
{
    lar_lock_take(&c->lock);
    c->gone = true;
    if (c->running)
        lar_request_cancel(c->running);
    lar_lock_give(&c->lock);
}

/* ---- the queue and its workers ------------------------------------------------------------------
 */

bool serve__submit(serve_call *c)
{
    serve_server *s = c->server;
    lar_lock_take(&s->lock);
    const bool full = s->queued >= s->o.queue && s->running >= s->n_workers, stop = s->stop;
    if (!full && !stop) {
        c->refs++;
        c->submitted = true;
        c->after = NULL;
        *s->last = c;
        s->last = &c->after;
        s->queued++;
        lar_bell_ring(&s->work);
    } else {
        s->fig.refused++;
    }
    lar_lock_give(&s->lock);
    if (stop)
        serve_fail(c, 503, "server_error", NULL, "the server is going down");
    else if (full)
        serve_fail(c, 429, "rate_limit_error", NULL,
                   "%d requests are being answered and %d wait, which is all there is room for: "
                   "try again later",
                   s->n_workers, s->o.queue);
    return !full && !stop;
}

static void wake(serve_call *c)
{
    if (!c->suspended)
        return;
    c->suspended = false;
    MHD_resume_connection(c->mhd);
}

static void answer(serve_call *c)
{
    serve_server *s = c->server;
    if (!serve_gone(c))
        c->route->run(c);
    if (!c->status)
        serve_fail(c, 500, "server_error", NULL, "no answer");
    lar_lock_take(&c->lock);
    c->done = true;
    wake(c);
    const bool gone = c->gone;
    const int status = c->status;
    lar_lock_give(&c->lock);
    lar_lock_take(&s->lock);
    s->fig.cancelled += gone;
    lar_lock_give(&s->lock);
    serve_log(s, "%llu %s %s %s %.3f s", (unsigned long long)c->id, c->route->method, c->path,
              gone           ? "left"
              : status < 400 ? "ok"
                             : "failed",
              lar_clock() - c->t0);
}

static void *work(void *arg)
{
    serve_server *s = arg;
    lar_lock_take(&s->lock);
    for (;;) {
        while (!s->queue && !s->stop)
            lar_bell_wait(&s->work, &s->lock);
        serve_call *c = s->queue;
        if (!c)
            break;
        if (!(s->queue = c->after))
            s->last = &s->queue;
        s->queued--;
        s->running++;
        lar_lock_give(&s->lock);
        answer(c);
        serve__call_unref(c);
        lar_lock_take(&s->lock);
        s->running--;
    }
    lar_lock_give(&s->lock);
    return NULL;
}

lar_status serve__workers_start(serve_server *s, lar_err *e)
{
    s->last = &s->queue;
    s->worker = lar_alloc_array((size_t)s->o.parallel, sizeof *s->worker);
    if (!s->worker)
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    for (; s->n_workers < s->o.parallel; s->n_workers++)
        if (pthread_create(&s->worker[s->n_workers], NULL, work, s))
            return lar_fail(e, LAR_EIO, "the system gives no more threads");
    return LAR_OK;
}

void serve__workers_stop(serve_server *s)
{
    lar_lock_take(&s->lock);
    s->stop = true;
    lar_bell_ring_all(&s->work);
    lar_lock_give(&s->lock);
    for (int i = 0; i < s->n_workers; i++)
        pthread_join(s->worker[i], NULL);
    lar_free(s->worker);
    s->worker = NULL;
    s->n_workers = 0;
}

/* ---- the request -------------------------------------------------------------------------------
 */

serve_server *serve_of(const serve_call *c)
{
    return c->server;
}

const char *serve_rest(const serve_call *c)
{
    return c->path + strcspn(c->route->path, "*");
}

const char *serve_header(serve_call *c, const char *name)
{
    return MHD_lookup_connection_value(c->mhd, MHD_HEADER_KIND, name);
}

uint64_t serve_id(const serve_call *c)
{
    return c->id;
}

bool serve_gone(serve_call *c)
{
    lar_lock_take(&c->lock);
    const bool gone = c->gone;
    lar_lock_give(&c->lock);
    return gone;
}

void serve_watch(serve_call *c, lar_request *r)
{
    lar_lock_take(&c->lock);
    c->running = r;
    if (r && c->gone)
        lar_request_cancel(r);
    lar_lock_give(&c->lock);
}

bool serve_replied(const serve_call *c)
{
    return c->status != 0;
}

/* Deeper than any request is, and nothing that recursion minds. */
enum { DEPTH = 128 };

static bool too_deep(const char *p, size_t n)
{
    int depth = 0;
    bool text = false;
    for (size_t i = 0; i < n; i++) {
        if (text && p[i] == '\\')
            i++;
        else if (p[i] == '"')
            text = !text;
        else if (!text && (p[i] == '[' || p[i] == '{') && ++depth > DEPTH)
            return true;
        else if (!text && (p[i] == ']' || p[i] == '}'))
            depth--;
    }
    return false;
}

json_t *serve_body(serve_call *c)
{
    json_error_t err;
    if (c->json)
        return c->json;
    if (!c->body.n) {
        serve_fail(c, 400, "invalid_request_error", NULL, "no body: want a JSON object");
        return NULL;
    }
    if (too_deep(c->body.p, c->body.n)) {
        serve_fail(c, 400, "invalid_request_error", NULL, "the JSON is nested deeper than %d",
                   DEPTH);
        return NULL;
    }
    c->json = json_loadb(c->body.p, c->body.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &err);
    if (!c->json)
        serve_fail(c, 400, "invalid_request_error", NULL, "not JSON: %s (line %d, column %d)",
                   err.text, err.line, err.column);
    else if (!json_is_object(c->json))
        serve_fail(c, 400, "invalid_request_error", NULL, "want a JSON object");
    if (c->server->o.log_prompts)
        serve_log(c->server, "%llu asks: %.*s", (unsigned long long)c->id,
                  (int)LAR_MIN(c->body.n, 900), c->body.p);
    lar_buf_free(&c->body);
    return c->status ? NULL : c->json;
}

/* ---- the reply ----------------------------------------------------------------------------------
 */

void serve_add_header(serve_call *c, const char *name, const char *value)
{
    lar_lock_take(&c->lock);
    lar_buf_add(&c->headers, name, strlen(name) + 1);
    lar_buf_add(&c->headers, value, strlen(value) + 1);
    lar_lock_give(&c->lock);
}

void serve_reply(serve_call *c, int status, const char *type, const char *data, size_t n)
{
    lar_lock_take(&c->lock);
    if (!c->status) {
        lar_buf_add(&c->out, data, n);
        c->status = c->out.oom ? 500 : status;
        c->type = type;
    }
    lar_lock_give(&c->lock);
}

void serve_reply_json(serve_call *c, int status, json_t *value)
{
    static const char none[] =
        "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\","
        "\"param\":null,\"code\":null}}";
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    if (text)
        serve_reply(c, status, "application/json", text, strlen(text));
    else
        serve_reply(c, 503, "application/json", none, sizeof none - 1);
    lar_free(text);
}

void serve_fail(serve_call *c, int status, const char *kind, const char *param, const char *fmt,
                ...)
{
    serve_server *s = c->server;
    char msg[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    size_t n = strlen(msg); /* cut or quoted in the midst of a character */
    for (size_t i = 0; i < n;) {
        const int k = lar_utf8_decode(msg + i, n - i, NULL);
        if (!k)
            msg[i] = '?';
        i += k ? (size_t)k : 1;
    }
    lar_lock_take(&s->lock);
    s->fig.failed++;
    lar_lock_give(&s->lock);
    const serve_front *f = c->front ? c->front : serve_fronts[0];
    if (c->streaming)
        serve_put_event(c, NULL, f->error(status, kind, param, msg));
    else
        serve_reply_json(c, status, f->error(status, kind, param, msg));
}

void serve_fail_lar(serve_call *c, const char *param, const lar_err *e)
{
    switch ((int)e->code) {
    case LAR_EARG:
    case LAR_EFORMAT:
    case LAR_EUNSUPPORTED:
        serve_fail(c, 400, "invalid_request_error", param, "%s", e->msg);
        break;
    case LAR_EFULL:
        serve_fail(c, 400, "context_length_exceeded", param, "%s", e->msg);
        break;
    case LAR_ENOTFOUND:
        serve_fail(c, 404, "not_found_error", param, "%s", e->msg);
        break;
    case LAR_ENOMEM:
    case LAR_ECANCELLED:
        serve_fail(c, 503, "server_error", param, "%s", e->msg);
        break;
    default:
        serve_fail(c, 500, "server_error", param, "%s", e->msg);
    }
}

void serve_stream(serve_call *c, const char *type)
{
    lar_lock_take(&c->lock);
    if (!c->status) {
        c->status = 200;
        c->streaming = true;
        c->type = type;
        wake(c);
    }
    lar_lock_give(&c->lock);
}

void serve_put(serve_call *c, const char *p, size_t n)
{
    lar_lock_take(&c->lock);
    if (!c->gone)
        lar_buf_add(&c->out, p, n);
    if (c->out.oom || c->out.n - c->at > LAG)
        c->gone = true;
    wake(c);
    lar_lock_give(&c->lock);
}

void serve_put_event(serve_call *c, const char *name, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    lar_buf b = {0};
    if (name)
        lar_buf_printf(&b, "event: %s\n", name);
    lar_buf_puts(&b, "data: ");
    lar_buf_puts(&b, text ? text : "{}");
    lar_buf_puts(&b, "\n\n");
    if (b.p && !b.oom)
        serve_put(c, b.p, b.n);
    lar_buf_free(&b);
    lar_free(text);
    json_decref(value);
}
