/*
 * jinja_filters.c - jinja2's built-in filters, with tojson as transformers sets it. Those that are
 * generators there (map, select, unique, batch, slice, items, reverse of a list) are lazy here.
 * Depends on jinja.h.
 */
#include "text/jinja_args.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- attributes of items ------------------------------------------------------------------- */

/* make_attrgetter: "a.b.0" or an index */
bool lar__jitem_path(jr *r, jv item, jv path, jv fallback, jv *out)
{
    *out = item;
    if (path.t == JV_NONE || path.t == JV_MISSING)
        return true;
    if (path.t != JV_STR) {
        if (!lar__jgetitem(r, item, path, out))
            return false;
        if (given(fallback) && out->t == JV_UNDEF)
            *out = fallback;
        return true;
    }
    const jstr *s = path.u.s;
    for (size_t b = 0; b <= s->n;) {
        const char *dot = b < s->n ? memchr(s->p + b, '.', s->n - b) : NULL;
        size_t e = dot ? (size_t)(dot - s->p) : s->n;
        jv key;
        bool digits = e > b, ok, big;
        for (size_t i = b; i < e; i++)
            digits &= s->p[i] >= '0' && s->p[i] <= '9';
        if (digits) {
            key = lar__jv_int(lar__jparse_int(s->p + b, e - b, 10, &ok, &big));
            if (big)
                return lar__jfail(r, "an index does not fit 64 bits");
        } else if (!lar__jv_sub(r, s, b, e - b, &key)) {
            return false;
        }
        if (!lar__jgetitem(r, *out, key, out))
            return false;
        if (given(fallback) && out->t == JV_UNDEF)
            *out = fallback;
        b = e + 1;
    }
    return true;
}

static bool fold(jr *r, jv *v, bool case_sensitive)
{
    return case_sensitive || v->t != JV_STR || lar__jstr_case(r, v->u.s, CASE_LOWER, v);
}

/* ---- generators ---------------------------------------------------------------------------- */

static bool gen(jr *r, jiter_kind kind, jv in, const jargs *a, jiter *it)
{
    (void)r;
    *it = (jiter){.kind = (uint8_t)kind, .src = in, .args = a};
    it->attr.t = JV_MISSING;
    it->fill.t = JV_MISSING;
    return true;
}

static bool open_source(jr *r, jiter *it)
{
    if (it->open)
        return true;
    it->in = lar__jalloc(r, sizeof *it->in);
    it->open = true;
    return it->in && lar__jiter_init(r, it->src, it->in);
}

/* `map`, `select`: the filter or test named by argument `at`, with the arguments after it */
static bool named_def(jr *r, jiter *it, size_t at, bool test)
{
    const jargs *a = it->args;
    if (a->v[at].t != JV_STR)
        return lar__jfail(r, "the name of a %s is a %s", test ? "test" : "filter",
                          lar__jtype_name[a->v[at].t]);
    const jstr *s = a->v[at].u.s;
    it->fn = test ? lar__jtest(s->p, s->n) : lar__jfilter(s->p, s->n);
    if (!it->fn)
        return lar__jfail(r, "no %s named '%.*s'", test ? "test" : "filter",
                          (int)LAR_MIN(s->n, 60u), s->p);
    jargs *rest = lar__jalloc(r, sizeof *rest);
    if (!rest)
        return false;
    *rest = *a;
    rest->v += at + 1;
    rest->n -= at + 1;
    it->args = rest;
    return true;
}

static bool open_map(jr *r, jiter *it)
{
    const jargs *a = it->args;
    bool truth, attr = false;
    if (!lar__jv_true(r, it->src, &truth))
        return false;
    if (!truth) {
        it->done = true;
        return true;
    }
    for (size_t i = 0; !a->n && i < a->n_named; i++)
        attr |= lar_str_eq((lar_str){a->name[i]->p, a->name[i]->n}, "attribute");
    if (attr) {
        BIND("map", 0, "attribute", "default");
        it->attr = v[0];
        it->fill = v[1];
    } else if (!a->n) {
        return lar__jfail(r, "map wants the name of a filter or attribute=");
    }
    if (!open_source(r, it))
        return false;
    return attr || named_def(r, it, 0, false);
}

