/*
 * hf_encoders.c - families of encoders: what their config.json and tensors are called in GGUF
 * (hf_models.c has the decoders).
 */
#include "convert/hf.h"
#include <string.h>

/* A setting that no GGUF key says: it must be what LAR and others take for granted. */
static lar_status want(const lar_hf *h, const char *names, const char *value, lar_err *e)
{
    const json_t *v = lar_hf_get(h->text, names);
    if (!v || (json_is_string(v) && strcmp(json_string_value(v), value) == 0))
        return LAR_OK;
    return lar_fail(e, LAR_EUNSUPPORTED, "config.json: %s is '%.40s', want '%s'", names,
                    json_is_string(v) ? json_string_value(v) : "no text", value);
}

static lar_status put_types(lar_hf *h, lar_err *e)
{
    double n = 0;
    const lar_status s = lar_hf_number(h->text, "type_vocab_size", &n, e);
    if (s == LAR_OK && n > 0 && n < 1 << 16)
        lar_gguf_put_u32(h->w, "tokenizer.ggml.token_type_count", (uint32_t)n);
    return s == LAR_ENOTFOUND ? LAR_OK : s;
}

/* ---- bert -------------------------------------------------------------------------------------
 */

static const lar_hf_key bert_keys[] = {
    {"layer_norm_eps|layer_norm_epsilon", "attention.layer_norm_epsilon", 'f', true},
};

#define L "bert.encoder.layer.%."
static const lar_hf_tensor bert_tensors[] = {
    {"bert.embeddings.word_embeddings.weight", "token_embd.weight", LAR_HF_COPY},
    {"bert.embeddings.position_embeddings.weight", "position_embd.weight", LAR_HF_F32},
    {"bert.embeddings.token_type_embeddings.weight", "token_types.weight", LAR_HF_F32},
    {"bert.embeddings.LayerNorm.weight", "token_embd_norm.weight", LAR_HF_COPY},
    {"bert.embeddings.LayerNorm.bias", "token_embd_norm.bias", LAR_HF_COPY},
    {"bert.embeddings.position_ids", NULL, LAR_HF_SKIP},
    {L "attention.self.query.weight", "blk.%.attn_q.weight", LAR_HF_COPY},
    {L "attention.self.query.bias", "blk.%.attn_q.bias", LAR_HF_COPY},
    {L "attention.self.key.weight", "blk.%.attn_k.weight", LAR_HF_COPY},
    {L "attention.self.key.bias", "blk.%.attn_k.bias", LAR_HF_COPY},
    {L "attention.self.value.weight", "blk.%.attn_v.weight", LAR_HF_COPY},
    {L "attention.self.value.bias", "blk.%.attn_v.bias", LAR_HF_COPY},
    {L "attention.output.dense.weight", "blk.%.attn_output.weight", LAR_HF_COPY},
    {L "attention.output.dense.bias", "blk.%.attn_output.bias", LAR_HF_COPY},
    {L "attention.output.LayerNorm.weight", "blk.%.attn_output_norm.weight", LAR_HF_COPY},
    {L "attention.output.LayerNorm.bias", "blk.%.attn_output_norm.bias", LAR_HF_COPY},
    {L "intermediate.dense.weight", "blk.%.ffn_up.weight", LAR_HF_COPY},
    {L "intermediate.dense.bias", "blk.%.ffn_up.bias", LAR_HF_COPY},
    {L "output.dense.weight", "blk.%.ffn_down.weight", LAR_HF_COPY},
    {L "output.dense.bias", "blk.%.ffn_down.bias", LAR_HF_COPY},
    {L "output.LayerNorm.weight", "blk.%.layer_output_norm.weight", LAR_HF_COPY},
    {L "output.LayerNorm.bias", "blk.%.layer_output_norm.bias", LAR_HF_COPY},
    /* heads that embeddings do not pass */
    {"bert.pooler.dense.weight", NULL, LAR_HF_SKIP},
    {"bert.pooler.dense.bias", NULL, LAR_HF_SKIP},
    {"cls.predictions.bias", NULL, LAR_HF_SKIP},
    {"cls.predictions.transform.dense.weight", NULL, LAR_HF_SKIP},
    {"cls.predictions.transform.dense.bias", NULL, LAR_HF_SKIP},
    {"cls.predictions.transform.LayerNorm.weight", NULL, LAR_HF_SKIP},
    {"cls.predictions.transform.LayerNorm.bias", NULL, LAR_HF_SKIP},
    {"cls.predictions.decoder.weight", NULL, LAR_HF_SKIP},
    {"cls.predictions.decoder.bias", NULL, LAR_HF_SKIP},
    {"cls.seq_relationship.weight", NULL, LAR_HF_SKIP},
    {"cls.seq_relationship.bias", NULL, LAR_HF_SKIP},
};
#undef L

