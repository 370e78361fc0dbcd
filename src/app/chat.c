/* chat.c - lar chat: a conversation in the terminal. Depends on edit.c, answer.c, chat_cmd.c. */
#include "app/chat.h"
#include <signal.h>
#include <string.h>

bool cli_chat_add(cli_chat *ch, const char *role, const char *text, size_t n)
{
    json_t *m = json_object();
    bool bad = json_object_set_new(m, "role", json_string(role)) != 0 ||
               json_object_set_new(m, "content", json_stringn(text ? text : "", n)) != 0;
    if (bad || json_array_append(ch->messages, m) != 0) {
        json_decref(m);
        cli_error(&ch->a->ui, "the message is not valid UTF-8 text, or memory is short");
        return false;
    }
    json_decref(m);
    return true;
}

const char *cli_chat_last_role(const cli_chat *ch)
{
    size_t n = json_array_size(ch->messages);
    return n ? cli_str(json_array_get(ch->messages, n - 1), "role", "") : "";
}

/* ---- greeting
 * -------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void greet_model(const json_t *m, const cli_chat *ch, int width)
{
    const cli_ui *ui = &ch->a->ui;
    char bytes[32], line[400];
    const char *name = base_name(ch->c.path);
    size_t n = strlen(name);
    double params = cli_num(m, "parameters", 0);
    printf("%s%.*s%s\n", cli_on(ui, stdout, CLI_BOLD),
           (int)(n > 5 && strcmp(name + n - 5, ".gguf") == 0 ? n - 5 : n), name,
           cli_off(ui, stdout));
    snprintf(line, sizeof line, "%s, %.*f %s parameters, %s", cli_str(m, "architecture", "model"),
             params >= 1e9 ? 1 : 0, params >= 1e9 ? params / 1e9 : params / 1e6,
             params >= 1e9 ? "billion" : "million",
             cli_bytes(cli_num(m, "bytes", 0), bytes, sizeof bytes));
    fputs(cli_on(ui, stdout, CLI_DIM), stdout);
    cli_paragraph(stdout, line, 0, 0, width);
}

/* What lies beside the model changes its answers: that is said. */
static void greet_settings(const cli_chat *ch, int width)
{
    const char *key;
    json_t *v;
    lar_buf b = {0};
    if (json_object_size(ch->c.settings) == 0)
        return;
    lar_buf_printf(&b, "settings of %s:", base_name(ch->c.settings_path));
    json_object_foreach(ch->c.settings, key, v)
        lar_buf_printf(&b, "%s %s", b.p && b.p[b.n - 1] == ':' ? "" : ",", key);
    if (!b.oom)
        cli_paragraph(stdout, b.p, 0, 0, width);
    lar_buf_free(&b);
}

void cli_chat_greet(cli_chat *ch)
{
    const cli_ui *ui = &ch->a->ui;
    int width = cli_width(stdout);
    lar_err e;
    char *text = lar_session_info(ch->c.s);
    json_t *m = cli_model_json(ch->c.m, false, &e), *s = text ? json_loads(text, 0, NULL) : NULL;
    char n[32], full[32], mem[32], line[400];
    lar_string_free(text);
    double ctx = cli_num(s, "ctx", 0), whole = cli_num(s, "ctx_model", 0);
    greet_model(m, ch, width);
    cli_count(ctx, n, sizeof n);
    cli_count(whole, full, sizeof full);
    cli_bytes(cli_num(m, "memory.weights", cli_num(m, "bytes", 0)) + cli_num(s, "kv_bytes", 0) +
                  cli_num(s, "work_bytes", 0),
              mem, sizeof mem);
    snprintf(line, sizeof line, "context %s%s%s tokens, %s kernels, %.0f thread%s, %s of memory", n,
             whole > ctx ? " of " : "", whole > ctx ? full : "", cli_str(s, "variant", "?"),
             cli_num(s, "threads", 0), cli_num(s, "threads", 0) == 1 ? "" : "s", mem);
    cli_paragraph(stdout, line, 0, 0, width);
    greet_settings(ch, width);
    cli_paragraph(stdout, "/help lists the commands; Ctrl-C stops an answer, Ctrl-D ends the chat.",
                  0, 0, width);
    printf("%s\n", cli_off(ui, stdout));
    json_decref(m);
    json_decref(s);
}

