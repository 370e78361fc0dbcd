/*
 * disk_win.c - disk.h for Windows. Needs kernel32 only.
 */
#include "base/disk.h"
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0602
#endif
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <string.h>

static lar_status sys_fail(lar_err *e, const char *path, const char *what)
{
    const DWORD err = GetLastError();
    lar_status code =
        err == ERROR_FILE_NOT_FOUND || err == ERROR_PATH_NOT_FOUND ? LAR_ENOTFOUND : LAR_EIO;
    return lar_fail(e, code, "%s: %s (error %lu)", path, what, (unsigned long)err);
}

/* UTF-8 to UTF-16, slashes as Windows has them; lar_free. */
static wchar_t *widen(const char *path)
{
    const int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    wchar_t *out = n > 0 ? lar_alloc_array((size_t)n, sizeof *out) : NULL;
    if (!out)
        return NULL;
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, out, n);
    for (wchar_t *w = out; *w; w++)
        if (*w == L'/')
            *w = L'\\';
    return out;
}

static char *narrow(const wchar_t *w)
{
    const int n = WideCharToMultiByte(CP_UTF8, 0, w, -1, NULL, 0, NULL, NULL);
    char *out = n > 0 ? lar_alloc((size_t)n) : NULL;
    if (out)
        WideCharToMultiByte(CP_UTF8, 0, w, -1, out, n, NULL, NULL);
    return out;
}

/* ---- a file at any place -----------------------------------------------------------------------
 */

struct lar_pfile {
    HANDLE h;
    char *path;
};

lar_status lar_pfile_open(const char *path, uint64_t size, lar_pfile **out, lar_err *e)
{
    *out = NULL;
    lar_pfile *f = lar_alloc(sizeof *f);
    wchar_t *wide = widen(path);
    if (!f || !wide || !(f->path = lar_strdup(path))) {
        lar_free(f);
        lar_free(wide);
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    }
    f->h = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE,
                       NULL, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    lar_free(wide);
    LARGE_INTEGER end = {.QuadPart = (LONGLONG)size};
    if (f->h == INVALID_HANDLE_VALUE || !SetFilePointerEx(f->h, end, NULL, FILE_BEGIN) ||
        !SetEndOfFile(f->h)) {
        lar_status s = sys_fail(e, path, "cannot open for writing");
        lar_pfile_close(f);
        return s;
    }
    *out = f;
    return LAR_OK;
}

static OVERLAPPED place(uint64_t at)
{
    OVERLAPPED o = {0};
    o.Offset = (DWORD)at;
    o.OffsetHigh = (DWORD)(at >> 32);
    return o;
}

lar_status lar_pfile_write(lar_pfile *f, const void *p, size_t n, uint64_t at, lar_err *e)
{
    for (const char *from = p; n;) {
        OVERLAPPED o = place(at);
        DWORD w = 0;
        if (!WriteFile(f->h, from, (DWORD)LAR_MIN(n, (size_t)1 << 30), &w, &o) || !w)
            return sys_fail(e, f->path, "cannot write");
        from += w;
        at += w;
        n -= w;
    }
    return LAR_OK;
}

lar_status lar_pfile_read(lar_pfile *f, void *p, size_t n, uint64_t at, lar_err *e)
{
    for (char *to = p; n;) {
        OVERLAPPED o = place(at);
        DWORD r = 0;
        if (!ReadFile(f->h, to, (DWORD)LAR_MIN(n, (size_t)1 << 30), &r, &o) || !r)
            return sys_fail(e, f->path, "cannot read");
        to += r;
        at += r;
        n -= r;
    }
    return LAR_OK;
}

lar_status lar_pfile_sync(lar_pfile *f, lar_err *e)
{
    return FlushFileBuffers(f->h) ? LAR_OK : sys_fail(e, f->path, "cannot write to disk");
}

void lar_pfile_close(lar_pfile *f)
{
    if (!f)
        return;
    if (f->h != INVALID_HANDLE_VALUE)
        CloseHandle(f->h);
    lar_free(f->path);
    lar_free(f);
}

lar_status lar_file_place(const char *from, const char *to, bool read_only, lar_err *e)
{
    wchar_t *a = widen(from), *b = widen(to);
    lar_status s = LAR_OK;
    if (!a || !b)
        s = lar_fail(e, LAR_ENOMEM, "%s: out of memory", to);
    else if (!MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH))
        s = sys_fail(e, to, "cannot be put there");
    (void)read_only; /* a read-only file could not be removed later */
    lar_free(a);
    lar_free(b);
    return s;
}

lar_status lar_disk_free(const char *dir, uint64_t *bytes, lar_err *e)
{
    wchar_t *wide = widen(dir);
    ULARGE_INTEGER n;
    const bool ok = wide && GetDiskFreeSpaceExW(wide, &n, NULL, NULL);
    lar_status s = ok ? LAR_OK : sys_fail(e, dir, "cannot ask for free space");
    *bytes = ok ? n.QuadPart : 0;
    lar_free(wide);
    return s;
}

/* ---- locks -------------------------------------------------------------------------------------
 */

struct lar_lock {
    HANDLE h;
};

