/*
 * api.h - what the files that implement lar.h share: counted references, options by size. Depends
 * on tasks.
 */
#ifndef LAR_API_PART_H
#define LAR_API_PART_H
#include "tasks/event.h"
#include "tasks/host.h"
#include "tasks/json.h"

/* Copy an options struct that may be older or newer than ours into `out` (all defaults when `given`
 * is NULL). A newer one is refused when it sets what we do not know. */
lar_status lar__options(const void *given, void *out, size_t known, const char *what, lar_err *e);

static inline void lar__ref(atomic_int *refs)
{
    atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
}
/* True when that was the last one. */
static inline bool lar__unref(atomic_int *refs)
{
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

/* The whole JSON value as text, or NULL; v is stolen. */
char *lar__json_take(json_t *v, bool bad);

/* A session serves one call at a time: LAR_EARG when it is taken. */
lar_status lar__session_take(lar_session *s, lar_err *e);
void lar__session_give(lar_session *s);

#endif
