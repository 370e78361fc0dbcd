/*
 * test_perplexity.c - the task `perplexity` on tests/data/tiny.gguf. Oracles: log-softmax by libm
 * over the logits of each whole window in engines of the test's own, the definition of the
 * divergence, a model as its own reference; a small check that the SVG is well-formed XML.
 */
#include "engine_test.h"
#include "generate_test.h"
#include <math.h>
#include <unistd.h>

static const char tiny[] = "tests/data/tiny.gguf", mix[] = "tests/data/tiny_mix.gguf";
static lar_runtime *rt;
static lar_model *model;

static const char text[] =
    "In the beginning there was a small house by the river. An old man lived there with his dog. "
    "Every morning they walked to the bridge, looked at the water, and walked home again. One day "
    "the dog stopped, and would not go on: a boat had come loose and lay across the stream.";

static int set_up(void **state)
{
    (void)state;
    rt = test_runtime(2);
    model = test_model_open(rt, tiny);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lar_model_free(model);
    lar_runtime_free(rt);
    return 0;
}

/* ---- by hand ------------------------------------------------------------------------------------
 */

typedef struct hand {
    double nll, nll2, ref_nll, kl, kl_max;
    int n, same;
} hand;

static double log_sum(const float *x, size_t n, size_t *top)
{
    double sum = 0;
    *top = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[*top])
            *top = i;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[*top]);
    return (double)x[*top] + log(sum);
}

static void score(hand *h, const float *x, const float *ref, size_t n, int32_t want)
{
    size_t top, ref_top;
    const double z = log_sum(x, n, &top), nll = z - (double)x[want];
    h->nll += nll;
    h->nll2 += nll * nll;
    h->n++;
    if (!ref)
        return;
    const double rz = log_sum(ref, n, &ref_top);
    double kl = 0;
    for (size_t i = 0; i < n; i++) {
        const double lp = (double)ref[i] - rz, lq = (double)x[i] - z;
        kl += exp(lp) * (lp - lq);
    }
    h->kl += kl;
    h->kl_max = fmax(h->kl_max, kl);
    h->ref_nll += rz - (double)ref[want];
    h->same += top == ref_top;
}

static void window_logits(rig *r, const int32_t *ids, int n, float *out)
{
    lar_seq *q = rig_seq(r);
    rig_eval(r, q, ids, n, 16, out);
    lar_seq_free(q);
}

static lar_ids ids_of(const char *s)
{
    lar_ids ids = {0};
    lar_err e = {0};
    if (lar_tokenizer_encode(model->vocab.tok, s, strlen(s), LAR_TOK_BOS, &ids, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return ids;
}

/* As the manual has it: windows apart with their second halves scored and BOS in front of each, or
 * windows `stride` apart with their last `stride` tokens scored (all of the first). */
static hand by_hand(int window, int stride, const char *reference)
{
    const rig_options o = {.threads = 1, .ctx = 512, .batch = 16, .seqs = 1};
    rig r, ref = {0};
    hand h = {0};
    lar_ids ids = ids_of(text);
    const size_t n_vocab = model->net->hp.n_vocab;
    const int32_t bos = lar_tokenizer_bos(model->vocab.tok);
    rig_open(&r, tiny, &o);
    if (reference)
        rig_open(&ref, reference, &o);
    float *x = calloc((size_t)window * n_vocab, sizeof *x),
          *y = calloc((size_t)window * n_vocab, sizeof *y);
    int32_t *w = calloc((size_t)window, sizeof *w);
    const bool front = ids.p[0] == bos && bos >= 0;
    for (int at = 0; at + window <= (int)ids.n; at += stride ? stride : window) {
        memcpy(w, ids.p + at, (size_t)window * sizeof *w);
        if (front && !stride)
            w[0] = bos;
        window_logits(&r, w, window, x);
        if (reference)
            window_logits(&ref, w, window, y);
        /* Position i predicts token i + 1. */
        const int first = !stride ? window / 2 : at ? window - 1 - stride : 0;
        for (int i = first; i + 1 < window; i++)
            score(&h, x + (size_t)i * n_vocab, reference ? y + (size_t)i * n_vocab : NULL, n_vocab,
                  w[i + 1]);
    }
    free(x);
    free(y);
    free(w);
    lar_ids_free(&ids);
    rig_close(&r);
    if (reference)
        rig_close(&ref);
    return h;
}

/* ---- the task
 * ------------------------------------------------------------------------------------ */

static double real(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v))
        fail_msg("\"%s\" is missing", key);
    return json_number_value(v);
}

static said measure(int batch, const char *more)
{
    char fields[1500];
    lar_session *s = test_session(model, 256, batch, "f32");
    snprintf(fields, sizeof fields, "{\"text\":\"%s\"%s}", text, more);
    said a = ask(s, "perplexity", fields);
    lar_session_free(s);
    return a;
}

