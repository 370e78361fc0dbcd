/*
 * test_pool.c - the thread pool: jobs, barriers, several callers, floating-point control, failing
 * allocations. Meant to be run under ThreadSanitizer, too.
 */
#include "base/os.h"
#include "base/pool.h"
#include "oom.h"
#include <fenv.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { MAX = 8, JOBS = 2000, ROUNDS = 3000 };

static const int sizes[] = {1, 2, 3, 4, 8};

static lar_pool *new_pool(int threads)
{
    lar_pool *p;
    lar_err e;
    if (lar_pool_new(threads, &p, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(lar_pool_threads(p), threads);
    return p;
}

/* Plain counters: a missing happens-before is a race that ThreadSanitizer reports. */
typedef struct count {
    long calls[MAX];
    int nth;
    bool wrong;
} count;

static void count_call(void *arg, int ith, int nth)
{
    count *c = arg;
    if (ith < 0 || ith >= nth || nth != c->nth)
        c->wrong = true;
    else
        c->calls[ith]++;
}

static void test_jobs(void **state)
{
    (void)state;
    for (size_t k = 0; k < LAR_LEN(sizes); k++) {
        lar_pool *p = new_pool(sizes[k]);
        count c = {.nth = sizes[k]};
        for (int i = 0; i < JOBS; i++) {
            lar_pool_run(p, count_call, &c);
            for (int t = 0; t < sizes[k]; t++)
                if (c.calls[t] != i + 1)
                    fail_msg("%d threads: worker %d ran %ld of %d jobs", sizes[k], t, c.calls[t],
                             i + 1);
        }
        assert_false(c.wrong);
        lar_pool_free(p);
    }
    lar_pool_free(NULL);
}

static void test_arguments(void **state)
{
    (void)state;
    lar_pool *p;
    lar_err e;
    assert_int_equal(lar_pool_new(0, &p, &e), LAR_EARG);
    assert_null(p);
    assert_int_equal(lar_pool_new(-3, &p, NULL), LAR_EARG);
    assert_int_equal(lar_pool_new(1 << 30, &p, &e), LAR_EARG);
    assert_non_null(strstr(e.msg, "threads"));
    for (int i = 0; i < 50; i++) /* never used */
        lar_pool_free(new_pool(1 + i % 4));
}

/* Every worker adds its share to a cell of its own, meets, and reads all cells: it must see all of
 * this round and nothing of the next. 'last' runs alone between the two. */
typedef struct rounds {
    lar_pool *pool;
    long cell[MAX];
    long sum; /* written by 'last' alone */
    long lasts;
    int nth;
    _Atomic int wrong;
} rounds;

static void add_up(void *arg)
{
    rounds *r = arg;
    r->sum = 0;
    for (int i = 0; i < r->nth; i++)
        r->sum += r->cell[i];
    r->lasts++;
}

static void play(void *arg, int ith, int nth)
{
    rounds *r = arg;
    if (ith == 0)
        r->nth = nth;
    for (long i = 1; i <= ROUNDS; i++) {
        r->cell[ith] = i * (ith + 1);
        lar_pool_barrier(r->pool, add_up, r);
        if (r->sum != i * nth * (nth + 1) / 2 || r->lasts % ROUNDS != i % ROUNDS)
            r->wrong++;
        if (i % 3 == 0)
            lar_pool_barrier(r->pool, NULL, NULL);
        lar_pool_barrier(r->pool, NULL, NULL);
    }
}

static void test_barriers(void **state)
{
    (void)state;
    for (size_t k = 0; k < LAR_LEN(sizes); k++) {
        rounds r = {.pool = new_pool(sizes[k])};
        for (int run = 1; run <= 2; run++) {
            lar_pool_run(r.pool, play, &r);
            assert_int_equal(r.wrong, 0);
            assert_int_equal(r.lasts, run * ROUNDS);
        }
        lar_pool_free(r.pool);
    }
}

/* Several threads share one pool; one job at a time, whole. */
typedef struct caller {
    lar_pool *pool;
    long *shared; /* [2], touched only by whoever holds the pool */
    int jobs;
    bool wrong;
} caller;

static void bump(void *arg)
{
    ((long *)arg)[0]++;
}

static void share(void *arg, int ith, int nth)
{
    caller *c = arg;
    (void)nth;
    long before = c->shared[0];
    lar_pool_barrier(c->pool, NULL, NULL);
    lar_pool_barrier(c->pool, bump, c->shared);
    if (ith == 0 && c->shared[0] != before + 1)
        c->wrong = true;
}

static void *call(void *arg)
{
    caller *c = arg;
    for (int i = 0; i < c->jobs; i++)
        lar_pool_run(c->pool, share, c);
    return NULL;
}

/* A pool of one's own inside a job of another pool. */
static void nest(void *arg, int ith, int nth)
{
    (void)ith;
    (void)nth;
    lar_pool *inner;
    count c = {.nth = 2};
    if (lar_pool_new(2, &inner, NULL) == LAR_OK) {
        lar_pool_run(inner, count_call, &c);
        lar_pool_free(inner);
        if (c.calls[0] == 1 && c.calls[1] == 1)
            atomic_fetch_add((atomic_int *)arg, 1);
    }
}

static void test_callers(void **state)
{
    (void)state;
    for (size_t k = 0; k < LAR_LEN(sizes); k++) {
        lar_pool *p = new_pool(sizes[k]);
        pthread_t threads[4];
        caller callers[4];
        long shared[2] = {0};
        for (int i = 0; i < 4; i++) {
            callers[i] = (caller){.pool = p, .shared = shared, .jobs = 300};
            assert_int_equal(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_false(callers[i].wrong);
        }
        assert_int_equal(shared[0], 1200);
        atomic_int ok = 0;
        lar_pool_run(p, nest, &ok);
        assert_int_equal(ok, sizes[k]);
        lar_pool_free(p);
    }
}

/* ---- rounding ----------------------------------------------------------------------------------
 */

static void divide(void *arg, int ith, int nth)
{
    (void)nth;
    volatile double one = 1, three = 3;
    volatile float tiny = 1e-38f, half = 0.5f;
    double *v = arg;
    v[2 * ith] = one / three;
    v[2 * ith + 1] = (double)(tiny * half); /* subnormal: zero if flushed */
}

/* A caller's odd rounding mode neither reaches a job nor is lost. */
static void test_fp_control(void **state)
{
    (void)state;
    double v[2 * MAX] = {0};
    lar_pool *p = new_pool(4);
    fesetround(FE_UPWARD);
    lar_pool_run(p, divide, v);
    int mode = fegetround();
    fesetround(FE_TONEAREST);
#if defined(__SSE2__)
    unsigned old = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(old | 0x8040); /* flush to zero, denormals are zero */
    double w[2 * MAX] = {0};
    lar_pool_run(p, divide, w);
    unsigned after = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(old);
    assert_int_equal(after & 0x8040, 0x8040);
    assert_memory_equal(v, w, sizeof v);
#endif
    lar_pool_free(p);
    assert_int_equal(mode, FE_UPWARD);
    for (int i = 0; i < 4; i++) {
        assert_true(v[2 * i] == 0x1.5555555555555p-2);
        assert_true(v[2 * i + 1] == (double)(1e-38f * 0.5f) && v[2 * i + 1] > 0);
    }
}

/* ---- cost --------------------------------------------------------------------------------------
 */

static void nothing(void *arg, int ith, int nth)
{
    (void)arg;
    (void)ith;
    (void)nth;
}

/* Workers that sleep between jobs still wake: pauses longer than any spin. */
static void test_sleepers(void **state)
{
    (void)state;
    lar_pool *p = new_pool(3);
    count c = {.nth = 3};
    for (int i = 0; i < 100; i++) {
        double end = lar_clock() + 100e-6 * (i % 4);
        while (lar_clock() < end)
            ;
        lar_pool_run(p, count_call, &c);
    }
    assert_int_equal(c.calls[0] + c.calls[1] + c.calls[2], 300);
    lar_pool_free(p);
    for (size_t k = 0; k < 3; k++) {
        p = new_pool(sizes[k]);
        double t = lar_clock();
        for (int i = 0; i < 2000; i++)
            lar_pool_run(p, nothing, NULL);
        print_message("%d threads: %.2f us per empty job\n", sizes[k], (lar_clock() - t) * 500);
        lar_pool_free(p);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    if (!oom_linked()) {
        print_message("the linker did not wrap malloc (see oom.h): nothing can be made to fail\n");
        skip();
    }
    for (long n = 0;; n++) {
        lar_pool *p;
        lar_err e;
        oom_fail_at(n);
        lar_status st = lar_pool_new(3, &p, &e);
        bool hit = oom_hit();
        oom_fail_at(-1);
        assert_int_equal(st, hit ? LAR_ENOMEM : LAR_OK);
        lar_pool_free(p);
        if (!hit) {
            assert_true(n >= 2);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs),          cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_barriers),      cmocka_unit_test(test_callers),
        cmocka_unit_test(test_fp_control),    cmocka_unit_test(test_sleepers),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
