/*
 * grammar.h - grammars as filters of tokens: what may be said next so that the whole text belongs
 * to a language. A grammar is GBNF (llama.cpp's syntax) or made of a JSON Schema.
 *
 * A grammar is compiled to an automaton over bytes with a stack. A matcher follows a text; the sets
 * of stacks that it may be in are merged and remembered, so that a place met before costs a
 * look-up. Which tokens are allowed is found by walking the tokens' bytes as a tree, whole branches
 * at once where the automaton stays in a run of characters, and is remembered by place. Time and
 * memory are bounded: what is too ambiguous is refused.
 *
 * A grammar and a token tree are immutable: any thread. A matcher belongs to one thread.
 */
#ifndef LAR_GRAMMAR_H
#define LAR_GRAMMAR_H
#include "text/tokenizer.h"
#include <jansson.h>

typedef struct lar_grammar lar_grammar;

/* Messages have line and column. */
lar_status lar_grammar_gbnf(const char *text, size_t n, lar_grammar **out, lar_err *e);
/* The JSON texts that a schema (draft 2020-12 and what is like it in older ones) accepts, or some
 * of them; never others. What is not supported is refused by name with a JSON pointer. */
lar_status lar_grammar_json_schema(const json_t *schema, lar_grammar **out, lar_err *e);
void lar_grammar_free(lar_grammar *g);
size_t lar_grammar_bytes(const lar_grammar *g); /* memory held */

/* All tokens of a vocabulary that stand for text, by their bytes. */
typedef struct lar_token_tree lar_token_tree;
lar_status lar_token_tree_new(const lar_tokenizer *t, lar_token_tree **out, lar_err *e);
void lar_token_tree_free(lar_token_tree *t);
lar_str lar_token_tree_text(const lar_token_tree *t, int32_t id); /* empty: never allowed */
bool lar_token_tree_drops_space(const lar_token_tree *t);         /* as lar_tokenizer_drops_space */
/* The logits [n] of tokens that end a generation become -INFINITY. */
void lar_token_tree_forbid_ends(const lar_token_tree *t, float *logits, size_t n);
size_t lar_token_tree_bytes(const lar_token_tree *t);

typedef struct lar_matcher lar_matcher;
/* Both are borrowed. tree may be NULL where only bytes are matched. */
lar_status lar_matcher_new(const lar_grammar *g, const lar_token_tree *tree, lar_matcher **out,
                           lar_err *e);
void lar_matcher_free(lar_matcher *m);
/* Go on by n bytes; *fits says whether the text still can become one of the language. If not, the
 * matcher stays where it is. */
lar_status lar_matcher_feed(lar_matcher *m, const char *p, size_t n, bool *fits, lar_err *e);
/* The same without going on. */
lar_status lar_matcher_fits(lar_matcher *m, const char *p, size_t n, bool *fits, lar_err *e);
bool lar_matcher_can_end(const lar_matcher *m);  /* the text is whole */
bool lar_matcher_must_end(const lar_matcher *m); /* and nothing can follow */

/* Whether the token may be next. `first`: it begins the answer, so that the space with which
 * SentencePiece begins a text is dropped. */
lar_status lar_matcher_allows(lar_matcher *m, int32_t id, bool first, bool *yes, lar_err *e);
/* How many of these tokens may follow one after another. */
size_t lar_matcher_prefix(lar_matcher *m, const int32_t *ids, size_t n);
/* The logits [n] of all tokens that may not be next become -INFINITY. Tokens that end a generation
 * stay where the text is whole. */
lar_status lar_matcher_apply(lar_matcher *m, bool first, float *logits, size_t n, lar_err *e);
size_t lar_matcher_bytes(const lar_matcher *m);

#endif
