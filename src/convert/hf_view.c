/*
 * hf_view.c - tensors that GGUF has in another order or in parts: where their elements lie in a
 * folder's, and what they are there: floats, MXFP4, or FP8 with factors of blocks. Depends on hf.h
 * and quant's formats.
 */
#include "convert/hf.h"
#include "quant/kernels.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 32, HALF = BLOCK / 2 }; /* weights and bytes of an MXFP4 block */

/* The folder's MXFP4: NAME_blocks U8 [.., rows, blocks, 16], NAME_scales U8 [.., rows, blocks]. */
static lar_status find_scales(const lar_hf *h, const lar_st_tensor *s, const lar_st_tensor **out,
                              lar_err *e)
{
    char name[160];
    const char *end = strstr(s->name, "_blocks");
    *out = NULL;
    if (strcmp(s->dtype, "U8") != 0 || !end || end[7])
        return LAR_OK;
    snprintf(name, sizeof name, "%.*s_scales", (int)LAR_MIN(end - s->name, 140), s->name);
    const lar_st_tensor *t = lar_safetensors_find(h->st, name);
    if (!t)
        return lar_fail(e, LAR_EFORMAT, "%s: %s is missing", s->file, name);
    if (s->n_dims != 4 || s->dim[3] != HALF || t->n_dims != 3 || strcmp(t->dtype, "U8") != 0 ||
        memcmp(t->dim, s->dim, 3 * sizeof *t->dim) != 0)
        return lar_fail(e, LAR_EFORMAT, "%s: shape or type does not fit %s", s->name, name);
    *out = t;
    return LAR_OK;
}

/* FP8 as DeepSeek-V3's folder has it: NAME F8_E4M3 [rows, columns], NAME_scale_inv F32, a factor
 * for each block of quantization_config.weight_block_size. */
static lar_status find_factors(const lar_hf *h, const lar_st_tensor *s, lar_hf_view *v, lar_err *e)
{
    const json_t *size = lar_hf_get(h->config, "quantization_config.weight_block_size");
    char name[160];
    v->inv = NULL;
    if (strcmp(s->dtype, "F8_E4M3") != 0)
        return LAR_OK;
    snprintf(name, sizeof name, "%.140s_scale_inv", s->name);
    v->inv_rows = size ? json_integer_value(json_array_get(size, 0)) : 128;
    v->inv_cols = size ? json_integer_value(json_array_get(size, 1)) : 128;
    if (v->inv_rows < 1 || v->inv_cols < 1)
        return lar_fail(e, LAR_EFORMAT, "config.json: weight_block_size, want two numbers");
    const lar_st_tensor *t = v->inv = lar_safetensors_find(h->st, name);
    if (!t)
        return lar_fail(e, LAR_EFORMAT, "%s: %s is missing", s->file, name);
    if (s->n_dims != 2 || t->n_dims != 2 || t->type != LAR_DTYPE(f32) ||
        t->dim[0] != (s->dim[0] - 1) / v->inv_rows + 1 ||
        t->dim[1] != (s->dim[1] - 1) / v->inv_cols + 1)
        return lar_fail(e, LAR_EFORMAT, "%s: shape or type does not fit %s", s->name, name);
    return LAR_OK;
}

static lar_status bad_shape(const lar_st_tensor *s, lar_err *e)
{
    return lar_fail(e, LAR_EFORMAT, "%s: %d dimensions [%lld, %lld, ..]: not what config.json says",
                    s->name, s->n_dims, (long long)s->dim[0],
                    (long long)(s->n_dims > 1 ? s->dim[1] : 1));
}

/* Every other row of blocks, column of a bias, or output of transposed weights. */
static lar_status halve(const lar_st_tensor *s, bool odd, lar_hf_view *v, lar_err *e)
{
    const int64_t a = v->dim[0], b = v->dim[1];
    const bool bias = v->n_dims == 2;
    if ((v->scales ? b : a) % 2 || (!bias && v->n_dims != 3))
        return bad_shape(s, e);
    if (v->scales) {
        v->at = odd ? v->row : 0;
        v->row *= 2;
        v->dim[1] = b / 2;
    } else {
        v->at = odd;
        v->step = bias ? 2 : a;
        v->row = bias ? a : 2;
        v->dim[0] = bias ? a / 2 : b;
        v->dim[1] = bias ? b : a / 2;
    }
    return LAR_OK;
}

static lar_status transpose(const lar_st_tensor *s, lar_hf_view *v, lar_err *e)
{
    if (v->n_dims != 3)
        return bad_shape(s, e);
    v->step = v->dim[0];
    v->row = 1;
    v->dim[0] = v->dim[1];
    v->dim[1] = v->step;
    return LAR_OK;
}

