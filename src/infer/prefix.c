/*
 * prefix.c - an index over pages. A remembered page is a node: its 64 tokens and the node of the
 * page before it. Nodes have numbers that are never used twice, so a page is found only where all
 * tokens from the first on are the same, whatever the hashes do. Pages that nobody holds form a
 * list by time of release: the oldest goes when a page is wanted and none is free.
 */
#include "infer/prefix.h"
#include "infer/part.h"
#include <string.h>

enum { NONE = -1 };

lar_status lar__prefix_new(lar__prefix *x, int n_pages, lar_err *e)
{
    size_t n = 16;
    while (n < (size_t)n_pages * 2)
        n *= 2;
    x->mask = n - 1;
    x->bucket = lar_alloc_array(n, sizeof *x->bucket);
    x->node = lar_alloc_array((size_t)n_pages, sizeof *x->node);
    x->tokens = lar_alloc_array((size_t)n_pages * LAR_PAGE, sizeof *x->tokens);
    if (!x->bucket || !x->node || !x->tokens)
        return lar_fail(e, LAR_ENOMEM, "engine: out of memory");
    for (size_t i = 0; i < n; i++)
        x->bucket[i] = NONE;
    x->oldest = x->newest = NONE;
    return LAR_OK;
}

void lar__prefix_free(lar__prefix *x)
{
    lar_free(x->bucket);
    lar_free(x->node);
    lar_free(x->tokens);
}

bool lar__prefix_holds(const lar_engine *en, int32_t page)
{
    return en->prefix.node[page].id != 0;
}

static uint64_t hash_of(uint64_t parent, const int32_t *tokens)
{
    return lar_random(parent, lar_hash64(tokens, LAR_PAGE * sizeof *tokens));
}

/* The page with these tokens after the node `parent` (0: at the beginning), or NONE. */
static int32_t find(const lar__prefix *x, uint64_t parent, const int32_t *tokens)
{
    const uint64_t h = hash_of(parent, tokens);
    for (int32_t p = x->bucket[h & x->mask]; p != NONE; p = x->node[p].next)
        if (x->node[p].hash == h && x->node[p].parent == parent &&
            !memcmp(x->tokens + (size_t)p * LAR_PAGE, tokens, LAR_PAGE * sizeof *tokens))
            return p;
    return NONE;
}

static void add(lar__prefix *x, int32_t page, uint64_t parent, const int32_t *tokens)
{
    lar__node *n = &x->node[page];
    const uint64_t h = hash_of(parent, tokens);
    *n = (lar__node){.id = ++x->last_id, .parent = parent, .hash = h};
    n->next = x->bucket[h & x->mask];
    x->bucket[h & x->mask] = page;
    memcpy(x->tokens + (size_t)page * LAR_PAGE, tokens, LAR_PAGE * sizeof *tokens);
}

void lar__prefix_drop(lar_engine *en, int32_t page)
{
    lar__prefix *x = &en->prefix;
    int32_t *p = &x->bucket[x->node[page].hash & x->mask];
    while (*p != page)
        p = &x->node[*p].next;
    *p = x->node[page].next;
    x->node[page].id = 0;
}

/* ---- pages that nobody holds ---------------------------------------------------------------- */

static void list_remove(lar__prefix *x, int32_t page)
{
    const lar__node *n = &x->node[page];
    *(n->older == NONE ? &x->oldest : &x->node[n->older].newer) = n->newer;
    *(n->newer == NONE ? &x->newest : &x->node[n->newer].older) = n->older;
    x->n_idle--;
}

static void list_add(lar__prefix *x, int32_t page)
{
    x->node[page].older = x->newest;
    x->node[page].newer = NONE;
    *(x->newest == NONE ? &x->oldest : &x->node[x->newest].newer) = page;
    x->newest = page;
    x->n_idle++;
}

int lar__pages_left(const lar_engine *en)
{
    return en->n_free + en->prefix.n_idle;
}

