/*
 * generate.c - the task `generate`: text after a prompt, or an assistant's answer to a
 * conversation. What the session already holds of the prompt is not computed again, and what a
 * drafter guesses right is checked several tokens at a time (infer/spec.h).
 */
#include "infer/prefix.h"
#include "infer/spec.h"
#include "tasks/answer.h"
#include "tasks/chat_prompt.h"
#include "tasks/constraint.h"
#include "tasks/event.h"
#include "tasks/json.h"
#include "tasks/logprobs.h"
#include "tasks/prefix_disk.h"
#include <stdlib.h>
#include <string.h>

typedef struct params {
    const char *prompt, *system;
    json_t *messages, *tools, *vars, *logit_bias;
    json_t *ids;
    bool raw, ignore_eos, shift, special, prompt_logprobs;
    int64_t logprobs;
    int64_t max_tokens, top_k, repeat_last_n, dry_allowed, dry_last_n, mirostat, seed, keep;
    double temp, top_p, min_p, typical, repeat, frequency, presence, dry, dry_base, xtc_p, xtc_t,
        tau, eta;
    const char *grammar, *speculate;
    json_t *schema;
    bool any_json;
    int64_t draft_max, draft_min, ngram_min;
    lar_field_list stop, dry_breakers;
} params;

#define AT(f) .offset = offsetof(params, f)
#define NUM(n, f, d, lo, hi, h)                                                                    \
    {                                                                                              \
        .name = n, .type = LAR_FIELD_NUMBER, AT(f), .def = (d), .min = (lo), .max = (hi),          \
        .unit = "X", .help = h                                                                     \
    }
#define INT(n, f, d, lo, hi, h)                                                                    \
    {                                                                                              \
        .name = n, .type = LAR_FIELD_INT, AT(f), .def = (d), .min = (lo), .max = (hi),             \
        .unit = "N", .help = h                                                                     \
    }
