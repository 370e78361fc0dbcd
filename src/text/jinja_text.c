/*
 * jinja_text.c - values as text: Python's str() and repr(), json.dumps, numbers, HTML escapes.
 * Depends on jinja.h, utf8proc (which characters print).
 */
#include "text/jinja.h"
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* A buffer that grew past the limits, or could not grow. */
bool lar__jbuf_ok(jr *r, const lar_buf *b)
{
    if (b->oom)
        return lar__joom(r);
    if (b->n > JINJA_MAX_OUTPUT)
        return lar__jfail(r, "a text of more than %u MiB", JINJA_MAX_OUTPUT >> 20);
    return true;
}

/* ---- numbers ------------------------------------------------------------------------------- */

/* snprintf and strtod follow the process's locale; ours is always ".". */
static void fix_point(char *s, bool to_locale)
{
    const char *p = localeconv()->decimal_point;
    if (!p || !*p || p[1] || *p == '.')
        return;
    char *at = strchr(s, to_locale ? '.' : *p);
    if (at)
        *at = to_locale ? *p : '.';
}

static double to_double(const char *s)
{
    char tmp[420];
    size_t n = strlen(s);
    if (n >= sizeof tmp)
        return strtod(s, NULL);
    memcpy(tmp, s, n + 1);
    fix_point(tmp, true);
    return strtod(tmp, NULL);
}

/* Python's float(): white space, sign, digits with single underscores, inf, nan. */
bool lar__jparse_float(const char *p, size_t n, double *f)
{
    jstr s = {p, n, 0, false};
    char buf[400];
    size_t b, e, k = 0;
    lar__jtrim(&s, NULL, 3, &b, &e);
    if (e - b >= sizeof buf || b == e)
        return false;
    bool digit = false;
    for (size_t i = b; i < e; i++) {
        char ch = p[i];
        if (ch == '_') {
            if (i == b || i + 1 == e || p[i - 1] < '0' || p[i - 1] > '9' || p[i + 1] < '0' ||
                p[i + 1] > '9')
                return false;
            continue;
        }
        digit |= ch >= '0' && ch <= '9';
        buf[k++] = ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch;
    }
    buf[k] = 0;
    const char *q = buf + (buf[0] == '-' || buf[0] == '+');
    if (!strcmp(q, "inf") || !strcmp(q, "infinity") || !strcmp(q, "nan")) {
        *f = strtod(buf, NULL);
        return true;
    }
    for (const char *z = q; *z; z++)
        if (!strchr("0123456789.e+-", *z))
            return false;
    if (!digit)
        return false;
    char *end;
    fix_point(buf, true);
    *f = strtod(buf, &end);
    return *end == 0;
}

int64_t lar__jparse_int(const char *p, size_t n, int base, bool *ok, bool *big)
{
    jstr s = {p, n, 0, false};
    size_t b, e;
    uint64_t v = 0;
    bool neg = false, any = false;
    lar__jtrim(&s, NULL, 3, &b, &e);
    *ok = *big = false;
    if (b < e && (p[b] == '-' || p[b] == '+'))
        neg = p[b++] == '-';
    if (e - b > 2 && p[b] == '0') {
        char x = (char)(p[b + 1] | 32);
        int want = x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 0;
        if (want && (base == want || base == 0)) {
            base = want;
            b += 2;
            if (p[b] == '_')
                b++;
        }
    }
    if (base == 0) {
        base = 10;
        if (b < e && p[b] == '0')
            for (size_t i = b; i < e; i++)
                if (p[i] != '0' && p[i] != '_')
                    return 0;
    }
    for (size_t i = b; i < e; i++) {
        char ch = p[i];
        int d = ch >= '0' && ch <= '9'                 ? ch - '0'
                : (ch | 32) >= 'a' && (ch | 32) <= 'z' ? (ch | 32) - 'a' + 10
                                                       : 99;
        if (ch == '_' && any && i + 1 < e && p[i + 1] != '_')
            continue;
        if (d >= base)
            return 0;
        any = true;
        if (v > (UINT64_MAX - (uint64_t)d) / (uint64_t)base)
            *big = true;
        v = v * (uint64_t)base + (uint64_t)d;
    }
    *ok = any;
    if (v > (uint64_t)INT64_MAX + neg)
        *big = true;
    return neg ? (int64_t)(0 - v) : (int64_t)v;
}

