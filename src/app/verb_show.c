/* verb_show.c - lar show: what a model file says of itself. Depends on table.c. */
#include "app/app.h"
#include <string.h>

enum { TEXT_SHOWN = 200 };

static void head(const cli_args *a, const char *s)
{
    printf("\n%s%s%s\n", cli_on(&a->ui, stdout, CLI_BOLD), s, cli_off(&a->ui, stdout));
}

static void pair(cli_table *t, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    cli_table_add(t, key);
    cli_table_add(t, value);
}

static const char *const pair_heads[] = {"", ""};

static int width_of(const cli_args *a)
{
    return a->ui.tty_out ? cli_width(stdout) : 1000;
}

/* A JSON value in one short line. */
static void value_text(const json_t *v, lar_buf *b)
{
    lar_buf_clear(b);
    if (json_is_object(v) && json_object_get(v, "count")) { /* a long array, cut by the library */
        lar_buf_printf(b, "%s[%.0f]", cli_str(v, "type", "?"), cli_num(v, "count", 0));
        v = json_object_get(v, "first");
        lar_buf_putc(b, ' ');
    }
    if (json_is_string(v))
        lar_buf_add(b, json_string_value(v), json_string_length(v));
    else if (json_is_real(v))
        lar_buf_printf(b, "%.9g", json_real_value(v));
    else
        cli_dump(v, JSON_COMPACT, b);
    for (size_t i = 0; i < b->n; i++)
        if (b->p[i] == '\n' || b->p[i] == '\t' || b->p[i] == '\r')
            b->p[i] = ' ';
    if (b->n > TEXT_SHOWN) {
        b->n = TEXT_SHOWN - lar_utf8_incomplete(b->p, TEXT_SHOWN);
        b->p[b->n] = 0;
        lar_buf_puts(b, "…");
    }
}

static void show_object(const cli_args *a, const json_t *o)
{
    const char *key;
    json_t *v;
    lar_buf b = {0};
    cli_table t;
    cli_table_begin(&t, 2, pair_heads);
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
    {
        value_text(v, &b);
        cli_table_add(&t, key);
        cli_table_add(&t, b.p && !b.oom ? b.p : "");
    }
    cli_table_print(&a->ui, &t, width_of(a));
    cli_table_free(&t);
    lar_buf_free(&b);
}

static void types_text(const json_t *types, lar_buf *b)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)types, key, v)
        lar_buf_printf(b, "%s%lld %s", b->n ? ", " : "", (long long)json_integer_value(v), key);
}

static void show_summary(const cli_args *a, const json_t *m)
{
    char n[64], bytes[64], line[200];
    lar_buf types = {0};
    cli_table t;
    cli_table_begin(&t, 2, pair_heads);
    const char *path = cli_str(m, "file", ""), *slash = strrchr(path, '/');
    pair(&t, "file", slash ? slash + 1 : path);
    if (slash) {
        snprintf(line, sizeof line, "%.*s", (int)LAR_MIN(slash - path, 180), path);
        pair(&t, "folder", line);
    }
    pair(&t, "name", cli_str(m, "name", NULL));
    pair(&t, "architecture", cli_str(m, "architecture", NULL));
    pair(&t, "license", cli_str(m, "license", NULL));
    pair(&t, "parameters", cli_count(cli_num(m, "parameters", 0), n, sizeof n));
    snprintf(line, sizeof line, "%s (%s bytes%s)",
             cli_bytes(cli_num(m, "bytes", 0), bytes, sizeof bytes),
             cli_count(cli_num(m, "bytes", 0), n, sizeof n),
             cli_num(m, "files", 1) > 1 ? ", in several files" : "");
    pair(&t, "size", line);
    types_text(cli_at(m, "tensors_by_type"), &types);
    pair(&t, "tensors", types.p);
    if (cli_num(m, "context_length", 0) > 0) {
        snprintf(line, sizeof line, "%s tokens",
                 cli_count(cli_num(m, "context_length", 0), n, sizeof n));
        pair(&t, "context", line);
    }
    if (cli_at(m, "tokenizer.model")) {
        const char *pre = cli_str(m, "tokenizer.pre", NULL);
        snprintf(line, sizeof line, "%s%s%s, %s tokens", cli_str(m, "tokenizer.model", "?"),
                 pre ? "/" : "", pre ? pre : "",
                 cli_count(cli_num(m, "tokenizer.size", 0), n, sizeof n));
        pair(&t, "tokenizer", line);
    }
    pair(&t, "template", json_is_true(cli_at(m, "has_template")) ? "yes" : "no");
    snprintf(line, sizeof line, "GGUF version %.0f", cli_num(m, "gguf_version", 0));
    pair(&t, "format", line);
    cli_table_print(&a->ui, &t, width_of(a));
    cli_table_free(&t);
    lar_buf_free(&types);
    for (size_t i = 0; i < 2; i++) {
        const char *bad = cli_str(m, i ? "template_error" : "tokenizer.error", NULL);
        if (bad)
            cli_note(&a->ui, "%s: %s", i ? "template" : "tokenizer", bad);
    }
}

