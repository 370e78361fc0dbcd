/* gemma2.c - Gemma 2: as Gemma 3, but soft caps instead of norms on Q and K, and every second layer
 * with a window. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_GELU_TANH,
                                      .has = LAR_DEC_USUAL | LAR_DEC_POST_NORM,
                                      .may = LAR_DEC_OUTPUT,
                                      .scale_embeddings = true,
                                      .global_every = 2};

/* The 27B model scales scores by its width per head; no key says so. */
static void adjust(const lar_gguf *f, lar_hparams *hp, lar_decoder *d)
{
    (void)f;
    if (hp->n_layer == 46)
        d->attn_scale = 1.0f / __builtin_sqrtf((float)hp->n_embd / (float)hp->n_head);
}
extern const lar_model_def lar_model_def_gemma2;
const lar_model_def lar_model_def_gemma2 = {.arch = "gemma2", .decoder = &spec, .adjust = adjust};
