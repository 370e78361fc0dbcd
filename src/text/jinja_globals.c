/*
 * jinja_globals.c - the functions that every template has: range, dict, namespace, raise_exception,
 * strftime_now, cycler, joiner. Depends on jinja.h.
 */
#include "text/jinja.h"
#include <string.h>
#include <time.h>

/* Positional arguments only. */
static bool plain(jr *r, const char *what, const jargs *a, size_t min, size_t max, jv *out)
{
    static const char *const none[4] = {NULL, NULL, NULL, NULL};
    return lar__jbind(r, what, a, none, min, max, out);
}

static bool want_str(jr *r, const char *what, jv v, const jstr **s)
{
    *s = NULL;
    if (v.t != JV_STR)
        return lar__jfail(r, "%s: found a %s, want a string", what, lar__jtype_name[v.t]);
    *s = v.u.s;
    return true;
}

static bool g_range(jr *r, jv self, const jargs *a, jv *out)
{
    jv v[3];
    int64_t n[3] = {0, 0, 1};
    (void)self;
    if (!plain(r, "range", a, 1, 3, v))
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!lar__jv_as_int(r, v[i], "range", &n[a->n == 1 ? 1 : i]))
            return false;
    if (n[2] == 0)
        return lar__jfail(r, "range: step must not be zero");
    uint64_t count = 0;
    if (n[2] > 0 ? n[0] < n[1] : n[0] > n[1]) {
        uint64_t by = n[2] > 0 ? (uint64_t)n[2] : 0 - (uint64_t)n[2];
        uint64_t gap = n[2] > 0 ? (uint64_t)n[1] - (uint64_t)n[0] : (uint64_t)n[0] - (uint64_t)n[1];
        count = (gap - 1) / by + 1;
    }
    if (count > JINJA_MAX_RANGE)
        return lar__jfail(r, "range of %llu items, want at most %d", (unsigned long long)count,
                          JINJA_MAX_RANGE);
    jrange *g = lar__jalloc(r, sizeof *g);
    if (!g)
        return false;
    *g = (jrange){n[0], n[1], n[2], (size_t)count};
    *out = (jv){.t = JV_RANGE, .u.range = g};
    return true;
}

/* dict(mapping or pairs, **named) into d */
static bool fill_dict(jr *r, const char *what, const jargs *a, jdict *d)
{
    if (a->n > 1)
        return lar__jfail(r, "%s: found %zu arguments, want at most one", what, a->n);
    if (a->n && a->v[0].t == JV_DICT) {
        const jdict *s = a->v[0].u.d;
        for (size_t i = 0; i < s->n; i++)
            if (!lar__jdict_set(r, d, s->e[i].key, s->e[i].val))
                return false;
    } else if (a->n) {
        jiter it;
        jv v, pair;
        bool done;
        if (!lar__jiter_init(r, a->v[0], &it))
            return false;
        for (;;) {
            if (!lar__jiter_next(r, &it, &v, &done))
                return false;
            if (done)
                break;
            if (!lar__jv_to_list(r, v, &pair))
                return false;
            if (pair.u.l->n != 2)
                return lar__jfail(r, "%s: an element has length %zu, want 2", what, pair.u.l->n);
            if (!lar__jdict_set(r, d, pair.u.l->v[0], pair.u.l->v[1]))
                return false;
        }
    }
    for (size_t i = 0; i < a->n_named; i++)
        if (!lar__jdict_set(r, d, (jv){.t = JV_STR, .u.s = a->name[i]}, a->named[i]))
            return false;
    return true;
}

static bool g_dict(jr *r, jv self, const jargs *a, jv *out)
{
    (void)self;
    return lar__jv_dict(r, out) && fill_dict(r, "dict", a, out->u.d);
}

static bool g_namespace(jr *r, jv self, const jargs *a, jv *out)
{
    (void)self;
    if (!lar__jv_dict(r, out) || !fill_dict(r, "namespace", a, out->u.d))
        return false;
    out->t = JV_NS;
    for (size_t i = 0; i < out->u.d->n; i++) {
        jv k = out->u.d->e[i].key;
        if (k.t == JV_STR && k.u.s->n && k.u.s->p[0] == '_')
            return lar__jfail(r, "a namespace cannot store '%.*s': it begins with an underscore",
                              (int)LAR_MIN(k.u.s->n, 60u), k.u.s->p);
    }
    return true;
}

static bool g_cycler(jr *r, jv self, const jargs *a, jv *out)
{
    (void)self;
    if (!a->n || a->n_named)
        return lar__jfail(r, "cycler: at least one item has to be provided");
    jcycler *c = lar__jalloc(r, sizeof *c);
    if (!c)
        return false;
    *c = (jcycler){a->v, a->n, 0, false};
    *out = (jv){.t = JV_CYCLER, .u.cycler = c};
    return true;
}

