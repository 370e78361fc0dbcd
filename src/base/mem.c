/*
 * mem.c - the engine's host memory: plain, aligned, growing arrays, arenas. Needs libc only.
 */
#include "base/base.h"
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

void *lar_alloc(size_t n)
{
    return calloc(1, n ? n : 1);
}

void *lar_alloc_array(size_t count, size_t each)
{
    size_t n;
    return lar_size_mul(count, each, &n) ? lar_alloc(n) : NULL;
}

void *lar_realloc(void *p, size_t n)
{
    return realloc(p, n ? n : 1);
}

void lar_free(void *p)
{
    free(p);
}

char *lar_strndup(const char *s, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *p = malloc(n + 1);
    if (!p)
        return NULL;
    if (n)
        memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *lar_strdup(const char *s)
{
    return lar_strndup(s, strlen(s));
}

static char *align_up(char *p)
{
    return p + (ALIGN - (uintptr_t)p % ALIGN) % ALIGN;
}

/* calloc with the true start kept just below the result: fresh pages of a large block stay
 * untouched until they are used, which aligned_alloc and a memset would not give. */
void *lar_alloc_aligned(size_t n)
{
    size_t all;
    if (!lar_size_add(n, ALIGN + sizeof(void *), &all))
        return NULL;
    char *base = calloc(1, all);
    if (!base)
        return NULL;
    char *p = align_up(base + sizeof(void *));
    memcpy(p - sizeof(void *), &base, sizeof base);
    return p;
}

void lar_free_aligned(void *p)
{
    if (!p)
        return;
    void *base;
    memcpy(&base, (char *)p - sizeof(void *), sizeof base);
    free(base);
}

/* '*p' is a pointer of any type, so it is moved as bytes: a void * may not alias it. */
bool lar_grow(void **p, size_t *cap, size_t need, size_t each)
{
    if (need <= *cap)
        return true;
    size_t room = *cap > SIZE_MAX / 2 ? need : LAR_MAX(*cap * 2, need);
    size_t n;
    room = LAR_MAX(room, (size_t)8);
    if (!lar_size_mul(room, each, &n))
        return false;
    void *old, *fresh;
    memcpy(&old, (void *)p, sizeof old);
    fresh = lar_realloc(old, n);
    if (!fresh)
        return false;
    memcpy((void *)p, &fresh, sizeof fresh);
    *cap = room;
    return true;
}

bool lar_str_eq(lar_str a, const char *z)
{
    size_t n = strlen(z);
    return a.n == n && (n == 0 || memcmp(a.p, z, n) == 0);
}

/* ---- arena --------------------------------------------------------------------------------- */

enum { BLOCK_MIN = 64 << 10, BLOCK_MAX = 1 << 20, OWN_BLOCK = 32 << 10 };

/* 'high' bytes were handed out at some time and need zeroing when they are handed out again. */
typedef struct block {
    struct block *next;
    size_t size, used, high;
    char *data;
} block;

/* Small requests walk 'first' ... 'cur' ...; a large one has a block of its own, in 'own' while it
 * is in use and in 'spare' after a reset. */
struct lar_arena {
    block *first, *cur, *own, *spare;
    size_t bytes;
};

lar_arena *lar_arena_new(void)
{
    return lar_alloc(sizeof(lar_arena));
}

static block *block_new(lar_arena *a, size_t size)
{
    size_t all;
    if (!lar_size_add(size, sizeof(block) + ALIGN, &all))
        return NULL;
    block *b = lar_alloc(all);
    if (!b)
        return NULL;
    b->size = size;
    b->data = align_up((char *)(b + 1));
    a->bytes += all;
    return b;
}

static void *block_take(block *b, size_t n)
{
    char *p = b->data + b->used;
    if (b->high > b->used)
        memset(p, 0, LAR_MIN(n, b->high - b->used));
    b->used += n;
    b->high = LAR_MAX(b->high, b->used);
    return p;
}

static void *take_own(lar_arena *a, size_t n)
{
    block **best = NULL, *b;
    for (block **q = &a->spare; *q; q = &(*q)->next)
        if ((*q)->size >= n && (!best || (*q)->size < (*best)->size))
            best = q;
    if (best) {
        b = *best;
        *best = b->next;
    } else if (!(b = block_new(a, n))) {
        return NULL;
    }
    b->next = a->own;
    a->own = b;
    return block_take(b, n);
}

void *lar_arena_alloc(lar_arena *a, size_t n)
{
    if (!lar_size_add(n ? n : 1, ALIGN - 1, &n))
        return NULL;
    n -= n % ALIGN;
    if (n > OWN_BLOCK)
        return take_own(a, n);
    if (a->cur && a->cur->size - a->cur->used >= n)
        return block_take(a->cur, n);
    if (!a->cur || !a->cur->next) {
        size_t size = a->cur ? LAR_MIN(a->cur->size * 2, (size_t)BLOCK_MAX) : (size_t)BLOCK_MIN;
        block *b = block_new(a, size);
        if (!b)
            return NULL;
        *(a->cur ? &a->cur->next : &a->first) = b;
        a->cur = b;
    } else {
        a->cur = a->cur->next;
    }
    return block_take(a->cur, n);
}

void *lar_arena_array(lar_arena *a, size_t count, size_t each)
{
    size_t n;
    return lar_size_mul(count, each, &n) ? lar_arena_alloc(a, n) : NULL;
}

char *lar_arena_strdup(lar_arena *a, const char *s, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *p = lar_arena_alloc(a, n + 1);
    if (p && n)
        memcpy(p, s, n);
    return p;
}

void lar_arena_reset(lar_arena *a)
{
    for (block *b = a->first; b; b = b->next)
        b->used = 0;
    a->cur = a->first;
    while (a->own) {
        block *b = a->own;
        a->own = b->next;
        b->used = 0;
        b->next = a->spare;
        a->spare = b;
    }
}

size_t lar_arena_bytes(const lar_arena *a)
{
    return a->bytes;
}

static void free_list(block *b)
{
    while (b) {
        block *next = b->next;
        lar_free(b);
        b = next;
    }
}

void lar_arena_free(lar_arena *a)
{
    if (!a)
        return;
    free_list(a->first);
    free_list(a->own);
    free_list(a->spare);
    lar_free(a);
}
