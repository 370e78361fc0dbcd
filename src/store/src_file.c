/* src_file.c - file:PATH, a model that is used where it lies. Depends on source.h. */
#include "store/source.h"
#include <string.h>

static lar_status resolve(lar_pull *p, const char *rest, lar_err *e)
{
    const char *path = strncmp(rest, "///", 3) == 0 ? rest + 2 : rest;
    size_t stem;
    int i, n = 1;
    char *real = lar_file_real(path);
    lar_status s = LAR_OK;
    if (!real)
        return lar_fail(e, LAR_ENOTFOUND, "%s: no such file", path);
    p->offer.in_place = true;
    if (!lar__split_name(real, &stem, &i, &n))
        s = lar_offer_add(&p->offer, real, real, 0, NULL, e);
    else if (i != 1)
        s = lar_fail(e, LAR_EARG, "%s: want the first file of the model", real);
    else
        for (int k = 1; k <= n && s == LAR_OK; k++) {
            lar_buf b = {0};
            lar_buf_printf(&b, "%.*s-%05d-of-%05d.gguf", (int)stem, real, k, n);
            s = b.oom ? lar__oom(e) : lar_offer_add(&p->offer, b.p, b.p, 0, NULL, e);
            lar_buf_free(&b);
        }
    lar_free(real);
    return s;
}

extern const lar_source_def lar_source_def_file;
const lar_source_def lar_source_def_file = {.scheme = "file:", .resolve = resolve};
