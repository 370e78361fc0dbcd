/* openai.h - what the files of the OpenAI front share. */
#ifndef LAR_SERVE_OPENAI_H
#define LAR_SERVE_OPENAI_H
#include "serve/answer.h"

json_t *serve_openai_error(int status, const char *kind, const char *param, const char *message);
void serve_openai_chat(serve_call *c);
void serve_openai_completions(serve_call *c);
void serve_openai_embeddings(serve_call *c);

enum { SERVE_N_MOST = 16, SERVE_STOPS_MOST = 16, SERVE_TOP_MOST = 20 };

/* What both kinds of completions have. */
typedef struct serve_completion {
    serve_call *c;
    const json_t *body;
    json_t *fields; /* of `generate` */
    const char *model_name;
    serve_model model;
    bool stream, include_usage;
    int64_t n;
    const char *prefix; /* of its id: "chatcmpl" */
    char id[48];
    json_int_t created;
    int64_t prompt_tokens, cached_tokens, answer_tokens;
} serve_completion;

/* Read the common members; false: the call has been answered. Take the model last. */
bool serve_completion_begin(serve_completion *k, serve_call *c);
void serve_completion_end(serve_completion *k);
/* The i-th of n answers: its own seed. */
void serve_completion_seed(serve_completion *k, int64_t i);
void serve_completion_count(serve_completion *k, const json_t *result);
json_t *serve_completion_usage(const serve_completion *k);
/* {"id", "object", "created", "model", "choices"}; steals the choices. */
json_t *serve_completion_frame(const serve_completion *k, const char *object, json_t *choices);
/* All answers are there: the reply, or the end of the stream. Steals the choices. */
void serve_completion_finish(serve_completion *k, const char *object, const char *chunk,
                             json_t *choices);
const char *serve_finish_reason(const json_t *result);

#endif
