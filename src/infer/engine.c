/* engine.c - memory for keys and values, and one step over whatever is due. */
#include "infer/part.h"
#include "ops/kv_page.h"
#include <string.h>

static lar_status too_large(const lar_engine *en, lar_err *e)
{
    return lar_fail(e, LAR_EARG,
                    "a context of %d tokens is too large for this machine's address space",
                    en->opts.ctx);
}

/* A layer's leaves; their bytes are counted from `*at` on, and placed there once there is memory.
 */
static lar_status add_cache(lar_engine *en, lar_graph *g, int l, char *mem, size_t *at, lar_err *e)
{
    const lar_cache c = lar_net_cache(en->net, l);
    const lar_dtype *type = en->opts.kv_type;
    const int dim[2] = {c.dim_k, c.dim_v};
    const int64_t states[LAR_MAX_DIM] = {c.state, LAR__STATES, en->opts.max_seqs, 1};
    for (int i = 0; c.n_head && i < 2; i++) {
        const int64_t d[LAR_MAX_DIM] = {dim[i], LAR_PAGE, c.n_head, en->n_pages};
        size_t bytes;
        if (!dim[i])
            continue;
        if (dim[i] % (int)type->block)
            return lar_fail(e, LAR_EUNSUPPORTED,
                            "KV type %s needs heads of a multiple of %u, this model has %d",
                            type->name, type->block, dim[i]);
        if (!lar_size_mul(lar_row_bytes(type, dim[i]) * LAR_PAGE,
                          (size_t)c.n_head * (size_t)en->n_pages, &bytes))
            return too_large(en, e);
        if (mem) {
            lar_tensor *t = lar_leaf(g, type, d, mem + *at);
            *(i ? &en->v[l] : &en->k[l]) = en->rows[en->n_rows++] = t;
            en->page_bytes += t ? t->stride[3] : 0;
        }
        if (!lar_size_add(*at, bytes, at))
            return too_large(en, e);
    }
    if (!c.state)
        return LAR_OK;
    if (mem)
        en->state[l] = lar_leaf(g, LAR_DTYPE(f32), states, mem + *at);
    const size_t bytes = (size_t)c.state * sizeof(float);
    en->state_bytes += mem ? bytes : 0;
    /* up to a whole line, for what follows */
    return lar_size_add(*at, (bytes * LAR__STATES * (size_t)en->opts.max_seqs + 63) & ~(size_t)63,
                        at)
               ? LAR_OK
               : too_large(en, e);
}

static lar_status make_cache(lar_engine *en, lar_err *e)
{
    const size_t n = (size_t)lar_net_n_caches(en->net);
    lar_graph *g = lar_graph_new(en->arena);
    size_t total, at = 0;
    en->k = lar_arena_array(en->arena, n, sizeof(lar_tensor *));
    en->v = lar_arena_array(en->arena, n, sizeof(lar_tensor *));
    en->state = lar_arena_array(en->arena, n, sizeof(lar_tensor *));
    en->rows = lar_arena_array(en->arena, 2 * n, sizeof(lar_tensor *));
    if (!g || !en->k || !en->v || !en->state || !en->rows)
        return lar_fail(e, LAR_ENOMEM, "engine: out of memory");
    for (size_t l = 0; l < n; l++)
        LAR_TRY(add_cache(en, g, (int)l, NULL, &at, e));
    en->kv_bytes = at;
    if (!lar_size_add(at, 64, &total) || !(en->kv_mem = lar_alloc(total)))
        return lar_fail(e, LAR_ENOMEM,
                        "out of memory: %zu MiB of KV cache for a context of %d tokens",
                        en->kv_bytes >> 20, en->opts.ctx);
    char *mem = (char *)(((uintptr_t)en->kv_mem + 63) & ~(uintptr_t)63);
    at = 0;
    for (size_t l = 0; l < n; l++)
        LAR_TRY(add_cache(en, g, (int)l, mem, &at, e));
    return lar_graph_error(g, e);
}

static lar_status check_options(const lar_engine_options *o, lar_err *e)
{
    if (o->ctx < 1 || o->ctx > 1 << 28)
        return lar_fail(e, LAR_EARG, "a context of %d tokens, want 1 to 2^28", o->ctx);
    if (o->pool && (o->pool < o->ctx || o->pool > 1 << 30))
        return lar_fail(e, LAR_EARG, "%d tokens of all sequences, want %d to 2^30", o->pool,
                        o->ctx);
    if (o->batch < 1 || o->batch > 1 << 16)
        return lar_fail(e, LAR_EARG, "a batch of %d tokens, want 1 to 65536", o->batch);
    if (o->max_seqs < 1 || o->max_seqs > 4096)
        return lar_fail(e, LAR_EARG, "%d sequences, want 1 to 4096", o->max_seqs);
    return LAR_OK;
}

