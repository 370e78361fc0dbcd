/*
 * test_quant.c - block formats: dequantization against goldens (tests/data/quants), quantizers
 * against gguf.quants, and every dot product of every variant that this processor can run against
 * the definition in quant/format.h, spelled out here output by output: bit for bit, so all
 * variants, numbers of columns and groupings agree with each other.
 */
#include "base/math.h"
#include "device/cpu/cpu.h"
#include "ops/variants.h"
#include "quant/kernels.h"
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The kernels of the i-th variant that this processor can run, generic first; NULL at the end. */
static const lar_kernels *variant(int i)
{
    lar_cpu_features f;
    lar_cpu_detect(&f);
    for (int v = 0; v < lar_n_variants; v++)
        if (lar_variants[v]->usable(&f) && i-- == 0)
            return lar_variants[v]->kernels;
    return NULL;
}

/* ---- files
 * --------------------------------------------------------------------------------------- */

static uint8_t *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing; run the tests from the repository's root", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = malloc(*n);
    assert_non_null(p);
    assert_int_equal(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

static void test_dequantize_goldens(void **state)
{
    (void)state;
    int seen = 0;
    for (int t = 0; t < LAR_N_DTYPES; t++) {
        const lar_dtype *type = &lar_dtypes[t];
        if (!lar_kernels__generic.formats[t] || t == LAR_DT_f32)
            continue;
        char path[64] = "tests/data/quants/";
        size_t at = strlen(path), size;
        for (const char *s = type->name; *s; s++)
            path[at++] = (char)(*s >= 'a' && *s <= 'z' ? *s - 32 : *s);
        memcpy(path + at, ".bin", 5);
        uint8_t *file = slurp(path, &size);
        const size_t blocks = size / (type->bytes + 4 * type->block), n = blocks * type->block;
        assert_int_equal(size, blocks * type->bytes + 4 * n);
        assert_true(blocks >= 8);
        float *out = malloc(4 * n);
        uint8_t *in = malloc(blocks * type->bytes + 1); /* at an odd address */
        memcpy(in + 1, file, blocks * type->bytes);
        const uint8_t *src = type->block == 1 ? file : in + 1;
        for (int v = 0; variant(v); v++) {
            memset(out, 0xff, 4 * n);
            variant(v)->formats[t]->to_f32(src, out, (int64_t)n);
            assert_memory_equal(out, file + blocks * type->bytes, 4 * n);
        }
        free(in);
        free(out);
        free(file);
        seen++;
    }
    assert_int_equal(seen, 24);
}

static void test_quantize_goldens(void **state)
{
    (void)state;
    static const int types[] = {LAR_DT_q4_0, LAR_DT_q4_1, LAR_DT_q5_0, LAR_DT_q5_1, LAR_DT_q8_0};
    size_t size, at = 0;
    uint8_t *file = slurp("tests/data/quants/quantize.bin", &size);
    for (size_t i = 0; i < LAR_LEN(types); i++) {
        const size_t bytes = 16 * lar_dtypes[types[i]].bytes;
        float x[16 * 32];
        uint8_t out[16 * 64];
        memcpy(x, file + at, sizeof x);
        at += sizeof x;
        for (int v = 0; variant(v); v++) {
            variant(v)->formats[types[i]]->from_f32(x, out, 16 * 32);
            assert_memory_equal(out, file + at, bytes);
        }
        at += bytes;
    }
    assert_int_equal(at, size);
    free(file);
}

/* Weights that no block can hold end in some block, without undefined behaviour (UBSan watches). */
static void test_quantize_strange(void **state)
{
    (void)state;
    static const float strange[] = {INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, -0.0f};
    int seen = 0;
    for (int v = 0; variant(v); v++)
        for (int t = 0; t < LAR_N_DTYPES; t++) {
            const lar_format *f = variant(v)->formats[t];
            if (!f || !f->from_f32)
                continue;
            float x[256];
            uint8_t out[1100], again[1100];
            const int k = LAR_MAX(32, (int)f->type->block);
            for (int i = 0; i < k; i++)
                x[i] = i % 32 == 31 ? NAN : strange[i % 6];
            memset(out, 1, sizeof out);
            memset(again, 2, sizeof again);
            f->from_f32(x, out, k);
            lar_kernels__generic.formats[t]->from_f32(x, again, k);
            const size_t n = lar_row_bytes(f->type, k);
            assert_memory_equal(out, again, n);
            assert_int_equal(out[n], 1);
            seen++;
        }
    assert_true(seen >= 8);
}

/* The searching quantizers: every variant gives the generic one's bytes; the error is near what the
 * number of bits allows; importance lowers the error where it lies; zeros stay zeros. */
static void test_search(void **state)
{
    (void)state;
    enum { N = 3 * 256 };
    static const struct {
        int type;
        double most; /* root mean square error by the weights' own */
    } cases[] = {{LAR_DT_q2_k, 0.35},    {LAR_DT_q3_k, 0.17},    {LAR_DT_q4_k, 0.085},
                 {LAR_DT_q5_k, 0.043},   {LAR_DT_q6_k, 0.021},   {LAR_DT_q4_0, 0.1},
                 {LAR_DT_q4_1, 0.09},    {LAR_DT_q5_0, 0.05},    {LAR_DT_q5_1, 0.045},
                 {LAR_DT_iq4_nl, 0.085}, {LAR_DT_iq4_xs, 0.085}, {LAR_DT_mxfp4, 0.12},
                 {LAR_DT_iq3_s, 0.2},    {LAR_DT_iq3_xxs, 0.22}, {LAR_DT_iq2_s, 0.31},
                 {LAR_DT_iq2_xs, 0.35},  {LAR_DT_iq2_xxs, 0.4},  {LAR_DT_iq1_s, 0.6},
                 {LAR_DT_iq1_m, 0.6},    {LAR_DT_tq1_0, 0.5},    {LAR_DT_tq2_0, 0.5}};
    float x[N], importance[N], y[N];
    uint8_t out[N * 4], again[N * 4];
    for (int i = 0; i < N; i++) {
        double u = 0;
        for (uint64_t j = 0; j < 12; j++)
            u += (double)(lar_random(3, (uint64_t)i * 12 + j) >> 11) * 0x1p-53;
        x[i] = (float)(u - 6);
        importance[i] = i % 16 < 4 ? 100.0f : 1.0f;
    }
    for (size_t c = 0; c < LAR_LEN(cases); c++) {
        const int t = cases[c].type;
        const lar_format *g = lar_kernels__generic.formats[t];
        double err[2], there[2], all = 0;
        for (int way = 0; way < 2; way++) {
            g->quantize(x, way ? importance : NULL, out, N);
            for (int v = 0; variant(v); v++) {
                variant(v)->formats[t]->quantize(x, way ? importance : NULL, again, N);
                assert_memory_equal(out, again, lar_row_bytes(g->type, N));
            }
            g->to_f32(out, y, N);
            err[way] = there[way] = all = 0;
            for (int i = 0; i < N; i++) {
                const double d = (double)(y[i] - x[i]);
                all += (double)x[i] * (double)x[i];
                err[way] += d * d;
                there[way] += i % 16 < 4 ? d * d : 0;
            }
        }
        if (!(sqrt(err[0] / all) < cases[c].most))
            fail_msg("%s: error %g", g->type->name, sqrt(err[0] / all));
        assert_true(there[1] < there[0]);
        memset(y, 0, sizeof y);
        g->quantize(y, NULL, out, N);
        g->to_f32(out, y, N);
        for (int i = 0; i < N; i++)
            assert_true(y[i] == 0);
    }
}

/* ---- the definition
 * ------------------------------------------------------------------------------- */

/* A format block spelled out: q is the true integer, sc and mn per 16 (1 and 0 where a format has
 * none). */
typedef struct block {
    int q[256], sc[16], mn[16];
    float d, m;
} block;

static float half_at(const uint8_t *p)
{
    return lar_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static int codebook(int i)
{
    static const int v[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};
    return v[i];
}

static void decode_mxfp4(const uint8_t *p, block *b)
{
    static const int v[8] = {0, 1, 2, 3, 4, 6, 8, 12};
    b->d = (float)ldexp(1, p[0] - 128);
    for (int i = 0; i < 32; i++) {
        const int q = p[1 + i % 16] >> (i < 16 ? 0 : 4) & 15;
        b->q[i] = q < 8 ? v[q] : -v[q - 8];
    }
}

static int nibble(const uint8_t *p, int i)
{
    return p[i / 2] >> (i % 2 ? 4 : 0) & 15;
}

/* The formats with codebooks, and the ternary ones: of the weights (the goldens know them) d and
 * the scales are taken away, which leaves whole numbers. */
static void decode_grid(int t, const uint8_t *p, block *b)
{
    const bool one = t == LAR_DT_iq1_s || t == LAR_DT_iq1_m, tq1 = t == LAR_DT_tq1_0;
    float w[256], unit = t == LAR_DT_iq3_xxs ? 0.25f : 0.125f;
    uint32_t d = (uint32_t)(p[0] | p[1] << 8);
    if (tq1 || t == LAR_DT_tq2_0 || t == LAR_DT_iq3_s)
        unit = 1;
    if (tq1 || t == LAR_DT_tq2_0)
        d = (uint32_t)(p[tq1 ? 52 : 64] | p[tq1 ? 53 : 65] << 8);
    if (t == LAR_DT_iq1_m)
        d = (uint32_t)(p[49] >> 4 | p[51] >> 4 << 4 | p[53] >> 4 << 8 | p[55] >> 4 << 12);
    b->d = lar_f16_to_f32((uint16_t)d) * unit;
    for (int g = 0; g < 16; g++) {
        const int k = g / 2;
        int s = 0; /* tq: 1 */
        if (t == LAR_DT_iq1_s)
            s = p[35 + 2 * k] >> 4 & 7;
        else if (t == LAR_DT_iq1_m)
            s = (p[48 + g / 4 * 2] | p[49 + g / 4 * 2] << 8) >> 3 * (g % 4) & 7;
        else if (t == LAR_DT_iq2_xxs)
            s = p[9 + 8 * k] >> 4;
        else if (t == LAR_DT_iq3_xxs)
            s = p[69 + 4 * k] >> 4;
        else if (t == LAR_DT_iq3_s)
            s = nibble(p + 106, k);
        else if (t == LAR_DT_iq2_xs || t == LAR_DT_iq2_s)
            s = nibble(p + (t == LAR_DT_iq2_s ? 74 : 66), g);
        b->sc[g] = 2 * s + 1;
    }
    lar_kernels__generic.formats[t]->to_f32(p, w, 256);
    for (int i = 0; i < 256; i++) {
        const float q = b->d != 0 ? w[i] / (b->d * (float)b->sc[i / 16]) : 0;
        b->q[i] = (int)q;
        assert_true(q == (float)b->q[i] && (!one || b->d == 0 || abs(b->q[i]) % 8 % 6 == 1));
    }
}

static bool in_codebook(int t)
{
    static const int types[] = {LAR_DT_iq1_s,  LAR_DT_iq1_m, LAR_DT_iq2_xxs,
                                LAR_DT_iq2_xs, LAR_DT_iq2_s, LAR_DT_iq3_xxs,
                                LAR_DT_iq3_s,  LAR_DT_tq1_0, LAR_DT_tq2_0};
    for (size_t i = 0; i < LAR_LEN(types); i++)
        if (types[i] == t)
            return true;
    return false;
}

static void decode32(int t, const uint8_t *p, block *b)
{
    const bool min = t == LAR_DT_q4_1 || t == LAR_DT_q5_1,
               five = t == LAR_DT_q5_0 || t == LAR_DT_q5_1;
    b->d = half_at(p);
    p += 2;
    if (min) {
        b->m = half_at(p);
        b->mn[0] = b->mn[1] = 1;
        p += 2;
    }
    if (t == LAR_DT_q8_0) {
        for (int i = 0; i < 32; i++)
            b->q[i] = (int8_t)p[i];
        return;
    }
    const uint32_t fifth = five ? lar_u32(p) : 0;
    p += five ? 4 : 0;
    for (int i = 0; i < 32; i++) {
        int q = (i < 16 ? p[i] & 15 : p[i - 16] >> 4) + (int)(fifth >> i & 1) * 16;
        if (t == LAR_DT_iq4_nl)
            q = codebook(q);
        b->q[i] = q - (t == LAR_DT_q4_0 ? 8 : t == LAR_DT_q5_0 ? 16 : 0);
    }
}

static void decode_k45(int t, const uint8_t *p, block *b)
{
    const uint8_t *s = p + 4, *qh = p + 16, *qs = p + (t == LAR_DT_q5_k ? 48 : 16);
    b->d = half_at(p);
    b->m = -half_at(p + 2);
    for (int i = 0; i < 256; i++) {
        const int k = i / 32, j = i % 32;
        b->q[i] = qs[k / 2 * 32 + j] >> (k % 2 ? 4 : 0) & 15;
        if (t == LAR_DT_q5_k)
            b->q[i] += (qh[j] >> k & 1) * 16;
    }
    for (int g = 0; g < 16; g++) {
        const int k = g / 2;
        b->sc[g] = k < 4 ? s[k] & 63 : (s[k + 4] & 15) + (s[k - 4] >> 6) * 16;
        b->mn[g] = k < 4 ? s[k + 4] & 63 : (s[k + 4] >> 4) + (s[k] >> 6) * 16;
    }
}

static void decode_k236(int t, const uint8_t *p, block *b)
{
    b->d = half_at(p + (t == LAR_DT_q2_k ? 80 : t == LAR_DT_q3_k ? 108 : 208));
    for (int i = 0; i < 256; i++) {
        const int part = i / 128, k = i % 128 / 32, j = i % 32;
        if (t == LAR_DT_q2_k)
            b->q[i] = p[16 + 32 * part + j] >> 2 * k & 3;
        else if (t == LAR_DT_q3_k)
            b->q[i] = (p[32 + 32 * part + j] >> 2 * k & 3) - (p[j] >> (4 * part + k) & 1 ? 0 : 4);
        else
            b->q[i] = (p[64 * part + 32 * (k & 1) + j] >> (k < 2 ? 0 : 4) & 15) +
                      (p[128 + 32 * part + j] >> 2 * k & 3) * 16 - 32;
    }
    for (int g = 0; g < 16; g++) {
        if (t == LAR_DT_q2_k) {
            b->sc[g] = p[g] & 15;
            b->mn[g] = p[g] >> 4;
        } else if (t == LAR_DT_q3_k) {
            const uint8_t *s = p + 96;
            const int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4;
            b->sc[g] = low + (s[8 + g % 4] >> 2 * (g / 4) & 3) * 16 - 32;
        } else {
            b->sc[g] = (int8_t)p[192 + g];
        }
    }
    if (t == LAR_DT_q2_k)
        b->m = -half_at(p + 82);
}

static void decode(int t, const uint8_t *p, block *b)
{
    memset(b, 0, sizeof *b);
    for (int g = 0; g < 16; g++)
        b->sc[g] = 1;
    if (t == LAR_DT_mxfp4)
        decode_mxfp4(p, b);
    else if (in_codebook(t))
        decode_grid(t, p, b);
    else if (lar_dtypes[t].block == 32)
        decode32(t, p, b);
    else if (t == LAR_DT_q4_k || t == LAR_DT_q5_k)
        decode_k45(t, p, b);
    else if (t == LAR_DT_iq4_xs) {
        b->d = half_at(p);
        for (int i = 0; i < 256; i++)
            b->q[i] = codebook(p[8 + 16 * (i / 32) + i % 16] >> (i % 32 < 16 ? 0 : 4) & 15);
        for (int g = 0; g < 16; g++)
            b->sc[g] = (p[4 + g / 4] >> (g / 2 % 2 ? 4 : 0) & 15) +
                       (p[2 + g / 8] >> g / 2 % 4 * 2 & 3) * 16 - 32;
    } else
        decode_k236(t, p, b);
}

/* One output of an integer format. */
static float dot_by_definition(int t, const uint8_t *row, const lar_acts *x, int c)
{
    const lar_dtype *type = &lar_dtypes[t];
    const bool minima = t == LAR_DT_q4_1 || t == LAR_DT_q5_1 || t == LAR_DT_q2_k ||
                        t == LAR_DT_q4_k || t == LAR_DT_q5_k;
    const bool halves = t == LAR_DT_q2_k || t == LAR_DT_q3_k || t == LAR_DT_q6_k ||
                        t == LAR_DT_iq2_xs || t == LAR_DT_iq2_s || t == LAR_DT_iq1_m;
    const int scale_group = halves ? 16 : 32, min_group = t == LAR_DT_q2_k ? 16 : 32;
    float acc = 0;
    for (int64_t i = 0; i < x->k; i += type->block) {
        block b;
        decode(t, row + i / type->block * type->bytes, &b);
        for (int j = 0; j < (int)type->block; j += 32) {
            const int64_t at = c * x->k + i + j;
            const float dx = x->d[at / 32];
            for (int h = 0; h < 32; h += scale_group) {
                int32_t isum = 0;
                for (int e = h; e < h + scale_group; e++)
                    isum += b.q[j + e] * x->q[at + e];
                const float ds = b.d * (float)b.sc[(j + h) / 16];
                acc = lar_fma((float)isum, ds * dx, acc);
            }
            for (int h = 0; minima && h < 32; h += min_group) {
                int32_t sum = 0;
                for (int e = h; e < h + min_group; e++)
                    sum += x->q[at + e];
                const float ms = b.m * (float)b.mn[(j + h) / 16], sx = dx * (float)sum;
                acc = lar_fma(ms, sx, acc);
            }
        }
    }
    return acc;
}

/* One output of a float format: sixteen lanes, then halves added to halves. */
static float float_dot_by_definition(const float *w, const float *x, int64_t k)
{
    float lane[16] = {0};
    for (int64_t i = 0; i < k; i++)
        lane[i % 16] = lar_fma(w[i], x[i], lane[i % 16]);
    for (int h = 8; h; h /= 2)
        for (int i = 0; i < h; i++)
            lane[i] += lane[i + h];
    return lane[0];
}

/* ---- random weights and activations
 * --------------------------------------------------------------- */

static uint64_t counter;
static uint32_t random32(void)
{
    return (uint32_t)(lar_random(7, counter++) >> 17);
}

/* Every byte pattern, but F16 fields (and MXFP4's scale) below 2 in magnitude (normal and
 * subnormal). */
static void random_blocks(int t, uint8_t *p, int64_t blocks)
{
    static const struct {
        int type, at[2];
    } halves[] = {{LAR_DT_q4_1, {0, 2}},     {LAR_DT_q5_1, {0, 2}},    {LAR_DT_q4_k, {0, 2}},
                  {LAR_DT_q5_k, {0, 2}},     {LAR_DT_q2_k, {80, 82}},  {LAR_DT_q3_k, {108, 108}},
                  {LAR_DT_q6_k, {208, 208}}, {LAR_DT_iq1_m, {54, 54}}, {LAR_DT_tq1_0, {52, 52}},
                  {LAR_DT_tq2_0, {64, 64}}};
    int at[2] = {0, 0};
    for (size_t i = 0; i < LAR_LEN(halves); i++)
        if (halves[i].type == t)
            memcpy(at, halves[i].at, sizeof at);
    for (int64_t i = 0; i < blocks; i++, p += lar_dtypes[t].bytes) {
        for (uint32_t j = 0; j < lar_dtypes[t].bytes; j++)
            p[j] = (uint8_t)random32();
        if (t == LAR_DT_mxfp4) {
            p[0] = (uint8_t)(random32() % 16 ? 100 + p[0] % 30 : p[0] % 4);
            continue;
        }
        p[at[0] + 1] &= 0xbf;
        p[at[1] + 1] &= 0xbf;
    }
}

static float random_value(void)
{
    const float x = (float)(int32_t)random32() / 2147483648.0f;
    return random32() % 64 ? x : x * 50.0f; /* outliers, as models have them */
}

/* The definition of quant/format.h: quantizes x as the activations must be. */
static void check_acts(const lar_acts *a, int c0, int c1)
{
    for (int c = c0; c < c1; c++)
        for (int64_t b = 0; b < a->k / 32; b++) {
            const float *x = a->x + (size_t)c * a->ldx + 32 * b;
            const int64_t at = c * (a->k / 32) + b;
            float amax = 0;
            for (int i = 0; i < 32; i++)
                amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
            const float id = amax > 0 && isfinite(127.0f / amax) ? 127.0f / amax : 0;
            const float d = id > 0 ? amax / 127.0f : 0;
            assert_memory_equal(&d, &a->d[at], 4);
            int32_t sum[2] = {0, 0};
            for (int i = 0; i < 32; i++) {
                assert_int_equal(a->q[32 * at + i], (int)nearbyintf(x[i] * id));
                sum[i / 16] += a->q[32 * at + i];
            }
            assert_int_equal(sum[0], a->s[2 * at]);
            assert_int_equal(sum[1], a->s[2 * at + 1]);
            const float sx[3] = {d * (float)(sum[0] + sum[1]), d * (float)sum[0],
                                 d * (float)sum[1]};
            assert_memory_equal(sx, &a->sx[at], 4);
            assert_memory_equal(sx + 1, &a->sx16[2 * at], 8);
        }
}

static void test_acts(void **state)
{
    (void)state;
    enum { K = 256, COLS = 5 };
    static float x[COLS * (K + 3)];
    for (size_t i = 0; i < LAR_LEN(x); i++)
        x[i] = random_value();
    memset(x, 0, 32 * sizeof *x);
    for (int i = 0; i < 32; i++) {
        x[32 + i] *= 1e-38f;             /* 127 / amax is infinite */
        x[64 + i] *= 1e36f;              /* outliers stay finite */
        x[96 + i] = (float)(i - 16) / 2; /* ties */
    }
    x[96] = 127;
    void *mem = lar_alloc_aligned(lar_acts_bytes(K, COLS));
    for (int v = 0; variant(v); v++) {
        lar_acts a;
        memset(mem, 0x55, lar_acts_bytes(K, COLS));
        lar_acts_layout(&a, mem, K, COLS);
        a.x = x;
        a.ldx = K + 3;
        variant(v)->acts_quantize(&a, 1, COLS - 1);
        check_acts(&a, 1, COLS - 1);
        assert_int_equal(a.q[0], 0x55);
        assert_int_equal(a.q[(COLS - 1) * K], 0x55);
        variant(v)->acts_quantize(&a, 0, COLS);
        check_acts(&a, 0, COLS);
        x[5] = v % 2 ? NAN : -NAN;
        x[32 + 20] = INFINITY;
        x[64 + 1] = -INFINITY;
        variant(v)->acts_quantize(&a, 0, 1);
        for (int b = 0; b < 3; b++)
            assert_true(isinf(a.d[b]));
        x[5] = 0, x[32 + 20] = 0, x[64 + 1] = 1e38f;
    }
    lar_free_aligned(mem);
}

/* ---- dot products
 * ---------------------------------------------------------------------------------- */

typedef struct shape {
    int rows, cols, c0;
    int64_t k;
    size_t pad; /* bytes between rows */
} shape;

static void check_shape(int t, const shape *s)
{
    const lar_dtype *type = &lar_dtypes[t];
    const bool integer = lar_kernels__generic.formats[t]->integer;
    const size_t row = lar_row_bytes(type, s->k), stride = row + s->pad;
    const size_t ldx = (size_t)s->k + 1, ldy = (size_t)s->rows + 3, ny = ldy * (size_t)s->cols;
    /* Exactly as long as they must be, so that ASan sees a read past the end. */
    uint8_t *w = malloc(stride * (size_t)(s->rows - 1) + row);
    float *x = malloc((ldx * (size_t)(s->cols - 1) + (size_t)s->k) * 4);
    float *want = malloc(4 * ny), *got = malloc(4 * ny), *wf = malloc(4 * (size_t)s->k);
    void *mem = lar_alloc_aligned(lar_acts_bytes(s->k / 32 * 32, s->cols));
    lar_acts a;
    assert_true(w && x && want && got && wf && mem);
    for (size_t i = 0; i < ldx * (size_t)(s->cols - 1) + (size_t)s->k; i++)
        x[i] = random_value();
    lar_acts_layout(&a, mem, s->k, s->cols);
    a.x = x;
    a.ldx = ldx;
    if (integer)
        lar_kernels__generic.acts_quantize(&a, 0, s->cols);
    memset(want, 0xaa, 4 * ny);
    for (int r = 0; r < s->rows; r++) {
        uint8_t *p = w + (size_t)r * stride;
        if (t == LAR_DT_f32)
            for (int64_t i = 0; i < s->k; i++) {
                float f = random_value();
                memcpy(p + 4 * i, &f, 4);
            }
        else
            random_blocks(t, p, s->k / type->block);
        if (t == LAR_DT_f16 || t == LAR_DT_bf16)
            for (int64_t i = 0; i < s->k; i++)
                p[2 * i + 1] &= 0xbf;
        lar_kernels__generic.formats[t]->to_f32(p, wf, s->k);
        for (int c = s->c0; c < s->cols; c++)
            want[(size_t)c * ldy + (size_t)r] =
                integer ? dot_by_definition(t, p, &a, c)
                        : float_dot_by_definition(wf, x + (size_t)c * ldx, s->k);
    }
    for (int v = 0; variant(v); v++) {
        memset(got, 0xaa, 4 * ny);
        if (integer) /* the same numbers again, perhaps in an order of its own */
            variant(v)->acts_quantize(&a, 0, s->cols);
        variant(v)->formats[t]->dot(w, stride, s->rows, &a, s->c0, s->cols, got, ldy);
        if (memcmp(got, want, 4 * ny))
            fail_msg("%s %s: %d rows, columns %d..%d, k %d", variant(v)->variant, type->name,
                     s->rows, s->c0, s->cols, (int)s->k);
    }
    free(w), free(x), free(want), free(got), free(wf);
    lar_free_aligned(mem);
}

static void test_dot(void **state)
{
    (void)state;
    static const int rows[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 40};
    int seen = 0;
    for (int t = 0; t < LAR_N_DTYPES; t++) {
        if (!lar_kernels__generic.formats[t])
            continue;
        const int64_t unit = lar_dtypes[t].block == 256 ? 256 : 32;
        const bool odd = lar_dtypes[t].block == 1;
        for (int i = 0; i < (int)LAR_LEN(rows); i++) {
            /* One column with every number of rows, then more columns. */
            check_shape(t,
                        &(shape){rows[i], 1, 0, unit * (1 + i % 4) + (odd ? i : 0), odd ? 4 : 2});
            check_shape(
                t, &(shape){rows[i], 2 + (i * 7 + t) % 13, i % 2, unit + (odd ? 3 * i : 0), 0});
        }
        check_shape(t, &(shape){20, 70, 3, 1024, 0});
        check_shape(t, &(shape){3, 33, 0, 768, 0});
        check_shape(t, &(shape){33, 57, 7, 2048, 2});
        for (int c = 2; c < 20; c++)
            check_shape(t, &(shape){17, c, c > 4, unit, 0});
        seen++;
    }
    assert_int_equal(seen, 25);
}

/* The spelled-out blocks of this test are those that the goldens hold. */
static void test_decode_agrees(void **state)
{
    (void)state;
    for (int t = 0; t < LAR_N_DTYPES; t++) {
        const lar_format *f = lar_kernels__generic.formats[t];
        if (!f || !f->integer)
            continue;
        for (int i = 0; i < 50; i++) {
            uint8_t raw[256];
            float w[256];
            block b;
            random_blocks(t, raw, 1);
            decode(t, raw, &b);
            f->to_f32(raw, w, f->type->block);
            for (int j = 0; j < (int)f->type->block; j++) {
                const double a = (double)b.d * b.sc[j / 16] * b.q[j],
                             m = (double)b.m * b.mn[j / 16];
                assert_true(fabs(a + m - (double)w[j]) <= 4e-7 * (fabs(a) + fabs(m)));
            }
        }
    }
}

/* What is not finite stays so through a Q8_0 cache. */
static void test_not_finite(void **state)
{
    (void)state;
    const lar_format *f = lar_kernels__generic.formats[LAR_DT_q8_0];
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < LAR_LEN(bad); i++) {
        float x[32] = {1, 2, 3}, y[32];
        uint8_t packed[34];
        x[i * 7] = bad[i];
        f->from_f32(x, packed, 32);
        f->to_f32(packed, y, 32);
        assert_true(y[i * 7] != y[i * 7]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dequantize_goldens),
        cmocka_unit_test(test_quantize_goldens),
        cmocka_unit_test(test_quantize_strange),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_decode_agrees),
        cmocka_unit_test(test_acts),
        cmocka_unit_test(test_dot),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
