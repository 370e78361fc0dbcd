/*
 * grammar_part.h - what the grammar's files share: rules as trees, which the readers of GBNF and of
 * JSON Schema build; the compiled grammar; the tree of tokens. Depends on base, grammar.h.
 */
#ifndef LAR_GRAMMAR_PART_H
#define LAR_GRAMMAR_PART_H
#include "text/grammar.h"

/* ---- rules ----------------------------------------------------------------------------------- */

enum {
    LAR_RULE_DEPTH = 64, /* groups in groups */
    LAR_RULES_MOST = 1 << 16
};
#define LAR_RULE_MANY UINT32_MAX /* times: no upper limit */

typedef struct lar_range {
    uint32_t lo, hi; /* code points */
} lar_range;

typedef enum lar_expr_kind {
    LAR_EXPR_TEXT,   /* n bytes; none: nothing */
    LAR_EXPR_CHARS,  /* one character in one of n ranges, ascending and apart */
    LAR_EXPR_SEQ,    /* n parts */
    LAR_EXPR_ALT,    /* one of n parts */
    LAR_EXPR_REPEAT, /* part[0], min to max times */
    LAR_EXPR_RULE    /* rule number n */
} lar_expr_kind;

typedef struct lar_expr {
    lar_expr_kind kind;
    uint32_t n, min, max;
    const char *text;
    const lar_range *range;
    struct lar_expr **part;
} lar_expr;

typedef struct lar_rule {
    const char *name;
    lar_expr *body; /* NULL: used, not defined yet */
    const char *at; /* where it was named first, for messages */
} lar_rule;

/* Rules being built. Out of memory sticks: builders then return NULL, and take NULL parts. */
typedef struct lar_rules {
    lar_arena *arena;
    lar_rule *rule;
    size_t n, cap;
    bool oom;
} lar_rules;
bool lar__rules_init(lar_rules *r);
void lar__rules_free(lar_rules *r);
/* UINT32_MAX when out of memory or there are too many. */
uint32_t lar__rules_add(lar_rules *r, const char *name, size_t n);

lar_expr *lar__expr_text(lar_rules *r, const char *p, size_t n);
/* The ranges in any order; merged, and complemented if asked. */
lar_expr *lar__expr_chars(lar_rules *r, const lar_range *range, size_t n, bool negate);
/* SEQ or ALT of parts; one part is itself. */
lar_expr *lar__expr_list(lar_rules *r, lar_expr_kind kind, lar_expr *const *part, size_t n);
lar_expr *lar__expr_repeat(lar_rules *r, lar_expr *part, uint32_t min, uint32_t max);
lar_expr *lar__expr_rule(lar_rules *r, uint32_t rule);

/* Every rule has a body; `root` is one's number. */
lar_status lar__grammar_compile(const lar_rules *r, uint32_t root, lar_grammar **out, lar_err *e);

/* ---- the compiled grammar ----------------------------------------------------------------------
 *
 * Each rule is a nondeterministic automaton over bytes whose edges may also call a rule. Of every
 * state that a text can lead to, what follows without a byte is listed: its items. Rules are
 * numbered so that a rule begins only with calls of higher ones (left recursion is refused). */

enum { LAR_STATE_END = 0 /* below the root rule: the text is whole */ };

typedef enum lar_item_kind {
    LAR_ITEM_BYTES, /* the state's edges */
    LAR_ITEM_CALL,  /* the rule, then the state */
    LAR_ITEM_TAIL,  /* the rule, and with it this one ends */
    LAR_ITEM_POP    /* this rule ends */
} lar_item_kind;

typedef struct lar_item {
    uint32_t kind : 2, rule : 30;
    uint32_t state;
} lar_item;

typedef struct lar_byte_edge {
    uint32_t to;
    uint8_t lo, hi;
} lar_byte_edge;

typedef struct lar_gstate {
    uint32_t edge, item; /* the first; those of the next state end them */
} lar_gstate;

struct lar_grammar {
    lar_gstate *state; /* n_states + 1 */
    size_t n_states;
    lar_byte_edge *edge;
    lar_item *item;
    size_t n_edges, n_items;
    uint32_t *entry; /* of each rule: its first state */
    size_t n_rules;
    uint32_t root;
    uint8_t byte_class[256]; /* bytes that no edge tells apart are one class */
    uint8_t class_byte[256]; /* one of each class */
    size_t n_classes;
};