lar_status lar_lock_take(const char *path, lar_lock **out, lar_err *e)
{
    *out = NULL;
    wchar_t *wide = widen(path);
    lar_lock *l = wide ? lar_alloc(sizeof *l) : NULL;
    if (!l) {
        lar_free(wide);
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    }
    l->h = CreateFileW(wide, GENERIC_WRITE | DELETE, 0, NULL, OPEN_ALWAYS,
                       FILE_ATTRIBUTE_NORMAL | FILE_FLAG_DELETE_ON_CLOSE, NULL);
    const DWORD err = GetLastError();
    lar_free(wide);
    if (l->h != INVALID_HANDLE_VALUE) {
        *out = l;
        return LAR_OK;
    }
    lar_free(l);
    if (err == ERROR_SHARING_VIOLATION || err == ERROR_ACCESS_DENIED)
        return LAR_OK;
    SetLastError(err);
    return sys_fail(e, path, "cannot open");
}

void lar_lock_drop(lar_lock *l)
{
    if (!l)
        return;
    CloseHandle(l->h);
    lar_free(l);
}

void lar_sleep(double seconds)
{
    if (seconds > 0)
        Sleep((DWORD)(LAR_MIN(seconds, 60.0) * 1000) + 1);
}

/* ---- links, folders ----------------------------------------------------------------------------
 */

bool lar_link_is(const char *path)
{
    BY_HANDLE_FILE_INFORMATION i = {0};
    wchar_t *wide = widen(path);
    const DWORD a = wide ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;
    bool yes = a != INVALID_FILE_ATTRIBUTES && (a & FILE_ATTRIBUTE_REPARSE_POINT);
    if (a != INVALID_FILE_ATTRIBUTES && !yes) { /* a second name is as good */
        HANDLE h = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                               NULL, OPEN_EXISTING, 0, NULL);
        if (h != INVALID_HANDLE_VALUE) {
            yes = GetFileInformationByHandle(h, &i) && i.nNumberOfLinks > 1;
            CloseHandle(h);
        }
    }
    lar_free(wide);
    return yes;
}

static char *beside(const char *target, const char *path)
{
    const char *slash = strrchr(path, '/');
    lar_buf b = {0};
    if (slash && target[0] != '/' && !strchr(target, ':'))
        lar_buf_add(&b, path, (size_t)(slash - path) + 1);
    lar_buf_puts(&b, target);
    return lar_buf_take(&b);
}

/* Symbolic links need a right that not everybody has: a second name for the file is the next best,
 * on the same disk. */
lar_status lar_link_make(const char *target, const char *path, lar_err *e)
{
    char *full = beside(target, path);
    wchar_t *t = widen(target), *f = full ? widen(full) : NULL, *p = widen(path);
    lar_status s = LAR_OK;
    if (!t || !f || !p) {
        s = lar_fail(e, LAR_ENOMEM, "%s: out of memory", path);
    } else if (GetFileAttributesW(p) != INVALID_FILE_ATTRIBUTES && !lar_link_is(path)) {
        s = lar_fail(e, LAR_EIO, "%s: is a file, not a link: it is left alone", path);
    } else {
        DeleteFileW(p);
        if (!CreateSymbolicLinkW(p, t, 2 /* SYMBOLIC_LINK_FLAG_ALLOW_UNPRIVILEGED_CREATE */) &&
            !CreateHardLinkW(p, f, NULL))
            s = sys_fail(e, path, "cannot make the link");
    }
    lar_free(full);
    lar_free(t);
    lar_free(f);
    lar_free(p);
    return s;
}

char *lar_file_real(const char *path)
{
    wchar_t *wide = widen(path), real[4096];
    HANDLE h = wide ? CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                  NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL)
                    : INVALID_HANDLE_VALUE;
    lar_free(wide);
    if (h == INVALID_HANDLE_VALUE)
        return NULL;
    const DWORD n = GetFinalPathNameByHandleW(h, real, LAR_LEN(real), 0);
    CloseHandle(h);
    if (!n || n >= LAR_LEN(real))
        return NULL;
    const wchar_t *from = wcsncmp(real, L"\\\\?\\", 4) == 0 ? real + 4 : real;
    char *out = narrow(from);
    for (char *c = out; c && *c; c++)
        if (*c == '\\')
            *c = '/';
    return out;
}

lar_status lar_dir_names(const char *path, lar_name_fn *fn, void *user, lar_err *e)
{
    WIN32_FIND_DATAW it;
    lar_buf all = {0};
    lar_buf_printf(&all, "%s/*", path);
    wchar_t *wide = all.oom ? NULL : widen(all.p);
    lar_buf_free(&all);
    HANDLE h = wide ? FindFirstFileW(wide, &it) : INVALID_HANDLE_VALUE;
    lar_free(wide);
    if (h == INVALID_HANDLE_VALUE)
        return sys_fail(e, path, "cannot list");
    do {
        char *name = narrow(it.cFileName);
        if (name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            fn(name, user);
        lar_free(name);
    } while (FindNextFileW(h, &it));
    FindClose(h);
    return LAR_OK;
}

static void remove_in(const char *name, void *user)
{
    lar_buf p = {0};
    lar_buf_printf(&p, "%s/%s", (const char *)user, name);
    if (!p.oom)
        lar_file_remove(p.p);
    lar_buf_free(&p);
}

void lar_dir_remove(const char *path)
{
    lar_dir_names(path, remove_in, (void *)(uintptr_t)path, NULL);
    wchar_t *wide = widen(path);
    if (wide)
        RemoveDirectoryW(wide);
    lar_free(wide);
}

lar_status lar_program_run(const char *const *argv, int (*poll)(void *user), void *user,
                           lar_buf *said, int *code, lar_err *e)
{
    (void)poll;
    (void)user;
    (void)said;
    *code = -1;
    return lar_fail(e, LAR_EUNSUPPORTED, "%s: running other programs is not supported on Windows",
                    argv[0]);
}
