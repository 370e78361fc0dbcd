/*
 * grid_fit.h - choosing scales and entries for the formats with codebooks (IQ1, IQ2, IQ3). Sixteen
 * entries lie in the lanes and look through the whole codebook: the cost of an entry, the weighted
 * square error, is the sum of what its two halves cost, and there are few different halves. Scales
 * are tried around a guess; each time the best real scale follows by least squares. Weights and the
 * treatment of signs are ggml's (ggml-quants.c, quantize_row_iq2_xxs_impl and its neighbours),
 * which looks at some entries only. A format's file includes this once. Depends on quant/grid.h.
 */
#ifndef LAR_GRID_FIT_H
#define LAR_GRID_FIT_H
#include "quant/format.h"
#include "quant/grid.h"

enum { G_SUPER = 256, G_LANES = 16, G_BATCHES = 4, G_HALVES = 81, G_ENTRIES = 2048 };

typedef enum grid_signs_kind {
    G_VALUES,    /* entries have signs of their own, and a shift is chosen */
    G_ANY_SIGNS, /* a sign for each weight */
    G_EVEN_SIGNS /* of each eight weights an even number is negative */
} grid_signs_kind;

typedef struct grid_how {
    const uint32_t *grid;
    int entries, dims; /* weights that an entry stands for: 8 or 4 */
    int sizes;         /* of which a weight has one: 3 or 8 */
    float size[2][8];  /* [1]: with the other shift */
    grid_signs_kind signs;
    int shifted;       /* weights that share a shift */
    int group, max;    /* weights that share a scale; the largest one, an odd number */
    float unit;        /* what the F16 is multiplied with */
    float first, step; /* the group's farthest weight / largest size by first + step * i */
    int steps;
} grid_how;

/* A block of 256 as it will be stored. */
typedef struct grid_block {
    uint16_t d;         /* F16 */
    int sc[16];         /* odd */
    uint16_t entry[64]; /* of each 8 or 4 weights */
    uint8_t signs[32];  /* of each eight weights; or 1: the other shift */
} grid_block;

/* For each half of an entry: the sums of weight * x * size and of weight * size^2. */
typedef struct grid_sums {
    float xv[2][G_HALVES][G_LANES], vv[2][G_HALVES][G_LANES];
} grid_sums;

typedef struct grid_work {
    const grid_how *how;
    uint8_t half[2][G_ENTRIES];        /* which halves an entry has */
    grid_sums sums[G_BATCHES];         /* [batch * shifts + shift] */
    float far[16];                     /* the groups' largest weights, and */
    float scale[16], sxl[16], sl2[16]; /* least squares by the entries chosen */
    float entry[G_SUPER / 4];
    bool other[G_SUPER / 4]; /* the other shift */
} grid_work;

static inline int grid_shifts(const grid_how *how)
{
    return how->signs == G_VALUES ? 2 : 1;
}

static inline void grid_begin(const grid_how *how, grid_work *g)
{
    const int bits = how->sizes == 3 ? 4 : 8, per = how->dims / 2;
    g->how = how;
    for (int e = 0; e < how->entries; e++)
        for (int h = 0; h < 2; h++) {
            int code = 0;
            for (int i = per; i--;) {
                const int at = how->dims == 8 ? 8 * i + 4 * h : 8 * (2 * h + i);
                code = code * how->sizes + (int)(how->grid[e] >> at & (bits == 4 ? 3 : 7));
            }
            g->half[h][e] = (uint8_t)code;
        }
}

/* Sixteen lanes of dims values each, and their weights. */
typedef struct grid_lanes {
    float x[8][G_LANES], w[8][G_LANES];
} grid_lanes;

static inline void grid_sum(const grid_how *how, const grid_lanes *l, const float *size,
                            grid_sums *s)
{
    const int per = how->dims / 2;
    for (int h = 0; h < 2; h++) {
        int n = 1;
        vf_store(s->xv[h][0], vf_zero());
        vf_store(s->vv[h][0], vf_zero());
        for (int i = 0; i < per; i++, n *= how->sizes) {
            const vf wi = vf_load(l->w[h * per + i]), wx = vf_mul(wi, vf_load(l->x[h * per + i]));
            for (int c = how->sizes; c--;) {
                const vf v = vf_set1(size[c]), vv = vf_set1(size[c] * size[c]);
                for (int k = 0; k < n; k++) {
                    vf_store(s->xv[h][c * n + k], vf_fma(wx, v, vf_load(s->xv[h][k])));
                    vf_store(s->vv[h][c * n + k], vf_fma(wi, vv, vf_load(s->vv[h][k])));
                }
            }
        }
    }
}

