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
    vf_store_f16(o->half, a);
    o->sum = vf_hsum(a);
    o->max = vf_hmax(a);
    o->dot = vf_dot(in->a, in->b, in->n);
}

static void integers(const simd_in *in, simd_out *o)
{
    const vf small = vf_max(vf_min(vf_load(in->a), vf_set1(4e6f)), vf_set1(-4e6f));
    const vi byte = vi_set1(0x0f0f0f0f), five = vi_set1(0x1f1f1f1f), six = vi_set1(0x3f3f3f3f);
    vi w[4], t[4];
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
    /* n in [-126, 127] */
    const vi n = vi_sub(vi_and(r, vi_set1(127)), vi_set1(in->n < 8 ? 126 : 0));
    put(o, vf_scale2(vf_load(in->a), n));
    put(o, vf_from_i(r));
    put(o, vf_from_f16_low(vi_and(r, vi_set1((int32_t)0xffffbbffu)))); /* finite */
    for (int e = 0; e < 4; e++)
        t[e] = vi_and(w[e], five);
    put_i(o, vi_dot16(r, t, in->x, VI_U5));
    for (int e = 0; e < 4; e++)
        t[e] = vi_and(w[e], six);
    put_i(o, vi_dot16(r, t, in->x, VI_U6));
    int32_t sum = 0;
    for (int k = 0; k < 16; k++)
        sum += in->x[k];
    for (int e = 0; e < 4; e++)
        t[e] = vi_pack_s8(w[e]);
    put_i(o, vi_dot16(vi_set1(-VI_S8_BIAS * sum), t, in->x, VI_S8));
    const vi small8 = vf_round_i(vf_max(vf_min(vf_load(in->b), vf_set1(127.0f)), vf_set1(-128.0f)));
    vi_store_s8(o->bytes, small8);
    put_i(o, vi_load_s8(in->x));
    o->isum = vi_hsum(r);
}

simd_case_fn LAR_VSYM(simd_case);
void LAR_VSYM(simd_case)(const simd_in *in, simd_out *out)
{
    memset(out, 0, sizeof *out);
    floats(in, out);
    integers(in, out);
}
