/* verb_run.c - lar run: one prompt, one answer. Depends on answer.c, client.c. */
#include "app/app.h"
#include "base/os.h"
#include <string.h>

/* How long a prompt waits for a pipe that may have nothing to add. */
static const double PIPE_SECONDS = 3;

static int usage(cli_args *a, const char *msg)
{
    cli_error(&a->ui, "%s", msg);
    cli_hint(&a->ui, "lar help %s", a->verb->name);
    return CLI_USAGE;
}

/* lar run MODEL PROMPT, lar run PROMPT, lar run -m MODEL PROMPT: which word begins the prompt? */
static size_t split_words(const cli_args *a, const char **model)
{
    *model = cli_get(a, "model");
    if (*model || a->n_words == 0)
        return 0;
    if (cli_get(a, "prompt")) {
        *model = cli_model_is(a->words[0]) ? a->words[0] : NULL;
        return *model ? 1 : 0;
    }
    bool first = a->n_words == 2 || cli_model_looks_like(a->words[0]);
    for (size_t i = 1; i < a->n_words; i++)
        first |= strchr(a->words[i], ' ') != NULL;
    if (a->n_words == 1 && strpbrk(a->words[0], " \n"))
        first = false;
    if (!first)
        return 0;
    *model = a->words[0];
    return 1;
}

/* The words, then what is piped in. --prompt stands alone, so that scripts with an open pipe as
 * their standard input never wait. */
static lar_status read_prompt(cli_args *a, size_t first, lar_buf *out, lar_err *e)
{
    const char *flag = cli_get(a, "prompt"), *words = cli_words(a, first);
    bool silent = false;
    lar_buf in = {0};
    if (flag) {
        if (words)
            return lar_fail(e, LAR_EARG, "the prompt is given twice: with --prompt and as '%.60s'",
                            words);
        lar_buf_puts(out, flag);
        return out->oom ? lar_fail(e, LAR_ENOMEM, "out of memory") : LAR_OK;
    }
    if (a->ui.tty_in || (!words && cli_get(a, "messages")) ||
        (words && !cli_stdin_ready(PIPE_SECONDS, &silent))) {
        if (silent)
            cli_note(&a->ui,
                     "standard input is a pipe that said nothing for %.0f seconds: answering "
                     "without it",
                     PIPE_SECONDS);
        lar_buf_puts(out, words ? words : "");
        return out->oom ? lar_fail(e, LAR_ENOMEM, "out of memory") : LAR_OK;
    }
    lar_status s = cli_read_text(&in, !cli_is_on(a, "raw"), e);
    if (words)
        lar_buf_printf(out, in.n ? "%s\n\n" : "%s", words);
    lar_buf_add(out, in.p, in.n);
    lar_buf_free(&in);
    if (s == LAR_OK && out->oom)
        s = lar_fail(e, LAR_ENOMEM, "out of memory");
    return s;
}

/* A file that is there and cannot be used is somebody's: it will not be overwritten. One that
 * cannot be written is an error before the answer, not after. */
static lar_status load_cache(cli_args *a, cli_client *c, lar_err *e)
{
    const char *file = cli_get(a, "cache");
    lar_file *f = NULL;
    lar_status s = file ? lar_session_load(c->s, file, e) : LAR_OK;
    if (file && (s == LAR_OK || s == LAR_ENOTFOUND)) {
        s = lar_file_create(file, &f, e);
        lar_file_abort(f);
    }
    if (s == LAR_OK)
        return LAR_OK;
    if (s == LAR_EARG) /* the file, not the command line, is wrong */
        e->code = s = LAR_EFORMAT;
    return lar_fail_in(e, s, "--cache");
}

