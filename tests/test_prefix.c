/*
 * test_prefix.c - remembered pages: whatever sequences do, a token's logits have the bits that a
 * fresh engine gives, the right number of tokens is found again, and no page is lost.
 */
#include "engine_test.h"
#include "infer/part.h"
#include "infer/prefix.h"

static const char *const paths[] = {"tests/data/tiny.gguf", "tests/data/models/gemma3_linear.gguf"};
enum { P = LAR_PAGE, LONG = 5 * P };

static void fill(int32_t *ids, int n, uint64_t seed)
{
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(lar_random(seed, (uint64_t)i) % 256);
}

/* Logits of the last of ids[0..n), by a sequence that has never seen anything. */
static void truth(rig *r, const int32_t *ids, int n, float *out)
{
    float *all = malloc((size_t)n * r->net->hp.n_vocab * sizeof *all);
    lar_seq *q = rig_seq(r);
    rig_eval(r, q, ids, n, 64, all);
    memcpy(out, all + (size_t)(n - 1) * r->net->hp.n_vocab, r->net->hp.n_vocab * sizeof *out);
    lar_seq_free(q);
    free(all);
}

/* As generate does; gives how many were found. -1: the context is full. */
static int ask(rig *r, lar_seq *q, const int32_t *ids, int n, float *out)
{
    lar_err e = {0};
    const int found = lar_seq_prefix(q, ids, n - 1);
    assert_int_equal(lar_seq_length(q), found);
    assert_true(found < n);
    assert_memory_equal(lar_seq_tokens(q), ids, (size_t)found * sizeof *ids);
    for (int at = found; at < n;) {
        lar_step p = {.seq = q, .tokens = ids + at, .n = LAR_MIN(50, n - at)};
        const lar_status st = lar_engine_step(r->en, &p, 1, &e);
        if (st == LAR_EFULL)
            return -1;
        if (st != LAR_OK)
            fail_msg("%s", e.msg);
        at += p.n;
        if (at == n)
            memcpy(out, p.logits, r->net->hp.n_vocab * sizeof *out);
    }
    return found;
}

static int answer(rig *r, rig *fresh, lar_seq *q, const int32_t *ids, int n)
{
    const size_t bytes = r->net->hp.n_vocab * sizeof(float);
    float *got = malloc(bytes), *want = malloc(bytes);
    const int found = ask(r, q, ids, n, got);
    if (found >= 0) {
        truth(fresh, ids, n, want);
        if (memcmp(got, want, bytes) != 0)
            fail_msg("other logits after %d of %d tokens were found", found, n);
    }
    free(got);
    free(want);
    return found;
}

static int pages_in_use(const rig *r)
{
    int n = 0;
    for (int p = 0; p < r->en->n_pages; p++)
        n += r->en->refs[p] > 0;
    assert_int_equal(n + lar__pages_left(r->en), r->en->n_pages);
    return n;
}

static void open_two(rig *r, rig *fresh, const char *path, int ctx, int seqs)
{
    rig_open(r, path, &(rig_options){.ctx = ctx, .seqs = seqs, .threads = 2, .kv = LAR_DTYPE(f16)});
    rig_open(fresh, path, &(rig_options){.ctx = LONG + P, .seqs = 1, .kv = LAR_DTYPE(f16)});
}

/* Two conversations in turn through one sequence. */
static void test_in_turn(void **state)
{
    (void)state;
    rig r, fresh;
    int32_t a[LONG], b[LONG];
    fill(a, LONG, 1);
    fill(b, LONG, 2);
    memcpy(b, a, 100 * sizeof *a); /* the same beginning: one page and a half */
    for (size_t i = 0; i < LAR_LEN(paths); i++) {
        open_two(&r, &fresh, paths[i], 16 * P, 2);
        lar_seq *q = rig_seq(&r), *other = rig_seq(&r);
        assert_int_equal(answer(&r, &fresh, q, a, LONG - 9), 0);
        assert_int_equal(answer(&r, &fresh, q, b, LONG - 9), 100); /* held: to the token */
        assert_int_equal(answer(&r, &fresh, q, a, LONG), 4 * P);
        assert_int_equal(answer(&r, &fresh, q, b, LONG), 4 * P);
        assert_int_equal(answer(&r, &fresh, q, b, LONG), LONG - 1);
        /* While it is held, too, and by another. */
        assert_int_equal(answer(&r, &fresh, other, a, 3 * P), 2 * P);
        assert_int_equal(answer(&r, &fresh, other, b, 3 * P + 1), 3 * P);
        assert_int_equal(answer(&r, &fresh, other, b, 1), 0);
        assert_int_equal(lar_seq_prefix(other, b, 0), 0);
        lar_seq_free(q);
        assert_int_equal(pages_in_use(&r), 0);
        assert_int_equal(answer(&r, &fresh, other, a, LONG), 4 * P);
        lar_engine_forget(r.en); /* all but what is held */
        assert_int_equal(answer(&r, &fresh, other, b, LONG), 100);
        assert_int_equal(answer(&r, &fresh, other, a, LONG), 4 * P);
        lar_seq_truncate(other, 0);
        lar_engine_forget(r.en);
        assert_int_equal(answer(&r, &fresh, other, b, LONG), 0);
        rig_close(&r);
        rig_close(&fresh);
    }
}

