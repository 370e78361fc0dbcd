/*
 * json_schema_value.c - values against schemas: whether one is accepted, and whether two schemas
 * have none in common. What cannot be told for sure is said to be unsure. Depends on base, jansson,
 * json_schema_part.h.
 */
#include "text/json_schema_part.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 40, MOST_WORK = 1 << 20 };

unsigned lar__json_type(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL:
        return LAR_JSON_NULL;
    case JSON_TRUE:
    case JSON_FALSE:
        return LAR_JSON_BOOL;
    case JSON_INTEGER:
        return LAR_JSON_INT;
    case JSON_REAL:
        return json_real_value(v) == floor(json_real_value(v)) ? LAR_JSON_INT : LAR_JSON_REAL;
    case JSON_STRING:
        return LAR_JSON_STR;
    case JSON_ARRAY:
        return LAR_JSON_ARR;
    default:
        return LAR_JSON_OBJ;
    }
}

bool lar__json_equal(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *v;
    size_t i;
    if (json_is_number(a) && json_is_number(b))
        return json_is_integer(a) && json_is_integer(b)
                   ? json_integer_value(a) == json_integer_value(b)
                   : json_number_value(a) == json_number_value(b);
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        json_array_foreach(a, i, v)
        {
            if (!json_array_get(b, i) || !lar__json_equal(v, json_array_get(b, i)))
                return false;
        }
        return json_array_size(a) == json_array_size(b);
    }
    if (json_is_object(a)) {
        json_object_foreach((json_t *)(uintptr_t)a, key, v)
        {
            const json_t *w = json_object_get(b, key);
            if (!w || !lar__json_equal(v, w))
                return false;
        }
        return json_object_size(a) == json_object_size(b);
    }
    return json_equal(a, b);
}

unsigned lar__schema_types(const json_t *schema, bool *fine)
{
    static const struct {
        const char *name;
        unsigned bits;
    } names[] = {{"null", LAR_JSON_NULL},  {"boolean", LAR_JSON_BOOL}, {"integer", LAR_JSON_INT},
                 {"number", LAR_JSON_NUM}, {"string", LAR_JSON_STR},   {"array", LAR_JSON_ARR},
                 {"object", LAR_JSON_OBJ}};
    const json_t *t = json_object_get(schema, "type");
    const size_t n = json_is_array(t) ? json_array_size(t) : 1;
    unsigned bits = 0;
    *fine = true;
    if (!t)
        return LAR_JSON_ANY;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_is_array(t) ? json_array_get(t, i) : t);
        unsigned bit = 0;
        for (size_t k = 0; name && k < LAR_LEN(names); k++)
            if (strcmp(names[k].name, name) == 0)
                bit = names[k].bits;
        *fine = *fine && bit;
        bits |= bit;
    }
    return bits;
}

/* ~0 and ~1, and percent signs of URI fragments. */
static bool unescape(const char *p, size_t n, lar_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '~' && i + 1 < n && (p[i + 1] == '0' || p[i + 1] == '1')) {
            lar_buf_putc(out, p[++i] == '0' ? '~' : '/');
        } else if (p[i] == '%' && i + 2 < n) {
            const char hex[3] = {p[i + 1], p[i + 2], 0};
            char *end;
            lar_buf_putc(out, (char)strtoul(hex, &end, 16));
            i += 2;
            if (*end)
                return false;
        } else {
            lar_buf_putc(out, p[i]);
        }
    }
    return !out->oom;
}

const json_t *lar__schema_find(const json_t *root, const char *ref)
{
    const json_t *at = *ref == '#' && (ref[1] == '/' || !ref[1]) ? root : NULL;
    for (const char *p = ref + 1; at && *p == '/';) {
        lar_buf name = {0};
        const size_t n = strcspn(++p, "/");
        const bool fine = unescape(p, n, &name);
        const char *key = name.p ? name.p : "";
        char *end;
        if (!fine)
            at = NULL;
        else if (json_is_array(at)) {
            const size_t i = strtoul(key, &end, 10);
            at = *key && !*end ? json_array_get(at, i) : NULL;
        } else {
            at = json_object_get(at, key);
        }
        p += n;
        lar_buf_free(&name);
    }
    return at;
}

