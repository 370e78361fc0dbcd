/* json_schema.c - under way. */
#include "text/grammar_part.h"

lar_status lar_grammar_json_schema(const json_t *schema, lar_grammar **out, lar_err *e)
{
    (void)schema;
    *out = NULL;
    return lar_fail(e, LAR_EUNSUPPORTED, "json-schema: not in this version yet");
}