static bool next_map(jr *r, jiter *it, jv *out, bool *done)
{
    jv x;
    if (!it->open && !it->done && !open_map(r, it))
        return false;
    *done = it->done;
    if (*done || !lar__jiter_next(r, it->in, &x, done) || *done)
        return r->st == LAR_OK;
    if (it->fn)
        return it->fn->fn(r, x, it->args, out);
    return lar__jitem_path(r, x, it->attr, it->fill, out);
}

static bool open_select(jr *r, jiter *it)
{
    bool truth;
    size_t at = it->by_attr;
    if (!lar__jv_true(r, it->src, &truth))
        return false;
    if (!truth) {
        it->done = true;
        return true;
    }
    if (at && !it->args->n)
        return lar__jfail(r, "the name of an attribute is missing");
    if (at)
        it->attr = it->args->v[0];
    return open_source(r, it) && (it->args->n <= at || named_def(r, it, at, true));
}

static bool next_select(jr *r, jiter *it, jv *out, bool *done)
{
    jv x, res;
    bool b;
    if (!it->open && !it->done && !open_select(r, it))
        return false;
    *done = it->done;
    while (!*done) {
        if (!lar__jiter_next(r, it->in, out, done) || *done)
            return r->st == LAR_OK;
        if (!lar__jitem_path(r, *out, it->attr, it->fill, &x))
            return false;
        res = x;
        if (it->fn && !it->fn->fn(r, x, it->args, &res))
            return false;
        if (!lar__jv_true(r, res, &b))
            return false;
        if (b != it->reject)
            return true;
    }
    return true;
}

static bool next_unique(jr *r, jiter *it, jv *out, bool *done)
{
    jv key, d;
    bool found;
    if (!it->open) {
        if (!open_source(r, it) || !lar__jv_dict(r, &d))
            return false;
        it->seen = d.u.d;
    }
    for (;;) {
        if (!lar__jiter_next(r, it->in, out, done) || *done)
            return r->st == LAR_OK;
        if (!lar__jitem_path(r, *out, it->attr, it->fill, &key) || !fold(r, &key, it->reject) ||
            !lar__jdict_get(r, it->seen, key, &d, &found))
            return false;
        if (!found)
            return lar__jdict_set(r, it->seen, key, key);
    }
}

static bool next_batch(jr *r, jiter *it, jv *out, bool *done)
{
    jv x;
    bool end = false;
    *done = it->done;
    if (*done)
        return true;
    if (!it->open && !open_source(r, it))
        return false;
    if (!lar__jv_list(r, 0, false, out))
        return false;
    if (it->list) { /* the item that opened this batch */
        if (!lar__jlist_add(r, out->u.l, it->list->v[0]))
            return false;
    }
    for (;;) {
        if (!lar__jiter_next(r, it->in, &x, &end))
            return false;
        if (end)
            break;
        if ((int64_t)out->u.l->n == it->count) {
            jv one;
            if (!lar__jv_list(r, 1, false, &one) || !lar__jlist_add(r, one.u.l, x))
                return false;
            it->list = one.u.l;
            return true;
        }
        if (!lar__jlist_add(r, out->u.l, x))
            return false;
    }
    it->done = true;
    *done = !out->u.l->n;
    while (!*done && given(it->fill) && (int64_t)out->u.l->n < it->count)
        if (!lar__jlist_add(r, out->u.l, it->fill))
            return false;
    return true;
}

static bool next_slice(jr *r, jiter *it, jv *out, bool *done)
{
    jv all;
    if (!it->open) {
        if (!lar__jv_to_list(r, it->src, &all))
            return false;
        if (it->count == 0)
            return lar__jfail(r, "slice: integer division or modulo by zero");
        it->list = all.u.l;
        it->open = true;
    }
    int64_t n = (int64_t)it->list->n, per = it->count > 0 ? n / it->count : 0, k = (int64_t)it->pos;
    int64_t extra = it->count > 0 ? n % it->count : 0;
    *done = k >= it->count;
    if (*done)
        return true;
    it->pos++;
    int64_t b = LAR_MIN(k, extra) + k * per, e = LAR_MIN(k + 1, extra) + (k + 1) * per;
    if (!lar__jv_list(r, 0, false, out))
        return false;
    for (int64_t i = b; i < e; i++)
        if (!lar__jlist_add(r, out->u.l, it->list->v[i]))
            return false;
    return !given(it->fill) || k < extra || lar__jlist_add(r, out->u.l, it->fill);
}

