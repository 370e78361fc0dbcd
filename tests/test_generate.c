/*
 * test_generate.c - the tasks generate and logits through lar.h on tests/data/tiny.gguf.
 * Oracles: the task `logits` token by token, fresh sessions, the same answer without the setting,
 * texts of tokens by lar_detok.
 */
#include "generate_test.h"
#include "infer/sampler.h"
#include "tasks/chat_prompt.h"
#include <sys/stat.h>
#include <unistd.h>

static const char model_path[] = "tests/data/tiny.gguf";
static lar_runtime *rt;
static lar_model *model;

static int set_up(void **state)
{
    (void)state;
    rt = test_runtime(2);
    model = test_model_open(rt, model_path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lar_model_free(model);
    lar_runtime_free(rt);
    return 0;
}

/* Fields of a request that says much: a random model, hot. */
#define HOT                                                                                        \
    "\"raw\":true,\"ignore_eos\":true,\"temp\":1.5,\"top_k\":0,\"top_p\":1,\"min_p\":0,\"seed\":7"
#define GREEDY "\"temp\":0,\"ignore_eos\":true"

static said fresh(int ctx, const char *fields)
{
    lar_session *s = test_session(model, ctx, 0, "f16");
    said a = ask(s, "generate", fields);
    lar_session_free(s);
    return a;
}

static int held(lar_session *s)
{
    return lar_seq_length(s->seq);
}

/* ids of the next token by the task `logits`, in a session of its own. */
static int argmax(lar_session *s, const lar_ids *ids)
{
    lar_buf b = {0};
    lar_buf_puts(&b, "{\"top\":1,\"ids\":\"");
    for (size_t i = 0; i < ids->n; i++)
        lar_buf_printf(&b, i ? ",%d" : "%d", ids->p[i]);
    lar_buf_puts(&b, "\"}");
    said a = ask(s, "logits", b.p);
    const json_t *row = json_array_get(json_object_get(a.result, "logits"), 0);
    const int id = (int)json_integer_value(json_object_get(row, "id"));
    said_free(&a);
    lar_buf_free(&b);
    return id;
}

static lar_ids raw_ids(const char *text)
{
    lar_ids ids = {0};
    lar_err e = {0};
    if (lar_tokenizer_encode(model->vocab.tok, text, strlen(text), LAR_TOK_BOS, &ids, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return ids;
}

static lar_ids chat_ids(const char *messages)
{
    lar_ids ids = {0};
    lar_err e = {0};
    json_t *vars = json_pack("{s:o}", "messages", json_loads(messages, 0, NULL));
    if (lar_chat_tokens(model, vars, NULL, true, &ids, NULL, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    json_decref(vars);
    return ids;
}

/* ---- what is generated
 * -------------------------------------------------------------------------------- */

static void test_greedy_is_argmax(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *messages; /* messages NULL: raw */
    } cases[] = {
        {"{\"prompt\":\"The cat sat\",\"raw\":true,\"max_tokens\":10," GREEDY "}", NULL},
        {"{\"prompt\":\"Hi\",\"max_tokens\":8," GREEDY "}",
         "[{\"role\":\"user\",\"content\":\"Hi\"}]"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
         "\"b\"}],"
         "\"system\":\"s\",\"prompt\":\"c\",\"max_tokens\":5," GREEDY "}",
         "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a\"},"
         "{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"}]"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"old\"},{\"role\":\"user\",\"content\":"
         "\"a\"}],"
         "\"system\":\"new\",\"max_tokens\":3," GREEDY "}",
         "[{\"role\":\"system\",\"content\":\"new\"},{\"role\":\"user\",\"content\":\"a\"}]"},
    };
    lar_session *ses = test_session(model, 256, 5, "f16"),
                *other = test_session(model, 256, 0, "f16");
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        said a = ask(ses, "generate", cases[i].fields);
        lar_ids ids = cases[i].messages ? chat_ids(cases[i].messages) : raw_ids("The cat sat");
        assert_int_equal(timing(&a, "prompt_tokens"), ids.n);
        assert_int_equal(timing(&a, "predicted_tokens"), n_tokens(&a));
        assert_true(n_tokens(&a) > 2);
        for (int k = 0; k < n_tokens(&a); k++) {
            assert_int_equal(token(&a, k), argmax(other, &ids));
            lar_ids_add(&ids, token(&a, k), NULL);
        }
        assert_string_equal(stop_reason(&a), "length");
        lar_ids_free(&ids);
        said_free(&a);
    }
    lar_session_free(ses);
    lar_session_free(other);
}

static void test_max_tokens(void **state)
{
    (void)state;
    said all = fresh(64, "{\"prompt\":\"one two\",\"max_tokens\":6," HOT "}");
    assert_int_equal(n_tokens(&all), 6);
    for (int n = 0; n < 6; n++) {
        char fields[200];
        snprintf(fields, sizeof fields, "{\"prompt\":\"one two\",\"n_predict\":%d," HOT "}", n);
        said a = fresh(64, fields);
        assert_int_equal(n_tokens(&a), n);
        assert_string_equal(stop_reason(&a), "length");
        for (int i = 0; i < n; i++)
            assert_int_equal(token(&a, i), token(&all, i));
        if (n == 0)
            assert_string_equal(buf_text(&a.text), "");
        said_free(&a);
    }
    said_free(&all);
}

static void test_end_of_text(void **state)
{
    (void)state;
    said a =
        fresh(64, "{\"prompt\":\"x\",\"raw\":true,\"logit_bias\":{\"318\":1000},\"max_tokens\":4}");
    assert_string_equal(stop_reason(&a), "end");
    assert_int_equal(n_tokens(&a), 0);
    said_free(&a);
    a = fresh(64, "{\"prompt\":\"x\",\"raw\":true,\"logit_bias\":{\"318\":1000},\"max_tokens\":4,"
                  "\"ignore_eos\":true}");
    assert_string_equal(stop_reason(&a), "length");
    assert_int_equal(n_tokens(&a), 4);
    assert_int_equal(token(&a, 3), 318);
    assert_string_equal(buf_text(&a.text), ""); /* control tokens have no text */
    said_free(&a);
    a = fresh(64, "{\"prompt\":\"x\",\"raw\":true,\"logit_bias\":{\"0\":1000},\"max_tokens\":3}");
    assert_int_equal(a.text.n, 3); /* token 0 is the byte 0 */
    assert_memory_equal(a.text.p, "\0\0\0", 4);
    said_free(&a);
    /* Never: the biased token and all others but two. */
    lar_buf b = {0};
    lar_buf_puts(&b,
                 "{\"prompt\":\"x\",\"raw\":true,\"max_tokens\":20,\"temp\":3,\"logit_bias\":{");
    for (int i = 0; i < 320; i++)
        if (i != 65 && i != 66)
            lar_buf_printf(&b, "%s\"%d\":false", i ? "," : "", i);
    lar_buf_puts(&b, "}}");
    a = fresh(64, b.p);
    assert_int_equal(n_tokens(&a), 20);
    for (int i = 0; i < 20; i++)
        assert_in_range(token(&a, i), 65, 66);
    said_free(&a);
    lar_buf_clear(&b);
    lar_buf_puts(&b, "{\"prompt\":\"x\",\"raw\":true,\"logit_bias\":{");
    for (int i = 0; i < 320; i++)
        lar_buf_printf(&b, "%s\"%d\":false", i ? "," : "", i);
    lar_buf_puts(&b, "}}");
    lar_session *s = test_session(model, 64, 0, NULL);
    a = ask_any(s, "generate", b.p);
    assert_int_equal(a.st, LAR_EARG);
    assert_string_equal(a.e.msg, "no token is allowed here");
    said_free(&a);
    lar_session_free(s);
    lar_buf_free(&b);
}

static void test_seeds(void **state)
{
    (void)state;
    static const char five[] = "{\"prompt\":\"x\",\"raw\":true,\"ignore_eos\":true,\"temp\":5,"
                               "\"top_p\":1,\"min_p\":0,\"max_tokens\":12,\"seed\":5}";
    said a = fresh(64, five), b = fresh(64, five);
    same_tokens(&a, &b);
    assert_int_equal(json_integer_value(json_object_get(a.result, "seed")), 5);
    said_free(&b);
    b = fresh(64, "{\"prompt\":\"x\",\"raw\":true,\"ignore_eos\":true,\"temp\":5,\"top_p\":1,\"min_"
                  "p\":0,\"max_tokens\":12,\"seed\":6}");
    assert_false(
        json_equal(json_object_get(a.result, "tokens"), json_object_get(b.result, "tokens")));
    said_free(&a);
    said_free(&b);
    /* A seed of its own making is reported, and gives the answer again. */
    a = fresh(64, "{\"prompt\":\"x\",\"raw\":true,\"ignore_eos\":true,\"temp\":5,\"top_p\":1,\"min_"
                  "p\":0,\"max_tokens\":12}");
    b = fresh(64, "{\"prompt\":\"x\",\"raw\":true,\"ignore_eos\":true,\"temp\":5,\"top_p\":1,\"min_"
                  "p\":0,\"max_tokens\":12}");
    const json_int_t seed = json_integer_value(json_object_get(a.result, "seed"));
    assert_int_not_equal(seed, json_integer_value(json_object_get(b.result, "seed")));
    said_free(&b);
    char fields[200];
    snprintf(fields, sizeof fields,
             "{\"prompt\":\"x\",\"raw\":true,\"ignore_eos\":true,\"temp\":5,\"top_p\":1,\"min_p\":"
             "0,\"max_tokens\":12,\"seed\":%lld}",
             (long long)seed);
    b = fresh(64, fields);
    same_tokens(&a, &b);
    said_free(&a);
    said_free(&b);
}

/* ---- stop strings
 * ----------------------------------------------------------------------------------------- */

/* The text when the answer stops at the first token after which one of `stop` is there: up to the
 * first of them. */
static char *stopped_text(const said *a, const char *const *stop, int n_stop, int *used)
{
    lar_detok d;
    lar_buf b = {0};
    lar_detok_init(&d, model->vocab.tok, false);
    for (*used = 0; *used < n_tokens(a);) {
        const char *first = NULL;
        lar_detok_put(&d, token(a, (*used)++), &b);
        for (int i = 0; i < n_stop; i++) {
            const char *at = b.p && stop[i][0] ? strstr(b.p, stop[i]) : NULL;
            if (at && (!first || at < first))
                first = at;
        }
        if (first) {
            b.n = (size_t)(first - b.p);
            b.p[b.n] = 0;
            return lar_buf_take(&b);
        }
    }
    lar_detok_end(&d, &b);
    lar_buf_putc(&b, 0);
    return lar_buf_take(&b);
}

static void check_stops(const said *all, lar_session *ses, const char *const *stop, int n)
{
    int used;
    char *want = stopped_text(all, stop, n, &used);
    json_t *o = json_loads("{\"prompt\":\"once\",\"max_tokens\":40," HOT "}", 0, NULL),
           *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_string(stop[i]));
    json_object_set_new(o, "stop", list);
    char *fields = json_dumps(o, 0);
    said a = ask(ses, "generate", fields);
    assert_string_equal(buf_text(&a.text), want);
    assert_int_equal(n_tokens(&a), used);
    assert_string_equal(stop_reason(&a), strlen(want) < all->text.n ? "stop" : "length");
    said_free(&a);
    free(fields);
    json_decref(o);
    lar_string_free(want);
}

