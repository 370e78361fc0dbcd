/*
 * test_eval.c - the task `eval` on tests/data/eval with tests/data/tiny.gguf. Oracles: log-softmax
 * of the whole text's logits in an engine of the test's own, the task `generate`, a run without
 * interruption, intervals worked out by hand.
 */
#include "engine_test.h"
#include "generate_test.h"
#include "tasks/eval.h"
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define DATA "tests/data/eval/"
static const char tiny[] = "tests/data/tiny.gguf", mix[] = "tests/data/tiny_mix.gguf";
static lar_runtime *rt;
static lar_model *model;

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

static void write_text(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* A temporary file with this text. */
static char *file_of(const char *what, const char *text)
{
    char *path = temp_path(what);
    write_text(path, text, strlen(text));
    return path;
}

static void drop(char *path)
{
    unlink(path);
    free(path);
}

static char *text_of(const char *path, size_t *n)
{
    char *s = read_file(path, n);
    assert_non_null(s);
    s[*n] = 0;
    return s;
}

/* The request's fields; `more` begins with a comma or is "". */
static char *fields_of(const char *task, const char *data, const char *more)
{
    static char s[4][3000];
    static int at;
    char *p = s[at++ % 4];
    snprintf(p, 3000, "{\"task\":\"%s\",\"data\":\"%s\"%s}", task, data, more);
    return p;
}

static double figure(const said *a, const char *metric, const char *over)
{
    const json_t *m = json_object_get(json_object_get(a->result, "metrics"), metric);
    const json_t *v = json_object_get(json_object_get(m, over), "value");
    assert_true(json_is_number(v));
    return json_number_value(v);
}

static int counted(const said *a, const char *key)
{
    const json_t *v = json_object_get(json_object_get(a->result, "counts"), key);
    assert_non_null(v);
    return (int)json_number_value(v);
}

/* The records of a file: an array of all lines after the first. */
static json_t *records_of(const char *path)
{
    size_t n;
    char *text = text_of(path, &n), *p = strchr(text, '\n') + 1;
    json_t *a = json_array();
    for (char *end; *p && (end = strchr(p, '\n')); p = end + 1) {
        json_t *o = json_loadb(p, (size_t)(end - p), 0, NULL);
        assert_non_null(o);
        json_array_append_new(a, o);
    }
    free(text);
    return a;
}

/* ---- log-likelihood against the whole text -----------------------------------------------------
 */

static double plain_log_p(const float *x, size_t n, int32_t id)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[id]);
    return -log(sum);
}

/* By lm-evaluation-harness's rule, from scratch: the harness's _encode_pair and its input, the last
 * ctx + 1 tokens. */
static double plain_loglik(rig *r, const char *context, const char *cont, int ctx, bool *cut)
{
    char whole[4000], head[4000];
    lar_ids c = {0}, w = {0};
    lar_err e = {0};
    snprintf(whole, sizeof whole, "%s%s", context, cont);
    snprintf(head, sizeof head, "%s", context);
    for (size_t n = strlen(head); n && (head[n - 1] == ' ' || head[n - 1] == '\n');)
        head[--n] = 0;
    assert_int_equal(
        lar_tokenizer_encode(model->vocab.tok, head, strlen(head), LAR_TOK_BOS, &c, &e), LAR_OK);
    assert_int_equal(
        lar_tokenizer_encode(model->vocab.tok, whole, strlen(whole), LAR_TOK_BOS, &w, &e), LAR_OK);
    const size_t n_cont = w.n - c.n, n_vocab = r->net->hp.n_vocab;
    assert_true(w.n > c.n);
    memcpy(w.p, c.p, c.n * sizeof *c.p);
    const size_t dropped = w.n > (size_t)ctx + 1 ? w.n - (size_t)ctx - 1 : 0;
    const int n = (int)(w.n - dropped) - 1;
    float *x = malloc((size_t)n * n_vocab * sizeof *x);
    lar_seq *q = rig_seq(r);
    rig_eval(r, q, w.p + dropped, n, 32, x);
    double sum = 0;
    for (size_t i = 0; i < n_cont; i++)
        sum += plain_log_p(x + ((size_t)n - n_cont + i) * n_vocab, n_vocab, w.p[w.n - n_cont + i]);
    *cut = dropped > 0;
    lar_seq_free(q);
    free(x);
    lar_ids_free(&c);
    lar_ids_free(&w);
    return sum;
}

typedef enum style { LETTERS, TEXTS, SPACES } style;

/* The prompt as the three descriptions make it, written out here once more. */
static void plain_prompt(style how, const json_t *row, const json_t *dev, char *out, size_t size)
{
    const char *q = json_string_value(json_object_get(row, "question"));
    const char *subject = json_string_value(json_object_get(row, "subject"));
    const json_t *c = json_object_get(row, "choices"), *x;
    size_t n = 0, i;
    int shots = 0;
    out[0] = 0;
    if (how == LETTERS) {
        n += (size_t)snprintf(out + n, size - n, "%s\n", q);
        json_array_foreach(c, i, x) n +=
            (size_t)snprintf(out + n, size - n, "%c. %s\n", (char)('A' + i), json_string_value(x));
        snprintf(out + n, size - n, "Answer:");
        return;
    }
    if (how == SPACES) {
        snprintf(out, size, "%s\nAnswer:  ", q);
        return;
    }
    n += (size_t)snprintf(out + n, size - n, "Questions about %s.\n\n", subject);
    json_array_foreach(dev, i, x)
    {
        const json_t *dc = json_object_get(x, "choices");
        if (strcmp(json_string_value(json_object_get(x, "subject")), subject) != 0 || shots++ == 2)
            continue;
        const char a = json_string_value(json_object_get(x, "answer"))[0];
        n += (size_t)snprintf(out + n, size - n, "%s\nAnswer: %s\n\n",
                              json_string_value(json_object_get(x, "question")),
                              json_string_value(json_array_get(dc, (size_t)(a - 'A'))));
    }
    snprintf(out + n, size - n, "%s\nAnswer:", q);
}

