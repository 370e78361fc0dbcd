/* chart.c - see chart.h. */
#include "tasks/chart.h"
#include "base/math.h"
#include "base/os.h"
#include <math.h>

enum { WIDTH = 760, HEIGHT = 420, LEFT = 78, RIGHT = 20, TOP = 44, BOTTOM = 56 };
static const char *const colours[] = {"#2563eb", "#d97706", "#059669",
                                      "#dc2626", "#7c3aed", "#0891b2"};

typedef struct axis {
    double min, max, step;
    bool log;
} axis;

static double scale(const axis *a, double v)
{
    if (a->log)
        v = lar_ln(v) / 2.302585092994046;
    return (v - a->min) / (a->max - a->min);
}

/* 1, 2 or 5 times a power of ten, for about five steps. */
static double round_step(double range)
{
    double p = 1, r = range / 5;
    while (p > r)
        p /= 10;
    while (p * 10 <= r)
        p *= 10;
    return r >= 5 * p ? 10 * p : r >= 2 * p ? 5 * p : r > p ? 2 * p : p;
}

static double down(double v, double step)
{
    return floor(v / step) * step;
}

static axis make_axis(double min, double max, bool log)
{
    axis a = {.log = log};
    if (log) {
        min = lar_ln(min) / 2.302585092994046;
        max = lar_ln(max) / 2.302585092994046;
    }
    if (!(max > min)) {
        min -= log ? 0.5 : fabs(min) * 0.1 + 0.5;
        max += log ? 0.5 : fabs(max) * 0.1 + 0.5;
    }
    a.step = log ? LAR_MAX(1.0, round_step(max - min)) : round_step(max - min);
    a.min = down(min, a.step);
    a.max = down(max, a.step);
    a.max += a.max < max ? a.step : 0;
    return a;
}

static double px(const axis *a, double v)
{
    return LEFT + scale(a, v) * (WIDTH - LEFT - RIGHT);
}
static double py(const axis *a, double v)
{
    return HEIGHT - BOTTOM - scale(a, v) * (HEIGHT - TOP - BOTTOM);
}

static void escaped(lar_buf *b, const char *s)
{
    for (; *s; s++)
        switch (*s) {
        case '<':
            lar_buf_puts(b, "&lt;");
            break;
        case '>':
            lar_buf_puts(b, "&gt;");
            break;
        case '&':
            lar_buf_puts(b, "&amp;");
            break;
        case '"':
            lar_buf_puts(b, "&quot;");
            break;
        default:
            lar_buf_putc(b, *s);
        }
}

static void text(lar_buf *b, double x, double y, const char *how, const char *s)
{
    lar_buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, how);
    escaped(b, s);
    lar_buf_puts(b, "</text>\n");
}

static void grid(const axis *x, const axis *y, lar_buf *b)
{
    for (double v = y->min; v <= y->max + y->step / 2; v += y->step) {
        const double value = y->log ? lar_pow(10, v) : v, at = py(y, value);
        lar_buf_printf(b, "<path class=\"g\" d=\"M%d %.1fH%d\"/>", LEFT, at, WIDTH - RIGHT);
        lar_buf_printf(b, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", LEFT - 8,
                       at + 4, fabs(value) < y->step * 1e-9 ? 0 : value);
    }
    for (double v = x->min; v <= x->max + x->step / 2; v += x->step)
        lar_buf_printf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g</text>\n",
                       px(x, v), HEIGHT - BOTTOM + 20, fabs(v) < x->step * 1e-9 ? 0 : v);
}

static void band(const lar_line *l, const axis *x, const axis *y, const char *colour, lar_buf *b)
{
    lar_buf_printf(b, "<path fill=\"%s\" fill-opacity=\"0.15\" d=\"", colour);
    for (size_t i = 0; i < l->n; i++)
        lar_buf_printf(b, "%c%.1f %.1f", i ? 'L' : 'M', px(x, l->x[i]), py(y, l->high[i]));
    for (size_t i = l->n; i-- > 0;)
        lar_buf_printf(b, "L%.1f %.1f", px(x, l->x[i]), py(y, l->low[i]));
    lar_buf_puts(b, "Z\"/>\n");
}

