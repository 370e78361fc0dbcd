/*
 * hf.c - the one converter: reads config.json, plans which tensors the GGUF file gets from which of
 * the folder's, then streams them. Depends on hf.h and quant (for the output's types).
 */
#include "convert/hf.h"
#include "base/math.h"
#include "base/os.h"
#include "convert/convert.h"
#include "quant/kernels.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { EXPERTS_MAX = 4096, NAME_MAX_ = 96, ST_NAME = 160, ROW_MAX = 1 << 24 };

/* A tensor of the output: rows of one source, of many experts', or floats of our own. */
typedef struct lar__hf_out {
    char name[NAME_MAX_];
    int how, rank; /* rank: position in the tables, for the order of the file */
    long layer;
    const lar_st_tensor **src; /* [n_src]: by expert, else one */
    size_t n_src;
    bool experts;
    lar_hf_view view; /* of the last source */
    float *own;       /* [dim[0]], or NULL */
    const lar_dtype *type;
    int n_dims;
    int64_t dim[4];
} out_tensor;

/* Weights and biases that most decoders have. */
#define L "model.layers.%."
static const lar_hf_tensor common[] = {
    {"model.embed_tokens.weight", "token_embd.weight", LAR_HF_COPY},
    {"model.norm.weight", "output_norm.weight", LAR_HF_COPY},
    {"lm_head.weight", "output.weight", LAR_HF_COPY},
    {L "input_layernorm.weight", "blk.%.attn_norm.weight", LAR_HF_COPY},
    {L "self_attn.q_proj.weight", "blk.%.attn_q.weight", LAR_HF_Q},
    {L "self_attn.k_proj.weight", "blk.%.attn_k.weight", LAR_HF_K},
    {L "self_attn.v_proj.weight", "blk.%.attn_v.weight", LAR_HF_COPY},
    {L "self_attn.o_proj.weight", "blk.%.attn_output.weight", LAR_HF_COPY},
    {L "self_attn.q_proj.bias", "blk.%.attn_q.bias", LAR_HF_Q},
    {L "self_attn.k_proj.bias", "blk.%.attn_k.bias", LAR_HF_K},
    {L "self_attn.v_proj.bias", "blk.%.attn_v.bias", LAR_HF_COPY},
    {L "self_attn.o_proj.bias", "blk.%.attn_output.bias", LAR_HF_COPY},
    {L "self_attn.q_norm.weight", "blk.%.attn_q_norm.weight", LAR_HF_COPY},
    {L "self_attn.k_norm.weight", "blk.%.attn_k_norm.weight", LAR_HF_COPY},
    {L "post_attention_layernorm.weight", "blk.%.ffn_norm.weight", LAR_HF_COPY},
    {L "mlp.gate_proj.weight", "blk.%.ffn_gate.weight", LAR_HF_COPY},
    {L "mlp.up_proj.weight", "blk.%.ffn_up.weight", LAR_HF_COPY},
    {L "mlp.down_proj.weight", "blk.%.ffn_down.weight", LAR_HF_COPY},
    {L "mlp.gate_proj.bias", "blk.%.ffn_gate.bias", LAR_HF_COPY},
    {L "mlp.up_proj.bias", "blk.%.ffn_up.bias", LAR_HF_COPY},
    {L "mlp.down_proj.bias", "blk.%.ffn_down.bias", LAR_HF_COPY},
    {L "self_attn.rotary_emb.inv_freq", NULL, LAR_HF_SKIP},
};
#define LAYERS "num_hidden_layers|n_layer"
#define WIDTH "hidden_size|n_embd"
#define HEADS "num_attention_heads|n_head"
static const lar_hf_key common_keys[] = {
    {LAYERS, "block_count", 'u', true},
    {WIDTH, "embedding_length", 'u', true},
    {"intermediate_size|block_ff_dim|n_inner", "feed_forward_length", 'u', true},
    {HEADS, "attention.head_count", 'u', true},
    {"num_key_value_heads", "attention.head_count_kv", 'u', false},
    {"head_dim", "attention.key_length", 'u', false},
    {"head_dim", "attention.value_length", 'u', false},
    {"max_trained_positions|max_position_embeddings|n_positions", "context_length", 'u', true},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", 'f', false},
    {"sliding_window", "attention.sliding_window", 'u', false},
    {"vocab_size", "vocab_size", 'u', true},
};

/* ---- config.json ------------------------------------------------------------------------------
 */

static json_t *get_path(const json_t *j, const char *path, size_t n)
{
    while (n) {
        const char *dot = memchr(path, '.', n);
        const size_t k = dot ? (size_t)(dot - path) : n;
        char name[80];
        if (k >= sizeof name)
            return NULL;
        memcpy(name, path, k);
        name[k] = 0;
        j = json_object_get(j, name);
        path += dot ? k + 1 : k;
        n -= dot ? k + 1 : k;
    }
    return (json_t *)(uintptr_t)j;
}

