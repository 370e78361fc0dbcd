/*
 * recipe.c - the recipes as a table of rules: the first one that fits a tensor gives its type; none
 * fits: the recipe's base. Depends on recipe.h.
 */
#include "format/recipe.h"
#include <string.h>

#define T(x) LAR_DT_##x

/* Order: bit positions in the rules' masks. */
#define RECIPES(X)                                                                                 \
    X(F32, 0, f32)                                                                                 \
    X(F16, 1, f16)                                                                                 \
    X(BF16, 32, bf16)                                                                              \
    X(Q8_0, 7, q8_0)                                                                               \
    X(Q4_0, 2, q4_0)                                                                               \
    X(Q4_1, 3, q4_1)                                                                               \
    X(Q5_0, 8, q5_0)                                                                               \
    X(Q5_1, 9, q5_1)                                                                               \
    X(Q2_K, 10, q2_k)                                                                              \
    X(Q2_K_S, 21, q2_k)                                                                            \
    X(Q3_K_S, 11, q3_k)                                                                            \
    X(Q3_K_M, 12, q3_k)                                                                            \
    X(Q3_K_L, 13, q3_k)                                                                            \
    X(Q4_K_S, 14, q4_k)                                                                            \
    X(Q4_K_M, 15, q4_k)                                                                            \
    X(Q5_K_S, 16, q5_k)                                                                            \
    X(Q5_K_M, 17, q5_k)                                                                            \
    X(Q6_K, 18, q6_k)                                                                              \
    X(IQ1_S, 24, iq1_s)                                                                            \
    X(IQ1_M, 31, iq1_m)                                                                            \
    X(IQ2_XXS, 19, iq2_xxs)                                                                        \
    X(IQ2_XS, 20, iq2_xs)                                                                          \
    X(IQ2_S, 28, iq2_xs)                                                                           \
    X(IQ2_M, 29, iq2_s)                                                                            \
    X(IQ3_XXS, 23, iq3_xxs)                                                                        \
    X(IQ3_XS, 22, iq3_s)                                                                           \
    X(IQ3_S, 26, iq3_s)                                                                            \
    X(IQ3_M, 27, iq3_s)                                                                            \
    X(IQ4_NL, 25, iq4_nl)                                                                          \
    X(IQ4_XS, 30, iq4_xs)                                                                          \
    X(TQ1_0, 36, tq1_0)                                                                            \
    X(TQ2_0, 37, tq2_0)                                                                            \
    X(MXFP4_MOE, 38, mxfp4)

enum {
#define X(name, id, base) R_##name,
    RECIPES(X)
#undef X
};
const lar_recipe lar_recipes[] = {
#define X(name, id, base) {#name, id, T(base)},
    RECIPES(X)
#undef X
};
const int lar_n_recipes = (int)LAR_LEN(lar_recipes);

/* ---- the rules ---------------------------------------------------------------------------------
 */

#define M(name) ((uint64_t)1 << R_##name)
#define ALL (~(uint64_t)0)
#define IQ1 (M(IQ1_S) | M(IQ1_M))
#define IQ2_LOW (M(IQ2_XXS) | M(IQ2_XS))
#define IQ2_HIGH (M(IQ2_S) | M(IQ2_M))
#define LOW (IQ1 | IQ2_LOW | IQ2_HIGH)

/* Conditions: all of a rule's must hold. */
enum {
    FALCON = 1,
    NOT_FALCON = 2,
    GQA4 = 4,          /* 4 query heads or more to a key head */
    EXPERTS8 = 8,      /* exactly 8 experts, as Mixtral has them */
    NOT_EXPERTS8 = 16, /* */
    EXPERTS4 = 32,     /* 4 or more */
    FIRST_8TH = 64,    /* of the layers */
    FIRST_16TH = 128,  /* of the layers */
    MORE_BITS = 256,   /* lar_recipe_more_bits */
    FIRST_2 = 512,     /* of its part */
    FIRST_4 = 1024,    /* of its part */
    MIDDLE = 2048,     /* neither in the first nor in the last eighth */
    IMPORTANCE = 4096, /* */
    NO_IMPORTANCE = 8192,
    EXPERT_PART = 16384 /* a tensor of experts */
};

