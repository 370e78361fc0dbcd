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

#define VARIANT(name, when)                                                                        \
    static inline bool usable_##name(const lar_cpu_features *f)                                    \
    {                                                                                              \
        return when;                                                                               \
    }
#include "ops/variants.def"
#undef VARIANT

#define LAR_STR_(x) #x
#define LAR_STR(x) LAR_STR_(x)
#define LAR_PASTE_(a, b) a##b
#define LAR_PASTE(a, b) LAR_PASTE_(a, b)
extern const lar_kernels LAR_VSYM(lar_kernels);
extern const lar_cpu_variant LAR_VSYM(lar_variant);
const lar_cpu_variant LAR_VSYM(lar_variant) = {.name = LAR_STR(LAR_VARIANT),
                                               .usable = LAR_PASTE(usable_, LAR_VARIANT),
                                               .ops = ops,
                                               .kernels = &LAR_VSYM(lar_kernels)};

#if defined(LAR_VARIANT_generic)
#define VARIANT(name, when) extern const lar_cpu_variant lar_variant__##name;
#include "ops/variants.def"
#undef VARIANT
const lar_cpu_variant *const lar_variants[] = {
#define VARIANT(name, when) &lar_variant__##name,
#include "ops/variants.def"
#undef VARIANT
};
const int lar_n_variants = (int)LAR_LEN(lar_variants);
#endif
