/*
 * part.h - what the files of the store share. Depends on store.h, base.
 */
#ifndef LAR_STORE_PART_H
#define LAR_STORE_PART_H
#include "base/disk.h"
#include "store/store.h"

typedef struct lar__index lar__index;
struct lar_store {
    char *dir;
    lar__index *index; /* opened when first asked for; NULL: not yet, or it cannot be had */
    bool index_tried;
};

/* DIR/.store/SUB/NAME + END in new memory; SUB or NAME may be "". NULL: out of memory. */
char *lar__store_file(const lar_store *s, const char *sub, const char *name, const char *end);
char *lar__path_join(const char *a, const char *b);
bool lar__same_letters(const char *a, const char *b);
lar_status lar__oom(lar_err *e);

/* ---- names.c ----------------------------------------------------------------------------------
 */

/* Whether it can be the name of a model: no slashes, nothing hidden, of bounded length. */
lar_status lar__name_check(const char *name, lar_err *e);
/* DIR/NAME.gguf, or of a split model's file `i` of n DIR/NAME-0000i-of-0000n.gguf. */
char *lar__name_path(const lar_store *s, const char *name, int i, int n);
/* The name that a file's name gives: without folders, ".gguf" and a split's number. NULL: oom. */
char *lar__name_of_file(const char *file);
/* "NAME-00001-of-00003.gguf": true, and the length of NAME, the number and the count. */
bool lar__split_name(const char *file, size_t *stem, int *i, int *n);
/* The hash that a path in blobs/ is named by. */
bool lar__blob_hash(const lar_store *s, const char *path, char sha256[LAR_SHA256_HEX]);

/* ---- hash.c -----------------------------------------------------------------------------------
 */

bool lar__hex_is(const char *hex); /* 64 hex digits and no more */
void lar__hex(const uint8_t sha[LAR_SHA256], char out[LAR_SHA256_HEX]);
void lar__hash(const void *p, size_t n, uint8_t sha[LAR_SHA256]);
/* Of a file, while it does not change; `id` is what it was. */
lar_status lar__hash_file(const char *path, const char *what, uint64_t before, uint64_t total,
                          lar_store_progress_fn *progress, void *user, uint8_t sha[LAR_SHA256],
                          lar_file_id *id, lar_err *e);
/* Of a model with these files. */
void lar__hash_model(const uint8_t (*sha)[LAR_SHA256], int n, char out[LAR_SHA256_HEX]);

/* 64 digits to bytes. */
void lar__unhex(const char *hex, uint8_t sha[LAR_SHA256]);

/* ---- verify.c ---------------------------------------------------------------------------------
 */

/* Of a file of the user's, unless it is so young that it might change unseen. */
void lar__remember_hash(lar_store *s, const char *path, const lar_file_id *id, const char *sha256);

/* ---- index.c ----------------------------------------------------------------------------------
 */

/* What is known of a file with this identity. */
typedef struct lar__facts {
    char sha256[LAR_SHA256_HEX], architecture[40], quant[24];
} lar__facts;

/* None of these fails: the index only saves time. NULL index: nothing is known or kept. */
lar__index *lar__index_of(lar_store *s);
void lar__index_close(lar__index *x);
bool lar__index_facts(lar__index *x, const lar_file_id *id, lar__facts *out);
void lar__index_learn(lar__index *x, const lar_file_id *id, const lar__facts *f);
/* Where a source led the last time: the model's hash and name. */
bool lar__index_source(lar__index *x, const char *uri, char sha256[LAR_SHA256_HEX], char **name);
void lar__index_add_source(lar__index *x, const char *uri, const char *sha256, const char *name);
/* Sources of a model, newest first; the caller's, each and the list end with lar_free. */
size_t lar__index_sources(lar__index *x, const char *sha256, char ***out);
void lar__index_forget(lar__index *x, const char *sha256);

/* ---- facts.c ----------------------------------------------------------------------------------
 */

/* By the index, else by a look at the file. False: it is not a model. */
bool lar__facts_of(lar_store *s, const char *path, const lar_file_id *id, lar__facts *out);
/* SHA256.json beside a blob: from where a lost index is rebuilt. */
void lar__record_source(lar_store *s, const char *sha256, const char *uri, const char *name);
void lar__rebuild(lar_store *s, lar__index *x);

#endif
