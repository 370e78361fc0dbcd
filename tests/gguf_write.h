/*
 * gguf_write.h - for tests: writes GGUF files into memory, right or deliberately wrong. Depends on
 * base and gguf.h. Little-endian machines only (arrays and tensor data are copied as they are).
 *
 *     gw w = gw_new();                                  // version 3
 *     gw_str(&w, "general.architecture", "llama");
 *     gw_u32(&w, "llama.block_count", 2);
 *     gw_str_array(&w, "tokenizer.ggml.tokens", tokens, n);
 *     gw_f32_array(&w, "tokenizer.ggml.scores", scores, n);
 *     gw_tensor(&w, "token_embd.weight", LAR_DTYPE(f32), 2, (int64_t[]){64, 10}, floats);
 *     gw_bytes b = gw_finish(&w);                       // b.p, b.n: exactly as long as malloc was
 * told
 *     ... lar_gguf_open_bytes(b.p, b.n, &g, &e) ...
 *     gw_bytes_free(&b);
 *
 * To corrupt: the force_ fields replace what the header says; gw_key_begin and gw_raw_* write a key
 * piece by piece; gw_info writes a tensor info with any numbers and no data; w.data is the data
 * section.
 */
#ifndef LAR_TESTS_GGUF_WRITE_H
#define LAR_TESTS_GGUF_WRITE_H
#include "format/gguf.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct gw {
    uint32_t version;
    uint32_t alignment; /* used to place data; gw_alignment also writes the key */
    lar_buf kv, infos, data;
    uint64_t n_kv, n_tensors;
    bool force_kv, force_tensors; /* the header lies: */
    uint64_t forced_kv, forced_tensors;
    bool no_padding; /* nothing between the infos and the data */
} gw;

typedef struct gw_bytes {
    uint8_t *p;
    size_t n;
} gw_bytes;

static inline gw gw_new(void)
{
    return (gw){.version = 3, .alignment = 32};
}

/* ---- raw pieces: append to w.kv, w.infos or w.data --------------------------------------------
 */

static inline void gw_raw_u32(lar_buf *b, uint32_t v)
{
    uint8_t p[4];
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
    lar_buf_add(b, p, 4);
}

static inline void gw_raw_u64(lar_buf *b, uint64_t v)
{
    gw_raw_u32(b, (uint32_t)v);
    gw_raw_u32(b, (uint32_t)(v >> 32));
}

static inline void gw_raw_string(lar_buf *b, const char *s, size_t n)
{
    gw_raw_u64(b, n);
    lar_buf_add(b, s, n);
}

/* A key's name (any bytes) and type (any number); the value is the caller's to append to w.kv. */
static inline void gw_key_begin_n(gw *w, const char *key, size_t n, uint32_t type)
{
    gw_raw_string(&w->kv, key, n);
    gw_raw_u32(&w->kv, type);
    w->n_kv++;
}

static inline void gw_key_begin(gw *w, const char *key, uint32_t type)
{
    gw_key_begin_n(w, key, strlen(key), type);
}

static inline void gw_array_begin(gw *w, const char *key, uint32_t elem, uint64_t count)
{
    gw_key_begin(w, key, LAR_GGUF_ARRAY);
    gw_raw_u32(&w->kv, elem);
    gw_raw_u64(&w->kv, count);
}

/* ---- keys --------------------------------------------------------------------------------------
 */

