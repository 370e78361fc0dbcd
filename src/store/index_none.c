/*
 * index_none.c - the store's index in a build without SQLite: nothing is known or kept, so files
 * are looked into each time and sources are asked each time. Depends on part.h.
 */
#include "store/part.h"

lar__index *lar__index_of(lar_store *s)
{
    (void)s;
    return NULL;
}

void lar__index_close(lar__index *x)
{
    (void)x;
}

bool lar__index_facts(lar__index *x, const lar_file_id *id, lar__facts *out)
{
    (void)x;
    (void)id;
    (void)out;
    return false;
}

void lar__index_learn(lar__index *x, const lar_file_id *id, const lar__facts *f)
{
    (void)x;
    (void)id;
    (void)f;
}

bool lar__index_source(lar__index *x, const char *uri, char sha256[LAR_SHA256_HEX], char **name)
{
    (void)x;
    (void)uri;
    (void)sha256;
    *name = NULL;
    return false;
}

void lar__index_add_source(lar__index *x, const char *uri, const char *sha256, const char *name)
{
    (void)x;
    (void)uri;
    (void)sha256;
    (void)name;
}

size_t lar__index_sources(lar__index *x, const char *sha256, char ***out)
{
    (void)x;
    (void)sha256;
    *out = NULL;
    return 0;
}

void lar__index_forget(lar__index *x, const char *sha256)
{
    (void)x;
    (void)sha256;
}
