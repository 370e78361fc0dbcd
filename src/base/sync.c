/* sync.c - see sync.h. Depends on POSIX threads. */
#include "base/sync.h"
#include <time.h>

/* The clock that waiting is measured by: one that nobody sets, where conditions can use it. */
#if defined(__linux__)
#define CLOCK CLOCK_MONOTONIC
#else
#define CLOCK CLOCK_REALTIME
#endif

lar_status lar_lock_init(lar_lock *l, lar_err *e)
{
    pthread_mutexattr_t a;
    bool bad = pthread_mutexattr_init(&a) != 0;
    if (!bad) {
        bad = pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE) != 0 ||
              pthread_mutex_init(&l->m, &a) != 0;
        pthread_mutexattr_destroy(&a);
    }
    return bad ? lar_fail(e, LAR_ENOMEM, "out of memory for a lock") : LAR_OK;
}

void lar_lock_end(lar_lock *l)
{
    pthread_mutex_destroy(&l->m);
}

lar_status lar_bell_init(lar_bell *b, lar_err *e)
{
    pthread_condattr_t a;
    bool bad = pthread_condattr_init(&a) != 0;
    if (!bad) {
#if defined(__linux__)
        bad = pthread_condattr_setclock(&a, CLOCK) != 0;
#endif
        bad = bad || pthread_cond_init(&b->c, &a) != 0;
        pthread_condattr_destroy(&a);
    }
    return bad ? lar_fail(e, LAR_ENOMEM, "out of memory for a condition") : LAR_OK;
}

void lar_bell_end(lar_bell *b)
{
    pthread_cond_destroy(&b->c);
}

void lar_bell_wait(lar_bell *b, lar_lock *l)
{
    pthread_cond_wait(&b->c, &l->m);
}

void lar_bell_wait_for(lar_bell *b, lar_lock *l, double seconds)
{
    struct timespec t;
    clock_gettime(CLOCK, &t);
    const double ns = (double)t.tv_nsec + seconds * 1e9;
    const long whole = (long)(ns / 1e9);
    t.tv_sec += whole;
    t.tv_nsec = (long)(ns - (double)whole * 1e9);
    pthread_cond_timedwait(&b->c, &l->m, &t);
}
