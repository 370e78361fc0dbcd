/*
 * prefix.c - the folder of evaluated prompts: where it is, when it is used, keeping a prompt when
 * nobody waits for it, and `lar cache`. Depends on lar.h, base.
 */
#include "app/app.h"
#include "base/os.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

enum { PAGE = 64, LEAST = 256 };
static const double DEFAULT_BYTES = 2147483648.0;

/* "2GiB", "500M", "0", "off"; false for anything else. */
static bool read_size(const char *s, double *bytes)
{
    static const char units[] = "KMGT";
    char *end;
    if (strcmp(s, "off") == 0) {
        *bytes = 0;
        return true;
    }
    if (*s < '0' || *s > '9')
        return false;
    *bytes = strtod(s, &end);
    const char *u = *end ? strchr(units, *end >= 'a' && *end <= 'z' ? *end - 32 : *end) : NULL;
    for (const char *k = units; u && k <= u; k++)
        *bytes *= 1024;
    end += u != NULL;
    if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0)
        end = "";
    return !*end && *bytes >= 0 && *bytes < 1e18;
}

/* What the folder may hold; 0: no prefix cache. */
static double limit_bytes(const cli_ui *ui)
{
    const char *s = lar_getenv("LAR_PREFIX_CACHE");
    double bytes = DEFAULT_BYTES;
    if (s && *s && !read_size(s, &bytes)) {
        cli_note(ui, "no prefix cache: LAR_PREFIX_CACHE is '%.40s', want a size or \"off\"", s);
        return 0;
    }
    return bytes;
}

/* By default where an answer is text for a person; JSON is for measuring and scripts. */
void cli_prefix_options(const cli_args *a, cli_client *c, lar_session_options *o)
{
    if (!cli_flag_find(a, "prefix-cache"))
        return;
    if (cli_get(a, "prefix-cache") ? !cli_is_on(a, "prefix-cache")
                                   : cli_is_on(a, "json") || cli_get(a, "cache"))
        return;
    const double bytes = limit_bytes(&a->ui);
    if (bytes < 1 || !(c->prefix_dir = cli_cache_dir("prefix")))
        return;
    o->prefix_dir = c->prefix_dir;
    o->prefix_bytes = (uint64_t)bytes;
}

#ifndef _WIN32
/* A process of its own, which nobody waits for and which holds nothing open, stores the prompt: the
 * command ends as soon as the answer is there.
 *
 * The copy of a process with threads may use malloc, libsodium and the library only because no
 * other thread holds a lock of theirs: the pool's workers are the only ones, they rest between
 * requests, and even at work they take nothing but units. What is called here uses no pool. */
static void keep_beside(lar_session *s)
{
    const pid_t pid = fork();
    if (pid < 0) {
        lar_session_keep(s, NULL);
        return;
    }
    if (pid > 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        return;
    }
    if (fork() != 0)
        _exit(0); /* its child belongs to nobody then, and leaves no zombie */
    setsid();
    const long most = sysconf(_SC_OPEN_MAX);
    for (int fd = 0; fd < (most > 0 && most < 4096 ? (int)most : 4096); fd++)
        close(fd);
    (void)!nice(10); /* a matter of manners: whether it works is all the same */
    if (open("/dev/null", O_RDWR) == 0 && dup(0) == 1 && dup(0) == 2)
        lar_session_keep(s, NULL);
    _exit(0);
}
#endif

void cli_prefix_keep(cli_client *c, const json_t *result)
{
    const double prompt = cli_num(result, "timings.prompt_tokens", 0),
                 cached = cli_num(result, "timings.cached_tokens", 0);
    if (!c->prefix_dir || !result)
        return;
    c->kept = cli_num(result, "timings.cached_on_disk", 0) > 0 ? cached : LAR_MIN(c->kept, cached);
    if (prompt < LEAST || prompt - c->kept < PAGE)
        return;
    c->kept = prompt;
#ifdef _WIN32
    lar_session_keep(c->s, NULL);
#else
    keep_beside(c->s);
#endif
}

/* ---- lar cache ---------------------------------------------------------------------------------
 */

json_t *cli_prefix_json(const cli_ui *ui)
{
    char *dir = cli_cache_dir("prefix");
    uint64_t files = 0, bytes = 0;
    if (dir)
        lar_prefix_survey(dir, 0, &files, &bytes, NULL);
    json_t *j = json_pack("{s:s?,s:I,s:I,s:I}", "directory", dir, "files", (json_int_t)files,
                          "bytes", (json_int_t)bytes, "limit", (json_int_t)limit_bytes(ui));
    lar_free(dir);
    return j;
}

void cli_prefix_line(const json_t *j, char *out, size_t size)
{
    char used[32], limit[32];
    const double most = cli_num(j, "limit", 0);
    const char *dir = cli_str(j, "directory", NULL);
    cli_bytes(cli_num(j, "bytes", 0), used, sizeof used);
    if (dir)
        snprintf(out, size, "%s of %s, %s", used,
                 most >= 1 ? cli_bytes(most, limit, sizeof limit) : "none (it is off)", dir);
    else
        snprintf(out, size, "none: HOME is not set");
}

static lar_status clear(lar_err *e)
{
    char *dir = cli_cache_dir("prefix");
    uint64_t files, bytes;
    const lar_status s = dir ? lar_prefix_survey(dir, 1, &files, &bytes, e) : LAR_OK;
    lar_free(dir);
    return s;
}

static int run(cli_args *a)
{
    lar_err e = {0};
    int code = CLI_OK;
    if (cli_is_on(a, "clear") && clear(&e) != LAR_OK)
        return cli_report(a, &e);
    json_t *j = cli_prefix_json(&a->ui);
    if (cli_is_on(a, "json") || !j) {
        code = cli_print_json(&a->ui, j);
    } else {
        char line[1200];
        cli_prefix_line(j, line, sizeof line);
        printf("%s\n", line);
    }
    json_decref(j);
    return code;
}

static const cli_flag own[] = {
    {.name = "clear", .type = CLI_BOOL, .help = "remove all of it"},
};

const cli_verb cli_verb_cache = {
    .name = "cache",
    .usage = "lar cache [--clear] [--json]",
    .help = "show or clear the prefix cache",
    .groups = CLI_G_JSON,
    .own = own,
    .n_own = LAR_LEN(own),
    .run = run,
    .more = "`lar run` and `lar chat` keep what they computed of long prompts, so that a later "
            "start with the same beginning need not compute it again. --no-prefix-cache does "
            "without; LAR_PREFIX_CACHE sets the size (4GiB, 500M) or is \"off\"."};
