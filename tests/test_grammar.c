/*
 * test_grammar.c - GBNF: what grammars accept and refuse, messages; masks against trying every
 * token by its bytes; hostile grammars in bounded time and memory; allocations that fail.
 */
#include "base/os.h"
#include "oom.h"
#include "tasks/vocab.h"
#include "text/grammar.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define SHARED "../shared/vocab/ggml-vocab-"

static lar_grammar *gbnf(const char *text)
{
    lar_err e;
    lar_grammar *g;
    if (lar_grammar_gbnf(text, strlen(text), &g, &e) != LAR_OK)
        fail_msg("%s\n%s", text, e.msg);
    return g;
}

/* 'w': whole, 'b': the beginning of a whole one, '-': neither. */
static char judge(const lar_grammar *g, const char *p, size_t n)
{
    lar_err e;
    lar_matcher *m;
    bool fits = false;
    char verdict = '-';
    if (lar_matcher_new(g, NULL, &m, &e) != LAR_OK ||
        lar_matcher_feed(m, p, n, &fits, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    if (fits)
        verdict = lar_matcher_can_end(m) ? 'w' : 'b';
    /* Byte by byte it is the same. */
    lar_matcher *by_byte;
    bool still = true;
    assert_int_equal(lar_matcher_new(g, NULL, &by_byte, &e), LAR_OK);
    for (size_t i = 0; i < n && still; i++)
        assert_int_equal(lar_matcher_feed(by_byte, p + i, 1, &still, &e), LAR_OK);
    assert_int_equal(still, fits);
    if (fits)
        assert_int_equal(lar_matcher_can_end(by_byte), lar_matcher_can_end(m));
    lar_matcher_free(m);
    lar_matcher_free(by_byte);
    return verdict;
}

/* ---- what grammars accept
 * -------------------------------------------------------------------------- */

#define JSON                                                                                       \
    "root ::= value\n"                                                                             \
    "value ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"          \
    "object ::= \"{\" ws ( string \":\" ws value (\",\" ws string \":\" ws value)* )? \"}\" ws\n"  \
    "array ::= \"[\" ws ( value (\",\" ws value)* )? \"]\" ws\n"                                   \
    "string ::= \"\\\"\" ( [^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" "          \
    "[0-9a-fA-F]{4}) )* \"\\\"\" ws\n"                                                             \
    "number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9]+)? ws\n"    \
    "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n"
#define SUM                                                                                        \
    "# sums\nroot  ::= (expr \"=\" ws term \"\\n\")+\nexpr  ::= term ([-+*/] term)*\n"             \
    "term  ::= ident | num | \"(\" ws expr \")\" ws\nident ::= [a-z] [a-z0-9_]* ws\n"              \
    "num   ::= [0-9]+ ws\nws    ::= [ \\t\\n]*\n"

