/*
 * jinja_format.c - Python's two ways to format: text % values, and text.format(values). Depends on
 * jinja.h.
 */
#include "text/jinja.h"
#include <stdio.h>
#include <string.h>

/* What stands between % or : and the type. */
typedef struct spec {
    char fill[4];
    int fill_n;
    char align, sign, type;
    bool alt, zero, comma, under;
    int64_t width, prec; /* prec -1: none */
} spec;

static bool check_size(jr *r, int64_t width, int64_t prec)
{
    if (width > (int64_t)(JINJA_MAX_OUTPUT / 4) || prec > (int64_t)(JINJA_MAX_OUTPUT / 4))
        return lar__jfail(r, "format: a width or precision of more than %u", JINJA_MAX_OUTPUT / 4);
    return true;
}

static size_t count(const char *p, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)p[i] & 0xC0) != 0x80;
    return k;
}

/* Write `body`, which begins with `lead` bytes of sign and prefix, at the width that `s` wants. */
static void put_padded(lar_buf *out, const spec *s, const char *body, size_t n, size_t lead,
                       char dflt)
{
    int64_t len = (int64_t)count(body, n), pad = s->width > len ? s->width - len : 0;
    char align = s->align ? s->align : dflt;
    int64_t left = align == '>' || align == '=' ? pad : align == '^' ? pad / 2 : 0;
    if (align == '=') {
        lar_buf_add(out, body, lead);
        body += lead;
        n -= lead;
    }
    for (int64_t i = 0; i < left; i++)
        lar_buf_add(out, s->fill, (size_t)s->fill_n);
    lar_buf_add(out, body, n);
    for (int64_t i = left; i < pad; i++)
        lar_buf_add(out, s->fill, (size_t)s->fill_n);
}

static void put_sign(lar_buf *b, bool neg, char sign)
{
    if (neg)
        lar_buf_putc(b, '-');
    else if (sign == '+' || sign == ' ')
        lar_buf_putc(b, sign);
}

/* Digits of base 2, 8, 10, 16, with separators every `group` digits */
static void put_digits(lar_buf *b, uint64_t u, unsigned base, bool upper, char sep, int group,
                       int64_t min)
{
    char s[160];
    size_t i = sizeof s;
    int n = 0;
    do {
        if (sep && n && n % group == 0)
            s[--i] = sep;
        s[--i] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
        u /= base;
        n++;
    } while (u);
    for (; n < min && (size_t)n < JINJA_MAX_OUTPUT; n++)
        lar_buf_putc(b, '0');
    lar_buf_add(b, s + i, sizeof s - i);
}

static bool put_int(jr *r, lar_buf *out, const spec *s, int64_t v, int64_t min_digits, bool percent)
{
    lar_buf b = {0};
    char t = s->type ? s->type : 'd';
    unsigned base = t == 'x' || t == 'X' ? 16 : t == 'o' ? 8 : t == 'b' ? 2 : 10;
    char sep = s->comma ? ',' : s->under ? '_' : 0;
    put_sign(&b, v < 0, s->sign);
    if (s->alt && base != 10) {
        lar_buf_putc(&b, '0');
        lar_buf_putc(&b, t);
    }
    size_t lead = b.n;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    put_digits(&b, u, base, t == 'X', sep, base == 10 ? 3 : 4, min_digits);
    if (sep && s->zero && s->fill[0] == '0' && !percent && s->width > (int64_t)b.n) {
        lar_buf_free(&b);
        return lar__jfail(r, "format: zero padding of grouped digits is not supported");
    }
    bool ok = lar__jbuf_ok(r, &b);
    if (ok)
        put_padded(out, s, b.p, b.n, lead, '>');
    lar_buf_free(&b);
    return ok;
}

/* Put separators into the integer digits of b from `lead` on. */
static void group_float(lar_buf *b, size_t lead, char sep)
{
    lar_buf g = {0};
    size_t e = lead;
    while (e < b->n && b->p[e] >= '0' && b->p[e] <= '9')
        e++;
    lar_buf_add(&g, b->p, lead);
    for (size_t i = lead; i < e; i++) {
        if (i > lead && (e - i) % 3 == 0)
            lar_buf_putc(&g, sep);
        lar_buf_putc(&g, b->p[i]);
    }
    lar_buf_add(&g, b->p + e, b->n - e);
    lar_buf_free(b);
    *b = g;
}

