/*
 * jinja_ops.c - operators, attributes and subscripts, as Python's and jinja2's sandbox's.
 * Depends on jinja.h, libm (floor, fmod, pow: text only, no numerics of models).
 */
#include "text/jinja.h"
#include <math.h>
#include <string.h>

/* ---- arithmetic ---------------------------------------------------------------------------- */

static const char *op_text(int op)
{
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "**"};
    return names[op];
}

static bool overflow(jr *r, int op)
{
    return lar__jfail(r, "an integer result of '%s' does not fit 64 bits", op_text(op));
}

static bool int_mul(int64_t a, int64_t b, int64_t *out)
{
    uint64_t x = a < 0 ? 0 - (uint64_t)a : (uint64_t)a, y = b < 0 ? 0 - (uint64_t)b : (uint64_t)b,
             p;
    bool neg = (a < 0) != (b < 0);
    if (!lar_u64_mul(x, y, &p) || p > (uint64_t)INT64_MAX + neg)
        return false;
    *out = neg ? (int64_t)(0 - p) : (int64_t)p;
    return true;
}

static bool int_pow(jr *r, int64_t a, int64_t b, jv *out)
{
    int64_t v = 1;
    if (a == 0 || a == 1) {
        *out = lar__jv_int(b == 0 ? 1 : a);
        return true;
    }
    if (a == -1) {
        *out = lar__jv_int(b & 1 ? -1 : 1);
        return true;
    }
    for (int64_t i = 0; i < b; i++)
        if (!int_mul(v, a, &v)) /* at most 63 rounds */
            return overflow(r, OP_POW);
    *out = lar__jv_int(v);
    return true;
}

static bool int_op(jr *r, int op, int64_t a, int64_t b, jv *out)
{
    int64_t v = 0;
    bool ok = true;
    switch (op) {
    case OP_ADD:
        ok = !((b > 0 && a > INT64_MAX - b) || (b < 0 && a < INT64_MIN - b));
        v = ok ? a + b : 0;
        break;
    case OP_SUB:
        ok = !((b < 0 && a > INT64_MAX + b) || (b > 0 && a < INT64_MIN + b));
        v = ok ? a - b : 0;
        break;
    case OP_MUL:
        ok = int_mul(a, b, &v);
        break;
    default: /* // and %, rounding towards minus infinity */
        if (b == 0)
            return lar__jfail(r, "integer division or modulo by zero");
        if (b == -1) {
            ok = op == OP_MOD || a != INT64_MIN;
            v = op == OP_MOD || !ok ? 0 : -a;
            break;
        }
        v = op == OP_MOD ? a % b : a / b;
        if (a % b && (a < 0) != (b < 0))
            v = op == OP_MOD ? v + b : v - 1;
    }
    if (!ok)
        return overflow(r, op);
    *out = lar__jv_int(v);
    return true;
}

static double float_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m != 0)
        return (b < 0) != (m < 0) ? m + b : m;
    return copysign(0.0, b);
}

static double float_floordiv(double a, double b)
{
    double m = fmod(a, b), d = (a - m) / b;
    if (m != 0 && (b < 0) != (m < 0))
        d -= 1;
    if (d == 0)
        return copysign(0.0, a / b);
    double f = floor(d);
    return d - f > 0.5 ? f + 1 : f;
}

static bool float_op(jr *r, int op, double a, double b, jv *out)
{
    double v;
    switch (op) {
    case OP_ADD:
        v = a + b;
        break;
    case OP_SUB:
        v = a - b;
        break;
    case OP_MUL:
        v = a * b;
        break;
    case OP_POW:
        if (a == 0 && b < 0)
            return lar__jfail(r, "0.0 cannot be raised to a negative power");
        if (a < 0 && isfinite(b) && floor(b) != b && isfinite(a))
            return lar__jfail(r,
                              "a negative number to a fractional power is complex: not supported");
        v = pow(a, b);
        if (isinf(v) && isfinite(a) && isfinite(b))
            return lar__jfail(r, "float result of '**' out of range");
        break;
    default:
        if (b == 0)
            return lar__jfail(r, "float division or modulo by zero");
        v = op == OP_DIV ? a / b : op == OP_MOD ? float_mod(a, b) : float_floordiv(a, b);
    }
    *out = lar__jv_float(v);
    return true;
}

