/*
 * imatrix.c - the task `imatrix`: runs a text through the model in windows and sums, for each
 * matrix of the layers, the squares of what its input columns were multiplied with; of experts only
 * the tokens that came to each. Quantizing uses it to spend its error where it matters least. The
 * sums are taken at the engine's nodes before they run, token by token, so that they do not depend
 * on threads.
 */
#include "convert/importance.h"
#include "ops/ops.h"
#include "tasks/json.h"
#include "tasks/windows.h"
#include <string.h>

typedef struct params {
    const char *text, *file, *output;
    int64_t window, chunks;
} params;

#define AT(f) .offset = offsetof(params, f)
static const lar_field fields[] = {
    {.name = "text", .type = LAR_FIELD_STRING, AT(text), .unit = "TEXT", .help = "The text itself"},
    {.name = "file",
     .letter = 'f',
     .type = LAR_FIELD_STRING,
     AT(file),
     .unit = "FILE",
     .help = "A file with the text"},
    {.name = "output",
     .letter = 'o',
     .type = LAR_FIELD_STRING,
     AT(output),
     .unit = "FILE",
     .help = "The importance matrix to write (GGUF)"},
    {.name = "window",
     .type = LAR_FIELD_INT,
     AT(window),
     .def = 0,
     .min = 0,
     .max = 1 << 20,
     .unit = "N",
     .help = "Tokens in a window; 0: 512, or the context where that is less"},
    {.name = "chunks",
     .type = LAR_FIELD_INT,
     AT(chunks),
     .def = 0,
     .min = 0,
     .max = 1 << 28,
     .unit = "N",
     .help = "Stop after N windows; 0: the whole text"},
};

typedef struct state {
    lar_windows windows;
    const lar_gguf *file;
    lar_importance_sums *sums; /* [n tensors of the file]; of those that were not seen, name NULL */
    size_t n;
    lar_cpu_observer observer;
    lar_status bad; /* what went wrong while observing */
    lar_err why;
} state;

/* ---- sums --------------------------------------------------------------------------------------
 */

/* The sums of a weight, or NULL: no matrix of a layer, or out of memory. */
static lar_importance_sums *sums_of(state *s, const lar_tensor *w)
{
    for (size_t i = 0; i < s->n; i++) {
        const lar_gguf_tensor *t = lar_gguf_tensor_at(s->file, i);
        lar_importance_sums *u = &s->sums[i];
        if (t->data != w->data)
            continue;
        if (t->name.n < 4 || memcmp(t->name.p, "blk.", 4) != 0)
            return NULL;
        if (u->name)
            return u;
        u->k = t->dim[0];
        u->experts = t->dim[2];
        u->sum2 = lar_alloc_array((size_t)(u->k * u->experts), sizeof *u->sum2);
        u->count = lar_alloc_array((size_t)u->experts, sizeof *u->count);
        u->name = lar_strndup(t->name.p, t->name.n);
        if (u->sum2 && u->count && u->name)
            return u;
        s->bad = lar_fail(&s->why, LAR_ENOMEM, "imatrix: out of memory");
        return NULL;
    }
    return NULL;
}

static void add(lar_importance_sums *u, int64_t expert, const float *x)
{
    double *sum = u->sum2 + expert * u->k;
    for (int64_t i = 0; i < u->k; i++)
        sum[i] += (double)x[i] * (double)x[i];
    u->count[expert]++;
}

static void see_matmul(state *s, const lar_tensor *t)
{
    const int n = ((const lar_matmul_param *)(const void *)t->param)->n_weights;
    for (int i = 1; i <= n; i++) {
        lar_importance_sums *u = sums_of(s, t->src[i]);
        for (int64_t c = 0; u && c < t->src[0]->dim[1]; c++)
            add(u, 0, lar_row(t->src[0], c));
    }
}

/* x is [k, T], the same for all experts of a token, or [k, n_used, T] (ops/experts.c). */
static void see_experts(state *s, const lar_tensor *t)
{
    const int n = ((const lar_matmul_param *)(const void *)t->param)->n_weights;
    const lar_tensor *x = t->src[0], *ids = t->src[1];
    const int64_t used = t->dim[1], pairs = used * t->dim[2];
    const bool shared = lar_rows(x) != pairs;
    for (int i = 2; i < 2 + n; i++) {
        lar_importance_sums *u = sums_of(s, t->src[i]);
        for (int64_t p = 0; u && p < pairs; p++) {
            const int64_t rank = p % used;
            add(u, ids ? ((const int32_t *)lar_row(ids, p / used))[rank] : rank,
                lar_row(x, shared ? p / used : p));
        }
    }
}

