"""llama_driver - one measurement of llama-cpp-python in a process of its own.

    python llama_driver.py JOB      JOB is a JSON object; one line of JSON comes out

It uses the package's C bindings only, so that nothing but llama_decode is between the clock's
two readings. Run by the Python of the peer's own environment; needs llama-cpp-python, nothing else.

Job: {"do": "speed" | "first" | "quantize", "model": FILE, "threads": N, "ctx": N, "batch": N,
"ubatch": N, "kv": "f16" | "q8_0" | ..., "flash": bool, "repack": bool} and
  speed     "prompts": [N...], "generate": N, "depth": N, "columns": N, "reps": N, "seconds": X
  first     "text": FILE with the rendered prompt
  quantize  "output": FILE, "type": a name such as Q4_K_M or Q8_0
"""
import ctypes
import importlib
import importlib.util
import json
import sys
import time
import types

start = time.perf_counter()


def fail(message):
    print(json.dumps({"error": message}))
    sys.exit(1)


def bindings():
    """The C bindings alone: the package's own start also reads templates and numpy, for which the
    peer would pay in every process."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None:
        fail("llama_cpp is not installed for this Python")
    package = types.ModuleType("llama_cpp")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["llama_cpp"] = package
    return importlib.import_module("llama_cpp.llama_cpp")


KV = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}
FTYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q4_K_M": 15,
          "Q5_K_M": 17, "Q6_K": 18, "BF16": 32}


ll = bindings()
imported = time.perf_counter()


def quiet():
    """No log but errors; the callback must outlive this function."""
    @ll.llama_log_callback
    def log(level, text, _user):
        if level >= 4:
            sys.stderr.write(text.decode("utf-8", "replace"))
    ll.llama_log_set(log, None)
    return log


def load(job, sequences=1):
    mp = ll.llama_model_default_params()
    mp.n_gpu_layers = 0
    if hasattr(mp, "use_extra_bufts"):  # weights interleaved for the kernels while loading
        mp.use_extra_bufts = job["repack"]
    model = ll.llama_model_load_from_file(job["model"].encode(), mp)
    if not model:
        fail("the model could not be loaded")
    cp = ll.llama_context_default_params()
    cp.n_ctx = job["ctx"]
    cp.n_batch = max(job["batch"], sequences)
    cp.n_ubatch = min(job["ubatch"], cp.n_batch)
    cp.n_seq_max = sequences
    cp.n_threads = cp.n_threads_batch = job["threads"]
    cp.type_k = cp.type_v = KV[job["kv"]]
    if hasattr(cp, "flash_attn_type"):
        cp.flash_attn_type = int(job["flash"])
    else:
        cp.flash_attn = job["flash"]
    cp.offload_kqv = False
    cp.no_perf = True
    if sequences > 1 and hasattr(cp, "kv_unified"):
        cp.kv_unified = job.get("unified", True)
    ctx = ll.llama_init_from_model(model, cp)
    if not ctx:
        fail("no context with these settings")
    return model, ctx


def clear(ctx):
    if hasattr(ll, "llama_memory_clear"):
        ll.llama_memory_clear(ll.llama_get_memory(ctx), False)
    else:
        ll.llama_kv_self_clear(ctx)


def decode(ctx, batch):
    rc = ll.llama_decode(ctx, batch)
    if rc != 0:
        fail("llama_decode gave %d" % rc)


def feed(ctx, tokens, at, n, step):
    """Evaluate tokens[at:at+n], `step` at a time; only the last of a batch has logits."""
    for i in range(at, at + n, step):
        m = min(step, at + n - i)
        part = (ll.llama_token * m)(*tokens[i:i + m])
        decode(ctx, ll.llama_batch_get_one(part, m))
    ll.llama_synchronize(ctx)


def repeat(job, once):
    """Rates of `reps` runs after one to warm up; short ones are repeated until `seconds` passed."""
    once()
    rates, total = [], 0.0
    while len(rates) < job["reps"] or (total < job.get("seconds", 0) and len(rates) < 200):
        n, t = once()
        rates.append(n / t)
        total += t
    return rates


def timed(n, run):
    t = time.perf_counter()
    run()
    return n, time.perf_counter() - t


def columns(job, tokens, out):
    """Batched decoding: one token of each of several sequences in a step, all with logits."""
    many, steps = job["columns"], 16
    model, ctx = load(dict(job, ctx=max(job["ctx"], many * 64)), many)
    batch = ll.llama_batch_init(many, 0, 1)

    def step(pos):
        batch.n_tokens = many
        for s in range(many):
            batch.token[s] = tokens[(s * 131 + pos) % len(tokens)]
            batch.pos[s] = pos
            batch.n_seq_id[s] = 1
            batch.seq_id[s][0] = s
            batch.logits[s] = 1
        decode(ctx, batch)

    def once():
        clear(ctx)
        for pos in range(16):
            step(pos)
        ll.llama_synchronize(ctx)

        def run():
            for pos in range(16, 16 + steps):
                step(pos)
            ll.llama_synchronize(ctx)
        return timed(many * steps, run)
    out["columns"] = repeat(job, once)
    ll.llama_batch_free(batch)
    ll.llama_free(ctx)
    ll.llama_model_free(model)


def speed(job):
    out = {}
    t = time.perf_counter()
    model, ctx = load(job)
    out["load_seconds"] = time.perf_counter() - t
    vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    tokens = [(i * 7919 + 17) % vocab for i in range(job["ctx"])]
    for n in job.get("prompts", []):
        def prompt(n=n):
            clear(ctx)
            return timed(n, lambda: feed(ctx, tokens, 0, n, job["batch"]))
        out["prompt %d" % n] = repeat(job, prompt)
    if job.get("generate"):
        def generate():
            clear(ctx)
            feed(ctx, tokens, 0, job["depth"], job["batch"])
            n = job["generate"]
            return timed(n, lambda: feed(ctx, tokens, job["depth"], n, 1))
        out["generate"] = repeat(job, generate)
    ll.llama_free(ctx)
    ll.llama_model_free(model)
    if job.get("columns"):
        columns(job, tokens, out)
    return out


def first(job):
    """Load, evaluate a text, print the likeliest token; the caller's clock runs outside."""
    model, ctx = load(job)
    vocab = ll.llama_model_get_vocab(model)
    with open(job["text"], "rb") as f:
        text = f.read()
    room = (ll.llama_token * job["ctx"])()
    n = ll.llama_tokenize(vocab, text, len(text), room, job["ctx"], bool(job.get("bos")), True)
    if n <= 0:
        fail("the prompt could not be tokenized")
    feed(ctx, list(room[:n]), 0, n, job["batch"])
    logits = ll.llama_get_logits_ith(ctx, -1)
    values = logits[:ll.llama_vocab_n_tokens(vocab)]
    best = values.index(max(values))
    return {"tokens": n, "first": best, "import_seconds": imported - start,
            "seconds": time.perf_counter() - start}


def quantize(job):
    params = ll.llama_model_quantize_default_params()
    params.nthread = job["threads"]
    params.ftype = FTYPES[job["type"]]
    params.allow_requantize = True
    rc = ll.llama_model_quantize(job["model"].encode(), job["output"].encode(),
                                 ctypes.byref(params))
    if rc != 0:
        fail("llama_model_quantize gave %d" % rc)
    return {"output": job["output"]}


def main():
    job = json.loads(sys.argv[1])
    keep = quiet()
    ll.llama_backend_init()
    result = {"speed": speed, "first": first, "quantize": quantize}[job["do"]](job)
    print(json.dumps(result), flush=True)
    ll.llama_backend_free()
    del keep


main()
