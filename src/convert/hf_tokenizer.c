/*
 * hf_tokenizer.c - tokenizer.json, tokenizer_config.json, generation_config.json, the chat
 * template, or a SentencePiece tokenizer.model, to GGUF's tokenizer.* keys. Sources: the
 * tokenizer.json of huggingface/tokenizers; how GGUF spells each kind: llama.cpp
 * (convert_hf_to_gguf.py, gguf-py).
 *
 * A byte-level BPE is "gpt2", a SentencePiece BPE (bytes as fallback, spaces as U+2581) "llama",
 * with scores by the rank of the merge that makes a token, unigram is "t5", WordPiece "bert".
 */
#include "convert/hf.h"
#include "text/spm.h"
#include "text/tokenizer.h"
#include "base/os.h"
#include <sodium.h>
#include <string.h>

#define KEY "tokenizer.ggml."
#define SPACE_MARK "\xE2\x96\x81"
/* Our own key for a split pattern that `pre` has no name for; other programs do not look at it, and
 * split as they do by default. */
#define PRE_REGEX "tokenizer.lar.pre_regex"

typedef struct vocab {
    size_t n;
    lar_str *tokens; /* p NULL: no token has this id */
    float *scores;
    int32_t *types;
    lar_str *merges;
    size_t n_merges;
    json_t *keep; /* a list of strings that tokens and merges point into */
} vocab;

/* A string that lives until the file is written. */
static const char *keep(vocab *v, const char *s, size_t n, lar_err *e)
{
    json_t *j = json_stringn_nocheck(s, n);
    if (!j || json_array_append_new(v->keep, j)) {
        lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
        return NULL;
    }
    return json_string_value(j);
}

static lar_status set_token(vocab *v, const char *s, size_t n, json_int_t id, int type, lar_err *e)
{
    if (id < 0 || (size_t)id >= v->n)
        return lar_fail(e, LAR_EFORMAT, "tokenizer.json: token '%.60s' has id %lld, want 0 to %zu",
                        s, (long long)id, v->n - 1);
    v->tokens[id] = (lar_str){s, n};
    v->types[id] = type;
    return LAR_OK;
}

static bool is_byte(const char *s, size_t n)
{
    return n == 6 && memcmp(s, "<0x", 3) == 0 && s[5] == '>';
}

/* ---- vocabularies -----------------------------------------------------------------------------
 */

static lar_status read_object(vocab *v, const json_t *model, bool bytes, lar_err *e)
{
    const char *token;
    size_t n;
    json_t *id, *j = json_object_get(model, "vocab");
    if (!json_is_object(j))
        return lar_fail(e, LAR_EFORMAT, "tokenizer.json: model.vocab, want an object");
    json_object_keylen_foreach(j, token, n, id)
    {
        const int type = bytes && is_byte(token, n) ? LAR_TOKEN_BYTE : LAR_TOKEN_NORMAL;
        LAR_TRY(set_token(v, token, n, json_is_integer(id) ? json_integer_value(id) : -1, type, e));
    }
    return LAR_OK;
}

static lar_status read_merges(vocab *v, const json_t *model, lar_err *e)
{
    json_t *m, *j = json_object_get(model, "merges");
    size_t i;
    v->n_merges = json_array_size(j);
    v->merges = lar_alloc_array(v->n_merges + 1, sizeof *v->merges);
    if (!v->merges)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu merges", v->n_merges);
    json_array_foreach(j, i, m)
    {
        const json_t *a = json_array_get(m, 0), *b = json_array_get(m, 1);
        if (json_is_string(m)) {
            v->merges[i] = (lar_str){json_string_value(m), json_string_length(m)};
        } else if (json_is_string(a) && json_is_string(b) && json_array_size(m) == 2) {
            lar_buf t = {0};
            lar_buf_printf(&t, "%s %s", json_string_value(a), json_string_value(b));
            const char *s = t.oom ? NULL : keep(v, t.p, t.n, e);
            v->merges[i] = (lar_str){s, t.n};
            lar_buf_free(&t);
            if (!s)
                return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
        } else {
            return lar_fail(e, LAR_EFORMAT, "tokenizer.json: merge %zu, want two strings", i);
        }
    }
    return LAR_OK;
}

