/*
 * tensor.h - tensors, graph nodes, and what an operation is. Depends on base.
 *
 * A graph is built by pure data (no values are touched), planned once (which memory, which stages),
 * then run any number of times. Building has a sticky error: after a failure every call returns
 * NULL and does nothing, so that model code reads as formulas; lar_graph_error() tells at the end.
 */
#ifndef LAR_TENSOR_H
#define LAR_TENSOR_H
#include "tensor/dtype.h"

enum { LAR_MAX_SRC = 12, LAR_MAX_DIM = 4, LAR_PARAM_BYTES = 64, LAR_MAX_PHASES = 3 };

typedef struct lar_op lar_op;
typedef struct lar_graph lar_graph;
typedef struct lar_tensor lar_tensor;

struct lar_tensor {
    const lar_op *op;             /* NULL: a leaf or a view */
    lar_tensor *src[LAR_MAX_SRC]; /* optional ones may be NULL */
    int n_src;
    const lar_dtype *type;
    int64_t dim[LAR_MAX_DIM];   /* dim[0] is the fastest; unused are 1 */
    size_t stride[LAR_MAX_DIM]; /* bytes; a row (dim[0]) is always contiguous */
    void *data;                 /* set by the planner, or the leaf's own memory */
    lar_tensor *base;           /* a view: whose memory this is ... */
    size_t base_off;            /* ... and where in it */
    lar_tensor *grad;
    bool wants_grad;
    bool shared;      /* memory from outside (weights, caches), which other graphs may see too */
    bool keep;        /* an input or output: its memory is nobody else's */
    const char *name; /* for messages; may be NULL */
    int last_use;     /* planner: index of the last node that reads it */
    size_t plan_off;  /* planner: place in the graph's work memory */
    _Alignas(8) uint8_t param[LAR_PARAM_BYTES];
};

/* Part of a node's work, as a worker gets it: units [begin, end) of one phase. Results never depend
 * on how the units are cut. */
typedef struct lar_work {
    int64_t begin, end;
    int phase, ith, nth; /* ith: for memory of one's own in scratch */
    void *scratch;       /* op->scratch() bytes, shared by the workers and phases of this node */
    const void *kernels; /* quant's lar_kernels of the variant that runs */
} lar_work;

/* The static half of a GPU kernel: plain data, so that ops need no Vulkan header. */
typedef struct lar_shader {
    const uint32_t *spirv;
    size_t bytes;
    uint32_t push_bytes;
    void (*push)(const lar_tensor *t, void *out);
    void (*grid)(const lar_tensor *t, uint32_t out[3]);
} lar_shader;

/* A shape that the generic op test runs. Sources are F32 with seeded random values unless `type`
 * says otherwise; I32 sources take values in [0, ints[i]); one of no elements is left out (NULL).
 */
typedef struct lar_case {
    int n_src;
    int64_t dim[LAR_MAX_SRC][LAR_MAX_DIM];
    const lar_dtype *type[LAR_MAX_SRC];
    int32_t ints[LAR_MAX_SRC];
    bool no_grad[LAR_MAX_SRC]; /* this source has no gradient */
    _Alignas(8) uint8_t param[LAR_PARAM_BYTES];
} lar_case;

struct lar_op {
    const char *name;
    int id;
    int min_src, max_src;
    size_t param_size;
    /* Check the sources and parameters, set type and dim (strides follow). */
    lar_status (*shape)(lar_tensor *t, lar_err *e);
    int phases;                                       /* 0 means 1 */
    int64_t (*units)(const lar_tensor *t, int phase); /* independent pieces of work */
    size_t (*scratch)(const lar_tensor *t, int nth);  /* bytes, or NULL */
    void (*cpu)(const lar_tensor *t, const lar_work *w);
    const lar_shader *vk; /* NULL: runs on the CPU */
    /* Add the nodes that carry t->grad to the sources, built from other ops. NULL: not
     * differentiable. */
    lar_status (*grad)(lar_graph *g, lar_tensor *t, lar_err *e);
    const lar_case *cases;
    int n_cases;
};

/* ---- building ------------------------------------------------------------------------------ */

/* All memory is the arena's. */
lar_graph *lar_graph_new(lar_arena *arena);                 /* NULL: out of memory */
lar_status lar_graph_error(const lar_graph *g, lar_err *e); /* the first failure, or LAR_OK */
void lar_graph_fail(lar_graph *g, lar_status code, const char *msg);