static bool g_joiner(jr *r, jv self, const jargs *a, jv *out)
{
    static const char *const names[] = {"sep"};
    jv v[1];
    (void)self;
    jcycler *c = lar__jalloc(r, sizeof *c);
    jv *two = lar__jalloc_array(r, 2, sizeof *two);
    if (!c || !two || !lar__jbind(r, "joiner", a, names, 0, 1, v) || !lar__jv_z(r, ", ", &two[0]) ||
        !lar__jv_z(r, "", &two[1]))
        return false;
    if (v[0].t != JV_MISSING)
        two[0] = v[0];
    *c = (jcycler){two, 2, 0, false};
    *out = (jv){.t = JV_JOINER, .u.cycler = c};
    return true;
}

static bool g_raise(jr *r, jv self, const jargs *a, jv *out)
{
    static const char *const names[] = {"message"};
    jv v[1];
    const jstr *s = NULL;
    (void)self;
    (void)out;
    if (!lar__jbind(r, "raise_exception", a, names, 1, 1, v) || !lar__jv_str(r, v[0], &s))
        return false;
    size_t n = LAR_MIN(s->n, 380u);
    n -= lar_utf8_incomplete(s->p, n); /* a message ends with a whole character */
    return lar__jfail(r, "%.*s", (int)n, s->p);
}

static bool g_lipsum(jr *r, jv self, const jargs *a, jv *out)
{
    (void)self;
    (void)a;
    (void)out;
    return lar__jfail(r, "lipsum is random: not supported, a prompt depends on its input alone");
}

/* ---- strftime_now -------------------------------------------------------------------------- */

static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};

/* The proleptic Gregorian calendar (days from civil, H. Hinnant's algorithm); the C library's
 * gmtime is not the same everywhere, and its strftime follows the locale. */
static void civil(int64_t now, struct tm *t)
{
    int64_t day = now / 86400, sec = now % 86400;
    if (sec < 0) {
        sec += 86400;
        day--;
    }
    int64_t z = day + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 2 : mp - 10, year = yoe + era * 400 + (month < 2);
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    memset(t, 0, sizeof *t);
    t->tm_sec = (int)(sec % 60);
    t->tm_min = (int)(sec / 60 % 60);
    t->tm_hour = (int)(sec / 3600);
    t->tm_mday = (int)(doy - (153 * mp + 2) / 5 + 1);
    t->tm_mon = (int)month;
    t->tm_year = (int)year;
    t->tm_wday = (int)(((day + 4) % 7 + 7) % 7);
    t->tm_yday = before[month] + t->tm_mday - 1 + (leap && month > 1);
}

/* ISO 8601 week number and its year */
static int iso_week(const struct tm *t, int *year)
{
    int wday = (t->tm_wday + 6) % 7, week = (t->tm_yday - wday + 10) / 7;
    *year = t->tm_year;
    if (week < 1) {
        int y = t->tm_year - 1;
        bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
        week = (t->tm_yday + (leap ? 366 : 365) - wday + 10) / 7;
        *year = y;
    } else if (week == 53) {
        bool leap = (t->tm_year % 4 == 0 && t->tm_year % 100 != 0) || t->tm_year % 400 == 0;
        if (t->tm_yday - wday + 3 >= (leap ? 366 : 365)) {
            week = 1;
            *year = t->tm_year + 1;
        }
    }
    return week;
}

static void put_num(lar_buf *b, int v, int width, char flag)
{
    if (flag == '-')
        lar_buf_printf(b, "%d", v);
    else if (flag == '_')
        lar_buf_printf(b, "%*d", width, v);
    else
        lar_buf_printf(b, "%0*d", width, v);
}

/* names, and what is made of several parts */
static void put_time_text(lar_buf *b, const struct tm *t, int64_t now, char ch, char flag)
{
    int h12 = t->tm_hour % 12 ? t->tm_hour % 12 : 12;
    switch (ch) {
    case 's':
        lar_buf_printf(b, "%lld", (long long)now);
        break;
    case 'a':
        lar_buf_printf(b, "%.3s", days[t->tm_wday]);
        break;
    case 'A':
        lar_buf_puts(b, days[t->tm_wday]);
        break;
    case 'b':
    case 'h':
        lar_buf_printf(b, "%.3s", months[t->tm_mon]);
        break;
    case 'B':
        lar_buf_puts(b, months[t->tm_mon]);
        break;
    case 'p':
        lar_buf_puts(b, t->tm_hour < 12 ? "AM" : "PM");
        break;
    case 'P':
        lar_buf_puts(b, t->tm_hour < 12 ? "am" : "pm");
        break;
    case 'n':
        lar_buf_putc(b, '\n');
        break;
    case 't':
        lar_buf_putc(b, '\t');
        break;
    case '%':
        lar_buf_putc(b, '%');
        break;
    case 'z':
    case 'Z':
        break; /* a naive time of Python has no zone */
    case 'c':
        lar_buf_printf(b, "%.3s %.3s %2d %02d:%02d:%02d %d", days[t->tm_wday], months[t->tm_mon],
                       t->tm_mday, t->tm_hour, t->tm_min, t->tm_sec, t->tm_year);
        break;
    case 'D':
    case 'x':
        lar_buf_printf(b, "%02d/%02d/%02d", t->tm_mon + 1, t->tm_mday, t->tm_year % 100);
        break;
    case 'F':
        lar_buf_printf(b, "%d-%02d-%02d", t->tm_year, t->tm_mon + 1, t->tm_mday);
        break;
    case 'T':
    case 'X':
        lar_buf_printf(b, "%02d:%02d:%02d", t->tm_hour, t->tm_min, t->tm_sec);
        break;
    case 'R':
        lar_buf_printf(b, "%02d:%02d", t->tm_hour, t->tm_min);
        break;
    case 'r':
        lar_buf_printf(b, "%02d:%02d:%02d %s", h12, t->tm_min, t->tm_sec,
                       t->tm_hour < 12 ? "AM" : "PM");
        break;
    default: /* as glibc: what it does not know stays */
        lar_buf_putc(b, '%');
        if (flag)
            lar_buf_putc(b, flag);
        lar_buf_putc(b, ch);
    }
}