/* Merges are in the order in which SentencePiece would take them: the rank is the score. */
static lar_status scores_from_merges(vocab *v, const json_t *model, lar_err *e)
{
    const json_t *ids = json_object_get(model, "vocab");
    for (size_t i = 0; i < v->n; i++)
        v->scores[i] = -1e9f;
    for (size_t i = v->n_merges; i-- > 0;) {
        const lar_str m = v->merges[i];
        const char *gap = memchr(m.p, ' ', m.n);
        char joined[512];
        if (!gap || m.n > sizeof joined)
            continue;
        const size_t a = (size_t)(gap - m.p), b = m.n - a - 1;
        memcpy(joined, m.p, a);
        memcpy(joined + a, gap + 1, b);
        joined[a + b] = 0;
        const json_t *id = json_object_getn(ids, joined, a + b);
        if (!json_is_integer(id))
            return lar_fail(e, LAR_EFORMAT, "tokenizer.json: merge %zu makes no token", i);
        v->scores[json_integer_value(id)] = -(float)i;
    }
    return LAR_OK;
}

static lar_status read_unigram(vocab *v, const json_t *model, lar_err *e)
{
    json_t *entry, *j = json_object_get(model, "vocab");
    const json_t *unk = json_object_get(model, "unk_id");
    size_t i;
    if (!json_is_array(j))
        return lar_fail(e, LAR_EFORMAT, "tokenizer.json: model.vocab, want a list");
    json_array_foreach(j, i, entry)
    {
        const json_t *s = json_array_get(entry, 0), *score = json_array_get(entry, 1);
        if (!json_is_string(s) || !json_is_number(score))
            return lar_fail(e, LAR_EFORMAT, "tokenizer.json: vocab entry %zu, want [text, score]",
                            i);
        const bool is_unk = json_is_integer(unk) && json_integer_value(unk) == (json_int_t)i;
        const int type = is_unk                                                 ? LAR_TOKEN_UNKNOWN
                         : is_byte(json_string_value(s), json_string_length(s)) ? LAR_TOKEN_BYTE
                                                                                : LAR_TOKEN_NORMAL;
        LAR_TRY(set_token(v, json_string_value(s), json_string_length(s), (json_int_t)i, type, e));
        v->scores[i] = (float)json_number_value(score);
    }
    return LAR_OK;
}

/* WordPiece in GGUF marks the beginnings of words, not what continues them. */
static lar_status mark_words(vocab *v, const json_t *model, lar_err *e)
{
    const char *prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    const size_t np = strlen(prefix ? prefix : "##");
    for (size_t i = 0; i < v->n; i++) {
        lar_str *t = &v->tokens[i];
        if (!t->p || (t->n > 2 && t->p[0] == '[' && t->p[t->n - 1] == ']'))
            continue;
        if (t->n > np && memcmp(t->p, prefix ? prefix : "##", np) == 0) {
            *t = (lar_str){t->p + np, t->n - np};
            continue;
        }
        lar_buf b = {0};
        lar_buf_puts(&b, SPACE_MARK);
        lar_buf_add(&b, t->p, t->n);
        const char *s = b.oom ? NULL : keep(v, b.p, b.n, e);
        const size_t n = b.n;
        lar_buf_free(&b);
        if (!s)
            return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
        *t = (lar_str){s, n};
    }
    return LAR_OK;
}

