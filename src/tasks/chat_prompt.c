/* chat_prompt.c - see chat_prompt.h. */
#include "tasks/chat_prompt.h"
#include "tasks/json.h"
#include "tasks/user_text.h"
#include <string.h>
#include <time.h>

const char lar_chatml[] =
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- elif message['content'] -%}"
    "{%- for part in message['content'] -%}{{- part['text'] -}}{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<|im_end|>' + '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";

static lar_status no_memory(lar_err *e)
{
    return lar_fail(e, LAR_ENOMEM, "out of memory for a chat prompt");
}

lar_status lar_chat_add_tokens(const lar_model *m, json_t *vars, lar_err *e)
{
    static const struct {
        const char *var, *key;
    } named[] = {
        {"bos_token", "tokenizer.ggml.bos_token_id"},
        {"eos_token", "tokenizer.ggml.eos_token_id"},
        {"unk_token", "tokenizer.ggml.unknown_token_id"},
        {"sep_token", "tokenizer.ggml.seperator_token_id"}, /* spelled so by the format */
        {"pad_token", "tokenizer.ggml.padding_token_id"},
        {"cls_token", "tokenizer.ggml.cls_token_id"},
        {"mask_token", "tokenizer.ggml.mask_token_id"},
    };
    const lar_tokenizer *t = m->vocab.tok;
    for (size_t i = 0; t && i < LAR_LEN(named); i++) {
        uint32_t id;
        if (json_object_get(vars, named[i].var))
            continue;
        if (lar_gguf_get_u32(m->gguf, named[i].key, &id, NULL) != LAR_OK) {
            /* Some kinds of vocabulary have these two by convention. */
            int32_t by_kind = i == 0 ? lar_tokenizer_bos(t) : i == 1 ? lar_tokenizer_eos(t) : -1;
            if (by_kind < 0)
                continue;
            id = (uint32_t)by_kind;
        }
        if (id >= lar_tokenizer_size(t))
            continue;
        lar_str s = lar_tokenizer_text(t, (int32_t)id);
        if (json_object_set_new(vars, named[i].var, lar_json_text(s.p, s.n)) != 0)
            return no_memory(e);
    }
    return LAR_OK;
}

static lar_status build_vars(const lar_model *m, const json_t *vars, const json_t *extra,
                             bool add_generation, json_t **out, lar_err *e)
{
    if (!json_is_object(vars) || (extra && !json_is_object(extra)))
        return lar_fail(e, LAR_EARG, "template variables must be a JSON object");
    json_t *o = json_copy((json_t *)(uintptr_t)vars);
    bool bad = !o;
    if (o && extra && json_object_update(o, (json_t *)(uintptr_t)extra) != 0)
        bad = true;
    static const char *const none[] = {"tools", "documents"};
    for (size_t i = 0; o && i < LAR_LEN(none); i++)
        if (!json_object_get(o, none[i]))
            lar_json_put(o, none[i], json_null(), &bad);
    if (o)
        lar_json_put(o, "add_generation_prompt", json_boolean(add_generation), &bad);
    lar_status s = bad ? no_memory(e) : lar_chat_add_tokens(m, o, e);
    if (s == LAR_OK)
        *out = o;
    else
        json_decref(o);
    return s;
}

lar_status lar_chat_template(const lar_model *m, const lar_template **out, lar_template **own,
                             lar_err *e)
{
    static const char *const marks[] = {"<|im_start|>", "<|im_end|>"};
    *own = NULL;
    *out = m->chat;
    if (m->chat)
        return LAR_OK;
    if (m->chat_err.code != LAR_OK)
        return lar_fail(e, m->chat_err.code, "%s", m->chat_err.msg);
    for (size_t i = 0; i < LAR_LEN(marks); i++)
        if (!m->vocab.tok || lar_tokenizer_find(m->vocab.tok, marks[i], strlen(marks[i])) < 0)
            return lar_fail(
                e, LAR_EUNSUPPORTED,
                "the model file has no chat template, and its vocabulary no %s for ChatML; "
                "use the text as it is (raw), or a template",
                marks[i]);
    LAR_TRY(lar_template_new(lar_chatml, strlen(lar_chatml), own, e));
    *out = *own;
    return LAR_OK;
}

lar_status lar_chat_text(const lar_model *m, const json_t *vars, const json_t *extra,
                         bool add_generation, int64_t now, lar_buf *out, lar_err *e)
{
    const lar_template *t;
    lar_template *own = NULL;
    json_t *all = NULL;
    lar_render r = {0};
    lar_status s = build_vars(m, vars, extra, add_generation, &all, e);
    if (s == LAR_OK)
        s = lar_chat_template(m, &t, &own, e);
    if (s == LAR_OK)
        s = lar_template_render(t, all, now, &r, e);
    if (s == LAR_OK) {
        lar_buf_add(out, r.text.p ? r.text.p : "", r.text.n);
        if (out->oom)
            s = no_memory(e);
    }
    lar_render_free(&r);
    lar_template_free(own);
    json_decref(all);
    return s;
}

