/*
 * run.c - a planned graph on the thread pool. Stages with several units are shared: every worker
 * takes the next few units from a counter, so that one that was put to sleep by the system holds up
 * little. Runs of single-unit stages are done by whoever reaches the barrier last, while the others
 * wait there: one barrier per shared stage, none for small ones.
 */
#include "device/cpu/cpu.h"
#include <stdatomic.h>

typedef struct job {
    const lar_graph *g;
    const lar_cpu_variant *v;
    lar_pool *pool;
    int next;          /* first stage that has not been started */
    atomic_llong unit; /* next unit of the shared stage */
} job;

static void run_units(const job *j, const lar_stage *s, int64_t begin, int64_t end, int ith,
                      int nth)
{
    const lar_work w = {begin, end, s->phase, ith, nth, j->g->scratch, j->v->kernels};
    j->v->ops[s->node->op->id]->cpu(s->node, &w);
}

/* By one worker, while the rest waits: all small stages up to the next shared one. */
static void advance(void *arg)
{
    job *j = arg;
    while (j->next < j->g->n_stage && j->g->stage[j->next].units == 1)
        run_units(j, &j->g->stage[j->next++], 0, 1, 0, 1);
    atomic_store_explicit(&j->unit, 0, memory_order_relaxed);
}

/* After a shared stage: past it, then the small ones. */
static void advance_past(void *arg)
{
    ((job *)arg)->next++;
    advance(arg);
}

static void worker(void *arg, int ith, int nth)
{
    job *j = arg;
    lar_pool_barrier(j->pool, advance, j);
    while (j->next < j->g->n_stage) {
        const lar_stage *s = &j->g->stage[j->next];
        const int64_t grain = LAR_MAX(1, s->units / (4 * nth));
        for (;;) {
            int64_t b = atomic_fetch_add_explicit(&j->unit, grain, memory_order_relaxed);
            if (b >= s->units)
                break;
            run_units(j, s, b, LAR_MIN(b + grain, s->units), ith, nth);
        }
        lar_pool_barrier(j->pool, advance_past, j);
    }
}

void lar_cpu_run(const lar_graph *g, const lar_cpu_variant *v, lar_pool *pool)
{
    job j = {.g = g, .v = v, .pool = pool};
    atomic_init(&j.unit, 0);
    if (lar_pool_threads(pool) > g->nth) /* scratch was planned for fewer: our own bug */
        return;
    lar_pool_run(pool, worker, &j);
}