static json_t *lines_of(const char *path)
{
    size_t n;
    char *text = text_of(path, &n), *p = text;
    json_t *a = json_array();
    for (char *end; (end = strchr(p, '\n')); p = end + 1)
        json_array_append_new(a, json_loadb(p, (size_t)(end - p), 0, NULL));
    free(text);
    return a;
}

static size_t count_chars(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void check_item(style how, rig *r, const json_t *row, const json_t *dev, const json_t *rec,
                       int ctx, int right[3])
{
    char prompt[3000], cont[200];
    const json_t *c = json_object_get(row, "choices"), *x;
    double best[3] = {-1e300, -1e300, -1e300};
    int at[3] = {0};
    bool any = false, cut;
    size_t i;
    const int gold = json_string_value(json_object_get(row, "answer"))[0] - 'A';
    plain_prompt(how, row, dev, prompt, sizeof prompt);
    json_array_foreach(c, i, x)
    {
        char text[100];
        if (how == LETTERS)
            snprintf(text, sizeof text, "%c", (char)('A' + i));
        else
            snprintf(text, sizeof text, "%s", json_string_value(x));
        snprintf(cont, sizeof cont, "%s%s", how == SPACES ? "" : " ", text);
        const double want = plain_loglik(r, prompt, cont, ctx, &cut);
        const double got = json_number_value(json_array_get(json_object_get(rec, "loglik"), i));
        if (!(fabs(got - want) <= 1e-9 * (1 + fabs(want))))
            fail_msg("style %d, ctx %d, %s, choice %zu: %.15g, want %.15g", (int)how, ctx,
                     json_string_value(json_object_get(rec, "id")), i, got, want);
        any = any || cut;
        const double by[3] = {want, want / (double)count_chars(text), want / (double)strlen(text)};
        for (int k = 0; k < 3; k++)
            if (by[k] > best[k]) {
                best[k] = by[k];
                at[k] = (int)i;
            }
    }
    assert_int_equal(json_integer_value(json_object_get(rec, "gold")), gold);
    assert_int_equal(json_integer_value(json_object_get(rec, "pred")), at[0]);
    assert_int_equal(json_integer_value(json_object_get(rec, "pred_norm")), at[1]);
    assert_int_equal(json_integer_value(json_object_get(rec, "pred_bytes")), at[2]);
    assert_int_equal(json_is_true(json_object_get(rec, "cut")), any);
    for (int k = 0; k < 3; k++)
        right[k] += at[k] == gold;
}

static void check_loglik(style how, const char *task, const char *more, int ctx, int batch)
{
    static const char *const names[] = {"acc", "acc_norm", "acc_bytes"};
    char *records = temp_path("eval"), all[500];
    const rig_options o = {.threads = 1, .ctx = 1024, .batch = 32, .seqs = 1};
    rig r;
    rig_open(&r, tiny, &o);
    lar_session *s = test_session(model, ctx, batch, "f32");
    snprintf(all, sizeof all, ",\"records\":\"%s\"%s", records, more);
    said a = ask(s, "eval", fields_of(task, DATA "items.jsonl", all));
    json_t *items = lines_of(DATA "items.jsonl"), *dev = lines_of(DATA "dev.jsonl"),
           *recs = records_of(records);
    int right[3] = {0};
    assert_int_equal(json_array_size(items), 30);
    assert_int_equal(json_array_size(recs), 30);
    for (size_t i = 0; i < 30; i++)
        check_item(how, &r, json_array_get(items, i), dev, json_array_get(recs, i), ctx, right);
    for (int k = 0; k < 3; k++)
        assert_true(fabs(figure(&a, names[k], "over_items") - right[k] / 30.0) < 1e-12);
    assert_int_equal(counted(&a, "contexts_cut") > 0, ctx < 100);
    json_decref(items);
    json_decref(dev);
    json_decref(recs);
    said_free(&a);
    lar_session_free(s);
    rig_close(&r);
    drop(records);
}

static void test_loglik(void **state)
{
    (void)state;
    char *spaces =
        file_of("desc", "{\"name\":\"s\",\"fields\":{\"id\":\"id\",\"subject\":\"subject\","
                        "\"question\":\"question\",\"choices\":\"choices\",\"answer\":"
                        "\"answer\"},\"loglik\":{\"prompt\":\"{{question}}\\nAnswer:  \","
                        "\"choice\":\"{{text}}\",\"delimiter\":\"\"}}");
    const char *two = ",\"shots\":2,\"dev\":\"" DATA "dev.jsonl\"";
    check_loglik(LETTERS, DATA "letters.json", "", 512, 0);
    check_loglik(TEXTS, DATA "texts.json", two, 512, 7);
    check_loglik(TEXTS, DATA "texts.json", two, 40, 0);
    check_loglik(SPACES, spaces, "", 512, 0);
    drop(spaces);
}

/* ---- the result ---------------------------------------------------------------------------------
 */

static bool keys_sorted(const json_t *v)
{
    const char *key, *last = NULL;
    json_t *x;
    size_t i;
    json_array_foreach(v, i, x) if (!keys_sorted(x)) return false;
    json_object_foreach((json_t *)(uintptr_t)v, key, x)
    {
        if ((last && strcmp(last, key) >= 0) || !keys_sorted(x))
            return false;
        last = key;
    }
    return true;
}

static void test_canonical(void **state)
{
    (void)state;
    static const struct {
        int threads, batch;
    } how[] = {{1, 0}, {3, 5}, {2, 64}};
    char *first = NULL, more[600];
    size_t n, n_first = 0;
    for (size_t i = 0; i < LAR_LEN(how); i++) {
        char *out = temp_path("result");
        lar_runtime *r = test_runtime(how[i].threads);
        lar_model *m = test_model_open(r, tiny);
        lar_session *s = test_session(m, 512, how[i].batch, "f16");
        snprintf(more, sizeof more, ",\"out\":\"%s\",\"shots\":1,\"dev\":\"" DATA "dev.jsonl\"",
                 out);
        said a = ask(s, "eval", fields_of(DATA "texts.json", DATA "items.jsonl", more));
        char *text = text_of(out, &n);
        json_t *o = json_loads(text, 0, NULL);
        assert_true(keys_sorted(o));
        assert_true(json_equal(o, a.result));
        const json_t *set = json_object_get(o, "settings");
        json_t *golden_json = json_load_file("tests/data/tiny.json", 0, NULL);
        assert_string_equal(json_string_value(json_object_get(set, "model_sha256")),
                            json_string_value(json_object_get(golden_json, "sha256")));
        assert_string_equal(json_string_value(json_object_get(set, "lar_version")), LAR_VERSION);
        assert_int_equal(json_integer_value(json_object_get(set, "shots")), 1);
        if (!first) {
            first = text;
            n_first = n;
        } else {
            assert_int_equal(n, n_first);
            assert_memory_equal(text, first, n);
            free(text);
        }
        json_decref(o);
        json_decref(golden_json);
        said_free(&a);
        lar_session_free(s);
        lar_model_free(m);
        lar_runtime_free(r);
        drop(out);
    }
    free(first);
}

static void test_intervals(void **state)
{
    (void)state;
    /* (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), worked out with bc. */
    static const struct {
        double k, n, low, high;
    } w[] = {{0, 10, 0, 0.27753279},
             {5, 10, 0.23659308, 0.76340692},
             {10, 10, 0.72246721, 1},
             {81, 263, 0.25526879, 0.36621586}};
    for (size_t i = 0; i < LAR_LEN(w); i++) {
        double ci[2];
        lar__eval_wilson(w[i].k, w[i].n, ci);
        if (i < 3)
            assert_true(fabs(ci[0] - w[i].low) < 1e-6 && fabs(ci[1] - w[i].high) < 1e-6);
        assert_true(ci[0] <= w[i].k / w[i].n && ci[1] >= w[i].k / w[i].n);
    }
    lar_eval_mean m;
    const double same[] = {0.5, 0.5, 0.5, 0.5};
    assert_true(lar__eval_bootstrap(same, NULL, 4, 1, false, &m));
    assert_true(m.value == 0.5 && m.low == 0.5 && m.high == 0.5 && m.stderr_ < 1e-12);
    /* Two groups of unlike sizes count the same; an empty one does not. */
    const double x[] = {1, 1, 1, 0};
    const size_t g[] = {0, 0, 0, 2};
    assert_true(lar__eval_bootstrap(x, g, 4, 3, false, &m));
    assert_true(m.value == 0.5 && m.low == 0.5 && m.high == 0.5);
    /* Of n fair coins the mean's standard deviation is 1 / (2 √n). */
    double coins[400];
    for (int i = 0; i < 400; i++)
        coins[i] = i % 2;
    assert_true(lar__eval_bootstrap(coins, NULL, 400, 1, false, &m));
    assert_true(fabs(m.stderr_ - 0.025) < 0.0025 && fabs(m.high - m.low - 3.92 * 0.025) < 0.015);
    /* Clipped as HealthBench does: the mean, not the items. */
    const double far[] = {2, -0.5, 3};
    assert_true(lar__eval_bootstrap(far, NULL, 3, 1, true, &m));
    assert_true(m.value == 1 && m.low >= 0 && m.high == 1);
    assert_true(lar__eval_bootstrap(far + 1, NULL, 1, 1, true, &m) && m.value == 0);
}

/* ---- records: torn, killed, of other settings ---------------------------------------------------
 */

static void run_to(lar_session *s, const char *task, const char *records, const char *more,
                   said *out)
{
    char all[700];
    snprintf(all, sizeof all, ",\"records\":\"%s\"%s", records, more);
    *out = ask(s, "eval", fields_of(task, DATA "items.jsonl", all));
}

static void same_files(const char *a, const char *b)
{
    size_t n, m;
    char *x = text_of(a, &n), *y = text_of(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static void test_torn(void **state)
{
    (void)state;
    char *whole = temp_path("whole"), *part = temp_path("part");
    lar_session *s = test_session(model, 512, 0, "f16");
    said a, b;
    size_t n;
    run_to(s, DATA "letters.json", whole, "", &a);
    char *text = text_of(whole, &n);
    for (size_t keep = 0; keep <= n; keep += keep < 40 ? 13 : n / 17) {
        write_text(part, text, keep);
        run_to(s, DATA "letters.json", part, "", &b);
        same_files(part, whole);
        assert_true(json_equal(a.result, b.result));
        assert_int_equal(strstr(buf_text(&b.notice), "not whole") != NULL,
                         keep && text[keep - 1] != '\n');
        said_free(&b);
    }
    /* A whole one is not evaluated again. */
    run_to(s, DATA "letters.json", whole, "", &b);
    assert_non_null(strstr(buf_text(&b.notice), "goes on after 30 of 30"));
    assert_true(json_equal(a.result, b.result));
    said_free(&b);
    /* The last line is whole and no JSON: a disk that lost power. */
    memset(text + n - 20, 0, 19);
    write_text(part, text, n);
    run_to(s, DATA "letters.json", part, "", &b);
    same_files(part, whole);
    said_free(&a);
    said_free(&b);
    free(text);
    lar_session_free(s);
    drop(whole);
    drop(part);
}

static void refuse(lar_session *s, const char *fields, lar_status code, const char *message)
{
    said a = ask_any(s, "eval", fields);
    if (a.st != code || a.e.code != code || !strstr(a.e.msg, message))
        fail_msg("%s:\n%s \"%s\", want %s \"%s\"", fields, lar_status_name(a.st), a.e.msg,
                 lar_status_name(code), message);
    assert_null(a.result);
    said_free(&a);
}

static void test_other_settings(void **state)
{
    (void)state;
    char *path = temp_path("records"), *kept = temp_path("kept"), more[700];
    lar_session *s = test_session(model, 512, 0, "f16"), *q8 = test_session(model, 512, 0, "q8_0");
    static const struct {
        const char *more, *names;
    } cases[] = {{",\"limit\":4", "\"data_sha256\""}, /* of which the first to differ is said */
                 {",\"bos\":\"off\"", "\"bos\" \"auto\", now \"off\""},
                 {",\"metric\":\"choice_generate\"", "was begun with"},
                 {",\"shots\":1,\"dev\":\"" DATA "dev.jsonl\"", "was begun with"}};
    said a, b;
    size_t n;
    run_to(s, DATA "letters.json", path, "", &a);
    char *text = text_of(path, &n);
    write_text(kept, text, n);
    for (size_t i = 1; i < LAR_LEN(cases); i++) {
        snprintf(more, sizeof more, ",\"records\":\"%s\"%s", path, cases[i].more);
        refuse(s, fields_of(DATA "letters.json", DATA "items.jsonl", more), LAR_EARG,
               cases[i].names);
        same_files(path, kept);
    }
    snprintf(more, sizeof more, ",\"records\":\"%s\"", path);
    const char *plain = fields_of(DATA "letters.json", DATA "items.jsonl", more);
    refuse(q8, plain, LAR_EARG, "\"kv_type\" \"f16\", now \"q8_0\"");
    refuse(s, fields_of(DATA "texts.json", DATA "items.jsonl", more), LAR_EARG,
           "\"description_sha256\"");
    same_files(path, kept);
    run_to(s, DATA "letters.json", path, ",\"bos\":\"off\",\"restart\":true", &b);
    said_free(&b);
    run_to(s, DATA "letters.json", path, ",\"restart\":true", &b);
    same_files(path, kept);
    said_free(&b);
    /* A file of somebody's is never written to. */
    static const char *const foreign[] = {"hello\n", "hello", "{\"a\":1}\n", "[1]\n{\"unit\":0}\n"};
    for (size_t i = 0; i < LAR_LEN(foreign); i++) {
        write_text(path, foreign[i], strlen(foreign[i]));
        write_text(kept, foreign[i], strlen(foreign[i]));
        refuse(s, plain, LAR_EARG, "is no file of records");
        same_files(path, kept);
    }
    /* Damage in the middle: lines of another order. */
    char *third = strchr(strchr(text, '\n') + 1, '\n') + 1, *fourth = strchr(third, '\n') + 1;
    memmove(third, fourth, n - (size_t)(fourth - text));
    write_text(path, text, n - (size_t)(fourth - third));
    refuse(s, plain, LAR_EFORMAT, ":3: not the record that belongs here");
    /* Another process has it. */
    lar_append *f;
    assert_int_equal(lar_append_open(path, &f, NULL), LAR_OK);
    refuse(s, plain, LAR_EIO, "another process is writing it");
    lar_append_close(f);
    snprintf(more, sizeof more, ",\"records\":\"no/such/folder/r\"");
    refuse(s, fields_of(DATA "letters.json", DATA "items.jsonl", more), LAR_ENOTFOUND,
           "no/such/folder");
    free(text);
    said_free(&a);
    lar_session_free(s);
    lar_session_free(q8);
    drop(path);
    drop(kept);
}

static int events_left;

static int die_at_event(const lar_event *ev, void *user)
{
    (void)user;
    if (lar_event_get_kind(ev) == LAR_EVENT_PROGRESS && --events_left == 0)
        raise(SIGKILL);
    return 0;
}

/* A process of its own evaluates and is killed: by itself at an event, or after some time. */
static void killed_run(const char *fields, int at_event, int after_us)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        lar_request *r;
        lar_runtime *own = test_runtime(1);
        lar_session *s = test_session(test_model_open(own, tiny), 512, 0, "f16");
        events_left = at_event;
        if (lar_request_new(own, "eval", &r, NULL) != LAR_OK ||
            lar_request_set_session(r, s, NULL) != LAR_OK ||
            lar_request_set_json(r, NULL, fields, NULL) != LAR_OK)
            _exit(3);
        lar_err e = {0};
        const lar_status st = lar_request_run(r, die_at_event, NULL, &e);
        if (st != LAR_OK)
            fprintf(stderr, "%s\n", e.msg);
        _exit(st == LAR_OK ? 0 : 2);
    }
    int status;
    if (!at_event) {
        usleep((useconds_t)after_us);
        kill(pid, SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status))
        fail_msg("exit %d", WEXITSTATUS(status));
    assert_true(WIFSIGNALED(status) || (!at_event && WEXITSTATUS(status) == 0));
}

/* Before any thread of this process lives. */
static void test_killed(void **state)
{
    (void)state;
    char *path = temp_path("killed"), *whole = temp_path("whole"), more[500];
    snprintf(more, sizeof more, ",\"records\":\"%s\",\"max_tokens\":6,\"runs\":2", path);
    const char *fields = fields_of(DATA "generate.json", DATA "items.jsonl", more);
    killed_run(fields, 7, 0);
    json_t *some = records_of(path);
    assert_int_equal(json_array_size(some), 7);
    json_decref(some);
    for (int i = 0; i < 4; i++)
        killed_run(fields, 0, 2000 + 3000 * i);
    set_up(NULL);
    lar_session *s = test_session(model, 512, 0, "f16");
    said a, b;
    run_to(s, DATA "generate.json", path, ",\"max_tokens\":6,\"runs\":2", &a);
    run_to(s, DATA "generate.json", whole, ",\"max_tokens\":6,\"runs\":2", &b);
    same_files(path, whole);
    assert_true(json_equal(a.result, b.result));
    assert_int_equal(counted(&a, "units"), 60);
    said_free(&a);
    said_free(&b);
    lar_session_free(s);
    tear_down(NULL);
    drop(path);
    drop(whole);
}

/* ---- generation ---------------------------------------------------------------------------------
 */

/* Each answer is what the task `generate` says to the same conversation with the same seed. */
static void test_generated(void **state)
{
    (void)state;
    char *path = temp_path("records"), *req;
    lar_session *s = test_session(model, 512, 0, "f16"),
                *other = test_session(model, 512, 0, "f16");
    said a;
    run_to(s, DATA "generate.json", path, ",\"seed\":5,\"limit\":6", &a);
    json_t *recs = records_of(path), *items = lines_of(DATA "items.jsonl"), *rec;
    size_t i;
    int failures = 0, truncated = 0;
    assert_int_equal(json_array_size(recs), 12);
    json_array_foreach(recs, i, rec)
    {
        char prompt[2000];
        const json_t *row = json_array_get(items, i / 2), *x;
        size_t k, n = (size_t)snprintf(prompt, sizeof prompt, "%s\n\n",
                                       json_string_value(json_object_get(row, "question")));
        json_array_foreach(json_object_get(row, "choices"), k, x) n += (size_t)snprintf(
            prompt + n, sizeof prompt - n, "%c. %s\n", (char)('A' + k), json_string_value(x));
        snprintf(prompt + n, sizeof prompt - n,
                 "\nEnd with a line \"Answer: X\", where X is the letter of the right choice.");
        json_t *q =
            json_pack("{s:s,s:f,s:i,s:i,s:i,s:i,s:i}", "prompt", prompt, "temp", 1.0, "seed",
                      5 + (int)(i % 2), "max_tokens", 12, "top_k", 0, "top_p", 1, "min_p", 0);
        req = json_dumps(q, 0);
        said b = ask(other, "generate", req);
        const bool ended = strcmp(stop_reason(&b), "end") == 0;
        if (!json_equal(json_object_get(rec, "answer"), json_object_get(b.result, "text")))
            fail_msg("%s: %s, want %s", req, json_string_value(json_object_get(rec, "answer")),
                     json_string_value(json_object_get(b.result, "text")));
        assert_int_equal(json_integer_value(json_object_get(rec, "tokens")), n_tokens(&b));
        assert_int_equal(json_is_true(json_object_get(rec, "truncated")), !ended);
        failures += json_is_true(json_object_get(rec, "no_answer"));
        truncated += !ended;
        said_free(&b);
        free(req);
        json_decref(q);
    }
    assert_int_equal(counted(&a, "extraction_failures"), failures);
    assert_int_equal(counted(&a, "truncated"), truncated);
    assert_int_equal(json_array_size(json_object_get(a.result, "by_run")), 2);
    json_decref(recs);
    json_decref(items);
    said_free(&a);
    lar_session_free(s);
    lar_session_free(other);
    drop(path);
}

static void test_letters(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int n, want;
    } cases[] = {{"Answer: B", 4, 1},
                 {"The answer is (C).", 4, 2},
                 {"the ANSWER is: **d**", 4, 3},
                 {"First I thought answer: A. But no.\nAnswer: D", 4, 3},
                 {"Answer: F. Or rather answer: B", 4, 1},
                 {"Answer: F", 4, -1},
                 {"\\boxed{B}", 4, 1},
                 {"So \\boxed{\\text{C}}.", 4, 2},
                 {"A", 4, 0},
                 {"(B)", 4, 1},
                 {"C. because of the heart", 4, 2},
                 {"I'd say B or C", 4, -1},
                 {"I answer a question. The answer is a heart attack", 10, -1},
                 {"**Answer:** **B**", 4, 1},
                 {"The answer is b.", 4, 1},
                 {"Because.\n\n**C**\n", 4, 2},
                 {"", 4, -1},
                 {"No idea.", 4, -1},
                 {"Answer: J", 10, 9},
                 {"Apples are Better", 4, -1},
                 {"\xc3\xa9 answer:\xc2\xa0"
                  "B\xc3\xa9. Answer: C",
                  4, 2}};
    lar_eval_desc d;
    lar_err e = {0};
    assert_int_equal(lar__eval_desc_load(DATA "generate.json", NULL, &d, &e), LAR_OK);
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        const int got =
            lar__eval_letter(&d, (lar_str){cases[i].text, strlen(cases[i].text)}, cases[i].n);
        if (got != cases[i].want)
            fail_msg("\"%s\": %d, want %d", cases[i].text, got, cases[i].want);
    }
    lar__eval_desc_free(&d);
}

