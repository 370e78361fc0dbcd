/* lfm2.c - LFM 2: most layers are short convolutions, some are attention with norms on the heads
 * of Q and K (Liquid AI, 2025). */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_SILU,
                                      .has = LAR_DEC_USUAL | LAR_DEC_QK_NORM,
                                      .may = LAR_DEC_OUTPUT,
                                      .other_kind = LAR_LAYER_CONV,
                                      .out_norm = "token_embd_norm.weight"};
extern const lar_model_def lar_model_def_lfm2;
const lar_model_def lar_model_def_lfm2 = {.arch = "lfm2", .decoder = &spec};
