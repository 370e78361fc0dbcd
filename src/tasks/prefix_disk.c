/*
 * prefix_disk.c - files KEY-NAME.kv of one folder, KEY telling models apart for those who look.
 * Times of modification are times of use. Files are written aside and renamed; they are checked
 * when they are read, so nothing waits for the disk. Depends on libsodium.
 */
#include "tasks/prefix_disk.h"
#include "infer/prefix.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lar_prefix_disk {
    char *dir;
    uint64_t limit;
    bool has_key; /* false until the model's SHA-256 is known */
    uint8_t key[LAR_PAGE_NAME];
};

enum { KEY_HEX = 16, NAME_HEX = 48, FILE_NAME = KEY_HEX + 1 + NAME_HEX + 4 };
/* A small file costs the system more than its bytes; so many at most fit the limit. */
static const uint64_t LEAST_CHARGE = 64 << 10;
static const int64_t STALE_NS = 600 * 1000000000LL;

lar_status lar_prefix_disk_new(const char *dir, uint64_t limit, lar_prefix_disk **out, lar_err *e)
{
    lar_prefix_disk *d = lar_alloc(sizeof *d);
    if (d && (d->dir = lar_strdup(dir))) {
        d->limit = limit;
        *out = d;
        return LAR_OK;
    }
    lar_free(d);
    return lar_fail(e, LAR_ENOMEM, "out of memory");
}

