/*
 * fuzz_gbnf.c - fuzz target: a grammar, a line "---", a text that is matched. Any bytes must end in
 * a verdict or in an error. Depends on text/grammar.h.
 */
#include "text/grammar.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char sep[] = "\n---\n";
    const char *p = (const char *)data, *text = p + n;
    size_t size = n;
    lar_err e;
    lar_grammar *g;
    lar_matcher *m = NULL;
    bool fits = true;
    for (size_t i = 0; i + sizeof sep - 1 <= n && size == n; i++)
        if (memcmp(p + i, sep, sizeof sep - 1) == 0) {
            size = i;
            text = p + i + sizeof sep - 1;
        }
    if (lar_grammar_gbnf(p, size, &g, &e) != LAR_OK)
        return 0;
    lar_status st = lar_matcher_new(g, NULL, &m, &e);
    for (; st == LAR_OK && fits && text < p + n; text++)
        st = lar_matcher_feed(m, text, 1, &fits, &e);
    lar_matcher_free(m);
    lar_grammar_free(g);
    return 0;
}
