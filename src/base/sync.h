/*
 * sync.h - a lock and a bell for threads that wait for each other (POSIX threads everywhere; on
 * Windows those of mingw-w64).
 */
#ifndef LAR_SYNC_H
#define LAR_SYNC_H
#include "base/base.h"
#include <pthread.h>

/* May be taken again by the thread that holds it. */
typedef struct lar_lock {
    pthread_mutex_t m;
} lar_lock;
lar_status lar_lock_init(lar_lock *l, lar_err *e);
void lar_lock_end(lar_lock *l);
static inline void lar_lock_take(lar_lock *l)
{
    pthread_mutex_lock(&l->m);
}
static inline void lar_lock_give(lar_lock *l)
{
    pthread_mutex_unlock(&l->m);
}

/* What a thread waits for while it holds a lock once; waking without cause is possible. */
typedef struct lar_bell {
    pthread_cond_t c;
} lar_bell;
lar_status lar_bell_init(lar_bell *b, lar_err *e);
void lar_bell_end(lar_bell *b);
void lar_bell_wait(lar_bell *b, lar_lock *l);
void lar_bell_wait_for(lar_bell *b, lar_lock *l, double seconds); /* that long at most */
static inline void lar_bell_ring(lar_bell *b)                     /* for one */
{
    pthread_cond_signal(&b->c);
}
static inline void lar_bell_ring_all(lar_bell *b)
{
    pthread_cond_broadcast(&b->c);
}

#endif