/* int / int is rounded once, also beyond 2^53 */
static bool int_div(jr *r, int64_t a, int64_t b, jv *out)
{
    if (!b)
        return lar__jfail(r, "division by zero");
    const int64_t exact = (int64_t)1 << 53;
    if (a >= -exact && a <= exact && b >= -exact && b <= exact) {
        *out = lar__jv_float((double)a / (double)b);
    } else if (a % b == 0 && b != -1) {
        *out = lar__jv_float((double)(a / b));
    } else {
        *out = lar__jv_float((double)((long double)a / (long double)b));
    }
    return true;
}

static bool num_op(jr *r, int op, jv a, jv b, jv *out)
{
    if (a.t != JV_FLOAT && b.t != JV_FLOAT) {
        int64_t x = a.t == JV_INT ? a.u.i : a.u.b, y = b.t == JV_INT ? b.u.i : b.u.b;
        if (op == OP_DIV)
            return int_div(r, x, y, out);
        if (op == OP_POW && y >= 0)
            return int_pow(r, x, y, out);
        if (op != OP_POW)
            return int_op(r, op, x, y, out);
    }
    double x = 0, y = 0;
    lar__jv_num(a, &x);
    lar__jv_num(b, &y);
    return float_op(r, op, x, y, out);
}

/* ---- sequences ----------------------------------------------------------------------------- */

/* a + b. Where a is the last text that was built so, it grows in place: its own bytes do not
 * change. */
static bool concat(jr *r, const jstr *a, const jstr *b, bool markup, jv *out)
{
    size_t n;
    jstr *s = lar__jalloc(r, sizeof *s);
    if (!s)
        return false;
    if (!lar_size_add(a->n, b->n, &n) || n > JINJA_MAX_OUTPUT)
        return lar__jfail(r, "a text of more than %u MiB", JINJA_MAX_OUTPUT >> 20);
    if (!lar__jstep(r, b->n))
        return false;
    jmem *m = &r->cat;
    const char *p = a->p;
    if (b->n && !(a->n && m->top && a->p + a->n == m->top && m->left >= b->n)) {
        if (!lar__jstep(r, a->n))
            return false;
        if (m->left < n) {
            size_t room = m->total + 2 * n + 8192 < m->limit ? 2 * n + 8192 : n;
            char *q = lar__jmem_alloc(m, room);
            if (!q)
                return m->full ? lar__jfail(r, "the texts of this render need more than %u MiB",
                                            JINJA_MAX_MEMORY >> 20)
                               : lar__joom(r);
            m->top = q; /* all of the room is ours, whether it was cut from a block or is one */
            m->left = room;
        }
        if (a->n)
            memcpy(m->top, a->p, a->n);
        p = m->top;
        m->top += a->n;
        m->left -= a->n;
    }
    if (b->n) {
        memcpy(m->top, b->p, b->n);
        m->top += b->n;
        m->left -= b->n;
    }
    *s = (jstr){p, n, a->len + b->len, markup};
    *out = (jv){.t = JV_STR, .u.s = s};
    return true;
}

static bool list_add(jr *r, jv a, jv b, jv *out)
{
    const jlist *x = a.u.l, *y = b.u.l;
    if (!lar__jv_list(r, x->n + y->n, a.t == JV_TUPLE, out) ||
        !lar__jstep(r, (x->n + y->n) * JINJA_BYTES_PER_STEP))
        return false;
    if (x->n)
        memcpy(out->u.l->v, x->v, x->n * sizeof *x->v);
    if (y->n)
        memcpy(out->u.l->v + x->n, y->v, y->n * sizeof *y->v);
    out->u.l->n = x->n + y->n;
    return true;
}

