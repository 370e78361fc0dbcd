/*
 * q8_0.c - 32 weights of 8 bits, w = d * q.
 *   0  d    F16
 *   2  qs   32 signed bytes
 * Source of layout and dequantization: ggml (ggml-common.h block_q8_0, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct q8_0_block {
    uint16_t d;
    int8_t qs[32];
} q8_0_block;
_Static_assert(sizeof(q8_0_block) == 34, "q8_0 block");

#define Q_BYTES 34
#define Q_BLOCKS 1
#define Q_KIND VI_S8
#define Q_BIAS 0
#define Q_UNIT 1
#define Q_STEPS 1
#define Q_SCALES 0
#define Q_MINS 0
#include "base/simd.h"

typedef struct q_head {
    vf d, m;
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = vf_from_f16_low(vi_rows4(p, stride));
    h->m = h->d;
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[2][4])
{
    (void)h, (void)u, (void)step;
    vi_rows16(p + 2, stride, w[0]);
    vi_rows16(p + 18, stride, w[1]);
}

#include "quant/dot.h"
#include "quant/rounding.h"

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 32, p += sizeof(q8_0_block), dst += 32) {
        q8_0_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d);
        for (int j = 0; j < 32; j++)
            dst[j] = (float)b.qs[j] * d;
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += 32, p += sizeof(q8_0_block), src += 32) {
        q8_0_block b;
        float amax = lar__absmax_signed(src), bad = 0.0f;
        for (int j = 0; j < 32; j++)
            bad +=
                src[j] - src[j]; /* NaN where a value is not finite: a KV cache must not hide it */
        amax = amax < 0.0f ? -amax : amax;
        const float d = amax / 127.0f, id = d != 0.0f ? 1.0f / d : 0.0f;
        b.d = lar_f32_to_f16(bad == 0.0f ? d : bad);
        for (int j = 0; j < 32; j++) { /* to nearest, halves away from zero */
            const float x = src[j] * id, a = x < 0.0f ? -x : x;
            int q = (int)lar__trunc_to((double)a, 127);
            q += q < 127 && a - (float)q >= 0.5f;
            b.qs[j] = (int8_t)(x < 0.0f ? -q : q);
        }
        memcpy(p, &b, sizeof b);
    }
}

LAR_FORMAT(q8_0, .to_f32 = to_f32, .from_f32 = from_f32);