static lar_status of_channels(const lar_st_tensor *s, lar_hf_view *v, lar_err *e)
{
    if (v->n_dims != 3 || v->dim[1] != 1)
        return lar_fail(e, LAR_EFORMAT, "%s: not the shape of a convolution of each channel",
                        s->name);
    v->n_dims = 2;
    v->dim[1] = v->dim[2];
    v->dim[2] = 1;
    return LAR_OK;
}

/* [heads * (nope + value), rank], one part of each head. */
static lar_status of_heads(const lar_hf *h, const lar_st_tensor *s, bool keys, lar_hf_view *v,
                           lar_err *e)
{
    const int64_t rank = v->dim[0], each = h->key_nope + h->value_dim;
    if (v->n_dims != 2 || v->dim[1] != h->n_head * each)
        return bad_shape(s, e);
    v->at = keys ? 0 : h->key_nope * rank;
    v->step = keys ? rank : 1;
    v->row = keys ? 1 : rank;
    v->slab = each * rank;
    v->n_dims = 3;
    v->dim[0] = keys ? h->key_nope : rank;
    v->dim[1] = keys ? rank : h->value_dim;
    v->dim[2] = h->n_head;
    return LAR_OK;
}

/* Rows of one key head: its q, its k, the v of its heads, their z. */
static int64_t delta_group(const lar_hf *h)
{
    return 2 * h->delta.dim_k + 2 * (h->delta.heads / h->delta.keys) * h->delta.dim_v;
}

static lar_status grouped(const lar_hf *h, const lar_st_tensor *s, bool z, lar_hf_view *v,
                          lar_err *e)
{
    if (!h->delta.keys || v->n_dims != 2 || v->dim[1] != h->delta.keys * delta_group(h))
        return bad_shape(s, e);
    v->dim[1] = h->delta.heads * h->delta.dim_v + (z ? 0 : 2 * h->delta.keys * h->delta.dim_k);
    v->slab = v->dim[0] * v->dim[1];
    return LAR_OK;
}

static int64_t grouped_row(const lar_hf *h, bool z, int64_t r)
{
    const int64_t dk = h->delta.dim_k, keys = h->delta.keys * dk, group = delta_group(h),
                  each = h->delta.heads / h->delta.keys * h->delta.dim_v;
    if (!z && r < 2 * keys)
        return r % keys / dk * group + r / keys * dk + r % dk;
    r -= z ? 0 : 2 * keys;
    return r / each * group + 2 * dk + (z ? each : 0) + r % each;
}

int64_t lar__hf_delta_row(const lar_hf *h, int how, int64_t r)
{
    int64_t first = 0, dim = h->delta.dim_v;
    switch (how) {
    case LAR_HF_GROUPED_QKV:
    case LAR_HF_GROUPED_Z:
        return grouped_row(h, how == LAR_HF_GROUPED_Z, r);
    case LAR_HF_DELTA_QKV:
    case LAR_HF_CONV:
        first = 2 * h->delta.keys * h->delta.dim_k;
        break;
    case LAR_HF_DELTA_HEAD:
    case LAR_HF_NEG_EXP:
        dim = 1;
        break;
    case LAR_HF_DELTA_V:
        break;
    default:
        return r;
    }
    if (!h->delta.tiled || r < first)
        return r;
    const int64_t head = (r - first) / dim, keys = h->delta.keys;
    return first + (head % keys * (h->delta.heads / keys) + head / keys) * dim + (r - first) % dim;
}

/* Rows or columns that do not fit the heads would be read from outside. */
static lar_status delta_rows(const lar_hf *h, const lar_st_tensor *s, int how, lar_hf_view *v,
                             lar_err *e)
{
    const int64_t heads = h->delta.heads, values = heads * h->delta.dim_v,
                  all = values + 2 * h->delta.keys * h->delta.dim_k;
    const int64_t rows = v->n_dims < 2 ? v->dim[0] : v->dim[1];
    const int64_t found = how == LAR_HF_DELTA_OUT ? v->dim[0] : rows;
    const int64_t want = how == LAR_HF_DELTA_QKV || how == LAR_HF_CONV       ? all
                         : how == LAR_HF_DELTA_HEAD || how == LAR_HF_NEG_EXP ? heads
                                                                             : values;
    return v->n_dims <= 2 && found == want ? LAR_OK : bad_shape(s, e);
}

static lar_status half_rows(const lar_st_tensor *s, bool last, lar_hf_view *v, lar_err *e)
{
    if (v->n_dims != 3 || v->dim[1] % 2)
        return bad_shape(s, e);
    v->dim[1] /= 2;
    v->at = last ? v->dim[0] * v->dim[1] : 0;
    return LAR_OK;
}

