/* smollm3.c - SmolLM 3: llama without RoPE in every fourth layer. */
#include "models/net.h"

static const lar_decoder_spec spec = {.act = LAR_ACT_SILU,
                                      .has = LAR_DEC_USUAL,
                                      .may = LAR_DEC_OUTPUT | LAR_DEC_QKV_BIAS,
                                      .no_rope_every = 4};
extern const lar_model_def lar_model_def_smollm3;
const lar_model_def lar_model_def_smollm3 = {.arch = "smollm3", .decoder = &spec};