static void put_time(lar_buf *b, const struct tm *t, int64_t now, char ch, char flag)
{
    int h12 = t->tm_hour % 12 ? t->tm_hour % 12 : 12, iso_year, week = iso_week(t, &iso_year);
    char pad0 = flag ? flag : '0';
    switch (ch) {
    case 'Y':
        put_num(b, t->tm_year, 1, pad0);
        break;
    case 'y':
        put_num(b, t->tm_year % 100, 2, pad0);
        break;
    case 'C':
        put_num(b, t->tm_year / 100, 2, pad0);
        break;
    case 'G':
        put_num(b, iso_year, 1, pad0);
        break;
    case 'g':
        put_num(b, iso_year % 100, 2, pad0);
        break;
    case 'm':
        put_num(b, t->tm_mon + 1, 2, pad0);
        break;
    case 'd':
        put_num(b, t->tm_mday, 2, pad0);
        break;
    case 'e':
        put_num(b, t->tm_mday, 2, flag ? flag : '_');
        break;
    case 'H':
        put_num(b, t->tm_hour, 2, pad0);
        break;
    case 'k':
        put_num(b, t->tm_hour, 2, flag ? flag : '_');
        break;
    case 'I':
        put_num(b, h12, 2, pad0);
        break;
    case 'l':
        put_num(b, h12, 2, flag ? flag : '_');
        break;
    case 'M':
        put_num(b, t->tm_min, 2, pad0);
        break;
    case 'S':
        put_num(b, t->tm_sec, 2, pad0);
        break;
    case 'j':
        put_num(b, t->tm_yday + 1, 3, pad0);
        break;
    case 'V':
        put_num(b, week, 2, pad0);
        break;
    case 'U':
        put_num(b, (t->tm_yday + 7 - t->tm_wday) / 7, 2, pad0);
        break;
    case 'W':
        put_num(b, (t->tm_yday + 7 - (t->tm_wday + 6) % 7) / 7, 2, pad0);
        break;
    case 'u':
        put_num(b, t->tm_wday ? t->tm_wday : 7, 1, pad0);
        break;
    case 'w':
        put_num(b, t->tm_wday, 1, pad0);
        break;
    case 'f':
        lar_buf_puts(b, "000000");
        break;
    default:
        put_time_text(b, t, now, ch, flag);
    }
}

static bool g_strftime(jr *r, jv self, const jargs *a, jv *out)
{
    static const char *const names[] = {"format"};
    const int64_t limit = (int64_t)1 << 37; /* years below 10,000 */
    jv v[1];
    const jstr *s = NULL;
    lar_buf b = {0};
    struct tm t;
    (void)self;
    if (!lar__jbind(r, "strftime_now", a, names, 1, 1, v) ||
        !want_str(r, "strftime_now", v[0], &s) || !lar__jstep(r, s->n))
        return false;
    civil(LAR_MIN(LAR_MAX(r->now, -limit), limit), &t);
    for (size_t i = 0; i < s->n; i++) {
        char flag = 0;
        if (s->p[i] != '%' || i + 1 == s->n) {
            lar_buf_putc(&b, s->p[i]);
            continue;
        }
        i++;
        if ((s->p[i] == '-' || s->p[i] == '_' || s->p[i] == '0') && i + 1 < s->n)
            flag = s->p[i++];
        put_time(&b, &t, r->now, s->p[i], flag);
    }
    return lar__jv_buf(r, &b, false, out);
}

static const jfunc_def globals[] = {{"range", g_range},
                                    {"dict", g_dict},
                                    {"namespace", g_namespace},
                                    {"raise_exception", g_raise},
                                    {"strftime_now", g_strftime},
                                    {"cycler", g_cycler},
                                    {"joiner", g_joiner},
                                    {"lipsum", g_lipsum},
                                    {NULL, NULL}};

const jfunc_def *lar__jglobal(const char *p, size_t n)
{
    return lar__jdef_find(globals, p, n);
}

bool lar__jis_dict_class(const jfunc_def *f)
{
    return f->fn == g_dict;
}
