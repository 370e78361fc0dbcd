/*
 * jinja_lex.c - template source to tokens, with all whitespace control resolved: jinja2's lexer
 * with trim_blocks and lstrip_blocks on and keep_trailing_newline off. Depends on jinja.h,
 * utf8proc.
 */
#include "text/jinja.h"
#include <string.h>
#include <stdlib.h>
#include <utf8proc.h>

typedef struct lexer {
    jc *c;
    const char *s;
    size_t n, pos;
    uint32_t line;
    bool line_starting; /* the last match ended with a newline */
    char *stack;        /* open brackets */
    size_t n_stack, cap_stack;
} lexer;

static size_t skip_space(const char *s, size_t n, size_t i)
{
    uint32_t cp;
    int k;
    while (i < n && (k = lar_utf8_decode(s + i, n - i, &cp)) > 0 && lar__jspace(cp))
        i += (size_t)k;
    return i;
}

/* Move to `to`, counting lines. */
static void advance(lexer *l, size_t to)
{
    for (size_t i = l->pos; i < to; i++)
        l->line += l->s[i] == '\n';
    if (to > l->pos)
        l->line_starting = l->s[to - 1] == '\n';
    l->pos = to;
}

static bool add(lexer *l, jtok type, uint32_t line, const char *p, size_t n, const jv *val)
{
    jc *c = l->c;
    void *v = c->tok;
    if (!lar_grow(&v, &c->cap_tok, c->n_tok + 1, sizeof(jtoken)))
        return lar__jc_fail(c, LAR_ENOMEM, line, "out of memory");
    c->tok = v;
    c->tok[c->n_tok++] = (jtoken){(uint8_t)type, line, p, n, val ? *val : (jv){0}};
    return true;
}

static bool make_str(jc *c, const char *p, size_t n, jv *out)
{
    jstr *s = lar__jc_alloc(c, sizeof *s);
    if (!s)
        return false;
    *s = (jstr){p, n, 0, false};
    for (size_t i = 0; i < n; i++)
        s->len += ((unsigned char)p[i] & 0xC0) != 0x80;
    *out = (jv){.t = JV_STR, .u.s = s};
    return true;
}

static bool add_data(lexer *l, uint32_t line, size_t b, size_t e)
{
    jv v;
    if (b >= e)
        return true;
    return make_str(l->c, l->s + b, e - b, &v) && add(l, T_DATA, line, l->s + b, e - b, &v);
}

/* Where the text [b, e) before a tag with `sign` ends after stripping. */
static size_t strip_before(const lexer *l, size_t b, size_t e, char sign, bool variable)
{
    if (sign == '-') {
        jstr s = {l->s + b, e - b, 0, false};
        size_t tb, te;
        lar__jtrim(&s, NULL, 2, &tb, &te);
        return b + te;
    }
    if (sign == '+' || variable)
        return e;
    size_t nl = e;
    while (nl > b && l->s[nl - 1] != '\n')
        nl--;
    if ((nl > b || l->line_starting) && skip_space(l->s, e, nl) == e)
        return nl;
    return e;
}

/* At "{%": the length of a whole raw tag, or 0. *sign is the mark after "{%". */
static size_t raw_tag(const lexer *l, size_t at, const char *word, char *sign, bool end)
{
    const char *s = l->s;
    size_t n = l->n, i = at + 2, k = strlen(word);
    *sign = 0;
    if (i < n && (s[i] == '-' || s[i] == '+'))
        *sign = s[i++];
    i = skip_space(s, n, i);
    if (n - i < k || memcmp(s + i, word, k))
        return 0;
    i = skip_space(s, n, i + k);
    if (n - i >= 3 && !memcmp(s + i, "-%}", 3))
        return skip_space(s, n, i + 3) - at;
    if (end && n - i >= 3 && !memcmp(s + i, "+%}", 3))
        return i + 3 - at;
    if (n - i >= 2 && !memcmp(s + i, "%}", 2))
        return i + 2 - at + (end && i + 2 < n && s[i + 2] == '\n');
    return 0;
}

