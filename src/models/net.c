/* net.c - which architecture a file has, and a net of it. */
#include "base/math.h"
#include "models/net.h"

#define MODEL(x) extern const lar_model_def lar_model_def_##x;
#include "models/models.def"
#undef MODEL
const lar_model_def *const lar_model_defs[] = {
#define MODEL(x) &lar_model_def_##x,
#include "models/models.def"
#undef MODEL
};
const int lar_n_model_defs = (int)LAR_LEN(lar_model_defs);

static lar_status find_def(const lar_gguf *f, const lar_model_def **out, lar_err *e)
{
    lar_str arch;
    lar_buf known = {0};
    lar_status s = lar_gguf_get_str(f, "general.architecture", &arch, e);
    if (s == LAR_ENOTFOUND)
        return lar_fail(e, LAR_EFORMAT, "general.architecture is missing: not a model file");
    LAR_TRY(s);
    for (int i = 0; i < lar_n_model_defs; i++) {
        if (lar_str_eq(arch, lar_model_defs[i]->arch)) {
            *out = lar_model_defs[i];
            lar_buf_free(&known);
            return LAR_OK;
        }
        lar_buf_printf(&known, "%s%s", i ? ", " : "", lar_model_defs[i]->arch);
    }
    s = lar_fail(e, LAR_EUNSUPPORTED, "architecture '%.*s' is not known, want one of: %s",
                 (int)LAR_MIN(arch.n, 60), arch.p, known.p ? known.p : "");
    lar_buf_free(&known);
    return s;
}

/* Names, types and shapes of all tensors, all metadata, the sizes, and a sample of each tensor's
 * bytes: cheap, and different for any two models that a session file could be mistaken between. */
static uint64_t identity(const lar_gguf *f)
{
    uint64_t h = lar_random(lar_gguf_file_bytes(f), lar_gguf_n_tensors(f));
    for (size_t i = 0; i < lar_gguf_n_kv(f); i++) {
        const lar_gguf_kv *kv = lar_gguf_kv_at(f, i);
        h = lar_random(h, lar_hash64(kv->key.p, kv->key.n) ^
                              lar_hash64(kv->data, LAR_MIN(kv->bytes, 4096)));
    }
    for (size_t i = 0; i < lar_gguf_n_tensors(f); i++) {
        const lar_gguf_tensor *t = lar_gguf_tensor_at(f, i);
        h = lar_random(h, lar_hash64(t->name.p, t->name.n) ^ lar_hash64(t->dim, sizeof t->dim) ^
                              t->type->id);
        if (t->data)
            h = lar_random(h, lar_hash64(t->data, LAR_MIN(t->bytes, 64)));
    }
    return h;
}

static lar_status open_net(const lar_gguf *f, const lar_log *log, lar_net **out, lar_err *e)
{
    const lar_model_def *def = NULL;
    LAR_TRY(find_def(f, &def, e));
    lar_net *n = lar_alloc(sizeof *n);
    lar_status s = LAR_OK;
    if (!n || !(n->arena = lar_arena_new())) {
        lar_free(n);
        return lar_fail(e, LAR_ENOMEM, "model: out of memory");
    }
    n->def = def;
    if (def->open)
        s = def->open(n, f, e);
    else if ((s = lar__hparams_read(f, def, &n->hp, e)) == LAR_OK)
        s = def->encoder ? lar__encoder_bind(n, f, e) : lar__decoder_bind(n, f, e);
    if (s != LAR_OK) {
        lar_net_free(n);
        return s;
    }
    if (n->n_ignored)
        lar_log_put(log, LAR_LOG_WARN, "%d tensors in the file are not used by architecture %s",
                    n->n_ignored, def->arch);
    n->causal = n->hp.causal ? n->hp.causal == 2 : !def->encoder;
    n->identity = identity(f);
    *out = n;
    return LAR_OK;
}

lar_status lar_net_open(const lar_gguf *f, const lar_log *log, lar_net **out, lar_err *e)
{
    const uint64_t fp = lar_fp_enter();
    const lar_status s = open_net(f, log, out, e);
    lar_fp_leave(fp);
    return s;
}

void lar_net_free(lar_net *n)
{
    if (!n)
        return;
    lar_arena_free(n->arena);
    lar_free(n);
}

lar_tensor *lar_net_build(const lar_net *n, const lar_build *b)
{
    const uint64_t fp = lar_fp_enter(); /* constants are computed here */
    lar_tensor *t = n->def->build     ? n->def->build(n, b)
                    : n->def->encoder ? lar_encoder_build(&n->enc, b)
                                      : lar_decoder_build(&n->dec, b);
    lar_fp_leave(fp);
    return t;
}

int lar_net_n_caches(const lar_net *n)
{
    return (int)n->hp.n_layer;
}

lar_cache lar_net_cache(const lar_net *n, int l)
{
    const lar_decoder *d = &n->dec;
    const lar_hparams *hp = &n->hp;
    lar_cache pages = {
        .n_head = (int)hp->n_head_kv, .dim_k = (int)hp->head_dim_k, .dim_v = (int)hp->head_dim_v};
    if (n->def->encoder)
        return pages;
    switch (d->layer[l].kind) {
    case LAR_LAYER_CONV:
        return (lar_cache){.state = lar_nn_short_conv_state(&d->layer[l].conv)};
    case LAR_LAYER_DELTA:
        return (lar_cache){.state = lar_nn_delta_state(&d->layer[l].delta)};
    }
    if (d->layer[l].mla.k_b.w)
        pages.dim_v = 0;
    return pages;
}
