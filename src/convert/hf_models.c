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
