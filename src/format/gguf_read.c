/*
 * gguf_read.c - one GGUF file: header, metadata keys, tensor infos, and where the tensors lie.
 * Every byte here is untrusted. Depends on gguf_part.h. Layout (all little-endian):
 *
 *     "GGUF"  u32 version  u64 tensors  u64 keys
 *     key:    string name  u32 type  value          string: u64 length, bytes
 *     tensor: string name  u32 n_dims  u64 dim[]  u32 type  u64 offset
 *     padding to general.alignment, then the tensors' data, each aligned to it
 */
#include "format/gguf_part.h"
#include <stdio.h>
#include <string.h>

#define ULL(x) ((unsigned long long)(x))

enum {
    MAX_KEY = 65535,        /* bytes, by the specification */
    MAX_TENSOR_NAME = 1024, /* bytes */
    MAX_STRING = 256 << 20, /* bytes of one value */
    MAX_KEYS = 1 << 16,
    MAX_TENSORS = 1 << 18,
    MIN_KEY_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8,
    DEFAULT_ALIGNMENT = 32,
    MAX_ALIGNMENT = 1 << 20
};

static const uint8_t type_bytes[LAR_GGUF_N_TYPES] = {
    [LAR_GGUF_U8] = 1,  [LAR_GGUF_I8] = 1,  [LAR_GGUF_U16] = 2, [LAR_GGUF_I16] = 2,
    [LAR_GGUF_U32] = 4, [LAR_GGUF_I32] = 4, [LAR_GGUF_F32] = 4, [LAR_GGUF_BOOL] = 1,
    [LAR_GGUF_U64] = 8, [LAR_GGUF_I64] = 8, [LAR_GGUF_F64] = 8,
};

typedef struct cursor {
    const uint8_t *data;
    size_t size, pos;
    lar_err *e;
    /* What is being read, for messages. */
    const char *noun;
    uint64_t index;
    lar_str name; /* empty until it is known */
} cursor;

static size_t left(const cursor *c)
{
    return c->size - c->pos;
}

/* "key 3 (general.name)" */
typedef struct where {
    char s[220];
} where;

static where here(const cursor *c)
{
    where w;
    if (c->name.n)
        snprintf(w.s, sizeof w.s, "%s %llu (%s)", c->noun, ULL(c->index), LAR_SHOW(c->name));
    else if (c->noun)
        snprintf(w.s, sizeof w.s, "%s %llu", c->noun, ULL(c->index));
    else
        snprintf(w.s, sizeof w.s, "header");
    return w;
}

static lar_status need(const cursor *c, uint64_t n, const char *what)
{
    if (n <= left(c))
        return LAR_OK;
    return lar_fail(c->e, LAR_EFORMAT,
                    "%s: truncated: its %s wants %llu bytes at byte %zu, the file has %zu more",
                    here(c).s, what, ULL(n), c->pos, left(c));
}

static lar_status read_u32(cursor *c, const char *what, uint32_t *out)
{
    LAR_TRY(need(c, 4, what));
    *out = lar_u32(c->data + c->pos);
    c->pos += 4;
    return LAR_OK;
}

static lar_status read_u64(cursor *c, const char *what, uint64_t *out)
{
    LAR_TRY(need(c, 8, what));
    *out = lar_u64(c->data + c->pos);
    c->pos += 8;
    return LAR_OK;
}

static lar_status skip_string(cursor *c, uint64_t cap, const char *what)
{
    uint64_t n;
    LAR_TRY(read_u64(c, what, &n));
    if (n > left(c))
        return lar_fail(c->e, LAR_EFORMAT,
                        "%s: its %s says that it is %llu bytes long, the file has %zu more",
                        here(c).s, what, ULL(n), left(c));
    if (n > cap)
        return lar_fail(c->e, LAR_EFORMAT,
                        "%s: its %s is %llu bytes long, at most %llu are allowed", here(c).s, what,
                        ULL(n), ULL(cap));
    c->pos += (size_t)n;
    return LAR_OK;
}