lar_status lar_engine_new(lar_net *net, const lar_cpu_variant *variant, lar_pool *pool,
                          const lar_engine_options *opts, lar_engine **out, lar_err *e)
{
    LAR_TRY(check_options(opts, e));
    if (net->mt)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "a model of architecture %s translates: use the task translate",
                        net->def->arch);
    lar_engine *en = lar_alloc(sizeof *en);
    lar_status s = LAR_ENOMEM;
    if (!en)
        return lar_fail(e, LAR_ENOMEM, "engine: out of memory");
    en->net = net;
    en->variant = variant;
    en->pool = pool;
    en->opts = *opts;
    /* Sequences that share an engine each end in a page of their own. */
    en->n_pages = en->n_free =
        (LAR_MAX(opts->pool, opts->ctx) + LAR_PAGE - 1) / LAR_PAGE + opts->max_seqs - 1;
    en->arena = lar_arena_new();
    en->free_page = lar_alloc_array((size_t)en->n_pages, sizeof *en->free_page);
    en->refs = lar_alloc_array((size_t)en->n_pages, sizeof *en->refs);
    en->seqs = lar_alloc_array((size_t)opts->max_seqs, sizeof *en->seqs);
    if (!en->arena || !en->free_page || !en->refs || !en->seqs)
        lar_fail(e, LAR_ENOMEM, "engine: out of memory");
    else if ((s = lar_lock_init(&en->lock, e)) == LAR_OK && (en->has_lock = true) &&
             (s = lar__prefix_new(&en->prefix, en->n_pages, e)) == LAR_OK)
        s = make_cache(en, e);
    if (s != LAR_OK) {
        lar_engine_free(en);
        return s;
    }
    for (int i = 0; i < en->n_pages; i++)
        en->free_page[i] = en->n_pages - 1 - i;
    *out = en;
    return LAR_OK;
}

void lar_engine_free(lar_engine *en)
{
    if (!en)
        return;
    for (int i = 0; en->has_lock && i < en->opts.max_seqs; i++)
        lar_seq_free(en->seqs[i]);
    lar__prefix_free(&en->prefix);
    lar_free(en->free_page);
    lar_free(en->refs);
    lar_free(en->seqs);
    lar_free(en->kv_mem);
    lar_free_aligned(en->work);
    for (int i = 0; i < LAR__SHAPES; i++)
        lar_arena_free(en->shape[i].arena);
    lar_arena_free(en->arena);
    if (en->has_lock)
        lar_lock_end(&en->lock);
    lar_free(en);
}

void lar_engine_watch(lar_engine *en, const atomic_int *cancel)
{
    en->cancel = cancel;
}

void lar_engine_observe(lar_engine *en, const lar_cpu_observer *observer)
{
    en->observer = observer;
}

int lar_engine_ctx(const lar_engine *en)
{
    return en->opts.ctx;
}
int lar_engine_batch(const lar_engine *en)
{
    return en->opts.batch;
}
int lar_engine_max_seqs(const lar_engine *en)
{
    return en->opts.max_seqs;
}
size_t lar_engine_kv_bytes(const lar_engine *en)
{
    return en->kv_bytes;
}
bool lar_engine_has_state(const lar_engine *en)
{
    return en->state_bytes != 0;
}
size_t lar_engine_work_bytes(const lar_engine *en)
{
    return en->work_bytes;
}
const lar_dtype *lar_engine_kv_type(const lar_engine *en)
{
    return en->opts.kv_type;
}

const lar_dtype *lar_engine_kv_by_name(const char *name)
{
    const lar_dtype *t = lar_dtype_by_name(name);
    return t && lar_kv_type_ok(t) ? t : NULL;
}

static lar_tensor *ints(lar_graph *g, int64_t n, int64_t rows)
{
    const int64_t dim[LAR_MAX_DIM] = {n, rows, 1, 1};
    return lar_leaf(g, LAR_DTYPE(i32), dim, NULL);
}

