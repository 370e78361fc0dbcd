/*
 * gguf_write.h - writing GGUF v3 files of any size with little memory: keys, then the list of
 * tensors, then their data in that order. Source: the GGUF specification in the ggml repository
 * (docs/gguf.md). Depends on gguf.h.
 *
 *     lar_gguf_writer *w;
 *     lar_gguf_writer_new("out.gguf", 32, &w, e);
 *     lar_gguf_put_string(w, "general.architecture", "llama");
 *     lar_gguf_put_tensor(w, "token_embd.weight", LAR_DTYPE(f16), 2, dim);
 *     lar_gguf_writer_begin(w, e);               // what was wrong with any put is reported here
 *     lar_gguf_writer_data(w, p, n, e);          // any pieces, all tensors one after the other
 *     lar_gguf_writer_commit(w, e);              // ends w; the file is there whole, or not at all
 *
 * The file is written aside and renamed at the end (base/os.h). One thread at a time.
 */
#ifndef LAR_GGUF_WRITE_H
#define LAR_GGUF_WRITE_H
#include "format/gguf.h"

typedef struct lar_gguf_writer lar_gguf_writer;

lar_status lar_gguf_writer_new(const char *path, uint32_t alignment, lar_gguf_writer **out,
                               lar_err *e);

/* A key that was put before is replaced. Strings are copied. */
void lar_gguf_put_u32(lar_gguf_writer *w, const char *key, uint32_t v);
void lar_gguf_put_u64(lar_gguf_writer *w, const char *key, uint64_t v);
void lar_gguf_put_f32(lar_gguf_writer *w, const char *key, float v);
void lar_gguf_put_bool(lar_gguf_writer *w, const char *key, bool v);
void lar_gguf_put_string(lar_gguf_writer *w, const char *key, const char *v);
void lar_gguf_put_str(lar_gguf_writer *w, const char *key, lar_str v);
/* n elements of a fixed size, as the machine has them. */
void lar_gguf_put_array(lar_gguf_writer *w, const char *key, lar_gguf_type elem, const void *p,
                        size_t n);
void lar_gguf_put_strings(lar_gguf_writer *w, const char *key, const lar_str *p, size_t n);
/* As another file has it. */
void lar_gguf_put_kv(lar_gguf_writer *w, const lar_gguf_kv *kv);
void lar_gguf_remove(lar_gguf_writer *w, const char *key);

void lar_gguf_put_tensor(lar_gguf_writer *w, const char *name, const lar_dtype *type, int n_dims,
                         const int64_t *dim);

/* The bytes before the data, as begin will write them, for lar_gguf_open_header; *out must be
 * empty. Errors as of begin. */
lar_status lar_gguf_writer_header(lar_gguf_writer *w, lar_buf *out, lar_err *e);
/* The header: LAR_ENOMEM, LAR_EARG for a tensor twice or of an impossible shape, LAR_EIO. */
lar_status lar_gguf_writer_begin(lar_gguf_writer *w, lar_err *e);
lar_status lar_gguf_writer_data(lar_gguf_writer *w, const void *p, size_t n, lar_err *e);
/* Ends w in either case. LAR_EARG when data is missing. */
lar_status lar_gguf_writer_commit(lar_gguf_writer *w, lar_err *e);
void lar_gguf_writer_abort(lar_gguf_writer *w);           /* NULL is allowed */
uint64_t lar_gguf_writer_bytes(const lar_gguf_writer *w); /* of the whole file, after begin */

#endif
