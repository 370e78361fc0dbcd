/*
 * jinja_value.c - values of a render: making, hashing, comparing, walking. Semantics are Python's.
 * Depends on jinja.h, utf8proc (white space).
 */
#include "text/jinja.h"
#include <stdlib.h>
#include <string.h>

const char *const lar__jtype_name[JV_NTYPES] = {
    "nothing",  "undefined", "none",  "bool",  "int",       "float",     "str",
    "list",     "tuple",     "dict",  "range", "dict view", "generator", "namespace",
    "function", "method",    "macro", "loop",  "cycler",    "joiner",    "block"};

/* ---- memory -------------------------------------------------------------------------------- */

struct jchunk {
    jchunk *next;
    size_t size; /* keeps what follows 16-byte aligned on 64-bit systems */
};

void *lar__jmem_alloc(jmem *m, size_t n)
{
    if (n > m->limit) {
        m->full = true;
        return NULL;
    }
    n = (n + 15) & ~(size_t)15;
    if (n > m->left) {
        size_t head = (sizeof(jchunk) + 15) & ~(size_t)15;
        size_t size = m->total < (1u << 20) ? 32u << 10 : 1u << 20;
        if (n > size / 4)
            size = n;
        if (m->total + size > m->limit) {
            m->full = true;
            return NULL;
        }
        jchunk *c = lar_alloc(head + size);
        if (!c)
            return NULL;
        m->total += size;
        c->next = m->head;
        m->head = c;
        if (size == n)
            return (char *)c + head;
        m->top = (char *)c + head;
        m->left = size;
    }
    void *p = m->top;
    m->top += n;
    m->left -= n;
    return p;
}

void lar__jmem_free(jmem *m)
{
    while (m->head) {
        jchunk *c = m->head;
        m->head = c->next;
        lar_free(c);
    }
    m->top = NULL;
    m->left = m->total = 0;
}

void *lar__jalloc(jr *r, size_t n)
{
    void *p = lar__jmem_alloc(&r->mem, n);
    if (!p) {
        if (r->mem.full)
            lar__jfail(r, "the values of this render need more than %u MiB",
                       JINJA_MAX_MEMORY >> 20);
        else
            lar__joom(r);
    }
    return p;
}

void *lar__jalloc_array(jr *r, size_t n, size_t each)
{
    size_t bytes;
    if (!lar_size_mul(n, each, &bytes))
        bytes = SIZE_MAX;
    return lar__jalloc(r, bytes);
}

/* ---- making -------------------------------------------------------------------------------- */

jv lar__jv_none(void)
{
    return (jv){.t = JV_NONE};
}
jv lar__jv_int(int64_t i)
{
    return (jv){.t = JV_INT, .u.i = i};
}
jv lar__jv_bool(bool b)
{
    return (jv){.t = JV_BOOL, .u.b = b};
}
jv lar__jv_float(double f)
{
    return (jv){.t = JV_FLOAT, .u.f = f};
}

/* `hint` outlives the render: a literal. Without memory the value is undefined for no reason. */
jv lar__jv_undef(jr *r, const char *hint)
{
    jundef *u = lar__jmem_alloc(&r->mem, sizeof *u);
    if (u)
        u->hint = hint;
    return (jv){.t = JV_UNDEF, .u.undef = u};
}

static size_t count_points(const char *p, size_t n)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        len += ((unsigned char)p[i] & 0xC0) != 0x80;
    return len;
}

bool lar__jv_text(jr *r, const char *p, size_t n, bool copy, jv *out)
{
    jstr *s = lar__jalloc(r, sizeof *s);
    if (!s || !lar__jstep(r, n))
        return false;
    if (copy && n) {
        char *d = lar__jalloc(r, n);
        if (!d)
            return false;
        memcpy(d, p, n);
        p = d;
    }
    *s = (jstr){n ? p : "", n, count_points(p, n), false};
    *out = (jv){.t = JV_STR, .u.s = s};
    return true;
}

