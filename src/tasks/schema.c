/* schema.c - a task's schema as JSON: what --help, request parsers and the documentation are made
 * from. Depends on json.h. */
#include "tasks/json.h"
#include "tasks/task.h"
#include <math.h>
#include <string.h>

static const char *const type_names[] = {
    [LAR_FIELD_STRING] = "string", [LAR_FIELD_INT] = "int",         [LAR_FIELD_NUMBER] = "number",
    [LAR_FIELD_BOOL] = "bool",     [LAR_FIELD_STRINGS] = "strings", [LAR_FIELD_JSON] = "json",
    [LAR_FIELD_BYTES] = "bytes",
};
static const char *const needs_names[] = {
    [LAR_NEEDS_NOTHING] = "nothing",
    [LAR_NEEDS_VOCAB] = "vocab",
    [LAR_NEEDS_MODEL] = "model",
    [LAR_NEEDS_SESSION] = "session",
};

static json_t *text_or_null(const char *s)
{
    return s ? json_string(s) : json_null();
}

/* "a|b|c" as an array's further elements. */
static void push_list(json_t *arr, const char *list, bool *bad)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, "|");
        lar_json_push(arr, json_stringn(p, n), bad);
        p += n + (p[n] == '|');
    }
}

static json_t *aliases(const lar_field *f, bool *bad)
{
    json_t *a = json_array();
    if (strchr(f->name, '-')) {
        lar_buf b = {0};
        for (const char *p = f->name; *p; p++)
            lar_buf_putc(&b, *p == '-' ? '_' : *p);
        lar_json_push(a, b.oom ? NULL : json_stringn(b.p, b.n), bad);
        lar_buf_free(&b);
    }
    push_list(a, f->alias, bad);
    return a;
}

static json_t *number(const lar_field *f, double v)
{
    if (f->type == LAR_FIELD_INT && fabs(v) < 9.2e18)
        return json_integer((json_int_t)v);
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *default_value(const lar_field *f, bool *bad)
{
    switch (f->type) {
    case LAR_FIELD_INT:
    case LAR_FIELD_NUMBER:
        return number(f, f->def);
    case LAR_FIELD_BOOL:
        return json_boolean(f->def != 0);
    case LAR_FIELD_JSON: {
        json_t *v = NULL;
        if (!f->def_str)
            return json_null();
        if (lar_json_load(f->def_str, strlen(f->def_str), f->name, &v, NULL) != LAR_OK)
            *bad = true;
        return v;
    }
    default:
        return text_or_null(f->def_str);
    }
}

static json_t *field_json(const lar_field *f, bool *bad)
{
    json_t *o = json_object();
    char letter[2] = {f->letter, 0};
    bool bounds = f->min < f->max && (f->type == LAR_FIELD_INT || f->type == LAR_FIELD_NUMBER);
    lar_json_put(o, "name", json_string(f->name), bad);
    lar_json_put(o, "aliases", aliases(f, bad), bad);
    lar_json_put(o, "letter", text_or_null(f->letter ? letter : NULL), bad);
    lar_json_put(o, "type", json_string(type_names[f->type]), bad);
    lar_json_put(o, "default", default_value(f, bad), bad);
    lar_json_put(o, "min", bounds ? number(f, f->min) : json_null(), bad);
    lar_json_put(o, "max", bounds ? number(f, f->max) : json_null(), bad);
    json_t *choices = f->choices ? json_array() : json_null();
    push_list(choices, f->choices, bad);
    lar_json_put(o, "choices", choices, bad);
    lar_json_put(o, "unit", text_or_null(f->unit), bad);
    lar_json_put(o, "help", text_or_null(f->help), bad);
    return o;
}

json_t *lar_task_schema_json(const lar_task_def *def)
{
    bool bad = false;
    json_t *o = json_object(), *fields = json_array();
    for (size_t i = 0; i < def->n_fields; i++)
        lar_json_push(fields, field_json(&def->fields[i], &bad), &bad);
    lar_json_put(o, "name", json_string(def->name), &bad);
    lar_json_put(o, "verb", text_or_null(def->verb), &bad);
    lar_json_put(o, "help", text_or_null(def->help), &bad);
    lar_json_put(o, "needs", json_string(needs_names[def->needs]), &bad);
    lar_json_put(o, "positional", text_or_null(def->positional), &bad);
    lar_json_put(o, "fields", fields, &bad);
    if (bad) {
        json_decref(o);
        return NULL;
    }
    return o;
}
