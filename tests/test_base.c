/*
 * test_base.c - the room 'base': errors, memory, strings, numbers, files. Mathematics has
 * test_math.c, the pool test_pool.c.
 */
#include "base/os.h"
#include "oom.h"
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#if defined(_WIN32)
#include <direct.h>
#include <io.h>
#define mkdir(path, mode) _mkdir(path)
#define rmdir _rmdir
#define unlink _unlink
#else
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

static float f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t bits32(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static char dir[64];
static char path_[160];

static const char *in_dir(const char *name)
{
    snprintf(path_, sizeof path_, "%s/%s", dir, name);
    return path_;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void test_errors(void **state)
{
    (void)state;
    lar_err e;
    assert_int_equal(lar_fail(NULL, LAR_EARG, "%d", 1), LAR_EARG);
    assert_int_equal(lar_fail(&e, LAR_EFORMAT, "found %d, want %s", 3, "4"), LAR_EFORMAT);
    assert_int_equal(e.code, LAR_EFORMAT);
    assert_string_equal(e.msg, "found 3, want 4");
    assert_int_equal(lar_fail_in(&e, LAR_EFORMAT, "blk.%d", 7), LAR_EFORMAT);
    assert_string_equal(e.msg, "blk.7: found 3, want 4");
    lar_fail(&e, LAR_EIO, "[%s]", e.msg); /* its own message as an argument */
    assert_string_equal(e.msg, "[blk.7: found 3, want 4]");

    char big[1000];
    for (size_t pad = 0; pad < 3; pad++) { /* a cut never leaves half a character */
        memset(big, 'x', pad);
        for (size_t i = pad; i + 3 < sizeof big; i += 3)
            memcpy(big + i, "\xE2\x82\xAC", 4);
        lar_fail(&e, LAR_EARG, "%s", big);
        size_t n = strlen(e.msg);
        assert_in_range(n, sizeof e.msg - 4, sizeof e.msg - 1);
        assert_int_equal(lar_utf8_incomplete(e.msg, n), 0);
        lar_fail_in(&e, LAR_EARG, "where");
        n = strlen(e.msg);
        assert_in_range(n, sizeof e.msg - 4, sizeof e.msg - 1);
        assert_int_equal(lar_utf8_incomplete(e.msg, n), 0);
        assert_memory_equal(e.msg, "where: ", 7);
    }
}

static void take_line(lar_log_level level, const char *line, void *user)
{
    snprintf(user, 64, "%d %s", (int)level, line);
}

static void test_log(void **state)
{
    (void)state;
    char got[64] = "";
    lar_log log = {take_line, got}, silent = {0};
    lar_log_put(NULL, LAR_LOG_WARN, "x");
    lar_log_put(&silent, LAR_LOG_WARN, "x");
    lar_log_put(&log, LAR_LOG_WARN, "%s %d", "a", 5);
    assert_string_equal(got, "2 a 5");
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void test_sizes(void **state)
{
    (void)state;
    size_t s;
    uint64_t u;
    assert_true(lar_size_add(SIZE_MAX - 1, 1, &s) && s == SIZE_MAX);
    assert_false(lar_size_add(SIZE_MAX, 1, &s));
    assert_true(lar_size_mul(0, SIZE_MAX, &s) && s == 0);
    assert_true(lar_size_mul(SIZE_MAX, 1, &s) && s == SIZE_MAX);
    assert_false(lar_size_mul(SIZE_MAX / 2 + 1, 2, &s));
    assert_true(lar_u64_add(UINT64_MAX, 0, &u) && u == UINT64_MAX);
    assert_false(lar_u64_add(UINT64_MAX, UINT64_MAX, &u));
    assert_true(lar_u64_mul(1ull << 32, (1ull << 32) - 1, &u));
    assert_false(lar_u64_mul(1ull << 32, 1ull << 32, &u));
}

static bool all_zero(const void *p, size_t n)
{
    const unsigned char *s = p;
    for (size_t i = 0; i < n; i++)
        if (s[i])
            return false;
    return true;
}

static void test_memory(void **state)
{
    (void)state;
    void *p = lar_alloc(0);
    assert_non_null(p);
    lar_free(p);
    assert_null(lar_alloc_array(SIZE_MAX / 2, 3));
    assert_null(lar_alloc_aligned(SIZE_MAX - 3));
    for (size_t n = 0; n < 300; n += 37) {
        p = lar_alloc_aligned(n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        assert_true(all_zero(p, n));
        memset(p, 1, n);
        lar_free_aligned(p);
    }
    lar_free(NULL);
    lar_free_aligned(NULL);
    char *s = lar_strndup("hello", 3);
    assert_string_equal(s, "hel");
    lar_free(s);
    assert_true(lar_str_eq((lar_str){"abc", 3}, "abc"));
    assert_false(lar_str_eq((lar_str){"abcd", 4}, "abc"));
    assert_true(lar_str_eq((lar_str){NULL, 0}, ""));

    int *v = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < 1000; i++) {
        assert_true(lar_grow((void **)&v, &cap, i + 1, sizeof *v));
        v[i] = (int)i;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(v[i], i);
    int *before = v;
    assert_false(lar_grow((void **)&v, &cap, SIZE_MAX / 2, sizeof *v));
    assert_ptr_equal(v, before);
    assert_int_equal(v[999], 999);
    lar_free(v);
}

static void test_arena(void **state)
{
    (void)state;
    lar_arena *a = lar_arena_new();
    assert_non_null(a);
    size_t held = 0;
    for (int round = 0; round < 4; round++) {
        unsigned char *last = NULL;
        size_t last_n = 0;
        for (uint64_t i = 0; i < 3000; i++) {
            size_t n = lar_random(1, i) % (i % 100 == 0 ? 200000 : 700);
            unsigned char *p = lar_arena_alloc(a, n);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            assert_true(all_zero(p, n));
            assert_true(!last || p >= last + last_n || p + n <= last);
            memset(p, 0xA5, n);
            last = p;
            last_n = n;
        }
        if (round == 0)
            held = lar_arena_bytes(a);
        assert_int_equal(lar_arena_bytes(a), held); /* the blocks are used again */
        lar_arena_reset(a);
    }
    assert_null(lar_arena_alloc(a, SIZE_MAX - 10));
    assert_null(lar_arena_alloc(a, SIZE_MAX));
    assert_null(lar_arena_array(a, SIZE_MAX / 4, 5));
    assert_null(lar_arena_strdup(a, "", SIZE_MAX));
    assert_string_equal(lar_arena_strdup(a, "abcdef", 4), "abcd");
    assert_string_equal(lar_arena_strdup(a, NULL, 0), "");
    lar_arena_free(a);
    lar_arena_free(NULL);
}

static void test_buf(void **state)
{
    (void)state;
    lar_buf b = {0};
    char *none = lar_buf_take(&b);
    assert_string_equal(none, "");
    lar_free(none);
    for (int i = 0; i < 500; i++) {
        lar_buf_printf(&b, "%d,", i);
        assert_int_equal(strlen(b.p), b.n);
    }
    size_t n = 0;
    for (int i = 0; i < 500; i++) {
        char want[16];
        size_t len = (size_t)snprintf(want, sizeof want, "%d,", i);
        assert_memory_equal(b.p + n, want, len);
        n += len;
    }
    assert_int_equal(b.n, n);
    lar_buf_clear(&b);
    assert_int_equal(b.n, 0);
    lar_buf_puts(&b, "ab");
    lar_buf_putc(&b, 0);
    lar_buf_add(&b, "cd", 2);
    lar_buf_add(&b, NULL, 0);
    assert_int_equal(b.n, 5);
    char *s = lar_buf_take(&b);
    assert_memory_equal(s, "ab\0cd", 6);
    assert_null(b.p);
    lar_free(s);

    lar_buf_puts(&b, "x");
    lar_buf_add(&b, "y", SIZE_MAX - 1);
    assert_true(b.oom);
    lar_buf_puts(&b, "ignored");
    assert_int_equal(b.n, 1);
    assert_null(lar_buf_take(&b));
    assert_null(b.p);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    if (!oom_linked()) {
        print_message("the linker did not wrap malloc (see oom.h): nothing can be made to fail\n");
        skip();
    }
    for (long n = 0;; n++) {
        oom_fail_at(n);
        lar_buf b = {0};
        for (int i = 0; i < 100; i++)
            lar_buf_printf(&b, "%d ", i);
        char *s = lar_buf_take(&b), *t = lar_strdup("x"), *v = lar_alloc_aligned(3);
        lar_arena *a = lar_arena_new();
        bool arena = a && lar_arena_alloc(a, 10) && lar_arena_alloc(a, 100000) &&
                     lar_arena_alloc(a, 30000) && lar_arena_alloc(a, 30000) &&
                     lar_arena_alloc(a, 30000);
        lar_file *f = NULL;
        lar_err e;
        lar_status st = lar_file_create(in_dir("a"), &f, &e);
        bool hit = oom_hit();
        long count = oom_count();
        oom_fail_at(-1);
        assert_true(!hit == (s && t && v && arena && st == LAR_OK));
        assert_true(st == LAR_OK || st == LAR_ENOMEM);
        lar_file_abort(f);
        lar_free(s);
        lar_free(t);
        lar_free_aligned(v);
        lar_arena_free(a);
        if (!hit) {
            assert_int_equal(count, n);
            assert_true(n >= 8);
            break;
        }
    }
}

/* ---- text ------------------------------------------------------------------------------------ */

static void test_utf8(void **state)
{
    (void)state;
    char s[4];
    uint32_t cp;
    for (uint32_t c = 0; c <= 0x110000; c++) {
        int n = lar_utf8_encode(c, s);
        if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
            assert_int_equal(n, 0);
            continue;
        }
        if (n != (c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4))
            fail_msg("U+%04X: %d bytes", c, n);
        if (lar_utf8_decode(s, 4, &cp) != n || cp != c)
            fail_msg("U+%04X does not read back", c);
        for (int k = 0; k < n; k++) /* every beginning is incomplete, none is a character */
            if (lar_utf8_decode(s, (size_t)k, NULL) ||
                lar_utf8_incomplete(s, (size_t)k) != (size_t)k)
                fail_msg("U+%04X cut after %d bytes", c, k);
        if (lar_utf8_incomplete(s, (size_t)n))
            fail_msg("U+%04X is complete", c);
    }
    static const char *const bad[] = {"\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xE0\x80\x80",
                                      "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",
                                      "\xED\xBF\xBF",
                                      "\xC3(",
                                      "\xE2\x82(",
                                      "\xE2(\xA1",
                                      "\xF0\x80\x80\x80",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xF0\x90\x80(",
                                      "\xF8\x88\x80\x80\x80",
                                      "\xFE",
                                      "\xFF"};
    for (size_t i = 0; i < LAR_LEN(bad); i++) {
        size_t n = strlen(bad[i]);
        if (lar_utf8_decode(bad[i], n, &cp) || lar_utf8_incomplete(bad[i], n))
            fail_msg("bad sequence %zu is accepted", i);
    }
    assert_int_equal(lar_utf8_decode("", 0, NULL), 0);
    assert_int_equal(lar_utf8_decode("\0", 1, &cp), 1);
    assert_int_equal(cp, 0);
    assert_int_equal(lar_utf8_incomplete("abc\xE2\x82", 5), 2);
    assert_int_equal(lar_utf8_incomplete("\xE0\x80", 2), 0); /* can never become a character */
    assert_int_equal(lar_utf8_incomplete("\xF4\x90", 2), 0);
}

/* Of all pairs and triples, as many are valid as RFC 3629 allows. */
static void test_utf8_counts(void **state)
{
    (void)state;
    int n2 = 0, n3 = 0;
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {
            char s[3] = {(char)(uint8_t)a, (char)(uint8_t)b, 0};
            n2 += lar_utf8_decode(s, 2, NULL) == 2;
            for (int c = 0; c < 256; c++) {
                s[2] = (char)(uint8_t)c;
                n3 += lar_utf8_decode(s, 3, NULL) == 3;
            }
        }
    assert_int_equal(n2, 0x800 - 0x80);
    assert_int_equal(n3, 0x10000 - 0x800 - 0x800);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void test_bytes(void **state)
{
    (void)state;
    const uint8_t b[] = {0, 1, 2, 3, 0x84, 5, 6, 7, 0x88};
    assert_int_equal(lar_u32(b + 1), 0x84030201u);
    assert_true(lar_u64(b + 1) == 0x8807060584030201ull);
}

/* The value of a half by its definition, in double. */
static double half_value(unsigned h)
{
    double v = ldexp(h & 1023, -24);
    if (h >> 10 & 31)
        v = ldexp((h & 1023) + 1024, (int)(h >> 10 & 31) - 25);
    return h & 0x8000 ? -v : v;
}

/* Nearest half by search; ties to the even one. */
static uint16_t half_search(float f)
{
    double a = fabs((double)f);
    unsigned sign = signbit(f) ? 0x8000u : 0, lo = 0, hi = 0x7C00;
    while (hi - lo > 1) { /* value(lo) <= a < value(hi); 0x7C00 stands for 65536 */
        unsigned mid = (lo + hi) / 2;
        if (half_value(mid) <= a)
            lo = mid;
        else
            hi = mid;
    }
    double below = a - half_value(lo), above = half_value(hi) - a;
    return (uint16_t)(sign | (below < above || (below == above && !(lo & 1)) ? lo : hi));
}

static void check_half(uint32_t u)
{
    float f = f32(u);
    uint16_t got = lar_f32_to_f16(f), want = half_search(f);
    if (got != want)
        fail_msg("f32 %08x to f16: found %04x, want %04x", u, got, want);
}

static void test_f16(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x10000; h++) {
        float f = lar_f16_to_f32((uint16_t)h);
        if ((h & 0x7C00) == 0x7C00) {
            bool nan = h & 0x3FF;
            if (nan != (f != f) || !signbit(f) != !(h & 0x8000) || (!nan && !isinf(f)))
                fail_msg("f16 %04x", h);
            unsigned want = nan ? h | 0x200 : h; /* quiet, payload kept */
            if (lar_f32_to_f16(f) != want)
                fail_msg("f16 %04x does not read back", h);
            continue;
        }
        if ((double)f != half_value(h) || !signbit(f) != !(h & 0x8000) || lar_f32_to_f16(f) != h)
            fail_msg("f16 %04x", h);
        uint32_t u = bits32((float)((half_value(h) + half_value(h + 1)) / 2)); /* a tie */
        if ((h & 0x7FFF) != 0x7FFF)
            for (uint32_t d = 0; d < 5; d++)
                check_half(u + d - 2);
    }
    for (uint64_t i = 0; i < 300000; i++) {
        uint32_t u = (uint32_t)lar_random(2, i);
        if (i & 1) /* most exponents are out of range: favour the others */
            u = (u & 0x807FFFFFu) | (uint32_t)(100 + (u >> 23 & 31) + (i % 17)) << 23;
        if ((u & 0x7F800000u) != 0x7F800000u)
            check_half(u);
    }
    assert_int_equal(lar_f32_to_f16(f32(0x7F800000)), 0x7C00);
    assert_int_equal(lar_f32_to_f16(f32(0xFF800000)), 0xFC00);
    assert_int_equal(lar_f32_to_f16(f32(0x7F800001)) & 0x7E00, 0x7E00);
    assert_int_equal(lar_f32_to_f16(FLT_MAX), 0x7C00);
    assert_int_equal(lar_f32_to_f16(-FLT_MIN), 0x8000);
}

static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        bool nan = (h & 0x7FFF) > 0x7F80;
        float f = lar_bf16_to_f32((uint16_t)h);
        if (bits32(f) != h << 16 || lar_f32_to_bf16(f) != (nan ? h | 0x40 : h))
            fail_msg("bf16 %04x", h);
        if ((h & 0x7F80) == 0x7F80)
            continue;
        /* Between this one and the next: below, at and above the middle. */
        uint32_t u = h << 16, tie = h + (h & 1);
        if (lar_f32_to_bf16(f32(u + 0x7FFF)) != h || lar_f32_to_bf16(f32(u + 0x8000)) != tie ||
            lar_f32_to_bf16(f32(u + 0x8001)) != h + 1)
            fail_msg("rounding above bf16 %04x", h);
    }
    assert_int_equal(lar_f32_to_bf16(f32(0x7F800001)), 0x7FC0);
    assert_int_equal(lar_f32_to_bf16(f32(0xFFFFFFFF)), 0xFFFF);
    assert_int_equal(lar_f32_to_bf16(FLT_MAX), 0x7F80);
}

static void test_random(void **state)
{
    (void)state;
    /* Known answers of Philox4x32-10 (Random123): key and counter all zero. */
    assert_true(lar_random(0, 0) == 0xE169C58D6627E8D5ull);
    enum { N = 100000 };
    int ones[64] = {0}, flips = 0, bins[256] = {0};
    for (uint64_t i = 0; i < N; i++) {
        uint64_t r = lar_random(42, i);
        for (int b = 0; b < 64; b++)
            ones[b] += r >> b & 1;
        bins[r >> 56]++;
        flips += __builtin_popcountll(r ^ lar_random(42 ^ 1ull << i % 64, i));
    }
    double chi = 0;
    for (int b = 0; b < 64; b++)
        assert_in_range(ones[b], N / 2 - 800, N / 2 + 800); /* 5 sigma */
    for (int b = 0; b < 256; b++)
        chi += (bins[b] - N / 256.0) * (bins[b] - N / 256.0) / (N / 256.0);
    assert_true(chi > 150 && chi < 380); /* 255 degrees of freedom, 4.7 sigma and more */
    assert_in_range(flips, 32 * N - 6400, 32 * N + 6400);
}

static void test_hash(void **state)
{
    (void)state;
    char s[80] = {0};
    uint64_t seen[700];
    size_t n = 0;
    for (size_t len = 0; len <= 80; len++)
        seen[n++] = lar_hash64(s, len);
    for (size_t bit = 0; bit < 600; bit++) {
        s[bit / 8] ^= (char)(1 << bit % 8);
        seen[n++] = lar_hash64(s, 80);
        s[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (seen[i] == seen[k] || seen[i] >> 32 == seen[k] >> 32)
                fail_msg("inputs %zu and %zu meet", k, i);
}

/* ---- files ----------------------------------------------------------------------------------- */

static int make_dir(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t salt = lar_random((uint64_t)(lar_clock() * 1e9), (uint64_t)(uintptr_t)&i + i);
        mkdir("build", 0777);
        snprintf(dir, sizeof dir, "build/test_base.%08x.tmp", (unsigned)salt);
        if (mkdir(dir, 0700) == 0)
            return 0;
    }
    return -1;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(in_dir("a"));
    unlink(in_dir("empty"));
    unlink(in_dir("link"));
    unlink(in_dir("gr\xC3\xBC\xC3\x9F"));
    return rmdir(dir); /* fails if anything was left behind */
}

static void write_file(const char *path, const void *p, size_t n)
{
    lar_file *f;
    lar_err e;
    if (lar_file_create(path, &f, &e) || lar_file_write(f, p, n, &e) || lar_file_commit(f, &e))
        fail_msg("%s", e.msg);
}

static void expect_file(const char *path, const void *p, size_t n)
{
    lar_map m;
    lar_err e;
    if (lar_map_open(path, &m, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(m.size, n);
    assert_memory_equal(m.data, p, n);
    lar_map_prefetch(&m, 0, n);
    lar_map_prefetch(&m, n - 1, SIZE_MAX);
    lar_map_prefetch(&m, SIZE_MAX, 1);
    lar_map_close(&m);
    assert_null(m.data);
    lar_map_close(&m);
}

static void test_file(void **state)
{
    (void)state;
    lar_file *f;
    lar_err e;
    write_file(in_dir("a"), "old", 3);
    expect_file(in_dir("a"), "old", 3);
    assert_int_equal(lar_file_create(in_dir("a"), &f, &e), LAR_OK);
    assert_int_equal(lar_file_write(f, "new", 3, &e), LAR_OK);
    expect_file(in_dir("a"), "old", 3); /* until the commit */
    lar_file_abort(f);
    expect_file(in_dir("a"), "old", 3);
    lar_file_abort(NULL);

    enum { N = 3000000 };
    uint8_t *data = malloc(N);
    assert_non_null(data);
    for (size_t i = 0; i < N; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 24);
    assert_int_equal(lar_file_create(in_dir("a"), &f, &e), LAR_OK);
    for (size_t at = 0, k = 0; at < N; k++) {
        size_t n = LAR_MIN((size_t)N - at, (size_t)(lar_random(5, k) % (k % 8 ? 5000 : 700000)));
        assert_int_equal(lar_file_write(f, data + at, n, &e), LAR_OK);
        at += n;
    }
    assert_int_equal(lar_file_commit(f, &e), LAR_OK);
    expect_file(in_dir("a"), data, N);
    free(data);
    write_file(in_dir("gr\xC3\xBC\xC3\x9F"), "x", 1);
    expect_file(in_dir("gr\xC3\xBC\xC3\x9F"), "x", 1);
}

static void test_file_errors(void **state)
{
    (void)state;
    lar_file *f;
    lar_map m;
    lar_err e;
    assert_int_equal(lar_map_open(in_dir("missing"), &m, &e), LAR_ENOTFOUND);
    assert_non_null(strstr(e.msg, "no such file"));
    assert_int_equal(lar_map_open(dir, &m, &e), LAR_EIO);
    assert_non_null(strstr(e.msg, "directory"));
    write_file(in_dir("empty"), "", 0);
    assert_int_equal(lar_map_open(in_dir("empty"), &m, &e), LAR_EFORMAT);
    assert_non_null(strstr(e.msg, "empty"));
    assert_null(m.data);
    assert_int_equal(lar_map_open(in_dir("missing"), &m, NULL), LAR_ENOTFOUND);

    assert_int_equal(lar_file_create(in_dir("no/where"), &f, &e), LAR_ENOTFOUND);
    assert_non_null(strstr(e.msg, "directory does not exist"));
    assert_null(f);
    assert_int_equal(lar_file_create(dir, &f, &e), LAR_EIO);
    assert_non_null(strstr(e.msg, "is a directory"));
}

#if !defined(_WIN32)
static void test_file_posix(void **state)
{
    (void)state;
    lar_file *f;
    lar_map m;
    lar_err e;
    /* Nothing is left beside the target, whatever happens. */
    write_file(in_dir("a"), "1", 1);
    assert_int_equal(chmod(in_dir("a"), 0640), 0);
    assert_int_equal(symlink("a", in_dir("link")), 0);
    write_file(in_dir("link"), "2", 1); /* the file behind the link changes, the link stays */
    expect_file(in_dir("a"), "2", 1);
    struct stat st;
    assert_int_equal(lstat(in_dir("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(in_dir("a"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);

    assert_int_equal(lar_file_create(in_dir("a"), &f, &e), LAR_OK);
    assert_int_equal(unlink(in_dir("a")), 0);
    assert_int_equal(mkdir(in_dir("a"), 0700), 0); /* the target becomes a directory meanwhile */
    assert_int_equal(lar_file_commit(f, &e), LAR_EIO);
    assert_non_null(strstr(e.msg, "cannot replace"));
    assert_int_equal(rmdir(in_dir("a")), 0);

    assert_int_equal(mkfifo(in_dir("a"), 0600), 0);
    assert_int_equal(lar_map_open(in_dir("a"), &m, &e), LAR_EIO); /* and does not wait */
    assert_int_equal(lar_file_create(in_dir("a"), &f, &e), LAR_EIO);
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *x; (x = readdir(d));)
        assert_null(strstr(x->d_name, ".tmp"));
    closedir(d);
}
#endif

static void test_system(void **state)
{
    (void)state;
    double t = lar_clock();
    assert_true(lar_clock() >= t);
    assert_in_range(lar_cpu_count(), 1, 4096);
    assert_true(lar_peak_rss() > 100000);
    assert_true(lar_ram_total() >= lar_ram_available() && lar_ram_available() > 0);
    size_t before = lar_peak_rss(), n = 64 << 20;
    char *p = malloc(n);
    assert_non_null(p);
    memset(p, 1, n);
    assert_true(p[n / 2] == 1 && lar_peak_rss() >= LAR_MAX(before, n));
    free(p);
    assert_null(lar_getenv("LAR_SURELY_NOT_SET"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_utf8_counts),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_errors),
#if !defined(_WIN32)
        cmocka_unit_test(test_file_posix),
#endif
        cmocka_unit_test(test_system),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
