/*
 * app.h - the `lar` command: a client of include/lar.h. Needs base, jansson, utf8proc, libedit.
 *
 * main.c       the table of verbs, help, version
 * args.c       flags from a task's field table and from the command's own tables
 * help.c       --help from the same tables          complete.c   shell completion from the same
 * tables out.c        colours, messages, numbers, JSON     wrap.c       word wrap of streamed text
 * table.c      tables that fit the terminal         term.c       terminal, standard input, console
 * model_path.c a model's file by its name           client.c     runtime, model, session, Ctrl-C
 * edit.c       line editing                         chat*.c      lar chat
 * verb_*.c     the other verbs
 */
#ifndef LAR_APP_H
#define LAR_APP_H
#include "base/base.h"
#include <jansson.h>
#include <stdio.h>

/* Exit codes. */
enum { CLI_OK = 0, CLI_FAIL = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };

/* ---- term.c ----------------------------------------------------------------------- */

bool cli_is_tty(FILE *f);
int cli_width(FILE *f);      /* columns of the terminal; 80 when unknown */
void cli_console_init(void); /* SIGPIPE, Windows console */
char **cli_utf8_argv(int *argc, char **argv);
/* All of standard input. */
lar_status cli_read_stdin(lar_buf *out, lar_err *e);
/* The same as text: UTF-8 without NUL; `strip` takes line ends off its end. */
lar_status cli_read_text(lar_buf *out, bool strip, lar_err *e);
/* True when standard input is a file, or a pipe that says something within `seconds`; *silent tells
 * of a pipe that did not. */
bool cli_stdin_ready(double seconds, bool *silent);
lar_status cli_make_dirs(const char *path, lar_err *e); /* all folders above the last '/' */

/* ---- out.c ------------------------------------------------------------------------ */

/* How this process talks: decided once. */
typedef struct cli_ui {
    bool tty_in, tty_out, tty_err;
    bool color_out, color_err;
} cli_ui;

typedef enum cli_style {
    CLI_PLAIN,
    CLI_DIM,
    CLI_BOLD,
    CLI_YELLOW,
    CLI_RED,
    CLI_GREEN,
    CLI_CYAN
} cli_style;

void cli_ui_init(cli_ui *ui);
bool cli_ui_color(cli_ui *ui, const char *when); /* "auto", "always", "never" */
const char *cli_on(const cli_ui *ui, FILE *f, cli_style s);
const char *cli_off(const cli_ui *ui, FILE *f);
void cli_error(const cli_ui *ui, const char *fmt, ...) LAR_PRINTF(2, 3); /* "lar: ..." */
void cli_hint(const cli_ui *ui, const char *fmt, ...) LAR_PRINTF(2, 3);
void cli_note(const cli_ui *ui, const char *fmt, ...) LAR_PRINTF(2, 3); /* loud */
/* Flush standard output; CLI_FAIL with a message when it could not be written. */
int cli_flush(const cli_ui *ui, int code);
void cli_puts_clean(FILE *f, const char *s,
                    size_t n); /* without control characters but \n and \t */

const char *cli_bytes(double n, char *buf, size_t size); /* "98.4 MB" */
const char *cli_count(double n, char *buf, size_t size); /* "98,362,432" */
bool cli_dump(const json_t *j, size_t flags, lar_buf *out);
int cli_print_json(const cli_ui *ui, const json_t *j);
/* j["a"]["b"] for "a.b"; NULL if absent. */
const json_t *cli_at(const json_t *j, const char *path);
double cli_num(const json_t *j, const char *path, double def);
const char *cli_str(const json_t *j, const char *path, const char *def);

/* ---- wrap.c ----------------------------------------------------------------------- */

/* Streamed text on a terminal: words are kept whole, lines inside ``` fences are left alone. */
typedef struct cli_wrap {
    FILE *f;
    int width; /* 0: write as it comes (a pipe) */
    int col, spaces, ticks, word_cols;
    bool fence, line_start;
    bool any;    /* something was written */
    bool at_eol; /* the last thing written was a newline */
    lar_buf word;
} cli_wrap;
void cli_wrap_begin(cli_wrap *w, FILE *f, int width);
void cli_wrap_put(cli_wrap *w, const char *s, size_t n);
void cli_wrap_flush(cli_wrap *w);
void cli_wrap_end(cli_wrap *w); /* flush; a newline unless there is one */
void cli_wrap_free(cli_wrap *w);
int cli_columns(const char *s, size_t n); /* of the terminal */
/* Print `s` in lines of at most `width`, the later ones indented; the cursor stands at `col`. */
void cli_paragraph(FILE *f, const char *s, int col, int indent, int width);

/* ---- table.c ---------------------------------------------------------------------- */