/* The text to tokenize, and which bytes of it may not be part of a control token (*mine, NULL: none
 * such). */
static lar_status trace(const lar_template *t, lar_marks *m, const json_t *vars, int64_t now,
                        lar_buf *text, uint8_t **mine, lar_err *e)
{
    lar_render plain = {0}, marked = {0};
    json_t *copy = NULL;
    *mine = NULL;
    lar_status s = lar_template_render(t, vars, now, &plain, e);
    if (s != LAR_OK)
        goto out;
    if (!lar__marks_needed(m, vars)) {
        *text = plain.text;
        plain.text = (lar_buf){0};
        goto out;
    }
    s = lar__marks_place(m, vars, (lar_str){plain.text.p, plain.text.n}, e);
    for (int level = LAR_MARK_ALL; s == LAR_OK && level <= LAR_MARK_SPELLINGS; level++) {
        s = lar__marks_apply(m, vars, (lar_mark_level)level, &copy, e);
        if (s != LAR_OK)
            break;
        lar_render_free(&marked);
        s = lar_template_render(t, copy, now, &marked, e);
        json_decref(copy);
        copy = NULL;
        if (s != LAR_OK && s != LAR_ENOMEM && level == LAR_MARK_ALL) {
            s = LAR_OK; /* the template wants to see what was exchanged */
            continue;
        }
        if (s == LAR_OK)
            s = lar__marks_undo(m, (lar_str){marked.text.p, marked.text.n}, text, mine, e);
        if (s != LAR_OK || (text->n == plain.text.n &&
                            (text->n == 0 || memcmp(text->p, plain.text.p, text->n) == 0)))
            break;
        if (level == LAR_MARK_ALL) {
            lar_free(*mine);
            *mine = NULL;
        }
    }
out:
    lar_render_free(&plain);
    lar_render_free(&marked);
    return s;
}

/* Does the file want BOS? Asked of the tokenizer, which knows the rule. */
static lar_status wants_bos(const lar_tokenizer *t, bool *out, lar_err *e)
{
    lar_ids none = {0};
    LAR_TRY(lar_tokenizer_encode(t, "", 0, LAR_TOK_BOS, &none, e));
    *out = none.n > 0 && none.p[0] == lar_tokenizer_bos(t);
    lar_ids_free(&none);
    return LAR_OK;
}

static lar_status encode(const lar_tokenizer *t, const lar_buf *text, const uint8_t *mine,
                         lar_ids *out, bool *bos_written, lar_err *e)
{
    bool add = false;
    lar_ids ids = {0};
    int32_t bos = lar_tokenizer_bos(t);
    lar_status s = lar_tokenizer_encode_masked(t, text->p ? text->p : "", text->n, LAR_TOK_SPECIAL,
                                               mine, &ids, e);
    if (s == LAR_OK)
        s = wants_bos(t, &add, e);
    bool written = ids.n > 0 && bos >= 0 && ids.p[0] == bos;
    if (s == LAR_OK && add && !written)
        s = lar_ids_add(out, bos, e);
    for (size_t i = 0; s == LAR_OK && i < ids.n; i++)
        s = lar_ids_add(out, ids.p[i], e);
    lar_ids_free(&ids);
    if (bos_written)
        *bos_written = written;
    return s;
}

lar_status lar_chat_tokens_at(const lar_model *m, const json_t *vars, const json_t *extra,
                              bool add_generation, int64_t now, lar_ids *out, bool *bos_written,
                              lar_err *e)
{
    const lar_template *t;
    lar_template *own = NULL;
    lar_marks marks = {0};
    lar_buf text = {0};
    uint8_t *mine = NULL;
    json_t *all = NULL;
    if (!m->vocab.tok)
        return lar_fail(e, LAR_EUNSUPPORTED, "the model file has no tokenizer");
    lar_status s = build_vars(m, vars, extra, add_generation, &all, e);
    if (s == LAR_OK)
        s = lar_chat_template(m, &t, &own, e);
    if (s == LAR_OK)
        s = lar__marks_new(m->vocab.tok, &marks, e);
    if (s == LAR_OK)
        s = trace(t, &marks, all, now, &text, &mine, e);
    if (s == LAR_OK && marks.n_words && text.n && !mine) {
        mine = lar_alloc(text.n);
        s = mine ? LAR_OK : no_memory(e);
    }
    if (s == LAR_OK && marks.n_words && text.n)
        lar__marks_words(&marks, (lar_str){text.p, text.n}, mine);
    if (s == LAR_OK)
        s = encode(m->vocab.tok, &text, mine, out, bos_written, e);
    lar_free(mine);
    lar_buf_free(&text);
    lar__marks_free(&marks);
    lar_template_free(own);
    json_decref(all);
    return s;
}

lar_status lar_chat_tokens(const lar_model *m, const json_t *vars, const json_t *extra,
                           bool add_generation, lar_ids *out, bool *bos_written, lar_err *e)
{
    return lar_chat_tokens_at(m, vars, extra, add_generation, (int64_t)time(NULL), out, bos_written,
                              e);
}
