/*
 * logprobs.h - what the model thought of each token: its log-probability and the likeliest ones
 * instead of it, of the logits as they are (no temperature, bias or grammar). Depends on log_sum.h.
 */
#ifndef LAR_LOGPROBS_H
#define LAR_LOGPROBS_H
#include "tasks/task.h"

enum { LAR_LOGPROBS_MOST = 20 };

typedef struct lar_logprobs {
    int top; /* how many of the likeliest; -1: nothing is wanted */
    json_t
        *list; /* {"id", "text", "bytes", "logprob", "top": [{...}, ...]} each; NULL until needed */
} lar_logprobs;

void lar_logprobs_free(lar_logprobs *l);
/* Add token `id`, picked from logits[n_vocab]; logits NULL: nothing is known of it. *entry, which
 * may be NULL, borrows what was added. */
lar_status lar_logprobs_put(lar_logprobs *l, const lar_tokenizer *tok, const float *logits,
                            size_t n_vocab, int32_t id, const json_t **entry, lar_err *e);

#endif