static void line(const lar_line *l, const axis *x, const axis *y, const char *colour, lar_buf *b)
{
    lar_buf_printf(b, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\" d=\"", colour);
    for (size_t i = 0; i < l->n; i++)
        lar_buf_printf(b, "%c%.1f %.1f", i ? 'L' : 'M', px(x, l->x[i]), py(y, l->y[i]));
    lar_buf_puts(b, "\"/>\n");
}

static void legend(const lar_chart *c, lar_buf *b)
{
    for (size_t i = 0; i < c->n_lines && c->n_lines > 1; i++) {
        const int y = TOP + 16 + 18 * (int)i;
        lar_buf_printf(b, "<path stroke=\"%s\" stroke-width=\"3\" d=\"M%d %dh18\"/>",
                       colours[i % LAR_LEN(colours)], WIDTH - RIGHT - 180, y - 4);
        text(b, WIDTH - RIGHT - 156, y, "", c->line[i].name);
    }
}

void lar_chart_svg(const lar_chart *c, lar_buf *b)
{
    double x0 = 0, x1 = 1, y0 = 0, y1 = 1;
    bool any = false;
    for (size_t i = 0; i < c->n_lines; i++)
        for (size_t k = 0; k < c->line[i].n; k++) {
            const lar_line *l = &c->line[i];
            const double lo = l->low ? l->low[k] : l->y[k], hi = l->high ? l->high[k] : l->y[k];
            x0 = any ? LAR_MIN(x0, l->x[k]) : l->x[k];
            x1 = any ? LAR_MAX(x1, l->x[k]) : l->x[k];
            y0 = any ? LAR_MIN(y0, lo) : lo;
            y1 = any ? LAR_MAX(y1, hi) : hi;
            any = true;
        }
    const axis x = make_axis(x0, x1, false);
    const axis y = make_axis(y0, y1, c->log_y && y0 > 0);
    lar_buf_printf(b,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
                   "height=\"%d\" role=\"img\" font-family=\"system-ui,sans-serif\" "
                   "font-size=\"12\">\n",
                   WIDTH, HEIGHT, WIDTH, HEIGHT);
    lar_buf_puts(b, "<style>text{fill:#333}.g{stroke:#ccc}.b{fill:#fff}"
                    "@media(prefers-color-scheme:dark){text{fill:#ddd}.g{stroke:#444}"
                    ".b{fill:#181818}}</style>\n<rect class=\"b\" width=\"100%\" "
                    "height=\"100%\"/>\n");
    text(b, LEFT, 26, "font-size=\"15\" font-weight=\"600\"", c->title);
    text(b, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 14, "text-anchor=\"middle\"", c->x_label);
    lar_buf_printf(b, "<g transform=\"rotate(-90 18 %d)\">", (TOP + HEIGHT - BOTTOM) / 2);
    text(b, 18, (TOP + HEIGHT - BOTTOM) / 2.0, "text-anchor=\"middle\"", c->y_label);
    lar_buf_puts(b, "</g>\n");
    grid(&x, &y, b);
    for (size_t i = 0; i < c->n_lines; i++)
        if (c->line[i].low && c->line[i].high && c->line[i].n)
            band(&c->line[i], &x, &y, colours[i % LAR_LEN(colours)], b);
    for (size_t i = 0; i < c->n_lines; i++)
        if (c->line[i].n)
            line(&c->line[i], &x, &y, colours[i % LAR_LEN(colours)], b);
    legend(c, b);
    lar_buf_puts(b, "</svg>\n");
}

lar_status lar_chart_write(const lar_chart *c, const char *path, lar_err *e)
{
    lar_buf b = {0};
    lar_file *f = NULL;
    lar_chart_svg(c, &b);
    lar_status s =
        b.oom ? lar_fail(e, LAR_ENOMEM, "%s: out of memory", path) : lar_file_create(path, &f, e);
    if (s == LAR_OK) {
        s = lar_file_write(f, b.p, b.n, e);
        if (s == LAR_OK)
            s = lar_file_commit(f, e);
        else
            lar_file_abort(f);
    }
    lar_buf_free(&b);
    return s;
}
