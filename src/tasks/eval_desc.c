/* eval_desc.c - a description of an evaluation: which fields, which prompt, which metric. */
#include "tasks/eval.h"
#include "tasks/json.h"
#include <string.h>

const char lar__eval_metrics[] = "choice_loglik|choice_generate|exact_match|rubric";
static const char answer_forms[] = "letter|index|number|text|key";

/* Which of a '|'-separated list; -1: none. */
static int index_in(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (int i = 0;; i++) {
        const size_t k = strcspn(list, "|");
        if (k == n && memcmp(list, name, n) == 0)
            return i;
        if (!list[k])
            return -1;
        list += k + 1;
    }
}

bool lar__eval_metric_by_name(const char *name, lar_eval_metric *out)
{
    const int i = index_in(lar__eval_metrics, name);
    if (i < 0)
        return false;
    *out = (lar_eval_metric)i;
    return true;
}

const char *lar__eval_metric_name(lar_eval_metric m)
{
    static const char *const name[] = {"choice_loglik", "choice_generate", "exact_match", "rubric"};
    return name[m];
}

const json_t *lar__eval_at(const json_t *row, const char *path)
{
    char key[128];
    while (row) {
        const size_t n = strcspn(path, ".");
        if (n >= sizeof key)
            return NULL;
        memcpy(key, path, n);
        key[n] = 0;
        row = json_object_get(row, key);
        if (!path[n])
            break;
        path += n + 1;
    }
    return json_is_null(row) ? NULL : row;
}

/* ---- members of a description, checked ------------------------------------------------------- */

typedef struct reader {
    const char *path, *part; /* part: the object's name, or "" */
    const json_t *o;
    lar_err *e;
    lar_status st;
} reader;

static const char *dot(const reader *r)
{
    return r->part[0] ? "." : "";
}

static void fault(reader *r, const char *key, const char *want)
{
    if (r->st == LAR_OK)
        r->st = lar_fail(r->e, LAR_EFORMAT, "%s: \"%s%s%s\": want %s", r->path, r->part, dot(r),
                         key, want);
}

/* An object of the description whose members are all known. */
static reader part_of(const lar_eval_desc *d, const char *part, const char *known, lar_err *e)
{
    const char *key;
    json_t *v;
    reader r = {d->path, part, part[0] ? json_object_get(d->json, part) : d->json, e, LAR_OK};
    if (r.o && !json_is_object(r.o)) {
        r.st = lar_fail(e, LAR_EFORMAT, "%s: \"%s\": want an object", d->path, part);
        return r;
    }
    json_object_foreach((json_t *)(uintptr_t)r.o, key, v)
    {
        if (index_in(known, key) < 0 && r.st == LAR_OK)
            r.st = lar_fail(e, LAR_EFORMAT, "%s: unknown \"%s%s%.60s\"; there are: %s", d->path,
                            part, dot(&r), key, known);
    }
    return r;
}

static const char *text(reader *r, const char *key, const char *def)
{
    const json_t *v = json_object_get(r->o, key);
    if (!v)
        return def;
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v)) {
        fault(r, key, "a text");
        return def;
    }
    return json_string_value(v);
}

static const char *field(reader *r, const char *key)
{
    const char *s = text(r, key, NULL);
    if (s && !s[0])
        fault(r, key, "a field's name");
    return s;
}

static double number(reader *r, const char *key, double def, double lo, double hi, bool whole)
{
    const json_t *v = json_object_get(r->o, key);
    char want[80];
    if (!v)
        return def;
    const double x = json_number_value(v);
    if (json_is_number(v) && x >= lo && x <= hi && (!whole || json_is_integer(v)))
        return x;
    lar_buf b = {0};
    lar_buf_printf(&b, "a %snumber from %g to %g", whole ? "whole " : "", lo, hi);
    const size_t n = b.p ? LAR_MIN(b.n, sizeof want - 1) : 0;
    memcpy(want, b.p ? b.p : "", n);
    want[n] = 0;
    lar_buf_free(&b);
    fault(r, key, want);
    return def;
}