static lar_status bert_extra(lar_hf *h, lar_err *e)
{
    LAR_TRY(want(h, "position_embedding_type", "absolute", e));
    return put_types(h, e);
}
const lar_hf_def lar_hf_def_bert = {.model_types = "bert",
                                    .arch = "bert",
                                    .act = "gelu",
                                    .prefix = "bert.",
                                    .encoder = true,
                                    LAR_HF_KEYS(bert_keys),
                                    LAR_HF_TENSORS(bert_tensors),
                                    .extra = bert_extra};

/* ---- nomic-bert -------------------------------------------------------------------------------
 */

/* As transformers names them, then as the model's own first files do. */
#define L "nomic_bert.layers.%."
#define O "nomic_bert.encoder.layers.%."
static const lar_hf_tensor nomic_tensors[] = {
    {"nomic_bert.embeddings.word_embeddings.weight", "token_embd.weight", LAR_HF_COPY},
    {"nomic_bert.embeddings.token_type_embeddings.weight", "token_types.weight", LAR_HF_F32},
    {"nomic_bert.embeddings.LayerNorm.weight", "token_embd_norm.weight", LAR_HF_COPY},
    {"nomic_bert.embeddings.LayerNorm.bias", "token_embd_norm.bias", LAR_HF_COPY},
    {L "self_attn.q_proj.weight", "blk.%.attn_q.weight", LAR_HF_COPY},
    {L "self_attn.k_proj.weight", "blk.%.attn_k.weight", LAR_HF_COPY},
    {L "self_attn.v_proj.weight", "blk.%.attn_v.weight", LAR_HF_COPY},
    {L "self_attn.o_proj.weight", "blk.%.attn_output.weight", LAR_HF_COPY},
    {L "post_attention_layernorm.weight", "blk.%.attn_output_norm.weight", LAR_HF_COPY},
    {L "post_attention_layernorm.bias", "blk.%.attn_output_norm.bias", LAR_HF_COPY},
    {L "mlp.gate_proj.weight", "blk.%.ffn_gate.weight", LAR_HF_COPY},
    {L "mlp.up_proj.weight", "blk.%.ffn_up.weight", LAR_HF_COPY},
    {L "mlp.down_proj.weight", "blk.%.ffn_down.weight", LAR_HF_COPY},
    {L "post_mlp_layernorm.weight", "blk.%.layer_output_norm.weight", LAR_HF_COPY},
    {L "post_mlp_layernorm.bias", "blk.%.layer_output_norm.bias", LAR_HF_COPY},
    {"nomic_bert.emb_ln.weight", "token_embd_norm.weight", LAR_HF_COPY},
    {"nomic_bert.emb_ln.bias", "token_embd_norm.bias", LAR_HF_COPY},
    {O "attn.Wqkv.weight", "blk.%.attn_qkv.weight", LAR_HF_COPY},
    {O "attn.out_proj.weight", "blk.%.attn_output.weight", LAR_HF_COPY},
    {O "norm1.weight", "blk.%.attn_output_norm.weight", LAR_HF_COPY},
    {O "norm1.bias", "blk.%.attn_output_norm.bias", LAR_HF_COPY},
    {O "mlp.fc12.weight", "blk.%.ffn_gate.weight", LAR_HF_COPY},
    {O "mlp.fc11.weight", "blk.%.ffn_up.weight", LAR_HF_COPY},
    {O "mlp.fc2.weight", "blk.%.ffn_down.weight", LAR_HF_COPY},
    {O "norm2.weight", "blk.%.layer_output_norm.weight", LAR_HF_COPY},
    {O "norm2.bias", "blk.%.layer_output_norm.bias", LAR_HF_COPY},
};
#undef L
#undef O