static const lar_field fields[] = {
    {.name = "prompt",
     .letter = 'p',
     .type = LAR_FIELD_STRING,
     AT(prompt),
     .unit = "TEXT",
     .help = "What to answer, or with --raw to continue"},
    {.name = "messages",
     .type = LAR_FIELD_JSON,
     AT(messages),
     .unit = "JSON",
     .help = "A conversation: [{\"role\": ..., \"content\": ...}, ...]"},
    {.name = "system",
     .type = LAR_FIELD_STRING,
     AT(system),
     .unit = "TEXT",
     .help = "System message put before the conversation"},
    {.name = "tools",
     .type = LAR_FIELD_JSON,
     AT(tools),
     .unit = "JSON",
     .help = "Tools that the template may offer"},
    {.name = "template-vars",
     .alias = "chat_template_kwargs",
     .type = LAR_FIELD_JSON,
     AT(vars),
     .unit = "JSON",
     .help = "Further template variables, such as {\"enable_thinking\": false}"},
    {.name = "ids",
     .type = LAR_FIELD_JSON,
     AT(ids),
     .unit = "JSON",
     .help = "The prompt as an array of token ids, taken as they are"},
    {.name = "special",
     .type = LAR_FIELD_BOOL,
     AT(special),
     .help = "Show control tokens in the answer"},
    INT("logprobs", logprobs, -1, -1, LAR_LOGPROBS_MOST,
        "Log-probabilities of the answer's tokens, with those of the N likeliest; -1: none"),
    {.name = "prompt-logprobs",
     .type = LAR_FIELD_BOOL,
     AT(prompt_logprobs),
     .help = "The same of the prompt's tokens, all of which are then evaluated"},
    {.name = "raw",
     .type = LAR_FIELD_BOOL,
     AT(raw),
     .help = "Take the prompt as it is, without the chat template"},
    {.name = "max-tokens",
     .alias = "n-predict|max_completion_tokens",
     .letter = 'n',
     .type = LAR_FIELD_INT,
     AT(max_tokens),
     .def = -1,
     .min = -1,
     .max = 1 << 28,
     .unit = "N",
     .help = "Tokens at most; -1: until it ends or the context is full"},
    {.name = "ignore-eos",
     .type = LAR_FIELD_BOOL,
     AT(ignore_eos),
     .help = "Go on after an end-of-text token"},
    {.name = "ctx-shift",
     .type = LAR_FIELD_BOOL,
     AT(shift),
     .help = "When the context is full, drop the older half and evaluate the rest again"},
    INT("keep", keep, 0, 0, 1 << 28, "Tokens at the beginning that a context shift never drops"),
    {.name = "temp",
     .alias = "temperature",
     .type = LAR_FIELD_NUMBER,
     AT(temp),
     .def = 0.8,
     .min = 0,
     .max = 100,
     .unit = "X",
     .help = "Temperature; 0: always the likeliest token"},
    INT("top-k", top_k, 40, 0, 1 << 28, "Keep the K likeliest tokens; 0: all"),
    NUM("top-p", top_p, 0.95, 0, 1,
        "Keep the likeliest tokens that together reach this probability; 1: all"),
    NUM("min-p", min_p, 0.05, 0, 1,
        "Keep tokens at least this likely relative to the likeliest; 0: all"),
    {.name = "typical",
     .alias = "typical_p",
     .type = LAR_FIELD_NUMBER,
     AT(typical),
     .def = 1,
     .min = 0,
     .max = 1,
     .unit = "X",
     .help = "Keep the most typical tokens that together reach this probability; 1: all"},
    NUM("repeat-penalty", repeat, 1, 0.01, 100,
        "Divide the logits of recent tokens by this; 1: off"),
    INT("repeat-last-n", repeat_last_n, 64, -1, 1 << 28,
        "How far back the penalties look; -1: all"),
    NUM("frequency-penalty", frequency, 0, -100, 100,
        "Subtract this per recent occurrence of a token"),
    NUM("presence-penalty", presence, 0, -100, 100, "Subtract this if a token occurred recently"),
    NUM("dry-multiplier", dry, 0, 0, 100, "Penalty for repeating sequences (DRY); 0: off"),
    NUM("dry-base", dry_base, 1.75, 1, 100, "DRY: growth of the penalty per repeated token"),
    INT("dry-allowed-length", dry_allowed, 2, 0, 1 << 28,
        "DRY: repetitions of this length are free"),
    INT("dry-last-n", dry_last_n, -1, -1, 1 << 28, "DRY: how far back to look; -1: all"),
    {.name = "dry-breaker",
     .alias = "dry_sequence_breakers",
     .type = LAR_FIELD_STRINGS,
     AT(dry_breakers),
     .unit = "TEXT",
     .help = "DRY: text that ends a repetition (default newline, colon, quote, star)"},
    NUM("xtc-probability", xtc_p, 0, 0, 1,
        "Chance of dropping all likely tokens but the least likely of them (XTC)"),
    NUM("xtc-threshold", xtc_t, 0.1, 0, 1, "XTC: what counts as likely"),
    INT("mirostat", mirostat, 0, 0, 2,
        "Mirostat version; 0: off. Replaces top-k, top-p, min-p, typical, XTC"),
    NUM("mirostat-tau", tau, 5, 0, 100, "Mirostat: wanted surprise in bits"),
    NUM("mirostat-eta", eta, 0.1, 0, 1, "Mirostat: learning rate"),
    {.name = "logit-bias",
     .type = LAR_FIELD_JSON,
     AT(logit_bias),
     .unit = "JSON",
     .help = "Added to logits: {\"TOKEN ID\": bias, ...}; false: never"},
    {.name = "seed",
     .type = LAR_FIELD_INT,
     AT(seed),
     .def = -1,
     .min = -1,
     .max = 9007199254740991.0,
     .unit = "N",
     .help = "Same seed, same answer; -1: another one each time"},
    {.name = "stop",
     .type = LAR_FIELD_STRINGS,
     AT(stop),
     .unit = "TEXT",
     .help = "End the answer before this text (may be repeated)"},
    {.name = "grammar",
     .type = LAR_FIELD_STRING,
     AT(grammar),
     .unit = "GBNF",
     .help = "The answer keeps to this grammar, in llama.cpp's notation"},
    {.name = "json-schema",
     .type = LAR_FIELD_JSON,
     AT(schema),
     .unit = "JSON",
     .help = "The answer is JSON that this schema accepts"},
    {.name = "json-object",
     .type = LAR_FIELD_BOOL,
     AT(any_json),
     .help = "The answer is a JSON object"},
    {.name = "speculate",
     .type = LAR_FIELD_STRING,
     AT(speculate),
     .def_str = "auto",
     .choices = "auto|off|ngram|draft",
     .unit = "KIND",
     .help = "Guess tokens and check several at once, from the text so far or by a draft model; "
             "the answer stays the same"},
    INT("draft-max", draft_max, 15, 1, LAR_SPEC_MOST, "Tokens guessed at once, at most"),
    INT("draft-min", draft_min, 0, 0, LAR_SPEC_MOST,
        "Tokens guessed at once, at least, even where it costs time; 0: as it pays"),
    INT("draft-ngram", ngram_min, 2, 1, 16,
        "Tokens that must have occurred before to guess what follows them"),
};

typedef struct state {
    lar_ids prompt;
    lar_answer answer;
    lar_constraint constraint;
    lar_sampler *sampler;
    lar_logit_bias *bias;
    lar_ids breakers, out;
    lar_logprobs said, asked; /* of the answer's and the prompt's tokens */
    size_t at;                /* prompt tokens evaluated */
    int cached, from_disk;
    uint64_t seed;
    const float *logits;   /* of the next token; NULL until the prompt is done */
    const float *last_row; /* of the prompt's last evaluated token, where all are judged */
    lar_spec *spec;        /* the session's; NULL: no speculation */
    int held;    /* tokens of the sequence that are said; more are drafted ones being checked */
    int checked; /* drafted tokens of the last step that were accepted */
    double t_start, t_prompt, t_first, t_end;
    const char *stop_reason;
} state;

