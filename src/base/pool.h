/*
 * pool.h - the one thread pool. A job is a function called once per worker; inside it, workers meet
 * at barriers and take work by counters. Workers spin briefly, then sleep: an idle pool costs
 * nothing, and a waiting one does not burn a core that somebody else needs.
 */
#ifndef LAR_POOL_H
#define LAR_POOL_H
#include "base/base.h"

typedef struct lar_pool lar_pool;
typedef void lar_job_fn(void *arg, int ith, int nth); /* ith 0 is the caller's own thread */

/* threads >= 1, the caller's included. Fewer may start if the system refuses: lar_pool_threads
 * tells. */
lar_status lar_pool_new(int threads, lar_pool **out, lar_err *e);
int lar_pool_threads(const lar_pool *p);
/* Run on all workers and wait. One caller at a time holds the pool; others wait their turn. */
void lar_pool_run(lar_pool *p, lar_job_fn *fn, void *arg);
/* From inside a job, by all workers: meet. The last to arrive runs `last(arg)` before any leaves.
 */
void lar_pool_barrier(lar_pool *p, void (*last)(void *), void *arg);
void lar_pool_free(lar_pool *p);

#endif
