/*
 * recipe.h - what "Q4_K_M" and the like mean: which element type each tensor of a file gets. The
 * names, the numbers (general.file_type) and the rules are those of the field, so that a file is of
 * the size and kind that its name says anywhere. Source: llama.cpp (include/llama.h,
 * src/llama-quant.cpp). Depends on tensor/dtype.h.
 */
#ifndef LAR_RECIPE_H
#define LAR_RECIPE_H
#include "tensor/dtype.h"

typedef struct lar_recipe {
    const char *name;   /* "Q4_K_M" */
    uint32_t file_type; /* general.file_type */
    int base;           /* LAR_DT_...: what most matrices become */
} lar_recipe;
extern const lar_recipe lar_recipes[];
extern const int lar_n_recipes;
const lar_recipe *lar_recipe_by_name(const char *name); /* any case; "Q4_K" is Q4_K_M; NULL */

/* What the rules look at, of the whole file. */
typedef struct lar_recipe_model {
    const char *arch;
    int n_layer;
    int n_expert;    /* 0 or 1: none */
    int n_gqa;       /* query heads that share a key and value head */
    bool tied;       /* no output.weight: the embeddings are the head, too */
    bool importance; /* an importance matrix is at hand */
} lar_recipe_model;

/* The parts of a model that the rules tell apart. */
typedef enum lar_recipe_part {
    LAR_PART_OTHER,
    LAR_PART_EMBEDDINGS,
    LAR_PART_HEAD,
    LAR_PART_ATTN_Q,
    LAR_PART_ATTN_K,
    LAR_PART_ATTN_V, /* and qkv in one, and MLA's kv_b */
    LAR_PART_ATTN_OUTPUT,
    LAR_PART_FFN_UP,
    LAR_PART_FFN_GATE,
    LAR_PART_FFN_DOWN
} lar_recipe_part;
lar_recipe_part lar_recipe_part_of(const char *name);

typedef struct lar_recipe_tensor {
    const char *name;
    const lar_dtype *type; /* as it is */
    int n_dims;
    const int64_t *dim; /* [4] */
    int at, of; /* its place among the tensors of its part by layer, and how many there are */
} lar_recipe_tensor;

/* False for what is kept as it is: vectors, norms, routers and other small parts. */
bool lar_recipe_touches(const lar_recipe_tensor *t);
/* The type that the recipe gives; one whose blocks fit the tensor's rows. */
const lar_dtype *lar_recipe_type(const lar_recipe *r, const lar_recipe_model *m,
                                 const lar_recipe_tensor *t);
/* `want`, or for rows that are no multiple of its block the type that the field takes instead. */
const lar_dtype *lar_recipe_fitting(const lar_dtype *want, int64_t row);
/* The first and last eighth of the layers, and every third between. */
bool lar_recipe_more_bits(int layer, int n_layer);
/* The layer of "blk.N.…", else -1. */
int lar_recipe_layer(const char *name);

#endif
