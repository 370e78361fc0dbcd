/* args.c - flags: a verb's are its task's fields (from lar_task_schema) and the command's own
 * tables. Depends on lar.h and jansson. */
#include "app/app.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cli_flag model_flags[] = {
    {.name = "model",
     .letter = 'm',
     .type = CLI_STRING,
     .unit = "MODEL",
     .help = "a GGUF file, or the name of a fetched model"},
};
static const cli_flag session_flags[] = {
    {.name = "ctx",
     .letter = 'c',
     .type = CLI_INT,
     .unit = "N",
     .min = 0,
     .max = 1 << 30,
     .aliases = "ctx-size",
     .help = "context in tokens; 0: the model's own, at most 4,096",
     .def = "0"},
    {.name = "batch",
     .letter = 'b',
     .type = CLI_INT,
     .unit = "N",
     .min = 0,
     .max = 1 << 20,
     .aliases = "batch-size",
     .help = "prompt tokens evaluated in one step; 0: 512",
     .def = "0"},
    {.name = "kv",
     .type = CLI_STRING,
     .unit = "TYPE",
     .choices = "f32|f16|q8_0|q4_0",
     .aliases = "kv-type|cache-type",
     .help = "how the cache stores keys and values",
     .def = "f16"},
};
static const cli_flag draft_flags[] = {
    {.name = "draft",
     .type = CLI_STRING,
     .unit = "MODEL",
     .aliases = "model-draft",
     .help = "a smaller model of the same vocabulary, whose guesses make this one faster"},
};
static const cli_flag runtime_flags[] = {
    {.name = "threads",
     .letter = 't',
     .type = CLI_INT,
     .unit = "N",
     .min = 0,
     .max = 1024,
     .help = "0: one per physical core",
     .def = "0"},
    {.name = "cpu",
     .type = CLI_STRING,
     .unit = "NAME",
     .help = "force a kernel variant, as LAR_CPU does; `lar doctor` lists them"},
};
static const cli_flag json_flags[] = {
    {.name = "json", .type = CLI_BOOL, .help = "print one JSON object"},
};
static const cli_flag common_flags[] = {
    {.name = "color",
     .type = CLI_STRING,
     .unit = "WHEN",
     .choices = "auto|always|never",
     .aliases = "colour",
     .help = "colours; auto: on a terminal, unless NO_COLOR is set",
     .def = "auto"},
    {.name = "help", .letter = 'h', .type = CLI_BOOL, .help = "show this help"},
};

/* ---- names
 * ------------------------------------------------------------------------------------------ */

static char fold(char c)
{
    return c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same(const char *a, size_t n, const char *b)
{
    size_t i = 0;
    for (; i < n && b[i]; i++)
        if ((a[i] == '_' ? '-' : a[i]) != (b[i] == '_' ? '-' : b[i]))
            return false;
    return i == n && !b[i];
}

bool cli_in_list(const char *list, const char *name)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, "|");
        if (same(p, n, name))
            return true;
        p += n + (p[n] == '|');
    }
    return false;
}

enum { NAME_CAP = 64 };

/* Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). */
size_t cli_distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b), rows[3][NAME_CAP + 1];
    if (na > NAME_CAP || nb > NAME_CAP)
        return NAME_CAP;
    for (size_t j = 0; j <= nb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        const size_t *up = rows[(i - 1) % 3], *up2 = rows[(i + 1) % 3];
        size_t *row = rows[i % 3];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            bool same_char = fold(a[i - 1]) == fold(b[j - 1]);
            row[j] = LAR_MIN(up[j - 1] + !same_char, LAR_MIN(up[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]))
                row[j] = LAR_MIN(row[j], up2[j - 2] + 1);
        }
    }
    return rows[na % 3][nb];
}

size_t cli_reach(const char *name)
{
    size_t n = strlen(name);
    return n < 4 ? 2 : LAR_MAX(n / 3, (size_t)2) + 1;
}

const char *cli_nearest_flag(const cli_args *a, const char *name)
{
    size_t best = cli_reach(name);
    const char *found = NULL;
    char alias[NAME_CAP];
    for (size_t i = 0; i < a->n_flags; i++) {
        size_t d = cli_distance(a->flags[i].name, name);
        for (const char *p = a->flags[i].aliases; p && *p;) {
            size_t n = strcspn(p, "|");
            snprintf(alias, sizeof alias, "%.*s", (int)LAR_MIN(n, sizeof alias - 1), p);
            d = LAR_MIN(d, cli_distance(alias, name));
            p += n + (p[n] == '|');
        }
        if (d < best) {
            best = d;
            found = a->flags[i].name;
        }
    }
    return found;
}