static bool repeat(jr *r, jv a, int64_t n, jv *out)
{
    size_t size, times = n > 0 ? (size_t)n : 0;
    if (a.t == JV_STR) {
        const jstr *s = a.u.s;
        lar_buf b = {0};
        if (!s->n)
            times = 0;
        if (!lar_size_mul(s->n, times, &size) || size > JINJA_MAX_OUTPUT)
            return lar__jfail(r, "a text of more than %u MiB", JINJA_MAX_OUTPUT >> 20);
        for (size_t i = 0; i < times; i++)
            lar_buf_add(&b, s->p, s->n);
        return lar__jv_buf(r, &b, s->markup, out);
    }
    const jlist *l = a.u.l;
    if (!l->n)
        times = 0;
    if (!lar_size_mul(l->n, times, &size) || size > JINJA_MAX_STEPS)
        return lar__jfail(r, "a list of more than %d items", JINJA_MAX_STEPS);
    if (!lar__jstep(r, size * JINJA_BYTES_PER_STEP) || !lar__jv_list(r, size, a.t == JV_TUPLE, out))
        return false;
    for (size_t i = 0; i < times; i++)
        memcpy(out->u.l->v + i * l->n, l->v, l->n * sizeof *l->v);
    out->u.l->n = size;
    return true;
}

static bool is_seq(jv v)
{
    return v.t == JV_STR || v.t == JV_LIST || v.t == JV_TUPLE;
}

bool lar__jbin(jr *r, int op, jv a, jv b, jv *out)
{
    if (lar__jv_is_num(a) && lar__jv_is_num(b))
        return num_op(r, op, a, b, out);
    if (a.t == JV_STR && op == OP_MOD)
        return lar__jpercent(r, a.u.s, b, out);
    if (a.t == JV_UNDEF || b.t == JV_UNDEF)
        return lar__jundef_use(r, a.t == JV_UNDEF ? a : b);
    if (op == OP_ADD && a.t == JV_STR && b.t == JV_STR) {
        if (a.u.s->markup != b.u.s->markup &&
            !lar__jescape(r, a.u.s->markup ? b : a, a.u.s->markup ? &b : &a))
            return false;
        return concat(r, a.u.s, b.u.s, a.u.s->markup, out);
    }
    if (op == OP_ADD && a.t == b.t && (a.t == JV_LIST || a.t == JV_TUPLE))
        return list_add(r, a, b, out);
    if (op == OP_MUL && is_seq(a) && (b.t == JV_INT || b.t == JV_BOOL))
        return repeat(r, a, b.t == JV_INT ? b.u.i : b.u.b, out);
    if (op == OP_MUL && is_seq(b) && (a.t == JV_INT || a.t == JV_BOOL))
        return repeat(r, b, a.t == JV_INT ? a.u.i : a.u.b, out);
    return lar__jfail(r, "'%s' is not supported between a %s and a %s", op_text(op),
                      lar__jtype_name[a.t], lar__jtype_name[b.t]);
}

bool lar__jcompare(jr *r, int op, jv a, jv b, bool *res)
{
    switch (op) {
    case OP_EQ:
    case OP_NE:
        if (!lar__jv_eq(r, a, b, res))
            return false;
        *res ^= op == OP_NE;
        return true;
    case OP_IN:
    case OP_NOTIN:
        if (!lar__jv_in(r, a, b, res))
            return false;
        *res ^= op == OP_NOTIN;
        return true;
    default:
        return lar__jv_cmp(r, a, b, op, res);
    }
}

