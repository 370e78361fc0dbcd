/*
 * marian.c - a folder of Marian's (model.*.bin, vocab.*.spm and, where it has one, lex.*.bin: what
 * Bergamot ships) to one GGUF file. Weights are laid out as ops/mt_linear.c reads them; no number
 * changes. Depends on format/marian.h, text/spm.h.
 */
#include "base/os.h"
#include "convert/convert.h"
#include "convert/part.h"
#include "format/gguf_write.h"
#include "format/marian.h"
#include "text/spm.h"
#include <stdio.h>
#include <string.h>

enum { NAME = 96, LAYERS_MAX = 64 };

/* How an output is made. */
enum { PANELS, TABLE, FLOATS, SCALES, OFFSETS, IDS };

typedef struct out_tensor {
    char name[NAME];
    int how;
    const lar_marian_tensor *src;
    float scales[2];
    const lar_dtype *type;
    int n_dims;
    int64_t dim[3];
} out_tensor;

typedef struct job {
    const char *folder;
    char model[256], vocab[256], list[256];
    bool many; /* vocabularies, or models */
    lar_map model_map, vocab_map, list_map;
    lar_marian m;
    lar_spm spm;
    lar_shortlist sl;
    lar_gguf_writer *w;
    out_tensor *out;
    size_t n_out, cap_out;
    int64_t n_embd, n_vocab;
} job;

/* ---- the folder -------------------------------------------------------------------------------
 */

static bool ends(const char *name, const char *with)
{
    const size_t n = strlen(name), k = strlen(with);
    return n > k && strcmp(name + n - k, with) == 0;
}

static void look(const char *name, const lar_file_id *id, void *user)
{
    job *j = user;
    char *to = strncmp(name, "lex.", 4) == 0 && ends(name, ".bin")     ? j->list
               : strncmp(name, "model.", 6) == 0 && ends(name, ".bin") ? j->model
               : ends(name, ".spm")                                    ? j->vocab
                                                                       : NULL;
    (void)id;
    if (!to || strlen(name) >= sizeof j->model)
        return;
    j->many = j->many || *to;
    strncpy(to, name, sizeof j->model - 1);
}

static lar_status map(const job *j, const char *name, lar_map *out, lar_err *e)
{
    char *path = lar__join(j->folder, name);
    if (!path)
        return lar_fail(e, LAR_ENOMEM, "%s: out of memory", name);
    const lar_status s = lar_map_open(path, out, e);
    lar_free(path);
    return s;
}

bool lar_is_marian_folder(const char *folder)
{
    job j = {.folder = folder};
    return lar_dir_each(folder, look, &j, NULL) == LAR_OK && j.model[0] && j.vocab[0];
}

static lar_status open_files(job *j, lar_err *e)
{
    LAR_TRY(lar_dir_each(j->folder, look, j, e));
    if (!j->model[0] || !j->vocab[0])
        return lar_fail(e, LAR_ENOTFOUND, "%s: no %s there", j->folder,
                        j->model[0] ? "*.spm" : "model.*.bin");
    if (j->many)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "%s: several models, vocabularies or shortlists, want one of each "
                        "(both languages share a vocabulary)",
                        j->folder);
    LAR_TRY(map(j, j->model, &j->model_map, e));
    LAR_TRY(map(j, j->vocab, &j->vocab_map, e));
    if (lar_marian_read(j->model_map.data, j->model_map.size, &j->m, e) != LAR_OK)
        return lar_fail_in(e, e->code, "%s", j->model);
    if (lar_spm_read(j->vocab_map.data, j->vocab_map.size, &j->spm, e) != LAR_OK)
        return lar_fail_in(e, e->code, "%s", j->vocab);
    if (!j->list[0])
        return LAR_OK;
    LAR_TRY(map(j, j->list, &j->list_map, e));
    if (lar_shortlist_read(j->list_map.data, j->list_map.size, j->spm.n, &j->sl, e) != LAR_OK)
        return lar_fail_in(e, e->code, "%s", j->list);
    if (j->sl.n_words != j->spm.n)
        return lar_fail(e, LAR_EFORMAT, "%s: made for a vocabulary of %zu tokens, %s has %zu",
                        j->list, j->sl.n_words, j->vocab, j->spm.n);
    return LAR_OK;
}

