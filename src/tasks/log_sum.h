/*
 * log_sum.h - what turns logits into probabilities: ln p(i) = x[i] - lar_log_sum(x). Depends on
 * base.
 */
#ifndef LAR_LOG_SUM_H
#define LAR_LOG_SUM_H
#include "base/base.h"

/* ln of the sum of e^x over n > 0 logits, in double; *top (unless NULL) is the first of the
 * largest. */
double lar_log_sum(const float *x, size_t n, size_t *top);

#endif
