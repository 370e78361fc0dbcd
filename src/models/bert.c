/* bert.c - BERT and its like (MiniLM, BGE, E5, XLM-RoBERTa ...): embeddings of positions, norms
 * behind the sums, biases everywhere. */
#include "models/net.h"

static const lar_encoder_spec spec = {
    .act = LAR_ACT_GELU_ERF,
    .has =
        LAR_ENC_POSITIONS | LAR_ENC_EMBD_NORM | LAR_ENC_NORM_BIAS | LAR_ENC_POST_NORM | LAR_ENC_FFN,
    .may = LAR_ENC_TYPES | LAR_ENC_QKV | LAR_ENC_FUSED_QKV | LAR_ENC_BIAS,
};
extern const lar_model_def lar_model_def_bert;
const lar_model_def lar_model_def_bert = {.arch = "bert", .encoder = &spec};
