/*
 * disk.h - what keeping large files needs of the system beyond os.h: writing at any place, locks
 * between processes, links, free space, folders, other programs. disk_posix.c, disk_win.c.
 */
#ifndef LAR_DISK_H
#define LAR_DISK_H
#include "base/os.h"

/* A file written and read at any place, made when it is not there. Space is taken as it is written.
 */
typedef struct lar_pfile lar_pfile;
lar_status lar_pfile_open(const char *path, uint64_t size, lar_pfile **out, lar_err *e);
lar_status lar_pfile_write(lar_pfile *f, const void *p, size_t n, uint64_t at, lar_err *e);
lar_status lar_pfile_read(lar_pfile *f, void *p, size_t n, uint64_t at, lar_err *e); /* all of n */
lar_status lar_pfile_sync(lar_pfile *f, lar_err *e); /* on the disk when it returns */
void lar_pfile_close(lar_pfile *f);                  /* NULL is allowed */

/* Put a whole file under its name, so that a power cut leaves either; `read_only` for good. */
lar_status lar_file_place(const char *from, const char *to, bool read_only, lar_err *e);
lar_status lar_disk_free(const char *dir, uint64_t *bytes, lar_err *e);

/* One process's at a time; the system lets go when the process ends, however it does. *out is NULL
 * where another has it. Dropping removes the file. */
typedef struct lar_lock lar_lock;
lar_status lar_lock_take(const char *path, lar_lock **out, lar_err *e);
void lar_lock_drop(lar_lock *l); /* NULL is allowed */

/* A name for a file elsewhere; a relative target is seen from the link's folder. Replaces a link,
 * and nothing else. */
lar_status lar_link_make(const char *target, const char *path, lar_err *e);
bool lar_link_is(const char *path);    /* also where it leads nowhere */
char *lar_file_real(const char *path); /* without links, absolute; lar_free; NULL: nothing there */

void lar_sleep(double seconds);

typedef void lar_name_fn(const char *name, void *user);
/* Everything in a folder, in no order. No folder: LAR_ENOTFOUND. */
lar_status lar_dir_names(const char *path, lar_name_fn *fn, void *user, lar_err *e);
void lar_dir_remove(const char *path); /* a folder of plain files */

/* Run a program found as a shell finds it, with no input; what it says goes to `said`. `poll` is
 * called several times a second and ends the program by returning non-zero (LAR_ECANCELLED). */
lar_status lar_program_run(const char *const *argv, int (*poll)(void *user), void *user,
                           lar_buf *said, int *code, lar_err *e);

#endif
