/*
 * jinja_eval.c - the interpreter: statements, expressions, scopes, loops, macros. Scopes are
 * jinja2's: a loop body, macro, with, call, filter and set block is a frame of its own whose
 * assignments end with it; `if` is not. Depends on jinja.h.
 */
#include "text/jinja.h"
#include <string.h>

typedef enum flow { GO, BREAK, CONTINUE, FAIL } flow;

static flow exec_list(jr *r, jenv *env, jnode *const *v, size_t n);

/* ---- bounds -------------------------------------------------------------------------------- */

bool lar__jfail(jr *r, const char *fmt, ...)
{
    char msg[400];
    va_list ap;
    if (r->st != LAR_OK) /* the first error counts */
        return false;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    r->st = lar_fail(r->e, LAR_EARG, "template line %u: %s", (unsigned)r->line, msg);
    return false;
}

bool lar__joom(jr *r)
{
    if (r->st == LAR_OK)
        r->st = lar_fail(r->e, LAR_ENOMEM, "template line %u: out of memory", (unsigned)r->line);
    return false;
}

bool lar__jstep(jr *r, size_t bytes)
{
    r->steps += 1 + (int64_t)(bytes / JINJA_BYTES_PER_STEP);
    if (r->steps > JINJA_MAX_STEPS)
        return lar__jfail(r, "the template took more than %d steps", JINJA_MAX_STEPS);
    return r->st == LAR_OK;
}

bool lar__jenter(jr *r)
{
    if (r->depth >= JINJA_MAX_DEPTH)
        return lar__jfail(r, "recursion deeper than %d levels", JINJA_MAX_DEPTH);
    r->depth++;
    return true;
}

void lar__jleave(jr *r)
{
    r->depth--;
}

/* ---- scopes -------------------------------------------------------------------------------- */

jenv *lar__jenv_new(jr *r, jenv *up)
{
    jenv *e = lar__jalloc(r, sizeof *e);
    if (e)
        e->up = up;
    return e;
}

static jvar *env_find(jenv *e, const jstr *name, uint64_t hash)
{
    for (size_t i = 0; i < e->n; i++) {
        jvar *v = &e->v[i];
        if (v->hash == hash && v->name->n == name->n && !memcmp(v->name->p, name->p, name->n))
            return v;
    }
    return NULL;
}

static bool env_set(jr *r, jenv *e, const jstr *name, uint64_t hash, jv val)
{
    jvar *v = env_find(e, name, hash);
    if (v) {
        v->v = val;
        return true;
    }
    if (e->n == e->cap) {
        size_t cap = e->cap ? e->cap * 2 : 4;
        v = lar__jalloc_array(r, cap, sizeof *v);
        if (!v)
            return false;
        if (e->n)
            memcpy(v, e->v, e->n * sizeof *v);
        e->v = v;
        e->cap = cap;
    }
    e->v[e->n++] = (jvar){name, hash, val};
    return true;
}

static bool env_setz(jr *r, jenv *e, const char *z, jv val)
{
    jv s;
    return lar__jv_z(r, z, &s) && env_set(r, e, s.u.s, lar_hash64(z, strlen(z)), val);
}

static jv lookup(jr *r, jenv *env, const jnode *n)
{
    jv v;
    for (jenv *e = env; e; e = e->up) {
        jvar *x = env_find(e, n->name, n->hash);
        if (x)
            return x->v;
    }
    if (lar__jdict_getz(r->vars, n->name->p, n->name->n, &v))
        return v;
    const jfunc_def *f = lar__jglobal(n->name->p, n->name->n);
    if (f)
        return (jv){.t = JV_FUNC, .u.func = f};
    if (lar_str_eq((lar_str){n->name->p, n->name->n}, "self"))
        return (jv){.t = JV_BLOCK};
    v = lar__jv_undef(r, NULL);
    if (v.u.undef)
        v.u.undef->name = n->name;
    return v;
}

/* ---- output -------------------------------------------------------------------------------- */

static bool put(jr *r, jv v)
{
    if (!lar__jput_str(r, r->out, v))
        return false;
    if (r->out->n + r->captured > JINJA_MAX_OUTPUT)
        return lar__jfail(r, "more than %u MiB of output", JINJA_MAX_OUTPUT >> 20);
    return true;
}

