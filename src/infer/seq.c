/* seq.c - a sequence's tokens and pages: growing, forgetting, sharing, and a file of it. */
#include "base/os.h"
#include "infer/part.h"
#include <string.h>

static bool take_slot(lar_seq *s)
{
    lar_engine *en = s->en;
    lar_lock_take(&en->lock);
    while (s->slot < en->opts.max_seqs && en->seqs[s->slot])
        s->slot++;
    const bool there = s->slot < en->opts.max_seqs;
    if (there)
        en->seqs[s->slot] = s;
    lar_lock_give(&en->lock);
    return there;
}

lar_status lar_seq_new(lar_engine *en, lar_seq **out, lar_err *e)
{
    lar_seq *s = lar_alloc(sizeof *s);
    if (!s)
        return lar_fail(e, LAR_ENOMEM, "sequence: out of memory");
    s->en = en;
    if (!take_slot(s)) {
        lar_free(s);
        return lar_fail(e, LAR_EFULL, "all %d sequences are in use", en->opts.max_seqs);
    }
    s->tokens = lar_alloc_array((size_t)en->opts.ctx, sizeof *s->tokens);
    s->page = lar_alloc_array((size_t)en->n_pages, sizeof *s->page);
    if (!s->tokens || !s->page) {
        lar_seq_free(s);
        return lar_fail(e, LAR_ENOMEM, "sequence: out of memory for %d tokens", en->opts.ctx);
    }
    *out = s;
    return LAR_OK;
}

static void drop_pages(lar_seq *s, int keep)
{
    lar_lock_take(&s->en->lock);
    while (s->n_pages > keep)
        lar__page_release(s->en, s->page[--s->n_pages]);
    lar_lock_give(&s->en->lock);
}

void lar_seq_free(lar_seq *s)
{
    if (!s)
        return;
    drop_pages(s, 0);
    lar_lock_take(&s->en->lock);
    s->en->seqs[s->slot] = NULL;
    lar_lock_give(&s->en->lock);
    lar_free(s->tokens);
    lar_free(s->page);
    lar_free(s);
}

int lar_seq_length(const lar_seq *s)
{
    return s->n;
}
const int32_t *lar_seq_tokens(const lar_seq *s)
{
    return s->tokens;
}

static int pages_of(int tokens)
{
    return (tokens + LAR_PAGE - 1) / LAR_PAGE;
}

void *lar__state(const lar_seq *s, int l, int place)
{
    const lar_tensor *t = s->en->state[l];
    return (char *)t->data + (size_t)s->slot * t->stride[2] + (size_t)place * t->stride[1];
}

/* Into a sequence's place from another's. */
static void copy_states(const lar_seq *to, int place, const lar_seq *from, int from_place)
{
    for (int l = 0; l < lar_net_n_caches(to->en->net); l++)
        if (to->en->state[l])
            memcpy(lar__state(to, l, place), lar__state(from, l, from_place),
                   to->en->state[l]->stride[1]);
}

int lar_seq_truncate(lar_seq *s, int length)
{
    if (length < 0 || length > s->n)
        return s->n;
    if (lar_engine_has_state(s->en) && length < s->n) {
        s->mark = s->mark <= length ? s->mark : 0;
        length = s->mark;
        s->turn = 0;
        if (length)
            copy_states(s, s->turn, s, LAR__STATE_MARK);
    }
    s->n = length;
    drop_pages(s, pages_of(length));
    return length;
}

void lar_seq_mark(lar_seq *s)
{
    s->mark = s->n;
    if (s->n && lar_engine_has_state(s->en))
        copy_states(s, LAR__STATE_MARK, s, s->turn);
}

/* The last page when it is not whole and another sequence sees it too: it must be copied to be
 * written. */
static bool must_copy_last(const lar_seq *s)
{
    return s->n % LAR_PAGE && s->en->refs[s->page[s->n / LAR_PAGE]] > 1;
}

int lar__seq_pages_needed(const lar_seq *s, int n)
{
    return LAR_MAX(0, pages_of(s->n + n) - s->n_pages) + (must_copy_last(s) ? 1 : 0);
}

static void copy_page(lar_engine *en, int32_t to, int32_t from)
{
    for (int i = 0; i < en->n_rows; i++) {
        lar_tensor *c = en->rows[i];
        memcpy((char *)c->data + (size_t)to * c->stride[3],
               (char *)c->data + (size_t)from * c->stride[3], c->stride[3]);
    }
}

/* A remembered page that is cut and about to be written: the copy is written, so that it can be
 * found again; where there is no page for that, it is forgotten. */
static bool copies_last(lar_seq *s)
{
    lar_engine *en = s->en;
    if (must_copy_last(s))
        return true;
    if (s->n % LAR_PAGE == 0 || !lar__prefix_holds(en, s->page[s->n / LAR_PAGE]))
        return false;
    if (lar__pages_left(en))
        return true; /* costs none: the other one can be taken afterwards */
    lar__prefix_drop(en, s->page[s->n / LAR_PAGE]);
    return false;
}

static lar_status take_pages(lar_seq *s, int n, lar_err *e)
{
    lar_engine *en = s->en;
    if (lar__seq_pages_needed(s, n) > lar__pages_left(en))
        return lar_fail(e, LAR_EFULL, "the context is full");
    if (copies_last(s)) {
        int32_t *last = &s->page[s->n / LAR_PAGE], fresh = lar__page_take(en);
        copy_page(en, fresh, *last);
        lar__page_release(en, *last);
        *last = fresh;
    }
    while (s->n_pages < pages_of(s->n + n))
        s->page[s->n_pages++] = lar__page_take(en);
    return LAR_OK;
}

lar_status lar__seq_reserve(lar_seq *s, int n, lar_err *e)
{
    lar_lock_take(&s->en->lock);
    const lar_status st = take_pages(s, n, e);
    lar_lock_give(&s->en->lock);
    return st;
}

lar_status lar_seq_share(lar_seq *s, const lar_seq *from, int length, lar_err *e)
{
    if (s->en != from->en || s->n || length < 0 || length > from->n)
        return lar_fail(e, LAR_EARG, "share: %d of %d tokens into a sequence of %d", length,
                        from->n, s->n);
    if (lar_engine_has_state(s->en) && length && length != from->n) {
        if (length != from->mark)
            return lar_fail(e, LAR_EUNSUPPORTED,
                            "share: the state after %d of %d tokens is not kept", length, from->n);
        copy_states(s, 0, from, LAR__STATE_MARK);
    } else if (length) {
        copy_states(s, 0, from, from->turn);
    }
    s->turn = 0;
    s->mark = 0;
    drop_pages(s, 0);
    lar_lock_take(&s->en->lock);
    for (int i = 0; i < pages_of(length); i++) {
        s->page[s->n_pages++] = from->page[i];
        s->en->refs[from->page[i]]++;
    }
    lar_lock_give(&s->en->lock);
    memcpy(s->tokens, from->tokens, (size_t)length * sizeof *s->tokens);
    s->n = length;
    return LAR_OK;
}
