/* chat_cmd.c - the /commands of lar chat: one table, from which /help and Tab are made. */
#include "app/chat.h"
#include "base/os.h"
#include <string.h>

typedef struct command {
    const char *name, *args, *help;
    void (*run)(cli_chat *ch, const char *arg);
} command;

static void dim(const cli_chat *ch, const char *s)
{
    fputs(cli_on(&ch->a->ui, stdout, CLI_DIM), stdout);
    cli_paragraph(stdout, s, 0, 0, ch->a->ui.tty_out ? cli_width(stdout) : 100000);
    fputs(cli_off(&ch->a->ui, stdout), stdout);
}

static void do_quit(cli_chat *ch, const char *arg)
{
    (void)arg;
    ch->quit = true;
}

static void drop_last(cli_chat *ch)
{
    json_array_remove(ch->messages, json_array_size(ch->messages) - 1);
}

/* The last answer, and with `question` also what it answered. */
static bool take_back(cli_chat *ch, bool question)
{
    bool any = false;
    while (strcmp(cli_chat_last_role(ch), "assistant") == 0) {
        drop_last(ch);
        any = true;
    }
    if (question && strcmp(cli_chat_last_role(ch), "user") == 0) {
        drop_last(ch);
        any = true;
    }
    return any;
}

static void do_clear(cli_chat *ch, const char *arg)
{
    (void)arg;
    while (json_array_size(ch->messages) &&
           (json_array_size(ch->messages) > 1 || strcmp(cli_chat_last_role(ch), "system") != 0))
        drop_last(ch);
    lar_session_clear(ch->c.s, NULL);
    dim(ch, "the conversation is forgotten");
}

static void do_retry(cli_chat *ch, const char *arg)
{
    (void)arg;
    take_back(ch, false);
    if (strcmp(cli_chat_last_role(ch), "user") == 0)
        cli_chat_answer(ch);
    else
        dim(ch, "nothing to answer yet");
}

static void do_undo(cli_chat *ch, const char *arg)
{
    (void)arg;
    dim(ch, take_back(ch, true) ? "the last turn is taken back" : "nothing to take back");
}

static void do_system(cli_chat *ch, const char *arg)
{
    const json_t *first = json_array_get(ch->messages, 0);
    bool has = strcmp(cli_str(first, "role", ""), "system") == 0;
    if (!*arg) {
        dim(ch, has ? cli_str(first, "content", "") : "no system message; /system TEXT sets one");
        return;
    }
    json_t *m = json_pack("{s:s,s:s}", "role", "system", "content", strcmp(arg, "off") ? arg : "");
    if (has)
        json_array_remove(ch->messages, 0);
    if (strcmp(arg, "off") == 0)
        json_decref(m);
    else if (!m || json_array_insert_new(ch->messages, 0, m) != 0)
        cli_error(&ch->a->ui, "the text is not valid UTF-8, or memory is short");
    dim(ch, "the system message is changed; it counts from the next answer on");
}

/* An array of messages, or an object that has one. New reference, or NULL. */
static json_t *valid_messages(const json_t *j)
{
    const json_t *arr = json_is_object(j) ? json_object_get(j, "messages") : j;
    size_t i;
    json_t *m;
    if (!json_is_array(arr))
        return NULL;
    json_array_foreach(arr, i, m) if (!cli_str(m, "role", NULL) ||
                                      !cli_str(m, "content", NULL)) return NULL;
    return json_deep_copy(arr);
}

/* Nothing there, or a chat that /save wrote: somebody's other file is not overwritten. */
static lar_status check_target(const char *path, lar_err *e)
{
    lar_map map = {0};
    lar_status s = lar_map_open(path, &map, e);
    if (s == LAR_ENOTFOUND)
        return LAR_OK;
    json_t *j = s == LAR_OK ? json_loadb((const char *)map.data, map.size, 0, NULL) : NULL;
    json_t *msgs = json_is_object(j) && json_object_size(j) == 2 && json_object_get(j, "model")
                       ? valid_messages(j)
                       : NULL;
    s = msgs ? LAR_OK
             : lar_fail(e, LAR_EARG, "%s exists and is no saved chat: it is not overwritten", path);
    json_decref(msgs);
    json_decref(j);
    lar_map_close(&map);
    return s;
}

