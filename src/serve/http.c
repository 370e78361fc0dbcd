/*
 * http.c - connections. One thread of libmicrohttpd's has them all (epoll), so idle ones cost
 * nothing but a descriptor; what takes time is suspended there and done by workers (call.c). The
 * thread that called lar_serve looks after the rest: clients that left, headers that take too long,
 * models that nobody uses, the signal to end.
 */
#include "base/os.h"
#include "serve/models.h"
#include "serve/part.h"
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRONT(name) extern const serve_front serve_front_##name;
#include "serve/fronts.def"
#undef FRONT
const serve_front *const serve_fronts[] = {
#define FRONT(name) &serve_front_##name,
#include "serve/fronts.def"
#undef FRONT
};
const size_t serve_n_fronts = LAR_LEN(serve_fronts);

enum {
    PARALLEL = 16,
    QUEUE = 64,
    CONNECTIONS = 1024,
    BODY = 16 << 20,
    HEADER_BYTES = 32 << 10,
    RETRY_AFTER = 2
};
/* Seconds: a first header in all; a connection between two requests; one in which nothing moves. */
static const double HEADER_SECONDS = 10, IDLE_SECONDS = 75;
enum { STILL_SECONDS = 120 };
static const double TICK = 0.02, CUT = 1;

/* ---- replies of libmicrohttpd
 * -------------------------------------------------------------------- */

/* Called when there is room to send: what is there, or wait for more. */
static ssize_t read_stream(void *cls, uint64_t pos, char *to, size_t most)
{
    serve_call *c = cls;
    (void)pos;
    lar_lock_take(&c->lock);
    ssize_t n = (ssize_t)LAR_MIN(most, c->out.n - c->at);
    if (n) {
        memcpy(to, c->out.p + c->at, (size_t)n);
        c->at += (size_t)n;
        if (c->at == c->out.n) {
            lar_buf_clear(&c->out);
            c->at = 0;
        }
    } else if (c->done) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        c->suspended = true;
        MHD_suspend_connection(c->mhd);
    }
    lar_lock_give(&c->lock);
    return n;
}

static void add_headers(const serve_call *c, struct MHD_Response *r)
{
    const serve_server *s = c->server;
    if (c->type)
        MHD_add_response_header(r, "Content-Type", c->type);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    for (size_t at = 0; at < c->headers.n && !c->headers.oom;) {
        const char *name = (const char *)c->headers.p + at, *value = name + strlen(name) + 1;
        MHD_add_response_header(r, name, value);
        at += strlen(name) + strlen(value) + 2;
    }
    if (c->streaming)
        MHD_add_response_header(r, "Cache-Control", "no-cache");
    if (c->status == 429 || c->status == 503) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", RETRY_AFTER);
        MHD_add_response_header(r, "Retry-After", seconds);
    }
    if (c->status == 401)
        MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    if (s->o.cors) {
        MHD_add_response_header(r, "Access-Control-Allow-Origin", s->o.cors);
        MHD_add_response_header(r, "Access-Control-Allow-Headers", "*, Authorization");
        MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    }
}

static enum MHD_Result send_reply(serve_call *c)
{
    struct MHD_Response *r;
    lar_lock_take(&c->lock);
    c->sent = true;
    if (c->streaming)
        r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, c, NULL);
    else
        r = MHD_create_response_from_buffer(c->out.n, c->out.p, MHD_RESPMEM_MUST_COPY);
    if (r)
        add_headers(c, r);
    const unsigned status = (unsigned)c->status;
    lar_lock_give(&c->lock);
    const enum MHD_Result ok = r ? MHD_queue_response(c->mhd, status, r) : MHD_NO;
    if (r)
        MHD_destroy_response(r);
    return ok;
}

/* ---- requests of libmicrohttpd
 * ------------------------------------------------------------------- */

/* The whole request is there: answer at once, or suspend it and let a worker do it. */
static enum MHD_Result begin(serve_call *c)
{
    if (c->route->quick) {
        c->route->run(c);
        return send_reply(c);
    }
    lar_lock_take(&c->lock); /* so that no worker resumes it before it is suspended */
    const bool taken = serve__submit(c);
    if (taken) {
        c->suspended = true;
        MHD_suspend_connection(c->mhd);
    }
    lar_lock_give(&c->lock);
    return taken ? MHD_YES : send_reply(c);
}

static serve_conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i ? i->socket_context : NULL;
}