static const struct {
    const char *grammar;
    struct {
        char verdict;
        const char *text;
    } texts[12];
} accepts[] = {
    {"root ::= \"yes\" | \"no\"",
     {{'w', "yes"}, {'w', "no"}, {'b', "y"}, {'b', ""}, {'-', "yess"}}},
    {"root ::=", {{'w', ""}, {'-', "a"}}},
    {"root ::= | \"a\" |", {{'w', ""}, {'w', "a"}, {'-', "aa"}}},
    {"root::=\"a\"b\r\nb::=[b-d]\r\n", {{'w', "ab"}, {'w', "ad"}, {'-', "ae"}, {'b', "a"}}},
    {"root ::= [^a-c\\n]+", {{'w', "xyz"}, {'-', "a"}, {'-', "x\n"}, {'w', "é€😀"}, {'b', ""}}},
    {"root ::= .",
     {{'w', "x"},
      {'w', "\n"},
      {'w', "😀"},
      {'b', "\xf0\x9f\x98"},
      {'-', "\xff"},
      {'-', "\xc0\x80"},
      {'-', "\xed\xa0\x80"},
      {'-', "\xf4\x90\x80\x80"}}},
    {"root ::= [ぁ-ゟ]+", {{'w', "ひらがな"}, {'-', "カ"}, {'b', "\xe3\x81"}, {'-', "a"}}},
    {"root ::= [\\u00E9\\U0001F600\\x41]{2}", {{'w', "éA"}, {'w', "😀é"}, {'b', "A"}, {'-', "AAA"}}},
    {"root ::= \"a\"{2,4} \"b\"{0,1} \"c\"{3} \"d\"{1,}",
     {{'w', "aacccd"},
      {'w', "aaaabcccddd"},
      {'-', "aaaaa"},
      {'-', "acccd"},
      {'-', "aaccd"},
      {'b', "aabccc"}}},
    {"root ::= (\"a\" | \"b\"? \"c\")* \"d\"+",
     {{'w', "d"}, {'w', "abcacddd"}, {'-', "abd"}, {'b', "ab"}, {'-', "da"}}},
    {"root ::= (\"a\"*)*", {{'w', ""}, {'w', "aaaa"}, {'-', "b"}}},
    {"root ::= ((\"a\"?){3}){2}", {{'w', ""}, {'w', "aaaaaa"}, {'-', "aaaaaaa"}}},
    {"root ::= x\nx ::= \"(\" x \")\" | \"a\"",
     {{'w', "a"}, {'w', "(((a)))"}, {'b', "((a)"}, {'-', "(a))"}, {'-', "()"}}},
    {"root ::= a b c\na ::= \"x\" | b\nb ::= \"y\"? c\nc ::= |\"z\"",
     {{'w', ""},
      {'w', "xyzz"},
      {'w', "yzyzz"},
      {'w', "zzz"},
      {'w', "zyz"},
      {'-', "xx"},
      {'-', "zzzz"}}},
    {"root ::= [a-z]+ (\",\" root)?", {{'w', "a,b,cc"}, {'b', "a,"}, {'-', ",a"}}},
    {"root ::= s\ns ::= \"a\" s s | \"b\"",
     {{'w', "abb"}, {'w', "aabbb"}, {'b', "aab"}, {'-', "bb"}}},
    {"root ::= \"a\" |\n  \"b\" | # end\n  \"c\"\nx ::= \"never\"", {{'w', "c"}, {'-', "n"}}},
    {"root ::= \"\\\\ \\\" \\t\\n\\r \\x41\"", {{'w', "\\ \" \t\n\r A"}}},
    {"root ::= [a\\-z\\]\\^-]+", {{'w', "a-z]^"}, {'-', "b"}}},
    {"root-1_B ::= \"x\"\nroot ::= root-1_B root-1_B", {{'w', "xx"}}},
    {JSON,
     {{'w', "{\"a\": [1, -2.5e+3, true, null], \"b\": {}}"},
      {'w', "\"\\u00e9\\n\""},
      {'b', "{\"a\": [1,"},
      {'-', "{a"},
      {'-', "[1,]"},
      {'-', "\"\n\""},
      {'b', "tru"},
      {'w', "[[[[[[[[[[]]]]]]]]]]"},
      {'-', "[]]"},
      {'b', "-"},
      {'w', "0"}}},
    {SUM, {{'w', "a1 +(2*b) = c\n"}, {'w', "a=1\nb=2\n"}, {'-', "a+=1\n"}, {'b', "((a"}}},
};

static void test_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < LAR_LEN(accepts); i++) {
        lar_grammar *g = gbnf(accepts[i].grammar);
        for (size_t k = 0; k < LAR_LEN(accepts[i].texts) && accepts[i].texts[k].text; k++) {
            const char *text = accepts[i].texts[k].text;
            const char got = judge(g, text, strlen(text));
            if (got != accepts[i].texts[k].verdict)
                fail_msg("%s\n\"%s\": %c, want %c", accepts[i].grammar, text, got,
                         accepts[i].texts[k].verdict);
        }
        lar_grammar_free(g);
    }
}

