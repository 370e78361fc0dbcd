/*
 * tok_table.c - tokens by their text: one hash table over the whole vocabulary, tries for what is
 * searched in running text, and what the types and spellings of tokens mean. Depends on base,
 * tok_part.h.
 */
#include "text/tok_part.h"
#include <string.h>

/* Honest vocabularies stay below 100 at the load factor of one half; a file made to collide is
 * refused. */
#define MAX_PROBE 1024
/* Nodes of a trie: a node and a byte are one 32-bit key. */
#define MAX_NODES ((size_t)1 << 24)

/* ---- by text
 * ------------------------------------------------------------------------------------- */

static uint64_t hash_text(const char *p, size_t n)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ (n * 0xff51afd7ed558ccdu), w = 0;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0xd6e8feb86659fd93u;
        h ^= h >> 32;
    }
    w = 0;
    for (size_t i = 0; i < n; i++)
        w |= (uint64_t)(uint8_t)p[i] << (8 * i);
    h = (h ^ w) * 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 29;
}

static bool same(lar_str a, const char *p, size_t n)
{
    return a.n == n && memcmp(a.p, p, n) == 0;
}

static int32_t find(const lar_tokenizer *t, const char *p, size_t n, bool plain)
{
    if (n == 0 || t->n_slot == 0)
        return -1;
    uint64_t h = hash_text(p, n);
    uint32_t tag = (uint32_t)(h >> 32);
    for (size_t i = h & (t->n_slot - 1);; i = (i + 1) & (t->n_slot - 1)) {
        lar_tok_slot s = t->slot[i];
        if (s.id1 == 0)
            return -1;
        int32_t id = (int32_t)(s.id1 - 1);
        if (s.tag == tag && same(t->v.tokens[id], p, n) && (!plain || lar__tok_plain(t, id)))
            return id;
    }
}

int32_t lar__tok_find(const lar_tokenizer *t, const char *p, size_t n)
{
    return find(t, p, n, false);
}

int32_t lar__tok_find_plain(const lar_tokenizer *t, const char *p, size_t n)
{
    return find(t, p, n, true);
}

/* Of tokens with the same text the first counts, and the first plain one for plain text. */
static lar_status insert(lar_tokenizer *t, int32_t id, lar_err *e)
{
    lar_str text = t->v.tokens[id];
    uint64_t h = hash_text(text.p, text.n);
    uint32_t tag = (uint32_t)(h >> 32);
    size_t i = h & (t->n_slot - 1);
    for (int probe = 0; t->slot[i].id1; i = (i + 1) & (t->n_slot - 1)) {
        int32_t other = (int32_t)(t->slot[i].id1 - 1);
        if (t->slot[i].tag == tag && same(t->v.tokens[other], text.p, text.n) &&
            (lar__tok_plain(t, other) || !lar__tok_plain(t, id)))
            return LAR_OK;
        if (++probe > MAX_PROBE)
            return lar_fail(e, LAR_EFORMAT, "tokens: more than %d collide at token %d", MAX_PROBE,
                            (int)id);
    }
    t->slot[i] = (lar_tok_slot){.id1 = (uint32_t)id + 1, .tag = tag};
    return LAR_OK;
}

/* ---- tries
 * ---------------------------------------------------------------------------------------- */

static inline size_t edge_slot(const lar_trie *t, uint32_t key)
{
    return (key * 0x9e3779b97f4a7c15u >> 32) & (t->cap - 1);
}

uint32_t lar__trie_next(const lar_trie *t, uint32_t node, uint8_t byte)
{
    if (t->cap == 0)
        return 0;
    uint32_t key = node << 8 | byte;
    for (size_t i = edge_slot(t, key); t->edge[i].child; i = (i + 1) & (t->cap - 1))
        if (t->edge[i].key == key)
            return t->edge[i].child;
    return 0;
}

static void put_edge(lar_trie *t, lar_trie_edge edge)
{
    size_t i = edge_slot(t, edge.key);
    while (t->edge[i].child)
        i = (i + 1) & (t->cap - 1);
    t->edge[i] = edge;
}