/* The conversation: system, messages, prompt, whichever are given. */
static lar_status conversation(const params *p, json_t **out, lar_err *e)
{
    json_t *m = p->messages ? json_copy(p->messages) : json_array();
    *out = m;
    if (!json_is_array(m))
        return lar_fail(e, LAR_EARG, "messages: want an array of {\"role\", \"content\"}");
    if (p->system) {
        const json_t *first = json_array_get(m, 0);
        const char *role = json_string_value(json_object_get(first, "role"));
        if (role && strcmp(role, "system") == 0)
            json_array_remove(m, 0);
        if (json_array_insert_new(m, 0,
                                  json_pack("{s:s,s:s}", "role", "system", "content", p->system)))
            return lar_fail(e, LAR_EARG, "system: not valid UTF-8, or out of memory");
    }
    if (p->prompt &&
        json_array_append_new(m, json_pack("{s:s,s:s}", "role", "user", "content", p->prompt)))
        return lar_fail(e, LAR_EARG, "prompt: not valid UTF-8, or out of memory");
    if (!json_array_size(m))
        return lar_fail(e, LAR_EARG, "nothing to answer: want prompt or messages");
    return LAR_OK;
}

static lar_status chat_ids(lar_task *t, lar_ids *ids, lar_err *e)
{
    const params *p = t->params;
    json_t *messages = NULL, *vars = json_object();
    lar_status s = conversation(p, &messages, e);
    if (s == LAR_OK && (!vars || json_object_set(vars, "messages", messages) ||
                        (p->tools && json_object_set(vars, "tools", p->tools))))
        s = lar_fail(e, LAR_ENOMEM, "prompt: out of memory");
    if (s == LAR_OK)
        s = lar_chat_tokens(t->model, vars, p->vars, true, ids, NULL, e);
    json_decref(messages);
    json_decref(vars);
    return s;
}

/* Whether the prompt ends inside a reasoning block that the template opened. */
static bool opens_thinking(const lar_tokenizer *tok, const lar_ids *ids)
{
    lar_detok d;
    lar_buf b = {0};
    lar_detok_init(&d, tok, true);
    for (size_t i = ids->n > 16 ? ids->n - 16 : 0; i < ids->n; i++)
        lar_detok_put(&d, ids->p[i], &b);
    while (b.n && (b.p[b.n - 1] == '\n' || b.p[b.n - 1] == ' '))
        b.n--;
    const bool open = b.n >= 7 && memcmp(b.p + b.n - 7, "<think>", 7) == 0;
    lar_buf_free(&b);
    return open;
}

static lar_status read_bias(const params *p, state *s, size_t n_vocab, size_t *n, lar_err *e)
{
    const char *key;
    json_t *v;
    *n = 0;
    if (!p->logit_bias)
        return LAR_OK;
    if (!json_is_object(p->logit_bias))
        return lar_fail(e, LAR_EARG, "logit-bias: want an object of token ids");
    s->bias = lar_alloc_array(json_object_size(p->logit_bias) + 1, sizeof *s->bias);
    if (!s->bias)
        return lar_fail(e, LAR_ENOMEM, "logit-bias: out of memory");
    json_object_foreach(p->logit_bias, key, v)
    {
        char *end;
        const unsigned long id = strtoul(key, &end, 10);
        if (key[0] < '0' || key[0] > '9' || *end || id >= n_vocab)
            return lar_fail(e, LAR_EARG, "logit-bias: '%.40s' is no token id, want 0 to %zu", key,
                            n_vocab - 1);
        if (!json_is_number(v) && !json_is_false(v))
            return lar_fail(e, LAR_EARG, "logit-bias: token %lu wants a number or false", id);
        if (!(json_number_value(v) >= -1e9 && json_number_value(v) <= 1e9))
            return lar_fail(e, LAR_EARG, "logit-bias: token %lu has %g, want -1e9 to 1e9", id,
                            json_number_value(v));
        s->bias[(*n)++] = (lar_logit_bias){
            (int32_t)id, json_is_false(v) ? -__builtin_inff() : (float)json_number_value(v)};
    }
    return LAR_OK;
}

/* DRY's breakers: every token whose text contains one of the strings. */
static lar_status find_breakers(const params *p, const lar_tokenizer *tok, lar_ids *out, lar_err *e)
{
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    const char *const *br = p->dry_breakers.n ? p->dry_breakers.p : usual;
    const size_t n = p->dry_breakers.n ? p->dry_breakers.n : LAR_LEN(usual);
    lar_buf b = {0};
    lar_status st = LAR_OK;
    for (size_t id = 0; p->dry > 0 && st == LAR_OK && id < lar_tokenizer_size(tok); id++) {
        lar_detok d;
        lar_detok_init(&d, tok, false);
        lar_buf_clear(&b);
        lar_detok_put(&d, (int32_t)id, &b);
        for (size_t i = 0; b.p && i < n; i++)
            if (br[i][0] && strstr(b.p, br[i])) {
                st = lar_ids_add(out, (int32_t)id, e);
                break;
            }
    }
    lar_buf_free(&b);
    return st;
}

