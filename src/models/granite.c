/* granite.c - Granite 3: llama with scales on embeddings, residuals, scores and logits. */
#include "models/net.h"

static const lar_decoder_spec spec = {.act = LAR_ACT_SILU,
                                      .has = LAR_DEC_USUAL,
                                      .may = LAR_DEC_OUTPUT | LAR_DEC_QKV_BIAS | LAR_DEC_O_BIAS |
                                             LAR_DEC_FFN_BIAS};
extern const lar_model_def lar_model_def_granite;
const lar_model_def lar_model_def_granite = {.arch = "granite", .decoder = &spec};
