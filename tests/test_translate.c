/*
 * test_translate.c - a folder of Marian's to a GGUF file, and the task `translate`. Oracle: what
 * the engine that Firefox has makes of the same small random model (tests/data/marian, made by
 * tools/goldens/marian.py); the splitting of sentences by hand.
 */
#include "convert/convert.h"
#include "format/marian.h"
#include "generate_test.h"
#include "ops/variants.h"
#include "text/sentences.h"
#include <unistd.h>

#define DATA "tests/data/marian"
static char gguf[] = "/tmp/lar-test-marian-XXXXXX";

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *p = malloc(1 << 20);
    assert_non_null(f);
    assert_non_null(p);
    *n = fread(p, 1, (1 << 20) - 1, f);
    p[*n] = 0;
    fclose(f);
    return p;
}

static int set_up(void **state)
{
    lar_convert_options o = {0};
    lar_convert_result r;
    lar_err e = {0};
    (void)state;
    const int fd = mkstemp(gguf);
    if (fd < 0)
        return 1;
    close(fd);
    if (lar_convert_marian(DATA, gguf, &o, &r, &e) == LAR_OK)
        return 0;
    fprintf(stderr, "%s\n", e.msg);
    return 1;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(gguf);
}

static void translate(lar_runtime *rt, lar_model *m, const char *text, said *s)
{
    lar_request *r;
    *s = (said){0};
    assert_int_equal(lar_request_new(rt, "translate", &r, &s->e), LAR_OK);
    assert_int_equal(lar_request_set_model(r, m, &s->e), LAR_OK);
    assert_int_equal(lar_request_set_string(r, "text", text, &s->e), LAR_OK);
    s->request = r;
    s->st = lar_request_run(r, said_event, s, &s->e);
    lar_request_free(r);
}

/* Whatever the threads and the instruction set. */
static void test_golden(void **state)
{
    size_t n_source, n_want;
    char *source = read_file(DATA "/source.txt", &n_source),
         *want = read_file(DATA "/target.txt", &n_want);
    lar_cpu_features f;
    (void)state;
    lar_cpu_detect(&f);
    for (int v = 0; v < lar_n_variants; v++)
        for (int threads = 1; threads <= 3 && lar_variants[v]->usable(&f); threads++) {
            lar_runtime_options o = {
                .size = sizeof o, .threads = threads, .cpu = lar_variants[v]->name};
            lar_runtime *rt;
            lar_err e = {0};
            said s;
            assert_int_equal(lar_runtime_new(&o, &rt, &e), LAR_OK);
            lar_model *m = test_model_open(rt, gguf);
            translate(rt, m, source, &s);
            assert_int_equal(s.st, LAR_OK);
            assert_int_equal(s.text.n, n_want);
            assert_string_equal(s.text.p, want);
            assert_string_equal(json_string_value(json_object_get(s.result, "text")), want);
            said_free(&s);
            lar_model_free(m);
            lar_runtime_free(rt);
        }
    free(source);
    free(want);
}

/* A line by itself gives what it gives in company. */
static void test_alone(void **state)
{
    size_t n;
    char *source = read_file(DATA "/source.txt", &n), *want = read_file(DATA "/target.txt", &n);
    lar_runtime *rt = test_runtime(2);
    lar_model *m = test_model_open(rt, gguf);
    (void)state;
    for (char *from = source, *to = want; *from;) {
        said s;
        char *end = strchr(from, '\n'), *stop = strchr(to, '\n');
        *end = *stop = 0;
        translate(rt, m, from, &s);
        assert_int_equal(s.st, LAR_OK);
        assert_string_equal(s.text.p ? s.text.p : "", to);
        said_free(&s);
        from = end + 1;
        to = stop + 1;
    }
    lar_model_free(m);
    lar_runtime_free(rt);
    free(source);
    free(want);
}

static void test_lines(void **state)
{
    static const char *const texts[] = {"",    "\n",     "\n\n",     "a",
                                        "a\n", "a\n\nb", " \n a \n", "a\r\nb\r\n"};
    lar_runtime *rt = test_runtime(1);
    lar_model *m = test_model_open(rt, gguf);
    (void)state;
    for (size_t i = 0; i < LAR_LEN(texts); i++) {
        said s;
        size_t in = 0, out = 0;
        translate(rt, m, texts[i], &s);
        assert_int_equal(s.st, LAR_OK);
        for (const char *p = texts[i]; *p; p++)
            in += *p == '\n';
        for (size_t k = 0; k < s.text.n; k++)
            out += s.text.p[k] == '\n';
        assert_int_equal(in, out);
        said_free(&s);
    }
    lar_model_free(m);
    lar_runtime_free(rt);
}

