/*
 * test_tokenizer.c - tokenizers against the ids that the models' own libraries give
 * (tests/data/tok, made by tools/goldens/tokenizers.py, and ../shared/vocab), round trips, time,
 * special tokens, hostile descriptions.
 */
#include "base/os.h"
#include "oom.h"
#include "tasks/vocab.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define DATA "tests/data/tok/"
#define SHARED "../shared/vocab/ggml-vocab-"
#define MB ((size_t)1 << 20)
/* Seconds that a megabyte may take even under sanitizers on a busy machine; quadratic time takes
 * hours (and a minute for the smaller texts, which may take a part of this). */
#define BOUND 60.0

/* ---- helpers
 * ----------------------------------------------------------------------------------------- */

typedef struct vocab {
    lar_gguf *g;
    lar_vocab_file f;
} vocab;

static vocab open_vocab(const char *path)
{
    vocab v;
    lar_err e;
    if (lar_gguf_open(path, &v.g, &e) != LAR_OK || lar_vocab_open(v.g, &v.f, &e) != LAR_OK)
        fail_msg("%s: %s", path, e.msg);
    return v;
}

static void close_vocab(vocab *v)
{
    lar_vocab_free(&v->f);
    lar_gguf_close(v->g);
}

static lar_ids encode(const lar_tokenizer *t, const char *p, size_t n, int flags)
{
    lar_ids ids = {0};
    lar_err e;
    if (lar_tokenizer_encode(t, p, n, flags, &ids, &e) != LAR_OK)
        fail_msg("encode: %s", e.msg);
    for (size_t i = 0; i < ids.n; i++)
        assert_in_range(ids.p[i], 0, lar_tokenizer_size(t) - 1);
    return ids;
}

static lar_buf decode(const lar_tokenizer *t, const lar_ids *ids, bool special, bool raw)
{
    lar_detok d;
    lar_buf b = {0};
    lar_detok_init(&d, t, special);
    d.raw = raw;
    for (size_t i = 0; i < ids->n; i++)
        lar_detok_put(&d, ids->p[i], &b);
    lar_detok_end(&d, &b);
    return b;
}

static void show(const char *name, const int32_t *p, size_t n)
{
    fprintf(stderr, "  %s:", name);
    for (size_t i = 0; i < n && i < 60; i++)
        fprintf(stderr, " %d", (int)p[i]);
    fputc('\n', stderr);
}

/* 1 where the ids differ, which is told. */
static int differs(const char *where, const char *text, size_t n, const lar_ids *got,
                   const int32_t *want, size_t n_want)
{
    if (got->n == n_want && (n_want == 0 || memcmp(got->p, want, n_want * sizeof *want) == 0))
        return 0;
    fprintf(stderr, "%s: [%.*s]\n", where, (int)LAR_MIN(n, 200), text);
    show("got ", got->p, got->n);
    show("want", want, n_want);
    return 1;
}

