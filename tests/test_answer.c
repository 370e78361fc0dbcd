/*
 * test_answer.c - an answer's text as it comes (src/tasks/answer.c): texts cut into tokens in many
 * ways, against the same rules applied to the whole text at once.
 */
#include "tasks/answer.h"
#include "tasks/event.h"
#include "generate_test.h"

/* ---- a vocabulary of every byte and every short piece of a text
 * ------------------------------------- */

enum { PIECE = 7, MAX_TOKENS = 2048 };

typedef struct words {
    lar_str token[MAX_TOKENS];
    int32_t type[MAX_TOKENS];
    char byte[256][8];
    size_t n;
    lar_tokenizer *tok;
} words;

static size_t find_piece(const words *w, const char *p, size_t n)
{
    for (size_t i = 257; i < w->n; i++)
        if (w->token[i].n == n && memcmp(w->token[i].p, p, n) == 0)
            return i;
    return 0;
}

static void words_open(words *w, const char *text)
{
    const size_t len = strlen(text);
    lar_vocab v;
    lar_err e = {0};
    w->n = 0;
    w->token[w->n] = (lar_str){"<unk>", 5};
    w->type[w->n++] = LAR_TOKEN_UNKNOWN;
    for (int i = 0; i < 256; i++) {
        snprintf(w->byte[i], sizeof w->byte[i], "<0x%02X>", (unsigned)i);
        w->token[w->n] = (lar_str){w->byte[i], 6};
        w->type[w->n++] = LAR_TOKEN_BYTE;
    }
    for (size_t i = 0; i < len; i++)
        for (size_t k = 2; k <= PIECE && i + k <= len; k++)
            if (!find_piece(w, text + i, k) && w->n < MAX_TOKENS) {
                w->token[w->n] = (lar_str){text + i, k};
                w->type[w->n++] = LAR_TOKEN_NORMAL;
            }
    lar_vocab_init(&v);
    v.model = (lar_str){"llama", 5};
    v.tokens = w->token;
    v.types = w->type;
    v.n_tokens = w->n;
    v.unk = 0;
    v.add_bos = v.add_space_prefix = 0;
    if (lar_tokenizer_new(&v, &w->tok, &e) != LAR_OK)
        fail_msg("%s", e.msg);
}

/* ---- the rules, on a whole text
 * ------------------------------------------------------------------------ */

static const char *blank(const char *p)
{
    return p + strspn(p, " \n");
}

typedef struct parts {
    char thinking[256], text[256];
    bool stopped, undecided;
} parts;

static void rules(const char *s, bool think, bool open, bool last, const char *const *stop,
                  size_t n_stop, parts *out)
{
    static const char tag[] = "<think>";
    memset(out, 0, sizeof *out);
    if (think && !open) {
        const char *p = blank(s);
        if (!last && strlen(p) < strlen(tag) && strncmp(p, tag, strlen(p)) == 0) {
            out->undecided = true;
            return;
        }
        open = strncmp(p, tag, strlen(tag)) == 0;
        s = open ? p + strlen(tag) : s;
    }
    if (think && open) {
        s = blank(s);
        const char *end = strstr(s, "</think>");
        memcpy(out->thinking, s, end ? (size_t)(end - s) : strlen(s));
        if (!end)
            return;
        s = blank(end + strlen("</think>"));
    }
    const char *cut = s + strlen(s);
    for (size_t i = 0; i < n_stop; i++) {
        const char *at = stop[i][0] ? strstr(s, stop[i]) : NULL;
        out->stopped = out->stopped || at;
        cut = at && at < cut ? at : cut;
    }
    memcpy(out->text, s, (size_t)(cut - s));
}

/* ---- one text, one way to cut it
 * ------------------------------------------------------------------------- */

typedef struct heard {
    lar_buf text, thinking;
} heard;

static int hear(const lar_event *ev, void *user)
{
    heard *h = user;
    size_t n;
    const char *s = lar_event_get_text(ev, &n);
    assert_true(n > 0 && utf8_valid(s, n));
    lar_buf_add(lar_event_get_kind(ev) == LAR_EVENT_TEXT ? &h->text : &h->thinking, s, n);
    return 0;
}

/* What is held back is the beginning of a stop string, nothing else. */
static void check_held(const char *so_far, const heard *h, const char *const *stop, size_t n_stop)
{
    const char *rest = so_far + h->text.n;
    bool may = !*rest;
    assert_memory_equal(so_far, buf_text(&h->text), h->text.n);
    for (size_t i = 0; i < n_stop; i++)
        may = may || strncmp(stop[i], rest, strlen(rest)) == 0;
    if (!may)
        fail_msg("\"%s\" is held back of \"%s\"", rest, so_far);
}

static uint32_t mix_state;

static uint32_t mix(void)
{
    mix_state = mix_state * 1664525u + 1013904223u;
    return mix_state >> 16;
}

