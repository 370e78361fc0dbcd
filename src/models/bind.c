/*
 * bind.c - weights by a table: name pattern, symbolic shape, when it must or may be there. Tensors
 * stay where the file has them. With the decoders' tables.
 */
#include "models/bind.h"
#include <stdio.h>
#include <string.h>

typedef lar__bind_row row;

enum {
    ATTENTION = LAR_DEC_ATTENTION | LAR_DEC_QKV | LAR_DEC_FUSED_QKV | LAR_DEC_QKV_BIAS |
                LAR_DEC_O_BIAS | LAR_DEC_QK_NORM | LAR_DEC_QK_NORM_ALL | LAR_DEC_QKV_GATE
};

#define NET(name, field, shape, bit, plain)                                                        \
    {                                                                                              \
        name, offsetof(lar_decoder, field), shape, bit, plain                                      \
    }
#define LAY(name, field, shape, bit, plain)                                                        \
    {                                                                                              \
        "blk.%d." name, offsetof(lar_decoder_layer, field), shape, bit, plain                      \
    }
static const row net_rows[] = {
    NET("token_embd.weight", tok_embd, "eV", 0, false),
    NET("output.weight", output.w, "eV", LAR_DEC_OUTPUT, false),
};
static const row layer_rows[] = {
    LAY("attn_norm.weight", attn_norm, "e", LAR_DEC_PRE_NORM | LAR_DEC_POST_AS_PRE, true),
    LAY("attn_qkv.weight", qkv.w, "eQ", LAR_DEC_FUSED_QKV, false),
    LAY("attn_q.weight", q.w, "eq", LAR_DEC_QKV | LAR_DEC_MLA_Q, false),
    LAY("attn_q.weight", q.w, "eG", LAR_DEC_QKV_GATE, false),
    LAY("attn_k.weight", k.w, "ek", LAR_DEC_QKV | LAR_DEC_QKV_GATE, false),
    LAY("attn_v.weight", v.w, "ev", LAR_DEC_QKV | LAR_DEC_QKV_GATE, false),
    LAY("attn_q_a.weight", mla.q_a.w, "ea", LAR_DEC_MLA_Q_RANK, false),
    LAY("attn_q_a_norm.weight", mla.q_norm, "a", LAR_DEC_MLA_Q_RANK, true),
    LAY("attn_q_b.weight", mla.q_b.w, "aq", LAR_DEC_MLA_Q_RANK, false),
    LAY("attn_kv_a_mqa.weight", mla.kv_a.w, "eg", LAR_DEC_MLA, false),
    LAY("attn_kv_a_norm.weight", mla.kv_norm, "b", LAR_DEC_MLA, true),
    LAY("attn_kv_b.weight", mla.kv_b.w, "bw", LAR_DEC_MLA_KV_B, false),
    LAY("attn_k_b.weight", mla.k_b.w, "nbH", LAR_DEC_MLA_SPLIT, false),
    LAY("attn_v_b.weight", mla.v_b.w, "buH", LAR_DEC_MLA_SPLIT, false),
    LAY("attn_sinks.weight", sinks, "H", LAR_DEC_SINKS, true),
    LAY("attn_output.weight", o.w, "oe", LAR_DEC_ATTENTION, false),
    LAY("attn_q.bias", q.b, "q", LAR_DEC_QKV_BIAS, true),
    LAY("attn_k.bias", k.b, "k", LAR_DEC_QKV_BIAS, true),
    LAY("attn_v.bias", v.b, "v", LAR_DEC_QKV_BIAS, true),
    LAY("attn_output.bias", o.b, "e", LAR_DEC_O_BIAS, true),
    LAY("attn_q_norm.weight", q_norm, "h", LAR_DEC_QK_NORM, true),
    LAY("attn_k_norm.weight", k_norm, "h", LAR_DEC_QK_NORM, true),
    LAY("attn_q_norm.weight", q_norm, "q", LAR_DEC_QK_NORM_ALL, true),
    LAY("attn_k_norm.weight", k_norm, "k", LAR_DEC_QK_NORM_ALL, true),
    LAY("post_attention_norm.weight", attn_post_norm, "e", LAR_DEC_POST_NORM, true),
    LAY("ffn_norm.weight", ffn_norm, "e", LAR_DEC_PRE_NORM, true),
    LAY("post_attention_norm.weight", ffn_norm, "e", LAR_DEC_POST_AS_PRE, true),
    LAY("ffn_gate.weight", ffn.gate.w, "ef", LAR_DEC_FFN, false),
    LAY("ffn_up.weight", ffn.up.w, "ef", LAR_DEC_FFN, false),
    LAY("ffn_up.weight", ffn.up.w, "eF", LAR_DEC_FUSED_UP, false),
    LAY("ffn_down.weight", ffn.down.w, "fe", LAR_DEC_FFN | LAR_DEC_FUSED_UP, false),
    LAY("ffn_gate.bias", ffn.gate.b, "f", LAR_DEC_FFN_BIAS, true),
    LAY("ffn_up.bias", ffn.up.b, "f", LAR_DEC_FFN_BIAS, true),
    LAY("ffn_down.bias", ffn.down.b, "e", LAR_DEC_FFN_BIAS, true),
    LAY("post_ffw_norm.weight", ffn_post_norm, "e", LAR_DEC_POST_NORM, true),
    LAY("ffn_gate_inp.weight", moe.router.w, "eE", LAR_DEC_MOE, false),
    LAY("ffn_gate_exps.weight", moe.gate.w, "exE", LAR_DEC_MOE, false),
    LAY("ffn_up_exps.weight", moe.up.w, "exE", LAR_DEC_MOE, false),
    LAY("ffn_down_exps.weight", moe.down.w, "xeE", LAR_DEC_MOE, false),
    LAY("ffn_gate_inp.bias", moe.router.b, "E", LAR_DEC_EXPERT_BIAS, true),
    LAY("ffn_gate_exps.bias", moe.gate.b, "xE", LAR_DEC_EXPERT_BIAS, true),
    LAY("ffn_up_exps.bias", moe.up.b, "xE", LAR_DEC_EXPERT_BIAS, true),
    LAY("ffn_down_exps.bias", moe.down.b, "eE", LAR_DEC_EXPERT_BIAS, true),
    LAY("exp_probs_b.bias", moe.rank_bias, "E", LAR_DEC_MOE_BIAS, true),
    LAY("ffn_gate_shexp.weight", moe.shared.gate.w, "es", LAR_DEC_SHARED, false),
    LAY("ffn_up_shexp.weight", moe.shared.up.w, "es", LAR_DEC_SHARED, false),
    LAY("ffn_down_shexp.weight", moe.shared.down.w, "se", LAR_DEC_SHARED, false),
    LAY("ffn_gate_inp_shexp.weight", moe.shared_gate.w, "e", LAR_DEC_SHARED_GATE, false),
};
static const row conv_rows[] = {
    LAY("shortconv.in_proj.weight", conv.in.w, "eB", 0, false),
    LAY("shortconv.conv.weight", conv.conv, "ce", 0, true),
    LAY("shortconv.out_proj.weight", o.w, "ee", 0, false),
};
static const row delta_rows[] = {
    LAY("attn_qkv.weight", delta.qkv.w, "eD", 0, false),
    LAY("attn_gate.weight", delta.gate.w, "ei", 0, false),
    LAY("ssm_ba.weight", delta.ba.w, "eT", LAR_DEC_DELTA_BA, false),
    LAY("ssm_beta.weight", delta.beta.w, "et", LAR_DEC_DELTA_AB, false),
    LAY("ssm_alpha.weight", delta.alpha.w, "et", LAR_DEC_DELTA_AB, false),
    LAY("ssm_conv1d.weight", delta.conv, "dD", 0, true),
    LAY("ssm_dt.bias", delta.dt, "t", 0, true),
    LAY("ssm_a", delta.rate, "t", 0, true),
    LAY("ssm_norm.weight", delta.norm, "j", 0, true),
    LAY("ssm_out.weight", o.w, "ie", 0, false),
};
static const struct {
    const row *rows;
    size_t n;
} kind_rows[] = {[LAR_LAYER_ATTENTION] = {NULL, 0},
                 [LAR_LAYER_CONV] = {conv_rows, LAR_LEN(conv_rows)},
                 [LAR_LAYER_DELTA] = {delta_rows, LAR_LEN(delta_rows)}};
