/*
 * math.c - exp, log, sin, cos, pow, tanh, erf and fma out of + - * / alone, so that every compiler
 * and machine gives the same bits (docs/NUMERICS.md). Series are Taylor's after range reduction
 * (Cody and Waite), unless said otherwise; their truncation lies below 2^-56 of the result. Needs
 * libc only.
 */
#include "base/math.h"
#include <string.h>

static double from_bits(uint64_t u)
{
    double d;
    memcpy(&d, &u, sizeof d);
    return d;
}

static uint64_t to_bits(double d)
{
    uint64_t u;
    memcpy(&u, &d, sizeof u);
    return u;
}

static double infinity(void)
{
    return from_bits(0x7FF0000000000000u);
}

static double not_a_number(void)
{
    return from_bits(0x7FF8000000000000u);
}

static double absolute(double x)
{
    return from_bits(to_bits(x) & 0x7FFFFFFFFFFFFFFFu);
}

/* To nearest even, |x| < 2^51: adding 1.5 * 2^52 leaves no room for a fraction. */
static double nearest(double x)
{
    return (x + 0x1.8p52) - 0x1.8p52;
}

/* c[0] + c[1] x + ... */
static double poly(double x, const double *c, int n)
{
    double s = c[n - 1];
    for (int i = n - 2; i >= 0; i--)
        s = s * x + c[i];
    return s;
}

/* a + b = *s + *e exactly (Knuth). */
static void two_sum(double a, double b, double *s, double *e)
{
    double t = a + b, bb = t - a;
    *e = (a - (t - bb)) + (b - bb);
    *s = t;
}

/* a * b = *p + *e exactly while nothing overflows or goes subnormal (Dekker, Veltkamp). */
static void two_product(double a, double b, double *p, double *e)
{
    double t = a * b;
    double ca = a * 0x1.0000002p27, ah = ca - (ca - a), al = a - ah;
    double cb = b * 0x1.0000002p27, bh = cb - (cb - b), bl = b - bh;
    *e = al * bl - (((t - ah * bh) - al * bh) - ah * bl);
    *p = t;
}

/* ---- fma ------------------------------------------------------------------------------------- */

float lar_fma(float a, float b, float c)
{
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    /* The product is exact in double. Its sum with c is rounded to odd, so that rounding once more,
     * to float, cannot meet a false tie (Boldo and Melquiond, 2008: it takes 2 spare bits; we have
     * 29). */
    double p = (double)a * (double)b, s, e;
    two_sum(p, (double)c, &s, &e);
    uint64_t u = to_bits(s);
    if (e != 0 && (u >> 52 & 0x7FF) != 0x7FF && !(u & 1)) /* a NaN in e: s is not finite */
        s = from_bits((e > 0) == (s > 0) ? u + 1 : u - 1);
    return (float)s;
#endif
}

/* ---- exp ------------------------------------------------------------------------------------- */

/* ln 2 in two parts; a small whole number times the first is exact. */
#define LN2_HI 0x1.62e42fefap-1
#define LN2_LO 0x1.cf79abc9e3b3ap-40

/* 1/2! ... 1/14! */
static const double exp_c[] = {0x1p-1,
                               0x1.5555555555555p-3,
                               0x1.5555555555555p-5,
                               0x1.1111111111111p-7,
                               0x1.6c16c16c16c17p-10,
                               0x1.a01a01a01a01ap-13,
                               0x1.a01a01a01a01ap-16,
                               0x1.71de3a556c734p-19,
                               0x1.27e4fb7789f5cp-22,
                               0x1.ae64567f544e4p-26,
                               0x1.1eed8eff8d898p-29,
                               0x1.6124613a86d09p-33,
                               0x1.93974a8c07c9dp-37};

static double pow2(int k) /* -1022 <= k <= 1023 */
{
    return from_bits((uint64_t)(k + 1023) << 52);
}

static double scale(double x, int k) /* -2000 <= k <= 2000 */
{
    if (k > 1023)
        return x * 0x1p1023 * pow2(k - 1023);
    if (k < -1022)
        return x * pow2(k + 1000) * 0x1p-1000;
    return x * pow2(k);
}

/* exp(x + lo) = 2^k (1 + r + q) with |r| < 0.35, q of the order of r^2. |x| < 1100. */
static int exp_reduce(double x, double lo, double *r, double *q)
{
    double k = nearest(x * 0x1.71547652b82fep+0);
    double hi = x - k * LN2_HI, sub = k * LN2_LO - lo;
    *r = hi - sub;
    *q = ((hi - *r) - sub) + *r * *r * poly(*r, exp_c, LAR_LEN(exp_c));
    return (int)k;
}

static double exp_of_sum(double x, double lo)
{
    double r, q;
    if (x > 1000)
        return infinity();
    if (x < -1000)
        return 0;
    int k = exp_reduce(x, lo, &r, &q);
    return scale(1 + (r + q), k);
}

double lar_exp(double x)
{
    return x != x ? x : exp_of_sum(x, 0);
}

/* ---- log ------------------------------------------------------------------------------------- */

