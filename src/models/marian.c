/* marian.c - Marian's translation models, of a GGUF file that the converter made. */
#include "models/marian.h"
#include "base/math.h"
#include <stdio.h>
#include <string.h>

/* ---- weights ----------------------------------------------------------------------------------
 */

typedef struct binder {
    lar_net *n;
    const lar_gguf *f;
    lar_err *e;
    char prefix[32];
} binder;

static lar_status get(binder *b, const char *name, const lar_dtype *type, int64_t d0, int64_t d1,
                      int64_t d2, lar_tensor **out)
{
    char full[96];
    snprintf(full, sizeof full, "%s%s", b->prefix, name);
    const lar_gguf_tensor *t = lar_gguf_find_tensor(b->f, full);
    if (!t)
        return lar_fail(b->e, LAR_EFORMAT, "tensor %s is missing", full);
    const int64_t want[3] = {d0, d1, d2};
    for (int i = 0; i < 3; i++)
        if (t->dim[i] != want[i])
            return lar_fail(b->e, LAR_EFORMAT, "%s: shape [%lld,%lld,%lld], want [%lld,%lld,%lld]",
                            full, (long long)t->dim[0], (long long)t->dim[1], (long long)t->dim[2],
                            (long long)d0, (long long)d1, (long long)d2);
    if (t->type != type || t->dim[3] != 1)
        return lar_fail(b->e, LAR_EFORMAT, "%s: type %s, want %s", full, t->type->name, type->name);
    if ((uintptr_t)t->data % 4)
        return lar_fail(b->e, LAR_EFORMAT, "%s: data at an address that is no multiple of 4", full);
    lar_tensor *y = lar_arena_alloc(b->n->arena, sizeof *y);
    if (!y)
        return lar_fail(b->e, LAR_ENOMEM, "%s: out of memory", full);
    y->type = type;
    y->shared = true;
    y->data = (void *)(uintptr_t)t->data;
    y->stride[0] = type->bytes;
    for (int i = 0; i < LAR_MAX_DIM; i++) {
        y->dim[i] = t->dim[i];
        y->stride[i] = i ? y->stride[i - 1] * (size_t)t->dim[i - 1] : type->bytes;
    }
    b->n->weight_bytes += t->bytes;
    b->n->n_params += (uint64_t)lar_count(y);
    *out = y;
    return LAR_OK;
}

static lar_tensor *floats(binder *b, int64_t n, int64_t rows)
{
    lar_tensor *y = lar_arena_alloc(b->n->arena, sizeof *y);
    float *p = lar_arena_array(b->n->arena, (size_t)(n * rows), sizeof *p);
    if (!y || !p) {
        lar_fail(b->e, LAR_ENOMEM, "model: out of memory");
        return NULL;
    }
    *y = (lar_tensor){.type = LAR_DTYPE(f32), .shared = true, .dim = {n, rows, 1, 1}, .data = p};
    y->stride[0] = sizeof *p;
    for (int i = 1; i < LAR_MAX_DIM; i++)
        y->stride[i] = (size_t)(n * (i > 1 ? rows : 1)) * sizeof *p;
    return y;
}

/* Two numbers that a file has beside a product's weights: what they were multiplied by, and what
 * activations are. */
static lar_status get_scales(binder *b, const char *name, float s[2])
{
    char full[64];
    lar_tensor *t;
    snprintf(full, sizeof full, "%s.scale", name);
    LAR_TRY(get(b, full, LAR_DTYPE(f32), 2, 1, 1, &t));
    for (int i = 0; i < 2; i++) {
        s[i] = t->data ? ((const float *)t->data)[i] : 1;
        if (!(s[i] > 0 && s[i] < 1e30f))
            return lar_fail(b->e, LAR_EFORMAT, "%s%s[%d] is %g, want a number above 0", b->prefix,
                            full, i, (double)s[i]);
    }
    return LAR_OK;
}

/* Activations are bytes with 127 for 0: what that adds to a row's sum is in the bias. */
static float shifted(int32_t sum, float mult, float alpha, float bias, bool has_bias)
{
    const float f = -1.0f * ((127.0f / alpha) * (127.0f / mult)) / 127.0f, x = (float)sum * f;
    return has_bias ? x + bias : x;
}

