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

/* ---- a page as bytes, for a file --------------------------------------------------------------
 * What it holds depends on the model, numerics, KV type and layout, and on all tokens up to its
 * last: the name says which, and whoever asks for a page by name gets that page or an error.
 */

enum { LAR_PAGE_NAME = 32 };

/* What a page's bytes depend on, but for the model and the tokens. */
typedef struct lar_page_kind {
    uint32_t numerics, layout, kv_type, page, n_caches;
    uint64_t bytes;
} lar_page_kind;
lar_page_kind lar_engine_page_kind(const lar_engine *en);

size_t lar_page_file_bytes(const lar_engine *en);
/* A whole page of `s`, the page'th, into lar_page_file_bytes at `out`. */
void lar_page_pack(const lar_seq *s, int page, const uint8_t name[LAR_PAGE_NAME], uint8_t *out);
/* Append a page with these tokens to `s`, which must hold whole pages only. LAR_EFORMAT for damaged
 * bytes or another name; `s` is then as before. */
lar_status lar_page_unpack(lar_seq *s, const int32_t tokens[LAR_PAGE],
                           const uint8_t name[LAR_PAGE_NAME], const uint8_t *bytes, size_t n,
                           lar_err *e);

#endif