static void test_exact(void **state)
{
    (void)state;
    static const struct {
        unsigned how;
        const char *in, *out;
    } n[] = {
        {0, "  The  Cat! \n", "The  Cat!"},
        {LAR_EVAL_LOWER, "The Cat", "the cat"},
        {LAR_EVAL_PUNCTUATION, "3.5, or (4)?", "35 or 4"},
        {LAR_EVAL_SPACES, "a\t b\n\nc", "a b c"},
        {LAR_EVAL_LOWER | LAR_EVAL_ARTICLES, "The cat and an owl: A theme", "cat and owl: theme"},
        {15, "\tThe Answer -- is: 'An Apple'.", "answer is apple"}};
    lar_buf b = {0};
    for (size_t i = 0; i < LAR_LEN(n); i++) {
        lar__eval_normalise(n[i].how, (lar_str){n[i].in, strlen(n[i].in)}, &b);
        assert_string_equal(buf_text(&b), n[i].out);
    }
    lar_buf_free(&b);
    lar_eval_desc d;
    lar_err e = {0};
    bool right, found;
    json_t *answers = json_pack("[s,s]", "Paris", "the city of Paris");
    char *path =
        file_of("desc", "{\"name\":\"x\",\"metric\":\"exact_match\",\"fields\":{\"question\":"
                        "\"q\",\"answer\":\"a\"},\"generate\":{\"patterns\":[\"=> (.+)$\"],"
                        "\"normalise\":[\"lowercase\",\"punctuation\"]}}");
    assert_int_equal(lar__eval_desc_load(DATA "exact.json", NULL, &d, &e), LAR_OK);
    lar__eval_exact(&d, (lar_str){"Paris.", 6}, answers, &right, &found, &e);
    assert_true(right && found);
    lar__eval_exact(&d, (lar_str){"City of Paris", 13}, answers, &right, &found, &e);
    assert_true(right && found);
    lar__eval_exact(&d, (lar_str){"London", 6}, answers, &right, &found, &e);
    assert_true(!right && found);
    lar__eval_desc_free(&d);
    assert_int_equal(lar__eval_desc_load(path, NULL, &d, &e), LAR_OK);
    lar__eval_exact(&d, (lar_str){"I say => PARIS!", 15}, answers, &right, &found, &e);
    assert_true(right && found);
    lar__eval_exact(&d, (lar_str){"Paris", 5}, answers, &right, &found, &e);
    assert_true(!right && !found);
    lar__eval_desc_free(&d);
    json_decref(answers);
    drop(path);
}

