/*
 * err.c - filling lar_err and the log's sink. Needs libc only.
 */
#include "base/base.h"
#include <stdio.h>
#include <string.h>

/* A cut must not leave half a character at the end: callers put messages into JSON. */
static void cut_whole(char *s, size_t cap)
{
    size_t n = strlen(s);
    if (n + 1 >= cap)
        s[n - lar_utf8_incomplete(s, n)] = 0;
}

static void format(char *out, size_t cap, const char *fmt, va_list ap)
{
    if (vsnprintf(out, cap, fmt, ap) < 0)
        out[0] = 0;
    cut_whole(out, cap);
}

lar_status lar_fail(lar_err *e, lar_status code, const char *fmt, ...)
{
    if (!e)
        return code;
    char msg[sizeof e->msg]; /* an argument may be e->msg itself */
    va_list ap;
    va_start(ap, fmt);
    format(msg, sizeof msg, fmt, ap);
    va_end(ap);
    e->code = code;
    memcpy(e->msg, msg, sizeof msg);
    return code;
}

lar_status lar_fail_in(lar_err *e, lar_status code, const char *fmt, ...)
{
    if (!e)
        return code;
    char msg[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    format(msg, sizeof msg, fmt, ap);
    va_end(ap);
    size_t n = strlen(msg);
    const char *parts[] = {": ", e->msg};
    for (int i = 0; i < 2; i++)
        for (const char *s = parts[i]; *s && n < sizeof msg - 1; s++)
            msg[n++] = *s;
    msg[n] = 0;
    cut_whole(msg, sizeof msg);
    if (code != LAR_OK)
        e->code = code;
    memcpy(e->msg, msg, sizeof msg);
    return e->code;
}

void lar_log_put(const lar_log *log, lar_log_level level, const char *fmt, ...)
{
    if (!log || !log->fn)
        return;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    format(line, sizeof line, fmt, ap);
    va_end(ap);
    log->fn(level, line, log->user);
}
