/*
 * pool.c - the one thread pool. Depends on os.h and pthreads (futex on Linux).
 *
 * 'open' is how many units of the current stage nobody has taken yet. To take some is to lower it
 * by a compare and swap, and that is the only way in: the stage cannot end while somebody holds
 * units of it, so everything else that belongs to the stage and to the run ('job', 'arg', 'total')
 * may be read by holders and by nobody else. A latecomer that swaps in a value which it read long
 * ago, in another stage or another run, has taken units of the current one. Holders give back to
 * 'left'; who brings that to 0 is alone, asks the job for the next stage and opens it. When there
 * is none it announces the run's end and forgets it; the caller, who waits for that, returns.
 */
#include "base/math.h"
#include "base/pool.h"
#include "base/os.h"
#include <pthread.h>
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

/* Units that are taken together: neighbours lie side by side in memory, and reading on is faster
 * than beginning elsewhere (a sixth of a decode step at 2 threads). */
enum { RUN = 16 };

/* How long to look for work before sleeping. Waking takes longer than most stages, so this covers
 * the waits inside a step and the caller's own work between two tokens. On a busy machine it is
 * lost at most once in a slice of the system's (milliseconds), by who waits for a worker that was
 * put aside. No sched_yield meanwhile: since Linux 6.18 that gives away the rest of the slice. */
#define SPIN_SECONDS 200e-6

/* Each on a line of its own: 'asleep' is what its owner sleeps on. */
typedef struct worker {
    _Alignas(64) _Atomic uint32_t asleep; /* 1: it wants to be woken; who makes it 0 wakes it */
    int ith;
    lar_pool *pool;
    pthread_t thread; /* of all but worker 0, which is whoever calls */
#if !defined(__linux__)
    pthread_mutex_t lock;
    pthread_cond_t woken;
#endif
} worker;

struct lar_pool {
    _Alignas(64) _Atomic uint64_t open; /* units that nobody has taken */
    _Atomic uint64_t ended;             /* the last run that is over */
    _Atomic int sleepers;               /* workers whose 'asleep' is 1 */
    atomic_bool stop;
    _Alignas(64) _Atomic uint64_t left; /* units that are not done */
    const lar_pool_job *job;            /* of the run, for holders of units */
    void *arg;
    uint64_t total, run;               /* units of the stage; number of the run */
    _Alignas(64) pthread_mutex_t turn; /* whose run it is */
    int threads;
    bool spin;
    worker *worker; /* [threads] */
};

/* ---- sleeping -------------------------------------------------------------------------------- */

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* 'yield' is a no-op on most cores */
#endif
}

static bool sleep_init(worker *w)
{
#if !defined(__linux__)
    if (pthread_mutex_init(&w->lock, NULL))
        return false;
    if (pthread_cond_init(&w->woken, NULL)) {
        pthread_mutex_destroy(&w->lock);
        return false;
    }
#endif
    (void)w;
    return true;
}

static void sleep_end(worker *w)
{
#if !defined(__linux__)
    pthread_cond_destroy(&w->woken);
    pthread_mutex_destroy(&w->lock);
#endif
    (void)w;
}

/* Take back the wish to be woken, one's own or another's; false if somebody was quicker. */
static bool unwish(lar_pool *p, worker *w)
{
    uint32_t one = 1;
    if (!atomic_compare_exchange_strong(&w->asleep, &one, 0))
        return false;
    atomic_fetch_sub(&p->sleepers, 1);
    return true;
}

