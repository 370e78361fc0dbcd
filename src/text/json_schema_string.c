/*
 * json_schema_string.c - strings of JSON as rules: any, or those that match a regular expression of
 * ECMA-262. Of what dialects read differently (\d, \w, \s, '.') only what all agree on is produced.
 * What is not regular or not supported is refused by name. Depends on base, json_schema_part.h.
 */
#include "text/json_schema_part.h"
#include <string.h>

enum { MOST_LENGTH = 1 << 24, DEPTH = 60, MOST_REPEATS = 10000 };
#define LAST 0x10FFFF

/* ---- characters
 * -------------------------------------------------------------------------------------- */

static lar_expr *text(lar_schema_build *b, const char *s)
{
    return lar__expr_text(&b->r, s, strlen(s));
}

void lar__json_escape(lar_buf *out, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)p[i];
        if (c == '"' || c == '\\')
            lar_buf_printf(out, "\\%c", c);
        else if (c == '\n' || c == '\t' || c == '\r')
            lar_buf_printf(out, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        else if (c < 0x20)
            lar_buf_printf(out, "\\u%04x", (unsigned)c);
        else
            lar_buf_putc(out, (char)c);
    }
}

/* Characters that stand for themselves as a class; those that JSON escapes as alternatives. U+0000
 * is none: many readers refuse it. */
