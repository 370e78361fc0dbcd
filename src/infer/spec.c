/* spec.c - see spec.h: who drafts how many tokens, and what it was worth. */
#include "infer/spec_part.h"
#include "base/os.h"
#include <string.h>

enum { DRAFTERS = 4, FIRST = 3 /* tokens of the first draft, whose cost is only supposed */ };

/* Few lengths, so that steps have few shapes. */
static const int length[] = {1, 2, 3, 5, 7, 11, 15, 23, 31, 47, LAR_SPEC_MOST};
enum { LENGTHS = LAR_LEN(length) };

/* In single-token steps: what an answer may lose at first (more where somebody went to the expense
 * of a draft model), what each single step adds to that, the
 * most that is saved up, and from when on a hopeless guess is made to see whether that has changed.
 */
static const double SPARE_FIRST = 1, SPARE_ASKED = 3, SPARE_STEP = 0.01, SPARE_MOST = 4,
                    SPARE_TRY = 1.2;
/* Before a step is measured: what drafting adds to a single step, and what each further token does.
 */
static const double WIDER = 0.65, SLOPE = 0.15;
/* What a guess may lose beyond that where it promises twice the speed; in proportion where less. */
static const double LENT = 3;
/* Less than this is no gain. */
static const double GAIN = 1.03;

/* How many guesses came true: old ones count less and less. */
typedef struct chance {
    double tried, good;
} chance;

typedef struct drafter {
    const lar_drafter_def *def;
    void *state;
    bool on;
    double seconds; /* of drafting a token, in single-token steps */
    chance chance[LAR_SPEC_CLASSES];
    lar_spec_figures fig;
} drafter;

struct lar_spec {
    drafter d[DRAFTERS];
    int n;
    lar_spec_options o;
    double one; /* seconds of a single-token step; 0: not known */
    int ones;   /* how many were measured */
    /* A step with k drafted tokens takes 1 + wider + slope (k - 1) single steps. */
    double wider, slope;
    bool checked; /* one was measured */
    double spare;
    struct {
        drafter *by; /* NULL: none under way */
        int sure;
        double cost; /* drafting and step, in single steps */
    } now;
    lar_err fault;
};

lar_status lar_spec_new(lar_spec **out, lar_err *e)
{
    void *state;
    lar_spec *s = lar_alloc(sizeof *s);
    if (!s)
        return lar_fail(e, LAR_ENOMEM, "speculation: out of memory");
    s->wider = WIDER;
    s->slope = SLOPE;
    lar_status st = lar__ngram_new(&state, e);
    if (st == LAR_OK)
        st = lar_spec_add(s, &lar__drafter_ngram, state, e);
    if (st != LAR_OK) {
        lar_spec_free(s);
        return st;
    }
    *out = s;
    return LAR_OK;
}

void lar_spec_free(lar_spec *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->n; i++)
        s->d[i].def->free(s->d[i].state);
    lar_free(s);
}

/* Of a class's chance before it is tried: as if so many guesses had been seen. */
static const double PRIOR = 3;

lar_status lar_spec_add(lar_spec *s, const lar_drafter_def *def, void *state, lar_err *e)
{
    if (s->n == DRAFTERS) {
        def->free(state);
        return lar_fail(e, LAR_EARG, "speculation: more than %d drafters", DRAFTERS);
    }
    drafter *d = &s->d[s->n++];
    *d = (drafter){.def = def, .state = state, .seconds = def->seconds, .fig.name = def->name};
    for (int c = 0; c < LAR_SPEC_CLASSES; c++)
        d->chance[c] = (chance){PRIOR, PRIOR * def->expect[c]};
    return LAR_OK;
}

void *lar__spec_state(const lar_spec *s, const lar_drafter_def *def)
{
    for (int i = 0; i < s->n; i++)
        if (s->d[i].def == def)
            return s->d[i].state;
    return NULL;
}

void lar_spec_forget(lar_spec *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->d[i].def->forget)
            s->d[i].def->forget(s->d[i].state);
}

lar_status lar_spec_begin(lar_spec *s, const lar_spec_options *o, lar_err *e)
{
    int there = 0;
    s->o = *o;
    s->o.sampler = NULL;
    s->o.draft_max = LAR_MIN(o->draft_max, LAR_SPEC_MOST);
    s->now.by = NULL;
    s->fault = (lar_err){0};
    s->spare = LAR_MAX(s->spare, SPARE_FIRST);
    for (int i = 0; i < s->n; i++) {
        drafter *d = &s->d[i];
        d->on = !o->only || strcmp(o->only, d->def->name) == 0;
        d->fig = (lar_spec_figures){.name = d->def->name, .on = d->on};
        there += d->on;
        if (d->on && d->def->begin && d->def->begin(d->state, o, &s->fault) != LAR_OK)
            d->on = false;
        if (d->on && d->def->seconds > 0)
            s->spare = LAR_MAX(s->spare, SPARE_ASKED);
    }
    return there ? LAR_OK
                 : lar_fail(e, LAR_ENOTFOUND, "speculation: there is no drafter '%.40s'", o->only);
}

void lar_spec_end(lar_spec *s)
{
    s->now.by = NULL;
    for (int i = 0; i < s->n; i++)
        if (s->d[i].def->end)
            s->d[i].def->end(s->d[i].state);
}

/* ---- what it costs ----------------------------------------------------------------------------
 */

/* Towards what was measured, but not far at once: a step may have waited for another process. */
static double learn(double old, double seen, double most)
{
    return LAR_MAX(old * (1 - most), LAR_MIN(old * (1 + most), (old * 3 + seen) / 4));
}

/* A step with k drafted tokens, in single steps. */
static double cost_of(const lar_spec *s, int k)
{
    return 1 + s->wider + s->slope * (k - 1);
}

