/*
 * test_spec.c - speculation: an answer is the same with any drafter and with none, whatever the
 * settings; a model that drafts for itself is always right; a drafter that fails is done without;
 * and where guesses come to nothing they cost next to nothing. Oracle: the same request with
 * "speculate": "off", in a session of its own.
 */
#include "generate_test.h"
#include "infer/spec.h"
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static const char tiny_path[] = "tests/data/tiny.gguf", mix_path[] = "tests/data/tiny_mix.gguf";
static lar_runtime *rt;
static lar_model *tiny, *mix;

static int set_up(void **state)
{
    (void)state;
    rt = test_runtime(2);
    tiny = test_model_open(rt, tiny_path);
    mix = test_model_open(rt, mix_path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lar_model_free(tiny);
    lar_model_free(mix);
    lar_runtime_free(rt);
    return 0;
}

/* ---- who drafts what ----------------------------------------------------------------------- */

static lar_spec *ngrams(const lar_spec_options *o)
{
    lar_err e = {0};
    lar_spec *s;
    lar_sampler_params sp;
    lar_spec_options mine = *o;
    lar_sampler_defaults(&sp);
    mine.sampler = &sp;
    assert_int_equal(lar_spec_new(&s, &e), LAR_OK);
    assert_int_equal(lar_spec_begin(s, &mine, &e), LAR_OK);
    return s;
}

/* The last of `text` (letters are tokens) is the one picked. */
static void expect_guess(lar_spec *s, const char *text, int most, const char *want)
{
    int32_t held[64], out[LAR_SPEC_MOST];
    char got[LAR_SPEC_MOST + 1] = "";
    const int n = (int)strlen(text) - 1;
    for (int i = 0; i < n; i++)
        held[i] = text[i];
    const lar_spec_text t = {.held = held, .n = n, .last = text[n]};
    const int k = lar_spec_draft(s, &t, most, out);
    for (int i = 0; i < k; i++)
        got[i] = (char)out[i];
    assert_string_equal(got, want);
}

static void test_ngram(void **state)
{
    (void)state;
    lar_spec *s = ngrams(&(lar_spec_options){.draft_max = 15, .draft_min = 15, .ngram_min = 2});
    expect_guess(s, "abcdefghab", 3, "cde");
    expect_guess(s, "abcdefghab", 6, "cdefgh");
    expect_guess(s, "abcdefghab", 9, "cdefghabc"); /* runs into what it drafts */
    expect_guess(s, "abXab1ab2Xab", 2, "1a");      /* the longer match, not the later one */
    expect_guess(s, "ab1ab2ab3ab", 1, "3");        /* the later of two as long */
    expect_guess(s, "aaaa", 5, "aaaaa");
    expect_guess(s, "abab", 5, "ababa");
    expect_guess(s, "abcdefgh", 5, ""); /* nothing occurred before */
    expect_guess(s, "abcdefgb", 5, ""); /* one token is too little */
    expect_guess(s, "a", 5, "");
    expect_guess(s, "ab", 5, "");
    expect_guess(s, "abcab", 0, "");
    lar_spec_free(s);
    s = ngrams(&(lar_spec_options){.draft_max = 4, .draft_min = 15, .ngram_min = 1});
    expect_guess(s, "abcdefgb", 15, "cdef"); /* draft_max */
    lar_spec_free(s);
    s = ngrams(&(lar_spec_options){.draft_max = 4, .draft_min = 2, .ngram_min = 4});
    expect_guess(s, "abcd1bcd", 15, "");
    expect_guess(s, "abcd1abcd", 2, "1a");
    lar_spec_free(s);
}

static void test_no_such_drafter(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_spec *s;
    lar_sampler_params sp;
    lar_sampler_defaults(&sp);
    assert_int_equal(lar_spec_new(&s, &e), LAR_OK);
    assert_int_equal(lar_spec_begin(s, &(lar_spec_options){.only = "draft", .sampler = &sp}, &e),
                     LAR_ENOTFOUND);
    assert_null(lar_spec_engine(s));
    lar_spec_free(s);
}

/* ---- what it may cost ------------------------------------------------------------------------ */

/* What a step of n tokens costs on some machine. */
typedef double cost_fn(int n);
static double free_columns(int n)
{
    return 1 + 0.02 * n;
}
static double dear_columns(int n)
{
    return n;
}
static double tiles(int n)
{
    return n == 1 ? 1 : 1.7 + 0.12 * (n - 2);
}

/* An answer of `tokens`, whose text always offers a match of `match` tokens, and of whose guesses
 * `right` in a hundred come true. The time it takes, in single steps. */
static double simulate(cost_fn *cost, int tokens, int match, int right, uint64_t seed)
{
    int32_t held[64], out[LAR_SPEC_MOST];
    lar_spec *s = ngrams(&(lar_spec_options){.draft_max = 15, .ngram_min = 2});
    double time = 0;
    for (int i = 0; i < 63; i++)
        held[i] = i;
    for (int i = 0; i < match; i++)
        held[63 - i] = held[20 - i];
    const lar_spec_text t = {.held = held, .n = 63, .last = held[63]};
    for (int done = 0; done < tokens;) {
        const int n = lar_spec_draft(s, &t, tokens - done - 1, out);
        int good = 0;
        while (good < n && lar_random(seed, (uint64_t)(done * 64 + good)) % 100 < (unsigned)right)
            good++;
        const double seconds = cost(n + 1) * 1e-2;
        time += cost(n + 1);
        lar_spec_step(s, n, seconds);
        lar_spec_judge(s, good, good < n);
        done += good + 1;
    }
    lar_spec_free(s);
    return time;
}

static void test_worst_case(void **state)
{
    (void)state;
    cost_fn *const machines[] = {free_columns, dear_columns, tiles};
    double worst = 0, odd = 0;
    for (size_t m = 0; m < LAR_LEN(machines); m++)
        for (int match = 2; match < 18; match++)
            for (int right = 0; right <= 20; right += 10) {
                const double t = simulate(machines[m], 128, match, right, (uint64_t)match);
                /* Six tokens in a row that occurred before are no text without repeats. */
                const bool repeats = match > 5;
                worst = fmax(worst, repeats ? 0 : t / 128);
                odd = fmax(odd, t / 128);
                if (t > 128 * (repeats ? 1.06 : 1.03))
                    fail_msg("machine %zu, match %d, %d %% right: %.1f steps for 128 tokens", m,
                             match, right, t);
            }
    print_message("worst case: %.4f of the time without; %.4f where long repeats mislead\n", worst,
                  odd);
}

static void test_best_case(void **state)
{
    (void)state;
    /* 256 tokens that are all guessed: at least so many times as fast. */
    assert_true(simulate(free_columns, 256, 16, 100, 1) < 256 / 7.0);
    assert_true(simulate(tiles, 256, 16, 100, 1) < 256 / 3.0);
    assert_true(simulate(tiles, 256, 16, 90, 1) < 256 / 2.0);
    assert_true(simulate(dear_columns, 256, 16, 100, 1) < 256 * 1.03);
}

/* ---- the same answer ---------------------------------------------------------------------------
 */

typedef struct rig {
    lar_model *m, *draft;
    int ctx, batch;
    const char *kv;
} rig;

static lar_session *open_rig(const rig *r)
{
    lar_err e = {0};
    lar_session *s;
    const lar_session_options o = {
        .size = sizeof o, .ctx = r->ctx, .batch = r->batch, .kv_type = r->kv, .draft = r->draft};
    if (lar_session_new(r->m, &o, &s, &e) != LAR_OK)
        fail_msg("%s", e.msg);
    return s;
}

static int spec_figure(const said *a, const char *kind, const char *key)
{
    const json_t *o = json_object_get(a->result, "speculation");
    if (kind)
        o = json_object_get(json_object_get(o, "kinds"), kind);
    return (int)json_integer_value(json_object_get(o, key));
}

/* What is the same: everything that is said, what the session holds, and the number of events. */
static void same_answer(const char *fields, const said *a, lar_session *sa, const said *b,
                        lar_session *sb)
{
    if (a->st != b->st)
        fail_msg("%s: %d \"%s\", without speculation %d \"%s\"", fields, (int)b->st, b->e.msg,
                 (int)a->st, a->e.msg);
    assert_int_equal(lar_seq_length(sa->seq), lar_seq_length(sb->seq));
    assert_memory_equal(lar_seq_tokens(sa->seq), lar_seq_tokens(sb->seq),
                        (size_t)lar_seq_length(sa->seq) * sizeof(int32_t));
    assert_int_equal(a->events, b->events);
    assert_string_equal(buf_text(&a->text), buf_text(&b->text));
    assert_string_equal(buf_text(&a->thinking), buf_text(&b->thinking));
    assert_string_equal(buf_text(&a->notice), buf_text(&b->notice));
    if (a->st != LAR_OK)
        return;
    same_tokens(a, b);
    assert_string_equal(stop_reason(a), stop_reason(b));
    assert_null(json_object_get(a->result, "speculation"));
    assert_non_null(json_object_get(b->result, "speculation"));
}

typedef struct tally {
    int answers, drafted, accepted;
} tally;

/* `fields` is an object without its last brace; each of `how` speculates. Two turns: what the first
 * leaves in the session is what the second begins with. */
static void compare(const rig *r, const char *fields, const char *const *how, int n_how, tally *t)
{
    char line[1600];
    lar_session *plain = open_rig(&(rig){.m = r->m, .ctx = r->ctx, .batch = r->batch, .kv = r->kv});
    snprintf(line, sizeof line, "%s,\"speculate\":\"off\"}", fields);
    said want = ask_any(plain, "generate", line);
    for (int i = 0; i < n_how; i++) {
        lar_session *s = open_rig(r);
        snprintf(line, sizeof line, "%s,%s}", fields, how[i]);
        for (int turn = 0; turn < 2; turn++) {
            said a = ask_any(s, "generate", line);
            if (turn == 0)
                same_answer(line, &want, plain, &a, s);
            else if (a.st == LAR_OK)
                same_tokens(&want, &a);
            t->answers++;
            t->drafted += spec_figure(&a, NULL, "drafted");
            t->accepted += spec_figure(&a, NULL, "accepted");
            said_free(&a);
        }
        lar_session_free(s);
    }
    said_free(&want);
    lar_session_free(plain);
}

static const char *const hows[] = {
    "\"speculate\":\"auto\"",
    "\"speculate\":\"ngram\",\"draft_min\":1,\"draft_ngram\":1",
    "\"speculate\":\"auto\",\"draft_min\":15",
    "\"speculate\":\"draft\",\"draft_min\":3,\"draft_max\":5",
    "\"speculate\":\"auto\",\"draft_min\":63,\"draft_max\":63,\"draft_ngram\":3",
};

/* Settings by chance, a few at a time, of all that have a say in what is picked. */
static void some_settings(uint64_t seed, char *out, size_t size)
{
    static const char *const temps[] = {"0", "0", "0.2", "0.7", "1", "1.5"};
    static const char *const more[] = {
        "\"repeat_penalty\":1.3",
        "\"repeat_penalty\":0.8,\"repeat_last_n\":-1",
        "\"frequency_penalty\":0.2,\"repeat_last_n\":9",
        "\"presence_penalty\":-0.5",
        "\"dry_multiplier\":0.8",
        "\"dry_multiplier\":2,\"dry_allowed_length\":1,\"dry_last_n\":20",
        "\"top_k\":3",
        "\"top_k\":0,\"top_p\":0.5",
        "\"min_p\":0.3",
        "\"typical\":0.6",
        "\"xtc_probability\":0.5",
        "\"mirostat\":1",
        "\"mirostat\":2,\"mirostat_tau\":2",
        "\"logit_bias\":{\"32\":3,\"97\":4,\"98\":4,\"99\":-5,\"100\":false}",
        "\"logit_bias\":{\"318\":2}",
        "\"ignore_eos\":true",
        "\"ignore_eos\":true",
        "\"stop\":[\"ab\",\"e\",\"the\"]",
        "\"stop\":[\"zzz\"]",
        "\"ctx_shift\":true",
        "\"ctx_shift\":true,\"keep\":5",
        "\"raw\":true",
        "\"raw\":true",
    };
    static const char *const prompts[] = {"a b a b a b a b a b", "the cat and the cat and the",
                                          "Hello", "aaaaaaaaaaaaaaaaaaaaaaaa",
                                          "one two three one two three one two"};
    static const int lengths[] = {0, 1, 2, 3, 17, 60, 90, -1};
    uint64_t at = 0;
#define PICK(a) a[lar_random(seed, at++) % LAR_LEN(a)]
    const char *prompt = PICK(prompts), *temp = PICK(temps);
    int n = snprintf(out, size, "{\"prompt\":\"%s\",\"seed\":%d,\"temp\":%s", prompt,
                     (int)(seed % 1000), temp);
    const int limit = PICK(lengths), extra = (int)(lar_random(seed, at++) % 5);
    bool shifts = false;
    for (int i = 0; i < extra; i++) {
        const char *s = PICK(more);
        char key[40];
        snprintf(key, sizeof key, "%.*s", (int)strcspn(s, ":"), s);
        if (!strstr(out, key)) {
            n += snprintf(out + n, size - (size_t)n, ",%s", s);
            shifts |= strstr(s, "ctx_shift") != NULL;
        }
    }
    snprintf(out + n, size - (size_t)n, ",\"max_tokens\":%d", limit < 0 && shifts ? 150 : limit);
#undef PICK
}

static void compare_many(const rig *r, uint64_t from, int n, tally *t)
{
    static const int ctx[] = {40, 64, 100, 256}, batch[] = {0, 2, 5, 16, 1};
    static const char *const kv[] = {"f16", "f32", "q8_0"};
    for (int i = 0; i < n; i++) {
        const uint64_t seed = from + (uint64_t)i;
        char fields[900];
        rig mine = *r;
        mine.ctx = ctx[lar_random(seed, 1000) % LAR_LEN(ctx)];
        mine.batch = batch[lar_random(seed, 1001) % LAR_LEN(batch)];
        mine.kv = kv[lar_random(seed, 1002) % LAR_LEN(kv)];
        some_settings(seed, fields, sizeof fields);
        const int first = (int)(seed % LAR_LEN(hows)), how = !r->draft && first == 3 ? 1 : first;
        compare(&mine, fields, &hows[how], 1, t);
    }
}

static void test_same_answer_ngram(void **state)
{
    (void)state;
    tally t = {0};
    compare_many(&(rig){.m = tiny}, 1, 150, &t);
    compare_many(&(rig){.m = mix}, 1001, 100, &t);
    print_message("%d answers, %d of %d guesses right\n", t.answers, t.accepted, t.drafted);
    assert_true(t.accepted > 500 && t.drafted - t.accepted > 1000);
}

static void test_same_answer_draft(void **state)
{
    (void)state;
    tally t = {0}, self = {0};
    compare_many(&(rig){.m = tiny, .draft = mix}, 2001, 100, &t);
    compare_many(&(rig){.m = mix, .draft = mix}, 3001, 100, &self);
    print_message("%d answers, %d of %d guesses right; %d of %d by the model itself\n", t.answers,
                  t.accepted, t.drafted, self.accepted, self.drafted);
    assert_true(t.accepted > 300 && t.drafted - t.accepted > 1000);
    assert_true(self.accepted > 800 && self.drafted - self.accepted > 800);
}

/* A model that drafts for itself is right every time: also when warm, since it draws the same
 * random numbers; and as many steps as that saves are not made. */
static void test_self_draft(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "\"temp\":0", "\"temp\":0,\"repeat_penalty\":1.2,\"dry_multiplier\":1",
        "\"temp\":1.2,\"seed\":5", "\"temp\":0.8,\"seed\":9,\"xtc_probability\":0.5,\"min_p\":0"};
    for (size_t i = 0; i < LAR_LEN(settings); i++)
        for (int k = 1; k < 16; k += 7) {
            char fields[400];
            lar_session *s = open_rig(&(rig){.m = tiny, .draft = tiny, .ctx = 128});
            snprintf(fields, sizeof fields,
                     "{\"prompt\":\"once upon\",\"ignore_eos\":true,\"max_tokens\":80,"
                     "\"speculate\":\"draft\",\"draft_min\":%d,\"draft_max\":%d,%s}",
                     k, k, settings[i]);
            said a = ask(s, "generate", fields);
            assert_int_equal(n_tokens(&a), 80);
            const int drafted = spec_figure(&a, "draft", "drafted"),
                      steps = spec_figure(&a, "draft", "steps");
            assert_int_equal(spec_figure(&a, "draft", "accepted"), drafted);
            assert_true(json_real_value(json_object_get(json_object_get(a.result, "speculation"),
                                                        "acceptance")) == 1);
            assert_int_equal(steps, (drafted + k - 1) / k);
            assert_true(drafted + steps >= 78); /* the first, the last, and while it reads */
            said_free(&a);
            lar_session_free(s);
        }
}

