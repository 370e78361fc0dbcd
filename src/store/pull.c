/*
 * pull.c - a pull from its source to its name. Bytes lie in partial/ until they are whole and
 * checked, then under their hash, and last the name leads there. Depends on source.h, gguf.h.
 */
#include "format/gguf.h"
#include "store/source.h"
#include <stdio.h>
#include <string.h>

static const double WAIT = 0.2; /* seconds between looks at another process's lock */

lar_status lar__pull_http(lar_pull *p, lar_err *e)
{
    return p->http ? LAR_OK : lar_http_new(&p->http, e);
}

int lar__pull_poll(void *pull)
{
    const lar_pull *p = pull;
    const lar_store_progress none = {.what = p->o->source};
    return p->o->progress ? p->o->progress(&none, p->o->user) : 0;
}

lar_status lar__pull_document(lar_pull *p, const lar_http_get *get, size_t most, lar_buf *body,
                              lar_http_head *head, lar_http_end *end, lar_err *e)
{
    lar_http_get g = *get;
    g.stall_seconds = p->o->stall_seconds;
    LAR_TRY(lar__pull_http(p, e));
    lar_status s =
        lar_http_document(p->http, &g, most, p->o->retries, lar__pull_poll, p, body, head, end, e);
    p->wire += body->n;
    return s;
}

void lar_pull_result_free(lar_pull_result *r)
{
    lar_free(r->name);
    lar_free(r->path);
    lar_free(r->source);
    *r = (lar_pull_result){0};
}

/* ---- what is here ------------------------------------------------------------------------------
 */

static lar_status settle(lar_pull_result *r, const lar_store_model *m, const char *uri, lar_err *e)
{
    r->name = lar_strdup(m->name);
    r->path = lar_strdup(m->path);
    r->source = lar_strdup(uri);
    r->bytes = m->bytes;
    memcpy(r->sha256, m->sha256, sizeof r->sha256);
    return r->name && r->path && r->source ? LAR_OK : lar__oom(e);
}

/* The model of this hash, under `name` if that is wanted. */
static lar_status find_here(lar_pull *p, const char *sha256, const char *name, const char *uri,
                            lar_pull_result *out, bool *found, lar_err *e)
{
    lar_store_list l;
    LAR_TRY(lar_store_models(p->s, &l, e));
    const lar_store_model *m = NULL;
    for (size_t i = 0; i < l.n; i++)
        if (strcmp(l.p[i].sha256, sha256) == 0 &&
            (name ? lar__same_letters(l.p[i].name, name) : !m))
            m = &l.p[i];
    *found = m != NULL;
    lar_status s = m ? settle(out, m, uri, e) : LAR_OK;
    lar_store_list_free(&l);
    return s;
}

static lar_status remember(lar_pull *p, const char *uri, lar_pull_result *out, lar_err *e)
{
    char *dir = lar__store_file(p->s, "blobs", "", "");
    lar_status s = dir ? lar_dir_make(dir, e) : lar__oom(e);
    lar_free(dir);
    if (s == LAR_OK) {
        lar__record_source(p->s, out->sha256, uri, out->name);
        lar__index_add_source(lar__index_of(p->s), uri, out->sha256, out->name);
    }
    return s;
}

/* ---- one file ----------------------------------------------------------------------------------
 */

static bool have_blob(const lar_store *s, const char *sha256, uint64_t *size)
{
    lar_file_id id;
    char *path = sha256[0] ? lar__store_file(s, "blobs", sha256, "") : NULL;
    const bool yes = path && lar_file_identify(path, &id, NULL) == LAR_OK;
    *size = yes ? id.size : 0;
    lar_free(path);
    return yes;
}

/* Waits while another process has it. */
static lar_status take_lock(lar_pull *p, const char *key, lar_lock **lock, lar_err *e)
{
    char *path = lar__store_file(p->s, "partial", key, ".lock");
    lar_status s = path ? LAR_OK : lar__oom(e);
    *lock = NULL;
    while (s == LAR_OK && (s = lar_lock_take(path, lock, e)) == LAR_OK && !*lock) {
        if (lar__pull_poll(p))
            s = lar_fail(e, LAR_ECANCELLED, "cancelled");
        else
            lar_sleep(WAIT);
    }
    lar_free(path);
    return s;
}

/* A page that says "not found" with HTTP 200 is no model. The parts of a split one are read when
 * all are there. */
