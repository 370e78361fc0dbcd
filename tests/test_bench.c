/*
 * test_bench.c - the task bench through lar.h: which combinations are measured, what a step costs
 * by hand, wrong values, stopping; and the machine's bounds. No time is judged.
 */
#include "generate_test.h"
#include "models/net.h"
#include "quant/format.h"
#include "tasks/machine.h"

static lar_runtime *rt;
static lar_model *model;

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v))
        fail_msg("%s is no number", key);
    return json_number_value(v);
}

static said bench(const char *fields)
{
    said s = {0};
    lar_request *r;
    assert_int_equal(lar_request_new(rt, "bench", &r, &s.e), LAR_OK);
    assert_int_equal(lar_request_set_model(r, model, &s.e), LAR_OK);
    s.request = r;
    s.st = lar_request_set_json(r, NULL, fields, &s.e);
    if (s.st == LAR_OK)
        s.st = lar_request_run(r, said_event, &s, &s.e);
    lar_request_free(r);
    return s;
}

/* tests/data/tiny.gguf: two layers, Q and O 256 x 256, K and V 128 x 256, three of 512 x 256 in the
 * FFN, all Q4_1 (20 bytes per 32); a tied head of 320 x 256 in Q8_0 (34 per 32); F32 norms of 256.
 */
enum {
    QKV = 2 * 128 * 256 + 256 * 256,
    REST = 256 * 256 + 3 * 512 * 256,
    HEAD = 320 * 256,
    ROW = 256 / 32 * 34,
    WEIGHTS = 2 * (QKV + REST) / 32 * 20 + HEAD / 32 * 34 + 5 * 256 * 4,
    CELL = 2 * 2 * 128 * 2 /* two layers, K and V, 128 wide, F16 */
};

static void test_costs(void **state)
{
    (void)state;
    lar_net_cost c;
    const lar_net *n = model->net;
    lar_net_cost_of(n, 1, 1, &c);
    assert_int_equal(n->weight_bytes, WEIGHTS);
    assert_int_equal(c.weight_bytes, WEIGHTS + ROW);
    assert_int_equal(c.integer_macs, 2 * (QKV + REST) + HEAD);
    assert_int_equal(c.float_macs, 0);
    lar_net_cost_of(n, 10, 3, &c); /* in the last layer three go on behind attention */
    assert_int_equal(c.weight_bytes, WEIGHTS + 10 * ROW);
    assert_int_equal(c.integer_macs, 10 * (2 * QKV + REST) + 3 * (REST + HEAD));
    assert_int_equal(lar_net_kv_touched(n, LAR_DTYPE(f16), 0, 1), CELL);
    assert_int_equal(lar_net_kv_touched(n, LAR_DTYPE(f16), 7, 3), 10 * CELL);
    assert_int_equal(lar_net_kv_touched(n, LAR_DTYPE(q8_0), 7, 3), 10 * CELL / 2 / 32 * 34);
}

/* A window of 5: a token sees four others. */
static void test_window(void **state)
{
    (void)state;
    lar_net n = *model->net;
    lar_decoder_layer layers[2];
    memcpy(layers, n.dec.layer, sizeof layers);
    n.dec.layer = layers;
    layers[1].window = 5;
    assert_int_equal(lar_net_kv_touched(&n, LAR_DTYPE(f16), 100, 1), (101 + 5) * CELL / 2);
    assert_int_equal(lar_net_kv_touched(&n, LAR_DTYPE(f16), 100, 8), (108 + 12) * CELL / 2);
    assert_int_equal(lar_net_kv_touched(&n, LAR_DTYPE(f16), 2, 1), 3 * CELL);
}

/* A float format's products are counted apart. */
static void test_floats(void **state)
{
    (void)state;
    lar_net n = *model->net;
    lar_net_cost c;
    lar_tensor head = *n.dec.output.w;
    head.type = LAR_DTYPE(f16);
    n.dec.output.w = &head;
    lar_net_cost_of(&n, 4, 1, &c);
    assert_int_equal(c.float_macs, HEAD);
    assert_int_equal(c.integer_macs, 4 * (2 * QKV + REST) + REST);
    assert_int_equal(c.weight_bytes, WEIGHTS - HEAD / 32 * 34 + HEAD * 2 + 4 * ROW);
}

