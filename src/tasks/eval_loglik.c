/*
 * eval_loglik.c - how likely a model holds each of several continuations of a context.
 *
 * Tokens as lm-evaluation-harness takes them (its _encode_pair): white space at the context's end
 * goes to the continuation's beginning; the whole text is tokenised, and the continuation's tokens
 * are those past as many as the context alone has. What does not fit is cut from the left.
 *
 * The context is evaluated once (what the last item had in common with it is not evaluated again);
 * a continuation's first token needs no step of its own, and the rest of several continuations go
 * through one step in sequences that share the context's pages.
 */
#include "infer/prefix.h"
#include "tasks/eval.h"
#include "tasks/log_sum.h"
#include <string.h>

/* Space by Python's str.isspace(). */
static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Bytes of s without the white space at its end. */
static size_t stripped(lar_str s)
{
    size_t n = s.n;
    while (n) {
        size_t at = n - 1;
        uint32_t c;
        while (at && n - at < 4 && ((uint8_t)s.p[at] & 0xc0) == 0x80)
            at--;
        if (lar_utf8_decode(s.p + at, n - at, &c) != (int)(n - at) || !is_space(c))
            break;
        n = at;
    }
    return n;
}

lar_status lar__eval_scorer_new(lar_task *t, int bos, lar_eval_scorer *out, lar_err *e)
{
    *out = (lar_eval_scorer){.t = t, .en = t->session->engine, .seq = t->session->seq, .bos = bos};
    out->row = lar_alloc_array(t->model->net->hp.n_vocab, sizeof *out->row);
    if (!out->row)
        return lar_fail(e, LAR_ENOMEM, "eval: out of memory");
    while (out->n_more < (int)LAR_LEN(out->more) &&
           lar_seq_new(out->en, &out->more[out->n_more], NULL) == LAR_OK)
        out->n_more++;
    return LAR_OK;
}

void lar__eval_scorer_free(lar_eval_scorer *s)
{
    for (int i = 0; i < s->n_more; i++)
        lar_seq_free(s->more[i]);
    lar_free(s->row);
    *s = (lar_eval_scorer){0};
}

static lar_status encode(const lar_eval_scorer *s, const char *p, size_t n, bool first,
                         lar_ids *out, lar_err *e)
{
    const lar_tokenizer *tok = s->t->model->vocab.tok;
    const int32_t bos = lar_tokenizer_bos(tok);
    if (first && s->bos == 1 && bos >= 0)
        LAR_TRY(lar_ids_add(out, bos, e));
    return lar_tokenizer_encode(tok, p, n, first && s->bos < 0 ? LAR_TOK_BOS : 0, out, e);
}

typedef struct pair {
    lar_ids context, rest;
} pair;

static void pair_free(pair *p)
{
    lar_ids_free(&p->context);
    lar_ids_free(&p->rest);
}

/* A context of nothing is BOS, or EOS where there is none. */
static lar_status encode_bare(const lar_eval_scorer *s, lar_str c, pair *out, lar_err *e)
{
    const lar_tokenizer *tok = s->t->model->vocab.tok;
    const int32_t bos = lar_tokenizer_bos(tok), id = bos >= 0 ? bos : lar_tokenizer_eos(tok);
    if (id < 0)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "an empty prompt, and the vocabulary has neither BOS nor EOS");
    LAR_TRY(lar_ids_add(&out->context, id, e));
    return encode(s, c.p, c.n, false, &out->rest, e);
}

static lar_status encode_pair(const lar_eval_scorer *s, lar_str context, lar_str c, pair *out,
                              lar_err *e)
{
    const size_t keep = stripped(context);
    lar_buf whole = {0};
    lar_ids ids = {0};
    lar_buf_add(&whole, context.p ? context.p : "", context.n);
    lar_buf_add(&whole, c.p ? c.p : "", c.n);
    if (whole.oom) {
        lar_buf_free(&whole);
        return lar_fail(e, LAR_ENOMEM, "eval: out of memory");
    }
    lar_status st = LAR_OK;
    if (!context.n) {
        st = encode_bare(s, c, out, e);
    } else {
        st = encode(s, context.p, keep, true, &out->context, e);
        if (st == LAR_OK)
            st = encode(s, whole.p, whole.n, true, &ids, e);
        for (size_t i = out->context.n; i < ids.n && st == LAR_OK; i++)
            st = lar_ids_add(&out->rest, ids.p[i], e);
    }
    lar_buf_free(&whole);
    lar_ids_free(&ids);
    if (st == LAR_OK && !out->rest.n)
        st = lar_fail(e, LAR_EFORMAT,
                      "the choice \"%.*s\" has no tokens of its own after the prompt",
                      (int)LAR_MIN(c.n, (size_t)60), c.p ? c.p : "");
    if (st == LAR_OK && !out->context.n)
        st = lar_fail(e, LAR_EFORMAT, "the prompt is nothing but white space");
    return st;
}

/* The logits after the context's last token, into s->row. */
static lar_status eval_context(lar_eval_scorer *s, const int32_t *ids, int n, lar_err *e)
{
    const int batch = lar_engine_batch(s->en);
    lar_step p = {.seq = s->seq};
    for (int i = lar_seq_prefix(s->seq, ids, n - 1); i < n; i += p.n) {
        if (lar_task_cancelled(s->t))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        p.tokens = ids + i;
        p.n = LAR_MIN(batch, n - i);
        LAR_TRY(lar_engine_step(s->en, &p, 1, e));
    }
    lar_seq_mark(s->seq); /* each continuation begins here */
    memcpy(s->row, p.logits, s->t->model->net->hp.n_vocab * sizeof *s->row);
    return LAR_OK;
}