static lar_status check_model(const lar_pull *p, const char *path, lar_err *e)
{
    lar_gguf *g;
    char magic[4];
    size_t n;
    lar_status s;
    if (p->offer.n > 1) {
        LAR_TRY(lar_file_read(path, magic, sizeof magic, &n, e));
        return n == 4 && memcmp(magic, "GGUF", 4) == 0
                   ? LAR_OK
                   : lar_fail(e, LAR_EFORMAT, "%s: not a GGUF file", p->o->source);
    }
    if ((s = lar_gguf_open(path, &g, e)) != LAR_OK)
        return lar_fail_in(e, s, "%s: what came is no model", p->o->source);
    lar_gguf_close(g);
    return LAR_OK;
}

static lar_status sync_file(const char *path, uint64_t size, lar_err *e)
{
    lar_pfile *f;
    LAR_TRY(lar_pfile_open(path, size, &f, e));
    lar_status s = lar_pfile_sync(f, e);
    lar_pfile_close(f);
    return s;
}

static lar_status by_other_means(lar_pull *p, const lar_source_def *def, const char *part,
                                 const char *wanted, uint8_t sha[LAR_SHA256], lar_err *e)
{
    char hex[LAR_SHA256_HEX];
    lar_file_id id;
    LAR_TRY(def->obtain(p, part, e));
    LAR_TRY(lar__hash_file(part, p->offer.files[0].file, 0, 0, p->o->progress, p->o->user, sha, &id,
                           e));
    lar__hex(sha, hex);
    if (!wanted[0] || strcmp(wanted, hex) == 0)
        return LAR_OK;
    lar_file_remove(part);
    return lar_fail(e, LAR_EFORMAT, "%s: SHA-256 is %s, want %s: what came is thrown away",
                    p->o->source, hex, wanted);
}

/* Under its hash for good. */
static lar_status place(lar_pull *p, const char *part, const uint8_t sha[LAR_SHA256], char *hex,
                        lar_err *e)
{
    lar_file_id id;
    lar__hex(sha, hex);
    lar_status s = check_model(p, part, e);
    if (s != LAR_OK) {
        lar_file_remove(part);
        return s;
    }
    char *blob = lar__store_file(p->s, "blobs", hex, ""),
         *bad = lar__store_file(p->s, "quarantine", hex, "");
    s = blob && bad ? lar_file_identify(part, &id, e) : lar__oom(e);
    if (s == LAR_OK)
        s = sync_file(part, id.size, e);
    if (s == LAR_OK)
        s = lar_file_place(part, blob, true, e);
    if (s == LAR_OK)
        lar_file_remove(bad); /* it is whole again */
    lar_free(blob);
    lar_free(bad);
    return s;
}

static lar_status fetch_file(lar_pull *p, const lar_source_def *def, size_t i, const char *key,
                             uint64_t before, uint64_t total, char hex[LAR_SHA256_HEX], lar_err *e)
{
    lar_offer_file *f = &p->offer.files[i];
    uint8_t sha[LAR_SHA256];
    char *part = lar__store_file(p->s, "partial", key, ".part"),
         *journal = lar__store_file(p->s, "partial", key, ".journal");
    lar_status s = part && journal ? LAR_OK : lar__oom(e);
    if (s == LAR_OK && def->obtain) {
        s = by_other_means(p, def, part, f->sha256, sha, e);
    } else if (s == LAR_OK && (s = lar__pull_http(p, e)) == LAR_OK) {
        const lar_fetch q = {.url = f->url,
                             .token = p->offer.token,
                             .what = f->file,
                             .size = f->size,
                             .sha256 = f->sha256[0] ? f->sha256 : NULL,
                             .chunks = f->chunks,
                             .before = before,
                             .total = total,
                             .o = p->o};
        f->chunks = (lar_pieces){0};
        s = lar__fetch(p->s, p->http, &q, key, sha, &p->wire, e);
    }
    if (s == LAR_OK) {
        s = place(p, part, sha, hex, e);
        lar_file_remove(journal);
    }
    lar_free(part);
    lar_free(journal);
    return s;
}

/* What is on its way is named by its hash, so that another source can go on with it; without one
 * by its address. */
static void key_of(const lar_offer_file *f, const char *uri, char key[LAR_SHA256_HEX])
{
    uint8_t sha[LAR_SHA256];
    const char *from = f->url ? f->url : uri;
    if (f->sha256[0]) {
        memcpy(key, f->sha256, LAR_SHA256_HEX);
        return;
    }
    lar__hash(from, strlen(from), sha);
    lar__hex(sha, key);
}

