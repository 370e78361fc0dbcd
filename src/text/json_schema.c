/*
 * json_schema.c - JSON Schema to rules. What a value has to satisfy is a list of schemas (its own,
 * those of allOf, where $ref leads); each list that occurs becomes one rule, so that recursion is a
 * call. anyOf and oneOf are alternatives of longer lists; the rest is read off the list, keyword by
 * keyword. Never more than the schema accepts is produced; less where JSON can say the same in many
 * ways: members come in the order of `properties`, members that are not named only where
 * additionalProperties asks for them, white space as printers make it. Depends on base, jansson,
 * json_schema_part.h.
 */
#include "text/json_schema_part.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SCHEMAS = 200, MOST_COUNT = 10000 };

lar_expr *lar__schema_fault(lar_schema_build *b, const char *path, const char *fmt, ...)
{
    va_list ap;
    lar_buf text = {0};
    char line[400];
    if (b->st != LAR_OK)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    lar_buf_printf(&text, "json-schema: %.150s: %s", path, line);
    b->st = lar_fail(b->e, LAR_EARG, "%s", text.p ? text.p : line);
    lar_buf_free(&text);
    return NULL;
}

static void no_memory(lar_schema_build *b)
{
    if (b->st == LAR_OK)
        b->st = lar_fail(b->e, LAR_ENOMEM, "json-schema: out of memory");
}

/* ---- expressions
 * ------------------------------------------------------------------------------------------ */

#define LIST(b, kind, ...)                                                                         \
    lar__expr_list(&(b)->r, kind, (lar_expr *[]){__VA_ARGS__},                                     \
                   sizeof((lar_expr *[]){__VA_ARGS__}) / sizeof(lar_expr *))
#define SEQ(b, ...) LIST(b, LAR_EXPR_SEQ, __VA_ARGS__)
#define ALT(b, ...) LIST(b, LAR_EXPR_ALT, __VA_ARGS__)

static lar_expr *text(lar_schema_build *b, const char *s)
{
    return lar__expr_text(&b->r, s, strlen(s));
}

static lar_expr *never(lar_schema_build *b)
{
    return lar__expr_chars(&b->r, NULL, 0, false);
}

static lar_expr *maybe(lar_schema_build *b, lar_expr *x)
{
    return lar__expr_repeat(&b->r, x, 0, 1);
}

static uint32_t add_rule(lar_schema_build *b, const char *name, lar_expr *body)
{
    const uint32_t r = lar__rules_add(&b->r, name, strlen(name));
    if (r == UINT32_MAX && !b->r.oom)
        lar__schema_fault(b, name, "this makes too many rules");
    if (r != UINT32_MAX)
        b->r.rule[r].body = body;
    return r;
}

/* White space where printers put line ends: none, a space, or a line end and an indentation. */
static lar_expr *space(lar_schema_build *b)
{
    if (!b->space)
        b->space = add_rule(b, "space",
                            maybe(b, ALT(b, text(b, " "),
                                         SEQ(b, text(b, "\n"),
                                             ALT(b, lar__expr_repeat(&b->r, text(b, " "), 0, 40),
                                                 lar__expr_repeat(&b->r, text(b, "\t"), 1, 10))))));
    return lar__expr_rule(&b->r, b->space);
}

static lar_expr *colon(lar_schema_build *b)
{
    return SEQ(b, text(b, ":"), maybe(b, text(b, " ")));
}

static lar_expr *comma(lar_schema_build *b)
{
    return SEQ(b, text(b, ","), space(b));
}

/* ---- lists of schemas
 * ---------------------------------------------------------------------------------------- */

static const char *path_of(lar_schema_build *b, const char *path, const char *key, const char *name)
{
    lar_buf p = {0};
    lar_buf_printf(&p, "%s/%s", path, key);
    if (name)
        lar_buf_putc(&p, '/');
    for (const char *c = name; c && *c; c++) {
        if (*c == '~' || *c == '/')
            lar_buf_puts(&p, *c == '~' ? "~0" : "~1");
        else
            lar_buf_putc(&p, *c);
    }
    const char *kept = p.oom ? NULL : lar_arena_strdup(b->r.arena, p.p, p.n);
    lar_buf_free(&p);
    if (!kept)
        no_memory(b);
    return kept ? kept : path;
}

static const char *path_at(lar_schema_build *b, const char *path, const char *key, size_t i)
{
    char number[24];
    snprintf(number, sizeof number, "%zu", i);
    return path_of(b, path, key, number);
}

/* Keywords that say something of values which is not looked at. All others that are not known say
 * nothing, as the specification has it. */