static void test_stop(void **state)
{
    (void)state;
    lar_session *ses = test_session(model, 128, 0, "f16");
    said all = ask(ses, "generate", "{\"prompt\":\"once\",\"max_tokens\":40," HOT "}");
    const char *text = buf_text(&all.text);
    char a[64], b[80];
    int tried = 0;
    assert_true(all.text.n > 40);
    /* Pieces of the answer: within a token, over several, at its start and at its end. */
    for (size_t at = 0; at < all.text.n; at += 1 + at / 6)
        for (size_t len = 1; len < 12 && at + len <= all.text.n; len += 3) {
            snprintf(a, sizeof a, "%.*s", (int)len, text + at);
            if (!utf8_valid(a, strlen(a)))
                continue;
            snprintf(b, sizeof b, "%szz", a); /* begins, but never ends */
            check_stops(&all, ses, (const char *[]){a}, 1);
            check_stops(&all, ses, (const char *[]){b, "", a}, 3);
            check_stops(&all, ses, (const char *[]){b}, 1);
            tried++;
        }
    assert_true(tried > 20);
    /* One begins before the other, which ends first. */
    size_t at = 0;
    while (at + 4 < all.text.n &&
           !((unsigned char)text[at] < 128 && (unsigned char)text[at + 1] < 128 &&
             (unsigned char)text[at + 2] < 128))
        at++;
    snprintf(a, sizeof a, "%.3sNEVER", text + at);
    snprintf(b, sizeof b, "%.1s", text + at + 2);
    check_stops(&all, ses, (const char *[]){a, b}, 2);
    check_stops(&all, ses, (const char *[]){b, a}, 2);
    check_stops(&all, ses, (const char *[]){"", ""}, 2);
    said_free(&all);
    lar_session_free(ses);
}

