/*
 * importance.h - importance matrices: for each input column of a matrix the mean square of what it
 * was multiplied with. Files are GGUF as llama-imatrix writes and reads them: general.type
 * "imatrix", of each matrix NAME.in_sum2 [columns, experts or 1] and NAME.counts [1, experts or 1]
 * (sums of squares, and of how many tokens). Source: llama.cpp (tools/imatrix/imatrix.cpp).
 */
#ifndef LAR_IMPORTANCE_H
#define LAR_IMPORTANCE_H
#include "format/gguf.h"

typedef struct lar_importance {
    float *p;  /* [n][columns]; NULL: none */
    int64_t n; /* experts, or 1 */
} lar_importance;

typedef struct lar_importance_file lar_importance_file;
lar_status lar_importance_open(const char *path, lar_importance_file **out, lar_err *e);
/* Of the tensor `t`, called `name`; *out is the caller's (lar_importance_end). Not there: .p NULL.
 * LAR_EFORMAT where it does not fit the tensor, or is no finite number. */
lar_status lar_importance_find(const lar_importance_file *f, const char *name,
                               const lar_gguf_tensor *t, lar_importance *out, lar_err *e);
void lar_importance_end(lar_importance *i);
void lar_importance_close(lar_importance_file *f);

/* What a matrix of `experts` (else 1) with k columns has seen. */
typedef struct lar_importance_sums {
    char *name;
    int64_t k, experts;
    double *sum2;    /* [experts][k] */
    uint64_t *count; /* [experts]: tokens */
} lar_importance_sums;
/* dataset: where the text came from; chunk: tokens of a window. */
lar_status lar_importance_write(const char *path, const lar_importance_sums *s, size_t n,
                                const char *dataset, uint32_t chunks, uint32_t chunk, lar_err *e);

#endif
