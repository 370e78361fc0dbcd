/*
 * grammar_tree.c - the tokens of a vocabulary as a tree over their bytes, in preorder: walking it
 * is walking an array, and the tokens of a branch are neighbours. Each node knows which kinds of
 * characters follow in its branch, and how many at most. Depends on base, grammar_part.h.
 */
#include "text/grammar_part.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 1024, MOST_KINDS = UINT16_MAX };

unsigned lar__char_kind(uint8_t c)
{
    static const char own[] = "\t\n\r\x7f !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    if (c >= '0' && c <= '9')
        return 1;
    if (c >= 'a' && c <= 'z')
        return 2;
    if (c >= 'A' && c <= 'Z')
        return 3;
    const char *p = c ? strchr(own, c) : NULL;
    return p ? 4 + (unsigned)(p - own) : 0;
}

/* ---- the tokens' bytes
 * ------------------------------------------------------------------------------- */

static lar_status no_memory(lar_err *e)
{
    return lar_fail(e, LAR_ENOMEM, "tokens by bytes: out of memory");
}

static lar_status read_texts(lar_token_tree *t, const lar_tokenizer *tok, lar_err *e)
{
    lar_buf b = {0};
    t->n_ids = lar_tokenizer_size(tok);
    t->text_at = lar_alloc_array(t->n_ids + 1, sizeof *t->text_at);
    t->id = lar_alloc_array(t->n_ids + 1, sizeof *t->id);
    t->other = lar_alloc_array(t->n_ids + 1, sizeof *t->other);
    t->last = lar_alloc_array(t->n_ids + 1, sizeof *t->last);
    if (!t->text_at || !t->id || !t->other || !t->last)
        return no_memory(e);
    for (size_t i = 0; i < t->n_ids; i++) {
        const int32_t id = (int32_t)i;
        lar_detok d;
        lar_detok_init(&d, tok, false);
        d.raw = d.started = true; /* as within a text */
        const bool end = lar_tokenizer_is_end(tok, id);
        const size_t from = b.n;
        if (!end)
            lar_detok_put(&d, id, &b);
        if (b.n - from > MOST_DEPTH)
            b.n = from;
        if (b.oom || b.n > UINT32_MAX / 2)
            break;
        t->text_at[i + 1] = (uint32_t)b.n;
        if (end)
            t->last[t->n_last++] = id;
        else if (b.n > from)
            t->id[t->n_tokens++] = id;
        else
            t->other[t->n_other++] = id;
    }
    const bool bad = b.oom || (t->n_ids && b.n != t->text_at[t->n_ids]);
    t->text = bad ? NULL : b.p ? lar_buf_take(&b) : lar_strdup("");
    lar_buf_free(&b);
    t->drops_space = lar_tokenizer_drops_space(tok);
    return t->text ? LAR_OK : no_memory(e);
}

typedef struct spelled {
    const char *p;
    uint32_t n;
    int32_t id;
} spelled;

static int by_bytes(const void *p, const void *q)
{
    const spelled *x = p, *y = q;
    const int c = memcmp(x->p, y->p, LAR_MIN(x->n, y->n));
    return c ? c : x->n != y->n ? (x->n > y->n) - (x->n < y->n) : (x->id > y->id) - (x->id < y->id);
}

static lar_status sort_tokens(lar_token_tree *t, spelled **out, lar_err *e)
{
    spelled *v = lar_alloc_array(t->n_tokens + 1, sizeof *v);
    *out = v;
    if (!v)
        return no_memory(e);
    for (size_t i = 0; i < t->n_tokens; i++) {
        const lar_str s = lar_token_tree_text(t, t->id[i]);
        v[i] = (spelled){s.p, (uint32_t)s.n, t->id[i]};
    }
    if (t->n_tokens)
        qsort(v, t->n_tokens, sizeof *v, by_bytes);
    for (size_t i = 0; i < t->n_tokens; i++)
        t->id[i] = v[i].id;
    return LAR_OK;
}

