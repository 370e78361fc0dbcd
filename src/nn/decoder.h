/*
 * decoder.h - one builder for the decoder families. A family is data (lar_decoder_spec); an odd
 * model overrides one part, never the loop.
 */
#ifndef LAR_DECODER_H
#define LAR_DECODER_H
#include "nn/nn.h"

/* What a family's layers hold: must (in `has`), or may (in `may`). */
enum {
    LAR_DEC_QKV_BIAS = 1,
    LAR_DEC_O_BIAS = 2,
    LAR_DEC_FFN_BIAS = 4,
    LAR_DEC_QK_NORM = 8,    /* RMS norm of each head of Q and K, before RoPE */
    LAR_DEC_POST_NORM = 16, /* RMS norm of what attention and FFN give, before the residual sum */
    LAR_DEC_OUTPUT = 32,    /* a head of its own; without it the embeddings are the head */
    LAR_DEC_ROPE_FREQS = 64,
    LAR_DEC_PRE_NORM = 128,     /* RMS norm of what attention and FFN read */
    LAR_DEC_QKV = 256,          /* three weights */
    LAR_DEC_FUSED_QKV = 512,    /* one: Q, K, V rows in this order */
    LAR_DEC_FFN = 1024,         /* gate, up, down */
    LAR_DEC_FUSED_UP = 2048,    /* gate and up in one, with LAR_DEC_FFN's down */
    LAR_DEC_QK_NORM_ALL = 4096, /* RMS norm over all heads of Q, of K together */
    LAR_DEC_LONG_ROPE = 8192,   /* two lists of divisors, for short and for long contexts */
    LAR_DEC_MOE = 1 << 14,      /* experts: set by the loader for the layers that have them */
    LAR_DEC_MOE_BIAS = 1 << 15, /* a correction of the experts' ranks */
    LAR_DEC_SHARED = 1 << 16,   /* a feed-forward beside the experts that every token takes */
    LAR_DEC_SHARED_GATE = 1 << 17,
    LAR_DEC_EXPERT_BIAS = 1 << 18, /* of the router and of each expert */
    LAR_DEC_SINKS = 1 << 19,       /* a score of each head that carries no value */
    LAR_DEC_POST_AS_PRE = 1 << 20, /* like PRE_NORM; the second is called post_attention_norm */
    LAR_DEC_MLA = 1 << 21,         /* latent attention, with two of these as the loader finds: */
    LAR_DEC_MLA_Q = 1 << 22,       /* Q from one weight */
    LAR_DEC_MLA_Q_RANK = 1 << 23,  /* Q from two, of a low rank */
    LAR_DEC_MLA_SPLIT = 1 << 24,   /* k_b and v_b: the cache holds latents */
    LAR_DEC_MLA_KV_B = 1 << 25,    /* one weight for both: the cache holds K and V of all heads */
    LAR_DEC_DELTA_BA = 1 << 27,    /* betas and alphas in one weight, in two without */
    LAR_DEC_DELTA_AB = 1 << 28,
    LAR_DEC_QKV_GATE = 1 << 29,  /* like QKV; Q has a gate behind each head */
    LAR_DEC_ATTENTION = 1 << 30, /* set by the loader for the layers that are attention */
    LAR_DEC_USUAL = LAR_DEC_PRE_NORM | LAR_DEC_QKV | LAR_DEC_FFN
};

/* What a layer mixes its tokens with. */
enum { LAR_LAYER_ATTENTION, LAR_LAYER_CONV, LAR_LAYER_DELTA };

typedef struct lar_decoder_spec {
    bool neox; /* RoPE pairs (i, i + n/2) */
    int act;   /* LAR_ACT_* of the FFN */
    unsigned has, may;
    bool scale_embeddings; /* by sqrt(n_embd) */
    bool local_rope;       /* sliding-window layers have a RoPE of their own, unscaled */
    int global_every;  /* with a window: every n-th layer sees all; 0: every layer has the window */
    int no_rope_every; /* every n-th layer has no RoPE; 0: all have it */
    bool yarn_exact;   /* as lar_rope has it */
    const char *out_norm; /* the last norm's tensor; NULL: output_norm.weight */
    int other_kind;       /* LAR_LAYER_* of those layers that the file says are no attention */
    bool moe_norm; /* the chosen experts' weights are made to sum to 1, unless the file says */
} lar_decoder_spec;

/* Multi-head latent attention (DeepSeek-V2, 2024): a latent vector per token gives the keys and
 * values of all heads; beside it a rotated part of the key, which all heads share. */
typedef struct lar_mla {
    lar_linear q_a, q_b; /* instead of the layer's q */
    lar_linear kv_a;     /* latent, then the rotated part */
    lar_linear kv_b;     /* of each head: key without the rotated part, value */
    lar_linear k_b,
        v_b; /* or per head, k_b transposed: [nope, rank, heads], [rank, value, heads] */
    lar_tensor *q_norm, *kv_norm;
} lar_mla;

typedef struct lar_decoder_layer {
    lar_tensor *attn_norm, *q_norm, *k_norm, *attn_post_norm, *ffn_norm, *ffn_post_norm;
    lar_linear q, k, v, o;
    lar_linear qkv;    /* instead of q, k, v */
    lar_mla mla;       /* instead of k, v, where kv_a.w is */
    lar_tensor *sinks; /* F32 [n_head] or NULL */
    lar_ffn ffn;
    lar_moe moe; /* instead of ffn, where router.w is */
    int kind;    /* LAR_LAYER_*: which of these is there */
    lar_short_conv conv;
    lar_delta delta;
    int window; /* 0: sees all */
    bool no_rope;
} lar_decoder_layer;

enum { LAR_ROPE_GLOBAL, LAR_ROPE_LOCAL, LAR_ROPE_LONG, LAR_N_ROPES };

typedef struct lar_decoder {
    const lar_decoder_spec *spec;
    int n_layer, n_embd, n_head, n_head_kv, head_dim_k,
        head_dim_v; /* heads as the cache has them */
    int head_nope;  /* of latent attention */
    float eps, attn_scale, attn_softcap, logit_softcap, embd_scale, residual_scale, logit_scale;
    int n_rot;
    int long_from;                     /* contexts larger than this take LAR_ROPE_LONG */
    lar_tensor *inv_freq[LAR_N_ROPES]; /* F64 [n_rot/2]; NULL where the model has none */
    float mscale[LAR_N_ROPES];
    lar_route_param route;
    lar_tensor *tok_embd, *out_norm;
    lar_linear output;
    lar_decoder_layer *layer;
} lar_decoder;

/* What b wants, or NULL when the graph failed. */
lar_tensor *lar_decoder_build(const lar_decoder *d, const lar_build *b);

#endif