/* The kept graph for such steps, or the place of the one that has not been used for longest. */
static lar__shape *find_shape(lar_engine *en, int n_tokens, int n_out, bool hidden)
{
    lar__shape *oldest = &en->shape[0];
    for (int i = 0; i < LAR__SHAPES; i++) {
        lar__shape *s = &en->shape[i];
        if (s->g && s->n_tokens == n_tokens && s->n_out == n_out && s->hidden == hidden)
            return s;
        if (s->used < oldest->used)
            oldest = s;
    }
    oldest->g = NULL;
    oldest->used = 0; /* until it is whole */
    return oldest;
}

/* Activations of whichever graph runs, as large as the largest needs. */
static lar_status work_for(lar_engine *en, const lar_graph *g, int n_tokens, lar_err *e)
{
    if (g->work_bytes <= en->work_bytes)
        return LAR_OK;
    void *p = lar_alloc_aligned(g->work_bytes);
    if (!p)
        return lar_fail(e, LAR_ENOMEM, "out of memory: %zu MiB for a step of %d tokens",
                        g->work_bytes >> 20, n_tokens);
    lar_free_aligned(en->work);
    en->work = p;
    en->work_bytes = g->work_bytes;
    for (int i = 0; i < LAR__SHAPES; i++) /* the other graphs' memory has moved too */
        if (en->shape[i].g)
            lar_bind(en->shape[i].g, p);
    return LAR_OK;
}

/* The graph for steps of n_tokens with n_out rows of results, built unless it is one of those kept.
 */
static lar_status shape_for(lar_engine *en, int n_tokens, int n_out, bool hidden, lar__shape **out,
                            lar_err *e)
{
    lar__shape *s = *out = find_shape(en, n_tokens, n_out, hidden);
    if (s->g) {
        s->used = en->steps;
        return LAR_OK;
    }
    if (!s->arena && !(s->arena = lar_arena_new()))
        return lar_fail(e, LAR_ENOMEM, "step: out of memory");
    lar_arena_reset(s->arena);
    lar_graph *g = lar_graph_new(s->arena);
    if (!g)
        return lar_fail(e, LAR_ENOMEM, "step: out of memory");
    s->n_tokens = n_tokens;
    s->n_out = n_out;
    s->hidden = hidden;
    s->in = (lar_build){.g = g,
                        .n_tokens = n_tokens,
                        .n_out = n_out,
                        .hidden = hidden,
                        .ctx = en->opts.ctx,
                        .k = en->k,
                        .v = en->v,
                        .state = en->state};
    s->in.ids = ints(g, n_tokens, 1);
    s->in.pos = ints(g, n_tokens, 1);
    s->in.cell = ints(g, n_tokens, 1);
    s->in.slot = ints(g, n_tokens, 1);
    s->in.table = ints(g, en->n_pages, en->opts.max_seqs);
    s->in.turn = ints(g, en->opts.max_seqs, 1);
    s->in.out_rows = ints(g, n_out, 1);
    s->in.last = en->net->causal ? NULL : ints(g, n_tokens, 1);
    s->out = lar_net_build(en->net, &s->in);
    lar_keep(s->out);
    LAR_TRY(lar_plan(g, lar_pool_threads(en->pool), e));
    LAR_TRY(work_for(en, g, n_tokens, e));
    lar_bind(g, en->work);
    s->g = g;
    s->used = en->steps;
    return LAR_OK;
}

static lar_status check_part(const lar_engine *en, const lar_step *p, lar_err *e)
{
    if (p->seq->en != en || p->seq->step == en->steps)
        return lar_fail(e, LAR_EARG, "step: a sequence of another engine, or the same one twice");
    p->seq->step = en->steps;
    const int n_vocab = (int)en->net->hp.n_vocab;
    if (p->n < 1)
        return lar_fail(e, LAR_EARG, "step: a part of %d tokens", p->n);
    if (!en->net->causal && p->seq->n)
        return lar_fail(e, LAR_EARG,
                        "step: a part of a sequence of an architecture that looks both "
                        "ways, want it whole");
    if (p->n > en->opts.ctx - p->seq->n)
        return lar_fail(e, LAR_EFULL,
                        "the context is full: %d tokens held, %d more wanted, %d in all", p->seq->n,
                        p->n, en->opts.ctx);
    for (int i = 0; i < p->n; i++)
        if (p->tokens[i] < 0 || p->tokens[i] >= n_vocab)
            return lar_fail(e, LAR_EARG, "token %d at %d, want 0 to %d", p->tokens[i], i,
                            n_vocab - 1);
    return LAR_OK;
}