/* The entry of least cost in each lane. */
static inline vf grid_search(const grid_work *g, const grid_sums *s, vf scale, vf *entry)
{
    float cost[2][G_HALVES][G_LANES];
    const int n = g->how->sizes == 3 ? 81 : 64;
    const vf twice = vf_mul(scale, vf_set1(-2)), square = vf_mul(scale, scale);
    vf best = vf_set1(INFINITY), at = vf_zero();
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < n; k++)
            vf_store(cost[h][k],
                     vf_fma(square, vf_load(s->vv[h][k]), vf_mul(twice, vf_load(s->xv[h][k]))));
    for (int e = 0; e < g->how->entries; e++) {
        const vf c = vf_add(vf_load(cost[0][g->half[0][e]]), vf_load(cost[1][g->half[1][e]]));
        at = vf_lt(c, best, vf_set1((float)e), at);
        best = vf_min(c, best);
    }
    *entry = at;
    return best;
}

/* Of all lanes of a batch the entries and shifts, by the groups' scales. */
static inline void grid_choose(grid_work *g, int batch, const float *scale, float *entry,
                               bool *other)
{
    const grid_how *how = g->how;
    const int shifts = grid_shifts(how), per = how->group / how->dims;
    float s[G_LANES], cost[2][G_LANES], at[2][G_LANES];
    for (int i = 0; i < G_LANES; i++)
        s[i] = scale[(batch * G_LANES + i) / per];
    for (int k = 0; k < shifts; k++) {
        vf e;
        vf_store(cost[k], grid_search(g, &g->sums[batch * shifts + k], vf_load(s), &e));
        vf_store(at[k], e);
    }
    for (int i = 0, share = how->shifted / how->dims; i < G_LANES; i++) {
        float sum[2] = {0, 0};
        for (int j = 0; shifts == 2 && j < share; j++)
            for (int k = 0; k < 2; k++)
                sum[k] += cost[k][i / share * share + j];
        other[i] = sum[1] < sum[0];
        entry[i] = at[other[i]][i];
    }
}

/* The same for the whole block, and least squares of each group. */
static inline void grid_try(grid_work *g, const float *scale)
{
    const grid_how *how = g->how;
    const int shifts = grid_shifts(how), per = how->group / how->dims, lanes = G_SUPER / how->dims;
    for (int b = 0; b < lanes / G_LANES; b++)
        grid_choose(g, b, scale, g->entry + b * G_LANES, g->other + b * G_LANES);
    for (int k = 0; k < G_SUPER / how->group; k++) {
        g->sxl[k] = g->sl2[k] = 0;
        for (int i = k * per; i < (k + 1) * per; i++) {
            const grid_sums *s = &g->sums[i / G_LANES * shifts + g->other[i]];
            const int e = (int)g->entry[i], lane = i % G_LANES;
            for (int h = 0; h < 2; h++) {
                g->sxl[k] += s->xv[h][g->half[h][e]][lane];
                g->sl2[k] += s->vv[h][g->half[h][e]][lane];
            }
        }
    }
}

/* Signs and weights of a block; x becomes what entries are to be near to. */
static inline void grid_weigh(const grid_how *how, const float *src, const float *importance,
                              float *x, float *w, uint8_t *signs)
{
    float mean = 0;
    for (int i = 0; i < G_SUPER; i++)
        mean += src[i] * src[i] * (1.0f / G_SUPER);
    for (int i = 0; i < G_SUPER; i++) {
        const float v = src[i];
        w[i] = importance ? importance[i] * __builtin_sqrtf(2 * mean + v * v) : 0.5f * mean + v * v;
        x[i] = how->signs != G_VALUES && v < 0 ? -v : v;
    }
    for (int k = 0; k < 32; k++) {
        int negative = 0, least = 8 * k;
        signs[k] = 0;
        for (int i = 8 * k; how->signs != G_VALUES && i < 8 * k + 8; i++) {
            negative += src[i] < 0;
            signs[k] = (uint8_t)(signs[k] | (src[i] < 0) << i % 8);
            least = w[i] * x[i] * x[i] < w[least] * x[least] * x[least] ? i : least;
        }
        if (how->signs == G_EVEN_SIGNS && negative % 2) {
            signs[k] = (uint8_t)(signs[k] ^ 1 << least % 8);
            x[least] = -x[least];
        }
    }
}

