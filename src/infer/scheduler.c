/*
 * scheduler.c - see scheduler.h. All state is under one lock, which nobody holds while a step runs.
 * A step's logits lie in the engine until the next one: every thread copies its own before the
 * leader may go on.
 */
#include "infer/scheduler.h"
#include "base/os.h"
#include "base/sync.h"
#include "infer/part.h"
#include <string.h>

/* How long the leader waits for those that are expected: a part of what the last step took, since
 * a step with all of them is not much longer than one without; and no longer than this. */
static const double GRACE_SHARE = 0.5, GRACE_MOST = 0.02;
/* How often somebody who waits for pages looks at its cancel flag. */
static const double LOOK = 0.02;

struct lar_seat {
    lar_sched *s;
    lar_seq *seq;
    lar_seat *next; /* of those who entered or want to, the oldest first */
    const atomic_int *cancel;
    int pages; /* promised */
    bool listed, entered;
    bool due;       /* in the middle of an answer: its next step will come soon */
    lar_step *part; /* what it waits for; NULL: nothing */
    bool may_cut, done;
    lar_status status;
    lar_err err;
    lar_bell bell;
    float *logits;
    size_t cap;
};

struct lar_sched {
    lar_engine *en;
    bool shared;
    lar_lock lock;
    lar_seat *first;
    lar_seat *leader;
    int promised;   /* pages */
    int reading;    /* threads that copy logits of the last step */
    double seconds; /* of the last step */
    lar_sched_figures fig;
    lar_step *part;   /* [max_seqs] of the step being made */
    lar_seat **taken; /* their seats */
};

lar_status lar_sched_new(lar_engine *en, bool shared, lar_sched **out, lar_err *e)
{
    const size_t n = (size_t)en->opts.max_seqs;
    lar_sched *s = lar_alloc(sizeof *s);
    if (!s)
        return lar_fail(e, LAR_ENOMEM, "scheduler: out of memory");
    const lar_status st = lar_lock_init(&s->lock, e);
    if (st != LAR_OK) {
        lar_free(s);
        return st;
    }
    s->en = en;
    s->shared = shared;
    s->part = lar_alloc_array(n, sizeof *s->part);
    s->taken = lar_alloc_array(n, sizeof(lar_seat *));
    if (!s->part || !s->taken) {
        lar_sched_free(s);
        return lar_fail(e, LAR_ENOMEM, "scheduler: out of memory");
    }
    *out = s;
    return LAR_OK;
}

void lar_sched_free(lar_sched *s)
{
    if (!s)
        return;
    lar_lock_end(&s->lock);
    lar_free(s->part);
    lar_free(s->taken);
    lar_free(s);
}

bool lar_sched_shared(const lar_sched *s)
{
    return s->shared;
}

lar_sched_figures lar_sched_get(lar_sched *s)
{
    lar_lock_take(&s->lock);
    lar_sched_figures f = s->fig;
    for (const lar_seat *t = s->first; t; t = t->next) {
        f.entered += t->entered;
        f.waiting += !t->entered;
    }
    lar_lock_give(&s->lock);
    return f;
}

lar_status lar_seat_new(lar_sched *s, lar_seq *seq, lar_seat **out, lar_err *e)
{
    lar_seat *t = lar_alloc(sizeof *t);
    if (!t)
        return lar_fail(e, LAR_ENOMEM, "scheduler: out of memory");
    const lar_status st = lar_bell_init(&t->bell, e);
    if (st != LAR_OK) {
        lar_free(t);
        return st;
    }
    t->s = s;
    t->seq = seq;
    *out = t;
    return LAR_OK;
}

void lar_seat_free(lar_seat *t)
{
    if (!t)
        return;
    lar_seat_leave(t);
    lar_bell_end(&t->bell);
    lar_free(t->logits);
    lar_free(t);
}

/* ---- entering and leaving -------------------------------------------------------------------- */

static bool cancelled(const lar_seat *t)
{
    return t->cancel && atomic_load_explicit(t->cancel, memory_order_relaxed);
}

/* Whoever came before this one has its pages. */
static bool is_next(const lar_seat *t)
{
    const lar_seat *p = t->s->first;
    while (p->entered)
        p = p->next;
    return p == t;
}

