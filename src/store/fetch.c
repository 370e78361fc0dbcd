/*
 * fetch.c - a file over HTTP. Lanes (connections) each ask for a run of missing pieces and write
 * them where they belong; whole pieces are put into the journal at once, and the hash of the whole
 * follows behind. What a server says of ranges, lengths and versions is checked, not believed.
 * Depends on fetch.h, libsodium.
 */
#include "store/fetch.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum {
    LANES_MAX = 16,
    FIRST_RUN = 1 << 20, /* asked for while the size is not known */
    TRIES = 3,           /* of a piece whose hash is wrong */
    LIES = 2,            /* answers with other ranges, until none is asked for any more */
    GOOD_BYTES = 4096,   /* an answer of so many means that the source is alive */
    CHANGES = 2,
    JOURNAL_MAX = 128 << 20
};
/* What is left free of a disk beside the file itself. */
static const uint64_t ROOM = 1 << 20;

typedef struct fetching fetching;
typedef struct lane {
    fetching *f;
    lar_http_transfer *t; /* NULL: idle */
    bool plain;           /* asked for the whole file, not for a range */
    bool carry;           /* piece `at` has come up to `pos`: goes on there */
    size_t at, last;      /* the pieces that it is at, and up to which it goes */
    uint64_t pos, end, start;
    crypto_hash_sha256_state h;
} lane;

struct fetching {
    lar_store *s;
    lar_http *http;
    const lar_fetch *q;
    lar_pieces pieces;
    lar_pfile *file;
    lar_append *journal;
    char *part_path, *journal_path;
    char validator[LAR_HTTP_TEXT];
    lane lanes[LANES_MAX];
    int n_lanes, failures, lies;
    bool ready;   /* pieces, file and journal are there */
    bool plain;   /* the server knows no ranges, or lies about them */
    bool lasting; /* two versions can be told apart, so pieces of several answers fit together */
    bool changed; /* the file at the source is another than before */
    bool again;   /* a callback wants the same asked once more */
    size_t guess; /* until `ready`: a piece that an older journal does not have, ... */
    uint64_t guess_from, guess_end; /* ... and what to ask for first */
    size_t hashed, n_done;
    uint64_t size, done_bytes, wire;
    crypto_hash_sha256_state whole;
    double resume_at; /* no new request before */
    double rate, rate_at;
    uint64_t rate_bytes;
};

/* ---- the files ---------------------------------------------------------------------------------
 */

static lar_status enough_space(fetching *f, lar_err *e)
{
    uint64_t have, want = 0;
    for (size_t i = 0; i < f->pieces.n; i++)
        if (!f->pieces.p[i].done)
            want += f->pieces.p[i].end - f->pieces.p[i].begin;
    LAR_TRY(lar_disk_free(f->s->dir, &have, e));
    if (have >= want && have - want >= ROOM)
        return LAR_OK;
    return lar_fail(e, LAR_EIO, "%s has %llu MB free, want %llu MB for %s", f->s->dir,
                    (unsigned long long)(have / 1000000),
                    (unsigned long long)((want + ROOM) / 1000000 + 1), f->q->what);
}

static lar_status read_journal(fetching *f, char **text, size_t *n, lar_err *e)
{
    lar_file_id id;
    *n = 0;
    *text = NULL;
    if (lar_file_identify(f->journal_path, &id, NULL) != LAR_OK)
        return LAR_OK;
    if (id.size > JOURNAL_MAX)
        return LAR_OK; /* not one of ours */
    if (!(*text = lar_alloc((size_t)id.size + 1)))
        return lar__oom(e);
    return lar_file_read(f->journal_path, *text, (size_t)id.size, n, e);
}

