/* windows.c - see windows.h. */
#include "tasks/windows.h"
#include <stdio.h>
#include <string.h>

enum { WINDOW = 512, LEAST = 4 };

static lar_status read_text(lar_task *t, const char *text, const char *file, lar_ids *ids,
                            lar_err *e)
{
    const lar_tokenizer *tok = t->model->vocab.tok;
    lar_map m = {0};
    if (!tok)
        return lar_fail(e, LAR_EUNSUPPORTED, "the model file has no tokenizer");
    if (!text == !file)
        return lar_fail(e, LAR_EARG, "want a text or a file, found %s", text ? "both" : "none");
    if (text)
        return lar_tokenizer_encode(tok, text, strlen(text), LAR_TOK_BOS, ids, e);
    LAR_TRY(lar_map_open(file, &m, e));
    const lar_status st =
        lar_tokenizer_encode(tok, (const char *)m.data, m.size, LAR_TOK_BOS, ids, e);
    lar_map_close(&m);
    return st;
}

lar_status lar_windows_open(lar_task *t, const char *text, const char *file, int64_t size,
                            int64_t stride, int64_t most, lar_windows *w, lar_err *e)
{
    const int ctx = lar_engine_ctx(t->session->engine);
    if (!size)
        size = LAR_MIN(WINDOW, ctx);
    w->size = (int)size;
    w->stride = (int)stride;
    if (size < LEAST || size > ctx)
        return lar_fail(e, LAR_EARG, "window: %d tokens, want %d to %d, which the context has",
                        w->size, LEAST, ctx);
    if (stride >= size)
        return lar_fail(e, LAR_EARG, "stride: %lld, want less than the window's %d",
                        (long long)stride, w->size);
    LAR_TRY(read_text(t, text, file, &w->ids, e));
    const int32_t bos = lar_tokenizer_bos(t->model->vocab.tok);
    w->bos = !stride && bos >= 0 && w->ids.n && w->ids.p[0] == bos;
    const size_t n = w->ids.n, k = (size_t)size;
    const size_t count = n < k ? 0 : stride ? 1 + (n - k) / (size_t)stride : n / k;
    if (!count)
        return lar_fail(e, LAR_EARG, "the text has %zu tokens, want at least a window of %zu", n,
                        k);
    w->n = (int)LAR_MIN(count, most ? (size_t)most : (size_t)INT32_MAX);
    return LAR_OK;
}

const int32_t *lar_windows_next(lar_windows *w)
{
    w->first = w->ids.p + (size_t)w->done * (size_t)(w->stride ? w->stride : w->size);
    w->was = *w->first;
    if (w->bos)
        *w->first = w->ids.p[0];
    return w->first;
}

bool lar_windows_done(lar_windows *w)
{
    *w->first = w->was;
    return ++w->done == w->n;
}

lar_status lar_windows_tell(lar_task *t, const lar_windows *w, lar_err *e)
{
    char text[64];
    snprintf(text, sizeof text, "%d of %d windows", w->done, w->n);
    return lar_task_progress(t, (double)w->done / w->n, text, e);
}

void lar_windows_free(lar_windows *w)
{
    lar_ids_free(&w->ids);
}
