/*
 * models.h - models by name. A file is opened when somebody asks for it; its cache is shared by all
 * who answer with it. Where memory does not suffice, models that nobody uses leave, the least
 * recently used first. Any thread.
 */
#ifndef LAR_SERVE_MODELS_H
#define LAR_SERVE_MODELS_H
#include "serve/http.h"

typedef struct serve_models serve_models;

/* A model in use: until serve_model_give. */
typedef struct serve_model {
    const char *name;
    lar_model *model;
    lar_session *base; /* sessions take a seat there: lar_session_options.with */
    void *entry;
} serve_model;

lar_status serve_models_new(serve_server *s, serve_models **out, lar_err *e);
void serve_models_free(serve_models *m);
void serve_models_tidy(serve_models *m); /* let go of what nobody has used for long */

/* By the `model` of a body (name NULL: the first). When it fails the call has been answered. */
bool serve_model_take(serve_call *c, const char *name, serve_model *out);
void serve_model_give(serve_call *c, serve_model *m);
/* How long it stays when it is idle, from now on. Negative: for good; 0: not at all. */
void serve_model_keep(serve_model *m, double seconds);

/* All names: [{"name", "path", "loaded", "bytes", "created"}]. */
json_t *serve_models_list(serve_models *m);

#endif