json_t *lar_hf_get(const json_t *config, const char *names)
{
    for (const char *p = names; *p;) {
        const size_t n = strcspn(p, "|");
        json_t *v = get_path(config, p, n);
        if (v && !json_is_null(v))
            return v;
        p += n + (p[n] == '|');
    }
    return NULL;
}

lar_status lar_hf_number(const json_t *config, const char *names, double *out, lar_err *e)
{
    const json_t *v = lar_hf_get(config, names);
    if (!v)
        return lar_fail(e, LAR_ENOTFOUND, "config.json: %s is missing", names);
    if (!json_is_number(v) || !isfinite(json_number_value(v)))
        return lar_fail(e, LAR_EFORMAT, "config.json: %s, want a number", names);
    *out = json_number_value(v);
    return LAR_OK;
}

/* "ARCH.key", cut if need be. */
typedef struct full_key {
    char s[128];
} full_key;
static full_key arch_key(const lar_hf *h, const char *key)
{
    full_key k;
    snprintf(k.s, sizeof k.s, "%s.%s", h->def->arch, key);
    return k;
}
void lar_hf_put_u32(lar_hf *h, const char *key, uint32_t v)
{
    lar_gguf_put_u32(h->w, arch_key(h, key).s, v);
}
void lar_hf_put_f32(lar_hf *h, const char *key, float v)
{
    lar_gguf_put_f32(h->w, arch_key(h, key).s, v);
}

void lar_hf_put_u32s(lar_hf *h, const char *key, const uint32_t *p, size_t n)
{
    lar_gguf_put_array(h->w, arch_key(h, key).s, LAR_GGUF_U32, p, n);
}

void lar_hf_put_i32s(lar_hf *h, const char *key, const int32_t *p, size_t n)
{
    lar_gguf_put_array(h->w, arch_key(h, key).s, LAR_GGUF_I32, p, n);
}

void lar_hf_put_bools(lar_hf *h, const char *key, const uint32_t *p, size_t n)
{
    uint8_t *b = lar_alloc_array(n, sizeof *b);
    for (size_t i = 0; b && i < n; i++)
        b[i] = p[i] != 0;
    lar_gguf_put_array(h->w, arch_key(h, key).s, LAR_GGUF_BOOL, b, b ? n : 0);
    lar_free(b);
}

lar_status lar_hf_layers(const lar_hf *h, const char *kind, uint32_t **out, lar_err *e)
{
    const json_t *list = json_object_get(h->text, "layer_types");
    const size_t n = (size_t)h->n_layer;
    if (json_array_size(list) != n)
        return lar_fail(e, LAR_EFORMAT, "config.json: layer_types has %zu names, want %zu",
                        json_array_size(list), n);
    uint32_t *is = lar_alloc_array(n, sizeof *is);
    if (!is)
        return lar_fail(e, LAR_ENOMEM, "layer_types: out of memory");
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        is[i] = name && strcmp(name, kind) == 0;
    }
    *out = is;
    return LAR_OK;
}

void lar_hf_put_bool(lar_hf *h, const char *key, bool v)
{
    lar_gguf_put_bool(h->w, arch_key(h, key).s, v);
}
const char *lar_hf_text(const json_t *v)
{
    return json_is_string(v) ? json_string_value(v) : "";
}

static lar_status put_key(lar_hf *h, const lar_hf_key *k, lar_err *e)
{
    const json_t *v = lar_hf_get(h->text, k->hf);
    double x = 0;
    if (!v)
        return k->need ? lar_fail(e, LAR_EFORMAT, "config.json: %s is missing", k->hf) : LAR_OK;
    if (k->kind == 'b') {
        if (!json_is_boolean(v))
            return lar_fail(e, LAR_EFORMAT, "config.json: %s, want true or false", k->hf);
        lar_hf_put_bool(h, k->gguf, json_is_true(v));
        return LAR_OK;
    }
    LAR_TRY(lar_hf_number(h->text, k->hf, &x, e));
    if (k->kind == 'f') {
        if (!(fabs(x) <= (double)FLT_MAX))
            return lar_fail(e, LAR_EFORMAT, "config.json: %s is %g, too large", k->hf, x);
        lar_hf_put_f32(h, k->gguf, (float)x);
        return LAR_OK;
    }
    if (!(x >= 0 && x < 4294967296.0) || x != (double)(uint32_t)x)
        return lar_fail(e, LAR_EFORMAT, "config.json: %s is %g, want a whole number", k->hf, x);
    lar_hf_put_u32(h, k->gguf, (uint32_t)x);
    return LAR_OK;
}

