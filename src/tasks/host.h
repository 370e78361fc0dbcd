/*
 * host.h - what the public handles hold. Made and ended by api, used by tasks.
 */
#ifndef LAR_HOST_H
#define LAR_HOST_H
#include "base/os.h"
#include "base/pool.h"
#include "device/cpu/cpu.h"
#include "format/gguf.h"
#include "infer/scheduler.h"
#include "infer/spec.h"
#include "tasks/vocab.h"
#include "text/template.h"
#include <stdatomic.h>

struct lar_runtime {
    atomic_int refs;
    lar_pool *pool;
    const lar_cpu_variant *variant;
    lar_log log;
};

struct lar_model {
    atomic_int refs;
    lar_runtime *rt;
    lar_gguf *gguf;
    lar_vocab_file
        vocab; /* .tok NULL where the file has no tokenizer, or (vocab_only) a broken one: */
    lar_err vocab_err;  /* then this says why */
    lar_template *chat; /* NULL where the file has no template, or a broken one: */
    lar_err chat_err;   /* then this says why */
    lar_net *net;       /* NULL when opened vocab_only */
    /* The tokens by bytes; NULL until a grammar wants them. */
    struct lar_token_tree *_Atomic tree;
};

struct lar_session {
    atomic_int refs;
    atomic_flag busy; /* a request or a file has it: nobody else may */
    lar_model *model;
    lar_engine *engine; /* its KV memory; that of `with`, if any */
    lar_sched *sched;   /* likewise */
    lar_session *with;  /* whose memory it shares; NULL: its own */
    lar_seq *seq;       /* the one sequence of this session */
    lar_seat *seat;     /* its place in steps */
    lar_model *draft;   /* guesses for this one; NULL: none */
    lar_spec *spec;
    struct lar_prefix_disk *prefix; /* where evaluated prompts are kept, or NULL */
    int prompt_n; /* how many of the sequence's first tokens are the last answer's prompt */
    int ctx_asked,
        ctx_model; /* tokens: as the caller wanted (0: by default), as the model was trained */
};

#endif
