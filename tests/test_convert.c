/*
 * test_convert.c - Hugging Face folders to GGUF: of each architecture a small random checkpoint
 * (tools/goldens/hf.py) is converted, opened, and gives transformers' logits and token ids; each
 * option that its config.json can switch off moves the logits as far as transformers says. Then
 * folders and safetensors headers that lie.
 */
#include "engine_test.h"
#include "lar.h"
#include "convert/safetensors.h"
#include "format/gguf_write.h"
#include "quant/kernels.h"
#include "text/spm.h"
#include "tasks/vocab.h"
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(_WIN32)
#include <direct.h>
#define mkdir(path, mode) _mkdir(path)
#endif

static const char dir[] = "tests/data/hf";
static const char out_path[] = "build/test_convert.gguf", out_dir[] = "build/test_convert",
                  other_path[] = "build/test_convert_other.gguf";

/* As `lar convert` does it: what comes out opens as a model. */
static lar_status convert_to(const char *folder, const char *out, const lar_dtype *type, lar_err *e)
{
    const lar_runtime_options o = {.size = sizeof o, .threads = 1};
    lar_runtime *rt;
    lar_request *r;
    assert_int_equal(lar_runtime_new(&o, &rt, e), LAR_OK);
    assert_int_equal(lar_request_new(rt, "convert", &r, e), LAR_OK);
    assert_int_equal(lar_request_set_string(r, "input", folder, e), LAR_OK);
    assert_int_equal(lar_request_set_string(r, "output", out, e), LAR_OK);
    if (type)
        assert_int_equal(lar_request_set_string(r, "type", type->name, e), LAR_OK);
    const lar_status s = lar_request_run(r, NULL, NULL, e);
    lar_request_free(r);
    lar_runtime_free(rt);
    return s;
}

static lar_status convert(const char *folder, const lar_dtype *type, lar_err *e)
{
    return convert_to(folder, out_path, type, e);
}

static void copy_file(const char *from, const char *to)
{
    size_t n = 0;
    void *p = read_file(from, &n);
    FILE *f = fopen(to, "wb");
    assert_non_null(p);
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
    free(p);
}

/* The folder's files in out_dir, where a test may change them. */
static void copy_folder(const char *name)
{
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json", "generation_config.json"};
    char from[256], to[256];
    mkdir("build", 0777);
    mkdir(out_dir, 0777);
    for (size_t i = 0; i < LAR_LEN(files); i++) {
        snprintf(from, sizeof from, "%s/%s/%s", dir, name, files[i]);
        snprintf(to, sizeof to, "%s/%s", out_dir, files[i]);
        remove(to);
        if (access(from, R_OK) == 0)
            copy_file(from, to);
    }
}

