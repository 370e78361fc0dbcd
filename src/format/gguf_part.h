/*
 * gguf_part.h - inside the room: one GGUF file while it is read and after, and the table of names.
 * Depends on gguf.h and os.h.
 */
#ifndef LAR_GGUF_PART_H
#define LAR_GGUF_PART_H
#include "base/os.h"
#include "format/gguf.h"

/* Hash table from a name to its position in an array whose elements begin with a lar_str. */
typedef struct lar__names {
    struct lar__name_slot {
        uint32_t hash, at; /* at: position + 1; 0 is empty */
    } * slot;
    size_t mask;
} lar__names;

/* LAR_EFORMAT and the two positions when a name is there twice. */
lar_status lar__names_build(lar__names *t, const void *array, size_t stride, size_t n,
                            size_t twice[2]);
/* Position of the name, or SIZE_MAX. */
size_t lar__names_find(const lar__names *t, const void *array, size_t stride, lar_str name);
void lar__names_free(lar__names *t);

/* One file: the whole model, or a shard of it. */
typedef struct lar__gguf_part {
    lar_map map; /* empty where the bytes are the caller's */
    char *path;  /* owned; NULL for bytes in memory */
    const uint8_t *data;
    size_t size;
    int version;
    uint64_t alignment;
    size_t n_kv;
    lar_gguf_kv *kv;
    lar__names kv_names;
    size_t n_tensors;
    lar_gguf_tensor *tensors; /* moved out when parts are joined */
    size_t infos_end;         /* where the tensor infos end; the padding follows */
} lar__gguf_part;

struct lar_gguf {
    int n_parts;
    lar__gguf_part *part; /* the first has the model's keys */
    size_t n_tensors;
    lar_gguf_tensor *tensors;
    lar__names tensor_names;
    uint64_t bytes;
};

/* Header, keys and tensor infos of p->data; not yet where the tensors' data lies. */
lar_status lar__gguf_read(lar__gguf_part *p, int file, lar_err *e);
/* Check where the tensors' data lies, and set their data pointers. */
lar_status lar__gguf_place(const lar__gguf_part *p, lar_gguf_tensor *t, size_t n, lar_err *e);
/* The error for bytes that do not begin as a GGUF file: says what they seem to be. */
lar_status lar__gguf_not_gguf(const uint8_t *p, size_t n, lar_err *e);

/* Read the other shards of g, whose part[0] was read from a file, if it says that it is split. */
lar_status lar__gguf_read_splits(lar_gguf *g, lar_err *e);
lar_status lar__gguf_map(lar__gguf_part *p, const char *path, int file, lar_err *e);
/* The end of a path, so that a message has room for what happened. */
const char *lar__gguf_short_path(const char *path);
const lar_gguf_kv *lar__gguf_part_find(const lar__gguf_part *p, const char *key);
/* A scalar integer of any width, if it lies in 0 .. UINT64_MAX. */
bool lar__gguf_unsigned(const lar_gguf_kv *kv, uint64_t *out);

/* A name for error messages: control characters and bad UTF-8 escaped, long ones cut. */
typedef struct lar__shown {
    char s[160];
} lar__shown;
lar__shown lar__show(lar_str name);
#define LAR_SHOW(name) (lar__show(name).s)

#endif
