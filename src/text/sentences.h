/*
 * sentences.h - where a text's sentences begin and end. Rules after the sentence splitter of Moses
 * (Koehn et al. 2007) as Bergamot has it: a sentence ends with '.', '?' or '!', whatever closes
 * behind that, and white space, unless a small letter follows. Depends on base, utf8proc.
 */
#ifndef LAR_SENTENCES_H
#define LAR_SENTENCES_H
#include "base/base.h"

/* The next sentence of one paragraph at or after *at, without the white space around it; false when
 * there is none. *at is then behind it. Bytes that are no UTF-8 count as letters of no case. */
bool lar_sentence_next(lar_str text, size_t *at, lar_str *out);

#endif