/* float without a type: repr's digits, or g with at least one digit after the point */
static bool put_general(lar_buf *b, double f, int64_t prec)
{
    if (prec < 0) {
        lar__jput_float(b, f);
        return true;
    }
    size_t at = b->n;
    lar__jput_fixed(b, f, (int)(prec ? prec : 1), 'g', false);
    if (b->oom)
        return false;
    const char *x = memchr(b->p + at, 'e', b->n - at);
    /* Python goes over to an exponent one digit earlier than %g here */
    double a = f < 0 ? -f : f;
    double limit = 1;
    for (int64_t i = 1; i < prec && i < 320; i++)
        limit *= 10;
    if (!x && f - f == 0 && !memchr(b->p + at, '.', b->n - at)) {
        if (a >= limit && a >= 1) {
            b->n = at;
            lar__jput_fixed(b, f, (int)(prec ? prec - 1 : 0), 'e', false);
            /* trailing zeros of the digits go, as %g does */
            char *e = b->oom ? NULL : memchr(b->p + at, 'e', b->n - at);
            char *dot = b->oom ? NULL : memchr(b->p + at, '.', b->n - at);
            if (e && dot) {
                char *z = e;
                while (z > dot && (z[-1] == '0' || z[-1] == '.')) {
                    z--;
                    if (*z == '.')
                        break;
                }
                size_t tail = b->n - (size_t)(e - b->p);
                memmove(z, e, tail);
                b->n = (size_t)(z - b->p) + tail;
            }
        } else {
            lar_buf_puts(b, ".0");
        }
    }
    return true;
}

static bool put_float(jr *r, lar_buf *out, const spec *s, double f, bool percent)
{
    lar_buf b = {0};
    bool neg = f < 0 || (f == 0 && 1 / f < 0);
    char t = s->type ? s->type : 0;
    put_sign(&b, neg, s->sign);
    size_t lead = b.n;
    double a = neg ? -f : f;
    int64_t prec = s->prec;
    if (prec > 100 && t && t != 'g' && t != 'G')
        return lar_buf_free(&b), lar__jfail(r, "format: a precision of more than 100 digits");
    if (prec > 100)
        prec = 100;
    if (!t && !percent)
        put_general(&b, a, prec);
    else if (t == '%')
        lar__jput_fixed(&b, a * 100, prec < 0 ? 6 : (int)prec, 'f', s->alt);
    else
        lar__jput_fixed(&b, a, prec < 0 ? 6 : (int)prec, t == 'n' ? 'g' : t, s->alt);
    if (t == '%')
        lar_buf_putc(&b, '%');
    bool finite = f - f == 0;
    if (finite && (s->comma || s->under) && !b.oom)
        group_float(&b, lead, s->comma ? ',' : '_');
    bool ok = lar__jbuf_ok(r, &b);
    if (ok)
        put_padded(out, s, b.p, b.n, lead, '>');
    lar_buf_free(&b);
    return ok;
}

static void put_text(lar_buf *out, const spec *s, const jstr *t, char dflt)
{
    size_t n = t->n;
    if (s->prec >= 0 && (size_t)s->prec < t->len)
        n = lar__jutf8_at(t, (size_t)s->prec);
    put_padded(out, s, t->p, n, 0, dflt);
}

/* ---- text % values ------------------------------------------------------------------------- */

typedef struct percent {
    jr *r;
    const jstr *f;
    size_t i;
    jv args;
    size_t used;
    bool mapping;
} percent;

static bool next_arg(percent *p, jv *v)
{
    if (p->args.t == JV_TUPLE) {
        if (p->used >= p->args.u.l->n)
            return lar__jfail(p->r, "not enough arguments for format string");
        *v = p->args.u.l->v[p->used++];
        return true;
    }
    if (p->used++)
        return lar__jfail(p->r, "not enough arguments for format string");
    *v = p->args;
    return true;
}

