/*
 * template.h - chat templates: a Jinja interpreter complete enough for real ones, bounded in steps,
 * output and depth. The oracle is Python's jinja2 as transformers configures it:
 * ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, the loop controls, the `generation`
 * tag, tojson with ensure_ascii=False, raise_exception, strftime_now.
 *
 * A compiled template is immutable: any thread. Rendering needs no lock.
 */
#ifndef LAR_TEMPLATE_H
#define LAR_TEMPLATE_H
#include "base/base.h"
#include <jansson.h>

typedef struct lar_template lar_template;

lar_status lar_template_new(const char *source, size_t n, lar_template **out, lar_err *e);
void lar_template_free(lar_template *t);

/* [begin, end) bytes of the output that a {% generation %} block produced: an assistant's turn. */
typedef struct lar_span {
    size_t begin, end;
} lar_span;

typedef struct lar_render {
    lar_buf text;
    lar_span *spans;
    size_t n_spans, cap_spans;
} lar_render;
void lar_render_free(lar_render *r);

/* 'vars' is an object whose members are the template's variables (messages, tools,
 * add_generation_prompt, bos_token ...). `now` is the time that strftime_now formats (Unix seconds,
 * UTC). LAR_EARG when the template calls raise_exception or the data does not fit it; the message
 * has the template's line. */
lar_status lar_template_render(const lar_template *t, const json_t *vars, int64_t now,
                               lar_render *out, lar_err *e);

#endif
