/*
 * test_template.c - the Jinja interpreter against what jinja2 itself gave in transformers'
 * configuration (tests/data/templates, made by tools/goldens/templates.py), its limits, its errors,
 * failing allocations.
 */
#include "text/template.h"
#include "oom.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define DATA "tests/data/templates/"
#define SHARED "../shared/templates/"
#define NOW 1753279852 /* the clock of templates.py */

/* ---- helpers ------------------------------------------------------------------------------- */

static json_t *load(const char *name)
{
    char path[400];
    json_error_t e;
    snprintf(path, sizeof path, DATA "%s", name);
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &e);
    if (!j)
        fail_msg("%s: %s", path, e.text);
    return j;
}

static lar_status run(const char *t, size_t n, const json_t *vars, lar_render *out, lar_err *e)
{
    lar_template *tpl;
    *out = (lar_render){0};
    lar_status st = lar_template_new(t, n, &tpl, e);
    if (st != LAR_OK)
        return st;
    st = lar_template_render(tpl, vars, NOW, out, e);
    lar_template_free(tpl);
    return st;
}

/* Is this what the oracle said? Prints where not. */
static bool agrees(const char *what, const char *t, size_t n, const json_t *vars,
                   const json_t *want, const json_t *spans)
{
    lar_render r;
    lar_err e = {0};
    lar_status st = run(t, n, vars, &r, &e);
    bool ok;
    if (json_is_object(want)) {
        const char *msg = json_string_value(json_object_get(want, "error"));
        char part[100];
        snprintf(part, sizeof part, "%s", msg);
        /* the words of raise_exception come through; those of Python's own errors are ours */
        ok =
            st != LAR_OK && (!json_is_true(json_object_get(want, "raised")) || strstr(e.msg, part));
    } else {
        ok = st == LAR_OK && r.text.n == json_string_length(want) &&
             !memcmp(r.text.p, json_string_value(want), r.text.n) &&
             r.n_spans == json_array_size(spans);
        for (size_t i = 0; ok && i < r.n_spans; i++) {
            const json_t *s = json_array_get(spans, i);
            ok = (json_int_t)r.spans[i].begin == json_integer_value(json_array_get(s, 0)) &&
                 (json_int_t)r.spans[i].end == json_integer_value(json_array_get(s, 1));
        }
    }
    if (!ok)
        print_error("%s\n  found: %s\n  want:  %s\n", what, st == LAR_OK ? r.text.p : e.msg,
                    json_is_object(want) ? json_string_value(json_object_get(want, "error"))
                                         : json_string_value(want));
    lar_render_free(&r);
    return ok;
}

static void expect_error(const char *t, lar_status want, const char *words)
{
    lar_render r;
    lar_err e = {0};
    json_t *vars = json_object();
    lar_status st = run(t, strlen(t), vars, &r, &e);
    if (st != want || !strstr(e.msg, words))
        fail_msg("%.100s\n  found %d: %s\n  want %d: %s", t, (int)st, st ? e.msg : "a text",
                 (int)want, words);
    assert_null(r.text.p);
    lar_render_free(&r);
    json_decref(vars);
}

static void expect_text(const char *t, const char *want)
{
    lar_render r;
    lar_err e = {0};
    json_t *vars = json_object();
    if (run(t, strlen(t), vars, &r, &e) != LAR_OK)
        fail_msg("%.100s: %s", t, e.msg);
    assert_string_equal(r.text.p, want);
    lar_render_free(&r);
    json_decref(vars);
}

static char *repeat(const char *a, size_t n, const char *mid, const char *b)
{
    lar_buf s = {0};
    for (size_t i = 0; i < n; i++)
        lar_buf_puts(&s, a);
    lar_buf_puts(&s, mid);
    for (size_t i = 0; i < n; i++)
        lar_buf_puts(&s, b);
    assert_false(s.oom);
    return lar_buf_take(&s);
}

/* ---- goldens ------------------------------------------------------------------------------- */

static void test_snippets(void **state)
{
    (void)state;
    json_t *rows = load("snippets.json"), *vars = NULL, *row;
    size_t i, n = 0, bad = 0;
    json_array_foreach(rows, i, row)
    {
        if (json_object_get(row, "vars")) {
            vars = json_object_get(row, "vars");
            continue;
        }
        const json_t *t = json_object_get(row, "t");
        n++;
        bad += !agrees(json_string_value(t), json_string_value(t), json_string_length(t), vars,
                       json_object_get(row, "out"), json_object_get(row, "spans"));
    }
    json_decref(rows);
    assert_true(n >= 400);
    assert_int_equal(bad, 0);
}

