/*
 * quantize.c - plans the type of every tensor, then streams: while one tile of rows is quantized,
 * one thread writes the tile before. Depends on quantize.h, importance.h and format's writer.
 */
#include "convert/quantize.h"
#include "base/os.h"
#include "convert/importance.h"
#include "convert/part.h"
#include "format/gguf_write.h"
#include <float.h>
#include <stdatomic.h>
#include <string.h>

enum {
    TILE = 2 << 20,  /* elements of a tile, at least a row */
    UNIT = 32 << 10, /* elements that a thread takes at once, at least a row */
    QUANTIZATION_VERSION = 2
};

typedef struct plan {
    const lar_gguf_tensor *t;
    char *name;
    const lar_dtype *type;
    bool important; /* the importance matrix has this tensor */
} plan;

typedef struct work {
    const lar_quantize_options *o;
    lar_gguf *in;
    lar_importance_file *imatrix;
    lar_gguf_writer *w;
    plan *plans;
    size_t n;
    lar_recipe_model model;
    char *arch;
    float *scratch; /* [threads][unit] */
    size_t unit;
    uint8_t *tile[2];
    size_t tile_bytes;
    size_t pending; /* bytes in tile[!at] that are not written yet */
    int at;
    uint64_t done, total; /* bytes of the input */
} work;

/* ---- the plan ----------------------------------------------------------------------------------
 */

static bool is_float(const lar_dtype *t)
{
    return t == LAR_DTYPE(f32) || t == LAR_DTYPE(f16) || t == LAR_DTYPE(bf16);
}

/* A number, or the first of an array of numbers (one a layer). */
static int get_int(const lar_gguf *g, const char *arch, const char *key, int otherwise)
{
    lar_buf b = {0};
    uint32_t v = 0, *list = NULL;
    size_t n = 0;
    lar_buf_printf(&b, "%s.%s", arch, key);
    if (b.oom || (lar_gguf_get_u32(g, b.p, &v, NULL) != LAR_OK &&
                  (lar_gguf_get_u32_array(g, b.p, &list, &n, NULL) != LAR_OK || !n)))
        v = UINT32_MAX;
    else if (list)
        v = list[0];
    lar_free(list);
    lar_buf_free(&b);
    return v <= INT32_MAX ? (int)v : otherwise;
}

static lar_status read_model(work *w, lar_err *e)
{
    lar_str arch = {"", 0};
    int layers = 0;
    const lar_status s = lar_gguf_get_str(w->in, "general.architecture", &arch, e);
    if (s != LAR_OK && s != LAR_ENOTFOUND)
        return s;
    w->arch = lar_strndup(arch.p, arch.n);
    if (!w->arch)
        return lar_fail(e, LAR_ENOMEM, "quantize: out of memory");
    for (size_t i = 0; i < w->n; i++)
        layers = LAR_MAX(layers, 1 + lar_recipe_layer(w->plans[i].name));
    const int heads = get_int(w->in, w->arch, "attention.head_count", 1);
    const int kv = get_int(w->in, w->arch, "attention.head_count_kv", heads);
    w->model = (lar_recipe_model){.arch = w->arch,
                                  .n_layer = get_int(w->in, w->arch, "block_count", layers),
                                  .n_expert = get_int(w->in, w->arch, "expert_count", 0),
                                  .n_gqa = kv ? heads / kv : 0,
                                  .tied = !lar_gguf_find_tensor(w->in, "output.weight"),
                                  .importance = w->imatrix != NULL};
    return LAR_OK;
}

/* Whether `name` has `pattern` in it; '*' stands for anything. */
static bool has_pattern(const char *name, const char *pattern, size_t n)
{
    const char *from = name, *retry = name;
    size_t i = 0, star = 0; /* behind the last '*', as if the pattern began with one */
    while (i < n) {
        if (pattern[i] == '*') {
            star = ++i;
            retry = from;
        } else if (*from && (pattern[i] == *from || pattern[i] == '?')) {
            i++, from++;
        } else if (*retry) {
            from = ++retry;
            i = star;
        } else {
            return false;
        }
    }
    return true;
}