bool lar__jv_sub(jr *r, const jstr *s, size_t off, size_t n, jv *out)
{
    jstr *d = lar__jalloc(r, sizeof *d);
    if (!d || !lar__jstep(r, n))
        return false;
    *d = (jstr){s->p + off, n, s->len == s->n ? n : count_points(s->p + off, n), s->markup};
    *out = (jv){.t = JV_STR, .u.s = d};
    return true;
}

bool lar__jv_z(jr *r, const char *z, jv *out)
{
    return lar__jv_text(r, z, strlen(z), false, out);
}

bool lar__jv_buf(jr *r, lar_buf *b, bool markup, jv *out)
{
    bool ok = lar__jbuf_ok(r, b) && lar__jv_text(r, b->p, b->n, true, out);
    lar_buf_free(b);
    if (ok && markup) {
        jstr *s = lar__jalloc(r, sizeof *s);
        if (!s)
            return false;
        *s = *out->u.s;
        s->markup = true;
        out->u.s = s;
    }
    return ok;
}

bool lar__jv_list(jr *r, size_t cap, bool tuple, jv *out)
{
    jlist *l = lar__jalloc(r, sizeof *l);
    if (!l)
        return false;
    if (cap) {
        l->v = lar__jalloc_array(r, cap, sizeof *l->v);
        if (!l->v)
            return false;
    }
    l->cap = cap;
    *out = (jv){.t = tuple ? JV_TUPLE : JV_LIST, .u.l = l};
    return true;
}

bool lar__jlist_add(jr *r, jlist *l, jv v)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        jv *p = lar__jalloc_array(r, cap, sizeof *p);
        if (!p)
            return false;
        if (l->n)
            memcpy(p, l->v, l->n * sizeof *p);
        l->v = p;
        l->cap = cap;
    }
    l->v[l->n++] = v;
    return lar__jstep(r, 0);
}

bool lar__jv_pair(jr *r, jv a, jv b, jv *out)
{
    return lar__jv_list(r, 2, true, out) && lar__jlist_add(r, out->u.l, a) &&
           lar__jlist_add(r, out->u.l, b);
}

bool lar__jv_dict(jr *r, jv *out)
{
    jdict *d = lar__jalloc(r, sizeof *d);
    *out = (jv){.t = JV_DICT, .u.d = d};
    return d != NULL;
}

bool lar__jv_json(jr *r, const json_t *j, jv *out)
{
    switch (json_typeof(j)) {
    case JSON_NULL:
        *out = lar__jv_none();
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = lar__jv_bool(json_is_true(j));
        return true;
    case JSON_INTEGER:
        *out = lar__jv_int(json_integer_value(j));
        return true;
    case JSON_REAL:
        *out = lar__jv_float(json_real_value(j));
        return true;
    case JSON_STRING: /* borrowed: the caller keeps `vars` while rendering */
        return lar__jv_text(r, json_string_value(j), json_string_length(j), false, out);
    default:
        break;
    }
    if (!lar__jenter(r))
        return false;
    bool ok;
    jv v;
    if (json_is_array(j)) {
        ok = lar__jv_list(r, json_array_size(j), false, out);
        for (size_t i = 0; ok && i < json_array_size(j); i++)
            ok = lar__jv_json(r, json_array_get(j, i), &v) && lar__jlist_add(r, out->u.l, v);
    } else {
        ok = lar__jv_dict(r, out);
        /* jansson walks objects in the order of insertion; the iterator is not written through */
        json_t *o = (json_t *)(uintptr_t)j;
        for (void *it = json_object_iter(o); ok && it; it = json_object_iter_next(o, it)) {
            jv k;
            const char *key = json_object_iter_key(it);
            ok = lar__jv_text(r, key, json_object_iter_key_len(it), false, &k) &&
                 lar__jv_json(r, json_object_iter_value(it), &v) &&
                 lar__jdict_set(r, out->u.d, k, v);
        }
    }
    lar__jleave(r);
    return ok;
}