static bool next_reversed(jr *r, jiter *it, jv *out, bool *done)
{
    jv all;
    if (!it->open) {
        if (!lar__jv_to_list(r, it->src, &all))
            return false;
        it->list = all.u.l;
        it->pos = all.u.l->n;
        it->open = true;
    }
    *done = it->pos == 0;
    if (!*done)
        *out = it->list->v[--it->pos];
    return true;
}

/* {% for x in y if test %}: the target is bound in a frame of its own while the test runs */
static bool next_for(jr *r, jiter *it, jv *out, bool *done)
{
    for (;;) {
        jv t;
        bool b;
        if (!lar__jiter_next(r, it->in, out, done) || *done)
            return r->st == LAR_OK;
        jenv *env = lar__jenv_new(r, it->env);
        if (!env || !lar__jassign(r, env, it->node->a, *out) ||
            !lar__jeval(r, env, it->node->c, &t) || !lar__jv_true(r, t, &b))
            return false;
        if (b)
            return true;
    }
}

bool lar__jgen_next(jr *r, jiter *it, jv *out, bool *done)
{
    switch (it->kind) {
    case JI_MAP:
        return next_map(r, it, out, done);
    case JI_SELECT:
        return next_select(r, it, out, done);
    case JI_UNIQUE:
        return next_unique(r, it, out, done);
    case JI_BATCH:
        return next_batch(r, it, out, done);
    case JI_SLICE:
        return next_slice(r, it, out, done);
    case JI_REVERSED:
        return next_reversed(r, it, out, done);
    default:
        return next_for(r, it, out, done);
    }
}

static bool f_map(jr *r, jv in, const jargs *a, jv *out)
{
    jiter it;
    return gen(r, JI_MAP, in, a, &it) && lar__jv_gen(r, &it, out);
}
static bool choose(jr *r, jv in, const jargs *a, bool reject, bool attr, jv *out)
{
    jiter it;
    gen(r, JI_SELECT, in, a, &it);
    it.reject = reject;
    it.by_attr = attr;
    return lar__jv_gen(r, &it, out);
}
static bool f_select(jr *r, jv in, const jargs *a, jv *out)
{
    return choose(r, in, a, false, false, out);
}
static bool f_reject(jr *r, jv in, const jargs *a, jv *out)
{
    return choose(r, in, a, true, false, out);
}
static bool f_selectattr(jr *r, jv in, const jargs *a, jv *out)
{
    return choose(r, in, a, false, true, out);
}
static bool f_rejectattr(jr *r, jv in, const jargs *a, jv *out)
{
    return choose(r, in, a, true, true, out);
}
static bool f_unique(jr *r, jv in, const jargs *a, jv *out)
{
    jiter it;
    BIND("unique", 0, "case_sensitive", "attribute");
    gen(r, JI_UNIQUE, in, a, &it);
    it.attr = v[1];
    return flag(r, v[0], false, &it.reject) && lar__jv_gen(r, &it, out);
}
static bool f_batch(jr *r, jv in, const jargs *a, jv *out)
{
    jiter it;
    BIND("batch", 1, "linecount", "fill_with");
    gen(r, JI_BATCH, in, a, &it);
    it.fill = v[1];
    return lar__jv_as_int(r, v[0], "batch", &it.count) && lar__jv_gen(r, &it, out);
}
static bool f_slice(jr *r, jv in, const jargs *a, jv *out)
{
    jiter it;
    BIND("slice", 1, "slices", "fill_with");
    gen(r, JI_SLICE, in, a, &it);
    it.fill = v[1];
    return lar__jv_as_int(r, v[0], "slice", &it.count) && lar__jv_gen(r, &it, out);
}
static bool f_items(jr *r, jv in, const jargs *a, jv *out)
{
    jiter it;
    if (!no_args(r, "items", a))
        return false;
    if (in.t != JV_DICT && in.t != JV_UNDEF)
        return lar__jfail(r, "items: found a %s, want a mapping", lar__jtype_name[in.t]);
    if (!lar__jiter_init(r, in, &it))
        return false;
    it.view = 2;
    return lar__jv_gen(r, &it, out);
}
static bool f_reverse(jr *r, jv in, const jargs *a, jv *out)
{
    jiter it;
    if (!no_args(r, "reverse", a))
        return false;
    if (in.t == JV_STR) {
        jv part[3] = {lar__jv_none(), lar__jv_none(), lar__jv_int(-1)};
        return lar__jslice(r, in, part, out);
    }
    gen(r, JI_REVERSED, in, a, &it);
    if (in.t == JV_LIST || in.t == JV_TUPLE || in.t == JV_DICT || in.t == JV_RANGE ||
        in.t == JV_VIEW)
        return lar__jv_gen(r, &it, out);
    if (!lar__jv_to_list(r, in, out))
        return false;
    jlist *l = out->u.l;
    for (size_t i = 0; i + i + 1 < l->n; i++) {
        jv t = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = t;
    }
    return true;
}