/* ---- what is wrong with it, or ends it
 * ------------------------------------------------------------
 */

static void refuse_draft(lar_model *m, lar_model *draft, const char *message)
{
    lar_err e = {0};
    lar_session *s = NULL;
    const lar_session_options o = {.size = sizeof o, .ctx = 64, .draft = draft};
    assert_int_equal(lar_session_new(m, &o, &s, &e), LAR_EARG);
    assert_null(s);
    if (!strstr(e.msg, message))
        fail_msg("\"%s\", want \"%s\"", e.msg, message);
}

static void test_wrong_draft(void **state)
{
    (void)state;
    lar_err e = {0};
    lar_model *gemma = test_model_open(rt, "tests/data/models/gemma3_62.gguf"), *vocab;
    const lar_model_options vo = {.size = sizeof vo, .vocab_only = 1};
    refuse_draft(tiny, gemma,
                 "draft model: its vocabulary differs: token 260 is \"<|endoftext|>\" there and "
                 "\"er\" in the model it is for (264 and 320 tokens)");
    assert_int_equal(lar_model_open(rt, tiny_path, &vo, &vocab, &e), LAR_OK);
    refuse_draft(tiny, vocab, "vocab_only");
    lar_session *s = test_session(tiny, 64, 0, NULL);
    said a = ask_any(s, "generate", "{\"prompt\":\"x\",\"speculate\":\"draft\"}");
    assert_int_equal(a.st, LAR_EARG);
    assert_non_null(strstr(a.e.msg, "the session has no draft model"));
    said_free(&a);
    a = ask_any(s, "generate", "{\"prompt\":\"x\",\"speculate\":\"yes\"}");
    assert_int_equal(a.st, LAR_EARG);
    said_free(&a);
    lar_session_free(s);
    lar_model_free(gemma);
    lar_model_free(vocab);
}