/* What the journal says is there is read again: a power cut may have taken it. */
static lar_status check_pieces(fetching *f, lar_err *e)
{
    char *buf = NULL;
    lar_status s = LAR_OK;
    size_t cap = 0;
    for (size_t i = 0; i < f->pieces.n && s == LAR_OK; i++) {
        lar_piece *p = &f->pieces.p[i];
        const size_t n = (size_t)(p->end - p->begin);
        uint8_t sha[LAR_SHA256];
        if (!p->done)
            continue;
        if (!lar_grow((void **)&buf, &cap, n, 1)) {
            s = lar__oom(e);
            break;
        }
        s = lar_pfile_read(f->file, buf, n, p->begin, e);
        lar__hash(buf, n, sha);
        p->done = s == LAR_OK && memcmp(sha, p->sha, sizeof sha) == 0;
        if (p->done) {
            f->n_done++;
            f->done_bytes += n;
        }
        if (f->q->o->progress && i % 64 == 0 &&
            f->q->o->progress(
                &(lar_store_progress){f->q->what, f->q->before + f->done_bytes, f->q->total, 0},
                f->q->o->user))
            s = lar_fail(e, LAR_ECANCELLED, "cancelled");
    }
    lar_free(buf);
    return s;
}

/* Once the pieces are known: what an earlier process has left is taken over. */
static lar_status get_ready(fetching *f, lar_err *e)
{
    char head[160], *text;
    size_t n, keep = 0;
    lar_status s;
    f->lasting = f->q->sha256 || f->validator[0];
    lar_journal_head(&f->pieces, f->q->sha256 ? "" : f->validator, head);
    LAR_TRY(read_journal(f, &text, &n, e));
    if (text && f->lasting)
        lar_journal_read(text, n, head, &f->pieces, &keep);
    lar_free(text);
    s = enough_space(f, e);
    if (s == LAR_OK)
        s = lar_pfile_open(f->part_path, f->size, &f->file, e);
    if (s == LAR_OK)
        s = lar_append_open(f->journal_path, &f->journal, e);
    if (s == LAR_OK)
        s = lar_append_cut(f->journal, keep, e);
    if (s == LAR_OK && keep == 0 && f->lasting)
        s = lar_append_write(f->journal, head, strlen(head), e);
    if (s == LAR_OK)
        s = check_pieces(f, e);
    f->plain |= !f->lasting;
    f->ready = s == LAR_OK;
    return s;
}

static void drop_files(fetching *f)
{
    lar_file_remove(f->part_path);
    lar_file_remove(f->journal_path);
}

/* ---- pieces ------------------------------------------------------------------------------------
 */

static lar_status piece_came(fetching *f, lane *l, lar_err *e)
{
    lar_piece *p = &f->pieces.p[l->at];
    uint8_t sha[LAR_SHA256];
    char hex[LAR_SHA256_HEX], line[LAR_SHA256_HEX + 32];
    crypto_hash_sha256_final(&l->h, sha);
    p->busy = false;
    if (p->wanted && memcmp(sha, p->sha, sizeof sha) != 0) {
        if (++p->tries < TRIES)
            return LAR_OK; /* stays missing */
        return lar_fail(e, LAR_EFORMAT,
                        "%s: bytes %llu to %llu are wrong %d times: something "
                        "between here and the source changes files",
                        f->q->what, (unsigned long long)p->begin, (unsigned long long)p->end,
                        TRIES);
    }
    memcpy(p->sha, sha, sizeof sha);
    p->done = true;
    f->n_done++;
    f->done_bytes += p->end - p->begin;
    if (!f->lasting)
        return LAR_OK;
    f->failures = 0;
    lar__hex(sha, hex);
    const int n = snprintf(line, sizeof line, "%zu %s\n", l->at, hex);
    return lar_append_write(f->journal, line, (size_t)n, e);
}

/* The hash of the whole, over at most `most` further pieces. */
static lar_status follow(fetching *f, size_t most, lar_err *e)
{
    char *buf = NULL;
    size_t cap = 0;
    lar_status s = LAR_OK;
    for (; most && s == LAR_OK && f->hashed < f->pieces.n && f->pieces.p[f->hashed].done; most--) {
        const lar_piece *p = &f->pieces.p[f->hashed];
        const size_t n = (size_t)(p->end - p->begin);
        if (!lar_grow((void **)&buf, &cap, n, 1))
            s = lar__oom(e);
        else if ((s = lar_pfile_read(f->file, buf, n, p->begin, e)) == LAR_OK)
            crypto_hash_sha256_update(&f->whole, (const uint8_t *)buf, n);
        f->hashed++;
    }
    lar_free(buf);
    return s;
}

