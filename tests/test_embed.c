/*
 * test_embed.c - the task `embed`: of each architecture a small random sentence-transformers folder
 * (tools/goldens/encoders.py) is converted and gives transformers' vectors, with each pooling; each
 * option of its config.json that changes them does so as much as transformers says. The same bits
 * alone and in company, whatever the variant; and what is refused.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/base.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#if defined(_WIN32)
#include <direct.h>
#define mkdir(path, mode) _mkdir(path)
#endif

static const char dir[] = "tests/data/embed", out_path[] = "build/test_embed.gguf",
                  out_dir[] = "build/test_embed";

static lar_runtime *runtime(const char *cpu)
{
    const lar_runtime_options o = {.size = sizeof o, .threads = 2, .cpu = cpu};
    lar_runtime *rt;
    lar_err e = {0};
    if (lar_runtime_new(&o, &rt, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return rt;
}

static lar_status convert(const char *folder, lar_err *e)
{
    lar_runtime *rt = runtime(NULL);
    lar_request *r;
    mkdir("build", 0777);
    assert_int_equal(lar_request_new(rt, "convert", &r, e), LAR_OK);
    assert_int_equal(lar_request_set_string(r, "input", folder, e), LAR_OK);
    assert_int_equal(lar_request_set_string(r, "output", out_path, e), LAR_OK);
    const lar_status s = lar_request_run(r, NULL, NULL, e);
    lar_request_free(r);
    lar_runtime_free(rt);
    return s;
}

static int on_event(const lar_event *ev, void *user)
{
    if (lar_event_get_kind(ev) == LAR_EVENT_RESULT)
        *(json_t **)user = json_loads(lar_event_get_json(ev), 0, NULL);
    return 0;
}

/* Run a task with fields on a file; *result is the RESULT event. */
static lar_status ask(const char *file, const char *cpu, const char *task, const json_t *set,
                      json_t **result, lar_err *e)
{
    lar_runtime *rt = runtime(cpu);
    lar_model *m = NULL;
    lar_session *s = NULL;
    lar_request *r;
    const lar_session_options so = {.size = sizeof so, .kv_type = "f32"};
    char *text = json_dumps(set, 0);
    *result = NULL;
    if (lar_model_open(rt, file, NULL, &m, e) != LAR_OK || lar_session_new(m, &so, &s, e) != LAR_OK)
        fail_msg("%s", e->msg);
    assert_int_equal(lar_request_new(rt, task, &r, e), LAR_OK);
    assert_int_equal(lar_request_set_session(r, s, e), LAR_OK);
    lar_status st = lar_request_set_json(r, NULL, text, e);
    if (st == LAR_OK)
        st = lar_request_run(r, on_event, result, e);
    free(text);
    lar_request_free(r);
    lar_session_free(s);
    lar_model_free(m);
    lar_runtime_free(rt);
    return st;
}

/* A list of vectors, whether the result is of one text or several. */
static json_t *vectors_of(const json_t *result)
{
    json_t *one = json_object_get(result, "embedding");
    return one ? json_pack("[O]", one) : json_incref(json_object_get(result, "embeddings"));
}