/* ---- judging
 * ------------------------------------------------------------------------------------- */

static void test_verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want;
    } cases[] = {{"{\"explanation\":\"x\",\"criteria_met\":true}", 1},
                 {"```json\n{\"criteria_met\": false, \"explanation\": \"{}\"}\n```", 0},
                 {"Well {thinking} then {\"criteria_met\":true} done", 1},
                 {"{\"a\":{\"criteria_met\":true}}", 1},
                 {"{\"criteria_met\":\"true\"}", -1},
                 {"{\"criteria_met\":1}", -1},
                 {"{\"criteria_met\":true", -1},
                 {"yes", -1},
                 {"", -1},
                 {"{{{{{{{{{{", -1}};
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        bool met = false;
        const bool is = lar__eval_verdict((lar_str){cases[i].text, strlen(cases[i].text)}, &met);
        assert_int_equal(is ? met : -1, cases[i].want);
    }
    json_t *r = json_loads("[{\"points\":5},{\"points\":-4},{\"points\":3}]", 0, NULL);
    json_t *bad = json_loads("[{\"points\":-4}]", 0, NULL);
    double score;
    assert_true(lar__eval_points(r, (int[]){1, 0, 0}, &score) && score == 5 / 8.0);
    assert_true(lar__eval_points(r, (int[]){0, 1, 0}, &score) && score == -4 / 8.0);
    assert_true(lar__eval_points(r, (int[]){1, 1, 1}, &score) && score == 4 / 8.0);
    assert_false(lar__eval_points(r, (int[]){1, -1, 1}, &score));
    assert_false(lar__eval_points(bad, (int[]){1}, &score));
    json_decref(r);
    json_decref(bad);
}