static void check_keywords(lar_schema_build *b, const json_t *s, const char *path)
{
    static const char *const refused[] = {"not",
                                          "if",
                                          "then",
                                          "else",
                                          "patternProperties",
                                          "propertyNames",
                                          "contains",
                                          "minContains",
                                          "maxContains",
                                          "dependentRequired",
                                          "dependentSchemas",
                                          "dependencies",
                                          "unevaluatedProperties",
                                          "unevaluatedItems",
                                          "$dynamicRef",
                                          "$recursiveRef",
                                          "multipleOf",
                                          "uniqueItems",
                                          "extends",
                                          "disallow",
                                          "divisibleBy"};
    static const char *const counts[] = {"minItems",  "maxItems",      "minLength",
                                         "maxLength", "minProperties", "maxProperties"};
    static const char *const numbers[] = {"minimum", "maximum", "exclusiveMinimum",
                                          "exclusiveMaximum"};
    static const char *const lists[] = {"required", "enum",  "prefixItems",
                                        "anyOf",    "oneOf", "allOf"};
    bool fine;
    for (size_t i = 0; i < LAR_LEN(refused); i++) {
        const json_t *v = json_object_get(s, refused[i]);
        const bool idle = json_is_false(v) && strcmp(refused[i], "uniqueItems") == 0;
        const bool whole = json_is_integer(v) && json_integer_value(v) == 1 &&
                           strcmp(refused[i], "multipleOf") == 0 &&
                           !(lar__schema_types(s, &fine) & LAR_JSON_REAL);
        if (v && !idle && !whole)
            lar__schema_fault(b, path, "the keyword '%s' is not supported", refused[i]);
    }
    for (size_t i = 0; i < LAR_LEN(counts); i++) {
        const json_t *v = json_object_get(s, counts[i]);
        if (v && !(json_is_number(v) && json_number_value(v) >= 0 &&
                   json_number_value(v) == floor(json_number_value(v))))
            lar__schema_fault(b, path, "%s: want a whole number, at least 0", counts[i]);
    }
    for (size_t i = 0; i < LAR_LEN(numbers); i++)
        if (json_object_get(s, numbers[i]) && !json_is_number(json_object_get(s, numbers[i])))
            lar__schema_fault(b, path, "%s: want a number", numbers[i]);
    for (size_t i = 0; i < LAR_LEN(lists); i++)
        if (json_object_get(s, lists[i]) && !json_is_array(json_object_get(s, lists[i])))
            lar__schema_fault(b, path, "%s: want an array", lists[i]);
    if (json_object_get(s, "properties") && !json_is_object(json_object_get(s, "properties")))
        lar__schema_fault(b, path, "properties: want an object");
    /* Below it "#" would mean something else. */
    if (s != b->root && json_is_string(json_object_get(s, "$id")))
        lar__schema_fault(b, path, "the keyword '$id' is not supported but at the root");
    lar__schema_types(s, &fine);
    if (!fine)
        lar__schema_fault(b, path,
                          "type: want one of null, boolean, integer, number, string, array, "
                          "object, or an array of them");
}

/* One schema more, and those that it brings with it. */
static void include(lar_schema_build *b, lar_schemas *v, const json_t *s, const char *path)
{
    const char *ref;
    json_t *part;
    size_t i, at = 0;
    if (b->st != LAR_OK || json_is_true(s))
        return;
    if (json_is_false(s)) {
        v->never = true;
        return;
    }
    if (!json_is_object(s)) {
        lar__schema_fault(b, path, "want a schema: an object, true or false");
        return;
    }
    while (at < v->n && (uintptr_t)v->p[at].s < (uintptr_t)s)
        at++;
    if (at < v->n && v->p[at].s == s)
        return;
    check_keywords(b, s, path);
    if (v->n >= MOST_SCHEMAS) {
        lar__schema_fault(b, path, "more than %d schemas for one value", MOST_SCHEMAS);
        return;
    }
    if (!lar_grow((void **)&v->p, &v->cap, v->n + 1, sizeof *v->p)) {
        no_memory(b);
        return;
    }
    memmove(v->p + at + 1, v->p + at, (v->n - at) * sizeof *v->p);
    v->p[at] = (lar_schema){.s = s, .path = path};
    v->n++;
    const json_t *r = json_object_get(s, "$ref");
    if (r && b->st == LAR_OK) {
        ref = json_string_value(r);
        const json_t *to = ref ? lar__schema_find(b->root, ref) : NULL;
        if (!to)
            lar__schema_fault(
                b, path,
                "the reference '%.100s' leads nowhere within the document, and others "
                "are not supported",
                ref ? ref : "(no string)");
        else
            include(b, v, to, ref); /* the schema's own text */
    }
    json_array_foreach(json_object_get(s, "allOf"), i, part)
    {
        include(b, v, part, path_at(b, path, "allOf", i));
    }
}

static lar_schemas copy(lar_schema_build *b, const lar_schemas *v)
{
    lar_schemas c = {.never = v->never};
    if (v->n && !lar_grow((void **)&c.p, &c.cap, v->n, sizeof *c.p))
        no_memory(b);
    else if (v->n)
        memcpy(c.p, v->p, v->n * sizeof *c.p);
    c.n = b->st == LAR_OK ? v->n : 0;
    return c;
}

