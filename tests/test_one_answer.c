/* One answer: the same bits for any number of threads, any cut of the prompt, alone or in company,
 * for a fresh, reused, shared, saved and loaded cache, and on every kernel variant that this
 * machine has. Models of keys and values, and such whose layers remember a state. */
#include "engine_test.h"
#include "base/os.h"
#include "convert/convert.h"
#include <fenv.h>
#include <sys/stat.h>
#ifdef _WIN32
#include <direct.h>
#define mkdir(path, mode) _mkdir(path)
#endif
#include <unistd.h>

enum { N = 150 }; /* more than two pages */
static const lar_dtype *const kv_types[] = {LAR_DTYPE(f32), LAR_DTYPE(f16), LAR_DTYPE(q8_0),
                                            LAR_DTYPE(q4_0)};
static const char *const files[] = {"tests/data/tiny.gguf",
                                    "tests/data/tiny_mix.gguf",
                                    "tests/data/models/gemma3_linear.gguf",
                                    "tests/data/models/qwen2_tied.gguf",
                                    "build/one_answer_lfm2.gguf",
                                    "build/one_answer_qwen3next.gguf",
                                    "build/one_answer_deepseek3.gguf",
                                    "build/one_answer_gpt_oss.gguf"};

/* Those in build/ are made of Hugging Face folders. */
static int set_up(void **state)
{
    static const char *const folders[] = {"lfm2", "qwen3next", "deepseek3", "gpt_oss"};
    char from[64], to[64];
    (void)state;
    mkdir("build", 0777);
    for (size_t i = 0; i < LAR_LEN(folders); i++) {
        const lar_convert_options o = {0};
        lar_convert_result r;
        lar_err e = {0};
        snprintf(from, sizeof from, "tests/data/hf/%s", folders[i]);
        snprintf(to, sizeof to, "build/one_answer_%s.gguf", folders[i]);
        if (lar_convert_hf(from, to, &o, &r, &e) != LAR_OK)
            fail_msg("%s: %s", from, e.msg);
    }
    return 0;
}

static void fill(int32_t *ids, int n, int n_vocab, uint64_t seed)
{
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(lar_random(seed, (uint64_t)i) % (uint64_t)n_vocab);
}

typedef struct truth {
    const char *path;
    const lar_dtype *kv;
    int32_t ids[N];
    size_t n_vocab;
    float *logits;
} truth;

static rig_options options(const truth *t)
{
    return (rig_options){.threads = 1, .kv = t->kv, .ctx = 640};
}

static void same(const truth *t, const float *x, int from, int n, const char *what)
{
    const float *want = t->logits + (size_t)from * t->n_vocab;
    for (int i = 0; i < n; i++)
        if (memcmp(want + (size_t)i * t->n_vocab, x + (size_t)i * t->n_vocab,
                   t->n_vocab * sizeof *x) != 0)
            fail_msg("%s, KV %s, %s: other logits at position %d", t->path, t->kv->name, what,
                     from + i);
}