static bool in_list(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (const char *p = list; *p;) {
        const size_t k = strcspn(p, "|");
        if (k == n && memcmp(p, name, n) == 0)
            return true;
        p += k + (p[k] == '|');
    }
    return false;
}

static lar_status find_def(lar_hf *h, lar_err *e)
{
    const char *type = json_string_value(json_object_get(h->text, "model_type"));
    lar_buf known = {0};
    if (!type)
        return lar_fail(e, LAR_EFORMAT, "config.json: model_type is missing");
    for (int i = 0; i < lar_n_hf_defs; i++) {
        if (in_list(lar_hf_defs[i]->model_types, type))
            h->def = lar_hf_defs[i];
        for (const char *p = lar_hf_defs[i]->model_types; *p; p++)
            lar_buf_putc(&known, *p == '|' ? ' ' : *p);
        lar_buf_putc(&known, ' ');
    }
    const lar_status s =
        h->def ? LAR_OK
               : lar_fail(e, LAR_EUNSUPPORTED,
                          "config.json: model_type '%.60s' is not known, want one of: %s", type,
                          known.p ? known.p : "");
    lar_buf_free(&known);
    return s;
}

lar_status lar_hf_whole(const lar_hf *h, const char *name, double min, double max, int64_t *out,
                        lar_err *e)
{
    double x;
    const lar_status s = lar_hf_number(h->text, name, &x, e);
    if (s == LAR_ENOTFOUND)
        return lar_fail(e, LAR_EFORMAT, "config.json: %s is missing", name);
    LAR_TRY(s);
    if (!(x >= min && x <= max) || x != (double)(int64_t)x)
        return lar_fail(e, LAR_EFORMAT, "config.json: %s is %g, want a whole number from %g to %g",
                        name, x, min, max);
    *out = (int64_t)x;
    return LAR_OK;
}

/* GGUF has no key for the activation: it goes with the architecture. */
static lar_status check_act(const lar_hf *h, lar_err *e)
{
    const json_t *act = lar_hf_get(h->text, "hidden_activation|hidden_act");
    if (!act || !h->def->act ||
        (json_is_string(act) && in_list(h->def->act, json_string_value(act))))
        return LAR_OK;
    return lar_fail(e, LAR_EUNSUPPORTED, "config.json: hidden_act %.60s, want %s",
                    json_is_string(act) ? json_string_value(act) : "is no text", h->def->act);
}

static lar_status read_config(lar_hf *h, lar_err *e)
{
    const lar_status s = lar__load_json(h->folder, "config.json", &h->config, e);
    if (s == LAR_ENOTFOUND)
        return lar_fail(e, LAR_ENOTFOUND, "%s: no config.json: not a Hugging Face model folder",
                        h->folder);
    LAR_TRY(s);
    h->text = h->config;
    if (json_is_object(json_object_get(h->config, "text_config")))
        h->text = json_object_get(h->config, "text_config");
    LAR_TRY(find_def(h, e));
    LAR_TRY(check_act(h, e));
    LAR_TRY(lar_hf_whole(h, LAYERS, 1, 1024, &h->n_layer, e));
    LAR_TRY(lar_hf_whole(h, WIDTH, 1, 1 << 20, &h->n_embd, e));
    LAR_TRY(lar_hf_whole(h, HEADS, 1, 4096, &h->n_head, e));
    LAR_TRY(lar_hf_whole(h, "vocab_size", 1, 1 << 24, &h->n_vocab, e));
    h->n_head_kv = h->n_head;
    h->head_dim = h->n_embd / h->n_head;
    if (lar_hf_get(h->text, "num_key_value_heads"))
        LAR_TRY(lar_hf_whole(h, "num_key_value_heads", 1, 4096, &h->n_head_kv, e));
    if (lar_hf_get(h->text, "head_dim"))
        LAR_TRY(lar_hf_whole(h, "head_dim", 1, 4096, &h->head_dim, e));
    return LAR_OK;
}

/* Whether the family says itself what goes into a key. */
static bool has_own(const lar_hf_def *d, const char *gguf)
{
    for (size_t i = 0; i < d->n_keys; i++)
        if (strcmp(d->keys[i].gguf, gguf) == 0)
            return true;
    return false;
}