static lar_status begin_spec(lar_task *t, state *s, const lar_sampler_params *sp, lar_err *e)
{
    const params *p = t->params;
    lar_spec_options o = {.draft_max = (int)p->draft_max,
                          .draft_min = (int)p->draft_min,
                          .ngram_min = (int)p->ngram_min,
                          .sampler = sp};
    if (strcmp(p->speculate, "off") == 0)
        return LAR_OK;
    if (p->draft_min > p->draft_max)
        return lar_fail(e, LAR_EARG, "draft-min: got %d, want at most draft-max's %d", o.draft_min,
                        o.draft_max);
    if (strcmp(p->speculate, "auto") != 0)
        o.only = p->speculate;
    if (lar_engine_has_state(t->session->engine)) /* wrong guesses could not be taken back */
        return o.only || t->session->draft
                   ? lar_task_notice(t, e, "no speculation: %s layers remember a state",
                                     t->model->net->def->arch)
                   : LAR_OK;
    lar_spec_end(t->session->spec);
    if (lar_spec_begin(t->session->spec, &o, e) != LAR_OK)
        return lar_fail(e, LAR_EARG, "speculate: the session has no draft model (--draft MODEL)");
    s->spec = t->session->spec;
    return LAR_OK;
}

static lar_status make_sampler(lar_task *t, state *s, lar_err *e)
{
    const params *p = t->params;
    const size_t n_vocab = t->model->net->hp.n_vocab;
    lar_sampler_params sp;
    size_t n_bias;
    LAR_TRY(read_bias(p, s, n_vocab, &n_bias, e));
    LAR_TRY(find_breakers(p, t->model->vocab.tok, &s->breakers, e));
    s->seed = p->seed >= 0
                  ? (uint64_t)p->seed
                  : lar_random((uint64_t)(lar_clock() * 1e9), (uint64_t)(uintptr_t)s) >> 11;
    sp = (lar_sampler_params){.seed = s->seed,
                              .temp = (float)p->temp,
                              .top_k = (int32_t)p->top_k,
                              .top_p = (float)p->top_p,
                              .min_p = (float)p->min_p,
                              .typical_p = (float)p->typical,
                              .repeat_penalty = (float)p->repeat,
                              .frequency_penalty = (float)p->frequency,
                              .presence_penalty = (float)p->presence,
                              .repeat_last_n = (int32_t)p->repeat_last_n,
                              .dry_multiplier = (float)p->dry,
                              .dry_base = (float)p->dry_base,
                              .dry_allowed_length = (int32_t)p->dry_allowed,
                              .dry_last_n = (int32_t)p->dry_last_n,
                              .dry_breakers = s->breakers.p,
                              .n_dry_breakers = s->breakers.n,
                              .xtc_probability = (float)p->xtc_p,
                              .xtc_threshold = (float)p->xtc_t,
                              .mirostat = (int32_t)p->mirostat,
                              .mirostat_tau = (float)p->tau,
                              .mirostat_eta = (float)p->eta,
                              .bias = s->bias,
                              .n_bias = n_bias};
    LAR_TRY(lar_sampler_new(&sp, n_vocab, &s->sampler, e));
    return begin_spec(t, s, &sp, e);
}

/* Cut at such a text, the answer is whole characters. */
static lar_status check_stop(const params *p, lar_err *e)
{
    for (size_t i = 0; i < p->stop.n; i++) {
        const size_t n = strlen(p->stop.p[i]);
        for (size_t at = 0; at < n;) {
            const int k = lar_utf8_decode(p->stop.p[i] + at, n - at, NULL);
            if (!k)
                return lar_fail(e, LAR_EARG, "stop: text %zu is not valid UTF-8", i + 1);
            at += (size_t)k;
        }
    }
    return LAR_OK;
}

/* What the session holds or remembers of the prompt's first n tokens, then what a folder does. */
static void take_prefix(lar_task *t, int n)
{
    state *s = t->state;
    lar_session *ses = t->session;
    ses->prompt_n = 0;
    s->cached = lar_seq_prefix(ses->seq, s->prompt.p, n);
    if (ses->prefix) {
        const int held = s->cached;
        s->cached =
            lar_prefix_disk_fetch(ses->prefix, t->model, ses->engine, ses->seq, s->prompt.p, n);
        s->from_disk = LAR_MAX(0, s->cached - held);
    }
    s->at = (size_t)s->cached;
}

