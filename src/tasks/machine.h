/*
 * machine.h - what this machine can do at best, for what models reach to be compared with.
 */
#ifndef LAR_MACHINE_H
#define LAR_MACHINE_H
#include "base/pool.h"
#include "tensor/variant.h"

/* Bytes per second that all threads of the pool together read from memory, each its own part, in
 * order: the best of several passes and of several numbers of streams. Takes up to half a GB for
 * as long as it lasts; 0 when there is no memory for it. */
double lar_machine_read_speed(lar_pool *pool, const lar_cpu_variant *v);

/* Multiply-adds per second of all threads together, of the instructions that this variant's
 * kernels use for whole numbers, or for floats. */
double lar_machine_peak(lar_pool *pool, const lar_cpu_variant *v, bool integer);

#endif