static void write_text(const char *file, const void *p, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", out_dir, file);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

/* Logits of the golden's ids, to be freed. */
static float *logits_of(const char *path, const golden *g, const char *variant, int piece)
{
    rig r;
    rig_open(&r, path, &(rig_options){.threads = 2, .variant = variant});
    assert_int_equal(r.net->hp.n_vocab, g->n_vocab);
    float *x = malloc((size_t)g->n * g->n_vocab * sizeof *x);
    rig_eval(&r, rig_seq(&r), g->ids, g->n, piece, x);
    rig_close(&r);
    return x;
}

/* Of a file's logits from the golden ones, in their standard deviations. */
static double distance_of(const char *path, const golden *g)
{
    float *x = logits_of(path, g, NULL, 17);
    double d = 0;
    for (size_t i = 0; i < (size_t)g->n * g->n_vocab; i++) {
        const double a = (double)x[i] - (double)g->logits[i];
        d = LAR_MAX(d, a < 0 ? -a : a);
    }
    free(x);
    return d / g->std;
}

static double distance(const golden *g)
{
    return distance_of(out_path, g);
}

/* Plain C, token by token, gives the same bits as the best kernels by seventeens. */
static void check_bits(const golden *g)
{
    float *plain = logits_of(out_path, g, "generic", 1), *best = logits_of(out_path, g, NULL, 17);
    if (memcmp(plain, best, (size_t)g->n * g->n_vocab * sizeof *best) != 0)
        fail_msg("%s: other logits with other kernels or cuts", g->path);
    free(plain);
    free(best);
}

static void check_texts(const golden *g)
{
    lar_gguf *f;
    lar_vocab_file v;
    lar_err e = {0};
    json_t *pair;
    size_t i;
    assert_int_equal(lar_gguf_open(out_path, &f, &e), LAR_OK);
    if (lar_vocab_open(f, &v, &e) != LAR_OK)
        fail_msg("%s: %s", g->path, e.msg);
    json_array_foreach(json_object_get(g->json, "texts"), i, pair)
    {
        const json_t *text = json_array_get(pair, 0), *want = json_array_get(pair, 1);
        lar_ids ids = {0};
        assert_int_equal(lar_tokenizer_encode(v.tok, json_string_value(text),
                                              json_string_length(text), LAR_TOK_BOS, &ids, &e),
                         LAR_OK);
        if (ids.n != json_array_size(want))
            fail_msg("%s: '%s': %zu tokens, want %zu", g->path, json_string_value(text), ids.n,
                     json_array_size(want));
        for (size_t k = 0; k < ids.n; k++)
            assert_int_equal(ids.p[k], json_integer_value(json_array_get(want, k)));
        lar_ids_free(&ids);
    }
    lar_vocab_free(&v);
    lar_gguf_close(f);
}

/* The folder in out_dir, with the option's changes of config.json and of weights. */
static void change_folder(const char *name, const json_t *option)
{
    char path[256];
    const char *key;
    json_t *v, *config;
    size_t n;
    copy_folder(name);
    snprintf(path, sizeof path, "%s/config.json", out_dir);
    config = json_load_file(path, 0, NULL);
    json_object_foreach(json_object_get(option, "config"), key, v)
    {
        json_object_set(config, key, v);
    }
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(config);
    snprintf(path, sizeof path, "%s/model.safetensors", out_dir);
    uint8_t *weights = read_file(path, &n);
    if (golden_patch(option, weights, n))
        write_text("model.safetensors", weights, n);
    free(weights);
}

static void check_option(const golden *g, const char *name, const json_t *option)
{
    const double want = json_number_value(json_object_get(option, "distance"));
    const char *what = json_string_value(json_object_get(option, "name"));
    lar_err e = {0};
    change_folder(name, option);
    const lar_status s = convert(out_dir, NULL, &e);
    if (json_is_true(json_object_get(option, "refused"))) {
        if (s != LAR_EUNSUPPORTED)
            fail_msg("%s, %s changed: status %d, want it refused", name, what, s);
        return;
    }
    if (s != LAR_OK)
        fail_msg("%s, %s changed: %s", name, what, e.msg);
    const double d = distance(g);
    if (d < want * 0.98 - 1e-3 || d > want * 1.02 + 1e-3)
        fail_msg("%s, %s changed: distance %g, transformers' is %g", name, what, d, want);
}

static void test_model(void **state)
{
    const char *name = *state;
    char folder[256];
    golden g;
    lar_err e = {0};
    json_t *option;
    size_t i;
    snprintf(folder, sizeof folder, "%s/%s", dir, name);
    golden_open(&g, folder, "golden");
    mkdir("build", 0777);
    if (convert(folder, NULL, &e) != LAR_OK)
        fail_msg("%s: %s", name, e.msg);
    const double d = distance(&g);
    if (!(d <= 1e-4))
        fail_msg("%s: logits differ by %g standard deviations", name, d);
    check_texts(&g);
    check_bits(&g);
    json_array_foreach(json_object_get(g.json, "options"), i, option)
    {
        check_option(&g, name, option);
    }
    golden_close(&g);
}

/* Half precision moves the logits a little, eight bits more, and neither much. */
static void test_types(void **state)
{
    (void)state;
    static const struct {
        const lar_dtype *type;
        double most;
    } cases[] = {{LAR_DTYPE(f32), 1e-4}, {LAR_DTYPE(f16), 0.02}, {LAR_DTYPE(q8_0), 0.5}};
    golden g;
    lar_err e = {0};
    golden_open(&g, "tests/data/hf/llama", "golden");
    mkdir("build", 0777);
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        assert_int_equal(convert("tests/data/hf/llama", cases[i].type, &e), LAR_OK);
        const double d = distance(&g);
        if (!(d <= cases[i].most))
            fail_msg("%s: %g", cases[i].type->name, d);
    }
    golden_close(&g);
    assert_int_equal(convert("tests/data/hf/llama", LAR_DTYPE(q8_k), &e), LAR_EUNSUPPORTED);
}

static void refuse(const char *what, lar_status want, const char *words)
{
    lar_err e = {0};
    remove(out_path);
    const lar_status s = convert(out_dir, NULL, &e);
    if (s != want)
        fail_msg("%s: status %d, want %d (%s)", what, s, want, e.msg);
    if (!strstr(e.msg, words))
        fail_msg("%s: '%s' does not say '%s'", what, e.msg, words);
    assert_int_equal(access(out_path, F_OK), -1); /* nothing is left behind */
}

static void set_config(const char *key, json_t *v)
{
    char path[256];
    snprintf(path, sizeof path, "%s/config.json", out_dir);
    json_t *config = json_load_file(path, 0, NULL);
    if (v)
        json_object_set_new(config, key, v);
    else
        json_object_del(config, key);
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(config);
}

/* ---- parts and orders -------------------------------------------------------------------------
 */

/* A file's keys with one of them changed; LEAVE_OUT: without it. */
enum { LEAVE_OUT = -1 };
static void put_key(lar_gguf_writer *w, const char *key, int64_t v)
{
    char name[80];
    snprintf(name, sizeof name, "deepseek2.%s", key);
    if (v == LEAVE_OUT)
        lar_gguf_remove(w, name);
    else
        lar_gguf_put_u32(w, name, (uint32_t)v);
}

static lar_gguf_writer *copy_keys(const lar_gguf *f, const char *to)
{
    lar_gguf_writer *w;
    lar_err e = {0};
    assert_int_equal(lar_gguf_writer_new(to, 32, &w, &e), LAR_OK);
    for (size_t i = 0; i < lar_gguf_n_kv(f); i++)
        lar_gguf_put_kv(w, lar_gguf_kv_at(f, i));
    return w;
}

