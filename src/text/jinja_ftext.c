/*
 * jinja_ftext.c - jinja2's filters of text: case, spacing, escapes, JSON. Depends on jinja_args.h.
 */
#include "text/jinja_args.h"
#include <string.h>

static bool case_filter(jr *r, const char *what, jv in, const jargs *a, int how, jv *out)
{
    const jstr *s = NULL;
    return no_args(r, what, a) && lar__jv_str(r, in, &s) && lar__jstr_case(r, s, how, out);
}
static bool f_lower(jr *r, jv in, const jargs *a, jv *out)
{
    return case_filter(r, "lower", in, a, CASE_LOWER, out);
}
static bool f_upper(jr *r, jv in, const jargs *a, jv *out)
{
    return case_filter(r, "upper", in, a, CASE_UPPER, out);
}
static bool f_capitalize(jr *r, jv in, const jargs *a, jv *out)
{
    return case_filter(r, "capitalize", in, a, CASE_CAPITALIZE, out);
}

/* Words begin after -, white space, and the brackets ({[<; not as str.title. */
static bool f_title(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s = NULL;
    lar_buf b = {0};
    if (!no_args(r, "title", a) || !lar__jv_str(r, in, &s) || !lar__jstep(r, s->n))
        return false;
    for (size_t i = 0; i < s->n;) {
        size_t e = i;
        uint32_t cp = 0;
        bool sep = false;
        while (e < s->n) { /* [i, e): a run of separators, or a word */
            int k = LAR_MAX(1, lar_utf8_decode(s->p + e, s->n - e, &cp));
            bool is_sep = lar__jspace(cp) || (cp < 128 && cp && strchr("-({[<", (int)cp));
            if (e > i && is_sep != sep)
                break;
            sep = is_sep;
            e += (size_t)k;
        }
        size_t first = (size_t)LAR_MAX(1, lar_utf8_decode(s->p + i, s->n - i, NULL));
        jv head, tail;
        if (!lar__jv_sub(r, s, i, first, &head) ||
            !lar__jv_sub(r, s, i + first, e - i - first, &tail) ||
            !lar__jstr_case(r, head.u.s, CASE_UPPER, &head) ||
            !lar__jstr_case(r, tail.u.s, CASE_LOWER, &tail)) {
            lar_buf_free(&b);
            return false;
        }
        lar_buf_add(&b, head.u.s->p, head.u.s->n);
        lar_buf_add(&b, tail.u.s->p, tail.u.s->n);
        i = e;
    }
    return lar__jv_buf(r, &b, false, out);
}

static bool f_trim(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s, *chars = NULL;
    size_t b, e;
    BIND("trim", 0, "chars");
    if (!lar__jv_str(r, in, &s) || (given(v[0]) && !want_str(r, "trim", v[0], &chars)) ||
        !lar__jstep(r, s->n * (chars ? LAR_MIN(chars->n, (size_t)1 << 20) : 1)))
        return false;
    lar__jtrim(s, chars, 3, &b, &e);
    return lar__jv_sub(r, s, b, e - b, out);
}

static bool f_string(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s = NULL;
    if (!no_args(r, "string", a) || !lar__jv_str(r, in, &s))
        return false;
    *out = (jv){.t = JV_STR, .u.s = s};
    return true;
}

static bool f_replace(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s = NULL, *from = NULL, *to = NULL;
    int64_t max = -1;
    BIND("replace", 2, "old", "new", "count");
    if (!lar__jv_str(r, in, &s) || !lar__jv_str(r, v[0], &from) || !lar__jv_str(r, v[1], &to) ||
        (given(v[2]) && !lar__jv_as_int(r, v[2], "replace: count", &max)))
        return false;
    jstr plain = *s;
    plain.markup = false;
    return lar__jstr_replace(r, &plain, from, to, max, out);
}

static bool f_center(jr *r, jv in, const jargs *a, jv *out)
{
    static const jstr space = {" ", 1, 1, false};
    const jstr *s = NULL;
    int64_t width;
    BIND("center", 0, "width");
    return lar__jv_str(r, in, &s) && opt_int(r, v[0], "center", 80, &width) &&
           lar__jstr_pad(r, s, width, &space, 2, out);
}

