/*
 * test_bad_models.c - files that are sound GGUF, but not sound models: what only the binder, the
 * tokenizer's glue or the template can refuse. A small valid llama with one thing broken in each;
 * the message is part of the case.
 */
#include "engine_test.h"
#include "generate_test.h"
#include "gguf_write.h"
#include <math.h>
#include <time.h>
#include <unistd.h>

enum { EMBD = 32, HEADS = 2, KV = 1, FF = 256, LAYERS = 2, VOCAB = 40 };

typedef enum stage {
    OPEN, /* refused when opened */
    STEP, /* opens; a raw request fails */
    CHAT, /* opens and continues text; a chat fails */
    FINE, /* nothing is wrong enough */
    SAFE  /* an error or an answer */
} stage;

typedef struct kase {
    const char *what;
    stage at;
    lar_status code;
    const char *message;
    const char *drop;   /* key or tensor that is left out */
    void (*add)(gw *w); /* what comes instead */
} kase;

/* ---- the valid model
 * --------------------------------------------------------------------------------- */

static const char *const words[VOCAB] = {
    "<unk>", "<s>", "</s>", "a",  "b",  "c",  "d",  "e",  "f",  "g",
    "h",     "i",   "j",    "k",  "l",  "m",  "n",  "o",  "p",  "q",
    "r",     "s",   "t",    "u",  "v",  "w",  "x",  "y",  "z",  "\xe2\x96\x81",
    "ab",    "cd",  "ef",   "gh", "ij", "kl", "mn", "op", "qr", "st"};

static bool wanted(const kase *c, const char *name)
{
    return !c->drop || strcmp(c->drop, name) != 0;
}

static void weight(gw *w, const kase *c, const char *name, int layer, int64_t n, int64_t m)
{
    static float x[FF * EMBD];
    char full[64];
    uint32_t s = (uint32_t)(n * 31 + m + layer);
    if (layer >= 0)
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    else
        snprintf(full, sizeof full, "%s", name);
    if (!wanted(c, full))
        return;
    for (int64_t i = 0; i < n * m; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = m == 1 ? 1 : ((float)(s >> 8) / 16777216.0f - 0.5f) * 0.5f;
    }
    gw_tensor(w, full, LAR_DTYPE(f32), m == 1 ? 1 : 2, (int64_t[]){n, m}, x);
}

static void keys(gw *w, const kase *c)
{
    static const struct {
        const char *key;
        uint32_t v;
    } u[] = {{"llama.block_count", LAYERS},         {"llama.context_length", 128},
             {"llama.embedding_length", EMBD},      {"llama.feed_forward_length", FF},
             {"llama.attention.head_count", HEADS}, {"llama.attention.head_count_kv", KV},
             {"tokenizer.ggml.bos_token_id", 1},    {"tokenizer.ggml.eos_token_id", 2},
             {"tokenizer.ggml.unknown_token_id", 0}};
    int32_t types[VOCAB];
    float scores[VOCAB];
    for (int i = 0; i < VOCAB; i++) {
        types[i] = i == 0 ? 2 : i < 3 ? 3 : 1;
        scores[i] = -(float)i;
    }
    if (wanted(c, "general.architecture"))
        gw_str(w, "general.architecture", "llama");
    for (size_t i = 0; i < LAR_LEN(u); i++)
        if (wanted(c, u[i].key))
            gw_u32(w, u[i].key, u[i].v);
    if (wanted(c, "llama.attention.layer_norm_rms_epsilon"))
        gw_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (wanted(c, "tokenizer.ggml.model"))
        gw_str(w, "tokenizer.ggml.model", "llama");
    if (wanted(c, "tokenizer.ggml.tokens"))
        gw_str_array(w, "tokenizer.ggml.tokens", words, VOCAB);
    if (wanted(c, "tokenizer.ggml.scores"))
        gw_f32_array(w, "tokenizer.ggml.scores", scores, VOCAB);
    if (wanted(c, "tokenizer.ggml.token_type"))
        gw_i32_array(w, "tokenizer.ggml.token_type", types, VOCAB);
    if (wanted(c, "tokenizer.chat_template"))
        gw_str(w, "tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}");
}

static char *model_file(const kase *c)
{
    gw w = gw_new();
    keys(&w, c);
    weight(&w, c, "token_embd.weight", -1, EMBD, VOCAB);
    weight(&w, c, "output_norm.weight", -1, EMBD, 1);
    for (int l = 0; l < LAYERS; l++) {
        weight(&w, c, "attn_norm.weight", l, EMBD, 1);
        weight(&w, c, "attn_q.weight", l, EMBD, EMBD);
        weight(&w, c, "attn_k.weight", l, EMBD, EMBD / HEADS * KV);
        weight(&w, c, "attn_v.weight", l, EMBD, EMBD / HEADS * KV);
        weight(&w, c, "attn_output.weight", l, EMBD, EMBD);
        weight(&w, c, "ffn_norm.weight", l, EMBD, 1);
        weight(&w, c, "ffn_gate.weight", l, EMBD, FF);
        weight(&w, c, "ffn_up.weight", l, EMBD, FF);
        weight(&w, c, "ffn_down.weight", l, FF, EMBD);
    }
    if (c->add)
        c->add(&w);
    gw_bytes b = gw_finish(&w);
    char *path = temp_path("bad");
    if (!gw_save(&b, path))
        fail_msg("%s: cannot write", path);
    gw_bytes_free(&b);
    return path;
}

