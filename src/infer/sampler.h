/*
 * sampler.h - from logits to a token. The order of candidates is total (logit, then lower id) and
 * randomness depends on (seed, position) alone: the same history gives the same token on every
 * machine, and a draft that is checked gives the token that would have been sampled.
 *
 * Order of the stages: logit bias, penalties (repeat, frequency, presence), DRY, token filter, then
 * for temperature 0 the best candidate; else top-k, typical, top-p, min-p, XTC, temperature, draw.
 * Mirostat (1, 2) replaces everything from top-k on. Sources: Holtzman et al. 2019 (top-p), Meister
 * et al. 2022 (typical), Basu et al. 2020 (mirostat), min-p: Nguyen et al. 2024; DRY and XTC:
 * p-e-w's proposals in text-generation-webui.
 */
#ifndef LAR_SAMPLER_H
#define LAR_SAMPLER_H
#include "base/base.h"

typedef struct lar_logit_bias {
    int32_t id;
    float bias; /* -INFINITY: never */
} lar_logit_bias;

typedef struct lar_sampler_params {
    uint64_t seed;
    float temp;                    /* 0: greedy, exactly the best logit */
    int32_t top_k;                 /* 0: off */
    float top_p, min_p, typical_p; /* 1, 0, 1: off */
    float repeat_penalty, frequency_penalty, presence_penalty; /* 1, 0, 0: off */
    int32_t repeat_last_n;                                     /* tokens looked back; -1: all */
    float dry_multiplier, dry_base;                            /* 0: off */
    int32_t dry_allowed_length, dry_last_n;                    /* last_n -1: all */
    const int32_t *dry_breakers; /* tokens that end a repetition; borrowed */
    size_t n_dry_breakers;
    float xtc_probability, xtc_threshold; /* 0: off */
    int32_t mirostat;                     /* 0, 1, 2 */
    float mirostat_tau, mirostat_eta;
    const lar_logit_bias *bias; /* borrowed */
    size_t n_bias;
} lar_sampler_params;
void lar_sampler_defaults(
    lar_sampler_params *p); /* all stages off, temp 0.8, top_k 40, top_p 0.95, min_p 0.05 */

/* The hook of grammars: set logits of forbidden tokens to -INFINITY (in the copy that it is given),
 * and be told what was taken. */
typedef struct lar_token_filter {
    lar_status (*apply)(void *state, float *logits, size_t n_vocab, lar_err *e);
    lar_status (*accept)(void *state, int32_t token, lar_err *e);
    void *state;
} lar_token_filter;

typedef struct lar_sampler lar_sampler;
/* Copies the params; all memory is taken here, a pick allocates nothing. */
lar_status lar_sampler_new(const lar_sampler_params *p, size_t n_vocab, lar_sampler **out,
                           lar_err *e);
void lar_sampler_free(lar_sampler *s);

/* The token for position `position`, given what came before it (prompt included) and its logits
 * [n_vocab], which are not changed. filter may be NULL. LAR_ENUMERIC for a NaN or +infinity,
 * LAR_EARG when no token is allowed. */
lar_status lar_sampler_pick(lar_sampler *s, const float *logits, const int32_t *history,
                            size_t n_history, uint64_t position, const lar_token_filter *filter,
                            int32_t *out, lar_err *e);

#endif
