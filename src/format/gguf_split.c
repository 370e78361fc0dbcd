/*
 * gguf_split.c - a model split over several files, NAME-00001-of-00003.gguf and so on, as
 * llama.cpp's gguf-split writes them: the first has the model's keys, each has split.no (from 0),
 * split.count and split.tensors.count (of all). Depends on gguf_part.h.
 */
#include "format/gguf_part.h"
#include <stdio.h>
#include <string.h>

#define ULL(x) ((unsigned long long)(x))

enum { MAX_PARTS = 4096 };

typedef struct split {
    uint64_t count, no, tensors;
    bool has_tensors;
} split;

static lar_status want_unsigned(const lar__gguf_part *p, const char *key, uint64_t *out, lar_err *e)
{
    const lar_gguf_kv *kv = lar__gguf_part_find(p, key);
    if (!kv)
        return lar_fail(e, LAR_EFORMAT, "%s: %s is missing, a split file must have it",
                        lar__gguf_short_path(p->path), key);
    if (!lar__gguf_unsigned(kv, out))
        return lar_fail(e, LAR_EFORMAT, "%s: %s is not an unsigned number but %s",
                        lar__gguf_short_path(p->path), key, lar_gguf_type_name(kv->type));
    return LAR_OK;
}

static lar_status read_keys(const lar__gguf_part *p, split *s, lar_err *e)
{
    *s = (split){0};
    LAR_TRY(want_unsigned(p, "split.count", &s->count, e));
    LAR_TRY(want_unsigned(p, "split.no", &s->no, e));
    s->has_tensors = lar__gguf_part_find(p, "split.tensors.count") != NULL;
    if (s->has_tensors)
        LAR_TRY(want_unsigned(p, "split.tensors.count", &s->tensors, e));
    return LAR_OK;
}

typedef struct tail {
    char s[64];
} tail;

static tail tail_of(uint64_t no, uint64_t count)
{
    tail t;
    snprintf(t.s, sizeof t.s, "-%05u-of-%05u.gguf", (unsigned)no + 1, (unsigned)count);
    return t;
}

/* The caller's, NULL when out of memory. */
static char *part_path(const char *path, size_t prefix, uint64_t no, uint64_t count)
{
    lar_buf b = {0};
    lar_buf_add(&b, path, prefix);
    lar_buf_puts(&b, tail_of(no, count).s);
    return lar_buf_take(&b);
}

/* The length of what stands before the tail, where the path is named as part `no` of `count` must
 * be; else 0. */
static size_t prefix_length(const char *path, uint64_t no, uint64_t count)
{
    tail t = tail_of(no, count);
    size_t n = strlen(path), len = strlen(t.s);
    return n > len && strcmp(path + n - len, t.s) == 0 ? n - len : 0;
}

static lar_status check_first(const lar__gguf_part *p, const split *s, size_t *prefix, lar_err *e)
{
    if (s->count > MAX_PARTS)
        return lar_fail(e, LAR_EFORMAT, "%s: split.count is %llu, at most %d are supported",
                        p->path, ULL(s->count), MAX_PARTS);
    if (s->no >= s->count)
        return lar_fail(e, LAR_EFORMAT, "%s: split.no is %llu, want less than split.count, %llu",
                        p->path, ULL(s->no), ULL(s->count));
    *prefix = prefix_length(p->path, s->no, s->count);
    if (s->no != 0) {
        char *first = *prefix ? part_path(p->path, *prefix, 0, s->count) : NULL;
        lar_fail(e, LAR_EARG, "%s: this is part %llu of %llu of a split model: open the first, %s",
                 p->path, ULL(s->no + 1), ULL(s->count),
                 first ? first : "the one whose name ends in -00001-of-*.gguf");
        lar_free(first);
        return LAR_EARG;
    }
    if (!*prefix)
        return lar_fail(
            e, LAR_EARG,
            "%s: this is the first part of a model split into %llu files: its name must "
            "end in -00001-of-%05u.gguf, so that the others are found",
            p->path, ULL(s->count), (unsigned)s->count);
    return LAR_OK;
}

static lar_status read_part(lar_gguf *g, int i, size_t prefix, const split *first, lar_err *e)
{
    lar__gguf_part *p = &g->part[i];
    split s;
    char *path = part_path(g->part[0].path, prefix, (uint64_t)i, first->count);
    if (!path)
        return lar_fail(e, LAR_ENOMEM, "out of memory for the path of a model");
    lar_status st = lar__gguf_map(p, path, i, e);
    lar_free(path);
    if (st != LAR_OK)
        return lar_fail_in(e, st, "part %d of %d", i + 1, g->n_parts);
    LAR_TRY(read_keys(p, &s, e));
    if (s.no != (uint64_t)i || s.count != first->count)
        return lar_fail(
            e, LAR_EFORMAT,
            "%s: says that it is part %llu of %llu (split.no %llu), want part %d of %llu", p->path,
            ULL(s.no) + 1, ULL(s.count), ULL(s.no), i + 1, ULL(first->count));
    if (s.has_tensors && first->has_tensors && s.tensors != first->tensors)
        return lar_fail(
            e, LAR_EFORMAT,
            "%s: split.tensors.count is %llu, the first part says %llu: not of one model", p->path,
            ULL(s.tensors), ULL(first->tensors));
    return LAR_OK;
}

lar_status lar__gguf_read_splits(lar_gguf *g, lar_err *e)
{
    uint64_t count;
    size_t prefix, total;
    split first;
    if (!lar__gguf_part_find(&g->part[0], "split.count"))
        return LAR_OK;
    LAR_TRY(want_unsigned(&g->part[0], "split.count", &count, e));
    if (count <= 1) /* gguf-split leaves 0 in a file that it has merged */
        return LAR_OK;
    LAR_TRY(read_keys(&g->part[0], &first, e));
    LAR_TRY(check_first(&g->part[0], &first, &prefix, e));

    lar__gguf_part *part = lar_alloc_array((size_t)count, sizeof *part);
    if (!part)
        return lar_fail(e, LAR_ENOMEM, "out of memory for %llu files", ULL(count));
    part[0] = g->part[0];
    lar_free(g->part);
    g->part = part;
    g->n_parts = (int)count;
    total = part[0].n_tensors;
    for (int i = 1; i < g->n_parts; i++) {
        LAR_TRY(read_part(g, i, prefix, &first, e));
        total += part[i].n_tensors;
    }
    if (first.has_tensors && total != first.tensors)
        return lar_fail(e, LAR_EFORMAT,
                        "%s: split.tensors.count is %llu, the %d files have %zu tensors",
                        part[0].path, ULL(first.tensors), g->n_parts, total);
    if (total > UINT32_MAX / 2)
        return lar_fail(e, LAR_EFORMAT, "%s: %zu tensors are too many", part[0].path, total);
    return LAR_OK;
}