static lar_status read_added(vocab *v, const json_t *tok, lar_err *e)
{
    json_t *a;
    size_t i;
    json_array_foreach(json_object_get(tok, "added_tokens"), i, a)
    {
        const json_t *s = json_object_get(a, "content"), *id = json_object_get(a, "id");
        if (!json_is_string(s) || !json_is_integer(id))
            return lar_fail(e, LAR_EFORMAT, "tokenizer.json: added token %zu, want id and content",
                            i);
        const json_int_t at = json_integer_value(id);
        const bool unk = at >= 0 && (size_t)at < v->n && v->types[at] == LAR_TOKEN_UNKNOWN;
        LAR_TRY(set_token(v, json_string_value(s), json_string_length(s), at,
                          unk                                           ? LAR_TOKEN_UNKNOWN
                          : json_is_true(json_object_get(a, "special")) ? LAR_TOKEN_CONTROL
                                                                        : LAR_TOKEN_USER,
                          e));
    }
    return LAR_OK;
}

static lar_status fill_gaps(vocab *v, lar_err *e)
{
    for (size_t i = 0; i < v->n; i++) {
        lar_buf b = {0};
        if (v->tokens[i].p)
            continue;
        lar_buf_printf(&b, "[PAD%zu]", i);
        v->tokens[i] = (lar_str){b.oom ? NULL : keep(v, b.p, b.n, e), b.n};
        v->types[i] = LAR_TOKEN_UNUSED;
        lar_buf_free(&b);
        if (!v->tokens[i].p)
            return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    }
    return LAR_OK;
}

/* ---- how text is split ------------------------------------------------------------------------
 */

