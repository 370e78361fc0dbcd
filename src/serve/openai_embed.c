/* openai_embed.c - /v1/embeddings: texts to vectors, by task `embed`. Depends on libsodium. */
#include "serve/openai.h"
#include <sodium.h>
#include <string.h>

enum { TEXTS_MOST = 256 };

/* A vector as little-endian F32 in base 64, which OpenAI's own client asks for. */
static json_t *packed(const json_t *v)
{
    const size_t n = json_array_size(v) * 4;
    uint8_t *bytes = lar_alloc(n + 1);
    char *text = lar_alloc(sodium_base64_encoded_len(n, sodium_base64_VARIANT_ORIGINAL));
    json_t *out = NULL;
    for (size_t i = 0; bytes && i < n / 4; i++) {
        const float x = (float)json_number_value(json_array_get(v, i));
        uint32_t u;
        memcpy(&u, &x, 4);
        for (size_t k = 0; k < 4; k++)
            bytes[4 * i + k] = (uint8_t)(u >> (8 * k));
    }
    if (bytes && text) {
        sodium_bin2base64(text, sodium_base64_encoded_len(n, sodium_base64_VARIANT_ORIGINAL), bytes,
                          n, sodium_base64_VARIANT_ORIGINAL);
        out = json_string(text);
    }
    lar_free(bytes);
    lar_free(text);
    return out;
}

static json_t *reply_of(const serve_model *m, const json_t *result, bool base64)
{
    json_t *data = json_array(), *v, *one = json_object_get(result, "embedding");
    const json_t *counts = json_object_get(result, "tokens");
    json_t *all = one ? json_pack("[O]", one) : json_incref(json_object_get(result, "embeddings"));
    json_int_t tokens = json_integer_value(counts);
    size_t i;
    json_array_foreach(all, i, v)
    {
        tokens += json_integer_value(json_array_get(counts, i));
        json_array_append_new(data, json_pack("{s:s,s:I,s:o}", "object", "embedding", "index",
                                              (json_int_t)i, "embedding",
                                              base64 ? packed(v) : json_incref(v)));
    }
    json_decref(all);
    return json_pack("{s:s,s:o,s:s,s:{s:I,s:I}}", "object", "list", "data", data, "model", m->name,
                     "usage", "prompt_tokens", tokens, "total_tokens", tokens);
}

void serve_openai_embeddings(serve_call *c)
{
    const json_t *body = serve_body(c);
    const char *name = NULL, *format = NULL;
    int64_t dimensions = -1;
    json_t *input = NULL, *result = NULL;
    serve_model m;
    lar_err e = {0};
    if (!body || !serve_get_text(c, body, "model", &name) ||
        !serve_get_text(c, body, "encoding_format", &format) ||
        !serve_get_int(c, body, "dimensions", 1, 1 << 20, &dimensions) ||
        !serve_get_texts(c, body, "input", TEXTS_MOST, &input))
        return;
    if (!json_array_size(input)) {
        serve_fail(c, 400, "invalid_request_error", "input", "input: want a text or several");
        json_decref(input);
        return;
    }
    json_t *fields = json_pack("{s:o}", "input", input);
    if (dimensions > 0)
        json_object_set_new(fields, "dimensions", json_integer(dimensions));
    if (serve_model_take(c, name, &m)) {
        if (serve_task(c, &m, "embed", fields, &result, &e) == LAR_OK)
            serve_reply_json(c, 200, reply_of(&m, result, format && strcmp(format, "base64") == 0));
        else
            serve_fail_lar(c, "input", &e);
        serve_model_give(c, &m);
    }
    json_decref(fields);
    json_decref(result);
}