/* A key's or tensor's name: not empty, valid UTF-8, no NUL. */
static lar_status read_name(cursor *c, uint64_t cap, lar_str *out)
{
    size_t start = c->pos + 8;
    LAR_TRY(skip_string(c, cap, "name"));
    lar_str s = {(const char *)c->data + start, c->pos - start};
    if (s.n == 0)
        return lar_fail(c->e, LAR_EFORMAT, "%s: its name is empty", here(c).s);
    for (size_t i = 0; i < s.n;) {
        int len = lar_utf8_decode(s.p + i, s.n - i, NULL);
        if (!len || !s.p[i])
            return lar_fail(c->e, LAR_EFORMAT, "%s: its name \"%s\" %s", here(c).s, LAR_SHOW(s),
                            len ? "contains a NUL byte" : "is not valid UTF-8");
        i += (size_t)len;
    }
    *out = c->name = s;
    return LAR_OK;
}

/* ---- header -------------------------------------------------------------------------------- */

static lar_status check_version(lar__gguf_part *p, lar_err *e)
{
    uint32_t v = lar_u32(p->data + 4);
    p->version = (int)v;
    if (v == 2 || v == 3)
        return LAR_OK;
    if (v == 1)
        return lar_fail(
            e, LAR_EUNSUPPORTED,
            "GGUF version 1 is not supported, only 2 and 3: get a newer file of the model");
    if (v == 0)
        return lar_fail(e, LAR_EFORMAT, "GGUF version 0 does not exist: the file is damaged");
    if ((v & 0xffffff) == 0)
        return lar_fail(
            e, LAR_EUNSUPPORTED,
            "a big-endian GGUF file (version %u); only little-endian ones are supported", v >> 24);
    return lar_fail(e, LAR_EUNSUPPORTED, "GGUF version %u is not supported, only 2 and 3", v);
}

static lar_status check_count(const cursor *c, const char *what, uint64_t n, size_t each,
                              uint64_t cap)
{
    if (n > left(c) / each)
        return lar_fail(c->e, LAR_EFORMAT,
                        "header: says that there are %llu %s, the file's remaining %zu bytes "
                        "cannot hold them",
                        ULL(n), what, left(c));
    if (n > cap)
        return lar_fail(c->e, LAR_EFORMAT, "header: %llu %s, at most %llu are allowed", ULL(n),
                        what, ULL(cap));
    return LAR_OK;
}

static lar_status read_header(lar__gguf_part *p, cursor *c)
{
    uint64_t tensors, keys;
    if (p->size < 4 || memcmp(p->data, "GGUF", 4) != 0) {
        if (p->size && p->size < 4 && memcmp(p->data, "GGUF", p->size) == 0)
            return lar_fail(c->e, LAR_EFORMAT, "header: truncated: the file has only %zu bytes",
                            p->size);
        return lar__gguf_not_gguf(p->data, p->size, c->e);
    }
    c->pos = 4;
    LAR_TRY(need(c, 4, "version"));
    LAR_TRY(check_version(p, c->e));
    c->pos = 8;
    LAR_TRY(read_u64(c, "tensor count", &tensors));
    LAR_TRY(read_u64(c, "key count", &keys));
    LAR_TRY(check_count(c, "tensors", tensors, MIN_TENSOR_BYTES, MAX_TENSORS));
    LAR_TRY(check_count(c, "keys", keys, MIN_KEY_BYTES, MAX_KEYS));
    p->n_tensors = (size_t)tensors;
    p->n_kv = (size_t)keys;
    return LAR_OK;
}

/* ---- keys ---------------------------------------------------------------------------------- */

static lar_status check_bools(const cursor *c, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] > 1)
            return lar_fail(c->e, LAR_EFORMAT, "%s: a bool is %d, want 0 or 1", here(c).s, p[i]);
    return LAR_OK;
}

static lar_status read_strings(cursor *c, uint64_t count)
{
    LAR_TRY(need(c, count > UINT64_MAX / 8 ? UINT64_MAX : count * 8, "array of strings"));
    for (uint64_t i = 0; i < count; i++) {
        /* The quick way for what is nearly always so; skip_string words the error. */
        uint64_t n = left(c) >= 8 ? lar_u64(c->data + c->pos) : UINT64_MAX;
        if (n <= MAX_STRING && n <= left(c) - 8)
            c->pos += 8 + (size_t)n;
        else
            LAR_TRY(skip_string(c, MAX_STRING, "array's string"));
    }
    return LAR_OK;
}