/* ---- what is broken
 * -------------------------------------------------------------------------------------- */

#define HP "llama."
#define TK "tokenizer.ggml."
#define EPS HP "attention.layer_norm_rms_epsilon"
#define ADD(name, ...)                                                                             \
    static void name(gw *w)                                                                        \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
ADD(heads_0, gw_u32(w, HP "attention.head_count", 0))
ADD(heads_huge, gw_u32(w, HP "attention.head_count", 1u << 31))
ADD(heads_3, gw_u32(w, HP "attention.head_count", 3))
ADD(heads_array, gw_u32_array(w, HP "attention.head_count", (uint32_t[]){2, 2}, 2))
ADD(kv_0, gw_u32(w, HP "attention.head_count_kv", 0))
ADD(kv_3, gw_u32(w, HP "attention.head_count_kv", 3))
ADD(kv_2, gw_u32(w, HP "attention.head_count_kv", 2))
ADD(layers_0, gw_u32(w, HP "block_count", 0))
ADD(layers_3, gw_u32(w, HP "block_count", 3))
ADD(layers_31, gw_u32(w, HP "block_count", 1u << 31))
ADD(layers_max, gw_u32(w, HP "block_count", UINT32_MAX))
ADD(layers_u64, gw_u64(w, HP "block_count", UINT64_C(1) << 40))
ADD(layers_negative, gw_i32(w, HP "block_count", -2))
ADD(layers_string, gw_str(w, HP "block_count", "2"))
ADD(layers_1, gw_u32(w, HP "block_count", 1))
ADD(embd_max, gw_u32(w, HP "embedding_length", UINT32_MAX))
ADD(embd_64, gw_u32(w, HP "embedding_length", 64))
ADD(ff_31, gw_u32(w, HP "feed_forward_length", 1u << 31))
ADD(ff_0, gw_u32(w, HP "feed_forward_length", 0))
ADD(ctx_0, gw_u32(w, HP "context_length", 0))
ADD(ctx_max, gw_u32(w, HP "context_length", UINT32_MAX))
ADD(ctx_large, gw_u32(w, HP "context_length", 1u << 30))
ADD(ctx_1, gw_u32(w, HP "context_length", 1))
ADD(key_0, gw_u32(w, HP "attention.key_length", 0))
ADD(key_large, gw_u32(w, HP "attention.key_length", 4096))
ADD(value_8, gw_u32(w, HP "attention.value_length", 8))
ADD(eps_nan, gw_f32(w, EPS, NAN))
ADD(eps_negative, gw_f32(w, EPS, -1e-5f))
ADD(eps_inf, gw_f32(w, EPS, INFINITY))
ADD(eps_string, gw_str(w, EPS, "small"))
ADD(rot_odd, gw_u32(w, HP "rope.dimension_count", 7))
ADD(rot_large, gw_u32(w, HP "rope.dimension_count", 18))
ADD(rot_0, gw_u32(w, HP "rope.dimension_count", 0))
ADD(rot_half, gw_u32(w, HP "rope.dimension_count", 8))
ADD(base_0, gw_f32(w, HP "rope.freq_base", 0))
ADD(base_nan, gw_f32(w, HP "rope.freq_base", NAN))
ADD(base_inf, gw_f32(w, HP "rope.freq_base", INFINITY))
ADD(scaling_name, gw_str(w, HP "rope.scaling.type", "magic"))
ADD(scaling_nan, gw_f32(w, HP "rope.scaling.factor", NAN))
ADD(scaling_small, gw_str(w, HP "rope.scaling.type", "linear");
    gw_f32(w, HP "rope.scaling.factor", 1e-30f))
ADD(scaling_large, gw_str(w, HP "rope.scaling.type", "yarn");
    gw_f32(w, HP "rope.scaling.factor", 1e6f))
ADD(yarn_beta, gw_str(w, HP "rope.scaling.type", "yarn"); gw_f32(w, HP "rope.scaling.factor", 4);
    gw_f32(w, HP "rope.scaling.yarn_beta_fast", 0))
ADD(yarn_base, gw_str(w, HP "rope.scaling.type", "yarn"); gw_f32(w, HP "rope.scaling.factor", 4);
    gw_f32(w, HP "rope.freq_base", 1))
ADD(freqs_zero, gw_tensor(w, "rope_freqs.weight", LAR_DTYPE(f32), 1, (int64_t[]){8}, NULL))
ADD(freqs_long, gw_tensor(w, "rope_freqs.weight", LAR_DTYPE(f32), 1, (int64_t[]){16}, NULL))
ADD(freqs_small, float x[8] = {1, 1, 1e-38f, 1, 1, 1, 1, 1};
    gw_tensor(w, "rope_freqs.weight", LAR_DTYPE(f32), 1, (int64_t[]){8}, x))
