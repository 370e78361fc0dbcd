/* session.c - lar_session: an engine with one sequence, and what was made of the caller's wishes.
 */
#include "api/api.h"
#include "infer/prefix.h"
#include "models/net.h"
#include "tasks/prefix_disk.h"

static const uint64_t PREFIX_BYTES = (uint64_t)2 << 30;
enum {
    CTX_DEFAULT = 4096,
    BATCH_DEFAULT = 512,
    BATCH_MAX = 16384,
    SEQS = 4,
    TEXTS = 32,
    SEATS_MAX = 1024
};

static lar_status choose(const lar_model *m, const lar_session_options *o, lar_engine_options *out,
                         lar_err *e)
{
    int trained = (int)LAR_MIN(m->net->hp.ctx_train, (uint32_t)INT32_MAX);
    if (o->ctx < 0)
        return lar_fail(e, LAR_EARG, "ctx: got %d, want 0 (the model's own) to %d", o->ctx,
                        trained);
    if (o->batch < 0 || o->batch > BATCH_MAX)
        return lar_fail(e, LAR_EARG, "batch: got %d, want 0 (%d) to %d", o->batch, BATCH_DEFAULT,
                        BATCH_MAX);
    if (o->seats < 0 || o->seats > SEATS_MAX || o->pool < 0)
        return lar_fail(e, LAR_EARG,
                        "seats, pool: got %d and %d, want 0 (one) to %d, and 0 or more", o->seats,
                        o->pool, SEATS_MAX);
    /* Encoders keep keys and values for a step only: as exact as they are. */
    const char *kv = o->kv_type ? o->kv_type : m->net->def->encoder ? "f32" : "f16";
    out->kv_type = lar_engine_kv_by_name(kv);
    if (!out->kv_type)
        return lar_fail(e, LAR_EARG, "kv_type: got \"%.40s\", want f32, f16, q8_0 or q4_0", kv);
    out->ctx = o->ctx ? o->ctx : CTX_DEFAULT;
    if (trained > 0)
        out->ctx = LAR_MIN(out->ctx, trained);
    out->batch = LAR_MIN(o->batch ? o->batch : BATCH_DEFAULT, out->ctx);
    if (!m->net->causal)
        out->batch = out->ctx; /* a step takes whole texts */
    out->max_seqs = m->net->def->encoder ? TEXTS : SEQS;
    if (o->seats > 1) {
        const int64_t pool = o->pool ? o->pool : (int64_t)out->ctx * o->seats;
        out->max_seqs = o->seats;
        out->pool = (int)LAR_MIN(LAR_MAX(pool, out->ctx), 1 << 30);
    }
    return LAR_OK;
}

/* Memory and scheduler of its own, or those of the session that it joins. */
static lar_status take_seat(lar_session *s, const lar_session_options *o, lar_engine_options *eo,
                            lar_err *e)
{
    const lar_model *m = s->model;
    lar_session *with = o->with;
    if (with) {
        if (with->model != m || !lar_sched_shared(with->sched))
            return lar_fail(e, LAR_EARG, "with: want a session of the same model that has seats");
        lar__ref(&with->refs);
        s->with = with;
        s->engine = with->engine;
        s->sched = with->sched;
        eo->ctx = lar_engine_ctx(s->engine);
        eo->batch = lar_engine_batch(s->engine);
    } else {
        LAR_TRY(lar_engine_new(m->net, m->rt->variant, m->rt->pool, eo, &s->engine, e));
        LAR_TRY(lar_sched_new(s->engine, o->seats > 1, &s->sched, e));
    }
    LAR_TRY(lar_seq_new(s->engine, &s->seq, e));
    return lar_seat_new(s->sched, s->seq, &s->seat, e);
}

/* The draft model in an engine of its own: at most the same context, always an F16 cache. */
static lar_status add_draft(lar_session *s, lar_model *draft, lar_engine_options o, lar_err *e)
{
    lar_model *m = s->model;
    const lar_log *log = &m->rt->log;
    if (!draft)
        return LAR_OK;
    if (!draft->net)
        return lar_fail(e, LAR_EARG,
                        "draft model: its weights are needed, and it was opened vocab_only");
    lar_status st = lar_vocab_same(&m->vocab, &draft->vocab, e);
    if (st != LAR_OK)
        return lar_fail_in(e, st, "draft model");
    const lar_hparams *hp = &draft->net->hp;
    if (hp->ctx_train > 0 && hp->ctx_train < (uint32_t)o.ctx) {
        o.ctx = (int)hp->ctx_train;
        lar_log_put(log, LAR_LOG_WARN, "the draft model has a context of %d tokens: it ends there",
                    o.ctx);
    }
    o.batch = LAR_MIN(o.batch, o.ctx);
    o.kv_type = LAR_DTYPE(f16);
    o.max_seqs = 1;
    s->draft = draft;
    lar__ref(&draft->refs);
    st = lar_spec_add_model(s->spec, draft->net, m->rt->variant, m->rt->pool, &o,
                            (int)LAR_MIN(m->net->hp.n_vocab, hp->n_vocab), e);
    return st == LAR_OK ? st : lar_fail_in(e, st, "draft model");
}