static lar_status ask(cli_args *a, cli_client *c, const lar_buf *prompt, cli_answer *w, lar_err *e)
{
    lar_request *r = NULL;
    lar_status s = lar_request_new(c->rt, a->verb->task, &r, e);
    if (s == LAR_OK)
        s = lar_request_set_session(r, c->s, e);
    if (s == LAR_OK)
        s = cli_settings_apply(c, r, !cli_get(a, "messages"), e);
    if (s == LAR_OK)
        s = cli_args_apply(a, r, "prompt", e);
    if (s == LAR_OK && prompt->n)
        s = lar_request_set_bytes(r, "prompt", prompt->p, prompt->n, e);
    if (s == LAR_OK)
        s = cli_run_request(r, cli_answer_event, w, e);
    lar_request_free(r);
    return s;
}

static int answer(cli_args *a, const char *model, const lar_buf *prompt)
{
    bool json = cli_is_on(a, "json");
    bool thinking = cli_get(a, "show-thinking") ? cli_is_on(a, "show-thinking") : a->ui.tty_out;
    cli_client c = {0};
    cli_answer w = {0};
    lar_err e = {0};
    int code = CLI_OK;
    lar_status s = cli_client_open(a, &c, model, CLI_NEED_SESSION, &e);
    if (s == LAR_OK) {
        s = load_cache(a, &c, &e);
    }
    if (s == LAR_OK) {
        cli_answer_begin(&w, a, !json, thinking);
        s = ask(a, &c, prompt, &w, &e);
        cli_answer_end(&w);
    }
    if (s == LAR_OK && cli_get(a, "cache"))
        s = lar_session_save(c.s, cli_get(a, "cache"), &e);
    if (s != LAR_OK) {
        code = cli_report(a, &e);
        if (s == LAR_ENOTFOUND && !c.path && !cli_get(a, "model") && a->n_words > 1)
            cli_hint(&a->ui, "if these words are the prompt, quote them: lar run \"%.100s\"",
                     cli_words(a, 0));
    } else if (json)
        code = cli_print_json(&a->ui, w.result);
    else if (a->ui.tty_out && a->ui.tty_err && !cli_is_on(a, "quiet"))
        cli_answer_stats(&w, stderr);
    if (s == LAR_OK)
        cli_prefix_keep(&c, w.result);
    cli_answer_free(&w);
    cli_client_close(&c);
    return code;
}

static int run(cli_args *a)
{
    const char *model;
    size_t first = split_words(a, &model);
    lar_buf prompt = {0};
    lar_err e = {0};
    int code;
    if (read_prompt(a, first, &prompt, &e) != LAR_OK)
        code = cli_report(a, &e);
    else if (prompt.n == 0 && !cli_get(a, "messages") && !cli_is_on(a, "raw"))
        code = usage(a, "no prompt: give one as an argument, with -p, or on standard input");
    else
        code = answer(a, model, &prompt);
    lar_buf_free(&prompt);
    return code;
}

static const cli_flag own[] = {
    {.name = "cache",
     .type = CLI_STRING,
     .unit = "FILE",
     .help = "keep the evaluated prompt in FILE and start from it"},
    {.name = "prefix-cache",
     .type = CLI_BOOL,
     .def_on = true,
     .help = "keep what was computed of long prompts for later runs (see lar cache)"},
    {.name = "show-thinking",
     .type = CLI_BOOL,
     .help = "print reasoning too (the default on a terminal; --no-show-thinking)"},
    {.name = "quiet", .letter = 'q', .type = CLI_BOOL, .help = "no figures after the answer"},
};

const cli_verb cli_verb_run = {
    .name = "run",
    .task = "generate",
    .usage = "lar run [MODEL] PROMPT... [FLAGS]",
    .help = "answer one prompt",
    .groups = CLI_G_MODEL | CLI_G_SESSION | CLI_G_RUNTIME | CLI_G_JSON | CLI_G_DRAFT,
    .own = own,
    .n_own = LAR_LEN(own),
    .words = -1,
    .hidden = "ids",
    .run = run,
    .more = "Piped input is the prompt; with a PROMPT argument it comes after that. With --prompt, "
            "standard input is not read.\n"
            "Examples:\n"
            "  lar run \"Why is the sky dark at night?\"\n"
            "  lar run -m model.gguf -p \"Once upon a time\" --raw -n 50\n"
            "  cat letter.txt | lar run \"Summarise this:\" --temp 0"};
