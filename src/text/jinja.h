/*
 * jinja.h - the inside of the Jinja interpreter, shared by jinja_*.c and template.c only.
 *
 *   source -> lex (tokens) -> parse (nodes) -> check (names of filters and tests, misplaced tags)
 *   nodes + variables -> eval -> text and spans
 *
 * Values are 16 bytes and live in the bump memory of one render; nothing is freed before its end. A
 * compiled template is never written to after lar_template_new. Functions that return bool have
 * filled the error when they return false. Depends on base, jansson (input only), utf8proc.
 */
#ifndef LAR_JINJA_H
#define LAR_JINJA_H
#include "text/template.h"

/* ---- limits: a hostile template or conversation ends with an error, in bounded time and memory */
#define JINJA_MAX_SOURCE (4u << 20) /* bytes of template source */
#define JINJA_MAX_NESTING 200       /* depth of the syntax tree; CPython allows about as much */
#define JINJA_MAX_DEPTH                                                                            \
    1000 /* nested evaluation, macro and data depth; CPython's recursion limit */
#define JINJA_MAX_STEPS                                                                            \
    10000000 /* nodes evaluated, plus a share of the bytes that were looked at */
#define JINJA_MAX_OUTPUT (64u << 20)  /* bytes of rendered text, captured blocks counted too */
#define JINJA_MAX_MEMORY (512u << 20) /* bytes of values of one render */
#define JINJA_MAX_RANGE 100000        /* items of range(), as jinja2's sandbox */
#define JINJA_BYTES_PER_STEP 64       /* bytes looked at that cost one step */

/* ---- bump memory: 16-byte aligned, zeroed, freed as a whole -------------------------------- */
typedef struct jchunk jchunk;
typedef struct jmem {
    jchunk *head;
    char *top;
    size_t left, total, limit;
    bool full; /* the limit was met, rather than the system's memory */
} jmem;
void *lar__jmem_alloc(jmem *m, size_t n);
void lar__jmem_free(jmem *m);

/* ---- values -------------------------------------------------------------------------------- */
typedef enum jtype {
    JV_MISSING, /* "no argument": never seen by a template */
    JV_UNDEF,
    JV_NONE,
    JV_BOOL,
    JV_INT,
    JV_FLOAT,
    JV_STR,
    JV_LIST,
    JV_TUPLE,
    JV_DICT,
    JV_RANGE,
    JV_VIEW, /* dict.keys(), .values(), .items() */
    JV_ITER, /* a generator: can be walked once */
    JV_NS,
    JV_FUNC,
    JV_METHOD,
    JV_MACRO,
    JV_LOOP,
    JV_CYCLER,
    JV_JOINER,
    JV_BLOCK, /* self, or a block of it */
    JV_NTYPES
} jtype;

typedef struct jstr {
    const char *p;
    size_t n;    /* bytes */
    size_t len;  /* code points */
    bool markup; /* jinja2's Markup: adding text to it escapes that text */
} jstr;

typedef struct jv {
    uint8_t t;    /* jtype */
    uint8_t flag; /* VIEW: 0 keys, 1 values, 2 items; TUPLE: 1 = a group of groupby */
    union {
        bool b;
        int64_t i;
        double f;
        const jstr *s;
        struct jlist *l; /* LIST, TUPLE */
        struct jdict *d; /* DICT, NS, VIEW */
        struct jrange *range;
        struct jiter *it;
        struct jundef *undef;
        struct jmethod *method;
        struct jmacro *macro;
        struct jloop *loop;
        struct jcycler *cycler;
        const struct jfunc_def *func;
        const struct jnode *node;
    } u;
} jv;

typedef struct jlist {
    jv *v;
    size_t n, cap;
} jlist;

typedef struct jentry {
    jv key, val;
    uint64_t hash;
} jentry;
typedef struct jdict {
    jentry *e; /* in order of insertion */
    size_t n, cap;
    uint32_t *slot; /* open addressing over e, once there are many; 0 = free, else index + 1 */
    size_t n_slots;
} jdict;

