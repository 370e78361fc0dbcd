/*
 * utf8.c - one character of UTF-8 at a time (RFC 3629). Needs libc only.
 */
#include "base/base.h"

/* Bytes that the lead byte promises (0: not a lead) and the range of the second byte, which rules
 * out overlong forms (E0, F0), surrogates (ED) and values past U+10FFFF (F4). */
static int lead(uint8_t c, uint8_t *lo, uint8_t *hi)
{
    *lo = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    *hi = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    return c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
}

/* How many of the bytes at p agree with a character of 'want' bytes. */
static int agreeing(const uint8_t *p, size_t n, int want, uint8_t lo, uint8_t hi)
{
    int i = 1;
    while (i < want && (size_t)i < n && p[i] >= lo && p[i] <= hi) {
        lo = 0x80;
        hi = 0xBF;
        i++;
    }
    return i;
}

int lar_utf8_decode(const char *p, size_t n, uint32_t *cp)
{
    const uint8_t *s = (const uint8_t *)p;
    uint8_t lo, hi;
    int len = n ? lead(s[0], &lo, &hi) : 0;
    if (len == 0 || agreeing(s, n, len, lo, hi) != len)
        return 0;
    uint32_t v = len == 1 ? s[0] : s[0] & (0xFFu >> (len + 1));
    for (int i = 1; i < len; i++)
        v = v << 6 | (s[i] & 0x3Fu);
    if (cp)
        *cp = v;
    return len;
}

int lar_utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF))
        return 0;
    int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, cp >>= 6)
        out[i] = (char)(uint8_t)(0x80 | (cp & 0x3F));
    out[0] = (char)(uint8_t)((0xF00u >> n & 0xFF) | cp);
    return n;
}

size_t lar_utf8_incomplete(const char *p, size_t n)
{
    const uint8_t *s = (const uint8_t *)p;
    uint8_t lo, hi;
    for (size_t k = 1; k <= 3 && k <= n; k++) {
        int len = lead(s[n - k], &lo, &hi);
        if (len == 0)
            continue;
        bool open = (size_t)len > k && (size_t)agreeing(s + n - k, k, len, lo, hi) == k;
        return open ? k : 0;
    }
    return 0;
}
