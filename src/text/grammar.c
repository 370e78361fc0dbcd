/*
 * grammar.c - the matcher: an automaton over bytes with a stack, of which all possibilities are
 * followed at once. Places (sets of stacks) are made as they are met and remembered with where each
 * byte leads. Depends on base, grammar_part.h.
 */
#include "text/grammar_part.h"
#include <stdlib.h>
#include <string.h>

enum {
    /* Of places, their entries, and cells of rows; at a quarter of it what is not needed goes. */
    MOST_CELLS = 1 << 21,
    MOST_WORK = 1 << 24, /* of one call: some tenths of a second */
    MOST_MASK_BYTES = 16 << 20,
    UNITE_DEPTH = 400
};
#define UNKNOWN UINT32_MAX

static uint32_t fail(lar_matcher *m, lar_status st)
{
    if (m->failed == LAR_OK)
        m->failed = st;
    return 0;
}

static bool work(lar_matcher *m, size_t n)
{
    m->work += n;
    if (m->work > MOST_WORK)
        fail(m, LAR_EARG);
    return m->failed == LAR_OK;
}

static void add(lar_matcher *m, lar_entries *v, lar_entry x)
{
    if (lar_grow((void **)&v->p, &v->cap, v->n + 1, sizeof *v->p))
        v->p[v->n++] = x;
    else
        fail(m, LAR_ENOMEM);
}

/* ---- places
 * ---------------------------------------------------------------------------------------- */

static uint32_t intern(lar_matcher *m, size_t from, int depth);

/* All stacks of both. */
static uint32_t unite(lar_matcher *m, uint32_t a, uint32_t b, int depth)
{
    const uint32_t both[2] = {a, b};
    const size_t from = m->stack.n;
    if (a == b || !b)
        return a;
    if (depth > UNITE_DEPTH)
        return fail(m, LAR_EARG);
    for (int k = 0; k < 2; k++)
        for (uint32_t i = 0; i < m->place[both[k]].n; i++)
            add(m, &m->stack, m->entries.p[m->place[both[k]].entry + i]);
    return intern(m, from, depth + 1);
}

static int by_state(const void *p, const void *q)
{
    const lar_entry *x = p, *y = q;
    return x->state != y->state ? (x->state > y->state) - (x->state < y->state)
                                : (x->below > y->below) - (x->below < y->below);
}

