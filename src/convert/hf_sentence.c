/*
 * hf_sentence.c - what a sentence-transformers folder says beside the model: modules.json with
 * pooling and normalisation, and how long texts may be. GGUF has a key for the pooling; those for
 * the others are LAR's own, which other programs pass over.
 */
#include "convert/hf.h"
#include <string.h>

static lar_status optional(lar_status s)
{
    return s == LAR_ENOTFOUND ? LAR_OK : s;
}

static lar_status module_config(const lar_hf *h, const char *path, const char *name, json_t **out,
                                lar_err *e)
{
    lar_buf b = {0};
    if (*path && !lar__plain_name(path))
        return lar_fail(e, LAR_EFORMAT, "modules.json: '%.80s' is no folder's name", path);
    lar_buf_printf(&b, "%s%s%s", path, *path ? "/" : "", name);
    const lar_status s = b.oom ? lar_fail(e, LAR_ENOMEM, "modules.json: out of memory")
                               : lar__load_json(h->folder, b.p, out, e);
    lar_buf_free(&b);
    return s;
}

/* One way and no other. */
static lar_status put_pooling(lar_hf *h, const json_t *config, lar_err *e)
{
    static const struct {
        const char *key, *mode;
        int gguf; /* as pooling_type counts; 0: has none */
    } modes[] = {{"pooling_mode_cls_token", "cls", 2},
                 {"pooling_mode_mean_tokens", "mean", 1},
                 {"pooling_mode_lasttoken", "lasttoken", 3},
                 {"pooling_mode_max_tokens", "max", 0},
                 {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", 0},
                 {"pooling_mode_weightedmean_tokens", "weightedmean", 0}};
    const char *mode = json_string_value(json_object_get(config, "pooling_mode"));
    int found = -1;
    for (int i = 0; i < (int)LAR_LEN(modes); i++) {
        if (!json_is_true(json_object_get(config, modes[i].key)) &&
            !(mode && strcmp(mode, modes[i].mode) == 0))
            continue;
        if (found >= 0)
            return lar_fail(e, LAR_EUNSUPPORTED, "pooling: %s together with %s", modes[found].mode,
                            modes[i].mode);
        found = i;
    }
    if (found < 0)
        return lar_fail(e, LAR_EFORMAT, "pooling: config.json names no mode that LAR knows");
    if (!modes[found].gguf)
        return lar_fail(e, LAR_EUNSUPPORTED, "pooling: %s, want mean, cls or lasttoken",
                        modes[found].mode);
    lar_hf_put_u32(h, "pooling_type", (uint32_t)modes[found].gguf);
    return LAR_OK;
}

static lar_status take_module(lar_hf *h, const json_t *m, bool *normalize, lar_err *e)
{
    const char *type = lar_hf_text(json_object_get(m, "type")), *dot = strrchr(type, '.');
    const char *path = lar_hf_text(json_object_get(m, "path")), *kind = dot ? dot + 1 : type;
    json_t *config = NULL;
    lar_status s = LAR_OK;
    if (strcmp(kind, "Pooling") == 0) {
        s = module_config(h, path, "config.json", &config, e);
        if (s == LAR_OK)
            s = put_pooling(h, config, e);
    } else if (strcmp(kind, "Normalize") == 0) {
        *normalize = true;
    } else if (strcmp(kind, "Transformer") != 0) {
        s = lar_fail(e, LAR_EUNSUPPORTED,
                     "modules.json: module '%.60s', want Transformer, Pooling or Normalize", kind);
    } else if (*path) {
        s = lar_fail(e, LAR_EUNSUPPORTED,
                     "modules.json: the model is in '%.80s', want it in the "
                     "folder itself",
                     path);
    }
    json_decref(config);
    return s;
}

static lar_status put_length(lar_hf *h, lar_err *e)
{
    json_t *config = NULL;
    double n = 0;
    LAR_TRY(optional(lar__load_json(h->folder, "sentence_bert_config.json", &config, e)));
    const lar_status s = lar_hf_number(config, "max_seq_length", &n, e);
    if (s == LAR_OK && n >= 1 && n < 1 << 30)
        lar_hf_put_u32(h, "lar.max_tokens", (uint32_t)n);
    json_decref(config);
    return optional(s);
}

lar_status lar__hf_sentence(lar_hf *h, lar_err *e)
{
    json_t *modules = NULL, *m;
    size_t i;
    bool normalize = false;
    lar_status s = lar__load_json(h->folder, "modules.json", &modules, e);
    if (s == LAR_ENOTFOUND)
        return LAR_OK;
    if (s == LAR_OK && !json_is_array(modules))
        s = lar_fail(e, LAR_EFORMAT, "modules.json: want a list");
    json_array_foreach(modules, i, m)
    {
        if (s == LAR_OK)
            s = take_module(h, m, &normalize, e);
    }
    if (s == LAR_OK) {
        lar_hf_put_bool(h, "lar.normalize", normalize);
        s = put_length(h, e);
    }
    json_decref(modules);
    return s;
}
