/* model_info.c - what a model file says of itself, as JSON. Depends on the GGUF reader; works
 * without weights. */
#include "api/api.h"
#include "models/net.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARRAY_SHOWN = 8, KEY_CAP = 160, CTX_SMALL = 2048 };

/* ---- metadata values
 * ----------------------------------------------------------------------------------- */

/* The shortest decimal that reads back as this float: 0.1, not 0.10000000149011612. */
static json_t *float_json(float f)
{
    char s[32];
    if (!isfinite(f))
        return json_null();
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, (double)f);
        if (strtof(s, NULL) == f)
            break;
    }
    return json_real(strtod(s, NULL));
}

static json_t *double_json(double d)
{
    return isfinite(d) ? json_real(d) : json_null();
}

static json_t *u64_json(uint64_t u)
{
    return u <= INT64_MAX ? json_integer((json_int_t)u) : json_real((double)u);
}

/* One value at p, and how many bytes it takes. The reader has checked that all lies within the
 * file. */
static json_t *scalar_json(lar_gguf_type type, const uint8_t *p, size_t *size)
{
    uint32_t w;
    uint64_t u;
    float f;
    double d;
    switch (type) {
    case LAR_GGUF_U8:
        *size = 1;
        return json_integer(p[0]);
    case LAR_GGUF_I8:
        *size = 1;
        return json_integer((int8_t)p[0]);
    case LAR_GGUF_BOOL:
        *size = 1;
        return json_boolean(p[0] != 0);
    case LAR_GGUF_U16:
        *size = 2;
        return json_integer(p[0] | p[1] << 8);
    case LAR_GGUF_I16:
        *size = 2;
        return json_integer((int16_t)(p[0] | p[1] << 8));
    case LAR_GGUF_U32:
        *size = 4;
        return json_integer(lar_u32(p));
    case LAR_GGUF_I32:
        *size = 4;
        return json_integer((int32_t)lar_u32(p));
    case LAR_GGUF_F32:
        *size = 4;
        w = lar_u32(p);
        memcpy(&f, &w, sizeof f);
        return float_json(f);
    case LAR_GGUF_U64:
        *size = 8;
        return u64_json(lar_u64(p));
    case LAR_GGUF_I64:
        *size = 8;
        return json_integer((json_int_t)lar_u64(p));
    case LAR_GGUF_F64:
        *size = 8;
        u = lar_u64(p);
        memcpy(&d, &u, sizeof d);
        return double_json(d);
    case LAR_GGUF_STRING:
        u = lar_u64(p);
        *size = 8 + (size_t)u;
        return lar_json_text((const char *)p + 8, (size_t)u);
    default:
        *size = 0;
        return json_null();
    }
}

static json_t *kv_json(const lar_gguf_kv *kv, bool *bad)
{
    size_t size;
    if (kv->type != LAR_GGUF_ARRAY)
        return scalar_json(kv->type, kv->data, &size);
    json_t *first = json_array();
    const uint8_t *p = kv->data;
    for (uint64_t i = 0; i < kv->count && i < ARRAY_SHOWN; i++, p += size)
        lar_json_push(first, scalar_json(kv->elem, p, &size), bad);
    if (kv->count <= ARRAY_SHOWN)
        return first;
    json_t *o = json_object();
    lar_json_put(o, "count", u64_json(kv->count), bad);
    lar_json_put(o, "type", json_string(lar_gguf_type_name(kv->elem)), bad);
    lar_json_put(o, "first", first, bad);
    return o;
}

/* A key that is not UTF-8 is shown with U+FFFD. */
static void put_named(json_t *o, lar_str name, json_t *v, bool *bad)
{
    json_t *key = lar_json_text(name.p, name.n);
    if (key && strlen(json_string_value(key)) == json_string_length(key))
        lar_json_put(o, json_string_value(key), v, bad);
    else
        json_decref(v);
    *bad = *bad || !key;
    json_decref(key);
}

static json_t *metadata(const lar_gguf *g, bool *bad)
{
    json_t *o = json_object();
    for (size_t i = 0; i < lar_gguf_n_kv(g) && !*bad; i++) {
        const lar_gguf_kv *kv = lar_gguf_kv_at(g, i);
        put_named(o, kv->key, kv_json(kv, bad), bad);
    }
    return o;
}

