/*
 * jinja_check.c - what jinja2, and the Python compiler behind it, refuse in a tree that parses:
 * unknown filters and tests, assignments to `loop`, loop controls outside loops. It also notes
 * which macros read caller, kwargs and varargs. Depends on jinja.h.
 */
#include "text/jinja.h"
#include <string.h>

typedef struct scope {
    struct scope *up;
    jnode *macro;
    bool gone[3]; /* caller, kwargs, varargs were assigned before they were read */
} scope;
typedef struct check {
    jc *c;
    scope *macros;
    size_t loop_stores; /* assignments to `loop` seen */
    size_t closures;    /* macros and their like seen */
    bool in_loop, soft;
} check;

static bool check_node(check *k, jnode *n);

static bool check_list(check *k, jnode **v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!check_node(k, v[i]))
            return false;
    return true;
}

static bool name_is(const jstr *s, const char *z)
{
    return s->n == strlen(z) && !memcmp(s->p, z, s->n);
}

static void see_name(check *k, const jstr *name, bool load)
{
    static const char *const special[] = {"caller", "kwargs", "varargs"};
    if (!load && name_is(name, "loop"))
        k->loop_stores++;
    for (int i = 0; i < 3; i++) {
        if (!name_is(name, special[i]))
            continue;
        for (scope *s = k->macros; s; s = s->up) {
            if (!load) {
                s->gone[i] = true;
            } else if (!s->gone[i]) {
                bool *uses[] = {&s->macro->uses_caller, &s->macro->uses_kwargs,
                                &s->macro->uses_varargs};
                *uses[i] = true;
            }
        }
    }
}

static bool check_target(check *k, jnode *n)
{
    if (n->kind == N_TUPLE) {
        for (size_t i = 0; i < n->n; i++)
            if (!check_target(k, n->kids[i]))
                return false;
    } else if (n->kind == N_NAME) {
        see_name(k, n->name, false);
    }
    return true;
}

static bool check_args(check *k, jcallargs *a)
{
    if (!a)
        return true;
    if (!check_list(k, a->pos, a->n) || !check_list(k, a->kwv, a->nk))
        return false;
    return (!a->dyn || check_node(k, a->dyn)) && (!a->dynkw || check_node(k, a->dynkw));
}

/* A body that is a frame of its own; `function`: also one of Python's, which ends loops. */
static bool check_frame(check *k, jnode **v, size_t n, bool function)
{
    bool soft = k->soft, in_loop = k->in_loop;
    k->soft = false;
    k->in_loop = in_loop && !function;
    bool ok = check_list(k, v, n);
    k->soft = soft;
    k->in_loop = in_loop;
    return ok;
}

static bool check_macro(check *k, jnode *n)
{
    k->closures++;
    for (size_t i = 0; i < n->n_params; i++)
        see_name(k, n->params[i].name, false);
    scope s = {.up = k->macros, .macro = n};
    bool soft = k->soft;
    k->soft = false;
    for (size_t i = 0; i < n->n_params; i++)
        if (n->params[i].def && !check_node(k, n->params[i].def))
            return false;
    k->soft = soft;
    k->macros = &s;
    bool ok = check_frame(k, n->kids, n->n, true);
    k->macros = s.up;
    for (size_t i = 0; i < n->n_params && ok; i++) {
        const jparam *p = &n->params[i];
        if (name_is(p->name, "caller") && n->uses_caller && !p->def)
            return lar__jc_fail(k->c, LAR_EFORMAT, n->line, "parameter 'caller' wants a default");
        if (name_is(p->name, "kwargs"))
            n->uses_kwargs = false;
        if (name_is(p->name, "varargs"))
            n->uses_varargs = false;
    }
    return ok;
}

