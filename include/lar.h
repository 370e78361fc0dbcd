/*
 * lar.h - the Local AI Runtime: one C API for every task on models that you own.
 *
 * The whole of it in twelve lines:
 *
 *     lar_err e;
 *     lar_runtime *rt; lar_model *m; lar_session *s; lar_request *r;
 *     lar_runtime_new(NULL, &rt, &e);                       // one per process is enough
 *     lar_model_open(rt, "model.gguf", NULL, &m, &e);       // mapped, immutable, shared
 *     lar_session_new(m, NULL, &s, &e);                     // a conversation's memory (KV cache)
 *     lar_request_new(rt, "generate", &r, &e);              // any task, by name
 *     lar_request_set_session(r, s, &e);
 *     lar_request_set_string(r, "prompt", "Hello", &e);     // fields by name: lar_task_schema()
 *     lar_request_run(r, on_event, NULL, &e);               // delivers events until it is done
 *     lar_request_free(r); lar_session_free(s); lar_model_free(m); lar_runtime_free(rt);
 *
 * A modality adds no function here: it adds a task, whose fields and events its schema describes.
 *
 * Errors: a function that can fail returns lar_status and fills the caller's lar_err (which may be
 * NULL). Nothing here prints, exits or aborts on bad input. Strings are UTF-8, NUL-terminated.
 *
 * Threads: a runtime and an open model are immutable and may be shared by all threads. A session
 * and a request belong to one thread at a time; lar_request_cancel() alone may be called from any
 * thread and from a signal handler.
 *
 * Ownership: _new/_open give an object that the caller ends with _free (NULL is allowed). A model
 * keeps its runtime alive, a session its model: they may be freed in any order. A returned
 * `const char *` is borrowed and lives as long as the object it came from, a `char *` is the
 * caller's and ends with lar_string_free().
 *
 * ABI: options structs start with their own size, so that fields can be appended; set
 * `.size = sizeof opts` and zero the rest (zero always means "the default").
 */
#ifndef LAR_H
#define LAR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(LAR_SHARED)
#define LAR_API __declspec(dllexport)
#elif defined(__GNUC__)
#define LAR_API __attribute__((visibility("default")))
#else
#define LAR_API
#endif

#define LAR_VERSION "0.1.0"
#define LAR_ABI 0

/* What went wrong, by kind. Zero is success; values never change their meaning. */
typedef enum lar_status {
    LAR_OK = 0,
    LAR_ENOMEM = -1,       /* an allocation failed */
    LAR_EARG = -2,         /* an argument or field is missing, unknown or out of range */
    LAR_EFORMAT = -3,      /* a file or message is damaged, truncated or lies about itself */
    LAR_EUNSUPPORTED = -4, /* well-formed, but not (yet) something that LAR can do */
    LAR_EIO = -5,          /* the operating system refused a file, mapping or socket */
    LAR_ECANCELLED = -6,   /* lar_request_cancel() was called */
    LAR_EFULL = -7,        /* the context is full and the settings forbid shifting it */
    LAR_ENOTFOUND = -8,    /* no such file, model, task or name */
    LAR_ENUMERIC = -9      /* a NaN where a number must be: damaged weights */
} lar_status;

/* The message says what was found, what was wanted, and where. It means something only after a
 * failure. */
typedef struct lar_err {
    lar_status code;
    char msg[508];
} lar_err;

typedef struct lar_runtime lar_runtime;
typedef struct lar_model lar_model;
typedef struct lar_session lar_session;
typedef struct lar_request lar_request;
typedef struct lar_event lar_event;

LAR_API const char *lar_version(void);                  /* "0.1.0" */
LAR_API int lar_abi(void);                              /* compare with LAR_ABI */
LAR_API const char *lar_status_name(lar_status status); /* "LAR_EFORMAT" */
LAR_API void lar_string_free(char *s);

/* ---- runtime: threads, devices, kernel variant ------------------------------------------- */

typedef enum lar_log_level { LAR_LOG_DEBUG, LAR_LOG_INFO, LAR_LOG_WARN } lar_log_level;
typedef void lar_log_fn(lar_log_level level, const char *line, void *user);

typedef struct lar_runtime_options {
    size_t size;
    int threads;     /* 0: one per physical core that this process may use */
    const char *cpu; /* kernel variant: "generic", "avx2", ...; NULL: $LAR_CPU, else the best */
    lar_log_fn *log; /* NULL: silent. Called from the thread that made the call */
    void *log_user;
} lar_runtime_options;

LAR_API lar_status lar_runtime_new(const lar_runtime_options *opts, lar_runtime **out, lar_err *e);
LAR_API void lar_runtime_free(lar_runtime *rt);

/* JSON: version, numerics version, cpu (name, features), variants, variant chosen, threads, memory,
 * devices. With `measure` non-zero it also measures what all threads together reach at best: bytes
 * read from memory and multiply-adds, in G per second (half a second or so). */
LAR_API char *lar_runtime_info(lar_runtime *rt, int measure);

/* ---- model: a GGUF file, mapped and used in place ----------------------------------------- */

typedef struct lar_model_options {
    size_t size;
    int vocab_only; /* non-zero: tokenizer and metadata only; weights are not bound */
} lar_model_options;

/* `path` is a file or, where there is no such file, a name that the task `list` shows (or the first
 * digits of its SHA-256). */
LAR_API lar_status lar_model_open(lar_runtime *rt, const char *path, const lar_model_options *opts,
                                  lar_model **out, lar_err *e);