/* Its bytes are in the store: by their hash, or where the source has none by what it led to. */
static bool came_before(lar_pull *p, const lar_offer_file *f, const char *uri,
                        char hex[LAR_SHA256_HEX])
{
    char *name = NULL;
    uint64_t size;
    memcpy(hex, f->sha256, LAR_SHA256_HEX);
    if (!hex[0] && (p->o->refresh || p->offer.n != 1 ||
                    !lar__index_source(lar__index_of(p->s), uri, hex, &name)))
        return false;
    lar_free(name);
    return have_blob(p->s, hex, &size);
}

static lar_status get_file(lar_pull *p, const lar_source_def *def, size_t i, const char *uri,
                           uint64_t before, uint64_t total, char hex[LAR_SHA256_HEX], lar_err *e)
{
    const lar_offer_file *f = &p->offer.files[i];
    char key[LAR_SHA256_HEX];
    lar_lock *lock;
    if (came_before(p, f, uri, hex))
        return LAR_OK;
    key_of(f, uri, key);
    LAR_TRY(take_lock(p, key, &lock, e));
    lar_status s = LAR_OK;
    if (!came_before(p, f, uri, hex)) /* another process may have brought it meanwhile */
        s = fetch_file(p, def, i, key, before, total, hex, e);
    char *name = s == LAR_OK && p->offer.n == 1 ? lar__name_of_file(f->file) : NULL;
    if (name) /* for who waits for the lock */
        lar__index_add_source(lar__index_of(p->s), uri, hex, name);
    lar_free(name);
    lar_lock_drop(lock);
    return s;
}

/* ---- the model ---------------------------------------------------------------------------------
 */

/* A name leads to what it led to until the caller wants it otherwise. */
static lar_status check_free(lar_pull *p, const char *name, const char *sha256, const char *uri,
                             lar_err *e)
{
    lar_store_list l;
    char before[LAR_SHA256_HEX] = "", *was = NULL;
    LAR_TRY(lar_store_models(p->s, &l, e));
    const lar_store_model *m = NULL;
    for (size_t i = 0; i < l.n; i++)
        if (lar__same_letters(l.p[i].name, name))
            m = &l.p[i];
    lar_status s = LAR_OK;
    if (m && strcmp(m->sha256, sha256) != 0) {
        lar__index_source(lar__index_of(p->s), uri, before, &was);
        if (!p->o->refresh || strcmp(before, m->sha256) != 0)
            s = lar_fail(e, LAR_EARG,
                         "the name '%s' is another model's (%s); give one with --name, or `lar rm "
                         "%s` first",
                         m->name, m->n_sources ? m->sources[0] : "a file of yours", m->name);
    }
    lar_free(was);
    lar_store_list_free(&l);
    return s;
}

static lar_status link_one(lar_pull *p, const char *name, size_t i, const char *hex, lar_err *e)
{
    char *path = lar__name_path(p->s, name, (int)i, (int)p->offer.n), *target;
    if (p->offer.in_place) {
        target = lar_strdup(p->offer.files[i].url);
    } else {
        target = lar__path_join(".store/blobs", hex);
    }
    lar_status s = LAR_OK;
    if (!path || !target)
        s = lar__oom(e);
    else if (!lar_file_same(path, target) || lar_link_is(path))
        s = lar_link_make(target, path, e);
    lar_free(path);
    lar_free(target);
    return s;
}

static lar_status link_all(lar_pull *p, const char *name, char (*hex)[LAR_SHA256_HEX], char **path,
                           lar_err *e)
{
    lar_gguf *g;
    lar_status s = LAR_OK;
    for (size_t i = p->offer.n; i-- > 0 && s == LAR_OK;) /* the first file last: it is the name */
        s = link_one(p, name, i, hex[i], e);
    if (s == LAR_OK && !(*path = lar__name_path(p->s, name, 0, (int)p->offer.n)))
        s = lar__oom(e);
    if (s == LAR_OK && p->offer.n > 1) {
        if ((s = lar_gguf_open(*path, &g, e)) == LAR_OK)
            lar_gguf_close(g);
        else
            lar_fail_in(e, s, "%s: the files make no model", p->o->source);
    }
    for (size_t i = 0; s != LAR_OK && i < p->offer.n; i++) {
        char *part = lar__name_path(p->s, name, (int)i, (int)p->offer.n);
        if (part && lar_link_is(part))
            lar_file_remove(part);
        lar_free(part);
    }
    return s;
}

