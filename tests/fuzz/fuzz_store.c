/*
 * fuzz_store.c - any bytes as what the store reads from others: a journal, a list of chunks, a
 * hub's list of files, a manifest. What is taken fits together. Depends on source.h.
 */
#include "store/source.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void read_journal(const char *text, size_t n)
{
    lar_pieces p;
    char head[160];
    size_t keep, done = 0;
    lar_journal_size(text, n);
    if (lar_pieces_even(300000, &p, NULL) != LAR_OK)
        return;
    lar_journal_head(&p, "", head);
    lar_journal_read(text, n, head, &p, &keep);
    for (size_t i = 0; i < p.n; i++)
        done += p.p[i].done;
    check(keep <= n && (keep || !done));
    lar_pieces_free(&p);
}

static void read_chunks(const char *text, size_t n)
{
    lar_pieces p;
    if (lar_pieces_read(text, n, 300000, &p, NULL) != LAR_OK) {
        check(!p.p && !p.n);
        return;
    }
    check(p.p[0].begin == 0 && p.p[p.n - 1].end == 300000);
    for (size_t i = 1; i < p.n; i++)
        check(p.p[i].begin == p.p[i - 1].end && p.p[i].end > p.p[i].begin);
    lar_pieces_free(&p);
}

static void read_offer(lar_status (*read)(const char *, size_t, lar_offer *, lar_err *),
                       const char *text, size_t n)
{
    lar_offer o = {0};
    lar_err e = {0};
    if (read(text, n, &o, &e) == LAR_OK && lar_offer_pick(&o, NULL, &e) == LAR_OK)
        for (size_t i = 0; i < o.n; i++)
            check(o.files[i].file && o.files[i].size > 0 &&
                  (!o.files[i].sha256[0] || lar__hex_is(o.files[i].sha256)));
    lar_offer_free(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *text = n ? (const char *)data : "";
    read_journal(text, n);
    read_chunks(text, n);
    read_offer(lar_hf_read, text, n);
    read_offer(lar_ollama_read, text, n);
    return 0;
}
