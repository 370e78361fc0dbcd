/*
 * vocab.h - the tokenizer of a GGUF file: reads its tokenizer.ggml.* keys. The texts stay in the
 * file's mapping, so the lar_gguf must outlive the result.
 */
#ifndef LAR_VOCAB_H
#define LAR_VOCAB_H
#include "format/gguf.h"
#include "text/tokenizer.h"

/* The tokenizer and the arrays that it stands on. */
typedef struct lar_vocab_file {
    lar_tokenizer *tok;
    lar_vocab vocab; /* as the file has it */
    lar_str *tokens, *merges;
    float *scores;
    int32_t *types;
} lar_vocab_file;

/* On failure *out holds nothing. */
lar_status lar_vocab_open(const lar_gguf *g, lar_vocab_file *out, lar_err *e);
void lar_vocab_free(lar_vocab_file *f);

/* LAR_EARG with what differs unless every token that both have is the same one. Either may have
 * more. */
lar_status lar_vocab_same(const lar_vocab_file *a, const lar_vocab_file *b, lar_err *e);

#endif
