/*
 * eval_report.c - from units to figures: an item's value is the mean of its runs, a subject's the
 * mean of its items, the headline the mean over subjects or items.
 *
 * Intervals are of 95 %: Wilson's (1927) where all values are 0 or 1, else (and for a mean over
 * several subjects) the percentiles of 1,000 means over items drawn again, within each subject,
 * with a fixed seed. Rubric scores: means are clipped to [0, 1], as HealthBench has it.
 */
#include "base/math.h"
#include "tasks/eval.h"
#include "tasks/json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 1000, SEED = 20250508 };

void lar__eval_wilson(double k, double n, double ci[2])
{
    const double z = 1.959963984540054, p = n > 0 ? k / n : 0;
    if (n <= 0) {
        ci[0] = 0;
        ci[1] = 1;
        return;
    }
    const double mid = p + z * z / (2 * n), d = 1 + z * z / n;
    const double half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    ci[0] = k > 0 ? LAR_MAX(0.0, (mid - half) / d) : 0;
    ci[1] = k < n ? LAR_MIN(1.0, (mid + half) / d) : 1;
}

static double clipped(double x, bool clip)
{
    return clip ? LAR_MIN(1.0, LAR_MAX(0.0, x)) : x;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, double p)
{
    const double at = p / 100 * (RESAMPLES - 1);
    const size_t i = (size_t)at;
    return sorted[i] +
           (at - (double)i) * (sorted[LAR_MIN(i + 1, (size_t)RESAMPLES - 1)] - sorted[i]);
}

/* Values ordered by group; group g is [from[g], from[g + 1]). Empty groups do not count. */
static double mean_of(const double *x, const size_t *from, size_t n_groups, size_t resample,
                      bool draw)
{
    double total = 0, groups = 0;
    for (size_t g = 0; g < n_groups; g++) {
        const size_t n = from[g + 1] - from[g];
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            const uint64_t at = (uint64_t)resample * from[n_groups] + from[g] + i;
            sum += x[from[g] + (draw ? (size_t)(lar_random(SEED, at) % n) : i)];
        }
        total += n ? sum / (double)n : 0;
        groups += n > 0;
    }
    return groups > 0 ? total / groups : 0;
}

static void resample(const double *x, const size_t *from, size_t n_groups, bool clip, double *mean,
                     lar_eval_mean *out)
{
    double avg = 0, var = 0;
    out->value = clipped(mean_of(x, from, n_groups, 0, false), clip);
    for (size_t r = 0; r < RESAMPLES; r++) {
        mean[r] = clipped(mean_of(x, from, n_groups, r, true), clip);
        avg += mean[r] / RESAMPLES;
    }
    for (size_t r = 0; r < RESAMPLES; r++)
        var += (mean[r] - avg) * (mean[r] - avg) / RESAMPLES;
    qsort(mean, RESAMPLES, sizeof *mean, by_value);
    out->low = percentile(mean, 2.5);
    out->high = percentile(mean, 97.5);
    out->stderr_ = sqrt(var);
}

bool lar__eval_bootstrap(const double *x, const size_t *group, size_t n, size_t n_groups, bool clip,
                         lar_eval_mean *out)
{
    size_t *from = lar_alloc_array(n_groups + 2, sizeof *from);
    double *sorted = lar_alloc_array(n + 1, sizeof *sorted);
    double *mean = lar_alloc_array(RESAMPLES, sizeof *mean);
    *out = (lar_eval_mean){0};
    if (from && sorted && mean) {
        for (size_t i = 0; i < n; i++)
            from[(group ? group[i] : 0) + 2]++;
        for (size_t g = 0; g < n_groups; g++)
            from[g + 2] += from[g + 1];
        for (size_t i = 0; i < n; i++)
            sorted[from[(group ? group[i] : 0) + 1]++] = x[i];
        resample(sorted, from, n_groups, clip, mean, out);
    }
    const bool ok = from && sorted && mean;
    lar_free(from);
    lar_free(sorted);
    lar_free(mean);
    return ok;
}

/* ---- values of items ------------------------------------------------------------------------- */

typedef struct values {
    double *x;     /* [n] */
    size_t *group; /* [n]: subject */
    size_t n;
    bool binary;
} values;

