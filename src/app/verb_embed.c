/* verb_embed.c - lar embed: one request, a line of numbers for each text. */
#include "app/app.h"
#include <string.h>

/* Each line of standard input is a text. */
static lar_status add_lines(lar_request *r, const lar_buf *in, lar_err *e)
{
    for (size_t i = 0; i < in->n;) {
        const char *end = memchr(in->p + i, '\n', in->n - i);
        const size_t stop = end ? (size_t)(end - in->p) : in->n;
        const size_t n = stop - i - (stop > i && in->p[stop - 1] == '\r');
        char *line = lar_strndup(in->p + i, n);
        if (!line)
            return lar_fail(e, LAR_ENOMEM, "out of memory");
        const lar_status s = strlen(line) == n
                                 ? lar_request_set_string(r, "input", line, e)
                                 : lar_fail(e, LAR_EFORMAT, "standard input: a NUL byte");
        lar_free(line);
        LAR_TRY(s);
        i = stop + 1;
    }
    return LAR_OK;
}

static lar_status add_texts(cli_args *a, lar_request *r, lar_err *e)
{
    const char *words = cli_words(a, 0);
    const bool lines = cli_is_on(a, "lines");
    lar_buf in = {0};
    if (words && cli_get(a, "input"))
        return lar_fail(e, LAR_EARG, "the text is given twice: with --input and as '%.60s'", words);
    if (words)
        return lar_request_set_string(r, "input", words, e);
    if (cli_get(a, "input") && !lines)
        return LAR_OK;
    lar_status s = cli_read_text(&in, true, e);
    if (s == LAR_OK && lines)
        s = add_lines(r, &in, e);
    else if (s == LAR_OK)
        s = lar_request_set_string(r, "input", in.p ? in.p : "", e);
    lar_buf_free(&in);
    return s;
}

static void print_vector(const json_t *v)
{
    json_t *x;
    size_t i;
    json_array_foreach(v, i, x) printf("%s%.9g", i ? " " : "", json_number_value(x));
    putchar('\n');
}

static void print(const cli_args *a, const json_t *result)
{
    json_t *v;
    size_t i;
    (void)a;
    if (json_object_get(result, "embedding"))
        print_vector(json_object_get(result, "embedding"));
    json_array_foreach(json_object_get(result, "embeddings"), i, v) print_vector(v);
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    lar_status s = cli_prepare(a, &c, CLI_NEED_SESSION, NULL, NULL, &r, &e);
    if (s == LAR_OK)
        s = add_texts(a, r, &e);
    return cli_show_result(a, &c, r, s, &e, print);
}

static const cli_flag own[] = {
    {.name = "lines", .type = CLI_BOOL, .help = "each line of standard input is a text"},
};

const cli_verb cli_verb_embed = {
    .name = "embed",
    .task = "embed",
    .usage = "lar embed -m MODEL -p TEXT [FLAGS]",
    .help = "make vectors of texts",
    .groups = CLI_G_MODEL | CLI_G_SESSION | CLI_G_RUNTIME | CLI_G_JSON,
    .own = own,
    .n_own = LAR_LEN(own),
    .words = -1,
    .run = run,
    .more = "Without a text, standard input is one. A line of numbers is printed for each text; "
            "with --json an object: embedding and tokens of one text, embeddings and tokens (two "
            "lists) of several.\n"
            "Examples:\n"
            "  lar embed -m minilm.gguf -p \"The night is dark\" --json\n"
            "  lar embed -m minilm.gguf --lines < sentences.txt > vectors.txt"};
