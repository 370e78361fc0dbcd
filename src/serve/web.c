/*
 * web.c - the front of people: the page at /, whose files (web/) are a part of the command. It
 * speaks to the other fronts as any client does, and needs nothing from anywhere else.
 */
#include "serve/openai.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* Bytes as numbers; the Makefile makes these from the files. */
static const uint8_t index_html[] = {
#include "serve/web/index.html.inc"
};
static const uint8_t style_css[] = {
#include "serve/web/style.css.inc"
};
static const uint8_t app_js[] = {
#include "serve/web/app.js.inc"
};
static const uint8_t api_js[] = {
#include "serve/web/api.js.inc"
};
static const uint8_t markdown_js[] = {
#include "serve/web/markdown.js.inc"
};
static const uint8_t store_js[] = {
#include "serve/web/store.js.inc"
};

static const char HTML[] = "text/html; charset=utf-8", CSS[] = "text/css; charset=utf-8",
                  JS[] = "text/javascript; charset=utf-8";

/* A browser asks each time whether its copy is still the same; a hash tells. */
static void reply_file(serve_call *c, const char *type, const uint8_t *p, size_t n)
{
    static const char policy[] =
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    uint8_t hash[crypto_generichash_BYTES_MIN];
    char hex[2 * sizeof hash + 1], tag[sizeof hex + 2];
    const char *have = serve_header(c, "If-None-Match");
    crypto_generichash(hash, sizeof hash, p, n, NULL, 0);
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    snprintf(tag, sizeof tag, "\"%s\"", hex);
    serve_add_header(c, "Content-Security-Policy", policy);
    serve_add_header(c, "Referrer-Policy", "no-referrer");
    serve_add_header(c, "Cache-Control", "no-cache");
    serve_add_header(c, "ETag", tag);
    if (have && strcmp(have, tag) == 0)
        serve_reply(c, 304, NULL, "", 0);
    else
        serve_reply(c, 200, type, (const char *)p, n);
}

/* FILE_AT(path, name of the array, type) */
#define FILES                                                                                      \
    FILE_AT("/", index_html, HTML)                                                                 \
    FILE_AT("/style.css", style_css, CSS)                                                          \
    FILE_AT("/app.js", app_js, JS)                                                                 \
    FILE_AT("/api.js", api_js, JS)                                                                 \
    FILE_AT("/markdown.js", markdown_js, JS)                                                       \
    FILE_AT("/store.js", store_js, JS)

#define FILE_AT(path, name, type)                                                                  \
    static void send_##name(serve_call *c)                                                         \
    {                                                                                              \
        reply_file(c, type, name, sizeof name);                                                    \
    }
FILES
#undef FILE_AT

#define FILE_AT(at, name, type)                                                                    \
    {.method = "GET",                                                                              \
     .path = at,                                                                                   \
     .run = send_##name,                                                                           \
     .quick = true,                                                                                \
     .open = true,                                                                                 \
     .help = "A file of the page"},
static const serve_route routes[] = {FILES};
#undef FILE_AT
extern const serve_front serve_front_web;
const serve_front serve_front_web = {"web", serve_openai_error, routes, LAR_LEN(routes)};