typedef struct rule {
    lar_recipe_part part;
    uint64_t recipes;
    unsigned when;
    int type;
} rule;

/* Before what falls back to other blocks; the head, and tied embeddings, are head_type's. */
static const rule rules[] = {
    {LAR_PART_OTHER, M(MXFP4_MOE), EXPERT_PART, T(mxfp4)},
    {LAR_PART_OTHER, M(MXFP4_MOE), 0, T(q8_0)},

    {LAR_PART_EMBEDDINGS, IQ1 | IQ2_LOW, 0, T(q2_k)},
    {LAR_PART_EMBEDDINGS, IQ2_HIGH | M(IQ3_XXS), 0, T(iq3_s)},
    {LAR_PART_EMBEDDINGS, M(TQ1_0) | M(TQ2_0), 0, T(q4_k)},

    {LAR_PART_ATTN_V, LOW, GQA4, T(q4_k)},
    {LAR_PART_ATTN_V, LOW, EXPERTS4, T(q4_k)},
    {LAR_PART_ATTN_V, IQ2_HIGH, 0, T(iq3_s)},
    {LAR_PART_ATTN_V, LOW, 0, T(q2_k)},
    {LAR_PART_ATTN_K, LOW, EXPERTS8, T(q4_k)},
    {LAR_PART_FFN_DOWN, IQ2_HIGH, FIRST_8TH, T(iq3_s)},
    {LAR_PART_FFN_DOWN, LOW, FIRST_8TH, T(q2_k)},
    {LAR_PART_ATTN_OUTPUT, LOW, EXPERTS8, T(q5_k)},
    {LAR_PART_ATTN_OUTPUT, IQ1, 0, T(iq2_xxs)},
    {LAR_PART_ATTN_OUTPUT, IQ2_HIGH, 0, T(iq3_s)},

    {LAR_PART_ATTN_V, ALL & ~LOW, EXPERTS8, T(q8_0)},
    {LAR_PART_ATTN_V, M(Q2_K) | M(Q2_K_S), GQA4, T(q4_k)},
    {LAR_PART_ATTN_V, M(Q2_K), 0, T(q3_k)},
    {LAR_PART_ATTN_V, M(IQ3_XXS) | M(IQ3_XS) | M(IQ3_S), GQA4, T(q4_k)},
    {LAR_PART_ATTN_V, M(IQ3_XXS), NO_IMPORTANCE, T(iq3_s)},
    {LAR_PART_ATTN_V, M(IQ3_M), 0, T(q4_k)},
    {LAR_PART_ATTN_V, M(Q3_K_M), FIRST_2, T(q5_k)},
    {LAR_PART_ATTN_V, M(Q3_K_M), 0, T(q4_k)},
    {LAR_PART_ATTN_V, M(Q3_K_L), 0, T(q5_k)},
    {LAR_PART_ATTN_V, M(IQ4_NL) | M(IQ4_XS), GQA4, T(q5_k)},
    {LAR_PART_ATTN_V, M(Q4_K_M) | M(Q5_K_M), MORE_BITS, T(q6_k)},
    {LAR_PART_ATTN_V, M(Q4_K_S), FIRST_4, T(q5_k)},

    {LAR_PART_ATTN_K, ALL & ~LOW, EXPERTS8, T(q8_0)},
    {LAR_PART_ATTN_K, M(IQ3_XS), 0, T(iq3_xxs)},
    {LAR_PART_ATTN_K, M(IQ3_XXS), 0, T(iq2_s)},
    {LAR_PART_ATTN_Q, M(IQ3_XS), 0, T(iq3_xxs)},
    {LAR_PART_ATTN_Q, M(IQ3_XXS), 0, T(iq2_s)},

    {LAR_PART_FFN_DOWN, M(Q2_K), 0, T(q3_k)},
    {LAR_PART_FFN_DOWN, M(Q2_K_S), FIRST_8TH, T(q4_k)},
    {LAR_PART_FFN_DOWN, M(IQ3_XXS), NO_IMPORTANCE | FIRST_8TH, T(q4_k)},
    {LAR_PART_FFN_DOWN, M(IQ3_XXS), NO_IMPORTANCE, T(q3_k)},
    {LAR_PART_FFN_DOWN, M(Q3_K_M), FIRST_16TH, T(q5_k)},
    {LAR_PART_FFN_DOWN, M(Q3_K_M), NOT_FALCON, T(q4_k)},
    {LAR_PART_FFN_DOWN, M(Q3_K_M), MORE_BITS, T(q4_k)},
    {LAR_PART_FFN_DOWN, M(IQ3_M), FIRST_8TH, T(q4_k)},
    {LAR_PART_FFN_DOWN, M(IQ3_M), EXPERTS8 | MORE_BITS, T(q4_k)},
    {LAR_PART_FFN_DOWN, M(Q3_K_L), FALCON, T(q4_k)},
    {LAR_PART_FFN_DOWN, M(Q3_K_L), 0, T(q5_k)},
    {LAR_PART_FFN_DOWN, M(Q4_K_M), FALCON | FIRST_16TH, T(q6_k)},
    {LAR_PART_FFN_DOWN, M(Q4_K_M), FALCON | MORE_BITS, T(q5_k)},
    {LAR_PART_FFN_DOWN, M(Q4_K_M), NOT_FALCON | MORE_BITS, T(q6_k)},
    {LAR_PART_FFN_DOWN, M(IQ4_NL) | M(IQ4_XS), NO_IMPORTANCE | FIRST_8TH, T(q5_k)},
    {LAR_PART_FFN_DOWN, M(Q5_K_M), MORE_BITS, T(q6_k)},
    {LAR_PART_FFN_DOWN, M(Q4_K_S), NOT_FALCON | FIRST_8TH, T(q5_k)},
    {LAR_PART_FFN_DOWN, M(Q4_0), IMPORTANCE | FIRST_8TH, T(q4_1)},
    {LAR_PART_FFN_DOWN, M(Q5_0), IMPORTANCE | FIRST_8TH, T(q5_1)},

    {LAR_PART_ATTN_OUTPUT,
     M(Q2_K) | M(IQ3_XS) | M(IQ3_XXS) | M(Q3_K_S) | M(Q3_K_M) | M(IQ4_NL) | M(Q4_K_S) | M(Q4_K_M) |
         M(IQ3_S) | M(IQ3_M) | M(IQ4_XS),
     NOT_FALCON | EXPERTS8, T(q5_k)},
    {LAR_PART_ATTN_OUTPUT, M(Q2_K), NOT_FALCON | NOT_EXPERTS8, T(q3_k)},
    {LAR_PART_ATTN_OUTPUT, M(IQ3_XXS), NOT_FALCON | NOT_EXPERTS8, T(iq3_s)},
    {LAR_PART_ATTN_OUTPUT, M(Q3_K_M) | M(IQ3_M), NOT_FALCON | NOT_EXPERTS8, T(q4_k)},
    {LAR_PART_ATTN_OUTPUT, M(Q3_K_L), NOT_FALCON | NOT_EXPERTS8, T(q5_k)},
    {LAR_PART_ATTN_OUTPUT, M(Q3_K_L), FALCON, T(q4_k)},

    {LAR_PART_FFN_GATE, M(IQ3_XS), MIDDLE, T(iq3_xxs)},
    {LAR_PART_FFN_UP, M(IQ3_XS), MIDDLE, T(iq3_xxs)},
};

