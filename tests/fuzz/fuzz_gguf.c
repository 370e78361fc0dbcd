/*
 * fuzz_gguf.c - any bytes as a GGUF file: opening ends in a status, and whatever was opened lies
 * inside the bytes and can be read to its last one. Depends on gguf.h.
 */
#include "format/gguf.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile uint8_t sink;

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void touch(const uint8_t *data, size_t n, const void *p, size_t len)
{
    const uint8_t *b = p;
    check(b >= data && len <= n && (size_t)(b - data) <= n - len);
    if (len)
        sink = (uint8_t)(b[0] ^ b[len - 1]);
}

static void get_scalars(const lar_gguf *g, const char *key, lar_err *e)
{
    uint32_t u;
    uint64_t u8;
    float f;
    bool b;
    lar_str s;
    lar_gguf_get_u32(g, key, &u, e);
    lar_gguf_get_u64(g, key, &u8, e);
    lar_gguf_get_f32(g, key, &f, e);
    lar_gguf_get_bool(g, key, &b, e);
    if (lar_gguf_get_str(g, key, &s, e) == LAR_OK && s.n)
        sink = (uint8_t)s.p[s.n - 1];
}

static void get_arrays(const lar_gguf *g, const char *key, lar_err *e)
{
    size_t n;
    uint32_t *u;
    int32_t *i;
    float *f;
    lar_str *s;
    if (lar_gguf_get_u32_array(g, key, &u, &n, e) == LAR_OK)
        lar_free(u);
    if (lar_gguf_get_i32_array(g, key, &i, &n, e) == LAR_OK)
        lar_free(i);
    if (lar_gguf_get_f32_array(g, key, &f, &n, e) == LAR_OK)
        lar_free(f);
    if (lar_gguf_get_str_array(g, key, &s, &n, e) == LAR_OK) {
        for (size_t k = 0; k < n; k++)
            if (s[k].n)
                sink = (uint8_t)s[k].p[s[k].n - 1];
        lar_free(s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    lar_err e = {0};
    lar_gguf *g;
    if (lar_gguf_open_bytes(data, n, &g, &e) != LAR_OK) {
        check(!g && e.code != LAR_OK && e.msg[0]);
        return 0;
    }
    for (size_t i = 0; i < lar_gguf_n_kv(g); i++) {
        const lar_gguf_kv *kv = lar_gguf_kv_at(g, i);
        touch(data, n, kv->data, kv->bytes);
        char *key = lar_strndup(kv->key.p, kv->key.n);
        if (!key)
            break;
        check(lar_gguf_find(g, key) == kv);
        get_scalars(g, key, &e);
        get_arrays(g, key, &e);
        lar_free(key);
    }
    for (size_t i = 0; i < lar_gguf_n_tensors(g); i++) {
        const lar_gguf_tensor *t = lar_gguf_tensor_at(g, i);
        touch(data, n, t->data, t->bytes);
        char *name = lar_strndup(t->name.p, t->name.n);
        if (!name)
            break;
        check(lar_gguf_find_tensor(g, name) == t);
        lar_free(name);
    }
    lar_gguf_close(g);
    return 0;
}