/* Run statements with their output in a text. */
static flow capture(jr *r, jenv *env, jnode *const *v, size_t n, jv *out)
{
    lar_buf b = {0}, *before = r->out;
    size_t held = before->n;
    r->captured += held;
    r->out = &b;
    flow f = lar__jenter(r) ? exec_list(r, env, v, n) : FAIL;
    if (f != FAIL)
        lar__jleave(r);
    r->out = before;
    r->captured -= held;
    if (f == FAIL || f == BREAK || f == CONTINUE)
        lar_buf_free(&b);
    else if (!lar__jv_buf(r, &b, false, out))
        f = FAIL;
    return f;
}

/* ---- calls --------------------------------------------------------------------------------- */

static bool args_add(jr *r, jargs *a, size_t *cap, jv v)
{
    if (a->n == *cap) {
        jv *p = lar__jalloc_array(r, *cap * 2 + 4, sizeof *p);
        if (!p)
            return false;
        if (a->n)
            memcpy(p, a->v, a->n * sizeof *p);
        a->v = p;
        *cap = *cap * 2 + 4;
    }
    a->v[a->n++] = v;
    return lar__jstep(r, 0);
}

static bool args_dynamic(jr *r, jenv *env, const jcallargs *c, jargs *a, size_t cap)
{
    jv v, x;
    jiter it;
    bool done;
    if (c->dyn) {
        if (!lar__jeval(r, env, c->dyn, &v) || !lar__jiter_init(r, v, &it))
            return false;
        for (;;) {
            if (!lar__jiter_next(r, &it, &x, &done))
                return false;
            if (done)
                break;
            if (!args_add(r, a, &cap, x))
                return false;
        }
    }
    if (c->dynkw) {
        if (!lar__jeval(r, env, c->dynkw, &v))
            return false;
        if (v.t != JV_DICT)
            return lar__jfail(r, "the argument after ** is a %s, want a dict",
                              lar__jtype_name[v.t]);
        size_t n = a->n_named + v.u.d->n;
        const jstr **names = lar__jalloc_array(r, n + 1, sizeof *names);
        jv *vals = lar__jalloc_array(r, n + 1, sizeof *vals);
        if (!names || !vals)
            return false;
        for (size_t i = 0; i < a->n_named; i++) {
            names[i] = a->name[i];
            vals[i] = a->named[i];
        }
        for (size_t i = 0; i < v.u.d->n; i++) {
            const jentry *e = &v.u.d->e[i];
            if (e->key.t != JV_STR)
                return lar__jfail(r, "keywords must be strings, found a %s",
                                  lar__jtype_name[e->key.t]);
            for (size_t k = 0; k < a->n_named; k++)
                if (a->name[k]->n == e->key.u.s->n &&
                    !memcmp(a->name[k]->p, e->key.u.s->p, e->key.u.s->n))
                    return lar__jfail(r, "keyword argument '%.*s' given twice",
                                      (int)LAR_MIN(a->name[k]->n, 60u), a->name[k]->p);
            names[a->n_named + i] = e->key.u.s;
            vals[a->n_named + i] = e->val;
        }
        a->name = names;
        a->named = vals;
        a->n_named = n;
    }
    return true;
}

/* The arguments of a call site; they live as long as the render, since generators keep them. */
static bool eval_args(jr *r, jenv *env, const jcallargs *c, jv *caller, jargs *a)
{
    static const jstr caller_name = {"caller", 6, 6, false};
    memset(a, 0, sizeof *a);
    size_t named = (c ? c->nk : 0) + (caller != NULL);
    if (c && c->n) {
        a->v = lar__jalloc_array(r, c->n, sizeof *a->v);
        if (!a->v)
            return false;
        for (; a->n < c->n; a->n++)
            if (!lar__jeval(r, env, c->pos[a->n], &a->v[a->n]))
                return false;
    }
    if (named) {
        a->name = lar__jalloc_array(r, named, sizeof *a->name);
        a->named = lar__jalloc_array(r, named, sizeof *a->named);
        if (!a->name || !a->named)
            return false;
        for (; c && a->n_named < c->nk; a->n_named++) {
            a->name[a->n_named] = c->kw[a->n_named];
            if (!lar__jeval(r, env, c->kwv[a->n_named], &a->named[a->n_named]))
                return false;
        }
        if (caller) {
            a->name[a->n_named] = &caller_name;
            a->named[a->n_named++] = *caller;
        }
    }
    return !c || args_dynamic(r, env, c, a, c->n);
}

static bool macro_param(jr *r, jenv *e, const jparam *p, jv given)
{
    if (given.t == JV_MISSING && p->def) {
        if (!lar__jeval(r, e, p->def, &given))
            return false;
    } else if (given.t == JV_MISSING) {
        given = lar__jv_undef(r, "a parameter was not provided");
    }
    return env_set(r, e, p->name, p->hash, given);
}