static json_t *tensors(const lar_gguf *g, bool *bad)
{
    json_t *a = json_array();
    for (size_t i = 0; i < lar_gguf_n_tensors(g) && !*bad; i++) {
        const lar_gguf_tensor *t = lar_gguf_tensor_at(g, i);
        json_t *o = json_object(), *shape = json_array();
        for (int d = 0; d < t->n_dims; d++)
            lar_json_push(shape, json_integer(t->dim[d]), bad);
        lar_json_put(o, "name", lar_json_text(t->name.p, t->name.n), bad);
        lar_json_put(o, "type", json_string(t->type->name), bad);
        lar_json_put(o, "shape", shape, bad);
        lar_json_put(o, "bytes", u64_json(t->bytes), bad);
        lar_json_push(a, o, bad);
    }
    return a;
}

/* ---- the summary
 * ------------------------------------------------------------------------------------------ */

static json_t *text_of(const lar_gguf *g, const char *key)
{
    lar_str s;
    if (lar_gguf_get_str(g, key, &s, NULL) != LAR_OK)
        return json_null();
    return lar_json_text(s.p, s.n);
}

/* The architecture's own scalars: block_count, embedding_length ... without its name before them.
 */
static json_t *hyper(const lar_gguf *g, lar_str arch, bool *bad)
{
    json_t *o = json_object();
    for (size_t i = 0; i < lar_gguf_n_kv(g) && !*bad; i++) {
        const lar_gguf_kv *kv = lar_gguf_kv_at(g, i);
        if (arch.n == 0 || kv->key.n <= arch.n + 1 || kv->key.p[arch.n] != '.' ||
            memcmp(kv->key.p, arch.p, arch.n) != 0)
            continue;
        lar_str name = {kv->key.p + arch.n + 1, kv->key.n - arch.n - 1};
        put_named(o, name, kv_json(kv, bad), bad);
    }
    return o;
}

static bool arch_u32(const lar_gguf *g, lar_str arch, const char *name, uint32_t *out)
{
    char key[KEY_CAP];
    int n = snprintf(key, sizeof key, "%.*s.%s", (int)LAR_MIN(arch.n, (size_t)100), arch.p, name);
    return n > 0 && (size_t)n < sizeof key && lar_gguf_get_u32(g, key, out, NULL) == LAR_OK;
}

/* Key and value elements that one token takes in all layers; 0 when the file does not say. */
static uint64_t kv_elements(const lar_model *m, lar_str arch)
{
    const lar_gguf *g = m->gguf;
    uint32_t layers, embd, heads, kv_heads, k, v;
    uint64_t n = 0;
    for (int l = 0; m->net && l < lar_net_n_caches(m->net); l++) {
        const lar_cache c = lar_net_cache(m->net, l);
        n += (uint64_t)c.n_head * (uint64_t)(c.dim_k + c.dim_v);
    }
    if (m->net)
        return n;
    if (!arch_u32(g, arch, "block_count", &layers) ||
        !arch_u32(g, arch, "attention.head_count", &heads) ||
        !arch_u32(g, arch, "embedding_length", &embd) || heads == 0)
        return 0;
    if (!arch_u32(g, arch, "attention.head_count_kv", &kv_heads))
        kv_heads = heads;
    if (!arch_u32(g, arch, "attention.key_length", &k))
        k = embd / heads;
    if (!arch_u32(g, arch, "attention.value_length", &v))
        v = embd / heads;
    if (!lar_u64_mul(layers, kv_heads, &n) || !lar_u64_mul(n, (uint64_t)k + v, &n) ||
        n > UINT64_MAX >> 40)
        return 0;
    return n;
}

static json_t *memory(uint64_t weights, uint64_t elements, uint32_t ctx, bool *bad)
{
    static const int kinds[] = {LAR_DT_f16, LAR_DT_q8_0, LAR_DT_f32};
    json_t *o = json_object(), *kv = json_object();
    lar_json_put(o, "weights", u64_json(weights), bad);
    for (size_t i = 0; i < LAR_LEN(kinds) && elements; i++) {
        const lar_dtype *t = &lar_dtypes[kinds[i]];
        uint64_t each = elements * t->bytes / t->block;
        json_t *k = json_object();
        lar_json_put(k, "per_token", u64_json(each), bad);
        lar_json_put(k, "ctx_2048", u64_json(each * CTX_SMALL), bad);
        lar_json_put(k, "ctx_max", ctx ? u64_json(each * LAR_MIN(ctx, 1u << 24)) : json_null(),
                     bad);
        lar_json_put(kv, t->name, k, bad);
    }
    lar_json_put(o, "kv", elements ? kv : json_null(), bad);
    if (!elements)
        json_decref(kv);
    return o;
}

