/*
 * test_prefix_disk.c - evaluated prompts in a folder, through lar.h: another session (another
 * process) with the same beginning finds it and answers with the same tokens; another model or KV
 * type does not; damage, a full folder, killed writers and concurrent ones never change an answer.
 */
#include "generate_test.h"
#include "base/os.h"
#include "infer/prefix.h"
#include "tasks/model_id.h"
#include <sodium.h>
#ifndef _WIN32
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#endif

enum { P = LAR_PAGE, CTX = 1280, MAX_FILES = 200 };
static lar_runtime *rt;
static lar_model *model;
static char *dir;

/* ---- the folder ------------------------------------------------------------------------------ */

typedef struct files {
    int n, others; /* pages; temporary files and the like */
    char name[MAX_FILES][120];
    uint64_t bytes;
} files;

static void see(const char *name, const lar_file_id *id, void *user)
{
    files *f = user;
    const size_t n = strlen(name);
    if (n < 4 || strcmp(name + n - 3, ".kv") != 0) {
        f->others++;
        return;
    }
    assert_true(f->n < MAX_FILES);
    snprintf(f->name[f->n++], sizeof f->name[0], "%s/%s", dir, name);
    f->bytes += id->size;
}

static files look(void)
{
    files f = {0};
    lar_dir_each(dir, see, &f, NULL);
    return f;
}

/* What others are writing aside is theirs. */
static void wipe_one(const char *name, const lar_file_id *id, void *user)
{
    char path[600];
    (void)id;
    if (!user && strstr(name, ".tmp"))
        return;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    lar_file_remove(path);
}

static void wipe(void)
{
    lar_dir_each(dir, wipe_one, NULL, NULL);
}

/* ---- requests -------------------------------------------------------------------------------- */