/* kwargs and varargs of a macro, and what is left over where it has none. */
static bool macro_rest(jr *r, jenv *e, const jnode *n, const jargs *a, bool *used)
{
    static const char *const special = "caller";
    jv caller = lar__jv_undef(r, "no caller defined"), kw, va;
    bool explicit_caller = false;
    for (size_t i = 0; i < n->n_params; i++)
        explicit_caller |=
            lar_str_eq((lar_str){n->params[i].name->p, n->params[i].name->n}, special);
    if (!lar__jv_dict(r, &kw) || !lar__jv_list(r, 0, true, &va))
        return false;
    for (size_t i = 0; i < a->n_named; i++) {
        jv key = {.t = JV_STR, .u.s = a->name[i]};
        if (used[i])
            continue;
        if (n->uses_caller && !explicit_caller &&
            lar_str_eq((lar_str){key.u.s->p, key.u.s->n}, special)) {
            if (a->named[i].t != JV_NONE)
                caller = a->named[i];
        } else if (!n->uses_kwargs) {
            return lar__jfail(r, "macro takes no keyword argument '%.*s'",
                              (int)LAR_MIN(key.u.s->n, 60u), key.u.s->p);
        } else if (!lar__jdict_set(r, kw.u.d, key, a->named[i])) {
            return false;
        }
    }
    for (size_t i = n->n_params; i < a->n; i++) {
        if (!n->uses_varargs)
            return lar__jfail(r, "macro takes not more than %zu arguments, found %zu", n->n_params,
                              a->n);
        if (!lar__jlist_add(r, va.u.l, a->v[i]))
            return false;
    }
    return (!n->uses_caller || explicit_caller || env_setz(r, e, special, caller)) &&
           (!n->uses_kwargs || env_setz(r, e, "kwargs", kw)) &&
           (!n->uses_varargs || env_setz(r, e, "varargs", va));
}

static bool call_macro(jr *r, const jmacro *m, const jargs *a, jv *out)
{
    const jnode *n = m->node;
    jenv *e = lar__jenv_new(r, m->env);
    bool *used = lar__jalloc_array(r, a->n_named + 1, sizeof *used);
    jv *given = lar__jalloc_array(r, n->n_params + 1, sizeof *given);
    uint32_t line = r->line;
    if (!e || !used || !given)
        return false;
    for (size_t i = 0; i < n->n_params; i++) {
        if (i < a->n) {
            given[i] = a->v[i];
            continue;
        }
        for (size_t k = 0; k < a->n_named; k++) {
            const jstr *x = a->name[k], *y = n->params[i].name;
            if (!used[k] && x->n == y->n && !memcmp(x->p, y->p, x->n)) {
                used[k] = true;
                given[i] = a->named[k];
            }
        }
    }
    if (!macro_rest(r, e, n, a, used))
        return false;
    for (size_t i = 0; i < n->n_params; i++)
        if (!macro_param(r, e, &n->params[i], given[i]))
            return false;
    if (capture(r, e, n->kids, n->n, out) != GO)
        return false;
    r->line = line;
    return true;
}

static bool run_loop(jr *r, jenv *env, const jnode *n, jv iterable, int64_t depth, jv *out);

bool lar__jcall(jr *r, jv f, const jargs *a, jv *out)
{
    if (!lar__jstep(r, 0) || !lar__jenter(r))
        return false;
    bool ok;
    switch (f.t) {
    case JV_FUNC:
        ok = f.u.func->fn(r, f, a, out);
        break;
    case JV_METHOD:
        ok = f.u.method->def->fn(r, f.u.method->self, a, out);
        break;
    case JV_MACRO:
        ok = call_macro(r, f.u.macro, a, out);
        break;
    case JV_LOOP:
        if (!f.u.loop->node->flag)
            ok =
                lar__jfail(r, "the loop must have the 'recursive' marker to be called recursively");
        else if (a->n != 1 || a->n_named)
            ok = lar__jfail(r, "loop() wants one argument");
        else
            ok = run_loop(r, f.u.loop->env, f.u.loop->node, a->v[0], f.u.loop->depth0 + 1, out);
        break;
    case JV_JOINER:
        ok = a->n + a->n_named ? lar__jfail(r, "joiner() wants no argument") : true;
        *out = f.u.cycler->used ? f.u.cycler->v[0] : f.u.cycler->v[1];
        f.u.cycler->used = true;
        break;
    case JV_BLOCK:
        ok = f.u.node
                 ? capture(r, lar__jenv_new(r, r->root), f.u.node->kids, f.u.node->n, out) == GO
                 : lar__jfail(r, "self cannot be called");
        break;
    case JV_UNDEF:
        ok = lar__jundef_use(r, f);
        break;
    default:
        ok = lar__jfail(r, "a %s cannot be called", lar__jtype_name[f.t]);
    }
    lar__jleave(r);
    return ok;
}