static inline size_t gw_type_bytes(lar_gguf_type t)
{
    static const uint8_t bytes[LAR_GGUF_N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[t];
}

static inline void gw_scalar(gw *w, const char *key, lar_gguf_type type, const void *v)
{
    gw_key_begin(w, key, type);
    lar_buf_add(&w->kv, v, gw_type_bytes(type));
}

static inline void gw_array(gw *w, const char *key, lar_gguf_type elem, const void *v, size_t n)
{
    gw_array_begin(w, key, elem, n);
    lar_buf_add(&w->kv, v, n * gw_type_bytes(elem));
}

#define GW_TYPE(name, ctype, type)                                                                 \
    static inline void gw_##name(gw *w, const char *key, ctype v)                                  \
    {                                                                                              \
        gw_scalar(w, key, type, &v);                                                               \
    }                                                                                              \
    static inline void gw_##name##_array(gw *w, const char *key, const ctype *v, size_t n)         \
    {                                                                                              \
        gw_array(w, key, type, v, n);                                                              \
    }
GW_TYPE(u8, uint8_t, LAR_GGUF_U8)
GW_TYPE(i8, int8_t, LAR_GGUF_I8)
GW_TYPE(u16, uint16_t, LAR_GGUF_U16)
GW_TYPE(i16, int16_t, LAR_GGUF_I16)
GW_TYPE(u32, uint32_t, LAR_GGUF_U32)
GW_TYPE(i32, int32_t, LAR_GGUF_I32)
GW_TYPE(u64, uint64_t, LAR_GGUF_U64)
GW_TYPE(i64, int64_t, LAR_GGUF_I64)
GW_TYPE(f32, float, LAR_GGUF_F32)
GW_TYPE(f64, double, LAR_GGUF_F64)
GW_TYPE(bool, uint8_t, LAR_GGUF_BOOL) /* as a byte, so that 2 can be written */
#undef GW_TYPE

static inline void gw_str_n(gw *w, const char *key, const char *v, size_t n)
{
    gw_key_begin(w, key, LAR_GGUF_STRING);
    gw_raw_string(&w->kv, v, n);
}

static inline void gw_str(gw *w, const char *key, const char *v)
{
    gw_str_n(w, key, v, strlen(v));
}

static inline void gw_str_array(gw *w, const char *key, const char *const *v, size_t n)
{
    gw_array_begin(w, key, LAR_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        gw_raw_string(&w->kv, v[i], strlen(v[i]));
}

static inline void gw_alignment(gw *w, uint32_t a)
{
    gw_u32(w, "general.alignment", a);
    w->alignment = a;
}

/* ---- tensors -----------------------------------------------------------------------------------
 */

/* An info alone, with any numbers; n_dims of dim[] are written up to 8. */
static inline void gw_info_n(gw *w, const char *name, size_t len, uint32_t n_dims,
                             const uint64_t *dim, uint32_t type, uint64_t offset)
{
    gw_raw_string(&w->infos, name, len);
    gw_raw_u32(&w->infos, n_dims);
    for (uint32_t d = 0; d < n_dims && d < 8; d++)
        gw_raw_u64(&w->infos, dim[d]);
    gw_raw_u32(&w->infos, type);
    gw_raw_u64(&w->infos, offset);
    w->n_tensors++;
}

static inline void gw_info(gw *w, const char *name, uint32_t n_dims, const uint64_t *dim,
                           uint32_t type, uint64_t offset)
{
    gw_info_n(w, name, strlen(name), n_dims, dim, type, offset);
}

static inline void gw_pad(lar_buf *b, size_t to)
{
    while (b->n % to)
        lar_buf_putc(b, 0);
}

/* A tensor behind the others. data NULL: zeros. */
static inline void gw_tensor(gw *w, const char *name, const lar_dtype *type, int n_dims,
                             const int64_t *dim, const void *data)
{
    uint64_t u[4] = {0};
    size_t bytes = lar_row_bytes(type, dim[0]);
    for (int d = 0; d < n_dims; d++) {
        u[d] = (uint64_t)dim[d];
        bytes *= d ? (size_t)dim[d] : 1;
    }
    gw_pad(&w->data, w->alignment);
    gw_info(w, name, (uint32_t)n_dims, u, type->id, w->data.n);
    for (size_t i = 0; !data && i < bytes; i++)
        lar_buf_putc(&w->data, 0);
    if (data)
        lar_buf_add(&w->data, data, bytes);
}

/* ---- the file ----------------------------------------------------------------------------------
 */

/* Ends w. Memory comes from malloc, exactly n bytes, so that a sanitizer sees any read past the
 * end. */
static inline gw_bytes gw_finish(gw *w)
{
    lar_buf b = {0};
    gw_bytes out;
    lar_buf_add(&b, "GGUF", 4);
    gw_raw_u32(&b, w->version);
    gw_raw_u64(&b, w->force_tensors ? w->forced_tensors : w->n_tensors);
    gw_raw_u64(&b, w->force_kv ? w->forced_kv : w->n_kv);
    lar_buf_add(&b, w->kv.p, w->kv.n);
    lar_buf_add(&b, w->infos.p, w->infos.n);
    if (!w->no_padding && w->data.n)
        gw_pad(&b, w->alignment);
    lar_buf_add(&b, w->data.p, w->data.n);
    out.n = b.n;
    out.p = malloc(b.n ? b.n : 1);
    if (b.oom || w->kv.oom || w->infos.oom || w->data.oom || !out.p)
        abort();
    memcpy(out.p, b.p, b.n);
    lar_buf_free(&b);
    lar_buf_free(&w->kv);
    lar_buf_free(&w->infos);
    lar_buf_free(&w->data);
    return out;
}

static inline void gw_bytes_free(gw_bytes *b)
{
    free(b->p);
    *b = (gw_bytes){0};
}

/* One key of every type and an array of every type: "t.u8", "a.u8" and so on. */
static inline void gw_every_type(gw *w)
{
    static const char *const strings[] = {"", "two words", "\xe2\x82\xac"};
    gw_u8(w, "t.u8", 200);
    gw_i8(w, "t.i8", -100);
    gw_u16(w, "t.u16", 50000);
    gw_i16(w, "t.i16", -30000);
    gw_u32(w, "t.u32", 4000000000u);
    gw_i32(w, "t.i32", -2000000000);
    gw_u64(w, "t.u64", UINT64_C(10000000000000000000));
    gw_i64(w, "t.i64", INT64_C(-5000000000000000000));
    gw_f32(w, "t.f32", 1.5f);
    gw_f64(w, "t.f64", -0.125);
    gw_bool(w, "t.bool", 1);
    gw_str(w, "t.string", "hello");
    gw_u8_array(w, "a.u8", (uint8_t[]){1, 2, 255}, 3);
    gw_i8_array(w, "a.i8", (int8_t[]){1, -2, -128}, 3);
    gw_u16_array(w, "a.u16", (uint16_t[]){1, 65535}, 2);
    gw_i16_array(w, "a.i16", (int16_t[]){1, -32768}, 2);
    gw_u32_array(w, "a.u32", (uint32_t[]){1, UINT32_MAX}, 2);
    gw_i32_array(w, "a.i32", (int32_t[]){7, INT32_MIN}, 2);
    gw_u64_array(w, "a.u64", (uint64_t[]){1, UINT64_MAX}, 2);
    gw_i64_array(w, "a.i64", (int64_t[]){1, INT64_MIN}, 2);
    gw_f32_array(w, "a.f32", (float[]){0.5f, -2.25f}, 2);
    gw_f64_array(w, "a.f64", (double[]){0.5, 1e300}, 2);
    gw_bool_array(w, "a.bool", (uint8_t[]){1, 0, 1}, 3);
    gw_str_array(w, "a.string", strings, 3);
    gw_u32_array(w, "a.empty", NULL, 0);
    gw_str_array(w, "a.no_strings", NULL, 0);
}

/* A tensor of every element type, two rows of one block each, filled with a running count. */
static inline void gw_every_dtype(gw *w)
{
    for (int i = 0; i < LAR_N_DTYPES; i++) {
        uint8_t data[2048];
        const lar_dtype *t = &lar_dtypes[i];
        for (size_t k = 0; k < sizeof data; k++)
            data[k] = (uint8_t)(k * 7 + (size_t)i);
        gw_tensor(w, t->name, t, 2, (int64_t[]){t->block, 2}, data);
    }
}

/* To a file; false when that failed. */
static inline bool gw_save(const gw_bytes *b, const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return false;
    bool ok = fwrite(b->p, 1, b->n, f) == b->n;
    return fclose(f) == 0 && ok;
}

#endif