static lar_session *open_at(lar_model *m, const char *folder, const char *kv, uint64_t bytes)
{
    lar_err e = {0};
    lar_session *s;
    const lar_session_options o = {
        .size = sizeof o, .ctx = CTX, .kv_type = kv, .prefix_dir = folder, .prefix_bytes = bytes};
    if (lar_session_new(m, &o, &s, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return s;
}

/* A request whose prompt is about n tokens of text number `text`, then `tail`. */
static char *fields(int n, int text, const char *tail)
{
    lar_buf b = {0};
    lar_buf_puts(&b, "{\"raw\":true,\"ignore_eos\":true,\"temp\":1.5,\"top_k\":0,\"top_p\":1,"
                     "\"min_p\":0,\"seed\":7,\"max_tokens\":6,\"prompt\":\"");
    for (int i = 0; i < n; i++) /* capitals: a token each in this vocabulary */
        lar_buf_putc(&b, (char)('A' + lar_random((uint64_t)text, (uint64_t)i) % 26));
    lar_buf_printf(&b, "%s\"}", tail);
    return lar_buf_take(&b);
}

static void keep(lar_session *s)
{
    lar_err e = {0};
    if (lar_session_keep(s, &e) != LAR_OK)
        fail_msg("%s", e.msg);
}

/* Ask in a new session; whether what it computed is kept. Gives the tokens found on disk. */
static int ask_new(lar_model *m, const char *kv, const char *json, bool store, uint64_t bytes,
                   said *want)
{
    lar_session *s = open_at(m, dir, kv, bytes);
    said a = ask(s, "generate", json);
    const int found = timing(&a, "cached_on_disk");
    assert_int_equal(timing(&a, "cached_tokens"), found);
    if (want)
        same_tokens(&a, want);
    if (store)
        keep(s);
    said_free(&a);
    lar_session_free(s);
    return found;
}

static said truth(lar_model *m, const char *kv, const char *json)
{
    lar_session *s = open_at(m, NULL, kv, 0);
    said a = ask(s, "generate", json);
    assert_int_equal(timing(&a, "cached_tokens"), 0);
    assert_int_equal(lar_session_keep(s, NULL), LAR_OK); /* nowhere to keep it */
    lar_session_free(s);
    return a;
}

static int set_up(void **state)
{
    (void)state;
    rt = test_runtime(2);
    model = test_model_open(rt, "tests/data/tiny.gguf");
    dir = temp_path("prefix");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lar_dir_each(dir, wipe_one, dir, NULL);
    lar_model_free(model);
    lar_runtime_free(rt);
    rmdir(dir);
    free(dir);
    return 0;
}

/* ---- what is found --------------------------------------------------------------------------- */

static void test_second_start(void **state)
{
    (void)state;
    static const char *const kv[] = {"f32", "f16", "q8_0"};
    char *long_one = fields(1000, 1, ""), *more = fields(1000, 1, " and then"),
         *other = fields(300, 1, "but not"), *none = fields(1000, 2, ""),
         *small = fields(200, 3, "");
    wipe();
    for (int k = 0; k < 3; k++) {
        said want = truth(model, kv[k], long_one);
        const int prompt = timing(&want, "prompt_tokens"), whole = (prompt - 1) / P * P;
        assert_true(prompt >= 1000 && prompt < 1100);
        const int before = look().n;
        assert_int_equal(ask_new(model, kv[k], long_one, true, 0, &want), 0); /* of other types */
        assert_int_equal(look().n - before, prompt / P);
        lar_runtime *rt2 = test_runtime(1); /* as another process would */
        lar_model *m2 = test_model_open(rt2, "tests/data/tiny.gguf");
        assert_int_equal(ask_new(m2, kv[k], long_one, true, 0, &want), whole);
        lar_model_free(m2);
        lar_runtime_free(rt2);
        assert_int_equal(look().n - before, prompt / P); /* nothing is there twice */
        said_free(&want);
        want = truth(model, kv[k], more);
        assert_int_equal(ask_new(model, kv[k], more, false, 0, &want), prompt / P * P);
        said_free(&want);
        want = truth(model, kv[k], other);
        assert_int_equal(ask_new(model, kv[k], other, false, 0, &want), 4 * P);
        said_free(&want);
        assert_int_equal(ask_new(model, kv[k], none, false, 0, NULL), 0);
        const int files_now = look().n;
        assert_int_equal(ask_new(model, kv[k], small, true, 0, NULL), 0); /* not worth it */
        assert_int_equal(look().n, files_now);
    }
    lar_model *mix = test_model_open(rt, "tests/data/tiny_mix.gguf");
    assert_int_equal(ask_new(mix, "f16", long_one, true, 0, NULL), 0);
    assert_true(ask_new(mix, "f16", long_one, false, 0, NULL) > 900);
    lar_model_free(mix);
    lar_string_free(long_one), lar_string_free(more), lar_string_free(other);
    lar_string_free(none), lar_string_free(small);
}

/* In one session: two conversations in turn, from memory; what memory lacks comes from the folder.
 */
static void test_with_memory(void **state)
{
    (void)state;
    char *a = fields(500, 1, ""), *b = fields(500, 2, ""), *longer = fields(600, 1, "");
    wipe();
    assert_int_equal(ask_new(model, "f16", longer, true, 0, NULL), 0);
    lar_session *s = open_at(model, dir, "f16", 0);
    said x = ask(s, "generate", a), y = ask(s, "generate", b), z = ask(s, "generate", a);
    assert_int_equal(timing(&x, "cached_on_disk"), timing(&x, "prompt_tokens") / P * P);
    assert_int_equal(timing(&z, "cached_on_disk"), 0);
    assert_int_equal(timing(&z, "cached_tokens"), timing(&z, "prompt_tokens") / P * P);
    same_tokens(&x, &z);
    said_free(&z);
    said want = truth(model, "f16", longer);
    z = ask(s, "generate", longer);
    same_tokens(&z, &want);
    assert_true(timing(&z, "cached_on_disk") > 0);
    assert_true(timing(&z, "cached_tokens") - timing(&z, "cached_on_disk") >= 500 / P * P);
    said_free(&x), said_free(&y), said_free(&z), said_free(&want);
    lar_session_free(s);
    lar_string_free(a), lar_string_free(b), lar_string_free(longer);
}

/* ---- the folder's limits and damage ------------------------------------------------------------
 */

static void test_limit(void **state)
{
    (void)state;
    char *a = fields(300, 1, ""), *b = fields(300, 2, ""), *c = fields(300, 3, "");
    wipe();
    assert_int_equal(ask_new(model, "f16", a, true, 0, NULL), 0);
    const files f = look();
    const uint64_t room = 2 * f.bytes + f.bytes / 2; /* for two and a half of them */
    assert_int_equal(ask_new(model, "f16", b, true, room, NULL), 0);
    assert_true(ask_new(model, "f16", a, false, room, NULL) > 0); /* now b is the oldest */
    assert_int_equal(ask_new(model, "f16", c, true, room, NULL), 0);
    assert_true(look().bytes <= room);
    assert_true(look().n >= f.n * 2);
    const int whole = ask_new(model, "f16", a, false, room, NULL);
    assert_int_equal(ask_new(model, "f16", c, false, room, NULL), whole);
    assert_in_range(ask_new(model, "f16", b, false, room, NULL), P, whole - P); /* its beginning */
    wipe();
    assert_int_equal(ask_new(model, "f16", a, true, f.bytes / (uint64_t)f.n, NULL), 0);
    assert_int_equal(look().n, 1); /* as much as there is room for */
    assert_int_equal(ask_new(model, "f16", a, true, 1, NULL), P);
    lar_string_free(a), lar_string_free(b), lar_string_free(c);
}

static void put_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void test_damage(void **state)
{
    (void)state;
    char *a = fields(300, 1, "");
    said want = truth(model, "f16", a);
    wipe();
    assert_int_equal(ask_new(model, "f16", a, true, 0, NULL), 0);
    const files f = look();
    const size_t n = (size_t)(f.bytes / (uint64_t)f.n);
    uint8_t *good = malloc(n + 1), *bad = malloc(n + 1), *second = malloc(n + 1);
    for (int i = 0; i < 40; i++) {
        const char *path = f.name[i % f.n];
        size_t got, size = n;
        assert_int_equal(lar_file_read(path, good, n + 1, &got, NULL), LAR_OK);
        assert_int_equal(got, n);
        memcpy(bad, good, n);
        bad[n] = 0;
        if (i < 8)
            size = i == 0 ? 0 : i == 1 ? n + 1 : n - (size_t)(lar_random(1, (uint64_t)i) % n) - 1;
        else if (i < 16) /* header and name */
            bad[(i - 8) * 8] ^= 1;
        else if (i == 16)
            memset(bad, 0, n);
        else if (i < 20) { /* another page under this name */
            assert_int_equal(lar_file_read(f.name[(i + 1) % f.n], second, n, &got, NULL), LAR_OK);
            memcpy(bad, second, n);
        } else
            bad[lar_random(2, (uint64_t)i) % n] ^= (uint8_t)(1u << i % 8);
        put_file(path, bad, size);
        const int found = ask_new(model, "f16", a, false, 0, &want);
        assert_in_range(found, 0, (f.n - 1) * P);
        /* It is gone, and comes again. */
        assert_int_equal(look().n, f.n - 1);
        assert_int_equal(ask_new(model, "f16", a, true, 0, &want), found);
        assert_int_equal(ask_new(model, "f16", a, false, 0, &want), f.n * P);
    }
    /* The list of models: nonsense is as good as none. */
    char list[600];
    snprintf(list, sizeof list, "%s/models", dir);
    static const char nonsense[] = "\n\n\0\xff zzzz 0 0 0 0 0\n";
    put_file(list, nonsense, sizeof nonsense);
    assert_int_equal(ask_new(model, "f16", a, true, 0, &want), 0);
    assert_int_equal(ask_new(model, "f16", a, true, 0, &want), f.n * P);
    free(good), free(bad), free(second);
    said_free(&want);
    lar_string_free(a);
}

/* A folder that cannot be: answers all the same, and keeping says why. */
static void test_no_folder(void **state)
{
    (void)state;
    lar_err e = {0};
    char *a = fields(300, 1, "");
    said want = truth(model, "f16", a);
    lar_session *s = open_at(model, "tests/data/tiny.gguf/prefix", "f16", 0);
    said x = ask(s, "generate", a);
    same_tokens(&x, &want);
    assert_int_not_equal(lar_session_keep(s, &e), LAR_OK);
    assert_true(e.msg[0] != 0);
    assert_int_equal(lar_session_keep(NULL, &e), LAR_OK);
    said_free(&x), said_free(&want);
    lar_session_free(s);
    lar_string_free(a);
}

/* ---- a model's identity -----------------------------------------------------------------------
 */

static void test_model_id(void **state)
{
    (void)state;
    lar_err e = {0};
    uint8_t id[32], again[32], want[32];
    size_t n;
    wipe();
    assert_int_equal(lar_dir_make(dir, &e), LAR_OK);
    lar_map map;
    assert_int_equal(lar_map_open("tests/data/tiny.gguf", &map, &e), LAR_OK);
    n = map.size;
    uint8_t *bytes = malloc(n);
    memcpy(bytes, map.data, n);
    lar_map_close(&map);
    crypto_hash_sha256(want, bytes, n);
    assert_false(lar_model_id_known(model, dir, id));
    assert_int_equal(lar_model_id(model, dir, id, &e), LAR_OK);
    assert_memory_equal(id, want, 32);
    assert_true(lar_model_id_known(model, dir, again));
    assert_memory_equal(again, want, 32);
    /* A file written just now may yet change within the clock's tick: it is not remembered. */
    char *path = temp_path("model");
    put_file(path, bytes, n);
    lar_model *m = test_model_open(rt, path);
    assert_int_equal(lar_model_id(m, dir, id, &e), LAR_OK);
    assert_memory_equal(id, want, 32);
    assert_false(lar_model_id_known(m, dir, id));
    /* Changed after it was opened: no identity at all. */
    lar_file_touch(path, 1000000000);
    assert_int_equal(lar_model_id(m, dir, id, &e), LAR_EIO);
    lar_model_free(m);
    lar_file_remove(path);
    free(path);
    free(bytes);
}

/* ---- other processes ---------------------------------------------------------------------------
 */

#ifndef _WIN32
static void nap(long microseconds)
{
    const struct timespec t = {.tv_sec = microseconds / 1000000,
                               .tv_nsec = microseconds % 1000000 * 1000};
    nanosleep(&t, NULL);
}

/* A process that evaluates text number `text`, says so on `ready`, then keeps it `times` times,
 * each time after wiping the folder if `wiping`. Its threads are its own. */
static pid_t writer(int text, int times, bool wiping, uint64_t bytes, int ready)
{
    fflush(NULL);
    const pid_t pid = fork();
    if (pid)
        return pid;
    lar_err e = {0};
    lar_runtime *r = test_runtime(1);
    lar_model *m = test_model_open(r, "tests/data/tiny.gguf");
    lar_session *s = open_at(m, dir, "f16", bytes);
    char *json = fields(600, text, "");
    said a = ask(s, "generate", json);
    const bool told = write(ready, "x", 1) == 1;
    int bad = !told;
    for (int i = 0; i < times; i++) {
        if (wiping)
            wipe();
        bad |= lar_session_keep(s, &e) != LAR_OK;
    }
    said_free(&a);
    _exit(bad);
}

static void wait_ready(int fd, int n)
{
    char c;
    for (int i = 0; i < n; i++)
        assert_int_equal(read(fd, &c, 1), 1);
}

static void test_killed(void **state)
{
    (void)state;
    char *a = fields(600, 5, "");
    said want = truth(model, "f16", a);
    int partly = 0;
    for (int i = 0; i < 20; i++) {
        int fd[2], status;
        assert_int_equal(pipe(fd), 0);
        wipe();
        const pid_t pid = writer(5, 1000000, true, 0, fd[1]);
        wait_ready(fd[0], 1);
        nap((long)(lar_random(9, (uint64_t)i) % 20000));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        close(fd[0]), close(fd[1]);
        const int n = look().n; /* all whole: none is taken for damaged and removed */
        const int found = ask_new(model, "f16", a, false, 0, &want);
        assert_int_equal(look().n, n);
        partly += n > 0 && n < 9;
        assert_in_range(found, 0, n * P);
        assert_int_equal(ask_new(model, "f16", a, true, 0, &want), found);
        assert_int_equal(ask_new(model, "f16", a, false, 0, &want), 9 * P);
    }
    print_message("20 killed, %d of them half way\n", partly);
    /* What they left aside goes when it is old. */
    char aside[600];
    snprintf(aside, sizeof aside, "%s.0123456789abcdef.tmp", look().name[0]);
    put_file(aside, "x", 1);
    lar_file_touch(aside, lar_time() - 3600 * 1000000000LL);
    char theirs[600];
    snprintf(theirs, sizeof theirs, "%s/notes.tmp", dir);
    put_file(theirs, "x", 1);
    lar_file_touch(theirs, lar_time() - 3600 * 1000000000LL);
    char *b = fields(600, 6, "");
    ask_new(model, "f16", b, true, 0, NULL);
    lar_file_id id;
    assert_int_not_equal(lar_file_identify(aside, &id, NULL), LAR_OK);
    assert_int_equal(lar_file_identify(theirs, &id, NULL), LAR_OK);
    said_free(&want);
    lar_string_free(a), lar_string_free(b);
}

/* Four write at once, two of them the same, into a folder that has room for two. */
static void test_concurrent(void **state)
{
    (void)state;
    pid_t pid[4];
    int fd[2], status;
    wipe();
    assert_int_equal(pipe(fd), 0);
    const uint64_t room = 20 * (uint64_t)(70 << 10);
    for (int i = 0; i < 4; i++)
        pid[i] = writer(20 + i / 2 * (i % 2 + 1), 30, i == 3, room, fd[1]);
    wait_ready(fd[0], 4);
    for (int text = 20; text < 24; text++) {
        char *a = fields(600, text, "");
        said want = truth(model, "f16", a);
        for (int i = 0; i < 5; i++)
            ask_new(model, "f16", a, i == 2, room, &want);
        said_free(&want);
        lar_string_free(a);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    close(fd[0]), close(fd[1]);
    assert_true(look().bytes <= room);
}

/* An empty folder that is called like a page gives way. */
static void test_in_the_way(void **state)
{
    (void)state;
    char *a = fields(400, 3, "");
    uint64_t n, bytes;
    lar_err e = {0};
    wipe();
    ask_new(model, "f16", a, true, 0, NULL);
    const files f = look();
    assert_true(f.n > 3);
    for (int i = 0; i < f.n; i += 2) {
        assert_int_equal(unlink(f.name[i]), 0);
        assert_int_equal(mkdir(f.name[i], 0700), 0);
    }
    ask_new(model, "f16", a, true, 0, NULL);
    assert_int_equal(look().n, f.n);
    assert_int_equal(lar_prefix_survey(dir, 0, &n, &bytes, &e), LAR_OK);
    assert_int_equal(n, f.n + 1); /* and the list of models */
    assert_true(bytes > f.bytes);
    assert_int_equal(lar_prefix_survey(dir, 1, &n, &bytes, &e), LAR_OK);
    assert_true(n == 0 && bytes == 0 && look().n == 0);
    assert_int_equal(lar_prefix_survey("build/no/such/folder", 1, &n, &bytes, &e), LAR_OK);
    assert_int_equal(lar_prefix_survey(NULL, 1, &n, &bytes, &e), LAR_EARG);
    lar_string_free(a);
}

static void test_private(void **state)
{
    (void)state;
    char *a = fields(300, 1, "");
    struct stat st;
    lar_dir_each(dir, wipe_one, dir, NULL);
    rmdir(dir);
    ask_new(model, "f16", a, true, 0, NULL);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    const files f = look();
    for (int i = 0; i < f.n; i++) {
        assert_int_equal(stat(f.name[i], &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    lar_string_free(a);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_start), cmocka_unit_test(test_with_memory),
        cmocka_unit_test(test_limit),        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_no_folder),    cmocka_unit_test(test_model_id),
#ifndef _WIN32
        cmocka_unit_test(test_killed),       cmocka_unit_test(test_concurrent),
        cmocka_unit_test(test_private),      cmocka_unit_test(test_in_the_way),
#endif
    };
    return cmocka_run_group_tests_name("prefix on disk", tests, set_up, tear_down);
}
