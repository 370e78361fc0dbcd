/*
 * spec.h - speculative decoding: a drafter guesses the next tokens cheaply, one step checks several
 * of them, and a guess counts only if it is exactly the token that the sampler picks. So the answer
 * is the same with any drafter or with none; only its speed differs.
 *
 * Who drafts how many tokens is decided by what it was worth so far: the seconds of steps of each
 * width, and how many of the guesses of each kind came true. A guess that is not expected to pay is
 * not made, and a small allowance bounds what may be lost altogether.
 *
 * A kind of drafter is a const descriptor in a file of its own (spec_ngram.c, spec_model.c).
 * Depends on engine.h and sampler.h. One thread at a time.
 *
 * Sources: Leviathan et al. 2023 (draft and verify); Saxena 2023 (prompt lookup decoding).
 */
#ifndef LAR_SPEC_H
#define LAR_SPEC_H
#include "infer/engine.h"
#include "infer/sampler.h"

enum { LAR_SPEC_MOST = 63, /* drafted tokens of one step at most */ LAR_SPEC_CLASSES = 5 };

/* What is known when tokens are drafted: those held, and `last`, which was picked but is not
 * evaluated yet. `position` is that of the first token to draft, for the sampler. */
typedef struct lar_spec_text {
    const int32_t *held;
    int n;
    int32_t last;
    uint64_t position;
} lar_spec_text;

/* What an answer wants. */
typedef struct lar_spec_options {
    const char *only;                  /* a kind's name; NULL: all there are */
    int draft_max;                     /* tokens of a draft at most */
    int draft_min;                     /* at least, where there is any guess, even if it does not
                                          pay; 0: as it pays */
    int ngram_min;                     /* tokens that must agree before a continuation is copied */
    const lar_sampler_params *sampler; /* how the answer is picked; borrowed during begin */
} lar_spec_options;

typedef struct lar_drafter_def {
    const char *name; /* as options and figures name it */
    /* An answer begins; after an error it goes on without this drafter. Optional. */
    lar_status (*begin)(void *state, const lar_spec_options *o, lar_err *e);
    void (*end)(void *state); /* and ends: frees what only it needs. Optional */
    /* Quickly: how many tokens could be drafted (at most `most`), and how sure they are (a class
     * below LAR_SPEC_CLASSES; what each is worth is learned). */
    int (*look)(void *state, const lar_spec_text *t, int most, int *sure);
    /* Draft up to k tokens after the last look; *n may be less. An error ends it for this answer.
     */
    lar_status (*draft)(void *state, const lar_spec_text *t, int k, int32_t *out, int *n,
                        lar_err *e);
    void (*forget)(void *state); /* what it knows of earlier texts. Optional */
    void (*free)(void *state);
    double expect[LAR_SPEC_CLASSES]; /* chance of a token before anything is learned */
    double seconds; /* of drafting a token, in single-token steps, likewise; 0: free */
} lar_drafter_def;

typedef struct lar_spec_figures {
    const char *name;
    bool on; /* this answer may use it */
    int64_t drafts, drafted, accepted;
} lar_spec_figures;

typedef struct lar_spec lar_spec;

/* With the n-gram drafter. */
lar_status lar_spec_new(lar_spec **out, lar_err *e);
void lar_spec_free(lar_spec *s);
void lar_spec_forget(lar_spec *s);
/* One more drafter; `state` is the spec's from now on, also when this fails. */
lar_status lar_spec_add(lar_spec *s, const lar_drafter_def *def, void *state, lar_err *e);

/* A draft model: `net` (which must outlive it) in an engine of its own. The first n_vocab tokens of
 * both models must mean the same; it drafts no others. Its context may be smaller than the text:
 * there it ends its drafts. */
lar_status lar_spec_add_model(lar_spec *s, lar_net *net, const lar_cpu_variant *variant,
                              lar_pool *pool, const lar_engine_options *opts, int n_vocab,
                              lar_err *e);
lar_engine *lar_spec_engine(const lar_spec *s); /* of the draft model; NULL: none */

/* An answer begins; its figures are zero. LAR_ENOTFOUND when `only` is not there, no other error.
 */
lar_status lar_spec_begin(lar_spec *s, const lar_spec_options *o, lar_err *e);
void lar_spec_end(lar_spec *s); /* frees what only an answer needs */
/* Draft at most `most` tokens into out; 0: a single-token step is the best. Never fails: a drafter
 * that does is left alone until the next answer, and lar_spec_fault says why. */
int lar_spec_draft(lar_spec *s, const lar_spec_text *t, int most, int32_t *out);
/* Every step of the answer, of one token and n drafted ones (fewer than were drafted, if the caller
 * cut them), took so long. */
void lar_spec_step(lar_spec *s, int n, double seconds);
/* How the last draft ended: so many were accepted, and the next was refused or never looked at. */
void lar_spec_judge(lar_spec *s, int accepted, bool refused);

int lar_spec_count(const lar_spec *s);
lar_spec_figures lar_spec_get(const lar_spec *s, int i);
const char *lar_spec_fault(const lar_spec *s); /* NULL: none in this answer */

#endif
