/* eval_data.c - a data set: lines of JSON to items, every fault told with its line. */
#include "tasks/eval.h"
#include "tasks/json.h"
#include <sodium.h>
#include <string.h>

enum { ITEMS = 1 << 24 };

typedef struct loader {
    const lar_eval_desc *d;
    lar_eval_data *out;
    json_t *ids;      /* id: line */
    json_t *subjects; /* subject: index */
    lar_err *e;
    size_t line;
} loader;

static lar_status no_memory(const loader *l)
{
    return lar_fail(l->e, LAR_ENOMEM, "%s: out of memory", l->out->path);
}

static lar_status fault(const loader *l, const char *what, const char *value)
{
    return lar_fail(l->e, LAR_EFORMAT, "%s:%zu: %s%s%.80s", l->out->path, l->line, what,
                    value ? ": found " : "", value ? value : "");
}

static lar_status missing(const loader *l, const char *field)
{
    return lar_fail(l->e, LAR_EFORMAT, "%s:%zu: field \"%s\" is missing or empty", l->out->path,
                    l->line, field);
}

/* Texts and whole numbers as text; NULL when it is neither (or out of memory). */
static char *as_text(const json_t *v)
{
    lar_buf b = {0};
    if (json_is_string(v))
        return lar_strndup(json_string_value(v), json_string_length(v));
    if (!json_is_integer(v))
        return NULL;
    lar_buf_printf(&b, "%lld", (long long)json_integer_value(v));
    return lar_buf_take(&b);
}

static bool blank(const char *s)
{
    return s[strspn(s, " \t\r\n")] == 0;
}

/* ---- choices and answers --------------------------------------------------------------------- */

/* A text that holds JSON (tables keep lists so) is read; anything else is itself. New reference. */
static json_t *unpacked(const json_t *v)
{
    if (!json_is_string(v))
        return json_incref((json_t *)(uintptr_t)v);
    return json_loads(json_string_value(v), JSON_REJECT_DUPLICATES, NULL);
}

static lar_status add_choice(const loader *l, lar_eval_item *it, const json_t *v)
{
    char *s = as_text(v);
    if (!s || blank(s)) {
        lar_free(s);
        return fault(l, "a choice is empty or no text", NULL);
    }
    const int bad = json_array_append_new(it->choices, json_string(s));
    lar_free(s);
    return bad ? no_memory(l) : LAR_OK;
}

/* Of an object, null members are choices that this question does not have. */
static lar_status choices_of(const loader *l, lar_eval_item *it, const json_t *v, const char *key)
{
    const char *name;
    json_t *x;
    size_t i;
    const char *gold = it->gold == -2 ? key : NULL;
    it->gold = -1;
    if (json_is_array(v)) {
        json_array_foreach(v, i, x)
        {
            LAR_TRY(add_choice(l, it, x));
        }
        return LAR_OK;
    }
    json_object_foreach((json_t *)(uintptr_t)v, name, x)
    {
        if (json_is_null(x))
            continue;
        if (gold && strcmp(gold, name) == 0)
            it->gold = (int)json_array_size(it->choices);
        LAR_TRY(add_choice(l, it, x));
    }
    return LAR_OK;
}

static lar_status read_choices(const loader *l, lar_eval_item *it, const char *answer)
{
    const lar_eval_desc *d = l->d;
    const json_t *where = d->f_choices, *x;
    lar_status s = LAR_OK;
    size_t i;
    if (!(it->choices = json_array()))
        return no_memory(l);
    it->gold = -2; /* where to look for a key */
    if (json_is_object(where)) {
        s = choices_of(l, it, json_object_get(where, "fixed"), answer);
    } else if (json_is_string(where)) {
        const json_t *v = lar__eval_at(it->row, json_string_value(where));
        json_t *u = v ? unpacked(v) : NULL;
        s = json_is_array(u) || json_is_object(u)
                ? choices_of(l, it, u, answer)
                : lar_fail(l->e, LAR_EFORMAT, "%s:%zu: field \"%s\": want a list of choices",
                           l->out->path, l->line, json_string_value(where));
        json_decref(u);
    } else {
        it->gold = -1;
        json_array_foreach(where, i, x)
        {
            const json_t *v = lar__eval_at(it->row, json_string_value(x));
            if (s == LAR_OK)
                s = v ? add_choice(l, it, v) : missing(l, json_string_value(x));
        }
    }
    const size_t n = json_array_size(it->choices);
    if (s == LAR_OK && (n < 2 || n > LAR_EVAL_CHOICES))
        s = lar_fail(l->e, LAR_EFORMAT, "%s:%zu: %zu choices, want 2 to %d", l->out->path, l->line,
                     n, LAR_EVAL_CHOICES);
    return s;
}