/* A layer's k_b [nope, rank, heads] and v_b [rank, value, heads] in one, as files before them had
 * it: [rank, (nope + value) * heads]. */
static float *join_kv(const lar_gguf_tensor *kb, const lar_gguf_tensor *vb)
{
    const int64_t n = kb->dim[0], rank = kb->dim[1], u = vb->dim[1];
    const float *k = (const void *)kb->data, *v = (const void *)vb->data;
    float *y = malloc((size_t)(rank * (n + u) * kb->dim[2]) * sizeof *y), *to = y;
    for (int64_t h = 0; h < kb->dim[2]; h++) {
        for (int64_t i = 0; i < n * rank; i++)
            *to++ = k[(h * rank + i % rank) * n + i / rank];
        for (int64_t i = 0; i < u * rank; i++)
            *to++ = v[h * u * rank + i];
    }
    return y;
}

/* A file of latent attention as they were written before 2025: attn_kv_b, and heads as they are. */
static void write_old(const char *from, const char *to)
{
    lar_gguf *f;
    lar_err e = {0};
    assert_int_equal(lar_gguf_open(from, &f, &e), LAR_OK);
    lar_gguf_writer *w = copy_keys(f, to);
    put_key(w, "attention.head_count_kv", 4);
    put_key(w, "attention.key_length", 20);
    put_key(w, "attention.value_length", 10);
    put_key(w, "attention.key_length_mla", LEAVE_OUT);
    put_key(w, "attention.value_length_mla", LEAVE_OUT);
    for (int pass = 0; pass < 2; pass++) { /* the index, then the data */
        for (size_t i = 0; i < lar_gguf_n_tensors(f); i++) {
            const lar_gguf_tensor *t = lar_gguf_tensor_at(f, i);
            char name[80];
            snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
            char *at = strstr(name, "attn_k_b");
            if (strstr(name, "attn_v_b"))
                continue;
            if (at)
                memcpy(at, "attn_v_b", 8);
            const lar_gguf_tensor *vb = at ? lar_gguf_find_tensor(f, name) : NULL;
            if (at)
                strcpy(at, "attn_kv_b.weight");
            const int64_t dim[4] = {t->dim[1], vb ? (t->dim[0] + vb->dim[1]) * t->dim[2] : 0, 1, 1};
            float *kv = vb ? join_kv(t, vb) : NULL;
            if (pass == 0)
                lar_gguf_put_tensor(w, name, t->type, vb ? 2 : t->n_dims, vb ? dim : t->dim);
            else
                assert_int_equal(lar_gguf_writer_data(
                                     w, kv ? (const void *)kv : t->data,
                                     kv ? (size_t)(dim[0] * dim[1]) * sizeof *kv : t->bytes, &e),
                                 LAR_OK);
            free(kv);
        }
        if (pass == 0)
            assert_int_equal(lar_gguf_writer_begin(w, &e), LAR_OK);
    }
    assert_int_equal(lar_gguf_writer_commit(w, &e), LAR_OK);
    lar_gguf_close(f);
}

static void test_old_latent(void **state)
{
    (void)state;
    static const char *const names[] = {"deepseek2", "deepseek2_lite", "deepseek3"};
    for (size_t i = 0; i < LAR_LEN(names); i++) {
        char folder[64];
        golden g;
        lar_err e = {0};
        snprintf(folder, sizeof folder, "%s/%s", dir, names[i]);
        golden_open(&g, folder, "golden");
        if (convert(folder, LAR_DTYPE(f32), &e) != LAR_OK)
            fail_msg("%s: %s", names[i], e.msg);
        write_old(out_path, other_path);
        const double d = distance_of(other_path, &g);
        if (!(d <= 1e-4))
            fail_msg("%s with attn_kv_b: logits differ by %g standard deviations", names[i], d);
        golden_close(&g);
    }
}

/* Files of latent attention that contradict themselves are refused when they are opened. */
static void test_bad_latent(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int64_t value;
        lar_status want;
        const char *words;
    } cases[] = {
        {"attention.kv_lora_rank", LEAVE_OUT, LAR_EFORMAT, "kv_lora_rank is missing"},
        {"attention.kv_lora_rank", 25, LAR_EFORMAT, "latents of 25"},
        {"attention.head_count_kv", 4, LAR_EFORMAT, "4 key heads"},
        {"attention.key_length", 64, LAR_EFORMAT, "key heads of 64"},
        {"attention.key_length_mla", 8, LAR_EFORMAT, "keys of 8 with 8 rotated"},
        {"attention.key_length_mla", LEAVE_OUT, LAR_EFORMAT, "1 key heads"},
        {"attention.value_length_mla", 11, LAR_EFORMAT, "attn_v_b.weight"},
        {"attention.q_lora_rank", LEAVE_OUT, LAR_EFORMAT, "attn_q.weight is missing"},
        {"expert_group_count", 3, LAR_EFORMAT, "of 3 groups"},
        {"expert_group_used_count", 3, LAR_EFORMAT, "of 3 of 2 groups"},
        {"expert_gating_func", 1, LAR_EUNSUPPORTED, "exp_probs_b.bias"},
    };
    const lar_log silent = {0};
    lar_gguf *f;
    lar_err e = {0};
    assert_int_equal(convert("tests/data/hf/deepseek3", NULL, &e), LAR_OK);
    assert_int_equal(lar_gguf_open(out_path, &f, &e), LAR_OK);
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        lar_gguf_writer *w = copy_keys(f, other_path);
        lar_buf header = {0};
        lar_gguf *g;
        lar_net *net;
        put_key(w, cases[i].key, cases[i].value);
        for (size_t k = 0; k < lar_gguf_n_tensors(f); k++) {
            const lar_gguf_tensor *t = lar_gguf_tensor_at(f, k);
            char name[80];
            snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
            lar_gguf_put_tensor(w, name, t->type, t->n_dims, t->dim);
        }
        assert_int_equal(lar_gguf_writer_header(w, &header, &e), LAR_OK);
        assert_int_equal(lar_gguf_open_header(header.p, header.n, &g, &e), LAR_OK);
        assert_int_equal(lar_net_open(g, &silent, &net, &e), cases[i].want);
        if (!strstr(e.msg, cases[i].words))
            fail_msg("%s changed: '%s' does not say '%s'", cases[i].key, e.msg, cases[i].words);
        lar_gguf_close(g);
        lar_buf_free(&header);
        lar_gguf_writer_abort(w);
    }
    lar_gguf_close(f);
}

