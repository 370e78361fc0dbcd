/*
 * ops.h - the operations and their parameters. Each op's file is compiled once per kernel variant;
 * a graph names an op by LAR_OPDEF(name), and the device runs the variant's own kernel by the op's
 * id.
 */
#ifndef LAR_OPS_H
#define LAR_OPS_H
#include "quant/format.h"
#include "tensor/tensor.h"

enum {
#define OP(x) LAR_OP_##x,
#include "ops/ops.def"
#undef OP
    LAR_N_OPS
};
#define OP(x) extern const lar_op lar_op_##x##__generic;
#include "ops/ops.def"
#undef OP
#define LAR_OPDEF(x) (&lar_op_##x##__generic)

/* The last line of an op's file. */
#define LAR_OP(name_, ...)                                                                         \
    extern const lar_op LAR_VSYM(lar_op_##name_);                                                  \
    const lar_op LAR_VSYM(lar_op_##name_) = {.name = #name_, .id = LAR_OP_##name_, __VA_ARGS__}
#define LAR_CASES(array) .cases = (array), .n_cases = (int)LAR_LEN(array)
#define LAR_PARAM(type, t) ((const type *)(const void *)(t)->param)

typedef struct {
    float s;
} lar_scale_param; /* y = s * x */
typedef struct {
    float cap;
} lar_softcap_param; /* y = cap * tanh(x / cap) */
typedef struct {
    float eps;
} lar_rms_norm_param;
typedef struct {
    float eps;
} lar_layer_norm_param;
typedef struct {
    float mul, add, pow;
} lar_row_dot_param; /* s = (mul*dot + add)^pow, pow 1 or -0.5 */
enum {
    LAR_ACT_SILU,
    LAR_ACT_GELU_TANH,
    LAR_ACT_GELU_ERF,
    LAR_ACT_RELU,
    LAR_ACT_SIGMOID,
    LAR_ACT_CLAMPED, /* gpt-oss: both sources are clamped, and b + 1 is the factor (ops/glu.c) */
    LAR_N_ACTS
};
typedef struct {
    int32_t act;
} lar_glu_param; /* y = act(a) * b */
typedef struct {
    float scale;
} lar_get_rows_param;
typedef struct {
    int32_t n_weights;
} lar_matmul_param;
typedef struct {
    float mscale;
} lar_rope_table_param;
typedef struct {
    int32_t n_rot;
    int32_t neox;
} lar_rope_param; /* neox: pairs (i, i + n/2), else (2i, 2i+1) */
typedef struct {
    int32_t keys; /* else values */
} lar_kv_store_param;
typedef struct {
    float scale, softcap; /* of the scores; softcap 0: none */
    int32_t window;       /* keys nearer than this are seen; 0: all */
    int32_t n_head_kv;
    int32_t n_value; /* where the values are parts of the keys: how long */
} lar_attention_param;

typedef struct {
    int32_t n_used, n_group, n_group_used, group_top; /* ops/route.c */
    int32_t sigmoid, norm;
    float scale;
} lar_route_param;
enum { LAR_MAX_EXPERTS = 4096 };
typedef struct {
    int32_t tiled; /* ops/delta.c */
} lar_delta_param;
typedef struct {
    float alpha, scale; /* ops/mt_linear.c: of activations; of sums */
    int32_t relu, list; /* list: mt_logits' ids per column at most */
} lar_mt_linear_param;
typedef struct {
    int32_t heads;
} lar_mt_attention_param;
typedef struct {
    float inv, scale;
} lar_mt_embed_param;
enum { LAR_STATE_FRESH = 2 }; /* ops/state.h */

/* Keys and values lie in pages of LAR_PAGE cells; a page is also the chunk in which attention
 * combines them. Cache tensor: [head_dim, LAR_PAGE, n_head_kv, n_pages]; ops/kv_page.h. */
enum { LAR_PAGE = 64, LAR_MAX_HEAD_DIM = 1024 };

#endif