/* repr(float): the shortest digits that read back; exponents below -4 and from 16 on */
void lar__jput_float(lar_buf *b, double f)
{
    char s[40];
    if (f != f) {
        lar_buf_puts(b, "nan");
        return;
    }
    if (f - f != 0) {
        lar_buf_puts(b, f < 0 ? "-inf" : "inf");
        return;
    }
    int prec = 0;
    for (; prec < 17; prec++) {
        snprintf(s, sizeof s, "%.*e", prec, f);
        fix_point(s, false);
        if (to_double(s) == f)
            break;
    }
    char *x = strchr(s, 'e');
    int ex = (int)strtol(x + 1, NULL, 10);
    *x = 0;
    const char *d = s;
    if (*d == '-')
        lar_buf_putc(b, *d++);
    char digits[24];
    int n = 0;
    for (; *d; d++)
        if (*d != '.')
            digits[n++] = *d;
    if (ex < -4 || ex >= 16) {
        lar_buf_putc(b, digits[0]);
        if (n > 1) {
            lar_buf_putc(b, '.');
            lar_buf_add(b, digits + 1, (size_t)n - 1);
        }
        lar_buf_printf(b, "e%c%02d", ex < 0 ? '-' : '+', ex < 0 ? -ex : ex);
        return;
    }
    if (ex < 0) {
        lar_buf_puts(b, "0.");
        for (int i = -1; i > ex; i--)
            lar_buf_putc(b, '0');
        lar_buf_add(b, digits, (size_t)n);
        return;
    }
    for (int i = 0; i <= ex || i < n; i++) {
        if (i == ex + 1)
            lar_buf_putc(b, '.');
        lar_buf_putc(b, i < n ? digits[i] : '0');
    }
    if (n <= ex + 1)
        lar_buf_puts(b, ".0");
}

/* %e %f %g of Python; infinities and NaN without a sign of their own notation */
void lar__jput_fixed(lar_buf *b, double f, int prec, char type, bool alt)
{
    char fmt[8] = {'%', 0}, s[420];
    bool upper = type >= 'A' && type <= 'Z';
    if (f != f || f - f != 0) {
        lar_buf_puts(b, f != f  ? (upper ? "NAN" : "nan")
                        : f < 0 ? (upper ? "-INF" : "-inf")
                                : (upper ? "INF" : "inf"));
        return;
    }
    size_t k = 1;
    if (alt)
        fmt[k++] = '#';
    fmt[k++] = '.';
    fmt[k++] = '*';
    fmt[k++] = type == 'F' ? 'f' : type;
    fmt[k] = 0;
    /* a double has at most 309 digits before the point; more than 100 after it are refused by the
     * callers */
    snprintf(s, sizeof s, fmt, prec, f);
    fix_point(s, false);
    lar_buf_puts(b, s);
}

/* ---- str and repr -------------------------------------------------------------------------- */

static bool printable(uint32_t cp)
{
    if (cp < 127)
        return cp >= 32;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

static void put_repr_str(lar_buf *b, const jstr *s)
{
    bool one = s->n && memchr(s->p, '\'', s->n), two = s->n && memchr(s->p, '"', s->n);
    char q = one && !two ? '"' : '\'';
    lar_buf_putc(b, q);
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        int k = LAR_MAX(1, lar_utf8_decode(s->p + i, s->n - i, &cp));
        if (cp == (uint32_t)q || cp == '\\')
            lar_buf_printf(b, "\\%c", (char)cp);
        else if (cp == '\n')
            lar_buf_puts(b, "\\n");
        else if (cp == '\r')
            lar_buf_puts(b, "\\r");
        else if (cp == '\t')
            lar_buf_puts(b, "\\t");
        else if (printable(cp))
            lar_buf_add(b, s->p + i, (size_t)k);
        else
            lar_buf_printf(b,
                           cp < 0x100     ? "\\x%02x"
                           : cp < 0x10000 ? "\\u%04x"
                                          : "\\U%08x",
                           (unsigned)cp);
        i += (size_t)k;
    }
    lar_buf_putc(b, q);
}

