/*
 * bench_dot.c - speed of the dot products on one thread, per format and variant: GB/s of weights
 * for one column (beyond any cache, and in cache) beside a plain read of the same memory, and
 * GMAC/s for 1 to 512 columns beside the peak of the variant.
 *
 *     bench_dot [FORMAT|all [VARIANT|all [K [ROWS]]]]
 */
#include "base/os.h"
#include "device/cpu/cpu.h"
#include "ops/variants.h"
#include "quant/kernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BIG = 128 << 20, PIECE = 2 << 20, PASSES = 6 };

/* Of several repetitions the shortest: other work on the machine shows in the others. */
static double shortest(const double *t, int n)
{
    double best = t[0];
    for (int i = 1; i < n; i++)
        best = LAR_MIN(best, t[i]);
    return best;
}

/* As `lar doctor` reads: the best of several numbers of streams. */
static double read_speed(const lar_kernels *k, const uint8_t *w)
{
    double best = 0;
    uint64_t sum = 0;
    for (int pass = 0; pass < PASSES; pass++)
        for (int streams = 1; streams <= 8; streams *= 2) {
            const double start = lar_clock();
            sum += k->read(w, BIG, streams);
            best = LAR_MAX(best, BIG / (lar_clock() - start));
        }
    return sum == 1 ? 0 : best * 1e-9; /* the sum is used, so that the reads are */
}

static double peak(const lar_kernels *k, bool integer)
{
    double best = 0;
    uint64_t sum = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        const double start = lar_clock();
        uint64_t n = 0;
        while (lar_clock() - start < 5e-3)
            n += k->peak(integer, 200, &sum);
        best = LAR_MAX(best, (double)n / (lar_clock() - start));
    }
    return sum == 1 ? 0 : best * 1e-9;
}

/* One column over weights that no cache holds, GB/s. */
static double memory_speed(const lar_format *f, const uint8_t *w, size_t stride, const lar_acts *a,
                           float *y)
{
    const int rows = (int)(PIECE / stride) / 16 * 16;
    double t[PASSES];
    for (int pass = 0; pass < PASSES; pass++) {
        const double start = lar_clock();
        for (size_t at = 0; at < BIG; at += PIECE)
            f->dot(w + at, stride, rows, a, 0, 1, y, (size_t)rows);
        t[pass] = lar_clock() - start;
    }
    return (double)rows * (double)stride * (BIG / PIECE) / shortest(t, PASSES) * 1e-9;
}

/* Seconds for one call. */
static double time_dot(const lar_format *f, const uint8_t *w, size_t stride, int rows,
                       const lar_acts *a, int cols, float *y)
{
    static double t[400];
    double total = 0;
    int n = 0;
    for (; n < 5 || (total < 0.2 && n < 400); n++) {
        const double start = lar_clock();
        f->dot(w, stride, rows, a, 0, cols, y, (size_t)rows);
        t[n] = lar_clock() - start;
        total += t[n];
    }
    return shortest(t, n);
}

static void bench(const lar_kernels *kern, int t, const uint8_t *w, const lar_acts *a, int rows,
                  float *y)
{
    const lar_format *f = kern->formats[t];
    const size_t stride = lar_row_bytes(f->type, a->k);
    const int few = (int)((128 << 10) / stride) / 16 * 16 + 16;
    printf("%-8s %-8s", kern->variant, f->type->name);
    printf(" %7.1f", memory_speed(f, w, stride, a, y));
    printf(" %7.1f ", (double)few * (double)stride / time_dot(f, w, stride, few, a, 1, y) * 1e-9);
    static const int cols[] = {1, 2, 4, 8, 64, 512};
    for (size_t i = 0; i < LAR_LEN(cols); i++)
        if (cols[i] <= a->cols)
            printf(" %7.1f", (double)rows * (double)a->k * cols[i] /
                                 time_dot(f, w, stride, rows, a, cols[i], y) * 1e-9);
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *format = argc > 1 ? argv[1] : "all", *variant = argc > 2 ? argv[2] : "all";
    const int64_t k = argc > 3 ? atol(argv[3]) : 1536;
    const int rows = argc > 4 ? (int)atol(argv[4]) : 576, cols = 512;
    uint8_t *w = lar_alloc_aligned(BIG + 4096);
    void *mem = lar_alloc_aligned(lar_acts_bytes(k, cols));
    float *x = lar_alloc_aligned((size_t)k * (size_t)cols * 4);
    const size_t most = (size_t)(rows > PIECE / 16 ? rows : PIECE / 16) * (size_t)cols;
    float *y = lar_alloc_aligned(most * 4);
    lar_acts a;
    if (!w || !mem || !x || !y || k <= 0 || k % 256 || rows <= 0)
        return 1;
    for (size_t i = 0; i < BIG; i++) /* halves and floats of moderate size in every format */
        w[i] = (uint8_t)(lar_random(1, i) >> 33) & 0x3b;
    for (size_t i = 0; i < (size_t)k * (size_t)cols; i++)
        x[i] = (float)(int32_t)(lar_random(2, i) >> 32) * 1e-9f;
    lar_acts_layout(&a, mem, k, cols);
    a.x = x;
    a.ldx = (size_t)k;
    printf("read: %.1f GB/s; k %d, rows %d\n", read_speed(&lar_kernels__generic, w), (int)k, rows);
    printf("                   GB/s memory, cache   GMAC/s: 1, 2, 4, 8, 64, 512 columns\n");
    lar_cpu_features f;
    lar_cpu_detect(&f);
    for (int v = 0; v < lar_n_variants; v++) {
        const lar_kernels *kern = lar_variants[v]->kernels;
        if (!lar_variants[v]->usable(&f) ||
            (strcmp(variant, "all") && strcmp(variant, kern->variant)))
            continue;
        printf("%-8s peak: %.0f GMAC/s of whole numbers, %.0f of floats\n", kern->variant,
               peak(kern, true), peak(kern, false));
        kern->acts_quantize(&a, 0, cols);
        for (int t = 0; t < LAR_N_DTYPES; t++)
            if (kern->formats[t] && (!strcmp(format, "all") || !strcmp(format, lar_dtypes[t].name)))
                bench(kern, t, w, &a, rows, y);
    }
    lar_free_aligned(w);
    lar_free_aligned(mem);
    lar_free_aligned(x);
    lar_free_aligned(y);
    return 0;
}
