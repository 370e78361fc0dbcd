/* phi3.c - Phi 3 and 4: Q, K, V in one weight, gate and up in another; two lists of RoPE divisors,
 * for short and for long contexts. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_SILU,
                                      .has =
                                          LAR_DEC_PRE_NORM | LAR_DEC_FUSED_QKV | LAR_DEC_FUSED_UP,
                                      .may = LAR_DEC_OUTPUT | LAR_DEC_LONG_ROPE};
extern const lar_model_def lar_model_def_phi3;
const lar_model_def lar_model_def_phi3 = {.arch = "phi3", .decoder = &spec};
