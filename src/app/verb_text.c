/* verb_text.c - lar tokenize, template, logits: one request, its result printed. */
#include "app/app.h"
#include <string.h>

static const char *the_model(const cli_args *a)
{
    const char *m = cli_get(a, "model");
    return m ? m : a->n_words ? a->words[0] : NULL;
}

/* Open, make the request, set the given fields. */
static lar_status prepare(cli_args *a, cli_client *c, enum cli_need need, const char *model,
                          lar_request **r, lar_err *e)
{
    LAR_TRY(cli_client_open(a, c, model, need, e));
    LAR_TRY(lar_request_new(c->rt, a->verb->task, r, e));
    return cli_args_apply(a, *r, NULL, e);
}

static int finish(cli_args *a, cli_client *c, lar_request *r, lar_status s, const lar_err *e,
                  int code)
{
    if (s != LAR_OK)
        code = cli_report(a, e);
    lar_request_free(r);
    cli_client_close(c);
    return code;
}

/* ---- tokenize
 * ----------------------------------------------------------------------------------------- */

static int run_tokenize(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    lar_buf in = {0};
    json_t *result = NULL, *id;
    size_t i;
    lar_status s = prepare(a, &c, CLI_NEED_VOCAB, the_model(a), &r, &e);
    if (s == LAR_OK && !cli_get(a, "text")) {
        s = cli_read_stdin(&in, &e);
        if (s == LAR_OK)
            s = lar_request_set_bytes(r, "text", in.p ? in.p : "", in.n, &e);
    }
    if (s == LAR_OK)
        s = cli_run_for_result(a, &c, r, &result, &e);
    if (s == LAR_OK && cli_is_on(a, "json")) {
        cli_print_json(&a->ui, result);
    } else if (s == LAR_OK) {
        json_array_foreach(json_object_get(result, "tokens"), i, id)
            printf("%s%lld", i ? " " : "", (long long)json_integer_value(id));
        putchar('\n');
    }
    json_decref(result);
    lar_buf_free(&in);
    return finish(a, &c, r, s, &e, CLI_OK);
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

static int run_template(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    json_t *result = NULL;
    bool model = the_model(a) || !cli_get(a, "template");
    lar_status s = prepare(a, &c, model ? CLI_NEED_VOCAB : CLI_NEED_RUNTIME, the_model(a), &r, &e);
    if (s == LAR_OK)
        s = template_input(a, r, &e);
    if (s == LAR_OK)
        s = cli_run_for_result(a, &c, r, &result, &e);
    if (s == LAR_OK && cli_is_on(a, "json")) {
        cli_print_json(&a->ui, result);
    } else if (s == LAR_OK) {
        const json_t *t = json_object_get(result, "text");
        size_t n = json_string_length(t);
        const char *p = json_string_value(t);
        fwrite(p ? p : "", 1, n,
               stdout); /* the prompt to the byte: no newline is added in a pipe */
        if (a->ui.tty_out && n && p[n - 1] != '\n')
            putchar('\n');
    }
    json_decref(result);
    return finish(a, &c, r, s, &e, CLI_OK);
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

static int run_logits(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    json_t *result = NULL;
    lar_status s = prepare(a, &c, CLI_NEED_SESSION, cli_get(a, "model"), &r, &e);
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
    if (s == LAR_OK)
        s = cli_run_for_result(a, &c, r, &result, &e);
    if (s == LAR_OK && cli_is_on(a, "json")) {
        cli_print_json(&a->ui, result);
    } else if (s == LAR_OK) {
        cli_print_rows(&a->ui, json_object_get(result, "logits"));
        printf("%ssha256 %s%s\n", cli_on(&a->ui, stdout, CLI_DIM), cli_str(result, "sha256", ""),
               cli_off(&a->ui, stdout));
    }
    json_decref(result);
    return finish(a, &c, r, s, &e, CLI_OK);
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
