/* sentences.c - see sentences.h. */
#include "text/sentences.h"
#include <string.h>
#include <utf8proc.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}
static bool is_end(char c)
{
    return c == '.' || c == '?' || c == '!';
}

/* The character at i and its category; how many bytes it has. */
static size_t at(lar_str s, size_t i, utf8proc_category_t *category)
{
    uint32_t cp;
    const int n = lar_utf8_decode(s.p + i, s.n - i, &cp);
    *category = n ? utf8proc_category((utf8proc_int32_t)cp) : UTF8PROC_CATEGORY_LO;
    return n ? (size_t)n : 1;
}

static bool is_mark(utf8proc_category_t c)
{
    return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME;
}
static bool is_letter(utf8proc_category_t c)
{
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}
static bool is_number(utf8proc_category_t c)
{
    return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
}
static bool is_symbol(utf8proc_category_t c)
{
    return c >= UTF8PROC_CATEGORY_SM && c <= UTF8PROC_CATEGORY_SO;
}

static size_t skip_spaces(lar_str s, size_t i)
{
    while (i < s.n && is_space(s.p[i]))
        i++;
    return i;
}

/* Behind quotation marks and brackets that close. */
static size_t skip_closing(lar_str s, size_t i)
{
    utf8proc_category_t c;
    while (i < s.n) {
        const size_t n = at(s, i, &c);
        if (!strchr("'\")]", s.p[i]) && c != UTF8PROC_CATEGORY_PF)
            break;
        i += n;
    }
    return i;
}

/* Behind a footnote such as [1] or [2, 3]: '[', digits, commas and spaces, a digit, ']'. */
static size_t skip_footnote(lar_str s, size_t i)
{
    size_t k = i + 1;
    if (i >= s.n || s.p[i] != '[')
        return i;
    while (k < s.n &&
           ((s.p[k] >= '0' && s.p[k] <= '9') || (k > i + 1 && (s.p[k] == ',' || is_space(s.p[k])))))
        k++;
    return k > i + 1 && k < s.n && s.p[k] == ']' && s.p[k - 1] >= '0' && s.p[k - 1] <= '9' ? k + 1
                                                                                           : i;
}

/* Whether what begins at i goes on with a sentence: its first letter, behind opening punctuation,
 * is a small one. */
static bool goes_on(lar_str s, size_t i, bool *word)
{
    utf8proc_category_t c = UTF8PROC_CATEGORY_CN;
    while (i < s.n && !is_space(s.p[i])) {
        const size_t n = at(s, i, &c);
        if (is_letter(c) || is_number(c) || is_mark(c) || is_symbol(c))
            break;
        i += n;
    }
    i = skip_spaces(s, i);
    *word = false;
    while (i < s.n) {
        const size_t n = at(s, i, &c);
        *word = *word || is_letter(c) || is_number(c) || is_mark(c);
        if (!is_mark(c))
            break;
        i += n;
    }
    return i < s.n && c == UTF8PROC_CATEGORY_LL;
}

bool lar_sentence_next(lar_str text, size_t *pos, lar_str *out)
{
    const size_t begin = skip_spaces(text, *pos);
    size_t i = begin, end = text.n;
    while (end > begin && is_space(text.p[end - 1]))
        end--;
    *pos = text.n;
    if (begin >= end)
        return false;
    *out = (lar_str){text.p + begin, end - begin};
    while (i < end) {
        size_t stop = i;
        bool word;
        if (!is_end(text.p[i])) {
            i++;
            continue;
        }
        while (stop < end && is_end(text.p[stop]))
            stop++;
        const bool ellipsis = stop - i == 3 && memcmp(text.p + i, "...", 3) == 0 && i > begin + 1 &&
                              text.p[i - 1] == '[';
        const size_t tail = skip_closing(text, skip_footnote(text, skip_closing(text, stop)));
        i = skip_spaces(text, tail);
        if (i == tail || i >= text.n || goes_on(text, i, &word) ||
            (ellipsis && !word && tail == stop + 1 && text.p[stop] == ']'))
            continue;
        out->n = tail - begin;
        *pos = tail;
        return true;
    }
    return true;
}
