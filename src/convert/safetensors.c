/* safetensors.c - see safetensors.h. Depends on jansson and base/os.h. */
#include "convert/safetensors.h"
#include "base/os.h"
#include "convert/part.h"
#include <string.h>

enum { HEADER_MAX = 100 << 20, FILES_MAX = 4096, TENSORS_MAX = 1 << 20 };

typedef struct st_file {
    char *name; /* owned */
    lar_map map;
} st_file;

struct lar_safetensors {
    st_file *files;
    size_t n_files, cap_files;
    lar_st_tensor *t; /* names are owned */
    size_t n, cap;
};

static const struct {
    const char *name;
    int dt; /* -1: no GGUF type */
    size_t bytes;
} types[] = {{"F32", LAR_DT_f32, 4}, {"F16", LAR_DT_f16, 2}, {"BF16", LAR_DT_bf16, 2},
             {"F64", LAR_DT_f64, 8}, {"I8", LAR_DT_i8, 1},   {"I16", LAR_DT_i16, 2},
             {"I32", LAR_DT_i32, 4}, {"I64", LAR_DT_i64, 8}, {"U8", -1, 1},
             {"U16", -1, 2},         {"U32", -1, 4},         {"U64", -1, 8},
             {"BOOL", -1, 1},        {"F8_E4M3", -1, 1},     {"F8_E5M2", -1, 1}};

/* A whole number from 0 to 2^62. */
static bool natural(const json_t *j, uint64_t *out)
{
    if (!json_is_integer(j) || json_integer_value(j) < 0 ||
        json_integer_value(j) > (json_int_t)1 << 62)
        return false;
    *out = (uint64_t)json_integer_value(j);
    return true;
}

static lar_status read_type(lar_st_tensor *t, const json_t *j, size_t *each, lar_err *e)
{
    const char *name = json_string_value(json_object_get(j, "dtype"));
    for (size_t i = 0; name && i < LAR_LEN(types); i++)
        if (strcmp(types[i].name, name) == 0) {
            t->dtype = types[i].name;
            t->type = types[i].dt < 0 ? NULL : &lar_dtypes[types[i].dt];
            *each = types[i].bytes;
            return LAR_OK;
        }
    return lar_fail(e, LAR_EFORMAT, "%s: %.100s: dtype '%.20s' is unknown", t->file, t->name,
                    name ? name : "(none)");
}

/* Type, shape and place of one tensor, whose data lies in [data, data + n). */
static lar_status read_tensor(lar_st_tensor *t, const json_t *j, const uint8_t *data, size_t n,
                              lar_err *e)
{
    const json_t *shape = json_object_get(j, "shape"), *at = json_object_get(j, "data_offsets");
    size_t bytes = 0;
    uint64_t begin, end, d;
    LAR_TRY(read_type(t, j, &bytes, e));
    if (!json_is_array(shape) || json_array_size(shape) > LAR_ST_MAX_DIM)
        return lar_fail(e, LAR_EFORMAT, "%s: %.100s: shape, want a list of up to %d numbers",
                        t->file, t->name, LAR_ST_MAX_DIM);
    t->n_dims = (int)json_array_size(shape);
    for (int i = 0; i < t->n_dims; i++) {
        if (!natural(json_array_get(shape, (size_t)i), &d) || d < 1 ||
            !lar_size_mul(bytes, (size_t)d, &bytes))
            return lar_fail(e, LAR_EFORMAT, "%s: %.100s: dimension %d is no size", t->file, t->name,
                            i);
        t->dim[i] = (int64_t)d;
    }
    if (json_array_size(at) != 2 || !natural(json_array_get(at, 0), &begin) ||
        !natural(json_array_get(at, 1), &end) || begin > end || end > n)
        return lar_fail(e, LAR_EFORMAT, "%s: %.100s: data_offsets, want two within 0 to %zu",
                        t->file, t->name, n);
    if (end - begin != bytes)
        return lar_fail(e, LAR_EFORMAT, "%s: %.100s: %llu bytes, its shape of %s wants %zu",
                        t->file, t->name, (unsigned long long)(end - begin), t->dtype, bytes);
    t->data = data + begin;
    t->bytes = bytes;
    return LAR_OK;
}

static lar_status add_tensor(lar_safetensors *s, const char *file, const char *name,
                             const json_t *j, const uint8_t *data, size_t n, lar_err *e)
{
    if (s->n == TENSORS_MAX)
        return lar_fail(e, LAR_EFORMAT, "%s: more than %d tensors", file, TENSORS_MAX);
    char *copy = lar_strdup(name);
    if (!copy || !lar_grow((void **)&s->t, &s->cap, s->n + 1, sizeof *s->t)) {
        lar_free(copy);
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", file);
    }
    lar_st_tensor *t = &s->t[s->n++];
    *t = (lar_st_tensor){.name = copy, .file = file};
    return read_tensor(t, j, data, n, e);
}

