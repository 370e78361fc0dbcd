/* names.c - names of models: what lies in the folder. Depends on part.h. */
#include "store/part.h"
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_BYTES = 200, SPLITS_MAX = 99999 };

lar_status lar__name_check(const char *name, lar_err *e)
{
    const size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_BYTES)
        return lar_fail(e, LAR_EARG, "a name of %zu bytes, want 1 to %d", n, NAME_MAX_BYTES);
    if (name[0] == '.' || name[0] == '-')
        return lar_fail(e, LAR_EARG, "a model's name does not begin with '%c'", name[0]);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < ' ' || strchr("/\\:*?\"<>|", name[i]))
            return lar_fail(e, LAR_EARG,
                            "'%.60s': a model's name holds none of / \\ : * ? \" < > |", name);
    return LAR_OK;
}

/* Five digits at p as a number; -1. */
static int five(const char *p)
{
    int v = 0;
    for (int i = 0; i < 5; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -1;
        v = v * 10 + (p[i] - '0');
    }
    return v;
}

static bool ends_gguf(const char *file)
{
    const size_t n = strlen(file);
    return n > 5 && lar__same_letters(file + n - 5, ".gguf");
}

bool lar__split_name(const char *file, size_t *stem, int *i, int *n)
{
    enum { TAIL = 15 }; /* -00001-of-00003 */
    const size_t len = strlen(file);
    if (!ends_gguf(file) || len <= TAIL + 5)
        return false;
    const char *at = file + len - 5 - TAIL;
    *stem = (size_t)(at - file);
    *i = five(at + 1);
    *n = five(at + 10);
    return at[0] == '-' && strncmp(at + 6, "-of-", 4) == 0 && *i >= 1 && *n >= 2 && *i <= *n;
}

char *lar__name_path(const lar_store *s, const char *name, int i, int n)
{
    lar_buf p = {0};
    lar_buf_printf(&p, "%s/%s", s->dir, name);
    if (n > 1)
        lar_buf_printf(&p, "-%05d-of-%05d", i + 1, n);
    lar_buf_puts(&p, ".gguf");
    return lar_buf_take(&p);
}

char *lar__name_of_file(const char *file)
{
    const char *slash = strrchr(file, '/');
    file = slash ? slash + 1 : file;
    size_t n = strlen(file);
    int i, of;
    if (!lar__split_name(file, &n, &i, &of) && ends_gguf(file))
        n = strlen(file) - 5;
    else if (!ends_gguf(file))
        n = strlen(file);
    return lar_strndup(file, n);
}

bool lar__blob_hash(const lar_store *s, const char *path, char sha256[LAR_SHA256_HEX])
{
    char *real = lar_file_real(path), *dir = lar__store_file(s, "blobs", "", ""),
         *blobs = dir ? lar_file_real(dir) : NULL;
    const size_t n = blobs ? strlen(blobs) : 0;
    const bool yes =
        real && n && strncmp(real, blobs, n) == 0 && real[n] == '/' && lar__hex_is(real + n + 1);
    if (yes)
        memcpy(sha256, real + n + 1, LAR_SHA256_HEX);
    lar_free(real);
    lar_free(dir);
    lar_free(blobs);
    return yes;
}

/* ---- the list ----------------------------------------------------------------------------------
 */

typedef struct listing {
    char **file; /* names in the folder that end with .gguf */
    size_t n, cap;
    bool oom;
} listing;

static void see_file(const char *name, void *user)
{
    listing *l = user;
    if (name[0] == '.' || !ends_gguf(name) || l->oom)
        return;
    char *own = lar_strdup(name);
    if (!own || !lar_grow((void **)&l->file, &l->cap, l->n + 1, sizeof *l->file)) {
        lar_free(own);
        l->oom = true;
        return;
    }
    l->file[l->n++] = own;
}

static void free_model(lar_store_model *m)
{
    lar_free(m->name);
    lar_free(m->path);
    for (size_t i = 0; i < m->n_sources; i++)
        lar_free(m->sources[i]);
    lar_free(m->sources);
}

void lar_store_list_free(lar_store_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free_model(&l->p[i]);
    lar_free(l->p);
    *l = (lar_store_list){0};
}

