/*
 * json_schema_part.h - what the compiler of JSON Schemas shares: the rules that it builds, schemas
 * as conjunctions. Depends on base, jansson, grammar_part.h.
 */
#ifndef LAR_JSON_SCHEMA_PART_H
#define LAR_JSON_SCHEMA_PART_H
#include "text/grammar_part.h"

enum {
    LAR_JSON_NULL = 1,
    LAR_JSON_BOOL = 2,
    LAR_JSON_INT = 4,  /* whole numbers */
    LAR_JSON_REAL = 8, /* other numbers */
    LAR_JSON_STR = 16,
    LAR_JSON_ARR = 32,
    LAR_JSON_OBJ = 64,
    LAR_JSON_NUM = LAR_JSON_INT | LAR_JSON_REAL,
    LAR_JSON_ANY = 127
};

/* A schema with where it stands. Its anyOf and oneOf count until they are done. */
typedef struct lar_schema {
    const json_t *s; /* an object */
    const char *path;
    bool any_done, one_done;
} lar_schema;

/* Schemas that all have to accept a value; ascending by address, each once. */
typedef struct lar_schemas {
    lar_schema *p;
    size_t n, cap;
    bool never;    /* one of them is false */
    uint32_t rule; /* what it has become */
} lar_schemas;

typedef struct lar_schema_judge {
    const json_t *root;
    size_t work; /* done so far; where it is too much all is unsure */
    bool unsure; /* it depends on what is not looked at: a pattern, a format, an unknown keyword */
} lar_schema_judge;

typedef struct lar_schema_build {
    lar_rules r;
    const json_t *root;
    json_t *own;       /* an array of schemas made on the way */
    lar_schemas *todo; /* of each rule what it is made of; n == 0 and !never: anything */
    size_t n_todo, cap_todo;
    uint32_t *slot; /* rules by what they are made of */
    size_t n_slot;
    uint32_t space, string_char; /* rules that many share; 0: not made yet */
    lar_schema_judge judge;
    lar_err *e;
    lar_status st; /* the first failure sticks */
} lar_schema_build;

/* "PATH: message"; returns NULL for builders. */
lar_expr *lar__schema_fault(lar_schema_build *b, const char *path, const char *fmt, ...)
    LAR_PRINTF(3, 4);
/* The rule of values that all of v accept; takes v. */
uint32_t lar__schema_rule(lar_schema_build *b, lar_schemas *v);

/* ---- the language of values
 * ---------------------------------------------------------------------------- */

/* JSON's string of one character of the ranges, or of the characters not among them. */
lar_expr *lar__json_chars(lar_schema_build *b, const lar_range *range, size_t n, bool negate);
/* Any string of min to max characters, with its quotes. */
lar_expr *lar__json_string(lar_schema_build *b, uint32_t min, uint32_t max);
/* Text as the inside of a string. */
void lar__json_escape(lar_buf *out, const char *p, size_t n);
/* Strings that match an ECMA-262 regular expression; its length in characters is told, so that
 * bounds can be compared with it. */
typedef struct lar_lengths {
    uint32_t min, max;
} lar_lengths;
lar_expr *lar__json_pattern(lar_schema_build *b, const char *path, const char *pattern, size_t n,
                            lar_lengths *lengths);
/* The pattern of a format; NULL: not known. */
const char *lar__json_format(const char *name);

/* A bound of numbers as it is written. */
typedef struct lar_bound {
    bool is_set, exclusive;
    double v;
} lar_bound;
lar_expr *lar__json_numbers(lar_schema_build *b, const char *path, unsigned types, lar_bound lo,
                            lar_bound hi);

/* ---- values
 * --------------------------------------------------------------------------------------------------
 */

unsigned lar__json_type(const json_t *v);               /* its bit */
bool lar__json_equal(const json_t *a, const json_t *b); /* numbers by value */
/* Where "#/a/b" leads in the document; NULL: nowhere. */
const json_t *lar__schema_find(const json_t *root, const char *ref);
/* Does the schema accept it? Unless j->unsure, which stays once it is set. */
bool lar__schema_accepts(lar_schema_judge *j, const json_t *schema, const json_t *v, int depth);
/* Is no value accepted by both? false where that cannot be shown. */
bool lar__schema_disjoint(lar_schema_judge *j, const json_t *a, const json_t *b, int depth);
/* The bits of the schema's own `type`; all where it has none; *fine false where it is no such
 * thing. */
unsigned lar__schema_types(const json_t *schema, bool *fine);

#endif