ADD(cap_nan, gw_f32(w, HP "final_logit_softcapping", NAN))
ADD(experts, gw_u32(w, HP "expert_count", 8))
ADD(window_31, gw_u32(w, HP "attention.sliding_window", 1u << 31))
ADD(window_30, gw_u32(w, HP "attention.sliding_window", 1u << 30))
ADD(window_1, gw_u32(w, HP "attention.sliding_window", 1))
ADD(arch_mamba, gw_str(w, "general.architecture", "mamba"))
ADD(arch_number, gw_u32(w, "general.architecture", 3))
ADD(arch_empty, gw_str(w, "general.architecture", ""))
ADD(arch_long, char s[3001]; memset(s, 'x', 3000); s[3000] = 0;
    gw_str(w, "general.architecture", s))
ADD(arch_qwen3, gw_str(w, "general.architecture", "qwen3"))
ADD(k_wide, gw_tensor(w, "blk.0.attn_k.weight", LAR_DTYPE(f32), 2, (int64_t[]){EMBD, EMBD}, NULL))
ADD(down_turned,
    gw_tensor(w, "blk.1.ffn_down.weight", LAR_DTYPE(f32), 2, (int64_t[]){EMBD, FF}, NULL))
ADD(up_3d, gw_tensor(w, "blk.0.ffn_up.weight", LAR_DTYPE(f32), 3, (int64_t[]){EMBD, FF, 2}, NULL))
ADD(norm_f16, gw_tensor(w, "blk.0.attn_norm.weight", LAR_DTYPE(f16), 1, (int64_t[]){EMBD}, NULL))
ADD(norm_short, gw_tensor(w, "output_norm.weight", LAR_DTYPE(f32), 1, (int64_t[]){EMBD / 2}, NULL))
ADD(down_iq2,
    gw_tensor(w, "blk.0.ffn_down.weight", LAR_DTYPE(q8_k), 2, (int64_t[]){FF, EMBD}, NULL))
ADD(q_i32, gw_tensor(w, "blk.0.attn_q.weight", LAR_DTYPE(i32), 2, (int64_t[]){EMBD, EMBD}, NULL))
ADD(bias_long, gw_tensor(w, "blk.0.attn_q.bias", LAR_DTYPE(f32), 1, (int64_t[]){EMBD + 1}, NULL))
ADD(output_small,
    gw_tensor(w, "output.weight", LAR_DTYPE(f32), 2, (int64_t[]){EMBD, VOCAB - 1}, NULL))
ADD(norm_of_q,
    gw_tensor(w, "blk.1.attn_q_norm.weight", LAR_DTYPE(f32), 1, (int64_t[]){EMBD / HEADS}, NULL))
ADD(extra, gw_tensor(w, "blk.7.attn_q.weight", LAR_DTYPE(f32), 1, (int64_t[]){5}, NULL))
ADD(embd_rows_30, gw_tensor(w, "token_embd.weight", LAR_DTYPE(f16), 2, (int64_t[]){EMBD, 4}, NULL))
ADD(embd_rows_60,
    gw_tensor(w, "token_embd.weight", LAR_DTYPE(f16), 2, (int64_t[]){EMBD, 300}, NULL))
ADD(embd_1d, gw_tensor(w, "token_embd.weight", LAR_DTYPE(f32), 1, (int64_t[]){EMBD}, NULL))
ADD(embd_zero, gw_tensor(w, "token_embd.weight", LAR_DTYPE(f32), 2, (int64_t[]){EMBD, VOCAB}, NULL);
    gw_f32(w, HP "unused", 0))

static void filled(gw *w, const char *name, int dims, int64_t n, int64_t m, float v)
{
    static float x[FF * EMBD];
    for (int64_t i = 0; i < n * m; i++)
        x[i] = v;
    gw_tensor(w, name, LAR_DTYPE(f32), dims, (int64_t[]){n, m}, x);
}
ADD(embd_nan, filled(w, "token_embd.weight", 2, EMBD, VOCAB, NAN))
ADD(norm_nan, filled(w, "output_norm.weight", 1, EMBD, 1, NAN))
ADD(norm_inf, filled(w, "output_norm.weight", 1, EMBD, 1, INFINITY))
ADD(norm_huge, filled(w, "output_norm.weight", 1, EMBD, 1, 3e38f))
ADD(down_nan, filled(w, "blk.1.ffn_down.weight", 2, FF, EMBD, NAN))
ADD(v_inf, filled(w, "blk.0.attn_v.weight", 2, EMBD, EMBD / 2, INFINITY))
ADD(q_nan, filled(w, "blk.0.attn_q.weight", 2, EMBD, EMBD, NAN))

ADD(tok_kind, gw_str(w, TK "model", "abacus"))
ADD(tok_kind_number, gw_u32(w, TK "model", 1))
ADD(tokens_none, gw_str_array(w, TK "tokens", NULL, 0))
ADD(tokens_numbers, gw_u32_array(w, TK "tokens", (uint32_t[]){1, 2}, 2))
ADD(tokens_string, gw_str(w, TK "tokens", "a b c"))
ADD(scores_short, gw_f32_array(w, TK "scores", (float[]){1, 2}, 2))
ADD(scores_strings, gw_str_array(w, TK "scores", words, VOCAB))
ADD(scores_nan, float x[VOCAB]; for (int i = 0; i < VOCAB; i++) x[i] = NAN;
    gw_f32_array(w, TK "scores", x, VOCAB))