static bool eval_call(jr *r, jenv *env, const jnode *n, jv *caller, jv *out)
{
    jv f;
    jargs a;
    if (!lar__jeval(r, env, n->a, &f) || !eval_args(r, env, n->args, caller, &a))
        return false;
    r->line = n->line;
    return lar__jcall(r, f, &a, out);
}

/* A filter or a test: `in` is what it is applied to. */
static bool eval_filter(jr *r, jenv *env, const jnode *n, const jv *text, jv *out)
{
    jv in;
    /* generators keep their arguments */
    jargs *a = lar__jalloc(r, sizeof *a);
    if (!a)
        return false;
    if (n->a) {
        if (n->kind == N_FILTER && n->a->kind == N_FILTER) {
            if (!lar__jenter(r) || !eval_filter(r, env, n->a, text, &in))
                return false;
            lar__jleave(r);
        } else if (!lar__jeval(r, env, n->a, &in)) {
            return false;
        }
    } else {
        in = *text;
    }
    if (!eval_args(r, env, n->args, NULL, a))
        return false;
    r->line = n->line;
    if (!n->def)
        return lar__jfail(r, "no %s named '%.*s'", n->kind == N_FILTER ? "filter" : "test",
                          (int)LAR_MIN(n->name->n, 60u), n->name->p);
    if (!lar__jstep(r, 0) || !lar__jenter(r) || !n->def->fn(r, in, a, out))
        return false;
    lar__jleave(r);
    return true;
}

/* ---- expressions --------------------------------------------------------------------------- */

static bool eval_items(jr *r, jenv *env, const jnode *n, jv *out)
{
    jv v, k;
    if (n->kind == N_DICT) {
        if (!lar__jv_dict(r, out))
            return false;
        for (size_t i = 0; i < n->n; i += 2)
            if (!lar__jeval(r, env, n->kids[i], &k) || !lar__jeval(r, env, n->kids[i + 1], &v) ||
                !lar__jdict_set(r, out->u.d, k, v))
                return false;
        return true;
    }
    if (!lar__jv_list(r, n->n, n->kind == N_TUPLE, out))
        return false;
    for (size_t i = 0; i < n->n; i++)
        if (!lar__jeval(r, env, n->kids[i], &v) || !lar__jlist_add(r, out->u.l, v))
            return false;
    return true;
}

static bool eval_concat(jr *r, jenv *env, const jnode *n, jv *out)
{
    lar_buf b = {0};
    for (size_t i = 0; i < n->n; i++) {
        jv v;
        if (!lar__jeval(r, env, n->kids[i], &v) || !lar__jput_str(r, &b, v)) {
            lar_buf_free(&b);
            return false;
        }
    }
    return lar__jv_buf(r, &b, false, out);
}

static bool eval_compare(jr *r, jenv *env, const jnode *n, jv *out)
{
    jv a, b;
    bool res = true;
    if (!lar__jeval(r, env, n->a, &a))
        return false;
    for (size_t i = 0; res && i < n->n; i++) {
        if (!lar__jeval(r, env, n->kids[i]->a, &b))
            return false;
        r->line = n->kids[i]->line;
        if (!lar__jcompare(r, n->kids[i]->op, a, b, &res))
            return false;
        a = b;
    }
    *out = lar__jv_bool(res);
    return true;
}

static bool eval_getitem(jr *r, jenv *env, const jnode *n, jv *out)
{
    jv obj, key, part[3];
    if (!lar__jeval(r, env, n->a, &obj))
        return false;
    if (n->b->kind == N_SLICE) {
        const jnode *e[3] = {n->b->a, n->b->b, n->b->c};
        for (int i = 0; i < 3; i++) {
            part[i] = lar__jv_none();
            if (e[i] && !lar__jeval(r, env, e[i], &part[i]))
                return false;
        }
        r->line = n->line;
        return lar__jslice(r, obj, part, out);
    }
    if (!lar__jeval(r, env, n->b, &key))
        return false;
    r->line = n->line;
    return lar__jgetitem(r, obj, key, out);
}

