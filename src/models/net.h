/*
 * net.h - a model's weights bound to an architecture: what a GGUF file declares, checked against
 * tables.
 *
 * An architecture is one file with a lar_model_def, and a line in models.def. For decoder families
 * it is data; others bring a builder of their own.
 */
#ifndef LAR_NET_H
#define LAR_NET_H
#include "format/gguf.h"
#include "nn/decoder.h"
#include "nn/encoder.h"

enum { LAR_MAX_LAYERS = 1024 };

/* Hyper-parameters by GGUF key, "%s" standing for the architecture's name. */
typedef struct lar_hparams {
    uint32_t n_layer, n_embd, n_ff, n_head, n_head_kv, head_dim_k, head_dim_v, ctx_train, n_vocab;
    uint32_t n_rot, window, window_pattern, orig_ctx;
    uint32_t q_rank, kv_rank;    /* of latent attention */
    uint32_t key_mla, value_mla; /* of a head itself; else head_dim_k, head_dim_v: the cache's */
    bool mla_split;              /* the file says key_mla: its cache holds latents */
    uint32_t n_expert, n_expert_used, n_ff_expert, n_ff_shared, n_expert_shared, n_dense_lead;
    uint32_t n_expert_group, n_expert_group_used;
    uint32_t expert_gating, expert_norm; /* 0: not said; 1 softmax, 2 sigmoid, 3 softmax of the
                                          * chosen ones; 1 no, 2 yes */
    float expert_scale;
    float embd_scale, residual_scale, attn_scale, logit_scale; /* 0: not said */
    float eps, rope_base, rope_base_local, rope_factor, rope_scale_linear;
    float yarn_ext, yarn_attn, yarn_beta_fast, yarn_beta_slow, attn_factor, yarn_log_mul;
    float attn_softcap, logit_softcap;
    lar_rope_scaling rope_scaling;
    uint32_t conv_kernel; /* tokens that a short convolution sees */
    uint32_t ssm_conv, ssm_state, ssm_groups, ssm_heads, ssm_inner, full_every; /* delta nets */
    uint8_t no_attention[LAR_MAX_LAYERS]; /* 1: the layer is of the family's other kind */
    float norm_eps;                       /* of layer norms; -1: not said */
    uint32_t causal;                      /* 0: not said; 1 no, 2 yes */
    uint32_t pooling;    /* LAR_POOL_*: of all tokens' states into one, for embeddings */
    uint32_t normalize;  /* embeddings to length 1: 0 not said, 1 no, 2 yes */
    uint32_t max_tokens; /* of a text to be embedded; 0: not said */
} lar_hparams;

/* GGUF's pooling_type; and: the file does not say. */
enum { LAR_POOL_NONE, LAR_POOL_MEAN, LAR_POOL_CLS, LAR_POOL_LAST, LAR_POOL_RANK, LAR_POOL_UNSAID };

typedef struct lar_net lar_net;

typedef struct lar_model_def {
    const char *arch; /* general.architecture */
    /* What a step wants. NULL: the decoder's or the encoder's builder. */
    lar_tensor *(*build)(const lar_net *n, const lar_build *b);
    const lar_decoder_spec *decoder; /* data for the one decoder builder */
    const lar_encoder_spec *encoder; /* instead, for the one encoder builder: no logits */
    /* Instead of all that: a model that is no decoder binds itself. */
    lar_status (*open)(lar_net *n, const lar_gguf *f, lar_err *e);
    /* What the tables cannot say, after they have been read (scales of special sizes ...). May be
     * NULL. */
    void (*adjust)(const lar_gguf *f, lar_hparams *hp, lar_decoder *d);
} lar_model_def;

struct lar_net {
    const lar_model_def *def;
    lar_hparams hp;
    lar_arena *arena;
    lar_decoder dec; /* or: */
    lar_encoder enc;
    bool causal; /* tokens see nothing of what follows; else a sequence is evaluated at once */
    struct lar_mt *mt; /* a model that translates (models/marian.h); else NULL */
    uint64_t identity; /* tells models apart in files that depend on one (hash of the index) */
    uint64_t weight_bytes, n_params;
    int n_ignored; /* tensors in the file that the architecture does not use */
};

extern const lar_model_def *const lar_model_defs[];
extern const int lar_n_model_defs;

/* Bind weights in place; the file must outlive the net. Every shape, type and range is checked. A
 * header without data (lar_gguf_open_header) is checked likewise; its net cannot be run. */
lar_status lar_net_open(const lar_gguf *f, const lar_log *log, lar_net **out, lar_err *e);
void lar_net_free(lar_net *n);
/* Logits [n_vocab, n_out], or [n_embd, n_out] where b->hidden. */
lar_tensor *lar_net_build(const lar_net *n, const lar_build *b);

/* What a layer remembers of a sequence: a row of keys and one of values for each token, or a state
 * of fixed size, or both. */
typedef struct lar_cache {
    int n_head, dim_k, dim_v; /* of a token's rows; n_head 0: none; dim_v 0: parts of the keys */
    int64_t state;            /* floats; 0: none */
} lar_cache;
int lar_net_n_caches(const lar_net *n); /* one per layer */
lar_cache lar_net_cache(const lar_net *n, int l);

/* What a step of n_tokens, of which n_out get logits, cannot do without: every weight once, a row
 * of the embeddings for each token, and the products with weights (attention's own are not
 * counted). */
typedef struct lar_net_cost {
    uint64_t weight_bytes, integer_macs, float_macs;
} lar_net_cost;
void lar_net_cost_of(const lar_net *n, int n_tokens, int n_out, lar_net_cost *out);
/* Bytes of keys, values and states that n_tokens after `held` ones write and, once, read. */
uint64_t lar_net_kv_touched(const lar_net *n, const lar_dtype *type, int held, int n_tokens);

/* Shared by the loader's files. */
lar_status lar__hparams_read(const lar_gguf *f, const lar_model_def *def, lar_hparams *hp,
                             lar_err *e);
lar_status lar__decoder_bind(lar_net *n, const lar_gguf *f, lar_err *e);
lar_status lar__encoder_bind(lar_net *n, const lar_gguf *f, lar_err *e);

#endif
