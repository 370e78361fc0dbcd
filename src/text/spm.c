/* spm.c - see spm.h. */
#include "text/spm.h"
#include <math.h>
#include <string.h>

enum { PIECES_MAX = 1 << 24 };
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* What is left of a message. */
typedef struct reader {
    const uint8_t *p;
    size_t n;
} reader;

typedef struct field {
    uint32_t number;
    int type;
    uint64_t v; /* of varints and fixed numbers */
    reader sub; /* of bytes */
} field;

static bool varint(reader *r, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && r->n; shift += 7) {
        const uint8_t b = *r->p;
        r->p++, r->n--;
        *out |= (uint64_t)(b & 127) << shift;
        if (!(b & 128))
            return true;
    }
    return false;
}

/* False at the end or where the bytes are no message. */
static bool read_field(reader *r, field *f)
{
    uint64_t key, len;
    if (!r->n || !varint(r, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX)
        return false;
    *f = (field){.number = (uint32_t)(key >> 3), .type = (int)(key & 7)};
    switch (f->type) {
    case VARINT:
        return varint(r, &f->v);
    case BYTES:
        if (!varint(r, &len) || len > r->n)
            return false;
        f->sub = (reader){r->p, (size_t)len};
        break;
    case FIXED64:
        len = 8;
        if (r->n < 8)
            return false;
        f->v = lar_u64(r->p);
        break;
    case FIXED32:
        len = 4;
        if (r->n < 4)
            return false;
        f->v = lar_u32(r->p);
        break;
    default:
        return false;
    }
    r->p += len;
    r->n -= (size_t)len;
    return true;
}

/* A field that ends too early stays in what is left. */
static bool next(reader *r, field *f)
{
    const reader before = *r;
    if (read_field(r, f))
        return true;
    *r = before;
    return false;
}

static lar_status read_piece(lar_spm *s, size_t cap[3], reader r, lar_err *e)
{
    field f;
    const size_t i = s->n;
    if (i == PIECES_MAX)
        return lar_fail(e, LAR_EFORMAT, "SentencePiece: more than %d pieces", PIECES_MAX);
    if (!lar_grow((void **)&s->pieces, &cap[0], i + 1, sizeof *s->pieces) ||
        !lar_grow((void **)&s->scores, &cap[1], i + 1, sizeof *s->scores) ||
        !lar_grow((void **)&s->types, &cap[2], i + 1, sizeof *s->types))
        return lar_fail(e, LAR_ENOMEM, "SentencePiece: out of memory");
    s->pieces[i] = (lar_str){"", 0};
    s->scores[i] = 0;
    s->types[i] = 1;
    s->n++;
    while (next(&r, &f)) {
        if (f.number == 1 && f.type == BYTES) {
            s->pieces[i] = (lar_str){(const char *)f.sub.p, f.sub.n};
        } else if (f.number == 2 && f.type == FIXED32) {
            const uint32_t u = (uint32_t)f.v;
            memcpy(&s->scores[i], &u, sizeof u);
        } else if (f.number == 3 && f.type == VARINT) {
            s->types[i] = f.v >= 1 && f.v <= 6 ? (int32_t)f.v : 1;
        }
    }
    if (r.n || !isfinite(s->scores[i]))
        return lar_fail(e, LAR_EFORMAT, "SentencePiece: piece %zu is damaged", i);
    return LAR_OK;
}

static lar_status read_trainer(lar_spm *s, reader r, lar_err *e)
{
    field f;
    while (next(&r, &f)) {
        if (f.type != VARINT)
            continue;
        const int32_t id = f.v <= INT32_MAX ? (int32_t)f.v : -1;
        if (f.number == 3 && f.v != 1 && f.v != 2)
            return lar_fail(e, LAR_EUNSUPPORTED,
                            "SentencePiece: model type %llu, want 1 (unigram) or 2 (BPE)",
                            (unsigned long long)f.v);
        if (f.number == 3)
            s->unigram = f.v == 1;
        else if (f.number == 40)
            s->unk = id;
        else if (f.number == 41)
            s->bos = id;
        else if (f.number == 42)
            s->eos = id;
        else if (f.number == 43)
            s->pad = id;
    }
    return r.n ? lar_fail(e, LAR_EFORMAT, "SentencePiece: the trainer's settings are damaged")
               : LAR_OK;
}

static lar_status read_normalizer(lar_spm *s, reader r, lar_err *e)
{
    field f;
    while (next(&r, &f))
        if (f.number == 2 && f.type == BYTES)
            s->charsmap = (lar_str){(const char *)f.sub.p, f.sub.n};
        else if (f.number == 3 && f.type == VARINT)
            s->add_dummy_prefix = f.v != 0;
        else if (f.number == 4 && f.type == VARINT)
            s->remove_extra_whitespaces = f.v != 0;
        else if (f.number == 5 && f.type == VARINT)
            s->escape_whitespaces = f.v != 0;
    return r.n ? lar_fail(e, LAR_EFORMAT, "SentencePiece: the normalizer's settings are damaged")
               : LAR_OK;
}

lar_status lar_spm_read(const void *data, size_t n, lar_spm *out, lar_err *e)
{
    reader r = {data, n};
    field f;
    size_t cap[3] = {0};
    lar_status st = LAR_OK;
    /* The defaults of the .proto. */
    *out = (lar_spm){.unigram = true,
                     .unk = 0,
                     .bos = 1,
                     .eos = 2,
                     .pad = -1,
                     .add_dummy_prefix = true,
                     .remove_extra_whitespaces = true,
                     .escape_whitespaces = true};
    while (st == LAR_OK && next(&r, &f))
        if (f.type == BYTES && f.number == 1)
            st = read_piece(out, cap, f.sub, e);
        else if (f.type == BYTES && f.number == 2)
            st = read_trainer(out, f.sub, e);
        else if (f.type == BYTES && f.number == 3)
            st = read_normalizer(out, f.sub, e);
    if (st == LAR_OK && (r.n || !out->n))
        st = lar_fail(e, LAR_EFORMAT,
                      "not a SentencePiece model, or a damaged one: stopped at %zu of %zu bytes",
                      n - r.n, n);
    if (st != LAR_OK)
        lar_spm_free(out);
    return st;
}

void lar_spm_free(lar_spm *s)
{
    lar_free(s->pieces);
    lar_free(s->scores);
    lar_free(s->types);
    memset(s, 0, sizeof *s);
}
