/* eval_extract.c - what an answer says: the letter of a choice, or a text to compare. */
#include "tasks/eval.h"
#include <string.h>

/* The last (or first) match of a pattern for which the found text is wanted. */
static bool search(const lar_regex *r, lar_str text, bool first, bool (*wanted)(lar_str, int),
                   int arg, lar_str *out)
{
    lar_match m;
    bool any = false;
    for (size_t at = 0; at <= text.n && lar_regex_find(r, text, at, &m);) {
        if (wanted(m.group, arg)) {
            *out = m.group;
            any = true;
            if (first)
                return true;
        }
        at = m.end > at ? m.end : at + 1;
        while (at < text.n && ((uint8_t)text.p[at] & 0xc0) == 0x80)
            at++;
    }
    return any;
}

static int letter(lar_str s)
{
    const char c = s.n == 1 ? (char)(s.p[0] | 32) : 0;
    return c >= 'a' && c <= 'z' ? c - 'a' : -1;
}

static bool is_choice(lar_str s, int n)
{
    return letter(s) >= 0 && letter(s) < n;
}

static bool is_any(lar_str s, int n)
{
    (void)n;
    return s.n > 0;
}

int lar__eval_letter(const lar_eval_desc *d, lar_str text, int n_choices)
{
    lar_str found;
    for (int i = 0; i < d->n_patterns; i++)
        if (search(d->pattern[i], text, d->first_match, is_choice, n_choices, &found))
            return letter(found);
    return -1;
}

static bool is_article(const char *p, size_t n)
{
    return (n == 1 && *p == 'a') || (n == 2 && memcmp(p, "an", 2) == 0) ||
           (n == 3 && memcmp(p, "the", 3) == 0);
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* ASCII punctuation, as SQuAD's evaluation leaves it out. */
static bool is_punctuation(char c)
{
    return c && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c);
}

/* Words, without articles where those are left out, one space between. */
static void put_words(unsigned how, const lar_buf *in, lar_buf *out)
{
    for (size_t i = 0; i < in->n;) {
        size_t n = 0;
        while (i < in->n && is_blank(in->p[i]))
            i++;
        while (i + n < in->n && !is_blank(in->p[i + n]))
            n++;
        if (n && !((how & LAR_EVAL_ARTICLES) && is_article(in->p + i, n))) {
            if (out->n)
                lar_buf_putc(out, ' ');
            lar_buf_add(out, in->p + i, n);
        }
        i += n;
    }
}

void lar__eval_normalise(unsigned how, lar_str text, lar_buf *out)
{
    lar_buf b = {0};
    size_t from = 0, end = text.n;
    lar_buf_clear(out);
    while (from < end && is_blank(text.p[from]))
        from++;
    while (end > from && is_blank(text.p[end - 1]))
        end--;
    for (size_t i = from; i < end; i++) {
        char c = text.p[i];
        if ((how & LAR_EVAL_LOWER) && c >= 'A' && c <= 'Z')
            c = (char)(c | 32);
        if (!(how & LAR_EVAL_PUNCTUATION) || !is_punctuation(c))
            lar_buf_putc(&b, c);
    }
    if (how & (LAR_EVAL_ARTICLES | LAR_EVAL_SPACES))
        put_words(how, &b, out);
    else
        lar_buf_add(out, b.p ? b.p : "", b.n);
    out->oom = out->oom || b.oom;
    lar_buf_free(&b);
}

lar_status lar__eval_exact(const lar_eval_desc *d, lar_str text, const json_t *answers, bool *right,
                           bool *found, lar_err *e)
{
    lar_buf a = {0}, b = {0};
    const json_t *x;
    size_t i;
    lar_str said = text;
    *right = false;
    *found = !d->n_patterns;
    for (int k = 0; k < d->n_patterns && !*found; k++)
        *found = search(d->pattern[k], text, d->first_match, is_any, 0, &said);
    lar__eval_normalise(d->normalise, said, &a);
    json_array_foreach(answers, i, x)
    {
        const lar_str want = {json_string_value(x), json_string_length(x)};
        lar__eval_normalise(d->normalise, want, &b);
        *right = *right || (*found && a.n == b.n && (!a.n || memcmp(a.p, b.p, a.n) == 0));
    }
    const bool oom = a.oom || b.oom;
    lar_buf_free(&a);
    lar_buf_free(&b);
    return oom ? lar_fail(e, LAR_ENOMEM, "eval: out of memory") : LAR_OK;
}
