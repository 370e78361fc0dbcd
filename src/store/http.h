/*
 * http.h - several HTTP transfers at a time. Redirects are followed: another host gets no token,
 * and https never becomes http. Proxies and certificates are those of the environment. http.c on
 * libcurl; http_none.c where a build has no libcurl. Depends on base.
 */
#ifndef LAR_STORE_HTTP_H
#define LAR_STORE_HTTP_H
#include "base/base.h"

enum { LAR_HTTP_TEXT = 256 };

/* What the last answer says of itself. */
typedef struct lar_http_head {
    int status;
    bool has_range; /* Content-Range: from to `to` - 1 of total (0: not said) */
    uint64_t from, to, total;
    bool has_length;
    uint64_t length;               /* of this answer's body */
    char validator[LAR_HTTP_TEXT]; /* a strong ETag, else Last-Modified; "" */
    char weak[LAR_HTTP_TEXT];      /* a weak ETag; "" */
    char error[LAR_HTTP_TEXT];     /* what a hub says in X-Error-Code; "" */
    char link[2048];               /* Link: the next page's address; "" */
} lar_http_head;

typedef struct lar_http lar_http;
typedef struct lar_http_transfer lar_http_transfer;

typedef struct lar_http_get {
    const char *url, *accept, *token; /* the last two may be NULL; copied */
    bool ranged;                      /* ask for [from, to) only */
    uint64_t from, to;
    const char *if_range; /* only of what this names; NULL: of whatever is there */
    int stall_seconds;    /* no byte for so long: it is given up */
    /* With n == 0 once when a good answer (200, 206) begins, then with its bytes. Anything but
     * LAR_OK ends the transfer with that status. */
    lar_status (*data)(void *user, const lar_http_head *h, const void *p, size_t n, lar_err *e);
    void *user;
} lar_http_get;

typedef struct lar_http_end {
    void *user;        /* the transfer's */
    lar_status status; /* LAR_OK: the answer was good and came whole */
    bool again;        /* the failure may be gone next time */
    double wait;       /* seconds that the server asks for, or 0 */
    bool local;        /* it was `data` that failed */
    int code;          /* HTTP's, or 0 */
    char error[LAR_HTTP_TEXT];
    lar_err e;
} lar_http_end;

lar_status lar_http_new(lar_http **out, lar_err *e);
void lar_http_free(lar_http *h); /* ends what is under way; NULL is allowed */
lar_status lar_http_start(lar_http *h, const lar_http_get *get, lar_http_transfer **out,
                          lar_err *e);
void lar_http_drop(lar_http *h, lar_http_transfer *t); /* NULL is allowed */
/* Moves all for at most `seconds`. True: one has ended, *end tells how and it is gone. */
bool lar_http_turn(lar_http *h, double seconds, lar_http_end *end);

/* A short document, with retries; `poll` non-zero cancels. */
lar_status lar_http_document(lar_http *h, const lar_http_get *get, size_t most, int retries,
                             int (*poll)(void *user), void *user, lar_buf *body,
                             lar_http_head *head, lar_http_end *end, lar_err *e);

/* Seconds to wait after so many failures in a row, when the server asks for `asked`. */
double lar__http_pause(int failures, double asked);

#endif