ADD(types_short, gw_i32_array(w, TK "token_type", (int32_t[]){1, 1, 1}, 3))
ADD(types_floats, float x[VOCAB] = {0}; gw_f32_array(w, TK "token_type", x, VOCAB))
ADD(types_wild, int32_t x[VOCAB];
    for (int i = 0; i < VOCAB; i++) x[i] = i % 2 ? INT32_MAX : INT32_MIN;
    gw_i32_array(w, TK "token_type", x, VOCAB))
ADD(types_bytes, int32_t x[VOCAB]; for (int i = 0; i < VOCAB; i++) x[i] = 6;
    gw_i32_array(w, TK "token_type", x, VOCAB))
ADD(bos_far, gw_u32(w, TK "bos_token_id", 1000))
ADD(bos_at_end, gw_u32(w, TK "bos_token_id", VOCAB))
ADD(eos_31, gw_u32(w, TK "eos_token_id", 1u << 31))
ADD(eos_negative, gw_i32(w, TK "eos_token_id", -5))
ADD(eos_string, gw_str(w, TK "eos_token_id", "</s>"))
ADD(gpt2_merge_word, gw_str(w, TK "model", "gpt2");
    gw_str_array(w, TK "merges", (const char *const[]){"ab"}, 1))
ADD(gpt2_merge_empty, gw_str(w, TK "model", "gpt2");
    gw_str_array(w, TK "merges", (const char *const[]){""}, 1))
ADD(gpt2_merge_space, gw_str(w, TK "model", "gpt2");
    gw_str_array(w, TK "merges", (const char *const[]){" "}, 1))
ADD(gpt2_merge_numbers, gw_str(w, TK "model", "gpt2");
    gw_u32_array(w, TK "merges", (uint32_t[]){1}, 1))
ADD(gpt2_no_merges, gw_str(w, TK "model", "gpt2"))
ADD(chat_broken, gw_str(w, "tokenizer.chat_template", "{% for m in messages %}{{ m.content }"))
ADD(chat_number, gw_u32(w, "tokenizer.chat_template", 7))
ADD(chat_raises, gw_str(w, "tokenizer.chat_template", "{{ raise_exception('only on Mondays') }}"))
ADD(chat_bytes, gw_str(w, "tokenizer.chat_template", "\xff\xfe{{ 1 }}"))

