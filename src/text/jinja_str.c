/*
 * jinja_str.c - what Python's str methods do, on UTF-8: case, splitting, joining, padding, classes.
 * Depends on jinja.h, utf8proc.
 */
#include "text/jinja.h"
#include <string.h>
#include <utf8proc.h>

/* ---- case ---------------------------------------------------------------------------------- */

static const jcase *special_case(uint32_t cp)
{
    size_t lo = 0, hi = lar__jcases_n;
    if (cp < 0xDF)
        return NULL;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (lar__jcases[mid].cp == cp)
            return &lar__jcases[mid];
        if (lar__jcases[mid].cp < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static bool cased(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT ||
           cp == 0xAA || cp == 0xBA || (cp >= 0x2160 && cp <= 0x217F) ||
           (cp >= 0x24B6 && cp <= 0x24E9);
}

/* Does not end or begin a word for the final sigma. */
static bool case_ignorable(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return cp == '\'' || cp == '.' || cp == ':' || cp == '^' || cp == '`' || cp == 0xA8 ||
           cp == 0xAD || cp == 0xB7 || cp == 0x2019 || c == UTF8PROC_CATEGORY_MN ||
           c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_LM ||
           c == UTF8PROC_CATEGORY_SK;
}

static bool final_sigma(const jstr *s, size_t at)
{
    uint32_t cp = 0;
    size_t i = at;
    bool before = false;
    while (i > 0) {
        i--;
        while (i > 0 && ((unsigned char)s->p[i] & 0xC0) == 0x80)
            i--;
        lar_utf8_decode(s->p + i, s->n - i, &cp);
        if (!case_ignorable(cp)) {
            before = cased(cp);
            break;
        }
    }
    if (!before)
        return false;
    for (i = at + 2; i < s->n;) {
        int k = lar_utf8_decode(s->p + i, s->n - i, &cp);
        if (!case_ignorable(cp))
            return !cased(cp);
        i += (size_t)LAR_MAX(k, 1);
    }
    return true;
}

static void put_case(lar_buf *b, const jstr *s, size_t at, uint32_t cp, int how)
{
    char tmp[4];
    const jcase *x = special_case(cp);
    if (x) {
        const char *z = how == CASE_UPPER ? x->upper : how == CASE_TITLE ? x->title : x->lower;
        if (*z) {
            lar_buf_puts(b, z);
            return;
        }
    }
    if (how == CASE_LOWER && cp == 0x3A3)
        cp = final_sigma(s, at) ? 0x3C2 : 0x3C3;
    else if (how == CASE_LOWER)
        cp = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    else if (how == CASE_UPPER)
        cp = (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp);
    else
        cp = (uint32_t)utf8proc_totitle((utf8proc_int32_t)cp);
    lar_buf_add(b, tmp, (size_t)lar_utf8_encode(cp, tmp));
}

static void put_fold(lar_buf *b, uint32_t cp)
{
    utf8proc_int32_t d[8];
    int bound = 0;
    char tmp[4];
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, d, 8, UTF8PROC_CASEFOLD, &bound);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; i++)
        lar_buf_add(b, tmp, (size_t)lar_utf8_encode((uint32_t)d[i], tmp));
}

bool lar__jstr_case(jr *r, const jstr *s, int how, jv *out)
{
    lar_buf b = {0};
    bool in_word = false;
    if (!lar__jstep(r, s->n))
        return false;
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        int k = LAR_MAX(1, lar_utf8_decode(s->p + i, s->n - i, &cp)), to = how;
        if (how == CASE_CAPITALIZE)
            to = i ? CASE_LOWER : CASE_TITLE;
        else if (how == CASE_TITLE)
            to = in_word ? CASE_LOWER : CASE_TITLE;
        else if (how == CASE_SWAP)
            to = utf8proc_toupper((utf8proc_int32_t)cp) != (utf8proc_int32_t)cp || cp == 0xDF
                     ? CASE_UPPER
                     : CASE_LOWER;
        if (how == CASE_FOLD)
            put_fold(&b, cp);
        else if (cp < 128) /* the usual case, fast */
            lar_buf_putc(&b, (char)(to == CASE_LOWER ? (cp >= 'A' && cp <= 'Z' ? cp + 32 : cp)
                                                     : (cp >= 'a' && cp <= 'z' ? cp - 32 : cp)));
        else
            put_case(&b, s, i, cp, to);
        in_word = cased(cp);
        i += (size_t)k;
    }
    return lar__jv_buf(r, &b, s->markup, out);
}

/* ---- search, split, join ------------------------------------------------------------------- */

static size_t char_len(const jstr *s, size_t i)
{
    size_t k = 1;
    while (i + k < s->n && ((unsigned char)s->p[i + k] & 0xC0) == 0x80)
        k++;
    return k;
}

