/* model_path.c - which file a name means, by the task `list`, and where the command keeps its own
 * files. Depends on lar.h. */
#include "app/app.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char *path_join(const char *a, const char *b)
{
    lar_buf p = {0};
    lar_buf_printf(&p, "%s/%s", a, b);
    return p.oom ? (lar_buf_free(&p), NULL) : lar_buf_take(&p);
}

/* $var/rest, or $HOME/home_rest. Relative values are no use and are ignored, as the XDG rules say.
 */
static char *xdg_path(const char *var, const char *home_rest, const char *rest)
{
#ifdef _WIN32
    (void)var;
    (void)home_rest;
    const char *base = getenv("LOCALAPPDATA");
    return base && *base ? path_join(base, rest) : NULL;
#else
    const char *base = getenv(var), *home = getenv("HOME");
    if (base && *base == '/')
        return path_join(base, rest);
    if (!home || !*home)
        return NULL;
    char *dir = path_join(home, home_rest);
    char *p = dir ? path_join(dir, rest) : NULL;
    lar_free(dir);
    return p;
#endif
}

char *cli_models_dir(void)
{
    const char *own = getenv("LAR_MODELS");
    return own && *own ? lar_strdup(own) : xdg_path("XDG_DATA_HOME", ".local/share", "lar/models");
}

char *cli_state_file(const char *name)
{
    char *dir = xdg_path("XDG_STATE_HOME", ".local/state", "lar");
    char *p = dir ? path_join(dir, name) : NULL;
    lar_free(dir);
    return p;
}

char *cli_cache_dir(const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "lar/%s", name);
    return xdg_path("XDG_CACHE_HOME", ".cache", path);
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && (st.st_mode & S_IFMT) == S_IFREG;
}

static bool same_letters(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        char x = *a >= 'A' && *a <= 'Z' ? (char)(*a + 32) : *a;
        char y = *b >= 'A' && *b <= 'Z' ? (char)(*b + 32) : *b;
        if (x != y)
            return false;
    }
    return *a == *b;
}

static bool add_entry(cli_model_list *l, const json_t *m)
{
    char *name = lar_strdup(cli_str(m, "name", "")), *path = lar_strdup(cli_str(m, "file", ""));
    if (!name || !path || !lar_grow((void **)&l->p, &l->cap, l->n + 1, sizeof *l->p)) {
        lar_free(name);
        lar_free(path);
        return false;
    }
    l->p[l->n++] = (cli_model_entry){name, path, json_is_true(json_object_get(m, "default"))};
    return true;
}

static int on_list(const lar_event *ev, void *user)
{
    if (lar_event_get_kind(ev) == LAR_EVENT_RESULT)
        *(json_t **)user = json_loads(lar_event_get_json(ev), 0, NULL);
    return 0;
}

lar_status cli_models_list(cli_model_list *out, lar_err *e)
{
    lar_runtime *rt = NULL;
    lar_request *r = NULL;
    json_t *j = NULL, *m;
    size_t i;
    const lar_runtime_options o = {.size = sizeof o, .threads = 1, .cpu = "generic"};
    *out = (cli_model_list){0};
    lar_status s = lar_runtime_new(&o, &rt, e);
    if (s == LAR_OK)
        s = lar_request_new(rt, "list", &r, e);
    if (s == LAR_OK)
        s = lar_request_run(r, on_list, &j, e);
    json_array_foreach(json_object_get(j, "models"), i, m)
    {
        if (s == LAR_OK && !add_entry(out, m))
            s = lar_fail(e, LAR_ENOMEM, "out of memory");
    }
    json_decref(j);
    lar_request_free(r);
    lar_runtime_free(rt);
    if (s == LAR_ENOTFOUND)
        return LAR_OK; /* no home, no models */
    if (s != LAR_OK)
        cli_models_free(out);
    return s;
}

void cli_models_free(cli_model_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        lar_free(l->p[i].name);
        lar_free(l->p[i].path);
    }
    lar_free(l->p);
    *l = (cli_model_list){0};
}

/* The one of that name; "NAME.gguf" is accepted too. */
static const cli_model_entry *find(const cli_model_list *l, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < l->n; i++) {
        const char *file = strrchr(l->p[i].path, '/') + 1;
        if (same_letters(l->p[i].name, name) || (n > 5 && same_letters(file, name)))
            return &l->p[i];
    }
    return NULL;
}