/* "B", "b", "(B)". */
static int letter_of(const char *s)
{
    s += strspn(s, " (");
    const char c = (char)(*s | 32);
    return c >= 'a' && c <= 'z' && s[1 + strspn(s + 1, " ).")] == 0 ? c - 'a' : -1;
}

static int number_of(const char *s)
{
    int n = 0;
    if (!*s || strlen(s) > 6 || s[strspn(s, "0123456789")])
        return -1;
    for (; *s; s++)
        n = n * 10 + (*s - '0');
    return n;
}

static lar_status read_gold(const loader *l, lar_eval_item *it, const char *answer)
{
    const int n = (int)json_array_size(it->choices);
    char what[80];
    const json_t *x;
    size_t i;
    switch (l->d->answer) {
    case LAR_EVAL_BY_LETTER:
        it->gold = letter_of(answer);
        break;
    case LAR_EVAL_BY_INDEX:
        it->gold = number_of(answer);
        break;
    case LAR_EVAL_BY_NUMBER:
        it->gold = number_of(answer) - 1;
        break;
    case LAR_EVAL_BY_TEXT:
        json_array_foreach(it->choices, i, x)
        {
            if (it->gold < 0 && strcmp(json_string_value(x), answer) == 0)
                it->gold = (int)i;
        }
        break;
    case LAR_EVAL_BY_KEY: /* found with the choices */
        break;
    }
    if (it->gold >= 0 && it->gold < n)
        return LAR_OK;
    lar_buf b = {0};
    static const char *const kind[] = {"letter", "index", "number", "text", "key"};
    lar_buf_printf(&b, "the answer is no %s of one of %d choices", kind[l->d->answer], n);
    memcpy(what, b.p ? b.p : "", b.p ? LAR_MIN(b.n + 1, sizeof what) : 1);
    lar_buf_free(&b);
    return fault(l, what, answer);
}

/* One text or a list of them, none of them empty. */
static lar_status read_answers(const loader *l, lar_eval_item *it, const json_t *v)
{
    const json_t *x;
    size_t i;
    if (!(it->answers = json_array()))
        return no_memory(l);
    for (i = 0; i < (json_is_array(v) ? json_array_size(v) : 1); i++) {
        x = json_is_array(v) ? json_array_get(v, i) : v;
        char *s = as_text(x);
        const bool ok = s && !blank(s);
        const int bad = ok && json_array_append_new(it->answers, json_string(s));
        lar_free(s);
        if (!ok)
            return fault(l, "an answer is empty or no text", NULL);
        if (bad)
            return no_memory(l);
    }
    return i ? LAR_OK : missing(l, l->d->f_answer);
}

static lar_status read_choice_item(const loader *l, lar_eval_item *it)
{
    const json_t *v = lar__eval_at(it->row, l->d->f_answer);
    char *answer = v ? as_text(v) : NULL;
    if (!answer)
        return v ? fault(l, "the answer is no text and no whole number", NULL)
                 : missing(l, l->d->f_answer);
    lar_status s = read_choices(l, it, answer);
    if (s == LAR_OK)
        s = read_gold(l, it, answer);
    lar_free(answer);
    return s;
}

