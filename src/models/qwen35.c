/* qwen35.c - Qwen 3.5, dense and with experts (qwen35moe): Qwen 3 Next with the delta nets' weights
 * in another order. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_SILU,
                                      .has = LAR_DEC_POST_AS_PRE | LAR_DEC_QKV_GATE |
                                             LAR_DEC_QK_NORM | LAR_DEC_DELTA_AB | LAR_DEC_FFN |
                                             LAR_DEC_SHARED | LAR_DEC_SHARED_GATE,
                                      .may = LAR_DEC_OUTPUT,
                                      .other_kind = LAR_LAYER_DELTA,
                                      .moe_norm = true};
extern const lar_model_def lar_model_def_qwen35, lar_model_def_qwen35moe;
const lar_model_def lar_model_def_qwen35 = {.arch = "qwen35", .decoder = &spec};
const lar_model_def lar_model_def_qwen35moe = {.arch = "qwen35moe", .decoder = &spec};
