/* verb_bench.c - lar bench: a task's rows as a table, CSV or JSON; what there is after Ctrl-C.
 * Depends on table.c. */
#include "app/app.h"
#include <string.h>

typedef struct bench {
    const cli_args *a;
    json_t *rows, *result; /* rows: those that were delivered, without the machine's bounds */
    bool progress, oom;
} bench;

static void clear_progress(bench *b)
{
    if (b->progress)
        fputs("\r\033[K", stderr);
    b->progress = false;
}

static int on_event(const lar_event *ev, void *user)
{
    bench *b = user;
    size_t n;
    const char *s = lar_event_get_text(ev, &n);
    switch (lar_event_get_kind(ev)) {
    case LAR_EVENT_PROGRESS:
        if (b->a->ui.tty_err) {
            fprintf(stderr, "\r\033[K%s%s ...%s", cli_on(&b->a->ui, stderr, CLI_DIM), s,
                    cli_off(&b->a->ui, stderr));
            b->progress = true;
        }
        break;
    case LAR_EVENT_TEXT:
        if (json_array_append_new(b->rows, json_loadb(s, n, 0, NULL)) != 0)
            b->oom = true;
        break;
    case LAR_EVENT_NOTICE:
        clear_progress(b);
        cli_note(&b->a->ui, "%s", s);
        break;
    case LAR_EVENT_RESULT:
        b->result = json_loads(lar_event_get_json(ev), JSON_ALLOW_NUL, NULL);
        break;
    case LAR_EVENT_THINKING:
    case LAR_EVENT_TOKEN:
        break;
    }
    return b->oom;
}

/* ---- the table ----------------------------------------------------------------------------- */

typedef enum column {
    TEST,
    THREADS,
    KV,
    BATCH,
    RATE,
    SPREAD,
    GB,
    GB_SHARE,
    GMAC,
    GMAC_SHARE,
    N_COLUMNS
} column;

static const char *const heads[N_COLUMNS] = {"test", ">threads", "cache", ">batch",  ">tokens/s",
                                             ">±",   ">GB/s",    ">%GB",  ">GMAC/s", ">%MAC"};

static void percent(const json_t *row, const char *key, char *out, size_t size)
{
    const json_t *v = json_object_get(row, key);
    if (json_is_number(v))
        snprintf(out, size, "%.0f%%", 100 * json_number_value(v));
}

static void number(double x, char *out, size_t size)
{
    snprintf(out, size, "%.*f", x >= 999.5 ? 0 : x >= 9.995 ? 1 : 2, x);
}

static void cell(const json_t *row, column c, char *out, size_t size)
{
    const double rate = cli_num(row, "per_second", 0), depth = cli_num(row, "depth", 0),
                 parallel = cli_num(row, "parallel", 1);
    char more[64] = "", at[32] = "";
    *out = 0;
    switch (c) {
    case TEST:
        if (parallel > 1)
            snprintf(more, sizeof more, " ×%.0f", parallel);
        if (depth > 0)
            snprintf(at, sizeof at, " at %.0f", depth);
        snprintf(out, size, "%s %.0f%s%s", cli_str(row, "test", ""), cli_num(row, "tokens", 0),
                 more, at);
        break;
    case THREADS:
        snprintf(out, size, "%.0f", cli_num(row, "threads", 0));
        break;
    case KV:
        snprintf(out, size, "%s", cli_str(row, "kv", ""));
        break;
    case BATCH:
        if (strcmp(cli_str(row, "test", ""), "prompt") == 0)
            snprintf(out, size, "%.0f", cli_num(row, "batch", 0));
        break;
    case RATE:
        number(rate, out, size);
        break;
    case SPREAD:
        if (rate > 0)
            snprintf(out, size, "%.0f%%",
                     50 * (cli_num(row, "per_second_max", 0) - cli_num(row, "per_second_min", 0)) /
                         rate);
        break;
    case GB:
        number(cli_num(row, "gb_per_second", 0), out, size);
        break;
    case GB_SHARE:
        percent(row, "gb_share", out, size);
        break;
    case GMAC:
        number(cli_num(row, "gmac_per_second", 0), out, size);
        break;
    case GMAC_SHARE:
        percent(row, "gmac_share", out, size);
        break;
    case N_COLUMNS:
        break;
    }
}

/* Of rows of the same kind, so that the batch of generation, which is its sequences, says nothing.
 */