/* Room for what the answer may need at most, then the prompt's beginning. */
static lar_status enter(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    const state *s = t->state;
    const int64_t ctx = lar_engine_ctx(t->session->engine), n = (int64_t)s->prompt.n;
    const int64_t most = p->max_tokens < 0 ? ctx : LAR_MIN(ctx, n + p->max_tokens);
    LAR_TRY(lar_seat_enter(t->session->seat, (int)most, &t->request->cancel, e));
    /* Reuse what is the same from the beginning; the last token is evaluated in any case, for its
     * logits. */
    take_prefix(t, p->prompt_logprobs ? 0 : (int)n - 1);
    return LAR_OK;
}

static lar_status take_ids(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    json_t *v;
    size_t i;
    json_array_foreach(p->ids, i, v)
    {
        const json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= (json_int_t)t->model->net->hp.n_vocab)
            return lar_fail(e, LAR_EARG, "ids[%zu]: want a token id, 0 to %u", i,
                            t->model->net->hp.n_vocab - 1);
        LAR_TRY(lar_ids_add(&s->prompt, (int32_t)id, e));
    }
    return json_is_array(p->ids) ? LAR_OK
                                 : lar_fail(e, LAR_EARG, "ids: want an array of token ids");
}

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    const lar_tokenizer *tok = t->model->vocab.tok;
    s->t_start = lar_clock();
    if (!tok)
        return lar_fail(e, LAR_EUNSUPPORTED, "the model file has no tokenizer");
    LAR_TRY(check_stop(p, e));
    s->said.top = s->asked.top = (int)p->logprobs;
    if (p->ids) {
        LAR_TRY(take_ids(t, e));
    } else if (p->raw) {
        const char *text = p->prompt ? p->prompt : "";
        LAR_TRY(lar_tokenizer_encode(tok, text, strlen(text), LAR_TOK_BOS, &s->prompt, e));
    } else {
        LAR_TRY(chat_ids(t, &s->prompt, e));
    }
    if (!s->prompt.n)
        return lar_fail(e, LAR_EARG, "the prompt has no tokens");
    const int ctx = lar_engine_ctx(t->session->engine);
    if (s->prompt.n > (size_t)ctx)
        return lar_fail(e, LAR_EFULL,
                        "the prompt has %zu tokens, the context only %d: shorten it or raise --ctx",
                        s->prompt.n, ctx);
    const bool chat = !p->raw && !p->ids;
    lar_answer_init(&s->answer, tok, p->stop.p, p->stop.n, chat,
                    chat && opens_thinking(tok, &s->prompt));
    s->answer.detok.special = p->special;
    const lar_constraint_options limits = {.grammar = p->grammar,
                                           .schema = p->schema,
                                           .any_json = p->any_json,
                                           .may_think = chat,
                                           .ignore_eos = p->ignore_eos};
    LAR_TRY(lar_constraint_init(&s->constraint, t->model, &limits, &s->answer, e));
    LAR_TRY(make_sampler(t, s, e));
    return enter(t, e);
}

static lar_status eval(lar_task *t, const int32_t *ids, int n, lar_err *e)
{
    state *s = t->state;
    lar_step part = {.tokens = ids, .n = n};
    LAR_TRY(lar_seat_step(t->session->seat, &part, false, e));
    s->logits = part.logits;
    s->held = lar_seq_length(t->session->seq);
    return LAR_OK;
}

/* The drafted tokens that are not said are forgotten. */
static void settle(lar_task *t, bool refused)
{
    state *s = t->state;
    if (!s->spec || !s->logits)
        return;
    lar_spec_judge(s->spec, s->checked, refused && s->held < lar_seq_length(t->session->seq));
    lar_seq_truncate(t->session->seq, s->held);
    s->checked = 0;
}

/* Guesses for what follows `id`, up to the answer's end as far as it is known. */
static int draft(lar_task *t, int32_t id, int32_t *out)
{
    const params *p = t->params;
    const state *s = t->state;
    const lar_spec_text text = {.held = lar_seq_tokens(t->session->seq),
                                .n = s->held,
                                .last = id,
                                .position = s->prompt.n + s->out.n};
    int most = lar_engine_ctx(t->session->engine) - s->held - 1;
    if (!lar_seat_alone(t->session->seat)) /* others' tokens fill the step at no loss */
        return 0;
    most = LAR_MIN(most, lar_engine_batch(t->session->engine) - 1);
    if (p->max_tokens >= 0)
        most = (int)LAR_MIN((size_t)most, (size_t)p->max_tokens - s->out.n - 1);
    int n = lar_spec_draft(s->spec, &text, LAR_MIN(most, LAR_SPEC_MOST), out);
    n = lar_constraint_fits(&s->constraint, out, n);
    for (int i = 0; i < n; i++)
        if (!p->ignore_eos && lar_tokenizer_is_end(t->model->vocab.tok, out[i]))
            return i;
    return n;
}

/* Have logits behind the token that was picked. When it is one that was drafted they are there;
 * else it is evaluated, and new drafted ones with it. */
