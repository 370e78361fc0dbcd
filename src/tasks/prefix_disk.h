/*
 * prefix_disk.h - evaluated prompts in a folder, page by page, so that another process need not
 * evaluate them again. A page's file is named by a hash over the model, everything that its bytes
 * depend on, and all tokens up to its last: whatever is found under the name is the page, nothing
 * has to be searched or locked, and equal beginnings are there once. Depends on host.h, model_id.h.
 *
 * The folder is never needed: what cannot be read counts as absent.
 */
#ifndef LAR_PREFIX_DISK_H
#define LAR_PREFIX_DISK_H
#include "tasks/model_id.h"

/* A shorter prompt is evaluated sooner than it is worth files. */
enum { LAR_PREFIX_MIN = 256 };

typedef struct lar_prefix_disk lar_prefix_disk;

lar_status lar_prefix_disk_new(const char *dir, uint64_t limit, lar_prefix_disk **out, lar_err *e);
void lar_prefix_disk_free(lar_prefix_disk *d);

/* What of tokens[0..n) is in the folder and goes on where `seq` ends is added to it; seq holds a
 * beginning of the tokens. Gives its length. */
int lar_prefix_disk_fetch(lar_prefix_disk *d, const lar_model *m, lar_engine *en, lar_seq *seq,
                          const int32_t *tokens, int n);

/* Store the whole pages of seq's first n tokens, and remove what was used longest ago when there is
 * more than the limit. The first time a model is seen, all of its file is read. */
lar_status lar_prefix_disk_keep(lar_prefix_disk *d, const lar_model *m, lar_engine *en,
                                const lar_seq *seq, int n, lar_err *e);

/* How many files a folder holds, after removing all of them where asked; what is not ours is
 * neither counted nor touched, and a folder that is not there holds none. */
lar_status lar_prefix_disk_survey(const char *dir, bool clear, uint64_t *files, uint64_t *bytes,
                                  lar_err *e);

#endif