lar_expr *lar__json_chars(lar_schema_build *b, const lar_range *range, size_t n, bool negate)
{
    static const lar_range special[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    lar_expr *all = lar__expr_chars(&b->r, range, n, negate);
    lar_expr *alts[40];
    lar_range *plain =
        all ? lar_arena_array(b->r.arena, 4 * ((size_t)all->n + 1), sizeof *plain) : NULL;
    size_t n_plain = 0, n_alts = 1;
    if (!plain) {
        b->r.oom = true;
        return NULL;
    }
    for (uint32_t i = 0; i < all->n; i++) {
        uint32_t lo = all->range[i].lo;
        const uint32_t hi = all->range[i].hi;
        for (size_t k = 0; k < LAR_LEN(special) && lo <= hi; k++) {
            for (uint32_t c = LAR_MAX(lo, special[k].lo); c <= LAR_MIN(hi, special[k].hi); c++) {
                const char byte = (char)c;
                lar_buf esc = {0};
                if (!c)
                    continue;
                lar__json_escape(&esc, &byte, 1);
                alts[n_alts++] = esc.oom ? NULL : lar__expr_text(&b->r, esc.p, esc.n);
                lar_buf_free(&esc);
            }
            if (special[k].lo > lo)
                plain[n_plain++] = (lar_range){lo, LAR_MIN(hi, special[k].lo - 1)};
            lo = LAR_MAX(lo, special[k].hi + 1);
        }
        if (lo <= hi)
            plain[n_plain++] = (lar_range){lo, hi};
    }
    alts[0] = lar__expr_chars(&b->r, plain, n_plain, false);
    return lar__expr_list(&b->r, LAR_EXPR_ALT, alts, n_alts);
}

/* One character of any string, as JSON may write it. */
static uint32_t string_char(lar_schema_build *b)
{
    static const lar_range special[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    static const char simple[] = "\"\\/bfnrt";
    static const lar_range hex[] = {{'0', '9'}, {'a', 'f'}, {'A', 'F'}},
                           low[] = {{'1', '9'}, {'a', 'f'}, {'A', 'F'}},
                           lead[] = {{'1', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}},
                           d[] = {{'d', 'd'}, {'D', 'D'}}, octal[] = {{'0', '7'}};
    lar_range marks[8];
    if (b->string_char)
        return b->string_char;
    for (size_t i = 0; i < 8; i++)
        marks[i] = (lar_range){(uint8_t)simple[i], (uint8_t)simple[i]};
    lar_expr *h = lar__expr_chars(&b->r, hex, 3, false);
    lar_expr *l = lar__expr_chars(&b->r, low, 3, false);
    lar_expr *code[] = {
        /* neither U+0000 nor a surrogate */
        lar__expr_list(&b->r, LAR_EXPR_SEQ, (lar_expr *[]){text(b, "000"), l}, 2),
        lar__expr_list(&b->r, LAR_EXPR_SEQ, (lar_expr *[]){text(b, "00"), l, h}, 3),
        lar__expr_list(&b->r, LAR_EXPR_SEQ, (lar_expr *[]){text(b, "0"), l, h, h}, 4),
        lar__expr_list(&b->r, LAR_EXPR_SEQ,
                       (lar_expr *[]){lar__expr_chars(&b->r, lead, 5, false), h, h, h}, 4),
        lar__expr_list(&b->r, LAR_EXPR_SEQ,
                       (lar_expr *[]){lar__expr_chars(&b->r, d, 2, false),
                                      lar__expr_chars(&b->r, octal, 1, false), h, h},
                       4)};
    lar_expr *escape[] = {
        lar__expr_chars(&b->r, marks, 8, false),
        lar__expr_list(&b->r, LAR_EXPR_SEQ,
                       (lar_expr *[]){text(b, "u"), lar__expr_list(&b->r, LAR_EXPR_ALT, code, 5)},
                       2)};
    lar_expr *escaped = lar__expr_list(
        &b->r, LAR_EXPR_SEQ,
        (lar_expr *[]){text(b, "\\"), lar__expr_list(&b->r, LAR_EXPR_ALT, escape, 2)}, 2);
    lar_expr *body = lar__expr_list(
        &b->r, LAR_EXPR_ALT, (lar_expr *[]){lar__expr_chars(&b->r, special, 3, true), escaped}, 2);
    b->string_char = lar__rules_add(&b->r, "character", 9);
    if (b->string_char != UINT32_MAX)
        b->r.rule[b->string_char].body = body;
    return b->string_char;
}

static lar_expr *quoted(lar_schema_build *b, lar_expr *inside)
{
    return lar__expr_list(&b->r, LAR_EXPR_SEQ, (lar_expr *[]){text(b, "\""), inside, text(b, "\"")},
                          3);
}

lar_expr *lar__json_string(lar_schema_build *b, uint32_t min, uint32_t max)
{
    lar_expr *c = lar__expr_rule(&b->r, string_char(b));
    return quoted(b, lar__expr_repeat(&b->r, c, min, max));
}

/* ---- regular expressions
 * --------------------------------------------------------------------------------- */

typedef struct regex {
    lar_schema_build *b;
    const char *path, *begin, *p, *end;
    lar_lengths len; /* of what was read last */
    lar_expr **list; /* parts of all open sequences */
    size_t n_list, cap_list;
    int depth;
    bool failed;
} regex;

static lar_expr *refuse(regex *x, const char *what)
{
    if (!x->failed)
        lar__schema_fault(x->b, x->path, "pattern: %s is not supported (at character %d of it)",
                          what, (int)(x->p - x->begin) + 1);
    x->failed = true;
    return NULL;
}

/* Ranges of a class, with what all dialects agree on and what any may mean. */
typedef struct set {
    lar_range sure[64], perhaps[64];
    size_t n_sure, n_perhaps;
} set;

static void add_range(regex *x, set *s, uint32_t lo, uint32_t hi, bool sure)
{
    if (s->n_perhaps == LAR_LEN(s->perhaps) || s->n_sure == LAR_LEN(s->sure)) {
        refuse(x, "a class of so many ranges");
        return;
    }
    if (sure)
        s->sure[s->n_sure++] = (lar_range){lo, hi};
    s->perhaps[s->n_perhaps++] = (lar_range){lo, hi};
}

/* \d \w \s and their opposites: all agree in ASCII only. */
static bool add_shorthand(regex *x, set *s, char c)
{
    static const lar_range digit[] = {{'0', '9'}},
                           word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                           space[] = {{'\t', '\r'}, {0x1C, ' '}},
                           blank[] = {{'\t', '\r'}, {' ', ' '}};
    const char kind = (char)(c | 0x20);
    const lar_range *r = kind == 'd'   ? digit
                         : kind == 'w' ? word
                         : c == 's'    ? blank
                         : c == 'S'    ? space
                                       : NULL;
    const size_t n = kind == 'd' ? 1 : kind == 'w' ? 4 : 2;
    if (!r)
        return false;
    uint32_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (c == kind)
            add_range(x, s, r[i].lo, r[i].hi, true);
        else if (r[i].lo > next)
            add_range(x, s, next, r[i].lo - 1, true);
        next = r[i].hi + 1;
    }
    if (c != kind)
        add_range(x, s, next, 0x7F, true);
    if (kind == 's') /* blanks for some */
        add_range(x, s, 0x1C, 0x1F, false);
    add_range(x, s, 0x80, LAST, false);
    return true;
}

static bool hex_digits(regex *x, int n, uint32_t *cp)
{
    *cp = 0;
    for (int i = 0; i < n; i++) {
        const char c = x->p < x->end ? *x->p : 0;
        const int v = c >= '0' && c <= '9'                     ? c - '0'
                      : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                               : -1;
        if (v < 0)
            return refuse(x, "this escape") != NULL;
        *cp = *cp << 4 | (uint32_t)v;
        x->p++;
    }
    if (*cp >= 0xD800 && *cp <= 0xDFFF)
        return refuse(x, "a surrogate") != NULL;
    return true;
}

/* Behind a backslash: a character. */
static bool escaped(regex *x, uint32_t *cp)
{
    static const char from[] = "tnrfv0", to[] = "\t\n\r\f\v";
    const char c = x->p < x->end ? *x->p : 0;
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        x->p++;
        *cp = (uint8_t)to[at - from];
        if (c == '0' && x->p < x->end && *x->p >= '0' && *x->p <= '9')
            return refuse(x, "an octal escape") != NULL;
        return true;
    }
    if (c == 'x' || c == 'u') {
        x->p++;
        return hex_digits(x, c == 'x' ? 2 : 4, cp);
    }
    if (c >= '1' && c <= '9')
        return refuse(x, "a back reference") != NULL;
    if (!c || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return refuse(x, c == 'p' || c == 'P'   ? "\\p"
                         : c == 'b' || c == 'B' ? "\\b"
                                                : "this escape") != NULL;
    x->p += lar_utf8_decode(x->p, (size_t)(x->end - x->p), cp);
    return true;
}

static bool class_char(regex *x, set *s, uint32_t *cp, bool *is_set)
{
    *is_set = false;
    if (*x->p != '\\') {
        x->p += lar_utf8_decode(x->p, (size_t)(x->end - x->p), cp);
        return true;
    }
    x->p++;
    if (x->p < x->end && *x->p == 'b') {
        x->p++;
        *cp = '\b';
        return true;
    }
    if (x->p < x->end && add_shorthand(x, s, *x->p)) {
        x->p++;
        *is_set = true;
        return !x->failed;
    }
    return escaped(x, cp);
}

static lar_expr *class_of(regex *x)
{
    set s = {.n_sure = 0};
    const bool negate = ++x->p < x->end && *x->p == '^';
    x->p += negate;
    while (x->p < x->end && *x->p != ']' && !x->failed) {
        uint32_t lo = 0, hi;
        bool is_set, second = false;
        if (!class_char(x, &s, &lo, &is_set))
            return NULL;
        hi = lo;
        if (x->end - x->p >= 2 && *x->p == '-' && x->p[1] != ']') {
            x->p++;
            if (is_set || !class_char(x, &s, &hi, &second) || second || hi < lo)
                return refuse(x, "this range");
        }
        if (!is_set)
            add_range(x, &s, lo, hi, true);
    }
    if (x->failed || x->p == x->end)
        return refuse(x, "a class without end");
    x->p++;
    x->len = (lar_lengths){1, 1};
    return negate ? lar__json_chars(x->b, s.perhaps, s.n_perhaps, true)
                  : lar__json_chars(x->b, s.sure, s.n_sure, false);
}

static lar_expr *alternatives(regex *x, bool top);

static lar_expr *group(regex *x)
{
    x->p++;
    if (x->p < x->end && *x->p == '?') {
        if (x->end - x->p >= 2 && x->p[1] == ':')
            x->p += 2;
        else if (x->end - x->p >= 3 && x->p[1] == '<' && x->p[2] != '=' && x->p[2] != '!') {
            while (x->p < x->end && *x->p != '>')
                x->p++;
            x->p += x->p < x->end;
        } else {
            return refuse(x, "looking ahead or behind");
        }
    }
    lar_expr *inside = alternatives(x, false);
    if (!inside)
        return NULL;
    if (x->p == x->end)
        return refuse(x, "a group without end");
    x->p++;
    return inside;
}

static lar_expr *atom(regex *x)
{
    static const lar_range ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    uint32_t cp = 0;
    lar_range one;
    x->len = (lar_lengths){1, 1};
    switch (*x->p) {
    case '(':
        return group(x);
    case '[':
        return class_of(x);
    case '.':
        x->p++;
        return lar__json_chars(x->b, ends, 3, true);
    case '^':
    case '$':
        return refuse(x, "an anchor here");
    case '*':
    case '+':
    case '?':
        return refuse(x, "a repetition of nothing");
    case '\\':
        x->p++;
        if (x->p < x->end && strchr("dwsDWS", *x->p)) {
            set s = {.n_sure = 0};
            add_shorthand(x, &s, *x->p++);
            return lar__json_chars(x->b, s.sure, s.n_sure, false);
        }
        if (!escaped(x, &cp))
            return NULL;
        break;
    default:
        x->p += lar_utf8_decode(x->p, (size_t)(x->end - x->p), &cp);
    }
    one = (lar_range){cp, cp};
    return lar__json_chars(x->b, &one, 1, false);
}

static uint32_t times(uint32_t n, uint32_t k)
{
    return n && k > MOST_LENGTH / n ? LAR_RULE_MANY : n * k;
}

static bool number(regex *x, uint32_t *n)
{
    const char *from = x->p;
    for (*n = 0; x->p < x->end && *x->p >= '0' && *x->p <= '9' && *n <= MOST_REPEATS; x->p++)
        *n = *n * 10 + (uint32_t)(*x->p - '0');
    return x->p > from && *n <= MOST_REPEATS;
}

/* "{m}", "{m,}", "{m,n}" */
static bool braces(regex *x, uint32_t *min, uint32_t *max)
{
    x->p++;
    bool fine = number(x, min);
    *max = *min;
    if (fine && x->p < x->end && *x->p == ',') {
        *max = LAR_RULE_MANY;
        if (++x->p < x->end && *x->p != '}')
            fine = number(x, max);
    }
    fine = fine && x->p < x->end && *x->p == '}' && *min <= *max;
    x->p += fine;
    return fine;
}

static lar_expr *quantified(regex *x, lar_expr *e)
{
    uint32_t min = 0, max = LAR_RULE_MANY;
    if (!e || x->p == x->end || !strchr("*+?{", *x->p))
        return e;
    if (*x->p == '{') {
        if (!braces(x, &min, &max))
            return refuse(x, "this brace");
    } else {
        min = *x->p == '+';
        max = *x->p == '?' ? 1 : LAR_RULE_MANY;
        x->p++;
    }
    if (x->p < x->end && *x->p == '?')
        x->p++; /* lazy: the same strings */
    else if (x->p < x->end && strchr("*+{", *x->p))
        return refuse(x, "a repetition of a repetition");
    x->len.min = times(x->len.min, min);
    x->len.max = max == LAR_RULE_MANY && x->len.max ? LAR_RULE_MANY : times(x->len.max, max);
    return lar__expr_repeat(&x->b->r, e, min, max);
}

static uint32_t plus(uint32_t a, uint32_t b)
{
    return a > MOST_LENGTH || b > MOST_LENGTH ? LAR_RULE_MANY : a + b;
}

/* Any text on the side where a top alternative is not anchored. */
static lar_expr *anything(regex *x)
{
    return lar__expr_repeat(&x->b->r, lar__expr_rule(&x->b->r, string_char(x->b)), 0,
                            LAR_RULE_MANY);
}

static bool push(regex *x, lar_expr *e)
{
    if (!e || !lar_grow((void **)&x->list, &x->cap_list, x->n_list + 1, sizeof *x->list)) {
        x->b->r.oom = x->b->r.oom || e;
        return false;
    }
    x->list[x->n_list++] = e;
    return true;
}

/* The parts from number `from` of the list become one. */
static lar_expr *fold(regex *x, lar_expr_kind kind, size_t from)
{
    lar_expr *e = lar__expr_list(&x->b->r, kind, x->list + from, x->n_list - from);
    x->n_list = from;
    return e;
}

static lar_expr *sequence(regex *x, bool top)
{
    lar_lengths len = {0, 0};
    const size_t from = x->n_list;
    const bool left = top && (x->p == x->end || *x->p != '^');
    bool right = top;
    x->p += top && !left;
    if (!push(x, left ? anything(x) : lar__expr_text(&x->b->r, "", 0)))
        return NULL;
    while (x->p < x->end && *x->p != '|' && *x->p != ')') {
        if (top && *x->p == '$' && (x->p + 1 == x->end || x->p[1] == '|')) {
            x->p++;
            right = false;
            break;
        }
        if (!push(x, quantified(x, atom(x))))
            return NULL;
        len = (lar_lengths){plus(len.min, x->len.min), plus(len.max, x->len.max)};
    }
    if (right && !push(x, anything(x)))
        return NULL;
    if (left || right)
        len.max = LAR_RULE_MANY;
    x->len = len;
    return fold(x, LAR_EXPR_SEQ, from);
}

static lar_expr *alternatives(regex *x, bool top)
{
    const size_t from = x->n_list;
    lar_lengths len = {LAR_RULE_MANY, 0};
    if (++x->depth > DEPTH)
        return refuse(x, "so deep a group");
    for (;;) {
        if (!push(x, sequence(x, top)))
            return NULL;
        len = (lar_lengths){LAR_MIN(len.min, x->len.min), LAR_MAX(len.max, x->len.max)};
        if (x->p == x->end || *x->p != '|')
            break;
        x->p++;
    }
    x->depth--;
    x->len = len;
    return fold(x, LAR_EXPR_ALT, from);
}

lar_expr *lar__json_pattern(lar_schema_build *b, const char *path, const char *pattern, size_t n,
                            lar_lengths *lengths)
{
    regex x = {.b = b, .path = path, .begin = pattern, .p = pattern, .end = pattern + n};
    if (strlen(pattern) != n)
        return lar__schema_fault(b, path, "pattern: a NUL is not supported");
    lar_expr *e = alternatives(&x, true);
    if (e && x.p < x.end)
        e = refuse(&x, "this parenthesis");
    *lengths = x.len;
    lar_free(x.list);
    return e ? quoted(b, e) : NULL;
}

/* ---- formats
 * ------------------------------------------------------------------------------------------------
 */

#define YEAR "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
#define LEAP "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26]|0[48])00)"
#define DATE                                                                                       \
    "(?:" YEAR "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]"    \
    "[0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|" LEAP "-02-29)"
#define TIME                                                                                       \
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):"   \
    "[0-5][0-9])"
