/*
 * store.h - models by hash. A model is the SHA-256 of its file (of a split model: of its files'
 * SHA-256 in order); a name leads to it; sources say where it can be had, many for one hash.
 * Depends on base, format, libcurl, SQLite, jansson, libsodium.
 *
 * The folder (LAR_MODELS, else the user's data folder):
 *
 *     NAME.gguf                  a name: a link into .store or to a file of the user's, or a file
 *     NAME.settings.json         what suits the model; default: the name that is taken without one
 *     .store/blobs/SHA256        bytes whose hash is their name
 *     .store/blobs/SHA256.json   where they came from
 *     .store/partial/            what is on its way, with its journal and lock: never a model
 *     .store/quarantine/         what turned out to be damaged: never a model
 *     .store/index.db            SQLite: what costs time to find out. Rebuilt when it is lost
 *
 * Names are the folder's own entries, so nothing has to be kept in step with them, and a kill at
 * any moment leaves a model under its name whole or not at all.
 */
#ifndef LAR_STORE_H
#define LAR_STORE_H
#include "base/base.h"

enum { LAR_SHA256 = 32, LAR_SHA256_HEX = 65 };

typedef struct lar_store lar_store;
/* `dir` NULL: the user's folder. It need not be there yet. */
lar_status lar_store_open(const char *dir, lar_store **out, lar_err *e);
void lar_store_close(lar_store *s); /* NULL is allowed */
const char *lar_store_dir(const lar_store *s);

/* ---- names ----------------------------------------------------------------------------------- */

typedef struct lar_store_model {
    char *name, *path; /* path: DIR/NAME.gguf, of a split model the first file */
    uint64_t bytes;    /* of all files */
    int files;         /* a split model's; 1 otherwise */
    bool is_default;
    bool in_place;                    /* the bytes are the user's own file, not the store's */
    char sha256[LAR_SHA256_HEX];      /* "" where it was never computed */
    char architecture[40], quant[24]; /* "" where the file does not say */
    char **sources;                   /* newest first */
    size_t n_sources;
} lar_store_model;

typedef struct lar_store_list {
    lar_store_model *p; /* by name */
    size_t n, cap;
} lar_store_list;
lar_status lar_store_models(lar_store *s, lar_store_list *out, lar_err *e);
void lar_store_list_free(lar_store_list *l);
/* In whatever case, with or without ".gguf"; a hash or the beginning of one (8 digits at least).
 * NULL: none. */
const lar_store_model *lar_store_find(const lar_store_list *l, const char *name);

/* The file that a name means, in the user's folder; lar_free. LAR_ENOTFOUND: none. */
lar_status lar_store_path(const char *name, char **path, lar_err *e);

/* Takes the name away, and bytes of the store that no name leads to any more. *freed: how many. */
lar_status lar_store_remove(lar_store *s, const char *name, uint64_t *freed, lar_err *e);

/* ---- pull, verify ---------------------------------------------------------------------------- */

/* How far a long call is; non-zero cancels it. total 0: not known. rate: bytes per second. */
typedef struct lar_store_progress {
    const char *what; /* the file's name, or what is done */
    uint64_t done, total;
    double rate;
} lar_store_progress;
typedef int lar_store_progress_fn(const lar_store_progress *p, void *user);

typedef struct lar_pull_options {
    const char *source;   /* "hf:owner/repo", "https://...", a path, a name of the catalog ... */
    const char *name;     /* NULL: by the source */
    const char *sha256;   /* what it must be; NULL: as the source says */
    const char *endpoint; /* of hf: and ollama:; NULL: HF_ENDPOINT, OLLAMA_REGISTRY, the usual */
    int connections, retries, stall_seconds;
    bool refresh; /* ask the source even when its model is here */
    lar_store_progress_fn *progress;
    void *user;
} lar_pull_options;

typedef struct lar_pull_result {
    char *name, *path;
    char *source; /* as it is remembered */
    char sha256[LAR_SHA256_HEX];
    uint64_t bytes, fetched; /* of the model; that came over the network */
    bool already;            /* it was here */
    bool vouched;            /* the source or the caller gave the hash */
} lar_pull_result;
/* LAR_ECANCELLED and any failure of the network leave a state that the next pull goes on from. */
lar_status lar_store_pull(lar_store *s, const lar_pull_options *o, lar_pull_result *out,
                          lar_err *e);
void lar_pull_result_free(lar_pull_result *r);

/* Reads a model's files and compares. *problem: "" when they are what they were, else what is
 * wrong; damaged bytes of the store are taken out of it. A file without a recorded hash gets one.
 */
lar_status lar_store_verify(lar_store *s, const lar_store_model *m, lar_store_progress_fn *progress,
                            void *user, char sha256[LAR_SHA256_HEX], char problem[200], lar_err *e);

#endif
