/* out.c - colours, messages, numbers, JSON. Depends on jansson. */
#include "app/app.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const codes[] = {
    [CLI_PLAIN] = "",          [CLI_DIM] = "\033[2m",  [CLI_BOLD] = "\033[1m",
    [CLI_YELLOW] = "\033[33m", [CLI_RED] = "\033[31m", [CLI_GREEN] = "\033[32m",
    [CLI_CYAN] = "\033[36m",
};

void cli_ui_init(cli_ui *ui)
{
    *ui = (cli_ui){
        .tty_in = cli_is_tty(stdin), .tty_out = cli_is_tty(stdout), .tty_err = cli_is_tty(stderr)};
    cli_ui_color(ui, "auto");
}

bool cli_ui_color(cli_ui *ui, const char *when)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    bool plain = (no && *no) || (term && strcmp(term, "dumb") == 0);
    if (strcmp(when, "always") == 0)
        ui->color_out = ui->color_err = true;
    else if (strcmp(when, "never") == 0)
        ui->color_out = ui->color_err = false;
    else if (strcmp(when, "auto") == 0) {
        ui->color_out = ui->tty_out && !plain;
        ui->color_err = ui->tty_err && !plain;
    } else
        return false;
    return true;
}

const char *cli_on(const cli_ui *ui, FILE *f, cli_style s)
{
    return (f == stderr ? ui->color_err : ui->color_out) ? codes[s] : "";
}

const char *cli_off(const cli_ui *ui, FILE *f)
{
    return (f == stderr ? ui->color_err : ui->color_out) ? "\033[0m" : "";
}

void cli_puts_clean(FILE *f, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int len = lar_utf8_decode(s + i, n - i, &cp);
        if (len == 0) {
            fputs("\xef\xbf\xbd", f);
            i++;
            continue;
        }
        if (cp == '\n' || cp == '\t' || (cp >= 0x20 && cp != 0x7f && (cp < 0x80 || cp > 0x9f)))
            fwrite(s + i, 1, (size_t)len, f);
        i += (size_t)len;
    }
}

/* One line, whatever a file's text put into it; on a terminal it is wrapped between words. */
static void say(const cli_ui *ui, cli_style style, const char *head, const char *fmt, va_list ap)
{
    char line[1200];
    int n = vsnprintf(line, sizeof line, fmt, ap);
    size_t len = n < 0 ? 0 : LAR_MIN((size_t)n, sizeof line - 1), k = 0;
    len -= lar_utf8_incomplete(line, len);
    for (size_t i = 0; i < len;) {
        uint32_t cp = 0;
        int bytes = lar_utf8_decode(line + i, len - i, &cp);
        bool bad = bytes == 0 || cp < 0x20 || (cp >= 0x7f && cp <= 0x9f);
        if (bad)
            line[k++] = ' ';
        else
            memmove(line + k, line + i, (size_t)bytes), k += (size_t)bytes;
        i += (size_t)LAR_MAX(bytes, 1);
    }
    line[k] = 0;
    fflush(stdout);
    fprintf(stderr, "%s%s%s ", cli_on(ui, stderr, style), head, cli_off(ui, stderr));
    cli_paragraph(stderr, line, (int)strlen(head) + 1, 0, ui->tty_err ? cli_width(stderr) : 100000);
}

void cli_error(const cli_ui *ui, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(ui, CLI_RED, "lar:", fmt, ap);
    va_end(ap);
}

void cli_hint(const cli_ui *ui, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(ui, CLI_DIM, "hint:", fmt, ap);
    va_end(ap);
}

void cli_note(const cli_ui *ui, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(ui, CLI_YELLOW, "note:", fmt, ap);
    va_end(ap);
}

int cli_flush(const cli_ui *ui, int code)
{
    errno = 0;
    bool bad = ferror(stdout) != 0;
    if (fflush(stdout) != 0 || bad) {
        if (!errno) { /* it failed long ago: the next byte has the same reason */
            clearerr(stdout);
            errno = 0;
            fputc('\n', stdout);
            fflush(stdout);
        }
        if (errno != EPIPE)
            cli_error(ui, "cannot write to standard output%s%s", errno ? ": " : "",
                      errno ? strerror(errno) : "");
        return code == CLI_OK ? CLI_FAIL : code;
    }
    return code;
}

const char *cli_bytes(double n, char *buf, size_t size)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    size_t u = 0;
    while (n >= 999.5 && u + 1 < LAR_LEN(units)) {
        n /= 1000;
        u++;
    }
    snprintf(buf, size, u && n < 99.95 ? "%.1f %s" : "%.0f %s", n, units[u]);
    return buf;
}

const char *cli_count(double n, char *buf, size_t size)
{
    char digits[64];
    int len = snprintf(digits, sizeof digits, "%.0f", fabs(n));
    size_t k = 0;
    if (n < 0 && size > 1)
        buf[k++] = '-';
    for (int i = 0; i < len && k + 2 < size; i++) {
        if (i && (len - i) % 3 == 0)
            buf[k++] = ',';
        buf[k++] = digits[i];
    }
    buf[k] = 0;
    return buf;
}

static int add_piece(const char *p, size_t n, void *user)
{
    lar_buf *b = user;
    lar_buf_add(b, p, n);
    return b->oom ? -1 : 0;
}

bool cli_dump(const json_t *j, size_t flags, lar_buf *out)
{
    return json_dump_callback(j, add_piece, out, flags | JSON_ENCODE_ANY) == 0 && !out->oom;
}

int cli_print_json(const cli_ui *ui, const json_t *j)
{
    lar_buf b = {0};
    int code = CLI_OK;
    if (!j || !cli_dump(j, JSON_COMPACT, &b)) {
        cli_error(ui, "out of memory");
        code = CLI_FAIL;
    } else {
        fwrite(b.p, 1, b.n, stdout);
        fputc('\n', stdout);
    }
    lar_buf_free(&b);
    return code;
}

const json_t *cli_at(const json_t *j, const char *path)
{
    char key[64];
    while (j && *path) {
        size_t n = strcspn(path, ".");
        if (n >= sizeof key)
            return NULL;
        memcpy(key, path, n);
        key[n] = 0;
        j = json_object_get(j, key);
        path += n + (path[n] == '.');
    }
    return j;
}

double cli_num(const json_t *j, const char *path, double def)
{
    const json_t *v = cli_at(j, path);
    return json_is_number(v) ? json_number_value(v) : def;
}

const char *cli_str(const json_t *j, const char *path, const char *def)
{
    const json_t *v = cli_at(j, path);
    return json_is_string(v) ? json_string_value(v) : def;
}