static bool put_items(jr *r, lar_buf *b, const jlist *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            lar_buf_puts(b, ", ");
        if (!lar__jput_repr(r, b, l->v[i]))
            return false;
    }
    return true;
}

static bool put_dict(jr *r, lar_buf *b, const jdict *d, int view)
{
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            lar_buf_puts(b, ", ");
        if (view == 2)
            lar_buf_putc(b, '(');
        if (view != 1 && !lar__jput_repr(r, b, d->e[i].key))
            return false;
        if (view < 0 || view == 2)
            lar_buf_puts(b, view < 0 ? ": " : ", ");
        if (view != 0 && !lar__jput_repr(r, b, d->e[i].val))
            return false;
        if (view == 2)
            lar_buf_putc(b, ')');
    }
    return true;
}

static bool put_other(jr *r, lar_buf *b, jv v)
{
    static const char *const views[] = {"dict_keys([", "dict_values([", "dict_items(["};
    switch (v.t) {
    case JV_RANGE:
        lar_buf_printf(b, "range(%lld, %lld", (long long)v.u.range->start,
                       (long long)v.u.range->stop);
        if (v.u.range->step != 1)
            lar_buf_printf(b, ", %lld", (long long)v.u.range->step);
        lar_buf_putc(b, ')');
        return true;
    case JV_VIEW:
        lar_buf_puts(b, views[v.flag]);
        if (!put_dict(r, b, v.u.d, v.flag))
            return false;
        lar_buf_puts(b, "])");
        return true;
    case JV_NS:
        lar_buf_puts(b, "<Namespace {");
        if (!put_dict(r, b, v.u.d, -1))
            return false;
        lar_buf_puts(b, "}>");
        return true;
    case JV_MACRO:
        lar_buf_puts(b, "<Macro ");
        if (v.u.macro->node->name)
            put_repr_str(b, v.u.macro->node->name);
        else
            lar_buf_puts(b, "anonymous");
        lar_buf_putc(b, '>');
        return true;
    case JV_LOOP: {
        int64_t n;
        if (!lar__jv_len(r, v, &n))
            return false;
        lar_buf_printf(b, "<LoopContext %lld/%lld>", (long long)v.u.loop->index0 + 1, (long long)n);
        return true;
    }
    default: /* Python prints an address here */
        lar_buf_printf(b, "<%s>", lar__jtype_name[v.t]);
        return true;
    }
}

static bool put_container(jr *r, lar_buf *b, jv v)
{
    bool list = v.t == JV_LIST, dict = v.t == JV_DICT;
    lar_buf_putc(b, list ? '[' : dict ? '{' : '(');
    if (!(dict ? put_dict(r, b, v.u.d, -1) : put_items(r, b, v.u.l)))
        return false;
    if (v.t == JV_TUPLE && v.u.l->n == 1)
        lar_buf_putc(b, ',');
    lar_buf_putc(b, list ? ']' : dict ? '}' : ')');
    return true;
}

bool lar__jput_repr(jr *r, lar_buf *b, jv v)
{
    bool ok = true;
    if (!lar__jstep(r, 0) || !lar__jbuf_ok(r, b))
        return false;
    switch (v.t) {
    case JV_UNDEF:
        lar_buf_puts(b, "Undefined");
        break;
    case JV_NONE:
        lar_buf_puts(b, "None");
        break;
    case JV_BOOL:
        lar_buf_puts(b, v.u.b ? "True" : "False");
        break;
    case JV_INT:
        lar_buf_printf(b, "%lld", (long long)v.u.i);
        break;
    case JV_FLOAT:
        lar__jput_float(b, v.u.f);
        break;
    case JV_STR:
        if (v.u.s->markup)
            lar_buf_puts(b, "Markup(");
        put_repr_str(b, v.u.s);
        if (v.u.s->markup)
            lar_buf_putc(b, ')');
        return lar__jstep(r, v.u.s->n);
    default:
        if (!lar__jenter(r))
            return false;
        ok = v.t == JV_LIST || v.t == JV_TUPLE || v.t == JV_DICT ? put_container(r, b, v)
                                                                 : put_other(r, b, v);
        lar__jleave(r);
    }
    return ok;
}

