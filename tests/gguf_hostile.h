/*
 * gguf_hostile.h - bad GGUF files by name, and what the error must say. Used by
 * test_gguf_hostile.c. Depends on gguf_write.h.
 */
#ifndef LAR_TESTS_GGUF_HOSTILE_H
#define LAR_TESTS_GGUF_HOSTILE_H
#include "gguf_write.h"

#define P31 (UINT64_C(1) << 31)
#define P32 (UINT64_C(1) << 32)
#define P61 (UINT64_C(1) << 61)
#define P62 (UINT64_C(1) << 62)
#define P63 (UINT64_C(1) << 63)
#define DIMS(...) ((const uint64_t[]){__VA_ARGS__})

/* Two keys and two tensors: what the bad files are bad versions of. */
static inline void tiny(gw *w)
{
    gw_str(w, "general.architecture", "llama");
    gw_u32(w, "llama.block_count", 2);
    gw_tensor(w, "token_embd.weight", LAR_DTYPE(f32), 2, (int64_t[]){4, 3}, NULL);
    gw_tensor(w, "output_norm.weight", LAR_DTYPE(f32), 1, (int64_t[]){4}, NULL);
}

/* ---- header ------------------------------------------------------------------------------------
 */

static void n_keys(gw *w, uint64_t n)
{
    tiny(w);
    w->force_kv = true;
    w->forced_kv = n;
}
static void n_tensors(gw *w, uint64_t n)
{
    tiny(w);
    w->force_tensors = true;
    w->forced_tensors = n;
}
/* Enough bytes for what the header says. */
static void fill(gw *w, uint64_t bytes)
{
    char zeros[1024] = {0};
    for (uint64_t i = 0; i < bytes; i += sizeof zeros)
        lar_buf_add(&w->data, zeros, sizeof zeros);
}
static void many_keys(gw *w, uint64_t n)
{
    n_keys(w, n);
    fill(w, n * 14);
}
static void many_tensors(gw *w, uint64_t n)
{
    n_tensors(w, n);
    fill(w, n * 33);
}
static void version(gw *w, uint64_t v)
{
    tiny(w);
    w->version = (uint32_t)v;
}

/* ---- keys --------------------------------------------------------------------------------------
 */

