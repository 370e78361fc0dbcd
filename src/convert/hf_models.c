/*
 * hf_models.c - families of models: what their config.json and tensors are called in GGUF. Names
 * as the field's GGUF files have them (llama.cpp, gguf-py/gguf/constants.py and tensor_mapping.py).
 */
#include "convert/hf.h"
#include <math.h>
#include <string.h>

#define HF(x) extern const lar_hf_def lar_hf_def_##x;
#include "convert/hf_models.def"
#undef HF
const lar_hf_def *const lar_hf_defs[] = {
#define HF(x) &lar_hf_def_##x,
#include "convert/hf_models.def"
#undef HF
};
const int lar_n_hf_defs = (int)LAR_LEN(lar_hf_defs);

#define L "model.layers.%."
#define SWITCH_EXPERTS(mlp)                                                                        \
    {L mlp ".experts.#.gate_proj.weight", "blk.%.ffn_gate_exps.weight", LAR_HF_COPY},              \
        {L mlp ".experts.#.up_proj.weight", "blk.%.ffn_up_exps.weight", LAR_HF_COPY},              \
    {                                                                                              \
        L mlp ".experts.#.down_proj.weight", "blk.%.ffn_down_exps.weight", LAR_HF_COPY             \
    }

/* ---- llama, mistral, mixtral ------------------------------------------------------------------
 */

static const lar_hf_key llama_keys[] = {
    {"num_local_experts", "expert_count", 'u', false},
    {"num_experts_per_tok", "expert_used_count", 'u', false},
};
static const lar_hf_tensor llama_tensors[] = {
    {L "block_sparse_moe.gate.weight", "blk.%.ffn_gate_inp.weight", LAR_HF_COPY},
    {L "block_sparse_moe.experts.#.w1.weight", "blk.%.ffn_gate_exps.weight", LAR_HF_COPY},
    {L "block_sparse_moe.experts.#.w3.weight", "blk.%.ffn_up_exps.weight", LAR_HF_COPY},
    {L "block_sparse_moe.experts.#.w2.weight", "blk.%.ffn_down_exps.weight", LAR_HF_COPY},
};
const lar_hf_def lar_hf_def_llama = {.model_types = "llama|mistral|mixtral",
                                     .arch = "llama",
                                     .act = "silu",
                                     .pairs = true,
                                     LAR_HF_KEYS(llama_keys),
                                     LAR_HF_TENSORS(llama_tensors)};

/* Every fourth layer or so has no RoPE; the file's reader knows which by its default. */
static lar_status smollm3_extra(lar_hf *h, lar_err *e)
{
    double every = 4;
    const lar_status s = lar_hf_number(h->text, "no_rope_layer_interval", &every, e);
    if (s != LAR_OK && s != LAR_ENOTFOUND)
        return s;
    const json_t *list = json_object_get(h->text, "no_rope_layers");
    for (size_t i = 0; i < json_array_size(list); i++)
        if ((json_integer_value(json_array_get(list, i)) != 0) != ((i + 1) % 4 != 0))
            return lar_fail(e, LAR_EUNSUPPORTED,
                            "config.json: no_rope_layers, want every fourth layer without");
    return every == 4 ? LAR_OK
                      : lar_fail(e, LAR_EUNSUPPORTED,
                                 "config.json: no_rope_layer_interval %g, want 4", every);
}
const lar_hf_def lar_hf_def_smollm3 = {.model_types = "smollm3",
                                       .arch = "smollm3",
                                       .act = "silu",
                                       .pairs = true,
                                       .extra = smollm3_extra};

/* ---- qwen -------------------------------------------------------------------------------------
 */

const lar_hf_def lar_hf_def_qwen2 = {.model_types = "qwen2", .arch = "qwen2"};
const lar_hf_def lar_hf_def_qwen3 = {.model_types = "qwen3", .arch = "qwen3"};

static const lar_hf_key qwen_moe_keys[] = {
    {"num_experts|num_local_experts", "expert_count", 'u', true},
    {"num_experts_per_tok", "expert_used_count", 'u', true},
    {"moe_intermediate_size", "expert_feed_forward_length", 'u', true},
    {"shared_expert_intermediate_size", "expert_shared_feed_forward_length", 'u', false},
};
static const lar_hf_tensor qwen_moe_tensors[] = {
    {L "mlp.gate.weight", "blk.%.ffn_gate_inp.weight", LAR_HF_COPY},
    SWITCH_EXPERTS("mlp"),
    {L "mlp.shared_expert.gate_proj.weight", "blk.%.ffn_gate_shexp.weight", LAR_HF_COPY},
    {L "mlp.shared_expert.up_proj.weight", "blk.%.ffn_up_shexp.weight", LAR_HF_COPY},
    {L "mlp.shared_expert.down_proj.weight", "blk.%.ffn_down_shexp.weight", LAR_HF_COPY},
    {L "mlp.shared_expert_gate.weight", "blk.%.ffn_gate_inp_shexp.weight", LAR_HF_COPY},
};
const lar_hf_def lar_hf_def_qwen2_moe = {.model_types = "qwen2_moe",
                                         .arch = "qwen2moe",
                                         .act = "silu",
                                         LAR_HF_KEYS(qwen_moe_keys),
                                         LAR_HF_TENSORS(qwen_moe_tensors)};