static const kase cases[] = {
    {"nothing", FINE, LAR_OK, "", NULL, NULL},
    {"no heads", OPEN, LAR_EFORMAT, "llama.attention.head_count is 0, want 1 to 4096",
     HP "attention.head_count", heads_0},
    {"2^31 heads", OPEN, LAR_EFORMAT, "head_count is 2.14748e+09, want 1 to 4096",
     HP "attention.head_count", heads_huge},
    {"heads do not divide", OPEN, LAR_EFORMAT,
     "embedding_length 32 does not divide by attention.head_count 3", HP "attention.head_count",
     heads_3},
    {"heads per layer", OPEN, LAR_EFORMAT, "llama.attention.head_count", HP "attention.head_count",
     heads_array},
    {"heads missing", OPEN, LAR_EFORMAT, "llama.attention.head_count is missing",
     HP "attention.head_count", NULL},
    {"no KV heads", OPEN, LAR_EFORMAT, "head_count_kv is 0, want 1", HP "attention.head_count_kv",
     kv_0},
    {"KV heads do not divide", OPEN, LAR_EFORMAT, "head_count 2 is no multiple of head_count_kv 3",
     HP "attention.head_count_kv", kv_3},
    {"KV heads and shapes", OPEN, LAR_EFORMAT,
     "blk.0.attn_k.weight: shape [32,16,1,1], want [32,32,1,1]", HP "attention.head_count_kv",
     kv_2},
    {"no layers", OPEN, LAR_EFORMAT, "llama.block_count is 0, want 1 to 1024", HP "block_count",
     layers_0},
    {"too many layers", OPEN, LAR_EFORMAT, "tensor blk.2.attn_norm.weight is missing",
     HP "block_count", layers_3},
    {"2^31 layers", OPEN, LAR_EFORMAT, "want 1 to 1024", HP "block_count", layers_31},
    {"2^32-1 layers", OPEN, LAR_EFORMAT, "want 1 to 1024", HP "block_count", layers_max},
    {"2^40 layers", OPEN, LAR_EFORMAT, "llama.block_count", HP "block_count", layers_u64},
    {"-2 layers", OPEN, LAR_EFORMAT, "llama.block_count", HP "block_count", layers_negative},
    {"layers as text", OPEN, LAR_EFORMAT, "llama.block_count", HP "block_count", layers_string},
    {"layers missing", OPEN, LAR_EFORMAT, "llama.block_count is missing", HP "block_count", NULL},
    {"fewer layers", OPEN, LAR_EUNSUPPORTED, "architecture llama has no use for it",
     HP "block_count", layers_1},
    {"huge width", OPEN, LAR_EFORMAT, "embedding_length is 4.29497e+09", HP "embedding_length",
     embd_max},
    {"other width", OPEN, LAR_EFORMAT, "token_embd.weight: shape [32,40,1,1], want [64,40,1,1]",
     HP "embedding_length", embd_64},
    {"huge FFN", OPEN, LAR_EFORMAT, "feed_forward_length is 2.14748e+09", HP "feed_forward_length",
     ff_31},
    {"no FFN", OPEN, LAR_EFORMAT, "feed_forward_length is 0", HP "feed_forward_length", ff_0},
    {"context 0", OPEN, LAR_EFORMAT, "llama.context_length is 0, want 1", HP "context_length",
     ctx_0},
    {"context 2^32-1", OPEN, LAR_EFORMAT, "llama.context_length is 4.29497e+09",
     HP "context_length", ctx_max},
    {"context 2^30", FINE, LAR_OK, "", HP "context_length", ctx_large},
    {"context 1", STEP, LAR_EFULL, "the context only 1", HP "context_length", ctx_1},
    {"context missing", OPEN, LAR_EFORMAT, "llama.context_length is missing", HP "context_length",
     NULL},
    {"key length 0", OPEN, LAR_EFORMAT, "key_length is 0", NULL, key_0},
    {"key length 4096", OPEN, LAR_EFORMAT, "key_length is 4096, want 1 to 1024", NULL, key_large},
    {"value length", OPEN, LAR_EFORMAT, "blk.0.attn_v.weight: shape [32,16,1,1], want [32,8,1,1]",
     NULL, value_8},
    {"eps NaN", OPEN, LAR_EFORMAT, EPS ": is NaN", EPS, eps_nan},
    {"eps negative", OPEN, LAR_EFORMAT, EPS " is -1e-05", EPS, eps_negative},
    {"eps infinite", OPEN, LAR_EFORMAT, EPS ": is infinite", EPS, eps_inf},
    {"eps text", OPEN, LAR_EFORMAT, EPS, EPS, eps_string},
    {"eps missing", OPEN, LAR_EFORMAT, EPS " is missing", EPS, NULL},
    {"odd rope", OPEN, LAR_EFORMAT,
     "rope.dimension_count 7, want an even number up to the head's 16", NULL, rot_odd},
    {"rope too wide", OPEN, LAR_EFORMAT,
     "rope.dimension_count 18, want an even number up to the head's 16", NULL, rot_large},
    {"rope of nothing", OPEN, LAR_EFORMAT, "rope.dimension_count is 0, want 2", NULL, rot_0},
    {"rope of half a head", FINE, LAR_OK, "", NULL, rot_half},
    {"rope base 0", OPEN, LAR_EFORMAT, "rope.freq_base is 0, want 1", NULL, base_0},
    {"rope base NaN", OPEN, LAR_EFORMAT, "rope.freq_base: is NaN", NULL, base_nan},
    {"rope base infinite", OPEN, LAR_EFORMAT, "rope.freq_base: is infinite", NULL, base_inf},
    {"rope scaling unknown", OPEN, LAR_EUNSUPPORTED,
     "rope.scaling.type is 'magic', want none, linear or yarn", NULL, scaling_name},
    {"rope factor NaN", OPEN, LAR_EFORMAT, "rope.scaling.factor: is NaN", NULL, scaling_nan},
    {"rope factor tiny", SAFE, LAR_OK, "", NULL, scaling_small},
    {"rope factor large", FINE, LAR_OK, "", NULL, scaling_large},
    {"yarn beta 0", OPEN, LAR_EFORMAT, "yarn_beta_fast is 0", NULL, yarn_beta},
    {"yarn base 1", OPEN, LAR_EFORMAT, "rope.freq_base 1, want more than 1 for yarn", NULL,
     yarn_base},
    {"rope factors 0", OPEN, LAR_EFORMAT, "rope_freqs.weight[0] is 0, want a factor above 0", NULL,
     freqs_zero},
    {"rope factors too many", OPEN, LAR_EFORMAT,
     "rope_freqs.weight: shape [16,1,1,1], want [8,1,1,1]", NULL, freqs_long},
    {"rope factors tiny", SAFE, LAR_OK, "", NULL, freqs_small},
    {"softcap NaN", OPEN, LAR_EFORMAT, "final_logit_softcapping: is NaN", NULL, cap_nan},
    {"experts", OPEN, LAR_EFORMAT, "llama.expert_used_count is 0 of 8 experts", NULL, experts},
    {"window 2^31", OPEN, LAR_EFORMAT, "sliding_window is 2.14748e+09", NULL, window_31},
    {"window 2^30", FINE, LAR_OK, "", NULL, window_30},
    {"window 1", FINE, LAR_OK, "", NULL, window_1},
    {"unknown architecture", OPEN, LAR_EUNSUPPORTED,
     "architecture 'mamba' is not known, want one of: ", "general.architecture", arch_mamba},
    {"... and what is known", OPEN, LAR_EUNSUPPORTED, "llama", "general.architecture", arch_mamba},
    {"no architecture", OPEN, LAR_EFORMAT, "general.architecture is missing",
     "general.architecture", NULL},
    {"architecture a number", OPEN, LAR_EFORMAT, "general.architecture", "general.architecture",
     arch_number},
    {"architecture empty", OPEN, LAR_EUNSUPPORTED, "architecture '' is not known",
     "general.architecture", arch_empty},
    {"architecture endless", OPEN, LAR_EUNSUPPORTED, "xxxx' is not known", "general.architecture",
     arch_long},
    {"another architecture", OPEN, LAR_EFORMAT, "qwen3.block_count is missing",
     "general.architecture", arch_qwen3},
    {"no embeddings", OPEN, LAR_EFORMAT, "tensor token_embd.weight is missing", "token_embd.weight",
     NULL},
    {"no last norm", OPEN, LAR_EFORMAT, "tensor output_norm.weight is missing",
     "output_norm.weight", NULL},
    {"no Q", OPEN, LAR_EFORMAT, "tensor blk.0.attn_q.weight is missing", "blk.0.attn_q.weight",
     NULL},
    {"no up", OPEN, LAR_EFORMAT, "tensor blk.1.ffn_up.weight is missing", "blk.1.ffn_up.weight",
     NULL},
    {"K too wide", OPEN, LAR_EFORMAT, "blk.0.attn_k.weight: shape [32,32,1,1], want [32,16,1,1]",
     "blk.0.attn_k.weight", k_wide},
    {"down turned", OPEN, LAR_EFORMAT,
     "blk.1.ffn_down.weight: shape [32,256,1,1], want [256,32,1,1]", "blk.1.ffn_down.weight",
     down_turned},
    {"up in 3 dimensions", OPEN, LAR_EFORMAT,
     "blk.0.ffn_up.weight: shape [32,256,2,1], want [32,256,1,1]", "blk.0.ffn_up.weight", up_3d},
    {"norm F16", OPEN, LAR_EUNSUPPORTED, "blk.0.attn_norm.weight: type f16, want f32",
     "blk.0.attn_norm.weight", norm_f16},
    {"norm short", OPEN, LAR_EFORMAT, "output_norm.weight: shape [16,1,1,1], want [32,1,1,1]",
     "output_norm.weight", norm_short},
    {"no kernels", OPEN, LAR_EUNSUPPORTED,
     "blk.0.ffn_down.weight: type q8_k has no kernels yet, want one of:", "blk.0.ffn_down.weight",
     down_iq2},
    {"integer weights", OPEN, LAR_EUNSUPPORTED, "blk.0.attn_q.weight: type i32 has no kernels",
     "blk.0.attn_q.weight", q_i32},
    {"bias too long", OPEN, LAR_EFORMAT, "blk.0.attn_q.bias: shape [33,1,1,1], want [32,1,1,1]",
     NULL, bias_long},
    {"head too small", OPEN, LAR_EFORMAT, "output.weight: shape [32,39,1,1], want [32,40,1,1]",
     NULL, output_small},
    {"a norm that llama has not", OPEN, LAR_EUNSUPPORTED,
     "tensor blk.1.attn_q_norm.weight: architecture llama has no use for it", NULL, norm_of_q},
    {"a tensor too many", OPEN, LAR_EUNSUPPORTED,
     "tensor blk.7.attn_q.weight: architecture llama has no use", NULL, extra},
    {"fewer rows than tokens", SAFE, LAR_OK, "", "token_embd.weight", embd_rows_30},
    {"more rows than tokens", FINE, LAR_OK, "", "token_embd.weight", embd_rows_60},
    {"one row", SAFE, LAR_OK, "", "token_embd.weight", embd_1d},
    {"zero embeddings", FINE, LAR_OK, "", "token_embd.weight", embd_zero},
    {"NaN embeddings", STEP, LAR_ENUMERIC, "not a number", "token_embd.weight", embd_nan},
    {"NaN norm", STEP, LAR_ENUMERIC, "not a number", "output_norm.weight", norm_nan},
    {"infinite norm", STEP, LAR_ENUMERIC, "not a number", "output_norm.weight", norm_inf},
    {"huge norm", SAFE, LAR_OK, "", "output_norm.weight", norm_huge},
    {"NaN down", STEP, LAR_ENUMERIC, "not a number", "blk.1.ffn_down.weight", down_nan},
    {"infinite V", STEP, LAR_ENUMERIC, "not a number", "blk.0.attn_v.weight", v_inf},
    {"NaN Q", STEP, LAR_ENUMERIC, "not a number", "blk.0.attn_q.weight", q_nan},
    {"unknown tokenizer", OPEN, LAR_EUNSUPPORTED, "abacus", TK "model", tok_kind},
    {"tokenizer a number", OPEN, LAR_EFORMAT, "tokenizer.ggml.model", TK "model", tok_kind_number},
    {"no tokenizer", STEP, LAR_EUNSUPPORTED, "the model file has no tokenizer", TK "model", NULL},
    {"tokens missing", OPEN, LAR_ENOTFOUND, "tokenizer.ggml.tokens", TK "tokens", NULL},
    {"tokens empty", OPEN, LAR_EFORMAT, "", TK "tokens", tokens_none},
    {"tokens numbers", OPEN, LAR_EFORMAT, "tokenizer.ggml.tokens", TK "tokens", tokens_numbers},
    {"tokens a string", OPEN, LAR_EFORMAT, "tokenizer.ggml.tokens", TK "tokens", tokens_string},
    {"scores short", OPEN, LAR_EFORMAT, "tokenizer.ggml.scores: 2 entries for 40 tokens",
     TK "scores", scores_short},
    {"scores strings", OPEN, LAR_EFORMAT, "tokenizer.ggml.scores", TK "scores", scores_strings},
    {"scores NaN", SAFE, LAR_OK, "", TK "scores", scores_nan},
    {"types short", OPEN, LAR_EFORMAT, "tokenizer.ggml.token_type: 3 entries for 40 tokens",
     TK "token_type", types_short},
    {"types floats", OPEN, LAR_EFORMAT, "tokenizer.ggml.token_type", TK "token_type", types_floats},
    {"types wild", SAFE, LAR_OK, "", TK "token_type", types_wild},
    {"types all bytes", SAFE, LAR_OK, "", TK "token_type", types_bytes},
    {"BOS far away", OPEN, LAR_EFORMAT, "1000", TK "bos_token_id", bos_far},
    {"BOS just past the end", OPEN, LAR_EFORMAT, "40", TK "bos_token_id", bos_at_end},
    {"EOS 2^31", OPEN, LAR_EFORMAT, "tokenizer.ggml.eos_token_id: 2147483648 is no token id",
     TK "eos_token_id", eos_31},
    {"EOS -5", OPEN, LAR_EFORMAT, "tokenizer.ggml.eos_token_id", TK "eos_token_id", eos_negative},
    {"EOS text", OPEN, LAR_EFORMAT, "tokenizer.ggml.eos_token_id", TK "eos_token_id", eos_string},
    {"merge of one", OPEN, LAR_EFORMAT, "", TK "model", gpt2_merge_word},
    {"merge empty", OPEN, LAR_EFORMAT, "", TK "model", gpt2_merge_empty},
    {"merge of nothing", SAFE, LAR_OK, "", TK "model", gpt2_merge_space},
    {"merges numbers", OPEN, LAR_EFORMAT, "tokenizer.ggml.merges", TK "model", gpt2_merge_numbers},
    {"merges missing", SAFE, LAR_OK, "", TK "model", gpt2_no_merges},
    {"broken template", CHAT, LAR_EFORMAT, "the model's chat template: ", "tokenizer.chat_template",
     chat_broken},
    {"template a number", CHAT, LAR_EFORMAT,
     "the model's chat template: ", "tokenizer.chat_template", chat_number},
    {"template raises", CHAT, LAR_EARG, "only on Mondays", "tokenizer.chat_template", chat_raises},
    {"template not text", SAFE, LAR_OK, "", "tokenizer.chat_template", chat_bytes},
    {"no template", CHAT, LAR_EUNSUPPORTED, "the model file has no chat template",
     "tokenizer.chat_template", NULL},
};

