/* verb_list.c - lar list: the fetched models. Depends on model_path.c. */
#include "app/app.h"

static int as_json(cli_args *a, const cli_model_list *l)
{
    char *dir = cli_models_dir();
    json_t *arr = json_array(), *j = json_pack("{s:s?,s:o}", "directory", dir, "models", arr);
    for (size_t i = 0; i < l->n; i++)
        json_array_append_new(arr, json_pack("{s:s,s:s,s:I,s:b}", "name", l->p[i].name, "file",
                                             l->p[i].path, "bytes", (json_int_t)l->p[i].size,
                                             "default", (int)l->p[i].is_default));
    int code = cli_print_json(&a->ui, j);
    json_decref(j);
    lar_free(dir);
    return code;
}

static void as_table(cli_args *a, const cli_model_list *l)
{
    static const char *const heads[] = {"NAME", ">SIZE", ""};
    char size[32], *dir = cli_models_dir();
    cli_table t;
    cli_table_begin(&t, LAR_LEN(heads), heads);
    for (size_t i = 0; i < l->n; i++) {
        cli_table_add(&t, l->p[i].name);
        cli_table_add(&t, cli_bytes(l->p[i].size, size, sizeof size));
        cli_table_add(&t, l->p[i].is_default ? "default" : "");
    }
    if (l->n)
        cli_table_print(&a->ui, &t, a->ui.tty_out ? cli_width(stdout) : 1000);
    cli_table_free(&t);
    if (l->n == 0)
        cli_hint(&a->ui, "no models in %s; ./start fetches the default one",
                 dir ? dir : "no folder");
    lar_free(dir);
}

static int run(cli_args *a)
{
    cli_model_list l;
    lar_err e = {0};
    int code = CLI_OK;
    if (cli_models_list(&l, &e) != LAR_OK)
        return cli_report(a, &e);
    if (cli_is_on(a, "json"))
        code = as_json(a, &l);
    else if (cli_is_on(a, "names"))
        for (size_t i = 0; i < l.n; i++)
            printf("%s\n", l.p[i].name);
    else
        as_table(a, &l);
    cli_models_free(&l);
    return code;
}

static const cli_flag own[] = {
    {.name = "names", .type = CLI_BOOL, .help = "names only, one a line"},
};

const cli_verb cli_verb_list = {.name = "list",
                                .usage = "lar list [--json]",
                                .help = "list the fetched models",
                                .groups = CLI_G_JSON,
                                .own = own,
                                .n_own = LAR_LEN(own),
                                .run = run};
