/*
 * tok_bpe.c - byte-pair encoding by a list of merges: byte-level ("gpt2" in GGUF) or over UTF-8
 * characters with byte tokens for the rest ("gemma4" and a few pre-tokenizers). Words are cut by
 * the pre-tokenizer; in each, the pair that stands earliest in the list of merges is merged, the
 * leftmost first, until none is left. Depends on base, tok_part.h.
 */
#include "text/tok_part.h"
#include <string.h>

/* Words up to this many symbols are merged by scanning, longer ones by the queue. */
#define SHORT_WORD 32

typedef struct bpe_merge {
    uint64_t key; /* (left id << 32 | right id) + 1; 0: empty */
    uint32_t rank;
    int32_t id;
} bpe_merge;
typedef struct bpe {
    bpe_merge *merge;
    size_t cap;
} bpe;

/* Short words: the ranks of all neighbours. */
typedef struct bpe_word {
    int n;
    int32_t id[SHORT_WORD];
    uint32_t rank[SHORT_WORD]; /* of (i, i+1) */
    int32_t to[SHORT_WORD];
    uint32_t off[SHORT_WORD + 1];
} bpe_word;

static inline size_t merge_slot(const bpe *b, uint64_t key)
{
    uint64_t h = key * 0x9e3779b97f4a7c15u;
    return (h ^ h >> 32) & (b->cap - 1);
}

static const bpe_merge *find_merge(const bpe *b, int32_t left, int32_t right)
{
    if (left < 0 || right < 0)
        return NULL;
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
    for (size_t i = merge_slot(b, key); b->merge[i].key; i = (i + 1) & (b->cap - 1))
        if (b->merge[i].key == key)
            return &b->merge[i];
    return NULL;
}

/* "left right"; neither may be empty. A left part may itself begin with a space. */
static bool split_merge(lar_str m, lar_str *left, lar_str *right)
{
    const char *space = m.n > 2 ? memchr(m.p + 1, ' ', m.n - 1) : NULL;
    if (!space || space + 1 == m.p + m.n)
        return false;
    *left = (lar_str){m.p, (size_t)(space - m.p)};
    *right = (lar_str){space + 1, m.n - left->n - 1};
    return true;
}

static bool is_concat(lar_str s, lar_str a, lar_str b)
{
    return s.n == a.n + b.n && memcmp(s.p, a.p, a.n) == 0 && memcmp(s.p + a.n, b.p, b.n) == 0;
}

/* Most lists make tokens in the order of their ids, so the next id is tried before the table. */
static lar_status find_concat(const lar_tokenizer *t, lar_str a, lar_str b, int32_t guess,
                              lar_buf *tmp, int32_t *id, lar_err *e)
{
    *id = guess;
    if (guess >= 0 && (size_t)guess < t->v.n_tokens && is_concat(t->v.tokens[guess], a, b) &&
        lar__tok_plain(t, guess))
        return LAR_OK;
    lar_buf_clear(tmp);
    lar_buf_add(tmp, a.p, a.n);
    lar_buf_add(tmp, b.p, b.n);
    if (tmp->oom)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for merges");
    *id = lar__tok_find_plain(t, tmp->p, tmp->n);
    return LAR_OK;
}

/* A merge whose parts or result are no tokens of plain text (a control token among them) can never
 * apply. */
static lar_status add_merge(lar_tokenizer *t, bpe *b, size_t i, int32_t *guess, lar_buf *tmp,
                            lar_err *e)
{
    lar_str l, r;
    if (!split_merge(t->v.merges[i], &l, &r))
        return lar_fail(e, LAR_EFORMAT,
                        "tokenizer.ggml.merges[%zu]: \"%.*s\", want two parts with a space between",
                        i, (int)LAR_MIN(t->v.merges[i].n, 40),
                        t->v.merges[i].p ? t->v.merges[i].p : "");
    int32_t left = lar__tok_find_plain(t, l.p, l.n), right = lar__tok_find_plain(t, r.p, r.n);
    if (left < 0 || right < 0)
        return LAR_OK;
    int32_t id;
    LAR_TRY(find_concat(t, l, r, *guess, tmp, &id, e));
    if (id < 0)
        return LAR_OK;
    *guess = id + 1;
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
    size_t s = merge_slot(b, key);
    for (int probe = 0; b->merge[s].key; s = (s + 1) & (b->cap - 1)) {
        if (b->merge[s].key == key)
            return LAR_OK; /* the first counts */
        if (++probe > 4096)
            return lar_fail(e, LAR_EFORMAT,
                            "tokenizer.ggml.merges: more than 4096 collide at merge %zu", i);
    }
    b->merge[s] = (bpe_merge){.key = key, .rank = (uint32_t)i, .id = id};
    return LAR_OK;
}