static uint64_t hash_of(const lar_schemas *v)
{
    uint64_t h = v->never;
    for (size_t i = 0; i < v->n; i++) {
        const uint64_t x[3] = {h, (uint64_t)(uintptr_t)v->p[i].s,
                               (uint64_t)(v->p[i].any_done + 2 * v->p[i].one_done)};
        h = lar_hash64(x, sizeof x);
    }
    return h;
}

static bool same(const lar_schemas *a, const lar_schemas *b)
{
    bool equal = a->n == b->n && a->never == b->never;
    for (size_t i = 0; equal && i < a->n; i++)
        equal = a->p[i].s == b->p[i].s && a->p[i].any_done == b->p[i].any_done &&
                a->p[i].one_done == b->p[i].one_done;
    return equal;
}

static bool grow_slots(lar_schema_build *b)
{
    const size_t n = b->n_slot ? 2 * b->n_slot : 64;
    uint32_t *slot = lar_alloc_array(n, sizeof *slot);
    if (!slot)
        return false;
    for (size_t k = 0; k < b->n_slot; k++)
        if (b->slot[k]) {
            size_t i = hash_of(&b->todo[b->slot[k] - 1]) & (n - 1);
            while (slot[i])
                i = (i + 1) & (n - 1);
            slot[i] = b->slot[k];
        }
    lar_free(b->slot);
    b->slot = slot;
    b->n_slot = n;
    return true;
}

uint32_t lar__schema_rule(lar_schema_build *b, lar_schemas *v)
{
    uint32_t r = UINT32_MAX;
    if (2 * b->n_todo >= b->n_slot && !grow_slots(b))
        no_memory(b);
    size_t i = b->st == LAR_OK ? hash_of(v) & (b->n_slot - 1) : 0;
    for (; b->st == LAR_OK && b->slot[i]; i = (i + 1) & (b->n_slot - 1))
        if (same(&b->todo[b->slot[i] - 1], v)) {
            lar_free(v->p);
            return b->todo[b->slot[i] - 1].rule;
        }
    if (b->st == LAR_OK)
        r = add_rule(b, v->n ? v->p[0].path : "value", NULL);
    if (r == UINT32_MAX ||
        !lar_grow((void **)&b->todo, &b->cap_todo, b->n_todo + 1, sizeof *b->todo)) {
        no_memory(b);
        lar_free(v->p);
        return UINT32_MAX;
    }
    v->rule = r;
    b->todo[b->n_todo++] = *v;
    b->slot[i] = (uint32_t)b->n_todo;
    return r;
}

static lar_expr *value_of(lar_schema_build *b, lar_schemas *v)
{
    return lar__expr_rule(&b->r, lar__schema_rule(b, v));
}

static const json_t *first_of(const lar_schemas *v, const char *key, const char **path)
{
    for (size_t i = 0; i < v->n; i++)
        if (json_object_get(v->p[i].s, key)) {
            *path = v->p[i].path;
            return json_object_get(v->p[i].s, key);
        }
    return NULL;
}

/* The greatest of lower bounds, or the least of upper ones. */
static double bound(const lar_schemas *v, const char *key, bool greatest, double none)
{
    double x = none;
    for (size_t i = 0; i < v->n; i++) {
        const json_t *n = json_object_get(v->p[i].s, key);
        if (json_is_number(n))
            x = greatest ? fmax(x, json_number_value(n)) : fmin(x, json_number_value(n));
    }
    return x;
}

static const char *where(const lar_schemas *v)
{
    return v->n ? v->p[0].path : "#";
}

/* How many at least and at most; false: impossible. Beyond `most` nobody goes anyway. */
static bool counts(lar_schema_build *b, const lar_schemas *v, const char *least, const char *limit,
                   uint32_t most, uint32_t *min, uint32_t *max)
{
    const double lo = bound(v, least, true, 0), hi = bound(v, limit, false, INFINITY);
    if (lo > MOST_COUNT)
        lar__schema_fault(b, where(v), "%s: more than %d is not supported", least, MOST_COUNT);
    *min = (uint32_t)LAR_MIN(lo, (double)MOST_COUNT);
    *max = isinf(hi) ? LAR_RULE_MANY : (uint32_t)LAR_MIN(hi, (double)LAR_MAX(most, *min));
    return lo <= hi && b->st == LAR_OK;
}

/* ---- values that are listed
 * --------------------------------------------------------------------------------- */

/* null, true, false and numbers; of those the shortest text that reads back. */
static void write_plain(const json_t *v, lar_buf *out)
{
    char t[40];
    if (!json_is_number(v)) {
        lar_buf_puts(out, json_is_true(v) ? "true" : json_is_false(v) ? "false" : "null");
    } else if (json_is_integer(v)) {
        lar_buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    } else {
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(t, sizeof t, "%.*g", digits, json_real_value(v));
            if (strtod(t, NULL) == json_real_value(v))
                break;
        }
        for (char *c = t; *c; c++)
            *c = *c == ',' ? '.' : *c;
        lar_buf_puts(out, t);
    }
}

