/*
 * os_posix.c - os.h for Linux, Android, macOS, iOS and other POSIX systems. Needs libc only.
 */
#include "base/os.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif

enum { WRITE_BUFFER = 256 << 10 };

static lar_status sys_fail(lar_err *e, const char *path, const char *what, int err)
{
    lar_status code = err == ENOMEM                     ? LAR_ENOMEM
                      : err == ENOENT || err == ENOTDIR ? LAR_ENOTFOUND
                                                        : LAR_EIO;
    return lar_fail(e, code, "%s: %s: %s", path, what, strerror(err));
}

/* ---- mapped files ------------------------------------------------------------------------------
 */

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static lar_file_id id_of(const struct stat *st)
{
#if defined(__APPLE__)
    const struct timespec m = st->st_mtimespec, c = st->st_ctimespec;
#else
    const struct timespec m = st->st_mtim, c = st->st_ctim;
#endif
    return (lar_file_id){.device = (uint64_t)st->st_dev,
                         .inode = (uint64_t)st->st_ino,
                         .size = (uint64_t)st->st_size,
                         .modified = nanoseconds(m),
                         .changed = nanoseconds(c)};
}

static lar_status check_file(int fd, const char *path, lar_file_id *id, lar_err *e)
{
    struct stat st;
    if (fstat(fd, &st))
        return sys_fail(e, path, "cannot look at it", errno);
    if (S_ISDIR(st.st_mode))
        return lar_fail(e, LAR_EIO, "%s: is a directory, want a file", path);
    if (!S_ISREG(st.st_mode))
        return lar_fail(e, LAR_EIO, "%s: is a device, pipe or socket, want a regular file", path);
    if (st.st_size == 0)
        return lar_fail(e, LAR_EFORMAT, "%s: the file is empty", path);
    if (st.st_size < 0 || (uintmax_t)st.st_size > PTRDIFF_MAX)
        return lar_fail(e, LAR_EIO, "%s: %jd bytes do not fit this system's address space", path,
                        (intmax_t)st.st_size);
    *id = id_of(&st);
    return LAR_OK;
}

