/* json.c - see json.h. Depends on base and jansson. */
#include "tasks/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Deeper than jansson's parser lets in; what we build ourselves is flat. */
enum { MAX_DEPTH = 2100 };

lar_status lar_json_load(const char *text, size_t n, const char *where, json_t **out, lar_err *e)
{
    json_error_t je;
    if (n > LAR_JSON_MAX_BYTES)
        return lar_fail(e, LAR_EARG, "%s: %zu bytes of JSON, want at most %d", where, n,
                        LAR_JSON_MAX_BYTES);
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (*out)
        return LAR_OK;
    if (json_error_code(&je) == json_error_out_of_memory)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", where);
    return lar_fail(e, LAR_EARG, "%s: not valid JSON at line %d, column %d: %s", where, je.line,
                    je.column, je.text);
}

static void write_string(lar_buf *b, const char *p, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    lar_buf_putc(b, '"');
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        lar_buf_add(b, p + from, i - from);
        from = i + 1;
        char two[2] = {'\\', (char)c};
        switch (c) {
        case '\n':
            two[1] = 'n';
            break;
        case '\t':
            two[1] = 't';
            break;
        case '\r':
            two[1] = 'r';
            break;
        case '"':
        case '\\':
            break;
        default: {
            char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            lar_buf_add(b, u, sizeof u);
            continue;
        }
        }
        lar_buf_add(b, two, 2);
    }
    lar_buf_add(b, p + from, n - from);
    lar_buf_putc(b, '"');
}

/* The shortest of 15, 16 or 17 digits that reads back; a decimal comma of the host's locale is
 * undone. */
static void write_real(lar_buf *b, double v)
{
    char s[40];
    if (!isfinite(v)) {
        lar_buf_puts(b, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, v);
        if (digits == 17 || strtod(s, NULL) == v)
            break;
    }
    bool real = false;
    for (char *p = s; *p; p++) {
        if (*p == ',')
            *p = '.';
        real = real || *p == '.' || *p == 'e';
    }
    lar_buf_puts(b, s);
    if (!real)
        lar_buf_puts(b, ".0");
}

static void write_value(lar_buf *b, const json_t *v, int depth)
{
    const char *key;
    json_t *item;
    size_t i;
    if (!v || depth > MAX_DEPTH) {
        lar_buf_puts(b, "null");
        return;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT: {
        bool first = true;
        lar_buf_putc(b, '{');
        json_object_foreach((json_t *)(uintptr_t)v, key, item)
        {
            if (!first)
                lar_buf_putc(b, ',');
            first = false;
            write_string(b, key, strlen(key));
            lar_buf_putc(b, ':');
            write_value(b, item, depth + 1);
        }
        lar_buf_putc(b, '}');
        return;
    }
    case JSON_ARRAY:
        lar_buf_putc(b, '[');
        json_array_foreach(v, i, item)
        {
            if (i)
                lar_buf_putc(b, ',');
            write_value(b, item, depth + 1);
        }
        lar_buf_putc(b, ']');
        return;
    case JSON_STRING:
        write_string(b, json_string_value(v), json_string_length(v));
        return;
    case JSON_INTEGER:
        lar_buf_printf(b, "%lld", (long long)json_integer_value(v));
        return;
    case JSON_REAL:
        write_real(b, json_real_value(v));
        return;
    case JSON_TRUE:
        lar_buf_puts(b, "true");
        return;
    case JSON_FALSE:
        lar_buf_puts(b, "false");
        return;
    case JSON_NULL:
        lar_buf_puts(b, "null");
        return;
    }
}

void lar_json_write(lar_buf *b, const json_t *v)
{
    write_value(b, v, 0);
}

char *lar_json_dump(const json_t *v)
{
    lar_buf b = {0};
    lar_json_write(&b, v);
    char *s = lar_buf_take(&b);
    if (!s)
        lar_buf_free(&b);
    return s;
}

json_t *lar_json_text(const char *p, size_t n)
{
    json_t *v = json_stringn(p ? p : "", n);
    if (v)
        return v;
    lar_buf b = {0};
    for (size_t i = 0; i < n;) {
        int k = lar_utf8_decode(p + i, n - i, NULL);
        if (k > 0)
            lar_buf_add(&b, p + i, (size_t)k);
        else
            lar_buf_puts(&b, "\xEF\xBF\xBD");
        i += k > 0 ? (size_t)k : 1;
    }
    if (!b.oom)
        v = json_stringn(b.p ? b.p : "", b.n);
    lar_buf_free(&b);
    return v;
}

void lar_json_put(json_t *obj, const char *key, json_t *v, bool *bad)
{
    if (json_object_set_new(obj, key, v) != 0)
        *bad = true;
}

void lar_json_push(json_t *arr, json_t *v, bool *bad)
{
    if (json_array_append_new(arr, v) != 0)
        *bad = true;
}