/* ---- dict ---------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

/* Numbers that are equal hash alike, whatever their type. */
bool lar__jv_hash(jr *r, jv v, uint64_t *h)
{
    switch (v.t) {
    case JV_STR:
        *h = lar_hash64(v.u.s->p, v.u.s->n);
        return lar__jstep(r, v.u.s->n);
    case JV_BOOL:
        *h = mix(v.u.b);
        return true;
    case JV_INT:
        *h = mix((uint64_t)v.u.i);
        return true;
    case JV_FLOAT:
        if (v.u.f >= -9.2e18 && v.u.f <= 9.2e18 && v.u.f == (double)(int64_t)v.u.f) {
            *h = mix((uint64_t)(int64_t)v.u.f);
        } else {
            memcpy(h, &v.u.f, sizeof *h);
            *h = mix(*h);
        }
        return true;
    case JV_TUPLE:
        *h = 7;
        if (!lar__jenter(r))
            return false;
        for (size_t i = 0; i < v.u.l->n; i++) {
            uint64_t k;
            if (!lar__jv_hash(r, v.u.l->v[i], &k))
                return false;
            *h = mix(*h * 31 + k);
        }
        lar__jleave(r);
        return true;
    case JV_LIST:
    case JV_DICT:
    case JV_VIEW:
        return lar__jfail(r, "unhashable type: '%s'", lar__jtype_name[v.t]);
    case JV_NONE:
    case JV_UNDEF:
        *h = mix(v.t);
        return true;
    default:
        *h = mix((uint64_t)(uintptr_t)v.u.d);
        return true;
    }
}

static bool key_eq(jr *r, const jentry *e, jv key, uint64_t hash, bool *eq)
{
    *eq = false;
    if (e->hash != hash)
        return true;
    if (e->key.t == JV_STR && key.t == JV_STR) {
        *eq = e->key.u.s->n == key.u.s->n && !memcmp(e->key.u.s->p, key.u.s->p, key.u.s->n);
        return true;
    }
    *eq = lar__jv_same(e->key, key);
    return *eq || lar__jv_eq(r, e->key, key, eq);
}

/* *at is the index of the entry, or d->n */
static bool dict_find(jr *r, const jdict *d, jv key, uint64_t hash, size_t *at)
{
    bool eq;
    if (d->slot) {
        for (size_t i = hash & (d->n_slots - 1); d->slot[i]; i = (i + 1) & (d->n_slots - 1)) {
            *at = d->slot[i] - 1;
            if (!lar__jstep(r, 0) || !key_eq(r, &d->e[*at], key, hash, &eq))
                return false;
            if (eq)
                return true;
        }
    } else {
        for (*at = 0; *at < d->n; ++*at) {
            if (!key_eq(r, &d->e[*at], key, hash, &eq))
                return false;
            if (eq)
                return true;
        }
    }
    *at = d->n;
    return true;
}

static void slot_add(jdict *d, size_t at)
{
    size_t i = d->e[at].hash & (d->n_slots - 1);
    while (d->slot[i])
        i = (i + 1) & (d->n_slots - 1);
    d->slot[i] = (uint32_t)at + 1;
}

bool lar__jdict_set(jr *r, jdict *d, jv key, jv val)
{
    uint64_t h;
    size_t at;
    if (!lar__jv_hash(r, key, &h) || !dict_find(r, d, key, h, &at))
        return false;
    if (at < d->n) {
        d->e[at].val = val;
        return true;
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        jentry *e = lar__jalloc_array(r, cap, sizeof *e);
        if (!e)
            return false;
        if (d->n)
            memcpy(e, d->e, d->n * sizeof *e);
        d->e = e;
        d->cap = cap;
        if (cap > 8) {
            d->slot = lar__jalloc_array(r, cap * 2, sizeof *d->slot);
            if (!d->slot)
                return false;
            d->n_slots = cap * 2;
            for (size_t i = 0; i < d->n; i++)
                slot_add(d, i);
        }
    }
    d->e[d->n++] = (jentry){key, val, h};
    if (d->slot)
        slot_add(d, d->n - 1);
    return lar__jstep(r, 0);
}