static void see(const lar_tensor *node, void *user)
{
    state *s = user;
    if (s->bad != LAR_OK)
        return;
    if (node->op->id == LAR_OP_matmul)
        see_matmul(s, node);
    else if (node->op->id == LAR_OP_experts)
        see_experts(s, node);
}

/* ---- the task ----------------------------------------------------------------------------------
 */

static lar_status start(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    if (!p->output)
        return lar_fail(e, LAR_EARG, "output is missing");
    LAR_TRY(lar_task_can_write(p->output, e));
    LAR_TRY(lar_windows_open(t, p->text, p->file, p->window, 0, p->chunks, &s->windows, e));
    s->file = t->model->gguf;
    s->n = lar_gguf_n_tensors(s->file);
    s->sums = lar_alloc_array(s->n, sizeof *s->sums);
    if (!s->sums)
        return lar_fail(e, LAR_ENOMEM, "imatrix: out of memory");
    s->observer = (lar_cpu_observer){see, s};
    lar_engine_observe(t->session->engine, &s->observer);
    return LAR_OK;
}

static int by_name(const lar_importance_sums *a, const lar_importance_sums *b)
{
    return strcmp(a->name, b->name);
}

/* Those that were seen, in the order of their names, to the front; how many. */
static size_t gather(state *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (!s->sums[i].name)
            continue;
        const lar_importance_sums u = s->sums[i];
        size_t at = n++;
        s->sums[i] = (lar_importance_sums){0};
        for (; at && by_name(&u, &s->sums[at - 1]) < 0; at--)
            s->sums[at] = s->sums[at - 1];
        s->sums[at] = u;
    }
    return n;
}

static lar_status deliver(lar_task *t, lar_err *e)
{
    const params *p = t->params;
    state *s = t->state;
    const size_t n = gather(s);
    int64_t unseen = 0;
    bool bad = false;
    for (size_t i = 0; i < n; i++)
        for (int64_t k = 0; k < s->sums[i].experts; k++)
            unseen += !s->sums[i].count[k];
    LAR_TRY(lar_importance_write(p->output, s->sums, n, p->file ? p->file : "",
                                 (uint32_t)s->windows.n, (uint32_t)s->windows.size, e));
    json_t *j = json_object();
    lar_json_put(j, "file", lar_json_text(p->output, strlen(p->output)), &bad);
    lar_json_put(j, "matrices", json_integer((json_int_t)n), &bad);
    lar_json_put(j, "experts_without_tokens", json_integer((json_int_t)unseen), &bad);
    lar_json_put(j, "windows", json_integer(s->windows.n), &bad);
    lar_json_put(j, "window", json_integer(s->windows.size), &bad);
    return lar_task_built(t, j, bad, e);
}

static lar_status do_window(lar_task *t, const int32_t *ids, lar_err *e)
{
    state *s = t->state;
    /* All logits are asked for so that every token goes through the whole last layer. */
    const int most = LAR_MIN(lar_engine_batch(t->session->engine), 64);
    lar_seq_truncate(t->session->seq, 0);
    for (int i = 0; i < s->windows.size; i += most) {
        lar_step part = {.seq = t->session->seq,
                         .tokens = ids + i,
                         .n = LAR_MIN(most, s->windows.size - i),
                         .all_logits = true};
        if (lar_task_cancelled(t))
            return lar_fail(e, LAR_ECANCELLED, "cancelled");
        LAR_TRY(lar_engine_step(t->session->engine, &part, 1, e));
    }
    if (s->bad != LAR_OK && e)
        *e = s->why;
    return s->bad;
}

static lar_status step(lar_task *t, bool *done, lar_err *e)
{
    state *s = t->state;
    LAR_TRY(do_window(t, lar_windows_next(&s->windows), e));
    if (lar_windows_done(&s->windows)) {
        *done = true;
        return deliver(t, e);
    }
    return lar_windows_tell(t, &s->windows, e);
}

static void finish(lar_task *t)
{
    state *s = t->state;
    lar_engine_observe(t->session->engine, NULL);
    for (size_t i = 0; s->sums && i < s->n; i++) {
        lar_free(s->sums[i].name);
        lar_free(s->sums[i].sum2);
        lar_free(s->sums[i].count);
    }
    lar_free(s->sums);
    lar_windows_free(&s->windows);
}

extern const lar_task_def lar_task_def_imatrix;
const lar_task_def lar_task_def_imatrix = {.name = "imatrix",
                                           .verb = "imatrix",
                                           .help = "Find out which columns of a model matter",
                                           .positional = "file",
                                           .needs = LAR_NEEDS_SESSION,
                                           .fields = fields,
                                           .n_fields = LAR_LEN(fields),
                                           .params_size = sizeof(params),
                                           .state_size = sizeof(state),
                                           .start = start,
                                           .step = step,
                                           .finish = finish};
