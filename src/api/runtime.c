/* runtime.c - lar_runtime: threads, kernel variant, what this machine is. Depends on the variants
 * of ops. */
#include "api/api.h"
#include "ops/variants.h"
#include "tasks/machine.h"
#include <string.h>

enum { MAX_THREADS = 1024 };

lar_status lar_runtime_new(const lar_runtime_options *opts, lar_runtime **out, lar_err *e)
{
    lar_runtime_options o;
    if (!out)
        return lar_fail(e, LAR_EARG, "lar_runtime_new: out is NULL");
    *out = NULL;
    LAR_TRY(lar__options(opts, &o, sizeof o, "lar_runtime_options", e));
    if (o.threads < 0 || o.threads > MAX_THREADS)
        return lar_fail(e, LAR_EARG, "threads: got %d, want 0 (all cores) to %d", o.threads,
                        MAX_THREADS);
    lar_runtime *rt = lar_alloc(sizeof *rt);
    if (!rt)
        return lar_fail(e, LAR_ENOMEM, "out of memory for a runtime");
    atomic_init(&rt->refs, 1);
    rt->log = (lar_log){o.log, o.log_user};
    const char *cpu = o.cpu && o.cpu[0] ? o.cpu : lar_getenv("LAR_CPU");
    lar_status s = lar_cpu_choose(lar_variants, lar_n_variants, cpu, &rt->variant, e);
    int threads = o.threads ? o.threads : LAR_MAX(lar_cpu_count(), 1);
    if (s == LAR_OK)
        s = lar_pool_new(LAR_MIN(threads, MAX_THREADS), &rt->pool, e);
    if (s != LAR_OK) {
        lar_runtime_free(rt);
        return s;
    }
    if (lar_pool_threads(rt->pool) < threads)
        lar_log_put(&rt->log, LAR_LOG_WARN, "%d threads wanted, the system gave %d", threads,
                    lar_pool_threads(rt->pool));
    lar_log_put(&rt->log, LAR_LOG_INFO, "kernels: %s, threads: %d", rt->variant->name,
                lar_pool_threads(rt->pool));
    *out = rt;
    return LAR_OK;
}

void lar_runtime_free(lar_runtime *rt)
{
    if (!rt || !lar__unref(&rt->refs))
        return;
    lar_pool_free(rt->pool);
    lar_free(rt);
}

static json_t *features(const lar_cpu_features *f, bool *bad)
{
    const struct {
        const char *name;
        bool has;
    } list[] = {
        {"avx2", f->avx2},
        {"fma", f->fma},
        {"f16c", f->f16c},
        {"avx512", f->avx512},
        {"avx512_vnni", f->avx512_vnni},
        {"avx512_bf16", f->avx512_bf16},
        {"avx_vnni", f->avx_vnni},
        {"amx_int8", f->amx_int8},
        {"neon", f->neon},
        {"dotprod", f->dotprod},
        {"i8mm", f->i8mm},
        {"sve", f->sve},
    };
    json_t *a = json_array();
    for (size_t i = 0; i < LAR_LEN(list); i++)
        if (list[i].has)
            lar_json_push(a, json_string(list[i].name), bad);
    return a;
}

static json_t *device(const lar_runtime *rt, const lar_cpu_features *f, bool *bad)
{
    json_t *d = json_object(), *all = json_array();
    lar_json_put(d, "name", json_string("cpu"), bad);
    lar_json_put(d, "description", lar_json_text(f->name, strnlen(f->name, sizeof f->name)), bad);
    lar_json_put(d, "threads", json_integer(lar_pool_threads(rt->pool)), bad);
    lar_json_push(all, d, bad);
    return all;
}

char *lar_runtime_info(lar_runtime *rt, int measure)
{
    if (!rt)
        return NULL;
    bool bad = false;
    lar_cpu_features f;
    lar_cpu_detect(&f);
    json_t *o = json_object(), *cpu = json_object(), *memory = json_object(),
           *variants = json_array();
    lar_json_put(cpu, "name", lar_json_text(f.name, strnlen(f.name, sizeof f.name)), &bad);
    lar_json_put(cpu, "features", features(&f, &bad), &bad);
    for (int i = 0; i < lar_n_variants; i++)
        if (lar_variants[i]->usable(&f))
            lar_json_push(variants, json_string(lar_variants[i]->name), &bad);
    lar_json_put(memory, "total", json_integer((json_int_t)lar_ram_total()), &bad);
    lar_json_put(memory, "available", json_integer((json_int_t)lar_ram_available()), &bad);
    lar_json_put(o, "version", json_string(LAR_VERSION), &bad);
    lar_json_put(o, "numerics", json_integer(LAR_NUMERICS), &bad);
    lar_json_put(o, "cpu", cpu, &bad);
    lar_json_put(o, "variants", variants, &bad);
    lar_json_put(o, "variant", json_string(rt->variant->name), &bad);
    lar_json_put(o, "threads", json_integer(lar_pool_threads(rt->pool)), &bad);
    lar_json_put(o, "memory", memory, &bad);
    if (measure) {
        const struct {
            const char *name;
            double speed;
        } list[] = {
            {"bandwidth_gb_s", lar_machine_read_speed(rt->pool, rt->variant)},
            {"peak_gmac_s", lar_machine_peak(rt->pool, rt->variant, true)},
            {"peak_float_gmac_s", lar_machine_peak(rt->pool, rt->variant, false)},
        };
        for (size_t i = 0; i < LAR_LEN(list); i++)
            lar_json_put(o, list[i].name, json_real(list[i].speed * 1e-9), &bad);
    }
    lar_json_put(o, "devices", device(rt, &f, &bad), &bad);
    return lar__json_take(o, bad);
}
