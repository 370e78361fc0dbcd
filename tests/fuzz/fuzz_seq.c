/*
 * fuzz_seq.c - any bytes as a saved sequence, and as a page of the prefix cache: loading ends in a
 * status, a sequence that was refused is as before, and one that was taken can go on. Depends on
 * infer/part.h and tests/data/tiny.gguf.
 *
 * The first byte says what the rest is: bit 0, a page or a saved sequence; bit 2, header, length
 * and checksum are mended, so that what they guard is reached; bit 1, a page's checksum, or a
 * sequence's tokens.
 */
#include "infer/part.h"
#include "infer/prefix.h"
#include "ops/variants.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { CTX = 3 * LAR_PAGE };

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* Kept for good, and reachable for the leak checker. */
static lar_gguf *file;
static lar_engine *en;
static lar_seq *seq;

static void open_engine(void)
{
    const lar_engine_options o = {
        .ctx = CTX, .batch = LAR_PAGE, .max_seqs = 1, .kv_type = LAR_DTYPE(f16)};
    const lar_log silent = {0};
    const lar_cpu_variant *v;
    lar_err e = {0};
    lar_net *net;
    lar_pool *pool;
    check(lar_gguf_open("tests/data/tiny.gguf", &file, &e) == LAR_OK);
    check(lar_cpu_choose(lar_variants, lar_n_variants, NULL, &v, &e) == LAR_OK);
    check(lar_net_open(file, &silent, &net, &e) == LAR_OK);
    check(lar_pool_new(1, &pool, &e) == LAR_OK);
    check(lar_engine_new(net, v, pool, &o, &en, &e) == LAR_OK);
    check(lar_seq_new(en, &seq, &e) == LAR_OK);
}

static void put(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* The sequence can be used, whatever it holds now. Damaged keys may give no number. */
static void go_on(void)
{
    const int32_t ids[] = {1, 2, 3};
    lar_err e = {0};
    lar_step p = {.seq = seq, .tokens = ids, .n = 3};
    const int had = lar_seq_length(seq);
    const lar_status st = lar_engine_step(en, &p, 1, &e);
    check(st == LAR_OK || ((st == LAR_EFULL || st == LAR_ENUMERIC) && lar_seq_length(seq) == had));
    lar_seq_keep(seq);
    lar_seq_truncate(seq, 0);
    lar_engine_forget(en);
    check(lar__pages_left(en) == en->n_pages);
}

static void try_page(uint8_t *p, size_t n, int how)
{
    const size_t want = lar_page_file_bytes(en);
    const uint8_t name[LAR_PAGE_NAME] = {1, 2, 3};
    int32_t tokens[LAR_PAGE] = {0};
    lar_err e = {0};
    uint8_t *all = NULL;
    if (how & 4) { /* as a page of the right length and name */
        all = calloc(1, want);
        check(all != NULL);
        for (size_t i = 0; n && i < want; i++)
            all[i] = p[i % n];
        memcpy(all, "LARPAGE", 8);
        memcpy(all + 16, name, sizeof name);
        put(all + 48, want);
        p = all;
        n = want;
    }
    if ((how & 2) && n >= 64)
        put(p + 8, lar__page_sum(p, n));
    const lar_status st = lar_page_unpack(seq, tokens, name, p, n, &e);
    check(st == LAR_OK ? lar_seq_length(seq) == LAR_PAGE
                       : st == LAR_EFORMAT && lar_seq_length(seq) == 0 && e.msg[0]);
    free(all);
    go_on();
}

/* For this model, with as many tokens as it says (but not many more than there is room for), filled
 * up with the input again and again; the caller frees. */
static uint8_t *mend_sequence(const uint8_t *p, size_t *n, bool ids)
{
    const uint64_t tokens = lar_u64(p + 16) % (CTX + 2), page = lar_page_file_bytes(en) - 64;
    const size_t all = 64 + 4 * tokens + (tokens + LAR_PAGE - 1) / LAR_PAGE * page + 8;
    uint8_t *q = malloc(all);
    check(q != NULL);
    for (size_t i = 0; i < all; i++)
        q[i] = p[i % *n];
    memcpy(q, "LARSEQ2", 8);
    put(q + 8, en->net->identity);
    put(q + 16, tokens);
    put(q + 24, en->page_bytes);
    put(q + 32, (uint64_t)en->opts.kv_type->id << 32 | LAR_NUMERICS);
    put(q + 40, (uint64_t)en->n_rows << 32 | LAR_PAGE);
    put(q + 48, 0);
    for (size_t i = 0; ids && i < tokens; i++)
        put(q + 64 + 4 * i, lar_u32(q + 64 + 4 * i) % en->net->hp.n_vocab);
    *n = all;
    if (tokens <= CTX)
        put(q + all - 8, lar__seq_file_sum(seq, q, all, (size_t)tokens));
    return q;
}

static void try_sequence(uint8_t *p, size_t n, int how)
{
    lar_err e = {0};
    uint8_t *all = (how & 4) && n >= 24 ? mend_sequence(p, &n, how & 2) : NULL;
    const lar_status st = lar__seq_load_bytes(seq, "input", all ? all : p, n, &e);
    free(all);
    check(st == LAR_OK || (e.msg[0] && lar_seq_length(seq) == 0));
    for (int i = 0; i < lar_seq_length(seq); i++)
        check(lar_seq_tokens(seq)[i] >= 0 &&
              (uint32_t)lar_seq_tokens(seq)[i] < en->net->hp.n_vocab);
    go_on();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!en)
        open_engine();
    if (n < 1)
        return 0;
    /* A copy of just that length: a sanitizer sees what is read past it. */
    uint8_t *p = malloc(n > 1 ? n - 1 : 1);
    check(p != NULL);
    memcpy(p, data + 1, n - 1);
    if (data[0] & 1)
        try_page(p, n - 1, data[0]);
    else
        try_sequence(p, n - 1, data[0]);
    free(p);
    return 0;
}