static const row rope_rows[] = {
    {"rope_freqs.weight", 0, "r", LAR_DEC_ROPE_FREQS, true},
    {"rope_factors_short.weight", 0, "r", LAR_DEC_LONG_ROPE, true},
    {"rope_factors_long.weight", 0, "r", LAR_DEC_LONG_ROPE, true},
};

static int64_t symbol(const lar_hparams *hp, char c)
{
    switch (c) {
    case 'e':
        return hp->n_embd;
    case 'q':
        return (int64_t)hp->n_head * hp->key_mla;
    case 'k':
        return (int64_t)hp->n_head_kv * hp->head_dim_k;
    case 'v':
        return (int64_t)hp->n_head_kv * hp->head_dim_v;
    case 'o':
        return (int64_t)hp->n_head * hp->value_mla;
    case 'f':
        return hp->n_ff;
    case 'h':
        return hp->head_dim_k;
    case 'r':
        return hp->n_rot / 2;
    case 'V':
        return hp->n_vocab;
    case 'Q':
        return symbol(hp, 'q') + symbol(hp, 'k') + symbol(hp, 'v');
    case 'F':
        return 2 * (int64_t)hp->n_ff;
    case 'E':
        return hp->n_expert;
    case 'x':
        return hp->n_ff_expert;
    case 's':
        return hp->n_ff_shared;
    case 'c':
        return hp->conv_kernel;
    case 'B':
        return 3 * (int64_t)hp->n_embd;
    case 'H':
        return hp->n_head;
    case 'p':
        return hp->ctx_train;
    case 'a':
        return hp->q_rank;
    case 'b':
        return hp->kv_rank;
    case 'g':
        return (int64_t)hp->kv_rank + hp->n_rot;
    case 'n':
        return (int64_t)hp->key_mla - hp->n_rot;
    case 'u':
        return hp->value_mla;
    case 'w':
        return hp->n_head * (symbol(hp, 'n') + symbol(hp, 'u'));
    case 'G':
        return 2 * symbol(hp, 'q');
    case 'd':
        return hp->ssm_conv;
    case 'i':
        return hp->ssm_inner;
    case 'j':
        return hp->ssm_inner / LAR_MAX(1, hp->ssm_heads);
    case 't':
        return hp->ssm_heads;
    case 'T':
        return 2 * (int64_t)hp->ssm_heads;
    case 'D':
        return 2 * (int64_t)hp->ssm_groups * hp->ssm_state + hp->ssm_inner;
    }
    return 0;
}

