/*
 * pool.c - the one thread pool. Threads meet at gates: a counter that is waited on by a short spin,
 * then by sleeping (futex on Linux, a condition variable elsewhere). Depends on os.h and pthreads.
 */
#include "base/math.h"
#include "base/pool.h"
#include "base/os.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#if !defined(_WIN32)
#include <signal.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { THREADS_MAX = 1024, STACK_BYTES = 2 << 20 };
#define SPIN_SECONDS 20e-6

/* Opens each time that 'step' changes. 'asleep' says whether anyone must be woken: who sleeps
 * announces itself before its last look at 'step', who opens looks at 'asleep' after changing
 * 'step', both in the one total order of sequential consistency, so that one of them sees the
 * other. */
typedef struct gate {
    _Alignas(64) _Atomic uint32_t step;
    _Atomic uint32_t asleep;
#if !defined(__linux__)
    pthread_mutex_t lock;
    pthread_cond_t moved;
#endif
} gate;

typedef struct worker {
    lar_pool *pool;
    pthread_t thread;
    int ith;
} worker;

struct lar_pool {
    gate work, met, done;
    _Alignas(64) atomic_int arrived; /* at the barrier */
    _Alignas(64) atomic_int running; /* workers that are still in the job */
    int threads;
    bool spin, stop; /* 'stop' is published by 'work' */
    lar_job_fn *fn;  /* and so are these */
    void *arg;
    pthread_mutex_t turn; /* whose job it is */
    worker *workers;      /* [threads - 1] */
};

/* ---- gates ----------------------------------------------------------------------------------- */

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* 'yield' is a no-op on most cores */
#endif
}

static bool gate_init(gate *g)
{
#if !defined(__linux__)
    if (pthread_mutex_init(&g->lock, NULL))
        return false;
    if (pthread_cond_init(&g->moved, NULL)) {
        pthread_mutex_destroy(&g->lock);
        return false;
    }
#endif
    (void)g;
    return true;
}

static void gate_end(gate *g)
{
#if !defined(__linux__)
    pthread_cond_destroy(&g->moved);
    pthread_mutex_destroy(&g->lock);
#endif
    (void)g;
}

static void gate_open(gate *g)
{
    atomic_fetch_add(&g->step, 1);
    if (atomic_load(&g->asleep) == 0)
        return;
#if defined(__linux__)
    syscall(SYS_futex, &g->step, FUTEX_WAKE_PRIVATE, 0x7FFFFFFF, NULL, NULL, 0);
#else
    pthread_mutex_lock(&g->lock);
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->lock);
#endif
}

/* A short look around before sleeping. It yields the core now and then: the one that is waited for
 * may be queued on this very core, and pausing alone would keep it there. */
static bool spun(gate *g, uint32_t old)
{
    double end = 0;
    for (int round = 0;; round++) {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&g->step, memory_order_acquire) != old)
                return true;
            relax();
        }
        if (round == 0)
            end = lar_clock() + SPIN_SECONDS;
        else if (lar_clock() >= end)
            return false;
        else
            sched_yield();
    }
}

