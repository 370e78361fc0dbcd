/*
 * detok.c - token ids back to text, one at a time: the spelling of tokens undone, the space that
 * SentencePiece put at the start taken away, characters held back until they are whole. Depends on
 * base, tok_part.h.
 */
#include "text/tok_part.h"
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

void lar_detok_init(lar_detok *d, const lar_tokenizer *t, bool special)
{
    memset(d, 0, sizeof *d);
    d->t = t;
    d->special = special;
    d->clean = t->v.clean_spaces;
}

bool lar_tokenizer_drops_space(const lar_tokenizer *t)
{
    return t->v.add_space_prefix || t->def == &lar__tok_wordpiece;
}

/* ---- clean_spaces: BERT's way of writing, with the space before a mark taken away
 * ----------------- */

static const struct {
    const char *from, *to;
} cleaned[] = {{" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
               {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};

static void put_clean(lar_detok *d, char c, lar_buf *out)
{
    d->space[d->n_space++] = c;
    while (d->n_space) {
        bool open = false;
        for (size_t i = 0; i < LAR_LEN(cleaned); i++) {
            size_t n = strlen(cleaned[i].from);
            if (d->n_space > n || memcmp(d->space, cleaned[i].from, d->n_space) != 0)
                continue;
            open = true;
            if (d->n_space == n) {
                lar_buf_puts(out, cleaned[i].to);
                d->n_space = 0;
                return;
            }
        }
        if (open)
            return;
        lar_buf_putc(out, d->space[0]);
        memmove(d->space, d->space + 1, --d->n_space);
    }
}

/* ---- whole characters
 * --------------------------------------------------------------------------------- */

static void put_text(lar_detok *d, const char *p, size_t n, lar_buf *out)
{
    if (!d->clean)
        lar_buf_add(out, p, n);
    for (size_t i = 0; d->clean && i < n; i++)
        put_clean(d, p[i], out);
}

static void put_byte(lar_detok *d, char c, lar_buf *out)
{
    d->held[d->n_held++] = c;
    if (lar_utf8_decode(d->held, d->n_held, NULL) == d->n_held) {
        put_text(d, d->held, d->n_held, out);
        d->n_held = 0;
    } else if (lar_utf8_incomplete(d->held, d->n_held) != d->n_held) {
        /* What was held cannot be completed; this byte may begin something new. */
        bool retry = d->n_held > 1;
        d->n_held = 0;
        put_text(d, REPLACEMENT, 3, out);
        if (retry)
            put_byte(d, c, out);
    }
}

static void put_bytes(lar_detok *d, const char *p, size_t n, lar_buf *out)
{
    if (n == 0)
        return;
    if (!d->started && *p == ' ' && lar_tokenizer_drops_space(d->t)) {
        p++;
        n--;
    }
    d->started = true;
    if (d->raw)
        lar_buf_add(out, p, n);
    for (size_t i = 0; !d->raw && i < n; i++)
        put_byte(d, p[i], out);
}

/* ---- spellings
 * ------------------------------------------------------------------------------------------ */

static void put_byte_level(lar_detok *d, lar_str s, lar_buf *out)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = 0;
        int k = lar_utf8_decode(s.p + i, s.n - i, &cp);
        int b = k && cp < 512 ? d->t->char_byte[cp] : -1;
        if (b >= 0)
            put_bytes(d, &(char){(char)(uint8_t)b}, 1, out);
        else
            put_bytes(d, s.p + i, k ? (size_t)k : 1, out);
        i += k ? (size_t)k : 1;
    }
}

static void put_spaced(lar_detok *d, lar_str s, lar_buf *out)
{
    for (size_t i = 0; i < s.n;) {
        bool space = s.n - i >= 3 && memcmp(s.p + i, "\xe2\x96\x81", 3) == 0;
        put_bytes(d, space ? " " : s.p + i, 1, out);
        i += space ? 3 : 1;
    }
}

void lar_detok_put(lar_detok *d, int32_t id, lar_buf *out)
{
    const lar_tokenizer *t = d->t;
    if (id < 0 || (size_t)id >= t->v.n_tokens)
        return;
    lar_str s = t->v.tokens[id];
    int type = lar__tok_type(t, id), byte = type == LAR_TOKEN_BYTE ? lar__tok_byte_value(s) : -1;
    bool control = type == LAR_TOKEN_CONTROL || type == LAR_TOKEN_UNKNOWN;
    if (control && !d->special)
        return;
    if (control || (type == LAR_TOKEN_USER && t->byte_level))
        put_bytes(d, s.p, s.n, out);
    else if (byte >= 0)
        put_bytes(d, &(char){(char)(uint8_t)byte}, 1, out);
    else if (t->byte_level)
        put_byte_level(d, s, out);
    else
        put_spaced(d, s, out);
}

void lar_detok_end(lar_detok *d, lar_buf *out)
{
    if (d->n_held)
        put_text(d, REPLACEMENT, 3, out);
    lar_buf_add(out, d->space, d->n_space);
    d->n_held = d->n_space = 0;
    d->started = false;
}
