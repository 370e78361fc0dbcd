/*
 * http.h - what a front (one API) is made of. To add one: a file FRONT.c with functions that answer
 * a call, a table of routes, a `const serve_front serve_front_NAME` at its end, and a line in
 * fronts.def. The smallest whole one:
 *
 *     static void say_version(serve_call *c)
 *     {
 *         serve_reply_json(c, 200, json_pack("{s:s}", "version", lar_version()));
 *     }
 *     static const serve_route routes[] = {{"GET", "/api/version", say_version, .quick = true}};
 *     const serve_front serve_front_demo = {"demo", my_error, routes, LAR_LEN(routes)};
 *
 * A route's function runs in a worker thread, once the whole body is there; one that is `quick`
 * (never waits, never computes) runs in the thread of all connections. It replies once:
 *
 *     serve_reply_json(c, 200, value)            a whole answer, or
 *     serve_fail(c, 400, "kind", "a.path", ...)  an error in the front's form, or
 *     serve_stream(c, "text/event-stream"), then serve_put_event(c, NULL, value) any number of
 * times.
 *
 * After a reply has begun, serve_fail in the midst of a stream sends the error as an event. What a
 * call asks of a model goes through models.h and answer.h, which also end it when the client
 * leaves. A path that ends with an asterisk takes all that begin so; serve_rest(c) is the
 * remainder.
 */
#ifndef LAR_SERVE_HTTP_H
#define LAR_SERVE_HTTP_H
#include "serve/serve.h"
#include <jansson.h>

typedef struct serve_server serve_server;
typedef struct serve_call serve_call;

typedef struct serve_route {
    const char *method, *path;
    void (*run)(serve_call *c);
    bool quick;       /* see above */
    bool open;        /* needs no key */
    const char *help; /* one line, for /openapi.json */
    const char *task; /* whose fields its body has besides its own, or NULL */
} serve_route;

typedef struct serve_front {
    const char *name;
    /* An error as this API shows it; `param` may be NULL. */
    json_t *(*error)(int status, const char *kind, const char *param, const char *message);
    const serve_route *routes;
    size_t n_routes;
} serve_front;
extern const serve_front *const serve_fronts[];
extern const size_t serve_n_fronts;

/* ---- the request ------------------------------------------------------------------------------
 */

serve_server *serve_of(const serve_call *c);
const char *serve_rest(const serve_call *c);
const char *serve_header(serve_call *c, const char *name); /* NULL: not sent; quick routes only */
/* The body, a JSON object: borrowed. NULL: it is none, and the call has been answered. */
json_t *serve_body(serve_call *c);
uint64_t serve_id(const serve_call *c); /* no two calls of a server have the same */
bool serve_gone(serve_call *c);         /* nobody waits for the answer any more */

/* ---- the reply --------------------------------------------------------------------------------
 */

/* A header of the reply, before it begins. */
void serve_add_header(serve_call *c, const char *name, const char *value);
void serve_reply(serve_call *c, int status, const char *type, const char *data, size_t n);
void serve_reply_json(serve_call *c, int status, json_t *value); /* steals it; NULL: no memory */
void serve_fail(serve_call *c, int status, const char *kind, const char *param, const char *fmt,
                ...) LAR_PRINTF(5, 6);
/* The HTTP status and OpenAI's kind for an error of the library. */
void serve_fail_lar(serve_call *c, const char *param, const lar_err *e);
bool serve_replied(const serve_call *c);

void serve_stream(serve_call *c, const char *type); /* once; nothing if it is under way */
void serve_put(serve_call *c, const char *p, size_t n);
/* An event of server-sent events: "event: NAME" where there is a name, "data: VALUE". Steals. */
void serve_put_event(serve_call *c, const char *name, json_t *value);

/* ---- the server, for fronts --------------------------------------------------------------------
 */

struct serve_models;
struct serve_models *serve_the_models(serve_server *s);
lar_runtime *serve_runtime(serve_server *s);
const serve_options *serve_opts(const serve_server *s);
void serve_log(serve_server *s, const char *fmt, ...) LAR_PRINTF(2, 3);

/* What has happened so far, for /metrics. */
typedef struct serve_figures {
    uint64_t requests, failed, refused, cancelled; /* refused: 429 and 503 */
    uint64_t prompt_tokens, cached_tokens, answer_tokens;
    int running, queued, connections;
    double uptime;
} serve_figures;
serve_figures serve_get_figures(serve_server *s);
void serve_count_tokens(serve_server *s, uint64_t prompt, uint64_t cached, uint64_t answer);

/* A request that may be cancelled when the client leaves; NULL: none any more. */
void serve_watch(serve_call *c, lar_request *r);

#endif
