/*
 * src_hf.c - hf:owner/repo[@revision][:file or quantization]. The hub's list of files gives sizes
 * and, for large files, SHA-256; the bytes come by way of its redirects. HF_ENDPOINT and HF_TOKEN
 * as its own tools have them. Depends on source.h, jansson.
 */
#include "base/os.h"
#include "store/source.h"
#include <jansson.h>
#include <string.h>

enum { LIST_MAX = 32 << 20, PAGES_MAX = 50 };

static bool ends_gguf(const char *s)
{
    const size_t n = strlen(s);
    return n > 5 && lar__same_letters(s + n - 5, ".gguf");
}

lar_status lar_hf_read(const char *text, size_t n, lar_offer *o, lar_err *e)
{
    json_error_t je;
    json_t *all = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je), *v;
    size_t i;
    lar_status s = LAR_OK;
    if (!json_is_array(all))
        s = lar_fail(e, LAR_EFORMAT, "the hub's list of files cannot be read: %s",
                     all ? "want a list" : je.text);
    json_array_foreach(all, i, v)
    {
        const char *path = json_string_value(json_object_get(v, "path"));
        const json_t *lfs = json_object_get(v, "lfs");
        const char *sha = json_string_value(json_object_get(lfs, "oid"));
        const json_int_t size = json_integer_value(json_object_get(v, "size"));
        if (s == LAR_OK && path && ends_gguf(path) && size > 0)
            s = lar_offer_add(o, path, NULL, (uint64_t)size, sha, e);
    }
    json_decref(all);
    return s;
}

typedef struct spec {
    char *repo, *revision; /* "owner/repo", "main" */
    const char *want;      /* NULL: none */
} spec;

static lar_status parse(const char *rest, spec *out, lar_err *e)
{
    const size_t repo = strcspn(rest, "@:");
    size_t revision = 0;
    const char *slash = memchr(rest, '/', repo), *p = rest + repo;
    *out = (spec){0};
    if (!slash || slash == rest || slash + 1 == rest + repo ||
        memchr(slash + 1, '/', (size_t)(rest + repo - slash - 1)))
        return lar_fail(e, LAR_EARG, "'hf:%.80s': want hf:OWNER/REPO or hf:OWNER/REPO:FILE", rest);
    if (*p == '@')
        revision = strcspn(++p, ":");
    out->repo = lar_strndup(rest, repo);
    out->revision = revision ? lar_strndup(p, revision) : lar_strdup("main");
    p += revision;
    out->want = *p == ':' && p[1] ? p + 1 : NULL;
    return out->repo && out->revision ? LAR_OK : lar__oom(e);
}

/* What the hub's refusals mean. */
static lar_status explain(const spec *q, const char *endpoint, bool token, const lar_http_end *end,
                          lar_err *e)
{
    if (strcmp(end->error, "GatedRepo") == 0 || (end->code == 403 && token))
        return lar_fail(e, LAR_EIO,
                        "%s is gated: accept its terms at %s/%s, then set HF_TOKEN to a token of "
                        "yours that may read it",
                        q->repo, endpoint, q->repo);
    if (strcmp(end->error, "RevisionNotFound") == 0)
        return lar_fail(e, LAR_ENOTFOUND, "%s has no revision '%s'", q->repo, q->revision);
    if (end->code == 401 || end->code == 404)
        return lar_fail(e, LAR_ENOTFOUND, "%s: no such repository at %s%s", q->repo, endpoint,
                        token ? ", or your HF_TOKEN may not read it"
                              : ", or it is private: set HF_TOKEN");
    return end->status;
}

static bool same_host(const char *url, const char *endpoint)
{
    const size_t n = strlen(endpoint);
    return strncmp(url, endpoint, n) == 0 && url[n] == '/';
}

static lar_status list_files(lar_pull *p, const spec *q, const char *endpoint, const char *token,
                             lar_err *e)
{
    lar_buf url = {0}, body = {0};
    lar_http_head head;
    lar_http_end end = {0};
    lar_status s = LAR_OK;
    lar_buf_printf(&url, "%s/api/models/%s/tree/", endpoint, q->repo);
    lar__url_path(&url, q->revision);
    lar_buf_puts(&url, "?recursive=true");
    for (int page = 0; page < PAGES_MAX && s == LAR_OK; page++) {
        if (url.oom) {
            s = lar__oom(e);
            break;
        }
        const lar_http_get get = {.url = url.p, .token = token, .accept = "application/json"};
        s = lar__pull_document(p, &get, LIST_MAX, &body, &head, &end, e);
        if (s != LAR_OK && s != LAR_ECANCELLED)
            s = explain(q, endpoint, token != NULL, &end, e);
        if (s == LAR_OK)
            s = lar_hf_read(body.p ? body.p : "", body.n, &p->offer, e);
        if (s != LAR_OK || !head.link[0])
            break;
        if (!same_host(head.link, endpoint))
            token = NULL;
        lar_buf_clear(&url);
        lar_buf_puts(&url, head.link);
    }
    lar_buf_free(&url);
    lar_buf_free(&body);
    return s;
}

static lar_status set_addresses(lar_offer *o, const spec *q, const char *endpoint, lar_err *e)
{
    for (size_t i = 0; i < o->n; i++) {
        lar_buf b = {0};
        lar_buf_printf(&b, "%s/%s/resolve/", endpoint, q->repo);
        lar__url_path(&b, q->revision);
        lar_buf_putc(&b, '/');
        lar__url_path(&b, o->files[i].file);
        if (!(o->files[i].url = lar_buf_take(&b)))
            return lar__oom(e);
    }
    return LAR_OK;
}

static lar_status resolve(lar_pull *p, const char *rest, lar_err *e)
{
    const char *token = lar_getenv("HF_TOKEN"), *own = p->o->endpoint;
    spec q;
    if (!own || !*own)
        own = lar_getenv("HF_ENDPOINT");
    if (!own || !*own)
        own = "https://huggingface.co";
    char *endpoint = lar_strndup(own, strlen(own) - (own[strlen(own) - 1] == '/'));
    lar_status s = endpoint ? parse(rest, &q, e) : lar__oom(e);
    if (!endpoint)
        return s;
    token = token && *token ? token : NULL;
    if (s == LAR_OK)
        s = list_files(p, &q, endpoint, token, e);
    if (s == LAR_OK && (s = lar_offer_pick(&p->offer, q.want, e)) != LAR_OK)
        lar_fail_in(e, s, "%s", q.repo);
    if (s == LAR_OK)
        s = set_addresses(&p->offer, &q, endpoint, e);
    p->offer.token = token;
    lar_free(q.repo);
    lar_free(q.revision);
    lar_free(endpoint);
    return s;
}

extern const lar_source_def lar_source_def_hf;
const lar_source_def lar_source_def_hf = {.scheme = "hf:", .resolve = resolve};
