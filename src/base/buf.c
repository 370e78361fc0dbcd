/*
 * buf.c - the growing byte string. Needs libc only.
 */
#include "base/base.h"
#include <stdio.h>
#include <string.h>

/* Room for n more bytes and the NUL. */
static bool reserve(lar_buf *b, size_t n)
{
    size_t need;
    if (b->oom)
        return false;
    if (!lar_size_add(b->n, n, &need) || !lar_size_add(need, 1, &need)) {
        b->oom = true;
        return false;
    }
    if (need <= b->cap)
        return true;
    size_t cap = LAR_MAX(need, b->cap > SIZE_MAX / 2 ? need : b->cap * 2);
    cap = LAR_MAX(cap, (size_t)64);
    char *p = lar_realloc(b->p, cap);
    if (!p) {
        b->oom = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

void lar_buf_add(lar_buf *b, const void *p, size_t n)
{
    if (!reserve(b, n))
        return;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void lar_buf_puts(lar_buf *b, const char *s)
{
    lar_buf_add(b, s, strlen(s));
}

void lar_buf_putc(lar_buf *b, char c)
{
    lar_buf_add(b, &c, 1);
}

void lar_buf_printf(lar_buf *b, const char *fmt, ...)
{
    if (b->oom)
        return;
    size_t room = b->cap - b->n;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(room ? b->p + b->n : NULL, room, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n >= room) {
        if (!reserve(b, (size_t)n))
            goto out;
        va_start(ap, fmt);
        n = vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    if (n < 0)
        b->oom = true; /* the only error left is a length past INT_MAX */
    else
        b->n += (size_t)n;
out:
    if (b->p)
        b->p[b->n] = 0;
}

void lar_buf_clear(lar_buf *b)
{
    b->n = 0;
    b->oom = false;
    if (b->p)
        b->p[0] = 0;
}

void lar_buf_free(lar_buf *b)
{
    lar_free(b->p);
    *b = (lar_buf){0};
}

char *lar_buf_take(lar_buf *b)
{
    lar_buf_add(b, "", 0); /* an empty one becomes "" */
    if (b->oom) {
        lar_buf_free(b);
        return NULL;
    }
    char *p = b->p;
    *b = (lar_buf){0};
    return p;
}