static void key_length(gw *w, uint64_t n)
{
    gw_raw_u64(&w->kv, n);
    lar_buf_add(&w->kv, "general.name", 12);
    gw_raw_u32(&w->kv, LAR_GGUF_U8);
    gw_raw_u32(&w->kv, 7);
    w->n_kv++;
}
static void key_long(gw *w, uint64_t n)
{
    char *s = malloc((size_t)n);
    if (!s)
        abort();
    memset(s, 'k', (size_t)n);
    gw_key_begin_n(w, s, (size_t)n, LAR_GGUF_U8);
    gw_raw_u32(&w->kv, 7);
    free(s);
}
static void key_name(gw *w, const char *s, size_t n)
{
    gw_key_begin_n(w, s, n, LAR_GGUF_U8);
    gw_raw_u32(&w->kv, 7);
}
static void key_nul(gw *w, uint64_t a)
{
    (void)a;
    key_name(w, "general\0name", 12);
}
static void key_not_utf8(gw *w, uint64_t a)
{
    (void)a;
    key_name(w, "general.n\xff\xfe", 11);
}
static void key_overlong(gw *w, uint64_t a)
{
    (void)a;
    key_name(w, "general\xc0\xaename", 13);
}
static void key_half(gw *w, uint64_t a)
{
    (void)a;
    key_name(w, "general\xe2\x82", 9);
}
static void key_surrogate(gw *w, uint64_t a)
{
    (void)a;
    key_name(w, "k\xed\xa0\x80", 4);
}
static void key_twice(gw *w, uint64_t a)
{
    (void)a;
    gw_u32(w, "llama.block_count", 1);
    gw_str(w, "general.name", "x");
    gw_u32(w, "llama.block_count", 1);
}
static void key_twice_control(gw *w, uint64_t a)
{
    (void)a;
    gw_u32(w, "a\x1b[2Jb\n", 1);
    gw_u32(w, "a\x1b[2Jb\n", 1);
}
static void key_type(gw *w, uint64_t t)
{
    gw_key_begin(w, "general.name", (uint32_t)t);
    gw_raw_u64(&w->kv, 0);
}
static void key_short_value(gw *w, uint64_t t)
{
    gw_key_begin(w, "general.quantization", (uint32_t)t);
    gw_key_begin_n(w, "", 0, 0); /* what the keys count says is here */
    w->kv.n -= 12;
}
static void str_length(gw *w, uint64_t n)
{
    gw_key_begin(w, "general.name", LAR_GGUF_STRING);
    gw_raw_u64(&w->kv, n);
    lar_buf_add(&w->kv, "abcd", 4);
}
static void bool_value(gw *w, uint64_t v)
{
    gw_bool(w, "general.flag", (uint8_t)v);
}
static void bool_array(gw *w, uint64_t v)
{
    gw_bool_array(w, "general.flags", (uint8_t[]){0, 1, (uint8_t)v, 1}, 4);
}
static void array_elem(gw *w, uint64_t t)
{
    gw_array_begin(w, "general.tags", (uint32_t)t, 1);
    gw_raw_u32(&w->kv, LAR_GGUF_U8);
    gw_raw_u64(&w->kv, 1);
    lar_buf_putc(&w->kv, 1);
}
static void array_of(gw *w, lar_gguf_type t, uint64_t n)
{
    gw_array_begin(w, "general.tags", t, n);
    gw_raw_u64(&w->kv, 1);
    gw_raw_u64(&w->kv, 1);
}
static void array_u8(gw *w, uint64_t n)
{
    array_of(w, LAR_GGUF_U8, n);
}
static void array_f32(gw *w, uint64_t n)
{
    array_of(w, LAR_GGUF_F32, n);
}
static void array_u64(gw *w, uint64_t n)
{
    array_of(w, LAR_GGUF_U64, n);
}
static void array_str(gw *w, uint64_t n)
{
    array_of(w, LAR_GGUF_STRING, n);
}
static void array_str_length(gw *w, uint64_t n)
{
    gw_array_begin(w, "tokenizer.ggml.tokens", LAR_GGUF_STRING, 2);
    gw_raw_string(&w->kv, "a", 1);
    gw_raw_u64(&w->kv, n);
    lar_buf_add(&w->kv, "bcde", 4);
}
static void array_no_length(gw *w, uint64_t a)
{
    (void)a;
    gw_key_begin(w, "general.tags", LAR_GGUF_ARRAY);
    gw_raw_u32(&w->kv, LAR_GGUF_U8);
}
static void alignment(gw *w, uint64_t a)
{
    gw_u32(w, "general.alignment", (uint32_t)a);
    tiny(w);
}
static void alignment_i32(gw *w, uint64_t a)
{
    gw_i32(w, "general.alignment", (int32_t)a);
    tiny(w);
}
static void alignment_str(gw *w, uint64_t a)
{
    (void)a;
    gw_str(w, "general.alignment", "32");
}
static void alignment_array(gw *w, uint64_t a)
{
    gw_u32_array(w, "general.alignment", (uint32_t[]){(uint32_t)a}, 1);
}
static void split_memory(gw *w, uint64_t n)
{
    gw_u16(w, "split.count", (uint16_t)n);
    tiny(w);
}

/* ---- tensors -----------------------------------------------------------------------------------
 */