bool lar__jneg(jr *r, jv a, bool minus, jv *out)
{
    if (a.t == JV_UNDEF)
        return lar__jundef_use(r, a);
    if (a.t == JV_FLOAT) {
        *out = lar__jv_float(minus ? -a.u.f : a.u.f);
        return true;
    }
    if (!lar__jv_is_num(a))
        return lar__jfail(r, "a sign is not supported before a %s", lar__jtype_name[a.t]);
    int64_t i = a.t == JV_INT ? a.u.i : a.u.b;
    if (minus && i == INT64_MIN)
        return overflow(r, OP_SUB);
    *out = lar__jv_int(minus ? -i : i);
    return true;
}

/* ---- attributes and subscripts ------------------------------------------------------------- */

static jv no_attribute(jr *r, jv obj, const jstr *name, bool unsafe)
{
    jv v = lar__jv_undef(r, NULL);
    if (v.u.undef) {
        v.u.undef->name = name;
        v.u.undef->obj = obj.t;
        v.u.undef->unsafe = unsafe;
    }
    return v;
}

static bool name_is(const jstr *s, const char *z)
{
    return s->n == strlen(z) && !memcmp(s->p, z, s->n);
}

static bool num_attr(jv obj, const jstr *name, jv *out)
{
    bool real = name_is(name, "real");
    if (!real && !name_is(name, "imag") &&
        (obj.t == JV_FLOAT || (!name_is(name, "numerator") && !name_is(name, "denominator"))))
        return false;
    if (obj.t == JV_FLOAT)
        *out = lar__jv_float(real ? obj.u.f : 0);
    else if (real || name_is(name, "numerator"))
        *out = lar__jv_int(obj.t == JV_INT ? obj.u.i : obj.u.b);
    else
        *out = lar__jv_int(name_is(name, "denominator"));
    return true;
}

static bool macro_attr(jr *r, const jnode *n, const jstr *name, jv *out, bool *found)
{
    *found = true;
    if (name_is(name, "name")) {
        *out = n->name ? (jv){.t = JV_STR, .u.s = n->name} : lar__jv_none();
        return true;
    }
    if (name_is(name, "arguments")) {
        if (!lar__jv_list(r, n->n_params, true, out))
            return false;
        for (size_t i = 0; i < n->n_params; i++)
            if (!lar__jlist_add(r, out->u.l, (jv){.t = JV_STR, .u.s = n->params[i].name}))
                return false;
        return true;
    }
    if (name_is(name, "caller"))
        *out = lar__jv_bool(n->uses_caller);
    else if (name_is(name, "catch_kwargs"))
        *out = lar__jv_bool(n->uses_kwargs);
    else if (name_is(name, "catch_varargs"))
        *out = lar__jv_bool(n->uses_varargs);
    else
        *found = false;
    return true;
}

/* What getattr(obj, name) finds in Python; *out is undefined and *found set where the sandbox hides
 * it. */
bool lar__jattr(jr *r, jv obj, const jstr *name, jv *out, bool *found)
{
    *found = false;
    if (lar__jv_is_num(obj) && num_attr(obj, name, out)) {
        *found = true;
        return true;
    }
    switch (obj.t) {
    case JV_NS:
        *found = lar__jdict_getz(obj.u.d, name->p, name->n, out);
        if (*found && name->n && name->p[0] == '_')
            *out = no_attribute(r, obj, name, true);
        return true;
    case JV_LOOP:
        return lar__jloop_attr(r, obj.u.loop, name, out, found);
    case JV_MACRO:
        return macro_attr(r, obj.u.macro->node, name, out, found);
    case JV_TUPLE:
        if (obj.flag && (name_is(name, "grouper") || name_is(name, "list"))) {
            *found = true;
            *out = obj.u.l->v[name->p[0] == 'l'];
            return true;
        }
        break;
    case JV_RANGE: {
        const jrange *g = obj.u.range;
        *found = name_is(name, "start") || name_is(name, "stop") || name_is(name, "step");
        if (*found) {
            *out = lar__jv_int(name->p[2] == 'a'   ? g->start
                               : name->p[2] == 'o' ? g->stop
                                                   : g->step);
            return true;
        }
        break;
    }
    case JV_CYCLER:
        *found = name_is(name, "current") || name_is(name, "pos");
        if (*found) {
            *out = name->p[0] == 'c' ? obj.u.cycler->v[obj.u.cycler->pos]
                                     : lar__jv_int((int64_t)obj.u.cycler->pos);
            return true;
        }
        break;
    default:
        break;
    }
    const jfunc_def *def = lar__jmethod(obj, name->p, name->n);
    if (!def)
        return true;
    *found = true;
    if (!def->fn) {
        *out = no_attribute(r, obj, name, true);
        return true;
    }
    jmethod *m = lar__jalloc(r, sizeof *m);
    if (!m)
        return false;
    *m = (jmethod){obj, def};
    *out = (jv){.t = JV_METHOD, .u.method = m};
    return true;
}

