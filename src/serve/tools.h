/*
 * tools.h - calls of tools in what a model says, while it says it. Forms, whichever comes first:
 * <tool_call>{"name", "arguments"}</tool_call> (Hermes, Qwen), [TOOL_CALLS][{...}, ...] and
 * [TOOL_CALLS]name{...} (Mistral), and a JSON object alone, perhaps after <|python_tag|>, whose
 * name is a tool's (Llama 3: "parameters"). What is none of these is text. Depends on base,
 * jansson.
 */
#ifndef LAR_SERVE_TOOLS_H
#define LAR_SERVE_TOOLS_H
#include "base/base.h"
#include <jansson.h>

/* What is found: text, a call that begins (its name), a piece of its arguments as JSON. */
typedef enum serve_tool_event {
    SERVE_TOOL_TEXT,
    SERVE_TOOL_NAME,
    SERVE_TOOL_ARGUMENTS
} serve_tool_event;
typedef void serve_tool_fn(serve_tool_event kind, const char *p, size_t n, void *user);

typedef struct serve_tools {
    const json_t *known; /* the request's tools; NULL: everything is text */
    serve_tool_fn *fn;
    void *user;
    int calls; /* that began */
    bool inside, started;
    const char *end; /* what follows the calls, or NULL */
    lar_buf in;
} serve_tools;

void serve_tools_init(serve_tools *t, const json_t *known, serve_tool_fn *fn, void *user);
void serve_tools_put(serve_tools *t, const char *p, size_t n);
void serve_tools_end(serve_tools *t); /* what was held back is told; frees */

#endif
