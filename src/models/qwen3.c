/* qwen3.c - Qwen 3 (MedPsy's base): norms on the heads of Q and K, no biases. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_SILU,
                                      .has = LAR_DEC_USUAL | LAR_DEC_QK_NORM,
                                      .may = LAR_DEC_QKV_BIAS | LAR_DEC_O_BIAS | LAR_DEC_OUTPUT |
                                             LAR_DEC_ROPE_FREQS};
extern const lar_model_def lar_model_def_qwen3;
const lar_model_def lar_model_def_qwen3 = {.arch = "qwen3", .decoder = &spec};