lar_status lar__hf_view_of(const lar_hf *h, int how, const lar_st_tensor *s, lar_hf_view *v,
                           lar_err *e)
{
    *v = (lar_hf_view){.step = 1, .n_dims = LAR_MAX(1, s->n_dims), .dim = {1, 1, 1, 1}};
    LAR_TRY(find_scales(h, s, &v->scales, e));
    LAR_TRY(find_factors(h, s, v, e));
    if (v->n_dims > 4)
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: %d dimensions, want up to 4", s->name, s->n_dims);
    const lar_st_tensor *shape = v->scales ? v->scales : s;
    if (v->scales)
        v->n_dims = shape->n_dims;
    for (int i = 0; i < shape->n_dims; i++)
        v->dim[i] = shape->dim[shape->n_dims - 1 - i];
    v->row = v->dim[0];
    v->slab = v->dim[0] * v->dim[1];
    if (v->scales)
        v->dim[0] *= BLOCK;
    switch (how) {
    case LAR_HF_EVEN:
    case LAR_HF_ODD:
        return halve(s, how == LAR_HF_ODD, v, e);
    case LAR_HF_TRANSPOSE:
        return transpose(s, v, e);
    case LAR_HF_CONV:
        LAR_TRY(of_channels(s, v, e));
        return h->delta.tiled ? delta_rows(h, s, how, v, e) : LAR_OK;
    case LAR_HF_NEG_EXP:
    case LAR_HF_DELTA_QKV:
    case LAR_HF_DELTA_V:
    case LAR_HF_DELTA_HEAD:
    case LAR_HF_DELTA_OUT:
        return delta_rows(h, s, how, v, e);
    case LAR_HF_FIRST_HALF:
    case LAR_HF_LAST_HALF:
        return half_rows(s, how == LAR_HF_LAST_HALF, v, e);
    case LAR_HF_GROUPED_QKV:
    case LAR_HF_GROUPED_Z:
        return grouped(h, s, how == LAR_HF_GROUPED_Z, v, e);
    case LAR_HF_KEY_B:
    case LAR_HF_VALUE_B:
        return of_heads(h, s, how == LAR_HF_KEY_B, v, e);
    default:
        return LAR_OK;
    }
}

/* Sign, 4 bits of exponent, 3 of mantissa; no infinities (Micikevicius et al., "FP8 Formats for
 * Deep Learning", 2022). */
static float from_e4m3(uint8_t b)
{
    const int e = b >> 3 & 15, m = b & 7;
    const float x = (float)(e ? (8 + m) << e : m << 1) / 1024.0f;
    return e == 15 && m == 7 ? NAN : b & 128 ? -x : x;
}

void lar__hf_read(const lar_hf_view *v, const lar_st_tensor *s, int64_t first, int64_t step,
                  int64_t n, float *x)
{
    if (v->inv) {
        const float *factor = (const void *)v->inv->data;
        const int64_t cols = s->dim[1];
        for (int64_t i = 0, at = first; i < n; i++, at += step) {
            const int64_t block =
                at / cols / v->inv_rows * v->inv->dim[1] + at % cols / v->inv_cols;
            x[i] = from_e4m3(s->data[at]) * factor[block];
        }
        return;
    }
    const lar_format *f = lar_kernels__generic.formats[lar_dtype_index(s->type)];
    const uint8_t *p = s->data + (size_t)first * s->type->bytes;
    if (step == 1)
        f->to_f32(p, x, n);
    for (int64_t i = 0; step != 1 && i < n; i++)
        f->to_f32(p + (size_t)(i * step) * s->type->bytes, x + i, 1);
}

/* The folder's byte j holds weights 2j and 2j + 1, GGUF's j and j + 16; the low bits first. */
lar_status lar__hf_mxfp4(const lar_hf_view *v, const lar_st_tensor *s, int64_t first, uint8_t *y,
                         lar_err *e)
{
    enum { LARGEST = 252 }; /* 6 * 2^(252 - 127) is less than 2^128 */
    for (int64_t b = first; b < first + v->dim[0] / BLOCK; b++) {
        const uint8_t *q = s->data + b * HALF, scale = v->scales->data[b];
        if (scale > LARGEST)
            return lar_fail(e, LAR_ENUMERIC, "%s: %s: scale %lld is %d, want at most %d", s->file,
                            v->scales->name, (long long)b, scale, LARGEST);
        *y++ = scale;
        for (int j = 0; j < HALF; j++) {
            const int shift = j % 2 * 4;
            *y++ = (uint8_t)((q[j / 2] >> shift & 15) | (q[(j + HALF) / 2] >> shift & 15) << 4);
        }
    }
    return LAR_OK;
}