/* Tensors of each type, and what all of them have in bytes and elements. */
static json_t *count_types(const lar_gguf *g, uint64_t *bytes, uint64_t *elements, bool *bad)
{
    uint64_t count[LAR_N_DTYPES] = {0};
    *bytes = *elements = 0;
    for (size_t i = 0; i < lar_gguf_n_tensors(g); i++) {
        const lar_gguf_tensor *t = lar_gguf_tensor_at(g, i);
        count[lar_dtype_index(t->type)]++;
        *bytes += t->bytes;
        *elements +=
            (uint64_t)t->dim[0] * (uint64_t)t->dim[1] * (uint64_t)t->dim[2] * (uint64_t)t->dim[3];
    }
    json_t *o = json_object();
    for (int i = 0; i < LAR_N_DTYPES; i++)
        if (count[i])
            lar_json_put(o, lar_dtypes[i].name, u64_json(count[i]), bad);
    return o;
}

static json_t *tokenizer(const lar_model *m, bool *bad)
{
    const lar_gguf_kv *tokens = lar_gguf_find(m->gguf, "tokenizer.ggml.tokens");
    if (!lar_gguf_find(m->gguf, "tokenizer.ggml.model"))
        return json_null();
    json_t *o = json_object();
    uint64_t size = m->vocab.tok ? lar_tokenizer_size(m->vocab.tok) : tokens ? tokens->count : 0;
    lar_json_put(o, "model", text_of(m->gguf, "tokenizer.ggml.model"), bad);
    lar_json_put(o, "pre", text_of(m->gguf, "tokenizer.ggml.pre"), bad);
    lar_json_put(o, "size", u64_json(size), bad);
    if (m->vocab_err.code != LAR_OK)
        lar_json_put(o, "error", lar_json_text(m->vocab_err.msg, strlen(m->vocab_err.msg)), bad);
    return o;
}

char *lar_model_info(lar_model *m, int full)
{
    if (!m)
        return NULL;
    const lar_gguf *g = m->gguf;
    const char *path = lar_gguf_path(g);
    lar_str arch = {"", 0};
    uint32_t ctx = 0;
    uint64_t bytes, elements;
    bool bad = false;
    if (lar_gguf_get_str(g, "general.architecture", &arch, NULL) == LAR_OK)
        arch_u32(g, arch, "context_length", &ctx);
    json_t *o = json_object(), *types = count_types(g, &bytes, &elements, &bad);
    lar_json_put(o, "file", lar_json_text(path, strlen(path)), &bad);
    lar_json_put(o, "bytes", u64_json(lar_gguf_file_bytes(g)), &bad);
    lar_json_put(o, "files", json_integer(lar_gguf_n_files(g)), &bad);
    lar_json_put(o, "gguf_version", json_integer(lar_gguf_version(g)), &bad);
    lar_json_put(o, "architecture", lar_json_text(arch.p, arch.n), &bad);
    lar_json_put(o, "name", text_of(g, "general.name"), &bad);
    lar_json_put(o, "license", text_of(g, "general.license"), &bad);
    lar_json_put(o, "parameters", u64_json(elements), &bad);
    lar_json_put(o, "tensors_by_type", types, &bad);
    lar_json_put(o, "context_length", ctx ? json_integer(ctx) : json_null(), &bad);
    lar_json_put(o, "hyper_parameters", hyper(g, arch, &bad), &bad);
    lar_json_put(o, "tokenizer", tokenizer(m, &bad), &bad);
    lar_json_put(o, "has_template", json_boolean(m->chat || m->chat_err.code != LAR_OK), &bad);
    if (m->chat_err.code != LAR_OK)
        lar_json_put(o, "template_error", lar_json_text(m->chat_err.msg, strlen(m->chat_err.msg)),
                     &bad);
    lar_json_put(o, "memory", memory(bytes, kv_elements(m, arch), ctx, &bad), &bad);
    if (full) {
        lar_json_put(o, "metadata", metadata(g, &bad), &bad);
        lar_json_put(o, "tensors", tensors(g, &bad), &bad);
    }
    return lar__json_take(o, bad);
}