/* Just this value; members and items with the usual white space. */
static lar_expr *literal(lar_schema_build *b, const json_t *v)
{
    lar_buf t = {0};
    lar_expr *all = text(b, json_is_array(v) ? "[" : "{");
    const char *key;
    json_t *x;
    size_t i, n = 0;
    if (json_is_string(v)) {
        lar_buf_putc(&t, '"');
        lar__json_escape(&t, json_string_value(v), json_string_length(v));
        lar_buf_putc(&t, '"');
    } else if (!json_is_array(v) && !json_is_object(v)) {
        write_plain(v, &t);
    }
    if (t.n || t.oom)
        all = t.oom ? NULL : lar__expr_text(&b->r, t.p, t.n);
    lar_buf_free(&t);
    json_array_foreach(v, i, x)
    {
        all = SEQ(b, all, n++ ? comma(b) : space(b), literal(b, x));
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, x)
    {
        json_t *name = json_string(key);
        all = SEQ(b, all, n++ ? comma(b) : space(b), name ? literal(b, name) : NULL, colon(b),
                  literal(b, x));
        json_decref(name);
    }
    if (json_is_array(v) || json_is_object(v))
        all = SEQ(b, all, n ? space(b) : text(b, ""), text(b, json_is_array(v) ? "]" : "}"));
    return all;
}

/* The values of an enum or const that all schemas accept; NULL where there is no such keyword. */
static lar_expr *listed(lar_schema_build *b, const lar_schemas *v)
{
    const char *path = where(v);
    const json_t *list = first_of(v, "enum", &path), *one = first_of(v, "const", &path);
    const size_t n = one ? 1 : json_array_size(list);
    if (!list && !one)
        return NULL;
    lar_expr **alts = lar_alloc_array(n + 1, sizeof *alts);
    size_t k = 0;
    if (!alts)
        no_memory(b);
    for (size_t i = 0; i < n && alts; i++) {
        const json_t *x = one ? one : json_array_get(list, i);
        bool all = true;
        b->judge.unsure = false;
        for (size_t s = 0; s < v->n && all; s++)
            all = lar__schema_accepts(&b->judge, v->p[s].s, x, 0);
        if (b->judge.unsure && all)
            lar__schema_fault(b, path,
                              "enum or const together with a keyword that cannot be checked here "
                              "(pattern, format)");
        if (all)
            alts[k++] = literal(b, x);
    }
    lar_expr *x = k ? lar__expr_list(&b->r, LAR_EXPR_ALT, alts, k) : never(b);
    lar_free(alts);
    return x;
}

/* ---- strings and numbers
 * --------------------------------------------------------------------------------------- */

static const char *pattern_of(lar_schema_build *b, const lar_schemas *v, const char **path,
                              size_t *n)
{
    static const char *const others[] = {
        "iri",          "iri-reference", "uri-reference",         "uri-template", "idn-email",
        "idn-hostname", "json-pointer",  "relative-json-pointer", "regex"};
    const char *found = NULL;
    for (size_t i = 0; i < v->n; i++)
        for (int k = 0; k < 2; k++) {
            const json_t *x = json_object_get(v->p[i].s, k ? "format" : "pattern");
            const char *name = json_string_value(x), *p = name;
            if (!x)
                continue;
            if (!name)
                lar__schema_fault(b, v->p[i].path, "pattern and format: want a string");
            for (size_t o = 0; k && name && o < LAR_LEN(others); o++)
                if (strcmp(others[o], name) == 0)
                    lar__schema_fault(b, v->p[i].path, "the format '%s' is not supported", name);
            if (k && name)
                p = lar__json_format(name);
            if (!p || (found && strcmp(found, p) == 0))
                continue;
            if (found)
                lar__schema_fault(b, v->p[i].path,
                                  "two patterns or formats for one string are not supported");
            found = p;
            *n = k ? strlen(p) : json_string_length(x);
            *path = v->p[i].path;
        }
    return found;
}

static lar_expr *string_of(lar_schema_build *b, const lar_schemas *v)
{
    uint32_t min, max;
    size_t n = 0;
    const char *path = where(v);
    if (!counts(b, v, "minLength", "maxLength", 8192, &min, &max))
        return never(b);
    const char *pattern = pattern_of(b, v, &path, &n);
    lar_lengths len;
    if (!pattern)
        return lar__json_string(b, min, max);
    lar_expr *x = lar__json_pattern(b, path, pattern, n, &len);
    if (x && (len.min < min || len.max > max))
        return lar__schema_fault(b, path,
                                 "a pattern or format of %s characters together with minLength or "
                                 "maxLength is not supported unless its own lengths are within",
                                 len.max == LAR_RULE_MANY ? "any number of" : "more or fewer");
    return x;
}

static lar_expr *number_of(lar_schema_build *b, const lar_schemas *v, unsigned types)
{
    lar_bound lo = {.v = bound(v, "minimum", true, -INFINITY)},
              hi = {.v = bound(v, "maximum", false, INFINITY)};
    const double over = bound(v, "exclusiveMinimum", true, -INFINITY),
                 under = bound(v, "exclusiveMaximum", false, INFINITY);
    if (over >= lo.v)
        lo = (lar_bound){.exclusive = true, .v = over};
    if (under <= hi.v)
        hi = (lar_bound){.exclusive = true, .v = under};
    lo.is_set = !isinf(lo.v);
    hi.is_set = !isinf(hi.v);
    return lar__json_numbers(b, where(v), types, lo, hi);
}