bool lar__jput_str(jr *r, lar_buf *b, jv v)
{
    if (v.t == JV_STR) {
        if (v.u.s->n)
            lar_buf_add(b, v.u.s->p, v.u.s->n);
        return lar__jstep(r, v.u.s->n) && lar__jbuf_ok(r, b);
    }
    if (v.t == JV_UNDEF)
        return true;
    return lar__jput_repr(r, b, v) && lar__jbuf_ok(r, b);
}

bool lar__jv_str(jr *r, jv v, const jstr **out)
{
    lar_buf b = {0};
    jv s;
    if (v.t == JV_STR) {
        *out = v.u.s;
        return true;
    }
    if (!lar__jput_str(r, &b, v)) {
        lar_buf_free(&b);
        return false;
    }
    if (!lar__jv_buf(r, &b, false, &s))
        return false;
    *out = s.u.s;
    return true;
}

/* ---- HTML ---------------------------------------------------------------------------------- */

void lar__jput_escaped(lar_buf *b, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        switch (p[i]) {
        case '&':
            lar_buf_puts(b, "&amp;");
            break;
        case '<':
            lar_buf_puts(b, "&lt;");
            break;
        case '>':
            lar_buf_puts(b, "&gt;");
            break;
        case '\'':
            lar_buf_puts(b, "&#39;");
            break;
        case '"':
            lar_buf_puts(b, "&#34;");
            break;
        default:
            lar_buf_putc(b, p[i]);
        }
    }
}

bool lar__jescape(jr *r, jv v, jv *out)
{
    const jstr *s;
    lar_buf b = {0};
    *out = v;
    if (v.t == JV_STR && v.u.s->markup)
        return true;
    if (!lar__jv_str(r, v, &s) || !lar__jstep(r, s->n))
        return false;
    lar__jput_escaped(&b, s->p, s->n);
    return lar__jv_buf(r, &b, true, out);
}

/* ---- json.dumps ---------------------------------------------------------------------------- */

typedef struct dump {
    jr *r;
    lar_buf *b;
    const jstr *indent; /* NULL: one line */
    const jstr *item, *key;
    bool ascii, sort;
} dump;

static void put_json_str(lar_buf *b, const jstr *s, bool ascii)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    lar_buf_putc(b, '"');
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        int k = LAR_MAX(1, lar_utf8_decode(s->p + i, s->n - i, &cp));
        const char *f = cp && cp < 128 ? strchr(from, (int)cp) : NULL;
        if (f)
            lar_buf_printf(b, "\\%c", to[f - from]);
        else if (cp >= 0x10000 && ascii)
            lar_buf_printf(b, "\\u%04x\\u%04x", (unsigned)(0xD7C0 + (cp >> 10)),
                           (unsigned)(0xDC00 + (cp & 0x3FF)));
        else if (cp < 32 || (ascii && cp > 126))
            lar_buf_printf(b, "\\u%04x", (unsigned)cp);
        else
            lar_buf_add(b, s->p + i, (size_t)k);
        i += (size_t)k;
    }
    lar_buf_putc(b, '"');
}

static void new_line(dump *d, int level)
{
    if (!d->indent)
        return;
    lar_buf_putc(d->b, '\n');
    for (int i = 0; i < level && d->b->n <= JINJA_MAX_OUTPUT; i++)
        lar_buf_add(d->b, d->indent->p, d->indent->n);
}

static bool dump_value(dump *d, jv v, int level);

static bool dump_key(dump *d, jv k)
{
    if (k.t == JV_STR) {
        put_json_str(d->b, k.u.s, d->ascii);
        return true;
    }
    if (k.t != JV_NONE && !lar__jv_is_num(k))
        return lar__jfail(d->r, "tojson: a key is a %s, want a string, a number or none",
                          lar__jtype_name[k.t]);
    lar_buf_putc(d->b, '"');
    bool ok = dump_value(d, k, 0);
    lar_buf_putc(d->b, '"');
    return ok;
}