static void ring_waiting(const lar_sched *s)
{
    for (lar_seat *t = s->first; t; t = t->next)
        if (!t->entered)
            lar_bell_ring(&t->bell);
}

static void unlist(lar_seat *t)
{
    lar_seat **p = &t->s->first;
    while (*p != t)
        p = &(*p)->next;
    *p = t->next;
    t->listed = t->entered = t->due = false;
}

lar_status lar_seat_enter(lar_seat *t, int tokens, const atomic_int *cancel, lar_err *e)
{
    lar_sched *s = t->s;
    lar_seat **last = &s->first;
    lar_seat_leave(t);
    lar_lock_take(&s->lock);
    while (*last)
        last = &(*last)->next;
    *last = t;
    t->next = NULL;
    t->listed = true;
    t->cancel = cancel;
    t->pages = LAR_MIN((tokens + LAR_PAGE - 1) / LAR_PAGE + 1, s->en->n_pages);
    while (!(is_next(t) && s->promised + t->pages <= s->en->n_pages) && !cancelled(t))
        lar_bell_wait_for(&t->bell, &s->lock, LOOK);
    const bool stop = cancelled(t);
    if (stop) {
        unlist(t);
    } else {
        t->entered = true;
        s->promised += t->pages;
    }
    ring_waiting(s);
    lar_lock_give(&s->lock);
    return stop ? lar_fail(e, LAR_ECANCELLED, "cancelled") : LAR_OK;
}

void lar_seat_leave(lar_seat *t)
{
    lar_sched *s = t->s;
    lar_lock_take(&s->lock);
    if (t->listed) {
        s->promised -= t->pages;
        unlist(t);
        ring_waiting(s);
        if (s->leader)
            lar_bell_ring(&s->leader->bell);
    }
    lar_lock_give(&s->lock);
}

bool lar_seat_alone(const lar_seat *t)
{
    lar_sched *s = t->s;
    lar_lock_take(&s->lock);
    const bool alone = s->first == t && !t->next;
    lar_lock_give(&s->lock);
    return alone;
}

/* ---- a step -----------------------------------------------------------------------------------
 */

/* Somebody whose next step will come soon has not asked for it yet. */
static bool somebody_missing(const lar_sched *s)
{
    for (const lar_seat *t = s->first; t; t = t->next)
        if (t->due && !t->part)
            return true;
    return false;
}

static void settle(lar_seat *t, lar_status st, const lar_err *why)
{
    t->part = NULL;
    t->done = true;
    t->status = st;
    if (st != LAR_OK)
        t->err = *why;
    lar_bell_ring(&t->bell);
}

static int take_one(lar_sched *s, lar_seat *t, int n, int tokens)
{
    s->taken[n] = t;
    s->part[n] = *t->part;
    s->part[n].n = tokens;
    return n + 1;
}

/* Choose who is in the next step: answers, then prompts by age. Gives the number of parts. */
static int choose(lar_sched *s)
{
    const int batch = s->en->opts.batch;
    lar_err why = {LAR_ECANCELLED, "cancelled"};
    int n = 0, tokens = 0;
    for (lar_seat *t = s->first; t; t = t->next) {
        if (t->part && cancelled(t))
            settle(t, LAR_ECANCELLED, &why);
        if (!t->part || t->may_cut || (n && t->part->n > batch - tokens))
            continue;
        tokens += t->part->n;
        n = take_one(s, t, n, t->part->n);
    }
    const int most = n ? LAR_MIN(batch, LAR_MAX(LAR_SCHED_MIXED, tokens + LAR_PAGE)) : batch;
    for (lar_seat *t = s->first; t && tokens < most; t = t->next) {
        if (!t->part || !t->may_cut)
            continue;
        const int k = LAR_MIN(t->part->n, most - tokens);
        tokens += k;
        n = take_one(s, t, n, k);
    }
    s->fig.steps += n > 0;
    s->fig.parts += (uint64_t)n;
    s->fig.tokens += (uint64_t)tokens;
    return n;
}

