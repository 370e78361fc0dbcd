/* term.c - the terminal, standard input and folders, per system. Needs libc and base. */
#include "app/app.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/stat.h>
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <shellapi.h>
#include <direct.h>
#include <fcntl.h>
#include <io.h>
#else
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#endif

enum { DEFAULT_WIDTH = 80, MIN_WIDTH = 20, MAX_WIDTH = 1000 };

#ifdef _WIN32
bool cli_is_tty(FILE *f)
{
    return _isatty(_fileno(f)) != 0;
}

int cli_width(FILE *f)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    HANDLE h = (HANDLE)_get_osfhandle(_fileno(f));
    if (!GetConsoleScreenBufferInfo(h, &info))
        return DEFAULT_WIDTH;
    int w = info.srWindow.Right - info.srWindow.Left + 1;
    return LAR_MIN(LAR_MAX(w, MIN_WIDTH), MAX_WIDTH);
}

void cli_console_init(void)
{
    SetConsoleOutputCP(CP_UTF8);
    SetConsoleCP(CP_UTF8);
    static const DWORD streams[] = {STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    for (size_t i = 0; i < LAR_LEN(streams); i++) {
        HANDLE h = GetStdHandle(streams[i]);
        DWORD mode;
        if (GetConsoleMode(h, &mode))
            SetConsoleMode(h, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
    }
    /* Lines end with \n on every system, and bytes read are bytes. */
    _setmode(_fileno(stdout), _O_BINARY);
    if (!cli_is_tty(stdin))
        _setmode(_fileno(stdin), _O_BINARY);
}

char **cli_utf8_argv(int *argc, char **argv)
{
    int n = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &n);
    char **out = wide ? lar_alloc_array((size_t)n + 1, sizeof *out) : NULL;
    for (int i = 0; out && i < n; i++) {
        int len = WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, NULL, 0, NULL, NULL);
        out[i] = len > 0 ? lar_alloc((size_t)len) : NULL;
        if (!out[i])
            return argv;
        WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, out[i], len, NULL, NULL);
    }
    if (!out)
        return argv;
    *argc = n;
    return out; /* lives as long as the process */
}

bool cli_stdin_ready(double seconds, bool *silent)
{
    HANDLE h = GetStdHandle(STD_INPUT_HANDLE);
    *silent = false;
    if (cli_is_tty(stdin) || h == INVALID_HANDLE_VALUE || h == NULL)
        return false;
    DWORD type = GetFileType(h);
    if (type == FILE_TYPE_DISK)
        return true;
    if (type != FILE_TYPE_PIPE)
        return false;
    for (double waited = 0; waited < seconds; waited += 0.02) {
        DWORD n = 0;
        if (!PeekNamedPipe(h, NULL, 0, NULL, &n, NULL))
            return false; /* its other end is closed */
        if (n)
            return true;
        Sleep(20);
    }
    *silent = true;
    return false;
}

static int make_dir(const char *path)
{
    wchar_t wide[1024];
    if (!MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, (int)LAR_LEN(wide)))
        return -1;
    return _wmkdir(wide);
}
#else
bool cli_is_tty(FILE *f)
{
    return isatty(fileno(f)) != 0;
}

int cli_width(FILE *f)
{
    struct winsize ws;
    if (ioctl(fileno(f), TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0)
        return LAR_MIN(LAR_MAX((int)ws.ws_col, MIN_WIDTH), MAX_WIDTH);
    const char *env = getenv("COLUMNS");
    long w = env ? strtol(env, NULL, 10) : 0;
    return w >= MIN_WIDTH && w <= MAX_WIDTH ? (int)w : DEFAULT_WIDTH;
}

void cli_console_init(void)
{
    /* A closed stream's number must not go to the next file that is opened: it stays one that
     * cannot be written. */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDONLY) < 0)
            break;
    /* A reader that has seen enough ends us quietly, also where the parent ignores the signal. */
    signal(SIGPIPE, SIG_DFL);
}

char **cli_utf8_argv(int *argc, char **argv)
{
    (void)argc;
    return argv;
}

bool cli_stdin_ready(double seconds, bool *silent)
{
    struct stat st;
    *silent = false;
    if (fstat(STDIN_FILENO, &st) != 0 || isatty(STDIN_FILENO))
        return false;
    if (S_ISREG(st.st_mode))
        return true;
    if (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
        return false;
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    int n = poll(&p, 1, seconds < 0 ? -1 : (int)(seconds * 1000));
    *silent = n == 0;
    return n > 0;
}

static int make_dir(const char *path)
{
    return mkdir(path, 0700);
}
#endif

lar_status cli_make_dirs(const char *path, lar_err *e)
{
    char *copy = lar_strdup(path);
    if (!copy)
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    lar_status s = LAR_OK;
    for (char *p = copy + 1; s == LAR_OK && *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (make_dir(copy) != 0 && errno != EEXIST && errno != EISDIR && errno != EACCES)
            s = lar_fail(e, LAR_EIO, "%s: cannot make the folder: %s", copy, strerror(errno));
        *p = '/';
    }
    lar_free(copy);
    return s;
}

lar_status cli_read_stdin(lar_buf *out, lar_err *e)
{
    char buf[65536];
    size_t n;
    while ((n = fread(buf, 1, sizeof buf, stdin)) > 0) {
        lar_buf_add(out, buf, n);
        if (out->oom)
            return lar_fail(e, LAR_ENOMEM, "standard input: out of memory after %zu bytes", out->n);
    }
    if (ferror(stdin))
        return lar_fail(e, LAR_EIO, "standard input: %s", strerror(errno));
    return LAR_OK;
}

static lar_status check_text(const lar_buf *b, lar_err *e)
{
    for (size_t i = 0; i < b->n;) {
        int len = lar_utf8_decode(b->p + i, b->n - i, NULL);
        if (len == 0)
            return lar_fail(e, LAR_EFORMAT, "standard input: byte %zu is not UTF-8 text", i);
        if (b->p[i] == 0)
            return lar_fail(e, LAR_EFORMAT, "standard input: byte %zu is NUL, want text", i);
        i += (size_t)len;
    }
    return LAR_OK;
}

lar_status cli_read_text(lar_buf *out, bool strip, lar_err *e)
{
    LAR_TRY(cli_read_stdin(out, e));
    LAR_TRY(check_text(out, e));
    while (strip && out->n && (out->p[out->n - 1] == '\n' || out->p[out->n - 1] == '\r'))
        out->p[--out->n] = 0;
    return LAR_OK;
}
