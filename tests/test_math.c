/*
 * test_math.c - base/math.h: fma against whole numbers, the functions against long double, and the
 * promise that every machine and compiler gives the same bits.
 */
#include "base/math.h"
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

static float f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* a * b + c rounded once, in whole numbers: 'wide' holds the sum in units of the smallest bit, what
 * lies further below is one sticky bit. Finite, non-zero product and c only. */
static float slow_fma(float a, float b, float c)
{
    int ea, eb, ec;
    int64_t ma = (int64_t)ldexp(frexp(a, &ea), 24), mb = (int64_t)ldexp(frexp(b, &eb), 24);
    int64_t mc = (int64_t)ldexp(frexp(c, &ec), 24);
    __extension__ typedef __int128 wide;
    wide p = (wide)ma * mb, q = mc;
    int ep = ea + eb - 48;
    ec -= 24;
    p *= 4; /* room for sticky bits below either */
    ep -= 2;
    q *= 4;
    ec -= 2;
    while (ep > ec && p < (wide)1 << 120 && p > -((wide)1 << 120)) {
        p *= 2;
        ep--;
    }
    while (ec > ep && q < (wide)1 << 120 && q > -((wide)1 << 120)) {
        q *= 2;
        ec--;
    }
    bool sp = p < 0, sq = q < 0; /* magnitudes shift towards zero, what is lost sticks */
    wide ap = sp ? -p : p, aq = sq ? -q : q;
    while (ep < ec) {
        ap = ap >> 1 | (ap & 1);
        ep++;
    }
    while (ec < ep) {
        aq = aq >> 1 | (aq & 1);
        ec++;
    }
    wide sum = (sp ? -ap : ap) + (sq ? -aq : aq);
    bool neg = sum < 0;
    wide m = neg ? -sum : sum;
    if (m == 0)
        return 0;
    while (m >= (wide)1 << 24 || ep < -149) { /* keep 2 bits more, the lowest of them sticky */
        if (m < (wide)1 << 26 && ep >= -151)
            break;
        m = m >> 1 | (m & 1);
        ep++;
    }
    while (m < (wide)1 << 25 && ep > -151) {
        m *= 2;
        ep--;
    }
    int64_t r = (int64_t)(m >> 2), low = (int64_t)(m & 3);
    r += low == 3 || (low == 2 && (r & 1));
    double v = ldexp((double)r, ep + 2);
    float f = v >= 0x1p128 ? INFINITY : (float)v;
    return neg ? -f : f;
}

static void check_fma(float a, float b, float c)
{
    float got = lar_fma(a, b, c), want = slow_fma(a, b, c);
    if (got != want)
        fail_msg("fma(%a, %a, %a): found %a, want %a", (double)a, (double)b, (double)c, (double)got,
                 (double)want);
}