static void test_rows(void **state)
{
    (void)state;
    said a = bench("{\"prompts\":\"4,8\",\"generate\":\"3\",\"depths\":\"0,5\",\"batch\":\"4,6\","
                   "\"parallel\":\"1,2\",\"threads\":\"1,2\",\"repetitions\":2,\"seconds\":0}");
    static const struct {
        int tokens, batch, parallel;
        bool gen;
    } want[] = {
        {4, 4, 1, false}, {8, 4, 1, false}, {8, 6, 1, false}, {3, 1, 1, true}, {3, 2, 2, true}};
    const json_t *rows = json_object_get(a.result, "rows");
    if (a.st != LAR_OK)
        fail_msg("%s", a.e.msg);
    assert_int_equal(json_array_size(rows), 4 * LAR_LEN(want));
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *r = json_array_get(rows, i);
        const size_t k = i % LAR_LEN(want);
        const int depth = i / LAR_LEN(want) % 2 ? 5 : 0, n = want[k].tokens, each = want[k].batch;
        uint64_t bytes = 0, macs = 0;
        assert_int_equal(number(r, "tokens"), n);
        assert_int_equal(number(r, "batch"), each);
        assert_int_equal(number(r, "parallel"), want[k].parallel);
        assert_int_equal(number(r, "depth"), depth);
        assert_int_equal(number(r, "threads"), i < 2 * LAR_LEN(want) ? 1 : 2);
        assert_int_equal(number(r, "repetitions"), 2);
        assert_string_equal(json_string_value(json_object_get(r, "kv")), "f16");
        assert_string_equal(json_string_value(json_object_get(r, "test")),
                            want[k].gen ? "generate" : "prompt");
        for (int at = 0; at < n; at += want[k].gen ? 1 : each) {
            const int now = want[k].gen ? 1 : LAR_MIN(each, n - at), p = want[k].parallel;
            lar_net_cost c;
            lar_net_cost_of(model->net, now * p, p, &c);
            bytes += c.weight_bytes + (uint64_t)(p * CELL * (depth + at + now));
            macs += c.integer_macs;
        }
        assert_true(number(r, "bytes") == (double)bytes && number(r, "macs") == (double)macs);
        const double rate = number(r, "per_second"), share = number(r, "gmac_share");
        const double time = n * want[k].parallel / rate;
        assert_true(number(r, "per_second_min") > 0 && number(r, "per_second_min") <= rate &&
                    rate <= number(r, "per_second_max"));
        assert_true(number(r, "gb_share") > 0 && share > 0);
        assert_true(__builtin_fabs(number(r, "gb_per_second") * time * 1e9 / (double)bytes - 1) <
                    1e-9);
        assert_true(__builtin_fabs(number(r, "gmac_per_second") * time * 1e9 / (double)macs - 1) <
                    1e-9);
    }
    assert_int_equal(json_array_size(json_object_get(a.result, "machine")), 2);
    assert_true(number(a.result, "peak_rss") > 0);
    said_free(&a);
}

/* Every row is also delivered by itself, as a line, when it is measured. */
static void test_lines(void **state)
{
    (void)state;
    said a = bench("{\"prompts\":\"2,3\",\"generate\":\"\",\"seconds\":0,\"limits\":false}");
    const json_t *rows = json_object_get(a.result, "rows");
    const char *at = a.text.p;
    assert_int_equal(a.st, LAR_OK);
    assert_int_equal(json_array_size(rows), 2);
    assert_int_equal(json_array_size(json_object_get(a.result, "machine")), 0);
    for (size_t i = 0; i < 2; i++) {
        const size_t n = strcspn(at, "\n");
        json_t *line = json_loadb(at, n, 0, NULL);
        assert_true(at[n] == '\n' && json_equal(line, json_array_get(rows, i)));
        assert_null(json_object_get(line, "gb_share"));
        json_decref(line);
        at += n + 1;
    }
    assert_true(*at == 0);
    said_free(&a);
    a = bench("{\"prompts\":\"\",\"generate\":\"\"}");
    assert_int_equal(a.st, LAR_OK);
    assert_int_equal(json_array_size(json_object_get(a.result, "rows")), 0);
    said_free(&a);
    /* 0 is none, as elsewhere. */
    a = bench("{\"prompts\":\"0\",\"generate\":\"2,0\",\"seconds\":0,\"limits\":false}");
    assert_int_equal(a.st, LAR_OK);
    assert_int_equal(json_array_size(json_object_get(a.result, "rows")), 1);
    said_free(&a);
}