/* ---- arrays
 * ------------------------------------------------------------------------------------------------------
 */

/* What item number i of an array has to satisfy; item SIZE_MAX is one behind all that are named. */
static uint32_t item_rule(lar_schema_build *b, const lar_schemas *v, size_t i)
{
    lar_schemas need = {0};
    for (size_t k = 0; k < v->n; k++) {
        const json_t *items = json_object_get(v->p[k].s, "items"),
                     *prefix = json_object_get(v->p[k].s, "prefixItems");
        const char *key = "prefixItems", *rest = "items";
        if (json_is_array(items)) { /* as older drafts have it */
            prefix = items;
            key = "items";
            rest = "additionalItems";
            items = json_object_get(v->p[k].s, rest);
        }
        if (i < json_array_size(prefix))
            include(b, &need, json_array_get(prefix, i), path_at(b, v->p[k].path, key, i));
        else if (items)
            include(b, &need, items, path_of(b, v->p[k].path, rest, NULL));
    }
    return lar__schema_rule(b, &need);
}

/* How many items have schemas of their own, and whether more are spoken of. */
static size_t named_items(const lar_schemas *v, bool *more)
{
    size_t n = 0;
    *more = false;
    for (size_t k = 0; k < v->n; k++) {
        const json_t *items = json_object_get(v->p[k].s, "items"),
                     *prefix = json_object_get(v->p[k].s, "prefixItems");
        if (json_is_array(items)) {
            prefix = items;
            items = json_object_get(v->p[k].s, "additionalItems");
        }
        n = LAR_MAX(n, json_array_size(prefix));
        *more = *more || items;
    }
    *more = *more || !n;
    return n;
}

static lar_expr *array_of(lar_schema_build *b, const lar_schemas *v)
{
    uint32_t min, max;
    bool more;
    if (!counts(b, v, "minItems", "maxItems", MOST_COUNT, &min, &max))
        return never(b);
    size_t n = named_items(v, &more);
    n = LAR_MIN(n, max);
    more = (more || min > n) && max > n;
    /* Backwards: behind item i-1, those from i on. */
    lar_expr *rest = text(b, "");
    for (size_t i = n + more; i-- > 0 && b->st == LAR_OK;) {
        lar_expr *item = lar__expr_rule(&b->r, item_rule(b, v, i < n ? i : SIZE_MAX));
        if (i < n) {
            const bool needed = i < min;
            rest = SEQ(b, i ? comma(b) : space(b), item, rest);
            rest = lar__expr_rule(&b->r, add_rule(b, where(v), needed ? rest : maybe(b, rest)));
            continue;
        }
        const uint32_t least = (uint32_t)(min > n ? min - n : 0),
                       most = max == LAR_RULE_MANY ? max : (uint32_t)(max - n);
        lar_expr *next = SEQ(b, comma(b), item);
        if (n)
            rest = lar__expr_repeat(&b->r, next, least, most);
        else
            rest = SEQ(b, space(b), item,
                       lar__expr_repeat(&b->r, next, least ? least - 1 : 0,
                                        most == LAR_RULE_MANY ? most : most - 1));
        if (!n && !least)
            rest = maybe(b, rest);
    }
    return SEQ(b, text(b, "["), rest, space(b), text(b, "]"));
}

/* ---- objects
 * -----------------------------------------------------------------------------------------------------
 */

typedef struct member {
    const char *name;
    bool needed;
    uint32_t rule; /* its name, colon and value */
} member;

/* What the member has to satisfy by all schemas of the object. */
static lar_schemas member_schemas(lar_schema_build *b, const lar_schemas *v, const char *name)
{
    lar_schemas need = {0};
    for (size_t k = 0; k < v->n; k++) {
        const json_t *own = name ? json_object_get(json_object_get(v->p[k].s, "properties"), name)
                                 : NULL,
                     *more = json_object_get(v->p[k].s, "additionalProperties");
        if (own)
            include(b, &need, own, path_of(b, v->p[k].path, "properties", name));
        else if (more)
            include(b, &need, more, path_of(b, v->p[k].path, "additionalProperties", NULL));
    }
    return need;
}

static bool add_member(lar_schema_build *b, member **list, size_t *n, size_t *cap, const char *name,
                       bool needed)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp((*list)[i].name, name) == 0) {
            (*list)[i].needed = (*list)[i].needed || needed;
            return true;
        }
    if (!lar_grow((void **)list, cap, *n + 1, sizeof **list)) {
        no_memory(b);
        return false;
    }
    (*list)[(*n)++] = (member){.name = name, .needed = needed};
    return true;
}

