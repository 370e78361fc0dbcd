/*
 * test_quantize.c - recipes: every tensor of made-up models gets the type that llama.cpp gives it
 * (tools/goldens/recipes.py). Files: the same bytes for any number of threads and every variant,
 * those that a row by itself gives; metadata kept; importance heard; refusals; nothing is left of
 * an output that failed.
 */
#include "engine_test.h"
#include "convert/convert.h"
#include "convert/importance.h"
#include "convert/quantize.h"
#include "format/gguf_write.h"
#include "quant/kernels.h"
#include "tasks/vocab.h"
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(_WIN32)
#include <direct.h>
#define mkdir(path, mode) _mkdir(path)
#else
#include <sys/resource.h>
#endif

static const char folder[] = "build/test_quantize";
static const char in_path[] = "build/test_quantize/in.gguf";
static const char out_path[] = "build/test_quantize/out.gguf";
static const char matrix_path[] = "build/test_quantize/imatrix.gguf";

/* ---- recipes -----------------------------------------------------------------------------------
 */

typedef struct named {
    const char *name;
    int64_t dim[4];
    int n_dims;
} named;

/* Place among the tensors of its part, by layer. */
static void place(const named *all, size_t n, size_t i, lar_recipe_tensor *t)
{
    const lar_recipe_part part = lar_recipe_part_of(all[i].name);
    t->at = t->of = 0;
    for (size_t k = 0; k < n; k++)
        if (all[k].n_dims > 1 && lar_recipe_part_of(all[k].name) == part) {
            t->of++;
            t->at += lar_recipe_layer(all[k].name) < lar_recipe_layer(all[i].name);
        }
}

static void check_recipe(const json_t *letters, const lar_recipe_model *m, const char *recipe,
                         const char *want, const named *all, size_t n)
{
    char name[40];
    snprintf(name, sizeof name, "%s", recipe);
    name[strcspn(name, "+")] = 0;
    const lar_recipe *r = lar_recipe_by_name(name);
    assert_non_null(r);
    assert_int_equal(strlen(want), n);
    for (size_t i = 0; i < n; i++) {
        lar_recipe_tensor t = {all[i].name,
                               all[i].n_dims > 1 ? LAR_DTYPE(f16) : LAR_DTYPE(f32),
                               all[i].n_dims,
                               all[i].dim,
                               0,
                               0};
        place(all, n, i, &t);
        const lar_dtype *got = lar_recipe_type(r, m, &t);
        const char *letter = json_string_value(json_object_get(letters, got->name));
        if (!letter || letter[0] != want[i])
            fail_msg("%s, %d layers, %s, %s: %s, want the one called '%c'", m->arch, m->n_layer,
                     recipe, all[i].name, got->name, want[i]);
    }
}

static void test_recipes(void **state)
{
    (void)state;
    json_t *data = json_load_file("tests/data/recipes.json", 0, NULL), *model, *entry;
    size_t i, k, checked = 0;
    assert_non_null(data);
    json_array_foreach(json_object_get(data, "models"), i, model)
    {
        const json_t *list = json_object_get(model, "tensors");
        const size_t n = json_array_size(list);
        named *all = calloc(n, sizeof *all);
        const char *recipe;
        lar_recipe_model m = {.arch = json_string_value(json_object_get(model, "arch")),
                              .n_layer = (int)json_integer_value(json_object_get(model, "layers")),
                              .n_expert =
                                  (int)json_integer_value(json_object_get(model, "experts")),
                              .n_gqa = (int)json_integer_value(json_object_get(model, "gqa")),
                              .tied = true};
        assert_non_null(all);
        json_array_foreach(list, k, entry)
        {
            all[k].name = json_string_value(json_array_get(entry, 0));
            all[k].n_dims = (int)json_array_size(entry) - 1;
            for (int d = 0; d < 4; d++)
                all[k].dim[d] = d < all[k].n_dims
                                    ? json_integer_value(json_array_get(entry, (size_t)d + 1))
                                    : 1;
            if (strcmp(all[k].name, "output.weight") == 0)
                m.tied = false;
        }
        json_object_foreach(json_object_get(model, "recipes"), recipe, entry)
        {
            m.importance = strchr(recipe, '+') != NULL;
            check_recipe(json_object_get(data, "types"), &m, recipe, json_string_value(entry), all,
                         n);
            checked++;
        }
        free(all);
    }
    assert_true(checked > 200);
    json_decref(data);
}

