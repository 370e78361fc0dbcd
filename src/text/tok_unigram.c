/*
 * tok_unigram.c - SentencePiece unigram ("t5" in GGUF): the text is normalized by the file's
 * character map, then cut so that the sum of the tokens' log probabilities is the highest
 * (Viterbi). Depends on base, tok_part.h.
 *
 * The character map (SentencePiece's precompiled_charsmap): a u32 with the bytes of a double array
 * that follows, then NUL-terminated replacements. A unit of the array: bits 0-7 the label (bit 31
 * marks a value), bit 8 says that a value hangs at the node, bits 10-30 the offset to the children,
 * times 256 if bit 9 is set (the format of Darts-clone). The longest prefix of the text with a
 * value is replaced.
 */
#include "text/tok_part.h"
#include <float.h>
#include <string.h>

#define MAX_REPLACEMENT 4096
#define UNKNOWN_PENALTY 10.0

typedef struct unigram {
    lar_trie trie;
    double unknown;      /* score of a character that is no token */
    const uint8_t *unit; /* u32 each, little-endian, unaligned */
    size_t n_unit;
    const char *text; /* replacements */
    size_t n_text;
    bool bytes; /* there is a token for every byte */
} unigram;

/* The best way to reach a byte of the text. Sums are double, as in the tokenizers library;
 * SentencePiece itself sums in float, so that equally good cuts may come out the other way round
 * there. */
typedef struct cell {
    double score;
    size_t prev, next;
    int32_t id; /* of the token that ends here; -1: an unknown character */
} cell;

static void unigram_free(lar_tokenizer *t)
{
    unigram *u = t->impl;
    if (u)
        lar__trie_free(&u->trie);
    lar_free(u);
    t->impl = NULL;
}

static lar_status open_charsmap(unigram *u, const lar_vocab *v, lar_err *e)
{
    if (!v->charsmap || v->charsmap_bytes == 0)
        return LAR_OK;
    size_t n = v->charsmap_bytes;
    uint32_t array = n >= 4 ? lar_u32(v->charsmap) : 0;
    if (n < 4 || array % 4 != 0 || array > n - 4)
        return lar_fail(e, LAR_EFORMAT,
                        "tokenizer.ggml.precompiled_charsmap: an array of %u bytes in %zu bytes",
                        (unsigned)array, n);
    u->unit = v->charsmap + 4;
    u->n_unit = array / 4;
    u->text = (const char *)v->charsmap + 4 + array;
    u->n_text = n - 4 - array;
    return LAR_OK;
}

static lar_status unigram_init(lar_tokenizer *t, lar_err *e)
{
    unigram *u = t->impl = lar_alloc(sizeof *u);
    double lowest = DBL_MAX;
    if (!u)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    if (!t->v.scores)
        return lar_fail(e, LAR_EFORMAT,
                        "tokenizer.ggml.scores: missing, but a unigram tokenizer needs them");
    LAR_TRY(open_charsmap(u, &t->v, e));
    for (size_t i = 0; i < t->v.n_tokens; i++) {
        double score = t->v.scores[i];
        if (!(score >= -FLT_MAX && score <= FLT_MAX))
            return lar_fail(e, LAR_EFORMAT, "tokenizer.ggml.scores[%zu]: not a finite number", i);
        if (lar__tok_type(t, (int32_t)i) == LAR_TOKEN_NORMAL && score < lowest)
            lowest = score;
        if (lar__tok_plain(t, (int32_t)i))
            LAR_TRY(lar__trie_add(&u->trie, t->v.tokens[i].p, t->v.tokens[i].n, (int32_t)i, e));
    }
    u->unknown = (lowest < DBL_MAX ? lowest : 0.0) - UNKNOWN_PENALTY;
    u->bytes = true;
    for (int b = 0; b < 256; b++)
        u->bytes = u->bytes && t->byte_id[b] >= 0;
    return LAR_OK;
}

/* ---- normalizing
 * ----------------------------------------------------------------------------------- */

/* Bytes of the longest prefix that the map replaces, 0 if none. */
static size_t map_prefix(const unigram *u, const char *p, size_t n, size_t *value)
{
    size_t found = 0;
    if (u->n_unit == 0)
        return 0;
    uint32_t unit = lar_u32(u->unit);
    size_t at = (size_t)(unit >> 10) << ((unit & 512) >> 6);
    for (size_t i = 0; i < n && p[i]; i++) {
        at ^= (uint8_t)p[i];
        if (at >= u->n_unit)
            break;
        unit = lar_u32(u->unit + 4 * at);
        if ((unit & (0x80000000u | 0xff)) != (uint8_t)p[i])
            break;
        at ^= (size_t)(unit >> 10) << ((unit & 512) >> 6);
        if (!(unit & 256))
            continue;
        if (at >= u->n_unit)
            break;
        *value = lar_u32(u->unit + 4 * at) & 0x7fffffffu;
        found = i + 1;
    }
    return found;
}

typedef struct spaces {
    bool prepend,
        merge; /* put one before the first word; runs count as one, those at the ends as none */
    bool prepended, in_word;
    const char *as;
} spaces;