/* ---- order, overlaps, holes ------------------------------------------------------------------ */

static int by_name(const lar_st_tensor *a, const lar_st_tensor *b)
{
    return strcmp(a->name, b->name);
}
static int by_place(const lar_st_tensor *a, const lar_st_tensor *b)
{
    const uintptr_t x = (uintptr_t)a->data, y = (uintptr_t)b->data;
    return x < y ? -1 : x > y ? 1 : a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

/* Heap sort: no recursion, no bad case. */
static void sort(lar_st_tensor *t, size_t n,
                 int (*cmp)(const lar_st_tensor *a, const lar_st_tensor *b))
{
    for (size_t start = n / 2, end = n; end > 1;) {
        if (start) {
            start--;
        } else {
            const lar_st_tensor x = t[--end];
            t[end] = t[0];
            t[0] = x;
        }
        for (size_t i = start, c; (c = 2 * i + 1) < end; i = c) {
            if (c + 1 < end && cmp(&t[c], &t[c + 1]) < 0)
                c++;
            if (cmp(&t[i], &t[c]) >= 0)
                break;
            const lar_st_tensor x = t[i];
            t[i] = t[c];
            t[c] = x;
        }
    }
}

/* The format has neither overlaps nor holes: what is left over belongs to a tensor that is gone, or
 * to another file. */
static lar_status check_places(lar_safetensors *s, size_t first, const char *file,
                               const uint8_t *data, size_t size, lar_err *e)
{
    const uint8_t *at = data;
    if (s->n > first)
        sort(s->t + first, s->n - first, by_place);
    for (size_t i = first; i < s->n; i++) {
        const lar_st_tensor *t = &s->t[i];
        if (t->data < at)
            return lar_fail(e, LAR_EFORMAT, "%s: the data of %.80s and %.80s overlaps", file,
                            t[-1].name, t->name);
        if (t->data > at)
            return lar_fail(e, LAR_EFORMAT, "%s: %zu bytes before %.80s are no tensor's", file,
                            (size_t)(t->data - at), t->name);
        at += t->bytes;
    }
    return at == data + size ? LAR_OK
                             : lar_fail(e, LAR_EFORMAT, "%s: %zu bytes at its end are no tensor's",
                                        file, (size_t)(data + size - at));
}

static lar_status read_file(lar_safetensors *s, const char *file, const uint8_t *p, size_t n,
                            lar_err *e)
{
    const char *name;
    json_t *j, *v;
    json_error_t why;
    if (n < 8)
        return lar_fail(e, LAR_EFORMAT, "%s: %zu bytes, too short for safetensors", file, n);
    const uint64_t len = lar_u64(p);
    if (len > n - 8 || len > HEADER_MAX)
        return lar_fail(e, LAR_EFORMAT,
                        "%s: a header of %llu bytes, want at most %d and what the file holds", file,
                        (unsigned long long)len, HEADER_MAX);
    j = json_loadb((const char *)p + 8, (size_t)len, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(j)) {
        json_decref(j);
        return lar_fail(e, LAR_EFORMAT, "%s: header: %.120s", file, j ? "no object" : why.text);
    }
    const uint8_t *data = p + 8 + len;
    const size_t first = s->n, n_data = n - 8 - (size_t)len;
    lar_status st = LAR_OK;
    json_object_foreach(j, name, v)
    {
        if (st == LAR_OK && strcmp(name, "__metadata__") != 0)
            st = json_is_object(v) ? add_tensor(s, file, name, v, data, n_data, e)
                                   : lar_fail(e, LAR_EFORMAT, "%s: %.100s: no object", file, name);
    }
    json_decref(j);
    return st == LAR_OK ? check_places(s, first, file, data, n_data, e) : st;
}

/* All files are read: one list by name. */
static lar_status finish(lar_safetensors *s, lar_err *e)
{
    if (s->n)
        sort(s->t, s->n, by_name);
    for (size_t i = 1; i < s->n; i++)
        if (strcmp(s->t[i - 1].name, s->t[i].name) == 0)
            return lar_fail(e, LAR_EFORMAT, "tensor %.80s is in %s and in %s", s->t[i].name,
                            s->t[i - 1].file, s->t[i].file);
    return LAR_OK;
}

/* ---- files ----------------------------------------------------------------------------------- */

static lar_status open_file(lar_safetensors *s, const char *folder, const char *name, lar_err *e)
{
    if (s->n_files == FILES_MAX)
        return lar_fail(e, LAR_EFORMAT, "more than %d files of weights", FILES_MAX);
    if (!lar_grow((void **)&s->files, &s->cap_files, s->n_files + 1, sizeof *s->files))
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", name);
    st_file *f = &s->files[s->n_files];
    *f = (st_file){.name = lar_strdup(name)};
    char *path = lar__join(folder, name);
    if (!f->name || !path) {
        lar_free(f->name);
        lar_free(path);
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", name);
    }
    s->n_files++;
    lar_status st = lar_map_open(path, &f->map, e);
    lar_free(path);
    return st == LAR_OK ? read_file(s, f->name, f->map.data, f->map.size, e) : st;
}

static bool is_open(const lar_safetensors *s, const char *name)
{
    for (size_t i = 0; i < s->n_files; i++)
        if (strcmp(s->files[i].name, name) == 0)
            return true;
    return false;
}

/* Every file that the index names, and every tensor where it says. */
static lar_status open_shards(lar_safetensors *s, const char *folder, const json_t *index,
                              lar_err *e)
{
    const char *name;
    json_t *v, *map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || !json_object_size(map))
        return lar_fail(e, LAR_EFORMAT, "model.safetensors.index.json: no weight_map");
    json_object_foreach(map, name, v)
    {
        const char *file = json_string_value(v);
        if (!file || !lar__plain_name(file))
            return lar_fail(e, LAR_EFORMAT, "model.safetensors.index.json: %.80s: no file name",
                            name);
        if (!is_open(s, file))
            LAR_TRY(open_file(s, folder, file, e));
    }
    LAR_TRY(finish(s, e));
    json_object_foreach(map, name, v)
    {
        const lar_st_tensor *t = lar_safetensors_find(s, name);
        if (!t || strcmp(t->file, json_string_value(v)) != 0)
            return lar_fail(e, LAR_EFORMAT, "tensor %.80s is not in %.80s, where the index has it",
                            name, json_string_value(v));
    }
    return LAR_OK;
}

