/*
 * prefix.h - what has been evaluated once and is not held by any sequence any more stays in free
 * pages until they are wanted, and is found again by its tokens. Whole pages only (LAR_PAGE
 * tokens). Found pages are shared by counted references and never written, so an answer has the
 * same bits as without (docs/NUMERICS.md). Depends on engine.h; allocates nothing.
 */
#ifndef LAR_PREFIX_H
#define LAR_PREFIX_H
#include "infer/engine.h"

/* Remember the whole pages of `s`, now and when it lets go of them. */
void lar_seq_keep(lar_seq *s);

/* Make `s` hold as much of tokens[0..n) as it holds already or as is remembered, and nothing else;
 * what it held before is remembered. Gives how many tokens it then holds. */
int lar_seq_prefix(lar_seq *s, const int32_t *tokens, int n);

/* Forget all that no sequence holds, and by which tokens the rest was found. */
void lar_engine_forget(lar_engine *en);

#endif
