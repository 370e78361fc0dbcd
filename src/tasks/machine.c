/* machine.c - how fast memory is read and numbers are multiplied at best. Depends on the pool, the
 * clock and the kernels' own loops for it (quant/peak.c). */
#include "tasks/machine.h"
#include "base/os.h"
#include "quant/format.h"
#include <stdatomic.h>

/* Well past any last-level cache. */
enum { BYTES = 512 << 20, LEAST = 16 << 20, PIECE = 4096, PASSES = 3, PEAK_PASSES = 5 };

typedef struct job {
    const lar_kernels *kernels;
    uint8_t *mem;
    size_t bytes;
    int streams; /* 0: write, since pages that were never written are all the same one */
    bool integer;
    int64_t rounds;
    _Atomic uint64_t sum, macs;
} job;

static void read_part(void *arg, int ith, int nth)
{
    job *j = arg;
    const size_t each = j->bytes / (size_t)nth / PIECE * PIECE;
    uint8_t *p = j->mem + each * (size_t)ith;
    for (size_t i = 0; !j->streams && i < each; i += PIECE)
        for (size_t k = 0; k < PIECE; k += 64)
            p[i + k] = (uint8_t)(i + k);
    if (j->streams)
        atomic_fetch_add(&j->sum, j->kernels->read(p, each, j->streams));
}

double lar_machine_read_speed(lar_pool *pool, const lar_cpu_variant *v)
{
    size_t bytes = BYTES, ram = lar_ram_available();
    while (ram && bytes > ram / 4 && bytes > LEAST)
        bytes /= 2;
    job j = {.kernels = v->kernels, .mem = lar_alloc_aligned(bytes), .bytes = bytes};
    double best = 0;
    if (!j.mem)
        return 0;
    lar_pool_run(pool, read_part, &j);
    const size_t nth = (size_t)lar_pool_threads(pool), whole = bytes / nth / PIECE * PIECE * nth;
    for (int pass = 0; pass < PASSES; pass++)
        for (j.streams = 1; j.streams <= 8; j.streams *= 2) {
            const double t0 = lar_clock();
            lar_pool_run(pool, read_part, &j);
            const double t = lar_clock() - t0;
            best = t > 0 ? LAR_MAX(best, (double)whole / t) : best;
        }
    lar_free_aligned(j.mem);
    return best;
}

static void multiply(void *arg, int ith, int nth)
{
    job *j = arg;
    uint64_t sum = 0;
    (void)ith, (void)nth;
    atomic_fetch_add(&j->macs, j->kernels->peak(j->integer, j->rounds, &sum));
    atomic_fetch_add(&j->sum, sum);
}

double lar_machine_peak(lar_pool *pool, const lar_cpu_variant *v, bool integer)
{
    job j = {.kernels = v->kernels, .integer = integer, .rounds = 16};
    double best = 0, t = 0;
    /* As many rounds as take five milliseconds: past the time of waking threads. */
    for (int pass = 0; pass < PEAK_PASSES;) {
        atomic_store(&j.macs, 0);
        const double t0 = lar_clock();
        lar_pool_run(pool, multiply, &j);
        t = lar_clock() - t0;
        if (t < 5e-3 && j.rounds < INT64_MAX / 4) {
            j.rounds *= 2;
            continue;
        }
        best = LAR_MAX(best, (double)atomic_load(&j.macs) / t);
        pass++;
    }
    return best;
}