/* ---- one case
 * -----------------------------------------------------------------------------------------------
 */

static const char raw[] =
    "{\"prompt\":\"ab st "
    "z\",\"raw\":true,\"max_tokens\":3,\"ignore_eos\":true,\"seed\":1,\"temp\":3}";

/* All wrong cases are shown; the test fails at its end. */
static void wrong(int *bad, const char *what, const char *found, const char *want)
{
    print_error("%s: %s, want %s\n", what, found, want);
    (*bad)++;
}

static void check(int *bad, const kase *c, stage at, lar_status st, const lar_err *e)
{
    if (c->at == SAFE)
        return;
    if (c->at != at) {
        if (st != LAR_OK)
            wrong(bad, c->what, e->msg, "success");
        return;
    }
    if (st != c->code)
        wrong(bad, c->what, lar_status_name(st), lar_status_name(c->code));
    if (st == LAR_OK || e->code != st || !strstr(e->msg, c->message))
        wrong(bad, c->what, st == LAR_OK ? "success" : e->msg, c->message);
}

static void run(lar_runtime *rt, const kase *c, int *bad)
{
    lar_err e = {0};
    lar_model *m = NULL;
    char *path = model_file(c);
    const lar_status st = lar_model_open(rt, path, NULL, &m, &e);
    unlink(path);
    free(path);
    assert_int_equal(m != NULL, st == LAR_OK);
    check(bad, c, OPEN, st, &e);
    if (m) {
        char *info = lar_model_info(m, 1);
        lar_session *s = test_session(m, 64, 4, NULL);
        said a = ask_any(s, "generate", raw),
             l = ask_any(s, "logits", "{\"prompt\":\"ab\",\"top\":400}");
        assert_non_null(info);
        lar_string_free(info);
        check(bad, c, STEP, a.st, &a.e);
        if (c->at == STEP && c->code == LAR_ENUMERIC)
            check(bad, c, STEP, l.st, &l.e);
        if (c->at == FINE && (l.st != LAR_OK || n_tokens(&a) != 3))
            wrong(bad, c->what, l.e.msg, "3 tokens, and logits");
        said_free(&a);
        said_free(&l);
        a = ask_any(s, "generate", "{\"prompt\":\"ab\",\"max_tokens\":1}");
        if (c->at != STEP)
            check(bad, c, CHAT, a.st, &a.e);
        said_free(&a);
        lar_session_free(s);
    }
    lar_model_free(m);
}

