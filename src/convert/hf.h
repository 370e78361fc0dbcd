/*
 * hf.h - from a Hugging Face folder to what a GGUF file says: one table row per family of models
 * (hf_models.def lists them), read by the one converter (hf.c). In patterns '%' stands for a
 * layer's number and '#' for an expert's.
 */
#ifndef LAR_HF_H
#define LAR_HF_H
#include "convert/part.h"
#include "convert/safetensors.h"
#include "format/gguf_write.h"

typedef struct lar_hf_key {
    const char *hf;   /* in config.json; "a|b": whichever is there; "a.b": b of the object a */
    const char *gguf; /* behind "ARCH." */
    char kind;        /* 'u' whole number, 'f' float, 'b' bool */
    bool need;
} lar_hf_key;

/* What happens to a tensor on its way. */
enum {
    LAR_HF_COPY,
    LAR_HF_Q,    /* rows of each query head reordered from halves to pairs, as llama's RoPE wants */
    LAR_HF_K,    /* likewise, of key heads */
    LAR_HF_ADD1, /* norms that the model adds 1 to */
    LAR_HF_F32,  /* as F32, whatever type was asked for */
    LAR_HF_NEG_EXP,   /* -e^x: decay rates stored as logarithms */
    LAR_HF_CONV,      /* [channels, 1, K] of a convolution: without the 1, in F32 */
    LAR_HF_TRANSPOSE, /* of each expert: [in, out] becomes [out, in] */
    LAR_HF_EVEN,      /* likewise, outputs 0, 2, ..: gate and up interleaved */
    LAR_HF_ODD,
    LAR_HF_KEY_B, /* latent attention: of each head the keys' part, transposed; the values' */
    LAR_HF_VALUE_B,
    LAR_HF_GROUPED_QKV, /* delta nets: of rows q, k, v, z for each key head all q, all k, all v; */
    LAR_HF_GROUPED_Z,   /* all z */
    LAR_HF_DELTA_QKV,   /* rows of q, k, and v in GGUF's order of heads; */
    LAR_HF_DELTA_V,     /* rows of v; */
    LAR_HF_DELTA_HEAD,  /* one row or element for each head; */
    LAR_HF_DELTA_OUT,   /* columns of v */
    LAR_HF_FIRST_HALF,  /* of each expert's rows */
    LAR_HF_LAST_HALF,
    LAR_HF_SKIP /* not needed: computed or repeated elsewhere */
};

/* Rows that follow each other with the same `hf` make several tensors of one. */
typedef struct lar_hf_tensor {
    const char *hf, *gguf; /* gguf NULL with LAR_HF_SKIP */
    int how;
} lar_hf_tensor;

typedef struct lar_hf lar_hf;
typedef struct lar_hf_def {
    const char *model_types; /* config.json's model_type, '|'-separated */
    const char *arch;        /* general.architecture */
    const char *skip;        /* tensors that begin so are left out, '|'-separated; NULL: none */
    const char *long_prefix; /* what may stand for "model."; NULL: nothing */
    const char *act;         /* hidden_act must be one of these, '|'-separated; NULL: any */
    const lar_hf_key *keys;  /* beside the common ones */
    size_t n_keys;
    const lar_hf_tensor *tensors; /* looked up before the common ones */
    size_t n_tensors;
    const char *prefix; /* of names, which files of a bare model lack; NULL: "model." */
    bool encoder;       /* not causal, no RMS norms */
    bool rope;          /* of an encoder */
    bool pairs;         /* RoPE pairs lie side by side: Q and K are reordered */
    bool norm_add1;     /* all norms */
    bool yarn_exact;    /* its readers do not round the ends of YaRN's ramp: "truncate" is false */
    bool yarn_scores;   /* its readers put YaRN's magnitude into the scores ("mscale_all_dim") */
    /* What the tables cannot say; head_dim may be set to what RoPE is for. May be NULL. */
    lar_status (*extra)(lar_hf *h, lar_err *e);
} lar_hf_def;

#define LAR_HF_KEYS(k) .keys = (k), .n_keys = LAR_LEN(k)
#define LAR_HF_TENSORS(t) .tensors = (t), .n_tensors = LAR_LEN(t)