/* The longest unused goes first, from its end. */
static void test_least_recent(void **state)
{
    (void)state;
    rig r, fresh;
    int32_t text[4][LONG];
    open_two(&r, &fresh, paths[0], 8 * P, 1); /* eight pages */
    lar_seq *q = rig_seq(&r);
    for (int i = 0; i < 4; i++) {
        fill(text[i], LONG, 10 + (uint64_t)i);
        assert_int_equal(answer(&r, &fresh, q, text[i], 3 * P), 0);
        if (i == 1) /* 0 is used again, 1 is the oldest then */
            assert_int_equal(answer(&r, &fresh, q, text[0], 2 * P + 1), 2 * P);
    }
    assert_int_equal(pages_in_use(&r), 3);
    assert_int_equal(lar_seq_prefix(q, text[1], LONG), 0);
    assert_int_equal(lar_seq_prefix(q, text[0], LONG), 2 * P);
    assert_int_equal(lar_seq_prefix(q, text[2], LONG), 3 * P);
    assert_int_equal(lar_seq_prefix(q, text[3], LONG), 3 * P);
    rig_close(&r);
    rig_close(&fresh);
}

/* A context as long as the engine's: cut pages are written in place and forgotten. */
static void test_no_page_left(void **state)
{
    (void)state;
    rig r, fresh;
    int32_t a[LONG], b[LONG];
    fill(a, LONG, 1);
    fill(b, LONG, 2);
    open_two(&r, &fresh, paths[0], LONG, 1);
    lar_seq *q = rig_seq(&r);
    for (int cut = 1; cut < LONG; cut += 37) {
        memcpy(b, a, (size_t)cut * sizeof *a);
        b[cut] = (a[cut] + 1) % 256;
        answer(&r, &fresh, q, a, LONG);
        const int found = answer(&r, &fresh, q, b, LONG);
        assert_int_equal(found, cut);
        assert_true(lar_seq_prefix(q, a, LONG - 1) >= cut / P * P);
    }
    rig_close(&r);
    rig_close(&fresh);
}

/* At random: few texts with common beginnings, five sequences, room for about half of it all. */
static void test_random(void **state)
{
    (void)state;
    rig r, fresh;
    lar_seq *q[5] = {0};
    int32_t ids[LONG];
    uint64_t seed = 1;
    int found = 0, full = 0;
    open_two(&r, &fresh, paths[0], 9 * P, 5);
    for (int i = 0; i < 400; i++) {
        const int k = (int)(lar_random(3, seed++) % 5), what = (int)(lar_random(3, seed++) % 16);
        lar_err e = {0};
        if (!q[k])
            q[k] = rig_seq(&r);
        for (int at = 0, text = 0; at < LONG; at++) { /* branches at multiples of 40 */
            if (at % 40 == 0)
                text = text * 2 + (int)(lar_random(3, seed++) % 8 == 0);
            ids[at] = (int32_t)(lar_random((uint64_t)text, (uint64_t)at) % 256);
        }
        const int n = 1 + (int)(lar_random(3, seed++) % LONG);
        if (what < 10) {
            const int f = answer(&r, &fresh, q[k], ids, n);
            found += f > 0;
            full += f < 0;
            if (f < 0)
                lar_seq_truncate(q[k], 0);
        } else if (what < 12) {
            lar_seq_truncate(q[k], lar_seq_length(q[k]) / 2);
        } else if (what == 12) {
            lar_seq_free(q[k]);
            q[k] = NULL;
        } else if (what == 13) {
            lar_seq *from = q[(k + 1) % 5];
            lar_seq_truncate(q[k], 0);
            if (from)
                assert_int_equal(lar_seq_share(q[k], from, lar_seq_length(from) * 2 / 3, &e),
                                 LAR_OK);
        } else if (what == 14) {
            lar_seq_keep(q[k]);
        } else if (i % 7 == 0) {
            lar_engine_forget(r.en);
        }
        pages_in_use(&r);
    }
    print_message("%d found, %d times full\n", found, full);
    assert_true(found > 50 && full > 5);
    for (int k = 0; k < 5; k++)
        lar_seq_free(q[k]);
    assert_int_equal(pages_in_use(&r), 0);
    rig_close(&r);
    rig_close(&fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_turn),
        cmocka_unit_test(test_least_recent),
        cmocka_unit_test(test_no_page_left),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests_name("prefix", tests, NULL, NULL);
}