static void show_memory(const cli_args *a, const json_t *m)
{
    static const char *const heads[] = {"cache", ">a token", ">2,048 tokens", ">whole context"};
    static const char *const cols[] = {"per_token", "ctx_2048", "ctx_max"};
    const char *key;
    const json_t *v;
    char bytes[64];
    head(a, "Memory");
    printf("weights %s, used where they lie in the file\n",
           cli_bytes(cli_num(m, "memory.weights", 0), bytes, sizeof bytes));
    json_t *kv = (json_t *)(uintptr_t)cli_at(m, "memory.kv");
    if (!json_is_object(kv))
        return;
    cli_table t;
    cli_table_begin(&t, LAR_LEN(heads), heads);
    for (void *it = json_object_iter(kv); it; it = json_object_iter_next(kv, it)) {
        key = json_object_iter_key(it);
        v = json_object_iter_value(it);
        cli_table_add(&t, key);
        for (size_t i = 0; i < LAR_LEN(cols); i++) {
            double x = cli_num(v, cols[i], 0);
            cli_table_add(&t, x > 0 ? cli_bytes(x, bytes, sizeof bytes) : "");
        }
    }
    cli_table_print(&a->ui, &t, width_of(a));
    cli_table_free(&t);
}

static void show_tensors(const cli_args *a, const json_t *list)
{
    static const char *const heads[] = {"tensor", "type", ">shape", ">size"};
    size_t i, k;
    json_t *v, *d;
    char bytes[64];
    cli_table t;
    cli_table_begin(&t, LAR_LEN(heads), heads);
    json_array_foreach(list, i, v)
    {
        lar_buf shape = {0};
        json_array_foreach(json_object_get(v, "shape"), k, d)
            lar_buf_printf(&shape, "%s%lld", k ? "x" : "", (long long)json_integer_value(d));
        cli_table_add(&t, cli_str(v, "name", ""));
        cli_table_add(&t, cli_str(v, "type", ""));
        cli_table_add(&t, shape.p && !shape.oom ? shape.p : "");
        cli_table_add(&t, cli_bytes(cli_num(v, "bytes", 0), bytes, sizeof bytes));
        lar_buf_free(&shape);
    }
    cli_table_print(&a->ui, &t, width_of(a));
    cli_table_free(&t);
}

static void show(const cli_args *a, const json_t *m)
{
    bool tensors = cli_is_on(a, "tensors"), metadata = cli_is_on(a, "metadata");
    if (!tensors && !metadata) {
        show_summary(a, m);
        head(a, "Hyper-parameters");
        show_object(a, cli_at(m, "hyper_parameters"));
        show_memory(a, m);
        printf("\n%s--metadata and --tensors list everything in the file%s\n",
               cli_on(&a->ui, stdout, CLI_DIM), cli_off(&a->ui, stdout));
    }
    if (metadata)
        show_object(a, json_object_get(m, "metadata"));
    if (tensors && metadata)
        putchar('\n');
    if (tensors)
        show_tensors(a, json_object_get(m, "tensors"));
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_err e = {0};
    json_t *m = NULL;
    const char *model = cli_get(a, "model") ? cli_get(a, "model") : a->n_words ? a->words[0] : NULL;
    int code = CLI_OK;
    if (cli_client_open(a, &c, model, CLI_NEED_VOCAB, &e) == LAR_OK) {
        bool full = cli_is_on(a, "tensors") || cli_is_on(a, "metadata") || cli_is_on(a, "json");
        m = cli_model_json(c.m, full, &e);
    }
    if (!m)
        code = cli_report(a, &e);
    else if (cli_is_on(a, "json"))
        code = cli_print_json(&a->ui, m);
    else
        show(a, m);
    json_decref(m);
    cli_client_close(&c);
    return code;
}

static const cli_flag own[] = {
    {.name = "tensors", .type = CLI_BOOL, .help = "list the tensors"},
    {.name = "metadata", .type = CLI_BOOL, .help = "list the metadata"},
};

const cli_verb cli_verb_show = {.name = "show",
                                .usage = "lar show [MODEL] [FLAGS]",
                                .help = "show what is in a model file and what memory it takes",
                                .groups = CLI_G_MODEL | CLI_G_JSON,
                                .own = own,
                                .n_own = LAR_LEN(own),
                                .words = 1,
                                .run = run};
