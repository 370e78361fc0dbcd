/*
 * eval.h - the parts of the task `eval`: what a task's description and data say, how an item is
 * asked and scored, and what comes out.
 *
 * eval_desc.c    a description: JSON to templates, patterns and numbers
 * eval_data.c    a data set: JSONL to items
 * eval_prompt.c  an item's prompt, its examples, its choices as text
 * eval_loglik.c  choices by log-likelihood
 * eval_gen.c     an answer generated, split from its reasoning
 * eval_extract.c the letter or text that an answer gives
 * eval_judge.c   criteria met, by a judge
 * eval_records.c a line for each item, kept over kills
 * eval_report.c  means, intervals, the canonical result
 * eval.c         the task
 *
 * A *unit* is one item in one run; units are numbered item * runs + run. Depends on host.h,
 * text/regex.h, jansson, libsodium.
 */
#ifndef LAR_EVAL_H
#define LAR_EVAL_H
#include "tasks/task.h"
#include "text/regex.h"
#include <sodium.h>

typedef enum lar_eval_metric {
    LAR_EVAL_LOGLIK,   /* choice_loglik */
    LAR_EVAL_GENERATE, /* choice_generate */
    LAR_EVAL_EXACT,    /* exact_match */
    LAR_EVAL_RUBRIC    /* rubric */
} lar_eval_metric;
extern const char lar__eval_metrics[]; /* '|'-separated, in that order */
bool lar__eval_metric_by_name(const char *name, lar_eval_metric *out);
const char *lar__eval_metric_name(lar_eval_metric m);

enum { LAR_EVAL_CHOICES = 26, LAR_EVAL_PATTERNS = 32, LAR_EVAL_RUNS = 1000 };

/* ---- a description ------------------------------------------------------------------------- */

typedef enum lar_eval_answer {
    LAR_EVAL_BY_LETTER, /* "B" */
    LAR_EVAL_BY_INDEX,  /* 0 is the first */
    LAR_EVAL_BY_NUMBER, /* 1 is the first */
    LAR_EVAL_BY_TEXT,   /* one of the choices' texts */
    LAR_EVAL_BY_KEY     /* a key of the object that the choices are in */
} lar_eval_answer;

enum { LAR_EVAL_LOWER = 1, LAR_EVAL_ARTICLES = 2, LAR_EVAL_PUNCTUATION = 4, LAR_EVAL_SPACES = 8 };

typedef struct lar_eval_desc {
    json_t *json; /* whole; what is borrowed below lives in it */
    const char *path, *name, *title;
    lar_eval_metric metric;
    bool by_subject; /* the headline is the mean over subjects, else over items */
    /* fields of a line; a dot goes into an object */
    const char *f_id, *f_subject, *subject_prefix, *f_question, *f_answer, *f_messages, *f_rubrics;
    const json_t *f_choices; /* a field, a list of fields, or {"fixed": [texts]} */
    lar_eval_answer answer;
    const json_t *filter; /* field: values that are kept */
    bool skip_unusable;
    /* log-likelihood */
    lar_template *ll_prompt, *ll_choice, *ll_intro;
    const char *ll_delimiter, *separator;
    int ll_shots;
    /* generation */
    lar_template *gen_prompt;
    const char *system;
    lar_regex *pattern[LAR_EVAL_PATTERNS];
    int n_patterns;
    bool first_match; /* else the last */
    int gen_shots, max_tokens, runs;
    double temp;
    unsigned normalise;
    /* judging */
    lar_template *judge_prompt;
    int judge_tokens, judge_retries;
} lar_eval_desc;

/* metric: another one than the description's; NULL: its own. */
lar_status lar__eval_desc_load(const char *path, const char *metric, lar_eval_desc *d, lar_err *e);
void lar__eval_desc_free(lar_eval_desc *d);
/* j["a"]["b"] for "a.b"; NULL if absent or null. */
const json_t *lar__eval_at(const json_t *row, const char *path);

/* ---- data ------------------------------------------------------------------------------------ */

typedef struct lar_eval_item {
    size_t line;
    json_t *row;
    char *id;
    size_t subject;  /* an index into subjects */
    json_t *choices; /* texts; NULL where the metric has none */
    int gold;        /* -1: none */
    json_t *answers; /* texts that count as right (exact_match), or NULL */
} lar_eval_item;

typedef struct lar_eval_data {
    const char *path;
    lar_eval_item *item;
    size_t n, cap;
    char **subject; /* in the order that they come */
    size_t n_subjects, cap_subjects;
    size_t skipped, filtered; /* unusable; left out by the filter */
    uint8_t sha256[32];
} lar_eval_data;

/* All usable lines, `most` of them at most (0: all). Wrong ones are errors that name the line. */
lar_status lar__eval_data_load(const lar_eval_desc *d, const char *path, size_t most,
                               lar_eval_data *out, lar_err *e);
void lar__eval_data_free(lar_eval_data *d);

/* ---- prompts --------------------------------------------------------------------------------- */

/* Examples (NULL: none) come before the item's own question, those of its subject where there are
 * subjects. */
lar_status lar__eval_prompt(const lar_eval_desc *d, const lar_eval_data *data,
                            const lar_eval_item *item, const lar_eval_data *dev, int shots,
                            bool loglik, lar_buf *out, lar_err *e);
/* The text of choice i as it is scored, without the delimiter. */
lar_status lar__eval_choice(const lar_eval_desc *d, const lar_eval_data *data,
                            const lar_eval_item *item, int i, lar_buf *out, lar_err *e);
lar_status lar__eval_render(const lar_template *t, const json_t *vars, lar_buf *out, lar_err *e);

/* ---- scoring --------------------------------------------------------------------------------- */

