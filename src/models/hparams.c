/* hparams.c - hyper-parameters from metadata by one table: key, field, default, range. */
#include "models/net.h"
#include <stdio.h>
#include <string.h>

typedef enum kind { U32, F32, FLAG } kind; /* FLAG: 1 no, 2 yes */

/* need: the key must be there. Defaults that depend on other fields are set in finish(). */
static const struct row {
    const char *key;
    size_t offset;
    kind kind;
    bool need;
    double def, min, max;
} rows[] = {
/* clang-format off */
#define HU(key, field, need, def, min, max) {key, offsetof(lar_hparams, field), U32, need, def, min, max}
#define HF(key, field, need, def, min, max) {key, offsetof(lar_hparams, field), F32, need, def, min, max}
#define HB(key, field) {key, offsetof(lar_hparams, field), FLAG, false, 0, 0, 1}
    HU("block_count", n_layer, true, 0, 1, LAR_MAX_LAYERS),
    HU("embedding_length", n_embd, true, 0, 1, 1 << 20),
    HU("feed_forward_length", n_ff, false, 0, 1, 1 << 22),
    HU("attention.head_count", n_head, true, 0, 1, 4096),
    HU("attention.key_length", head_dim_k, false, 0, 1, 1024),
    HU("attention.value_length", head_dim_v, false, 0, 1, 1024),
    HU("attention.q_lora_rank", q_rank, false, 0, 1, 1 << 16),
    HU("attention.kv_lora_rank", kv_rank, false, 0, 1, 1 << 16),
    HU("attention.key_length_mla", key_mla, false, 0, 1, 1024),
    HU("attention.value_length_mla", value_mla, false, 0, 1, 1024),
    HU("context_length", ctx_train, true, 0, 1, 1 << 30),
    HU("rope.dimension_count", n_rot, false, 0, 2, 1024),
    HU("attention.sliding_window", window, false, 0, 0, 1 << 30),
    HU("attention.sliding_window_pattern", window_pattern, false, 0, 0, 1024),
    HU("rope.scaling.original_context_length", orig_ctx, false, 0, 1, 1 << 30),
    HU("expert_count", n_expert, false, 0, 0, LAR_MAX_EXPERTS),
    HU("expert_used_count", n_expert_used, false, 0, 0, LAR_MAX_EXPERTS),
    HU("expert_feed_forward_length", n_ff_expert, false, 0, 1, 1 << 22),
    HU("expert_shared_feed_forward_length", n_ff_shared, false, 0, 1, 1 << 22),
    HU("expert_shared_count", n_expert_shared, false, 0, 0, LAR_MAX_EXPERTS),
    HU("leading_dense_block_count", n_dense_lead, false, 0, 0, 1024),
    HU("expert_group_count", n_expert_group, false, 0, 0, LAR_MAX_EXPERTS),
    HU("expert_group_used_count", n_expert_group_used, false, 0, 0, LAR_MAX_EXPERTS),
    HU("expert_gating_func", expert_gating, false, 0, 0, 3),
    HB("expert_weights_norm", expert_norm),
    HF("expert_weights_scale", expert_scale, false, 1, 0, 1e6),
    HU("shortconv.l_cache", conv_kernel, false, 3, 2, 8),
    HU("ssm.conv_kernel", ssm_conv, false, 4, 2, 8),
    HU("ssm.state_size", ssm_state, false, 0, 1, 256),
    HU("ssm.group_count", ssm_groups, false, 0, 1, 1024),
    HU("ssm.time_step_rank", ssm_heads, false, 0, 1, 1024),
    HU("ssm.inner_size", ssm_inner, false, 0, 1, 1 << 20),
    HU("full_attention_interval", full_every, false, 4, 1, LAR_MAX_LAYERS),
    HF("attention.layer_norm_rms_epsilon", eps, false, -1, 0, 1),
    HF("attention.layer_norm_epsilon", norm_eps, false, -1, 0, 1),
    HB("attention.causal", causal),
    HB("lar.normalize", normalize),
    HU("lar.max_tokens", max_tokens, false, 0, 1, 1 << 30),
    HU("pooling_type", pooling, false, LAR_POOL_UNSAID, LAR_POOL_NONE, LAR_POOL_RANK),
    HF("rope.freq_base", rope_base, false, 10000, 1, 1e12),
    HF("rope.freq_base_swa", rope_base_local, false, 10000, 1, 1e12),
    HF("rope.scaling.factor", rope_factor, false, 0, 0, 1e6),
    HF("rope.scale_linear", rope_scale_linear, false, 0, 0, 1e6),
    HF("rope.scaling.attn_factor", attn_factor, false, 1, 0, 1e3),
    HF("rope.scaling.yarn_ext_factor", yarn_ext, false, 1, -1, 1e3),
    HF("rope.scaling.yarn_attn_factor", yarn_attn, false, 1, -1, 1e3),
    HF("rope.scaling.yarn_beta_fast", yarn_beta_fast, false, 32, 1e-3, 1e6),
    HF("rope.scaling.yarn_beta_slow", yarn_beta_slow, false, 1, 1e-3, 1e6),
    HF("rope.scaling.yarn_log_multiplier", yarn_log_mul, false, 0, 0, 1e3),
    HF("attn_logit_softcapping", attn_softcap, false, 0, 0, 1e6),
    HF("final_logit_softcapping", logit_softcap, false, 0, 0, 1e6),
    HF("embedding_scale", embd_scale, false, 0, 0, 1e6),
    HF("residual_scale", residual_scale, false, 0, 0, 1e6),
    HF("attention.scale", attn_scale, false, 0, 0, 1e6),
    HF("logit_scale", logit_scale, false, 0, 0, 1e6),
#undef HU
#undef HF
#undef HB
    /* clang-format on */
};