static lar_status read_array(cursor *c, lar_gguf_kv *kv)
{
    uint32_t elem;
    uint64_t bytes;
    LAR_TRY(read_u32(c, "array's element type", &elem));
    if (elem == LAR_GGUF_ARRAY)
        return lar_fail(c->e, LAR_EUNSUPPORTED,
                        "%s: an array of arrays; nested arrays are not supported", here(c).s);
    if (elem >= LAR_GGUF_N_TYPES)
        return lar_fail(c->e, LAR_EFORMAT, "%s: unknown array element type %u", here(c).s, elem);
    kv->elem = (lar_gguf_type)elem;
    LAR_TRY(read_u64(c, "array's length", &kv->count));
    kv->data = c->data + c->pos;
    if (elem == LAR_GGUF_STRING)
        return read_strings(c, kv->count);
    if (!lar_u64_mul(kv->count, type_bytes[elem], &bytes) || bytes > left(c))
        return lar_fail(c->e, LAR_EFORMAT,
                        "%s: says that it is an array of %llu %s, the file has %zu more bytes",
                        here(c).s, ULL(kv->count), lar_gguf_type_name(kv->elem), left(c));
    if (elem == LAR_GGUF_BOOL)
        LAR_TRY(check_bools(c, kv->data, (size_t)bytes));
    c->pos += (size_t)bytes;
    return LAR_OK;
}

static lar_status read_key(cursor *c, lar_gguf_kv *kv)
{
    uint32_t type;
    LAR_TRY(read_name(c, MAX_KEY, &kv->key));
    LAR_TRY(read_u32(c, "type", &type));
    if (type >= LAR_GGUF_N_TYPES)
        return lar_fail(c->e, LAR_EFORMAT, "%s: unknown value type %u", here(c).s, type);
    kv->type = kv->elem = (lar_gguf_type)type;
    kv->count = 1;
    kv->data = c->data + c->pos;
    if (type == LAR_GGUF_ARRAY) {
        LAR_TRY(read_array(c, kv));
    } else if (type == LAR_GGUF_STRING) {
        LAR_TRY(skip_string(c, MAX_STRING, "value"));
    } else {
        LAR_TRY(need(c, type_bytes[type], "value"));
        if (type == LAR_GGUF_BOOL)
            LAR_TRY(check_bools(c, kv->data, 1));
        c->pos += type_bytes[type];
    }
    kv->bytes = (size_t)(c->data + c->pos - kv->data);
    return LAR_OK;
}

static lar_status read_keys(lar__gguf_part *p, cursor *c)
{
    size_t twice[2];
    p->kv = lar_alloc_array(p->n_kv ? p->n_kv : 1, sizeof *p->kv);
    if (!p->kv)
        return lar_fail(c->e, LAR_ENOMEM, "out of memory for %zu keys", p->n_kv);
    for (size_t i = 0; i < p->n_kv; i++) {
        c->noun = "key";
        c->index = i;
        c->name = (lar_str){0};
        LAR_TRY(read_key(c, &p->kv[i]));
    }
    lar_status st = lar__names_build(&p->kv_names, p->kv, sizeof *p->kv, p->n_kv, twice);
    if (st == LAR_ENOMEM)
        return lar_fail(c->e, st, "out of memory for %zu keys", p->n_kv);
    if (st == LAR_EUNSUPPORTED)
        return lar_fail(c->e, st, "the keys' names all collide: made to be slow");
    if (st != LAR_OK)
        return lar_fail(c->e, st, "duplicate key %s (keys %zu and %zu)",
                        LAR_SHOW(p->kv[twice[1]].key), twice[0], twice[1]);
    return LAR_OK;
}