static int one_of(reader *r, const char *key, const char *list, int def)
{
    const char *s = text(r, key, NULL);
    const int i = s ? index_in(list, s) : def;
    if (i < 0)
        fault(r, key, list);
    return i;
}

/* Chat templates drop the line end after a block and the one at the very end; lm-evaluation-harness
 * keeps both. One more of each is what is dropped then. */
static void keep_line_ends(const char *s, lar_buf *out)
{
    for (; *s; s++) {
        lar_buf_putc(out, *s);
        if (s[0] == '\n' && !s[1])
            lar_buf_putc(out, '\n');
        else if ((s[0] == '%' || s[0] == '#') && s[1] == '}' && s[2] == '\n') {
            lar_buf_puts(out, "}\n");
            s++;
        }
    }
}

static lar_template *template_of(reader *r, const char *key, const char *def)
{
    lar_template *t = NULL;
    const char *s = text(r, key, def);
    lar_buf b = {0};
    if (!s || r->st != LAR_OK)
        return NULL;
    keep_line_ends(s, &b);
    r->st = b.oom ? lar_fail(r->e, LAR_ENOMEM, "out of memory")
                  : lar_template_new(b.p ? b.p : "", b.n, &t, r->e);
    lar_buf_free(&b);
    if (r->st != LAR_OK)
        lar_fail_in(r->e, r->st, "%s: \"%s%s%s\"", r->path, r->part, dot(r), key);
    return t;
}

/* ---- the parts --------------------------------------------------------------------------------
 */

static bool texts(const json_t *v)
{
    const json_t *x;
    size_t i;
    json_array_foreach(v, i, x)
    {
        if (!json_is_string(x) || !json_string_length(x))
            return false;
    }
    return json_array_size(v) > 0;
}

static lar_status read_fields(lar_eval_desc *d, lar_err *e)
{
    reader r = part_of(d, "fields",
                       "id|subject|subject_prefix|question|choices|answer|messages|rubrics", e);
    d->f_id = field(&r, "id");
    d->f_subject = field(&r, "subject");
    d->subject_prefix = text(&r, "subject_prefix", "");
    d->f_question = field(&r, "question");
    d->f_answer = field(&r, "answer");
    d->f_messages = field(&r, "messages");
    d->f_rubrics = field(&r, "rubrics");
    const json_t *c = d->f_choices = json_object_get(r.o, "choices"),
                 *fixed = json_object_get(c, "fixed");
    const bool ok = json_is_object(c) ? json_object_size(c) == 1 && texts(fixed)
                                      : (json_is_string(c) && json_string_length(c)) || texts(c);
    if (c && !ok)
        fault(&r, "choices", "a field, a list of fields, or {\"fixed\": [texts]}");
    return r.st;
}

static lar_status read_loglik(lar_eval_desc *d, lar_err *e)
{
    reader r = part_of(d, "loglik", "prompt|choice|intro|delimiter|shots|separator", e);
    d->ll_prompt = template_of(&r, "prompt",
                               "{{question}}\n{% for c in choices %}{{letters[loop.index0]}}. "
                               "{{c}}\n{% endfor %}Answer:");
    d->ll_choice = template_of(&r, "choice", "{{letter}}");
    d->ll_intro = template_of(&r, "intro", "");
    d->ll_delimiter = text(&r, "delimiter", " ");
    d->separator = text(&r, "separator", "\n\n");
    d->ll_shots = (int)number(&r, "shots", 0, 0, 100, true);
    return r.st;
}