/* ---- nodes
 * ------------------------------------------------------------------------------------------------
 */

/* What the last byte of a prefix does to its characters. */
typedef enum standing { WHOLE, WITHIN, BROKEN } standing;

typedef struct path {
    uint32_t node[MOST_DEPTH + 1]; /* of each depth */
    uint16_t from[MOST_DEPTH + 1]; /* where the character begins that is not whole yet */
    uint8_t standing[MOST_DEPTH + 1];
} path;

static lar_status build_nodes(lar_token_tree *t, const spelled *v, path *at, uint8_t **standings,
                              lar_err *e)
{
    size_t most = 2; /* nodes: the root, one behind the last */
    for (size_t i = 0; i < t->n_tokens; i++)
        most += v[i].n;
    t->node = lar_alloc_array(most, sizeof *t->node);
    *standings = lar_alloc_array(most, 1);
    if (!t->node || !*standings)
        return no_memory(e);
    size_t depth = 0;
    at->node[0] = at->from[0] = at->standing[0] = 0;
    t->node[0].whole = true;
    t->n_nodes = 1;
    for (size_t i = 0; i < t->n_tokens; i++) {
        size_t same = 0; /* bytes shared with the token before */
        while (i && same < depth && same < v[i].n && v[i].p[same] == v[i - 1].p[same])
            same++;
        for (; depth > same; depth--)
            t->node[at->node[depth]].end = (uint32_t)t->n_nodes;
        for (; depth < v[i].n; depth++) {
            const size_t from = at->standing[depth] == WHOLE ? depth : at->from[depth];
            const size_t n = depth + 1 - from;
            const standing s = at->standing[depth] == BROKEN                       ? BROKEN
                               : lar_utf8_decode(v[i].p + from, n, NULL) == (int)n ? WHOLE
                               : lar_utf8_incomplete(v[i].p + from, n) == n        ? WITHIN
                                                                                   : BROKEN;
            at->node[depth + 1] = (uint32_t)t->n_nodes;
            at->from[depth + 1] = (uint16_t)from;
            at->standing[depth + 1] = (uint8_t)s;
            (*standings)[t->n_nodes] = (uint8_t)s;
            t->node[t->n_nodes++] = (lar_tree_node){.tok = (uint32_t)i,
                                                    .depth = (uint16_t)(depth + 1),
                                                    .byte = (uint8_t)v[i].p[depth],
                                                    .whole = s == WHOLE};
        }
    }
    for (;; depth--) {
        t->node[at->node[depth]].end = (uint32_t)t->n_nodes;
        if (!depth)
            break;
    }
    t->node[t->n_nodes].tok = (uint32_t)t->n_tokens;
    void *fit = lar_realloc(t->node, (t->n_nodes + 1) * sizeof *t->node);
    t->node = fit ? fit : t->node;
    return LAR_OK;
}

/* ---- what follows in each branch
 * ---------------------------------------------------------------------------- */

/* Which set of kinds it is; the set of all where there are too many. */
static lar_status set_number(lar_token_tree *t, uint64_t set, uint16_t *slot, uint16_t *out,
                             lar_err *e)
{
    size_t i = lar_hash64(&set, sizeof set) & (2 * MOST_KINDS + 1);
    for (; slot[i]; i = (i + 1) & (2 * MOST_KINDS + 1))
        if (t->kinds[slot[i]] == set) {
            *out = slot[i];
            return LAR_OK;
        }
    *out = 0;
    if (t->n_kinds >= MOST_KINDS)
        return LAR_OK;
    if (!lar_grow((void **)&t->kinds, &t->cap_kinds, t->n_kinds + 1, sizeof *t->kinds))
        return no_memory(e);
    t->kinds[t->n_kinds] = set;
    *out = slot[i] = (uint16_t)t->n_kinds++;
    return LAR_OK;
}

