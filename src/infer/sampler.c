/* sampler.c - see sampler.h. Probabilities are in double; nothing here depends on libm or on
 * threads. */
#include "infer/sampler.h"
#include "base/math.h"
#include <float.h>
#include <math.h>
#include <string.h>

typedef struct cand {
    int32_t id;
    float logit;
    double p;
} cand;

struct lar_sampler {
    lar_sampler_params p;
    size_t n_vocab;
    float *x;      /* the logits as changed */
    cand *c, *tmp; /* candidates, best first once sorted */
    size_t n;
    int32_t *count; /* per token, all 0 between picks; also DRY's longest match */
    int32_t *z;     /* DRY: matches, one per token looked back */
    size_t z_cap;
    bool *breaker; /* per token */
    lar_logit_bias *bias;
    double mu; /* mirostat */
};

void lar_sampler_defaults(lar_sampler_params *p)
{
    *p = (lar_sampler_params){.temp = 0.8f,
                              .top_k = 40,
                              .top_p = 0.95f,
                              .min_p = 0.05f,
                              .typical_p = 1,
                              .repeat_penalty = 1,
                              .repeat_last_n = 64,
                              .dry_base = 1.75f,
                              .dry_allowed_length = 2,
                              .dry_last_n = -1,
                              .xtc_threshold = 0.1f,
                              .mirostat_tau = 5,
                              .mirostat_eta = 0.1f};
}

static bool take_memory(lar_sampler *s)
{
    const lar_sampler_params *p = &s->p;
    s->x = lar_alloc_array(s->n_vocab, sizeof *s->x);
    s->c = lar_alloc_array(s->n_vocab, sizeof *s->c);
    s->tmp = lar_alloc_array(s->n_vocab, sizeof *s->tmp);
    s->count = lar_alloc_array(s->n_vocab, sizeof *s->count);
    s->breaker = lar_alloc_array(s->n_vocab, sizeof *s->breaker);
    s->bias = lar_alloc_array(p->n_bias + 1, sizeof *s->bias);
    return s->x && s->c && s->tmp && s->count && s->breaker && s->bias;
}

lar_status lar_sampler_new(const lar_sampler_params *p, size_t n_vocab, lar_sampler **out,
                           lar_err *e)
{
    if (!n_vocab)
        return lar_fail(e, LAR_EARG, "sampler: a vocabulary of 0 tokens");
    for (size_t i = 0; i < p->n_bias; i++)
        if (!(p->bias[i].bias < INFINITY))
            return lar_fail(e, LAR_EARG,
                            "sampler: the bias of token %d is %g, want a number or -inf",
                            p->bias[i].id, (double)p->bias[i].bias);
    lar_sampler *s = lar_alloc(sizeof *s);
    if (!s)
        return lar_fail(e, LAR_ENOMEM, "sampler: out of memory");
    s->p = *p;
    s->n_vocab = n_vocab;
    s->mu = 2.0 * (double)p->mirostat_tau;
    if (!take_memory(s)) {
        lar_sampler_free(s);
        return lar_fail(e, LAR_ENOMEM, "sampler: out of memory for %zu tokens", n_vocab);
    }
    if (p->n_bias)
        memcpy(s->bias, p->bias, p->n_bias * sizeof *s->bias);
    for (size_t i = 0; i < p->n_dry_breakers; i++)
        if (p->dry_breakers[i] >= 0 && (size_t)p->dry_breakers[i] < n_vocab)
            s->breaker[p->dry_breakers[i]] = true;
    *out = s;
    return LAR_OK;
}

void lar_sampler_free(lar_sampler *s)
{
    if (!s)
        return;
    lar_free(s->x);
    lar_free(s->c);
    lar_free(s->tmp);
    lar_free(s->count);
    lar_free(s->z);
    lar_free(s->breaker);
    lar_free(s->bias);
    lar_free(s);
}

/* Uniform in [0, 1), by seed, position and purpose. */
static double uniform(const lar_sampler *s, uint64_t position, unsigned purpose)
{
    return (double)(lar_random(s->p.seed, position * 4 + purpose) >> 11) * 0x1p-53;
}

