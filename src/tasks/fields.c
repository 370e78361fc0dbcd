/*
 * fields.c - a task's params struct filled from its field table: names, types, ranges, choices,
 * defaults. The one place where values from flags, JSON and the API are checked. Depends on json.h.
 */
#include "tasks/json.h"
#include "tasks/task.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A value as it came, before the field's type is known to fit. */
typedef struct value {
    enum { V_TEXT, V_NUMBER, V_INTEGER, V_BOOL, V_JSON, V_BYTES } kind;
    const char *p; /* TEXT, BYTES */
    size_t n;
    double num;
    int64_t i;
    const json_t *json;
} value;

/* ---- names --------------------------------------------------------------------------------------
 */

static char fold(char c)
{
    return c == '_' ? '-' : c;
}

static bool same_name(const char *want, size_t n, const char *got)
{
    size_t i = 0;
    for (; i < n; i++)
        if (!got[i] || fold(want[i]) != fold(got[i]))
            return false;
    return !got[i];
}

static bool in_list(const char *list, const char *name, bool exact)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, "|");
        if (exact ? strlen(name) == n && memcmp(p, name, n) == 0 : same_name(p, n, name))
            return true;
        p += n + (p[n] == '|');
    }
    return false;
}

enum { NAME_CAP = 48 };

/* Edits that make one short name the other; NAME_CAP when either is longer than that. */
static size_t distance(const char *a, size_t na, const char *b)
{
    size_t nb = strlen(b), row[NAME_CAP + 1];
    if (na > NAME_CAP || nb > NAME_CAP)
        return NAME_CAP;
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t up = row[j];
            size_t best = diagonal + (fold(a[i - 1]) != fold(b[j - 1]));
            best = LAR_MIN(best, up + 1);
            best = LAR_MIN(best, row[j - 1] + 1);
            row[j] = best;
            diagonal = up;
        }
    }
    return row[nb];
}

/* The field whose name or alias is nearest, or NULL when none is near. */
static const char *nearest(const lar_task_def *def, const char *name)
{
    size_t best = LAR_MAX(strlen(name) / 3, (size_t)1) + 1;
    const char *found = NULL;
    for (size_t i = 0; i < def->n_fields; i++) {
        const lar_field *f = &def->fields[i];
        size_t d = distance(f->name, strlen(f->name), name);
        for (const char *p = f->alias; p && *p;) {
            size_t n = strcspn(p, "|");
            d = LAR_MIN(d, distance(p, n, name));
            p += n + (p[n] == '|');
        }
        if (d < best) {
            best = d;
            found = f->name;
        }
    }
    return found;
}

static lar_status find_field(const lar_params *p, const char *name, size_t *out, lar_err *e)
{
    if (!name)
        return lar_fail(e, LAR_EARG, "task '%s': no field name given", p->def->name);
    for (size_t i = 0; i < p->def->n_fields; i++) {
        const lar_field *f = &p->def->fields[i];
        if (same_name(f->name, strlen(f->name), name) || in_list(f->alias, name, false)) {
            *out = i;
            return LAR_OK;
        }
    }
    const char *near = nearest(p->def, name);
    return near ? lar_fail(e, LAR_EARG, "task '%s' has no field '%.60s'; did you mean '%s'?",
                           p->def->name, name, near)
                : lar_fail(e, LAR_EARG, "task '%s' has no field '%.60s'", p->def->name, name);
}

/* ---- messages
 * ------------------------------------------------------------------------------------- */

static const char *wanted(const lar_field *f, char *s, size_t n)
{
    bool bounds = f->min < f->max;
    switch (f->type) {
    case LAR_FIELD_INT:
        if (bounds)
            snprintf(s, n, "%.0f to %.0f", f->min, f->max);
        else
            snprintf(s, n, "a whole number");
        return s;
    case LAR_FIELD_NUMBER:
        if (bounds)
            snprintf(s, n, "%g to %g", f->min, f->max);
        else
            snprintf(s, n, "a number");
        return s;
    case LAR_FIELD_BOOL:
        return "true or false";
    case LAR_FIELD_STRING:
        if (!f->choices)
            return "text";
        snprintf(s, n, "one of %s", f->choices);
        return s;
    case LAR_FIELD_STRINGS:
        return "text, or a list of texts";
    case LAR_FIELD_JSON:
        return "JSON";
    case LAR_FIELD_BYTES:
        return "bytes";
    }
    return "";
}