bool lar__jdict_get(jr *r, const jdict *d, jv key, jv *out, bool *found)
{
    uint64_t h;
    size_t at;
    if (!lar__jv_hash(r, key, &h) || !dict_find(r, d, key, h, &at))
        return false;
    *found = at < d->n;
    if (*found)
        *out = d->e[at].val;
    return true;
}

bool lar__jdict_getz(const jdict *d, const char *p, size_t n, jv *out)
{
    uint64_t h = lar_hash64(p, n);
    size_t i = d->slot ? h & (d->n_slots - 1) : 0;
    for (;; i = d->slot ? (i + 1) & (d->n_slots - 1) : i + 1) {
        if (d->slot ? !d->slot[i] : i >= d->n)
            return false;
        const jentry *e = &d->e[d->slot ? d->slot[i] - 1 : i];
        if (e->hash == h && e->key.t == JV_STR && e->key.u.s->n == n &&
            !memcmp(e->key.u.s->p, p, n)) {
            *out = e->val;
            return true;
        }
    }
}

/* ---- asking -------------------------------------------------------------------------------- */

bool lar__jundef_use(jr *r, jv v)
{
    const jundef *u = v.u.undef;
    if (!u || (!u->hint && !u->name))
        return lar__jfail(r, "an undefined value was used");
    if (u->hint)
        return lar__jfail(r, "%s", u->hint);
    int n = (int)LAR_MIN(u->name->n, 80u);
    if (u->unsafe)
        return lar__jfail(r, "access to attribute '%.*s' of a %s is unsafe", n, u->name->p,
                          lar__jtype_name[u->obj]);
    if (u->obj)
        return lar__jfail(r, "'%s' has no attribute '%.*s'", lar__jtype_name[u->obj], n,
                          u->name->p);
    return lar__jfail(r, "'%.*s' is undefined", n, u->name->p);
}

bool lar__jv_is_num(jv v)
{
    return v.t == JV_BOOL || v.t == JV_INT || v.t == JV_FLOAT;
}

bool lar__jv_num(jv v, double *f)
{
    if (v.t == JV_FLOAT)
        *f = v.u.f;
    else if (v.t == JV_INT)
        *f = (double)v.u.i;
    else if (v.t == JV_BOOL)
        *f = v.u.b;
    else
        return false;
    return true;
}

bool lar__jv_as_int(jr *r, jv v, const char *what, int64_t *i)
{
    if (v.t == JV_INT)
        *i = v.u.i;
    else if (v.t == JV_BOOL)
        *i = v.u.b;
    else if (v.t == JV_UNDEF)
        return lar__jundef_use(r, v);
    else
        return lar__jfail(r, "%s: found a %s, want an int", what, lar__jtype_name[v.t]);
    return true;
}

bool lar__jv_len(jr *r, jv v, int64_t *n)
{
    switch (v.t) {
    case JV_UNDEF:
        *n = 0;
        return true;
    case JV_STR:
        *n = (int64_t)v.u.s->len;
        return true;
    case JV_LIST:
    case JV_TUPLE:
        *n = (int64_t)v.u.l->n;
        return true;
    case JV_DICT:
    case JV_VIEW:
        *n = (int64_t)v.u.d->n;
        return true;
    case JV_RANGE:
        *n = (int64_t)v.u.range->n;
        return true;
    case JV_LOOP: {
        jv l;
        bool found;
        static const jstr name = {"length", 6, 6, false};
        if (!lar__jloop_attr(r, v.u.loop, &name, &l, &found))
            return false;
        *n = l.u.i;
        return true;
    }
    default:
        return lar__jfail(r, "object of type '%s' has no length", lar__jtype_name[v.t]);
    }
}