static lar_status read_row(const lar_gguf *f, const char *arch, const struct row *r, void *field,
                           lar_err *e)
{
    char key[160];
    uint32_t u = (uint32_t)r->def;
    float x = (float)r->def;
    snprintf(key, sizeof key, "%s.%s", arch, r->key);
    bool on = false;
    lar_status s = r->kind == U32   ? lar_gguf_get_u32(f, key, &u, e)
                   : r->kind == F32 ? lar_gguf_get_f32(f, key, &x, e)
                                    : lar_gguf_get_bool(f, key, &on, e);
    if (r->kind == FLAG && s == LAR_OK) {
        u = on ? 2 : 1;
        memcpy(field, &u, sizeof u);
        return LAR_OK;
    }
    const double v = r->kind == U32 ? (double)u : (double)x;
    if (s == LAR_ENOTFOUND && r->need)
        return lar_fail(e, LAR_EFORMAT, "%s is missing", key);
    if (s != LAR_OK && s != LAR_ENOTFOUND)
        return s;
    if (s == LAR_OK && !(v >= r->min && v <= r->max))
        return lar_fail(e, LAR_EFORMAT, "%s is %g, want %g to %g", key, v, r->min, r->max);
    if (r->kind != F32)
        memcpy(field, &u, sizeof u);
    else
        memcpy(field, &x, sizeof x);
    return LAR_OK;
}

static lar_status read_scaling(const lar_gguf *f, const char *arch, lar_hparams *hp, lar_err *e)
{
    static const char *const known[] = {"none", "linear", "yarn"};
    char key[160];
    lar_str s;
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    hp->rope_scaling = LAR_ROPE_NONE;
    if (hp->rope_factor == 0)
        hp->rope_factor = hp->rope_scale_linear;
    lar_status st = lar_gguf_get_str(f, key, &s, e);
    if (st == LAR_ENOTFOUND) {
        /* A factor without a type is linear, as files before the key have it. */
        if (hp->rope_factor > 0)
            hp->rope_scaling = LAR_ROPE_LINEAR;
    } else if (st != LAR_OK) {
        return st;
    } else {
        size_t i = 0;
        while (i < LAR_LEN(known) && !lar_str_eq(s, known[i]))
            i++;
        if (i == LAR_LEN(known))
            return lar_fail(e, LAR_EUNSUPPORTED, "%s is '%.*s', want none, linear or yarn", key,
                            (int)LAR_MIN(s.n, 40), s.p);
        hp->rope_scaling = (lar_rope_scaling)i;
    }
    if (hp->rope_factor == 0 || hp->rope_factor == 1) {
        hp->rope_factor = 1;
        hp->rope_scaling = hp->rope_scaling == LAR_ROPE_LINEAR ? LAR_ROPE_NONE : hp->rope_scaling;
    }
    return LAR_OK;
}

