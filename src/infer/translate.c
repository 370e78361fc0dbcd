/* translate.c - reading a batch in one step, then writing a token of every text at a time. */
#include "infer/translate.h"
#include <string.h>

enum { TEXTS_MAX = 1024 };

/* A graph and what it works in; both are used again for the next one. */
typedef struct stage {
    lar_arena *arena;
    lar_graph *g;
    void *mem;
    size_t bytes;
} stage;

struct lar_translator {
    const lar_net *net;
    const lar_mt *m;
    const lar_cpu_variant *variant;
    lar_pool *pool;
    const atomic_int *cancel;
    stage read, write;
    lar_tensor **k, **v; /* what the last batch's reading left, per layer: [n_dec] each */
    float *state;        /* [n_dec][texts][n_embd] */
    size_t state_room;
    int32_t *list; /* the texts' allowed tokens, one after the other */
    size_t n_list, list_room;
    uint8_t *mark; /* [n_vocab] */
    /* Texts that are being written, in the graph's columns. */
    int *text;        /* [batch] */
    int32_t *span;    /* [batch][2]: their columns in k and v */
    int32_t *allowed; /* [batch][2]: their tokens in list */
    int room;         /* for texts */
};

lar_status lar_translator_new(const lar_net *net, const lar_cpu_variant *variant, lar_pool *pool,
                              lar_translator **out, lar_err *e)
{
    if (!net->mt)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "architecture %s does not translate by itself: want a translation "
                        "model (marian), such as Bergamot has",
                        net->def->arch);
    lar_translator *t = lar_alloc(sizeof *t);
    if (!t)
        return lar_fail(e, LAR_ENOMEM, "translator: out of memory");
    t->net = net;
    t->m = net->mt;
    t->variant = variant;
    t->pool = pool;
    t->read.arena = lar_arena_new();
    t->write.arena = lar_arena_new();
    t->k = lar_alloc_array((size_t)t->m->n_dec, sizeof *t->k);
    t->v = lar_alloc_array((size_t)t->m->n_dec, sizeof *t->v);
    t->mark = lar_alloc(net->hp.n_vocab);
    if (!t->read.arena || !t->write.arena || !t->k || !t->v || !t->mark) {
        lar_translator_free(t);
        return lar_fail(e, LAR_ENOMEM, "translator: out of memory");
    }
    *out = t;
    return LAR_OK;
}

void lar_translator_free(lar_translator *t)
{
    if (!t)
        return;
    stage *const s[2] = {&t->read, &t->write};
    for (int i = 0; i < 2; i++) {
        lar_arena_free(s[i]->arena);
        lar_free_aligned(s[i]->mem);
    }
    void *const all[] = {t->k, t->v, t->state, t->list, t->mark, t->text, t->span, t->allowed};
    for (size_t i = 0; i < LAR_LEN(all); i++)
        lar_free(all[i]);
    lar_free(t);
}

void lar_translator_watch(lar_translator *t, const atomic_int *cancel)
{
    t->cancel = cancel;
}

size_t lar_translator_bytes(const lar_translator *t)
{
    return t->read.bytes + t->write.bytes + (t->state_room + t->list_room) * 4;
}

static lar_status begin(stage *s, lar_err *e)
{
    lar_arena_reset(s->arena);
    s->g = lar_graph_new(s->arena);
    return s->g ? LAR_OK : lar_fail(e, LAR_ENOMEM, "translator: out of memory");
}

static lar_status ready(lar_translator *t, stage *s, lar_err *e)
{
    LAR_TRY(lar_plan(s->g, lar_pool_threads(t->pool), e));
    if (s->g->work_bytes > s->bytes) {
        lar_free_aligned(s->mem);
        s->bytes = 0;
        if (!(s->mem = lar_alloc_aligned(s->g->work_bytes)))
            return lar_fail(e, LAR_ENOMEM, "out of memory: %zu MiB for a batch",
                            s->g->work_bytes >> 20);
        s->bytes = s->g->work_bytes;
    }
    lar_bind(s->g, s->mem);
    return LAR_OK;
}

static lar_status run(const lar_translator *t, const stage *s, lar_err *e)
{
    return lar_cpu_run(s->g, t->variant, t->pool, t->cancel)
               ? LAR_OK
               : lar_fail(e, LAR_ECANCELLED, "cancelled");
}

static lar_tensor *ints(lar_graph *g, int64_t a, int64_t b)
{
    return lar_leaf(g, LAR_DTYPE(i32), (int64_t[]){a, b, 1, 1}, NULL);
}

static lar_status check(const lar_translator *t, const lar_translation *x, int n, lar_err *e)
{
    if (n < 0 || n > TEXTS_MAX)
        return lar_fail(e, LAR_EARG, "translate: %d texts, want up to %d", n, TEXTS_MAX);
    for (int i = 0; i < n; i++) {
        if (x[i].n_source < 1 || x[i].n_source > LAR_MT_POSITIONS / 2)
            return lar_fail(e, LAR_EARG, "translate: a text of %d tokens, want 1 to %d",
                            x[i].n_source, LAR_MT_POSITIONS / 2);
        for (int j = 0; j < x[i].n_source; j++)
            if (x[i].source[j] < 0 || (uint32_t)x[i].source[j] >= t->net->hp.n_vocab)
                return lar_fail(e, LAR_EARG, "translate: token %d, want 0 to %u", x[i].source[j],
                                t->net->hp.n_vocab - 1);
    }
    return LAR_OK;
}