static void test_cases(void **state)
{
    (void)state;
    lar_runtime *rt = test_runtime(1);
    int bad = 0;
    assert_true(LAR_LEN(cases) >= 40);
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        const clock_t begin = clock();
        const uint64_t rss = lar_peak_rss();
        run(rt, &cases[i], &bad);
        const double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
        const double mib = ((double)lar_peak_rss() - (double)rss) / 1048576;
        if (seconds > 1 || mib > 64)
            fail_msg("%s: %g s, %g MiB", cases[i].what, seconds, mib);
    }
    assert_int_equal(bad, 0);
    lar_runtime_free(rt);
}

/* ---- a session after a step that failed
 * ------------------------------------------------------------------------ */

static void z_is_nan(gw *w)
{
    static float x[VOCAB * EMBD];
    for (int i = 0; i < VOCAB * EMBD; i++)
        x[i] = i / EMBD == 28 ? NAN : (float)(i * 37 % 101 - 50) / 100;
    gw_tensor(w, "token_embd.weight", LAR_DTYPE(f32), 2, (int64_t[]){EMBD, VOCAB}, x);
    /* With a head of its own, only a z in the prompt reaches the logits. */
    for (int i = 28 * EMBD; i < 29 * EMBD; i++)
        x[i] = 0.25f;
    gw_tensor(w, "output.weight", LAR_DTYPE(f32), 2, (int64_t[]){EMBD, VOCAB}, x);
}

