/*
 * grammar_build.c - rules to a compiled grammar: automata over bytes, what can begin and what can
 * end, the order of rules, and for every state what follows without a byte. Depends on base,
 * grammar_part.h.
 */
#include "text/grammar_part.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_STATES = 1 << 18, MOST_EDGES = 1 << 20, MOST_ITEMS = 1 << 22 };
#define NONE UINT32_MAX
#define FIRST(rule) (2 * (uint32_t)(rule) + 2)
#define LAST(rule) (FIRST(rule) + 1)

typedef enum edge_kind { BYTES, EMPTY, CALL } edge_kind;

typedef struct edge {
    uint32_t from, to, next_out, next_in;
    uint32_t rule, next_call; /* CALL: the rule, and the next call of it */
    uint8_t kind, lo, hi;
} edge;

typedef struct state {
    uint32_t out, in; /* first edges */
    bool can_end;     /* of what begins here */
    bool begins;      /* reached from its rule's first state without a byte */
    bool seed;        /* a text can lead here */
} state;

typedef struct builder {
    const lar_rules *rules; /* number r begins in state FIRST(r) and ends in LAST(r) */
    state *state;
    edge *edge;
    size_t n_states, cap_states, n_edges, cap_edges;
    uint32_t *calls;          /* of each rule: the first call of it */
    uint32_t *rules_from;     /* and the first of the states that were made for it alone */
    uint32_t *rank, *by_rank; /* a rule's place in the order, and back */
    uint32_t *todo;           /* states or rules to look at */
    size_t n_todo, cap_todo;
    uint32_t *stamp; /* of each state: the last search that met it */
    lar_err *e;
    lar_status st; /* the first failure sticks */
} builder;

static void fail_memory(builder *b)
{
    if (b->st == LAR_OK)
        b->st = lar_fail(b->e, LAR_ENOMEM, "grammar: out of memory");
}

static void fail_size(builder *b)
{
    if (b->st == LAR_OK)
        b->st = lar_fail(b->e, LAR_EARG,
                         "grammar: too large: more than %d states, %d edges or %d items (fewer or "
                         "smaller repetitions?)",
                         MOST_STATES, MOST_EDGES, MOST_ITEMS);
}

static void push(builder *b, uint32_t x)
{
    if (lar_grow((void **)&b->todo, &b->cap_todo, b->n_todo + 1, sizeof *b->todo))
        b->todo[b->n_todo++] = x;
    else
        fail_memory(b);
}

/* ---- automata
 * ------------------------------------------------------------------------------------ */

static uint32_t new_state(builder *b)
{
    if (b->st != LAR_OK)
        return 0;
    if (b->n_states >= MOST_STATES) {
        fail_size(b);
        return 0;
    }
    if (!lar_grow((void **)&b->state, &b->cap_states, b->n_states + 1, sizeof *b->state)) {
        fail_memory(b);
        return 0;
    }
    b->state[b->n_states] = (state){.out = NONE, .in = NONE};
    return (uint32_t)b->n_states++;
}

static void new_edge(builder *b, edge x)
{
    if (b->st != LAR_OK)
        return;
    if (b->n_edges >= MOST_EDGES) {
        fail_size(b);
        return;
    }
    if (!lar_grow((void **)&b->edge, &b->cap_edges, b->n_edges + 1, sizeof *b->edge)) {
        fail_memory(b);
        return;
    }
    const uint32_t i = (uint32_t)b->n_edges++;
    x.next_out = b->state[x.from].out;
    x.next_in = b->state[x.to].in;
    b->state[x.from].out = b->state[x.to].in = i;
    if (x.kind == CALL) {
        x.next_call = b->calls[x.rule];
        b->calls[x.rule] = i;
    }
    b->edge[i] = x;
}

static void byte_edge(builder *b, uint32_t from, uint32_t to, uint8_t lo, uint8_t hi)
{
    new_edge(b, (edge){.kind = BYTES, .from = from, .to = to, .lo = lo, .hi = hi});
}

static void empty_edge(builder *b, uint32_t from, uint32_t to)
{
    new_edge(b, (edge){.kind = EMPTY, .from = from, .to = to});
}

/* States from which 1, 2 or 3 bytes of the tail of a character lead to `to`. */
typedef struct tails {
    uint32_t at[4]; /* 0: `to` itself; NONE: not made yet */
} tails;

static uint32_t tail(builder *b, tails *t, int n)
{
    for (int i = 1; i <= n; i++)
        if (t->at[i] == NONE) {
            t->at[i] = new_state(b);
            byte_edge(b, t->at[i], t->at[i - 1], 0x80, 0xBF);
        }
    return t->at[n];
}

