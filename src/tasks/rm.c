/* rm.c - the task `rm`: a name is taken away, and bytes that nothing leads to. Depends on store.h.
 */
#include "store/store.h"
#include "tasks/json.h"
#include "tasks/task.h"
#include <string.h>

typedef struct params {
    const char *name;
} params;

static const lar_field fields[] = {
    {.name = "name",
     .alias = "model",
     .type = LAR_FIELD_STRING,
     .offset = offsetof(params, name),
     .unit = "NAME",
     .help = "A name that `lar list` shows, or the beginning of its hash"},
};

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    return p->name && *p->name ? LAR_OK : lar_fail(e, LAR_EARG, "name is missing");
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    const params *p = t->params;
    lar_store *store;
    uint64_t freed;
    bool bad = false;
    *done = true;
    LAR_TRY(lar_store_open(NULL, &store, e));
    lar_status s = lar_store_remove(store, p->name, &freed, e);
    lar_store_close(store);
    LAR_TRY(s);
    json_t *j = json_object();
    lar_json_put(j, "name", lar_json_text(p->name, strlen(p->name)), &bad);
    lar_json_put(j, "freed", json_integer((json_int_t)freed), &bad);
    return lar_task_built(t, j, bad, e);
}

static void finish(lar_task *t)
{
    (void)t;
}

extern const lar_task_def lar_task_def_rm;
const lar_task_def lar_task_def_rm = {
    .name = "rm",
    .verb = "rm",
    .help = "Remove a fetched model",
    .positional = "name",
    .needs = LAR_NEEDS_NOTHING,
    .fields = fields,
    .n_fields = LAR_LEN(fields),
    .params_size = sizeof(params),
    .start = start,
    .step = step,
    .finish = finish,
};
