/*
 * tok_part.h - what the tokenizer's files share: the tokenizer's inside, look-up by text, tries,
 * the queue that merges pairs, pre-tokenizers. An algorithm is one file with one lar_tok_def.
 * Depends on base, tokenizer.h.
 */
#ifndef LAR_TOK_PART_H
#define LAR_TOK_PART_H
#include "text/tokenizer.h"

/* Longer tokens exist in no vocabulary of the field; they are never matched in text, which keeps
 * the time that a position of the text may cost bounded. */
#define LAR_TOK_MAX_MATCH 1024

/* ---- tries over tokens: an edge is one slot of a hash table ------------------------------------
 */

typedef struct lar_trie_edge {
    uint32_t key;   /* node << 8 | byte */
    uint32_t child; /* 0: the slot is empty (no edge leads to the root) */
} lar_trie_edge;
typedef struct lar_trie {
    lar_trie_edge *edge;
    size_t cap, n; /* slots (a power of two), edges */
    int32_t *id;   /* of each node: the token that ends there, or -1 */
    size_t n_node, cap_node;
    bool first[256]; /* bytes that some token begins with */
} lar_trie;
lar_status lar__trie_add(lar_trie *t, const char *p, size_t n, int32_t id,
                         lar_err *e);                                    /* the first id stays */
uint32_t lar__trie_next(const lar_trie *t, uint32_t node, uint8_t byte); /* 0: no such edge */
/* Length of the longest token that [p, p+n) begins with, 0 if none. */
size_t lar__trie_longest(const lar_trie *t, const char *p, size_t n, int32_t *id);
void lar__trie_free(lar_trie *t);

/* ---- pre-tokenizers
 * ------------------------------------------------------------------------------ */

enum {
    LAR_PRE_IGNORE_MERGES = 1, /* a word that is a token is taken whole */
    LAR_PRE_BOS = 2,           /* BOS unless the file says otherwise */
    LAR_PRE_RAW = 4,   /* tokens spell UTF-8, not the byte alphabet of GPT-2; bytes are <0xXX> */
    LAR_PRE_ESCAPE = 8 /* spaces become U+2581 first */
};
typedef struct lar_pre {
    const char *names;   /* of tokenizer.ggml.pre, separated by spaces */
    const char *rule[7]; /* one after another, each splits further what the ones before have left */
    unsigned flags;
    const char *lstrip; /* a special token that swallows the white space before it */
} lar_pre;
/* NULL when unknown. */
const lar_pre *lar__pre_find(lar_str name);
void lar__pre_names(lar_buf *out);

/* A byte range's pieces as ends, ascending, the last is n. */
typedef struct lar_cuts {
    size_t *end;
    size_t n, cap;
} lar_cuts;
typedef struct lar_splitter lar_splitter;
lar_status lar__splitter_new(const lar_pre *pre, lar_str own_regex, lar_splitter **out, lar_err *e);
void lar__splitter_free(lar_splitter *s);
typedef struct lar_split_work lar_split_work; /* of one call to encode */
lar_status lar__splitter_cut(const lar_splitter *s, lar_split_work **work, const char *text,
                             size_t n, lar_cuts *cuts, lar_err *e);
void lar__split_work_free(lar_split_work *w);

/* ---- the tokenizer
 * ------------------------------------------------------------------------------- */

enum { LAR_ATTR_TYPE = 7, LAR_ATTR_END = 8, LAR_ATTR_LSTRIP = 16 };

typedef struct lar_tok_slot {
    uint32_t id1; /* id + 1; 0: empty */
    uint32_t tag; /* upper half of the hash */
} lar_tok_slot;

/* What one call to encode works with. */
typedef struct lar_sym {
    uint32_t off, len;  /* in the text; len 0: merged into another */
    int32_t prev, next; /* -1: none */
    int32_t id;         /* -1: no token */
} lar_sym;
typedef struct lar_pair {
    uint64_t key; /* order << 32 | left: the smallest is merged first */
    uint32_t right, len;
    int32_t id;
} lar_pair;
typedef struct lar_tok_run {
    lar_ids *ids;
    bool fresh; /* at the start or after a special token: SentencePiece puts a space here */
    lar_sym *sym;
    size_t n_sym, cap_sym;
    lar_pair *heap;
    size_t n_heap, cap_heap;
    lar_cuts cuts;
    lar_split_work *split;
    lar_buf text; /* normalized */
    void *best;   /* Viterbi's cells */
    size_t cap_best;
} lar_tok_run;