const cli_flag *cli_flag_find(const cli_args *a, const char *name)
{
    for (size_t i = 0; i < a->n_flags; i++)
        if (same(a->flags[i].name, strlen(a->flags[i].name), name))
            return &a->flags[i];
    for (size_t i = 0; i < a->n_flags; i++)
        if (cli_in_list(a->flags[i].aliases, name))
            return &a->flags[i];
    return NULL;
}

static const cli_flag *find_letter(const cli_args *a, char c)
{
    for (size_t i = 0; i < a->n_flags; i++)
        if (a->flags[i].letter && a->flags[i].letter == c)
            return &a->flags[i];
    return NULL;
}

/* ---- loading the tables
 * -------------------------------------------------------------------------------- */

static lar_status add_flag(cli_args *a, const cli_flag *f, lar_err *e)
{
    if (cli_flag_find(a, f->name))
        return LAR_OK; /* the command's own meaning wins */
    if (!lar_grow((void **)&a->flags, &a->cap_flags, a->n_flags + 1, sizeof *a->flags))
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    cli_flag *to = &a->flags[a->n_flags];
    *to = *f;
    if (f->letter && find_letter(a, f->letter))
        to->letter = 0;
    a->n_flags++;
    return LAR_OK;
}

static lar_status add_flags(cli_args *a, const cli_flag *f, size_t n, lar_err *e)
{
    for (size_t i = 0; i < n; i++)
        LAR_TRY(add_flag(a, &f[i], e));
    return LAR_OK;
}

static const char *keep(cli_args *a, const char *s)
{
    return s ? lar_arena_strdup(a->arena, s, strlen(s)) : NULL;
}

/* A JSON array of strings as "a|b|c"; NULL when empty. */
static const char *joined(cli_args *a, const json_t *arr)
{
    lar_buf b = {0};
    size_t i;
    json_t *v;
    json_array_foreach(arr, i, v)
    {
        if (b.n)
            lar_buf_putc(&b, '|');
        lar_buf_puts(&b, json_is_string(v) ? json_string_value(v) : "");
    }
    const char *s = b.n && !b.oom ? keep(a, b.p) : NULL;
    lar_buf_free(&b);
    return s;
}

static const char *shown_default(cli_args *a, const json_t *v)
{
    lar_buf b = {0};
    if (json_is_string(v)) {
        lar_buf_puts(&b, json_string_value(v));
    } else if (json_is_real(v)) {
        lar_buf_printf(&b, "%.6g", json_real_value(v));
    } else if (v && !json_is_null(v) && !json_is_boolean(v)) {
        cli_dump(v, JSON_COMPACT, &b);
    }
    const char *s = b.n && !b.oom ? keep(a, b.p) : NULL;
    lar_buf_free(&b);
    return s;
}

static lar_status add_field(cli_args *a, const json_t *j, lar_err *e)
{
    static const char *const types[] = {
        [CLI_STRING] = "string", [CLI_INT] = "int",         [CLI_NUMBER] = "number",
        [CLI_BOOL] = "bool",     [CLI_STRINGS] = "strings", [CLI_JSON] = "json",
        [CLI_BYTES] = "bytes",
    };
    const char *type = cli_str(j, "type", "string"), *name = cli_str(j, "name", NULL);
    cli_flag f = {.is_field = true, .name = keep(a, name)};
    if (!name || cli_in_list(a->verb->hidden, name))
        return LAR_OK;
    for (size_t i = 0; i < LAR_LEN(types); i++)
        if (strcmp(types[i], type) == 0)
            f.type = (cli_type)i;
    f.letter = cli_str(j, "letter", "")[0];
    f.unit = keep(a, cli_str(j, "unit", NULL));
    f.help = keep(a, cli_str(j, "help", ""));
    f.def = shown_default(a, json_object_get(j, "default"));
    f.def_on = json_is_true(json_object_get(j, "default"));
    f.choices = joined(a, json_object_get(j, "choices"));
    f.aliases = joined(a, json_object_get(j, "aliases"));
    if (json_is_number(json_object_get(j, "min")) && json_is_number(json_object_get(j, "max"))) {
        f.min = cli_num(j, "min", 0);
        f.max = cli_num(j, "max", 0);
    }
    if (!f.name)
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    return add_flag(a, &f, e);
}

