/*
 * decoder.h - one builder for the decoder families. A family is data (lar_decoder_spec); an odd
 * model overrides one part, never the loop.
 */
#ifndef LAR_DECODER_H
#define LAR_DECODER_H
#include "nn/nn.h"

/* What a family's files hold beyond the common weights: must (in `has`), or may (in `may`). */
enum {
    LAR_DEC_QKV_BIAS = 1,
    LAR_DEC_O_BIAS = 2,
    LAR_DEC_FFN_BIAS = 4,
    LAR_DEC_QK_NORM = 8,    /* RMS norm of each head of Q and K, before RoPE */
    LAR_DEC_POST_NORM = 16, /* RMS norm of what attention and FFN give, before the residual sum */
    LAR_DEC_OUTPUT = 32,    /* a head of its own; without it the embeddings are the head */
    LAR_DEC_ROPE_FREQS = 64
};

typedef struct lar_decoder_spec {
    bool neox; /* RoPE pairs (i, i + n/2) */
    int act;   /* LAR_ACT_* of the FFN */
    unsigned has, may;
    bool scale_embeddings; /* by sqrt(n_embd) */
    bool local_rope;       /* sliding-window layers have a RoPE of their own, unscaled */
    int global_every; /* with a window: every n-th layer sees all; 0: every layer has the window */
} lar_decoder_spec;

typedef struct lar_decoder_layer {
    lar_tensor *attn_norm, *q_norm, *k_norm, *attn_post_norm, *ffn_norm, *ffn_post_norm;
    lar_linear q, k, v, o;
    lar_ffn ffn;
    int window; /* 0: sees all */
} lar_decoder_layer;

typedef struct lar_decoder {
    const lar_decoder_spec *spec;
    int n_layer, n_embd, n_head, n_head_kv, head_dim_k, head_dim_v;
    float eps, attn_scale, attn_softcap, logit_softcap, embd_scale;
    int n_rot;
    lar_tensor *inv_freq[2]; /* F64 [n_rot/2]: of the global and of the local layers */
    float mscale[2];
    lar_tensor *tok_embd, *out_norm;
    lar_linear output;
    lar_decoder_layer *layer;
} lar_decoder;

/* Logits [n_vocab, n_out], or NULL when the graph failed. */
lar_tensor *lar_decoder_build(const lar_decoder *d, const lar_build *b);

#endif