static void close_to(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * (1 + fabs(b))))
        fail_msg("%.15g, want %.15g", a, b);
}

static void check(const said *a, const hand *h)
{
    const double mean = h->nll / h->n, var = (h->nll2 - h->n * mean * mean) / (h->n - 1);
    const double se = sqrt(var / h->n);
    const json_t *ci = json_object_get(a->result, "ci95");
    assert_int_equal((int)real(a->result, "tokens"), h->n);
    close_to(real(a->result, "perplexity"), exp(mean));
    close_to(real(a->result, "stderr"), exp(mean) * se);
    close_to(json_number_value(json_array_get(ci, 0)), exp(mean - 1.96 * se));
    close_to(json_number_value(json_array_get(ci, 1)), exp(mean + 1.96 * se));
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        int window, stride, batch;
    } cases[] = {{32, 0, 0}, {32, 0, 5}, {33, 0, 0},  {4, 0, 0},
                 {32, 8, 0}, {32, 1, 3}, {32, 31, 0}, {100, 30, 64}};
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        char more[100];
        snprintf(more, sizeof more, ",\"window\":%d,\"stride\":%d", cases[i].window,
                 cases[i].stride);
        said a = measure(cases[i].batch, more);
        const hand h = by_hand(cases[i].window, cases[i].stride, NULL);
        assert_true(h.n > 20);
        check(&a, &h);
        assert_null(json_object_get(a.result, "kl"));
        said_free(&a);
    }
}

static void test_chunks_and_file(void **state)
{
    (void)state;
    char *path = temp_path("text"), more[700];
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, sizeof text - 1, f), sizeof text - 1);
    fclose(f);
    lar_session *s = test_session(model, 256, 0, "f32");
    snprintf(more, sizeof more, "{\"file\":\"%s\",\"window\":32}", path);
    said a = ask(s, "perplexity", more), b = measure(0, ",\"window\":32"),
         c = measure(0, ",\"window\":32,\"chunks\":2");
    assert_true(json_equal(a.result, b.result));
    assert_int_equal((int)real(c.result, "windows"), 2);
    assert_int_equal((int)real(c.result, "tokens"), 2 * 15);
    said_free(&a);
    said_free(&b);
    said_free(&c);
    lar_session_free(s);
    unlink(path);
    free(path);
}

/* ---- divergence
 * ---------------------------------------------------------------------------------- */

static void test_divergence(void **state)
{
    (void)state;
    static const char *const order[] = {"p01", "p05", "p10",   "median", "p90",
                                        "p95", "p99", "p99_9", "max"};
    for (int stride = 0; stride < 20; stride += 12) {
        char more[200];
        snprintf(more, sizeof more, ",\"window\":32,\"stride\":%d,\"reference\":\"%s\"", stride,
                 mix);
        said a = measure(7, more);
        const hand h = by_hand(32, stride, mix);
        const json_t *kl = json_object_get(a.result, "kl");
        check(&a, &h);
        close_to(real(kl, "mean"), h.kl / h.n);
        close_to(real(kl, "max"), h.kl_max);
        close_to(real(kl, "same_top"), (double)h.same / h.n);
        close_to(real(kl, "reference_perplexity"), exp(h.ref_nll / h.n));
        assert_true(real(kl, "mean") > 0.01 && real(kl, "same_top") < 1);
        for (size_t i = 1; i < LAR_LEN(order); i++)
            assert_true(real(kl, order[i - 1]) <= real(kl, order[i]));
        said_free(&a);
    }
}

static void test_own_reference(void **state)
{
    (void)state;
    char more[200];
    snprintf(more, sizeof more, ",\"window\":32,\"reference\":\"%s\"", tiny);
    said a = measure(0, more);
    const json_t *kl = json_object_get(a.result, "kl");
    assert_true(real(kl, "mean") == 0 && real(kl, "max") == 0 && real(kl, "stderr") == 0);
    assert_true(real(kl, "same_top") == 1);
    assert_true(real(kl, "reference_perplexity") == real(a.result, "perplexity"));
    said_free(&a);
}

/* ---- the plot
 * ------------------------------------------------------------------------------------- */

/* Tags that close in order, attributes in quotes, entities that are known: what an XML reader asks
 * for, without DTDs. */
