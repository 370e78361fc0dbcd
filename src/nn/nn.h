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
/* A weight for each head: x [k, heads, T], l->w [k, rows, heads], result [rows, heads, T]. */
lar_tensor *lar_nn_linear_heads(lar_graph *g, const lar_linear *l, lar_tensor *x);
/* [a; b] in each head; b of one head goes to all. */
lar_tensor *lar_nn_concat(lar_graph *g, lar_tensor *a, lar_tensor *b);
lar_tensor *lar_nn_rms_norm(lar_graph *g, lar_tensor *x, lar_tensor *w, float eps);
/* A layer norm's weight and bias; w NULL: no norm, x itself. */
typedef struct lar_norm {
    lar_tensor *w, *b;
} lar_norm;
lar_tensor *lar_nn_layer_norm(lar_graph *g, lar_tensor *x, const lar_norm *n, float eps);
lar_tensor *lar_nn_add(lar_graph *g, lar_tensor *a, lar_tensor *b);
lar_tensor *lar_nn_mul(lar_graph *g, lar_tensor *a, lar_tensor *b);
lar_tensor *lar_nn_act(lar_graph *g, lar_tensor *x, int act);
/* act(gate) * x of each head, [dim, heads, T]; gives [dim * heads, T]. */
lar_tensor *lar_nn_gate(lar_graph *g, lar_tensor *gate, lar_tensor *x, int act);
lar_tensor *lar_nn_rows(lar_graph *g, lar_tensor *table, lar_tensor *ids, float scale);
lar_tensor *lar_nn_scale(lar_graph *g, lar_tensor *x, float s);     /* s 1: x itself */
lar_tensor *lar_nn_softcap(lar_graph *g, lar_tensor *x, float cap); /* cap 0: x itself */

/* act(gate x) * (up x), then down. Without a gate: act(up x); or `fused`: up gives both, the gate's
 * half first. */
typedef struct lar_ffn {
    lar_linear gate, up, down;
    bool fused;
} lar_ffn;
lar_tensor *lar_nn_ffn(lar_graph *g, const lar_ffn *f, int act, lar_tensor *x);

/* A mixture of experts: the best few of many feed-forwards for each token (ops/route.c), and one
 * that all share, where a model has it. */
typedef struct lar_moe {
    lar_linear router;         /* [n_embd, experts] */
    lar_tensor *rank_bias;     /* F32 [experts] or NULL */
    lar_linear gate, up, down; /* [.., .., experts] */
    lar_ffn shared;            /* up.w NULL: none */
    lar_linear shared_gate;    /* one row: the sigmoid of it scales the shared one; or NULL */
} lar_moe;
lar_tensor *lar_nn_moe(lar_graph *g, const lar_moe *m, int act, const lar_route_param *route,
                       lar_tensor *x);

/* A gated convolution over the last few tokens (LFM2): `in` gives gates B, C and x, each n_embd
 * wide; C * conv(B * x). */
typedef struct lar_short_conv {
    lar_linear in;
    lar_tensor *conv; /* [K, n_embd] */
} lar_short_conv;

/* A gated delta net (ops/delta.c): q, k and v go through a short convolution and SiLU. */
typedef struct lar_delta {
    int n_head_k, n_head_v, dim_k, dim_v;
    bool tiled; /* key heads go round: head h has key head h % n_head_k */
    lar_linear qkv, gate;
    lar_linear beta, alpha; /* a row per head, or: */
    lar_linear ba;          /* both, for each key head its heads' betas, then alphas */
    lar_tensor *conv;       /* [K, rows of qkv] */
    lar_tensor *dt, *rate;  /* [n_head_v] */
    lar_tensor *norm;       /* [dim_v] */
} lar_delta;

/* Rotary embedding as a file declares it. */
typedef enum lar_rope_scaling { LAR_ROPE_NONE, LAR_ROPE_LINEAR, LAR_ROPE_YARN } lar_rope_scaling;
typedef struct lar_rope {
    int n_rot;
    bool neox;
    lar_rope_scaling scaling;
    double base, factor; /* factor: how much longer than trained, >= 1 */
    double orig_ctx, beta_fast, beta_slow, ext_factor, attn_factor; /* YaRN */
    bool yarn_exact;  /* the ramp's ends are not rounded to whole dimensions */
    bool yarn_scores; /* YaRN's magnitude is in the scale of the scores, not in cos and sin */
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
    lar_tensor
        *last;   /* I32 [T], of nets that look both ways, else NULL: the sequence's last token */
    bool hidden; /* wanted is the state behind the output norm [n_embd, n_out], no logits */
    int ctx;     /* tokens that a sequence may have: some models choose RoPE frequencies by it */
    lar_tensor *turn;                /* I32 [slots]: ops/state.h */
    lar_tensor *const *k, *const *v; /* per layer; NULL where it remembers none */
    lar_tensor *const *state;        /* likewise */
} lar_build;

/* What layer l gives before its output product, [.., T], and floats of state that it needs. */
lar_tensor *lar_nn_short_conv(const lar_build *b, const lar_short_conv *m, int l, lar_tensor *x);
int64_t lar_nn_short_conv_state(const lar_short_conv *m);
lar_tensor *lar_nn_delta(const lar_build *b, const lar_delta *m, int l, lar_tensor *x, float eps);
int64_t lar_nn_delta_state(const lar_delta *m);

/* Put k and v, [head_dim, heads, T], into layer l's caches; what q finds there, [dim * heads, T].
 * No v: the first p->n_value of each key are the value. `sinks` may be NULL. */
lar_tensor *lar_nn_attention(const lar_build *b, int l, lar_tensor *q, lar_tensor *k, lar_tensor *v,
                             lar_tensor *sinks, const lar_attention_param *p);

#endif
