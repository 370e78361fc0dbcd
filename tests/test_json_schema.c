/*
 * test_json_schema.c - schemas to grammars: what they accept and refuse, what is refused by name
 * and where, texts made by chance; allocations that fail. tools/schema-parity asks Python's
 * jsonschema.
 */
#include "base/os.h"
#include "oom.h"
#include "text/grammar.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static lar_status compile(const char *text, lar_grammar **g, lar_err *e)
{
    json_error_t je;
    json_t *schema = json_loads(text, JSON_DECODE_ANY, &je);
    if (!schema)
        fail_msg("%s: %s", text, je.text);
    const lar_status st = lar_grammar_json_schema(schema, g, e);
    json_decref(schema);
    return st;
}

static bool accepts(const lar_grammar *g, const char *text)
{
    lar_matcher *m;
    lar_err e;
    bool fits;
    assert_int_equal(lar_matcher_new(g, NULL, &m, &e), LAR_OK);
    assert_int_equal(lar_matcher_feed(m, text, strlen(text), &fits, &e), LAR_OK);
    fits = fits && lar_matcher_can_end(m);
    lar_matcher_free(m);
    return fits;
}

/* Texts separated by blanks or, where they hold some, by line ends: those after "!" are refused. */
static const struct {
    const char *schema, *texts[14];
} cases[] = {
    {"{\"type\":\"null\"}", {"null", "!", "0", "", "nul"}},
    {"{\"type\":\"boolean\"}", {"true", "false", "!", "0", "True"}},
    {"{\"type\":\"integer\"}", {"0", "-1", "42", "!", "-0", "01", "1.0", "1e3", "\"1\""}},
    {"{\"type\":\"number\"}", {"0", "-1.5", "2e10", "1.25E-3", "!", ".5", "1.", "01", "NaN"}},
    {"{\"type\":[\"string\",\"null\"]}", {"\"\"", "null", "\"\\u00e9\\n\"", "!", "0", "\"\n\""}},
    {"true", {"1", "[]", "{\"a\": [1, {}]}", "\"x\"", "!", "nil", "[1,]", "{\"a\"}"}},
    {"{}", {"null", "!", ""}},
    {"{\"enum\":[1,\"a\\\"b\",null,[1,{\"x\":2}],1.5]}",
     {"1", "\"a\\\"b\"", "null", "[1,{\"x\":2}]", "[ 1, {\"x\": 2} ]", "1.5", "!", "2", "\"a\""}},
    {"{\"const\":\"é\"}", {"\"é\"", "!", "\"e\""}},
    {"{\"type\":\"string\",\"enum\":[1,\"a\",\"abc\"],\"minLength\":2}",
     {"\"abc\"", "!", "1", "\"a\""}},
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
     {"\"ab\"", "\"a\\n\"", "\"é€😀\"", "\"\\u00e9\\\"\"", "!", "\"a\"", "\"abcd\"",
      "\"\\ud800a\""}},
    {"{\"minimum\":3}", {"3", "10", "3.25", "!", "2", "-4", "\"x\"", "2.99"}},
    {"{\"type\":\"integer\",\"minimum\":-13,\"exclusiveMaximum\":205}",
     {"-13", "-1", "0", "99", "204", "!", "-14", "205", "300", "1000", "007"}},
    {"{\"type\":\"integer\",\"exclusiveMinimum\":98,\"maximum\":1002}",
     {"99", "100", "999", "1000", "1002", "!", "98", "1003", "9", "0"}},
    {"{\"type\":\"integer\",\"minimum\":0.5,\"maximum\":3.5}", {"1", "3", "!", "0", "4"}},
    {"{\"type\":\"number\",\"minimum\":-0.5,\"exclusiveMaximum\":1.25}",
     {"-0.5", "-0.49", "0", "0.0", "1", "1.24", "1.249999", "!", "-0.51", "1.25", "1.3", "2",
      "-1"}},
    {"{\"type\":\"number\",\"exclusiveMinimum\":0}",
     {"1", "0.1", "0.000001", "!", "0", "0.0", "-1"}},
    {"{\"type\":\"string\",\"pattern\":\"^[a-c]{2,3}$\"}",
     {"\"ab\"", "\"abc\"", "!", "\"a\"", "\"abcd\"", "\"xab\""}},
    {"{\"type\":\"string\",\"pattern\":\"b+\"}", {"\"b\"", "\"abba\"", "!", "\"aa\"", "\"\""}},
    {"{\"type\":\"string\",\"pattern\":\"^a|b$\"}", {"\"axx\"", "\"xxb\"", "!", "\"xax\""}},
    {"{\"pattern\":\"^(?:\\\\d{3}-)?[^\\\\s\\\"]\\\\\\\\.\\\\.$\"}",
     {"\"123-x\\\\y.\"", "\"z\\\\\\\".\"", "!", "\"12-x\\\\y.\"", "\" \\\\y.\"", "\"x\\\\yy\""}},
    {"{\"type\":\"string\",\"format\":\"date\"}",
     {"\"2024-02-29\"", "\"1999-12-31\"", "!", "\"2023-02-29\"", "\"2024-13-01\"", "\"1900-02-29\"",
      "\"2024-04-31\""}},
    {"{\"type\":\"string\",\"format\":\"date-time\"}",
     {"\"2024-02-29T23:59:59Z\"", "\"2024-01-01T00:00:00.5+01:00\"", "!", "\"2024-01-01\"",
      "\"2024-01-01T24:00:00Z\""}},
    {"{\"format\":\"uuid\"}", {"\"123e4567-e89b-12d3-a456-426614174000\"", "!", "\"123e4567\""}},
    {"{\"format\":\"ipv4\"}", {"\"127.0.0.1\"", "!", "\"256.0.0.1\"", "\"1.2.3\"", "\"01.2.3.4\""}},
    {"{\"format\":\"ipv6\"}",
     {"\"::1\"", "\"fe80::1:2\"", "\"1:2:3:4:5:6:7:8\"", "!", "\"1::2::3\""}},
    {"{\"format\":\"email\"}", {"\"joe@example.com\"", "!", "\"joe\"", "\"@x\""}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}",
     {"[1]", "[1,2,3]", "[ 1, 2 ]", "[\n  1,\n  2\n]", "!", "[]", "[1,2,3,4]", "[\"a\"]",
      "[1 ,2]"}},
    {"{\"type\":\"array\",\"maxItems\":0}", {"[]", "!", "[1]"}},
    {"{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":{\"type\":\"null\"}"
     "}",
     {"[]", "[1]", "[1,\"a\"]", "[1,\"a\",null,null]", "!", "[\"a\"]", "[1,2]", "[1,\"a\",1]"}},
    {"{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":false,\"minItems\":"
     "2}",
     {"[1,\"a\"]", "!", "[1]", "[]", "[1,\"a\",null]"}},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"null\"},"
     "\"c\":true},\"required\":[\"b\"]}",
     {"{\"b\":null}", "{\"a\": 1, \"b\": null, \"c\": []}", "{\"b\":null,\"c\":1}", "!", "{}",
      "{\"a\":1}", "{\"b\":null,\"a\":1}", "{\"b\":null,\"d\":1}", "{\"b\":null,}",
      "{,\"b\":null}"}},
    {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"integer\"}}}",
     {"{}", "{\"a\":1}", "{\"b\":1}", "{\"a\":1,\"b\":2}", "!", "{\"a\":\"x\"}", "{ }", "[]"}},
    {"{\"type\":\"object\",\"properties\":{\"ab\":{\"type\":\"null\"}},\"additionalProperties\":"
     "{\"type\":\"integer\"}}",
     {"{}", "{\"a\":1}", "{\"abc\":1}", "{\"ab\":null,\"x\":1,\"y\":2}", "{\"\":0}", "!",
      "{\"ab\":1}", "{\"x\":null}", "{\"a\\u0062\":1}"}},
    {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"},\"minProperties\":1,"
     "\"maxProperties\":2}",
     {"{\"a\":1}", "{\"a\":1,\"b\":2}", "!", "{}", "{\"a\":1,\"b\":2,\"c\":3}"}},
    {"{\"type\":\"object\",\"required\":[\"x\",\"y\"]}",
     {"{\"x\":1,\"y\":[]}", "{\"x\":1,\"y\":2,\"z\":3}", "!", "{\"x\":1}"}},
    {"{\"type\":\"object\"}", {"{}", "{\"a\":{\"b\":[null]}}", "!", "[]"}},
    {"{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\",\"minimum\":5}]}",
     {"\"x\"", "5", "!", "4", "null"}},
    {"{\"anyOf\":[{\"enum\":[\"a\",1]},{\"type\":\"string\",\"format\":\"ipv4\"}]}",
     {"\"a\"", "1", "\"1.2.3.4\"", "!", "\"b\"", "2"}},
    {"{\"type\":\"integer\",\"anyOf\":[{\"maximum\":3},{\"minimum\":7}]}",
     {"3", "7", "-5", "!", "4", "6", "3.5"}},
    {"{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", {"\"x\"", "null", "!", "1"}},
    {"{\"oneOf\":[{\"properties\":{\"kind\":{\"const\":\"a\"},\"x\":{\"type\":\"integer\"}}},"
     "{\"properties\":{\"kind\":{\"const\":\"b\"}}}],\"type\":\"object\"}",
     {"{\"kind\":\"a\",\"x\":1}", "{\"kind\":\"b\"}", "!", "{}", "{\"kind\":\"b\",\"x\":1}"}},
    {"{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]},"
     "{\"properties\":{\"a\":{\"minimum\":3},\"b\":{\"type\":\"null\"}}}]}",
     {"{\"a\":3}", "{\"a\":4,\"b\":null}", "!", "{\"a\":2}", "{}", "{\"b\":null}"}},
    {"{\"$ref\":\"#/$defs/a~1b\",\"minimum\":2,\"$defs\":{\"a/b\":{\"type\":\"integer\"}}}",
     {"2", "!", "1", "2.5"}},
    {"{\"$ref\":\"#/$defs/tree\",\"$defs\":{\"tree\":{\"type\":\"object\",\"properties\":{\"v\":"
     "{\"type\":\"integer\"},\"kids\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/tree\"}}},"
     "\"required\":[\"v\"],\"additionalProperties\":false}}}",
     {"{\"v\":1}", "{\"v\":1,\"kids\":[{\"v\":2,\"kids\":[]},{\"v\":3}]}", "!", "{}",
      "{\"v\":1,\"kids\":[1]}"}},
    {"{\"properties\":{\"next\":{\"$ref\":\"#\"}},\"type\":\"object\"}",
     {"{}", "{\"next\":{\"next\":{}}}", "!", "{\"next\":null}"}},
    {"{\"title\":\"t\",\"description\":\"d\",\"default\":1,\"x-own\":[],\"type\":\"null\"}",
     {"null", "!", "1"}},
    {"{\"properties\":{\"a\":false,\"b\":{\"type\":\"null\"}}}",
     {"{}", "{\"b\":null}", "!", "{\"a\":1}"}},
};

