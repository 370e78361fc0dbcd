/* encoder.c - the encoder loop: embeddings, then attention and feed-forward with norms before or
 * after. Devlin et al., "BERT", 2018. */
#include "nn/encoder.h"

static lar_tensor *embeddings(const lar_encoder *m, const lar_build *b)
{
    lar_graph *g = b->g;
    lar_tensor *x = lar_nn_rows(g, m->tok_embd, b->ids, 1);
    if (m->type_embd) {
        const lar_tensor *t = m->type_embd;
        const int64_t first[LAR_MAX_DIM] = {t->dim[0], 1, 1, 1};
        x = lar_nn_add(g, x, lar_view(g, m->type_embd, first, t->stride, 0));
    }
    if (m->pos_embd)
        x = lar_nn_add(g, x, lar_nn_rows(g, m->pos_embd, b->pos, 1));
    return lar_nn_layer_norm(g, x, &m->embd_norm, m->eps);
}

/* Part i of what one product gave for Q, K and V, as [head_dim, heads, T]. */
static lar_tensor *heads(const lar_encoder *m, const lar_build *b, lar_tensor *qkv, int i,
                         lar_tensor *rope)
{
    const int64_t n = (int64_t)m->n_head * m->head_dim;
    lar_tensor *t = lar_split0(b->g, lar_slice(b->g, qkv, i * n, n), m->head_dim);
    return rope ? lar_node(b->g, LAR_OPDEF(rope), (lar_tensor *[]){t, rope}, 2,
                           &(lar_rope_param){.n_rot = m->n_rot, .neox = true})
                : t;
}

static lar_tensor *attention(const lar_encoder *m, const lar_build *b, int l, lar_tensor *x,
                             lar_tensor *rope)
{
    const lar_encoder_layer *y = &m->layer[l];
    const lar_attention_param p = {
        .scale = m->attn_scale, .window = y->window, .n_head_kv = m->n_head};
    lar_tensor *qkv = y->qkv.w
                          ? lar_nn_linear(b->g, (const lar_linear *[]){&y->qkv}, 1, x)
                          : lar_nn_linear(b->g, (const lar_linear *[]){&y->q, &y->k, &y->v}, 3, x);
    return lar_nn_attention(b, l, heads(m, b, qkv, 0, rope), heads(m, b, qkv, 1, rope),
                            heads(m, b, qkv, 2, NULL), NULL, &p);
}

lar_tensor *lar_encoder_build(const lar_encoder *m, const lar_build *b)
{
    lar_graph *g = b->g;
    lar_tensor *x = embeddings(m, b), *rope[2] = {NULL};
    for (int i = 0; i < 2; i++)
        if (m->inv_freq[i])
            rope[i] = lar_node(g, LAR_OPDEF(rope_table), (lar_tensor *[]){b->pos, m->inv_freq[i]},
                               2, &(lar_rope_table_param){m->mscale[i]});
    for (int l = 0; l < m->n_layer; l++) {
        const lar_encoder_layer *y = &m->layer[l];
        lar_tensor *h = lar_nn_layer_norm(g, x, &y->attn_norm, m->eps);
        h = attention(m, b, l, h, rope[y->window && rope[1]]);
        if (l == m->n_layer - 1 && b->n_out < b->n_tokens) { /* only these are asked for */
            h = lar_nn_rows(g, h, b->out_rows, 1);
            x = lar_nn_rows(g, x, b->out_rows, 1);
        }
        h = lar_nn_linear(g, (const lar_linear *[]){&y->o}, 1, h);
        x = lar_nn_layer_norm(g, lar_nn_add(g, x, h), &y->attn_post_norm, m->eps);
        h = lar_nn_layer_norm(g, x, &y->ffn_norm, m->eps);
        h = lar_nn_ffn(g, &y->ffn, m->spec->act, h);
        x = lar_nn_layer_norm(g, lar_nn_add(g, x, h), &y->out_norm, m->eps);
    }
    return lar_nn_layer_norm(g, x, &m->out_norm, m->eps);
}