static lar_status hash_in_place(lar_pull *p, size_t i, char hex[LAR_SHA256_HEX], lar_err *e)
{
    const char *path = p->offer.files[i].url;
    uint8_t sha[LAR_SHA256];
    lar_file_id id;
    lar__facts f;
    LAR_TRY(check_model(p, path, e));
    if (lar_file_identify(path, &id, NULL) == LAR_OK && lar__facts_of(p->s, path, &id, &f) &&
        f.sha256[0]) {
        memcpy(hex, f.sha256, LAR_SHA256_HEX);
        return LAR_OK;
    }
    LAR_TRY(lar__hash_file(path, path, 0, 0, p->o->progress, p->o->user, sha, &id, e));
    lar__hex(sha, hex);
    lar__remember_hash(p->s, path, &id, hex);
    return LAR_OK;
}

static lar_status make_folders(lar_store *s, lar_err *e)
{
    static const char *const subs[] = {"blobs", "partial", "quarantine"};
    for (size_t i = 0; i < LAR_LEN(subs); i++) {
        char *dir = lar__store_file(s, subs[i], "", "");
        const lar_status st = dir ? lar_dir_make(dir, e) : lar__oom(e);
        lar_free(dir);
        LAR_TRY(st);
    }
    s->index_tried = s->index != NULL; /* there is a place for it now */
    return LAR_OK;
}

static lar_status get_all(lar_pull *p, const lar_source_def *def, const char *uri,
                          char (*hex)[LAR_SHA256_HEX], uint64_t *bytes, lar_err *e)
{
    uint64_t total = 0, size;
    for (size_t i = 0; i < p->offer.n; i++)
        total += p->offer.files[i].size;
    for (size_t i = 0; i < p->offer.n; i++) {
        if (p->offer.in_place)
            LAR_TRY(hash_in_place(p, i, hex[i], e));
        else
            LAR_TRY(get_file(p, def, i, uri, *bytes, total, hex[i], e));
        if (!p->offer.in_place && have_blob(p->s, hex[i], &size))
            *bytes += size;
    }
    return LAR_OK;
}

static lar_status model_hash(char (*hex)[LAR_SHA256_HEX], size_t n, char out[LAR_SHA256_HEX],
                             lar_err *e)
{
    uint8_t(*sha)[LAR_SHA256] = lar_alloc_array(n, sizeof *sha);
    if (!sha)
        return lar__oom(e);
    for (size_t i = 0; i < n; i++)
        lar__unhex(hex[i], sha[i]);
    lar__hash_model((const uint8_t(*)[LAR_SHA256])sha, (int)n, out);
    lar_free(sha);
    return LAR_OK;
}

static lar_status take_offer(lar_pull *p, const lar_source_def *def, const char *uri,
                             const char *name, lar_pull_result *out, lar_err *e)
{
    char(*hex)[LAR_SHA256_HEX] = lar_alloc_array(p->offer.n, sizeof *hex), *own = NULL;
    lar_status s = hex ? get_all(p, def, uri, hex, &out->bytes, e) : lar__oom(e);
    if (s == LAR_OK)
        s = model_hash(hex, p->offer.n, out->sha256, e);
    if (s == LAR_OK) {
        own = name            ? lar_strdup(name)
              : p->offer.name ? lar_strdup(p->offer.name)
                              : lar__name_of_file(p->offer.files[0].file);
        s = own ? lar__name_check(own, e) : lar__oom(e);
    }
    if (s == LAR_OK)
        s = check_free(p, own, out->sha256, uri, e);
    if (s == LAR_OK)
        s = link_all(p, own, hex, &out->path, e);
    lar_free(hex);
    out->name = own;
    if (s == LAR_OK && !(out->source = lar_strdup(uri)))
        s = lar__oom(e);
    return s;
}

/* ---- what is asked for -------------------------------------------------------------------------
 */

static const lar_catalog_entry *known(const char *source)
{
    for (size_t i = 0; i < lar_n_catalog; i++)
        if (lar__same_letters(lar_catalog[i].name, source) ||
            strcmp(lar_catalog[i].source, source) == 0)
            return &lar_catalog[i];
    return NULL;
}

/* A source in the one form that is remembered: with a scheme, paths absolute, no fragment. */
static lar_status canonical(const char *source, char **out, lar_err *e)
{
    lar_buf b = {0};
    const bool file = strncmp(source, "file:", 5) == 0;
    char *real = file || !lar_source_find(source) ? lar_file_real(source + (file ? 5 : 0)) : NULL;
    if (real)
        lar_buf_printf(&b, "file:%s", real);
    else if (lar_source_find(source))
        lar_buf_add(&b, source, strcspn(source, "#"));
    lar_free(real);
    if (!b.n)
        return lar_fail(e, LAR_ENOTFOUND,
                        "'%.100s' is no file and no source; want hf:OWNER/REPO, https://..., "
                        "file:PATH, pypi:PACKAGE, ollama:MODEL or a name that LAR knows",
                        source);
    *out = lar_buf_take(&b);
    return *out ? LAR_OK : lar__oom(e);
}