static lar_status advance(lar_task *t, int32_t id, lar_err *e)
{
    state *s = t->state;
    lar_seq *seq = t->session->seq;
    int32_t ids[LAR_SPEC_MOST + 1] = {id};
    if (!s->spec)
        return eval(t, &id, 1, e);
    if (s->held < lar_seq_length(seq) && lar_seq_tokens(seq)[s->held] == id) {
        s->held++;
        s->checked++;
        s->logits += t->model->net->hp.n_vocab;
        return LAR_OK;
    }
    settle(t, true);
    const int n = draft(t, id, ids + 1);
    lar_step part = {.tokens = ids, .n = 1 + n, .all_logits = true};
    const double t0 = lar_clock();
    if (n > 0 && lar_seat_step(t->session->seat, &part, false, NULL) == LAR_OK) {
        s->logits = part.logits;
        s->held++;
        lar_spec_step(s->spec, n, lar_clock() - t0);
        return LAR_OK;
    }
    /* A step that fails for what was drafted must not fail the answer. */
    LAR_TRY(eval(t, &id, 1, e));
    if (n > 0 || lar_seat_alone(t->session->seat))
        lar_spec_step(s->spec, 0, lar_clock() - t0);
    return LAR_OK;
}

/* Drop the older half of what may be dropped and evaluate what stays, so that the answer goes on as
 * it would after a prompt of just those tokens. */
static lar_status shift(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    lar_seq *seq = t->session->seq;
    const int n = lar_seq_length(seq), keep = (int)LAR_MIN(p->keep, n / 2),
              drop = LAR_MAX(1, (n - keep) / 2);
    lar_ids rest = {0};
    lar_status st = LAR_OK;
    for (int i = 0; i < n && st == LAR_OK; i++)
        if (i < keep || i >= keep + drop)
            st = lar_ids_add(&rest, lar_seq_tokens(seq)[i], e);
    const size_t held = (size_t)lar_seq_truncate(seq, keep);
    t->session->prompt_n = LAR_MIN(t->session->prompt_n, (int)held);
    const int batch = lar_engine_batch(t->session->engine);
    for (size_t i = held; i < rest.n && st == LAR_OK; i += (size_t)batch) {
        st = lar_task_cancelled(t) ? lar_fail(e, LAR_ECANCELLED, "cancelled") : LAR_OK;
        if (st == LAR_OK)
            st = eval(t, rest.p + i, (int)LAR_MIN((size_t)batch, rest.n - i), e);
    }
    lar_ids_free(&rest);
    if (st == LAR_OK)
        st = lar_task_notice(
            t, e, "context full: dropped %d of %d tokens and evaluated the rest again", drop, n);
    return st;
}

/* Between two pieces of a prompt: show what is evaluated, and take what another has evaluated in
 * the meantime. */
static void share_prompt(lar_task *t)
{
    state *s = t->state;
    const int held = lar_seq_prefix(t->session->seq, s->prompt.p, (int)s->prompt.n - 1);
    s->cached += held - (int)s->at;
    s->at = (size_t)held;
}

/* A piece of the prompt. */
static lar_status plain_step(lar_task *t, lar_err *e)
{
    state *s = t->state;
    lar_session *ses = t->session;
    if (s->at > (size_t)s->cached && lar_sched_shared(ses->sched))
        share_prompt(t);
    const size_t left = s->prompt.n - s->at;
    int n = (int)LAR_MIN((size_t)lar_engine_batch(ses->engine), left);
    if (lar_engine_has_state(ses->engine) && n == (int)left) {
        /* The last token by itself: what follows this prompt next time begins before it. */
        if (n == 1)
            lar_seq_mark(ses->seq);
        n = LAR_MAX(1, n - 1);
    }
    lar_step part = {.tokens = s->prompt.p + s->at, .n = n};
    LAR_TRY(lar_seat_step(ses->seat, &part, true, e));
    s->logits = part.logits;
    s->held = lar_seq_length(ses->seq);
    s->at += (size_t)part.n;
    return LAR_OK;
}

/* What the model thought of the prompt's tokens [at, at + n), whose logits are here but for the
 * first's, which are those of the token before: `before` is NULL at the very beginning. */
static lar_status judge_prompt(lar_task *t, const float *before, const float *logits, int n,
                               lar_err *e)
{
    state *s = t->state;
    const size_t n_vocab = t->model->net->hp.n_vocab;
    for (int i = 0; i < n; i++)
        LAR_TRY(lar_logprobs_put(&s->asked, t->model->vocab.tok,
                                 i ? logits + (size_t)(i - 1) * n_vocab : before, n_vocab,
                                 s->prompt.p[s->at + (size_t)i], NULL, e));
    return LAR_OK;
}

/* Logits of many tokens are large: so many at once. */
enum { JUDGED = 32 };