static bool varies(const json_t *rows, const char *key)
{
    const json_t *first[2] = {NULL, NULL};
    json_t *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        const bool gen = strcmp(cli_str(row, "test", ""), "generate") == 0;
        const json_t *v = json_object_get(row, key);
        if (gen && strcmp(key, "batch") == 0)
            continue;
        if (!first[gen])
            first[gen] = v;
        if (!json_equal(v, first[gen]))
            return true;
    }
    return false;
}

static int width_of(const json_t *rows, column c)
{
    const char *head = heads[c] + (*heads[c] == '>');
    int w = cli_columns(head, strlen(head));
    json_t *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        char text[128];
        cell(row, c, text, sizeof text);
        w = LAR_MAX(w, cli_columns(text, strlen(text)));
    }
    return w + 2;
}

static void print_table(const cli_args *a, const json_t *rows, int width)
{
    /* What a narrow terminal can best do without comes first. */
    static const column spare[] = {GMAC, GB, GMAC_SHARE, SPREAD, GB_SHARE};
    const char *names[N_COLUMNS];
    bool show[N_COLUMNS];
    int total = -2;
    size_t n = 0, i;
    json_t *row;
    cli_table t;
    for (int c = 0; c < N_COLUMNS; c++)
        show[c] = true;
    show[THREADS] = varies(rows, "threads");
    show[KV] = varies(rows, "kv");
    show[BATCH] = varies(rows, "batch");
    show[GB_SHARE] = json_object_get(json_array_get(rows, 0), "gb_share") != NULL;
    show[GMAC_SHARE] = json_object_get(json_array_get(rows, 0), "gmac_share") != NULL;
    for (int c = 0; c < N_COLUMNS; c++)
        total += show[c] ? width_of(rows, (column)c) : 0;
    for (size_t k = 0; k < LAR_LEN(spare) && total > width; k++) {
        total -= show[spare[k]] ? width_of(rows, spare[k]) : 0;
        show[spare[k]] = false;
    }
    for (int c = 0; c < N_COLUMNS; c++)
        if (show[c])
            names[n++] = heads[c];
    cli_table_begin(&t, n, names);
    json_array_foreach(rows, i, row)
    {
        for (int c = 0; c < N_COLUMNS; c++) {
            char text[128];
            cell(row, (column)c, text, sizeof text);
            if (show[c])
                cli_table_add(&t, text);
        }
    }
    cli_table_print(&a->ui, &t, width);
    cli_table_free(&t);
}

/* Below the table: what it was measured with, and against. */
static void print_context(const cli_args *a, const json_t *rows, const json_t *result, int width)
{
    const json_t *first = json_array_get(rows, 0);
    char x[64], y[64], line[400];
    size_t i;
    json_t *m;
    int n = snprintf(line, sizeof line, "%s parameters, %s; kernels %s",
                     cli_count(cli_num(result, "parameters", 0), x, sizeof x),
                     cli_bytes(cli_num(result, "weight_bytes", 0), y, sizeof y),
                     cli_str(result, "variant", "?"));
    if (!varies(rows, "threads"))
        n += snprintf(line + n, sizeof line - (size_t)n, ", threads %.0f",
                      cli_num(first, "threads", 0));
    if (!varies(rows, "kv"))
        n += snprintf(line + n, sizeof line - (size_t)n, ", cache %s", cli_str(first, "kv", "?"));
    snprintf(line + n, sizeof line - (size_t)n, "; peak memory %s",
             cli_bytes(cli_num(result, "peak_rss", 0), x, sizeof x));
    fputs(cli_on(&a->ui, stdout, CLI_DIM), stdout);
    cli_paragraph(stdout, line, 0, 0, width);
    json_array_foreach(json_object_get(result, "machine"), i, m)
    {
        const double threads = cli_num(m, "threads", 0);
        snprintf(line, sizeof line,
                 "100%% with %.0f thread%s: %.1f GB/s read, %.0f GMAC/s of whole numbers, %.0f of "
                 "floats",
                 threads, threads > 1 ? "s" : "", cli_num(m, "bandwidth_gb_s", 0),
                 cli_num(m, "peak_gmac_s", 0), cli_num(m, "peak_float_gmac_s", 0));
        cli_paragraph(stdout, line, 0, 0, width);
    }
    fputs(cli_off(&a->ui, stdout), stdout);
}

/* ---- CSV ----------------------------------------------------------------------------------- */

