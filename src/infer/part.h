/* part.h - what the files of infer share: the engine's pages, sequences and graphs. */
#ifndef LAR_INFER_PART_H
#define LAR_INFER_PART_H
#include "infer/engine.h"

/* A graph for steps of one shape, kept between steps. */
typedef struct lar__shape {
    lar_arena *arena;
    lar_graph *g;
    int n_tokens, n_out;
    lar_build in;
    lar_tensor *logits;
} lar__shape;

struct lar_engine {
    lar_net *net;
    const lar_cpu_variant *variant;
    lar_pool *pool;
    lar_engine_options opts;
    int n_pages, n_free;
    int32_t *free_page;  /* a stack */
    int32_t *refs;       /* per page */
    lar_seq **seqs;      /* [max_seqs], NULL where free */
    lar_tensor **k, **v; /* per layer; leaves over kv_mem */
    lar_arena *arena;
    void *kv_mem;
    size_t kv_bytes;
    lar__shape shape[2]; /* of single-token steps, and of the last other */
    uint64_t steps;
    void *work;
    size_t work_bytes;
};

struct lar_seq {
    lar_engine *en;
    int slot, n, n_pages;
    uint64_t step;   /* the last step that it took part in */
    int32_t *tokens; /* [ctx] */
    int32_t *page;   /* [n_pages of the engine] */
};

lar_status lar__seq_reserve(lar_seq *s, int n,
                            lar_err *e); /* pages for n more tokens, written alone */
int lar__seq_pages_needed(const lar_seq *s, int n);

#endif
