/* hf_hybrid.c - families whose layers are not all attention (see hf_models.c): lfm2. */
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
