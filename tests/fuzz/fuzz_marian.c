/*
 * fuzz_marian.c - any bytes as a model or a shortlist of Marian's: reading ends in a status, and
 * what was read lies inside the bytes. Depends on format/marian.h.
 */
#include "format/marian.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile uint8_t sink;

static void check(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    lar_marian m;
    lar_shortlist s;
    lar_err e = {0};
    lar_str v;
    if (lar_marian_read(data, n, &m, &e) == LAR_OK) {
        for (size_t i = 0; i < m.n; i++) {
            const lar_marian_tensor *t = &m.tensor[i];
            const size_t bytes = t->count * (t->type == LAR_MARIAN_F32 ? 4 : 1);
            check(t->data >= data && bytes <= n && (size_t)(t->data - data) <= n - bytes);
            sink = bytes ? t->data[bytes - 1] : 0;
        }
        lar_marian_config(&m, "type", &v);
        lar_marian_free(&m);
    } else {
        check(e.msg[0] != 0);
    }
    if (lar_shortlist_read(data, n, 100, &s, &e) == LAR_OK)
        for (size_t i = 0; i < s.n_ids; i++)
            check(lar_u32(s.id + 4 * i) < 100);
    return 0;
}
