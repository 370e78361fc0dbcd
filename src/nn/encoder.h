/*
 * encoder.h - one builder for the families of encoders, whose tokens see each other both ways and
 * whose result is a state per token. A family is data (lar_encoder_spec).
 */
#ifndef LAR_ENCODER_H
#define LAR_ENCODER_H
#include "nn/nn.h"

/* What a family's files hold: must (in `has`), or may (in `may`). */
enum {
    LAR_ENC_POSITIONS = 1,   /* an embedding of each position */
    LAR_ENC_TYPES = 2,       /* embeddings of token types, of which all tokens have the first */
    LAR_ENC_EMBD_NORM = 4,   /* a norm of the embeddings */
    LAR_ENC_NORM_BIAS = 8,   /* of every norm */
    LAR_ENC_PRE_NORM = 16,   /* norms of what attention and FFN read, and one at the end */
    LAR_ENC_POST_NORM = 32,  /* norms of the sums of what attention and FFN give */
    LAR_ENC_QKV = 64,        /* three weights */
    LAR_ENC_FUSED_QKV = 128, /* one: Q, K, V rows in this order */
    LAR_ENC_BIAS = 256,      /* of every product */
    LAR_ENC_FFN = 512,       /* up and down */
    LAR_ENC_GATE = 1024,
    LAR_ENC_FUSED_UP = 2048,  /* gate and up in one, with a down */
    LAR_ENC_FIRST_NORM = 4096 /* the first layer's norm of what attention reads */
};

typedef struct lar_encoder_spec {
    int act; /* LAR_ACT_* of the FFN */
    unsigned has, may;
    bool rope;        /* of pairs (i, i + n/2) */
    bool local_rope;  /* layers with a window have a RoPE of their own */
    int global_every; /* with a window: every n-th layer, beginning with the first, sees all */
} lar_encoder_spec;

typedef struct lar_encoder_layer {
    lar_norm attn_norm, ffn_norm;      /* before; w NULL: none */
    lar_norm attn_post_norm, out_norm; /* behind the sums; likewise */
    lar_linear q, k, v, o;
    lar_linear qkv; /* instead of q, k, v */
    lar_ffn ffn;
    int window; /* keys nearer than this are seen; 0: all */
} lar_encoder_layer;

typedef struct lar_encoder {
    const lar_encoder_spec *spec;
    int n_layer, n_head, head_dim, n_rot;
    float eps, attn_scale;
    lar_tensor *tok_embd, *pos_embd, *type_embd; /* the latter two may be NULL */
    lar_norm embd_norm, out_norm;
    lar_tensor *inv_freq[2]; /* F64 [n_rot/2]: of layers that see all, of those with a window */
    float mscale[2];
    lar_encoder_layer *layer;
} lar_encoder;

/* States [n_embd, n_out], or NULL when the graph failed. */
lar_tensor *lar_encoder_build(const lar_encoder *m, const lar_build *b);

#endif