static void close_files(job *j)
{
    lar_marian_free(&j->m);
    lar_spm_free(&j->spm);
    lar_map *const maps[] = {&j->model_map, &j->vocab_map, &j->list_map};
    for (size_t i = 0; i < LAR_LEN(maps); i++)
        if (maps[i]->data)
            lar_map_close(maps[i]);
    lar_free(j->out);
}

/* What this converter knows is one kind of model: everything else is refused by name. */
static lar_status check_config(const job *j, lar_err *e)
{
    static const struct {
        const char *key, *want;
    } keys[] = {{"type", "transformer"},
                {"dec-cell", "ssru"},
                {"transformer-decoder-autoreg", "rnn"},
                {"transformer-ffn-activation", "relu"},
                {"transformer-ffn-depth", "2"},
                {"transformer-preprocess", ""},
                {"transformer-postprocess", "dan"},
                {"transformer-postprocess-top", ""},
                {"transformer-train-position-embeddings", "false"},
                {"transformer-no-projection", "false"},
                {"tied-embeddings-all", "true"}};
    for (size_t i = 0; i < LAR_LEN(keys); i++) {
        lar_str v;
        if (!lar_marian_config(&j->m, keys[i].key, &v))
            return lar_fail(e, LAR_EFORMAT, "%s: its config has no %s", j->model, keys[i].key);
        if (!lar_str_eq(v, keys[i].want))
            return lar_fail(e, LAR_EUNSUPPORTED, "%s: %s is '%.*s', want '%s'", j->model,
                            keys[i].key, (int)LAR_MIN(v.n, 40), v.p, keys[i].want);
    }
    return LAR_OK;
}

/* ---- the plan ---------------------------------------------------------------------------------
 */

static out_tensor *add(job *j, lar_err *e, const char *name, int how, const lar_dtype *type,
                       int n_dims, int64_t d0, int64_t d1, int64_t d2)
{
    if (!lar_grow((void **)&j->out, &j->cap_out, j->n_out + 1, sizeof *j->out)) {
        lar_fail(e, LAR_ENOMEM, "convert: out of memory");
        return NULL;
    }
    out_tensor *o = &j->out[j->n_out++];
    *o = (out_tensor){.how = how, .type = type, .n_dims = n_dims, .dim = {d0, d1, d2}};
    snprintf(o->name, sizeof o->name, "%s", name);
    return o;
}

static lar_status find(const job *j, const char *name, lar_marian_type type, int64_t rows,
                       int64_t cols, const lar_marian_tensor **out, lar_err *e)
{
    const lar_marian_tensor *t = lar_marian_find(&j->m, name);
    if (!t)
        return lar_fail(e, LAR_EFORMAT, "%s: tensor %s is missing", j->model, name);
    if (t->type != type || t->n_dims != 2 || t->dim[0] != rows || t->dim[1] != cols)
        return lar_fail(e, LAR_EFORMAT, "%s: %s: %s [%lld,%lld], want %s [%lld,%lld]", j->model,
                        name, t->type == LAR_MARIAN_I8 ? "bytes" : "floats", (long long)t->dim[0],
                        (long long)(t->n_dims > 1 ? t->dim[1] : 1),
                        type == LAR_MARIAN_I8 ? "bytes" : "floats", (long long)rows,
                        (long long)cols);
    *out = t;
    return LAR_OK;
}

