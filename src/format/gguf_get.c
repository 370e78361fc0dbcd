/*
 * gguf_get.c - typed values of metadata keys: the answer fits, or an error says what was found and
 * wanted. Depends on gguf_part.h.
 */
#include "format/gguf_part.h"
#include <stdio.h>
#include <string.h>

/* An integer of any width: where `neg`, u is the two's complement of a number below 0. */
typedef struct integer {
    uint64_t u;
    bool neg;
} integer;

static uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static float f32_at(const uint8_t *p)
{
    uint32_t u = lar_u32(p);
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static double f64_at(const uint8_t *p)
{
    uint64_t u = lar_u64(p);
    double f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static integer from_signed(int64_t v)
{
    return (integer){(uint64_t)v, v < 0};
}

/* False where the type is no integer. */
static bool integer_at(lar_gguf_type type, const uint8_t *p, integer *out)
{
    switch (type) {
    case LAR_GGUF_U8:
        *out = (integer){p[0], false};
        return true;
    case LAR_GGUF_I8:
        *out = from_signed((int8_t)p[0]);
        return true;
    case LAR_GGUF_U16:
        *out = (integer){u16_at(p), false};
        return true;
    case LAR_GGUF_I16:
        *out = from_signed((int16_t)u16_at(p));
        return true;
    case LAR_GGUF_U32:
        *out = (integer){lar_u32(p), false};
        return true;
    case LAR_GGUF_I32:
        *out = from_signed((int32_t)lar_u32(p));
        return true;
    case LAR_GGUF_U64:
        *out = (integer){lar_u64(p), false};
        return true;
    case LAR_GGUF_I64:
        *out = from_signed((int64_t)lar_u64(p));
        return true;
    default:
        return false;
    }
}

static size_t width(lar_gguf_type t)
{
    switch (t) {
    case LAR_GGUF_U8:
    case LAR_GGUF_I8:
    case LAR_GGUF_BOOL:
        return 1;
    case LAR_GGUF_U16:
    case LAR_GGUF_I16:
        return 2;
    case LAR_GGUF_U32:
    case LAR_GGUF_I32:
    case LAR_GGUF_F32:
        return 4;
    default:
        return 8;
    }
}

bool lar__gguf_unsigned(const lar_gguf_kv *kv, uint64_t *out)
{
    integer v;
    if (!integer_at(kv->type, kv->data, &v) || v.neg)
        return false;
    *out = v.u;
    return true;
}

/* ---- errors --------------------------------------------------------------------------------- */

static lar_status find(const lar_gguf *g, const char *key, const lar_gguf_kv **kv, lar_err *e)
{
    *kv = lar_gguf_find(g, key);
    return *kv ? LAR_OK : lar_fail(e, LAR_ENOTFOUND, "key %s is missing", key);
}

/* "u32", "array of u8" */
typedef struct type_text {
    char s[32];
} type_text;

static type_text type_of(const lar_gguf_kv *kv)
{
    type_text t = {{0}};
    const char *name = lar_gguf_type_name(kv->elem);
    if (kv->type == LAR_GGUF_ARRAY)
        memcpy(t.s, "array of ", 9);
    memcpy(t.s + strlen(t.s), name, strlen(name));
    return t;
}

static lar_status bad_type(const char *key, const lar_gguf_kv *kv, const char *want, lar_err *e)
{
    return lar_fail(e, LAR_EFORMAT, "%s: is of type %s, want %s", key, type_of(kv).s, want);
}

static lar_status bad_integer(const char *key, const char *at, integer v, const char *want,
                              lar_err *e)
{
    if (v.neg)
        return lar_fail(e, LAR_EFORMAT, "%s: %s%lld is out of range, want %s", key, at,
                        (long long)(int64_t)v.u, want);
    return lar_fail(e, LAR_EFORMAT, "%s: %s%llu is out of range, want %s", key, at,
                    (unsigned long long)v.u, want);
}

/* ---- scalars -------------------------------------------------------------------------------- */

static lar_status get_unsigned(const lar_gguf *g, const char *key, uint64_t max, const char *want,
                               uint64_t *out, lar_err *e)
{
    const lar_gguf_kv *kv;
    integer v;
    LAR_TRY(find(g, key, &kv, e));
    if (!integer_at(kv->type, kv->data, &v))
        return bad_type(key, kv, "an integer", e);
    if (v.neg || v.u > max)
        return bad_integer(key, "", v, want, e);
    *out = v.u;
    return LAR_OK;
}

lar_status lar_gguf_get_u32(const lar_gguf *g, const char *key, uint32_t *out, lar_err *e)
{
    uint64_t v;
    LAR_TRY(get_unsigned(g, key, UINT32_MAX, "0 to 4294967295", &v, e));
    *out = (uint32_t)v;
    return LAR_OK;
}

lar_status lar_gguf_get_u64(const lar_gguf *g, const char *key, uint64_t *out, lar_err *e)
{
    return get_unsigned(g, key, UINT64_MAX, "0 or more", out, e);
}

/* False where the type is no number. A double too large for a float becomes infinite. */
static bool float_at(lar_gguf_type type, const uint8_t *p, float *out)
{
    integer v;
    if (type == LAR_GGUF_F32) {
        *out = f32_at(p);
    } else if (type == LAR_GGUF_F64) {
        double d = f64_at(p);
        /* Beyond the largest float, where the conversion itself would be undefined. */
        *out = d > 0x1.fffffep127    ? f32_at((const uint8_t *)"\0\0\x80\x7f")
               : d < -0x1.fffffep127 ? f32_at((const uint8_t *)"\0\0\x80\xff")
                                     : (float)d;
    } else if (integer_at(type, p, &v)) {
        *out = v.neg ? (float)(int64_t)v.u : (float)v.u;
    } else {
        return false;
    }
    return true;
}

lar_status lar_gguf_get_f32(const lar_gguf *g, const char *key, float *out, lar_err *e)
{
    const lar_gguf_kv *kv;
    float v;
    LAR_TRY(find(g, key, &kv, e));
    if (!float_at(kv->type, kv->data, &v))
        return bad_type(key, kv, "a number", e);
    if (v - v != 0)
        return lar_fail(e, LAR_EFORMAT, "%s: is %s, want a finite number", key,
                        v != v ? "NaN" : "infinite");
    *out = v;
    return LAR_OK;
}

lar_status lar_gguf_get_bool(const lar_gguf *g, const char *key, bool *out, lar_err *e)
{
    const lar_gguf_kv *kv;
    LAR_TRY(find(g, key, &kv, e));
    if (kv->type != LAR_GGUF_BOOL)
        return bad_type(key, kv, "bool", e);
    *out = kv->data[0] != 0;
    return LAR_OK;
}

lar_status lar_gguf_get_str(const lar_gguf *g, const char *key, lar_str *out, lar_err *e)
{
    const lar_gguf_kv *kv;
    LAR_TRY(find(g, key, &kv, e));
    if (kv->type != LAR_GGUF_STRING)
        return bad_type(key, kv, "string", e);
    *out = (lar_str){(const char *)kv->data + 8, kv->bytes - 8};
    return LAR_OK;
}

/* ---- arrays --------------------------------------------------------------------------------- */

typedef bool fits_fn(lar_gguf_type type);

/* Find an array whose elements fit and make memory for it; NULL in *mem for an empty one. */
static lar_status begin(const lar_gguf *g, const char *key, fits_fn *fits, const char *want,
                        size_t each, const lar_gguf_kv **out, void **mem, lar_err *e)
{
    const lar_gguf_kv *kv;
    *mem = NULL;
    LAR_TRY(find(g, key, &kv, e));
    if (kv->type != LAR_GGUF_ARRAY || !fits(kv->elem))
        return bad_type(key, kv, want, e);
    *out = kv;
    if (kv->count == 0)
        return LAR_OK;
    /* The count is bounded by the file's bytes, each element has at least one. */
    *mem = lar_alloc_array((size_t)kv->count, each);
    if (!*mem)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory for %llu elements", key,
                        (unsigned long long)kv->count);
    return LAR_OK;
}

static bool is_integer(lar_gguf_type t)
{
    return t != LAR_GGUF_F32 && t != LAR_GGUF_F64 && t != LAR_GGUF_BOOL && t != LAR_GGUF_STRING;
}

static bool is_integer_or_bool(lar_gguf_type t)
{
    return t == LAR_GGUF_BOOL || is_integer(t);
}

static bool is_number(lar_gguf_type t)
{
    return t != LAR_GGUF_BOOL && t != LAR_GGUF_STRING;
}

static bool is_string(lar_gguf_type t)
{
    return t == LAR_GGUF_STRING;
}

/* "element 7, " for messages */
typedef struct at_text {
    char s[40];
} at_text;

static at_text element(size_t i)
{
    at_text t;
    snprintf(t.s, sizeof t.s, "element %zu, ", i);
    return t;
}

lar_status lar_gguf_get_u32_array(const lar_gguf *g, const char *key, uint32_t **out, size_t *n,
                                  lar_err *e)
{
    const lar_gguf_kv *kv;
    void *mem;
    LAR_TRY(begin(g, key, is_integer_or_bool, "an array of integers", sizeof **out, &kv, &mem, e));
    uint32_t *a = mem;
    lar_gguf_type type = kv->elem == LAR_GGUF_BOOL ? LAR_GGUF_U8 : kv->elem;
    const uint8_t *p = kv->data;
    for (size_t i = 0; i < kv->count; i++, p += width(type)) {
        integer v = {0};
        integer_at(type, p, &v);
        if (v.neg || v.u > UINT32_MAX) {
            lar_free(a);
            return bad_integer(key, element(i).s, v, "0 to 4294967295", e);
        }
        a[i] = (uint32_t)v.u;
    }
    *out = a;
    *n = (size_t)kv->count;
    return LAR_OK;
}

lar_status lar_gguf_get_i32_array(const lar_gguf *g, const char *key, int32_t **out, size_t *n,
                                  lar_err *e)
{
    const lar_gguf_kv *kv;
    void *mem;
    LAR_TRY(begin(g, key, is_integer, "an array of integers", sizeof **out, &kv, &mem, e));
    int32_t *a = mem;
    const uint8_t *p = kv->data;
    for (size_t i = 0; i < kv->count; i++, p += width(kv->elem)) {
        integer v = {0};
        integer_at(kv->elem, p, &v);
        if (v.neg ? (int64_t)v.u < INT32_MIN : v.u > INT32_MAX) {
            lar_free(a);
            return bad_integer(key, element(i).s, v, "-2147483648 to 2147483647", e);
        }
        a[i] = (int32_t)(int64_t)v.u;
    }
    *out = a;
    *n = (size_t)kv->count;
    return LAR_OK;
}

lar_status lar_gguf_get_f32_array(const lar_gguf *g, const char *key, float **out, size_t *n,
                                  lar_err *e)
{
    const lar_gguf_kv *kv;
    void *mem;
    LAR_TRY(begin(g, key, is_number, "an array of numbers", sizeof **out, &kv, &mem, e));
    float *a = mem;
    const uint8_t *p = kv->data;
    for (size_t i = 0; i < kv->count; i++, p += width(kv->elem)) {
        float_at(kv->elem, p, &a[i]);
        if (a[i] != a[i]) {
            lar_free(a);
            return lar_fail(e, LAR_EFORMAT, "%s: element %zu is NaN", key, i);
        }
    }
    *out = a;
    *n = (size_t)kv->count;
    return LAR_OK;
}

lar_status lar_gguf_get_str_array(const lar_gguf *g, const char *key, lar_str **out, size_t *n,
                                  lar_err *e)
{
    const lar_gguf_kv *kv;
    void *mem;
    LAR_TRY(begin(g, key, is_string, "an array of strings", sizeof **out, &kv, &mem, e));
    lar_str *a = mem;
    const uint8_t *p = kv->data;
    for (size_t i = 0; i < kv->count; i++) {
        size_t len = (size_t)lar_u64(p); /* checked when the file was opened */
        a[i] = (lar_str){(const char *)p + 8, len};
        p += 8 + len;
    }
    *out = a;
    *n = (size_t)kv->count;
    return LAR_OK;
}