/* What was found, short enough for a message and without control characters. */
static const char *found(const value *v, char *s, size_t n)
{
    switch (v->kind) {
    case V_INTEGER:
        snprintf(s, n, "%lld", (long long)v->i);
        return s;
    case V_NUMBER:
        snprintf(s, n, "%.15g", v->num);
        return s;
    case V_BOOL:
        return v->i ? "true" : "false";
    case V_BYTES:
        snprintf(s, n, "%zu bytes", v->n);
        return s;
    case V_JSON:
        return json_is_object(v->json)  ? "an object"
               : json_is_array(v->json) ? "a list"
               : json_is_null(v->json)  ? "null"
                                        : "another kind of value";
    case V_TEXT:
        break;
    }
    size_t k = 0, cap = LAR_MIN(n - 1, (size_t)44);
    s[k++] = '"';
    for (size_t i = 0; i < v->n && k + 5 < cap;) {
        int len = lar_utf8_decode(v->p + i, v->n - i, NULL);
        if (len == 0 || (unsigned char)v->p[i] < 0x20) {
            s[k++] = '?';
            i++;
            continue;
        }
        memcpy(s + k, v->p + i, (size_t)len);
        k += (size_t)len;
        i += (size_t)len;
    }
    if (k + 5 >= cap && k >= 3)
        memcpy(s + k, "…", 3), k += 3;
    s[k++] = '"';
    s[k] = 0;
    return s;
}

static lar_status refuse(const lar_field *f, const value *v, lar_err *e)
{
    char got[64], want[200];
    return lar_fail(e, LAR_EARG, "field '%s': got %s, want %s", f->name, found(v, got, sizeof got),
                    wanted(f, want, sizeof want));
}

/* ---- one field's value
 * ------------------------------------------------------------------------------ */

static void *slot(const lar_params *p, size_t i)
{
    return (char *)p->data + p->def->fields[i].offset;
}

static void drop(lar_params *p, size_t i)
{
    if (p->def->fields[i].type == LAR_FIELD_STRINGS) {
        lar_field_list *l = slot(p, i);
        lar_free((void *)(uintptr_t)l->p);
        *l = (lar_field_list){0};
    }
    json_decref(p->json[i]);
    p->json[i] = NULL;
    lar_free(p->text[i]);
    p->text[i] = NULL;
}

static lar_status set_default(lar_params *p, size_t i, lar_err *e)
{
    const lar_field *f = &p->def->fields[i];
    drop(p, i);
    p->is_set[i] = false;
    switch (f->type) {
    case LAR_FIELD_STRING:
        *(const char **)slot(p, i) = f->def_str;
        break;
    case LAR_FIELD_INT:
        *(int64_t *)slot(p, i) = (int64_t)f->def;
        break;
    case LAR_FIELD_NUMBER:
        *(double *)slot(p, i) = f->def;
        break;
    case LAR_FIELD_BOOL:
        *(bool *)slot(p, i) = f->def != 0;
        break;
    case LAR_FIELD_STRINGS:
        break;
    case LAR_FIELD_JSON:
        if (f->def_str)
            LAR_TRY(lar_json_load(f->def_str, strlen(f->def_str), f->name, &p->json[i], e));
        *(json_t **)slot(p, i) = p->json[i];
        break;
    case LAR_FIELD_BYTES:
        *(lar_str *)slot(p, i) = (lar_str){f->def_str, f->def_str ? strlen(f->def_str) : 0};
        break;
    }
    return LAR_OK;
}

/* Text that is a number, by the grammar of JSON's and C's decimal forms; no hex, no NaN, no spaces.
 */
