/*
 * src_ollama.c - ollama:[host/][namespace/]model[:tag], the registry protocol of Ollama (OCI's with
 * media types of its own): a manifest names layers by digest, one of which is the model. Where the
 * registry lists hashes of chunks, each is checked as it comes. Depends on source.h, jansson.
 */
#include "base/os.h"
#include "store/source.h"
#include <jansson.h>
#include <string.h>

enum { MANIFEST_MAX = 1 << 20, CHUNKS_MAX = 16 << 20 };

lar_status lar_ollama_read(const char *text, size_t n, lar_offer *o, lar_err *e)
{
    static const char type[] = "application/vnd.ollama.image.model";
    json_error_t je;
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je), *v;
    size_t i;
    lar_status s = LAR_OK;
    if (!json_is_array(json_object_get(j, "layers")))
        s = lar_fail(e, LAR_EFORMAT, "the manifest cannot be read: %s",
                     j ? "it has no layers" : je.text);
    json_array_foreach(json_object_get(j, "layers"), i, v)
    {
        const char *kind = json_string_value(json_object_get(v, "mediaType"));
        const char *digest = json_string_value(json_object_get(v, "digest"));
        const json_int_t size = json_integer_value(json_object_get(v, "size"));
        if (s != LAR_OK || !kind || strcmp(kind, type) != 0)
            continue;
        if (!digest || strncmp(digest, "sha256:", 7) != 0 || !lar__hex_is(digest + 7) || size <= 0)
            s = lar_fail(e, LAR_EFORMAT, "the manifest's model has no SHA-256 or size");
        else
            s = lar_offer_add(o, digest, NULL, (uint64_t)size, digest + 7, e);
    }
    json_decref(j);
    if (s == LAR_OK && o->n != 1)
        s = lar_fail(e, LAR_EUNSUPPORTED, "the manifest has %zu GGUF files, want 1", o->n);
    return s;
}

typedef struct spec {
    char *base; /* ADDRESS/v2/NAMESPACE/MODEL */
    const char *tag;
} spec;

static lar_status parse(lar_pull *p, const char *rest, spec *q, lar_err *e)
{
    const char *own = p->o->endpoint, *colon = strrchr(rest, ':'), *slash = strrchr(rest, '/');
    const size_t n = colon && (!slash || colon > slash) ? (size_t)(colon - rest) : strlen(rest);
    const int host = (int)strcspn(rest, "/");
    lar_buf base = {0}, name = {0};
    size_t slashes = 0;
    for (size_t i = 0; i < n; i++)
        slashes += rest[i] == '/';
    q->tag = rest[n] && rest[n + 1] ? rest + n + 1 : "latest";
    if (!n || slashes > 2 || rest[0] == '/' || rest[n - 1] == '/')
        return lar_fail(e, LAR_EARG, "'ollama:%.80s': want ollama:MODEL or ollama:MODEL:TAG", rest);
    if (!own || !*own)
        own = lar_getenv("OLLAMA_REGISTRY");
    if (slashes == 2)
        lar_buf_printf(&base, "https://%.*s/v2%.*s", host, rest, (int)n - host, rest + host);
    else
        lar_buf_printf(&base, "%s%s/v2/%s%.*s", own && *own ? "" : "https://",
                       own && *own ? own : "registry.ollama.ai", slashes ? "" : "library/", (int)n,
                       rest);
    slash = slash ? slash + 1 : rest;
    lar_buf_printf(&name, "%.*s", (int)(rest + n - slash), slash);
    if (strcmp(q->tag, "latest") != 0)
        lar_buf_printf(&name, "-%s", q->tag);
    p->offer.name = lar_buf_take(&name);
    q->base = lar_buf_take(&base);
    return q->base && p->offer.name ? LAR_OK : lar__oom(e);
}

/* Not every registry has them, and nothing depends on them. */
static lar_status read_chunks(lar_pull *p, const spec *q, lar_err *e)
{
    lar_offer_file *f = &p->offer.files[0];
    lar_buf url = {0}, body = {0};
    lar_http_head head;
    lar_http_end end;
    lar_buf_printf(&url, "%s/chunksums/%s", q->base, f->file);
    const lar_http_get get = {.url = url.p};
    lar_status s =
        url.oom ? lar__oom(e) : lar__pull_document(p, &get, CHUNKS_MAX, &body, &head, &end, e);
    if (s == LAR_OK && lar_pieces_read(body.p ? body.p : "", body.n, f->size, &f->chunks, e))
        f->chunks = (lar_pieces){0};
    lar_buf_free(&url);
    lar_buf_free(&body);
    return s == LAR_ECANCELLED || s == LAR_ENOMEM ? s : LAR_OK;
}

static lar_status read_manifest(lar_pull *p, const spec *q, lar_err *e)
{
    lar_buf url = {0}, body = {0};
    lar_http_head head;
    lar_http_end end = {0};
    lar_buf_printf(&url, "%s/manifests/", q->base);
    lar__url_path(&url, q->tag);
    const lar_http_get get = {.url = url.p,
                              .accept = "application/vnd.docker.distribution.manifest.v2+json"};
    lar_status s =
        url.oom ? lar__oom(e) : lar__pull_document(p, &get, MANIFEST_MAX, &body, &head, &end, e);
    if (s != LAR_OK && end.code == 404)
        s = lar_fail(e, LAR_ENOTFOUND, "no such model or tag: %s", url.p);
    if (s == LAR_OK && (s = lar_ollama_read(body.p ? body.p : "", body.n, &p->offer, e)) != LAR_OK)
        lar_fail_in(e, s, "%s", url.p);
    lar_buf_free(&url);
    lar_buf_free(&body);
    return s;
}

static lar_status resolve(lar_pull *p, const char *rest, lar_err *e)
{
    spec q = {0};
    lar_buf url = {0};
    lar_status s = parse(p, rest, &q, e);
    if (s == LAR_OK)
        s = read_manifest(p, &q, e);
    if (s == LAR_OK)
        s = read_chunks(p, &q, e);
    if (s == LAR_OK) {
        lar_buf_printf(&url, "%s/blobs/%s", q.base, p->offer.files[0].file);
        if (!(p->offer.files[0].url = lar_buf_take(&url)))
            s = lar__oom(e);
    }
    for (char *c = p->offer.name; c && *c; c++)
        if (strchr("\\:*?\"<>|", *c))
            *c = '-';
    lar_free(q.base);
    return s;
}

extern const lar_source_def lar_source_def_ollama;
const lar_source_def lar_source_def_ollama = {.scheme = "ollama:", .resolve = resolve};
