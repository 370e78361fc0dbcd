/*
 * tokenizer.h - text to token ids and back, for every tokenizer that GGUF files carry: byte-level
 * BPE
 * ("gpt2"), SentencePiece BPE ("llama") and unigram ("t5"), WordPiece ("bert"). Given plain arrays,
 * so that it stands on no file format.
 *
 * Immutable after creation: any thread. Text is bytes; invalid UTF-8 is accepted and round-trips
 * where the vocabulary has byte tokens.
 */
#ifndef LAR_TOKENIZER_H
#define LAR_TOKENIZER_H
#include "base/base.h"

/* tokenizer.ggml.token_type */
enum {
    LAR_TOKEN_NORMAL = 1,
    LAR_TOKEN_UNKNOWN = 2,
    LAR_TOKEN_CONTROL = 3,
    LAR_TOKEN_USER = 4,
    LAR_TOKEN_UNUSED = 5,
    LAR_TOKEN_BYTE = 6
};

/* What a file says of its vocabulary. Everything is untrusted: sizes, ids and types are checked by
 * lar_tokenizer_new. Strings and arrays are borrowed and must outlive the tokenizer. */
typedef struct lar_vocab {
    lar_str model, pre; /* tokenizer.ggml.model, .pre (may be empty) */
    lar_str pre_regex;  /* a split pattern stored in the file itself; empty: by `pre` */
    const lar_str *tokens;
    size_t n_tokens;
    const float *scores;  /* NULL or n_tokens */
    const int32_t *types; /* NULL or n_tokens */
    const lar_str *merges;
    size_t n_merges;
    const uint8_t *charsmap; /* precompiled normalisation map of SentencePiece, or NULL */
    size_t charsmap_bytes;
    int32_t bos, eos, eot, eom, unk, sep, pad, cls, mask; /* -1: none */
    int8_t add_bos, add_eos, add_sep,
        add_space_prefix; /* 1, 0, or -1: not said (the model's default) */
    int8_t remove_extra_whitespaces, escape_whitespaces, ignore_merges, clean_spaces; /* likewise */
    int8_t lowercase, strip_accents; /* likewise, WordPiece only */
} lar_vocab;
/* All ids -1, all flags "not said", everything else empty: begin with this, then fill. */
void lar_vocab_init(lar_vocab *v);

typedef struct lar_tokenizer lar_tokenizer;

lar_status lar_tokenizer_new(const lar_vocab *v, lar_tokenizer **out, lar_err *e);
void lar_tokenizer_free(lar_tokenizer *t);

/* A growing array of ids; end with lar_ids_free. */
typedef struct lar_ids {
    int32_t *p;
    size_t n, cap;
} lar_ids;
lar_status lar_ids_add(lar_ids *ids, int32_t id, lar_err *e);
void lar_ids_free(lar_ids *ids);

enum {
    LAR_TOK_BOS = 1, /* add BOS/EOS/CLS/SEP as the file says */
    LAR_TOK_SPECIAL =
        2 /* text may name control tokens ("<|im_end|>"); otherwise it never becomes one */
};
/* Appends to ids. Time is O(n log n) in the text, whatever the text. */
lar_status lar_tokenizer_encode(const lar_tokenizer *t, const char *text, size_t n, int flags,
                                lar_ids *ids, lar_err *e);

/* The same for text of two origins: where plain[i] is 1 (else 0; one byte per byte of text; NULL:
 * all 0), byte i never becomes part of a control token. */
lar_status lar_tokenizer_encode_masked(const lar_tokenizer *t, const char *text, size_t n,
                                       int flags, const uint8_t *plain, lar_ids *ids, lar_err *e);

size_t lar_tokenizer_size(const lar_tokenizer *t);
/* Whether a text's first space, which its first token brings, is no part of it. */
bool lar_tokenizer_drops_space(const lar_tokenizer *t);
bool lar_tokenizer_is_end(const lar_tokenizer *t,
                          int32_t id); /* end of generation: EOS, EOT, ... */
bool lar_tokenizer_is_control(const lar_tokenizer *t, int32_t id);
/* Tokens that LAR_TOK_BOS puts behind a text. */
size_t lar_tokenizer_n_end(const lar_tokenizer *t);
int32_t lar_tokenizer_bos(const lar_tokenizer *t); /* -1: none */
int32_t lar_tokenizer_eos(const lar_tokenizer *t);
lar_str lar_tokenizer_text(const lar_tokenizer *t, int32_t id); /* as the vocabulary spells it */
int32_t lar_tokenizer_find(const lar_tokenizer *t, const char *text,
                           size_t n); /* exact spelling; -1 */

/* Streaming detokenization: bytes that do not complete a character are held back, never half
 * emitted; bytes that never will become U+FFFD, unless `raw` asks for them as they are. */
typedef struct lar_detok {
    const lar_tokenizer *t;
    bool special; /* show control tokens' text */
    bool
        raw; /* every byte as it is, at once: not a stream of characters; false by lar_detok_init */
    bool clean;   /* drop spaces before marks; by lar_detok_init as the vocabulary says */
    bool started; /* internal: the leading space of SentencePiece has been dealt with */
    char held[8]; /* internal: a character that is not whole yet */
    uint8_t n_held;
    char space[8]; /* internal: a space and what follows, where clean_spaces may drop it */
    uint8_t n_space;
} lar_detok;
void lar_detok_init(lar_detok *d, const lar_tokenizer *t, bool special);
void lar_detok_put(lar_detok *d, int32_t id, lar_buf *out);
void lar_detok_end(lar_detok *d, lar_buf *out); /* what is held becomes U+FFFD */

#endif