/* The name that was probably meant: few edits, or the only one that begins so. */
static const char *nearest(const cli_model_list *l, const char *name)
{
    size_t best = cli_reach(name), n = strlen(name), starts = 0;
    const char *found = NULL, *start = NULL;
    for (size_t i = 0; i < l->n; i++) {
        size_t d = cli_distance(l->p[i].name, name);
        if (d < best) {
            best = d;
            found = l->p[i].name;
        }
        char head[128];
        snprintf(head, sizeof head, "%.*s", (int)LAR_MIN(n, sizeof head - 1), l->p[i].name);
        if (n >= 3 && same_letters(head, name)) {
            starts++;
            start = l->p[i].name;
        }
    }
    return found ? found : starts == 1 ? start : NULL;
}

static bool is_path(const char *word)
{
    size_t n = strlen(word);
    return strchr(word, '/') || (n > 5 && same_letters(word + n - 5, ".gguf"))
#ifdef _WIN32
           || strchr(word, '\\')
#endif
        ;
}

bool cli_model_is(const char *word)
{
    const size_t n = strlen(word);
    cli_model_list l;
    if (is_file(word) || (n > 5 && same_letters(word + n - 5, ".gguf")))
        return true;
    if (cli_models_list(&l, NULL) != LAR_OK)
        return false;
    const bool yes = find(&l, word) != NULL;
    cli_models_free(&l);
    return yes;
}

bool cli_model_looks_like(const char *word)
{
    if (strpbrk(word, " \t\n?!"))
        return is_file(word);
    if (is_file(word) || is_path(word))
        return true;
    cli_model_list l;
    if (cli_models_list(&l, NULL) != LAR_OK)
        return false;
    bool yes = find(&l, word) || nearest(&l, word);
    cli_models_free(&l);
    return yes;
}

static lar_status no_default(const cli_model_list *l, lar_err *e)
{
    if (l->n == 0)
        return lar_fail(e, LAR_ENOTFOUND,
                        "no model is given and none is fetched; give a GGUF file with -m FILE, or "
                        "fetch one with `lar pull`");
    return lar_fail(e, LAR_ENOTFOUND,
                    "no model is given and none of the %zu fetched is the default; see `lar list`",
                    l->n);
}

lar_status cli_model_path(const char *name, char **path, lar_err *e)
{
    *path = NULL;
    if (name && is_file(name)) {
        *path = lar_strdup(name);
        return *path ? LAR_OK : lar_fail(e, LAR_ENOMEM, "out of memory");
    }
    cli_model_list l;
    LAR_TRY(cli_models_list(&l, e));
    const cli_model_entry *m = name ? find(&l, name) : NULL;
    for (size_t i = 0; !name && i < l.n; i++)
        if (l.p[i].is_default)
            m = &l.p[i];
    lar_status s = LAR_OK;
    struct stat st;
    if (m) {
        *path = lar_strdup(m->path);
        s = *path ? LAR_OK : lar_fail(e, LAR_ENOMEM, "out of memory");
    } else if (!name) {
        s = no_default(&l, e);
    } else if (stat(name, &st) == 0) {
        s = S_ISDIR(st.st_mode)
                ? lar_fail(
                      e, LAR_ENOTFOUND,
                      "%s: a folder, want a GGUF file (lar convert makes one of a Hugging Face "
                      "folder)",
                      name)
                : lar_fail(e, LAR_ENOTFOUND, "%s: is not a file", name);
    } else if (is_path(name)) {
        s = lar_fail(e, LAR_ENOTFOUND, "%s: %s", name, strerror(errno));
    } else {
        const char *near = nearest(&l, name);
        char *dir = cli_models_dir();
        s = near
                ? lar_fail(e, LAR_ENOTFOUND, "no model '%.100s'; did you mean '%s'?", name, near)
                : lar_fail(e, LAR_ENOTFOUND, "no file and no fetched model '%.100s' (looked in %s)",
                           name, dir ? dir : "no folder");
        lar_free(dir);
    }
    cli_models_free(&l);
    return s;
}