typedef struct jrange {
    int64_t start, stop, step;
    size_t n;
} jrange;

/* Why a value is undefined, for the message when it is used after all. */
typedef struct jundef {
    const char *hint;
    const jstr *name;
    uint8_t obj; /* type that lacked `name`; JV_MISSING: a variable */
    bool unsafe;
} jundef;

typedef struct jargs {
    jv *v;
    size_t n;
    const jstr **name;
    jv *named;
    size_t n_named;
} jargs;

typedef struct jr jr;
typedef bool jcall_fn(jr *r, jv self, const jargs *a, jv *out);

typedef struct jfunc_def {
    const char *name;
    jcall_fn *fn; /* NULL: an attribute that the sandbox hides */
} jfunc_def;

typedef struct jmethod {
    jv self;
    const jfunc_def *def;
} jmethod;

typedef struct jcycler {
    jv *v;
    size_t n, pos;
    bool used;
} jcycler;

/* Anything that can be walked. Filters that are generators in jinja2 are lazy here too. */
typedef enum jiter_kind {
    JI_SEQ, /* LIST, TUPLE */
    JI_STR,
    JI_DICT,
    JI_RANGE,
    JI_NONE,
    JI_SHARED, /* walks another jiter: a JV_ITER value */
    JI_MAP,
    JI_SELECT,
    JI_UNIQUE,
    JI_BATCH,
    JI_SLICE,
    JI_REVERSED,
    JI_FOR, /* {% for x in y if test %} */
} jiter_kind;

typedef struct jiter {
    uint8_t kind, view;
    bool open, done, reject, by_attr;
    jv src;
    size_t pos;
    struct jiter *in;
    const jargs *args;
    jv attr, fill;
    int64_t count;
    const jfunc_def *fn;
    jdict *seen;
    jlist *list;
    const struct jnode *node;
    struct jenv *env;
} jiter;

/* ---- syntax tree --------------------------------------------------------------------------- */
typedef enum jkind {
    /* expressions; fields used */
    N_CONST,   /* val */
    N_NAME,    /* name */
    N_NSREF,   /* name, name2: target of a set */
    N_TUPLE,   /* kids */
    N_LIST,    /* kids */
    N_DICT,    /* kids: key, value, ... */
    N_GETATTR, /* a, name */
    N_GETITEM, /* a, b */
    N_SLICE,   /* a, b, c: each may be NULL */
    N_CALL,    /* a, args */
    N_FILTER,  /* a (NULL in a filter block), name, args, def */
    N_TEST,    /* a, name, args, def */
    N_NOT,
    N_NEG,
    N_POS,
    N_BIN, /* op, a, b */
    N_AND,
    N_OR,
    N_CONCAT,  /* kids */
    N_CMP,     /* a, kids of N_OPERAND */
    N_OPERAND, /* op, a */
    N_COND,    /* a: test, b, c (may be NULL) */
    /* statements */
    N_DATA,        /* val */
    N_OUTPUT,      /* kids */
    N_FOR,         /* a: target, b: iterable, c: test or NULL, kids, els, flag: recursive */
    N_IF,          /* kids of N_BRANCH, els */
    N_BRANCH,      /* a, kids */
    N_SET,         /* a, b */
    N_SETBLOCK,    /* a, b: filter or NULL, kids */
    N_MACRO,       /* name, params, kids, uses_* */
    N_CALLBLOCK,   /* a: call, b: the N_MACRO that is `caller` */
    N_FILTERBLOCK, /* b, kids */
    N_WITH,        /* els: target, value, ...; kids */
    N_BLOCK,       /* name, kids */
    N_AUTOESCAPE,  /* a, kids */
    N_GENERATION,  /* b: the N_MACRO of the body */
    N_BREAK,
    N_CONTINUE,
} jkind;

