/* f16.c - IEEE half precision. Depends on quant/float.h. */
#include "base/simd.h"

typedef uint16_t f_weight;
#define f_load vf_load_f16
#define f_load_n vf_load_f16_n
#define F_LOOSE(p) _mm512_cvtne2ps_pbh(vf_load_f16((p) + 16), vf_load_f16(p))
#include "quant/float.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint16_t *p = src;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        vf_store(dst + i, vf_load_f16(p + i));
    vf_store_n(dst + i, vf_load_f16_n(p + i, (int)(n - i)), (int)(n - i));
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    uint16_t *p = dst;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        vf_store_f16(p + i, vf_load(src + i));
    for (; i < n; i++)
        p[i] = lar_f32_to_f16(src[i]);
}

LAR_FLOAT_FORMAT(f16, .to_f32 = to_f32, .from_f32 = from_f32);
