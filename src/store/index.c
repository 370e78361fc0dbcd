/*
 * index.c - the store's index in SQLite: hashes and heads of files by their identity, and where
 * sources led. It only saves time: whatever fails here means that nothing is known. Several
 * processes may use it (WAL). Depends on SQLite, part.h.
 */
#include "store/part.h"
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { SCHEMA = 1, BUSY_MS = 5000, SOURCES_MAX = 100 };

struct lar__index {
    sqlite3 *db;
};

static const char schema[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS file (device INTEGER, inode INTEGER, size INTEGER,"
    " modified INTEGER, changed INTEGER, sha256 TEXT, architecture TEXT, quant TEXT,"
    " PRIMARY KEY (device, inode)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS source (uri TEXT PRIMARY KEY, sha256 TEXT, name TEXT,"
    " seen INTEGER);"
    "CREATE INDEX IF NOT EXISTS source_sha256 ON source (sha256);"
    "PRAGMA user_version = 1;"
    "COMMIT;";

/* -1: not a database of ours. */
static int version(sqlite3 *db)
{
    sqlite3_stmt *q;
    int v = -1;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        v = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    return v;
}

/* *fresh: it was just made. */
static sqlite3 *open_db(const char *path, bool *fresh, int *rc)
{
    sqlite3 *db = NULL;
    *rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (*rc == SQLITE_OK)
        sqlite3_busy_timeout(db, BUSY_MS);
    const int v = *rc == SQLITE_OK ? version(db) : -1;
    *fresh = v == 0;
    if (*rc == SQLITE_OK && v < 0)
        *rc = sqlite3_errcode(db);
    if (*rc == SQLITE_OK && v == 0)
        *rc = sqlite3_exec(db, schema, NULL, NULL, NULL);
    else if (*rc == SQLITE_OK && v != SCHEMA)
        *rc = SQLITE_ERROR; /* a newer LAR's: left alone */
    if (*rc == SQLITE_OK)
        return db;
    sqlite3_close(db);
    return NULL;
}

static void remove_db(const char *path)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < LAR_LEN(ends); i++) {
        lar_buf p = {0};
        lar_buf_printf(&p, "%s%s", path, ends[i]);
        if (!p.oom)
            lar_file_remove(p.p);
        lar_buf_free(&p);
    }
}

static lar__index *open_index(lar_store *s)
{
    char *dir = lar__store_file(s, "", "", ""), *path = lar__store_file(s, "", "index.db", "");
    lar__index *x = lar_alloc(sizeof *x);
    lar_file_id id;
    bool fresh = false;
    int rc = SQLITE_NOMEM;
    /* A look at models makes no folders. */
    if (x && dir && path && lar_file_identify(dir, &id, NULL) == LAR_OK) {
        x->db = open_db(path, &fresh, &rc);
        if (!x->db && ((rc & 0xff) == SQLITE_NOTADB || (rc & 0xff) == SQLITE_CORRUPT)) {
            remove_db(path);
            x->db = open_db(path, &fresh, &rc);
        }
    }
    lar_free(dir);
    lar_free(path);
    if (!x || !x->db) {
        lar_free(x);
        return NULL;
    }
    if (fresh)
        lar__rebuild(s, x);
    return x;
}

lar__index *lar__index_of(lar_store *s)
{
    if (!s->index_tried)
        s->index = open_index(s);
    s->index_tried = true;
    return s->index;
}

void lar__index_close(lar__index *x)
{
    if (x)
        sqlite3_close(x->db);
    lar_free(x);
}

/* ---- statements --------------------------------------------------------------------------------
 */