typedef struct jnode jnode;
typedef struct jparam {
    const jstr *name;
    uint64_t hash;
    jnode *def; /* NULL: none */
} jparam;
typedef struct jcallargs {
    jnode **pos;
    size_t n;
    const jstr **kw;
    jnode **kwv;
    size_t nk;
    jnode *dyn, *dynkw;
} jcallargs;
struct jnode {
    uint8_t kind, op;
    bool flag, uses_caller, uses_kwargs, uses_varargs;
    bool closes; /* FOR: its body makes macros, which keep their frame */
    uint16_t depth;
    uint32_t line;
    uint64_t hash; /* of name */
    const jstr *name, *name2;
    jv val;
    jnode *a, *b, *c;
    jnode **kids, **els;
    size_t n, n_els;
    jcallargs *args;
    jparam *params;
    size_t n_params;
    const jfunc_def *def;
};

/* operators of N_BIN and N_OPERAND */
enum {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOTIN
};

/* ---- tokens -------------------------------------------------------------------------------- */
typedef enum jtok {
    T_EOF,
    T_DATA,
    T_VAR_BEGIN,
    T_VAR_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_INTEGER,
    T_FLOAT,
    T_ADD,
    T_SUB,
    T_MUL,
    T_DIV,
    T_FLOORDIV,
    T_MOD,
    T_POW,
    T_TILDE,
    T_LBRACKET,
    T_RBRACKET,
    T_LPAREN,
    T_RPAREN,
    T_LBRACE,
    T_RBRACE,
    T_EQ,
    T_NE,
    T_GT,
    T_GE,
    T_LT,
    T_LE,
    T_ASSIGN,
    T_DOT,
    T_COLON,
    T_PIPE,
    T_COMMA,
    T_SEMICOLON
} jtok;
typedef struct jtoken {
    uint8_t type; /* jtok */
    uint32_t line;
    const char *p; /* as in the source */
    size_t n;
    jv val; /* DATA, STRING, INTEGER, FLOAT */
} jtoken;

/* Compilation: the template's own memory, and where errors go. */
typedef struct jc {
    jmem *mem;
    lar_err *e;
    lar_status st;
    jtoken *tok;
    size_t n_tok, cap_tok, pos;
    int depth;
} jc;
bool lar__jc_fail(jc *c, lar_status st, uint32_t line, const char *fmt, ...) LAR_PRINTF(4, 5);
void *lar__jc_alloc(jc *c, size_t n);
bool lar__jlex(jc *c, const char *src, size_t n);
bool lar__jparse(jc *c, jnode **root);
bool lar__jcheck(jc *c, jnode *root);

/* ---- a render in progress ------------------------------------------------------------------ */
typedef struct jvar {
    const jstr *name;
    uint64_t hash;
    jv v;
} jvar;
typedef struct jenv {
    struct jenv *up;
    jvar *v;
    size_t n, cap;
} jenv;

typedef struct jmacro {
    const jnode *node;
    jenv *env;
} jmacro;

typedef struct jloop {
    const jnode *node;
    jenv *env;
    jiter it;
    jv iterable, current, before, after, changed;
    bool has_current, has_after, has_changed, has_length;
    int64_t index0, length, depth0;
} jloop;

struct jr {
    jmem mem, cat; /* values; text that `+` built, so that x = x + y can grow in place */
    lar_err *e;
    lar_status st;
    uint32_t line;
    int64_t steps, now;
    int depth;
    lar_buf *out, *root_out;
    size_t captured; /* bytes of all captured blocks */
    jdict *vars;
    jenv *root;
    lar_render *render;
    const jnode *tree;
};

bool lar__jfail(jr *r, const char *fmt, ...) LAR_PRINTF(2, 3);
bool lar__joom(jr *r);
bool lar__jstep(jr *r, size_t bytes); /* one step and a share for the bytes */
bool lar__jenter(jr *r);              /* depth; lar__jleave when it returned true */
void lar__jleave(jr *r);
void *lar__jalloc(jr *r, size_t n); /* NULL with the error filled */
void *lar__jalloc_array(jr *r, size_t n, size_t each);

