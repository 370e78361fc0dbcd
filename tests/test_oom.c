/*
 * test_oom.c - every allocation from opening a model to an answer's end fails in turn: an error
 * like another, no leak (a sanitizer tells), no crash, and the session goes on; a decode step
 * allocates nothing.
 */
#include "engine_test.h"
#include "oom.h"
#include "tasks/host.h"

static const char model_path[] = "tests/data/tiny.gguf";

typedef struct outcome {
    char text[256];
    int events;
} outcome;

static int hear(const lar_event *ev, void *user)
{
    outcome *o = user;
    o->events++;
    if (lar_event_get_kind(ev) == LAR_EVENT_TEXT)
        strncat(o->text, lar_event_get_text(ev, NULL), sizeof o->text - strlen(o->text) - 1);
    if (lar_event_get_kind(ev) == LAR_EVENT_RESULT)
        assert_int_equal(lar_event_get_json(ev)[0], '{');
    return 0;
}

/* A task by its fields on a session. */
static lar_status request(lar_session *s, const char *task, const char *fields, outcome *o,
                          lar_err *e)
{
    lar_request *r = NULL;
    memset(o, 0, sizeof *o);
    lar_status st = lar_request_new(s->model->rt, task, &r, e);
    if (st == LAR_OK)
        st = lar_request_set_session(r, s, e);
    if (st == LAR_OK)
        st = lar_request_set_json(r, NULL, fields, e);
    if (st == LAR_OK)
        st = lar_request_run(r, hear, o, e);
    lar_request_free(r);
    return st;
}

static lar_status open_session(lar_runtime *rt, lar_model **m, lar_session **s, lar_err *e)
{
    const lar_session_options so = {.size = sizeof so, .ctx = 64, .batch = 8};
    *s = NULL;
    LAR_TRY(lar_model_open(rt, model_path, NULL, m, e));
    return lar_session_new(*m, &so, s, e);
}

/* status fits: out of memory says so; success although one failed means that it was one to do
 * without. */
static void check(long n, lar_status st, bool hit, const lar_err *e, int *harmless)
{
    if (!hit && st != LAR_OK)
        fail_msg("nothing failed, but: %s", e->msg);
    if (hit && st == LAR_OK)
        (*harmless)++;
    if (hit && st != LAR_OK && (st != LAR_ENOMEM || e->code != st || !strstr(e->msg, "memory")))
        fail_msg("allocation %ld: %s \"%s\"", n, lar_status_name(st), e->msg);
}

static const char generate[] =
    "{\"prompt\":\"one two three four\",\"raw\":true,\"ignore_eos\":true,\"temp\":1,\"seed\":3,"
    "\"max_tokens\":1,\"stop\":[\"never\"],\"logit_bias\":{\"1\":2},\"dry_multiplier\":0.5}";
static const char chat[] =
    "{\"prompt\":\"Hi\",\"system\":\"s\",\"ignore_eos\":true,\"temp\":0,\"max_tokens\":2}";

static void test_runtime(void **state)
{
    (void)state;
    int harmless = 0;
    if (!oom_linked())
        skip();
    for (long n = 0;; n++) {
        lar_err e = {0};
        lar_runtime *rt = NULL;
        const lar_runtime_options o = {.size = sizeof o, .threads = 2};
        oom_fail_at(n);
        const lar_status st = lar_runtime_new(&o, &rt, &e);
        const bool hit = oom_hit();
        oom_fail_at(-1);
        check(n, st, hit, &e, &harmless);
        assert_int_equal(rt != NULL, st == LAR_OK);
        lar_runtime_free(rt);
        if (!hit)
            break;
    }
    assert_in_range(harmless, 0, 1); /* the list of variants for a message that is not needed */
}

static void test_open_to_answer(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_runtime *rt;
    int harmless = 0;
    long n = 0;
    const lar_runtime_options ro = {.size = sizeof ro, .threads = 1};
    if (!oom_linked())
        skip();
    assert_int_equal(lar_runtime_new(&ro, &rt, &e), LAR_OK);
    for (bool hit = true; hit; n++) {
        lar_model *m = NULL;
        lar_session *s = NULL;
        outcome o = {.events = 0};
        e = (lar_err){0};
        oom_fail_at(n);
        lar_status st = open_session(rt, &m, &s, &e);
        if (st == LAR_OK)
            st = request(s, "generate", generate, &o, &e);
        hit = oom_hit();
        oom_fail_at(-1);
        check(n, st, hit, &e, &harmless);
        assert_true(st != LAR_OK || o.events >= 2);
        lar_session_free(s);
        lar_model_free(m);
    }
    print_message("open, session and one token: %ld allocations, %d of them to do without\n", n - 1,
                  harmless);
    assert_in_range(n, 50, 20000);
    assert_in_range(harmless, 0, 2);
    lar_runtime_free(rt);
}

