/*
 * gbnf.c - reads GBNF, llama.cpp's notation for grammars: rules `name ::= alternatives` of
 * literals, classes of characters, names, groups and repetitions. Depends on base, grammar_part.h.
 * The notation is described in llama.cpp's grammars/README.md. Tokens in angle brackets, which
 * depend on a vocabulary, are refused.
 */
#include "text/grammar_part.h"
#include <string.h>

enum { MOST_BYTES = 4 << 20, MOST_REPEATS = 100000 };

typedef struct parser {
    lar_rules rules;
    const char *p, *end, *begin;
    lar_err *e;
    lar_expr **list; /* parts of all open sequences */
    size_t n_list, cap_list;
    lar_range *range; /* of the class being read */
    size_t n_range, cap_range;
    uint32_t *slot; /* rules by name: number + 1; open addressing */
    size_t n_slot;
    int depth;
} parser;

static void locate(const parser *s, const char *at, int *line, int *column)
{
    *line = *column = 1;
    for (const char *p = s->begin; p < at; p++) {
        const bool nl = *p == '\n';
        *line += nl;
        *column = nl ? 1 : *column + (((uint8_t)*p & 0xC0) != 0x80);
    }
}

static lar_status fault(const parser *s, const char *at, const char *what)
{
    int line, column;
    locate(s, at, &line, &column);
    return lar_fail(s->e, LAR_EARG, "grammar: line %d, column %d: %s", line, column, what);
}

static lar_status no_memory(const parser *s)
{
    return lar_fail(s->e, LAR_ENOMEM, "grammar: out of memory");
}

static bool at(const parser *s, char c)
{
    return s->p < s->end && *s->p == c;
}

/* White space and comments; line ends only where a rule cannot end. */
static void skip_space(parser *s, bool lines)
{
    for (; s->p < s->end; s->p++) {
        if (*s->p == '#') {
            while (s->p < s->end && *s->p != '\n' && *s->p != '\r')
                s->p++;
            if (s->p == s->end)
                return;
        }
        if (*s->p != ' ' && *s->p != '\t' && !(lines && (*s->p == '\n' || *s->p == '\r')))
            return;
    }
}

static size_t name_length(const parser *s)
{
    const char *p = s->p;
    while (p < s->end && ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                          (*p >= '0' && *p <= '9') || *p == '-' || *p == '_'))
        p++;
    return (size_t)(p - s->p);
}

/* ---- names -------------------------------------------------------------------------------------
 */

static bool grow_slots(parser *s)
{
    const size_t n = s->n_slot ? 2 * s->n_slot : 64;
    uint32_t *slot = lar_alloc_array(n, sizeof *slot);
    if (!slot)
        return false;
    for (size_t r = 0; r < s->rules.n; r++) {
        const char *name = s->rules.rule[r].name;
        size_t i = lar_hash64(name, strlen(name)) & (n - 1);
        while (slot[i])
            i = (i + 1) & (n - 1);
        slot[i] = (uint32_t)r + 1;
    }
    lar_free(s->slot);
    s->slot = slot;
    s->n_slot = n;
    return true;
}

/* The rule of that name, made where it is not there yet. */
static lar_status find_rule(parser *s, const char *name, size_t n, uint32_t *out)
{
    if (2 * s->rules.n >= s->n_slot && !grow_slots(s))
        return no_memory(s);
    size_t i = lar_hash64(name, n) & (s->n_slot - 1);
    for (; s->slot[i]; i = (i + 1) & (s->n_slot - 1)) {
        const char *have = s->rules.rule[s->slot[i] - 1].name;
        if (strlen(have) == n && memcmp(have, name, n) == 0) {
            *out = s->slot[i] - 1;
            return LAR_OK;
        }
    }
    *out = lar__rules_add(&s->rules, name, n);
    if (*out == UINT32_MAX)
        return s->rules.oom ? no_memory(s) : fault(s, s->p, "too many rules");
    s->slot[i] = *out + 1;
    s->rules.rule[*out].at = name;
    return LAR_OK;
}

/* ---- characters
 * ---------------------------------------------------------------------------------- */

static lar_status hex(parser *s, int digits, uint32_t *cp)
{
    *cp = 0;
    for (int i = 0; i < digits; i++, s->p++) {
        const char c = s->p < s->end ? *s->p : 0;
        const int v = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
        if (v < 0)
            return fault(s, s->p,
                         digits == 2   ? "want 2 hexadecimal digits after \\x"
                         : digits == 4 ? "want 4 hexadecimal digits after \\u"
                                       : "want 8 hexadecimal digits after \\U");
        *cp = *cp << 4 | (uint32_t)v;
    }
    return LAR_OK;
}