static lar_status check_type(const lar_gguf_tensor *t, const char *name, bool plain, lar_err *e)
{
    static const bool has_kernels[LAR_N_DTYPES] = {
#define FORMAT(x) [LAR_DT_##x] = true,
#include "quant/formats.def"
#undef FORMAT
    };
    if (plain && t->type != LAR_DTYPE(f32))
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: type %s, want f32", name, t->type->name);
    if (has_kernels[lar_dtype_index(t->type)])
        return LAR_OK;
    lar_buf known = {0};
    for (int i = 0; i < LAR_N_DTYPES; i++)
        if (has_kernels[i])
            lar_buf_printf(&known, " %s", lar_dtypes[i].name);
    lar_fail(e, LAR_EUNSUPPORTED, "%s: type %s has no kernels yet, want one of:%s", name,
             t->type->name, known.p ? known.p : "");
    lar_buf_free(&known);
    return LAR_EUNSUPPORTED;
}

static lar_status check_shape(const lar_net *n, const lar_gguf_tensor *t, const char *name,
                              const char *shape, lar_err *e)
{
    int64_t want[LAR_MAX_DIM] = {1, 1, 1, 1};
    for (int i = 0; shape[i]; i++)
        want[i] = shape[i] == '*' ? t->dim[i] : symbol(&n->hp, shape[i]);
    if (memcmp(want, t->dim, sizeof want) == 0)
        return LAR_OK;
    return lar_fail(e, LAR_EFORMAT, "%s: shape [%lld,%lld,%lld,%lld], want [%lld,%lld,%lld,%lld]",
                    name, (long long)t->dim[0], (long long)t->dim[1], (long long)t->dim[2],
                    (long long)t->dim[3], (long long)want[0], (long long)want[1],
                    (long long)want[2], (long long)want[3]);
}