static lar_status put_config(lar_hf *h, lar_err *e)
{
    char name[256];
    size_t end = strlen(h->folder), begin;
    while (end > 1 && h->folder[end - 1] == '/')
        end--;
    for (begin = end; begin && h->folder[begin - 1] != '/';)
        begin--;
    snprintf(name, sizeof name, "%.*s", (int)LAR_MIN(end - begin, sizeof name), h->folder + begin);
    lar_gguf_put_string(h->w, "general.architecture", h->def->arch);
    lar_gguf_put_string(h->w, "general.name", name);
    for (size_t i = 0; i < LAR_LEN(common_keys); i++)
        if (!has_own(h->def, common_keys[i].gguf))
            LAR_TRY(put_key(h, &common_keys[i], e));
    for (size_t i = 0; i < h->def->n_keys; i++)
        LAR_TRY(put_key(h, &h->def->keys[i], e));
    if (h->def->encoder)
        lar_hf_put_bool(h, "attention.causal", false);
    if (h->def->extra)
        LAR_TRY(h->def->extra(h, e));
    LAR_TRY(lar__hf_sentence(h, e));
    return h->def->encoder && !h->def->rope ? LAR_OK : lar__hf_rope(h, e);
}

/* ---- which tensors ----------------------------------------------------------------------------
 */

/* Whether a name fits a pattern; '%' and '#' take numbers. */
static bool matches(const char *pattern, const char *name, long *layer, long *expert)
{
    while (*pattern) {
        if (*pattern == '%' || *pattern == '#') {
            long n = 0;
            const char *start = name;
            for (; *name >= '0' && *name <= '9' && n < 1 << 20; name++)
                n = 10 * n + (*name - '0');
            if (name == start)
                return false;
            *(*pattern == '%' ? layer : expert) = n;
            pattern++;
        } else if (*pattern++ != *name++) {
            return false;
        }
    }
    return !*name;
}

static const lar_hf_tensor *look_up(const lar_hf *h, const char *name, long *layer, long *expert,
                                    int *rank)
{
    *layer = *expert = -1;
    for (size_t i = 0; i < h->def->n_tensors; i++)
        if (matches(h->def->tensors[i].hf, name, layer, expert)) {
            *rank = (int)(LAR_LEN(common) + i);
            return &h->def->tensors[i];
        }
    for (size_t i = 0; i < LAR_LEN(common); i++)
        if (matches(common[i].hf, name, layer, expert)) {
            *rank = (int)i;
            return &common[i];
        }
    return NULL;
}

/* As it is called, or with the prefix that files of a bare model lack. */
static const lar_hf_tensor *find_rule(const lar_hf *h, const char *name, long *layer, long *expert,
                                      int *rank)
{
    char full[256];
    const lar_hf_tensor *rule = look_up(h, name, layer, expert, rank);
    if (rule)
        return rule;
    const int n =
        snprintf(full, sizeof full, "%s%s", h->def->prefix ? h->def->prefix : "model.", name);
    return n < (int)sizeof full ? look_up(h, full, layer, expert, rank) : NULL;
}

static void put_number_in(const char *pattern, long layer, char out[NAME_MAX_])
{
    lar_buf b = {0};
    for (const char *p = pattern; *p; p++)
        if (*p == '%')
            lar_buf_printf(&b, "%ld", layer);
        else
            lar_buf_putc(&b, *p);
    snprintf(out, NAME_MAX_, "%s", b.p ? b.p : "");
    lar_buf_free(&b);
}

