/*
 * rope.c - rotary frequencies with the scalings that files declare, in double.
 * Linear: Chen et al., "Extending Context Window ... via Positional Interpolation", 2023. YaRN:
 * Peng et al., 2023.
 */
#include "base/math.h"
#include "nn/nn.h"

/* The dimension whose wave turns `beta` times in the original context. */
static double correction_dim(const lar_rope *r, double beta)
{
    const double two_pi = 6.283185307179586476925;
    return r->n_rot * lar_ln(r->orig_ctx / (beta * two_pi)) / (2 * lar_ln(r->base));
}

static double floor_of(double x)
{
    double i = (double)(int64_t)x;
    return i > x ? i - 1 : i;
}

/* 1 where a dimension keeps its trained frequency, 0 where it is interpolated, a ramp between. */
static double yarn_keep(const lar_rope *r, int i)
{
    const double fast = correction_dim(r, r->beta_fast), slow = correction_dim(r, r->beta_slow);
    const double low = LAR_MAX(0.0, r->yarn_exact ? fast : floor_of(fast));
    const double high = LAR_MIN(r->n_rot - 1.0, r->yarn_exact ? slow : -floor_of(-slow));
    const double y = (i - low) / LAR_MAX(0.001, high - low);
    return (1 - LAR_MIN(1.0, LAR_MAX(0.0, y))) * r->ext_factor;
}

void lar_rope_frequencies(const lar_rope *r, double *inv_freq, float *mscale)
{
    *mscale = (float)r->attn_factor;
    if (r->scaling == LAR_ROPE_YARN && r->ext_factor != 0 && !r->yarn_scores)
        *mscale = (float)(r->attn_factor * (1 + 0.1 * lar_ln(r->factor)));
    for (int i = 0; i < r->n_rot / 2; i++) {
        double f = lar_pow(r->base, -2.0 * i / r->n_rot);
        if (r->freq_factors)
            f /= (double)r->freq_factors[i];
        if (r->scaling == LAR_ROPE_LINEAR) {
            f /= r->factor;
        } else if (r->scaling == LAR_ROPE_YARN) {
            const double keep = yarn_keep(r, i);
            f = f / r->factor * (1 - keep) + f * keep;
        }
        inv_freq[i] = f;
    }
}
