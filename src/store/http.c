/* http.c - http.h on libcurl's multi interface. */
#include "store/http.h"
#include "base/os.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CONNECT_SECONDS = 30, REDIRECTS = 10 };

struct lar_http_transfer {
    lar_http *h;
    CURL *easy;
    struct curl_slist *fields;
    lar_http_head head;
    lar_http_get get; /* its strings are not ours: libcurl has copies */
    bool begun;       /* `data` was told of the head */
    bool secure;      /* the address asked for is https */
    lar_status said;  /* by `data` */
    lar_err e;
    char message[CURL_ERROR_SIZE];
    lar_http_transfer *next;
};

struct lar_http {
    CURLM *multi;
    lar_http_transfer *all;
};

lar_status lar_http_new(lar_http **out, lar_err *e)
{
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return lar_fail(e, LAR_EIO, "libcurl cannot be started");
    lar_http *h = lar_alloc(sizeof *h);
    if (!h || !(h->multi = curl_multi_init())) {
        lar_free(h);
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    }
    *out = h;
    return LAR_OK;
}

static void end_transfer(lar_http_transfer *t)
{
    for (lar_http_transfer **p = &t->h->all; *p; p = &(*p)->next)
        if (*p == t) {
            *p = t->next;
            break;
        }
    if (t->easy) {
        curl_multi_remove_handle(t->h->multi, t->easy);
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->fields);
    lar_free(t);
}

void lar_http_drop(lar_http *h, lar_http_transfer *t)
{
    (void)h;
    if (t)
        end_transfer(t);
}

void lar_http_free(lar_http *h)
{
    if (!h)
        return;
    while (h->all)
        end_transfer(h->all);
    curl_multi_cleanup(h->multi);
    lar_free(h);
}

/* ---- the head ----------------------------------------------------------------------------------
 */

/* "NAME: value" -> value without blanks around it. */
static bool is_field(const char *line, size_t n, const char *name, const char **v, size_t *vn)
{
    const size_t k = strlen(name);
    if (n <= k || strncasecmp(line, name, k) != 0 || line[k] != ':')
        return false;
    line += k + 1;
    n -= k + 1;
    while (n && (*line == ' ' || *line == '\t'))
        line++, n--;
    while (n && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' '))
        n--;
    *v = line;
    *vn = n;
    return true;
}

/* Cut values would compare wrongly: too long a one counts as none. */
static void keep(char *to, size_t size, const char *v, size_t n)
{
    to[0] = 0;
    if (n >= size)
        return;
    memcpy(to, v, n);
    to[n] = 0;
}

static bool number(const char **p, const char *end, uint64_t *out)
{
    const char *from = *p;
    for (*out = 0; *p < end && **p >= '0' && **p <= '9'; ++*p)
        if (!lar_u64_mul(*out, 10, out) || !lar_u64_add(*out, (uint64_t)(**p - '0'), out))
            return false;
    return *p > from;
}

/* "bytes 0-99/1000", "bytes 0-99/\*" */
static void read_range(lar_http_head *h, const char *v, size_t n)
{
    const char *p = v + 6, *end = v + n;
    uint64_t last;
    h->has_range = false;
    if (n < 7 || strncasecmp(v, "bytes ", 6) != 0 || !number(&p, end, &h->from) || p >= end ||
        *p++ != '-' || !number(&p, end, &last) || last < h->from || last == UINT64_MAX ||
        p >= end || *p++ != '/')
        return;
    h->to = last + 1;
    h->total = 0;
    if (!(p + 1 == end && *p == '*') &&
        (!number(&p, end, &h->total) || p != end || h->total <= last))
        return;
    h->has_range = true;
}

/* <https://...>; rel="next" */
static void read_link(lar_http_head *h, const char *v, size_t n)
{
    const char *close = n && v[0] == '<' ? memchr(v, '>', n) : NULL;
    char rest[64];
    if (!close)
        return;
    keep(rest, sizeof rest, close, (size_t)(v + n - close));
    if (strstr(rest, "rel=\"next\""))
        keep(h->link, sizeof h->link, v + 1, (size_t)(close - v - 1));
}

