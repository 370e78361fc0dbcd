/* answer.c - see answer.h. */
#include "tasks/answer.h"
#include <string.h>

static const char open_tag[] = "<think>", close_tag[] = "</think>";

void lar_answer_init(lar_answer *a, const lar_tokenizer *t, const char *const *stop, size_t n_stop,
                     bool think, bool open)
{
    memset(a, 0, sizeof *a);
    lar_detok_init(&a->detok, t, false);
    a->stop = stop;
    a->n_stop = n_stop;
    a->where = !think ? LAR_ANSWER_TEXT : open ? LAR_ANSWER_THINKING : LAR_ANSWER_START;
    a->skip_space = a->where == LAR_ANSWER_THINKING;
}

void lar_answer_free(lar_answer *a)
{
    lar_buf_free(&a->in);
    lar_buf_free(&a->text);
    lar_buf_free(&a->thinking);
}

/* Where `tag` begins in [p, p+n), whole or as the beginning of it at the very end; n if nowhere. */
static size_t find(const char *p, size_t n, const char *tag, bool *whole)
{
    const size_t m = strlen(tag);
    *whole = false;
    for (size_t i = 0; i < n; i++) {
        const size_t k = LAR_MIN(m, n - i);
        if (memcmp(p + i, tag, k) == 0) {
            *whole = k == m;
            return i;
        }
    }
    return n;
}

static void consume(lar_answer *a, size_t n)
{
    memmove(a->in.p, a->in.p + n, a->in.n - n);
    a->in.n -= n;
    a->in.p[a->in.n] = 0;
}

static lar_status deliver(lar_answer *a, lar_task *t, size_t n, lar_err *e)
{
    const bool thinking = a->where == LAR_ANSWER_THINKING;
    lar_buf *to = thinking ? &a->thinking : &a->text;
    if (!n)
        return LAR_OK;
    lar_buf_add(to, a->in.p, n);
    if (to->oom)
        return lar_fail(e, LAR_ENOMEM, "answer: out of memory");
    const lar_status s =
        lar_task_text(t, thinking ? LAR_EVENT_THINKING : LAR_EVENT_TEXT, a->in.p, n, e);
    consume(a, n);
    return s;
}

/* At the very beginning: is it a reasoning block? True when that is decided. */
static bool decide(lar_answer *a, bool last)
{
    size_t i = 0;
    while (i < a->in.n && (a->in.p[i] == ' ' || a->in.p[i] == '\n'))
        i++;
    const size_t k = LAR_MIN(a->in.n - i, sizeof open_tag - 1);
    if (k && memcmp(a->in.p + i, open_tag, k) == 0) {
        if (k == sizeof open_tag - 1) {
            consume(a, i + k);
            a->where = LAR_ANSWER_THINKING;
            a->skip_space = true;
            return true;
        }
        if (!last)
            return false;
    } else if (!k && !last) {
        return false;
    }
    a->where = LAR_ANSWER_TEXT;
    return true;
}

/* How much may be delivered now: all before the first stop string that is whole, else before the
 * first that has begun. */
static size_t certain(lar_answer *a, bool last)
{
    size_t cut = a->in.n, begun = a->in.n;
    for (size_t i = 0; i < a->n_stop; i++) {
        bool whole;
        if (!a->stop[i][0])
            continue;
        const size_t at = find(a->in.p, a->in.n, a->stop[i], &whole);
        a->stopped = a->stopped || whole;
        if (whole)
            cut = LAR_MIN(cut, at);
        else
            begun = LAR_MIN(begun, at);
    }
    return a->stopped || last ? cut : begun;
}

/* The blank lines between a reasoning block and the answer are no part of either, nor of a stop
 * string. */
static void drop_blank(lar_answer *a)
{
    size_t n = 0;
    while (a->skip_space && n < a->in.n && (a->in.p[n] == '\n' || a->in.p[n] == ' '))
        n++;
    a->skip_space = a->skip_space && n == a->in.n;
    consume(a, n);
}

static lar_status flush(lar_answer *a, lar_task *t, bool last, lar_err *e)
{
    if (a->in.oom)
        return lar_fail(e, LAR_ENOMEM, "answer: out of memory");
    if (!a->in.p || (a->where == LAR_ANSWER_START && !decide(a, last)))
        return LAR_OK;
    if (a->where == LAR_ANSWER_THINKING) {
        bool whole;
        drop_blank(a);
        const size_t at = find(a->in.p, a->in.n, close_tag, &whole);
        LAR_TRY(deliver(a, t, last && !whole ? a->in.n : at, e));
        if (!whole)
            return LAR_OK;
        consume(a, sizeof close_tag - 1);
        a->where = LAR_ANSWER_TEXT;
        a->skip_space = true;
    }
    drop_blank(a);
    return deliver(a, t, certain(a, last), e);
}

lar_status lar_answer_put(lar_answer *a, lar_task *t, int32_t id, lar_err *e)
{
    if (a->stopped)
        return LAR_OK;
    lar_detok_put(&a->detok, id, &a->in);
    return flush(a, t, false, e);
}

lar_status lar_answer_end(lar_answer *a, lar_task *t, lar_err *e)
{
    if (a->stopped)
        return LAR_OK;
    lar_detok_end(&a->detok, &a->in);
    return flush(a, t, true, e);
}