static lar_status add_fields(cli_args *a, lar_err *e)
{
    char *text = lar_task_schema(a->verb->task);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL, *v;
    lar_string_free(text);
    if (!j)
        return lar_fail(e, LAR_ENOMEM, "task '%s': no schema", a->verb->task);
    size_t i;
    lar_status s = LAR_OK;
    json_array_foreach(json_object_get(j, "fields"), i, v)
    {
        if (s == LAR_OK)
            s = add_field(a, v, e);
    }
    json_decref(j);
    return s;
}

lar_status cli_args_load(cli_args *a, const cli_verb *v, lar_err *e)
{
    a->verb = v;
    if (!a->arena)
        a->arena = lar_arena_new();
    if (!a->arena)
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    if (v->groups & CLI_G_MODEL)
        LAR_TRY(add_flags(a, model_flags, LAR_LEN(model_flags), e));
    LAR_TRY(add_flags(a, v->own, v->n_own, e));
    if (v->groups & CLI_G_SESSION)
        LAR_TRY(add_flags(a, session_flags, LAR_LEN(session_flags), e));
    if (v->groups & CLI_G_DRAFT)
        LAR_TRY(add_flags(a, draft_flags, LAR_LEN(draft_flags), e));
    if (v->groups & CLI_G_RUNTIME)
        LAR_TRY(add_flags(a, runtime_flags, LAR_LEN(runtime_flags), e));
    if (v->groups & CLI_G_JSON)
        LAR_TRY(add_flags(a, json_flags, LAR_LEN(json_flags), e));
    LAR_TRY(add_flags(a, common_flags, LAR_LEN(common_flags), e));
    return v->task ? add_fields(a, e) : LAR_OK;
}

void cli_args_free(cli_args *a)
{
    lar_free(a->flags);
    lar_free(a->values);
    lar_free((void *)(uintptr_t)a->words);
    lar_arena_free(a->arena);
    a->flags = NULL;
    a->values = NULL;
    a->words = NULL;
    a->arena = NULL;
}

/* ---- values
 * ---------------------------------------------------------------------------------------------- */

static bool truth(const char *s, bool *out)
{
    *out = cli_in_list("true|1|yes|on", s);
    return *out || cli_in_list("false|0|no|off", s);
}

/* The choice that a word names, in whatever case, as the list spells it; "" without a match. */
static lar_str find_choice(const char *choices, const char *word)
{
    for (const char *p = choices; *p;) {
        const size_t n = strcspn(p, "|");
        if (strlen(word) == n && strncasecmp(p, word, n) == 0)
            return (lar_str){p, n};
        p += n + (p[n] == '|');
    }
    return (lar_str){"", 0};
}

lar_status cli_flag_check(const cli_flag *f, const char *text, lar_err *e)
{
    bool yes, bounds = f->min < f->max;
    char *end;
    if (f->type == CLI_BOOL && !truth(text, &yes))
        return lar_fail(e, LAR_EARG, "--%s: got '%.60s', want true or false", f->name, text);
    if (f->choices && !find_choice(f->choices, text).n) {
        char list[200];
        size_t k = 0;
        for (const char *p = f->choices; *p && k + 3 < sizeof list; p++) {
            if (*p == '|')
                list[k++] = ',';
            list[k++] = *p == '|' ? ' ' : *p;
        }
        list[k] = 0;
        return lar_fail(e, LAR_EARG, "--%s: got '%.60s', want one of %s", f->name, text, list);
    }
    if (f->type != CLI_INT && f->type != CLI_NUMBER)
        return LAR_OK;
    errno = 0;
    double v = strtod(text, &end);
    bool is_num = *text && !*end && strspn(text, "+-.0123456789eE") == strlen(text);
    if (f->type == CLI_INT && is_num && v != floor(v))
        is_num = false;
    const char *kind = f->type == CLI_INT ? "a whole number" : "a number";
    if (!is_num || !isfinite(v) || (bounds && (v < f->min || v > f->max))) {
        if (bounds && f->type == CLI_INT)
            return lar_fail(e, LAR_EARG, "--%s: got '%.60s', want %s from %.0f to %.0f", f->name,
                            text, kind, f->min, f->max);
        if (bounds)
            return lar_fail(e, LAR_EARG, "--%s: got '%.60s', want %s from %.15g to %.15g", f->name,
                            text, kind, f->min, f->max);
        return lar_fail(e, LAR_EARG, "--%s: got '%.60s', want %s", f->name, text, kind);
    }
    return LAR_OK;
}

