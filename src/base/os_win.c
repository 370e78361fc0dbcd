/*
 * os_win.c - os.h for Windows. Needs kernel32 only.
 */
#include "base/os.h"
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0602
#endif
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <psapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WRITE_BUFFER = 256 << 10 };

static lar_status sys_fail(lar_err *e, const char *path, const char *what, DWORD err)
{
    wchar_t wide[200];
    char text[400] = "";
    DWORD n = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, err,
                             0, wide, LAR_LEN(wide), NULL);
    while (n && (wide[n - 1] <= L' ' || wide[n - 1] == L'.'))
        n--;
    int len =
        n ? WideCharToMultiByte(CP_UTF8, 0, wide, (int)n, text, sizeof text - 1, NULL, NULL) : 0;
    text[len > 0 ? len : 0] = 0;
    lar_status code = LAR_EIO;
    if (err == ERROR_FILE_NOT_FOUND || err == ERROR_PATH_NOT_FOUND)
        code = LAR_ENOTFOUND;
    else if (err == ERROR_NOT_ENOUGH_MEMORY || err == ERROR_OUTOFMEMORY)
        code = LAR_ENOMEM;
    return lar_fail(e, code, "%s: %s: %s (error %lu)", path, what, text, (unsigned long)err);
}

static lar_status widen(const char *path, wchar_t **out, lar_err *e)
{
    int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    *out = NULL;
    if (n <= 0)
        return lar_fail(e, LAR_EARG, "the path of a file is not valid UTF-8");
    *out = lar_alloc_array((size_t)n, sizeof **out);
    if (!*out)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, *out, n);
    return LAR_OK;
}

static bool is_directory(const wchar_t *path)
{
    DWORD a = GetFileAttributesW(path);
    return a != INVALID_FILE_ATTRIBUTES && (a & FILE_ATTRIBUTE_DIRECTORY);
}

/* ---- mapped files ------------------------------------------------------------------------------
 */

/* From 1601, in units of 100 ns, to 1970 in ns. */
static int64_t unix_time(LONGLONG t)
{
    return (t - 116444736000000000LL) * 100;
}

static lar_file_id id_of(HANDLE file)
{
    BY_HANDLE_FILE_INFORMATION i;
    FILE_BASIC_INFO b;
    lar_file_id id = {0};
    if (GetFileInformationByHandle(file, &i)) {
        id.device = i.dwVolumeSerialNumber;
        id.inode = (uint64_t)i.nFileIndexHigh << 32 | i.nFileIndexLow;
        id.size = (uint64_t)i.nFileSizeHigh << 32 | i.nFileSizeLow;
    }
    if (GetFileInformationByHandleEx(file, FileBasicInfo, &b, sizeof b)) {
        id.modified = unix_time(b.LastWriteTime.QuadPart);
        id.changed = unix_time(b.ChangeTime.QuadPart);
    }
    return id;
}

static lar_status map_handle(HANDLE file, const char *path, lar_map *out, lar_err *e)
{
    LARGE_INTEGER size;
    if (GetFileType(file) != FILE_TYPE_DISK)
        return lar_fail(e, LAR_EIO, "%s: is a device or pipe, want a regular file", path);
    if (!GetFileSizeEx(file, &size))
        return sys_fail(e, path, "cannot look at it", GetLastError());
    if (size.QuadPart == 0)
        return lar_fail(e, LAR_EFORMAT, "%s: the file is empty", path);
    if (size.QuadPart < 0 || (uint64_t)size.QuadPart > PTRDIFF_MAX)
        return lar_fail(e, LAR_EIO, "%s: %lld bytes do not fit this system's address space", path,
                        (long long)size.QuadPart);
    HANDLE mapping = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL);
    if (!mapping)
        return sys_fail(e, path, "cannot map", GetLastError());
    void *p = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    DWORD err = GetLastError();
    CloseHandle(mapping); /* the view keeps it alive */
    if (!p)
        return sys_fail(e, path, "cannot map", err);
    *out = (lar_map){.data = p, .size = (size_t)size.QuadPart, .id = id_of(file)};
    return LAR_OK;
}

