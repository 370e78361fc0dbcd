/* f32.c - plain F32. Depends on quant/float.h. */
#include "base/simd.h"

typedef float f_weight;
#define f_load vf_load
#define f_load_n vf_load_n
#include "quant/float.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    memcpy(dst, src, (size_t)n * sizeof(float));
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    memcpy(dst, src, (size_t)n * sizeof(float));
}

LAR_FLOAT_FORMAT(f32, .to_f32 = to_f32, .from_f32 = from_f32);