static lar_status read_rubric_item(const loader *l, const lar_eval_item *it)
{
    const json_t *m = lar__eval_at(it->row, l->d->f_messages), *x;
    const json_t *r = lar__eval_at(it->row, l->d->f_rubrics);
    size_t i;
    if (!json_is_array(m) || !json_array_size(m))
        return missing(l, l->d->f_messages);
    json_array_foreach(m, i, x)
    {
        if (!json_is_string(json_object_get(x, "role")) ||
            !json_is_string(json_object_get(x, "content")))
            return fault(l, "a message without \"role\" or \"content\"", NULL);
    }
    if (!json_is_array(r) || !json_array_size(r))
        return missing(l, l->d->f_rubrics);
    json_array_foreach(r, i, x)
    {
        const double p = json_number_value(json_object_get(x, "points"));
        if (!json_is_string(json_object_get(x, "criterion")) ||
            !json_is_number(json_object_get(x, "points")) || !(p >= -1e6 && p <= 1e6))
            return fault(l, "a rubric without \"criterion\" (a text) or \"points\" (a number)",
                         NULL);
    }
    return LAR_OK;
}

/* ---- a line ---------------------------------------------------------------------------------- */

static bool wanted(const lar_eval_desc *d, const json_t *row)
{
    const char *key;
    json_t *list, *x;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)d->filter, key, list)
    {
        const json_t *v = lar__eval_at(row, key);
        bool in = false;
        json_array_foreach(list, i, x)
        {
            in = in || json_equal((json_t *)(uintptr_t)v, x);
        }
        if (!in)
            return false;
    }
    return true;
}

/* Of a list, the first text with the prefix. */
static const json_t *subject_value(const lar_eval_desc *d, const json_t *row)
{
    const json_t *v = d->f_subject ? lar__eval_at(row, d->f_subject) : NULL, *x;
    size_t i;
    if (!json_is_array(v))
        return v;
    json_array_foreach(v, i, x)
    {
        if (json_is_string(x) &&
            strncmp(json_string_value(x), d->subject_prefix, strlen(d->subject_prefix)) == 0)
            return x;
    }
    return NULL;
}

static lar_status find_subject(loader *l, lar_eval_item *it)
{
    lar_eval_data *o = l->out;
    const json_t *v = subject_value(l->d, it->row);
    char *name = v ? as_text(v) : lar_strdup(l->d->f_subject ? "(none)" : "all");
    if (!name)
        return v ? fault(l, "the subject is no text", NULL) : no_memory(l);
    const json_t *known = json_object_get(l->subjects, name);
    if (known) {
        it->subject = (size_t)json_integer_value(known);
        lar_free(name);
        return LAR_OK;
    }
    it->subject = o->n_subjects;
    if (json_object_set_new(l->subjects, name, json_integer((json_int_t)o->n_subjects)) ||
        !lar_grow((void **)&o->subject, &o->cap_subjects, o->n_subjects + 1, sizeof *o->subject)) {
        lar_free(name);
        return no_memory(l);
    }
    o->subject[o->n_subjects++] = name;
    return LAR_OK;
}

static lar_status find_id(loader *l, lar_eval_item *it)
{
    const json_t *v = l->d->f_id ? lar__eval_at(it->row, l->d->f_id) : NULL;
    if (l->d->f_id && !v)
        return missing(l, l->d->f_id);
    json_t *number = v ? NULL : json_integer((json_int_t)l->line);
    it->id = as_text(v ? v : number);
    json_decref(number);
    if (!it->id)
        return v ? fault(l, "the id is no text and no whole number", NULL) : no_memory(l);
    const json_t *before = json_object_get(l->ids, it->id);
    if (before)
        return lar_fail(l->e, LAR_EFORMAT, "%s:%zu: the id \"%.60s\" is that of line %lld too",
                        l->out->path, l->line, it->id, (long long)json_integer_value(before));
    return json_object_set_new(l->ids, it->id, json_integer((json_int_t)l->line)) ? no_memory(l)
                                                                                  : LAR_OK;
}

static lar_status read_item(loader *l, lar_eval_item *it)
{
    const lar_eval_desc *d = l->d;
    if (d->metric == LAR_EVAL_RUBRIC)
        return read_rubric_item(l, it);
    const json_t *q = lar__eval_at(it->row, d->f_question);
    if (!json_is_string(q) || blank(json_string_value(q)))
        return missing(l, d->f_question);
    if (d->metric != LAR_EVAL_EXACT)
        return read_choice_item(l, it);
    const json_t *v = lar__eval_at(it->row, d->f_answer);
    return v ? read_answers(l, it, v) : missing(l, d->f_answer);
}