/* data NULL: an input, which gets memory from the planner. */
lar_tensor *lar_leaf(lar_graph *g, const lar_dtype *type, const int64_t dim[LAR_MAX_DIM],
                     void *data);
/* Sources that are NULL stay NULL (optional); a failed graph gives NULL. */
lar_tensor *lar_node(lar_graph *g, const lar_op *op, lar_tensor *const *src, int n_src,
                     const void *param);
/* The same memory seen otherwise. Strides in bytes; stride[0] is the type's. */
lar_tensor *lar_view(lar_graph *g, lar_tensor *t, const int64_t dim[LAR_MAX_DIM],
                     const size_t stride[LAR_MAX_DIM], size_t offset);
/* Rows [first, first+n) of each column: a slice of dim 0, in elements. */
lar_tensor *lar_slice(lar_graph *g, lar_tensor *t, int64_t first, int64_t n);
/* dim[0] as [a, b] (the others move up); t has at most 3 dims in use. */
lar_tensor *lar_split0(lar_graph *g, lar_tensor *t, int64_t a);
/* dims 0 and 1 as one: undoes lar_split0; t's rows lie side by side. */
lar_tensor *lar_join0(lar_graph *g, lar_tensor *t);
void lar_keep(lar_tensor *t); /* an output: NULL is allowed */
/* Make t a node's output that lives in another tensor's memory (for ops that write into a cache).
 */
void lar_alias(lar_tensor *t, lar_tensor *base);

static inline int64_t lar_rows(const lar_tensor *t)
{
    return t->dim[1] * t->dim[2] * t->dim[3];
}
static inline int64_t lar_count(const lar_tensor *t)
{
    return t->dim[0] * lar_rows(t);
}
/* Row r, counting over dims 1, 2, 3. */
static inline void *lar_row(const lar_tensor *t, int64_t r)
{
    int64_t i1 = r % t->dim[1], i2 = r / t->dim[1] % t->dim[2], i3 = r / (t->dim[1] * t->dim[2]);
    return (char *)t->data + (size_t)i1 * t->stride[1] + (size_t)i2 * t->stride[2] +
           (size_t)i3 * t->stride[3];
}
bool lar_same_shape(const lar_tensor *a, const lar_tensor *b);
/* Shape rule of pointwise ops: as the first source, which the others must equal. */
lar_status lar_shape_same(lar_tensor *t, lar_err *e);
lar_status lar_shape_fail(const lar_tensor *t, int src, const char *want, lar_err *e);
int64_t lar_units_rows(const lar_tensor *t, int phase);
lar_status lar_want_f32(const lar_tensor *t, lar_err *e); /* all given sources are F32 */

/* ---- gradients ------------------------------------------------------------------------------- */

/* Add d to what flows into `to` (with the op given, which adds two equal tensors). */
lar_status lar_grad_add(lar_graph *g, lar_tensor *to, lar_tensor *d, lar_err *e);
/* Append the backward nodes of everything that `loss` depends on and that wants a gradient. `add`
 * sums gradients that meet. loss->grad is an input leaf, filled by the caller. */
lar_status lar_backward(lar_graph *g, lar_tensor *loss, const lar_op *add, lar_err *e);

/* ---- planning ----------------------------------------------------------------------------------
 */

/* One phase of one node; consecutive stages with a single unit are run by one worker without a
 * barrier. */
typedef struct lar_stage {
    const lar_tensor *node;
    int phase;
    int64_t units;
} lar_stage;

struct lar_graph {
    lar_arena *arena;
    lar_tensor **node;
    int n, cap;
    lar_tensor **leaf; /* inputs, which the planner places */
    int n_leaf, cap_leaf;
    const lar_op *add_op;
    lar_err err;
    bool failed;
    /* after lar_plan: */
    lar_stage *stage;
    int n_stage;
    size_t work_bytes; /* activations, inputs and scratch together */
    size_t scratch_off;
    void *scratch;
    int nth;
};

/* Give every node and input a place: memory is reused as soon as its last reader is done. */
lar_status lar_plan(lar_graph *g, int nth, lar_err *e);
/* Set all data pointers; mem has g->work_bytes bytes, 64-byte aligned. */
void lar_bind(lar_graph *g, void *mem);

#endif