static int layer_kind(const lar_net *n, int layer)
{
    return n->hp.no_attention[layer] ? n->def->decoder->other_kind : LAR_LAYER_ATTENTION;
}

/* What the layer's tensors must be: layers with experts have no feed-forward of their own, only
 * those of attention have its weights. */
static unsigned layer_has(const lar_net *n, int layer)
{
    const unsigned experts = LAR_DEC_SHARED | LAR_DEC_SHARED_GATE | LAR_DEC_EXPERT_BIAS;
    unsigned has = n->def->decoder->has | LAR_DEC_ATTENTION;
    if (layer_kind(n, layer) != LAR_LAYER_ATTENTION)
        has &= ~(unsigned)ATTENTION;
    if (has & LAR_DEC_MLA)
        has |= (n->hp.q_rank ? LAR_DEC_MLA_Q_RANK : LAR_DEC_MLA_Q) |
               (n->hp.mla_split ? LAR_DEC_MLA_SPLIT : LAR_DEC_MLA_KV_B);
    return n->hp.n_expert && layer >= (int)n->hp.n_dense_lead
               ? (has & ~(unsigned)LAR_DEC_FFN) | LAR_DEC_MOE
               : has & ~experts;
}

static unsigned layer_may(const lar_net *n, int layer)
{
    const unsigned may = n->def->decoder->may;
    return layer_kind(n, layer) == LAR_LAYER_ATTENTION ? may : may & ~(unsigned)ATTENTION;
}

lar_status lar__bind_row_to(lar__binder *b, const row *r, int layer, lar_tensor **out, lar_err *e)
{
    lar_net *n = b->n;
    char name[96];
    snprintf(name, sizeof name, r->name, layer);
    const lar_gguf_tensor *t = lar_gguf_find_tensor(b->f, name);
    if (r->bit && !((b->has | b->may) & r->bit))
        return LAR_OK; /* if it is there all the same, check_unused finds it */
    *out = NULL;
    if (!t) {
        if (r->bit && !(b->has & r->bit))
            return LAR_OK;
        return lar_fail(e, LAR_EFORMAT, "tensor %s is missing", name);
    }
    LAR_TRY(check_shape(n, t, name, r->shape, e));
    LAR_TRY(check_type(t, name, r->plain, e));
    if ((uintptr_t)t->data % 4)
        return lar_fail(e, LAR_EFORMAT, "%s: data at an address that is no multiple of 4", name);
    lar_tensor *y = lar_arena_alloc(n->arena, sizeof *y);
    char *copy = lar_arena_strdup(n->arena, name, strlen(name));
    if (!y || !copy)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", name);
    y->type = t->type;
    y->shared = true;
    y->name = copy;
    y->data = (void *)(uintptr_t)t->data; /* mapped read-only; ops never write to sources */
    memcpy(y->dim, t->dim, sizeof y->dim);
    y->stride[0] = t->type->bytes;
    y->stride[1] = lar_row_bytes(t->type, y->dim[0]);
    for (int d = 2; d < LAR_MAX_DIM; d++)
        y->stride[d] = y->stride[d - 1] * (size_t)y->dim[d - 1];
    n->weight_bytes += t->bytes;
    n->n_params += (uint64_t)lar_count(y);
    *out = y;
    b->bound[t - lar_gguf_tensor_at(b->f, 0)] = true;
    return LAR_OK;
}

