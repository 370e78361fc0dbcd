/*
 * spec_model.c - a small model drafts: an engine of its own, whose sequence follows the text. It
 * picks as the answer does, with the same settings and the same random numbers, so that it also
 * guesses what a warm sampler will say. Depends on engine.h, sampler.h.
 */
#include "infer/spec_part.h"
#include <string.h>

typedef struct model {
    lar_engine *engine;
    lar_seq *seq;
    size_t n_vocab;
    lar_sampler *sampler; /* of this answer */
} model;

static void end(void *state)
{
    model *m = state;
    lar_sampler_free(m->sampler);
    m->sampler = NULL;
}

static void model_free(void *state)
{
    model *m = state;
    end(m);
    lar_seq_free(m->seq);
    lar_engine_free(m->engine);
    lar_free(m);
}

static lar_status begin(void *state, const lar_spec_options *o, lar_err *e)
{
    model *m = state;
    lar_sampler_params p = *o->sampler;
    end(m);
    if (p.mirostat) { /* what it would pick depends on what was picked: the best is as good */
        p.mirostat = 0;
        p.temp = 0;
    }
    return lar_sampler_new(&p, m->n_vocab, &m->sampler, e);
}

static int look(void *state, const lar_spec_text *t, int most, int *sure)
{
    const model *m = state;
    *sure = 0;
    return LAR_MAX(0, LAR_MIN(most, lar_engine_ctx(m->engine) - t->n - 1));
}

static lar_status eval(model *m, const int32_t *ids, int n, const float **logits, lar_err *e)
{
    lar_step part = {.seq = m->seq, .tokens = ids, .n = n};
    LAR_TRY(lar_engine_step(m->engine, &part, 1, e));
    *logits = part.logits;
    return LAR_OK;
}

/* Hold the text: forget what differs and evaluate what is missing, of a long text one batch.
 * *logits NULL: there is more to come. */
static lar_status follow(model *m, const lar_spec_text *t, const float **logits, lar_err *e)
{
    const int32_t *have = lar_seq_tokens(m->seq);
    const int most = LAR_MIN(lar_seq_length(m->seq), t->n), batch = lar_engine_batch(m->engine);
    int32_t ids[LAR_SPEC_MOST + 2];
    int same = 0;
    while (same < most && have[same] == t->held[same])
        same++;
    same = lar_seq_truncate(m->seq, same);
    const int left = t->n - same;
    if (left + 1 <= batch && left < (int)LAR_LEN(ids)) { /* as always after a draft */
        memcpy(ids, t->held + same, (size_t)left * sizeof *ids);
        ids[left] = t->last;
        return eval(m, ids, left + 1, logits, e);
    }
    LAR_TRY(eval(m, t->held + same, LAR_MIN(batch, left), logits, e));
    *logits = NULL;
    return LAR_OK;
}

static lar_status draft(void *state, const lar_spec_text *t, int k, int32_t *out, int *n,
                        lar_err *e)
{
    model *m = state;
    const float *logits;
    *n = 0;
    LAR_TRY(follow(m, t, &logits, e));
    if (logits)
        lar_seq_mark(m->seq); /* what is drafted from here on may be wrong */
    while (logits && *n < k) {
        const size_t held = (size_t)lar_seq_length(m->seq);
        LAR_TRY(lar_sampler_pick(m->sampler, logits, lar_seq_tokens(m->seq), held,
                                 t->position + (uint64_t)*n, NULL, &out[*n], e));
        if (++*n < k)
            LAR_TRY(eval(m, &out[*n - 1], 1, &logits, e));
    }
    return LAR_OK;
}

static void forget(void *state)
{
    model *m = state;
    lar_seq_truncate(m->seq, 0);
}

static const lar_drafter_def def = {.name = "draft",
                                    .begin = begin,
                                    .end = end,
                                    .look = look,
                                    .draft = draft,
                                    .forget = forget,
                                    .free = model_free,
                                    .expect = {0.7},
                                    .seconds = 0.2};

lar_status lar_spec_add_model(lar_spec *s, lar_net *net, const lar_cpu_variant *variant,
                              lar_pool *pool, const lar_engine_options *opts, int n_vocab,
                              lar_err *e)
{
    model *m = lar_alloc(sizeof *m);
    if (!m)
        return lar_fail(e, LAR_ENOMEM, "draft model: out of memory");
    m->n_vocab = (size_t)n_vocab;
    lar_status st = lar_engine_new(net, variant, pool, opts, &m->engine, e);
    if (st == LAR_OK)
        st = lar_seq_new(m->engine, &m->seq, e);
    if (st != LAR_OK) {
        model_free(m);
        return st;
    }
    return lar_spec_add(s, &def, m, e);
}

lar_engine *lar_spec_engine(const lar_spec *s)
{
    const model *m = lar__spec_state(s, &def);
    return m ? m->engine : NULL;
}
