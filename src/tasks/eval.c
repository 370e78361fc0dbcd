/*
 * eval.c - the task `eval`: how many items of a benchmark a model gets right. Its parts are told in
 * eval.h, its formats in docs/EVAL.md.
 */
#include "tasks/eval.h"
#include "tasks/json.h"
#include "tasks/model_id.h"
#include <math.h>
#include <string.h>

typedef struct params {
    const char *task, *data, *dev, *records, *out, *metric, *think, *bos, *judge;
    bool restart;
    int64_t limit, shots, runs, seed, max_tokens, top_k, judge_ctx;
    double temp, top_p, min_p;
} params;

#define AT(f) .offset = offsetof(params, f)
#define INT(n, f, d, lo, hi, h)                                                                    \
    {                                                                                              \
        .name = n, .type = LAR_FIELD_INT, AT(f), .def = (d), .min = (lo), .max = (hi),             \
        .unit = "N", .help = h                                                                     \
    }
#define NUM(n, f, d, lo, hi, h)                                                                    \
    {                                                                                              \
        .name = n, .type = LAR_FIELD_NUMBER, AT(f), .def = (d), .min = (lo), .max = (hi),          \
        .unit = "X", .help = h                                                                     \
    }
#define FILE_FIELD(n, f, h)                                                                        \
    {                                                                                              \
        .name = n, .type = LAR_FIELD_STRING, AT(f), .unit = "FILE", .help = h                      \
    }
static const lar_field fields[] = {
    FILE_FIELD("task", task, "The task's description"),
    FILE_FIELD("data", data, "The items: a JSON object a line"),
    FILE_FIELD("dev", dev, "Items that examples are taken from"),
    FILE_FIELD("records", records, "Keep a record of each item, and go on from there after a kill"),
    FILE_FIELD("out", out, "Write the result as canonical JSON"),
    {.name = "restart",
     .type = LAR_FIELD_BOOL,
     AT(restart),
     .help = "Begin anew, whatever the records file holds"},
    {.name = "metric",
     .type = LAR_FIELD_STRING,
     AT(metric),
     .choices = "choice_loglik|choice_generate|exact_match|rubric",
     .unit = "NAME",
     .help = "Another metric than the description's"},
    INT("limit", limit, 0, 0, 1 << 24, "The first N items only; 0: all"),
    INT("shots", shots, -1, -1, 100, "Examples before each question; -1: as the description says"),
    INT("runs", runs, 0, 0, LAR_EVAL_RUNS, "Answers to each item; 0: as the description says"),
    INT("seed", seed, 0, 0, 9007199254740991.0, "Run r samples with seed N + r"),
    INT("max-tokens", max_tokens, 0, 0, 1 << 20,
        "Tokens of an answer, reasoning included; 0: as the description says"),
    {.name = "think",
     .type = LAR_FIELD_STRING,
     AT(think),
     .def_str = "auto",
     .choices = "auto|on|off",
     .unit = "MODE",
     .help = "Reasoning: the template's enable_thinking"},
    NUM("temp", temp, -1, -1, 100, "Temperature; -1: as the description says"),
    NUM("top-p", top_p, 1, 0, 1, "Keep the likeliest tokens that reach this probability; 1: all"),
    NUM("min-p", min_p, 0, 0, 1, "Keep tokens at least this likely relative to the likeliest"),
    INT("top-k", top_k, 0, 0, 1 << 28, "Keep the K likeliest tokens; 0: all"),
    {.name = "bos",
     .type = LAR_FIELD_STRING,
     AT(bos),
     .def_str = "auto",
     .choices = "auto|on|off",
     .unit = "MODE",
     .help = "BOS before a scored prompt; auto: as the model's file says"},
    FILE_FIELD("judge", judge, "The model that grades by rubrics"),
    INT("judge-ctx", judge_ctx, 0, 0, 1 << 24, "The judge's context; 0: the model's"),
};

typedef struct state {
    lar_eval_desc desc;
    lar_eval_data data, dev;
    lar_eval_scorer scorer;
    lar_eval_judge judge;
    lar_eval_records records;
    json_t *settings, *vars;
    bool has_dev;
    int shots, runs, max_tokens;
    double temp;
    size_t units, begun; /* begun: units that were there at the start */
    double t_start, right;
} state;