/* ---- an answer
 * --------------------------------------------------------------------------------------------- */

static lar_status ask(cli_chat *ch, lar_err *e)
{
    lar_request *r = NULL;
    lar_buf b = {0};
    lar_status s = lar_request_new(ch->c.rt, ch->a->verb->task, &r, e);
    if (s == LAR_OK)
        s = lar_request_set_session(r, ch->c.s, e);
    if (s == LAR_OK)
        s = cli_settings_apply(&ch->c, r, false, e);
    if (s == LAR_OK)
        s = cli_args_apply(ch->a, r, "prompt|messages|system", e);
    if (s == LAR_OK && !cli_dump(ch->messages, JSON_COMPACT, &b))
        s = lar_fail(e, LAR_ENOMEM, "out of memory");
    if (s == LAR_OK)
        s = lar_request_set_json(r, "messages", b.p, e);
    if (s == LAR_OK)
        s = cli_run_request(r, cli_answer_event, &ch->answer, e);
    lar_request_free(r);
    lar_buf_free(&b);
    return s;
}

/* Some templates show the reasoning of earlier turns; those that do not ignore the key. */
static void keep_answer(cli_chat *ch)
{
    const cli_answer *w = &ch->answer;
    if (!cli_chat_add(ch, "assistant", w->text.p, w->text.n) || !w->thinking.n)
        return;
    json_t *m = json_array_get(ch->messages, json_array_size(ch->messages) - 1);
    json_object_set_new(m, "reasoning_content", json_stringn(w->thinking.p, w->thinking.n));
}

static bool shifts(const cli_chat *ch)
{
    const cli_flag *f = cli_flag_find(ch->a, "ctx-shift");
    const json_t *v = f ? cli_setting(&ch->c, f) : NULL;
    return cli_get(ch->a, "ctx-shift") ? cli_is_on(ch->a, "ctx-shift")
                                       : json_is_true(v) || json_integer_value(v) != 0;
}

/* The oldest question with its answer; false when only the last question is left. */
static bool drop_oldest(json_t *messages)
{
    const size_t n = json_array_size(messages);
    size_t from = 0, to;
    if (n && strcmp(cli_str(json_array_get(messages, 0), "role", ""), "system") == 0)
        from = 1;
    for (to = from + 1; to < n; to++)
        if (strcmp(cli_str(json_array_get(messages, to), "role", ""), "user") == 0)
            break;
    if (to >= n)
        return false;
    for (; to > from; to--)
        json_array_remove(messages, from);
    return true;
}

/* A conversation longer than the context loses its oldest turns, where the user allows it. All are
 * kept when even the last question alone is too long. */
static lar_status ask_shifting(cli_chat *ch, lar_err *e)
{
    const cli_answer *w = &ch->answer;
    lar_status s = ask(ch, e);
    if (s != LAR_EFULL || !shifts(ch) || w->text.n || w->thinking.n)
        return s;
    json_t *all = json_copy(ch->messages);
    if (!all)
        return s;
    int dropped = 0;
    while (s == LAR_EFULL && !w->text.n && !w->thinking.n && drop_oldest(ch->messages)) {
        dropped++;
        *e = (lar_err){0};
        s = ask(ch, e);
    }
    if (s == LAR_EFULL) {
        json_decref(ch->messages);
        ch->messages = all;
        return s;
    }
    json_decref(all);
    cli_wrap_end(&ch->answer.wrap);
    cli_note(&ch->a->ui,
             "the conversation is longer than the context: its oldest %d turn%s dropped", dropped,
             dropped == 1 ? " was" : "s were");
    return s;
}