static bool check_for(check *k, jnode *n)
{
    size_t stores = k->loop_stores, closures = k->closures;
    bool soft = k->soft, in_loop = k->in_loop;
    if (!check_target(k, n->a) || !check_node(k, n->b))
        return false;
    k->soft = false;
    if (n->c && !check_node(k, n->c))
        return false;
    k->in_loop = true;
    bool ok = check_list(k, n->kids, n->n);
    n->closes = k->closures != closures;
    k->in_loop = in_loop && !n->flag;
    ok = ok && check_list(k, n->els, n->n_els);
    k->soft = soft;
    k->in_loop = in_loop;
    if (ok && k->loop_stores != stores)
        return lar__jc_fail(k->c, LAR_EFORMAT, n->line, "cannot assign to 'loop' inside a loop");
    return ok;
}

static bool check_filter(check *k, jnode *n)
{
    if (n->a && !check_node(k, n->a))
        return false;
    n->def = n->kind == N_FILTER ? lar__jfilter(n->name->p, n->name->n)
                                 : lar__jtest(n->name->p, n->name->n);
    if (!n->def && !k->soft)
        return lar__jc_fail(k->c, LAR_EFORMAT, n->line, "no %s named '%.*s'",
                            n->kind == N_FILTER ? "filter" : "test", (int)LAR_MIN(n->name->n, 60u),
                            n->name->p);
    return check_args(k, n->args);
}

static bool check_statement(check *k, jnode *n)
{
    bool soft = k->soft, ok;
    switch (n->kind) {
    case N_FOR:
        return check_for(k, n);
    case N_IF:
        k->soft = true;
        ok = check_list(k, n->kids, n->n) && check_list(k, n->els, n->n_els);
        k->soft = soft;
        return ok;
    case N_SET:
        return check_target(k, n->a) && check_node(k, n->b);
    case N_SETBLOCK:
        return check_target(k, n->a) && (!n->b || check_frame(k, &n->b, 1, false)) &&
               check_frame(k, n->kids, n->n, false);
    case N_MACRO:
        see_name(k, n->name, false);
        return check_macro(k, n);
    case N_CALLBLOCK:
        return check_node(k, n->a) && check_macro(k, n->b);
    case N_GENERATION:
        return check_macro(k, n->b);
    case N_FILTERBLOCK:
        return check_frame(k, &n->b, 1, false) && check_frame(k, n->kids, n->n, false);
    case N_WITH:
        for (size_t i = 0; i < n->n_els; i += 2)
            if (!check_target(k, n->els[i]) || !check_node(k, n->els[i + 1]))
                return false;
        return check_frame(k, n->kids, n->n, false);
    case N_BLOCK:
        return check_frame(k, n->kids, n->n, true);
    case N_AUTOESCAPE:
        return check_node(k, n->a) && check_frame(k, n->kids, n->n, false);
    case N_BREAK:
    case N_CONTINUE:
        if (!k->in_loop)
            return lar__jc_fail(k->c, LAR_EFORMAT, n->line, "'%s' outside a loop",
                                n->kind == N_BREAK ? "break" : "continue");
        return true;
    default:
        return check_list(k, n->kids, n->n);
    }
}

static bool check_node(check *k, jnode *n)
{
    bool soft = k->soft, ok;
    if (n->kind >= N_DATA) {
        if (n->kind == N_BRANCH)
            return (!n->a || check_node(k, n->a)) && check_list(k, n->kids, n->n);
        return check_statement(k, n);
    }
    switch (n->kind) {
    case N_NAME:
        see_name(k, n->name, true);
        return true;
    case N_FILTER:
    case N_TEST:
        return check_filter(k, n);
    case N_COND:
        k->soft = true;
        ok = check_node(k, n->a) && check_node(k, n->b) && (!n->c || check_node(k, n->c));
        k->soft = soft;
        return ok;
    default:
        return (!n->a || check_node(k, n->a)) && (!n->b || check_node(k, n->b)) &&
               (!n->c || check_node(k, n->c)) && check_args(k, n->args) &&
               check_list(k, n->kids, n->n);
    }
}

/* What jinja2 and the Python compiler behind it refuse in a tree that parses. */
bool lar__jcheck(jc *c, jnode *root)
{
    check k = {.c = c};
    return check_list(&k, root->kids, root->n);
}
