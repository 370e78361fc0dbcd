/*
 * chart.h - a line chart as SVG: title, axes with round ticks, lines with a legend, an optional
 * band. Follows the reader's light or dark setting; needs no font or script. Depends on base.
 */
#ifndef LAR_CHART_H
#define LAR_CHART_H
#include "base/base.h"

typedef struct lar_line {
    const char *name;
    const double *x, *y;      /* [n], finite; x ascending */
    const double *low, *high; /* a band about the line, or NULL */
    size_t n;
} lar_line;

typedef struct lar_chart {
    const char *title, *x_label, *y_label;
    bool log_y; /* y > 0 */
    const lar_line *line;
    size_t n_lines; /* 1 to 6 */
} lar_chart;

void lar_chart_svg(const lar_chart *c, lar_buf *out);
/* Written aside and renamed. */
lar_status lar_chart_write(const lar_chart *c, const char *path, lar_err *e);

#endif
