/*
 * mt.h - translation models as Marian computes them (Junczys-Dowmunt et al., "Marian: Fast Neural
 * Machine Translation in C++", 2018), so that their outputs are the same token by token: products
 * of bytes with one scale per matrix, float sums of one accumulator in ascending order, no fused
 * multiply-add (docs/NUMERICS.md). What the ops of this family share.
 */
#ifndef LAR_MT_H
#define LAR_MT_H
#include "base/simd.h"
#include "ops/ops.h"

/* Weights of a product: panels of sixteen rows, of which each holds four neighbours at a time. */
enum { LAR_MT_ROWS = 16, LAR_MT_STEP = 4, LAR_MT_PANEL = LAR_MT_ROWS * LAR_MT_STEP };

/* e^x by the polynomial of the Cephes library, every operation rounded. |x| < 88. */
static inline vf lar_mt_exp(vf x)
{
    x = vf_min(vf_max(x, vf_set1(-88.3762626647949f)), vf_set1(88.3762626647949f));
    const vf f = vf_add(vf_mul(x, vf_set1(1.44269504088896341f)), vf_set1(0.5f));
    vf n = vf_from_i(vf_round_i(f));
    n = vf_lt(f, n, vf_sub(n, vf_set1(1.0f)), n); /* rounded down */
    x = vf_sub(x, vf_mul(n, vf_set1(0.693359375f)));
    x = vf_sub(x, vf_mul(n, vf_set1(-2.12194440e-4f)));
    vf y = vf_set1(1.9875691500e-4f);
    y = vf_add(vf_mul(y, x), vf_set1(1.3981999507e-3f));
    y = vf_add(vf_mul(y, x), vf_set1(8.3334519073e-3f));
    y = vf_add(vf_mul(y, x), vf_set1(4.1665795894e-2f));
    y = vf_add(vf_mul(y, x), vf_set1(1.6666665459e-1f));
    y = vf_add(vf_mul(y, x), vf_set1(5.0000001201e-1f));
    y = vf_add(vf_add(vf_mul(y, vf_mul(x, x)), x), vf_set1(1.0f));
    return vf_scale2(y, vf_round_i(n));
}

/* n activations as bytes, 127 standing for 0; behind them up to a whole vector the same. */
static inline void lar_mt_quantize(const float *x, float alpha, int64_t n, uint8_t *q)
{
    const vf a = vf_set1(alpha), lo = vf_set1(-127.0f), hi = vf_set1(127.0f);
    int32_t v[16];
    for (int64_t i = 0; i < n; i += 16) {
        const int k = (int)LAR_MIN(16, n - i);
        vi_store(v, vf_round_i(vf_max(vf_min(vf_mul(vf_load_n(x + i, k), a), hi), lo)));
        for (int j = 0; j < 16; j++)
            q[i + j] = (uint8_t)(v[j] + 127);
    }
}

#endif
