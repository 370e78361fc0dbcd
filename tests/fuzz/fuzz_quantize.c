/*
 * fuzz_quantize.c - any bytes as a model to quantize and as its importance matrix: that ends in a
 * status, leaves the file or nothing, and the file has the same tensors. Depends on lar.h, gguf.h
 * and importance.h.
 *
 * The first byte says which type, and (bit 7) that half of the input is an importance matrix; bit
 * 6, that it is all of it, looked at as such.
 */
#include "files.h"
#include "convert/importance.h"
#include "lar.h"
#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static lar_runtime *rt; /* kept for good */

/* Every matrix that it has, asked for as a tensor of its own shape, and of another. */
static void read_importance(lar_str s)
{
    lar_importance_file *f;
    lar_importance im;
    lar_gguf *g;
    lar_err e = {0};
    fuzz_write("im.gguf", s);
    if (lar_importance_open(fuzz_path("im.gguf"), &f, &e) != LAR_OK) {
        check(e.msg[0] != 0);
        return;
    }
    check(lar_gguf_open(fuzz_path("im.gguf"), &g, &e) == LAR_OK);
    for (size_t i = 0; i < lar_gguf_n_tensors(g); i++) {
        lar_gguf_tensor t = *lar_gguf_tensor_at(g, i);
        const size_t cut = sizeof ".in_sum2" - 1;
        char *name = t.name.n > cut ? lar_strndup(t.name.p, t.name.n - cut) : NULL;
        t.dim[2] = t.dim[1];
        for (int k = 0; name && k < 2; k++, t.dim[2]++) {
            if (lar_importance_find(f, name, &t, &im, &e) != LAR_OK)
                continue;
            for (int64_t j = 0; im.p && j < im.n * t.dim[0]; j++)
                check(isfinite(im.p[j]) && im.p[j] >= 0);
            lar_importance_end(&im);
        }
        lar_free(name);
    }
    lar_gguf_close(g);
    lar_importance_close(f);
}

/* `out` has the tensors of `in`, in its shapes. */
static void compare(const char *in, const char *out)
{
    lar_gguf *a, *b;
    lar_err e = {0};
    check(lar_gguf_open(in, &a, &e) == LAR_OK && lar_gguf_open(out, &b, &e) == LAR_OK);
    check(lar_gguf_n_tensors(a) == lar_gguf_n_tensors(b));
    for (size_t i = 0; i < lar_gguf_n_tensors(a); i++) {
        const lar_gguf_tensor *t = lar_gguf_tensor_at(a, i);
        char *name = lar_strndup(t->name.p, t->name.n);
        const lar_gguf_tensor *u = name ? lar_gguf_find_tensor(b, name) : NULL;
        check(u && memcmp(t->dim, u->dim, sizeof t->dim) == 0);
        lar_free(name);
    }
    lar_gguf_close(a);
    lar_gguf_close(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const types[] = {"F32",    "F16",    "BF16",   "Q8_0",   "Q4_0", "Q5_1",
                                        "Q4_K_M", "Q6_K",   "Q2_K",   "Q3_K_L", "Q4_1", "Q5_0",
                                        "IQ4_NL", "IQ4_XS", "Q5_K_S", "Q4_K_S"};
    const lar_runtime_options o = {.size = sizeof o, .threads = 1};
    lar_err e = {0};
    lar_request *r;
    if (n < 1)
        return 0;
    fuzz_make_folder();
    if (!rt)
        check(lar_runtime_new(&o, &rt, &e) == LAR_OK);
    lar_str in = {(const char *)data + 1, n - 1}, im = {NULL, 0};
    if (data[0] & 64) {
        read_importance(in);
        return 0;
    }
    if (data[0] & 128) {
        im = (lar_str){in.p + in.n / 2, in.n - in.n / 2};
        in.n /= 2;
    }
    fuzz_write("in.gguf", in);
    fuzz_write("im.gguf", im);
    const int before = fuzz_count_files();
    check(lar_request_new(rt, "quantize", &r, &e) == LAR_OK);
    check(lar_request_set_string(r, "input", fuzz_path("in.gguf"), &e) == LAR_OK);
    check(lar_request_set_string(r, "output", fuzz_path("out.gguf"), &e) == LAR_OK);
    check(lar_request_set_string(r, "type", types[data[0] & 15], &e) == LAR_OK);
    check(lar_request_set_json(r, "allow-requantize", data[0] & 16 ? "true" : "false", &e) ==
          LAR_OK);
    if (im.p)
        check(lar_request_set_string(r, "imatrix", fuzz_path("im.gguf"), &e) == LAR_OK);
    const lar_status s = lar_request_run(r, NULL, NULL, &e);
    lar_request_free(r);
    check(s == LAR_OK || e.msg[0]);
    check(fuzz_count_files() == before + (s == LAR_OK));
    if (s == LAR_OK)
        compare(fuzz_path("in.gguf"), fuzz_path("out.gguf"));
    unlink(fuzz_path("out.gguf"));
    return 0;
}
