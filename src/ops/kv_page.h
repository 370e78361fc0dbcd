/*
 * kv_page.h - how keys and values lie in a page of the cache. Depends on tensor.
 *
 * A cache is a tensor [head_dim, LAR_PAGE, heads, pages]; a page of one head takes as many bytes as
 * LAR_PAGE rows of its type, stride[2]. Values lie as such rows, one per cell. Keys lie so that
 * sixteen cells' neighbours are neighbours: of all 64 rows block b comes first, then block b + 1
 * ... (a float is a block of one), and within it field by field: the 64 scales, if the type has
 * any, then the 64 first bytes of the rest, the 64 second ones ... F16: [head_dim][64] halfs; Q8_0:
 * per 32 of head_dim [64] scales, then [32][64] bytes.
 */
#ifndef LAR_KV_PAGE_H
#define LAR_KV_PAGE_H
#include "ops/ops.h"
#include <string.h>

/* The fields of a block: `head` bytes of scale, then n of `width` bytes. */
typedef struct lar_kv_fields {
    size_t head, width;
    int n;
} lar_kv_fields;

static inline lar_kv_fields lar_kv_fields_of(const lar_dtype *t)
{
    return t->block > 1 ? (lar_kv_fields){2, 1, (int)t->bytes - 2}
                        : (lar_kv_fields){0, t->bytes, 1};
}

/* What a cache can be made of. */
static inline bool lar_kv_type_ok(const lar_dtype *t)
{
    return t == LAR_DTYPE(f32) || t == LAR_DTYPE(f16) || t == LAR_DTYPE(q8_0) ||
           t == LAR_DTYPE(q4_0);
}

static inline void lar_kv_copy_(uint8_t *to, const uint8_t *from, size_t n)
{
    if (n == 1)
        *to = *from;
    else if (n == 2)
        memcpy(to, from, 2);
    else
        memcpy(to, from, 4);
}

/* Spread a row of a type, of `blocks` blocks, into cell `cell` of a page of keys. */
static inline void lar_kv_put_key(const lar_dtype *type, const void *row, int64_t blocks, int cell,
                                  void *page)
{
    const lar_kv_fields f = lar_kv_fields_of(type);
    const uint8_t *from = row;
    uint8_t *to = page;
    for (int64_t b = 0; b < blocks; b++, to += (size_t)LAR_PAGE * type->bytes) {
        uint8_t *body = to + LAR_PAGE * f.head + (size_t)cell * f.width;
        if (f.head)
            memcpy(to + (size_t)cell * f.head, from, f.head);
        from += f.head;
        for (int i = 0; i < f.n; i++, from += f.width, body += LAR_PAGE * f.width)
            lar_kv_copy_(body, from, f.width);
    }
}

/* Copy the first `cells` cells of one head's page; the others' places in `to` are left alone. */
static inline void lar_kv_copy_cells(const lar_tensor *cache, bool keys, int cells,
                                     const void *from, void *to)
{
    const lar_kv_fields f = lar_kv_fields_of(cache->type);
    const size_t n = (size_t)cells;
    const uint8_t *a = from;
    uint8_t *b = to;
    if (!keys) {
        memcpy(b, a, n * cache->stride[1]);
        return;
    }
    for (int64_t d = 0; d < cache->dim[0]; d += cache->type->block) {
        memcpy(b, a, n * f.head);
        a += LAR_PAGE * f.head, b += LAR_PAGE * f.head;
        for (int i = 0; i < f.n; i++, a += LAR_PAGE * f.width, b += LAR_PAGE * f.width)
            memcpy(b, a, n * f.width);
    }
}

#endif
