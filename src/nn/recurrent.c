/* recurrent.c - layers whose memory does not grow with the text: short convolution, delta net. */
#include "nn/nn.h"

/* Floats of the last inputs that a convolution remembers. */
static int64_t conv_state(const lar_tensor *w)
{
    return (w->dim[0] - 1) * w->dim[1];
}

/* Over the first floats of layer l's state. */
static lar_tensor *conv(const lar_build *b, lar_tensor *w, int l, lar_tensor *x)
{
    lar_tensor *state = lar_slice(b->g, b->state[l], 0, conv_state(w));
    return lar_node(b->g, LAR_OPDEF(conv), (lar_tensor *[]){x, w, state, b->slot, b->turn}, 5,
                    NULL);
}

int64_t lar_nn_short_conv_state(const lar_short_conv *m)
{
    return conv_state(m->conv);
}

lar_tensor *lar_nn_short_conv(const lar_build *b, const lar_short_conv *m, int l, lar_tensor *x)
{
    lar_graph *g = b->g;
    const int64_t n = m->conv->dim[1];
    lar_tensor *bcx = lar_nn_linear(g, (const lar_linear *[]){&m->in}, 1, x);
    lar_tensor *y = lar_nn_mul(g, lar_slice(g, bcx, 0, n), lar_slice(g, bcx, 2 * n, n));
    return lar_nn_mul(g, lar_slice(g, bcx, n, n), conv(b, m->conv, l, y));
}

int64_t lar_nn_delta_state(const lar_delta *m)
{
    return conv_state(m->conv) + (int64_t)m->n_head_v * m->dim_k * m->dim_v;
}

/* x / |x| * scale, head by head: an RMS norm with the length's own epsilon. */
static lar_tensor *unit(lar_graph *g, lar_tensor *x, int dim, float scale)
{
    x = lar_nn_rms_norm(g, lar_split0(g, x, dim), NULL, 1e-6f / (float)dim);
    return lar_nn_scale(g, x, scale / __builtin_sqrtf((float)dim));
}

/* Betas (which: 0) or alphas (1), [.., .., T]. */
static lar_tensor *rates(lar_graph *g, const lar_delta *m, lar_tensor *both, int which)
{
    const int64_t n = m->n_head_v, each = n / m->n_head_k;
    if (!m->ba.w)
        return lar_split0(g, lar_slice(g, both, which * n, n), n);
    return lar_slice(g, lar_split0(g, both, 2 * each), which * each, each);
}

lar_tensor *lar_nn_delta(const lar_build *b, const lar_delta *m, int l, lar_tensor *x, float eps)
{
    lar_graph *g = b->g;
    const int64_t nk = (int64_t)m->n_head_k * m->dim_k, nv = (int64_t)m->n_head_v * m->dim_v,
                  past = conv_state(m->conv);
    const lar_linear *all[] = {&m->qkv, &m->gate, m->ba.w ? &m->ba : &m->beta, &m->alpha};
    lar_tensor *in = lar_nn_linear(g, all, m->ba.w ? 3 : 4, x);
    lar_tensor *z = lar_split0(g, lar_slice(g, in, 2 * nk + nv, nv), m->dim_v);
    lar_tensor *both = lar_slice(g, in, 2 * (nk + nv), 2 * m->n_head_v);
    lar_tensor *beta = lar_nn_act(g, rates(g, m, both, 0), LAR_ACT_SIGMOID);
    lar_tensor *decay = lar_node(g, LAR_OPDEF(delta_decay),
                                 (lar_tensor *[]){rates(g, m, both, 1), m->dt, m->rate}, 3, NULL);
    lar_tensor *qkv = conv(b, m->conv, l, lar_slice(g, in, 0, 2 * nk + nv));
    qkv = lar_nn_act(g, qkv, LAR_ACT_SILU);
    lar_tensor *q =
        unit(g, lar_slice(g, qkv, 0, nk), m->dim_k, 1.0f / __builtin_sqrtf((float)m->dim_k));
    lar_tensor *k = unit(g, lar_slice(g, qkv, nk, nk), m->dim_k, 1);
    lar_tensor *v = lar_split0(g, lar_slice(g, qkv, 2 * nk, nv), m->dim_v);
    lar_tensor *state = lar_slice(g, b->state[l], past, nv * m->dim_k);
    lar_tensor *y = lar_node(g, LAR_OPDEF(delta),
                             (lar_tensor *[]){q, k, v, decay, beta, state, b->slot, b->turn}, 8,
                             &(lar_delta_param){m->tiled});
    return lar_nn_gate(g, z, lar_nn_rms_norm(g, y, m->norm, eps), LAR_ACT_SILU);
}
