/*
 * eval_records.c - a line of JSON for each unit, in order, after a first line with the settings.
 * Each line is written at once, so that a killed evaluation goes on where it was: a last line that
 * is not whole is dropped, other settings are refused.
 */
#include "tasks/eval.h"
#include "tasks/json.h"
#include <math.h>
#include <string.h>

static double number(const json_t *rec, const char *key)
{
    const json_t *v = json_object_get(rec, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

static int count(const json_t *rec, const char *key)
{
    const json_int_t n = json_integer_value(json_object_get(rec, key));
    return n > 0 && n < INT32_MAX ? (int)n : 0;
}

bool lar__eval_score_read(const json_t *rec, lar_eval_metric m, lar_eval_score *out)
{
    const bool ll = m == LAR_EVAL_LOGLIK;
    *out = (lar_eval_score){.score = number(rec, ll ? "acc" : "score"),
                            .norm = number(rec, "acc_norm"),
                            .bytes = number(rec, "acc_bytes"),
                            .no_answer = json_is_true(json_object_get(rec, "no_answer")),
                            .truncated = json_is_true(json_object_get(rec, "truncated")),
                            .cut = json_is_true(json_object_get(rec, "cut")),
                            .tokens = count(rec, "tokens"),
                            .junk = count(rec, "junk"),
                            .unjudged = count(rec, "unjudged")};
    return json_object_get(rec, ll ? "acc" : "score") != NULL;
}

json_t *lar__eval_sorted(const json_t *v)
{
    json_t *o, *x;
    const char *key;
    size_t i;
    bool bad = false;
    if (json_is_array(v)) {
        o = json_array();
        json_array_foreach(v, i, x)
        {
            lar_json_push(o, lar__eval_sorted(x), &bad);
        }
    } else if (json_is_object(v)) {
        const char *last = NULL;
        o = json_object();
        /* The smallest key that is above the last one, as often as there are keys: few. */
        for (i = 0; i < json_object_size(v) && !bad; i++) {
            const char *next = NULL;
            json_object_foreach((json_t *)(uintptr_t)v, key, x)
            {
                if ((!last || strcmp(key, last) > 0) && (!next || strcmp(key, next) < 0))
                    next = key;
            }
            lar_json_put(o, next, lar__eval_sorted(json_object_get(v, next)), &bad);
            last = next;
        }
    } else {
        return json_incref((json_t *)(uintptr_t)v);
    }
    if (bad) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static bool add_score(lar_eval_records *r, const lar_eval_score *s)
{
    if (!lar_grow((void **)&r->score, &r->cap, r->n + 1, sizeof *r->score))
        return false;
    r->score[r->n++] = *s;
    return true;
}

/* What differs between two sets of settings, for a message. */
static lar_status other_settings(const char *path, const json_t *was, const json_t *is, lar_err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)is, key, v)
    {
        json_t *w = json_object_get(was, key);
        if (json_equal(v, w))
            continue;
        char *a = lar_json_dump(w), *b = lar_json_dump(v);
        const lar_status s = lar_fail(
            e, LAR_EARG, "%s: was begun with \"%s\" %.70s, now %.70s: use --restart to begin anew",
            path, key, w && a ? a : "absent", b ? b : "");
        lar_free(a);
        lar_free(b);
        return s;
    }
    return lar_fail(e, LAR_EARG, "%s: was begun with other settings: use --restart to begin anew",
                    path);
}

static lar_status check_header(const char *path, const json_t *o, const json_t *settings,
                               lar_err *e)
{
    json_t *was = json_object_get(o, "settings");
    if (json_integer_value(json_object_get(o, "lar_eval")) != 1 || !json_is_object(was))
        return lar_fail(e, LAR_EARG,
                        "%s: is no file of records of an evaluation; it stays as it is", path);
    return json_equal(was, (json_t *)(uintptr_t)settings) ? LAR_OK
                                                          : other_settings(path, was, settings, e);
}

typedef struct reading {
    const char *path;
    const json_t *settings;
    lar_eval_metric m;
    size_t units, line, keep;
} reading;

static lar_status damaged(const reading *g, lar_err *e)
{
    return lar_fail(e, LAR_EFORMAT,
                    "%s:%zu: not the record that belongs here: use --restart to "
                    "begin anew",
                    g->path, g->line);
}

/* A whole line; `last`: nothing follows it. */
static lar_status read_line(lar_eval_records *r, reading *g, const char *p, size_t n, bool last,
                            lar_err *e)
{
    lar_eval_score s;
    json_t *o = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
    lar_status st = LAR_OK;
    if (!o && last && g->line > 1) {
        r->torn = true;
        return LAR_OK;
    }
    if (g->line == 1) {
        st = check_header(g->path, o, g->settings, e);
    } else {
        const json_t *unit = json_object_get(o, "unit");
        if (!json_is_integer(unit) || json_integer_value(unit) != (json_int_t)r->n ||
            r->n >= g->units || !lar__eval_score_read(o, g->m, &s))
            st = damaged(g, e);
        else if (!add_score(r, &s))
            st = lar_fail(e, LAR_ENOMEM, "%s: out of memory", g->path);
        if (st == LAR_OK)
            crypto_hash_sha256_update(&r->sha, (const uint8_t *)p, n + 1);
    }
    json_decref(o);
    if (st == LAR_OK)
        g->keep += n + 1;
    return st;
}

static lar_status read_file(lar_eval_records *r, reading *g, lar_err *e)
{
    lar_map m;
    lar_file_id id;
    lar_status s = LAR_OK;
    LAR_TRY(lar_file_identify(g->path, &id, e));
    if (!id.size) /* it has just been made */
        return LAR_OK;
    LAR_TRY(lar_map_open(g->path, &m, e));
    const char *p = (const char *)m.data;
    for (size_t at = 0; at < m.size && s == LAR_OK && !r->torn;) {
        const char *end = memchr(p + at, '\n', m.size - at);
        g->line++;
        if (!end) {
            r->torn = true;
            /* A first line that is not whole: ours, or something else altogether? */
            if (g->line == 1 && (m.size < 13 || memcmp(p, "{\"lar_eval\":1", 13) != 0))
                s = check_header(g->path, NULL, g->settings, e);
            break;
        }
        const size_t n = (size_t)(end - (p + at));
        s = read_line(r, g, p + at, n, at + n + 1 == m.size, e);
        at += n + 1;
    }
    lar_map_close(&m);
    return s;
}

static lar_status write_line(lar_eval_records *r, const json_t *o, bool hashed, lar_err *e)
{
    lar_buf b = {0};
    lar_json_write(&b, o);
    lar_buf_putc(&b, '\n');
    lar_status s = b.oom ? lar_fail(e, LAR_ENOMEM, "eval: out of memory") : LAR_OK;
    if (s == LAR_OK && r->file)
        s = lar_append_write(r->file, b.p, b.n, e);
    if (s == LAR_OK && hashed)
        crypto_hash_sha256_update(&r->sha, (const uint8_t *)b.p, b.n);
    lar_buf_free(&b);
    return s;
}

static lar_status begin(lar_eval_records *r, const json_t *settings, lar_err *e)
{
    bool bad = false;
    json_t *o = json_object();
    lar_json_put(o, "lar_eval", json_integer(1), &bad);
    lar_json_put(o, "settings", json_incref((json_t *)(uintptr_t)settings), &bad);
    const lar_status s =
        bad ? lar_fail(e, LAR_ENOMEM, "eval: out of memory") : write_line(r, o, false, e);
    json_decref(o);
    return s;
}

lar_status lar__eval_records_open(const char *path, const json_t *settings, bool restart,
                                  lar_eval_metric m, size_t units, lar_eval_records *out,
                                  lar_err *e)
{
    reading g = {.path = path, .settings = settings, .m = m, .units = units};
    *out = (lar_eval_records){0};
    crypto_hash_sha256_init(&out->sha);
    if (!path)
        return LAR_OK;
    LAR_TRY(lar_append_open(path, &out->file, e));
    lar_status s = restart ? lar_append_cut(out->file, 0, e) : read_file(out, &g, e);
    if (s == LAR_OK && out->torn)
        s = lar_append_cut(out->file, g.keep, e);
    if (s == LAR_OK && !g.keep)
        s = begin(out, settings, e);
    if (s != LAR_OK)
        lar__eval_records_close(out);
    return s;
}

lar_status lar__eval_records_add(lar_eval_records *r, const json_t *rec, lar_eval_metric m,
                                 lar_err *e)
{
    lar_eval_score s;
    if (!lar__eval_score_read(rec, m, &s))
        return lar_fail(e, LAR_ENOMEM, "eval: out of memory");
    LAR_TRY(write_line(r, rec, true, e));
    return add_score(r, &s) ? LAR_OK : lar_fail(e, LAR_ENOMEM, "eval: out of memory");
}

void lar__eval_records_close(lar_eval_records *r)
{
    lar_append_close(r->file);
    lar_free(r->score);
    *r = (lar_eval_records){0};
}

void lar__eval_records_hash(const lar_eval_records *r, char hex[65])
{
    crypto_hash_sha256_state s = r->sha;
    uint8_t sha[32];
    crypto_hash_sha256_final(&s, sha);
    sodium_bin2hex(hex, 65, sha, sizeof sha);
}