static out_tensor *new_out(lar_hf *h, const char *name, lar_err *e)
{
    if (!lar_grow((void **)&h->out, &h->cap_out, h->n_out + 1, sizeof *h->out)) {
        lar_fail(e, LAR_ENOMEM, "%s: out of memory", name);
        return NULL;
    }
    out_tensor *t = &h->out[h->n_out++];
    *t = (out_tensor){.n_dims = 1, .dim = {1, 1, 1, 1}};
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

static out_tensor *find_out(lar_hf *h, const char *name)
{
    for (size_t i = h->n_out; i-- > 0;) /* experts of one tensor come close together */
        if (strcmp(h->out[i].name, name) == 0)
            return &h->out[i];
    return NULL;
}

lar_status lar_hf_put_floats(lar_hf *h, const char *name, const float *p, size_t n, lar_err *e)
{
    out_tensor *t = new_out(h, name, e);
    if (!t)
        return LAR_ENOMEM;
    t->own = lar_alloc_array(n, sizeof *t->own);
    if (!t->own)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", name);
    memcpy(t->own, p, n * sizeof *p);
    t->dim[0] = (int64_t)n;
    t->type = LAR_DTYPE(f32);
    t->layer = -1;
    return LAR_OK;
}

static lar_status add_source(out_tensor *t, const lar_st_tensor *src, long expert, lar_err *e)
{
    const size_t at = expert < 0 ? 0 : (size_t)expert;
    if (at >= EXPERTS_MAX)
        return lar_fail(e, LAR_EFORMAT, "%s: expert %zu, want less than %d", src->name, at,
                        EXPERTS_MAX);
    if (at >= t->n_src) {
        const lar_st_tensor **p = lar_realloc(t->src, (at + 1) * sizeof *p);
        if (!p)
            return lar_fail(e, LAR_ENOMEM, "%s: out of memory", src->name);
        for (size_t i = t->n_src; i <= at; i++)
            p[i] = NULL;
        t->src = p;
        t->n_src = at + 1;
    }
    if (t->src[at])
        return lar_fail(e, LAR_EFORMAT, "%s: %s says the same", src->name, t->src[at]->name);
    t->src[at] = src;
    return LAR_OK;
}

static lar_status read_tied(lar_hf *h, lar_err *e)
{
    const json_t *tie = lar_hf_get(h->text, "tie_word_embeddings");
    if (!tie)
        tie = lar_hf_get(h->config, "tie_word_embeddings");
    if (tie && !json_is_boolean(tie))
        return lar_fail(e, LAR_EFORMAT, "config.json: tie_word_embeddings, want true or false");
    h->tied = json_is_true(tie);
    return LAR_OK;
}

static lar_status plan_rule(lar_hf *h, const lar_hf_tensor *rule, const lar_st_tensor *s, int rank,
                            long layer, long expert, lar_err *e)
{
    char name[NAME_MAX_];
    if (rule->how == LAR_HF_SKIP || (h->tied && strcmp(s->name, "lm_head.weight") == 0))
        return LAR_OK;
    if (layer >= h->n_layer)
        return lar_fail(e, LAR_EFORMAT, "%.100s: layer %ld of %lld", s->name, layer,
                        (long long)h->n_layer);
    put_number_in(rule->gguf, layer, name);
    out_tensor *t = find_out(h, name);
    if (!t) {
        t = new_out(h, name, e);
        if (!t)
            return LAR_ENOMEM;
        t->how = rule->how;
        t->rank = rank;
        t->layer = layer;
        t->experts = expert >= 0;
    }
    return add_source(t, s, expert, e);
}

/* How much of a name is one of "a|b" with which it begins; 0: none, or no list. */
static size_t begins(const char *list, const char *name)
{
    for (const char *p = list ? list : ""; *p; p += *p == '|') {
        const size_t n = strcspn(p, "|");
        if (strncmp(name, p, n) == 0)
            return n;
        p += n;
    }
    return 0;
}

/* Whether a tensor is of a layer that LAR leaves out. */
static bool is_left_out(const lar_hf *h, const char *name)
{
    static const char layers[] = "model.layers.";
    char *end;
    if (strncmp(name, layers, sizeof layers - 1) != 0)
        return false;
    const long layer = strtol(name + sizeof layers - 1, &end, 10);
    return *end == '.' && layer >= h->n_layer && layer < h->n_layer + h->n_left_out;
}

/* Whether these are the factors of FP8 weights, which are read with those. */
static bool is_factors(const lar_hf *h, const char *name)
{
    static const char end[] = "_scale_inv";
    char of[160];
    const size_t n = strlen(name);
    if (n < sizeof end || n >= sizeof of || strcmp(name + n + 1 - sizeof end, end) != 0)
        return false;
    snprintf(of, sizeof of, "%.*s", (int)(n + 1 - sizeof end), name);
    const lar_st_tensor *t = lar_safetensors_find(h->st, of);
    return t && strcmp(t->dtype, "F8_E4M3") == 0;
}

static lar_status plan_tensor(lar_hf *h, const lar_st_tensor *s, lar_err *e)
{
    long layer, expert;
    int rank = 0;
    if (is_left_out(h, s->name) || is_factors(h, s->name) || begins(h->def->skip, s->name))
        return LAR_OK;
    char name[ST_NAME];
    const size_t cut = begins(h->def->long_prefix, s->name);
    snprintf(name, sizeof name, "%s%s", cut ? "model." : "", s->name + cut);
    const lar_hf_tensor *rule = find_rule(h, name, &layer, &expert, &rank);
    if (!rule)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "%s: %.100s: no %s model that LAR knows has such a tensor", s->file,
                        s->name, h->def->arch);
    LAR_TRY(plan_rule(h, rule, s, rank, layer, expert, e));
    if (rank < (int)LAR_LEN(common))
        return LAR_OK;
    const lar_hf_tensor *end = h->def->tensors + h->def->n_tensors;
    for (const lar_hf_tensor *r = rule + 1; r < end && strcmp(r->hf, rule->hf) == 0; r++)
        LAR_TRY(plan_rule(h, r, s, ++rank, layer, expert, e));
    return LAR_OK;
}

