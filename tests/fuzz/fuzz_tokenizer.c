/*
 * fuzz_tokenizer.c - any bytes as a vocabulary and a text: making a tokenizer ends in a status, and
 * whatever was made gives ids in range, no control token unasked, and whole characters back.
 * Depends on tokenizer.h.
 *
 * Input: a header line "MODEL PRE FLAGS SPECIALS" of words, then a line for each token ("T:text"
 * with T its type and, after the text, a TAB and a score if there is one), an empty line, a line
 * for each merge, an empty line, an optional pattern line, then the text. A charsmap is cut from
 * the text's own bytes when a flag says so.
 */
#include "text/tokenizer.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 512, MAX_TEXT = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(bool ok)
{
    if (!ok)
        abort();
}

typedef struct reader {
    const char *p;
    size_t n;
} reader;

static lar_str until(reader *r, char stop)
{
    const char *end = r->n ? memchr(r->p, stop, r->n) : NULL;
    lar_str s = {r->p, end ? (size_t)(end - r->p) : r->n};
    size_t used = s.n + (end ? 1 : 0);
    r->p += used;
    r->n -= used;
    return s;
}

static void read_tokens(reader *r, lar_vocab *v, lar_str *tokens, int32_t *types, float *scores)
{
    while (r->n && v->n_tokens < MAX_TOKENS) {
        lar_str line = until(r, '\n');
        if (line.n == 0)
            break;
        size_t i = v->n_tokens++;
        types[i] = line.p[0] - '0';
        reader one = {line.p + LAR_MIN(line.n, 2), line.n - LAR_MIN(line.n, 2)};
        tokens[i] = until(&one, '\t');
        /* A score is at most two bytes: a sign of its own and a size, odd values as infinities and
         * NaN. */
        scores[i] = one.n ? (float)(signed char)one.p[0] : 0.0f;
        if (one.n > 1)
            scores[i] *= (float)1e30 * (float)(signed char)one.p[1] * (float)1e10;
    }
}

static void set_flags(lar_vocab *v, lar_str flags, lar_str ids)
{
    int8_t *f[] = {&v->add_bos,
                   &v->add_eos,
                   &v->add_sep,
                   &v->add_space_prefix,
                   &v->remove_extra_whitespaces,
                   &v->escape_whitespaces,
                   &v->ignore_merges,
                   &v->clean_spaces,
                   &v->lowercase,
                   &v->strip_accents};
    int32_t *id[] = {&v->bos, &v->eos, &v->eot, &v->eom, &v->unk,
                     &v->sep, &v->pad, &v->cls, &v->mask};
    for (size_t i = 0; i < LAR_LEN(f) && i < flags.n; i++)
        *f[i] = flags.p[i] == '1' ? 1 : flags.p[i] == '0' ? 0 : -1;
    for (size_t i = 0; i < LAR_LEN(id) && i < ids.n; i++)
        *id[i] = ids.p[i] == '-' ? -1 : (int32_t)(signed char)ids.p[i] - '0';
}

static void decode(const lar_tokenizer *t, const lar_ids *ids, int how)
{
    lar_detok d;
    lar_buf b = {0};
    lar_detok_init(&d, t, how & 1);
    d.raw = how & 2;
    for (size_t i = 0; i < ids->n; i++)
        lar_detok_put(&d, ids->p[i], &b);
    lar_detok_end(&d, &b);
    for (size_t i = 0; !d.raw && i < b.n;) {
        int k = lar_utf8_decode(b.p + i, b.n - i, NULL);
        check(k > 0);
        i += (size_t)k;
    }
    lar_buf_free(&b);
}

/* The unknown token may stand for plain text, though files call it a control token. */
static void encode(const lar_tokenizer *t, const char *p, size_t n, int flags, int32_t unk)
{
    lar_ids ids = {0};
    lar_err e = {0};
    lar_status st = lar_tokenizer_encode(t, p, n, flags, &ids, &e);
    check(st == LAR_OK || (e.msg[0] && ids.n == 0));
    for (size_t i = 0; i < ids.n; i++) {
        check(ids.p[i] >= 0 && (size_t)ids.p[i] < lar_tokenizer_size(t));
        check(flags || !lar_tokenizer_is_control(t, ids.p[i]) || ids.p[i] == unk);
    }
    for (int how = 0; how < 4; how++)
        decode(t, &ids, how);
    lar_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const models[] = {"gpt2", "llama", "t5", "bert", "gemma4"};
    lar_str tokens[MAX_TOKENS], merges[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    float scores[MAX_TOKENS];
    lar_vocab v;
    lar_err e = {0};
    lar_tokenizer *t = NULL;
    reader r = {(const char *)data, n}, head;
    lar_vocab_init(&v);
    lar_str line = until(&r, '\n');
    head = (reader){line.p, line.n};
    v.model = until(&head, ' ');
    if (v.model.n == 1 && v.model.p[0] >= '0' && v.model.p[0] < '5')
        v.model = (lar_str){models[v.model.p[0] - '0'], strlen(models[v.model.p[0] - '0'])};
    v.pre = until(&head, ' ');
    lar_str flags = until(&head, ' ');
    set_flags(&v, flags, until(&head, ' '));
    read_tokens(&r, &v, tokens, types, scores);
    for (v.n_merges = 0; r.n && v.n_merges < MAX_TOKENS; v.n_merges++) {
        merges[v.n_merges] = until(&r, '\n');
        if (merges[v.n_merges].n == 0)
            break;
    }
    v.tokens = tokens;
    v.merges = merges;
    v.types = flags.n > 10 && flags.p[10] == '0' ? NULL : types;
    v.scores = flags.n > 11 && flags.p[11] == '0' ? NULL : scores;
    if (flags.n > 12 && flags.p[12] == '1')
        v.pre_regex = until(&r, '\n');
    if (flags.n > 13 && flags.p[13] == '1') {
        v.charsmap = (const uint8_t *)r.p;
        v.charsmap_bytes = r.n;
    }
    if (lar_tokenizer_new(&v, &t, &e) != LAR_OK) {
        check(!t && e.msg[0]);
        return 0;
    }
    int32_t unk = v.unk >= 0                    ? v.unk
                  : lar_str_eq(v.model, "t5")   ? 2
                  : lar_str_eq(v.model, "bert") ? 100
                                                : 0;
    if (v.unk < 0 && (lar_str_eq(v.model, "gpt2") || lar_str_eq(v.model, "gemma4")))
        unk = -1;
    r.n = LAR_MIN(r.n, MAX_TEXT);
    for (int how = 0; how < 4; how++)
        encode(t, r.p, r.n, how, unk);
    lar_tokenizer_free(t);
    return 0;
}
