/*
 * fuzz_schema.c - fuzz target: a JSON Schema. Whatever it is, it must become a grammar that is not
 * stuck at its beginning, or an error. Depends on text/grammar.h.
 */
#include "text/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    json_t *schema = json_loadb((const char *)data, n, JSON_DECODE_ANY, NULL);
    lar_err e;
    lar_grammar *g = NULL;
    lar_matcher *m = NULL;
    if (schema && lar_grammar_json_schema(schema, &g, &e) == LAR_OK &&
        lar_matcher_new(g, NULL, &m, &e) == LAR_OK) {
        bool any = lar_matcher_can_end(m), fits;
        for (int c = 0; c < 256 && !any; c++)
            any = lar_matcher_fits(m, &(char){(char)c}, 1, &fits, &e) != LAR_OK || fits;
        if (!any)
            __builtin_trap();
    }
    lar_matcher_free(m);
    lar_grammar_free(g);
    json_decref(schema);
    return 0;
}
