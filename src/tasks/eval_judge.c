/*
 * eval_judge.c - a judge decides, one criterion at a time, whether an answer meets it. As
 * HealthBench defines it, an item's score is the points of the criteria that are met (those with
 * negative points included) over the sum of all positive points.
 */
#include "tasks/eval.h"
#include "tasks/json.h"
#include <math.h>
#include <string.h>

static lar_status open_model(lar_task *t, const char *path, lar_model *m, lar_err *e)
{
    lar_str source;
    m->rt = t->rt;
    LAR_TRY(lar_gguf_open(path, &m->gguf, e));
    LAR_TRY(lar_vocab_open(m->gguf, &m->vocab, e));
    if (lar_gguf_get_str(m->gguf, "tokenizer.chat_template", &source, NULL) == LAR_OK)
        LAR_TRY(lar_template_new(source.p, source.n, &m->chat, e));
    return lar_net_open(m->gguf, &t->rt->log, &m->net, e);
}

lar_status lar__eval_judge_open(lar_task *t, const char *path, int ctx, lar_eval_judge *out,
                                lar_err *e)
{
    const lar_engine *en = t->session->engine;
    *out = (lar_eval_judge){.own = true};
    if (strstr(path, "://"))
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "judge: '%.80s' is an endpoint, which is not in this build; name a GGUF "
                        "file",
                        path);
    lar_model *m = out->llm.model = lar_alloc(sizeof *m);
    lar_status s = m ? open_model(t, path, m, e) : lar_fail(e, LAR_ENOMEM, "out of memory");
    lar_engine_options o = {
        .ctx = ctx ? ctx : lar_engine_ctx(en), .max_seqs = 1, .kv_type = lar_engine_kv_type(en)};
    if (s == LAR_OK && m->net->hp.ctx_train)
        o.ctx = (int)LAR_MIN((uint32_t)o.ctx, m->net->hp.ctx_train);
    o.batch = LAR_MIN(lar_engine_batch(en), o.ctx);
    if (s == LAR_OK)
        s = lar_engine_new(m->net, t->rt->variant, t->rt->pool, &o, &out->llm.engine, e);
    if (s == LAR_OK)
        s = lar_seq_new(out->llm.engine, &out->llm.seq, e);
    if (s == LAR_OK)
        return LAR_OK;
    lar__eval_judge_close(out);
    return lar_fail_in(e, s, "judge");
}

void lar__eval_judge_close(lar_eval_judge *j)
{
    lar_model *m = j->llm.model;
    lar_seq_free(j->llm.seq);
    lar_engine_free(j->llm.engine);
    if (j->own && m) {
        lar_net_free(m->net);
        lar_template_free(m->chat);
        lar_vocab_free(&m->vocab);
        lar_gguf_close(m->gguf);
        lar_free(m);
    }
    *j = (lar_eval_judge){0};
}

bool lar__eval_verdict(lar_str text, bool *met)
{
    int tries = 0;
    for (size_t i = 0; i < text.n && tries < 100; i++) {
        if (text.p[i] != '{')
            continue;
        tries++;
        json_t *o = json_loadb(text.p + i, text.n - i, JSON_DISABLE_EOF_CHECK, NULL);
        const json_t *v = json_object_get(o, "criteria_met");
        const bool is = json_is_boolean(v);
        *met = json_is_true(v);
        json_decref(o);
        if (is)
            return true;
    }
    return false;
}

/* The conversation as text, the answer at its end. */
static void conversation(const json_t *messages, lar_str answer, lar_buf *out)
{
    const json_t *m;
    size_t i;
    json_array_foreach(messages, i, m)
    {
        lar_buf_printf(out, "%s: ", json_string_value(json_object_get(m, "role")));
        lar_buf_puts(out, json_string_value(json_object_get(m, "content")));
        lar_buf_puts(out, "\n\n");
    }
    lar_buf_puts(out, "assistant: ");
    lar_buf_add(out, answer.p ? answer.p : "", answer.n);
}

