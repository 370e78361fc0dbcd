/*
 * disk_posix.c - disk.h for POSIX systems. Needs libc only.
 */
#include "base/disk.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static lar_status sys_fail(lar_err *e, const char *path, const char *what, int err)
{
    lar_status code = err == ENOMEM                     ? LAR_ENOMEM
                      : err == ENOENT || err == ENOTDIR ? LAR_ENOTFOUND
                                                        : LAR_EIO;
    return lar_fail(e, code, "%s: %s: %s", path, what, strerror(err));
}

static int sync_disk(int fd)
{
#if defined(F_FULLFSYNC)
    if (fcntl(fd, F_FULLFSYNC) == 0)
        return 0;
#endif
    int rc;
    do
        rc = fsync(fd);
    while (rc && errno == EINTR);
    return rc;
}

/* ---- a file at any place -----------------------------------------------------------------------
 */

struct lar_pfile {
    int fd;
    char *path;
};

lar_status lar_pfile_open(const char *path, uint64_t size, lar_pfile **out, lar_err *e)
{
    *out = NULL;
    lar_pfile *f = lar_alloc(sizeof *f);
    if (!f || !(f->path = lar_strdup(path))) {
        lar_free(f);
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    }
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    lar_status s = LAR_OK;
    if (f->fd < 0)
        s = sys_fail(e, path, "cannot open for writing", errno);
    else if (size > INT64_MAX || ftruncate(f->fd, (off_t)size))
        s = sys_fail(e, path, "cannot set its size", size > INT64_MAX ? EFBIG : errno);
    if (s != LAR_OK) {
        lar_pfile_close(f);
        return s;
    }
    *out = f;
    return LAR_OK;
}

