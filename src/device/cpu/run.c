/*
 * run.c - a planned graph on the thread pool. Stages with several units are shared; the single-unit
 * stages between two of them are done by whoever finished the first, while the others wait: they
 * cost no meeting.
 */
#include "device/cpu/cpu.h"

typedef struct job {
    const lar_graph *g;
    const lar_cpu_variant *v;
    const atomic_int *cancel;         /* may be NULL */
    int next;                         /* the stage after the open one */
    const lar_cpu_observer *observer; /* may be NULL */
} job;

static void run_units(const job *j, const lar_stage *s, int64_t begin, int64_t end, int ith,
                      int nth)
{
    const lar_work w = {begin, end, s->phase, ith, nth, j->g->scratch, j->v->kernels};
    j->v->ops[s->node->op->id]->cpu(s->node, &w);
}

static int64_t next_stage(void *arg)
{
    job *j = arg;
    while (j->next < j->g->n_stage) {
        const lar_stage *s = &j->g->stage[j->next];
        if (j->cancel && atomic_load_explicit(j->cancel, memory_order_relaxed))
            return 0;
        if (j->observer && (!j->next || s->node != s[-1].node))
            j->observer->fn(s->node, j->observer->user);
        j->next++;
        if (s->units > 1)
            return s->units;
        run_units(j, s, 0, 1, 0, 1);
    }
    return 0;
}

static void open_units(void *arg, int64_t begin, int64_t end, int ith, int nth)
{
    const job *j = arg;
    run_units(j, &j->g->stage[j->next - 1], begin, end, ith, nth);
}

bool lar_cpu_run(const lar_graph *g, const lar_cpu_variant *v, lar_pool *pool,
                 const atomic_int *cancel)
{
    return lar_cpu_run_observed(g, v, pool, cancel, NULL);
}

bool lar_cpu_run_observed(const lar_graph *g, const lar_cpu_variant *v, lar_pool *pool,
                          const atomic_int *cancel, const lar_cpu_observer *observer)
{
    static const lar_pool_job def = {next_stage, open_units};
    job j = {.g = g, .v = v, .cancel = cancel, .observer = observer};
    if (lar_pool_threads(pool) > g->nth) /* scratch was planned for fewer: our own bug */
        return false;
    lar_pool_stages(pool, &def, &j);
    return j.next == g->n_stage;
}