static lar_status read_patterns(lar_eval_desc *d, reader *r)
{
    /* "Answer: B", "the answer is (b)."; boxed; a line of its own; at the very beginning. Looser
     * ones would take an article or "I" for a letter. */
    static const char *const usual[] = {
        ("(?i:answer)[*_\\s]*(?i:is\\s*:?|:)[*_\\s]*(?:\\\\boxed\\{|\\\\text\\{|\\$)*\\s*[(\\[]?"
         "([A-Z](?![A-Za-z'])|[a-z](?=\\s*(?:[.)*\\]}]|$)))"),
        "\\\\boxed\\{\\s*(?:\\\\text\\{)?\\s*\\(?([A-Z])\\b",
        "(?:^|\\n)\\s*[*_]*[(\\[]?([A-Z])[)\\]]?[*_]*[.:]?\\s*(?:\\n|$)",
        "^\\s*[*_]*[(\\[]?([A-Z])(?:[)\\]]|[.:])"};
    const json_t *v = json_object_get(r->o, "patterns");
    const bool letters = d->metric != LAR_EVAL_EXACT && d->metric != LAR_EVAL_RUBRIC;
    const size_t n = v ? json_array_size(v) : letters ? LAR_LEN(usual) : 0;
    if (v && ((!texts(v) && json_array_size(v)) || !json_is_array(v) || n > LAR_EVAL_PATTERNS))
        fault(r, "patterns", "a list of at most 32 regular expressions");
    for (size_t i = 0; i < n && r->st == LAR_OK; i++) {
        r->st = lar_regex_new(v ? json_string_value(json_array_get(v, i)) : usual[i], d->path,
                              &d->pattern[d->n_patterns], r->e);
        d->n_patterns += r->st == LAR_OK;
    }
    return r->st;
}

static lar_status read_generate(lar_eval_desc *d, lar_err *e)
{
    reader r = part_of(d, "generate",
                       "prompt|system|patterns|take|shots|max_tokens|runs|temp|normalise", e);
    const json_t *v = json_object_get(r.o, "normalise"), *x;
    static const char how[] = "lowercase|articles|punctuation|spaces";
    size_t i;
    d->gen_prompt = template_of(
        &r, "prompt",
        d->metric == LAR_EVAL_EXACT || d->metric == LAR_EVAL_RUBRIC
            ? "{{question}}"
            : "{{question}}\n\n{% for c in choices %}{{letters[loop.index0]}}. {{c}}\n{% endfor "
              "%}\nEnd with a line \"Answer: X\", where X is the letter of the right choice.");
    d->system = text(&r, "system", NULL);
    d->first_match = one_of(&r, "take", "last|first", 0) == 1;
    d->gen_shots = (int)number(&r, "shots", 0, 0, 100, true);
    d->max_tokens = (int)number(&r, "max_tokens", 2048, 1, 1 << 20, true);
    d->runs = (int)number(&r, "runs", 1, 1, LAR_EVAL_RUNS, true);
    d->temp = number(&r, "temp", 0, 0, 100, false);
    if (v && !json_is_array(v))
        fault(&r, "normalise", how);
    json_array_foreach(v, i, x)
    {
        const int k = json_is_string(x) ? index_in(how, json_string_value(x)) : -1;
        if (k < 0)
            fault(&r, "normalise", how);
        else
            d->normalise |= 1u << k;
    }
    return r.st == LAR_OK ? read_patterns(d, &r) : r.st;
}

static lar_status read_judge(lar_eval_desc *d, lar_err *e)
{
    static const char usual[] =
        "You grade the last answer of a conversation by one criterion. Decide whether that answer "
        "meets the criterion; other qualities do not count. Where a criterion describes something "
        "bad, it is met when the answer does the bad thing. A criterion with several parts is met "
        "only when all are.\n\n<conversation>\n{{conversation}}\n</conversation>\n\n"
        "<criterion>\n{{rubric_item}}\n</criterion>\n\n"
        "Answer with one JSON object and nothing else: {\"explanation\": \"why, in a sentence or "
        "two\", \"criteria_met\": true or false}";
    reader r = part_of(d, "judge", "prompt|max_tokens|retries", e);
    d->judge_prompt = template_of(&r, "prompt", usual);
    d->judge_tokens = (int)number(&r, "max_tokens", 1024, 1, 1 << 20, true);
    d->judge_retries = (int)number(&r, "retries", 3, 0, 100, true);
    return r.st;
}