static bool number(percent *p, int64_t *n)
{
    const jstr *f = p->f;
    if (p->i < f->n && f->p[p->i] == '*') {
        jv v;
        p->i++;
        if (!next_arg(p, &v))
            return false;
        if (v.t != JV_INT)
            return lar__jfail(p->r, "* wants an int");
        *n = v.u.i;
        return true;
    }
    for (*n = 0; p->i < f->n && f->p[p->i] >= '0' && f->p[p->i] <= '9'; p->i++) {
        *n = *n * 10 + (f->p[p->i] - '0');
        if (!check_size(p->r, *n, 0))
            return false;
    }
    return true;
}

static bool put_percent(percent *p, lar_buf *out, const spec *s, jv v)
{
    jr *r = p->r;
    double f;
    lar_buf b = {0};
    jv text;
    const jstr *str;
    switch (s->type) {
    case 's':
    case 'r':
    case 'a':
        if (s->type == 's') {
            if (!lar__jv_str(r, v, &str))
                return false;
        } else {
            if (!lar__jput_repr(r, &b, v)) {
                lar_buf_free(&b);
                return false;
            }
            if (!lar__jv_buf(r, &b, false, &text))
                return false;
            str = text.u.s;
            if (s->type == 'a' && str->n != str->len)
                return lar__jfail(r, "%%a of text beyond ASCII is not supported");
        }
        if (p->f->markup) {
            if (!lar__jescape(r, (jv){.t = JV_STR, .u.s = str}, &text))
                return false;
            str = text.u.s;
        }
        put_text(out, s, str, '>');
        return true;
    case 'c':
        if (v.t == JV_STR && v.u.s->len == 1) {
            put_padded(out, s, v.u.s->p, v.u.s->n, 0, '>');
            return true;
        }
        if (v.t == JV_INT && v.u.i >= 0 && v.u.i <= 0x10FFFF &&
            !(v.u.i >= 0xD800 && v.u.i < 0xE000)) {
            char c[4];
            put_padded(out, s, c, (size_t)lar_utf8_encode((uint32_t)v.u.i, c), 0, '>');
            return true;
        }
        return lar__jfail(r, "%%c wants an int or a character");
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
        int64_t n;
        bool dec = s->type == 'd' || s->type == 'i' || s->type == 'u';
        if (v.t == JV_FLOAT && dec && v.u.f > -9.2e18 && v.u.f < 9.2e18)
            n = (int64_t)v.u.f;
        else if (v.t == JV_INT || v.t == JV_BOOL)
            n = v.t == JV_INT ? v.u.i : v.u.b;
        else if (v.t == JV_UNDEF)
            return lar__jundef_use(r, v);
        else
            return lar__jfail(r, "%%%c: found a %s, want a number", s->type, lar__jtype_name[v.t]);
        spec d = *s;
        if (dec)
            d.type = 'd';
        return put_int(r, out, &d, n, s->prec, true);
    }
    default:
        if (v.t == JV_UNDEF)
            return lar__jundef_use(r, v);
        if (!lar__jv_num(v, &f))
            return lar__jfail(r, "%%%c: found a %s, want a number", s->type, lar__jtype_name[v.t]);
        return put_float(r, out, s, f, true);
    }
}

static bool percent_one(percent *p, lar_buf *out)
{
    jr *r = p->r;
    const jstr *f = p->f;
    spec s = {.fill = " ", .fill_n = 1, .prec = -1};
    jv v = {.t = JV_MISSING};
    if (p->i < f->n && f->p[p->i] == '(') {
        size_t b = ++p->i;
        int depth = 1;
        for (; p->i < f->n && depth; p->i++)
            depth += f->p[p->i] == '(' ? 1 : f->p[p->i] == ')' ? -1 : 0;
        if (depth)
            return lar__jfail(r, "incomplete format key");
        if (p->args.t != JV_DICT)
            return lar__jfail(r, "format requires a mapping");
        p->mapping = true;
        if (!lar__jdict_getz(p->args.u.d, f->p + b, p->i - 1 - b, &v))
            return lar__jfail(r, "no key '%.*s' for the format", (int)LAR_MIN(p->i - 1 - b, 60u),
                              f->p + b);
    }
    for (; p->i < f->n && f->p[p->i] && strchr("-+ #0", f->p[p->i]); p->i++) {
        char c = f->p[p->i];
        if (c == '-')
            s.align = '<';
        else if (c == '#')
            s.alt = true;
        else if (c == '0')
            s.zero = true;
        else if (c == '+' || !s.sign)
            s.sign = c;
    }
    if (!number(p, &s.width))
        return false;
    if (s.width < 0) {
        s.align = '<';
        s.width = s.width > INT64_MIN ? -s.width : INT64_MAX;
    }
    if (p->i < f->n && f->p[p->i] == '.') {
        p->i++;
        if (!number(p, &s.prec))
            return false;
        s.prec = LAR_MAX(s.prec, 0);
    }
    if (!check_size(r, s.width, s.prec))
        return false;
    while (p->i < f->n && f->p[p->i] && strchr("hlL", f->p[p->i]))
        p->i++;
    if (p->i >= f->n)
        return lar__jfail(r, "incomplete format");
    s.type = f->p[p->i++];
    if (s.type == '%') {
        lar_buf_putc(out, '%');
        return true;
    }
    if (!s.type || !strchr("srcadiuxXoeEfFgG", s.type))
        return lar__jfail(r, "unsupported format character '%c'", s.type);
    if (v.t == JV_MISSING && !next_arg(p, &v))
        return false;
    bool text = strchr("srac", s.type) != NULL;
    if (s.zero && !s.align && !text) {
        s.fill[0] = '0';
        s.align = '=';
    }
    return put_percent(p, out, &s, v);
}