lar_status lar_map_open(const char *path, lar_map *out, lar_err *e)
{
    *out = (lar_map){0};
    /* Without O_NONBLOCK the open of a pipe would wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? lar_fail(e, LAR_ENOTFOUND, "%s: no such file", path)
                               : sys_fail(e, path, "cannot open", errno);
    lar_file_id id = {0};
    lar_status st = check_file(fd, path, &id, e);
    if (st == LAR_OK) {
        const size_t size = (size_t)id.size;
        void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            st = sys_fail(e, path, "cannot map", errno);
        else
            *out = (lar_map){.data = p, .size = size, .id = id};
    }
    close(fd);
    return st;
}

void lar_map_close(lar_map *m)
{
    if (m && m->data)
        munmap((void *)(uintptr_t)m->data, m->size);
    if (m)
        *m = (lar_map){0};
}

void lar_map_prefetch(const lar_map *m, size_t off, size_t n)
{
    if (!m->data || off >= m->size)
        return;
    n = LAR_MIN(n, m->size - off);
    long page = sysconf(_SC_PAGESIZE);
    size_t head = page > 0 ? off % (size_t)page : 0;
    posix_madvise((void *)(uintptr_t)(m->data + off - head), n + head, POSIX_MADV_WILLNEED);
}

bool lar_file_same(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* ---- files written whole -----------------------------------------------------------------------
 */

struct lar_file {
    int fd;
    bool failed; /* a write did: there is nothing to commit */
    bool cache;  /* nothing waits for the disk */
    char *path;  /* of the target, symbolic links resolved */
    char *aside; /* what is written, in the same directory */
    size_t n;    /* bytes in 'buf' */
    char *buf;   /* [WRITE_BUFFER] */
};

static void file_end(lar_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    lar_free(f->path);
    lar_free(f->aside);
    lar_free(f->buf);
    lar_free(f);
}

/* A name that nobody else uses: O_EXCL decides, the numbers only make a clash unlikely. */
static lar_status open_aside(lar_file *f, mode_t mode, lar_err *e)
{
    size_t cap = strlen(f->path) + 64;
    f->aside = lar_alloc(cap);
    if (!f->aside)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", f->path);
    for (int i = 0; i < 100; i++) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        uint64_t r = lar_random((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec,
                                (uint64_t)getpid() << 32 | (uint64_t)i);
        snprintf(f->aside, cap, "%s.%016llx.tmp", f->path, (unsigned long long)r);
        f->fd = open(f->aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (f->fd >= 0)
            return LAR_OK;
        if (errno != EEXIST)
            break;
    }
    if (errno == ENOENT)
        return lar_fail(e, LAR_ENOTFOUND, "%s: cannot create: its directory does not exist",
                        f->path);
    return sys_fail(e, f->path, "cannot create", errno);
}

static lar_status create(const char *path, bool cache, lar_file **out, lar_err *e)
{
    *out = NULL;
    struct stat st;
    bool exists = stat(path, &st) == 0;
    if (exists && S_ISDIR(st.st_mode))
        return lar_fail(e, LAR_EIO, "%s: is a directory, want a file", path);
    if (exists && !S_ISREG(st.st_mode))
        return lar_fail(e, LAR_EIO, "%s: is a device, pipe or socket, want a regular file", path);
    lar_file *f = lar_alloc(sizeof *f);
    if (!f)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    f->fd = -1;
    f->cache = cache;
    lar_status rc = LAR_ENOMEM;
    char *real = exists ? realpath(path, NULL) : NULL;
    f->path = lar_strdup(real ? real : path);
    free(real);
    f->buf = lar_alloc(WRITE_BUFFER);
    if (!f->path || !f->buf)
        lar_fail(e, rc, "%s: out of memory", path);
    else
        rc = open_aside(f, cache ? 0600 : 0666, e);
    if (rc != LAR_OK) {
        file_end(f);
        return rc;
    }
    if (exists && !cache)
        (void)!fchmod(f->fd, st.st_mode & 0777); /* who may read it stays as it was */
    *out = f;
    return LAR_OK;
}

lar_status lar_file_create(const char *path, lar_file **out, lar_err *e)
{
    return create(path, false, out, e);
}

lar_status lar_file_create_cache(const char *path, lar_file **out, lar_err *e)
{
    return create(path, true, out, e);
}

static lar_status write_all(lar_file *f, const char *p, size_t n, lar_err *e)
{
    while (n) {
        ssize_t w = write(f->fd, p, LAR_MIN(n, (size_t)1 << 30));
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            f->failed = true;
            return sys_fail(e, f->path, "cannot write", w < 0 ? errno : ENOSPC);
        }
        p += w;
        n -= (size_t)w;
    }
    return LAR_OK;
}

static lar_status flush(lar_file *f, lar_err *e)
{
    size_t n = f->n;
    f->n = 0;
    return write_all(f, f->buf, n, e);
}

lar_status lar_file_write(lar_file *f, const void *p, size_t n, lar_err *e)
{
    if (f->failed)
        return lar_fail(e, LAR_EIO, "%s: an earlier write failed", f->path);
    if (n > WRITE_BUFFER - f->n)
        LAR_TRY(flush(f, e));
    if (n >= WRITE_BUFFER)
        return write_all(f, p, n, e);
    if (n)
        memcpy(f->buf + f->n, p, n);
    f->n += n;
    return LAR_OK;
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

/* Makes the rename itself last. Some file systems cannot sync a directory; the file is whole
 * anyway. */
static void sync_directory(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash)
        slash[slash == path] = 0;
    int fd = open(slash ? path : ".", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    sync_disk(fd);
    close(fd);
}

lar_status lar_file_commit(lar_file *f, lar_err *e)
{
    lar_status st =
        f->failed ? lar_fail(e, LAR_EIO, "%s: an earlier write failed", f->path) : flush(f, e);
    if (st == LAR_OK && !f->cache && sync_disk(f->fd))
        st = sys_fail(e, f->path, "cannot write to disk", errno);
    int fd = f->fd;
    f->fd = -1;
    if (close(fd) && errno != EINTR && st == LAR_OK)
        st = sys_fail(e, f->path, "cannot close", errno);
    if (st == LAR_OK && rename(f->aside, f->path))
        st = sys_fail(e, f->path, "cannot replace", errno);
    if (st != LAR_OK)
        unlink(f->aside);
    else if (!f->cache)
        sync_directory(f->path);
    file_end(f);
    return st;
}

void lar_file_abort(lar_file *f)
{
    if (!f)
        return;
    unlink(f->aside);
    file_end(f);
}

struct lar_append {
    int fd;
    char *path;
};

lar_status lar_append_open(const char *path, lar_append **out, lar_err *e)
{
    struct stat st;
    lar_append *a = lar_alloc(sizeof *a);
    *out = NULL;
    if (!a || !(a->path = lar_strdup(path))) {
        lar_free(a);
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    }
    a->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    lar_status s = LAR_OK;
    if (a->fd < 0 || fstat(a->fd, &st))
        s = sys_fail(e, path, "cannot open for writing", errno);
    else if (!S_ISREG(st.st_mode))
        s = lar_fail(e, LAR_EIO, "%s: want a regular file", path);
    else if (flock(a->fd, LOCK_EX | LOCK_NB))
        s = errno == EWOULDBLOCK ? lar_fail(e, LAR_EIO, "%s: another process is writing it", path)
                                 : sys_fail(e, path, "cannot lock", errno);
    if (s != LAR_OK) {
        lar_append_close(a);
        return s;
    }
    *out = a;
    return LAR_OK;
}

lar_status lar_append_cut(lar_append *a, uint64_t keep, lar_err *e)
{
    return ftruncate(a->fd, (off_t)keep) ? sys_fail(e, a->path, "cannot cut", errno) : LAR_OK;
}

lar_status lar_append_write(lar_append *a, const void *p, size_t n, lar_err *e)
{
    const char *at = p;
    while (n) {
        const ssize_t w = write(a->fd, at, LAR_MIN(n, (size_t)1 << 30));
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return sys_fail(e, a->path, "cannot write", w < 0 ? errno : ENOSPC);
        at += w;
        n -= (size_t)w;
    }
    return LAR_OK;
}

void lar_append_close(lar_append *a)
{
    if (!a)
        return;
    if (a->fd >= 0)
        close(a->fd);
    lar_free(a->path);
    lar_free(a);
}

/* ---- files and folders by name -----------------------------------------------------------------
 */

lar_status lar_file_identify(const char *path, lar_file_id *out, lar_err *e)
{
    struct stat st;
    if (stat(path, &st))
        return sys_fail(e, path, "cannot look at it", errno);
    *out = id_of(&st);
    return LAR_OK;
}

static lar_status read_all(int fd, const char *path, char *buf, size_t n, size_t *got, lar_err *e)
{
    while (*got < n) {
        const ssize_t r = read(fd, buf + *got, LAR_MIN(n - *got, (size_t)1 << 30));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return sys_fail(e, path, "cannot read", errno);
        if (r == 0)
            break;
        *got += (size_t)r;
    }
    return LAR_OK;
}

lar_status lar_file_read(const char *path, void *buf, size_t n, size_t *got, lar_err *e)
{
    struct stat st;
    *got = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sys_fail(e, path, "cannot open", errno);
    lar_status rc = LAR_OK;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        rc = lar_fail(e, LAR_EIO, "%s: want a regular file", path);
    else
        rc = read_all(fd, path, buf, n, got, e);
    close(fd);
    return rc;
}

bool lar_file_remove(const char *path)
{
    return unlink(path) == 0;
}

bool lar_file_touch(const char *path, int64_t modified)
{
    const struct timespec t = {.tv_sec = (time_t)(modified / 1000000000),
                               .tv_nsec = (long)(modified % 1000000000)},
                          both[2] = {t, t};
    return utimensat(AT_FDCWD, path, both, 0) == 0;
}

lar_status lar_dir_make(const char *path, lar_err *e)
{
    char *p = lar_strdup(path);
    int err = 0;
    if (!p)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    for (char *s = p + 1; s[-1] && !err; s++)
        if (*s == '/' || !*s) {
            const char was = *s;
            *s = 0;
            if (mkdir(p, 0700) && errno != EEXIST)
                err = errno;
            *s = was;
        }
    lar_free(p);
    return err ? sys_fail(e, path, "cannot make the folder", err) : LAR_OK;
}

lar_status lar_dir_each(const char *path, lar_dir_fn *fn, void *user, lar_err *e)
{
    DIR *d = opendir(path);
    if (!d)
        return sys_fail(e, path, "cannot list", errno);
    for (struct dirent *it; (it = readdir(d));) {
        struct stat st;
        if (fstatat(dirfd(d), it->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)) {
            const lar_file_id id = id_of(&st);
            fn(it->d_name, &id, user);
        }
    }
    closedir(d);
    return LAR_OK;
}

/* ---- clock, memory -----------------------------------------------------------------------------
 */

double lar_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int64_t lar_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return nanoseconds(t);
}

#if defined(__linux__)
/* "NAME:   12345 kB" in a file of /proc, in bytes; 0 if it is not there. */
static size_t proc_kib(const char *path, const char *name)
{
    char line[256];
    unsigned long long kib = 0;
    size_t len = strlen(name);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, len) == 0 && line[len] == ':') {
            kib = strtoull(line + len + 1, NULL, 10);
            break;
        }
    fclose(f);
    return kib > SIZE_MAX / 1024 ? SIZE_MAX : (size_t)kib * 1024;
}

