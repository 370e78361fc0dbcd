/*
 * plan.c - who reuses which memory. Nodes are placed in the order in which they run, first fit
 * among the gaps between the blocks that are alive; a block dies with its last reader, views
 * included. Scratch is one area that nodes use in turn.
 */
#include "tensor/tensor.h"
#include <string.h>

#define ALIGN_UP(n) (((n) + 63) & ~(size_t)63)

typedef struct block {
    size_t off, size;
    int last;
} block;

static lar_tensor *owner(lar_tensor *t)
{
    while (t->base)
        t = t->base;
    return t;
}

static size_t bytes_of(const lar_tensor *t)
{
    return ALIGN_UP(lar_row_bytes(t->type, t->dim[0]) * (size_t)lar_rows(t));
}

/* Shared memory is never written here: other threads may plan graphs over the same weights. */
static void use(lar_tensor *t, int at, bool keep)
{
    t = owner(t);
    if (t->shared)
        return;
    t->last_use = at;
    t->keep = t->keep || keep;
}

static void find_last_uses(lar_graph *g)
{
    for (int i = 0; i < g->n; i++)
        g->node[i]->last_use = i;
    for (int i = 0; i < g->n; i++) {
        lar_tensor *t = g->node[i];
        use(t, i, t->keep);
        for (int s = 0; s < t->n_src; s++)
            if (t->src[s])
                use(t->src[s], i, false);
    }
}

/* First fit among live blocks, which are kept sorted by offset. */
static size_t place(block *live, int *n, size_t size, int last, int now, size_t *high)
{
    int keep = 0, at = 0;
    size_t off = 0;
    for (int i = 0; i < *n; i++)
        if (live[i].last >= now)
            live[keep++] = live[i];
    *n = keep;
    for (; at < keep; at++) {
        if (live[at].off - off >= size)
            break;
        off = live[at].off + live[at].size;
    }
    memmove(live + at + 1, live + at, (size_t)(keep - at) * sizeof *live);
    live[at] = (block){off, size, last};
    (*n)++;
    if (off + size > *high)
        *high = off + size;
    return off;
}

static lar_status plan_stages(lar_graph *g, size_t *scratch)
{
    g->stage = lar_arena_array(g->arena, (size_t)g->n * LAR_MAX_PHASES + 1, sizeof *g->stage);
    if (!g->stage)
        return LAR_ENOMEM;
    g->n_stage = 0;
    *scratch = 0;
    for (int i = 0; i < g->n; i++) {
        const lar_tensor *t = g->node[i];
        if (!t->op)
            continue;
        for (int p = 0; p < LAR_MAX(1, t->op->phases); p++) {
            int64_t units = t->op->units(t, p);
            if (units > 0)
                g->stage[g->n_stage++] = (lar_stage){t, p, units};
        }
        size_t s = t->op->scratch ? t->op->scratch(t, g->nth) : 0;
        *scratch = LAR_MAX(*scratch, s);
    }
    return LAR_OK;
}

lar_status lar_plan(lar_graph *g, int nth, lar_err *e)
{
    LAR_TRY(lar_graph_error(g, e));
    size_t high = 0, scratch;
    int n_live = 0;
    block *live = lar_arena_array(g->arena, (size_t)g->n + (size_t)g->n_leaf + 1, sizeof *live);
    g->nth = nth;
    if (!live || plan_stages(g, &scratch) != LAR_OK)
        return lar_fail(e, LAR_ENOMEM, "plan: out of memory for %d nodes", g->n);
    find_last_uses(g);
    for (int i = 0; i < g->n_leaf; i++)
        g->leaf[i]->plan_off = place(live, &n_live, bytes_of(g->leaf[i]), g->n, 0, &high);
    for (int i = 0; i < g->n; i++) {
        lar_tensor *t = g->node[i];
        if (!t->base)
            t->plan_off = place(live, &n_live, bytes_of(t), t->keep ? g->n : t->last_use, i, &high);
    }
    g->scratch_off = high;
    g->work_bytes = high + ALIGN_UP(scratch);
    return LAR_OK;
}

void lar_bind(lar_graph *g, void *mem)
{
    for (int i = 0; i < g->n_leaf; i++)
        g->leaf[i]->data = (char *)mem + g->leaf[i]->plan_off;
    for (int i = 0; i < g->n; i++) {
        lar_tensor *t = g->node[i];
        t->data = t->base ? (char *)t->base->data + t->base_off : (char *)mem + t->plan_off;
    }
    g->scratch = (char *)mem + g->scratch_off;
}