/* ---- what comes --------------------------------------------------------------------------------
 */

static lar_status lie(fetching *f, lar_err *e, const char *what)
{
    f->again = true;
    if (++f->lies >= LIES)
        f->plain = true;
    return lar_fail(e, LAR_EFORMAT, "%s: the server %s", f->q->what, what);
}

/* The one that takes the whole file; NULL: none is at it. */
static const lane *plain_lane(const fetching *f)
{
    for (int i = 0; i < LANES_MAX; i++)
        if (f->lanes[i].t && f->lanes[i].plain)
            return &f->lanes[i];
    return NULL;
}

/* The size of the file by this answer; 0: it does not say. */
static uint64_t size_of(const lar_http_head *h)
{
    return h->status == 206 ? h->total : h->has_length ? h->length : 0;
}

/* Servers of one file may disagree about dates, so where its hash is known only an ETag counts. */
static const char *version_of(const fetching *f, const lar_http_head *h)
{
    const char *v = h->validator[0] ? h->validator : h->weak;
    return f->q->sha256 && v[0] != '"' ? "" : v;
}

static lar_status see_version(fetching *f, const lar_http_head *h, lar_err *e)
{
    const uint64_t size = size_of(h);
    const char *v = version_of(f, h);
    if ((f->validator[0] && v[0] && strcmp(f->validator, v) != 0) ||
        (f->ready && size && size != f->size)) {
        f->changed = true;
        return lar_fail(e, LAR_EFORMAT, "%s: the file at the source has changed while it came",
                        f->q->what);
    }
    if (!f->validator[0])
        snprintf(f->validator, sizeof f->validator, "%s", v);
    if (f->q->size && size && size != f->q->size)
        return lar_fail(e, LAR_EFORMAT, "%s: the server has %llu bytes, want %llu", f->q->what,
                        (unsigned long long)size, (unsigned long long)f->q->size);
    return LAR_OK;
}

static lar_status ask_again(fetching *f, lar_err *e)
{
    f->again = true;
    return lar_fail(e, LAR_EIO, "%s: the server serves no ranges of it", f->q->what);
}

/* The first answer where the size was not known, or only guessed. */
static lar_status learn_size(fetching *f, lane *l, const lar_http_head *h, lar_err *e)
{
    const uint64_t size = size_of(h);
    if (!size)
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: the server does not say how long the file is",
                        f->q->what);
    if (size != f->size) {
        lar_pieces_free(&f->pieces);
        f->size = f->guess = f->guess_from = 0;
        f->guess_end = FIRST_RUN;
        if (l->pos) { /* the older journal is of another file */
            drop_files(f);
            return ask_again(f, e);
        }
        LAR_TRY(lar_pieces_even(size, &f->pieces, e));
        f->size = size;
        l->at = 0;
    }
    LAR_TRY(get_ready(f, e));
    if (h->status == 206 &&
        (f->plain || (l->pos > f->pieces.p[l->at].begin && !f->pieces.p[l->at].done)))
        return ask_again(f, e);
    l->end = h->status == 206 ? h->to : size;
    for (l->last = l->at; l->last < f->pieces.n && f->pieces.p[l->last].begin < l->end; l->last++)
        f->pieces.p[l->last].busy = true;
    return LAR_OK;
}

static lar_status on_head(fetching *f, lane *l, const lar_http_head *h, lar_err *e)
{
    if (h->status == 206 && (l->plain || !h->has_range || h->from != l->pos || h->to > l->end))
        return lie(f, e,
                   l->plain ? "sends a part where the whole was asked for"
                            : "sends other bytes than were asked for");
    LAR_TRY(see_version(f, h, e));
    if (h->status == 200 && !l->plain) {
        f->plain = true; /* it knows no ranges */
        if (l->pos || plain_lane(f))
            return ask_again(f, e);
        l->plain = true;
    }
    if (!f->ready)
        LAR_TRY(learn_size(f, l, h, e));
    if (h->status == 200)
        l->at = 0, l->last = f->pieces.n, l->end = f->size;
    return LAR_OK;
}

