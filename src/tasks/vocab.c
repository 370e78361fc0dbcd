/*
 * vocab.c - tokenizer.ggml.* of a GGUF file to a lar_vocab. Depends on format/gguf.h,
 * text/tokenizer.h.
 */
#include "tasks/vocab.h"
#include <string.h>

#define KEY "tokenizer.ggml."

/* An absent key is no error: *out stays as it is. */
static lar_status optional(lar_status st)
{
    return st == LAR_ENOTFOUND ? LAR_OK : st;
}

static lar_status get_ids(const lar_gguf *g, lar_vocab *v, lar_err *e)
{
    const struct {
        const char *key;
        int32_t *out;
    } ids[] = {{KEY "bos_token_id", &v->bos},
               {KEY "eos_token_id", &v->eos},
               {KEY "eot_token_id", &v->eot},
               {KEY "eom_token_id", &v->eom},
               {KEY "unknown_token_id", &v->unk},
               {KEY "seperator_token_id", &v->sep}, /* sic: the format has it so */
               {KEY "padding_token_id", &v->pad},
               {KEY "cls_token_id", &v->cls},
               {KEY "mask_token_id", &v->mask}};
    for (size_t i = 0; i < LAR_LEN(ids); i++) {
        const lar_gguf_kv *kv = lar_gguf_find(g, ids[i].key);
        uint32_t id = UINT32_MAX;
        /* -1, signed or not, is how some files say "none". */
        if (kv && kv->type == LAR_GGUF_I32 && kv->bytes >= 4 && lar_u32(kv->data) == UINT32_MAX)
            continue;
        LAR_TRY(optional(lar_gguf_get_u32(g, ids[i].key, &id, e)));
        if (id == UINT32_MAX)
            continue;
        if (id > INT32_MAX)
            return lar_fail(e, LAR_EFORMAT, "%s: %u is no token id", ids[i].key, (unsigned)id);
        *ids[i].out = (int32_t)id;
    }
    return LAR_OK;
}

static lar_status get_flags(const lar_gguf *g, lar_vocab *v, lar_err *e)
{
    const struct {
        const char *key;
        int8_t *out;
    } flags[] = {{KEY "add_bos_token", &v->add_bos},
                 {KEY "add_eos_token", &v->add_eos},
                 {KEY "add_sep_token", &v->add_sep},
                 {KEY "add_space_prefix", &v->add_space_prefix},
                 {KEY "remove_extra_whitespaces", &v->remove_extra_whitespaces},
                 {KEY "escape_whitespaces", &v->escape_whitespaces},
                 {KEY "ignore_merges", &v->ignore_merges},
                 {KEY "clean_spaces", &v->clean_spaces},
                 {KEY "normalizer.lowercase", &v->lowercase},
                 {KEY "normalizer.strip_accents", &v->strip_accents}};
    for (size_t i = 0; i < LAR_LEN(flags); i++) {
        bool on = false;
        lar_status st = lar_gguf_get_bool(g, flags[i].key, &on, e);
        LAR_TRY(optional(st));
        if (st == LAR_OK)
            *flags[i].out = on;
    }
    return LAR_OK;
}

static lar_status check_count(const char *key, size_t n, size_t want, lar_err *e)
{
    return n == 0 || n == want
               ? LAR_OK
               : lar_fail(e, LAR_EFORMAT, "%s: %zu entries for %zu tokens", key, n, want);
}

static lar_status get_charsmap(const lar_gguf *g, lar_vocab *v, lar_err *e)
{
    const char *key = KEY "precompiled_charsmap";
    const lar_gguf_kv *kv = lar_gguf_find(g, key);
    if (!kv)
        return LAR_OK;
    if (kv->type != LAR_GGUF_ARRAY || (kv->elem != LAR_GGUF_U8 && kv->elem != LAR_GGUF_I8))
        return lar_fail(e, LAR_EFORMAT, "%s: %s, want an array of bytes", key,
                        lar_gguf_type_name(kv->type));
    v->charsmap = kv->data;
    v->charsmap_bytes = (size_t)kv->count;
    return LAR_OK;
}

