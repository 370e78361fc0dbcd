/*
 * dtype.h - element types by name, GGUF id and block size. How a block is read is quant's business.
 */
#ifndef LAR_DTYPE_H
#define LAR_DTYPE_H
#include "base/base.h"

typedef struct lar_dtype {
    const char *name;
    uint32_t id;    /* as GGUF numbers it */
    uint32_t block; /* elements in a block */
    uint32_t bytes; /* bytes in a block */
} lar_dtype;

/* LAR_DT_f32, LAR_DT_q4_k …: positions in lar_dtypes[]. */
enum {
#define DTYPE(name, id, block, bytes) LAR_DT_##name,
#include "tensor/dtype.def"
#undef DTYPE
    LAR_N_DTYPES
};
extern const lar_dtype lar_dtypes[LAR_N_DTYPES];
#define LAR_DTYPE(name) (&lar_dtypes[LAR_DT_##name])

const lar_dtype *lar_dtype_by_id(uint32_t id);        /* NULL if unknown */
const lar_dtype *lar_dtype_by_name(const char *name); /* any case; NULL if unknown */
static inline int lar_dtype_index(const lar_dtype *t)
{
    return (int)(t - lar_dtypes);
}
/* Bytes of a row of n elements; n must be a multiple of the block. */
static inline size_t lar_row_bytes(const lar_dtype *t, int64_t n)
{
    return (size_t)n / t->block * t->bytes;
}

#endif
