/* graph.c - building graphs: nodes, leaves, views, and the backward walk. */
#include "tensor/tensor.h"
#include <string.h>

lar_graph *lar_graph_new(lar_arena *arena)
{
    lar_graph *g = lar_arena_alloc(arena, sizeof *g);
    if (g)
        g->arena = arena;
    return g;
}

lar_status lar_graph_error(const lar_graph *g, lar_err *e)
{
    if (!g->failed)
        return LAR_OK;
    if (e)
        *e = g->err;
    return g->err.code;
}

void lar_graph_fail(lar_graph *g, lar_status code, const char *msg)
{
    if (g->failed)
        return;
    g->failed = true;
    lar_fail(&g->err, code, "%s", msg);
}

static void *fail_memory(lar_graph *g)
{
    lar_graph_fail(g, LAR_ENOMEM, "graph: out of memory");
    return NULL;
}

/* Append to one of the graph's arrays; the arena keeps the old one until it is reset. */
static bool append(lar_graph *g, lar_tensor ***list, int *n, int *cap, lar_tensor *t)
{
    if (*n == *cap) {
        int bigger = *cap ? 2 * *cap : 256;
        lar_tensor **p = lar_arena_array(g->arena, (size_t)bigger, sizeof *p);
        if (!p)
            return false;
        if (*n)
            memcpy(p, *list, (size_t)*n * sizeof *p);
        *list = p;
        *cap = bigger;
    }
    (*list)[(*n)++] = t;
    return true;
}

static void set_strides(lar_tensor *t)
{
    t->stride[0] = t->type->bytes;
    t->stride[1] = lar_row_bytes(t->type, t->dim[0]);
    for (int d = 2; d < LAR_MAX_DIM; d++)
        t->stride[d] = t->stride[d - 1] * (size_t)t->dim[d - 1];
}

lar_tensor *lar_leaf(lar_graph *g, const lar_dtype *type, const int64_t dim[LAR_MAX_DIM],
                     void *data)
{
    if (g->failed)
        return NULL;
    lar_tensor *t = lar_arena_alloc(g->arena, sizeof *t);
    if (!t)
        return fail_memory(g);
    t->type = type;
    memcpy(t->dim, dim, sizeof t->dim);
    set_strides(t);
    t->data = data;
    t->shared = data != NULL;
    if (!data) {
        t->keep = true;
        if (!append(g, &g->leaf, &g->n_leaf, &g->cap_leaf, t))
            return fail_memory(g);
    }
    return t;
}

lar_tensor *lar_node(lar_graph *g, const lar_op *op, lar_tensor *const *src, int n_src,
                     const void *param)
{
    if (g->failed)
        return NULL;
    lar_tensor *t = lar_arena_alloc(g->arena, sizeof *t);
    if (!t)
        return fail_memory(g);
    t->op = op;
    t->n_src = n_src;
    if (op->phases > LAR_MAX_PHASES) {
        lar_graph_fail(g, LAR_EARG, "an op with too many phases");
        return NULL;
    }
    if (n_src < op->min_src || n_src > op->max_src) {
        g->failed = true;
        lar_fail(&g->err, LAR_EARG, "%s: %d sources, want %d to %d", op->name, n_src, op->min_src,
                 op->max_src);
        return NULL;
    }
    for (int i = 0; i < n_src; i++) {
        t->src[i] = src[i];
        if (src[i] && src[i]->wants_grad)
            t->wants_grad = true;
        if (!src[i] && i < op->min_src) {
            lar_graph_fail(g, LAR_EARG, op->name);
            return NULL;
        }
    }
    if (param)
        memcpy(t->param, param, op->param_size);
    for (int d = 0; d < LAR_MAX_DIM; d++)
        t->dim[d] = 1;
    t->type = LAR_DTYPE(f32);
    if (op->shape(t, &g->err) != LAR_OK) {
        g->failed = true;
        return NULL;
    }
    if (!t->base)
        set_strides(t);
    if (!append(g, &g->node, &g->n, &g->cap, t))
        return fail_memory(g);
    return t;
}

void lar_alias(lar_tensor *t, lar_tensor *base)
{
    t->base = base;
    t->type = base->type;
    memcpy(t->dim, base->dim, sizeof t->dim);
    memcpy(t->stride, base->stride, sizeof t->stride);
}

lar_tensor *lar_view(lar_graph *g, lar_tensor *t, const int64_t dim[LAR_MAX_DIM],
                     const size_t stride[LAR_MAX_DIM], size_t offset)
{
    if (g->failed || !t)
        return NULL;
    lar_tensor *v = lar_arena_alloc(g->arena, sizeof *v);
    if (!v)
        return fail_memory(g);
    v->type = t->type;
    v->base = t;
    v->base_off = offset;
    v->wants_grad = t->wants_grad;
    v->name = t->name;
    memcpy(v->dim, dim, sizeof v->dim);
    memcpy(v->stride, stride, sizeof v->stride);
    if (!append(g, &g->node, &g->n, &g->cap, v))
        return fail_memory(g);
    return v;
}

