/* verb_doctor.c - lar doctor: what this machine has and what LAR makes of it. Depends on table.c.
 */
#include "app/app.h"
#include <stdlib.h>
#include <string.h>

static const char no_gpu[] = "none: no Vulkan device support in this version";

static bool set(json_t *o, const char *key, json_t *v)
{
    return json_object_set_new(o, key, v) == 0;
}

static json_t *terminal(const cli_args *a)
{
    const char *term = getenv("TERM");
    return json_pack("{s:b,s:b,s:b,s:i,s:b,s:s}", "stdin", (int)a->ui.tty_in, "stdout",
                     (int)a->ui.tty_out, "stderr", (int)a->ui.tty_err, "columns", cli_width(stdout),
                     "color", (int)a->ui.color_out, "type", term ? term : "");
}

/* What the library knows, and what the command adds. */
static json_t *collect(const cli_args *a, lar_runtime *rt)
{
    char *text = lar_runtime_info(rt, 1), *dir = cli_models_dir();
    json_t *j = text ? json_loads(text, 0, NULL) : NULL, *names = json_array();
    cli_model_list l = {0};
    lar_string_free(text);
    cli_models_list(&l, NULL);
    for (size_t i = 0; i < l.n; i++)
        json_array_append_new(names, json_string(l.p[i].name));
    bool ok = j && set(j, "gpu", json_null()) && set(j, "gpu_note", json_string(no_gpu)) &&
              set(j, "model_directory", dir ? json_string(dir) : json_null()) &&
              set(j, "models", json_incref(names)) &&
              set(j, "prefix_cache", cli_prefix_json(&a->ui)) && set(j, "terminal", terminal(a));
    cli_models_free(&l);
    json_decref(names);
    lar_free(dir);
    if (!ok) {
        json_decref(j);
        return NULL;
    }
    return j;
}

static void join(const json_t *arr, const char *mark, const char *marked, lar_buf *b)
{
    size_t i;
    json_t *v;
    lar_buf_clear(b);
    json_array_foreach(arr, i, v)
    {
        const char *s = json_is_string(v) ? json_string_value(v) : "?";
        lar_buf_printf(b, "%s%s%s", i ? ", " : "", s, mark && strcmp(s, mark) == 0 ? marked : "");
    }
}

static void line(const cli_args *a, const char *key, const char *value)
{
    int width = a->ui.tty_out ? cli_width(stdout) : 1000;
    printf("%s%-12s%s ", cli_on(&a->ui, stdout, CLI_BOLD), key, cli_off(&a->ui, stdout));
    cli_paragraph(stdout, value && *value ? value : "unknown", 13, 13, width);
}

static void print(const cli_args *a, const json_t *j)
{
    lar_buf b = {0};
    char x[64], y[64], text[200];
    snprintf(text, sizeof text, "%s, numerics %.0f", cli_str(j, "version", "?"),
             cli_num(j, "numerics", 0));
    line(a, "lar", text);
    line(a, "processor", cli_str(j, "cpu.name", NULL));
    join(cli_at(j, "cpu.features"), NULL, "", &b);
    line(a, "features", b.n ? b.p : "none that LAR uses");
    join(cli_at(j, "variants"), cli_str(j, "variant", ""), " (chosen)", &b);
    line(a, "kernels", b.p);
    snprintf(text, sizeof text, "%.0f", cli_num(j, "threads", 0));
    line(a, "threads", text);
    snprintf(text, sizeof text, "%s, %s free",
             cli_bytes(cli_num(j, "memory.total", 0), x, sizeof x),
             cli_bytes(cli_num(j, "memory.available", 0), y, sizeof y));
    line(a, "memory", text);
    double gb = cli_num(j, "bandwidth_gb_s", 0);
    snprintf(text, sizeof text, "%.1f GB/s read, measured", gb);
    line(a, "bandwidth", gb > 0 ? text : NULL);
    snprintf(text, sizeof text, "%.0f GMAC/s of whole numbers, %.0f of floats, measured",
             cli_num(j, "peak_gmac_s", 0), cli_num(j, "peak_float_gmac_s", 0));
    line(a, "peak", text);
    line(a, "GPU", no_gpu);
    line(a, "models", cli_str(j, "model_directory", "no folder: HOME is not set"));
    join(cli_at(j, "models"), NULL, "", &b);
    line(a, "", b.n ? b.p : "none fetched yet; ./start fetches the default one");
    char prefix[1200];
    cli_prefix_line(cli_at(j, "prefix_cache"), prefix, sizeof prefix);
    line(a, "prefix cache", prefix);
    bool color = json_is_true(cli_at(j, "terminal.color"));
    snprintf(text, sizeof text, "%s%s%.0f columns, colours %s", cli_str(j, "terminal.type", ""),
             *cli_str(j, "terminal.type", "") ? ", " : "", cli_num(j, "terminal.columns", 0),
             color ? "on" : "off");
    line(a, "terminal",
         json_is_true(cli_at(j, "terminal.stdout")) ? text : "output is not a terminal");
    lar_buf_free(&b);
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_err e = {0};
    int code = CLI_OK;
    if (cli_client_open(a, &c, NULL, CLI_NEED_RUNTIME, &e) != LAR_OK) {
        code = cli_report(a, &e);
    } else {
        json_t *j = collect(a, c.rt);
        if (cli_is_on(a, "json") || !j)
            code = cli_print_json(&a->ui, j);
        else
            print(a, j);
        json_decref(j);
    }
    cli_client_close(&c);
    return code;
}

const cli_verb cli_verb_doctor = {.name = "doctor",
                                  .usage = "lar doctor [--json]",
                                  .help = "show what this machine has and what LAR uses of it",
                                  .groups = CLI_G_RUNTIME | CLI_G_JSON,
                                  .run = run};