/* Only what was finite before: a sum that left the range. */
static float in_range(float x)
{
    return x > FLT_MAX ? FLT_MAX : x;
}

static size_t window(int32_t last_n, size_t n)
{
    return last_n < 0 ? n : LAR_MIN((size_t)last_n, n);
}

static void penalties(lar_sampler *s, const int32_t *h, size_t n)
{
    const lar_sampler_params *p = &s->p;
    const size_t k = window(p->repeat_last_n, n);
    if (p->repeat_penalty == 1 && p->frequency_penalty == 0 && p->presence_penalty == 0)
        return;
    for (size_t i = n - k; i < n; i++)
        s->count[h[i]]++;
    for (size_t i = n - k; i < n; i++) {
        float *x = &s->x[h[i]];
        if (!s->count[h[i]])
            continue; /* dealt with */
        *x = *x > 0 ? *x / p->repeat_penalty : *x * p->repeat_penalty;
        *x = in_range(*x - ((float)s->count[h[i]] * p->frequency_penalty + p->presence_penalty));
        s->count[h[i]] = 0;
    }
}

/* z[i]: how many tokens before and including h[i] equal the tokens at the end of h, at most `most`.
 * The Z algorithm on the reversed history: linear in k. */
static void suffix_matches(const int32_t *h, size_t n, size_t k, size_t most, int32_t *z)
{
#define REV(i) h[n - 1 - (i)]
    size_t l = 0, r = 0;
    z[0] = (int32_t)LAR_MIN(k, most);
    for (size_t i = 1; i < k; i++) {
        size_t m = i < r ? LAR_MIN((size_t)z[i - l], r - i) : 0;
        while (i + m < k && m < most && REV(m) == REV(i + m))
            m++;
        z[i] = (int32_t)m;
        if (i + m > r) {
            l = i;
            r = i + m;
        }
    }
#undef REV
}

static lar_status dry(lar_sampler *s, const int32_t *h, size_t n, lar_err *e)
{
    const lar_sampler_params *p = &s->p;
    const size_t k = window(p->dry_last_n, n);
    if (p->dry_multiplier == 0 || p->dry_base < 1 || k < 2)
        return LAR_OK;
    if (!lar_grow((void **)(void *)&s->z, &s->z_cap, k, sizeof *s->z))
        return lar_fail(e, LAR_ENOMEM, "sampler: out of memory for %zu tokens of history", k);
    size_t most = 0; /* a repetition does not reach past a breaker */
    while (most < k && !s->breaker[h[n - 1 - most]])
        most++;
    suffix_matches(h, n, k, most, s->z);
    /* The token that followed an earlier match would prolong it. */
    for (size_t i = 1; i < k; i++) {
        const int32_t next = h[n - i];
        if (s->z[i] >= p->dry_allowed_length && s->z[i] > s->count[next])
            s->count[next] = s->z[i];
    }
    for (size_t i = 1; i < k; i++) {
        const int32_t next = h[n - i], len = s->count[next];
        if (!len)
            continue;
        const double grow =
            lar_exp(LAR_MIN(80.0, lar_ln((double)p->dry_base) * (len - p->dry_allowed_length)));
        s->x[next] -= (float)((double)p->dry_multiplier * grow);
        s->count[next] = 0;
    }
    return LAR_OK;
}

static int32_t best_of(const float *x, size_t n)
{
    size_t b = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[b])
            b = i;
    return (int32_t)b;
}

/* Descending order of floats as ascending order of integers. */
static uint32_t key_of(float f)
{
    uint32_t u;
    f += 0.0f; /* -0 and +0 are one logit */
    memcpy(&u, &f, 4);
    return u & 0x80000000u ? u : ~(u | 0x80000000u);
}

/* Stable, from the order of ids: so the order is total. */
static void radix_sort(lar_sampler *s)
{
    for (int shift = 0; shift < 32; shift += 8) {
        size_t at[257] = {0};
        for (size_t i = 0; i < s->n; i++)
            at[(key_of(s->c[i].logit) >> shift & 255) + 1]++;
        for (int i = 0; i < 256; i++)
            at[i + 1] += at[i];
        for (size_t i = 0; i < s->n; i++)
            s->tmp[at[key_of(s->c[i].logit) >> shift & 255]++] = s->c[i];
        cand *t = s->c;
        s->c = s->tmp;
        s->tmp = t;
    }
}

