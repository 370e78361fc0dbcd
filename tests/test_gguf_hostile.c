/*
 * test_gguf_hostile.c - bad GGUF files, each of which must end in its own clear error, in under a
 * second and 64 MiB; truncation at every byte; every byte changed. With --write DIR: the same files
 * as a fuzz corpus.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/os.h"
#include "gguf_hostile.h"
#if defined(__linux__)
#include <sys/resource.h>
#include <unistd.h>
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#endif

static const size_t bound = (size_t)64 << 20;

/* ---- what one opening may allocate --------------------------------------------------------------
 * Under ASan its hook counts all bytes asked for. Elsewhere on Linux the address space may not grow
 * past the bound, so that a larger allocation fails and the case ends in the wrong error. */

#if defined(ASAN)
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));
static size_t counted;
static void on_malloc(const volatile void *p, size_t n)
{
    (void)p;
    counted += n;
}
static void on_free(const volatile void *p)
{
    (void)p;
}
static void bound_begin(void)
{
    static bool hooked;
    if (!hooked)
        hooked = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0;
    assert_true(hooked);
    counted = 0;
}
static void bound_end(void)
{
    assert_in_range(counted, 0, bound);
}
#elif defined(__linux__)
static struct rlimit before;
static void bound_begin(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    struct rlimit r = before;
    r.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + bound;
    assert_int_equal(setrlimit(RLIMIT_AS, &r), 0);
}
static void bound_end(void)
{
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
}
#else
static void bound_begin(void) {}
static void bound_end(void) {}
#endif

static lar_status open_bounded(const void *p, size_t n, lar_gguf **g, lar_err *e)
{
    memset(e, 0, sizeof *e);
    bound_begin();
    double t = lar_clock();
    lar_status st = lar_gguf_open_bytes(p, n, g, e);
    t = lar_clock() - t;
    bound_end();
    assert_true(t < 1);
    if (st != LAR_OK) {
        assert_null(*g);
        assert_int_equal(e->code, st);
    }
    return st;
}

static void expect(const char *name, const void *p, size_t n, lar_status code, const char *says)
{
    lar_err e;
    lar_gguf *g;
    lar_status st = open_bounded(p, n, &g, &e);
    if (st != code || !strstr(e.msg, says)) {
        lar_gguf_close(g);
        fail_msg("%s: status %d (%s), want %d and \"%s\"", name, st, e.msg, code, says);
    }
    for (const char *s = e.msg; *s; s++)
        if ((unsigned char)*s < 0x20)
            fail_msg("%s: the message has a control character", name);
}

static void bad_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < LAR_LEN(hostile_files); i++) {
        const hostile *h = &hostile_files[i];
        for (uint32_t v = 2; v <= 3; v++) {
            gw w = gw_new();
            w.version = v;
            h->make(&w, h->arg);
            gw_bytes b = gw_finish(&w);
            expect(h->name, b.p, b.n, h->code, h->says);
            gw_bytes_free(&b);
        }
    }
    print_message("%zu bad files\n", LAR_LEN(hostile_files));
}

static void other_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < LAR_LEN(foreign_files); i++) {
        const foreign *f = &foreign_files[i];
        char *p = malloc(f->n ? f->n : 1);
        assert_non_null(p);
        memcpy(p, f->bytes, f->n);
        expect(f->name, p, f->n, f->code, f->says);
        free(p);
    }
}

static gw_bytes tiny_file(void)
{
    gw w = gw_new();
    tiny(&w);
    gw_str_array(&w, "tokenizer.ggml.tokens", (const char *[]){"a", "", "bc"}, 3);
    gw_f32_array(&w, "tokenizer.ggml.scores", (float[]){0, 1, 2}, 3);
    gw_bool(&w, "tokenizer.ggml.add_bos_token", 1);
    return gw_finish(&w);
}

