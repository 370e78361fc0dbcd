/*
 * marian.h - Marian's binary models and lexical shortlists: untrusted bytes to validated views.
 * Source: marian-dev, src/common/binary.cpp and src/data/shortlist.h.
 *
 * A model is u64 version (1), u64 count; per tensor u64 name length (NUL included), type, number of
 * dimensions, bytes; then all names, all dimensions (i32), u64 padding and that many bytes, all
 * data. A matrix of bytes (intgemm8) is followed by the number that it was multiplied by; its rows
 * are the matrix's columns, as its consumer wants them, but a table of embeddings has one row per
 * token. A shortlist says which target tokens may stand for a source token. Views live as long as
 * the bytes.
 */
#ifndef LAR_MARIAN_H
#define LAR_MARIAN_H
#include "base/base.h"

typedef enum lar_marian_type { LAR_MARIAN_F32, LAR_MARIAN_I8, LAR_MARIAN_TEXT } lar_marian_type;

typedef struct lar_marian_tensor {
    const char *name; /* NUL-terminated */
    lar_marian_type type;
    int n_dims; /* 1 to 4 */
    int64_t dim[4];
    const uint8_t *data; /* unaligned */
    size_t count;        /* elements */
    float mult;          /* I8: element = byte / mult */
} lar_marian_tensor;

typedef struct lar_marian {
    lar_marian_tensor *tensor;
    size_t n;
    lar_str config; /* YAML: the tensor special:model.yml */
} lar_marian;

lar_status lar_marian_read(const void *data, size_t n, lar_marian *out, lar_err *e);
void lar_marian_free(lar_marian *m);
const lar_marian_tensor *lar_marian_find(const lar_marian *m,
                                         const char *name); /* NULL if absent */
/* The value of a top-level key of the config, without quotes; false where there is none. */
bool lar_marian_config(const lar_marian *m, const char *key, lar_str *out);

typedef struct lar_shortlist {
    uint64_t first;        /* so many of the commonest tokens may always be used */
    size_t n_words;        /* of the source vocabulary */
    const uint8_t *offset; /* u64 [n_words + 1], ascending */
    const uint8_t *id;     /* u32 [n_ids], each below n_target */
    size_t n_ids;
} lar_shortlist;
lar_status lar_shortlist_read(const void *data, size_t n, size_t n_target, lar_shortlist *out,
                              lar_err *e);

#endif
