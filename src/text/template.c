/*
 * template.c - the public face of the Jinja interpreter. Depends on jinja.h.
 */
#include "text/jinja.h"
#include <stdlib.h>
#include <string.h>

struct lar_template {
    jmem mem; /* source, constants and tree */
    jnode *tree;
};

bool lar__jc_fail(jc *c, lar_status st, uint32_t line, const char *fmt, ...)
{
    char msg[400];
    va_list ap;
    if (c->st != LAR_OK)
        return false;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    c->st = lar_fail(c->e, st, "template line %u: %s", (unsigned)line, msg);
    return false;
}

void *lar__jc_alloc(jc *c, size_t n)
{
    void *p = lar__jmem_alloc(c->mem, n);
    if (!p && c->mem->full)
        lar__jc_fail(c, LAR_EARG, 1, "the template needs more than %u MiB", JINJA_MAX_MEMORY >> 20);
    else if (!p)
        lar__jc_fail(c, LAR_ENOMEM, 1, "out of memory");
    return p;
}

lar_status lar_template_new(const char *source, size_t n, lar_template **out, lar_err *e)
{
    *out = NULL;
    if (n > JINJA_MAX_SOURCE)
        return lar_fail(e, LAR_EARG, "template: %zu bytes, want at most %u", n, JINJA_MAX_SOURCE);
    lar_template *t = lar_alloc(sizeof *t);
    if (!t)
        return lar_fail(e, LAR_ENOMEM, "template: out of memory");
    t->mem.limit = JINJA_MAX_MEMORY;
    jc c = {.mem = &t->mem, .e = e};
    if (lar__jlex(&c, source, n) && lar__jparse(&c, &t->tree) && lar__jcheck(&c, t->tree))
        *out = t;
    else
        lar_template_free(t);
    lar_free(c.tok);
    return c.st;
}

void lar_template_free(lar_template *t)
{
    if (!t)
        return;
    lar__jmem_free(&t->mem);
    lar_free(t);
}

void lar_render_free(lar_render *r)
{
    lar_buf_free(&r->text);
    lar_free(r->spans);
    *r = (lar_render){0};
}

lar_status lar_template_render(const lar_template *t, const json_t *vars, int64_t now,
                               lar_render *out, lar_err *e)
{
    *out = (lar_render){0};
    if (!json_is_object(vars))
        return lar_fail(e, LAR_EARG, "template: the variables are not an object");
    jr r = {.mem.limit = JINJA_MAX_MEMORY,
            .cat.limit = JINJA_MAX_MEMORY,
            .e = e,
            .now = now,
            .tree = t->tree,
            .out = &out->text,
            .root_out = &out->text,
            .render = out,
            .line = 1};
    jv v;
    if (lar__jv_json(&r, vars, &v)) {
        r.vars = v.u.d;
        if (lar__jrender(&r) && lar__jbuf_ok(&r, &out->text) && !out->text.p) {
            lar_buf_puts(&out->text, ""); /* empty, not absent */
            lar__jbuf_ok(&r, &out->text);
        }
    }
    lar__jmem_free(&r.mem);
    lar__jmem_free(&r.cat);
    if (r.st != LAR_OK)
        lar_render_free(out);
    return r.st;
}