bool lar_recipe_more_bits(int layer, int n)
{
    return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
}

static bool holds(unsigned when, const lar_recipe_model *m, const lar_recipe_tensor *t, int layer,
                  int n_layer)
{
    const bool falcon = strcmp(m->arch, "falcon") == 0;
    const struct {
        unsigned bit;
        bool is;
    } facts[] = {
        {FALCON, falcon},
        {NOT_FALCON, !falcon},
        {GQA4, m->n_gqa >= 4},
        {EXPERTS8, m->n_expert == 8},
        {NOT_EXPERTS8, m->n_expert != 8},
        {EXPERTS4, m->n_expert >= 4},
        {FIRST_8TH, layer < n_layer / 8},
        {FIRST_16TH, layer < n_layer / 16},
        {MORE_BITS, lar_recipe_more_bits(layer, n_layer)},
        {FIRST_2, t->at < 2},
        {FIRST_4, t->at < 4},
        {MIDDLE, layer >= n_layer / 8 && layer < 7 * n_layer / 8},
        {IMPORTANCE, m->importance},
        {NO_IMPORTANCE, !m->importance},
        {EXPERT_PART, t->dim[2] > 1},
    };
    for (size_t i = 0; i < LAR_LEN(facts); i++)
        if ((when & facts[i].bit) && !facts[i].is)
            return false;
    return true;
}