/* ---- sequences ----------------------------------------------------------------------------- */

static bool f_first(jr *r, jv in, const jargs *a, jv *out)
{
    jiter it;
    bool done;
    if (!no_args(r, "first", a) || !lar__jiter_init(r, in, &it) ||
        !lar__jiter_next(r, &it, out, &done))
        return false;
    if (done)
        *out = lar__jv_undef(r, "no first item, sequence was empty");
    return true;
}
static bool f_last(jr *r, jv in, const jargs *a, jv *out)
{
    jv l;
    if (!no_args(r, "last", a))
        return false;
    if (in.t == JV_ITER || in.t == JV_NS)
        return lar__jfail(r, "last: a %s cannot be reversed", lar__jtype_name[in.t]);
    if (in.t == JV_STR && in.u.s->n)
        return lar__jgetitem(r, in, lar__jv_int(-1), out);
    if (!lar__jv_to_list(r, in, &l))
        return false;
    *out = l.u.l->n ? l.u.l->v[l.u.l->n - 1] : lar__jv_undef(r, "no last item, sequence was empty");
    return true;
}
static bool f_length(jr *r, jv in, const jargs *a, jv *out)
{
    int64_t n;
    if (!no_args(r, "length", a) || !lar__jv_len(r, in, &n))
        return false;
    *out = lar__jv_int(n);
    return true;
}
static bool f_list(jr *r, jv in, const jargs *a, jv *out)
{
    return no_args(r, "list", a) && lar__jv_to_list(r, in, out);
}
static bool f_join(jr *r, jv in, const jargs *a, jv *out)
{
    static const jstr empty = {"", 0, 0, false};
    const jstr *sep = &empty;
    jstr plain;
    BIND("join", 0, "d", "attribute");
    if (v[0].t != JV_MISSING && !lar__jv_str(r, v[0], &sep))
        return false;
    plain = *sep; /* str(d): what is joined is text again */
    plain.markup = false;
    if (given(v[1])) {
        jiter it;
        gen(r, JI_MAP, in, a, &it);
        it.attr = v[1];
        if (!open_source(r, &it) || !lar__jv_gen(r, &it, &in))
            return false;
    }
    return lar__jstr_join(r, &plain, in, false, out);
}

static bool sorted(jr *r, jv in, jv attribute, bool case_sensitive, bool reverse, jlist **keys,
                   jv *out)
{
    jv ks;
    if (!lar__jv_to_list(r, in, out) || !lar__jv_list(r, out->u.l->n, false, &ks))
        return false;
    for (size_t i = 0; i < out->u.l->n; i++) {
        jv k;
        if (!lar__jitem_path(r, out->u.l->v[i], attribute, (jv){.t = JV_MISSING}, &k) ||
            !fold(r, &k, case_sensitive) || !lar__jlist_add(r, ks.u.l, k))
            return false;
    }
    *keys = ks.u.l;
    return lar__jsort(r, ks.u.l->v, out->u.l->v, out->u.l->n, reverse);
}

