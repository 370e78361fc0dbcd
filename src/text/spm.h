/*
 * spm.h - SentencePiece model files (.model, .spm): what a lar_vocab says of them. Source:
 * sentencepiece_model.proto of google/sentencepiece; the wire format of protocol buffers. Untrusted
 * bytes: lengths are checked, unknown fields skipped. Strings point into the bytes, which must
 * outlive the result. Depends on base.
 */
#ifndef LAR_SPM_H
#define LAR_SPM_H
#include "base/base.h"

typedef struct lar_spm {
    bool unigram; /* else BPE */
    size_t n;
    lar_str *pieces;
    float *scores;
    int32_t *types; /* LAR_TOKEN_* have the same numbers */
    lar_str charsmap;
    int32_t unk, bos, eos, pad; /* -1: none */
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces;
} lar_spm;

lar_status lar_spm_read(const void *data, size_t n, lar_spm *out, lar_err *e);
void lar_spm_free(lar_spm *s);

#endif