/* A model of random weights judges: all junk, asked three times each, told, and no score made up.
 */
static void test_junk(void **state)
{
    (void)state;
    char *path = temp_path("records"), more[600], *text, *at;
    size_t n;
    lar_session *s = test_session(model, 2048, 0, "f16");
    snprintf(more, sizeof more, ",\"judge\":\"%s\",\"records\":\"%s\"", mix, path);
    const char *fields = fields_of(DATA "rubric.json", DATA "rubrics.jsonl", more);
    said a = ask(s, "eval", fields);
    assert_int_equal(counted(&a, "judge_junk"), 9);
    assert_int_equal(counted(&a, "criteria_unjudged"), 3);
    assert_int_equal(counted(&a, "units_without_score"), 2);
    const json_t *m = json_object_get(json_object_get(a.result, "metrics"), "score");
    assert_true(json_is_null(json_object_get(m, "over_items")));
    said_free(&a);
    /* Records with verdicts, as a better judge's would be: the mean is clipped, themes are told
     * apart. */
    text = text_of(path, &n);
    at = strchr(text, '\n') + 1;
    char lines[3000];
    snprintf(lines, sizeof lines,
             "%.*s{\"unit\":0,\"score\":1.0,\"junk\":1,\"tokens\":4}\n"
             "{\"unit\":1,\"score\":-0.5,\"tokens\":8}\n",
             (int)(at - text), text);
    write_text(path, lines, strlen(lines));
    a = ask(s, "eval", fields);
    assert_true(figure(&a, "score", "over_items") == 0.25);
    assert_int_equal(counted(&a, "judge_junk"), 1);
    assert_int_equal(counted(&a, "tokens_mean"), 6);
    const json_t *sub = json_object_get(a.result, "subjects");
    assert_string_equal(json_string_value(json_object_get(json_array_get(sub, 1), "name")),
                        "theme:talk");
    assert_true(json_number_value(json_object_get(json_object_get(json_array_get(sub, 1), "score"),
                                                  "value")) == 0);
    said_free(&a);
    refuse(s, fields_of(DATA "rubric.json", DATA "rubrics.jsonl", ""), LAR_EARG, "name a model");
    refuse(s,
           fields_of(DATA "rubric.json", DATA "rubrics.jsonl",
                     ",\"judge\":\"https://example.org/v1\""),
           LAR_EUNSUPPORTED, "not in this build");
    refuse(s, fields_of(DATA "rubric.json", DATA "rubrics.jsonl", ",\"judge\":\"none.gguf\""),
           LAR_ENOTFOUND, "none.gguf");
    free(text);
    lar_session_free(s);
    drop(path);
}