/* The type that an override gives, or NULL. */
static lar_status overridden(const work *w, const char *name, bool *used, const lar_dtype **type,
                             lar_err *e)
{
    *type = NULL;
    for (size_t i = 0; i < w->o->n_overrides; i++) {
        const char *o = w->o->overrides[i], *equals = strrchr(o, '=');
        const lar_dtype *t = equals ? lar_dtype_by_name(equals + 1) : NULL;
        if (!equals || equals == o)
            return lar_fail(e, LAR_EARG, "override '%.80s', want PATTERN=TYPE", o);
        if (!t)
            return lar_fail(e, LAR_EARG, "override '%.80s': '%.40s' is no element type", o,
                            equals + 1);
        if (!has_pattern(name, o, (size_t)(equals - o)))
            continue;
        used[i] = true;
        if (!*type)
            *type = t;
    }
    return LAR_OK;
}

/* Where a tensor stands among those of its part, in the order of the layers. */
static void place(const work *w, const plan *p, lar_recipe_tensor *t)
{
    const lar_recipe_part part = lar_recipe_part_of(p->name);
    const int layer = lar_recipe_layer(p->name);
    t->at = t->of = 0;
    for (size_t i = 0; i < w->n; i++) {
        const plan *q = &w->plans[i];
        if (q->t->n_dims < 2 || lar_recipe_part_of(q->name) != part)
            continue;
        const int l = lar_recipe_layer(q->name);
        t->of++;
        t->at += l < layer || (l == layer && strcmp(q->name, p->name) < 0);
    }
}

static bool needs_importance(const work *w, const plan *p)
{
    const lar_recipe_part part = lar_recipe_part_of(p->name);
    if (part == LAR_PART_HEAD || part == LAR_PART_EMBEDDINGS)
        return false;
    switch (lar_dtype_index(p->type)) {
    case LAR_DT_iq1_s:
    case LAR_DT_iq1_m:
    case LAR_DT_iq2_xxs:
    case LAR_DT_iq2_xs:
    case LAR_DT_iq2_s:
    case LAR_DT_iq3_xxs:
        return true;
    case LAR_DT_q2_k:
        return strcmp(w->o->recipe->name, "Q2_K_S") == 0;
    default:
        return false;
    }
}

static const lar_format *format_of(const work *w, const lar_dtype *t)
{
    return w->o->kernels->formats[lar_dtype_index(t)];
}

static lar_status check_plan(const work *w, plan *p, lar_quantize_result *r, lar_err *e)
{
    const lar_format *from = format_of(w, p->t->type), *to = format_of(w, p->type);
    if (p->type == p->t->type)
        return LAR_OK;
    if (p->t->type->block > 1 && !w->o->requantize)
        return lar_fail(e, LAR_EARG,
                        "%s is %s already: quantizing it again loses more than quantizing the "
                        "original (allow-requantize permits it)",
                        p->name, p->t->type->name);
    if (!from)
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: type %s cannot be read", p->name,
                        p->t->type->name);
    if (!to || (!to->from_f32 && !to->quantize))
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: type %s cannot be written", p->name,
                        p->type->name);
    r->n_changed++;
    if (w->imatrix && to->quantize) {
        lar_importance im;
        LAR_TRY(lar_importance_find(w->imatrix, p->name, p->t, &im, e));
        p->important = im.p != NULL;
        r->n_without += !p->important;
        lar_importance_end(&im);
    }
    if (needs_importance(w, p) && !p->important)
        return lar_fail(e, LAR_EARG, "%s: type %s needs an importance matrix%s", p->name,
                        p->type->name,
                        w->imatrix ? ", and the one given says nothing of this tensor" : "");
    return LAR_OK;
}

