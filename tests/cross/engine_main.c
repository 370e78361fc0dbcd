/*
 * engine_main.c - the engine alone, without the house around it: opens a GGUF file, evaluates
 * sixteen ids and prints a hash of all logits for every kernel variant that runs here. Shows that
 * the rooms 'base' to 'infer' need libc only, and gives other systems a number to compare with.
 * Needs infer and ops.
 */
#include "base/os.h"
#include "infer/engine.h"
#include "ops/variants.h"
#include <stdio.h>

enum { IDS = 16 };

/* FNV-1a, over the floats' bits. */
static uint64_t hash_logits(const float *x, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    const uint8_t *p = (const uint8_t *)x;
    for (size_t i = 0; i < n * sizeof *x; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static lar_status evaluate(lar_engine *en, size_t n_vocab, uint64_t *hash, lar_err *e)
{
    int32_t ids[IDS];
    lar_seq *seq;
    LAR_TRY(lar_seq_new(en, &seq, e));
    for (int i = 0; i < IDS; i++)
        ids[i] = (int32_t)((size_t)(7 * i + 3) % n_vocab);
    lar_step step = {.seq = seq, .tokens = ids, .n = IDS, .all_logits = true};
    lar_status s = lar_engine_step(en, &step, 1, e);
    if (s == LAR_OK)
        *hash = hash_logits(step.logits, IDS * n_vocab);
    lar_seq_free(seq);
    return s;
}

static lar_status run(lar_net *net, lar_pool *pool, const lar_cpu_variant *v, lar_err *e)
{
    const lar_engine_options opts = {
        .ctx = 256, .batch = IDS, .max_seqs = 1, .kv_type = LAR_DTYPE(f16)};
    lar_engine *en;
    uint64_t hash = 0;
    LAR_TRY(lar_engine_new(net, v, pool, &opts, &en, e));
    lar_status s = evaluate(en, net->hp.n_vocab, &hash, e);
    if (s == LAR_OK)
        printf("%s %016llx\n", v->name, (unsigned long long)hash);
    lar_engine_free(en);
    return s;
}

int main(int argc, char **argv)
{
    const lar_log silent = {0};
    lar_cpu_features have;
    lar_gguf *file = NULL;
    lar_net *net = NULL;
    lar_pool *pool = NULL;
    lar_err e = {0};
    lar_status s = argc == 2 ? LAR_OK : lar_fail(&e, LAR_EARG, "usage: engine FILE");
    if (s == LAR_OK)
        s = lar_gguf_open(argv[1], &file, &e);
    if (s == LAR_OK)
        s = lar_net_open(file, &silent, &net, &e);
    if (s == LAR_OK)
        s = lar_pool_new(2, &pool, &e);
    lar_cpu_detect(&have);
    for (int i = 0; s == LAR_OK && i < lar_n_variants; i++)
        if (lar_variants[i]->usable(&have))
            s = run(net, pool, lar_variants[i], &e);
    if (s != LAR_OK)
        fprintf(stderr, "%s\n", e.msg);
    lar_pool_free(pool);
    lar_net_free(net);
    lar_gguf_close(file);
    return s == LAR_OK ? 0 : 1;
}
