/*
 * tq1_0.c - 256 weights of -1, 0 or 1, w = d * (q - 1), five in a byte: as a number between 0 and 1
 * in units of 1/256, rounded up, whose digits to the base of 3 they are.
 *    0  qs   digit n of byte j < 32 is q[j] of the n-th 32; of byte 32 + j, j < 16, it is q[160 +
 *            16 * n + j]; and of byte 48 + j, which has four, q[240 + 4 * n + j]
 *   52  d    F16
 * Source of layout and dequantization: ggml (ggml-common.h block_tq1_0, ggml-quants.c).
 * Depends on quant/dot.h.
 */
#include "quant/format.h"
#include <string.h>

typedef struct tq1_0_block {
    uint8_t qs[52];
    uint16_t d;
} tq1_0_block;
_Static_assert(sizeof(tq1_0_block) == 54, "tq1_0 block");

#define Q_BYTES 54
#define Q_BLOCKS 8
#define Q_KIND VI_U4
#define Q_BIAS 1
#define Q_UNIT 8
#define Q_STEPS 2
#define Q_SCALES 0
#define Q_MINS 0
#include "base/simd.h"

typedef struct q_head {
    vf d, m;
} q_head;

static inline void q_head_load(const uint8_t *p, size_t stride, q_head *h)
{
    h->d = h->m = vf_from_f16_low(vi_shr(vi_rows4(p + 50, stride), 16));
}

/* What is left of bytes, those of even and of odd places apart. */
typedef struct digits {
    vi even, odd;
} digits;

LAR_INLINE digits digits_of(vi q)
{
    const vi low = vi_set1(0x00ff00ff);
    return (digits){vi_and(q, low), vi_and(vi_shr(q, 8), low)};
}
LAR_INLINE vi next_digit(digits *a)
{
    const vi low = vi_set1(0x00ff00ff);
    const vi even = vi_add(a->even, vi_shl(a->even, 1)), odd = vi_add(a->odd, vi_shl(a->odd, 1));
    a->even = vi_and(even, low);
    a->odd = vi_and(odd, low);
    return vi_or(vi_and(vi_shr(even, 8), vi_set1(0x00030003)), vi_and(odd, vi_set1(0x03000300)));
}

LAR_INLINE void q_step(const uint8_t *p, size_t stride, const q_head *h, int u, int step,
                       vi w[8][4])
{
    vi q[4], r[4];
    digits last = digits_of(vi_rows4(p + 48, stride));
    (void)h, (void)u;
    vi_rows16(p + 16 * step, stride, q);
    vi_rows16(p + 32, stride, r);
    LAR_UNROLL
    for (int e = 0; e < 4; e++) {
        digits a = digits_of(q[e]), b = digits_of(r[e]);
        LAR_UNROLL
        for (int n = 0; n < 5; n++) {
            const vi d = next_digit(&b);
            w[n][e] = next_digit(&a);
            if (n % 2 == step)
                w[5 + n / 2][e] = d;
        }
        if (step)
            w[7][e] = next_digit(&last);
    }
}

#include "quant/dot.h"
#include "quant/tq_fit.h"

/* Weight j is the digit of which byte, and which one. */
static inline int place_of(int j, int *digit)
{
    const int from = j < 160 ? 0 : j < 240 ? 32 : 48, per = j < 160 ? 32 : j < 240 ? 16 : 4;
    const int k = j < 160 ? j : j < 240 ? j - 160 : j - 240;
    *digit = k / per;
    return from + k % per;
}

static const uint8_t power[5] = {1, 3, 9, 27, 81};

static void to_f32(const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 256, p += sizeof(tq1_0_block), dst += 256) {
        tq1_0_block b;
        memcpy(&b, p, sizeof b);
        const float d = lar_f16_to_f32(b.d);
        for (int j = 0; j < 256; j++) {
            int digit;
            const int at = place_of(j, &digit);
            const uint8_t left = (uint8_t)(b.qs[at] * power[digit]);
            dst[j] = d * (float)((left * 3 >> 8) - 1);
        }
    }
}

static void quantize(const float *src, const float *importance, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += TQ_SUPER, p += sizeof(tq1_0_block)) {
        uint8_t q[TQ_SUPER];
        tq1_0_block b = {.d = tq_fit(src + i, importance ? importance + i : NULL, q)};
        for (int j = 0, digit; j < TQ_SUPER; j++) {
            const int at = place_of(j, &digit);
            b.qs[at] = (uint8_t)(b.qs[at] + q[j] * power[4 - digit]);
        }
        for (int j = 0; j < 52; j++) /* a number of five digits, as a fraction */
            b.qs[j] = (uint8_t)((b.qs[j] * 256 + 242) / 243);
        memcpy(p, &b, sizeof b);
    }
}

static void from_f32(const float *src, void *dst, int64_t n)
{
    quantize(src, NULL, dst, n);
}

LAR_FORMAT(tq1_0, .to_f32 = to_f32, .from_f32 = from_f32, .quantize = quantize);
