/*
 * jinja_parse.c - tokens to a syntax tree: jinja2's grammar with the loop controls and the
 * generation tag. Recursive descent, its depth bounded by JINJA_MAX_NESTING. Depends on jinja.h.
 */
#include "text/jinja.h"
#include <string.h>

typedef struct nodes {
    jnode **v;
    size_t n, cap;
} nodes;

static bool parse_expr(jc *c, bool cond, jnode **out);
static bool parse_unary(jc *c, bool filters, jnode **out);
static bool parse_primary(jc *c, bool ns, jnode **out);
static bool parse_body(jc *c, const char *const *ends, nodes *out);

/* ---- helpers ------------------------------------------------------------------------------- */

static jtoken *cur(jc *c)
{
    return &c->tok[c->pos];
}
static jtoken *look(jc *c)
{
    return &c->tok[LAR_MIN(c->pos + 1, c->n_tok - 1)];
}
static void next(jc *c)
{
    if (c->pos + 1 < c->n_tok)
        c->pos++;
}
static bool is(jc *c, jtok t)
{
    return cur(c)->type == t;
}
static bool tok_is(const jtoken *t, const char *name)
{
    return t->type == T_NAME && t->n == strlen(name) && !memcmp(t->p, name, t->n);
}
static bool skip_if(jc *c, jtok t)
{
    if (!is(c, t))
        return false;
    next(c);
    return true;
}
static bool skip_name(jc *c, const char *name)
{
    if (!tok_is(cur(c), name))
        return false;
    next(c);
    return true;
}

static bool unexpected(jc *c, const char *want)
{
    const jtoken *t = cur(c);
    if (t->type == T_EOF)
        return lar__jc_fail(c, LAR_EFORMAT, t->line, "found the end of the template, want %s",
                            want);
    int n = (int)LAR_MIN(t->n, 40u);
    if (t->type == T_DATA)
        return lar__jc_fail(c, LAR_EFORMAT, t->line, "found text, want %s", want);
    return lar__jc_fail(c, LAR_EFORMAT, t->line, "found '%.*s', want %s", n, t->p, want);
}
static bool expect(jc *c, jtok t, const char *want)
{
    return skip_if(c, t) || unexpected(c, want);
}

static jnode *node(jc *c, jkind kind, uint32_t line)
{
    jnode *n = lar__jc_alloc(c, sizeof *n);
    if (n) {
        n->kind = (uint8_t)kind;
        n->line = line;
        n->depth = 1;
    }
    return n;
}

/* A chain such as a + b + c is as deep as it is long. */
static bool deepen(jc *c, jnode *n, const jnode *kid)
{
    if (kid && kid->depth + 1 > n->depth)
        n->depth = (uint16_t)(kid->depth + 1);
    if (n->depth > JINJA_MAX_NESTING)
        return lar__jc_fail(c, LAR_EARG, n->line, "nested more than %d levels deep",
                            JINJA_MAX_NESTING);
    return true;
}
static jnode *node1(jc *c, jkind kind, uint32_t line, jnode *a)
{
    jnode *n = node(c, kind, line);
    if (!n || !deepen(c, n, a))
        return NULL;
    n->a = a;
    return n;
}
static jnode *node2(jc *c, jkind kind, int op, uint32_t line, jnode *a, jnode *b)
{
    jnode *n = node1(c, kind, line, a);
    if (!n || !deepen(c, n, b))
        return NULL;
    n->b = b;
    n->op = (uint8_t)op;
    return n;
}

static bool push(jc *c, nodes *l, jnode *n)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        jnode **v = lar__jc_alloc(c, cap * sizeof *v);
        if (!v)
            return false;
        if (l->n)
            memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = n;
    return true;
}
static bool set_kids(jc *c, jnode *n, nodes *l)
{
    n->kids = l->v;
    n->n = l->n;
    for (size_t i = 0; i < l->n; i++)
        if (!deepen(c, n, l->v[i]))
            return false;
    return true;
}

static bool enter(jc *c)
{
    if (++c->depth > JINJA_MAX_NESTING)
        return lar__jc_fail(c, LAR_EARG, cur(c)->line, "nested more than %d levels deep",
                            JINJA_MAX_NESTING);
    return true;
}