static lar_status on_data(void *user, const lar_http_head *h, const void *data, size_t n,
                          lar_err *e)
{
    lane *l = user;
    fetching *f = l->f;
    const char *from = data;
    if (!n)
        return on_head(f, l, h, e);
    f->wire += n;
    if (!l->plain && l->pos - l->start + n >= GOOD_BYTES)
        f->failures = 0;
    while (n && l->at < l->last && l->pos < l->end) {
        lar_piece *p = &f->pieces.p[l->at];
        const size_t k = (size_t)LAR_MIN((uint64_t)n, p->end - l->pos);
        if (!p->done) {
            LAR_TRY(lar_pfile_write(f->file, from, k, l->pos, e));
            crypto_hash_sha256_update(&l->h, (const uint8_t *)from, k);
        }
        from += k;
        n -= k;
        l->pos += k;
        if (l->pos < p->end)
            continue;
        if (!p->done)
            LAR_TRY(piece_came(f, l, e));
        l->at++;
        crypto_hash_sha256_init(&l->h);
    }
    return LAR_OK; /* more than was asked for is not looked at */
}

/* ---- lanes -------------------------------------------------------------------------------------
 */

static bool open_piece(const lar_piece *p)
{
    return !p->done && !p->busy;
}

/* A run of missing pieces: a share of what is missing, less and less towards the end. */
static bool choose_run(fetching *f, lane *l)
{
    size_t first = 0, n = 0, most;
    while (first < f->pieces.n && !open_piece(&f->pieces.p[first]))
        first++;
    if (first == f->pieces.n)
        return false;
    most = LAR_MAX((f->pieces.n - f->n_done) / (2 * (size_t)f->n_lanes), 1);
    while (n < most && first + n < f->pieces.n && open_piece(&f->pieces.p[first + n]))
        f->pieces.p[first + n++].busy = true;
    l->at = first;
    l->last = first + n;
    l->pos = f->pieces.p[first].begin;
    return true;
}

/* The whole once more. Where nothing tells versions apart, what came before is of no use. */
static void choose_all(fetching *f, lane *l)
{
    l->at = 0, l->pos = 0, l->last = f->pieces.n;
    if (f->lasting)
        return;
    for (size_t i = 0; i < f->pieces.n; i++)
        f->pieces.p[i].done = false;
    f->n_done = f->hashed = 0;
    f->done_bytes = 0;
    crypto_hash_sha256_init(&f->whole);
}

static bool choose(fetching *f, lane *l)
{
    const bool carry = l->carry;
    l->carry = false;
    if (f->plain) {
        choose_all(f, l);
    } else if (carry) {
        l->last = l->at + 1;
    } else if (f->ready) {
        if (!choose_run(f, l))
            return false;
    } else {
        l->at = l->last = f->guess;
        l->pos = f->guess_from;
    }
    if (f->plain || !carry)
        crypto_hash_sha256_init(&l->h);
    l->end = l->last > l->at ? f->pieces.p[l->last - 1].end : LAR_MAX(f->guess_end, 1);
    l->start = l->pos;
    return true;
}

static lar_status start_lane(fetching *f, lane *l, lar_err *e)
{
    if (!choose(f, l))
        return LAR_OK;
    l->plain = f->plain;
    const lar_http_get get = {.url = f->q->url,
                              .token = f->q->token,
                              .ranged = !f->plain,
                              .from = l->pos,
                              .to = l->end,
                              .if_range = f->validator[0] == 'W' ? NULL : f->validator,
                              .stall_seconds = f->q->o->stall_seconds,
                              .data = on_data,
                              .user = l};
    return lar_http_start(f->http, &get, &l->t, e);
}

/* `keep`: the piece that has begun to come goes on there. */
static void release(fetching *f, lane *l, bool keep)
{
    l->t = NULL;
    l->carry = keep && f->ready && !f->plain && l < f->lanes + f->n_lanes && l->at < l->last &&
               l->pos > f->pieces.p[l->at].begin;
    for (size_t i = l->at + l->carry; i < l->last && i < f->pieces.n; i++)
        f->pieces.p[i].busy = false;
}

static void stop_lane(fetching *f, lane *l)
{
    lar_http_drop(f->http, l->t);
    if (l->t || l->carry)
        release(f, l, false);
}