lar_status lar_session_new(lar_model *m, const lar_session_options *opts, lar_session **out,
                           lar_err *e)
{
    lar_session_options o;
    lar_engine_options eo = {0};
    if (!out)
        return lar_fail(e, LAR_EARG, "lar_session_new: out is NULL");
    *out = NULL;
    if (!m)
        return lar_fail(e, LAR_EARG, "lar_session_new: the model is NULL");
    if (!m->net)
        return lar_fail(e, LAR_EARG,
                        "a session needs the model's weights, and it was opened vocab_only");
    LAR_TRY(lar__options(opts, &o, sizeof o, "lar_session_options", e));
    LAR_TRY(choose(m, &o, &eo, e));
    lar_session *s = lar_alloc(sizeof *s);
    if (!s)
        return lar_fail(e, LAR_ENOMEM, "out of memory for a session");
    atomic_init(&s->refs, 1);
    s->model = m;
    lar__ref(&m->refs);
    s->ctx_asked = o.ctx;
    s->ctx_model = (int)LAR_MIN(m->net->hp.ctx_train, (uint32_t)INT32_MAX);
    lar_status st = take_seat(s, &o, &eo, e);
    if (st == LAR_OK)
        st = lar_spec_new(&s->spec, e);
    if (st == LAR_OK)
        st = add_draft(s, o.draft, eo, e);
    if (st == LAR_OK && o.prefix_dir && *o.prefix_dir && lar_engine_has_state(s->engine))
        lar_log_put(&m->rt->log, LAR_LOG_INFO, "no prefix cache: %s layers remember a state",
                    m->net->def->arch);
    else if (st == LAR_OK && o.prefix_dir && *o.prefix_dir)
        st = lar_prefix_disk_new(o.prefix_dir, o.prefix_bytes ? o.prefix_bytes : PREFIX_BYTES,
                                 &s->prefix, e);
    if (st != LAR_OK) {
        lar_session_free(s);
        return st;
    }
    const lar_log *log = &m->rt->log;
    int ctx = lar_engine_ctx(s->engine);
    if (o.with) {
        s->ctx_asked = o.with->ctx_asked;
    } else if (o.ctx > ctx)
        lar_log_put(log, LAR_LOG_WARN, "context reduced to %d tokens: %d asked, the model has %d",
                    ctx, o.ctx, s->ctx_model);
    else if (o.ctx == 0 && s->ctx_model > ctx)
        lar_log_put(log, LAR_LOG_INFO, "context of %d tokens; the model could have %d", ctx,
                    s->ctx_model);
    *out = s;
    return LAR_OK;
}

void lar_session_free(lar_session *s)
{
    if (!s || !lar__unref(&s->refs))
        return;
    lar_model *m = s->model;
    lar_spec_free(s->spec);
    lar_model_free(s->draft);
    lar_seat_free(s->seat);
    if (s->with && s->seq)
        lar_seq_keep(s->seq); /* for whoever begins likewise */
    lar_seq_free(s->seq);
    if (s->with) {
        lar_session_free(s->with);
    } else {
        lar_sched_free(s->sched);
        lar_engine_free(s->engine);
    }
    lar_prefix_disk_free(s->prefix);
    lar_free(s);
    lar_model_free(m);
}

static json_t *draft_info(const lar_session *s, bool *bad)
{
    const lar_engine *en = lar_spec_engine(s->spec);
    json_t *o = json_object();
    lar_json_put(o, "architecture", json_string(s->draft->net->def->arch), bad);
    lar_json_put(o, "ctx", json_integer(lar_engine_ctx(en)), bad);
    lar_json_put(o, "weight_bytes", json_integer((json_int_t)s->draft->net->weight_bytes), bad);
    lar_json_put(o, "kv_bytes", json_integer((json_int_t)lar_engine_kv_bytes(en)), bad);
    lar_json_put(o, "work_bytes", json_integer((json_int_t)lar_engine_work_bytes(en)), bad);
    return o;
}