static size_t characters(const json_t *v)
{
    const char *p = json_string_value(v);
    size_t n = 0;
    for (size_t i = 0; i < json_string_length(v); i++)
        n += ((unsigned char)p[i] & 0xC0) != 0x80;
    return n;
}

static double bound(const json_t *s, const char *key, double none)
{
    const json_t *v = json_object_get(s, key);
    return json_is_number(v) ? json_number_value(v) : none;
}

static bool in_bounds(const json_t *s, const char *least, const char *most, double n)
{
    return n >= bound(s, least, -INFINITY) && n <= bound(s, most, INFINITY);
}

static bool array_fits(lar_schema_judge *j, const json_t *s, const json_t *v, int depth)
{
    const json_t *items = json_object_get(s, "items"), *prefix = json_object_get(s, "prefixItems");
    json_t *x;
    size_t i;
    if (json_is_array(items)) {
        prefix = items;
        items = json_object_get(s, "additionalItems");
    }
    json_array_foreach(v, i, x)
    {
        const json_t *want = i < json_array_size(prefix) ? json_array_get(prefix, i) : items;
        if (want && !lar__schema_accepts(j, want, x, depth + 1))
            return false;
    }
    return in_bounds(s, "minItems", "maxItems", (double)json_array_size(v));
}

static bool object_fits(lar_schema_judge *j, const json_t *s, const json_t *v, int depth)
{
    const json_t *props = json_object_get(s, "properties"),
                 *more = json_object_get(s, "additionalProperties");
    const char *key;
    json_t *x;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)v, key, x)
    {
        const json_t *own = json_object_get(props, key), *want = own ? own : more;
        if (want && !lar__schema_accepts(j, want, x, depth + 1))
            return false;
    }
    json_array_foreach(json_object_get(s, "required"), i, x)
    {
        if (json_is_string(x) && !json_object_get(v, json_string_value(x)))
            return false;
    }
    return in_bounds(s, "minProperties", "maxProperties", (double)json_object_size(v));
}

/* allOf, anyOf, oneOf, $ref. */
static bool parts_fit(lar_schema_judge *j, const json_t *s, const json_t *v, int depth)
{
    static const char *const names[] = {"allOf", "anyOf", "oneOf"};
    const char *ref = json_string_value(json_object_get(s, "$ref"));
    const json_t *target = ref ? lar__schema_find(j->root, ref) : NULL;
    for (size_t k = 0; k < LAR_LEN(names); k++) {
        const json_t *list = json_object_get(s, names[k]);
        json_t *x;
        size_t i, n = 0, sure = 0;
        const bool before = j->unsure;
        bool any = false;
        json_array_foreach(list, i, x)
        {
            j->unsure = false;
            const bool yes = lar__schema_accepts(j, x, v, depth + 1);
            n += yes;
            sure += yes && !j->unsure;
            any = any || j->unsure;
        }
        j->unsure = before || (any && !(k == 1 && sure)); /* one of anyOf is enough */
        if (list && (k == 0 ? n < json_array_size(list) : k == 1 ? !n : n != 1))
            return false;
    }
    j->unsure = j->unsure || (ref && !target);
    return !target || lar__schema_accepts(j, target, v, depth + 1);
}