static void test_after_nan(void **state)
{
    (void)state;
    const kase c = {.drop = "token_embd.weight", .add = z_is_nan};
    lar_runtime *rt = test_runtime(1);
    char *path = model_file(&c), *save = temp_path("nan"), good[400], bad[400];
    lar_model *m = test_model_open(rt, path);
    lar_session *s = test_session(m, 128, 128, NULL), *t = test_session(m, 128, 128, NULL);
    lar_err e = {0};
    snprintf(good, sizeof good,
             "{\"prompt\":\"%.*s\",\"raw\":true,\"max_tokens\":1,\"temp\":0,\"logit_bias\":{\"28\":"
             "false}}",
             20, "acegikmoacegikmoacegikmo");
    /* Past the page that the good prompt begins. */
    snprintf(bad, sizeof bad, "{\"prompt\":\"%.*s%s\",\"raw\":true,\"max_tokens\":1}", 20,
             "acegikmoacegikmoacegikmo",
             "zcegikmoacegikmoacegikmoacegikmoacegikmoacegikmoacegikmoacegikmoacegikmo");
    said want = ask(s, "generate", good);
    const int held = lar_seq_length(s->seq);
    for (int i = 0; i < 3; i++) {
        said b = ask_any(s, "generate", bad);
        assert_int_equal(b.st, LAR_ENUMERIC);
        assert_int_equal(lar_seq_length(s->seq), held);
        said_free(&b);
        if (lar_session_save(s, save, &e) != LAR_OK || lar_session_load(t, save, &e) != LAR_OK ||
            lar_session_load(s, save, &e) != LAR_OK)
            fail_msg("%s", e.msg);
        assert_int_equal(lar_seq_length(t->seq), held);
        b = ask(t, "generate", good);
        same_tokens(&b, &want);
        said_free(&b);
        b = ask(s, "generate", good);
        assert_int_equal(timing(&b, "cached_tokens"), held - 1);
        same_tokens(&b, &want);
        said_free(&b);
    }
    said_free(&want);
    unlink(path);
    unlink(save);
    free(path);
    free(save);
    lar_session_free(s);
    lar_session_free(t);
    lar_model_free(m);
    lar_runtime_free(rt);
}

/* The pages of a step that failed are free again once its sequence is cut to what it holds, which
 * is nothing. */
static void test_pages_after_nan(void **state)
{
    (void)state;
    const kase c = {.drop = "token_embd.weight", .add = z_is_nan};
    char *path = model_file(&c);
    int32_t ids[128];
    rig r;
    lar_err e = {0};
    rig_open(&r, path, &(rig_options){.ctx = 128, .batch = 128, .seqs = 2});
    lar_seq *a = rig_seq(&r), *b = rig_seq(&r);
    for (int i = 0; i < 128; i++)
        ids[i] = 28;
    lar_step bad = {.seq = a, .tokens = ids, .n = 128}, one = {.seq = a, .tokens = ids, .n = 1};
    assert_int_equal(lar_engine_step(r.en, &bad, 1, &e), LAR_ENUMERIC);
    assert_int_equal(lar_seq_length(a), 0);
    lar_seq_truncate(a, 0);
    for (int i = 0; i < 128; i++)
        ids[i] = 3 + i % 20;
    lar_step good = {.seq = b, .tokens = ids, .n = 128};
    if (lar_engine_step(r.en, &good, 1, &e) != LAR_OK ||
        lar_engine_step(r.en, &one, 1, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    assert_int_equal(lar_engine_step(r.en, &(lar_step){.seq = b, .tokens = ids, .n = 1}, 1, &e),
                     LAR_EFULL);
    assert_int_equal(lar_seq_length(b), 128);
    rig_close(&r);
    unlink(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases),
                                       cmocka_unit_test(test_after_nan),
                                       cmocka_unit_test(test_pages_after_nan)};
    return cmocka_run_group_tests_name("bad_models", tests, NULL, NULL);
}
