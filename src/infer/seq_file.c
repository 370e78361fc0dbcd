/*
 * seq_file.c - a sequence in a file: header, tokens, then K and V page by page and layer by layer
 * as they lie in memory, the states layer by layer, then a checksum. Good only for the same model,
 * numerics version and KV type, which the header names.
 */
#include "base/os.h"
#include "infer/part.h"
#include "ops/kv_page.h"
#include <string.h>

enum { HEADER = 64 };
static const char magic[8] = "LARSEQ2";

typedef struct header {
    uint64_t identity, n_tokens, page_bytes, state_bytes;
    uint32_t numerics, kv_type, page, n_rows;
} header;

static header header_of(const lar_seq *s)
{
    const lar_engine *en = s->en;
    return (header){.identity = en->net->identity,
                    .n_tokens = (uint64_t)s->n,
                    .page_bytes = en->page_bytes,
                    .state_bytes = s->n ? en->state_bytes : 0,
                    .numerics = LAR_NUMERICS,
                    .kv_type = en->opts.kv_type->id,
                    .page = LAR_PAGE,
                    .n_rows = (uint32_t)en->n_rows};
}

static void pack(uint8_t *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static void pack_header(const header *h, uint8_t out[HEADER])
{
    memset(out, 0, HEADER);
    memcpy(out, magic, 8);
    pack(out + 8, h->identity, 8);
    pack(out + 16, h->n_tokens, 8);
    pack(out + 24, h->page_bytes, 8);
    pack(out + 32, h->numerics, 4);
    pack(out + 36, h->kv_type, 4);
    pack(out + 40, h->page, 4);
    pack(out + 44, h->n_rows, 4);
    pack(out + 48, h->state_bytes, 8);
}

typedef struct writer {
    lar_file *f;
    uint64_t sum;
} writer;

static lar_status put(writer *w, const void *p, size_t n, lar_err *e)
{
    w->sum = lar_random(w->sum, lar_hash64(p, n));
    return lar_file_write(w->f, p, n, e);
}

/* One page of a cache [dim, LAR_PAGE, heads, pages], of which `cells` are this sequence's: what
 * others left in the rest goes into no file. */
static lar_status put_page(const lar_tensor *c, bool keys, int32_t page, int cells, char *buf,
                           writer *w, lar_err *e)
{
    const char *from = (const char *)c->data + (size_t)page * c->stride[3];
    memset(buf, 0, c->stride[3]);
    for (int64_t h = 0; h < c->dim[2]; h++)
        lar_kv_copy_cells(c, keys, cells, from + (size_t)h * c->stride[2],
                          buf + (size_t)h * c->stride[2]);
    return put(w, buf, c->stride[3], e);
}

static lar_status put_pages(const lar_seq *s, char *buf, writer *w, lar_err *e)
{
    const lar_engine *en = s->en;
    for (int i = 0; i * LAR_PAGE < s->n; i++) { /* a failed step may have left more pages */
        const int cells = LAR_MIN(LAR_PAGE, s->n - i * LAR_PAGE);
        for (int l = 0; l < lar_net_n_caches(en->net); l++) { /* as in en->rows */
            if (en->k[l])
                LAR_TRY(put_page(en->k[l], true, s->page[i], cells, buf, w, e));
            if (en->v[l])
                LAR_TRY(put_page(en->v[l], false, s->page[i], cells, buf, w, e));
        }
    }
    return LAR_OK;
}

static lar_status put_states(const lar_seq *s, writer *w, lar_err *e)
{
    for (int l = 0; s->n && l < lar_net_n_caches(s->en->net); l++)
        if (s->en->state[l])
            LAR_TRY(put(w, lar__state(s, l, s->turn), s->en->state[l]->stride[1], e));
    return LAR_OK;
}

static lar_status put_all(const lar_seq *s, writer *w, lar_err *e)
{
    const lar_engine *en = s->en;
    const header h = header_of(s);
    uint8_t buf[HEADER];
    pack_header(&h, buf);
    LAR_TRY(put(w, buf, HEADER, e));
    for (int i = 0; i < s->n; i++) {
        uint8_t b[4];
        pack(b, (uint32_t)s->tokens[i], 4);
        LAR_TRY(put(w, b, 4, e));
    }
    char *page = lar_alloc(LAR_MAX(en->page_bytes, 1)); /* more than the largest piece of it */
    if (!page)
        return lar_fail(e, LAR_ENOMEM, "session: out of memory");
    const lar_status st = put_pages(s, page, w, e);
    lar_free(page);
    LAR_TRY(st);
    LAR_TRY(put_states(s, w, e));
    pack(buf, w->sum, 8);
    return lar_file_write(w->f, buf, 8, e);
}

lar_status lar_seq_save(const lar_seq *s, const char *path, lar_err *e)
{
    writer w = {0};
    LAR_TRY(lar_file_create(path, &w.f, e));
    const lar_status st = put_all(s, &w, e);
    if (st != LAR_OK) {
        lar_file_abort(w.f);
        return st;
    }
    return lar_file_commit(w.f, e);
}

static lar_status check_header(const lar_seq *s, const char *path, const uint8_t *p, size_t size,
                               size_t *n_tokens, lar_err *e)
{
    const header want = header_of(s);
    if (size < HEADER || memcmp(p, magic, 8) != 0)
        return lar_fail(e, LAR_EFORMAT, "%s is not a saved session", path);
    const uint64_t id = lar_u64(p + 8), n = lar_u64(p + 16), bytes = lar_u64(p + 24);
    const uint32_t numerics = lar_u32(p + 32), type = lar_u32(p + 36);
    if (id != want.identity || lar_u32(p + 44) != want.n_rows)
        return lar_fail(e, LAR_EARG, "%s was saved with another model", path);
    if (numerics != want.numerics || lar_u32(p + 40) != want.page)
        return lar_fail(e, LAR_EARG, "%s has numerics version %u, want %u", path, numerics,
                        want.numerics);
    if (type != want.kv_type || bytes != want.page_bytes) {
        const lar_dtype *t = lar_dtype_by_id(type);
        return lar_fail(e, LAR_EARG, "%s has a KV cache of type %s, this session's is %s", path,
                        t ? t->name : "unknown", s->en->opts.kv_type->name);
    }
    if (n > (uint64_t)s->en->opts.ctx)
        return lar_fail(e, LAR_EFULL, "%s holds %llu tokens, this session's context is %d", path,
                        (unsigned long long)n, s->en->opts.ctx);
    const uint64_t pages = (n + LAR_PAGE - 1) / LAR_PAGE, states = n ? s->en->state_bytes : 0;
    if (lar_u64(p + 48) != states || size != HEADER + 4 * n + pages * bytes + states + 8)
        return lar_fail(e, LAR_EFORMAT, "%s is truncated or too long: %zu bytes for %llu tokens",
                        path, size, (unsigned long long)n);
    *n_tokens = (size_t)n;
    return LAR_OK;
}

/* The checksum over the same pieces as put() saw them; check_header found that they are there. */
uint64_t lar__seq_file_sum(const lar_seq *s, const uint8_t *p, size_t n, size_t n_tokens)
{
    const lar_engine *en = s->en;
    const uint8_t *states = p + n - 8 - (n_tokens ? en->state_bytes : 0);
    uint64_t sum = lar_random(0, lar_hash64(p, HEADER));
    p += HEADER;
    for (size_t i = 0; i < n_tokens; i++, p += 4)
        sum = lar_random(sum, lar_hash64(p, 4));
    while (p < states)
        for (int r = 0; r < en->n_rows; p += en->rows[r]->stride[3], r++)
            sum = lar_random(sum, lar_hash64(p, en->rows[r]->stride[3]));
    for (int l = 0; n_tokens && l < lar_net_n_caches(en->net); l++)
        if (en->state[l]) {
            sum = lar_random(sum, lar_hash64(p, en->state[l]->stride[1]));
            p += en->state[l]->stride[1];
        }
    return sum;
}

lar_status lar__seq_load_bytes(lar_seq *s, const char *path, const uint8_t *data, size_t size,
                               lar_err *e)
{
    lar_engine *en = s->en;
    size_t n = 0;
    LAR_TRY(check_header(s, path, data, size, &n, e));
    if (lar__seq_file_sum(s, data, size, n) != lar_u64(data + size - 8))
        return lar_fail(e, LAR_EFORMAT, "%s is damaged: the checksum does not fit", path);
    const uint8_t *p = data + HEADER;
    for (size_t i = 0; i < n; i++)
        if (lar_u32(p + 4 * i) >= en->net->hp.n_vocab)
            return lar_fail(e, LAR_EFORMAT, "%s: token %u at %zu, want below %u", path,
                            lar_u32(p + 4 * i), i, en->net->hp.n_vocab);
    lar_seq_truncate(s, 0);
    LAR_TRY(lar__seq_reserve(s, (int)n, e));
    for (size_t i = 0; i < n; i++, p += 4)
        s->tokens[i] = (int32_t)lar_u32(p);
    for (int i = 0; i < s->n_pages; i++)
        for (int r = 0; r < en->n_rows; p += en->rows[r]->stride[3], r++)
            memcpy((char *)en->rows[r]->data + (size_t)s->page[i] * en->rows[r]->stride[3], p,
                   en->rows[r]->stride[3]);
    s->turn = 0;
    for (int l = 0; n && l < lar_net_n_caches(en->net); l++)
        if (en->state[l]) {
            memcpy(lar__state(s, l, s->turn), p, en->state[l]->stride[1]);
            p += en->state[l]->stride[1];
        }
    s->n = (int)n;
    return LAR_OK;
}

lar_status lar_seq_load(lar_seq *s, const char *path, lar_err *e)
{
    lar_map m;
    LAR_TRY(lar_map_open(path, &m, e));
    const lar_status st = lar__seq_load_bytes(s, path, m.data, m.size, e);
    lar_map_close(&m);
    return st;
}
