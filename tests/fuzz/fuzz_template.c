/*
 * fuzz_template.c - fuzz target: a template, a line "---", the variables as JSON. Any bytes must
 * end in text or in an error. Depends on text/template.h.
 */
#include "text/template.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char sep[] = "\n---\n";
    const char *p = (const char *)data;
    size_t t = n;
    json_t *vars = NULL;
    for (size_t i = 0; i + sizeof sep - 1 <= n; i++) {
        if (!memcmp(p + i, sep, sizeof sep - 1)) {
            t = i;
            vars =
                json_loadb(p + i + sizeof sep - 1, n - i - (sizeof sep - 1), JSON_ALLOW_NUL, NULL);
            break;
        }
    }
    if (!json_is_object(vars)) {
        json_decref(vars);
        vars = json_object();
    }
    lar_err e = {0};
    lar_template *tpl = NULL;
    if (vars && lar_template_new(p, t, &tpl, &e) == LAR_OK) {
        lar_render r;
        if (lar_template_render(tpl, vars, 1753279852, &r, &e) == LAR_OK)
            lar_render_free(&r);
    }
    lar_template_free(tpl);
    json_decref(vars);
    return 0;
}
