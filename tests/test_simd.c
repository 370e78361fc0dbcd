/*
 * test_simd.c - base/simd.h: every variant that this processor can run gives the bits of the
 * generic one for every primitive, on random bit patterns and on the values where implementations
 * differ (signed zeros, subnormals, infinities, ties); exp, sigmoid and tanh against double.
 */
#include "base/math.h"
#include "device/cpu/cpu.h"
#include "ops/variants.h"
#include "simd/case.h"
#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

static uint64_t counter;
static uint32_t random32(void)
{
    return (uint32_t)(lar_random(11, counter++) >> 13);
}

static float random_float(void)
{
    static const float special[] = {
        0.0f,          -0.0f,          1.0f,     -1.0f,     1e-45f, -1e-45f, 1.17549435e-38f,
        3.4028235e38f, -3.4028235e38f, INFINITY, -INFINITY, 0.5f,   1.5f,    2.5f,
        -2.5f,         0.625f,         65504.0f, 65520.0f,  6e-8f,  88.722f, 88.723f,
        -87.336f,      -87.337f};
    uint32_t u = random32();
    float f;
    switch (random32() % 4) {
    case 0:
        return special[u % LAR_LEN(special)];
    case 1:
        return (float)(int32_t)u / (float)(1 << 28);
    case 2:
        return (float)(int32_t)u / (float)(1 << 24);
    default:
        memcpy(&f, &u, 4);
        return isnan(f) ? 1.0f : f;
    }
}

static bool same(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, 4) && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

static void compare(simd_case_fn *fn, const char *name)
{
    counter = 0;
    for (int rep = 0; rep < 20000; rep++) {
        simd_in in;
        simd_out want, got;
        for (int i = 0; i < 16; i++) {
            in.a[i] = random_float(), in.b[i] = random_float(), in.c[i] = random_float();
            in.half[i] = (uint16_t)random32();
            if ((in.half[i] & 0x7c00) == 0x7c00 || (in.half[i] & 0x7f80) == 0x7f80)
                in.half[i] &= 0x83ff;
            in.x[i] = (int8_t)((int)(random32() % 255) - 127);
            if (rep % 8 == 0)
                in.x[i] = i % 2 || rep % 16 ? 127 : -127;
            in.table[i] = (int8_t)random32();
        }
        for (size_t i = 0; i < sizeof in.rows; i++)
            in.rows[i] = rep % 8 ? (uint8_t)random32() : rep % 24 ? 0xff : 0x80;
        in.n = (int)(random32() % 17);
        simd_case__generic(&in, &want);
        fn(&in, &got);
        assert_int_equal(want.floats, SIMD_FLOATS);
        assert_int_equal(want.ints, SIMD_INTS);
        for (int i = 0; i < SIMD_FLOATS; i++)
            if (!same(want.f[i], got.f[i], 16))
                fail_msg("%s: float result %d differs", name, i);
        for (int i = 0; i < SIMD_INTS; i++)
            if (memcmp(want.i[i], got.i[i], sizeof want.i[i]))
                fail_msg("%s: integer result %d differs", name, i);
        assert_memory_equal(want.half, got.half, sizeof want.half);
        assert_memory_equal(want.bytes, got.bytes, sizeof want.bytes);
        assert_int_equal(want.isum, got.isum);
        assert_true(same(&want.sum, &got.sum, 1));
        assert_true(same(&want.max, &got.max, 1));
        assert_true(same(&want.dot, &got.dot, 1));
    }
}

static void test_variants_agree(void **state)
{
    (void)state;
    static simd_case_fn *const fn[] = {
#define VARIANT(name, when) simd_case__##name,
#include "ops/variants.def"
#undef VARIANT
    };
    lar_cpu_features f;
    lar_cpu_detect(&f);
    assert_int_equal(LAR_LEN(fn), lar_n_variants);
    for (int v = 0; v < lar_n_variants; v++)
        if (lar_variants[v]->usable(&f))
            compare(fn[v], lar_variants[v]->name);
}

static double ulps(float got, double want)
{
    const float near = (float)want;
    return fabs((double)got - want) / (double)(nextafterf(fabsf(near), INFINITY) - fabsf(near));
}

/* Positions in simd_out.f of the three functions. */
enum { EXP = 18, SIGMOID = 19, TANH = 20 };

static void test_accuracy(void **state)
{
    (void)state;
    simd_in in;
    simd_out out;
    double worst[3] = {0};
    memset(&in, 0, sizeof in);
    for (int rep = 0; rep < 20000; rep++) {
        for (int i = 0; i < 16; i++)
            in.a[i] = -87.3f + 176.0f * ((float)rep + (float)i / 16.0f) / 20000.0f;
        if (rep % 2)
            for (int i = 0; i < 16; i++)
                in.a[i] *= 0.02f;
        simd_case__generic(&in, &out);
        for (int i = 0; i < 16; i++) {
            const double x = (double)in.a[i];
            const double want[3] = {lar_exp(x), 1 / (1 + lar_exp(-x)), lar_tanh(x)};
            for (int f = 0; f < 3; f++)
                if (f != SIGMOID - EXP || x < 87.0)
                    worst[f] = fmax(worst[f], ulps(out.f[EXP + f][i], want[f]));
        }
    }
    if (worst[0] > 1.5 || worst[1] > 3 || worst[2] > 4)
        fail_msg("exp %.2f, sigmoid %.2f, tanh %.2f ulp", worst[0], worst[1], worst[2]);
}

static void test_edges(void **state)
{
    (void)state;
    simd_in in;
    simd_out out;
    memset(&in, 0, sizeof in);
    in.a[0] = -INFINITY, in.a[1] = INFINITY, in.a[2] = NAN, in.a[3] = -88.0f, in.a[4] = 89.0f;
    simd_case__generic(&in, &out);
    assert_true(out.f[EXP][0] == 0.0f && isinf(out.f[EXP][1]) && isnan(out.f[EXP][2]));
    assert_true(out.f[EXP][3] == 0.0f && isinf(out.f[EXP][4]) && out.f[EXP][5] == 1.0f);
    assert_true(out.f[SIGMOID][0] == 0.0f && out.f[SIGMOID][1] == 1.0f && isnan(out.f[SIGMOID][2]));
    assert_true(out.f[TANH][0] == -1.0f && out.f[TANH][1] == 1.0f && isnan(out.f[TANH][2]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants_agree),
        cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
