/*
 * route.c - which experts a token takes, and with what weights. Shazeer et al., "Outrageously Large
 * Neural Networks", 2017; Fedus et al. 2021; groups and correction bias: DeepSeek-V2 and V3
 * technical reports, 2024.
 *
 * route_ids: logits F32 [experts, T]; bias F32 [experts], may be left out. Result I32 [n_used, T],
 * the best first, equal ones by the lower id. Experts are ranked by their logit, or where there is
 * a bias, or scores of a group are summed, by sigmoid(logit) + bias. With n_group > 0 only the
 * n_group_used groups with the best score are looked at: the best expert's (group_top 1) or the sum
 * of the best two (2).
 * route_weights: logits; ids. Result F32 [n_used, T]: softmax over all experts or the sigmoid, for
 * the chosen ones; `norm` divides by their sum; then times `scale`.
 */
#include "base/simd.h"
#include "ops/ops.h"

static lar_status check(const lar_tensor *t, lar_err *e)
{
    const lar_route_param *p = LAR_PARAM(lar_route_param, t);
    const lar_tensor *x = t->src[0];
    if (x->type != LAR_DTYPE(f32) || x->dim[0] > LAR_MAX_EXPERTS || x->dim[2] != 1 ||
        x->dim[3] != 1)
        return lar_shape_fail(t, 0, "f32 [experts <= 4096, T]", e);
    if (p->n_used < 1 || p->n_used > x->dim[0])
        return lar_fail(e, LAR_EARG, "route: %d of %lld experts", (int)p->n_used,
                        (long long)x->dim[0]);
    if (p->n_group &&
        (p->n_group < 0 || x->dim[0] % p->n_group || p->n_group_used < 1 ||
         p->n_group_used > p->n_group || p->n_group_used * (x->dim[0] / p->n_group) < p->n_used))
        return lar_fail(e, LAR_EARG, "route: %d of %d groups of %lld experts", (int)p->n_group_used,
                        (int)p->n_group, (long long)x->dim[0]);
    return LAR_OK;
}

static lar_status ids_shape(lar_tensor *t, lar_err *e)
{
    LAR_TRY(check(t, e));
    if (t->n_src > 1 && t->src[1] &&
        (t->src[1]->type != LAR_DTYPE(f32) || lar_count(t->src[1]) != t->src[0]->dim[0]))
        return lar_shape_fail(t, 1, "an f32 bias per expert", e);
    if (t->n_src > 1 && t->src[1] && !LAR_PARAM(lar_route_param, t)->sigmoid)
        return lar_fail(e, LAR_EUNSUPPORTED, "route: a bias for ranks by softmax, want sigmoid");
    t->type = LAR_DTYPE(i32);
    t->dim[0] = LAR_PARAM(lar_route_param, t)->n_used;
    t->dim[1] = t->src[0]->dim[1];
    return LAR_OK;
}

/* The best of score[0..n) that is not taken; the lowest of equals. NaN never wins. */
static int64_t best(const float *score, const bool *taken, int64_t n)
{
    int64_t b = -1;
    for (int64_t i = 0; i < n; i++)
        if (!taken[i] && (b < 0 || score[i] > score[b]))
            b = i;
    return b;
}

/* Take all experts of the groups that are not among the best. */
static void leave_groups(const lar_route_param *p, const float *score, bool *taken, int64_t n)
{
    float group[LAR_MAX_EXPERTS];
    bool used[LAR_MAX_EXPERTS] = {false};
    const int64_t each = n / p->n_group;
    for (int64_t g = 0; g < p->n_group; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (int64_t i = g * each; i < (g + 1) * each; i++) {
            if (score[i] > first) {
                second = first;
                first = score[i];
            } else if (score[i] > second) {
                second = score[i];
            }
        }
        group[g] = p->group_top == 2 && each > 1 ? first + second : first;
    }
    for (int k = 0; k < p->n_group_used; k++)
        used[best(group, used, p->n_group)] = true;
    for (int64_t i = 0; i < n; i++)
        taken[i] = !used[i / each];
}

static void ids_cpu(const lar_tensor *t, const lar_work *w)
{
    const lar_route_param *p = LAR_PARAM(lar_route_param, t);
    const int64_t n = t->src[0]->dim[0];
    const float *bias = t->n_src > 1 && t->src[1] ? t->src[1]->data : NULL;
    const bool as_sigmoid = bias || (p->n_group > 1 && p->group_top == 2);
    float score[LAR_MAX_EXPERTS];
    bool taken[LAR_MAX_EXPERTS];
    for (int64_t r = w->begin; r < w->end; r++) {
        const float *x = lar_row(t->src[0], r);
        int32_t *out = lar_row(t, r);
        memcpy(score, x, (size_t)n * sizeof *x);
        for (int64_t i = 0; as_sigmoid && i < n; i += 16) {
            const int k = (int)LAR_MIN(16, n - i);
            const vf s = vf_sigmoid(vf_load_n(x + i, k));
            vf_store_n(score + i, bias ? vf_add(s, vf_load_n(bias + i, k)) : s, k);
        }
        memset(taken, 0, (size_t)n * sizeof *taken);
        if (p->n_group > 1)
            leave_groups(p, score, taken, n);
        for (int k = 0; k < p->n_used; k++) {
            const int64_t b = best(score, taken, n);
            out[k] = (int32_t)b;
            taken[b] = true;
        }
    }
}