static void item_free(lar_eval_item *it)
{
    json_decref(it->row);
    json_decref(it->choices);
    json_decref(it->answers);
    lar_free(it->id);
    *it = (lar_eval_item){0};
}

/* it->row is set; the item is kept, or left out and counted. */
static lar_status place(loader *l, lar_eval_item *it, bool *kept)
{
    lar_eval_data *o = l->out;
    *kept = false;
    if (!json_is_object(it->row))
        return fault(l, "want a JSON object", NULL);
    if (!wanted(l->d, it->row)) {
        o->filtered++;
        return LAR_OK;
    }
    lar_status s = read_item(l, it);
    if (s == LAR_EFORMAT && l->d->skip_unusable) {
        o->skipped++;
        return LAR_OK;
    }
    if (s == LAR_OK)
        s = find_id(l, it);
    if (s == LAR_OK)
        s = find_subject(l, it);
    if (s == LAR_OK && o->n == ITEMS)
        s = fault(l, "too many items", NULL);
    if (s == LAR_OK && !lar_grow((void **)&o->item, &o->cap, o->n + 1, sizeof *o->item))
        s = no_memory(l);
    if (s == LAR_OK) {
        o->item[o->n++] = *it;
        *kept = true;
    }
    return s;
}

static lar_status read_line(loader *l, const char *p, size_t n)
{
    lar_eval_item it = {.line = l->line, .gold = -1};
    json_error_t je;
    bool kept;
    size_t i = 0;
    while (i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r'))
        i++;
    if (i == n)
        return LAR_OK;
    it.row = json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (!it.row)
        return json_error_code(&je) == json_error_out_of_memory
                   ? no_memory(l)
                   : lar_fail(l->e, LAR_EFORMAT, "%s:%zu: not valid JSON, column %d: %s",
                              l->out->path, l->line, je.column, je.text);
    const lar_status s = place(l, &it, &kept);
    if (!kept)
        item_free(&it);
    return s;
}

static lar_status read_lines(loader *l, const char *p, size_t n, size_t most)
{
    if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        p += 3;
        n -= 3;
    }
    for (l->line = 1; n && (!most || l->out->n < most); l->line++) {
        const char *end = memchr(p, '\n', n);
        const size_t k = end ? (size_t)(end - p) : n;
        LAR_TRY(read_line(l, p, k));
        p += k + (end ? 1 : 0);
        n -= k + (end ? 1 : 0);
    }
    return LAR_OK;
}

lar_status lar__eval_data_load(const lar_eval_desc *d, const char *path, size_t most,
                               lar_eval_data *out, lar_err *e)
{
    lar_map m;
    *out = (lar_eval_data){.path = path};
    LAR_TRY(lar_map_open(path, &m, e));
    loader l = {.d = d, .out = out, .ids = json_object(), .subjects = json_object(), .e = e};
    lar_status s = l.ids && l.subjects ? LAR_OK : no_memory(&l);
    if (s == LAR_OK)
        s = read_lines(&l, (const char *)m.data, m.size, most);
    if (s == LAR_OK && !out->n)
        s = lar_fail(e, LAR_EFORMAT,
                     "%s: no items (%zu unusable, %zu left out by the description's filter)", path,
                     out->skipped, out->filtered);
    crypto_hash_sha256(out->sha256, m.data, m.size);
    lar_map_close(&m);
    json_decref(l.ids);
    json_decref(l.subjects);
    if (s != LAR_OK)
        lar__eval_data_free(out);
    return s;
}

void lar__eval_data_free(lar_eval_data *d)
{
    for (size_t i = 0; i < d->n; i++)
        item_free(&d->item[i]);
    for (size_t i = 0; i < d->n_subjects; i++)
        lar_free(d->subject[i]);
    lar_free(d->item);
    lar_free(d->subject);
    *d = (lar_eval_data){0};
}