const lar_hf_def lar_hf_def_qwen3_moe = {.model_types = "qwen3_moe",
                                         .arch = "qwen3moe",
                                         .act = "silu",
                                         LAR_HF_KEYS(qwen_moe_keys),
                                         LAR_HF_TENSORS(qwen_moe_tensors)};

/* ---- phi3 -------------------------------------------------------------------------------------
 */

static const lar_hf_key phi3_keys[] = {
    {"original_max_position_embeddings", "rope.scaling.original_context_length", 'u', false},
};
static const lar_hf_tensor phi3_tensors[] = {
    {L "self_attn.qkv_proj.weight", "blk.%.attn_qkv.weight", LAR_HF_COPY},
    {L "mlp.gate_up_proj.weight", "blk.%.ffn_up.weight", LAR_HF_COPY},
};
const lar_hf_def lar_hf_def_phi3 = {.model_types = "phi3",
                                    .arch = "phi3",
                                    .act = "silu",
                                    LAR_HF_KEYS(phi3_keys),
                                    LAR_HF_TENSORS(phi3_tensors)};

/* ---- gemma ------------------------------------------------------------------------------------
 */

static const lar_hf_key gemma_keys[] = {
    {"attn_logit_softcapping", "attn_logit_softcapping", 'f', false},
    {"final_logit_softcapping", "final_logit_softcapping", 'f', false},
    {"rope_local_base_freq|rope_parameters.sliding_attention.rope_theta", "rope.freq_base_swa", 'f',
     false},
};
static const lar_hf_tensor gemma_tensors[] = {
    {L "post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", LAR_HF_ADD1},
    {L "pre_feedforward_layernorm.weight", "blk.%.ffn_norm.weight", LAR_HF_ADD1},
    {L "post_feedforward_layernorm.weight", "blk.%.post_ffw_norm.weight", LAR_HF_ADD1},
    {"lm_head.weight", NULL, LAR_HF_SKIP}, /* the embeddings are the head */
};
const lar_hf_def lar_hf_def_gemma2 = {.model_types = "gemma2",
                                      .arch = "gemma2",
                                      .act = "gelu_pytorch_tanh",
                                      .norm_add1 = true,
                                      LAR_HF_KEYS(gemma_keys),
                                      LAR_HF_TENSORS(gemma_tensors)};
const lar_hf_def lar_hf_def_gemma3 = {.model_types = "gemma3_text",
                                      .arch = "gemma3",
                                      .act = "gelu_pytorch_tanh",
                                      .norm_add1 = true,
                                      LAR_HF_KEYS(gemma_keys),
                                      LAR_HF_TENSORS(gemma_tensors)};

/* ---- olmo2, granite ---------------------------------------------------------------------------
 */

static const lar_hf_tensor olmo2_tensors[] = {
    {L "post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", LAR_HF_COPY},
    {L "post_feedforward_layernorm.weight", "blk.%.post_ffw_norm.weight", LAR_HF_COPY},
};
const lar_hf_def lar_hf_def_olmo2 = {
    .model_types = "olmo2", .arch = "olmo2", .act = "silu", LAR_HF_TENSORS(olmo2_tensors)};

static const lar_hf_key granite_keys[] = {
    {"embedding_multiplier", "embedding_scale", 'f', false},
    {"residual_multiplier", "residual_scale", 'f', false},
    {"attention_multiplier", "attention.scale", 'f', false},
    {"logits_scaling", "logit_scale", 'f', false},
};
const lar_hf_def lar_hf_def_granite = {.model_types = "granite",
                                       .arch = "granite",
                                       .act = "silu",
                                       .pairs = true,
                                       LAR_HF_KEYS(granite_keys)};

/* ---- deepseek ---------------------------------------------------------------------------------
 */

