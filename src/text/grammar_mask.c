/*
 * grammar_mask.c - which tokens a matcher allows next: the tree of tokens is walked with the
 * automaton. A branch that is dead is left out whole; so is, as allowed, a branch of characters
 * that keep the automaton in a run (the inside of a string, say), which is most of a vocabulary.
 * What was found is remembered by place. Depends on base, grammar_part.h.
 */
#include "text/grammar_part.h"
#include <math.h>
#include <string.h>

enum { BRANCH = 8 /* tokens of a branch for which asking for a run pays */ };
#define FULL UINT64_MAX

/* ---- runs
 * ------------------------------------------------------------------------------------------------
 */

/* Do all bytes lo to hi lead from `place` to places from which the rest of a character, `left` more
 * bytes, leads to `to`? */
static bool wide_leads(lar_matcher *m, uint32_t place, uint32_t to, unsigned lo, unsigned hi,
                       int left)
{
    const uint8_t *class = m->g->byte_class;
    for (unsigned b = lo; b <= hi; b++) {
        if (b > lo && class[b] == class[b - 1])
            continue;
        const uint32_t next = lar__matcher_step(m, place, (uint8_t)b);
        if (!next || (left ? !wide_leads(m, next, to, 0x80, 0xBF, left - 1) : next != to))
            return false;
    }
    return true;
}

/* The same for all characters beyond ASCII. */
static bool all_wide_lead(lar_matcher *m, uint32_t place, uint32_t to)
{
    static const struct {
        uint8_t first, last, lo, hi, left; /* lead bytes, second bytes, how many after them */
    } forms[] = {{0xC2, 0xDF, 0x80, 0xBF, 0}, {0xE0, 0xE0, 0xA0, 0xBF, 1},
                 {0xE1, 0xEC, 0x80, 0xBF, 1}, {0xED, 0xED, 0x80, 0x9F, 1},
                 {0xEE, 0xEF, 0x80, 0xBF, 1}, {0xF0, 0xF0, 0x90, 0xBF, 2},
                 {0xF1, 0xF3, 0x80, 0xBF, 2}, {0xF4, 0xF4, 0x80, 0x8F, 2}};
    const uint8_t *class = m->g->byte_class;
    for (size_t f = 0; f < LAR_LEN(forms); f++)
        for (unsigned b = forms[f].first; b <= forms[f].last; b++) {
            if (b > forms[f].first && class[b] == class[b - 1])
                continue;
            const uint32_t next = lar__matcher_step(m, place, (uint8_t)b);
            if (!next || !wide_leads(m, next, to, forms[f].lo, forms[f].hi, forms[f].left))
                return false;
        }
    return true;
}

/* Where most ASCII characters lead, and which kinds of characters do. */
static lar_run compute_run(lar_matcher *m, uint32_t place)
{
    uint32_t to[128], best = 0;
    size_t most = 0;
    for (unsigned b = 0; b < 128; b++)
        to[b] = lar__matcher_step(m, place, (uint8_t)b);
    for (unsigned b = 0; b < 128; b++) {
        size_t n = 0;
        if (!to[b] || to[b] == best)
            continue;
        for (unsigned c = b; c < 128; c++)
            n += to[c] == to[b];
        if (n > most) {
            most = n;
            best = to[b];
        }
    }
    lar_run r = {.kinds = best ? ~(1ull << LAR_KIND_BROKEN) : 0, .to = best};
    for (unsigned b = 0; b < 128; b++)
        if (to[b] != best)
            r.kinds &= ~(1ull << lar__char_kind((uint8_t)b));
    if (r.kinds && !all_wide_lead(m, place, best))
        r.kinds &= ~(1ull << LAR_KIND_WIDE);
    return r;
}

static lar_run run_of(lar_matcher *m, uint32_t place)
{
    if (!m->place[place].run) {
        const lar_run r = compute_run(m, place);
        if (!lar_grow((void **)&m->run, &m->cap_runs, m->n_runs + 1, sizeof *m->run)) {
            m->failed = m->failed == LAR_OK ? LAR_ENOMEM : m->failed;
            return (lar_run){0};
        }
        m->run[m->n_runs++] = r;
        m->place[place].run = (uint32_t)m->n_runs;
    }
    return m->run[m->place[place].run - 1];
}

/* Can any `chars` characters of these kinds follow? */
static bool in_run(lar_matcher *m, uint32_t place, uint64_t kinds, unsigned chars)
{
    for (; chars; chars--) {
        const lar_run r = run_of(m, place);
        if (kinds & ~r.kinds)
            return false;
        if (r.to == place)
            return true;
        place = r.to;
    }
    return true;
}

/* ---- masks
 * ------------------------------------------------------------------------------------------------
 */

/* Set the bits from a to b, b excluded. */
static void set_bits(uint64_t *mask, size_t a, size_t b)
{
    if (a >= b)
        return;
    const size_t u = a / 64, v = (b - 1) / 64;
    const uint64_t low = FULL << a % 64, high = FULL >> (63 - (b - 1) % 64);
    if (u == v) {
        mask[u] |= low & high;
        return;
    }
    mask[u] |= low;
    for (size_t i = u + 1; i < v; i++)
        mask[i] = FULL;
    mask[v] |= high;
}

