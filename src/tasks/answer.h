/*
 * answer.h - an answer's text as it comes: tokens to characters, stop strings, reasoning blocks
 * apart. Text is held back while it could still become a stop string or a tag.
 */
#ifndef LAR_ANSWER_H
#define LAR_ANSWER_H
#include "tasks/task.h"

typedef struct lar_answer {
    lar_detok detok;
    const char *const *stop;
    size_t n_stop;
    lar_buf in; /* characters not looked at yet */
    lar_buf text, thinking;
    enum { LAR_ANSWER_START, LAR_ANSWER_THINKING, LAR_ANSWER_TEXT } where;
    bool skip_space; /* blank lines at the beginning and after the end of a reasoning block */
    bool stopped;    /* a stop string was met: nothing more will come */
} lar_answer;

/* think: look for <think>...</think> at the beginning; open: the prompt has already opened it. */
void lar_answer_init(lar_answer *a, const lar_tokenizer *t, const char *const *stop, size_t n_stop,
                     bool think, bool open);
/* Give it a token; deliver what is certain. */
lar_status lar_answer_put(lar_answer *a, lar_task *t, int32_t id, lar_err *e);
lar_status lar_answer_end(lar_answer *a, lar_task *t, lar_err *e);
void lar_answer_free(lar_answer *a);

#endif