LAR_API void lar_model_free(lar_model *m);

/* JSON: file, architecture, hyper-parameters, sizes, memory estimate; with `full` non-zero also
 * every metadata key and tensor. */
LAR_API char *lar_model_info(lar_model *m, int full);

/* ---- session: what a conversation remembers (KV cache and its tokens) --------------------- */

typedef struct lar_session_options {
    size_t size;
    int ctx;             /* tokens; 0: the model's own, at most 4,096 */
    int batch;           /* prompt tokens evaluated in one step; 0: 512 */
    const char *kv_type; /* "f32", "f16" (default), "q8_0", "q4_0" */
    /* A smaller model with the same vocabulary, which guesses tokens that this one then checks
     * several at a time: the answer stays the same. NULL: none. The session keeps it alive. */
    lar_model *draft;
    /* A folder (made when needed) of evaluated prompts, which sessions and processes share: see
     * lar_session_keep. NULL: none. */
    const char *prefix_dir;
    uint64_t prefix_bytes; /* what it may hold, all models together; 0: 2 GiB */
    /* Many answers at once: so many sessions, this one included, may share its memory, and requests
     * that run in threads of their own are merged into steps. Beginnings of prompts are shared.
     * Such a session takes task "generate" only. 0: one. */
    int seats;
    /* Tokens that they hold together; a request that finds too few left waits. 0: seats times ctx.
     */
    int pool;
    lar_session *with; /* Take a seat there; ctx, batch and kv_type are those of that session */
} lar_session_options;

LAR_API lar_status lar_session_new(lar_model *m, const lar_session_options *opts, lar_session **out,
                                   lar_err *e);
LAR_API void lar_session_free(lar_session *s);
LAR_API char *lar_session_info(lar_session *s); /* JSON: context in effect, KV bytes, tokens held */
LAR_API lar_status lar_session_clear(lar_session *s, lar_err *e); /* forget everything */
/* Store the prompt of the last answer in prefix_dir, if it is long enough to be worth it (256
 * tokens): a request that begins with the same tokens is then not evaluated again, in whatever
 * process. Requests look there by themselves. Call it when nobody waits: the first time with a
 * model, its whole file is read. Nothing depends on its success. */
LAR_API lar_status lar_session_keep(lar_session *s, lar_err *e);
/* What a prefix_dir holds; with `clear`, all of it is removed first. Other files in the folder are
 * neither counted nor touched. A folder that is not there holds nothing. */
LAR_API lar_status lar_prefix_survey(const char *prefix_dir, int clear, uint64_t *files,
                                     uint64_t *bytes, lar_err *e);
LAR_API lar_status lar_session_save(lar_session *s, const char *path, lar_err *e); /* atomic */
LAR_API lar_status lar_session_load(lar_session *s, const char *path, lar_err *e);

/* ---- tasks and requests -------------------------------------------------------------------- */

LAR_API int lar_task_count(void);
LAR_API const char *lar_task_name(int index); /* NULL past the end */
LAR_API char *
lar_task_schema(const char *task); /* JSON: verb, help, needs, fields; NULL if unknown */

LAR_API lar_status lar_request_new(lar_runtime *rt, const char *task, lar_request **out,
                                   lar_err *e);
LAR_API void lar_request_free(lar_request *r);
LAR_API lar_status lar_request_set_model(lar_request *r, lar_model *m, lar_err *e);
LAR_API lar_status lar_request_set_session(lar_request *r, lar_session *s, lar_err *e);
LAR_API lar_status lar_request_set_string(lar_request *r, const char *field, const char *value,
                                          lar_err *e);
LAR_API lar_status lar_request_set_number(lar_request *r, const char *field, double value,
                                          lar_err *e);
LAR_API lar_status lar_request_set_bytes(lar_request *r, const char *field, const void *data,
                                         size_t n, lar_err *e);
/* A JSON value for one field, or with field NULL an object of many fields (names or JSON aliases).
 */
LAR_API lar_status lar_request_set_json(lar_request *r, const char *field, const char *json,
                                        lar_err *e);

/* Return non-zero to cancel. The event is borrowed for the duration of the call. */
typedef int lar_event_fn(const lar_event *ev, void *user);

LAR_API lar_status lar_request_run(lar_request *r, lar_event_fn *fn, void *user, lar_err *e);
LAR_API void lar_request_cancel(lar_request *r); /* any thread, or a signal handler */

/* ---- events --------------------------------------------------------------------------------- */

typedef enum lar_event_kind {
    LAR_EVENT_TEXT,     /* a piece of the answer, whole UTF-8 characters */
    LAR_EVENT_THINKING, /* the same, of a reasoning block */
    LAR_EVENT_PROGRESS, /* lar_event_number: 0 to 1; text says of what */
    LAR_EVENT_NOTICE,   /* something was reduced or ignored: show it */
    LAR_EVENT_RESULT,   /* the last one: lar_event_json has the whole result */
    LAR_EVENT_TOKEN     /* a token, before what it adds to the text; where a field asks for them */
} lar_event_kind;

LAR_API lar_event_kind lar_event_get_kind(const lar_event *ev);
LAR_API const char *lar_event_get_text(const lar_event *ev,
                                       size_t *len); /* "" if none; len may be NULL */
LAR_API double lar_event_get_number(const lar_event *ev);
LAR_API const char *lar_event_get_json(const lar_event *ev); /* the event as the API shows it */

#ifdef __cplusplus
}
#endif
#endif