static const jstr *tok_name(jc *c, const jtoken *t)
{
    jstr *s = lar__jc_alloc(c, sizeof *s);
    if (!s)
        return NULL;
    *s = (jstr){t->p, t->n, 0, false};
    for (size_t i = 0; i < t->n; i++)
        s->len += ((unsigned char)t->p[i] & 0xC0) != 0x80;
    return s;
}
static bool set_name(jc *c, jnode *n, const jtoken *t)
{
    n->name = tok_name(c, t);
    n->hash = lar_hash64(t->p, t->n);
    return n->name != NULL;
}
static bool expect_name(jc *c, const jtoken **out)
{
    *out = cur(c);
    return expect(c, T_NAME, "a name");
}

/* ---- expressions --------------------------------------------------------------------------- */

static bool tuple_end(jc *c)
{
    return is(c, T_VAR_END) || is(c, T_BLOCK_END) || is(c, T_RPAREN);
}

static bool parse_tuple(jc *c, bool simple, bool cond, bool paren, bool ns, jnode **out)
{
    nodes l = {0};
    bool tuple = false;
    uint32_t line = cur(c)->line;
    for (;;) {
        jnode *x;
        if (l.n && !expect(c, T_COMMA, "','"))
            return false;
        if (tuple_end(c))
            break;
        if (!(simple ? parse_primary(c, ns, &x) : parse_expr(c, cond, &x)) || !push(c, &l, x))
            return false;
        if (!is(c, T_COMMA))
            break;
        tuple = true;
    }
    if (!tuple) {
        if (l.n) {
            *out = l.v[0];
            return true;
        }
        if (!paren)
            return unexpected(c, "an expression");
    }
    jnode *n = node(c, N_TUPLE, line);
    *out = n;
    return n && set_kids(c, n, &l);
}

static bool parse_list(jc *c, jnode **out)
{
    jnode *n = node(c, N_LIST, cur(c)->line), *x;
    nodes l = {0};
    next(c);
    while (!is(c, T_RBRACKET)) {
        if (l.n && !expect(c, T_COMMA, "',' or ']'"))
            return false;
        if (is(c, T_RBRACKET))
            break;
        if (!parse_expr(c, true, &x) || !push(c, &l, x))
            return false;
    }
    next(c);
    *out = n;
    return n && set_kids(c, n, &l);
}

static bool parse_dict(jc *c, jnode **out)
{
    jnode *n = node(c, N_DICT, cur(c)->line), *k, *v;
    nodes l = {0};
    next(c);
    while (!is(c, T_RBRACE)) {
        if (l.n && !expect(c, T_COMMA, "',' or '}'"))
            return false;
        if (is(c, T_RBRACE))
            break;
        if (!parse_expr(c, true, &k) || !expect(c, T_COLON, "':'") || !parse_expr(c, true, &v) ||
            !push(c, &l, k) || !push(c, &l, v))
            return false;
    }
    next(c);
    *out = n;
    return n && set_kids(c, n, &l);
}

static bool parse_const(jc *c, jv v, uint32_t line, jnode **out)
{
    next(c);
    *out = node(c, N_CONST, line);
    if (*out)
        (*out)->val = v;
    return *out != NULL;
}

/* 'a' 'b' is one string */
static bool parse_strings(jc *c, jnode **out)
{
    uint32_t line = cur(c)->line;
    size_t first = c->pos, n = 0, len = 0;
    for (; is(c, T_STRING); next(c)) {
        n += cur(c)->val.u.s->n;
        len += cur(c)->val.u.s->len;
    }
    *out = node(c, N_CONST, line);
    if (!*out)
        return false;
    (*out)->val = c->tok[first].val;
    if (c->pos - first == 1)
        return true;
    jstr *s = lar__jc_alloc(c, sizeof *s);
    char *p = lar__jc_alloc(c, n + 1);
    if (!s || !p)
        return false;
    *s = (jstr){p, n, len, false};
    for (size_t i = first; i < c->pos; i++) {
        const jstr *q = c->tok[i].val.u.s;
        if (q->n)
            memcpy(p, q->p, q->n);
        p += q->n;
    }
    (*out)->val.u.s = s;
    return true;
}

static bool parse_named(jc *c, bool ns, jnode **out)
{
    const jtoken *t = cur(c);
    if (tok_is(t, "true") || tok_is(t, "True"))
        return parse_const(c, lar__jv_bool(true), t->line, out);
    if (tok_is(t, "false") || tok_is(t, "False"))
        return parse_const(c, lar__jv_bool(false), t->line, out);
    if (tok_is(t, "none") || tok_is(t, "None"))
        return parse_const(c, lar__jv_none(), t->line, out);
    next(c);
    *out = node(c, N_NAME, t->line);
    if (!*out || !set_name(c, *out, t))
        return false;
    if (ns && skip_if(c, T_DOT)) {
        if (!expect_name(c, &t))
            return false;
        (*out)->kind = N_NSREF;
        (*out)->name2 = tok_name(c, t);
        return (*out)->name2 != NULL;
    }
    return true;
}

