/*
 * gguf.h - GGUF v2 and v3 (little-endian): untrusted bytes to validated views. The file is mapped
 * and used in place; nothing is copied but a small index. Source: the GGUF specification in the
 * ggml repository (docs/gguf.md).
 *
 * After lar_gguf_open has returned LAR_OK, every view handed out here lies wholly inside its
 * mapping, every count and size was checked without overflow, keys and tensor names are unique, and
 * tensors neither overlap nor lie misaligned. Whether a key has the type and value that a model
 * wants is the reader's business: the typed getters below answer with an error that names the key,
 * what was found and what was wanted.
 *
 * A split model (split.count > 1) is opened by its first file; the others are found beside it by
 * name (NAME-00001-of-00003.gguf). Views live as long as the lar_gguf. Immutable after opening: any
 * thread.
 */
#ifndef LAR_GGUF_H
#define LAR_GGUF_H
#include "base/os.h"
#include "tensor/dtype.h"

typedef enum lar_gguf_type {
    LAR_GGUF_U8,
    LAR_GGUF_I8,
    LAR_GGUF_U16,
    LAR_GGUF_I16,
    LAR_GGUF_U32,
    LAR_GGUF_I32,
    LAR_GGUF_F32,
    LAR_GGUF_BOOL,
    LAR_GGUF_STRING,
    LAR_GGUF_ARRAY,
    LAR_GGUF_U64,
    LAR_GGUF_I64,
    LAR_GGUF_F64,
    LAR_GGUF_N_TYPES
} lar_gguf_type;
const char *lar_gguf_type_name(lar_gguf_type t); /* "u8" ... */

typedef struct lar_gguf_kv {
    lar_str key;
    lar_gguf_type type; /* of the value; for an array, ARRAY */
    lar_gguf_type
        elem;       /* of an array's elements (never ARRAY: nested arrays are refused by name) */
    uint64_t count; /* elements of an array; 1 otherwise */
    const uint8_t *data; /* little-endian, unaligned; a string begins with its u64 length;
                          * an array: its first element */
    size_t bytes;        /* how many at data */
} lar_gguf_kv;

typedef struct lar_gguf_tensor {
    lar_str name;
    const lar_dtype *type;
    int n_dims;          /* 1 to 4 */
    int64_t dim[4];      /* dim[0] is the fastest; the unused are 1 */
    const uint8_t *data; /* in the mapping; NULL only where the file was opened without data */
    size_t bytes;
    int file;        /* which of a split model's files */
    uint64_t offset; /* in that file */
} lar_gguf_tensor;

typedef struct lar_gguf lar_gguf;

lar_status lar_gguf_open(const char *path, lar_gguf **out, lar_err *e);
/* The same on bytes in memory (tests, fuzzing), which must outlive the result. No splits. */
lar_status lar_gguf_open_bytes(const void *data, size_t n, lar_gguf **out, lar_err *e);
/* Likewise, of a file whose data is not there yet: what is written can be checked beforehand. All
 * tensors' data is NULL, and where it would lie is not looked at. */
lar_status lar_gguf_open_header(const void *data, size_t n, lar_gguf **out, lar_err *e);
void lar_gguf_close(lar_gguf *g);

int lar_gguf_version(const lar_gguf *g);
uint64_t lar_gguf_alignment(const lar_gguf *g);
int lar_gguf_n_files(const lar_gguf *g);
uint64_t lar_gguf_file_bytes(const lar_gguf *g); /* all files together */
const char *lar_gguf_path(const lar_gguf *g);    /* "" for bytes in memory */
/* One of its files, as it was mapped, and its path; NULL for bytes in memory. */
const lar_map *lar_gguf_map(const lar_gguf *g, int file, const char **path);

size_t lar_gguf_n_kv(const lar_gguf *g);
const lar_gguf_kv *lar_gguf_kv_at(const lar_gguf *g, size_t i);
const lar_gguf_kv *lar_gguf_find(const lar_gguf *g, const char *key); /* NULL if absent */

size_t lar_gguf_n_tensors(const lar_gguf *g);
const lar_gguf_tensor *lar_gguf_tensor_at(const lar_gguf *g, size_t i);
const lar_gguf_tensor *lar_gguf_find_tensor(const lar_gguf *g,
                                            const char *name); /* NULL if absent */

/* Typed getters. LAR_ENOTFOUND (and *out untouched) when the key is absent; LAR_EFORMAT when its
 * type or value does not fit. Integers of any width and sign are accepted where the value is in
 * range. NaN never is. */
lar_status lar_gguf_get_u32(const lar_gguf *g, const char *key, uint32_t *out, lar_err *e);
lar_status lar_gguf_get_u64(const lar_gguf *g, const char *key, uint64_t *out, lar_err *e);
lar_status lar_gguf_get_f32(const lar_gguf *g, const char *key, float *out,
                            lar_err *e); /* f32, f64, integers; finite */
lar_status lar_gguf_get_bool(const lar_gguf *g, const char *key, bool *out, lar_err *e);
lar_status lar_gguf_get_str(const lar_gguf *g, const char *key, lar_str *out, lar_err *e);

/* Arrays into new memory (end with lar_free); an empty array gives *out NULL and *n 0. */
lar_status lar_gguf_get_u32_array(const lar_gguf *g, const char *key, uint32_t **out, size_t *n,
                                  lar_err *e); /* ints >= 0, bools */
lar_status lar_gguf_get_i32_array(const lar_gguf *g, const char *key, int32_t **out, size_t *n,
                                  lar_err *e);
lar_status lar_gguf_get_f32_array(const lar_gguf *g, const char *key, float **out, size_t *n,
                                  lar_err *e);
lar_status lar_gguf_get_str_array(const lar_gguf *g, const char *key, lar_str **out, size_t *n,
                                  lar_err *e); /* views */

#endif
