/* test_store.c - the pieces of the store: names, ranges, journal, index, answers of hubs. */
#include "store/source.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HEX "abababababababababababababababababababababababababababababababab"
#define HEX2 "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *file, *name;
    } of[] = {{"a/b/Model-Q4_K_M.gguf", "Model-Q4_K_M"},
              {"x-00001-of-00003.gguf", "x"},
              {"x-00004-of-00003.gguf", "x-00004-of-00003"},
              {"x-0001-of-0003.GGUF", "x-0001-of-0003"},
              {".gguf", ".gguf"},
              {"plain", "plain"}};
    for (size_t i = 0; i < LAR_LEN(of); i++) {
        char *name = lar__name_of_file(of[i].file);
        assert_string_equal(name, of[i].name);
        lar_free(name);
    }
    static const char *const bad[] = {"", ".x", "-x", "a/b", "a\\b", "a:b", "a\nb"};
    for (size_t i = 0; i < LAR_LEN(bad); i++)
        assert_int_equal(lar__name_check(bad[i], NULL), LAR_EARG);
    assert_int_equal(lar__name_check("Qwen3 0.6B-Q8_0", NULL), LAR_OK);
}

static void even_pieces(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 65535, 65536, 65537, 98362432, 5000000000, 400000000000};
    for (size_t i = 0; i < LAR_LEN(sizes); i++) {
        lar_pieces p;
        assert_int_equal(lar_pieces_even(sizes[i], &p, NULL), LAR_OK);
        assert_int_equal(p.p[0].begin, 0);
        assert_int_equal(p.p[p.n - 1].end, sizes[i]);
        for (size_t k = 1; k < p.n; k++)
            assert_true(p.p[k].begin == p.p[k - 1].end && p.p[k].end > p.p[k].begin);
        lar_pieces_free(&p);
    }
    lar_pieces p;
    assert_int_equal(lar_pieces_even(0, &p, NULL), LAR_EFORMAT);
}

static void chunk_lists(void **state)
{
    (void)state;
    lar_pieces p;
    const char good[] = "sha256:" HEX " 0-99\nsha256:" HEX2 " 100-299\n";
    assert_int_equal(lar_pieces_read(good, strlen(good), 300, &p, NULL), LAR_OK);
    assert_int_equal(p.n, 2);
    assert_true(p.p[1].begin == 100 && p.p[1].end == 300 && p.p[1].wanted);
    assert_int_equal(p.p[1].sha[0], 0xcd);
    lar_pieces_free(&p);
    static const char *const bad[] = {
        "",
        ("sha256:" HEX " 0-298"),
        ("sha256:" HEX " 0-300"),
        ("sha256:" HEX " 1-299"),
        ("sha256:" HEX " 0-99\nsha256:" HEX " 101-299"),
        ("sha256:" HEX " 0-99\nsha256:" HEX " 50-299"),
        ("md5:" HEX " 0-299"),
        ("sha256:" HEX " 0-99999999999999999999999"),
        ("sha256:" HEX),
    };
    for (size_t i = 0; i < LAR_LEN(bad); i++)
        assert_int_equal(lar_pieces_read(bad[i], strlen(bad[i]), 300, &p, NULL), LAR_EFORMAT);
}

static size_t done(const char *text, const char *head, size_t *keep)
{
    lar_pieces p;
    size_t n = 0;
    assert_int_equal(lar_pieces_even(300000, &p, NULL), LAR_OK);
    lar_journal_read(text, strlen(text), head, &p, keep);
    for (size_t i = 0; i < p.n; i++)
        n += p.p[i].done;
    lar_pieces_free(&p);
    return n;
}

static void journals(void **state)
{
    (void)state;
    lar_pieces p;
    char head[160], other[160], text[1000];
    size_t keep;
    assert_int_equal(lar_pieces_even(300000, &p, NULL), LAR_OK);
    lar_journal_head(&p, "\"tag\"", head);
    lar_journal_head(&p, "\"gat\"", other);
    lar_pieces_free(&p);
    assert_string_not_equal(head, other);
    assert_int_equal(lar_journal_size(head, strlen(head)), 300000);
    const int n = snprintf(text, sizeof text, "%s0 " HEX "\n3 " HEX2 "\n4 abab", head);
    assert_int_equal(done(text, head, &keep), 2);
    assert_int_equal(keep, n - 6); /* a line that a kill has torn is not one */
    assert_int_equal(done(text, other, &keep), 0);
    assert_int_equal(keep, 0);
    snprintf(text, sizeof text, "%s5 " HEX "\n0 " HEX "\n", head);
    assert_int_equal(done(text, head, &keep), 0); /* there is no piece 5 */
    assert_int_equal(done("", head, &keep), 0);
}

/* ---- answers of hubs ----------------------------------------------------------------------------
 */

static const char list[] =
    "[{\"path\": \"m-Q8_0.gguf\", \"size\": 9, \"lfs\": {\"oid\": \"" HEX "\"}},"
    " {\"path\": \"m-Q4_K_M.gguf\", \"size\": 5}, {\"path\": \"mmproj-F16.gguf\", \"size\": 5},"
    " {\"path\": \"BF16/m-BF16-00002-of-00002.gguf\", \"size\": 7},"
    " {\"path\": \"BF16/m-BF16-00001-of-00002.gguf\", \"size\": 6},"
    " {\"path\": \"F32/m-F32-00001-of-00002.gguf\", \"size\": 6},"
    " {\"path\": \"README.md\", \"size\": 5}, {\"type\": \"directory\"}, 7]";

