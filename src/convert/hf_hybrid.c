/* hf_hybrid.c - families whose layers are not all attention (see hf_models.c): lfm2, qwen3_next,
 * qwen3_5. */
#include "convert/hf.h"
#include <math.h>

#define L "model.layers.%."

static const lar_hf_key lfm2_keys[] = {
    {"norm_eps", "attention.layer_norm_rms_epsilon", 'f', true},
    {"conv_L_cache", "shortconv.l_cache", 'u', true},
};
static const lar_hf_tensor lfm2_tensors[] = {
    {"model.embedding_norm.weight", "token_embd_norm.weight", LAR_HF_COPY},
    {L "operator_norm.weight", "blk.%.attn_norm.weight", LAR_HF_COPY},
    {L "ffn_norm.weight", "blk.%.ffn_norm.weight", LAR_HF_COPY},
    {L "self_attn.q_layernorm.weight", "blk.%.attn_q_norm.weight", LAR_HF_COPY},
    {L "self_attn.k_layernorm.weight", "blk.%.attn_k_norm.weight", LAR_HF_COPY},
    {L "self_attn.out_proj.weight", "blk.%.attn_output.weight", LAR_HF_COPY},
    {L "conv.in_proj.weight", "blk.%.shortconv.in_proj.weight", LAR_HF_COPY},
    {L "conv.conv.weight", "blk.%.shortconv.conv.weight", LAR_HF_CONV},
    {L "conv.out_proj.weight", "blk.%.shortconv.out_proj.weight", LAR_HF_COPY},
    {L "feed_forward.w1.weight", "blk.%.ffn_gate.weight", LAR_HF_COPY},
    {L "feed_forward.w2.weight", "blk.%.ffn_down.weight", LAR_HF_COPY},
    {L "feed_forward.w3.weight", "blk.%.ffn_up.weight", LAR_HF_COPY},
};

/* The feed-forward's width is worked out from four numbers. */
static lar_status lfm2_width(const lar_hf *h, uint32_t *out, lar_err *e)
{
    double n = 0, times = 1, multiple = 256;
    LAR_TRY(lar_hf_number(h->text, "block_ff_dim|intermediate_size", &n, e));
    if (!json_is_false(json_object_get(h->text, "block_auto_adjust_ff_dim"))) {
        lar_status s = lar_hf_number(h->text, "block_ffn_dim_multiplier", &times, e);
        if (s == LAR_OK || s == LAR_ENOTFOUND)
            s = lar_hf_number(h->text, "block_multiple_of", &multiple, e);
        if (s != LAR_OK && s != LAR_ENOTFOUND)
            return s;
        n = floor(times * floor(2 * n / 3));
        n = multiple >= 1 ? multiple * ceil(n / multiple) : 0;
    }
    if (!(n >= 1 && n <= 1 << 22))
        return lar_fail(e, LAR_EFORMAT, "config.json: a feed-forward %g wide, want 1 to 2^22", n);
    *out = (uint32_t)n;
    return LAR_OK;
}

static lar_status lfm2_extra(lar_hf *h, lar_err *e)
{
    uint32_t *heads, width = 0;
    LAR_TRY(lfm2_width(h, &width, e));
    LAR_TRY(lar_hf_layers(h, "full_attention", &heads, e));
    for (int64_t i = 0; i < h->n_layer; i++)
        heads[i] *= (uint32_t)h->n_head_kv;
    lar_hf_put_u32(h, "feed_forward_length", width);
    lar_hf_put_u32s(h, "attention.head_count_kv", heads, (size_t)h->n_layer);
    lar_free(heads);
    return LAR_OK;
}
const lar_hf_def lar_hf_def_lfm2 = {.model_types = "lfm2",
                                    .arch = "lfm2",
                                    LAR_HF_KEYS(lfm2_keys),
                                    LAR_HF_TENSORS(lfm2_tensors),
                                    .extra = lfm2_extra};

/* ---- qwen3_next -------------------------------------------------------------------------------
 */

#define D L "linear_attn."
#define DELTA_KEYS                                                                                 \
    {"linear_conv_kernel_dim", "ssm.conv_kernel", 'u', true},                                      \
        {"linear_key_head_dim", "ssm.state_size", 'u', true},                                      \
        {"linear_num_key_heads", "ssm.group_count", 'u', true},                                    \
    {                                                                                              \
        "linear_num_value_heads", "ssm.time_step_rank", 'u', true                                  \
    }
