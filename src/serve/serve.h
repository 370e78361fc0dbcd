/*
 * serve.h - `lar serve`: the HTTP front doors, a client of lar.h. Depends on lar.h, base,
 * libmicrohttpd, jansson, libsodium.
 *
 * http.c     connections, limits, who may speak to us; the queue and its workers
 * models.c   models by name: loaded when asked for, the least recently used ones leave
 * answer.c   one request of task `generate` with its events; the conversation's common fields
 * tools.c    tool calls in what a model says
 * web.c      the page at /, whose files are in web/
 * openai.c, extra.c ...   the fronts: an API is one file with a table of routes (http.h says how)
 */
#ifndef LAR_SERVE_H
#define LAR_SERVE_H
#include "base/base.h"

typedef struct serve_name {
    const char *name, *path;
} serve_name;

typedef struct serve_options {
    const char *address;      /* NULL: 127.0.0.1 */
    int port;                 /* 0: any that is free */
    const char *api_key;      /* NULL: none; an address other than loopback wants one */
    const char *cors;         /* an origin that pages may come from besides our own; NULL: none */
    const char *const *hosts; /* further names that the Host header may have */
    size_t n_hosts;
    const serve_name *models; /* the first is taken where a request names none */
    size_t n_models;
    /* Models that are there besides, now: asked when a name is not known. */
    void (*more)(void *user, void (*add)(void *arg, const char *name, const char *path), void *arg);
    int parallel;    /* answers at once, for each model; 0: 16 */
    int queue;       /* requests that may wait; 0: 64 */
    int connections; /* 0: 1,024 */
    int ctx;         /* tokens of an answer with its prompt; 0: the model's own, at most 4,096 */
    const char *kv_type; /* NULL: f16 */
    uint64_t memory;     /* for weights and caches; 0: three quarters of what is available */
    double keep_alive;   /* seconds that an idle model stays; 0: 1,800 */
    double grace;        /* seconds that answers may take after the signal to end; 0: 10 */
    size_t max_body;     /* 0: 16 MiB */
    int threads;
    const char *cpu;
    bool log_prompts;
    void (*log)(void *user, const char *line); /* from any thread; NULL: silent */
    void *user;
} serve_options;

/* Serve until SIGINT or SIGTERM. */
lar_status lar_serve(const serve_options *o, lar_err *e);

#endif
