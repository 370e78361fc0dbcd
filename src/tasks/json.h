/*
 * json.h - JSON with limits: reading untrusted text, strings of any bytes, numbers written the
 * shortest way that reads back. On jansson.
 */
#ifndef LAR_TASKS_JSON_H
#define LAR_TASKS_JSON_H
#include "base/base.h"
#include <jansson.h>

enum { LAR_JSON_MAX_BYTES = 64 << 20 };

/* One value of any type. Duplicate keys, trailing text and more than 64 MiB are refused; depth is
 * jansson's cap. `where` names the text in messages. */
lar_status lar_json_load(const char *text, size_t n, const char *where, json_t **out, lar_err *e);

/* The caller's, end with lar_free. Compact; NULL when out of memory. */
char *lar_json_dump(const json_t *v);
void lar_json_write(lar_buf *b, const json_t *v);

/* A JSON string of bytes that may not be UTF-8: what is not becomes U+FFFD. NULL when out of
 * memory. */
json_t *lar_json_text(const char *p, size_t n);

/* Objects built member by member: v is stolen; the first failure sticks in *bad and later calls
 * free v. */
void lar_json_put(json_t *obj, const char *key, json_t *v, bool *bad);
void lar_json_push(json_t *arr, json_t *v, bool *bad);

#endif
