/* modern_bert.c - ModernBERT: norms before each part, gated feed-forwards, no biases, two layers of
 * three with a window and a RoPE of its own. */
#include "models/net.h"

static const lar_encoder_spec spec = {
    .act = LAR_ACT_GELU_ERF,
    .has = LAR_ENC_EMBD_NORM | LAR_ENC_PRE_NORM | LAR_ENC_FUSED_QKV | LAR_ENC_FUSED_UP,
    .rope = true,
    .local_rope = true,
    .global_every = 3,
};
extern const lar_model_def lar_model_def_modern_bert;
const lar_model_def lar_model_def_modern_bert = {.arch = "modern-bert", .encoder = &spec};