static bool before(const cand *a, const cand *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

/* Candidates best first; with top-k only the k best, kept in a sorted list while the vocabulary
 * goes by. */
static void gather(lar_sampler *s, size_t k)
{
    const float *x = s->x;
    s->n = 0;
    if (!k || k > 256) {
        for (size_t i = 0; i < s->n_vocab; i++)
            if (x[i] > -INFINITY)
                s->c[s->n++] = (cand){(int32_t)i, x[i], 0};
        radix_sort(s);
        s->n = k ? LAR_MIN(k, s->n) : s->n;
        return;
    }
    for (size_t i = 0; i < s->n_vocab; i++) {
        const cand c = {(int32_t)i, x[i], 0};
        if (!(x[i] > -INFINITY) || (s->n == k && !before(&c, &s->c[k - 1])))
            continue;
        size_t j = s->n < k ? s->n++ : k - 1;
        for (; j && before(&c, &s->c[j - 1]); j--)
            s->c[j] = s->c[j - 1];
        s->c[j] = c;
    }
}

static void softmax(lar_sampler *s, double temp)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += s->c[i].p = lar_exp(((double)s->c[i].logit - (double)s->c[0].logit) / temp);
    for (size_t i = 0; i < s->n; i++)
        s->c[i].p /= sum;
}

/* Keep the tokens whose surprise is nearest to the entropy until they reach p; their order by logit
 * stays. */
static void typical(lar_sampler *s, double p)
{
    double entropy = 0, sum = 0;
    size_t kept = 0;
    softmax(s, 1);
    for (size_t i = 0; i < s->n; i++)
        entropy -= s->c[i].p > 0 ? s->c[i].p * lar_ln(s->c[i].p) : 0;
    for (size_t i = 0; i < s->n;
         i++) { /* sort key in the logit's place; the id finds the logit again */
        const double d = s->c[i].p > 0 ? -lar_ln(s->c[i].p) - entropy : 1e30;
        s->c[i].logit = (float)-(d < 0 ? -d : d);
    }
    radix_sort(s);
    while (kept < s->n && (!kept || sum < p))
        sum += s->c[kept++].p;
    s->n = kept;
    for (size_t i = 0; i < s->n; i++)
        s->c[i].logit = s->x[s->c[i].id];
    radix_sort(s);
}

static void top_p(lar_sampler *s, double p)
{
    double sum = 0;
    size_t kept = 0;
    softmax(s, 1);
    while (kept < s->n && (!kept || sum < p))
        sum += s->c[kept++].p;
    s->n = kept;
}

static void min_p(lar_sampler *s, double p)
{
    const double least = (double)s->c[0].logit + lar_ln(p);
    size_t kept = 1;
    while (kept < s->n && (double)s->c[kept].logit >= least)
        kept++;
    s->n = kept;
}

/* Drop all tokens above the threshold but the least likely of them. */
static void xtc(lar_sampler *s, uint64_t position)
{
    size_t above = 0;
    if (uniform(s, position, 1) >= (double)s->p.xtc_probability)
        return;
    softmax(s, 1);
    while (above < s->n && s->c[above].p >= (double)s->p.xtc_threshold)
        above++;
    if (above > 1) {
        memmove(s->c, s->c + above - 1, (s->n - above + 1) * sizeof *s->c);
        s->n -= above - 1;
    }
}

static size_t draw(const lar_sampler *s, uint64_t position)
{
    const double u = uniform(s, position, 0);
    double sum = 0;
    for (size_t i = 0; i < s->n; i++) {
        sum += s->c[i].p;
        if (u < sum)
            return i;
    }
    return s->n - 1;
}

/* Version 1: the exponent of Zipf's law from the 100 best, and from it how many to keep for the
 * wanted surprise. */
