/* user_text.c - see user_text.h. Depends on the tokenizer's interface and jansson. */
#include "tasks/user_text.h"
#include <stdlib.h>
#include <string.h>

/* Private-use planes 15 and 16 in blocks; each exchanged character takes one place of the block
 * chosen. */
enum { PUA = 0xF0000, BLOCK = 1024, N_BLOCKS = 2 * 65536 / BLOCK };

static lar_status no_memory(lar_err *e)
{
    return lar_fail(e, LAR_ENOMEM, "out of memory for the origin of a prompt's text");
}

/* Characters that may be exchanged: no letters, digits, white space, nor what JSON escapes. */
static bool markable(uint32_t c)
{
    if (c < 0x80)
        return c > 0x20 && c != 0x7F && c != '_' && c != '"' && c != '\\' &&
               !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    /* General punctuation and symbols, CJK punctuation, full-width punctuation. */
    return (c >= 0x2010 && c < 0x2E80 && c != 0x2028 && c != 0x2029 && c != 0x202F &&
            c != 0x205F) ||
           (c >= 0x3001 && c < 0x3040) ||
           (c >= 0xFF01 && c < 0xFF66 && !(c >= 0xFF10 && c < 0xFF1A) &&
            !(c >= 0xFF21 && c < 0xFF3B) && !(c >= 0xFF41 && c < 0xFF5B));
}

/* ---- spellings
 * ------------------------------------------------------------------------------------ */

