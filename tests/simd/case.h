/* case.h - every primitive of base/simd.h applied to the same numbers; one implementation per
 * variant. */
#ifndef LAR_SIMD_CASE_H
#define LAR_SIMD_CASE_H
#include <stddef.h>
#include <stdint.h>

typedef struct simd_in {
    float a[16], b[16], c[16]; /* any but NaN */
    uint16_t half[16];         /* finite F16; as BF16 anything finite */
    uint8_t rows[16 * 40];     /* sixteen rows, 40 bytes apart */
    int8_t x[16], table[16];   /* |x| <= 127 */
    int n;                     /* 0..16 */
} simd_in;

enum { SIMD_FLOATS = 25, SIMD_INTS = 32 };
typedef struct simd_out {
    float f[SIMD_FLOATS][16];
    int32_t i[SIMD_INTS][16];
    float sum, max, dot;
    uint16_t half[16];
    int8_t bytes[16];
    int32_t isum;
    int floats, ints; /* rows in use */
} simd_out;

typedef void simd_case_fn(const simd_in *in, simd_out *out);
#define VARIANT(name, when) extern simd_case_fn simd_case__##name;
#include "ops/variants.def"
#undef VARIANT

#endif