static void check(const words *w, const char *text, bool think, bool open, const char *const *stop,
                  size_t n_stop, size_t longest)
{
    heard h = {0};
    lar_answer a;
    lar_detok d;
    lar_err e = {0};
    lar_buf so_far = {0};
    struct lar_request request = {.fn = hear, .user = &h};
    lar_task task = {.request = &request};
    parts want = {.stopped = false};
    lar_answer_init(&a, w->tok, stop, n_stop, think, open);
    lar_detok_init(&d, w->tok, false);
    lar_buf_puts(&so_far, "");
    for (size_t i = 0, len = strlen(text); i < len && !want.stopped;) {
        const size_t wish = 1 + mix() % longest;
        size_t n = LAR_MIN(wish, len - i), id = n > 1 ? find_piece(w, text + i, n) : 0;
        if (!id) {
            n = 1;
            id = 1 + (size_t)(unsigned char)text[i];
        }
        i += n;
        lar_detok_put(&d, (int32_t)id, &so_far);
        rules(so_far.p, think, open, false, stop, n_stop, &want);
        assert_int_equal(lar_answer_put(&a, &task, (int32_t)id, &e), LAR_OK);
        assert_int_equal(a.stopped, want.stopped);
        if (!think && !a.stopped)
            check_held(so_far.p, &h, stop, n_stop);
    }
    if (!want.stopped) {
        lar_detok_end(&d, &so_far);
        rules(so_far.p, think, open, true, stop, n_stop, &want);
    }
    assert_int_equal(lar_answer_end(&a, &task, &e), LAR_OK);
    if (a.stopped) /* nothing comes after it */
        assert_int_equal(lar_answer_put(&a, &task, 1 + 'x', &e), LAR_OK);
    if (strcmp(buf_text(&h.text), want.text) || strcmp(buf_text(&h.thinking), want.thinking))
        fail_msg("\"%s\", pieces up to %zu, think %d open %d, stop \"%s\": \"%s\" and \"%s\", want "
                 "\"%s\" and \"%s\"",
                 text, longest, think, open, n_stop ? stop[0] : "", buf_text(&h.thinking),
                 buf_text(&h.text), want.thinking, want.text);
    assert_string_equal(buf_text(&a.text), buf_text(&h.text));
    assert_string_equal(buf_text(&a.thinking), buf_text(&h.thinking));
    lar_buf_free(&so_far);
    lar_buf_free(&h.text);
    lar_buf_free(&h.thinking);
    lar_buf_free(&request.text);
    lar_answer_free(&a);
}

static const char *const texts[] = {
    "",
    "plain words",
    "abcabcabd",
    "aaaaab",
    "\n\n",
    " leading",
    "<",
    "<thi",
    "<thinx",
    "</think>",
    "<think>",
    "<think></think>",
    "<think></think>rest",
    "<think>abc</think>\n\nAnswer\n\nmore",
    " \n<think>\n x </thin </think>  y",
    "<think>never closed, </thin",
    "x<think>y</think>z",
    "<think>a</think><think>b</think>c",
    "a < b <- c",
    "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 <think>",
    "<think>\xc3\xa9\xf0\x9f\x98\x80</think>\n\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80!",
    ("a\xff"
     "b\xc3"),
    "\xe2\x82",
    "\xf0\x9f\x98 x",
    "<think>\xff</think>\xe2",
};

static void test_cuts(void **state)
{
    (void)state;
    static const char *const stops[][3] = {
        {NULL},
        {""},
        {"abd"},
        {"b", "abc"},
        {"abc", "b"},
        {"abcabd", "ca"},
        {"ca", "abcabd"},
        {"aab"},
        {"\n"},
        {"\n\n"},
        {"<"},
        {"</think>"},
        {"<think>"},
        {"\xc3\xa9"},
        {"\xe2\x82\xac", "\xf0\x9f\x98\x80"},
        {"Answer", "A"},
        {"A", "Answer"},
        {"z"},
        {"\xef\xbf\xbd"},
        {"more and more"},
        {"d", "x", "w"},
        {" "},
    };
    static words w;
    mix_state = 17;
    for (size_t t = 0; t < LAR_LEN(texts); t++) {
        words_open(&w, texts[t]);
        for (size_t s = 0; s < LAR_LEN(stops); s++)
            for (int mode = 0; mode < 3; mode++)
                for (size_t longest = 1; longest <= PIECE; longest += longest < 3 ? 1 : 2)
                    check(&w, texts[t], mode > 0, mode == 2, stops[s],
                          (size_t) !!stops[s][0] + (size_t) !!stops[s][1] + (size_t) !!stops[s][2],
                          longest);
        lar_tokenizer_free(w.tok);
    }
}

static int stop_now(const lar_event *ev, void *user)
{
    (void)ev;
    return ++*(int *)user == 2;
}

/* A listener's refusal comes back at once, and the answer can still be ended and freed. */
static void test_refusal(void **state)
{
    (void)state;
    static words w;
    int events = 0;
    lar_answer a;
    lar_err e = {0};
    struct lar_request request = {.fn = stop_now, .user = &events};
    lar_task task = {.request = &request};
    words_open(&w, "ab");
    lar_answer_init(&a, w.tok, NULL, 0, false, false);
    assert_int_equal(lar_answer_put(&a, &task, 1 + 'a', &e), LAR_OK);
    assert_int_equal(lar_answer_put(&a, &task, 1 + 'b', &e), LAR_ECANCELLED);
    assert_int_equal(lar_answer_put(&a, &task, 999999, &e), LAR_OK); /* no such token: no text */
    assert_int_equal(lar_answer_put(&a, &task, -1, &e), LAR_OK);
    assert_int_equal(events, 2);
    lar_answer_free(&a);
    lar_buf_free(&request.text);
    lar_tokenizer_free(w.tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts), cmocka_unit_test(test_refusal)};
    return cmocka_run_group_tests_name("answer", tests, NULL, NULL);
}