static void do_save(cli_chat *ch, const char *arg)
{
    lar_buf b = {0};
    lar_err e = {0};
    lar_file *f = NULL;
    if (!*arg) {
        cli_error(&ch->a->ui, "/save needs a file name");
        return;
    }
    json_t *j = json_pack("{s:s,s:O}", "model", ch->c.path, "messages", ch->messages);
    lar_status s =
        j && cli_dump(j, JSON_INDENT(1), &b) ? LAR_OK : lar_fail(&e, LAR_ENOMEM, "out of memory");
    if (s == LAR_OK)
        s = check_target(arg, &e);
    if (s == LAR_OK)
        s = lar_file_create(arg, &f, &e);
    if (s == LAR_OK) {
        s = lar_file_write(f, b.p, b.n, &e);
        if (s == LAR_OK)
            s = lar_file_commit(f, &e);
        else
            lar_file_abort(f);
    }
    if (s != LAR_OK)
        cli_error(&ch->a->ui, "%s", e.msg);
    else
        printf("%s%zu message%s saved in %s%s\n", cli_on(&ch->a->ui, stdout, CLI_DIM),
               json_array_size(ch->messages), json_array_size(ch->messages) == 1 ? "" : "s", arg,
               cli_off(&ch->a->ui, stdout));
    json_decref(j);
    lar_buf_free(&b);
}

static void do_load(cli_chat *ch, const char *arg)
{
    lar_map map = {0};
    lar_err e = {0};
    json_error_t je;
    if (!*arg) {
        cli_error(&ch->a->ui, "/load needs a file name");
        return;
    }
    if (lar_map_open(arg, &map, &e) != LAR_OK) {
        cli_error(&ch->a->ui, "%s", e.msg);
        return;
    }
    json_t *j = json_loadb((const char *)map.data, map.size, 0, &je),
           *msgs = j ? valid_messages(j) : NULL;
    if (!j)
        cli_error(&ch->a->ui, "%s: line %d: %s", arg, je.line, je.text);
    else if (!msgs)
        cli_error(&ch->a->ui, "%s: no list of messages with role and content", arg);
    if (msgs) {
        json_decref(ch->messages);
        ch->messages = msgs;
        printf("%s%zu message%s loaded%s\n", cli_on(&ch->a->ui, stdout, CLI_DIM),
               json_array_size(msgs), json_array_size(msgs) == 1 ? "" : "s",
               cli_off(&ch->a->ui, stdout));
    }
    json_decref(j);
    lar_map_close(&map);
}

static const char *system_text(const cli_chat *ch)
{
    const json_t *first = json_array_get(ch->messages, 0);
    return strcmp(cli_str(first, "role", ""), "system") ? NULL : cli_str(first, "content", "");
}

static void show_settings(cli_chat *ch)
{
    const cli_args *a = ch->a;
    static const char *const heads[] = {"setting", "value", ""};
    cli_table t;
    cli_table_begin(&t, LAR_LEN(heads), heads);
    for (size_t i = 0; i < a->n_flags; i++) {
        const cli_flag *f = &a->flags[i];
        const char *v = cli_get(a, f->name), *from = v ? "set" : "";
        const json_t *own = cli_setting(&ch->c, f);
        lar_buf b = {0};
        if (!f->is_field)
            continue;
        if (strcmp(f->name, "system") == 0) {
            v = system_text(ch);
            from = !v ? ""
                   : own && json_is_string(own) && !strcmp(json_string_value(own), v)
                       ? "settings file"
                       : "set";
        } else if (!v && own) {
            if (json_is_string(own))
                lar_buf_puts(&b, json_string_value(own));
            else
                cli_dump(own, JSON_COMPACT | JSON_REAL_PRECISION(6), &b);
            v = b.oom || !b.p ? "" : b.p;
            from = "settings file";
        }
        cli_table_add(&t, f->name);
        cli_table_add(&t, v                     ? v
                          : f->def              ? f->def
                          : f->type == CLI_BOOL ? (f->def_on ? "true" : "false")
                                                : "");
        cli_table_add(&t, from);
        lar_buf_free(&b);
    }
    cli_table_print(&a->ui, &t, cli_width(stdout));
    cli_table_free(&t);
}

