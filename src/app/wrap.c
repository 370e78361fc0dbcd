/* wrap.c - word wrap of text that comes in pieces. Depends on utf8proc for the width of characters.
 */
#include "app/app.h"
#include <string.h>
#include <utf8proc.h>

void cli_wrap_begin(cli_wrap *w, FILE *f, int width)
{
    lar_buf keep = w->word;
    *w = (cli_wrap){.f = f, .width = width, .line_start = true, .at_eol = true, .word = keep};
    lar_buf_clear(&w->word);
}

static int char_columns(uint32_t cp)
{
    return LAR_MAX(utf8proc_charwidth((utf8proc_int32_t)cp), 0);
}

int cli_columns(const char *s, size_t n)
{
    int cols = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int len = lar_utf8_decode(s + i, n - i, &cp);
        cols += len ? char_columns(cp) : 1;
        i += (size_t)LAR_MAX(len, 1);
    }
    return cols;
}

static void newline(cli_wrap *w)
{
    fputc('\n', w->f);
    w->col = 0;
    w->at_eol = true;
}

/* A word that is wider than a line is cut where the line ends. */
static void put_word(cli_wrap *w)
{
    for (size_t i = 0; i < w->word.n;) {
        uint32_t cp = 0;
        int len = LAR_MAX(lar_utf8_decode(w->word.p + i, w->word.n - i, &cp), 1);
        int cols = char_columns(cp);
        if (w->col + cols > w->width)
            newline(w);
        fwrite(w->word.p + i, 1, (size_t)len, w->f);
        w->col += cols;
        i += (size_t)len;
    }
    w->at_eol = false;
    w->any = true;
    lar_buf_clear(&w->word);
    w->word_cols = 0;
}

void cli_wrap_flush(cli_wrap *w)
{
    if (w->word.n && !w->word.oom) {
        if (w->col && w->col + w->spaces + w->word_cols > w->width) {
            newline(w);
            w->spaces = 0;
        }
        for (; w->spaces > 0 && w->col < w->width; w->spaces--, w->col++)
            fputc(' ', w->f);
        w->spaces = 0;
        put_word(w);
    }
    fflush(w->f);
}

/* Inside a ``` fence nothing is moved: a long line is the terminal's business. */
static void fenced(cli_wrap *w, const char *s, size_t len, uint32_t cp)
{
    for (; w->spaces > 0; w->spaces--)
        fputc(' ', w->f);
    fwrite(s, 1, len, w->f);
    w->any = true;
    w->at_eol = false;
    w->col += char_columns(cp);
}

static void line_end(cli_wrap *w)
{
    cli_wrap_flush(w);
    if (w->ticks >= 3)
        w->fence = !w->fence;
    w->ticks = 0;
    w->line_start = true;
    w->spaces = 0;
    newline(w);
    w->any = true;
}

static void put_char(cli_wrap *w, const char *s, size_t len, uint32_t cp)
{
    if (cp == '\n') {
        line_end(w);
        return;
    }
    if (cp < 0x20 && cp != '\t')
        return;
    if (cp == 0x7f || (cp >= 0x80 && cp <= 0x9f))
        return; /* no escape sequence of a model's reaches the terminal */
    if (cp == ' ' || cp == '\t') {
        bool fence = w->fence;
        if (!fence)
            cli_wrap_flush(w);
        w->spaces += cp == ' ' ? 1 : 8 - (w->col + w->spaces) % 8;
        return;
    }
    if (w->line_start && cp == '`')
        w->ticks++;
    else
        w->line_start = false;
    if (w->fence) {
        fenced(w, s, len, cp);
        return;
    }
    int cols = char_columns(cp);
    lar_buf_add(&w->word, s, len);
    w->word_cols += cols;
    if (cols == 2)
        cli_wrap_flush(w); /* ideographs: a line may break after each */
}

void cli_wrap_put(cli_wrap *w, const char *s, size_t n)
{
    if (w->width <= 0) {
        fwrite(s, 1, n, w->f);
        if (n) {
            w->any = true;
            w->at_eol = s[n - 1] == '\n';
        }
        fflush(w->f);
        return;
    }
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0xfffd;
        int len = lar_utf8_decode(s + i, n - i, &cp);
        if (len)
            put_char(w, s + i, (size_t)len, cp);
        else
            put_char(w, "\xef\xbf\xbd", 3, cp);
        i += (size_t)LAR_MAX(len, 1);
    }
    fflush(w->f);
}

void cli_wrap_end(cli_wrap *w)
{
    if (w->width > 0)
        cli_wrap_flush(w);
    if (w->any && !w->at_eol)
        newline(w);
    fflush(w->f);
}

void cli_wrap_free(cli_wrap *w)
{
    lar_buf_free(&w->word);
}

void cli_paragraph(FILE *f, const char *s, int col, int indent, int width)
{
    bool first = true;
    while (*s) {
        size_t n = strcspn(s, " ");
        int cols = cli_columns(s, n);
        if (!first && col + 1 + cols > width) {
            fprintf(f, "\n%*s", indent, "");
            col = indent;
        } else if (!first) {
            fputc(' ', f);
            col++;
        }
        fwrite(s, 1, n, f);
        col += cols;
        first = false;
        s += n + (s[n] == ' ');
    }
    fputc('\n', f);
}
