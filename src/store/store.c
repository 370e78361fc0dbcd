/* store.c - the store's folder. Depends on part.h. */
#include "store/part.h"
#include <string.h>

lar_status lar__oom(lar_err *e)
{
    return lar_fail(e, LAR_ENOMEM, "out of memory");
}

char *lar__path_join(const char *a, const char *b)
{
    lar_buf p = {0};
    lar_buf_printf(&p, "%s/%s", a, b);
    return lar_buf_take(&p);
}

bool lar__same_letters(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        const char x = *a >= 'A' && *a <= 'Z' ? (char)(*a + 32) : *a;
        const char y = *b >= 'A' && *b <= 'Z' ? (char)(*b + 32) : *b;
        if (x != y)
            return false;
    }
    return *a == *b;
}

static bool set(const char *v)
{
    return v && *v;
}

/* As the XDG rules say, relative values are ignored. */
static char *users_dir(void)
{
    const char *own = lar_getenv("LAR_MODELS");
    if (set(own))
        return lar_strdup(own);
#ifdef _WIN32
    const char *base = lar_getenv("LOCALAPPDATA");
    return set(base) ? lar__path_join(base, "lar/models") : NULL;
#else
    const char *base = lar_getenv("XDG_DATA_HOME"), *home = lar_getenv("HOME");
    if (base && *base == '/')
        return lar__path_join(base, "lar/models");
    return set(home) ? lar__path_join(home, ".local/share/lar/models") : NULL;
#endif
}

lar_status lar_store_open(const char *dir, lar_store **out, lar_err *e)
{
    *out = NULL;
    lar_store *s = lar_alloc(sizeof *s);
    if (!s)
        return lar__oom(e);
    s->dir = dir ? lar_strdup(dir) : users_dir();
    if (!s->dir) {
        lar_free(s);
        return dir ? lar__oom(e)
                   : lar_fail(e, LAR_ENOTFOUND,
                              "no folder for models: set HOME, or LAR_MODELS to a folder");
    }
    *out = s;
    return LAR_OK;
}

void lar_store_close(lar_store *s)
{
    if (!s)
        return;
    lar__index_close(s->index);
    lar_free(s->dir);
    lar_free(s);
}

const char *lar_store_dir(const lar_store *s)
{
    return s->dir;
}

char *lar__store_file(const lar_store *s, const char *sub, const char *name, const char *end)
{
    lar_buf p = {0};
    lar_buf_printf(&p, "%s/.store%s%s%s%s%s", s->dir, *sub ? "/" : "", sub, *name ? "/" : "", name,
                   end);
    return lar_buf_take(&p);
}