static const struct {
    const char *grammar, *message;
} faults[] = {
    {"", "there is no rule 'root'"},
    {"roots ::= \"a\"", "there is no rule 'root'"},
    {"root ::= a\n\nb ::= \"b\"", "line 1, column 10: there is no rule 'a'"},
    {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: this rule is defined twice"},
    {"root ::= \"é\" \"abc", "line 1, column 14: this literal has no closing quote"},
    {"root ::= [abc", "line 1, column 10: this class has no closing bracket"},
    {"root ::= [b-a]", "column 11: this range ends before it begins"},
    {"root ::= []", "no character fits this class"},
    {"root ::= (\"a\"", "column 10: this group has no closing parenthesis"},
    {"root ::= \"a\")", "want the end of the line"},
    {"root ::= *", "want a literal, a class"},
    {"root = \"a\"", "column 6: want '::=' after a rule's name"},
    {"\n\n  ::= \"a\"", "line 3, column 3: want a rule"},
    {"root ::= \"a\"{3,2}", "at most fewer repetitions than at least"},
    {"root ::= \"a\"{x}", "want a number of repetitions"},
    {"root ::= \"a\"{99999999999999999999}", "more than 100000 repetitions"},
    {"root ::= \"a\"{2", "want '}'"},
    {"root ::= \"\\q\"", "column 11: unknown escape"},
    {"root ::= \"\\xZZ\"", "want 2 hexadecimal digits"},
    {"root ::= \"\\uD800\"", "this is no Unicode character"},
    {"root ::= \"\\U00110000\"", "this is no Unicode character"},
    {"root ::= \"\xff\"", "not valid UTF-8"},
    {"root ::= <think>", "tokens in angle brackets are not supported"},
    {"root ::= root \"a\" | \"b\"", "rule 'root' can begin with itself (left recursion)"},
    {"root ::= a\na ::= \"x\"? b\nb ::= c*  a \"y\" | \"z\"\nc ::= \"c\"", "(left recursion)"},
    {"root ::= root", "no text is ever whole by rule 'root'"},
    {"root ::= \"a\" root", "no text is ever whole by rule 'root'"},
    {"root ::= ((\"a\"{1000}){1000}){1000}", "too large"},
    {"root ::= \"a\"????????? ", "too many repetitions of repetitions"},
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < LAR_LEN(faults); i++) {
        lar_err e = {0};
        lar_grammar *g = NULL;
        const lar_status st =
            lar_grammar_gbnf(faults[i].grammar, strlen(faults[i].grammar), &g, &e);
        if (st != LAR_EARG || g || !strstr(e.msg, faults[i].message))
            fail_msg("%s\n%s, want %s", faults[i].grammar, st ? e.msg : "accepted",
                     faults[i].message);
    }
}

/* ---- masks
 * -------------------------------------------------------------------------------------------- */

typedef struct vocab {
    lar_gguf *g;
    lar_vocab_file f;
    lar_token_tree *tree;
} vocab;

static bool open_vocab(vocab *v, const char *name)
{
    char path[200];
    lar_err e;
    snprintf(path, sizeof path, SHARED "%s.gguf", name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        print_message("%s is not there: skipped\n", path);
        return false;
    }
    fclose(f);
    if (lar_gguf_open(path, &v->g, &e) != LAR_OK || lar_vocab_open(v->g, &v->f, &e) != LAR_OK ||
        lar_token_tree_new(v->f.tok, &v->tree, &e) != LAR_OK)
        fail_msg("%s: %s", path, e.msg);
    return true;
}

static void close_vocab(vocab *v)
{
    lar_token_tree_free(v->tree);
    lar_vocab_free(&v->f);
    lar_gguf_close(v->g);
}