/* ---- what decides the answer --------------------------------------------------------------------
 */

static void put_sha(json_t *o, const char *key, const uint8_t sha[32], bool *bad)
{
    char hex[65];
    sodium_bin2hex(hex, sizeof hex, sha, 32);
    lar_json_put(o, key, json_string(hex), bad);
}

static lar_status put_file_sha(json_t *o, const char *key, const char *path, bool *bad, lar_err *e)
{
    lar_map m;
    uint8_t sha[32];
    LAR_TRY(lar_map_open(path, &m, e));
    crypto_hash_sha256(sha, m.data, m.size);
    lar_map_close(&m);
    put_sha(o, key, sha, bad);
    return LAR_OK;
}

static lar_status put_model(json_t *o, const char *key, const lar_model *m, bool *bad, lar_err *e)
{
    uint8_t id[LAR_MODEL_ID];
    LAR_TRY(lar_model_id(m, NULL, id, e));
    put_sha(o, key, id, bad);
    return LAR_OK;
}

static void put_sampling(const params *p, const state *s, json_t *o, bool *bad)
{
    lar_json_put(o, "max_tokens", json_integer(s->max_tokens), bad);
    lar_json_put(o, "seed", json_integer((json_int_t)p->seed), bad);
    lar_json_put(o, "temp", json_real(s->temp), bad);
    lar_json_put(o, "top_p", json_real(p->top_p), bad);
    lar_json_put(o, "min_p", json_real(p->min_p), bad);
    lar_json_put(o, "top_k", json_integer((json_int_t)p->top_k), bad);
    lar_json_put(o, "think", json_string(p->think), bad);
}

static lar_status make_settings(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    bool bad = false;
    json_t *o = s->settings = json_object();
    const lar_engine *en = t->session->engine;
    lar_json_put(o, "task", json_string(s->desc.name), &bad);
    LAR_TRY(put_file_sha(o, "description_sha256", p->task, &bad, e));
    put_sha(o, "data_sha256", s->data.sha256, &bad);
    if (s->has_dev && s->shots)
        put_sha(o, "dev_sha256", s->dev.sha256, &bad);
    LAR_TRY(put_model(o, "model_sha256", t->model, &bad, e));
    lar_json_put(o, "lar_version", json_string(LAR_VERSION), &bad);
    lar_json_put(o, "numerics", json_integer(LAR_NUMERICS), &bad);
    lar_json_put(o, "metric", json_string(lar__eval_metric_name(s->desc.metric)), &bad);
    lar_json_put(o, "items", json_integer((json_int_t)s->data.n), &bad);
    lar_json_put(o, "runs", json_integer(s->runs), &bad);
    lar_json_put(o, "shots", json_integer(s->shots), &bad);
    lar_json_put(o, "ctx", json_integer(lar_engine_ctx(en)), &bad);
    lar_json_put(o, "kv_type", json_string(lar_engine_kv_type(en)->name), &bad);
    if (s->desc.metric == LAR_EVAL_LOGLIK)
        lar_json_put(o, "bos", json_string(p->bos), &bad);
    else
        put_sampling(p, s, o, &bad);
    if (s->desc.metric == LAR_EVAL_RUBRIC) {
        LAR_TRY(put_model(o, "judge_sha256", s->judge.llm.model, &bad, e));
        lar_json_put(o, "judge_ctx", json_integer(lar_engine_ctx(s->judge.llm.engine)), &bad);
    }
    if (!bad) {
        s->settings = lar__eval_sorted(o);
        json_decref(o);
    }
    return bad || !s->settings ? lar_fail(e, LAR_ENOMEM, "eval: out of memory") : LAR_OK;
}

/* ---- start
 * ---------------------------------------------------------------------------------------
 */