static bool eval_truth(jr *r, jenv *env, const jnode *n, bool *b)
{
    jv v;
    return lar__jeval(r, env, n, &v) && lar__jv_true(r, v, b);
}

static bool eval_logic(jr *r, jenv *env, const jnode *n, jv *out)
{
    bool b;
    switch (n->kind) {
    case N_NOT:
        if (!eval_truth(r, env, n->a, &b))
            return false;
        *out = lar__jv_bool(!b);
        return true;
    case N_COND:
        if (!eval_truth(r, env, n->a, &b))
            return false;
        if (!b && !n->c) {
            *out = lar__jv_undef(r, "the inline if-expression was false and has no else");
            return true;
        }
        return lar__jeval(r, env, b ? n->b : n->c, out);
    default:
        if (!lar__jeval(r, env, n->a, out) || !lar__jv_true(r, *out, &b))
            return false;
        if (b == (n->kind == N_OR))
            return true;
        return lar__jeval(r, env, n->b, out);
    }
}

static bool eval_node(jr *r, jenv *env, const jnode *n, jv *out)
{
    jv a, b;
    switch (n->kind) {
    case N_CONST:
        *out = n->val;
        return true;
    case N_NAME:
        *out = lookup(r, env, n);
        return true;
    case N_TUPLE:
    case N_LIST:
    case N_DICT:
        return eval_items(r, env, n, out);
    case N_GETATTR:
        if (!lar__jeval(r, env, n->a, &a))
            return false;
        r->line = n->line;
        if (a.t == JV_BLOCK && !a.u.node) {
            for (size_t i = 0; i < r->tree->n; i++) {
                const jnode *k = r->tree->kids[i];
                if (k->kind == N_BLOCK && k->hash == n->hash && k->name->n == n->name->n) {
                    *out = (jv){.t = JV_BLOCK, .u.node = k};
                    return true;
                }
            }
        }
        return lar__jgetattr(r, a, n->name, out);
    case N_GETITEM:
        return eval_getitem(r, env, n, out);
    case N_CALL:
        return eval_call(r, env, n, NULL, out);
    case N_FILTER:
    case N_TEST:
        return eval_filter(r, env, n, NULL, out);
    case N_NEG:
    case N_POS:
        return lar__jeval(r, env, n->a, &a) && lar__jneg(r, a, n->kind == N_NEG, out);
    case N_BIN:
        if (!lar__jeval(r, env, n->a, &a) || !lar__jeval(r, env, n->b, &b))
            return false;
        r->line = n->line;
        return lar__jbin(r, n->op, a, b, out);
    case N_CONCAT:
        return eval_concat(r, env, n, out);
    case N_CMP:
        return eval_compare(r, env, n, out);
    default:
        return eval_logic(r, env, n, out);
    }
}

bool lar__jeval(jr *r, jenv *env, const jnode *n, jv *out)
{
    if (n->kind == N_CONST) {
        *out = n->val;
        return true;
    }
    if (!lar__jstep(r, 0) || !lar__jenter(r))
        return false;
    r->line = n->line;
    bool ok = eval_node(r, env, n, out);
    lar__jleave(r);
    return ok;
}

/* ---- assignment ---------------------------------------------------------------------------- */

static bool ns_find(jr *r, jenv *env, const jnode *t, jv *ns)
{
    *ns = lookup(r, env, t);
    if (ns->t != JV_NS)
        return lar__jfail(r, "cannot assign an attribute of '%.*s': a %s, want a namespace",
                          (int)LAR_MIN(t->name->n, 60u), t->name->p, lar__jtype_name[ns->t]);
    return true;
}

bool lar__jassign(jr *r, jenv *env, const jnode *t, jv v)
{
    if (t->kind == N_NAME)
        return env_set(r, env, t->name, t->hash, v);
    if (t->kind == N_NSREF) {
        jv ns;
        if (!ns_find(r, env, t, &ns))
            return false;
        if (t->name2->p[0] == '_')
            return lar__jfail(r, "a namespace cannot store '%.*s': it begins with an underscore",
                              (int)LAR_MIN(t->name2->n, 60u), t->name2->p);
        return lar__jdict_set(r, ns.u.d, (jv){.t = JV_STR, .u.s = t->name2}, v);
    }
    jiter it;
    bool done;
    jv x;
    if (v.t == JV_UNDEF && t->n)
        return lar__jfail(r, "cannot unpack an undefined value");
    if (!lar__jiter_init(r, v, &it))
        return false;
    jv *items = lar__jalloc_array(r, t->n + 1, sizeof *items);
    if (!items)
        return false;
    for (size_t i = 0;; i++) {
        if (!lar__jiter_next(r, &it, &x, &done))
            return false;
        if (done && i == t->n)
            break;
        if (done || i == t->n)
            return lar__jfail(r, "cannot unpack: found %s than the %zu values wanted",
                              done ? "fewer" : "more", t->n);
        items[i] = x;
    }
    for (size_t i = 0; i < t->n; i++)
        if (!lar__jassign(r, env, t->kids[i], items[i]))
            return false;
    return true;
}

