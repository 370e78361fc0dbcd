/*
 * test_serve_tools.c - calls of tools in what models say: each form, whole and cut at every byte,
 * and what only looks like one. The file under test is no part of the library, so it is included.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "serve/tools.c"

/* What is told, in one line: text, "{name|" and arguments. */
static void told(serve_tool_event kind, const char *p, size_t n, void *user)
{
    lar_buf *b = user;
    if (kind == SERVE_TOOL_NAME)
        lar_buf_printf(b, "{%.*s|", (int)n, p);
    else
        lar_buf_add(b, p, n);
}

static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]";

static void expect(const char *said, const char *want)
{
    json_t *known = json_loads(tools, 0, NULL);
    const size_t n = strlen(said);
    for (size_t step = 1; step <= n; step++) {
        lar_buf b = {0};
        serve_tools t;
        serve_tools_init(&t, known, told, &b);
        for (size_t i = 0; i < n; i += step)
            serve_tools_put(&t, said + i, LAR_MIN(step, n - i));
        serve_tools_end(&t);
        assert_string_equal(b.p ? b.p : "", want);
        lar_buf_free(&b);
    }
    json_decref(known);
}

static void test_forms(void **state)
{
    (void)state;
    expect("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
           "{f|{\"a\":1}");
    expect("So:\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n"
           "<tool_call>{\"name\":\"g\",\"arguments\":{\"s\":\"}\\\"\"}}</tool_call>",
           "So:{f|{}{g|{\"s\":\"}\\\"\"}");
    expect(
        "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {}}]",
        "{f|{}{g|{}");
    expect("[TOOL_CALLS]f[ARGS]{\"a\": [1]}", "{f|{\"a\": [1]}");
    expect("{\"name\": \"f\", \"parameters\": {\"a\": 2}}", "{f|{\"a\":2}");
    expect("<|python_tag|>{\"name\": \"f\", \"parameters\": {}}", "{f|{}");
    expect("<tool_call>{\"name\":\"f\",\"arguments\":\"{}\"}</tool_call>", "{f|{}");
}

static void test_no_calls(void **state)
{
    (void)state;
    expect("plain text", "plain text");
    expect("a < b, <tool_cal, [TOOL", "a < b, <tool_cal, [TOOL");
    expect("{\"name\": \"other\", \"parameters\": {}}",
           "{\"name\": \"other\", \"parameters\": {}}");
    expect("{\"not\": \"whole\"", "{\"not\": \"whole\"");
    expect("", "");
    expect("<tool_call>{\"name\":", "{\"name\":");
    expect("<tool_call>nonsense</tool_call>", "nonsense</tool_call>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms),
                                       cmocka_unit_test(test_no_calls)};
    return cmocka_run_group_tests_name("serve_tools", tests, NULL, NULL);
}
