/*
 * scheduler.h - many threads, one engine: each generates one answer in a sequence of its own, and
 * whatever is due is merged into one step. No thread of its own: the first that waits becomes the
 * leader, waits briefly for those that are in the middle of an answer, runs one step for all, and
 * hands on. Tokens of answers come first, then pieces of prompts by age, so that nobody waits for
 * another's long prompt. When a step is made decides about time alone: what a token's logits are
 * does not depend on its company (docs/NUMERICS.md).
 *
 * Pages cannot run out in the middle of an answer: who enters says how many tokens it may hold at
 * most, and waits until that many are to be had.
 *
 * Depends on engine.h.
 */
#ifndef LAR_SCHEDULER_H
#define LAR_SCHEDULER_H
#include "infer/engine.h"

/* Prompt tokens that go into one step beside others' answers: together with those. */
enum { LAR_SCHED_MIXED = 128 };

typedef struct lar_sched lar_sched; /* of one engine */
typedef struct lar_seat lar_seat;   /* a sequence that takes part; one thread at a time */

/* shared false: one seat at a time, whose steps are the engine's own. */
lar_status lar_sched_new(lar_engine *en, bool shared, lar_sched **out, lar_err *e);
void lar_sched_free(lar_sched *s); /* after all seats */
bool lar_sched_shared(const lar_sched *s);

/* What is going on, for figures. */
typedef struct lar_sched_figures {
    int entered, waiting;          /* seats in an answer; before one, until there are pages */
    uint64_t steps, parts, tokens; /* steps run, and what they had in them */
} lar_sched_figures;
lar_sched_figures lar_sched_get(lar_sched *s);

lar_status lar_seat_new(lar_sched *s, lar_seq *seq, lar_seat **out, lar_err *e);
void lar_seat_free(lar_seat *t); /* NULL is allowed */

/* An answer begins that will hold `tokens` at most. Waits, first come first served, until their
 * pages are promised; LAR_ECANCELLED when *cancel (which may be NULL, and is also looked at in
 * steps, until it leaves) is found other than 0. */
lar_status lar_seat_enter(lar_seat *t, int tokens, const atomic_int *cancel, lar_err *e);
void lar_seat_leave(lar_seat *t); /* it ends; nothing if it has not begun */
/* Nobody else is in an answer: steps cost what they cost this one. */
bool lar_seat_alone(const lar_seat *t);

/* Evaluate part->tokens[0..n) after what the sequence holds, perhaps in company. may_cut: fewer
 * tokens may be evaluated than were asked, part->n says how many. part->logits are good until this
 * seat's next step. */
lar_status lar_seat_step(lar_seat *t, lar_step *part, bool may_cut, lar_err *e);

#endif
