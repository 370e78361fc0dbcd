/* engine_test.h - a net and an engine for tests, and evaluating ids in one call. */
#ifndef LAR_ENGINE_TEST_H
#define LAR_ENGINE_TEST_H
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "infer/engine.h"
#include "ops/variants.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct rig {
    lar_gguf *file;
    lar_net *net;
    lar_pool *pool;
    lar_engine *en;
} rig;

typedef struct rig_options {
    const char *variant; /* NULL: the best */
    int threads, ctx, batch, seqs;
    const lar_dtype *kv;
} rig_options;

static inline void rig_close(rig *r)
{
    lar_engine_free(r->en);
    lar_pool_free(r->pool);
    lar_net_free(r->net);
    lar_gguf_close(r->file);
    memset(r, 0, sizeof *r);
}

/* 'file' is given to the rig, which closes it. */
static inline lar_status rig_open_file(rig *r, lar_gguf *file, const rig_options *o, lar_err *e)
{
    const lar_cpu_variant *v;
    const lar_engine_options eo = {.ctx = o->ctx ? o->ctx : 256,
                                   .batch = o->batch ? o->batch : 64,
                                   .max_seqs = o->seqs ? o->seqs : 4,
                                   .kv_type = o->kv ? o->kv : LAR_DTYPE(f32)};
    const lar_log silent = {0};
    memset(r, 0, sizeof *r);
    r->file = file;
    lar_status s = lar_cpu_choose(lar_variants, lar_n_variants, o->variant, &v, e);
    if (s == LAR_OK)
        s = lar_net_open(file, &silent, &r->net, e);
    if (s == LAR_OK)
        s = lar_pool_new(o->threads ? o->threads : 1, &r->pool, e);
    if (s == LAR_OK)
        s = lar_engine_new(r->net, v, r->pool, &eo, &r->en, e);
    if (s != LAR_OK)
        rig_close(r);
    return s;
}

static inline void rig_open(rig *r, const char *path, const rig_options *o)
{
    lar_err e = {0};
    lar_gguf *f;
    if (lar_gguf_open(path, &f, &e) != LAR_OK || rig_open_file(r, f, o, &e) != LAR_OK)
        fail_msg("%s: %s", path, e.msg);
}

/* Logits of every id, [n][n_vocab], after what the sequence holds; `piece` ids in a step. */
static inline void rig_eval(rig *r, lar_seq *q, const int32_t *ids, int n, int piece, float *out)
{
    const size_t n_vocab = r->net->hp.n_vocab;
    for (int i = 0; i < n; i += piece) {
        lar_err e = {0};
        lar_step p = {.seq = q, .tokens = ids + i, .n = LAR_MIN(piece, n - i), .all_logits = true};
        if (lar_engine_step(r->en, &p, 1, &e) != LAR_OK)
            fail_msg("step: %s", e.msg);
        memcpy(out + (size_t)i * n_vocab, p.logits, (size_t)p.n * n_vocab * sizeof(float));
    }
}

static inline lar_seq *rig_seq(rig *r)
{
    lar_seq *q;
    lar_err e = {0};
    if (lar_seq_new(r->en, &q, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return q;
}

static inline void *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    void *p = malloc(*n + 1);
    if (!p || fread(p, 1, *n, f) != *n)
        fail_msg("%s: cannot read", path);
    fclose(f);
    return p;
}

/* A golden: ids, and the reference's logits. */
typedef struct golden {
    json_t *json;
    char path[256];
    int32_t *ids;
    int n;
    size_t n_vocab;
    float *logits;
    double std;
} golden;

static inline void golden_open(golden *g, const char *dir, const char *name)
{
    char path[256];
    size_t n;
    snprintf(path, sizeof path, "%s/%s.json", dir, name);
    memset(g, 0, sizeof *g);
    g->json = json_load_file(path, 0, NULL);
    assert_non_null(g->json);
    const json_t *ids = json_object_get(g->json, "ids");
    g->n = (int)json_array_size(ids);
    g->n_vocab = (size_t)json_integer_value(json_object_get(g->json, "n_vocab"));
    g->std = json_number_value(json_object_get(g->json, "std"));
    g->ids = calloc((size_t)g->n + 1, sizeof *g->ids);
    for (int i = 0; i < g->n; i++)
        g->ids[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    snprintf(path, sizeof path, "%s/%s", dir,
             json_string_value(json_object_get(g->json, "logits_file")));
    g->logits = read_file(path, &n);
    assert_non_null(g->logits);
    assert_int_equal(n, (size_t)g->n * g->n_vocab * sizeof(float));
    snprintf(g->path, sizeof g->path, "%s/%s", dir,
             json_string_value(json_object_get(g->json, "file")));
}

static inline void golden_close(golden *g)
{
    json_decref(g->json);
    free(g->ids);
    free(g->logits);
}

static inline int golden_hex(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Write an option's patches over a copy of the file; false when it has none. */
static inline bool golden_patch(const json_t *option, uint8_t *bytes, size_t n)
{
    const json_t *list = json_object_get(option, "patches");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i);
        const size_t off = (size_t)json_integer_value(json_object_get(p, "offset"));
        const json_t *count = json_object_get(p, "count");
        const char *h = json_string_value(json_object_get(p, "hex"));
        const size_t len = strlen(h) / 2, times = count ? (size_t)json_integer_value(count) : 1;
        assert_true(off + len * times <= n);
        for (size_t t = 0; t < times; t++)
            for (size_t b = 0; b < len; b++)
                bytes[off + t * len + b] =
                    (uint8_t)(golden_hex(h[2 * b]) << 4 | golden_hex(h[2 * b + 1]));
    }
    return json_array_size(list) > 0;
}

#endif