/* The template that a golden is of: in it, or in the shared folder; NULL when absent. */
static char *source_of(const json_t *golden, size_t *n)
{
    const json_t *own = json_object_get(golden, "source");
    if (own) {
        *n = json_string_length(own);
        return lar_strndup(json_string_value(own), *n);
    }
    char path[400];
    snprintf(path, sizeof path, SHARED "%s",
             json_string_value(json_object_get(golden, "template")));
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    lar_buf b = {0};
    char part[4096];
    size_t k;
    while ((k = fread(part, 1, sizeof part, f)) > 0)
        lar_buf_add(&b, part, k);
    fclose(f);
    *n = b.n;
    return lar_buf_take(&b);
}

static size_t check_golden(const json_t *golden, const json_t *inputs, size_t *seen)
{
    size_t n, bad = 0;
    const char *name = json_string_value(json_object_get(golden, "template")), *key;
    char *t = source_of(golden, &n);
    json_t *want;
    if (!t) {
        print_message("skipped: " SHARED "%s is not there\n", name);
        return 0;
    }
    json_object_foreach(json_object_get(golden, "outputs"), key, want)
    {
        char what[200];
        json_t *vars = json_copy(json_object_get(inputs, key));
        json_object_update(vars, json_object_get(golden, "extra"));
        snprintf(what, sizeof what, "%s, %s", name, key);
        bad +=
            !agrees(what, t, n, vars, want, json_object_get(json_object_get(golden, "spans"), key));
        json_decref(vars);
        ++*seen;
    }
    lar_free(t);
    return bad;
}

static void test_templates(void **state)
{
    (void)state;
    json_t *conv = load("conversations.json");
    assert_int_equal(json_integer_value(json_object_get(conv, "now")), NOW);
    DIR *d = opendir(DATA);
    struct dirent *f;
    size_t bad = 0, seen = 0;
    assert_non_null(d);
    while ((f = readdir(d))) {
        if (strncmp(f->d_name, "t-", 2))
            continue;
        json_t *golden = load(f->d_name);
        bad += check_golden(golden, json_object_get(conv, "inputs"), &seen);
        json_decref(golden);
    }
    closedir(d);
    json_decref(conv);
    assert_true(seen > 0); /* some goldens hold their template themselves */
    assert_int_equal(bad, 0);
}

/* ---- limits, one by one -------------------------------------------------------------------- */

static void test_limit_source(void **state)
{
    (void)state;
    char *t = repeat("x", (4u << 20) + 1, "", "");
    expect_error(t, LAR_EARG, "want at most 4194304");
    lar_free(t);
}

static void test_limit_nesting(void **state)
{
    (void)state;
    static const char *const deep[][3] = {
        {"(", "1", ")"},           {"[", "", "]"},  {"{1:", "1", "}"}, {"-", "1", ""},
        {"not ", "1", ""},         {"", "1", "+1"}, {"", "1", "|abs"}, {"", "x", ".y"},
        {"1 if 1 else ", "1", ""}, {"f(", "", ")"}};
    for (size_t i = 0; i < LAR_LEN(deep); i++) {
        lar_buf b = {0};
        char *t = repeat(deep[i][0], 100000, deep[i][1], deep[i][2]);
        lar_buf_printf(&b, "{{ %s }}", t);
        lar_free(t);
        t = lar_buf_take(&b);
        expect_error(t, LAR_EARG, "nested more than 200 levels");
        lar_free(t);
    }
    char *t = repeat("{% if 1 %}", 1000, "x", "{% endif %}");
    expect_error(t, LAR_EARG, "nested more than 200 levels");
    lar_free(t);
    t = repeat("{% if 1 %}", 90, "x", "{% endif %}");
    expect_text(t, "x");
    lar_free(t);
    expect_text("{{ ((((((((((((((((((((1)))))))))))))))))))) }}", "1");
}