lar_status cli_args_set(cli_args *a, const cli_flag *f, const char *text, lar_err *e)
{
    LAR_TRY(cli_flag_check(f, text, e));
    if (f->type != CLI_STRINGS)
        cli_args_unset(a, f); /* the last one counts */
    const lar_str choice = f->choices ? find_choice(f->choices, text) : (lar_str){NULL, 0};
    const char *copy = choice.n ? lar_arena_strdup(a->arena, choice.p, choice.n) : keep(a, text);
    if (!copy || !lar_grow((void **)&a->values, &a->cap_values, a->n_values + 1, sizeof *a->values))
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    a->values[a->n_values++] = (cli_value){f, copy};
    return LAR_OK;
}

void cli_args_unset(cli_args *a, const cli_flag *f)
{
    size_t k = 0;
    for (size_t i = 0; i < a->n_values; i++)
        if (a->values[i].flag != f)
            a->values[k++] = a->values[i];
    a->n_values = k;
}

const char *cli_get(const cli_args *a, const char *name)
{
    for (size_t i = a->n_values; i > 0; i--)
        if (strcmp(a->values[i - 1].flag->name, name) == 0)
            return a->values[i - 1].text;
    return NULL;
}

bool cli_is_on(const cli_args *a, const char *name)
{
    const char *v = cli_get(a, name);
    bool yes = false;
    return v && truth(v, &yes) && yes;
}

int cli_get_int(const cli_args *a, const char *name)
{
    const char *v = cli_get(a, name);
    double d = v ? strtod(v, NULL) : 0;
    return d >= -2147483647.0 && d <= 2147483647.0 ? (int)d : 0;
}

/* ---- the command line
 * --------------------------------------------------------------------------------------- */

static lar_status add_word(cli_args *a, const char *w, lar_err *e)
{
    if (!lar_grow((void **)&a->words, &a->cap_words, a->n_words + 1, sizeof *a->words))
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    a->words[a->n_words++] = w;
    return LAR_OK;
}

static lar_status unknown(const cli_args *a, const char *shown, const char *name, lar_err *e)
{
    const char *near = cli_nearest_flag(a, name);
    return near ? lar_fail(e, LAR_EARG, "unknown flag '%.80s'; did you mean --%s?", shown, near)
                : lar_fail(e, LAR_EARG, "unknown flag '%.80s'", shown);
}

/* "--name", "--name=value", "--no-name", "--name value". */
static lar_status long_flag(cli_args *a, char **argv, int argc, int *i, lar_err *e)
{
    const char *arg = argv[*i] + 2, *eq = strchr(arg, '=');
    char name[NAME_CAP * 2];
    size_t n = eq ? (size_t)(eq - arg) : strlen(arg);
    if (n >= sizeof name)
        return lar_fail(e, LAR_EARG, "unknown flag '%.60s...'", argv[*i]);
    memcpy(name, arg, n);
    name[n] = 0;
    const cli_flag *f = cli_flag_find(a, name);
    if (!f && strncmp(name, "no-", 3) == 0) {
        f = cli_flag_find(a, name + 3);
        if (f && f->type == CLI_BOOL && !eq)
            return cli_args_set(a, f, "false", e);
        f = NULL;
    }
    if (!f)
        return unknown(a, argv[*i], name, e);
    if (f->type == CLI_BOOL)
        return cli_args_set(a, f, eq ? eq + 1 : "true", e);
    if (!eq && *i + 1 >= argc)
        return lar_fail(e, LAR_EARG, "--%s: a value is missing", f->name);
    return cli_args_set(a, f, eq ? eq + 1 : argv[++*i], e);
}

/* "-n 5", "-n5"; flags without a value can stand together. */
static lar_status short_flags(cli_args *a, char **argv, int argc, int *i, lar_err *e)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        const cli_flag *f = find_letter(a, *p);
        if (!f) {
            /* also "-ctx" or "-n-predict" as other tools write them */
            return unknown(a, argv[*i], argv[*i] + 1, e);
        }
        if (f->type == CLI_BOOL) {
            LAR_TRY(cli_args_set(a, f, "true", e));
            continue;
        }
        if (p[1])
            return cli_args_set(a, f, p[1] == '=' ? p + 2 : p + 1, e);
        if (*i + 1 >= argc)
            return lar_fail(e, LAR_EARG, "-%c: a value is missing", *p);
        return cli_args_set(a, f, argv[++*i], e);
    }
    return LAR_OK;
}

