/*
 * answer.h - what fronts ask of a model: one answer with its events, ended when the client leaves;
 * and the parts of a body that all conversations have. Depends on models.h.
 */
#ifndef LAR_SERVE_ANSWER_H
#define LAR_SERVE_ANSWER_H
#include "serve/models.h"

/* Run task `generate` with these fields (an object of the task's own names), in a seat of the
 * model's memory. Events but the result go to fn; *result is the caller's. */
lar_status serve_generate(serve_call *c, const serve_model *m, const json_t *fields,
                          lar_event_fn *fn, void *user, json_t **result, lar_err *e);
/* Another task, which needs no more than the model; the same way. */
lar_status serve_task(serve_call *c, const serve_model *m, const char *task, const json_t *fields,
                      json_t **result, lar_err *e);

/* Whether a task has a field of that name or alias ('_' for '-'); gives its name. */
const char *serve_field(const char *task, const char *name, char out[64]);

/* A body's members, with their types. False: there is one of another type, and the call has been
 * answered. A member that is null counts as absent; *out is then as before. */
bool serve_get_bool(serve_call *c, const json_t *body, const char *key, bool *out);
bool serve_get_int(serve_call *c, const json_t *body, const char *key, int64_t min, int64_t max,
                   int64_t *out);
bool serve_get_text(serve_call *c, const json_t *body, const char *key, const char **out);
/* A string or an array of them as an array, at most `most`; NULL: absent. New reference. */
bool serve_get_texts(serve_call *c, const json_t *body, const char *key, size_t most, json_t **out);

/* All members of the body that are fields of `generate` under any name, but those in the
 * '|'-separated list. */
bool serve_take_fields(serve_call *c, const json_t *body, const char *except, json_t *fields);

/* Messages as OpenAI has them, checked and as templates want them: parts of text joined, arguments
 * of calls as objects. NULL: the call has been answered. New reference. */
json_t *serve_messages(serve_call *c, const json_t *messages);

#endif