lar_status lar_map_open(const char *path, lar_map *out, lar_err *e)
{
    *out = (lar_map){0};
    wchar_t *wide;
    LAR_TRY(widen(path, &wide, e));
    lar_status st;
    HANDLE file =
        CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    DWORD err = GetLastError();
    if (file != INVALID_HANDLE_VALUE) {
        st = map_handle(file, path, out, e);
        CloseHandle(file);
    } else if (is_directory(wide)) {
        st = lar_fail(e, LAR_EIO, "%s: is a directory, want a file", path);
    } else if (err == ERROR_FILE_NOT_FOUND || err == ERROR_PATH_NOT_FOUND) {
        st = lar_fail(e, LAR_ENOTFOUND, "%s: no such file", path);
    } else {
        st = sys_fail(e, path, "cannot open", err);
    }
    lar_free(wide);
    return st;
}

void lar_map_close(lar_map *m)
{
    if (m && m->data)
        UnmapViewOfFile(m->data);
    if (m)
        *m = (lar_map){0};
}

void lar_map_prefetch(const lar_map *m, size_t off, size_t n)
{
    if (!m->data || off >= m->size)
        return;
    WIN32_MEMORY_RANGE_ENTRY range = {(void *)(uintptr_t)(m->data + off),
                                      LAR_MIN(n, m->size - off)};
    PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0);
}

static bool file_id(const char *path, BY_HANDLE_FILE_INFORMATION *id)
{
    wchar_t *wide;
    if (widen(path, &wide, NULL) != LAR_OK)
        return false;
    HANDLE h = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    lar_free(wide);
    if (h == INVALID_HANDLE_VALUE)
        return false;
    const bool ok = GetFileInformationByHandle(h, id);
    CloseHandle(h);
    return ok;
}

bool lar_file_same(const char *a, const char *b)
{
    BY_HANDLE_FILE_INFORMATION x, y;
    return file_id(a, &x) && file_id(b, &y) && x.dwVolumeSerialNumber == y.dwVolumeSerialNumber &&
           x.nFileIndexHigh == y.nFileIndexHigh && x.nFileIndexLow == y.nFileIndexLow;
}

/* ---- files written whole -----------------------------------------------------------------------
 */

struct lar_file {
    HANDLE h;
    bool failed; /* a write did: there is nothing to commit */
    bool cache;  /* nothing waits for the disk */
    char *path;
    wchar_t *wide;  /* of the target */
    wchar_t *aside; /* what is written, in the same directory */
    size_t n;       /* bytes in 'buf' */
    char *buf;      /* [WRITE_BUFFER] */
};

static void file_end(lar_file *f)
{
    if (f->h != INVALID_HANDLE_VALUE)
        CloseHandle(f->h);
    lar_free(f->path);
    lar_free(f->wide);
    lar_free(f->aside);
    lar_free(f->buf);
    lar_free(f);
}

