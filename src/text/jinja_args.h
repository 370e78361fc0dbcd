/*
 * jinja_args.h - how filters read their arguments. Included by jinja_filters.c and jinja_ftext.c
 * only.
 */
#ifndef LAR_JINJA_ARGS_H
#define LAR_JINJA_ARGS_H
#include "text/jinja.h"

#define BIND(what, min, ...)                                                                       \
    static const char *const names_[] = {__VA_ARGS__};                                             \
    jv v[LAR_LEN(names_)];                                                                         \
    if (!lar__jbind(r, what, a, names_, min, LAR_LEN(names_), v))                                  \
    return false

static inline bool no_args(jr *r, const char *what, const jargs *a)
{
    return a->n + a->n_named == 0 || lar__jfail(r, "filter '%s' takes no arguments", what);
}
static inline bool given(jv v)
{
    return v.t != JV_MISSING && v.t != JV_NONE;
}
static inline bool flag(jr *r, jv v, bool dflt, bool *b)
{
    *b = dflt;
    return v.t == JV_MISSING || lar__jv_true(r, v, b);
}
static inline bool opt_int(jr *r, jv v, const char *what, int64_t dflt, int64_t *i)
{
    *i = dflt;
    return v.t == JV_MISSING || lar__jv_as_int(r, v, what, i);
}
static inline bool want_str(jr *r, const char *what, jv v, const jstr **s)
{
    *s = NULL;
    if (v.t == JV_UNDEF)
        return lar__jundef_use(r, v);
    if (v.t != JV_STR)
        return lar__jfail(r, "%s: found a %s, want a string", what, lar__jtype_name[v.t]);
    *s = v.u.s;
    return true;
}

#endif
