/*
 * fuzz_convert.c - any texts as the JSON files of a Hugging Face folder with real weights:
 * converting ends in a status, leaves the file or nothing, and a file opens as a model. Depends on
 * lar.h and tests/data/hf.
 *
 * Input: a line with the name of a folder in tests/data/hf, whose weights are taken, then the texts
 * of config.json, tokenizer.json, tokenizer_config.json, generation_config.json, tokenizer.model,
 * each ended by a line "---"; where a text is empty, there is no such file.
 */
#include "files.h"
#include "lar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static lar_runtime *rt; /* kept for good */

/* A link to the weights of the folder that the line names. */
static bool link_weights(lar_str *rest)
{
    char from[600], cwd[300];
    const char *end = memchr(rest->p, '\n', LAR_MIN(rest->n, 40));
    const size_t k = end ? (size_t)(end - rest->p) : 0;
    if (!k || memchr(rest->p, '/', k) || memchr(rest->p, 0, k) || !getcwd(cwd, sizeof cwd))
        return false;
    snprintf(from, sizeof from, "%s/tests/data/hf/%.*s/model.safetensors", cwd, (int)k, rest->p);
    *rest = (lar_str){end + 1, rest->n - k - 1};
    unlink(fuzz_path("model.safetensors"));
    return access(from, R_OK) == 0 && symlink(from, fuzz_path("model.safetensors")) == 0;
}

static void open_model(const char *path)
{
    const lar_model_options o = {.size = sizeof o};
    lar_model *m;
    lar_err e = {0};
    check(lar_model_open(rt, path, &o, &m, &e) == LAR_OK);
    lar_model_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const files[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                        "generation_config.json", "tokenizer.model"};
    const lar_runtime_options o = {.size = sizeof o, .threads = 1};
    lar_str rest = {(const char *)data, n};
    lar_err e = {0};
    lar_request *r;
    fuzz_make_folder();
    if (!rt)
        check(lar_runtime_new(&o, &rt, &e) == LAR_OK);
    if (!n || !link_weights(&rest))
        return 0;
    for (size_t i = 0; i < LAR_LEN(files); i++)
        fuzz_write(files[i], fuzz_part(&rest));
    const int before = fuzz_count_files();
    check(lar_request_new(rt, "convert", &r, &e) == LAR_OK);
    check(lar_request_set_string(r, "input", fuzz_folder, &e) == LAR_OK);
    check(lar_request_set_string(r, "output", fuzz_path("out.gguf"), &e) == LAR_OK);
    const lar_status s = lar_request_run(r, NULL, NULL, &e);
    lar_request_free(r);
    check(s == LAR_OK || e.msg[0]);
    check(fuzz_count_files() == before + (s == LAR_OK));
    if (s == LAR_OK)
        open_model(fuzz_path("out.gguf"));
    unlink(fuzz_path("out.gguf"));
    return 0;
}