/* A piece of the prompt, every token of which is judged by the one before it. */
static lar_status judged_step(lar_task *t, lar_err *e)
{
    state *s = t->state;
    const size_t n_vocab = t->model->net->hp.n_vocab, bytes = n_vocab * sizeof(float);
    lar_step part = {.tokens = s->prompt.p + s->at,
                     .n = (int)LAR_MIN((size_t)JUDGED, s->prompt.n - s->at),
                     .all_logits = true};
    part.n = LAR_MIN(part.n, lar_engine_batch(t->session->engine));
    float *before = s->at ? lar_alloc(bytes) : NULL;
    if (s->at && !before)
        return lar_fail(e, LAR_ENOMEM, "prompt: out of memory");
    if (before)
        memcpy(before, s->last_row, bytes);
    lar_status st = lar_seat_step(t->session->seat, &part, true, e);
    if (st == LAR_OK)
        st = judge_prompt(t, before, part.logits, part.n, e);
    lar_free(before);
    LAR_TRY(st);
    s->logits = s->last_row = part.logits + (size_t)(part.n - 1) * n_vocab;
    s->held = lar_seq_length(t->session->seq);
    s->at += (size_t)part.n;
    return LAR_OK;
}

static lar_status prompt_step(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    lar_session *ses = t->session;
    if (p->prompt_logprobs && p->logprobs >= 0)
        LAR_TRY(judged_step(t, e));
    else
        LAR_TRY(plain_step(t, e));
    if (s->at < s->prompt.n) {
        s->logits = NULL;
        return lar_task_progress(t, (double)s->at / (double)s->prompt.n, "prompt", e);
    }
    s->t_prompt = lar_clock();
    if (lar_sched_shared(ses->sched))
        lar_seq_keep(ses->seq);
    t->session->prompt_n = (int)s->prompt.n;
    return LAR_OK;
}

/* One token; s->stop_reason is set when it was the last. */
static lar_status token_step(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    const lar_tokenizer *tok = t->model->vocab.tok;
    int32_t id;
    if (p->max_tokens >= 0 && s->out.n >= (size_t)p->max_tokens) {
        s->stop_reason = "length";
        return LAR_OK;
    }
    if (lar_constraint_done(&s->constraint)) {
        s->stop_reason = "end";
        return LAR_OK;
    }
    const int n = s->held;
    /* Not the length of the sequence: that repeats after a context shift. */
    const uint64_t position = s->prompt.n + s->out.n;
    LAR_TRY(lar_sampler_pick(s->sampler, s->logits, lar_seq_tokens(t->session->seq), (size_t)n,
                             position, lar_constraint_filter(&s->constraint), &id, e));
    if (!s->out.n)
        s->t_first = lar_clock();
    if (lar_tokenizer_is_end(tok, id) && !p->ignore_eos) {
        s->stop_reason = "end";
        return LAR_OK;
    }
    LAR_TRY(lar_ids_add(&s->out, id, e));
    if (p->logprobs >= 0) {
        const json_t *entry;
        LAR_TRY(
            lar_logprobs_put(&s->said, tok, s->logits, t->model->net->hp.n_vocab, id, &entry, e));
        LAR_TRY(lar_task_token(t, entry, e));
    }
    LAR_TRY(lar_answer_put(&s->answer, t, id, e));
    if (s->answer.stopped) {
        s->stop_reason = "stop";
        return LAR_OK;
    }
    if (lar_constraint_done(&s->constraint)) {
        s->stop_reason = "end";
        return LAR_OK;
    }
    if (p->max_tokens >= 0 && s->out.n >= (size_t)p->max_tokens) {
        s->stop_reason = "length"; /* the last token need not be evaluated */
        return LAR_OK;
    }
    if (n == lar_engine_ctx(t->session->engine)) {
        if (!p->shift) {
            s->stop_reason = "context";
            return lar_task_notice(
                t, e, "the context of %d tokens is full: the answer ends here (--ctx, --ctx-shift)",
                n);
        }
        LAR_TRY(shift(t, e));
    }
    return advance(t, id, e);
}