static bool parse_number(value *v)
{
    char buf[64], *end;
    if (v->n == 0 || v->n >= sizeof buf || strspn(v->p, "+-.0123456789eE") != v->n)
        return false;
    memcpy(buf, v->p, v->n);
    buf[v->n] = 0;
    errno = 0;
    long long whole = strtoll(buf, &end, 10);
    if (*end == 0 && errno == 0) {
        v->kind = V_INTEGER;
        v->i = whole;
        v->num = (double)whole;
        return true;
    }
    v->num = strtod(buf, &end);
    if (*end == '.') { /* the host's locale has a decimal comma */
        *end = ',';
        v->num = strtod(buf, &end);
    }
    v->kind = V_NUMBER;
    return *end == 0 && end != buf;
}

static lar_status put_int(lar_params *p, size_t i, value v, lar_err *e)
{
    const lar_field *f = &p->def->fields[i];
    value was = v;
    if (v.kind == V_TEXT && !parse_number(&v))
        return refuse(f, &was, e);
    if (v.kind == V_NUMBER && v.num == floor(v.num) && fabs(v.num) < 9.2e18) {
        v.i = (int64_t)v.num;
        v.kind = V_INTEGER;
    }
    if (v.kind == V_NUMBER && isfinite(v.num) && v.num != floor(v.num)) {
        char got[64];
        return lar_fail(e, LAR_EARG, "field '%s': got %s, want a whole number", f->name,
                        found(&was, got, sizeof got));
    }
    if (v.kind != V_INTEGER || (f->min < f->max && ((double)v.i < f->min || (double)v.i > f->max)))
        return refuse(f, &was, e);
    *(int64_t *)slot(p, i) = v.i;
    p->is_set[i] = true;
    return LAR_OK;
}

static lar_status put_number(lar_params *p, size_t i, value v, lar_err *e)
{
    const lar_field *f = &p->def->fields[i];
    value was = v;
    if (v.kind == V_TEXT && !parse_number(&v))
        return refuse(f, &was, e);
    if (v.kind == V_INTEGER)
        v.num = (double)v.i;
    if ((v.kind != V_INTEGER && v.kind != V_NUMBER) || !isfinite(v.num) ||
        (f->min < f->max && (v.num < f->min || v.num > f->max)))
        return refuse(f, &was, e);
    *(double *)slot(p, i) = v.num;
    p->is_set[i] = true;
    return LAR_OK;
}

static lar_status put_bool(lar_params *p, size_t i, value v, lar_err *e)
{
    const lar_field *f = &p->def->fields[i];
    char word[8] = "";
    bool yes = false, ok = false;
    if (v.kind == V_TEXT && v.n < sizeof word) {
        memcpy(word, v.p, v.n);
        yes = in_list("true|1|yes|on", word, true);
        ok = word[0] && (yes || in_list("false|0|no|off", word, true));
    } else if (v.kind == V_BOOL) {
        yes = v.i != 0;
        ok = true;
    } else if (v.kind == V_INTEGER || v.kind == V_NUMBER) {
        double num = v.kind == V_INTEGER ? (double)v.i : v.num;
        yes = num == 1;
        ok = num == 0 || num == 1;
    }
    if (!ok)
        return refuse(f, &v, e);
    *(bool *)slot(p, i) = yes;
    p->is_set[i] = true;
    return LAR_OK;
}

static lar_status put_text(lar_params *p, size_t i, value v, lar_err *e)
{
    const lar_field *f = &p->def->fields[i];
    bool bytes = f->type == LAR_FIELD_BYTES;
    if (v.kind != V_TEXT && v.kind != V_BYTES)
        return refuse(f, &v, e);
    if (!bytes && v.n && memchr(v.p, 0, v.n))
        return lar_fail(e, LAR_EARG, "field '%s': a NUL byte in the text", f->name);
    char *copy = lar_strndup(v.p ? v.p : "", v.n);
    if (!copy)
        return lar_fail(e, LAR_ENOMEM, "field '%s': out of memory for %zu bytes", f->name, v.n);
    if (f->choices && !in_list(f->choices, copy, true)) {
        lar_free(copy);
        return refuse(f, &v, e);
    }
    drop(p, i);
    p->text[i] = copy;
    if (bytes)
        *(lar_str *)slot(p, i) = (lar_str){copy, v.n};
    else
        *(const char **)slot(p, i) = copy;
    p->is_set[i] = true;
    return LAR_OK;
}