/* The session keeps the draft model; the model's own info says what it takes. */
static void test_draft_info(void **state)
{
    (void)state;
    lar_model *d = test_model_open(rt, mix_path);
    lar_session *s = open_rig(&(rig){.m = tiny, .draft = d, .ctx = 100, .kv = "f32"});
    lar_model_free(d);
    said a = ask(s, "generate", "{\"prompt\":\"x\",\"max_tokens\":20,\"draft_min\":2}");
    char *text = lar_session_info(s);
    json_t *info = json_loads(text, 0, NULL), *o = json_object_get(info, "draft");
    assert_int_equal(json_integer_value(json_object_get(o, "ctx")), 100);
    /* As many layers, F16 instead of F32, two pages instead of five. */
    assert_int_equal(json_integer_value(json_object_get(o, "kv_bytes")) * 5,
                     json_integer_value(json_object_get(info, "kv_bytes")));
    assert_true(json_integer_value(json_object_get(o, "weight_bytes")) > 100000);
    assert_true(json_integer_value(json_object_get(o, "work_bytes")) > 1000);
    json_decref(info);
    lar_string_free(text);
    said_free(&a);
    lar_session_free(s);
}

/* A copy of a model in which `times` 32-bit values, `at` bytes after where `key` begins, are
 * another. */
