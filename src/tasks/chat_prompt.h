/*
 * chat_prompt.h - a conversation as a model's chat template writes it, and as the tokens that the
 * model is given. Depends on template.h, the tokenizer and user_text.h.
 *
 * A file without a template gets ChatML when its vocabulary has <|im_start|> and <|im_end|>; else
 * asking for a chat is an error that says so.
 */
#ifndef LAR_CHAT_PROMPT_H
#define LAR_CHAT_PROMPT_H
#include "tasks/host.h"
#include <jansson.h>

/* ChatML with an optional system turn, as used where a file has no template of its own. */
extern const char lar_chatml[];

/* The model's template. *own is NULL, or the same when it was made here and is the caller's to
 * free. */
lar_status lar_chat_template(const lar_model *m, const lar_template **out, lar_template **own,
                             lar_err *e);

/* Add what the vocabulary knows (bos_token, eos_token, unk_token, pad_token ...) where `vars` has
 * no such key. */
lar_status lar_chat_add_tokens(const lar_model *m, json_t *vars, lar_err *e);

/* The model's template over vars (messages, tools ...) and extra (further template variables, which
 * win; may be NULL). As in transformers, tools and documents are none when not given. `now` is for
 * strftime_now. */
lar_status lar_chat_text(const lar_model *m, const json_t *vars, const json_t *extra,
                         bool add_generation, int64_t now, lar_buf *out, lar_err *e);

/* The same as tokens, appended to out: what the template writes may be control tokens, what the
 * user wrote never is. Without a control token's spelling in the user's text these are the ids of
 * the whole rendered text with special tokens parsed. BOS comes first if the file asks for it,
 * once: *bos_written tells whether it was the template that wrote it (may be NULL). The date is the
 * clock's. */
lar_status lar_chat_tokens(const lar_model *m, const json_t *vars, const json_t *extra,
                           bool add_generation, lar_ids *out, bool *bos_written, lar_err *e);
lar_status lar_chat_tokens_at(const lar_model *m, const json_t *vars, const json_t *extra,
                              bool add_generation, int64_t now, lar_ids *out, bool *bos_written,
                              lar_err *e);

#endif