/* Split patterns of tokenizer.json, each followed by '\n', and what GGUF calls them. */
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n"
static const struct {
    const char *rules, *pre;
} known_pre[] = {
    {"@gpt2\n", "gpt-2"},
    {"\\p{N}\n@gpt2\n", "smollm"},
    {CONTRACTIONS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" REST, "llama-bpe"},
    {CONTRACTIONS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" REST, "qwen2"},
    {"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"
     "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+"
     "[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n",
     "gpt-4o"},
    {"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
     "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
     "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n",
     "tekken"},
};

static lar_status add_rule(const json_t *p, lar_buf *rules, lar_err *e)
{
    const char *type = json_string_value(json_object_get(p, "type"));
    const char *regex = json_string_value(lar_hf_get(p, "pattern.Regex"));
    const char *behavior = json_string_value(json_object_get(p, "behavior"));
    if (!type)
        return lar_fail(e, LAR_EFORMAT, "tokenizer.json: a pre_tokenizer without a type");
    if (strcmp(type, "ByteLevel") == 0) {
        if (!json_is_false(json_object_get(p, "use_regex")))
            lar_buf_puts(rules, "@gpt2\n");
        return LAR_OK;
    }
    if (strcmp(type, "Digits") == 0) {
        lar_buf_puts(rules, json_is_true(json_object_get(p, "individual_digits")) ? "\\p{N}\n"
                                                                                  : "\\p{N}+\n");
        return LAR_OK;
    }
    const bool invert = json_is_true(json_object_get(p, "invert"));
    /* Both keep the matches as words of their own. */
    if (strcmp(type, "Split") == 0 && regex && !strchr(regex, '\n') && behavior &&
        strcmp(behavior, invert ? "Removed" : "Isolated") == 0) {
        lar_buf_printf(rules, "%s\n", regex);
        return LAR_OK;
    }
    return lar_fail(e, LAR_EUNSUPPORTED,
                    "tokenizer.json: pre_tokenizer %.40s with these settings is not supported",
                    type);
}

static lar_status put_pre(lar_hf *h, const json_t *pre, lar_err *e)
{
    lar_buf rules = {0};
    const json_t *list = json_object_get(pre, "pretokenizers");
    const char *name = NULL;
    lar_status s = LAR_OK;
    if (json_is_array(list))
        for (size_t i = 0; s == LAR_OK && i < json_array_size(list); i++)
            s = add_rule(json_array_get(list, i), &rules, e);
    else
        s = add_rule(pre, &rules, e);
    if (s == LAR_OK && rules.oom)
        s = lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    for (size_t i = 0; s == LAR_OK && rules.p && i < LAR_LEN(known_pre); i++)
        if (strcmp(rules.p, known_pre[i].rules) == 0)
            name = known_pre[i].pre;
    if (s == LAR_OK) {
        lar_gguf_put_string(h->w, KEY "pre", name ? name : "default");
        h->own_split = !name && rules.p;
        if (h->own_split)
            lar_gguf_put_string(h->w, PRE_REGEX, rules.p);
    }
    lar_buf_free(&rules);
    return s;
}

/* ---- special tokens ---------------------------------------------------------------------------
 */

static const char *content(const json_t *j)
{
    return json_string_value(json_is_object(j) ? json_object_get(j, "content") : j);
}

static bool find_token(const vocab *v, const char *s, uint32_t *id)
{
    const size_t n = s ? strlen(s) : 0;
    for (size_t i = 0; s && i < v->n; i++)
        if (v->tokens[i].n == n && memcmp(v->tokens[i].p, s, n) == 0) {
            *id = (uint32_t)i;
            return true;
        }
    return false;
}

/* By name in tokenizer_config.json, else by id in generation_config.json or config.json. */
static void put_special(lar_hf *h, const vocab *v, const json_t *tc, const json_t *gc,
                        const char *name, const char *key)
{
    char field[40], id_field[40];
    uint32_t id = UINT32_MAX;
    lar_buf b = {0};
    lar_buf_printf(&b, "%s_token", name);
    if (b.oom || b.n >= sizeof field - 4) {
        lar_buf_free(&b);
        return;
    }
    memcpy(field, b.p, b.n + 1);
    memcpy(id_field, b.p, b.n);
    memcpy(id_field + b.n, "_id", 4);
    lar_buf_free(&b);
    if (!find_token(v, content(json_object_get(tc, field)), &id)) {
        const json_t *j = lar_hf_get(gc, id_field);
        if (!j)
            j = lar_hf_get(h->text, id_field);
        if (json_is_array(j))
            j = json_array_get(j, 0);
        if (json_is_integer(j) && json_integer_value(j) >= 0 &&
            (size_t)json_integer_value(j) < v->n)
            id = (uint32_t)json_integer_value(j);
    }
    if (id != UINT32_MAX)
        lar_gguf_put_u32(h->w, key, id);
}

/* The second of several ends of generation: what ends a turn where eos ends a text. */
static void put_eot(lar_hf *h, const vocab *v, const json_t *tc, const json_t *gc)
{
    const json_t *list = lar_hf_get(gc, "eos_token_id");
    uint32_t eos = UINT32_MAX;
    find_token(v, content(json_object_get(tc, "eos_token")), &eos);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *j = json_array_get(list, i);
        if (json_is_integer(j) && json_integer_value(j) >= 0 &&
            (size_t)json_integer_value(j) < v->n && (uint32_t)json_integer_value(j) != eos) {
            lar_gguf_put_u32(h->w, KEY "eot_token_id", (uint32_t)json_integer_value(j));
            return;
        }
    }
}

/* Whether post-processing puts a token before or after a text. */
static void find_template(const json_t *post, bool *first, bool *last)
{
    const json_t *list = json_object_get(post, "processors"),
                 *single = json_object_get(post, "single");
    const char *type = lar_hf_text(json_object_get(post, "type"));
    *first = *last = strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i);
        const json_t *s = json_object_get(p, "single");
        if (json_array_size(s))
            single = s;
    }
    const size_t n = json_array_size(single);
    if (n) {
        *first = json_object_get(json_array_get(single, 0), "SpecialToken") != NULL;
        *last = json_object_get(json_array_get(single, n - 1), "SpecialToken") != NULL;
    }
}

static void put_flag(lar_hf *h, const json_t *tc, const char *name, bool has, bool by_template,
                     const char *key)
{
    const json_t *j = json_object_get(tc, name);
    if (json_is_boolean(j) && !(has && by_template))
        lar_gguf_put_bool(h->w, key, json_is_true(j));
    else if (has)
        lar_gguf_put_bool(h->w, key, by_template);
}