static lar_status question(const lar_eval_desc *d, const json_t *messages, const json_t *rubric,
                           const lar_buf *talk, json_t **out, lar_err *e)
{
    bool bad = talk->oom;
    lar_buf item = {0}, text = {0};
    json_t *v = json_object(), *points = json_object_get(rubric, "points"),
           *criterion = json_object_get(rubric, "criterion");
    char *p = lar_json_dump(points);
    lar_buf_printf(&item, "[%s] ", p ? p : "");
    lar_buf_puts(&item, json_string_value(criterion));
    lar_json_put(v, "conversation", lar_json_text(talk->p ? talk->p : "", talk->n), &bad);
    lar_json_put(v, "rubric_item", lar_json_text(item.p, item.n), &bad);
    lar_json_put(v, "criterion", json_incref(criterion), &bad);
    lar_json_put(v, "points", json_incref(points), &bad);
    lar_json_put(v, "messages", json_incref((json_t *)(uintptr_t)messages), &bad);
    lar_status s = bad || !p || item.oom ? lar_fail(e, LAR_ENOMEM, "judge: out of memory") : LAR_OK;
    if (s == LAR_OK)
        s = lar__eval_render(d->judge_prompt, v, &text, e);
    if (s == LAR_OK) {
        *out = json_array();
        json_t *m = json_object();
        bad = !*out;
        lar_json_put(m, "role", json_string("user"), &bad);
        lar_json_put(m, "content", lar_json_text(text.p ? text.p : "", text.n), &bad);
        lar_json_push(*out, m, &bad);
        if (bad)
            s = lar_fail(e, LAR_ENOMEM, "judge: out of memory");
    }
    lar_free(p);
    lar_buf_free(&item);
    lar_buf_free(&text);
    json_decref(v);
    return s;
}

/* Asks until there is a verdict, with another seed each time, and warmer than greedy after the
 * first. *said: 1 met, 0 not, -1 no verdict. */
static lar_status ask(lar_task *t, const lar_eval_desc *d, const lar_eval_judge *j,
                      const json_t *messages, uint64_t seed, int *said, int *junk, lar_err *e)
{
    *said = -1;
    for (int i = 0; i <= d->judge_retries && *said < 0; i++) {
        const lar_eval_sampling p = {.max_tokens = d->judge_tokens,
                                     .seed = seed + (uint64_t)i,
                                     .temp = i ? 0.5 : 0,
                                     .top_p = 1,
                                     .vars = NULL};
        lar_eval_answered a;
        bool met;
        LAR_TRY(lar__eval_generate(t, &j->llm, messages, &p, &a, e));
        if (lar__eval_verdict((lar_str){a.text.p, a.text.n}, &met))
            *said = met;
        else
            ++*junk;
        lar__eval_answered_free(&a);
    }
    return LAR_OK;
}

bool lar__eval_points(const json_t *rubrics, const int *said, double *score)
{
    double points = 0, positive = 0;
    const json_t *r;
    size_t i;
    json_array_foreach(rubrics, i, r)
    {
        const double p = json_number_value(json_object_get(r, "points"));
        if (said[i] < 0)
            return false;
        points += said[i] ? p : 0;
        positive += LAR_MAX(p, 0.0);
    }
    *score = positive > 0 ? points / positive : 0;
    return positive > 0;
}

lar_status lar__eval_grade(lar_task *t, const lar_eval_desc *d, const lar_eval_judge *j,
                           const lar_eval_item *item, lar_str answer, uint64_t seed, json_t *rec,
                           lar_err *e)
{
    const json_t *messages = lar__eval_at(item->row, d->f_messages), *r;
    const json_t *rubrics = lar__eval_at(item->row, d->f_rubrics);
    json_t *met = json_array();
    lar_buf talk = {0};
    double score = 0;
    int *said = lar_alloc_array(json_array_size(rubrics) + 1, sizeof *said);
    int junk = 0, unjudged = 0;
    bool bad = !met || !said;
    size_t i;
    lar_status s = bad ? lar_fail(e, LAR_ENOMEM, "judge: out of memory") : LAR_OK;
    conversation(messages, answer, &talk);
    json_array_foreach(rubrics, i, r)
    {
        json_t *q = NULL;
        if (s == LAR_OK)
            s = question(d, messages, r, &talk, &q, e);
        if (s == LAR_OK)
            s = ask(t, d, j, q, seed, &said[i], &junk, e);
        json_decref(q);
        if (s != LAR_OK)
            break;
        unjudged += said[i] < 0;
        lar_json_push(met, said[i] < 0 ? json_null() : json_boolean(said[i]), &bad);
    }
    const bool scored = s == LAR_OK && lar__eval_points(rubrics, said, &score);
    lar_free(said);
    lar_buf_free(&talk);
    lar_json_put(rec, "criteria_met", met, &bad);
    lar_json_put(rec, "junk", json_integer(junk), &bad);
    lar_json_put(rec, "unjudged", json_integer(unjudged), &bad);
    lar_json_put(rec, "score", scored ? json_real(score) : json_null(), &bad);
    return s == LAR_OK && bad ? lar_fail(e, LAR_ENOMEM, "judge: out of memory") : s;
}