static void t_name_length(gw *w, uint64_t n)
{
    gw_raw_u64(&w->infos, n);
    lar_buf_add(&w->infos, "weights of something long enough", 32);
    w->n_tensors++;
}
static void t_long(gw *w, uint64_t n)
{
    char s[2048];
    memset(s, 't', sizeof s);
    gw_info_n(w, s, (size_t)n, 1, DIMS(4), 0, 0);
    gw_pad(&w->data, 32);
}
static void t_name(gw *w, const char *s, size_t n)
{
    gw_info_n(w, s, n, 1, DIMS(4), 0, 0);
    gw_raw_u64(&w->data, 0);
    gw_pad(&w->data, 32);
}
static void t_nul(gw *w, uint64_t a)
{
    (void)a;
    t_name(w, "a\0b", 3);
}
static void t_not_utf8(gw *w, uint64_t a)
{
    (void)a;
    t_name(w, "blk\x80.weight", 11);
}
static void t_n_dims(gw *w, uint64_t n)
{
    gw_info(w, "blk.0.attn_q.weight", (uint32_t)n, DIMS(1, 1, 1, 1, 1, 1, 1, 1), 0, 0);
    gw_raw_u64(&w->data, 0);
}
static void t_dim(gw *w, uint64_t d)
{
    gw_info(w, "blk.0.attn_q.weight", 2, DIMS(4, d), 0, 0);
    gw_raw_u64(&w->data, 0);
}
static void t_dim0(gw *w, uint64_t d)
{
    gw_info(w, "blk.0.attn_q.weight", 2, DIMS(d, 4), 0, 0);
    gw_raw_u64(&w->data, 0);
}
static void t_square(gw *w, uint64_t d)
{
    gw_info(w, "w", 2, DIMS(d, d), 0, 0);
    gw_raw_u64(&w->data, 0);
}
static void t_cube4(gw *w, uint64_t d)
{
    gw_info(w, "w", 4, DIMS(d, d, d, d), 0, 0);
    gw_raw_u64(&w->data, 0);
}
static void t_elements(gw *w, uint64_t n)
{
    gw_info(w, "w", 1, DIMS(n), 0, 0);
    gw_raw_u64(&w->data, 0);
}
static void t_zero_wrap(gw *w, uint64_t n)
{
    gw_info(w, "w", 3, DIMS(n, n, 0), 0, 0);
    gw_raw_u64(&w->data, 0);
}
static void t_quant_wrap(gw *w, uint64_t n)
{
    gw_info(w, "w", 2, DIMS(n, 16), LAR_DTYPE(q8_k)->id, 0);
    gw_raw_u64(&w->data, 0);
}
static void t_row_q4_0(gw *w, uint64_t n)
{
    gw_info(w, "w", 2, DIMS(n, 32), LAR_DTYPE(q4_0)->id, 0);
    for (int i = 0; i < 1024; i++)
        gw_raw_u64(&w->data, 0);
}
static void t_row_q4_k(gw *w, uint64_t n)
{
    gw_info(w, "w", 2, DIMS(n, 8), LAR_DTYPE(q4_k)->id, 0);
    for (int i = 0; i < 1024; i++)
        gw_raw_u64(&w->data, 0);
}
static void t_type(gw *w, uint64_t t)
{
    gw_info(w, "blk.7.ffn_up.weight", 1, DIMS(256), (uint32_t)t, 0);
    for (int i = 0; i < 128; i++)
        gw_raw_u64(&w->data, 0);
}
static void t_offset(gw *w, uint64_t off)
{
    gw_info(w, "w", 1, DIMS(4), 0, off);
    for (int i = 0; i < 8; i++)
        gw_raw_u64(&w->data, 0);
}
static void t_offset_wide(gw *w, uint64_t a)
{
    gw_alignment(w, (uint32_t)a);
    gw_info(w, "w", 1, DIMS(4), 0, 32);
    for (int i = 0; i < 16; i++)
        gw_raw_u64(&w->data, 0);
}
static void t_cut(gw *w, uint64_t n)
{
    gw_info(w, "w", 1, DIMS(64), 0, 0);
    for (int i = 0; i < 32; i++)
        gw_raw_u64(&w->data, 0);
    gw_pad(&w->data, 32);
    w->data.n -= (size_t)n;
}
static void t_no_data(gw *w, uint64_t a)
{
    (void)a;
    gw_info(w, "w", 1, DIMS(4), 0, 0);
}
static void t_no_padding(gw *w, uint64_t a)
{
    (void)a;
    gw_info(w, "unpadded", 1, DIMS(4), 0,
            0); /* infos end at 24 + 40 bytes: 64 is aligned already */
    gw_info(w, "w", 1, DIMS(4), 0, 32);
    w->no_padding = true;
    for (int i = 0; i < 6; i++)
        gw_raw_u64(&w->data, 0);
}
static void t_two(gw *w, uint64_t n1, uint64_t off1, uint64_t n2, uint64_t off2)
{
    gw_info(w, "first", 1, DIMS(n1), 0, off1);
    gw_info(w, "second", 1, DIMS(n2), 0, off2);
    for (int i = 0; i < 64; i++)
        gw_raw_u64(&w->data, 0);
}
static void t_same(gw *w, uint64_t n)
{
    t_two(w, n, 0, n, 0);
}
static void t_overlap_one(gw *w, uint64_t a)
{
    (void)a;
    t_two(w, 9, 0, 8, 32);
}
static void t_inside(gw *w, uint64_t a)
{
    (void)a;
    t_two(w, 64, 0, 8, 64);
}
static void t_backwards(gw *w, uint64_t a)
{
    (void)a;
    t_two(w, 8, 64, 32, 0);
}
static void t_twice(gw *w, uint64_t a)
{
    (void)a;
    gw_tensor(w, "blk.0.attn_q.weight", LAR_DTYPE(f32), 1, (int64_t[]){8}, NULL);
    gw_tensor(w, "blk.0.attn_k.weight", LAR_DTYPE(f32), 1, (int64_t[]){8}, NULL);
    gw_tensor(w, "blk.0.attn_q.weight", LAR_DTYPE(f32), 1, (int64_t[]){8}, NULL);
}