/* obj[key] of Python; *found false where it raises TypeError or LookupError */
static bool item(jr *r, jv obj, jv key, jv *out, bool *found)
{
    *found = false;
    if (obj.t == JV_DICT) {
        if (key.t == JV_LIST || key.t == JV_DICT || key.t == JV_VIEW)
            return true;
        if (key.t == JV_TUPLE) {
            uint64_t h;
            if (!lar__jv_hash(r, key, &h)) {
                return false;
            }
        }
        return lar__jdict_get(r, obj.u.d, key, out, found);
    }
    if (key.t != JV_INT && key.t != JV_BOOL)
        return true;
    int64_t i = key.t == JV_INT ? key.u.i : key.u.b, n;
    if (obj.t != JV_STR && obj.t != JV_LIST && obj.t != JV_TUPLE && obj.t != JV_RANGE)
        return true;
    if (!lar__jv_len(r, obj, &n))
        return false;
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return true;
    *found = true;
    if (obj.t == JV_RANGE) {
        *out = lar__jv_int(obj.u.range->start + i * obj.u.range->step);
    } else if (obj.t == JV_STR) {
        if (!lar__jstep(r, obj.u.s->len == obj.u.s->n ? 0 : obj.u.s->n))
            return false;
        size_t b = lar__jutf8_at(obj.u.s, (size_t)i);
        int k = lar_utf8_decode(obj.u.s->p + b, obj.u.s->n - b, NULL);
        return lar__jv_sub(r, obj.u.s, b, (size_t)LAR_MAX(k, 1), out);
    } else {
        *out = obj.u.l->v[i];
    }
    return true;
}

static bool dunder(const jstr *name)
{
    static const char *const known[] = {"__class__", "__doc__",    "__init__",        "__len__",
                                        "__str__",   "__repr__",   "__eq__",          "__hash__",
                                        "__dict__",  "__module__", "__getattribute__"};
    for (size_t i = 0; i < LAR_LEN(known); i++)
        if (name_is(name, known[i]))
            return true;
    return false;
}

bool lar__jgetattr(jr *r, jv obj, const jstr *name, jv *out)
{
    bool found;
    if (obj.t == JV_UNDEF && !dunder(name))
        return lar__jundef_use(r, obj);
    if (dunder(name) && obj.t != JV_NS) {
        *out = no_attribute(r, obj, name, true);
        return true;
    }
    if (!lar__jattr(r, obj, name, out, &found))
        return false;
    if (found)
        return true;
    if (obj.t == JV_DICT && lar__jdict_getz(obj.u.d, name->p, name->n, out))
        return true;
    *out = no_attribute(r, obj, name, false);
    return true;
}

bool lar__jgetitem(jr *r, jv obj, jv key, jv *out)
{
    bool found;
    if (obj.t == JV_UNDEF)
        return lar__jundef_use(r, obj);
    if (!item(r, obj, key, out, &found))
        return false;
    if (found)
        return true;
    if (key.t == JV_STR) {
        if (dunder(key.u.s)) {
            *out = no_attribute(r, obj, key.u.s, true);
            return true;
        }
        if (!lar__jattr(r, obj, key.u.s, out, &found))
            return false;
        if (found)
            return true;
        *out = no_attribute(r, obj, key.u.s, false);
        return true;
    }
    *out = lar__jv_undef(r, "the object has no such element");
    return true;
}

