/*
 * source.h - where models can be had: a const descriptor for each scheme, in sources.def. What a
 * source offers is data: files with addresses, sizes and hashes as far as it knows them.
 * Depends on fetch.h.
 */
#ifndef LAR_STORE_SOURCE_H
#define LAR_STORE_SOURCE_H
#include "store/fetch.h"

typedef struct lar_offer_file {
    char *file; /* its name at the source, with folders */
    char *url;
    uint64_t size;               /* 0: not said */
    char sha256[LAR_SHA256_HEX]; /* "": not said */
    lar_pieces chunks;           /* with hashes, where the source has them */
} lar_offer_file;

typedef struct lar_offer {
    char *name; /* for the model; NULL: by the file's name */
    const char *token;
    bool in_place; /* files[].url is a path, and stays one */
    lar_offer_file *files;
    size_t n, cap;
} lar_offer;
void lar_offer_free(lar_offer *o);
lar_status lar_offer_add(lar_offer *o, const char *file, const char *url, uint64_t size,
                         const char *sha256, lar_err *e);

/* One pull under way. */
typedef struct lar_pull {
    lar_store *s;
    const lar_pull_options *o;
    lar_http *http; /* made when first wanted: lar__pull_http */
    uint64_t wire;
    lar_offer offer;
} lar_pull;
lar_status lar__pull_http(lar_pull *p, lar_err *e);
int lar__pull_poll(void *pull); /* non-zero: cancelled */
/* A short document of the source. */
lar_status lar__pull_document(lar_pull *p, const lar_http_get *get, size_t most, lar_buf *body,
                              lar_http_head *head, lar_http_end *end, lar_err *e);

typedef struct lar_source_def {
    const char *scheme; /* with its colon */
    /* Fills p->offer by what follows the scheme. */
    lar_status (*resolve)(lar_pull *p, const char *rest, lar_err *e);
    /* Writes offer.files[0] to `path` and names it where that is not known; NULL: over HTTP. */
    lar_status (*obtain)(lar_pull *p, const char *path, lar_err *e);
} lar_source_def;
/* By a source's scheme; NULL: none. */
const lar_source_def *lar_source_find(const char *source);
extern const lar_source_def *const lar_sources[];
extern const size_t lar_n_sources;

/* Models known by name, with the hash that they must have. */
typedef struct lar_catalog_entry {
    const char *name, *sha256;
    uint64_t bytes;
    const char *source, *settings;
} lar_catalog_entry;
extern const lar_catalog_entry lar_catalog[];
extern const size_t lar_n_catalog;

/* Of a listing, the file that `want` means: a path, a quantization's name, NULL: Q4_K_M or the
 * next best. Keeps that file alone, or all of its parts in order. */
lar_status lar_offer_pick(lar_offer *o, const char *want, lar_err *e);

/* ---- answers of hubs, read as what they are: untrusted ------------------------------------------
 */

/* A hub's list of files; adds those that are models. */
lar_status lar_hf_read(const char *text, size_t n, lar_offer *o, lar_err *e);
/* A manifest: the layer that is the model. */
lar_status lar_ollama_read(const char *text, size_t n, lar_offer *o, lar_err *e);

/* Percent-encoded for an address; slashes stay. */
void lar__url_path(lar_buf *b, const char *path);

#endif
