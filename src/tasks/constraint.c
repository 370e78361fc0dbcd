/* constraint.c - see constraint.h. Depends on text/grammar.h, answer.h. */
#include "tasks/constraint.h"
#include <math.h>
#include <string.h>

static const char open_tag[] = "<think>", close_tag[] = "</think>";

static bool is_blank(char c) /* as answer.c drops them */
{
    return c == ' ' || c == '\n';
}

static lar_str after_blanks(lar_str s)
{
    while (s.n && is_blank(*s.p)) {
        s.p++;
        s.n--;
    }
    return s;
}

static lar_str token_text(const lar_constraint *c, int32_t id, bool first)
{
    lar_str s = lar_token_tree_text(c->tree, id);
    if (first && s.n && *s.p == ' ' && lar_token_tree_drops_space(c->tree)) {
        s.p++;
        s.n--;
    }
    return s;
}

/* Does the token end the reasoning block? Then *rest is its text behind the tag and the blanks. */
static bool closes(const lar_constraint *c, lar_str s, lar_str *rest)
{
    const size_t tag = sizeof close_tag - 1;
    const lar_buf *in = &c->answer->in; /* the beginning of the tag, if it has begun */
    char held[2 * sizeof close_tag];
    const size_t n_held = LAR_MIN(in->n, tag - 1), n_head = LAR_MIN(s.n, tag);
    if (n_held)
        memcpy(held, in->p + in->n - n_held, n_held);
    if (n_head)
        memcpy(held + n_held, s.p, n_head);
    for (size_t i = 0; i < n_held && i + tag <= n_held + n_head; i++)
        if (memcmp(held + i, close_tag, tag) == 0) {
            const size_t used = i + tag - n_held;
            *rest = after_blanks((lar_str){s.p + used, s.n - used});
            return true;
        }
    for (size_t i = 0; i + tag <= s.n; i++)
        if (memcmp(s.p + i, close_tag, tag) == 0) {
            *rest = after_blanks((lar_str){s.p + i + tag, s.n - i - tag});
            return true;
        }
    return false;
}

static void forbid(float *logits, size_t n, int32_t id)
{
    if (id >= 0 && (size_t)id < n)
        logits[id] = -INFINITY;
}

/* In a reasoning block: all but its end together with something that the grammar refuses, and but
 * the end of the answer. */
static lar_status apply_free(lar_constraint *c, float *logits, size_t n, lar_err *e)
{
    for (size_t i = 0; i < c->closers.n; i++) {
        lar_str rest;
        bool fits = true;
        if (!closes(c, lar_token_tree_text(c->tree, c->closers.p[i]), &rest) || !rest.n)
            continue;
        LAR_TRY(lar_matcher_fits(c->matcher, rest.p, rest.n, &fits, e));
        if (!fits)
            forbid(logits, n, c->closers.p[i]);
    }
    lar_token_tree_forbid_ends(c->tree, logits, n);
    return LAR_OK;
}

/* The grammar's tokens, but none that begins with a blank: those are no part of the answer there.
 * Instead one token of blanks may be said. */
static lar_status apply_gap(lar_constraint *c, float *logits, size_t n, lar_err *e)
{
    float *kept = lar_alloc_array(c->blanks.n + 1, sizeof *kept);
    if (!kept)
        return lar_fail(e, LAR_ENOMEM, "grammar: out of memory");
    for (size_t i = 0; i < c->blanks.n; i++)
        kept[i] = (size_t)c->blanks.p[i] < n ? logits[c->blanks.p[i]] : 0;
    const lar_status st = lar_matcher_apply(c->matcher, false, logits, n, e);
    for (size_t i = 0; i < n; i++) {
        const lar_str s = lar_token_tree_text(c->tree, (int32_t)i);
        if (s.n && is_blank(*s.p))
            logits[i] = -INFINITY;
    }
    for (size_t i = 0; i < c->blanks.n && !c->had_gap; i++)
        if ((size_t)c->blanks.p[i] < n)
            logits[c->blanks.p[i]] = kept[i];
    lar_free(kept);
    return st;
}

static lar_status apply(void *state, float *logits, size_t n, lar_err *e)
{
    lar_constraint *c = state;
    const int32_t think = c->where == LAR_CONSTRAINT_START ? c->think : -1;
    const float kept = think >= 0 && (size_t)think < n ? logits[think] : 0;
    if (c->where == LAR_CONSTRAINT_FREE)
        return apply_free(c, logits, n, e);
    LAR_TRY(c->where == LAR_CONSTRAINT_GAP ? apply_gap(c, logits, n, e)
                                           : lar_matcher_apply(c->matcher, c->first, logits, n, e));
    if (think >= 0 && (size_t)think < n)
        logits[think] = kept;
    if (c->ignore_eos)
        lar_token_tree_forbid_ends(c->tree, logits, n);
    return LAR_OK;
}

/* Text of the answer itself. */
static lar_status feed(lar_constraint *c, lar_str s, lar_err *e)
{
    bool fits = true;
    c->where = LAR_CONSTRAINT_ON;
    LAR_TRY(lar_matcher_feed(c->matcher, s.p, s.n, &fits, e));
    return fits ? LAR_OK
                : lar_fail(e, LAR_EARG, "grammar: it does not allow \"%.*s\"",
                           (int)LAR_MIN(s.n, (size_t)60), s.p);
}