static bool slice_part(jr *r, jv v, int64_t dflt, int64_t *out)
{
    *out = dflt;
    if (v.t == JV_NONE)
        return true;
    return lar__jv_as_int(r, v, "slice", out);
}

bool lar__jslice(jr *r, jv obj, const jv part[3], jv *out)
{
    int64_t step, start, stop, n;
    if (obj.t == JV_UNDEF)
        return lar__jundef_use(r, obj);
    if (!is_seq(obj) && obj.t != JV_RANGE)
        return lar__jfail(r, "a %s cannot be sliced", lar__jtype_name[obj.t]);
    if (!slice_part(r, part[2], 1, &step) || !lar__jv_len(r, obj, &n))
        return false;
    if (step == 0)
        return lar__jfail(r, "slice step cannot be zero");
    int64_t lo = step > 0 ? 0 : -1, hi = step > 0 ? n : n - 1;
    if (!slice_part(r, part[0], step > 0 ? lo : hi, &start) ||
        !slice_part(r, part[1], step > 0 ? hi : INT64_MIN, &stop))
        return false;
    if (part[0].t != JV_NONE)
        start = start < 0 ? LAR_MAX(start < -n ? lo : start + n, lo) : LAR_MIN(start, hi);
    if (part[1].t != JV_NONE)
        stop = stop < 0 ? LAR_MAX(stop < -n ? lo : stop + n, lo) : LAR_MIN(stop, hi);
    else if (step < 0)
        stop = -1;
    size_t count = 0;
    if (step > 0 ? start < stop : start > stop) {
        uint64_t span = (uint64_t)(step > 0 ? stop - start : start - stop) - 1;
        uint64_t by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
        count = (size_t)(span / by) + 1;
    }
    if (obj.t == JV_RANGE) {
        jrange *g = lar__jalloc(r, sizeof *g);
        if (!g)
            return false;
        const jrange *s = obj.u.range;
        int64_t by = count > 1 ? step : 1; /* a huge step would overflow, and means nothing then */
        *g = (jrange){s->start + start * s->step, s->start + stop * s->step, s->step * by, count};
        *out = (jv){.t = JV_RANGE, .u.range = g};
        return true;
    }
    if (obj.t != JV_STR) {
        if (!lar__jv_list(r, count, obj.t == JV_TUPLE, out))
            return false;
        for (size_t i = 0; i < count; i++)
            if (!lar__jlist_add(r, out->u.l,
                                obj.u.l->v[start + (int64_t)i * (count > 1 ? step : 1)]))
                return false;
        return true;
    }
    const jstr *s = obj.u.s;
    if (!lar__jstep(r, s->n))
        return false;
    if (step == 1 || count < 2) {
        size_t b = count ? lar__jutf8_at(s, (size_t)start) : 0;
        size_t e = count ? lar__jutf8_at(s, (size_t)start + count) : 0;
        return lar__jv_sub(r, s, b, e - b, out);
    }
    size_t *at = NULL;
    lar_buf b = {0};
    if (s->len != s->n) { /* where each code point begins */
        at = lar__jalloc_array(r, s->len + 1, sizeof *at);
        if (!at)
            return false;
        size_t k = 0;
        for (size_t i = 0; i < s->n; i++)
            if (((unsigned char)s->p[i] & 0xC0) != 0x80)
                at[k++] = i;
        at[k] = s->n;
    }
    for (size_t i = 0; i < count; i++) {
        size_t k = (size_t)(start + (int64_t)i * step);
        lar_buf_add(&b, s->p + (at ? at[k] : k), at ? at[k + 1] - at[k] : 1);
    }
    return lar__jv_buf(r, &b, s->markup, out);
}