bool lar__jpercent(jr *r, const jstr *f, jv args, jv *out)
{
    lar_buf b = {0};
    percent p = {.r = r, .f = f, .args = args};
    bool ok = lar__jstep(r, f->n);
    while (ok && p.i < f->n) {
        const char *at = memchr(f->p + p.i, '%', f->n - p.i);
        size_t e = at ? (size_t)(at - f->p) : f->n;
        lar_buf_add(&b, f->p + p.i, e - p.i);
        p.i = e;
        if (at) {
            p.i++;
            ok = percent_one(&p, &b) && lar__jbuf_ok(r, &b);
        }
    }
    bool single = args.t != JV_TUPLE && args.t != JV_DICT && args.t != JV_LIST && args.t != JV_NS &&
                  args.t != JV_RANGE;
    if (ok && ((args.t == JV_TUPLE && p.used < args.u.l->n && !p.mapping) || (single && !p.used)))
        ok = lar__jfail(r, "not all arguments converted during string formatting");
    if (!ok) {
        lar_buf_free(&b);
        return false;
    }
    return lar__jv_buf(r, &b, f->markup, out);
}

/* ---- text.format(values) ------------------------------------------------------------------- */

typedef struct fmt {
    jr *r;
    const jargs *a;
    jv map;
    const jstr *f;
    int64_t next; /* automatic number; -1: numbers were given */
    bool markup;
} fmt;

static bool parse_spec(jr *r, const char *p, size_t n, spec *s)
{
    size_t i = 0;
    *s = (spec){.fill = " ", .fill_n = 1, .prec = -1};
    int k = n ? lar_utf8_decode(p, n, NULL) : 0;
    if (k > 0 && (size_t)k < n && strchr("<>=^", p[k]) && p[k]) {
        memcpy(s->fill, p, (size_t)k);
        s->fill_n = k;
        s->align = p[k];
        i = (size_t)k + 1;
    } else if (n && p[0] && strchr("<>=^", p[0])) {
        s->align = p[0];
        i = 1;
    }
    if (i < n && p[i] && strchr("+- ", p[i]))
        s->sign = p[i++];
    if (i < n && p[i] == 'z')
        return lar__jfail(r, "format: option 'z' is not supported");
    if (i < n && p[i] == '#') {
        s->alt = true;
        i++;
    }
    if (i < n && p[i] == '0') {
        if (!s->align) {
            s->fill[0] = '0';
            s->align = '=';
        }
        s->zero = true;
        i++;
    }
    for (; i < n && p[i] >= '0' && p[i] <= '9'; i++) {
        s->width = s->width * 10 + (p[i] - '0');
        if (!check_size(r, s->width, 0))
            return false;
    }
    if (i < n && (p[i] == ',' || p[i] == '_')) {
        s->comma = p[i] == ',';
        s->under = p[i++] == '_';
    }
    if (i < n && p[i] == '.') {
        size_t b = ++i;
        for (s->prec = 0; i < n && p[i] >= '0' && p[i] <= '9'; i++) {
            s->prec = s->prec * 10 + (p[i] - '0');
            if (!check_size(r, 0, s->prec))
                return false;
        }
        if (i == b)
            return lar__jfail(r, "format specifier missing precision");
    }
    if (i < n)
        s->type = p[i++];
    if (i < n)
        return lar__jfail(r, "invalid format specifier");
    return true;
}