/* Walk the tree from the place that the text is in. */
static void walk(lar_matcher *m, bool first, uint64_t *mask)
{
    const lar_token_tree *t = m->tree;
    const lar_tree_node *v = t->node;
    uint32_t at[1026]; /* by depth */
    at[0] = m->now;
    for (size_t i = 0; i < t->n_nodes && m->failed == LAR_OK;) {
        const lar_tree_node *x = &v[i];
        const bool dropped = first && t->drops_space && x->depth == 1 && x->byte == ' ';
        uint32_t place = at[0];
        if (i && !dropped)
            place = lar__matcher_step(m, at[x->depth - 1], x->byte);
        if (!place) {
            i = x->end;
            continue;
        }
        at[x->depth] = place;
        if (i && !dropped)
            set_bits(mask, x->tok, v[i + 1].tok);
        const size_t left = v[x->end].tok - v[i + 1].tok;
        const bool space = !i && first && t->drops_space; /* a branch is not what it seems */
        if (x->whole && left >= BRANCH && !space &&
            in_run(m, place, t->kinds[x->kinds], x->chars)) {
            set_bits(mask, v[i + 1].tok, v[x->end].tok);
            i = x->end;
            continue;
        }
        i++;
    }
}

static size_t mask_words(const lar_matcher *m)
{
    return m->tree->n_tokens / 64 + 1;
}

/* The mask of where the text is, and how many tokens it allows; NULL: m->failed. */
static const uint64_t *find_mask(lar_matcher *m, bool first, uint32_t *count)
{
    const size_t words = mask_words(m), k = m->place[m->now].mask;
    if (k && !first) {
        *count = m->mask_count[k - 1];
        return m->mask + (k - 1) * words;
    }
    if (!lar_grow((void **)&m->mask, &m->cap_masks, (m->n_masks + 1) * words, sizeof *m->mask) ||
        !lar_grow((void **)&m->mask_count, &m->cap_counts, m->n_masks + 1, sizeof *m->mask_count)) {
        m->failed = LAR_ENOMEM;
        return NULL;
    }
    uint64_t *mask = m->mask + m->n_masks * words;
    memset(mask, 0, words * sizeof *mask);
    walk(m, first, mask);
    if (m->failed != LAR_OK)
        return NULL;
    *count = 0;
    for (size_t i = 0; i < words; i++)
        *count += (uint32_t)__builtin_popcountll(mask[i]);
    m->mask_count[m->n_masks] = *count;
    if (!first)
        m->place[m->now].mask = (uint32_t)++m->n_masks;
    return mask;
}

/* Few are allowed: all others at once. */
static void keep_few(lar_matcher *m, const uint64_t *mask, float *x, size_t n)
{
    const lar_token_tree *t = m->tree;
    const size_t words = mask_words(m), n_last = lar_matcher_can_end(m) ? t->n_last : 0;
    for (int put = 0; put < 2; put++) {
        size_t k = 0;
        for (size_t w = 0; w < words; w++)
            for (uint64_t bits = mask[w]; bits; bits &= bits - 1, k++) {
                const size_t id = (size_t)t->id[w * 64 + (size_t)__builtin_ctzll(bits)];
                if (id < n && put)
                    x[id] = m->kept[k];
                else if (id < n)
                    m->kept[k] = x[id];
            }
        for (size_t i = 0; i < n_last; i++, k++) {
            const size_t id = (size_t)t->last[i];
            if (id < n && put)
                x[id] = m->kept[k];
            else if (id < n)
                m->kept[k] = x[id];
        }
        for (size_t i = 0; !put && i < n; i++)
            x[i] = -INFINITY;
    }
}

static void forbid(const int32_t *id, size_t count, float *x, size_t n)
{
    for (size_t i = 0; i < count; i++)
        if ((size_t)id[i] < n)
            x[id[i]] = -INFINITY;
}

void lar_token_tree_forbid_ends(const lar_token_tree *t, float *logits, size_t n)
{
    forbid(t->last, t->n_last, logits, n);
}

static void drop_rest(lar_matcher *m, const uint64_t *mask, float *x, size_t n)
{
    const lar_token_tree *t = m->tree;
    for (size_t w = 0; w < mask_words(m); w++)
        for (uint64_t bits = ~mask[w]; bits; bits &= bits - 1) {
            const size_t k = w * 64 + (size_t)__builtin_ctzll(bits);
            if (k >= t->n_tokens)
                break;
            forbid(&t->id[k], 1, x, n);
        }
    forbid(t->other, t->n_other, x, n);
    if (!lar_matcher_can_end(m))
        lar_token_tree_forbid_ends(t, x, n);
    for (size_t i = t->n_ids; i < n; i++)
        x[i] = -INFINITY;
}

lar_status lar_matcher_apply(lar_matcher *m, bool first, float *logits, size_t n, lar_err *e)
{
    uint32_t count = 0;
    LAR_TRY(lar__matcher_begin(m, e));
    const uint64_t *mask = find_mask(m, first, &count);
    LAR_TRY(lar__matcher_end(m, e));
    if (count < m->tree->n_tokens / 4)
        keep_few(m, mask, logits, n);
    else
        drop_rest(m, mask, logits, n);
    return LAR_OK;
}
