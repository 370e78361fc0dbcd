/*
 * spec_ngram.c - prompt lookup: where the last tokens occurred before, what followed them there
 * may follow again. Source: Saxena 2023, "Prompt Lookup Decoding". Depends on spec.h.
 */
#include "infer/spec_part.h"

/* Matches longer than this are not told apart. */
enum { LONGEST = 16 };

typedef struct ngram {
    int least; /* tokens that must agree */
    int at;    /* where the continuation of the last look begins */
} ngram;

lar_status lar__ngram_new(void **out, lar_err *e)
{
    *out = lar_alloc(sizeof(ngram));
    return *out ? LAR_OK : lar_fail(e, LAR_ENOMEM, "speculation: out of memory");
}

static lar_status begin(void *state, const lar_spec_options *o, lar_err *e)
{
    ngram *g = state;
    (void)e;
    g->least = LAR_MAX(1, LAR_MIN(o->ngram_min, LONGEST));
    return LAR_OK;
}

/* How many tokens before position i, in descending order, equal those at the end, `last` aside. */
static int agree(const lar_spec_text *t, int i)
{
    int m = 1;
    while (m < LONGEST && m <= i && t->held[i - m] == t->held[t->n - m])
        m++;
    return m;
}

/* The longest match, and of those the latest. One pass over the text: a microsecond for each 4,096
 * tokens. */
static int look(void *state, const lar_spec_text *t, int most, int *sure)
{
    ngram *g = state;
    int best = 0;
    for (int i = t->n - 1; i >= 0 && best < LONGEST; i--) {
        if (t->held[i] != t->last)
            continue;
        const int m = agree(t, i);
        if (m > best) {
            best = m;
            g->at = i + 1;
        }
    }
    if (best < g->least)
        return 0;
    *sure = best < 3 ? 0 : best == 3 ? 1 : best < 6 ? 2 : best < LONGEST ? 3 : 4;
    return most;
}

/* What followed may run into the end of the text: then it goes on with its own tokens, as a
 * repetition does. */
static lar_status draft(void *state, const lar_spec_text *t, int k, int32_t *out, int *n,
                        lar_err *e)
{
    const ngram *g = state;
    (void)e;
    for (int j = 0; j < k; j++) {
        const int i = g->at + j;
        out[j] = i < t->n ? t->held[i] : i == t->n ? t->last : out[i - t->n - 1];
    }
    *n = k;
    return LAR_OK;
}

const lar_drafter_def lar__drafter_ngram = {.name = "ngram",
                                            .begin = begin,
                                            .look = look,
                                            .draft = draft,
                                            .free = lar_free,
                                            .expect = {0.35, 0.6, 0.65, 0.85, 0.95}};