static bool parse_primary(jc *c, bool ns, jnode **out)
{
    jtoken *t = cur(c);
    if (!enter(c))
        return false;
    bool ok;
    switch (t->type) {
    case T_NAME:
        ok = parse_named(c, ns, out);
        break;
    case T_STRING:
        ok = parse_strings(c, out);
        break;
    case T_INTEGER:
    case T_FLOAT:
        ok = parse_const(c, t->val, t->line, out);
        break;
    case T_LPAREN:
        next(c);
        ok = parse_tuple(c, false, true, true, false, out) && expect(c, T_RPAREN, "')'");
        break;
    case T_LBRACKET:
        ok = parse_list(c, out);
        break;
    case T_LBRACE:
        ok = parse_dict(c, out);
        break;
    default:
        ok = unexpected(c, "an expression");
    }
    c->depth--;
    return ok;
}

static bool parse_keyword(jc *c, jcallargs *a, nodes *kwv, const jstr ***kw, size_t *cap)
{
    const jstr *name = tok_name(c, cur(c));
    jnode *x;
    next(c);
    next(c);
    if (!name || !parse_expr(c, true, &x))
        return false;
    for (size_t i = 0; i < a->nk; i++)
        if ((*kw)[i]->n == name->n && !memcmp((*kw)[i]->p, name->p, name->n))
            return lar__jc_fail(c, LAR_EFORMAT, x->line, "keyword argument '%.*s' given twice",
                                (int)LAR_MIN(name->n, 60u), name->p);
    if (a->nk == *cap) {
        const jstr **v = lar__jc_alloc(c, (*cap * 2 + 4) * sizeof *v);
        if (!v)
            return false;
        if (a->nk)
            memcpy(v, *kw, a->nk * sizeof *v);
        *kw = v;
        *cap = *cap * 2 + 4;
    }
    (*kw)[a->nk++] = name;
    return push(c, kwv, x);
}

static bool parse_args(jc *c, jnode *owner)
{
    jcallargs *a = lar__jc_alloc(c, sizeof *a);
    nodes pos = {0}, kwv = {0};
    const jstr **kw = NULL;
    size_t cap = 0;
    uint32_t line = cur(c)->line;
    bool comma = false, ok = true;
    jnode *x;
    next(c);
    if (!a)
        return false;
    while (!is(c, T_RPAREN)) {
        if (comma) {
            if (!expect(c, T_COMMA, "',' or ')'"))
                return false;
            if (is(c, T_RPAREN))
                break;
        }
        comma = true;
        if (is(c, T_MUL)) {
            ok = !a->dyn && !a->dynkw;
            next(c);
            if (ok && !parse_expr(c, true, &a->dyn))
                return false;
        } else if (is(c, T_POW)) {
            ok = !a->dynkw;
            next(c);
            if (ok && !parse_expr(c, true, &a->dynkw))
                return false;
        } else if (is(c, T_NAME) && look(c)->type == T_ASSIGN) {
            ok = !a->dynkw;
            if (ok && !parse_keyword(c, a, &kwv, &kw, &cap))
                return false;
        } else {
            ok = !a->dyn && !a->dynkw && !kwv.n;
            if (ok && (!parse_expr(c, true, &x) || !push(c, &pos, x)))
                return false;
        }
        if (!ok)
            return lar__jc_fail(c, LAR_EFORMAT, line, "invalid order of arguments in a call");
    }
    next(c);
    *a = (jcallargs){pos.v, pos.n, kw, kwv.v, kwv.n, a->dyn, a->dynkw};
    owner->args = a;
    for (size_t i = 0; i < pos.n; i++)
        ok = ok && deepen(c, owner, pos.v[i]);
    for (size_t i = 0; i < kwv.n; i++)
        ok = ok && deepen(c, owner, kwv.v[i]);
    return ok && deepen(c, owner, a->dyn) && deepen(c, owner, a->dynkw);
}