/* ---- tensors -----------------------------------------------------------------------------------
 */

lar_recipe_part lar_recipe_part_of(const char *name)
{
    static const struct {
        const char *piece;
        lar_recipe_part part;
    } pieces[] = {
        {"attn_qkv.weight", LAR_PART_ATTN_V}, {"attn_kv_b.weight", LAR_PART_ATTN_V},
        {"attn_v.weight", LAR_PART_ATTN_V},   {"attn_k.weight", LAR_PART_ATTN_K},
        {"attn_q.weight", LAR_PART_ATTN_Q},   {"attn_output", LAR_PART_ATTN_OUTPUT},
        {"ffn_up", LAR_PART_FFN_UP},          {"ffn_gate", LAR_PART_FFN_GATE},
        {"ffn_down", LAR_PART_FFN_DOWN},
    };
    if (strcmp(name, "output.weight") == 0)
        return LAR_PART_HEAD;
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0)
        return LAR_PART_EMBEDDINGS;
    for (size_t i = 0; i < LAR_LEN(pieces); i++)
        if (strstr(name, pieces[i].piece))
            return pieces[i].part;
    return LAR_PART_OTHER;
}

int lar_recipe_layer(const char *name)
{
    int n = 0;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9')
        return -1;
    for (name += 4; *name >= '0' && *name <= '9' && n < 1 << 20; name++)
        n = 10 * n + (*name - '0');
    return *name == '.' ? n : -1;
}

bool lar_recipe_touches(const lar_recipe_tensor *t)
{
    static const char *const kept[] = {"_norm.weight",
                                       "ffn_gate_inp.weight",
                                       "altup",
                                       "laurel",
                                       "per_layer_model_proj",
                                       "ssm_conv1d",
                                       "shortconv.conv.weight",
                                       "time_mix_first.weight",
                                       "time_mix_w0.weight",
                                       "time_mix_w1.weight",
                                       "time_mix_w2.weight",
                                       "time_mix_v0.weight",
                                       "time_mix_v1.weight",
                                       "time_mix_v2.weight",
                                       "time_mix_a0.weight",
                                       "time_mix_a1.weight",
                                       "time_mix_a2.weight",
                                       "time_mix_g1.weight",
                                       "time_mix_g2.weight",
                                       "time_mix_decay_w1.weight",
                                       "time_mix_decay_w2.weight",
                                       "time_mix_lerp_fused.weight",
                                       "attn_rel_b.weight",
                                       ".position_embd",
                                       "sam.pos_embd",
                                       "sam.neck.",
                                       "sam.net_",
                                       ".rel_pos",
                                       ".patch_embd",
                                       ".patch_merger"};
    const size_t n = strlen(t->name);
    if (t->n_dims < 2 || n < 6 || strcmp(t->name + n - 6, "weight") != 0)
        return false;
    if (strcmp(t->name, "position_embd.weight") == 0 || strcmp(t->name, "token_types.weight") == 0)
        return false;
    for (size_t i = 0; i < LAR_LEN(kept); i++)
        if (strstr(t->name, kept[i]))
            return false;
    return true;
}