/* jinja_value.c */
extern const char *const lar__jtype_name[JV_NTYPES];
jv lar__jv_undef(jr *r, const char *hint);
jv lar__jv_int(int64_t i);
jv lar__jv_bool(bool b);
jv lar__jv_float(double f);
jv lar__jv_none(void);
bool lar__jv_text(jr *r, const char *p, size_t n, bool copy,
                  jv *out); /* a str; `copy` or borrowed */
bool lar__jv_sub(jr *r, const jstr *s, size_t off, size_t n,
                 jv *out); /* bytes [off, off+n) of s, as s is */
bool lar__jv_z(jr *r, const char *z, jv *out);
bool lar__jv_buf(jr *r, lar_buf *b, bool markup,
                 jv *out); /* copies, frees b; fails if b is out of memory */
bool lar__jv_list(jr *r, size_t cap, bool tuple, jv *out);
bool lar__jlist_add(jr *r, jlist *l, jv v);
bool lar__jv_pair(jr *r, jv a, jv b, jv *out);
bool lar__jv_dict(jr *r, jv *out);
bool lar__jv_json(jr *r, const json_t *j, jv *out);
bool lar__jdict_set(jr *r, jdict *d, jv key, jv val);
bool lar__jdict_get(jr *r, const jdict *d, jv key, jv *out, bool *found); /* false: unhashable */
bool lar__jdict_getz(const jdict *d, const char *p, size_t n, jv *out);
bool lar__jv_hash(jr *r, jv v, uint64_t *h);
bool lar__jv_true(jr *r, jv v, bool *b);
bool lar__jv_eq(jr *r, jv a, jv b, bool *eq);
bool lar__jv_cmp(jr *r, jv a, jv b, int op, bool *res);
bool lar__jv_in(jr *r, jv needle, jv hay, bool *res);
bool lar__jv_len(jr *r, jv v, int64_t *n);
bool lar__jv_is_num(jv v);
bool lar__jv_num(jv v, double *f); /* bool, int, float */
bool lar__jv_as_int(jr *r, jv v, const char *what, int64_t *i);
bool lar__jv_same(jv a, jv b);
bool lar__jundef_use(jr *r, jv v); /* fails with the reason why v is undefined */
bool lar__jiter_init(jr *r, jv v, jiter *it);
bool lar__jiter_next(jr *r, jiter *it, jv *out, bool *done);
bool lar__jv_gen(jr *r, const jiter *it, jv *out);
bool lar__jv_to_list(jr *r, jv v, jv *out);
bool lar__jsort(jr *r, jv *keys, jv *vals, size_t n, bool reverse); /* stable, by keys */
size_t lar__jutf8_at(const jstr *s, size_t index); /* byte offset of a code point */
ptrdiff_t lar__jfind(jr *r, const jstr *s, size_t from, size_t to,
                     const jstr *what); /* -1: no; bytes */
bool lar__jspace(uint32_t cp);          /* str.isspace */
void lar__jtrim(const jstr *s, const jstr *chars, int sides, size_t *b,
                size_t *e); /* 1 left, 2 right */

/* jinja_case.c: sorted by cp; "" where the simple mapping holds */
typedef struct jcase {
    uint32_t cp;
    char upper[12], title[12], lower[12];
} jcase;
extern const jcase lar__jcases[];
extern const size_t lar__jcases_n;