static float float_at(const uint8_t *p)
{
    const uint32_t bits = lar_u32(p);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* What activations before the weights `name` are multiplied by. */
static lar_status add_scales(job *j, const char *gguf, const lar_marian_tensor *w, const char *name,
                             lar_err *e)
{
    char full[NAME];
    snprintf(full, sizeof full, "%.80s_QuantMultA", name);
    const lar_marian_tensor *a = lar_marian_find(&j->m, full);
    if (!a || a->count != 1 || a->type == LAR_MARIAN_TEXT)
        return lar_fail(e, LAR_EUNSUPPORTED,
                        "%s: %s is missing: only models with the scales of activations "
                        "(intgemm.alphas) can be used",
                        j->model, full);
    const float alpha =
        a->type == LAR_MARIAN_F32 ? float_at(a->data) : (float)(int8_t)a->data[0] * (1 / a->mult);
    if (!(alpha > 0 && alpha < 1e30f))
        return lar_fail(e, LAR_EFORMAT, "%s: %s is %g", j->model, full, (double)alpha);
    snprintf(full, sizeof full, "%.80s.scale", gguf);
    out_tensor *o = add(j, e, full, SCALES, LAR_DTYPE(f32), 1, 2, 1, 1);
    if (!o)
        return LAR_ENOMEM;
    o->scales[0] = w->mult;
    o->scales[1] = alpha;
    return LAR_OK;
}

static lar_status add_floats(job *j, const char *gguf, const char *name, int64_t n, lar_err *e)
{
    const lar_marian_tensor *t = NULL;
    LAR_TRY(find(j, name, LAR_MARIAN_F32, 1, n, &t, e));
    out_tensor *o = add(j, e, gguf, FLOATS, LAR_DTYPE(f32), 1, n, 1, 1);
    if (!o)
        return LAR_ENOMEM;
    o->src = t;
    return LAR_OK;
}

/* One product: weights, scales and, where `bias` says, a bias. */
static lar_status add_linear(job *j, const char *gguf, const char *name, const char *bias,
                             int64_t k, int64_t n, lar_err *e)
{
    const lar_marian_tensor *t = NULL;
    char full[NAME];
    if (k % 64 || n % 16)
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: %s is %lld by %lld, want multiples of 64 and 16",
                        j->model, name, (long long)k, (long long)n);
    LAR_TRY(find(j, name, LAR_MARIAN_I8, k, n, &t, e));
    snprintf(full, sizeof full, "%.80s.weight", gguf);
    out_tensor *o = add(j, e, full, PANELS, LAR_DTYPE(i8), 3, 64, k / 4, n / 16);
    if (!o)
        return LAR_ENOMEM;
    o->src = t;
    LAR_TRY(add_scales(j, gguf, t, name, e));
    snprintf(full, sizeof full, "%.80s.bias", gguf);
    return bias ? add_floats(j, full, bias, n, e) : LAR_OK;
}

static lar_status add_norm(job *j, const char *gguf, const char *name, int64_t n, lar_err *e)
{
    char full[NAME], src[NAME];
    snprintf(full, sizeof full, "%.80s.weight", gguf);
    snprintf(src, sizeof src, "%.80s_ln_scale", name);
    LAR_TRY(add_floats(j, full, src, n, e));
    snprintf(full, sizeof full, "%.80s.bias", gguf);
    snprintf(src, sizeof src, "%.80s_ln_bias", name);
    return add_floats(j, full, src, n, e);
}