/* sort(attribute="a,b") compares by several attributes */
static bool sort_multi(jr *r, jv in, const jstr *attrs, bool cs, bool reverse, jv *out)
{
    static const jstr comma = {",", 1, 1, false};
    jv parts, ks;
    if (!lar__jstr_split(r, attrs, &comma, -1, false, &parts) || !lar__jv_to_list(r, in, out) ||
        !lar__jv_list(r, out->u.l->n, false, &ks))
        return false;
    for (size_t i = 0; i < out->u.l->n; i++) {
        jv key, k;
        if (!lar__jv_list(r, parts.u.l->n, false, &key))
            return false;
        for (size_t p = 0; p < parts.u.l->n; p++)
            if (!lar__jitem_path(r, out->u.l->v[i], parts.u.l->v[p], (jv){.t = JV_MISSING}, &k) ||
                !fold(r, &k, cs) || !lar__jlist_add(r, key.u.l, k))
                return false;
        if (!lar__jlist_add(r, ks.u.l, key))
            return false;
    }
    return lar__jsort(r, ks.u.l->v, out->u.l->v, out->u.l->n, reverse);
}

static bool f_sort(jr *r, jv in, const jargs *a, jv *out)
{
    bool reverse, cs;
    jlist *keys;
    BIND("sort", 0, "reverse", "case_sensitive", "attribute");
    if (!flag(r, v[0], false, &reverse) || !flag(r, v[1], false, &cs))
        return false;
    if (v[2].t == JV_STR)
        return sort_multi(r, in, v[2].u.s, cs, reverse, out);
    return sorted(r, in, v[2], cs, reverse, &keys, out);
}

static bool f_dictsort(jr *r, jv in, const jargs *a, jv *out)
{
    bool cs, reverse;
    jlist *keys;
    jv pos = lar__jv_int(0);
    BIND("dictsort", 0, "case_sensitive", "by", "reverse");
    if (!flag(r, v[0], false, &cs) || !flag(r, v[2], false, &reverse))
        return false;
    if (v[1].t == JV_STR && lar_str_eq((lar_str){v[1].u.s->p, v[1].u.s->n}, "value"))
        pos = lar__jv_int(1);
    else if (v[1].t != JV_MISSING &&
             !(v[1].t == JV_STR && lar_str_eq((lar_str){v[1].u.s->p, v[1].u.s->n}, "key")))
        return lar__jfail(r, "dictsort: by wants \"key\" or \"value\"");
    if (in.t == JV_UNDEF)
        return lar__jundef_use(r, in);
    if (in.t != JV_DICT)
        return lar__jfail(r, "dictsort: found a %s, want a dict", lar__jtype_name[in.t]);
    return sorted(r, (jv){.t = JV_VIEW, .flag = 2, .u.d = in.u.d}, pos, cs, reverse, &keys, out);
}

static bool f_groupby(jr *r, jv in, const jargs *a, jv *out)
{
    bool cs;
    jv items, ks, group = {.t = JV_MISSING}, last = {.t = JV_MISSING}, name;
    BIND("groupby", 1, "attribute", "default", "case_sensitive");
    if (!flag(r, v[2], false, &cs) || !lar__jv_to_list(r, in, &items) ||
        !lar__jv_list(r, items.u.l->n, false, &ks) || !lar__jv_list(r, 0, false, out))
        return false;
    for (size_t i = 0; i < items.u.l->n; i++) {
        jv k;
        if (!lar__jitem_path(r, items.u.l->v[i], v[0], v[1], &k) || !fold(r, &k, cs) ||
            !lar__jlist_add(r, ks.u.l, k))
            return false;
    }
    if (!lar__jsort(r, ks.u.l->v, items.u.l->v, items.u.l->n, false))
        return false;
    for (size_t i = 0; i < items.u.l->n; i++) {
        bool eq = false;
        if (i && !lar__jv_eq(r, ks.u.l->v[i], last, &eq))
            return false;
        last = ks.u.l->v[i];
        if (!eq) {
            jv pair;
            /* the group's name is that of its first member, in its own case */
            if (!lar__jitem_path(r, items.u.l->v[i], v[0], v[1], &name) ||
                !lar__jv_list(r, 0, false, &group) || !lar__jv_pair(r, name, group, &pair))
                return false;
            pair.flag = 1;
            if (!lar__jlist_add(r, out->u.l, pair))
                return false;
        }
        if (!lar__jlist_add(r, group.u.l, items.u.l->v[i]))
            return false;
    }
    return true;
}