/* The characters from lo to hi, of n bytes both. */
static void byte_range(builder *b, uint32_t from, tails *t, const uint8_t *lo, const uint8_t *hi,
                       int n)
{
    for (; n > 1 && *lo == *hi; lo++, hi++, n--) {
        const uint32_t next = new_state(b);
        byte_edge(b, from, next, *lo, *lo);
        from = next;
    }
    static const uint8_t least[3] = {0x80, 0x80, 0x80}, most[3] = {0xBF, 0xBF, 0xBF};
    uint8_t first = *lo, last = *hi;
    if (memcmp(lo + 1, least, (size_t)n - 1) != 0) { /* those that begin as lo does */
        const uint32_t next = new_state(b);
        byte_edge(b, from, next, first, first);
        byte_range(b, next, t, lo + 1, most, n - 1);
        first++;
    }
    if (memcmp(hi + 1, most, (size_t)n - 1) != 0) {
        const uint32_t next = new_state(b);
        byte_edge(b, from, next, last, last);
        byte_range(b, next, t, least, hi + 1, n - 1);
        last--;
    }
    if (first <= last)
        byte_edge(b, from, tail(b, t, n - 1), first, last);
}

/* Characters of one length of UTF-8, without the surrogates, which have none. */
static const lar_range lengths[] = {
    {0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x10FFFF}};

static void chars(builder *b, const lar_expr *x, uint32_t from, uint32_t to)
{
    tails t = {{to, NONE, NONE, NONE}};
    for (uint32_t i = 0; i < x->n; i++)
        for (size_t k = 0; k < LAR_LEN(lengths); k++) {
            const uint32_t lo = LAR_MAX(x->range[i].lo, lengths[k].lo);
            const uint32_t hi = LAR_MIN(x->range[i].hi, lengths[k].hi);
            char first[4] = {0}, last[4] = {0};
            if (lo > hi)
                continue;
            const int n = lar_utf8_encode(lo, first);
            lar_utf8_encode(hi, last);
            byte_range(b, from, &t, (const uint8_t *)first, (const uint8_t *)last, n);
        }
}

static void expr(builder *b, const lar_expr *x, uint32_t from, uint32_t to);

/* `min` times, then up to max times or for ever; each time is a copy of its own. */
static void repeat(builder *b, const lar_expr *x, uint32_t from, uint32_t to)
{
    const bool forever = x->max == LAR_RULE_MANY;
    const uint32_t copies = forever ? x->min : x->max;
    for (uint32_t i = 0; i < copies && b->st == LAR_OK; i++) {
        const uint32_t next = !forever && i + 1 == copies ? to : new_state(b);
        if (i >= x->min)
            empty_edge(b, from, to);
        expr(b, x->part[0], from, next);
        from = next;
    }
    if (forever) {
        const uint32_t loop = new_state(b);
        empty_edge(b, from, loop);
        expr(b, x->part[0], loop, loop);
        from = loop;
    }
    if (from != to)
        empty_edge(b, from, to);
}

static void expr(builder *b, const lar_expr *x, uint32_t from, uint32_t to)
{
    if (b->st != LAR_OK)
        return;
    switch (x->kind) {
    case LAR_EXPR_TEXT:
        if (!x->n)
            empty_edge(b, from, to);
        for (uint32_t i = 0; i < x->n; i++) {
            const uint32_t next = i + 1 < x->n ? new_state(b) : to;
            byte_edge(b, from, next, (uint8_t)x->text[i], (uint8_t)x->text[i]);
            from = next;
        }
        return;
    case LAR_EXPR_CHARS:
        chars(b, x, from, to);
        return;
    case LAR_EXPR_SEQ:
        for (uint32_t i = 0; i < x->n; i++) {
            const uint32_t next = i + 1 < x->n ? new_state(b) : to;
            expr(b, x->part[i], from, next);
            from = next;
        }
        return;
    case LAR_EXPR_ALT:
        for (uint32_t i = 0; i < x->n; i++)
            expr(b, x->part[i], from, to);
        return;
    case LAR_EXPR_REPEAT:
        repeat(b, x, from, to);
        return;
    case LAR_EXPR_RULE:
        new_edge(b, (edge){.kind = CALL, .from = from, .to = to, .rule = x->n});
        return;
    }
}

/* ---- what can begin and end
 * ------------------------------------------------------------------------ */

