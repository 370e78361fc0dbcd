/* verb_translate.c - lar translate: text, as it is translated. */
#include "app/app.h"
#include "base/os.h"
#include <string.h>
#include <sys/stat.h>

/* A folder of Marian's is converted once, into a file of the cache that is named by what is in it.
 */
typedef struct folder {
    uint64_t hash;
} folder;

static void add_file(const char *name, const lar_file_id *id, void *user)
{
    folder *f = user;
    const uint64_t key[] = {lar_hash64(name, strlen(name)), id->device, id->inode, id->size,
                            (uint64_t)id->modified};
    f->hash += lar_hash64(key, sizeof key); /* files come in no order */
}

static lar_status convert(cli_client *c, const char *dir, const char *to, lar_err *e)
{
    lar_request *r = NULL;
    lar_status s = lar_request_new(c->rt, "convert", &r, e);
    if (s == LAR_OK)
        s = lar_request_set_string(r, "input", dir, e);
    if (s == LAR_OK)
        s = lar_request_set_string(r, "output", to, e);
    if (s == LAR_OK)
        s = lar_request_run(r, NULL, NULL, e);
    lar_request_free(r);
    return s;
}

/* *path NULL: the model is no folder. */
static lar_status converted(cli_args *a, const char *model, char **path, lar_err *e)
{
    struct stat st;
    folder f = {0};
    cli_client c = {0};
    *path = NULL;
    if (!model || stat(model, &st) != 0 || !S_ISDIR(st.st_mode))
        return LAR_OK;
    LAR_TRY(lar_dir_each(model, add_file, &f, e));
    char *dir = cli_cache_dir("converted");
    lar_buf b = {0};
    lar_buf_printf(&b, "%s/%016llx.gguf", dir ? dir : "", (unsigned long long)f.hash);
    lar_status s =
        dir && !b.oom ? lar_dir_make(dir, e) : lar_fail(e, LAR_ENOMEM, "no cache folder");
    if (s == LAR_OK && stat(b.p, &st) != 0) {
        s = cli_client_open(a, &c, NULL, CLI_NEED_RUNTIME, e);
        if (s == LAR_OK)
            s = convert(&c, model, b.p, e);
        cli_client_close(&c);
    }
    lar_free(dir);
    *path = s == LAR_OK ? lar_buf_take(&b) : NULL;
    lar_buf_free(&b);
    return s;
}

static int on_event(const lar_event *ev, void *user)
{
    const cli_args *a = user;
    size_t n;
    const char *text = lar_event_get_text(ev, &n);
    if (lar_event_get_kind(ev) == LAR_EVENT_TEXT) {
        fwrite(text, 1, n, stdout);
        fflush(stdout);
    } else if (lar_event_get_kind(ev) == LAR_EVENT_NOTICE) {
        cli_note(&a->ui, "%s", text);
    }
    return ferror(stdout) != 0;
}

static int finish(cli_args *a, cli_client *c, lar_request *r, lar_status s, lar_err *e)
{
    if (cli_is_on(a, "json"))
        return cli_show_result(a, c, r, s, e, NULL);
    if (s == LAR_OK)
        s = lar_request_set_model(r, c->m, e);
    if (s == LAR_OK)
        s = lar_request_run(r, on_event, a, e);
    lar_request_free(r);
    cli_client_close(c);
    return s == LAR_OK ? CLI_OK : cli_report(a, e);
}

static int run(cli_args *a)
{
    cli_client c = {0};
    lar_request *r = NULL;
    lar_err e = {0};
    lar_buf in = {0};
    char *path = NULL;
    const char *model = cli_get(a, "model");
    lar_status s = converted(a, model, &path, &e);
    if (s == LAR_OK)
        s = cli_prepare(a, &c, CLI_NEED_MODEL, path ? path : model, NULL, &r, &e);
    if (s == LAR_OK && !cli_get(a, "text")) {
        s = cli_read_stdin(&in, &e);
        if (s == LAR_OK)
            s = lar_request_set_bytes(r, "text", in.p ? in.p : "", in.n, &e);
    }
    lar_buf_free(&in);
    const int code = finish(a, &c, r, s, &e);
    lar_free(path);
    return code;
}

const cli_verb cli_verb_translate = {
    .name = "translate",
    .task = "translate",
    .usage = "lar translate -m MODEL [--from LANGUAGE --to LANGUAGE] < text",
    .help = "translate text, line by line",
    .groups = CLI_G_MODEL | CLI_G_JSON | CLI_G_RUNTIME,
    .run = run,
    .more = "MODEL is a translation model: a GGUF file, or a folder of Marian's as Bergamot has "
            "them (model.*.bin, vocab.*.spm, lex.*.bin), which is converted once. As many lines "
            "come out as went in."};
