/* verb_imatrix.c - lar imatrix: one request, what was written. */
#include "app/app.h"

static void print(const cli_args *a, const json_t *r)
{
    (void)a;
    printf("%s: %.0f matrices, %.0f windows of %.0f tokens\n", cli_str(r, "file", ""),
           cli_num(r, "matrices", 0), cli_num(r, "windows", 0), cli_num(r, "window", 0));
    if (cli_num(r, "experts_without_tokens", 0) > 0)
        printf("experts that no token came to: %.0f\n", cli_num(r, "experts_without_tokens", 0));
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    lar_status s = cli_prepare(a, &c, CLI_NEED_SESSION, NULL, "file", &r, &e);
    if (s == LAR_OK)
        s = cli_give_text(a, r, NULL, &e);
    return cli_show_result(a, &c, r, s, &e, print);
}

const cli_verb cli_verb_imatrix = {
    .name = "imatrix",
    .task = "imatrix",
    .usage = "lar imatrix -m MODEL [-f TEXT] -o FILE [FLAGS]",
    .help = "find out which columns of a model matter, for lar quantize",
    .groups = CLI_G_MODEL | CLI_G_SESSION | CLI_G_RUNTIME | CLI_G_JSON,
    .words = 0,
    .run = run,
    .more = "Without -f the text is read from standard input. MODEL is best the F16 file. FILE is "
            "the GGUF form that llama-imatrix writes and "
            "llama-quantize reads, too."};