/* ---- faults
 * ---------------------------------------------------------------------------------------- */

#define ROW(rest) "{\"id\":\"a\",\"subject\":\"s\",\"question\":\"q\"" rest "}"
#define GOOD                                                                                       \
    "{\"id\":\"g\",\"subject\":\"s\",\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":"     \
    "\"A\"}"

static void test_bad_data(void **state)
{
    (void)state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"{\"id\":", ":2: not valid JSON, column"},
        {"[1]", ":2: want a JSON object"},
        {"7", ":2: want a JSON object"},
        {ROW(",\"choices\":[\"x\",\"y\"]"), ":2: field \"answer\" is missing or empty"},
        {ROW(",\"choices\":[\"x\",\"y\"],\"answer\":null"), ":2: field \"answer\" is missing"},
        {ROW(",\"choices\":[\"x\",\"y\"],\"answer\":\"C\""), ":2: the answer is no letter"},
        {ROW(",\"choices\":[\"x\",\"y\"],\"answer\":\"\""), ":2: the answer is no letter"},
        {ROW(",\"choices\":[\"x\",\"y\"],\"answer\":[1]"), ":2: the answer is no text"},
        {ROW(",\"choices\":[],\"answer\":\"A\""), ":2: 0 choices, want 2 to 26"},
        {ROW(",\"choices\":[\"x\"],\"answer\":\"A\""), ":2: 1 choices"},
        {ROW(",\"choices\":[\"x\",\" \"],\"answer\":\"A\""), ":2: a choice is empty"},
        {ROW(",\"choices\":[\"x\",{}],\"answer\":\"A\""), ":2: a choice is empty or no text"},
        {ROW(",\"choices\":5,\"answer\":\"A\""), ":2: field \"choices\": want a list of choices"},
        {ROW(",\"choices\":\"x y\",\"answer\":\"A\""), ":2: field \"choices\": want a list"},
        {ROW(",\"answer\":\"A\""), ":2: field \"choices\": want a list"},
        {"{\"id\":\"a\",\"question\":\"\",\"choices\":[\"x\",\"y\"],\"answer\":\"A\"}",
         ":2: field \"question\" is missing or empty"},
        {"{\"subject\":\"s\",\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":\"A\"}",
         ":2: field \"id\" is missing"},
        {GOOD, ":2: the id \"g\" is that of line 1 too"},
        {"{\"id\":[],\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":\"A\"}",
         ":2: the id is no text"},
        {"{\"id\":\"a\",\"subject\":{},\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":"
         "\"A\"}",
         ":2: the subject is no text"},
        {"\xff\xfe", ":2: not valid JSON"},
        {"{\"id\":\"a\",\"id\":\"b\"}", ":2: not valid JSON"},
    };
    lar_session *s = test_session(model, 256, 0, "f16");
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        char text[1000];
        snprintf(text, sizeof text, GOOD "\n%s\n", cases[i].line);
        char *data = file_of("data", text);
        refuse(s, fields_of(DATA "letters.json", data, ""), LAR_EFORMAT, cases[i].message);
        drop(data);
    }
    char *data = file_of("data", "\n \n\r\n");
    refuse(s, fields_of(DATA "letters.json", data, ""), LAR_EFORMAT, "no items");
    drop(data);
    data =
        file_of("data", "\xef\xbb\xbf" GOOD "\r\n\r\n" ROW(",\"choices\":{\"u\":\"x\",\"v\":null,"
                                                           "\"w\":\"y\"},\"answer\":\"(b)\""));
    said a = ask(s, "eval", fields_of(DATA "letters.json", data, ""));
    assert_int_equal(counted(&a, "units"), 2);
    said_free(&a);
    drop(data);
    refuse(s, fields_of(DATA "letters.json", "none.jsonl", ""), LAR_ENOTFOUND, "none.jsonl");
    refuse(s, fields_of("none.json", DATA "items.jsonl", ""), LAR_ENOTFOUND, "none.json");
    refuse(s, fields_of(DATA "letters.json", DATA "items.jsonl", ",\"shots\":2"), LAR_EARG,
           "takes 2 examples");
    refuse(s,
           fields_of(DATA "letters.json", DATA "items.jsonl",
                     ",\"shots\":3,\"dev\":\"" DATA "dev.jsonl\""),
           LAR_EFORMAT, "2 examples of subject numbers, want 3");
    refuse(s, "{\"task\":\"" DATA "letters.json\"}", LAR_EARG, "data is missing");
    refuse(s, fields_of(DATA "letters.json", DATA "items.jsonl", ",\"metric\":\"exact\""), LAR_EARG,
           "metric");
    lar_session_free(s);
}

