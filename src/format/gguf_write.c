/*
 * gguf_write.c - writing GGUF v3. Keys are kept as encoded bytes until the header is written;
 * tensor data goes straight to the file. Depends on gguf_part.h and os.h.
 */
#include "format/gguf_write.h"
#include "format/gguf_part.h"
#include <string.h>

typedef struct key {
    lar_buf name, value; /* value: from its type on, as the file has it */
    bool removed;
} key;

typedef struct info {
    lar_str name; /* first: lar__names looks at it */
    const lar_dtype *type;
    int n_dims;
    int64_t dim[4];
    size_t bytes;
    uint64_t offset;
} info;

struct lar_gguf_writer {
    lar_file *file;
    uint32_t alignment;
    key *keys;
    size_t n_keys, cap_keys;
    info *infos;
    size_t n_infos, cap_infos;
    lar_status bad; /* the first thing that went wrong with a put */
    lar_err why;
    size_t at;       /* the tensor whose data is due */
    uint64_t within; /* bytes of it written */
    uint64_t total;
};

lar_status lar_gguf_writer_new(const char *path, uint32_t alignment, lar_gguf_writer **out,
                               lar_err *e)
{
    *out = NULL;
    if (!alignment || alignment % 8 || (alignment & (alignment - 1)))
        return lar_fail(e, LAR_EARG, "alignment %u, want a power of two from 8 on", alignment);
    lar_gguf_writer *w = lar_alloc(sizeof *w);
    if (!w)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    w->alignment = alignment;
    const lar_status s = lar_file_create(path, &w->file, e);
    if (s != LAR_OK) {
        lar_free(w);
        return s;
    }
    *out = w;
    if (alignment != 32)
        lar_gguf_put_u32(w, "general.alignment", alignment);
    return LAR_OK;
}

static void writer_free(lar_gguf_writer *w)
{
    for (size_t i = 0; i < w->n_keys; i++) {
        lar_buf_free(&w->keys[i].name);
        lar_buf_free(&w->keys[i].value);
    }
    for (size_t i = 0; i < w->n_infos; i++)
        lar_free((char *)(uintptr_t)w->infos[i].name.p);
    lar_free(w->keys);
    lar_free(w->infos);
    lar_free(w);
}

void lar_gguf_writer_abort(lar_gguf_writer *w)
{
    if (!w)
        return;
    lar_file_abort(w->file);
    writer_free(w);
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void add_le(lar_buf *b, uint64_t v, int bytes)
{
    uint8_t p[8];
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * i);
    lar_buf_add(b, p, (size_t)bytes);
}

static void add_str(lar_buf *b, lar_str s)
{
    add_le(b, s.n, 8);
    lar_buf_add(b, s.p ? s.p : "", s.n);
}

static void out_of_memory(lar_gguf_writer *w, const char *what)
{
    if (w->bad == LAR_OK)
        w->bad = lar_fail(&w->why, LAR_ENOMEM, "%.80s: out of memory", what);
}

static key *find_key(lar_gguf_writer *w, lar_str name)
{
    for (size_t i = 0; i < w->n_keys; i++)
        if (w->keys[i].name.n == name.n &&
            (!name.n || memcmp(w->keys[i].name.p, name.p, name.n) == 0))
            return &w->keys[i];
    return NULL;
}

/* Where the value of a key goes, its type written; NULL when out of memory. */
static lar_buf *value_of(lar_gguf_writer *w, lar_str name, lar_gguf_type type)
{
    key *k = find_key(w, name);
    if (!k) {
        if (!lar_grow((void **)&w->keys, &w->cap_keys, w->n_keys + 1, sizeof *w->keys)) {
            out_of_memory(w, "a key");
            return NULL;
        }
        k = &w->keys[w->n_keys++];
        *k = (key){0};
        lar_buf_add(&k->name, name.p ? name.p : "", name.n);
    }
    k->removed = false;
    lar_buf_clear(&k->value);
    add_le(&k->value, type, 4);
    return &k->value;
}

static lar_str text(const char *z)
{
    return (lar_str){z, strlen(z)};
}

static void put_le(lar_gguf_writer *w, const char *name, lar_gguf_type type, uint64_t v, int bytes)
{
    lar_buf *b = value_of(w, text(name), type);
    if (b)
        add_le(b, v, bytes);
}

void lar_gguf_put_u32(lar_gguf_writer *w, const char *name, uint32_t v)
{
    put_le(w, name, LAR_GGUF_U32, v, 4);
}
void lar_gguf_put_u64(lar_gguf_writer *w, const char *name, uint64_t v)
{
    put_le(w, name, LAR_GGUF_U64, v, 8);
}
void lar_gguf_put_bool(lar_gguf_writer *w, const char *name, bool v)
{
    put_le(w, name, LAR_GGUF_BOOL, v, 1);
}
void lar_gguf_put_f32(lar_gguf_writer *w, const char *name, float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    put_le(w, name, LAR_GGUF_F32, u, 4);
}
void lar_gguf_put_str(lar_gguf_writer *w, const char *name, lar_str v)
{
    lar_buf *b = value_of(w, text(name), LAR_GGUF_STRING);
    if (b)
        add_str(b, v);
}
void lar_gguf_put_string(lar_gguf_writer *w, const char *name, const char *v)
{
    lar_gguf_put_str(w, name, text(v));
}

