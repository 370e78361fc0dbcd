/*
 * jinja_methods.c - methods of str, dict, list, tuple, numbers and cyclers. What jinja2's immutable
 * sandbox hides has no function. Depends on jinja.h.
 */
#include "text/jinja.h"
#include <math.h>
#include <string.h>

bool lar__jbind(jr *r, const char *what, const jargs *a, const char *const *names, size_t min,
                size_t max, jv *out)
{
    for (size_t i = 0; i < max; i++)
        out[i] = (jv){.t = JV_MISSING};
    if (a->n > max)
        return lar__jfail(r, "%s: found %zu arguments, want at most %zu", what, a->n, max);
    for (size_t i = 0; i < a->n; i++)
        out[i] = a->v[i];
    for (size_t k = 0; k < a->n_named; k++) {
        size_t i = 0;
        while (i < max &&
               !(names[i] && lar_str_eq((lar_str){a->name[k]->p, a->name[k]->n}, names[i])))
            i++;
        if (i == max)
            return lar__jfail(r, "%s: unexpected keyword argument '%.*s'", what,
                              (int)LAR_MIN(a->name[k]->n, 60u), a->name[k]->p);
        if (out[i].t != JV_MISSING)
            return lar__jfail(r, "%s: argument '%s' given twice", what, names[i]);
        out[i] = a->named[k];
    }
    for (size_t i = 0; i < min; i++)
        if (out[i].t == JV_MISSING)
            return lar__jfail(r, "%s: argument %zu is missing", what, i + 1);
    return true;
}