/* ---- loops --------------------------------------------------------------------------------- */

static bool loop_next(jr *r, jloop *l, jv *v, bool *done)
{
    if (l->has_after) {
        *v = l->after;
        l->has_after = false;
        *done = l->after.t == JV_MISSING;
        return true;
    }
    return lar__jiter_next(r, &l->it, v, done);
}

static bool loop_peek(jr *r, jloop *l)
{
    bool done;
    if (l->has_after)
        return true;
    if (!lar__jiter_next(r, &l->it, &l->after, &done))
        return false;
    if (done)
        l->after = (jv){.t = JV_MISSING};
    l->has_after = true;
    return true;
}

static bool loop_length(jr *r, jloop *l)
{
    if (l->has_length)
        return true;
    int64_t rest;
    if (l->it.kind != JI_FOR && l->iterable.t != JV_ITER) {
        if (!lar__jv_len(r, l->iterable, &l->length))
            return false;
    } else {
        jv list, v;
        bool done;
        if (!lar__jv_list(r, 0, false, &list))
            return false;
        for (;;) {
            if (!lar__jiter_next(r, &l->it, &v, &done))
                return false;
            if (done)
                break;
            if (!lar__jlist_add(r, list.u.l, v))
                return false;
        }
        rest = (int64_t)list.u.l->n;
        if (!lar__jiter_init(r, list, &l->it))
            return false;
        l->length = rest + l->index0 + 1 + (l->has_after && l->after.t != JV_MISSING);
    }
    l->has_length = true;
    return true;
}

static bool loop_cycle(jr *r, jv self, const jargs *a, jv *out)
{
    if (!a->n)
        return lar__jfail(r, "loop.cycle: no items given");
    *out = a->v[(size_t)self.u.loop->index0 % a->n];
    return true;
}

static bool loop_changed(jr *r, jv self, const jargs *a, jv *out)
{
    jloop *l = self.u.loop;
    jv now;
    bool eq = false;
    if (!lar__jv_list(r, a->n, true, &now))
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!lar__jlist_add(r, now.u.l, a->v[i]))
            return false;
    if (l->has_changed && !lar__jv_eq(r, l->changed, now, &eq))
        return false;
    l->changed = now;
    l->has_changed = true;
    *out = lar__jv_bool(!eq);
    return true;
}

bool lar__jloop_attr(jr *r, jloop *l, const jstr *name, jv *out, bool *found)
{
    static const jfunc_def methods[] = {
        {"cycle", loop_cycle}, {"changed", loop_changed}, {NULL, NULL}};
    static const char *const names[] = {"index",  "index0",   "first",    "depth",
                                        "depth0", "last",     "nextitem", "previtem",
                                        "length", "revindex", "revindex0"};
    size_t k = 0;
    *found = true;
    while (k < LAR_LEN(names) && !lar_str_eq((lar_str){name->p, name->n}, names[k]))
        k++;
    if ((k == 5 || k == 6) && !loop_peek(r, l))
        return false;
    if (k >= 8 && k < LAR_LEN(names) && !loop_length(r, l))
        return false;
    switch (k) {
    case 0:
    case 1:
        *out = lar__jv_int(l->index0 + (k == 0));
        return true;
    case 2:
        *out = lar__jv_bool(l->index0 == 0);
        return true;
    case 3:
    case 4:
        *out = lar__jv_int(l->depth0 + (k == 3));
        return true;
    case 5:
        *out = lar__jv_bool(l->after.t == JV_MISSING);
        return true;
    case 6:
        *out = l->after.t == JV_MISSING ? lar__jv_undef(r, "there is no next item") : l->after;
        return true;
    case 7:
        *out = l->index0 == 0 ? lar__jv_undef(r, "there is no previous item") : l->before;
        return true;
    case 8:
        *out = lar__jv_int(l->length);
        return true;
    case 9:
    case 10:
        *out = lar__jv_int(l->length - l->index0 - (k == 10));
        return true;
    default:
        break;
    }
    const jfunc_def *d = lar__jdef_find(methods, name->p, name->n);
    *found = d != NULL;
    if (!d)
        return true;
    jmethod *m = lar__jalloc(r, sizeof *m);
    if (!m)
        return false;
    *m = (jmethod){{.t = JV_LOOP, .u.loop = l}, d};
    *out = (jv){.t = JV_METHOD, .u.method = m};
    return true;
}

