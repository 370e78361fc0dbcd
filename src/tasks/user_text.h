/*
 * user_text.h - which bytes of a rendered prompt came from the user, so that they never become a
 * control token.
 *
 * A template sees strings, not where they came from. So the variables are rendered a second time
 * with the characters that control tokens are spelled with ("<", "|", ">" ...) exchanged, in what
 * the user gave, for private-use characters that occur nowhere else; in the result those are
 * exchanged back and tell the origin. If the text is then the same as the plain rendering, the
 * origin of every such byte is known. Where a template looks at what it is given (splits an answer
 * at "</think>", say) it may differ; then only whole spellings of control tokens, and pieces at a
 * string's ends that could become one with a neighbour, are exchanged, and that rendering is the
 * prompt: the template does not see the user's control tokens as such.
 *
 * Letters and digits are never exchanged: templates compare them, and roles become part of control
 * tokens by design ("<|user|>"). A control token spelled with those alone is not taken from text at
 * all.
 */
#ifndef LAR_USER_TEXT_H
#define LAR_USER_TEXT_H
#include "text/tokenizer.h"
#include <jansson.h>

typedef struct lar_marks {
    lar_str *spell; /* control tokens with a character to exchange; sorted by bytes */
    lar_str *back;  /* the same, sorted by bytes read from the end */
    size_t n;
    lar_str *part; /* every ending of every spelling, sorted: for what may stand inside one; made
                      when needed */
    size_t n_parts;
    lar_str *word; /* control tokens without */
    size_t n_words;
    uint32_t *cp; /* characters to exchange, ascending; number i becomes base + i */
    size_t n_cp, cap_cp;
    uint32_t base; /* 0 until lar__marks_place */
} lar_marks;

typedef enum lar_mark_level { LAR_MARK_ALL, LAR_MARK_SPELLINGS } lar_mark_level;

lar_status lar__marks_new(const lar_tokenizer *t, lar_marks *out, lar_err *e);
void lar__marks_free(lar_marks *m);
/* Does what the user gave hold any character of a control token? `vars` are a template's variables:
 * those named
 * *_token are the model's, all else is the user's. */
bool lar__marks_needed(const lar_marks *m, const json_t *vars);
/* Choose private-use characters that occur neither in vars nor in the plain rendering. */
lar_status lar__marks_place(lar_marks *m, const json_t *vars, lar_str rendered, lar_err *e);
/* A copy of vars with the user's characters exchanged. */
lar_status lar__marks_apply(lar_marks *m, const json_t *vars, lar_mark_level level, json_t **out,
                            lar_err *e);
/* Exchange back: text, and one byte per byte of it, 1 where it is the user's. lar_free(*mine). */
lar_status lar__marks_undo(const lar_marks *m, lar_str marked, lar_buf *text, uint8_t **mine,
                           lar_err *e);
/* Set mine[] where a control token of letters and digits alone is spelled. */
void lar__marks_words(const lar_marks *m, lar_str text, uint8_t *mine);

#endif
