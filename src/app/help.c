/* help.c - help from the verb table and the field tables. */
#include "app/app.h"
#include <string.h>

enum { HELP_COL = 26, HELP_MAX_WIDTH = 100 };

static int help_width(const cli_ui *ui)
{
    return ui->tty_out ? LAR_MIN(cli_width(stdout), (int)HELP_MAX_WIDTH) : 80;
}

static void item(const cli_ui *ui, const char *left, const char *right, int col, int width)
{
    int n = cli_columns(left, strlen(left)) + 2;
    printf("  %s%s%s", cli_on(ui, stdout, CLI_BOLD), left, cli_off(ui, stdout));
    if (!*right) {
        putchar('\n');
        return;
    }
    if (n + 2 > col)
        printf("\n%*s", col, "");
    else
        printf("%*s", col - n, "");
    cli_paragraph(stdout, right, col, col, width);
}

static void heading(const cli_ui *ui, const char *s)
{
    printf("\n%s%s%s\n", cli_on(ui, stdout, CLI_BOLD), s, cli_off(ui, stdout));
}

void cli_help_all(const cli_ui *ui)
{
    int width = help_width(ui);
    printf("lar %s: your own AI models, on your own machine\n\n", lar_version());
    printf("Usage: lar VERB [ARGUMENTS] [FLAGS]\n");
    heading(ui, "Verbs");
    for (size_t i = 0; i < cli_n_verbs; i++)
        item(ui, cli_verbs[i]->name, cli_verbs[i]->help, 14, width);
    heading(ui, "Start here");
    printf("  lar chat                     talk to the default model\n"
           "  lar run \"Why is it dark?\"    one answer\n"
           "  lar help run                 the flags of a verb\n\n");
    cli_paragraph(
        stdout,
        "MODEL is a GGUF file, or the name of a model in the model directory: $LAR_MODELS, "
        "else ~/.local/share/lar/models.",
        0, 0, width);
    cli_paragraph(
        stdout, "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. More: docs/CLI.md.",
        0, 0, width);
}

static void flag_left(const cli_flag *f, lar_buf *b)
{
    lar_buf_clear(b);
    if (f->letter)
        lar_buf_printf(b, "-%c, ", f->letter);
    lar_buf_printf(b, "--%s%s", f->type == CLI_BOOL && f->def_on ? "no-" : "", f->name);
    if (f->type != CLI_BOOL)
        lar_buf_printf(b, " %s", f->unit ? f->unit : f->type == CLI_JSON ? "JSON" : "VALUE");
}

/* A letter as upper ('A') or lower ('a') case; anything else as it is. */
static int ascii_case(char c, char to)
{
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter ? (c & 31) - 1 + to : c;
}

static void flag_right(const cli_flag *f, lar_buf *b)
{
    const char *help = f->help ? f->help : "";
    lar_buf_clear(b);
    if (f->type == CLI_BOOL && f->def_on) /* helps are imperatives */
        lar_buf_printf(b, "Do not %c%s", ascii_case(*help, 'a'), *help ? help + 1 : "");
    else
        lar_buf_printf(b, "%c%s", ascii_case(*help, 'A'), *help ? help + 1 : "");
    if (f->choices) {
        lar_buf_puts(b, " (");
        for (const char *p = f->choices; *p; p++)
            lar_buf_puts(b, *p == '|' ? ", " : (char[2]){*p, 0});
        lar_buf_putc(b, ')');
    }
    bool bounds = f->min < f->max && f->max < 1e6 && f->min > -1e6;
    if (bounds && (f->type == CLI_INT || f->type == CLI_NUMBER))
        lar_buf_printf(b, " (%.7g to %.7g)", f->min, f->max);
    if (f->def && *f->def && f->type != CLI_BOOL && strlen(f->def) < 40)
        lar_buf_printf(b, " [%s]", f->def);
    if (f->type == CLI_STRINGS && !strstr(f->help ? f->help : "", "repeated"))
        lar_buf_puts(b, "; may be repeated");
    if (f->type == CLI_JSON)
        lar_buf_puts(b, "; @FILE reads it from a file");
}

static void flag_list(const cli_args *a, bool fields, int width)
{
    lar_buf left = {0}, right = {0};
    for (size_t i = 0; i < a->n_flags; i++) {
        const cli_flag *f = &a->flags[i];
        if (f->is_field != fields)
            continue;
        flag_left(f, &left);
        flag_right(f, &right);
        if (!left.oom && !right.oom)
            item(&a->ui, left.p, right.p, LAR_MIN((int)HELP_COL, width / 2), width);
    }
    lar_buf_free(&left);
    lar_buf_free(&right);
}

int cli_help_verb(const cli_args *a)
{
    const cli_verb *v = a->verb;
    int width = help_width(&a->ui);
    bool any = false;
    printf("Usage: ");
    cli_paragraph(stdout, v->usage, 7, 7, width);
    putchar('\n');
    cli_paragraph(stdout, v->help, 0, 0, width);
    for (size_t i = 0; i < a->n_flags; i++)
        any |= a->flags[i].is_field;
    if (any) {
        heading(&a->ui, "What is asked for");
        flag_list(a, true, width);
    }
    heading(&a->ui, any ? "How it is run" : "Flags");
    flag_list(a, false, width);
    if (v->more) {
        putchar('\n');
        for (const char *p = v->more; *p;) {
            size_t n = strcspn(p, "\n");
            char line[600];
            snprintf(line, sizeof line, "%.*s", (int)n, p);
            if (line[0] == ' ')
                printf("%s\n", line); /* an example: as it is */
            else
                cli_paragraph(stdout, line, 0, 0, width);
            p += n + (p[n] == '\n');
        }
    }
    return CLI_OK;
}