/* ---- where a text is
 * --------------------------------------------------------------------------------
 *
 * A place is a set of stacks: entries (state, the place below), one for each topmost state, so that
 * stacks that differ below are merged. Equal sets are the same place, found by hash; place 0 is the
 * empty set. A place is made after those below it: its number is higher. Of a place that a text is
 * in, the states have edges over bytes (or are LAR_STATE_END). */

typedef struct lar_entry {
    uint32_t state, below;
} lar_entry;

typedef struct lar_place {
    uint32_t entry, n;       /* its entries */
    uint32_t row, run, mask; /* number + 1 of what is known of it; 0: nothing yet */
} lar_place;

/* Characters of these kinds all lead to one place. */
typedef struct lar_run {
    uint64_t kinds;
    uint32_t to;
} lar_run;

/* Growing arrays. */
typedef struct lar_entries {
    lar_entry *p;
    size_t n, cap;
} lar_entries;

typedef struct lar_frame {
    lar_entry entry;
    uint32_t next; /* number + 1 */
} lar_frame;

typedef struct lar_seen {
    lar_entry entry;
    uint64_t step; /* in use when it is this step */
} lar_seen;

struct lar_matcher {
    const lar_grammar *g;
    const lar_token_tree *tree;
    uint32_t now, start;
    lar_place *place;
    lar_entries entries;
    uint32_t *slot; /* places by hash: number; 0: free */
    uint32_t *row;  /* where each class of bytes leads */
    lar_run *run;
    uint64_t *mask; /* a bit for each token, in the tree's order */
    uint32_t *mask_count;
    size_t n_places, cap_places, n_slots, n_rows, cap_rows, n_runs, cap_runs, n_masks, cap_masks,
        cap_counts;
    lar_entries seeds, out, stack; /* of a step */
    lar_frame *frame;
    size_t n_frames, cap_frames;
    uint32_t *head;    /* of each rule: the frames it is called from */
    uint64_t *waiting; /* rules with frames, as bits */
    lar_seen *seen;    /* the seeds, as a hash table */
    size_t n_seen;
    uint64_t step;     /* number of this one */
    float *kept;       /* logits of the few that are allowed */
    size_t work;       /* of this call */
    lar_status failed; /* of this call */
};

/* Where the byte leads; 0: nowhere, or m->failed. */
uint32_t lar__matcher_step(lar_matcher *m, uint32_t place, uint8_t byte);
/* Every call begins so, and ends by telling what failed. */
lar_status lar__matcher_begin(lar_matcher *m, lar_err *e);
lar_status lar__matcher_end(lar_matcher *m, lar_err *e);

/* ---- tokens by their bytes ----------------------------------------------------------------------
 */

/* A node of the tree, in preorder: its branch ends where `end` says, and the tokens of its branch
 * are numbers tok to node[end].tok of the order by bytes. */
typedef struct lar_tree_node {
    uint32_t end, tok;
    uint16_t kinds; /* which set of kinds of characters follow it in its branch */
    uint16_t depth; /* bytes from the beginning */
    uint16_t chars; /* so many characters at most follow it in its branch */
    uint8_t byte;
    bool whole; /* its bytes are whole characters */
} lar_tree_node;

enum { LAR_KIND_WIDE = 62, /* a whole character beyond ASCII */ LAR_KIND_BROKEN = 63 };
unsigned lar__char_kind(uint8_t ascii); /* 0 to 61 */

struct lar_token_tree {
    lar_tree_node *node; /* n_nodes and one behind them; the first is the root */
    size_t n_nodes;
    int32_t *id; /* of the tokens in order of bytes, then id */
    size_t n_tokens;
    uint64_t *kinds; /* sets of kinds */
    size_t n_kinds, cap_kinds;
    char *text;        /* of all tokens, one after another */
    uint32_t *text_at; /* n_ids + 1 */
    size_t n_ids;
    int32_t *other; /* ids that stand for no text */
    size_t n_other;
    int32_t *last; /* ids that end a generation */
    size_t n_last;
    bool drops_space; /* the first token of a text loses a space */
};

#endif