#define FIELDS "\"fields\":{\"question\":\"q\",\"choices\":\"c\",\"answer\":\"a\"}"

static void test_bad_descriptions(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "the file is empty"},
        {"{", "not valid JSON"},
        {"[]", "want a JSON object"},
        {"{" FIELDS "}", "\"name\": want a name"},
        {"{\"name\":\"x\",\"promt\":1," FIELDS "}", "unknown \"promt\"; there are: name|"},
        {"{\"name\":\"x\",\"fields\":{\"quest\":\"q\"}}", "unknown \"fields.quest\""},
        {"{\"name\":\"x\",\"fields\":{\"question\":\"q\"}}", "\"fields.answer\" is missing"},
        {"{\"name\":\"x\",\"fields\":{\"question\":\"q\",\"answer\":\"a\"}}", "\"fields.choices\""},
        {"{\"name\":\"x\",\"fields\":{\"choices\":[1]}}", "\"fields.choices\": want a field"},
        {"{\"name\":\"x\",\"fields\":7}", "\"fields\": want an object"},
        {"{\"name\":\"x\",\"metric\":\"best\"," FIELDS "}", "\"metric\": want choice_loglik|"},
        {"{\"name\":\"x\",\"answer\":\"digit\"," FIELDS "}", "\"answer\": want letter|"},
        {"{\"name\":\"x\",\"filter\":{\"a\":1}," FIELDS "}", "\"filter\": want an object"},
        {"{\"name\":\"x\",\"loglik\":{\"prompt\":\"{% if\"}," FIELDS "}", "\"loglik.prompt\""},
        {"{\"name\":\"x\",\"loglik\":{\"shots\":1.5}," FIELDS "}",
         "\"loglik.shots\": want a whole"},
        {"{\"name\":\"x\",\"generate\":{\"runs\":0}," FIELDS "}", "\"generate.runs\": want"},
        {"{\"name\":\"x\",\"generate\":{\"patterns\":[\"(\"]}," FIELDS "}", "the pattern '('"},
        {"{\"name\":\"x\",\"generate\":{\"normalise\":[\"upper\"]}," FIELDS "}",
         "\"generate.normalise\": want lowercase|"},
        {"{\"name\":\"x\",\"metric\":\"rubric\"," FIELDS "}", "\"fields.messages\" is missing"},
    };
    lar_err e;
    lar_eval_desc d;
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        char *path = file_of("desc", cases[i].text);
        e = (lar_err){0};
        const lar_status st = lar__eval_desc_load(path, NULL, &d, &e);
        if (st == LAR_OK || !strstr(e.msg, cases[i].message))
            fail_msg("%s: \"%s\", want \"%s\"", cases[i].text, e.msg, cases[i].message);
        drop(path);
    }
}

