/* convert.c - the task `convert`: a Hugging Face folder to a GGUF file. */
#include "convert/convert.h"
#include "tasks/host.h"
#include "tasks/json.h"
#include "tasks/task.h"
#include <string.h>

typedef struct params {
    const char *input, *output, *type;
} params;

#define AT(f) .offset = offsetof(params, f)
static const lar_field fields[] = {
    {.name = "input",
     .type = LAR_FIELD_STRING,
     AT(input),
     .unit = "DIR",
     .help = "A folder with config.json, safetensors and tokenizer files"},
    {.name = "output",
     .type = LAR_FIELD_STRING,
     AT(output),
     .unit = "FILE",
     .help = "The GGUF file to write"},
    {.name = "type",
     .type = LAR_FIELD_STRING,
     AT(type),
     .unit = "TYPE",
     .help = "Element type of the matrices (f32, f16, bf16, q8_0 ...); without it each keeps its "
             "own"},
};

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    if (!p->input || !p->output)
        return lar_fail(e, LAR_EARG, "%s is missing", p->input ? "output" : "input");
    return LAR_OK;
}

/* What is converted opens: the architecture's tables find every tensor in its shape, the vocabulary
 * makes a tokenizer. */
static lar_status check(const lar_gguf *g, void *user, lar_err *e)
{
    static const lar_log silent = {0};
    lar_vocab_file vocab;
    lar_net *net;
    (void)user;
    lar_status s = lar_net_open(g, &silent, &net, e);
    if (s == LAR_OK) {
        lar_net_free(net);
        s = lar_vocab_open(g, &vocab, e);
    }
    if (s == LAR_OK)
        lar_vocab_free(&vocab);
    return s == LAR_OK || s == LAR_ENOMEM ? s : lar_fail_in(e, s, "the folder makes no model");
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    const params *p = t->params;
    lar_convert_options o = {.progress = lar_task_report, .check = check, .user = t};
    lar_convert_result r;
    bool bad = false;
    if (p->type && !(o.type = lar_dtype_by_name(p->type)))
        return lar_fail(e, LAR_EARG,
                        "type: '%.40s' is no element type, want f32, f16, bf16, q8_0 or another "
                        "(mixtures like Q4_K_M are made by quantize)",
                        p->type);
    LAR_TRY((lar_is_marian_folder(p->input) ? lar_convert_marian
                                            : lar_convert_hf)(p->input, p->output, &o, &r, e));
    if (r.own_split)
        LAR_TRY(lar_task_notice(t, e,
                                "GGUF has no name for how the tokenizer splits text: LAR uses the "
                                "pattern in tokenizer.lar.pre_regex, other programs their default, "
                                "which may give other tokens"));
    json_t *j = json_object();
    lar_json_put(j, "file", lar_json_text(p->output, strlen(p->output)), &bad);
    lar_json_put(j, "architecture", json_string(r.arch), &bad);
    lar_json_put(j, "bytes", json_integer((json_int_t)r.bytes), &bad);
    lar_json_put(j, "tensors", json_integer((json_int_t)r.n_tensors), &bad);
    lar_json_put(j, "parameters", json_integer((json_int_t)r.n_params), &bad);
    *done = true;
    return lar_task_built(t, j, bad, e);
}

static void finish(lar_task *t)
{
    (void)t;
}

extern const lar_task_def lar_task_def_convert;
const lar_task_def lar_task_def_convert = {
    .name = "convert",
    .verb = "convert",
    .help = "Make a GGUF file of a Hugging Face model folder",
    .needs = LAR_NEEDS_NOTHING,
    .fields = fields,
    .n_fields = LAR_LEN(fields),
    .params_size = sizeof(params),
    .start = start,
    .step = step,
    .finish = finish,
};