typedef struct lar_eval_ll {
    double sum; /* of ln p of the continuation's tokens */
    int tokens;
    bool cut; /* the context did not fit: its beginning was left out */
} lar_eval_ll;

/* Sequences of the session's engine. `more` may stay NULL. */
typedef struct lar_eval_scorer {
    lar_task *t;
    lar_engine *en;
    lar_seq *seq, *more[3];
    int n_more, bos; /* bos: 1, 0, -1: as the file says */
    float *row;      /* [n_vocab]: logits after the context */
} lar_eval_scorer;
lar_status lar__eval_scorer_new(lar_task *t, int bos, lar_eval_scorer *out, lar_err *e);
void lar__eval_scorer_free(lar_eval_scorer *s);
/* ln p of each continuation after the context, tokenised as lm-evaluation-harness does. */
lar_status lar__eval_loglik(lar_eval_scorer *s, lar_str context, const lar_str *continuation, int n,
                            lar_eval_ll *out, lar_err *e);

/* ---- generation ------------------------------------------------------------------------------ */

typedef struct lar_eval_llm {
    lar_model *model;
    lar_engine *engine;
    lar_seq *seq;
} lar_eval_llm;

typedef struct lar_eval_sampling {
    int max_tokens;
    uint64_t seed;
    double temp, top_p, min_p;
    int top_k;
    const json_t *vars; /* for the chat template; NULL: none */
} lar_eval_sampling;

typedef struct lar_eval_answered {
    lar_buf text, thinking;
    int tokens;
    bool truncated; /* the budget or the context ended it */
} lar_eval_answered;
void lar__eval_answered_free(lar_eval_answered *a);
lar_status lar__eval_generate(lar_task *t, const lar_eval_llm *llm, const json_t *messages,
                              const lar_eval_sampling *p, lar_eval_answered *out, lar_err *e);

/* The choice that a text names: patterns in order, the last (or first) match that is a letter of a
 * choice. -1: none. */
int lar__eval_letter(const lar_eval_desc *d, lar_str text, int n_choices);
/* Is it one of the answers, normalised? With patterns, what the first one that matches finds is
 * compared; *found false where none does. */
lar_status lar__eval_exact(const lar_eval_desc *d, lar_str text, const json_t *answers, bool *right,
                           bool *found, lar_err *e);
void lar__eval_normalise(unsigned how, lar_str text, lar_buf *out);

/* ---- judging --------------------------------------------------------------------------------- */

typedef struct lar_eval_judge {
    lar_eval_llm llm;
    bool own; /* the model was opened here */
} lar_eval_judge;
lar_status lar__eval_judge_open(lar_task *t, const char *path, int ctx, lar_eval_judge *out,
                                lar_err *e);
void lar__eval_judge_close(lar_eval_judge *j);
/* A judge's answer: the first JSON object in it with a true or false "criteria_met". False where
 * there is none. */
bool lar__eval_verdict(lar_str text, bool *met);
/* Points of the criteria met over positive points; said: 1 met, 0 not, -1 no verdict. False where
 * there is no score. */
bool lar__eval_points(const json_t *rubrics, const int *said, double *score);
/* Appends to rec: score (null where a criterion stayed unjudged or no points are positive), junk,
 * unjudged, criteria. */
lar_status lar__eval_grade(lar_task *t, const lar_eval_desc *d, const lar_eval_judge *j,
                           const lar_eval_item *item, lar_str answer, uint64_t seed, json_t *rec,
                           lar_err *e);

/* ---- records and the report --------------------------------------------------------------------
 */

/* What the report needs of a unit, as its record has it. */
typedef struct lar_eval_score {
    double score, norm, bytes; /* NAN: none */
    bool no_answer, truncated, cut;
    int tokens, junk, unjudged;
} lar_eval_score;
bool lar__eval_score_read(const json_t *rec, lar_eval_metric m, lar_eval_score *out);

typedef struct lar_eval_records {
    lar_append *file; /* NULL: none is kept */
    lar_eval_score *score;
    size_t n, cap;
    crypto_hash_sha256_state sha; /* of the lines after the first */
    bool torn;                    /* a last line that was not whole has been dropped */
} lar_eval_records;
/* Continue `path` (NULL: keep none) if it was begun with the same settings. */
lar_status lar__eval_records_open(const char *path, const json_t *settings, bool restart,
                                  lar_eval_metric m, size_t units, lar_eval_records *out,
                                  lar_err *e);
lar_status lar__eval_records_add(lar_eval_records *r, const json_t *rec, lar_eval_metric m,
                                 lar_err *e);
void lar__eval_records_close(lar_eval_records *r);
void lar__eval_records_hash(const lar_eval_records *r, char hex[65]);

/* A copy with the keys of all objects sorted. */
json_t *lar__eval_sorted(const json_t *v);
/* Wilson's 95 % interval of k of n. */
void lar__eval_wilson(double k, double n, double ci[2]);
/* An arithmetic mean of x[n] (resampled within `group`s, which the mean is then taken over),
 * clipped to [0, 1] where asked: 95 % interval and standard error, from a fixed seed. */
typedef struct lar_eval_mean {
    double value, low, high, stderr_;
} lar_eval_mean;
bool lar__eval_bootstrap(const double *x, const size_t *group, size_t n, size_t n_groups, bool clip,
                         lar_eval_mean *out);
typedef struct lar_eval_report {
    const lar_eval_desc *desc;
    const lar_eval_data *data;
    lar_eval_metric metric;
    const lar_eval_score *score;
    size_t n_items;
    int runs;
} lar_eval_report;
json_t *lar__eval_report_json(const lar_eval_report *r, bool *bad);

#endif
