/* nomic_bert.c - Nomic Embed: BERT with RoPE, a gated feed-forward, no biases but the norms'. */
#include "models/net.h"

static const lar_encoder_spec spec = {
    .act = LAR_ACT_SILU,
    .has = LAR_ENC_EMBD_NORM | LAR_ENC_NORM_BIAS | LAR_ENC_POST_NORM | LAR_ENC_FFN | LAR_ENC_GATE,
    .may = LAR_ENC_TYPES | LAR_ENC_QKV | LAR_ENC_FUSED_QKV | LAR_ENC_BIAS,
    .rope = true,
};
extern const lar_model_def lar_model_def_nomic_bert;
const lar_model_def lar_model_def_nomic_bert = {.arch = "nomic-bert", .encoder = &spec};
