/*
 * model_id.h - a model's identity: the SHA-256 of its file (of a split model: of its files' SHA-256
 * in order). Reading a large file takes seconds, so it is remembered under what the system says of
 * the file. Depends on host.h, libsodium.
 */
#ifndef LAR_MODEL_ID_H
#define LAR_MODEL_ID_H
#include "tasks/host.h"

enum { LAR_MODEL_ID = 32 };
#define LAR_MODEL_LIST "models" /* the file that remembers, in its folder */

/* Whether the folder `dir` remembers it; reads one small file. */
bool lar_model_id_known(const lar_model *m, const char *dir, uint8_t id[LAR_MODEL_ID]);
/* Reads the model where it must, and remembers; dir NULL: reads it and remembers nothing. */
lar_status lar_model_id(const lar_model *m, const char *dir, uint8_t id[LAR_MODEL_ID], lar_err *e);

#endif
