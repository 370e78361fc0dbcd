/* edit.c - a line from the user. libedit where there is one, plain input elsewhere (Windows, no
 * terminal). A paste is bound by us: its line ends are part of the text and send nothing. */
#include "app/app.h"
#include <errno.h>
#include <string.h>
#ifndef _WIN32
#include <histedit.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

enum { HISTORY_LINES = 1000, PASTE_MAX = 1 << 20 };

struct cli_edit {
    const cli_ui *ui;
    const char *const *commands; /* NULL-terminated: what Tab completes */
    const char *prompt;
    char *history_file;
    bool interrupted;
#ifndef _WIN32
    EditLine *el;
    History *hist;
#endif
};

/* Without an editor: a line as it comes. */
static cli_edit_result plain_read(cli_edit *ed, const char *prompt, lar_buf *line)
{
    if (ed->ui->tty_in) {
        FILE *f = ed->ui->tty_out ? stdout : stderr;
        fputs(prompt, f);
        fflush(f);
    }
    int c;
    while ((c = getchar()) != EOF && c != '\n')
        lar_buf_putc(line, (char)c);
    if (line->n && line->p[line->n - 1] == '\r')
        line->p[--line->n] = 0;
    return c == EOF && line->n == 0 ? CLI_EDIT_EOF : CLI_EDIT_LINE;
}

#ifdef _WIN32
cli_edit *cli_edit_new(const cli_ui *ui, const char *history, const char *const *commands)
{
    (void)history;
    cli_edit *ed = lar_alloc(sizeof *ed);
    if (ed) {
        ed->ui = ui;
        ed->commands = commands;
    }
    return ed;
}

cli_edit_result cli_edit_read(cli_edit *ed, const char *prompt, lar_buf *line)
{
    lar_buf_clear(line);
    return plain_read(ed, prompt, line);
}

void cli_edit_remember(cli_edit *ed, const char *text)
{
    (void)ed;
    (void)text;
}

void cli_edit_free(cli_edit *ed)
{
    lar_free(ed);
}
#else

static cli_edit *self(EditLine *el)
{
    void *p = NULL;
    el_get(el, EL_CLIENTDATA, &p);
    return p;
}

static char *show_prompt(EditLine *el)
{
    return (char *)(uintptr_t)self(el)->prompt;
}

static unsigned char on_interrupt(EditLine *el, int c)
{
    (void)c;
    self(el)->interrupted = true;
    fputs("^C\r\n", stdout);
    fflush(stdout);
    return CC_NEWLINE;
}

static unsigned char on_suspend(EditLine *el, int c)
{
    (void)c;
    el_set(el, EL_PREP_TERM, 0);
    raise(SIGTSTP);
    el_set(el, EL_PREP_TERM, 1);
    return CC_REDISPLAY;
}

static unsigned char on_newline(EditLine *el, int c)
{
    (void)c;
    return el_insertstr(el, "\n") == 0 ? CC_REFRESH : CC_ERROR;
}

/* One byte from the terminal: the editor reads no further than the key that it has, and its own
 * reader would take bytes for characters. */
static bool paste_byte(char *ch)
{
    ssize_t n;
    do
        n = read(STDIN_FILENO, ch, 1);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

/* Line ends as \n, tabs as spaces; other control characters would garble the line, and what is not
 * UTF-8 becomes U+FFFD. */
static void clean_paste(const lar_buf *raw, size_t n, lar_buf *out)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        const int len = lar_utf8_decode(raw->p + i, n - i, &cp);
        const char c = raw->p[i];
        if (len == 0)
            lar_buf_puts(out, "\xef\xbf\xbd");
        else if (c == '\r' || c == '\n')
            lar_buf_puts(out, c == '\n' && i && raw->p[i - 1] == '\r' ? "" : "\n");
        else if (c == '\t')
            lar_buf_putc(out, ' ');
        else if (cp >= 0x20 && !(cp >= 0x7f && cp <= 0x9f))
            lar_buf_add(out, raw->p + i, (size_t)len);
        i += (size_t)LAR_MAX(len, 1);
    }
    while (out->n && out->p[out->n - 1] == '\n') /* a line copied with its end is not two lines */
        out->p[--out->n] = 0;
}