static lar_status reserve(lar_translator *t, int n, lar_err *e)
{
    if (n > t->room) {
        lar_free(t->text);
        lar_free(t->span);
        lar_free(t->allowed);
        lar_free(t->state);
        t->room = 0;
        t->state_room = (size_t)n * (size_t)t->m->n_dec * (size_t)t->m->n_embd;
        t->text = lar_alloc_array((size_t)n, sizeof *t->text);
        t->span = lar_alloc_array((size_t)n, 2 * sizeof *t->span);
        t->allowed = lar_alloc_array((size_t)n, 2 * sizeof *t->allowed);
        t->state = lar_alloc_array(t->state_room, sizeof *t->state);
        if (!t->text || !t->span || !t->allowed || !t->state)
            return lar_fail(e, LAR_ENOMEM, "translator: out of memory for %d texts", n);
        t->room = n;
    }
    memset(t->state, 0, t->state_room * sizeof *t->state);
    return LAR_OK;
}

static lar_status add_list(lar_translator *t, int32_t id, lar_err *e)
{
    if (!lar_grow((void **)&t->list, &t->list_room, t->n_list + 1, sizeof *t->list))
        return lar_fail(e, LAR_ENOMEM, "translator: out of memory");
    t->list[t->n_list++] = id;
    return LAR_OK;
}

/* The tokens that a text's translation may have: the commonest, its own, and those that a shortlist
 * gives for them; as many more of the commonest as make a multiple of 8, as Marian has it. */
static lar_status allow(lar_translator *t, const lar_translation *x, int32_t out[2], lar_err *e)
{
    const lar_mt *m = t->m;
    const int32_t n = (int32_t)t->net->hp.n_vocab;
    int32_t count = 0;
    if (m->list_offset) {
        memset(t->mark, 0, (size_t)n);
        memset(t->mark, 1, (size_t)m->list_first);
        for (int i = 0; i < x->n_source; i++) {
            const int32_t w = x->source[i];
            t->mark[w] = 1;
            for (int32_t j = m->list_offset[w]; j < m->list_offset[w + 1]; j++)
                t->mark[m->list_id[j]] = 1;
        }
        for (int32_t i = 0; i < n; i++)
            count += t->mark[i];
        for (int32_t i = m->list_first; i < n && count % 8; i++) {
            count += !t->mark[i];
            t->mark[i] = 1;
        }
    }
    out[0] = (int32_t)t->n_list;
    for (int32_t i = 0; i < n; i++)
        if (!m->list_offset || t->mark[i])
            LAR_TRY(add_list(t, i, e));
    out[1] = (int32_t)t->n_list - out[0];
    return LAR_OK;
}

static lar_status read_batch(lar_translator *t, const lar_translation *x, int n, lar_err *e)
{
    int64_t total = 0;
    int32_t at = 0;
    for (int i = 0; i < n; i++)
        total += x[i].n_source;
    LAR_TRY(begin(&t->read, e));
    lar_graph *g = t->read.g;
    lar_tensor *ids = ints(g, total, 1), *pos = ints(g, total, 1), *span = ints(g, 2, total);
    lar_mt_read(t->m, g, ids, pos, span, t->k, t->v);
    for (int l = 0; l < t->m->n_dec; l++) {
        lar_keep(t->k[l]);
        lar_keep(t->v[l]);
    }
    LAR_TRY(ready(t, &t->read, e));
    for (int i = 0; i < n; i++) {
        t->span[2 * i] = at;
        t->span[2 * i + 1] = x[i].n_source;
        for (int j = 0; j < x[i].n_source; j++, at++) {
            ((int32_t *)ids->data)[at] = x[i].source[j];
            ((int32_t *)pos->data)[at] = j;
            memcpy(lar_row(span, at), &t->span[2 * i], 2 * sizeof(int32_t));
        }
    }
    return run(t, &t->read, e);
}

/* The graph that writes a token of each of `active` texts. */
typedef struct writer {
    int active, room;
    lar_tensor *ids, *pos, *logits, **state;
} writer;