/* From the leaves to the root. Within a character, what follows is counted from its last byte. */
static lar_status sum_up(lar_token_tree *t, const uint8_t *standings, uint64_t *set,
                         const uint32_t *parent, uint16_t *slot, lar_err *e)
{
    t->kinds = lar_alloc(16 * sizeof *t->kinds);
    if (!t->kinds)
        return no_memory(e);
    t->cap_kinds = 16;
    t->kinds[0] = UINT64_MAX;
    t->n_kinds = 1;
    for (size_t i = t->n_nodes; i-- > 0;) {
        lar_tree_node *x = &t->node[i];
        const bool is_token = i && t->node[i + 1].tok > x->tok;
        if (standings[i] == BROKEN || (standings[i] == WITHIN && is_token))
            set[i] |= 1ull << LAR_KIND_BROKEN;
        LAR_TRY(set_number(t, set[i], slot, &x->kinds, e));
        if (!i)
            break;
        lar_tree_node *up = &t->node[parent[i]];
        const bool ends = standings[i] == WHOLE; /* a character */
        up->chars = (uint16_t)LAR_MAX(up->chars, x->chars + ends);
        set[parent[i]] |= set[i];
        if (ends)
            set[parent[i]] |= 1ull << (x->byte < 0x80 ? lar__char_kind(x->byte) : LAR_KIND_WIDE);
    }
    return LAR_OK;
}

static lar_status summarize(lar_token_tree *t, const uint8_t *standings, path *at, lar_err *e)
{
    uint64_t *set = lar_alloc_array(t->n_nodes, sizeof *set);
    uint32_t *parent = lar_alloc_array(t->n_nodes, sizeof *parent);
    uint16_t *slot = lar_alloc_array(2 * (size_t)MOST_KINDS + 2, sizeof *slot);
    lar_status st = set && parent && slot ? LAR_OK : no_memory(e);
    for (size_t i = 0; st == LAR_OK && i < t->n_nodes; i++) {
        at->node[t->node[i].depth] = (uint32_t)i;
        parent[i] = i ? at->node[t->node[i].depth - 1] : 0;
    }
    if (st == LAR_OK)
        st = sum_up(t, standings, set, parent, slot, e);
    lar_free(set);
    lar_free(parent);
    lar_free(slot);
    return st;
}

lar_status lar_token_tree_new(const lar_tokenizer *tok, lar_token_tree **out, lar_err *e)
{
    lar_token_tree *t = lar_alloc(sizeof *t);
    path *at = lar_alloc(sizeof *at);
    spelled *v = NULL;
    uint8_t *standings = NULL;
    lar_status st = t && at ? LAR_OK : no_memory(e);
    if (st == LAR_OK)
        st = read_texts(t, tok, e);
    if (st == LAR_OK)
        st = sort_tokens(t, &v, e);
    if (st == LAR_OK)
        st = build_nodes(t, v, at, &standings, e);
    if (st == LAR_OK)
        st = summarize(t, standings, at, e);
    lar_free(at);
    lar_free(v);
    lar_free(standings);
    *out = st == LAR_OK ? t : NULL;
    if (st != LAR_OK)
        lar_token_tree_free(t);
    return st;
}

void lar_token_tree_free(lar_token_tree *t)
{
    if (!t)
        return;
    lar_free(t->node);
    lar_free(t->id);
    lar_free(t->kinds);
    lar_free(t->text);
    lar_free(t->text_at);
    lar_free(t->other);
    lar_free(t->last);
    lar_free(t);
}

lar_str lar_token_tree_text(const lar_token_tree *t, int32_t id)
{
    if (id < 0 || (size_t)id >= t->n_ids)
        return (lar_str){"", 0};
    return (lar_str){t->text + t->text_at[id], t->text_at[id + 1] - t->text_at[id]};
}

bool lar_token_tree_drops_space(const lar_token_tree *t)
{
    return t->drops_space;
}

size_t lar_token_tree_bytes(const lar_token_tree *t)
{
    return sizeof *t + t->n_nodes * sizeof *t->node + t->n_ids * 4 * sizeof *t->id +
           t->cap_kinds * sizeof *t->kinds + t->text_at[t->n_ids];
}