/* In the order of `properties`; what is only required comes last. */
static member *members_of(lar_schema_build *b, const lar_schemas *v, size_t *n)
{
    member *list = NULL;
    size_t cap = 0, i;
    const char *key;
    json_t *x;
    *n = 0;
    for (size_t k = 0; k < v->n && b->st == LAR_OK; k++)
        json_object_foreach(json_object_get(v->p[k].s, "properties"), key, x)
        {
            add_member(b, &list, n, &cap, key, false);
        }
    for (size_t k = 0; k < v->n && b->st == LAR_OK; k++)
        json_array_foreach(json_object_get(v->p[k].s, "required"), i, x)
        {
            if (json_is_string(x))
                add_member(b, &list, n, &cap, json_string_value(x), true);
            else
                lar__schema_fault(b, v->p[k].path, "required: want an array of strings");
        }
    for (size_t m = 0; m < *n && b->st == LAR_OK; m++) {
        lar_schemas need = member_schemas(b, v, list[m].name);
        json_t *name = json_string(list[m].name);
        lar_expr *body = name ? SEQ(b, literal(b, name), colon(b), value_of(b, &need)) : NULL;
        if (!name)
            no_memory(b);
        json_decref(name);
        list[m].rule = add_rule(b, path_of(b, where(v), "properties", list[m].name), body);
    }
    return list;
}

static int by_name(const void *p, const void *q)
{
    return strcmp(((const member *)p)->name, ((const member *)q)->name);
}

/* What may follow the first `at` bytes, which the sorted names n share, in a name that is none of
 * them: characters that stand for themselves. One rule for each beginning of a name. */
static uint32_t other_name(lar_schema_build *b, const member *m, size_t n, size_t at)
{
    lar_range special[200] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    lar_expr *alts[200];
    size_t n_special = 3, n_alts = 0;
    if (b->st != LAR_OK)
        return UINT32_MAX;
    const bool is_name = !m[0].name[at];
    for (size_t i = is_name, end; i < n; i = end) {
        uint32_t c = 0;
        const int k = lar_utf8_decode(m[i].name + at, strlen(m[i].name + at), &c);
        for (end = i + 1; end < n && strncmp(m[end].name + at, m[i].name + at, (size_t)k) == 0;)
            end++;
        if (n_alts + 2 >= LAR_LEN(alts) || at > 1000) {
            lar__schema_fault(b, "#",
                              "additionalProperties beside names like '%.60s' is not "
                              "supported: too many or too long",
                              m[i].name);
            return UINT32_MAX;
        }
        special[n_special++] = (lar_range){c, c};
        alts[n_alts++] = SEQ(b, lar__expr_text(&b->r, m[i].name + at, (size_t)k),
                             lar__expr_rule(&b->r, other_name(b, m + i, end - i, at + (size_t)k)));
    }
    static const lar_range plain[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    alts[n_alts++] =
        SEQ(b, lar__expr_chars(&b->r, special, n_special, true),
            lar__expr_repeat(&b->r, lar__expr_chars(&b->r, plain, 3, true), 0, LAR_RULE_MANY));
    if (!is_name)
        alts[n_alts++] = text(b, "");
    return add_rule(b, "another name", lar__expr_list(&b->r, LAR_EXPR_ALT, alts, n_alts));
}

/* Members that are not named: asked for by a schema, or where none names any. UINT32_MAX: none. */
static uint32_t other_member(lar_schema_build *b, const lar_schemas *v, member *list, size_t n)
{
    bool asked = false, named = false;
    for (size_t k = 0; k < v->n; k++) {
        asked = asked || json_object_get(v->p[k].s, "additionalProperties");
        named = named || json_object_get(v->p[k].s, "properties");
    }
    lar_schemas need = member_schemas(b, v, NULL);
    if ((!asked && named) || need.never || b->st != LAR_OK) {
        lar_free(need.p);
        return UINT32_MAX;
    }
    lar_expr *name = lar__json_string(b, 0, LAR_RULE_MANY);
    member *sorted = n ? lar_alloc_array(n, sizeof *sorted) : NULL;
    if (n && !sorted)
        no_memory(b);
    if (sorted) {
        memcpy(sorted, list, n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, by_name);
        name = SEQ(b, text(b, "\""), lar__expr_rule(&b->r, other_name(b, sorted, n, 0)),
                   text(b, "\""));
        lar_free(sorted);
    }
    return add_rule(b, path_of(b, where(v), "additionalProperties", NULL),
                    SEQ(b, name, colon(b), value_of(b, &need)));
}

/* Behind some member, those of the list from i on, each behind a comma. */
static lar_expr *object_body(lar_schema_build *b, const member *list, size_t n, uint32_t other,
                             uint32_t most_others)
{
    lar_expr *more = other == UINT32_MAX ? NULL : lar__expr_rule(&b->r, other);
    lar_expr **first = lar_alloc_array(n + 2, sizeof *first);
    size_t n_first = 0, lead = 0;
    if (!first) {
        no_memory(b);
        return NULL;
    }
    while (lead < n && !list[lead].needed)
        lead++; /* what may come first: one of these, or the one behind them */
    lar_expr *rest =
        more ? lar__expr_repeat(&b->r, SEQ(b, comma(b), more), 0, most_others) : text(b, "");
    if (lead == n && more && most_others)
        first[n_first++] =
            SEQ(b, more,
                lar__expr_repeat(&b->r, SEQ(b, comma(b), more), 0,
                                 most_others == LAR_RULE_MANY ? most_others : most_others - 1));
    for (size_t i = n; i-- > 0 && b->st == LAR_OK;) {
        lar_expr *x = lar__expr_rule(&b->r, list[i].rule);
        rest = lar__expr_rule(&b->r, add_rule(b, "members", rest));
        if (i <= lead)
            first[n_first++] = SEQ(b, x, rest);
        rest = SEQ(b, list[i].needed ? SEQ(b, comma(b), x) : maybe(b, SEQ(b, comma(b), x)), rest);
    }
    lar_expr *all =
        n_first ? SEQ(b, space(b), lar__expr_list(&b->r, LAR_EXPR_ALT, first, n_first), space(b))
                : NULL;
    lar_free(first);
    return all;
}

static lar_expr *object_of(lar_schema_build *b, const lar_schemas *v)
{
    uint32_t min, max;
    size_t n, needed = 0;
    if (!counts(b, v, "minProperties", "maxProperties", MOST_COUNT, &min, &max))
        return never(b);
    member *list = members_of(b, v, &n);
    const uint32_t other = b->st == LAR_OK ? other_member(b, v, list, n) : UINT32_MAX;
    for (size_t i = 0; i < n; i++)
        needed += list[i].needed;
    /* Names that are not given may come twice, which makes fewer members: so at least one can be
     * told, no more. */
    if (min > needed && min > 1)
        lar__schema_fault(b, where(v),
                          "minProperties of more than 1 is not supported beyond required ones");
    if (max < n && (n > needed || max < needed)) {
        if (max >= needed)
            lar__schema_fault(b, where(v),
                              "maxProperties is not supported where it leaves out some of the "
                              "members that are named");
        lar_free(list);
        return never(b);
    }
    lar_expr *body =
        object_body(b, list, n, other, max == LAR_RULE_MANY ? max : (uint32_t)(max - n));
    lar_free(list);
    if (!body) {
        if (min)
            return never(b);
        body = text(b, "");
    } else if (!needed && !min) {
        body = maybe(b, body);
    }
    return SEQ(b, text(b, "{"), body, text(b, "}"));
}

/* ---- alternatives
 * --------------------------------------------------------------------------------------------------
 */

/* The kinds of values that a list without `type` speaks of: those are meant. */
static unsigned spoken_of(const lar_schemas *v)
{
    static const struct {
        unsigned type;
        const char *keys[8];
    } kinds[] = {
        {LAR_JSON_OBJ,
         {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}},
        {LAR_JSON_ARR, {"items", "prefixItems", "minItems", "maxItems", "additionalItems"}},
        {LAR_JSON_STR, {"minLength", "maxLength", "pattern", "format"}},
        {LAR_JSON_NUM, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}}};
    const char *path;
    unsigned bits = 0;
    if (first_of(v, "type", &path))
        return LAR_JSON_ANY;
    for (size_t i = 0; i < LAR_LEN(kinds); i++)
        for (size_t k = 0; k < 8 && kinds[i].keys[k]; k++)
            if (first_of(v, kinds[i].keys[k], &path))
                bits |= kinds[i].type;
    return bits ? bits : LAR_JSON_ANY;
}