/* What the terminal sends between ESC[200~ and ESC[201~, to the byte. Of too long a paste the rest
 * is read too, so that it is not taken for keys. */
static unsigned char on_paste(EditLine *el, int c)
{
    static const char end[] = "\033[201~";
    const size_t n_end = sizeof end - 1;
    lar_buf raw = {0}, text = {0};
    size_t at =
        0; /* bytes of `end` just seen; ESC is only its first, so a mismatch restarts there */
    char ch;
    (void)c;
    while (at < n_end && paste_byte(&ch)) {
        at = ch == end[at] ? at + 1 : ch == end[0];
        if (raw.n < PASTE_MAX + n_end)
            lar_buf_putc(&raw, ch);
    }
    const bool cut = raw.n >= PASTE_MAX + n_end;
    const size_t n = cut ? PASTE_MAX : raw.n - at;
    if (!raw.oom && raw.p)
        clean_paste(&raw, n - (cut ? lar_utf8_incomplete(raw.p, n) : 0), &text);
    bool ok = !raw.oom && !text.oom && (text.n == 0 || el_insertstr(el, text.p) == 0);
    lar_buf_free(&raw);
    lar_buf_free(&text);
    return !ok ? CC_ERROR : cut ? CC_REFRESH_BEEP : CC_REFRESH;
}

static unsigned char on_tab(EditLine *el, int c)
{
    cli_edit *ed = self(el);
    const LineInfo *li = el_line(el);
    size_t n = (size_t)(li->cursor - li->buffer), found = 0, common = 0;
    const char *match = NULL;
    (void)c;
    if (n == 0 || li->buffer[0] != '/' || li->cursor != li->lastchar)
        return el_insertstr(el, "  ") == 0 ? CC_REFRESH : CC_ERROR;
    for (size_t i = 0; ed->commands && ed->commands[i]; i++) {
        const char *name = ed->commands[i];
        if (strncmp(name, li->buffer, n) != 0)
            continue;
        size_t k = 0;
        while (match && k < common && name[k] == match[k])
            k++;
        common = match ? k : strlen(name);
        match = name;
        found++;
    }
    char add[64];
    if (!found || common < n || common - n + 2 > sizeof add)
        return CC_REFRESH_BEEP;
    memcpy(add, match + n, common - n);
    strncpy(add + common - n, found == 1 ? " " : "", 2);
    if (!add[0])
        return CC_REFRESH_BEEP;
    return el_insertstr(el, add) == 0 ? CC_REFRESH : CC_ERROR;
}

static void open_history(cli_edit *ed)
{
    HistEvent ev;
    ed->hist = history_init();
    if (!ed->hist)
        return;
    history(ed->hist, &ev, H_SETSIZE, (int)HISTORY_LINES);
    history(ed->hist, &ev, H_SETUNIQUE, 1);
    if (ed->history_file)
        history(ed->hist, &ev, H_LOAD, ed->history_file);
    el_set(ed->el, EL_HIST, history, ed->hist);
}

