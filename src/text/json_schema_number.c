/*
 * json_schema_number.c - numbers of a range as rules: for each count of decimals the range of the
 * digits read as one whole number, by its length and then digit by digit. Depends on base,
 * json_schema_part.h.
 */
#include "text/json_schema_part.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 15 digits are told apart by a double; whole numbers may have one more where nothing is bounded.
 */
enum { DIGITS = 15, DECIMALS = 6 };

static const int64_t tens[] = {1,
                               10,
                               100,
                               1000,
                               10000,
                               100000,
                               1000000,
                               10000000,
                               100000000,
                               1000000000,
                               10000000000,
                               100000000000,
                               1000000000000,
                               10000000000000,
                               100000000000000,
                               1000000000000000,
                               10000000000000000};

static lar_expr *digits(lar_schema_build *b, char lo, char hi, uint32_t min, uint32_t max)
{
    const lar_range r = {(uint32_t)lo, (uint32_t)hi};
    lar_expr *x = lar__expr_chars(&b->r, &r, 1, false);
    return min == 1 && max == 1 ? x : lar__expr_repeat(&b->r, x, min, max);
}

static lar_expr *seq(lar_schema_build *b, lar_expr *x, lar_expr *y)
{
    return lar__expr_list(&b->r, LAR_EXPR_SEQ, (lar_expr *[]){x, y}, 2);
}

static lar_expr *alt(lar_schema_build *b, lar_expr *x, lar_expr *y)
{
    return !x ? y : !y ? x : lar__expr_list(&b->r, LAR_EXPR_ALT, (lar_expr *[]){x, y}, 2);
}

/* The point comes before digit number `point`, counted from the end; 0: none. */
static lar_expr *pointed(lar_schema_build *b, lar_expr *digit, size_t left, size_t point)
{
    return left == point && point ? seq(b, lar__expr_text(&b->r, ".", 1), digit) : digit;
}

/* Any n digits. */
static lar_expr *free_digits(lar_schema_build *b, size_t n, size_t point)
{
    if (point && n > point)
        return seq(b, digits(b, '0', '9', (uint32_t)(n - point), (uint32_t)(n - point)),
                   free_digits(b, point, point));
    return pointed(b, digits(b, '0', '9', (uint32_t)n, (uint32_t)n), n, point);
}

/* Digit strings of n digits from lo to hi; NULL of a side: no bound there. */
static lar_expr *between(lar_schema_build *b, const char *lo, const char *hi, size_t n,
                         size_t point)
{
    if (lo && strspn(lo, "0") >= n)
        lo = NULL;
    if (hi && strspn(hi, "9") >= n)
        hi = NULL;
    if (!n)
        return lar__expr_text(&b->r, "", 0);
    if (!lo && !hi)
        return free_digits(b, n, point);
    char first = lo ? *lo : '0', last = hi ? *hi : '9';
    if (lo && hi && first == last)
        return seq(b, pointed(b, lar__expr_text(&b->r, lo, 1), n, point),
                   between(b, lo + 1, hi + 1, n - 1, point));
    lar_expr *x = NULL;
    if (lo) {
        x = seq(b, pointed(b, lar__expr_text(&b->r, lo, 1), n, point),
                between(b, lo + 1, NULL, n - 1, point));
        first++;
    }
    if (hi) {
        x = alt(b, x,
                seq(b, pointed(b, lar__expr_text(&b->r, hi, 1), n, point),
                    between(b, NULL, hi + 1, n - 1, point)));
        last--;
    }
    if (first <= last)
        x = alt(b, x,
                seq(b, pointed(b, digits(b, first, last, 1, 1), n, point),
                    n > 1 ? free_digits(b, n - 1, point == n ? 0 : point)
                          : lar__expr_text(&b->r, "", 0)));
    return x;
}

/* v with n digits, zeros before it. */
static void spell(char *out, int64_t v, size_t n)
{
    out[n] = 0;
    for (; n; v /= 10)
        out[--n] = (char)('0' + v % 10);
}

/* Whole numbers lo to hi, both at least 0, written with `decimals` of their digits behind a point.
 */
static lar_expr *scaled(lar_schema_build *b, int64_t lo, int64_t hi, size_t decimals)
{
    lar_expr *x = NULL;
    for (size_t n = decimals + 1; n <= DIGITS + 1; n++) {
        char from[DIGITS + 2], to[DIGITS + 2];
        const int64_t least = n == decimals + 1 ? 0 : tens[n - 1];
        const int64_t first = LAR_MAX(lo, least), last = LAR_MIN(hi, tens[n] - 1);
        if (first > last)
            continue;
        spell(from, first, n);
        spell(to, last, n);
        x = alt(b, x, between(b, from, to, n, decimals));
    }
    return x;
}

/* The least whole number that is at least (up) or the greatest that is at most (down) the bound
 * times 10^decimals. Bounds are read as the decimal number that is written. false: too many digits.
 */
