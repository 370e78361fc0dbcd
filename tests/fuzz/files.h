/*
 * files.h - for fuzz targets of what reads files: a folder that is gone when the program ends, and
 * inputs of several parts. POSIX, as fuzzing is.
 */
#ifndef LAR_FUZZ_FILES_H
#define LAR_FUZZ_FILES_H
#include "base/base.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char fuzz_folder[200];

static inline void check(bool ok)
{
    if (!ok)
        abort();
}

/* In the folder; overwritten by the next call but one. */
static inline const char *fuzz_path(const char *name)
{
    static char path[2][512];
    static int at;
    at = !at;
    snprintf(path[at], sizeof path[at], "%s/%s", fuzz_folder, name);
    return path[at];
}

static inline int fuzz_count_files(void)
{
    int n = 0;
    DIR *d = opendir(fuzz_folder);
    check(d != NULL);
    for (struct dirent *f; (f = readdir(d));)
        n += f->d_name[0] != '.';
    closedir(d);
    return n;
}

static inline void fuzz_remove_folder(void)
{
    DIR *d = opendir(fuzz_folder);
    for (struct dirent *f; d && (f = readdir(d));)
        if (f->d_name[0] != '.')
            unlink(fuzz_path(f->d_name));
    if (d)
        closedir(d);
    rmdir(fuzz_folder);
}

/* Once, before anything else. */
static inline void fuzz_make_folder(void)
{
    const char *tmp = getenv("TMPDIR");
    if (fuzz_folder[0])
        return;
    snprintf(fuzz_folder, sizeof fuzz_folder, "%s/lar-fuzz-XXXXXX", tmp ? tmp : "/tmp");
    check(mkdtemp(fuzz_folder) != NULL);
    atexit(fuzz_remove_folder);
}

/* Written, or not there when it is empty. */
static inline void fuzz_write(const char *name, lar_str s)
{
    unlink(fuzz_path(name));
    if (!s.n)
        return;
    FILE *f = fopen(fuzz_path(name), "wb");
    check(f && fwrite(s.p, 1, s.n, f) == s.n && fclose(f) == 0);
}

/* What comes before the next line "---", which is taken off; p NULL at the end. */
static inline lar_str fuzz_part(lar_str *rest)
{
    static const char sep[] = "\n---\n";
    const size_t k = sizeof sep - 1;
    lar_str s = *rest;
    for (size_t i = 0; rest->p && i + k <= rest->n; i++)
        if (memcmp(rest->p + i, sep, k) == 0) {
            s.n = i;
            *rest = (lar_str){rest->p + i + k, rest->n - i - k};
            return s;
        }
    *rest = (lar_str){NULL, 0};
    return s;
}

#endif
