/* client.c - opening what a verb needs, running a request, Ctrl-C. Depends on lar.h. */
#include "app/app.h"
#include "base/os.h"
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

/* A handler has no argument: this is what Ctrl-C cancels. `inside` counts handlers at work on any
 * thread. */
static _Atomic(lar_request *) running;
static atomic_int inside, presses;
enum { PRESSES_TO_DIE = 3 };

static void on_interrupt(int sig)
{
    atomic_fetch_add(&inside, 1);
    lar_request *r = atomic_load(&running);
    if (r)
        lar_request_cancel(r);
    atomic_fetch_sub(&inside, 1);
    /* Somebody who presses it twice means one stop; who goes on pressing means the program. */
    signal(sig, atomic_fetch_add(&presses, 1) + 2 >= PRESSES_TO_DIE ? SIG_DFL : on_interrupt);
}

lar_status cli_run_request(lar_request *r, lar_event_fn *fn, void *user, lar_err *e)
{
    atomic_store(&presses, 0);
    atomic_store(&running, r);
    void (*before)(int) = signal(SIGINT, on_interrupt);
    lar_status s = lar_request_run(r, fn, user, e);
    atomic_store(&running, NULL);
    signal(SIGINT, before == SIG_ERR ? SIG_DFL : before);
    while (atomic_load(&inside))
        ;
    return s;
}

static void on_log(lar_log_level level, const char *line, void *user)
{
    const cli_ui *ui = user;
    if (level >= LAR_LOG_WARN)
        cli_note(ui, "%s", line);
}

static lar_status open_runtime(cli_args *a, cli_client *c, lar_err *e)
{
    lar_runtime_options o = {.size = sizeof o};
    const cli_flag *threads = cli_flag_find(a, "threads");
    if (threads && !threads->is_field) /* else a list that the task takes */
        o.threads = cli_get_int(a, "threads");
    o.cpu = cli_get(a, "cpu");
    o.log = on_log;
    o.log_user = &a->ui;
    const char *env = o.cpu ? NULL : lar_getenv("LAR_CPU");
    lar_status s = lar_runtime_new(&o, &c->rt, e);
    if (s != LAR_OK && s != LAR_ENOMEM && env && *env)
        lar_fail_in(e, s, "LAR_CPU");
    return s;
}

/* Fields that say what is asked, not how: no defaults. */
static const char not_settings[] = "prompt|messages|raw";

/* The task looks into these only when it runs; a wrong one would fail every run. */
static const char *shape_fault(const cli_flag *f, const json_t *v)
{
    const char *key;
    json_t *x;
    if (!f || f->type != CLI_JSON || json_is_null(v))
        return NULL;
    if (strcmp(f->name, "tools") == 0)
        return json_is_array(v) ? NULL : "want a list";
    if (!json_is_object(v))
        return "want an object";
    if (strcmp(f->name, "logit-bias") != 0)
        return NULL;
    json_object_foreach((json_t *)(uintptr_t)v, key, x)
    {
        if (!*key || key[strspn(key, "0123456789")] || !(json_is_number(x) || json_is_false(x)))
            return "want an object of token ids with numbers or false";
    }
    return NULL;
}

/* NULL when the field can be used as it is, else why not; `e` holds the text. */
static const char *setting_fault(const cli_args *a, cli_client *c, const char *key, json_t *v,
                                 lar_err *e)
{
    lar_request *r = NULL;
    lar_buf b = {0};
    if (cli_in_list(not_settings, key))
        return "it is no setting";
    const char *fault = shape_fault(cli_flag_find(a, key), v);
    if (fault)
        return fault;
    lar_status s = lar_request_new(c->rt, a->verb->task, &r, e);
    if (s == LAR_OK && !cli_dump(v, JSON_COMPACT, &b))
        s = lar_fail(e, LAR_ENOMEM, "out of memory");
    if (s == LAR_OK)
        s = lar_request_set_json(r, key, b.p, e);
    lar_request_free(r);
    lar_buf_free(&b);
    return s == LAR_OK ? NULL : e->msg;
}

/* Fields that cannot be used are named and dropped: the file beside a model never fails a run. */
static void check_settings(const cli_args *a, cli_client *c)
{
    const char *key;
    void *next;
    json_t *v;
    json_object_foreach_safe(c->settings, next, key, v)
    {
        lar_err e = {0};
        const char *fault = setting_fault(a, c, key, v, &e);
        if (fault) {
            cli_note(&a->ui, "%s: '%.60s' is not used: %s", c->settings_path, key, fault);
            json_object_del(c->settings, key);
        }
    }
}

/* Settings that suit a model lie beside it as MODEL.settings.json; ./start writes the default
 * model's. */
