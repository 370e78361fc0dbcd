/*
 * test_gguf.c - good GGUF files: every type through every getter, tensors, split models, real
 * vocabularies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <unistd.h>
#include "base/os.h"
#include "gguf_write.h"

static lar_gguf *open_good(const gw_bytes *b)
{
    lar_err e = {0};
    lar_gguf *g;
    if (lar_gguf_open_bytes(b->p, b->n, &g, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return g;
}

/* ---- one file ----------------------------------------------------------------------------------
 */

static void every_type_is_listed(void **state)
{
    (void)state;
    for (uint32_t v = 2; v <= 3; v++) {
        gw w = gw_new();
        w.version = v;
        gw_every_type(&w);
        gw_bytes b = gw_finish(&w);
        lar_gguf *g = open_good(&b);
        assert_int_equal(lar_gguf_version(g), v);
        assert_int_equal(lar_gguf_alignment(g), 32);
        assert_int_equal(lar_gguf_n_files(g), 1);
        assert_int_equal(lar_gguf_file_bytes(g), b.n);
        assert_string_equal(lar_gguf_path(g), "");
        assert_int_equal(lar_gguf_n_kv(g), 26);
        assert_int_equal(lar_gguf_n_tensors(g), 0);
        assert_null(lar_gguf_kv_at(g, 26));
        assert_null(lar_gguf_tensor_at(g, 0));
        assert_null(lar_gguf_find(g, "t.u"));
        assert_null(lar_gguf_find(g, ""));
        assert_null(lar_gguf_find_tensor(g, "t.u8"));
        unsigned seen = 0;
        for (size_t i = 0; i < lar_gguf_n_kv(g); i++) {
            const lar_gguf_kv *kv = lar_gguf_kv_at(g, i);
            char key[32];
            snprintf(key, sizeof key, "%.*s", (int)kv->key.n, kv->key.p);
            assert_ptr_equal(lar_gguf_find(g, key), kv);
            if (key[0] == 't') { /* the key is named by its type */
                assert_string_equal(key + 2, lar_gguf_type_name(kv->type));
                assert_int_equal(kv->count, 1);
                seen |= 1u << kv->type;
            } else {
                assert_int_equal(kv->type, LAR_GGUF_ARRAY);
                if (kv->count)
                    assert_string_equal(key + 2, lar_gguf_type_name(kv->elem));
                seen |= 1u << LAR_GGUF_ARRAY;
            }
        }
        assert_int_equal(seen, (1u << LAR_GGUF_N_TYPES) - 1);
        const lar_gguf_kv *s = lar_gguf_find(g, "a.string");
        assert_int_equal(s->count, 3);
        assert_int_equal(s->bytes, 3 * 8 + 0 + 9 + 3);
        lar_gguf_close(g);
        gw_bytes_free(&b);
    }
}

/* What each scalar getter makes of a key: OK, or LAR_EFORMAT. */
typedef struct scalar_case {
    const char *key;
    bool u32, u64, f32, boolean, str;
    uint64_t u;
    float f;
} scalar_case;

