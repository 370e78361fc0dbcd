/*
 * windows.h - a text as windows of tokens, for tasks that run all of it through a model. Windows
 * lie apart and each begins with BOS in place of its first token where the model puts one before a
 * text; with a stride they overlap and stay as they are.
 */
#ifndef LAR_WINDOWS_H
#define LAR_WINDOWS_H
#include "tasks/task.h"

typedef struct lar_windows {
    lar_ids ids;
    int size, stride, done, n; /* stride 0: apart */
    bool bos;
    int32_t *first, was; /* the window handed out, and its first token in the text */
} lar_windows;

/* Of the text or the file, of which one is NULL; at most `most` windows (0: all). LAR_EARG when
 * there is no whole window, or none fits the session's context. */
lar_status lar_windows_open(lar_task *t, const char *text, const char *file, int64_t size,
                            int64_t stride, int64_t most, lar_windows *w, lar_err *e);
/* The window that is due, `size` tokens; then say that it is done: whether it was the last. */
const int32_t *lar_windows_next(lar_windows *w);
bool lar_windows_done(lar_windows *w);
lar_status lar_windows_tell(lar_task *t, const lar_windows *w, lar_err *e); /* progress */
void lar_windows_free(lar_windows *w);

#endif