/* A name that nobody else uses: CREATE_NEW decides, the numbers only make a clash unlikely. */
static lar_status open_aside(lar_file *f, lar_err *e)
{
    size_t len = wcslen(f->wide), cap = len + 32;
    f->aside = lar_alloc_array(cap, sizeof *f->aside);
    if (!f->aside)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", f->path);
    memcpy(f->aside, f->wide, len * sizeof *f->wide);
    DWORD err = 0;
    for (int i = 0; i < 100; i++) {
        LARGE_INTEGER t;
        QueryPerformanceCounter(&t);
        uint64_t r =
            lar_random((uint64_t)t.QuadPart, (uint64_t)GetCurrentProcessId() << 32 | (uint64_t)i);
        wchar_t *s = f->aside + len;
        *s++ = L'.';
        for (int k = 60; k >= 0; k -= 4)
            *s++ = L"0123456789abcdef"[r >> k & 15];
        memcpy(s, L".tmp", sizeof L".tmp");
        f->h =
            CreateFileW(f->aside, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
        err = GetLastError();
        if (f->h != INVALID_HANDLE_VALUE)
            return LAR_OK;
        if (err != ERROR_FILE_EXISTS)
            break;
    }
    if (err == ERROR_PATH_NOT_FOUND)
        return lar_fail(e, LAR_ENOTFOUND, "%s: cannot create: its directory does not exist",
                        f->path);
    return sys_fail(e, f->path, "cannot create", err);
}

static lar_status create(const char *path, bool cache, lar_file **out, lar_err *e)
{
    *out = NULL;
    lar_file *f = lar_alloc(sizeof *f);
    if (!f)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    f->h = INVALID_HANDLE_VALUE;
    f->cache = cache;
    f->path = lar_strdup(path);
    f->buf = lar_alloc(WRITE_BUFFER);
    lar_status st;
    if (!f->path || !f->buf)
        st = lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    else
        st = widen(path, &f->wide, e);
    if (st == LAR_OK && is_directory(f->wide))
        st = lar_fail(e, LAR_EIO, "%s: is a directory, want a file", path);
    if (st == LAR_OK)
        st = open_aside(f, e);
    if (st != LAR_OK) {
        file_end(f);
        return st;
    }
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
        DWORD w = 0;
        if (!WriteFile(f->h, p, (DWORD)LAR_MIN(n, (size_t)1 << 30), &w, NULL) || w == 0) {
            f->failed = true;
            return sys_fail(e, f->path, "cannot write", GetLastError());
        }
        p += w;
        n -= w;
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

lar_status lar_file_commit(lar_file *f, lar_err *e)
{
    lar_status st =
        f->failed ? lar_fail(e, LAR_EIO, "%s: an earlier write failed", f->path) : flush(f, e);
    if (st == LAR_OK && !f->cache && !FlushFileBuffers(f->h))
        st = sys_fail(e, f->path, "cannot write to disk", GetLastError());
    HANDLE h = f->h;
    f->h = INVALID_HANDLE_VALUE;
    if (!CloseHandle(h) && st == LAR_OK)
        st = sys_fail(e, f->path, "cannot close", GetLastError());
    const DWORD how = MOVEFILE_REPLACE_EXISTING | (f->cache ? 0 : MOVEFILE_WRITE_THROUGH);
    if (st == LAR_OK && !MoveFileExW(f->aside, f->wide, how))
        st = sys_fail(e, f->path, "cannot replace", GetLastError());
    if (st != LAR_OK)
        DeleteFileW(f->aside);
    file_end(f);
    return st;
}

void lar_file_abort(lar_file *f)
{
    if (!f)
        return;
    CloseHandle(f->h);
    f->h = INVALID_HANDLE_VALUE;
    DeleteFileW(f->aside);
    file_end(f);
}

struct lar_append {
    HANDLE h;
    char *path;
};

/* Readers may share it, another writer may not. */
lar_status lar_append_open(const char *path, lar_append **out, lar_err *e)
{
    wchar_t *wide;
    *out = NULL;
    LAR_TRY(widen(path, &wide, e));
    lar_append *a = lar_alloc(sizeof *a);
    if (!a || !(a->path = lar_strdup(path))) {
        lar_free(a);
        lar_free(wide);
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    }
    a->h = CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ, NULL, OPEN_ALWAYS,
                       FILE_ATTRIBUTE_NORMAL, NULL);
    const DWORD err = GetLastError();
    lar_free(wide);
    if (a->h == INVALID_HANDLE_VALUE) {
        lar_append_close(a);
        return err == ERROR_SHARING_VIOLATION
                   ? lar_fail(e, LAR_EIO, "%s: another process is writing it", path)
                   : sys_fail(e, path, "cannot open for writing", err);
    }
    *out = a;
    return LAR_OK;
}

static bool seek(lar_append *a, int64_t to, DWORD from)
{
    LARGE_INTEGER at = {.QuadPart = to};
    return SetFilePointerEx(a->h, at, NULL, from) != 0;
}

lar_status lar_append_cut(lar_append *a, uint64_t keep, lar_err *e)
{
    if (!seek(a, (int64_t)keep, FILE_BEGIN) || !SetEndOfFile(a->h))
        return sys_fail(e, a->path, "cannot cut", GetLastError());
    return LAR_OK;
}

lar_status lar_append_write(lar_append *a, const void *p, size_t n, lar_err *e)
{
    const char *at = p;
    if (!seek(a, 0, FILE_END))
        return sys_fail(e, a->path, "cannot write", GetLastError());
    while (n) {
        DWORD w = 0;
        if (!WriteFile(a->h, at, (DWORD)LAR_MIN(n, (size_t)1 << 30), &w, NULL) || w == 0)
            return sys_fail(e, a->path, "cannot write", GetLastError());
        at += w;
        n -= w;
    }
    return LAR_OK;
}

void lar_append_close(lar_append *a)
{
    if (!a)
        return;
    if (a->h != INVALID_HANDLE_VALUE)
        CloseHandle(a->h);
    lar_free(a->path);
    lar_free(a);
}

/* ---- files and folders by name -----------------------------------------------------------------
 */

static lar_status open_read(const char *path, HANDLE *out, lar_err *e)
{
    wchar_t *wide;
    LAR_TRY(widen(path, &wide, e));
    *out = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                       NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    const DWORD err = GetLastError();
    lar_free(wide);
    return *out == INVALID_HANDLE_VALUE ? sys_fail(e, path, "cannot open", err) : LAR_OK;
}

lar_status lar_file_identify(const char *path, lar_file_id *out, lar_err *e)
{
    HANDLE h;
    LAR_TRY(open_read(path, &h, e));
    *out = id_of(h);
    CloseHandle(h);
    return LAR_OK;
}

lar_status lar_file_read(const char *path, void *buf, size_t n, size_t *got, lar_err *e)
{
    HANDLE h;
    lar_status st = LAR_OK;
    *got = 0;
    LAR_TRY(open_read(path, &h, e));
    while (*got < n) {
        DWORD r = 0;
        if (!ReadFile(h, (char *)buf + *got, (DWORD)LAR_MIN(n - *got, (size_t)1 << 30), &r, NULL)) {
            st = sys_fail(e, path, "cannot read", GetLastError());
            break;
        }
        if (r == 0)
            break;
        *got += r;
    }
    CloseHandle(h);
    return st;
}

bool lar_file_remove(const char *path)
{
    wchar_t *wide;
    if (widen(path, &wide, NULL) != LAR_OK)
        return false;
    const bool ok = DeleteFileW(wide);
    lar_free(wide);
    return ok;
}

bool lar_file_touch(const char *path, int64_t modified)
{
    wchar_t *wide;
    if (widen(path, &wide, NULL) != LAR_OK)
        return false;
    HANDLE h = CreateFileW(wide, FILE_WRITE_ATTRIBUTES,
                           FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    lar_free(wide);
    if (h == INVALID_HANDLE_VALUE)
        return false;
    const uint64_t t = (uint64_t)(modified / 100 + 116444736000000000LL);
    const FILETIME f = {(DWORD)t, (DWORD)(t >> 32)};
    const bool ok = SetFileTime(h, NULL, NULL, &f);
    CloseHandle(h);
    return ok;
}

lar_status lar_dir_make(const char *path, lar_err *e)
{
    wchar_t *wide;
    DWORD err = 0;
    LAR_TRY(widen(path, &wide, e));
    for (wchar_t *s = wide + 1; s[-1] && !err; s++)
        if (*s == L'/' || *s == L'\\' || !*s) {
            const wchar_t was = *s;
            *s = 0;
            if (s[-1] != L':' && !CreateDirectoryW(wide, NULL) && !is_directory(wide))
                err = GetLastError();
            *s = was;
        }
    lar_free(wide);
    return err ? sys_fail(e, path, "cannot make the folder", err) : LAR_OK;
}

lar_status lar_dir_each(const char *path, lar_dir_fn *fn, void *user, lar_err *e)
{
    WIN32_FIND_DATAW d;
    wchar_t *wide;
    char name[3 * MAX_PATH + 1];
    lar_buf all = {0};
    lar_buf_printf(&all, "%s\\*", path);
    if (all.oom)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    lar_status st = widen(all.p, &wide, e);
    lar_buf_free(&all);
    LAR_TRY(st);
    HANDLE h = FindFirstFileW(wide, &d);
    const DWORD err = GetLastError();
    lar_free(wide);
    if (h == INVALID_HANDLE_VALUE)
        return sys_fail(e, path, "cannot list", err);
    do {
        const LONGLONG t =
            (LONGLONG)d.ftLastWriteTime.dwHighDateTime << 32 | d.ftLastWriteTime.dwLowDateTime;
        const lar_file_id id = {.size = (uint64_t)d.nFileSizeHigh << 32 | d.nFileSizeLow,
                                .modified = unix_time(t)};
        const DWORD skip = FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT;
        if (!(d.dwFileAttributes & skip) &&
            WideCharToMultiByte(CP_UTF8, 0, d.cFileName, -1, name, sizeof name, NULL, NULL) > 0)
            fn(name, &id, user);
    } while (FindNextFileW(h, &d));
    FindClose(h);
    return LAR_OK;
}

/* ---- clock, memory, processors -----------------------------------------------------------------
 */

double lar_clock(void)
{
    LARGE_INTEGER now, hz;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&hz);
    return (double)now.QuadPart / (double)hz.QuadPart;
}

int64_t lar_time(void)
{
    FILETIME f;
    GetSystemTimeAsFileTime(&f);
    return unix_time((LONGLONG)f.dwHighDateTime << 32 | f.dwLowDateTime);
}

size_t lar_peak_rss(void)
{
    PROCESS_MEMORY_COUNTERS c = {.cb = sizeof c};
    return K32GetProcessMemoryInfo(GetCurrentProcess(), &c, sizeof c) ? c.PeakWorkingSetSize : 0;
}

static MEMORYSTATUSEX memory(void)
{
    MEMORYSTATUSEX m = {.dwLength = sizeof m};
    if (!GlobalMemoryStatusEx(&m))
        m = (MEMORYSTATUSEX){0};
    return m;
}

size_t lar_ram_total(void)
{
    return (size_t)LAR_MIN(memory().ullTotalPhys, (DWORDLONG)SIZE_MAX);
}

size_t lar_ram_available(void)
{
    return (size_t)LAR_MIN(memory().ullAvailPhys, (DWORDLONG)SIZE_MAX);
}

/* With one processor group the affinity mask says what we may use; with several, threads run in
 * all. */
static int count_cores(const char *info, DWORD size)
{
    DWORD_PTR mine = 0, all = 0;
    GetProcessAffinityMask(GetCurrentProcess(), &mine, &all);
    bool groups = GetActiveProcessorGroupCount() > 1;
    int n = 0;
    for (DWORD at = 0; at < size;) {
        const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX *r = (const void *)(info + at);
        if (r->Relationship == RelationProcessorCore)
            n += groups || !mine || (r->Processor.GroupMask[0].Mask & mine);
        at += r->Size ? r->Size : size;
    }
    return n;
}

int lar_cpu_count(void)
{
    SYSTEM_INFO si;
    GetSystemInfo(&si);
    DWORD size = 0;
    int n = 0;
    GetLogicalProcessorInformationEx(RelationProcessorCore, NULL, &size);
    char *info = size ? lar_alloc(size) : NULL;
    if (info && GetLogicalProcessorInformationEx(RelationProcessorCore, (void *)info, &size))
        n = count_cores(info, size);
    lar_free(info);
    if (n < 1)
        n = (int)si.dwNumberOfProcessors;
    return LAR_MAX(n, 1);
}

const char *lar_getenv(const char *name)
{
    return getenv(name);
}

char *lar_exe_path(void)
{
    wchar_t wide[4096];
    char buf[3 * 4096];
    const DWORD n = GetModuleFileNameW(NULL, wide, 4096);
    if (!n || n == 4096 || !WideCharToMultiByte(CP_UTF8, 0, wide, -1, buf, sizeof buf, NULL, NULL))
        return NULL;
    return lar_strdup(buf);
}
