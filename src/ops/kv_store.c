/*
 * kv_store.c - write this step's keys or values into their cells of the cache, in the cache's own
 * type (ops/kv_page.h has the layout). Sources: x F32 [head_dim, heads, T]; cell I32 [T], page *
 * LAR_PAGE + place; cache [head_dim, LAR_PAGE, heads, pages]. Result: the cache itself, so that
 * what reads it comes after.
 */
#include "base/simd.h"
#include "ops/kv_page.h"

static lar_status shape(lar_tensor *t, lar_err *e)
{
    lar_tensor *x = t->src[0], *cache = t->src[2];
    if (x->type != LAR_DTYPE(f32) || x->dim[3] != 1)
        return lar_shape_fail(t, 0, "f32 [head_dim, heads, T]", e);
    if (t->src[1]->type != LAR_DTYPE(i32) || t->src[1]->dim[0] != x->dim[2])
        return lar_shape_fail(t, 1, "i32 [T]", e);
    if (!lar_kv_type_ok(cache->type) || x->dim[0] > LAR_MAX_HEAD_DIM)
        return lar_shape_fail(t, 2, "f32, f16, q8_0 or q4_0, heads of at most 1024", e);
    if (cache->dim[0] != x->dim[0] || cache->dim[1] != LAR_PAGE || cache->dim[2] != x->dim[1])
        return lar_shape_fail(t, 2, "a cache [head_dim, page, heads, pages]", e);
    lar_alias(t, cache);
    return LAR_OK;
}

static int64_t units(const lar_tensor *t, int phase)
{
    (void)phase;
    return t->src[0]->dim[2];
}

static void cpu(const lar_tensor *t, const lar_work *w)
{
    const lar_tensor *x = t->src[0];
    const int32_t *cell = t->src[1]->data;
    const lar_kernels *k = w->kernels;
    const lar_format *f = k->formats[lar_dtype_index(t->type)];
    const bool keys = LAR_PARAM(lar_kv_store_param, t)->keys;
    _Alignas(64) uint8_t row[LAR_MAX_HEAD_DIM * sizeof(float)];
    for (int64_t i = w->begin; i < w->end; i++) {
        char *page = (char *)t->data + (size_t)(cell[i] / LAR_PAGE) * t->stride[3];
        const int c = cell[i] % LAR_PAGE;
        for (int64_t h = 0; h < x->dim[1]; h++, page += t->stride[2]) {
            const float *from = lar_row(x, i * x->dim[1] + h);
            f->from_f32(from, keys ? (void *)row : page + (size_t)c * t->stride[1], x->dim[0]);
            if (keys)
                lar_kv_put_key(t->type, row, x->dim[0] / t->type->block, c, page);
        }
    }
}

LAR_OP(kv_store, .min_src = 3, .max_src = 3, .param_size = sizeof(lar_kv_store_param),
       .shape = shape, .units = units, .cpu = cpu);