static size_t on_header(char *line, size_t one, size_t n, void *user)
{
    lar_http_transfer *t = user;
    lar_http_head *h = &t->head;
    const char *v;
    size_t k;
    if (n > 5 && memcmp(line, "HTTP/", 5) == 0) {
        *h = (lar_http_head){0};
    } else if (is_field(line, n, "ETag", &v, &k)) {
        const bool weak = k > 2 && memcmp(v, "W/", 2) == 0;
        keep(weak ? h->weak : h->validator, LAR_HTTP_TEXT, v, k);
    } else if (is_field(line, n, "Last-Modified", &v, &k) && !h->validator[0]) {
        keep(h->validator, sizeof h->validator, v, k);
    } else if (is_field(line, n, "Content-Range", &v, &k)) {
        read_range(h, v, k);
    } else if (is_field(line, n, "X-Error-Code", &v, &k)) {
        keep(h->error, sizeof h->error, v, k);
    } else if (is_field(line, n, "Link", &v, &k)) {
        read_link(h, v, k);
    }
    return one * n;
}

static void finish_head(lar_http_transfer *t)
{
    long code = 0;
    curl_off_t length = -1;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    t->head.status = (int)code;
    t->head.has_length = length >= 0;
    t->head.length = length >= 0 ? (uint64_t)length : 0;
}

static bool good(int status)
{
    return status == 200 || status == 206;
}

static bool begin(lar_http_transfer *t)
{
    if (!t->begun) {
        t->begun = true;
        finish_head(t);
        if (good(t->head.status))
            t->said = t->get.data(t->get.user, &t->head, NULL, 0, &t->e);
    }
    return t->said == LAR_OK;
}

static size_t on_body(char *p, size_t one, size_t n, void *user)
{
    lar_http_transfer *t = user;
    if (!begin(t))
        return 0;
    if (good(t->head.status))
        t->said = t->get.data(t->get.user, &t->head, p, one * n, &t->e);
    return t->said == LAR_OK ? one * n : 0;
}

/* ---- one transfer ------------------------------------------------------------------------------
 */

static void restrict_protocols(CURL *c, bool secure)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
#else
    curl_easy_setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS,
                     (long)(secure ? CURLPROTO_HTTPS : CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/* The variables that other programs on libcurl and OpenSSL go by. */
static void set_certificates(CURL *c)
{
    static const char *const names[] = {"CURL_CA_BUNDLE", "SSL_CERT_FILE"};
    for (size_t i = 0; i < LAR_LEN(names); i++) {
        const char *file = lar_getenv(names[i]);
        if (file && *file) {
            curl_easy_setopt(c, CURLOPT_CAINFO, file);
            return;
        }
    }
}

static bool add_field(lar_http_transfer *t, const char *name, const char *value)
{
    lar_buf b = {0};
    lar_buf_printf(&b, "%s: %s", name, value);
    struct curl_slist *more = b.oom ? NULL : curl_slist_append(t->fields, b.p);
    lar_buf_free(&b);
    if (more)
        t->fields = more;
    return more != NULL;
}

static bool set_fields(lar_http_transfer *t)
{
    const lar_http_get *g = &t->get;
    char range[64];
    bool ok = true;
    if (g->accept)
        ok &= add_field(t, "Accept", g->accept);
    if (g->ranged) {
        snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)g->from,
                 (unsigned long long)(g->to - 1));
        ok &= curl_easy_setopt(t->easy, CURLOPT_RANGE, range) == CURLE_OK;
        if (g->if_range && *g->if_range)
            ok &= add_field(t, "If-Range", g->if_range);
    }
    if (g->token && *g->token) {
        curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        ok &= curl_easy_setopt(t->easy, CURLOPT_XOAUTH2_BEARER, g->token) == CURLE_OK;
    }
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->fields);
    return ok;
}