static void write_settings(lar_store *s, const lar_catalog_entry *c, const char *name)
{
    lar_buf path = {0};
    lar_file_id id;
    lar_file *f;
    lar_buf_printf(&path, "%s/%s.settings.json", s->dir, name);
    if (c && c->settings && !path.oom && lar_file_identify(path.p, &id, NULL) != LAR_OK &&
        lar_file_create(path.p, &f, NULL) == LAR_OK) {
        if (lar_file_write(f, c->settings, strlen(c->settings), NULL) == LAR_OK)
            lar_file_commit(f, NULL);
        else
            lar_file_abort(f);
    }
    lar_buf_free(&path);
}

/* Whether nothing has to be asked: the source's model, or the one that is wanted, is here. */
static lar_status look_here(lar_pull *p, const char *wanted, const char *uri, const char *name,
                            lar_pull_result *out, lar_err *e)
{
    char sha[LAR_SHA256_HEX], *was = NULL;
    bool found = false;
    lar_status s = LAR_OK;
    if (!p->o->refresh && lar__index_source(lar__index_of(p->s), uri, sha, &was) &&
        (!wanted || strcmp(wanted, sha) == 0))
        s = find_here(p, sha, name, uri, out, &found, e);
    if (s == LAR_OK && !found && wanted) {
        s = find_here(p, wanted, name, uri, out, &found, e);
        if (s == LAR_OK && found)
            s = remember(p, uri, out, e);
    }
    out->already = found;
    lar_free(was);
    return s;
}

static lar_status resolve(lar_pull *p, const lar_source_def *def, const char *uri,
                          const char *wanted, lar_err *e)
{
    const char *from = p->o->source;
    /* Catalog entries and bare paths have their source in `uri` only; fragments only in `from`. */
    if (!lar_source_find(from) || strncmp(uri, "file:", 5) == 0)
        from = uri;
    LAR_TRY(def->resolve(p, from + strlen(def->scheme), e));
    if (!wanted)
        return LAR_OK;
    if (p->offer.n != 1)
        return lar_fail(e, LAR_EARG, "one SHA-256 for a model of %zu files", p->offer.n);
    lar_offer_file *f = &p->offer.files[0];
    if (f->sha256[0] && strcmp(f->sha256, wanted) != 0)
        return lar_fail(e, LAR_EFORMAT, "%s: the source says SHA-256 %s, want %s", uri, f->sha256,
                        wanted);
    memcpy(f->sha256, wanted, LAR_SHA256_HEX);
    return LAR_OK;
}

static lar_status pull(lar_pull *p, lar_pull_result *out, lar_err *e)
{
    const lar_catalog_entry *c = known(p->o->source);
    const char *wanted = p->o->sha256 ? p->o->sha256 : c ? c->sha256 : NULL;
    const char *name = p->o->name ? p->o->name : c ? c->name : NULL;
    char *uri;
    if (wanted && !lar__hex_is(wanted))
        return lar_fail(e, LAR_EARG, "sha256: want 64 digits, found '%.80s'", wanted);
    if (p->o->name)
        LAR_TRY(lar__name_check(p->o->name, e));
    LAR_TRY(canonical(c ? c->source : p->o->source, &uri, e));
    const lar_source_def *def = lar_source_find(uri);
    lar_status s = look_here(p, wanted, uri, name, out, e);
    if (s == LAR_OK && !out->already) {
        s = make_folders(p->s, e);
        if (s == LAR_OK)
            s = resolve(p, def, uri, wanted, e);
        if (s == LAR_OK) {
            out->vouched = p->offer.files[0].sha256[0] != 0;
            s = take_offer(p, def, uri, name, out, e);
        }
        if (s == LAR_OK)
            s = remember(p, uri, out, e);
        if (s == LAR_OK)
            write_settings(p->s, c, out->name);
    }
    lar_free(uri);
    return s;
}

lar_status lar_store_pull(lar_store *s, const lar_pull_options *o, lar_pull_result *out, lar_err *e)
{
    lar_pull p = {.s = s, .o = o};
    *out = (lar_pull_result){0};
    lar_status st = pull(&p, out, e);
    out->fetched = p.wire;
    lar_http_free(p.http);
    lar_offer_free(&p.offer);
    if (st != LAR_OK)
        lar_pull_result_free(out);
    return st;
}