static void load_settings(const cli_args *a, cli_client *c)
{
    const size_t n = strlen(c->path);
    json_error_t err;
    lar_buf b = {0};
    if (!a->verb->task || strcmp(a->verb->task, "generate") != 0)
        return;
    if (n < 5 || strcmp(c->path + n - 5, ".gguf") != 0)
        return;
    lar_buf_add(&b, c->path, n - 5);
    lar_buf_puts(&b, ".settings.json");
    errno = 0;
    c->settings = b.oom ? NULL : json_load_file(b.p, JSON_REJECT_DUPLICATES, &err);
    const bool absent = !c->settings && errno == ENOENT;
    if (c->settings && json_is_object(c->settings)) {
        c->settings_path = lar_buf_take(&b);
        check_settings(a, c);
        return;
    }
    if (c->settings)
        cli_note(&a->ui, "%s is not used: not an object of settings", b.p);
    else if (!b.oom && !absent)
        cli_note(&a->ui, "%s is not used: line %d: %s", b.p, LAR_MAX(err.line, 1), err.text);
    json_decref(c->settings);
    c->settings = NULL;
    lar_buf_free(&b);
}

const json_t *cli_setting(const cli_client *c, const cli_flag *f)
{
    const char *key;
    json_t *v;
    json_object_foreach(c->settings, key, v)
    {
        if (cli_in_list(f->name, key) || cli_in_list(f->aliases, key))
            return v;
    }
    return NULL;
}

lar_status cli_settings_apply(const cli_client *c, lar_request *r, bool with_system, lar_err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach(c->settings, key, v)
    {
        lar_buf b = {0};
        lar_status s = LAR_OK;
        if (strcmp(key, "system") == 0 && !with_system)
            continue;
        if (!cli_dump(v, JSON_ENCODE_ANY | JSON_COMPACT, &b))
            s = lar_fail(e, LAR_ENOMEM, "out of memory");
        else if ((s = lar_request_set_json(r, key, b.p, e)) != LAR_OK)
            lar_fail_in(e, s, "%s", c->settings_path);
        lar_buf_free(&b);
        LAR_TRY(s);
    }
    return LAR_OK;
}

static lar_status open_draft(cli_args *a, cli_client *c, lar_err *e)
{
    char *path;
    const char *how = cli_get(a, "speculate");
    if (!cli_get(a, "draft"))
        return LAR_OK;
    if (how && strcmp(how, "auto") != 0 && strcmp(how, "draft") != 0)
        return lar_fail(e, LAR_EARG, "--draft: --speculate %s makes no use of a draft model", how);
    lar_status s = cli_model_path(cli_get(a, "draft"), &path, e);
    if (s != LAR_OK)
        return lar_fail_in(e, s, "--draft");
    s = lar_model_open(c->rt, path, NULL, &c->draft, e);
    lar_free(path);
    return s;
}

lar_status cli_client_open(cli_args *a, cli_client *c, const char *model, enum cli_need need,
                           lar_err *e)
{
    *c = (cli_client){0};
    if (need != CLI_NEED_RUNTIME)
        LAR_TRY(cli_model_path(model ? model : cli_get(a, "model"), &c->path, e));
    LAR_TRY(open_runtime(a, c, e));
    if (need == CLI_NEED_RUNTIME)
        return LAR_OK;
    lar_model_options mo = {.size = sizeof mo, .vocab_only = need == CLI_NEED_VOCAB};
    LAR_TRY(lar_model_open(c->rt, c->path, &mo, &c->m, e));
    if (need != CLI_NEED_SESSION)
        return LAR_OK;
    load_settings(a, c);
    lar_session_options so = {.size = sizeof so};
    so.ctx = cli_get_int(a, "ctx");
    so.batch = cli_get_int(a, "batch");
    so.kv_type = cli_get(a, "kv");
    LAR_TRY(open_draft(a, c, e));
    so.draft = c->draft;
    cli_prefix_options(a, c, &so);
    LAR_TRY(lar_session_new(c->m, &so, &c->s, e));
    cli_say_notices(a, c);
    return LAR_OK;
}

void cli_client_close(cli_client *c)
{
    lar_session_free(c->s);
    lar_model_free(c->m);
    lar_model_free(c->draft);
    lar_runtime_free(c->rt);
    lar_free(c->path);
    lar_free(c->prefix_dir);
    lar_free(c->settings_path);
    json_decref(c->settings);
    *c = (cli_client){0};
}

static void say_list(const cli_args *a, char *json)
{
    json_t *j = json ? json_loads(json, 0, NULL) : NULL, *v;
    size_t i;
    lar_string_free(json);
    json_array_foreach(json_object_get(j, "notices"), i, v)
        cli_note(&a->ui, "%s", json_is_string(v) ? json_string_value(v) : "");
    json_decref(j);
}

void cli_say_notices(const cli_args *a, const cli_client *c)
{
    say_list(a, lar_model_info(c->m, 0));
    if (c->s)
        say_list(a, lar_session_info(c->s));
}

int cli_report(const cli_args *a, const lar_err *e)
{
    if (e->code == LAR_ECANCELLED)
        return ferror(stdout) ? CLI_FAIL : CLI_INTERRUPTED; /* cli_flush says why */
    cli_error(&a->ui, "%s", e->msg[0] ? e->msg : lar_status_name(e->code));
    if (e->code == LAR_EFULL)
        cli_hint(&a->ui, "a larger context: --ctx N");
    if (e->code == LAR_EARG) {
        cli_hint(&a->ui, "lar help %s", a->verb->name);
        return CLI_USAGE;
    }
    return CLI_FAIL;
}