/* Out of the engine's memory, where the next step's will be. */
static lar_status copy_logits(lar_seat *t, lar_step *part, lar_err *e)
{
    const size_t rows = part->all_logits ? (size_t)part->n : 1,
                 n = rows * t->s->en->net->hp.n_vocab;
    if (part->logits == t->logits) /* done already */
        return LAR_OK;
    if (n > t->cap) {
        lar_free(t->logits);
        t->cap = 0;
        if (!(t->logits = lar_alloc_array(n, sizeof(float))))
            return lar_fail(e, LAR_ENOMEM, "out of memory: logits of %zu tokens", rows);
        t->cap = n;
    }
    memcpy(t->logits, part->logits, n * sizeof(float));
    part->logits = t->logits;
    return LAR_OK;
}

/* Run the parts that were chosen; where they fail together each is tried by itself, so that the
 * error is only his who caused it. Only one that is alone can be cancelled before its step ends. */
static void run(lar_sched *s, int n)
{
    lar_err e = {0};
    lar_engine_watch(s->en, n == 1 ? s->taken[0]->cancel : NULL);
    const lar_status all = lar_engine_step(s->en, s->part, n, &e);
    for (int i = 0; i < n; i++) {
        lar_seat *t = s->taken[i];
        lar_step *p = &s->part[i];
        t->status = all;
        if (all != LAR_OK && n > 1 && (t->status = lar_engine_step(s->en, p, 1, &e)) == LAR_OK)
            t->status = copy_logits(t, p, &e);
        t->err = e;
        t->part->n = p->n;
        t->part->logits = p->logits;
    }
    lar_engine_watch(s->en, NULL);
}

/* Make steps until this one's part is done; then another leads. Under the lock. */
static void lead(lar_seat *self)
{
    lar_sched *s = self->s;
    while (!self->done) {
        const double grace = LAR_MIN(s->seconds * GRACE_SHARE, GRACE_MOST), t0 = lar_clock();
        for (double left = grace; s->reading || (somebody_missing(s) && left > 0);
             left = grace - (lar_clock() - t0))
            lar_bell_wait_for(&self->bell, &s->lock, LAR_MAX(left, 1e-4));
        for (lar_seat *t = s->first; t; t = t->next) /* who is late is not waited for again */
            t->due = t->due && t->part;
        const int n = choose(s);
        if (!n) /* it was cancelled */
            continue;
        lar_lock_give(&s->lock);
        const double begin = lar_clock();
        run(s, n);
        const double took = lar_clock() - begin;
        lar_lock_take(&s->lock);
        s->seconds = took;
        for (int i = 0; i < n; i++) {
            lar_seat *t = s->taken[i];
            t->due = t->entered;
            s->reading += t->status == LAR_OK;
            settle(t, t->status, &t->err);
        }
    }
}

static lar_seat *who_waits(const lar_sched *s)
{
    for (lar_seat *t = s->first; t; t = t->next)
        if (t->part)
            return t;
    return NULL;
}

static lar_status finish(lar_seat *t, lar_step *part, lar_err *e)
{
    lar_sched *s = t->s;
    if (t->status != LAR_OK)
        return lar_fail(e, t->status, "%s", t->err.msg);
    const lar_status st = copy_logits(t, part, e);
    lar_lock_take(&s->lock);
    if (!--s->reading && s->leader)
        lar_bell_ring(&s->leader->bell);
    lar_lock_give(&s->lock);
    return st;
}

lar_status lar_seat_step(lar_seat *t, lar_step *part, bool may_cut, lar_err *e)
{
    lar_sched *s = t->s;
    part->seq = t->seq;
    if (!s->shared)
        return lar_engine_step(s->en, part, 1, e);
    if (!t->entered)
        return lar_fail(e, LAR_EARG, "step: the sequence has not entered");
    if (part->n < 1 || (!may_cut && part->n > s->en->opts.batch))
        return lar_fail(e, LAR_EARG, "step: a part of %d tokens, want 1 to %d", part->n,
                        s->en->opts.batch);
    lar_lock_take(&s->lock);
    t->part = part;
    t->may_cut = may_cut;
    t->done = false;
    if (!s->leader)
        s->leader = t;
    else
        lar_bell_ring(&s->leader->bell);
    while (!t->done && s->leader != t)
        lar_bell_wait(&t->bell, &s->lock);
    if (s->leader == t) {
        lead(t);
        if ((s->leader = who_waits(s)))
            lar_bell_ring(&s->leader->bell);
    }
    lar_lock_give(&s->lock);
    return finish(t, part, e);
}