/* jinja_text.c: values as text */
bool lar__jv_str(jr *r, jv v, const jstr **out); /* str(v) */
bool lar__jput_str(jr *r, lar_buf *b, jv v);
bool lar__jput_repr(jr *r, lar_buf *b, jv v);
bool lar__jput_json(jr *r, lar_buf *b, jv v, jv indent, jv separators, bool ascii, bool sort);
bool lar__jpercent(jr *r, const jstr *f, jv args, jv *out);               /* str % args */
bool lar__jformat(jr *r, const jstr *f, const jargs *a, jv map, jv *out); /* str.format */
void lar__jput_float(lar_buf *b, double f);
void lar__jput_escaped(lar_buf *b, const char *p, size_t n);
bool lar__jescape(jr *r, jv v, jv *out); /* markupsafe.escape */
bool lar__jbuf_ok(jr *r, const lar_buf *b);
int64_t lar__jparse_int(const char *p, size_t n, int base, bool *ok, bool *big);
bool lar__jparse_float(const char *p, size_t n, double *f);
void lar__jput_fixed(lar_buf *b, double f, int prec, char type, bool alt);

/* jinja_ops.c: operators, attributes, calls */
bool lar__jbin(jr *r, int op, jv a, jv b, jv *out);
bool lar__jcompare(jr *r, int op, jv a, jv b, bool *res);
bool lar__jneg(jr *r, jv a, bool minus, jv *out);
bool lar__jgetattr(jr *r, jv obj, const jstr *name, jv *out);
bool lar__jgetitem(jr *r, jv obj, jv key, jv *out);
bool lar__jslice(jr *r, jv obj, const jv part[3], jv *out);
bool lar__jattr(jr *r, jv obj, const jstr *name, jv *out,
                bool *found); /* Python's own attributes only */
bool lar__jround_check(jr *r, double f, jv *out);

/* jinja_eval.c */
bool lar__jeval(jr *r, jenv *env, const jnode *n, jv *out);
bool lar__jrender(jr *r);
bool lar__jcall(jr *r, jv f, const jargs *a, jv *out);
bool lar__jassign(jr *r, jenv *env, const jnode *target, jv v);
jenv *lar__jenv_new(jr *r, jenv *up);
bool lar__jloop_attr(jr *r, jloop *l, const jstr *name, jv *out, bool *found);

/* jinja_filters.c, jinja_methods.c, jinja_globals.c: tables sorted or not, ended by a NULL name */
const jfunc_def *lar__jfilter(const char *p, size_t n);
const jfunc_def *lar__jtest(const char *p, size_t n);
extern const jfunc_def lar__jtext_filters[]; /* the rest of lar__jfilter: jinja_ftext.c */
const jfunc_def *lar__jglobal(const char *p, size_t n);
bool lar__jis_dict_class(const jfunc_def *f); /* the global `dict` */
const jfunc_def *lar__jmethod(jv obj, const char *p, size_t n);
const jfunc_def *lar__jdef_find(const jfunc_def *t, const char *p, size_t n);
/* Bind arguments to names; out[i].t is JV_MISSING where none was given. `names` has max entries. */
bool lar__jbind(jr *r, const char *what, const jargs *a, const char *const *names, size_t min,
                size_t max, jv *out);
bool lar__jitem_path(jr *r, jv item, jv path, jv fallback, jv *out); /* make_attrgetter */
bool lar__jgen_next(jr *r, jiter *it, jv *out, bool *done);          /* kinds that filters make */

bool lar__jstr_case(jr *r, const jstr *s, int how, jv *out);
bool lar__jstr_replace(jr *r, const jstr *s, const jstr *a, const jstr *b, int64_t max, jv *out);
bool lar__jstr_join(jr *r, const jstr *sep, jv items, bool strict, jv *out);
bool lar__jstr_splitlines(jr *r, const jstr *s, bool keep, jv *out);
bool lar__jstr_split(jr *r, const jstr *s, const jstr *sep, int64_t max, bool right, jv *out);
bool lar__jstr_pad(jr *r, const jstr *s, int64_t width, const jstr *fill, int how, jv *out);
enum { CASE_LOWER, CASE_UPPER, CASE_TITLE, CASE_CAPITALIZE, CASE_SWAP, CASE_FOLD };
bool lar__jstr_is(const jstr *s, int what); /* str.isdigit ...: the letter of the method */

#endif
