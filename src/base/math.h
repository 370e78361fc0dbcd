/*
 * math.h - the same bits everywhere: no libm function whose result may differ between systems is
 * used by the engine. Only + - * / sqrt and fused multiply-add, which IEEE 754 defines, are built
 * upon. Compiled with -ffp-contract=off. Vector forms of the same functions: base/simd.h.
 */
#ifndef LAR_MATH_H
#define LAR_MATH_H
#include "base/base.h"

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