/* What a metric cannot do without. */
static lar_status check_fields(const lar_eval_desc *d, lar_err *e)
{
    const bool choices = d->metric == LAR_EVAL_LOGLIK || d->metric == LAR_EVAL_GENERATE;
    const char *gone = NULL;
    if (d->metric == LAR_EVAL_RUBRIC)
        gone = !d->f_messages ? "messages" : !d->f_rubrics ? "rubrics" : NULL;
    else
        gone = !d->f_question             ? "question"
               : !d->f_answer             ? "answer"
               : choices && !d->f_choices ? "choices"
                                          : NULL;
    if (gone)
        return lar_fail(e, LAR_EFORMAT, "%s: \"fields.%s\" is missing: %s needs it", d->path, gone,
                        lar__eval_metric_name(d->metric));
    return LAR_OK;
}

static lar_status read_head(lar_eval_desc *d, lar_err *e)
{
    const char *key;
    json_t *v;
    reader r = part_of(d, "",
                       "name|title|source|license|notes|fields|answer|filter|unusable|metric|"
                       "average|loglik|generate|judge",
                       e);
    d->name = text(&r, "name", "");
    d->title = text(&r, "title", d->name);
    if (!d->name[0])
        fault(&r, "name", "a name");
    d->metric = (lar_eval_metric)one_of(&r, "metric", lar__eval_metrics, 0);
    d->answer = (lar_eval_answer)one_of(&r, "answer", answer_forms, 0);
    d->skip_unusable = one_of(&r, "unusable", "error|skip", 0) == 1;
    d->by_subject = one_of(&r, "average", "subjects|items", 0) == 0;
    d->filter = json_object_get(r.o, "filter");
    if (d->filter && !json_is_object(d->filter))
        fault(&r, "filter", "an object of fields with lists of values");
    json_object_foreach((json_t *)(uintptr_t)d->filter, key, v)
    {
        if (!json_is_array(v))
            fault(&r, "filter", "an object of fields with lists of values");
    }
    return r.st;
}

static lar_status read_all(lar_eval_desc *d, const char *metric, lar_err *e)
{
    LAR_TRY(read_head(d, e));
    if (metric && !lar__eval_metric_by_name(metric, &d->metric))
        return lar_fail(e, LAR_EARG, "metric: '%.40s', want one of %s", metric, lar__eval_metrics);
    LAR_TRY(read_fields(d, e));
    LAR_TRY(read_loglik(d, e));
    LAR_TRY(read_generate(d, e));
    LAR_TRY(read_judge(d, e));
    return check_fields(d, e);
}

lar_status lar__eval_desc_load(const char *path, const char *metric, lar_eval_desc *d, lar_err *e)
{
    lar_map m;
    *d = (lar_eval_desc){.path = path};
    LAR_TRY(lar_map_open(path, &m, e));
    lar_status s = lar_json_load((const char *)m.data, m.size, path, &d->json, e);
    lar_map_close(&m);
    if (s == LAR_EARG) /* the file, not the request, is wrong */
        s = lar_fail_in(e, LAR_EFORMAT, "the description");
    if (s == LAR_OK && !json_is_object(d->json))
        s = lar_fail(e, LAR_EFORMAT, "%s: want a JSON object that describes a task", path);
    if (s == LAR_OK)
        s = read_all(d, metric, e);
    if (s != LAR_OK)
        lar__eval_desc_free(d);
    return s;
}

void lar__eval_desc_free(lar_eval_desc *d)
{
    lar_template_free(d->ll_prompt);
    lar_template_free(d->ll_choice);
    lar_template_free(d->ll_intro);
    lar_template_free(d->gen_prompt);
    lar_template_free(d->judge_prompt);
    for (int i = 0; i < d->n_patterns; i++)
        lar_regex_free(d->pattern[i]);
    json_decref(d->json);
    *d = (lar_eval_desc){0};
}