static void do_set(cli_chat *ch, const char *arg)
{
    cli_args *a = ch->a;
    char name[64];
    lar_err e = {0};
    size_t n = strcspn(arg, " =");
    if (!*arg) {
        show_settings(ch);
        return;
    }
    snprintf(name, sizeof name, "%.*s", (int)LAR_MIN(n, sizeof name - 1), arg);
    const char *value = arg + n + strspn(arg + n, " =");
    const cli_flag *f = cli_flag_find(a, name);
    if (f && !f->is_field) {
        cli_error(&a->ui, "%s holds for the whole chat: start again with lar chat --%s", f->name,
                  f->name);
    } else if (!f) {
        const char *near = cli_nearest_flag(a, name);
        cli_error(&a->ui, "no setting '%s'%s%s%s", name, near ? "; did you mean " : "",
                  near ? near : "", near ? "?" : "");
    } else if (strcmp(f->name, "system") == 0) {
        do_system(ch, value);
    } else if (!*value) {
        cli_args_unset(a, f);
        dim(ch, "back to the default");
    } else if (cli_args_set(a, f, value, &e) != LAR_OK) {
        cli_error(&a->ui, "%s", e.msg);
    } else {
        printf("%s%s = %s%s\n", cli_on(&a->ui, stdout, CLI_DIM), f->name, value,
               cli_off(&a->ui, stdout));
    }
}

static void do_show(cli_chat *ch, const char *arg)
{
    const json_t *m;
    size_t i;
    (void)arg;
    json_array_foreach(ch->messages, i, m)
    {
        const json_t *text = json_object_get(m, "content");
        cli_wrap w = {0};
        printf("%s%s:%s\n", cli_on(&ch->a->ui, stdout, CLI_BOLD), cli_str(m, "role", "?"),
               cli_off(&ch->a->ui, stdout));
        cli_wrap_begin(&w, stdout, ch->a->ui.tty_out ? cli_width(stdout) : 0);
        cli_wrap_put(&w, json_string_value(text), json_string_length(text));
        cli_wrap_end(&w);
        cli_wrap_free(&w);
    }
    if (json_array_size(ch->messages) == 0)
        dim(ch, "nothing was said yet");
}

static void do_stats(cli_chat *ch, const char *arg)
{
    char *text = lar_session_info(ch->c.s), used[32], ctx[32], cache[32], peak[32], line[300];
    json_t *s = text ? json_loads(text, 0, NULL) : NULL;
    (void)arg;
    lar_string_free(text);
    cli_count(cli_num(s, "tokens", 0), used, sizeof used);
    cli_count(cli_num(s, "ctx", 0), ctx, sizeof ctx);
    cli_bytes(cli_num(s, "kv_bytes", 0), cache, sizeof cache);
    cli_bytes((double)lar_peak_rss(), peak, sizeof peak);
    snprintf(line, sizeof line, "%s of %s tokens of context in use, cache %s (%s), peak memory %s",
             used, ctx, cache, cli_str(s, "kv_type", "?"), peak);
    dim(ch, line);
    if (cli_at(s, "draft")) {
        cli_bytes(cli_num(s, "draft.weight_bytes", 0), used, sizeof used);
        cli_bytes(cli_num(s, "draft.kv_bytes", 0) + cli_num(s, "draft.work_bytes", 0), cache,
                  sizeof cache);
        snprintf(line, sizeof line, "draft model: weights %s, cache and work %s", used, cache);
        dim(ch, line);
    }
    if (ch->answer.result)
        cli_answer_stats(&ch->answer, stdout);
    json_decref(s);
}