static bool f_indent(jr *r, jv in, const jargs *a, jv *out)
{
    static const jstr space = {" ", 1, 1, false};
    const jstr *s = NULL, *ind = NULL;
    bool first, blank;
    jv pad, lines;
    BIND("indent", 0, "width", "first", "blank");
    if (!want_str(r, "indent", in, &s) || !flag(r, v[1], false, &first) ||
        !flag(r, v[2], false, &blank))
        return false;
    if (v[0].t == JV_STR) {
        ind = v[0].u.s;
    } else {
        int64_t n;
        if (!opt_int(r, v[0], "indent", 4, &n) ||
            !lar__jstr_pad(r, &space, LAR_MAX(n, 1), &space, 0, &pad))
            return false;
        static const jstr none = {"", 0, 0, false};
        ind = n > 0 ? pad.u.s : &none;
    }
    jv with_end, end;
    if (!lar__jv_z(r, "\n", &end) || !lar__jbin(r, OP_ADD, in, end, &with_end) ||
        !lar__jstr_splitlines(r, with_end.u.s, false, &lines))
        return false;
    lar_buf b = {0};
    if (first)
        lar_buf_add(&b, ind->p, ind->n);
    for (size_t i = 0; i < lines.u.l->n; i++) {
        const jstr *line = lines.u.l->v[i].u.s;
        if (i)
            lar_buf_putc(&b, '\n');
        if (i && (blank || line->n))
            lar_buf_add(&b, ind->p, ind->n);
        lar_buf_add(&b, line->p, line->n);
        if (b.n > JINJA_MAX_OUTPUT || !lar__jstep(r, ind->n)) {
            break;
        }
    }
    return lar__jv_buf(r, &b, s->markup, out) && r->st == LAR_OK;
}

static bool f_truncate(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s = NULL, *end = NULL;
    int64_t length, leeway;
    bool kill;
    jv dots, head, parts;
    BIND("truncate", 0, "length", "killwords", "end", "leeway");
    int64_t len;
    if (!lar__jv_len(r, in, &len) || !opt_int(r, v[0], "truncate", 255, &length) ||
        !flag(r, v[1], false, &kill) || !lar__jv_z(r, "...", &dots) ||
        !want_str(r, "truncate: end", v[2].t == JV_MISSING ? dots : v[2], &end))
        return false;
    leeway = 5;
    if (given(v[3]) && !lar__jv_as_int(r, v[3], "truncate: leeway", &leeway))
        return false;
    if (length < (int64_t)end->len)
        return lar__jfail(r, "truncate: expected length >= %zu, got %lld", end->len,
                          (long long)length);
    if (leeway < 0)
        return lar__jfail(r, "truncate: expected leeway >= 0, got %lld", (long long)leeway);
    *out = in;
    if (length > INT64_MAX - leeway || len <= length + leeway)
        return true;
    if (!want_str(r, "truncate", in, &s))
        return false;
    jv part[3] = {lar__jv_none(), lar__jv_int(length - (int64_t)end->len), lar__jv_none()};
    static const jstr space = {" ", 1, 1, false};
    if (!lar__jslice(r, in, part, &head))
        return false;
    if (!kill) {
        if (!lar__jstr_split(r, head.u.s, &space, 1, true, &parts))
            return false;
        head = parts.u.l->v[0];
    }
    return lar__jbin(r, OP_ADD, head, (jv){.t = JV_STR, .u.s = end}, out);
}

static bool f_wordcount(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s = NULL;
    int64_t n = 0;
    bool word = false;
    if (!no_args(r, "wordcount", a) || !lar__jv_str(r, in, &s) || !lar__jstep(r, s->n))
        return false;
    for (size_t i = 0; i < s->n;) {
        int k = LAR_MAX(1, lar_utf8_decode(s->p + i, s->n - i, NULL));
        jstr one = {s->p + i, (size_t)k, 1, false};
        bool w = s->p[i] == '_' || lar__jstr_is(&one, 'n');
        n += w && !word;
        word = w;
        i += (size_t)k;
    }
    *out = lar__jv_int(n);
    return true;
}