/* A statement with text and integers bound in order: "t" a string, "i" an int64_t. NULL: no. */
static sqlite3_stmt *bind(lar__index *x, const char *sql, const char *kinds, ...)
{
    sqlite3_stmt *q = NULL;
    va_list ap;
    if (!x || sqlite3_prepare_v2(x->db, sql, -1, &q, NULL) != SQLITE_OK)
        return NULL;
    va_start(ap, kinds);
    for (int i = 0; kinds[i]; i++)
        if (kinds[i] == 't')
            sqlite3_bind_text(q, i + 1, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
        else
            sqlite3_bind_int64(q, i + 1, va_arg(ap, int64_t));
    va_end(ap);
    return q;
}

static void run(sqlite3_stmt *q)
{
    if (q)
        sqlite3_step(q);
    sqlite3_finalize(q);
}

static void text(sqlite3_stmt *q, int col, char *out, size_t size)
{
    const unsigned char *t = sqlite3_column_text(q, col);
    snprintf(out, size, "%s", t ? (const char *)t : "");
}

bool lar__index_facts(lar__index *x, const lar_file_id *id, lar__facts *out)
{
    sqlite3_stmt *q = bind(x,
                           "SELECT sha256, architecture, quant FROM file WHERE device = ? AND "
                           "inode = ? AND size = ? AND modified = ? AND changed = ?",
                           "iiiii", (int64_t)id->device, (int64_t)id->inode, (int64_t)id->size,
                           id->modified, id->changed);
    const bool yes = q && sqlite3_step(q) == SQLITE_ROW;
    if (yes) {
        text(q, 0, out->sha256, sizeof out->sha256);
        text(q, 1, out->architecture, sizeof out->architecture);
        text(q, 2, out->quant, sizeof out->quant);
    }
    sqlite3_finalize(q);
    return yes && (!out->sha256[0] || lar__hex_is(out->sha256));
}

void lar__index_learn(lar__index *x, const lar_file_id *id, const lar__facts *f)
{
    run(bind(x,
             "INSERT OR REPLACE INTO file (device, inode, size, modified, changed, sha256, "
             "architecture, quant) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
             "iiiiittt", (int64_t)id->device, (int64_t)id->inode, (int64_t)id->size, id->modified,
             id->changed, f->sha256, f->architecture, f->quant));
}

bool lar__index_source(lar__index *x, const char *uri, char sha256[LAR_SHA256_HEX], char **name)
{
    sqlite3_stmt *q = bind(x, "SELECT sha256, name FROM source WHERE uri = ?", "t", uri);
    const bool yes = q && sqlite3_step(q) == SQLITE_ROW;
    *name = NULL;
    if (yes) {
        const unsigned char *t = sqlite3_column_text(q, 1);
        text(q, 0, sha256, LAR_SHA256_HEX);
        *name = t ? lar_strdup((const char *)t) : NULL;
    }
    sqlite3_finalize(q);
    if (yes && *name && lar__hex_is(sha256))
        return true;
    lar_free(*name);
    *name = NULL;
    return false;
}

void lar__index_add_source(lar__index *x, const char *uri, const char *sha256, const char *name)
{
    run(bind(x, "INSERT OR REPLACE INTO source (uri, sha256, name, seen) VALUES (?, ?, ?, ?)",
             "ttti", uri, sha256, name, lar_time()));
}

size_t lar__index_sources(lar__index *x, const char *sha256, char ***out)
{
    sqlite3_stmt *q =
        bind(x, "SELECT uri FROM source WHERE sha256 = ? ORDER BY seen DESC, uri", "t", sha256);
    char **p = NULL;
    size_t n = 0, cap = 0;
    while (q && n < SOURCES_MAX && sqlite3_step(q) == SQLITE_ROW) {
        const unsigned char *t = sqlite3_column_text(q, 0);
        char *uri = t ? lar_strdup((const char *)t) : NULL;
        if (!uri || !lar_grow((void **)&p, &cap, n + 1, sizeof *p)) {
            lar_free(uri);
            break;
        }
        p[n++] = uri;
    }
    sqlite3_finalize(q);
    *out = p;
    return n;
}

void lar__index_forget(lar__index *x, const char *sha256)
{
    run(bind(x, "DELETE FROM source WHERE sha256 = ?", "t", sha256));
    run(bind(x, "DELETE FROM file WHERE sha256 = ?", "t", sha256));
}
