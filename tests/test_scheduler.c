/*
 * test_scheduler.c - many threads in one memory: answers are those that each gives alone, whoever
 * comes, goes or is cancelled; shared beginnings are evaluated once; who finds no room waits.
 */
#include "generate_test.h"
#include "infer/part.h"
#include <pthread.h>

static const char *const path = "tests/data/tiny.gguf";
enum { THREADS = 8, ROUNDS = 3, CTX = 512 };

static lar_session *seats(lar_model *m, int n, int pool)
{
    lar_err e = {0};
    lar_session *s;
    const lar_session_options o = {
        .size = sizeof o, .ctx = CTX, .batch = 64, .seats = n, .pool = pool};
    if (lar_session_new(m, &o, &s, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return s;
}

static lar_session *join(lar_session *with)
{
    lar_err e = {0};
    lar_session *s;
    const lar_session_options o = {.size = sizeof o, .with = with};
    if (lar_session_new(with->model, &o, &s, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return s;
}

/* A prompt of its own for each thread and round; every third is long. */
static char *fields_of(int thread, int round)
{
    lar_buf b = {0};
    lar_buf_puts(&b, "{\"raw\":true,\"prompt\":\"The same beginning for everybody, word by word.");
    for (int i = 0; i < (thread % 3 == 0 ? 40 : 2); i++)
        lar_buf_printf(&b, " word %d of %d", i + round, thread);
    lar_buf_printf(&b, "\",\"temp\":%s,\"seed\":%d,\"max_tokens\":%d,\"ignore_eos\":true}",
                   thread % 2 ? "0.9" : "0", thread + round, 20 + 5 * thread);
    return lar_buf_take(&b);
}

typedef struct job {
    lar_session *with;
    int thread, cancel_at;
    said said[ROUNDS];
} job;

static void *work(void *arg)
{
    job *j = arg;
    for (int r = 0; r < ROUNDS; r++) {
        lar_session *s = join(j->with);
        char *fields = fields_of(j->thread, r);
        j->said[r].cancel_at = j->cancel_at;
        ask_into(&j->said[r], s, "generate", fields);
        lar_free(fields);
        lar_session_free(s);
    }
    return NULL;
}

/* All threads at once; those of `cancelled` (a bit each) stop at their seventh event. */
static void together(lar_session *with, unsigned cancelled)
{
    pthread_t th[THREADS];
    job *j = calloc(THREADS, sizeof *j);
    lar_session *alone = test_session(with->model, CTX, 64, NULL);
    for (int i = 0; i < THREADS; i++) {
        j[i] = (job){.with = with, .thread = i, .cancel_at = cancelled >> i & 1 ? 7 : 0};
        assert_int_equal(pthread_create(&th[i], NULL, work, &j[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(th[i], NULL);
    for (int i = 0; i < THREADS; i++)
        for (int r = 0; r < ROUNDS; r++) {
            said *got = &j[i].said[r];
            char *fields = fields_of(i, r);
            said want = ask(alone, "generate", fields);
            assert_int_equal(lar_session_clear(alone, NULL), LAR_OK);
            if (j[i].cancel_at) {
                assert_int_equal(got->st, LAR_ECANCELLED);
            } else {
                if (got->st != LAR_OK)
                    fail_msg("thread %d: %s", i, got->e.msg);
                same_tokens(got, &want);
            }
            lar_free(fields);
            said_free(&want);
            said_free(got);
        }
    lar_session_free(alone);
    free(j);
}

static void test_same_as_alone(void **state)
{
    (void)state;
    lar_runtime *rt = test_runtime(2);
    lar_model *m = test_model_open(rt, path);
    lar_session *base = seats(m, THREADS + 1, 0);
    together(base, 0);
    const lar_sched_figures f = lar_sched_get(base->sched);
    assert_int_equal(f.entered + f.waiting, 0);
    assert_true(f.parts > f.steps); /* some had company */
    together(base, 0x55);
    lar_session_free(base);
    lar_model_free(m);
    lar_runtime_free(rt);
}

/* Room for two of the longest answers: the others wait for it, and no page is lost. */
static void test_little_room(void **state)
{
    (void)state;
    lar_runtime *rt = test_runtime(1);
    lar_model *m = test_model_open(rt, path);
    lar_session *base = seats(m, THREADS + 1, 2 * CTX);
    together(base, 0x0a);
    for (int p = 0; p < base->engine->n_pages; p++)
        assert_int_equal(base->engine->refs[p], 0);
    assert_int_equal(lar__pages_left(base->engine), base->engine->n_pages);
    lar_session_free(base);
    lar_model_free(m);
    lar_runtime_free(rt);
}

static void test_beginnings_are_shared(void **state)
{
    (void)state;
    lar_runtime *rt = test_runtime(1);
    lar_model *m = test_model_open(rt, path);
    lar_session *base = seats(m, 3, 0), *a = join(base), *b = join(base);
    char *fields = fields_of(0, 0);
    said first = ask(a, "generate", fields), second = ask(b, "generate", fields);
    assert_int_equal(timing(&first, "cached_tokens"), 0);
    assert_int_equal(timing(&second, "cached_tokens"),
                     (timing(&first, "prompt_tokens") - 1) / LAR_PAGE * LAR_PAGE);
    same_tokens(&first, &second);
    said_free(&first);
    said_free(&second);
    lar_session_free(base); /* those who share it keep it */
    lar_session_free(a);
    first = ask(b, "generate", fields);
    said_free(&first);
    lar_free(fields);
    lar_session_free(b);
    lar_model_free(m);
    lar_runtime_free(rt);
}

static void test_refusals(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_session *no;
    lar_runtime *rt = test_runtime(1);
    lar_model *m = test_model_open(rt, path), *other = test_model_open(rt, path);
    lar_session *base = seats(m, 2, 0), *own = test_session(m, CTX, 64, NULL), *a = join(base);
    lar_session_options o = {.size = sizeof o, .with = base};
    assert_int_equal(lar_session_new(m, &o, &no, &e), LAR_EFULL); /* two seats, two taken */
    assert_int_equal(lar_session_new(other, &o, &no, &e), LAR_EARG);
    o.with = own;
    assert_int_equal(lar_session_new(m, &o, &no, &e), LAR_EARG);
    o = (lar_session_options){.size = sizeof o, .seats = -1};
    assert_int_equal(lar_session_new(m, &o, &no, &e), LAR_EARG);
    said s = ask_any(a, "logits", "{\"prompt\":\"a\"}");
    assert_int_equal(s.st, LAR_EARG);
    said_free(&s);
    s.cancel_at = -1; /* before it begins */
    ask_into(&s, a, "generate", "{\"prompt\":\"a\",\"raw\":true}");
    assert_int_equal(s.st, LAR_ECANCELLED);
    said_free(&s);
    /* Somebody else's mistake costs nobody else a step. */
    const int32_t good[2] = {1, 2}, bad[1] = {1 << 30};
    assert_int_equal(lar_seat_enter(a->seat, 8, NULL, &e), LAR_OK);
    lar_step part = {.tokens = bad, .n = 1};
    assert_int_equal(lar_seat_step(a->seat, &part, false, &e), LAR_EARG);
    part = (lar_step){.tokens = good, .n = 2, .all_logits = true};
    assert_int_equal(lar_seat_step(a->seat, &part, false, &e), LAR_OK);
    lar_seat_leave(a->seat);
    assert_int_equal(lar_seat_step(a->seat, &part, false, &e), LAR_EARG);
    lar_session_free(a);
    lar_session_free(own);
    lar_session_free(base);
    lar_model_free(other);
    lar_model_free(m);
    lar_runtime_free(rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_alone),
        cmocka_unit_test(test_little_room),
        cmocka_unit_test(test_beginnings_are_shared),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