static bool wake(lar_pool *p, worker *w)
{
    if (atomic_load(&w->asleep) == 0 || !unwish(p, w))
        return false;
#if defined(__linux__)
    syscall(SYS_futex, &w->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
#else
    pthread_mutex_lock(&w->lock);
    pthread_cond_signal(&w->woken);
    pthread_mutex_unlock(&w->lock);
#endif
    return true;
}

/* Is there anything for this worker? 'run' is the one that the caller waits for, 0 for others. */
static bool called(lar_pool *p, uint64_t run)
{
    if (atomic_load(&p->open) != 0)
        return true;
    return run ? atomic_load(&p->ended) == run : atomic_load(&p->stop);
}

static bool spun(lar_pool *p, uint64_t run)
{
    double end = 0;
    for (int round = 0;; round++) {
        for (int i = 0; i < 32; i++) {
            if (called(p, run))
                return true;
            relax();
        }
        const double now = lar_clock();
        if (round == 0)
            end = now + SPIN_SECONDS;
        else if (now >= end)
            return false;
    }
}

/* Until there is something, or a little earlier. Who sleeps says so before its last look, who opens
 * a stage looks for sleepers after it, both in the one order of sequential consistency: one of them
 * sees the other. */
static void wait_for(lar_pool *p, worker *w, uint64_t run)
{
    if (p->spin && spun(p, run))
        return;
    atomic_fetch_add(&p->sleepers, 1);
    atomic_store(&w->asleep, 1);
    if (called(p, run) && unwish(p, w))
        return;
#if defined(__linux__)
    while (atomic_load(&w->asleep) != 0)
        syscall(SYS_futex, &w->asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
#else
    pthread_mutex_lock(&w->lock);
    while (atomic_load(&w->asleep) != 0)
        pthread_cond_wait(&w->woken, &w->lock);
    pthread_mutex_unlock(&w->lock);
#endif
}

/* ---- stages ---------------------------------------------------------------------------------- */

/* So many that all can be at work, less whoever is awake. */
static void wake_for(lar_pool *p, uint64_t units)
{
    const int asleep = atomic_load(&p->sleepers);
    if (asleep == 0)
        return;
    int want = (int)LAR_MIN(units, (uint64_t)p->threads) - (p->threads - asleep);
    for (int i = 0; i < p->threads && want > 0; i++)
        want -= wake(p, &p->worker[i]);
}

/* By the one thread that is at work: open the next stage, or end the run. */
static void advance(lar_pool *p)
{
    const int64_t units = p->job->next(p->arg);
    if (units > 0) {
        p->total = (uint64_t)units;
        atomic_store_explicit(&p->left, (uint64_t)units, memory_order_relaxed);
        atomic_store(&p->open, (uint64_t)units);
        wake_for(p, (uint64_t)units);
    } else {
        const uint64_t run = p->run;
        atomic_store(&p->ended, run);
        wake(p, &p->worker[0]);
    }
}

/* Shares shrink, so that all finish at about the same time and nobody holds much at the end: half
 * of an even share of what is left, or all of it where that is little. */
static uint64_t share(const lar_pool *p, uint64_t open)
{
    const uint64_t even = open / (uint64_t)p->threads;
    return LAR_MAX(LAR_MAX(1, even / 2), LAR_MIN(even, RUN));
}

/* Do units of the stage, of which `open` are free, until none is; gives how many. From the first to
 * the last the stage is held open by what this worker has not given back. */
static uint64_t help_stage(lar_pool *p, uint64_t open, int ith)
{
    uint64_t mine = 0;
    while (open) {
        const uint64_t n = share(p, open);
        if (!atomic_compare_exchange_weak_explicit(&p->open, &open, open - n, memory_order_acquire,
                                                   memory_order_acquire))
            continue;
        const uint64_t begin = p->total - open;
        p->job->units(p->arg, (int64_t)begin, (int64_t)(begin + n), ith, p->threads);
        mine += n;
        open = atomic_load_explicit(&p->open, memory_order_acquire);
    }
    return mine;
}

/* All the work there is; the stages that follow, too. */
static void help(lar_pool *p, int ith)
{
    for (uint64_t open; (open = atomic_load_explicit(&p->open, memory_order_acquire)) != 0;) {
        const uint64_t mine = help_stage(p, open, ith);
        if (mine && atomic_fetch_sub_explicit(&p->left, mine, memory_order_acq_rel) == mine)
            advance(p);
    }
}

static void *work(void *arg)
{
    worker *w = arg;
    lar_pool *p = w->pool;
    lar_fp_enter();
    while (!atomic_load(&p->stop)) {
        help(p, w->ith);
        wait_for(p, w, 0);
    }
    return NULL;
}

static void run_alone(const lar_pool_job *job, void *arg)
{
    for (int64_t n; (n = job->next(arg)) > 0;)
        job->units(arg, 0, n, 0, 1);
}

void lar_pool_stages(lar_pool *p, const lar_pool_job *job, void *arg)
{
    pthread_mutex_lock(&p->turn);
    const uint64_t fp = lar_fp_enter();
    if (p->threads == 1) {
        run_alone(job, arg);
    } else {
        const uint64_t run = ++p->run;
        p->job = job;
        p->arg = arg;
        advance(p);
        while (help(p, 0), atomic_load(&p->ended) != run)
            wait_for(p, &p->worker[0], run);
    }
    lar_fp_leave(fp);
    pthread_mutex_unlock(&p->turn);
}

typedef struct shares {
    lar_share_fn *fn;
    void *arg;
    int n; /* 0 when they have been opened */
    int nth;
} shares;

static int64_t next_shares(void *arg)
{
    shares *s = arg;
    const int n = s->n;
    s->n = 0;
    return n;
}

static void do_shares(void *arg, int64_t begin, int64_t end, int ith, int nth)
{
    const shares *s = arg;
    (void)ith;
    (void)nth;
    for (int64_t i = begin; i < end; i++)
        s->fn(s->arg, (int)i, s->nth);
}

void lar_pool_run(lar_pool *p, lar_share_fn *share_fn, void *arg)
{
    static const lar_pool_job job = {next_shares, do_shares};
    shares s = {share_fn, arg, p->threads, p->threads};
    lar_pool_stages(p, &job, &s);
}

/* ---- the pool -------------------------------------------------------------------------------- */

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

/* A worker waits until the pool is whole: it reads 'threads' only after taking units. */
static void start_workers(lar_pool *p, int threads)
{
    pthread_attr_t attr;
    const bool sized = threads > 1 && pthread_attr_init(&attr) == 0;
    if (sized)
        pthread_attr_setstacksize(&attr, STACK_BYTES);
    while (p->threads < threads) {
        worker *w = &p->worker[p->threads];
        w->ith = p->threads;
        w->pool = p;
        if (!sleep_init(w))
            break;
        if (start(w, sized ? &attr : NULL)) {
            sleep_end(w);
            break;
        }
        p->threads++;
    }
    if (sized)
        pthread_attr_destroy(&attr);
}

lar_status lar_pool_new(int threads, lar_pool **out, lar_err *e)
{
    *out = NULL;
    if (threads < 1 || threads > THREADS_MAX)
        return lar_fail(e, LAR_EARG, "threads: found %d, want 1 to %d", threads, THREADS_MAX);
    lar_pool *p = lar_alloc_aligned(sizeof *p);
    worker *workers = lar_alloc_aligned((size_t)threads * sizeof *workers);
    if (!p || !workers || pthread_mutex_init(&p->turn, NULL))
        goto no_turn;
    if (!sleep_init(&workers[0]))
        goto no_sleep;
    p->worker = workers;
    p->spin = threads <= lar_cpu_count();
    p->threads = 1;
    start_workers(p, threads);
    *out = p;
    return LAR_OK;
no_sleep:
    pthread_mutex_destroy(&p->turn);
no_turn:
    lar_free_aligned(workers);
    lar_free_aligned(p);
    return lar_fail(e, LAR_ENOMEM, "out of memory for a pool of %d threads", threads);
}

int lar_pool_threads(const lar_pool *p)
{
    return p->threads;
}

void lar_pool_free(lar_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true);
    for (int i = 1; i < p->threads; i++)
        wake(p, &p->worker[i]);
    for (int i = 1; i < p->threads; i++)
        pthread_join(p->worker[i].thread, NULL);
    for (int i = 0; i < p->threads; i++)
        sleep_end(&p->worker[i]);
    pthread_mutex_destroy(&p->turn);
    lar_free_aligned(p->worker);
    lar_free_aligned(p);
}
