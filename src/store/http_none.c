/* http_none.c - http.h in a build without libcurl: nothing can be fetched. Depends on base. */
#include "store/http.h"

lar_status lar_http_new(lar_http **out, lar_err *e)
{
    *out = NULL;
    return lar_fail(e, LAR_EUNSUPPORTED, "this build of LAR has no network: it is without libcurl");
}

void lar_http_free(lar_http *h)
{
    (void)h;
}

lar_status lar_http_start(lar_http *h, const lar_http_get *get, lar_http_transfer **out, lar_err *e)
{
    (void)h;
    (void)get;
    *out = NULL;
    return lar_fail(e, LAR_EUNSUPPORTED, "no network");
}

void lar_http_drop(lar_http *h, lar_http_transfer *t)
{
    (void)h;
    (void)t;
}

bool lar_http_turn(lar_http *h, double seconds, lar_http_end *end)
{
    (void)h;
    (void)seconds;
    (void)end;
    return false;
}
