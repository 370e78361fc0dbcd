/* verify.c - reading models again. Depends on part.h. */
#include "store/part.h"
#include <stdio.h>
#include <string.h>

static const int64_t RECENT = 2000000000; /* ns: within a clock's tick a file may change unseen */

void lar__remember_hash(lar_store *s, const char *path, const lar_file_id *id, const char *sha256)
{
    lar__facts f;
    if (lar_time() - LAR_MAX(id->modified, id->changed) < RECENT)
        return;
    lar__facts_of(s, path, id, &f);
    memcpy(f.sha256, sha256, LAR_SHA256_HEX);
    lar__index_learn(lar__index_of(s), id, &f);
}

/* Out of the store; the names that lead to it lead nowhere until it is pulled again. */
static void quarantine(lar_store *s, const char *sha256)
{
    char *from = lar__store_file(s, "blobs", sha256, ""),
         *to = lar__store_file(s, "quarantine", sha256, "");
    if (from && to)
        lar_file_place(from, to, false, NULL);
    lar_free(from);
    lar_free(to);
}

typedef struct verifying {
    lar_store *s;
    const lar_store_model *m;
    lar_store_progress_fn *progress;
    void *user;
    uint64_t done;
    char *problem; /* [200] */
} verifying;

static lar_status verify_file(verifying *v, const char *path, uint8_t sha[LAR_SHA256], lar_err *e)
{
    char was[LAR_SHA256_HEX], hex[LAR_SHA256_HEX];
    lar_file_id id;
    const bool blob = lar__blob_hash(v->s, path, was);
    LAR_TRY(
        lar__hash_file(path, v->m->name, v->done, v->m->bytes, v->progress, v->user, sha, &id, e));
    v->done += id.size;
    lar__hex(sha, hex);
    if (blob && strcmp(hex, was) != 0) {
        quarantine(v->s, was);
        snprintf(v->problem, 200, "damaged: SHA-256 is %s; pull it again", hex);
    } else if (!blob) {
        lar__remember_hash(v->s, path, &id, hex);
    }
    return LAR_OK;
}

/* A file of the user's: its source is remembered under the hash that it had. */
static void see_change(verifying *v, const char *sha256)
{
    char was[LAR_SHA256_HEX], *name = NULL, *real = lar_file_real(v->m->path);
    lar_buf uri = {0};
    lar_buf_printf(&uri, "file:%s", real ? real : "");
    if (real && !uri.oom && lar__index_source(lar__index_of(v->s), uri.p, was, &name) &&
        strcmp(was, sha256) != 0)
        snprintf(v->problem, 200, "has changed: SHA-256 was %s", was);
    lar_free(name);
    lar_free(real);
    lar_buf_free(&uri);
}

lar_status lar_store_verify(lar_store *s, const lar_store_model *m, lar_store_progress_fn *progress,
                            void *user, char sha256[LAR_SHA256_HEX], char problem[200], lar_err *e)
{
    verifying v = {.s = s, .m = m, .progress = progress, .user = user, .problem = problem};
    uint8_t(*sha)[LAR_SHA256] = lar_alloc_array((size_t)m->files, sizeof *sha);
    lar_status st = sha ? LAR_OK : lar__oom(e);
    problem[0] = 0;
    for (int i = 0; i < m->files && st == LAR_OK; i++) {
        char *path = m->files > 1 ? lar__name_path(s, m->name, i, m->files) : lar_strdup(m->path);
        st = path ? verify_file(&v, path, sha[i], e) : lar__oom(e);
        lar_free(path);
    }
    if (st == LAR_OK) {
        lar__hash_model((const uint8_t(*)[LAR_SHA256])sha, m->files, sha256);
        if (m->in_place && !problem[0])
            see_change(&v, sha256);
    }
    lar_free(sha);
    return st;
}
