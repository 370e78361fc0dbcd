/*
 * cpu.h - the processor as a device: which kernel variants it can run, and running a planned graph on the
 * thread pool. It never names an op or a block format: their tables come in with the variant.
 */
#ifndef LAR_CPU_H
#define LAR_CPU_H
#include "base/pool.h"
#include "tensor/tensor.h"

typedef struct lar_cpu_features {
    bool avx2, fma, f16c, avx512, avx512_vnni, avx512_bf16, avx_vnni, amx_int8, neon, dotprod, i8mm, sve;
    char name[64];             /* "AMD EPYC", "" if unknown */
} lar_cpu_features;
void lar_cpu_detect(lar_cpu_features *out);

/* A set of kernels compiled for one instruction set. */
typedef struct lar_cpu_variant {
    const char *name;                               /* "generic", "avx2", "avx512", "neon" */
    bool (*usable)(const lar_cpu_features *f);
    const lar_op *const *ops;                       /* by op id: the same ops, their cpu kernels compiled for it */
    const void *kernels;                            /* lar_kernels of quant, handed to ops untouched */
} lar_cpu_variant;

/* The best usable one, or the one named (NULL or "": the best). LAR_EUNSUPPORTED with the list otherwise. */
lar_status lar_cpu_choose(const lar_cpu_variant *const *all, int n, const char *name, const lar_cpu_variant **out,
                          lar_err *e);

/* Run a planned graph: leaves and inputs are filled in, outputs can be read when it returns. */
void lar_cpu_run(const lar_graph *g, const lar_cpu_variant *v, lar_pool *pool);

#endif