/* Appends; json[i] is an array whose strings the list points to. */
static lar_status add_string(lar_params *p, size_t i, value v, lar_err *e)
{
    const lar_field *f = &p->def->fields[i];
    lar_field_list *l = slot(p, i);
    if (v.kind != V_TEXT)
        return refuse(f, &v, e);
    if (v.n && memchr(v.p, 0, v.n))
        return lar_fail(e, LAR_EARG, "field '%s': a NUL byte in the text", f->name);
    const char *nul_free = v.p ? v.p : "";
    json_t *s = json_stringn_nocheck(nul_free, v.n);
    if (!p->json[i])
        p->json[i] = json_array();
    const char **grown = s ? lar_realloc((void *)(uintptr_t)l->p, (l->n + 1) * sizeof *l->p) : NULL;
    if (grown)
        l->p = grown;
    if (!grown || !p->json[i] || json_array_append(p->json[i], s) != 0) {
        json_decref(s);
        return lar_fail(e, LAR_ENOMEM, "field '%s': out of memory", f->name);
    }
    l->p[l->n++] = json_string_value(s);
    json_decref(s);
    p->is_set[i] = true;
    return LAR_OK;
}

static lar_status put_strings(lar_params *p, size_t i, const json_t *v, lar_err *e)
{
    const lar_field *f = &p->def->fields[i];
    size_t k;
    json_t *item;
    json_array_foreach(v, k, item)
    {
        if (!json_is_string(item))
            return lar_fail(e, LAR_EARG, "field '%s': element %zu is not text", f->name, k);
    }
    LAR_TRY(set_default(p, i, e));
    json_array_foreach(v, k, item)
    {
        value s = {V_TEXT, json_string_value(item), json_string_length(item), 0, 0, NULL};
        LAR_TRY(add_string(p, i, s, e));
    }
    p->is_set[i] = true;
    return LAR_OK;
}

static lar_status put_json(lar_params *p, size_t i, const json_t *v, lar_err *e)
{
    json_t *copy = json_deep_copy(v);
    if (!copy)
        return lar_fail(e, LAR_ENOMEM, "field '%s': out of memory", p->def->fields[i].name);
    drop(p, i);
    p->json[i] = copy;
    *(json_t **)slot(p, i) = copy;
    p->is_set[i] = true;
    return LAR_OK;
}

static lar_status put(lar_params *p, size_t i, value v, lar_err *e)
{
    switch (p->def->fields[i].type) {
    case LAR_FIELD_INT:
        return put_int(p, i, v, e);
    case LAR_FIELD_NUMBER:
        return put_number(p, i, v, e);
    case LAR_FIELD_BOOL:
        return put_bool(p, i, v, e);
    case LAR_FIELD_STRINGS:
        return add_string(p, i, v, e);
    case LAR_FIELD_STRING:
    case LAR_FIELD_BYTES:
        return put_text(p, i, v, e);
    case LAR_FIELD_JSON:
        return refuse(&p->def->fields[i], &v, e);
    }
    return LAR_EARG;
}

/* ---- the bag
 * ------------------------------------------------------------------------------------------ */

lar_status lar_params_new(const lar_task_def *def, lar_params *out, lar_err *e)
{
    *out = (lar_params){.def = def};
    out->data = lar_alloc(LAR_MAX(def->params_size, (size_t)1));
    out->is_set = lar_alloc_array(def->n_fields + 1, sizeof *out->is_set);
    out->json = lar_alloc_array(def->n_fields + 1, sizeof *out->json);
    out->text = lar_alloc_array(def->n_fields + 1, sizeof *out->text);
    lar_status s = LAR_OK;
    if (!out->data || !out->is_set || !out->json || !out->text)
        s = lar_fail(e, LAR_ENOMEM, "task '%s': out of memory for its fields", def->name);
    for (size_t i = 0; s == LAR_OK && i < def->n_fields; i++)
        s = set_default(out, i, e);
    if (s != LAR_OK)
        lar_params_free(out);
    return s;
}

