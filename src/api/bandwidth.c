/* bandwidth.c - how fast all threads together read memory. Depends on the pool and the clock. */
#include "api/api.h"

/* Well past any last-level cache. */
enum { BYTES = 512 << 20, LINE = 64, PASSES = 4, SUMS = 8 };

typedef struct job {
    uint64_t *mem;
    size_t words;
    bool fill;
    _Atomic uint64_t sum; /* so that the reads have a use */
} job;

static void read_part(void *arg, int ith, int nth)
{
    job *j = arg;
    size_t step = LINE / sizeof *j->mem, lines = j->words / step;
    size_t from = lines / (size_t)nth * (size_t)ith * step;
    size_t to = ith == nth - 1 ? lines * step : lines / (size_t)nth * (size_t)(ith + 1) * step;
    if (j->fill) { /* pages that were never written are all the same one */
        for (size_t i = from; i < to; i++)
            j->mem[i] = i;
        return;
    }
    uint64_t s[SUMS] = {0};
    for (size_t i = from; i < to; i += SUMS)
        for (size_t k = 0; k < SUMS; k++)
            s[k] += j->mem[i + k];
    uint64_t all = 0;
    for (size_t k = 0; k < SUMS; k++)
        all += s[k];
    atomic_fetch_add(&j->sum, all);
}

double lar__bandwidth(lar_pool *pool)
{
    size_t bytes = BYTES, free_ram = lar_ram_available();
    while (free_ram && bytes > free_ram / 4 && bytes > ((size_t)16 << 20))
        bytes /= 2;
    job j = {.mem = lar_alloc_aligned(bytes), .words = bytes / sizeof(uint64_t), .fill = true};
    if (!j.mem)
        return 0;
    lar_pool_run(pool, read_part, &j);
    j.fill = false;
    double best = 0;
    for (int i = 0; i < PASSES; i++) {
        double t = lar_clock();
        lar_pool_run(pool, read_part, &j);
        t = lar_clock() - t;
        if (t > 0)
            best = LAR_MAX(best, (double)bytes / t);
    }
    lar_free_aligned(j.mem);
    return best;
}
