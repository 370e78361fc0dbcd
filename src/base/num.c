/*
 * num.c - bytes, half-precision numbers, random numbers, hashes: the same on every machine. Needs
 * libc only.
 */
#include "base/base.h"
#include <string.h>

uint32_t lar_u32(const void *p)
{
    uint8_t b[4];
    memcpy(b, p, sizeof b);
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

uint64_t lar_u64(const void *p)
{
    return lar_u32(p) | (uint64_t)lar_u32((const char *)p + 4) << 32;
}

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* A NaN keeps its payload and becomes quiet, as processors do it. */
float lar_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = h >> 10 & 31u, man = h & 0x3FFu;
    if (exp == 31)
        return from_bits(sign | 0x7F800000u | man << 13 | (man ? 0x400000u : 0));
    if (exp)
        return from_bits(sign | (exp + 112) << 23 | man << 13);
    float f = (float)man * 0x1p-24f; /* exact */
    return sign ? -f : f;
}

uint16_t lar_f32_to_f16(float f)
{
    uint32_t u = to_bits(f), sign = u >> 16 & 0x8000u, a = u & 0x7FFFFFFFu, r;
    if (a > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u | (a >> 13 & 0x3FFu));
    if (a >= 0x477FF000u) /* 65520, halfway past the largest */
        return (uint16_t)(sign | 0x7C00u);
    if (a >= 0x38800000u) { /* normal in half precision; a carry moves into the exponent */
        r = a - (112u << 23);
        return (uint16_t)(sign | (r + 0xFFFu + (r >> 13 & 1u)) >> 13);
    }
    if (a <= 0x33000000u) /* 2^-25, halfway to the smallest: to even */
        return (uint16_t)sign;
    uint32_t man = (a & 0x7FFFFFu) | 0x800000u, shift = 126u - (a >> 23); /* 14 to 24 */
    r = (man + (1u << (shift - 1)) - 1u + (man >> shift & 1u)) >> shift;
    return (uint16_t)(sign | r);
}

float lar_bf16_to_f32(uint16_t h)
{
    return from_bits((uint32_t)h << 16);
}

uint16_t lar_f32_to_bf16(float f)
{
    uint32_t u = to_bits(f);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): key = seed,
 * counter in the low half of the block, first two words of the result. */
uint64_t lar_random(uint64_t seed, uint64_t counter)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = 0, c3 = 0;
    for (int i = 0; i < 10; i++) {
        uint64_t p = 0xD2511F53ull * c0, q = 0xCD9E8D57ull * c2;
        c0 = (uint32_t)(q >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)q;
        c2 = (uint32_t)(p >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (uint64_t)c1 << 32 | c0;
}

/* The finalizer of SplitMix64 (Steele, Lea, Flood, 2014): every input bit reaches every output bit.
 */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

uint64_t lar_hash64(const void *p, size_t n)
{
    const char *s = p;
    uint64_t h = 0x9E3779B97F4A7C15ull ^ n, w = 0;
    for (; n >= 8; n -= 8, s += 8) {
        h = (h ^ lar_u64(s)) * 0xD6E8FEB86659FD93ull;
        h ^= h >> 32;
    }
    for (size_t i = 0; i < n; i++)
        w |= (uint64_t)(uint8_t)s[i] << (8 * i);
    return mix(h ^ w);
}
