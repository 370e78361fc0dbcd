/* verb_list.c - lar list: the models that have a name. Depends on client.c, table.c. */
#include "app/app.h"

static void add_sources(const json_t *m, lar_buf *b)
{
    const json_t *all = json_object_get(m, "sources");
    lar_buf_clear(b);
    if (json_is_string(json_array_get(all, 0)))
        lar_buf_puts(b, json_string_value(json_array_get(all, 0)));
    if (json_array_size(all) > 1)
        lar_buf_printf(b, " and %zu more", json_array_size(all) - 1);
}

static void as_table(const cli_args *a, const json_t *models)
{
    static const char *const heads[] = {"NAME", ">SIZE", "QUANT", "ARCH", "SHA256", "", "SOURCE"};
    char text[32];
    size_t i;
    json_t *m;
    lar_buf source = {0};
    cli_table t;
    cli_table_begin(&t, LAR_LEN(heads), heads);
    json_array_foreach(models, i, m)
    {
        cli_table_add(&t, cli_str(m, "name", ""));
        cli_table_add(&t, cli_bytes(cli_num(m, "bytes", 0), text, sizeof text));
        cli_table_add(&t, cli_str(m, "quantization", "-"));
        cli_table_add(&t, cli_str(m, "architecture", "-"));
        snprintf(text, sizeof text, "%.12s", cli_str(m, "sha256", "-"));
        cli_table_add(&t, text);
        cli_table_add(&t, json_is_true(json_object_get(m, "default")) ? "default" : "");
        add_sources(m, &source);
        cli_table_add(&t, source.p && !source.oom ? source.p : "");
    }
    cli_table_print(&a->ui, &t, a->ui.tty_out ? cli_width(stdout) : 1000);
    cli_table_free(&t);
    lar_buf_free(&source);
}

static void print(const cli_args *a, const json_t *r)
{
    const json_t *models = json_object_get(r, "models");
    for (size_t i = 0; cli_is_on(a, "names") && i < json_array_size(models); i++)
        printf("%s\n", cli_str(json_array_get(models, i), "name", ""));
    if (cli_is_on(a, "names"))
        return;
    if (json_array_size(models))
        as_table(a, models);
    else
        cli_hint(&a->ui, "no models in %s; `lar pull` fetches one", cli_str(r, "directory", "?"));
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    lar_status s = cli_prepare(a, &c, CLI_NEED_RUNTIME, NULL, NULL, &r, &e);
    return cli_show_result(a, &c, r, s, &e, print);
}

static const cli_flag own[] = {
    {.name = "names", .type = CLI_BOOL, .help = "names only, one a line"},
};

const cli_verb cli_verb_list = {.name = "list",
                                .task = "list",
                                .usage = "lar list [--json]",
                                .help = "list the models that have a name",
                                .groups = CLI_G_JSON,
                                .own = own,
                                .n_own = LAR_LEN(own),
                                .run = run};