/* ---- files -------------------------------------------------------------------------------------
 */

enum { E = 256, F = 320, ROWS = 40, LAYERS = 3, EXPERTS = 2 };

static float noise(uint64_t seed, uint64_t i)
{
    double x = -6;
    for (int k = 0; k < 12; k++)
        x += (double)(lar_random(seed, 12 * i + (uint64_t)k) >> 11) * 0x1p-53;
    return (float)x;
}

/* One tensor of noise in F16, F32, or the given floats put in its first element. */
typedef struct made {
    const char *name;
    int n_dims;
    int64_t dim[3];
    const lar_dtype *type;
} made;

static const made tensors[] = {
    {"token_embd.weight", 2, {E, ROWS, 1}, LAR_DTYPE(f16)},
    {"blk.0.attn_norm.weight", 1, {E, 1, 1}, LAR_DTYPE(f32)},
    {"blk.0.attn_v.weight", 2, {E, ROWS, 1}, LAR_DTYPE(f16)},
    {"blk.0.ffn_down.weight", 2, {F, E, 1}, LAR_DTYPE(bf16)},
    {"blk.1.attn_v.weight", 2, {E, ROWS, 1}, LAR_DTYPE(f32)},
    {"blk.1.ffn_down_exps.weight", 3, {E, ROWS, EXPERTS}, LAR_DTYPE(f16)},
    {"blk.2.ffn_gate_inp.weight", 2, {E, EXPERTS, 1}, LAR_DTYPE(f32)},
    {"output.weight", 2, {E, ROWS, 1}, LAR_DTYPE(f32)},
};

static void make_path(const char *path, int odd_one, float odd_value)
{
    lar_gguf_writer *w;
    lar_err e = {0};
    mkdir("build", 0777);
    mkdir(folder, 0777);
    assert_int_equal(lar_gguf_writer_new(path, 64, &w, &e), LAR_OK);
    lar_gguf_put_string(w, "general.architecture", "llama");
    lar_gguf_put_string(w, "general.name", "noise");
    lar_gguf_put_u32(w, "llama.block_count", LAYERS);
    lar_gguf_put_u32(w, "llama.attention.head_count", 4);
    lar_gguf_put_u32(w, "llama.attention.head_count_kv", 2);
    lar_gguf_put_u32(w, "general.file_type", 1);
    for (size_t i = 0; i < LAR_LEN(tensors); i++)
        lar_gguf_put_tensor(w, tensors[i].name, tensors[i].type, tensors[i].n_dims, tensors[i].dim);
    assert_int_equal(lar_gguf_writer_begin(w, &e), LAR_OK);
    for (size_t i = 0; i < LAR_LEN(tensors); i++) {
        const made *t = &tensors[i];
        const int64_t n = t->dim[0] * t->dim[1] * t->dim[2];
        float *x = malloc((size_t)n * 4);
        void *y = malloc((size_t)n * 4);
        assert_true(x && y);
        for (int64_t k = 0; k < n; k++)
            x[k] = 0.05f * noise(i, (uint64_t)k);
        if ((int)i == odd_one)
            x[n - 3] = odd_value;
        lar_kernels__generic.formats[lar_dtype_index(t->type)]->from_f32(x, y, n);
        assert_int_equal(lar_gguf_writer_data(w, y, (size_t)n * t->type->bytes, &e), LAR_OK);
        free(x), free(y);
    }
    assert_int_equal(lar_gguf_writer_commit(w, &e), LAR_OK);
}

static void make_input(int odd_one, float odd_value)
{
    make_path(in_path, odd_one, odd_value);
}

