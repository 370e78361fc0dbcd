/* bf16.c - the upper half of an F32. Depends on quant/float.h. */
#include "base/simd.h"

typedef uint16_t f_weight;
#define f_load vf_load_bf16
#define f_load_n vf_load_bf16_n
#define F_LOOSE(p) ((__m512bh)_mm512_loadu_si512(p))
#include "quant/float.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint16_t *p = src;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        vf_store(dst + i, vf_load_bf16(p + i));
    vf_store_n(dst + i, vf_load_bf16_n(p + i, (int)(n - i)), (int)(n - i));
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    uint16_t *p = dst;
    for (int64_t i = 0; i < n; i++)
        p[i] = lar_f32_to_bf16(src[i]);
}

LAR_FLOAT_FORMAT(bf16, .to_f32 = to_f32, .from_f32 = from_f32);
