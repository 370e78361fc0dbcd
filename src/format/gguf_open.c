/*
 * gguf_open.c - opening and closing a GGUF model, and its accessors. Depends on gguf_part.h, os.h.
 */
#include "format/gguf_part.h"
#include <string.h>

const char *lar_gguf_type_name(lar_gguf_type t)
{
    static const char *const names[LAR_GGUF_N_TYPES] = {
        [LAR_GGUF_U8] = "u8",       [LAR_GGUF_I8] = "i8",     [LAR_GGUF_U16] = "u16",
        [LAR_GGUF_I16] = "i16",     [LAR_GGUF_U32] = "u32",   [LAR_GGUF_I32] = "i32",
        [LAR_GGUF_F32] = "f32",     [LAR_GGUF_BOOL] = "bool", [LAR_GGUF_STRING] = "string",
        [LAR_GGUF_ARRAY] = "array", [LAR_GGUF_U64] = "u64",   [LAR_GGUF_I64] = "i64",
        [LAR_GGUF_F64] = "f64",
    };
    return (unsigned)t < LAR_GGUF_N_TYPES ? names[t] : "unknown";
}

/* ---- opening -------------------------------------------------------------------------------- */

const char *lar__gguf_short_path(const char *path)
{
    enum { MAX_SHOWN = 200 };
    size_t n = strlen(path);
    if (n <= MAX_SHOWN)
        return path;
    path += n - MAX_SHOWN;
    while ((*path & 0xc0) == 0x80)
        path++;
    return path;
}

lar_status lar__gguf_map(lar__gguf_part *p, const char *path, int file, lar_err *e)
{
    p->path = lar_strdup(path);
    if (!p->path)
        return lar_fail(e, LAR_ENOMEM, "out of memory for the path of a model");
    LAR_TRY(lar_map_open(path, &p->map, e)); /* its message names the path */
    p->data = p->map.data;
    p->size = p->map.size;
    lar_status st = lar__gguf_read(p, file, e);
    return st == LAR_OK ? st : lar_fail_in(e, st, "%s", lar__gguf_short_path(path));
}

/* All tensors of all parts in one array, with one table of names. */
static lar_status join(lar_gguf *g, lar_err *e)
{
    size_t n = 0, twice[2];
    for (int i = 0; i < g->n_parts; i++) {
        n += g->part[i].n_tensors; /* at most 2^18 each, and 4096 parts */
        g->bytes += g->part[i].size;
    }
    g->n_tensors = n;
    if (g->n_parts == 1) {
        g->tensors = g->part[0].tensors;
        g->part[0].tensors = NULL;
    } else {
        g->tensors = lar_alloc_array(n ? n : 1, sizeof *g->tensors);
        if (!g->tensors)
            return lar_fail(e, LAR_ENOMEM, "out of memory for %zu tensors", n);
        size_t at = 0;
        for (int i = 0; i < g->n_parts; i++) {
            lar__gguf_part *p = &g->part[i];
            if (p->n_tensors)
                memcpy(g->tensors + at, p->tensors, p->n_tensors * sizeof *p->tensors);
            at += p->n_tensors;
            lar_free(p->tensors);
            p->tensors = NULL;
        }
    }
    lar_status st = lar__names_build(&g->tensor_names, g->tensors, sizeof *g->tensors, n, twice);
    if (st == LAR_ENOMEM)
        return lar_fail(e, st, "out of memory for %zu tensors", n);
    if (st == LAR_EUNSUPPORTED)
        return lar_fail(e, st, "the tensors' names all collide: made to be slow");
    if (st != LAR_OK)
        return lar_fail(e, st, "duplicate tensor %s (in files %d and %d of %d)",
                        LAR_SHOW(g->tensors[twice[1]].name), g->tensors[twice[0]].file + 1,
                        g->tensors[twice[1]].file + 1, g->n_parts);
    return LAR_OK;
}

/* What is left to do when all parts are read. */
static lar_status finish(lar_gguf *g, lar_err *e)
{
    lar_status st = join(g, e);
    if (st != LAR_OK)
        return lar_fail_in(e, st, "%s", lar__gguf_short_path(g->part[0].path));
    lar_gguf_tensor *t = g->tensors;
    for (int i = 0; i < g->n_parts; i++) {
        const lar__gguf_part *p = &g->part[i];
        st = lar__gguf_place(p, t, p->n_tensors, e);
        if (st != LAR_OK)
            return lar_fail_in(e, st, "%s", lar__gguf_short_path(p->path));
        t += p->n_tensors;
    }
    return LAR_OK;
}

