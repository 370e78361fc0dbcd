/*
 * bind.h - weights by a table: what a decoder's and an encoder's files share (bind.c). Depends on
 * net.h.
 */
#ifndef LAR_BIND_H
#define LAR_BIND_H
#include "models/net.h"

/* Shapes are spelt with a letter per dimension:
 * e n_embd, q n_head * key_mla, k n_head_kv * head_dim_k, v n_head_kv * head_dim_v, o n_head *
 * value_mla, f n_ff, h head_dim_k, r n_rot / 2, V n_vocab, Q q + k + v, F 2 f, E n_expert,
 * x n_ff_expert, s n_ff_shared, c tokens of a short convolution, B 3 e, G 2 q, H n_head,
 * p ctx_train, * any; of delta nets d tokens of the convolution, i all values, j a head's, t heads,
 * T 2 t, D keys twice and values; of latent attention: a q_rank, b kv_rank, g b + n_rot, n a key
 * without its rotated part, u value_mla, w n_head * (n + u) */
typedef struct lar__bind_row {
    const char *name;
    size_t offset; /* of a lar_tensor *, in the struct that is filled */
    const char *shape;
    unsigned bit; /* 0: always; else required or allowed as the binder says of this bit */
    bool plain;   /* must be F32: read directly by ops */
} lar__bind_row;

typedef struct lar__binder {
    lar_net *n;
    const lar_gguf *f;
    bool *bound;       /* of each of the file's tensors */
    unsigned has, may; /* bits of the rows that follow: must be there, may be there */
} lar__binder;

/* Everything: n_vocab is set, then `all` binds, then no layer's tensor may be left. */
lar_status lar__bind(lar_net *n, const lar_gguf *f, lar_status (*all)(lar__binder *b, lar_err *e),
                     lar_err *e);
lar_status lar__bind_rows(lar__binder *b, const lar__bind_row *rows, size_t n_rows, int layer,
                          void *fields, lar_err *e);
/* NULL where it may be missing; untouched where the row's bit is neither in has nor in may. */
lar_status lar__bind_row_to(lar__binder *b, const lar__bind_row *r, int layer, lar_tensor **out,
                            lar_err *e);
/* The table of inverse frequencies of all layers, or of those with a window: `r` has what metadata
 * do not say (neox, divisors ...). */
lar_status lar__bind_rope(lar_net *n, bool local, lar_rope r, lar_tensor **out, float *mscale,
                          lar_err *e);

#endif