static void write_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static uint8_t *read_all(const char *path, size_t *n)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(stat(path, &st), 0);
    *n = (size_t)st.st_size;
    uint8_t *p = malloc(*n + 1);
    assert_int_equal(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

/* A template that opens a reasoning block itself: what follows is thought until it is closed. */
static void test_opened_thinking(void **state)
{
    (void)state;
    static const char old[] = "assistant\\n", new[] = "12<think>\\n";
    char *path = temp_path("think");
    size_t n, at = 0;
    uint8_t *file = read_all(model_path, &n);
    while (at + sizeof old < n && memcmp(file + at, old, sizeof old - 1) != 0)
        at++;
    assert_int_equal(sizeof old, sizeof new);
    memcpy(file + at, new, sizeof new - 1);
    write_file(path, file, n);
    lar_model *m = test_model_open(rt, path);
    lar_session *s = test_session(m, 128, 0, NULL);
    said a =
        ask(s, "generate", "{\"prompt\":\"x\",\"ignore_eos\":true,\"seed\":1,\"max_tokens\":12}");
    assert_true(a.thinking.n > 0);
    assert_int_equal(a.text.n, 0);
    said_free(&a);
    a = ask(s, "generate", "{\"prompt\":\"<think>\",\"max_tokens\":12," HOT "}");
    assert_int_equal(a.thinking.n, 0); /* not where the text is taken as it is */
    assert_true(a.text.n > 0);
    said_free(&a);
    lar_session_free(s);
    lar_model_free(m);
    unlink(path);
    free(path);
    free(file);
}

/* ---- what a session keeps
 * ------------------------------------------------------------------------------------ */

static void test_prefix_reuse(void **state)
{
    (void)state;
    static const char *const kv[] = {"f32", "f16", "q8_0"};
    static const char one[] =
        "{\"prompt\":\"The quick brown fox jumps over the lazy dog\",\"max_tokens\":4," HOT "}";
    static const char more[] = "{\"prompt\":\"The quick brown fox jumps over the lazy dog, and "
                               "then it sleeps\",\"max_tokens\":8," HOT "}";
    static const char other[] = "{\"prompt\":\"The quick brown cat\",\"max_tokens\":8," HOT "}";
    for (int i = 0; i < 6; i++) {
        lar_session *s = test_session(model, 128, i < 3 ? 0 : 7, kv[i % 3]);
        lar_session *f = test_session(model, 128, 0, kv[i % 3]);
        said a = ask(s, "generate", one);
        assert_int_equal(timing(&a, "cached_tokens"), 0);
        said again = ask(s, "generate", one); /* all but the last token of the prompt is there */
        assert_int_equal(timing(&again, "cached_tokens"), timing(&a, "prompt_tokens") - 1);
        same_tokens(&a, &again);
        said b = ask(s, "generate", more), want = ask(f, "generate", more);
        assert_true(timing(&b, "cached_tokens") >= timing(&a, "prompt_tokens") - 1);
        assert_int_equal(timing(&want, "cached_tokens"), 0);
        same_tokens(&b, &want);
        said c = ask(s, "generate", other);
        assert_int_equal(lar_session_clear(f, NULL), LAR_OK);
        assert_int_equal(held(f), 0);
        said_free(&want);
        want = ask(f, "generate", other);
        assert_in_range(timing(&c, "cached_tokens"), 4, timing(&c, "prompt_tokens") - 1);
        same_tokens(&c, &want);
        said_free(&a), said_free(&again), said_free(&b), said_free(&c), said_free(&want);
        lar_session_free(s);
        lar_session_free(f);
    }
}

static void test_cancel(void **state)
{
    (void)state;
    static const char fields[] =
        "{\"prompt\":\"a long enough prompt of some tokens\",\"max_tokens\":10," HOT "}";
    lar_session *s = test_session(model, 128, 4, "f16");
    said want = ask(s, "generate", fields);
    assert_true(want.events > 8); /* progress of the prompt, texts, the result */
    for (int way = 0; way < 2; way++)
        for (int at = 1; at <= want.events; at++) {
            said a = {.cancel_at = at, .by_call = way};
            assert_int_equal(lar_session_clear(s, NULL), LAR_OK);
            ask_into(&a, s, "generate", fields);
            assert_int_equal(a.st, LAR_ECANCELLED);
            assert_int_equal(a.events, at); /* nothing after it */
            said b = ask(s, "generate", fields);
            same_tokens(&b, &want);
            said_free(&a);
            said_free(&b);
        }
    said a = {.cancel_at = -1};
    assert_int_equal(lar_session_clear(s, NULL), LAR_OK);
    ask_into(&a, s, "generate", fields);
    assert_int_equal(a.st, LAR_ECANCELLED);
    assert_int_equal(held(s), 0); /* not one step was run */
    said_free(&a);
    said_free(&want);
    lar_session_free(s);
}

static void test_context_end(void **state)
{
    (void)state;
    const lar_ids ids = raw_ids("a b c d e f");
    char want[120];
    for (int extra = 0; extra < 5; extra++) {
        lar_session *s = test_session(model, (int)ids.n + extra, 0, "f16");
        said a = ask(s, "generate", "{\"prompt\":\"a b c d e f\"," HOT "}");
        assert_string_equal(stop_reason(&a), "context");
        assert_int_equal(n_tokens(&a), extra + 1); /* the last one is said, but not evaluated */
        assert_int_equal(held(s), (int)ids.n + extra);
        snprintf(want, sizeof want, "the context of %d tokens is full", (int)ids.n + extra);
        assert_non_null(strstr(buf_text(&a.notice), want));
        said_free(&a);
        lar_session_free(s);
    }
    lar_session *s = test_session(model, (int)ids.n - 1, 0, "f16");
    said a = ask(s, "generate", "{\"prompt\":\"a b\",\"max_tokens\":2," HOT "}");
    const int before = held(s);
    said b = ask_any(s, "generate", "{\"prompt\":\"a b c d e f\"," HOT "}");
    assert_int_equal(b.st, LAR_EFULL);
    snprintf(want, sizeof want, "the prompt has %d tokens, the context only %d", (int)ids.n,
             (int)ids.n - 1);
    assert_non_null(strstr(b.e.msg, want));
    assert_int_equal(held(s), before); /* and nothing is lost */
    said_free(&a);
    said_free(&b);
    lar_session_free(s);
    lar_ids_free(&(lar_ids){ids.p, ids.n, ids.cap});
}

/* Every token is what `logits` says of exactly the tokens that are kept. */
static void check_shift(int ctx, int keep, const char *prompt)
{
    char fields[300];
    lar_session *s = test_session(model, ctx, 3, "f32"),
                *other = test_session(model, ctx, 0, "f32");
    snprintf(
        fields, sizeof fields,
        "{\"prompt\":\"%s\",\"raw\":true,\"ctx_shift\":true,\"keep\":%d,\"max_tokens\":40," GREEDY
        "}",
        prompt, keep);
    said a = ask(s, "generate", fields);
    lar_ids ids = raw_ids(prompt);
    int shifts = 0, notices = 0;
    assert_string_equal(stop_reason(&a), "length");
    for (int i = 0; i < 40; i++) {
        assert_int_equal(token(&a, i), argmax(other, &ids));
        if ((int)ids.n == ctx && i < 39) {
            const size_t k = LAR_MIN((size_t)keep, ids.n / 2),
                         drop = LAR_MAX((size_t)1, (ids.n - k) / 2);
            memmove(ids.p + k, ids.p + k + drop, (ids.n - k - drop) * sizeof *ids.p);
            ids.n -= drop;
            shifts++;
        }
        lar_ids_add(&ids, token(&a, i), NULL);
    }
    for (const char *p = buf_text(&a.notice); (p = strstr(p, "context full: dropped")); p++)
        notices++;
    assert_int_equal(notices, shifts);
    assert_true(shifts > 0);
    lar_ids_free(&ids);
    said_free(&a);
    lar_session_free(s);
    lar_session_free(other);
}

static void test_shift(void **state)
{
    (void)state;
    check_shift(16, 0, "hello world");
    check_shift(16, 4, "hello world");
    check_shift(23, 100, "hello world");
    check_shift(2, 0, "a");
    check_shift(2, 1, "a");
    check_shift(1, 0, "a");
}

/* ---- session files
 * ------------------------------------------------------------------------------------------------
 */

static const char begin[] = "{\"prompt\":\"Once upon a time there was\",\"max_tokens\":6," HOT "}";
static const char go_on[] =
    "{\"prompt\":\"Once upon a time there was a king\",\"max_tokens\":8," HOT "}";

static void test_save_and_load(void **state)
{
    static const char *const kv[] = {"f32", "f16", "q8_0"};
    lar_err e = {0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        char *path = temp_path("session");
        lar_session *a = test_session(model, 128, 0, kv[i]), *b = test_session(model, 96, 5, kv[i]);
        lar_session *empty = test_session(model, 64, 0, kv[i]);
        said x = ask(a, "generate", begin);
        assert_int_equal(lar_session_save(a, path, &e), LAR_OK);
        if (lar_session_load(b, path, &e) != LAR_OK)
            fail_msg("%s", e.msg);
        assert_int_equal(held(b), held(a));
        assert_memory_equal(lar_seq_tokens(a->seq), lar_seq_tokens(b->seq), (size_t)held(a) * 4);
        said y = ask(a, "generate", go_on), z = ask(b, "generate", go_on);
        assert_int_equal(timing(&y, "cached_tokens"), timing(&z, "cached_tokens"));
        assert_true(timing(&z, "cached_tokens") > 5);
        same_tokens(&y, &z);
        said_free(&z);
        assert_int_equal(lar_session_clear(b, NULL), LAR_OK);
        z = ask(b, "generate", go_on);
        same_tokens(&y, &z);
        /* An empty one too, over a full one. */
        assert_int_equal(lar_session_save(empty, path, &e), LAR_OK);
        assert_int_equal(lar_session_load(b, path, &e), LAR_OK);
        assert_int_equal(held(b), 0);
        said_free(&z);
        z = ask(b, "generate", go_on);
        assert_int_equal(timing(&z, "cached_tokens"), 0);
        same_tokens(&y, &z);
        assert_int_not_equal(lar_session_save(a, "no/such/folder/file", &e), LAR_OK);
        assert_int_not_equal(lar_session_load(a, "no/such/file", &e), LAR_OK);
        said_free(&x), said_free(&y), said_free(&z);
        lar_session_free(a), lar_session_free(b), lar_session_free(empty);
        unlink(path);
        free(path);
    }
}

static void refuse_load(lar_session *s, const char *path, const char *message,
                        const int32_t *tokens, int n)
{
    lar_err e = {0};
    const lar_status st = lar_session_load(s, path, &e);
    if (st == LAR_OK || st != e.code || !e.msg[0] || !strstr(e.msg, message))
        fail_msg("%s \"%s\", want \"%s\"", lar_status_name(st), e.msg, message);
    assert_int_equal(held(s), n);
    assert_memory_equal(lar_seq_tokens(s->seq), tokens, (size_t)n * sizeof *tokens);
}

static void test_damaged_sessions(void **state)
{
    (void)state;
    lar_err e = {0};
    char *path = temp_path("session");
    lar_session *a = test_session(model, 128, 0, "f16"), *f32 = test_session(model, 128, 0, "f32");
    lar_session *small = test_session(model, 8, 0, "f16");
    lar_model *mix = test_model_open(rt, "tests/data/tiny_mix.gguf");
    lar_session *other = test_session(mix, 128, 0, "f16");
    int32_t tokens[128];
    size_t size;
    said x = ask(a, "generate", begin), want = ask(a, "generate", go_on);
    assert_int_equal(lar_session_save(a, path, &e), LAR_OK);
    const int n = held(a);
    assert_in_range(n, 9, 63);
    memcpy(tokens, lar_seq_tokens(a->seq), (size_t)n * sizeof *tokens);
    refuse_load(f32, path, "has a KV cache of type f16, this session's is f32", NULL, 0);
    refuse_load(other, path, "was saved with another model", NULL, 0);
    refuse_load(small, path, "tokens, this session's context is 8", NULL, 0);
    refuse_load(small, model_path, "is not a saved session", NULL, 0);
    uint8_t *file = read_all(path, &size);
    for (size_t len = 0; len < size; len += len < 300 ? 11 : size / 24) {
        write_file(path, file, len);
        refuse_load(a, path,
                    len == 0   ? ""
                    : len < 64 ? "is not a saved session"
                               : "truncated",
                    tokens, n);
    }
    file[size] = 0;
    write_file(path, file, size + 1);
    refuse_load(a, path, "truncated or too long", tokens, n);
    for (size_t at = 0; at < size; at += at < 64 ? 1 : at < 200 ? 7 : size / 60) {
        file[at] ^= (uint8_t)(1u << at % 8);
        write_file(path, file, size);
        refuse_load(a, path, "", tokens, n);
        file[at] ^= (uint8_t)(1u << at % 8);
    }
    file[size - 1] ^= 0x80;
    write_file(path, file, size);
    refuse_load(a, path, "checksum", tokens, n);
    said y = ask(a, "generate", go_on); /* the session answers as before, from what it holds */
    assert_int_equal(timing(&y, "cached_tokens"), timing(&y, "prompt_tokens") - 1);
    same_tokens(&y, &want);
    said_free(&x), said_free(&y), said_free(&want);
    free(file);
    unlink(path);
    free(path);
    lar_session_free(a), lar_session_free(f32), lar_session_free(small), lar_session_free(other);
    lar_model_free(mix);
}

/* ---- fields
 * ----------------------------------------------------------------------------------------------------------
 */

static void test_bad_values(void **state)
{
    (void)state;
    static const struct {
        const char *task, *fields, *message;
    } cases[] = {
        {"generate", "{\"temp\":-1}", "temp"},
        {"generate", "{\"top_k\":-1}", "top-k"},
        {"generate", "{\"top_p\":1.5}", "top-p"},
        {"generate", "{\"seed\":1.5}", "seed"},
        {"generate", "{\"mirostat\":3}", "mirostat"},
        {"generate", "{\"stop\":5}", "stop"},
        {"generate", "{\"max_tokens\":-2}", "max-tokens"},
        {"generate", "{\"no_such_field\":1}", "no_such_field"},
        {"generate", "{}", "nothing to answer: want prompt or messages"},
        {"generate", "{\"messages\":[]}", "nothing to answer"},
        {"generate", "{\"messages\":{\"role\":\"user\"}}", "messages: want an array"},
        {"generate", "{\"messages\":\"hello\"}", "messages: want an array"},
        {"generate", "{\"prompt\":\"\",\"raw\":true}", "the prompt has no tokens"},
        {"generate", "{\"prompt\":\"x\",\"template_vars\":[1]}", "must be a JSON object"},
        {"generate", "{\"prompt\":\"x\",\"logit_bias\":[1]}", "logit-bias: want an object"},
        {"generate", "{\"prompt\":\"x\",\"logit_bias\":{\"320\":1}}",
         "'320' is no token id, want 0 to 319"},
        {"generate", "{\"prompt\":\"x\",\"logit_bias\":{\"-1\":1}}", "'-1' is no token id"},
        {"generate", "{\"prompt\":\"x\",\"logit_bias\":{\"-18446744073709551615\":1}}",
         "is no token id"},
        {"generate", "{\"prompt\":\"x\",\"logit_bias\":{\" 1\":1}}", "' 1' is no token id"},
        {"generate", "{\"prompt\":\"x\",\"logit_bias\":{\"\":1}}", "'' is no token id"},
        {"generate", "{\"prompt\":\"x\",\"logit_bias\":{\"1x\":1}}", "'1x' is no token id"},
        {"generate", "{\"prompt\":\"x\",\"logit_bias\":{\"99999999999999999999999\":1}}",
         "is no token id"},
        {"generate", "{\"prompt\":\"x\",\"logit_bias\":{\"1\":\"a\"}}",
         "token 1 wants a number or false"},
        {"generate", "{\"prompt\":\"x\",\"logit_bias\":{\"1\":1e300}}",
         "token 1 has 1e+300, want -1e9 to 1e9"},
        {"logits", "{\"ids\":\"\"}", "the prompt has no tokens"},
        {"logits", "{\"ids\":\"1 x\"}", "'x' is not a token id"},
        {"logits", "{\"ids\":\"1,-2\"}", "'-2' is not a token id"},
        {"logits", "{\"ids\":\"21474836470\"}", "'21474836470' is not a token id"},
        {"logits", "{\"ids\":\"99999999999999999999\"}", "is not a token id"},
        {"logits", "{\"ids\":\"2147483647\"}", "token 2147483647 at 0, want 0 to 319"},
        {"logits", "{\"ids\":\"5 320\"}", "token 320 at 1, want 0 to 319"},
        {"logits", "{\"prompt\":\"x\",\"top\":-1}", "top"},
        {"logits", "{\"prompt\":\"x\",\"out\":\"no/such/folder/file\"}", "no/such/folder"},
    };
    lar_session *s = test_session(model, 64, 0, "f16");
    lar_request *r;
    lar_err e = {0};
    for (size_t i = 0; i < LAR_LEN(cases); i++) {
        said a = ask_any(s, cases[i].task, cases[i].fields);
        if (a.st == LAR_OK || a.st != a.e.code || !strstr(a.e.msg, cases[i].message))
            fail_msg("%s: %s \"%s\", want \"%s\"", cases[i].fields, lar_status_name(a.st), a.e.msg,
                     cases[i].message);
        assert_null(a.result);
        said_free(&a);
    }
    /* Not UTF-8: such a text could cut a character in two. */
    assert_int_equal(lar_request_new(rt, "generate", &r, &e), LAR_OK);
    assert_int_equal(lar_request_set_session(r, s, &e), LAR_OK);
    assert_int_equal(lar_request_set_string(r, "prompt", "x", &e), LAR_OK);
    if (lar_request_set_string(r, "stop", "\xa9", &e) == LAR_OK) {
        assert_int_equal(lar_request_run(r, NULL, NULL, &e), LAR_EARG);
        assert_non_null(strstr(e.msg, "stop"));
    }
    lar_request_free(r);
    assert_int_equal(lar_request_new(rt, "generate", &r, &e),
                     LAR_OK); /* a raw prompt may be any bytes */
    assert_int_equal(lar_request_set_session(r, s, &e), LAR_OK);
    assert_int_equal(
        lar_request_set_json(r, NULL, "{\"raw\":true,\"max_tokens\":2,\"temp\":0}", &e), LAR_OK);
    if (lar_request_set_string(r, "prompt", "\xff\xfe", &e) == LAR_OK)
        assert_int_equal(lar_request_run(r, NULL, NULL, &e), LAR_OK);
    lar_request_free(r);
    said a =
        ask(s, "generate",
            "{\"prompt\":\"x\",\"max_tokens\":2}"); /* all that left the session as good as new */
    assert_int_equal(n_tokens(&a) <= 2, 1);
    said_free(&a);
    lar_session_free(s);
}

/* ---- logits
 * ---------------------------------------------------------------------------------------------------
 */

/* --all and one by one, in steps of any size: the same numbers, and the hash is that of the file.
 */
static void test_logits(void **state)
{
    (void)state;
    char *path = temp_path("logits"), fields[700];
    char first[65] = "";
    for (int batch = 1; batch < 12; batch += 5) {
        size_t n;
        lar_session *s = test_session(model, 64, batch, "f16");
        snprintf(fields, sizeof fields,
                 "{\"prompt\":\"some words here\",\"all\":true,\"top\":320,\"out\":\"%s\"}", path);
        said a = ask(s, "logits", fields);
        const size_t n_ids = (size_t)json_integer_value(json_object_get(a.result, "prompt_tokens"));
        const json_t *rows = json_object_get(a.result, "logits");
        uint8_t *file = read_all(path, &n);
        float x[320];
        assert_int_equal(n, n_ids * sizeof x);
        memcpy(x, file + n - sizeof x, sizeof x);
        double sum = 0, last = 1e30;
        bool seen[320] = {false};
        assert_int_equal(json_array_size(rows), 320);
        for (size_t i = 0; i < 320; i++) {
            const json_t *row = json_array_get(rows, i);
            const size_t id = (size_t)json_integer_value(json_object_get(row, "id"));
            const double v = json_number_value(json_object_get(row, "logit"));
            assert_true(id < 320 && !seen[id] && v <= last && v == (double)x[id]);
            seen[id] = true;
            last = v;
            sum += __builtin_exp(json_number_value(json_object_get(row, "logprob")));
        }
        assert_true(sum > 1 - 1e-9 && sum < 1 + 1e-9);
        const char *hash = json_string_value(json_object_get(a.result, "sha256"));
        assert_true(batch == 1 || strcmp(hash, first) == 0);
        snprintf(first, sizeof first, "%s", hash);
        free(file);
        said_free(&a);
        lar_session_free(s);
    }
    unlink(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_is_argmax),
        cmocka_unit_test(test_max_tokens),
        cmocka_unit_test(test_end_of_text),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_opened_thinking),
        cmocka_unit_test(test_prefix_reuse),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_context_end),
        cmocka_unit_test(test_shift),
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_damaged_sessions),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_logits),
    };
    return cmocka_run_group_tests_name("generate", tests, set_up, tear_down);
}