/* ---- one request, its result ------------------------------------------------------------------
 */

typedef struct result_sink {
    const cli_args *a;
    json_t *result;
    double drawn; /* when the bar was, or the request began */
    bool shown;
} result_sink;

static void wipe(result_sink *k)
{
    if (k->shown)
        fputs("\r\033[K", stderr);
    k->shown = false;
}

/* A bar of what is done, on a terminal, once somebody waits. */
static void draw(result_sink *k, double done, const char *text)
{
    enum { LINE_SECONDS = 5 };
    const double now = lar_clock();
    if (!k->a->ui.tty_err && (k->a->verb->groups & CLI_G_LINES) && !cli_is_on(k->a, "json") &&
        now - k->drawn >= LINE_SECONDS) {
        fprintf(stderr, "%s\n", text);
        k->drawn = now;
    }
    if (!k->a->ui.tty_err || now - k->drawn < (k->shown ? 0.1 : 0.5))
        return;
    const int width = cli_width(stderr), bar = LAR_MIN(24, width / 4);
    const int full = (int)(done * bar), room = width - bar - 4;
    fprintf(stderr, "\r\033[K%s[", cli_on(&k->a->ui, stderr, CLI_DIM));
    for (int i = 0; i < bar; i++)
        fputc(i < full ? '#' : '.', stderr);
    fprintf(stderr, "] %.*s%s", LAR_MAX(room, 0), text, cli_off(&k->a->ui, stderr));
    fflush(stderr);
    k->shown = true;
    k->drawn = now;
}

static int on_result(const lar_event *ev, void *user)
{
    result_sink *k = user;
    switch (lar_event_get_kind(ev)) {
    case LAR_EVENT_PROGRESS:
        draw(k, lar_event_get_number(ev), lar_event_get_text(ev, NULL));
        break;
    case LAR_EVENT_NOTICE:
        wipe(k);
        cli_note(&k->a->ui, "%s", lar_event_get_text(ev, NULL));
        break;
    case LAR_EVENT_RESULT:
        json_decref(k->result);
        k->result = json_loads(lar_event_get_json(ev), JSON_ALLOW_NUL, NULL);
        break;
    default:
        break;
    }
    return 0;
}

static lar_status run_for_result(cli_args *a, cli_client *c, lar_request *r, json_t **out,
                                 lar_err *e)
{
    result_sink k = {.a = a, .drawn = lar_clock()};
    lar_status s = LAR_OK;
    if (c->s)
        s = lar_request_set_session(r, c->s, e);
    else if (c->m)
        s = lar_request_set_model(r, c->m, e);
    if (s == LAR_OK)
        s = cli_run_request(r, on_result, &k, e);
    wipe(&k);
    if (s == LAR_OK && !k.result)
        s = lar_fail(e, LAR_EFORMAT, "task '%s' gave no result", a->verb->task);
    *out = k.result;
    return s;
}

lar_status cli_prepare(cli_args *a, cli_client *c, enum cli_need need, const char *model,
                       const char *except, lar_request **r, lar_err *e)
{
    LAR_TRY(cli_client_open(a, c, model, need, e));
    LAR_TRY(lar_request_new(c->rt, a->verb->task, r, e));
    return cli_args_apply(a, *r, except, e);
}

lar_status cli_give_text(const cli_args *a, lar_request *r, const char *file, lar_err *e)
{
    lar_buf in = {0};
    if (!file)
        file = cli_get(a, "file");
    const bool piped = file ? strcmp(file, "-") == 0 : !cli_get(a, "text") && !a->ui.tty_in;
    if (!piped)
        return file ? lar_request_set_string(r, "file", file, e) : LAR_OK;
    lar_status s = cli_read_stdin(&in, e);
    if (s == LAR_OK && !in.n)
        s = lar_fail(e, LAR_EARG, "no text: give a file with -f, or text on standard input");
    if (s == LAR_OK)
        s = lar_request_set_bytes(r, "text", in.p, in.n, e);
    lar_buf_free(&in);
    return s;
}

int cli_show_result(cli_args *a, cli_client *c, lar_request *r, lar_status s, lar_err *e,
                    void (*print)(const cli_args *a, const json_t *result))
{
    json_t *result = NULL;
    int code = CLI_OK;
    if (s == LAR_OK)
        s = run_for_result(a, c, r, &result, e);
    if (s != LAR_OK)
        code = cli_report(a, e);
    else if (cli_is_on(a, "json"))
        code = cli_print_json(&a->ui, result);
    else
        print(a, result);
    if (code == CLI_OK && cli_num(result, "bad", 0) > 0)
        code = CLI_FAIL; /* the result says of what */
    json_decref(result);
    lar_request_free(r);
    cli_client_close(c);
    return code;
}

json_t *cli_model_json(lar_model *m, bool full, lar_err *e)
{
    char *text = lar_model_info(m, full);
    json_t *j = text ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;
    lar_string_free(text);
    if (!j)
        lar_fail(e, LAR_ENOMEM, "out of memory for the model's description");
    return j;
}
