/*
 * base.h - what every room stands on: errors, checked sizes, memory, strings, log. Needs libc only.
 * Statuses and lar_err are the public ones of lar.h.
 */
#ifndef LAR_BASE_H
#define LAR_BASE_H
#include "lar.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAR_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define LAR_MIN(a, b) ((a) < (b) ? (a) : (b))
#define LAR_MAX(a, b) ((a) > (b) ? (a) : (b))
#if defined(__GNUC__)
#define LAR_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define LAR_PRINTF(f, a)
#endif
#if defined(__MINGW32__) && defined(__GNUC__) && !defined(__clang__)
#undef LAR_PRINTF
#define LAR_PRINTF(f, a) __attribute__((format(gnu_printf, f, a)))
#endif

/* ---- errors -------------------------------------------------------------------------------- */

/* Fill 'e' (may be NULL) and return 'code', so that callers write: return lar_fail(e, LAR_EARG,
 * "..."); The message says what was found, what was wanted, where. */
lar_status lar_fail(lar_err *e, lar_status code, const char *fmt, ...) LAR_PRINTF(3, 4);
/* Put "where: " before the message that 'e' holds; returns e's code. */
lar_status lar_fail_in(lar_err *e, lar_status code, const char *fmt, ...) LAR_PRINTF(3, 4);

/* For functions that hold nothing; otherwise one `goto out`. */
#define LAR_TRY(x)                                                                                 \
    do {                                                                                           \
        lar_status lar_try_ = (x);                                                                 \
        if (lar_try_ != LAR_OK)                                                                    \
            return lar_try_;                                                                       \
    } while (0)

/* ---- sizes from outside: checked before any arithmetic; false on overflow ------------------- */

static inline bool lar_size_add(size_t a, size_t b, size_t *out)
{
    *out = a + b;
    return *out >= a;
}
static inline bool lar_size_mul(size_t a, size_t b, size_t *out)
{
    if (a && b > SIZE_MAX / a)
        return false;
    *out = a * b;
    return true;
}
static inline bool lar_u64_add(uint64_t a, uint64_t b, uint64_t *out)
{
    *out = a + b;
    return *out >= a;
}
static inline bool lar_u64_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a && b > UINT64_MAX / a)
        return false;
    *out = a * b;
    return true;
}

/* ---- memory: the engine's one host allocator. Everything but 'base' calls these -------------- */

void *lar_alloc(size_t n);                        /* zeroed; NULL when out of memory */
void *lar_alloc_array(size_t count, size_t each); /* zeroed; NULL on overflow too */
void *lar_realloc(void *p, size_t n);             /* new bytes are not zeroed */
void lar_free(void *p);
char *lar_strdup(const char *s);
char *lar_strndup(const char *s, size_t n);
void *lar_alloc_aligned(size_t n); /* zeroed, 64-byte aligned; lar_free_aligned */
void lar_free_aligned(void *p);

/* Make room for one more element in a growing array; false when out of memory (p is then as
 * before). */
bool lar_grow(void **p, size_t *cap, size_t need, size_t each);

/* Arena: many small objects of one lifetime. Not thread-safe. */
typedef struct lar_arena lar_arena;
lar_arena *lar_arena_new(void);
void *lar_arena_alloc(lar_arena *a, size_t n); /* zeroed, 64-byte aligned; NULL: out of memory */
void *lar_arena_array(lar_arena *a, size_t count, size_t each);
char *lar_arena_strdup(lar_arena *a, const char *s, size_t n); /* NUL added */
void lar_arena_reset(lar_arena *a);         /* forget all, keep the blocks for reuse */
size_t lar_arena_bytes(const lar_arena *a); /* what it holds from the system */
void lar_arena_free(lar_arena *a);

/* A borrowed piece of text or bytes, not NUL-terminated. */
typedef struct lar_str {
    const char *p;
    size_t n;
} lar_str;
bool lar_str_eq(lar_str a, const char *z);

/* ---- growing byte string. Errors stick: check `oom` once at the end ---------------------------
 */

typedef struct lar_buf {
    char *p; /* NUL-terminated when not NULL */
    size_t n, cap;
    bool oom;
} lar_buf;
void lar_buf_add(lar_buf *b, const void *p, size_t n);
void lar_buf_puts(lar_buf *b, const char *s);
void lar_buf_putc(lar_buf *b, char c);
void lar_buf_printf(lar_buf *b, const char *fmt, ...) LAR_PRINTF(2, 3);
void lar_buf_clear(lar_buf *b); /* keeps the memory */
void lar_buf_free(lar_buf *b);
char *lar_buf_take(lar_buf *b); /* the caller's, end with lar_free; NULL if oom */

/* ---- numbers and bytes -------------------------------------------------------------------------
 */

uint32_t lar_u32(const void *p); /* little-endian, unaligned */
uint64_t lar_u64(const void *p);
float lar_f16_to_f32(uint16_t h);
uint16_t lar_f32_to_f16(float f); /* round to nearest even */
float lar_bf16_to_f32(uint16_t h);
uint16_t lar_f32_to_bf16(float f); /* round to nearest even, NaN kept */

/* UTF-8: bytes of the character at p (1 to 4) when [p, p+n) begins with a whole valid one, else 0.
 * `cp` may be NULL. Overlong forms, surrogates and values past U+10FFFF are not valid. */
int lar_utf8_decode(const char *p, size_t n, uint32_t *cp);
int lar_utf8_encode(uint32_t cp, char out[4]);
/* How many bytes at the end of [p, p+n) begin a character that is not complete yet (0 to 3). */
size_t lar_utf8_incomplete(const char *p, size_t n);

/* Counter-based random numbers: the value depends on (seed, counter) alone (Philox-like mix). */
uint64_t lar_random(uint64_t seed, uint64_t counter);

uint64_t lar_hash64(const void *p, size_t n); /* for tables, not for security */

/* ---- log: the runtime's sink, passed down by whoever has something to say ----------------------
 */

typedef struct lar_log {
    lar_log_fn *fn;
    void *user;
} lar_log;
void lar_log_put(const lar_log *log, lar_log_level level, const char *fmt, ...) LAR_PRINTF(3, 4);

#endif
