/* regex.c - see regex.h. On PCRE2, without its JIT: patterns are many and texts short. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"
#include <pcre2.h>
#include <string.h>

struct lar_regex {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *ctx;
};

void lar_regex_free(lar_regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    pcre2_match_data_free(r->data);
    pcre2_match_context_free(r->ctx);
    lar_free(r);
}

lar_status lar_regex_new(const char *pattern, const char *where, lar_regex **out, lar_err *e)
{
    int code;
    size_t at;
    char why[160] = "";
    lar_regex *r = lar_alloc(sizeof *r);
    if (!r)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", where);
    r->code = pcre2_compile((PCRE2_SPTR)pattern, strlen(pattern),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_DOTALL | PCRE2_NEVER_BACKSLASH_C, &code,
                            &at, NULL);
    if (!r->code) {
        lar_regex_free(r);
        if (code == PCRE2_ERROR_HEAP_FAILED)
            return lar_fail(e, LAR_ENOMEM, "%s: out of memory", where);
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return lar_fail(e, LAR_EARG, "%s: the pattern '%.60s': %s at byte %zu", where, pattern, why,
                        at);
    }
    r->data = pcre2_match_data_create_from_pattern(r->code, NULL);
    r->ctx = pcre2_match_context_create(NULL);
    if (!r->data || !r->ctx) {
        lar_regex_free(r);
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", where);
    }
    pcre2_set_match_limit(r->ctx, 10 * 1000 * 1000);
    pcre2_set_heap_limit(r->ctx, 64 << 10); /* KiB */
    *out = r;
    return LAR_OK;
}

bool lar_regex_find(const lar_regex *r, lar_str text, size_t from, lar_match *out)
{
    if (from > text.n)
        return false;
    const int n =
        pcre2_match(r->code, (PCRE2_SPTR)(text.p ? text.p : ""), text.n, from, 0, r->data, r->ctx);
    if (n <= 0)
        return false;
    const size_t *v = pcre2_get_ovector_pointer(r->data);
    int g = 1;
    while (g < n && v[2 * g] == PCRE2_UNSET)
        g++;
    g = g < n ? g : 0;
    if (v[0] > v[1]) /* \K in a lookahead may do that */
        return false;
    *out = (lar_match){v[0], v[1], {text.p + v[2 * g], v[2 * g + 1] - v[2 * g]}};
    return true;
}