int32_t lar__page_take(lar_engine *en)
{
    int32_t p;
    if (en->n_free) {
        p = en->free_page[--en->n_free];
    } else {
        p = en->prefix.oldest;
        list_remove(&en->prefix, p);
        lar__prefix_drop(en, p);
    }
    en->refs[p] = 1;
    return p;
}

void lar__page_release(lar_engine *en, int32_t page)
{
    if (--en->refs[page])
        return;
    if (lar__prefix_holds(en, page))
        list_add(&en->prefix, page);
    else
        en->free_page[en->n_free++] = page;
}

static void hold(lar_engine *en, int32_t page)
{
    if (en->refs[page]++ == 0)
        list_remove(&en->prefix, page);
}

/* ---- sequences ------------------------------------------------------------------------------- */

static void keep(lar_seq *s)
{
    lar_engine *en = s->en;
    lar__prefix *x = &en->prefix;
    uint64_t parent = 0;
    if (lar_engine_has_state(en))
        return; /* pages without the state behind them are of no use */
    for (int i = 0; (i + 1) * LAR_PAGE <= s->n; i++) {
        const int32_t *tokens = s->tokens + i * LAR_PAGE, mine = s->page[i];
        const int32_t p = find(x, parent, tokens);
        if (p == NONE && lar__prefix_holds(en, mine))
            return; /* one that it follows was forgotten: so will this one be */
        if (p == NONE) {
            add(x, mine, parent, tokens);
        } else if (p != mine) { /* the same was evaluated twice: hold the one that is known */
            hold(en, p);
            s->page[i] = p;
            lar__page_release(en, mine);
        }
        parent = x->node[s->page[i]].id;
    }
}

void lar_seq_keep(lar_seq *s)
{
    lar_lock_take(&s->en->lock);
    keep(s);
    lar_lock_give(&s->en->lock);
}

static int prefix(lar_seq *s, const int32_t *tokens, int n)
{
    lar_engine *en = s->en;
    const lar__prefix *x = &en->prefix;
    uint64_t parent = 0;
    int same = 0, pages = 0, most = LAR_MIN(n, en->opts.ctx);
    while (same < LAR_MIN(s->n, most) && s->tokens[same] == tokens[same])
        same++;
    keep(s);
    for (int32_t p; (pages + 1) * LAR_PAGE <= most; pages++) {
        if ((p = find(x, parent, tokens + pages * LAR_PAGE)) == NONE)
            break;
        parent = x->node[p].id;
    }
    same = lar_seq_truncate(s, same);
    if (pages * LAR_PAGE <= same)
        return same;
    parent = 0;
    for (int i = 0; i < pages; i++) { /* the last one that it holds may be cut: that is replaced */
        const int32_t p = find(x, parent, tokens + i * LAR_PAGE);
        parent = x->node[p].id;
        if (i < s->n_pages && s->page[i] == p)
            continue;
        hold(en, p);
        if (i < s->n_pages)
            lar__page_release(en, s->page[i]);
        else
            s->n_pages++;
        s->page[i] = p;
    }
    s->n = pages * LAR_PAGE;
    memcpy(s->tokens, tokens, (size_t)s->n * sizeof *tokens);
    return s->n;
}

int lar_seq_prefix(lar_seq *s, const int32_t *tokens, int n)
{
    lar_lock_take(&s->en->lock);
    const int held = prefix(s, tokens, n);
    lar_lock_give(&s->en->lock);
    return held;
}

void lar_engine_forget(lar_engine *en)
{
    lar__prefix *x = &en->prefix;
    lar_lock_take(&en->lock);
    while (x->oldest != NONE) {
        const int32_t p = x->oldest;
        list_remove(x, p);
        lar__prefix_drop(en, p);
        en->free_page[en->n_free++] = p;
    }
    for (int32_t p = 0; p < en->n_pages; p++)
        if (lar__prefix_holds(en, p))
            lar__prefix_drop(en, p);
    lar_lock_give(&en->lock);
}