static void test_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        lar_grammar *g;
        lar_err e;
        bool want = true;
        if (compile(cases[i].schema, &g, &e) != LAR_OK)
            fail_msg("%s\n%s", cases[i].schema, e.msg);
        for (size_t k = 0; k < LAR_LEN(cases[i].texts) && cases[i].texts[k]; k++) {
            const char *text = cases[i].texts[k];
            if (strcmp(text, "!") == 0)
                want = false;
            else if (accepts(g, text) != want)
                fail_msg("%s\n%s: want it %s", cases[i].schema, text,
                         want ? "accepted" : "refused");
        }
        assert_false(want); /* both kinds of texts */
        lar_grammar_free(g);
    }
}

static const struct {
    const char *schema, *message;
} faults[] = {
    {"1", "#: want a schema: an object, true or false"},
    {"false", "no text is ever whole"},
    {"{\"properties\":{\"a/b\":{\"not\":{}}}}", "#/properties/a~1b: the keyword 'not' is not"},
    {"{\"items\":{\"if\":true}}", "#/items: the keyword 'if' is not supported"},
    {"{\"anyOf\":[{},{\"patternProperties\":{}}]}",
     "#/anyOf/1: the keyword 'patternProperties' is not supported"},
    {"{\"type\":\"number\",\"multipleOf\":2}", "the keyword 'multipleOf' is not supported"},
    {"{\"type\":\"array\",\"uniqueItems\":true}", "the keyword 'uniqueItems' is not supported"},
    {"{\"type\":\"text\"}", "type: want one of null"},
    {"{\"type\":[]}", "no text is ever whole"},
    {"{\"minLength\":-1}", "minLength: want a whole number"},
    {"{\"maximum\":\"3\"}", "maximum: want a number"},
    {"{\"required\":\"a\"}", "required: want an array"},
    {"{\"required\":[1]}", "required: want an array of strings"},
    {"{\"$ref\":\"#/$defs/x\"}", "the reference '#/$defs/x' leads nowhere"},
    {"{\"$ref\":\"http://example.org/x\"}", "leads nowhere within the document"},
    {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", "alternatives 0 and 1 apart"},
    {"{\"pattern\":\"(a)\\\\1\"}", "pattern: a back reference is not supported (at character 5"},
    {"{\"pattern\":\"a(?=b)\"}", "pattern: looking ahead or behind is not supported"},
    {"{\"pattern\":\"a**\"}", "pattern: a repetition of a repetition"},
    {"{\"pattern\":\"(a\"}", "pattern: a group without end"},
    {"{\"pattern\":\"[a\"}", "pattern: a class without end"},
    {"{\"pattern\":\"a^\"}", "pattern: an anchor here"},
    {"{\"pattern\":\"^a\",\"allOf\":[{\"pattern\":\"b$\"}]}", "two patterns or formats"},
    {"{\"pattern\":\"^a*$\",\"maxLength\":3}", "together with minLength or maxLength"},
    {"{\"items\":{\"$id\":\"x\"}}", "#/items: the keyword '$id' is not supported but at the root"},
    {"{\"format\":\"regex\"}", "the format 'regex' is not supported"},
    {"{\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "no text is ever whole"},
    {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", "no text is ever whole"},
    {"{\"minLength\":100000}", "minLength: more than 10000 is not supported"},
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < LAR_LEN(faults); i++) {
        lar_err e = {0};
        lar_grammar *g = NULL;
        const lar_status st = compile(faults[i].schema, &g, &e);
        if (st != LAR_EARG || g || !strstr(e.msg, faults[i].message))
            fail_msg("%s\n%s, want %s", faults[i].schema, st ? e.msg : "accepted",
                     faults[i].message);
    }
}

/* Whatever is said by chance is JSON, ends, and is never stuck. */
static void test_by_chance(void **state)
{
    (void)state;
    size_t whole = 0;
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        lar_grammar *g;
        lar_matcher *m;
        lar_err e;
        lar_buf said = {0};
        assert_int_equal(compile(cases[i].schema, &g, &e), LAR_OK);
        assert_int_equal(lar_matcher_new(g, NULL, &m, &e), LAR_OK);
        for (uint64_t turn = 0; turn < 4000 && !lar_matcher_must_end(m); turn++) {
            char allowed[256];
            size_t n = 0;
            bool fits;
            for (int c = 0; c < 256; c++) {
                allowed[n] = (char)c;
                assert_int_equal(lar_matcher_fits(m, &allowed[n], 1, &fits, &e), LAR_OK);
                n += fits;
            }
            if (lar_matcher_can_end(m) && turn % 2)
                break;
            assert_true(n > 0);
            char c = allowed[lar_random(i, turn) % n];
            for (size_t k = 0; k < n && turn % 5 == 0; k++)
                c = strchr("\"]}", allowed[k]) && allowed[k] ? allowed[k] : c;
            assert_int_equal(lar_matcher_feed(m, &c, 1, &fits, &e), LAR_OK);
            lar_buf_putc(&said, c);
        }
        if (lar_matcher_can_end(m)) {
            json_error_t je;
            json_t *v = json_loadb(said.p, said.n, JSON_DECODE_ANY, &je);
            if (!v)
                fail_msg("%s\n%s: %s", cases[i].schema, said.p, je.text);
            json_decref(v);
            whole++;
        }
        lar_buf_free(&said);
        lar_matcher_free(m);
        lar_grammar_free(g);
    }
    assert_true(whole > LAR_LEN(cases) / 2);
}

static void test_allocations(void **state)
{
    (void)state;
    static const char *const some[] = {
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^[a-z]+x?$"
        "\"},"
        "\"b\":{\"oneOf\":[{\"type\":\"integer\",\"minimum\":3},{\"enum\":[null,\"x\"]}]}},"
        "\"additionalProperties\":{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}},\"required\":["
        "\"b\"]}"};
    if (!oom_linked())
        skip();
    for (long n = 0;; n++) {
        json_t *schema = json_loads(some[0], 0, NULL);
        lar_grammar *g = NULL;
        lar_err e = {0};
        oom_fail_at(n);
        const lar_status st = lar_grammar_json_schema(schema, &g, &e);
        const bool hit = oom_hit();
        oom_fail_at(-1);
        json_decref(schema);
        lar_grammar_free(g);
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
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_by_chance),
        cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
