/*
 * convert.h - a Hugging Face folder (config.json, safetensors, tokenizer files), or one of
 * Marian's, to one GGUF file. Memory is bounded by one row of weights and the tokenizer; the output
 * appears whole or not at all.
 */
#ifndef LAR_CONVERT_H
#define LAR_CONVERT_H
#include "format/gguf.h"

typedef struct lar_convert_options {
    const lar_dtype *type; /* of matrices; NULL: as the folder has each */
    /* Non-zero cancels (LAR_ECANCELLED). done: 0 to 1. May be NULL. */
    int (*progress)(double done, const char *what, void *user);
    /* Is this a model? `g` has the output's keys and tensors, but no data yet. May be NULL. */
    lar_status (*check)(const lar_gguf *g, void *user, lar_err *e);
    void *user;
} lar_convert_options;

typedef struct lar_convert_result {
    const char *arch;
    uint64_t bytes, n_params;
    size_t n_tensors;
    bool own_split; /* text is split by a pattern that GGUF has no name for */
} lar_convert_result;

/* Whether a folder holds a translation model of Marian's; the same for such. */
bool lar_is_marian_folder(const char *folder);
lar_status lar_convert_marian(const char *folder, const char *out, const lar_convert_options *o,
                              lar_convert_result *result, lar_err *e);
lar_status lar_convert_hf(const char *folder, const char *out, const lar_convert_options *o,
                          lar_convert_result *result, lar_err *e);

#endif