static double value_of(const lar_eval_score *s, int which)
{
    return which == 0 ? s->score : which == 1 ? s->norm : s->bytes;
}

/* run < 0: the mean of all runs. Items without a value are left out. */
static bool collect(const lar_eval_report *r, int which, int run, values *v)
{
    v->x = lar_alloc_array(r->n_items + 1, sizeof *v->x);
    v->group = lar_alloc_array(r->n_items + 1, sizeof *v->group);
    v->n = 0;
    v->binary = true;
    if (!v->x || !v->group)
        return false;
    for (size_t i = 0; i < r->n_items; i++) {
        double sum = 0;
        int n = 0;
        for (int k = 0; k < r->runs; k++) {
            const double s = value_of(&r->score[i * (size_t)r->runs + (size_t)k], which);
            if ((run >= 0 && k != run) || isnan(s))
                continue;
            sum += s;
            n++;
        }
        if (!n)
            continue;
        v->x[v->n] = sum / n;
        v->binary = v->binary && (v->x[v->n] == 0 || v->x[v->n] == 1);
        v->group[v->n++] = r->data->item[i].subject;
    }
    return true;
}

static void values_free(values *v)
{
    lar_free(v->x);
    lar_free(v->group);
}

/* The mean over items: Wilson's interval where it applies. */
static bool mean_items(const values *v, bool clip, lar_eval_mean *out)
{
    double ci[2], k = 0;
    if (!lar__eval_bootstrap(v->x, NULL, v->n, 1, clip, out))
        return false;
    for (size_t i = 0; i < v->n; i++)
        k += v->x[i];
    if (v->binary) {
        lar__eval_wilson(k, (double)v->n, ci);
        out->low = ci[0];
        out->high = ci[1];
    }
    return true;
}

static json_t *mean_json(const lar_eval_mean *m, const char *how, bool *bad)
{
    json_t *o = json_object(), *ci = json_array();
    lar_json_put(o, "value", json_real(m->value), bad);
    lar_json_push(ci, json_real(m->low), bad);
    lar_json_push(ci, json_real(m->high), bad);
    lar_json_put(o, "interval", ci, bad);
    lar_json_put(o, "method", json_string(how), bad);
    lar_json_put(o, "bootstrap_stderr", json_real(m->stderr_), bad);
    return o;
}

static const char *const ll_names[] = {"acc", "acc_norm", "acc_bytes"};

static const char *metric_name(const lar_eval_report *r, int which)
{
    return r->metric == LAR_EVAL_LOGLIK     ? ll_names[which]
           : r->metric == LAR_EVAL_GENERATE ? "acc"
           : r->metric == LAR_EVAL_EXACT    ? "exact_match"
                                            : "score";
}

static int n_metrics(const lar_eval_report *r)
{
    return r->metric == LAR_EVAL_LOGLIK ? 3 : 1;
}

/* ---- parts of the report -----------------------------------------------------------------------
 */

static json_t *metric_json(const lar_eval_report *r, int which, bool *bad)
{
    values v;
    lar_eval_mean items, subjects;
    const bool clip = r->metric == LAR_EVAL_RUBRIC;
    const bool several = r->data->n_subjects > 1;
    json_t *o = json_object();
    if (collect(r, which, -1, &v) && mean_items(&v, clip, &items) &&
        lar__eval_bootstrap(v.x, v.group, v.n, r->data->n_subjects, clip, &subjects)) {
        const char *how = v.binary ? "wilson" : "bootstrap";
        const bool none = !v.n; /* nothing was scored */
        lar_json_put(o, "over_items", none ? json_null() : mean_json(&items, how, bad), bad);
        lar_json_put(o, "over_subjects",
                     none      ? json_null()
                     : several ? mean_json(&subjects, "bootstrap", bad)
                               : mean_json(&items, how, bad),
                     bad);
        lar_json_put(o, "headline",
                     json_string(r->desc->by_subject ? "over_subjects" : "over_items"), bad);
        lar_json_put(o, "items", json_integer((json_int_t)v.n), bad);
    } else {
        *bad = true;
    }
    values_free(&v);
    return o;
}

