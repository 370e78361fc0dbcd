/*
 * engine.h - sequences, their KV pages, and the scheduler that merges whatever is due into one
 * step.
 *
 * Everything that is evaluated goes through lar_engine_step: a single chat, a server's many
 * requests and a benchmark take the same path. What a token's logits are does not depend on what
 * else is in the step, on how a prompt was cut into steps, nor on threads or instruction set
 * (docs/NUMERICS.md).
 *
 * One thread at a time runs steps (scheduler.h brings many together). Sequences may be used by
 * other threads meanwhile, one thread at a time each, but for those in the step. The net must
 * outlive it.
 */
#ifndef LAR_ENGINE_H
#define LAR_ENGINE_H
#include "base/pool.h"
#include "device/cpu/cpu.h"
#include "models/net.h"

/* The version of docs/NUMERICS.md: what caches and saved sessions are keyed by. */
#define LAR_NUMERICS 2
/* How keys and values lie in a page: goes up when that changes, so that pages in files are not
 * mistaken. */
#define LAR_KV_LAYOUT 1

typedef struct lar_engine lar_engine;
typedef struct lar_seq lar_seq;

typedef struct lar_engine_options {
    int ctx;                  /* tokens of one sequence at most (rounded up to whole pages) */
    int pool;                 /* tokens of all sequences together; 0: ctx */
    int batch;                /* tokens in one step at most */
    int max_seqs;             /* sequences alive at once */
    const lar_dtype *kv_type; /* f32, f16, q8_0, q4_0 */
} lar_engine_options;

lar_status lar_engine_new(lar_net *net, const lar_cpu_variant *variant, lar_pool *pool,
                          const lar_engine_options *opts, lar_engine **out, lar_err *e);
void lar_engine_free(lar_engine *en);
/* Give up steps (LAR_ECANCELLED) when *cancel is found other than 0 while they run; the sequences
 * are as before then. NULL: no more. */
void lar_engine_watch(lar_engine *en, const atomic_int *cancel);
/* Show every node of every step before it runs; NULL: no more. */
void lar_engine_observe(lar_engine *en, const lar_cpu_observer *observer);
int lar_engine_ctx(const lar_engine *en); /* in effect */
int lar_engine_batch(const lar_engine *en);
int lar_engine_max_seqs(const lar_engine *en);
size_t lar_engine_kv_bytes(const lar_engine *en); /* states included */
bool lar_engine_has_state(const lar_engine *en);  /* sequences cannot be cut anywhere */
size_t lar_engine_work_bytes(const lar_engine *en);
const lar_dtype *lar_engine_kv_type(const lar_engine *en);
/* How keys and values may be stored: f32, f16, q8_0; NULL for any other name. */
const lar_dtype *lar_engine_kv_by_name(const char *name);

/* A sequence: the tokens whose keys and values are held. */
lar_status lar_seq_new(lar_engine *en, lar_seq **out, lar_err *e);
void lar_seq_free(lar_seq *s);
int lar_seq_length(const lar_seq *s);
const int32_t *lar_seq_tokens(const lar_seq *s);
/* Forget what comes after `length` tokens. Gives how many are held then: a state (models/net.h)
 * cannot be taken back token by token, so with one it may be fewer: those of lar_seq_mark, or none.
 */
int lar_seq_truncate(lar_seq *s, int length);
/* Keep the present state, so that truncating comes back here; the one kept before is lost. */
void lar_seq_mark(lar_seq *s);
/* Share the first `length` tokens of `from` without computing them again (pages are counted
 * references; a page that is not whole is copied when written). `s` must be empty. With states
 * only all of `from`, or what it marked: LAR_EUNSUPPORTED otherwise. */
lar_status lar_seq_share(lar_seq *s, const lar_seq *from, int length, lar_err *e);

/* One sequence's part of a step: evaluate tokens[0..n) after what the sequence holds. */
typedef struct lar_step {
    lar_seq *seq;
    const int32_t *tokens;
    int n;
    bool all_logits; /* of every token, else of the last one only */
    bool hidden;     /* instead of logits the state behind the output norm; all parts alike */
    float *logits;   /* out: borrowed until the next step; n_vocab floats (hidden: n_embd) per
                        wanted token */
} lar_step;

/* Evaluate all parts (their tokens together at most lar_engine_batch) in one go. LAR_EFULL when the
 * context does not suffice; nothing has changed then. A net that is not causal takes whole
 * sequences only: a part begins at 0. LAR_ENUMERIC for a NaN logit. Allocates nothing if a step of
 * the same shape (tokens, logits) was among the last eight shapes. */
lar_status lar_engine_step(lar_engine *en, lar_step *parts, int n_parts, lar_err *e);

/* Write and read a sequence's tokens and KV: the file says for which model, numerics and KV type it
 * is good. */
lar_status lar_seq_save(const lar_seq *s, const char *path, lar_err *e);
lar_status lar_seq_load(lar_seq *s, const char *path, lar_err *e);

#endif
