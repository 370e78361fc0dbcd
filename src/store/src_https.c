/*
 * src_https.c - https:// and http:// addresses, [#sha256=HEX]. A split model's first file stands
 * for all of them. Depends on source.h.
 */
#include "store/source.h"
#include <stdio.h>
#include <string.h>

/* The i-th file of a split model by the address of the first. */
static lar_status add_part(lar_offer *o, const char *url, size_t n, size_t stem, int i, int of,
                           lar_err *e)
{
    lar_buf b = {0};
    lar_buf_printf(&b, "%.*s-%05d-of-%05d.gguf", (int)stem, url, i, of);
    lar_buf_puts(&b, url + n); /* a query */
    char *part = lar_buf_take(&b);
    const char *slash = part ? strrchr(part, '/') : NULL;
    lar_status s = slash ? lar_offer_add(o, slash + 1, part, 0, NULL, e) : lar__oom(e);
    lar_free(part);
    return s;
}

static lar_status add_files(lar_offer *o, const char *url, const char *sha256, lar_err *e)
{
    const size_t n = strcspn(url, "?");
    char *path = lar_strndup(url, n);
    const char *slash = path ? strrchr(path, '/') : NULL;
    size_t stem;
    int i, of = 0;
    lar_status s = LAR_OK;
    if (!path)
        return lar__oom(e);
    if (!slash || strlen(slash) < 2 || slash < path + 8)
        s = lar_fail(e, LAR_EARG, "%s: names no file", path);
    else if (!lar__split_name(path, &stem, &i, &of))
        s = lar_offer_add(o, slash + 1, url, 0, sha256, e);
    else if (i != 1)
        s = lar_fail(e, LAR_EARG, "%s: want the address of the first file", path);
    for (int k = 1; k <= of && s == LAR_OK; k++)
        s = add_part(o, url, n, stem, k, of, e);
    lar_free(path);
    return s;
}

static lar_status resolve(lar_pull *p, const char *rest, lar_err *e)
{
    const size_t n = strcspn(p->o->source, "#"), host = strcspn(rest, "/") == 0 ? 2 : 0;
    const char *hash = p->o->source[n] ? p->o->source + n + 1 : "", *sha = NULL;
    if (!host || strncmp(rest, "//", 2) != 0)
        return lar_fail(e, LAR_EARG, "%s: want two slashes after the colon", p->o->source);
    if (memchr(rest + 2, '@', strcspn(rest + 2, "/?#")))
        return lar_fail(e, LAR_EARG, "an address with a password in it would be kept in the index");
    if (*hash) {
        sha = strncmp(hash, "sha256=", 7) == 0 ? hash + 7 : "";
        if (!lar__hex_is(sha))
            return lar_fail(e, LAR_EARG, "#%.80s: want #sha256= and 64 digits", hash);
    }
    char *url = lar_strndup(p->o->source, n);
    lar_status s = url ? add_files(&p->offer, url, sha, e) : lar__oom(e);
    lar_free(url);
    return s;
}

extern const lar_source_def lar_source_def_https, lar_source_def_http;
const lar_source_def lar_source_def_https = {.scheme = "https:", .resolve = resolve};
const lar_source_def lar_source_def_http = {.scheme = "http:", .resolve = resolve};