static bool parse_subscribed(jc *c, jnode **out)
{
    uint32_t line = cur(c)->line;
    jnode *part[3] = {NULL, NULL, NULL};
    if (!is(c, T_COLON)) {
        if (!parse_expr(c, true, &part[0]))
            return false;
        if (!is(c, T_COLON)) {
            *out = part[0];
            return true;
        }
    }
    next(c);
    if (!is(c, T_COLON) && !is(c, T_RBRACKET) && !is(c, T_COMMA) && !parse_expr(c, true, &part[1]))
        return false;
    if (skip_if(c, T_COLON) && !is(c, T_RBRACKET) && !is(c, T_COMMA) &&
        !parse_expr(c, true, &part[2]))
        return false;
    jnode *n = node2(c, N_SLICE, 0, line, part[0], part[1]);
    if (!n || !deepen(c, n, part[2]))
        return false;
    n->c = part[2];
    *out = n;
    return true;
}

static bool parse_subscript(jc *c, jnode **io)
{
    jtoken *t = cur(c);
    jnode *n, *arg;
    next(c);
    if (t->type == T_DOT) {
        jtoken *name = cur(c);
        if (name->type == T_NAME) {
            n = node1(c, N_GETATTR, t->line, *io);
            next(c);
            *io = n;
            return n && set_name(c, n, name);
        }
        if (name->type != T_INTEGER)
            return unexpected(c, "a name or a number after '.'");
        if (!parse_const(c, name->val, name->line, &arg))
            return false;
        *io = node2(c, N_GETITEM, 0, t->line, *io, arg);
        return *io != NULL;
    }
    nodes l = {0};
    while (!is(c, T_RBRACKET)) {
        if ((l.n && !expect(c, T_COMMA, "',' or ']'")) || !parse_subscribed(c, &arg) ||
            !push(c, &l, arg))
            return false;
    }
    next(c);
    if (l.n == 1) {
        arg = l.v[0];
    } else {
        arg = node(c, N_TUPLE, t->line);
        if (!arg || !set_kids(c, arg, &l))
            return false;
        for (size_t i = 0; i < l.n; i++)
            if (l.v[i]->kind == N_SLICE)
                return lar__jc_fail(c, LAR_EUNSUPPORTED, t->line, "a slice beside other indices");
    }
    *io = node2(c, N_GETITEM, 0, t->line, *io, arg);
    return *io != NULL;
}

static bool parse_call(jc *c, jnode **io)
{
    jnode *n = node1(c, N_CALL, cur(c)->line, *io);
    *io = n;
    return n && parse_args(c, n);
}

static bool parse_postfix(jc *c, jnode **io)
{
    for (;;) {
        if (is(c, T_DOT) || is(c, T_LBRACKET)) {
            if (!parse_subscript(c, io))
                return false;
        } else if (is(c, T_LPAREN)) {
            if (!parse_call(c, io))
                return false;
        } else {
            return true;
        }
    }
}

/* A dotted name of a filter or a test: none of ours has a dot, but it parses. */
static bool parse_dotted(jc *c, jnode *n)
{
    const jtoken *t;
    if (!expect_name(c, &t) || !set_name(c, n, t))
        return false;
    while (skip_if(c, T_DOT)) {
        if (!expect_name(c, &t))
            return false;
        return lar__jc_fail(c, LAR_EFORMAT, t->line, "no filter or test has the name '%.*s.%.*s'",
                            (int)LAR_MIN(n->name->n, 60u), n->name->p, (int)LAR_MIN(t->n, 60u),
                            t->p);
    }
    return true;
}

/* filters after '|'; with `first` the first one stands without it. *io NULL: the text of a block */
static bool parse_filters(jc *c, bool first, jnode **io)
{
    while (first || is(c, T_PIPE)) {
        if (!first)
            next(c);
        first = false;
        jnode *n = node1(c, N_FILTER, cur(c)->line, *io);
        if (!n || !parse_dotted(c, n) || (is(c, T_LPAREN) && !parse_args(c, n)))
            return false;
        *io = n;
    }
    return true;
}