bool lar__schema_accepts(lar_schema_judge *j, const json_t *s, const json_t *v, int depth)
{
    static const char *const unknown[] = {"not",
                                          "if",
                                          "patternProperties",
                                          "propertyNames",
                                          "contains",
                                          "dependentRequired",
                                          "dependentSchemas",
                                          "dependencies",
                                          "unevaluatedProperties",
                                          "unevaluatedItems",
                                          "$dynamicRef",
                                          "$recursiveRef",
                                          "multipleOf",
                                          "uniqueItems"};
    bool fine, in = false;
    json_t *x;
    size_t i;
    if (!json_is_object(s))
        return !json_is_false(s);
    if (depth > DEPTH || ++j->work > MOST_WORK) {
        j->unsure = true;
        return true;
    }
    for (i = 0; i < LAR_LEN(unknown); i++)
        j->unsure = j->unsure || json_object_get(s, unknown[i]);
    const json_t *list = json_object_get(s, "enum"), *one = json_object_get(s, "const");
    json_array_foreach(list, i, x)
    {
        in = in || lar__json_equal(x, v);
    }
    if ((list && !in) || (one && !lar__json_equal(one, v)))
        return false;
    const unsigned type = lar__json_type(v);
    if (!(lar__schema_types(s, &fine) & type))
        return false;
    if (type & LAR_JSON_NUM) {
        const double n = json_number_value(v);
        if (!in_bounds(s, "minimum", "maximum", n) ||
            n <= bound(s, "exclusiveMinimum", -INFINITY) ||
            n >= bound(s, "exclusiveMaximum", INFINITY))
            return false;
    } else if (type == LAR_JSON_STR) {
        j->unsure = j->unsure || json_object_get(s, "pattern") || json_object_get(s, "format");
        if (!in_bounds(s, "minLength", "maxLength", (double)characters(v)))
            return false;
    }
    return (type != LAR_JSON_ARR || array_fits(j, s, v, depth)) &&
           (type != LAR_JSON_OBJ || object_fits(j, s, v, depth)) && parts_fit(j, s, v, depth);
}

/* ---- schemas that exclude each other
 * ----------------------------------------------------------------------- */

/* Is each value that `a` lists refused by `b`? */
static bool listed_refused(lar_schema_judge *j, const json_t *a, const json_t *b, int depth)
{
    const json_t *list = json_object_get(a, "enum"), *one = json_object_get(a, "const");
    const size_t n = one ? 1 : json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        j->unsure = false;
        if (lar__schema_accepts(j, b, one ? one : json_array_get(list, i), depth) || j->unsure)
            return false;
    }
    return n > 0;
}

/* A member that `a` requires and `b` takes no such value for, or none at all. */
static bool member_refused(lar_schema_judge *j, const json_t *a, const json_t *b, int depth)
{
    json_t *x;
    size_t i;
    json_array_foreach(json_object_get(a, "required"), i, x)
    {
        const char *name = json_string_value(x);
        const json_t *theirs =
            name ? json_object_get(json_object_get(b, "properties"), name) : NULL;
        const json_t *ours = name ? json_object_get(json_object_get(a, "properties"), name) : NULL;
        if (name && !theirs && json_is_false(json_object_get(b, "additionalProperties")))
            return true;
        if (ours && theirs && lar__schema_disjoint(j, ours, theirs, depth + 1))
            return true;
    }
    return false;
}

bool lar__schema_disjoint(lar_schema_judge *j, const json_t *a, const json_t *b, int depth)
{
    bool fine;
    if (json_is_false(a) || json_is_false(b))
        return true;
    if (!json_is_object(a) || !json_is_object(b) || depth > DEPTH / 4 || ++j->work > MOST_WORK)
        return false;
    const unsigned ta = lar__schema_types(a, &fine), tb = lar__schema_types(b, &fine);
    if (!(ta & tb))
        return true;
    if (listed_refused(j, a, b, depth) || listed_refused(j, b, a, depth))
        return true;
    if ((ta & tb) == LAR_JSON_OBJ &&
        (member_refused(j, a, b, depth) || member_refused(j, b, a, depth)))
        return true;
    for (int side = 0; side < 2; side++) {
        const json_t *s = side ? b : a, *other = side ? a : b;
        const char *ref = json_string_value(json_object_get(s, "$ref"));
        const json_t *target = ref ? lar__schema_find(j->root, ref) : NULL;
        json_t *x;
        size_t i;
        if (target && lar__schema_disjoint(j, target, other, depth + 1))
            return true;
        json_array_foreach(json_object_get(s, "allOf"), i, x)
        {
            if (lar__schema_disjoint(j, x, other, depth + 1))
                return true;
        }
        static const char *const names[] = {"anyOf", "oneOf"};
        for (size_t k = 0; k < 2; k++) {
            const json_t *list = json_object_get(s, names[k]);
            size_t n = 0;
            json_array_foreach(list, i, x)
            {
                n += lar__schema_disjoint(j, x, other, depth + 1);
            }
            if (n && n == json_array_size(list))
                return true;
        }
    }
    return false;
}