/* A number, or a list with one for each layer: 0 where there is no attention; the others agree. */
static lar_status read_kv_heads(const lar_gguf *f, const lar_model_def *def, lar_hparams *hp,
                                lar_err *e)
{
    char key[160];
    uint32_t *list = NULL, one = 0;
    size_t n = 0;
    snprintf(key, sizeof key, "%s.attention.head_count_kv", def->arch);
    const lar_gguf_kv *kv = lar_gguf_find(f, key);
    if (!kv)
        return LAR_OK;
    if (kv->type == LAR_GGUF_ARRAY)
        LAR_TRY(lar_gguf_get_u32_array(f, key, &list, &n, e));
    else
        LAR_TRY(lar_gguf_get_u32(f, key, &one, e));
    lar_status s = LAR_OK;
    if (list && n != hp->n_layer)
        s = lar_fail(e, LAR_EFORMAT, "%s has %zu elements for %u layers", key, n, hp->n_layer);
    for (size_t i = 0; i < n && s == LAR_OK; i++) {
        hp->no_attention[i] = list[i] == 0;
        if (!list[i] && (!def->decoder || def->decoder->other_kind != LAR_LAYER_CONV))
            s = lar_fail(e, LAR_EUNSUPPORTED, "%s: none in layer %zu", key, i);
        if (list[i] && one && list[i] != one)
            s = lar_fail(e, LAR_EUNSUPPORTED, "%s: %u and %u, want the same in all layers", key,
                         one, list[i]);
        one = list[i] ? list[i] : one;
    }
    lar_free(list);
    if (s == LAR_OK && (one < 1 || one > 4096))
        return lar_fail(e, LAR_EFORMAT, "%s is %u, want 1 to 4096", key, one);
    hp->n_head_kv = one;
    return s;
}

/* Which layers are delta nets: by a list, else all but every n-th; and their heads. */
static lar_status read_delta(const lar_gguf *f, const char *arch, lar_hparams *hp, lar_err *e)
{
    char key[160];
    uint32_t *list = NULL;
    size_t n = 0;
    snprintf(key, sizeof key, "%s.attention.recurrent_layers", arch);
    const lar_status s = lar_gguf_get_u32_array(f, key, &list, &n, e);
    if (s != LAR_OK && s != LAR_ENOTFOUND)
        return s;
    for (uint32_t i = 0; i < hp->n_layer; i++)
        hp->no_attention[i] = list && i < n ? list[i] != 0 : (i + 1) % hp->full_every != 0;
    lar_free(list);
    if (s == LAR_OK && n != hp->n_layer)
        return lar_fail(e, LAR_EFORMAT, "%s has %zu elements for %u layers", key, n, hp->n_layer);
    if (!hp->ssm_state || !hp->ssm_groups || !hp->ssm_heads || hp->ssm_heads % hp->ssm_groups ||
        !hp->ssm_inner || hp->ssm_inner % hp->ssm_heads)
        return lar_fail(e, LAR_EFORMAT,
                        "%s.ssm: %u key heads of %u, %u heads, %u values: they must divide", arch,
                        hp->ssm_groups, hp->ssm_state, hp->ssm_heads, hp->ssm_inner);
    return LAR_OK;
}

