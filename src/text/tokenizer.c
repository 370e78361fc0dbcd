/*
 * tokenizer.c - what all tokenizers have in common: reading the description, special tokens, BOS
 * and EOS. The algorithms are the lar_tok_def in the list below. Depends on base, tok_part.h.
 */
#include "text/tokenizer.h"
#include "text/tok_part.h"
#include <string.h>

static const lar_tok_def *const defs[] = {&lar__tok_bpe, &lar__tok_spm, &lar__tok_unigram,
                                          &lar__tok_wordpiece, &lar__tok_gemma4};

void lar_vocab_init(lar_vocab *v)
{
    memset(v, 0, sizeof *v);
    v->bos = v->eos = v->eot = v->eom = v->unk = v->sep = v->pad = v->cls = v->mask = -1;
    v->add_bos = v->add_eos = v->add_sep = v->add_space_prefix = -1;
    v->remove_extra_whitespaces = v->escape_whitespaces = v->ignore_merges = v->clean_spaces = -1;
    v->lowercase = v->strip_accents = -1;
}

/* ---- the description
 * --------------------------------------------------------------------------------- */

static lar_status choose_def(lar_tokenizer *t, lar_err *e)
{
    char known[128] = "";
    for (size_t i = 0; i < LAR_LEN(defs); i++) {
        if (lar_str_eq(t->v.model, defs[i]->model))
            t->def = defs[i];
        size_t n = strlen(known), m = strlen(defs[i]->model);
        if (n + m + 3 < sizeof known) {
            memcpy(known + n, ", ", 2);
            memcpy(known + n + (i ? 2 : 0), defs[i]->model, m + 1);
        }
    }
    if (t->def)
        return LAR_OK;
    return lar_fail(e, LAR_EUNSUPPORTED, "tokenizer.ggml.model \"%.*s\" is not known; known are %s",
                    (int)LAR_MIN(t->v.model.n, 40), t->v.model.p ? t->v.model.p : "", known);
}

static lar_status choose_pre(lar_tokenizer *t, lar_err *e)
{
    lar_str name = t->v.pre;
    if (!t->def->pretokenizes)
        return LAR_OK;
    if (t->def == &lar__tok_gemma4)
        name = (lar_str){"gemma4", 6};
    else if (name.n == 0)
        name = (lar_str){"default", 7};
    t->pre = lar__pre_find(name);
    if (!t->pre && !t->v.pre_regex.n) {
        lar_buf names = {0};
        lar__pre_names(&names);
        lar_status st =
            lar_fail(e, LAR_EUNSUPPORTED, "tokenizer.ggml.pre \"%.*s\" is not known; known are %s",
                     (int)LAR_MIN(name.n, 40), name.p, names.p ? names.p : "");
        lar_buf_free(&names);
        return st;
    }
    if (t->pre && (t->pre->flags & LAR_PRE_RAW))
        t->byte_level = false;
    return lar__splitter_new(t->pre, t->v.pre_regex, &t->splitter, e);
}

static int8_t flag(int8_t said, int otherwise)
{
    return (int8_t)(said >= 0 ? said != 0 : otherwise != 0);
}

static lar_status resolve_ids(lar_tokenizer *t, lar_err *e)
{
    lar_vocab *v = &t->v;
    const lar_tok_def *d = t->def;
    const struct {
        int32_t *id, otherwise;
        const char *key; /* NULL: nothing stands on it, so a wrong one is forgotten */
    } ids[] = {{&v->bos, d->id_bos, "bos"},
               {&v->eos, d->id_eos, "eos"},
               {&v->eot, -1, "eot"},
               {&v->eom, -1, "eom"},
               {&v->unk, d->id_unk, "unknown"},
               {&v->sep, d->id_sep, "seperator"},
               {&v->cls, -1, "cls"},
               {&v->pad, d->id_pad, NULL},
               {&v->mask, -1, NULL}};
    if (v->bos == -1 && v->cls >= 0)
        v->bos = v->cls;
    for (size_t i = 0; i < LAR_LEN(ids); i++) {
        int32_t *id = ids[i].id;
        if (*id != -1 && (*id < 0 || (size_t)*id >= v->n_tokens)) {
            if (ids[i].key)
                return lar_fail(e, LAR_EFORMAT,
                                "tokenizer.ggml.%s_token_id: %d, but the vocabulary has %zu tokens",
                                ids[i].key, (int)*id, v->n_tokens);
            *id = -1;
        }
        if (*id == -1 && (size_t)LAR_MAX(ids[i].otherwise, 0) < v->n_tokens)
            *id = ids[i].otherwise;
    }
    return LAR_OK;
}