static void test_stop(void **state)
{
    (void)state;
    for (int at = 1; at < 6; at++) {
        lar_request *r;
        said s = {.cancel_at = at};
        assert_int_equal(lar_request_new(rt, "bench", &r, &s.e), LAR_OK);
        assert_int_equal(lar_request_set_model(r, model, &s.e), LAR_OK);
        assert_int_equal(
            lar_request_set_json(r, NULL,
                                 "{\"prompts\":\"2,3,4\",\"generate\":\"2\",\"seconds\":0}", &s.e),
            LAR_OK);
        s.request = r;
        assert_int_equal(lar_request_run(r, said_event, &s, &s.e), LAR_ECANCELLED);
        assert_int_equal(s.events, at);
        assert_null(s.result);
        lar_request_free(r);
        said_free(&s);
    }
}

static void test_wrong_values(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *message;
    } cases[] = {
        {"{\"prompts\":\"a\"}", "prompts: 'a', want up to 32 numbers from 0 to 1048576"},
        {"{\"prompts\":\"-1\"}", "prompts: '-1'"},
        {"{\"prompts\":\"1,\"}", "prompts: '1,'"},
        {"{\"prompts\":\"1048577\"}", "from 0 to 1048576"},
        {"{\"generate\":\"1;2\"}", "generate: '1;2'"},
        {"{\"depths\":\"-1\"}", "depths: '-1'"},
        {"{\"depths\":\"\"}", "depths: want a number"},
        {"{\"threads\":\"1025\"}", "threads: '1025'"},
        {"{\"batch\":\"0\"}", "batch: '0'"},
        {"{\"parallel\":\"2000\"}", "parallel: '2000'"},
        {"{\"kv\":\"q9\"}", "kv: 'q9', want f32, f16, q8_0"},
        {"{\"kv\":\"f16,\"}", "kv: 'f16,'"},
        {"{\"kv\":\"\"}", "kv: ''"},
        {"{\"kv\":\"f16_and_more_than_a_name_can_be\"}", "kv: 'f16_and"},
        {"{\"generate\":\"1048576\",\"parallel\":\"1024\"}", "more than 2^28"},
        {"{\"repetitions\":0}", "repetitions"},
        {"{\"seconds\":-1}", "seconds"},
        {"{\"prompts\":\"1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1\"}",
         "up to 32"},
    };
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        said a = bench(cases[i].fields);
        if (a.st != LAR_EARG || a.e.code != LAR_EARG || !strstr(a.e.msg, cases[i].message))
            fail_msg("%s: %s \"%s\", want \"%s\"", cases[i].fields, lar_status_name(a.st), a.e.msg,
                     cases[i].message);
        assert_null(a.result);
        said_free(&a);
    }
}

/* Every variant that runs here counts what it multiplies, and reads what it is given. */
static void test_machine(void **state)
{
    (void)state;
    const lar_kernels *k = rt->variant->kernels;
    uint64_t sum = 0, one = k->peak(true, 1, &sum), floats = k->peak(false, 1, &sum);
    uint8_t *mem = lar_alloc_aligned(2 * 4096);
    uint32_t words = 0;
    assert_true(one > 0 && floats > 0 && sum != 0);
    assert_true(k->peak(true, 3, &sum) == 3 * one && k->peak(false, 3, &sum) == 3 * floats);
    assert_non_null(mem);
    for (size_t i = 0; i < 2 * 4096; i += 4) {
        const uint32_t v = (uint32_t)(i * 2654435761u);
        memcpy(mem + i, &v, 4);
        words += v;
    }
    for (int streams = 1; streams <= 8; streams *= 2)
        assert_int_equal(k->read(mem, 2 * 4096, streams), words);
    lar_free_aligned(mem);
    assert_true(lar_machine_read_speed(rt->pool, rt->variant) > 1e6);
    assert_true(lar_machine_peak(rt->pool, rt->variant, true) > 1e6);
    assert_true(lar_machine_peak(rt->pool, rt->variant, false) > 1e6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_costs),        cmocka_unit_test(test_window),
        cmocka_unit_test(test_floats),       cmocka_unit_test(test_rows),
        cmocka_unit_test(test_lines),        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_wrong_values), cmocka_unit_test(test_machine),
    };
    lar_err e = {0};
    const lar_runtime_options o = {.size = sizeof o, .threads = 1};
    if (lar_runtime_new(&o, &rt, &e) != LAR_OK)
        return 1;
    model = test_model_open(rt, "tests/data/tiny.gguf");
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    lar_model_free(model);
    lar_runtime_free(rt);
    return failed;
}
