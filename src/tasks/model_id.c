/* model_id.c - SHA-256 of a model, remembered in DIR/models: a line for each file, newest last. */
#include "tasks/model_id.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { PIECE = 4 << 20, LINES = 200, LINE = 6 * 17 + 2 * LAR_MODEL_ID + 2, RECENT_NS = 2000000000 };

/* Device, inode, size and times in hex: what a line begins with, up to the SHA-256. */
static void line_head(const lar_file_id *f, char out[LINE])
{
    snprintf(out, LINE, "%016llx %016llx %016llx %016llx %016llx ", (unsigned long long)f->device,
             (unsigned long long)f->inode, (unsigned long long)f->size,
             (unsigned long long)f->modified, (unsigned long long)f->changed);
}

static char *list_path(const char *dir)
{
    lar_buf b = {0};
    lar_buf_printf(&b, "%s/" LAR_MODEL_LIST, dir);
    return lar_buf_take(&b);
}

/* The list as text; empty when there is none. NULL: out of memory. */
static char *read_list(const char *dir)
{
    const size_t most = LINES * LINE;
    char *path = list_path(dir), *text = path ? lar_alloc(most + 1) : NULL;
    size_t n = 0;
    if (text && lar_file_read(path, text, most, &n, NULL) == LAR_OK)
        text[n] = 0;
    else if (text)
        text[0] = 0;
    lar_free(path);
    return text;
}

static bool find(const char *list, const lar_map *map, uint8_t sha[LAR_MODEL_ID])
{
    char head[LINE];
    size_t n;
    line_head(&map->id, head);
    const char *at = strstr(list, head);
    return at && (at == list || at[-1] == '\n') &&
           sodium_hex2bin(sha, LAR_MODEL_ID, at + strlen(head), 2 * LAR_MODEL_ID, NULL, &n, NULL) ==
               0 &&
           n == LAR_MODEL_ID && at[strlen(head) + 2 * LAR_MODEL_ID] == '\n';
}

/* Of one file: itself; of several: the hash of their hashes. */
static void combine(uint8_t (*sha)[LAR_MODEL_ID], int n, uint8_t id[LAR_MODEL_ID])
{
    if (n == 1)
        memcpy(id, sha[0], LAR_MODEL_ID);
    else
        crypto_hash_sha256(id, sha[0], (unsigned long long)n * LAR_MODEL_ID);
}

bool lar_model_id_known(const lar_model *m, const char *dir, uint8_t id[LAR_MODEL_ID])
{
    const int n = lar_gguf_n_files(m->gguf);
    uint8_t(*sha)[LAR_MODEL_ID] = lar_alloc_array((size_t)n, sizeof *sha);
    char *list = read_list(dir);
    bool all = sha && list;
    for (int i = 0; i < n && all; i++) {
        const char *path;
        const lar_map *map = lar_gguf_map(m->gguf, i, &path);
        all = map && find(list, map, sha[i]);
    }
    if (all)
        combine(sha, n, id);
    lar_free(list);
    lar_free(sha);
    return all;
}

static void hash_map(const lar_map *map, uint8_t sha[LAR_MODEL_ID])
{
    crypto_hash_sha256_state h;
    crypto_hash_sha256_init(&h);
    for (size_t at = 0; at < map->size; at += PIECE) {
        lar_map_prefetch(map, at + PIECE, PIECE);
        crypto_hash_sha256_update(&h, map->data + at, LAR_MIN((size_t)PIECE, map->size - at));
    }
    crypto_hash_sha256_final(&h, sha);
}

/* The mapping shows the file as it is now: it must still be what was looked at when it was mapped.
 * Within a clock's tick a file may change without a new time, so a fresh one is not remembered. */
static lar_status check_unchanged(const lar_map *map, const char *path, bool *remember, lar_err *e)
{
    lar_file_id now;
    LAR_TRY(lar_file_identify(path, &now, e));
    if (now.device != map->id.device || now.inode != map->id.inode || now.size != map->id.size ||
        now.modified != map->id.modified || now.changed != map->id.changed)
        return lar_fail(e, LAR_EIO, "%s: has changed since it was opened", path);
    *remember &= lar_time() - LAR_MAX(now.modified, now.changed) > RECENT_NS;
    return LAR_OK;
}

/* Another process may write the list at the same time: one of the two is hashed again some day. */
static lar_status remember(const lar_model *m, const char *dir, uint8_t (*sha)[LAR_MODEL_ID],
                           lar_err *e)
{
    char *path = list_path(dir), *list = read_list(dir), head[LINE];
    char hex[2 * LAR_MODEL_ID + 1];
    lar_buf b = {0};
    lar_file *f = NULL;
    const size_t n = list ? strlen(list) : 0, most = (LINES - 50) * LINE;
    const char *old = n > most ? strchr(list + n - most, '\n') : list;
    lar_buf_puts(&b, old ? old + (old != list) : "");
    for (int i = 0; i < lar_gguf_n_files(m->gguf); i++) {
        const char *unused;
        line_head(&lar_gguf_map(m->gguf, i, &unused)->id, head);
        sodium_bin2hex(hex, sizeof hex, sha[i], LAR_MODEL_ID);
        lar_buf_printf(&b, "%s%s\n", head, hex);
    }
    lar_status s = LAR_OK;
    if (!path || !list || b.oom)
        s = lar_fail(e, LAR_ENOMEM, "out of memory");
    if (s == LAR_OK)
        s = lar_file_create_cache(path, &f, e);
    if (s == LAR_OK && (s = lar_file_write(f, b.p, b.n, e)) != LAR_OK)
        lar_file_abort(f);
    else if (s == LAR_OK)
        s = lar_file_commit(f, e);
    lar_buf_free(&b);
    lar_free(path);
    lar_free(list);
    return s;
}

lar_status lar_model_id(const lar_model *m, const char *dir, uint8_t id[LAR_MODEL_ID], lar_err *e)
{
    if (dir && lar_model_id_known(m, dir, id))
        return LAR_OK;
    const int n = lar_gguf_n_files(m->gguf);
    uint8_t(*sha)[LAR_MODEL_ID] = lar_alloc_array((size_t)n, sizeof *sha);
    bool old_enough = true;
    lar_status s = sha ? LAR_OK : lar_fail(e, LAR_ENOMEM, "out of memory");
    for (int i = 0; i < n && s == LAR_OK; i++) {
        const char *path;
        const lar_map *map = lar_gguf_map(m->gguf, i, &path);
        if (!map) {
            s = lar_fail(e, LAR_EUNSUPPORTED, "the model is no file");
        } else {
            hash_map(map, sha[i]);
            s = check_unchanged(map, path, &old_enough, e);
        }
    }
    if (s == LAR_OK && dir && old_enough)
        s = remember(m, dir, sha, e);
    if (s == LAR_OK)
        combine(sha, n, id);
    lar_free(sha);
    return s;
}