static lar_status plan_all(work *w, bool *used, lar_quantize_result *r, lar_err *e)
{
    w->plans = lar_alloc_array(LAR_MAX(w->n, 1), sizeof *w->plans);
    if (!w->plans)
        return lar_fail(e, LAR_ENOMEM, "quantize: out of memory");
    for (size_t i = 0; i < w->n; i++) {
        plan *p = &w->plans[i];
        p->t = lar_gguf_tensor_at(w->in, i);
        p->name = lar_strndup(p->t->name.p, p->t->name.n);
        if (!p->name)
            return lar_fail(e, LAR_ENOMEM, "quantize: out of memory");
    }
    LAR_TRY(read_model(w, e));
    for (size_t i = 0; i < w->n; i++) {
        plan *p = &w->plans[i];
        const lar_dtype *want;
        lar_recipe_tensor t = {p->name, p->t->type, p->t->n_dims, p->t->dim, 0, 0};
        const bool number = is_float(p->t->type) || p->t->type->block > 1;
        place(w, p, &t);
        p->type = number ? lar_recipe_type(w->o->recipe, &w->model, &t) : p->t->type;
        LAR_TRY(overridden(w, p->name, used, &want, e));
        if (want && number && p->t->n_dims > 1)
            p->type = lar_recipe_fitting(want, p->t->dim[0]);
        LAR_TRY(check_plan(w, p, r, e));
        r->of_type[lar_dtype_index(p->type)]++;
        r->n_params += (uint64_t)(p->t->dim[0] * p->t->dim[1] * p->t->dim[2] * p->t->dim[3]);
        w->total += p->t->bytes;
    }
    for (size_t i = 0; i < w->o->n_overrides; i++)
        if (!used[i])
            return lar_fail(e, LAR_EARG, "override '%.80s': no tensor has such a name",
                            w->o->overrides[i]);
    return LAR_OK;
}

/* ---- the data ----------------------------------------------------------------------------------
 */

typedef struct job {
    work *w;
    const plan *p;
    const lar_format *from, *to; /* from NULL: only copied */
    int64_t k, first, rows;      /* this tile's */
    int64_t per_unit;            /* rows */
    bool opened;
    size_t from_bytes, to_bytes; /* of a row */
    lar_importance importance;   /* .p NULL: none */
    atomic_llong bad;            /* the first row that cannot be written; LLONG_MAX: none */
    lar_status written;
    lar_err why;
} job;

static bool is_good(const float *x, int64_t n, float most)
{
    float far = 0;
    bool nan = false;
    for (int64_t i = 0; i < n; i++) {
        const float a = x[i] < 0 ? -x[i] : x[i];
        far = a > far ? a : far;
        nan |= x[i] != x[i];
    }
    return !nan && far <= most;
}

static void mark_bad(job *j, int64_t row)
{
    long long was = atomic_load(&j->bad);
    while (row < was && !atomic_compare_exchange_weak(&j->bad, &was, row))
        ;
}

static float most_of(const plan *p)
{
    return p->type == p->t->type ? FLT_MAX : lar__largest(p->type);
}

static void convert_rows(job *j, int64_t row, int64_t rows, float *x, uint8_t *y)
{
    const lar_importance *im = &j->importance;
    const int64_t each = j->p->t->dim[1];
    j->from->to_f32(j->p->t->data + (size_t)row * j->from_bytes, x, rows * j->k);
    for (int64_t r = 0; r < rows; r++)
        if (!is_good(x + r * j->k, j->k, most_of(j->p))) {
            mark_bad(j, row + r);
            return;
        }
    if (j->p->type == j->p->t->type) /* was read only to be checked */
        memcpy(y, j->p->t->data + (size_t)row * j->from_bytes, (size_t)rows * j->from_bytes);
    else if (!j->to->quantize)
        j->to->from_f32(x, y, rows * j->k);
    else if (!im->p)
        j->to->quantize(x, NULL, y, rows * j->k);
    else
        for (int64_t r = 0; r < rows; r++)
            j->to->quantize(x + r * j->k, im->p + (row + r) / each % im->n * j->k,
                            y + (size_t)r * j->to_bytes, j->k);
}

/* Unit 0 writes the tile before this one; the others are rows. */
static void do_units(void *arg, int64_t begin, int64_t end, int ith, int nth)
{
    job *j = arg;
    work *w = j->w;
    (void)nth;
    for (int64_t u = begin; u < end; u++) {
        if (u == 0) {
            if (w->pending)
                j->written = lar_gguf_writer_data(w->w, w->tile[!w->at], w->pending, &j->why);
            continue;
        }
        const int64_t at = (u - 1) * j->per_unit, rows = LAR_MIN(j->per_unit, j->rows - at);
        uint8_t *y = w->tile[w->at] + (size_t)at * j->to_bytes;
        if (j->from)
            convert_rows(j, j->first + at, rows, w->scratch + (size_t)ith * w->unit, y);
        else
            memcpy(y, j->p->t->data + (size_t)(j->first + at) * j->from_bytes,
                   (size_t)rows * j->from_bytes);
    }
}

