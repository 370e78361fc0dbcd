/* journal.c - pieces and the journal of those that are whole. Depends on fetch.h, libsodium. */
#include "store/fetch.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { PIECE_MIN = 64 << 10, PIECE_MAX = 4 << 20, PIECES = 1024, CHUNKS_MAX = 1 << 20 };

void lar_pieces_free(lar_pieces *p)
{
    lar_free(p->p);
    *p = (lar_pieces){0};
}

lar_status lar_pieces_even(uint64_t size, lar_pieces *out, lar_err *e)
{
    uint64_t each = PIECE_MIN;
    while (each < PIECE_MAX && size / each > PIECES)
        each *= 2;
    const uint64_t n = size / each + (size % each != 0);
    *out = (lar_pieces){0};
    if (size == 0 || n > UINT32_MAX)
        return lar_fail(e, LAR_EFORMAT, "a file of %llu bytes", (unsigned long long)size);
    if (!(out->p = lar_alloc_array((size_t)n, sizeof *out->p)))
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    for (; out->n < n; out->n++) {
        out->p[out->n].begin = out->n * each;
        out->p[out->n].end = LAR_MIN((out->n + 1) * each, size);
    }
    return LAR_OK;
}

/* ---- reading text ------------------------------------------------------------------------------
 */

typedef struct cursor {
    const char *p, *end;
} cursor;

static bool take_text(cursor *c, const char *s)
{
    const size_t n = strlen(s);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, s, n) != 0)
        return false;
    c->p += n;
    return true;
}

static bool take_number(cursor *c, uint64_t *out)
{
    const char *from = c->p;
    for (*out = 0; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
        if (!lar_u64_mul(*out, 10, out) || !lar_u64_add(*out, (uint64_t)(*c->p - '0'), out))
            return false;
    return c->p > from;
}

static bool take_sha(cursor *c, uint8_t sha[LAR_SHA256])
{
    size_t n;
    if ((size_t)(c->end - c->p) < LAR_SHA256_HEX - 1 ||
        sodium_hex2bin(sha, LAR_SHA256, c->p, LAR_SHA256_HEX - 1, NULL, &n, NULL) != 0 ||
        n != LAR_SHA256)
        return false;
    c->p += LAR_SHA256_HEX - 1;
    return true;
}

static void skip_blanks(cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\r' || *c->p == '\t'))
        c->p++;
}

lar_status lar_pieces_read(const char *text, size_t n, uint64_t size, lar_pieces *out, lar_err *e)
{
    cursor c = {text, text + n};
    size_t cap = 0;
    uint64_t at = 0, last;
    bool ok = true;
    *out = (lar_pieces){0};
    for (skip_blanks(&c); ok && c.p < c.end; skip_blanks(&c)) {
        lar_piece p = {.begin = at, .wanted = true};
        ok = take_text(&c, "sha256:") && take_sha(&c, p.sha);
        skip_blanks(&c);
        ok = ok && take_number(&c, &at) && at == p.begin && take_text(&c, "-") &&
             take_number(&c, &last) && last >= at && last < size && out->n < CHUNKS_MAX;
        if (!ok)
            break;
        at = p.end = last + 1;
        if (!lar_grow((void **)&out->p, &cap, out->n + 1, sizeof *out->p)) {
            lar_pieces_free(out);
            return lar_fail(e, LAR_ENOMEM, "out of memory");
        }
        out->p[out->n++] = p;
    }
    if (ok && at == size && out->n)
        return LAR_OK;
    lar_err where;
    lar_fail(&where, LAR_EFORMAT, "chunk %zu of the source's list is wrong", out->n);
    lar_pieces_free(out);
    return lar_fail(e, LAR_EFORMAT, "%s", where.msg);
}

/* ---- the journal -------------------------------------------------------------------------------
 */

void lar_journal_head(const lar_pieces *p, const char *validator, char out[160])
{
    crypto_hash_sha256_state h;
    uint8_t sha[LAR_SHA256];
    char hex[33];
    crypto_hash_sha256_init(&h);
    for (size_t i = 0; i < p->n; i++) {
        uint8_t end[8];
        for (int k = 0; k < 8; k++)
            end[k] = (uint8_t)(p->p[i].end >> 8 * k);
        crypto_hash_sha256_update(&h, end, sizeof end);
    }
    crypto_hash_sha256_update(&h, (const uint8_t *)validator, strlen(validator));
    crypto_hash_sha256_final(&h, sha);
    sodium_bin2hex(hex, sizeof hex, sha, 16);
    snprintf(out, 160, "lar-pull 1 %llu %s\n", (unsigned long long)(p->n ? p->p[p->n - 1].end : 0),
             hex);
}

uint64_t lar_journal_size(const char *text, size_t n)
{
    cursor c = {text, text + n};
    uint64_t size;
    return take_text(&c, "lar-pull 1 ") && take_number(&c, &size) && take_text(&c, " ") ? size : 0;
}

void lar_journal_read(const char *text, size_t n, const char *head, lar_pieces *p, size_t *keep)
{
    cursor c = {text, text + n};
    *keep = 0;
    if (!take_text(&c, head))
        return;
    *keep = (size_t)(c.p - text);
    for (;;) {
        uint64_t i;
        uint8_t sha[LAR_SHA256];
        if (!take_number(&c, &i) || !take_text(&c, " ") || !take_sha(&c, sha) ||
            !take_text(&c, "\n") || i >= p->n)
            return;
        *keep = (size_t)(c.p - text);
        if (p->p[i].wanted && memcmp(p->p[i].sha, sha, sizeof sha) != 0)
            continue;
        memcpy(p->p[i].sha, sha, sizeof sha);
        p->p[i].done = true;
    }
}