static inline void grid_load(grid_work *g, const float *src, const float *importance,
                             uint8_t *signs)
{
    const grid_how *how = g->how;
    const int shifts = grid_shifts(how);
    float x[G_SUPER], w[G_SUPER];
    grid_weigh(how, src, importance, x, w, signs);
    for (int k = 0; k < G_SUPER; k++) {
        const float a = src[k] < 0 ? -src[k] : src[k], *f = &g->far[k / how->group];
        g->far[k / how->group] = k % how->group && *f > a ? *f : a;
    }
    for (int b = 0; b < G_SUPER / how->dims / G_LANES; b++) {
        grid_lanes l;
        for (int i = 0; i < G_LANES * how->dims; i++) {
            const int at = b * G_LANES * how->dims + i;
            l.x[i % how->dims][i / how->dims] = x[at];
            l.w[i % how->dims][i / how->dims] = w[at];
        }
        for (int k = 0; k < shifts; k++)
            grid_sum(how, &l, how->size[k], &g->sums[b * shifts + k]);
    }
}

static inline float grid_scale_tried(const grid_work *g, int group, int i)
{
    return g->far[group] /
           (g->how->size[0][g->how->sizes - 1] * (g->how->first + g->how->step * (float)i));
}

/* The odd number nearest to x. */
static inline int grid_odd(float x, int max)
{
    return !(x > 1) ? 1 : x >= (float)max ? max : 2 * (int)(x * 0.5f) + 1;
}

/* d and odd numbers with d * sc near the scales; returns d as it will be read. */
static inline float grid_scales(const grid_how *how, const float *scale, const float *weight,
                                grid_block *b)
{
    const int n = G_SUPER / how->group;
    float far = 0, best = 0, d = 0;
    for (int k = 0; k < n; k++)
        far = scale[k] > far ? scale[k] : far;
    for (int c = -16; far > 0 && c <= 16; c++) {
        const float inv = ((float)how->max + 0.125f * (float)c) / far;
        float sxl = 0, sl2 = 0;
        for (int k = 0; k < n; k++) {
            const float o = (float)grid_odd(inv * scale[k], how->max);
            sxl += weight[k] * o * scale[k];
            sl2 += weight[k] * o * o;
        }
        if (sl2 > 0 && sxl * sxl > best * sl2) {
            best = sxl * sxl / sl2;
            d = sxl / sl2;
        }
    }
    d = d / how->unit;
    b->d = lar_f32_to_f16(d - d == 0 ? d : 0);
    d = lar_f16_to_f32(b->d) * how->unit;
    for (int k = 0; k < n; k++)
        b->sc[k] = d > 0 ? grid_odd(scale[k] / d, how->max) : 1;
    return d;
}

static inline void grid_fit(grid_work *g, const float *src, const float *importance, grid_block *b)
{
    const grid_how *how = g->how;
    const int n = G_SUPER / how->group;
    float best[16] = {0}, weight[16] = {0}, scale[16] = {0}, tried[16];
    memset(b, 0, sizeof *b);
    grid_load(g, src, importance, b->signs);
    for (int i = 0; i <= how->steps + 1; i++) {
        for (int k = 0; k < n; k++)
            tried[k] = i <= how->steps ? grid_scale_tried(g, k, i) : scale[k];
        grid_try(g, tried);
        for (int k = 0; k < n; k++)
            if (g->sxl[k] > 0 && g->sl2[k] > 0 && g->sxl[k] * g->sxl[k] > best[k] * g->sl2[k]) {
                best[k] = g->sxl[k] * g->sxl[k] / g->sl2[k];
                scale[k] = g->sxl[k] / g->sl2[k];
                weight[k] = g->sl2[k];
            }
    }
    const float d = grid_scales(how, scale, weight, b);
    float sxl = 0, sl2 = 0;
    for (int k = 0; k < n; k++)
        tried[k] = d * (float)b->sc[k];
    grid_try(g, tried);
    for (int k = 0; k < n; k++) {
        sxl += g->sxl[k] * (float)b->sc[k];
        sl2 += g->sl2[k] * (float)(b->sc[k] * b->sc[k]);
    }
    if (d > 0 && sxl > 0 && sl2 > 0) {
        const float again = sxl / sl2 / how->unit;
        b->d = again - again == 0 ? lar_f32_to_f16(again) : b->d;
    }
    for (int i = 0; i < G_SUPER / how->dims; i++) {
        b->entry[i] = (uint16_t)g->entry[i];
        if (how->signs == G_VALUES)
            b->signs[i] = g->other[i];
    }
}

#endif
