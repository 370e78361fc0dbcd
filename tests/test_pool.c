/*
 * test_pool.c - the thread pool: shares, stages, several callers, floating-point control, failing
 * allocations. Meant to be run under ThreadSanitizer and AddressSanitizer, too.
 */
#include "base/os.h"
#include "base/pool.h"
#include "oom.h"
#include <fenv.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

enum { MAX = 16, JOBS = 1000 };

static const int sizes[] = {1, 2, 3, 4, 8, 16};

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

/* ---- stages ------------------------------------------------------------------------------------
 */

/* What one run does, in memory of its own that is gone as soon as the run is over: whoever looked
 * at it later would be seen by the sanitizers. Each unit writes its cell; 'next' must find all
 * cells of the stage before, and none of them twice. */
enum { CELLS = 300 };
typedef struct course {
    uint64_t seed;
    int stage, stages, n;
    bool delays;
    int cell[CELLS]; /* number of the stage that wrote it */
    int doubled[CELLS];
    struct {
        _Alignas(64) int busy;
        long units;
    } worker[MAX];
    bool wrong;
    long sum, want;
} course;

static void delay(uint64_t r)
{
    const double end = lar_clock() + (double)(r % 64) * 1e-6;
    if (r % 97 == 0)
        while (lar_clock() < end)
            ;
    if (r % 1009 == 0) {
        const struct timespec t = {0, 300000};
        nanosleep(&t, NULL);
    }
}

static int64_t course_next(void *arg)
{
    course *c = arg;
    for (int i = 0; i < c->n; i++) {
        c->wrong = c->wrong || c->cell[i] != c->stage || c->doubled[i];
        c->sum += i;
    }
    if (c->stage == c->stages)
        return 0;
    const uint64_t r = lar_random(c->seed, (uint64_t)++c->stage);
    c->n = r % 3 == 0 ? 1 + (int)((r >> 8) % 4) : 1 + (int)((r >> 8) % CELLS);
    c->want += (long)c->n * (c->n - 1) / 2;
    if (c->delays)
        delay(r >> 20);
    return c->n;
}

static void course_units(void *arg, int64_t begin, int64_t end, int ith, int nth)
{
    course *c = arg;
    if (ith < 0 || ith >= nth || begin < 0 || begin >= end || end > c->n || c->worker[ith].busy)
        c->wrong = true;
    c->worker[ith].busy = 1;
    c->worker[ith].units += end - begin;
    for (int64_t i = begin; i < end; i++) {
        c->doubled[i] = c->cell[i] == c->stage;
        c->cell[i] = c->stage;
        if (c->delays)
            delay(lar_random(c->seed + (uint64_t)c->stage, (uint64_t)i));
    }
    c->worker[ith].busy = 0;
}

static const lar_pool_job course_job = {course_next, course_units};

static void run_course(lar_pool *p, uint64_t seed, int stages, bool delays)
{
    course *c = lar_alloc_aligned(sizeof *c);
    assert_non_null(c);
    c->seed = seed;
    c->stages = stages;
    c->delays = delays;
    lar_pool_stages(p, &course_job, c);
    if (c->wrong || c->stage != stages || c->sum != c->want)
        fail_msg("%d threads, seed %d: %s at stage %d of %d", lar_pool_threads(p), (int)seed,
                 c->wrong ? "wrong" : "incomplete", c->stage, stages);
    for (int i = lar_pool_threads(p); i < MAX; i++)
        assert_int_equal(c->worker[i].units, 0);
    memset(c, 0xAA, sizeof *c);
    lar_free_aligned(c);
}

static void test_stages(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MAX; threads++) {
        lar_pool *p = new_pool(threads);
        run_course(p, 1, 0, false); /* nothing to do */
        for (int i = 0; i < 300; i++)
            run_course(p, (uint64_t)i, i % 7, false); /* many short runs */
        run_course(p, 1000, 500, false);
        run_course(p, 1001, 100, true);
        lar_pool_free(p);
    }
}

/* One unit waits for all others of its stage: a worker that is held up holds up nothing else. */
typedef struct held {
    int left;
    int64_t n;
    atomic_int done;
} held;

static int64_t held_next(void *arg)
{
    held *h = arg;
    atomic_store(&h->done, 0);
    return h->left-- > 0 ? h->n : 0;
}

static void held_units(void *arg, int64_t begin, int64_t end, int ith, int nth)
{
    held *h = arg;
    (void)ith;
    (void)nth;
    assert_true(end == begin + 1);
    while (begin == 0 && atomic_load(&h->done) != h->n - 1) {
        const struct timespec t = {0, 50000};
        nanosleep(&t, NULL);
    }
    atomic_fetch_add(&h->done, 1);
}

static void test_held_up(void **state)
{
    (void)state;
    static const lar_pool_job job = {held_next, held_units};
    for (int threads = 2; threads <= MAX; threads *= 2) {
        lar_pool *p = new_pool(threads);
        held h = {.left = 50, .n = 2 * threads - 1}; /* so few are taken singly */
        lar_pool_stages(p, &job, &h);
        assert_int_equal(h.left, -1);
        lar_pool_free(p);
    }
}

/* Several threads use one pool; one run at a time, whole. */
typedef struct caller {
    lar_pool *pool;
    long *shared; /* touched only by whoever holds the pool */
    int jobs;
    bool wrong;
} caller;

typedef struct turn {
    long *shared, before;
    int left;
} turn;

static int64_t turn_next(void *arg)
{
    turn *t = arg;
    if (t->before < 0)
        t->before = t->shared[0];
    if (t->left-- > 0)
        return 5;
    t->shared[0]++;
    return 0;
}

static void turn_units(void *arg, int64_t begin, int64_t end, int ith, int nth)
{
    const turn *t = arg;
    (void)ith;
    (void)nth;
    for (int64_t i = begin; i < end; i++)
        t->shared[1 + i]++;
}

static void *call(void *arg)
{
    static const lar_pool_job job = {turn_next, turn_units};
    caller *c = arg;
    for (int i = 0; i < c->jobs; i++) {
        turn t = {.shared = c->shared, .before = -1, .left = 3};
        lar_pool_stages(c->pool, &job, &t);
        if (t.left != -1)
            c->wrong = true;
    }
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
        long shared[6] = {0};
        for (int i = 0; i < 4; i++) {
            callers[i] = (caller){.pool = p, .shared = shared, .jobs = 300};
            assert_int_equal(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_false(callers[i].wrong);
        }
        assert_int_equal(shared[0], 1200);
        for (int i = 1; i < 6; i++)
            assert_int_equal(shared[i], 3600);
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
        cmocka_unit_test(test_jobs),     cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_stages),   cmocka_unit_test(test_held_up),
        cmocka_unit_test(test_callers),  cmocka_unit_test(test_fp_control),
        cmocka_unit_test(test_sleepers), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