/* One character of a literal or a class. */
static lar_status character(parser *s, uint32_t *cp)
{
    const char *from = s->p;
    if (s->p == s->end)
        return fault(s, s->p, "the grammar ends within a literal or class");
    if (*s->p != '\\') {
        const int n = lar_utf8_decode(s->p, (size_t)(s->end - s->p), cp);
        if (!n)
            return fault(s, s->p, "not valid UTF-8");
        s->p += n;
        return LAR_OK;
    }
    s->p++;
    const char c = s->p < s->end ? *s->p++ : 0;
    switch (c) {
    case 'x':
    case 'u':
    case 'U':
        LAR_TRY(hex(s, c == 'x' ? 2 : c == 'u' ? 4 : 8, cp));
        if (*cp > 0x10FFFF || (*cp >= 0xD800 && *cp <= 0xDFFF))
            return fault(s, from, "this is no Unicode character");
        return LAR_OK;
    case 't':
        *cp = '\t';
        return LAR_OK;
    case 'r':
        *cp = '\r';
        return LAR_OK;
    case 'n':
        *cp = '\n';
        return LAR_OK;
    case '\\':
    case '"':
    case '[':
    case ']':
    case '^':
    case '-':
        *cp = (uint8_t)c;
        return LAR_OK;
    default:
        return fault(s, from,
                     "unknown escape, want one of \\x \\u \\U \\t \\r \\n \\\\ \\\" \\[ \\]");
    }
}

static lar_status literal(parser *s, lar_expr **out)
{
    const char *from = s->p++;
    lar_buf b = {0};
    lar_status st = LAR_OK;
    while (st == LAR_OK && !at(s, '"')) {
        uint32_t cp = 0;
        char utf8[4];
        if (s->p == s->end)
            st = fault(s, from, "this literal has no closing quote");
        else
            st = character(s, &cp);
        if (st == LAR_OK)
            lar_buf_add(&b, utf8, (size_t)lar_utf8_encode(cp, utf8));
    }
    s->p += st == LAR_OK;
    *out = st == LAR_OK && !b.oom ? lar__expr_text(&s->rules, b.p ? b.p : "", b.n) : NULL;
    lar_buf_free(&b);
    return st == LAR_OK && !*out ? no_memory(s) : st;
}

static lar_status class_of(parser *s, lar_expr **out)
{
    const char *from = s->p++;
    const bool negate = at(s, '^');
    s->p += negate;
    s->n_range = 0;
    while (!at(s, ']')) {
        lar_range r;
        if (s->p == s->end)
            return fault(s, from, "this class has no closing bracket");
        const char *first = s->p;
        LAR_TRY(character(s, &r.lo));
        r.hi = r.lo;
        if (at(s, '-') && s->p + 1 < s->end && s->p[1] != ']') {
            s->p++;
            LAR_TRY(character(s, &r.hi));
        }
        if (r.hi < r.lo)
            return fault(s, first, "this range ends before it begins");
        if (!lar_grow((void **)&s->range, &s->cap_range, s->n_range + 1, sizeof r))
            return no_memory(s);
        s->range[s->n_range++] = r;
    }
    s->p++;
    *out = lar__expr_chars(&s->rules, s->range, s->n_range, negate);
    if (!*out)
        return no_memory(s);
    return (*out)->n ? LAR_OK : fault(s, from, "no character fits this class");
}

/* ---- expressions
 * ---------------------------------------------------------------------------------- */

static lar_status number(parser *s, uint32_t *out)
{
    const char *from = s->p;
    for (*out = 0; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++)
        if ((*out = *out * 10 + (uint32_t)(*s->p - '0')) > MOST_REPEATS)
            return fault(s, from, "more than 100000 repetitions");
    return s->p > from ? LAR_OK : fault(s, from, "want a number of repetitions");
}

/* "{m}", "{m,}", "{m,n}", "{,n}" */
static lar_status braces(parser *s, uint32_t *min, uint32_t *max)
{
    const char *from = s->p++;
    *min = 0;
    skip_space(s, false);
    if (!at(s, ','))
        LAR_TRY(number(s, min));
    *max = *min;
    skip_space(s, false);
    if (at(s, ',')) {
        s->p++;
        skip_space(s, false);
        *max = LAR_RULE_MANY;
        if (!at(s, '}'))
            LAR_TRY(number(s, max));
    }
    skip_space(s, false);
    if (!at(s, '}'))
        return fault(s, s->p, "want '}'");
    s->p++;
    return *max >= *min ? LAR_OK : fault(s, from, "at most fewer repetitions than at least");
}

static lar_status alternatives(parser *s, bool nested, lar_expr **out);

static lar_status group(parser *s, lar_expr **out)
{
    const char *from = s->p++;
    skip_space(s, true);
    LAR_TRY(alternatives(s, true, out));
    if (!at(s, ')'))
        return s->p == s->end ? fault(s, from, "this group has no closing parenthesis")
                              : fault(s, s->p, "want ')' or a further part of the group");
    s->p++;
    return LAR_OK;
}

static lar_status part(parser *s, lar_expr **out)
{
    uint32_t rule;
    size_t n;
    switch (*s->p) {
    case '"':
        return literal(s, out);
    case '[':
        return class_of(s, out);
    case '(':
        return group(s, out);
    case '.':
        s->p++;
        *out = lar__expr_chars(&s->rules, NULL, 0, true);
        return *out ? LAR_OK : no_memory(s);
    case '<':
    case '!':
        return fault(s, s->p, "tokens in angle brackets are not supported");
    default:
        n = name_length(s);
        if (!n)
            return fault(s, s->p, "want a literal, a class, a group, a rule's name or '.'");
        LAR_TRY(find_rule(s, s->p, n, &rule));
        s->p += n;
        *out = lar__expr_rule(&s->rules, rule);
        return *out ? LAR_OK : no_memory(s);
    }
}