#define BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define IPV4 BYTE "(?:\\." BYTE "){3}"
#define LABEL "[a-zA-Z0-9](?:[a-zA-Z0-9]{0,20}|[a-zA-Z0-9]{1,20}-[a-zA-Z0-9]{1,20})"
#define HOST LABEL "(?:\\." LABEL "){0,4}"
#define GROUP "[0-9a-fA-F]{1,4}"

const char *lar__json_format(const char *name)
{
    static const struct {
        const char *name, *pattern;
    } formats[] = {
        {"date", "^" DATE "$"},
        {"time", "^" TIME "$"},
        {"date-time", "^" DATE "T" TIME "$"},
        {"duration",
         "^P(?:[0-9]{1,4}W|(?:[0-9]{1,4}Y(?:[0-9]{1,4}M(?:[0-9]{1,4}D)?)?|[0-9]{1,4}M(?:[0-9]{1,4}"
         "D)"
         "?|[0-9]{1,4}D)(?:T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}"
         "S)?|[0-9]{1,4}S))?|T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,"
         "4}S)?|[0-9]{1,4}S))$"},
        {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
        {"email", "^[a-zA-Z0-9_+-]{1,20}(?:\\.[a-zA-Z0-9_+-]{1,20}){0,2}@" HOST "$"},
        {"hostname", "^" HOST "$"},
        {"ipv4", "^" IPV4 "$"},
        {"ipv6", "^(?:" GROUP "(?::" GROUP "){7}|::(?:" GROUP "(?::" GROUP "){0,6})?|(?:" GROUP
                 ":){1,4}(?::" GROUP "){1,3}|(?:" GROUP ":){1,7}:)$"},
        {"uri", "^https?://" HOST "(?::[1-9][0-9]{0,3})?(?:/[a-zA-Z0-9._~-]{0,60}){0,8}"
                "(?:\\?[a-zA-Z0-9._~=&-]{0,120})?(?:#[a-zA-Z0-9._~-]{0,60})?$"},
    };
    for (size_t i = 0; i < LAR_LEN(formats); i++)
        if (strcmp(formats[i].name, name) == 0)
            return formats[i].pattern;
    return NULL;
}
