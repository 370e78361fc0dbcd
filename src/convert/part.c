/* part.c - files of a folder, and what types can hold. Depends on base/os.h and jansson. */
#include "convert/part.h"
#include "base/os.h"
#include <float.h>
#include <string.h>

enum { TEXT_MAX = 512 << 20 };

char *lar__join(const char *folder, const char *name)
{
    lar_buf b = {0};
    lar_buf_printf(&b, "%s/%s", folder, name);
    return lar_buf_take(&b);
}

bool lar__plain_name(const char *name)
{
    return *name && !strpbrk(name, "/\\:") && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static lar_status map_file(const char *folder, const char *name, lar_map *out, lar_err *e)
{
    char *path = lar__join(folder, name);
    if (!path)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", name);
    const lar_status s = lar_map_open(path, out, e);
    lar_free(path);
    if (s == LAR_OK && out->size > TEXT_MAX) {
        lar_map_close(out);
        return lar_fail(e, LAR_EFORMAT, "%s: larger than %d MiB", name, TEXT_MAX >> 20);
    }
    return s;
}

lar_status lar__load_json(const char *folder, const char *name, json_t **out, lar_err *e)
{
    lar_map m;
    json_error_t why;
    *out = NULL;
    LAR_TRY(map_file(folder, name, &m, e));
    *out = json_loadb((const char *)m.data, m.size, JSON_REJECT_DUPLICATES, &why);
    /* model_max_length is 10^30 in many a tokenizer_config.json. */
    if (!*out && json_error_code(&why) == json_error_numeric_overflow)
        *out = json_loadb((const char *)m.data, m.size,
                          JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
    lar_map_close(&m);
    if (!*out)
        return lar_fail(
            e, json_error_code(&why) == json_error_out_of_memory ? LAR_ENOMEM : LAR_EFORMAT,
            "%s: line %d: %.160s", name, why.line, why.text);
    return LAR_OK;
}

lar_status lar__load_text(const char *folder, const char *name, lar_buf *out, lar_err *e)
{
    lar_map m;
    LAR_TRY(map_file(folder, name, &m, e));
    lar_buf_clear(out);
    lar_buf_add(out, m.data, m.size);
    lar_map_close(&m);
    return out->oom ? lar_fail(e, LAR_ENOMEM, "%s: out of memory", name) : LAR_OK;
}

float lar__largest(const lar_dtype *t)
{
    return t == LAR_DTYPE(f32) ? FLT_MAX : t == LAR_DTYPE(bf16) ? 3.38e38f : 65504.0f;
}
