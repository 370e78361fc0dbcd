/* extra.c - the front of what no API of others has: health, figures, tokens, templates. */
#include "serve/answer.h"
#include "serve/openai.h"

static void health(serve_call *c)
{
    serve_reply_json(c, 200, json_pack("{s:s}", "status", "ok"));
}

static const serve_route routes[] = {
    {.method = "GET",
     .path = "/health",
     .run = health,
     .quick = true,
     .open = true,
     .help = "Whether the server is there"},
};
extern const serve_front serve_front_extra;
const serve_front serve_front_extra = {"extra", serve_openai_error, routes, LAR_LEN(routes)};