static void scalar_getters(void **state)
{
    (void)state;
    static const scalar_case cases[] = {
        {"t.u8", 1, 1, 1, 0, 0, 200, 200},
        {"t.i8", 0, 0, 1, 0, 0, 0, -100},
        {"t.u16", 1, 1, 1, 0, 0, 50000, 50000},
        {"t.i16", 0, 0, 1, 0, 0, 0, -30000},
        {"t.u32", 1, 1, 1, 0, 0, 4000000000u, 4e9f},
        {"t.i32", 0, 0, 1, 0, 0, 0, -2e9f},
        {"t.u64", 0, 1, 1, 0, 0, UINT64_C(10000000000000000000), 1e19f},
        {"t.i64", 0, 0, 1, 0, 0, 0, -5e18f},
        {"t.f32", 0, 0, 1, 0, 0, 0, 1.5f},
        {"t.f64", 0, 0, 1, 0, 0, 0, -0.125f},
        {"t.bool", 0, 0, 0, 1, 0, 0, 0},
        {"t.string", 0, 0, 0, 0, 1, 0, 0},
        {"a.u8", 0, 0, 0, 0, 0, 0, 0},
        {"a.string", 0, 0, 0, 0, 0, 0, 0},
    };
    gw w = gw_new();
    gw_every_type(&w);
    gw_bytes b = gw_finish(&w);
    lar_gguf *g = open_good(&b);
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        const scalar_case *c = &cases[i];
        lar_err e = {0};
        uint32_t u32 = 77;
        uint64_t u64 = 77;
        float f = 77;
        bool boolean = false;
        lar_str s = {"untouched", 9};
        assert_int_equal(lar_gguf_get_u32(g, c->key, &u32, &e), c->u32 ? LAR_OK : LAR_EFORMAT);
        assert_int_equal(u32, c->u32 ? (uint32_t)c->u : 77);
        assert_int_equal(lar_gguf_get_u64(g, c->key, &u64, &e), c->u64 ? LAR_OK : LAR_EFORMAT);
        assert_int_equal(u64, c->u64 ? c->u : 77);
        assert_int_equal(lar_gguf_get_f32(g, c->key, &f, &e), c->f32 ? LAR_OK : LAR_EFORMAT);
        assert_true(f == (c->f32 ? c->f : 77));
        assert_int_equal(lar_gguf_get_bool(g, c->key, &boolean, &e),
                         c->boolean ? LAR_OK : LAR_EFORMAT);
        assert_int_equal(boolean, c->boolean);
        assert_int_equal(lar_gguf_get_str(g, c->key, &s, &e), c->str ? LAR_OK : LAR_EFORMAT);
        assert_true(lar_str_eq(s, c->str ? "hello" : "untouched"));
        assert_non_null(strstr(e.msg, c->str ? "" : c->key));
    }
    lar_gguf_close(g);
    gw_bytes_free(&b);
}

static void getters_say_what_is_wrong(void **state)
{
    (void)state;
    lar_err e = {0};
    uint32_t u = 5, *ua;
    uint64_t u8 = 5;
    int32_t *ia;
    float f = 5, *fa;
    bool t = true;
    lar_str s = {0}, *sa;
    size_t n;
    gw w = gw_new();
    gw_every_type(&w);
    gw_f32(&w, "bad.nan", NAN);
    gw_f64(&w, "bad.large", 1e300);
    gw_f32_array(&w, "bad.nans", (float[]){1, NAN}, 2);
    gw_u64_array(&w, "bad.wide", (uint64_t[]){1, 2, UINT64_C(1) << 32}, 3);
    gw_bytes b = gw_finish(&w);
    lar_gguf *g = open_good(&b);
#define SAYS(call, want, text)                                                                     \
    do {                                                                                           \
        assert_int_equal(call, want);                                                              \
        assert_int_equal(e.code, want);                                                            \
        assert_string_equal(e.msg, text);                                                          \
    } while (0)
    SAYS(lar_gguf_get_u32(g, "no.key", &u, &e), LAR_ENOTFOUND, "key no.key is missing");
    SAYS(lar_gguf_get_u64(g, "no.key", &u8, &e), LAR_ENOTFOUND, "key no.key is missing");
    SAYS(lar_gguf_get_f32(g, "no.key", &f, &e), LAR_ENOTFOUND, "key no.key is missing");
    SAYS(lar_gguf_get_bool(g, "no.key", &t, &e), LAR_ENOTFOUND, "key no.key is missing");
    SAYS(lar_gguf_get_str(g, "no.key", &s, &e), LAR_ENOTFOUND, "key no.key is missing");
    SAYS(lar_gguf_get_u32_array(g, "no.key", &ua, &n, &e), LAR_ENOTFOUND, "key no.key is missing");
    SAYS(lar_gguf_get_str_array(g, "no.key", &sa, &n, &e), LAR_ENOTFOUND, "key no.key is missing");
    SAYS(lar_gguf_get_u32(g, "t.i8", &u, &e), LAR_EFORMAT,
         "t.i8: -100 is out of range, want 0 to 4294967295");
    SAYS(lar_gguf_get_u32(g, "t.u64", &u, &e), LAR_EFORMAT,
         "t.u64: 10000000000000000000 is out of range, want 0 to 4294967295");
    SAYS(lar_gguf_get_u64(g, "t.i64", &u8, &e), LAR_EFORMAT,
         "t.i64: -5000000000000000000 is out of range, want 0 or more");
    SAYS(lar_gguf_get_u32(g, "t.f32", &u, &e), LAR_EFORMAT,
         "t.f32: is of type f32, want an integer");
    SAYS(lar_gguf_get_f32(g, "t.string", &f, &e), LAR_EFORMAT,
         "t.string: is of type string, want a number");
    SAYS(lar_gguf_get_f32(g, "bad.nan", &f, &e), LAR_EFORMAT,
         "bad.nan: is NaN, want a finite number");
    SAYS(lar_gguf_get_f32(g, "bad.large", &f, &e), LAR_EFORMAT,
         "bad.large: is infinite, want a finite number");
    SAYS(lar_gguf_get_bool(g, "t.u8", &t, &e), LAR_EFORMAT, "t.u8: is of type u8, want bool");
    SAYS(lar_gguf_get_str(g, "a.string", &s, &e), LAR_EFORMAT,
         "a.string: is of type array of string, want string");
    SAYS(lar_gguf_get_u32_array(g, "a.i8", &ua, &n, &e), LAR_EFORMAT,
         "a.i8: element 1, -2 is out of range, want 0 to 4294967295");
    SAYS(lar_gguf_get_u32_array(g, "bad.wide", &ua, &n, &e), LAR_EFORMAT,
         "bad.wide: element 2, 4294967296 is out of range, want 0 to 4294967295");
    SAYS(lar_gguf_get_i32_array(g, "a.i64", &ia, &n, &e), LAR_EFORMAT,
         "a.i64: element 1, -9223372036854775808 is out of range, want -2147483648 to 2147483647");
    SAYS(lar_gguf_get_i32_array(g, "a.u32", &ia, &n, &e), LAR_EFORMAT,
         "a.u32: element 1, 4294967295 is out of range, want -2147483648 to 2147483647");
    SAYS(lar_gguf_get_f32_array(g, "bad.nans", &fa, &n, &e), LAR_EFORMAT,
         "bad.nans: element 1 is NaN");
    SAYS(lar_gguf_get_f32_array(g, "a.string", &fa, &n, &e), LAR_EFORMAT,
         "a.string: is of type array of string, want an array of numbers");
    SAYS(lar_gguf_get_str_array(g, "t.string", &sa, &n, &e), LAR_EFORMAT,
         "t.string: is of type string, want an array of strings");
    SAYS(lar_gguf_get_str_array(g, "a.u8", &sa, &n, &e), LAR_EFORMAT,
         "a.u8: is of type array of u8, want an array of strings");
#undef SAYS
    assert_true(u == 5 && u8 == 5 && f == 5 && t && !s.p); /* an error leaves *out alone */
    assert_int_equal(lar_gguf_get_u32(g, "no.key", &u, NULL), LAR_ENOTFOUND);
    lar_gguf_close(g);
    gw_bytes_free(&b);
}