/* Until 'step' is no longer 'old'. */
static void gate_wait(gate *g, uint32_t old, bool spin)
{
    if (spin && spun(g, old))
        return;
    atomic_fetch_add(&g->asleep, 1);
#if defined(__linux__)
    while (atomic_load(&g->step) == old)
        syscall(SYS_futex, &g->step, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
#else
    pthread_mutex_lock(&g->lock);
    while (atomic_load(&g->step) == old)
        pthread_cond_wait(&g->moved, &g->lock);
    pthread_mutex_unlock(&g->lock);
#endif
    atomic_fetch_sub(&g->asleep, 1);
}

/* ---- the pool -------------------------------------------------------------------------------- */

static void *work(void *arg)
{
    worker *w = arg;
    lar_pool *p = w->pool;
    lar_fp_enter();
    for (uint32_t seen = 0;; seen++) {
        gate_wait(&p->work, seen, p->spin);
        if (p->stop)
            return NULL;
        p->fn(p->arg, w->ith, p->threads);
        if (atomic_fetch_sub(&p->running, 1) == 1)
            gate_open(&p->done);
    }
}

/* Signals from outside belong to the program's own threads. */
static int start(worker *w, const pthread_attr_t *attr)
{
#if defined(_WIN32)
    return pthread_create(&w->thread, attr, work, w);
#else
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF};
    sigset_t all, old;
    sigfillset(&all);
    for (size_t i = 0; i < LAR_LEN(own); i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&w->thread, attr, work, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
#endif
}

static bool sync_init(lar_pool *p)
{
    if (pthread_mutex_init(&p->turn, NULL))
        return false;
    if (!gate_init(&p->work))
        goto no_work;
    if (!gate_init(&p->met))
        goto no_met;
    if (gate_init(&p->done))
        return true;
    gate_end(&p->met);
no_met:
    gate_end(&p->work);
no_work:
    pthread_mutex_destroy(&p->turn);
    return false;
}

lar_status lar_pool_new(int threads, lar_pool **out, lar_err *e)
{
    *out = NULL;
    if (threads < 1 || threads > THREADS_MAX)
        return lar_fail(e, LAR_EARG, "threads: found %d, want 1 to %d", threads, THREADS_MAX);
    lar_pool *p = lar_alloc_aligned(sizeof *p);
    worker *workers = lar_alloc_array((size_t)threads, sizeof *workers);
    if (!p || !workers || !sync_init(p)) {
        lar_free(workers);
        lar_free_aligned(p);
        return lar_fail(e, LAR_ENOMEM, "out of memory for a pool of %d threads", threads);
    }
    p->workers = workers;
    p->spin = threads > 1 && threads <= lar_cpu_count();
    p->threads = 1;
    pthread_attr_t attr;
    bool sized = threads > 1 && pthread_attr_init(&attr) == 0;
    if (sized)
        pthread_attr_setstacksize(&attr, STACK_BYTES);
    /* A worker reads 'threads' only in its first job, which lar_pool_run publishes. */
    while (p->threads < threads) {
        worker *w = &workers[p->threads - 1];
        w->pool = p;
        w->ith = p->threads;
        if (start(w, sized ? &attr : NULL))
            break;
        p->threads++;
    }
    if (sized)
        pthread_attr_destroy(&attr);
    *out = p;
    return LAR_OK;
}

int lar_pool_threads(const lar_pool *p)
{
    return p->threads;
}

void lar_pool_run(lar_pool *p, lar_job_fn *fn, void *arg)
{
    pthread_mutex_lock(&p->turn);
    const uint64_t fp = lar_fp_enter();
    if (p->threads == 1) {
        fn(arg, 0, 1);
    } else {
        uint32_t done = atomic_load(&p->done.step);
        p->fn = fn;
        p->arg = arg;
        atomic_store(&p->running, p->threads);
        gate_open(&p->work);
        fn(arg, 0, p->threads);
        if (atomic_fetch_sub(&p->running, 1) != 1)
            gate_wait(&p->done, done, p->spin);
    }
    lar_fp_leave(fp);
    pthread_mutex_unlock(&p->turn);
}

void lar_pool_barrier(lar_pool *p, void (*last)(void *), void *arg)
{
    uint32_t met = atomic_load(&p->met.step);
    if (p->threads > 1 && atomic_fetch_add(&p->arrived, 1) + 1 != p->threads) {
        gate_wait(&p->met, met, p->spin);
        return;
    }
    if (last)
        last(arg);
    if (p->threads > 1) {
        atomic_store(&p->arrived, 0);
        gate_open(&p->met);
    }
}

void lar_pool_free(lar_pool *p)
{
    if (!p)
        return;
    p->stop = true;
    gate_open(&p->work);
    for (int i = 0; i < p->threads - 1; i++)
        pthread_join(p->workers[i].thread, NULL);
    gate_end(&p->work);
    gate_end(&p->met);
    gate_end(&p->done);
    pthread_mutex_destroy(&p->turn);
    lar_free(p->workers);
    lar_free_aligned(p);
}