const lar_dtype *lar_recipe_fitting(const lar_dtype *want, int64_t row)
{
    int instead;
    if (row % want->block == 0)
        return want;
    switch (lar_dtype_index(want)) {
    case T(q2_k):
    case T(q3_k):
    case T(tq1_0):
    case T(tq2_0):
        instead = T(q4_0);
        break;
    case T(q4_k):
        instead = T(q5_0);
        break;
    case T(q5_k):
        instead = T(q5_1);
        break;
    case T(q6_k):
        instead = T(q8_0);
        break;
    default:
        instead = want->block > 32 ? T(iq4_nl) : T(f16);
    }
    return row % lar_dtypes[instead].block ? LAR_DTYPE(f16) : &lar_dtypes[instead];
}

/* The head's, and that of embeddings that are the head, too. */
static int head_type(int r, const lar_recipe_model *m, int64_t row)
{
    if (R_MXFP4_MOE == r || strcmp(m->arch, "falcon") == 0 ||
        row % lar_dtypes[lar_recipes[r].base].block != 0)
        return T(q8_0);
    if (LOW >> r & 1 || r == R_IQ3_XXS)
        return T(q5_k);
    return r == R_Q8_0 ? T(q8_0) : T(q6_k);
}

static int by_rules(int r, const lar_recipe_model *m, const lar_recipe_tensor *t)
{
    const lar_recipe_part part = lar_recipe_part_of(t->name);
    const bool attn = part == LAR_PART_ATTN_V;
    /* Mixtures of experts may have several tensors of a part in a layer: the name counts, but for
     * the lowest recipes, which go by the tensor's place all the same. */
    const bool by_name = !attn && m->n_expert > 1 && !(LOW >> r & 1);
    const int layer = by_name ? lar_recipe_layer(t->name) : t->at;
    const int n_layer = attn ? t->of : m->n_layer;
    if (part == LAR_PART_HEAD || (m->tied && part == LAR_PART_EMBEDDINGS))
        return head_type(r, m, t->dim[0]);
    int type = lar_recipes[r].base;
    for (size_t i = 0; i < LAR_LEN(rules); i++)
        if (rules[i].recipes >> r & 1 &&
            (rules[i].part == part || (r == R_MXFP4_MOE && rules[i].part == LAR_PART_OTHER)) &&
            holds(rules[i].when, m, t, layer, n_layer)) {
            type = rules[i].type;
            break;
        }
    /* 80 layers: attn_v is an eighth of attn_q there, so that more bits cost little. */
    if (attn && m->n_layer == 80 && m->n_gqa == 8 && !(LOW >> r & 1) &&
        (type == T(q3_k) || type == T(q4_k)))
        type = T(q5_k);
    return type;
}

const lar_dtype *lar_recipe_type(const lar_recipe *r, const lar_recipe_model *m,
                                 const lar_recipe_tensor *t)
{
    if (!lar_recipe_touches(t))
        return t->type;
    if (r->base == T(f32) || r->base == T(f16) || r->base == T(bf16))
        return &lar_dtypes[r->base];
    return lar_recipe_fitting(&lar_dtypes[by_rules((int)(r - lar_recipes), m, t)], t->dim[0]);
}

/* ---- names -------------------------------------------------------------------------------------
 */

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        const char x = *a >= 'a' && *a <= 'z' ? (char)(*a - 32) : *a;
        if (x != *b)
            return false;
    }
    return *a == *b;
}

const lar_recipe *lar_recipe_by_name(const char *name)
{
    static const struct {
        const char *name;
        int recipe;
    } more[] = {{"Q3_K", R_Q3_K_M}, {"Q4_K", R_Q4_K_M}, {"Q5_K", R_Q5_K_M}, {"MXFP4", R_MXFP4_MOE}};
    for (int i = 0; i < lar_n_recipes; i++)
        if (same_name(name, lar_recipes[i].name))
            return &lar_recipes[i];
    for (size_t i = 0; i < LAR_LEN(more); i++)
        if (same_name(name, more[i].name))
            return &lar_recipes[more[i].recipe];
    return NULL;
}
