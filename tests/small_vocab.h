/*
 * small_vocab.h - for tests: a vocabulary-only GGUF file of about 300 tokens, SentencePiece kind,
 * with ChatML's control tokens, written to a temporary file. Depends on gguf_write.h.
 */
#ifndef LAR_TESTS_SMALL_VOCAB_H
#define LAR_TESTS_SMALL_VOCAB_H
#include "gguf_write.h"
#include <unistd.h>

enum {
    SV_UNK,
    SV_BOS,
    SV_EOS,
    SV_BYTES,
    SV_IM_START = SV_BYTES + 256,
    SV_IM_END,
    SV_THINK,
    SV_ROLE,
    SV_MORE
};

/* A path that the caller removes and frees. `chat` may be NULL; with chatml false the file has no
 * such tokens; add_bos as in the file. */
static inline char *sv_write(const char *chat, bool chatml, bool add_bos)
{
    static const char *const words[] = {
        "▁",  "a",  "b",   "c",     "e",    "h",      "i",     "l",  "n",  "o",
        "r",  "s",  "t",   "u",     "<",    ">",      "|",     "_",  "he", "in",
        "ll", "▁h", "▁he", "▁hell", "hell", "▁hello", "hello", "us", "er", "user",
        "<|", "|>", "<s",  "im",    "end",  "m",      "d",     "en", "nd"};
    static char bytes[256][8];
    const char *token[SV_MORE + 64] = {"<unk>", "<s>", "</s>"};
    int32_t type[SV_MORE + 64] = {2, 3, 3};
    float score[SV_MORE + 64] = {0};
    size_t n = SV_BYTES;
    for (int i = 0; i < 256; i++) {
        snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", (unsigned)i);
        token[n] = bytes[i];
        type[n++] = 6;
    }
    const char *const special[] = {chatml ? "<|im_start|>" : "<|other|>",
                                   chatml ? "<|im_end|>" : "<|tail|>", "</think>", "<|user|>"};
    for (size_t i = 0; i < 4; i++) {
        token[n] = special[i];
        type[n++] = 3;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        token[n] = words[i];
        score[n] = -(float)i;
        type[n++] = 1;
    }
    gw w = gw_new();
    gw_str(&w, "general.architecture", "llama");
    gw_str(&w, "general.name", "small vocabulary");
    gw_u32(&w, "llama.block_count", 2);
    gw_u32(&w, "llama.context_length", 2048);
    gw_u32(&w, "llama.embedding_length", 64);
    gw_u32(&w, "llama.attention.head_count", 4);
    gw_u32(&w, "llama.attention.head_count_kv", 2);
    gw_str(&w, "tokenizer.ggml.model", "llama");
    gw_str_array(&w, "tokenizer.ggml.tokens", token, n);
    gw_f32_array(&w, "tokenizer.ggml.scores", score, n);
    gw_i32_array(&w, "tokenizer.ggml.token_type", type, n);
    gw_u32(&w, "tokenizer.ggml.bos_token_id", SV_BOS);
    gw_u32(&w, "tokenizer.ggml.eos_token_id", SV_EOS);
    gw_u32(&w, "tokenizer.ggml.unknown_token_id", SV_UNK);
    gw_bool(&w, "tokenizer.ggml.add_bos_token", add_bos);
    if (chat)
        gw_str(&w, "tokenizer.chat_template", chat);
    gw_bytes b = gw_finish(&w);
    const char *dir = getenv("TMPDIR");
    char *path = malloc(512);
    if (!path)
        abort();
    snprintf(path, 512, "%s/lar-test-XXXXXX", dir ? dir : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, b.p, b.n) != (ssize_t)b.n || close(fd) != 0)
        abort();
    gw_bytes_free(&b);
    return path;
}

#endif
