/*
 * regex.h - regular expressions over untrusted text, bounded in time: what an answer is searched
 * with. Depends on base, PCRE2.
 */
#ifndef LAR_REGEX_H
#define LAR_REGEX_H
#include "base/base.h"

typedef struct lar_regex lar_regex;

/* Unicode classes, '.' matches line ends too. `where` names the pattern in messages. */
lar_status lar_regex_new(const char *pattern, const char *where, lar_regex **out, lar_err *e);
void lar_regex_free(lar_regex *r);

/* The first match at or after byte `from` of text, which must be valid UTF-8: [begin, end) of the
 * whole, and what its first group that took part matched (the whole, without groups). False where
 * there is none, or none is found within the bounds on work. */
typedef struct lar_match {
    size_t begin, end;
    lar_str group;
} lar_match;
bool lar_regex_find(const lar_regex *r, lar_str text, size_t from, lar_match *out);

#endif
