/* part.h - what the files of convert share. */
#ifndef LAR_CONVERT_PART_H
#define LAR_CONVERT_PART_H
#include "tensor/dtype.h"
#include <jansson.h>

char *lar__join(const char *folder, const char *name); /* lar_free; NULL: out of memory */
bool lar__plain_name(
    const char *name); /* a file's name, no path: not empty, no '/', '\', ':', ".." */
/* A JSON file of a folder: *out a new reference. LAR_ENOTFOUND when it is not there. Duplicate keys
 * and files of over 512 MiB are errors. */
lar_status lar__load_json(const char *folder, const char *name, json_t **out, lar_err *e);
/* A whole file as text, NUL-terminated; likewise. */
lar_status lar__load_text(const char *folder, const char *name, lar_buf *out, lar_err *e);
/* The largest size of a number that is written as t; F16 scales cannot take what is larger. */
float lar__largest(const lar_dtype *t);

#endif