static void do_info(cli_chat *ch, const char *arg)
{
    (void)arg;
    cli_chat_greet(ch);
}

static void do_multiline(cli_chat *ch, const char *arg)
{
    ch->multiline = strcmp(arg, "on") == 0 || (strcmp(arg, "off") != 0 && !ch->multiline);
    dim(ch, ch->multiline ? "Enter makes a new line; an empty line sends" : "Enter sends");
}

static void do_help(cli_chat *ch, const char *arg);

static const command commands[] = {
    {"help", "", "this list", do_help},
    {"system", "[TEXT|off]", "show, set or drop the system message", do_system},
    {"set", "[NAME [VALUE]]",
     "change a setting, such as /set temp 0.2; without a value: its default", do_set},
    {"retry", "", "answer the last message again", do_retry},
    {"undo", "", "take the last turn back", do_undo},
    {"clear", "", "forget the conversation", do_clear},
    {"save", "FILE", "write the conversation as JSON", do_save},
    {"load", "FILE", "go on with a saved one", do_load},
    {"show", "", "print the conversation", do_show},
    {"info", "", "model, context, kernels, memory", do_info},
    {"stats", "", "context in use and speed of the last answer", do_stats},
    {"multiline", "[on|off]", "whether Enter sends", do_multiline},
    {"quit", "", "end the chat; so do /exit and /bye", do_quit},
};
static const size_t n_commands = LAR_LEN(commands);

static void do_help(cli_chat *ch, const char *arg)
{
    int width = cli_width(stdout), col = 22;
    (void)arg;
    for (size_t i = 0; i < n_commands; i++) {
        char left[64];
        int n = snprintf(left, sizeof left, "/%s %s", commands[i].name, commands[i].args);
        printf("%s%-*s%s ", cli_on(&ch->a->ui, stdout, CLI_BOLD), col - 1, left,
               cli_off(&ch->a->ui, stdout));
        cli_paragraph(stdout, commands[i].help, LAR_MAX(n + 1, col), col, width);
    }
    dim(ch,
        "Alt-Enter, \\ at the end of a line, or \"\"\" ... \"\"\" make a message of many lines.");
    dim(ch, "// at the beginning sends a text that begins with /. Ctrl-R searches the history.");
}

const char *const cli_chat_names[] = {"/help",  "/system",    "/set",  "/retry", "/undo",
                                      "/clear", "/save",      "/load", "/show",  "/info",
                                      "/stats", "/multiline", "/quit", NULL};

void cli_chat_command(cli_chat *ch, const char *line)
{
    char name[32];
    size_t n = strcspn(line + 1, " \n"), best = 3;
    const char *arg = line + 1 + n + strspn(line + 1 + n, " \n"), *near = NULL;
    snprintf(name, sizeof name, "%.*s", (int)LAR_MIN(n, sizeof name - 1), line + 1);
    if (strcmp(name, "exit") == 0 || strcmp(name, "bye") == 0 || strcmp(name, "q") == 0) {
        ch->quit = true;
        return;
    }
    if (strcmp(name, "?") == 0)
        snprintf(name, sizeof name, "help");
    for (size_t i = 0; i < n_commands; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            commands[i].run(ch, arg);
            return;
        }
        size_t d = cli_distance(commands[i].name, name);
        if (d < best) {
            best = d;
            near = commands[i].name;
        }
    }
    cli_error(&ch->a->ui, "no command /%s%s%s%s", name, near ? "; did you mean /" : "",
              near ? near : "", near ? "?" : "");
    cli_hint(&ch->a->ui, "/help lists the commands; // sends a text that begins with /");
}
