/* part.h - what http.c, call.c and guard.c share: a server and its calls. */
#ifndef LAR_SERVE_PART_H
#define LAR_SERVE_PART_H
#include "base/sync.h"
#include "serve/http.h"
#include <microhttpd.h>
#include <sodium.h>

enum { SERVE_KEY = crypto_generichash_BYTES };

/* A connection, for the time that its header may take. */
typedef struct serve_conn {
    struct serve_conn *next;
    int fd;
    double since; /* it was made, or its last request ended */
    bool served;  /* a request has ended on it */
    bool busy;    /* the header is there */
} serve_conn;

struct serve_call {
    serve_server *server;
    serve_call *next;  /* of all that are alive */
    serve_call *after; /* in the queue */
    const serve_front *front;
    const serve_route *route;
    struct MHD_Connection *mhd; /* while the connection lasts */
    serve_conn *conn;
    uint64_t id;
    char *path;
    lar_buf body;
    json_t *json;
    lar_lock lock; /* of all below */
    int refs;      /* the connection's, and the worker's */
    bool gone, suspended, submitted, done;
    bool discard; /* the reply is there: what still comes of the body is dropped */
    int status;   /* 0: no reply yet */
    bool streaming, sent;
    const char *type;
    lar_buf headers; /* a name and a value, each with its NUL, and so on */
    lar_buf out;
    size_t at; /* of `out`: sent */
    lar_request *running;
    double t0;
};

struct serve_server {
    serve_options o;
    lar_runtime *rt;
    struct serve_models *models;
    struct MHD_Daemon *daemon;
    int port;
    uint8_t key[SERVE_KEY];
    lar_lock lock; /* of all below */
    lar_bell work;
    serve_call *calls, *queue, **last;
    serve_conn *conns;
    int queued, running;
    bool stop;
    uint64_t last_id;
    serve_figures fig;
    double t0;
    pthread_t *worker;
    int n_workers;
};

/* ---- call.c */
serve_call *serve__call_new(serve_server *s, struct MHD_Connection *mhd, const char *path);
void serve__call_unref(serve_call *c);
void serve__call_cancel(serve_call *c); /* its client has left, or we do */
/* Give it to the workers; false: the queue is full (the call has been answered). */
bool serve__submit(serve_call *c);
lar_status serve__workers_start(serve_server *s, lar_err *e);
void serve__workers_stop(serve_server *s);

/* ---- guard.c: may this request be answered? If not it has been. */
bool serve__guard(serve_call *c, const char *method);

#endif
