/*
 * event.h - a request and what it delivers. Made by api, delivered to by tasks through task.h.
 */
#ifndef LAR_EVENT_H
#define LAR_EVENT_H
#include "tasks/task.h"

struct lar_event {
    lar_event_kind kind;
    const char *text; /* NUL-terminated */
    size_t n;
    double number;
    char **json; /* where lar_event_get_json keeps what it made; freed by the deliverer */
};

struct lar_request {
    atomic_int refs;
    atomic_int cancel; /* sticks until the run that it cancels has ended */
    bool running;
    lar_runtime *rt;
    lar_model *model;
    lar_session *session;
    lar_params params;
    uint64_t fp;      /* the caller's floating-point mode */
    lar_event_fn *fn; /* of the run in progress */
    void *user;
    lar_buf text; /* NUL-terminated copy of an event's text */
};

/* Fill ev->json as the API shows the event: {"event":"text","text":...}. NULL when out of memory.
 */
char *lar__event_json(const lar_event *ev);

#endif