static void bpe_free(lar_tokenizer *t)
{
    bpe *b = t->impl;
    if (b)
        lar_free(b->merge);
    lar_free(b);
    t->impl = NULL;
}

static lar_status bpe_init(lar_tokenizer *t, lar_err *e)
{
    lar_buf tmp = {0};
    int32_t guess = 0;
    lar_status st = LAR_OK;
    if (t->v.n_merges > INT32_MAX)
        return lar_fail(e, LAR_EFORMAT, "tokenizer.ggml.merges: %zu of them", t->v.n_merges);
    bpe *b = t->impl = lar_alloc(sizeof *b);
    if (!b)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    b->cap = 16;
    while (b->cap < t->v.n_merges + t->v.n_merges / 2)
        b->cap *= 2;
    b->merge = lar_alloc_array(b->cap, sizeof *b->merge);
    if (!b->merge)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu merges", t->v.n_merges);
    for (size_t i = 0; st == LAR_OK && i < t->v.n_merges; i++)
        st = add_merge(t, b, i, &guess, &tmp, e);
    lar_buf_free(&tmp);
    return st;
}

/* ---- one word
 * ------------------------------------------------------------------------------------- */

static void rank_pair(const bpe *b, bpe_word *w, int i)
{
    const bpe_merge *m = i >= 0 && i + 1 < w->n ? find_merge(b, w->id[i], w->id[i + 1]) : NULL;
    if (i < 0)
        return;
    w->rank[i] = m ? m->rank : UINT32_MAX;
    w->to[i] = m ? m->id : -1;
}

static lar_status put(const lar_tokenizer *t, lar_tok_run *r, int32_t id, const char *p, size_t n,
                      lar_err *e)
{
    return id >= 0 ? lar_ids_add(r->ids, id, e) : lar__tok_put_bytes(t, r, p, n, true, e);
}

static lar_status short_word(const lar_tokenizer *t, lar_tok_run *r, bpe_word *w, const char *text,
                             lar_err *e)
{
    const bpe *b = t->impl;
    for (int i = 0; i < w->n; i++)
        rank_pair(b, w, i);
    for (;;) {
        int best = 0;
        for (int i = 1; i + 1 < w->n; i++)
            if (w->rank[i] < w->rank[best])
                best = i;
        if (w->n < 2 || w->rank[best] == UINT32_MAX)
            break;
        w->id[best] = w->to[best];
        int tail = w->n - best - 2;
        memmove(&w->id[best + 1], &w->id[best + 2], (size_t)tail * sizeof *w->id);
        memmove(&w->rank[best + 1], &w->rank[best + 2], (size_t)tail * sizeof *w->rank);
        memmove(&w->to[best + 1], &w->to[best + 2], (size_t)tail * sizeof *w->to);
        memmove(&w->off[best + 1], &w->off[best + 2], (size_t)(tail + 1) * sizeof *w->off);
        w->n--;
        rank_pair(b, w, best - 1);
        rank_pair(b, w, best);
    }
    for (int i = 0; i < w->n; i++)
        LAR_TRY(put(t, r, w->id[i], text + w->off[i], w->off[i + 1] - w->off[i], e));
    return LAR_OK;
}

static bool bpe_pair(const lar_tokenizer *t, const char *text, const lar_sym *l, const lar_sym *r,
                     uint32_t *order, int32_t *id)
{
    (void)text;
    const bpe_merge *m = find_merge(t->impl, l->id, r->id);
    if (!m)
        return false;
    *order = m->rank;
    *id = m->id;
    return true;
}