static void print_csv(const json_t *rows)
{
    static const char *const keys[] = {
        "test", "tokens",        "depth",      "parallel",        "batch",          "threads",
        "kv",   "repetitions",   "per_second", "per_second_min",  "per_second_max", "bytes",
        "macs", "gb_per_second", "gb_share",   "gmac_per_second", "gmac_share"};
    size_t i;
    json_t *row;
    for (size_t k = 0; k < LAR_LEN(keys); k++)
        printf("%s%s", k ? "," : "", keys[k]);
    putchar('\n');
    json_array_foreach(rows, i, row)
    {
        for (size_t k = 0; k < LAR_LEN(keys); k++) {
            const json_t *v = json_object_get(row, keys[k]);
            fputs(k ? "," : "", stdout);
            if (json_is_string(v)) /* names of ours: no commas, no quotes */
                fputs(json_string_value(v), stdout);
            else if (json_is_integer(v))
                printf("%lld", (long long)json_integer_value(v));
            else if (json_is_real(v))
                printf("%.6g", json_real_value(v));
        }
        putchar('\n');
    }
}

/* ---- the verb ------------------------------------------------------------------------------ */

static int print(const cli_args *a, const bench *b)
{
    const json_t *rows = b->result ? json_object_get(b->result, "rows") : b->rows;
    const int width = a->ui.tty_out ? cli_width(stdout) : 1000;
    if (cli_is_on(a, "json")) {
        json_t *j = b->result ? json_incref(b->result) : json_pack("{s:O}", "rows", b->rows);
        const int code = cli_print_json(&a->ui, j);
        json_decref(j);
        return code;
    }
    if (cli_is_on(a, "csv")) {
        print_csv(rows);
    } else if (json_array_size(rows)) {
        print_table(a, rows, width);
        if (b->result)
            print_context(a, rows, b->result, width);
    }
    return CLI_OK;
}

static lar_status measure(cli_args *a, cli_client *c, bench *b, lar_err *e)
{
    lar_request *r = NULL;
    const char *model = cli_get(a, "model");
    if (cli_is_on(a, "json") && cli_is_on(a, "csv"))
        return lar_fail(e, LAR_EARG, "--json and --csv: want one of them");
    lar_status s =
        cli_client_open(a, c, model || !a->n_words ? model : a->words[0], CLI_NEED_MODEL, e);
    if (s == LAR_OK)
        s = lar_request_new(c->rt, "bench", &r, e);
    if (s == LAR_OK)
        s = cli_args_apply(a, r, NULL, e);
    if (s == LAR_OK)
        s = lar_request_set_model(r, c->m, e);
    if (s == LAR_OK)
        s = cli_run_request(r, on_event, b, e);
    lar_request_free(r);
    clear_progress(b);
    if (s != LAR_ENOMEM && b->oom)
        s = lar_fail(e, LAR_ENOMEM, "out of memory");
    return s;
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_err e = {0};
    bench b = {.a = a, .rows = json_array()};
    int code = CLI_OK;
    const lar_status s = measure(a, &c, &b, &e);
    if (s == LAR_OK || s == LAR_ECANCELLED) {
        code = print(a, &b);
        if (s == LAR_ECANCELLED)
            cli_note(&a->ui, json_array_size(b.rows)
                                 ? "stopped: this is what was measured until then"
                                 : "stopped before anything was measured");
    }
    if (s != LAR_OK)
        code = cli_report(a, &e);
    json_decref(b.rows);
    json_decref(b.result);
    cli_client_close(&c);
    return code;
}

static const cli_flag own[] = {
    {.name = "cpu",
     .type = CLI_STRING,
     .unit = "NAME",
     .help = "force a kernel variant, as LAR_CPU does; `lar doctor` lists them"},
    {.name = "csv", .type = CLI_BOOL, .help = "print comma-separated values with a line of names"},
};

const cli_verb cli_verb_bench = {
    .name = "bench",
    .task = "bench",
    .usage = "lar bench [MODEL] [FLAGS]",
    .help = "measure how fast a model reads and writes",
    .groups = CLI_G_MODEL | CLI_G_JSON,
    .own = own,
    .n_own = LAR_LEN(own),
    .words = 1,
    .run = run,
    .more =
        "Tokens/s is the median, ± half the way from the slowest to the fastest. GB/s: weights "
        "and cache that must be read, at least; GMAC/s: multiply-adds with weights; %GB and "
        "%MAC: of what this machine reads and multiplies at best. Ctrl-C prints what there is.\n"
        "Example:\n"
        "  lar bench model.gguf -p 1,2,4,8,16,128,512 -n 128 -d 0,1024 -t 1,2 --parallel 1,8"};
