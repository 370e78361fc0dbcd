/*
 * random_model.c - writes a GGUF file of a named shape and type with random weights, so that speed
 * can be measured where the real model cannot be had. The weights say nothing; shapes, types and
 * magnitudes are as in the field, so that logits are finite and every kernel does its usual work.
 * The same arguments give the same bytes.
 *
 *     random_model SHAPE TYPE FILE [SEED]      random_model alone lists shapes and types
 *
 * A type names a file as llama.cpp's quantizer makes it: norms F32; the tied embeddings (or the
 * head) Q6_K, in Q8_0 files Q8_0; q4_k_m with Q6_K for half of ffn_down and attn_v; rows that are
 * no multiple of 256 fall back from Q4_K to Q5_0 and from Q6_K to Q8_0 (format/recipe.h).
 * Quantized blocks are drawn directly: every quant evenly from its range, the
 * scale such that a weight's standard deviation is 1 / sqrt(row length), give or take a quarter.
 *
 * The tokenizer is a byte-level BPE of the 256 bytes and one merge; the rest of the vocabulary is
 * filled with words that no text contains.
 *
 * Depends on base, tensor/dtype.c and format/recipe.c only, so that a bare machine can build it:
 *     cc -std=c11 -O2 -D_GNU_SOURCE -Isrc -Iinclude bench/random_model.c src/tensor/dtype.c \
 *        src/format/recipe.c src/base/[!o]*.c src/base/os_posix.c -pthread -lm -o random_model
 */
#include "format/gguf.h"
#include "format/recipe.h"
#include "tensor/dtype.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 32, PIECE = 4 << 20, TABLE = 1 << 16 };

/* ---- what can be written ------------------------------------------------------------------- */

typedef struct shape {
    const char *name, *arch, *pre; /* pre: the pre-tokenizer of the family */
    int n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab, ctx;
    double rope_base, eps;
    bool qk_norm, head; /* head: output.weight of its own, else tied to the embeddings */
} shape;

static const shape shapes[] = {
    {"tiny", "llama", "smollm", 2, 256, 4, 2, 64, 512, 1024, 2048, 1e4, 1e-5, false, false},
    {"smollm2", "llama", "smollm", 30, 576, 9, 3, 64, 1536, 49152, 8192, 1e5, 1e-5, false, false},
    {"smollm2-360m", "llama", "smollm", 32, 960, 15, 5, 64, 2560, 49152, 8192, 1e5, 1e-5, false,
     false},
    {"qwen3-0.6b", "qwen3", "qwen2", 28, 1024, 16, 8, 128, 3072, 151936, 40960, 1e6, 1e-6, true,
     false},
    {"llama3.2-1b", "llama", "llama-bpe", 16, 2048, 32, 8, 64, 8192, 128256, 131072, 5e5, 1e-5,
     false, false},
    {"tinyllama", "llama", "default", 22, 2048, 32, 4, 64, 5632, 32000, 2048, 1e4, 1e-5, false,
     true},
    {"qwen3-1.7b", "qwen3", "qwen2", 28, 2048, 16, 8, 128, 6144, 151936, 40960, 1e6, 1e-6, true,
     false},
    {"qwen3-4b", "qwen3", "qwen2", 36, 2560, 32, 8, 128, 9728, 151936, 40960, 1e6, 1e-6, true,
     false},
    {"llama3-8b", "llama", "llama-bpe", 32, 4096, 32, 8, 128, 14336, 128256, 8192, 5e5, 1e-5, false,
     true},
};

/* ftype: general.file_type, as llama.cpp numbers them (include/llama.h). */
typedef struct mix {
    const char *name;
    int base, ftype;
    int head; /* type of the head or of tied embeddings; where its rows allow it */
    int more; /* type of those ffn_down and attn_v that get more bits; = base: none */
} mix;

#define T(x) LAR_DT_##x
static const mix mixes[] = {
    {"f16", T(f16), 1, T(f16), T(f16)},      {"bf16", T(bf16), 32, T(bf16), T(bf16)},
    {"q8_0", T(q8_0), 7, T(q8_0), T(q8_0)},  {"q4_0", T(q4_0), 2, T(q6_k), T(q4_0)},
    {"q4_1", T(q4_1), 3, T(q6_k), T(q4_1)},  {"q5_0", T(q5_0), 8, T(q6_k), T(q5_0)},
    {"q6_k", T(q6_k), 18, T(q6_k), T(q6_k)}, {"q4_k_m", T(q4_k), 15, T(q6_k), T(q6_k)},
};

