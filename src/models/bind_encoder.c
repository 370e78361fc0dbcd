/* bind_encoder.c - encoders' weights: their tables, and what follows from the file. */
#include "models/bind.h"

#define NET(name, field, shape, bit, plain)                                                        \
    {                                                                                              \
        name, offsetof(lar_encoder, field), shape, bit, plain                                      \
    }
#define LAY(name, field, shape, bit, plain)                                                        \
    {                                                                                              \
        "blk.%d." name, offsetof(lar_encoder_layer, field), shape, bit, plain                      \
    }
static const lar__bind_row net_rows[] = {
    NET("token_embd.weight", tok_embd, "eV", 0, false),
    NET("position_embd.weight", pos_embd, "ep", LAR_ENC_POSITIONS, false),
    NET("token_types.weight", type_embd, "e*", LAR_ENC_TYPES, true),
    NET("token_embd_norm.weight", embd_norm.w, "e", LAR_ENC_EMBD_NORM, true),
    NET("token_embd_norm.bias", embd_norm.b, "e", LAR_ENC_NORM_BIAS, true),
    NET("output_norm.weight", out_norm.w, "e", LAR_ENC_PRE_NORM, true),
};
static const lar__bind_row layer_rows[] = {
    LAY("attn_norm.weight", attn_norm.w, "e", LAR_ENC_FIRST_NORM, true),
    LAY("attn_qkv.weight", qkv.w, "eQ", LAR_ENC_FUSED_QKV, false),
    LAY("attn_q.weight", q.w, "eq", LAR_ENC_QKV, false),
    LAY("attn_k.weight", k.w, "ek", LAR_ENC_QKV, false),
    LAY("attn_v.weight", v.w, "ev", LAR_ENC_QKV, false),
    LAY("attn_output.weight", o.w, "oe", 0, false),
    LAY("attn_qkv.bias", qkv.b, "Q", LAR_ENC_BIAS, true),
    LAY("attn_q.bias", q.b, "q", LAR_ENC_BIAS, true),
    LAY("attn_k.bias", k.b, "k", LAR_ENC_BIAS, true),
    LAY("attn_v.bias", v.b, "v", LAR_ENC_BIAS, true),
    LAY("attn_output.bias", o.b, "e", LAR_ENC_BIAS, true),
    LAY("attn_output_norm.weight", attn_post_norm.w, "e", LAR_ENC_POST_NORM, true),
    LAY("attn_output_norm.bias", attn_post_norm.b, "e", LAR_ENC_POST_NORM, true),
    LAY("ffn_norm.weight", ffn_norm.w, "e", LAR_ENC_PRE_NORM, true),
    LAY("ffn_gate.weight", ffn.gate.w, "ef", LAR_ENC_GATE, false),
    LAY("ffn_up.weight", ffn.up.w, "ef", LAR_ENC_FFN, false),
    LAY("ffn_up.weight", ffn.up.w, "eF", LAR_ENC_FUSED_UP, false),
    LAY("ffn_down.weight", ffn.down.w, "fe", 0, false),
    LAY("ffn_up.bias", ffn.up.b, "f", LAR_ENC_BIAS, true),
    LAY("ffn_down.bias", ffn.down.b, "e", LAR_ENC_BIAS, true),
    LAY("layer_output_norm.weight", out_norm.w, "e", LAR_ENC_POST_NORM, true),
    LAY("layer_output_norm.bias", out_norm.b, "e", LAR_ENC_POST_NORM, true),
};

/* Either what is fused or its three parts. */
static lar_status check_qkv(const lar_encoder_layer *y, int layer, lar_err *e)
{
    const lar_tensor *const parts[] = {y->q.w, y->k.w, y->v.w};
    for (int i = 0; !y->qkv.w && i < 3; i++)
        if (!parts[i])
            return lar_fail(e, LAR_EFORMAT, "tensor blk.%d.attn_%c.weight is missing", layer,
                            "qkv"[i]);
    return LAR_OK;
}

static lar_status bind_layer(lar__binder *b, int l, lar_err *e)
{
    const lar_net *n = b->n;
    const lar_encoder_spec *spec = n->enc.spec;
    lar_encoder_layer *y = &n->enc.layer[l];
    const int every = n->hp.window_pattern ? (int)n->hp.window_pattern : spec->global_every;
    if (spec->has & LAR_ENC_PRE_NORM) /* the first layer reads what the embeddings' norm gave */
        *(l ? &b->has : &b->may) |= LAR_ENC_FIRST_NORM;
    LAR_TRY(lar__bind_rows(b, layer_rows, LAR_LEN(layer_rows), l, y, e));
    LAR_TRY(check_qkv(y, l, e));
    y->ffn.fused = (spec->has & LAR_ENC_FUSED_UP) != 0;
    /* The file's window counts both sides. */
    y->window = n->hp.window && every && l % every ? (int)n->hp.window / 2 + 1 : 0;
    return LAR_OK;
}

static lar_status bind_all(lar__binder *b, lar_err *e)
{
    lar_net *n = b->n;
    const lar_hparams *hp = &n->hp;
    const lar_rope neox = {.neox = true};
    lar_encoder *m = &n->enc;
    m->spec = n->def->encoder;
    m->n_layer = (int)hp->n_layer;
    m->n_head = (int)hp->n_head;
    m->head_dim = (int)hp->head_dim_k;
    m->n_rot = (int)hp->n_rot;
    m->eps = hp->norm_eps;
    m->attn_scale = 1.0f / __builtin_sqrtf((float)hp->head_dim_k);
    if (hp->n_head_kv != hp->n_head || hp->head_dim_v != hp->head_dim_k)
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: %u heads of %u, of keys %u of %u; want the same",
                        n->def->arch, hp->n_head, hp->head_dim_k, hp->n_head_kv, hp->head_dim_v);
    b->has = m->spec->has;
    b->may = m->spec->may;
    LAR_TRY(lar__bind_rows(b, net_rows, LAR_LEN(net_rows), 0, m, e));
    m->layer = lar_arena_array(n->arena, hp->n_layer, sizeof *m->layer);
    if (!m->layer)
        return lar_fail(e, LAR_ENOMEM, "out of memory for %u layers", hp->n_layer);
    for (int l = 0; l < m->n_layer; l++)
        LAR_TRY(bind_layer(b, l, e));
    if (m->spec->rope)
        LAR_TRY(lar__bind_rope(n, false, neox, &m->inv_freq[0], &m->mscale[0], e));
    return m->spec->local_rope ? lar__bind_rope(n, true, neox, &m->inv_freq[1], &m->mscale[1], e)
                               : LAR_OK;
}

lar_status lar__encoder_bind(lar_net *n, const lar_gguf *f, lar_err *e)
{
    return lar__bind(n, f, bind_all, e);
}