static bool put_field(fmt *m, lar_buf *out, jv v, const char *p, size_t n)
{
    jr *r = m->r;
    spec s;
    double f;
    const jstr *t;
    if (!parse_spec(r, p, n, &s))
        return false;
    if ((v.t == JV_INT || v.t == JV_BOOL) && !(v.t == JV_BOOL && !n)) {
        int64_t i = v.t == JV_INT ? v.u.i : v.u.b;
        if (s.type == 'c') {
            char c[4];
            if (i < 0 || i > 0x10FFFF || (i >= 0xD800 && i < 0xE000))
                return lar__jfail(r, "format: %lld is no character", (long long)i);
            put_padded(out, &s, c, (size_t)lar_utf8_encode((uint32_t)i, c), 0, '<');
            return true;
        }
        if (!s.type || strchr("dnxXob", s.type)) {
            if (s.prec >= 0)
                return lar__jfail(r, "precision not allowed in integer format specifier");
            if (s.type == 'n')
                s.type = 'd';
            return put_int(r, out, &s, i, 0, false);
        }
        v = lar__jv_float((double)i);
    }
    if (v.t == JV_FLOAT) {
        if (s.type && !strchr("eEfFgGn%", s.type))
            return lar__jfail(r, "unknown format code '%c' for a number", s.type);
        f = v.u.f;
        return put_float(r, out, &s, f, false);
    }
    if (v.t != JV_STR && v.t != JV_BOOL && n)
        return v.t == JV_UNDEF
                   ? lar__jfail(r, "unsupported format string for an undefined value")
                   : lar__jfail(r, "unsupported format string for a %s", lar__jtype_name[v.t]);
    if (!lar__jv_str(r, v, &t))
        return false;
    if (s.type && s.type != 's')
        return lar__jfail(r, "unknown format code '%c' for a string", s.type);
    if (s.sign || s.align == '=' || s.comma || s.under || s.alt)
        return lar__jfail(r, "sign, '=', ',' or '#' not allowed in string format specifier");
    put_text(out, &s, t, '<');
    return true;
}

static bool field_root(fmt *m, const char *p, size_t n, jv *v)
{
    jr *r = m->r;
    bool ok = false, big = false;
    int64_t i = 0;
    if (!n) {
        if (m->next < 0)
            return lar__jfail(
                r, "cannot switch from manual field specification to automatic numbering");
        i = m->next++;
        ok = true;
    } else if (p[0] >= '0' && p[0] <= '9') {
        i = lar__jparse_int(p, n, 10, &ok, &big);
        if (ok && m->next > 0)
            return lar__jfail(
                r, "cannot switch from automatic field numbering to manual specification");
        m->next = -1;
    }
    if (ok) {
        if (big || (uint64_t)i >= m->a->n)
            return lar__jfail(r, "replacement index %lld out of range", (long long)i);
        *v = m->a->v[i];
        return true;
    }
    for (size_t k = 0; k < m->a->n_named; k++)
        if (m->a->name[k]->n == n && !memcmp(m->a->name[k]->p, p, n)) {
            *v = m->a->named[k];
            return true;
        }
    if (m->map.t == JV_DICT && lar__jdict_getz(m->map.u.d, p, n, v))
        return true;
    return lar__jfail(r, "format has no value named '%.*s'", (int)LAR_MIN(n, 60u), p);
}