static lar_status load(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    if (!p->task || !p->data)
        return lar_fail(e, LAR_EARG, "%s is missing", p->task ? "data" : "task");
    LAR_TRY(lar__eval_desc_load(p->task, p->metric, &s->desc, e));
    const lar_eval_metric m = s->desc.metric;
    const bool ll = m == LAR_EVAL_LOGLIK;
    s->shots = p->shots >= 0 ? (int)p->shots : ll ? s->desc.ll_shots : s->desc.gen_shots;
    s->runs = ll ? 1 : p->runs ? (int)p->runs : s->desc.runs;
    s->max_tokens = p->max_tokens ? (int)p->max_tokens : s->desc.max_tokens;
    s->temp = p->temp >= 0 ? p->temp : s->desc.temp;
    if (m == LAR_EVAL_RUBRIC && s->shots)
        return lar_fail(e, LAR_EARG, "shots: %d, a rubric task takes no examples", s->shots);
    if (s->shots && !p->dev)
        return lar_fail(e, LAR_EARG, "%s takes %d examples: name a file of them (dev), or shots 0",
                        s->desc.name, s->shots);
    if (m == LAR_EVAL_RUBRIC && !p->judge)
        return lar_fail(e, LAR_EARG, "%s is graded by a judge: name a model (judge)", s->desc.name);
    LAR_TRY(lar__eval_data_load(&s->desc, p->data, (size_t)p->limit, &s->data, e));
    if (p->dev && s->shots) {
        LAR_TRY(lar__eval_data_load(&s->desc, p->dev, 0, &s->dev, e));
        s->has_dev = true;
    }
    return LAR_OK;
}

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    if (!t->model->vocab.tok)
        return lar_fail(e, LAR_EUNSUPPORTED, "the model file has no tokenizer");
    if (p->out)
        LAR_TRY(lar_task_can_write(p->out, e));
    LAR_TRY(load(t, e));
    s->units = s->data.n * (size_t)s->runs;
    if (s->desc.metric == LAR_EVAL_LOGLIK)
        LAR_TRY(lar__eval_scorer_new(t,
                                     strcmp(p->bos, "on") == 0    ? 1
                                     : strcmp(p->bos, "off") == 0 ? 0
                                                                  : -1,
                                     &s->scorer, e));
    if (s->desc.metric == LAR_EVAL_RUBRIC)
        LAR_TRY(lar__eval_judge_open(t, p->judge, (int)p->judge_ctx, &s->judge, e));
    if (strcmp(p->think, "auto") != 0 &&
        !(s->vars = json_pack("{s:b}", "enable_thinking", strcmp(p->think, "on") == 0)))
        return lar_fail(e, LAR_ENOMEM, "eval: out of memory");
    LAR_TRY(make_settings(t, e));
    LAR_TRY(lar__eval_records_open(p->records, s->settings, p->restart, s->desc.metric, s->units,
                                   &s->records, e));
    s->begun = s->records.n;
    for (size_t i = 0; i < s->begun; i++)
        s->right += isnan(s->records.score[i].score) ? 0 : s->records.score[i].score;
    s->t_start = lar_clock();
    if (s->records.torn)
        LAR_TRY(
            lar_task_notice(t, e, "%s: its last line was not whole and is dropped", p->records));
    if (s->begun)
        return lar_task_notice(t, e, "%s: goes on after %zu of %zu", p->records, s->begun,
                               s->units);
    return LAR_OK;
}

/* ---- a unit
 * --------------------------------------------------------------------------------------
 */

static size_t characters(const lar_buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += ((uint8_t)b->p[i] & 0xc0) != 0x80;
    return n;
}

/* The first of the best, as an argmax has it. */
static int best(const double *x, int n)
{
    int at = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[at])
            at = i;
    return at;
}

typedef struct scored {
    lar_buf choice[LAR_EVAL_CHOICES]; /* with the delimiter before it */
    lar_eval_ll ll[LAR_EVAL_CHOICES];
    double by_char[LAR_EVAL_CHOICES], by_byte[LAR_EVAL_CHOICES], sum[LAR_EVAL_CHOICES];
} scored;