static bool parse_test(jc *c, jnode **io)
{
    jtoken *t = cur(c);
    next(c);
    bool negated = skip_name(c, "not");
    jnode *n = node1(c, N_TEST, t->line, *io);
    if (!n || !parse_dotted(c, n))
        return false;
    jtoken *k = cur(c);
    if (k->type == T_LPAREN) {
        if (!parse_args(c, n))
            return false;
    } else if ((k->type == T_NAME || k->type == T_STRING || k->type == T_INTEGER ||
                k->type == T_FLOAT || k->type == T_LBRACKET || k->type == T_LBRACE) &&
               !tok_is(k, "else") && !tok_is(k, "or") && !tok_is(k, "and")) {
        if (tok_is(k, "is"))
            return lar__jc_fail(c, LAR_EFORMAT, k->line, "tests cannot be chained with 'is'");
        nodes l = {0};
        jnode *x;
        jcallargs *a = lar__jc_alloc(c, sizeof *a);
        if (!a || !parse_primary(c, false, &x) || !parse_postfix(c, &x) || !push(c, &l, x) ||
            !deepen(c, n, x))
            return false;
        a->pos = l.v;
        a->n = 1;
        n->args = a;
    }
    *io = negated ? node1(c, N_NOT, t->line, n) : n;
    return *io != NULL;
}

static bool parse_filter_expr(jc *c, jnode **io)
{
    for (;;) {
        if (is(c, T_PIPE)) {
            if (!parse_filters(c, false, io))
                return false;
        } else if (tok_is(cur(c), "is")) {
            if (!parse_test(c, io))
                return false;
        } else if (is(c, T_LPAREN)) {
            if (!parse_call(c, io))
                return false;
        } else {
            return true;
        }
    }
}

static bool parse_unary(jc *c, bool filters, jnode **out)
{
    jtoken *t = cur(c);
    if (!enter(c))
        return false;
    if (t->type == T_SUB || t->type == T_ADD) {
        next(c);
        if (!parse_unary(c, false, out))
            return false;
        *out = node1(c, t->type == T_SUB ? N_NEG : N_POS, t->line, *out);
        if (!*out)
            return false;
    } else if (!parse_primary(c, false, out)) {
        return false;
    }
    c->depth--;
    return parse_postfix(c, out) && (!filters || parse_filter_expr(c, out));
}

static bool parse_pow(jc *c, jnode **out)
{
    jnode *b;
    uint32_t line = cur(c)->line;
    if (!parse_unary(c, true, out))
        return false;
    while (skip_if(c, T_POW)) {
        if (!parse_unary(c, true, &b) || !(*out = node2(c, N_BIN, OP_POW, line, *out, b)))
            return false;
    }
    return true;
}

static bool parse_math2(jc *c, jnode **out)
{
    jnode *b;
    if (!parse_pow(c, out))
        return false;
    for (;;) {
        jtoken *t = cur(c);
        int op = t->type == T_MUL        ? OP_MUL
                 : t->type == T_DIV      ? OP_DIV
                 : t->type == T_FLOORDIV ? OP_FLOORDIV
                 : t->type == T_MOD      ? OP_MOD
                                         : -1;
        if (op < 0)
            return true;
        next(c);
        if (!parse_pow(c, &b) || !(*out = node2(c, N_BIN, op, t->line, *out, b)))
            return false;
    }
}

static bool parse_concat(jc *c, jnode **out)
{
    uint32_t line = cur(c)->line;
    nodes l = {0};
    jnode *x;
    if (!parse_math2(c, out))
        return false;
    if (!is(c, T_TILDE))
        return true;
    if (!push(c, &l, *out))
        return false;
    while (skip_if(c, T_TILDE))
        if (!parse_math2(c, &x) || !push(c, &l, x))
            return false;
    *out = node(c, N_CONCAT, line);
    return *out && set_kids(c, *out, &l);
}

static bool parse_math1(jc *c, jnode **out)
{
    jnode *b;
    if (!parse_concat(c, out))
        return false;
    while (is(c, T_ADD) || is(c, T_SUB)) {
        jtoken *t = cur(c);
        next(c);
        if (!parse_concat(c, &b) ||
            !(*out = node2(c, N_BIN, t->type == T_ADD ? OP_ADD : OP_SUB, t->line, *out, b)))
            return false;
    }
    return true;
}

static int compare_op(jc *c)
{
    switch (cur(c)->type) {
    case T_EQ:
        return OP_EQ;
    case T_NE:
        return OP_NE;
    case T_LT:
        return OP_LT;
    case T_LE:
        return OP_LE;
    case T_GT:
        return OP_GT;
    case T_GE:
        return OP_GE;
    default:
        if (tok_is(cur(c), "in"))
            return OP_IN;
        if (tok_is(cur(c), "not") && tok_is(look(c), "in")) {
            next(c);
            return OP_NOTIN;
        }
        return -1;
    }
}

