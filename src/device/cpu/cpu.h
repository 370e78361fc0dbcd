/*
 * cpu.h - the processor as a device: which kernel variants it can run, and running a planned graph
 * on the thread pool. It never names an op or a block format: their tables come in with the
 * variant.
 */
#ifndef LAR_CPU_H
#define LAR_CPU_H
#include "base/pool.h"
#include "tensor/tensor.h"
#include "tensor/variant.h"
#include <stdatomic.h>

void lar_cpu_detect(lar_cpu_features *out);

/* The best usable one, or the one named (NULL or "": the best). LAR_EUNSUPPORTED with the list
 * otherwise. */
lar_status lar_cpu_choose(const lar_cpu_variant *const *all, int n, const char *name,
                          const lar_cpu_variant **out, lar_err *e);

/* Run a planned graph: leaves and inputs are filled in, outputs can be read when it returns. False
 * if *cancel (which may be NULL) was found other than 0 between two stages: the rest was left out.
 */
bool lar_cpu_run(const lar_graph *g, const lar_cpu_variant *v, lar_pool *pool,
                 const atomic_int *cancel);

/* Sees every node before it runs, its sources' values being there; one thread at a time. */
typedef struct lar_cpu_observer {
    void (*fn)(const lar_tensor *node, void *user);
    void *user;
} lar_cpu_observer;
bool lar_cpu_run_observed(const lar_graph *g, const lar_cpu_variant *v, lar_pool *pool,
                          const atomic_int *cancel, const lar_cpu_observer *observer);

#endif
