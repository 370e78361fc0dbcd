/*
 * tok_spm.c - SentencePiece byte-pair encoding ("llama" in GGUF): characters are merged into the
 * token with the highest score, the leftmost of equals; what is no token becomes byte tokens.
 * Depends on base, tok_part.h.
 */
#include "text/tok_part.h"
#include <string.h>

/* Higher scores come first; the order of IEEE 754 numbers is that of their bits, once negatives are
 * turned. */
static uint32_t order_of(float score)
{
    uint32_t u;
    if (score != score)
        return UINT32_MAX;
    score += 0.0f; /* -0 is 0 */
    memcpy(&u, &score, sizeof u);
    return u >> 31 ? u : ~(u | 0x80000000u);
}

static bool spm_pair(const lar_tokenizer *t, const char *text, const lar_sym *l, const lar_sym *r,
                     uint32_t *order, int32_t *id)
{
    if (l->len + r->len > LAR_TOK_MAX_MATCH)
        return false;
    *id = lar__tok_find_plain(t, text + l->off, l->len + r->len);
    if (*id < 0)
        return false;
    *order = order_of(t->v.scores ? t->v.scores[*id] : 0.0f);
    return true;
}

static lar_status put_symbols(const lar_tokenizer *t, lar_tok_run *r, const char *p, lar_err *e)
{
    bool was_unk = false;
    for (int32_t i = r->n_sym ? 0 : -1; i >= 0; i = r->sym[i].next) {
        const lar_sym *s = &r->sym[i];
        int32_t id = s->id >= 0 ? s->id : lar__tok_find_plain(t, p + s->off, s->len);
        bool unk = id < 0 && t->byte_id[(uint8_t)p[s->off]] < 0;
        if (id >= 0)
            LAR_TRY(lar_ids_add(r->ids, id, e));
        else if (!unk)
            LAR_TRY(lar__tok_put_bytes(t, r, p + s->off, s->len, true, e));
        else if (!was_unk && t->v.unk >= 0) /* a run of unknown characters is one token */
            LAR_TRY(lar_ids_add(r->ids, t->v.unk, e));
        was_unk = unk;
    }
    return LAR_OK;
}

static lar_status spm_encode(const lar_tokenizer *t, lar_tok_run *r, const char *p, size_t n,
                             lar_err *e)
{
    lar_buf_clear(&r->text);
    if (r->fresh && t->v.add_space_prefix)
        lar_buf_puts(&r->text, t->v.escape_whitespaces ? "\xe2\x96\x81" : " ");
    if (t->v.escape_whitespaces)
        lar__tok_escape(&r->text, p, n);
    else
        lar_buf_add(&r->text, p, n);
    if (r->text.oom)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu bytes of text", n);
    p = r->text.p;
    n = r->text.n;
    r->n_sym = 0;
    for (size_t i = 0; i < n;) {
        int len = lar_utf8_decode(p + i, n - i, NULL);
        len = LAR_MAX(len, 1);
        LAR_TRY(lar__tok_sym(r, i, (size_t)len, -1, e));
        i += (size_t)len;
    }
    LAR_TRY(lar__tok_merge(t, r, p, spm_pair, e));
    return put_symbols(t, r, p, e);
}

const lar_tok_def lar__tok_spm = {
    .model = "llama",
    .bos = 1,
    .eos = 0,
    .sep = 0,
    .space_prefix = 1,
    .clean_spaces = 0,
    .id_bos = 1,
    .id_eos = 2,
    .id_unk = 0,
    .id_sep = -1,
    .id_pad = -1,
    .encode = spm_encode,
};