static bool parse_compare(jc *c, jnode **out)
{
    nodes l = {0};
    jnode *x;
    int op;
    uint32_t line = cur(c)->line;
    if (!parse_math1(c, out))
        return false;
    while ((op = compare_op(c)) >= 0) {
        uint32_t at = cur(c)->line;
        next(c);
        if (!parse_math1(c, &x) || !(x = node1(c, N_OPERAND, at, x)) || !push(c, &l, x))
            return false;
        x->op = (uint8_t)op;
    }
    if (!l.n)
        return true;
    *out = node1(c, N_CMP, line, *out);
    return *out && set_kids(c, *out, &l);
}

static bool parse_not(jc *c, jnode **out)
{
    if (!tok_is(cur(c), "not"))
        return parse_compare(c, out);
    uint32_t line = cur(c)->line;
    next(c);
    if (!enter(c) || !parse_not(c, out))
        return false;
    c->depth--;
    *out = node1(c, N_NOT, line, *out);
    return *out != NULL;
}

static bool parse_and(jc *c, jnode **out)
{
    jnode *b;
    uint32_t line = cur(c)->line;
    if (!parse_not(c, out))
        return false;
    while (skip_name(c, "and"))
        if (!parse_not(c, &b) || !(*out = node2(c, N_AND, 0, line, *out, b)))
            return false;
    return true;
}

static bool parse_or(jc *c, jnode **out)
{
    jnode *b;
    uint32_t line = cur(c)->line;
    if (!parse_and(c, out))
        return false;
    while (skip_name(c, "or"))
        if (!parse_and(c, &b) || !(*out = node2(c, N_OR, 0, line, *out, b)))
            return false;
    return true;
}

static bool parse_expr(jc *c, bool cond, jnode **out)
{
    uint32_t line = cur(c)->line;
    if (!enter(c) || !parse_or(c, out))
        return false;
    while (cond && skip_name(c, "if")) {
        jnode *test, *other = NULL;
        if (!parse_or(c, &test) || (skip_name(c, "else") && !parse_expr(c, true, &other)))
            return false;
        jnode *n = node2(c, N_COND, 0, line, test, *out);
        if (!n || !deepen(c, n, other))
            return false;
        n->c = other;
        *out = n;
    }
    c->depth--;
    return true;
}

/* ---- statements ---------------------------------------------------------------------------- */

static bool can_assign(jc *c, const jnode *n)
{
    if (n->kind == N_NAME || n->kind == N_NSREF)
        return true;
    if (n->kind != N_TUPLE)
        return lar__jc_fail(c, LAR_EFORMAT, n->line, "cannot assign to this expression");
    for (size_t i = 0; i < n->n; i++)
        if (!can_assign(c, n->kids[i]))
            return false;
    return true;
}

static bool parse_target(jc *c, bool ns, jnode **out)
{
    return parse_tuple(c, true, true, false, ns, out) && can_assign(c, *out);
}

static bool parse_block_body(jc *c, const char *const *ends, nodes *l)
{
    skip_if(c, T_COLON);
    return expect(c, T_BLOCK_END, "'%}'") && parse_body(c, ends, l);
}

/* The body up to {% END, which is skipped. */
static bool parse_until(jc *c, const char *end, jnode *n)
{
    const char *ends[] = {end, NULL};
    nodes l = {0};
    if (!parse_block_body(c, ends, &l))
        return false;
    next(c);
    return set_kids(c, n, &l);
}

static bool parse_for(jc *c, jnode *n)
{
    static const char *const ends[] = {"endfor", "else", NULL}, *const last[] = {"endfor", NULL};
    nodes body = {0}, els = {0};
    if (!parse_target(c, false, &n->a))
        return false;
    if (!skip_name(c, "in"))
        return unexpected(c, "'in'");
    if (!parse_tuple(c, false, false, false, false, &n->b) ||
        (skip_name(c, "if") && !parse_expr(c, true, &n->c)))
        return false;
    n->flag = skip_name(c, "recursive");
    if (!parse_block_body(c, ends, &body))
        return false;
    if (skip_name(c, "else") && !parse_block_body(c, last, &els))
        return false;
    next(c);
    n->els = els.v;
    n->n_els = els.n;
    for (size_t i = 0; i < els.n; i++)
        if (!deepen(c, n, els.v[i]))
            return false;
    return set_kids(c, n, &body);
}

