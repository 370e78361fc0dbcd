/* source.c - the tables of sources and known models, and picking a file of an offer. Depends on
 * source.h. */
#include "store/source.h"
#include <stdio.h>
#include <string.h>

#define SOURCE(name) extern const lar_source_def lar_source_def_##name;
#include "store/sources.def"
#undef SOURCE

const lar_source_def *const lar_sources[] = {
#define SOURCE(name) &lar_source_def_##name,
#include "store/sources.def"
#undef SOURCE
};
const size_t lar_n_sources = LAR_LEN(lar_sources);

const lar_catalog_entry lar_catalog[] = {
#define MODEL(name, sha256, bytes, source, settings) {name, sha256, bytes, source, settings},
#include "store/catalog.def"
#undef MODEL
};
const size_t lar_n_catalog = LAR_LEN(lar_catalog);

const lar_source_def *lar_source_find(const char *source)
{
    for (size_t i = 0; i < lar_n_sources; i++)
        if (strncmp(source, lar_sources[i]->scheme, strlen(lar_sources[i]->scheme)) == 0)
            return lar_sources[i];
    return NULL;
}

static void free_file(lar_offer_file *f)
{
    lar_free(f->file);
    lar_free(f->url);
    lar_pieces_free(&f->chunks);
    *f = (lar_offer_file){0};
}

void lar_offer_free(lar_offer *o)
{
    for (size_t i = 0; i < o->n; i++)
        free_file(&o->files[i]);
    lar_free(o->files);
    lar_free(o->name);
    *o = (lar_offer){0};
}

lar_status lar_offer_add(lar_offer *o, const char *file, const char *url, uint64_t size,
                         const char *sha256, lar_err *e)
{
    lar_offer_file f = {.size = size};
    f.file = lar_strdup(file);
    f.url = url ? lar_strdup(url) : NULL;
    if (sha256 && lar__hex_is(sha256))
        memcpy(f.sha256, sha256, LAR_SHA256_HEX);
    if (!f.file || (url && !f.url) ||
        !lar_grow((void **)&o->files, &o->cap, o->n + 1, sizeof *o->files)) {
        free_file(&f);
        return lar__oom(e);
    }
    o->files[o->n++] = f;
    return LAR_OK;
}

void lar__url_path(lar_buf *b, const char *path)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    for (; *path; path++)
        if (strchr(plain, *path))
            lar_buf_putc(b, *path);
        else
            lar_buf_printf(b, "%%%02X", (unsigned)(unsigned char)*path);
}

/* ---- picking -----------------------------------------------------------------------------------
 */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool of_word(char c)
{
    c = lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* Whether `word` stands in `text` by itself, in whatever case. */
static bool has_word(const char *text, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = text; n && *p; p++) {
        size_t i = 0;
        while (i < n && lower(p[i]) == lower(word[i]))
            i++;
        if (i == n && !of_word(p[n]) && (p == text || !of_word(p[-1])))
            return true;
    }
    return false;
}

/* What a model begins with: not a vision part, not a split's later file. */
static bool candidate(const lar_offer_file *f)
{
    size_t stem;
    int i, n;
    const char *slash = strrchr(f->file, '/'), *base = slash ? slash + 1 : f->file;
    return strncmp(base, "mmproj", 6) != 0 && (!lar__split_name(f->file, &stem, &i, &n) || i == 1);
}

/* The one with this word in its name, the shortest of several; `n_found` says of how many. */
static const lar_offer_file *with_word(const lar_offer *o, const char *word, size_t *n_found)
{
    const lar_offer_file *best = NULL;
    *n_found = 0;
    for (size_t i = 0; i < o->n; i++) {
        const lar_offer_file *f = &o->files[i];
        if (!candidate(f) || (word && !has_word(f->file, word)))
            continue;
        ++*n_found;
        if (!best || strlen(f->file) < strlen(best->file))
            best = f;
    }
    return best;
}

static const lar_offer_file *choose(const lar_offer *o, const char *want)
{
    static const char *const order[] = {"Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_NL", "IQ4_XS",
                                        "Q5_K_M", "Q5_K_S", "Q4_1", "Q6_K",   "Q8_0",
                                        "Q3_K_M", "BF16",   "F16",  "F32"};
    size_t n;
    for (size_t i = 0; want && i < o->n; i++)
        if (strcmp(o->files[i].file, want) == 0)
            return &o->files[i];
    if (want)
        return with_word(o, want, &n);
    for (size_t i = 0; i < LAR_LEN(order); i++) {
        const lar_offer_file *f = with_word(o, order[i], &n);
        if (f)
            return f;
    }
    const lar_offer_file *only = with_word(o, NULL, &n);
    return n == 1 ? only : NULL;
}

static lar_status none(const lar_offer *o, const char *want, lar_err *e)
{
    lar_buf b = {0};
    size_t shown = 0;
    for (size_t i = 0; i < o->n && b.n < 280; i++)
        if (candidate(&o->files[i]))
            lar_buf_printf(&b, "%s%s", shown++ ? ", " : "", o->files[i].file);
    lar_status s =
        shown ? lar_fail(e, LAR_ENOTFOUND, "%s%.60s%s; there are: %.300s",
                         want ? "no file or quantization '" : "which file? Name one after a colon",
                         want ? want : "", want ? "'" : "", b.oom ? "" : b.p)
              : lar_fail(e, LAR_ENOTFOUND, "there is no GGUF file");
    lar_buf_free(&b);
    return s;
}

lar_status lar_offer_pick(lar_offer *o, const char *want, lar_err *e)
{
    size_t stem, other;
    int i, n, at, of;
    const lar_offer_file *f = choose(o, want);
    if (!f)
        return none(o, want, e);
    lar_offer kept = {.name = o->name, .token = o->token, .in_place = o->in_place};
    const bool split = lar__split_name(f->file, &stem, &i, &n);
    const size_t parts = split ? (size_t)n : 1;
    if (!(kept.files = lar_alloc_array(parts, sizeof *kept.files)))
        return lar__oom(e);
    kept.n = kept.cap = parts;
    const char *first = f->file;
    for (size_t k = 0; k < o->n; k++) {
        lar_offer_file *x = &o->files[k];
        const bool part = split && lar__split_name(x->file, &other, &at, &of) && of == n &&
                          other == stem && strncmp(x->file, first, stem) == 0;
        if (part && !kept.files[at - 1].file) {
            kept.files[at - 1] = *x;
            if (x != f) /* its name is still looked at */
                *x = (lar_offer_file){0};
        } else if (!split && x == f) {
            kept.files[0] = *x;
        }
    }
    lar_status s = LAR_OK;
    for (size_t k = 0; k < parts && s == LAR_OK; k++)
        if (!kept.files[k].file)
            s = lar_fail(e, LAR_ENOTFOUND, "%s: part %zu of %zu is missing", first, k + 1, parts);
    o->files[f - o->files] = (lar_offer_file){0};
    o->name = NULL;
    lar_offer_free(o);
    *o = kept;
    return s;
}