/* ---- random blocks ------------------------------------------------------------------------- */

typedef struct source {
    uint64_t state;
    double sigma;    /* wanted standard deviation of a weight */
    uint16_t *table; /* F16 and BF16: TABLE values to draw from */
} source;

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t next(source *s)
{
    uint64_t z = s->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

/* n random bytes, n a multiple of 2. */
static void noise(source *s, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = next(s);
        for (size_t k = 0; k < 8 && i + k < n; k++)
            p[i + k] = (uint8_t)(v >> 8 * k);
    }
}

/* A block's scale: sigma over the quants' own deviation, 0.75 to 1.25 times. */
static double scale(source *s, double deviation)
{
    return s->sigma / deviation * (0.75 + (double)(next(s) >> 40) * 0x1p-25);
}

/* Either sign, so that an offset of the quants (-8 .. 7) is none on the average. */
static double signed_scale(source *s, double deviation)
{
    const double d = scale(s, deviation);
    return next(s) >> 63 ? d : -d;
}

static void fill_halves(source *s, uint8_t *p)
{
    put16(p, s->table[next(s) & (TABLE - 1)]);
}

static void fill_q4_0(source *s, uint8_t *p)
{
    noise(s, p + 2, 16);
    put16(p, lar_f32_to_f16((float)signed_scale(s, 4.61)));
}

static void fill_q4_1(source *s, uint8_t *p)
{
    const double d = scale(s, 4.61);
    noise(s, p + 4, 16);
    put16(p, lar_f32_to_f16((float)d));
    put16(p + 2, lar_f32_to_f16((float)(-7.5 * d)));
}

static void fill_q5_0(source *s, uint8_t *p)
{
    noise(s, p + 2, 20);
    put16(p, lar_f32_to_f16((float)signed_scale(s, 9.23)));
}

static void fill_q8_0(source *s, uint8_t *p)
{
    noise(s, p + 2, 32);
    for (int i = 2; i < 34; i++)
        p[i] = p[i] == 0x80 ? 0x81 : p[i]; /* quantizers stop at -127 */
    put16(p, lar_f32_to_f16((float)scale(s, 73.3)));
}

/* d, dmin, 12 bytes of 6-bit scales and minima, 128 of nibbles: d sc q - dmin mn, with mn = sc and
 * dmin = 7.5 d. Scales 32 to 63: the low 5 bits are random, all top bits are set. */
static void fill_q4_k(source *s, uint8_t *p)
{
    uint8_t sc[8];
    const double d = scale(s, 4.61 * 47.5);
    const uint64_t r = next(s);
    noise(s, p + 16, 128);
    for (int i = 0; i < 8; i++)
        sc[i] = (uint8_t)((r >> 5 * i & 31) | 32);
    for (int i = 0; i < 4; i++) {
        const uint8_t high = (uint8_t)(sc[i + 4] >> 4 << 6);
        p[4 + i] = p[8 + i] = (uint8_t)(sc[i] | high);
        p[12 + i] = (uint8_t)((sc[i + 4] & 15) * 17);
    }
    put16(p, lar_f32_to_f16((float)d));
    put16(p + 2, lar_f32_to_f16((float)(7.5 * d)));
}

/* 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, d: d sc (q - 32). */
static void fill_q6_k(source *s, uint8_t *p)
{
    noise(s, p, 208);
    for (int i = 192; i < 208; i++) {
        const int v = 64 + (p[i] & 63);
        p[i] = (uint8_t)(p[i] & 64 ? v : -v);
    }
    put16(p + 208, lar_f32_to_f16((float)scale(s, 18.47 * 97.2)));
}

/* One block of each type. */
static void (*const fills[LAR_N_DTYPES])(source *, uint8_t *) = {
    [T(f16)] = fill_halves, [T(bf16)] = fill_halves, [T(q4_0)] = fill_q4_0, [T(q4_1)] = fill_q4_1,
    [T(q5_0)] = fill_q5_0,  [T(q8_0)] = fill_q8_0,   [T(q4_k)] = fill_q4_k, [T(q6_k)] = fill_q6_k,
};

/* ---- tensors ------------------------------------------------------------------------------- */

typedef struct tensor {
    char name[64];
    const lar_dtype *type;
    int n_dims;
    int64_t row, rows;
    uint64_t offset;
} tensor;

