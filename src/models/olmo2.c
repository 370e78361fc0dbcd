/* olmo2.c - OLMo 2: norms behind each part only, and over all heads of Q and of K together. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_SILU,
                                      .has = LAR_DEC_QKV | LAR_DEC_FFN | LAR_DEC_POST_NORM |
                                             LAR_DEC_QK_NORM_ALL,
                                      .may = LAR_DEC_OUTPUT};
extern const lar_model_def lar_model_def_olmo2;
const lar_model_def lar_model_def_olmo2 = {.arch = "olmo2", .decoder = &spec};
