/*
 * oom.h - makes the n-th allocation of a test fail. Include it in one file of the test and link
 * with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=posix_memalign
 * (Makefile: TEST_LDFLAGS_test_NAME). It sees what the test and liblar.a allocate, not what shared
 * libraries do, and works together with the sanitizers. Without the flags nothing ever fails, and
 * oom_linked() says so. Typical use:
 *     for (long n = 0; ; n++) {
 *         oom_fail_at(n);
 *         status = something();
 *         bool hit = oom_hit();
 *         oom_fail_at(-1);
 *         if (!hit) break;             // n is past its last allocation: status must be LAR_OK
 *         assert(status == LAR_ENOMEM);
 *     }
 */
#ifndef OOM_H
#define OOM_H
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Weak, so that a test links (and can say that it skips) without the flags. */
void *__real_malloc(size_t n) __attribute__((weak));
void *__real_calloc(size_t count, size_t each) __attribute__((weak));
void *__real_realloc(void *p, size_t n) __attribute__((weak));
void *__real_aligned_alloc(size_t align, size_t n) __attribute__((weak));
int __real_posix_memalign(void **p, size_t align, size_t n) __attribute__((weak));
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t each);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n);

static atomic_long oom_seen, oom_at = -1;
static atomic_bool oom_was_hit;

/* Start counting anew; allocation number n (0 is the next one) fails, none if n < 0. */
static inline void oom_fail_at(long n)
{
    oom_at = -1;
    oom_seen = 0;
    oom_was_hit = false;
    oom_at = n;
}

/* Allocations seen since then. */
static inline long oom_count(void)
{
    return oom_seen;
}

/* Did one fail since then? */
static inline bool oom_hit(void)
{
    return oom_was_hit;
}

static inline bool oom_linked(void)
{
    return __real_malloc && __real_calloc && __real_realloc;
}

static bool oom_now(void)
{
    if (atomic_fetch_add(&oom_seen, 1) != oom_at)
        return false;
    oom_was_hit = true;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t n)
{
    return oom_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t each)
{
    return oom_now() ? NULL : __real_calloc(count, each);
}

void *__wrap_realloc(void *p, size_t n)
{
    return oom_now() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return oom_now() ? NULL : __real_aligned_alloc(align, n);
}

int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
    return oom_now() ? ENOMEM : __real_posix_memalign(p, align, n);
}

#endif