static lar_status check_factors(const lar_net *n, const lar_tensor *t, lar_err *e)
{
    for (uint32_t i = 0; t && t->data && i < n->hp.n_rot / 2; i++) {
        const float x = ((const float *)t->data)[i];
        if (!(x > 0 && x < 1e6f))
            return lar_fail(e, LAR_EFORMAT, "%s[%u] is %g, want a factor above 0", t->name, i,
                            (double)x);
    }
    return LAR_OK;
}

lar_status lar__bind_rope(lar_net *n, bool local, lar_rope r, lar_tensor **out, float *mscale,
                          lar_err *e)
{
    const lar_hparams *hp = &n->hp;
    r.n_rot = (int)hp->n_rot;
    r.scaling = local ? LAR_ROPE_NONE : hp->rope_scaling;
    r.base = (double)(local ? hp->rope_base_local : hp->rope_base);
    r.factor = (double)hp->rope_factor;
    r.orig_ctx = hp->orig_ctx;
    r.beta_fast = (double)hp->yarn_beta_fast;
    r.beta_slow = (double)hp->yarn_beta_slow;
    r.ext_factor = hp->yarn_ext < 0 ? 1 : (double)hp->yarn_ext;
    r.attn_factor =
        local ? 1 : (double)hp->attn_factor * (hp->yarn_attn < 0 ? 1 : (double)hp->yarn_attn);
    lar_tensor *t = lar_arena_alloc(n->arena, sizeof *t);
    double *freq = lar_arena_array(n->arena, hp->n_rot / 2, sizeof *freq);
    if (!t || !freq)
        return lar_fail(e, LAR_ENOMEM, "rope: out of memory");
    lar_rope_frequencies(&r, freq, mscale);
    *t = (lar_tensor){.type = LAR_DTYPE(f64),
                      .shared = true,
                      .dim = {hp->n_rot / 2, 1, 1, 1},
                      .data = freq,
                      .name = "inv_freq"};
    t->stride[0] = sizeof *freq;
    for (int i = 1; i < LAR_MAX_DIM; i++)
        t->stride[i] = (size_t)(hp->n_rot / 2) * sizeof *freq;
    *out = t;
    return LAR_OK;
}

lar_status lar__bind_rows(lar__binder *b, const row *rows, size_t n_rows, int layer, void *fields,
                          lar_err *e)
{
    for (size_t i = 0; i < n_rows; i++)
        LAR_TRY(lar__bind_row_to(b, &rows[i], layer,
                                 (lar_tensor **)(void *)((char *)fields + rows[i].offset), e));
    return LAR_OK;
}

/* A layer's tensor that nothing reads means layers or parts that would be left out of every answer.
 * Others (rope tables of old converters, say) are only counted. */
static lar_status check_unused(lar__binder *b, lar_err *e)
{
    lar_net *n = b->n;
    for (size_t i = 0; i < lar_gguf_n_tensors(b->f); i++) {
        const lar_str name = lar_gguf_tensor_at(b->f, i)->name;
        if (b->bound[i])
            continue;
        if (name.n > 4 && memcmp(name.p, "blk.", 4) == 0)
            return lar_fail(
                e, LAR_EUNSUPPORTED,
                "tensor %.*s: architecture %s has no use for it, the answer would be wrong",
                (int)LAR_MIN(name.n, 80), name.p, n->def->arch);
        n->n_ignored++;
    }
    return LAR_OK;
}

lar_status lar__bind(lar_net *n, const lar_gguf *f, lar_status (*all)(lar__binder *b, lar_err *e),
                     lar_err *e)
{
    lar__binder b = {.n = n, .f = f};
    const lar_gguf_tensor *embd = lar_gguf_find_tensor(f, "token_embd.weight");
    if (!embd)
        return lar_fail(e, LAR_EFORMAT, "tensor token_embd.weight is missing");
    if (embd->dim[1] > 1 << 24)
        return lar_fail(e, LAR_EFORMAT, "token_embd.weight: %lld rows, want at most 2^24",
                        (long long)embd->dim[1]);
    n->hp.n_vocab = (uint32_t)embd->dim[1];
    b.bound = lar_alloc_array(lar_gguf_n_tensors(f), sizeof *b.bound);
    lar_status s = b.bound ? all(&b, e) : lar_fail(e, LAR_ENOMEM, "model: out of memory");
    if (s == LAR_OK)
        s = check_unused(&b, e);
    lar_free(b.bound);
    return s;
}

