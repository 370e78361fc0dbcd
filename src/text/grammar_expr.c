/* grammar_expr.c - rules as trees, in an arena. Depends on base, grammar_part.h. */
#include "text/grammar_part.h"
#include <stdlib.h>
#include <string.h>

enum { LAST_CODE_POINT = 0x10FFFF };

bool lar__rules_init(lar_rules *r)
{
    memset(r, 0, sizeof *r);
    r->arena = lar_arena_new();
    r->oom = !r->arena;
    return !r->oom;
}

void lar__rules_free(lar_rules *r)
{
    lar_arena_free(r->arena);
    lar_free(r->rule);
    memset(r, 0, sizeof *r);
}

uint32_t lar__rules_add(lar_rules *r, const char *name, size_t n)
{
    if (r->oom || r->n >= LAR_RULES_MOST ||
        !lar_grow((void **)&r->rule, &r->cap, r->n + 1, sizeof *r->rule)) {
        r->oom = r->oom || r->n < LAR_RULES_MOST;
        return UINT32_MAX;
    }
    lar_rule *to = &r->rule[r->n];
    *to = (lar_rule){.name = lar_arena_strdup(r->arena, name, n)};
    r->oom = !to->name;
    return r->oom ? UINT32_MAX : (uint32_t)r->n++;
}

static void *take(lar_rules *r, size_t count, size_t each)
{
    void *p = r->oom ? NULL : lar_arena_array(r->arena, LAR_MAX(count, (size_t)1), each);
    r->oom = !p;
    return p;
}

static lar_expr *expr(lar_rules *r, lar_expr_kind kind, size_t n)
{
    lar_expr *x = take(r, 1, sizeof *x);
    if (x) {
        x->kind = kind;
        x->n = (uint32_t)n;
    }
    return x;
}

lar_expr *lar__expr_text(lar_rules *r, const char *p, size_t n)
{
    lar_expr *x = expr(r, LAR_EXPR_TEXT, n);
    if (x && !(x->text = lar_arena_strdup(r->arena, p, n))) {
        r->oom = true;
        return NULL;
    }
    return x;
}

static int by_start(const void *a, const void *b)
{
    const lar_range *x = a, *y = b;
    return x->lo != y->lo ? (x->lo > y->lo) - (x->lo < y->lo) : (x->hi > y->hi) - (x->hi < y->hi);
}

lar_expr *lar__expr_chars(lar_rules *r, const lar_range *range, size_t n, bool negate)
{
    lar_expr *x = expr(r, LAR_EXPR_CHARS, 0);
    lar_range *sorted = take(r, n + 1, sizeof *sorted), *out = take(r, n + 1, sizeof *out);
    if (r->oom)
        return NULL;
    if (n) {
        memcpy(sorted, range, n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, by_start);
    }
    size_t k = 0;
    uint32_t next = 0; /* the first character behind those seen */
    for (size_t i = 0; i < n; i++) {
        const lar_range s = sorted[i];
        if (negate && s.lo > next)
            out[k++] = (lar_range){next, s.lo - 1};
        if (!negate && k && s.lo <= out[k - 1].hi + 1)
            out[k - 1].hi = LAR_MAX(out[k - 1].hi, s.hi);
        else if (!negate)
            out[k++] = s;
        next = LAR_MAX(next, s.hi + 1);
    }
    if (negate && next <= LAST_CODE_POINT)
        out[k++] = (lar_range){next, LAST_CODE_POINT};
    x->range = out;
    x->n = (uint32_t)k;
    return x;
}

lar_expr *lar__expr_list(lar_rules *r, lar_expr_kind kind, lar_expr *const *part, size_t n)
{
    for (size_t i = 0; i < n; i++)
        r->oom = r->oom || !part[i]; /* unless something else has failed: its caller knows */
    if (n == 1 || r->oom)
        return r->oom ? NULL : part[0];
    lar_expr *x = n ? expr(r, kind, n) : lar__expr_text(r, "", 0);
    if (!x || !n)
        return x;
    x->part = take(r, n, sizeof *x->part);
    if (x->part)
        memcpy(x->part, part, n * sizeof *x->part);
    return r->oom ? NULL : x;
}

lar_expr *lar__expr_repeat(lar_rules *r, lar_expr *part, uint32_t min, uint32_t max)
{
    lar_expr *x = part ? lar__expr_list(r, LAR_EXPR_REPEAT, (lar_expr *[]){part, part}, 2) : NULL;
    if (x) {
        x->n = 1;
        x->min = min;
        x->max = max;
    }
    return x;
}

lar_expr *lar__expr_rule(lar_rules *r, uint32_t rule)
{
    return rule == UINT32_MAX ? NULL : expr(r, LAR_EXPR_RULE, rule);
}