bool lar__jstr_replace(jr *r, const jstr *s, const jstr *a, const jstr *to, int64_t max, jv *out)
{
    lar_buf b = {0};
    size_t at = 0;
    if (max < 0)
        max = INT64_MAX;
    while (max-- > 0 && at <= s->n) {
        ptrdiff_t f = lar__jfind(r, s, at, s->n, a);
        if (f < 0 || !lar__jstep(r, to->n) || !lar__jbuf_ok(r, &b))
            break;
        lar_buf_add(&b, s->p + at, (size_t)f - at);
        lar_buf_add(&b, to->p, to->n);
        at = (size_t)f + a->n;
        if (!a->n) { /* between all characters, and at both ends */
            if (at >= s->n) {
                at = s->n + 1;
                break;
            }
            size_t k = char_len(s, at);
            lar_buf_add(&b, s->p + at, k);
            at += k;
        }
    }
    if (at < s->n)
        lar_buf_add(&b, s->p + at, s->n - at);
    if (r->st != LAR_OK) {
        lar_buf_free(&b);
        return false;
    }
    return lar__jv_buf(r, &b, s->markup, out);
}

bool lar__jstr_join(jr *r, const jstr *sep, jv items, bool strict, jv *out)
{
    jiter it;
    jv v;
    bool done;
    lar_buf b = {0};
    if (!lar__jiter_init(r, items, &it))
        return false;
    for (size_t i = 0;; i++) {
        bool ok = lar__jiter_next(r, &it, &v, &done);
        if (ok && done)
            break;
        if (ok && i && sep->n)
            lar_buf_add(&b, sep->p, sep->n);
        if (ok && sep->markup)
            ok = lar__jescape(r, v, &v);
        else if (ok && strict && v.t != JV_STR)
            ok = lar__jfail(r, "join: item %zu is a %s, want a string", i, lar__jtype_name[v.t]);
        if (!ok || !lar__jstep(r, sep->n) || !lar__jput_str(r, &b, v)) {
            lar_buf_free(&b);
            return false;
        }
    }
    return lar__jv_buf(r, &b, sep->markup, out);
}