static lar_status score_choices(lar_task *t, const lar_eval_item *it, scored *c, lar_err *e)
{
    state *s = t->state;
    const int n = (int)json_array_size(it->choices);
    lar_buf prompt = {0}, text = {0};
    lar_str cont[LAR_EVAL_CHOICES];
    lar_status st = lar__eval_prompt(&s->desc, &s->data, it, s->has_dev ? &s->dev : NULL, s->shots,
                                     true, &prompt, e);
    double chars[LAR_EVAL_CHOICES], bytes[LAR_EVAL_CHOICES];
    for (int i = 0; i < n && st == LAR_OK; i++) {
        lar_buf_clear(&text);
        st = lar__eval_choice(&s->desc, &s->data, it, i, &text, e);
        chars[i] = (double)LAR_MAX(characters(&text), (size_t)1);
        bytes[i] = (double)LAR_MAX(text.n, (size_t)1);
        lar_buf_puts(&c->choice[i], s->desc.ll_delimiter);
        lar_buf_add(&c->choice[i], text.p ? text.p : "", text.n);
        cont[i] = (lar_str){c->choice[i].p, c->choice[i].n};
        if (st == LAR_OK && c->choice[i].oom)
            st = lar_fail(e, LAR_ENOMEM, "eval: out of memory");
    }
    if (st == LAR_OK)
        st = lar__eval_loglik(&s->scorer, (lar_str){prompt.p, prompt.n}, cont, n, c->ll, e);
    for (int i = 0; i < n && st == LAR_OK; i++) {
        c->sum[i] = c->ll[i].sum;
        c->by_char[i] = c->ll[i].sum / chars[i];
        c->by_byte[i] = c->ll[i].sum / bytes[i];
    }
    lar_buf_free(&prompt);
    lar_buf_free(&text);
    return st;
}

static lar_status do_loglik(lar_task *t, const lar_eval_item *it, json_t *rec, lar_err *e)
{
    scored c = {0};
    bool bad = false, cut = false;
    const int n = (int)json_array_size(it->choices);
    json_t *ll = json_array();
    const lar_status st = score_choices(t, it, &c, e);
    for (int i = 0; i < n && st == LAR_OK; i++) {
        lar_json_push(ll, json_real(c.ll[i].sum), &bad);
        cut = cut || c.ll[i].cut;
    }
    for (int i = 0; i < LAR_EVAL_CHOICES; i++)
        lar_buf_free(&c.choice[i]);
    lar_json_put(rec, "gold", json_integer(it->gold), &bad);
    lar_json_put(rec, "loglik", ll, &bad);
    if (st != LAR_OK)
        return st;
    const int a = best(c.sum, n), b = best(c.by_char, n), d = best(c.by_byte, n);
    lar_json_put(rec, "pred", json_integer(a), &bad);
    lar_json_put(rec, "pred_norm", json_integer(b), &bad);
    lar_json_put(rec, "pred_bytes", json_integer(d), &bad);
    lar_json_put(rec, "acc", json_integer(a == it->gold), &bad);
    lar_json_put(rec, "acc_norm", json_integer(b == it->gold), &bad);
    lar_json_put(rec, "acc_bytes", json_integer(d == it->gold), &bad);
    lar_json_put(rec, "cut", json_boolean(cut), &bad);
    return bad ? lar_fail(e, LAR_ENOMEM, "eval: out of memory") : LAR_OK;
}

/* The item as a conversation. */
static lar_status messages_of(lar_task *t, const lar_eval_item *it, json_t **out, lar_err *e)
{
    state *s = t->state;
    bool bad = false;
    lar_buf b = {0};
    lar_status st = LAR_OK;
    json_t *m = *out = json_array();
    if (s->desc.system)
        lar_json_push(m, json_pack("{s:s,s:s}", "role", "system", "content", s->desc.system), &bad);
    if (s->desc.metric == LAR_EVAL_RUBRIC) {
        bad = bad ||
              json_array_extend(m, (json_t *)(uintptr_t)lar__eval_at(it->row, s->desc.f_messages));
    } else {
        st = lar__eval_prompt(&s->desc, &s->data, it, s->has_dev ? &s->dev : NULL, s->shots, false,
                              &b, e);
        json_t *one = json_object();
        lar_json_put(one, "role", json_string("user"), &bad);
        lar_json_put(one, "content", lar_json_text(b.p ? b.p : "", b.n), &bad);
        lar_json_push(m, one, &bad);
    }
    lar_buf_free(&b);
    return st == LAR_OK && bad ? lar_fail(e, LAR_ENOMEM, "eval: out of memory") : st;
}

