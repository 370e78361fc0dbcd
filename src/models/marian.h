/*
 * marian.h - Marian's translation models: a transformer that reads (Vaswani et al. 2017, norms
 * behind the sums), and a decoder of simpler simple recurrent units with attention to what was
 * read. As its own engine computes them: ops/mt.h. Written for the models of Bergamot (Firefox).
 */
#ifndef LAR_MODELS_MARIAN_H
#define LAR_MODELS_MARIAN_H
#include "models/net.h"

/* The longest text, in tokens, that has a position; a translation may be as long. */
enum { LAR_MT_POSITIONS = 1024 };

typedef struct lar_mt_linear {
    lar_tensor *w, *b;
    float alpha, scale;
} lar_mt_linear;
typedef struct lar_mt_norm {
    lar_tensor *w, *b;
} lar_mt_norm;

typedef struct lar_mt_layer {
    lar_mt_linear q, k, v, o, up, down;
    lar_mt_linear cell, gate; /* of the decoder */
    lar_mt_norm cell_norm, attn_norm, ffn_norm;
} lar_mt_layer;

typedef struct lar_mt {
    int n_enc, n_dec, n_embd, n_head;
    int32_t eos;
    float eps, embd_inv, embd_scale;
    lar_tensor *embd, *signal;
    lar_mt_linear head; /* rows of embd */
    lar_mt_layer *enc, *dec;
    /* Which tokens may stand for a source token; NULL: any. I32 [words + 1], I32 [entries]. */
    const int32_t *list_offset, *list_id;
    int32_t list_first;
} lar_mt;

/* As lar_model_def.open. */
lar_status lar_mt_open(lar_net *n, const lar_gguf *f, lar_err *e);

/* Read: ids, pos I32 [T], span I32 [2, T]. For each layer of the decoder what its attention sees,
 * k [T, n_embd] and v [n_embd, T]. */
void lar_mt_read(const lar_mt *m, lar_graph *g, lar_tensor *ids, lar_tensor *pos, lar_tensor *span,
                 lar_tensor **k, lar_tensor **v);
/* Write a token: ids (below 0: the beginning), pos I32 [B], span I32 [2, B], state F32 [n_embd, B]
 * per layer, list and list_span as op mt_logits has them. Logits [room, B]. */
lar_tensor *lar_mt_write(const lar_mt *m, lar_graph *g, lar_tensor *ids, lar_tensor *pos,
                         lar_tensor *span, lar_tensor *const *k, lar_tensor *const *v,
                         lar_tensor *const *state, lar_tensor *list, lar_tensor *list_span,
                         int room);

#endif
