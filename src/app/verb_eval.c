/* verb_eval.c - lar eval: which description, one request, its figures. */
#include "app/app.h"
#include "base/os.h"
#include <string.h>

/* ---- descriptions: a file, or the name of one that is shipped ------------------------------- */

/* Where they may lie, seen from the program: beside it (the source tree), two folders up (a build
 * folder), as installed. */
static const char *const places[] = {"share/evals", "../../share/evals", "../share/lar/evals"};

static bool is_file(const char *path)
{
    lar_file_id id;
    return lar_file_identify(path, &id, NULL) == LAR_OK;
}

/* The i'th folder; NULL past the end, or where the program's own path is not known. */
static char *folder(size_t i)
{
    const char *env = lar_getenv("LAR_EVALS");
    if (env && *env)
        return i ? NULL : lar_strdup(env);
    if (i >= LAR_LEN(places))
        return NULL;
    char *exe = lar_exe_path();
    size_t n = exe ? strlen(exe) : 0;
    lar_buf b = {0};
    while (n && exe[n - 1] != '/' && exe[n - 1] != '\\')
        n--;
    lar_buf_add(&b, exe ? exe : "", n);
    lar_buf_puts(&b, places[i]);
    const bool known = exe != NULL;
    lar_free(exe);
    char *path = known ? lar_buf_take(&b) : NULL;
    lar_buf_free(&b);
    return path;
}

static lar_status find_task(const char *name, char **out, lar_err *e)
{
    *out = NULL;
    if (is_file(name)) {
        *out = lar_strdup(name);
        return *out ? LAR_OK : lar_fail(e, LAR_ENOMEM, "out of memory");
    }
    char *dir;
    for (size_t i = 0; !strpbrk(name, "/\\") && (dir = folder(i)); i++) {
        lar_buf b = {0};
        lar_buf_printf(&b, "%s/%s.json", dir, name);
        lar_free(dir);
        if (b.p && !b.oom && is_file(b.p)) {
            *out = lar_buf_take(&b);
            return LAR_OK;
        }
        lar_buf_free(&b);
    }
    const char *env = lar_getenv("LAR_EVALS");
    if (env && *env)
        return lar_fail(e, LAR_ENOTFOUND,
                        "no task '%.80s': neither a file nor one in LAR_EVALS, which is %.200s",
                        name, env);
    return lar_fail(e, LAR_ENOTFOUND,
                    "no task '%.80s': neither a file nor one that is shipped (lar eval lists them; "
                    "LAR_EVALS names another folder)",
                    name);
}

typedef struct names {
    const char *dir;
    json_t *rows;
} names;

static void add_name(const char *file, const lar_file_id *id, void *user)
{
    names *l = user;
    const size_t n = strlen(file);
    lar_buf b = {0};
    (void)id;
    if (n < 6 || strcmp(file + n - 5, ".json") != 0)
        return;
    lar_buf_printf(&b, "%s/%s", l->dir, file);
    json_t *d = b.oom ? NULL : json_load_file(b.p, 0, NULL);
    const char *name = cli_str(d, "name", NULL);
    size_t at = 0;
    while (name && at < json_array_size(l->rows) &&
           strcmp(cli_str(json_array_get(l->rows, at), "task", ""), name) < 0)
        at++;
    if (name)
        json_array_insert_new(l->rows, at,
                              json_pack("{s:s,s:s,s:s}", "task", name, "metric",
                                        cli_str(d, "metric", "choice_loglik"), "title",
                                        cli_str(d, "title", "")));
    json_decref(d);
    lar_buf_free(&b);
}

static int list(cli_args *a)
{
    char *dir;
    names l = {NULL, json_array()};
    int code = CLI_OK;
    for (size_t i = 0; !json_array_size(l.rows) && (dir = folder(i)); i++) {
        l.dir = dir;
        lar_dir_each(dir, add_name, &l, NULL);
        lar_free(dir);
    }
    if (cli_is_on(a, "json"))
        code = cli_print_json(&a->ui, l.rows);
    else if (json_array_size(l.rows))
        cli_print_rows(&a->ui, l.rows);
    else
        cli_note(&a->ui, "no task descriptions are here; name a file, or the folder in LAR_EVALS");
    json_decref(l.rows);
    return code;
}

/* ---- the result
 * ---------------------------------------------------------------------------------- */