/* An importance matrix for all matrices but the last, one column of each far above the others. */
static void make_matrix(float column_7)
{
    lar_gguf_writer *w;
    lar_err e = {0};
    const int n = (int)LAR_LEN(tensors) - 1;
    char name[80];
    assert_int_equal(lar_gguf_writer_new(matrix_path, 32, &w, &e), LAR_OK);
    lar_gguf_put_string(w, "general.type", "imatrix");
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s.in_sum2", tensors[i].name);
        lar_gguf_put_tensor(w, name, LAR_DTYPE(f32), 2,
                            (int64_t[]){tensors[i].dim[0], tensors[i].dim[2]});
        snprintf(name, sizeof name, "%s.counts", tensors[i].name);
        lar_gguf_put_tensor(w, name, LAR_DTYPE(f32), 2, (int64_t[]){1, tensors[i].dim[2]});
    }
    assert_int_equal(lar_gguf_writer_begin(w, &e), LAR_OK);
    for (int i = 0; i < n; i++) {
        const float counts[EXPERTS] = {4, 4};
        for (int64_t k = 0; k < tensors[i].dim[0] * tensors[i].dim[2]; k++) {
            const float v = k % tensors[i].dim[0] == 7 ? column_7 : 4;
            assert_int_equal(lar_gguf_writer_data(w, &v, 4, &e), LAR_OK);
        }
        assert_int_equal(lar_gguf_writer_data(w, counts, 4 * (size_t)tensors[i].dim[2], &e),
                         LAR_OK);
    }
    assert_int_equal(lar_gguf_writer_commit(w, &e), LAR_OK);
}

typedef struct how {
    const char *recipe, *variant, *matrix;
    const char *override; /* one, or NULL */
    bool requantize;
    int threads;
    int (*progress)(double done, const char *what, void *user);
} how;

static lar_status quantize_to(const char *in, const char *out, const how *h, lar_quantize_result *r,
                              lar_err *e)
{
    const lar_cpu_variant *v;
    lar_pool *pool;
    assert_int_equal(lar_cpu_choose(lar_variants, lar_n_variants, h->variant, &v, e), LAR_OK);
    assert_int_equal(lar_pool_new(h->threads ? h->threads : 2, &pool, e), LAR_OK);
    const lar_quantize_options o = {.recipe = lar_recipe_by_name(h->recipe),
                                    .kernels = v->kernels,
                                    .pool = pool,
                                    .importance = h->matrix,
                                    .overrides = &h->override,
                                    .n_overrides = h->override != NULL,
                                    .requantize = h->requantize,
                                    .progress = h->progress};
    assert_non_null(o.recipe);
    const lar_status s = lar_quantize_file(in, out, &o, r, e);
    lar_pool_free(pool);
    return s;
}

static lar_status quantize(const how *h, lar_err *e)
{
    lar_quantize_result r;
    return quantize_to(in_path, out_path, h, &r, e);
}