static bool lex_raw(lexer *l)
{
    size_t b = l->pos;
    uint32_t line = l->line;
    for (size_t i = b; i + 1 < l->n; i++) {
        char sign;
        size_t k;
        if (l->s[i] != '{' || l->s[i + 1] != '%' || !(k = raw_tag(l, i, "endraw", &sign, true)))
            continue;
        if (!add_data(l, line, b, strip_before(l, b, i, sign, false)))
            return false;
        advance(l, i + k);
        return true;
    }
    return lar__jc_fail(l->c, LAR_EFORMAT, line, "{%% raw %%} without {%% endraw %%}");
}

static bool lex_comment(lexer *l)
{
    for (size_t i = l->pos; i + 1 < l->n; i++) {
        const char *s = l->s + i;
        size_t left = l->n - i;
        if (left >= 3 && s[0] == '+' && s[1] == '#' && s[2] == '}') {
            advance(l, i + 3);
            return true;
        }
        if (left >= 3 && s[0] == '-' && s[1] == '#' && s[2] == '}') {
            advance(l, skip_space(l->s, l->n, i + 3));
            return true;
        }
        if (s[0] == '#' && s[1] == '}') {
            advance(l, i + 2 + (left > 2 && s[2] == '\n'));
            return true;
        }
    }
    return lar__jc_fail(l->c, LAR_EFORMAT, l->line, "missing end of comment tag");
}

static int hex(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch = (char)(ch | 32);
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* One escape of Python's unicode-escape at s[*i] (the character after the backslash). */
static bool unescape_one(lexer *l, const char *s, size_t n, size_t *i, char *d, size_t *o)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char ch = s[*i];
    const char *f = ch ? strchr(from, ch) : NULL;
    if (f) {
        d[(*o)++] = to[f - from];
        (*i)++;
        return true;
    }
    if (ch == '\n') {
        (*i)++;
        return true;
    }
    uint32_t cp = 0;
    if (ch >= '0' && ch <= '7') {
        for (int k = 0; k < 3 && *i < n && s[*i] >= '0' && s[*i] <= '7'; k++)
            cp = cp * 8 + (uint32_t)(s[(*i)++] - '0');
    } else if (ch == 'x' || ch == 'u' || ch == 'U') {
        int want = ch == 'x' ? 2 : ch == 'u' ? 4 : 8;
        (*i)++;
        for (int k = 0; k < want; k++, (*i)++) {
            if (*i >= n || hex(s[*i]) < 0)
                return lar__jc_fail(l->c, LAR_EFORMAT, l->line, "truncated \\%c escape in a string",
                                    ch);
            cp = cp * 16 + (uint32_t)hex(s[*i]);
        }
    } else if (ch == 'N') {
        return lar__jc_fail(l->c, LAR_EUNSUPPORTED, l->line, "\\N{...} escapes are not supported");
    } else if ((unsigned char)ch >= 0x80) {
        /* jinja2 turns the character into an escape first, whose backslash this one then quotes */
        int k = lar_utf8_decode(s + *i, n - *i, &cp);
        char tmp[12];
        int w = snprintf(tmp, sizeof tmp,
                         cp < 0x100     ? "\\x%02x"
                         : cp < 0x10000 ? "\\u%04x"
                                        : "\\U%08x",
                         (unsigned)cp);
        memcpy(d + *o, tmp, (size_t)w);
        *o += (size_t)w;
        *i += (size_t)k;
        return true;
    } else {
        d[(*o)++] = '\\';
        return true;
    }
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
        return lar__jc_fail(l->c, LAR_EFORMAT, l->line, "escape \\%c%x in a string is no character",
                            ch, (unsigned)cp);
    *o += (size_t)lar_utf8_encode(cp, d + *o);
    return true;
}