static flow exec_for(jr *r, jenv *env, const jnode *n, jv iterable, int64_t depth)
{
    jloop *l = lar__jalloc(r, sizeof *l);
    static const jstr loop_name = {"loop", 4, 4, false};
    const uint64_t loop_hash = lar_hash64("loop", 4);
    jenv *body = NULL;
    bool done, any = false;
    jv v;
    if (!l)
        return FAIL;
    l->node = n;
    l->env = env;
    l->iterable = iterable;
    l->index0 = -1;
    l->depth0 = depth;
    if (!lar__jiter_init(r, iterable, &l->it))
        return FAIL;
    if (n->c) {
        jiter *in = lar__jalloc(r, sizeof *in);
        if (!in)
            return FAIL;
        *in = l->it;
        l->it = (jiter){.kind = JI_FOR, .in = in, .node = n, .env = env};
    }
    for (;;) {
        r->line = n->line;
        if (!loop_next(r, l, &v, &done))
            return FAIL;
        if (done)
            break;
        l->index0++;
        l->before = l->current;
        l->current = v;
        if (!body || n->closes)
            body = lar__jenv_new(r, env);
        else
            body->n = 0;
        if (!body || !lar__jassign(r, body, n->a, v) ||
            !env_set(r, body, &loop_name, loop_hash, (jv){.t = JV_LOOP, .u.loop = l}))
            return FAIL;
        flow f = exec_list(r, body, n->kids, n->n);
        if (f == FAIL)
            return FAIL;
        if (f == BREAK)
            break;
        any |=
            f ==
            GO; /* jinja2 notes a round at the end of the body, so `continue` leaves it out too */
    }
    if (any || !n->n_els)
        return GO;
    jenv *els = lar__jenv_new(r, env);
    return els ? exec_list(r, els, n->els, n->n_els) : FAIL;
}

/* A recursive loop is a function: its text is the value of loop(...). */
static bool run_loop(jr *r, jenv *env, const jnode *n, jv iterable, int64_t depth, jv *out)
{
    lar_buf b = {0}, *before = r->out;
    size_t held = before->n;
    uint32_t line = r->line;
    r->captured += held;
    r->out = &b;
    flow f = exec_for(r, env, n, iterable, depth);
    r->out = before;
    r->captured -= held;
    r->line = line;
    if (f == FAIL) {
        lar_buf_free(&b);
        return false;
    }
    return lar__jv_buf(r, &b, false, out);
}

/* ---- statements ---------------------------------------------------------------------------- */

static flow exec_if(jr *r, jenv *env, const jnode *n)
{
    for (size_t i = 0; i < n->n; i++) {
        bool b;
        if (!eval_truth(r, env, n->kids[i]->a, &b))
            return FAIL;
        if (b)
            return exec_list(r, env, n->kids[i]->kids, n->kids[i]->n);
    }
    return exec_list(r, env, n->els, n->n_els);
}

static bool make_macro(jr *r, jenv *env, const jnode *n, jv *out)
{
    jmacro *m = lar__jalloc(r, sizeof *m);
    if (!m)
        return false;
    *m = (jmacro){n, env};
    *out = (jv){.t = JV_MACRO, .u.macro = m};
    return true;
}

static bool ns_check(jr *r, jenv *env, const jnode *t)
{
    jv ns;
    if (t->kind == N_NSREF)
        return ns_find(r, env, t, &ns);
    for (size_t i = 0; t->kind == N_TUPLE && i < t->n; i++)
        if (!ns_check(r, env, t->kids[i]))
            return false;
    return true;
}

static flow exec_set_block(jr *r, jenv *env, const jnode *n)
{
    jv text, v;
    jenv *body = lar__jenv_new(r, env);
    flow f = body ? capture(r, body, n->kids, n->n, &text) : FAIL;
    if (f != GO)
        return f;
    v = text;
    if (n->b && !eval_filter(r, body, n->b, &text, &v))
        return FAIL;
    return lar__jassign(r, env, n->a, v) ? GO : FAIL;
}