/* What is added to rows or is one itself is read directly, as F32; MXFP4 stays what it is. */
static const lar_dtype *output_type(const out_tensor *t, const lar_st_tensor *s,
                                    const lar_convert_options *o)
{
    if (t->view.scales)
        return LAR_DTYPE(mxfp4);
    if (s->n_dims < 2 || t->how == LAR_HF_ADD1 || t->how == LAR_HF_NEG_EXP ||
        t->how == LAR_HF_F32 || t->how == LAR_HF_CONV || strstr(t->name, ".bias"))
        return LAR_DTYPE(f32);
    if (!o->type)
        return t->view.inv ? LAR_DTYPE(bf16) : s->type;
    return t->dim[0] % o->type->block == 0 ? o->type : LAR_DTYPE(f16);
}

/* Shape and type, once all sources are known. */
static lar_status settle(const lar_hf *h, const lar_convert_options *o, out_tensor *t, lar_err *e)
{
    const lar_st_tensor *s = t->src[0];
    for (size_t i = 0; i < t->n_src; i++) {
        if (!t->src[i])
            return lar_fail(e, LAR_EFORMAT, "%s: expert %zu of %zu is missing", t->name, i,
                            t->n_src);
        if (t->src[i]->n_dims != s->n_dims || strcmp(t->src[i]->dtype, s->dtype) != 0 ||
            memcmp(t->src[i]->dim, s->dim, sizeof s->dim) != 0)
            return lar_fail(e, LAR_EFORMAT, "%s: shape or type is not that of %s", t->src[i]->name,
                            s->name);
        LAR_TRY(lar__hf_view_of(h, t->how, t->src[i], &t->view, e));
    }
    const lar_hf_view *v = &t->view; /* all are of one shape */
    if (!v->scales && !v->inv && s->type != LAR_DTYPE(f32) && s->type != LAR_DTYPE(f16) &&
        s->type != LAR_DTYPE(bf16))
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: type %s, want F32, F16 or BF16", s->name,
                        s->dtype);
    t->n_dims = v->n_dims + (t->experts ? 1 : 0);
    if (t->n_dims > 4)
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: %d dimensions, want up to 4", s->name, s->n_dims);
    memcpy(t->dim, v->dim, sizeof t->dim);
    if (t->experts)
        t->dim[t->n_dims - 1] = (int64_t)t->n_src;
    if (t->dim[0] > ROW_MAX)
        return lar_fail(e, LAR_EFORMAT, "%s: rows of %lld, want up to %d", s->name,
                        (long long)t->dim[0], ROW_MAX);
    t->type = output_type(t, s, o);
    if (t->how == LAR_HF_COPY && h->def->norm_add1 && strstr(t->name, "norm.weight"))
        t->how = LAR_HF_ADD1;
    if (!h->def->pairs && (t->how == LAR_HF_Q || t->how == LAR_HF_K))
        t->how = LAR_HF_COPY;
    const int64_t rows = s->n_dims < 2 ? t->dim[0] : t->dim[1];
    const int64_t heads = t->how == LAR_HF_Q ? h->n_head : h->n_head_kv;
    if ((t->how == LAR_HF_Q || t->how == LAR_HF_K) && (rows % heads || rows / heads % 2))
        return lar_fail(e, LAR_EFORMAT, "%s: %lld rows for %lld heads", s->name, (long long)rows,
                        (long long)heads);
    return LAR_OK;
}

static int compare(const out_tensor *a, const out_tensor *b)
{
    if (a->layer != b->layer)
        return a->layer < b->layer ? -1 : 1;
    return a->rank != b->rank ? (a->rank < b->rank ? -1 : 1) : strcmp(a->name, b->name);
}

static lar_status plan(lar_hf *h, const lar_convert_options *o, lar_err *e)
{
    LAR_TRY(read_tied(h, e));
    for (size_t i = 0; i < lar_safetensors_count(h->st); i++)
        LAR_TRY(plan_tensor(h, lar_safetensors_at(h->st, i), e));
    for (size_t i = 0; i < h->n_out; i++)
        if (!h->out[i].own)
            LAR_TRY(settle(h, o, &h->out[i], e));
    for (size_t i = 1; i < h->n_out;
         i++) { /* nearly sorted already: a few hundred to a few thousand */
        const out_tensor t = h->out[i];
        size_t j = i;
        for (; j && compare(&t, &h->out[j - 1]) < 0; j--)
            h->out[j] = h->out[j - 1];
        h->out[j] = t;
    }
    for (size_t i = 0; i < h->n_out; i++)
        lar_gguf_put_tensor(h->w, h->out[i].name, h->out[i].type, h->out[i].n_dims, h->out[i].dim);
    return LAR_OK;
}

/* ---- the data ---------------------------------------------------------------------------------
 */

