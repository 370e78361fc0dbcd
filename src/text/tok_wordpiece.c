/*
 * tok_wordpiece.c - BERT's WordPiece ("bert" in GGUF, where a token that begins a word is spelled
 * with U+2581 before it and a continuation bare): text is cleaned, lower-cased and stripped of
 * accents as BERT does, cut at white space, punctuation and CJK, and each word taken apart from the
 * left by the longest tokens; a word that does not come out even is unknown. Depends on base,
 * tok_part.h, utf8proc.
 */
#include "text/tok_part.h"
#include <string.h>
#include <utf8proc.h>

#define MAX_WORD 100 /* characters; BERT gives longer ones up as unknown */
#define SPACE "\xe2\x96\x81"

static void wordpiece_free(lar_tokenizer *t)
{
    if (t->impl)
        lar__trie_free(t->impl);
    lar_free(t->impl);
    t->impl = NULL;
}

static lar_status wordpiece_init(lar_tokenizer *t, lar_err *e)
{
    lar_trie *trie = t->impl = lar_alloc(sizeof *trie);
    if (!trie)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    for (size_t i = 0; i < t->v.n_tokens; i++)
        if (lar__tok_plain(t, (int32_t)i))
            LAR_TRY(lar__trie_add(trie, t->v.tokens[i].p, t->v.tokens[i].n, (int32_t)i, e));
    return LAR_OK;
}

static bool is_cjk(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) ||
           (c >= 0x2b920 && c <= 0x2ceaf) || /* as the tokenizers library has it, for 0x2b820 */
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static bool is_space(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return c == '\t' || c == '\n' || c == '\r' ||
           (k >= UTF8PROC_CATEGORY_ZS && k <= UTF8PROC_CATEGORY_ZP);
}

static bool is_punctuation(uint32_t c)
{
    if (c < 128)
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
               (c >= 123 && c <= 126);
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

static bool is_dropped(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return c == 0 || c == 0xfffd || k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF ||
           k == UTF8PROC_CATEGORY_CO;
}

/* The word stands in r->text behind SPACE; leaves r->text empty again. */
static lar_status end_word(const lar_tokenizer *t, lar_tok_run *r, size_t *chars, lar_err *e)
{
    size_t n = r->text.n, before = r->ids->n;
    if (*chars == 0)
        return LAR_OK;
    if (r->text.oom)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for a word of %zu bytes", n);
    bool whole = *chars <= MAX_WORD;
    for (size_t i = 0; whole && i < n;) {
        int32_t id = -1;
        size_t k = lar__trie_longest(t->impl, r->text.p + i, n - i, &id);
        whole = k > 0;
        if (whole)
            LAR_TRY(lar_ids_add(r->ids, id, e));
        i += k;
    }
    if (!whole) {
        r->ids->n = before;
        if (t->v.unk >= 0)
            LAR_TRY(lar_ids_add(r->ids, t->v.unk, e));
    }
    lar_buf_clear(&r->text);
    *chars = 0;
    return LAR_OK;
}

static void add_char(lar_tok_run *r, uint32_t c, size_t *chars)
{
    char u[4];
    if (*chars == 0)
        lar_buf_puts(&r->text, SPACE);
    if (*chars <= MAX_WORD) /* what follows does not count */
        lar_buf_add(&r->text, u, (size_t)lar_utf8_encode(c, u));
    ++*chars;
}

/* One character after decomposition. */
static lar_status take(const lar_tokenizer *t, lar_tok_run *r, uint32_t c, size_t *chars,
                       lar_err *e)
{
    if (t->v.strip_accents && utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN)
        return LAR_OK;
    if (t->v.lowercase)
        c = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    if (!is_punctuation(c)) {
        add_char(r, c, chars);
        return LAR_OK;
    }
    LAR_TRY(end_word(t, r, chars, e));
    add_char(r, c, chars);
    return end_word(t, r, chars, e);
}

static lar_status wordpiece_encode(const lar_tokenizer *t, lar_tok_run *r, const char *p, size_t n,
                                   lar_err *e)
{
    size_t chars = 0;
    lar_buf_clear(&r->text);
    for (size_t i = 0; i < n;) {
        uint32_t c = 0xfffd;
        int k = lar_utf8_decode(p + i, n - i, &c);
        i += k ? (size_t)k : 1;
        if (!k)
            continue;
        bool space = is_space(c), cjk = is_cjk(c);
        if (!space &&
            is_dropped(c)) /* the other controls, though some are white space to Unicode */
            continue;
        if (space || cjk)
            LAR_TRY(end_word(t, r, &chars, e));
        if (space)
            continue;
        utf8proc_int32_t d[32] = {(utf8proc_int32_t)c};
        utf8proc_ssize_t m = 1;
        if (t->v.strip_accents && c >= 128) {
            int bound = 0;
            m = utf8proc_decompose_char((utf8proc_int32_t)c, d, LAR_LEN(d), UTF8PROC_DECOMPOSE,
                                        &bound);
        }
        if (m < 1 || m > (utf8proc_ssize_t)LAR_LEN(d)) {
            d[0] = (utf8proc_int32_t)c;
            m = 1;
        }
        for (utf8proc_ssize_t j = 0; j < m; j++)
            LAR_TRY(take(t, r, (uint32_t)d[j], &chars, e));
        if (cjk)
            LAR_TRY(end_word(t, r, &chars, e));
    }
    return end_word(t, r, &chars, e);
}

const lar_tok_def lar__tok_wordpiece = {
    .model = "bert",
    .bos = 1,
    .eos = 0,
    .sep = 1,
    .space_prefix = 0,
    .clean_spaces = 1,
    .id_bos = 101,
    .id_eos = -1,
    .id_unk = 100,
    .id_sep = 102,
    .id_pad = 0,
    .init = wordpiece_init,
    .free = wordpiece_free,
    .encode = wordpiece_encode,
};