static bool is_line_end(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

bool lar__jstr_splitlines(jr *r, const jstr *s, bool keep, jv *out)
{
    size_t b = 0, i = 0;
    jv v;
    if (!lar__jv_list(r, 0, false, out))
        return false;
    while (i < s->n) {
        uint32_t cp = 0;
        size_t at = i;
        i += (size_t)LAR_MAX(1, lar_utf8_decode(s->p + i, s->n - i, &cp));
        if (!is_line_end(cp))
            continue;
        if (cp == '\r' && i < s->n && s->p[i] == '\n')
            i++;
        if (!lar__jv_sub(r, s, b, (keep ? i : at) - b, &v) || !lar__jlist_add(r, out->u.l, v))
            return false;
        b = i;
    }
    return b >= s->n || (lar__jv_sub(r, s, b, s->n - b, &v) && lar__jlist_add(r, out->u.l, v));
}

static bool space_at(const jstr *s, size_t i, size_t *k)
{
    uint32_t cp = 0;
    *k = (size_t)LAR_MAX(1, lar_utf8_decode(s->p + i, s->n - i, &cp));
    return lar__jspace(cp);
}

static bool split_space(jr *r, const jstr *s, int64_t max, jlist *l)
{
    size_t i = 0, k;
    jv v;
    for (;;) {
        while (i < s->n && space_at(s, i, &k))
            i += k;
        if (i >= s->n)
            return true;
        size_t b = i;
        if (max-- == 0)
            return lar__jv_sub(r, s, b, s->n - b, &v) && lar__jlist_add(r, l, v);
        while (i < s->n && !space_at(s, i, &k))
            i += k;
        if (!lar__jv_sub(r, s, b, i - b, &v) || !lar__jlist_add(r, l, v))
            return false;
    }
}

static void reverse(jlist *l)
{
    for (size_t i = 0; i + i + 1 < l->n; i++) {
        jv t = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = t;
    }
}

static size_t back(const jstr *s, size_t e)
{
    e--;
    while (e > 0 && ((unsigned char)s->p[e] & 0xC0) == 0x80)
        e--;
    return e;
}

static bool rsplit_space(jr *r, const jstr *s, int64_t max, jlist *l)
{
    size_t e = s->n, k;
    jv v;
    for (;;) {
        while (e > 0 && space_at(s, back(s, e), &k))
            e = back(s, e);
        if (!e)
            break;
        size_t end = e;
        if (max-- == 0) {
            if (!lar__jv_sub(r, s, 0, end, &v) || !lar__jlist_add(r, l, v))
                return false;
            break;
        }
        while (e > 0 && !space_at(s, back(s, e), &k))
            e = back(s, e);
        if (!lar__jv_sub(r, s, e, end - e, &v) || !lar__jlist_add(r, l, v))
            return false;
    }
    reverse(l);
    return true;
}

static ptrdiff_t find_last(jr *r, const jstr *s, size_t to, const jstr *what)
{
    if (what->n > to || !lar__jstep(r, to))
        return -1;
    for (size_t i = to - what->n + 1; i-- > 0;) {
        if (s->p[i] != what->p[0])
            continue;
        if (!memcmp(s->p + i, what->p, what->n))
            return (ptrdiff_t)i;
        if (!lar__jstep(r, what->n))
            return -1;
    }
    return -1;
}

bool lar__jstr_split(jr *r, const jstr *s, const jstr *sep, int64_t max, bool right, jv *out)
{
    jv v;
    if (max < 0)
        max = INT64_MAX;
    if (!lar__jv_list(r, 0, false, out))
        return false;
    if (!sep)
        return right ? rsplit_space(r, s, max, out->u.l) : split_space(r, s, max, out->u.l);
    if (!sep->n)
        return lar__jfail(r, "split: empty separator");
    size_t b = 0, e = s->n;
    while (max-- > 0) {
        ptrdiff_t f = right ? find_last(r, s, e, sep) : lar__jfind(r, s, b, s->n, sep);
        if (f < 0)
            break;
        size_t at = (size_t)f;
        if (!(right ? lar__jv_sub(r, s, at + sep->n, e - at - sep->n, &v)
                    : lar__jv_sub(r, s, b, at - b, &v)) ||
            !lar__jlist_add(r, out->u.l, v))
            return false;
        if (right)
            e = at;
        else
            b = at + sep->n;
    }
    if (r->st != LAR_OK || !lar__jv_sub(r, s, right ? 0 : b, right ? e : s->n - b, &v) ||
        !lar__jlist_add(r, out->u.l, v))
        return false;
    if (right)
        reverse(out->u.l);
    return true;
}

/* how: 0 left-justified, 1 right-justified, 2 centred as str.center does */
bool lar__jstr_pad(jr *r, const jstr *s, int64_t width, const jstr *fill, int how, jv *out)
{
    lar_buf b = {0};
    if (fill->len != 1)
        return lar__jfail(r, "the fill character must be exactly one character long");
    if (width <= (int64_t)s->len)
        return lar__jv_sub(r, s, 0, s->n, out);
    size_t n = (size_t)(width - (int64_t)s->len);
    if (width > (int64_t)(JINJA_MAX_OUTPUT / 4))
        return lar__jfail(r, "a text padded to more than %u characters", JINJA_MAX_OUTPUT / 4);
    size_t left = how == 0 ? 0 : how == 1 ? n : n / 2 + (n & (size_t)width & 1);
    for (size_t i = 0; i < left; i++)
        lar_buf_add(&b, fill->p, fill->n);
    lar_buf_add(&b, s->p, s->n);
    for (size_t i = left; i < n; i++)
        lar_buf_add(&b, fill->p, fill->n);
    return lar__jv_buf(r, &b, s->markup, out);
}

/* ---- classes ------------------------------------------------------------------------------- */

static bool letter(utf8proc_category_t c)
{
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_LO;
}

static bool digit(uint32_t cp, utf8proc_category_t c)
{
    return c == UTF8PROC_CATEGORY_ND || cp == 0xB2 || cp == 0xB3 || cp == 0xB9 || cp == 0x2070 ||
           (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089) ||
           (cp >= 0x2460 && cp <= 0x2468);
}

static bool of_class(uint32_t cp, int what)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    bool num = c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
    switch (what) {
    case 'a': /* isalpha */
        return letter(c);
    case 'n': /* isalnum */
        return letter(c) || num;
    case 'd': /* isdigit */
        return digit(cp, c);
    case 'c': /* isdecimal */
        return c == UTF8PROC_CATEGORY_ND;
    case 'm': /* isnumeric */
        return num;
    case 's': /* isspace */
        return lar__jspace(cp);
    case 'p': /* isprintable */
        return cp == ' ' || !(c == UTF8PROC_CATEGORY_CN || c == UTF8PROC_CATEGORY_CC ||
                              c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CS ||
                              c == UTF8PROC_CATEGORY_CO || c == UTF8PROC_CATEGORY_ZL ||
                              c == UTF8PROC_CATEGORY_ZP || c == UTF8PROC_CATEGORY_ZS);
    case 'i': /* isidentifier, but for its first character */
        return cp == '_' || letter(c) || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_ND ||
               c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_PC;
    default: /* isascii */
        return cp < 128;
    }
}

static bool cased_all(const jstr *s, int what)
{
    bool any = false, in_word = false;
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        i += (size_t)LAR_MAX(1, lar_utf8_decode(s->p + i, s->n - i, &cp));
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
        bool up = c == UTF8PROC_CATEGORY_LU, low = cased(cp) && !up && c != UTF8PROC_CATEGORY_LT;
        if (what == 'l' && (up || c == UTF8PROC_CATEGORY_LT))
            return false;
        if (what == 'u' && (low || c == UTF8PROC_CATEGORY_LT))
            return false;
        if (what == 't' && ((low && !in_word) || (up && in_word)))
            return false;
        any |= cased(cp);
        in_word = cased(cp);
    }
    return any;
}

bool lar__jstr_is(const jstr *s, int what)
{
    if (what == 'l' || what == 'u' || what == 't')
        return cased_all(s, what);
    if (!s->n)
        return what == 'A' || what == 'p';
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        size_t at = i;
        i += (size_t)LAR_MAX(1, lar_utf8_decode(s->p + i, s->n - i, &cp));
        if (!of_class(cp, what) || (what == 'i' && at == 0 && cp != '_' && !of_class(cp, 'a')))
            return false;
    }
    return true;
}
