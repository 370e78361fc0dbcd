/*
 * tools.c - see tools.h. Text is held back while it may be the beginning of a mark, a call until it
 * is whole: its name and its arguments are then told, each at once.
 */
#include "serve/tools.h"
#include <string.h>

static const struct {
    const char *open, *close;
} marks[] = {
    {"<tool_call>", "</tool_call>"},
    {"[TOOL_CALLS]", NULL},
    {"<|python_tag|>", NULL},
};

void serve_tools_init(serve_tools *t, const json_t *known, serve_tool_fn *fn, void *user)
{
    *t = (serve_tools){.known = json_array_size(known) ? known : NULL, .fn = fn, .user = user};
}

static void tell(serve_tools *t, serve_tool_event kind, const char *p, size_t n)
{
    if (n || kind == SERVE_TOOL_NAME)
        t->fn(kind, p, n, t->user);
}

static void drop(serve_tools *t, size_t n)
{
    memmove(t->in.p, t->in.p + n, t->in.n - n);
    t->in.n -= n;
    t->in.p[t->in.n] = 0;
}

static size_t blanks(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && strchr(" \n\r\t,", p[i]) && p[i])
        i++;
    return i;
}

/* Bytes of the JSON value at p; 0: it is not whole yet. */
static size_t value_at(const char *p, size_t n)
{
    int depth = 0;
    bool text = false;
    for (size_t i = 0; i < n; i++) {
        if (text) {
            if (p[i] == '\\')
                i++;
            else if (p[i] == '"' && (text = false, !depth))
                return i + 1;
        } else if (p[i] == '"') {
            text = true;
        } else if (p[i] == '{' || p[i] == '[') {
            depth++;
        } else if ((p[i] == '}' || p[i] == ']') && --depth <= 0) {
            return depth ? i : i + 1;
        } else if (!depth && (p[i] == ',')) {
            return i;
        }
    }
    return 0;
}

static bool is_known(const serve_tools *t, const char *name)
{
    size_t i;
    json_t *tool;
    json_array_foreach((json_t *)t->known, i, tool)
    {
        const json_t *fn = json_object_get(tool, "function");
        const char *own = json_string_value(json_object_get(fn ? fn : tool, "name"));
        if (own && strcmp(own, name) == 0)
            return true;
    }
    return false;
}

/* The whole call `text`: its name and arguments are told. False: it is none. */
static bool tell_call(serve_tools *t, const char *p, size_t n, bool must_know)
{
    json_t *call = json_loadb(p, n, JSON_DISABLE_EOF_CHECK, NULL);
    const char *name = json_string_value(json_object_get(call, "name"));
    json_t *args = json_object_get(call, "arguments");
    if (!args)
        args = json_object_get(call, "parameters");
    const bool is = name && (!must_know || is_known(t, name));
    if (is) {
        char *text = json_is_string(args) ? NULL : json_dumps(args, JSON_COMPACT);
        const char *a = json_is_string(args) ? json_string_value(args) : text ? text : "{}";
        t->calls++;
        tell(t, SERVE_TOOL_NAME, name, strlen(name));
        tell(t, SERVE_TOOL_ARGUMENTS, a, strlen(a));
        lar_free(text);
    }
    json_decref(call);
    return is;
}

/* Inside a mark: calls one after another. */
static void read_calls(serve_tools *t, bool last)
{
    for (;;) {
        size_t skip = blanks(t->in.p, t->in.n);
        const char *p = t->in.p + skip;
        const size_t n = t->in.n - skip, k = t->end ? strlen(t->end) : 0;
        if (k && n >= k && memcmp(p, t->end, k) == 0) {
            drop(t, skip + k);
            t->inside = false;
            return;
        }
        if (n && (*p == '[' || *p == ']')) { /* around several calls */
            drop(t, skip + 1);
            continue;
        }
        const size_t whole = n && *p == '{' ? value_at(p, n) : 0;
        if (whole && tell_call(t, p, whole, false)) {
            drop(t, skip + whole);
            continue;
        }
        const char *brace = n && *p != '{' ? memchr(p, '{', n) : NULL;
        const size_t args = brace ? value_at(brace, n - (size_t)(brace - p)) : 0;
        if (args) { /* name{...}, perhaps with a mark between */
            const size_t name = strcspn(p, "[{ \n");
            t->calls++;
            tell(t, SERVE_TOOL_NAME, p, name);
            tell(t, SERVE_TOOL_ARGUMENTS, brace, args);
            drop(t, (size_t)(brace - t->in.p) + args);
            continue;
        }
        if (last) {
            tell(t, SERVE_TOOL_TEXT, p, n);
            drop(t, t->in.n);
        }
        return;
    }
}

/* How much of the end of p may be the beginning of a mark. */
static size_t may_begin(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t m = 0; m < LAR_LEN(marks); m++)
            if (n - i < strlen(marks[m].open) && memcmp(p + i, marks[m].open, n - i) == 0)
                return n - i;
    return 0;
}

/* An answer that is a JSON object and nothing else: a call, if its name is a tool's. True: wait. */
static bool bare_call(serve_tools *t, bool last)
{
    const size_t skip = blanks(t->in.p, t->in.n);
    if (t->started || skip == t->in.n || t->in.p[skip] != '{')
        return !t->started && skip == t->in.n && !last;
    const size_t whole = value_at(t->in.p + skip, t->in.n - skip);
    if (!whole)
        return !last;
    if (tell_call(t, t->in.p + skip, whole, true)) {
        drop(t, skip + whole);
        drop(t, blanks(t->in.p, t->in.n));
        if (t->in.n && *t->in.p == ';') /* between several */
            drop(t, 1);
        return true;
    }
    return false;
}

static void read_text(serve_tools *t, bool last)
{
    const char *found = NULL;
    size_t m = 0;
    for (size_t i = 0; i < LAR_LEN(marks); i++) {
        const char *at = strstr(t->in.p, marks[i].open);
        if (at && (!found || at < found)) {
            found = at;
            m = i;
        }
    }
    if (!found && bare_call(t, last))
        return;
    size_t n =
        found ? (size_t)(found - t->in.p) : t->in.n - (last ? 0 : may_begin(t->in.p, t->in.n));
    size_t shown = n;
    /* Blank lines around calls are no text; those at the end may be before one. */
    while ((found || !last || t->calls) && shown && strchr(" \n", t->in.p[shown - 1]))
        shown--;
    t->started = t->started || shown;
    tell(t, SERVE_TOOL_TEXT, t->in.p, shown);
    drop(t, found || last ? n : shown);
    if (found) {
        drop(t, strlen(marks[m].open));
        t->inside = true;
        t->end = marks[m].close;
    }
}

static void read_all(serve_tools *t, bool last)
{
    size_t before;
    do {
        before = t->in.n;
        if (t->inside)
            read_calls(t, last);
        else
            read_text(t, last);
    } while (t->in.n && t->in.n < before);
}

void serve_tools_put(serve_tools *t, const char *p, size_t n)
{
    if (!t->known) {
        tell(t, SERVE_TOOL_TEXT, p, n);
        return;
    }
    lar_buf_add(&t->in, p, n);
    if (t->in.p && !t->in.oom)
        read_all(t, false);
}

void serve_tools_end(serve_tools *t)
{
    if (t->in.n && !t->in.oom)
        read_all(t, true);
    lar_buf_free(&t->in);
}