static void put_mean(cli_table *t, const json_t *m)
{
    char s[64];
    if (!json_is_object(m)) {
        cli_table_add(t, "");
        cli_table_add(t, "");
        return;
    }
    const json_t *ci = cli_at(m, "interval");
    snprintf(s, sizeof s, "%.2f %%", 100 * cli_num(m, "value", 0));
    cli_table_add(t, s);
    snprintf(s, sizeof s, "%.2f to %.2f", 100 * json_number_value(json_array_get(ci, 0)),
             100 * json_number_value(json_array_get(ci, 1)));
    cli_table_add(t, s);
}

static void print_metric(const cli_args *a, const json_t *r, const char *name, const json_t *metric)
{
    const char *heads[] = {name, ">items", ">value", ">95 %"};
    const json_t *subjects = cli_at(r, "subjects"), *s;
    char n[32];
    size_t i;
    cli_table t;
    cli_table_begin(&t, LAR_LEN(heads), heads);
    json_array_foreach(subjects, i, s)
    {
        if (json_array_size(subjects) < 2)
            break;
        cli_table_add(&t, cli_str(s, "name", ""));
        cli_table_add(&t, cli_count(cli_num(s, "items", 0), n, sizeof n));
        put_mean(&t, json_object_get(s, name));
    }
    static const char *const over[] = {"over_subjects", "over_items"};
    for (i = json_array_size(subjects) < 2; i < 2; i++) {
        cli_table_add(&t, i ? "mean of items" : "mean of subjects");
        cli_table_add(&t, cli_count(cli_num(metric, "items", 0), n, sizeof n));
        put_mean(&t, json_object_get(metric, over[i]));
    }
    cli_table_print(&a->ui, &t, a->ui.tty_out ? cli_width(stdout) : 1000);
    cli_table_free(&t);
    putchar('\n');
}

static void print(const cli_args *a, const json_t *r)
{
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(r, "metrics"), key, v)
    {
        print_metric(a, r, key, v);
    }
    json_object_foreach(json_object_get(r, "counts"), key, v)
    {
        char line[64];
        snprintf(line, sizeof line, "%s", key);
        for (char *p = line; *p; p++)
            *p = *p == '_' ? ' ' : *p;
        printf("%-24s %.10g\n", line, json_number_value(v));
    }
    printf("%-24s %s\n", "model sha256", cli_str(r, "settings.model_sha256", ""));
    printf("%-24s %s\n", "data sha256", cli_str(r, "settings.data_sha256", ""));
}

static lar_status set_names(const cli_args *a, lar_request *r, const char *task, lar_err *e)
{
    const char *j = cli_get(a, "judge");
    char *judge = NULL;
    LAR_TRY(lar_request_set_string(r, "task", task, e));
    if (!j)
        return LAR_OK;
    lar_status s = strstr(j, "://") ? LAR_OK : cli_model_path(j, &judge, e);
    if (s == LAR_OK)
        s = lar_request_set_string(r, "judge", judge ? judge : j, e);
    lar_free(judge);
    return s;
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    char *task = NULL;
    if (!a->n_words)
        return list(a);
    lar_status s = find_task(a->words[0], &task, &e);
    if (s == LAR_OK)
        s = cli_prepare(a, &c, CLI_NEED_SESSION, a->n_words > 1 ? a->words[1] : NULL, "judge", &r,
                        &e);
    if (s == LAR_OK)
        s = set_names(a, r, task, &e);
    lar_free(task);
    const int code = cli_show_result(a, &c, r, s, &e, print);
    if (code == CLI_INTERRUPTED && cli_get(a, "records"))
        cli_note(&a->ui, "stopped; the same command goes on from %s", cli_get(a, "records"));
    return code;
}

const cli_verb cli_verb_eval = {
    .name = "eval",
    .task = "eval",
    .usage = "lar eval TASK [MODEL] --data FILE.jsonl [FLAGS]",
    .help = "measure a model by a benchmark's items",
    .groups = CLI_G_MODEL | CLI_G_SESSION | CLI_G_RUNTIME | CLI_G_JSON,
    .words = 2,
    .hidden = "task",
    .run = run,
    .more =
        "TASK is a description (a JSON file) or the name of one that is shipped; without it they "
        "are listed. The data stays with its owners: docs/EVAL.md says where to find it.\n"
        "Example:\n"
        "  lar eval medmcqa model.gguf --data validation.jsonl --records run.jsonl --out "
        "score.json"};