static bool extreme(jr *r, jv in, const jargs *a, bool max, jv *out)
{
    bool cs, done, better;
    jiter it;
    jv x, k, best = {.t = JV_MISSING};
    BIND(max ? "max" : "min", 0, "case_sensitive", "attribute");
    if (!flag(r, v[0], false, &cs) || !lar__jiter_init(r, in, &it))
        return false;
    *out = lar__jv_undef(r, "no aggregated item, sequence was empty");
    for (;;) {
        if (!lar__jiter_next(r, &it, &x, &done))
            return false;
        if (done)
            return true;
        if (!lar__jitem_path(r, x, v[1], (jv){.t = JV_MISSING}, &k) || !fold(r, &k, cs))
            return false;
        better = best.t == JV_MISSING;
        if (!better && !lar__jv_cmp(r, k, best, max ? OP_GT : OP_LT, &better))
            return false;
        if (better) {
            best = k;
            *out = x;
        }
    }
}
static bool f_min(jr *r, jv in, const jargs *a, jv *out)
{
    return extreme(r, in, a, false, out);
}
static bool f_max(jr *r, jv in, const jargs *a, jv *out)
{
    return extreme(r, in, a, true, out);
}

static bool f_sum(jr *r, jv in, const jargs *a, jv *out)
{
    jiter it;
    jv x;
    bool done;
    BIND("sum", 0, "attribute", "start");
    *out = v[1].t == JV_MISSING ? lar__jv_int(0) : v[1];
    if (out->t == JV_STR)
        return lar__jfail(r, "sum: strings cannot be summed, use join");
    if (!lar__jiter_init(r, in, &it))
        return false;
    for (;;) {
        if (!lar__jiter_next(r, &it, &x, &done))
            return false;
        if (done)
            return true;
        if (!lar__jitem_path(r, x, v[0], (jv){.t = JV_MISSING}, &x) ||
            !lar__jbin(r, OP_ADD, *out, x, out))
            return false;
    }
}

/* ---- numbers ------------------------------------------------------------------------------- */

static bool f_abs(jr *r, jv in, const jargs *a, jv *out)
{
    if (!no_args(r, "abs", a))
        return false;
    if (in.t == JV_FLOAT) {
        *out = lar__jv_float(fabs(in.u.f));
        return true;
    }
    bool neg = in.t == JV_INT && in.u.i < 0;
    if (!lar__jv_is_num(in))
        return in.t == JV_UNDEF
                   ? lar__jundef_use(r, in)
                   : lar__jfail(r, "abs: found a %s, want a number", lar__jtype_name[in.t]);
    return lar__jneg(r, in, neg, out);
}

static bool float_to_int(jr *r, double f, jv *out)
{
    if (!(f > -9223372036854775808.0 && f < 9223372036854775808.0))
        return lar__jfail(r, "a float does not fit a 64-bit integer");
    *out = lar__jv_int((int64_t)f);
    return true;
}

static bool f_int(jr *r, jv in, const jargs *a, jv *out)
{
    int64_t base;
    bool ok = false, big = false;
    double f;
    BIND("int", 0, "default", "base");
    if (!opt_int(r, v[1], "int: base", 10, &base))
        return false;
    *out = v[0].t == JV_MISSING ? lar__jv_int(0) : v[0];
    if (in.t == JV_UNDEF)
        return lar__jundef_use(r, in);
    if (in.t == JV_INT || in.t == JV_BOOL) {
        *out = lar__jv_int(in.t == JV_INT ? in.u.i : in.u.b);
        return true;
    }
    if (in.t == JV_FLOAT) {
        if (isnan(in.u.f)) /* ValueError, then again: the default */
            return true;
        return float_to_int(r, in.u.f,
                            out); /* an infinity raises OverflowError, which int() lets through */
    }
    if (in.t != JV_STR)
        return true;
    if (base == 0 || (base >= 2 && base <= 36)) {
        int64_t i = lar__jparse_int(in.u.s->p, in.u.s->n, (int)base, &ok, &big);
        if (ok && big)
            return lar__jfail(r, "an integer does not fit 64 bits");
        if (ok) {
            *out = lar__jv_int(i);
            return true;
        }
    }
    if (lar__jparse_float(in.u.s->p, in.u.s->n, &f) && isfinite(f))
        return float_to_int(r, f, out);
    return true;
}