static bool f_striptags(jr *r, jv in, const jargs *a, jv *out)
{
    static const struct {
        const char *name, *text;
    } ents[] = {{"&amp;", "&"}, {"&lt;", "<"},   {"&gt;", ">"},   {"&quot;", "\""},
                {"&#39;", "'"}, {"&#34;", "\""}, {"&apos;", "'"}, {"&nbsp;", "\xC2\xA0"}};
    const jstr *s = NULL;
    lar_buf b = {0}, c = {0};
    jv text, words;
    size_t pos = 0;
    if (!no_args(r, "striptags", a) || !lar__jv_str(r, in, &s) || !lar__jstep(r, s->n))
        return false;
    while (pos < s->n) {
        const char *lt = memchr(s->p + pos, '<', s->n - pos);
        if (!lt)
            break;
        size_t at = (size_t)(lt - s->p);
        bool comment = s->n - at >= 4 && !memcmp(lt, "<!--", 4);
        const jstr close = {comment ? "-->" : ">", comment ? 3 : 1, 0, false};
        ptrdiff_t e = lar__jfind(r, s, LAR_MIN(at + (comment ? 4 : 0), s->n), s->n, &close);
        if (e < 0)
            break;
        lar_buf_add(&b, s->p + pos, at - pos);
        pos = (size_t)e + close.n;
    }
    if (pos < s->n)
        lar_buf_add(&b, s->p + pos, s->n - pos);
    static const jstr space = {" ", 1, 1, false};
    if (!lar__jv_buf(r, &b, false, &text) ||
        !lar__jstr_split(r, text.u.s, NULL, -1, false, &words) ||
        !lar__jstr_join(r, &space, words, true, &text))
        return false;
    s = text.u.s;
    for (size_t i = 0; i < s->n;) {
        size_t k = 0;
        while (k < LAR_LEN(ents) && !(s->n - i >= strlen(ents[k].name) &&
                                      !memcmp(s->p + i, ents[k].name, strlen(ents[k].name))))
            k++;
        if (k < LAR_LEN(ents)) {
            lar_buf_puts(&c, ents[k].text);
            i += strlen(ents[k].name);
        } else {
            lar_buf_putc(&c, s->p[i++]);
        }
    }
    return lar__jv_buf(r, &c, false, out);
}

static void put_quoted(lar_buf *b, const jstr *s, bool query)
{
    for (size_t i = 0; i < s->n; i++) {
        unsigned char ch = (unsigned char)s->p[i];
        bool keep = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                    (ch >= '0' && ch <= '9') || (ch && strchr("_.-~", ch)) || (ch == '/' && !query);
        if (keep)
            lar_buf_putc(b, (char)ch);
        else if (query && ch == ' ')
            lar_buf_putc(b, '+');
        else
            lar_buf_printf(b, "%%%02X", ch);
    }
}

static bool f_urlencode(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s = NULL;
    lar_buf b = {0};
    jiter it;
    jv x, pair;
    bool done, ok = true;
    if (!no_args(r, "urlencode", a))
        return false;
    if (in.t == JV_STR || lar__jv_is_num(in) || in.t == JV_NONE) {
        if (!lar__jv_str(r, in, &s) || !lar__jstep(r, s->n))
            return false;
        put_quoted(&b, s, false);
        return lar__jv_buf(r, &b, false, out);
    }
    if (in.t == JV_DICT)
        in = (jv){.t = JV_VIEW, .flag = 2, .u.d = in.u.d};
    if (!lar__jiter_init(r, in, &it))
        return false;
    for (size_t i = 0;; i++) {
        ok = lar__jiter_next(r, &it, &x, &done);
        if (!ok || done)
            break;
        ok = lar__jv_to_list(r, x, &pair) &&
             (pair.u.l->n == 2 ||
              lar__jfail(r, "urlencode: found %zu values, want pairs", pair.u.l->n));
        if (i)
            lar_buf_putc(&b, '&');
        for (size_t k = 0; ok && k < 2; k++) {
            if (k)
                lar_buf_putc(&b, '=');
            ok = lar__jv_str(r, pair.u.l->v[k], &s);
            if (ok)
                put_quoted(&b, s, true);
        }
        if (!ok || !lar__jbuf_ok(r, &b))
            break;
    }
    if (r->st != LAR_OK) {
        lar_buf_free(&b);
        return false;
    }
    return lar__jv_buf(r, &b, false, out);
}

static bool f_xmlattr(jr *r, jv in, const jargs *a, jv *out)
{
    bool space;
    lar_buf b = {0};
    BIND("xmlattr", 0, "autospace");
    if (!flag(r, v[0], true, &space))
        return false;
    if (in.t != JV_DICT)
        return in.t == JV_UNDEF
                   ? lar__jundef_use(r, in)
                   : lar__jfail(r, "xmlattr: found a %s, want a dict", lar__jtype_name[in.t]);
    for (size_t i = 0; i < in.u.d->n; i++) {
        const jentry *e = &in.u.d->e[i];
        jv k = e->key, x = e->val;
        if (x.t == JV_NONE || x.t == JV_UNDEF)
            continue;
        bool ok = k.t == JV_STR || lar__jfail(r, "xmlattr: a key is no string");
        for (size_t c = 0; ok && c < k.u.s->n; c++)
            if (strchr(" \t\n\r\f\v/>=", k.u.s->p[c]) && k.u.s->p[c])
                ok = lar__jfail(r, "xmlattr: invalid character in attribute name");
        if (!ok || !lar__jescape(r, k, &k) || !lar__jescape(r, x, &x)) {
            lar_buf_free(&b);
            return false;
        }
        if (b.n || space)
            lar_buf_putc(&b, ' ');
        lar_buf_add(&b, k.u.s->p, k.u.s->n);
        lar_buf_puts(&b, "=\"");
        lar_buf_add(&b, x.u.s->p, x.u.s->n);
        lar_buf_putc(&b, '"');
    }
    return lar__jv_buf(r, &b, false, out);
}

