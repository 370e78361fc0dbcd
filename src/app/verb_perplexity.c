/* verb_perplexity.c - lar perplexity: one request, its figures. */
#include "app/app.h"

static void row(const char *name, const char *fmt, double a, double b)
{
    printf("%-22s", name);
    printf(fmt, a, b);
    putchar('\n');
}

static double real(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static void print(const cli_args *a, const json_t *r)
{
    const json_t *ci = json_object_get(r, "ci95"), *kl = json_object_get(r, "kl");
    (void)a;
    row("perplexity", "%.4f +- %.4f", real(r, "perplexity"), real(r, "stderr"));
    row("95 % interval", "%.4f to %.4f", json_number_value(json_array_get(ci, 0)),
        json_number_value(json_array_get(ci, 1)));
    row("tokens scored", "%.0f", real(r, "tokens"), 0);
    printf("%-22s%s\n", "KV cache", cli_str(r, "kv_type", ""));
    if (!kl)
        return;
    row("reference perplexity", "%.4f", real(kl, "reference_perplexity"), 0);
    row("KL divergence, mean", "%.6f +- %.6f", real(kl, "mean"), real(kl, "stderr"));
    row("  median", "%.6f", real(kl, "median"), 0);
    row("  90 %, 99 %", "%.6f, %.6f", real(kl, "p90"), real(kl, "p99"));
    row("  largest", "%.6f", real(kl, "max"), 0);
    row("same best token", "%.2f %%", 100 * real(kl, "same_top"), 0);
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    char *reference = NULL;
    const char *model = cli_get(a, "model"), *file = cli_get(a, "file");
    const char *ref = cli_get(a, "reference");
    size_t used = 0;
    if (!model && a->n_words)
        model = a->words[used++];
    if (!file && used < a->n_words)
        file = a->words[used++];
    if (used < a->n_words) {
        cli_error(&a->ui, "unexpected argument '%.80s'", a->words[used]);
        return CLI_USAGE;
    }
    lar_status s = cli_prepare(a, &c, CLI_NEED_SESSION, model, "reference|file", &r, &e);
    if (s == LAR_OK)
        s = cli_give_text(a, r, file, &e);
    if (s == LAR_OK && ref)
        s = cli_model_path(ref, &reference, &e);
    if (s == LAR_OK && ref)
        s = lar_request_set_string(r, "reference", reference, &e);
    lar_free(reference);
    return cli_show_result(a, &c, r, s, &e, print);
}

const cli_verb cli_verb_perplexity = {
    .name = "perplexity",
    .task = "perplexity",
    .usage = "lar perplexity -m MODEL [-f TEXT] [FLAGS]",
    .help = "measure how well a model predicts a text",
    .groups = CLI_G_MODEL | CLI_G_SESSION | CLI_G_RUNTIME | CLI_G_JSON,
    .words = 2,
    .run = run,
    .more = "Without -f the text is read from standard input. With --reference MODEL (say the F16 "
            "file) it also reports how far the predictions are "
            "from that model's."};