static lar_status accept(void *state, int32_t id, lar_err *e)
{
    lar_constraint *c = state;
    const lar_str s = token_text(c, id, c->first);
    const bool first = c->first;
    lar_str rest;
    c->first = false;
    if (!s.n && !lar_token_tree_text(c->tree, id).n)
        return LAR_OK; /* it ends the answer, or says nothing */
    if (c->where == LAR_CONSTRAINT_START && id == c->think) {
        bool own = false; /* the grammar's own text */
        LAR_TRY(lar_matcher_allows(c->matcher, id, first, &own, e));
        if (!own) {
            c->where = LAR_CONSTRAINT_FREE;
            return LAR_OK;
        }
    }
    if (c->where == LAR_CONSTRAINT_FREE) {
        if (!closes(c, s, &rest))
            return LAR_OK;
        c->where = LAR_CONSTRAINT_GAP;
        return rest.n ? feed(c, rest, e) : LAR_OK;
    }
    if (c->where == LAR_CONSTRAINT_GAP && !after_blanks(s).n) {
        c->had_gap = true;
        return LAR_OK;
    }
    return feed(c, s, e);
}

/* ---- beginning and end
 * ------------------------------------------------------------------------------- */

/* The model's tokens by bytes, made when first asked for. */
static lar_status token_tree(lar_model *m, const lar_token_tree **out, lar_err *e)
{
    lar_token_tree *have = atomic_load(&m->tree), *made;
    if (!have) {
        LAR_TRY(lar_token_tree_new(m->vocab.tok, &made, e));
        if (atomic_compare_exchange_strong(&m->tree, &have, made))
            have = made;
        else
            lar_token_tree_free(made); /* somebody was faster */
    }
    *out = have;
    return LAR_OK;
}

static lar_status any_object(lar_grammar **out, lar_err *e)
{
    json_t *schema = json_pack("{s:s}", "type", "object");
    const lar_status st = schema ? lar_grammar_json_schema(schema, out, e)
                                 : lar_fail(e, LAR_ENOMEM, "grammar: out of memory");
    json_decref(schema);
    return st;
}

static lar_status compile(lar_constraint *c, const lar_constraint_options *o, lar_err *e)
{
    const int n = (o->grammar != NULL) + (o->schema != NULL) + o->any_json;
    if (n > 1)
        return lar_fail(e, LAR_EARG, "want one of grammar, json-schema and json-object, not %d", n);
    if (o->grammar)
        return lar_grammar_gbnf(o->grammar, strlen(o->grammar), &c->grammar, e);
    if (o->schema)
        return lar_grammar_json_schema(o->schema, &c->grammar, e);
    return n ? any_object(&c->grammar, e) : LAR_OK;
}

/* What only answers with reasoning need. */
static lar_status prepare_thinking(lar_constraint *c, const lar_tokenizer *tok, lar_err *e)
{
    c->think = lar_tokenizer_find(tok, open_tag, sizeof open_tag - 1);
    if (c->where == LAR_CONSTRAINT_START &&
        (c->think < 0 || lar_tokenizer_is_control(tok, c->think)))
        c->where = LAR_CONSTRAINT_ON;
    for (size_t i = 0; c->where != LAR_CONSTRAINT_ON && i < lar_tokenizer_size(tok); i++) {
        const lar_str s = lar_token_tree_text(c->tree, (int32_t)i);
        const char *end = s.n ? memchr(s.p, '>', s.n) : NULL;
        if (s.n && !after_blanks(s).n)
            LAR_TRY(lar_ids_add(&c->blanks, (int32_t)i, e));
        if (end && end + 1 < s.p + s.n)
            LAR_TRY(lar_ids_add(&c->closers, (int32_t)i, e));
    }
    return LAR_OK;
}

lar_status lar_constraint_init(lar_constraint *c, lar_model *model, const lar_constraint_options *o,
                               const lar_answer *a, lar_err *e)
{
    memset(c, 0, sizeof *c);
    LAR_TRY(compile(c, o, e));
    if (!c->grammar)
        return LAR_OK;
    c->filter = (lar_token_filter){apply, accept, c};
    c->answer = a;
    c->first = true;
    c->ignore_eos = o->ignore_eos;
    c->where = a->where == LAR_ANSWER_THINKING ? LAR_CONSTRAINT_FREE
               : o->may_think                  ? LAR_CONSTRAINT_START
                                               : LAR_CONSTRAINT_ON;
    LAR_TRY(token_tree(model, &c->tree, e));
    LAR_TRY(lar_matcher_new(c->grammar, c->tree, &c->matcher, e));
    return prepare_thinking(c, model->vocab.tok, e);
}

void lar_constraint_free(lar_constraint *c)
{
    lar_matcher_free(c->matcher);
    lar_grammar_free(c->grammar);
    lar_ids_free(&c->blanks);
    lar_ids_free(&c->closers);
    memset(c, 0, sizeof *c);
}

const lar_token_filter *lar_constraint_filter(const lar_constraint *c)
{
    return c->grammar ? &c->filter : NULL;
}

bool lar_constraint_done(const lar_constraint *c)
{
    return c->grammar && c->where == LAR_CONSTRAINT_ON && lar_matcher_must_end(c->matcher);
}

bool lar_constraint_whole(const lar_constraint *c)
{
    return !c->grammar || (c->where != LAR_CONSTRAINT_FREE && lar_matcher_can_end(c->matcher));
}

int lar_constraint_fits(const lar_constraint *c, const int32_t *ids, int n)
{
    if (!c->grammar || c->where != LAR_CONSTRAINT_ON)
        return n;
    return (int)lar_matcher_prefix(c->matcher, ids, (size_t)n);
}
