/*
 * kernels.h - the kernels of a variant, and what format files share. Every build has the generic
 * ones; the others are found by the list of variants (ops/variants.h). Depends on quant/format.h.
 */
#ifndef LAR_KERNELS_H
#define LAR_KERNELS_H
#include "quant/format.h"

extern const lar_kernels lar_kernels__generic;

#endif
