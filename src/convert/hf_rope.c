/*
 * hf_rope.c - rotary scaling as config.json declares it, to GGUF's keys and tensors. `rope_scaling`
 * and `rope_theta` of older files, `rope_parameters` of newer ones (transformers,
 * modeling_rope_utils.py).
 */
#include "base/math.h"
#include "convert/hf.h"
#include <string.h>

enum { ROT_MAX = 4096 };

static lar_status optional(lar_status s)
{
    return s == LAR_ENOTFOUND ? LAR_OK : s;
}

static lar_status put_number(lar_hf *h, const json_t *rope, const char *name, const char *key,
                             lar_err *e)
{
    double v;
    const lar_status s = lar_hf_number(rope, name, &v, e);
    if (s == LAR_OK)
        lar_hf_put_f32(h, key, (float)v);
    return optional(s);
}

static lar_status put_original(lar_hf *h, const json_t *rope, lar_err *e)
{
    double v;
    lar_status s = lar_hf_number(rope, "original_max_position_embeddings", &v, e);
    if (s == LAR_ENOTFOUND)
        s = lar_hf_number(h->text, "original_max_position_embeddings", &v, e);
    if (s == LAR_OK && v >= 1 && v < 1 << 30)
        lar_hf_put_u32(h, "rope.scaling.original_context_length", (uint32_t)v);
    return optional(s);
}

/* Llama 3: divisors of the frequencies, by how often a wave turns in the original context. */
static lar_status llama3(lar_hf *h, const json_t *rope, double base, int n_rot, lar_err *e)
{
    double factor = 8, low = 1, high = 4, orig = 8192;
    float f[ROT_MAX / 2];
    LAR_TRY(optional(lar_hf_number(rope, "factor", &factor, e)));
    LAR_TRY(optional(lar_hf_number(rope, "low_freq_factor", &low, e)));
    LAR_TRY(optional(lar_hf_number(rope, "high_freq_factor", &high, e)));
    LAR_TRY(optional(lar_hf_number(rope, "original_max_position_embeddings", &orig, e)));
    if (!(factor > 0) || !(high > low) || !(low > 0))
        return lar_fail(e, LAR_EFORMAT, "config.json: llama3 rope scaling: factors out of order");
    for (int i = 0; i < n_rot / 2; i++) {
        const double wave = 6.283185307179586476925 * lar_pow(base, 2.0 * i / n_rot);
        const double smooth = (orig / wave - low) / (high - low);
        f[i] = (float)(wave < orig / high  ? 1
                       : wave > orig / low ? factor
                                           : 1 / ((1 - smooth) / factor + smooth));
    }
    return lar_hf_put_floats(h, "rope_freqs.weight", f, (size_t)n_rot / 2, e);
}

static lar_status put_list(lar_hf *h, const json_t *rope, const char *name, const char *tensor,
                           int n_rot, lar_err *e)
{
    const json_t *list = json_object_get(rope, name);
    float f[ROT_MAX / 2];
    if (json_array_size(list) != (size_t)n_rot / 2)
        return lar_fail(e, LAR_EFORMAT, "config.json: %s has %zu factors, want %d", name,
                        json_array_size(list), n_rot / 2);
    for (int i = 0; i < n_rot / 2; i++) {
        const double x = json_number_value(json_array_get(list, (size_t)i));
        if (!(x > 0 && x < 1e6))
            return lar_fail(e, LAR_EFORMAT, "config.json: %s: factor %d, want a number above 0",
                            name, i);
        f[i] = (float)x;
    }
    return lar_hf_put_floats(h, tensor, f, (size_t)n_rot / 2, e);
}

/* LongRoPE (Ding et al., 2024): two lists of divisors, and a factor on cos and sin. */
static lar_status longrope(lar_hf *h, const json_t *rope, int n_rot, lar_err *e)
{
    double orig = 0, ctx = 0, factor = 0, attn = 0;
    LAR_TRY(put_list(h, rope, "long_factor", "rope_factors_long.weight", n_rot, e));
    LAR_TRY(put_list(h, rope, "short_factor", "rope_factors_short.weight", n_rot, e));
    LAR_TRY(put_original(h, rope, e));
    lar_status s = lar_hf_number(rope, "original_max_position_embeddings", &orig, e);
    if (s == LAR_ENOTFOUND)
        s = lar_hf_number(h->text, "original_max_position_embeddings", &orig, e);
    LAR_TRY(optional(s));
    LAR_TRY(lar_hf_number(h->text, "max_position_embeddings", &ctx, e));
    factor = orig > 1 ? ctx / orig : 1;
    LAR_TRY(optional(lar_hf_number(rope, "attention_factor", &attn, e)));
    if (attn == 0)
        attn = factor > 1 ? (double)__builtin_sqrt(1 + lar_ln(factor) / lar_ln(orig)) : 1;
    lar_hf_put_f32(h, "rope.scaling.attn_factor", (float)attn);
    return LAR_OK;
}