/* Up to two numbers in a file; "max" reads as -1. Gives how many. */
static int read_numbers(const char *path, long long v[2])
{
    char line[128];
    int n = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    if (fgets(line, sizeof line, f))
        for (char *s = line, *end; n < 2; s = end) {
            s += strspn(s, " ");
            v[n] = strtoll(s, &end, 10);
            if (end == s && strncmp(s, "max", 3) == 0) {
                v[n] = -1;
                end = s + 3;
            }
            if (end == s)
                break;
            n++;
        }
    fclose(f);
    return n;
}

/* Is 'name' in a list like "cpu,cpuacct"? */
static bool listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *s = list; s; s = strchr(s, ',')) {
        s += *s == ',';
        if (strncmp(s, name, len) == 0 && (s[len] == ',' || !s[len]))
            return true;
    }
    return false;
}

/* Calls 'see' with the folder of each control group that this process is in, from its own up to the
 * root; inside a container the paths of /proc may not exist there, but the root does. */
static void each_cgroup(const char *controller, void (*see)(const char *dir, bool v2, void *arg),
                        void *arg)
{
    char line[1024], dir[1200];
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':');
        char *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        names++;
        bool v2 = *names == 0;
        if (!v2 && !listed(names, controller))
            continue;
        for (;;) {
            snprintf(dir, sizeof dir, "/sys/fs/cgroup/%s%s", v2 ? "" : controller, path);
            see(dir, v2, arg);
            char *slash = strrchr(path, '/');
            if (!slash)
                break;
            *slash = 0;
        }
    }
    fclose(f);
}