/* The reference: plain C, one thread, token by token. */
static bool truth_open(truth *t, const char *path, const lar_dtype *kv)
{
    rig r;
    lar_gguf *f;
    lar_err e = {0};
    *t = (truth){.path = path, .kv = kv};
    rig_options o = options(t);
    o.variant = "generic";
    if (lar_gguf_open(path, &f, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    if (rig_open_file(&r, f, &o, &e) != LAR_OK) {
        assert_int_equal(e.code, LAR_EUNSUPPORTED); /* heads that 32 does not divide */
        assert_int_equal(kv->block, 32);
        return false;
    }
    t->n_vocab = r.net->hp.n_vocab;
    fill(t->ids, N, (int)t->n_vocab, 7);
    t->logits = malloc(N * t->n_vocab * sizeof(float));
    rig_eval(&r, rig_seq(&r), t->ids, N, 1, t->logits);
    rig_close(&r);
    return true;
}

static void each(void (*check)(const truth *t, float *out))
{
    for (size_t i = 0; i < LAR_LEN(files); i++)
        for (size_t k = 0; k < LAR_LEN(kv_types); k++) {
            truth t;
            if (!truth_open(&t, files[i], kv_types[k]))
                continue;
            float *out = malloc(N * t.n_vocab * sizeof *out);
            check(&t, out);
            free(out);
            free(t.logits);
        }
}

static void check_variants(const truth *t, float *out)
{
    static const int threads[] = {1, 2, 4}, pieces[] = {64, 7};
    lar_cpu_features f;
    lar_cpu_detect(&f);
    for (int v = 0; v < lar_n_variants; v++)
        for (size_t n = 0; lar_variants[v]->usable(&f) && n < LAR_LEN(threads); n++) {
            rig r;
            rig_options o = options(t);
            o.variant = lar_variants[v]->name;
            o.threads = threads[n];
            rig_open(&r, t->path, &o);
            for (size_t p = 0; p < LAR_LEN(pieces); p++) {
                lar_seq *q = rig_seq(&r);
                rig_eval(&r, q, t->ids, N, pieces[p], out);
                same(t, out, 0, N, lar_variants[v]->name);
                lar_seq_free(q);
            }
            rig_close(&r);
        }
}

static void test_variants(void **state)
{
    (void)state;
    each(check_variants);
}

static void check_pieces(const truth *t, float *out)
{
    static const int pieces[] = {1, 2, 3, 16, 17, 63, 64};
    rig r;
    rig_options o = options(t);
    o.threads = 2;
    rig_open(&r, t->path, &o);
    for (size_t p = 0; p < LAR_LEN(pieces); p++) {
        lar_seq *q = rig_seq(&r);
        rig_eval(&r, q, t->ids, N, pieces[p], out);
        same(t, out, 0, N, "in pieces");
        lar_seq_free(q);
    }
    rig_close(&r);
}

static void test_pieces(void **state)
{
    (void)state;
    each(check_pieces);
}

/* Three others run along, joining and leaving between steps. */
static void check_batch(const truth *t, float *out)
{
    rig r;
    rig_options o = options(t);
    o.threads = 2;
    rig_open(&r, t->path, &o);
    lar_seq *me = rig_seq(&r), *other[3] = {rig_seq(&r), rig_seq(&r), NULL};
    int32_t noise[640];
    fill(noise, 640, (int)t->n_vocab, 99);
    for (int i = 0, step = 0; i < N; step++) {
        const int n = LAR_MIN(1 + step * 5 % 13, N - i);
        lar_err e = {0};
        lar_step p[4];
        int k = 0, mine;
        if (step % 7 == 3 && !other[2])
            other[2] = rig_seq(&r);
        for (int j = 0; j < 2; j++)
            p[k++] = (lar_step){.seq = other[j], .tokens = noise + step, .n = 1 + (step + j) % 3};
        mine = k;
        p[k++] = (lar_step){.seq = me, .tokens = t->ids + i, .n = n, .all_logits = true};
        if (other[2])
            p[k++] = (lar_step){.seq = other[2], .tokens = noise, .n = 9};
        if (lar_engine_step(r.en, p, k, &e) != LAR_OK)
            fail_msg("%s", e.msg);
        memcpy(out + (size_t)i * t->n_vocab, p[mine].logits, (size_t)n * t->n_vocab * sizeof *out);
        i += n;
        if (step % 7 == 5) {
            lar_seq_free(other[2]);
            other[2] = NULL;
        }
    }
    same(t, out, 0, N, "in company");
    rig_close(&r);
}

static void test_batch(void **state)
{
    (void)state;
    each(check_batch);
}

/* Hold the first n tokens of the text again, of which the sequence may hold fewer after
 * truncating. */
static void back_to(rig *r, const truth *t, lar_seq *q, int n, float *out)
{
    const int held = lar_seq_truncate(q, n);
    assert_true(held <= n && held == lar_seq_length(q));
    rig_eval(r, q, t->ids + held, n - held, 64, out);
}

/* Forget and go on; share a prefix at a place inside a page while the other goes elsewhere; save
 * and load. */
static void check_reuse(const truth *t, float *out)
{
    rig r;
    lar_err e = {0};
    rig_options o = options(t);
    char path[64];
    rig_open(&r, t->path, &o);
    lar_seq *q = rig_seq(&r), *twin = rig_seq(&r), *loaded = rig_seq(&r);
    int32_t noise[N];
    fill(noise, N, (int)t->n_vocab, 5);
    rig_eval(&r, q, t->ids, 70, 64, out);
    lar_seq_mark(q);
    rig_eval(&r, q, noise, 50, 64, out);
    assert_int_equal(lar_seq_truncate(q, 70), 70);
    assert_int_equal(lar_seq_share(twin, q, 70, &e), LAR_OK);
    rig_eval(&r, twin, noise, 50, 64, out);
    rig_eval(&r, q, t->ids + 70, N - 70, 33, out);
    same(t, out, 70, N - 70, "after forgetting");
    back_to(&r, t, twin, 70, out);
    rig_eval(&r, twin, t->ids + 70, N - 70, 64, out);
    same(t, out, 70, N - 70, "after sharing");
    back_to(&r, t, q, 100, out);
    snprintf(path, sizeof path, "build/seq-%ld.tmp", (long)getpid());
    if (lar_seq_save(q, path, &e) != LAR_OK || lar_seq_load(loaded, path, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    remove(path);
    assert_int_equal(lar_seq_length(loaded), 100);
    assert_memory_equal(lar_seq_tokens(loaded), t->ids, 100 * sizeof(int32_t));
    rig_eval(&r, loaded, t->ids + 100, N - 100, 64, out);
    same(t, out, 100, N - 100, "after saving and loading");
    rig_close(&r);
}

static void test_reuse(void **state)
{
    (void)state;
    each(check_reuse);
}

/* The caller's floating-point mode changes nothing, and is his again afterwards. */
static void check_mode(const truth *t, float *out)
{
    rig r;
    rig_options o = options(t);
    o.threads = 2;
    assert_int_equal(fesetround(FE_UPWARD), 0);
    rig_open(&r, t->path, &o);
    lar_seq *q = rig_seq(&r), *whole = rig_seq(&r);
    rig_eval(&r, q, t->ids, N, 1, out);
    assert_int_equal(fegetround(), FE_UPWARD);
    fesetround(FE_TONEAREST);
    same(t, out, 0, N, "rounding upward, token by token");
    fesetround(FE_UPWARD);
    rig_eval(&r, whole, t->ids, N, 64, out);
    fesetround(FE_TONEAREST);
    same(t, out, 0, N, "rounding upward");
    rig_close(&r);
}

static void test_mode(void **state)
{
    (void)state;
    each(check_mode);
}

/* Steps of ever changing width, more widths than graphs are kept, some of them given up: a
 * cancelled step leaves no trace. */
static void check_widths(const truth *t, float *out)
{
    for (int threads = 1; threads <= 3; threads += 2) {
        rig r;
        rig_options o = options(t);
        o.threads = threads;
        rig_open(&r, t->path, &o);
        lar_seq *q = rig_seq(&r);
        atomic_int cancel;
        atomic_init(&cancel, 0);
        lar_engine_watch(r.en, &cancel);
        for (int at = 0, i = 0; at < N; i++) {
            const int n = LAR_MIN(1 + i * 5 % 11, N - at);
            lar_step p = {.seq = q, .tokens = t->ids + at, .n = n};
            lar_err e = {0};
            atomic_store(&cancel, i % 3 == 0);
            if (i % 3 == 0) {
                assert_int_equal(lar_engine_step(r.en, &p, 1, &e), LAR_ECANCELLED);
                assert_int_equal(lar_seq_length(q), at);
                continue;
            }
            rig_eval(&r, q, t->ids + at, n, n, out + (size_t)at * t->n_vocab);
            at += n;
        }
        same(t, out, 0, N, "changing widths");
        rig_close(&r);
    }
}

static void test_widths(void **state)
{
    (void)state;
    each(check_widths);
}

/* One sequence cannot be in a step twice. */
static void test_twice(void **state)
{
    (void)state;
    rig r;
    lar_err e = {0};
    const int32_t ids[] = {1, 2, 3};
    rig_open(&r, files[0], &(rig_options){0});
    lar_seq *q = rig_seq(&r);
    lar_step p[2] = {{.seq = q, .tokens = ids, .n = 3}, {.seq = q, .tokens = ids, .n = 3}};
    assert_int_equal(lar_engine_step(r.en, p, 2, &e), LAR_EARG);
    assert_int_equal(lar_seq_length(q), 0);
    assert_int_equal(lar_engine_step(r.en, p, 1, &e), LAR_OK);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants), cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_batch),    cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_mode),     cmocka_unit_test(test_widths),
        cmocka_unit_test(test_twice),
    };
    return cmocka_run_group_tests_name("one answer", tests, set_up, NULL);
}