/* Every shipped description opens, and takes a line as its data set's page shows it. */
static void test_shipped(void **state)
{
    (void)state;
    static const struct {
        const char *name, *line;
        int gold, choices;
    } cases[] = {
        {"mmlu-health",
         "{\"question\":\"q\",\"subject\":\"anatomy\",\"choices\":[\"a\",\"b\",\"c\",\"d\"],"
         "\"answer\":2}",
         2, 4},
        {"afrimedqa",
         "{\"sample_id\":\"s1\",\"question_type\":\"mcq\",\"tier\":\"expert\",\"specialty\":"
         "\"Surgery\",\"question\":\"q\",\"question_clean\":\"q\",\"answer_options\":\"{"
         "\\\"option1\\\":"
         "\\\"a\\\",\\\"option2\\\":\\\"b\\\",\\\"option3\\\":null}\",\"correct_answer\":"
         "\"option2\"}",
         1, 2},
        {"mmlu-pro-health",
         "{\"question_id\":5,\"question\":\"q\",\"options\":[\"a\",\"b\",\"c\"],\"answer\":"
         "\"C\",\"answer_index\":2,\"category\":\"health\",\"src\":\"x\"}",
         2, 3},
        {"medmcqa",
         "{\"id\":\"u\",\"question\":\"q\",\"opa\":\"a\",\"opb\":\"b\",\"opc\":\"c\",\"opd\":\"d\","
         "\"cop\":3,\"choice_type\":\"single\",\"exp\":null,\"subject_name\":\"ENT\",\"topic_"
         "name\":null}",
         3, 4},
        {"medqa",
         "{\"question\":\"q\",\"answer\":\"b\",\"options\":{\"A\":\"a\",\"B\":\"b\",\"C\":\"c\","
         "\"D\":\"d\"},"
         "\"meta_info\":\"step1\",\"answer_idx\":\"B\",\"metamap_phrases\":[]}",
         1, 4},
        {"medxpertqa",
         "{\"id\":\"Text-0\",\"question\":\"q\\nAnswer Choices: (A) a (B) b\",\"options\":{\"A\":"
         "\"a\",\"B\":\"b\"},\"label\":\"A\",\"medical_task\":\"Diagnosis\",\"body_system\":\"x\","
         "\"question_type\":\"Reasoning\"}",
         0, 2},
        {"pubmedqa",
         "{\"pubid\":21645374,\"question\":\"q\",\"context\":{\"contexts\":[\"c1\",\"c2\"],"
         "\"labels\":[],"
         "\"meshes\":[]},\"long_answer\":\"l\",\"final_decision\":\"maybe\"}",
         2, 3},
        {"healthbench",
         "{\"prompt_id\":\"p\",\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],\"rubrics\":[{"
         "\"criterion\":\"c\",\"points\":5,\"tags\":[\"level:example\"]}],\"example_tags\":["
         "\"theme:x\"],"
         "\"ideal_completions_data\":null}",
         -1, 0},
        {"healthbench-hard",
         "{\"prompt_id\":\"p\",\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],\"rubrics\":[{"
         "\"criterion\":\"c\",\"points\":-5}],\"example_tags\":[]}",
         -1, 0},
    };
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        char path[200];
        lar_err e = {0};
        lar_eval_desc d;
        lar_eval_data data;
        lar_buf b = {0};
        snprintf(path, sizeof path, "share/evals/%s.json", cases[i].name);
        if (lar__eval_desc_load(path, NULL, &d, &e) != LAR_OK)
            fail_msg("%s", e.msg);
        assert_string_equal(d.name, cases[i].name);
        char *lines = file_of("line", cases[i].line);
        if (lar__eval_data_load(&d, lines, 0, &data, &e) != LAR_OK)
            fail_msg("%s: %s", path, e.msg);
        assert_int_equal(data.n, 1);
        assert_int_equal(data.item[0].gold, cases[i].gold);
        assert_int_equal(json_array_size(data.item[0].choices), cases[i].choices);
        if (d.metric != LAR_EVAL_RUBRIC)
            for (int ll = 0; ll < 2; ll++) {
                lar_buf_clear(&b);
                if (lar__eval_prompt(&d, &data, &data.item[0], NULL, 0, ll, &b, &e) != LAR_OK)
                    fail_msg("%s: %s", path, e.msg);
                assert_non_null(strchr(b.p, 'q'));
                assert_null(strstr(b.p, "Answer Choices:"));
            }
        lar_buf_free(&b);
        lar__eval_data_free(&data);
        lar__eval_desc_free(&d);
        drop(lines);
    }
}

static void test_cancel(void **state)
{
    (void)state;
    lar_session *s = test_session(model, 256, 0, "f16");
    said a = {.cancel_at = 3};
    ask_into(&a, s, "eval", fields_of(DATA "letters.json", DATA "items.jsonl", ""));
    assert_int_equal(a.st, LAR_ECANCELLED);
    said_free(&a);
    said b = ask(s, "eval", fields_of(DATA "letters.json", DATA "items.jsonl", ",\"limit\":3"));
    said_free(&b);
    lar_session_free(s);
}

int main(void)
{
    const struct CMUnitTest alone[] = {cmocka_unit_test(test_killed)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loglik),         cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_intervals),      cmocka_unit_test(test_torn),
        cmocka_unit_test(test_other_settings), cmocka_unit_test(test_generated),
        cmocka_unit_test(test_letters),        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_verdicts),       cmocka_unit_test(test_junk),
        cmocka_unit_test(test_bad_data),       cmocka_unit_test(test_bad_descriptions),
        cmocka_unit_test(test_shipped),        cmocka_unit_test(test_cancel),
    };
    const int killed = cmocka_run_group_tests_name("eval, killed", alone, NULL, NULL);
    return killed + cmocka_run_group_tests_name("eval", tests, set_up, tear_down);
}
