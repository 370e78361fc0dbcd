/* importance.c - importance matrices as files. Depends on importance.h and format's writer. */
#include "convert/importance.h"
#include "format/gguf_write.h"
#include <float.h>
#include <string.h>

struct lar_importance_file {
    lar_gguf *g;
};

lar_status lar_importance_open(const char *path, lar_importance_file **out, lar_err *e)
{
    lar_str type = {0};
    lar_importance_file *f = lar_alloc(sizeof *f);
    *out = NULL;
    if (!f)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    lar_status s = lar_gguf_open(path, &f->g, e);
    if (s == LAR_OK && (lar_gguf_get_str(f->g, "general.type", &type, NULL) != LAR_OK ||
                        !lar_str_eq(type, "imatrix")))
        s = lar_fail(e, LAR_EFORMAT, "%s: general.type is not imatrix: no importance matrix", path);
    if (s != LAR_OK) {
        lar_importance_close(f);
        return s;
    }
    *out = f;
    return LAR_OK;
}

void lar_importance_close(lar_importance_file *f)
{
    if (f)
        lar_gguf_close(f->g);
    lar_free(f);
}

static lar_status find(const lar_importance_file *f, const char *name, const char *what,
                       const lar_gguf_tensor **t, lar_err *e)
{
    lar_buf b = {0};
    lar_buf_printf(&b, "%s.%s", name, what);
    *t = b.oom ? NULL : lar_gguf_find_tensor(f->g, b.p);
    const bool oom = b.oom;
    lar_buf_free(&b);
    if (oom)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", name);
    if (*t && (*t)->type != LAR_DTYPE(f32))
        return lar_fail(e, LAR_EFORMAT, "importance: %s.%s is %s, want f32", name, what,
                        (*t)->type->name);
    return LAR_OK;
}

/* Of an expert that saw no token nothing is known: all columns alike. */
static lar_status fill(const lar_gguf_tensor *sums, const lar_gguf_tensor *counts, int64_t k,
                       const char *name, lar_importance *out, lar_err *e)
{
    for (int64_t m = 0; m < out->n; m++) {
        float count;
        memcpy(&count, counts->data + (size_t)(counts->dim[1] > 1 ? m : 0) * sizeof count,
               sizeof count);
        for (int64_t i = 0; i < k; i++) {
            float v;
            memcpy(&v, sums->data + (size_t)(m * k + i) * sizeof v, sizeof v);
            v = count > 0 ? v / count : 1;
            if (!(v >= 0 && v <= 1e30f))
                return lar_fail(e, LAR_EFORMAT,
                                "importance: %s: column %lld is %g, want a finite number from 0 on",
                                name, (long long)i, (double)v);
            out->p[m * k + i] = v;
        }
    }
    return LAR_OK;
}

lar_status lar_importance_find(const lar_importance_file *f, const char *name,
                               const lar_gguf_tensor *t, lar_importance *out, lar_err *e)
{
    const lar_gguf_tensor *sums, *counts;
    *out = (lar_importance){0};
    LAR_TRY(find(f, name, "in_sum2", &sums, e));
    LAR_TRY(find(f, name, "counts", &counts, e));
    if (!sums || !counts)
        return LAR_OK;
    const int64_t k = t->dim[0], n = sums->dim[1];
    if (sums->dim[0] != k || (n != 1 && n != t->dim[2]) || sums->dim[2] != 1 || sums->dim[3] != 1)
        return lar_fail(e, LAR_EFORMAT,
                        "importance: %s.in_sum2 is [%lld, %lld], the tensor has %lld columns and "
                        "%lld experts",
                        name, (long long)sums->dim[0], (long long)n, (long long)k,
                        (long long)t->dim[2]);
    if (counts->dim[0] != 1 || (counts->dim[1] != 1 && counts->dim[1] != n))
        return lar_fail(e, LAR_EFORMAT, "importance: %s.counts is [%lld, %lld], want [1, %lld]",
                        name, (long long)counts->dim[0], (long long)counts->dim[1], (long long)n);
    out->n = n;
    out->p = lar_alloc_array((size_t)(n * k), sizeof *out->p);
    if (!out->p)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", name);
    const lar_status s = fill(sums, counts, k, name, out, e);
    if (s != LAR_OK)
        lar_importance_end(out);
    return s;
}

void lar_importance_end(lar_importance *i)
{
    lar_free(i->p);
    *i = (lar_importance){0};
}

/* ---- writing -----------------------------------------------------------------------------------
 */

static void put_tensor(lar_gguf_writer *w, lar_buf *name, const lar_importance_sums *s,
                       const char *what, int64_t columns)
{
    lar_buf_clear(name);
    lar_buf_printf(name, "%s.%s", s->name, what);
    if (!name->oom)
        lar_gguf_put_tensor(w, name->p, LAR_DTYPE(f32), 2, (int64_t[]){columns, s->experts});
}

static lar_status write_data(lar_gguf_writer *w, const lar_importance_sums *s, lar_err *e)
{
    for (int64_t i = 0; i < s->k * s->experts; i++) {
        const float v = (float)s->sum2[i];
        if (!(v <= FLT_MAX))
            return lar_fail(e, LAR_ENUMERIC, "importance: %s: column %lld is %g", s->name,
                            (long long)(i % s->k), (double)v);
        LAR_TRY(lar_gguf_writer_data(w, &v, sizeof v, e));
    }
    for (int64_t i = 0; i < s->experts; i++) {
        const float v = (float)s->count[i];
        LAR_TRY(lar_gguf_writer_data(w, &v, sizeof v, e));
    }
    return LAR_OK;
}

static lar_status write_all(lar_gguf_writer *w, const lar_importance_sums *s, size_t n,
                            const char *dataset, uint32_t chunks, uint32_t chunk, lar_err *e)
{
    lar_buf name = {0};
    const lar_str set = {dataset, strlen(dataset)};
    lar_gguf_put_string(w, "general.type", "imatrix");
    lar_gguf_put_strings(w, "imatrix.datasets", &set, 1);
    lar_gguf_put_u32(w, "imatrix.chunk_count", chunks);
    lar_gguf_put_u32(w, "imatrix.chunk_size", chunk);
    for (size_t i = 0; i < n; i++) {
        put_tensor(w, &name, &s[i], "in_sum2", s[i].k);
        put_tensor(w, &name, &s[i], "counts", 1);
    }
    const bool oom = name.oom;
    lar_buf_free(&name);
    if (oom)
        return lar_fail(e, LAR_ENOMEM, "importance: out of memory");
    LAR_TRY(lar_gguf_writer_begin(w, e));
    for (size_t i = 0; i < n; i++)
        LAR_TRY(write_data(w, &s[i], e));
    return LAR_OK;
}

lar_status lar_importance_write(const char *path, const lar_importance_sums *s, size_t n,
                                const char *dataset, uint32_t chunks, uint32_t chunk, lar_err *e)
{
    lar_gguf_writer *w;
    LAR_TRY(lar_gguf_writer_new(path, 32, &w, e));
    const lar_status st = write_all(w, s, n, dataset, chunks, chunk, e);
    if (st == LAR_OK)
        return lar_gguf_writer_commit(w, e);
    lar_gguf_writer_abort(w);
    return st;
}