/* What YaRN multiplies cos and sin with. */
static double magnitude(double factor, double share)
{
    return factor > 1 ? 1 + 0.1 * share * lar_ln(factor) : 1;
}

/* YaRN (Peng et al., 2023). Readers give cos and sin the usual magnitude; another one is written as
 * a factor on it. */
static lar_status yarn(lar_hf *h, const json_t *rope, lar_err *e)
{
    double factor = 1, share = 0, all = 0, attn = 0;
    if (json_is_false(json_object_get(rope, "truncate")) != h->def->yarn_exact)
        return lar_fail(e, LAR_EUNSUPPORTED, "config.json: rope_parameters.truncate, want %s",
                        h->def->yarn_exact ? "false" : "true");
    LAR_TRY(put_number(h, rope, "beta_fast", "rope.scaling.yarn_beta_fast", e));
    LAR_TRY(put_number(h, rope, "beta_slow", "rope.scaling.yarn_beta_slow", e));
    LAR_TRY(optional(lar_hf_number(rope, "factor", &factor, e)));
    LAR_TRY(optional(lar_hf_number(rope, "mscale", &share, e)));
    LAR_TRY(optional(lar_hf_number(rope, "mscale_all_dim", &all, e)));
    lar_status s = lar_hf_number(rope, "attention_factor", &attn, e);
    LAR_TRY(optional(s));
    if (s != LAR_OK)
        attn = share != 0 && all != 0 ? magnitude(factor, share) / magnitude(factor, all)
                                      : magnitude(factor, 1);
    const bool in_scores = h->def->yarn_scores && all != 0;
    if (in_scores)
        lar_hf_put_f32(h, "rope.scaling.yarn_log_multiplier", (float)(0.1 * all));
    attn /= in_scores ? 1 : magnitude(factor, 1);
    if ((float)attn != 1)
        lar_hf_put_f32(h, "rope.scaling.attn_factor", (float)attn);
    return put_original(h, rope, e);
}

static lar_status scaling(lar_hf *h, const json_t *rope, const char *type, double base, int n_rot,
                          lar_err *e)
{
    if (strcmp(type, "default") == 0)
        return LAR_OK;
    if (strcmp(type, "llama3") == 0)
        return llama3(h, rope, base, n_rot, e);
    if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0)
        return longrope(h, rope, n_rot, e);
    if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "config.json: rope type '%.40s', want default, linear, yarn, llama3 or "
                        "longrope",
                        type);
    lar_buf b = {0};
    lar_buf_printf(&b, "%s.rope.scaling.type", h->def->arch);
    if (!b.oom)
        lar_gguf_put_string(h->w, b.p, type);
    lar_buf_free(&b);
    LAR_TRY(put_number(h, rope, "factor", "rope.scaling.factor", e));
    return strcmp(type, "yarn") == 0 ? yarn(h, rope, e) : LAR_OK;
}

lar_status lar__hf_rope(lar_hf *h, lar_err *e)
{
    const json_t *rope = lar_hf_get(h->text, "rope_parameters|rope_scaling");
    if (rope && !json_is_object(rope))
        return lar_fail(e, LAR_EFORMAT, "config.json: rope_parameters, want an object");
    double base = 10000, partial = 1, n = (double)h->head_dim;
    if (json_is_object(json_object_get(rope, "full_attention")))
        rope = json_object_get(rope, "full_attention");
    LAR_TRY(
        optional(lar_hf_number(h->text, "rope_theta|global_rope_theta|rotary_emb_base", &base, e)));
    LAR_TRY(optional(lar_hf_number(rope, "rope_theta", &base, e)));
    LAR_TRY(optional(lar_hf_number(h->text, "partial_rotary_factor", &partial, e)));
    LAR_TRY(optional(lar_hf_number(rope, "partial_rotary_factor", &partial, e)));
    if (!(base > 1 && base < 1e12) || !(partial > 0 && partial <= 1))
        return lar_fail(e, LAR_EFORMAT, "config.json: rope_theta %g, partial_rotary_factor %g",
                        base, partial);
    const int n_rot = (int)(n * partial);
    if (n_rot < 2 || n_rot % 2 || n_rot > ROT_MAX)
        return lar_fail(e, LAR_EFORMAT, "config.json: %d rotated dimensions of %lld", n_rot,
                        (long long)h->head_dim);
    lar_hf_put_f32(h, "rope.freq_base", (float)base);
    lar_hf_put_u32(h, "rope.dimension_count", (uint32_t)n_rot);
    const json_t *type = lar_hf_get(rope, "rope_type|type");
    if (type && !json_is_string(type))
        return lar_fail(e, LAR_EFORMAT, "config.json: rope_type, want a text");
    return type ? scaling(h, rope, json_string_value(type), base, n_rot, e) : LAR_OK;
}
