/*
 * pool.h - the one thread pool. A run is a row of stages; a stage is a number of units, which
 * anybody may do in any order. A stage is over when its units are done, not when all workers have
 * come by: one that the system has put aside holds up nobody unless it is in the middle of a unit,
 * and the caller's thread alone can finish everything. Who finishes the last unit of a stage opens
 * the next one. Workers without work look for some briefly, then sleep: an idle pool costs nothing.
 */
#ifndef LAR_POOL_H
#define LAR_POOL_H
#include "base/base.h"

typedef struct lar_pool lar_pool;

typedef struct lar_pool_job {
    /* Open the next stage: how many units (>= 1) it has; 0 when there are no more. Called by one
     * thread at a time, when all units of the stage before are done and seen. Whatever is too small
     * to be shared can be done here. */
    int64_t (*next)(void *arg);
    /* Do units [begin, end) of the open stage. ith: which worker this is, in [0, nth), so that two
     * at work have different ones; 0 is the caller's own thread. */
    void (*units)(void *arg, int64_t begin, int64_t end, int ith, int nth);
} lar_pool_job;

typedef void lar_share_fn(void *arg, int i, int nth);

/* threads >= 1, the caller's included. Fewer may start if the system refuses: lar_pool_threads
 * tells. */
lar_status lar_pool_new(int threads, lar_pool **out, lar_err *e);
int lar_pool_threads(const lar_pool *p);
/* Run all stages; nobody touches 'arg' or anything of the job once it returns. One caller at a time
 * holds the pool; others wait their turn. */
void lar_pool_stages(lar_pool *p, const lar_pool_job *job, void *arg);
/* One stage: share(arg, i, nth) for every i in [0, nth), nth being lar_pool_threads. */
void lar_pool_run(lar_pool *p, lar_share_fn *share, void *arg);
void lar_pool_free(lar_pool *p);

#endif