static bool lex_string(lexer *l, bool *hit)
{
    const char *s = l->s;
    size_t b = l->pos, i = b + 1;
    char q = s[b];
    bool escapes = false;
    while (i < l->n && s[i] != q) {
        if (s[i] == '\\') {
            escapes = true;
            i++;
        }
        i++;
    }
    *hit = i < l->n;
    if (!*hit)
        return true;
    const char *p = s + b + 1;
    size_t n = i - b - 1;
    if (escapes) {
        char *d = lar__jc_alloc(l->c, n * 3 + 16);
        size_t o = 0;
        if (!d)
            return false;
        for (size_t k = 0; k < n;) {
            if (p[k] != '\\') {
                d[o++] = p[k++];
                continue;
            }
            k++;
            if (!unescape_one(l, p, n, &k, d, &o))
                return false;
        }
        p = d;
        n = o;
    }
    jv v;
    if (!make_str(l->c, p, n, &v) || !add(l, T_STRING, l->line, s + b, i + 1 - b, &v))
        return false;
    advance(l, i + 1);
    return true;
}

/* Digits with single underscores between them; returns the end. */
static size_t digits(const char *s, size_t n, size_t i)
{
    while (i < n) {
        if (s[i] >= '0' && s[i] <= '9')
            i++;
        else if (s[i] == '_' && i + 1 < n && s[i + 1] >= '0' && s[i + 1] <= '9')
            i += 2;
        else
            break;
    }
    return i;
}

static bool is_digit(const char *s, size_t n, size_t i)
{
    return i < n && s[i] >= '0' && s[i] <= '9';
}

static bool number_text(lexer *l, size_t b, size_t e, char *buf, size_t cap, size_t *n)
{
    *n = 0;
    for (size_t i = b; i < e; i++) {
        if (l->s[i] == '_')
            continue;
        if (*n + 1 >= cap)
            return lar__jc_fail(l->c, LAR_EUNSUPPORTED, l->line,
                                "a number with more than %zu digits", cap);
        buf[(*n)++] = l->s[i];
    }
    buf[*n] = 0;
    return true;
}

static bool lex_number(lexer *l)
{
    const char *s = l->s;
    size_t n = l->n, b = l->pos, e = digits(s, n, b), k;
    char buf[400];
    jv v;
    bool real = false;
    if (!(b > 0 && s[b - 1] == '.')) {
        size_t f = e;
        if (f < n && s[f] == '.' && is_digit(s, n, f + 1)) {
            f = digits(s, n, f + 1);
            real = true;
        }
        if (f < n && (s[f] | 32) == 'e') {
            size_t x = f + 1;
            if (x < n && (s[x] == '+' || s[x] == '-'))
                x++;
            if (is_digit(s, n, x)) {
                f = digits(s, n, x);
                real = true;
            }
        }
        if (real)
            e = f;
    }
    if (real) {
        v = (jv){.t = JV_FLOAT};
        if (!number_text(l, b, e, buf, sizeof buf, &k))
            return false;
        if (!lar__jparse_float(buf, k, &v.u.f))
            return lar__jc_fail(l->c, LAR_EFORMAT, l->line, "'%s' is no number", buf);
    } else {
        int base = 10;
        size_t skip = 0;
        char x = b + 1 < n ? (char)(s[b + 1] | 32) : 0;
        if (s[b] == '0' && (x == 'b' || x == 'o' || x == 'x')) {
            int want = x == 'b' ? 2 : x == 'o' ? 8 : 16;
            size_t i = b + 2;
            while (i < n) {
                size_t at = s[i] == '_' ? i + 1 : i;
                if (at >= n || hex(s[at]) < 0 || hex(s[at]) >= want)
                    break;
                i = at + 1;
            }
            if (i > b + 2) {
                e = i;
                base = want;
                skip = 2;
            }
        }
        if (base == 10 && s[b] == '0') { /* only zeros: 007 is 00 and 7 */
            e = b + 1;
            while (e < n && (s[e] == '0' || (s[e] == '_' && e + 1 < n && s[e + 1] == '0')))
                e += s[e] == '_' ? 2 : 1;
        }
        bool ok, big;
        if (!number_text(l, b + skip, e, buf, sizeof buf, &k))
            return false;
        v = (jv){.t = JV_INT};
        v.u.i = lar__jparse_int(buf, k, base, &ok, &big);
        if (!ok || big)
            return lar__jc_fail(l->c, LAR_EUNSUPPORTED, l->line,
                                "integer '%s' does not fit 64 bits", buf);
    }
    if (!add(l, real ? T_FLOAT : T_INTEGER, l->line, s + b, e - b, &v))
        return false;
    advance(l, e);
    return true;
}

