/* variants.h - the kernel variants that this build holds, worst first. */
#ifndef LAR_VARIANTS_H
#define LAR_VARIANTS_H
#include "tensor/variant.h"
extern const lar_cpu_variant *const lar_variants[];
extern const int lar_n_variants;
#endif