/* Layers behind the last, which predict further tokens, are left out when config.json says so. */
static void test_left_out(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_gguf *f;
    copy_folder("deepseek3");
    set_config("num_hidden_layers", json_integer(2));
    set_config("num_nextn_predict_layers", json_integer(0));
    refuse("a layer too many", LAR_EFORMAT, "layer 2 of 2");
    set_config("num_nextn_predict_layers", json_integer(1));
    assert_int_equal(convert(out_dir, NULL, &e), LAR_OK);
    assert_int_equal(lar_gguf_open(out_path, &f, &e), LAR_OK);
    assert_non_null(lar_gguf_find_tensor(f, "blk.1.attn_norm.weight"));
    assert_null(lar_gguf_find_tensor(f, "blk.2.attn_norm.weight"));
    lar_gguf_close(f);
}

static void same_numbers(const lar_gguf_tensor *a, const lar_gguf_tensor *b)
{
    const int64_t n = a->dim[0] * a->dim[1] * a->dim[2];
    float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
    assert_memory_equal(a->dim, b->dim, sizeof a->dim);
    lar_kernels__generic.formats[lar_dtype_index(a->type)]->to_f32(a->data, x, n);
    lar_kernels__generic.formats[lar_dtype_index(b->type)]->to_f32(b->data, y, n);
    for (int64_t i = 0; i < n; i++)
        if (!(x[i] == y[i]))
            fail_msg("%.*s[%d]: %g and %g", (int)a->name.n, a->name.p, (int)i, (double)x[i],
                     (double)y[i]);
    free(x);
    free(y);
}

/* MXFP4 in blocks and scales becomes GGUF's: the numbers of the folder that has them in BF16.
 * (Logits are further away than those: eight bits of activations send tokens to other experts.) */
static void test_mxfp4(void **state)
{
    (void)state;
    golden g;
    lar_err e = {0};
    lar_gguf *plain, *packed;
    lar_safetensors *st;
    size_t n = 0, seen = 0;
    golden_open(&g, "tests/data/hf/gpt_oss", "golden");
    uint8_t *weights = read_file("tests/data/hf/gpt_oss/mxfp4.safetensors", &n);
    assert_int_equal(convert_to("tests/data/hf/gpt_oss", other_path, NULL, &e), LAR_OK);
    copy_folder("gpt_oss");
    write_text("model.safetensors", weights, n);
    assert_int_equal(convert(out_dir, LAR_DTYPE(q8_0), &e), LAR_OK); /* it stays what it is */
    assert_int_equal(convert(out_dir, NULL, &e), LAR_OK);
    assert_int_equal(lar_gguf_open(other_path, &plain, &e), LAR_OK);
    assert_int_equal(lar_gguf_open(out_path, &packed, &e), LAR_OK);
    for (size_t i = 0; i < lar_gguf_n_tensors(packed); i++) {
        const lar_gguf_tensor *t = lar_gguf_tensor_at(packed, i);
        char name[80];
        if (t->type != LAR_DTYPE(mxfp4))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
        same_numbers(t, lar_gguf_find_tensor(plain, name));
        seen++;
    }
    assert_int_equal(seen, 9);
    lar_gguf_close(plain);
    lar_gguf_close(packed);
    check_bits(&g);
    assert_int_equal(lar_safetensors_open_bytes(weights, n, &st, &e), LAR_OK);
    const lar_st_tensor *s =
        lar_safetensors_find(st, "model.layers.1.mlp.experts.down_proj_scales");
    assert_non_null(s);
    weights[s->data - weights] = 255;
    lar_safetensors_close(st);
    write_text("model.safetensors", weights, n);
    refuse("a scale that is no number", LAR_ENUMERIC, "down_proj_scales");
    free(weights);
    golden_close(&g);
}

/* ---- bad folders ------------------------------------------------------------------------------
 */

