/*
 * fetch.h - one file over HTTP into the store: by pieces, several connections, going on where an
 * earlier process stopped. Depends on part.h, http.h.
 */
#ifndef LAR_STORE_FETCH_H
#define LAR_STORE_FETCH_H
#include "store/http.h"
#include "store/part.h"

/* A piece is what is fetched again when something is wrong with it, and what the journal records.
 * `wanted`: the source gives its hash. */
typedef struct lar_piece {
    uint64_t begin, end;
    bool wanted, busy, done;
    uint8_t tries;
    uint8_t sha[LAR_SHA256];
} lar_piece;

typedef struct lar_pieces {
    lar_piece *p;
    size_t n;
} lar_pieces;
/* Of 64 KiB to 4 MiB, about a thousand. */
lar_status lar_pieces_even(uint64_t size, lar_pieces *out, lar_err *e);
/* "sha256:HEX BEGIN-LAST" a line, in order and without gaps, `size` bytes in all. */
lar_status lar_pieces_read(const char *text, size_t n, uint64_t size, lar_pieces *out, lar_err *e);
void lar_pieces_free(lar_pieces *p);

/* The journal: a line that says what the pieces are of, then "INDEX SHA256" for each that is
 * whole. Its first line: */
void lar_journal_head(const lar_pieces *p, const char *validator, char out[160]);
/* The size that a journal's first line names; 0: it is no journal. */
uint64_t lar_journal_size(const char *text, size_t n);
/* Marks done what the text records for these pieces. *keep: its bytes that are whole lines; 0: it
 * is of something else and says nothing. */
void lar_journal_read(const char *text, size_t n, const char *head, lar_pieces *p, size_t *keep);

typedef struct lar_fetch {
    const char *url, *token;
    const char *what;       /* for progress */
    uint64_t size;          /* 0: not known */
    const char *sha256;     /* NULL: not known */
    lar_pieces chunks;      /* with hashes; n == 0: none. Taken over */
    uint64_t before, total; /* of other files of the same model */
    const lar_pull_options *o;
} lar_fetch;

/* Into PARTIAL/KEY.part: whole and, where the hash is known, right; not yet synced. */
lar_status lar__fetch(lar_store *s, lar_http *h, const lar_fetch *f, const char *key,
                      uint8_t sha[LAR_SHA256], uint64_t *wire, lar_err *e);

#endif