/* name.attr[index] */
static bool field_value(fmt *m, const char *p, size_t n, jv *v)
{
    jr *r = m->r;
    size_t i = 0;
    while (i < n && p[i] != '.' && p[i] != '[')
        i++;
    if (!field_root(m, p, i, v))
        return false;
    while (i < n) {
        jv key;
        bool attr = p[i++] == '.', ok = false, big;
        size_t b = i;
        while (i < n && (attr ? p[i] != '.' && p[i] != '[' : p[i] != ']'))
            i++;
        if (i == b || (!attr && i == n))
            return lar__jfail(r, "empty or unended attribute in format string");
        if (!lar__jv_text(r, p + b, i - b, true, &key))
            return false;
        if (attr) {
            if (!lar__jgetattr(r, *v, key.u.s, v))
                return false;
            continue;
        }
        if (p[b] >= '0' && p[b] <= '9') {
            int64_t k = lar__jparse_int(p + b, i - b, 10, &ok, &big);
            if (ok && !big)
                key = lar__jv_int(k);
        }
        i++;
        if (i < n && p[i] != '.' && p[i] != '[')
            return lar__jfail(r, "only '.' or '[' may follow ']' in format field specifier");
        if (!lar__jgetitem(r, *v, key, v))
            return false;
    }
    return true;
}

static bool put_format(fmt *m, lar_buf *out, const char *p, size_t n, int depth);

static bool put_replacement(fmt *m, lar_buf *out, const char *p, size_t n, int depth)
{
    jr *r = m->r;
    size_t i = 0;
    char conv = 0;
    jv v;
    int square = 0;
    while (i < n && (square || (p[i] != '!' && p[i] != ':'))) {
        square = p[i] == '[' ? 1 : p[i] == ']' ? 0 : square;
        i++;
    }
    size_t name = i;
    if (i < n && p[i] == '!') {
        if (i + 1 >= n || (i + 2 < n && p[i + 2] != ':'))
            return lar__jfail(r, "expected ':' after conversion specifier");
        conv = p[i + 1];
        i += 2;
    }
    lar_buf spec_text = {0}, body = {0}, text = {0};
    bool ok = field_value(m, p, name, &v);
    if (ok && conv == 'r') {
        ok = lar__jput_repr(r, &text, v);
        if (ok)
            ok = lar__jv_buf(r, &text, false, &v);
        else
            lar_buf_free(&text);
    } else if (ok && conv == 's') {
        const jstr *s = NULL;
        ok = lar__jv_str(r, v, &s);
        v = (jv){.t = JV_STR, .u.s = s};
    } else if (ok && conv) {
        ok = lar__jfail(r, "conversion '!%c' is not supported", conv);
    }
    if (ok && i < n)
        ok = put_format(m, &spec_text, p + i + 1, n - i - 1, depth + 1);
    ok = ok && lar__jbuf_ok(r, &spec_text) &&
         put_field(m, &body, v, spec_text.p ? spec_text.p : "", spec_text.n) &&
         lar__jbuf_ok(r, &body);
    if (ok && m->markup && !(v.t == JV_STR && v.u.s->markup))
        lar__jput_escaped(out, body.p ? body.p : "", body.n);
    else if (ok && body.n)
        lar_buf_add(out, body.p, body.n);
    lar_buf_free(&spec_text);
    lar_buf_free(&body);
    return ok && lar__jbuf_ok(r, out);
}

static bool put_format(fmt *m, lar_buf *out, const char *p, size_t n, int depth)
{
    jr *r = m->r;
    if (depth > 1)
        return lar__jfail(r, "max string recursion exceeded in format");
    for (size_t i = 0; i < n;) {
        char c = p[i++];
        if (c != '{' && c != '}') {
            lar_buf_putc(out, c);
            continue;
        }
        if (i < n && p[i] == c) {
            lar_buf_putc(out, c);
            i++;
            continue;
        }
        if (c == '}')
            return lar__jfail(r, "single '}' encountered in format string");
        size_t b = i;
        int open = 1;
        for (; i < n && open; i++)
            open += p[i] == '{' ? 1 : p[i] == '}' ? -1 : 0;
        if (open)
            return lar__jfail(r, "expected '}' before end of string");
        if (!lar__jstep(r, i - b) || !put_replacement(m, out, p + b, i - 1 - b, depth))
            return false;
    }
    return true;
}

bool lar__jformat(jr *r, const jstr *f, const jargs *a, jv map, jv *out)
{
    fmt m = {r, a, map, f, 0, f->markup};
    lar_buf b = {0};
    if (!lar__jstep(r, f->n) || !put_format(&m, &b, f->p, f->n, 0)) {
        lar_buf_free(&b);
        return false;
    }
    return lar__jv_buf(r, &b, f->markup, out);
}
