/* verb_serve.c - lar serve: its flags, and what the server logs. Depends on serve/serve.h. */
#include "app/app.h"
#include "serve/serve.h"
#include <stdlib.h>
#include <string.h>

static void on_line(void *user, const char *line)
{
    (void)user;
    fprintf(stderr, "%s\n", line);
}

/* Fetched models, as they are when somebody asks. */
static void more_models(void *user, void (*add)(void *arg, const char *name, const char *path),
                        void *arg)
{
    cli_model_list l;
    (void)user;
    if (cli_models_list(&l, NULL) != LAR_OK)
        return;
    for (size_t i = 0; i < l.n; i++)
        add(arg, l.p[i].name, l.p[i].path);
    cli_models_free(&l);
}

/* The name without folder and ending. */
static char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t n = strlen(name);
    return lar_strndup(name, n > 5 && strcmp(name + n - 5, ".gguf") == 0 ? n - 5 : n);
}

/* NAME=FILE, or a MODEL as everywhere. */
static lar_status one_model(const char *text, serve_name *out, lar_err *e)
{
    const char *eq = strchr(text, '=');
    char *path = NULL;
    if (eq && (eq == text || memchr(text, '/', (size_t)(eq - text))))
        eq = NULL;
    LAR_TRY(cli_model_path(eq ? eq + 1 : text, &path, e));
    out->path = path;
    out->name = eq ? lar_strndup(text, (size_t)(eq - text)) : name_of(path);
    return out->name ? LAR_OK : lar_fail(e, LAR_ENOMEM, "out of memory");
}

/* Those of -m, else the default one if there is one. */
static lar_status models(cli_args *a, serve_options *o, serve_name *out, lar_err *e)
{
    for (size_t i = 0; i < a->n_values; i++)
        if (strcmp(a->values[i].flag->name, "model") == 0)
            LAR_TRY(one_model(a->values[i].text, &out[o->n_models++], e));
    if (!o->n_models && a->n_words)
        LAR_TRY(one_model(a->words[0], &out[o->n_models++], e));
    if (!o->n_models) {
        char *path = NULL;
        if (cli_model_path(NULL, &path, NULL) == LAR_OK) {
            out[0].path = path;
            out[0].name = name_of(path);
            o->n_models = out[0].name != NULL;
        }
    }
    o->models = out;
    return LAR_OK;
}

static lar_status read_key(const char *path, char *out, size_t size, lar_err *e)
{
    FILE *f = fopen(path, "rb");
    const size_t n = f ? fread(out, 1, size - 1, f) : 0;
    if (f)
        fclose(f);
    out[n] = 0;
    out[strcspn(out, "\r\n")] = 0;
    return *out ? LAR_OK : lar_fail(e, LAR_EIO, "%s: no key can be read there", path);
}

static int run(cli_args *a)
{
    char key[512];
    const char *key_file = cli_get(a, "api-key-file"), *hosts[16];
    const char *memory = cli_get(a, "memory"), *keep = cli_get(a, "keep-alive"),
               *grace = cli_get(a, "grace");
    serve_name *names = lar_alloc_array(a->n_values + 1, sizeof *names);
    lar_err e = {0};
    serve_options o = {.address = cli_get(a, "host"),
                       .port = cli_get(a, "port") ? cli_get_int(a, "port") : 8420,
                       .api_key = getenv("LAR_API_KEY"),
                       .cors = cli_get(a, "cors"),
                       .hosts = hosts,
                       .more = more_models,
                       .parallel = cli_get_int(a, "parallel"),
                       .queue = cli_get_int(a, "queue"),
                       .connections = cli_get_int(a, "connections"),
                       .ctx = cli_get_int(a, "ctx"),
                       .kv_type = cli_get(a, "kv"),
                       .memory = memory ? strtoull(memory, NULL, 10) << 20 : 0,
                       .keep_alive = keep ? strtod(keep, NULL) : 0,
                       .grace = grace ? strtod(grace, NULL) : 0,
                       .max_body = (size_t)cli_get_int(a, "max-body") << 20,
                       .threads = cli_get_int(a, "threads"),
                       .cpu = cli_get(a, "cpu"),
                       .log_prompts = cli_is_on(a, "log-prompts"),
                       .log = on_line};
    for (size_t i = 0; i < a->n_values && o.n_hosts < LAR_LEN(hosts); i++)
        if (strcmp(a->values[i].flag->name, "host-name") == 0)
            hosts[o.n_hosts++] = a->values[i].text;
    lar_status s = names ? LAR_OK : lar_fail(&e, LAR_ENOMEM, "out of memory");
    if (s == LAR_OK)
        s = models(a, &o, names, &e);
    if (s == LAR_OK && key_file && (s = read_key(key_file, key, sizeof key, &e)) == LAR_OK)
        o.api_key = key;
    if (s == LAR_OK)
        s = lar_serve(&o, &e);
    for (size_t i = 0; names && i <= a->n_values; i++) {
        lar_free((char *)names[i].name);
        lar_free((char *)names[i].path);
    }
    lar_free(names);
    return s == LAR_OK ? CLI_OK : cli_report(a, &e);
}

