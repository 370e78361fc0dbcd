/* deepseek2.c - DeepSeek V2, V2-Lite and V3, and their like: latent attention, experts behind some
 * dense layers, shared ones beside them; which experts may be chosen goes by groups. */
#include "base/math.h"
#include "models/net.h"

static const lar_decoder_spec spec = {.act = LAR_ACT_SILU,
                                      .has = LAR_DEC_PRE_NORM | LAR_DEC_MLA | LAR_DEC_FFN |
                                             LAR_DEC_SHARED,
                                      .may = LAR_DEC_OUTPUT | LAR_DEC_MOE_BIAS};

/* YaRN's magnitude, for Q and for K, is in the scale of the scores, so that it reaches the part of
 * the heads that is not rotated; the file has a tenth of it per e-fold. */
static void adjust(const lar_gguf *f, lar_hparams *hp, lar_decoder *d)
{
    (void)f;
    if (hp->rope_scaling == LAR_ROPE_YARN) {
        const double m = 1 + (double)hp->yarn_log_mul * lar_ln((double)hp->rope_factor);
        d->attn_scale = (float)((double)d->attn_scale * m * m);
    }
}
extern const lar_model_def lar_model_def_deepseek2;
const lar_model_def lar_model_def_deepseek2 = {
    .arch = "deepseek2", .decoder = &spec, .adjust = adjust};
