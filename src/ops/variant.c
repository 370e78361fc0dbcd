/* variant.c - this variant's kernels in one table; and, in the generic build, the list of all
 * variants. */
#include "base/simd.h"
#include "ops/ops.h"
#include "ops/variants.h"
#include "quant/kernels.h"

#define OP(x) extern const lar_op LAR_VSYM(lar_op_##x);
#include "ops/ops.def"
#undef OP

static const lar_op *const ops[LAR_N_OPS] = {
#define OP(x) &LAR_VSYM(lar_op_##x),
#include "ops/ops.def"
#undef OP
};

static bool usable(const lar_cpu_features *f)
{
#if defined(LAR_VARIANT_amx)
    return f->amx_int8 && f->avx512_vnni && f->avx2 && f->fma && f->f16c;
#elif defined(LAR_VARIANT_avx512)
    return f->avx512_vnni && f->avx2 && f->fma && f->f16c;
#elif defined(LAR_VARIANT_avx2)
    return f->avx2 && f->fma && f->f16c;
#elif defined(LAR_VARIANT_neon)
    return f->neon;
#else
    (void)f;
    return true;
#endif
}

#define LAR_STR_(x) #x
#define LAR_STR(x) LAR_STR_(x)
extern const lar_cpu_variant LAR_VSYM(lar_variant);
const lar_cpu_variant LAR_VSYM(lar_variant) = {
    .name = LAR_STR(LAR_VARIANT), .usable = usable, .ops = ops, .kernels = &LAR_VSYM(lar_kernels)};

#if defined(LAR_VARIANT_generic)
#if defined(__x86_64__)
extern const lar_cpu_variant lar_variant__avx2, lar_variant__avx512, lar_variant__amx;
const lar_cpu_variant *const lar_variants[] = {&lar_variant__generic, &lar_variant__avx2,
                                               &lar_variant__avx512, &lar_variant__amx};
#elif defined(__aarch64__)
extern const lar_cpu_variant lar_variant__neon;
const lar_cpu_variant *const lar_variants[] = {&lar_variant__generic, &lar_variant__neon};
#else
const lar_cpu_variant *const lar_variants[] = {&lar_variant__generic};
#endif
const int lar_n_variants = (int)LAR_LEN(lar_variants);
#endif