static lar_status nomic_extra(lar_hf *h, lar_err *e)
{
    static const char *const off[] = {"prenorm", "rotary_emb_interleaved", "qkv_proj_bias",
                                      "mlp_fc1_bias", "mlp_fc2_bias"};
    LAR_TRY(want(h, "activation_function", "swiglu", e));
    for (size_t i = 0; i < LAR_LEN(off); i++)
        if (json_is_true(json_object_get(h->text, off[i])))
            return lar_fail(e, LAR_EUNSUPPORTED, "config.json: %s is true, want false", off[i]);
    return put_types(h, e);
}
const lar_hf_def lar_hf_def_nomic_bert = {.model_types = "nomic_bert",
                                          .arch = "nomic-bert",
                                          .act = "silu",
                                          .prefix = "nomic_bert.",
                                          .encoder = true,
                                          .rope = true,
                                          LAR_HF_KEYS(bert_keys),
                                          LAR_HF_TENSORS(nomic_tensors),
                                          .extra = nomic_extra};

/* ---- modern-bert ------------------------------------------------------------------------------
 */

static const lar_hf_key modern_keys[] = {
    {"norm_eps", "attention.layer_norm_epsilon", 'f', true},
    {"local_attention", "attention.sliding_window", 'u', true},
    {"local_rope_theta|rope_parameters.sliding_attention.rope_theta", "rope.freq_base_swa", 'f',
     false},
};

#define L "model.layers.%."
static const lar_hf_tensor modern_tensors[] = {
    {"model.embeddings.tok_embeddings.weight", "token_embd.weight", LAR_HF_COPY},
    {"model.embeddings.norm.weight", "token_embd_norm.weight", LAR_HF_COPY},
    {"model.final_norm.weight", "output_norm.weight", LAR_HF_COPY},
    {L "attn_norm.weight", "blk.%.attn_norm.weight", LAR_HF_COPY},
    {L "attn.Wqkv.weight", "blk.%.attn_qkv.weight", LAR_HF_COPY},
    {L "attn.Wo.weight", "blk.%.attn_output.weight", LAR_HF_COPY},
    {L "mlp_norm.weight", "blk.%.ffn_norm.weight", LAR_HF_COPY},
    {L "mlp.Wi.weight", "blk.%.ffn_up.weight", LAR_HF_COPY},
    {L "mlp.Wo.weight", "blk.%.ffn_down.weight", LAR_HF_COPY},
    {"head.dense.weight", NULL, LAR_HF_SKIP},
    {"head.norm.weight", NULL, LAR_HF_SKIP},
    {"decoder.weight", NULL, LAR_HF_SKIP},
    {"decoder.bias", NULL, LAR_HF_SKIP},
};
#undef L

/* Every n-th layer sees all: said by a number, or layer by layer. */
static lar_status modern_extra(lar_hf *h, lar_err *e)
{
    double every = 0;
    const json_t *types = json_object_get(h->text, "layer_types");
    const lar_status s = lar_hf_number(h->text, "global_attn_every_n_layers", &every, e);
    LAR_TRY(s == LAR_ENOTFOUND ? LAR_OK : s);
    for (size_t i = 1; i < json_array_size(types) && every == 0; i++)
        if (strcmp(lar_hf_text(json_array_get(types, i)), "full_attention") == 0)
            every = (double)i;
    if (every == 0 && types)
        every = (double)h->n_layer;
    for (size_t i = 0; i < json_array_size(types); i++)
        if ((strcmp(lar_hf_text(json_array_get(types, i)), "full_attention") == 0) !=
            (i % (size_t)LAR_MAX(every, 1) == 0))
            return lar_fail(e, LAR_EUNSUPPORTED,
                            "config.json: layer_types, want every n-th layer to see all");
    if (every >= 1 && every <= 1024)
        lar_hf_put_u32(h, "attention.sliding_window_pattern", (uint32_t)every);
    return LAR_OK;
}
const lar_hf_def lar_hf_def_modernbert = {.model_types = "modernbert",
                                          .arch = "modern-bert",
                                          .act = "gelu",
                                          .encoder = true,
                                          .rope = true,
                                          LAR_HF_KEYS(modern_keys),
                                          LAR_HF_TENSORS(modern_tensors),
                                          .extra = modern_extra};
