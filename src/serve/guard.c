/*
 * guard.c - who may speak to us: names in the Host header (a page elsewhere whose name was bound to
 * our address has another), origins of pages, keys. Depends on libsodium.
 */
#include "serve/part.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_name(const char *host, size_t n, const char *name)
{
    return strlen(name) == n && strncasecmp(host, name, n) == 0;
}

/* HOST or HOST:PORT, exactly. */
static bool host_allowed(const serve_server *s, const char *host)
{
    static const char *const ours[] = {"localhost", "127.0.0.1", "[::1]"};
    const char *end = host[0] == '[' ? strchr(host, ']') : NULL;
    const char *colon = strchr(end ? end : host, ':');
    const size_t n = colon ? (size_t)(colon - host) : strlen(host);
    if (colon && strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    for (size_t i = 0; i < LAR_LEN(ours); i++)
        if (is_name(host, n, ours[i]))
            return true;
    if (s->o.address && is_name(host, n, s->o.address))
        return true;
    for (size_t i = 0; i < s->o.n_hosts; i++)
        if (is_name(host, n, s->o.hosts[i]))
            return true;
    return false;
}

/* No Origin: no page. Else our own page, or one that was allowed. */
static bool origin_allowed(const serve_server *s, const char *origin, const char *host)
{
    const char *at = origin ? strstr(origin, "://") : NULL;
    if (!origin)
        return true;
    if (s->o.cors && (strcmp(s->o.cors, "*") == 0 || strcmp(s->o.cors, origin) == 0))
        return true;
    return at && strcasecmp(at + 3, host) == 0;
}

/* Hashes are compared, so that neither content nor length shows in the time it takes. */
static bool key_good(const serve_server *s, serve_call *c)
{
    uint8_t h[SERVE_KEY];
    const char *key = serve_header(c, "Authorization");
    if (!s->o.api_key)
        return true;
    if (key && strncasecmp(key, "Bearer ", 7) == 0)
        key += 7;
    else
        key = serve_header(c, "x-api-key");
    if (!key)
        return false;
    crypto_generichash(h, sizeof h, (const uint8_t *)key, strlen(key), NULL, 0);
    return sodium_memcmp(h, s->key, sizeof h) == 0;
}

static bool path_is(const char *pattern, const char *path)
{
    const size_t n = strcspn(pattern, "*");
    return pattern[n] ? strncmp(pattern, path, n) == 0 : strcmp(pattern, path) == 0;
}

/* The route; where only the method differs *other is true. The front whose paths look most alike
 * gives errors their form. */
static void find_route(serve_call *c, const char *method, bool *other)
{
    for (size_t i = 0; i < serve_n_fronts; i++)
        for (size_t k = 0; k < serve_fronts[i]->n_routes && !c->route; k++) {
            const serve_route *r = &serve_fronts[i]->routes[k];
            if (!path_is(r->path, c->path))
                continue;
            c->front = serve_fronts[i];
            if (strcmp(method, r->method) == 0 ||
                (strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0))
                c->route = r;
            else
                *other = true;
        }
}

bool serve__guard(serve_call *c, const char *method)
{
    const serve_server *s = c->server;
    const char *host = serve_header(c, "Host"), *origin = serve_header(c, "Origin");
    const char *length = serve_header(c, "Content-Length");
    bool other = false;
    find_route(c, method, &other);
    if (!host || !host_allowed(s, host))
        serve_fail(c, host ? 403 : 400, "invalid_request_error", NULL,
                   "the Host header is not a name of this server (see --host-name)");
    else if (!origin_allowed(s, origin, host))
        serve_fail(c, 403, "invalid_request_error", NULL,
                   "pages of this origin may not ask here (see --cors)");
    else if (strcmp(method, "OPTIONS") == 0)
        serve_reply(c, 204, NULL, "", 0);
    else if (!c->route && other)
        serve_fail(c, 405, "invalid_request_error", NULL, "%.20s is not for %.200s", method,
                   c->path);
    else if (!c->route)
        serve_fail(c, 404, "not_found_error", NULL, "there is nothing at %.200s", c->path);
    else if (!c->route->open && !key_good(s, c))
        serve_fail(c, 401, "authentication_error", NULL, "the API key is missing or wrong");
    else if (length && (strlen(length) > 18 || strtoull(length, NULL, 10) > s->o.max_body))
        serve_fail(c, 413, "invalid_request_error", NULL, "a body of %.30s bytes, at most %zu",
                   length, s->o.max_body);
    else if (length && serve_header(c, "Transfer-Encoding"))
        serve_fail(c, 400, "invalid_request_error", NULL,
                   "both Content-Length and Transfer-Encoding");
    return !c->status;
}
