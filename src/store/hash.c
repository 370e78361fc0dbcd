/* hash.c - SHA-256 of files and models. Depends on libsodium, part.h. */
#include "store/part.h"
#include <sodium.h>
#include <string.h>

enum { PIECE = 4 << 20 };

bool lar__hex_is(const char *hex)
{
    return strspn(hex, "0123456789abcdef") == LAR_SHA256_HEX - 1 && !hex[LAR_SHA256_HEX - 1];
}

void lar__hex(const uint8_t sha[LAR_SHA256], char out[LAR_SHA256_HEX])
{
    sodium_bin2hex(out, LAR_SHA256_HEX, sha, LAR_SHA256);
}

void lar__unhex(const char *hex, uint8_t sha[LAR_SHA256])
{
    size_t n;
    sodium_hex2bin(sha, LAR_SHA256, hex, LAR_SHA256_HEX - 1, NULL, &n, NULL);
}

void lar__hash(const void *p, size_t n, uint8_t sha[LAR_SHA256])
{
    crypto_hash_sha256(sha, p, n);
}

void lar__hash_model(const uint8_t (*sha)[LAR_SHA256], int n, char out[LAR_SHA256_HEX])
{
    uint8_t all[LAR_SHA256];
    if (n == 1)
        memcpy(all, sha[0], sizeof all);
    else
        crypto_hash_sha256(all, sha[0], (unsigned long long)n * LAR_SHA256);
    lar__hex(all, out);
}

static lar_status hash_map(const lar_map *map, lar_store_progress *p,
                           lar_store_progress_fn *progress, void *user, uint8_t sha[LAR_SHA256],
                           lar_err *e)
{
    const double start = lar_clock();
    const uint64_t before = p->done;
    crypto_hash_sha256_state h;
    crypto_hash_sha256_init(&h);
    for (size_t at = 0; at < map->size; at += PIECE) {
        lar_map_prefetch(map, at + PIECE, PIECE);
        crypto_hash_sha256_update(&h, map->data + at, LAR_MIN((size_t)PIECE, map->size - at));
        p->done = before + LAR_MIN(at + PIECE, map->size);
        const double seconds = lar_clock() - start;
        p->rate = seconds > 0 ? (double)(p->done - before) / seconds : 0;
        if (progress && progress(p, user))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
    }
    crypto_hash_sha256_final(&h, sha);
    return LAR_OK;
}

lar_status lar__hash_file(const char *path, const char *what, uint64_t before, uint64_t total,
                          lar_store_progress_fn *progress, void *user, uint8_t sha[LAR_SHA256],
                          lar_file_id *id, lar_err *e)
{
    lar_map map;
    lar_file_id now;
    LAR_TRY(lar_map_open(path, &map, e));
    *id = map.id;
    lar_store_progress p = {.what = what, .done = before, .total = total ? total : map.size};
    lar_status s = hash_map(&map, &p, progress, user, sha, e);
    lar_map_close(&map);
    if (s == LAR_OK)
        s = lar_file_identify(path, &now, e);
    if (s == LAR_OK && memcmp(&now, id, sizeof now) != 0)
        s = lar_fail(e, LAR_EIO, "%s: changed while it was read", path);
    return s;
}
