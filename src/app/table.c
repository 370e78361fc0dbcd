/* table.c - tables that fit the terminal. Depends on wrap.c for widths. */
#include "app/app.h"
#include <string.h>

void cli_table_begin(cli_table *t, size_t cols, const char *const *heads)
{
    *t = (cli_table){.cols = LAR_MIN(cols, (size_t)CLI_TABLE_COLS)};
    for (size_t i = 0; i < t->cols; i++) {
        const char *h = heads[i];
        t->right[i] = *h == '>'; /* a head ">Name" aligns its column to the right */
        cli_table_add(t, h + t->right[i]);
    }
}

void cli_table_add(cli_table *t, const char *cell)
{
    char *copy = lar_strdup(cell);
    if (!copy || !lar_grow((void **)&t->cells, &t->cap, t->rows + 1, sizeof *t->cells)) {
        lar_free(copy);
        t->oom = true;
        return;
    }
    t->cells[t->rows++] = copy;
}

static void print_cell(const char *s, int width, bool right, bool last)
{
    size_t n = strlen(s);
    int cols = cli_columns(s, n);
    if (cols <= width) {
        int pad = width - cols;
        if (right)
            printf("%*s", pad, "");
        cli_puts_clean(stdout, s, n);
        if (!right && !last)
            printf("%*s", pad, "");
        return;
    }
    size_t i = 0;
    for (int used = 0; i < n;) {
        int len = LAR_MAX(lar_utf8_decode(s + i, n - i, NULL), 1);
        used += cli_columns(s + i, (size_t)len);
        if (used > width - 1)
            break;
        i += (size_t)len;
    }
    cli_puts_clean(stdout, s, i);
    fputs("…", stdout);
}

static void fit(const cli_table *t, int *w, int width)
{
    int total = 0;
    for (size_t c = 0; c < t->cols; c++)
        total += w[c] + (c ? 2 : 0);
    while (total > width) {
        size_t widest = 0;
        for (size_t c = 1; c < t->cols; c++)
            if ((!t->right[c] && w[c] > w[widest]) || t->right[widest])
                widest = c;
        if (w[widest] <= 8)
            return;
        w[widest]--;
        total--;
    }
}

void cli_table_print(const cli_ui *ui, cli_table *t, int width)
{
    int w[CLI_TABLE_COLS] = {0};
    size_t rows = t->cols ? t->rows / t->cols : 0;
    bool heads = false;
    for (size_t c = 0; c < t->cols && c < t->rows; c++)
        heads |= t->cells[c][0] != 0;
    for (size_t i = 0; i < rows * t->cols; i++) {
        int n = cli_columns(t->cells[i], strlen(t->cells[i]));
        w[i % t->cols] = LAR_MAX(w[i % t->cols], n);
    }
    fit(t, w, width);
    for (size_t r = heads ? 0 : 1; r < rows; r++) {
        fputs(r ? "" : cli_on(ui, stdout, CLI_BOLD), stdout);
        for (size_t c = 0; c < t->cols; c++) {
            fputs(c ? "  " : "", stdout);
            print_cell(t->cells[r * t->cols + c], w[c], t->right[c], c + 1 == t->cols);
        }
        fputs(r ? "" : cli_off(ui, stdout), stdout);
        fputc('\n', stdout);
    }
}

void cli_table_free(cli_table *t)
{
    for (size_t i = 0; i < t->rows; i++)
        lar_free(t->cells[i]);
    lar_free(t->cells);
    *t = (cli_table){0};
}

static void json_cell(const json_t *v, char *buf, size_t size)
{
    if (json_is_string(v))
        snprintf(buf, size, "%s", json_string_value(v));
    else if (json_is_integer(v))
        snprintf(buf, size, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v)) {
        double x = json_real_value(v), mag = x < 0 ? -x : x;
        snprintf(buf, size, "%.*f", mag >= 1000 ? 0 : mag >= 10 ? 2 : 4, x);
    } else
        snprintf(buf, size, "%s", json_is_boolean(v) ? (json_is_true(v) ? "yes" : "no") : "");
}

void cli_print_rows(const cli_ui *ui, const json_t *rows)
{
    char heads[CLI_TABLE_COLS][48], cell[256];
    const char *ptr[CLI_TABLE_COLS], *key;
    size_t cols = 0, i;
    json_t *v, *row;
    json_object_foreach(json_array_get(rows, 0), key, v)
    {
        if (cols == CLI_TABLE_COLS)
            break;
        snprintf(heads[cols], sizeof heads[cols], "%s%s", json_is_number(v) ? ">" : "", key);
        for (char *p = heads[cols]; *p; p++)
            *p = *p == '_' ? ' ' : *p;
        ptr[cols] = heads[cols];
        cols++;
    }
    if (!cols)
        return;
    cli_table t;
    cli_table_begin(&t, cols, ptr);
    json_array_foreach(rows, i, row)
    {
        size_t c = 0;
        json_object_foreach(json_array_get(rows, 0), key, v)
        {
            if (c++ == cols)
                break;
            json_cell(json_object_get(row, key), cell, sizeof cell);
            cli_table_add(&t, cell);
        }
    }
    cli_table_print(ui, &t, ui->tty_out ? cli_width(stdout) : 1000);
    cli_table_free(&t);
}