static void test_refused(void **state)
{
    lar_runtime *rt = test_runtime(1);
    lar_model *m = test_model_open(rt, gguf), *chat = test_model_open(rt, "tests/data/tiny.gguf");
    lar_session *session;
    lar_request *r;
    lar_err e = {0};
    said s;
    (void)state;
    assert_int_equal(lar_session_new(m, NULL, &session, &e), LAR_EUNSUPPORTED);
    assert_non_null(strstr(e.msg, "translate"));
    translate(rt, chat, "a", &s);
    assert_int_equal(s.st, LAR_EUNSUPPORTED);
    assert_non_null(strstr(s.e.msg, "llama"));
    said_free(&s);
    assert_int_equal(lar_request_new(rt, "translate", &r, &e), LAR_OK);
    lar_request_set_model(r, m, &e);
    lar_request_set_string(r, "text", "a", &e);
    lar_request_set_string(r, "from", "de", &e);
    assert_int_equal(lar_request_run(r, NULL, NULL, &e), LAR_EARG);
    assert_string_equal(e.msg, "from: this model's is 'en', not 'de'");
    lar_request_free(r);
    lar_model_free(m);
    lar_model_free(chat);
    lar_runtime_free(rt);
}

/* Every cut, and a byte changed here and there, is an error or a model: never a crash. */
static void test_damaged(void **state)
{
    size_t n;
    char *p = read_file(DATA "/model.eneo.intgemm.alphas.bin", &n);
    lar_marian m;
    lar_err e = {0};
    (void)state;
    for (size_t cut = 0; cut < n; cut += cut < 20000 ? 7 : 1009) {
        char *copy = malloc(cut ? cut : 1);
        memcpy(copy, p, cut);
        assert_int_equal(lar_marian_read(copy, cut, &m, &e), LAR_EFORMAT);
        free(copy);
    }
    for (uint64_t i = 0; i < 3000; i++) {
        const size_t at = (size_t)(lar_random(5, i) % 12000);
        const char was = p[at];
        p[at] ^= (char)(1u << i % 8);
        if (lar_marian_read(p, n, &m, &e) == LAR_OK)
            lar_marian_free(&m);
        p[at] = was;
    }
    free(p);
    char *list = read_file(DATA "/lex.eneo.s2t.bin", &n);
    lar_shortlist sl;
    assert_int_equal(lar_shortlist_read(list, n, 112, &sl, &e), LAR_OK);
    assert_int_equal(sl.n_words, 112);
    assert_int_equal(lar_shortlist_read(list, n, 111, &sl, &e), LAR_EFORMAT);
    for (size_t i = 0; i < n; i++) {
        list[i] ^= 4;
        assert_int_equal(lar_shortlist_read(list, n, 112, &sl, &e), LAR_EFORMAT);
        list[i] ^= 4;
        assert_int_equal(lar_shortlist_read(list, i, 112, &sl, &e), LAR_EFORMAT);
    }
    free(list);
}

static void test_sentences(void **state)
{
    static const struct {
        const char *text;
        const char *want; /* '|' between sentences */
    } cases[] = {{"", ""},
                 {"  ", ""},
                 {"One. Two! Three? Four", "One.|Two!|Three?|Four"},
                 {" A b.  C d. ", "A b.|C d."},
                 {"It is 3.5 or more.", "It is 3.5 or more."},
                 {"etc. and so on. Then", "etc. and so on.|Then"},
                 {"He said \"Go.\" She went.", "He said \"Go.\"|She went."},
                 {"See this.[1, 2] Or that.", "See this.[1, 2]|Or that."},
                 {"Wait... \"what\" is it?! No.", "Wait... \"what\" is it?!|No."},
                 {"In 1999. 5 men came.", "In 1999.|5 men came."},
                 {"Is it [...] there?", "Is it [...] there?"},
                 {"\xc3\x89t\xc3\xa9. \xc3\xa9t\xc3\xa9. \xc3\x89t\xc3\xa9.",
                  "\xc3\x89t\xc3\xa9. \xc3\xa9t\xc3\xa9.|\xc3\x89t\xc3\xa9."}};
    (void)state;
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        char got[128] = "";
        size_t at = 0;
        lar_str s;
        while (lar_sentence_next((lar_str){cases[i].text, strlen(cases[i].text)}, &at, &s)) {
            strcat(got, *got ? "|" : "");
            strncat(got, s.p, s.n);
        }
        assert_string_equal(got, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),  cmocka_unit_test(test_alone),
        cmocka_unit_test(test_lines),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_sentences),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