/* After an answer that ended in an unwanted way: fewer lanes, or one that takes the whole. */
static void regroup(fetching *f, const lar_http_end *end)
{
    if (end->code == 429 || end->code == 503)
        f->n_lanes = LAR_MAX(f->n_lanes - 1, 1);
    for (int i = 0; i < LANES_MAX; i++) {
        lane *l = &f->lanes[i];
        if (f->plain ? !l->plain : i >= f->n_lanes && !l->t)
            stop_lane(f, l);
    }
}

/* A transfer has ended: LAR_OK where it, or another, may go on. */
static lar_status ended(fetching *f, lar_http_end *end, lar_err *e)
{
    lane *l = end->user;
    bool again = end->local ? f->again : end->again;
    const bool turned = f->plain && !l->plain, waiting = lar_clock() < f->resume_at;
    const bool alive = !l->plain && l->pos - l->start >= GOOD_BYTES;
    f->again = false;
    release(f, l, !end->local);
    if (end->status == LAR_OK && l->pos >= l->end)
        return LAR_OK;
    if (end->status == LAR_OK) {
        end->status = lar_fail(&end->e, LAR_EIO, "%s: the answer ends too early", f->q->what);
        again = true;
    }
    /* Lanes that fail together are one failure; one that brought something is none. */
    const bool counts = !turned && !alive && !waiting;
    if (!again || (counts && f->failures >= f->q->o->retries))
        return lar_fail(e, end->status, "%s", end->e.msg);
    regroup(f, end);
    if (counts)
        f->resume_at = lar_clock() + lar__http_pause(++f->failures, end->wait);
    return LAR_OK;
}

/* ---- all of it ---------------------------------------------------------------------------------
 */

static lar_status report(fetching *f, lar_err *e)
{
    const double now = lar_clock();
    uint64_t done = f->done_bytes;
    for (int i = 0; i < LANES_MAX && f->ready; i++) {
        const lane *l = &f->lanes[i];
        if ((l->t || l->carry) && l->at < f->pieces.n && !f->pieces.p[l->at].done &&
            l->pos > f->pieces.p[l->at].begin)
            done += l->pos - f->pieces.p[l->at].begin;
    }
    if (now - f->rate_at > 0.5) {
        const double r = (double)(f->wire - f->rate_bytes) / (now - f->rate_at);
        f->rate = f->rate_at > 0 ? 0.7 * f->rate + 0.3 * r : 0;
        f->rate_at = now;
        f->rate_bytes = f->wire;
    }
    const lar_store_progress p = {f->q->what, f->q->before + done,
                                  f->q->total ? f->q->total : f->q->before + f->size, f->rate};
    if (f->q->o->progress && f->q->o->progress(&p, f->q->o->user))
        return lar_fail(e, LAR_ECANCELLED, "cancelled");
    return LAR_OK;
}

static bool complete(const fetching *f)
{
    return f->ready && f->n_done == f->pieces.n;
}

static lar_status start_lanes(fetching *f, lar_err *e)
{
    if (lar_clock() < f->resume_at || plain_lane(f))
        return LAR_OK;
    const int n = f->plain || !f->ready ? 1 : f->n_lanes;
    for (int i = 0; i < n; i++)
        if (!f->lanes[i].t)
            LAR_TRY(start_lane(f, &f->lanes[i], e));
    return LAR_OK;
}

static lar_status run(fetching *f, lar_err *e)
{
    lar_http_end end;
    while (!complete(f)) {
        LAR_TRY(start_lanes(f, e));
        if (lar_http_turn(f->http, 0.1, &end))
            LAR_TRY(ended(f, &end, e));
        LAR_TRY(follow(f, 4, e));
        LAR_TRY(report(f, e));
    }
    while (f->hashed < f->pieces.n) {
        LAR_TRY(follow(f, 4, e));
        LAR_TRY(report(f, e));
    }
    return LAR_OK;
}