static bool name_char(uint32_t cp, bool first)
{
    if (cp < 128)
        return cp == '_' || (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z') ||
               (!first && cp >= '0' && cp <= '9');
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
        return true;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC:
        return !first;
    default:
        return false;
    }
}

static size_t name_end(const lexer *l, size_t i)
{
    uint32_t cp;
    int k;
    size_t b = i;
    while (i < l->n && (k = lar_utf8_decode(l->s + i, l->n - i, &cp)) > 0 && name_char(cp, i == b))
        i += (size_t)k;
    return i;
}

static const struct {
    char s[3];
    uint8_t type;
} ops[] = {{"//", T_FLOORDIV}, {"**", T_POW},     {"==", T_EQ},    {"!=", T_NE},
           {">=", T_GE},       {"<=", T_LE},      {"+", T_ADD},    {"-", T_SUB},
           {"/", T_DIV},       {"*", T_MUL},      {"%", T_MOD},    {"~", T_TILDE},
           {"[", T_LBRACKET},  {"]", T_RBRACKET}, {"(", T_LPAREN}, {")", T_RPAREN},
           {"{", T_LBRACE},    {"}", T_RBRACE},   {">", T_GT},     {"<", T_LT},
           {"=", T_ASSIGN},    {".", T_DOT},      {":", T_COLON},  {"|", T_PIPE},
           {",", T_COMMA},     {";", T_SEMICOLON}};

static bool balance(lexer *l, char ch)
{
    if (ch == '(' || ch == '[' || ch == '{') {
        void *v = l->stack;
        if (!lar_grow(&v, &l->cap_stack, l->n_stack + 1, 1))
            return lar__jc_fail(l->c, LAR_ENOMEM, l->line, "out of memory");
        l->stack = v;
        l->stack[l->n_stack++] = ch == '(' ? ')' : ch == '[' ? ']' : '}';
    } else if (ch == ')' || ch == ']' || ch == '}') {
        if (!l->n_stack)
            return lar__jc_fail(l->c, LAR_EFORMAT, l->line, "unexpected '%c'", ch);
        char want = l->stack[--l->n_stack];
        if (want != ch)
            return lar__jc_fail(l->c, LAR_EFORMAT, l->line, "unexpected '%c', expected '%c'", ch,
                                want);
    }
    return true;
}

static bool lex_operator(lexer *l)
{
    const char *s = l->s + l->pos;
    size_t left = l->n - l->pos;
    for (size_t i = 0; i < LAR_LEN(ops); i++) {
        size_t k = strlen(ops[i].s);
        if (left < k || memcmp(s, ops[i].s, k))
            continue;
        if ((k == 1 && !balance(l, s[0])) || !add(l, (jtok)ops[i].type, l->line, s, k, NULL))
            return false;
        advance(l, l->pos + k);
        return true;
    }
    uint32_t cp = 0;
    lar_utf8_decode(s, left, &cp);
    return lar__jc_fail(l->c, LAR_EFORMAT, l->line, "unexpected character U+%04X", (unsigned)cp);
}

/* The end of the tag at the position: its length, or 0. */
static size_t tag_end(const lexer *l, bool block)
{
    const char *s = l->s;
    size_t i = l->pos, n = l->n;
    char ch = block ? '%' : '}';
    if (n - i >= 3 && s[i] == '-' && s[i + 1] == ch && s[i + 2] == '}')
        return skip_space(s, n, i + 3) - i;
    if (block && n - i >= 3 && s[i] == '+' && s[i + 1] == '%' && s[i + 2] == '}')
        return 3;
    if (n - i >= 2 && s[i] == ch && s[i + 1] == '}')
        return 2 + (size_t)(block && n - i > 2 && s[i + 2] == '\n');
    return 0;
}