/* A conversion under way. */
struct lar_hf {
    const char *folder;
    const lar_hf_def *def;
    json_t *config, *text; /* text: the part for the language model, config itself for most */
    lar_safetensors *st;
    lar_gguf_writer *w;
    int64_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_vocab;
    int64_t key_nope, value_dim; /* of a head in latent attention: not rotated; value */
    struct {
        int64_t keys, heads, dim_k, dim_v; /* heads of keys, of values */
        bool tiled; /* GGUF has heads of values in rounds of one for each head of keys */
    } delta;
    int64_t n_left_out; /* layers behind the last, which predict further tokens */
    bool tied;          /* the embeddings are the head */
    bool own_split;     /* the tokenizer's split pattern is kept under a key of ours */
    struct lar__hf_out *out;
    size_t n_out, cap_out;
};

/* Of a source tensor: element i of row r of slab e lies at at + i * step + r * row + e * slab; with
 * `scales` (MXFP4 in two tensors, read as it is) this counts blocks. */
typedef struct lar_hf_view {
    int64_t at, step, row, slab;
    int n_dims;
    int64_t dim[4]; /* of the output, the fastest first */
    const lar_st_tensor *scales;
    const lar_st_tensor *inv;   /* of FP8 (E4M3): factors of blocks of the source, or NULL */
    int64_t inv_rows, inv_cols; /* of such a block */
} lar_hf_view;
lar_status lar__hf_view_of(const lar_hf *h, int how, const lar_st_tensor *s, lar_hf_view *v,
                           lar_err *e);
/* The source row of output row r of a delta net's weight; r itself for all others. */
int64_t lar__hf_delta_row(const lar_hf *h, int how, int64_t r);
/* n elements from `first` on, `step` apart. */
void lar__hf_read(const lar_hf_view *v, const lar_st_tensor *s, int64_t first, int64_t step,
                  int64_t n, float *x);
/* A row of GGUF's MXFP4 from that of blocks and that of scales, block `first` and following. */
lar_status lar__hf_mxfp4(const lar_hf_view *v, const lar_st_tensor *s, int64_t first, uint8_t *y,
                         lar_err *e);

/* For extra(): config values; the first of "a|b" that is there and not null, or NULL. */
json_t *lar_hf_get(const json_t *config, const char *names);
lar_status lar_hf_number(const json_t *config, const char *names, double *out,
                         lar_err *e); /* LAR_ENOTFOUND */
lar_status lar_hf_whole(const lar_hf *h, const char *name, double min, double max, int64_t *out,
                        lar_err *e);                         /* a number that must be there */
void lar_hf_put_u32(lar_hf *h, const char *key, uint32_t v); /* key behind "ARCH." */
void lar_hf_put_f32(lar_hf *h, const char *key, float v);
void lar_hf_put_u32s(lar_hf *h, const char *key, const uint32_t *p, size_t n);
void lar_hf_put_i32s(lar_hf *h, const char *key, const int32_t *p, size_t n);
void lar_hf_put_bools(lar_hf *h, const char *key, const uint32_t *p, size_t n);
/* Which layers are of a kind, by layer_types: n_layer flags, of which the caller frees. */
lar_status lar_hf_layers(const lar_hf *h, const char *kind, uint32_t **out, lar_err *e);
void lar_hf_put_bool(lar_hf *h, const char *key, bool v);
const char *lar_hf_text(const json_t *v); /* "" unless it is text */
/* An F32 tensor of one dimension that no file has; copied. */
lar_status lar_hf_put_floats(lar_hf *h, const char *name, const float *p, size_t n, lar_err *e);

extern const lar_hf_def *const lar_hf_defs[];
extern const int lar_n_hf_defs;

lar_status lar__hf_rope(lar_hf *h, lar_err *e);      /* rope_scaling, rope_parameters */
lar_status lar__hf_sentence(lar_hf *h, lar_err *e);  /* modules.json: pooling and the like */
lar_status lar__hf_tokenizer(lar_hf *h, lar_err *e); /* tokenizer.json and its like */

#endif