/* A product from k to n features; without a bias where the name of it is NULL. */
static lar_status linear(binder *b, const char *name, int64_t k, int64_t n, bool bias,
                         lar_mt_linear *out)
{
    char full[64];
    float s[2];
    lar_tensor *t = NULL;
    snprintf(full, sizeof full, "%s.weight", name);
    LAR_TRY(get(b, full, LAR_DTYPE(i8), 64, k / 4, n / 16, &out->w));
    snprintf(full, sizeof full, "%s.bias", name);
    if (bias)
        LAR_TRY(get(b, full, LAR_DTYPE(f32), n, 1, 1, &t));
    LAR_TRY(get_scales(b, name, s));
    if (!(out->b = floats(b, n, 1)))
        return LAR_ENOMEM;
    out->alpha = s[1];
    out->scale = 1.0f / (s[1] * s[0]);
    const int8_t *w = out->w->data;
    for (int64_t r = 0; w && r < n; r++) {
        int32_t sum = 0;
        for (int64_t i = 0; i < k; i++)
            sum += w[(r / 16 * (k / 4) + i / 4) * 64 + r % 16 * 4 + i % 4];
        ((float *)out->b->data)[r] =
            shifted(sum, s[0], s[1], t ? ((const float *)t->data)[r] : 0, bias);
    }
    return LAR_OK;
}

static lar_status norm(binder *b, const char *name, int64_t n, lar_mt_norm *out)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    LAR_TRY(get(b, full, LAR_DTYPE(f32), n, 1, 1, &out->w));
    snprintf(full, sizeof full, "%s.bias", name);
    return get(b, full, LAR_DTYPE(f32), n, 1, 1, &out->b);
}

static lar_status layer(binder *b, bool decoder, int l, lar_mt_layer *y)
{
    const int64_t d = b->n->hp.n_embd, ff = b->n->hp.n_ff;
    snprintf(b->prefix, sizeof b->prefix, "%s.blk.%d.", decoder ? "dec" : "enc", l);
    if (decoder) {
        LAR_TRY(linear(b, "cell", d, d, false, &y->cell));
        LAR_TRY(linear(b, "cell_gate", d, d, true, &y->gate));
        LAR_TRY(norm(b, "cell_norm", d, &y->cell_norm));
    }
    LAR_TRY(linear(b, decoder ? "cross_attn_q" : "attn_q", d, d, true, &y->q));
    LAR_TRY(linear(b, decoder ? "cross_attn_k" : "attn_k", d, d, true, &y->k));
    LAR_TRY(linear(b, decoder ? "cross_attn_v" : "attn_v", d, d, true, &y->v));
    LAR_TRY(linear(b, decoder ? "cross_attn_o" : "attn_o", d, d, true, &y->o));
    LAR_TRY(norm(b, decoder ? "cross_attn_norm" : "attn_norm", d, &y->attn_norm));
    LAR_TRY(linear(b, "ffn_up", d, ff, true, &y->up));
    LAR_TRY(linear(b, "ffn_down", ff, d, true, &y->down));
    return norm(b, "ffn_norm", d, &y->ffn_norm);
}

static lar_status embeddings(binder *b, lar_mt *m)
{
    const int64_t d = b->n->hp.n_embd, v = b->n->hp.n_vocab;
    float s[2];
    lar_tensor *t;
    LAR_TRY(get(b, "token_embd.weight", LAR_DTYPE(i8), d, v, 1, &m->embd));
    LAR_TRY(get(b, "output.bias", LAR_DTYPE(f32), v, 1, 1, &t));
    LAR_TRY(get_scales(b, "token_embd", s));
    if (!(m->head.b = floats(b, v, 1)) || !(m->signal = floats(b, d, LAR_MT_POSITIONS)))
        return LAR_ENOMEM;
    m->head.w = m->embd;
    m->head.alpha = s[1];
    m->head.scale = 1.0f / (s[1] * s[0]);
    m->embd_inv = 1.0f / s[0];
    m->embd_scale = __builtin_sqrtf((float)d);
    for (int64_t r = 0; m->embd->data && r < v; r++) {
        const int8_t *w = lar_row(m->embd, r);
        int32_t sum = 0;
        for (int64_t i = 0; i < d; i++)
            sum += w[i];
        ((float *)m->head.b->data)[r] = shifted(sum, s[0], s[1], ((const float *)t->data)[r], true);
    }
    /* Sinusoids, the sines first, in single precision as the models were trained. */
    const float half = (float)d / 2, step = (float)lar_ln(10000.0) / (half - 1.0f);
    for (int64_t i = 0; i < d / 2; i++) {
        const float rate = (float)lar_exp((double)((float)i * -step));
        for (int p = 0; p < LAR_MT_POSITIONS; p++) {
            const double at = (double)((float)p * rate);
            float *row = lar_row(m->signal, p);
            row[i] = (float)lar_sin(at);
            row[d / 2 + i] = (float)lar_cos(at);
        }
    }
    return LAR_OK;
}