static void test_limit_depth(void **state)
{
    (void)state;
    expect_error("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", LAR_EARG,
                 "recursion deeper than 1000");
    expect_error("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", LAR_EARG,
                 "recursion deeper");
    expect_error("{% set n = namespace(x=[]) %}{% for i in range(5000) %}{% set n.x = [n.x] %}{% "
                 "endfor %}{{ n.x }}",
                 LAR_EARG, "recursion deeper");
    expect_error(
        "{% set n = namespace(x=[]) %}{% for i in range(5000) %}{% set n.x = [n.x] %}{% endfor %}"
        "{{ n.x|tojson }}",
        LAR_EARG, "recursion deeper");
    expect_error(
        "{% set n = namespace(x=[], y=[]) %}{% for i in range(5000) %}{% set n.x = [n.x] %}"
        "{% set n.y = [n.y] %}{% endfor %}{{ n.x == n.y }}",
        LAR_EARG, "recursion deeper");
    expect_error("{% set n = namespace(x=[1]) %}{% for i in range(5000) %}{% set n.x = "
                 "n.x|map('abs') %}{% endfor %}"
                 "{{ n.x|list }}",
                 LAR_EARG, "recursion deeper");
    expect_error("{% set n = namespace(x=1) %}{% set n.x = n %}{{ n }}", LAR_EARG,
                 "recursion deeper");
    json_t *vars = json_object(), *in = json_array();
    for (int i = 0; i < 3000; i++) {
        json_t *a = json_array();
        json_array_append_new(a, in);
        in = a;
    }
    json_object_set_new(vars, "x", in);
    lar_render r;
    lar_err e = {0};
    assert_int_equal(run("a", 1, vars, &r, &e), LAR_EARG);
    assert_non_null(strstr(e.msg, "recursion deeper"));
    json_decref(vars);
    expect_text(
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{% else %}x{% endif %}{% endmacro %}{{ m(80) }}",
        "x");
}

static void test_limit_steps(void **state)
{
    (void)state;
    expect_error("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
                 LAR_EARG, "more than 10000000 steps");
    expect_error(
        "{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{{ 'ab' in a }}{% endfor %}",
        LAR_EARG, "steps");
    expect_error("{% set a = 'a' * 1000000 %}{% set b = a + '' %}{% for i in range(100000) %}{{ a "
                 "== b ~ '' }}"
                 "{% endfor %}",
                 LAR_EARG, "");
    expect_error(
        "{% set l = range(100000)|list %}{% for i in range(100000) %}{{ -1 in l }}{% endfor %}",
        LAR_EARG, "steps");
    expect_error("{% set l = range(100000)|list %}{% for i in range(100000) %}{% set q = l|sort "
                 "%}{% endfor %}",
                 LAR_EARG, "");
    expect_text("{% for i in range(100000) %}{% if i == 99999 %}{{ i }}{% endif %}{% endfor %}",
                "99999");
}

static void test_limit_output(void **state)
{
    (void)state;
    expect_error("{% set a = 'a' * 1000000 %}{% for i in range(100) %}{{ a }}{% endfor %}",
                 LAR_EARG, "64 MiB");
    expect_error("{% set x %}{% for i in range(100) %}{{ 'a' * 1000000 }}{% endfor %}{% endset %}",
                 LAR_EARG, "64 MiB");
}

static void test_limit_memory(void **state)
{
    (void)state;
    expect_error("{% set n = namespace(l=[]) %}{% for i in range(40) %}"
                 "{% set n.l = n.l + ['a' * 20000000] %}{% endfor %}",
                 LAR_EARG, "512 MiB");
    expect_error("{% set n = namespace(s='abc') %}{% for i in range(100) %}{% set n.s = n.s + n.s "
                 "%}{% endfor %}",
                 LAR_EARG, "MiB");
}

static void test_limit_sizes(void **state)
{
    (void)state;
    static const char *const big[] = {
        "{{ range(100001) }}",
        "{{ range(-9223372036854775807, 9223372036854775807) }}",
        "{{ 'ab' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ (1, 2) * 9223372036854775807 }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a'.center(9223372036854775807) }}",
        "{{ '1'.zfill(1000000000) }}",
        "{{ 'a'|center(1000000000) }}",
        "{{ 'a'|indent(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%.*f' % (1000000000, 1.0) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:.1000000000f}'.format(1.0) }}",
        "{{ '\\t'.expandtabs(1000000000) }}",
        "{{ 2 ** 64 }}",
        "{{ 9223372036854775807 + 1 }}",
        "{{ -9223372036854775807 - 2 }}",
        "{{ 4611686018427387904 * 2 }}",
        "{{ 10 ** 1000000000 }}",
        "{{ 10.0 ** 400 }}",
        "{{ [1]|tojson(indent=1000000000) }}",
        "{{ ('a' * 10000)|replace('a', 'b' * 100000) }}",
        "{{ (['a' * 10000] * 10000)|join }}",
        "{{ 'a' * 60000000 ~ 'a' * 60000000 }}",
        "{{ range(100000)|batch(1, 1)|list|tojson(indent='x' * 10000) }}",
        "{{ []|slice(9223372036854775807)|list }}",
        "{{ [1]|batch(9223372036854775807, 1)|list }}"};
    for (size_t i = 0; i < LAR_LEN(big); i++)
        expect_error(big[i], LAR_EARG, "template line 1: ");
    expect_error("{{ 9223372036854775808 }}", LAR_EUNSUPPORTED, "64 bits");
}

