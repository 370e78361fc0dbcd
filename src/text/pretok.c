/*
 * pretok.c - how byte-pair encoders cut text into words: for each name in tokenizer.ggml.pre the
 * patterns that the model's own tokenizer.json publishes (catalogue of names: llama.cpp). Each rule
 * cuts every piece that the rules before it have left into its matches and what lies between them.
 * Depends on base, PCRE2, utf8proc.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/tok_part.h"
#include <pcre2.h>
#include <string.h>
#include <utf8proc.h>

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define MARKS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define LLAMA3 CONTRACTION "|" WORD "|\\p{N}{1,3}|" MARKS "|" SPACES
#define QWEN2 CONTRACTION "|" WORD "|\\p{N}|" MARKS "|" SPACES
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
/* The same without Han, which PCRE2 has no class intersection for. */
#define UPPER_NO_HAN "[^\\p{Ll}\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{sc:Han}]"
#define LOWER_NO_HAN "[^\\p{Lu}\\p{Lt}\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{sc:Han}]"
#define CASED(up, low, tail)                                                                       \
    "[^\\r\\n\\p{L}\\p{N}]?" up "*" low "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" up "+" low "*" tail
#define GPT4O                                                                                      \
    CASED(UPPER, LOWER, CONTRACTION "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define DEEPSEEK3                                                                                  \
    "[!\"#$%&'()*+,\\-./"                                                                          \
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"               \
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES
#define CJK_KANA "[一-龥\\x{3040}-ゟ゠-ヿ]+"
#define BLOOM " ?[^(\\s|.,!?…。，、।۔،)]+"
/* It would break patterns within their escapes, and it miscounts wide letters. */
/* clang-format off */
/* Latin, Greek, Cyrillic, Armenian, Georgian, Cherokee … letters as deepseek-llm lists them. */
#define DEEPSEEK_LETTERS \
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-" \
    "ᵷᵹ-ᶚ" \
    "Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\\x{1F7D}ᾀ-ᾴᾶ-ᾼ\\x{1FBE}ῂ-ῄῆ-ῌῐ-\\x{1FD3}ῖ-\\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-" \
    "ℝℤ\\x{2126}ℨ\\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎ" \
    "ↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-" \
    "𐳲𑢠-𑣟𞤀-𞥃"

/* Rules of '@' are functions: as patterns they would take quadratic time on long runs. */
static const lar_pre pres[] = {
    {.names = "default", .rule = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.names = "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .rule = {LLAMA3},
     .flags = LAR_PRE_IGNORE_MERGES | LAR_PRE_BOS},
    {.names = "dbrx smaug-bpe chatglm-bpe glm4", .rule = {LLAMA3}},
    {.names = "jais-2",
     .rule = {CONTRACTION "|" WORD "|\\p{N}{1,3}|" MARKS
                          "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)"
                          "|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!"
                          "\\S)|\\s{4}(?!\\S)"
                          "|\\s{1,2}(?!\\S)|\\s{1}"}},
    {.names = "deepseek-llm",
     .rule = {"[\r\n]", "\\s?[" DEEPSEEK_LETTERS "]+", "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
              "@trailing-space", "[一-龥ࠀ-一가-\\x{D7FF}]+", "\\p{N}+"}},
    {.names = "deepseek-coder",
     .rule = {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-\\x{D7FF}]+", "\\p{N}"}},
    {.names = "deepseek-v3 hunyuan-dense hy_v4 joyai-llm",
     .rule = {"\\p{N}{1,3}", CJK_KANA, DEEPSEEK3}},
    {.names = "spark2_5",
     .rule = {"\\p{N}{1,3}", CJK_KANA,
              "[!\"#$%&'()*+,\\-./"
              ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
              "| ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+",
              "\\p{N}"}},
    {.names = "youtu",
     .rule =
         {"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" CJK_KANA,
          CASED(UPPER, LOWER, CONTRACTION "?") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES},
     .flags = LAR_PRE_IGNORE_MERGES},
    {.names = "falcon", .rule = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {.names = "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
     .rule = {"\\p{N}", GPT2}},
    {.names =
         "gpt-2 gpt2 phi-2 mpt olmo jais trillion granite-docling jina-es jina-de gigachat a.x-4.0 "
         "mellum exaone4",
     .rule = {GPT2}},
    {.names = "jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe",
     .rule = {GPT2},
     .lstrip = "<mask>"},
    {.names = "modern-bert", .rule = {GPT2}, .lstrip = "[MASK]"},
    {.names = "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
     .rule = {QWEN2}},
    {.names = "qwen35",
     .rule = {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| "
                          "?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES}},
    {.names = "laguna", .rule = {"[^\\n]+|[\\n]+", QWEN2}},
    {.names = "ufakzeka", .rule = {WORD "|\\p{N}|" MARKS "|" SPACES}},
    {.names = "minicpm5",
     .rule = {"\\p{N}{1,3}", CONTRACTION "|" WORD "|\\p{N}+|" MARKS "|" SPACES},
     .flags = LAR_PRE_IGNORE_MERGES},
    {.names = "poro-chat bloom gpt3-finnish", .rule = {BLOOM}},
    {.names = "viking", .rule = {BLOOM, "\\p{N}"}},
    {.names = "tekken",
     .rule = {CASED(UPPER, LOWER, "") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES},
     .flags = LAR_PRE_IGNORE_MERGES | LAR_PRE_BOS},
    {.names = "chameleon",
     .rule = {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )",
              "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", GPT2},
     .flags = LAR_PRE_BOS},
    {.names = "gpt-4o llama4 kanana2 talkie minimax-m2", .rule = {GPT4O}},
    {.names = "granite-embed-multi-97m", .rule = {GPT4O}, .flags = LAR_PRE_IGNORE_MERGES},
    {.names = "tiny_aya cohere2moe", .rule = {"@digits-to-word-end", GPT4O}},
    {.names = "kimi-k2",
     .rule = {"\\p{sc:Han}+|" CASED(UPPER_NO_HAN, LOWER_NO_HAN,
                                    CONTRACTION
                                    "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES}},
    {.names = "superbpe", .rule = {"\\p{N}+", "@digits-before"}},
    {.names = "bailingmoe bailingmoe2 llada-moe",
     .rule = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
              "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*"
              "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.names = "seed-coder",
     .rule = {CONTRACTION "|" WORD "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES}},
    {.names = "afmoe",
     .rule = {"@digits",
              "[一-鿿㐀-䶿\\x{F900}-\\x{FAFF}\\x{3040}-ゟ゠-ヿ･-ﾟ⼀-\\x{2FDF}เ-\\x{E7F}\\x{E80}-"
              "\\x{EFF}ក-\\x{17FF}က-႟ꩠ-ꩿꧠ-\\x{A9FF}"
              "가-\\x{D7AF}ᄀ-ᇿ]+",
              DEEPSEEK3}},
    {.names = "exaone-moe",
     .rule = {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}"
                          "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.names = "gemma4 granite-embed-multi-311m sarvam-moe",
     .rule = {"[^\\n]+|[\\n]+"},
     .flags = LAR_PRE_RAW | LAR_PRE_ESCAPE},
    {.names = "whitespace", .rule = {"\\S+"}, .flags = LAR_PRE_RAW},
};
/* clang-format on */

/* A run of digits in threes from its right end: DIGITS cuts around it too; TO_WORD_END only where
 * no letter follows (\d{1,3}(?=(?:\d{3})*\b)); BEFORE cuts before each three ((?=(\d{3})+(?!\d))).
 */
typedef enum rule_kind {
    REGEX,
    TRAILING_SPACE,
    DIGITS,
    DIGITS_TO_WORD_END,
    DIGITS_BEFORE
} rule_kind;
static const struct {
    const char *name;
    rule_kind kind;
} functions[] = {{"@trailing-space", TRAILING_SPACE},
                 {"@digits", DIGITS},
                 {"@digits-to-word-end", DIGITS_TO_WORD_END},
                 {"@digits-before", DIGITS_BEFORE}};

#define MAX_RULES ((int)LAR_LEN(((lar_pre *)0)->rule))

struct lar_splitter {
    pcre2_code *code[7];
    rule_kind kind[7];
    int n;
    bool own; /* the pattern came with the file: its work is counted */
};
struct lar_split_work {
    pcre2_match_data *data;
    pcre2_match_context *ctx;
    pcre2_jit_stack *stack;
    lar_cuts spare;
    lar_buf clean;   /* the text with invalid bytes replaced */
    uint64_t budget; /* steps left for a pattern that came with the file */
};

const lar_pre *lar__pre_find(lar_str name)
{
    for (size_t i = 0; i < LAR_LEN(pres); i++)
        for (const char *p = pres[i].names; *p;) {
            size_t n = strcspn(p, " ");
            if (n == name.n && memcmp(p, name.p, n) == 0)
                return &pres[i];
            p += n + (p[n] == ' ');
        }
    return NULL;
}

void lar__pre_names(lar_buf *out)
{
    for (size_t i = 0; i < LAR_LEN(pres); i++)
        lar_buf_printf(out, "%s%s", i ? " " : "", pres[i].names);
}

/* ---- compiling
 * -------------------------------------------------------------------------------------- */

/* White space as Unicode defines it; PCRE2's \s has U+180E besides. Script by name alone where
 * PCRE2 is old. */
static void translate(lar_buf *out, const char *p, size_t n)
{
    static const char space[] = "\\p{Z}\\t-\\r\\x{85}";
    bool in_class = false;
    for (size_t i = 0; i < n; i++) {
        bool pair = p[i] == '\\' && i + 1 < n;
        if (pair && p[i + 1] == 's')
            lar_buf_printf(out, in_class ? "%s" : "[%s]", space);
        else if (pair && p[i + 1] == 'S' && !in_class)
            lar_buf_printf(out, "[^%s]", space);
#if PCRE2_MAJOR == 10 && PCRE2_MINOR < 40
        else if (pair && n - i > 6 && memcmp(p + i, "\\p{sc:", 6) == 0) {
            lar_buf_puts(out, "\\p{");
            i += 4;
        }
#endif
        else if (pair)
            lar_buf_add(out, p + i, 2);
        else {
            if (p[i] == '[' && !in_class) {
                in_class = true;
                lar_buf_putc(out, '[');
                if (i + 1 < n && p[i + 1] == '^')
                    lar_buf_putc(out, p[++i]);
                if (i + 1 < n && p[i + 1] == ']')
                    lar_buf_putc(out, p[++i]);
                continue;
            }
            in_class = in_class && p[i] != ']';
            lar_buf_putc(out, p[i]);
        }
        i += pair;
    }
}

static lar_status compile(lar_splitter *s, lar_str pattern, lar_err *e)
{
    int code;
    size_t at;
    char why[160] = "";
    lar_buf b = {0};
    translate(&b, pattern.p, pattern.n);
    if (b.oom) {
        lar_buf_free(&b);
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for a pattern");
    }
    pcre2_code *re =
        pcre2_compile((PCRE2_SPTR)b.p, b.n,
                      PCRE2_UTF | PCRE2_UCP | (s->own ? PCRE2_AUTO_CALLOUT : 0), &code, &at, NULL);
    lar_buf_free(&b);
    if (!re) {
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return lar_fail(e, code == PCRE2_ERROR_HEAP_FAILED ? LAR_ENOMEM : LAR_EFORMAT,
                        "the tokenizer's split pattern: %s at byte %zu", why, at);
    }
    (void)pcre2_jit_compile(re,
                            PCRE2_JIT_COMPLETE); /* where there is no JIT, the interpreter serves */
    s->code[s->n] = re;
    s->kind[s->n++] = REGEX;
    return LAR_OK;
}

/* Patterns of the file's own, a line each, one after the other; "@gpt2" is GPT-2's. */
static lar_status compile_own(lar_splitter *s, lar_str lines, lar_err *e)
{
    s->own = true;
    if (lines.n > 65536)
        return lar_fail(e, LAR_EFORMAT, "the tokenizer's split patterns have %zu bytes", lines.n);
    while (lines.n) {
        const char *end = memchr(lines.p, '\n', lines.n);
        const size_t n = end ? (size_t)(end - lines.p) : lines.n;
        const lar_str line = {lines.p, n};
        if (n && s->n == MAX_RULES)
            return lar_fail(e, LAR_EFORMAT, "the tokenizer has more than %d split patterns",
                            MAX_RULES);
        if (n)
            LAR_TRY(
                compile(s, lar_str_eq(line, "@gpt2") ? (lar_str){GPT2, strlen(GPT2)} : line, e));
        lines.p += n + (end != NULL);
        lines.n -= n + (end != NULL);
    }
    return LAR_OK;
}

lar_status lar__splitter_new(const lar_pre *pre, lar_str own_regex, lar_splitter **out, lar_err *e)
{
    lar_status st = LAR_OK;
    lar_splitter *s = lar_alloc(sizeof *s);
    if (!s)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    if (own_regex.n)
        st = compile_own(s, own_regex, e);
    for (int i = 0; st == LAR_OK && !own_regex.n && i < MAX_RULES && pre->rule[i]; i++) {
        const char *rule = pre->rule[i];
        rule_kind kind = REGEX;
        for (size_t f = 0; f < LAR_LEN(functions); f++)
            if (strcmp(functions[f].name, rule) == 0)
                kind = functions[f].kind;
        if (kind == REGEX)
            st = compile(s, (lar_str){rule, strlen(rule)}, e);
        else
            s->kind[s->n++] = kind;
    }
    if (st != LAR_OK) {
        lar__splitter_free(s);
        s = NULL;
    }
    *out = s;
    return st;
}

void lar__splitter_free(lar_splitter *s)
{
    for (int i = 0; s && i < s->n; i++)
        pcre2_code_free(s->code[i]);
    lar_free(s);
}

/* ---- cutting
 * ---------------------------------------------------------------------------------------- */

static lar_status cut(lar_cuts *c, size_t end, lar_err *e)
{
    if (end == (c->n ? c->end[c->n - 1] : 0))
        return LAR_OK;
    if (c->n == c->cap && !lar_grow((void **)&c->end, &c->cap, c->n + 1, sizeof *c->end))
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu words", c->n);
    c->end[c->n++] = end;
    return LAR_OK;
}

static int count_step(pcre2_callout_block *block, void *work)
{
    lar_split_work *w = work;
    (void)block;
    return w->budget-- ? 0 : PCRE2_ERROR_MATCHLIMIT;
}

static int match(lar_split_work *w, const pcre2_code *code, const char *p, size_t n, size_t from)
{
    int rc = pcre2_match(code, (PCRE2_SPTR)p, n, from, PCRE2_NO_UTF_CHECK, w->data, w->ctx);
    if (rc != PCRE2_ERROR_JIT_STACKLIMIT || w->stack)
        return rc;
    w->stack = pcre2_jit_stack_create(64 << 10, 64 << 20, NULL);
    if (!w->stack)
        return PCRE2_ERROR_NOMEMORY;
    pcre2_jit_stack_assign(w->ctx, NULL, w->stack);
    return pcre2_match(code, (PCRE2_SPTR)p, n, from, PCRE2_NO_UTF_CHECK, w->data, w->ctx);
}

static lar_status cut_regex(lar_split_work *w, const pcre2_code *code, const char *text,
                            size_t begin, size_t end, lar_cuts *c, lar_err *e)
{
    char why[160] = "";
    const char *p = text + begin;
    size_t n = end - begin;
    for (size_t at = 0; at < n;) {
        int rc = match(w, code, p, n, at);
        if (rc == PCRE2_ERROR_NOMATCH)
            break;
        if (rc < 0) {
            pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
            return lar_fail(e, rc == PCRE2_ERROR_NOMEMORY ? LAR_ENOMEM : LAR_EFORMAT,
                            "the tokenizer's split pattern at byte %zu of the text: %s", begin + at,
                            why);
        }
        size_t *v = pcre2_get_ovector_pointer(w->data);
        if (v[1] < v[0] || v[1] < at)
            return lar_fail(e, LAR_EFORMAT, "the tokenizer's split pattern moves backwards (\\K)");
        LAR_TRY(cut(c, begin + v[0], e));
        LAR_TRY(cut(c, begin + v[1], e));
        at = v[1];
        if (v[1] == v[0] && at < n)
            at += (size_t)LAR_MAX(1, lar_utf8_decode(p + at, n - at, NULL));
    }
    return cut(c, end, e);
}

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static lar_status cut_trailing_space(const char *text, size_t begin, size_t end, lar_cuts *c,
                                     lar_err *e)
{
    size_t at = end;
    while (at > begin) {
        size_t p = at - 1;
        uint32_t cp = 0;
        while (p > begin && ((uint8_t)text[p] & 0xc0) == 0x80)
            p--;
        if (!lar_utf8_decode(text + p, at - p, &cp) || !is_space(cp))
            break;
        at = p;
    }
    LAR_TRY(cut(c, at, e));
    return cut(c, end, e);
}

/* \w as Oniguruma has it: alphabetic (circled letters too), marks, decimal digits, connectors, and
 * of the other numbers those of Latin-1. */
static bool is_word(uint32_t cp)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL) || k == UTF8PROC_CATEGORY_PC ||
           (cp < 256 && k == UTF8PROC_CATEGORY_NO) || (cp >= 0x24b6 && cp <= 0x24e9) ||
           (cp >= 0x1f130 && cp <= 0x1f149) || (cp >= 0x1f150 && cp <= 0x1f169) ||
           (cp >= 0x1f170 && cp <= 0x1f189);
}

static bool is_digit(uint32_t cp, rule_kind kind)
{
    if (cp < 128)
        return cp >= '0' && cp <= '9';
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k == UTF8PROC_CATEGORY_ND ||
           (kind == DIGITS && (k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO));
}

static lar_status cut_digits(rule_kind kind, const char *text, size_t begin, size_t end,
                             lar_cuts *c, lar_err *e)
{
    for (size_t at = begin; at < end;) {
        uint32_t cp = 0;
        size_t p = at, count = 0;
        while (p < end) {
            int k = lar_utf8_decode(text + p, end - p, &cp);
            if (!k || !is_digit(cp, kind))
                break;
            count++;
            p += (size_t)k;
        }
        if (count == 0 || (kind == DIGITS_TO_WORD_END && p < end && is_word(cp))) {
            at = p + (size_t)(p < end ? LAR_MAX(1, lar_utf8_decode(text + p, end - p, NULL)) : 0);
            continue;
        }
        if (kind != DIGITS_BEFORE)
            LAR_TRY(cut(c, at, e));
        for (; count; count--) {
            if (count % 3 == 0 && at > begin)
                LAR_TRY(cut(c, at, e));
            at += (size_t)LAR_MAX(1, lar_utf8_decode(text + at, end - at, NULL));
        }
        if (kind != DIGITS_BEFORE)
            LAR_TRY(cut(c, at, e));
    }
    return cut(c, end, e);
}

/* ---- invalid bytes are U+FFFD to the patterns
 * --------------------------------------------------------- */

static bool all_valid(const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        if ((uint8_t)p[i] < 128) {
            i++;
            continue;
        }
        int k = lar_utf8_decode(p + i, n - i, NULL);
        if (!k)
            return false;
        i += (size_t)k;
    }
    return true;
}

static void clean(lar_buf *out, const char *p, size_t n)
{
    lar_buf_clear(out);
    for (size_t i = 0; i < n;) {
        int k = lar_utf8_decode(p + i, n - i, NULL);
        lar_buf_add(out, k ? p + i : "\xef\xbf\xbd", k ? (size_t)k : 3);
        i += k ? (size_t)k : 1;
    }
}

/* Ends in the cleaned text back to ends in the text. */
static void map_back(lar_cuts *c, const char *p, size_t n)
{
    size_t i = 0, cleaned = 0;
    for (size_t k = 0; k < c->n; k++) {
        while (i < n && cleaned < c->end[k]) {
            int len = lar_utf8_decode(p + i, n - i, NULL);
            cleaned += len ? (size_t)len : 3;
            i += len ? (size_t)len : 1;
        }
        c->end[k] = i;
    }
}

static lar_status new_work(const lar_splitter *s, lar_split_work **out, lar_err *e)
{
    lar_split_work *w = lar_alloc(sizeof *w);
    if (!w)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory");
    *out = w;
    w->data = pcre2_match_data_create(1, NULL);
    w->ctx = pcre2_match_context_create(NULL);
    if (!w->data || !w->ctx)
        return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for matching");
    pcre2_set_match_limit(w->ctx, 50 * 1000 * 1000);
    pcre2_set_heap_limit(w->ctx, 512 << 10); /* KiB, for the interpreter */
    if (s->own)
        pcre2_set_callout(w->ctx, count_step, w);
    return LAR_OK;
}

lar_status lar__splitter_cut(const lar_splitter *s, lar_split_work **work, const char *text,
                             size_t n, lar_cuts *cuts, lar_err *e)
{
    cuts->n = 0;
    if (n == 0)
        return LAR_OK;
    if (!*work)
        LAR_TRY(new_work(s, work, e));
    lar_split_work *w = *work;
    const char *p = text;
    size_t len = n;
    bool valid = all_valid(text, n);
    if (!valid) {
        clean(&w->clean, text, n);
        if (w->clean.oom)
            return lar_fail(e, LAR_ENOMEM, "tokenizer: out of memory for %zu bytes of text", n);
        p = w->clean.p;
        len = w->clean.n;
    }
    w->budget = 1000000 + (uint64_t)len * 400;
    LAR_TRY(cut(cuts, len, e));
    for (int r = 0; r < s->n; r++) {
        size_t begin = 0;
        w->spare.n = 0;
        for (size_t i = 0; i < cuts->n; i++) {
            size_t end = cuts->end[i];
            if (s->kind[r] == REGEX)
                LAR_TRY(cut_regex(w, s->code[r], p, begin, end, &w->spare, e));
            else if (s->kind[r] == TRAILING_SPACE)
                LAR_TRY(cut_trailing_space(p, begin, end, &w->spare, e));
            else
                LAR_TRY(cut_digits(s->kind[r], p, begin, end, &w->spare, e));
            begin = end;
        }
        lar_cuts swap = *cuts;
        *cuts = w->spare;
        w->spare = swap;
    }
    if (!valid)
        map_back(cuts, text, n);
    return LAR_OK;
}

void lar__split_work_free(lar_split_work *w)
{
    if (!w)
        return;
    pcre2_match_data_free(w->data);
    pcre2_match_context_free(w->ctx);
    pcre2_jit_stack_free(w->stack);
    lar_free(w->spare.end);
    lar_buf_free(&w->clean);
    lar_free(w);
}