bool lar__jv_true(jr *r, jv v, bool *b)
{
    int64_t n = 1;
    switch (v.t) {
    case JV_UNDEF:
    case JV_NONE:
        *b = false;
        return true;
    case JV_BOOL:
        *b = v.u.b;
        return true;
    case JV_INT:
        *b = v.u.i != 0;
        return true;
    case JV_FLOAT:
        *b = v.u.f != 0;
        return true;
    case JV_STR:
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT:
    case JV_VIEW:
    case JV_RANGE:
    case JV_LOOP:
        if (!lar__jv_len(r, v, &n))
            return false;
        break;
    default:
        break;
    }
    *b = n != 0;
    return true;
}

/* Python's `is`, as far as a template can tell: our strings of one text have one identity only by
 * chance. */
bool lar__jv_same(jv a, jv b)
{
    if (a.t != b.t)
        return false;
    switch (a.t) {
    case JV_NONE:
        return true;
    case JV_BOOL:
        return a.u.b == b.u.b;
    case JV_INT:
        return a.u.i == b.u.i;
    case JV_FLOAT:
        return memcmp(&a.u.f, &b.u.f, sizeof a.u.f) == 0 && a.u.f == b.u.f;
    case JV_STR:
        return a.u.s->n == b.u.s->n && !memcmp(a.u.s->p, b.u.s->p, a.u.s->n);
    default:
        return a.u.d == b.u.d;
    }
}

/* -1, 0, 1; 2: unordered. Exact also where an int has no double. */
static int num_cmp(jv a, jv b)
{
    if (a.t == JV_FLOAT && b.t == JV_FLOAT)
        return a.u.f < b.u.f ? -1 : a.u.f > b.u.f ? 1 : a.u.f == b.u.f ? 0 : 2;
    if (a.t != JV_FLOAT && b.t != JV_FLOAT) {
        int64_t x = a.t == JV_INT ? a.u.i : a.u.b, y = b.t == JV_INT ? b.u.i : b.u.b;
        return x < y ? -1 : x > y;
    }
    if (b.t != JV_FLOAT) {
        int c = num_cmp(b, a);
        return c == 2 ? 2 : -c;
    }
    int64_t x = a.t == JV_INT ? a.u.i : a.u.b;
    double f = b.u.f;
    if (f != f)
        return 2;
    if (f >= 9223372036854775808.0)
        return -1;
    if (f < -9223372036854775808.0)
        return 1;
    int64_t t = (int64_t)f;
    if (x != t)
        return x < t ? -1 : 1;
    double frac = f - (double)t;
    return frac > 0 ? -1 : frac < 0 ? 1 : 0;
}

static int str_cmp(const jstr *a, const jstr *b)
{
    int c = memcmp(a->p, b->p, LAR_MIN(a->n, b->n)); /* UTF-8 sorts as code points do */
    return c < 0 ? -1 : c > 0 ? 1 : a->n < b->n ? -1 : a->n > b->n;
}

static bool list_eq(jr *r, const jlist *a, const jlist *b, bool *eq)
{
    *eq = a->n == b->n;
    for (size_t i = 0; *eq && i < a->n; i++)
        if (!lar__jv_same(a->v[i], b->v[i]) && !lar__jv_eq(r, a->v[i], b->v[i], eq))
            return false;
    return true;
}

static bool dict_eq(jr *r, const jdict *a, const jdict *b, bool *eq)
{
    *eq = a->n == b->n;
    for (size_t i = 0; *eq && i < a->n; i++) {
        jv v;
        bool found;
        if (!lar__jdict_get(r, b, a->e[i].key, &v, &found))
            return false;
        if (!found)
            *eq = false;
        else if (!lar__jv_same(a->e[i].val, v) && !lar__jv_eq(r, a->e[i].val, v, eq))
            return false;
    }
    return true;
}

