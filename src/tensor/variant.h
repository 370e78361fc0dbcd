/*
 * variant.h - a kernel variant: the same ops and block formats, compiled for one instruction set.
 * Made in ops, chosen in device.
 */
#ifndef LAR_VARIANT_H
#define LAR_VARIANT_H
#include "tensor/tensor.h"

/* What the processor and its operating system allow. */
typedef struct lar_cpu_features {
    bool avx2, fma, f16c, avx512, avx512_vnni, avx512_bf16, avx_vnni, amx_int8, neon, dotprod, i8mm,
        sve;
    char name[64]; /* "AMD EPYC", "" if unknown */
} lar_cpu_features;

/* A set of kernels compiled for one instruction set. */
typedef struct lar_cpu_variant {
    const char *name; /* "generic", "avx2" … as in ops/variants.def */
    bool (*usable)(const lar_cpu_features *f);
    const lar_op *const *ops; /* by op id: the same ops, their cpu kernels compiled for it */
    const void *kernels;      /* lar_kernels of quant, handed to ops untouched */
} lar_cpu_variant;

#endif