static bool scale(const lar_bound *bound, bool up, size_t decimals, int64_t *out)
{
    char text[64], *point;
    snprintf(text, sizeof text, "%.15g", bound->v);
    if (!(fabs(bound->v) < 1e15) || strchr(text, 'e') || strtod(text, NULL) != bound->v)
        return false;
    for (char *p = text; *p; p++)
        if (*p == ',')
            *p = '.';
    const bool minus = text[0] == '-';
    int64_t v = 0;
    size_t n = 0;
    bool rest = false;
    point = strchr(text, '.');
    for (const char *p = text + minus; *p && *p != '.'; p++)
        v = v * 10 + (*p - '0');
    for (const char *p = point ? point + 1 : ""; *p; p++) {
        if (n < decimals) {
            v = v * 10 + (*p - '0');
            n++;
        } else {
            rest = rest || *p != '0';
        }
        if (v > tens[16])
            return false;
    }
    for (; n < decimals; n++)
        if ((v *= 10) > tens[16])
            return false;
    if (rest && minus != up)
        v++;
    v = minus ? -v : v;
    if (!rest && bound->exclusive)
        v += up ? 1 : -1;
    *out = v;
    return true;
}

static int whole_digits(const lar_bound *x)
{
    int n = 1;
    for (double v = x->is_set ? fabs(x->v) : 0; v >= 10 && n < DIGITS; v /= 10)
        n++;
    return n;
}

/* Numbers with so many decimals. */
static lar_expr *with_decimals(lar_schema_build *b, const char *path, lar_bound lo, lar_bound hi,
                               size_t decimals)
{
    const int64_t most = tens[DIGITS] - 1;
    int64_t from = -most, to = most;
    if ((lo.is_set && !scale(&lo, true, decimals, &from)) ||
        (hi.is_set && !scale(&hi, false, decimals, &to)))
        return lar__schema_fault(b, path, "a bound with too many digits is not supported");
    from = LAR_MAX(from, -most);
    to = LAR_MIN(to, most);
    lar_expr *minus = NULL, *plus = NULL;
    if (to >= 0)
        plus = scaled(b, LAR_MAX(from, 0), to, decimals);
    if (from < 0)
        minus = scaled(b, LAR_MAX(-to, 1), -from, decimals);
    if (minus)
        minus = seq(b, lar__expr_text(&b->r, "-", 1), minus);
    return alt(b, plus, minus);
}

static lar_expr *unbounded(lar_schema_build *b, bool real)
{
    lar_expr *whole = alt(b, lar__expr_text(&b->r, "0", 1),
                          seq(b, digits(b, '1', '9', 1, 1), digits(b, '0', '9', 0, DIGITS - 1)));
    lar_expr *minus = lar__expr_repeat(&b->r, lar__expr_text(&b->r, "-", 1), 0, 1);
    if (!real)
        return alt(
            b, lar__expr_text(&b->r, "0", 1),
            seq(b, minus, seq(b, digits(b, '1', '9', 1, 1), digits(b, '0', '9', 0, DIGITS - 1))));
    const lar_range e[] = {{'e', 'e'}, {'E', 'E'}}, sign[] = {{'+', '+'}, {'-', '-'}};
    lar_expr *fraction = seq(b, lar__expr_text(&b->r, ".", 1), digits(b, '0', '9', 1, DIGITS));
    lar_expr *exponent =
        seq(b, lar__expr_chars(&b->r, e, 2, false),
            seq(b, lar__expr_repeat(&b->r, lar__expr_chars(&b->r, sign, 2, false), 0, 1),
                digits(b, '0', '9', 1, 2)));
    return seq(
        b, seq(b, minus, whole),
        seq(b, lar__expr_repeat(&b->r, fraction, 0, 1), lar__expr_repeat(&b->r, exponent, 0, 1)));
}

lar_expr *lar__json_numbers(lar_schema_build *b, const char *path, unsigned types, lar_bound lo,
                            lar_bound hi)
{
    const bool real = types & LAR_JSON_REAL;
    if (!lo.is_set && !hi.is_set)
        return unbounded(b, real);
    /* Beyond what is written here anyway: some digits are left for decimals. */
    const double far = real ? 999999999 : 999999999999999;
    if (lo.is_set && lo.v <= -1e15)
        lo = (lar_bound){true, false, -far};
    if (hi.is_set && hi.v >= 1e15)
        hi = (lar_bound){true, false, far};
    const int room = DIGITS - LAR_MAX(whole_digits(&lo), whole_digits(&hi));
    lar_expr *x = NULL;
    for (int d = 0; d <= (real ? LAR_MIN(room, (int)DECIMALS) : 0) && b->st == LAR_OK; d++) {
        lar_expr *more = with_decimals(b, path, lo, hi, (size_t)d);
        x = alt(b, x, more);
    }
    return b->st != LAR_OK ? NULL : x ? x : lar__expr_chars(&b->r, NULL, 0, false);
}