bool lar__jv_eq(jr *r, jv a, jv b, bool *eq)
{
    bool ok;
    *eq = false;
    if (lar__jv_is_num(a) && lar__jv_is_num(b)) {
        *eq = num_cmp(a, b) == 0;
        return true;
    }
    if (a.t != b.t)
        return true;
    switch (a.t) {
    case JV_UNDEF:
    case JV_NONE:
        *eq = true;
        return true;
    case JV_STR:
        *eq = a.u.s->n == b.u.s->n && !memcmp(a.u.s->p, b.u.s->p, a.u.s->n);
        return lar__jstep(r, *eq ? a.u.s->n : 0);
    case JV_LIST:
    case JV_TUPLE:
        if (!lar__jstep(r, a.u.l->n * JINJA_BYTES_PER_STEP) || !lar__jenter(r))
            return false;
        ok = list_eq(r, a.u.l, b.u.l, eq);
        lar__jleave(r);
        return ok;
    case JV_DICT:
        if (!lar__jstep(r, a.u.d->n * JINJA_BYTES_PER_STEP) || !lar__jenter(r))
            return false;
        ok = dict_eq(r, a.u.d, b.u.d, eq);
        lar__jleave(r);
        return ok;
    case JV_RANGE: {
        const jrange *x = a.u.range, *y = b.u.range;
        *eq =
            x->n == y->n && (!x->n || (x->start == y->start && (x->n == 1 || x->step == y->step)));
        return true;
    }
    case JV_METHOD:
        *eq =
            a.u.method->def == b.u.method->def && lar__jv_same(a.u.method->self, b.u.method->self);
        return true;
    default:
        *eq = a.u.d == b.u.d && a.flag == b.flag;
        return true;
    }
}

static bool cmp_holds(int c, int op)
{
    if (c == 2)
        return false;
    return op == OP_LT ? c < 0 : op == OP_LE ? c <= 0 : op == OP_GT ? c > 0 : c >= 0;
}

static const char *op_name(int op)
{
    return op == OP_LT ? "<" : op == OP_LE ? "<=" : op == OP_GT ? ">" : ">=";
}

bool lar__jv_cmp(jr *r, jv a, jv b, int op, bool *res)
{
    if (lar__jv_is_num(a) && lar__jv_is_num(b)) {
        *res = cmp_holds(num_cmp(a, b), op);
        return true;
    }
    if (a.t == JV_UNDEF || b.t == JV_UNDEF)
        return lar__jundef_use(r, a.t == JV_UNDEF ? a : b);
    if (a.t == JV_STR && b.t == JV_STR) {
        *res = cmp_holds(str_cmp(a.u.s, b.u.s), op);
        return lar__jstep(r, LAR_MIN(a.u.s->n, b.u.s->n));
    }
    if (a.t == b.t && (a.t == JV_LIST || a.t == JV_TUPLE)) {
        const jlist *x = a.u.l, *y = b.u.l;
        if (!lar__jenter(r))
            return false;
        size_t i = 0;
        for (; i < x->n && i < y->n; i++) {
            bool eq = lar__jv_same(x->v[i], y->v[i]);
            if (!lar__jstep(r, 0) || (!eq && !lar__jv_eq(r, x->v[i], y->v[i], &eq)))
                return false;
            if (!eq)
                break;
        }
        lar__jleave(r);
        if (i < x->n && i < y->n)
            return lar__jenter(r) && lar__jv_cmp(r, x->v[i], y->v[i], op, res) &&
                   (lar__jleave(r), true);
        *res = cmp_holds(x->n < y->n ? -1 : x->n > y->n, op);
        return true;
    }
    return lar__jfail(r, "'%s' is not supported between a %s and a %s", op_name(op),
                      lar__jtype_name[a.t], lar__jtype_name[b.t]);
}

ptrdiff_t lar__jfind(jr *r, const jstr *s, size_t from, size_t to, const jstr *what)
{
    if (what->n > to || from > to - what->n)
        return -1;
    if (!what->n)
        return (ptrdiff_t)from;
    const char *p = s->p + from, *end = s->p + to - what->n + 1;
    if (!lar__jstep(r, to - from))
        return -1;
    while (p < end && (p = memchr(p, what->p[0], (size_t)(end - p)))) {
        if (!memcmp(p, what->p, what->n))
            return p - s->p;
        if (what->n > 1 && !lar__jstep(r, what->n))
            return -1;
        p++;
    }
    return -1;
}

