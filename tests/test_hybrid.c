/* test_hybrid.c - models whose layers remember a state: what truncating, sharing, files, chats,
 * context shifts, drafts and evaluations make of sequences that cannot be cut anywhere. That their
 * logits are right is test_convert's business, that they are the same however a text is cut is
 * test_one_answer's. */
#include "engine_test.h"
#include "generate_test.h"
#include "infer/part.h"
#include "convert/convert.h"
#include <sys/stat.h>
#if defined(_WIN32)
#include <direct.h>
#define mkdir(path, mode) _mkdir(path)
#endif

enum { N = 90 };
static const char *const models[] = {"lfm2", "qwen3next", "qwen35"};
static const char llama_path[] = "build/hybrid_llama.gguf";

static const char *path_of(size_t i)
{
    static char path[64];
    snprintf(path, sizeof path, "build/hybrid_%s.gguf", models[i]);
    return path;
}

static void convert(const char *name, const char *to)
{
    const lar_convert_options o = {0};
    lar_convert_result r;
    lar_err e = {0};
    char from[64];
    snprintf(from, sizeof from, "tests/data/hf/%s", name);
    if (lar_convert_hf(from, to, &o, &r, &e) != LAR_OK)
        fail_msg("%s: %s", from, e.msg);
}

static int set_up(void **state)
{
    (void)state;
    mkdir("build", 0777);
    convert("llama", llama_path);
    for (size_t i = 0; i < LAR_LEN(models); i++)
        convert(models[i], path_of(i));
    return 0;
}

/* ---- sequences --------------------------------------------------------------------------------
 */

typedef struct text {
    rig r;
    int32_t ids[N];
    size_t n_vocab;
    float *want, *got; /* [N][n_vocab] */
} text;

static void open_text(text *t, size_t model)
{
    rig_open(&t->r, path_of(model), &(rig_options){.threads = 2});
    t->n_vocab = t->r.net->hp.n_vocab;
    for (int i = 0; i < N; i++)
        t->ids[i] = (int32_t)(lar_random(3, (uint64_t)i) % t->n_vocab);
    t->want = malloc(N * t->n_vocab * sizeof(float));
    t->got = malloc(N * t->n_vocab * sizeof(float));
    lar_seq *q = rig_seq(&t->r);
    rig_eval(&t->r, q, t->ids, N, N / 2, t->want);
    lar_seq_free(q);
}

static void close_text(text *t)
{
    free(t->want);
    free(t->got);
    rig_close(&t->r);
}

/* Tokens from..to after what q holds give the logits that they should. */
static void check(text *t, lar_seq *q, int from, int to)
{
    assert_int_equal(lar_seq_length(q), from);
    rig_eval(&t->r, q, t->ids + from, to - from, 9, t->got);
    assert_memory_equal(t->got, t->want + (size_t)from * t->n_vocab,
                        (size_t)(to - from) * t->n_vocab * sizeof(float));
}

static void each(void (*test)(text *t))
{
    for (size_t i = 0; i < LAR_LEN(models); i++) {
        text t;
        open_text(&t, i);
        test(&t);
        close_text(&t);
    }
}

/* To nothing, to the present length, to what is marked; else to the nearest of these below. */
static void truncating(text *t)
{
    lar_seq *q = rig_seq(&t->r);
    assert_true(lar_engine_has_state(t->r.en));
    check(t, q, 0, 40);
    assert_int_equal(lar_seq_truncate(q, 40), 40);
    assert_int_equal(lar_seq_truncate(q, 39), 0);
    check(t, q, 0, 30);
    lar_seq_mark(q);
    check(t, q, 30, 60);
    assert_int_equal(lar_seq_truncate(q, 50), 30);
    check(t, q, 30, 70);
    assert_int_equal(lar_seq_truncate(q, 30), 30);
    lar_seq_mark(q);
    check(t, q, 30, N);
    assert_int_equal(lar_seq_truncate(q, 29), 0); /* the mark is gone */
    check(t, q, 0, 35);
    assert_int_equal(lar_seq_truncate(q, 31), 0);
    lar_seq_mark(q);
    check(t, q, 0, 5);
    assert_int_equal(lar_seq_truncate(q, 0), 0);
    check(t, q, 0, N);
}

static void test_truncating(void **state)
{
    (void)state;
    each(truncating);
}

