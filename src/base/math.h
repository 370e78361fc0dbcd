/*
 * math.h - the same bits everywhere: no libm function whose result may differ between systems is
 * used by the engine. Only + - * / sqrt and fused multiply-add, which IEEE 754 defines, are built
 * upon. Compiled with -ffp-contract=off. Vector forms of the same functions: base/simd.h.
 */
#ifndef LAR_MATH_H
#define LAR_MATH_H
#include "base/base.h"

#if defined(__FAST_MATH__)
#error "-ffast-math changes answers: docs/NUMERICS.md"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "floats must be evaluated as floats (on 32-bit x86: -msse2 -mfpmath=sse): docs/NUMERICS.md"
#endif

/* The floating-point mode that answers are computed in: to nearest even, no flush to zero, no
 * traps. Whoever computes enters it and puts the caller's own back; the pool's workers are always
 * in it. */
uint64_t lar_fp_enter(void);
void lar_fp_leave(uint64_t before);

/* fma(a, b, c) rounded once, without trusting libm's (mingw's is wrong in a quarter of random
 * cases). */
float lar_fma(float a, float b, float c);

/* In double; relative error below 2 ulp (pow: 1e-14) over the range that models use. */
double lar_exp(double x);
double lar_ln(double x);  /* x > 0 (lar_log is the sink in base.h) */
double lar_sin(double x); /* |x| < 2^30 */
double lar_cos(double x);
double lar_pow(double x, double y); /* x > 0 */
double lar_tanh(double x);
double lar_erf(double x);

#endif