void cli_chat_answer(cli_chat *ch)
{
    const cli_ui *ui = &ch->a->ui;
    cli_answer *w = &ch->answer;
    lar_err e = {0};
    cli_answer_begin(w, ch->a, true, ch->show_thinking);
    lar_status s = ask_shifting(ch, &e);
    cli_answer_end(w);
    if (s == LAR_OK) {
        keep_answer(ch);
        if (ui->tty_out)
            cli_answer_stats(w, stdout);
    } else if (s == LAR_ECANCELLED) {
        if (w->text.n || w->thinking.n)
            keep_answer(ch);
        else if (strcmp(cli_chat_last_role(ch), "user") == 0)
            json_array_remove(ch->messages, json_array_size(ch->messages) - 1);
        printf("%sstopped%s%s\n", cli_on(ui, stdout, CLI_DIM),
               w->text.n || w->thinking.n ? "; what was said is kept"
                                          : ", the message is taken back",
               cli_off(ui, stdout));
    } else {
        cli_error(ui, "%s", e.msg);
        if (s == LAR_EFULL)
            cli_hint(ui, "/clear starts again, /undo drops the last turn, /set ctx-shift on lets "
                         "the oldest turns go, lar chat --ctx N has more room");
        if (strcmp(cli_chat_last_role(ch), "user") == 0)
            json_array_remove(ch->messages, json_array_size(ch->messages) - 1);
    }
    if (ui->tty_out)
        putchar('\n');
    fflush(stdout);
    if (s == LAR_OK)
        cli_prefix_keep(&ch->c, w->result);
}

/* ---- reading a message
 * -------------------------------------------------------------------------------------- */

static void on_prompt_interrupt(cli_chat *ch, bool empty)
{
    if (!empty) {
        ch->interrupts = 0;
        return;
    }
    if (++ch->interrupts >= 2)
        ch->quit = true;
    else
        printf("%sCtrl-C again, or Ctrl-D, quits%s\n", cli_on(&ch->a->ui, stdout, CLI_DIM),
               cli_off(&ch->a->ui, stdout));
}

/* Whether the message goes on after this line; the line's mark is taken off. */
static bool goes_on(const cli_chat *ch, lar_buf *msg, size_t line_at, bool *quoted)
{
    size_t n = msg->n - line_at;
    char *line = msg->p + line_at;
    bool ends = n >= 3 && memcmp(line + n - 3, "\"\"\"", 3) == 0;
    if (!*quoted && line_at == 0 && n >= 3 && memcmp(line, "\"\"\"", 3) == 0) {
        memmove(line, line + 3, n - 2);
        msg->n -= 3;
        n -= 3;
        *quoted = true;
        ends = n >= 3 && memcmp(line + n - 3, "\"\"\"", 3) == 0;
    }
    if (*quoted) {
        if (ends)
            msg->p[msg->n -= 3] = 0;
        return !ends;
    }
    if (n && line[n - 1] == '\\') {
        msg->p[--msg->n] = 0;
        return true;
    }
    return ch->multiline && n && !(line_at == 0 && line[0] == '/');
}

/* False at the end of input. An empty message means: ask again. */
static bool read_message(cli_chat *ch, lar_buf *msg)
{
    const cli_ui *ui = &ch->a->ui;
    char first[32], more[32];
    const char *on = cli_on(ui, stdout, CLI_GREEN), *off = cli_off(ui, stdout);
    const char *esc = *on ? "\1" : "";
    snprintf(first, sizeof first, "%s%s%s> %s%s%s", esc, on, esc, esc, off, esc);
    snprintf(more, sizeof more, "%s%s%s. %s%s%s", esc, on, esc, esc, off, esc);
    lar_buf line = {0};
    bool quoted = false, again = true;
    lar_buf_clear(msg);
    while (again) {
        size_t at = msg->n;
        cli_edit_result r = cli_edit_read(ch->edit, at || quoted ? more : first, &line);
        if (r == CLI_EDIT_INTERRUPT) {
            on_prompt_interrupt(ch, line.n == 0 && at == 0 && !quoted);
            lar_buf_clear(msg);
            break;
        }
        if (r == CLI_EDIT_EOF) {
            lar_buf_free(&line);
            return msg->n > 0;
        }
        ch->interrupts = 0;
        lar_buf_add(msg, line.p, line.n);
        if (msg->oom || !msg->p)
            break;
        again = goes_on(ch, msg, at, &quoted);
        if (again && !(quoted && msg->n == 0)) /* nothing before the first line of a block */
            lar_buf_putc(msg, '\n');
    }
    lar_buf_free(&line);
    while (msg->n && strchr("\n ", msg->p[msg->n - 1]))
        msg->p[--msg->n] = 0;
    return true;
}

static void loop(cli_chat *ch)
{
    lar_buf msg = {0};
    while (!ch->quit && read_message(ch, &msg)) {
        if (ch->quit || msg.n == 0 || !msg.p)
            continue;
        cli_edit_remember(ch->edit, msg.p);
        bool command = msg.p[0] == '/' && msg.p[1] != '/' && msg.p[1] != ' ';
        if (command)
            cli_chat_command(ch, msg.p);
        else if (cli_chat_add(ch, "user", msg.p + (msg.p[0] == '/' && msg.p[1] == '/'),
                              msg.n - (msg.p[0] == '/' && msg.p[1] == '/')))
            cli_chat_answer(ch);
    }
    lar_buf_free(&msg);
}