enum { CLI_TABLE_COLS = 16 };
typedef struct cli_table {
    size_t cols, rows, cap;
    bool right[CLI_TABLE_COLS];
    char **cells;
    bool oom;
} cli_table;
void cli_table_begin(cli_table *t, size_t cols, const char *const *heads);
void cli_table_add(cli_table *t, const char *cell); /* row by row */
/* Too wide a table loses from its widest left-aligned column, marked by an ellipsis. */
void cli_table_print(const cli_ui *ui, cli_table *t, int width);
void cli_table_free(cli_table *t);
/* An array of like objects as a table: one column a key. */
void cli_print_rows(const cli_ui *ui, const json_t *rows);

/* ---- args.c ----------------------------------------------------------------------- */

typedef enum cli_type {
    CLI_STRING,
    CLI_INT,
    CLI_NUMBER,
    CLI_BOOL,
    CLI_STRINGS,
    CLI_JSON,
    CLI_BYTES
} cli_type;

typedef struct cli_flag {
    const char *name;
    char letter;
    cli_type type;
    const char *unit, *help;
    const char *def;     /* as --help shows it, or NULL */
    const char *choices; /* '|'-separated, or NULL */
    const char *aliases; /* '|'-separated, or NULL */
    double min, max;     /* min == max: no bounds */
    bool is_field;       /* of the task's table, else the command's own */
    bool def_on;         /* a bool that is true unless --no-NAME */
} cli_flag;

enum {
    CLI_G_MODEL = 1,
    CLI_G_SESSION = 2,
    CLI_G_RUNTIME = 4,
    CLI_G_JSON = 8,
    CLI_G_DRAFT = 16,
    CLI_G_LINES = 32 /* progress also where there is no terminal: a line now and then */
};

typedef struct cli_args cli_args;
typedef struct cli_verb {
    const char *name, *task;  /* task NULL: none */
    const char *help, *usage; /* usage: what follows "lar NAME" */
    unsigned groups;          /* the common flags it takes */
    int words;                /* most arguments that are no flags; -1: run() sees to it */
    const cli_flag *own;
    size_t n_own;
    const char *hidden; /* '|'-separated fields that are no flags of this verb */
    const char *more;   /* text for the end of its --help, or NULL */
    int (*run)(cli_args *a);
} cli_verb;
extern const cli_verb *const cli_verbs[];
extern const size_t cli_n_verbs;
const cli_verb *cli_verb_find(const char *name);

typedef struct cli_value {
    const cli_flag *flag;
    const char *text;
} cli_value;

struct cli_args {
    const cli_verb *verb;
    cli_ui ui;
    lar_arena *arena;
    cli_flag *flags;
    size_t n_flags, cap_flags;
    cli_value *values;
    size_t n_values, cap_values;
    const char **words; /* arguments that are no flags */
    size_t n_words, cap_words;
    bool want_help;
};
/* The flags of a verb, from the task's schema and the command's tables. */
lar_status cli_args_load(cli_args *a, const cli_verb *v, lar_err *e);
lar_status cli_args_parse(cli_args *a, int argc, char **argv, lar_err *e); /* LAR_EARG: usage */
void cli_args_free(cli_args *a);
const cli_flag *cli_flag_find(const cli_args *a, const char *name);
lar_status cli_flag_check(const cli_flag *f, const char *text, lar_err *e);
lar_status cli_args_set(cli_args *a, const cli_flag *f, const char *text, lar_err *e);
void cli_args_unset(cli_args *a, const cli_flag *f);
const char *cli_get(const cli_args *a, const char *name); /* the last one given, or NULL */
bool cli_is_on(const cli_args *a, const char *name);
int cli_get_int(const cli_args *a, const char *name); /* 0 when not given */
/* All fields that were given, but for the '|'-separated ones in `except`. */
lar_status cli_args_apply(const cli_args *a, lar_request *r, const char *except, lar_err *e);
/* The words from `first` on, joined by spaces; NULL when none. In the arena. */
const char *cli_words(cli_args *a, size_t first);
bool cli_in_list(const char *list, const char *name);
size_t cli_distance(const char *a, const char *b); /* edits, case and -_ folded */
size_t cli_reach(const char *name); /* a distance below this is a slip of the fingers */
const char *cli_nearest_flag(const cli_args *a, const char *name);

/* ---- help.c, complete.c ----------------------------------------------------------- */

void cli_help_all(const cli_ui *ui);
int cli_help_verb(const cli_args *a);
int cli_verb_completion(cli_args *a);

/* ---- model_path.c ----------------------------------------------------------------- */

char *cli_models_dir(void);             /* lar_free; NULL: out of memory or no home */
char *cli_state_file(const char *name); /* $XDG_STATE_HOME/lar/NAME; lar_free; NULL likewise */
char *cli_cache_dir(const char *name);  /* $XDG_CACHE_HOME/lar/NAME; likewise */
/* A file or a fetched model's name -> path (lar_free). name NULL: the default or only model. */
lar_status cli_model_path(const char *name, char **path, lar_err *e);
bool cli_model_looks_like(const char *word); /* a file, a fetched name, or spelled like either */
bool cli_model_is(const char *word);         /* a file, *.gguf, or a fetched name */