static lar_status add_layer(job *j, bool decoder, int l, int64_t ff, lar_err *e)
{
    const int64_t d = j->n_embd;
    const struct {
        const char *gguf, *name, *bias;
        int64_t k, n;
        bool decoder_only;
    } linears[] = {{"cell", "rnn_W", NULL, d, d, true},
                   {"cell_gate", "rnn_Wf", "rnn_bf", d, d, true},
                   {"attn_q", "Wq", "bq", d, d, false},
                   {"attn_k", "Wk", "bk", d, d, false},
                   {"attn_v", "Wv", "bv", d, d, false},
                   {"attn_o", "Wo", "bo", d, d, false},
                   {"ffn_up", "ffn_W1", "ffn_b1", d, ff, false},
                   {"ffn_down", "ffn_W2", "ffn_b2", ff, d, false}};
    const char *side = decoder ? "decoder" : "encoder", *attn = decoder ? "context" : "self";
    char gguf[NAME], name[NAME], bias[NAME];
    for (size_t i = 0; i < LAR_LEN(linears); i++) {
        const bool is_attn = strncmp(linears[i].gguf, "attn", 4) == 0;
        const char *mid = is_attn ? attn : "", *bar = is_attn ? "_" : "";
        if (linears[i].decoder_only && !decoder)
            continue;
        snprintf(gguf, sizeof gguf, "%.3s.blk.%d.%s%s", side, l, is_attn && decoder ? "cross_" : "",
                 linears[i].gguf);
        snprintf(name, sizeof name, "%s_l%d_%s%s%s", side, l + 1, mid, bar, linears[i].name);
        snprintf(bias, sizeof bias, "%s_l%d_%s%s%s", side, l + 1, mid, bar,
                 linears[i].bias ? linears[i].bias : "");
        LAR_TRY(add_linear(j, gguf, name, linears[i].bias ? bias : NULL, linears[i].k, linears[i].n,
                           e));
    }
    if (decoder) {
        snprintf(gguf, sizeof gguf, "dec.blk.%d.cell_norm", l);
        snprintf(name, sizeof name, "decoder_l%d_rnn_ffn", l + 1);
        LAR_TRY(add_norm(j, gguf, name, d, e));
    }
    snprintf(gguf, sizeof gguf, "%.3s.blk.%d.%sattn_norm", side, l, decoder ? "cross_" : "");
    snprintf(name, sizeof name, "%s_l%d_%s_Wo", side, l + 1, attn);
    LAR_TRY(add_norm(j, gguf, name, d, e));
    snprintf(gguf, sizeof gguf, "%.3s.blk.%d.ffn_norm", side, l);
    snprintf(name, sizeof name, "%s_l%d_ffn_ffn", side, l + 1);
    return add_norm(j, gguf, name, d, e);
}

static lar_status number(const job *j, const char *key, int64_t min, int64_t max, int64_t *out,
                         lar_err *e)
{
    lar_str v;
    int64_t x = 0;
    if (!lar_marian_config(&j->m, key, &v))
        return lar_fail(e, LAR_EFORMAT, "%s: its config has no %s", j->model, key);
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9' || i > 9)
            return lar_fail(e, LAR_EFORMAT, "%s: %s is '%.*s', want a number", j->model, key,
                            (int)LAR_MIN(v.n, 40), v.p);
        x = 10 * x + (v.p[i] - '0');
    }
    if (x < min || x > max)
        return lar_fail(e, LAR_EFORMAT, "%s: %s is %lld, want %lld to %lld", j->model, key,
                        (long long)x, (long long)min, (long long)max);
    *out = x;
    return LAR_OK;
}

static void put_languages(job *j)
{
    char from[8] = "", to[8] = "";
    const char *p = j->model + strlen("model."), *dot = strchr(p, '.');
    const size_t n = dot ? (size_t)(dot - p) : 0;
    if (n != 4 && n != 6)
        return;
    memcpy(from, p, n / 2);
    memcpy(to, p + n / 2, n / 2);
    lar_gguf_put_string(j->w, "marian.source_language", from);
    lar_gguf_put_string(j->w, "marian.target_language", to);
}

#define KEY "tokenizer.ggml."
static lar_status put_vocab(job *j, lar_err *e)
{
    const lar_spm *m = &j->spm;
    if (!m->unigram)
        return lar_fail(e, LAR_EUNSUPPORTED, "%s: a BPE vocabulary, want unigram", j->vocab);
    if (m->n != (size_t)j->n_vocab || m->eos < 0)
        return lar_fail(e, LAR_EFORMAT, "%s: %zu tokens, the model has %lld; the end is token %d",
                        j->vocab, m->n, (long long)j->n_vocab, m->eos);
    lar_gguf_put_string(j->w, KEY "model", "t5");
    lar_gguf_put_string(j->w, KEY "pre", "default");
    lar_gguf_put_strings(j->w, KEY "tokens", m->pieces, m->n);
    lar_gguf_put_array(j->w, KEY "scores", LAR_GGUF_F32, m->scores, m->n);
    lar_gguf_put_array(j->w, KEY "token_type", LAR_GGUF_I32, m->types, m->n);
    lar_gguf_put_u32(j->w, KEY "eos_token_id", (uint32_t)m->eos);
    if (m->unk >= 0)
        lar_gguf_put_u32(j->w, KEY "unknown_token_id", (uint32_t)m->unk);
    lar_gguf_put_bool(j->w, KEY "add_eos_token", true);
    lar_gguf_put_bool(j->w, KEY "add_space_prefix", m->add_dummy_prefix);
    lar_gguf_put_bool(j->w, KEY "remove_extra_whitespaces", m->remove_extra_whitespaces);
    if (m->charsmap.n)
        lar_gguf_put_array(j->w, KEY "precompiled_charsmap", LAR_GGUF_U8, m->charsmap.p,
                           m->charsmap.n);
    return LAR_OK;
}