/* One stage a tile, so that progress is told from the caller's own thread. */
static int64_t next_stage(void *arg)
{
    job *j = arg;
    if (j->opened)
        return 0;
    j->opened = true;
    return 1 + (j->rows + j->per_unit - 1) / j->per_unit;
}

static lar_status report(const job *j, lar_err *e)
{
    const int64_t row = atomic_load(&j->bad);
    float *x = lar_alloc_array((size_t)j->k, sizeof *x);
    if (!x)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", j->p->name);
    j->from->to_f32(j->p->t->data + (size_t)row * j->from_bytes, x, j->k);
    int64_t i = 0;
    while (i + 1 < j->k && is_good(x + i, 1, most_of(j->p)))
        i++;
    const double v = (double)x[i];
    lar_free(x);
    return lar_fail(e, LAR_EFORMAT, "%s: row %lld, column %lld is %g, which %s cannot hold",
                    j->p->name, (long long)row, (long long)i, v, j->p->type->name);
}

static lar_status do_tile(job *j, lar_err *e)
{
    static const lar_pool_job stages = {next_stage, do_units};
    work *w = j->w;
    j->opened = false;
    if (w->o->progress &&
        w->o->progress((double)w->done / (double)LAR_MAX(w->total, 1), j->p->name, w->o->user))
        return lar_fail(e, LAR_ECANCELLED, "cancelled");
    lar_pool_stages(w->o->pool, &stages, j);
    if (j->written != LAR_OK) {
        *e = j->why;
        return j->written;
    }
    if (atomic_load(&j->bad) != INT64_MAX)
        return report(j, e);
    w->pending = (size_t)j->rows * j->to_bytes;
    w->at = !w->at;
    w->done += (uint64_t)j->rows * j->from_bytes;
    return LAR_OK;
}

static lar_status do_tensor(work *w, const plan *p, lar_err *e)
{
    const lar_gguf_tensor *t = p->t;
    job j = {.w = w,
             .p = p,
             .k = t->dim[0],
             .from = p->type != t->type || is_float(t->type) ? format_of(w, t->type) : NULL,
             .to = format_of(w, p->type),
             .from_bytes = lar_row_bytes(t->type, t->dim[0]),
             .to_bytes = lar_row_bytes(p->type, t->dim[0])};
    const int64_t rows = t->dim[1] * t->dim[2] * t->dim[3], tile = LAR_MAX(1, TILE / j.k);
    lar_status s = LAR_OK;
    j.per_unit = LAR_MAX(1, UNIT / j.k);
    atomic_init(&j.bad, INT64_MAX);
    if (p->important)
        LAR_TRY(lar_importance_find(w->imatrix, p->name, t, &j.importance, e));
    for (j.first = 0; s == LAR_OK && j.first < rows; j.first += j.rows) {
        j.rows = LAR_MIN(tile, rows - j.first);
        s = do_tile(&j, e);
    }
    lar_importance_end(&j.importance);
    return s;
}

static lar_status make_room(work *w, lar_err *e)
{
    w->unit = UNIT;
    for (size_t i = 0; i < w->n; i++) {
        const plan *p = &w->plans[i];
        const int64_t k = p->t->dim[0], rows = p->t->dim[1] * p->t->dim[2] * p->t->dim[3];
        const int64_t tile = LAR_MIN(rows, LAR_MAX(1, TILE / k));
        w->unit = LAR_MAX(w->unit, (size_t)k);
        w->tile_bytes = LAR_MAX(w->tile_bytes, (size_t)tile * lar_row_bytes(p->type, k));
    }
    size_t n;
    if (lar_size_mul(w->unit, (size_t)lar_pool_threads(w->o->pool), &n))
        w->scratch = lar_alloc_array(n, sizeof *w->scratch);
    for (int i = 0; i < 2; i++)
        w->tile[i] = lar_alloc(LAR_MAX(w->tile_bytes, 1));
    return w->scratch && w->tile[0] && w->tile[1]
               ? LAR_OK
               : lar_fail(e, LAR_ENOMEM, "quantize: out of memory for rows of %zu", w->unit);
}