static lar_model *changed(const char *path, const void *key, size_t k, size_t at, uint32_t value,
                          int times)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(stat(path, &st), 0);
    const size_t n = (size_t)st.st_size;
    char *p = malloc(n), *name = temp_path("spec");
    size_t from = 0;
    assert_int_equal(fread(p, 1, n, f), n);
    fclose(f);
    while (from + k < n && memcmp(p + from, key, k) != 0)
        from++;
    assert_true(from + k <= n && from + at + 4 * (size_t)times <= n);
    assert_memory_equal(p + from, key, k);
    for (int i = 0; i < times; i++)
        memcpy(p + from + at + 4 * (size_t)i, &value, 4);
    f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
    lar_model *m = test_model_open(rt, name);
    unlink(name);
    free(name);
    free(p);
    return m;
}

/* The same, for `times` numbers of an F32 tensor from its `first` on. */
static lar_model *changed_tensor(const lar_model *m, const char *path, const char *tensor,
                                 size_t first, float value, int times)
{
    const lar_gguf_tensor *t = lar_gguf_find_tensor(m->gguf, tensor);
    uint32_t bits;
    assert_non_null(t);
    assert_true(t->bytes == (size_t)(t->dim[0] * t->dim[1]) * 4);
    memcpy(&bits, &value, 4);
    return changed(path, t->data + first * 4, 64, 0, bits, times);
}