static lar_status trie_room(lar_trie *t, lar_err *e)
{
    if (t->n_node >= MAX_NODES)
        return lar_fail(e, LAR_EFORMAT,
                        "tokens: their texts are longer than this tokenizer can index");
    if (!lar_grow((void **)&t->id, &t->cap_node, t->n_node + 2, sizeof *t->id))
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu nodes", t->n_node);
    if (t->n_node == 0)
        t->id[t->n_node++] = -1;
    if ((t->n + 1) * 2 <= t->cap)
        return LAR_OK;
    lar_trie old = *t;
    t->cap = old.cap ? old.cap * 4 : 64;
    t->edge = lar_alloc_array(t->cap, sizeof *t->edge);
    if (!t->edge) {
        *t = old;
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu edges", old.cap * 4);
    }
    for (size_t i = 0; i < old.cap; i++)
        if (old.edge[i].child)
            put_edge(t, old.edge[i]);
    lar_free(old.edge);
    return LAR_OK;
}

lar_status lar__trie_add(lar_trie *t, const char *p, size_t n, int32_t id, lar_err *e)
{
    if (n == 0 || n > LAR_TOK_MAX_MATCH)
        return LAR_OK;
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t next = lar__trie_next(t, node, (uint8_t)p[i]);
        if (!next) {
            LAR_TRY(trie_room(t, e));
            next = (uint32_t)t->n_node++;
            t->id[next] = -1;
            put_edge(t, (lar_trie_edge){.key = node << 8 | (uint8_t)p[i], .child = next});
            t->n++;
        }
        node = next;
    }
    t->first[(uint8_t)p[0]] = true;
    if (t->id[node] < 0)
        t->id[node] = id;
    return LAR_OK;
}

size_t lar__trie_longest(const lar_trie *t, const char *p, size_t n, int32_t *id)
{
    size_t found = 0;
    uint32_t node = 0;
    if (n == 0 || !t->first[(uint8_t)p[0]])
        return 0;
    for (size_t i = 0; i < n; i++) {
        node = lar__trie_next(t, node, (uint8_t)p[i]);
        if (!node)
            break;
        if (t->id[node] >= 0) {
            found = i + 1;
            *id = t->id[node];
        }
    }
    return found;
}

void lar__trie_free(lar_trie *t)
{
    lar_free(t->edge);
    lar_free(t->id);
    memset(t, 0, sizeof *t);
}

/* ---- what tokens are
 * ------------------------------------------------------------------------------- */

/* Spellings that end an answer, as files of the field have them, whatever else the file says. */
static const char *const end_names[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
    "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
    "<｜end▁of▁sentence｜>", "[e~[",
    /* padding, repository and file marks of code models: nothing of the answer follows them */
    "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>",
    "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>"};

static bool special_type(int type)
{
    return type == LAR_TOKEN_CONTROL || type == LAR_TOKEN_USER;
}

/* The token so spelled, where its type is control or user-defined; else -1. */
static int32_t find_special(const lar_tokenizer *t, const char *name)
{
    int32_t id = lar__tok_find(t, name, strlen(name));
    return id >= 0 && special_type(lar__tok_type(t, id)) ? id : -1;
}

static void set_type(lar_tokenizer *t, int32_t id, int type)
{
    t->attr[id] = (uint8_t)((t->attr[id] & ~LAR_ATTR_TYPE) | type);
}

static void mark_ends(lar_tokenizer *t)
{
    for (size_t i = 0; i < LAR_LEN(end_names); i++) {
        int32_t id = find_special(t, end_names[i]);
        if (id >= 0)
            t->attr[id] |= LAR_ATTR_END;
    }
    /* Harmony and Solar end a message, not the turn, with <|end|>; Gemma 4 has </s> as HTML. */
    int32_t end = find_special(t, "<|end|>");
    bool calls = find_special(t, "<|call|>") >= 0 || find_special(t, "<|calls|>") >= 0;
    if (end >= 0 && calls &&
        (find_special(t, "<|return|>") >= 0 || find_special(t, "<|flush|>") >= 0))
        t->attr[end] &= (uint8_t)~LAR_ATTR_END;
    int32_t s = find_special(t, "</s>");
    if (s >= 0 && find_special(t, "<|tool_response>") >= 0)
        t->attr[s] &= (uint8_t)~LAR_ATTR_END;
    const int32_t named[] = {t->v.eos, t->v.eot, t->v.eom};
    for (size_t i = 0; i < LAR_LEN(named); i++)
        if (named[i] >= 0)
            t->attr[named[i]] |= LAR_ATTR_END;
    /* What ends an answer is not for users to write, also where the file calls it user-defined. */
    for (size_t id = 0; id < t->v.n_tokens; id++)
        if ((t->attr[id] & LAR_ATTR_END) && lar__tok_type(t, (int32_t)id) == LAR_TOKEN_USER)
            set_type(t, (int32_t)id, LAR_TOKEN_CONTROL);
}

