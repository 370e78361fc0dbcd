/* case.c - compiled once per variant; see case.h. */
#include "base/simd.h"
#include "case.h"

static void put(simd_out *o, vf v)
{
    vf_store(o->f[o->floats++], v);
}
static void put_i(simd_out *o, vi v)
{
    vi_store(o->i[o->ints++], v);
}

static void floats(const simd_in *in, simd_out *o)
{
    const vf a = vf_load(in->a), b = vf_load(in->b), c = vf_load(in->c);
    put(o, vf_add(a, b));
    put(o, vf_sub(a, b));
    put(o, vf_mul(a, b));
    put(o, vf_div(a, b));
    put(o, vf_sqrt(vf_abs(a)));
    put(o, vf_neg(a));
    put(o, vf_fma(a, b, c));
    put(o, vf_max(a, b));
    put(o, vf_min(a, b));
    put(o, vf_lt(a, b, b, c));
    put(o, vf_load_n(in->a, in->n));
    vf_store(o->f[o->floats], c);
    vf_store_n(o->f[o->floats++], a, in->n);
    put(o, vf_load_f16(in->half));
    put(o, vf_load_f16_n(in->half, in->n));
    put(o, vf_load_bf16(in->half));
    put(o, vf_load_bf16_n(in->half, in->n));
    put(o, vf_set1(in->a[3]));
    put(o, vf_zero());
    put(o, vf_exp(a));
    put(o, vf_sigmoid(a));
    put(o, vf_tanh(a));
    put(o, vf_swap2(a));
    vf_store_f16(o->half, a);
    o->sum = vf_hsum(a);
    o->max = vf_hmax(a);
    o->dot = vf_dot(in->a, in->b, in->n);
}

/* start + the products of 16 weights, of which `mask` leaves the bits that the kind has. */
static vi dot16(vi start, const vi w[4], int32_t mask, const int8_t x[16], int kind)
{
    vp p[2];
    int32_t sum = 0;
    for (int k = 0; k < 16; k++)
        sum += x[k];
    if (kind == VI_S8)
        start = vi_add(start, vi_set1(-VI_S8_BIAS * sum));
    for (int e = 0; e < 4; e++) {
        const bool first = e % VI_CHAIN(kind) == 0,
                   last = (e + 1) % LAR_MIN(4, VI_CHAIN(kind)) == 0;
        const vx v = vx_load(x + 4 * e);
        vi planes[2];
        vi_planes(vi_and(w[e], vi_set1(mask)), kind, planes);
        for (int i = 0; i < VI_PLANES(kind); i++)
            p[i] = first ? vp_first(i ? vi_set1(0) : start, planes[i], v)
                         : vp_next(p[i], planes[i], v);
        if (last)
            start = vp_sum(start, p[0]);
        if (last && VI_PLANES(kind) == 2)
            start = vi_add(start, vi_shl(vp_sum(vi_set1(0), p[1]), 4));
    }
    return start;
}

static void integers(const simd_in *in, simd_out *o)
{
    const vf small = vf_max(vf_min(vf_load(in->a), vf_set1(4e6f)), vf_set1(-4e6f));
    const vi byte = vi_set1(0x0f0f0f0f);
    uint32_t words[16];
    vi w[4];
    vi_rows16(in->rows + 3, 40, w);
    for (int e = 0; e < 4; e++)
        put_i(o, w[e]);
    const vi r = vi_rows4(in->rows + 33, 40);
    put_i(o, r);
    put_i(o, vf_round_i(small));
    put_i(o, vi_add(w[0], w[1]));
    put_i(o, vi_sub(w[0], w[1]));
    put_i(o, vi_mul(w[0], w[1]));
    put_i(o, vi_or(vi_and(w[0], w[1]), r));
    put_i(o, vi_sub_bytes(w[0], w[1]));
    const int16_t s[2] = {(int16_t)(16 * in->x[0]), (int16_t)(16 * in->x[1])};
    put_i(o, vi_offset(s, -128, 31));
    put_i(o, vi_offset(s, 0, -32));
    for (int n = 1; n < 32; n += 9) {
        put_i(o, vi_shl(r, n));
        put_i(o, vi_shr(r, n));
    }
    put_i(o, vi_sra1(r));
    put_i(o, vi_sra24(r));
    put_i(o, vi_lut16(in->table, vi_and(r, byte)));
    memcpy(words, in->a, sizeof words);
    put_i(o, vi_gather(words, vi_and(r, vi_set1(15))));
    /* n in [-126, 127] */
    const vi n = vi_sub(vi_and(r, vi_set1(127)), vi_set1(in->n < 8 ? 126 : 0));
    put(o, vf_scale2(vf_load(in->a), n));
    put(o, vf_from_i(r));
    put(o, vf_from_f16_low(vi_and(r, vi_set1((int32_t)0xffffbbffu)))); /* finite */
    put_i(o, dot16(r, w, 0x0f0f0f0f, in->x, VI_U4));
    put_i(o, dot16(r, w, 0x1f1f1f1f, in->x, VI_U5));
    put_i(o, dot16(r, w, 0x3f3f3f3f, in->x, VI_U6));
    put_i(o, dot16(r, w, -1, in->x, VI_S8));
    const vi small8 = vf_round_i(vf_max(vf_min(vf_load(in->b), vf_set1(127.0f)), vf_set1(-128.0f)));
    vi_store_s8(o->bytes, small8);
    put_i(o, vi_load_s8(in->x));
    put_i(o, vi_pairs16(r, w[0], w[1]));
    put_i(o, vi_pairs16(r, vi_set1(0x7f7f8080), vi_set1(-1)));
    o->isum = vi_hsum(r);
}

simd_case_fn LAR_VSYM(simd_case);
void LAR_VSYM(simd_case)(const simd_in *in, simd_out *out)
{
    memset(out, 0, sizeof *out);
    floats(in, out);
    integers(in, out);
}