static lar_status check_whole(fetching *f, uint8_t sha[LAR_SHA256], lar_err *e)
{
    char hex[LAR_SHA256_HEX];
    crypto_hash_sha256_final(&f->whole, sha);
    lar__hex(sha, hex);
    if (!f->q->sha256 || strcmp(hex, f->q->sha256) == 0)
        return LAR_OK;
    drop_files(f);
    return lar_fail(e, LAR_EFORMAT,
                    "%s: SHA-256 is %s, want %s: something between here and the source changes "
                    "files; what came is thrown away",
                    f->q->what, hex, f->q->sha256);
}

/* The first run that is missing; where none is, the last byte, to see whether it is still the same
 * file. */
static void guess_run(fetching *f)
{
    const lar_piece *p = f->pieces.p;
    size_t i = 0;
    while (i + 1 < f->pieces.n && p[i].done)
        i++;
    f->guess = i;
    f->guess_from = p[i].done ? f->size - 1 : p[i].begin;
    f->guess_end = p[i].end;
    while (i + 1 < f->pieces.n && !p[i + 1].done && f->guess_end - f->guess_from < FIRST_RUN)
        f->guess_end = p[++i].end;
}

/* Where only the server's next answer can tell whether an older journal holds: begin with what it
 * lacks. */
static lar_status guess(fetching *f, lar_err *e)
{
    char *text;
    size_t n, keep;
    LAR_TRY(read_journal(f, &text, &n, e));
    const char *line = text ? memchr(text, '\n', n) : NULL;
    const uint64_t size = line ? lar_journal_size(text, n) : 0;
    char *head = size ? lar_strndup(text, (size_t)(line - text) + 1) : NULL;
    lar_status s = LAR_OK;
    if (head && !f->size && (s = lar_pieces_even(size, &f->pieces, e)) == LAR_OK)
        f->size = size;
    if (head && s == LAR_OK) {
        lar_journal_read(text, n, head, &f->pieces, &keep);
        guess_run(f);
        for (size_t i = 0; i < f->pieces.n; i++)
            f->pieces.p[i].done = false;
    }
    lar_free(head);
    lar_free(text);
    return s;
}

static lar_status begin(fetching *f, lar_err *e)
{
    f->size = f->q->size;
    f->guess_end = FIRST_RUN;
    f->n_lanes = LAR_MIN(LAR_MAX(f->q->o->connections, 1), LANES_MAX);
    for (int i = 0; i < LANES_MAX; i++)
        f->lanes[i].f = f;
    crypto_hash_sha256_init(&f->whole);
    if (f->q->chunks.n) {
        f->pieces = f->q->chunks;
        f->size = f->pieces.p[f->pieces.n - 1].end;
    } else if (f->size) {
        LAR_TRY(lar_pieces_even(f->size, &f->pieces, e));
    }
    if (!f->q->sha256)
        return guess(f, e);
    return f->size ? get_ready(f, e) : LAR_OK;
}

static lar_status fetch_once(fetching *f, uint8_t sha[LAR_SHA256], lar_err *e)
{
    lar_status s = begin(f, e);
    if (s == LAR_OK)
        s = run(f, e);
    if (s == LAR_OK)
        s = check_whole(f, sha, e);
    for (int i = 0; i < LANES_MAX; i++)
        stop_lane(f, &f->lanes[i]);
    lar_pfile_close(f->file);
    lar_append_close(f->journal);
    lar_pieces_free(&f->pieces);
    return s;
}

lar_status lar__fetch(lar_store *s, lar_http *h, const lar_fetch *q, const char *key,
                      uint8_t sha[LAR_SHA256], uint64_t *wire, lar_err *e)
{
    lar_status st = LAR_ENOMEM;
    char *part = lar__store_file(s, "partial", key, ".part"),
         *journal = lar__store_file(s, "partial", key, ".journal");
    fetching *f = lar_alloc(sizeof *f);
    if (!f || !part || !journal) {
        st = lar__oom(e);
        goto out;
    }
    for (int i = 0;; i++) {
        *f = (fetching){.s = s, .http = h, .q = q, .part_path = part, .journal_path = journal};
        st = fetch_once(f, sha, e);
        *wire += f->wire;
        if (st == LAR_OK || !f->changed || q->sha256 || i == CHANGES)
            break;
        drop_files(f);
    }
out:
    lar_free(f);
    lar_free(part);
    lar_free(journal);
    return st;
}