/* Within a session: after a failure the same request gives the right answer. */
static void test_session_goes_on(void **state)
{
    (void)state;
    static const struct {
        const char *task, *fields;
    } cases[] = {
        {"generate", generate},
        {"generate", chat},
        {"generate", "{\"prompt\":\"a b c "
                     "d\",\"raw\":true,\"temp\":0,\"ignore_eos\":true,\"ctx_shift\":true,"
                     "\"speculate\":\"off\",\"max_tokens\":70}"}, /* guesses depend on the clock */
        {"logits", "{\"prompt\":\"one two three four\",\"all\":true}"},
        {"bench", "{\"prompts\":\"3\",\"generate\":\"2\",\"parallel\":\"2\",\"threads\":\"1,2\","
                  "\"seconds\":0,\"repetitions\":1,\"limits\":false}"},
    };
    lar_err e = {0};
    lar_runtime *rt;
    lar_model *m;
    lar_session *s;
    const lar_runtime_options ro = {.size = sizeof ro, .threads = 1};
    if (!oom_linked())
        skip();
    assert_int_equal(lar_runtime_new(&ro, &rt, &e), LAR_OK);
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        int harmless = 0;
        outcome want, got;
        long n = 0;
        for (bool hit = true; hit; n++) {
            /* A new session each time, so that the engine's own growing fails too. */
            assert_int_equal(open_session(rt, &m, &s, &e), LAR_OK);
            oom_fail_at(n);
            lar_status st = request(s, cases[i].task, cases[i].fields, &got, &e);
            hit = oom_hit();
            oom_fail_at(-1);
            check(n, st, hit, &e, &harmless);
            if (request(s, cases[i].task, cases[i].fields, &got, &e) != LAR_OK)
                fail_msg("%s after allocation %ld failed: %s", cases[i].fields, n, e.msg);
            if (n == 0)
                want = got;
            if (strcmp(cases[i].task, "bench") != 0) /* its text is figures */
                assert_string_equal(got.text, want.text);
            lar_session_free(s);
            lar_model_free(m);
        }
        assert_in_range(n, 8, 2000);
        assert_in_range(harmless, 0, 2);
    }
    lar_runtime_free(rt);
}

/* With a draft model: what fails in drafting fails nothing else, and no answer changes. */
static void test_speculation(void **state)
{
    (void)state;
    static const char fields[] =
        "{\"prompt\":\"a b c a b c a b\",\"raw\":true,\"ignore_eos\":true,\"temp\":1,\"seed\":4,"
        "\"max_tokens\":12,\"draft_min\":4,\"draft_max\":6,\"speculate\":\"%s\"}";
    static const char *const kinds[] = {"draft", "ngram", "auto"};
    lar_err e = {0};
    lar_runtime *rt;
    lar_model *m;
    const lar_runtime_options ro = {.size = sizeof ro, .threads = 1};
    if (!oom_linked())
        skip();
    assert_int_equal(lar_runtime_new(&ro, &rt, &e), LAR_OK);
    assert_int_equal(lar_model_open(rt, model_path, NULL, &m, &e), LAR_OK);
    const lar_session_options so = {.size = sizeof so, .ctx = 64, .batch = 16, .draft = m};
    for (size_t i = 0; i < LAR_LEN(kinds); i++) {
        outcome want = {.events = 0}, got;
        char line[300];
        int harmless = 0;
        long n = 0;
        snprintf(line, sizeof line, fields, kinds[i]);
        for (bool hit = true; hit; n++) {
            lar_session *s = NULL;
            oom_fail_at(n ? n - 1 : -1); /* none at first */
            lar_status st = lar_session_new(m, &so, &s, &e);
            if (st == LAR_OK)
                st = request(s, "generate", line, &got, &e);
            hit = !n || oom_hit();
            oom_fail_at(-1);
            check(n, st, hit && n, &e, &harmless);
            if (!n)
                want = got;
            if (st == LAR_OK)
                assert_string_equal(got.text, want.text);
            if (s && request(s, "generate", line, &got, &e) != LAR_OK)
                fail_msg("after allocation %ld failed: %s", n, e.msg);
            if (s)
                assert_string_equal(got.text, want.text);
            lar_session_free(s);
        }
        assert_in_range(n, 30, 2000);
        assert_in_range(harmless, i == 1 ? 0 : 5, 200);
    }
    lar_model_free(m);
    lar_runtime_free(rt);
}