/* Row (or for one dimension, element) that output row r comes from: pairs (2j, 2j + 1) of a head
 * are its rows j and j + half. */
static int64_t source_row(const lar_hf *h, const out_tensor *t, int64_t rows, int64_t r)
{
    if (t->how != LAR_HF_Q && t->how != LAR_HF_K)
        return lar__hf_delta_row(h, t->how, r);
    const int64_t dim = rows / (t->how == LAR_HF_Q ? h->n_head : h->n_head_kv);
    const int64_t in = r % dim;
    return r - in + in % 2 * (dim / 2) + in / 2;
}

/* A row of s, as it will be written as t's type. */
static lar_status check_row(const out_tensor *t, const lar_st_tensor *s, const float *x, int64_t r,
                            lar_err *e)
{
    const float most = lar__largest(t->type);
    for (int64_t i = 0; i < t->dim[0]; i++)
        if (!(fabsf(x[i]) <= most))
            return lar_fail(e, LAR_ENUMERIC, "%s: %s: row %lld, column %lld is %g%s%s", s->file,
                            s->name, (long long)r, (long long)i, (double)x[i],
                            isfinite(x[i]) ? ", too large for type " : "",
                            isfinite(x[i]) ? t->type->name : "");
    return LAR_OK;
}

static lar_status write_rows(const lar_hf *h, const out_tensor *t, const lar_st_tensor *s, float *x,
                             void *y, lar_err *e)
{
    lar_hf_view view;
    LAR_TRY(lar__hf_view_of(h, t->how, s, &view, e));
    const lar_hf_view *v = &view;
    const int64_t k = v->dim[0], rows = v->dim[1] * v->dim[2] * v->dim[3];
    const bool flat = s->n_dims < 2;
    const lar_format *f = lar_kernels__generic.formats[lar_dtype_index(t->type)];
    for (int64_t r = 0; r < rows; r++) {
        const int64_t from = flat ? 0 : source_row(h, t, rows, r);
        const int64_t first = v->at + from % v->dim[1] * v->row + from / v->dim[1] * v->slab;
        if (v->scales) {
            LAR_TRY(lar__hf_mxfp4(v, s, first, y, e));
            LAR_TRY(lar_gguf_writer_data(h->w, y, lar_row_bytes(t->type, k), e));
            continue;
        }
        if (!flat && t->how != LAR_HF_DELTA_OUT)
            lar__hf_read(v, s, first, v->step, k, x);
        for (int64_t i = 0; t->how == LAR_HF_DELTA_OUT && i < k; i++)
            lar__hf_read(v, s, first + lar__hf_delta_row(h, LAR_HF_DELTA_V, i), 1, 1, x + i);
        for (int64_t i = 0; flat && i < k; i++) /* a bias's elements may be its rows */
            lar__hf_read(v, s, source_row(h, t, k, i), 1, 1, x + i);
        for (int64_t i = 0; i < k; i++)
            if (t->how == LAR_HF_ADD1)
                x[i] += 1.0f;
            else if (t->how == LAR_HF_NEG_EXP)
                x[i] = (float)-lar_exp((double)x[i]);
        LAR_TRY(check_row(t, s, x, r, e));
        f->from_f32(x, y, k);
        LAR_TRY(lar_gguf_writer_data(h->w, y, lar_row_bytes(t->type, k), e));
    }
    return LAR_OK;
}

static lar_status write_data(const lar_hf *h, const lar_convert_options *o, lar_err *e)
{
    int64_t k = 1;
    uint64_t total = 0, done = 0;
    for (size_t i = 0; i < h->n_out; i++) {
        k = LAR_MAX(k, h->out[i].dim[0]);
        for (size_t j = 0; j < h->out[i].n_src; j++)
            total += h->out[i].src[j]->bytes;
    }
    float *x = lar_alloc_array((size_t)k, sizeof *x);
    void *y = lar_alloc_array((size_t)k, sizeof(float));
    lar_status s = x && y ? LAR_OK : lar_fail(e, LAR_ENOMEM, "out of memory for a row");
    for (size_t i = 0; s == LAR_OK && i < h->n_out; i++) {
        const out_tensor *t = &h->out[i];
        if (o->progress && o->progress(total ? (double)done / (double)total : 0, t->name, o->user))
            s = lar_fail(e, LAR_ECANCELLED, "cancelled");
        else if (t->own)
            s = lar_gguf_writer_data(h->w, t->own, (size_t)t->dim[0] * sizeof(float), e);
        for (size_t j = 0; s == LAR_OK && j < t->n_src; j++) {
            s = write_rows(h, t, t->src[j], x, y, e);
            done += t->src[j]->bytes;
        }
    }
    lar_free(x);
    lar_free(y);
    return s;
}