/* ---- decoders ---------------------------------------------------------------------------------
 */

static lar_status add_rope(lar_net *n, int which, const lar_tensor *factors, lar_err *e)
{
    lar_decoder *d = &n->dec;
    const lar_rope r = {.neox = d->spec->neox,
                        .yarn_exact = d->spec->yarn_exact,
                        .yarn_scores = (d->spec->has & LAR_DEC_MLA) && n->hp.yarn_log_mul != 0,
                        .freq_factors = factors ? factors->data : NULL};
    return lar__bind_rope(n, which == LAR_ROPE_LOCAL, r, &d->inv_freq[which], &d->mscale[which], e);
}

static lar_status bind_rope(lar__binder *b, lar_err *e)
{
    lar_net *n = b->n;
    lar_tensor *factors[LAR_LEN(rope_rows)] = {NULL}; /* of all contexts; short ones; long ones */
    for (size_t i = 0; i < LAR_LEN(rope_rows); i++) {
        LAR_TRY(lar__bind_row_to(b, &rope_rows[i], 0, &factors[i], e));
        LAR_TRY(check_factors(n, factors[i], e));
    }
    if (!factors[1] != !factors[2])
        return lar_fail(e, LAR_EFORMAT, "tensor %s is missing", rope_rows[factors[1] ? 2 : 1].name);
    LAR_TRY(add_rope(n, LAR_ROPE_GLOBAL, factors[1] ? factors[1] : factors[0], e));
    n->dec.long_from = (int)LAR_MIN(n->hp.orig_ctx, 1u << 30);
    if (factors[2])
        LAR_TRY(add_rope(n, LAR_ROPE_LONG, factors[2], e));
    return n->dec.spec->local_rope ? add_rope(n, LAR_ROPE_LOCAL, NULL, e) : LAR_OK;
}

static void set_scalars(lar_net *n)
{
    const lar_hparams *hp = &n->hp;
    lar_decoder *d = &n->dec;
    d->spec = n->def->decoder;
    d->n_layer = (int)hp->n_layer;
    d->n_embd = (int)hp->n_embd;
    d->n_head = (int)hp->n_head;
    d->n_head_kv = (int)hp->n_head_kv;
    d->head_dim_k = (int)hp->head_dim_k;
    d->head_dim_v = (int)hp->head_dim_v;
    d->n_rot = (int)hp->n_rot;
    d->head_nope = (int)hp->key_mla - (int)hp->n_rot;
    d->eps = hp->eps;
    d->attn_scale =
        hp->attn_scale != 0 ? hp->attn_scale : 1.0f / __builtin_sqrtf((float)hp->key_mla);
    d->attn_softcap = hp->attn_softcap;
    d->logit_softcap = hp->logit_softcap;
    d->embd_scale = hp->embd_scale != 0         ? hp->embd_scale
                    : d->spec->scale_embeddings ? __builtin_sqrtf((float)hp->n_embd)
                                                : 1;
    d->residual_scale = hp->residual_scale != 0 ? hp->residual_scale : 1;
    d->logit_scale = hp->logit_scale != 0 ? 1 / hp->logit_scale : 1;
    d->route =
        (lar_route_param){.n_used = (int32_t)hp->n_expert_used,
                          .n_group = (int32_t)hp->n_expert_group,
                          .n_group_used = (int32_t)hp->n_expert_group_used,
                          .group_top = hp->expert_gating == 2 ? 2 : 1,
                          .sigmoid = hp->expert_gating == 2,
                          .norm = hp->expert_norm ? hp->expert_norm == 2
                                                  : d->spec->moe_norm || hp->expert_gating == 3,
                          .scale = hp->expert_scale};
}

/* The rows that follow are of a layer, or (0) of none. */
static void at_layer(lar__binder *b, int layer)
{
    b->has = layer_has(b->n, layer);
    b->may = layer_may(b->n, layer);
}

