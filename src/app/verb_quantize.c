/* verb_quantize.c - lar quantize: one request, the file's figures. */
#include "app/app.h"

static void print(const cli_args *a, const json_t *r)
{
    (void)a;
    char after[32], before[32];
    const json_t *types = json_object_get(r, "types"), *v;
    const char *name, *comma = "";
    printf("%s: %s, of %s; %.2f bits per weight\n", json_string_value(json_object_get(r, "file")),
           cli_bytes(cli_num(r, "bytes", 0), after, sizeof after),
           cli_bytes(cli_num(r, "bytes_before", 0), before, sizeof before),
           cli_num(r, "bits_per_weight", 0));
    printf("tensors: ");
    json_object_foreach((json_t *)(uintptr_t)types, name, v)
    {
        printf("%s%lld %s", comma, (long long)json_integer_value(v), name);
        comma = ", ";
    }
    putchar('\n');
    if (cli_num(r, "without_importance", 0) > 0)
        printf("not in the importance matrix: %.0f\n", cli_num(r, "without_importance", 0));
}

static int run(cli_args *a)
{
    static const char *const names[] = {"input", "output", "type"};
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    if (a->n_words != 3) {
        cli_error(&a->ui, "want three words, the file, the file to write and the type; found %zu",
                  a->n_words);
        cli_hint(&a->ui, "lar quantize IN.gguf OUT.gguf Q4_K_M");
        return CLI_USAGE;
    }
    lar_status s = cli_prepare(a, &c, CLI_NEED_RUNTIME, NULL, NULL, &r, &e);
    for (size_t i = 0; s == LAR_OK && i < LAR_LEN(names); i++)
        s = lar_request_set_string(r, names[i], a->words[i], &e);
    return cli_show_result(a, &c, r, s, &e, print);
}

const cli_verb cli_verb_quantize = {
    .name = "quantize",
    .task = "quantize",
    .usage = "lar quantize IN OUT TYPE [--imatrix FILE] [--override PATTERN=TYPE]...",
    .help = "make a smaller GGUF file of another",
    .groups = CLI_G_RUNTIME | CLI_G_JSON,
    .words = 3,
    .hidden = "input|output|type",
    .run = run,
    .more = "TYPE: F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 Q3_K_L "
            "Q3_K_M Q3_K_S Q2_K Q2_K_S and the other names that llama.cpp's files have. Mixtures "
            "give the parts that matter more bits. Norms, vectors and routers stay as they are; "
            "where rows are no multiple of 256, a type with smaller blocks is taken."};