bool lar__jv_in(jr *r, jv needle, jv hay, bool *res)
{
    jiter it;
    bool done;
    jv v;
    if (hay.t == JV_STR) {
        if (needle.t != JV_STR)
            return lar__jfail(r, "'in <string>' wants a string on the left, found a %s",
                              lar__jtype_name[needle.t]);
        *res = lar__jfind(r, hay.u.s, 0, hay.u.s->n, needle.u.s) >= 0;
        return r->st == LAR_OK;
    }
    if (hay.t == JV_DICT || (hay.t == JV_VIEW && hay.flag == 0))
        return lar__jdict_get(r, hay.u.d, needle, &v, res);
    *res = false;
    if (!lar__jiter_init(r, hay, &it))
        return false;
    for (;;) {
        if (!lar__jiter_next(r, &it, &v, &done))
            return false;
        if (done)
            return true;
        *res = lar__jv_same(v, needle);
        if (!*res && !lar__jv_eq(r, v, needle, res))
            return false;
        if (*res)
            return true;
    }
}

/* ---- walking ------------------------------------------------------------------------------- */

bool lar__jiter_init(jr *r, jv v, jiter *it)
{
    memset(it, 0, sizeof *it);
    it->src = v;
    switch (v.t) {
    case JV_UNDEF:
        it->kind = JI_NONE;
        return true;
    case JV_STR:
        it->kind = JI_STR;
        return true;
    case JV_LIST:
    case JV_TUPLE:
        it->kind = JI_SEQ;
        return true;
    case JV_DICT:
        it->kind = JI_DICT;
        return true;
    case JV_VIEW:
        it->kind = JI_DICT;
        it->view = v.flag;
        return true;
    case JV_RANGE:
        it->kind = JI_RANGE;
        return true;
    case JV_ITER:
        it->kind = JI_SHARED;
        it->in = v.u.it;
        return true;
    default:
        return lar__jfail(r, "'%s' object is not iterable", lar__jtype_name[v.t]);
    }
}

bool lar__jiter_next(jr *r, jiter *it, jv *out, bool *done)
{
    *done = false;
    if (!lar__jstep(r, 0))
        return false;
    switch (it->kind) {
    case JI_SEQ:
        *done = it->pos >= it->src.u.l->n;
        if (!*done)
            *out = it->src.u.l->v[it->pos++];
        return true;
    case JI_STR: {
        const jstr *s = it->src.u.s;
        *done = it->pos >= s->n;
        if (*done)
            return true;
        int k = lar_utf8_decode(s->p + it->pos, s->n - it->pos, NULL);
        it->pos += (size_t)LAR_MAX(k, 1); /* the characters of a Markup are plain */
        return lar__jv_text(r, s->p + it->pos - (size_t)LAR_MAX(k, 1), (size_t)LAR_MAX(k, 1), false,
                            out);
    }
    case JI_DICT: {
        const jdict *d = it->src.u.d;
        *done = it->pos >= d->n;
        if (*done)
            return true;
        const jentry *e = &d->e[it->pos++];
        if (it->view == 2)
            return lar__jv_pair(r, e->key, e->val, out);
        *out = it->view ? e->val : e->key;
        return true;
    }
    case JI_RANGE: {
        const jrange *g = it->src.u.range;
        *done = it->pos >= g->n;
        if (!*done)
            *out = lar__jv_int(g->start + (int64_t)it->pos++ * g->step);
        return true;
    }
    case JI_NONE:
        *done = true;
        return true;
    default: {
        if (!lar__jenter(r))
            return false;
        bool ok = it->kind == JI_SHARED ? lar__jiter_next(r, it->in, out, done)
                                        : lar__jgen_next(r, it, out, done);
        lar__jleave(r);
        return ok;
    }
    }
}

