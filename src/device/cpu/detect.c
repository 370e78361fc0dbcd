/* detect.c - which instructions this processor and its operating system allow. */
#include "device/cpu/cpu.h"
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

static uint64_t xgetbv(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static void brand(char out[64])
{
    uint32_t r[12];
    if ((unsigned)__get_cpuid_max(0x80000000u, NULL) < 0x80000004u)
        return;
    for (uint32_t i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
    const char *s = (const char *)r;
    size_t n = 0;
    while (n < sizeof r && s[n])
        n++;
    while (n && s[n - 1] == ' ')
        n--;
    memcpy(out, s, n);
    out[n] = 0;
}

/* Linux wants to be asked before a process uses tiles (arch/x86: ARCH_REQ_XCOMP_PERM of
 * XFEATURE_XTILEDATA), for signal frames grow by their 8 KiB; it refuses where an alternative
 * signal stack is too small for that. Asking again is no fault. Elsewhere: not known. */
static bool tiles_permitted(void)
{
#if defined(__linux__)
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    return false;
#endif
}

void lar_cpu_detect(lar_cpu_features *out)
{
    uint32_t a, b, c, d;
    memset(out, 0, sizeof *out);
    brand(out->name);
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return;
    /* What the system saves at a context switch: 6 = SSE and AVX, e0 = AVX-512, 60000 = AMX tiles.
     */
    const uint64_t saved = xgetbv();
    const bool ymm = (saved & 6) == 6, zmm = ymm && (saved & 0xe0) == 0xe0;
    const bool tmm = (saved & 0x60000) == 0x60000;
    out->fma = ymm && (c & bit_FMA);
    out->f16c = ymm && (c & bit_F16C);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return;
    out->avx2 = ymm && (b & bit_AVX2);
    out->avx512 =
        zmm && (b & bit_AVX512F) && (b & bit_AVX512BW) && (b & bit_AVX512VL) && (b & bit_AVX512DQ);
    out->avx512_vnni = out->avx512 && (c & bit_AVX512VNNI);
    out->amx_int8 = tmm && (d & (1u << 24)) && (d & (1u << 25)) && tiles_permitted();
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        out->avx_vnni = ymm && (a & (1u << 4));
        out->avx512_bf16 = out->avx512 && (a & (1u << 5));
    }
}

#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>

void lar_cpu_detect(lar_cpu_features *out)
{
    const unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
    memset(out, 0, sizeof *out);
    out->neon = true;
    out->dotprod = cap & (1ul << 20);
    out->sve = cap & (1ul << 22);
    out->i8mm = cap2 & (1ul << 13);
}
#elif defined(__APPLE__)
#include <sys/sysctl.h>

static bool has(const char *name)
{
    int v = 0;
    size_t n = sizeof v;
    return sysctlbyname(name, &v, &n, NULL, 0) == 0 && v;
}

void lar_cpu_detect(lar_cpu_features *out)
{
    memset(out, 0, sizeof *out);
    size_t n = sizeof out->name;
    if (sysctlbyname("machdep.cpu.brand_string", out->name, &n, NULL, 0) != 0)
        out->name[0] = 0;
    out->neon = true;
    out->dotprod = has("hw.optional.arm.FEAT_DotProd");
    out->i8mm = has("hw.optional.arm.FEAT_I8MM");
}
#else
void lar_cpu_detect(lar_cpu_features *out)
{
    memset(out, 0, sizeof *out);
    out->neon = true;
}
#endif

#else
void lar_cpu_detect(lar_cpu_features *out)
{
    memset(out, 0, sizeof *out);
}
#endif

lar_status lar_cpu_choose(const lar_cpu_variant *const *all, int n, const char *name,
                          const lar_cpu_variant **out, lar_err *e)
{
    lar_cpu_features f;
    lar_buf known = {0};
    lar_status s = LAR_OK;
    bool there = false;
    lar_cpu_detect(&f);
    *out = NULL;
    for (int i = 0; i < n; i++) {
        there = there || (name && strcmp(name, all[i]->name) == 0);
        if (!all[i]->usable(&f))
            continue;
        lar_buf_printf(&known, "%s%s", known.n ? ", " : "", all[i]->name);
        if (!name || !*name || strcmp(name, all[i]->name) == 0)
            *out = all[i];
    }
    if (!*out)
        s = lar_fail(e, there ? LAR_EUNSUPPORTED : LAR_EARG, "%s '%.40s'%s, want one of: %s",
                     there ? "kernel variant" : "there is no kernel variant", name,
                     there ? " needs another processor" : "", known.p ? known.p : "");
    lar_buf_free(&known);
    return s;
}
