/*
 * fuzz_spm.c - any bytes as a SentencePiece model: reading ends in a status, whatever was read lies
 * inside the bytes, and a tokenizer of it encodes. Depends on spm.h, tokenizer.h.
 */
#include "text/spm.h"
#include "text/tokenizer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void inside(const uint8_t *data, size_t n, lar_str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    check(s.n == 0 || (p >= data && s.n <= n && (size_t)(p - data) <= n - s.n));
}

static void use(const lar_spm *m)
{
    static const char text[] = "Hello, \xE2\x96\x81 world \xF0\x9F\x98\x80  a";
    lar_vocab v;
    lar_tokenizer *t;
    lar_err e = {0};
    lar_ids ids = {0};
    lar_vocab_init(&v);
    v.model = m->unigram ? (lar_str){"t5", 2} : (lar_str){"llama", 5};
    v.tokens = m->pieces;
    v.n_tokens = m->n;
    v.scores = m->scores;
    v.types = m->types;
    v.unk = m->unk;
    v.bos = m->bos;
    v.eos = m->eos;
    v.pad = m->pad;
    v.charsmap = (const uint8_t *)m->charsmap.p;
    v.charsmap_bytes = m->charsmap.n;
    v.add_space_prefix = m->add_dummy_prefix;
    v.remove_extra_whitespaces = m->remove_extra_whitespaces;
    v.escape_whitespaces = m->escape_whitespaces;
    if (lar_tokenizer_new(&v, &t, &e) != LAR_OK) {
        check(e.msg[0] != 0);
        return;
    }
    if (lar_tokenizer_encode(t, text, sizeof text - 1, LAR_TOK_BOS, &ids, &e) == LAR_OK)
        for (size_t i = 0; i < ids.n; i++)
            check(ids.p[i] >= 0 && (size_t)ids.p[i] < m->n);
    lar_ids_free(&ids);
    lar_tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    lar_spm m;
    lar_err e = {0};
    if (lar_spm_read(data, n, &m, &e) != LAR_OK) {
        check(e.msg[0] && !m.pieces);
        return 0;
    }
    for (size_t i = 0; i < m.n; i++) {
        inside(data, n, m.pieces[i]);
        check(isfinite(m.scores[i]) && m.types[i] >= 1 && m.types[i] <= 6);
    }
    inside(data, n, m.charsmap);
    use(&m);
    lar_spm_free(&m);
    return 0;
}