static void add_rows(const lar_eval_scorer *s, const float *logits, const int32_t *want, int n,
                     lar_eval_ll *out)
{
    const size_t n_vocab = s->t->model->net->hp.n_vocab;
    for (int i = 0; i < n; i++) {
        const float *x = logits + (size_t)i * n_vocab;
        out->sum += (double)x[want[i]] - lar_log_sum(x, n_vocab, NULL);
    }
}

/* One continuation on the context's own sequence, in steps of at most a batch. */
static lar_status eval_alone(lar_eval_scorer *s, const lar_ids *c, lar_eval_ll *out, lar_err *e)
{
    const int held = lar_seq_length(s->seq), n = (int)c->n - 1;
    const int most = LAR_MIN(lar_engine_batch(s->en), 64); /* rows of logits are large */
    for (int i = 0; i < n;) {
        lar_step p = {
            .seq = s->seq, .tokens = c->p + i, .n = LAR_MIN(most, n - i), .all_logits = true};
        if (lar_task_cancelled(s->t))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        LAR_TRY(lar_engine_step(s->en, &p, 1, e));
        add_rows(s, p.logits, c->p + i + 1, p.n, out);
        i += p.n;
    }
    lar_seq_truncate(s->seq, held);
    return LAR_OK;
}

/* As many of the continuations from *i on as fit go through one step; false: none did. */
static bool eval_together(lar_eval_scorer *s, const pair *p, int n, int *i, lar_eval_ll *out)
{
    lar_step part[LAR_LEN(s->more)];
    int which[LAR_LEN(s->more)], k = 0, tokens = 0, at = *i;
    for (; at < n && k < s->n_more; at++) {
        const int len = (int)p[at].rest.n - 1;
        if (!len)
            continue;
        if (tokens + len > LAR_MIN(lar_engine_batch(s->en), 64))
            break;
        lar_seq_truncate(s->more[k], 0);
        if (lar_seq_share(s->more[k], s->seq, lar_seq_length(s->seq), NULL) != LAR_OK)
            break;
        part[k] =
            (lar_step){.seq = s->more[k], .tokens = p[at].rest.p, .n = len, .all_logits = true};
        which[k++] = at;
        tokens += len;
    }
    const bool ok = k > 1 && lar_engine_step(s->en, part, k, NULL) == LAR_OK;
    for (int j = 0; j < k && ok; j++)
        add_rows(s, part[j].logits, p[which[j]].rest.p + 1, part[j].n, &out[which[j]]);
    for (int j = 0; j < s->n_more; j++)
        lar_seq_truncate(s->more[j], 0);
    if (ok)
        *i = at;
    return ok;
}

/* All of them fit behind the whole context. */
static lar_status eval_all(lar_eval_scorer *s, const pair *p, int n, lar_eval_ll *out, lar_err *e)
{
    LAR_TRY(eval_context(s, p[0].context.p, (int)p[0].context.n, e));
    for (int i = 0; i < n; i++) {
        out[i].tokens = (int)p[i].rest.n;
        add_rows(s, s->row, p[i].rest.p, 1, &out[i]);
    }
    for (int i = 0; i < n;) {
        if (eval_together(s, p, n, &i, out))
            continue;
        LAR_TRY(eval_alone(s, &p[i].rest, &out[i], e));
        i++;
    }
    return LAR_OK;
}

/* The last ctx + 1 tokens of context and continuation, the very last of which is only scored. */
static lar_status eval_cut(lar_eval_scorer *s, const pair *p, lar_eval_ll *out, lar_err *e)
{
    const size_t most = (size_t)lar_engine_ctx(s->en) + 1, n = p->context.n + p->rest.n;
    const size_t drop = n > most ? n - most : 0;
    if (p->rest.n >= most)
        return lar_fail(e, LAR_EFULL, "a choice of %zu tokens, the context has %zu", p->rest.n,
                        most - 1);
    out->cut = drop > 0;
    out->tokens = (int)p->rest.n;
    LAR_TRY(eval_context(s, p->context.p + drop, (int)(p->context.n - drop), e));
    add_rows(s, s->row, p->rest.p, 1, out);
    return eval_alone(s, &p->rest, out, e);
}

lar_status lar__eval_loglik(lar_eval_scorer *s, lar_str context, const lar_str *continuation, int n,
                            lar_eval_ll *out, lar_err *e)
{
    pair *p = lar_alloc_array((size_t)n, sizeof *p);
    lar_status st = p ? LAR_OK : lar_fail(e, LAR_ENOMEM, "eval: out of memory");
    bool fits = true;
    for (int i = 0; i < n && st == LAR_OK; i++) {
        out[i] = (lar_eval_ll){0};
        st = encode_pair(s, context, continuation[i], &p[i], e);
        fits = fits && p[i].context.n + p[i].rest.n <= (size_t)lar_engine_ctx(s->en) + 1;
    }
    if (st == LAR_OK && fits)
        st = eval_all(s, p, n, out, e);
    for (int i = 0; i < n && st == LAR_OK && !fits; i++)
        st = eval_cut(s, &p[i], &out[i], e);
    for (int i = 0; p && i < n; i++)
        pair_free(&p[i]);
    lar_free(p);
    return st;
}