static void test_bad_config(void **state)
{
    (void)state;
    copy_folder("llama");
    set_config("hidden_size", json_string("32"));
    refuse("a text for a number", LAR_EFORMAT, "hidden_size");
    copy_folder("llama");
    set_config("num_hidden_layers", json_integer(-3));
    refuse("a negative count", LAR_EFORMAT, "num_hidden_layers");
    copy_folder("llama");
    set_config("num_hidden_layers", json_real(2.5));
    refuse("half a layer", LAR_EFORMAT, "num_hidden_layers");
    copy_folder("llama");
    set_config("num_hidden_layers", json_integer(1));
    refuse("a layer too many", LAR_EFORMAT, "layer 1 of 1");
    copy_folder("llama");
    set_config("model_type", json_string("unheard-of"));
    refuse("an unknown architecture", LAR_EUNSUPPORTED, "unheard-of");
    copy_folder("llama");
    set_config("vocab_size", NULL);
    refuse("no vocabulary size", LAR_EFORMAT, "vocab_size");
    copy_folder("llama");
    set_config("num_attention_heads", json_integer(5));
    refuse("heads that do not divide", LAR_EFORMAT, "heads");
    copy_folder("llama");
    write_text("config.json", "{\"a\": 1, \"a\": 2}", 16);
    refuse("a key twice", LAR_EFORMAT, "config.json");
    copy_folder("llama");
    write_text("tokenizer.json", "[]", 2);
    refuse("a tokenizer that is a list", LAR_EFORMAT, "tokenizer.json");
    copy_folder("llama");
    remove("build/test_convert/tokenizer.json");
    refuse("no tokenizer", LAR_ENOTFOUND, "tokenizer");
    remove("build/test_convert/model.safetensors");
    refuse("no weights", LAR_ENOTFOUND, "pickles");
    remove("build/test_convert/config.json");
    refuse("no config", LAR_ENOTFOUND, "config.json");
}

/* A NaN in a weight is found where it is. */
static void test_nan(void **state)
{
    (void)state;
    size_t n = 0;
    copy_folder("qwen2");
    uint8_t *p = read_file("build/test_convert/model.safetensors", &n);
    p[n - 1] = 0x7f, p[n - 2] = 0xff; /* the last BF16 */
    write_text("model.safetensors", p, n);
    free(p);
    refuse("NaN", LAR_ENUMERIC, "nan");
}

/* A number that the type asked for cannot hold is not made infinite. */
static void test_too_large(void **state)
{
    (void)state;
    static const uint8_t large[2] = {0x00, 0x48}; /* BF16: 131072 */
    size_t n = 0;
    lar_err e = {0};
    copy_folder("qwen2");
    uint8_t *p = read_file("build/test_convert/model.safetensors", &n);
    const uint64_t header = lar_u64(p);
    const char *at = strstr((char *)p + 8, "model.layers.1.mlp.up_proj.weight");
    at = strstr(at, "data_offsets");
    const size_t begin = (size_t)strtoul(at + strcspn(at, "0123456789"), NULL, 10);
    memcpy(p + 8 + header + begin, large, 2);
    write_text("model.safetensors", p, n);
    free(p);
    assert_int_equal(convert(out_dir, NULL, &e), LAR_OK);
    remove(out_path);
    assert_int_equal(convert(out_dir, LAR_DTYPE(f16), &e), LAR_ENUMERIC);
    assert_non_null(strstr(e.msg, "model.layers.1.mlp.up_proj.weight: row 0, column 0 is 131072"));
    assert_int_equal(access(out_path, F_OK), -1);
}

/* ---- weights that do not make the model -------------------------------------------------------
 */

/* The folder's model.safetensors with its header's JSON changed by hand; data stays. */
static json_t *load_header(uint8_t **file, size_t *n)
{
    *file = read_file("build/test_convert/model.safetensors", n);
    assert_non_null(*file);
    json_t *j = json_loadb((char *)*file + 8, (size_t)lar_u64(*file), 0, NULL);
    assert_non_null(j);
    return j;
}

static void store_header(json_t *j, uint8_t *file, size_t n)
{
    char *text = json_dumps(j, JSON_COMPACT);
    const size_t was = (size_t)lar_u64(file), len = strlen(text);
    uint8_t *all = calloc(1, n + len);
    for (int i = 0; i < 8; i++)
        all[i] = (uint8_t)((uint64_t)len >> 8 * i);
    memcpy(all + 8, text, len);
    memcpy(all + 8 + len, file + 8 + was, n - 8 - was);
    write_text("model.safetensors", all, 8 + len + n - 8 - was);
    free(all);
    free(text);
    free(file);
    json_decref(j);
}

/* The tensor is gone (its bytes are one's that nobody wants), or has another shape of as many
 * numbers. */
static void change_tensor(const char *name, json_t *shape)
{
    size_t n = 0;
    uint8_t *file = NULL;
    json_t *j = load_header(&file, &n), *t = json_object_get(j, name);
    assert_non_null(t);
    if (shape)
        json_object_set_new(t, "shape", shape);
    else
        json_object_set(j, "model.layers.0.self_attn.rotary_emb.inv_freq", t);
    if (!shape)
        json_object_del(j, name);
    store_header(j, file, n);
}

