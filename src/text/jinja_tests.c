/*
 * jinja_tests.c - jinja2's built-in tests: what stands after `is`. Depends on jinja.h.
 */
#include "text/jinja.h"
#include <string.h>

static bool yes(jr *r, const jargs *a, size_t n, bool b, jv *out)
{
    *out = lar__jv_bool(b);
    if (a->n + a->n_named != n || a->n_named)
        return lar__jfail(r, "a test with %zu arguments, want %zu", a->n + a->n_named, n);
    return true;
}

static bool rest_is(jr *r, jv in, jv by, int64_t want, const jargs *a, size_t n, jv *out)
{
    jv m, w = lar__jv_int(want);
    bool eq;
    if (!yes(r, a, n, false, out) || !lar__jbin(r, OP_MOD, in, by, &m) || !lar__jv_eq(r, m, w, &eq))
        return false;
    *out = lar__jv_bool(eq);
    return true;
}
static bool t_odd(jr *r, jv in, const jargs *a, jv *out)
{
    return rest_is(r, in, lar__jv_int(2), 1, a, 0, out);
}
static bool t_even(jr *r, jv in, const jargs *a, jv *out)
{
    return rest_is(r, in, lar__jv_int(2), 0, a, 0, out);
}
static bool t_divisibleby(jr *r, jv in, const jargs *a, jv *out)
{
    jv v[1];
    static const char *const names[] = {"num"};
    static const jargs none;
    return lar__jbind(r, "divisibleby", a, names, 1, 1, v) &&
           rest_is(r, in, v[0], 0, &none, 0, out);
}

#define TYPE_TEST(name, cond)                                                                      \
    static bool t_##name(jr *r, jv in, const jargs *a, jv *out)                                    \
    {                                                                                              \
        return yes(r, a, 0, cond, out);                                                            \
    }
TYPE_TEST(defined, in.t != JV_UNDEF)
TYPE_TEST(undefined, in.t == JV_UNDEF)
TYPE_TEST(none, in.t == JV_NONE)
TYPE_TEST(boolean, in.t == JV_BOOL)
TYPE_TEST(false, in.t == JV_BOOL && !in.u.b)
TYPE_TEST(true, in.t == JV_BOOL && in.u.b)
TYPE_TEST(integer, in.t == JV_INT)
TYPE_TEST(float, in.t == JV_FLOAT)
TYPE_TEST(string, in.t == JV_STR)
TYPE_TEST(mapping, in.t == JV_DICT)
TYPE_TEST(number, lar__jv_is_num(in))
TYPE_TEST(sequence, in.t == JV_STR || in.t == JV_LIST || in.t == JV_TUPLE || in.t == JV_DICT ||
                        in.t == JV_RANGE || in.t == JV_UNDEF)
TYPE_TEST(iterable, in.t == JV_STR || in.t == JV_LIST || in.t == JV_TUPLE || in.t == JV_DICT ||
                        in.t == JV_RANGE || in.t == JV_VIEW || in.t == JV_ITER ||
                        in.t == JV_UNDEF || in.t == JV_LOOP)
TYPE_TEST(callable, in.t == JV_FUNC || in.t == JV_METHOD || in.t == JV_MACRO || in.t == JV_JOINER ||
                        in.t == JV_LOOP || in.t == JV_UNDEF || (in.t == JV_BLOCK && in.u.node))
TYPE_TEST(escaped, in.t == JV_STR && in.u.s->markup)

/* a lookup in a dict of Python: what cannot be hashed is an error */
static bool t_filter(jr *r, jv in, const jargs *a, jv *out)
{
    uint64_t h;
    return lar__jv_hash(r, in, &h) &&
           yes(r, a, 0, in.t == JV_STR && lar__jfilter(in.u.s->p, in.u.s->n), out);
}
static bool t_test(jr *r, jv in, const jargs *a, jv *out)
{
    uint64_t h;
    return lar__jv_hash(r, in, &h) &&
           yes(r, a, 0, in.t == JV_STR && lar__jtest(in.u.s->p, in.u.s->n), out);
}

static bool t_lower(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s;
    return lar__jv_str(r, in, &s) && lar__jstep(r, s->n) && yes(r, a, 0, lar__jstr_is(s, 'l'), out);
}
static bool t_upper(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s;
    return lar__jv_str(r, in, &s) && lar__jstep(r, s->n) && yes(r, a, 0, lar__jstr_is(s, 'u'), out);
}
static bool t_sameas(jr *r, jv in, const jargs *a, jv *out)
{
    static const char *const names[] = {"other"};
    jv v[1];
    if (!lar__jbind(r, "sameas", a, names, 1, 1, v))
        return false;
    *out = lar__jv_bool(lar__jv_same(in, v[0]));
    return true;
}

static bool compare(jr *r, jv in, const jargs *a, int op, jv *out)
{
    bool b;
    if (!yes(r, a, 1, false, out) || !lar__jcompare(r, op, in, a->v[0], &b))
        return false;
    *out = lar__jv_bool(b);
    return true;
}
static bool t_in(jr *r, jv in, const jargs *a, jv *out)
{
    return compare(r, in, a, OP_IN, out);
}
static bool t_eq(jr *r, jv in, const jargs *a, jv *out)
{
    return compare(r, in, a, OP_EQ, out);
}
static bool t_ne(jr *r, jv in, const jargs *a, jv *out)
{
    return compare(r, in, a, OP_NE, out);
}
static bool t_lt(jr *r, jv in, const jargs *a, jv *out)
{
    return compare(r, in, a, OP_LT, out);
}
static bool t_le(jr *r, jv in, const jargs *a, jv *out)
{
    return compare(r, in, a, OP_LE, out);
}
static bool t_gt(jr *r, jv in, const jargs *a, jv *out)
{
    return compare(r, in, a, OP_GT, out);
}
static bool t_ge(jr *r, jv in, const jargs *a, jv *out)
{
    return compare(r, in, a, OP_GE, out);
}

static const jfunc_def tests[] = {{"odd", t_odd},
                                  {"even", t_even},
                                  {"divisibleby", t_divisibleby},
                                  {"defined", t_defined},
                                  {"undefined", t_undefined},
                                  {"filter", t_filter},
                                  {"test", t_test},
                                  {"none", t_none},
                                  {"boolean", t_boolean},
                                  {"false", t_false},
                                  {"true", t_true},
                                  {"integer", t_integer},
                                  {"float", t_float},
                                  {"lower", t_lower},
                                  {"upper", t_upper},
                                  {"string", t_string},
                                  {"mapping", t_mapping},
                                  {"number", t_number},
                                  {"sequence", t_sequence},
                                  {"iterable", t_iterable},
                                  {"callable", t_callable},
                                  {"sameas", t_sameas},
                                  {"escaped", t_escaped},
                                  {"in", t_in},
                                  {"==", t_eq},
                                  {"eq", t_eq},
                                  {"equalto", t_eq},
                                  {"!=", t_ne},
                                  {"ne", t_ne},
                                  {">", t_gt},
                                  {"gt", t_gt},
                                  {"greaterthan", t_gt},
                                  {"ge", t_ge},
                                  {">=", t_ge},
                                  {"<", t_lt},
                                  {"lt", t_lt},
                                  {"lessthan", t_lt},
                                  {"<=", t_le},
                                  {"le", t_le},
                                  {NULL, NULL}};

const jfunc_def *lar__jtest(const char *p, size_t n)
{
    return lar__jdef_find(tests, p, n);
}