static void check_integers(const lar_gguf *g, const char *key, bool as_u32, bool as_i32,
                           const int64_t *want, size_t n_want)
{
    lar_err e;
    uint32_t *u = NULL;
    int32_t *i = NULL;
    float *f = NULL;
    size_t n;
    assert_int_equal(lar_gguf_get_u32_array(g, key, &u, &n, &e), as_u32 ? LAR_OK : LAR_EFORMAT);
    for (size_t k = 0; as_u32 && k < n_want; k++)
        assert_int_equal(u[k], want[k]);
    assert_true(!as_u32 || n == n_want);
    assert_int_equal(lar_gguf_get_i32_array(g, key, &i, &n, &e), as_i32 ? LAR_OK : LAR_EFORMAT);
    for (size_t k = 0; as_i32 && k < n_want; k++)
        assert_int_equal(i[k], want[k]);
    assert_true(!as_i32 || n == n_want);
    if (lar_gguf_get_f32_array(g, key, &f, &n, &e) == LAR_OK) {
        assert_int_equal(n, n_want);
        for (size_t k = 0; k < n_want; k++)
            assert_true(f[k] == (float)want[k]);
    } else {
        assert_string_equal(key, "a.bool");
    }
    lar_free(u);
    lar_free(i);
    lar_free(f);
}