typedef struct lar_tok_def {
    const char *model;                  /* tokenizer.ggml.model */
    int8_t bos, eos, sep, space_prefix; /* added where the file does not say */
    int8_t clean_spaces;
    bool byte_level;   /* tokens are spelled in GPT-2's byte alphabet */
    bool pretokenizes; /* tokenizer.ggml.pre counts */
    int32_t id_bos, id_eos, id_unk, id_sep, id_pad; /* where the file does not say; -1: none */
    lar_status (*init)(lar_tokenizer *t, lar_err *e);
    void (*free)(lar_tokenizer *t);
    /* One piece of text that holds no special token. */
    lar_status (*encode)(const lar_tokenizer *t, lar_tok_run *r, const char *p, size_t n,
                         lar_err *e);
} lar_tok_def;
extern const lar_tok_def lar__tok_bpe, lar__tok_gemma4, lar__tok_spm, lar__tok_unigram,
    lar__tok_wordpiece;

struct lar_tokenizer {
    const lar_tok_def *def;
    lar_vocab v;        /* flags and ids resolved: 0 or 1, in range or -1 */
    lar_tok_slot *slot; /* open addressing, linear probing */
    size_t n_slot;
    uint8_t *attr;           /* type and LAR_ATTR_ bits of each token */
    int32_t byte_id[256];    /* token that stands for the byte, or -1 */
    uint16_t byte_char[256]; /* GPT-2: the character that a byte is spelled as */
    int16_t char_byte[512];  /* and back; -1: none */
    bool byte_level;
    lar_trie user, special; /* spellings split off always; with LAR_TOK_SPECIAL */
    const lar_pre *pre;
    lar_splitter *splitter;
    void *impl; /* the algorithm's own */
};

static inline int lar__tok_type(const lar_tokenizer *t, int32_t id)
{
    return t->attr[id] & LAR_ATTR_TYPE;
}
/* Tokens that plain text may become: not control, unknown or byte tokens. */
static inline bool lar__tok_plain(const lar_tokenizer *t, int32_t id)
{
    int type = t->attr[id] & LAR_ATTR_TYPE;
    return type != LAR_TOKEN_CONTROL && type != LAR_TOKEN_UNKNOWN && type != LAR_TOKEN_BYTE;
}
int32_t lar__tok_find(const lar_tokenizer *t, const char *p, size_t n); /* any token; -1 */
int32_t lar__tok_find_plain(const lar_tokenizer *t, const char *p,
                            size_t n); /* lar__tok_plain ones; -1 */
int lar__tok_byte_value(lar_str text); /* "<0xXX>": the byte; otherwise -1 */
lar_status lar__tok_build(lar_tokenizer *t,
                          lar_err *e); /* slots, types, byte tokens, special tokens */

/* Merging: `pair` says whether the texts of two neighbours make a token, in what order, and which.
 */
typedef bool lar_pair_fn(const lar_tokenizer *t, const char *text, const lar_sym *l,
                         const lar_sym *r, uint32_t *order, int32_t *id);
lar_status lar__tok_sym(lar_tok_run *r, size_t off, size_t len, int32_t id, lar_err *e);
lar_status lar__tok_merge(const lar_tokenizer *t, lar_tok_run *r, const char *text,
                          lar_pair_fn *pair, lar_err *e);
/* The bytes as byte tokens; where there is none, the unknown token if `unk`, else nothing. */
lar_status lar__tok_put_bytes(const lar_tokenizer *t, lar_tok_run *r, const char *p, size_t n,
                              bool unk, lar_err *e);
/* Appends p to b, with spaces as U+2581. */
void lar__tok_escape(lar_buf *b, const char *p, size_t n);
#endif