static void bind_keys(EditLine *el)
{
    static const char *const keys[][2] = {
        {"\033[200~", "lar-paste"},    {"^C", "lar-interrupt"},
        {"^Z", "lar-suspend"},         {"^I", "lar-complete"},
        {"\033\r", "lar-newline"},     {"\033\n", "lar-newline"},
        {"^R", "em-inc-search-prev"},  {"\033[1;5C", "em-next-word"},
        {"\033[1;5D", "ed-prev-word"}, {"\033[3~", "ed-delete-next-char"},
        {"^W", "ed-delete-prev-word"},
    };
    el_set(el, EL_EDITOR, "emacs");
    el_wset(el, EL_ADDFN, L"lar-paste", L"pasted text", on_paste);
    el_wset(el, EL_ADDFN, L"lar-interrupt", L"clear the line", on_interrupt);
    el_wset(el, EL_ADDFN, L"lar-suspend", L"stop the program until fg", on_suspend);
    el_wset(el, EL_ADDFN, L"lar-complete", L"complete a command", on_tab);
    el_wset(el, EL_ADDFN, L"lar-newline", L"a new line", on_newline);
    /* While a line is edited Ctrl-C is a key; while an answer is written it is the signal again. */
    el_set(el, EL_SETTY, "-d", "-isig", NULL);
    for (size_t i = 0; i < LAR_LEN(keys); i++)
        el_set(el, EL_BIND, keys[i][0], keys[i][1], NULL);
}

cli_edit *cli_edit_new(const cli_ui *ui, const char *history_file, const char *const *commands)
{
    cli_edit *ed = lar_alloc(sizeof *ed);
    if (!ed)
        return NULL;
    ed->ui = ui;
    ed->commands = commands;
    ed->history_file = history_file ? lar_strdup(history_file) : NULL;
    if (!ui->tty_in || !ui->tty_out)
        return ed;
    ed->el = el_init("lar", stdin, stdout, stderr);
    if (!ed->el)
        return ed;
    el_set(ed->el, EL_CLIENTDATA, ed);
    el_set(ed->el, EL_PROMPT_ESC, show_prompt, '\1');
    el_set(ed->el, EL_SIGNAL, 1);
    bind_keys(ed->el);
    open_history(ed);
    return ed;
}

cli_edit_result cli_edit_read(cli_edit *ed, const char *prompt, lar_buf *line)
{
    int n = 0;
    lar_buf_clear(line);
    if (!ed->el)
        return plain_read(ed, prompt, line);
    ed->prompt = prompt;
    ed->interrupted = false;
    /* Before the prompt is seen: libedit itself shows it first, and a key pressed in between would
     * go astray. */
    el_set(ed->el, EL_PREP_TERM, 1);
    fputs("\033[?2004h", stdout);
    fflush(stdout);
    const char *s = el_gets(ed->el, &n);
    fputs("\033[?2004l", stdout);
    fflush(stdout);
    if (s && n > 0)
        lar_buf_add(line, s, (size_t)n);
    if (ed->interrupted)
        return CLI_EDIT_INTERRUPT;
    if (!s || n <= 0)
        return CLI_EDIT_EOF;
    if (line->n && line->p[line->n - 1] == '\n')
        line->p[--line->n] = 0;
    return CLI_EDIT_LINE;
}

/* Written aside and renamed; only the user may read it. */
static void save_history(cli_edit *ed)
{
    HistEvent ev;
    lar_buf tmp = {0};
    if (cli_make_dirs(ed->history_file, NULL) != LAR_OK)
        return;
    lar_buf_printf(&tmp, "%s.%ld", ed->history_file, (long)getpid());
    mode_t mask = umask(077);
    if (!tmp.oom && history(ed->hist, &ev, H_SAVE, tmp.p) >= 0 &&
        rename(tmp.p, ed->history_file) != 0)
        remove(tmp.p);
    umask(mask);
    lar_buf_free(&tmp);
}

/* Saved at once: a closed terminal loses nothing. */
void cli_edit_remember(cli_edit *ed, const char *text)
{
    HistEvent ev;
    if (!ed->hist || !*text)
        return;
    history(ed->hist, &ev, H_ENTER, text);
    if (ed->history_file)
        save_history(ed);
}

void cli_edit_free(cli_edit *ed)
{
    if (!ed)
        return;
    if (ed->hist)
        history_end(ed->hist);
    if (ed->el)
        el_end(ed->el);
    lar_free(ed->history_file);
    lar_free(ed);
}
#endif