typedef struct model {
    const shape *s;
    const mix *m;
    tensor *t;
    size_t n, cap;
    uint64_t bytes;
    bool oom;
} model;

static const lar_dtype *fitting(int type, int64_t row)
{
    return lar_recipe_fitting(&lar_dtypes[type], row);
}

static void add(model *m, const char *name, const lar_dtype *type, int64_t row, int64_t rows)
{
    if (m->oom || !lar_grow((void **)&m->t, &m->cap, m->n + 1, sizeof *m->t)) {
        m->oom = true;
        return;
    }
    tensor *t = &m->t[m->n++];
    *t = (tensor){.type = type,
                  .n_dims = rows ? 2 : 1,
                  .row = row,
                  .rows = rows ? rows : 1,
                  .offset = m->bytes};
    snprintf(t->name, sizeof t->name, "%s", name);
    m->bytes += lar_row_bytes(type, row) * (uint64_t)t->rows;
    m->bytes = (m->bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static void add_layer(model *m, int l)
{
    const shape *s = m->s;
    const int base = m->m->base, more = lar_recipe_more_bits(l, s->n_layer) ? m->m->more : base;
    const int64_t e = s->n_embd, q = (int64_t)s->n_head * s->head_dim,
                  k = (int64_t)s->n_head_kv * s->head_dim, f = s->n_ff;
    const struct {
        const char *name;
        int type;
        int64_t row, rows;
        bool present;
    } part[] = {
        {"attn_norm", T(f32), e, 0, true},
        {"attn_q", base, e, q, true},
        {"attn_k", base, e, k, true},
        {"attn_v", more, e, k, true},
        {"attn_output", base, q, e, true},
        {"attn_q_norm", T(f32), s->head_dim, 0, s->qk_norm},
        {"attn_k_norm", T(f32), s->head_dim, 0, s->qk_norm},
        {"ffn_norm", T(f32), e, 0, true},
        {"ffn_gate", base, e, f, true},
        {"ffn_up", base, e, f, true},
        {"ffn_down", more, f, e, true},
    };
    for (size_t i = 0; i < LAR_LEN(part); i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight", l, part[i].name);
        if (part[i].present)
            add(m, name, fitting(part[i].type, part[i].row), part[i].row, part[i].rows);
    }
}

static void add_all(model *m)
{
    const shape *s = m->s;
    const lar_dtype *head = fitting(m->m->head, s->n_embd);
    add(m, "token_embd.weight", s->head ? fitting(m->m->base, s->n_embd) : head, s->n_embd,
        s->n_vocab);
    for (int l = 0; l < s->n_layer; l++)
        add_layer(m, l);
    add(m, "output_norm.weight", LAR_DTYPE(f32), s->n_embd, 0);
    if (s->head)
        add(m, "output.weight", head, s->n_embd, s->n_vocab);
}

/* ---- metadata ------------------------------------------------------------------------------ */

typedef struct header {
    lar_buf b;
    uint64_t n_keys;
} header;

static void put32(lar_buf *b, uint32_t v)
{
    const uint8_t p[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    lar_buf_add(b, p, 4);
}

static void put64(lar_buf *b, uint64_t v)
{
    put32(b, (uint32_t)v);
    put32(b, (uint32_t)(v >> 32));
}

static void put_str(lar_buf *b, const char *s)
{
    put64(b, strlen(s));
    lar_buf_puts(b, s);
}

static void key(header *h, const char *name, lar_gguf_type type)
{
    put_str(&h->b, name);
    put32(&h->b, type);
    h->n_keys++;
}

static void key_str(header *h, const char *name, const char *v)
{
    key(h, name, LAR_GGUF_STRING);
    put_str(&h->b, v);
}

static void key_u32(header *h, const char *name, uint32_t v)
{
    key(h, name, LAR_GGUF_U32);
    put32(&h->b, v);
}

static void key_f32(header *h, const char *name, double v)
{
    const float f = (float)v;
    uint32_t u;
    memcpy(&u, &f, 4);
    key(h, name, LAR_GGUF_F32);
    put32(&h->b, u);
}

static void key_bool(header *h, const char *name, bool v)
{
    key(h, name, LAR_GGUF_BOOL);
    lar_buf_putc(&h->b, (char)v);
}

static void key_array(header *h, const char *name, lar_gguf_type elem, size_t n)
{
    key(h, name, LAR_GGUF_ARRAY);
    put32(&h->b, elem);
    put64(&h->b, n);
}

static void put_hparams(header *h, const shape *s, const mix *m)
{
    char k[96];
    const struct {
        const char *name;
        int v;
    } ints[] = {
        {"block_count", s->n_layer},           {"context_length", s->ctx},
        {"embedding_length", s->n_embd},       {"feed_forward_length", s->n_ff},
        {"attention.head_count", s->n_head},   {"attention.head_count_kv", s->n_head_kv},
        {"attention.key_length", s->head_dim}, {"attention.value_length", s->head_dim},
        {"rope.dimension_count", s->head_dim}, {"vocab_size", s->n_vocab},
    };
    snprintf(k, sizeof k, "%s shape, random weights", s->name);
    key_str(h, "general.architecture", s->arch);
    key_str(h, "general.type", "model");
    key_str(h, "general.name", k);
    key_u32(h, "general.file_type", (uint32_t)m->ftype);
    key_u32(h, "general.quantization_version", 2);
    for (size_t i = 0; i < LAR_LEN(ints); i++) {
        snprintf(k, sizeof k, "%s.%s", s->arch, ints[i].name);
        key_u32(h, k, (uint32_t)ints[i].v);
    }
    snprintf(k, sizeof k, "%s.rope.freq_base", s->arch);
    key_f32(h, k, s->rope_base);
    snprintf(k, sizeof k, "%s.attention.layer_norm_rms_epsilon", s->arch);
    key_f32(h, k, s->eps);
}

/* GPT-2's printable stand-ins: bytes that print stand for themselves, the others for U+0100 on. */
static void put_byte_token(lar_buf *b, int byte)
{
    char out[5] = {0};
    int others = 0, cp = byte;
    for (int i = 0; i <= byte; i++) {
        const bool prints =
            (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || (i >= 174 && i <= 255);
        if (!prints)
            others++;
        cp = prints ? i : 255 + others;
    }
    lar_utf8_encode((uint32_t)cp, out);
    put_str(b, out);
}

static void put_tokenizer(header *h, const shape *s)
{
    static const char *const control[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    const int n = s->n_vocab, words = n - (int)LAR_LEN(control);
    char word[24];
    key_str(h, "tokenizer.ggml.model", "gpt2");
    key_str(h, "tokenizer.ggml.pre", s->pre);
    key_array(h, "tokenizer.ggml.tokens", LAR_GGUF_STRING, (size_t)n);
    for (int i = 0; i < 256; i++)
        put_byte_token(&h->b, i);
    put_str(&h->b, "he");
    for (int i = 257; i < words; i++) {
        snprintf(word, sizeof word, "word%06d", i);
        put_str(&h->b, word);
    }
    for (size_t i = 0; i < LAR_LEN(control); i++)
        put_str(&h->b, control[i]);
    key_array(h, "tokenizer.ggml.token_type", LAR_GGUF_I32, (size_t)n);
    for (int i = 0; i < n; i++)
        put32(&h->b, i < words ? 1 : 3); /* normal, control */
    key_array(h, "tokenizer.ggml.merges", LAR_GGUF_STRING, 1);
    put_str(&h->b, "h e");
    key_u32(h, "tokenizer.ggml.bos_token_id", (uint32_t)words);
    key_u32(h, "tokenizer.ggml.eos_token_id", (uint32_t)(n - 1));
    key_bool(h, "tokenizer.ggml.add_bos_token", false);
}

/* ---- the file ------------------------------------------------------------------------------ */

static bool put_header(FILE *f, const model *m)
{
    header h = {0};
    lar_buf b = {0};
    put_hparams(&h, m->s, m->m);
    put_tokenizer(&h, m->s);
    lar_buf_add(&b, "GGUF", 4);
    put32(&b, 3);
    put64(&b, m->n);
    put64(&b, h.n_keys);
    lar_buf_add(&b, h.b.p, h.b.n);
    for (size_t i = 0; i < m->n; i++) {
        const tensor *t = &m->t[i];
        put_str(&b, t->name);
        put32(&b, (uint32_t)t->n_dims);
        put64(&b, (uint64_t)t->row);
        if (t->n_dims > 1)
            put64(&b, (uint64_t)t->rows);
        put32(&b, t->type->id);
        put64(&b, t->offset);
    }
    while (b.n % ALIGN)
        lar_buf_putc(&b, 0);
    const bool ok = !b.oom && !h.b.oom && fwrite(b.p, 1, b.n, f) == b.n;
    lar_buf_free(&b);
    lar_buf_free(&h.b);
    return ok;
}

static void make_table(source *s, const lar_dtype *type)
{
    for (int i = 0; i < TABLE; i++) { /* evenly within sqrt(3) deviations */
        const float x = (float)(s->sigma * 1.7320508 * ((i + 0.5) / (TABLE / 2) - 1));
        s->table[i] = type == LAR_DTYPE(f16) ? lar_f32_to_f16(x) : lar_f32_to_bf16(x);
    }
}

/* Norms are about 1. */
static void fill_f32(source *s, uint8_t *p)
{
    const float x = (float)(0.875 + (double)(next(s) >> 40) * 0x1p-26);
    uint32_t u;
    memcpy(&u, &x, 4);
    put16(p, (uint16_t)u);
    put16(p + 2, (uint16_t)(u >> 16));
}

static bool put_tensor(FILE *f, const tensor *t, uint64_t seed, uint8_t *piece, uint16_t *table)
{
    source s = {.state = lar_random(seed, lar_hash64(t->name, strlen(t->name))),
                .sigma = 1 / sqrt((double)t->row),
                .table = table};
    const int type = lar_dtype_index(t->type);
    void (*fill)(source *, uint8_t *) = type == T(f32) ? fill_f32 : fills[type];
    uint64_t blocks = (uint64_t)(t->row / t->type->block) * (uint64_t)t->rows;
    const uint64_t each = PIECE / t->type->bytes, bytes = blocks * t->type->bytes;
    if (fill == fill_halves)
        make_table(&s, t->type);
    while (blocks) {
        const size_t n = (size_t)LAR_MIN(blocks, each);
        for (size_t i = 0; i < n; i++)
            fill(&s, piece + i * t->type->bytes);
        if (fwrite(piece, t->type->bytes, n, f) != n)
            return false;
        blocks -= n;
    }
    static const uint8_t zeros[ALIGN];
    const size_t pad = (size_t)(-bytes % ALIGN);
    return fwrite(zeros, 1, pad, f) == pad;
}

static bool put_file(FILE *f, const model *m, uint64_t seed)
{
    uint8_t *piece = lar_alloc(PIECE);
    uint16_t *table = lar_alloc_array(TABLE, sizeof *table);
    bool ok = piece && table && put_header(f, m);
    for (size_t i = 0; i < m->n && ok; i++)
        ok = put_tensor(f, &m->t[i], seed, piece, table);
    lar_free(piece);
    lar_free(table);
    return ok;
}

static int usage(void)
{
    fputs("usage: random_model SHAPE TYPE FILE [SEED]\n\nshapes:\n", stderr);
    for (size_t i = 0; i < LAR_LEN(shapes); i++)
        fprintf(stderr, "  %-13s %d layers, %d wide, %d/%d heads of %d, FFN %d, %d tokens%s\n",
                shapes[i].name, shapes[i].n_layer, shapes[i].n_embd, shapes[i].n_head,
                shapes[i].n_head_kv, shapes[i].head_dim, shapes[i].n_ff, shapes[i].n_vocab,
                shapes[i].head ? "" : ", tied");
    fputs("types:\n ", stderr);
    for (size_t i = 0; i < LAR_LEN(mixes); i++)
        fprintf(stderr, " %s", mixes[i].name);
    fputc('\n', stderr);
    return 2;
}

int main(int argc, char **argv)
{
    model m = {0};
    for (size_t i = 0; argc > 3 && i < LAR_LEN(shapes); i++)
        if (strcmp(shapes[i].name, argv[1]) == 0)
            m.s = &shapes[i];
    for (size_t i = 0; argc > 3 && i < LAR_LEN(mixes); i++)
        if (strcmp(mixes[i].name, argv[2]) == 0)
            m.m = &mixes[i];
    if (!m.s || !m.m || argc > 5)
        return usage();
    FILE *f = fopen(argv[3], "wb");
    add_all(&m);
    bool ok = f && !m.oom && put_file(f, &m, argc > 4 ? strtoull(argv[4], NULL, 10) : 1);
    if (f && fclose(f) != 0)
        ok = false;
    if (!ok) {
        fprintf(stderr, "random_model: %s: %s\n", argv[3], m.oom ? "no memory" : strerror(errno));
        if (f)
            remove(argv[3]);
    }
    lar_free(m.t);
    return !ok;
}
