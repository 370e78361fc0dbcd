/* api.c - the small parts of lar.h: version, status names, options by size. */
#include "api/api.h"
#include <string.h>

const char *lar_version(void)
{
    return LAR_VERSION;
}

int lar_abi(void)
{
    return LAR_ABI;
}

const char *lar_status_name(lar_status status)
{
    switch (status) {
    case LAR_OK:
        return "LAR_OK";
    case LAR_ENOMEM:
        return "LAR_ENOMEM";
    case LAR_EARG:
        return "LAR_EARG";
    case LAR_EFORMAT:
        return "LAR_EFORMAT";
    case LAR_EUNSUPPORTED:
        return "LAR_EUNSUPPORTED";
    case LAR_EIO:
        return "LAR_EIO";
    case LAR_ECANCELLED:
        return "LAR_ECANCELLED";
    case LAR_EFULL:
        return "LAR_EFULL";
    case LAR_ENOTFOUND:
        return "LAR_ENOTFOUND";
    case LAR_ENUMERIC:
        return "LAR_ENUMERIC";
    }
    return "LAR_UNKNOWN";
}

void lar_string_free(char *s)
{
    lar_free(s);
}

lar_status lar__options(const void *given, void *out, size_t known, const char *what, lar_err *e)
{
    size_t size = known;
    memset(out, 0, known);
    if (!given)
        return LAR_OK;
    memcpy(&size, given, sizeof size);
    if (size < sizeof size || size > 4096)
        return lar_fail(e, LAR_EARG, "%s: .size is %zu, want sizeof the struct (%zu)", what, size,
                        known);
    for (size_t i = known; i < size; i++)
        if (((const char *)given)[i] != 0)
            return lar_fail(e, LAR_EARG,
                            "%s: made for a newer LAR: byte %zu is set, this one knows %zu", what,
                            i, known);
    memcpy(out, given, LAR_MIN(size, known));
    return LAR_OK;
}

char *lar__json_take(json_t *v, bool bad)
{
    char *s = bad || !v ? NULL : lar_json_dump(v);
    json_decref(v);
    return s;
}
