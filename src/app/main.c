/* main.c - the `lar` command: the table of verbs. Depends on the verb_*.c files. */
#include "app/app.h"
#include <locale.h>
#include <string.h>

extern const cli_verb cli_verb_chat, cli_verb_run, cli_verb_list, cli_verb_show, cli_verb_tokenize,
    cli_verb_template, cli_verb_logits, cli_verb_bench, cli_verb_doctor, cli_verb_cache,
    cli_verb_convert, cli_verb_pull, cli_verb_rm, cli_verb_verify, cli_verb_perplexity,
    cli_verb_quantize, cli_verb_imatrix, cli_verb_eval, cli_verb_embed, cli_verb_translate,
    cli_verb_serve;

static int run_help(cli_args *a);
static int run_version(cli_args *a);

static const cli_verb verb_completion = {
    .name = "completion",
    .usage = "lar completion bash|zsh|fish",
    .help = "print a completion script for a shell",
    .words = 1,
    .run = cli_verb_completion,
    .more = "To use it now and later:\n"
            "  bash: lar completion bash > ~/.local/share/bash-completion/completions/lar\n"
            "  zsh:  lar completion zsh > ~/.zfunc/_lar     (with ~/.zfunc in fpath)\n"
            "  fish: lar completion fish > ~/.config/fish/completions/lar.fish"};
static const cli_verb verb_help = {.name = "help",
                                   .usage = "lar help [VERB]",
                                   .help = "show all verbs, or the flags of one",
                                   .words = 1,
                                   .run = run_help};
static const cli_verb verb_version = {.name = "version",
                                      .usage = "lar version [--json]",
                                      .groups = CLI_G_JSON,
                                      .help = "print the version",
                                      .run = run_version};

const cli_verb *const cli_verbs[] = {
    &cli_verb_chat,     &cli_verb_run,        &cli_verb_list,   &cli_verb_show,
    &cli_verb_tokenize, &cli_verb_template,   &cli_verb_logits, &cli_verb_embed,
#ifdef LAR_SERVE
    &cli_verb_serve,
#endif
    &cli_verb_bench,    &cli_verb_doctor,     &cli_verb_cache,  &cli_verb_convert,
    &cli_verb_pull,     &cli_verb_rm,         &cli_verb_verify, &cli_verb_quantize,
    &cli_verb_imatrix,  &cli_verb_perplexity, &cli_verb_eval,   &cli_verb_translate,
    &verb_completion,   &verb_help,           &verb_version,
};
const size_t cli_n_verbs = LAR_LEN(cli_verbs);

const cli_verb *cli_verb_find(const char *name)
{
    for (size_t i = 0; i < cli_n_verbs; i++)
        if (strcmp(cli_verbs[i]->name, name) == 0)
            return cli_verbs[i];
    return NULL;
}

static int unknown_verb(const cli_ui *ui, const char *name)
{
    const char *near = NULL;
    size_t best = cli_reach(name);
    for (size_t i = 0; i < cli_n_verbs; i++) {
        size_t d = cli_distance(cli_verbs[i]->name, name);
        if (d < best) {
            best = d;
            near = cli_verbs[i]->name;
        }
    }
    if (near)
        cli_error(ui, "unknown verb '%.80s'; did you mean '%s'?", name, near);
    else
        cli_error(ui, "unknown verb '%.80s'", name);
    cli_hint(ui, near ? "lar help %s" : "lar help%s", near ? near : "");
    return CLI_USAGE;
}

static int help_of(const cli_ui *ui, const char *name)
{
    const cli_verb *v = cli_verb_find(name);
    if (!v)
        return unknown_verb(ui, name);
    cli_args a = {.ui = *ui};
    lar_err e = {0};
    int code = cli_args_load(&a, v, &e) == LAR_OK ? cli_help_verb(&a) : cli_report(&a, &e);
    cli_args_free(&a);
    return code;
}

static int run_help(cli_args *a)
{
    if (a->n_words)
        return help_of(&a->ui, a->words[0]);
    cli_help_all(&a->ui);
    return CLI_OK;
}

static int run_version(cli_args *a)
{
    if (!cli_is_on(a, "json")) {
        printf("lar %s\n", lar_version());
        return CLI_OK;
    }
    json_t *j = json_pack("{s:s,s:i}", "version", lar_version(), "abi", lar_abi());
    int code = cli_print_json(&a->ui, j);
    json_decref(j);
    return code;
}

/* A verb's one word is its MODEL, where it has one: not both that and -m. */
static lar_status check_words(const cli_args *a, lar_err *e)
{
    int most = a->verb->words;
    if (most > 0 && (a->verb->groups & CLI_G_MODEL) && cli_get(a, "model"))
        most--;
    if (most < 0 || a->n_words <= (size_t)most)
        return LAR_OK;
    return lar_fail(e, LAR_EARG, "'%.60s' is one argument too many: %s", a->words[most],
                    a->verb->usage);
}

static int run_verb(cli_args *a, const cli_verb *v, int argc, char **argv)
{
    lar_err e = {0};
    lar_status s = cli_args_load(a, v, &e);
    if (s == LAR_OK)
        s = cli_args_parse(a, argc, argv, &e);
    /* `lar run --bad --help` wants help more than the error */
    if (s == LAR_OK && a->want_help)
        return cli_help_verb(a);
    if (s == LAR_OK)
        s = check_words(a, &e);
    return s == LAR_OK ? v->run(a) : cli_report(a, &e);
}

static int dispatch(const cli_ui *ui, int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : NULL;
    if (!verb) {
        cli_help_all(ui);
        return CLI_OK;
    }
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)
        verb = "help";
    if (strcmp(verb, "--version") == 0 || strcmp(verb, "-V") == 0)
        verb = "version";
    const cli_verb *v = cli_verb_find(verb);
    if (!v && verb[0] == '-') {
        cli_error(ui, "unknown flag '%.80s'; the verb comes first: lar VERB [FLAGS]", verb);
        cli_hint(ui, "lar help");
        return CLI_USAGE;
    }
    if (!v)
        return unknown_verb(ui, verb);
    cli_args a = {.ui = *ui};
    int code = run_verb(&a, v, argc - 2, argv + 2);
    cli_args_free(&a);
    return code;
}

int main(int argc, char **argv)
{
    cli_ui ui;
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1)
        if (!setlocale(LC_CTYPE, "C.UTF-8")) /* all text here is UTF-8 */
            setlocale(LC_CTYPE, "en_US.UTF-8");
    cli_console_init();
    argv = cli_utf8_argv(&argc, argv);
    cli_ui_init(&ui);
    return cli_flush(&ui, dispatch(&ui, argc, argv));
}