static void array_getters(void **state)
{
    (void)state;
    lar_err e;
    gw w = gw_new();
    gw_every_type(&w);
    gw_bytes b = gw_finish(&w);
    lar_gguf *g = open_good(&b);
    check_integers(g, "a.u8", true, true, (int64_t[]){1, 2, 255}, 3);
    check_integers(g, "a.i8", false, true, (int64_t[]){1, -2, -128}, 3);
    check_integers(g, "a.u16", true, true, (int64_t[]){1, 65535}, 2);
    check_integers(g, "a.i16", false, true, (int64_t[]){1, -32768}, 2);
    check_integers(g, "a.u32", true, false, (int64_t[]){1, UINT32_MAX}, 2);
    check_integers(g, "a.i32", false, true, (int64_t[]){7, INT32_MIN}, 2);
    check_integers(g, "a.i64", false, false, (int64_t[]){1, INT64_MIN}, 2);
    check_integers(g, "a.bool", true, false, (int64_t[]){1, 0, 1}, 3);
    float *f;
    size_t n;
    assert_int_equal(lar_gguf_get_f32_array(g, "a.f32", &f, &n, &e), LAR_OK);
    assert_true(n == 2 && f[0] == 0.5f && f[1] == -2.25f);
    lar_free(f);
    assert_int_equal(lar_gguf_get_f32_array(g, "a.f64", &f, &n, &e), LAR_OK);
    assert_true(n == 2 && f[0] == 0.5f && f[1] > 3e38f);
    lar_free(f);
    assert_int_equal(lar_gguf_get_f32_array(g, "a.u64", &f, &n, &e), LAR_OK);
    assert_true(n == 2 && f[0] == 1 && f[1] == 0x1p64f);
    lar_free(f);
    lar_str *s;
    assert_int_equal(lar_gguf_get_str_array(g, "a.string", &s, &n, &e), LAR_OK);
    assert_int_equal(n, 3);
    assert_true(lar_str_eq(s[0], "") && lar_str_eq(s[1], "two words") &&
                lar_str_eq(s[2], "\xe2\x82\xac"));
    lar_free(s);
    uint32_t one = 1, *u = &one;
    assert_int_equal(lar_gguf_get_u32_array(g, "a.empty", &u, &n, &e), LAR_OK);
    assert_true(!u && n == 0);
    assert_int_equal(lar_gguf_get_str_array(g, "a.no_strings", &s, &n, &e), LAR_OK);
    assert_true(!s && n == 0);
    lar_gguf_close(g);
    gw_bytes_free(&b);
}

static void tensors_lie_where_they_are(void **state)
{
    (void)state;
    for (uint32_t a = 8; a <= 4096; a *= 2) {
        gw w = gw_new();
        gw_alignment(&w, a);
        gw_every_dtype(&w);
        gw_bytes b = gw_finish(&w);
        lar_gguf *g = open_good(&b);
        assert_int_equal(lar_gguf_alignment(g), a);
        assert_int_equal(lar_gguf_n_tensors(g), LAR_N_DTYPES);
        for (int i = 0; i < LAR_N_DTYPES; i++) {
            const lar_gguf_tensor *t = lar_gguf_tensor_at(g, (size_t)i);
            assert_ptr_equal(t->type, &lar_dtypes[i]);
            assert_ptr_equal(lar_gguf_find_tensor(g, t->type->name), t);
            assert_int_equal(t->n_dims, 2);
            assert_int_equal(t->dim[0], t->type->block);
            assert_int_equal(t->dim[1], 2);
            assert_true(t->dim[2] == 1 && t->dim[3] == 1);
            assert_int_equal(t->bytes, 2 * t->type->bytes);
            assert_int_equal((t->data - b.p) % a, 0);
            for (size_t k = 0; k < t->bytes; k++)
                assert_int_equal(t->data[k], (uint8_t)(k * 7 + (size_t)i));
        }
        lar_gguf_close(g);
        gw_bytes_free(&b);
    }
}

