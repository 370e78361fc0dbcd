/*
 * replay.c - runs a fuzz target over the files that it is given, where libFuzzer is not there.
 * Folders are walked, in order of name. Depends on the target alone.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX_DEPTH = 8 };

static int run_path(const char *path, int depth, long *n_inputs);

static int run_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    /* Exactly as long as the file, so that a sanitizer sees any read past its end. */
    uint8_t *p = malloc(size ? size : 1);
    int rc = f && p && fread(p, 1, size, f) == size ? 0 : 1;
    if (rc)
        fprintf(stderr, "%s: cannot be read\n", path);
    else
        LLVMFuzzerTestOneInput(p, size);
    free(p);
    if (f)
        fclose(f);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b); /* names in a folder are unique */
}

static char *join(const char *dir, const char *name)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    char *s = malloc(n);
    if (!s)
        abort();
    snprintf(s, n, "%s/%s", dir, name);
    return s;
}

static int run_folder(const char *path, int depth, long *n_inputs)
{
    DIR *d = opendir(path);
    char **names = NULL;
    size_t n = 0;
    int rc = 0;
    if (!d) {
        fprintf(stderr, "%s: cannot be listed\n", path);
        return 1;
    }
    for (struct dirent *ent; (ent = readdir(d));) {
        if (ent->d_name[0] == '.')
            continue;
        names = realloc(names, (n + 1) * sizeof *names);
        if (!names)
            abort();
        names[n++] = join(path, ent->d_name);
    }
    closedir(d);
    if (n)
        qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        rc |= run_path(names[i], depth + 1, n_inputs);
        free(names[i]);
    }
    free(names);
    return rc;
}

static int run_path(const char *path, int depth, long *n_inputs)
{
    struct stat st;
    if (stat(path, &st) != 0 || depth > MAX_DEPTH) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    if (S_ISDIR(st.st_mode))
        return run_folder(path, depth, n_inputs);
    ++*n_inputs;
    return run_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    long n_inputs = 0;
    int rc = 0;
    for (int i = 1; i < argc; i++)
        rc |= run_path(argv[i], 0, &n_inputs);
    printf("%ld inputs\n", n_inputs);
    return rc;
}