static bool set_up(lar_http_transfer *t)
{
    CURL *c = t->easy;
    if (curl_easy_setopt(c, CURLOPT_URL, t->get.url) != CURLE_OK)
        return false;
    restrict_protocols(c, t->secure);
    set_certificates(c);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)REDIRECTS);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "lar/" LAR_VERSION);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)t->get.stall_seconds);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->message);
    curl_easy_setopt(c, CURLOPT_PRIVATE, t);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    return set_fields(t);
}

lar_status lar_http_start(lar_http *h, const lar_http_get *get, lar_http_transfer **out, lar_err *e)
{
    *out = NULL;
    lar_http_transfer *t = lar_alloc(sizeof *t);
    if (!t)
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    t->h = h;
    t->get = *get;
    t->secure = strncasecmp(get->url, "https:", 6) == 0;
    t->next = h->all;
    h->all = t;
    t->easy = curl_easy_init();
    if (!t->easy || !set_up(t) || curl_multi_add_handle(h->multi, t->easy) != CURLM_OK) {
        end_transfer(t);
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", get->url);
    }
    t->get.url = t->get.accept = t->get.token = t->get.if_range = NULL;
    *out = t;
    return LAR_OK;
}

/* Certificates and addresses that are wrong stay so. */
static bool may_pass(CURLcode rc)
{
    switch (rc) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_OUT_OF_MEMORY:
        return false;
    default:
        return true;
    }
}

static const char *reason(int code)
{
    switch (code) {
    case 401:
        return "a token is wanted, or the one given is refused";
    case 403:
        return "access is refused";
    case 404:
    case 410:
        return "there is no such thing";
    case 416:
        return "the file is shorter than was said";
    case 429:
        return "too many requests";
    default:
        return code >= 500 ? "the server has a problem" : "not the answer that was expected";
    }
}

static void judge(lar_http_transfer *t, CURLcode rc, lar_http_end *end)
{
    char *url = NULL;
    curl_off_t wait = 0;
    begin(t); /* an answer without a body */
    curl_easy_getinfo(t->easy, CURLINFO_EFFECTIVE_URL, &url);
    const int n = url ? (int)strcspn(url, "?#") : 0; /* signatures are nobody's business */
    const int code = t->head.status;
    *end = (lar_http_end){.user = t->get.user, .code = code};
    memcpy(end->error, t->head.error, sizeof end->error);
    if (t->said != LAR_OK) {
        end->status = t->said;
        end->e = t->e;
        end->local = true;
    } else if (rc == CURLE_UNSUPPORTED_PROTOCOL && t->secure) {
        end->status = lar_fail(&end->e, LAR_EIO,
                               "%.*s: leads from https to something less safe, "
                               "which is refused",
                               n, url ? url : "");
    } else if (rc != CURLE_OK) {
        end->status = lar_fail(&end->e, LAR_EIO, "%.*s: %s", n, url ? url : "",
                               t->message[0] ? t->message : curl_easy_strerror(rc));
        end->again = may_pass(rc);
    } else if (!good(code)) {
        end->status = lar_fail(&end->e, code == 404 || code == 410 ? LAR_ENOTFOUND : LAR_EIO,
                               "%.*s: HTTP %d: %s", n, url ? url : "", code, reason(code));
        end->again = code == 408 || code == 416 || code == 429 || code >= 500;
        if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK && wait > 0)
            end->wait = (double)wait;
    }
}

bool lar_http_turn(lar_http *h, double seconds, lar_http_end *end)
{
    int running, left;
    const double until = lar_clock() + seconds;
    for (;;) {
        curl_multi_perform(h->multi, &running);
        for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left));) {
            lar_http_transfer *t = NULL;
            if (m->msg != CURLMSG_DONE)
                continue;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
            judge(t, m->data.result, end);
            end_transfer(t);
            return true;
        }
        const double rest = until - lar_clock();
        if (rest <= 0)
            return false;
        curl_multi_poll(h->multi, NULL, 0, (int)(rest * 1000) + 1, NULL);
    }
}
