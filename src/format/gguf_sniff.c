/*
 * gguf_sniff.c - what a file that is no GGUF file seems to be, for the error message: these are
 * what people really hit. Depends on base.
 */
#include "format/gguf_part.h"
#include <string.h>

static bool begins(const uint8_t *p, size_t n, const char *with, size_t len)
{
    return n >= len && memcmp(p, with, len) == 0;
}

static bool begins_word(const uint8_t *p, size_t n, const char *lower)
{
    for (size_t i = 0; lower[i]; i++)
        if (i >= n || (p[i] | (p[i] >= 'A' && p[i] <= 'Z' ? 32 : 0)) != (uint8_t)lower[i])
            return false;
    return true;
}

static const char *text_kind(const uint8_t *p, size_t n)
{
    if (begins(p, n, "\xef\xbb\xbf", 3))
        p += 3, n -= 3;
    while (n && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++, n--;
    if (begins_word(p, n, "version https://git-lfs"))
        return "it is a Git LFS pointer: fetch the file itself with `git lfs pull`";
    if (begins_word(p, n, "<!doctype") || begins_word(p, n, "<html") || begins_word(p, n, "<?xml"))
        return "it is a web page: what was downloaded is an error or a login page, not the model";
    if (begins(p, n, "{", 1) || begins(p, n, "[", 1))
        return "it is JSON text: perhaps a server's error message, or a model's configuration";
    return NULL;
}

static const char *kind(const uint8_t *p, size_t n)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *what;
    } known[] = {
        {"PK\3\4", 4, "it is a zip archive, as PyTorch checkpoints are: convert the model to GGUF"},
        {"\x80\2", 2, "it is a Python pickle, as old PyTorch checkpoints are: convert it to GGUF"},
        {"\x89HDF", 4, "it is an HDF5 file: convert the model to GGUF"},
        {"lmgg", 4, "it is in GGUF's predecessor's format (ggml): get a newer file of the model"},
        {"fmgg", 4, "it is in GGUF's predecessor's format (ggmf): get a newer file of the model"},
        {"tjgg", 4, "it is in GGUF's predecessor's format (ggjt): get a newer file of the model"},
        {"algg", 4, "it is an adapter in GGUF's predecessor's format (ggla): convert it again"},
        {"\x1f\x8b", 2, "it is compressed by gzip: unpack it first"},
        {"\x28\xb5\x2f\xfd", 4, "it is compressed by zstd: unpack it first"},
        {"\xfd"
         "7zXZ",
         5, "it is compressed by xz: unpack it first"},
        {"7z\xbc\xaf", 4, "it is a 7-Zip archive: unpack it first"},
        {"\x7f"
         "ELF",
         4, "it is a program (ELF)"},
    };
    for (size_t i = 0; i < LAR_LEN(known); i++)
        if (begins(p, n, known[i].bytes, known[i].n))
            return known[i].what;
    /* safetensors: u64 length of a JSON header, then the header. */
    if (n > 9 && lar_u64(p) >= 2 && lar_u64(p) < 1u << 30 && p[8] == '{')
        return "it is a safetensors file: convert the model to GGUF";
    size_t zeros = 0;
    while (zeros < n && zeros < 64 && !p[zeros])
        zeros++;
    if (zeros == n || zeros == 64)
        return "it begins with zeros: perhaps a download that was never finished";
    return text_kind(p, n);
}

lar_status lar__gguf_not_gguf(const uint8_t *p, size_t n, lar_err *e)
{
    if (n == 0)
        return lar_fail(e, LAR_EFORMAT, "not a GGUF file: it is empty");
    if (begins(p, n, "FUGG", 4))
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "a big-endian GGUF file (its magic is \"FUGG\"); only little-endian ones "
                        "are supported");
    const char *what = kind(p, n);
    if (what)
        return lar_fail(e, LAR_EFORMAT, "not a GGUF file: %s", what);
    lar_str first = {(const char *)p, LAR_MIN(n, 16)};
    return lar_fail(
        e, LAR_EFORMAT,
        "not a GGUF file: its %zu bytes begin with \"%s\", a GGUF file begins with \"GGUF\"", n,
        LAR_SHOW(first));
}