void lar_params_free(lar_params *p)
{
    if (!p || !p->def)
        return;
    if (p->data && p->json && p->text)
        for (size_t i = 0; i < p->def->n_fields; i++)
            drop(p, i);
    lar_free(p->data);
    lar_free(p->is_set);
    lar_free(p->json);
    lar_free(p->text);
    *p = (lar_params){0};
}

lar_status lar_params_set_string(lar_params *p, const char *name, const char *v, lar_err *e)
{
    size_t i;
    LAR_TRY(find_field(p, name, &i, e));
    if (!v)
        return lar_fail(e, LAR_EARG, "field '%s': no value given", p->def->fields[i].name);
    if (p->def->fields[i].type == LAR_FIELD_JSON) {
        json_t *j;
        char where[64];
        snprintf(where, sizeof where, "field '%.50s'", p->def->fields[i].name);
        LAR_TRY(lar_json_load(v, strlen(v), where, &j, e));
        lar_status s = json_is_null(j) ? set_default(p, i, e) : put_json(p, i, j, e);
        json_decref(j);
        return s;
    }
    return put(p, i, (value){V_TEXT, v, strlen(v), 0, 0, NULL}, e);
}

lar_status lar_params_set_number(lar_params *p, const char *name, double v, lar_err *e)
{
    size_t i;
    LAR_TRY(find_field(p, name, &i, e));
    return put(p, i, (value){V_NUMBER, NULL, 0, v, 0, NULL}, e);
}

lar_status lar_params_set_bytes(lar_params *p, const char *name, const void *v, size_t n,
                                lar_err *e)
{
    size_t i;
    LAR_TRY(find_field(p, name, &i, e));
    const lar_field *f = &p->def->fields[i];
    if (!v && n)
        return lar_fail(e, LAR_EARG, "field '%s': no value given", f->name);
    return put(p, i, (value){V_BYTES, v, n, 0, 0, NULL}, e);
}

static lar_status set_one(lar_params *p, size_t i, const json_t *v, lar_err *e)
{
    lar_field_type type = p->def->fields[i].type;
    if (json_is_null(v))
        return set_default(p, i, e);
    if (type == LAR_FIELD_JSON)
        return put_json(p, i, v, e);
    if (type == LAR_FIELD_STRINGS && json_is_array(v))
        return put_strings(p, i, v, e);
    value x = {V_JSON, NULL, 0, 0, 0, v};
    switch (json_typeof(v)) {
    case JSON_STRING:
        x.kind = type == LAR_FIELD_STRING || type == LAR_FIELD_STRINGS ? V_TEXT : V_BYTES;
        x.p = json_string_value(v);
        x.n = json_string_length(v);
        if (type == LAR_FIELD_INT || type == LAR_FIELD_NUMBER || type == LAR_FIELD_BOOL) {
            x.kind = V_TEXT; /* for the message: a quoted number is text in JSON, not a number */
            return refuse(&p->def->fields[i], &x, e);
        }
        if (type == LAR_FIELD_STRINGS)
            LAR_TRY(set_default(p, i, e));
        break;
    case JSON_INTEGER:
        x.kind = V_INTEGER;
        x.i = json_integer_value(v);
        break;
    case JSON_REAL:
        x.kind = V_NUMBER;
        x.num = json_real_value(v);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        x.kind = V_BOOL;
        x.i = json_is_true(v);
        break;
    default:
        break;
    }
    return put(p, i, x, e);
}

lar_status lar_params_set_json(lar_params *p, const char *name, const json_t *v, lar_err *e)
{
    size_t i;
    const char *key;
    json_t *item;
    if (name) {
        LAR_TRY(find_field(p, name, &i, e));
        return set_one(p, i, v, e);
    }
    if (!json_is_object(v))
        return lar_fail(e, LAR_EARG, "task '%s': fields must be a JSON object", p->def->name);
    json_object_foreach((json_t *)(uintptr_t)v, key, item)
    {
        LAR_TRY(find_field(p, key, &i, e));
        LAR_TRY(set_one(p, i, item, e));
    }
    return LAR_OK;
}