/* Limit of memory in 'total' and what is left below it in 'room'. */
typedef struct memory_limit {
    size_t total, room;
} memory_limit;

static void see_memory(const char *dir, bool v2, void *arg)
{
    memory_limit *m = arg;
    char path[1300];
    long long limit[2], used[2];
    snprintf(path, sizeof path, "%s/memory.%s", dir, v2 ? "max" : "limit_in_bytes");
    if (read_numbers(path, limit) < 1 || limit[0] < 0 || (unsigned long long)limit[0] > SIZE_MAX)
        return;
    snprintf(path, sizeof path, "%s/memory.%s", dir, v2 ? "current" : "usage_in_bytes");
    if (read_numbers(path, used) < 1)
        used[0] = 0;
    size_t room = limit[0] > used[0] ? (size_t)(limit[0] - used[0]) : 0;
    m->total = LAR_MIN(m->total, (size_t)limit[0]);
    m->room = LAR_MIN(m->room, room);
}

size_t lar_ram_total(void)
{
    memory_limit m = {SIZE_MAX, SIZE_MAX};
    each_cgroup("memory", see_memory, &m);
    return LAR_MIN(proc_kib("/proc/meminfo", "MemTotal"), m.total);
}

size_t lar_ram_available(void)
{
    memory_limit m = {SIZE_MAX, SIZE_MAX};
    each_cgroup("memory", see_memory, &m);
    return LAR_MIN(proc_kib("/proc/meminfo", "MemAvailable"), m.room);
}
#elif defined(__APPLE__)
size_t lar_ram_total(void)
{
    uint64_t bytes = 0;
    size_t n = sizeof bytes;
    return sysctlbyname("hw.memsize", &bytes, &n, NULL, 0) ? 0 : (size_t)bytes;
}

size_t lar_ram_available(void)
{
    vm_statistics64_data_t vm;
    mach_msg_type_number_t n = HOST_VM_INFO64_COUNT;
    mach_port_t host = mach_host_self();
    kern_return_t rc = host_statistics64(host, HOST_VM_INFO64, (host_info64_t)&vm, &n);
    mach_port_deallocate(mach_task_self(), host);
    long page = sysconf(_SC_PAGESIZE);
    if (rc != KERN_SUCCESS || page <= 0)
        return 0;
    return ((size_t)vm.free_count + vm.inactive_count + vm.purgeable_count) * (size_t)page;
}
#else
static size_t pages(int name)
{
    long n = sysconf(name), page = sysconf(_SC_PAGESIZE);
    return n > 0 && page > 0 ? (size_t)n * (size_t)page : 0;
}