static bool f_float(jr *r, jv in, const jargs *a, jv *out)
{
    double f;
    BIND("float", 0, "default");
    *out = v[0].t == JV_MISSING ? lar__jv_float(0) : v[0];
    if (in.t == JV_UNDEF)
        return lar__jundef_use(r, in);
    if (lar__jv_num(in, &f) || (in.t == JV_STR && lar__jparse_float(in.u.s->p, in.u.s->n, &f)))
        *out = lar__jv_float(f);
    return true;
}

static double power10(int64_t n)
{
    double p = 1;
    for (int64_t i = 0; i < n; i++)
        p *= 10;
    return p;
}

/* round(float, n): through decimal, ties on the exact value to even, as CPython */
static double round_digits(double f, int64_t n)
{
    char s[420];
    double out;
    if (!isfinite(f) || n > 300)
        return f;
    if (n < -308)
        return copysign(0.0, f);
    if (n < 0) {
        double p = power10(-n), q = nearbyint(f / p);
        return q * p;
    }
    lar_buf b = {0};
    lar__jput_fixed(&b, f, (int)LAR_MIN(n, 100), 'f', false);
    if (b.oom || b.n >= sizeof s || !lar__jparse_float(b.p, b.n, &out))
        out = f;
    lar_buf_free(&b);
    return out;
}

static bool f_round(jr *r, jv in, const jargs *a, jv *out)
{
    int64_t n;
    double f;
    const jstr *m = NULL;
    BIND("round", 0, "precision", "method");
    if (!opt_int(r, v[0], "round: precision", 0, &n) ||
        (v[1].t != JV_MISSING && !want_str(r, "round: method", v[1], &m)))
        return false;
    if (in.t == JV_UNDEF)
        return lar__jundef_use(r, in);
    if (!lar__jv_num(in, &f))
        return lar__jfail(r, "round: found a %s, want a number", lar__jtype_name[in.t]);
    bool up = m && lar_str_eq((lar_str){m->p, m->n}, "ceil"),
         down = m && lar_str_eq((lar_str){m->p, m->n}, "floor");
    if (m && !up && !down && !lar_str_eq((lar_str){m->p, m->n}, "common"))
        return lar__jfail(r, "round: method must be common, ceil or floor");
    if (!up && !down) {
        if (in.t != JV_FLOAT && n >= 0) { /* int stays int */
            *out = lar__jv_int(in.t == JV_INT ? in.u.i : in.u.b);
            return true;
        }
        if (in.t != JV_FLOAT) {
            int64_t i = in.t == JV_INT ? in.u.i : in.u.b, p = 1;
            if (n < -18) {
                *out = lar__jv_int(0);
                return true;
            }
            for (int64_t k = n; k < 0; k++)
                p *= 10;
            int64_t q = i / p, rest = i % p, half = p / 2;
            int64_t ab = rest < 0 ? -rest : rest;
            if (ab > half || (ab == half && (q & 1)))
                q += i < 0 ? -1 : 1;
            return lar__jbin(r, OP_MUL, lar__jv_int(q), lar__jv_int(p), out);
        }
        *out = lar__jv_float(round_digits(f, n));
        return true;
    }
    if (!isfinite(f))
        return lar__jfail(r, "round: cannot convert an infinity or NaN to an integer");
    if (n < -300 || n > 300)
        return lar__jfail(r, "round: precision %lld out of range", (long long)n);
    double p = n >= 0 ? power10(n) : 1 / power10(-n), q = f * p;
    *out = lar__jv_float((up ? ceil(q) : floor(q)) / p);
    if (n >= 0 && in.t != JV_FLOAT) /* exact for ints */
        *out = lar__jv_float(f);
    return true;
}

