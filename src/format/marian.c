/* marian.c - Marian's binary files. Depends on base. */
#include "format/marian.h"
#include <string.h>

enum { TENSORS_MAX = 1 << 16, ENTRY = 32 };
#define LIST_MAGIC 0xF11A48D5013417F5u
/* Types as the files number them: size in bytes plus the class. */
enum { TYPE_TEXT = 0x101, TYPE_F32 = 0x404, TYPE_I8 = 0x4101 };

typedef struct bytes {
    const uint8_t *p;
    size_t n, at;
} bytes;

/* n bytes more; NULL where there are fewer. */
static const uint8_t *take(bytes *b, uint64_t n)
{
    if (n > b->n - b->at)
        return NULL;
    b->at += (size_t)n;
    return b->p + b->at - n;
}

static lar_status truncated(const bytes *b, const char *what, lar_err *e)
{
    return lar_fail(e, LAR_EFORMAT, "the file ends in %s: %zu bytes, %zu read", what, b->n, b->at);
}

static lar_status read_dims(lar_marian_tensor *t, const uint8_t *p, uint64_t n, lar_err *e)
{
    size_t count = 1;
    if (n < 1 || n > 4)
        return lar_fail(e, LAR_EFORMAT, "%s: %llu dimensions, want 1 to 4", t->name,
                        (unsigned long long)n);
    t->n_dims = (int)n;
    for (uint64_t i = 0; i < n; i++) {
        t->dim[i] = (int32_t)lar_u32(p + 4 * i);
        if (t->dim[i] < 1 || !lar_size_mul(count, (size_t)t->dim[i], &count))
            return lar_fail(e, LAR_EFORMAT, "%s: dimension %llu is %lld", t->name,
                            (unsigned long long)i, (long long)t->dim[i]);
    }
    t->count = count;
    return LAR_OK;
}

static lar_status read_data(lar_marian_tensor *t, bytes *b, uint64_t type, uint64_t size,
                            lar_err *e)
{
    size_t want = t->count;
    t->type = type == TYPE_F32 ? LAR_MARIAN_F32 : type == TYPE_I8 ? LAR_MARIAN_I8 : LAR_MARIAN_TEXT;
    if (type != TYPE_F32 && type != TYPE_I8 && type != TYPE_TEXT)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "%s: type 0x%llx, want floats (0x404), text (0x101) or bytes in no "
                        "processor's order (0x4101)",
                        t->name, (unsigned long long)type);
    if (type == TYPE_F32 ? !lar_size_mul(want, 4, &want)
                         : type == TYPE_I8 && !lar_size_add(want, 4, &want))
        return lar_fail(e, LAR_EFORMAT, "%s: too large", t->name);
    if (size < want)
        return lar_fail(e, LAR_EFORMAT, "%s: %llu bytes, its shape wants %zu", t->name,
                        (unsigned long long)size, want);
    t->data = take(b, size);
    if (!t->data)
        return truncated(b, t->name, e);
    if (t->type == LAR_MARIAN_I8) {
        const uint32_t bits = lar_u32(t->data + t->count);
        memcpy(&t->mult, &bits, sizeof bits);
        if (!(t->mult > 0 && t->mult < 1e30f))
            return lar_fail(e, LAR_EFORMAT, "%s: a scale of %g", t->name, (double)t->mult);
    }
    return LAR_OK;
}

static lar_status read_all(lar_marian *m, bytes *b, lar_err *e)
{
    const uint8_t *entry = take(b, (uint64_t)m->n * ENTRY);
    if (!entry)
        return truncated(b, "its table", e);
    for (size_t i = 0; i < m->n; i++) {
        const uint64_t len = lar_u64(entry + i * ENTRY);
        const uint8_t *name = take(b, len);
        if (!name || !len)
            return truncated(b, "a name", e);
        if (name[len - 1] || strlen((const char *)name) != len - 1 || len > 256)
            return lar_fail(e, LAR_EFORMAT, "tensor %zu: no name of up to 255 characters", i);
        m->tensor[i].name = (const char *)name;
    }
    for (size_t i = 0; i < m->n; i++) {
        const uint64_t dims = lar_u64(entry + i * ENTRY + 16);
        const uint8_t *p = dims <= 4 ? take(b, 4 * dims) : b->p;
        if (!p)
            return truncated(b, "a shape", e);
        LAR_TRY(read_dims(&m->tensor[i], p, dims, e));
    }
    const uint8_t *pad = take(b, 8);
    if (!pad || !take(b, lar_u64(pad)))
        return truncated(b, "its padding", e);
    for (size_t i = 0; i < m->n; i++)
        LAR_TRY(read_data(&m->tensor[i], b, lar_u64(entry + i * ENTRY + 8),
                          lar_u64(entry + i * ENTRY + 24), e));
    return LAR_OK;
}

