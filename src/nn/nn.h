/*
 * nn.h - the parts that models are made of. Each adds nodes to a graph; a failed graph gives NULL,
 * which the next part passes on. Shapes: activations are F32 [features, T], T tokens of whatever
 * sequences.
 */
#ifndef LAR_NN_H
#define LAR_NN_H
#include "ops/ops.h"

/* A weight product's operands; b may be NULL. The only product with weights: what adapts weights
 * goes here. */
typedef struct lar_linear {
    lar_tensor *w, *b;
} lar_linear;

/* [l[0] x; l[1] x; ...], at most 4. */
lar_tensor *lar_nn_linear(lar_graph *g, const lar_linear *const *l, int n, lar_tensor *x);
lar_tensor *lar_nn_rms_norm(lar_graph *g, lar_tensor *x, lar_tensor *w, float eps);
lar_tensor *lar_nn_add(lar_graph *g, lar_tensor *a, lar_tensor *b);
lar_tensor *lar_nn_rows(lar_graph *g, lar_tensor *table, lar_tensor *ids, float scale);
lar_tensor *lar_nn_softcap(lar_graph *g, lar_tensor *x, float cap); /* cap 0: x itself */

/* act(gate x) * (up x), then down. */
typedef struct lar_ffn {
    lar_linear gate, up, down;
} lar_ffn;
lar_tensor *lar_nn_ffn(lar_graph *g, const lar_ffn *f, int act, lar_tensor *x);

/* Rotary embedding as a file declares it. */
typedef enum lar_rope_scaling { LAR_ROPE_NONE, LAR_ROPE_LINEAR, LAR_ROPE_YARN } lar_rope_scaling;
typedef struct lar_rope {
    int n_rot;
    bool neox;
    lar_rope_scaling scaling;
    double base, factor; /* factor: how much longer than trained, >= 1 */
    double orig_ctx, beta_fast, beta_slow, ext_factor, attn_factor; /* YaRN */
    const float *freq_factors; /* n_rot/2 divisors (Llama 3), or NULL */
} lar_rope;
/* n_rot/2 inverse frequencies in double, and what cos and sin are multiplied by. */
void lar_rope_frequencies(const lar_rope *r, double *inv_freq, float *mscale);

/* What a step hands to a model's builder: inputs (filled before each run) and the caches. */
typedef struct lar_build {
    lar_graph *g;
    lar_tensor *ids, *pos, *cell, *slot, *table; /* I32: [T] x4, [max pages, slots] */
    lar_tensor *out_rows; /* I32 [n_out]: which of the T tokens reach the head */
    int n_tokens, n_out;
    lar_tensor *const *k, *const *v; /* per layer */
} lar_build;

#endif
