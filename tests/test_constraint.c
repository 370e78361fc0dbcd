/*
 * test_constraint.c - answers that keep to a grammar: whole or said to be cut, the same with and
 * without speculation, after reasoning only; what contradicts itself is refused.
 */
#include "generate_test.h"
#include "tasks/constraint.h"
#include <math.h>

static const char tiny_path[] = "tests/data/tiny.gguf";
static lar_runtime *rt;
static lar_model *tiny;

static int set_up(void **state)
{
    (void)state;
    rt = test_runtime(1);
    tiny = test_model_open(rt, tiny_path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lar_model_free(tiny);
    lar_runtime_free(rt);
    return 0;
}

static bool complete(const said *s)
{
    const json_t *v = json_object_get(s->result, "complete");
    assert_true(json_is_boolean(v));
    return json_is_true(v);
}

/* The answer is one of a few words, and ends by itself. */
static void test_words(void **state)
{
    (void)state;
    lar_session *s = test_session(tiny, 256, 0, NULL);
    for (int seed = 0; seed < 12; seed++) {
        char fields[300];
        snprintf(fields, sizeof fields,
                 "{\"prompt\":\"x\",\"seed\":%d,\"temp\":%d,\"ignore_eos\":%s,\"raw\":%s,"
                 "\"grammar\":\"root ::= \\\"yes\\\" | \\\"no\\\" | \\\"northern\\\"\"}",
                 seed, seed % 3, seed % 2 ? "true" : "false", seed % 4 ? "true" : "false");
        said a = ask(s, "generate", fields);
        const char *t = buf_text(&a.text);
        assert_true(!strcmp(t, "yes") || !strcmp(t, "no") || !strcmp(t, "northern"));
        assert_string_equal(stop_reason(&a), "end");
        assert_true(complete(&a));
        said_free(&a);
    }
    said a = ask(s, "generate", "{\"prompt\":\"x\",\"grammar\":\"root ::= \"}");
    assert_int_equal(a.text.n, 0); /* nothing is all that may be said */
    assert_true(complete(&a));
    said_free(&a);
    lar_session_free(s);
}

static void test_json(void **state)
{
    (void)state;
    static const char schema[] =
        "\"json_schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":"
        "{\"type\":\"string\",\"maxLength\":9},\"c\":{\"type\":\"array\",\"items\":{\"enum\":[null,"
        "true]},\"maxItems\":4}},\"required\":[\"a\",\"c\"]}";
    lar_session *s = test_session(tiny, 512, 0, NULL);
    int whole = 0;
    for (int seed = 0; seed < 20; seed++) {
        char fields[700];
        snprintf(fields, sizeof fields,
                 "{\"prompt\":\"x\",\"seed\":%d,\"temp\":2,\"top_k\":0,\"top_p\":1,\"min_p\":0,"
                 "\"max_tokens\":%d,%s}",
                 seed, seed == 7 ? 3 : 200, seed % 2 ? schema : "\"json_object\":true");
        said a = ask(s, "generate", fields);
        json_t *v = json_loadb(a.text.p ? a.text.p : "", a.text.n, JSON_REJECT_DUPLICATES, NULL);
        whole += complete(&a);
        if (complete(&a) && !json_is_object(v) && seed % 2) /* other keys may come twice */
            fail_msg("%s", buf_text(&a.text));
        if (!complete(&a)) {
            assert_string_equal(stop_reason(&a), "length");
            assert_non_null(strstr(buf_text(&a.notice), "before its grammar was complete"));
            assert_null(v);
        }
        if (v && seed % 2) {
            assert_true(json_is_integer(json_object_get(v, "a")));
            assert_true(json_is_array(json_object_get(v, "c")));
        }
        json_decref(v);
        said_free(&a);
    }
    assert_true(whole >= 8);
    lar_session_free(s);
}

/* Guesses are checked by the same filter: the same answer as without. */
static void test_speculation(void **state)
{
    (void)state;
    static const char grammar[] =
        "\"grammar\":\"root ::= (\\\"one two three \\\" | \\\"one \\\" [a-f]{2,5} \\\" \\\"){6} "
        "\\\"!\\\"\"";
    for (int seed = 0; seed < 6; seed++) {
        said a[2];
        for (int on = 0; on < 2; on++) {
            char fields[500];
            lar_session *s = test_session(tiny, 256, 0, NULL);
            snprintf(
                fields, sizeof fields,
                "{\"prompt\":\"one two three one two three\",\"raw\":true,\"seed\":%d,\"temp\":"
                "%d,\"speculate\":\"%s\",\"draft_min\":%d,%s}",
                seed, seed % 2, on ? "ngram" : "off", on ? 4 : 0, grammar);
            a[on] = ask(s, "generate", fields);
            lar_session_free(s);
        }
        same_tokens(&a[0], &a[1]);
        assert_true(complete(&a[1]));
        said_free(&a[0]);
        said_free(&a[1]);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *message;
    } bad[] = {
        {"{\"prompt\":\"x\",\"grammar\":\"root ::= x\"}",
         "line 1, column 10: there is no rule 'x'"},
        {"{\"prompt\":\"x\",\"json_schema\":{\"items\":{\"not\":{}}}}",
         "#/items: the keyword 'not'"},
        {"{\"prompt\":\"x\",\"json_object\":true,\"grammar\":\"root ::= \"}",
         "want one of grammar"},
    };
    lar_session *s = test_session(tiny, 64, 0, NULL);
    for (size_t i = 0; i < LAR_LEN(bad); i++) {
        said a = ask_any(s, "generate", bad[i].fields);
        if (a.st != LAR_EARG || !strstr(a.e.msg, bad[i].message))
            fail_msg("%s: %s", bad[i].fields, a.st ? a.e.msg : "accepted");
        said_free(&a);
    }
    lar_session_free(s);
}

/* ---- reasoning first
 * ---------------------------------------------------------------------------------- */

static int32_t token_of(char c)
{
    for (int32_t id = 0; (size_t)id < lar_tokenizer_size(tiny->vocab.tok); id++) {
        const lar_str s = lar_token_tree_text(atomic_load(&tiny->tree), id);
        if (s.n == 1 && *s.p == c)
            return id;
    }
    fail_msg("no token '%c'", c);
    return -1;
}

static bool allowed(lar_constraint *c, int32_t id)
{
    float x[320];
    lar_err e;
    for (size_t i = 0; i < LAR_LEN(x); i++)
        x[i] = 1;
    if (c->filter.apply(c, x, LAR_LEN(x), &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return x[id] > 0;
}

static void say(lar_constraint *c, char letter)
{
    lar_err e;
    if (c->filter.accept(c, token_of(letter), &e) != LAR_OK)
        fail_msg("'%c': %s", letter, e.msg);
}

static void test_thinking(void **state)
{
    (void)state;
    const lar_constraint_options o = {.grammar = "root ::= \"ab\" \"c\"?", .may_think = true};
    lar_answer a;
    lar_constraint c;
    lar_err e;
    const int32_t end = lar_tokenizer_eos(tiny->vocab.tok);
    lar_answer_init(&a, tiny->vocab.tok, NULL, 0, true, true);
    assert_int_equal(lar_constraint_init(&c, tiny, &o, &a, &e), LAR_OK);
    for (const char *p = "z}</think"; *p; p++) {
        assert_true(allowed(&c, token_of('q')));
        assert_false(allowed(&c, end)); /* there would be no answer */
        say(&c, *p);
        if (*p == '<' || a.in.n)
            lar_buf_putc(&a.in, *p); /* as lar_answer_put holds it back */
    }
    assert_false(lar_constraint_whole(&c));
    assert_true(allowed(&c, token_of('>')));
    say(&c, '>');
    lar_buf_clear(&a.in);
    assert_true(allowed(&c, token_of('\n')) && allowed(&c, token_of('a')));
    assert_false(allowed(&c, token_of('b')) || allowed(&c, end));
    say(&c, '\n');
    assert_false(allowed(&c, token_of('\n'))); /* once */
    say(&c, 'a');
    assert_true(allowed(&c, token_of('b')));
    assert_false(allowed(&c, token_of('a')) || allowed(&c, end) || lar_constraint_whole(&c));
    say(&c, 'b');
    assert_true(allowed(&c, end) && allowed(&c, token_of('c')) && lar_constraint_whole(&c));
    assert_false(lar_constraint_done(&c));
    say(&c, 'c');
    assert_true(lar_constraint_done(&c));
    lar_constraint_free(&c);
    lar_answer_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),       cmocka_unit_test(test_json),
        cmocka_unit_test(test_speculation), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_thinking),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