static lar_status read_alignment(lar__gguf_part *p, lar_err *e)
{
    p->alignment = DEFAULT_ALIGNMENT;
    const lar_gguf_kv *kv = lar__gguf_part_find(p, "general.alignment");
    if (!kv)
        return LAR_OK;
    if (kv->type != LAR_GGUF_U32)
        return lar_fail(e, LAR_EFORMAT, "general.alignment: is of type %s, want u32",
                        lar_gguf_type_name(kv->type));
    uint32_t a = lar_u32(kv->data);
    if (a < 8 || a > MAX_ALIGNMENT || (a & (a - 1)))
        return lar_fail(e, LAR_EFORMAT,
                        "general.alignment: is %u, want a power of two from 8 to %d", a,
                        MAX_ALIGNMENT);
    p->alignment = a;
    return LAR_OK;
}

/* ---- tensor infos --------------------------------------------------------------------------- */

static lar_status set_size(const cursor *c, lar_gguf_tensor *t, uint32_t id)
{
    t->type = lar_dtype_by_id(id);
    if (!t->type)
        return lar_fail(c->e, LAR_EUNSUPPORTED, "%s: element type %u is unknown", here(c).s, id);
    if (t->dim[0] % t->type->block)
        return lar_fail(c->e, LAR_EFORMAT,
                        "%s: a row has %lld elements, want a multiple of %u (the block of %s)",
                        here(c).s, (long long)t->dim[0], t->type->block, t->type->name);
    /* Elements and bytes must fit in i64, so that readers may multiply dimensions freely. */
    uint64_t n = 1, bytes = (uint64_t)t->dim[0] / t->type->block;
    bool ok = lar_u64_mul(bytes, t->type->bytes, &bytes);
    for (int d = 0; d < 4; d++) {
        ok = ok && lar_u64_mul(n, (uint64_t)t->dim[d], &n);
        if (d > 0)
            ok = ok && lar_u64_mul(bytes, (uint64_t)t->dim[d], &bytes);
    }
    if (!ok || n > INT64_MAX || bytes > INT64_MAX || bytes > SIZE_MAX)
        return lar_fail(c->e, LAR_EFORMAT,
                        "%s: its size overflows: dimensions [%lld,%lld,%lld,%lld] of %s", here(c).s,
                        (long long)t->dim[0], (long long)t->dim[1], (long long)t->dim[2],
                        (long long)t->dim[3], t->type->name);
    t->bytes = (size_t)bytes;
    return LAR_OK;
}

static lar_status read_tensor(cursor *c, lar_gguf_tensor *t)
{
    uint32_t n_dims, id;
    LAR_TRY(read_name(c, MAX_TENSOR_NAME, &t->name));
    LAR_TRY(read_u32(c, "number of dimensions", &n_dims));
    if (n_dims < 1 || n_dims > 4)
        return lar_fail(c->e, LAR_EFORMAT, "%s: has %u dimensions, want 1 to 4", here(c).s, n_dims);
    t->n_dims = (int)n_dims;
    for (uint32_t d = 0; d < 4; d++) {
        uint64_t v = 1;
        if (d < n_dims)
            LAR_TRY(read_u64(c, "dimension", &v));
        if (v < 1 || v > INT64_MAX)
            return lar_fail(c->e, LAR_EFORMAT, "%s: dimension %u is %llu, want 1 to 2^63-1",
                            here(c).s, d, ULL(v));
        t->dim[d] = (int64_t)v;
    }
    LAR_TRY(read_u32(c, "element type", &id));
    LAR_TRY(set_size(c, t, id));
    return read_u64(c, "offset", &t->offset);
}

static lar_status read_tensors(lar__gguf_part *p, int file, cursor *c)
{
    p->tensors = lar_alloc_array(p->n_tensors ? p->n_tensors : 1, sizeof *p->tensors);
    if (!p->tensors)
        return lar_fail(c->e, LAR_ENOMEM, "out of memory for %zu tensors", p->n_tensors);
    for (size_t i = 0; i < p->n_tensors; i++) {
        c->noun = "tensor";
        c->index = i;
        c->name = (lar_str){0};
        LAR_TRY(read_tensor(c, &p->tensors[i]));
        p->tensors[i].file = file;
    }
    p->infos_end = c->pos;
    return LAR_OK;
}