static void add_normalized(lar_buf *out, spaces *s, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == ' ') {
            s->in_word = false;
            if (!s->merge)
                lar_buf_puts(out, s->as);
            continue;
        }
        if (!s->in_word) {
            s->in_word = true;
            bool first = !s->prepended;
            s->prepended = true;
            if ((s->prepend && first) || (s->merge && !first))
                lar_buf_puts(out, s->as);
        }
        lar_buf_putc(out, p[i]);
    }
}

static lar_status normalize(const lar_tokenizer *t, lar_buf *out, const char *p, size_t n,
                            lar_err *e)
{
    const unigram *u = t->impl;
    spaces s = {.prepend = t->v.add_space_prefix == 1, .merge = t->v.remove_extra_whitespaces == 1};
    s.as = t->v.escape_whitespaces ? "\xe2\x96\x81" : " ";
    lar_buf_clear(out);
    for (size_t i = 0; i < n && !out->oom;) {
        size_t value = 0, used = map_prefix(u, p + i, LAR_MIN(n - i, LAR_TOK_MAX_MATCH), &value);
        if (used) {
            size_t room = value < u->n_text ? LAR_MIN(u->n_text - value, MAX_REPLACEMENT) : 0;
            const char *end = room ? memchr(u->text + value, 0, room) : NULL;
            if (!end)
                return lar_fail(e, LAR_EFORMAT,
                                "tokenizer.ggml.precompiled_charsmap: a replacement at %zu of %zu "
                                "bytes has no end",
                                value, u->n_text);
            add_normalized(out, &s, u->text + value, (size_t)(end - (u->text + value)));
            i += used;
            continue;
        }
        int k = lar_utf8_decode(p + i, n - i, NULL);
        add_normalized(out, &s,
                       k          ? p + i
                       : u->bytes ? p + i
                                  : "\xef\xbf\xbd",
                       k          ? (size_t)k
                       : u->bytes ? 1
                                  : 3);
        i += k ? (size_t)k : 1;
    }
    if (n && s.prepend && !s.prepended && !s.merge) /* nothing but spaces */
        lar_buf_puts(out, s.as);
    return out->oom ? lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu bytes of text", n)
                    : LAR_OK;
}

/* ---- the best cut
 * ------------------------------------------------------------------------------------ */

static void reach(cell *to, double score, size_t from, int32_t id)
{
    if (score > to->score) {
        to->score = score;
        to->prev = from;
        to->id = id;
    }
}

static void viterbi(const lar_tokenizer *t, cell *c, const char *p, size_t n)
{
    const unigram *u = t->impl;
    for (size_t i = 0; i <= n; i++)
        c[i] = (cell){.score = -DBL_MAX, .id = -1};
    c[0].score = 0;
    for (size_t i = 0; i < n;) {
        int k = lar_utf8_decode(p + i, n - i, NULL);
        size_t len = k ? (size_t)k : 1;
        bool single = false;
        uint32_t node = 0;
        for (size_t j = i; j < n; j++) {
            node = lar__trie_next(&u->trie, node, (uint8_t)p[j]);
            if (!node)
                break;
            int32_t id = u->trie.id[node];
            if (id < 0)
                continue;
            single = single || j + 1 - i == len;
            double score = lar__tok_type(t, id) == LAR_TOKEN_USER ? 0.0 : (double)t->v.scores[id];
            reach(&c[j + 1], c[i].score + score, i, id);
        }
        if (!single)
            reach(&c[i + len], c[i].score + u->unknown, i, -1);
        i += len;
    }
}

static lar_status unigram_encode(const lar_tokenizer *t, lar_tok_run *r, const char *p, size_t n,
                                 lar_err *e)
{
    const unigram *u = t->impl;
    LAR_TRY(normalize(t, &r->text, p, n, e));
    p = r->text.p;
    n = r->text.n;
    if (n == 0)
        return LAR_OK;
    if (n > SIZE_MAX / sizeof(cell) - 2 || !lar_grow(&r->best, &r->cap_best, n + 1, sizeof(cell)))
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu bytes of text", n);
    cell *c = r->best;
    viterbi(t, c, p, n);
    for (size_t i = n; i > 0; i = c[i].prev)
        c[c[i].prev].next = i;
    bool was_unknown = false;
    for (size_t i = 0; i < n; i = c[i].next) {
        const cell *to = &c[c[i].next];
        bool unknown = to->id < 0;
        if (unknown && u->bytes)
            LAR_TRY(lar__tok_put_bytes(t, r, p + i, c[i].next - i, false, e));
        else if (!unknown ||
                 (!was_unknown && t->v.unk >= 0)) /* a run of unknown characters is one token */
            LAR_TRY(lar_ids_add(r->ids, unknown ? t->v.unk : to->id, e));
        was_unknown = unknown;
    }
    return LAR_OK;
}

const lar_tok_def lar__tok_unigram = {
    .model = "t5",
    .bos = 0,
    .eos = 1,
    .sep = 0,
    .space_prefix = 0,
    .clean_spaces = 0,
    .id_bos = -1,
    .id_eos = 1,
    .id_unk = 2,
    .id_sep = -1,
    .id_pad = 0,
    .init = unigram_init,
    .free = unigram_free,
    .encode = unigram_encode,
};
