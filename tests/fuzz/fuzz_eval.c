/*
 * fuzz_eval.c - any texts as a description of an evaluation, its data, and an answer: loading ends
 * in a status, and items that were taken can be asked and scored. Depends on tasks/eval.h.
 *
 * Input: a description, a line "---", lines of data, a line "---", an answer.
 */
#include "files.h"
#include "tasks/eval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void score(const lar_eval_desc *d, const lar_eval_item *it, lar_str answer, lar_err *e)
{
    bool right, found;
    if (it->choices) {
        const int n = (int)json_array_size(it->choices);
        const int k = lar__eval_letter(d, answer, n);
        check(it->gold >= 0 && it->gold < n && k >= -1 && k < n);
    }
    if (it->answers)
        lar__eval_exact(d, answer, it->answers, &right, &found, e);
    if (d->metric == LAR_EVAL_RUBRIC) {
        const json_t *rubrics = lar__eval_at(it->row, d->f_rubrics);
        int *said = calloc(json_array_size(rubrics) + 1, sizeof *said);
        double points;
        check(said != NULL);
        lar__eval_points(rubrics, said, &points);
        free(said);
    }
}

static void ask(const lar_eval_desc *d, const lar_eval_data *data, lar_str answer)
{
    lar_err e = {0};
    lar_buf b = {0};
    for (size_t i = 0; i < LAR_MIN(data->n, (size_t)8); i++) {
        const lar_eval_item *it = &data->item[i];
        check(it->row && it->id && it->subject < data->n_subjects);
        score(d, it, answer, &e);
        const bool ll = d->metric == LAR_EVAL_LOGLIK;
        if (d->metric == LAR_EVAL_RUBRIC || !(ll ? d->ll_prompt : d->gen_prompt))
            continue;
        lar_buf_clear(&b);
        lar__eval_prompt(d, data, it, data, LAR_MIN(ll ? d->ll_shots : d->gen_shots, 2), ll, &b,
                         &e);
        for (int k = 0; ll && k < (int)json_array_size(it->choices); k++)
            lar__eval_choice(d, data, it, k, &b, &e);
    }
    lar_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    lar_str rest = {(const char *)data, n};
    lar_eval_desc d;
    lar_eval_data items;
    lar_err e = {0};
    bool met;
    fuzz_make_folder();
    fuzz_write("desc.json", fuzz_part(&rest));
    fuzz_write("data.jsonl", fuzz_part(&rest));
    const lar_str answer = {rest.p ? rest.p : "", rest.n};
    lar__eval_verdict(answer, &met);
    char desc[512];
    snprintf(desc, sizeof desc, "%s", fuzz_path("desc.json"));
    if (lar__eval_desc_load(desc, NULL, &d, &e) != LAR_OK) {
        check(e.msg[0] != 0);
        return 0;
    }
    if (lar__eval_data_load(&d, fuzz_path("data.jsonl"), 0, &items, &e) == LAR_OK) {
        ask(&d, &items, answer);
        lar__eval_data_free(&items);
    } else {
        check(e.msg[0] != 0);
    }
    lar__eval_desc_free(&d);
    return 0;
}