static void expect(const char *want, size_t n, const char *first)
{
    lar_offer o = {0};
    lar_err e = {0};
    assert_int_equal(lar_hf_read(list, strlen(list), &o, &e), LAR_OK);
    const lar_status s = lar_offer_pick(&o, want, &e);
    if (!first) {
        assert_int_equal(s, LAR_ENOTFOUND);
    } else {
        assert_int_equal(s, LAR_OK);
        assert_int_equal(o.n, n);
        assert_string_equal(o.files[0].file, first);
    }
    lar_offer_free(&o);
}

static void picking(void **state)
{
    (void)state;
    expect(NULL, 1, "m-Q4_K_M.gguf");
    expect("q8_0", 1, "m-Q8_0.gguf");
    expect("BF16", 2, "BF16/m-BF16-00001-of-00002.gguf");
    expect("mmproj-F16.gguf", 1, "mmproj-F16.gguf");
    expect("F16", 0, NULL); /* neither BF16 nor the vision part */
    expect("F32", 0, NULL); /* a part is missing */
    expect("Q4_K", 0, NULL);
    expect("nothing", 0, NULL);
}

static void wrong_answers(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{}",
                                      "[",
                                      "[{\"path\": \"a.gguf\", \"size\": 5}",
                                      "{\"layers\": 5}",
                                      "{\"layers\": []}",
                                      "{\"layers\": [{\"mediaType\": "
                                      "\"application/vnd.ollama.image.model\", \"size\": 5, "
                                      "\"digest\": \"sha256:../../x\"}]}"};
    for (size_t i = 0; i < LAR_LEN(bad); i++) {
        lar_offer o = {0};
        lar_err e = {0};
        assert_int_not_equal(lar_ollama_read(bad[i], strlen(bad[i]), &o, &e), LAR_OK);
        assert_true(e.msg[0]);
        lar_offer_free(&o);
        if (i < 4)
            assert_int_not_equal(lar_hf_read(bad[i], strlen(bad[i]), &o, &e), LAR_OK);
        lar_offer_free(&o);
    }
}

/* ---- index, locks -------------------------------------------------------------------------------
 */

static void with_folder(void (*fn)(lar_store *s, const char *dir))
{
    char dir[] = "/tmp/lar-store-XXXXXX";
    lar_store *s;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(lar_store_open(dir, &s, NULL), LAR_OK);
    fn(s, dir);
    lar_store_close(s);
    static const char *const subs[] = {"/.store/blobs", "/.store", ""};
    for (size_t i = 0; i < LAR_LEN(subs); i++) {
        lar_buf p = {0};
        lar_buf_printf(&p, "%s%s", dir, subs[i]);
        lar_dir_remove(p.p);
        lar_buf_free(&p);
    }
}

static void use_index(lar_store *s, const char *dir)
{
    char sha[LAR_SHA256_HEX], *name, **uris;
    const lar_file_id id = {.device = UINT64_MAX, .inode = 2, .size = 3, .modified = 4};
    lar_file_id other = id;
    lar__facts f = {.sha256 = HEX, .architecture = "llama", .quant = "Q8_0"}, g;
    char *blobs = lar__store_file(s, "blobs", "", "");
    assert_null(lar__index_of(s)); /* looking makes no folders */
    s->index_tried = false;
    assert_int_equal(lar_dir_make(blobs, NULL), LAR_OK);
    lar_free(blobs);
    lar__index *x = lar__index_of(s);
    assert_non_null(x);
    assert_false(lar__index_facts(x, &id, &g));
    lar__index_learn(x, &id, &f);
    assert_true(lar__index_facts(x, &id, &g));
    assert_string_equal(g.quant, "Q8_0");
    other.modified++;
    assert_false(lar__index_facts(x, &other, &g)); /* it has changed */
    assert_false(lar__index_source(x, "https://a", sha, &name));
    lar__index_add_source(x, "https://a", HEX, "m");
    lar__index_add_source(x, "https://b", HEX, "m");
    lar__record_source(s, HEX, "https://c", "m");
    assert_true(lar__index_source(x, "https://a", sha, &name));
    assert_string_equal(sha, HEX);
    assert_string_equal(name, "m");
    lar_free(name);
    lar__rebuild(s, x);
    const size_t n = lar__index_sources(x, HEX, &uris);
    assert_int_equal(n, 3);
    assert_string_equal(uris[0], "https://c");
    for (size_t i = 0; i < n; i++)
        lar_free(uris[i]);
    lar_free(uris);
    lar__index_forget(x, HEX);
    assert_false(lar__index_source(x, "https://a", sha, &name));
    (void)dir;
}

static void index_keeps(void **state)
{
    (void)state;
    with_folder(use_index);
}

static void use_lock(lar_store *s, const char *dir)
{
    char *path = lar__path_join(dir, "lock");
    lar_lock *a, *b;
    (void)s;
    assert_int_equal(lar_lock_take(path, &a, NULL), LAR_OK);
    assert_non_null(a);
    assert_int_equal(lar_lock_take(path, &b, NULL), LAR_OK);
    assert_null(b);
    lar_lock_drop(a);
    assert_int_equal(lar_lock_take(path, &b, NULL), LAR_OK);
    assert_non_null(b);
    lar_lock_drop(b);
    lar_free(path);
}

static void locks(void **state)
{
    (void)state;
    with_folder(use_lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),       cmocka_unit_test(even_pieces),
        cmocka_unit_test(chunk_lists), cmocka_unit_test(journals),
        cmocka_unit_test(picking),     cmocka_unit_test(wrong_answers),
        cmocka_unit_test(index_keeps), cmocka_unit_test(locks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
