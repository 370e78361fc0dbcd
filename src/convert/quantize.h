/*
 * quantize.h - a GGUF file with other element types: each tensor gets the type that a recipe
 * (format/recipe.h) or an override says, rows are quantized by the pool's threads and written in
 * order. Memory is bounded by two tiles of rows and the metadata; the output appears whole or not
 * at all. The bytes do not depend on threads or kernel variant.
 */
#ifndef LAR_QUANTIZE_H
#define LAR_QUANTIZE_H
#include "base/pool.h"
#include "format/recipe.h"
#include "quant/format.h"

typedef struct lar_quantize_options {
    const lar_recipe *recipe;
    const lar_kernels *kernels;
    lar_pool *pool;
    const char *importance; /* a file of lar imatrix or llama-imatrix, or NULL */
    /* "PATTERN=TYPE": matrices with PATTERN in their names get TYPE; '*' stands for anything. The
     * first that fits counts. */
    const char *const *overrides;
    size_t n_overrides;
    bool requantize; /* matrices that are quantized already may be, again */
    /* Non-zero cancels (LAR_ECANCELLED). done: 0 to 1. May be NULL. */
    int (*progress)(double done, const char *what, void *user);
    void *user;
} lar_quantize_options;

typedef struct lar_quantize_result {
    uint64_t bytes, bytes_before, n_params;
    size_t n_tensors, n_changed;
    size_t n_without; /* changed without importance, though there is a matrix */
    size_t of_type[LAR_N_DTYPES];
} lar_quantize_result;

lar_status lar_quantize_file(const char *in, const char *out, const lar_quantize_options *o,
                             lar_quantize_result *result, lar_err *e);

#endif