static bool lex_tag(lexer *l, bool block)
{
    while (l->pos < l->n) {
        size_t k = l->n_stack ? 0 : tag_end(l, block);
        if (k) {
            if (!add(l, block ? T_BLOCK_END : T_VAR_END, l->line, l->s + l->pos, k, NULL))
                return false;
            advance(l, l->pos + k);
            return true;
        }
        size_t e = skip_space(l->s, l->n, l->pos);
        if (e > l->pos) {
            advance(l, e);
            continue;
        }
        char ch = l->s[l->pos];
        if (ch >= '0' && ch <= '9') {
            if (!lex_number(l))
                return false;
            continue;
        }
        e = name_end(l, l->pos);
        if (e > l->pos) {
            if (!add(l, T_NAME, l->line, l->s + l->pos, e - l->pos, NULL))
                return false;
            advance(l, e);
            continue;
        }
        if (ch == '"' || ch == '\'') {
            bool hit;
            if (!lex_string(l, &hit))
                return false;
            if (hit)
                continue;
        }
        if (!lex_operator(l))
            return false;
    }
    return true;
}

static bool lex_root(lexer *l)
{
    while (l->pos < l->n) {
        size_t b = l->pos, i = b;
        uint32_t line = l->line;
        while (i + 1 < l->n && !(l->s[i] == '{' && strchr("%{#", l->s[i + 1]) && l->s[i + 1]))
            i++;
        if (i + 1 >= l->n)
            return add_data(l, line, b, l->n);
        char kind = l->s[i + 1], sign = 0;
        size_t raw = kind == '%' ? raw_tag(l, i, "raw", &sign, false) : 0;
        if (!raw) {
            char ch = i + 2 < l->n ? l->s[i + 2] : 0;
            sign = ch == '-' || ch == '+' ? ch : 0;
        }
        if (!add_data(l, line, b, strip_before(l, b, i, sign, kind == '{')))
            return false;
        if (raw) {
            advance(l, i + raw);
            if (!lex_raw(l))
                return false;
            continue;
        }
        advance(l, i + 2 + (sign != 0));
        if (kind == '#') {
            if (!lex_comment(l))
                return false;
            continue;
        }
        if (!add(l, kind == '%' ? T_BLOCK_BEGIN : T_VAR_BEGIN, l->line, l->s + i, 2, NULL) ||
            !lex_tag(l, kind == '%'))
            return false;
    }
    return true;
}

/* All of \r\n, \r, \n become \n, one at the end is dropped. */
static char *normalize(jc *c, const char *src, size_t n, size_t *out)
{
    char *d = lar__jc_alloc(c, n + 1);
    size_t o = 0;
    if (!d)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (src[i] == '\r') {
            d[o++] = '\n';
            i += i + 1 < n && src[i + 1] == '\n';
        } else {
            d[o++] = src[i];
        }
    }
    if (o && d[o - 1] == '\n')
        o--;
    *out = o;
    return d;
}

bool lar__jlex(jc *c, const char *src, size_t n)
{
    uint32_t line = 1;
    for (size_t i = 0; i < n;) {
        int k = lar_utf8_decode(src + i, n - i, NULL);
        if (!k)
            return lar__jc_fail(c, LAR_EFORMAT, line, "byte %zu is not UTF-8", i);
        line += src[i] == '\n';
        i += (size_t)k;
    }
    lexer l = {.c = c, .line = 1, .line_starting = true};
    l.s = normalize(c, src, n, &l.n);
    bool ok = l.s && lex_root(&l) && add(&l, T_EOF, l.line, "", 0, NULL);
    lar_free(l.stack);
    return ok;
}