static void sort(lar_entry *v, size_t n)
{
    if (n > 16) {
        qsort(v, n, sizeof *v, by_state);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        const lar_entry x = v[i];
        size_t j = i;
        for (; j && by_state(&x, &v[j - 1]) < 0; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
}

static bool grow_slots(lar_matcher *m)
{
    size_t n = 256;
    while (n <= 2 * m->n_places)
        n *= 2;
    uint32_t *slot = lar_alloc_array(2 * n, sizeof *slot);
    if (!slot)
        return false;
    n *= 2;
    for (uint32_t k = 1; k < m->n_places; k++) {
        size_t i =
            lar_hash64(m->entries.p + m->place[k].entry, m->place[k].n * sizeof *m->entries.p) &
            (n - 1);
        while (slot[i])
            i = (i + 1) & (n - 1);
        slot[i] = k;
    }
    lar_free(m->slot);
    m->slot = slot;
    m->n_slots = n;
    return true;
}

/* The place of n sorted entries, found or made. */
static uint32_t find_place(lar_matcher *m, const lar_entry *v, size_t n)
{
    if (2 * m->n_places >= m->n_slots && !grow_slots(m))
        return fail(m, LAR_ENOMEM);
    size_t i = lar_hash64(v, n * sizeof *v) & (m->n_slots - 1);
    for (; m->slot[i]; i = (i + 1) & (m->n_slots - 1)) {
        const lar_place *have = &m->place[m->slot[i]];
        if (have->n == n && memcmp(m->entries.p + have->entry, v, n * sizeof *v) == 0)
            return m->slot[i];
    }
    if (m->n_places >= MOST_CELLS || m->entries.n + n > MOST_CELLS)
        return fail(m, LAR_EARG);
    if (!lar_grow((void **)&m->place, &m->cap_places, m->n_places + 1, sizeof *m->place))
        return fail(m, LAR_ENOMEM);
    const lar_place made = {.entry = (uint32_t)m->entries.n, .n = (uint32_t)n};
    for (size_t k = 0; k < n; k++)
        add(m, &m->entries, v[k]);
    if (m->failed != LAR_OK)
        return 0;
    m->place[m->n_places] = made;
    m->slot[i] = (uint32_t)m->n_places;
    return (uint32_t)m->n_places++;
}

/* The place of the stack's entries from `from` on, which are taken away. */
static uint32_t intern(lar_matcher *m, size_t from, int depth)
{
    uint32_t p = 0;
    size_t k = from;
    if (work(m, m->stack.n - from) && m->stack.n > from) {
        sort(m->stack.p + from, m->stack.n - from);
        for (size_t i = from, end = m->stack.n; i < end && m->failed == LAR_OK; i++) {
            const lar_entry x = m->stack.p[i];
            if (k == from || m->stack.p[k - 1].state != x.state)
                m->stack.p[k++] = x;
            else if (m->stack.p[k - 1].below != x.below) {
                const uint32_t below = unite(m, m->stack.p[k - 1].below, x.below, depth);
                m->stack.p[k - 1].below = below;
            }
        }
        if (m->failed == LAR_OK)
            p = find_place(m, m->stack.p + from, k - from);
    }
    m->stack.n = from;
    return p;
}

/* ---- one byte
 * ---------------------------------------------------------------------------------------- */

/* A larger table of the seeds that are there. */
static bool grow_seen(lar_matcher *m)
{
    const size_t n = m->n_seen ? 2 * m->n_seen : 64;
    lar_seen *t = lar_alloc_array(n, sizeof *t);
    if (!t)
        return false;
    for (size_t k = 0; k < m->seeds.n; k++) {
        const lar_entry x = m->seeds.p[k];
        size_t i = lar_hash64(&x, sizeof x) & (n - 1);
        while (t[i].step == m->step)
            i = (i + 1) & (n - 1);
        t[i] = (lar_seen){x, m->step};
    }
    lar_free(m->seen);
    m->seen = t;
    m->n_seen = n;
    return true;
}

static void seed(lar_matcher *m, lar_entry x)
{
    if (2 * m->seeds.n + 2 > m->n_seen && !grow_seen(m)) {
        fail(m, LAR_ENOMEM);
        return;
    }
    size_t i = lar_hash64(&x, sizeof x) & (m->n_seen - 1);
    for (; m->seen[i].step == m->step; i = (i + 1) & (m->n_seen - 1))
        if (by_state(&m->seen[i].entry, &x) == 0)
            return;
    m->seen[i] = (lar_seen){x, m->step};
    add(m, &m->seeds, x);
}

/* The rule begins, and returns to x. */
static void enter(lar_matcher *m, uint32_t rule, lar_entry x)
{
    if (!lar_grow((void **)&m->frame, &m->cap_frames, m->n_frames + 1, sizeof *m->frame)) {
        fail(m, LAR_ENOMEM);
        return;
    }
    m->frame[m->n_frames++] = (lar_frame){x, m->head[rule]};
    m->head[rule] = (uint32_t)m->n_frames;
    m->waiting[rule / 64] |= 1ull << rule % 64;
}

/* What follows without a byte where a state is above `below`. */
static void follow(lar_matcher *m, uint32_t state, uint32_t below, bool may_pop)
{
    const lar_grammar *g = m->g;
    const uint32_t end = g->state[state + 1].item;
    for (uint32_t i = g->state[state].item; i < end && work(m, 1); i++) {
        const lar_item x = g->item[i];
        const uint32_t n =
            x.kind == LAR_ITEM_TAIL || x.kind == LAR_ITEM_POP ? m->place[below].n : 0;
        if (x.kind == LAR_ITEM_BYTES)
            add(m, &m->out, (lar_entry){x.state, below});
        else if (x.kind == LAR_ITEM_CALL)
            enter(m, x.rule, (lar_entry){x.state, below});
        for (uint32_t k = 0; k < n && work(m, 1); k++) {
            const lar_entry up = m->entries.p[m->place[below].entry + k];
            if (x.kind == LAR_ITEM_TAIL)
                enter(m, x.rule, up);
            else if (may_pop)
                seed(m, up);
        }
    }
}

/* The place of all that the seeds lead to without a byte. Rules that begin are merged by rule: each
 * comes after all that begin with it. That a rule may be nothing is in the items of its callers. */
static uint32_t settle(lar_matcher *m)
{
    for (size_t i = 0; i < m->seeds.n && m->failed == LAR_OK; i++) {
        const lar_entry x = m->seeds.p[i];
        if (x.state == LAR_STATE_END)
            add(m, &m->out, x);
        else
            follow(m, x.state, x.below, true);
    }
    for (size_t w = 0; w <= m->g->n_rules / 64; w++)
        while (m->waiting[w]) {
            const uint32_t r = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(m->waiting[w]);
            const size_t from = m->stack.n;
            for (uint32_t f = m->head[r]; f; f = m->frame[f - 1].next)
                add(m, &m->stack, m->frame[f - 1].entry);
            m->head[r] = 0;
            m->waiting[w] &= ~(1ull << r % 64);
            const uint32_t below = intern(m, from, 0);
            if (m->failed == LAR_OK)
                follow(m, m->g->entry[r], below, false);
        }
    for (size_t i = 0; i < m->out.n; i++)
        add(m, &m->stack, m->out.p[i]);
    const uint32_t p = intern(m, 0, 0);
    m->step++;
    m->seeds.n = m->out.n = m->n_frames = 0;
    return p;
}

static uint32_t compute_step(lar_matcher *m, uint32_t place, uint8_t byte)
{
    for (uint32_t k = 0; k < m->place[place].n; k++) {
        const lar_entry x = m->entries.p[m->place[place].entry + k];
        const lar_byte_edge *v = m->g->edge + m->g->state[x.state].edge,
                            *end = m->g->edge + m->g->state[x.state + 1].edge;
        for (; v < end && v->lo <= byte && work(m, 1); v++)
            if (byte <= v->hi)
                seed(m, (lar_entry){v->to, x.below});
    }
    return settle(m);
}

uint32_t lar__matcher_step(lar_matcher *m, uint32_t place, uint8_t byte)
{
    const size_t n = m->g->n_classes, c = m->g->byte_class[byte];
    if (!place || m->failed != LAR_OK)
        return 0;
    if (!m->place[place].row) {
        if ((m->n_rows + 1) * n > 2 * MOST_CELLS)
            return fail(m, LAR_EARG);
        if (!lar_grow((void **)&m->row, &m->cap_rows, (m->n_rows + 1) * n, sizeof *m->row))
            return fail(m, LAR_ENOMEM);
        memset(m->row + m->n_rows * n, 0xFF, n * sizeof *m->row);
        m->place[place].row = (uint32_t)++m->n_rows;
    }
    const size_t at = (m->place[place].row - 1) * n + c;
    if (m->row[at] == UNKNOWN) {
        const uint32_t to = compute_step(m, place, byte);
        if (m->failed != LAR_OK)
            return 0;
        m->row[at] = to;
    }
    return m->row[at];
}

/* ---- what is kept
 * -------------------------------------------------------------------------------------- */

/* Forget all places but the one that the text is in, the start, and those below. */
static void collect(lar_matcher *m)
{
    uint32_t *to = lar_alloc_array(m->n_places, sizeof *to);
    lar_entries all = m->entries;
    lar_place *place = m->place;
    if (!to) {
        fail(m, LAR_ENOMEM);
        return;
    }
    to[m->now] = to[m->start] = 1;
    for (size_t p = m->n_places - 1; p > 0; p--)
        for (uint32_t i = 0; to[p] && i < place[p].n; i++)
            to[all.p[place[p].entry + i].below] = 1;
    const size_t n_places = m->n_places;
    size_t kept = 1, at = 0;
    to[0] = 0;
    for (size_t p = 1; p < n_places; p++) { /* downwards in place: nothing overtakes */
        if (!to[p])
            continue;
        const lar_place old = place[p];
        for (uint32_t i = 0; i < old.n; i++) {
            const lar_entry x = all.p[old.entry + i];
            all.p[at + i] = (lar_entry){x.state, to[x.below]};
        }
        place[kept] = (lar_place){.entry = (uint32_t)at, .n = old.n};
        at += old.n;
        to[p] = (uint32_t)kept++;
    }
    m->now = to[m->now];
    m->start = to[m->start];
    m->n_places = kept;
    m->entries.n = at;
    m->n_rows = m->n_runs = m->n_masks = 0;
    lar_free(to);
    lar_free(m->slot);
    m->slot = NULL; /* made anew when needed */
    m->n_slots = 0;
}

lar_status lar__matcher_begin(lar_matcher *m, lar_err *e)
{
    const size_t mask_bytes = m->tree ? m->n_masks * (m->tree->n_tokens / 8 + 8) : 0;
    m->work = 0;
    m->failed = LAR_OK;
    if (m->n_places > MOST_CELLS / 4 || m->entries.n > MOST_CELLS / 4 ||
        m->n_rows * m->g->n_classes > MOST_CELLS / 2 || mask_bytes > MOST_MASK_BYTES)
        collect(m);
    return lar__matcher_end(m, e);
}

lar_status lar__matcher_end(lar_matcher *m, lar_err *e)
{
    return m->failed == LAR_OK ? LAR_OK
           : m->failed == LAR_ENOMEM
               ? lar_fail(e, LAR_ENOMEM, "grammar: out of memory")
               : lar_fail(e, m->failed,
                          "grammar: too ambiguous here: too many ways to read the text so far");
}

lar_status lar_matcher_new(const lar_grammar *g, const lar_token_tree *tree, lar_matcher **out,
                           lar_err *e)
{
    lar_matcher *m = lar_alloc(sizeof *m);
    *out = NULL;
    if (!m)
        return lar_fail(e, LAR_ENOMEM, "grammar: out of memory");
    m->g = g;
    m->tree = tree;
    m->head = lar_alloc_array(g->n_rules + 1, sizeof *m->head);
    m->waiting = lar_alloc_array(g->n_rules / 64 + 1, sizeof *m->waiting);
    m->kept = tree ? lar_alloc_array(tree->n_tokens + tree->n_last + 1, sizeof *m->kept) : NULL;
    m->place = lar_alloc_array(16, sizeof *m->place); /* place 0 is there */
    if (!m->head || !m->waiting || !m->place || (tree && !m->kept)) {
        lar_matcher_free(m);
        return lar_fail(e, LAR_ENOMEM, "grammar: out of memory");
    }
    m->cap_places = 16;
    m->n_places = m->step = 1;
    add(m, &m->stack, (lar_entry){LAR_STATE_END, 0});
    const uint32_t bottom = intern(m, 0, 0);
    if (bottom) {
        /* The first state's items, and what the root rule may be at once: nothing. */
        seed(m, (lar_entry){g->entry[g->root], bottom});
        m->now = m->start = settle(m);
    }
    const lar_status st = lar__matcher_end(m, e);
    if (st == LAR_OK)
        *out = m;
    else
        lar_matcher_free(m);
    return st;
}

void lar_matcher_free(lar_matcher *m)
{
    if (!m)
        return;
    lar_free(m->place);
    lar_free(m->entries.p);
    lar_free(m->slot);
    lar_free(m->row);
    lar_free(m->run);
    lar_free(m->mask);
    lar_free(m->mask_count);
    lar_free(m->seeds.p);
    lar_free(m->out.p);
    lar_free(m->stack.p);
    lar_free(m->frame);
    lar_free(m->head);
    lar_free(m->waiting);
    lar_free(m->seen);
    lar_free(m->kept);
    lar_free(m);
}

/* ---- following a text
 * -------------------------------------------------------------------------------------- */

static uint32_t steps(lar_matcher *m, uint32_t at, const char *p, size_t n)
{
    for (size_t i = 0; i < n && at; i++)
        at = lar__matcher_step(m, at, (uint8_t)p[i]);
    return at;
}

lar_status lar_matcher_feed(lar_matcher *m, const char *p, size_t n, bool *fits, lar_err *e)
{
    *fits = false;
    LAR_TRY(lar__matcher_begin(m, e));
    const uint32_t at = steps(m, m->now, p, n);
    LAR_TRY(lar__matcher_end(m, e));
    *fits = at != 0;
    m->now = at ? at : m->now;
    return LAR_OK;
}

lar_status lar_matcher_fits(lar_matcher *m, const char *p, size_t n, bool *fits, lar_err *e)
{
    *fits = false;
    LAR_TRY(lar__matcher_begin(m, e));
    *fits = steps(m, m->now, p, n) != 0;
    return lar__matcher_end(m, e);
}

size_t lar_matcher_prefix(lar_matcher *m, const int32_t *ids, size_t n)
{
    size_t k = 0;
    lar_err e;
    uint32_t at = lar__matcher_begin(m, &e) == LAR_OK ? m->now : 0;
    for (; k < n && at; k++) {
        const lar_str s = lar_token_tree_text(m->tree, ids[k]);
        at = s.n ? steps(m, at, s.p, s.n) : 0;
        if (!at)
            break;
    }
    return k;
}

lar_status lar_matcher_allows(lar_matcher *m, int32_t id, bool first, bool *yes, lar_err *e)
{
    lar_str s = lar_token_tree_text(m->tree, id);
    *yes = false;
    for (size_t i = 0; i < m->tree->n_last; i++)
        if (m->tree->last[i] == id) {
            *yes = lar_matcher_can_end(m);
            return LAR_OK;
        }
    if (first && m->tree->drops_space && s.n && *s.p == ' ') {
        s.p++;
        s.n--;
    }
    if (s.n)
        LAR_TRY(lar_matcher_fits(m, s.p, s.n, yes, e));
    return LAR_OK;
}

bool lar_matcher_can_end(const lar_matcher *m)
{
    const lar_place *p = &m->place[m->now];
    return p->n && m->entries.p[p->entry].state == LAR_STATE_END;
}

bool lar_matcher_must_end(const lar_matcher *m)
{
    return m->place[m->now].n == 1 && lar_matcher_can_end(m);
}

size_t lar_matcher_bytes(const lar_matcher *m)
{
    return sizeof *m + m->cap_places * sizeof *m->place +
           (m->entries.cap + m->seeds.cap + m->out.cap + m->stack.cap) * sizeof(lar_entry) +
           (m->n_slots + m->cap_rows) * sizeof(uint32_t) + m->cap_runs * sizeof *m->run +
           m->cap_masks * sizeof *m->mask + m->cap_frames * sizeof *m->frame +
           m->n_seen * sizeof *m->seen;
}
