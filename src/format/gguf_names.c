/*
 * gguf_names.c - the table of keys or tensor names, and how a name from a file is shown in a
 * message. Depends on base.
 */
#include "format/gguf_part.h"
#include <string.h>

/* Honest files probe a handful of slots; names made to collide are refused, so that reading stays
 * linear whatever the names are. */
enum { MAX_PROBES = 512 };

static lar_str name_at(const void *array, size_t stride, size_t i)
{
    return *(const lar_str *)(const void *)((const char *)array + i * stride);
}

static bool same(lar_str a, lar_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

lar_status lar__names_build(lar__names *t, const void *array, size_t stride, size_t n,
                            size_t twice[2])
{
    size_t slots = 8;
    while (slots < 2 * n)
        slots *= 2;
    twice[0] = twice[1] = 0;
    t->slot = lar_alloc_array(slots, sizeof *t->slot);
    if (!t->slot)
        return LAR_ENOMEM;
    t->mask = slots - 1;
    for (size_t i = 0; i < n; i++) {
        lar_str name = name_at(array, stride, i);
        uint64_t h = lar_hash64(name.p, name.n);
        size_t s = (size_t)h & t->mask;
        for (int probes = 0; t->slot[s].at; s = (s + 1) & t->mask) {
            size_t j = t->slot[s].at - 1;
            if (t->slot[s].hash == (uint32_t)(h >> 32) && same(name_at(array, stride, j), name)) {
                twice[0] = j, twice[1] = i;
                return LAR_EFORMAT;
            }
            if (++probes == MAX_PROBES)
                return LAR_EUNSUPPORTED;
        }
        t->slot[s].hash = (uint32_t)(h >> 32);
        t->slot[s].at = (uint32_t)(i + 1);
    }
    return LAR_OK;
}

size_t lar__names_find(const lar__names *t, const void *array, size_t stride, lar_str name)
{
    if (!t->slot)
        return SIZE_MAX;
    uint64_t h = lar_hash64(name.p, name.n);
    for (size_t s = (size_t)h & t->mask; t->slot[s].at; s = (s + 1) & t->mask) {
        size_t j = t->slot[s].at - 1;
        if (t->slot[s].hash == (uint32_t)(h >> 32) && same(name_at(array, stride, j), name))
            return j;
    }
    return SIZE_MAX;
}

void lar__names_free(lar__names *t)
{
    lar_free(t->slot);
    t->slot = NULL;
}

lar__shown lar__show(lar_str name)
{
    static const char hex[] = "0123456789abcdef";
    lar__shown out;
    size_t n = 0;
    for (size_t i = 0; i < name.n;) {
        uint32_t cp = 0;
        int len = lar_utf8_decode(name.p + i, name.n - i, &cp);
        bool plain = len && cp >= 0x20 && !(cp >= 0x7f && cp < 0xa0) && cp != '\\' &&
                     !(cp >= 0x2028 && cp <= 0x202e) && !(cp >= 0x2066 && cp <= 0x2069);
        if (n + 8 > sizeof out.s) { /* room for the mark and the NUL stays */
            memcpy(out.s + n, "...", 3);
            n += 3;
            break;
        }
        if (plain) {
            memcpy(out.s + n, name.p + i, (size_t)len);
            n += (size_t)len;
            i += (size_t)len;
        } else {
            unsigned char c = (unsigned char)name.p[i++];
            out.s[n++] = '\\';
            out.s[n++] = 'x';
            out.s[n++] = hex[c >> 4];
            out.s[n++] = hex[c & 15];
        }
    }
    out.s[n] = 0;
    return out;
}
