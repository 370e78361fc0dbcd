/* qwen2.c - Qwen 1.5, 2 and 2.5: biases on Q, K and V. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_SILU,
                                      .has = LAR_DEC_USUAL | LAR_DEC_QKV_BIAS,
                                      .may = LAR_DEC_OUTPUT | LAR_DEC_ROPE_FREQS};
extern const lar_model_def lar_model_def_qwen2;
const lar_model_def lar_model_def_qwen2 = {.arch = "qwen2", .decoder = &spec};
