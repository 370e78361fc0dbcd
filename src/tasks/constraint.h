/*
 * constraint.h - an answer that keeps to a grammar: the sampler's filter, from where the answer
 * begins (after a reasoning block, if there is one) to its end.
 */
#ifndef LAR_CONSTRAINT_H
#define LAR_CONSTRAINT_H
#include "infer/sampler.h"
#include "tasks/answer.h"
#include "text/grammar.h"

/* What a request asks for; at most one of them. */
typedef struct lar_constraint_options {
    const char *grammar;  /* GBNF; NULL: none */
    const json_t *schema; /* NULL: none */
    bool any_json;        /* some JSON object */
    bool may_think;       /* a reasoning block may come first */
    bool ignore_eos;      /* go on while the grammar lets it */
} lar_constraint_options;

typedef struct lar_constraint {
    lar_token_filter filter;
    lar_grammar *grammar; /* NULL: no constraint */
    lar_matcher *matcher;
    const lar_token_tree *tree;
    const lar_answer *answer;
    enum {
        LAR_CONSTRAINT_START, /* a reasoning block may begin */
        LAR_CONSTRAINT_FREE,  /* within one */
        LAR_CONSTRAINT_GAP,   /* behind one: blanks, then the text */
        LAR_CONSTRAINT_ON
    } where;
    bool first;      /* nothing is said yet */
    bool ignore_eos; /* tokens that end a generation are never taken */
    bool had_gap;    /* its one token of blanks was said */
    int32_t think;   /* the token that begins a reasoning block; -1: none */
    lar_ids blanks;  /* tokens of blanks alone */
    lar_ids closers; /* tokens with a '>' and more behind it */
} lar_constraint;

/* `a` is the answer as lar_answer_init has left it; it is borrowed. Nothing is constrained when the
 * options ask for nothing. End with lar_constraint_free, also after an error. */
lar_status lar_constraint_init(lar_constraint *c, lar_model *model, const lar_constraint_options *o,
                               const lar_answer *a, lar_err *e);
void lar_constraint_free(lar_constraint *c);
/* For the sampler; NULL: none. */
const lar_token_filter *lar_constraint_filter(const lar_constraint *c);
/* The text is whole and nothing can follow. */
bool lar_constraint_done(const lar_constraint *c);
/* Whether what was said is whole; true where there is no constraint. */
bool lar_constraint_whole(const lar_constraint *c);
/* How many of the guessed tokens the grammar lets follow what was said. */
int lar_constraint_fits(const lar_constraint *c, const int32_t *ids, int n);

#endif