/* The mask is what trying each token says; *n allowed. */
static void same_mask(lar_matcher *m, const vocab *v, bool first, float *x, int32_t *allowed,
                      size_t *n)
{
    lar_err e;
    const size_t n_ids = lar_tokenizer_size(v->f.tok), more = 7;
    for (size_t i = 0; i < n_ids + more; i++)
        x[i] = (float)i;
    if (lar_matcher_apply(m, first, x, n_ids + more, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    *n = 0;
    for (size_t i = 0; i < n_ids + more; i++) {
        bool yes = false;
        if (lar_matcher_allows(m, (int32_t)i, first, &yes, &e) != LAR_OK)
            fail_msg("%s", e.msg);
        if (x[i] != (yes ? (float)i : -INFINITY))
            fail_msg("token %zu: logit %g, but by its bytes it is %s", i, (double)x[i],
                     yes ? "allowed" : "not");
        if (yes)
            allowed[(*n)++] = (int32_t)i;
    }
}

static const char *const masked[] = {
    JSON,
    SUM,
    "root ::= [a-zA-Z0-9 ]{3,40} \"!\"",
    "root ::= [^\\n]{0,7} \"\\n\" root?",
    "root ::= (\"\\\"\" [^\"\\\\\\x00-\\x1F]{2,12} \"\\\", \")+",
    "root ::= ([ぁ-ゟ] | [一-龯] | \"。\"){1,20} [é-ÿ]*",
    "root ::= \"alpha\" | \"alphabet\" | \"beta\" | \"al\" \"go\"?",
    "root ::= \" \"? \"x\" [ \\n]*",
};

/* At places that a walk by chance comes to. */
static void test_masks(void **state)
{
    static const char *const names[] = {"gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"};
    (void)state;
    for (size_t i = 0; i < LAR_LEN(names); i++) {
        vocab v;
        lar_err e;
        if (!open_vocab(&v, names[i]))
            continue;
        const size_t n_ids = lar_tokenizer_size(v.f.tok);
        float *x = lar_alloc_array(n_ids + 7, sizeof *x);
        int32_t *allowed = lar_alloc_array(n_ids + 7, sizeof *allowed);
        for (size_t k = 0; k < LAR_LEN(masked); k++) {
            lar_grammar *g = gbnf(masked[k]);
            lar_matcher *m;
            assert_int_equal(lar_matcher_new(g, v.tree, &m, &e), LAR_OK);
            for (uint64_t turn = 0; turn < 12; turn++) {
                size_t n;
                bool fits;
                same_mask(m, &v, turn == 0, x, allowed, &n);
                assert_true(n > 0);
                const int32_t id = allowed[lar_random(i * 100 + k, turn) % n];
                lar_str s = lar_token_tree_text(v.tree, id);
                if (!s.n)
                    break; /* an end */
                if (turn == 0 && lar_tokenizer_drops_space(v.f.tok) && *s.p == ' ') {
                    s.p++;
                    s.n--;
                }
                assert_int_equal(lar_matcher_feed(m, s.p, s.n, &fits, &e), LAR_OK);
                assert_true(fits);
            }
            lar_matcher_free(m);
            lar_grammar_free(g);
        }
        lar_free(x);
        lar_free(allowed);
        close_vocab(&v);
    }
}

/* ---- hostile grammars
 * ----------------------------------------------------------------------------------- */

/* Seconds that any of these may take even under sanitizers on a busy machine; what is not bounded
 * takes for ever. */
#define BOUND 60.0

static void repeat(lar_buf *b, const char *what, size_t times)
{
    for (size_t i = 0; i < times; i++)
        lar_buf_puts(b, what);
}

/* Read or refused, in bounded time and memory. */
static void test_hostile_texts(void **state)
{
    (void)state;
    static const struct {
        const char *before, *again, *after;
        size_t times;
    } texts[] = {
        {"root ::= ", "(", "", 200000},
        {"root ::= ", "(", "\"a\"", 60},
        {"root ::= \"", "a", "\"", 1 << 20},
        {"root ::= \"x\"", "| \"ab\"", "", 200000},
        {"root ::= [", "a-z", "]", 200000},
        {"root ::= ", "[^a]{100}", "", 2000},
        {"root ::= a\n", "a", " ::= \"b\"", 100000},
        {"root ::= \"a\"", "?", "", 100000},
        {"root ::= (", "\"a\"? ", ")*", 20000},
        {"root ::= ", "(\"a\"? ", "", 50},
        {"", "#\n", "", 1 << 20},
        {"root ::= ", "a ", "\na ::= \"a\"?", 20000},
    };
    for (size_t i = 0; i < LAR_LEN(texts); i++) {
        lar_buf b = {0};
        lar_err e = {0};
        lar_grammar *g = NULL;
        const double t0 = lar_clock();
        lar_buf_puts(&b, texts[i].before);
        repeat(&b, texts[i].again, texts[i].times);
        lar_buf_puts(&b, texts[i].after);
        const lar_status st = lar_grammar_gbnf(b.p, b.n, &g, &e);
        if (st != LAR_OK && st != LAR_EARG)
            fail_msg("text %zu: %s", i, e.msg);
        if (g)
            assert_true(lar_grammar_bytes(g) < 100u << 20);
        assert_true(lar_clock() - t0 < BOUND);
        lar_grammar_free(g);
        lar_buf_free(&b);
    }
    /* Rules that each begin with the next. */
    lar_buf b = {0};
    lar_err e;
    lar_grammar *g = NULL;
    lar_buf_puts(&b, "root ::= r0\n");
    for (int i = 0; i < 1000; i++)
        lar_buf_printf(&b, "r%d ::= r%d \"x\" | r%d\n", i, i + 1, i + 1);
    lar_buf_puts(&b, "r1000 ::= \"y\"");
    assert_int_equal(lar_grammar_gbnf(b.p, b.n, &g, &e), LAR_OK);
    assert_int_equal(judge(g, "yxx", 3), 'w');
    lar_grammar_free(g);
    lar_buf_free(&b);
}

/* Many ways to read a text: merged, or refused as too many. */
static void test_ambiguity(void **state)
{
    (void)state;
    static const struct {
        const char *grammar, *again, *after;
        size_t times;
        bool may_fail;
    } texts[] = {
        {"root ::= s\ns ::= \"a\" s \"b\" | \"a\" s \"c\" | \"a\"", "a", "bcb", 3000, false},
        {"root ::= s\ns ::= \"a\" s s | \"a\"", "a", "", 200, true},
        {"root ::= s\ns ::= \"a\" s \"b\" | \"a\" \"a\" s \"c\" | \"a\"", "a", "bc", 300, true},
        {"root ::= (\"a\"* \"a\"* \"a\"*)*", "a", "", 3000, false},
        {"root ::= x x x x x x x x\nx ::= \"a\"{0,50}", "a", "", 400, false},
        {"root ::= a a a\na ::= b b b\nb ::= c c c\nc ::= \"x\"? \"x\"?", "x", "", 54, false},
        {"root ::= v\nv ::= \"[\" v \"]\" | \"0\"", "[", "0]]", 300000, false},
    };
    for (size_t i = 0; i < LAR_LEN(texts); i++) {
        lar_grammar *g = gbnf(texts[i].grammar);
        lar_matcher *m;
        lar_buf b = {0};
        lar_err e;
        bool fits = false;
        lar_status st = LAR_OK;
        const double t0 = lar_clock();
        assert_int_equal(lar_matcher_new(g, NULL, &m, &e), LAR_OK);
        repeat(&b, texts[i].again, texts[i].times);
        lar_buf_puts(&b, texts[i].after);
        for (size_t at = 0; at < b.n && st == LAR_OK; at += 4) {
            st = lar_matcher_feed(m, b.p + at, LAR_MIN((size_t)4, b.n - at), &fits, &e);
            assert_true(st != LAR_OK || fits);
        }
        if (st != LAR_OK && (st != LAR_EARG || !texts[i].may_fail))
            fail_msg("text %zu: %s", i, e.msg);
        assert_true(lar_matcher_bytes(m) < 200u << 20);
        assert_true(lar_clock() - t0 < BOUND);
        lar_matcher_free(m);
        lar_grammar_free(g);
        lar_buf_free(&b);
    }
}

/* ---- allocations that fail
 * --------------------------------------------------------------------------------- */

static lar_status use(const char *grammar, const char *text, lar_err *e)
{
    lar_grammar *g = NULL;
    lar_matcher *m = NULL;
    bool fits = true;
    lar_status st = lar_grammar_gbnf(grammar, strlen(grammar), &g, e);
    if (st == LAR_OK)
        st = lar_matcher_new(g, NULL, &m, e);
    for (; st == LAR_OK && *text && fits; text++)
        st = lar_matcher_feed(m, text, 1, &fits, e);
    if (st == LAR_OK)
        assert_true(fits);
    lar_matcher_free(m);
    lar_grammar_free(g);
    return st;
}

static void test_allocations(void **state)
{
    (void)state;
    if (!oom_linked())
        skip();
    for (long n = 0;; n++) {
        lar_err e = {0};
        oom_fail_at(n);
        const lar_status st = use(JSON, "{\"a\": [1, {\"é\": null}]}", &e);
        const bool hit = oom_hit();
        oom_fail_at(-1);
        if (!hit) {
            assert_int_equal(st, LAR_OK);
            break;
        }
        if (st != LAR_ENOMEM)
            fail_msg("allocation %ld: %s", n, st ? e.msg : "success");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),   cmocka_unit_test(test_faults),
        cmocka_unit_test(test_masks),     cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_ambiguity), cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