static bool dump_dict(dump *d, const jdict *m, int level)
{
    jv *keys = NULL, *vals = NULL;
    if (!m->n) {
        lar_buf_puts(d->b, "{}");
        return true;
    }
    if (d->sort) {
        keys = lar__jalloc_array(d->r, m->n, sizeof *keys);
        vals = lar__jalloc_array(d->r, m->n, sizeof *vals);
        if (!keys || !vals)
            return false;
        for (size_t i = 0; i < m->n; i++) {
            keys[i] = m->e[i].key;
            vals[i] = lar__jv_int((int64_t)i);
        }
        if (!lar__jsort(d->r, keys, vals, m->n, false))
            return false;
    }
    lar_buf_putc(d->b, '{');
    for (size_t i = 0; i < m->n; i++) {
        const jentry *e = &m->e[vals ? (size_t)vals[i].u.i : i];
        if (i)
            lar_buf_add(d->b, d->item->p, d->item->n);
        new_line(d, level + 1);
        if (!dump_key(d, e->key))
            return false;
        lar_buf_add(d->b, d->key->p, d->key->n);
        if (!dump_value(d, e->val, level + 1))
            return false;
    }
    new_line(d, level);
    lar_buf_putc(d->b, '}');
    return true;
}

static bool dump_list(dump *d, const jlist *l, int level)
{
    if (!l->n) {
        lar_buf_puts(d->b, "[]");
        return true;
    }
    lar_buf_putc(d->b, '[');
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            lar_buf_add(d->b, d->item->p, d->item->n);
        new_line(d, level + 1);
        if (!dump_value(d, l->v[i], level + 1))
            return false;
    }
    new_line(d, level);
    lar_buf_putc(d->b, ']');
    return true;
}

static bool dump_value(dump *d, jv v, int level)
{
    bool ok = true;
    if (!lar__jstep(d->r, v.t == JV_STR ? v.u.s->n : 0) || !lar__jbuf_ok(d->r, d->b))
        return false;
    switch (v.t) {
    case JV_STR:
        put_json_str(d->b, v.u.s, d->ascii);
        return true;
    case JV_NONE:
        lar_buf_puts(d->b, "null");
        return true;
    case JV_BOOL:
        lar_buf_puts(d->b, v.u.b ? "true" : "false");
        return true;
    case JV_INT:
        lar_buf_printf(d->b, "%lld", (long long)v.u.i);
        return true;
    case JV_FLOAT:
        if (v.u.f != v.u.f)
            lar_buf_puts(d->b, "NaN");
        else if (v.u.f - v.u.f != 0)
            lar_buf_puts(d->b, v.u.f < 0 ? "-Infinity" : "Infinity");
        else
            lar__jput_float(d->b, v.u.f);
        return true;
    case JV_DICT:
    case JV_LIST:
    case JV_TUPLE:
        if (!lar__jenter(d->r))
            return false;
        ok = v.t == JV_DICT ? dump_dict(d, v.u.d, level) : dump_list(d, v.u.l, level);
        lar__jleave(d->r);
        return ok;
    default:
        return lar__jfail(d->r, "tojson: an object of type %s is not JSON serializable",
                          lar__jtype_name[v.t]);
    }
}

bool lar__jput_json(jr *r, lar_buf *b, jv v, jv indent, jv separators, bool ascii, bool sort)
{
    static const jstr comma = {", ", 2, 2, false}, bare = {",", 1, 1, false},
                      colon = {": ", 2, 2, false};
    dump d = {r, b, NULL, &comma, &colon, ascii, sort};
    jv pad;
    if (indent.t == JV_STR) {
        d.indent = indent.u.s;
    } else if (indent.t != JV_NONE && indent.t != JV_MISSING) {
        static const jstr space = {" ", 1, 1, false};
        int64_t n;
        if (!lar__jv_as_int(r, indent, "tojson: indent", &n) ||
            !lar__jstr_pad(r, &space, LAR_MAX(n, 1), &space, 0, &pad))
            return false;
        static const jstr none = {"", 0, 0, false};
        d.indent = n > 0 ? pad.u.s : &none;
    }
    if (d.indent)
        d.item = &bare;
    if (separators.t != JV_NONE && separators.t != JV_MISSING) {
        jv l;
        if (!lar__jv_to_list(r, separators, &l))
            return false;
        if (l.u.l->n != 2 || l.u.l->v[0].t != JV_STR || l.u.l->v[1].t != JV_STR)
            return lar__jfail(r, "tojson: separators wants two strings");
        d.item = l.u.l->v[0].u.s;
        d.key = l.u.l->v[1].u.s;
    }
    return dump_value(&d, v, 0) && lar__jbuf_ok(r, b);
}