static lar_status open_folder(lar_safetensors *s, const char *folder, lar_err *e)
{
    json_t *index = NULL;
    lar_status st = lar__load_json(folder, "model.safetensors.index.json", &index, e);
    if (st == LAR_ENOTFOUND) {
        st = open_file(s, folder, "model.safetensors", e);
        if (st == LAR_ENOTFOUND)
            lar_fail(e, st,
                     "%s: neither model.safetensors nor an index of such files; weights in pickles "
                     "(pytorch_model.bin) are never read",
                     folder);
        return st == LAR_OK ? finish(s, e) : st;
    }
    if (st == LAR_OK)
        st = open_shards(s, folder, index, e);
    json_decref(index);
    return st;
}

lar_status lar_safetensors_open(const char *folder, lar_safetensors **out, lar_err *e)
{
    lar_safetensors *s = lar_alloc(sizeof *s);
    *out = NULL;
    if (!s)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", folder);
    const lar_status st = open_folder(s, folder, e);
    if (st != LAR_OK)
        lar_safetensors_close(s);
    else
        *out = s;
    return st;
}

lar_status lar_safetensors_open_bytes(const void *data, size_t n, lar_safetensors **out, lar_err *e)
{
    lar_safetensors *s = lar_alloc(sizeof *s);
    *out = NULL;
    if (!s)
        return lar_fail(e, LAR_ENOMEM, "safetensors: out of memory");
    lar_status st = read_file(s, "safetensors", data, n, e);
    if (st == LAR_OK)
        st = finish(s, e);
    if (st != LAR_OK)
        lar_safetensors_close(s);
    else
        *out = s;
    return st;
}

void lar_safetensors_close(lar_safetensors *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        lar_free((char *)(uintptr_t)s->t[i].name);
    for (size_t i = 0; i < s->n_files; i++) {
        lar_map_close(&s->files[i].map);
        lar_free(s->files[i].name);
    }
    lar_free(s->files);
    lar_free(s->t);
    lar_free(s);
}

size_t lar_safetensors_count(const lar_safetensors *s)
{
    return s->n;
}
const lar_st_tensor *lar_safetensors_at(const lar_safetensors *s, size_t i)
{
    return &s->t[i];
}
const lar_st_tensor *lar_safetensors_find(const lar_safetensors *s, const char *name)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int c = strcmp(s->t[mid].name, name);
        if (c == 0)
            return &s->t[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}