/* 2/3, 2/5, ... 2/25 */
static const double log_c[] = {0x1.5555555555555p-1, 0x1.999999999999ap-2, 0x1.2492492492492p-2,
                               0x1.c71c71c71c71cp-3, 0x1.745d1745d1746p-3, 0x1.3b13b13b13b14p-3,
                               0x1.1111111111111p-3, 0x1.e1e1e1e1e1e1ep-4, 0x1.af286bca1af28p-4,
                               0x1.8618618618618p-4, 0x1.642c8590b2164p-4, 0x1.47ae147ae147bp-4};

/* x = 2^k m with m in [0.70, 1.42); x > 0 and finite. */
static int split(double x, double *m)
{
    int k = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        k = -54;
    }
    uint64_t u = to_bits(x), man = u & 0xFFFFFFFFFFFFFu;
    bool half = man >= 0x6A09E667F3BCDu; /* sqrt(2) */
    k += (int)(u >> 52) - 1023 + half;
    *m = from_bits(man | (half ? 0x3FEull : 0x3FFull) << 52);
    return k;
}

/* log(1+f) = 2s + s R(s^2) with s = f/(2+f); 2s = f - s f keeps f's bits. */
double lar_ln(double x)
{
    double m;
    if (x != x || x == infinity())
        return x;
    if (x <= 0)
        return x == 0 ? -infinity() : not_a_number();
    double k = split(x, &m), f = m - 1, s = f / (2 + f), z = s * s, half = 0.5 * f * f;
    double tail = s * (half + z * poly(z, log_c, LAR_LEN(log_c)));
    return k * LN2_HI - ((half - (tail + k * LN2_LO)) - f);
}

/* ---- pow ------------------------------------------------------------------------------------- */

/* log(x) as *hi + *lo, about 2^-60 of the result. */
static void log_pair(double x, double *hi, double *lo)
{
    double m, p, pe, e;
    double k = split(x, &m), f = m - 1, g = 2 + f, s = f / g, z = s * s;
    double g_lo = f - (g - 2); /* what the sum lost */
    two_product(s, g, &p, &pe);
    double s_lo = (((f - p) - pe) - s * g_lo) / g;
    two_sum(k * LN2_HI, 2 * s, &p, &e);
    e += 2 * s_lo + (k * LN2_LO + s * z * poly(z, log_c, LAR_LEN(log_c)));
    *hi = p + e;
    *lo = (p - *hi) + e;
}

double lar_pow(double x, double y)
{
    double hi, lo, p, e;
    if (y == 0 || x == 1)
        return 1;
    if (x != x || y != y || x < 0)
        return not_a_number();
    if (x == 0)
        return y > 0 ? 0 : infinity();
    if (x == infinity())
        return y > 0 ? infinity() : 0;
    log_pair(x, &hi, &lo);
    p = y * hi;
    if (p > 1000)
        return infinity();
    if (p < -1000)
        return 0;
    if (absolute(y) > 0x1p960 || absolute(y) < 0x1p-900)
        return exp_of_sum(
            p, 0); /* x is next to 1, or the result is; the exact product would overflow */
    two_product(y, hi, &p, &e);
    return exp_of_sum(p, e + y * lo);
}

/* ---- sin, cos -------------------------------------------------------------------------------- */

/* pi/2; all but the last have at most 23 bits, so that a whole number below 2^30 times them is
 * exact. */
static const double pio2[] = {0x1.921fb4p+0,  0x1.4442dp-24,  0x1.846988p-48,
                              0x1.8cc514p-72, 0x1.80dc1cp-95, 0x1.a252049c1114dp-120};

/* -1/3!, 1/5!, ... -1/19! */
static const double sin_c[] = {
    -0x1.5555555555555p-3,  0x1.1111111111111p-7,   -0x1.a01a01a01a01ap-13,
    0x1.71de3a556c734p-19,  -0x1.ae64567f544e4p-26, 0x1.6124613a86d09p-33,
    -0x1.ae7f3e733b81fp-41, 0x1.952c77030ad4ap-49,  -0x1.2f49b46814157p-57};

/* 1/4!, -1/6!, ... 1/20! */
static const double cos_c[] = {
    0x1.5555555555555p-5,   -0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-16,
    -0x1.27e4fb7789f5cp-22, 0x1.1eed8eff8d898p-29,  -0x1.93974a8c07c9dp-37,
    0x1.ae7f3e733b81fp-45,  -0x1.6827863b97d97p-53, 0x1.e542ba4020225p-62};

/* x = n pi/2 + *r + *lo with |r| < 0.79; gives n mod 4. */
static int reduce(double x, double *r, double *lo)
{
    double n = nearest(x * 0x1.45f306dc9c883p-1), hi = x, tail = 0, e;
    if (n != 0)
        for (size_t i = 0; i < LAR_LEN(pio2); i++) {
            two_sum(hi, -(n * pio2[i]), &hi, &e);
            tail += e;
            two_sum(hi, tail, &hi, &tail);
        }
    *r = hi;
    *lo = tail;
    return (int)((int64_t)n & 3);
}

