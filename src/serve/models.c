/* models.c - see models.h. One lock; a model is opened outside of it, by who asked first. */
#include "serve/models.h"
#include "base/os.h"
#include "base/sync.h"
#include <string.h>

enum { CTX = 4096 };

typedef struct entry {
    char *name, *path;
    enum { AWAY, LOADING, HERE } state;
    int users;
    double used, keep; /* keep < 0: as the server says */
    bool for_good;
    uint64_t bytes; /* weights and cache, as they count against the limit */
    lar_model *model;
    lar_session *base;
} entry;

struct serve_models {
    serve_server *server;
    lar_lock lock;
    lar_bell loaded;
    entry **p;
    size_t n, cap;
    uint64_t bytes; /* of those that are here or being loaded */
};

static entry *find(const serve_models *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (!name || strcmp(m->p[i]->name, name) == 0)
            return m->p[i];
    return NULL;
}

static void add(void *arg, const char *name, const char *path)
{
    serve_models *m = arg;
    entry *t = NULL;
    if (find(m, name) || !(t = lar_alloc(sizeof *t)))
        return;
    t->name = lar_strdup(name);
    t->path = lar_strdup(path);
    t->keep = -1;
    if (t->name && t->path && lar_grow((void **)&m->p, &m->cap, m->n + 1, sizeof *m->p)) {
        m->p[m->n++] = t;
        return;
    }
    lar_free(t->name);
    lar_free(t->path);
    lar_free(t);
}

static void look_for_more(serve_models *m)
{
    const serve_options *o = serve_opts(m->server);
    if (o->more)
        o->more(o->user, add, m);
}

lar_status serve_models_new(serve_server *s, serve_models **out, lar_err *e)
{
    const serve_options *o = serve_opts(s);
    serve_models *m = lar_alloc(sizeof *m);
    if (!m)
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    lar_status st = lar_lock_init(&m->lock, e);
    if (st == LAR_OK && (st = lar_bell_init(&m->loaded, e)) != LAR_OK)
        lar_lock_end(&m->lock);
    if (st != LAR_OK) {
        lar_free(m);
        return st;
    }
    m->server = s;
    for (size_t i = 0; i < o->n_models; i++)
        add(m, o->models[i].name, o->models[i].path);
    *out = m;
    return LAR_OK;
}

static void let_go(serve_models *m, entry *t)
{
    lar_session_free(t->base);
    lar_model_free(t->model);
    t->base = NULL;
    t->model = NULL;
    t->state = AWAY;
    m->bytes -= t->bytes;
    t->bytes = 0;
}

void serve_models_free(serve_models *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++) {
        let_go(m, m->p[i]);
        lar_free(m->p[i]->name);
        lar_free(m->p[i]->path);
        lar_free(m->p[i]);
    }
    lar_free(m->p);
    lar_bell_end(&m->loaded);
    lar_lock_end(&m->lock);
    lar_free(m);
}

void serve_models_tidy(serve_models *m)
{
    const double now = lar_clock();
    lar_lock_take(&m->lock);
    for (size_t i = 0; i < m->n; i++) {
        entry *t = m->p[i];
        const double keep = t->keep >= 0 ? t->keep : serve_opts(m->server)->keep_alive;
        if (t->state == HERE && !t->users && !t->for_good && now - t->used > keep) {
            serve_log(m->server, "model %s: idle, let go", t->name);
            let_go(m, t);
        }
    }
    lar_lock_give(&m->lock);
}

/* ---- loading
 * -------------------------------------------------------------------------------------- */

/* What it takes: weights, and cache per token. */
typedef struct need {
    uint64_t weights, token;
    int ctx; /* of one answer */
} need;

static lar_status find_need(serve_models *m, const entry *t, need *out, lar_err *e)
{
    const serve_options *o = serve_opts(m->server);
    const lar_model_options mo = {.size = sizeof mo, .vocab_only = 1};
    lar_model *model;
    LAR_TRY(lar_model_open(serve_runtime(m->server), t->path, &mo, &model, e));
    char *text = lar_model_info(model, 0);
    lar_model_free(model);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL;
    lar_string_free(text);
    const json_t *memory = json_object_get(j, "memory"),
                 *kv = json_object_get(json_object_get(memory, "kv"),
                                       o->kv_type ? o->kv_type : "f16");
    const int trained = (int)json_integer_value(json_object_get(j, "context_length"));
    out->weights = (uint64_t)json_integer_value(json_object_get(memory, "weights"));
    out->token = (uint64_t)json_integer_value(json_object_get(kv, "per_token"));
    out->ctx = o->ctx ? o->ctx : CTX;
    if (trained > 0)
        out->ctx = LAR_MIN(out->ctx, trained);
    json_decref(j);
    return j ? LAR_OK : lar_fail(e, LAR_ENOMEM, "out of memory");
}

/* Room for `bytes`, if models that nobody uses leave. */
static bool make_room(serve_models *m, uint64_t bytes)
{
    const uint64_t most = serve_opts(m->server)->memory;
    while (m->bytes + bytes > most) {
        entry *oldest = NULL;
        for (size_t i = 0; i < m->n; i++) {
            entry *t = m->p[i];
            if (t->state == HERE && !t->users && (!oldest || t->used < oldest->used))
                oldest = t;
        }
        if (!oldest)
            return false;
        serve_log(m->server, "model %s: leaves for another", oldest->name);
        let_go(m, oldest);
    }
    return true;
}

