/* openai_text.c - /v1/completions: text goes on, without a template. */
#include "serve/openai.h"

void serve_openai_completions(serve_call *c)
{
    serve_fail(c, 501, "server_error", NULL, "not yet");
}