/* One of its files; false where it is not there or no regular file. */
static bool add_file(lar_store *s, lar_store_model *m, const char *path, uint8_t sha[LAR_SHA256],
                     bool *known)
{
    lar_file_id id;
    lar__facts f;
    char first[4];
    size_t got;
    if (lar_file_read(path, first, sizeof first, &got, NULL) != LAR_OK ||
        lar_file_identify(path, &id, NULL) != LAR_OK)
        return false;
    m->bytes += id.size;
    lar__facts_of(s, path, &id, &f);
    if (!m->architecture[0])
        memcpy(m->architecture, f.architecture, sizeof f.architecture);
    if (!m->quant[0])
        memcpy(m->quant, f.quant, sizeof f.quant);
    *known = f.sha256[0] != 0;
    if (*known)
        lar__unhex(f.sha256, sha);
    return true;
}

static lar_status add_files(lar_store *s, lar_store_model *m, bool *whole, lar_err *e)
{
    uint8_t(*sha)[LAR_SHA256] = lar_alloc_array((size_t)m->files, sizeof *sha);
    bool all = sha != NULL;
    *whole = all;
    for (int i = 0; i < m->files && *whole && sha; i++) {
        bool known = false;
        char *path = m->files > 1 ? lar__name_path(s, m->name, i, m->files) : lar_strdup(m->path);
        *whole = path && add_file(s, m, path, sha[i], &known);
        all &= known;
        lar_free(path);
    }
    if (*whole && all)
        lar__hash_model((const uint8_t(*)[LAR_SHA256])sha, m->files, m->sha256);
    lar_free(sha);
    return sha ? LAR_OK : lar__oom(e);
}

static lar_status add_model(lar_store *s, lar_store_list *l, const char *file, const char *def,
                            lar_err *e)
{
    size_t stem;
    int i, n;
    char blob[LAR_SHA256_HEX];
    bool whole = false;
    lar_store_model m = {.files = 1};
    if (lar__split_name(file, &stem, &i, &n)) {
        if (i > 1)
            return LAR_OK; /* seen by its first file */
        m.files = n;
    }
    m.name = lar__name_of_file(file);
    m.path = lar__path_join(s->dir, file);
    lar_status st = m.name && m.path ? add_files(s, &m, &whole, e) : lar__oom(e);
    if (st != LAR_OK || !whole) {
        free_model(&m);
        return st;
    }
    m.is_default = lar__same_letters(m.name, def);
    m.in_place = !lar__blob_hash(s, m.path, blob);
    if (m.sha256[0])
        m.n_sources = lar__index_sources(lar__index_of(s), m.sha256, &m.sources);
    if (!lar_grow((void **)&l->p, &l->cap, l->n + 1, sizeof *l->p)) {
        free_model(&m);
        return lar__oom(e);
    }
    size_t at = l->n++;
    for (; at > 0 && strcmp(m.name, l->p[at - 1].name) < 0; at--)
        l->p[at] = l->p[at - 1];
    l->p[at] = m;
    return LAR_OK;
}

/* The name in DIR/default, without a line end; "" when there is none. */
static void read_default(const lar_store *s, char out[256])
{
    size_t n = 0;
    char *path = lar__path_join(s->dir, "default");
    if (!path || lar_file_read(path, out, 255, &n, NULL) != LAR_OK)
        n = 0;
    out[n] = 0;
    out[strcspn(out, "\r\n")] = 0;
    lar_free(path);
}

lar_status lar_store_models(lar_store *s, lar_store_list *out, lar_err *e)
{
    listing l = {0};
    char def[256];
    *out = (lar_store_list){0};
    lar_status st = lar_dir_names(s->dir, see_file, &l, e);
    if (st == LAR_ENOTFOUND)
        st = LAR_OK; /* no folder: no models */
    if (l.oom)
        st = lar__oom(e);
    read_default(s, def);
    for (size_t i = 0; i < l.n && st == LAR_OK; i++)
        st = add_model(s, out, l.file[i], def, e);
    for (size_t i = 0; i < l.n; i++)
        lar_free(l.file[i]);
    lar_free(l.file);
    if (st == LAR_OK && out->n == 1)
        out->p[0].is_default = true;
    if (st != LAR_OK)
        lar_store_list_free(out);
    return st;
}

/* ---- finding -----------------------------------------------------------------------------------
 */

static const lar_store_model *by_hash(const lar_store_list *l, const char *hex)
{
    const lar_store_model *found = NULL;
    const size_t n = strlen(hex);
    if (n < 8 || n >= LAR_SHA256_HEX || strspn(hex, "0123456789abcdef") != n)
        return NULL;
    for (size_t i = 0; i < l->n; i++)
        if (strncmp(l->p[i].sha256, hex, n) == 0) {
            if (found && strcmp(found->sha256, l->p[i].sha256) != 0)
                return NULL; /* it begins two */
            found = &l->p[i];
        }
    return found;
}