/* The draft model's context ends before the answer does. */
static void test_small_draft_context(void **state)
{
    (void)state;
    tally t = {0};
    lar_model *d = changed(tiny_path, "llama.context_length", 20, 24, 30, 1);
    lar_session *s = open_rig(&(rig){.m = tiny, .draft = d, .ctx = 128});
    assert_int_equal(lar_engine_ctx(lar_spec_engine(s->spec)), 30);
    lar_session_free(s);
    compare(&(rig){.m = tiny, .draft = d, .ctx = 128},
            "{\"prompt\":\"once\",\"raw\":true,\"ignore_eos\":true,\"temp\":0,\"max_tokens\":70",
            &hows[3], 1, &t);
    assert_in_range(t.drafted, 20, 60); /* in two turns */
    compare_many(&(rig){.m = tiny, .draft = d}, 4001, 30, &t);
    lar_model_free(d);
}

/* A drafter or a guess that is no good changes nothing: fields and a way to speculate, of which a
 * note is expected, or NULL. */
static int unharmed(lar_model *m, lar_model *draft, const char *fields, const char *note)
{
    char with[300], without[300];
    lar_session *x = open_rig(&(rig){.m = m, .draft = draft, .ctx = 128}),
                *y = open_rig(&(rig){.m = m, .ctx = 128});
    snprintf(with, sizeof with, "%s,%s}", fields, hows[3]);
    snprintf(without, sizeof without, "%s,\"speculate\":\"off\"}", fields);
    said a = ask(x, "generate", with), b = ask(y, "generate", without);
    const int drafted = spec_figure(&a, "draft", "drafted");
    same_tokens(&a, &b);
    assert_true(note ? strstr(buf_text(&a.notice), note) != NULL : !a.notice.n);
    said_free(&a), said_free(&b);
    lar_session_free(x), lar_session_free(y);
    return drafted;
}