static lar_status judge_answer(lar_task *t, const lar_eval_item *it, const lar_eval_answered *a,
                               uint64_t seed, json_t *rec, lar_err *e)
{
    state *s = t->state;
    const lar_str text = {a->text.p ? a->text.p : "", a->text.n};
    bool bad = false, right, found;
    if (s->desc.metric == LAR_EVAL_RUBRIC)
        return lar__eval_grade(t, &s->desc, &s->judge, it, text, seed, rec, e);
    if (s->desc.metric == LAR_EVAL_EXACT) {
        LAR_TRY(lar__eval_exact(&s->desc, text, it->answers, &right, &found, e));
    } else {
        const int pred = lar__eval_letter(&s->desc, text, (int)json_array_size(it->choices));
        found = pred >= 0;
        right = pred == it->gold;
        lar_json_put(rec, "gold", json_integer(it->gold), &bad);
        lar_json_put(rec, "pred", found ? json_integer(pred) : json_null(), &bad);
    }
    lar_json_put(rec, "score", json_integer(right), &bad);
    lar_json_put(rec, "no_answer", json_boolean(!found), &bad);
    return bad ? lar_fail(e, LAR_ENOMEM, "eval: out of memory") : LAR_OK;
}

static lar_status do_generate(lar_task *t, const lar_eval_item *it, int run, json_t *rec,
                              lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    const lar_eval_llm llm = {t->model, t->session->engine, t->session->seq};
    const lar_eval_sampling how = {.max_tokens = s->max_tokens,
                                   .seed = (uint64_t)p->seed + (uint64_t)run,
                                   .temp = s->temp,
                                   .top_p = p->top_p,
                                   .min_p = p->min_p,
                                   .top_k = (int)p->top_k,
                                   .vars = s->vars};
    lar_eval_answered a = {0};
    json_t *m = NULL;
    bool bad = false;
    lar_status st = messages_of(t, it, &m, e);
    if (st == LAR_OK)
        st = lar__eval_generate(t, &llm, m, &how, &a, e);
    json_decref(m);
    if (st == LAR_OK) {
        lar_json_put(rec, "answer", lar_json_text(a.text.p ? a.text.p : "", a.text.n), &bad);
        if (a.thinking.n)
            lar_json_put(rec, "thinking", lar_json_text(a.thinking.p, a.thinking.n), &bad);
        lar_json_put(rec, "tokens", json_integer(a.tokens), &bad);
        lar_json_put(rec, "truncated", json_boolean(a.truncated), &bad);
        st = judge_answer(t, it, &a, how.seed, rec, e);
    }
    lar__eval_answered_free(&a);
    return st == LAR_OK && bad ? lar_fail(e, LAR_ENOMEM, "eval: out of memory") : st;
}

static lar_status do_unit(lar_task *t, size_t unit, lar_err *e)
{
    state *s = t->state;
    const lar_eval_item *it = &s->data.item[unit / (size_t)s->runs];
    const int run = (int)(unit % (size_t)s->runs);
    bool bad = false;
    json_t *rec = json_object();
    lar_json_put(rec, "unit", json_integer((json_int_t)unit), &bad);
    lar_json_put(rec, "id", json_string(it->id), &bad);
    lar_json_put(rec, "line", json_integer((json_int_t)it->line), &bad);
    lar_json_put(rec, "subject", json_string(s->data.subject[it->subject]), &bad);
    if (s->runs > 1)
        lar_json_put(rec, "run", json_integer(run), &bad);
    lar_status st = bad ? lar_fail(e, LAR_ENOMEM, "eval: out of memory") : LAR_OK;
    if (st == LAR_OK) {
        st = s->desc.metric == LAR_EVAL_LOGLIK ? do_loglik(t, it, rec, e)
                                               : do_generate(t, it, run, rec, e);
        if (st != LAR_OK && st != LAR_ECANCELLED)
            lar_fail_in(e, st, "%s:%zu", s->data.path, it->line);
    }
    if (st == LAR_OK)
        st = lar__eval_records_add(&s->records, rec, s->desc.metric, e);
    json_decref(rec);
    return st;
}

