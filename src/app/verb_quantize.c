/* verb_quantize.c - lar quantize: one request, a line of progress, the file's figures. */
#include "app/app.h"

static void print(const json_t *r)
{
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
    json_t *result = NULL;
    int code = CLI_OK;
    if (a->n_words != 3) {
        cli_error(&a->ui, "want three words, the file, the file to write and the type; found %zu",
                  a->n_words);
        cli_hint(&a->ui, "lar quantize IN.gguf OUT.gguf Q4_K_M");
        return CLI_USAGE;
    }
    lar_status s = cli_client_open(a, &c, NULL, CLI_NEED_RUNTIME, &e);
    if (s == LAR_OK)
        s = lar_request_new(c.rt, a->verb->task, &r, &e);
    if (s == LAR_OK)
        s = cli_args_apply(a, r, "input|output|type", &e);
    for (size_t i = 0; s == LAR_OK && i < LAR_LEN(names); i++)
        s = lar_request_set_string(r, names[i], a->words[i], &e);
    if (s == LAR_OK)
        s = cli_run_for_result(a, &c, r, &result, &e);
    if (s != LAR_OK)
        code = cli_report(a, &e);
    else if (cli_is_on(a, "json"))
        code = cli_print_json(&a->ui, result);
    else
        print(result);
    json_decref(result);
    lar_request_free(r);
    cli_client_close(&c);
    return code;
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