static lar_status put_specials(lar_hf *h, const vocab *v, const json_t *tok, const json_t *tc,
                               const json_t *gc, const char *kind)
{
    static const struct {
        const char *name, *key;
    } ids[] = {{"bos", KEY "bos_token_id"},     {"eos", KEY "eos_token_id"},
               {"unk", KEY "unknown_token_id"}, {"sep", KEY "seperator_token_id"},
               {"pad", KEY "padding_token_id"}, {"cls", KEY "cls_token_id"},
               {"mask", KEY "mask_token_id"}};
    const json_t *post = json_object_get(tok, "post_processor");
    const bool wordpiece = strcmp(kind, "bert") == 0; /* begins with [CLS], ends with [SEP] */
    bool first = false, last = false;
    for (size_t i = 0; i < LAR_LEN(ids); i++)
        put_special(h, v, tc, gc, i == 0 && wordpiece ? "cls" : ids[i].name, ids[i].key);
    put_eot(h, v, tc, gc);
    find_template(post, &first, &last);
    put_flag(h, tc, "add_bos_token", json_is_object(post), first, KEY "add_bos_token");
    put_flag(h, tc, "add_eos_token", json_is_object(post), last,
             wordpiece ? KEY "add_sep_token" : KEY "add_eos_token");
    return LAR_OK;
}

static lar_status put_template(lar_hf *h, const json_t *tc, lar_err *e)
{
    lar_buf file = {0};
    json_t *entry;
    size_t i;
    const json_t *j = json_object_get(tc, "chat_template");
    lar_status s = lar__load_text(h->folder, "chat_template.jinja", &file, e);
    if (s == LAR_OK)
        lar_gguf_put_str(h->w, "tokenizer.chat_template", (lar_str){file.p ? file.p : "", file.n});
    lar_buf_free(&file);
    if (s != LAR_ENOTFOUND)
        return s;
    if (json_is_string(j))
        lar_gguf_put_string(h->w, "tokenizer.chat_template", json_string_value(j));
    json_array_foreach(j, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *text = json_string_value(json_object_get(entry, "template"));
        lar_buf key = {0};
        if (!name || !text)
            return lar_fail(e, LAR_EFORMAT,
                            "tokenizer_config.json: chat_template %zu, want name "
                            "and template",
                            i);
        lar_buf_puts(&key, "tokenizer.chat_template");
        if (strcmp(name, "default") != 0)
            lar_buf_printf(&key, ".%s", name);
        if (!key.oom)
            lar_gguf_put_string(h->w, key.p, text);
        lar_buf_free(&key);
    }
    return LAR_OK;
}

/* ---- one tokenizer.json -----------------------------------------------------------------------
 */

/* Whether the JSON below holds {"type": name} within a few levels. */
static bool mentions(const json_t *j, const char *name, int depth)
{
    const char *key, *type = json_string_value(json_object_get(j, "type"));
    json_t *v;
    size_t i;
    if (type && strcmp(type, name) == 0)
        return true;
    if (depth == 0)
        return false;
    json_object_foreach((json_t *)(uintptr_t)j, key, v)
    {
        if (mentions(v, name, depth - 1))
            return true;
    }
    json_array_foreach(j, i, v)
    {
        if (mentions(v, name, depth - 1))
            return true;
    }
    return false;
}

static lar_status put_charsmap(lar_hf *h, const json_t *norm, lar_err *e)
{
    const json_t *list = json_object_get(norm, "normalizers");
    const json_t *text = json_object_get(norm, "precompiled_charsmap");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *t = json_object_get(json_array_get(list, i), "precompiled_charsmap");
        text = t ? t : text;
    }
    if (!json_is_string(text))
        return LAR_OK;
    const size_t n = json_string_length(text);
    size_t used = 0;
    unsigned char *p = lar_alloc(n + 1);
    if (!p)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    const int rc = sodium_base642bin(p, n, json_string_value(text), n, "\n", &used, NULL,
                                     sodium_base64_VARIANT_ORIGINAL);
    if (rc == 0)
        lar_gguf_put_array(h->w, KEY "precompiled_charsmap", LAR_GGUF_U8, p, used);
    lar_free(p);
    return rc == 0 ? LAR_OK
                   : lar_fail(e, LAR_EFORMAT, "tokenizer.json: precompiled_charsmap, want base64");
}