bool lar__jv_gen(jr *r, const jiter *it, jv *out)
{
    jiter *p = lar__jalloc(r, sizeof *p);
    if (!p)
        return false;
    *p = *it;
    *out = (jv){.t = JV_ITER, .u.it = p};
    return true;
}

bool lar__jv_to_list(jr *r, jv v, jv *out)
{
    jiter it;
    bool done;
    jv x;
    if (!lar__jiter_init(r, v, &it) || !lar__jv_list(r, 0, false, out))
        return false;
    for (;;) {
        if (!lar__jiter_next(r, &it, &x, &done))
            return false;
        if (done)
            return true;
        if (!lar__jlist_add(r, out->u.l, x))
            return false;
    }
}

/* ---- sorting: stable, as Python; a merge from runs of one ---------------------------------- */

bool lar__jsort(jr *r, jv *keys, jv *vals, size_t n, bool reverse)
{
    jv *k2 = lar__jalloc_array(r, n + 1, sizeof *k2), *v2 = lar__jalloc_array(r, n + 1, sizeof *v2);
    if (!k2 || !v2)
        return false;
    jv *ka = keys, *va = vals, *kb = k2, *vb = v2;
    for (size_t w = 1; w < n; w *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * w) {
            size_t mid = LAR_MIN(lo + w, n), hi = LAR_MIN(lo + 2 * w, n), i = lo, j = mid;
            for (size_t o = lo; o < hi; o++) {
                bool right = i >= mid;
                if (i < mid && j < hi) {
                    bool less;
                    /* take the right one only if it comes strictly first */
                    if (!lar__jstep(r, 0) ||
                        !(reverse ? lar__jv_cmp(r, ka[i], ka[j], OP_LT, &less)
                                  : lar__jv_cmp(r, ka[j], ka[i], OP_LT, &less)))
                        return false;
                    right = less;
                }
                size_t from = right ? j++ : i++;
                kb[o] = ka[from];
                vb[o] = va[from];
            }
        }
        jv *t = ka;
        ka = kb;
        kb = t;
        t = va;
        va = vb;
        vb = t;
    }
    if (va != vals && n) {
        memcpy(vals, va, n * sizeof *vals);
        memcpy(keys, ka, n * sizeof *keys);
    }
    return true;
}

/* ---- text pieces --------------------------------------------------------------------------- */

size_t lar__jutf8_at(const jstr *s, size_t index)
{
    if (index >= s->len)
        return s->n;
    if (s->len == s->n)
        return index;
    size_t i = 0;
    for (size_t k = 0;; i++) {
        if (((unsigned char)s->p[i] & 0xC0) != 0x80 && k++ == index)
            return i;
    }
}

/* str.isspace: Unicode's white space, and the four separators U+001C ... U+001F. */
bool lar__jspace(uint32_t cp)
{
    if (cp < 128)
        return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 31);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

static bool strips(const jstr *chars, const char *p, int k, uint32_t cp)
{
    if (!chars)
        return lar__jspace(cp);
    for (size_t i = 0; i + (size_t)k <= chars->n; i++)
        if (((unsigned char)chars->p[i] & 0xC0) != 0x80 && !memcmp(chars->p + i, p, (size_t)k))
            return true;
    return false;
}

void lar__jtrim(const jstr *s, const jstr *chars, int sides, size_t *b, size_t *e)
{
    uint32_t cp = 0;
    *b = 0;
    *e = s->n;
    while ((sides & 1) && *b < *e) {
        int k = lar_utf8_decode(s->p + *b, *e - *b, &cp);
        if (k <= 0 || !strips(chars, s->p + *b, k, cp))
            break;
        *b += (size_t)k;
    }
    while ((sides & 2) && *e > *b) {
        size_t i = *e - 1;
        while (i > *b && ((unsigned char)s->p[i] & 0xC0) == 0x80)
            i--;
        int k = lar_utf8_decode(s->p + i, *e - i, &cp);
        if (k <= 0 || !strips(chars, s->p + i, k, cp))
            break;
        *e = i;
    }
}
