/* verify.c - the task `verify`: models are read again and compared. Depends on store.h. */
#include "store/store.h"
#include "tasks/json.h"
#include "tasks/store_progress.h"
#include "tasks/task.h"
#include <string.h>

typedef struct params {
    const char *name;
} params;

typedef struct state {
    lar_store *store;
    lar_store_list list;
    size_t at;
    int64_t bad;
    json_t *models;
} state;

static const lar_field fields[] = {
    {.name = "name",
     .alias = "model",
     .type = LAR_FIELD_STRING,
     .offset = offsetof(params, name),
     .unit = "NAME",
     .help = "The model; without it all of them"},
};

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *st = t->state;
    if (!(st->models = json_array()))
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    LAR_TRY(lar_store_open(NULL, &st->store, e));
    LAR_TRY(lar_store_models(st->store, &st->list, e));
    if (p->name && !lar_store_find(&st->list, p->name))
        return lar_fail(e, LAR_ENOTFOUND, "no model '%.100s' in %s", p->name,
                        lar_store_dir(st->store));
    return LAR_OK;
}

static lar_status verify_one(lar_task *t, const lar_store_model *m, lar_err *e)
{
    state *st = t->state;
    char sha[LAR_SHA256_HEX], problem[200];
    bool bad = false;
    LAR_TRY(lar_store_verify(st->store, m, lar_task_store_progress, t, sha, problem, e));
    st->bad += problem[0] != 0;
    json_t *j = json_object();
    lar_json_put(j, "name", lar_json_text(m->name, strlen(m->name)), &bad);
    lar_json_put(j, "sha256", json_string(sha), &bad);
    lar_json_put(j, "ok", json_boolean(!problem[0]), &bad);
    lar_json_put(j, "problem", problem[0] ? json_string(problem) : json_null(), &bad);
    lar_json_push(st->models, j, &bad);
    return bad ? lar_fail(e, LAR_ENOMEM, "out of memory") : LAR_OK;
}

/* One model a step. */
static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    const params *p = t->params;
    state *st = t->state;
    bool bad = false;
    const lar_store_model *only = p->name ? lar_store_find(&st->list, p->name) : NULL;
    if (only) {
        LAR_TRY(verify_one(t, only, e));
    } else if (st->at < st->list.n) {
        LAR_TRY(verify_one(t, &st->list.p[st->at++], e));
        if (st->at < st->list.n)
            return LAR_OK;
    }
    *done = true;
    json_t *j = json_object();
    lar_json_put(j, "bad", json_integer(st->bad), &bad);
    lar_json_put(j, "models", json_incref(st->models), &bad);
    return lar_task_built(t, j, bad, e);
}

static void finish(lar_task *t)
{
    state *st = t->state;
    lar_store_list_free(&st->list);
    lar_store_close(st->store);
    json_decref(st->models);
}

extern const lar_task_def lar_task_def_verify;
const lar_task_def lar_task_def_verify = {
    .name = "verify",
    .verb = "verify",
    .help = "Read models again and compare them with their hashes",
    .positional = "name",
    .needs = LAR_NEEDS_NOTHING,
    .fields = fields,
    .n_fields = LAR_LEN(fields),
    .params_size = sizeof(params),
    .state_size = sizeof(state),
    .start = start,
    .step = step,
    .finish = finish,
};
