/* qwen2moe.c - Qwen 1.5 and 2 with experts, and one that all tokens share behind a gate. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_SILU,
                                      .has = LAR_DEC_USUAL | LAR_DEC_QKV_BIAS | LAR_DEC_SHARED |
                                             LAR_DEC_SHARED_GATE,
                                      .may = LAR_DEC_OUTPUT};
extern const lar_model_def lar_model_def_qwen2moe;
const lar_model_def lar_model_def_qwen2moe = {.arch = "qwen2moe", .decoder = &spec};