static void test_damaged_draft(void **state)
{
    (void)state;
    lar_model *bad = changed_tensor(mix, mix_path, "output_norm.weight", 0, NAN, 1);
    assert_int_equal(unharmed(tiny, bad,
                              "{\"prompt\":\"once\",\"raw\":true,\"ignore_eos\":true,"
                              "\"max_tokens\":20,\"seed\":3",
                              "guessing ended early: "),
                     0);
    lar_model_free(bad);
}

/* A guess that the model cannot evaluate: without it, nobody would ever have noticed. Token 77 is
 * damaged in the model, which never says it; the draft model hardly says anything else. */
static void test_poisoned_guess(void **state)
{
    (void)state;
    static const char path[] = "tests/data/models/qwen2_untied_scale_linear.gguf";
    lar_model *m = test_model_open(rt, path);
    const size_t width = m->net->hp.n_embd;
    lar_model *target = changed_tensor(m, path, "token_embd.weight", 77 * width, NAN, (int)width);
    lar_model *draft = changed_tensor(m, path, "output.weight", 77 * width, 1e4f, (int)width / 2);
    static const char fields[] = "{\"prompt\":\"once\",\"raw\":true,\"ignore_eos\":true,"
                                 "\"logit_bias\":{\"77\":-100},\"max_tokens\":30,\"temp\":0";
    assert_true(unharmed(m, draft, fields, NULL) > 20);
    assert_int_equal(unharmed(target, draft, fields, NULL), 0);
    lar_model_free(m), lar_model_free(target), lar_model_free(draft);
}