/* ---- the result
 * ----------------------------------------------------------------------------------
 */

static lar_status write_result(const char *path, const json_t *o, lar_err *e)
{
    lar_buf b = {0};
    lar_file *f;
    lar_json_write(&b, o);
    lar_buf_putc(&b, '\n');
    lar_status s =
        b.oom ? lar_fail(e, LAR_ENOMEM, "eval: out of memory") : lar_file_create(path, &f, e);
    if (s == LAR_OK && (s = lar_file_write(f, b.p, b.n, e)) != LAR_OK)
        lar_file_abort(f);
    else if (s == LAR_OK)
        s = lar_file_commit(f, e);
    lar_buf_free(&b);
    return s;
}

static lar_status deliver(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    bool bad = false;
    char hex[65];
    const lar_eval_report r = {&s->desc,         &s->data,  s->desc.metric,
                               s->records.score, s->data.n, s->runs};
    json_t *o = lar__eval_report_json(&r, &bad), *sorted = NULL;
    lar__eval_records_hash(&s->records, hex);
    lar_json_put(o, "format", json_string("lar-eval-1"), &bad);
    lar_json_put(o, "title", json_string(s->desc.title), &bad);
    lar_json_put(o, "settings", json_incref(s->settings), &bad);
    lar_json_put(o, "records_sha256", json_string(hex), &bad);
    lar_json_put(o, "architecture", json_string(t->model->net->def->arch), &bad);
    if (!bad)
        sorted = lar__eval_sorted(o);
    json_decref(o);
    if (!sorted)
        return lar_fail(e, LAR_ENOMEM, "eval: out of memory");
    const lar_status st = p->out ? write_result(p->out, sorted, e) : LAR_OK;
    if (st != LAR_OK) {
        json_decref(sorted);
        return st;
    }
    return lar_task_result(t, sorted, e);
}

static lar_status tell(lar_task *t, lar_err *e)
{
    state *s = t->state;
    const size_t n = s->records.n, here = n - s->begun;
    const double score = s->records.score[n - 1].score, took = lar_clock() - s->t_start;
    const double left = took / (double)here * (double)(s->units - n);
    lar_buf b = {0};
    s->right += isnan(score) ? 0 : score;
    lar_buf_printf(&b, "%zu of %zu, mean %.4f, %.0f:%02.0f:%02.0f left", n, s->units,
                   s->right / (double)n, floor(left / 3600), floor(fmod(left / 60, 60)),
                   floor(fmod(left, 60)));
    const lar_status st = b.oom ? lar_fail(e, LAR_ENOMEM, "eval: out of memory")
                                : lar_task_progress(t, (double)n / (double)s->units, b.p, e);
    lar_buf_free(&b);
    return st;
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    state *s = t->state;
    if (s->records.n == s->units) {
        *done = true;
        return deliver(t, e);
    }
    LAR_TRY(do_unit(t, s->records.n, e));
    return tell(t, e);
}

static void finish(lar_task *t)
{
    state *s = t->state;
    lar__eval_scorer_free(&s->scorer);
    lar__eval_judge_close(&s->judge);
    lar__eval_records_close(&s->records);
    lar__eval_data_free(&s->data);
    lar__eval_data_free(&s->dev);
    lar__eval_desc_free(&s->desc);
    json_decref(s->settings);
    json_decref(s->vars);
}

extern const lar_task_def lar_task_def_eval;
const lar_task_def lar_task_def_eval = {.name = "eval",
                                        .verb = "eval",
                                        .help = "Measure a model by a benchmark's items",
                                        .positional = "task",
                                        .needs = LAR_NEEDS_SESSION,
                                        .fields = fields,
                                        .n_fields = LAR_LEN(fields),
                                        .params_size = sizeof(params),
                                        .state_size = sizeof(state),
                                        .start = start,
                                        .step = step,
                                        .finish = finish};