static void test_session_files(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_runtime *rt;
    lar_model *m;
    lar_session *s;
    outcome o;
    char path[300];
    const char *dir = getenv("TMPDIR");
    const lar_runtime_options ro = {.size = sizeof ro, .threads = 1};
    if (!oom_linked())
        skip();
    snprintf(path, sizeof path, "%s/lar-test-oom-%ld", dir ? dir : "/tmp",
             (long)(lar_clock() * 1e9));
    assert_int_equal(lar_runtime_new(&ro, &rt, &e), LAR_OK);
    assert_int_equal(open_session(rt, &m, &s, &e), LAR_OK);
    assert_int_equal(request(s, "generate", generate, &o, &e), LAR_OK);
    const int held = lar_seq_length(s->seq);
    assert_int_equal(lar_session_save(s, path, &e), LAR_OK);
    for (int load = 0; load < 2; load++)
        for (long n = 0, hit = 1; hit; n++) {
            int harmless = 0;
            oom_fail_at(n);
            const lar_status st =
                load ? lar_session_load(s, path, &e) : lar_session_save(s, path, &e);
            hit = oom_hit();
            oom_fail_at(-1);
            check(n, st, hit, &e, &harmless);
            assert_int_equal(harmless, 0);
            assert_int_equal(lar_seq_length(s->seq), held);
            assert_true(n < 100);
        }
    assert_int_equal(lar_session_load(s, path, &e), LAR_OK);
    remove(path);
    lar_session_free(s);
    lar_model_free(m);
    lar_runtime_free(rt);
}

/* Steps of a shape that has been seen of late. */
static void test_steps_allocate_nothing(void **state)
{
    (void)state;
    const lar_dtype *types[] = {LAR_DTYPE(f32), LAR_DTYPE(f16), LAR_DTYPE(q8_0)};
    const int32_t ids[] = {5, 6, 7, 8, 9, 10, 11, 12};
    if (!oom_linked())
        skip();
    for (size_t t = 0; t < LAR_LEN(types); t++) {
        rig r;
        lar_err e = {0};
        rig_open(&r, model_path, &(rig_options){.threads = 2, .kv = types[t]});
        lar_seq *q = rig_seq(&r), *q2 = rig_seq(&r);
        lar_step prompt = {.seq = q, .tokens = ids, .n = 8},
                 one = {.seq = q, .tokens = ids, .n = 1};
        lar_step two[] = {{.seq = q, .tokens = ids, .n = 5}, {.seq = q2, .tokens = ids, .n = 3}};
        assert_int_equal(lar_engine_step(r.en, &prompt, 1, &e), LAR_OK);
        assert_int_equal(lar_engine_step(r.en, &one, 1, &e), LAR_OK);
        oom_fail_at(-1);
        for (int i = 0; i < 100; i++) { /* over several pages */
            assert_int_equal(lar_engine_step(r.en, &one, 1, &e), LAR_OK);
            if (i % 10 == 0)
                assert_int_equal(lar_engine_step(r.en, &prompt, 1, &e), LAR_OK);
        }
        assert_int_equal(oom_count(), 0);
        lar_seq_truncate(q, 3);
        assert_int_equal(lar_engine_step(r.en, two, 2, &e), LAR_OK);
        oom_fail_at(-1);
        assert_int_equal(lar_engine_step(r.en, two, 2, &e), LAR_OK);
        assert_int_equal(oom_count(), 0);
        for (int i = 0; i < 3 * 8; i++) { /* eight widths in turn are kept */
            lar_seq_truncate(q, 3);
            prompt.n = 1 + i % 8;
            if (i == 8)
                oom_fail_at(-1);
            assert_int_equal(lar_engine_step(r.en, &prompt, 1, &e), LAR_OK);
        }
        assert_int_equal(oom_count(), 0);
        rig_close(&r);
    }
}

/* Through the API an answer's text and ids grow, by doubling: a token allocates nothing, but for a
 * handful. */
typedef struct counter {
    long last;
    int events, quiet;
} counter;