static lar_status read_bpe(lar_hf *h, vocab *v, const json_t *tok, const json_t *model,
                           const char **kind, lar_err *e)
{
    const json_t *pre = json_object_get(tok, "pre_tokenizer");
    const bool byte_level =
        mentions(pre, "ByteLevel", 4) || mentions(json_object_get(tok, "decoder"), "ByteLevel", 4);
    *kind = byte_level ? "gpt2" : "llama";
    LAR_TRY(read_object(v, model, !byte_level, e));
    LAR_TRY(read_merges(v, model, e));
    if (json_is_true(json_object_get(model, "ignore_merges")))
        lar_gguf_put_bool(h->w, KEY "ignore_merges", true);
    if (!byte_level) {
        const json_t *norm = json_object_get(tok, "normalizer");
        lar_gguf_put_string(h->w, KEY "pre", "default");
        lar_gguf_put_bool(h->w, KEY "add_space_prefix",
                          mentions(norm, "Prepend", 4) || mentions(pre, "Metaspace", 4));
        return scores_from_merges(v, model, e);
    }
    return put_pre(h, pre, e);
}

static lar_status read_model(lar_hf *h, vocab *v, const json_t *tok, const char **kind, lar_err *e)
{
    const json_t *model = json_object_get(tok, "model"), *norm = json_object_get(tok, "normalizer");
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!type && json_is_array(json_object_get(model, "vocab")))
        type = "Unigram";
    if (!type)
        type = "BPE"; /* older files leave it out */
    if (strcmp(type, "BPE") == 0)
        return read_bpe(h, v, tok, model, kind, e);
    if (strcmp(type, "Unigram") == 0) {
        *kind = "t5";
        LAR_TRY(put_charsmap(h, norm, e));
        return read_unigram(v, model, e);
    }
    if (strcmp(type, "WordPiece") == 0) {
        *kind = "bert";
        put_flag(h, norm, "lowercase", false, false, KEY "normalizer.lowercase");
        put_flag(h, norm, "strip_accents", false, false, KEY "normalizer.strip_accents");
        if (json_is_false(json_object_get(norm, "handle_chinese_chars")))
            return lar_fail(e, LAR_EUNSUPPORTED,
                            "tokenizer.json: handle_chinese_chars is false, want true");
        LAR_TRY(read_object(v, model, false, e));
        return mark_words(v, model, e);
    }
    return lar_fail(e, LAR_EUNSUPPORTED,
                    "tokenizer.json: model type '%.40s', want BPE, Unigram or WordPiece", type);
}

static size_t highest_id(const json_t *tok)
{
    const json_t *ids = lar_hf_get(tok, "model.vocab");
    json_int_t max = (json_int_t)json_array_size(ids) - 1;
    const char *key;
    json_t *v;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)ids, key, v)
    {
        max = LAR_MAX(max, json_integer_value(v));
    }
    json_array_foreach(json_object_get(tok, "added_tokens"), i, v)
    {
        max = LAR_MAX(max, json_integer_value(json_object_get(v, "id")));
    }
    return max < 0 || max >= 1 << 24 ? 0 : (size_t)max;
}

static lar_status put_vocab(lar_hf *h, const vocab *v, const char *kind)
{
    const bool scored = strcmp(kind, "llama") == 0 || strcmp(kind, "t5") == 0;
    lar_gguf_put_string(h->w, KEY "model", kind);
    lar_gguf_put_strings(h->w, KEY "tokens", v->tokens, v->n);
    lar_gguf_put_array(h->w, KEY "token_type", LAR_GGUF_I32, v->types, v->n);
    if (scored)
        lar_gguf_put_array(h->w, KEY "scores", LAR_GGUF_F32, v->scores, v->n);
    else if (v->n_merges)
        lar_gguf_put_strings(h->w, KEY "merges", v->merges, v->n_merges);
    return LAR_OK;
}