static unsigned types_of(const lar_schemas *v)
{
    unsigned bits = spoken_of(v);
    bool fine;
    for (size_t i = 0; i < v->n; i++)
        bits &= lar__schema_types(v->p[i].s, &fine);
    return bits;
}

static lar_expr *by_type(lar_schema_build *b, const lar_schemas *v)
{
    const unsigned types = types_of(v);
    lar_expr *alts[7];
    size_t n = 0;
    if (types & LAR_JSON_OBJ)
        alts[n++] = object_of(b, v);
    if (types & LAR_JSON_ARR)
        alts[n++] = array_of(b, v);
    if (types & LAR_JSON_STR)
        alts[n++] = string_of(b, v);
    if (types & LAR_JSON_NUM)
        alts[n++] = number_of(b, v, types);
    if (types & LAR_JSON_BOOL)
        alts[n++] = ALT(b, text(b, "true"), text(b, "false"));
    if (types & LAR_JSON_NULL)
        alts[n++] = text(b, "null");
    return n ? lar__expr_list(&b->r, LAR_EXPR_ALT, alts, n) : never(b);
}

/* A name that alternatives x and y give different values: requiring it keeps them apart. */
static const char *discriminator(lar_schema_build *b, const lar_schemas *x, const lar_schemas *y)
{
    const char *key;
    json_t *p;
    if (types_of(x) != LAR_JSON_OBJ || types_of(y) != LAR_JSON_OBJ)
        return NULL;
    for (size_t i = 0; i < x->n; i++)
        json_object_foreach(json_object_get(x->p[i].s, "properties"), key, p)
        {
            for (size_t k = 0; k < y->n; k++) {
                const json_t *q = json_object_get(json_object_get(y->p[k].s, "properties"), key);
                if (q && lar__schema_disjoint(&b->judge, p, q, 0))
                    return key;
            }
        }
    return NULL;
}

