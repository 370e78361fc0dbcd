/* decoder.c - the decoder loop: norm, attention, norm, feed-forward. Vaswani et al. 2017, pre-norm.
 */
#include "nn/decoder.h"

static lar_tensor *rotate(const lar_decoder *d, const lar_build *b, lar_tensor *t, lar_tensor *rope)
{
    return lar_node(b->g, LAR_OPDEF(rope), (lar_tensor *[]){t, rope}, 2,
                    &(lar_rope_param){.n_rot = d->n_rot, .neox = d->spec->neox});
}

/* Norm and RoPE of t [head_dim, heads, T]. */
static lar_tensor *turn(const lar_decoder *d, const lar_build *b, lar_tensor *t, lar_tensor *norm,
                        lar_tensor *rope)
{
    t = norm ? lar_nn_rms_norm(b->g, t, norm, d->eps) : t;
    return rope ? rotate(d, b, t, rope) : t;
}

/* Q, K and V come out of one product; each part is seen as [head_dim, heads, T]. */
static lar_tensor *heads(const lar_decoder *d, const lar_build *b, lar_tensor *qkv, int64_t first,
                         int64_t n, int dim, lar_tensor *norm, lar_tensor *rope)
{
    lar_graph *g = b->g;
    lar_tensor *t = lar_slice(g, qkv, first, n * dim);
    if (norm && norm->dim[0] == n * dim && n > 1)
        return turn(d, b, lar_split0(g, lar_nn_rms_norm(g, t, norm, d->eps), dim), NULL, rope);
    return turn(d, b, lar_split0(g, t, dim), norm, rope);
}

/* What the heads of q [head_dim, heads, T] find in the cache, with k and v (or k alone) in it. */
static lar_tensor *attend(const lar_decoder *d, const lar_build *b, int l, lar_tensor *q,
                          lar_tensor *k, lar_tensor *v)
{
    const lar_attention_param p = {.scale = d->attn_scale,
                                   .softcap = d->attn_softcap,
                                   .window = d->layer[l].window,
                                   .n_head_kv = d->n_head_kv,
                                   .n_value = d->head_dim_v};
    return lar_nn_attention(b, l, q, k, v, d->layer[l].sinks, &p);
}

/* Latent attention. With kv_b, keys and values of all heads are computed and kept. With k_b and v_b
 * the cache has one head of keys, latent and rotated part; the latent is the value too. A query
 * then meets latents, since (k_b' c) . q = c . (k_b q), and v_b turns what it gathers into values.
 */
static lar_tensor *latent_attention(const lar_decoder *d, const lar_build *b, int l, lar_tensor *x,
                                    lar_tensor *rope)
{
    const lar_decoder_layer *y = &d->layer[l];
    const lar_mla *m = &y->mla;
    lar_graph *g = b->g;
    const float latent_eps = 1e-6f; /* whatever the other norms' is (transformers) */
    const lar_linear *first = m->q_a.w ? &m->q_a : &y->q;
    const int64_t nq = first->w->dim[1], rank = m->kv_norm->dim[0], nope = d->head_nope,
                  rot = d->n_rot;
    x = lar_nn_linear(g, (const lar_linear *[]){first, &m->kv_a}, 2, x);
    lar_tensor *q = lar_slice(g, x, 0, nq);
    if (m->q_a.w)
        q = lar_nn_linear(g, (const lar_linear *[]){&m->q_b}, 1,
                          lar_nn_rms_norm(g, q, m->q_norm, latent_eps));
    q = lar_split0(g, q, nope + rot);
    lar_tensor *q_nope = lar_slice(g, q, 0, nope);
    lar_tensor *q_rot = rotate(d, b, lar_slice(g, q, nope, rot), rope);
    lar_tensor *c = lar_nn_rms_norm(g, lar_slice(g, x, nq, rank), m->kv_norm, latent_eps);
    lar_tensor *k_rot = lar_split0(g, lar_slice(g, x, nq + rank, rot), rot);
    k_rot = rotate(d, b, k_rot, rope);
    if (m->kv_b.w) {
        lar_tensor *kv = lar_nn_linear(g, (const lar_linear *[]){&m->kv_b}, 1, c);
        kv = lar_split0(g, kv, nope + d->head_dim_v);
        return attend(d, b, l, lar_nn_concat(g, q_nope, q_rot),
                      lar_nn_concat(g, lar_slice(g, kv, 0, nope), k_rot),
                      lar_slice(g, kv, nope, d->head_dim_v));
    }
    c = lar_split0(g, c, rank);
    q = lar_nn_concat(g, lar_nn_linear_heads(g, &m->k_b, q_nope), q_rot);
    x = attend(d, b, l, q, lar_nn_concat(g, c, k_rot), NULL);
    return lar_join0(g, lar_nn_linear_heads(g, &m->v_b, lar_split0(g, x, rank)));
}

