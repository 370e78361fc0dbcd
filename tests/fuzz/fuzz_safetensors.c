/*
 * fuzz_safetensors.c - any bytes as a file of weights: opening ends in a status, and whatever was
 * opened lies inside the bytes, as large as it says, in order of name. Depends on safetensors.h.
 *
 * The first byte: bit 0, the length of the header is mended (the rest is JSON, a NUL, data).
 */
#include "convert/safetensors.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile uint8_t sink;

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void look(const uint8_t *p, size_t n, const lar_safetensors *s)
{
    for (size_t i = 0; i < lar_safetensors_count(s); i++) {
        const lar_st_tensor *t = lar_safetensors_at(s, i);
        size_t elements = 1;
        check(t->n_dims >= 0 && t->n_dims <= LAR_ST_MAX_DIM && t->dtype);
        for (int d = 0; d < t->n_dims; d++)
            elements *= (size_t)t->dim[d];
        check(t->data >= p + 8 && t->bytes <= n && (size_t)(t->data - p) <= n - t->bytes);
        check(!t->type || t->bytes == elements * t->type->bytes);
        check(lar_safetensors_find(s, t->name) == t);
        check(i == 0 || strcmp(lar_safetensors_at(s, i - 1)->name, t->name) < 0);
        sink = (uint8_t)(t->data[0] ^ t->data[t->bytes - 1]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    lar_err e = {0};
    lar_safetensors *s = NULL;
    if (n < 1)
        return 0;
    const bool mend = data[0] & 1;
    const size_t extra = mend ? 8 : 0, size = n - 1 + extra;
    uint8_t *p = malloc(size + 1);
    check(p != NULL);
    memcpy(p + extra, data + 1, n - 1);
    if (mend) {
        const uint8_t *end = memchr(data + 1, 0, n - 1);
        const uint64_t len = end ? (uint64_t)(end - data - 1) : n - 1;
        for (int i = 0; i < 8; i++)
            p[i] = (uint8_t)(len >> (8 * i));
    }
    if (lar_safetensors_open_bytes(p, size, &s, &e) == LAR_OK) {
        look(p, size, s);
        lar_safetensors_close(s);
    } else {
        check(!s && e.msg[0]);
    }
    free(p);
    return 0;
}