static void set_busy(serve_server *s, serve_conn *conn, bool busy)
{
    if (!conn)
        return;
    lar_lock_take(&s->lock);
    conn->busy = busy;
    conn->served = conn->served || !busy;
    conn->since = lar_clock();
    lar_lock_give(&s->lock);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **ctx)
{
    serve_server *s = cls;
    serve_call *c = *ctx;
    (void)version;
    if (!c) {
        if (!(c = *ctx = serve__call_new(s, mhd, url)))
            return MHD_NO;
        set_busy(s, c->conn = conn_of(mhd), true);
        if (!c->path)
            return MHD_NO;
        c->discard = !serve__guard(c, method);
        /* A body that is not wanted is not read: the connection ends with the answer. */
        return c->discard && c->status == 413 ? send_reply(c) : MHD_YES;
    }
    if (*n) {
        if (!c->discard)
            lar_buf_add(&c->body, data, *n);
        if (!c->discard && (c->body.oom || c->body.n > s->o.max_body)) {
            serve_fail(c, c->body.oom ? 503 : 413, "invalid_request_error", NULL,
                       "a body of more than %zu bytes", s->o.max_body);
            c->discard = true;
            lar_buf_free(&c->body);
        }
        *n = 0;
        return MHD_YES;
    }
    if (c->sent)
        return MHD_YES;
    if (c->discard || c->status)
        return send_reply(c);
    return c->submitted ? MHD_YES : begin(c);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **ctx,
                         enum MHD_RequestTerminationCode code)
{
    serve_call *c = *ctx;
    (void)mhd;
    if (!c)
        return;
    set_busy(cls, c->conn, false);
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        serve__call_cancel(c);
    lar_lock_take(&c->server->lock);
    c->conn = NULL;
    lar_lock_give(&c->server->lock);
    lar_lock_take(&c->lock);
    c->suspended = false;
    lar_lock_give(&c->lock);
    *ctx = NULL;
    serve__call_unref(c);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **ctx,
                          enum MHD_ConnectionNotificationCode code)
{
    serve_server *s = cls;
    serve_conn *c = *ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *i =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (!i || !(c = *ctx = lar_alloc(sizeof *c)))
            return;
        c->fd = i->connect_fd;
        c->since = lar_clock();
    }
    if (!c)
        return;
    lar_lock_take(&s->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        c->next = s->conns;
        s->conns = c;
        s->fig.connections++;
    } else {
        serve_conn **p = &s->conns;
        while (*p != c)
            p = &(*p)->next;
        *p = c->next;
        s->fig.connections--;
    }
    lar_lock_give(&s->lock);
    if (code == MHD_CONNECTION_NOTIFY_CLOSED)
        lar_free(c);
}

/* ---- looking after it
 * ---------------------------------------------------------------------------- */

/* A suspended connection is not watched by libmicrohttpd. */
static void look_for_the_gone(serve_server *s)
{
    lar_lock_take(&s->lock);
    for (serve_call *c = s->calls; c; c = c->next) {
        if (!c->submitted || !c->conn || serve_gone(c))
            continue;
        struct pollfd p = {.fd = c->conn->fd, .events = POLLRDHUP};
        if (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)))
            serve__call_cancel(c);
    }
    lar_lock_give(&s->lock);
}

/* Where many connections are open, those that do nothing have less time. */
static void end_slow_headers(serve_server *s)
{
    const double now = lar_clock();
    lar_lock_take(&s->lock);
    const bool crowded = s->fig.connections > s->o.connections * 3 / 4;
    for (serve_conn *c = s->conns; c; c = c->next) {
        const double most = c->served && !crowded ? IDLE_SECONDS : HEADER_SECONDS;
        if (!c->busy && now - c->since > most)
            shutdown(c->fd, SHUT_RDWR);
    }
    lar_lock_give(&s->lock);
}

/* cut: who does not even read what is there is not waited for. */
static int calls_left(serve_server *s, bool cancel, bool cut)
{
    int n = 0;
    lar_lock_take(&s->lock);
    for (serve_call *c = s->calls; c; c = c->next) {
        if (cancel && c->submitted)
            serve__call_cancel(c);
        if (cut && c->conn)
            shutdown(c->conn->fd, SHUT_RDWR);
        n += c->submitted;
    }
    lar_lock_give(&s->lock);
    return n;
}

static void nap(void)
{
    const struct timespec t = {.tv_nsec = (long)(TICK * 1e9)};
    nanosleep(&t, NULL);
}

static void look_after(serve_server *s, const sigset_t *ends)
{
    const struct timespec none = {0};
    for (long tick = 0; sigtimedwait(ends, NULL, &none) < 0; tick++) {
        look_for_the_gone(s);
        if (tick % 25 == 0) {
            end_slow_headers(s);
            serve_models_tidy(s->models);
        }
        nap();
    }
}

/* Let answers finish; after the grace they are cut. */
static void wind_down(serve_server *s)
{
    const double t0 = lar_clock();
    const MHD_socket fd = MHD_quiesce_daemon(s->daemon);
    if (fd != MHD_INVALID_SOCKET)
        shutdown(fd, SHUT_RDWR);
    serve_log(s, "going down: %d requests left", calls_left(s, false, false));
    for (double past = 0; calls_left(s, past > 0, past > CUT) > 0;) {
        nap();
        past = lar_clock() - t0 - s->o.grace;
    }
    if (fd != MHD_INVALID_SOCKET) {
        MHD_stop_daemon(s->daemon);
        s->daemon = NULL;
        close(fd);
    }
}

/* ---- beginning
 * ------------------------------------------------------------------------------------ */

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