/* ---- all of it --------------------------------------------------------------------------------
 */

static lar_status check_type(const lar_dtype *t, lar_err *e)
{
    const lar_format *f = t ? lar_kernels__generic.formats[lar_dtype_index(t)] : NULL;
    return !t || (f && f->from_f32)
               ? LAR_OK
               : lar_fail(e, LAR_EUNSUPPORTED, "type %s cannot be written", t->name);
}

static lar_status check_file(const lar_hf *h, const char *name, const char *out, lar_err *e)
{
    char *path = lar__join(h->folder, name);
    const bool same = path && lar_file_same(path, out);
    const lar_status s =
        !path ? lar_fail(e, LAR_ENOMEM, "%s: out of memory", name)
        : same
            ? lar_fail(e, LAR_EARG, "%s: the output is part of the input, want another file", out)
            : LAR_OK;
    lar_free(path);
    return s;
}

static lar_status check_paths(const lar_hf *h, const char *out, lar_err *e)
{
    static const char *const names[] = {"config.json", "tokenizer.json", "tokenizer.model"};
    const char *last = NULL;
    for (size_t i = 0; i < LAR_LEN(names); i++)
        LAR_TRY(check_file(h, names[i], out, e));
    for (size_t i = 0; i < lar_safetensors_count(h->st); i++) {
        const char *file = lar_safetensors_at(h->st, i)->file;
        if (file != last)
            LAR_TRY(check_file(h, file, out, e));
        last = file;
    }
    return LAR_OK;
}

/* The vocabulary's size is config.json's word for it, and bounds what the tokenizer may take. */
static lar_status check_embeddings(lar_hf *h, lar_err *e)
{
    const out_tensor *t = find_out(h, "token_embd.weight");
    if (!t)
        return lar_fail(e, LAR_EFORMAT, "%s: no embeddings (%s) among the weights", h->folder,
                        common[0].hf);
    if (t->n_dims != 2 || t->dim[1] != h->n_vocab)
        return lar_fail(e, LAR_EFORMAT, "%s: shape [%lld, %lld], config.json's vocab_size is %lld",
                        t->src[0]->name, (long long)t->dim[1], (long long)t->dim[0],
                        (long long)h->n_vocab);
    return LAR_OK;
}

/* Before anything is written: does what was planned make a model? */
static lar_status check_plan(lar_hf *h, const lar_convert_options *o, lar_err *e)
{
    lar_buf header = {0};
    lar_gguf *g = NULL;
    lar_status s = o->check ? lar_gguf_writer_header(h->w, &header, e) : LAR_OK;
    if (o->check && s == LAR_OK)
        s = lar_gguf_open_header(header.p, header.n, &g, e);
    if (o->check && s == LAR_OK)
        s = o->check(g, o->user, e);
    lar_gguf_close(g);
    lar_buf_free(&header);
    return s;
}

static lar_status run(lar_hf *h, const char *out, const lar_convert_options *o, lar_err *e)
{
    LAR_TRY(check_type(o->type, e));
    LAR_TRY(read_config(h, e));
    LAR_TRY(lar_safetensors_open(h->folder, &h->st, e));
    LAR_TRY(check_paths(h, out, e));
    LAR_TRY(lar_gguf_writer_new(out, 32, &h->w, e));
    LAR_TRY(put_config(h, e));
    LAR_TRY(plan(h, o, e));
    LAR_TRY(check_embeddings(h, e));
    LAR_TRY(lar__hf_tokenizer(h, e));
    LAR_TRY(check_plan(h, o, e));
    LAR_TRY(lar_gguf_writer_begin(h->w, e));
    return write_data(h, o, e);
}

lar_status lar_convert_hf(const char *folder, const char *out, const lar_convert_options *o,
                          lar_convert_result *result, lar_err *e)
{
    lar_hf h = {.folder = folder};
    lar_status s = run(&h, out, o, e);
    if (s == LAR_OK) {
        *result = (lar_convert_result){.arch = h.def->arch,
                                       .bytes = lar_gguf_writer_bytes(h.w),
                                       .n_tensors = h.n_out,
                                       .own_split = h.own_split};
        for (size_t i = 0; i < h.n_out; i++)
            result->n_params +=
                (uint64_t)(h.out[i].dim[0] * h.out[i].dim[1] * h.out[i].dim[2] * h.out[i].dim[3]);
        s = lar_gguf_writer_commit(h.w, e);
    } else {
        lar_gguf_writer_abort(h.w);
    }
    for (size_t i = 0; i < h.n_out; i++) {
        lar_free(h.out[i].src);
        lar_free(h.out[i].own);
    }
    lar_free(h.out);
    lar_safetensors_close(h.st);
    json_decref(h.config);
    return s;
}
