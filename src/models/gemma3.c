/* gemma3.c - Gemma 3 (text): embeddings scaled, norms before and after each part and on the heads
 * of Q and K, five layers with a sliding window and a RoPE of base 10,000 for each that sees all.
 * The files' norm weights already hold the 1 that the model adds to them. */
#include "models/net.h"

static const lar_decoder_spec spec = {.neox = true,
                                      .act = LAR_ACT_GELU_TANH,
                                      .has = LAR_DEC_USUAL | LAR_DEC_QK_NORM | LAR_DEC_POST_NORM,
                                      .may = LAR_DEC_OUTPUT,
                                      .scale_embeddings = true,
                                      .local_rope = true,
                                      .global_every = 6};

/* The 27B model scales scores by its width per head, not by the head's dimension; no key says so.
 */
static void adjust(const lar_gguf *f, lar_hparams *hp, lar_decoder *d)
{
    (void)f;
    if (hp->n_layer == 62)
        d->attn_scale = 1.0f / __builtin_sqrtf((float)hp->n_embd / (float)hp->n_head);
}
extern const lar_model_def lar_model_def_gemma3;
const lar_model_def lar_model_def_gemma3 = {.arch = "gemma3", .decoder = &spec, .adjust = adjust};
