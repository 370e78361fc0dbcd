/*
 * store_progress.h - what the store tells of its progress, as a task's events: a line such as
 * "NAME: 41.8 of 92.9 MB, 3.2 MB/s, 0:16 left". Depends on store.h, task.h.
 */
#ifndef LAR_STORE_PROGRESS_H
#define LAR_STORE_PROGRESS_H
#include "store/store.h"
#include "tasks/task.h"

/* A lar_store_progress_fn; `task` is the lar_task. */
int lar_task_store_progress(const lar_store_progress *p, void *task);

#endif
