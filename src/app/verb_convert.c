/* verb_convert.c - lar convert: one request, a line of progress, the file's figures. */
#include "app/app.h"

static void print(cli_args *a, const json_t *r)
{
    char size[32];
    printf("%s: %s, %lld tensors, %s\n", json_string_value(json_object_get(r, "file")),
           json_string_value(json_object_get(r, "architecture")),
           (long long)json_integer_value(json_object_get(r, "tensors")),
           cli_bytes((double)json_integer_value(json_object_get(r, "bytes")), size, sizeof size));
    (void)a;
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    json_t *result = NULL;
    int code = CLI_OK;
    if (a->n_words != 2) {
        cli_error(&a->ui, "want two words, the folder and the file to write; found %zu",
                  a->n_words);
        cli_hint(&a->ui, "lar convert DIR OUT.gguf");
        return CLI_USAGE;
    }
    lar_status s = cli_client_open(a, &c, NULL, CLI_NEED_RUNTIME, &e);
    if (s == LAR_OK)
        s = lar_request_new(c.rt, a->verb->task, &r, &e);
    if (s == LAR_OK)
        s = cli_args_apply(a, r, "input|output", &e);
    if (s == LAR_OK)
        s = lar_request_set_string(r, "input", a->words[0], &e);
    if (s == LAR_OK)
        s = lar_request_set_string(r, "output", a->words[1], &e);
    if (s == LAR_OK)
        s = cli_run_for_result(a, &c, r, &result, &e);
    if (s != LAR_OK)
        code = cli_report(a, &e);
    else if (cli_is_on(a, "json"))
        code = cli_print_json(&a->ui, result);
    else
        print(a, result);
    json_decref(result);
    lar_request_free(r);
    cli_client_close(&c);
    return code;
}

const cli_verb cli_verb_convert = {
    .name = "convert",
    .task = "convert",
    .usage = "lar convert DIR OUT [--type T]",
    .help = "make a GGUF file of a Hugging Face folder",
    .groups = CLI_G_JSON,
    .words = 2,
    .hidden = "input|output",
    .run = run,
    .more = "DIR holds config.json, *.safetensors and tokenizer.json (or tokenizer.model)."};