static size_t elem_bytes(lar_gguf_type t)
{
    switch (t) {
    case LAR_GGUF_U8:
    case LAR_GGUF_I8:
    case LAR_GGUF_BOOL:
        return 1;
    case LAR_GGUF_U16:
    case LAR_GGUF_I16:
        return 2;
    case LAR_GGUF_U32:
    case LAR_GGUF_I32:
    case LAR_GGUF_F32:
        return 4;
    case LAR_GGUF_U64:
    case LAR_GGUF_I64:
    case LAR_GGUF_F64:
        return 8;
    default:
        return 0;
    }
}

void lar_gguf_put_array(lar_gguf_writer *w, const char *name, lar_gguf_type elem, const void *p,
                        size_t n)
{
    const size_t each = elem_bytes(elem);
    lar_buf *b = value_of(w, text(name), LAR_GGUF_ARRAY);
    if (!b)
        return;
    add_le(b, elem, 4);
    add_le(b, n, 8);
    for (size_t i = 0; i < n; i++) {
        const char *at = (const char *)p + i * each;
        uint16_t h;
        uint32_t u;
        uint64_t q;
        switch (each) {
        case 1:
            lar_buf_putc(b, *at);
            break;
        case 2:
            memcpy(&h, at, sizeof h);
            add_le(b, h, 2);
            break;
        case 4:
            memcpy(&u, at, sizeof u);
            add_le(b, u, 4);
            break;
        default:
            memcpy(&q, at, sizeof q);
            add_le(b, q, 8);
        }
    }
}

void lar_gguf_put_strings(lar_gguf_writer *w, const char *name, const lar_str *p, size_t n)
{
    lar_buf *b = value_of(w, text(name), LAR_GGUF_ARRAY);
    if (!b)
        return;
    add_le(b, LAR_GGUF_STRING, 4);
    add_le(b, n, 8);
    for (size_t i = 0; i < n; i++)
        add_str(b, p[i]);
}

void lar_gguf_put_kv(lar_gguf_writer *w, const lar_gguf_kv *kv)
{
    lar_buf *b = value_of(w, kv->key, kv->type);
    if (!b)
        return;
    if (kv->type == LAR_GGUF_ARRAY) {
        add_le(b, kv->elem, 4);
        add_le(b, kv->count, 8);
    }
    lar_buf_add(b, kv->data, kv->bytes);
}