static void set_delta(const lar_net *n, lar_delta *m)
{
    const lar_hparams *hp = &n->hp;
    m->n_head_k = (int)hp->ssm_groups;
    m->n_head_v = (int)hp->ssm_heads;
    m->dim_k = (int)hp->ssm_state;
    m->dim_v = (int)(hp->ssm_inner / LAR_MAX(1, hp->ssm_heads));
    m->tiled = m->alpha.w != NULL; /* as files with two weights have them */
}

/* The cache's heads of latent attention: one of latents, or all that there are. */
static lar_status check_mla(const lar_net *n, lar_err *e)
{
    const lar_hparams *hp = &n->hp;
    const bool split = hp->mla_split;
    if (!(n->def->decoder->has & LAR_DEC_MLA))
        return LAR_OK;
    if (!hp->kv_rank)
        return lar_fail(e, LAR_EFORMAT, "%s.attention.kv_lora_rank is missing", n->def->arch);
    if (hp->n_rot >= hp->key_mla || hp->n_head_kv != (split ? 1 : hp->n_head) ||
        (split && (hp->head_dim_k != symbol(hp, 'g') || hp->head_dim_v != hp->kv_rank)))
        return lar_fail(e, LAR_EFORMAT,
                        "%s: %u key heads of %u and %u for keys of %u with %u rotated and latents "
                        "of %u",
                        n->def->arch, hp->n_head_kv, hp->head_dim_k, hp->head_dim_v, hp->key_mla,
                        hp->n_rot, hp->kv_rank);
    return LAR_OK;
}

static lar_status bind_all(lar__binder *b, lar_err *e)
{
    lar_net *n = b->n;
    lar_decoder *d = &n->dec;
    const row last =
        NET(d->spec->out_norm ? d->spec->out_norm : "output_norm.weight", out_norm, "e", 0, true);
    LAR_TRY(check_mla(n, e));
    at_layer(b, 0);
    LAR_TRY(lar__bind_rows(b, net_rows, LAR_LEN(net_rows), 0, d, e));
    LAR_TRY(lar__bind_rows(b, &last, 1, 0, d, e));
    if (!d->output.w)
        d->output.w = d->tok_embd;
    d->layer = lar_arena_array(n->arena, n->hp.n_layer, sizeof *d->layer);
    if (!d->layer)
        return lar_fail(e, LAR_ENOMEM, "out of memory for %u layers", n->hp.n_layer);
    for (int l = 0; l < d->n_layer; l++) {
        const int kind = d->layer[l].kind = layer_kind(n, l);
        at_layer(b, l);
        LAR_TRY(lar__bind_rows(b, layer_rows, LAR_LEN(layer_rows), l, &d->layer[l], e));
        LAR_TRY(lar__bind_rows(b, kind_rows[kind].rows, kind_rows[kind].n, l, &d->layer[l], e));
        set_delta(n, &d->layer[l].delta);
        if (d->layer[l].moe.rank_bias && !d->route.sigmoid)
            return lar_fail(e, LAR_EUNSUPPORTED, "%s: want experts that are ranked by sigmoids",
                            d->layer[l].moe.rank_bias->name);
        const int every = n->hp.window_pattern ? (int)n->hp.window_pattern : d->spec->global_every;
        d->layer[l].ffn.fused = (d->spec->has & LAR_DEC_FUSED_UP) != 0;
        d->layer[l].no_rope = d->spec->no_rope_every && (l + 1) % d->spec->no_rope_every == 0;
        d->layer[l].window = every && (l + 1) % every == 0 ? 0 : (int)n->hp.window;
    }
    at_layer(b, 0);
    return bind_rope(b, e);
}

lar_status lar__decoder_bind(lar_net *n, const lar_gguf *f, lar_err *e)
{
    set_scalars(n);
    LAR_TRY(lar__bind(n, f, bind_all, e));
    if (n->def->adjust)
        n->def->adjust(f, &n->hp, &n->dec);
    return LAR_OK;
}