static lar_status weights_shape(lar_tensor *t, lar_err *e)
{
    LAR_TRY(check(t, e));
    const lar_tensor *ids = t->src[1];
    if (ids->type != LAR_DTYPE(i32) || ids->dim[0] != LAR_PARAM(lar_route_param, t)->n_used ||
        ids->dim[1] != t->src[0]->dim[1])
        return lar_shape_fail(t, 1, "i32 ids [n_used, T]", e);
    t->dim[0] = ids->dim[0];
    t->dim[1] = ids->dim[1];
    return LAR_OK;
}

/* p[i] = e^(x[i] - max) / sum, sixteen lanes and the fixed tree. */
static void softmax(const float *x, int64_t n, float *p)
{
    float m = x[0];
    vf sum = vf_zero();
    for (int64_t i = 1; i < n; i++)
        m = x[i] > m ? x[i] : m;
    for (int64_t i = 0; i < n; i += 16) {
        const int k = (int)LAR_MIN(16, n - i);
        vf_store_n(p + i, vf_exp(vf_sub(vf_load_n(x + i, k), vf_set1(m))), k);
        sum = vf_add(sum, vf_load_n(p + i, k));
    }
    const float s = vf_hsum(sum);
    for (int64_t i = 0; i < n; i++)
        p[i] /= s;
}

static void weights_cpu(const lar_tensor *t, const lar_work *w)
{
    const lar_route_param *p = LAR_PARAM(lar_route_param, t);
    const int64_t n = t->src[0]->dim[0];
    float prob[LAR_MAX_EXPERTS];
    for (int64_t r = w->begin; r < w->end; r++) {
        const float *x = lar_row(t->src[0], r);
        const int32_t *id = lar_row(t->src[1], r);
        float *y = lar_row(t, r), sum = 0;
        if (p->sigmoid)
            for (int64_t i = 0; i < n; i += 16) {
                const int k = (int)LAR_MIN(16, n - i);
                vf_store_n(prob + i, vf_sigmoid(vf_load_n(x + i, k)), k);
            }
        else
            softmax(x, n, prob);
        for (int k = 0; k < p->n_used; k++)
            sum += y[k] = prob[id[k]];
        for (int k = 0; k < p->n_used; k++)
            y[k] = (p->norm ? y[k] / sum : y[k]) * p->scale;
    }
}

/* n_used, n_group, n_group_used, group_top, sigmoid, norm, scale */
#define PARAM(u, g, gu, top, sig, norm)                                                            \
    {                                                                                              \
        u, 0, 0, 0, g, 0, 0, 0, gu, 0, 0, 0, top, 0, 0, 0, sig, 0, 0, 0, norm, 0, 0, 0, 0, 0, 0,   \
            0x40                                                                                   \
    }
static const lar_case id_cases[] = {
    {.n_src = 1, .dim = {{13, 5, 1, 1}}, .param = PARAM(3, 0, 0, 0, 0, 0), .no_grad = {true}},
    {.n_src = 2,
     .dim = {{24, 4, 1, 1}, {24, 1, 1, 1}},
     .param = PARAM(5, 4, 2, 2, 1, 1),
     .no_grad = {true, true}},
    {.n_src = 1, .dim = {{24, 4, 1, 1}}, .param = PARAM(5, 4, 2, 2, 1, 1), .no_grad = {true}},
    {.n_src = 1, .dim = {{24, 4, 1, 1}}, .param = PARAM(5, 4, 2, 1, 0, 0), .no_grad = {true}},
};
static const lar_case weight_cases[] = {
    {.n_src = 2,
     .dim = {{13, 5, 1, 1}, {3, 5, 1, 1}},
     .type = {NULL, LAR_DTYPE(i32)},
     .ints = {0, 13},
     .param = PARAM(3, 0, 0, 0, 0, 1),
     .no_grad = {true, true}},
    {.n_src = 2,
     .dim = {{40, 2, 1, 1}, {4, 2, 1, 1}},
     .type = {NULL, LAR_DTYPE(i32)},
     .ints = {0, 40},
     .param = PARAM(4, 0, 0, 0, 1, 0),
     .no_grad = {true, true}},
};

LAR_OP(route_ids, .min_src = 1, .max_src = 2, .param_size = sizeof(lar_route_param),
       .shape = ids_shape, .units = lar_units_rows, .cpu = ids_cpu, LAR_CASES(id_cases));
LAR_OP(route_weights, .min_src = 2, .max_src = 2, .param_size = sizeof(lar_route_param),
       .shape = weights_shape, .units = lar_units_rows, .cpu = weights_cpu,
       LAR_CASES(weight_cases));
