/* qwen3moe.c - Qwen 3 with experts. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_SILU,
                                      .has = LAR_DEC_USUAL | LAR_DEC_QK_NORM,
                                      .may = LAR_DEC_OUTPUT,
                                      .moe_norm = true};
extern const lar_model_def lar_model_def_qwen3moe;
const lar_model_def lar_model_def_qwen3moe = {.arch = "qwen3moe", .decoder = &spec};