static void the_tiny_file_is_good(void **state)
{
    (void)state;
    lar_err e;
    lar_gguf *g;
    gw_bytes b = tiny_file();
    if (open_bounded(b.p, b.n, &g, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    assert_int_equal(lar_gguf_n_kv(g), 5);
    assert_int_equal(lar_gguf_n_tensors(g), 2);
    lar_gguf_close(g);
    gw_bytes_free(&b);
}

static void truncated_at_every_byte(void **state)
{
    (void)state;
    static const char *const ways[] = {"truncated", "cannot hold them", "more", "it is empty",
                                       "is the download complete?"};
    gw_bytes b = tiny_file();
    for (size_t n = 0; n < b.n; n++) {
        lar_err e;
        lar_gguf *g;
        uint8_t *p = malloc(n ? n : 1);
        assert_non_null(p);
        memcpy(p, b.p, n);
        bool known = false;
        if (open_bounded(p, n, &g, &e) == LAR_OK)
            fail_msg("cut to %zu of %zu bytes, it was opened", n, b.n);
        for (size_t i = 0; i < LAR_LEN(ways); i++)
            known = known || strstr(e.msg, ways[i]);
        if (e.code != LAR_EFORMAT || !known)
            fail_msg("cut to %zu of %zu bytes: %d (%s)", n, b.n, e.code, e.msg);
        free(p);
    }
    gw_bytes_free(&b);
}

/* Any one byte changed: opened or refused, but everything handed out lies in the file. */
static void every_byte_changed(void **state)
{
    (void)state;
    static const uint8_t values[] = {0, 1, 2, 4, 8, 9, 13, 0x7f, 0x80, 0xff};
    gw_bytes b = tiny_file();
    size_t refused = 0;
    for (size_t i = 0; i < b.n; i++) {
        uint8_t old = b.p[i];
        for (size_t v = 0; v < LAR_LEN(values); v++) {
            lar_err e;
            lar_gguf *g;
            b.p[i] = values[v];
            if (open_bounded(b.p, b.n, &g, &e) != LAR_OK) {
                refused++;
                assert_true(e.msg[0]);
                continue;
            }
            for (size_t k = 0; k < lar_gguf_n_kv(g); k++) {
                const lar_gguf_kv *kv = lar_gguf_kv_at(g, k);
                assert_in_range(kv->data - b.p, 24, b.n - kv->bytes);
            }
            for (size_t k = 0; k < lar_gguf_n_tensors(g); k++) {
                const lar_gguf_tensor *t = lar_gguf_tensor_at(g, k);
                assert_in_range(t->data - b.p, 24, b.n - t->bytes);
                assert_int_equal((t->data - b.p) % 32, 0);
            }
            lar_gguf_close(g);
        }
        b.p[i] = old;
    }
    assert_true(refused > b.n);
    gw_bytes_free(&b);
}

/* Many keys, tensors and strings cost time that grows with the file, not with its square. */
static void many_names(void **state)
{
    (void)state;
    enum { N = 50000 };
    lar_err e;
    lar_gguf *g;
    gw w = gw_new();
    w.alignment = 8;
    gw_u32(&w, "general.alignment", 8);
    for (int i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "k%d", i);
        gw_u8(&w, name, 1);
        /* from the last offset down, so that they must be sorted */
        gw_info(&w, name, 1, DIMS(2), LAR_DTYPE(f32)->id, 8u * (uint64_t)(N - 1 - i));
        gw_raw_u64(&w.data, 0);
    }
    gw_bytes b = gw_finish(&w);
    if (open_bounded(b.p, b.n, &g, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    for (int i = 0; i < N; i += 777) {
        char name[32];
        snprintf(name, sizeof name, "k%d", i);
        assert_ptr_equal(lar_gguf_find(g, name), lar_gguf_kv_at(g, (size_t)i + 1));
        assert_ptr_equal(lar_gguf_find_tensor(g, name), lar_gguf_tensor_at(g, (size_t)i));
    }
    assert_null(lar_gguf_find(g, "k50000"));
    assert_null(lar_gguf_find_tensor(g, ""));
    lar_gguf_close(g);
    gw_bytes_free(&b);
}

/* Names chosen to fall into one slot of the table would make it as slow as a list: refused. */
static void names_that_collide(void **state)
{
    (void)state;
    enum { N = 600, SLOTS = 2048 };
    for (int tensors = 0; tensors <= 1; tensors++) {
        gw w = gw_new();
        int n = 0;
        for (unsigned i = 0; n < N; i++) {
            char name[32];
            int len = snprintf(name, sizeof name, "k%u", i);
            if (lar_hash64(name, (size_t)len) % SLOTS != 0)
                continue;
            n++;
            if (tensors)
                gw_tensor(&w, name, LAR_DTYPE(f32), 1, (int64_t[]){1}, NULL);
            else
                gw_u8(&w, name, 1);
        }
        gw_bytes b = gw_finish(&w);
        expect("collide", b.p, b.n, LAR_EUNSUPPORTED, "names all collide");
        gw_bytes_free(&b);
    }
}

static int write_one(const char *dir, const char *name, gw_bytes b)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    bool ok = gw_save(&b, path);
    gw_bytes_free(&b);
    return ok ? 0 : 1;
}

static int write_corpus(const char *dir)
{
    int rc = write_one(dir, "good-tiny", tiny_file());
    for (uint32_t v = 2; v <= 3; v++) {
        gw w = gw_new();
        w.version = v;
        gw_alignment(&w, v == 2 ? 8 : 64);
        gw_every_type(&w);
        if (v == 3)
            gw_every_dtype(&w);
        rc |= write_one(dir, v == 2 ? "good-v2-types" : "good-v3-types", gw_finish(&w));
    }
    for (size_t i = 0; i < LAR_LEN(hostile_files); i++) {
        gw w = gw_new();
        hostile_files[i].make(&w, hostile_files[i].arg);
        gw_bytes b = gw_finish(&w);
        if (b.n < 4096)
            rc |= write_one(dir, hostile_files[i].name, b);
        else
            gw_bytes_free(&b);
    }
    for (size_t i = 0; i < LAR_LEN(foreign_files); i++) {
        gw_bytes b = {malloc(foreign_files[i].n + 1), foreign_files[i].n};
        if (!b.p)
            return 1;
        memcpy(b.p, foreign_files[i].bytes, b.n);
        rc |= write_one(dir, foreign_files[i].name, b);
    }
    return rc;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return write_corpus(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tiny_file_is_good), cmocka_unit_test(bad_files),
        cmocka_unit_test(other_files),           cmocka_unit_test(truncated_at_every_byte),
        cmocka_unit_test(every_byte_changed),    cmocka_unit_test(many_names),
        cmocka_unit_test(names_that_collide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