/* Gaps between tensors, another order than the infos', four dimensions, strange but valid names. */
static void odd_but_good(void **state)
{
    (void)state;
    const uint64_t dim[] = {2, 3, 1, 2};
    gw w = gw_new();
    gw_u8(&w, "caf\xc3\xa9 \x01", 1);
    gw_str_n(&w, "not.text", "\xff\0\xfe", 3);
    gw_info(&w, "last", 4, dim, LAR_DTYPE(f32)->id, 128);
    gw_info(&w, "first", 1, dim, LAR_DTYPE(f32)->id, 0);
    gw_info(&w, "middle", 1, dim, LAR_DTYPE(f32)->id, 64);
    for (int i = 0; i < 128 + 48; i++)
        lar_buf_putc(&w.data, (char)i);
    gw_bytes b = gw_finish(&w);
    lar_gguf *g = open_good(&b);
    const lar_gguf_tensor *t = lar_gguf_find_tensor(g, "last");
    assert_non_null(t);
    assert_int_equal(t->n_dims, 4);
    assert_int_equal(t->bytes, 48);
    assert_int_equal(t->data[0], 128);
    assert_int_equal(lar_gguf_find_tensor(g, "middle")->data[1], 65);
    assert_non_null(lar_gguf_find(g, "caf\xc3\xa9 \x01"));
    lar_str s;
    assert_int_equal(lar_gguf_get_str(g, "not.text", &s, NULL), LAR_OK);
    assert_int_equal(s.n, 3);
    assert_memory_equal(s.p, "\xff\0\xfe", 3);
    lar_gguf_close(g);
    lar_gguf_close(NULL);
    gw_bytes_free(&b);
}

/* ---- split models ------------------------------------------------------------------------------
 */

/* Files of one test in the system's temporary folder, named by the process. */
static void temp_path(char out[512], const char *name)
{
    const char *dir = lar_getenv("TMPDIR");
    if (!dir)
        dir = lar_getenv("TEMP");
    snprintf(out, 512, "%s/lar-test-gguf-%ld-%s", dir ? dir : "/tmp", (long)getpid(), name);
}

static void shard_name(char out[512], int no, int count)
{
    char name[64];
    snprintf(name, sizeof name, "model-%05d-of-%05d.gguf", no + 1, count);
    temp_path(out, name);
}

static void save(gw *w, const char *path)
{
    gw_bytes b = gw_finish(w);
    if (!gw_save(&b, path))
        fail_msg("%s cannot be written", path);
    gw_bytes_free(&b);
}

static void split_keys(gw *w, int no, int count, int tensors)
{
    gw_u16(w, "split.no", (uint16_t)no);
    gw_u16(w, "split.count", (uint16_t)count);
    gw_i32(w, "split.tensors.count", tensors);
}

/* What a shard gets wrong, by a change of its numbers. */
typedef struct shards {
    int no[3], count[3], tensors[3];
    const char *third; /* name of the last shard's tensor */
    bool skip_third;
} shards;

static const shards good_shards = {
    .no = {0, 1, 2}, .count = {3, 3, 3}, .tensors = {4, 4, 4}, .third = "d"};

static void write_shards(const shards *s)
{
    static const float values[4][8] = {{1}, {2}, {3}, {4}};
    for (int i = 0; i < 3; i++) {
        char path[512];
        gw w = gw_new();
        shard_name(path, i, 3);
        remove(path);
        if (i == 2 && s->skip_third)
            continue;
        if (i == 0)
            gw_str(&w, "general.architecture", "llama");
        if (i == 1)
            gw_alignment(&w, 128); /* each file has its own */
        split_keys(&w, s->no[i], s->count[i], s->tensors[i]);
        if (i == 0) {
            gw_tensor(&w, "a", LAR_DTYPE(f32), 1, (int64_t[]){8}, values[0]);
            gw_tensor(&w, "b", LAR_DTYPE(f32), 1, (int64_t[]){8}, values[1]);
        } else {
            gw_tensor(&w, i == 1 ? "c" : s->third, LAR_DTYPE(f32), 1, (int64_t[]){8},
                      values[i + 1]);
        }
        save(&w, path);
    }
}

static int remove_shards(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        char path[512];
        shard_name(path, i, 3);
        remove(path);
    }
    return 0;
}