static lar_status read_tokenizer(lar_hf *h, vocab *v, const json_t *tok, const json_t *tc,
                                 const json_t *gc, lar_err *e)
{
    const char *kind = NULL;
    LAR_TRY(read_model(h, v, tok, &kind, e));
    LAR_TRY(read_added(v, tok, e));
    LAR_TRY(fill_gaps(v, e));
    LAR_TRY(put_vocab(h, v, kind));
    LAR_TRY(put_specials(h, v, tok, tc, gc, kind));
    return put_template(h, tc, e);
}

static lar_status with_json(lar_hf *h, const json_t *tok, const json_t *tc, const json_t *gc,
                            lar_err *e)
{
    const size_t n = highest_id(tok) + 1;
    if (n > (size_t)h->n_vocab)
        return lar_fail(e, LAR_EFORMAT,
                        "tokenizer.json: %zu tokens, config.json's vocab_size is %lld", n,
                        (long long)h->n_vocab);
    vocab v = {.n = (size_t)h->n_vocab, .keep = json_array()};
    v.tokens = lar_alloc_array(v.n, sizeof *v.tokens);
    v.scores = lar_alloc_array(v.n, sizeof *v.scores);
    v.types = lar_alloc_array(v.n, sizeof *v.types);
    lar_status s = v.tokens && v.scores && v.types && v.keep
                       ? LAR_OK
                       : lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu tokens", v.n);
    if (s == LAR_OK)
        s = read_tokenizer(h, &v, tok, tc, gc, e);
    lar_free(v.tokens);
    lar_free(v.scores);
    lar_free(v.types);
    lar_free(v.merges);
    json_decref(v.keep);
    return s;
}

/* ---- SentencePiece ----------------------------------------------------------------------------
 */

static lar_status put_spm(lar_hf *h, const lar_spm *m, const json_t *tc, const json_t *gc,
                          lar_err *e)
{
    const struct {
        int32_t id;
        const char *key;
    } ids[] = {{m->unk, KEY "unknown_token_id"},
               {m->bos, KEY "bos_token_id"},
               {m->eos, KEY "eos_token_id"},
               {m->pad, KEY "padding_token_id"}};
    const size_t n = (size_t)h->n_vocab;
    if (m->n > n)
        return lar_fail(e, LAR_EFORMAT,
                        "tokenizer.model: %zu pieces, config.json's vocab_size is %zu", m->n, n);
    vocab v = {.n = n, .keep = json_array(), .tokens = lar_alloc_array(n, sizeof *v.tokens)};
    v.scores = lar_alloc_array(n, sizeof *v.scores);
    v.types = lar_alloc_array(n, sizeof *v.types);
    lar_status s = v.keep && v.tokens && v.scores && v.types
                       ? LAR_OK
                       : lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    for (size_t i = 0; s == LAR_OK && i < m->n; i++) {
        v.tokens[i] = m->pieces[i];
        v.scores[i] = m->scores[i];
        v.types[i] = m->types[i];
    }
    if (s == LAR_OK)
        s = fill_gaps(&v, e);
    if (s == LAR_OK)
        s = put_vocab(h, &v, m->unigram ? "t5" : "llama");
    for (size_t i = 0; i < LAR_LEN(ids); i++)
        if (ids[i].id >= 0)
            lar_gguf_put_u32(h->w, ids[i].key, (uint32_t)ids[i].id);
    if (s == LAR_OK) {
        lar_gguf_put_string(h->w, KEY "pre", "default");
        lar_gguf_put_bool(h->w, KEY "add_space_prefix", m->add_dummy_prefix);
        if (m->charsmap.n && m->unigram)
            lar_gguf_put_array(h->w, KEY "precompiled_charsmap", LAR_GGUF_U8, m->charsmap.p,
                               m->charsmap.n);
        put_flag(h, tc, "add_bos_token", false, false, KEY "add_bos_token");
        put_flag(h, tc, "add_eos_token", false, false, KEY "add_eos_token");
        put_eot(h, &v, tc, gc);
        s = put_template(h, tc, e);
    }
    lar_free(v.tokens);
    lar_free(v.scores);
    lar_free(v.types);
    json_decref(v.keep);
    return s;
}

