/*
 * test_sampler.c - every stage of the sampler against a plain reimplementation of the papers' rules
 * (sorting by hand, libm, double), token by token over many positions; ties, refusals, statistics,
 * allocations.
 */
#include "infer/sampler.h"
#include "oom.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { VOCAB_MAX = 512 };

/* ---- numbers for the tests --------------------------------------------------------------------
 */

static uint64_t mix_state;

static uint32_t mix(void)
{
    uint64_t z = mix_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

static double real(double lo, double hi)
{
    return lo + (hi - lo) * (mix() / 4294967296.0);
}

/* Many ties with `step`; about a tenth is forbidden with `holes`. */
static void make_logits(float *x, size_t n, double step, bool holes)
{
    for (size_t i = 0; i < n; i++) {
        const double v = real(-6, 6) + (mix() % 16 == 0 ? 5 : 0);
        x[i] = (float)(step > 0 ? floor(v / step) * step : v);
        if (holes && mix() % 10 == 0)
            x[i] = -INFINITY;
    }
}

static void make_history(int32_t *h, size_t n, size_t vocab, size_t distinct)
{
    for (size_t i = 0; i < n; i++)
        h[i] = (int32_t)(mix() % LAR_MIN(distinct, vocab));
}

/* ---- the reference
 * -------------------------------------------------------------------------------- */

typedef struct item {
    int id;
    double x, p, key;
} item;

typedef struct model {
    lar_sampler_params p;
    size_t n_vocab;
    double mu;
    item c[VOCAB_MAX];
    size_t n;
    bool near; /* a decision hung on less than 1e-9 */
} model;

static double ref_uniform(const model *m, uint64_t position, unsigned purpose)
{
    return ldexp((double)(lar_random(m->p.seed, position * 4 + purpose) >> 11), -53);
}

static void ref_penalties(const model *m, float *x, const int32_t *h, size_t n)
{
    const lar_sampler_params *p = &m->p;
    const size_t from =
        p->repeat_last_n < 0 || (size_t)p->repeat_last_n > n ? 0 : n - (size_t)p->repeat_last_n;
    for (size_t id = 0; id < m->n_vocab; id++) {
        int count = 0;
        for (size_t i = from; i < n; i++)
            count += h[i] == (int32_t)id;
        if (!count)
            continue;
        x[id] = x[id] > 0 ? x[id] / p->repeat_penalty : x[id] * p->repeat_penalty;
        x[id] -= (float)count * p->frequency_penalty + p->presence_penalty;
    }
}

static bool is_breaker(const model *m, int32_t id)
{
    for (size_t i = 0; i < m->p.n_dry_breakers; i++)
        if (m->p.dry_breakers[i] == id)
            return true;
    return false;
}

/* For every token of the window: how long is the end of the window found just before it? */
static void ref_dry(const model *m, float *x, const int32_t *h, size_t n)
{
    const lar_sampler_params *p = &m->p;
    const size_t k = p->dry_last_n < 0 || (size_t)p->dry_last_n > n ? n : (size_t)p->dry_last_n;
    const int32_t *w = h + n - k;
    for (size_t id = 0; p->dry_multiplier > 0 && id < m->n_vocab; id++) {
        int longest = 0;
        for (size_t j = 1; j < k; j++) {
            int len = 0;
            if (w[j] != (int32_t)id)
                continue;
            while ((size_t)len < j && w[j - 1 - (size_t)len] == w[k - 1 - (size_t)len] &&
                   !is_breaker(m, w[k - 1 - (size_t)len]))
                len++;
            longest = LAR_MAX(longest, len);
        }
        if (longest && longest >= p->dry_allowed_length)
            x[id] -=
                (float)((double)p->dry_multiplier *
                        fmin(exp(80), pow((double)p->dry_base, longest - p->dry_allowed_length)));
    }
}

/* By key, the higher first, then by id. */
static void ref_sort(model *m)
{
    for (size_t i = 1; i < m->n; i++)
        for (size_t j = i; j && (m->c[j].key > m->c[j - 1].key ||
                                 (m->c[j].key == m->c[j - 1].key && m->c[j].id < m->c[j - 1].id));
             j--) {
            const item t = m->c[j];
            m->c[j] = m->c[j - 1];
            m->c[j - 1] = t;
        }
}

static void ref_softmax(model *m, double temp)
{
    double sum = 0;
    for (size_t i = 0; i < m->n; i++)
        sum += exp((m->c[i].x - m->c[0].x) / temp);
    for (size_t i = 0; i < m->n; i++)
        m->c[i].p = exp((m->c[i].x - m->c[0].x) / temp) / sum;
}

static bool closer(double a, double b)
{
    return fabs(a - b) < 1e-9;
}

static void ref_cumulative(model *m, double p)
{
    double sum = 0;
    for (size_t i = 0; i < m->n; i++) {
        sum += m->c[i].p;
        m->near = m->near || (i + 1 < m->n && closer(sum, p));
        if (sum >= p) {
            m->n = i + 1;
            return;
        }
    }
}

static void ref_typical(model *m)
{
    double entropy = 0;
    ref_softmax(m, 1);
    for (size_t i = 0; i < m->n; i++)
        entropy -= m->c[i].p > 0 ? m->c[i].p * log(m->c[i].p) : 0;
    for (size_t i = 0; i < m->n; i++)
        m->c[i].key = -fabs(-log(m->c[i].p) - entropy);
    ref_sort(m);
    ref_cumulative(m, (double)m->p.typical_p);
    for (size_t i = 0; i < m->n; i++)
        m->c[i].key = m->c[i].x;
    ref_sort(m);
}

static void ref_min_p(model *m)
{
    size_t n = 0;
    ref_softmax(m, 1);
    while (n < m->n && m->c[n].p >= (double)m->p.min_p * m->c[0].p * (1 - 1e-12))
        n++;
    m->n = n;
}

static void ref_xtc(model *m, uint64_t position)
{
    size_t above = 0;
    if (ref_uniform(m, position, 1) >= (double)m->p.xtc_probability)
        return;
    ref_softmax(m, 1);
    for (size_t i = 0; i < m->n; i++) {
        above += m->c[i].p >= (double)m->p.xtc_threshold;
        m->near = m->near || closer(m->c[i].p, (double)m->p.xtc_threshold);
    }
    for (size_t i = 0; above > 1 && i + above - 1 < m->n; i++)
        m->c[i] = m->c[i + above - 1];
    m->n -= above > 1 ? above - 1 : 0;
}

static int ref_draw(model *m, uint64_t position)
{
    const double u = ref_uniform(m, position, 0);
    double sum = 0;
    for (size_t i = 0; i < m->n; i++) {
        sum += m->c[i].p;
        m->near = m->near || closer(sum, u);
        if (u < sum)
            return (int)i;
    }
    return (int)m->n - 1;
}

/* Basu et al. 2020, algorithms 1 and 2. */
static int ref_mirostat(model *m, uint64_t position)
{
    ref_softmax(m, (double)m->p.temp);
    size_t keep = 0;
    if (m->p.mirostat == 2) {
        while (keep < m->n && -log2(m->c[keep].p) <= m->mu) {
            m->near = m->near || closer(-log2(m->c[keep].p), m->mu);
            keep++;
        }
    } else {
        double tb = 0, tt = 0;
        for (size_t i = 0; i < 99 && i + 1 < m->n; i++) {
            const double t = log((i + 2.0) / (i + 1.0));
            tb += t * log(m->c[i].p / m->c[i + 1].p);
            tt += t * t;
        }
        const double s = tb / tt, eps = s - 1;
        const double k = pow(eps * pow(2, m->mu) / (1 - pow((double)m->n_vocab, -eps)), 1 / s);
        m->near = m->near || closer(k, floor(k + 0.5));
        keep = k >= (double)m->n ? m->n : (size_t)k;
    }
    m->n = LAR_MAX(keep, (size_t)1);
    ref_softmax(m, (double)m->p.temp);
    const int i = ref_draw(m, position);
    m->mu -= (double)m->p.mirostat_eta * (-log2(m->c[i].p) - (double)m->p.mirostat_tau);
    return i;
}

static int32_t ref_pick(model *m, const float *logits, const int32_t *h, size_t n,
                        uint64_t position)
{
    float x[VOCAB_MAX];
    memcpy(x, logits, m->n_vocab * sizeof *x);
    for (size_t i = 0; i < m->p.n_bias; i++)
        x[m->p.bias[i].id] += m->p.bias[i].bias;
    ref_penalties(m, x, h, n);
    ref_dry(m, x, h, n);
    m->n = 0;
    m->near = false;
    for (size_t i = 0; i < m->n_vocab; i++)
        if (x[i] > -INFINITY)
            m->c[m->n++] = (item){.id = (int)i, .x = (double)x[i], .key = (double)x[i]};
    assert_true(m->n > 0);
    ref_sort(m);
    if (m->p.temp == 0)
        return m->c[0].id;
    if (m->p.mirostat)
        return m->c[ref_mirostat(m, position)].id;
    if (m->p.top_k && m->n > (size_t)m->p.top_k)
        m->n = (size_t)m->p.top_k;
    if (m->p.typical_p < 1)
        ref_typical(m);
    ref_softmax(m, 1);
    if (m->p.top_p < 1)
        ref_cumulative(m, (double)m->p.top_p);
    if (m->p.min_p > 0)
        ref_min_p(m);
    if (m->p.xtc_probability > 0)
        ref_xtc(m, position);
    ref_softmax(m, (double)m->p.temp);
    return m->c[ref_draw(m, position)].id;
}

/* ---- comparing
 * ---------------------------------------------------------------------------------------- */

static lar_sampler_params plain(void)
{
    lar_sampler_params p;
    lar_sampler_defaults(&p);
    p.temp = 1;
    p.top_k = 0;
    p.top_p = 1;
    p.min_p = 0;
    p.seed = 42;
    return p;
}

static lar_sampler *make(const lar_sampler_params *p, size_t n_vocab)
{
    lar_sampler *s;
    lar_err e = {0};
    if (lar_sampler_new(p, n_vocab, &s, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return s;
}

static int32_t pick(lar_sampler *s, const float *x, const int32_t *h, size_t n, uint64_t position)
{
    int32_t id = -1;
    lar_err e = {0};
    if (lar_sampler_pick(s, x, h, n, position, NULL, &id, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return id;
}

/* Ours and the reference over many positions and logits; how many different tokens came out. */
static int compare(const char *what, const lar_sampler_params *p, size_t n_vocab, double step,
                   int rounds)
{
    static model m;
    float x[VOCAB_MAX];
    int32_t h[96];
    bool seen[VOCAB_MAX] = {false};
    int compared = 0, distinct = 0;
    lar_sampler *s = make(p, n_vocab);
    m = (model){.p = *p, .n_vocab = n_vocab, .mu = 2 * (double)p->mirostat_tau};
    for (int i = 0; i < rounds; i++) {
        const size_t n = mix() % LAR_LEN(h);
        const uint64_t position = i % 3 ? (uint64_t)i : (uint64_t)mix() << 20 | mix();
        make_logits(x, n_vocab, step, i % 2);
        make_history(h, n, n_vocab, 2 + mix() % 12);
        x[n_vocab - 1] = 0; /* never all forbidden */
        const int32_t want = ref_pick(&m, x, h, n, position), got = pick(s, x, h, n, position);
        if (m.near)
            continue;
        if (got != want)
            fail_msg("%s, round %d: token %d, want %d (%zu candidates)", what, i, got, want, m.n);
        distinct += !seen[got];
        seen[got] = true;
        compared++;
    }
    lar_sampler_free(s);
    if (compared < rounds * 9 / 10)
        fail_msg("%s: only %d of %d rounds could be compared", what, compared, rounds);
    return distinct;
}

static void test_stages(void **state)
{
    (void)state;
    static const int32_t breakers[] = {1, 3, -5, 100000};
    static const lar_logit_bias bias[] = {{0, 4.5f}, {7, -INFINITY}, {8, -3}, {8, 1}, {20, 9}};
    mix_state = 1;
#define STAGE(...)                                                                                 \
    do {                                                                                           \
        lar_sampler_params p = plain();                                                            \
        __VA_ARGS__;                                                                               \
        assert_in_range(compare(#__VA_ARGS__, &p, 40, 0.25, 150), 2, 40);                          \
        assert_in_range(compare(#__VA_ARGS__, &p, 320, 0, 60), 2, 320);                            \
    } while (0)
    STAGE((void)p);
    STAGE(p.temp = 0);
    STAGE(p.temp = 0.25f);
    STAGE(p.temp = 1.7f);
    STAGE(p.top_k = 1);
    STAGE(p.top_k = 5);
    STAGE(p.top_k = 256);
    STAGE(p.top_k = 257);
    STAGE(p.top_k = 100000);
    STAGE(p.top_p = 0);
    STAGE(p.top_p = 0.3f);
    STAGE(p.top_p = 0.9f);
    STAGE(p.min_p = 0.03f);
    STAGE(p.min_p = 0.5f);
    STAGE(p.min_p = 1);
    STAGE(p.typical_p = 0.2f);
    STAGE(p.typical_p = 0.9f);
    STAGE(p.typical_p = 0);
    STAGE(p.repeat_penalty = 1.3f);
    STAGE(p.repeat_penalty = 0.5f, p.repeat_last_n = -1);
    STAGE(p.repeat_penalty = 2, p.repeat_last_n = 0);
    STAGE(p.frequency_penalty = 0.7f, p.repeat_last_n = 10);
    STAGE(p.presence_penalty = 1.5f);
    STAGE(p.frequency_penalty = -0.5f, p.presence_penalty = -1, p.repeat_penalty = 1.1f);
    STAGE(p.dry_multiplier = 0.8f);
    STAGE(p.dry_multiplier = 2, p.dry_base = 1.2f, p.dry_allowed_length = 1, p.temp = 0);
    STAGE(p.dry_multiplier = 3, p.dry_allowed_length = 0);
    STAGE(p.dry_multiplier = 3, p.dry_last_n = 7, p.temp = 0);
    STAGE(p.dry_multiplier = 3, p.dry_last_n = 0);
    STAGE(p.dry_multiplier = 5, p.dry_breakers = breakers, p.n_dry_breakers = 4,
          p.dry_allowed_length = 1);
    STAGE(p.xtc_probability = 1, p.xtc_threshold = 0.02f);
    STAGE(p.xtc_probability = 0.5f, p.xtc_threshold = 0.1f);
    STAGE(p.bias = bias, p.n_bias = 5);
    STAGE(p.bias = bias, p.n_bias = 5, p.temp = 0);
    STAGE(p.mirostat = 2);
    STAGE(p.mirostat = 2, p.mirostat_tau = 1, p.mirostat_eta = 0.5f, p.temp = 0.7f);
    STAGE(p.mirostat = 1, p.mirostat_tau = 3);
    STAGE(p.mirostat = 1, p.mirostat_tau = 1, p.mirostat_eta = 0.3f);
    STAGE(p.mirostat = 1, p.temp = 0);
    STAGE(p.mirostat = 2, p.temp = 0);
    STAGE(p.top_k = 40, p.top_p = 0.95f, p.min_p = 0.05f, p.temp = 0.8f);
    STAGE(p.top_k = 30, p.typical_p = 0.8f, p.top_p = 0.9f, p.min_p = 0.02f,
          p.xtc_probability = 0.3f, p.xtc_threshold = 0.05f, p.repeat_penalty = 1.1f,
          p.frequency_penalty = 0.2f, p.dry_multiplier = 0.8f, p.bias = bias, p.n_bias = 5);
#undef STAGE
}

/* What the DRY penalty is, by a case done by hand: ... 5 6 7 8 ... 5 6 7 and the next would be 8.
 */
static void test_dry_by_hand(void **state)
{
    (void)state;
    static const int32_t h[] = {5, 6, 7, 8, 9, 5, 6, 7};
    static const int32_t seven[] = {7}, six[] = {6};
    lar_sampler_params p = plain();
    float x[10] = {0};
    p.temp = 0;
    p.dry_multiplier = 1;
    p.dry_base = 2;
    p.dry_allowed_length = 2;
    x[8] = 3.0f; /* length 3: 1 * 2^(3-2) = 2 */
    for (int i = 0; i < 6; i++) {
        const lar_sampler_params q = p;
        p.dry_allowed_length = i == 1 ? 4 : 2;
        p.dry_breakers = i == 2 ? seven : i == 3 ? six : NULL;
        p.n_dry_breakers = i == 2 || i == 3;
        p.dry_last_n = i == 4 ? 4 : -1;
        p.dry_multiplier = i == 5 ? 0 : 1;
        lar_sampler *s = make(&p, 10);
        x[1] = 0.99f;
        assert_int_equal(pick(s, x, h, 8, 0), 8); /* 3 - 2 > 0.99 */
        x[1] = 1.01f;
        assert_int_equal(pick(s, x, h, 8, 0), i == 0 ? 1 : 8);
        lar_sampler_free(s);
        p = q;
    }
}

static void test_ties(void **state)
{
    (void)state;
    float x[300];
    lar_sampler_params p = plain();
    for (int i = 0; i < 300; i++)
        x[i] = -1;
    x[17] = x[200] = x[299] = 2.5f;
    p.temp = 0;
    lar_sampler *s = make(&p, 300);
    assert_int_equal(pick(s, x, NULL, 0, 0), 17);
    x[3] = 0.0f, x[2] = -0.0f, x[17] = x[200] = x[299] = -INFINITY;
    assert_int_equal(pick(s, x, NULL, 0, 0), 2);
    lar_sampler_free(s);
    p.temp = 1;
    for (int k = 1; k < 300; k += 298) { /* k = 1: kept in a list; 299: sorted */
        p.top_k = k;
        p.min_p = 1;
        s = make(&p, 300);
        bool seen[300] = {false};
        for (uint64_t pos = 0; pos < 50; pos++)
            seen[pick(s, x, NULL, 0, pos)] = true;
        assert_true(seen[2]);
        assert_int_equal(seen[3], k > 1);
        lar_sampler_free(s);
    }
    /* Both ways to order the candidates agree, also on the two zeros. */
    p.top_k = 2;
    s = make(&p, 300);
    p.top_k = 299;
    lar_sampler *t = make(&p, 300);
    for (uint64_t pos = 0; pos < 50; pos++)
        assert_int_equal(pick(s, x, NULL, 0, pos), pick(t, x, NULL, 0, pos));
    lar_sampler_free(s);
    lar_sampler_free(t);
}

static lar_status refuse(const lar_sampler_params *p, const float *x, size_t n, const int32_t *h,
                         size_t n_h, const lar_token_filter *f, const char *message)
{
    lar_err e = {0};
    int32_t id = -7;
    lar_sampler *s = make(p, n);
    const lar_status st = lar_sampler_pick(s, x, h, n_h, 3, f, &id, &e);
    lar_sampler_free(s);
    if (st == LAR_OK || st != e.code || !strstr(e.msg, message))
        fail_msg("%s \"%s\", want \"%s\"", lar_status_name(st), e.msg, message);
    return st;
}

static void test_refusals(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        lar_sampler_params p = plain();
        float x[5] = {1, 2, 3, 4, 5};
        int32_t h[2] = {0, 4}, id;
        lar_err e = {0};
        p.temp = kind == 0 ? 0 : 1;
        p.mirostat = kind == 2 ? 1 : kind == 3 ? 2 : 0;
        x[3] = NAN;
        assert_int_equal(refuse(&p, x, 5, NULL, 0, NULL, "logit 3 is"), LAR_ENUMERIC);
        x[3] = INFINITY;
        assert_int_equal(refuse(&p, x, 5, NULL, 0, NULL, "logit 3 is inf"), LAR_ENUMERIC);
        for (int i = 0; i < 5; i++)
            x[i] = -INFINITY;
        assert_int_equal(refuse(&p, x, 5, NULL, 0, NULL, "no token is allowed"), LAR_EARG);
        h[1] = 5;
        assert_int_equal(refuse(&p, x, 5, h, 2, NULL, "token 5 in the history, want 0 to 4"),
                         LAR_EARG);
        h[1] = -1;
        assert_int_equal(refuse(&p, x, 5, h, 2, NULL, "token -1 in the history"), LAR_EARG);
        x[2] = -1e30f; /* the only one left, however unlikely */
        lar_sampler *s = make(&p, 5);
        assert_int_equal(pick(s, x, NULL, 0, 1), 2);
        lar_sampler_free(s);
        s = make(&p, 1); /* a vocabulary of one */
        for (uint64_t i = 0; i < 10; i++)
            assert_int_equal(pick(s, (float[]){-3}, (int32_t[]){0, 0, 0}, 3, i), 0);
        lar_sampler_free(s);
        assert_int_equal(lar_sampler_new(&p, 0, &s, &e), LAR_EARG);
        for (int bad = 0; bad < 2; bad++) {
            const lar_logit_bias b = {1, bad ? NAN : INFINITY};
            p.bias = &b;
            p.n_bias = 1;
            assert_int_equal(lar_sampler_new(&p, 5, &s, &e), LAR_EARG);
            assert_non_null(strstr(e.msg, "the bias of token 1"));
        }
        /* Sums beyond the range of floats stay in it. */
        const lar_logit_bias huge = {1, 3e38f};
        p.bias = &huge;
        s = make(&p, 5);
        x[1] = 3e38f;
        assert_int_equal(lar_sampler_pick(s, x, NULL, 0, 0, NULL, &id, &e), LAR_OK);
        assert_int_equal(id, 1);
        lar_sampler_free(s);
    }
}

typedef struct only {
    int32_t id, accepted;
    int calls;
} only;

static lar_status allow_one(void *state, float *x, size_t n, lar_err *e)
{
    only *o = state;
    o->calls++;
    for (size_t i = 0; i < n; i++)
        if ((int32_t)i != o->id)
            x[i] = -INFINITY;
    return o->id >= 0 ? LAR_OK : lar_fail(e, LAR_EARG, "no token is allowed here");
}

static lar_status accepted(void *state, int32_t id, lar_err *e)
{
    (void)e;
    ((only *)state)->accepted = id;
    return LAR_OK;
}

static void test_filter(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        lar_sampler_params p = plain();
        float x[50], before[50];
        only o = {.accepted = -1};
        const lar_token_filter f = {allow_one, accepted, &o};
        mix_state = 5;
        make_logits(x, 50, 0, false);
        memcpy(before, x, sizeof x);
        p.temp = kind == 0 ? 0 : 1;
        p.mirostat = kind == 2 ? 1 : kind == 3 ? 2 : 0;
        lar_sampler *s = make(&p, 50);
        for (o.id = 0; o.id < 50; o.id++) {
            int32_t id;
            lar_err e = {0};
            assert_int_equal(lar_sampler_pick(s, x, NULL, 0, (uint64_t)o.id, &f, &id, &e), LAR_OK);
            assert_int_equal(id, o.id);
            assert_int_equal(o.accepted, o.id);
        }
        assert_int_equal(o.calls, 50);
        assert_memory_equal(x, before, sizeof x);
        lar_sampler_free(s);
        o.id = -1; /* says that nothing is allowed */
        o.accepted = -2;
        refuse(&p, x, 50, NULL, 0, &f, "no token is allowed here");
        o.id = 60; /* forbids all without saying so */
        refuse(&p, x, 50, NULL, 0, &f, "no token is allowed here");
        assert_int_equal(o.accepted, -2);
    }
}

/* Pearson's statistic over many positions: 7 degrees of freedom, 24.3 is passed once in a thousand.
 * Seeds are fixed, so this says the same each time. */
static void test_frequencies(void **state)
{
    (void)state;
    enum { N = 20000, K = 8 };
    static const float x[K] = {0, -0.5f, 1, -1, 0.25f, -2, 0.25f, -3};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        lar_sampler_params p = plain();
        double sum = 0, chi = 0;
        int count[K] = {0};
        p.seed = seed;
        p.temp = seed == 4 ? 2 : 1;
        lar_sampler *s = make(&p, K);
        for (uint64_t i = 0; i < N; i++)
            count[pick(s, x, NULL, 0, i)]++;
        lar_sampler_free(s);
        for (int i = 0; i < K; i++)
            sum += exp((double)(x[i] / p.temp));
        for (int i = 0; i < K; i++) {
            const double want = N * exp((double)(x[i] / p.temp)) / sum;
            chi += (count[i] - want) * (count[i] - want) / want;
        }
        if (chi > 24.3)
            fail_msg("seed %d: chi-square %g", (int)seed, chi);
    }
}

/* The draw depends on seed and position alone, not on the picks before it. */
static void test_random_by_position(void **state)
{
    (void)state;
    float x[100];
    int32_t at[200];
    lar_sampler_params p = plain();
    int same_seed2 = 0, runs = 0;
    mix_state = 9;
    make_logits(x, 100, 0, false);
    p.temp = 3;
    lar_sampler *s = make(&p, 100), *t = make(&p, 100);
    p.seed = 43;
    lar_sampler *other = make(&p, 100);
    for (uint64_t i = 0; i < 200; i++)
        at[i] = pick(s, x, NULL, 0, i);
    for (uint64_t i = 200; i-- > 0;) {
        assert_int_equal(pick(t, x, NULL, 0, i), at[i]);
        same_seed2 += pick(other, x, NULL, 0, i) == at[i];
        runs += i && at[i] == at[i - 1];
    }
    assert_in_range(same_seed2, 0, 40);
    assert_in_range(runs, 0, 40);
    lar_sampler_free(s);
    lar_sampler_free(t);
    lar_sampler_free(other);
}

/* Names of tokens do not matter where logits differ: permuted logits give the permuted token. */
static void test_permutation(void **state)
{
    (void)state;
    enum { N = 300 };
    float x[N], y[N];
    int32_t to[N];
    mix_state = 11;
    for (int i = 0; i < N; i++) {
        x[i] = (float)i * 0.03f - 4;
        to[i] = i;
    }
    for (int i = N - 1; i > 0; i--) {
        const int j = (int)(mix() % (uint32_t)(i + 1));
        const int32_t v = to[i];
        to[i] = to[j];
        to[j] = v;
    }
    for (int i = 0; i < N; i++)
        y[to[i]] = x[i];
    for (int kind = 0; kind < 5; kind++) {
        lar_sampler_params p = plain();
        p.top_k = kind == 1 ? 50 : kind == 2 ? 280 : 0;
        p.typical_p = kind == 3 ? 0.7f : 1;
        p.mirostat = kind == 4 ? 2 : 0;
        lar_sampler *a = make(&p, N), *b = make(&p, N);
        for (uint64_t i = 0; i < 100; i++)
            assert_int_equal(to[pick(a, x, NULL, 0, i)], pick(b, y, NULL, 0, i));
        lar_sampler_free(a);
        lar_sampler_free(b);
    }
}

static void test_allocations(void **state)
{
    (void)state;
    static const lar_logit_bias bias[] = {{3, 1}};
    float x[320];
    int32_t h[64];
    if (!oom_linked())
        skip();
    mix_state = 13;
    make_logits(x, 320, 0, true);
    make_history(h, 64, 320, 6);
    for (int kind = 0; kind < 6; kind++) {
        lar_sampler_params p = plain();
        p.temp = kind == 0 ? 0 : 1;
        p.top_k = kind == 1 ? 40 : 0;
        p.typical_p = kind == 2 ? 0.5f : 1;
        p.mirostat = kind == 3 ? 1 : kind == 4 ? 2 : 0;
        p.top_p = 0.9f, p.min_p = 0.01f, p.xtc_probability = 0.5f, p.repeat_penalty = 1.1f,
        p.frequency_penalty = 1;
        p.bias = bias, p.n_bias = 1;
        p.dry_multiplier = kind == 5 ? 1 : 0;
        lar_sampler *s = make(&p, 320);
        if (kind == 5) {
            lar_err e = {0};
            int32_t id;
            oom_fail_at(0); /* its table of matches grows with the history, and may fail to */
            assert_int_equal(lar_sampler_pick(s, x, h, 64, 0, NULL, &id, &e), LAR_ENOMEM);
            oom_fail_at(-1);
            pick(s, x, h, 64, 0);
        }
        oom_fail_at(-1);
        for (uint64_t i = 0; i < 20; i++)
            pick(s, x, h, 64, i);
        const long n = oom_count();
        assert_int_equal(n, 0);
        lar_sampler_free(s);
    }
    lar_sampler_params p = plain();
    p.bias = bias, p.n_bias = 1;
    for (long n = 0;; n++) {
        lar_sampler *s = NULL;
        lar_err e = {0};
        oom_fail_at(n);
        const lar_status st = lar_sampler_new(&p, 320, &s, &e);
        const bool hit = oom_hit();
        oom_fail_at(-1);
        assert_int_equal(st, hit ? LAR_ENOMEM : LAR_OK);
        if (!hit) {
            lar_sampler_free(s);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_dry_by_hand),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_random_by_position),
        cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