int lar__tok_byte_value(lar_str s)
{
    int v = 0;
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        char c = s.p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

static void set_types(lar_tokenizer *t)
{
    const lar_vocab *v = &t->v;
    for (size_t i = 0; i < v->n_tokens; i++) {
        int type = v->types ? v->types[i] : LAR_TOKEN_NORMAL;
        if (!v->types && !t->byte_level && lar__tok_byte_value(v->tokens[i]) >= 0)
            type = LAR_TOKEN_BYTE;
        t->attr[i] =
            type >= LAR_TOKEN_NORMAL && type <= LAR_TOKEN_BYTE ? (uint8_t)type : LAR_TOKEN_NORMAL;
    }
    if (v->types)
        return;
    /* A file without types at least names some tokens. */
    const int32_t named[] = {v->bos, v->eos, v->eot, v->eom, v->unk,
                             v->sep, v->pad, v->cls, v->mask};
    for (size_t i = 0; i < LAR_LEN(named); i++)
        if (named[i] >= 0)
            set_type(t, named[i], LAR_TOKEN_CONTROL);
}

/* GPT-2's byte alphabet: printable Latin-1 stands for itself, the rest for U+0100 onwards. */
static void set_byte_alphabet(lar_tokenizer *t)
{
    uint16_t next = 256;
    memset(t->char_byte, 0xff, sizeof t->char_byte);
    for (int b = 0; b < 256; b++) {
        bool self = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        t->byte_char[b] = self ? (uint16_t)b : next++;
        t->char_byte[t->byte_char[b]] = (int16_t)b;
    }
}

static void set_byte_ids(lar_tokenizer *t)
{
    static const char hex[] = "0123456789ABCDEF";
    for (int b = 0; b < 256; b++)
        t->byte_id[b] = -1;
    if (!t->byte_level)
        for (size_t i = 0; i < t->v.n_tokens; i++) {
            int b = lar__tok_type(t, (int32_t)i) == LAR_TOKEN_BYTE
                        ? lar__tok_byte_value(t->v.tokens[i])
                        : -1;
            if (b >= 0 && t->byte_id[b] < 0)
                t->byte_id[b] = (int32_t)i;
        }
    for (int b = 0; b < 256; b++) {
        char text[8] = {'<', '0', 'x', hex[b >> 4], hex[b & 15], '>'};
        if (t->byte_level) {
            int n = lar_utf8_encode(t->byte_char[b], text);
            t->byte_id[b] = lar__tok_find_plain(t, text, (size_t)n);
            continue;
        }
        if (t->byte_id[b] < 0)
            t->byte_id[b] = lar__tok_find_plain(t, text, 6);
        text[0] = (char)b;
        if (t->byte_id[b] < 0)
            t->byte_id[b] = lar__tok_find_plain(t, text, 1);
    }
}

lar_status lar__tok_build(lar_tokenizer *t, lar_err *e)
{
    size_t n = t->v.n_tokens;
    t->n_slot = 16;
    while (t->n_slot < n * 2)
        t->n_slot *= 2;
    t->slot = lar_alloc_array(t->n_slot, sizeof *t->slot);
    t->attr = lar_alloc_array(n, 1);
    if (!t->slot || !t->attr)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu tokens", n);
    set_types(t);
    for (size_t i = 0; i < n; i++)
        if (t->v.tokens[i].n)
            LAR_TRY(insert(t, (int32_t)i, e));
    mark_ends(t);
    set_byte_alphabet(t);
    set_byte_ids(t);
    for (size_t i = 0; i < n; i++) {
        int type = lar__tok_type(t, (int32_t)i);
        lar_str s = t->v.tokens[i];
        if (type == LAR_TOKEN_USER)
            LAR_TRY(lar__trie_add(&t->user, s.p, s.n, (int32_t)i, e));
        if (special_type(type) || type == LAR_TOKEN_UNKNOWN)
            LAR_TRY(lar__trie_add(&t->special, s.p, s.n, (int32_t)i, e));
    }
    if (t->pre && t->pre->lstrip) {
        int32_t id = find_special(t, t->pre->lstrip);
        if (id >= 0)
            t->attr[id] |= LAR_ATTR_LSTRIP;
    }
    return LAR_OK;
}