static bool f_escape(jr *r, jv in, const jargs *a, jv *out)
{
    return no_args(r, "escape", a) && lar__jescape(r, in, out);
}
static bool f_forceescape(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s = NULL;
    jstr *plain = lar__jalloc(r, sizeof *plain);
    if (!plain || !no_args(r, "forceescape", a) || !lar__jv_str(r, in, &s))
        return false;
    *plain = *s;
    plain->markup = false;
    return lar__jescape(r, (jv){.t = JV_STR, .u.s = plain}, out);
}
static bool f_safe(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s = NULL;
    jstr *m = lar__jalloc(r, sizeof *m);
    if (!m || !no_args(r, "safe", a) || !lar__jv_str(r, in, &s))
        return false;
    *m = *s;
    m->markup = true;
    *out = (jv){.t = JV_STR, .u.s = m};
    return true;
}

static bool f_format(jr *r, jv in, const jargs *a, jv *out)
{
    const jstr *s = NULL;
    jv args;
    if (a->n && a->n_named)
        return lar__jfail(r, "format: positional and keyword arguments at the same time");
    if (!lar__jv_str(r, in, &s))
        return false;
    if (a->n_named) {
        if (!lar__jv_dict(r, &args))
            return false;
        for (size_t i = 0; i < a->n_named; i++)
            if (!lar__jdict_set(r, args.u.d, (jv){.t = JV_STR, .u.s = a->name[i]}, a->named[i]))
                return false;
    } else {
        if (!lar__jv_list(r, a->n, true, &args))
            return false;
        for (size_t i = 0; i < a->n; i++)
            if (!lar__jlist_add(r, args.u.l, a->v[i]))
                return false;
    }
    return lar__jpercent(r, s, args, out);
}

static bool f_tojson(jr *r, jv in, const jargs *a, jv *out)
{
    lar_buf b = {0};
    bool ascii, sort;
    BIND("tojson", 0, "ensure_ascii", "indent", "separators", "sort_keys");
    if (!flag(r, v[0], false, &ascii) || !flag(r, v[3], false, &sort))
        return false;
    if (!lar__jput_json(r, &b, in, v[1], v[2], ascii, sort)) {
        lar_buf_free(&b);
        return false;
    }
    return lar__jv_buf(r, &b, false, out);
}

/* pprint sorts the keys of dicts, where they can be compared */
static bool sort_dicts(jr *r, jv in, jv *out)
{
    bool ok = true;
    *out = in;
    if (in.t != JV_LIST && in.t != JV_TUPLE && in.t != JV_DICT)
        return true;
    if (!lar__jenter(r))
        return false;
    if (in.t == JV_DICT) {
        const jdict *d = in.u.d;
        jv *keys = lar__jalloc_array(r, d->n + 1, sizeof *keys),
           *vals = lar__jalloc_array(r, d->n + 1, sizeof *vals);
        ok = keys && vals && lar__jv_dict(r, out);
        for (size_t i = 0; ok && i < d->n; i++) {
            keys[i] = d->e[i].key;
            ok = sort_dicts(r, d->e[i].val, &vals[i]);
        }
        ok = ok && lar__jsort(r, keys, vals, d->n, false);
        for (size_t i = 0; ok && i < d->n; i++)
            ok = lar__jdict_set(r, out->u.d, keys[i], vals[i]);
    } else {
        ok = lar__jv_list(r, in.u.l->n, in.t == JV_TUPLE, out);
        for (size_t i = 0; ok && i < in.u.l->n; i++) {
            jv x;
            ok = sort_dicts(r, in.u.l->v[i], &x) && lar__jlist_add(r, out->u.l, x);
        }
    }
    lar__jleave(r);
    return ok;
}