static bool parse_if(jc *c, jnode *n)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif",
                                                                                        NULL};
    nodes branches = {0}, els = {0};
    for (;;) {
        jnode *b = node(c, N_BRANCH, cur(c)->line);
        nodes body = {0};
        if (!b || !parse_tuple(c, false, false, false, false, &b->a) ||
            !parse_block_body(c, ends, &body) || !set_kids(c, b, &body) || !push(c, &branches, b))
            return false;
        if (skip_name(c, "elif"))
            continue;
        if (skip_name(c, "else") && !parse_block_body(c, last, &els))
            return false;
        next(c);
        break;
    }
    n->els = els.v;
    n->n_els = els.n;
    for (size_t i = 0; i < els.n; i++)
        if (!deepen(c, n, els.v[i]))
            return false;
    return set_kids(c, n, &branches);
}

static bool parse_set(jc *c, jnode *n)
{
    if (!parse_target(c, true, &n->a))
        return false;
    if (skip_if(c, T_ASSIGN)) {
        n->kind = N_SET;
        return parse_tuple(c, false, true, false, false, &n->b);
    }
    n->kind = N_SETBLOCK;
    return parse_filters(c, false, &n->b) && parse_until(c, "endset", n);
}

static bool parse_with(jc *c, jnode *n)
{
    nodes l = {0};
    while (!is(c, T_BLOCK_END)) {
        jnode *t, *v;
        if ((l.n && !expect(c, T_COMMA, "','")) || !parse_target(c, false, &t) ||
            !expect(c, T_ASSIGN, "'='") || !parse_expr(c, true, &v) || !push(c, &l, t) ||
            !push(c, &l, v))
            return false;
    }
    n->els = l.v;
    n->n_els = l.n;
    return parse_until(c, "endwith", n);
}

static bool parse_signature(jc *c, jnode *n)
{
    size_t cap = 0;
    bool defaults = false;
    if (!expect(c, T_LPAREN, "'('"))
        return false;
    while (!is(c, T_RPAREN)) {
        const jtoken *t;
        jparam p = {0};
        if ((n->n_params && !expect(c, T_COMMA, "','")) || !expect_name(c, &t) ||
            !(p.name = tok_name(c, t)))
            return false;
        p.hash = lar_hash64(t->p, t->n);
        for (size_t i = 0; i < n->n_params; i++)
            if (n->params[i].hash == p.hash && n->params[i].name->n == t->n &&
                !memcmp(n->params[i].name->p, t->p, t->n))
                return lar__jc_fail(c, LAR_EFORMAT, t->line, "parameter '%.*s' given twice",
                                    (int)LAR_MIN(t->n, 60u), t->p);
        if (skip_if(c, T_ASSIGN)) {
            defaults = true;
            if (!parse_expr(c, true, &p.def))
                return false;
        } else if (defaults) {
            return lar__jc_fail(c, LAR_EFORMAT, t->line,
                                "a parameter without default after one with");
        }
        if (n->n_params == cap) {
            jparam *v = lar__jc_alloc(c, (cap * 2 + 4) * sizeof *v);
            if (!v)
                return false;
            if (n->n_params)
                memcpy(v, n->params, n->n_params * sizeof *v);
            n->params = v;
            cap = cap * 2 + 4;
        }
        n->params[n->n_params++] = p;
    }
    next(c);
    return true;
}

static bool parse_macro(jc *c, jnode *n)
{
    const jtoken *t;
    return expect_name(c, &t) && set_name(c, n, t) && parse_signature(c, n) &&
           parse_until(c, "endmacro", n);
}

static bool parse_call_block(jc *c, jnode *n)
{
    jnode *m = node(c, N_MACRO, n->line);
    if (!m || (is(c, T_LPAREN) && !parse_signature(c, m)) || !parse_expr(c, true, &n->a))
        return false;
    if (n->a->kind != N_CALL)
        return lar__jc_fail(c, LAR_EFORMAT, n->line, "{%% call %%} wants a call");
    n->b = m;
    return parse_until(c, "endcall", m) && deepen(c, n, m);
}

static bool parse_generation(jc *c, jnode *n)
{
    n->b = node(c, N_MACRO, n->line);
    return n->b && parse_until(c, "endgeneration", n->b) && deepen(c, n, n->b);
}

static bool parse_block(jc *c, jnode *n)
{
    const jtoken *t;
    if (!expect_name(c, &t) || !set_name(c, n, t))
        return false;
    skip_name(c, "scoped");
    if (skip_name(c, "required"))
        return lar__jc_fail(c, LAR_EUNSUPPORTED, n->line, "template inheritance (required block)");
    if (!parse_until(c, "endblock", n))
        return false;
    const jtoken *e = cur(c);
    if (e->type == T_NAME && e->n == t->n && !memcmp(e->p, t->p, t->n))
        next(c);
    return true;
}