static const lar_hf_key deepseek_keys[] = {
    {"", "attention.head_count_kv", 'u', false}, /* these three: deepseek() */
    {"", "attention.key_length", 'u', false},
    {"", "attention.value_length", 'u', false},
    {"q_lora_rank", "attention.q_lora_rank", 'u', false},
    {"kv_lora_rank", "attention.kv_lora_rank", 'u', true},
    {"v_head_dim", "attention.value_length_mla", 'u', true},
    {"n_routed_experts", "expert_count", 'u', true},
    {"num_experts_per_tok", "expert_used_count", 'u', true},
    {"moe_intermediate_size", "expert_feed_forward_length", 'u', true},
    {"n_shared_experts", "expert_shared_count", 'u', true},
    {"first_k_dense_replace", "leading_dense_block_count", 'u', true},
    {"routed_scaling_factor", "expert_weights_scale", 'f', false},
    {"norm_topk_prob", "expert_weights_norm", 'b', false},
};
static const lar_hf_tensor deepseek_tensors[] = {
    {L "self_attn.q_a_proj.weight", "blk.%.attn_q_a.weight", LAR_HF_COPY},
    {L "self_attn.q_a_layernorm.weight", "blk.%.attn_q_a_norm.weight", LAR_HF_COPY},
    {L "self_attn.q_b_proj.weight", "blk.%.attn_q_b.weight", LAR_HF_COPY},
    {L "self_attn.kv_a_proj_with_mqa.weight", "blk.%.attn_kv_a_mqa.weight", LAR_HF_COPY},
    {L "self_attn.kv_a_layernorm.weight", "blk.%.attn_kv_a_norm.weight", LAR_HF_COPY},
    {L "self_attn.kv_b_proj.weight", "blk.%.attn_k_b.weight", LAR_HF_KEY_B},
    {L "self_attn.kv_b_proj.weight", "blk.%.attn_v_b.weight", LAR_HF_VALUE_B},
    {L "mlp.gate.weight", "blk.%.ffn_gate_inp.weight", LAR_HF_COPY},
    {L "mlp.gate.e_score_correction_bias", "blk.%.exp_probs_b.bias", LAR_HF_COPY},
    SWITCH_EXPERTS("mlp"),
    {L "mlp.shared_experts.gate_proj.weight", "blk.%.ffn_gate_shexp.weight", LAR_HF_COPY},
    {L "mlp.shared_experts.up_proj.weight", "blk.%.ffn_up_shexp.weight", LAR_HF_COPY},
    {L "mlp.shared_experts.down_proj.weight", "blk.%.ffn_down_shexp.weight", LAR_HF_COPY},
};

static lar_status want(const lar_hf *h, const char *name, double wanted, lar_err *e)
{
    double x = wanted;
    const lar_status s = lar_hf_number(h->text, name, &x, e);
    if (s != LAR_OK && s != LAR_ENOTFOUND)
        return s;
    return x == wanted
               ? LAR_OK
               : lar_fail(e, LAR_EUNSUPPORTED, "config.json: %s %g, want %g", name, x, wanted);
}

/* The cache of latent attention has one head: the latent and the rotated part of the key. */
static lar_status deepseek(lar_hf *h, bool sigmoid, bool groups, lar_err *e)
{
    int64_t rot, rank, n_group = 1, used = 1;
    double more = 0;
    LAR_TRY(lar_hf_whole(h, "qk_nope_head_dim", 1, 1024, &h->key_nope, e));
    LAR_TRY(lar_hf_whole(h, "qk_rope_head_dim", 2, 1024, &rot, e));
    LAR_TRY(lar_hf_whole(h, "v_head_dim", 1, 1024, &h->value_dim, e));
    LAR_TRY(lar_hf_whole(h, "kv_lora_rank", 1, 1 << 16, &rank, e));
    LAR_TRY(want(h, "moe_layer_freq", 1, e));
    h->head_dim = rot;
    lar_hf_put_u32(h, "attention.head_count_kv", 1);
    lar_hf_put_u32(h, "attention.key_length", (uint32_t)(rank + rot));
    lar_hf_put_u32(h, "attention.value_length", (uint32_t)rank);
    lar_hf_put_u32(h, "attention.key_length_mla", (uint32_t)(h->key_nope + rot));
    lar_hf_put_u32(h, "expert_gating_func", sigmoid ? 2 : 1);
    if (groups) {
        LAR_TRY(lar_hf_whole(h, "n_group", 1, 4096, &n_group, e));
        LAR_TRY(lar_hf_whole(h, "topk_group", 1, 4096, &used, e));
    }
    if (n_group > 1) {
        lar_hf_put_u32(h, "expert_group_count", (uint32_t)n_group);
        lar_hf_put_u32(h, "expert_group_used_count", (uint32_t)used);
    }
    const lar_status s =
        lar_hf_number(h->text, "num_nextn_predict_layers|num_mtp_layers", &more, e);
    h->n_left_out = more > 0 && more < 1024 ? (int64_t)more : 0;
    return s == LAR_ENOTFOUND ? LAR_OK : s;
}

