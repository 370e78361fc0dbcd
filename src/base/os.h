/*
 * os.h - the operating system behind one interface: os_posix.c, os_win.c.
 */
#ifndef LAR_OS_H
#define LAR_OS_H
#include "base/base.h"

/* A file mapped read-only. Paths are UTF-8 on every system. */
typedef struct lar_map {
    const uint8_t *data;
    size_t size;
    void *handle;
} lar_map;
lar_status lar_map_open(const char *path, lar_map *out, lar_err *e);
void lar_map_close(lar_map *m);
/* Say that [data+off, +n) will be read soon. A hint. */
void lar_map_prefetch(const lar_map *m, size_t off, size_t n);

/* Write a whole file so that a kill at any moment leaves the old one or the new one: written aside,
 * fsync, rename. The writer gets a growing file through lar_file_write. */
typedef struct lar_file lar_file;
lar_status lar_file_create(const char *path, lar_file **out, lar_err *e);
lar_status lar_file_write(lar_file *f, const void *p, size_t n, lar_err *e);
lar_status lar_file_commit(lar_file *f, lar_err *e); /* ends f in either case */
void lar_file_abort(lar_file *f);                    /* removes what was written; NULL is allowed */

double lar_clock(void);    /* monotonic seconds */
size_t lar_peak_rss(void); /* bytes; 0 if unknown */
size_t lar_ram_total(void);
size_t lar_ram_available(void);
int lar_cpu_count(void); /* physical cores that this process may use */
const char *lar_getenv(const char *name);

#endif