static lar_status with_spm(lar_hf *h, const json_t *tc, const json_t *gc, lar_err *e)
{
    lar_map map;
    lar_spm m;
    char *path = lar__join(h->folder, "tokenizer.model");
    if (!path)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    lar_status s = lar_map_open(path, &map, e);
    lar_free(path);
    if (s == LAR_ENOTFOUND)
        return lar_fail(e, LAR_ENOTFOUND, "%s: neither tokenizer.json nor tokenizer.model",
                        h->folder);
    LAR_TRY(s);
    s = lar_spm_read(map.data, map.size, &m, e);
    if (s == LAR_OK) {
        s = put_spm(h, &m, tc, gc, e);
        lar_spm_free(&m);
    }
    lar_map_close(&map);
    return s;
}

static lar_status optional(lar_status s)
{
    return s == LAR_ENOTFOUND ? LAR_OK : s;
}

enum { TEXT = 1, FLAG = 2, NUMBER = 4, LIST = 8, OBJECT = 16 };

static int kind_of(const json_t *v)
{
    return json_is_string(v)    ? TEXT
           : json_is_boolean(v) ? FLAG
           : json_is_number(v)  ? NUMBER
           : json_is_array(v)   ? LIST
           : json_is_object(v)  ? OBJECT
                                : 0;
}

/* What is read of a file, "a|b" with what it may be; a null is as good as nothing. */
static lar_status check_kinds(const char *file, const json_t *j, const char *names, int may,
                              const char *want, lar_err *e)
{
    if (j && !json_is_object(j))
        return lar_fail(e, LAR_EFORMAT, "%s: want an object", file);
    for (const char *p = names; *p;) {
        const size_t n = strcspn(p, "|");
        const json_t *v = json_object_getn(j, p, n);
        if (v && !json_is_null(v) && !(kind_of(v) & may))
            return lar_fail(e, LAR_EFORMAT, "%s: %.*s, want %s", file, (int)n, p, want);
        p += n + (p[n] == '|');
    }
    return LAR_OK;
}

static lar_status check_settings(const json_t *tc, const json_t *gc, lar_err *e)
{
    static const char file[] = "tokenizer_config.json";
    LAR_TRY(check_kinds(file, tc,
                        "bos_token|eos_token|unk_token|sep_token|pad_token|cls_token|mask_token",
                        TEXT | OBJECT, "a text or an object", e));
    LAR_TRY(check_kinds(file, tc, "add_bos_token|add_eos_token", FLAG, "true or false", e));
    LAR_TRY(check_kinds(file, tc, "chat_template", TEXT | LIST, "a text or a list", e));
    return check_kinds("generation_config.json", gc, "bos_token_id|eos_token_id|pad_token_id",
                       NUMBER | LIST, "a number or a list", e);
}

lar_status lar__hf_tokenizer(lar_hf *h, lar_err *e)
{
    json_t *tok = NULL, *tc = NULL, *gc = NULL;
    lar_status s = optional(lar__load_json(h->folder, "tokenizer_config.json", &tc, e));
    if (s == LAR_OK)
        s = optional(lar__load_json(h->folder, "generation_config.json", &gc, e));
    if (s == LAR_OK)
        s = check_settings(tc, gc, e);
    if (s == LAR_OK)
        s = lar__load_json(h->folder, "tokenizer.json", &tok, e);
    if (s == LAR_OK)
        s = with_json(h, tok, tc, gc, e);
    else if (s == LAR_ENOTFOUND)
        s = with_spm(h, tc, gc, e);
    json_decref(tok);
    json_decref(tc);
    json_decref(gc);
    return s;
}