static void split_model_is_joined(void **state)
{
    (void)state;
    char path[512];
    lar_err e = {0};
    lar_gguf *g;
    write_shards(&good_shards);
    shard_name(path, 0, 3);
    if (lar_gguf_open(path, &g, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    assert_string_equal(lar_gguf_path(g), path);
    assert_int_equal(lar_gguf_n_files(g), 3);
    assert_int_equal(lar_gguf_n_kv(g), 4); /* the first file's */
    assert_int_equal(lar_gguf_n_tensors(g), 4);
    uint64_t bytes = 0;
    for (int i = 0; i < 3; i++) {
        shard_name(path, i, 3);
        lar_map m;
        assert_int_equal(lar_map_open(path, &m, &e), LAR_OK);
        bytes += m.size;
        lar_map_close(&m);
    }
    assert_int_equal(lar_gguf_file_bytes(g), bytes);
    static const int file[] = {0, 0, 1, 2};
    for (size_t i = 0; i < 4; i++) {
        const lar_gguf_tensor *t = lar_gguf_tensor_at(g, i);
        float f;
        assert_ptr_equal(lar_gguf_find_tensor(g, (char[]){(char)('a' + i), 0}), t);
        assert_int_equal(t->file, file[i]);
        memcpy(&f, t->data, sizeof f);
        assert_true(f == (float)(i + 1));
    }
    lar_gguf_close(g);
}

static void expect_open(const char *path, lar_status code, const char *says)
{
    lar_err e = {0};
    lar_gguf *g;
    lar_status st = lar_gguf_open(path, &g, &e);
    if (st == LAR_OK)
        lar_gguf_close(g);
    if (st != code || !strstr(e.msg, says))
        fail_msg("status %d (%s), want %d and \"%s\"", st, e.msg, code, says);
    assert_null(g);
}

static void expect_split(const shards *s, lar_status code, const char *says)
{
    char path[512];
    write_shards(s);
    shard_name(path, 0, 3);
    expect_open(path, code, says);
}

static void bad_splits(void **state)
{
    (void)state;
    char path[512];
    shards s = good_shards;
    s.no[1] = 2;
    expect_split(&s, LAR_EFORMAT, "says that it is part 3 of 3 (split.no 2), want part 2 of 3");
    s = good_shards;
    s.count[2] = 4;
    expect_split(&s, LAR_EFORMAT, "says that it is part 3 of 4 (split.no 2), want part 3 of 3");
    s = good_shards;
    s.tensors[0] = s.tensors[1] = s.tensors[2] = 5;
    expect_split(&s, LAR_EFORMAT, "split.tensors.count is 5, the 3 files have 4 tensors");
    s = good_shards;
    s.tensors[2] = 9;
    expect_split(&s, LAR_EFORMAT, "split.tensors.count is 9, the first part says 4");
    s.tensors[2] = -4;
    expect_split(&s, LAR_EFORMAT, "split.tensors.count is not an unsigned number");
    s = good_shards;
    s.third = "a";
    expect_split(&s, LAR_EFORMAT, "duplicate tensor a (in files 1 and 3 of 3)");
    s = good_shards;
    s.skip_third = true;
    expect_split(&s, LAR_ENOTFOUND, "model-00003-of-00003.gguf");
    s = good_shards;
    s.no[0] = 3;
    expect_split(&s, LAR_EFORMAT, "split.no is 3, want less than split.count, 3");

    /* The second file is opened: the first is named. */
    write_shards(&good_shards);
    shard_name(path, 1, 3);
    expect_open(path, LAR_EARG, "part 2 of 3 of a split model: open the first");
    expect_open(path, LAR_EARG, "model-00001-of-00003.gguf");

    /* A shard that is cut, or something else. */
    lar_map m;
    lar_err e;
    shard_name(path, 2, 3);
    assert_int_equal(lar_map_open(path, &m, &e), LAR_OK);
    gw_bytes cut = {malloc(m.size - 1), m.size - 1};
    assert_non_null(cut.p);
    memcpy(cut.p, m.data, cut.n);
    lar_map_close(&m);
    assert_true(gw_save(&cut, path));
    shard_name(path, 0, 3);
    expect_open(path, LAR_EFORMAT, "model-00003-of-00003.gguf: tensor d: its data ends at");
    memcpy(cut.p, "PK\3\4", 4);
    cut.n = 4;
    shard_name(path, 2, 3);
    assert_true(gw_save(&cut, path));
    shard_name(path, 0, 3);
    expect_open(path, LAR_EFORMAT, "model-00003-of-00003.gguf: not a GGUF file: it is a zip");
    gw_bytes_free(&cut);
}

/* Split keys in a file that is named otherwise. */
static void alone(const char *name, void (*keys)(gw *w), lar_status code, const char *says)
{
    char path[512];
    gw w = gw_new();
    keys(&w);
    gw_tensor(&w, "a", LAR_DTYPE(f32), 1, (int64_t[]){8}, NULL);
    temp_path(path, name);
    save(&w, path);
    lar_err e = {0};
    lar_gguf *g;
    lar_status st = lar_gguf_open(path, &g, &e);
    if (st == LAR_OK)
        assert_int_equal(lar_gguf_n_files(g), 1);
    lar_gguf_close(g);
    remove(path);
    if (st != code || !strstr(e.msg, says))
        fail_msg("status %d (%s), want %d and \"%s\"", st, e.msg, code, says);
}

static void keys_count_0(gw *w)
{
    split_keys(w, 0, 0, 1);
}
static void keys_count_1(gw *w)
{
    split_keys(w, 0, 1, 1);
}
static void keys_count_2(gw *w)
{
    split_keys(w, 0, 2, 2);
}
static void keys_count_4097(gw *w)
{
    split_keys(w, 0, 4097, 2);
}
static void keys_count_huge(gw *w)
{
    gw_u64(w, "split.count", UINT64_C(1) << 63);
    gw_u64(w, "split.no", 0);
}
static void keys_count_string(gw *w)
{
    gw_str(w, "split.count", "2");
}
static void keys_no_no(gw *w)
{
    gw_u16(w, "split.count", 2);
}
static void keys_second(gw *w)
{
    split_keys(w, 1, 2, 2);
}

static void odd_splits(void **state)
{
    (void)state;
    alone("merged.gguf", keys_count_0, LAR_OK, "");
    alone("whole.gguf", keys_count_1, LAR_OK, "");
    alone("renamed.gguf", keys_count_2, LAR_EARG, "its name must end in -00001-of-00002.gguf");
    alone("x-00001-of-00003.gguf", keys_count_2, LAR_EARG, "must end in -00001-of-00002.gguf");
    alone("x-00001-of-00002.gguf", keys_count_2, LAR_ENOTFOUND, "x-00002-of-00002.gguf");
    alone("renamed.gguf", keys_second, LAR_EARG, "part 2 of 2 of a split model: open the first");
    alone("x-00001-of-04097.gguf", keys_count_4097, LAR_EFORMAT, "at most 4096");
    alone("x.gguf", keys_count_huge, LAR_EFORMAT, "split.count is 9223372036854775808, at most");
    alone("x.gguf", keys_count_string, LAR_EFORMAT, "split.count is not an unsigned number");
    alone("x.gguf", keys_no_no, LAR_EFORMAT, "split.no is missing");
}

static void no_file(void **state)
{
    (void)state;
    char path[512];
    temp_path(path, "that-is-not-there.gguf");
    expect_open(path, LAR_ENOTFOUND, "that-is-not-there.gguf");
}

/* ---- real files --------------------------------------------------------------------------------
 */

/* Numbers by the gguf Python package. */
static void real_vocabularies(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t kv, tokens;
    } files[] = {
        {"bert-bge", 20, 30522},  {"gpt-2", 16, 50257}, {"llama-bpe", 20, 128256},
        {"llama-spm", 22, 32000}, {"phi-3", 26, 32064}, {"qwen2", 20, 151936},
    };
    for (size_t i = 0; i < LAR_LEN(files); i++) {
        char path[512];
        lar_err e = {0};
        lar_gguf *g;
        lar_str *tokens;
        size_t n;
        snprintf(path, sizeof path, "../shared/vocab/ggml-vocab-%s.gguf", files[i].name);
        lar_status st = lar_gguf_open(path, &g, &e);
        if (st == LAR_ENOTFOUND) {
            print_message("../shared/vocab is not there: skipped\n");
            skip();
        }
        if (st != LAR_OK)
            fail_msg("%s", e.msg);
        assert_int_equal(lar_gguf_n_kv(g), files[i].kv);
        assert_int_equal(lar_gguf_n_tensors(g), 0);
        st = lar_gguf_get_str_array(g, "tokenizer.ggml.tokens", &tokens, &n, &e);
        assert_int_equal(st, LAR_OK);
        assert_int_equal(n, files[i].tokens);
        lar_free(tokens);
        lar_gguf_close(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_listed),
        cmocka_unit_test(scalar_getters),
        cmocka_unit_test(getters_say_what_is_wrong),
        cmocka_unit_test(array_getters),
        cmocka_unit_test(tensors_lie_where_they_are),
        cmocka_unit_test(odd_but_good),
        cmocka_unit_test_teardown(split_model_is_joined, remove_shards),
        cmocka_unit_test_teardown(bad_splits, remove_shards),
        cmocka_unit_test(odd_splits),
        cmocka_unit_test(no_file),
        cmocka_unit_test(real_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