static double sin_part(double r, double lo)
{
    double z = r * r;
    return r + (r * z * poly(z, sin_c, LAR_LEN(sin_c)) + lo * (1 - 0.5 * z));
}

static double cos_part(double r, double lo)
{
    double z = r * r, half = 0.5 * z, w = 1 - half;
    return w + (((1 - w) - half) + (z * z * poly(z, cos_c, LAR_LEN(cos_c)) - r * lo));
}

/* sin(x + quarter pi/2). Out of range is NaN: a wrong angle should not go unseen. */
static double sine(double x, int quarter)
{
    double r, lo;
    if (!(absolute(x) < 0x1p30))
        return not_a_number();
    int n = (reduce(x, &r, &lo) + quarter) & 3;
    double v = n & 1 ? cos_part(r, lo) : sin_part(r, lo);
    return n & 2 ? -v : v;
}

double lar_sin(double x)
{
    return absolute(x) < 0x1p-27 ? x : sine(x, 0);
}

double lar_cos(double x)
{
    return sine(x, 1);
}

/* ---- tanh, erf ------------------------------------------------------------------------------- */

/* tanh(x) = t / (t + 2) with t = exp(2x) - 1; a < 1, where a single t would cost two more
 * roundings. */
static double tanh_pair(double two_k, double r, double q)
{
    double t, e, d, de, p, pe;
    two_sum(two_k - 1, two_k * r, &t, &e);
    two_sum(t, e + two_k * q, &t, &e);
    two_sum(2, t, &d, &de);
    double z = t / d;
    two_product(z, d, &p, &pe);
    return z + (((t - p) - pe) + (e - z * (de + e))) / d;
}

double lar_tanh(double x)
{
    double a = absolute(x), r, q, v = 1;
    if (x != x || a < 0x1p-28)
        return x;
    if (a < 22) {
        double two_k = pow2(exp_reduce(2 * a, 0, &r, &q));
        v = a < 1 ? tanh_pair(two_k, r, q) : 1 - 2 / ((two_k - 1) + (two_k * r + two_k * q) + 2);
    }
    return x < 0 ? -v : v;
}

/* erf(x) = x + x (c[0] + c[1] x^2 + ...); c[0] = 2/sqrt(pi) - 1 */
static const double erf_c[] = {
    0x1.06eba8214db69p-3,  -0x1.812746b0379e7p-2,  0x1.ce2f21a042be2p-4,  -0x1.b82ce31288b51p-6,
    0x1.565bcd0e6a53fp-8,  -0x1.c02db40040b86p-11, 0x1.f9a326f9b89b7p-14, -0x1.f4d25c3e0c2ebp-17,
    0x1.b9e6c9dc651a3p-20, -0x1.5f742ec43e71ap-23, 0x1.fcc5720624c1cp-27, -0x1.51d7181c5d36dp-30,
    0x1.9e6ad5e55a73p-34,  -0x1.d8453cb0c46eap-38, 0x1.f683ae4a97007p-42, -0x1.f56f071a885cfp-46,
    0x1.d70b3537f4765p-50, -0x1.a2007af3447f6p-54};

/* erfc(x) = exp(-x^2) / (x + 2) * P((x - 2) / (x + 2)) for x in [0.84, 6.1], a Chebyshev fit */
static const double erfc_c[] = {
    0x1.058671b52c776p+0,   -0x1.5fd386754effbp-1,  0x1.1e2deea6b125fp-2,   -0x1.2a88e6107b8fdp-5,
    -0x1.606e4155929b7p-6,  0x1.a89eaff491d54p-8,   0x1.9517bc01033dfp-9,   -0x1.b6fbf61d48f8p-11,
    -0x1.5ba46a164463fp-11, 0x1.2051003db12b6p-15,  0x1.2f03b4be42349p-13,  0x1.1e8bd63b171aep-15,
    -0x1.6e1af440dd49dp-16, -0x1.0efa11f253292p-16, -0x1.551d10fd02f34p-21, 0x1.eb39adc06f317p-19,
    0x1.1e8b59d730875p-20};

double lar_erf(double x)
{
    double a = absolute(x);
    if (x != x)
        return x;
    if (a < 0.84)
        return x + x * poly(x * x, erf_c, LAR_LEN(erf_c));
    double v = 1;
    if (a < 6)
        v = 1 - lar_exp(-a * a) / (a + 2) * poly((a - 2) / (a + 2), erfc_c, LAR_LEN(erfc_c));
    return x < 0 ? -v : v;
}

#if defined(__SSE2__)
uint64_t lar_fp_enter(void)
{
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x1F80);
    return before;
}
void lar_fp_leave(uint64_t before)
{
    __builtin_ia32_ldmxcsr((unsigned)before);
}
#elif defined(__aarch64__)
uint64_t lar_fp_enter(void)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return before;
}
void lar_fp_leave(uint64_t before)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
}
#else
uint64_t lar_fp_enter(void)
{
    return 0;
}
void lar_fp_leave(uint64_t before)
{
    (void)before;
}
#endif