static bool parse_print(jc *c, jnode *n)
{
    nodes l = {0};
    jnode *x;
    while (!is(c, T_BLOCK_END))
        if ((l.n && !expect(c, T_COMMA, "','")) || !parse_expr(c, true, &x) || !push(c, &l, x))
            return false;
    return set_kids(c, n, &l);
}

static bool parse_filter_block(jc *c, jnode *n)
{
    return parse_filters(c, true, &n->b) && parse_until(c, "endfilter", n);
}
static bool parse_autoescape(jc *c, jnode *n)
{
    return parse_expr(c, true, &n->a) && parse_until(c, "endautoescape", n);
}
static bool parse_nothing(jc *c, jnode *n)
{
    (void)c;
    (void)n;
    return true;
}

static const struct {
    const char *name;
    uint8_t kind;
    bool (*parse)(jc *c, jnode *n);
} statements[] = {
    {"for", N_FOR, parse_for},
    {"if", N_IF, parse_if},
    {"set", N_SET, parse_set},
    {"macro", N_MACRO, parse_macro},
    {"with", N_WITH, parse_with},
    {"call", N_CALLBLOCK, parse_call_block},
    {"filter", N_FILTERBLOCK, parse_filter_block},
    {"print", N_OUTPUT, parse_print},
    {"block", N_BLOCK, parse_block},
    {"autoescape", N_AUTOESCAPE, parse_autoescape},
    {"generation", N_GENERATION, parse_generation},
    {"break", N_BREAK, parse_nothing},
    {"continue", N_CONTINUE, parse_nothing},
};

static bool parse_statement(jc *c, jnode **out)
{
    static const char *const refused[] = {"include", "import", "from", "extends"};
    const jtoken *t = cur(c);
    if (t->type != T_NAME)
        return unexpected(c, "the name of a tag");
    for (size_t i = 0; i < LAR_LEN(refused); i++)
        if (tok_is(t, refused[i]))
            return lar__jc_fail(
                c, LAR_EUNSUPPORTED, t->line,
                "{%% %s %%}: a chat template stands alone, there is no other to load", refused[i]);
    for (size_t i = 0; i < LAR_LEN(statements); i++) {
        if (!tok_is(t, statements[i].name))
            continue;
        next(c);
        *out = node(c, (jkind)statements[i].kind, t->line);
        return *out && enter(c) && statements[i].parse(c, *out) && (c->depth--, true);
    }
    return lar__jc_fail(c, LAR_EFORMAT, t->line, "unknown tag '%.*s'", (int)LAR_MIN(t->n, 60u),
                        t->p);
}

static bool at_end(jc *c, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (tok_is(cur(c), *ends))
            return true;
    return false;
}

/* Statements up to a tag in `ends`, whose name is then the current token; NULL: the whole template.
 */
static bool parse_body(jc *c, const char *const *ends, nodes *l)
{
    uint32_t line = cur(c)->line;
    for (;;) {
        jtoken *t = cur(c);
        jnode *n = NULL, *x;
        if (t->type == T_EOF) {
            if (ends)
                return lar__jc_fail(c, LAR_EFORMAT, line, "the block has no {%% %s %%}",
                                    ends[1] && ends[2] ? ends[2] : ends[0]);
            return true;
        }
        if (t->type == T_DATA) {
            n = node(c, N_DATA, t->line);
            if (!n || !push(c, l, n))
                return false;
            n->val = t->val;
            next(c);
        } else if (t->type == T_VAR_BEGIN) {
            nodes one = {0};
            n = node(c, N_OUTPUT, t->line);
            next(c);
            if (!n || !parse_tuple(c, false, true, false, false, &x) || !push(c, &one, x) ||
                !set_kids(c, n, &one) || !expect(c, T_VAR_END, "'}}'") || !push(c, l, n))
                return false;
        } else if (t->type == T_BLOCK_BEGIN) {
            next(c);
            if (at_end(c, ends))
                return true;
            if (!parse_statement(c, &n) || !push(c, l, n) || !expect(c, T_BLOCK_END, "'%}'"))
                return false;
        } else {
            return unexpected(c, "a tag or text");
        }
    }
}

bool lar__jparse(jc *c, jnode **root)
{
    nodes l = {0};
    *root = node(c, N_BRANCH, 1);
    return *root && parse_body(c, NULL, &l) && set_kids(c, *root, &l);
}