static void sharing(text *t)
{
    lar_seq *a = rig_seq(&t->r), *b = rig_seq(&t->r);
    lar_err e = {0};
    check(t, a, 0, 40);
    lar_seq_mark(a);
    check(t, a, 40, 50);
    assert_int_equal(lar_seq_share(b, a, 45, &e), LAR_EUNSUPPORTED);
    assert_non_null(strstr(e.msg, "45 of 50"));
    assert_int_equal(lar_seq_length(b), 0);
    assert_int_equal(lar_seq_share(b, a, 40, &e), LAR_OK);
    check(t, b, 40, 60);
    check(t, a, 50, 60);
    lar_seq_truncate(b, 0);
    assert_int_equal(lar_seq_share(b, a, 60, &e), LAR_OK);
    check(t, b, 60, N);
    check(t, a, 60, N);
    lar_seq_truncate(b, 0);
    assert_int_equal(lar_seq_share(b, a, 0, &e), LAR_OK);
    check(t, b, 0, 10);
}

static void test_sharing(void **state)
{
    (void)state;
    each(sharing);
}

/* The state matters: without it the logits are others. */
static void state_off(text *t)
{
    lar_seq *q = rig_seq(&t->r);
    double most = 0, std = 0;
    check(t, q, 0, 50);
    for (int l = 0; l < lar_net_n_caches(t->r.net); l++)
        if (t->r.en->state[l])
            memset(lar__state(q, l, q->turn), 0, t->r.en->state[l]->stride[1]);
    rig_eval(&t->r, q, t->ids + 50, 1, 1, t->got);
    for (size_t i = 0; i < t->n_vocab; i++) {
        const double want = (double)t->want[50 * t->n_vocab + i], d = (double)t->got[i] - want;
        most = LAR_MAX(most, d < 0 ? -d : d);
        std += want * want;
    }
    std = __builtin_sqrt(std / (double)t->n_vocab);
    if (!(most > 0.05 * std))
        fail_msg("without their states: %g of %g", most, std);
}

static void test_state_off(void **state)
{
    (void)state;
    each(state_off);
}

