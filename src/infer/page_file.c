/*
 * page_file.c - a whole page as bytes: a header of 64 bytes (magic, checksum, name, length), then K
 * and V layer by layer as they lie in memory. Depends on prefix.h.
 */
#include "infer/part.h"
#include "infer/prefix.h"
#include <string.h>

enum { HEADER = 64, AT_SUM = 8, AT_NAME = 16, AT_BYTES = 48 };
static const char magic[8] = "LARPAGE";

lar_page_kind lar_engine_page_kind(const lar_engine *en)
{
    return (lar_page_kind){.numerics = LAR_NUMERICS,
                           .layout = LAR_KV_LAYOUT,
                           .kv_type = en->opts.kv_type->id,
                           .page = LAR_PAGE,
                           .n_caches = (uint32_t)lar_net_n_caches(en->net),
                           .bytes = lar_page_file_bytes(en)};
}

size_t lar_page_file_bytes(const lar_engine *en)
{
    return HEADER + en->page_bytes;
}

/* All but magic and the sum itself. Four chains of lar_hash64's step side by side: a changed word
 * changes its chain, whatever follows. */
uint64_t lar__page_sum(const uint8_t *p, size_t n)
{
    uint64_t h[4] = {1, 2, 3, 4};
    p += AT_NAME;
    n -= AT_NAME;
    for (; n >= 32; n -= 32, p += 32)
        for (int i = 0; i < 4; i++) {
            h[i] = (h[i] ^ lar_u64(p + 8 * i)) * 0xD6E8FEB86659FD93ull;
            h[i] ^= h[i] >> 32;
        }
    return lar_random(lar_hash64(h, sizeof h), lar_hash64(p, n));
}

static void pack(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint8_t *page_of(const lar_tensor *c, int32_t page)
{
    return (uint8_t *)c->data + (size_t)page * c->stride[3];
}

void lar_page_pack(const lar_seq *s, int page, const uint8_t name[LAR_PAGE_NAME], uint8_t *out)
{
    const lar_engine *en = s->en;
    const size_t n = lar_page_file_bytes(en);
    memset(out, 0, HEADER);
    memcpy(out, magic, sizeof magic);
    memcpy(out + AT_NAME, name, LAR_PAGE_NAME);
    pack(out + AT_BYTES, n);
    uint8_t *p = out + HEADER;
    for (int i = 0; i < en->n_rows; p += en->rows[i]->stride[3], i++)
        memcpy(p, page_of(en->rows[i], s->page[page]), en->rows[i]->stride[3]);
    pack(out + AT_SUM, lar__page_sum(out, n));
}

static lar_status check(const lar_seq *s, const uint8_t name[LAR_PAGE_NAME], const uint8_t *p,
                        size_t n, lar_err *e)
{
    const size_t want = lar_page_file_bytes(s->en);
    if (n != want || lar_u64(p + AT_BYTES) != want || memcmp(p, magic, sizeof magic) != 0)
        return lar_fail(e, LAR_EFORMAT, "a page of %zu bytes, want %zu", n, want);
    if (memcmp(p + AT_NAME, name, LAR_PAGE_NAME) != 0)
        return lar_fail(e, LAR_EFORMAT, "a page of another name");
    if (lar_u64(p + AT_SUM) != lar__page_sum(p, n))
        return lar_fail(e, LAR_EFORMAT, "a damaged page: the checksum does not fit");
    return LAR_OK;
}

lar_status lar_page_unpack(lar_seq *s, const int32_t tokens[LAR_PAGE],
                           const uint8_t name[LAR_PAGE_NAME], const uint8_t *bytes, size_t n,
                           lar_err *e)
{
    lar_engine *en = s->en;
    if (lar_engine_has_state(en))
        return lar_fail(e, LAR_EUNSUPPORTED, "a page without the state behind it");
    if (s->n % LAR_PAGE || LAR_PAGE > en->opts.ctx - s->n)
        return lar_fail(e, LAR_EARG, "a page after %d of %d tokens", s->n, en->opts.ctx);
    LAR_TRY(check(s, name, bytes, n, e));
    LAR_TRY(lar__seq_reserve(s, LAR_PAGE, e));
    const uint8_t *p = bytes + HEADER;
    for (int i = 0; i < en->n_rows; p += en->rows[i]->stride[3], i++)
        memcpy(page_of(en->rows[i], s->page[s->n / LAR_PAGE]), p, en->rows[i]->stride[3]);
    memcpy(s->tokens + s->n, tokens, LAR_PAGE * sizeof *tokens);
    s->n += LAR_PAGE;
    return LAR_OK;
}