/* Not from a terminal: all of standard input is one message. */
static int answer_stdin(cli_chat *ch)
{
    lar_buf in = {0};
    lar_err e = {0};
    int code = CLI_OK;
    size_t before = json_array_size(ch->messages);
    if (cli_read_stdin(&in, &e) != LAR_OK) {
        code = cli_report(ch->a, &e);
    } else {
        while (in.n && strchr("\r\n", in.p[in.n - 1]))
            in.n--;
        if (in.n == 0) {
            cli_error(&ch->a->ui, "standard input is empty");
            code = CLI_USAGE;
        } else if (cli_chat_add(ch, "user", in.p, in.n)) {
            cli_chat_answer(ch);
            code = json_array_size(ch->messages) > before + 1 ? CLI_OK : CLI_FAIL;
        } else {
            code = CLI_FAIL;
        }
    }
    lar_buf_free(&in);
    return code;
}

static int start(cli_chat *ch, const char *model)
{
    cli_args *a = ch->a;
    lar_err e = {0};
    const char *system = cli_get(a, "system");
    ch->messages = json_array();
    ch->show_thinking = cli_get(a, "show-thinking") ? cli_is_on(a, "show-thinking") : a->ui.tty_out;
    if (cli_client_open(a, &ch->c, model, CLI_NEED_SESSION, &e) != LAR_OK)
        return cli_report(a, &e);
    if (!system)
        system = json_string_value(json_object_get(ch->c.settings, "system"));
    if (!ch->messages || (system && !cli_chat_add(ch, "system", system, strlen(system))))
        return CLI_FAIL;
    if (!a->ui.tty_in)
        return answer_stdin(ch);
    char *history = cli_state_file("history");
    ch->edit = cli_edit_new(&a->ui, history, cli_chat_names);
    lar_free(history);
    if (!ch->edit)
        return CLI_FAIL;
#ifndef _WIN32
    /* While a line is edited Ctrl-C is a key, and an answer has its own handler: between the two it
     * must not end a conversation. */
    if (a->ui.tty_out)
        signal(SIGINT, SIG_IGN);
#endif
    if (a->ui.tty_out)
        cli_chat_greet(ch);
    loop(ch);
    if (a->ui.tty_out)
        putchar('\n');
    return CLI_OK;
}

static int run(cli_args *a)
{
    cli_chat ch = {.a = a};
    const char *model = cli_get(a, "model");
    if (!model && a->n_words)
        model = a->words[0];
    if (a->n_words > (cli_get(a, "model") ? 0u : 1u)) {
        cli_error(&a->ui, "'%.60s' is too much: lar chat takes one model",
                  a->words[a->n_words - 1]);
        cli_hint(&a->ui, "lar run answers one prompt");
        return CLI_USAGE;
    }
    int code = start(&ch, model);
    cli_edit_free(ch.edit);
    cli_answer_free(&ch.answer);
    json_decref(ch.messages);
    cli_client_close(&ch.c);
    return code;
}

static const cli_flag own[] = {
    {.name = "prefix-cache",
     .type = CLI_BOOL,
     .def_on = true,
     .help = "keep what was computed of long prompts for later runs (see lar cache)"},
    {.name = "show-thinking",
     .type = CLI_BOOL,
     .help = "show reasoning too (the default; --no-show-thinking)"},
};

const cli_verb cli_verb_chat = {
    .name = "chat",
    .task = "generate",
    .usage = "lar chat [MODEL] [FLAGS]",
    .help = "talk to a model in the terminal",
    .groups = CLI_G_MODEL | CLI_G_SESSION | CLI_G_RUNTIME | CLI_G_DRAFT,
    .own = own,
    .n_own = LAR_LEN(own),
    .hidden = "prompt|messages|raw|ids|logprobs|prompt-logprobs",
    .words = -1,
    .run = run,
    .more = "Without MODEL the default one is used; `lar list` shows them. In the chat, /help "
            "lists the "
            "commands. When standard input is no terminal, all of it is one message."};