/* What the sessions in this memory do together. */
static json_t *shared_info(const lar_session *s, bool *bad)
{
    const lar_sched_figures f = lar_sched_get(s->sched);
    json_t *o = json_object();
    lar_json_put(o, "running", json_integer(f.entered), bad);
    lar_json_put(o, "waiting", json_integer(f.waiting), bad);
    lar_json_put(o, "steps", json_integer((json_int_t)f.steps), bad);
    lar_json_put(o, "parts", json_integer((json_int_t)f.parts), bad);
    lar_json_put(o, "tokens", json_integer((json_int_t)f.tokens), bad);
    return o;
}

char *lar_session_info(lar_session *s)
{
    if (!s)
        return NULL;
    bool bad = false;
    json_t *o = json_object();
    const lar_engine *en = s->engine;
    int ctx = lar_engine_ctx(en), wanted = s->ctx_asked ? s->ctx_asked : s->ctx_model;
    lar_json_put(o, "ctx", json_integer(ctx), &bad);
    lar_json_put(o, "ctx_model", json_integer(s->ctx_model), &bad);
    lar_json_put(o, "ctx_asked", s->ctx_asked ? json_integer(s->ctx_asked) : json_null(), &bad);
    lar_json_put(o, "reduced", json_boolean(ctx < wanted), &bad);
    lar_json_put(o, "batch", json_integer(lar_engine_batch(en)), &bad);
    if (lar_sched_shared(s->sched))
        lar_json_put(o, "shared", shared_info(s, &bad), &bad);
    lar_json_put(o, "kv_type", json_string(lar_engine_kv_type(en)->name), &bad);
    lar_json_put(o, "kv_bytes", json_integer((json_int_t)lar_engine_kv_bytes(en)), &bad);
    lar_json_put(o, "work_bytes", json_integer((json_int_t)lar_engine_work_bytes(en)), &bad);
    lar_json_put(o, "tokens", json_integer(lar_seq_length(s->seq)), &bad);
    lar_json_put(o, "variant", json_string(s->model->rt->variant->name), &bad);
    lar_json_put(o, "threads", json_integer(lar_pool_threads(s->model->rt->pool)), &bad);
    if (s->draft)
        lar_json_put(o, "draft", draft_info(s, &bad), &bad);
    return lar__json_take(o, bad);
}

lar_status lar__session_take(lar_session *s, lar_err *e)
{
    if (atomic_flag_test_and_set(&s->busy))
        return lar_fail(e, LAR_EARG, "the session is in use by another call");
    return LAR_OK;
}

void lar__session_give(lar_session *s)
{
    atomic_flag_clear(&s->busy);
}

lar_status lar_session_clear(lar_session *s, lar_err *e)
{
    if (!s)
        return LAR_OK;
    LAR_TRY(lar__session_take(s, e));
    lar_seq_truncate(s->seq, 0);
    lar_engine_forget(s->engine);
    lar_spec_forget(s->spec);
    lar__session_give(s);
    return LAR_OK;
}

lar_status lar_session_keep(lar_session *s, lar_err *e)
{
    if (!s || !s->prefix)
        return LAR_OK;
    LAR_TRY(lar__session_take(s, e));
    const lar_status st =
        lar_prefix_disk_keep(s->prefix, s->model, s->engine, s->seq, s->prompt_n, e);
    lar__session_give(s);
    return st;
}

lar_status lar_prefix_survey(const char *prefix_dir, int clear, uint64_t *files, uint64_t *bytes,
                             lar_err *e)
{
    if (!prefix_dir || !files || !bytes)
        return lar_fail(e, LAR_EARG, "lar_prefix_survey: %s is NULL",
                        prefix_dir ? "files or bytes" : "prefix_dir");
    return lar_prefix_disk_survey(prefix_dir, clear != 0, files, bytes, e);
}

lar_status lar_session_save(lar_session *s, const char *path, lar_err *e)
{
    if (!s || !path)
        return lar_fail(e, LAR_EARG, "lar_session_save: %s is NULL", s ? "path" : "the session");
    LAR_TRY(lar__session_take(s, e));
    const lar_status st = lar_seq_save(s->seq, path, e);
    lar__session_give(s);
    return st;
}

lar_status lar_session_load(lar_session *s, const char *path, lar_err *e)
{
    if (!s || !path)
        return lar_fail(e, LAR_EARG, "lar_session_load: %s is NULL", s ? "path" : "the session");
    LAR_TRY(lar__session_take(s, e));
    const lar_status st = lar_seq_load(s->seq, path, e);
    lar__session_give(s);
    return st;
}