static lar_gguf *open_out(void)
{
    lar_gguf *g;
    lar_err e = {0};
    if (lar_gguf_open(out_path, &g, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return g;
}

static const lar_dtype *type_in(const lar_gguf *g, const char *name)
{
    const lar_gguf_tensor *t = lar_gguf_find_tensor(g, name);
    assert_non_null(t);
    return t->type;
}

static void test_file(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_str name;
    uint32_t v;
    make_input(-1, 0);
    if (quantize(&(how){.recipe = "q4_k_m"}, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    lar_gguf *g = open_out();
    assert_int_equal(lar_gguf_get_u32(g, "general.file_type", &v, &e), LAR_OK);
    assert_int_equal(v, 15);
    assert_int_equal(lar_gguf_get_u32(g, "general.quantization_version", &v, &e), LAR_OK);
    assert_int_equal(v, 2);
    assert_int_equal(lar_gguf_get_str(g, "general.name", &name, &e), LAR_OK);
    assert_true(lar_str_eq(name, "noise"));
    assert_int_equal(lar_gguf_alignment(g), 32);
    assert_int_equal(lar_gguf_n_tensors(g), LAR_LEN(tensors));
    assert_ptr_equal(type_in(g, "token_embd.weight"), LAR_DTYPE(q4_k));
    assert_ptr_equal(type_in(g, "blk.0.attn_norm.weight"), LAR_DTYPE(f32));
    assert_ptr_equal(type_in(g, "blk.2.ffn_gate_inp.weight"), LAR_DTYPE(f32));
    assert_ptr_equal(type_in(g, "output.weight"), LAR_DTYPE(q6_k));
    /* 320 columns: no multiple of 256. */
    const lar_dtype *down = type_in(g, "blk.0.ffn_down.weight");
    assert_true(down == LAR_DTYPE(q5_0) || down == LAR_DTYPE(q8_0));
    /* Each tensor is what its rows alone give. */
    lar_gguf *in;
    assert_int_equal(lar_gguf_open(in_path, &in, &e), LAR_OK);
    for (size_t i = 0; i < LAR_LEN(tensors); i++) {
        const lar_gguf_tensor *a = lar_gguf_find_tensor(in, tensors[i].name);
        const lar_gguf_tensor *b = lar_gguf_find_tensor(g, tensors[i].name);
        const lar_format *from = lar_kernels__generic.formats[lar_dtype_index(a->type)];
        const lar_format *to = lar_kernels__generic.formats[lar_dtype_index(b->type)];
        const size_t row = lar_row_bytes(b->type, b->dim[0]);
        float x[F];
        uint8_t y[F * 4];
        for (size_t r = 0; r < b->bytes / row; r++) {
            from->to_f32(a->data + r * lar_row_bytes(a->type, a->dim[0]), x, a->dim[0]);
            if (to->quantize)
                to->quantize(x, NULL, y, a->dim[0]);
            else
                to->from_f32(x, y, a->dim[0]);
            assert_memory_equal(y, b->data + r * row, row);
        }
    }
    lar_gguf_close(in);
    lar_gguf_close(g);
}

static void test_same_bytes(void **state)
{
    (void)state;
    static const char *const recipes[] = {"Q4_K_M", "IQ4_XS", "Q2_K",    "Q5_1",  "F16",
                                          "Q4_0",   "IQ3_S",  "IQ2_XXS", "TQ1_0", "IQ1_M"};
    lar_err e = {0};
    make_input(-1, 0);
    make_matrix(400);
    for (size_t i = 0; i < LAR_LEN(recipes); i++) {
        size_t n = 0, want = 0;
        void *first = NULL;
        for (int v = 0; v < lar_n_variants; v++)
            for (int threads = 1; threads <= 4; threads++) {
                const lar_cpu_variant *ok;
                how h = {.recipe = recipes[i],
                         .variant = lar_variants[v]->name,
                         .matrix = i % 2 ? matrix_path : NULL,
                         .threads = threads};
                if (lar_cpu_choose(lar_variants, lar_n_variants, h.variant, &ok, NULL) != LAR_OK)
                    continue;
                if (quantize(&h, &e) != LAR_OK)
                    fail_msg("%s: %s", recipes[i], e.msg);
                void *p = read_file(out_path, &n);
                assert_non_null(p);
                if (!first) {
                    first = p;
                    want = n;
                    continue;
                }
                assert_int_equal(n, want);
                assert_memory_equal(p, first, n);
                free(p);
            }
        free(first);
    }
}

/* Squared error of a column over the rows of a tensor. */
static double column_error(const char *tensor, int column)
{
    lar_gguf *in, *out = open_out();
    float a[F], b[F];
    double sum = 0;
    assert_int_equal(lar_gguf_open(in_path, &in, NULL), LAR_OK);
    const lar_gguf_tensor *x = lar_gguf_find_tensor(in, tensor);
    const lar_gguf_tensor *y = lar_gguf_find_tensor(out, tensor);
    for (int64_t r = 0; r < x->dim[1] * x->dim[2]; r++) {
        lar_kernels__generic.formats[lar_dtype_index(x->type)]->to_f32(
            x->data + (size_t)r * lar_row_bytes(x->type, x->dim[0]), a, x->dim[0]);
        lar_kernels__generic.formats[lar_dtype_index(y->type)]->to_f32(
            y->data + (size_t)r * lar_row_bytes(y->type, y->dim[0]), b, y->dim[0]);
        sum += ((double)a[column] - (double)b[column]) * ((double)a[column] - (double)b[column]);
    }
    lar_gguf_close(in);
    lar_gguf_close(out);
    return sum;
}

static void test_importance(void **state)
{
    (void)state;
    static const char *const names[] = {"blk.1.attn_v.weight", "blk.1.ffn_down_exps.weight"};
    lar_err e = {0};
    double plain[2];
    make_input(-1, 0);
    make_matrix(4000);
    assert_int_equal(quantize(&(how){.recipe = "Q2_K"}, &e), LAR_OK);
    for (int i = 0; i < 2; i++)
        plain[i] = column_error(names[i], 7);
    assert_int_equal(quantize(&(how){.recipe = "Q2_K", .matrix = matrix_path}, &e), LAR_OK);
    for (int i = 0; i < 2; i++)
        assert_true(column_error(names[i], 7) < 0.5 * plain[i]);

    make_matrix(NAN);
    assert_int_equal(quantize(&(how){.recipe = "Q2_K", .matrix = matrix_path}, &e), LAR_EFORMAT);
    assert_non_null(strstr(e.msg, "column 7"));
    assert_int_equal(quantize(&(how){.recipe = "Q2_K", .matrix = in_path}, &e), LAR_EFORMAT);
    assert_non_null(strstr(e.msg, "imatrix"));
    assert_int_equal(quantize(&(how){.recipe = "Q2_K_S"}, &e), LAR_EARG);
    assert_non_null(strstr(e.msg, "needs an importance matrix"));
}

static void test_overrides(void **state)
{
    (void)state;
    lar_err e = {0};
    make_input(-1, 0);
    assert_int_equal(quantize(&(how){.recipe = "Q8_0", .override = "blk.*attn_v=q4_0"}, &e),
                     LAR_OK);
    lar_gguf *g = open_out();
    assert_ptr_equal(type_in(g, "blk.0.attn_v.weight"), LAR_DTYPE(q4_0));
    assert_ptr_equal(type_in(g, "blk.1.attn_v.weight"), LAR_DTYPE(q4_0));
    assert_ptr_equal(type_in(g, "blk.0.ffn_down.weight"), LAR_DTYPE(q8_0));
    lar_gguf_close(g);
    static const char *const bad[][2] = {{"blk.*q8_0", "PATTERN=TYPE"},
                                         {"blk=q9", "'q9' is no element type"},
                                         {"blk.*attn_q=q8_0", "no tensor has such a name"}};
    for (size_t i = 0; i < LAR_LEN(bad); i++) {
        assert_int_equal(quantize(&(how){.recipe = "Q8_0", .override = bad[i][0]}, &e), LAR_EARG);
        if (!strstr(e.msg, bad[i][1]))
            fail_msg("'%s', want '%s'", e.msg, bad[i][1]);
    }
}

static int n_files(void)
{
    DIR *d = opendir(folder);
    int n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static int stop(double done, const char *what, void *user)
{
    (void)what, (void)user;
    return done > 0.3;
}

static void test_refusals(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_quantize_result r;
    make_input(-1, 0);
    remove(matrix_path);
    assert_int_equal(quantize(&(how){.recipe = "Q4_0"}, &e), LAR_OK);
    const int files = n_files();
    /* The input under another name of it. */
    char other[300];
    snprintf(other, sizeof other, "%s/../test_quantize/in.gguf", folder);
    assert_int_equal(quantize_to(in_path, other, &(how){.recipe = "Q4_0"}, &r, &e), LAR_EARG);
    assert_non_null(strstr(e.msg, "the output is the input"));
    /* What is quantized already. */
    char second[300];
    snprintf(second, sizeof second, "%s/second.gguf", folder);
    assert_int_equal(quantize_to(out_path, second, &(how){.recipe = "Q8_0"}, &r, &e), LAR_EARG);
    assert_non_null(strstr(e.msg, "already"));
    assert_int_equal(
        quantize_to(out_path, second, &(how){.recipe = "Q8_0", .requantize = true}, &r, &e),
        LAR_OK);
    assert_true(r.n_changed > 0);
    remove(second);
    /* A cancelled run leaves the file of before, and nothing else. */
    size_t before = 0, after = 0;
    void *a = read_file(out_path, &before);
    assert_int_equal(quantize(&(how){.recipe = "Q8_0", .progress = stop}, &e), LAR_ECANCELLED);
    void *b = read_file(out_path, &after);
    assert_int_equal(before, after);
    assert_memory_equal(a, b, before);
    free(a), free(b);
    /* Numbers that no block can hold. */
    static const float bad[] = {NAN, INFINITY, 1e6f};
    for (size_t i = 0; i < LAR_LEN(bad); i++) {
        make_input(4, bad[i]);
        assert_int_equal(quantize(&(how){.recipe = "Q4_K_M"}, &e), LAR_EFORMAT);
        assert_non_null(strstr(e.msg, "blk.1.attn_v.weight: row 39, column 253"));
    }
    make_input(6, NAN); /* one that is only copied */
    assert_int_equal(quantize(&(how){.recipe = "Q4_K_M"}, &e), LAR_EFORMAT);
    assert_non_null(strstr(e.msg, "ffn_gate_inp"));
    assert_int_equal(n_files(), files);
    assert_int_equal(quantize_to("build/no such file", out_path, &(how){.recipe = "Q4_0"}, &r, &e),
                     LAR_ENOTFOUND);
}

/* A write that fails half-way, as on a full disk: by a limit on the size of files. */
static void test_full_disk(void **state)
{
    (void)state;
#if defined(_WIN32)
    skip();
#else
    lar_err e = {0};
    struct rlimit was, small;
    make_input(-1, 0);
    assert_int_equal(quantize(&(how){.recipe = "Q4_0"}, &e), LAR_OK);
    size_t before = 0, after = 0;
    void *a = read_file(out_path, &before);
    const int files = n_files();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const lar_status s = quantize(&(how){.recipe = "F16"}, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(s, LAR_EIO);
    assert_non_null(strstr(e.msg, "out.gguf"));
    void *b = read_file(out_path, &after);
    assert_int_equal(before, after);
    assert_memory_equal(a, b, before);
    assert_int_equal(n_files(), files);
    free(a), free(b);
#endif
}

/* ---- importance from a model -------------------------------------------------------------------
 */

static void run_imatrix(const char *model, const char *text, int threads, const char *window)
{
    lar_runtime_options o = {.size = sizeof o, .threads = threads};
    lar_runtime *rt;
    lar_model *m;
    lar_session *s;
    lar_request *r;
    lar_err e = {0};
    assert_int_equal(lar_runtime_new(&o, &rt, &e), LAR_OK);
    assert_int_equal(lar_model_open(rt, model, NULL, &m, &e), LAR_OK);
    assert_int_equal(lar_session_new(m, NULL, &s, &e), LAR_OK);
    assert_int_equal(lar_request_new(rt, "imatrix", &r, &e), LAR_OK);
    assert_int_equal(lar_request_set_session(r, s, &e), LAR_OK);
    assert_int_equal(lar_request_set_string(r, "text", text, &e), LAR_OK);
    assert_int_equal(lar_request_set_string(r, "output", matrix_path, &e), LAR_OK);
    assert_int_equal(lar_request_set_string(r, "window", window, &e), LAR_OK);
    if (lar_request_run(r, NULL, NULL, &e) != LAR_OK)
        fail_msg("imatrix: %s", e.msg);
    lar_request_free(r);
    lar_session_free(s);
    lar_model_free(m);
    lar_runtime_free(rt);
}

static const char some_text[] = "the quick brown fox jumps over the lazy dog and goes on to sleep";

/* The input of the first layer's projections can be told from the embeddings: their RMS norm. */
static void test_imatrix(void **state)
{
    (void)state;
    static const char path[] = "tests/data/tiny.gguf";
    enum { WINDOW = 8 };
    lar_err e = {0};
    lar_gguf *g;
    lar_vocab_file v;
    lar_importance_file *f;
    lar_importance im;
    lar_ids ids = {0};
    size_t n1 = 0, n3 = 0;
    mkdir("build", 0777);
    mkdir(folder, 0777);
    run_imatrix(path, some_text, 3, "8");
    void *three = read_file(matrix_path, &n3);
    run_imatrix(path, some_text, 1, "8");
    void *one = read_file(matrix_path, &n1);
    assert_int_equal(n1, n3);
    assert_memory_equal(one, three, n1);
    free(one), free(three);

    assert_int_equal(lar_gguf_open(path, &g, &e), LAR_OK);
    assert_int_equal(lar_vocab_open(g, &v, &e), LAR_OK);
    assert_int_equal(
        lar_tokenizer_encode(v.tok, some_text, strlen(some_text), LAR_TOK_BOS, &ids, &e), LAR_OK);
    const int32_t bos = lar_tokenizer_bos(v.tok);
    const lar_gguf_tensor *table = lar_gguf_find_tensor(g, "token_embd.weight");
    const lar_gguf_tensor *norm = lar_gguf_find_tensor(g, "blk.0.attn_norm.weight");
    double want[E] = {0};
    const size_t n = ids.n / WINDOW * WINDOW;
    assert_true(n >= 2 * WINDOW);
    for (size_t i = 0; i < n; i++) {
        const int32_t id = i % WINDOW == 0 && ids.p[0] == bos ? bos : ids.p[i];
        float x[E], w[E];
        double mean = 0;
        lar_kernels__generic.formats[lar_dtype_index(table->type)]->to_f32(
            table->data + (size_t)id * lar_row_bytes(table->type, E), x, E);
        memcpy(w, norm->data, sizeof w);
        for (int k = 0; k < E; k++)
            mean += (double)x[k] * (double)x[k] / E;
        for (int k = 0; k < E; k++)
            want[k] += (double)x[k] * (double)x[k] / (mean + 1e-5) * (double)w[k] * (double)w[k];
    }
    assert_int_equal(lar_importance_open(matrix_path, &f, &e), LAR_OK);
    assert_int_equal(lar_importance_find(f, "blk.0.attn_v.weight",
                                         lar_gguf_find_tensor(g, "blk.0.attn_v.weight"), &im, &e),
                     LAR_OK);
    assert_non_null(im.p);
    for (int k = 0; k < E; k++)
        assert_true(fabs((double)im.p[k] * (double)n - want[k]) <= 1e-4 * want[k] + 1e-9);
    lar_importance_end(&im);
    lar_importance_close(f);
    lar_ids_free(&ids);
    lar_vocab_free(&v);
    lar_gguf_close(g);
}

/* Of experts, each sees those tokens that were routed to it: together n_used for each token. */
static void test_imatrix_experts(void **state)
{
    (void)state;
    static const char model[] = "build/test_quantize/mixtral.gguf";
    lar_convert_result r;
    lar_gguf *g;
    lar_err e = {0};
    uint32_t used = 0, experts = 0;
    mkdir("build", 0777);
    mkdir(folder, 0777);
    if (lar_convert_hf("tests/data/hf/mixtral", model, &(lar_convert_options){0}, &r, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    run_imatrix(model, some_text, 2, "8");
    assert_int_equal(lar_gguf_open(model, &g, &e), LAR_OK);
    assert_int_equal(lar_gguf_get_u32(g, "llama.expert_used_count", &used, &e), LAR_OK);
    assert_int_equal(lar_gguf_get_u32(g, "llama.expert_count", &experts, &e), LAR_OK);
    lar_gguf_close(g);
    assert_int_equal(lar_gguf_open(matrix_path, &g, &e), LAR_OK);
    float tokens, sum[3] = {0};
    memcpy(&tokens, lar_gguf_find_tensor(g, "blk.1.attn_q.weight.counts")->data, sizeof tokens);
    static const char *const names[] = {"gate", "up", "down"};
    for (int i = 0; i < 3; i++) {
        char name[80];
        snprintf(name, sizeof name, "blk.1.ffn_%s_exps.weight.counts", names[i]);
        const lar_gguf_tensor *t = lar_gguf_find_tensor(g, name);
        assert_non_null(t);
        assert_int_equal(t->dim[1], experts);
        for (uint32_t k = 0; k < experts; k++) {
            float c;
            memcpy(&c, t->data + k * sizeof c, sizeof c);
            sum[i] += c;
        }
        assert_true(tokens >= 8 && sum[i] == tokens * (float)used);
    }
    lar_gguf_close(g);
    remove(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipes),         cmocka_unit_test(test_file),
        cmocka_unit_test(test_same_bytes),      cmocka_unit_test(test_importance),
        cmocka_unit_test(test_overrides),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_full_disk),       cmocka_unit_test(test_imatrix),
        cmocka_unit_test(test_imatrix_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