#define EXPERT_KEYS                                                                                \
    {"num_experts", "expert_count", 'u', true},                                                    \
        {"num_experts_per_tok", "expert_used_count", 'u', true},                                   \
        {"moe_intermediate_size", "expert_feed_forward_length", 'u', true},                        \
        {"shared_expert_intermediate_size", "expert_shared_feed_forward_length", 'u', true},       \
    {                                                                                              \
        "intermediate_size|shared_expert_intermediate_size", "feed_forward_length", 'u', true      \
    }
/* Norms to which the model adds 1. */
#define NORMS                                                                                      \
    {"model.norm.weight", "output_norm.weight", LAR_HF_ADD1},                                      \
        {L "input_layernorm.weight", "blk.%.attn_norm.weight", LAR_HF_ADD1},                       \
        {L "post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", LAR_HF_ADD1},    \
        {L "self_attn.q_norm.weight", "blk.%.attn_q_norm.weight", LAR_HF_ADD1},                    \
    {                                                                                              \
        L "self_attn.k_norm.weight", "blk.%.attn_k_norm.weight", LAR_HF_ADD1                       \
    }
#define EXPERTS                                                                                    \
    {L "mlp.gate.weight", "blk.%.ffn_gate_inp.weight", LAR_HF_COPY},                               \
        {L "mlp.experts.#.gate_proj.weight", "blk.%.ffn_gate_exps.weight", LAR_HF_COPY},           \
        {L "mlp.experts.#.up_proj.weight", "blk.%.ffn_up_exps.weight", LAR_HF_COPY},               \
        {L "mlp.experts.#.down_proj.weight", "blk.%.ffn_down_exps.weight", LAR_HF_COPY},           \
        {L "mlp.experts.gate_up_proj", "blk.%.ffn_gate_exps.weight", LAR_HF_FIRST_HALF},           \
        {L "mlp.experts.gate_up_proj", "blk.%.ffn_up_exps.weight", LAR_HF_LAST_HALF},              \
        {L "mlp.experts.down_proj", "blk.%.ffn_down_exps.weight", LAR_HF_COPY},                    \
        {L "mlp.shared_expert.gate_proj.weight", "blk.%.ffn_gate_shexp.weight", LAR_HF_COPY},      \
        {L "mlp.shared_expert.up_proj.weight", "blk.%.ffn_up_shexp.weight", LAR_HF_COPY},          \
        {L "mlp.shared_expert.down_proj.weight", "blk.%.ffn_down_shexp.weight", LAR_HF_COPY},      \
    {                                                                                              \
        L "mlp.shared_expert_gate.weight", "blk.%.ffn_gate_inp_shexp.weight", LAR_HF_COPY          \
    }
/* What the two ways to lay out a delta net have in common. */
#define DELTA                                                                                      \
    {D "conv1d.weight", "blk.%.ssm_conv1d.weight", LAR_HF_CONV},                                   \
        {D "dt_bias", "blk.%.ssm_dt.bias", LAR_HF_DELTA_HEAD},                                     \
        {D "A_log", "blk.%.ssm_a", LAR_HF_NEG_EXP},                                                \
        {D "norm.weight", "blk.%.ssm_norm.weight", LAR_HF_COPY},                                   \
    {                                                                                              \
        D "out_proj.weight", "blk.%.ssm_out.weight", LAR_HF_DELTA_OUT                              \
    }
#define SPLIT                                                                                      \
    {D "in_proj_qkv.weight", "blk.%.attn_qkv.weight", LAR_HF_DELTA_QKV},                           \
        {D "in_proj_z.weight", "blk.%.attn_gate.weight", LAR_HF_DELTA_V},                          \
        {D "in_proj_b.weight", "blk.%.ssm_beta.weight", LAR_HF_DELTA_HEAD},                        \
    {                                                                                              \
        D "in_proj_a.weight", "blk.%.ssm_alpha.weight", LAR_HF_DELTA_HEAD                          \
    }
static const lar_hf_key qwen3_next_keys[] = {
    EXPERT_KEYS, DELTA_KEYS, {"norm_topk_prob", "expert_weights_norm", 'b', false}};
static const lar_hf_tensor qwen3_next_tensors[] = {
    NORMS,
    EXPERTS,
    DELTA,
    {D "in_proj_qkvz.weight", "blk.%.attn_qkv.weight", LAR_HF_GROUPED_QKV},
    {D "in_proj_qkvz.weight", "blk.%.attn_gate.weight", LAR_HF_GROUPED_Z},
    {D "in_proj_ba.weight", "blk.%.ssm_ba.weight", LAR_HF_COPY},
};
static const lar_hf_key qwen3_5_keys[] = {DELTA_KEYS};
static const lar_hf_tensor qwen3_5_tensors[] = {NORMS, DELTA, SPLIT};
static const lar_hf_key qwen3_5_moe_keys[] = {EXPERT_KEYS, DELTA_KEYS};
static const lar_hf_tensor qwen3_5_moe_tensors[] = {NORMS, EXPERTS, DELTA, SPLIT};