typedef struct hostile {
    const char *name;
    void (*make)(gw *w, uint64_t arg);
    uint64_t arg;
    lar_status code;
    const char *says;
} hostile;

static const hostile hostile_files[] = {
    {"version-0", version, 0, LAR_EFORMAT, "version 0"},
    {"version-1", version, 1, LAR_EUNSUPPORTED, "version 1 is not supported"},
    {"version-4", version, 4, LAR_EUNSUPPORTED, "version 4 is not supported"},
    {"version-max", version, UINT32_MAX, LAR_EUNSUPPORTED, "version 4294967295"},
    {"big-endian-3", version, 0x03000000, LAR_EUNSUPPORTED, "big-endian GGUF file (version 3)"},
    {"big-endian-2", version, 0x02000000, LAR_EUNSUPPORTED, "big-endian GGUF file (version 2)"},
    {"keys-1-more", n_keys, 3, LAR_EFORMAT, "tensor 0: its name says"},
    {"keys-2p31", n_keys, P31, LAR_EFORMAT, "2147483648 keys, the file\'s remaining"},
    {"keys-2p63", n_keys, P63, LAR_EFORMAT, "9223372036854775808 keys, the file\'s remaining"},
    {"keys-max", n_keys, UINT64_MAX, LAR_EFORMAT,
     "18446744073709551615 keys, the file\'s remaining"},
    {"keys-too-many", many_keys, 65537, LAR_EFORMAT, "65537 keys, at most 65536"},
    {"tensors-too-many", many_tensors, 262145, LAR_EFORMAT, "262145 tensors, at most 262144"},
    {"tensors-1-more", n_tensors, 3, LAR_EFORMAT, "tensor 2"},
    {"tensors-2p31", n_tensors, P31, LAR_EFORMAT, "2147483648 tensors, the file\'s remaining"},
    {"tensors-2p63", n_tensors, P63, LAR_EFORMAT,
     "9223372036854775808 tensors, the file\'s remaining"},
    {"tensors-max", n_tensors, UINT64_MAX, LAR_EFORMAT,
     "18446744073709551615 tensors, the file\'s remaining"},

    {"key-length-0", key_length, 0, LAR_EFORMAT, "key 0: its name is empty"},
    {"key-length-past-end", key_length, 100, LAR_EFORMAT, "key 0: its name says that it is 100"},
    {"key-length-2p31", key_length, P31, LAR_EFORMAT, "says that it is 2147483648 bytes long"},
    {"key-length-2p63", key_length, P63, LAR_EFORMAT,
     "says that it is 9223372036854775808 bytes long"},
    {"key-length-max", key_length, UINT64_MAX, LAR_EFORMAT,
     "says that it is 18446744073709551615 bytes long"},
    {"key-length-wraps", key_length, UINT64_MAX - 31, LAR_EFORMAT,
     "says that it is 184467440737095"},
    {"key-65536-bytes", key_long, 65536, LAR_EFORMAT, "at most 65535"},
    {"key-nul", key_nul, 0, LAR_EFORMAT, "general\\x00name\" contains a NUL"},
    {"key-not-utf8", key_not_utf8, 0, LAR_EFORMAT, "general.n\\xff\\xfe\" is not valid UTF-8"},
    {"key-overlong-utf8", key_overlong, 0, LAR_EFORMAT, "not valid UTF-8"},
    {"key-half-utf8", key_half, 0, LAR_EFORMAT, "not valid UTF-8"},
    {"key-surrogate", key_surrogate, 0, LAR_EFORMAT, "not valid UTF-8"},
    {"key-twice", key_twice, 0, LAR_EFORMAT, "duplicate key llama.block_count (keys 0 and 2)"},
    {"key-twice-control", key_twice_control, 0, LAR_EFORMAT, "duplicate key a\\x1b[2Jb\\x0a"},
    {"type-13", key_type, 13, LAR_EFORMAT, "general.name): unknown value type 13"},
    {"type-max", key_type, UINT32_MAX, LAR_EFORMAT, "unknown value type 4294967295"},
    {"value-missing-u32", key_short_value, LAR_GGUF_U32, LAR_EFORMAT, "quantization): truncated"},
    {"value-missing-f64", key_short_value, LAR_GGUF_F64, LAR_EFORMAT, "quantization): truncated"},
    {"value-missing-bool", key_short_value, LAR_GGUF_BOOL, LAR_EFORMAT, "quantization): truncated"},
    {"value-missing-str", key_short_value, LAR_GGUF_STRING, LAR_EFORMAT, "truncated"},
    {"value-missing-array", key_short_value, LAR_GGUF_ARRAY, LAR_EFORMAT, "truncated"},
    {"string-5-of-4", str_length, 5, LAR_EFORMAT, "general.name): its value says that it is 5"},
    {"string-2p31", str_length, P31, LAR_EFORMAT, "says that it is 2147483648 bytes long"},
    {"string-2p63", str_length, P63, LAR_EFORMAT, "says that it is 9223372036854775808 bytes long"},
    {"string-max", str_length, UINT64_MAX, LAR_EFORMAT,
     "says that it is 18446744073709551615 bytes long"},
    {"string-wraps", str_length, UINT64_MAX - 7, LAR_EFORMAT, "says that it is 184467440737095"},
    {"bool-2", bool_value, 2, LAR_EFORMAT, "general.flag): a bool is 2, want 0 or 1"},
    {"bool-255", bool_value, 255, LAR_EFORMAT, "a bool is 255"},
    {"bool-array-2", bool_array, 2, LAR_EFORMAT, "general.flags): a bool is 2"},
    {"array-nested", array_elem, LAR_GGUF_ARRAY, LAR_EUNSUPPORTED,
     "general.tags): an array of arrays"},
    {"array-type-13", array_elem, 13, LAR_EFORMAT, "unknown array element type 13"},
    {"array-type-max", array_elem, UINT32_MAX, LAR_EFORMAT, "element type 4294967295"},
    {"array-no-length", array_no_length, 0, LAR_EFORMAT, "truncated"},
    {"array-u8-17-of-16", array_u8, 17, LAR_EFORMAT, "an array of 17 u8, the file has 16"},
    {"array-u8-2p31", array_u8, P31, LAR_EFORMAT, "an array of 2147483648 u8"},
    {"array-u8-2p63", array_u8, P63, LAR_EFORMAT, "an array of 9223372036854775808 u8"},
    {"array-u8-max", array_u8, UINT64_MAX, LAR_EFORMAT, "an array of 18446744073709551615 u8"},
    {"array-f32-2p31", array_f32, P31, LAR_EFORMAT, "an array of 2147483648 f32"},
    {"array-f32-wraps-to-0", array_f32, P62, LAR_EFORMAT, "an array of 4611686018427387904 f32"},
    {"array-f32-wraps-to-4", array_f32, P62 + 1, LAR_EFORMAT,
     "an array of 4611686018427387905 f32"},
    {"array-u64-wraps-to-0", array_u64, P61, LAR_EFORMAT, "an array of 2305843009213693952 u64"},
    {"array-str-2p31", array_str, P31, LAR_EFORMAT, "array of strings wants 17179869184 bytes"},
    {"array-str-wraps-to-0", array_str, P61, LAR_EFORMAT, "array of strings wants"},
    {"array-str-2p63", array_str, P63, LAR_EFORMAT, "array of strings wants"},
    {"array-str-3-of-2", array_str, 3, LAR_EFORMAT, "array of strings wants 24 bytes"},
    {"array-str-len-5-of-4", array_str_length, 5, LAR_EFORMAT, "array's string says that it is 5"},
    {"array-str-len-2p31", array_str_length, P31, LAR_EFORMAT,
     "says that it is 2147483648 bytes long"},
    {"array-str-len-2p63", array_str_length, P63, LAR_EFORMAT,
     "says that it is 9223372036854775808 bytes long"},
    {"array-str-len-wraps", array_str_length, UINT64_MAX - 7, LAR_EFORMAT,
     "says that it is 184467440737095"},
    {"alignment-0", alignment, 0, LAR_EFORMAT, "general.alignment: is 0, want a power of two"},
    {"alignment-1", alignment, 1, LAR_EFORMAT, "general.alignment: is 1,"},
    {"alignment-3", alignment, 3, LAR_EFORMAT, "general.alignment: is 3,"},
    {"alignment-4", alignment, 4, LAR_EFORMAT, "general.alignment: is 4,"},
    {"alignment-33", alignment, 33, LAR_EFORMAT, "general.alignment: is 33,"},
    {"alignment-2p21", alignment, 1 << 21, LAR_EFORMAT, "general.alignment: is 2097152,"},
    {"alignment-2p31", alignment, P31, LAR_EFORMAT, "general.alignment: is 2147483648,"},
    {"alignment-max", alignment, UINT32_MAX, LAR_EFORMAT, "general.alignment: is 4294967295,"},
    {"alignment-i32", alignment_i32, 32, LAR_EFORMAT, "general.alignment: is of type i32"},
    {"alignment-string", alignment_str, 32, LAR_EFORMAT, "general.alignment: is of type string"},
    {"alignment-array", alignment_array, 32, LAR_EFORMAT, "general.alignment: is of type array"},
    {"split-in-memory", split_memory, 2, LAR_EUNSUPPORTED, "split into 2"},

    {"tensor-name-0", t_name_length, 0, LAR_EFORMAT, "tensor 0: its name is empty"},
    {"tensor-name-past-end", t_name_length, 33, LAR_EFORMAT, "says that it is 33"},
    {"tensor-name-2p31", t_name_length, P31, LAR_EFORMAT, "says that it is 2147483648 bytes long"},
    {"tensor-name-2p63", t_name_length, P63, LAR_EFORMAT,
     "says that it is 9223372036854775808 bytes long"},
    {"tensor-name-max", t_name_length, UINT64_MAX, LAR_EFORMAT, "says that it is 184467440737095"},
    {"tensor-name-1025", t_long, 1025, LAR_EFORMAT, "at most 1024"},
    {"tensor-name-nul", t_nul, 0, LAR_EFORMAT, "a\\x00b\" contains a NUL"},
    {"tensor-name-not-utf8", t_not_utf8, 0, LAR_EFORMAT, "blk\\x80.weight\" is not valid UTF-8"},
    {"n-dims-0", t_n_dims, 0, LAR_EFORMAT, "(blk.0.attn_q.weight): has 0 dimensions"},
    {"n-dims-5", t_n_dims, 5, LAR_EFORMAT, "has 5 dimensions"},
    {"n-dims-2p31", t_n_dims, P31, LAR_EFORMAT, "has 2147483648 dimensions"},
    {"n-dims-max", t_n_dims, UINT32_MAX, LAR_EFORMAT, "has 4294967295 dimensions"},
    {"dim-0", t_dim, 0, LAR_EFORMAT, "dimension 1 is 0"},
    {"dim0-0", t_dim0, 0, LAR_EFORMAT, "dimension 0 is 0"},
    {"dim-2p63", t_dim, P63, LAR_EFORMAT, "dimension 1 is 9223372036854775808"},
    {"dim-max", t_dim0, UINT64_MAX, LAR_EFORMAT, "dimension 0 is 18446744073709551615"},
    {"dim-2p31", t_dim, P31, LAR_EFORMAT, "its data ends at byte"},
    {"dim-2p63-1", t_dim, P63 - 1, LAR_EFORMAT, "its size overflows"},
    {"dims-square-wraps-to-0", t_square, P32, LAR_EFORMAT, "its size overflows"},
    {"dims-square-2p31", t_square, P31, LAR_EFORMAT, "its size overflows"},
    {"dims-product-wraps-to-0", t_cube4, 1 << 16, LAR_EFORMAT, "its size overflows"},
    {"dims-product-2p31", t_cube4, P31, LAR_EFORMAT, "its size overflows"},
    {"dims-zero-after-wrap", t_zero_wrap, P32, LAR_EFORMAT, "dimension 2 is 0"},
    {"bytes-wrap-to-0", t_elements, P62, LAR_EFORMAT, "its size overflows"},
    {"bytes-2p63", t_elements, P61, LAR_EFORMAT, "its size overflows"},
    {"bytes-wrap-to-4", t_elements, P62 + 1, LAR_EFORMAT, "its size overflows"},
    {"bytes-huge", t_elements, P61 - 1, LAR_EFORMAT, "its data ends at byte"},
    {"bytes-quantized-wrap", t_quant_wrap, P63 / 16, LAR_EFORMAT, "its size overflows"},
    {"row-33-of-q4_0", t_row_q4_0, 33, LAR_EFORMAT, "a row has 33 elements, want a multiple of 32"},
    {"row-1-of-q4_0", t_row_q4_0, 1, LAR_EFORMAT, "a row has 1 elements"},
    {"row-32-of-q4_k", t_row_q4_k, 32, LAR_EFORMAT,
     "a row has 32 elements, want a multiple of 256"},
    {"type-4-removed", t_type, 4, LAR_EUNSUPPORTED, "(blk.7.ffn_up.weight): element type 4"},
    {"type-31-removed", t_type, 31, LAR_EUNSUPPORTED, "element type 31"},
    {"type-1000", t_type, 1000, LAR_EUNSUPPORTED, "element type 1000"},
    {"type-2p32-1", t_type, UINT32_MAX, LAR_EUNSUPPORTED, "element type 4294967295"},
    {"offset-1", t_offset, 1, LAR_EFORMAT, "tensor w: offset 1 is not aligned to 32"},
    {"offset-16", t_offset, 16, LAR_EFORMAT, "offset 16 is not aligned to 32"},
    {"offset-32-of-64", t_offset_wide, 64, LAR_EFORMAT, "offset 32 is not aligned to 64"},
    {"offset-at-end", t_offset, 64, LAR_EFORMAT, "its data ends at byte"},
    {"offset-2p31", t_offset, P31, LAR_EFORMAT, "its data ends at byte"},
    {"offset-2p63", t_offset, P63, LAR_EFORMAT, "its data ends at byte"},
    {"offset-wraps", t_offset, UINT64_MAX - 31, LAR_EFORMAT, "overflows"},
    {"offset-wraps-with-base", t_offset, UINT64_MAX - 63, LAR_EFORMAT, "overflows"},
    {"data-cut-by-1", t_cut, 1, LAR_EFORMAT, "is the download complete?"},
    {"data-cut-by-255", t_cut, 255, LAR_EFORMAT, "is the download complete?"},
    {"data-none", t_no_data, 0, LAR_EFORMAT, "is the download complete?"},
    {"data-no-padding", t_no_padding, 0, LAR_EFORMAT, "is the download complete?"},
    {"overlap-same", t_same, 8, LAR_EFORMAT, "tensors first and second overlap"},
    {"overlap-one-element", t_overlap_one, 0, LAR_EFORMAT, "tensors first and second overlap"},
    {"overlap-inside", t_inside, 0, LAR_EFORMAT, "tensors first and second overlap"},
    {"overlap-backwards", t_backwards, 0, LAR_EFORMAT, "tensors second and first overlap"},
    {"tensor-twice", t_twice, 0, LAR_EFORMAT, "duplicate tensor blk.0.attn_q.weight"},
};

