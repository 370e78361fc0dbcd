/* verb_convert.c - lar convert: one request, the file's figures. */
#include "app/app.h"

static void print(const cli_args *a, const json_t *r)
{
    char size[32];
    (void)a;
    printf("%s: %s, %.0f tensors, %s\n", cli_str(r, "file", ""), cli_str(r, "architecture", ""),
           cli_num(r, "tensors", 0), cli_bytes(cli_num(r, "bytes", 0), size, sizeof size));
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    if (a->n_words != 2) {
        cli_error(&a->ui, "want two words, the folder and the file to write; found %zu",
                  a->n_words);
        cli_hint(&a->ui, "lar convert DIR OUT.gguf");
        return CLI_USAGE;
    }
    lar_status s = cli_prepare(a, &c, CLI_NEED_RUNTIME, NULL, NULL, &r, &e);
    if (s == LAR_OK)
        s = lar_request_set_string(r, "input", a->words[0], &e);
    if (s == LAR_OK)
        s = lar_request_set_string(r, "output", a->words[1], &e);
    return cli_show_result(a, &c, r, s, &e, print);
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