lar_status lar__gguf_read(lar__gguf_part *p, int file, lar_err *e)
{
    cursor c = {.data = p->data, .size = p->size, .e = e};
    LAR_TRY(read_header(p, &c));
    LAR_TRY(read_keys(p, &c));
    LAR_TRY(read_alignment(p, e));
    return read_tensors(p, file, &c);
}

const lar_gguf_kv *lar__gguf_part_find(const lar__gguf_part *p, const char *key)
{
    lar_str name = {key, strlen(key)};
    size_t i = lar__names_find(&p->kv_names, p->kv, sizeof *p->kv, name);
    return i == SIZE_MAX ? NULL : &p->kv[i];
}

/* ---- where the data lies -------------------------------------------------------------------- */

/* By offset, then by position in the file: a total order. */
static bool before(const lar_gguf_tensor *t, uint32_t a, uint32_t b)
{
    return t[a].offset != t[b].offset ? t[a].offset < t[b].offset : a < b;
}

static void sift(const lar_gguf_tensor *t, uint32_t *v, size_t root, size_t n)
{
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && before(t, v[child], v[child + 1]))
            child++;
        if (!before(t, v[root], v[child]))
            return;
        uint32_t x = v[root];
        v[root] = v[child];
        v[child] = x;
    }
}

static lar_status check_overlap(const lar_gguf_tensor *t, size_t n, lar_err *e)
{
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++)
        sorted = t[i].offset >= t[i - 1].offset + t[i - 1].bytes;
    if (sorted) /* as nearly every file is */
        return LAR_OK;
    uint32_t *v = lar_alloc_array(n, sizeof *v);
    if (!v)
        return lar_fail(e, LAR_ENOMEM, "out of memory for %zu tensors", n);
    for (size_t i = 0; i < n; i++)
        v[i] = (uint32_t)i;
    for (size_t i = n / 2; i-- > 0;)
        sift(t, v, i, n);
    for (size_t end = n; end-- > 1;) {
        uint32_t x = v[0];
        v[0] = v[end];
        v[end] = x;
        sift(t, v, 0, end);
    }
    lar_status st = LAR_OK;
    for (size_t i = 1; i < n && st == LAR_OK; i++) {
        const lar_gguf_tensor *a = &t[v[i - 1]], *b = &t[v[i]];
        if (b->offset < a->offset + a->bytes)
            st = lar_fail(e, LAR_EFORMAT,
                          "tensors %s and %s overlap: the second begins at offset %llu, the first "
                          "ends at %llu",
                          LAR_SHOW(a->name), LAR_SHOW(b->name), ULL(b->offset),
                          ULL(a->offset + a->bytes));
    }
    lar_free(v);
    return st;
}

lar_status lar__gguf_place(const lar__gguf_part *p, lar_gguf_tensor *t, size_t n, lar_err *e)
{
    uint64_t base;
    if (n == 0)
        return LAR_OK;
    if (!lar_u64_add(p->infos_end, p->alignment - 1, &base))
        return lar_fail(e, LAR_EFORMAT, "the tensor data's place overflows");
    base &= ~(p->alignment - 1);
    for (size_t i = 0; i < n; i++) {
        uint64_t end;
        if (t[i].offset % p->alignment)
            return lar_fail(e, LAR_EFORMAT, "tensor %s: offset %llu is not aligned to %llu",
                            LAR_SHOW(t[i].name), ULL(t[i].offset), ULL(p->alignment));
        if (!lar_u64_add(t[i].offset, t[i].bytes, &end) || !lar_u64_add(end, base, &end))
            return lar_fail(e, LAR_EFORMAT, "tensor %s: offset %llu plus its %zu bytes overflows",
                            LAR_SHOW(t[i].name), ULL(t[i].offset), t[i].bytes);
        if (end > p->size)
            return lar_fail(e, LAR_EFORMAT,
                            "tensor %s: its data ends at byte %llu, the file at byte %zu (is the "
                            "download complete?)",
                            LAR_SHOW(t[i].name), ULL(end), p->size);
        t[i].data = p->data + (size_t)(base + t[i].offset);
    }
    return check_overlap(t, n, e);
}
