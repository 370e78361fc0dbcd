/*
 * os.h - the operating system behind one interface: os_posix.c, os_win.c.
 */
#ifndef LAR_OS_H
#define LAR_OS_H
#include "base/base.h"

/* What tells states of a file apart without reading it. Times are nanoseconds since 1970;
 * `changed` also moves when only the file's attributes do. */
typedef struct lar_file_id {
    uint64_t device, inode, size;
    int64_t modified, changed;
} lar_file_id;

/* A file mapped read-only. Paths are UTF-8 on every system. */
typedef struct lar_map {
    const uint8_t *data;
    size_t size;
    void *handle;
    lar_file_id id; /* of the file that was mapped */
} lar_map;
lar_status lar_map_open(const char *path, lar_map *out, lar_err *e);
void lar_map_close(lar_map *m);
/* Say that [data+off, +n) will be read soon. A hint. */
void lar_map_prefetch(const lar_map *m, size_t off, size_t n);

/* Whether two paths lead to one file that is there. */
bool lar_file_same(const char *a, const char *b);

/* Write a whole file so that a kill at any moment leaves the old one or the new one: written aside,
 * fsync, rename. The writer gets a growing file through lar_file_write. */
typedef struct lar_file lar_file;
lar_status lar_file_create(const char *path, lar_file **out, lar_err *e);
lar_status lar_file_write(lar_file *f, const void *p, size_t n, lar_err *e);
lar_status lar_file_commit(lar_file *f, lar_err *e); /* ends f in either case */
void lar_file_abort(lar_file *f);                    /* removes what was written; NULL is allowed */
/* The same for a file of a cache: nobody else may read it (POSIX), and nothing waits for the disk.
 * After a power cut it may hold anything: who reads it must check. */
lar_status lar_file_create_cache(const char *path, lar_file **out, lar_err *e);

/* A file that grows line by line and is one process's at a time (LAR_EIO where another has it);
 * made when it is not there. What was written is the system's when the call returns: a kill loses
 * none of it. */
typedef struct lar_append lar_append;
lar_status lar_append_open(const char *path, lar_append **out, lar_err *e);
lar_status lar_append_cut(lar_append *a, uint64_t keep, lar_err *e); /* drop what comes after */
lar_status lar_append_write(lar_append *a, const void *p, size_t n, lar_err *e);
void lar_append_close(lar_append *a); /* NULL is allowed */

lar_status lar_file_identify(const char *path, lar_file_id *out, lar_err *e);
/* The first bytes of a regular file, n at most. */
lar_status lar_file_read(const char *path, void *buf, size_t n, size_t *got, lar_err *e);
bool lar_file_remove(const char *path);
bool lar_file_touch(const char *path, int64_t modified);
/* Folders that are missing are made for this user alone (POSIX: 0700). */
lar_status lar_dir_make(const char *path, lar_err *e);
typedef void lar_dir_fn(const char *name, const lar_file_id *id, void *user);
/* Calls fn for each regular file in a folder, in no order. */
lar_status lar_dir_each(const char *path, lar_dir_fn *fn, void *user, lar_err *e);

double lar_clock(void);    /* monotonic seconds */
int64_t lar_time(void);    /* nanoseconds since 1970, as the system believes */
size_t lar_peak_rss(void); /* bytes; 0 if unknown */
size_t lar_ram_total(void);
size_t lar_ram_available(void);
int lar_cpu_count(void); /* physical cores that this process may use */
const char *lar_getenv(const char *name);
char *lar_exe_path(void); /* of the running program, lar_free; NULL where it is not known */

#endif