static double per_second(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

/* What speculation was worth: all together and by kind. */
static json_t *spec_json(const lar_spec *spec, bool *bad)
{
    json_t *o = json_object(), *kinds = json_object();
    lar_spec_figures sum = {0};
    for (int i = 0; i <= lar_spec_count(spec); i++) {
        const bool all = i == lar_spec_count(spec);
        const lar_spec_figures f = all ? sum : lar_spec_get(spec, i);
        json_t *k = all ? o : json_object();
        if (!f.on && !all) {
            json_decref(k);
            continue;
        }
        lar_json_put(k, "steps", json_integer((json_int_t)f.drafts), bad);
        lar_json_put(k, "drafted", json_integer((json_int_t)f.drafted), bad);
        lar_json_put(k, "accepted", json_integer((json_int_t)f.accepted), bad);
        lar_json_put(k, "acceptance",
                     f.drafted ? json_real((double)f.accepted / (double)f.drafted) : json_null(),
                     bad);
        if (all)
            break;
        lar_json_put(kinds, f.name, k, bad);
        sum.drafts += f.drafts;
        sum.drafted += f.drafted;
        sum.accepted += f.accepted;
    }
    lar_json_put(o, "kinds", kinds, bad);
    return o;
}

/* A stop text is cut off, and so is what the grammar had of it. */
static bool is_complete(const state *s)
{
    return strcmp(s->stop_reason, "stop") != 0 && lar_constraint_whole(&s->constraint);
}

static lar_status deliver_result(lar_task *t, lar_err *e)
{
    state *s = t->state;
    bool bad = false;
    json_t *r = json_object(), *ids = json_array(), *tm = json_object();
    lar_json_put(r, "text",
                 lar_json_text(s->answer.text.p ? s->answer.text.p : "", s->answer.text.n), &bad);
    if (s->answer.thinking.n)
        lar_json_put(r, "thinking", lar_json_text(s->answer.thinking.p, s->answer.thinking.n),
                     &bad);
    for (size_t i = 0; i < s->out.n; i++)
        lar_json_push(ids, json_integer(s->out.p[i]), &bad);
    lar_json_put(r, "tokens", ids, &bad);
    if (s->said.list)
        lar_json_put(r, "logprobs", json_incref(s->said.list), &bad);
    if (s->asked.list)
        lar_json_put(r, "prompt_logprobs", json_incref(s->asked.list), &bad);
    lar_json_put(r, "stop_reason", json_string(s->stop_reason), &bad);
    if (lar_constraint_filter(&s->constraint))
        lar_json_put(r, "complete", json_boolean(is_complete(s)), &bad);
    lar_json_put(r, "seed", json_integer((json_int_t)s->seed), &bad);
    const double n_out = (double)s->out.n;
    lar_json_put(tm, "prompt_tokens", json_integer((json_int_t)s->prompt.n), &bad);
    lar_json_put(tm, "cached_tokens", json_integer(s->cached), &bad);
    lar_json_put(tm, "cached_on_disk", json_integer(s->from_disk), &bad);
    lar_json_put(
        tm, "prompt_per_second",
        json_real(per_second((double)(s->prompt.n - (size_t)s->cached), s->t_prompt - s->t_start)),
        &bad);
    lar_json_put(tm, "predicted_tokens", json_integer((json_int_t)s->out.n), &bad);
    lar_json_put(tm, "predicted_per_second",
                 json_real(n_out > 1 ? per_second(n_out - 1, s->t_end - s->t_first)
                                     : per_second(n_out, s->t_end - s->t_prompt)),
                 &bad);
    lar_json_put(tm, "first_token_ms",
                 json_real(s->t_first > 0 ? (s->t_first - s->t_start) * 1e3 : 0), &bad);
    lar_json_put(r, "timings", tm, &bad);
    if (s->spec)
        lar_json_put(r, "speculation", spec_json(s->spec, &bad), &bad);
    lar_json_put(r, "peak_rss_bytes", json_integer((json_int_t)lar_peak_rss()), &bad);
    return lar_task_built(t, r, bad, e);
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    state *s = t->state;
    if (!s->logits)
        return prompt_step(t, e);
    LAR_TRY(token_step(t, e));
    if (!s->stop_reason)
        return LAR_OK;
    s->t_end = lar_clock();
    settle(t, false);
    LAR_TRY(lar_answer_end(&s->answer, t, e));
    if (!is_complete(s) && lar_constraint_filter(&s->constraint))
        LAR_TRY(lar_task_notice(t, e, "the answer was cut (%s) before its grammar was complete",
                                s->stop_reason));
    if (s->spec && lar_spec_fault(s->spec))
        LAR_TRY(lar_task_notice(t, e, "guessing ended early: %s", lar_spec_fault(s->spec)));
    *done = true;
    return deliver_result(t, e);
}

static void finish(lar_task *t)
{
    state *s = t->state;
    settle(t, false);
    lar_seat_leave(t->session->seat);
    if (s->spec)
        lar_spec_end(s->spec);
    lar_logprobs_free(&s->said);
    lar_logprobs_free(&s->asked);
    lar_ids_free(&s->prompt);
    lar_ids_free(&s->breakers);
    lar_ids_free(&s->out);
    lar_answer_free(&s->answer);
    lar_constraint_free(&s->constraint);
    lar_sampler_free(s->sampler);
    lar_free(s->bias);
}

extern const lar_task_def lar_task_def_generate;
const lar_task_def lar_task_def_generate = {.name = "generate",
                                            .verb = "run",
                                            .help = "Answer a prompt or a conversation",
                                            .positional = "prompt",
                                            .needs = LAR_NEEDS_SESSION,
                                            .shares = true,
                                            .fields = fields,
                                            .n_fields = LAR_LEN(fields),
                                            .params_size = sizeof(params),
                                            .state_size = sizeof(state),
                                            .start = start,
                                            .step = step,
                                            .finish = finish};
