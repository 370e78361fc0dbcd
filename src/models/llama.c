/* llama.c - Llama 1 to 3, SmolLM2, Mistral, Mixtral, TinyLlama and their like. RoPE pairs lie side
 * by side, since the files' Q and K rows are permuted for it. */
#include "models/net.h"

static const lar_decoder_spec spec = {
    .act = LAR_ACT_SILU,
    .has = LAR_DEC_USUAL,
    .moe_norm = true,
    .may =
        LAR_DEC_QKV_BIAS | LAR_DEC_O_BIAS | LAR_DEC_FFN_BIAS | LAR_DEC_OUTPUT | LAR_DEC_ROPE_FREQS,
};
extern const lar_model_def lar_model_def_llama;
const lar_model_def lar_model_def_llama = {.arch = "llama", .decoder = &spec};