#define INT(n, u, lo, hi, d, h)                                                                    \
    {                                                                                              \
        .name = n, .type = CLI_INT, .unit = u, .min = lo, .max = hi, .def = d, .help = h           \
    }
static const cli_flag own[] = {
    {.name = "model",
     .letter = 'm',
     .type = CLI_STRINGS,
     .unit = "[NAME=]MODEL",
     .help = "a model to offer (may be repeated); the first is taken where a request names none"},
    {.name = "host",
     .type = CLI_STRING,
     .unit = "ADDRESS",
     .def = "127.0.0.1",
     .help = "the address to listen at; one that others can reach wants a key"},
    INT("port", "N", 0, 65535, "8420", "0: any that is free"),
    {.name = "api-key-file",
     .type = CLI_STRING,
     .unit = "FILE",
     .help = "clients must send the key in FILE (or in LAR_API_KEY)"},
    {.name = "host-name",
     .type = CLI_STRINGS,
     .unit = "NAME",
     .help = "a further name that clients know this server by (may be repeated)"},
    {.name = "cors",
     .type = CLI_STRING,
     .unit = "ORIGIN",
     .help = "let pages of this origin ask; * is all"},
    INT("parallel", "N", 1, 512, "16", "answers of one model at once"),
    INT("queue", "N", 1, 65536, "64", "requests that may wait"),
    INT("connections", "N", 8, 60000, "1024", "connections at once"),
    INT("ctx", "N", 0, 1 << 30, "0",
        "tokens of an answer with its prompt; 0: the model's own, at most 4,096"),
    {.name = "kv",
     .type = CLI_STRING,
     .unit = "TYPE",
     .choices = "f32|f16|q8_0|q4_0",
     .def = "f16",
     .help = "how caches store keys and values"},
    INT("memory", "MIB", 1, 1 << 30, NULL,
        "for weights and caches (default: three quarters of what is free)"),
    INT("keep-alive", "SECONDS", 1, 1 << 30, "1800", "how long an idle model stays"),
    INT("grace", "SECONDS", 1, 86400, "10", "how long answers may go on after Ctrl-C"),
    INT("max-body", "MIB", 1, 1024, "16", "the largest request"),
    {.name = "log-prompts", .type = CLI_BOOL, .help = "log what is asked, too"},
};

const cli_verb cli_verb_serve = {
    .name = "serve",
    .usage = "lar serve [-m [NAME=]MODEL]... [FLAGS]",
    .help = "answer over HTTP",
    .groups = CLI_G_RUNTIME,
    .own = own,
    .n_own = LAR_LEN(own),
    .words = 1,
    .run = run,
    .more = "Programs that speak OpenAI's API use http://127.0.0.1:8420/v1 as their base URL.\n"
            "Examples:\n"
            "  lar serve -m model.gguf\n"
            "  LAR_API_KEY=secret lar serve --host 0.0.0.0 --host-name box.local"};