/* A file of another size of states, or cut short, is refused; the sequence is empty then. */
static void files(text *t)
{
    static const char path[] = "build/hybrid.seq";
    lar_seq *a = rig_seq(&t->r), *b = rig_seq(&t->r);
    lar_err e = {0};
    size_t n = 0;
    check(t, a, 0, 50);
    assert_int_equal(lar_seq_save(a, path, &e), LAR_OK);
    check(t, b, 0, 20);
    lar_seq_mark(b);
    if (lar_seq_load(b, path, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    check(t, b, 50, 60);
    assert_int_equal(lar_seq_truncate(b, 55), 0); /* what was marked before is of another text */
    uint8_t *p = read_file(path, &n);
    assert_non_null(p);
    p[n - 12] ^= 1; /* in the last state */
    assert_int_equal(lar__seq_load_bytes(b, path, p, n, &e), LAR_EFORMAT);
    assert_int_equal(lar__seq_load_bytes(b, path, p, n - 4, &e), LAR_EFORMAT);
    p[48] ^= 4; /* the states' size in the header */
    assert_int_equal(lar__seq_load_bytes(b, path, p, n, &e), LAR_EFORMAT);
    free(p);
    lar_seq_truncate(a, 0);
    assert_int_equal(lar_seq_save(a, path, &e), LAR_OK);
    if (lar_seq_load(b, path, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    check(t, b, 0, 20);
    remove(path);
}

static void test_files(void **state)
{
    (void)state;
    each(files);
}

/* ---- answers ----------------------------------------------------------------------------------
 */

#define ASK(prompt, more)                                                                          \
    "{\"prompt\":\"" prompt "\",\"raw\":true,\"ignore_eos\":true,\"temp\":0.8,\"seed\":5,"         \
    "\"max_tokens\":24" more "}"

/* Whether the session is new, was at the same prompt, at a longer or another text. */
static void test_answers(void **state)
{
    (void)state;
    lar_runtime *rt = test_runtime(2);
    for (size_t i = 0; i < LAR_LEN(models); i++) {
        lar_model *m = test_model_open(rt, path_of(i));
        lar_session *s = test_session(m, 128, 8, "f32");
        said a = ask(s, "generate", ASK("the quick brown fox jumps", ""));
        said b = ask(s, "generate", ASK("the quick brown fox jumps", ""));
        same_tokens(&a, &b);
        assert_true(timing(&b, "cached_tokens") == timing(&b, "prompt_tokens") - 1);
        said_free(&b);
        b = ask(s, "generate", ASK("of in and to that", ""));
        assert_int_equal(timing(&b, "cached_tokens"), 0);
        said_free(&b);
        b = ask(s, "generate", ASK("the quick brown fox jumps", ",\"speculate\":\"off\""));
        same_tokens(&a, &b);
        said_free(&b);
        b = ask(s, "generate", ASK("the quick brown fox jumps", ",\"speculate\":\"ngram\""));
        same_tokens(&a, &b);
        assert_non_null(strstr(buf_text(&b.notice), "no speculation"));
        said_free(&b);
        said_free(&a);
        lar_session_free(s);
        lar_model_free(m);
    }
    lar_runtime_free(rt);
}

/* After a shift the answer goes on as after a prompt of just the tokens that are kept: a session
 * with twice the batch, which evaluates them in other steps, says the same. */
static void test_shift(void **state)
{
    (void)state;
    lar_runtime *rt = test_runtime(2);
    for (size_t i = 0; i < LAR_LEN(models); i++) {
        lar_model *m = test_model_open(rt, path_of(i));
        lar_session *s = test_session(m, 32, 4, "f32"), *other = test_session(m, 32, 8, "f32");
        said a = ask(s, "generate", ASK("the quick brown fox", ",\"ctx_shift\":true,\"keep\":4"));
        said b =
            ask(other, "generate", ASK("the quick brown fox", ",\"ctx_shift\":true,\"keep\":4"));
        assert_non_null(strstr(buf_text(&a.notice), "context full"));
        same_tokens(&a, &b);
        assert_memory_equal(lar_seq_tokens(s->seq), lar_seq_tokens(other->seq),
                            (size_t)lar_seq_length(s->seq) * sizeof(int32_t));
        /* what the sequence holds gives what its tokens give */
        text t;
        open_text(&t, i);
        const int n = lar_seq_length(s->seq) - 1;
        const int32_t last = lar_seq_tokens(s->seq)[n];
        memcpy(t.ids, lar_seq_tokens(s->seq), (size_t)n * sizeof(int32_t));
        t.ids[n] = t.ids[n + 1] = last;
        lar_seq *q = rig_seq(&t.r);
        rig_eval(&t.r, q, t.ids, n + 2, 5, t.got);
        lar_step p = {.seq = s->seq, .tokens = &last, .n = 1};
        lar_err e = {0};
        assert_int_equal(lar_engine_step(s->engine, &p, 1, &e), LAR_OK);
        assert_memory_equal(p.logits, t.got + (size_t)(n + 1) * t.n_vocab,
                            t.n_vocab * sizeof(float));
        close_text(&t);
        said_free(&a);
        said_free(&b);
        lar_session_free(s);
        lar_session_free(other);
        lar_model_free(m);
    }
    lar_runtime_free(rt);
}

/* As a draft model for one of keys and values: the answer is the same as without, guesses
 * that were refused included. */
static void test_drafts(void **state)
{
    (void)state;
    lar_runtime *rt = test_runtime(2);
    lar_err e = {0};
    lar_model *llama = test_model_open(rt, llama_path);
    for (size_t i = 0; i < LAR_LEN(models); i++) {
        lar_model *m = test_model_open(rt, path_of(i));
        const lar_session_options o = {
            .size = sizeof o, .ctx = 64, .batch = 8, .kv_type = "f32", .draft = m};
        lar_session *plain = test_session(llama, 64, 8, "f32"), *s;
        if (lar_session_new(llama, &o, &s, &e) != LAR_OK)
            fail_msg("%s", e.msg);
        said a = ask(plain, "generate", ASK("the quick", "")),
             b = ask(s, "generate", ASK("the quick", ",\"draft_min\":3"));
        same_tokens(&a, &b);
        said_free(&a);
        said_free(&b);
        lar_session_free(plain);
        lar_session_free(s);
        lar_model_free(m);
    }
    lar_model_free(llama);
    lar_runtime_free(rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncating), cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_state_off),  cmocka_unit_test(test_files),
        cmocka_unit_test(test_answers),    cmocka_unit_test(test_shift),
        cmocka_unit_test(test_drafts),
    };
    return cmocka_run_group_tests_name("hybrid", tests, set_up, NULL);
}
