/* request.c - tasks by name, requests with their fields, and running them. */
#include "api/api.h"
#include "base/math.h"
#include <string.h>

int lar_task_count(void)
{
    return lar_n_tasks;
}

const char *lar_task_name(int index)
{
    return index >= 0 && index < lar_n_tasks ? lar_tasks[index]->name : NULL;
}

char *lar_task_schema(const char *task)
{
    const lar_task_def *def = lar_task_find(task);
    return def ? lar__json_take(lar_task_schema_json(def), false) : NULL;
}

static lar_status no_task(const char *task, lar_err *e)
{
    lar_buf b = {0};
    for (int i = 0; i < lar_n_tasks; i++)
        lar_buf_printf(&b, "%s%s", i ? ", " : "", lar_tasks[i]->name);
    lar_status s = lar_fail(e, LAR_ENOTFOUND, "no task '%.60s'; there are: %s", task,
                            b.p && !b.oom ? b.p : "");
    lar_buf_free(&b);
    return s;
}

lar_status lar_request_new(lar_runtime *rt, const char *task, lar_request **out, lar_err *e)
{
    if (!out)
        return lar_fail(e, LAR_EARG, "lar_request_new: out is NULL");
    *out = NULL;
    if (!rt || !task)
        return lar_fail(e, LAR_EARG, "lar_request_new: %s is NULL", rt ? "task" : "the runtime");
    const lar_task_def *def = lar_task_find(task);
    if (!def)
        return no_task(task, e);
    lar_request *r = lar_alloc(sizeof *r);
    if (!r)
        return lar_fail(e, LAR_ENOMEM, "out of memory for a request");
    atomic_init(&r->refs, 1);
    atomic_init(&r->cancel, 0);
    lar_status s = lar_params_new(def, &r->params, e);
    if (s != LAR_OK) {
        lar_free(r);
        return s;
    }
    r->rt = rt;
    lar__ref(&rt->refs);
    *out = r;
    return LAR_OK;
}

/* A listener may free the request that is calling it: the run holds a reference of its own. */
void lar_request_free(lar_request *r)
{
    if (!r || !lar__unref(&r->refs))
        return;
    lar_params_free(&r->params);
    lar_buf_free(&r->text);
    lar_session_free(r->session);
    lar_model_free(r->model);
    lar_runtime_free(r->rt);
    lar_free(r);
}

static lar_status may_change(const lar_request *r, lar_err *e)
{
    if (!r)
        return lar_fail(e, LAR_EARG, "the request is NULL");
    if (r->running)
        return lar_fail(e, LAR_EARG, "the request is running: it can be changed before and after");
    return LAR_OK;
}

lar_status lar_request_set_model(lar_request *r, lar_model *m, lar_err *e)
{
    LAR_TRY(may_change(r, e));
    if (m && m->rt != r->rt)
        return lar_fail(e, LAR_EARG, "the model belongs to another runtime");
    if (m)
        lar__ref(&m->refs);
    lar_model_free(r->model);
    r->model = m;
    return LAR_OK;
}

lar_status lar_request_set_session(lar_request *r, lar_session *s, lar_err *e)
{
    LAR_TRY(may_change(r, e));
    if (s && s->model->rt != r->rt)
        return lar_fail(e, LAR_EARG, "the session belongs to another runtime");
    if (s)
        lar__ref(&s->refs);
    lar_session_free(r->session);
    r->session = s;
    return LAR_OK;
}

lar_status lar_request_set_string(lar_request *r, const char *field, const char *value, lar_err *e)
{
    LAR_TRY(may_change(r, e));
    return lar_params_set_string(&r->params, field, value, e);
}

lar_status lar_request_set_number(lar_request *r, const char *field, double value, lar_err *e)
{
    LAR_TRY(may_change(r, e));
    return lar_params_set_number(&r->params, field, value, e);
}

lar_status lar_request_set_bytes(lar_request *r, const char *field, const void *data, size_t n,
                                 lar_err *e)
{
    LAR_TRY(may_change(r, e));
    return lar_params_set_bytes(&r->params, field, data, n, e);
}

lar_status lar_request_set_json(lar_request *r, const char *field, const char *json, lar_err *e)
{
    json_t *v;
    LAR_TRY(may_change(r, e));
    if (!json)
        return lar_fail(e, LAR_EARG, "field '%.60s': no value given", field ? field : "");
    LAR_TRY(lar_json_load(json, strlen(json), field ? field : "fields", &v, e));
    lar_status s = lar_params_set_json(&r->params, field, v, e);
    json_decref(v);
    return s;
}

