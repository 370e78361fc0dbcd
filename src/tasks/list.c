/* list.c - the task `list`: the models that have a name. Depends on store.h. */
#include "store/store.h"
#include "tasks/json.h"
#include "tasks/task.h"
#include <string.h>

static lar_status start(lar_task *t, lar_err *e)
{
    (void)t;
    (void)e;
    return LAR_OK;
}

static json_t *text_or_null(const char *s)
{
    return *s ? lar_json_text(s, strlen(s)) : json_null();
}

static json_t *model(const lar_store_model *m, bool *bad)
{
    json_t *j = json_object(), *sources = json_array();
    lar_json_put(j, "name", text_or_null(m->name), bad);
    lar_json_put(j, "file", text_or_null(m->path), bad);
    lar_json_put(j, "bytes", json_integer((json_int_t)m->bytes), bad);
    lar_json_put(j, "files", json_integer(m->files), bad);
    lar_json_put(j, "default", json_boolean(m->is_default), bad);
    lar_json_put(j, "in_place", json_boolean(m->in_place), bad);
    lar_json_put(j, "sha256", text_or_null(m->sha256), bad);
    lar_json_put(j, "architecture", text_or_null(m->architecture), bad);
    lar_json_put(j, "quantization", text_or_null(m->quant), bad);
    for (size_t i = 0; i < m->n_sources; i++)
        lar_json_push(sources, lar_json_text(m->sources[i], strlen(m->sources[i])), bad);
    lar_json_put(j, "sources", sources, bad);
    return j;
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    lar_store *store;
    lar_store_list l = {0};
    bool bad = false;
    json_t *j = json_object(), *models = json_array();
    *done = true;
    lar_status s = lar_store_open(NULL, &store, e);
    if (s == LAR_OK)
        s = lar_store_models(store, &l, e);
    if (s == LAR_OK)
        lar_json_put(j, "directory", text_or_null(lar_store_dir(store)), &bad);
    for (size_t i = 0; i < l.n && s == LAR_OK; i++)
        lar_json_push(models, model(&l.p[i], &bad), &bad);
    lar_json_put(j, "models", models, &bad);
    lar_store_list_free(&l);
    lar_store_close(store);
    if (s == LAR_OK)
        return lar_task_built(t, j, bad, e);
    json_decref(j);
    return s;
}

static void finish(lar_task *t)
{
    (void)t;
}

extern const lar_task_def lar_task_def_list;
const lar_task_def lar_task_def_list = {
    .name = "list",
    .verb = "list",
    .help = "List the models that have a name",
    .needs = LAR_NEEDS_NOTHING,
    .start = start,
    .step = step,
    .finish = finish,
};
