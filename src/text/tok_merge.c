/*
 * tok_merge.c - the queue that both kinds of byte-pair encoding merge by: always the neighbours
 * with the lowest order, the leftmost of equals. O(n log n) for any text. Depends on base,
 * tok_part.h.
 */
#include "text/tok_part.h"
#include <string.h>

lar_status lar__tok_sym(lar_tok_run *r, size_t off, size_t len, int32_t id, lar_err *e)
{
    if (off + len > INT32_MAX)
        return lar_fail(e, LAR_EARG, "text: a word of more than 2 GiB");
    if (r->n_sym == r->cap_sym &&
        !lar_grow((void **)&r->sym, &r->cap_sym, r->n_sym + 1, sizeof *r->sym))
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu symbols", r->n_sym);
    lar_sym *s = &r->sym[r->n_sym];
    *s = (lar_sym){.off = (uint32_t)off, .len = (uint32_t)len, .id = id, .next = -1};
    s->prev = (int32_t)r->n_sym - 1;
    if (r->n_sym)
        s[-1].next = (int32_t)r->n_sym;
    r->n_sym++;
    return LAR_OK;
}

static void push(lar_tok_run *r, lar_pair p)
{
    size_t i = r->n_heap++;
    while (i > 0 && r->heap[(i - 1) / 2].key > p.key) {
        r->heap[i] = r->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    r->heap[i] = p;
}

static lar_pair pop(lar_tok_run *r)
{
    lar_pair top = r->heap[0], last = r->heap[--r->n_heap];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < r->n_heap) {
        if (child + 1 < r->n_heap && r->heap[child + 1].key < r->heap[child].key)
            child++;
        if (r->heap[child].key >= last.key)
            break;
        r->heap[i] = r->heap[child];
        i = child;
    }
    r->heap[i] = last;
    return top;
}

static lar_status offer(const lar_tokenizer *t, lar_tok_run *r, const char *text, lar_pair_fn *pair,
                        int32_t left, lar_err *e)
{
    if (left < 0 || r->sym[left].next < 0)
        return LAR_OK;
    const lar_sym *a = &r->sym[left], *b = &r->sym[a->next];
    uint32_t order;
    lar_pair p = {.right = (uint32_t)a->next, .len = a->len + b->len};
    if (!pair(t, text, a, b, &order, &p.id))
        return LAR_OK;
    p.key = (uint64_t)order << 32 | (uint32_t)left;
    if (r->n_heap == r->cap_heap &&
        !lar_grow((void **)&r->heap, &r->cap_heap, r->n_heap + 1, sizeof *r->heap))
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu pairs", r->n_heap);
    push(r, p);
    return LAR_OK;
}

lar_status lar__tok_merge(const lar_tokenizer *t, lar_tok_run *r, const char *text,
                          lar_pair_fn *pair, lar_err *e)
{
    r->n_heap = 0;
    for (size_t i = 0; i + 1 < r->n_sym; i++)
        LAR_TRY(offer(t, r, text, pair, (int32_t)i, e));
    while (r->n_heap) {
        lar_pair p = pop(r);
        int32_t left = (int32_t)(uint32_t)p.key;
        lar_sym *a = &r->sym[left], *b = &r->sym[p.right];
        /* Either has been merged since: the pair is no longer there. */
        if (!a->len || !b->len || a->len + b->len != p.len)
            continue;
        a->len = p.len;
        a->id = p.id;
        a->next = b->next;
        b->len = 0;
        if (a->next >= 0)
            r->sym[a->next].prev = left;
        LAR_TRY(offer(t, r, text, pair, a->prev, e));
        LAR_TRY(offer(t, r, text, pair, left, e));
    }
    return LAR_OK;
}

lar_status lar__tok_put_bytes(const lar_tokenizer *t, lar_tok_run *r, const char *p, size_t n,
                              bool unk, lar_err *e)
{
    bool missing = false;
    for (size_t i = 0; i < n; i++) {
        int32_t id = t->byte_id[(uint8_t)p[i]];
        if (id >= 0)
            LAR_TRY(lar_ids_add(r->ids, id, e));
        else
            missing = true;
    }
    return missing && unk && t->v.unk >= 0 ? lar_ids_add(r->ids, t->v.unk, e) : LAR_OK;
}

void lar__tok_escape(lar_buf *b, const char *p, size_t n)
{
    while (n) {
        const char *space = memchr(p, ' ', n);
        size_t k = space ? (size_t)(space - p) : n;
        lar_buf_add(b, p, k);
        if (space)
            lar_buf_add(b, "\xe2\x96\x81", 3);
        p += k + (space ? 1 : 0);
        n -= k + (space ? 1 : 0);
    }
}