/* Files that are something else. */
typedef struct foreign {
    const char *name;
    const char *bytes;
    size_t n;
    lar_status code;
    const char *says;
} foreign;
#define BYTES(s) s, sizeof(s) - 1

static const foreign foreign_files[] = {
    {"empty", BYTES(""), LAR_EFORMAT, "it is empty"},
    {"one-byte", BYTES("G"), LAR_EFORMAT, "truncated"},
    {"other-byte", BYTES("x"), LAR_EFORMAT, "its 1 bytes begin with \"x\""},
    {"lower-case", BYTES("gguf\3\0\0\0"), LAR_EFORMAT, "begin with \"gguf\\x03"},
    {"magic-alone", BYTES("GGUF"), LAR_EFORMAT, "truncated"},
    {"magic-backwards", BYTES("FUGG\0\0\0\3"), LAR_EUNSUPPORTED, "big-endian"},
    {"safetensors", BYTES("\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}"), LAR_EFORMAT, "safetensors"},
    {"zip", BYTES("PK\3\4\0\0\x08\x08"), LAR_EFORMAT, "zip archive"},
    {"pickle", BYTES("\x80\2}q\0."), LAR_EFORMAT, "Python pickle"},
    {"hdf5", BYTES("\x89HDF\r\n\x1a\n"), LAR_EFORMAT, "HDF5"},
    {"ggml", BYTES("lmgg\1\0\0\0"), LAR_EFORMAT, "(ggml)"},
    {"ggjt", BYTES("tjgg\3\0\0\0"), LAR_EFORMAT, "(ggjt)"},
    {"gzip", BYTES("\x1f\x8b\x08\0"), LAR_EFORMAT, "gzip"},
    {"html", BYTES("<!DOCTYPE html><html>"), LAR_EFORMAT, "web page"},
    {"html-space", BYTES("\r\n  <HTML><body>404"), LAR_EFORMAT, "web page"},
    {"json", BYTES("{\"error\":\"not found\"}"), LAR_EFORMAT, "JSON"},
    {"lfs", BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 98362432\n"),
     LAR_EFORMAT, "Git LFS pointer"},
    {"zeros", BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), LAR_EFORMAT, "zeros"},
};

#endif