const lar_store_model *lar_store_find(const lar_store_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++) {
        const char *file = strrchr(l->p[i].path, '/') + 1;
        const size_t n = strlen(file) - 5;
        if (lar__same_letters(l->p[i].name, name) || lar__same_letters(file, name))
            return &l->p[i];
        if (strlen(name) == n && strncmp(file, name, n) == 0)
            return &l->p[i];
    }
    return by_hash(l, strncmp(name, "sha256:", 7) == 0 ? name + 7 : name);
}

lar_status lar_store_path(const char *name, char **path, lar_err *e)
{
    lar_store *s;
    lar_store_list l;
    *path = NULL;
    LAR_TRY(lar_store_open(NULL, &s, e));
    lar_status st = lar_store_models(s, &l, e);
    const lar_store_model *m = st == LAR_OK ? lar_store_find(&l, name) : NULL;
    if (st == LAR_OK && !m)
        st = lar_fail(e, LAR_ENOTFOUND, "no file and no fetched model '%.100s' (looked in %s)",
                      name, s->dir);
    else if (m && !(*path = lar_strdup(m->path)))
        st = lar__oom(e);
    if (st == LAR_OK || m)
        lar_store_list_free(&l);
    lar_store_close(s);
    return st;
}

/* ---- removing ----------------------------------------------------------------------------------
 */

/* Blobs that the model's files led to and that no name leads to now. */
static uint64_t drop_blob(lar_store *s, const char *sha256)
{
    lar_store_list l;
    lar_file_id id;
    uint64_t freed = 0;
    if (lar_store_models(s, &l, NULL) != LAR_OK)
        return 0;
    bool used = false;
    for (size_t i = 0; i < l.n && !used; i++)
        for (int k = 0; k < l.p[i].files && !used; k++) {
            char other[LAR_SHA256_HEX], *path = lar__name_path(s, l.p[i].name, k, l.p[i].files);
            used = path && lar__blob_hash(s, path, other) && strcmp(other, sha256) == 0;
            lar_free(path);
        }
    lar_store_list_free(&l);
    char *blob = lar__store_file(s, "blobs", sha256, "");
    if (!used && blob && lar_file_identify(blob, &id, NULL) == LAR_OK && lar_file_remove(blob))
        freed = id.size;
    lar_free(blob);
    return freed;
}

static lar_status remove_files(lar_store *s, const lar_store_model *m, uint64_t *freed, lar_err *e)
{
    for (int i = 0; i < m->files; i++) {
        char sha[LAR_SHA256_HEX],
            *path = m->files > 1 ? lar__name_path(s, m->name, i, m->files) : lar_strdup(m->path);
        if (!path)
            return lar__oom(e);
        const bool ours = lar__blob_hash(s, path, sha);
        lar_status st = LAR_OK;
        if (!lar_link_is(path))
            st = lar_fail(e, LAR_EUNSUPPORTED,
                          "%s: is a file of yours, not fetched by LAR: remove it yourself", path);
        else if (!lar_file_remove(path))
            st = lar_fail(e, LAR_EIO, "%s: cannot be removed", path);
        lar_free(path);
        LAR_TRY(st);
        if (ours)
            *freed += drop_blob(s, sha);
    }
    return LAR_OK;
}

lar_status lar_store_remove(lar_store *s, const char *name, uint64_t *freed, lar_err *e)
{
    lar_store_list l;
    *freed = 0;
    LAR_TRY(lar_store_models(s, &l, e));
    const lar_store_model *m = lar_store_find(&l, name);
    lar_status st = LAR_OK;
    if (m) {
        st = remove_files(s, m, freed, e);
        if (st == LAR_OK && m->sha256[0] && *freed) {
            char *record = lar__store_file(s, "blobs", m->sha256, ".json");
            if (record)
                lar_file_remove(record);
            lar_free(record);
            lar__index_forget(lar__index_of(s), m->sha256);
        }
    } else {
        char *path = lar__name_path(s, name, 0, 1); /* one that leads nowhere any more */
        if (lar__name_check(name, NULL) == LAR_OK && path && lar_link_is(path))
            st = lar_file_remove(path) ? LAR_OK
                                       : lar_fail(e, LAR_EIO, "%s: cannot be removed", path);
        else
            st = lar_fail(e, LAR_ENOTFOUND, "no model '%.100s' in %s", name, s->dir);
        lar_free(path);
    }
    lar_store_list_free(&l);
    return st;
}
