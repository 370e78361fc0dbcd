/* spec_part.h - what the files of speculation share. */
#ifndef LAR_INFER_SPEC_PART_H
#define LAR_INFER_SPEC_PART_H
#include "infer/spec.h"

extern const lar_drafter_def lar__drafter_ngram;
lar_status lar__ngram_new(void **out, lar_err *e);
void *lar__spec_state(const lar_spec *s, const lar_drafter_def *def); /* NULL: not there */

#endif