static lar_status settle_options(serve_server *s, const serve_options *given, lar_err *e)
{
    serve_options *o = &s->o;
    *o = *given;
    o->address = o->address ? o->address : "127.0.0.1";
    o->parallel = o->parallel ? o->parallel : PARALLEL;
    o->queue = o->queue ? o->queue : QUEUE;
    o->connections = o->connections ? o->connections : CONNECTIONS;
    o->max_body = o->max_body ? o->max_body : BODY;
    o->keep_alive = o->keep_alive > 0 ? o->keep_alive : 1800;
    o->grace = o->grace > 0 ? o->grace : 10;
    o->memory = o->memory ? o->memory : (uint64_t)lar_ram_available() / 4 * 3;
    if (!is_loopback(o->address) && !o->api_key)
        return lar_fail(e, LAR_EARG,
                        "%s can be reached from other machines: that wants a key (LAR_API_KEY or "
                        "--api-key-file)",
                        o->address);
    if (o->api_key && !*o->api_key)
        return lar_fail(e, LAR_EARG, "the API key is empty");
    if (sodium_init() < 0)
        return lar_fail(e, LAR_EIO, "libsodium does not start");
    if (o->api_key)
        crypto_generichash(s->key, sizeof s->key, (const uint8_t *)o->api_key, strlen(o->api_key),
                           NULL, 0);
    return LAR_OK;
}

static lar_status listen_at(serve_server *s, lar_err *e)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->o.port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)s->o.port)};
    const bool six = strchr(s->o.address, ':') != NULL;
    if (inet_pton(six ? AF_INET6 : AF_INET, s->o.address,
                  six ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr) != 1)
        return lar_fail(e, LAR_EARG, "'%.60s' is not an address of this machine, such as 127.0.0.1",
                        s->o.address);
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC;
    if (six)
        flags |= MHD_USE_IPv6;
    s->daemon = MHD_start_daemon(
        flags, (uint16_t)s->o.port, NULL, NULL, on_request, s, MHD_OPTION_SOCK_ADDR,
        six ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->o.connections, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)STILL_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES,
        MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_END);
    if (!s->daemon)
        return lar_fail(e, LAR_EIO, "cannot listen at %s, port %d: is it in use?", s->o.address,
                        s->o.port);
    const union MHD_DaemonInfo *i = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
    s->port = i ? i->port : s->o.port;
    return LAR_OK;
}

static lar_status start(serve_server *s, const serve_options *o, lar_err *e)
{
    LAR_TRY(settle_options(s, o, e));
    const lar_runtime_options ro = {.size = sizeof ro, .threads = o->threads, .cpu = o->cpu};
    LAR_TRY(lar_runtime_new(&ro, &s->rt, e));
    LAR_TRY(serve_models_new(s, &s->models, e));
    LAR_TRY(serve__workers_start(s, e));
    LAR_TRY(listen_at(s, e));
    const bool six = strchr(s->o.address, ':') != NULL;
    serve_log(s, "listening at http://%s%s%s:%d", six ? "[" : "", s->o.address, six ? "]" : "",
              s->port);
    return LAR_OK;
}

lar_status lar_serve(const serve_options *o, lar_err *e)
{
    sigset_t ends, before;
    serve_server *s = lar_alloc(sizeof *s);
    if (!s)
        return lar_fail(e, LAR_ENOMEM, "out of memory");
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, &before); /* for all threads that are made here */
    s->t0 = lar_clock();
    lar_status st = lar_lock_init(&s->lock, e);
    if (st == LAR_OK && (st = lar_bell_init(&s->work, e)) != LAR_OK)
        lar_lock_end(&s->lock);
    if (st != LAR_OK) {
        lar_free(s);
        return st;
    }
    st = start(s, o, e);
    if (st == LAR_OK) {
        look_after(s, &ends);
        wind_down(s);
    }
    serve__workers_stop(s);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    serve_models_free(s->models);
    lar_runtime_free(s->rt);
    lar_bell_end(&s->work);
    lar_lock_end(&s->lock);
    lar_free(s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return st;
}

/* ---- for fronts
 * ------------------------------------------------------------------------------------ */

struct serve_models *serve_the_models(serve_server *s)
{
    return s->models;
}

lar_runtime *serve_runtime(serve_server *s)
{
    return s->rt;
}

const serve_options *serve_opts(const serve_server *s)
{
    return &s->o;
}

void serve_log(serve_server *s, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    if (!s->o.log)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    s->o.log(s->o.user, line);
}

serve_figures serve_get_figures(serve_server *s)
{
    lar_lock_take(&s->lock);
    serve_figures f = s->fig;
    f.running = s->running;
    f.queued = s->queued;
    lar_lock_give(&s->lock);
    f.uptime = lar_clock() - s->t0;
    return f;
}

void serve_count_tokens(serve_server *s, uint64_t prompt, uint64_t cached, uint64_t answer)
{
    lar_lock_take(&s->lock);
    s->fig.prompt_tokens += prompt;
    s->fig.cached_tokens += cached;
    s->fig.answer_tokens += answer;
    lar_lock_give(&s->lock);
}
