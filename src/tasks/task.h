/*
 * task.h - what a task is: a const descriptor with a table of fields. Flags, request parsing,
 * --help, JSON keys, the schema and validation all come from the table; a new task is one file and
 * one line in tasks.def.
 */
#ifndef LAR_TASK_H
#define LAR_TASK_H
#include "tasks/host.h"
#include <jansson.h>

typedef enum lar_field_type {
    LAR_FIELD_STRING,  /* const char *   (owned by the request) */
    LAR_FIELD_INT,     /* int64_t */
    LAR_FIELD_NUMBER,  /* double */
    LAR_FIELD_BOOL,    /* bool */
    LAR_FIELD_STRINGS, /* lar_field_list: may be given many times, or as a JSON array of strings */
    LAR_FIELD_JSON,    /* json_t *, borrowed from the request; NULL when not set */
    LAR_FIELD_BYTES    /* lar_str */
} lar_field_type;

typedef struct lar_field_list {
    const char **p;
    size_t n;
} lar_field_list;

typedef struct lar_field {
    const char *name;  /* "top-k": the flag is --top-k, the API's key top_k */
    const char *alias; /* further keys and flags, '|'-separated ("max_tokens|n-predict"), or NULL */
    char letter;       /* one-letter flag, or 0 */
    lar_field_type type;
    size_t offset;        /* in the task's params struct */
    double def, min, max; /* numbers and bools; min == max: no bounds */
    const char *def_str;  /* strings */
    const char *choices;  /* '|'-separated, or NULL */
    const char *unit;     /* of the value in --help: "N", "FILE", "TEXT" ... */
    const char *help;     /* one line, no full stop */
} lar_field;

typedef enum lar_task_needs {
    LAR_NEEDS_NOTHING,
    LAR_NEEDS_VOCAB,  /* a model, opened vocab_only or whole */
    LAR_NEEDS_MODEL,  /* a whole model */
    LAR_NEEDS_SESSION /* a session */
} lar_task_needs;

typedef struct lar_task lar_task; /* one request, running */

typedef struct lar_task_def {
    const char *name, *verb, *route; /* route: HTTP, or NULL */
    const char *help;                /* one line */
    const char *positional;          /* the field that a bare CLI argument sets, or NULL */
    lar_task_needs needs;
    bool encoders; /* also for models that give states and no logits */
    bool shares;   /* runs in a session that shares its memory: steps go through lar_seat_step */
    const lar_field *fields;
    size_t n_fields;
    size_t params_size; /* the struct that the fields' offsets are in */
    size_t state_size;  /* zeroed before start */
    lar_status (*start)(lar_task *t, lar_err *e);
    lar_status (*step)(lar_task *t, bool *done,
                       lar_err *e); /* one unit of work; cancel is checked between */
    void (*finish)(lar_task *t);    /* frees what state holds; always called after start */
} lar_task_def;

struct lar_task {
    const lar_task_def *def;
    lar_runtime *rt;
    lar_model *model;     /* NULL unless needed or given */
    lar_session *session; /* likewise */
    const void *params;
    void *state;
    struct lar_request *request;
};

extern const lar_task_def *const lar_tasks[];
extern const int lar_n_tasks;
const lar_task_def *lar_task_find(const char *name);

/* ---- fields ------------------------------------------------------------------------------- */

/* A params struct filled from the table: defaults first. Memory of strings and JSON is the bag's.
 */
typedef struct lar_params {
    const lar_task_def *def;
    void *data;    /* params_size bytes */
    bool *is_set;  /* n_fields */
    json_t **json; /* n_fields: what keeps a value alive */
    char **text;   /* n_fields */
} lar_params;
lar_status lar_params_new(const lar_task_def *def, lar_params *out, lar_err *e);
void lar_params_free(lar_params *p);
/* By name, alias, or the name with '_' for '-'. Unknown names, wrong types and values out of range
 * are LAR_EARG with the field, what was found and what is wanted. */
lar_status lar_params_set_string(lar_params *p, const char *name, const char *v,
                                 lar_err *e); /* parses numbers too */
lar_status lar_params_set_number(lar_params *p, const char *name, double v, lar_err *e);
lar_status lar_params_set_bytes(lar_params *p, const char *name, const void *v, size_t n,
                                lar_err *e);
lar_status lar_params_set_json(lar_params *p, const char *name, const json_t *v,
                               lar_err *e);            /* name NULL: an object of fields */
json_t *lar_task_schema_json(const lar_task_def *def); /* new reference */

/* ---- events: from a running task to its request's listener ----------------------------------- */

/* LAR_ECANCELLED when the listener or lar_request_cancel said so; a task returns that at once. */
lar_status lar_task_text(lar_task *t, lar_event_kind kind, const char *s, size_t n, lar_err *e);
lar_status lar_task_progress(lar_task *t, double done, const char *what, lar_err *e);
lar_status lar_task_notice(lar_task *t, lar_err *e, const char *fmt, ...) LAR_PRINTF(3, 4);
lar_status lar_task_token(lar_task *t, const json_t *token, lar_err *e);
lar_status lar_task_result(lar_task *t, json_t *result, lar_err *e); /* steals the reference */
/* The same of an object built with lar_json_put: LAR_ENOMEM where `bad`. */
lar_status lar_task_built(lar_task *t, json_t *result, bool bad, lar_err *e);
/* lar_task_progress for long calls that take a callback; `task` is the lar_task. Not 0: cancelled.
 */
int lar_task_report(double done, const char *what, void *task);
bool lar_task_cancelled(const lar_task *t);
/* Whether a file that is written at the end can be: to be asked before the work. */
lar_status lar_task_can_write(const char *path, lar_err *e);

#endif