static void begin_at(builder *b, uint32_t s)
{
    if (!b->state[s].begins) {
        b->state[s].begins = true;
        push(b, s);
    }
}

/* States that a rule reaches before any byte; if its last is one, it can be nothing. */
static void find_beginnings(builder *b)
{
    for (size_t r = 0; r < b->rules->n; r++)
        begin_at(b, FIRST(r));
    while (b->n_todo && b->st == LAR_OK) {
        const uint32_t s = b->todo[--b->n_todo];
        for (uint32_t i = b->state[s].out; i != NONE; i = b->edge[i].next_out) {
            const edge *x = &b->edge[i];
            if (x->kind == EMPTY || (x->kind == CALL && b->state[LAST(x->rule)].begins))
                begin_at(b, x->to);
        }
        const uint32_t r = s / 2 - 1;
        if (r < b->rules->n && s == LAST(r))
            for (uint32_t i = b->calls[r]; i != NONE; i = b->edge[i].next_call)
                if (b->state[b->edge[i].from].begins)
                    begin_at(b, b->edge[i].to);
    }
}

static void end_at(builder *b, uint32_t s)
{
    if (!b->state[s].can_end) {
        b->state[s].can_end = true;
        push(b, s);
    }
}

/* States from which their rule can come to its end. */
static void find_ends(builder *b)
{
    for (size_t r = 0; r < b->rules->n; r++)
        end_at(b, LAST(r));
    while (b->n_todo && b->st == LAR_OK) {
        const uint32_t s = b->todo[--b->n_todo];
        for (uint32_t i = b->state[s].in; i != NONE; i = b->edge[i].next_in) {
            const edge *x = &b->edge[i];
            if (x->kind != CALL || b->state[FIRST(x->rule)].can_end)
                end_at(b, x->from);
        }
        const uint32_t r = s / 2 - 1;
        if (r < b->rules->n && s == FIRST(r))
            for (uint32_t i = b->calls[r]; i != NONE; i = b->edge[i].next_call)
                if (b->state[b->edge[i].to].can_end)
                    end_at(b, b->edge[i].from);
    }
}

/* An edge that some whole text takes. */
static bool is_live(const builder *b, const edge *x)
{
    return b->state[x->to].can_end && (x->kind != CALL || b->state[FIRST(x->rule)].can_end);
}

/* ---- the order of rules
 * ------------------------------------------------------------------------------ */

/* A rule comes after all that begin with it, so that a search through beginnings meets each once.
 * Depth first, on a stack of edges: `todo` holds edges still to look at, rank says NONE for rules
 * not met, NONE - 1 for those on the way. */
static void visit(builder *b, uint32_t root, const uint32_t *begin, const uint32_t *callee,
                  uint32_t *next_rank)
{
    const uint32_t on_way = NONE - 1, leave = 1u << 31;
    push(b, root);
    while (b->n_todo && b->st == LAR_OK) {
        const uint32_t x = b->todo[--b->n_todo], r = x & ~leave;
        if (x & leave) {
            b->rank[r] = --*next_rank;
            b->by_rank[b->rank[r]] = r;
            continue;
        }
        if (b->rank[r] < on_way)
            continue;
        if (b->rank[r] == on_way) {
            b->st = lar_fail(b->e, LAR_EARG,
                             "grammar: rule '%.80s' can begin with itself (left recursion): write "
                             "it as a repetition, or with the recursion at the end",
                             b->rules->rule[r].name);
            return;
        }
        b->rank[r] = on_way;
        push(b, r | leave);
        for (uint32_t i = begin[r]; i < begin[r + 1]; i++)
            if (b->rank[callee[i]] >= on_way)
                push(b, callee[i]);
    }
}

/* Which rules each rule begins with, as an array of callees with the first of each rule. */
static void order_rules(builder *b)
{
    const size_t n = b->rules->n;
    uint32_t *begin = lar_alloc_array(n + 2, sizeof *begin);
    uint32_t *owner = lar_alloc_array(b->n_states + 1, sizeof *owner);
    uint32_t *callee = lar_alloc_array(b->n_edges + 1, sizeof *callee);
    uint32_t next_rank = (uint32_t)n;
    if (!begin || !owner || !callee)
        fail_memory(b);
    for (size_t r = 0; b->st == LAR_OK && r < n; r++) {
        /* States of a rule were made one after another, but for its first and last. */
        for (uint32_t s = b->rules_from[r]; s < b->rules_from[r + 1]; s++)
            owner[s] = (uint32_t)r;
        owner[FIRST(r)] = owner[LAST(r)] = (uint32_t)r;
    }
    for (int pass = 0; b->st == LAR_OK && pass < 2; pass++) {
        for (size_t i = 0; i < b->n_edges; i++) {
            const edge *x = &b->edge[i];
            if (x->kind != CALL || !b->state[x->from].begins || !is_live(b, x))
                continue;
            if (!pass)
                begin[owner[x->from] + 2]++;
            else
                callee[begin[owner[x->from] + 1]++] = x->rule;
        }
        for (size_t r = 0; !pass && r < n; r++)
            begin[r + 2] += begin[r + 1];
    }
    for (size_t r = 0; r < n && b->st == LAR_OK; r++)
        b->rank[r] = NONE;
    for (size_t r = 0; r < n && b->st == LAR_OK; r++)
        visit(b, (uint32_t)r, begin, callee, &next_rank);
    lar_free(begin);
    lar_free(owner);
    lar_free(callee);
}