static char *read_file(const char *path, size_t *n)
{
    lar_map m;
    lar_err e;
    if (lar_map_open(path, &m, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    char *p = test_malloc(m.size + 1);
    memcpy(p, m.data, m.size);
    p[m.size] = 0;
    *n = m.size;
    lar_map_close(&m);
    return p;
}

static json_t *load_json(const char *path)
{
    json_error_t je;
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &je);
    if (!j)
        fail_msg("%s: %s", path, je.text);
    return j;
}

static int check_json(const char *where, const lar_tokenizer *t, const json_t *text,
                      const json_t *ids, int flags)
{
    const char *p = json_string_value(text);
    size_t n = json_string_length(text), n_want = json_array_size(ids);
    int32_t *want = test_calloc(n_want + 1, sizeof *want);
    for (size_t i = 0; i < n_want; i++)
        want[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    lar_ids got = encode(t, p, n, flags);
    int bad = differs(where, p, n, &got, want, n_want);
    lar_ids_free(&got);
    test_free(want);
    return bad;
}

static int check_list(const char *where, const lar_tokenizer *t, const json_t *texts,
                      const json_t *ids)
{
    int bad = 0;
    assert_true(json_array_size(texts) > 20);
    assert_int_equal(json_array_size(texts), json_array_size(ids));
    for (size_t i = 0; i < json_array_size(texts); i++)
        bad += check_json(where, t, json_array_get(texts, i), json_array_get(ids, i), 0);
    return bad;
}

/* A description over string arrays; the arrays end with NULL. */
typedef struct desc {
    lar_vocab v;
    lar_str tokens[64], merges[64];
    int32_t types[64];
    float scores[64];
} desc;

static void describe(desc *d, const char *model, const char *pre, const char *const *tokens,
                     const char *const *merges)
{
    memset(d, 0, sizeof *d);
    lar_vocab_init(&d->v);
    d->v.model = (lar_str){model, strlen(model)};
    d->v.pre = (lar_str){pre, strlen(pre)};
    d->v.tokens = d->tokens;
    for (; tokens && tokens[d->v.n_tokens]; d->v.n_tokens++) {
        d->tokens[d->v.n_tokens] = (lar_str){tokens[d->v.n_tokens], strlen(tokens[d->v.n_tokens])};
        d->types[d->v.n_tokens] = LAR_TOKEN_NORMAL;
    }
    d->v.merges = d->merges;
    for (; merges && merges[d->v.n_merges]; d->v.n_merges++)
        d->merges[d->v.n_merges] = (lar_str){merges[d->v.n_merges], strlen(merges[d->v.n_merges])};
    d->v.types = d->types;
    d->v.scores = d->scores;
}

static lar_tokenizer *make(const lar_vocab *v)
{
    lar_tokenizer *t;
    lar_err e;
    if (lar_tokenizer_new(v, &t, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return t;
}

static void expect(const lar_tokenizer *t, const char *text, int flags, const int32_t *want,
                   size_t n)
{
    lar_ids got = encode(t, text, strlen(text), flags);
    int bad = differs("expect", text, strlen(text), &got, want, n);
    lar_ids_free(&got);
    assert_int_equal(bad, 0);
}
#define EXPECT(t, text, flags, ...)                                                                \
    do {                                                                                           \
        const int32_t want_[] = {__VA_ARGS__};                                                     \
        expect(t, text, flags, want_, LAR_LEN(want_));                                             \
    } while (0)

static void expect_text(const lar_tokenizer *t, const int32_t *p, size_t n, bool special,
                        const char *want)
{
    lar_ids ids = {.p = (int32_t *)(uintptr_t)p, .n = n};
    lar_buf b = decode(t, &ids, special, false);
    assert_string_equal(b.p ? b.p : "", want);
    lar_buf_free(&b);
}
#define EXPECT_TEXT(t, special, want, ...)                                                         \
    do {                                                                                           \
        const int32_t ids_[] = {__VA_ARGS__};                                                      \
        expect_text(t, ids_, LAR_LEN(ids_), special, want);                                        \
    } while (0)

/* ---- goldens
 * ------------------------------------------------------------------------------------------ */

static void test_shared_vocab(void **state)
{
    static const char *const names[] = {"gpt-2",     "llama-bpe", "qwen2",
                                        "llama-spm", "phi-3",     "bert-bge"};
    static const char sep[] = "\n__ggml_vocab_test__\n";
    char path[128];
    int bad = 0, cases = 0;
    (void)state;
    for (size_t k = 0; k < LAR_LEN(names); k++) {
        size_t n, m;
        snprintf(path, sizeof path, SHARED "%s.gguf.inp", names[k]);
        FILE *there = fopen(path, "rb");
        if (!there) {
            print_message("[  SKIPPED ] %s is not here\n", path);
            skip();
        }
        fclose(there);
        char *in = read_file(path, &n);
        snprintf(path, sizeof path, SHARED "%s.gguf.out", names[k]);
        char *out = read_file(path, &m), *line = out;
        snprintf(path, sizeof path, SHARED "%s.gguf", names[k]);
        vocab v = open_vocab(path);
        for (char *text = in; text; cases++) {
            char *end = strstr(text, sep), *eol = strchr(line, '\n');
            eol = eol ? eol : out + m;
            size_t len = end ? (size_t)(end - text) : strlen(text), n_want = 0;
            int32_t want[512];
            for (char *p = line; p < eol; n_want++) {
                char *stop;
                long id = strtol(p, &stop, 10);
                if (stop == p || stop > eol)
                    break;
                assert_in_range(n_want, 0, LAR_LEN(want) - 1);
                want[n_want] = (int32_t)id;
                p = stop;
            }
            lar_ids got = encode(v.f.tok, text, len, 0);
            bad += differs(names[k], text, len, &got, want, n_want);
            lar_ids_free(&got);
            text = end ? end + strlen(sep) : NULL;
            line = eol < out + m ? eol + 1 : eol;
        }
        assert_ptr_equal(line, out + m);
        close_vocab(&v);
        test_free(in);
        test_free(out);
    }
    assert_int_equal(cases, 6 * 47);
    assert_int_equal(bad, 0);
}

static void test_bpe_patterns(void **state)
{
    (void)state;
    vocab v = open_vocab(DATA "bpe.gguf");
    json_t *j = load_json(DATA "bpe.json"), *ids;
    const char *name;
    size_t i;
    json_t *one;
    int bad = 0;
    json_object_foreach(json_object_get(j, "pre"), name, ids)
    {
        lar_vocab d = v.f.vocab;
        d.pre = (lar_str){name, strlen(name)};
        lar_tokenizer *t = make(&d);
        bad += check_list(name, t, json_object_get(j, "texts"), ids);
        lar_tokenizer_free(t);
    }
    json_array_foreach(json_object_get(j, "special"), i, one) bad +=
        check_json("special", v.f.tok, json_object_get(one, "text"), json_object_get(one, "ids"),
                   LAR_TOK_SPECIAL);
    json_decref(j);
    close_vocab(&v);
    assert_int_equal(bad, 0);
}

static void test_other_goldens(void **state)
{
    static const char *const names[] = {"wordpiece", "unigram", "unigram-bytes", "spm",
                                        "spm-unknown"};
    int bad = 0;
    char path[64];
    (void)state;
    for (size_t k = 0; k < LAR_LEN(names); k++) {
        snprintf(path, sizeof path, DATA "%s.gguf", names[k]);
        vocab v = open_vocab(path);
        snprintf(path, sizeof path, DATA "%s.json", names[k]);
        json_t *j = load_json(path);
        bad +=
            check_list(names[k], v.f.tok, json_object_get(j, "texts"), json_object_get(j, "ids"));
        json_decref(j);
        close_vocab(&v);
    }
    assert_int_equal(bad, 0);
}

/* ---- whole texts
 * --------------------------------------------------------------------------------------- */

static void add_cp(lar_buf *b, uint32_t cp)
{
    char u[4];
    lar_buf_add(b, u, (size_t)lar_utf8_encode(cp, u));
}

/* About a megabyte: words of many scripts, numbers, white space, code, emoji; with `invalid`, stray
 * bytes. */
static lar_buf mixed_text(bool invalid)
{
    static const uint32_t range[][2] = {
        {'a', 'z'},       {'A', 'Z'},         {'0', '9'},       {0xc0, 0x17f},
        {0x391, 0x3c9},   {0x410, 0x44f},     {0x5d0, 0x5ea},   {0x621, 0x64a},
        {0x905, 0x94d},   {0xe01, 0xe3a},     {0x3041, 0x30ff}, {0x4e00, 0x9fff},
        {0xac00, 0xd7a3}, {0x1f300, 0x1f6ff}, {0x2000, 0x206f}, {0x21, 0x2f},
        {9, 13},          {0x20, 0x20},       {0x300, 0x36f},   {0x10000, 0x10ffff}};
    static const char stray[] = "\xff\xc3\xe4\xb8\xf0\x9f\x98\xc0\xaf\xed\xa0\x80";
    lar_buf b = {0};
    for (uint64_t i = 0; b.n < MB; i++) {
        uint64_t r = lar_random(17, i);
        const uint32_t *s = range[(r & 7) ? (r >> 3) % 3 : (r >> 3) % LAR_LEN(range)];
        for (uint64_t k = 0; k <= (r >> 20) % 9; k++)
            add_cp(&b, s[0] + (uint32_t)(lar_random(18, i * 16 + k) % (s[1] - s[0] + 1)));
        if (invalid && r >> 60 == 0)
            lar_buf_add(&b, &stray[r % 8], 1 + (r >> 8) % 4);
        lar_buf_putc(&b, r >> 58 ? ' ' : '\n');
    }
    assert_false(b.oom);
    return b;
}

static double round_trip(const lar_tokenizer *t, const char *p, size_t n)
{
    double begin = lar_clock();
    lar_ids ids = encode(t, p, n, 0);
    double seconds = lar_clock() - begin;
    lar_buf b = decode(t, &ids, false, true);
    assert_false(b.oom);
    assert_int_equal(b.n, n);
    assert_true(memcmp(b.p, p, n) == 0);
    lar_buf_free(&b);
    lar_ids_free(&ids);
    return seconds;
}

static void test_round_trip(void **state)
{
    static const char *const paths[] = {DATA "bpe.gguf",     DATA "spm.gguf",
                                        SHARED "gpt-2.gguf", SHARED "llama-bpe.gguf",
                                        SHARED "qwen2.gguf", SHARED "llama-spm.gguf"};
    lar_buf good = mixed_text(false), bad = mixed_text(true);
    (void)state;
    for (size_t k = 0; k < LAR_LEN(paths); k++) {
        FILE *there = fopen(paths[k], "rb");
        if (!there)
            continue;
        fclose(there);
        vocab v = open_vocab(paths[k]);
        double a = round_trip(v.f.tok, good.p, good.n), b = round_trip(v.f.tok, bad.p, bad.n);
        print_message("%s: %.2f s and %.2f s for a megabyte\n", paths[k], a, b);
        close_vocab(&v);
    }
    lar_buf_free(&good);
    lar_buf_free(&bad);
}

static void check_time(const char *what, const lar_tokenizer *t, const char *p, size_t n)
{
    double begin = lar_clock();
    lar_ids ids = encode(t, p, n, 0);
    double seconds = lar_clock() - begin;
    lar_ids_free(&ids);
    if (seconds > BOUND * (double)n / (double)MB + 1)
        fail_msg("%s: %.1f s for %zu bytes", what, seconds, n);
}

static void check_pathological(const char *what, const lar_tokenizer *t, size_t n)
{
    static const char *const units[] = {"a",  " ",    "\n",       " \n", "a ",     "1", "Aa", "!",
                                        "中", "\xff", "\xcc\x81", "' ",  "ab\xe2", "A", "  x"};
    for (size_t u = 0; u < LAR_LEN(units); u++) {
        lar_buf b = {0};
        while (b.n < n)
            lar_buf_puts(&b, units[u]);
        if (u < 4)
            lar_buf_puts(&b, "x"); /* what made it all white space is not so at the end */
        assert_false(b.oom);
        check_time(what, t, b.p, b.n);
        lar_buf_free(&b);
    }
}

static void test_pathological(void **state)
{
    static const char *const names[] = {"gpt-2",      "llama-bpe", "deepseek-llm", "deepseek-v3",
                                        "gpt-4o",     "kimi-k2",   "tiny_aya",     "superbpe",
                                        "exaone-moe", "default",   "jais-2",       "bloom",
                                        "falcon",     "afmoe",     "chameleon"};
    static const char *const others[] = {DATA "spm.gguf", DATA "unigram.gguf",
                                         DATA "wordpiece.gguf"};
    (void)state;
    vocab v = open_vocab(DATA "bpe.gguf");
    for (size_t i = 0; i < LAR_LEN(names); i++) {
        lar_vocab d = v.f.vocab;
        d.pre = (lar_str){names[i], strlen(names[i])};
        lar_tokenizer *t = make(&d);
        check_pathological(names[i], t, i < 2 ? MB : MB / 8);
        lar_tokenizer_free(t);
    }
    close_vocab(&v);
    for (size_t i = 0; i < LAR_LEN(others); i++) {
        v = open_vocab(others[i]);
        check_pathological(others[i], v.f.tok, i == 0 ? MB : MB / 8);
        close_vocab(&v);
    }
}

/* ---- streaming
 * ------------------------------------------------------------------------------------------ */

static void assert_utf8(const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        int k = lar_utf8_decode(p + i, n - i, NULL);
        assert_true(k > 0);
        i += (size_t)k;
    }
}

static void stream(const lar_tokenizer *t, const lar_ids *ids, const char *want, size_t n)
{
    lar_detok d;
    lar_buf all = {0}, chunk = {0};
    lar_detok_init(&d, t, true);
    for (size_t i = 0; i <= ids->n; i++) {
        lar_buf_clear(&chunk);
        if (i < ids->n)
            lar_detok_put(&d, ids->p[i], &chunk);
        else
            lar_detok_end(&d, &chunk);
        assert_utf8(chunk.p, chunk.n);
        lar_buf_add(&all, chunk.p, chunk.n);
    }
    if (want) {
        assert_int_equal(all.n, n);
        assert_true(n == 0 || memcmp(all.p, want, n) == 0);
    }
    lar_buf_free(&all);
    lar_buf_free(&chunk);
}

static void test_streaming(void **state)
{
    static const char *const paths[] = {DATA "bpe.gguf", DATA "spm.gguf", DATA "unigram-bytes.gguf",
                                        DATA "wordpiece.gguf"};
    lar_buf text = mixed_text(false);
    size_t n = 1 << 16;
    (void)state;
    while (n && lar_utf8_incomplete(text.p, n))
        n--;
    for (size_t k = 0; k < LAR_LEN(paths); k++) {
        vocab v = open_vocab(paths[k]);
        lar_ids ids = encode(v.f.tok, text.p, n, 0), any = {0};
        lar_err e;
        stream(v.f.tok, &ids, k < 2 ? text.p : NULL, n);
        for (uint64_t i = 0; i < 20000; i++) /* no text at all: any ids, wrong ones among them */
            assert_int_equal(
                lar_ids_add(
                    &any, (int32_t)(lar_random(5, i) % (lar_tokenizer_size(v.f.tok) + 9)) - 4, &e),
                LAR_OK);
        stream(v.f.tok, &any, NULL, 0);
        lar_ids_free(&ids);
        lar_ids_free(&any);
        close_vocab(&v);
    }
    lar_buf_free(&text);
}

static void test_replacement(void **state)
{
    static const char *const tokens[] = {"<0xE2>",
                                         "<0x82>",
                                         "<0xAC>",
                                         "<0xFF>",
                                         "a",
                                         "\xe2\x96\x81"
                                         "b",
                                         NULL};
    desc d;
    (void)state;
    describe(&d, "llama", "", tokens, NULL);
    for (int i = 0; i < 4; i++)
        d.types[i] = LAR_TOKEN_BYTE;
    d.v.eos = d.v.bos = d.v.unk = 4;
    lar_tokenizer *t = make(&d.v);
    EXPECT_TEXT(t, true, "€", 0, 1, 2);
    EXPECT_TEXT(t, true,
                "\xef\xbf\xbd"
                "a",
                0, 1, 4);
    EXPECT_TEXT(t, true, "\xef\xbf\xbd", 0, 1);
    EXPECT_TEXT(t, true,
                "\xef\xbf\xbd\xef\xbf\xbd"
                "a\xef\xbf\xbd",
                0, 3, 4, 1);
    EXPECT_TEXT(t, true, "b b", 5, 5); /* the first space is SentencePiece's own */
    lar_tokenizer_free(t);
}

static void test_clean_spaces(void **state)
{
#define U "\xe2\x96\x81"
    static const char *const tokens[] = {U "it", U "'", U "s", U ".", U "a",
                                         "b",    U "n", "'t",  U "?", NULL};
    desc d;
    (void)state;
    describe(&d, "bert", "", tokens, NULL);
    lar_tokenizer *t = make(&d.v);
    EXPECT_TEXT(t, false, "it's ab.", 0, 1, 2, 4, 5, 3);
    EXPECT_TEXT(t, false, "itn't it?", 0, 6, 7, 0, 8);
    EXPECT_TEXT(t, false, "it n", 0, 6);
    lar_tokenizer_free(t);
}

/* ---- special tokens
 * ------------------------------------------------------------------------------------ */

enum { END_ID = 0, USER_ID = 1, SHORT_ID = 2, LONG_ID = 3, A_ID = 4, LT_ID = 5 };
static const char *const special_tokens[] = {"<e>", "<u>", "<x>", "<x><x>", "a",  "<", ">",
                                             "e",   "x",   "u",   "<e",     "aa", NULL};
static const char *const special_merges[] = {"< e", "<e >", "a a", NULL};

static void describe_special(desc *d)
{
    describe(d, "gpt2", "gpt-2", special_tokens, special_merges);
    d->types[END_ID] = d->types[SHORT_ID] = d->types[LONG_ID] = LAR_TOKEN_CONTROL;
    d->types[USER_ID] = LAR_TOKEN_USER;
    d->v.bos = SHORT_ID;
    d->v.eos = END_ID;
    d->v.pre_regex = (lar_str){"\\S+", 3};
}

static void test_special(void **state)
{
    desc d;
    (void)state;
    describe_special(&d);
    lar_tokenizer *t = make(&d.v);
    /* A merge that would make the control token from plain text does not apply. */
    EXPECT(t, "<e>", 0, 10, 6);
    EXPECT(t, "<e>", LAR_TOK_SPECIAL, END_ID);
    EXPECT(t, "a<e>aa", LAR_TOK_SPECIAL, A_ID, END_ID, 11);
    EXPECT(t, "<u>a", 0, USER_ID, A_ID);
    EXPECT(t, "<x><x><x>", LAR_TOK_SPECIAL, LONG_ID, SHORT_ID);
    EXPECT(t, "<x>", 0, 5, 8, 6);
    EXPECT(t, "a", LAR_TOK_BOS, A_ID);
    assert_true(lar_tokenizer_is_end(t, END_ID));
    assert_false(lar_tokenizer_is_end(t, A_ID) || lar_tokenizer_is_end(t, -1) ||
                 lar_tokenizer_is_end(t, 999));
    assert_true(lar_tokenizer_is_control(t, LONG_ID));
    assert_false(lar_tokenizer_is_control(t, USER_ID));
    assert_int_equal(lar_tokenizer_bos(t), SHORT_ID);
    assert_int_equal(lar_tokenizer_eos(t), END_ID);
    assert_int_equal(lar_tokenizer_find(t, "<x><x>", 6), LONG_ID);
    assert_int_equal(lar_tokenizer_find(t, "none", 4), -1);
    assert_int_equal(lar_tokenizer_text(t, USER_ID).n, 3);
    assert_int_equal(lar_tokenizer_text(t, -7).n, 0);
    EXPECT_TEXT(t, false, "a<u>", A_ID, END_ID, USER_ID);
    EXPECT_TEXT(t, true, "a<e><u>", A_ID, END_ID, USER_ID);
    lar_tokenizer_free(t);
    /* Nor does a whole word that a pre-tokenizer takes as it is. */
    d.v.ignore_merges = 1;
    d.v.add_bos = d.v.add_eos = 1;
    t = make(&d.v);
    EXPECT(t, "<e>", LAR_TOK_BOS, SHORT_ID, 10, 6, END_ID);
    EXPECT(t, "aa", 0, 11);
    EXPECT(t, "", LAR_TOK_BOS, SHORT_ID, END_ID);
    lar_tokenizer_free(t);
}

/* Without token types, the tokens that the file names are control tokens. */
static void test_no_types(void **state)
{
    desc d;
    (void)state;
    describe_special(&d);
    d.v.types = NULL;
    lar_tokenizer *t = make(&d.v);
    EXPECT(t, "<e>", 0, 10, 6);
    EXPECT(t, "<e>", LAR_TOK_SPECIAL, END_ID);
    lar_tokenizer_free(t);
}

static void test_known_ends(void **state)
{
    static const char *const tokens[] = {"<|im_end|>", "<|end|>", "<|return|>", "<|call|>",
                                         "a",          "</s>",    NULL};
    desc d;
    (void)state;
    describe(&d, "gpt2", "qwen2", tokens, NULL);
    d.types[0] = LAR_TOKEN_USER;
    d.types[1] = d.types[2] = d.types[3] = LAR_TOKEN_CONTROL;
    lar_tokenizer *t = make(&d.v);
    assert_true(lar_tokenizer_is_end(t, 0) && lar_tokenizer_is_control(t, 0));
    assert_false(lar_tokenizer_is_end(t, 1)); /* Harmony: a message's end */
    assert_true(lar_tokenizer_is_end(t, 2) && lar_tokenizer_is_end(t, 3));
    assert_false(lar_tokenizer_is_end(t, 5)); /* a normal token */
    lar_ids none = encode(t, "<|im_end|>", 10, 0);
    for (size_t i = 0; i < none.n; i++)
        assert_int_not_equal(none.p[i], 0);
    lar_ids_free(&none);
    lar_tokenizer_free(t);
}

/* ---- small vocabularies, worked out by hand
 * ---------------------------------------------------------- */

static void test_spm_by_hand(void **state)
{
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", U,     "a",      "b",
                                         "ab",    U "a", "bb",   "abb", "<0x21>", NULL};
    desc d;
    (void)state;
    describe(&d, "llama", "", tokens, NULL);
    d.types[0] = LAR_TOKEN_UNKNOWN;
    d.types[1] = d.types[2] = LAR_TOKEN_CONTROL;
    d.types[10] = LAR_TOKEN_BYTE;
    d.scores[6] = -1, d.scores[7] = -2, d.scores[8] = -1, d.scores[9] = -5;
    lar_tokenizer *t = make(&d.v);
    EXPECT(t, "abb", LAR_TOK_BOS, 1, 3, 9); /* of equals the left: ab, then abb */
    EXPECT(t, "a!b", 0, 7, 10, 5);
    EXPECT(t, "a??b", 0, 7, 0, 5); /* a run without tokens is one unknown */
    EXPECT(t, "a</s>a", LAR_TOK_SPECIAL, 7, 2, 7);
    EXPECT(t, "", LAR_TOK_BOS, 1);
    lar_tokenizer_free(t);
    d.v.add_space_prefix = 0;
    d.v.add_eos = 1;
    t = make(&d.v);
    EXPECT(t, "bb a", LAR_TOK_BOS, 1, 8, 7, 2);
    EXPECT_TEXT(t, false, " a", 7);
    lar_tokenizer_free(t);
}

static void test_unigram_by_hand(void **state)
{
    static const char *const tokens[] = {"<pad>", "</s>", "<unk>", U, "a", "b", "ab", U "a", NULL};
    /* A map of one rule: 'A' becomes "ab". Offset of the root is 0, so unit 'A' is its child; its
     * value is at 'A' ^ offset, with offset 0x100 ('A' has the mark that a value hangs at it). */
    uint32_t unit[512] = {
        [0] = 0, ['A'] = 0x100u << 10 | 256 | 'A', ['A' ^ 0x100] = 0x80000000u | 0};
    uint8_t map[4 + sizeof unit + 3];
    desc d;
    (void)state;
    describe(&d, "t5", "", tokens, NULL);
    d.types[0] = d.types[1] = LAR_TOKEN_CONTROL;
    d.types[2] = LAR_TOKEN_UNKNOWN;
    d.scores[3] = -3, d.scores[4] = -2, d.scores[5] = -2, d.scores[6] = -3, d.scores[7] = -6;
    for (size_t i = 0; i < 4; i++)
        map[i] = (uint8_t)(sizeof unit >> (8 * i));
    for (size_t i = 0; i < sizeof unit; i++)
        map[4 + i] = (uint8_t)(unit[i / 4] >> (8 * (i % 4)));
    memcpy(map + 4 + sizeof unit, "ab", 3);
    d.v.charsmap = map;
    d.v.charsmap_bytes = sizeof map;
    d.v.add_space_prefix = 1;
    d.v.remove_extra_whitespaces = 1;
    lar_tokenizer *t = make(&d.v);
    EXPECT(t, "ab", LAR_TOK_BOS, 3, 6, 1); /* -6, against -8 of "_a b" and -7 of "_ a b" */
    EXPECT(t, "  a   a ", 0, 3, 4, 3, 4);
    EXPECT(t, "A", 0, 3, 6);
    EXPECT(t, "a??", 0, 3, 4, 2);
    lar_tokenizer_free(t);
    lar_err e;
    lar_ids ids = {0};
    map[sizeof map - 1] = 'x'; /* the replacement does not end */
    t = make(&d.v);
    assert_int_equal(lar_tokenizer_encode(t, "A", 1, 0, &ids, &e), LAR_EFORMAT);
    assert_int_equal(ids.n, 0);
    lar_tokenizer_free(t);
    for (size_t n = 1; n < sizeof map; n += 97) { /* cut anywhere: an error or a harmless map */
        d.v.charsmap_bytes = n;
        if (lar_tokenizer_new(&d.v, &t, &e) != LAR_OK)
            continue;
        (void)lar_tokenizer_encode(t, "A", 1, 0, &ids, &e);
        lar_tokenizer_free(t);
    }
    lar_ids_free(&ids);
}

static void test_wordpiece_by_hand(void **state)
{
    static const char *const tokens[] = {"[UNK]",
                                         "[CLS]",
                                         "[SEP]",
                                         U "un",
                                         "aff",
                                         "able",
                                         U "a",
                                         U ",",
                                         "b",
                                         U "a"
                                           "b",
                                         U "中",
                                         NULL};
    desc d;
    (void)state;
    describe(&d, "bert", "", tokens, NULL);
    d.types[0] = d.types[1] = d.types[2] = LAR_TOKEN_CONTROL;
    d.v.unk = 0, d.v.cls = 1, d.v.sep = 2;
    lar_tokenizer *t = make(&d.v);
    EXPECT(t, "UNAFFABLE, Á中a", LAR_TOK_BOS, 1, 3, 4, 5, 7, 6, 10, 6, 2);
    EXPECT(t, "ab abc b", 0, 9, 0, 0);
    EXPECT(t, "[SEP]", LAR_TOK_SPECIAL, 2);
    EXPECT(t, "a\xff\xc3 b", 0, 6, 0);
    lar_tokenizer_free(t);
    d.v.lowercase = 0;
    t = make(&d.v);
    EXPECT(t, "A a", 0, 0, 6);
    lar_tokenizer_free(t);
}

static void test_raw_bpe(void **state)
{
    static const char *const tokens[] = {"<bos>", "a",  U,        "é",      "a" U,
                                         "\n\n",  "\n", "<0xFF>", "<0xC3>", NULL};
    static const char *const merges[] = {"a " U, NULL};
    desc d;
    (void)state;
    describe(&d, "gemma4", "", tokens, merges);
    d.types[0] = LAR_TOKEN_CONTROL;
    d.types[7] = d.types[8] = LAR_TOKEN_BYTE;
    d.v.bos = 0;
    lar_tokenizer *t = make(&d.v);
    EXPECT(t, "a é\n\n", LAR_TOK_BOS, 0, 4, 3, 5);
    EXPECT(t, "\n\xff\xc3", 0, 6, 7, 8);
    EXPECT_TEXT(t, false, "a \n\n", 0, 4, 5);
    lar_tokenizer_free(t);
}

/* ---- hostile descriptions
 * ---------------------------------------------------------------------------- */

static void refuse(const lar_vocab *v, lar_status want, const char *word)
{
    lar_tokenizer *t = NULL;
    lar_err e = {0};
    lar_status st = lar_tokenizer_new(v, &t, &e);
    assert_null(t);
    assert_int_equal(st, want);
    if (!strstr(e.msg, word))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, word);
}

static void test_refused(void **state)
{
    desc d;
    (void)state;
    describe_special(&d);
    d.v.model = (lar_str){"rwkv", 4};
    refuse(&d.v, LAR_EUNSUPPORTED, "\"rwkv\" is not known; known are gpt2, llama");
    describe_special(&d);
    d.v.pre = (lar_str){"no-such", 7};
    d.v.pre_regex = (lar_str){"", 0};
    refuse(&d.v, LAR_EUNSUPPORTED, "no-such");
    describe_special(&d);
    d.v.n_tokens = 0;
    refuse(&d.v, LAR_EFORMAT, "tokens");
    describe_special(&d);
    d.v.eos = 12;
    refuse(&d.v, LAR_EFORMAT, "eos_token_id: 12, but the vocabulary has 12 tokens");
    d.v.eos = -5;
    refuse(&d.v, LAR_EFORMAT, "eos_token_id: -5");
    describe_special(&d);
    d.v.bos = -1;
    d.v.add_bos = 1;
    refuse(&d.v, LAR_EFORMAT, "add_bos_token");
    static const char *const odd[] = {"ab", "", " ", "a ", " a", "a"};
    for (size_t i = 0; i < LAR_LEN(odd); i++) {
        describe_special(&d);
        d.merges[1] = (lar_str){odd[i], strlen(odd[i])};
        refuse(&d.v, LAR_EFORMAT, "merges[1]");
    }
    describe_special(&d);
    d.v.pre_regex = (lar_str){"(unclosed", 9};
    refuse(&d.v, LAR_EFORMAT, "pattern");
    describe_special(&d);
    d.v.model = (lar_str){"t5", 2};
    d.v.scores = NULL;
    refuse(&d.v, LAR_EFORMAT, "scores");
    d.v.scores = d.scores;
    d.scores[3] = (float)(1e38 * 1e38);
    refuse(&d.v, LAR_EFORMAT, "scores[3]");
}

static void test_endured(void **state)
{
    static const char *const tokens[] = {"",
                                         "a",
                                         "a",
                                         "",
                                         "b",
                                         "\xff\xfe",
                                         "<0xZZ>",
                                         "ab",
                                         "\xc4\xa0"
                                         "a",
                                         NULL};
    static const char *const merges[] = {"a b", "a b", "x y", "b zz", "a a", NULL};
    desc d;
    (void)state;
    describe(&d, "gpt2", "llama-bpe", tokens, merges);
    for (size_t i = 0; i < d.v.n_tokens; i++)
        d.types[i] = (int32_t)(i % 2 ? 1 : 0x7fffffff - (int32_t)i);
    d.v.pad = 12345; /* nothing stands on it */
    lar_tokenizer *t = make(&d.v);
    EXPECT(t, "ab a", 0, 7,
           8); /* the first of equal spellings; bytes without a token are left out */
    expect(t, "zz", 0, NULL, 0);
    lar_tokenizer_free(t);
}

/* A pattern of the file that would take for ever ends in an error. */
static void test_bad_pattern(void **state)
{
    desc d;
    lar_err e;
    lar_ids ids = {0};
    char text[4096];
    (void)state;
    describe_special(&d);
    memset(text, 'a', sizeof text);
    d.v.pre_regex = (lar_str){"(a+)+$b|x", 9};
    lar_tokenizer *t = make(&d.v);
    double begin = lar_clock();
    assert_int_equal(lar_tokenizer_encode(t, text, sizeof text, 0, &ids, &e), LAR_EFORMAT);
    assert_true(lar_clock() - begin < BOUND);
    assert_int_equal(ids.n, 0);
    lar_tokenizer_free(t);
    lar_ids_free(&ids);
}

static void test_no_memory(void **state)
{
    static const char *const paths[] = {DATA "bpe.gguf", DATA "spm.gguf", DATA "unigram.gguf",
                                        DATA "wordpiece.gguf"};
    (void)state;
    if (!oom_linked()) {
        print_message("[  SKIPPED ] allocations cannot be made to fail in this build\n");
        skip();
    }
    for (size_t k = 0; k < LAR_LEN(paths); k++) {
        vocab v = open_vocab(paths[k]);
        for (long n = 0;; n++) {
            lar_tokenizer *t = NULL;
            lar_ids ids = {0};
            lar_err e = {0};
            lar_buf b = {0};
            oom_fail_at(n);
            lar_status st = lar_tokenizer_new(&v.f.vocab, &t, &e);
            if (st == LAR_OK)
                st = lar_tokenizer_encode(t, "Hello <|im_end|> w\xff\xc3rld 123", 26,
                                          LAR_TOK_SPECIAL | LAR_TOK_BOS, &ids, &e);
            if (st == LAR_OK) {
                b = decode(t, &ids, true, false);
                st = b.oom ? LAR_ENOMEM : LAR_OK;
            }
            bool hit = oom_hit();
            oom_fail_at(-1);
            lar_buf_free(&b);
            lar_ids_free(&ids);
            lar_tokenizer_free(t);
            if (!hit) {
                assert_int_equal(st, LAR_OK);
                break;
            }
            if (st != LAR_ENOMEM)
                fail_msg("%s: allocation %ld failed and nobody noticed", paths[k], n);
        }
        close_vocab(&v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_vocab),    cmocka_unit_test(test_bpe_patterns),
        cmocka_unit_test(test_other_goldens),   cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_pathological),    cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_replacement),     cmocka_unit_test(test_clean_spaces),
        cmocka_unit_test(test_special),         cmocka_unit_test(test_no_types),
        cmocka_unit_test(test_known_ends),      cmocka_unit_test(test_spm_by_hand),
        cmocka_unit_test(test_unigram_by_hand), cmocka_unit_test(test_wordpiece_by_hand),
        cmocka_unit_test(test_raw_bpe),         cmocka_unit_test(test_refused),
        cmocka_unit_test(test_endured),         cmocka_unit_test(test_bad_pattern),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