static void require(lar_schema_build *b, lar_schemas *v, const char *name, const char *path)
{
    json_t *s = json_pack("{s:[s]}", "required", name);
    if (!s || json_array_append_new(b->own, s))
        no_memory(b);
    else
        include(b, v, s, path);
}

/* oneOf: every value of an alternative has to be refused by all others. */
static void keep_apart(lar_schema_build *b, const json_t *list, lar_schemas *alts, size_t n,
                       const char *path)
{
    for (size_t i = 0; i < n && b->st == LAR_OK; i++)
        for (size_t k = i + 1; k < n && b->st == LAR_OK; k++) {
            if (alts[i].never || alts[k].never ||
                lar__schema_disjoint(&b->judge, json_array_get(list, i), json_array_get(list, k),
                                     0))
                continue;
            const char *name = discriminator(b, &alts[i], &alts[k]);
            if (name) {
                require(b, &alts[i], name, path);
                require(b, &alts[k], name, path);
            } else {
                lar__schema_fault(b, path,
                                  "oneOf: nothing keeps alternatives %zu and %zu apart, so that a "
                                  "value may fit both: use anyOf, or a required member of "
                                  "different constants",
                                  i, k);
            }
        }
}

/* The schemas of list item `at`, whose keyword is done with, and one of its alternatives each. */
static lar_expr *alternatives(lar_schema_build *b, const lar_schemas *v, size_t at, bool one)
{
    const char *key = one ? "oneOf" : "anyOf", *path = v->p[at].path;
    const json_t *list = json_object_get(v->p[at].s, key);
    const size_t n = json_array_size(list);
    lar_schemas *alts = lar_alloc_array(n + 1, sizeof *alts);
    lar_expr **x = lar_alloc_array(n + 1, sizeof(lar_expr *));
    if (!alts || !x)
        no_memory(b);
    for (size_t i = 0; i < n && b->st == LAR_OK; i++) {
        alts[i] = copy(b, v);
        if (b->st != LAR_OK)
            break;
        alts[i].p[at].one_done = v->p[at].one_done || one;
        alts[i].p[at].any_done = v->p[at].any_done || !one;
        include(b, &alts[i], json_array_get(list, i), path_at(b, path, key, i));
    }
    if (one && b->st == LAR_OK)
        keep_apart(b, list, alts, n, path);
    for (size_t i = 0; i < n && b->st == LAR_OK; i++) {
        x[i] = value_of(b, &alts[i]);
        alts[i].p = NULL; /* taken */
    }
    for (size_t i = 0; i < n && alts; i++)
        lar_free(alts[i].p);
    lar_expr *all = b->st != LAR_OK ? NULL
                    : n             ? lar__expr_list(&b->r, LAR_EXPR_ALT, x, n)
                                    : never(b);
    lar_free(alts);
    lar_free(x);
    return all;
}

static lar_expr *body_of(lar_schema_build *b, const lar_schemas *v)
{
    lar_expr *x;
    if (v->never)
        return never(b);
    for (size_t i = 0; i < v->n; i++) {
        if (!v->p[i].any_done && json_object_get(v->p[i].s, "anyOf"))
            return alternatives(b, v, i, false);
        if (!v->p[i].one_done && json_object_get(v->p[i].s, "oneOf"))
            return alternatives(b, v, i, true);
    }
    x = listed(b, v);
    return x || b->st != LAR_OK ? x : by_type(b, v);
}

lar_status lar_grammar_json_schema(const json_t *schema, lar_grammar **out, lar_err *e)
{
    lar_schema_build b = {.root = schema, .judge = {.root = schema}, .own = json_array(), .e = e};
    lar_schemas all = {0};
    uint32_t root = UINT32_MAX;
    *out = NULL;
    if (!lar__rules_init(&b.r) || !b.own)
        no_memory(&b);
    if (b.st == LAR_OK)
        add_rule(&b, "nothing", never(&b)); /* so that 0 is none of the shared ones */
    include(&b, &all, schema, "#");
    if (b.st == LAR_OK)
        root = lar__schema_rule(&b, &all);
    else
        lar_free(all.p);
    for (size_t i = 0; i < b.n_todo && b.st == LAR_OK; i++) {
        const lar_schemas v = b.todo[i]; /* its array stays, the list may move */
        lar_expr *body = body_of(&b, &v);
        if (b.r.oom)
            no_memory(&b);
        b.r.rule[v.rule].body = body;
    }
    if (b.st == LAR_OK)
        b.st = lar__grammar_compile(&b.r, root, out, e);
    for (size_t i = 0; i < b.n_todo; i++)
        lar_free(b.todo[i].p);
    lar_free(b.todo);
    lar_free(b.slot);
    json_decref(b.own);
    lar__rules_free(&b.r);
    return b.st;
}
