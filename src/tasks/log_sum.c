/* log_sum.c - see log_sum.h. */
#include "tasks/log_sum.h"
#include "base/math.h"

double lar_log_sum(const float *x, size_t n, size_t *top)
{
    size_t best = 0;
    double sum = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    const double m = (double)x[best];
    for (size_t i = 0; i < n; i++)
        if ((double)x[i] > m - 50) /* what is below adds less than the sum's rounding */
            sum += lar_exp((double)x[i] - m);
    if (top)
        *top = best;
    return m + lar_ln(sum);
}