/* Nothing that is absent or of another shape gets past the architecture's tables. */
static void test_incomplete(void **state)
{
    (void)state;
    static const struct {
        const char *model, *tensor, *words;
        int rows, columns; /* 0: the tensor is gone */
    } cases[] = {
        {"llama", "model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight is missing", 0, 0},
        {"llama", "model.norm.weight", "output_norm.weight is missing", 0, 0},
        {"llama", "model.embed_tokens.weight", "no embeddings", 0, 0},
        {"llama", "model.embed_tokens.weight", "shape [32, 300]", 32, 300},
        {"llama", "lm_head.weight", "output.weight: shape", 32, 300},
        {"llama", "model.layers.0.self_attn.o_proj.weight", "attn_output.weight: shape", 16, 64},
        {"phi3", "model.layers.0.self_attn.qkv_proj.weight", "attn_qkv.weight is missing", 0, 0},
        {"qwen2", "model.layers.0.self_attn.k_proj.bias", "attn_k.bias is missing", 0, 0},
        {"qwen3", "model.layers.1.self_attn.q_norm.weight", "attn_q_norm.weight is missing", 0, 0},
        {"mixtral", "model.layers.0.block_sparse_moe.experts.2.w1.weight", "expert 2 of 4", 0, 0},
        {"mixtral", "model.layers.0.block_sparse_moe.gate.weight", "ffn_gate_inp", 0, 0},
        {"qwen2moe", "model.layers.1.mlp.shared_expert_gate.weight", "shexp.weight is missing", 0,
         0},
        {"gemma3", "model.layers.6.post_feedforward_layernorm.weight", "post_ffw_norm", 0, 0},
    };
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        copy_folder(cases[i].model);
        change_tensor(cases[i].tensor,
                      cases[i].rows ? json_pack("[i,i]", cases[i].rows, cases[i].columns) : NULL);
        refuse(cases[i].tensor, LAR_EFORMAT, cases[i].words);
    }
}

/* Sizes of config.json that the weights contradict, and types that they cannot have. */
static void test_other_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *words;
    } cases[] = {
        {"vocab_size", "299", "vocab_size is 299"},
        {"vocab_size", "301", "vocab_size is 301"},
        {"vocab_size", "16777216", "vocab_size is 16777216"},
        {"num_hidden_layers", "3", "blk.2."},
        {"hidden_size", "64", "shape"},
        {"intermediate_size", "47", "shape"},
        {"intermediate_size", "\"48\"", "intermediate_size"},
        {"num_key_value_heads", "4", "shape"},
        {"num_key_value_heads", "[2]", "num_key_value_heads"},
        {"max_position_embeddings", "true", "max_position_embeddings"},
        {"max_position_embeddings", "0", "context_length"},
        {"rms_norm_eps", "\"1e-5\"", "rms_norm_eps"},
        {"rms_norm_eps", "1e300", "rms_norm_eps"},
        {"rms_norm_eps", "-1", "epsilon"},
        {"rope_theta", "0", "rope_theta"},
        {"rope_theta", "{}", "rope_theta"},
        {"rope_parameters", "3", "rope_parameters"},
        {"rope_parameters", "{\"rope_type\": 4}", "rope_type"},
        {"head_dim", "7", "of 7"},
        {"tie_word_embeddings", "\"yes\"", "tie_word_embeddings"},
        {"model_type", "[\"llama\"]", "model_type"},
        {"hidden_act", "\"relu\"", "hidden_act"},
    };
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        copy_folder("llama");
        set_config("rope_parameters", NULL);
        set_config(cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        lar_err e = {0};
        remove(out_path);
        const lar_status s = convert(out_dir, NULL, &e);
        if (s == LAR_OK || !strstr(e.msg, cases[i].words) || access(out_path, F_OK) == 0)
            fail_msg("%s = %s: status %d, '%s' does not say '%s'", cases[i].key, cases[i].value, s,
                     e.msg, cases[i].words);
    }
}

/* What tokenizer_config.json and generation_config.json say in the wrong way. */
static void test_tokenizer_settings(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text, *words;
    } cases[] = {
        {"tokenizer_config.json", "[]", "want an object"},
        {"tokenizer_config.json", "{\"bos_token\": 1}", "bos_token, want a text"},
        {"tokenizer_config.json", "{\"add_eos_token\": \"yes\"}", "add_eos_token, want true"},
        {"tokenizer_config.json", "{\"chat_template\": true}", "chat_template, want a text"},
        {"tokenizer_config.json", "{\"chat_template\": [1]}", "chat_template 0"},
        {"generation_config.json", "7", "generation_config.json"},
        {"generation_config.json", "{\"eos_token_id\": \"2\"}", "eos_token_id, want a number"},
    };
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        copy_folder("llama");
        write_text(cases[i].file, cases[i].text, strlen(cases[i].text));
        refuse(cases[i].text, LAR_EFORMAT, cases[i].words);
    }
}