static lar_status finish_experts(const char *arch, lar_hparams *hp, lar_err *e)
{
    if (hp->n_expert && (hp->n_expert_used < 1 || hp->n_expert_used > hp->n_expert))
        return lar_fail(e, LAR_EFORMAT, "%s.expert_used_count is %u of %u experts", arch,
                        hp->n_expert_used, hp->n_expert);
    if (hp->n_expert_group > 1 &&
        (hp->n_expert % hp->n_expert_group || hp->n_expert_group_used < 1 ||
         hp->n_expert_group_used > hp->n_expert_group ||
         hp->n_expert_group_used * (hp->n_expert / hp->n_expert_group) < hp->n_expert_used))
        return lar_fail(
            e, LAR_EFORMAT, "%s: %u of %u experts, of %u of %u groups: too few, or not of one size",
            arch, hp->n_expert_used, hp->n_expert, hp->n_expert_group_used, hp->n_expert_group);
    if (!hp->n_ff && !(hp->n_expert && hp->n_ff_expert))
        return lar_fail(e, LAR_EFORMAT, "%s.feed_forward_length is missing", arch);
    if (!hp->n_ff_expert)
        hp->n_ff_expert = hp->n_ff;
    if (!hp->n_ff_shared)
        hp->n_ff_shared = hp->n_ff_expert * LAR_MAX(1, LAR_MIN(hp->n_expert_shared, 64));
    return LAR_OK;
}

/* Defaults that depend on other fields, and what must fit together. */
static lar_status finish(const lar_model_def *def, lar_hparams *hp, lar_err *e)
{
    const char *arch = def->arch;
    if ((def->encoder ? hp->norm_eps : hp->eps) < 0)
        return lar_fail(e, LAR_EFORMAT, "%s.attention.layer_norm_%sepsilon is missing", arch,
                        def->encoder ? "" : "rms_");
    if (!hp->n_head_kv)
        hp->n_head_kv = hp->n_head;
    if (!hp->head_dim_k) {
        if (hp->n_embd % hp->n_head)
            return lar_fail(e, LAR_EFORMAT,
                            "%s.embedding_length %u does not divide by attention.head_count %u",
                            arch, hp->n_embd, hp->n_head);
        hp->head_dim_k = hp->n_embd / hp->n_head;
    }
    if (!hp->head_dim_v)
        hp->head_dim_v = hp->head_dim_k;
    hp->mla_split = hp->key_mla != 0;
    if (!hp->key_mla)
        hp->key_mla = hp->head_dim_k;
    if (!hp->value_mla)
        hp->value_mla = hp->head_dim_v;
    if (hp->n_head % hp->n_head_kv)
        return lar_fail(e, LAR_EFORMAT,
                        "%s.attention.head_count %u is no multiple of head_count_kv %u", arch,
                        hp->n_head, hp->n_head_kv);
    if (!hp->n_rot)
        hp->n_rot = hp->head_dim_k;
    if (hp->n_rot % 2 || hp->n_rot > hp->head_dim_k)
        return lar_fail(e, LAR_EFORMAT,
                        "%s.rope.dimension_count %u, want an even number up to the head's %u", arch,
                        hp->n_rot, hp->head_dim_k);
    if (!hp->orig_ctx)
        hp->orig_ctx = hp->ctx_train;
    LAR_TRY(finish_experts(arch, hp, e));
    if (hp->rope_scaling == LAR_ROPE_YARN && !(hp->rope_base > 1))
        return lar_fail(e, LAR_EFORMAT, "%s.rope.freq_base %g, want more than 1 for yarn", arch,
                        (double)hp->rope_base);
    return LAR_OK;
}

lar_status lar__hparams_read(const lar_gguf *f, const lar_model_def *def, lar_hparams *hp,
                             lar_err *e)
{
    for (size_t i = 0; i < LAR_LEN(rows); i++)
        LAR_TRY(read_row(f, def->arch, &rows[i], (char *)hp + rows[i].offset, e));
    LAR_TRY(read_kv_heads(f, def, hp, e));
    if (def->decoder && def->decoder->other_kind == LAR_LAYER_DELTA)
        LAR_TRY(read_delta(f, def->arch, hp, e));
    LAR_TRY(read_scaling(f, def->arch, hp, e));
    return finish(def, hp, e);
}
