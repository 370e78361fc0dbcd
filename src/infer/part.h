/* part.h - what the files of infer share: the engine's pages, sequences and graphs. */
#ifndef LAR_INFER_PART_H
#define LAR_INFER_PART_H
#include "base/sync.h"
#include "infer/engine.h"

/* Batched decoding and draft checks change their width from step to step. */
enum { LAR__SHAPES = 8 };

/* A graph for steps of one shape, kept between steps. */
typedef struct lar__shape {
    lar_arena *arena;
    lar_graph *g;
    int n_tokens, n_out;
    bool hidden;
    uint64_t used; /* the last step that it ran */
    lar_build in;
    lar_tensor *out;
} lar__shape;

/* A page whose tokens are remembered (prefix.c). */
typedef struct lar__node {
    uint64_t id; /* 0: not remembered. Counts up; never used twice */
    uint64_t parent, hash;
    int32_t next;         /* in its bucket */
    int32_t older, newer; /* while nobody holds it */
} lar__node;

typedef struct lar__prefix {
    uint64_t last_id;
    size_t mask;
    int32_t *bucket; /* [mask + 1] */
    lar__node *node; /* [n_pages of the engine] */
    int32_t *tokens; /* [n_pages][LAR_PAGE] */
    int32_t oldest, newest;
    int n_idle; /* remembered, and held by nobody */
} lar__prefix;

struct lar_engine {
    lar_net *net;
    const lar_cpu_variant *variant;
    lar_pool *pool;
    lar_engine_options opts;
    lar_lock lock; /* of pages, prefixes and the list of sequences; not held while a graph runs */
    bool has_lock;
    int n_pages, n_free;
    int32_t *free_page; /* a stack of pages with nothing in them */
    int32_t *refs;      /* per page */
    lar__prefix prefix;
    lar_seq **seqs;               /* [max_seqs], NULL where free */
    lar_tensor **k, **v, **state; /* per layer, NULL where it has none; leaves over kv_mem */
    lar_tensor **rows;            /* all k and v, layer by layer: [n_rows] */
    int n_rows;
    size_t page_bytes, state_bytes; /* of all layers: a page's, a state's */
    lar_arena *arena;
    void *kv_mem;
    size_t kv_bytes;
    lar__shape shape[LAR__SHAPES];    /* those used last */
    const atomic_int *cancel;         /* lar_engine_watch; may be NULL */
    const lar_cpu_observer *observer; /* may be NULL */
    uint64_t steps;
    void *work;
    size_t work_bytes;
};

/* Places of a sequence's states: the two halves of ops/state.h, and the one kept. */
enum { LAR__STATE_MARK = 2, LAR__STATES };

struct lar_seq {
    lar_engine *en;
    int slot, n, n_pages;
    int32_t turn;    /* the half that holds the state of its n tokens; of no meaning where n is 0 */
    int mark;        /* tokens whose state is kept; 0: none */
    uint64_t step;   /* the last step that it took part in */
    int32_t *tokens; /* [ctx] */
    int32_t *page;   /* [n_pages of the engine] */
};

lar_status lar__seq_reserve(lar_seq *s, int n,
                            lar_err *e); /* pages for n more tokens, written alone */
int lar__seq_pages_needed(const lar_seq *s, int n);
void *lar__state(const lar_seq *s, int l, int place); /* of layer l, which has one */

lar_status lar__prefix_new(lar__prefix *x, int n_pages, lar_err *e);
void lar__prefix_free(lar__prefix *x);
bool lar__prefix_holds(const lar_engine *en, int32_t page);
void lar__prefix_drop(lar_engine *en, int32_t page); /* remember a held page no more */
int lar__pages_left(const lar_engine *en);           /* that can be taken */
int32_t lar__page_take(lar_engine *en);
void lar__page_release(lar_engine *en, int32_t page);

/* A saved sequence as bytes; `path` is for messages. */
lar_status lar__seq_load_bytes(lar_seq *s, const char *path, const uint8_t *data, size_t n,
                               lar_err *e);
/* The checksums that a saved sequence (its last 8 bytes) and a page's bytes (from 8 on) carry. A
 * fuzz target mends its inputs with them. */
uint64_t lar__seq_file_sum(const lar_seq *s, const uint8_t *p, size_t n, size_t n_tokens);
uint64_t lar__page_sum(const uint8_t *p, size_t n);

#endif