static lar_status deepseek_v2_extra(lar_hf *h, lar_err *e)
{
    const json_t *method = lar_hf_get(h->text, "topk_method");
    const char *s = method ? json_string_value(method) : "greedy";
    if (!s || (strcmp(s, "greedy") != 0 && strcmp(s, "group_limited_greedy") != 0))
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "config.json: topk_method %.40s, want greedy or group_limited_greedy",
                        s ? s : "is no text");
    return deepseek(h, false, strcmp(s, "greedy") != 0, e);
}

static lar_status deepseek_v3_extra(lar_hf *h, lar_err *e)
{
    if (json_is_false(lar_hf_get(h->text, "rope_interleave")))
        return lar_fail(e, LAR_EUNSUPPORTED, "config.json: rope_interleave false, want true");
    return deepseek(h, true, true, e);
}
const lar_hf_def lar_hf_def_deepseek_v2 = {.model_types = "deepseek_v2",
                                           .arch = "deepseek2",
                                           .act = "silu",
                                           .yarn_scores = true,
                                           LAR_HF_KEYS(deepseek_keys),
                                           LAR_HF_TENSORS(deepseek_tensors),
                                           .extra = deepseek_v2_extra};
const lar_hf_def lar_hf_def_deepseek_v3 = {.model_types = "deepseek_v3",
                                           .arch = "deepseek2",
                                           .act = "silu",
                                           .yarn_scores = true,
                                           LAR_HF_KEYS(deepseek_keys),
                                           LAR_HF_TENSORS(deepseek_tensors),
                                           .extra = deepseek_v3_extra};

/* ---- gpt-oss ----------------------------------------------------------------------------------
 */

static const lar_hf_key gpt_oss_keys[] = {
    {"num_local_experts|num_experts", "expert_count", 'u', true},
    {"num_experts_per_tok|experts_per_token", "expert_used_count", 'u', true},
    {"intermediate_size", "expert_feed_forward_length", 'u', true},
};
#define EXPERTS L "mlp.experts."
static const lar_hf_tensor gpt_oss_tensors[] = {
    {L "self_attn.sinks", "blk.%.attn_sinks.weight", LAR_HF_COPY},
    {L "post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", LAR_HF_COPY},
    {L "mlp.router.weight", "blk.%.ffn_gate_inp.weight", LAR_HF_COPY},
    {L "mlp.router.bias", "blk.%.ffn_gate_inp.bias", LAR_HF_COPY},
    {EXPERTS "gate_up_proj", "blk.%.ffn_gate_exps.weight", LAR_HF_EVEN},
    {EXPERTS "gate_up_proj", "blk.%.ffn_up_exps.weight", LAR_HF_ODD},
    {EXPERTS "gate_up_proj_blocks", "blk.%.ffn_gate_exps.weight", LAR_HF_EVEN},
    {EXPERTS "gate_up_proj_blocks", "blk.%.ffn_up_exps.weight", LAR_HF_ODD},
    {EXPERTS "gate_up_proj_scales", NULL, LAR_HF_SKIP}, /* read with the blocks */
    {EXPERTS "gate_up_proj_bias", "blk.%.ffn_gate_exps.bias", LAR_HF_EVEN},
    {EXPERTS "gate_up_proj_bias", "blk.%.ffn_up_exps.bias", LAR_HF_ODD},
    {EXPERTS "down_proj", "blk.%.ffn_down_exps.weight", LAR_HF_TRANSPOSE},
    {EXPERTS "down_proj_blocks", "blk.%.ffn_down_exps.weight", LAR_HF_COPY},
    {EXPERTS "down_proj_scales", NULL, LAR_HF_SKIP},
    {EXPERTS "down_proj_bias", "blk.%.ffn_down_exps.bias", LAR_HF_COPY},
};

static lar_status gpt_oss_extra(lar_hf *h, lar_err *e)
{
    const json_t *types = lar_hf_get(h->text, "layer_types");
    LAR_TRY(want(h, "swiglu_limit", 7, e));
    LAR_TRY(want(h, "swiglu_alpha", 1.702, e));
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *s = json_string_value(json_array_get(types, i));
        if (!s || strcmp(s, i % 2 ? "full_attention" : "sliding_attention") != 0)
            return lar_fail(e, LAR_EUNSUPPORTED,
                            "config.json: layer_types, want every other with a window");
    }
    return LAR_OK;
}
const lar_hf_def lar_hf_def_gpt_oss = {.model_types = "gpt_oss",
                                       .arch = "gpt-oss",
                                       .act = "silu",
                                       .yarn_exact = true,
                                       LAR_HF_KEYS(gpt_oss_keys),
                                       LAR_HF_TENSORS(gpt_oss_tensors),
                                       .extra = gpt_oss_extra};