lar_status lar_marian_read(const void *data, size_t n, lar_marian *out, lar_err *e)
{
    bytes b = {.p = data, .n = n};
    const uint8_t *head = take(&b, 16);
    *out = (lar_marian){0};
    if (!head)
        return truncated(&b, "its header", e);
    if (lar_u64(head) != 1)
        return lar_fail(e, LAR_EFORMAT, "not a Marian model: version %llu, want 1",
                        (unsigned long long)lar_u64(head));
    const uint64_t count = lar_u64(head + 8);
    if (count < 1 || count > TENSORS_MAX || count > n / ENTRY)
        return lar_fail(e, LAR_EFORMAT, "%llu tensors, want 1 to %d", (unsigned long long)count,
                        TENSORS_MAX);
    out->n = (size_t)count;
    out->tensor = lar_alloc_array(out->n, sizeof *out->tensor);
    lar_status s = out->tensor ? read_all(out, &b, e) : lar_fail(e, LAR_ENOMEM, "out of memory");
    if (s != LAR_OK) {
        lar_marian_free(out);
        return s;
    }
    const lar_marian_tensor *c = lar_marian_find(out, "special:model.yml");
    if (c && c->type == LAR_MARIAN_TEXT)
        out->config = (lar_str){(const char *)c->data, strnlen((const char *)c->data, c->count)};
    return LAR_OK;
}

void lar_marian_free(lar_marian *m)
{
    lar_free(m->tensor);
    *m = (lar_marian){0};
}

const lar_marian_tensor *lar_marian_find(const lar_marian *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->tensor[i].name, name) == 0)
            return &m->tensor[i];
    return NULL;
}

bool lar_marian_config(const lar_marian *m, const char *key, lar_str *out)
{
    const size_t len = strlen(key);
    const char *end = m->config.p + m->config.n;
    for (const char *p = m->config.p; p && p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
        if ((size_t)(stop - p) > len && memcmp(p, key, len) == 0 && p[len] == ':') {
            const char *v = p + len + 1;
            while (v < stop && (*v == ' ' || *v == '"' || *v == '\''))
                v++;
            while (stop > v && strchr(" \"'\r", stop[-1]))
                stop--;
            *out = (lar_str){v, (size_t)(stop - v)};
            return true;
        }
        p = nl ? nl + 1 : end;
    }
    return false;
}

/* boost::hash_combine over the words behind the checksum. */
static uint64_t list_sum(const uint8_t *p, size_t n)
{
    uint64_t h = 0;
    for (size_t i = 16; n - i >= 8; i += 8)
        h ^= lar_u64(p + i) + 0x9e3779b9u + (h << 6) + (h >> 2);
    return h;
}

lar_status lar_shortlist_read(const void *data, size_t n, size_t n_target, lar_shortlist *out,
                              lar_err *e)
{
    const uint8_t *p = data;
    if (n < 48 || lar_u64(p) != LIST_MAGIC)
        return lar_fail(e, LAR_EFORMAT, "not a binary shortlist: %zu bytes, or another beginning",
                        n);
    const uint64_t words = lar_u64(p + 32), ids = lar_u64(p + 40);
    if (words < 2 || words > n / 8 || ids > n / 4 || 48 + 8 * words + 4 * ids != n)
        return lar_fail(e, LAR_EFORMAT, "shortlist: %llu words and %llu entries in %zu bytes",
                        (unsigned long long)words, (unsigned long long)ids, n);
    if (list_sum(p, n) != lar_u64(p + 8))
        return lar_fail(e, LAR_EFORMAT, "shortlist: the checksum is wrong, the file is damaged");
    *out = (lar_shortlist){.first = lar_u64(p + 16),
                           .n_words = (size_t)words - 1,
                           .offset = p + 48,
                           .id = p + 48 + 8 * words,
                           .n_ids = (size_t)ids};
    for (uint64_t i = 0, last = 0; i < words; i++) {
        const uint64_t at = lar_u64(out->offset + 8 * i);
        if (at < last || at > ids || (i == words - 1 && at != ids))
            return lar_fail(e, LAR_EFORMAT, "shortlist: offset %llu of word %llu",
                            (unsigned long long)at, (unsigned long long)i);
        last = at;
    }
    for (size_t i = 0; i < out->n_ids; i++)
        if (lar_u32(out->id + 4 * i) >= n_target)
            return lar_fail(e, LAR_EFORMAT, "shortlist: token %u, the vocabulary has %zu",
                            (unsigned)lar_u32(out->id + 4 * i), n_target);
    if (out->first > n_target)
        return lar_fail(e, LAR_EFORMAT, "shortlist: the first %llu tokens of %zu",
                        (unsigned long long)out->first, n_target);
    return LAR_OK;
}
