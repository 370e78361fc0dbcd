/*
 * peak.c - what this variant's instructions can do at best, for kernels to be measured against:
 * a loop of products over registers and a little L1, with no unpacking, scales or memory; and a
 * plain sequential read. Depends on base/simd.h and quant/kernels.h.
 */
#include "base/simd.h"
#include "quant/kernels.h"

/* PEAK_W weight vectors times PEAK_C columns: sums enough to hide the latency of a product, few
 * enough for the registers. Of the combinations tried, the fastest. Products of single columns:
 * where VI_PAIRS is, pairs of columns may do up to twice as much. */
#if defined(__AVX512F__)
enum { PEAK_W = 3, PEAK_C = 4 };
#elif defined(__ARM_FEATURE_DOTPROD) && !defined(LAR_VARIANT_generic)
enum { PEAK_W = 2, PEAK_C = 3 };
#elif defined(__AVX2__)
enum { PEAK_W = 2, PEAK_C = 2 };
#else
enum { PEAK_W = 1, PEAK_C = 2 };
#endif
enum { STEPS = 32, FMA_SUMS = 12, READ_AHEAD = 1024 };

static uint64_t fold(vi a)
{
    return (uint64_t)(uint32_t)vi_hsum(a);
}

/* Products as the integer formats use them. The activations change with every step, so that no
 * product is the same twice and none can be taken out of the loop. */
static uint64_t int8_products(int64_t rounds, uint64_t *sum)
{
    int8_t x[PEAK_C][16 * STEPS];
    int32_t bytes[16];
    vi w[PEAK_W][4], acc[PEAK_W][PEAK_C];
    for (int c = 0; c < PEAK_C; c++)
        for (int i = 0; i < 16 * STEPS; i++)
            x[c][i] = (int8_t)((i * 37 + c * 11 + (int)rounds) % 127 - 63);
    for (int i = 0; i < PEAK_W; i++)
        for (int j = 0; j < 4; j++) { /* no two lanes alike, for the same reason */
            for (int k = 0; k < 16; k++)
                bytes[k] = (int32_t)(lar_random((uint64_t)rounds, (uint64_t)(64 * i + 16 * j + k)) &
                                     0x0f0f0f0f);
            w[i][j] = vi_load(bytes);
        }
    for (int i = 0; i < PEAK_W; i++)
        for (int c = 0; c < PEAK_C; c++)
            acc[i][c] = vi_set1(0);
    for (int64_t r = 0; r < rounds; r++)
        for (int s = 0; s < STEPS; s += 2) {
            vp p[PEAK_W][PEAK_C];
            LAR_UNROLL
            for (int e = 0; e < 8; e++) {
                LAR_UNROLL
                for (int c = 0; c < PEAK_C; c++) {
                    const vx v = vx_load(x[c] + 16 * s + 4 * e);
                    LAR_UNROLL
                    for (int i = 0; i < PEAK_W; i++)
                        p[i][c] = e ? vp_next(p[i][c], w[i][e % 4], v)
                                    : vp_first(acc[i][c], w[i][e % 4], v);
                }
            }
            LAR_UNROLL
            for (int c = 0; c < PEAK_C; c++) {
                LAR_UNROLL
                for (int i = 0; i < PEAK_W; i++)
                    acc[i][c] = vp_sum(acc[i][c], p[i][c]);
            }
        }
    for (int i = 0; i < PEAK_W; i++)
        for (int c = 0; c < PEAK_C; c++)
            *sum += fold(acc[i][c]);
    return (uint64_t)rounds * STEPS * PEAK_W * PEAK_C * 16 * 16;
}

/* One load and one fused multiply-add per sum, as the float formats use them at their best. */
static uint64_t float_products(int64_t rounds, uint64_t *sum)
{
    float x[16 * STEPS];
    vf acc[FMA_SUMS];
    for (int i = 0; i < 16 * STEPS; i++)
        x[i] = (float)((i + (int)rounds) % 7 - 3) * 0x1p-20f;
    for (int i = 0; i < FMA_SUMS; i++)
        acc[i] = vf_set1((float)i);
    for (int64_t r = 0; r < rounds; r++)
        for (int s = 0; s < STEPS; s++) {
            const vf v = vf_load(x + 16 * s);
            LAR_UNROLL
            for (int i = 0; i < FMA_SUMS; i++)
                acc[i] = vf_fma(v, v, acc[i]);
        }
    float total = 0;
    for (int i = 0; i < FMA_SUMS; i++)
        total += vf_hsum(acc[i]);
    *sum += total > 0;
    return (uint64_t)rounds * STEPS * FMA_SUMS * 16;
}

uint64_t LAR_VSYM(lar_peak)(bool integer, int64_t rounds, uint64_t *sum);
uint64_t LAR_VSYM(lar_peak)(bool integer, int64_t rounds, uint64_t *sum)
{
    return integer ? int8_products(rounds, sum) : float_products(rounds, sum);
}

/* Whole 64-byte lines from `streams` places at once, each prefetched a kilobyte ahead. */
uint64_t LAR_VSYM(lar_read)(const uint8_t *p, size_t n, int streams);
uint64_t LAR_VSYM(lar_read)(const uint8_t *p, size_t n, int streams)
{
    const size_t each = n / 256 / (size_t)streams * 256;
    vi s[4] = {vi_set1(0), vi_set1(0), vi_set1(0), vi_set1(0)};
    for (size_t i = 0; i < each; i += 256)
        for (int k = 0; k < streams; k++) {
            const uint8_t *q = p + (size_t)k * each + i;
            LAR_UNROLL
            for (int j = 0; j < 4; j++) {
#if defined(__GNUC__)
                __builtin_prefetch(q + 64 * j + READ_AHEAD);
#endif
                s[j] = vi_add(s[j], vi_load((const int32_t *)(const void *)(q + 64 * j)));
            }
        }
    return fold(vi_add(vi_add(s[0], s[1]), vi_add(s[2], s[3])));
}
