/* answer.c - a model's answer as it comes: streamed, wrapped, thinking dimmed. Depends on wrap.c.
 */
#include "app/app.h"
#include <string.h>

void cli_answer_begin(cli_answer *w, const cli_args *a, bool show, bool show_thinking)
{
    lar_buf text = w->text, thinking = w->thinking;
    cli_wrap wrap = w->wrap;
    json_decref(w->result);
    *w = (cli_answer){.a = a, .show = show, .show_thinking = show_thinking, .wrap = wrap};
    w->text = text;
    w->thinking = thinking;
    lar_buf_clear(&w->text);
    lar_buf_clear(&w->thinking);
    cli_wrap_begin(&w->wrap, stdout, a->ui.tty_out ? cli_width(stdout) : 0);
}

static void clear_progress(cli_answer *w)
{
    if (w->progress)
        fputs("\r\033[K", stderr);
    w->progress = false;
}

/* A line between thinking and answer, and the dimming. */
static void switch_thinking(cli_answer *w, bool on)
{
    if (w->in_thinking == on)
        return;
    cli_wrap_end(&w->wrap);
    if (!on)
        fputs(cli_off(&w->a->ui, stdout), stdout);
    if (!on && w->wrap.any)
        fputc('\n', stdout);
    if (on)
        fputs(cli_on(&w->a->ui, stdout, CLI_DIM), stdout);
    w->in_thinking = on;
    cli_wrap_begin(&w->wrap, stdout, w->wrap.width);
}

static void put(cli_answer *w, const char *s, size_t n, bool thinking)
{
    lar_buf_add(thinking ? &w->thinking : &w->text, s, n);
    if (!w->show || (thinking && !w->show_thinking))
        return;
    clear_progress(w);
    switch_thinking(w, thinking);
    cli_wrap_put(&w->wrap, s, n);
}

int cli_answer_event(const lar_event *ev, void *user)
{
    cli_answer *w = user;
    size_t n = 0;
    const char *s = lar_event_get_text(ev, &n);
    switch (lar_event_get_kind(ev)) {
    case LAR_EVENT_TEXT:
        put(w, s, n, false);
        break;
    case LAR_EVENT_THINKING:
        put(w, s, n, true);
        break;
    case LAR_EVENT_PROGRESS:
        if (w->show && w->a->ui.tty_err && w->a->ui.tty_out && w->text.n + w->thinking.n == 0) {
            double done = lar_event_get_number(ev);
            fprintf(stderr, "\r\033[K%sreading %.0f %%%s", cli_on(&w->a->ui, stderr, CLI_DIM),
                    done * 100, cli_off(&w->a->ui, stderr));
            w->progress = true;
        }
        break;
    case LAR_EVENT_NOTICE:
        clear_progress(w);
        if (w->show)
            cli_wrap_end(&w->wrap);
        cli_note(&w->a->ui, "%.*s", (int)LAR_MIN(n, (size_t)1000), s);
        break;
    case LAR_EVENT_RESULT:
        json_decref(w->result);
        w->result = json_loads(lar_event_get_json(ev), JSON_ALLOW_NUL, NULL);
        break;
    case LAR_EVENT_TOKEN: /* the result has them */
        break;
    }
    if (ferror(stdout)) /* nobody reads: stop the work */
        return 1;
    return w->text.oom || w->thinking.oom;
}

void cli_answer_end(cli_answer *w)
{
    clear_progress(w);
    if (!w->show)
        return;
    cli_wrap_end(&w->wrap);
    if (w->in_thinking)
        fputs(cli_off(&w->a->ui, stdout), stdout);
    fflush(stdout);
}

void cli_answer_free(cli_answer *w)
{
    lar_buf_free(&w->text);
    lar_buf_free(&w->thinking);
    cli_wrap_free(&w->wrap);
    json_decref(w->result);
    w->result = NULL;
}

void cli_answer_stats(const cli_answer *w, FILE *f)
{
    const json_t *r = w->result;
    const char *stop = cli_str(r, "stop_reason", "");
    double n = cli_num(r, "timings.predicted_tokens", 0);
    double cached = cli_num(r, "timings.cached_tokens", 0);
    char count[32];
    if (!r)
        return;
    fprintf(f, "%s%s tokens", cli_on(&w->a->ui, f, CLI_DIM), cli_count(n, count, sizeof count));
    double speed = cli_num(r, "timings.predicted_per_second", 0);
    if (speed > 0)
        fprintf(f, ", %.1f tokens/s", speed);
    fprintf(f, ", prompt %s",
            cli_count(cli_num(r, "timings.prompt_tokens", 0), count, sizeof count));
    if (cached > 0)
        fprintf(f,
                cli_num(r, "timings.cached_on_disk", 0) > 0 ? " (%s from the prefix cache)"
                                                            : " (%s kept)",
                cli_count(cached, count, sizeof count));
    const double drafted = cli_num(r, "speculation.drafted", 0);
    if (drafted > 0)
        fprintf(f, ", %.0f of %.0f guessed tokens right (%.0f %%)",
                cli_num(r, "speculation.accepted", 0), drafted,
                100 * cli_num(r, "speculation.acceptance", 0));
    if (strcmp(stop, "length") == 0)
        fputs(", cut by --max-tokens", f);
    if (strcmp(stop, "context") == 0)
        fputs(", cut: the context is full (--ctx N)", f);
    fprintf(f, "%s\n", cli_off(&w->a->ui, f));
}