/* ---- the compiled grammar
 * ---------------------------------------------------------------------------- */

static void add_item(builder *b, lar_grammar *g, size_t *cap, lar_item x)
{
    if (g->n_items >= MOST_ITEMS)
        fail_size(b);
    else if (!lar_grow((void **)&g->item, cap, g->n_items + 1, sizeof *g->item))
        fail_memory(b);
    else
        g->item[g->n_items++] = x;
}

static void follow(builder *b, uint32_t s, uint32_t mark)
{
    if (b->stamp[s] != mark) {
        b->stamp[s] = mark;
        push(b, s);
    }
}

/* What follows a state without a byte. */
static void list_items(builder *b, lar_grammar *g, size_t *cap, uint32_t seed)
{
    const uint32_t mark = seed + 1;
    follow(b, seed, mark);
    while (b->n_todo && b->st == LAR_OK) {
        const uint32_t s = b->todo[--b->n_todo], r = s / 2 - 1;
        bool bytes = false;
        if (r < b->rules->n && s == LAST(r))
            add_item(b, g, cap, (lar_item){.kind = LAR_ITEM_POP});
        for (uint32_t i = b->state[s].out; i != NONE; i = b->edge[i].next_out) {
            const edge *x = &b->edge[i];
            if (!is_live(b, x))
                continue;
            bytes = bytes || x->kind == BYTES;
            if (x->kind == CALL)
                add_item(
                    b, g, cap,
                    (lar_item){.kind = LAR_ITEM_CALL, .rule = b->rank[x->rule], .state = x->to});
            if (x->kind == EMPTY || (x->kind == CALL && b->state[LAST(x->rule)].begins))
                follow(b, x->to, mark);
        }
        if (bytes)
            add_item(b, g, cap, (lar_item){.kind = LAR_ITEM_BYTES, .state = s});
    }
}

static void find_seeds(builder *b)
{
    for (size_t r = 0; r < b->rules->n; r++)
        b->state[FIRST(r)].seed = true;
    for (size_t i = 0; i < b->n_edges; i++)
        if (b->edge[i].kind != EMPTY && is_live(b, &b->edge[i]))
            b->state[b->edge[i].to].seed = true;
}

static int by_byte(const void *p, const void *q)
{
    const lar_byte_edge *x = p, *y = q;
    return x->lo != y->lo   ? x->lo - y->lo
           : x->hi != y->hi ? x->hi - y->hi
                            : (x->to > y->to) - (x->to < y->to);
}

/* The edges of each state over bytes, in order; bytes that some edge tells from their neighbour. */
static void list_edges(builder *b, lar_grammar *g)
{
    bool cut[257] = {false};
    for (size_t s = 0; s < b->n_states; s++) {
        const size_t from = g->n_edges;
        g->state[s].edge = (uint32_t)from;
        for (uint32_t i = b->state[s].out; i != NONE; i = b->edge[i].next_out) {
            const edge *x = &b->edge[i];
            if (x->kind != BYTES || !is_live(b, x))
                continue;
            g->edge[g->n_edges++] = (lar_byte_edge){x->to, x->lo, x->hi};
            cut[x->lo] = cut[x->hi + 1] = true;
        }
        if (g->n_edges - from > 1)
            qsort(g->edge + from, g->n_edges - from, sizeof *g->edge, by_byte);
    }
    g->state[b->n_states].edge = (uint32_t)g->n_edges;
    for (int i = 0; i < 256; i++) {
        if (!i || cut[i])
            g->class_byte[g->n_classes++] = (uint8_t)i;
        g->byte_class[i] = (uint8_t)(g->n_classes - 1);
    }
}