static lar_status get_arrays(const lar_gguf *g, lar_vocab_file *f, lar_err *e)
{
    lar_vocab *v = &f->vocab;
    size_t n = 0;
    LAR_TRY(lar_gguf_get_str_array(g, KEY "tokens", &f->tokens, &v->n_tokens, e));
    v->tokens = f->tokens;
    LAR_TRY(optional(lar_gguf_get_f32_array(g, KEY "scores", &f->scores, &n, e)));
    LAR_TRY(check_count(KEY "scores", n, v->n_tokens, e));
    v->scores = f->scores;
    n = 0;
    LAR_TRY(optional(lar_gguf_get_i32_array(g, KEY "token_type", &f->types, &n, e)));
    LAR_TRY(check_count(KEY "token_type", n, v->n_tokens, e));
    v->types = f->types;
    LAR_TRY(optional(lar_gguf_get_str_array(g, KEY "merges", &f->merges, &v->n_merges, e)));
    v->merges = f->merges;
    return get_charsmap(g, v, e);
}

lar_status lar_vocab_open(const lar_gguf *g, lar_vocab_file *out, lar_err *e)
{
    memset(out, 0, sizeof *out);
    lar_vocab *v = &out->vocab;
    lar_vocab_init(v);
    lar_status st = lar_gguf_get_str(g, KEY "model", &v->model, e);
    if (st == LAR_OK)
        st = optional(lar_gguf_get_str(g, KEY "pre", &v->pre, e));
    if (st == LAR_OK)
        st = optional(lar_gguf_get_str(g, "tokenizer.lar.pre_regex", &v->pre_regex, e));
    if (st == LAR_OK)
        st = get_ids(g, v, e);
    if (st == LAR_OK)
        st = get_flags(g, v, e);
    if (st == LAR_OK)
        st = get_arrays(g, out, e);
    if (st == LAR_OK)
        st = lar_tokenizer_new(v, &out->tok, e);
    if (st != LAR_OK)
        lar_vocab_free(out);
    return st;
}

void lar_vocab_free(lar_vocab_file *f)
{
    lar_tokenizer_free(f->tok);
    lar_free(f->tokens);
    lar_free(f->merges);
    lar_free(f->scores);
    lar_free(f->types);
    memset(f, 0, sizeof *f);
}

/* A token's spelling for a message: short, and without control characters. */
static const char *spelled(lar_str s, char *buf, size_t size)
{
    size_t n = LAR_MIN(s.n, size - 1);
    if (n)
        memcpy(buf, s.p, n);
    if (n < s.n)
        n -= lar_utf8_incomplete(buf, n);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)buf[i] < 32 || buf[i] == 127)
            buf[i] = '?';
    buf[n] = 0;
    return buf;
}

lar_status lar_vocab_same(const lar_vocab_file *a, const lar_vocab_file *b, lar_err *e)
{
    char x[41], y[41];
    if (!a->tok || !b->tok)
        return lar_fail(e, LAR_EARG, "%s has no tokenizer, so that tokens cannot be compared",
                        a->tok ? "it" : "the model it is for");
    const size_t na = a->vocab.n_tokens, nb = b->vocab.n_tokens, n = LAR_MIN(na, nb);
    for (size_t i = 0; i < n; i++) {
        const lar_str s = a->tokens[i], t = b->tokens[i];
        if (s.n != t.n || (s.n && memcmp(s.p, t.p, s.n) != 0))
            return lar_fail(e, LAR_EARG,
                            "its vocabulary differs: token %zu is \"%s\" there and \"%s\" in the "
                            "model it is for (%zu and %zu tokens)",
                            i, spelled(t, y, sizeof y), spelled(s, x, sizeof x), nb, na);
    }
    return LAR_OK;
}