/* ---- running
 * --------------------------------------------------------------------------------------------- */

static lar_status check_needs(const lar_request *r, lar_model **model, lar_err *e)
{
    const lar_task_def *def = r->params.def;
    lar_model *m = r->session ? r->session->model : r->model;
    if (r->session && r->model && r->model != m)
        return lar_fail(e, LAR_EARG, "task '%s': the session given is not one of the model given",
                        def->name);
    if (def->needs == LAR_NEEDS_SESSION && !r->session)
        return lar_fail(e, LAR_EARG, "task '%s' needs a session: lar_request_set_session()",
                        def->name);
    if (def->needs != LAR_NEEDS_NOTHING && !m)
        return lar_fail(e, LAR_EARG, "task '%s' needs a model: lar_request_set_model()", def->name);
    if (r->session && def->needs == LAR_NEEDS_SESSION && !def->shares &&
        lar_sched_shared(r->session->sched))
        return lar_fail(e, LAR_EARG, "task '%s' needs a session that shares no memory (seats)",
                        def->name);
    if (def->needs == LAR_NEEDS_MODEL && !m->net)
        return lar_fail(e, LAR_EARG,
                        "task '%s' needs the model's weights, and it was opened vocab_only",
                        def->name);
    if (def->needs == LAR_NEEDS_VOCAB && !m->vocab.tok)
        return m->vocab_err.code != LAR_OK
                   ? lar_fail(e, m->vocab_err.code, "%s", m->vocab_err.msg)
                   : lar_fail(e, LAR_EUNSUPPORTED, "task '%s': the model file has no tokenizer",
                              def->name);
    if (def->needs >= LAR_NEEDS_MODEL && m->net->def->encoder && !def->encoders)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "task '%s': a model of architecture %s makes vectors of texts (task "
                        "'embed'), and no text",
                        def->name, m->net->def->arch);
    *model = m;
    return LAR_OK;
}

static lar_status run(lar_task *t, lar_err *e)
{
    bool done = false;
    lar_status s = t->def->start(t, e);
    while (s == LAR_OK && !done) {
        if (lar_task_cancelled(t))
            s = lar_fail(e, LAR_ECANCELLED, "cancelled");
        else
            s = t->def->step(t, &done, e);
    }
    t->def->finish(t);
    return s;
}

/* Of a shared engine the scheduler watches. */
static void watch(lar_session *s, const atomic_int *cancel)
{
    if (!lar_sched_shared(s->sched))
        lar_engine_watch(s->engine, cancel);
    if (s->draft)
        lar_engine_watch(lar_spec_engine(s->spec), cancel);
}

lar_status lar_request_run(lar_request *r, lar_event_fn *fn, void *user, lar_err *e)
{
    LAR_TRY(may_change(r, e));
    const lar_task_def *def = r->params.def;
    lar_task t = {
        .def = def, .rt = r->rt, .session = r->session, .params = r->params.data, .request = r};
    LAR_TRY(check_needs(r, &t.model, e));
    if (t.session)
        LAR_TRY(lar__session_take(t.session, e));
    t.state = lar_alloc_aligned(LAR_MAX(def->state_size, (size_t)1));
    if (!t.state) {
        if (t.session)
            lar__session_give(t.session);
        return lar_fail(e, LAR_ENOMEM, "task '%s': out of memory", def->name);
    }
    lar__ref(&r->refs);
    r->running = true;
    r->fn = fn;
    r->user = user;
    r->fp = lar_fp_enter();
    if (t.session)
        watch(t.session, &r->cancel);
    lar_status s = run(&t, e);
    if (t.session)
        watch(t.session, NULL);
    lar_fp_leave(r->fp);
    r->running = false;
    atomic_store(&r->cancel, 0);
    lar_free_aligned(t.state);
    if (t.session)
        lar__session_give(t.session);
    lar_request_free(r);
    return s;
}

void lar_request_cancel(lar_request *r)
{
    if (r)
        atomic_store(&r->cancel, 1);
}

/* ---- events
 * ------------------------------------------------------------------------------------------------
 */

lar_event_kind lar_event_get_kind(const lar_event *ev)
{
    return ev->kind;
}

const char *lar_event_get_text(const lar_event *ev, size_t *len)
{
    if (len)
        *len = ev->n;
    return ev->text ? ev->text : "";
}

double lar_event_get_number(const lar_event *ev)
{
    return ev->number;
}

const char *lar_event_get_json(const lar_event *ev)
{
    if (!*ev->json)
        *ev->json = lar__event_json(ev);
    return *ev->json ? *ev->json : "null"; /* out of memory */
}
