/* logprobs.c - see logprobs.h. */
#include "tasks/logprobs.h"
#include "tasks/json.h"
#include "tasks/log_sum.h"

void lar_logprobs_free(lar_logprobs *l)
{
    json_decref(l->list);
    l->list = NULL;
}

static json_t *entry_of(const lar_tokenizer *tok, int32_t id, bool known, double logprob, bool *bad)
{
    lar_detok d;
    lar_buf b = {0};
    json_t *o = json_object(), *bytes = json_array();
    lar_detok_init(&d, tok, true);
    d.started = d.raw = true; /* its own bytes, whole characters or not */
    lar_detok_put(&d, id, &b);
    for (size_t i = 0; i < b.n; i++)
        lar_json_push(bytes, json_integer((uint8_t)b.p[i]), bad);
    lar_json_put(o, "id", json_integer(id), bad);
    lar_json_put(o, "text", lar_json_text(b.p ? b.p : "", b.n), bad);
    lar_json_put(o, "bytes", bytes, bad);
    lar_json_put(o, "logprob", known ? json_real(logprob) : json_null(), bad);
    *bad = *bad || b.oom;
    lar_buf_free(&b);
    return o;
}

/* The k first in the order of candidates: higher logit, then lower id. */
static int likeliest(const float *x, size_t n, int k, int32_t *out)
{
    int held = 0;
    for (size_t i = 0; i < n; i++) {
        int at = held;
        if (held == k && (!k || !(x[i] > x[out[k - 1]])))
            continue;
        held += held < k;
        at = held - 1;
        for (; at > 0 && x[i] > x[out[at - 1]]; at--)
            out[at] = out[at - 1];
        out[at] = (int32_t)i;
    }
    return held;
}

lar_status lar_logprobs_put(lar_logprobs *l, const lar_tokenizer *tok, const float *logits,
                            size_t n_vocab, int32_t id, const json_t **entry, lar_err *e)
{
    int32_t best[LAR_LOGPROBS_MOST];
    bool bad = false;
    const double sum = logits ? lar_log_sum(logits, n_vocab, NULL) : 0;
    json_t *o = entry_of(tok, id, logits, logits ? (double)logits[id] - sum : 0, &bad);
    json_t *top = json_array();
    const int n = logits ? likeliest(logits, n_vocab, l->top, best) : 0;
    for (int i = 0; i < n; i++)
        lar_json_push(top, entry_of(tok, best[i], true, (double)logits[best[i]] - sum, &bad), &bad);
    lar_json_put(o, "top", top, &bad);
    if (!l->list)
        l->list = json_array();
    if (entry)
        *entry = o;
    lar_json_push(l->list, o, &bad);
    return bad ? lar_fail(e, LAR_ENOMEM, "out of memory for log-probabilities") : LAR_OK;
}