/* A tokenizer that has more tokens than there are embeddings. */
static void test_large_tokenizer(void **state)
{
    (void)state;
    size_t n = 0;
    copy_folder("llama");
    char *text = read_file("build/test_convert/tokenizer.json", &n);
    json_t *tok = json_loadb(text, n, 0, NULL);
    free(text);
    json_array_append_new(json_object_get(tok, "added_tokens"),
                          json_pack("{s:i,s:s,s:b}", "id", 300, "content", "<more>", "special", 1));
    text = json_dumps(tok, 0);
    write_text("tokenizer.json", text, strlen(text));
    refuse("a token without an embedding", LAR_EFORMAT, "301 tokens");
    free(text);
    json_decref(tok);
}

static void test_shards(void **state)
{
    (void)state;
    static const char index[] = "{\"weight_map\": {\"model.norm.weight\": \"model.safetensors\"}}";
    static const char missing[] =
        "{\"weight_map\": {\"model.norm.weight\": \"other.safetensors\"}}";
    static const char upwards[] = "{\"weight_map\": {\"model.norm.weight\": \"../x.safetensors\"}}";
    static const char wrong[] = "{\"weight_map\": {\"nothing.weight\": \"model.safetensors\"}}";
    lar_err e = {0};
    copy_folder("llama");
    write_text("model.safetensors.index.json", index, sizeof index - 1);
    if (convert(out_dir, NULL, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    write_text("model.safetensors.index.json", missing, sizeof missing - 1);
    refuse("a missing shard", LAR_ENOTFOUND, "other.safetensors");
    write_text("model.safetensors.index.json", upwards, sizeof upwards - 1);
    refuse("a path upwards", LAR_EFORMAT, "no file name");
    write_text("model.safetensors.index.json", wrong, sizeof wrong - 1);
    refuse("a tensor elsewhere", LAR_EFORMAT, "nothing.weight");
    remove("build/test_convert/model.safetensors.index.json");
}

/* ---- safetensors ------------------------------------------------------------------------------
 */

static lar_status open_header(const char *json, size_t data, lar_err *e)
{
    const size_t len = strlen(json);
    uint8_t *p = calloc(1, 8 + len + data);
    lar_safetensors *s;
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)((uint64_t)len >> 8 * i);
    memcpy(p + 8, json, len);
    const lar_status st = lar_safetensors_open_bytes(p, 8 + len + data, &s, e);
    if (st == LAR_OK)
        lar_safetensors_close(s);
    free(p);
    return st;
}

static void test_lying_headers(void **state)
{
    (void)state;
#define T(dtype, shape, at)                                                                        \
    "\"t\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" at "}"
    static const char *const bad[] = {
        "[]",
        "{\"t\":1}",
        "{\"t\":{}}",
        "{" T("F99", "[2]", "[0,8]") "}",
        "{" T("F32", "[3]", "[0,8]") "}",
        "{" T("F32", "[2]", "[0,9]") "}",
        "{" T("F32", "[2]", "[8,0]") "}",
        "{" T("F32", "[2]", "[60,68]") "}",
        "{" T("F32", "[-2]", "[0,8]") "}",
        "{" T("F32", "[0]", "[0,0]") "}",
        "{" T("F32", "[4611686018427387904,4]", "[0,0]") "}",
        "{" T("F32", "[9223372036854775807]", "[0,8]") "}",
        "{" T("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]") "}",
        "{" T("F32", "[2.0]", "[0,8]") "}",
        "{" T("F32", "2", "[0,8]") "}",
        "{" T("F32", "[2]", "[0]") "}",
        "{" T("F32", "[2]", "[0,18446744073709551616]") "}",
        "{" T("F32", "[2]", "[0,8]") "," T("F32", "[2]", "[8,16]") "}",
        "{" T("F32", "[2]",
              "[0,8]") ",\"u\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
        "{" T("F32", "[2]", "[0,8]"),
        "{" T("F32", "[14]", "[8,64]") "}",
        "{" T("F32", "[14]", "[0,56]") "}",
        "{" T("F32", "[4]",
              "[0,16]") ",\"u\":{\"dtype\":\"F32\",\"shape\":[10],\"data_offsets\":[24,64]}}",
    };
    lar_err e;
    assert_int_equal(
        open_header("{\"__metadata__\":{\"format\":\"pt\"}," T("BF16", "[2,3]", "[0,12]") "}", 12,
                    &e),
        LAR_OK);
    for (size_t i = 0; i < LAR_LEN(bad); i++) {
        const lar_status s = open_header(bad[i], 64, &e);
        if (s != LAR_EFORMAT || !e.msg[0])
            fail_msg("%s: status %d", bad[i], s);
    }
#undef T
}

/* Every prefix of a real file is refused or whole. */
static void test_truncated(void **state)
{
    (void)state;
    size_t n = 0;
    lar_safetensors *s;
    lar_err e;
    uint8_t *p = read_file("tests/data/hf/olmo2/model.safetensors", &n);
    assert_non_null(p);
    for (size_t k = 0; k < n; k += k < 4096 ? 1 : 997) {
        uint8_t *copy = malloc(k + 1); /* its end is where the sanitizer looks */
        memcpy(copy, p, k);
        assert_int_equal(lar_safetensors_open_bytes(copy, k, &s, &e), LAR_EFORMAT);
        free(copy);
    }
    assert_int_equal(lar_safetensors_open_bytes(p, n, &s, &e), LAR_OK);
    assert_non_null(lar_safetensors_find(s, "model.norm.weight"));
    assert_null(lar_safetensors_find(s, "model.norm"));
    lar_safetensors_close(s);
    free(p);
}

/* A SentencePiece model ends where a field ends, and nowhere else. */
static void test_spm_truncated(void **state)
{
    (void)state;
    static const uint8_t model[] = {0x0a, 3, 0x0a, 1, 'a',  0x0a, 8, 0x0a, 1, 'b',
                                    0x15, 0, 0,    0, 0x40, 0x12, 2, 0x18, 2};
    enum { PIECE = 5, PIECES = 15 };
    lar_spm s;
    lar_err e;
    for (size_t k = 0; k < sizeof model; k++) {
        const bool whole = k == PIECE || k == PIECES;
        uint8_t *copy = malloc(k + 1);
        memcpy(copy, model, k);
        assert_int_equal(lar_spm_read(copy, k, &s, &e), whole ? LAR_OK : LAR_EFORMAT);
        if (whole)
            lar_spm_free(&s);
        free(copy);
    }
    assert_int_equal(lar_spm_read(model, sizeof model, &s, &e), LAR_OK);
    assert_int_equal(s.n, 2);
    assert_false(s.unigram);
    assert_true(s.scores[1] == 2.0f);
    lar_spm_free(&s);
}

/* A model is called like its folder, however that is spelled. */
static void test_name(void **state)
{
    (void)state;
    static const char *const spelled[] = {"build/test_convert", "build/test_convert/",
                                          "./build/test_convert//"};
    copy_folder("olmo2");
    for (size_t i = 0; i < LAR_LEN(spelled); i++) {
        lar_err e;
        size_t n = 0;
        assert_int_equal(convert(spelled[i], NULL, &e), LAR_OK);
        char *p = read_file(out_path, &n), *at = NULL;
        assert_non_null(p);
        for (size_t k = 0; k + 40 < n && !at; k++)
            if (memcmp(p + k, "general.name", 12) == 0)
                at = p + k + 12; /* then the type and the length */
        assert_non_null(at);
        assert_int_equal(at[4], 12);
        assert_memory_equal(at + 12, "test_convert", 12);
        free(p);
    }
}

/* What is converted is never written over. */
static void test_output_is_input(void **state)
{
    (void)state;
    static const char *const files[] = {"model.safetensors", "config.json", "./tokenizer.json"};
    lar_err e;
    char path[256];
    copy_folder("olmo2");
    for (size_t i = 0; i < LAR_LEN(files); i++) {
        snprintf(path, sizeof path, "%s/%s", out_dir, files[i]);
        assert_int_equal(convert_to(out_dir, path, NULL, &e), LAR_EARG);
    }
    assert_int_equal(convert(out_dir, NULL, &e), LAR_OK); /* all is as it was */
}

/* Weights in FP8 with a factor for each block, as DeepSeek-V3's folder has them: the same numbers.
 */
static void test_fp8(void **state)
{
    (void)state;
    golden g;
    lar_err e = {0};
    size_t n = 0;
    golden_open(&g, "tests/data/hf/deepseek3", "golden");
    uint8_t *weights = read_file("tests/data/hf/deepseek3/fp8.safetensors", &n);
    copy_folder("deepseek3");
    write_text("model.safetensors", weights, n);
    refuse("factors of other blocks", LAR_EFORMAT, "scale_inv");
    set_config("quantization_config", json_pack("{s: [i, i]}", "weight_block_size", 0, 16));
    refuse("blocks of nothing", LAR_EFORMAT, "weight_block_size");
    set_config("quantization_config", json_pack("{s: [i, i]}", "weight_block_size", 16, 16));
    if (convert(out_dir, NULL, &e) != LAR_OK)
        fail_msg("FP8: %s", e.msg);
    const double d = distance(&g);
    if (!(d <= 1e-4))
        fail_msg("FP8: logits differ by %g standard deviations", d);
    free(weights);
    golden_close(&g);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct CMUnitTest *)a)->name, ((const struct CMUnitTest *)b)->name);
}

int main(void)
{
    enum { FIXED = 18, MOST = 64 };
    struct CMUnitTest tests[MOST] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_nan),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_lying_headers),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_spm_truncated),
        cmocka_unit_test(test_output_is_input),
        cmocka_unit_test(test_name),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_incomplete),
        cmocka_unit_test(test_other_sizes),
        cmocka_unit_test(test_large_tokenizer),
        cmocka_unit_test(test_tokenizer_settings),
        cmocka_unit_test(test_old_latent),
        cmocka_unit_test(test_bad_latent),
        cmocka_unit_test(test_left_out),
        cmocka_unit_test(test_mxfp4),
        cmocka_unit_test(test_fp8),
    };
    size_t n = FIXED;
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d)) && n < MOST;)
        if (f->d_name[0] != '.') {
            char *name = strdup(f->d_name);
            tests[n++] =
                (struct CMUnitTest){.name = name, .test_func = test_model, .initial_state = name};
        }
    if (d)
        closedir(d);
    qsort(tests + FIXED, n - FIXED, sizeof *tests, by_name);
    const int failed = _cmocka_run_group_tests("convert", tests, n, NULL, NULL);
    for (size_t i = FIXED; i < n; i++)
        free(tests[i].initial_state);
    return failed;
}