static json_t *subject_json(const lar_eval_report *r, size_t subject, bool *bad)
{
    json_t *o = json_object();
    lar_json_put(o, "name", json_string(r->data->subject[subject]), bad);
    for (int k = 0; k < n_metrics(r); k++) {
        values v;
        lar_eval_mean m;
        size_t n = 0;
        if (!collect(r, k, -1, &v)) {
            *bad = true;
        } else {
            v.binary = true;
            for (size_t i = 0; i < v.n; i++)
                if (v.group[i] == subject) {
                    v.x[n++] = v.x[i];
                    v.binary = v.binary && (v.x[n - 1] == 0 || v.x[n - 1] == 1);
                }
            v.n = n;
            if (!mean_items(&v, r->metric == LAR_EVAL_RUBRIC, &m))
                *bad = true;
            else
                lar_json_put(
                    o, metric_name(r, k),
                    n ? mean_json(&m, v.binary ? "wilson" : "bootstrap", bad) : json_null(), bad);
        }
        values_free(&v);
        if (k == 0)
            lar_json_put(o, "items", json_integer((json_int_t)n), bad);
    }
    return o;
}

/* The headline of each run by itself. */
static json_t *runs_json(const lar_eval_report *r, bool *bad)
{
    json_t *a = json_array();
    for (int run = 0; run < r->runs; run++) {
        values v;
        lar_eval_mean m;
        const size_t groups = r->desc->by_subject ? r->data->n_subjects : 1;
        if (!collect(r, 0, run, &v) ||
            !lar__eval_bootstrap(v.x, groups > 1 ? v.group : NULL, v.n, groups,
                                 r->metric == LAR_EVAL_RUBRIC, &m))
            *bad = true;
        else
            lar_json_push(a, json_real(m.value), bad);
        values_free(&v);
    }
    return a;
}

static json_t *counts_json(const lar_eval_report *r, bool *bad)
{
    const size_t n = r->n_items * (size_t)r->runs;
    double no_answer = 0, truncated = 0, cut = 0, tokens = 0, junk = 0, unjudged = 0, none = 0;
    json_t *o = json_object();
    for (size_t i = 0; i < n; i++) {
        const lar_eval_score *s = &r->score[i];
        no_answer += s->no_answer;
        truncated += s->truncated;
        cut += s->cut;
        tokens += s->tokens;
        junk += s->junk;
        unjudged += s->unjudged;
        none += isnan(s->score);
    }
    const double d = n ? (double)n : 1;
    lar_json_put(o, "units", json_integer((json_int_t)n), bad);
    lar_json_put(o, "items_skipped", json_integer((json_int_t)r->data->skipped), bad);
    lar_json_put(o, "items_filtered", json_integer((json_int_t)r->data->filtered), bad);
    if (r->metric == LAR_EVAL_LOGLIK) {
        lar_json_put(o, "contexts_cut", json_integer((json_int_t)cut), bad);
        return o;
    }
    lar_json_put(o, "truncated", json_integer((json_int_t)truncated), bad);
    lar_json_put(o, "truncation_rate", json_real(truncated / d), bad);
    lar_json_put(o, "tokens_mean", json_real(tokens / d), bad);
    if (r->metric != LAR_EVAL_RUBRIC) {
        lar_json_put(o, "extraction_failures", json_integer((json_int_t)no_answer), bad);
        lar_json_put(o, "extraction_failure_rate", json_real(no_answer / d), bad);
        return o;
    }
    lar_json_put(o, "judge_junk", json_integer((json_int_t)junk), bad);
    lar_json_put(o, "criteria_unjudged", json_integer((json_int_t)unjudged), bad);
    lar_json_put(o, "units_without_score", json_integer((json_int_t)none), bad);
    return o;
}

json_t *lar__eval_report_json(const lar_eval_report *r, bool *bad)
{
    json_t *o = json_object(), *metrics = json_object(), *subjects = json_array();
    for (int k = 0; k < n_metrics(r); k++)
        lar_json_put(metrics, metric_name(r, k), metric_json(r, k, bad), bad);
    for (size_t i = 0; i < r->data->n_subjects; i++)
        lar_json_push(subjects, subject_json(r, i, bad), bad);
    lar_json_put(o, "metrics", metrics, bad);
    lar_json_put(o, "subjects", subjects, bad);
    lar_json_put(o, "counts", counts_json(r, bad), bad);
    if (r->runs > 1)
        lar_json_put(o, "by_run", runs_json(r, bad), bad);
    return o;
}