static void test_fma(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1500000; i++) {
        uint64_t r = lar_random(3, 2 * i), s = lar_random(3, 2 * i + 1);
        uint32_t a = (uint32_t)r, b = (uint32_t)(r >> 32), c = (uint32_t)s;
        if (i % 4) { /* exponents so close that the sum cancels or ties */
            int spread = i % 4 == 1 ? 4 : 30;
            int ea = (int)(a >> 23 & 255), eb = (int)(b >> 23 & 255);
            int ec = ea + eb - 127 + (int)(s >> 40) % spread - spread / 2;
            ec = ec < 0 ? 0 : ec > 254 ? 254 : ec;
            c = (c & 0x807FFFFFu) | (uint32_t)ec << 23;
        }
        if (i % 8 == 3) { /* few bits: exact ties */
            a &= 0xFFFFF000u;
            b &= 0xFFFFF800u;
        }
        float x = f32(a), y = f32(b), z = f32(c);
        if (isfinite(x) && isfinite(y) && isfinite(z) && x != 0 && y != 0 && z != 0)
            check_fma(x, y, z);
        if (isfinite(x) && isfinite(y) && x != 0 && y != 0 && isfinite(x * y) && x * y != 0)
            check_fma(x, y, -(x * y));
    }
    check_fma(0x1.fffffep127f, 0x1.fffffep127f, -0x1.fffffep127f);
    check_fma(0x1p-149f, 0x1p-149f, 0x1p-149f);
    check_fma(0x1p-149f, -0x1p-149f, 0x1p-149f);
    check_fma(0x1.8p-75f, 0x1p-75f, 0x1p-149f);

    const float inf = INFINITY, nan = f32(0x7FC00000);
    assert_true(lar_fma(inf, 2, 1) == inf && lar_fma(inf, -2, 1) == -inf);
    assert_true(lar_fma(2, 3, -inf) == -inf && lar_fma(inf, 1, inf) == inf);
    assert_true(isnan(lar_fma(inf, 0, 1)) && isnan(lar_fma(inf, 1, -inf)));
    assert_true(isnan(lar_fma(nan, 1, 1)) && isnan(lar_fma(1, nan, 1)) &&
                isnan(lar_fma(1, 1, nan)));
    assert_true(!signbit(lar_fma(0, 1, -0.0f)) && signbit(lar_fma(-0.0f, 1, -0.0f)));
    assert_true(!signbit(lar_fma(2, 3, -6)) && !signbit(lar_fma(-2, 3, 6)));
    assert_true(lar_fma(0, 5, 3) == 3 && lar_fma(2, 3, 0) == 6);
}

static double uniform(uint64_t i, double lo, double hi)
{
    return lo + (hi - lo) * ((double)(lar_random(4, i) >> 11) * 0x1p-53);
}

/* How far the C library's own sine can be the oracle: mingw's is the x87 instruction, which is
 * exact only near 0. The digest below pins our values everywhere. */
#ifdef __MINGW32__
#define FAR 4.0
#else
#define FAR 0x1p30
#endif

typedef struct math_case {
    const char *name;
    double (*ours)(double);
    long double (*theirs)(long double);
    double lo, hi;
} math_case;

/* |ours - theirs| in units of the last place of the true value. */
static double ulps(double got, long double want)
{
    int e;
    frexp((double)want, &e);
    return (double)(fabsl((long double)got - want) / ldexpl(1, LAR_MAX(e - 53, -1074)));
}

static void test_math(void **state)
{
    (void)state;
    static const math_case cases[] = {
        {"exp", lar_exp, expl, -1, 1},          {"exp", lar_exp, expl, -708, 709.7},
        {"ln", lar_ln, logl, 0.5, 2},           {"ln", lar_ln, logl, 0, 1e6},
        {"ln", lar_ln, logl, 0.99, 1.01},       {"ln", lar_ln, logl, 0, 1e-305},
        {"sin", lar_sin, sinl, -4, 4},          {"sin", lar_sin, sinl, -FAR, FAR},
        {"cos", lar_cos, cosl, -4, 4},          {"cos", lar_cos, cosl, -FAR, FAR},
        {"tanh", lar_tanh, tanhl, -1, 1},       {"tanh", lar_tanh, tanhl, -25, 25},
        {"tanh", lar_tanh, tanhl, -1e-3, 1e-3}, {"erf", lar_erf, erfl, -1, 1},
        {"erf", lar_erf, erfl, -6.5, 6.5},      {"erf", lar_erf, erfl, -1e-3, 1e-3}};
    /* Where long double is double, the oracle itself may be off by one. */
    double bound = LDBL_MANT_DIG > 53 ? 2 : 3;
    for (size_t k = 0; k < LAR_LEN(cases); k++)
        for (uint64_t i = 0; i < 20000; i++) {
            const math_case *c = &cases[k];
            double x = uniform(i + 100000 * k, c->lo, c->hi), got = c->ours(x);
            double u = ulps(got, c->theirs((long double)x));
            if (!(u < bound))
                fail_msg("%s(%a): found %a, which is off by %g ulp", c->name, x, got, u);
        }
    /* Next to multiples of pi/2 the reduction must keep relative accuracy. */
    for (int n = 1; n < 680000000; n += n < 1000 ? 1 : 99991) {
        double x = (double)(n * 1.57079632679489661923132169163975144L);
        if (FAR > 4 && x < FAR && LDBL_MANT_DIG > 53)
            if (!(ulps(lar_sin(x), sinl(x)) < bound && ulps(lar_cos(x), cosl(x)) < bound))
                fail_msg("sin or cos of %d pi/2: found %a, %a", n, lar_sin(x), lar_cos(x));
    }
}