static flow exec_filter_block(jr *r, jenv *env, const jnode *n)
{
    jv text, v;
    jenv *body = lar__jenv_new(r, env);
    flow f = body ? capture(r, body, n->kids, n->n, &text) : FAIL;
    if (f != GO)
        return f;
    return eval_filter(r, body, n->b, &text, &v) && put(r, v) ? GO : FAIL;
}

static flow exec_with(jr *r, jenv *env, const jnode *n)
{
    jenv *body = lar__jenv_new(r, env);
    if (!body)
        return FAIL;
    for (size_t i = 0; i < n->n_els; i += 2) {
        jv v;
        if (!lar__jeval(r, env, n->els[i + 1], &v) || !lar__jassign(r, body, n->els[i], v))
            return FAIL;
    }
    return exec_list(r, body, n->kids, n->n);
}

/* {% generation %}: jinja2's extension calls the body as a macro and notes where the text lands. */
static flow exec_generation(jr *r, jenv *env, const jnode *n)
{
    jmacro m = {n->b, env};
    jargs none = {0};
    jv v;
    if (!lar__jenter(r) || !call_macro(r, &m, &none, &v))
        return FAIL;
    lar__jleave(r);
    lar_render *out = r->render;
    void *p = out->spans;
    if (!lar_grow(&p, &out->cap_spans, out->n_spans + 1, sizeof *out->spans)) {
        lar__joom(r);
        return FAIL;
    }
    out->spans = p;
    out->spans[out->n_spans++] = (lar_span){r->root_out->n, r->root_out->n + v.u.s->n};
    return put(r, v) ? GO : FAIL;
}

static flow exec_call_block(jr *r, jenv *env, const jnode *n)
{
    jv caller, v;
    jnode *call = n->a;
    if (!make_macro(r, env, n->b, &caller) || !eval_call(r, env, call, &caller, &v) || !put(r, v))
        return FAIL;
    return GO;
}

static flow exec_output(jr *r, jenv *env, const jnode *n)
{
    for (size_t i = 0; i < n->n; i++) {
        jv v;
        if (!lar__jeval(r, env, n->kids[i], &v) || !put(r, v))
            return FAIL;
    }
    return GO;
}

static flow exec(jr *r, jenv *env, const jnode *n)
{
    jv v;
    bool b;
    r->line = n->line;
    switch (n->kind) {
    case N_DATA:
        return put(r, n->val) ? GO : FAIL;
    case N_OUTPUT:
        return exec_output(r, env, n);
    case N_FOR:
        if (!lar__jeval(r, env, n->b, &v))
            return FAIL;
        if (n->flag)
            return run_loop(r, env, n, v, 0, &v) && put(r, v) ? GO : FAIL;
        return exec_for(r, env, n, v, 0);
    case N_IF:
        return exec_if(r, env, n);
    case N_SET:
        return ns_check(r, env, n->a) && lar__jeval(r, env, n->b, &v) &&
                       lar__jassign(r, env, n->a, v)
                   ? GO
                   : FAIL;
    case N_SETBLOCK:
        return exec_set_block(r, env, n);
    case N_MACRO:
        return make_macro(r, env, n, &v) && env_set(r, env, n->name, n->hash, v) ? GO : FAIL;
    case N_CALLBLOCK:
        return exec_call_block(r, env, n);
    case N_FILTERBLOCK:
        return exec_filter_block(r, env, n);
    case N_WITH:
        return exec_with(r, env, n);
    case N_BLOCK:
        env = lar__jenv_new(r, r->root);
        return env ? exec_list(r, env, n->kids, n->n) : FAIL;
    case N_AUTOESCAPE:
        if (!eval_truth(r, env, n->a, &b))
            return FAIL;
        if (b) {
            lar__jfail(r, "{%% autoescape true %%} is not supported: a prompt is no HTML");
            return FAIL;
        }
        env = lar__jenv_new(r, env);
        return env ? exec_list(r, env, n->kids, n->n) : FAIL;
    case N_GENERATION:
        return exec_generation(r, env, n);
    case N_BREAK:
        return BREAK;
    default:
        return CONTINUE;
    }
}

static flow exec_list(jr *r, jenv *env, jnode *const *v, size_t n)
{
    if (!lar__jenter(r))
        return FAIL;
    flow f = GO;
    for (size_t i = 0; i < n && f == GO; i++)
        f = lar__jstep(r, 0) ? exec(r, env, v[i]) : FAIL;
    lar__jleave(r);
    return f;
}

bool lar__jrender(jr *r)
{
    r->root = lar__jenv_new(r, NULL);
    return r->root && exec_list(r, r->root, r->tree->kids, r->tree->n) == GO;
}