static bool f_filesizeformat(jr *r, jv in, const jargs *a, jv *out)
{
    static const char letters[] = "kMGTPEZY";
    bool binary;
    double n;
    lar_buf b = {0};
    BIND("filesizeformat", 0, "binary");
    if (!flag(r, v[0], false, &binary))
        return false;
    if (in.t == JV_UNDEF)
        return lar__jundef_use(r, in);
    if (!lar__jv_num(in, &n) && !(in.t == JV_STR && lar__jparse_float(in.u.s->p, in.u.s->n, &n)))
        return lar__jfail(r, "filesizeformat: found a %s, want a number", lar__jtype_name[in.t]);
    double base = binary ? 1024 : 1000, unit = base;
    if (n == 1) {
        lar_buf_puts(&b, "1 Byte");
    } else if (n < base) {
        jv i;
        if (!float_to_int(r, n, &i))
            return false;
        lar_buf_printf(&b, "%lld Bytes", (long long)i.u.i);
    } else {
        size_t k = 0;
        for (; k < 8; k++) {
            unit *= base;
            if (n < unit || k == 7)
                break;
        }
        if (n != n)
            return lar__jfail(r, "filesizeformat: not a number");
        lar__jput_fixed(&b, base * n / unit, 1, 'f', false);
        char ch = letters[k];
        lar_buf_printf(&b, " %c%s", binary && ch == 'k' ? 'K' : ch, binary ? "iB" : "B");
    }
    return lar__jv_buf(r, &b, false, out);
}

/* ---- other --------------------------------------------------------------------------------- */

static bool f_default(jr *r, jv in, const jargs *a, jv *out)
{
    bool boolean, truth = true;
    BIND("default", 0, "default_value", "boolean");
    if (!flag(r, v[1], false, &boolean) ||
        (boolean && in.t != JV_UNDEF && !lar__jv_true(r, in, &truth)))
        return false;
    *out = in;
    if (in.t != JV_UNDEF && truth)
        return true;
    *out = v[0];
    return v[0].t != JV_MISSING || lar__jv_z(r, "", out);
}

static bool f_attr(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s = NULL;
    bool found;
    BIND("attr", 1, "name");
    if (!want_str(r, "attr", v[0], &s))
        return false;
    if (in.t == JV_UNDEF)
        return lar__jundef_use(r, in);
    if (!lar__jattr(r, in, s, out, &found))
        return false;
    if (!found)
        *out = lar__jv_undef(r, "the object has no such attribute");
    return true;
}

static bool f_random(jr *r, jv in, const jargs *a, jv *out)
{
    (void)in;
    (void)a;
    (void)out;
    return lar__jfail(r, "filter 'random' is not supported: a prompt depends on its input alone");
}
static bool f_urlize(jr *r, jv in, const jargs *a, jv *out)
{
    (void)in;
    (void)a;
    (void)out;
    return lar__jfail(r, "filter 'urlize' is not supported: a prompt is no HTML");
}

static const jfunc_def filters[] = {{"abs", f_abs},
                                    {"attr", f_attr},
                                    {"batch", f_batch},
                                    {"count", f_length},
                                    {"d", f_default},
                                    {"default", f_default},
                                    {"dictsort", f_dictsort},
                                    {"filesizeformat", f_filesizeformat},
                                    {"first", f_first},
                                    {"float", f_float},
                                    {"groupby", f_groupby},
                                    {"int", f_int},
                                    {"items", f_items},
                                    {"join", f_join},
                                    {"last", f_last},
                                    {"length", f_length},
                                    {"list", f_list},
                                    {"map", f_map},
                                    {"max", f_max},
                                    {"min", f_min},
                                    {"random", f_random},
                                    {"reject", f_reject},
                                    {"rejectattr", f_rejectattr},
                                    {"reverse", f_reverse},
                                    {"round", f_round},
                                    {"select", f_select},
                                    {"selectattr", f_selectattr},
                                    {"slice", f_slice},
                                    {"sort", f_sort},
                                    {"sum", f_sum},
                                    {"unique", f_unique},
                                    {"urlize", f_urlize},
                                    {NULL, NULL}};

const jfunc_def *lar__jfilter(const char *p, size_t n)
{
    const jfunc_def *d = lar__jdef_find(filters, p, n);
    return d ? d : lar__jdef_find(lar__jtext_filters, p, n);
}
