/* cost.c - what a step must touch at least: bytes of weights and of caches, and products. The floor
 * that measured speeds are compared with, not what a kernel happens to do. Depends on net.h. */
#include "models/net.h"

typedef struct sums {
    uint64_t bytes, macs[2]; /* [0] of float formats, [1] of integer ones */
} sums;

static void add_plain(sums *s, const lar_tensor *t)
{
    s->bytes += t ? lar_row_bytes(t->type, t->dim[0]) : 0;
}

static void add_linear(sums *s, const lar_linear *l)
{
    if (!l->w)
        return;
    const lar_dtype *t = l->w->type;
    const bool is_float =
        t == LAR_DTYPE(f32) || t == LAR_DTYPE(f16) || t == LAR_DTYPE(bf16) || t == LAR_DTYPE(f64);
    s->bytes += lar_row_bytes(t, l->w->dim[0]) * (uint64_t)l->w->dim[1];
    s->macs[!is_float] += (uint64_t)l->w->dim[0] * (uint64_t)l->w->dim[1];
    add_plain(s, l->b);
}

/* Each of n_tokens tokens takes n_used experts; at most so many of them are read. */
static void add_experts(sums *s, const lar_linear *l, uint64_t n_used, uint64_t n_tokens)
{
    sums one = {0};
    if (!l->w)
        return;
    add_linear(&one, l);
    s->bytes += one.bytes * LAR_MIN(n_used * n_tokens, (uint64_t)l->w->dim[2]);
    for (int i = 0; i < 2; i++)
        s->macs[i] += one.macs[i] * n_used;
}

/* What all tokens of a step go through in a layer, and what follows attention, which in the last
 * layer only those with logits do. */
static void add_layer(const lar_decoder *d, sums *before, sums *after, const lar_decoder_layer *y,
                      int n_tokens)
{
    const lar_tensor *norms[] = {y->attn_norm,  y->q_norm,      y->k_norm, y->delta.norm,
                                 y->mla.q_norm, y->mla.kv_norm, y->sinks};
    const lar_tensor *later[] = {y->attn_post_norm, y->ffn_norm, y->ffn_post_norm};
    const lar_linear *qkv[] = {&y->qkv,         &y->q,         &y->k,          &y->v,
                               &y->mla.q_a,     &y->mla.q_b,   &y->mla.kv_a,   &y->mla.kv_b,
                               &y->conv.in,     &y->delta.qkv, &y->delta.gate, &y->delta.beta,
                               &y->delta.alpha, &y->delta.ba};
    const lar_linear *heads[] = {&y->mla.k_b, &y->mla.v_b};
    const lar_linear *rest[] = {&y->o,
                                &y->ffn.gate,
                                &y->ffn.up,
                                &y->ffn.down,
                                &y->moe.router,
                                &y->moe.shared.gate,
                                &y->moe.shared.up,
                                &y->moe.shared.down,
                                &y->moe.shared_gate};
    const lar_linear *experts[] = {&y->moe.gate, &y->moe.up, &y->moe.down};
    for (size_t i = 0; i < LAR_LEN(norms); i++)
        add_plain(before, norms[i]);
    for (size_t i = 0; i < LAR_LEN(qkv); i++)
        add_linear(before, qkv[i]);
    for (size_t i = 0; i < LAR_LEN(heads); i++)
        add_experts(before, heads[i], (uint64_t)d->n_head, 1);
    for (size_t i = 0; i < LAR_LEN(later); i++)
        add_plain(after, later[i]);
    for (size_t i = 0; i < LAR_LEN(rest); i++)
        add_linear(after, rest[i]);
    for (size_t i = 0; i < LAR_LEN(experts); i++)
        add_experts(after, experts[i], (uint64_t)d->route.n_used, (uint64_t)n_tokens);
}

void lar_net_cost_of(const lar_net *n, int n_tokens, int n_out, lar_net_cost *out)
{
    const lar_decoder *d = &n->dec;
    sums all = {0}, last = {0}, head = {0};
    for (int l = 0; l < d->n_layer; l++)
        add_layer(d, &all, l == d->n_layer - 1 ? &last : &all, &d->layer[l],
                  l == d->n_layer - 1 ? n_out : n_tokens);
    add_linear(&head, &d->output);
    add_plain(&head, d->out_norm);
    const uint64_t rows = (uint64_t)n_tokens, outs = (uint64_t)n_out;
    out->weight_bytes = all.bytes + last.bytes + head.bytes +
                        rows * lar_row_bytes(d->tok_embd->type, d->tok_embd->dim[0]);
    out->float_macs = rows * all.macs[0] + outs * (last.macs[0] + head.macs[0]);
    out->integer_macs = rows * all.macs[1] + outs * (last.macs[1] + head.macs[1]);
}

uint64_t lar_net_kv_touched(const lar_net *n, const lar_dtype *type, int held, int n_tokens)
{
    uint64_t bytes = 0;
    for (int l = 0; l < lar_net_n_caches(n); l++) {
        const lar_cache c = lar_net_cache(n, l);
        const uint64_t cell =
            (uint64_t)c.n_head * (lar_row_bytes(type, c.dim_k) + lar_row_bytes(type, c.dim_v));
        const int window = n->dec.layer[l].window; /* cells that a token sees, itself included */
        const int seen = window && held > window - 1 ? window - 1 : held;
        bytes +=
            cell * ((uint64_t)seen + (uint64_t)n_tokens) + 2 * (uint64_t)c.state * sizeof(float);
    }
    return bytes;
}
