/*
 * facts.c - what is known of a file without reading all of it, and the records beside the blobs
 * that a lost index is rebuilt from. Depends on part.h, gguf.h, jansson.
 */
#include "format/gguf.h"
#include "format/recipe.h"
#include "store/part.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static void copy(char *to, size_t size, lar_str from)
{
    const size_t n = LAR_MIN(from.n, size - 1);
    for (size_t i = 0; i < n; i++)
        to[i] = from.p[i] >= ' ' && from.p[i] <= '~' ? from.p[i] : '?';
    to[n] = 0;
}

/* A split model's later files say nothing of these. */
static void look_into(const char *path, lar__facts *out)
{
    lar_gguf *g;
    lar_str arch;
    uint32_t type;
    if (lar_gguf_open(path, &g, NULL) != LAR_OK)
        return;
    if (lar_gguf_get_str(g, "general.architecture", &arch, NULL) == LAR_OK)
        copy(out->architecture, sizeof out->architecture, arch);
    if (lar_gguf_get_u32(g, "general.file_type", &type, NULL) == LAR_OK)
        for (int i = 0; i < lar_n_recipes; i++)
            if (lar_recipes[i].file_type == type)
                snprintf(out->quant, sizeof out->quant, "%s", lar_recipes[i].name);
    lar_gguf_close(g);
}

bool lar__facts_of(lar_store *s, const char *path, const lar_file_id *id, lar__facts *out)
{
    lar__index *x = lar__index_of(s);
    char sha[LAR_SHA256_HEX];
    if (lar__index_facts(x, id, out))
        return out->architecture[0] != 0;
    *out = (lar__facts){0};
    if (lar__blob_hash(s, path, sha))
        memcpy(out->sha256, sha, sizeof sha);
    look_into(path, out);
    lar__index_learn(x, id, out);
    return out->architecture[0] != 0;
}

/* ---- records -----------------------------------------------------------------------------------
 */

static json_t *read_record(const char *path)
{
    enum { MOST = 1 << 20 };
    size_t n = 0;
    char *text = lar_alloc(MOST);
    json_t *j = NULL;
    if (text && lar_file_read(path, text, MOST, &n, NULL) == LAR_OK && n < MOST)
        j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    lar_free(text);
    return j;
}

static int add_text(const char *p, size_t n, void *user)
{
    lar_buf_add(user, p, n);
    return 0;
}

void lar__record_source(lar_store *s, const char *sha256, const char *uri, const char *name)
{
    char *path = lar__store_file(s, "blobs", sha256, ".json");
    lar_buf text = {0};
    json_t *j = path ? read_record(path) : NULL, *sources;
    lar_file *f;
    if (!json_is_object(j)) {
        json_decref(j);
        j = json_object();
    }
    json_object_set_new(j, "name", json_string(name));
    if (!json_is_object(sources = json_object_get(j, "sources"))) {
        sources = json_object();
        json_object_set_new(j, "sources", sources);
    }
    json_object_set_new(sources, uri, json_integer((json_int_t)(lar_time() / 1000000000)));
    const bool ok = json_dump_callback(j, add_text, &text, JSON_INDENT(1)) == 0 && !text.oom;
    if (path && ok && lar_file_create(path, &f, NULL) == LAR_OK) {
        if (lar_file_write(f, text.p, text.n, NULL) == LAR_OK)
            lar_file_commit(f, NULL);
        else
            lar_file_abort(f);
    }
    lar_buf_free(&text);
    json_decref(j);
    lar_free(path);
}

typedef struct rebuilding {
    lar_store *s;
    lar__index *x;
} rebuilding;

static void take_record(const char *name, void *user)
{
    const rebuilding *r = user;
    char sha[LAR_SHA256_HEX];
    const char *uri;
    json_t *when;
    if (strlen(name) != LAR_SHA256_HEX - 1 + 5 || strcmp(name + LAR_SHA256_HEX - 1, ".json") != 0)
        return;
    memcpy(sha, name, LAR_SHA256_HEX - 1);
    sha[LAR_SHA256_HEX - 1] = 0;
    char *path = lar__hex_is(sha) ? lar__store_file(r->s, "blobs", name, "") : NULL;
    json_t *j = path ? read_record(path) : NULL;
    const char *model = json_string_value(json_object_get(j, "name"));
    json_object_foreach(json_object_get(j, "sources"), uri, when)
    {
        if (model)
            lar__index_add_source(r->x, uri, sha, model);
    }
    json_decref(j);
    lar_free(path);
}

void lar__rebuild(lar_store *s, lar__index *x)
{
    rebuilding r = {s, x};
    char *dir = lar__store_file(s, "blobs", "", "");
    if (dir)
        lar_dir_names(dir, take_record, &r, NULL);
    lar_free(dir);
}