/* ---- the file ----------------------------------------------------------------------------------
 */

static lar_status check_paths(const work *w, const char *out, lar_err *e)
{
    for (int i = 0; i < lar_gguf_n_files(w->in); i++) {
        const char *path;
        if (lar_gguf_map(w->in, i, &path) && lar_file_same(path, out))
            return lar_fail(e, LAR_EARG, "%s: the output is the input, want another file", out);
    }
    if (w->o->importance && lar_file_same(w->o->importance, out))
        return lar_fail(e, LAR_EARG, "%s: the output is the importance matrix", out);
    return LAR_OK;
}

static lar_status put_header(work *w, const char *out, lar_err *e)
{
    static const char *const gone[] = {"split.no", "split.count", "split.tensors.count",
                                       "general.alignment"};
    LAR_TRY(lar_gguf_writer_new(out, 32, &w->w, e));
    for (size_t i = 0; i < lar_gguf_n_kv(w->in); i++)
        lar_gguf_put_kv(w->w, lar_gguf_kv_at(w->in, i));
    for (size_t i = 0; i < LAR_LEN(gone); i++)
        lar_gguf_remove(w->w, gone[i]);
    lar_gguf_put_u32(w->w, "general.quantization_version", QUANTIZATION_VERSION);
    lar_gguf_put_u32(w->w, "general.file_type", w->o->recipe->file_type);
    for (size_t i = 0; i < w->n; i++)
        lar_gguf_put_tensor(w->w, w->plans[i].name, w->plans[i].type, w->plans[i].t->n_dims,
                            w->plans[i].t->dim);
    return lar_gguf_writer_begin(w->w, e);
}

static lar_status run(work *w, const char *in, const char *out, bool *used, lar_quantize_result *r,
                      lar_err *e)
{
    LAR_TRY(lar_gguf_open(in, &w->in, e));
    LAR_TRY(check_paths(w, out, e));
    if (w->o->importance)
        LAR_TRY(lar_importance_open(w->o->importance, &w->imatrix, e));
    w->n = lar_gguf_n_tensors(w->in);
    LAR_TRY(plan_all(w, used, r, e));
    LAR_TRY(make_room(w, e));
    LAR_TRY(put_header(w, out, e));
    for (size_t i = 0; i < w->n; i++)
        LAR_TRY(do_tensor(w, &w->plans[i], e));
    return w->pending ? lar_gguf_writer_data(w->w, w->tile[!w->at], w->pending, e) : LAR_OK;
}

lar_status lar_quantize_file(const char *in, const char *out, const lar_quantize_options *o,
                             lar_quantize_result *result, lar_err *e)
{
    work w = {.o = o};
    lar_err own = {0};
    bool *used = lar_alloc_array(o->n_overrides + 1, sizeof *used);
    *result = (lar_quantize_result){0};
    e = e ? e : &own;
    lar_status s = used ? run(&w, in, out, used, result, e)
                        : lar_fail(e, LAR_ENOMEM, "quantize: out of memory");
    if (s == LAR_OK) {
        result->n_tensors = w.n;
        result->bytes = lar_gguf_writer_bytes(w.w);
        result->bytes_before = lar_gguf_file_bytes(w.in);
        s = lar_gguf_writer_commit(w.w, e);
    } else {
        lar_gguf_writer_abort(w.w);
    }
    for (size_t i = 0; w.plans && i < w.n; i++)
        lar_free(w.plans[i].name);
    lar_free(w.plans);
    lar_free(w.arch);
    lar_free(w.scratch);
    lar_free(w.tile[0]);
    lar_free(w.tile[1]);
    lar_free(used);
    lar_importance_close(w.imatrix);
    lar_gguf_close(w.in);
    return s;
}