lar_tensor *lar_slice(lar_graph *g, lar_tensor *t, int64_t first, int64_t n)
{
    if (g->failed || !t)
        return NULL;
    int64_t dim[LAR_MAX_DIM];
    memcpy(dim, t->dim, sizeof dim);
    dim[0] = n;
    return lar_view(g, t, dim, t->stride, lar_row_bytes(t->type, first));
}

lar_tensor *lar_split0(lar_graph *g, lar_tensor *t, int64_t a)
{
    if (g->failed || !t)
        return NULL;
    int64_t dim[LAR_MAX_DIM] = {a, t->dim[0] / a, t->dim[1], t->dim[2]};
    size_t stride[LAR_MAX_DIM] = {t->stride[0], lar_row_bytes(t->type, a), t->stride[1],
                                  t->stride[2]};
    if (t->dim[3] != 1 || t->dim[0] % a) {
        lar_graph_fail(g, LAR_EARG, "split0: the row does not divide");
        return NULL;
    }
    return lar_view(g, t, dim, stride, 0);
}

lar_tensor *lar_join0(lar_graph *g, lar_tensor *t)
{
    if (g->failed || !t)
        return NULL;
    const int64_t dim[LAR_MAX_DIM] = {t->dim[0] * t->dim[1], t->dim[2], t->dim[3], 1};
    const size_t stride[LAR_MAX_DIM] = {t->stride[0], t->stride[2], t->stride[3], t->stride[3]};
    if (t->stride[1] != lar_row_bytes(t->type, t->dim[0])) {
        lar_graph_fail(g, LAR_EARG, "join0: rows that do not lie side by side");
        return NULL;
    }
    return lar_view(g, t, dim, stride, 0);
}

void lar_keep(lar_tensor *t)
{
    if (t)
        t->keep = true;
}

bool lar_same_shape(const lar_tensor *a, const lar_tensor *b)
{
    return memcmp(a->dim, b->dim, sizeof a->dim) == 0;
}

lar_status lar_shape_fail(const lar_tensor *t, int src, const char *want, lar_err *e)
{
    const lar_tensor *s = t->src[src];
    return lar_fail(e, LAR_EARG, "%s: source %d (%s) is %s [%lld,%lld,%lld,%lld], want %s",
                    t->op->name, src, s->name ? s->name : "unnamed", s->type->name,
                    (long long)s->dim[0], (long long)s->dim[1], (long long)s->dim[2],
                    (long long)s->dim[3], want);
}

lar_status lar_want_f32(const lar_tensor *t, lar_err *e)
{
    for (int i = 0; i < t->n_src; i++)
        if (t->src[i] && t->src[i]->type != LAR_DTYPE(f32))
            return lar_shape_fail(t, i, "f32", e);
    return LAR_OK;
}

lar_status lar_shape_same(lar_tensor *t, lar_err *e)
{
    LAR_TRY(lar_want_f32(t, e));
    for (int i = 1; i < t->n_src; i++)
        if (t->src[i] && !lar_same_shape(t->src[i], t->src[0]))
            return lar_shape_fail(t, i, "the shape of source 0", e);
    memcpy(t->dim, t->src[0]->dim, sizeof t->dim);
    return LAR_OK;
}

int64_t lar_units_rows(const lar_tensor *t, int phase)
{
    (void)phase;
    return lar_rows(t);
}

lar_status lar_grad_add(lar_graph *g, lar_tensor *to, lar_tensor *d, lar_err *e)
{
    if (!to || !to->wants_grad)
        return LAR_OK;
    if (!d)
        return lar_graph_error(g, e);
    if (to->grad)
        d = lar_node(g, g->add_op, (lar_tensor *[]){to->grad, d}, 2, NULL);
    to->grad = d;
    return lar_graph_error(g, e);
}

lar_status lar_backward(lar_graph *g, lar_tensor *loss, const lar_op *add, lar_err *e)
{
    const int n = g->n;
    g->add_op = add;
    loss->grad = lar_leaf(g, LAR_DTYPE(f32), loss->dim, NULL);
    for (int i = n - 1; i >= 0 && !g->failed; i--) {
        lar_tensor *t = g->node[i];
        if (!t->grad || !t->wants_grad)
            continue;
        if (!t->op)
            return lar_fail(e, LAR_EUNSUPPORTED, "a view has no gradient yet");
        if (!t->op->grad)
            return lar_fail(e, LAR_EUNSUPPORTED, "%s has no gradient", t->op->name);
        LAR_TRY(t->op->grad(g, t, e));
    }
    return lar_graph_error(g, e);
}
