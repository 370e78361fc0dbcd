/* template.c - the task `template`: a conversation as the text that a chat template makes of it.
 * Depends on chat_prompt.h, json.h and the Jinja interpreter. */
#include "tasks/chat_prompt.h"
#include "tasks/json.h"
#include "tasks/task.h"
#include <string.h>
#include <time.h>

typedef struct params {
    const char *source;
    json_t *vars;
    int64_t now;
} params;

/* Variables are passed on as they are: one that is not given is undefined, as in jinja2. Only what
 * the model's vocabulary knows (bos_token ...) is added. */
static const lar_field fields[] = {
    {.name = "template",
     .alias = "chat-template",
     .type = LAR_FIELD_STRING,
     .offset = offsetof(params, source),
     .unit = "JINJA",
     .help = "Template source; the model's own when not given"},
    {.name = "vars",
     .alias = "request",
     .type = LAR_FIELD_JSON,
     .offset = offsetof(params, vars),
     .def_str = "{}",
     .unit = "JSON",
     .help = "Variables: messages, tools, add_generation_prompt and any other"},
    {.name = "now",
     .type = LAR_FIELD_INT,
     .offset = offsetof(params, now),
     .def = -1,
     .min = -1,
     .max = 253402300799.0,
     .unit = "SECONDS",
     .help = "Unix time that the template sees as today; -1: the clock's"},
};

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    if (!p->source && !t->model)
        return lar_fail(e, LAR_EARG, "field 'template': not given, and no model to take one from");
    if (!json_is_object(p->vars))
        return lar_fail(e, LAR_EARG, "field 'vars': want an object of template variables");
    return LAR_OK;
}

static lar_status pick(const lar_task *t, const lar_template **out, lar_template **own, lar_err *e)
{
    const params *p = t->params;
    if (!p->source)
        return lar_chat_template(t->model, out, own, e);
    LAR_TRY(lar_template_new(p->source, strlen(p->source), own, e));
    *out = *own;
    return LAR_OK;
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    const params *p = t->params;
    const lar_template *tmpl;
    lar_template *own = NULL;
    lar_render r = {0};
    bool bad = false;
    *done = true;
    json_t *vars = json_copy(p->vars);
    lar_status s = vars ? LAR_OK : lar_fail(e, LAR_ENOMEM, "out of memory for template variables");
    if (s == LAR_OK && t->model)
        s = lar_chat_add_tokens(t->model, vars, e);
    if (s == LAR_OK)
        s = pick(t, &tmpl, &own, e);
    if (s == LAR_OK)
        s = lar_template_render(tmpl, vars, p->now < 0 ? (int64_t)time(NULL) : p->now, &r, e);
    if (s == LAR_OK) {
        json_t *o = json_object();
        lar_json_put(o, "text", lar_json_text(r.text.p, r.text.n), &bad);
        if (bad)
            json_decref(o);
        s = bad ? lar_fail(e, LAR_ENOMEM, "out of memory for %zu bytes of text", r.text.n)
                : lar_task_result(t, o, e);
    }
    lar_render_free(&r);
    lar_template_free(own);
    json_decref(vars);
    return s;
}

static void finish(lar_task *t)
{
    (void)t;
}

extern const lar_task_def lar_task_def_template;
const lar_task_def lar_task_def_template = {
    .name = "template",
    .verb = "template",
    .route = "/apply-template",
    .help = "Show the prompt that a chat template makes of a conversation",
    .positional = NULL,
    .needs = LAR_NEEDS_NOTHING,
    .fields = fields,
    .n_fields = LAR_LEN(fields),
    .params_size = sizeof(params),
    .start = start,
    .step = step,
    .finish = finish,
};