static lar_status build_writer(lar_translator *t, writer *w, int active, lar_err *e)
{
    const lar_mt *m = t->m;
    LAR_TRY(begin(&t->write, e));
    lar_graph *g = t->write.g;
    w->state = lar_arena_array(t->write.arena, (size_t)m->n_dec, sizeof *w->state);
    if (!w->state)
        return lar_fail(e, LAR_ENOMEM, "translator: out of memory");
    w->room = 1;
    for (int i = 0; i < active; i++)
        w->room = LAR_MAX(w->room, t->allowed[2 * i + 1]);
    w->active = active;
    w->ids = ints(g, active, 1);
    w->pos = ints(g, active, 1);
    const int64_t pair[LAR_MAX_DIM] = {2, active, 1, 1},
                  state[LAR_MAX_DIM] = {m->n_embd, active, 1, 1},
                  list[LAR_MAX_DIM] = {(int64_t)t->n_list, 1, 1, 1};
    lar_tensor *k[256], *v[256];
    for (int l = 0; l < m->n_dec; l++) {
        w->state[l] = lar_leaf(g, LAR_DTYPE(f32), state,
                               t->state + (size_t)l * (size_t)t->room * (size_t)m->n_embd);
        k[l] = lar_leaf(g, LAR_DTYPE(f32), t->k[l]->dim, t->k[l]->data);
        v[l] = lar_leaf(g, LAR_DTYPE(f32), t->v[l]->dim, t->v[l]->data);
    }
    w->logits = lar_mt_write(m, g, w->ids, w->pos, lar_leaf(g, LAR_DTYPE(i32), pair, t->span), k, v,
                             w->state, lar_leaf(g, LAR_DTYPE(i32), list, t->list),
                             lar_leaf(g, LAR_DTYPE(i32), pair, t->allowed), w->room);
    lar_keep(w->logits);
    return ready(t, &t->write, e);
}

/* The best of the allowed tokens; -1 where a number is none. */
static int32_t best(const lar_translator *t, const writer *w, int column)
{
    const float *y = lar_row(w->logits, column);
    const int32_t *allowed = &t->allowed[2 * column];
    int32_t at = 0;
    for (int32_t i = 0; i < allowed[1]; i++) {
        if (y[i] - y[i] != 0)
            return -1;
        if (y[i] > y[at])
            at = i;
    }
    return t->list[allowed[0] + at];
}

/* Columns of texts that go on move up; returns how many there are. */
static int compact(lar_translator *t, const bool *done, int active)
{
    const size_t n = (size_t)t->m->n_embd;
    int kept = 0;
    for (int i = 0; i < active; i++) {
        if (done[i])
            continue;
        if (kept != i) {
            t->text[kept] = t->text[i];
            memcpy(&t->span[2 * kept], &t->span[2 * i], 2 * sizeof *t->span);
            memcpy(&t->allowed[2 * kept], &t->allowed[2 * i], 2 * sizeof *t->allowed);
            for (int l = 0; l < t->m->n_dec; l++) {
                float *s = t->state + (size_t)l * (size_t)t->room * n;
                memcpy(s + (size_t)kept * n, s + (size_t)i * n, n * sizeof *s);
            }
        }
        kept++;
    }
    return kept;
}

/* A token for each column; those that end are done. */
static lar_status write_tokens(lar_translator *t, writer *w, lar_translation *x, int at, bool *done,
                               int *n_done, lar_err *e)
{
    for (int c = 0; c < w->active; c++) {
        lar_translation *y = &x[t->text[c]];
        ((int32_t *)w->ids->data)[c] = at && y->n_target ? y->target[y->n_target - 1] : -1;
        ((int32_t *)w->pos->data)[c] = at;
    }
    LAR_TRY(run(t, &t->write, e));
    for (int c = 0; c < w->active; c++) {
        lar_translation *y = &x[t->text[c]];
        if (done[c])
            continue;
        const int32_t id = best(t, w, c);
        if (id < 0)
            return lar_fail(e, LAR_ENUMERIC, "a logit is not a number: the weights are damaged");
        if (id != t->m->eos)
            y->target[y->n_target++] = id;
        y->cut = id != t->m->eos && at + 1 >= 2 * y->n_source;
        done[c] = id == t->m->eos || y->cut;
        *n_done += done[c];
    }
    return LAR_OK;
}

static lar_status write_batch(lar_translator *t, lar_translation *x, int n, lar_err *e)
{
    writer w = {0};
    bool done[TEXTS_MAX] = {false};
    int active = n, n_done = 0;
    for (int i = 0; i < n; i++)
        t->text[i] = i;
    for (int at = 0; n_done < active; at++) {
        /* A column that is done costs little beside building a graph anew. */
        if (!w.active || n_done * 4 >= active) {
            active = compact(t, done, active);
            memset(done, 0, sizeof done);
            n_done = 0;
            LAR_TRY(build_writer(t, &w, active, e));
        }
        LAR_TRY(write_tokens(t, &w, x, at, done, &n_done, e));
    }
    return LAR_OK;
}

lar_status lar_translate(lar_translator *t, lar_translation *x, int n, lar_err *e)
{
    LAR_TRY(check(t, x, n, e));
    if (!n)
        return LAR_OK;
    LAR_TRY(reserve(t, n, e));
    t->n_list = 0;
    for (int i = 0; i < n; i++) {
        x[i].n_target = 0;
        x[i].cut = false;
        LAR_TRY(allow(t, &x[i], &t->allowed[2 * i], e));
    }
    LAR_TRY(read_batch(t, x, n, e));
    return write_batch(t, x, n, e);
}