size_t lar_ram_total(void)
{
    return pages(_SC_PHYS_PAGES);
}

size_t lar_ram_available(void)
{
#if defined(_SC_AVPHYS_PAGES)
    return pages(_SC_AVPHYS_PAGES);
#else
    return 0;
#endif
}
#endif

size_t lar_peak_rss(void)
{
#if defined(__linux__)
    size_t n = proc_kib("/proc/self/status", "VmHWM");
    if (n)
        return n;
#endif
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) || u.ru_maxrss < 0)
        return 0;
#if defined(__APPLE__)
    return (size_t)u.ru_maxrss;
#else
    return (size_t)u.ru_maxrss * 1024;
#endif
}

/* ---- processors --------------------------------------------------------------------------------
 */

#if defined(__linux__)
enum { CPUS_MAX = 8192 };

static bool allowed(const uint8_t *set, size_t cpu)
{
    return cpu < CPUS_MAX && (set[cpu / 8] >> cpu % 8 & 1);
}

/* Of the hardware threads of a core that we may use, the first one counts. The kernel's list looks
 * like "0,64" or "2-3". */
static bool first_of_core(const uint8_t *set, size_t cpu)
{
    char path[128], list[256];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list",
             cpu);
    FILE *f = fopen(path, "re");
    if (!f)
        return true;
    char *s = fgets(list, sizeof list, f), *end;
    fclose(f);
    while (s) {
        unsigned long a = strtoul(s, &end, 10), b = a;
        if (end == s)
            break;
        if (*end == '-')
            b = strtoul(s = end + 1, &end, 10);
        for (size_t i = a; i <= b && i < cpu; i++)
            if (allowed(set, i))
                return false;
        s = *end == ',' ? end + 1 : NULL;
    }
    return true;
}

static void see_quota(const char *dir, bool v2, void *arg)
{
    int *limit = arg;
    char path[1300];
    long long v[2] = {-1, 0}, period[2];
    snprintf(path, sizeof path, "%s/%s", dir, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    if (read_numbers(path, v) < (v2 ? 2 : 1) || v[0] <= 0)
        return;
    if (!v2) {
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
        if (read_numbers(path, period) < 1)
            return;
        v[1] = period[0];
    }
    if (v[1] <= 0)
        return;
    long long n = v[0] / v[1] + (v[0] % v[1] != 0);
    if (n < *limit)
        *limit = (int)n;
}

int lar_cpu_count(void)
{
    union {
        cpu_set_t set;
        uint8_t bytes[CPUS_MAX / 8];
    } mask;
    uint8_t set[CPUS_MAX / 8] = {0};
    memset(&mask, 0, sizeof mask);
    if (sched_getaffinity(0, sizeof mask, &mask.set))
        return 1;
    for (size_t i = 0; i < CPUS_MAX; i++)
        if (CPU_ISSET_S(i, sizeof mask, &mask.set))
            set[i / 8] |= (uint8_t)(1u << i % 8);
    int cores = 0, limit = INT_MAX;
    for (size_t i = 0; i < CPUS_MAX; i++)
        cores += allowed(set, i) && first_of_core(set, i);
    each_cgroup("cpu", see_quota, &limit);
    return LAR_MAX(LAR_MIN(cores, limit), 1);
}
#elif defined(__APPLE__)
int lar_cpu_count(void)
{
    static const char *const names[] = {"hw.perflevel0.physicalcpu", "hw.physicalcpu"};
    for (size_t i = 0; i < LAR_LEN(names); i++) {
        int n = 0;
        size_t size = sizeof n;
        if (sysctlbyname(names[i], &n, &size, NULL, 0) == 0 && n > 0)
            return n;
    }
    return 1;
}
#else
int lar_cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n < INT_MAX ? (int)n : 1;
}
#endif

const char *lar_getenv(const char *name)
{
    return getenv(name);
}

char *lar_exe_path(void)
{
    char buf[4096];
#if defined(__APPLE__)
    uint32_t size = sizeof buf;
    if (_NSGetExecutablePath(buf, &size))
        return NULL;
    return lar_strdup(buf);
#else
    const ssize_t n = readlink("/proc/self/exe", buf, sizeof buf);
    return n > 0 && (size_t)n < sizeof buf ? lar_strndup(buf, (size_t)n) : NULL;
#endif
}