void lar_prefix_disk_free(lar_prefix_disk *d)
{
    if (!d)
        return;
    lar_free(d->dir);
    lar_free(d);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void put_number(crypto_hash_sha256_state *h, uint64_t v)
{
    uint8_t b[8];
    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    crypto_hash_sha256_update(h, b, sizeof b);
}

static void make_key(lar_prefix_disk *d, const lar_engine *en, const uint8_t id[LAR_MODEL_ID])
{
    const lar_page_kind k = lar_engine_page_kind(en);
    const uint64_t numbers[] = {k.numerics, k.layout, k.kv_type, k.page, k.n_caches, k.bytes};
    crypto_hash_sha256_state h;
    crypto_hash_sha256_init(&h);
    crypto_hash_sha256_update(&h, id, LAR_MODEL_ID);
    for (size_t i = 0; i < LAR_LEN(numbers); i++)
        put_number(&h, numbers[i]);
    crypto_hash_sha256_final(&h, d->key);
    d->has_key = true;
}

/* The name of the page with these tokens after the page (or key) `name`, which it replaces. */
static void next_name(uint8_t name[LAR_PAGE_NAME], const int32_t tokens[LAR_PAGE])
{
    uint8_t b[LAR_PAGE_NAME + 4 * LAR_PAGE], *p = b + LAR_PAGE_NAME;
    memcpy(b, name, LAR_PAGE_NAME);
    for (int i = 0; i < LAR_PAGE; i++, p += 4)
        for (int k = 0; k < 4; k++)
            p[k] = (uint8_t)((uint32_t)tokens[i] >> (8 * k));
    crypto_hash_sha256(name, b, sizeof b);
}

static bool file_path(const lar_prefix_disk *d, const uint8_t name[LAR_PAGE_NAME], lar_buf *out)
{
    char key[KEY_HEX + 1], hex[NAME_HEX + 1];
    sodium_bin2hex(key, sizeof key, d->key, KEY_HEX / 2);
    sodium_bin2hex(hex, sizeof hex, name, NAME_HEX / 2);
    lar_buf_clear(out);
    lar_buf_printf(out, "%s/%s-%s.kv", d->dir, key, hex);
    return !out->oom;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Mark the files of the first `pages` pages as used, the first one as the last: what goes on comes
 * before what it goes on from when files must go. */
static void touch(const lar_prefix_disk *d, const int32_t *tokens, int pages)
{
    const int64_t now = lar_time();
    uint8_t name[LAR_PAGE_NAME];
    lar_buf path = {0};
    memcpy(name, d->key, sizeof name);
    for (int i = 0; i < pages; i++) {
        next_name(name, tokens + i * LAR_PAGE);
        if (file_path(d, name, &path))
            lar_file_touch(path.p, now - (int64_t)i * 1000);
    }
    lar_buf_free(&path);
}

/* The page'th page of tokens from its file. One that does not fit is removed. */
static bool fetch_page(const lar_prefix_disk *d, lar_seq *seq, const int32_t *tokens, int page,
                       const uint8_t name[LAR_PAGE_NAME], uint8_t *buf, size_t bytes, lar_buf *path)
{
    size_t got;
    if (!file_path(d, name, path) || lar_file_read(path->p, buf, bytes + 1, &got, NULL) != LAR_OK)
        return false;
    lar_seq_truncate(seq, page * LAR_PAGE);
    const lar_status st = lar_page_unpack(seq, tokens + page * LAR_PAGE, name, buf, got, NULL);
    if (st == LAR_EFORMAT)
        lar_file_remove(path->p);
    return st == LAR_OK;
}

int lar_prefix_disk_fetch(lar_prefix_disk *d, const lar_model *m, lar_engine *en, lar_seq *seq,
                          const int32_t *tokens, int n)
{
    uint8_t id[LAR_MODEL_ID], name[LAR_PAGE_NAME];
    const int held = lar_seq_length(seq), first = held / LAR_PAGE, pages = n / LAR_PAGE;
    if (n < LAR_PREFIX_MIN || first >= pages)
        return held;
    if (!d->has_key && lar_model_id_known(m, d->dir, id))
        make_key(d, en, id);
    if (!d->has_key)
        return held;
    const size_t bytes = lar_page_file_bytes(en);
    uint8_t *buf = lar_alloc(bytes + 1); /* one more, to see a file that is too long */
    lar_buf path = {0};
    int found = first;
    memcpy(name, d->key, sizeof name);
    for (int i = 0; buf && i < pages; i++) {
        next_name(name, tokens + i * LAR_PAGE);
        if (i < first)
            continue;
        if (!fetch_page(d, seq, tokens, i, name, buf, bytes, &path))
            break;
        found++;
    }
    if (found > first)
        touch(d, tokens, found);
    lar_buf_free(&path);
    lar_free(buf);
    return lar_seq_length(seq);
}

/* ---- writing --------------------------------------------------------------------------------- */

static uint64_t charge(uint64_t bytes)
{
    return LAR_MAX(bytes, LEAST_CHARGE);
}

static lar_status write_page(const char *path, const uint8_t *p, size_t n, lar_err *e)
{
    lar_file *f;
    LAR_TRY(lar_file_create_cache(path, &f, e));
    const lar_status st = lar_file_write(f, p, n, e);
    if (st != LAR_OK) {
        lar_file_abort(f);
        return st;
    }
    return lar_file_commit(f, e);
}

static lar_status write_pages(const lar_prefix_disk *d, lar_engine *en, const lar_seq *seq,
                              int pages, lar_err *e)
{
    const size_t bytes = lar_page_file_bytes(en);
    const int32_t *tokens = lar_seq_tokens(seq);
    uint8_t name[LAR_PAGE_NAME], *buf = lar_alloc(bytes);
    lar_buf path = {0};
    lar_status s = buf ? LAR_OK : lar_fail(e, LAR_ENOMEM, "out of memory");
    memcpy(name, d->key, sizeof name);
    for (int i = 0; i < pages && s == LAR_OK; i++) {
        lar_file_id there;
        next_name(name, tokens + i * LAR_PAGE);
        if (!file_path(d, name, &path)) {
            s = lar_fail(e, LAR_ENOMEM, "out of memory");
        } else if (lar_file_identify(path.p, &there, NULL) != LAR_OK || there.size != bytes) {
            lar_page_pack(seq, i, name, buf);
            s = write_page(path.p, buf, bytes, e);
            if (s == LAR_EIO && remove(path.p) == 0) /* an empty folder was in the way */
                s = write_page(path.p, buf, bytes, e);
        }
    }
    lar_buf_free(&path);
    lar_free(buf);
    return s;
}

static bool is_hex(const char *s, size_t n)
{
    return strspn(s, "0123456789abcdef") == n;
}

/* What follows the name of a page's file, KEY-NAME.kv, or of the list of models; NULL for another
 * name. The folder may hold other things: only names that are ours are ever looked at. */
static const char *after_our_name(const char *s)
{
    if (strncmp(s, LAR_MODEL_LIST, sizeof LAR_MODEL_LIST - 1) == 0)
        return s + sizeof LAR_MODEL_LIST - 1;
    if (!is_hex(s, KEY_HEX) || s[KEY_HEX] != '-' || !is_hex(s + KEY_HEX + 1, NAME_HEX))
        return NULL;
    s += KEY_HEX + 1 + NAME_HEX;
    return strncmp(s, ".kv", 3) == 0 ? s + 3 : NULL;
}

/* Written aside (os_posix.c, os_win.c) for a file whose name ends where s begins. */
static bool is_aside(const char *s)
{
    return *s == '.' && is_hex(s + 1, 16) && strcmp(s + 17, ".tmp") == 0;
}

typedef struct entry {
    char name[FILE_NAME];
    uint64_t charge;
    int64_t used;
} entry;

typedef struct listing {
    const char *dir;
    entry *p;
    size_t n, cap;
    uint64_t total;
    int64_t now;
    bool oom;
    lar_buf path;
} listing;

static void remove_file(listing *l, const char *name)
{
    lar_buf_clear(&l->path);
    lar_buf_printf(&l->path, "%s/%s", l->dir, name);
    if (!l->path.oom)
        lar_file_remove(l->path.p);
}

static void see_file(const char *name, const lar_file_id *id, void *user)
{
    listing *l = user;
    const char *rest = after_our_name(name);
    if (rest && is_aside(rest) && l->now - id->modified > STALE_NS)
        remove_file(l, name); /* of somebody who was killed */
    if (!rest || *rest || strcmp(name, LAR_MODEL_LIST) == 0)
        return;
    if (!lar_grow((void **)&l->p, &l->cap, l->n + 1, sizeof *l->p)) {
        l->oom = true;
        return;
    }
    entry *t = &l->p[l->n++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->charge = charge(id->size);
    t->used = id->modified;
    l->total += t->charge;
}

static int by_use(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->used < y->used ? -1 : x->used > y->used ? 1 : strcmp(x->name, y->name);
}

static lar_status evict(const lar_prefix_disk *d, lar_err *e)
{
    listing l = {.dir = d->dir, .now = lar_time()};
    lar_status s = lar_dir_each(d->dir, see_file, &l, e);
    if (s == LAR_OK && l.oom)
        s = lar_fail(e, LAR_ENOMEM, "out of memory");
    if (s == LAR_OK && l.total > d->limit)
        qsort(l.p, l.n, sizeof *l.p, by_use);
    for (size_t i = 0; i < l.n && s == LAR_OK && l.total > d->limit; i++) {
        remove_file(&l, l.p[i].name);
        l.total -= l.p[i].charge;
    }
    lar_buf_free(&l.path);
    lar_free(l.p);
    return s;
}

lar_status lar_prefix_disk_keep(lar_prefix_disk *d, const lar_model *m, lar_engine *en,
                                const lar_seq *seq, int n, lar_err *e)
{
    uint8_t id[LAR_MODEL_ID];
    const uint64_t room = d->limit / charge(lar_page_file_bytes(en));
    const int pages = (int)LAR_MIN((uint64_t)(LAR_MIN(n, lar_seq_length(seq)) / LAR_PAGE), room);
    if (n < LAR_PREFIX_MIN || pages < 1)
        return LAR_OK;
    if (sodium_init() < 0)
        return lar_fail(e, LAR_EIO, "libsodium does not start");
    LAR_TRY(lar_dir_make(d->dir, e));
    if (!d->has_key) {
        LAR_TRY(lar_model_id(m, d->dir, id, e));
        make_key(d, en, id);
    }
    const lar_status s = write_pages(d, en, seq, pages, e);
    touch(d, lar_seq_tokens(seq), pages);
    const lar_status t = evict(d, s == LAR_OK ? e : NULL);
    return s == LAR_OK ? t : s;
}

/* ---- all of it ------------------------------------------------------------------------------- */

typedef struct survey {
    listing l;
    uint64_t files, bytes;
    bool clear;
} survey;

static void count_file(const char *name, const lar_file_id *id, void *user)
{
    survey *v = user;
    const char *rest = after_our_name(name);
    if (!rest || (*rest && !is_aside(rest)))
        return;
    v->files++;
    v->bytes += id->size;
    if (v->clear)
        remove_file(&v->l, name);
}

lar_status lar_prefix_disk_survey(const char *dir, bool clear, uint64_t *files, uint64_t *bytes,
                                  lar_err *e)
{
    survey v = {.l.dir = dir, .clear = clear}, left = {.l.dir = dir};
    lar_status s = lar_dir_each(dir, count_file, &v, e);
    if (s == LAR_OK && clear)
        s = lar_dir_each(dir, count_file, &left, e);
    if (s == LAR_ENOTFOUND)
        s = LAR_OK;
    if (s == LAR_OK && left.files)
        s = lar_fail(e, LAR_EIO, "%s: %llu files could not be removed", dir,
                     (unsigned long long)left.files);
    *files = clear ? left.files : v.files;
    *bytes = clear ? left.bytes : v.bytes;
    lar_buf_free(&v.l.path);
    return s;
}
