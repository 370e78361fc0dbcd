/* http_document.c - a short document over http.h, with retries. Depends on http.h. */
#include "base/os.h"
#include "store/http.h"
#include <string.h>

typedef struct sink {
    lar_buf *body;
    size_t most;
    lar_http_head head;
} sink;

static lar_status take(void *user, const lar_http_head *h, const void *p, size_t n, lar_err *e)
{
    sink *k = user;
    k->head = *h;
    if (!n)
        lar_buf_clear(k->body);
    if (n > k->most || k->body->n > k->most - n)
        return lar_fail(e, LAR_EFORMAT, "an answer of more than %zu bytes", k->most);
    lar_buf_add(k->body, p, n);
    return k->body->oom ? lar_fail(e, LAR_ENOMEM, "out of memory") : LAR_OK;
}

/* 0.5, 1, 2 ... 30 s, or what the server asks for, a minute at most. */
double lar__http_pause(int failures, double asked)
{
    double s = 0.5;
    for (int i = 1; i < failures && s < 30; i++)
        s *= 2;
    return LAR_MIN(LAR_MAX(LAR_MIN(s, 30.0), asked), 60.0);
}

static lar_status pause(lar_http *h, double seconds, int (*poll)(void *user), void *user,
                        lar_err *e)
{
    lar_http_end end;
    for (const double until = lar_clock() + seconds; lar_clock() < until;) {
        lar_http_turn(h, LAR_MIN(until - lar_clock(), 0.2), &end);
        if (poll && poll(user))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
    }
    return LAR_OK;
}

lar_status lar_http_document(lar_http *h, const lar_http_get *get, size_t most, int retries,
                             int (*poll)(void *user), void *user, lar_buf *body,
                             lar_http_head *head, lar_http_end *end, lar_err *e)
{
    sink k = {.body = body, .most = most};
    lar_http_get g = *get;
    g.data = take;
    g.user = &k;
    for (int failures = 0;;) {
        lar_http_transfer *t;
        k.head = (lar_http_head){0};
        lar_buf_clear(body);
        LAR_TRY(lar_http_start(h, &g, &t, e));
        while (!lar_http_turn(h, 0.2, end))
            if (poll && poll(user)) {
                lar_http_drop(h, t);
                return lar_fail(e, LAR_ECANCELLED, "cancelled");
            }
        *head = k.head;
        if (end->status == LAR_OK || !end->again || ++failures > retries)
            break;
        LAR_TRY(pause(h, lar__http_pause(failures, end->wait), poll, user, e));
    }
    if (end->status != LAR_OK && e)
        *e = end->e;
    return end->status;
}