static int count_allocations(const lar_event *ev, void *user)
{
    counter *c = user;
    if (lar_event_get_kind(ev) != LAR_EVENT_TEXT)
        return 0;
    const long now = oom_count();
    c->events++;
    c->quiet += now == c->last;
    assert_true(c->events < 2 || now - c->last <= 6);
    c->last = now;
    return 0;
}

static void test_token_allocates_little(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_runtime *rt;
    lar_model *m;
    lar_session *s;
    lar_request *r;
    counter c = {.last = -1};
    const lar_session_options so = {.size = sizeof so, .ctx = 512};
    const lar_runtime_options ro = {.size = sizeof ro, .threads = 2};
    if (!oom_linked())
        skip();
    assert_int_equal(lar_runtime_new(&ro, &rt, &e), LAR_OK);
    assert_int_equal(lar_model_open(rt, model_path, NULL, &m, &e), LAR_OK);
    assert_int_equal(lar_session_new(m, &so, &s, &e), LAR_OK);
    assert_int_equal(lar_request_new(rt, "generate", &r, &e), LAR_OK);
    assert_int_equal(lar_request_set_session(r, s, &e), LAR_OK);
    assert_int_equal(
        lar_request_set_json(r, NULL,
                             "{\"prompt\":\"a b c\",\"raw\":true,\"ignore_eos\":true,\"seed\":1,"
                             "\"temp\":1,\"repeat_penalty\":1.1,\"max_tokens\":200}",
                             &e),
        LAR_OK);
    oom_fail_at(-1);
    assert_int_equal(lar_request_run(r, count_allocations, &c, &e), LAR_OK);
    assert_in_range(c.events, 60, 200);
    assert_true(c.quiet >= c.events - 16);
    lar_request_free(r);
    lar_session_free(s);
    lar_model_free(m);
    lar_runtime_free(rt);
}

/* The folder of evaluated prompts: what cannot be had counts as absent, and keeping says so. */
static void test_prefix_folder(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_runtime *rt;
    lar_model *m;
    outcome want, got;
    char dir[300], json[900], text[601];
    const char *tmp = getenv("TMPDIR");
    const lar_runtime_options ro = {.size = sizeof ro, .threads = 1};
    if (!oom_linked())
        skip();
    snprintf(dir, sizeof dir, "%s/lar-test-oom-%ld", tmp ? tmp : "/tmp", (long)(lar_clock() * 1e9));
    for (int i = 0; i < 600; i++)
        text[i] = (char)('A' + i * i % 26);
    text[600] = 0;
    snprintf(json, sizeof json,
             "{\"raw\":true,\"temp\":0,\"ignore_eos\":true,\"max_tokens\":2,\"prompt\":\"%s\"}",
             text);
    assert_int_equal(lar_runtime_new(&ro, &rt, &e), LAR_OK);
    assert_int_equal(lar_model_open(rt, model_path, NULL, &m, &e), LAR_OK);
    const lar_session_options so = {.size = sizeof so, .ctx = 1024, .prefix_dir = dir};
    for (int round = 0; round < 3; round++) { /* the answer; keeping it; the answer from there */
        long n = 0;
        for (bool hit = true; hit; n++) {
            lar_session *s;
            lar_status st;
            assert_int_equal(lar_session_new(m, &so, &s, &e), LAR_OK);
            if (round == 1)
                assert_int_equal(request(s, "generate", json, &got, &e), LAR_OK);
            oom_fail_at(n);
            st = round == 1 ? lar_session_keep(s, &e) : request(s, "generate", json, &got, &e);
            hit = oom_hit();
            oom_fail_at(-1);
            if (st != LAR_OK && (st != LAR_ENOMEM || !hit))
                fail_msg("round %d, allocation %ld: %s", round, n, e.msg);
            if (st == LAR_OK && round == 0 && !hit)
                want = got;
            if (st == LAR_OK && round == 2)
                assert_string_equal(got.text, want.text);
            lar_session_free(s);
        }
        assert_in_range(n, 3, 3000);
    }
    lar_model_free(m);
    lar_runtime_free(rt);
    char command[400];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runtime),
        cmocka_unit_test(test_open_to_answer),
        cmocka_unit_test(test_session_goes_on),
        cmocka_unit_test(test_speculation),
        cmocka_unit_test(test_session_files),
        cmocka_unit_test(test_prefix_folder),
        cmocka_unit_test(test_steps_allocate_nothing),
        cmocka_unit_test(test_token_allocates_little),
    };
    return cmocka_run_group_tests_name("oom", tests, NULL, NULL);
}