/* Positional arguments only, as most methods of str want them. */
static bool plain(jr *r, const char *what, const jargs *a, size_t min, size_t max, jv *out)
{
    static const char *const none[8] = {NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    return lar__jbind(r, what, a, none, min, max, out);
}

static bool want_str(jr *r, const char *what, jv v, const jstr **s)
{
    *s = NULL;
    if (v.t != JV_STR)
        return lar__jfail(r, "%s: found a %s, want a string", what, lar__jtype_name[v.t]);
    *s = v.u.s;
    return true;
}

static bool given(jv v)
{
    return v.t != JV_MISSING && v.t != JV_NONE;
}

/* Markup's methods escape what they are given. */
static bool like(jr *r, const jstr *self, jv *v)
{
    return !self->markup || lar__jescape(r, *v, v);
}

/* ---- str ----------------------------------------------------------------------------------- */

#define CASE_METHOD(name, how)                                                                     \
    static bool s_##name(jr *r, jv self, const jargs *a, jv *out)                                  \
    {                                                                                              \
        return plain(r, #name, a, 0, 0, NULL) && lar__jstr_case(r, self.u.s, how, out);            \
    }
CASE_METHOD(lower, CASE_LOWER)
CASE_METHOD(upper, CASE_UPPER)
CASE_METHOD(title, CASE_TITLE)
CASE_METHOD(capitalize, CASE_CAPITALIZE)
CASE_METHOD(swapcase, CASE_SWAP)
CASE_METHOD(casefold, CASE_FOLD)

#define IS_METHOD(name, what)                                                                      \
    static bool s_##name(jr *r, jv self, const jargs *a, jv *out)                                  \
    {                                                                                              \
        *out = lar__jv_bool(lar__jstr_is(self.u.s, what));                                         \
        return plain(r, #name, a, 0, 0, NULL) && lar__jstep(r, self.u.s->n);                       \
    }
IS_METHOD(isalpha, 'a')
IS_METHOD(isalnum, 'n')
IS_METHOD(isdigit, 'd')
IS_METHOD(isdecimal, 'c')
IS_METHOD(isnumeric, 'm')
IS_METHOD(isspace, 's')
IS_METHOD(isprintable, 'p')
IS_METHOD(isidentifier, 'i')
IS_METHOD(isascii, 'A')
IS_METHOD(islower, 'l')
IS_METHOD(isupper, 'u')
IS_METHOD(istitle, 't')

static bool strip(jr *r, const char *what, jv self, const jargs *a, int sides, jv *out)
{
    jv v[1];
    const jstr *chars = NULL;
    size_t b, e;
    if (!plain(r, what, a, 0, 1, v) || (given(v[0]) && !want_str(r, what, v[0], &chars)) ||
        !lar__jstep(r, self.u.s->n + (chars ? chars->n * JINJA_BYTES_PER_STEP : 0)))
        return false;
    lar__jtrim(self.u.s, chars, sides, &b, &e);
    if (chars && !lar__jstep(r, (b + self.u.s->n - e) * LAR_MIN(chars->n, (size_t)1 << 20)))
        return false;
    return lar__jv_sub(r, self.u.s, b, e - b, out);
}
static bool s_strip(jr *r, jv self, const jargs *a, jv *out)
{
    return strip(r, "strip", self, a, 3, out);
}
static bool s_lstrip(jr *r, jv self, const jargs *a, jv *out)
{
    return strip(r, "lstrip", self, a, 1, out);
}
static bool s_rstrip(jr *r, jv self, const jargs *a, jv *out)
{
    return strip(r, "rstrip", self, a, 2, out);
}

static bool split(jr *r, jv self, const jargs *a, bool right, jv *out)
{
    static const char *const names[] = {"sep", "maxsplit"};
    jv v[2];
    const jstr *sep = NULL;
    int64_t max = -1;
    if (!lar__jbind(r, "split", a, names, 0, 2, v) ||
        (given(v[0]) && !want_str(r, "split", v[0], &sep)) ||
        (v[1].t != JV_MISSING && !lar__jv_as_int(r, v[1], "split: maxsplit", &max)))
        return false;
    return lar__jstr_split(r, self.u.s, sep, max, right, out);
}
static bool s_split(jr *r, jv self, const jargs *a, jv *out)
{
    return split(r, self, a, false, out);
}
static bool s_rsplit(jr *r, jv self, const jargs *a, jv *out)
{
    return split(r, self, a, true, out);
}

static bool s_splitlines(jr *r, jv self, const jargs *a, jv *out)
{
    static const char *const names[] = {"keepends"};
    jv v[1];
    bool keep = false;
    if (!lar__jbind(r, "splitlines", a, names, 0, 1, v) ||
        (v[0].t != JV_MISSING && !lar__jv_true(r, v[0], &keep)) || !lar__jstep(r, self.u.s->n))
        return false;
    return lar__jstr_splitlines(r, self.u.s, keep, out);
}

/* Python's optional start and end, in code points, as bytes. false *in: the range begins past the
 * end */
static bool span(jr *r, const jstr *s, const jv *v, size_t *b, size_t *e, bool *in)
{
    int64_t from = 0, to = (int64_t)s->len, n = to;
    if ((given(v[0]) && !lar__jv_as_int(r, v[0], "start", &from)) ||
        (given(v[1]) && !lar__jv_as_int(r, v[1], "end", &to)))
        return false;
    if (from < 0)
        from = from < -n ? 0 : from + n;
    if (to < 0)
        to = to < -n ? 0 : to + n;
    to = LAR_MIN(to, n);
    *in = from <= to;
    *b = *in ? lar__jutf8_at(s, (size_t)from) : 0;
    *e = *in ? lar__jutf8_at(s, (size_t)to) : 0;
    return lar__jstep(r, s->n == s->len ? 0 : s->n);
}

static bool affix_one(jr *r, const jstr *s, size_t b, size_t e, jv x, bool end, bool *res)
{
    const jstr *p;
    if (!want_str(r, end ? "endswith" : "startswith", x, &p))
        return false;
    *res = p->n <= e - b && !memcmp(s->p + (end ? e - p->n : b), p->p, p->n);
    return lar__jstep(r, p->n);
}

static bool affix(jr *r, jv self, const jargs *a, bool end, jv *out)
{
    jv v[3];
    size_t b, e;
    bool in, res = false;
    if (!plain(r, end ? "endswith" : "startswith", a, 1, 3, v) ||
        !span(r, self.u.s, v + 1, &b, &e, &in))
        return false;
    if (v[0].t == JV_TUPLE) {
        for (size_t i = 0; i < v[0].u.l->n && !res; i++)
            if (!affix_one(r, self.u.s, b, e, v[0].u.l->v[i], end, &res))
                return false;
    } else if (!affix_one(r, self.u.s, b, e, v[0], end, &res)) {
        return false;
    }
    *out = lar__jv_bool(res && in);
    return true;
}
static bool s_startswith(jr *r, jv self, const jargs *a, jv *out)
{
    return affix(r, self, a, false, out);
}
static bool s_endswith(jr *r, jv self, const jargs *a, jv *out)
{
    return affix(r, self, a, true, out);
}

static int64_t points(const char *p, size_t n)
{
    int64_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)p[i] & 0xC0) != 0x80;
    return k;
}

/* how: 'f' find, 'i' index, 'c' count; upper case: from the right */
static bool search(jr *r, const char *what, jv self, const jargs *a, char how, jv *out)
{
    jv v[3];
    const jstr *s = self.u.s, *p;
    size_t b, e;
    bool in;
    if (!plain(r, what, a, 1, 3, v) || !want_str(r, what, v[0], &p) ||
        !span(r, s, v + 1, &b, &e, &in))
        return false;
    int64_t n = 0;
    ptrdiff_t at = -1;
    if (in && how == 'c' && !p->n) {
        n = points(s->p + b, e - b) + 1;
    } else if (in) {
        ptrdiff_t f;
        size_t from = b;
        bool many = how == 'c' || how == 'F' || how == 'I';
        if (!p->n) {
            at = many ? (ptrdiff_t)e : (ptrdiff_t)b;
        } else {
            while ((f = lar__jfind(r, s, from, e, p)) >= 0) {
                at = f;
                n++;
                if (!many)
                    break;
                from = (size_t)f + (how == 'c' ? p->n : 1);
            }
            if (r->st != LAR_OK)
                return false;
        }
    }
    if (how == 'c') {
        *out = lar__jv_int(n);
        return true;
    }
    if (at < 0 && (how == 'i' || how == 'I'))
        return lar__jfail(r, "%s: substring not found", what);
    *out = lar__jv_int(at < 0 ? -1 : points(s->p, (size_t)at));
    return true;
}
static bool s_find(jr *r, jv self, const jargs *a, jv *out)
{
    return search(r, "find", self, a, 'f', out);
}
static bool s_rfind(jr *r, jv self, const jargs *a, jv *out)
{
    return search(r, "rfind", self, a, 'F', out);
}
static bool s_index(jr *r, jv self, const jargs *a, jv *out)
{
    return search(r, "index", self, a, 'i', out);
}
static bool s_rindex(jr *r, jv self, const jargs *a, jv *out)
{
    return search(r, "rindex", self, a, 'I', out);
}
static bool s_count(jr *r, jv self, const jargs *a, jv *out)
{
    return search(r, "count", self, a, 'c', out);
}

static bool s_replace(jr *r, jv self, const jargs *a, jv *out)
{
    jv v[3];
    const jstr *from, *to;
    int64_t max = -1;
    if (!plain(r, "replace", a, 2, 3, v) || !want_str(r, "replace", v[0], &from) ||
        !like(r, self.u.s, &v[1]) || !want_str(r, "replace", v[1], &to) ||
        (v[2].t != JV_MISSING && !lar__jv_as_int(r, v[2], "replace: count", &max)))
        return false;
    return lar__jstr_replace(r, self.u.s, from, to, max, out);
}

static bool s_join(jr *r, jv self, const jargs *a, jv *out)
{
    jv v[1];
    return plain(r, "join", a, 1, 1, v) && lar__jstr_join(r, self.u.s, v[0], true, out);
}

static bool partition(jr *r, jv self, const jargs *a, bool right, jv *out)
{
    jv v[1], parts, x[3], none;
    const jstr *s = self.u.s, *sep;
    if (!plain(r, "partition", a, 1, 1, v) || !want_str(r, "partition", v[0], &sep))
        return false;
    if (!sep->n)
        return lar__jfail(r, "partition: empty separator");
    if (!lar__jstr_split(r, s, sep, 1, right, &parts) || !lar__jv_list(r, 3, true, out) ||
        !lar__jv_sub(r, s, 0, 0, &none))
        return false;
    bool hit = parts.u.l->n == 2;
    x[0] = hit || !right ? parts.u.l->v[0] : none;
    x[1] = none;
    if (hit && !lar__jv_sub(r, s, parts.u.l->v[0].u.s->n, sep->n, &x[1]))
        return false;
    x[2] = hit ? parts.u.l->v[1] : right ? parts.u.l->v[0] : none;
    for (int i = 0; i < 3; i++)
        if (!lar__jlist_add(r, out->u.l, x[i]))
            return false;
    return true;
}
static bool s_partition(jr *r, jv self, const jargs *a, jv *out)
{
    return partition(r, self, a, false, out);
}
static bool s_rpartition(jr *r, jv self, const jargs *a, jv *out)
{
    return partition(r, self, a, true, out);
}

static bool pad(jr *r, const char *what, jv self, const jargs *a, int how, jv *out)
{
    static const jstr space = {" ", 1, 1, false};
    jv v[2];
    int64_t width;
    const jstr *fill = &space;
    if (!plain(r, what, a, 1, 2, v) || !lar__jv_as_int(r, v[0], what, &width) ||
        (v[1].t != JV_MISSING && (!like(r, self.u.s, &v[1]) || !want_str(r, what, v[1], &fill))))
        return false;
    return lar__jstr_pad(r, self.u.s, width, fill, how, out);
}
static bool s_ljust(jr *r, jv self, const jargs *a, jv *out)
{
    return pad(r, "ljust", self, a, 0, out);
}
static bool s_rjust(jr *r, jv self, const jargs *a, jv *out)
{
    return pad(r, "rjust", self, a, 1, out);
}
static bool s_center(jr *r, jv self, const jargs *a, jv *out)
{
    return pad(r, "center", self, a, 2, out);
}

static bool s_zfill(jr *r, jv self, const jargs *a, jv *out)
{
    static const jstr zero = {"0", 1, 1, false};
    jv v[1], rest;
    int64_t width;
    const jstr *s = self.u.s;
    if (!plain(r, "zfill", a, 1, 1, v) || !lar__jv_as_int(r, v[0], "zfill", &width))
        return false;
    size_t sign = s->n && (s->p[0] == '-' || s->p[0] == '+');
    if (!lar__jv_sub(r, s, sign, s->n - sign, &rest) ||
        !lar__jstr_pad(r, rest.u.s, width > INT64_MIN ? width - (int64_t)sign : width, &zero, 1,
                       &rest))
        return false;
    lar_buf b = {0};
    lar_buf_add(&b, s->p, sign);
    lar_buf_add(&b, rest.u.s->p, rest.u.s->n);
    return lar__jv_buf(r, &b, s->markup, out);
}

static bool remove_affix(jr *r, const char *what, jv self, const jargs *a, bool end, jv *out)
{
    jv v[1];
    const jstr *p, *s = self.u.s;
    if (!plain(r, what, a, 1, 1, v) || !want_str(r, what, v[0], &p))
        return false;
    bool hit = p->n <= s->n && !memcmp(s->p + (end ? s->n - p->n : 0), p->p, p->n);
    return lar__jv_sub(r, s, hit && !end ? p->n : 0, hit ? s->n - p->n : s->n, out);
}
static bool s_removeprefix(jr *r, jv self, const jargs *a, jv *out)
{
    return remove_affix(r, "removeprefix", self, a, false, out);
}
static bool s_removesuffix(jr *r, jv self, const jargs *a, jv *out)
{
    return remove_affix(r, "removesuffix", self, a, true, out);
}

static bool s_expandtabs(jr *r, jv self, const jargs *a, jv *out)
{
    static const char *const names[] = {"tabsize"};
    jv v[1];
    int64_t size = 8, col = 0;
    lar_buf b = {0};
    const jstr *s = self.u.s;
    if (!lar__jbind(r, "expandtabs", a, names, 0, 1, v) ||
        (v[0].t != JV_MISSING && !lar__jv_as_int(r, v[0], "expandtabs", &size)) ||
        !lar__jstep(r, s->n))
        return false;
    if (size > 100000)
        return lar__jfail(r, "expandtabs: tabs of %lld columns", (long long)size);
    for (size_t i = 0; i < s->n && b.n <= JINJA_MAX_OUTPUT; i++) {
        if (s->p[i] == '\t') {
            for (int64_t k = size > 0 ? size - col % size : 0; k > 0; k--, col++)
                lar_buf_putc(&b, ' ');
            continue;
        }
        lar_buf_putc(&b, s->p[i]);
        col += ((unsigned char)s->p[i] & 0xC0) != 0x80;
        if (s->p[i] == '\n' || s->p[i] == '\r')
            col = 0;
    }
    return lar__jv_buf(r, &b, s->markup, out);
}

static bool s_format(jr *r, jv self, const jargs *a, jv *out)
{
    return lar__jformat(r, self.u.s, a, (jv){.t = JV_MISSING}, out);
}
static bool s_format_map(jr *r, jv self, const jargs *a, jv *out)
{
    static const jargs none;
    jv v[1];
    return plain(r, "format_map", a, 1, 1, v) && lar__jformat(r, self.u.s, &none, v[0], out);
}

static const jfunc_def str_methods[] = {{"strip", s_strip},
                                        {"lstrip", s_lstrip},
                                        {"rstrip", s_rstrip},
                                        {"split", s_split},
                                        {"rsplit", s_rsplit},
                                        {"splitlines", s_splitlines},
                                        {"startswith", s_startswith},
                                        {"endswith", s_endswith},
                                        {"replace", s_replace},
                                        {"join", s_join},
                                        {"lower", s_lower},
                                        {"upper", s_upper},
                                        {"title", s_title},
                                        {"capitalize", s_capitalize},
                                        {"swapcase", s_swapcase},
                                        {"casefold", s_casefold},
                                        {"find", s_find},
                                        {"rfind", s_rfind},
                                        {"index", s_index},
                                        {"rindex", s_rindex},
                                        {"count", s_count},
                                        {"partition", s_partition},
                                        {"rpartition", s_rpartition},
                                        {"ljust", s_ljust},
                                        {"rjust", s_rjust},
                                        {"center", s_center},
                                        {"zfill", s_zfill},
                                        {"removeprefix", s_removeprefix},
                                        {"removesuffix", s_removesuffix},
                                        {"expandtabs", s_expandtabs},
                                        {"format", s_format},
                                        {"format_map", s_format_map},
                                        {"isalpha", s_isalpha},
                                        {"isalnum", s_isalnum},
                                        {"isdigit", s_isdigit},
                                        {"isdecimal", s_isdecimal},
                                        {"isnumeric", s_isnumeric},
                                        {"isspace", s_isspace},
                                        {"isprintable", s_isprintable},
                                        {"isidentifier", s_isidentifier},
                                        {"isascii", s_isascii},
                                        {"islower", s_islower},
                                        {"isupper", s_isupper},
                                        {"istitle", s_istitle},
                                        {NULL, NULL}};

/* ---- dict ---------------------------------------------------------------------------------- */

static bool d_get(jr *r, jv self, const jargs *a, jv *out)
{
    jv v[2];
    bool found;
    if (!plain(r, "get", a, 1, 2, v) || !lar__jdict_get(r, self.u.d, v[0], out, &found))
        return false;
    if (!found)
        *out = v[1].t == JV_MISSING ? lar__jv_none() : v[1];
    return true;
}
static bool view(jr *r, jv self, const jargs *a, uint8_t kind, jv *out)
{
    *out = (jv){.t = JV_VIEW, .flag = kind, .u.d = self.u.d};
    return plain(r, "dict view", a, 0, 0, NULL);
}
static bool d_keys(jr *r, jv self, const jargs *a, jv *out)
{
    return view(r, self, a, 0, out);
}
static bool d_values(jr *r, jv self, const jargs *a, jv *out)
{
    return view(r, self, a, 1, out);
}
static bool d_items(jr *r, jv self, const jargs *a, jv *out)
{
    return view(r, self, a, 2, out);
}
static bool d_copy(jr *r, jv self, const jargs *a, jv *out)
{
    if (!plain(r, "copy", a, 0, 0, NULL) || !lar__jv_dict(r, out))
        return false;
    for (size_t i = 0; i < self.u.d->n; i++)
        if (!lar__jdict_set(r, out->u.d, self.u.d->e[i].key, self.u.d->e[i].val))
            return false;
    return true;
}
static bool d_fromkeys(jr *r, jv self, const jargs *a, jv *out)
{
    jv v[2], k;
    jiter it;
    bool done;
    (void)self;
    if (!plain(r, "fromkeys", a, 1, 2, v) || !lar__jiter_init(r, v[0], &it) ||
        !lar__jv_dict(r, out))
        return false;
    for (;;) {
        if (!lar__jiter_next(r, &it, &k, &done))
            return false;
        if (done)
            return true;
        if (!lar__jdict_set(r, out->u.d, k, v[1].t == JV_MISSING ? lar__jv_none() : v[1]))
            return false;
    }
}
static const jfunc_def dict_methods[] = {
    {"get", d_get},    {"keys", d_keys},         {"values", d_values}, {"items", d_items},
    {"copy", d_copy},  {"fromkeys", d_fromkeys}, {"clear", NULL},      {"pop", NULL},
    {"popitem", NULL}, {"setdefault", NULL},     {"update", NULL},     {NULL, NULL}};

static const jfunc_def dict_class[] = {{"fromkeys", d_fromkeys}, {NULL, NULL}};

/* ---- list, tuple --------------------------------------------------------------------------- */

static bool l_copy(jr *r, jv self, const jargs *a, jv *out)
{
    return plain(r, "copy", a, 0, 0, NULL) && lar__jv_to_list(r, self, out);
}
static bool l_search(jr *r, jv self, const jargs *a, bool index, jv *out)
{
    jv v[3], x;
    jiter it;
    bool done, eq;
    int64_t n = 0, len, from = 0, to = INT64_MAX;
    if (!plain(r, index ? "index" : "count", a, 1, index && self.t != JV_RANGE ? 3 : 1, v) ||
        !lar__jv_len(r, self, &len) || !lar__jiter_init(r, self, &it))
        return false;
    if (index && a->n > 1 && !lar__jv_as_int(r, v[1], "index", &from))
        return false;
    if (index && a->n > 2 && !lar__jv_as_int(r, v[2], "index", &to))
        return false;
    from = from < 0 ? (from < -len ? 0 : from + len) : from;
    to = to < 0 ? (to < -len ? 0 : to + len) : to;
    for (int64_t i = 0;; i++) {
        if (!lar__jiter_next(r, &it, &x, &done))
            return false;
        if (done)
            break;
        eq = lar__jv_same(x, v[0]);
        if (!eq && !lar__jv_eq(r, x, v[0], &eq))
            return false;
        if (eq && index && i >= from && i < to) {
            *out = lar__jv_int(i);
            return true;
        }
        n += eq;
    }
    if (index)
        return lar__jfail(r, "index: the value is not in the list");
    *out = lar__jv_int(n);
    return true;
}
static bool l_index(jr *r, jv self, const jargs *a, jv *out)
{
    return l_search(r, self, a, true, out);
}
static bool l_count(jr *r, jv self, const jargs *a, jv *out)
{
    return l_search(r, self, a, false, out);
}
static const jfunc_def list_methods[] = {{"copy", l_copy},  {"index", l_index}, {"count", l_count},
                                         {"append", NULL},  {"clear", NULL},    {"pop", NULL},
                                         {"reverse", NULL}, {"insert", NULL},   {"sort", NULL},
                                         {"extend", NULL},  {"remove", NULL},   {NULL, NULL}};
static const jfunc_def tuple_methods[] = {{"index", l_index}, {"count", l_count}, {NULL, NULL}};

/* ---- numbers ------------------------------------------------------------------------------- */

static bool i_bit_length(jr *r, jv self, const jargs *a, jv *out)
{
    int64_t i = self.t == JV_INT ? self.u.i : self.u.b, n = 0;
    for (uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i; u; u >>= 1)
        n++;
    *out = lar__jv_int(n);
    return plain(r, "bit_length", a, 0, 0, NULL);
}
static bool i_conjugate(jr *r, jv self, const jargs *a, jv *out)
{
    *out = self.t == JV_BOOL ? lar__jv_int(self.u.b) : self;
    return plain(r, "conjugate", a, 0, 0, NULL);
}
static bool f_is_integer(jr *r, jv self, const jargs *a, jv *out)
{
    *out = lar__jv_bool(isfinite(self.u.f) && floor(self.u.f) == self.u.f);
    return plain(r, "is_integer", a, 0, 0, NULL);
}
static const jfunc_def int_methods[] = {
    {"bit_length", i_bit_length}, {"conjugate", i_conjugate}, {NULL, NULL}};
static const jfunc_def float_methods[] = {
    {"is_integer", f_is_integer}, {"conjugate", i_conjugate}, {NULL, NULL}};

/* ---- cycler -------------------------------------------------------------------------------- */

static bool c_next(jr *r, jv self, const jargs *a, jv *out)
{
    jcycler *c = self.u.cycler;
    *out = c->v[c->pos];
    c->pos = (c->pos + 1) % c->n;
    return plain(r, "next", a, 0, 0, NULL);
}
static bool c_reset(jr *r, jv self, const jargs *a, jv *out)
{
    self.u.cycler->pos = 0;
    *out = lar__jv_none();
    return plain(r, "reset", a, 0, 0, NULL);
}
static const jfunc_def cycler_methods[] = {{"next", c_next}, {"reset", c_reset}, {NULL, NULL}};

/* ---- lookup -------------------------------------------------------------------------------- */

const jfunc_def *lar__jdef_find(const jfunc_def *t, const char *p, size_t n)
{
    for (; t->name; t++)
        if (lar_str_eq((lar_str){p, n}, t->name))
            return t;
    return NULL;
}

const jfunc_def *lar__jmethod(jv obj, const char *p, size_t n)
{
    switch (obj.t) {
    case JV_STR:
        return lar__jdef_find(str_methods, p, n);
    case JV_DICT:
        return lar__jdef_find(dict_methods, p, n);
    case JV_LIST:
        return lar__jdef_find(list_methods, p, n);
    case JV_TUPLE:
    case JV_RANGE:
        return lar__jdef_find(tuple_methods, p, n);
    case JV_INT:
    case JV_BOOL:
        return lar__jdef_find(int_methods, p, n);
    case JV_FLOAT:
        return lar__jdef_find(float_methods, p, n);
    case JV_CYCLER:
        return lar__jdef_find(cycler_methods, p, n);
    case JV_FUNC:
        return lar__jis_dict_class(obj.u.func) ? lar__jdef_find(dict_class, p, n) : NULL;
    default:
        return NULL;
    }
}