static void test_cancel(void **state)
{
    (void)state;
    static const char fields[] = "{\"prompt\":\"a b a b a b\",\"temp\":0,\"raw\":true,"
                                 "\"ignore_eos\":true,\"max_tokens\":30,";
    char with[400], without[400];
    snprintf(with, sizeof with, "%s%s}", fields, hows[2]);
    snprintf(without, sizeof without, "%s\"speculate\":\"off\"}", fields);
    for (int at = 1; at < 30; at++) {
        lar_session *x = open_rig(&(rig){.m = tiny, .draft = tiny, .ctx = 128}),
                    *y = open_rig(&(rig){.m = tiny, .ctx = 128});
        said a = {.cancel_at = at}, b = {.cancel_at = at};
        ask_into(&a, x, "generate", with);
        ask_into(&b, y, "generate", without);
        same_answer(fields, &b, y, &a, x);
        said_free(&a), said_free(&b);
        lar_session_free(x), lar_session_free(y);
    }
}

/* ---- a real model ------------------------------------------------------------------------------
 */

/* The default model, where ./start puts it. */
static lar_model *real_model(void)
{
    const char *dir = getenv("LAR_MODELS"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    char path[700];
    lar_model *m = NULL;
    const char *const name = "SmolLM2-135M-Instruct.Q4_1.gguf";
    if (dir)
        snprintf(path, sizeof path, "%s/%s", dir, name);
    else if (data && data[0] == '/')
        snprintf(path, sizeof path, "%s/lar/models/%s", data, name);
    else
        snprintf(path, sizeof path, "%s/.local/share/lar/models/%s", home ? home : "/nowhere",
                 name);
    if (access(path, R_OK) == 0)
        m = test_model_open(rt, path);
    else
        print_message("skipped: %s is not here\n", path);
    return m;
}

static void test_real_model(void **state)
{
    (void)state;
    static const char *const prompts[] = {
        "Correct the spelling of this text and change nothing else: The old lighthouse stood at "
        "the end of a long and rocky peninsula, where the waves broke against the stones day and "
        "nigt. Its keeper, a quiet man named Thomas, had lived there for thirty years.",
        "Write a short story about a lighthouse."};
    static const char *const settings[] = {"\"temp\":0", "\"temp\":0,\"repeat_penalty\":1.1",
                                           "\"temp\":0.8,\"seed\":5,\"dry_multiplier\":0.5",
                                           "\"temp\":1,\"mirostat\":2,\"seed\":6"};
    lar_model *m = real_model();
    tally t = {0}, self = {0};
    if (!m)
        skip();
    for (size_t i = 0; i < LAR_LEN(prompts) * LAR_LEN(settings); i++) {
        char fields[600];
        snprintf(fields, sizeof fields, "{\"prompt\":\"%s\",\"max_tokens\":48,%s",
                 prompts[i % LAR_LEN(prompts)], settings[i / LAR_LEN(prompts)]);
        compare(&(rig){.m = m, .ctx = 256}, fields, hows, 3, &t);
        if (i < LAR_LEN(prompts))
            compare(&(rig){.m = m, .draft = m, .ctx = 256}, fields, &hows[3], 1, &self);
    }
    print_message("%d answers, %d of %d guesses right; %d of %d by the model itself\n", t.answers,
                  t.accepted, t.drafted, self.accepted, self.drafted);
    assert_true(t.accepted > 50);
    assert_true(self.accepted > 40 && self.accepted == self.drafted);
    lar_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ngram),
        cmocka_unit_test(test_no_such_drafter),
        cmocka_unit_test(test_worst_case),
        cmocka_unit_test(test_best_case),
        cmocka_unit_test(test_same_answer_ngram),
        cmocka_unit_test(test_same_answer_draft),
        cmocka_unit_test(test_self_draft),
        cmocka_unit_test(test_wrong_draft),
        cmocka_unit_test(test_draft_info),
        cmocka_unit_test(test_small_draft_context),
        cmocka_unit_test(test_damaged_draft),
        cmocka_unit_test(test_poisoned_guess),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_real_model),
    };
    return cmocka_run_group_tests_name("spec", tests, set_up, tear_down);
}