static bool well_formed(const char *p)
{
    char stack[32][32];
    int depth = 0, roots = 0;
    while (*p) {
        if (*p == '&') {
            if (strncmp(p, "&amp;", 5) && strncmp(p, "&lt;", 4) && strncmp(p, "&gt;", 4) &&
                strncmp(p, "&quot;", 6) && strncmp(p, "&#", 2))
                return false;
            p++;
            continue;
        }
        if (*p != '<') {
            if (!depth && !strchr(" \t\r\n", *p))
                return false;
            p++;
            continue;
        }
        if (strncmp(p, "<?", 2) == 0) {
            if (!(p = strstr(p, "?>")))
                return false;
            p += 2;
            continue;
        }
        const bool end = p[1] == '/';
        p += 1 + end;
        const size_t n = strcspn(p, " \t\r\n/>");
        if (!n || n > 31 ||
            (end && (!depth || strncmp(stack[depth - 1], p, n) || stack[depth - 1][n])))
            return false;
        char name[32] = "";
        memcpy(name, p, n);
        for (p += n; *p && *p != '>' && *p != '/';) {
            p += strspn(p, " \t\r\n");
            if (*p == '>' || *p == '/')
                break;
            p += strcspn(p, "=<>\"");
            if (p[0] != '=' || p[1] != '"' || !(p = strchr(p + 2, '"')))
                return false;
            p++;
        }
        const bool empty = *p == '/';
        p += empty;
        if (*p++ != '>')
            return false;
        if (end)
            depth--;
        else if (!empty) {
            roots += !depth;
            if (depth == 32)
                return false;
            memcpy(stack[depth++], name, sizeof name);
        }
    }
    return !depth && roots == 1;
}

static void test_plot(void **state)
{
    (void)state;
    assert_true(well_formed("<a b=\"1\"><c/>x &amp; y</a>\n"));
    assert_false(well_formed("<a><b></a></b>") || well_formed("<a b=1></a>") || well_formed("<a>"));
    for (int kl = 0; kl < 2; kl++) {
        char *path = temp_path("plot"), more[700];
        size_t n = 0;
        snprintf(more, sizeof more, ",\"window\":32,\"plot\":\"%s\"%s", path,
                 kl ? ",\"reference\":\"tests/data/tiny_mix.gguf\"" : "");
        said a = measure(0, more);
        char *svg = read_file(path, &n);
        assert_non_null(svg);
        svg[n] = 0;
        assert_int_equal(strlen(svg), n);
        assert_true(well_formed(svg));
        assert_non_null(strstr(svg, "<svg"));
        assert_non_null(strstr(svg, kl ? "KL divergence" : "Perplexity so far"));
        assert_null(strstr(svg, "nan"));
        assert_null(strstr(svg, "inf"));
        free(svg);
        said_free(&a);
        unlink(path);
        free(path);
    }
}

/* ---- faults
 * ----------------------------------------------------------------------------------------- */

static void test_faults(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        lar_status code;
        const char *message;
    } cases[] = {
        {"{\"window\":8}", LAR_EARG, "want a text or a file, found none"},
        {"{\"text\":\"a\",\"file\":\"b\",\"window\":8}", LAR_EARG, "found both"},
        {"{\"file\":\"no/such\",\"window\":8}", LAR_ENOTFOUND, "no/such"},
        {"{\"text\":\"short\",\"window\":32}", LAR_EARG, "want at least a window of 32"},
        {"{\"text\":\"short\",\"window\":512}", LAR_EARG, "512 tokens, want 4 to 64"},
        {"{\"text\":\"short\",\"window\":8,\"stride\":8}", LAR_EARG,
         "want less than the window's 8"},
        {"{\"text\":\"short\",\"window\":3}", LAR_EARG, "window"},
        {"{\"text\":\"short\",\"window\":8,\"stride\":-1}", LAR_EARG, "stride"},
        {"{\"text\":\"a long enough text\",\"window\":8,\"reference\":\"no/such\"}", LAR_ENOTFOUND,
         "no/such"},
        {"{\"text\":\"a long enough text\",\"window\":8,\"reference\":\"tests/data/tiny.json\"}",
         LAR_EFORMAT, ""},
        {"{\"text\":\"a long enough text\",\"window\":8,\"reference\":"
         "\"tests/data/models/qwen3_tied.gguf\"}",
         LAR_EARG, "in its vocabulary, the model has 320"},
        {"{\"text\":\"a long enough text\",\"window\":8,\"plot\":\"no/such/folder/x\"}",
         LAR_ENOTFOUND, "no/such/folder"},
    };
    lar_session *s = test_session(model, 64, 0, "f16");
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        said a = ask_any(s, "perplexity", cases[i].fields);
        if (a.st != cases[i].code || !strstr(a.e.msg, cases[i].message))
            fail_msg("%s: %s \"%s\", want %s \"%s\"", cases[i].fields, lar_status_name(a.st),
                     a.e.msg, lar_status_name(cases[i].code), cases[i].message);
        assert_null(a.result);
        said_free(&a);
    }
    said a = {.cancel_at = 2};
    char fields[1000];
    snprintf(fields, sizeof fields, "{\"text\":\"%s\",\"window\":8}", text);
    ask_into(&a, s, "perplexity", fields);
    assert_int_equal(a.st, LAR_ECANCELLED);
    said_free(&a);
    lar_session_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),     cmocka_unit_test(test_chunks_and_file),
        cmocka_unit_test(test_divergence), cmocka_unit_test(test_own_reference),
        cmocka_unit_test(test_plot),       cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests_name("perplexity", tests, set_up, tear_down);
}