typedef struct cli_model_entry {
    char *name, *path;
    bool is_default;
} cli_model_entry;
typedef struct cli_model_list {
    cli_model_entry *p;
    size_t n, cap;
} cli_model_list;
lar_status cli_models_list(cli_model_list *out,
                           lar_err *e); /* sorted by name; by the task `list` */
void cli_models_free(cli_model_list *l);

/* ---- client.c --------------------------------------------------------------------- */

typedef struct cli_client {
    lar_runtime *rt;
    lar_model *m, *draft; /* draft NULL: none */
    lar_session *s;
    char *path;          /* of the model */
    char *prefix_dir;    /* of evaluated prompts; NULL: the session uses none */
    double kept;         /* tokens of the conversation that are there */
    json_t *settings;    /* the model's own defaults: an object of generate's fields, or NULL */
    char *settings_path; /* of the file that they came from; NULL without settings */
} cli_client;
enum cli_need { CLI_NEED_RUNTIME, CLI_NEED_VOCAB, CLI_NEED_MODEL, CLI_NEED_SESSION };
/* What MODEL.settings.json beside MODEL.gguf says, for fields that no flag sets. `system` is left
 * out where the conversation has a system message already. */
lar_status cli_settings_apply(const cli_client *c, lar_request *r, bool with_system, lar_err *e);
/* What it says of one field, under any of its names; NULL: nothing. */
const json_t *cli_setting(const cli_client *c, const cli_flag *f);
/* By the common flags. `model` NULL: --model, else the default one. */
lar_status cli_client_open(cli_args *a, cli_client *c, const char *model, enum cli_need need,
                           lar_err *e);
void cli_client_close(cli_client *c);
/* Run; Ctrl-C cancels it (a third one ends the program). */
lar_status cli_run_request(lar_request *r, lar_event_fn *fn, void *user, lar_err *e);
/* Report `e` with a hint where one exists; the exit code. */
int cli_report(const cli_args *a, const lar_err *e);
/* Say what was reduced: the notices of session and model. */
void cli_say_notices(const cli_args *a, const cli_client *c);
/* Open what is needed, make the verb's request, set the fields that were given but for `except`. */
lar_status cli_prepare(cli_args *a, cli_client *c, enum cli_need need, const char *model,
                       const char *except, lar_request **r, lar_err *e);
/* The text that a verb works on: `file` (NULL: --file), or --text, or what is piped in ("-", or
 * none of them and standard input is no terminal). */
lar_status cli_give_text(const cli_args *a, lar_request *r, const char *file, lar_err *e);
/* The rest of a verb that shows one result: unless `s` says that something failed before, run the
 * request with a bar of progress and print what comes, as JSON where that is asked for. Frees r and
 * c. The exit code. */
int cli_show_result(cli_args *a, cli_client *c, lar_request *r, lar_status s, lar_err *e,
                    void (*print)(const cli_args *a, const json_t *result));
json_t *cli_model_json(lar_model *m, bool full, lar_err *e);

/* ---- prefix.c ---------------------------------------------------------------------- */

/* Sets the session's options where the verb and its flags want evaluated prompts kept. */
void cli_prefix_options(const cli_args *a, cli_client *c, lar_session_options *o);
/* After an answer with this result: keep its prompt, if that is worth it. Does not wait. */
void cli_prefix_keep(cli_client *c, const json_t *result);
json_t *cli_prefix_json(const cli_ui *ui); /* directory, files, bytes, limit */
void cli_prefix_line(const json_t *j, char *out, size_t size);

/* ---- edit.c ----------------------------------------------------------------------- */

typedef struct cli_edit cli_edit;
typedef enum cli_edit_result { CLI_EDIT_LINE, CLI_EDIT_EOF, CLI_EDIT_INTERRUPT } cli_edit_result;
cli_edit *cli_edit_new(const cli_ui *ui, const char *history, const char *const *commands);
cli_edit_result cli_edit_read(cli_edit *ed, const char *prompt, lar_buf *line);
void cli_edit_remember(cli_edit *ed, const char *text);
void cli_edit_free(cli_edit *ed);

/* ---- answers, shared by run and chat ---------------------------------------------- */

typedef struct cli_answer {
    const cli_args *a;
    cli_wrap wrap;
    lar_buf text, thinking;
    bool show; /* stream to standard output */
    bool show_thinking;
    bool in_thinking, progress;
    json_t *result; /* of the last event; NULL until then */
} cli_answer;
void cli_answer_begin(cli_answer *w, const cli_args *a, bool show, bool show_thinking);
int cli_answer_event(const lar_event *ev, void *user);
void cli_answer_end(cli_answer *w);
void cli_answer_free(cli_answer *w);
void cli_answer_stats(const cli_answer *w, FILE *f);

#endif