/* Move the line towards a step that was measured (least mean squares, normalised). */
static void learn_cost(lar_spec *s, int k, double seen)
{
    const double now = cost_of(s, k), u = (k - 1) / 8.0;
    if (!s->checked) {
        s->checked = true;
        s->wider = LAR_MAX(0.0, LAR_MIN(3.0, s->wider + seen - now));
        return;
    }
    const double miss = LAR_MAX(-0.4 * now, LAR_MIN(0.4 * now, seen - now)) * 0.5 / (1 + u * u);
    s->wider = LAR_MAX(0.0, s->wider + miss);
    s->slope = LAR_MAX(0.01, s->slope + miss * u / 8);
}

void lar_spec_step(lar_spec *s, int n, double seconds)
{
    drafter *by = s->now.by;
    if (n == 0) {
        /* The first ones plan graphs and touch memory. */
        s->one = s->ones < 4 ? (s->ones ? LAR_MIN(s->one, seconds) : seconds)
                             : learn(s->one, seconds, 0.1);
        s->ones += s->ones < 4;
        s->spare = LAR_MIN(s->spare + SPARE_STEP, SPARE_MOST);
        s->now.by = NULL;
        return;
    }
    if (!by)
        return;
    by->fig.drafts++;
    by->fig.drafted += n;
    const double w = s->one > 0 ? seconds / s->one : 1;
    /* One that waited for another process is not the guess's fault. */
    s->now.cost += LAR_MIN(w, 2 * cost_of(s, n));
    if (s->one > 0)
        learn_cost(s, n, w);
}

void lar_spec_judge(lar_spec *s, int accepted, bool refused)
{
    drafter *by = s->now.by;
    if (!by)
        return;
    chance *c = &by->chance[s->now.sure];
    by->fig.accepted += accepted;
    c->tried = c->tried * 0.9 + accepted + (refused ? 1 : 0);
    c->good = c->good * 0.9 + accepted;
    s->spare = LAR_MIN(s->spare + accepted + 1 - s->now.cost, SPARE_MOST);
    s->now.by = NULL;
}

/* ---- who drafts --------------------------------------------------------------------------------
 */

typedef struct plan {
    drafter *by;
    int sure, k;
    double gain; /* tokens per single step's time */
} plan;

/* The best length for a drafter that could draft `most`. */
static void weigh(const lar_spec *s, drafter *d, int sure, int most, plan *best)
{
    const chance *c = &d->chance[sure];
    const double p = LAR_MIN(0.99, (c->good + 0.1) / (c->tried + 0.2));
    double tokens = 1, pk = 1;
    int k = 0;
    if (!s->checked)
        most = LAR_MIN(most, FIRST);
    for (int i = 0; i < LENGTHS && length[i] <= most; i++) {
        for (; k < length[i]; k++)
            tokens += pk *= p;
        const double cost = cost_of(s, k) + d->seconds * k;
        const double lent = LAR_MIN(LENT, LENT * (tokens / cost - 1));
        if (cost - 1 <= s->spare + lent && tokens / cost > best->gain)
            *best = (plan){d, sure, k, tokens / cost};
    }
}

static plan choose(lar_spec *s, const lar_spec_text *t, int most)
{
    const bool must = s->o.draft_min > 0;
    plan best = {.gain = GAIN}, hope = {0};
    if (s->ones < 2 && !must) /* nothing to compare with */
        return hope;
    for (int i = 0; i < s->n; i++) {
        drafter *d = &s->d[i];
        int sure = 0;
        const int n = d->on ? d->def->look(d->state, t, most, &sure) : 0;
        if (n < 1)
            continue;
        const chance *c = &d->chance[sure], *h = hope.by ? &hope.by->chance[hope.sure] : NULL;
        weigh(s, d, sure, n, &best);
        if (!h || c->good * h->tried > h->good * c->tried)
            hope = (plan){d, sure, LAR_MIN(n, must ? s->o.draft_min : 2), 0};
    }
    if (must && hope.by && best.k < s->o.draft_min)
        return hope;
    if (best.by)
        return best;
    if (hope.by && s->spare >= SPARE_TRY &&
        cost_of(s, hope.k) + hope.by->seconds * hope.k - 1 <= s->spare)
        return hope;
    return (plan){0};
}

int lar_spec_draft(lar_spec *s, const lar_spec_text *t, int most, int32_t *out)
{
    lar_err e = {0};
    int n = 0;
    most = LAR_MIN(most, s->o.draft_max);
    s->now.by = NULL;
    if (most < 1 || t->n < 1)
        return 0;
    const plan p = choose(s, t, most);
    if (!p.by)
        return 0;
    const double t0 = lar_clock();
    if (p.by->def->draft(p.by->state, t, LAR_MIN(p.k, most), out, &n, &e) != LAR_OK) {
        p.by->on = false;
        s->fault = e;
        return 0;
    }
    if (n < 1)
        return 0;
    const double cost = s->one > 0 ? (lar_clock() - t0) / s->one : 0;
    s->now.by = p.by;
    s->now.sure = p.sure;
    s->now.cost = cost;
    if (p.by->def->seconds > 0 && cost > 0)
        p.by->seconds = learn(p.by->seconds, cost / n, 0.3);
    return n;
}

/* ---- figures -----------------------------------------------------------------------------------
 */

int lar_spec_count(const lar_spec *s)
{
    return s->n;
}

lar_spec_figures lar_spec_get(const lar_spec *s, int i)
{
    return s->d[i].fig;
}

const char *lar_spec_fault(const lar_spec *s)
{
    return s->fault.code != LAR_OK ? s->fault.msg : NULL;
}