/* Which layers are delta nets: one in `every` is not, or a list says. */
static lar_status put_delta_layers(lar_hf *h, lar_err *e)
{
    uint32_t *is = NULL;
    double every = 4;
    const lar_status s = lar_hf_number(h->text, "full_attention_interval", &every, e);
    if (s != LAR_OK && s != LAR_ENOTFOUND)
        return s;
    if (!(every >= 1 && every <= 1024) || every != floor(every))
        return lar_fail(e, LAR_EFORMAT, "config.json: full_attention_interval %g", every);
    lar_hf_put_u32(h, "full_attention_interval", (uint32_t)every);
    if (!lar_hf_get(h->text, "layer_types"))
        return LAR_OK;
    LAR_TRY(lar_hf_layers(h, "linear_attention", &is, e));
    lar_hf_put_bools(h, "attention.recurrent_layers", is, (size_t)h->n_layer);
    lar_free(is);
    return LAR_OK;
}

static lar_status qwen3_next_extra(lar_hf *h, lar_err *e)
{
    const json_t *dense = lar_hf_get(h->text, "mlp_only_layers");
    double step = 1;
    const lar_status s = lar_hf_number(h->text, "decoder_sparse_step", &step, e);
    if (s != LAR_OK && s != LAR_ENOTFOUND)
        return s;
    if (json_array_size(dense) || step != 1)
        return lar_fail(e, LAR_EUNSUPPORTED, "config.json: layers without experts");
    LAR_TRY(lar_hf_whole(h, "linear_num_key_heads", 1, 1024, &h->delta.keys, e));
    LAR_TRY(lar_hf_whole(h, "linear_num_value_heads", 1, 1024, &h->delta.heads, e));
    LAR_TRY(lar_hf_whole(h, "linear_key_head_dim", 1, 256, &h->delta.dim_k, e));
    LAR_TRY(lar_hf_whole(h, "linear_value_head_dim", 1, 256, &h->delta.dim_v, e));
    if (h->delta.heads % h->delta.keys)
        return lar_fail(e, LAR_EFORMAT, "config.json: %lld heads of values for %lld of keys",
                        (long long)h->delta.heads, (long long)h->delta.keys);
    lar_hf_put_u32(h, "ssm.inner_size", (uint32_t)(h->delta.heads * h->delta.dim_v));
    return put_delta_layers(h, e);
}
const lar_hf_def lar_hf_def_qwen3_next = {.model_types = "qwen3_next",
                                          .arch = "qwen3next",
                                          .act = "silu",
                                          .skip = "mtp.",
                                          LAR_HF_KEYS(qwen3_next_keys),
                                          LAR_HF_TENSORS(qwen3_next_tensors),
                                          .extra = qwen3_next_extra};

/* Positions in text, height and width; of text all three are the same, and the sections without
 * effect, but other readers want them. */
static lar_status qwen3_5_extra(lar_hf *h, lar_err *e)
{
    int32_t sections[4] = {11, 11, 10, 0};
    const json_t *list = lar_hf_get(h->text, "rope_parameters.mrope_section");
    for (size_t i = 0; i < json_array_size(list) && i < LAR_LEN(sections); i++)
        sections[i] = (int32_t)json_integer_value(json_array_get(list, i));
    lar_hf_put_i32s(h, "rope.dimension_sections", sections, LAR_LEN(sections));
    h->delta.tiled = true;
    return qwen3_next_extra(h, e);
}
const lar_hf_def lar_hf_def_qwen3_5 = {.model_types = "qwen3_5_text",
                                       .arch = "qwen35",
                                       .act = "silu",
                                       .skip = "mtp.|model.visual.",
                                       .long_prefix = "model.language_model.",
                                       LAR_HF_KEYS(qwen3_5_keys),
                                       LAR_HF_TENSORS(qwen3_5_tensors),
                                       .extra = qwen3_5_extra};
const lar_hf_def lar_hf_def_qwen3_5_moe = {.model_types = "qwen3_5_moe_text",
                                           .arch = "qwen35moe",
                                           .act = "silu",
                                           .skip = "mtp.|model.visual.",
                                           .long_prefix = "model.language_model.",
                                           LAR_HF_KEYS(qwen3_5_moe_keys),
                                           LAR_HF_TENSORS(qwen3_5_moe_tensors),
                                           .extra = qwen3_5_extra};
