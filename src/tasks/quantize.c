/* quantize.c - the task `quantize`: a GGUF file with other element types. */
#include "convert/quantize.h"
#include "tasks/json.h"
#include "tasks/task.h"
#include <string.h>

typedef struct params {
    const char *input, *output, *type, *imatrix;
    lar_field_list override;
    bool allow_requantize;
} params;

#define AT(f) .offset = offsetof(params, f)
static const lar_field fields[] = {
    {.name = "input",
     .type = LAR_FIELD_STRING,
     AT(input),
     .unit = "FILE",
     .help = "A GGUF file, best in F32, F16 or BF16; of a split model the first"},
    {.name = "output",
     .type = LAR_FIELD_STRING,
     AT(output),
     .unit = "FILE",
     .help = "The GGUF file to write"},
    {.name = "type",
     .type = LAR_FIELD_STRING,
     AT(type),
     .unit = "TYPE",
     .help = "What to make of it: Q4_K_M, Q6_K, Q8_0, F16 and others"},
    {.name = "imatrix",
     .type = LAR_FIELD_STRING,
     AT(imatrix),
     .unit = "FILE",
     .help = "An importance matrix: which columns matter (lar imatrix makes one)"},
    {.name = "override",
     .type = LAR_FIELD_STRINGS,
     AT(override),
     .unit = "PATTERN=TYPE",
     .help = "Matrices with PATTERN in their names get the element type TYPE; * stands for "
             "anything; the first that fits counts"},
    {.name = "allow-requantize",
     .type = LAR_FIELD_BOOL,
     AT(allow_requantize),
     .help = "Quantize again what is quantized already"},
};

static bool is_writable(const lar_task *t, const lar_recipe *r)
{
    const lar_kernels *kernels = t->rt->variant->kernels;
    const lar_format *f = kernels->formats[r->base];
    return f && (f->from_f32 || f->quantize);
}

static lar_status find_recipe(const lar_task *t, const char *name, const lar_recipe **out,
                              lar_err *e)
{
    lar_buf known = {0};
    *out = lar_recipe_by_name(name);
    if (*out && is_writable(t, *out))
        return LAR_OK;
    for (int i = 0; i < lar_n_recipes; i++)
        if (is_writable(t, &lar_recipes[i]))
            lar_buf_printf(&known, "%s%s", known.n ? " " : "", lar_recipes[i].name);
    const lar_status s =
        lar_fail(e, *out ? LAR_EUNSUPPORTED : LAR_EARG, "type: '%.40s' %s, want one of: %s", name,
                 *out ? "cannot be written yet" : "is not known", known.p ? known.p : "");
    lar_buf_free(&known);
    return s;
}

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    const lar_recipe *r;
    if (!p->input || !p->output || !p->type)
        return lar_fail(e, LAR_EARG, "%s is missing",
                        !p->input    ? "input"
                        : !p->output ? "output"
                                     : "type");
    return find_recipe(t, p->type, &r, e);
}

static json_t *result_json(const params *p, const lar_recipe *recipe, const lar_quantize_result *r,
                           bool *bad)
{
    json_t *j = json_object(), *types = json_object();
    lar_json_put(j, "file", lar_json_text(p->output, strlen(p->output)), bad);
    lar_json_put(j, "type", json_string(recipe->name), bad);
    lar_json_put(j, "bytes", json_integer((json_int_t)r->bytes), bad);
    lar_json_put(j, "bytes_before", json_integer((json_int_t)r->bytes_before), bad);
    lar_json_put(j, "parameters", json_integer((json_int_t)r->n_params), bad);
    lar_json_put(j, "bits_per_weight",
                 json_real(r->n_params ? 8.0 * (double)r->bytes / (double)r->n_params : 0), bad);
    lar_json_put(j, "tensors", json_integer((json_int_t)r->n_tensors), bad);
    lar_json_put(j, "changed", json_integer((json_int_t)r->n_changed), bad);
    if (p->imatrix)
        lar_json_put(j, "without_importance", json_integer((json_int_t)r->n_without), bad);
    for (int i = 0; i < LAR_N_DTYPES; i++)
        if (r->of_type[i])
            lar_json_put(types, lar_dtypes[i].name, json_integer((json_int_t)r->of_type[i]), bad);
    lar_json_put(j, "types", types, bad);
    return j;
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    const params *p = t->params;
    lar_quantize_options o = {.kernels = t->rt->variant->kernels,
                              .pool = t->rt->pool,
                              .importance = p->imatrix,
                              .overrides = p->override.p,
                              .n_overrides = p->override.n,
                              .requantize = p->allow_requantize,
                              .progress = lar_task_report,
                              .user = t};
    lar_quantize_result r;
    bool bad = false;
    LAR_TRY(find_recipe(t, p->type, &o.recipe, e));
    LAR_TRY(lar_quantize_file(p->input, p->output, &o, &r, e));
    json_t *j = result_json(p, o.recipe, &r, &bad);
    *done = true;
    return lar_task_built(t, j, bad, e);
}

static void finish(lar_task *t)
{
    (void)t;
}

extern const lar_task_def lar_task_def_quantize;
const lar_task_def lar_task_def_quantize = {
    .name = "quantize",
    .verb = "quantize",
    .help = "Make a smaller GGUF file of another",
    .needs = LAR_NEEDS_NOTHING,
    .fields = fields,
    .n_fields = LAR_LEN(fields),
    .params_size = sizeof(params),
    .start = start,
    .step = step,
    .finish = finish,
};