/* A call that returns to where its rule ends at once need not return at all. */
static void mark_tails(lar_grammar *g)
{
    for (size_t i = 0; i < g->n_items; i++) {
        lar_item *x = &g->item[i];
        const uint32_t first = x->kind == LAR_ITEM_CALL ? g->state[x->state].item : 0;
        if (x->kind == LAR_ITEM_CALL && g->state[x->state + 1].item == first + 1 &&
            g->item[first].kind == LAR_ITEM_POP)
            x->kind = LAR_ITEM_TAIL;
    }
}

static lar_grammar *finish(builder *b, uint32_t root)
{
    lar_grammar *g = b->st == LAR_OK ? lar_alloc(sizeof *g) : NULL;
    size_t cap = 0;
    if (!g) {
        fail_memory(b);
        return NULL;
    }
    g->n_states = b->n_states;
    g->n_rules = b->rules->n;
    g->root = b->rank[root];
    g->state = lar_alloc_array(b->n_states + 1, sizeof *g->state);
    g->edge = lar_alloc_array(b->n_edges + 1, sizeof *g->edge);
    g->entry = lar_alloc_array(g->n_rules + 1, sizeof *g->entry);
    b->stamp = lar_alloc_array(b->n_states + 1, sizeof *b->stamp);
    if (g->state && g->edge && g->entry && b->stamp) {
        find_seeds(b);
        for (uint32_t s = 0; s < b->n_states; s++) {
            g->state[s].item = (uint32_t)g->n_items;
            if (b->state[s].seed)
                list_items(b, g, &cap, s);
        }
        g->state[b->n_states].item = (uint32_t)g->n_items;
        for (size_t i = 0; i < g->n_rules; i++)
            g->entry[i] = FIRST(b->by_rank[i]);
        if (b->st == LAR_OK) {
            mark_tails(g);
            list_edges(b, g);
        }
    } else {
        fail_memory(b);
    }
    if (b->st == LAR_OK)
        return g;
    lar_grammar_free(g);
    return NULL;
}

static void build_rules(builder *b)
{
    for (size_t i = 0; i < 2 * b->rules->n + 2; i++)
        new_state(b); /* END, one to spare, each rule's first and last */
    for (size_t r = 0; r < b->rules->n && b->st == LAR_OK; r++)
        b->calls[r] = NONE;
    for (size_t r = 0; r < b->rules->n && b->st == LAR_OK; r++) {
        b->rules_from[r] = (uint32_t)b->n_states;
        expr(b, b->rules->rule[r].body, FIRST(r), LAST(r));
    }
    b->rules_from[b->rules->n] = (uint32_t)b->n_states;
}

lar_status lar__grammar_compile(const lar_rules *r, uint32_t root, lar_grammar **out, lar_err *e)
{
    builder b = {.rules = r, .e = e};
    b.calls = lar_alloc_array(r->n + 1, sizeof *b.calls);
    b.rules_from = lar_alloc_array(r->n + 1, sizeof *b.rules_from);
    b.rank = lar_alloc_array(r->n + 1, sizeof *b.rank);
    b.by_rank = lar_alloc_array(r->n + 1, sizeof *b.by_rank);
    if (r->oom || !b.calls || !b.rules_from || !b.rank || !b.by_rank)
        fail_memory(&b);
    if (b.st == LAR_OK)
        build_rules(&b);
    if (b.st == LAR_OK) {
        find_beginnings(&b);
        find_ends(&b);
    }
    if (b.st == LAR_OK && !b.state[FIRST(root)].can_end)
        b.st = lar_fail(e, LAR_EARG, "grammar: no text is ever whole by rule '%.80s'",
                        r->rule[root].name);
    if (b.st == LAR_OK)
        order_rules(&b);
    *out = finish(&b, root);
    lar_free(b.state);
    lar_free(b.edge);
    lar_free(b.calls);
    lar_free(b.rules_from);
    lar_free(b.rank);
    lar_free(b.by_rank);
    lar_free(b.todo);
    lar_free(b.stamp);
    return b.st;
}

void lar_grammar_free(lar_grammar *g)
{
    if (!g)
        return;
    lar_free(g->state);
    lar_free(g->edge);
    lar_free(g->item);
    lar_free(g->entry);
    lar_free(g);
}

size_t lar_grammar_bytes(const lar_grammar *g)
{
    return sizeof *g + (g->n_states + 1) * sizeof *g->state + g->n_edges * sizeof *g->edge +
           g->n_items * sizeof *g->item + g->n_rules * sizeof *g->entry;
}
