/*
 * kernels.h - the kernels of every variant that this build contains, and what format files share.
 * Depends on quant/format.h.
 */
#ifndef LAR_KERNELS_H
#define LAR_KERNELS_H
#include "quant/format.h"

extern const lar_kernels lar_kernels__generic;
#if defined(__x86_64__) || defined(_M_X64)
extern const lar_kernels lar_kernels__avx2;
extern const lar_kernels lar_kernels__avx512;
extern const lar_kernels lar_kernels__amx;
#elif defined(__aarch64__)
extern const lar_kernels lar_kernels__neon;
#endif

#endif