/* How many tokens all answers together may hold: as many as they could want, or as fit. */
static lar_status reserve(serve_models *m, entry *t, const need *n, int *pool, lar_err *e)
{
    const serve_options *o = serve_opts(m->server);
    const uint64_t least = n->weights + n->token * (uint64_t)n->ctx,
                   best = least + n->token * (uint64_t)n->ctx * (uint64_t)(o->parallel - 1);
    uint64_t bytes = LAR_MIN(best, o->memory);
    if (bytes < least || !make_room(m, LAR_MAX(least, bytes > m->bytes ? bytes - m->bytes : 0)))
        return lar_fail(
            e, LAR_ENOMEM,
            "model %.100s wants %llu MiB (weights %llu, cache of one answer %llu); "
            "of %llu MiB others use %llu",
            t->name, (unsigned long long)(least >> 20), (unsigned long long)(n->weights >> 20),
            (unsigned long long)((least - n->weights) >> 20), (unsigned long long)(o->memory >> 20),
            (unsigned long long)(m->bytes >> 20));
    bytes = LAR_MIN(best, o->memory - m->bytes);
    *pool = n->token ? (int)((bytes - n->weights) / n->token) : n->ctx * o->parallel;
    t->bytes = bytes;
    m->bytes += bytes;
    return LAR_OK;
}

static lar_status open_model(serve_models *m, entry *t, int ctx, int pool, lar_err *e)
{
    const serve_options *o = serve_opts(m->server);
    const lar_session_options so = {.size = sizeof so,
                                    .ctx = ctx,
                                    .kv_type = o->kv_type,
                                    .seats = o->parallel + 1,
                                    .pool = LAR_MAX(pool, ctx)};
    LAR_TRY(lar_model_open(serve_runtime(m->server), t->path, NULL, &t->model, e));
    return lar_session_new(t->model, &so, &t->base, e);
}

/* Under the lock, which is given up while the file is opened. */
static lar_status load(serve_models *m, entry *t, lar_err *e)
{
    need n = {0};
    int pool = 0;
    const double t0 = lar_clock();
    t->state = LOADING;
    lar_lock_give(&m->lock);
    lar_status st = find_need(m, t, &n, e);
    lar_lock_take(&m->lock);
    if (st == LAR_OK)
        st = reserve(m, t, &n, &pool, e);
    lar_lock_give(&m->lock);
    if (st == LAR_OK)
        st = open_model(m, t, n.ctx, pool, e);
    lar_lock_take(&m->lock);
    t->state = HERE;
    if (st != LAR_OK)
        let_go(m, t);
    else
        serve_log(m->server, "model %s: loaded in %.2f s, %llu MiB", t->name, lar_clock() - t0,
                  (unsigned long long)(t->bytes >> 20));
    lar_bell_ring_all(&m->loaded);
    return st;
}

/* ---- taking and giving
 * ------------------------------------------------------------------------------ */

bool serve_model_take(serve_call *c, const char *name, serve_model *out)
{
    serve_models *m = serve_the_models(serve_of(c));
    lar_err e = {0};
    lar_status st = LAR_OK;
    lar_lock_take(&m->lock);
    entry *t = find(m, name);
    if (!t) {
        look_for_more(m);
        t = find(m, name);
    }
    while (t && t->state != HERE && st == LAR_OK) {
        if (t->state == AWAY)
            st = load(m, t, &e);
        else
            lar_bell_wait(&m->loaded, &m->lock);
    }
    if (t && st == LAR_OK) {
        t->users++;
        t->used = lar_clock();
        *out = (serve_model){t->name, t->model, t->base, t};
    }
    lar_lock_give(&m->lock);
    if (!t)
        serve_fail(c, 404, "model_not_found", "model", "there is no model '%.100s'",
                   name ? name : "(none is given)");
    else if (st != LAR_OK)
        serve_fail_lar(c, "model", &e);
    return t && st == LAR_OK;
}

void serve_model_give(serve_call *c, serve_model *out)
{
    serve_models *m = serve_the_models(serve_of(c));
    entry *t = out->entry;
    lar_lock_take(&m->lock);
    t->users--;
    t->used = lar_clock();
    lar_lock_give(&m->lock);
}

void serve_model_keep(serve_model *m, double seconds)
{
    entry *t = m->entry;
    t->for_good = seconds < 0;
    t->keep = LAR_MAX(seconds, 0);
}

json_t *serve_models_list(serve_models *m)
{
    json_t *all = json_array();
    lar_lock_take(&m->lock);
    look_for_more(m);
    for (size_t i = 0; i < m->n; i++) {
        const entry *t = m->p[i];
        lar_file_id id = {0};
        lar_file_identify(t->path, &id, NULL);
        json_array_append_new(all,
                              json_pack("{s:s,s:s,s:b,s:I,s:I}", "name", t->name, "path", t->path,
                                        "loaded", t->state == HERE, "bytes", (json_int_t)id.size,
                                        "created", (json_int_t)(id.modified / 1000000000)));
    }
    lar_lock_give(&m->lock);
    return all;
}