static int order(const void *pa, const void *pb)
{
    const lar_str *a = pa, *b = pb;
    int c = memcmp(a->p, b->p, LAR_MIN(a->n, b->n));
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

static int order_back(const void *pa, const void *pb)
{
    const lar_str *a = pa, *b = pb;
    for (size_t i = 1; i <= a->n && i <= b->n; i++) {
        int c = (unsigned char)a->p[a->n - i] - (unsigned char)b->p[b->n - i];
        if (c)
            return c;
    }
    return (a->n > b->n) - (a->n < b->n);
}

static size_t cp_index(const lar_marks *m, uint32_t c)
{
    size_t lo = 0, hi = m->n_cp;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (m->cp[mid] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool has_cp(const lar_marks *m, uint32_t c)
{
    size_t i = cp_index(m, c);
    return i < m->n_cp && m->cp[i] == c;
}

/* Add a spelling's characters; false when out of memory. *any tells whether it has one to exchange.
 */
static bool add_chars(lar_marks *m, lar_str s, bool *any)
{
    *any = false;
    for (size_t i = 0; i < s.n;) {
        uint32_t c = 0;
        int k = lar_utf8_decode(s.p + i, s.n - i, &c);
        i += k > 0 ? (size_t)k : 1;
        if (k == 0 || !markable(c))
            continue;
        size_t at = cp_index(m, c);
        if (at >= m->n_cp || m->cp[at] != c) {
            if (m->n_cp == BLOCK)
                continue;
            if (!lar_grow((void **)&m->cp, &m->cap_cp, m->n_cp + 1, sizeof *m->cp))
                return false;
            memmove(m->cp + at + 1, m->cp + at, (m->n_cp - at) * sizeof *m->cp);
            m->cp[at] = c;
            m->n_cp++;
        }
        *any = true;
    }
    return true;
}

lar_status lar__marks_new(const lar_tokenizer *t, lar_marks *out, lar_err *e)
{
    *out = (lar_marks){0};
    int32_t size = (int32_t)lar_tokenizer_size(t);
    size_t n = 0;
    for (int32_t id = 0; id < size; id++)
        n += lar_tokenizer_is_control(t, id);
    out->spell = lar_alloc_array(n + 1, sizeof *out->spell);
    out->back = lar_alloc_array(n + 1, sizeof *out->back);
    out->word = lar_alloc_array(n + 1, sizeof *out->word);
    bool ok = out->spell && out->back && out->word;
    for (int32_t id = 0; ok && id < size; id++) {
        bool any;
        lar_str s = lar_tokenizer_text(t, id);
        if (!lar_tokenizer_is_control(t, id) || s.n == 0)
            continue;
        ok = add_chars(out, s, &any);
        if (any)
            out->spell[out->n++] = s;
        else
            out->word[out->n_words++] = s;
    }
    if (!ok) {
        lar__marks_free(out);
        return no_memory(e);
    }
    memcpy(out->back, out->spell, out->n * sizeof *out->back);
    qsort(out->spell, out->n, sizeof *out->spell, order); /* equals are the same text */
    qsort(out->back, out->n, sizeof *out->back, order_back);
    return LAR_OK;
}

void lar__marks_free(lar_marks *m)
{
    lar_free(m->spell);
    lar_free(m->back);
    lar_free(m->part);
    lar_free(m->word);
    lar_free(m->cp);
    *m = (lar_marks){0};
}

/* ---- walking what the user gave
 * --------------------------------------------------------------------- */

enum { MAX_DEPTH = 2100 };

typedef bool visit_fn(lar_str s, void *ctx); /* false: stop */

static bool model_variable(const char *key)
{
    size_t n = strlen(key);
    return n > 6 && strcmp(key + n - 6, "_token") == 0;
}

static bool visit(const json_t *v, int depth, visit_fn *fn, void *ctx)
{
    const char *key;
    json_t *item;
    size_t i;
    if (depth > MAX_DEPTH)
        return true;
    if (json_is_string(v))
        return fn((lar_str){json_string_value(v), json_string_length(v)}, ctx);
    json_array_foreach(v, i, item) if (!visit(item, depth + 1, fn, ctx)) return false;
    json_object_foreach((json_t *)(uintptr_t)v, key, item)
    {
        if (depth == 0 && model_variable(key))
            continue;
        if (depth > 0 && !fn((lar_str){key, strlen(key)}, ctx))
            return false;
        if (!visit(item, depth + 1, fn, ctx))
            return false;
    }
    return true;
}

static bool see_marked(lar_str s, void *ctx)
{
    const lar_marks *m = ctx;
    for (size_t i = 0; i < s.n;) {
        uint32_t c = 0;
        int k = lar_utf8_decode(s.p + i, s.n - i, &c);
        i += k > 0 ? (size_t)k : 1;
        if (k > 0 && has_cp(m, c))
            return false;
    }
    return true;
}

bool lar__marks_needed(const lar_marks *m, const json_t *vars)
{
    return m->n && !visit(vars, 0, see_marked, (void *)(uintptr_t)m);
}

static bool see_blocks(lar_str s, void *ctx)
{
    bool *used = ctx;
    for (size_t i = 0; i < s.n;) {
        uint32_t c = 0;
        int k = lar_utf8_decode(s.p + i, s.n - i, &c);
        i += k > 0 ? (size_t)k : 1;
        if (k > 0 && c >= PUA)
            used[(c - PUA) / BLOCK] = true;
    }
    return true;
}

lar_status lar__marks_place(lar_marks *m, const json_t *vars, lar_str rendered, lar_err *e)
{
    bool used[N_BLOCKS] = {false};
    visit(vars, 0, see_blocks, used);
    see_blocks(rendered, used);
    for (uint32_t i = 0; i < N_BLOCKS; i++) {
        uint32_t base = PUA + i * BLOCK;
        /* The last two of each plane are no characters. */
        if (!used[i] && (base & 0xFFFF) + BLOCK <= 0xFFFE) {
            m->base = base;
            return LAR_OK;
        }
    }
    return lar_fail(e, LAR_EUNSUPPORTED, "the messages use every block of private-use characters");
}

/* ---- exchanging
 * --------------------------------------------------------------------------------------- */

/* The spellings that begin with q (read from the end if `back`): narrows [*lo, *hi) by its i-th
 * byte. */
static void narrow(const lar_str *list, size_t *lo, size_t *hi, size_t i, unsigned char c,
                   bool back)
{
    size_t ends[2];
    for (int side = 0; side < 2; side++) {
        size_t a = *lo, b = *hi;
        while (a < b) {
            size_t mid = (a + b) / 2;
            lar_str s = list[mid];
            int have = s.n <= i ? -1 : (unsigned char)s.p[back ? s.n - 1 - i : i];
            if (have < (int)c || (side == 1 && have == (int)c))
                a = mid + 1;
            else
                b = mid;
        }
        ends[side] = a;
    }
    *lo = ends[0];
    *hi = ends[1];
}

typedef struct spellings {
    const lar_str *list;
    size_t n;
    bool back;
} spellings;

/* How many bytes at q make the longest whole spelling; *cut: q ends while one is being spelled. */
static size_t match(spellings l, const char *q, size_t n, bool *cut)
{
    size_t lo = 0, hi = l.n, best = 0, i = 0;
    for (; i < n; i++) {
        narrow(l.list, &lo, &hi, i, (unsigned char)(l.back ? q[n - 1 - i] : q[i]), l.back);
        if (lo == hi)
            break;
        if (l.list[lo].n == i + 1)
            best = i + 1;
    }
    *cut = lo < hi && i == n && l.list[hi - 1].n > n;
    return best;
}

static lar_status make_parts(lar_marks *m, lar_err *e)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        n += m->spell[i].n;
    m->part = lar_alloc_array(n + 1, sizeof *m->part);
    if (!m->part)
        return no_memory(e);
    for (size_t i = 0; i < m->n; i++)
        for (size_t k = 0; k < m->spell[i].n; k++)
            m->part[m->n_parts++] = (lar_str){m->spell[i].p + k, m->spell[i].n - k};
    qsort(m->part, m->n_parts, sizeof *m->part, order); /* equals are the same text */
    return LAR_OK;
}

static void fill(uint8_t *which, size_t from, size_t to)
{
    memset(which + from, 1, to - from);
}

/* which[i]: this byte is to be exchanged if its character can be. */
static void choose_bytes(const lar_marks *m, lar_str s, lar_mark_level level, uint8_t *which)
{
    if (level == LAR_MARK_ALL) {
        memset(which, 1, s.n);
        return;
    }
    spellings spell = {m->spell, m->n, false}, back = {m->back, m->n, true};
    spellings part = {m->part, m->n_parts, false};
    bool cut;
    for (size_t i = 0; i < s.n; i++) {
        size_t n = match(spell, s.p + i, s.n - i, &cut);
        fill(which, i, cut ? s.n : i + n);
        match(back, s.p, i + 1, &cut);
        if (cut)
            fill(which, 0, i + 1);
    }
    if (match(part, s.p, s.n, &cut) == s.n || cut)
        fill(which, 0, s.n);
}

static lar_status mark(const lar_marks *m, lar_str s, lar_mark_level level, lar_buf *out,
                       lar_err *e)
{
    lar_buf_clear(out);
    uint8_t *which = lar_alloc(s.n);
    if (!which)
        return no_memory(e);
    choose_bytes(m, s, level, which);
    for (size_t i = 0; i < s.n;) {
        uint32_t c = 0;
        char enc[4];
        int k = lar_utf8_decode(s.p + i, s.n - i, &c);
        size_t at = k > 0 && which[i] ? cp_index(m, c) : m->n_cp;
        if (at < m->n_cp && m->cp[at] == c)
            lar_buf_add(out, enc, (size_t)lar_utf8_encode(m->base + (uint32_t)at, enc));
        else
            lar_buf_add(out, s.p + i, k > 0 ? (size_t)k : 1);
        i += k > 0 ? (size_t)k : 1;
    }
    lar_free(which);
    lar_buf_add(out, "", 0);
    return out->oom ? no_memory(e) : LAR_OK;
}

static lar_status copy(const lar_marks *m, const json_t *v, lar_mark_level level, int depth,
                       json_t **out, lar_err *e)
{
    const char *key;
    json_t *item, *made = NULL;
    size_t i;
    lar_buf b = {0};
    lar_status s = LAR_OK;
    *out = NULL;
    if (depth > MAX_DEPTH)
        return lar_fail(e, LAR_EARG, "template variables nest deeper than %d", MAX_DEPTH);
    if (json_is_string(v)) {
        s = mark(m, (lar_str){json_string_value(v), json_string_length(v)}, level, &b, e);
        if (s == LAR_OK)
            *out = json_stringn(b.p, b.n);
    } else if (json_is_array(v)) {
        *out = json_array();
        json_array_foreach(v, i, item)
        {
            s = copy(m, item, level, depth + 1, &made, e);
            if (s == LAR_OK && json_array_append_new(*out, made) != 0)
                s = no_memory(e);
            if (s != LAR_OK)
                break;
        }
    } else if (json_is_object(v)) {
        *out = json_object();
        json_object_foreach((json_t *)(uintptr_t)v, key, item)
        {
            bool as_is = depth == 0 && model_variable(key);
            if (depth > 0)
                s = mark(m, (lar_str){key, strlen(key)}, level, &b, e);
            if (s == LAR_OK && as_is)
                made = json_incref(item);
            else if (s == LAR_OK)
                s = copy(m, item, level, depth + 1, &made, e);
            if (s == LAR_OK && json_object_set_new(*out, depth > 0 ? b.p : key, made) != 0)
                s = no_memory(e);
            if (s != LAR_OK)
                break;
        }
    } else {
        *out = json_incref((json_t *)(uintptr_t)v);
    }
    lar_buf_free(&b);
    if (s == LAR_OK && !*out)
        s = no_memory(e);
    if (s != LAR_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return s;
}

lar_status lar__marks_apply(lar_marks *m, const json_t *vars, lar_mark_level level, json_t **out,
                            lar_err *e)
{
    if (level == LAR_MARK_SPELLINGS && !m->part)
        LAR_TRY(make_parts(m, e));
    return copy(m, vars, level, 0, out, e);
}

lar_status lar__marks_undo(const lar_marks *m, lar_str marked, lar_buf *text, uint8_t **mine,
                           lar_err *e)
{
    *mine = lar_alloc(marked.n); /* an exchanged character is never shorter than the true one */
    if (!*mine)
        return no_memory(e);
    lar_buf_clear(text);
    for (size_t i = 0; i < marked.n;) {
        uint32_t c = 0;
        char enc[4];
        int k = lar_utf8_decode(marked.p + i, marked.n - i, &c);
        if (k > 0 && c >= m->base && c - m->base < m->n_cp) {
            size_t n = (size_t)lar_utf8_encode(m->cp[c - m->base], enc);
            if (!text->oom)
                memset(*mine + text->n, 1, n);
            lar_buf_add(text, enc, n);
        } else {
            lar_buf_add(text, marked.p + i, k > 0 ? (size_t)k : 1);
        }
        i += k > 0 ? (size_t)k : 1;
    }
    lar_buf_add(text, "", 0);
    if (!text->oom)
        return LAR_OK;
    lar_free(*mine);
    *mine = NULL;
    return no_memory(e);
}

void lar__marks_words(const lar_marks *m, lar_str text, uint8_t *mine)
{
    for (size_t w = 0; w < m->n_words; w++)
        for (size_t i = 0; i + m->word[w].n <= text.n; i++)
            if (text.p[i] == m->word[w].p[0] && memcmp(text.p + i, m->word[w].p, m->word[w].n) == 0)
                fill(mine, i, i + m->word[w].n);
}