static lar_gguf *new_gguf(lar_err *e)
{
    lar_gguf *g = lar_alloc(sizeof *g);
    lar__gguf_part *p = lar_alloc(sizeof *p);
    if (g && p) {
        g->part = p;
        g->n_parts = 1;
        return g;
    }
    lar_free(g);
    lar_free(p);
    lar_fail(e, LAR_ENOMEM, "out of memory for a model");
    return NULL;
}

lar_status lar_gguf_open(const char *path, lar_gguf **out, lar_err *e)
{
    lar_err own;
    e = e ? e : &own;
    *out = NULL;
    lar_gguf *g = new_gguf(e);
    if (!g)
        return LAR_ENOMEM;
    lar_status st = lar__gguf_map(&g->part[0], path, 0, e);
    if (st == LAR_OK)
        st = lar__gguf_read_splits(g, e);
    if (st == LAR_OK)
        st = finish(g, e);
    if (st == LAR_OK)
        *out = g;
    else
        lar_gguf_close(g);
    return st;
}

static lar_status open_bytes(const void *data, size_t n, bool placed, lar_gguf **out, lar_err *e)
{
    lar_err own;
    uint64_t split = 0;
    e = e ? e : &own;
    *out = NULL;
    lar_gguf *g = new_gguf(e);
    if (!g)
        return LAR_ENOMEM;
    g->part[0].data = data;
    g->part[0].size = n;
    lar_status st = lar__gguf_read(&g->part[0], 0, e);
    if (st == LAR_OK) {
        const lar_gguf_kv *kv = lar__gguf_part_find(&g->part[0], "split.count");
        if (kv && lar__gguf_unsigned(kv, &split) && split > 1)
            st = lar_fail(e, LAR_EUNSUPPORTED,
                          "one file of a model split into %llu cannot be opened from memory",
                          (unsigned long long)split);
    }
    if (st == LAR_OK)
        st = join(g, e);
    if (st == LAR_OK && placed)
        st = lar__gguf_place(&g->part[0], g->tensors, g->n_tensors, e);
    if (st == LAR_OK)
        *out = g;
    else
        lar_gguf_close(g);
    return st;
}

lar_status lar_gguf_open_bytes(const void *data, size_t n, lar_gguf **out, lar_err *e)
{
    return open_bytes(data, n, true, out, e);
}

lar_status lar_gguf_open_header(const void *data, size_t n, lar_gguf **out, lar_err *e)
{
    return open_bytes(data, n, false, out, e);
}

void lar_gguf_close(lar_gguf *g)
{
    if (!g)
        return;
    for (int i = 0; i < g->n_parts; i++) {
        lar__gguf_part *p = &g->part[i];
        lar_free(p->kv);
        lar_free(p->tensors);
        lar__names_free(&p->kv_names);
        lar_free(p->path);
        if (p->map.data || p->map.handle)
            lar_map_close(&p->map);
    }
    lar_free(g->part);
    lar_free(g->tensors);
    lar__names_free(&g->tensor_names);
    lar_free(g);
}

/* ---- accessors ------------------------------------------------------------------------------ */

int lar_gguf_version(const lar_gguf *g)
{
    return g->part[0].version;
}

uint64_t lar_gguf_alignment(const lar_gguf *g)
{
    return g->part[0].alignment;
}

int lar_gguf_n_files(const lar_gguf *g)
{
    return g->n_parts;
}

uint64_t lar_gguf_file_bytes(const lar_gguf *g)
{
    return g->bytes;
}

const char *lar_gguf_path(const lar_gguf *g)
{
    return g->part[0].path ? g->part[0].path : "";
}

const lar_map *lar_gguf_map(const lar_gguf *g, int file, const char **path)
{
    const lar__gguf_part *p = &g->part[file];
    *path = p->path;
    return p->map.data ? &p->map : NULL;
}

size_t lar_gguf_n_kv(const lar_gguf *g)
{
    return g->part[0].n_kv;
}

const lar_gguf_kv *lar_gguf_kv_at(const lar_gguf *g, size_t i)
{
    return i < g->part[0].n_kv ? &g->part[0].kv[i] : NULL;
}

const lar_gguf_kv *lar_gguf_find(const lar_gguf *g, const char *key)
{
    return lar__gguf_part_find(&g->part[0], key);
}

size_t lar_gguf_n_tensors(const lar_gguf *g)
{
    return g->n_tensors;
}

const lar_gguf_tensor *lar_gguf_tensor_at(const lar_gguf *g, size_t i)
{
    return i < g->n_tensors ? &g->tensors[i] : NULL;
}

const lar_gguf_tensor *lar_gguf_find_tensor(const lar_gguf *g, const char *name)
{
    lar_str s = {name, strlen(name)};
    size_t i = lar__names_find(&g->tensor_names, g->tensors, sizeof *g->tensors, s);
    return i == SIZE_MAX ? NULL : &g->tensors[i];
}
