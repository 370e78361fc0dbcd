/* store_progress.c - see store_progress.h. */
#include "tasks/store_progress.h"
#include <stdio.h>

static void add_time(lar_buf *b, const lar_store_progress *p)
{
    const double left = p->rate > 0 ? (double)(p->total - p->done) / p->rate : 0;
    if (left <= 0 || left >= 360000)
        return;
    const long s = (long)left;
    if (s >= 3600)
        lar_buf_printf(b, ", %ld:%02ld:%02ld left", s / 3600, s / 60 % 60, s % 60);
    else
        lar_buf_printf(b, ", %ld:%02ld left", s / 60, s % 60);
}

int lar_task_store_progress(const lar_store_progress *p, void *task)
{
    lar_buf b = {0};
    if (!p->total) /* nothing to tell yet: it only asks whether to go on */
        return lar_task_cancelled(task);
    lar_buf_printf(&b, "%.200s: %.1f of %.1f MB", p->what, (double)p->done / 1e6,
                   (double)p->total / 1e6);
    if (p->rate > 0)
        lar_buf_printf(&b, ", %.1f MB/s", p->rate / 1e6);
    if (p->done < p->total)
        add_time(&b, p);
    const int stop =
        lar_task_report((double)p->done / (double)p->total, b.oom ? p->what : b.p, task);
    lar_buf_free(&b);
    return stop;
}
