/* eval_prompt.c - an item as text: its prompt with examples before it, its choices. */
#include "tasks/eval.h"
#include "tasks/json.h"
#include <string.h>

lar_status lar__eval_render(const lar_template *t, const json_t *vars, lar_buf *out, lar_err *e)
{
    lar_render r = {0};
    const lar_status s = lar_template_render(t, vars, 0, &r, e);
    if (s == LAR_OK)
        lar_buf_add(out, r.text.p ? r.text.p : "", r.text.n);
    lar_render_free(&r);
    return s == LAR_OK && out->oom ? lar_fail(e, LAR_ENOMEM, "prompt: out of memory") : s;
}

/* The line's own fields, and by fixed names: question, choices, letters, subject, row. */
static json_t *variables(const lar_eval_desc *d, const lar_eval_data *data, const lar_eval_item *it)
{
    bool bad = false;
    json_t *v = json_copy(it->row), *letters = json_array();
    const json_t *q = d->f_question ? lar__eval_at(it->row, d->f_question) : NULL;
    for (size_t i = 0; i < json_array_size(it->choices); i++) {
        const char c = (char)('A' + i);
        lar_json_push(letters, json_stringn(&c, 1), &bad);
    }
    lar_json_put(v, "row", json_incref(it->row), &bad);
    if (q)
        lar_json_put(v, "question", json_incref((json_t *)(uintptr_t)q), &bad);
    if (it->choices)
        lar_json_put(v, "choices", json_incref(it->choices), &bad);
    lar_json_put(v, "letters", letters, &bad);
    lar_json_put(v, "subject", json_string(data->subject[it->subject]), &bad);
    if (bad) {
        json_decref(v);
        return NULL;
    }
    return v;
}

static lar_status render(const lar_template *t, const lar_eval_desc *d, const lar_eval_data *data,
                         const lar_eval_item *it, int choice, lar_buf *out, lar_err *e)
{
    bool bad = false;
    json_t *v = variables(d, data, it);
    if (v && choice >= 0) {
        const char c = (char)('A' + choice);
        lar_json_put(v, "letter", json_stringn(&c, 1), &bad);
        lar_json_put(v, "text", json_incref(json_array_get(it->choices, (size_t)choice)), &bad);
        lar_json_put(v, "index", json_integer(choice), &bad);
    }
    lar_status s = LAR_OK;
    if (!v || bad)
        s = lar_fail(e, LAR_ENOMEM, "prompt: out of memory");
    else if ((s = lar__eval_render(t, v, out, e)) != LAR_OK)
        lar_fail_in(e, s, "%s:%zu: the prompt", data->path, it->line);
    json_decref(v);
    return s;
}

lar_status lar__eval_choice(const lar_eval_desc *d, const lar_eval_data *data,
                            const lar_eval_item *it, int i, lar_buf *out, lar_err *e)
{
    return render(d->ll_choice, d, data, it, i, out, e);
}

/* What follows the question in an example. */
static lar_status target(const lar_eval_desc *d, const lar_eval_data *dev, const lar_eval_item *it,
                         lar_buf *out, lar_err *e)
{
    lar_buf_puts(out, d->ll_delimiter);
    if (it->choices)
        return lar__eval_choice(d, dev, it, it->gold, out, e);
    lar_buf_puts(out, json_string_value(json_array_get(it->answers, 0)));
    return LAR_OK;
}

lar_status lar__eval_prompt(const lar_eval_desc *d, const lar_eval_data *data,
                            const lar_eval_item *it, const lar_eval_data *dev, int shots,
                            bool loglik, lar_buf *out, lar_err *e)
{
    const lar_template *t = loglik ? d->ll_prompt : d->gen_prompt;
    const char *subject = data->subject[it->subject];
    int found = 0;
    if (loglik)
        LAR_TRY(render(d->ll_intro, d, data, it, -1, out, e));
    for (size_t i = 0; dev && i < dev->n && found < shots; i++) {
        if (d->f_subject && strcmp(dev->subject[dev->item[i].subject], subject) != 0)
            continue;
        LAR_TRY(render(t, d, dev, &dev->item[i], -1, out, e));
        LAR_TRY(target(d, dev, &dev->item[i], out, e));
        lar_buf_puts(out, d->separator);
        found++;
    }
    if (found < shots)
        return lar_fail(e, LAR_EFORMAT, "%s: %d examples%s%.60s, want %d", dev ? dev->path : "dev",
                        found, d->f_subject ? " of subject " : "", d->f_subject ? subject : "",
                        shots);
    return render(t, d, data, it, -1, out, e);
}