static lar_status resolve_flags(lar_tokenizer *t, lar_err *e)
{
    lar_vocab *v = &t->v;
    const lar_tok_def *d = t->def;
    unsigned pre = t->pre ? t->pre->flags : 0;
    if ((v->add_bos == 1 && v->bos < 0) || (v->add_eos == 1 && v->eos < 0))
        return lar_fail(e, LAR_EFORMAT,
                        "tokenizer.ggml.add_%s_token is true, but the file names no such token",
                        v->add_bos == 1 && v->bos < 0 ? "bos" : "eos");
    v->add_bos = flag(v->add_bos, d->bos || (pre & LAR_PRE_BOS)) && v->bos >= 0;
    v->add_eos = flag(v->add_eos, d->eos) && v->eos >= 0;
    v->add_sep = flag(v->add_sep, d->sep) && v->sep >= 0;
    v->add_space_prefix = flag(v->add_space_prefix, d->space_prefix);
    v->remove_extra_whitespaces = flag(v->remove_extra_whitespaces, 0);
    v->escape_whitespaces = flag(v->escape_whitespaces, !d->pretokenizes || (pre & LAR_PRE_ESCAPE));
    v->ignore_merges = flag(v->ignore_merges, pre & LAR_PRE_IGNORE_MERGES);
    v->clean_spaces = flag(v->clean_spaces, d->clean_spaces);
    v->lowercase = flag(v->lowercase, 1);
    v->strip_accents = flag(v->strip_accents, v->lowercase);
    if (d->pretokenizes)
        v->add_space_prefix = 0;
    return LAR_OK;
}

static lar_status start(lar_tokenizer *t, lar_err *e)
{
    const lar_vocab *v = &t->v;
    LAR_TRY(choose_def(t, e));
    t->byte_level = t->def->byte_level;
    if (v->n_tokens == 0 || !v->tokens)
        return lar_fail(e, LAR_EFORMAT, "tokenizer.ggml.tokens: there is no token");
    if (v->n_tokens > INT32_MAX / 4)
        return lar_fail(e, LAR_EFORMAT, "tokenizer.ggml.tokens: %zu of them", v->n_tokens);
    if (v->n_merges && !v->merges)
        return lar_fail(e, LAR_EARG, "vocabulary: %zu merges, but no list", v->n_merges);
    LAR_TRY(resolve_ids(t, e));
    LAR_TRY(choose_pre(t, e));
    LAR_TRY(resolve_flags(t, e));
    LAR_TRY(lar__tok_build(t, e));
    return t->def->init ? t->def->init(t, e) : LAR_OK;
}

lar_status lar_tokenizer_new(const lar_vocab *v, lar_tokenizer **out, lar_err *e)
{
    *out = NULL;
    lar_tokenizer *t = lar_alloc(sizeof *t);
    if (!t)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    t->v = *v;
    lar_status st = start(t, e);
    if (st != LAR_OK) {
        lar_tokenizer_free(t);
        return st;
    }
    *out = t;
    return LAR_OK;
}

void lar_tokenizer_free(lar_tokenizer *t)
{
    if (!t)
        return;
    if (t->def && t->def->free)
        t->def->free(t);
    lar__splitter_free(t->splitter);
    lar__trie_free(&t->user);
    lar__trie_free(&t->special);
    lar_free(t->slot);
    lar_free(t->attr);
    lar_free(t);
}

/* ---- ids
 * ------------------------------------------------------------------------------------------------
 */

lar_status lar_ids_add(lar_ids *ids, int32_t id, lar_err *e)
{
    if (ids->n == ids->cap && !lar_grow((void **)&ids->p, &ids->cap, ids->n + 1, sizeof *ids->p))
        return lar_fail(e, LAR_ENOMEM, "out of memory for %zu tokens", ids->n);
    ids->p[ids->n++] = id;
    return LAR_OK;
}

void lar_ids_free(lar_ids *ids)
{
    lar_free(ids->p);
    memset(ids, 0, sizeof *ids);
}

/* ---- encoding
 * ------------------------------------------------------------------------------------------- */

