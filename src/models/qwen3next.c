/* qwen3next.c - Qwen 3 Next: three gated delta nets for each layer of attention, whose heads of Q
 * have gates; experts, and one for all tokens with a gate of its own. The files' norm weights
 * already hold the 1 that the model adds to them. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_SILU,
                                      .has = LAR_DEC_POST_AS_PRE | LAR_DEC_QKV_GATE |
                                             LAR_DEC_QK_NORM | LAR_DEC_DELTA_BA | LAR_DEC_FFN |
                                             LAR_DEC_SHARED | LAR_DEC_SHARED_GATE,
                                      .may = LAR_DEC_OUTPUT,
                                      .other_kind = LAR_LAYER_DELTA,
                                      .moe_norm = true};
extern const lar_model_def lar_model_def_qwen3next;
const lar_model_def lar_model_def_qwen3next = {.arch = "qwen3next", .decoder = &spec};
