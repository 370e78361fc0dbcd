/* verb_text.c - lar tokenize, template, logits: one request, its result printed. */
#include "app/app.h"
#include <string.h>

static const char *the_model(const cli_args *a)
{
    const char *m = cli_get(a, "model");
    return m ? m : a->n_words ? a->words[0] : NULL;
}

/* ---- tokenize
 * ----------------------------------------------------------------------------------------- */

static void print_tokens(const cli_args *a, const json_t *result)
{
    json_t *id;
    size_t i;
    (void)a;
    json_array_foreach(json_object_get(result, "tokens"), i, id)
        printf("%s%lld", i ? " " : "", (long long)json_integer_value(id));
    putchar('\n');
}

static int run_tokenize(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    lar_buf in = {0};
    lar_status s = cli_prepare(a, &c, CLI_NEED_VOCAB, the_model(a), NULL, &r, &e);
    if (s == LAR_OK && !cli_get(a, "text")) {
        s = cli_read_stdin(&in, &e);
        if (s == LAR_OK)
            s = lar_request_set_bytes(r, "text", in.p ? in.p : "", in.n, &e);
    }
    lar_buf_free(&in);
    return cli_show_result(a, &c, r, s, &e, print_tokens);
}

const cli_verb cli_verb_tokenize = {
    .name = "tokenize",
    .task = "tokenize",
    .usage = "lar tokenize -m MODEL [FLAGS] < text",
    .help = "print the token ids of a text",
    .groups = CLI_G_MODEL | CLI_G_JSON | CLI_G_RUNTIME,
    .words = 1,
    .run = run_tokenize,
    .more = "The text is read from standard input, byte for byte, unless it is given with a flag."};

/* ---- template
 * ----------------------------------------------------------------------------------------- */

static lar_status read_file(const char *path, lar_buf *out, lar_err *e)
{
    FILE *f = fopen(path, "rb");
    char buf[16384];
    size_t n;
    if (!f)
        return lar_fail(e, LAR_ENOTFOUND, "%s: cannot open it", path);
    while ((n = fread(buf, 1, sizeof buf, f)) > 0)
        lar_buf_add(out, buf, n);
    bool bad = ferror(f) != 0;
    fclose(f);
    return bad        ? lar_fail(e, LAR_EIO, "%s: cannot read it", path)
           : out->oom ? lar_fail(e, LAR_ENOMEM, "%s: out of memory", path)
                      : LAR_OK;
}

/* Without messages most templates render something that looks right and is not. */
static void note_messages(const cli_args *a, const char *vars, size_t n)
{
    json_t *j = json_loadb(vars, n, 0, NULL);
    if (json_is_object(j) && !json_object_get(j, "messages") && !cli_get(a, "template"))
        cli_note(&a->ui, "the request has no 'messages': the model's template is rendered without");
    json_decref(j);
}

static lar_status template_input(cli_args *a, lar_request *r, lar_err *e)
{
    lar_buf b = {0};
    const char *file = cli_get(a, "template");
    lar_status s = LAR_OK;
    if (file) {
        s = read_file(file, &b, e);
        if (s == LAR_OK)
            s = lar_request_set_bytes(r, "template", b.p ? b.p : "", b.n, e);
    }
    if (s == LAR_OK && !cli_get(a, "vars")) {
        lar_buf_clear(&b);
        s = cli_read_stdin(&b, e);
        if (s == LAR_OK && !b.n)
            s = lar_fail(e, LAR_EARG, "no request: give JSON on standard input, or with --vars");
        if (s == LAR_OK && memchr(b.p ? b.p : "", 0, b.n))
            s = lar_fail(e, LAR_EFORMAT, "standard input: a NUL byte, want a JSON request");
        if (s == LAR_OK) {
            s = lar_request_set_json(r, "vars", b.p ? b.p : "", e);
            note_messages(a, b.p ? b.p : "", b.n);
            if (s == LAR_EARG && e) /* the data, not the command line, is wrong */
                e->code = s = LAR_EFORMAT;
        }
    }
    lar_buf_free(&b);
    return s;
}

/* The prompt to the byte: no line end is added in a pipe. */
static void print_prompt(const cli_args *a, const json_t *result)
{
    const json_t *t = json_object_get(result, "text");
    const size_t n = json_string_length(t);
    const char *p = json_string_value(t);
    fwrite(p ? p : "", 1, n, stdout);
    if (a->ui.tty_out && n && p[n - 1] != '\n')
        putchar('\n');
}

static int run_template(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    const bool model = the_model(a) || !cli_get(a, "template");
    lar_status s =
        cli_prepare(a, &c, model ? CLI_NEED_VOCAB : CLI_NEED_RUNTIME, the_model(a), NULL, &r, &e);
    if (s == LAR_OK)
        s = template_input(a, r, &e);
    return cli_show_result(a, &c, r, s, &e, print_prompt);
}

static const cli_flag template_own[] = {
    {.name = "template",
     .type = CLI_STRING,
     .unit = "FILE",
     .help = "a Jinja template to use instead of the model's"},
};

const cli_verb cli_verb_template = {
    .name = "template",
    .task = "template",
    .usage = "lar template [-m MODEL | --template FILE] < request.json",
    .help = "print the prompt that a chat template makes of a conversation",
    .groups = CLI_G_MODEL | CLI_G_JSON | CLI_G_RUNTIME,
    .own = template_own,
    .n_own = LAR_LEN(template_own),
    .words = 1,
    .run = run_template,
    .more = "The request is a JSON object: messages, tools, add_generation_prompt, and any further "
            "variable of the template.\n"
            "Example:\n"
            "  echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}' | lar template -m "
            "model.gguf"};

/* ---- logits
 * ------------------------------------------------------------------------------------ */

static void print_logits(const cli_args *a, const json_t *result)
{
    cli_print_rows(&a->ui, json_object_get(result, "logits"));
    printf("%ssha256 %s%s\n", cli_on(&a->ui, stdout, CLI_DIM), cli_str(result, "sha256", ""),
           cli_off(&a->ui, stdout));
}

static int run_logits(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    lar_status s = cli_prepare(a, &c, CLI_NEED_SESSION, cli_get(a, "model"), NULL, &r, &e);
    const char *words = cli_words(a, 0);
    lar_buf in = {0};
    if (s == LAR_OK && words && cli_get(a, "prompt"))
        s = lar_fail(&e, LAR_EARG, "the prompt is given twice: with --prompt and as '%.60s'",
                     words);
    else if (s == LAR_OK && words)
        s = lar_request_set_string(r, "prompt", words, &e);
    else if (s == LAR_OK && !cli_get(a, "prompt") && !cli_get(a, "ids") && !a->ui.tty_in) {
        s = cli_read_text(&in, true, &e);
        if (s == LAR_OK && in.n)
            s = lar_request_set_bytes(r, "prompt", in.p, in.n, &e);
    }
    lar_buf_free(&in);
    return cli_show_result(a, &c, r, s, &e, print_logits);
}

const cli_verb cli_verb_logits = {
    .name = "logits",
    .task = "logits",
    .usage = "lar logits -m MODEL -p TEXT [FLAGS]",
    .help = "print the most likely next tokens and the hash of all logits",
    .groups = CLI_G_MODEL | CLI_G_SESSION | CLI_G_RUNTIME | CLI_G_JSON,
    .words = -1,
    .run = run_logits,
    .more = "Without a prompt or --ids the prompt is read from standard input, without the line "
            "end at its end."};