static lar_status encode_plain(const lar_tokenizer *t, lar_tok_run *r, const char *p, size_t n,
                               lar_err *e)
{
    if (n == 0)
        return LAR_OK;
    LAR_TRY(t->def->encode(t, r, p, n, e));
    r->fresh = false;
    return LAR_OK;
}

/* The longest special token at i. Where a control token would take in a byte of `plain`, only a
 * user token. */
static size_t special_at(const lar_tokenizer *t, const lar_trie *trie, const char *p, size_t n,
                         size_t i, const uint8_t *plain, int32_t *id)
{
    if (!trie->first[(uint8_t)p[i]])
        return 0;
    size_t len = lar__trie_longest(trie, p + i, n - i, id);
    if (len && plain && lar__tok_type(t, *id) != LAR_TOKEN_USER && memchr(plain + i, 1, len))
        len = lar__trie_longest(&t->user, p + i, n - i, id);
    return len;
}

/* Text between special tokens, which are found from the left, the longest first. */
static lar_status encode_text(const lar_tokenizer *t, lar_tok_run *r, const char *p, size_t n,
                              const lar_trie *trie, const uint8_t *plain, lar_err *e)
{
    size_t begin = 0, i = 0;
    while (trie->n && i < n) {
        int32_t id = -1;
        size_t len = special_at(t, trie, p, n, i, plain, &id);
        if (len == 0) {
            i++;
            continue;
        }
        size_t end = i;
        while ((t->attr[id] & LAR_ATTR_LSTRIP) && end > begin &&
               (p[end - 1] == ' ' || (p[end - 1] >= '\t' && p[end - 1] <= '\r')))
            end--;
        LAR_TRY(encode_plain(t, r, p + begin, end - begin, e));
        LAR_TRY(lar_ids_add(r->ids, id, e));
        r->fresh = true;
        begin = i += len;
    }
    return encode_plain(t, r, p + begin, n - begin, e);
}

static bool ends_with_sep(const lar_tokenizer *t)
{
    return t->def->sep && t->v.add_sep;
}

size_t lar_tokenizer_n_end(const lar_tokenizer *t)
{
    return ends_with_sep(t) || t->v.add_eos;
}

lar_status lar_tokenizer_encode(const lar_tokenizer *t, const char *text, size_t n, int flags,
                                lar_ids *ids, lar_err *e)
{
    return lar_tokenizer_encode_masked(t, text, n, flags, NULL, ids, e);
}

lar_status lar_tokenizer_encode_masked(const lar_tokenizer *t, const char *text, size_t n,
                                       int flags, const uint8_t *plain, lar_ids *ids, lar_err *e)
{
    const lar_vocab *v = &t->v;
    lar_tok_run r = {.ids = ids, .fresh = true};
    size_t before = ids->n;
    bool ends = (flags & LAR_TOK_BOS) != 0;
    lar_status st = ends && v->add_bos ? lar_ids_add(ids, v->bos, e) : LAR_OK;
    if (st == LAR_OK && n)
        st =
            encode_text(t, &r, text, n, flags & LAR_TOK_SPECIAL ? &t->special : &t->user, plain, e);
    if (st == LAR_OK && ends && lar_tokenizer_n_end(t))
        st = lar_ids_add(ids, ends_with_sep(t) ? v->sep : v->eos, e);
    if (st != LAR_OK)
        ids->n = before;
    lar__split_work_free(r.split);
    lar_free(r.cuts.end);
    lar_free(r.sym);
    lar_free(r.heap);
    lar_free(r.best);
    lar_buf_free(&r.text);
    return st;
}

/* ---- asking
 * --------------------------------------------------------------------------------------------- */

size_t lar_tokenizer_size(const lar_tokenizer *t)
{
    return t->v.n_tokens;
}

bool lar_tokenizer_is_end(const lar_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->v.n_tokens && (t->attr[id] & LAR_ATTR_END);
}

bool lar_tokenizer_is_control(const lar_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->v.n_tokens && lar__tok_type(t, id) == LAR_TOKEN_CONTROL;
}

int32_t lar_tokenizer_bos(const lar_tokenizer *t)
{
    return t->v.bos;
}

int32_t lar_tokenizer_eos(const lar_tokenizer *t)
{
    return t->v.eos;
}

lar_str lar_tokenizer_text(const lar_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->v.n_tokens ? t->v.tokens[id] : (lar_str){"", 0};
}

int32_t lar_tokenizer_find(const lar_tokenizer *t, const char *text, size_t n)
{
    return lar__tok_find(t, text, n);
}
