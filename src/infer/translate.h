/*
 * translate.h - runs a model that reads a text and writes another (models/marian.h), a batch of
 * texts at a time. What a text's translation is does not depend on what else is in the batch, on
 * threads or on the instruction set. One thread at a time; the net must outlive it.
 */
#ifndef LAR_TRANSLATE_H
#define LAR_TRANSLATE_H
#include "base/pool.h"
#include "device/cpu/cpu.h"
#include "models/marian.h"

typedef struct lar_translator lar_translator;

lar_status lar_translator_new(const lar_net *net, const lar_cpu_variant *variant, lar_pool *pool,
                              lar_translator **out, lar_err *e);
void lar_translator_free(lar_translator *t);
/* Give up (LAR_ECANCELLED) when *cancel is found other than 0; NULL: no more. */
void lar_translator_watch(lar_translator *t, const atomic_int *cancel);
size_t lar_translator_bytes(const lar_translator *t); /* of work memory so far */

/* One text: tokens with the end of sentence, at most LAR_MT_POSITIONS / 2. */
typedef struct lar_translation {
    const int32_t *source;
    int n_source;
    int32_t *target; /* [2 * n_source], the caller's: the end of sentence is not among them */
    int n_target;
    bool cut; /* ended by its length */
} lar_translation;

/* Greedily: the best token each time, of equals the lower. */
lar_status lar_translate(lar_translator *t, lar_translation *texts, int n, lar_err *e);

#endif