/* ---- errors -------------------------------------------------------------------------------- */

static void test_errors(void **state)
{
    (void)state;
    expect_error("a\nb\n{{ x.y }}", LAR_EARG, "template line 3: 'x' is undefined");
    expect_error("a\r\n\r{% if %}", LAR_EFORMAT, "template line 3: ");
    expect_error("{% set a = {} %}\n{{ a.b.c }}", LAR_EARG,
                 "template line 2: 'dict' has no attribute 'b'");
    expect_error("\n{{ raise_exception('No ' ~ 'way') }}", LAR_EARG, "template line 2: No way");
    expect_error("{% include 'x' %}", LAR_EUNSUPPORTED, "include");
    expect_error("{% import 'x' as y %}", LAR_EUNSUPPORTED, "import");
    expect_error("{% from 'x' import y %}", LAR_EUNSUPPORTED, "from");
    expect_error("{% extends 'x' %}", LAR_EUNSUPPORTED, "extends");
    expect_error("{{ [1]|random }}", LAR_EARG, "random");
    expect_error("{{ [].append(1) }}", LAR_EARG, "unsafe");
    expect_error("{{ {}.update({}) }}", LAR_EARG, "unsafe");
    expect_error("{{ ''.__class__() }}", LAR_EARG, "unsafe");
    expect_error("a\n\xff", LAR_EFORMAT, "template line 2: byte 2 is not UTF-8");
    expect_error("{% autoescape true %}{% endautoescape %}", LAR_EARG, "autoescape");
    lar_render r;
    lar_err e = {0};
    json_t *list = json_array();
    assert_int_equal(run("a", 1, list, &r, &e), LAR_EARG);
    json_decref(list);
    expect_text("", "");
}

static void test_strings_with_nul(void **state)
{
    (void)state;
    lar_render r;
    lar_err e = {0};
    json_t *vars = json_pack("{s:s%}", "x", "a\0b", (size_t)3);
    assert_non_null(vars);
    assert_int_equal(run("{{ x }}{{ x|length }}", 21, vars, &r, &e), LAR_OK);
    assert_int_equal(r.text.n, 4);
    assert_memory_equal(r.text.p, "a\0b3", 4);
    lar_render_free(&r);
    json_decref(vars);
}

/* Every allocation of compiling and rendering made to fail in turn. */
static void test_out_of_memory(void **state)
{
    (void)state;
    static const char t[] =
        "{% macro m(x, y=2) %}{{ x|upper }}{{ y }}{{ caller() if caller else '' }}{% endmacro %}"
        "{% set ns = namespace(a=[]) %}{% for i in range(40) %}{% set ns.a = ns.a + [i ~ 'x'] %}{% "
        "endfor %}"
        "{{ ns.a|join(',')|replace('x', 'yy')|wordwrap(20) }}{% call m('q') %}{{ m(1, y=3) }}{% "
        "endcall %}"
        "{% generation %}{{ ns.a|tojson(indent=2) }}{% endgeneration %}{{ '%5.2f' % 1.5 }}{{ "
        "'{:>5}'.format(3) }}"
        "{% filter trim %} {{ ns.a|map('upper')|unique|sort|batch(3)|list }} {% endfilter %}{{ "
        "'a\\tb'.split() }}"
        "{{ {'b': 1, 'a': [1.5]}|dictsort }}{{ strftime_now('%Y') }}{{ 'É' * 3000 ~ 'x' }}{{ "
        "'ab'|e }}";
    if (!oom_linked()) {
        print_message("skipped: allocations cannot be made to fail in this build\n");
        skip();
    }
    json_t *vars = json_pack("{s:[i,s]}", "m", 1, "two");
    long n = 0;
    for (;; n++) {
        lar_render r;
        lar_err e = {0};
        oom_fail_at(n);
        lar_status st = run(t, sizeof t - 1, vars, &r, &e);
        bool hit = oom_hit();
        oom_fail_at(-1);
        if (st == LAR_OK)
            lar_render_free(&r);
        if (!hit) {
            assert_int_equal(st, LAR_OK);
            break;
        }
        assert_int_equal(st, LAR_ENOMEM);
    }
    assert_true(n > 20);
    json_decref(vars);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snippets),         cmocka_unit_test(test_templates),
        cmocka_unit_test(test_limit_source),     cmocka_unit_test(test_limit_nesting),
        cmocka_unit_test(test_limit_depth),      cmocka_unit_test(test_limit_steps),
        cmocka_unit_test(test_limit_output),     cmocka_unit_test(test_limit_memory),
        cmocka_unit_test(test_limit_sizes),      cmocka_unit_test(test_errors),
        cmocka_unit_test(test_strings_with_nul), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