static lar_status plan(job *j, lar_err *e)
{
    int64_t enc = 0, dec = 0, ff = 0, heads = 0;
    const lar_marian_tensor *embd = lar_marian_find(&j->m, "Wemb");
    LAR_TRY(check_config(j, e));
    LAR_TRY(number(j, "dim-emb", 64, 1 << 16, &j->n_embd, e));
    LAR_TRY(number(j, "enc-depth", 1, LAYERS_MAX, &enc, e));
    LAR_TRY(number(j, "dec-depth", 1, LAYERS_MAX, &dec, e));
    LAR_TRY(number(j, "transformer-dim-ffn", 64, 1 << 18, &ff, e));
    LAR_TRY(number(j, "transformer-heads", 1, 1024, &heads, e));
    if (!embd)
        return lar_fail(e, LAR_EFORMAT, "%s: tensor Wemb is missing", j->model);
    j->n_vocab = embd->dim[0];
    LAR_TRY(find(j, "Wemb", LAR_MARIAN_I8, j->n_vocab, j->n_embd, &embd, e));
    lar_gguf_put_string(j->w, "general.architecture", "marian");
    lar_gguf_put_u32(j->w, "marian.block_count", (uint32_t)enc);
    lar_gguf_put_u32(j->w, "marian.decoder_block_count", (uint32_t)dec);
    lar_gguf_put_u32(j->w, "marian.embedding_length", (uint32_t)j->n_embd);
    lar_gguf_put_u32(j->w, "marian.feed_forward_length", (uint32_t)ff);
    lar_gguf_put_u32(j->w, "marian.attention.head_count", (uint32_t)heads);
    lar_gguf_put_u32(j->w, "marian.vocab_size", (uint32_t)j->n_vocab);
    put_languages(j);
    LAR_TRY(put_vocab(j, e));
    out_tensor *o =
        add(j, e, "token_embd.weight", TABLE, LAR_DTYPE(i8), 2, j->n_embd, j->n_vocab, 1);
    if (!o)
        return LAR_ENOMEM;
    o->src = embd;
    /* With a shortlist Marian reads the output's scale under the name of a tensor without one. */
    LAR_TRY(add_scales(j, "token_embd", embd, j->list[0] ? "none" : "Wemb", e));
    LAR_TRY(add_floats(j, "output.bias", "decoder_ff_logit_out_b", j->n_vocab, e));
    if (j->list[0]) {
        lar_gguf_put_u32(j->w, "marian.shortlist.first", (uint32_t)j->sl.first);
        if (!add(j, e, "shortlist.offset", OFFSETS, LAR_DTYPE(i32), 1, j->n_vocab + 1, 1, 1) ||
            !add(j, e, "shortlist.id", IDS, LAR_DTYPE(i32), 1, (int64_t)LAR_MAX(j->sl.n_ids, 1), 1,
                 1))
            return LAR_ENOMEM;
    }
    for (int l = 0; l < enc; l++)
        LAR_TRY(add_layer(j, false, l, ff, e));
    for (int l = 0; l < dec; l++)
        LAR_TRY(add_layer(j, true, l, ff, e));
    for (size_t i = 0; i < j->n_out; i++)
        lar_gguf_put_tensor(j->w, j->out[i].name, j->out[i].type, j->out[i].n_dims, j->out[i].dim);
    return LAR_OK;
}