static size_t mirostat1_keep(const lar_sampler *s)
{
    double st_bt = 0, st_sq = 0;
    for (size_t i = 0; i + 1 < LAR_MIN(s->n, (size_t)100); i++) {
        const double t = lar_ln((double)(i + 2) / (double)(i + 1));
        const double b = s->c[i + 1].p > 0 ? lar_ln(s->c[i].p / s->c[i + 1].p) : 0;
        st_bt += t * b;
        st_sq += t * t;
    }
    const double sh = st_sq > 0 ? st_bt / st_sq : 1, eps = sh - 1;
    if (!(eps > 1e-9 || eps < -1e-9))
        return s->n;
    const double num = eps * lar_exp(s->mu * 0.69314718055994530942);
    const double den = 1 - lar_exp(-eps * lar_ln((double)s->n_vocab));
    if (!(num / den > 0) || !(sh > 0))
        return 1;
    const double k = lar_exp(lar_ln(num / den) / sh);
    return k >= (double)s->n ? s->n : k < 1 ? 1 : (size_t)k;
}

static size_t mirostat(lar_sampler *s, uint64_t position)
{
    const double ln2 = 0.69314718055994530942;
    size_t keep = 1;
    softmax(s, (double)s->p.temp);
    if (s->p.mirostat == 1)
        keep = mirostat1_keep(s);
    else
        while (keep < s->n && s->c[keep].p > 0 && -lar_ln(s->c[keep].p) / ln2 <= s->mu)
            keep++;
    s->n = keep;
    softmax(s, (double)s->p.temp);
    const size_t i = draw(s, position);
    const double surprise = s->c[i].p > 0 ? -lar_ln(s->c[i].p) / ln2 : 0;
    s->mu -= (double)s->p.mirostat_eta * (surprise - (double)s->p.mirostat_tau);
    return i;
}

static size_t sample(lar_sampler *s, uint64_t position)
{
    const lar_sampler_params *p = &s->p;
    if (p->mirostat) {
        gather(s, 0);
        return s->n ? mirostat(s, position) : 0;
    }
    gather(s, p->top_k > 0 ? (size_t)p->top_k : 0);
    if (!s->n)
        return 0;
    if (p->typical_p < 1)
        typical(s, (double)p->typical_p);
    if (p->top_p < 1)
        top_p(s, (double)p->top_p);
    if (p->min_p > 0)
        min_p(s, (double)p->min_p);
    if (p->xtc_probability > 0)
        xtc(s, position);
    softmax(s, (double)p->temp);
    return draw(s, position);
}

static lar_status prepare(lar_sampler *s, const float *logits, const int32_t *h, size_t n,
                          lar_err *e)
{
    for (size_t i = 0; i < s->n_vocab; i++)
        if (!(logits[i] < INFINITY))
            return lar_fail(e, LAR_ENUMERIC, "logit %zu is %g, want a number or -inf", i,
                            (double)logits[i]);
    for (size_t i = 0; i < n; i++)
        if (h[i] < 0 || (size_t)h[i] >= s->n_vocab)
            return lar_fail(e, LAR_EARG, "sampler: token %d in the history, want 0 to %zu", h[i],
                            s->n_vocab - 1);
    memcpy(s->x, logits, s->n_vocab * sizeof *s->x);
    for (size_t i = 0; i < s->p.n_bias; i++)
        if (s->bias[i].id >= 0 && (size_t)s->bias[i].id < s->n_vocab)
            s->x[s->bias[i].id] = in_range(s->x[s->bias[i].id] + s->bias[i].bias);
    penalties(s, h, n);
    return dry(s, h, n, e);
}

lar_status lar_sampler_pick(lar_sampler *s, const float *logits, const int32_t *history,
                            size_t n_history, uint64_t position, const lar_token_filter *filter,
                            int32_t *out, lar_err *e)
{
    LAR_TRY(prepare(s, logits, history, n_history, e));
    if (filter)
        LAR_TRY(filter->apply(filter->state, s->x, s->n_vocab, e));
    if (s->p.temp == 0) {
        *out = best_of(s->x, s->n_vocab);
        if (!(s->x[*out] > -INFINITY))
            return lar_fail(e, LAR_EARG, "no token is allowed here");
    } else {
        const size_t i = sample(s, position);
        if (!s->n)
            return lar_fail(e, LAR_EARG, "no token is allowed here");
        *out = s->c[i].id;
    }
    return filter ? filter->accept(filter->state, *out, e) : LAR_OK;
}