static lar_status shortlist(binder *b, lar_mt *m)
{
    uint32_t first = 0;
    const lar_gguf_tensor *ids = lar_gguf_find_tensor(b->f, "shortlist.id");
    lar_tensor *offset, *id;
    if (!ids)
        return LAR_OK;
    LAR_TRY(get(b, "shortlist.id", LAR_DTYPE(i32), ids->dim[0], 1, 1, &id));
    LAR_TRY(
        get(b, "shortlist.offset", LAR_DTYPE(i32), (int64_t)b->n->hp.n_vocab + 1, 1, 1, &offset));
    LAR_TRY(lar_gguf_get_u32(b->f, "marian.shortlist.first", &first, b->e));
    const int32_t n = (int32_t)b->n->hp.n_vocab, *o = offset->data, *p = id->data;
    if (first > (uint32_t)n)
        return lar_fail(b->e, LAR_EFORMAT, "marian.shortlist.first is %u of %d tokens", first, n);
    for (int32_t i = 0; o && i <= n; i++)
        if (o[i] < (i ? o[i - 1] : 0) || o[i] > id->dim[0])
            return lar_fail(b->e, LAR_EFORMAT, "shortlist.offset[%d] is %d of %lld", i, o[i],
                            (long long)id->dim[0]);
    for (int64_t i = 0; p && i < id->dim[0]; i++)
        if (p[i] < 0 || p[i] >= n)
            return lar_fail(b->e, LAR_EFORMAT, "shortlist.id[%lld] is %d, want 0 to %d",
                            (long long)i, p[i], n - 1);
    m->list_first = (int32_t)first;
    m->list_offset = o;
    m->list_id = p;
    return LAR_OK;
}

static lar_status read_sizes(lar_net *n, const lar_gguf *f, lar_mt *m, lar_err *e)
{
    const struct {
        const char *key;
        uint32_t *out, max;
    } keys[] = {{"marian.block_count", &n->hp.n_layer, 256},
                {"marian.decoder_block_count", (uint32_t *)&m->n_dec, 256},
                {"marian.embedding_length", &n->hp.n_embd, 1 << 16},
                {"marian.feed_forward_length", &n->hp.n_ff, 1 << 18},
                {"marian.attention.head_count", &n->hp.n_head, 1024},
                {"marian.vocab_size", &n->hp.n_vocab, 1 << 24},
                {"tokenizer.ggml.eos_token_id", (uint32_t *)&m->eos, 1 << 24}};
    for (size_t i = 0; i < LAR_LEN(keys); i++) {
        const lar_status s = lar_gguf_get_u32(f, keys[i].key, keys[i].out, e);
        if (s != LAR_OK)
            return lar_fail(e, LAR_EFORMAT, "%s is missing or no number", keys[i].key);
        if (*keys[i].out > keys[i].max || (i < 6 && !*keys[i].out))
            return lar_fail(e, LAR_EFORMAT, "%s is %u, want 1 to %u", keys[i].key, *keys[i].out,
                            keys[i].max);
    }
    if (n->hp.n_embd % 64 || n->hp.n_ff % 64 || n->hp.n_embd % n->hp.n_head ||
        (uint32_t)m->eos >= n->hp.n_vocab)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "%u features in %u heads, %u inside, token %d ends: want multiples of 64",
                        n->hp.n_embd, n->hp.n_head, n->hp.n_ff, m->eos);
    n->hp.ctx_train = LAR_MT_POSITIONS;
    m->n_enc = (int)n->hp.n_layer;
    m->n_embd = (int)n->hp.n_embd;
    m->n_head = (int)n->hp.n_head;
    return LAR_OK;
}

lar_status lar_mt_open(lar_net *n, const lar_gguf *f, lar_err *e)
{
    lar_mt *m = lar_arena_alloc(n->arena, sizeof *m);
    binder b = {.n = n, .f = f, .e = e};
    if (!m)
        return lar_fail(e, LAR_ENOMEM, "model: out of memory");
    n->mt = m;
    m->eps = 1e-6f;
    LAR_TRY(read_sizes(n, f, m, e));
    m->enc = lar_arena_array(n->arena, (size_t)m->n_enc, sizeof *m->enc);
    m->dec = lar_arena_array(n->arena, (size_t)m->n_dec, sizeof *m->dec);
    if (!m->enc || !m->dec)
        return lar_fail(e, LAR_ENOMEM, "model: out of memory");
    LAR_TRY(embeddings(&b, m));
    LAR_TRY(shortlist(&b, m));
    for (int l = 0; l < m->n_enc; l++)
        LAR_TRY(layer(&b, false, l, &m->enc[l]));
    for (int l = 0; l < m->n_dec; l++)
        LAR_TRY(layer(&b, true, l, &m->dec[l]));
    return LAR_OK;
}