/* ---- data -------------------------------------------------------------------------------------
 */

static lar_status write_panels(job *j, const out_tensor *o, lar_err *e)
{
    const int64_t k = o->dim[1] * 4, panels = o->dim[2];
    int8_t *panel = lar_alloc((size_t)(16 * k));
    lar_status s = panel ? LAR_OK : lar_fail(e, LAR_ENOMEM, "convert: out of memory");
    for (int64_t p = 0; s == LAR_OK && p < panels; p++) {
        const int8_t *w = (const int8_t *)o->src->data + p * 16 * k;
        for (int64_t r = 0; r < 16; r++)
            for (int64_t i = 0; i < k; i++)
                panel[i / 4 * 64 + r * 4 + i % 4] = w[r * k + i];
        s = lar_gguf_writer_data(j->w, panel, (size_t)(16 * k), e);
    }
    lar_free(panel);
    return s;
}

static lar_status write_ints(job *j, const out_tensor *o, lar_err *e)
{
    for (int64_t i = 0; i < o->dim[0]; i++) {
        const int32_t x = o->how == OFFSETS ? (int32_t)lar_u64(j->sl.offset + 8 * i)
                          : j->sl.n_ids     ? (int32_t)lar_u32(j->sl.id + 4 * i)
                                            : 0;
        LAR_TRY(lar_gguf_writer_data(j->w, &x, sizeof x, e));
    }
    return LAR_OK;
}

static lar_status write_one(job *j, const out_tensor *o, lar_err *e)
{
    switch (o->how) {
    case PANELS:
        return write_panels(j, o, e);
    case SCALES:
        return lar_gguf_writer_data(j->w, o->scales, sizeof o->scales, e);
    case OFFSETS:
    case IDS:
        return write_ints(j, o, e);
    }
    return lar_gguf_writer_data(j->w, o->src->data,
                                o->src->count * (o->how == FLOATS ? sizeof(float) : 1), e);
}

static lar_status check(job *j, const lar_convert_options *o, lar_err *e)
{
    lar_buf header = {0};
    lar_gguf *g = NULL;
    if (!o->check)
        return LAR_OK;
    lar_status s = lar_gguf_writer_header(j->w, &header, e);
    if (s == LAR_OK)
        s = lar_gguf_open_header(header.p, header.n, &g, e);
    if (s == LAR_OK)
        s = o->check(g, o->user, e);
    lar_gguf_close(g);
    lar_buf_free(&header);
    return s;
}

static lar_status convert(job *j, const char *out, const lar_convert_options *o,
                          lar_convert_result *result, lar_err *e)
{
    LAR_TRY(open_files(j, e));
    if (o->type)
        return lar_fail(e, LAR_EARG, "type: a model of bytes stays as it is");
    LAR_TRY(lar_gguf_writer_new(out, 64, &j->w, e));
    LAR_TRY(plan(j, e));
    LAR_TRY(check(j, o, e));
    LAR_TRY(lar_gguf_writer_begin(j->w, e));
    for (size_t i = 0; i < j->n_out; i++) {
        if (o->progress && o->progress((double)i / (double)j->n_out, j->out[i].name, o->user))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        LAR_TRY(write_one(j, &j->out[i], e));
        result->n_params += (uint64_t)(j->out[i].dim[0] * j->out[i].dim[1] * j->out[i].dim[2]);
    }
    result->arch = "marian";
    result->n_tensors = j->n_out;
    result->bytes = lar_gguf_writer_bytes(j->w);
    lar_gguf_writer *w = j->w;
    j->w = NULL;
    return lar_gguf_writer_commit(w, e);
}

lar_status lar_convert_marian(const char *folder, const char *out, const lar_convert_options *o,
                              lar_convert_result *result, lar_err *e)
{
    job j = {.folder = folder};
    lar_err local;
    *result = (lar_convert_result){0};
    const lar_status s = convert(&j, out, o, result, e ? e : &local);
    lar_gguf_writer_abort(j.w);
    close_files(&j);
    return s;
}