static void test_pow(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 50000; i++) {
        double x = i & 1 ? uniform(i, 0.5, 2) : lar_exp(uniform(i, -200, 200));
        double y = uniform(i + 1000000, i & 1 ? -900 : -3, i & 1 ? 900 : 3);
        long double want = powl(x, y);
        double got = lar_pow(x, y);
        if (want > 1e-300L && want < 1e300L && !(fabsl(got / want - 1) < 1e-14L))
            fail_msg("pow(%a, %a): found %a, want %La", x, y, got, want);
    }
    assert_true(lar_pow(0, 2) == 0 && isinf(lar_pow(0, -1)) && lar_pow(0, 0) == 1);
    assert_true(lar_pow(1, NAN) == 1 && lar_pow(NAN, 0) == 1 && isnan(lar_pow(NAN, 1)));
    assert_true(lar_pow(INFINITY, -1) == 0 && isinf(lar_pow(INFINITY, 1)));
    assert_true(isinf(lar_pow(2, 1e300)) && lar_pow(2, -1e300) == 0 && lar_pow(0.5, INFINITY) == 0);
    assert_true(lar_pow(2, 10) == 1024 && lar_pow(10000, 0.5) == 100 && isnan(lar_pow(-1, 2)));
}

static void test_math_edges(void **state)
{
    (void)state;
    assert_true(lar_exp(0) == 1 && lar_exp(-INFINITY) == 0 && isinf(lar_exp(INFINITY)));
    assert_true(isinf(lar_exp(710)) && lar_exp(-746) == 0 && lar_exp(-745) == 0x1p-1074);
    assert_true(lar_exp(709.78) < INFINITY && isnan(lar_exp(NAN)));
    assert_true(lar_ln(1) == 0 && lar_ln(0) == -INFINITY && isnan(lar_ln(-1)));
    assert_true(isinf(lar_ln(INFINITY)) && isnan(lar_ln(NAN)));
    assert_true(lar_sin(0) == 0 && signbit(lar_sin(-0.0)) && lar_cos(0) == 1);
    assert_true(isnan(lar_sin(INFINITY)) && isnan(lar_cos(NAN)) && isnan(lar_sin(0x1p30)));
    assert_true(lar_tanh(INFINITY) == 1 && lar_tanh(-30) == -1 && signbit(lar_tanh(-0.0)));
    assert_true(isnan(lar_tanh(NAN)) && isnan(lar_erf(NAN)) && signbit(lar_erf(-0.0)));
    assert_true(lar_erf(INFINITY) == 1 && lar_erf(-7) == -1);
}

/* The same bits on every machine and compiler: a digest of many results. */
static void test_math_digest(void **state)
{
    (void)state;
    uint64_t h = 0;
    for (uint64_t i = 0; i < 5000; i++) {
        double x = uniform(i, -30, 30), a = fabs(x) + 1e-3;
        double v[] = {lar_exp(x),      lar_ln(a),      lar_sin(x * 1e5), lar_cos(x * 1e5),
                      lar_tanh(x / 8), lar_erf(x / 8), lar_pow(a, x),    0};
        v[7] = lar_fma((float)x, (float)a, (float)v[2]);
        for (size_t k = 0; k < LAR_LEN(v); k++) {
            uint64_t u;
            memcpy(&u, &v[k], sizeof u);
            h = lar_random(h, u);
        }
    }
    print_message("digest of the mathematics: %016llx\n", (unsigned long long)h);
    assert_true(h == 0x8674480C727D9EBEull);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fma), cmocka_unit_test(test_math), cmocka_unit_test(test_pow),
        cmocka_unit_test(test_math_edges), cmocka_unit_test(test_math_digest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