lar_status cli_args_parse(cli_args *a, int argc, char **argv, lar_err *e)
{
    bool flags = true;
    for (int i = 0; i < argc; i++) {
        const char *s = argv[i];
        if (flags && strcmp(s, "--") == 0) {
            flags = false;
        } else if (flags && s[0] == '-' && s[1] == '-') {
            LAR_TRY(long_flag(a, argv, argc, &i, e));
        } else if (flags && s[0] == '-' && s[1]) {
            LAR_TRY(short_flags(a, argv, argc, &i, e));
        } else {
            LAR_TRY(add_word(a, s, e));
        }
    }
    a->want_help = cli_is_on(a, "help");
    const char *color = cli_get(a, "color");
    if (color)
        cli_ui_color(&a->ui, color);
    return LAR_OK;
}

const char *cli_words(cli_args *a, size_t first)
{
    if (first >= a->n_words)
        return NULL;
    lar_buf b = {0};
    for (size_t i = first; i < a->n_words; i++) {
        if (i > first)
            lar_buf_putc(&b, ' ');
        lar_buf_puts(&b, a->words[i]);
    }
    const char *s = b.oom ? NULL : keep(a, b.p ? b.p : "");
    lar_buf_free(&b);
    return s;
}

/* ---- to a request
 * ------------------------------------------------------------------------------------------- */

/* JSON and grammars are files as often as not; neither begins with '@'. */
static bool may_be_file(const cli_flag *f)
{
    return f->type == CLI_JSON || (f->unit && strcmp(f->unit, "GBNF") == 0);
}

static lar_status read_value_file(const char *path, lar_buf *out, lar_err *e)
{
    lar_buf_clear(out);
    if (strcmp(path, "-") == 0)
        return cli_read_stdin(out, e);
    FILE *f = fopen(path, "rb");
    if (!f)
        return lar_fail(e, LAR_ENOTFOUND, "%s: %s", path, strerror(errno));
    char buf[16384];
    size_t n;
    while ((n = fread(buf, 1, sizeof buf, f)) > 0)
        lar_buf_add(out, buf, n);
    bool bad = ferror(f) != 0;
    fclose(f);
    return bad        ? lar_fail(e, LAR_EIO, "%s: cannot read it", path)
           : out->oom ? lar_fail(e, LAR_ENOMEM, "%s: out of memory", path)
           : out->p && strlen(out->p) != out->n
               ? lar_fail(e, LAR_EARG, "%s: it holds a NUL: this is no text", path)
               : LAR_OK;
}

/* All values of one repeatable flag as a JSON array. */
static lar_status apply_strings(const cli_args *a, const cli_flag *f, lar_request *r, lar_err *e)
{
    json_t *arr = json_array();
    lar_buf b = {0};
    lar_status s = LAR_OK;
    for (size_t i = 0; i < a->n_values && s == LAR_OK; i++)
        if (a->values[i].flag == f && json_array_append_new(arr, json_string(a->values[i].text)))
            s = lar_fail(e, LAR_EARG, "--%s: the text is not valid UTF-8", f->name);
    if (s == LAR_OK && !cli_dump(arr, JSON_COMPACT, &b))
        s = lar_fail(e, LAR_ENOMEM, "out of memory");
    if (s == LAR_OK)
        s = lar_request_set_json(r, f->name, b.p, e);
    json_decref(arr);
    lar_buf_free(&b);
    return s;
}

lar_status cli_args_apply(const cli_args *a, lar_request *r, const char *except, lar_err *e)
{
    lar_buf b = {0};
    lar_status s = LAR_OK;
    for (size_t i = 0; i < a->n_values && s == LAR_OK; i++) {
        const cli_flag *f = a->values[i].flag;
        const char *v = a->values[i].text;
        bool yes;
        if (!f->is_field || cli_in_list(except, f->name))
            continue;
        if (f->type == CLI_STRINGS) {
            s = apply_strings(a, f, r, e);
        } else if (f->type == CLI_BOOL) {
            s = lar_request_set_string(r, f->name, truth(v, &yes) && yes ? "true" : "false", e);
        } else if (f->type == CLI_BYTES) {
            s = lar_request_set_bytes(r, f->name, v, strlen(v), e);
        } else if (v[0] == '@' && may_be_file(f)) {
            s = read_value_file(v + 1, &b, e);
            if (s == LAR_OK)
                s = f->type == CLI_JSON ? lar_request_set_json(r, f->name, b.p ? b.p : "", e)
                                        : lar_request_set_string(r, f->name, b.p ? b.p : "", e);
        } else if (f->type == CLI_JSON) {
            s = lar_request_set_json(r, f->name, v, e);
        } else {
            s = lar_request_set_string(r, f->name, v, e);
        }
    }
    lar_buf_free(&b);
    return s;
}