lar_status lar_pfile_write(lar_pfile *f, const void *p, size_t n, uint64_t at, lar_err *e)
{
    const char *from = p;
    while (n) {
        const ssize_t w = pwrite(f->fd, from, LAR_MIN(n, (size_t)1 << 30), (off_t)at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return sys_fail(e, f->path, "cannot write", w < 0 ? errno : ENOSPC);
        from += w;
        at += (uint64_t)w;
        n -= (size_t)w;
    }
    return LAR_OK;
}

lar_status lar_pfile_read(lar_pfile *f, void *p, size_t n, uint64_t at, lar_err *e)
{
    char *to = p;
    while (n) {
        const ssize_t r = pread(f->fd, to, LAR_MIN(n, (size_t)1 << 30), (off_t)at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return sys_fail(e, f->path, "cannot read", errno);
        if (r == 0)
            return lar_fail(e, LAR_EIO, "%s: ends at byte %llu", f->path, (unsigned long long)at);
        to += r;
        at += (uint64_t)r;
        n -= (size_t)r;
    }
    return LAR_OK;
}

lar_status lar_pfile_sync(lar_pfile *f, lar_err *e)
{
    return sync_disk(f->fd) ? sys_fail(e, f->path, "cannot write to disk", errno) : LAR_OK;
}

void lar_pfile_close(lar_pfile *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    lar_free(f->path);
    lar_free(f);
}

static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? lar_strndup(path, (size_t)(slash - path) + (slash == path)) : NULL;
    const int fd = open(dir ? dir : ".", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        sync_disk(fd);
        close(fd);
    }
    lar_free(dir);
}

lar_status lar_file_place(const char *from, const char *to, bool read_only, lar_err *e)
{
    if (read_only)
        (void)!chmod(from, 0444);
    if (rename(from, to))
        return sys_fail(e, to, "cannot be put there", errno);
    sync_folder_of(to);
    return LAR_OK;
}

lar_status lar_disk_free(const char *dir, uint64_t *bytes, lar_err *e)
{
    struct statvfs v;
    if (statvfs(dir, &v))
        return sys_fail(e, dir, "cannot ask for free space", errno);
    if (!lar_u64_mul(v.f_bavail, v.f_frsize, bytes))
        *bytes = UINT64_MAX;
    return LAR_OK;
}

/* ---- locks -------------------------------------------------------------------------------------
 */

struct lar_lock {
    int fd;
    char *path;
};

/* The one that had it may have removed the file between our open and our lock. */
static bool still_there(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

lar_status lar_lock_take(const char *path, lar_lock **out, lar_err *e)
{
    *out = NULL;
    lar_lock *l = lar_alloc(sizeof *l);
    if (!l || !(l->path = lar_strdup(path))) {
        lar_free(l);
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    }
    lar_status s = LAR_OK;
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (l->fd < 0)
        s = sys_fail(e, path, "cannot open", errno);
    else if (flock(l->fd, LOCK_EX | LOCK_NB) == 0 && still_there(l->fd, path))
        *out = l;
    if (*out)
        return LAR_OK;
    if (l->fd >= 0)
        close(l->fd);
    lar_free(l->path);
    lar_free(l);
    return s;
}

void lar_lock_drop(lar_lock *l)
{
    if (!l)
        return;
    unlink(l->path);
    close(l->fd);
    lar_free(l->path);
    lar_free(l);
}

void lar_sleep(double seconds)
{
    if (seconds > 0)
        poll(NULL, 0, (int)(LAR_MIN(seconds, 60.0) * 1000) + 1);
}

/* ---- links, folders ----------------------------------------------------------------------------
 */

bool lar_link_is(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

lar_status lar_link_make(const char *target, const char *path, lar_err *e)
{
    struct stat st;
    lar_buf aside = {0};
    if (lstat(path, &st) == 0 && !S_ISLNK(st.st_mode))
        return lar_fail(e, LAR_EIO, "%s: is a file, not a link: it is left alone", path);
    lar_buf_printf(&aside, "%s.%ld.tmp", path, (long)getpid());
    if (aside.oom)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    unlink(aside.p);
    lar_status s = LAR_OK;
    if (symlink(target, aside.p) || rename(aside.p, path)) {
        s = sys_fail(e, path, "cannot make the link", errno);
        unlink(aside.p);
    }
    lar_buf_free(&aside);
    return s;
}

char *lar_file_real(const char *path)
{
    char *real = realpath(path, NULL), *own = real ? lar_strdup(real) : NULL;
    free(real);
    return own;
}

lar_status lar_dir_names(const char *path, lar_name_fn *fn, void *user, lar_err *e)
{
    DIR *d = opendir(path);
    if (!d)
        return sys_fail(e, path, "cannot list", errno);
    for (struct dirent *it; (it = readdir(d));)
        if (strcmp(it->d_name, ".") != 0 && strcmp(it->d_name, "..") != 0)
            fn(it->d_name, user);
    closedir(d);
    return LAR_OK;
}

static void remove_in(const char *name, void *user)
{
    lar_buf p = {0};
    lar_buf_printf(&p, "%s/%s", (const char *)user, name);
    if (!p.oom)
        unlink(p.p);
    lar_buf_free(&p);
}

void lar_dir_remove(const char *path)
{
    lar_dir_names(path, remove_in, (void *)(uintptr_t)path, NULL);
    rmdir(path);
}

/* ---- other programs ----------------------------------------------------------------------------
 */

static int spawn(const char *const *argv, int out, pid_t *pid)
{
    posix_spawn_file_actions_t io;
    posix_spawnattr_t attr;
    sigset_t none;
    if (posix_spawn_file_actions_init(&io))
        return ENOMEM;
    if (posix_spawnattr_init(&attr)) {
        posix_spawn_file_actions_destroy(&io);
        return ENOMEM;
    }
    sigemptyset(&none);
    int rc = posix_spawn_file_actions_addopen(&io, 0, "/dev/null", O_RDONLY, 0);
    for (int fd = 1; fd <= 2 && !rc; fd++)
        rc = posix_spawn_file_actions_adddup2(&io, out, fd);
    /* A group of its own: Ctrl-C is ours to hand on. */
    if (!rc)
        rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    if (!rc)
        rc = posix_spawnattr_setsigmask(&attr, &none);
    if (!rc)
        rc = posix_spawnp(pid, argv[0], &io, &attr, (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&io);
    return rc;
}

/* Reads until the program has closed its end; true when `poll` said stop. */
static bool listen_to(int fd, int (*ask)(void *user), void *user, lar_buf *said)
{
    char piece[4096];
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (ask && ask(user))
            return true;
        if (poll(&p, 1, 200) <= 0)
            continue;
        const ssize_t n = read(fd, piece, sizeof piece);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        if (n > 0)
            lar_buf_add(said, piece, (size_t)n);
    }
}

lar_status lar_program_run(const char *const *argv, int (*poll)(void *user), void *user,
                           lar_buf *said, int *code, lar_err *e)
{
    int fd[2], status = 0;
    pid_t pid;
    *code = -1;
    if (pipe(fd))
        return sys_fail(e, argv[0], "cannot make a pipe", errno);
    for (int i = 0; i < 2; i++)
        fcntl(fd[i], F_SETFD, FD_CLOEXEC);
    const int rc = spawn(argv, fd[1], &pid);
    close(fd[1]);
    if (rc) {
        close(fd[0]);
        return sys_fail(e, argv[0], "cannot be run", rc);
    }
    const bool stopped = listen_to(fd[0], poll, user, said);
    if (stopped)
        kill(-pid, SIGTERM);
    close(fd[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (stopped)
        return lar_fail(e, LAR_ECANCELLED, "cancelled");
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return LAR_OK;
}
