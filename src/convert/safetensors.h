/*
 * safetensors.h - the weights of a Hugging Face folder: untrusted bytes to validated views. Source:
 * the safetensors format description (huggingface/safetensors, README): a u64 length, that many
 * bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...}, then the data.
 * A sharded model has model.safetensors.index.json, whose weight_map says which file a tensor is
 * in. Pickles are never read.
 *
 * After lar_safetensors_open has returned LAR_OK every view lies inside its mapping, holds exactly
 * as many bytes as type and shape say, and overlaps no other. Immutable after opening: any thread.
 */
#ifndef LAR_SAFETENSORS_H
#define LAR_SAFETENSORS_H
#include "tensor/dtype.h"

enum { LAR_ST_MAX_DIM = 8 };

typedef struct lar_st_tensor {
    const char *name;
    const char *dtype;           /* as the file spells it: "BF16" */
    const lar_dtype *type;       /* NULL for those that GGUF has no element type for */
    int n_dims;                  /* 0 to 8 */
    int64_t dim[LAR_ST_MAX_DIM]; /* as the file has them: the last is the fastest */
    const uint8_t *data;
    size_t bytes;
    const char *file; /* its name, for messages */
} lar_st_tensor;

typedef struct lar_safetensors lar_safetensors;

/* Of a folder: model.safetensors, or the shards that its index names. */
lar_status lar_safetensors_open(const char *folder, lar_safetensors **out, lar_err *e);
/* One file's bytes (tests, fuzzing), which must outlive the result. */
lar_status lar_safetensors_open_bytes(const void *data, size_t n, lar_safetensors **out,
                                      lar_err *e);
void lar_safetensors_close(lar_safetensors *s);

size_t lar_safetensors_count(const lar_safetensors *s);
const lar_st_tensor *lar_safetensors_at(const lar_safetensors *s,
                                        size_t i); /* by name, ascending */
const lar_st_tensor *lar_safetensors_find(const lar_safetensors *s, const char *name);

#endif