/* ---- graphs -----------------------------------------------------------------------------------
 */

static lar_tensor *product(lar_graph *g, const lar_mt_linear *l, lar_tensor *x, bool relu)
{
    return lar_node(g, LAR_OPDEF(mt_linear), (lar_tensor *[]){l->w, l->b, x}, 3,
                    &(lar_mt_linear_param){.alpha = l->alpha, .scale = l->scale, .relu = relu});
}

/* The norm of x and what a part gave. */
static lar_tensor *join(const lar_mt *m, lar_graph *g, const lar_mt_norm *n, lar_tensor *part,
                        lar_tensor *x)
{
    return lar_node(g, LAR_OPDEF(mt_norm), (lar_tensor *[]){part, x, n->w, n->b}, 4,
                    &(lar_rms_norm_param){m->eps});
}

static lar_tensor *turn(lar_graph *g, lar_tensor *x)
{
    return lar_node(g, LAR_OPDEF(mt_turn), &x, 1, NULL);
}

static lar_tensor *attend(const lar_mt *m, lar_graph *g, const lar_mt_layer *y, lar_tensor *x,
                          lar_tensor *k, lar_tensor *v, lar_tensor *span)
{
    lar_tensor *q = product(g, &y->q, x, false);
    lar_tensor *h = lar_node(g, LAR_OPDEF(mt_attention), (lar_tensor *[]){q, k, v, span}, 4,
                             &(lar_mt_attention_param){m->n_head});
    return join(m, g, &y->attn_norm, product(g, &y->o, h, false), x);
}

static lar_tensor *feed_forward(const lar_mt *m, lar_graph *g, const lar_mt_layer *y, lar_tensor *x)
{
    lar_tensor *h = product(g, &y->up, x, true);
    return join(m, g, &y->ffn_norm, product(g, &y->down, h, false), x);
}

static lar_tensor *embed(const lar_mt *m, lar_graph *g, lar_tensor *ids, lar_tensor *pos)
{
    return lar_node(g, LAR_OPDEF(mt_embed), (lar_tensor *[]){m->embd, m->signal, ids, pos}, 4,
                    &(lar_mt_embed_param){.inv = m->embd_inv, .scale = m->embd_scale});
}

void lar_mt_read(const lar_mt *m, lar_graph *g, lar_tensor *ids, lar_tensor *pos, lar_tensor *span,
                 lar_tensor **k, lar_tensor **v)
{
    lar_tensor *x = embed(m, g, ids, pos);
    for (int l = 0; l < m->n_enc; l++) {
        const lar_mt_layer *y = &m->enc[l];
        x = attend(m, g, y, x, turn(g, product(g, &y->k, x, false)), product(g, &y->v, x, false),
                   span);
        x = feed_forward(m, g, y, x);
    }
    for (int l = 0; l < m->n_dec; l++) {
        k[l] = turn(g, product(g, &m->dec[l].k, x, false));
        v[l] = product(g, &m->dec[l].v, x, false);
    }
}

lar_tensor *lar_mt_write(const lar_mt *m, lar_graph *g, lar_tensor *ids, lar_tensor *pos,
                         lar_tensor *span, lar_tensor *const *k, lar_tensor *const *v,
                         lar_tensor *const *state, lar_tensor *list, lar_tensor *list_span,
                         int room)
{
    lar_tensor *x = embed(m, g, ids, pos);
    for (int l = 0; l < m->n_dec; l++) {
        const lar_mt_layer *y = &m->dec[l];
        lar_tensor *f = product(g, &y->gate, x, false), *w = product(g, &y->cell, x, false);
        f = lar_node(g, LAR_OPDEF(mt_ssru), (lar_tensor *[]){f, w, state[l]}, 3, NULL);
        x = join(m, g, &y->cell_norm, f, x);
        x = attend(m, g, y, x, k[l], v[l], span);
        x = feed_forward(m, g, y, x);
    }
    return lar_node(
        g, LAR_OPDEF(mt_logits), (lar_tensor *[]){m->head.w, m->head.b, x, list, list_span}, 5,
        &(lar_mt_linear_param){.alpha = m->head.alpha, .scale = m->head.scale, .list = room});
}

extern const lar_model_def lar_model_def_marian;
const lar_model_def lar_model_def_marian = {.arch = "marian", .open = lar_mt_open};