/* The symbol at text[i]: a byte, or without the byte alphabet a character. */
static size_t first_symbol(const lar_tokenizer *t, const char *p, size_t n, int32_t *id)
{
    if (t->byte_level) {
        *id = t->byte_id[(uint8_t)*p];
        return 1;
    }
    int len = lar_utf8_decode(p, n, NULL);
    *id = len ? lar__tok_find_plain(t, p, (size_t)len) : -1;
    return len ? (size_t)len : 1;
}

/* The token that a whole word is, or -1. */
static int32_t whole_word(const lar_tokenizer *t, const char *p, size_t n)
{
    if (n > LAR_TOK_MAX_MATCH)
        return -1;
    if (!t->byte_level)
        return lar__tok_find_plain(t, p, n);
    char buf[2 * LAR_TOK_MAX_MATCH + 4], *q = buf;
    for (size_t i = 0; i < n; i++)
        q += lar_utf8_encode(t->byte_char[(uint8_t)p[i]], q);
    return lar__tok_find_plain(t, buf, (size_t)(q - buf));
}

static lar_status encode_word(const lar_tokenizer *t, lar_tok_run *r, const char *p, size_t n,
                              lar_err *e)
{
    bpe_word w;
    size_t i = 0;
    bool newlines = !t->byte_level && p[0] == '\n'; /* Gemma 4 has runs of newlines as tokens */
    if (t->v.ignore_merges || newlines) {
        int32_t id = whole_word(t, p, n);
        if (id >= 0)
            return lar_ids_add(r->ids, id, e);
    }
    for (w.n = 0; i < n && w.n < SHORT_WORD; w.n++) {
        w.off[w.n] = (uint32_t)i;
        i += first_symbol(t, p + i, n - i, &w.id[w.n]);
    }
    if (i == n) {
        w.off[w.n] = (uint32_t)n;
        return short_word(t, r, &w, p, e);
    }
    r->n_sym = 0;
    for (i = 0; i < n;) {
        int32_t id;
        size_t len = first_symbol(t, p + i, n - i, &id);
        LAR_TRY(lar__tok_sym(r, i, len, id, e));
        i += len;
    }
    LAR_TRY(lar__tok_merge(t, r, p, bpe_pair, e));
    for (int32_t s = 0; s >= 0; s = r->sym[s].next)
        LAR_TRY(put(t, r, r->sym[s].id, p + r->sym[s].off, r->sym[s].len, e));
    return LAR_OK;
}

static lar_status bpe_encode(const lar_tokenizer *t, lar_tok_run *r, const char *p, size_t n,
                             lar_err *e)
{
    if (t->v.escape_whitespaces) {
        lar_buf_clear(&r->text);
        lar__tok_escape(&r->text, p, n);
        if (r->text.oom)
            return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu bytes of text", n);
        p = r->text.p;
        n = r->text.n;
    }
    LAR_TRY(lar__splitter_cut(t->splitter, &r->split, p, n, &r->cuts, e));
    size_t begin = 0;
    for (size_t i = 0; i < r->cuts.n; i++) {
        LAR_TRY(encode_word(t, r, p + begin, r->cuts.end[i] - begin, e));
        begin = r->cuts.end[i];
    }
    return LAR_OK;
}

const lar_tok_def lar__tok_bpe = {
    .model = "gpt2",
    .bos = 0,
    .eos = 0,
    .sep = 0,
    .space_prefix = 0,
    .clean_spaces = 0,
    .byte_level = true,
    .pretokenizes = true,
    .id_bos = -1,
    .id_eos = -1,
    .id_unk = -1,
    .id_sep = -1,
    .id_pad = -1,
    .init = bpe_init,
    .free = bpe_free,
    .encode = bpe_encode,
};
const lar_tok_def lar__tok_gemma4 = {
    .model = "gemma4",
    .bos = 1,
    .eos = 0,
    .sep = 0,
    .space_prefix = 0,
    .clean_spaces = 0,
    .byte_level = true,
    .pretokenizes = true,
    .id_bos = -1,
    .id_eos = -1,
    .id_unk = -1,
    .id_sep = -1,
    .id_pad = -1,
    .init = bpe_init,
    .free = bpe_free,
    .encode = bpe_encode,
};