static lar_status repeated(parser *s, lar_expr **x)
{
    const char *const from = s->p;
    for (int n = 0;; n++) {
        uint32_t min = 0, max = LAR_RULE_MANY;
        if (at(s, '{'))
            LAR_TRY(braces(s, &min, &max));
        else if (at(s, '*') || at(s, '+') || at(s, '?')) {
            min = *s->p == '+';
            max = *s->p == '?' ? 1 : LAR_RULE_MANY;
            s->p++;
        } else {
            return LAR_OK;
        }
        if (n == 8)
            return fault(s, from, "too many repetitions of repetitions");
        *x = lar__expr_repeat(&s->rules, *x, min, max);
        if (!*x)
            return no_memory(s);
    }
}

static lar_status push(parser *s, lar_expr *x)
{
    if (!lar_grow((void **)&s->list, &s->cap_list, s->n_list + 1, sizeof(lar_expr *)))
        return no_memory(s);
    s->list[s->n_list++] = x;
    return LAR_OK;
}

/* The parts from number `from` of the list become one. */
static lar_status fold(parser *s, lar_expr_kind kind, size_t from, lar_expr **out)
{
    *out = lar__expr_list(&s->rules, kind, s->list ? s->list + from : NULL, s->n_list - from);
    s->n_list = from;
    return *out ? LAR_OK : no_memory(s);
}

static lar_status sequence(parser *s, bool nested, lar_expr **out)
{
    const size_t from = s->n_list;
    for (skip_space(s, nested); s->p < s->end; skip_space(s, nested)) {
        lar_expr *x;
        if (*s->p == '|' || *s->p == ')' || *s->p == '\n' || *s->p == '\r')
            break;
        LAR_TRY(part(s, &x));
        LAR_TRY(repeated(s, &x));
        LAR_TRY(push(s, x));
    }
    return fold(s, LAR_EXPR_SEQ, from, out);
}

static lar_status alternatives(parser *s, bool nested, lar_expr **out)
{
    const size_t from = s->n_list;
    if (++s->depth > LAR_RULE_DEPTH)
        return fault(s, s->p, "groups are nested too deeply");
    for (;;) {
        LAR_TRY(sequence(s, nested, out));
        LAR_TRY(push(s, *out));
        if (!at(s, '|'))
            break;
        s->p++;
        skip_space(s, true);
    }
    s->depth--;
    return fold(s, LAR_EXPR_ALT, from, out);
}

static lar_status rule(parser *s)
{
    const char *name = s->p;
    const size_t n = name_length(s);
    uint32_t r;
    lar_expr *body;
    if (!n)
        return fault(s, s->p, "want a rule: name ::= ...");
    LAR_TRY(find_rule(s, name, n, &r));
    s->p += n;
    skip_space(s, false);
    if (s->end - s->p < 3 || memcmp(s->p, "::=", 3) != 0)
        return fault(s, s->p, "want '::=' after a rule's name");
    s->p += 3;
    skip_space(s, true);
    if (s->rules.rule[r].body)
        return fault(s, name, "this rule is defined twice");
    LAR_TRY(alternatives(s, false, &body));
    s->rules.rule[r].body = body;
    if (s->p < s->end && *s->p != '\n' && *s->p != '\r')
        return fault(s, s->p, "want the end of the line");
    return LAR_OK;
}

static lar_status parse(parser *s, uint32_t *root)
{
    for (skip_space(s, true); s->p < s->end; skip_space(s, true))
        LAR_TRY(rule(s));
    LAR_TRY(find_rule(s, "root", 4, root));
    for (size_t i = 0; i < s->rules.n; i++) {
        const lar_rule *r = &s->rules.rule[i];
        if (!r->body && i == *root)
            return lar_fail(s->e, LAR_EARG, "grammar: there is no rule 'root'");
        if (!r->body) {
            int line, column;
            locate(s, r->at, &line, &column);
            return lar_fail(s->e, LAR_EARG, "grammar: line %d, column %d: there is no rule '%.60s'",
                            line, column, r->name);
        }
    }
    return LAR_OK;
}

lar_status lar_grammar_gbnf(const char *text, size_t n, lar_grammar **out, lar_err *e)
{
    parser s = {.p = text, .begin = text, .end = text + n, .e = e};
    uint32_t root = 0;
    if (n > MOST_BYTES)
        return lar_fail(e, LAR_EARG, "grammar: %zu bytes, want at most %d", n, MOST_BYTES);
    lar_status st = lar__rules_init(&s.rules) ? parse(&s, &root) : no_memory(&s);
    if (st == LAR_OK)
        st = lar__grammar_compile(&s.rules, root, out, e);
    lar__rules_free(&s.rules);
    lar_free(s.list);
    lar_free(s.range);
    lar_free(s.slot);
    return st;
}