/* Pages for all parts or for none. */
static lar_status take_pages(lar_engine *en, lar_step *parts, int n_parts, lar_err *e)
{
    int need = 0;
    for (int i = 0; i < n_parts; i++)
        need += lar__seq_pages_needed(parts[i].seq, parts[i].n);
    const int left = lar__pages_left(en);
    if (need > left)
        return lar_fail(e, LAR_EFULL,
                        "the context is full: %d pages of %d tokens wanted, %d free of %d", need,
                        LAR_PAGE, left, en->n_pages);
    for (int i = 0; i < n_parts; i++)
        LAR_TRY(lar__seq_reserve(parts[i].seq, parts[i].n, e));
    return LAR_OK;
}

static lar_status reserve(lar_engine *en, lar_step *parts, int n_parts, lar_err *e)
{
    lar_lock_take(&en->lock);
    const lar_status s = take_pages(en, parts, n_parts, e);
    lar_lock_give(&en->lock);
    return s;
}

static void fill_inputs(lar__shape *s, const lar_step *parts, int n_parts)
{
    int32_t *ids = s->in.ids->data, *pos = s->in.pos->data, *cell = s->in.cell->data,
            *slot = s->in.slot->data;
    int32_t *out = s->in.out_rows->data, *turn = s->in.turn->data;
    int32_t *last = s->in.last ? s->in.last->data : NULL;
    for (int i = 0, t = 0, o = 0; i < n_parts; i++) {
        const lar_seq *q = parts[i].seq;
        turn[q->slot] = q->n ? q->turn : LAR_STATE_FRESH;
        memcpy(lar_row(s->in.table, q->slot), q->page, (size_t)q->n_pages * sizeof *q->page);
        for (int j = 0; j < parts[i].n; j++, t++) {
            const int p = q->n + j;
            ids[t] = parts[i].tokens[j];
            pos[t] = p;
            cell[t] = q->page[p / LAR_PAGE] * LAR_PAGE + p % LAR_PAGE;
            slot[t] = q->slot;
            if (last)
                last[t] = q->n + parts[i].n - 1;
            if (parts[i].all_logits || j == parts[i].n - 1)
                out[o++] = t;
        }
    }
}

static lar_status check_numbers(const float *p, size_t n, lar_err *e)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] - p[i] != 0) /* an infinity or a NaN */
            return lar_fail(e, LAR_ENUMERIC, "a logit is %g, not a number: the weights are damaged",
                            (double)p[i]);
    return LAR_OK;
}

lar_status lar_engine_step(lar_engine *en, lar_step *parts, int n_parts, lar_err *e)
{
    int n_tokens = 0, n_out = 0;
    const bool hidden = n_parts && parts[0].hidden;
    lar__shape *s;
    en->steps++;
    if (!hidden && en->net->def->encoder)
        return lar_fail(e, LAR_EUNSUPPORTED, "step: architecture %s gives no logits",
                        en->net->def->arch);
    for (int i = 0; i < n_parts; i++) {
        LAR_TRY(check_part(en, &parts[i], e));
        if (parts[i].n > en->opts.batch - n_tokens)
            return lar_fail(e, LAR_EARG, "step: more than %d tokens", en->opts.batch);
        if (parts[i].hidden != hidden)
            return lar_fail(e, LAR_EARG, "step: parts that want logits, and others that do not");
        n_tokens += parts[i].n;
        n_out += parts[i].all_logits ? parts[i].n : 1;
    }
    if (!n_tokens)
        return LAR_OK;
    LAR_TRY(shape_for(en, n_tokens, n_out, hidden, &s, e));
    LAR_TRY(reserve(en, parts, n_parts, e));
    fill_inputs(s, parts, n_parts);
    if (!lar_cpu_run_observed(s->g, en->variant, en->pool, en->cancel, en->observer))
        return lar_fail(e, LAR_ECANCELLED, "cancelled");
    const size_t width = (size_t)s->out->dim[0];
    float *out = s->out->data;
    LAR_TRY(check_numbers(out, (size_t)n_out * width, e));
    for (int i = 0; i < n_parts; i++) {
        lar_seq *q = parts[i].seq;
        parts[i].logits = out;
        out += (size_t)(parts[i].all_logits ? parts[i].n : 1) * width;
        q->turn = q->n && !q->turn; /* the half that was written */
        memcpy(q->tokens + q->n, parts[i].tokens, (size_t)parts[i].n * sizeof *q->tokens);
        q->n += parts[i].n;
    }
    return LAR_OK;
}