static lar_tensor *attention(const lar_decoder *d, const lar_build *b, int l, lar_tensor *x,
                             lar_tensor *rope)
{
    const lar_decoder_layer *y = &d->layer[l];
    lar_graph *g = b->g;
    if (y->mla.kv_a.w)
        return latent_attention(d, b, l, x, rope);
    const bool gated = (d->spec->has & LAR_DEC_QKV_GATE) != 0; /* behind each head of Q */
    const int64_t nq = (int64_t)d->n_head * d->head_dim_k * (gated ? 2 : 1),
                  nk = (int64_t)d->n_head_kv * d->head_dim_k;
    lar_tensor *qkv = y->qkv.w
                          ? lar_nn_linear(g, (const lar_linear *[]){&y->qkv}, 1, x)
                          : lar_nn_linear(g, (const lar_linear *[]){&y->q, &y->k, &y->v}, 3, x);
    lar_tensor *k = heads(d, b, qkv, nq, d->n_head_kv, d->head_dim_k, y->k_norm, rope);
    lar_tensor *v = heads(d, b, qkv, nq + nk, d->n_head_kv, d->head_dim_v, NULL, NULL);
    if (!gated)
        return attend(d, b, l, heads(d, b, qkv, 0, d->n_head, d->head_dim_k, y->q_norm, rope), k,
                      v);
    lar_tensor *both = lar_split0(g, lar_slice(g, qkv, 0, nq), 2 * d->head_dim_k);
    lar_tensor *q = turn(d, b, lar_slice(g, both, 0, d->head_dim_k), y->q_norm, rope);
    lar_tensor *o = lar_split0(g, attend(d, b, l, q, k, v), d->head_dim_v);
    return lar_nn_gate(g, lar_slice(g, both, d->head_dim_k, d->head_dim_v), o, LAR_ACT_SIGMOID);
}

/* What the layer makes of its tokens and of what it remembers, before the output product. */
static lar_tensor *mix(const lar_decoder *d, const lar_build *b, int l, lar_tensor *x,
                       lar_tensor *rope)
{
    const lar_decoder_layer *y = &d->layer[l];
    switch (y->kind) {
    case LAR_LAYER_CONV:
        return lar_nn_short_conv(b, &y->conv, l, x);
    case LAR_LAYER_DELTA:
        return lar_nn_delta(b, &y->delta, l, x, d->eps);
    }
    return attention(d, b, l, x, y->no_rope ? NULL : rope);
}

static lar_tensor *rope_table(const lar_decoder *d, const lar_build *b, int which)
{
    return lar_node(b->g, LAR_OPDEF(rope_table), (lar_tensor *[]){b->pos, d->inv_freq[which]}, 2,
                    &(lar_rope_table_param){d->mscale[which]});
}

static lar_tensor *norm(const lar_decoder *d, lar_graph *g, lar_tensor *x, lar_tensor *w)
{
    return w ? lar_nn_rms_norm(g, x, w, d->eps) : x;
}

/* x + what attention or FFN gave. */
static lar_tensor *residual(const lar_decoder *d, lar_graph *g, lar_tensor *x, lar_tensor *h)
{
    return lar_nn_add(g, x, lar_nn_scale(g, h, d->residual_scale));
}

lar_tensor *lar_decoder_build(const lar_decoder *d, const lar_build *b)
{
    lar_graph *g = b->g;
    lar_tensor *x = lar_nn_rows(g, d->tok_embd, b->ids, d->embd_scale);
    const bool is_long = d->inv_freq[LAR_ROPE_LONG] && b->ctx > d->long_from;
    lar_tensor *global = rope_table(d, b, is_long ? LAR_ROPE_LONG : LAR_ROPE_GLOBAL);
    lar_tensor *local = d->spec->local_rope ? rope_table(d, b, LAR_ROPE_LOCAL) : global;
    for (int l = 0; l < d->n_layer; l++) {
        const lar_decoder_layer *y = &d->layer[l];
        lar_tensor *h = norm(d, g, x, y->attn_norm);
        h = mix(d, b, l, h, y->window ? local : global);
        if (l == d->n_layer - 1 && b->n_out < b->n_tokens) { /* only these reach the head */
            h = lar_nn_rows(g, h, b->out_rows, 1);
            x = lar_nn_rows(g, x, b->out_rows, 1);
        }
        h = lar_nn_linear(g, (const lar_linear *[]){&y->o}, 1, h);
        x = residual(d, g, x, norm(d, g, h, y->attn_post_norm));
        h = norm(d, g, x, y->ffn_norm);
        h = y->moe.router.w ? lar_nn_moe(g, &y->moe, d->spec->act, &d->route, h)
                            : lar_nn_ffn(g, &y->ffn, d->spec->act, h);
        x = residual(d, g, x, norm(d, g, h, y->ffn_post_norm));
    }
    x = lar_nn_rms_norm(g, x, d->out_norm, d->eps);
    if (b->hidden)
        return x;
    x = lar_nn_linear(g, (const lar_linear *[]){&d->output}, 1, x);
    return lar_nn_softcap(g, lar_nn_scale(g, x, d->logit_scale), d->logit_softcap);
}