static json_t *embed(const char *cpu, json_t *set)
{
    lar_err e = {0};
    json_t *r;
    if (ask(out_path, cpu, "embed", set, &r, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    json_decref(set);
    return r;
}

static double at(const json_t *v, size_t i, size_t k)
{
    return json_number_value(json_array_get(json_array_get(v, i), k));
}

/* The largest difference of two lists of vectors. */
static double distance(const json_t *a, const json_t *b)
{
    double d = 0;
    assert_int_equal(json_array_size(a), json_array_size(b));
    for (size_t i = 0; i < json_array_size(a); i++) {
        assert_int_equal(json_array_size(json_array_get(a, i)),
                         json_array_size(json_array_get(b, i)));
        for (size_t k = 0; k < json_array_size(json_array_get(a, i)); k++)
            d = fmax(d, fabs(at(a, i, k) - at(b, i, k)));
    }
    return d;
}

static double distance_of(const json_t *golden, const char *pooling)
{
    json_t *r = embed(NULL, json_pack("{s:O,s:s,s:s}", "input", json_object_get(golden, "texts"),
                                      "pooling", pooling, "normalize", "none"));
    json_t *v = vectors_of(r);
    const double d = distance(v, json_object_get(json_object_get(golden, "vectors"), pooling));
    json_decref(v);
    json_decref(r);
    return d / json_number_value(json_object_get(golden, "std"));
}

static json_t *golden_of(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s/golden.json", dir, name);
    json_t *g = json_load_file(path, 0, NULL);
    assert_non_null(g);
    return g;
}

static void copy_file(const char *from, const char *to)
{
    char buf[4096];
    size_t n;
    FILE *a = fopen(from, "rb"), *b = a ? fopen(to, "wb") : NULL;
    if (!a)
        return;
    assert_non_null(b);
    while ((n = fread(buf, 1, sizeof buf, a)) > 0)
        assert_int_equal(fwrite(buf, 1, n, b), n);
    fclose(a);
    fclose(b);
}

/* A folder of the same that a test may change. */
static void copy_folder(const char *name)
{
    static const char *const files[] = {"config.json",          "model.safetensors",
                                        "tokenizer.json",       "tokenizer_config.json",
                                        "modules.json",         "sentence_bert_config.json",
                                        "1_Pooling/config.json"};
    char from[256], to[256];
    mkdir("build", 0777);
    mkdir(out_dir, 0777);
    mkdir("build/test_embed/1_Pooling", 0777);
    for (size_t i = 0; i < LAR_LEN(files); i++) {
        snprintf(from, sizeof from, "%s/%s/%s", dir, name, files[i]);
        snprintf(to, sizeof to, "%s/%s", out_dir, files[i]);
        copy_file(from, to);
    }
}

/* Set a key of a JSON object in the copy; or replace a file's value (key NULL). */
static void change(const char *file, const char *key, json_t *v)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", out_dir, file);
    json_t *j = key ? json_load_file(path, 0, NULL) : json_incref(v);
    if (key)
        json_object_set(j, key, v);
    assert_int_equal(json_dump_file(j, path, 0), 0);
    json_decref(j);
    json_decref(v);
}

static void check_option(const json_t *golden, const char *name, const json_t *option)
{
    const double want = json_number_value(json_object_get(option, "distance"));
    const char *key;
    json_t *v;
    lar_err e = {0};
    copy_folder(name);
    json_object_foreach(json_object_get(option, "config"), key, v)
    {
        change("config.json", key, json_incref(v));
    }
    if (convert(out_dir, &e) != LAR_OK)
        fail_msg("%s: %s", name, e.msg);
    const double d = distance_of(golden, "mean");
    if (fabs(d - want) > 0.02 * want + 1e-3)
        fail_msg("%s, %s changed: distance %g, transformers' is %g", name,
                 json_string_value(json_object_get(option, "name")), d, want);
}

/* Unless asked otherwise the vectors are the folder's pooling, 1 long, and tokens are counted. */
static void check_defaults(const char *name, const json_t *golden)
{
    const json_t *all = json_object_get(golden, "vectors"), *ids = json_object_get(golden, "ids");
    const json_t *want =
        json_object_get(all, json_string_value(json_object_get(golden, "pooling")));
    json_t *r = embed(NULL, json_pack("{s:O}", "input", json_object_get(golden, "texts")));
    json_t *v = json_object_get(r, "embeddings");
    for (size_t i = 0; i < json_array_size(v); i++) {
        double squares = 0;
        const size_t n = json_array_size(json_array_get(want, i));
        for (size_t k = 0; k < n; k++)
            squares += at(want, i, k) * at(want, i, k);
        for (size_t k = 0; k < n; k++)
            if (fabs(at(v, i, k) - at(want, i, k) / sqrt(squares)) > 1e-5)
                fail_msg("%s: text %zu, number %zu: %g, want %g", name, i, k, at(v, i, k),
                         at(want, i, k) / sqrt(squares));
        assert_int_equal(json_integer_value(json_array_get(json_object_get(r, "tokens"), i)),
                         json_array_size(json_array_get(ids, i)));
    }
    json_decref(r);
}

/* The same bits alone as in company, on plain C as on the best variant. */
static void check_company(const json_t *golden)
{
    const json_t *texts = json_object_get(golden, "texts");
    json_t *all = embed(NULL, json_pack("{s:O}", "input", texts));
    json_t *plain = embed("generic", json_pack("{s:O}", "input", texts));
    assert_true(json_equal(all, plain));
    for (size_t i = 0; i < json_array_size(texts); i++) {
        json_t *one = embed(NULL, json_pack("{s:O}", "input", json_array_get(texts, i)));
        assert_true(json_equal(json_object_get(one, "embedding"),
                               json_array_get(json_object_get(all, "embeddings"), i)));
        json_decref(one);
    }
    json_decref(all);
    json_decref(plain);
}

static void test_model(void **state)
{
    static const char *const poolings[] = {"mean", "cls", "last"};
    const char *name = *state;
    char folder[256];
    lar_err e = {0};
    json_t *golden = golden_of(name), *option;
    size_t i;
    snprintf(folder, sizeof folder, "%s/%s", dir, name);
    if (convert(folder, &e) != LAR_OK)
        fail_msg("%s: %s", name, e.msg);
    for (i = 0; i < LAR_LEN(poolings); i++) {
        const double d = distance_of(golden, poolings[i]);
        if (!(d <= 1e-4))
            fail_msg("%s, %s: vectors differ by %g standard deviations", name, poolings[i], d);
    }
    check_defaults(name, golden);
    check_company(golden);
    json_array_foreach(json_object_get(golden, "options"), i, option)
    {
        check_option(golden, name, option);
    }
    json_decref(golden);
}

static void refuse(json_t *set, lar_status want, const char *words)
{
    lar_err e = {0};
    json_t *r;
    assert_int_equal(ask(out_path, NULL, "embed", set, &r, &e), want);
    if (!strstr(e.msg, words))
        fail_msg("'%s' does not say '%s'", e.msg, words);
    json_decref(set);
}

static void test_fields(void **state)
{
    (void)state;
    lar_err e = {0};
    char text[1201];
    for (int i = 0; i < 1200; i++)
        text[i] = i % 2 ? ' ' : 'a';
    text[1200] = 0;
    assert_int_equal(convert("tests/data/embed/bert", &e), LAR_OK);
    refuse(json_object(), LAR_EARG, "input is missing");
    refuse(json_pack("{s:s,s:i}", "input", "a", "dimensions", 33), LAR_EARG, "the model has 32");
    refuse(json_pack("{s:s,s:i}", "input", "a", "max_tokens", 1000), LAR_EARG, "texts of 128");
    refuse(json_pack("{s:[s,s]}", "input", "a", text), LAR_EFULL, "input 1 has 602 tokens");
    refuse(json_pack("{s:s,s:i,s:b}", "input", text, "max_tokens", 1, "truncate", 1), LAR_EARG,
           "want more than the 1");
    /* Cut as sentence-transformers cuts: the end stays. */
    json_t *cut = embed(NULL, json_pack("{s:s,s:b}", "input", text, "truncate", 1));
    text[2 * 98] = 0;
    json_t *same = embed(NULL, json_pack("{s:s}", "input", text));
    assert_true(json_equal(cut, same));
    assert_int_equal(json_integer_value(json_object_get(same, "tokens")), 100);
    /* The first numbers, of length 1 again. */
    json_t *few = embed(NULL, json_pack("{s:s,s:i}", "input", text, "dimensions", 2));
    json_t *v = vectors_of(few);
    assert_int_equal(json_array_size(json_array_get(v, 0)), 2);
    assert_true(fabs(hypot(at(v, 0, 0), at(v, 0, 1)) - 1) < 1e-6);
    json_decref(v);
    json_decref(few);
    json_decref(cut);
    json_decref(same);
}

/* An encoder says nothing. */
static void test_no_text(void **state)
{
    (void)state;
    static const char *const tasks[] = {"generate", "logits", "bench", "perplexity"};
    lar_err e = {0};
    json_t *none = json_object(), *r;
    assert_int_equal(convert("tests/data/embed/bert", &e), LAR_OK);
    for (size_t i = 0; i < LAR_LEN(tasks); i++) {
        assert_int_equal(ask(out_path, NULL, tasks[i], none, &r, &e), LAR_EUNSUPPORTED);
        if (!strstr(e.msg, "embed"))
            fail_msg("%s: %s", tasks[i], e.msg);
    }
    json_decref(none);
}

static void refuse_folder(const char *words)
{
    lar_err e = {0};
    assert_int_not_equal(convert(out_dir, &e), LAR_OK);
    if (!strstr(e.msg, words))
        fail_msg("'%s' does not say '%s'", e.msg, words);
}

static void test_bad_folders(void **state)
{
    (void)state;
    copy_folder("bert");
    change("modules.json", NULL, json_pack("[{s:s,s:s}]", "type", "a.b.Dense", "path", "2_Dense"));
    refuse_folder("'Dense'");
    change("modules.json", NULL, json_pack("[{s:s,s:s}]", "type", "a.Pooling", "path", "../x"));
    refuse_folder("../x");
    change("modules.json", NULL, json_object());
    refuse_folder("modules.json");
    copy_folder("bert");
    change("1_Pooling/config.json", "pooling_mode_max_tokens", json_true());
    refuse_folder("together with");
    change("1_Pooling/config.json", "pooling_mode_mean_tokens", json_false());
    refuse_folder("max");
    copy_folder("bert");
    change("config.json", "hidden_act", json_string("relu"));
    refuse_folder("hidden_act");
    copy_folder("bert");
    change("config.json", "position_embedding_type", json_string("relative_key"));
    refuse_folder("position_embedding_type");
}

int main(void)
{
    enum { FIXED = 3, MOST = 16 };
    struct CMUnitTest tests[MOST] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_no_text),
        cmocka_unit_test(test_bad_folders),
    };
    static const char *const names[] = {"bert", "nomic_bert", "modernbert", "qwen3"};
    size_t n = FIXED;
    for (size_t i = 0; i < LAR_LEN(names); i++)
        tests[n++] = (struct CMUnitTest){.name = names[i],
                                         .test_func = test_model,
                                         .initial_state = (void *)(uintptr_t)names[i]};
    return _cmocka_run_group_tests("embed", tests, n, NULL, NULL);
}
