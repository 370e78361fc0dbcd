/* model.c - lar_model: the file, its vocabulary, chat template and bound weights. */
#include "api/api.h"
#include "base/os.h"
#include "store/store.h"
#include "text/grammar.h"
#include <string.h>

/* A template that does not compile is no reason to refuse the model: a chat will say what is wrong.
 */
static lar_status open_template(lar_model *m, lar_err *e)
{
    lar_str source;
    lar_status s = lar_gguf_get_str(m->gguf, "tokenizer.chat_template", &source, &m->chat_err);
    if (s == LAR_ENOTFOUND) {
        m->chat_err = (lar_err){0};
        return LAR_OK;
    }
    if (s == LAR_OK)
        s = lar_template_new(source.p, source.n, &m->chat, &m->chat_err);
    if (s == LAR_OK) {
        m->chat_err = (lar_err){0};
        return LAR_OK;
    }
    if (s == LAR_ENOMEM)
        return lar_fail(e, s, "%s", m->chat_err.msg);
    lar_fail_in(&m->chat_err, s, "the model's chat template");
    lar_log_put(&m->rt->log, LAR_LOG_WARN, "%s", m->chat_err.msg);
    return LAR_OK;
}

static lar_status open_vocab(lar_model *m, bool must, lar_err *e)
{
    if (!lar_gguf_find(m->gguf, "tokenizer.ggml.model"))
        return LAR_OK;
    lar_status s = lar_vocab_open(m->gguf, &m->vocab, &m->vocab_err);
    if (s == LAR_OK) {
        m->vocab_err = (lar_err){0}; /* an optional key that is missing has left a message */
        return LAR_OK;
    }
    m->vocab = (lar_vocab_file){0};
    if (must || s == LAR_ENOMEM)
        return lar_fail(e, s, "%s", m->vocab_err.msg);
    lar_log_put(&m->rt->log, LAR_LOG_WARN, "%s", m->vocab_err.msg);
    return LAR_OK;
}

/* A file that exists is that file; else a word without a folder may be a name in the store. */
static lar_status open_file(const char *path, lar_gguf **out, lar_err *e)
{
    lar_file_id id;
    char *found;
    if (strpbrk(path, "/\\") || lar_file_identify(path, &id, NULL) == LAR_OK ||
        lar_store_path(path, &found, NULL) != LAR_OK)
        return lar_gguf_open(path, out, e);
    lar_status s = lar_gguf_open(found, out, e);
    lar_free(found);
    return s;
}

lar_status lar_model_open(lar_runtime *rt, const char *path, const lar_model_options *opts,
                          lar_model **out, lar_err *e)
{
    lar_model_options o;
    if (!out)
        return lar_fail(e, LAR_EARG, "lar_model_open: out is NULL");
    *out = NULL;
    if (!rt || !path)
        return lar_fail(e, LAR_EARG, "lar_model_open: %s is NULL", rt ? "path" : "the runtime");
    LAR_TRY(lar__options(opts, &o, sizeof o, "lar_model_options", e));
    lar_model *m = lar_alloc(sizeof *m);
    if (!m)
        return lar_fail(e, LAR_ENOMEM, "out of memory for a model");
    atomic_init(&m->refs, 1);
    m->rt = rt;
    lar__ref(&rt->refs);
    lar_status s = open_file(path, &m->gguf, e);
    if (s == LAR_OK)
        s = open_vocab(m, !o.vocab_only, e);
    if (s == LAR_OK)
        s = open_template(m, e);
    if (s == LAR_OK && !o.vocab_only)
        s = lar_net_open(m->gguf, &rt->log, &m->net, e);
    if (s != LAR_OK) {
        lar_model_free(m);
        return s;
    }
    *out = m;
    return LAR_OK;
}

void lar_model_free(lar_model *m)
{
    if (!m || !lar__unref(&m->refs))
        return;
    lar_runtime *rt = m->rt;
    lar_net_free(m->net);
    lar_template_free(m->chat);
    lar_token_tree_free(m->tree);
    lar_vocab_free(&m->vocab);
    lar_gguf_close(m->gguf);
    lar_free(m);
    lar_runtime_free(rt);
}