void lar_gguf_remove(lar_gguf_writer *w, const char *name)
{
    key *k = find_key(w, text(name));
    if (k)
        k->removed = true;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static lar_status check_tensor(const lar_dtype *type, int n_dims, const int64_t *dim, size_t *bytes,
                               const char *name, lar_err *e)
{
    size_t n = 1;
    if (n_dims < 1 || n_dims > 4)
        return lar_fail(e, LAR_EARG, "%.80s: %d dimensions, want 1 to 4", name, n_dims);
    for (int i = 0; i < n_dims; i++)
        if (dim[i] < 1 || !lar_size_mul(n, (size_t)dim[i], &n))
            return lar_fail(e, LAR_EARG, "%.80s: dimension %d is %lld", name, i, (long long)dim[i]);
    if (dim[0] % type->block)
        return lar_fail(e, LAR_EARG, "%.80s: rows of %lld, type %s wants a multiple of %u", name,
                        (long long)dim[0], type->name, type->block);
    if (!lar_size_mul(n / type->block, type->bytes, bytes))
        return lar_fail(e, LAR_EARG, "%.80s: too large", name);
    return LAR_OK;
}

void lar_gguf_put_tensor(lar_gguf_writer *w, const char *name, const lar_dtype *type, int n_dims,
                         const int64_t *dim)
{
    info t = {.type = type, .n_dims = n_dims, .dim = {1, 1, 1, 1}};
    if (w->bad != LAR_OK)
        return;
    w->bad = check_tensor(type, n_dims, dim, &t.bytes, name, &w->why);
    if (w->bad != LAR_OK)
        return;
    for (int i = 0; i < n_dims; i++)
        t.dim[i] = dim[i];
    char *copy = lar_strdup(name);
    if (!copy || !lar_grow((void **)&w->infos, &w->cap_infos, w->n_infos + 1, sizeof *w->infos)) {
        lar_free(copy);
        out_of_memory(w, name);
        return;
    }
    t.name = text(copy);
    w->infos[w->n_infos++] = t;
}

/* ---- the file -------------------------------------------------------------------------------- */

static lar_status padding(lar_gguf_writer *w, uint64_t at, lar_err *e)
{
    static const char zero[64];
    uint64_t n = (w->alignment - at % w->alignment) % w->alignment;
    while (n) {
        const size_t k = (size_t)LAR_MIN(n, sizeof zero);
        LAR_TRY(lar_file_write(w->file, zero, k, e));
        n -= k;
    }
    return LAR_OK;
}

static lar_status check_names(lar_gguf_writer *w, lar_err *e)
{
    lar__names names = {0};
    size_t twice[2];
    const lar_status s = lar__names_build(&names, w->infos, sizeof *w->infos, w->n_infos, twice);
    lar__names_free(&names);
    if (s == LAR_EFORMAT)
        return lar_fail(e, LAR_EARG, "tensor %s is put twice", LAR_SHOW(w->infos[twice[0]].name));
    return s == LAR_OK ? s : lar_fail(e, s, "tensor names: out of memory");
}

/* Offsets of all tensors, and where the data ends. */
static lar_status place(lar_gguf_writer *w, uint64_t *end, lar_err *e)
{
    *end = 0;
    for (size_t i = 0; i < w->n_infos; i++) {
        info *t = &w->infos[i];
        t->offset = *end;
        if (!lar_u64_add(*end, t->bytes, end) ||
            !lar_u64_add(*end, (w->alignment - *end % w->alignment) % w->alignment, end))
            return lar_fail(e, LAR_EARG, "the tensors are too large for a file");
    }
    return LAR_OK;
}

lar_status lar_gguf_writer_header(lar_gguf_writer *w, lar_buf *b, lar_err *e)
{
    uint64_t n_keys = 0, data;
    if (w->bad != LAR_OK) {
        if (e)
            *e = w->why;
        return w->bad;
    }
    LAR_TRY(check_names(w, e));
    LAR_TRY(place(w, &data, e));
    for (size_t i = 0; i < w->n_keys; i++)
        n_keys += !w->keys[i].removed;
    lar_buf_puts(b, "GGUF");
    add_le(b, 3, 4);
    add_le(b, w->n_infos, 8);
    add_le(b, n_keys, 8);
    for (size_t i = 0; i < w->n_keys; i++) {
        const key *k = &w->keys[i];
        b->oom = b->oom || k->name.oom || k->value.oom;
        if (!k->removed && !b->oom) {
            add_str(b, (lar_str){k->name.p, k->name.n});
            lar_buf_add(b, k->value.p, k->value.n);
        }
    }
    for (size_t i = 0; i < w->n_infos; i++) {
        const info *t = &w->infos[i];
        add_str(b, t->name);
        add_le(b, (uint64_t)t->n_dims, 4);
        for (int d = 0; d < t->n_dims; d++)
            add_le(b, (uint64_t)t->dim[d], 8);
        add_le(b, t->type->id, 4);
        add_le(b, t->offset, 8);
    }
    w->total = b->n + (w->alignment - b->n % w->alignment) % w->alignment + data;
    return b->oom ? lar_fail(e, LAR_ENOMEM, "GGUF header: out of memory") : LAR_OK;
}

lar_status lar_gguf_writer_begin(lar_gguf_writer *w, lar_err *e)
{
    lar_buf b = {0};
    lar_status s = lar_gguf_writer_header(w, &b, e);
    if (s == LAR_OK)
        s = lar_file_write(w->file, b.p, b.n, e);
    if (s == LAR_OK)
        s = padding(w, b.n, e);
    lar_buf_free(&b);
    return s;
}

uint64_t lar_gguf_writer_bytes(const lar_gguf_writer *w)
{
    return w->total;
}

lar_status lar_gguf_writer_data(lar_gguf_writer *w, const void *p, size_t n, lar_err *e)
{
    const char *at = p;
    while (n) {
        if (w->at == w->n_infos)
            return lar_fail(e, LAR_EARG, "%zu bytes more than the tensors take", n);
        const info *t = &w->infos[w->at];
        const size_t k = (size_t)LAR_MIN(n, t->bytes - w->within);
        LAR_TRY(lar_file_write(w->file, at, k, e));
        at += k;
        n -= k;
        w->within += k;
        if (w->within == t->bytes) {
            LAR_TRY(padding(w, t->bytes, e));
            w->at++;
            w->within = 0;
        }
    }
    return LAR_OK;
}

lar_status lar_gguf_writer_commit(lar_gguf_writer *w, lar_err *e)
{
    lar_status s = LAR_OK;
    if (w->at < w->n_infos)
        s = lar_fail(e, LAR_EARG, "%s: %llu of %zu bytes were written",
                     LAR_SHOW(w->infos[w->at].name), (unsigned long long)w->within,
                     w->infos[w->at].bytes);
    if (s == LAR_OK)
        s = lar_file_commit(w->file, e);
    else
        lar_file_abort(w->file);
    writer_free(w);
    return s;
}