static bool f_pprint(jr *r, jv in, const jargs *a, jv *out)
{
    lar_buf b = {0};
    if (!no_args(r, "pprint", a) || !sort_dicts(r, in, &in))
        return false;
    if (!lar__jput_repr(r, &b, in)) {
        lar_buf_free(&b);
        return false;
    }
    if (b.n > 80) {
        lar_buf_free(&b);
        return lar__jfail(r,
                          "pprint of more than one line is not supported: use tojson(indent=...)");
    }
    return lar__jv_buf(r, &b, false, out);
}

static bool wrap_space(char ch)
{
    return ch == ' ' || (ch >= '\t' && ch <= '\r');
}

/* textwrap.wrap(line, width, expand_tabs=False, replace_whitespace=False) for words without hyphens
 */
static bool wrap_line(jr *r, const jstr *s, int64_t width, bool cut, jlist *out)
{
    size_t b = 0, i = 0;
    jv v;
    while (i < s->n) {
        size_t e = i, fit = i;
        int64_t w = 0;
        while (e < s->n) { /* as many chunks, of spaces or of others, as fit */
            size_t c = e;
            int64_t cw = 0;
            bool space = wrap_space(s->p[e]);
            while (c < s->n && (wrap_space(s->p[c])) == space) {
                cw += ((unsigned char)s->p[c] & 0xC0) != 0x80;
                c++;
            }
            if (e == i && space && out->n) { /* no white space at the start of later lines */
                i = fit = e = c;
                continue;
            }
            if (w + cw <= width) {
                w += cw;
                e = fit = c;
                continue;
            }
            if (cw > width && cut && w < width) {
                while (w < width && fit < c) {
                    fit++;
                    while (fit < c && ((unsigned char)s->p[fit] & 0xC0) == 0x80)
                        fit++;
                    w++;
                }
            } else if (w == 0) {
                fit = c;
            }
            break;
        }
        b = i;
        size_t end = fit;
        while (end > b && wrap_space(s->p[end - 1]))
            end--;
        if (end > b && (!lar__jv_sub(r, s, b, end - b, &v) || !lar__jlist_add(r, out, v)))
            return false;
        if (fit == i)
            break;
        i = fit;
    }
    return true;
}

static bool f_wordwrap(jr *r, jv in, const jargs *a, jv *out)
{
    int64_t width;
    bool cut, hyphens;
    const jstr *s = NULL, *nl = NULL;
    jv lines, all, newline;
    BIND("wordwrap", 0, "width", "break_long_words", "wrapstring", "break_on_hyphens");
    if (!want_str(r, "wordwrap", in, &s) || !opt_int(r, v[0], "wordwrap", 79, &width) ||
        !flag(r, v[1], true, &cut) || !flag(r, v[3], true, &hyphens) ||
        !lar__jv_z(r, "\n", &newline) ||
        !want_str(r, "wordwrap", given(v[2]) ? v[2] : newline, &nl))
        return false;
    if (hyphens && s->n && memchr(s->p, '-', s->n))
        return lar__jfail(r, "wordwrap of text with hyphens wants break_on_hyphens=false");
    if (width <= 0)
        return lar__jfail(r, "wordwrap: invalid width %lld", (long long)width);
    if (!lar__jstr_splitlines(r, s, false, &lines) || !lar__jv_list(r, 0, false, &all))
        return false;
    for (size_t i = 0; i < lines.u.l->n; i++) {
        jv part, text;
        if (!lar__jv_list(r, 0, false, &part) ||
            !wrap_line(r, lines.u.l->v[i].u.s, width, cut, part.u.l) ||
            !lar__jstr_join(r, nl, part, true, &text) || !lar__jlist_add(r, all.u.l, text))
            return false;
    }
    return lar__jstr_join(r, nl, all, true, out);
}

const jfunc_def lar__jtext_filters[] = {{"capitalize", f_capitalize},
                                        {"center", f_center},
                                        {"e", f_escape},
                                        {"escape", f_escape},
                                        {"forceescape", f_forceescape},
                                        {"format", f_format},
                                        {"indent", f_indent},
                                        {"lower", f_lower},
                                        {"pprint", f_pprint},
                                        {"replace", f_replace},
                                        {"safe", f_safe},
                                        {"string", f_string},
                                        {"striptags", f_striptags},
                                        {"title", f_title},
                                        {"tojson", f_tojson},
                                        {"trim", f_trim},
                                        {"truncate", f_truncate},
                                        {"upper", f_upper},
                                        {"urlencode", f_urlencode},
                                        {"wordcount", f_wordcount},
                                        {"wordwrap", f_wordwrap},
                                        {"xmlattr", f_xmlattr},
                                        {NULL, NULL}};
