/* gpt_oss.c - gpt-oss: attention sinks, every other layer with a window, biases everywhere, experts
 * with clamped gates whose weights are a softmax over the chosen ones. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_CLAMPED,
                                      .has = LAR_DEC_POST_AS_PRE | LAR_DEC_QKV | LAR_DEC_QKV_BIAS |
                                             LAR_DEC_O_BIAS | LAR_DEC_SINKS | LAR_DEC_FFN |
                                             LAR_DEC_EXPERT_BIAS,
                                      .may = LAR_DEC_OUTPUT,
                                      .global_every = 2,
                                      .yarn_exact = true,
                                      .moe_norm = true};
extern const lar_model_def lar_model_def_gpt_oss;
const lar_model_def lar_model_def_gpt_oss = {.arch = "gpt-oss", .decoder = &spec};
