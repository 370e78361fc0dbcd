#!/usr/bin/env python3
"""How close LAR and llama-cpp-python come to an F32 evaluation of a real model's dequantized weights.

Sides, each run by the Python that has what it needs, leave their numbers in one folder (--work); `report`
compares them. Weights and text are arguments; nothing is fetched.

    PY_PEER  parity.py peer   --model FILE... --text prose.txt --work DIR     (llama_cpp, numpy; also makes ids.json)
    PY_TORCH parity.py truth  --model FILE... --work DIR                      (torch, transformers, gguf)
    PY_TORCH parity.py rules  --model FILE... --work DIR                      (the same by LAR's rules, imitated)
    PY_ANY   parity.py lar    --model FILE... --work DIR --lar ./lar [-- more arguments for lar]   (numpy)
    PY_ANY   parity.py report --work DIR [--json OUT]                         (numpy)

FILE... may be the parts of one model in order. Measured, on token ids common to all sides:
  kl      mean KL(truth || side) over N_KL teacher-forced positions of the text: limit 1.1 x the peer's
  ppl     perplexity over the whole text in chunks of 512, BOS first where the file asks for it, every position but
          the first scored: within 0.5 % of the peer's
  greedy  20 continuations of 64 tokens: where a side leaves the truth's text, the truth's top logit less that of
          the token taken instead is below 0.5 in at least 90 % of them
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

N_KL, CHUNK, N_GREEDY, TOP = 640, 512, 64, 256
PROMPTS = [
    "The capital of France is", "Water boils at", "Once upon a time, in a small village by the sea,",
    "The three most important inventions of the nineteenth century were", "def fibonacci(n):\n",
    "Dear Sir,\n\nI am writing to you about", "To make a good cup of tea, first", "In 1969, astronauts",
    "The difference between a cat and a dog is that", "Le soleil se lève à l'est et",
]


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def model_path(args):
    """The one file, or the parts joined once in the work folder."""
    if len(args.model) == 1:
        return args.model[0]
    whole = args.work / "model.gguf"
    if not whole.exists():
        with open(whole.with_suffix(".part"), "wb") as out:
            for part in args.model:
                out.write(pathlib.Path(part).read_bytes())
        whole.with_suffix(".part").rename(whole)
    return str(whole)


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def nll(logits, ids):
    """-log p of each token but the first, given those before it."""
    out = []
    for i in range(0, len(ids) - 1, 32):
        rows = log_softmax(logits[i: min(i + 32, len(ids) - 1)])
        out += [-rows[j, ids[i + 1 + j]] for j in range(len(rows))]
    return out


def start_text(text, n):
    """The beginning of the n-th of ten parts of the text, from a capital letter, about 200 characters."""
    part = text[len(text) * n // 10:]
    part = part[part.index(". ") + 2:].lstrip()
    return " ".join(part[:240].split()[:-1])


def load_ids(args):
    return json.loads((args.work / "ids.json").read_text())


def measure(args, side, ids, logits, greedy, **more):
    """Runs one side: logits(ids) -> [n, n_vocab], greedy(i, prompt) -> list. Rows for KL go to a .npy, the rest to
    a .json, each as soon as it is known."""
    t = time.monotonic()
    kl = np.array(logits(ids["kl"])[: len(ids["kl"])], dtype=np.float32)
    np.save(args.work / f"{side}.npy", kl)
    told = dict(nll=[], greedy=[], **more)
    for i, c in enumerate(ids["chunks"]):
        told["nll"].append(float(np.sum(nll(logits(c), c))))
        print(f"{side}: chunk {i + 1}/{len(ids['chunks'])}, {told['nll'][-1] / (len(c) - 1):.4f}", file=sys.stderr)
    for i, p in enumerate(ids["prompts"]):
        told["greedy"].append(greedy(i, p))
        print(f"{side}: continuation {i + 1}/{len(ids['prompts'])}", file=sys.stderr)
    told["seconds"] = time.monotonic() - t
    (args.work / f"{side}.json").write_text(json.dumps(told))


# --- the peer ---

def peer(args):
    import llama_cpp

    m = llama_cpp.Llama(model_path(args), n_ctx=1024, n_batch=512, logits_all=True, verbose=False)
    text = pathlib.Path(args.text).read_text()
    bos = [m.token_bos()] if m.metadata.get("tokenizer.ggml.add_bos_token", "true") == "true" else []
    tokens = m.tokenize(text.encode(), add_bos=False, special=False)
    n = CHUNK - len(bos)
    at = len(tokens) // 2
    texts = PROMPTS + [start_text(text, i) for i in range(20 - len(PROMPTS))]
    ids = dict(
        model=pathlib.Path(args.model[0]).name, sha256=digest(model_path(args)),
        text_sha256=hashlib.sha256(text.encode()).hexdigest(), bos=bos,
        kl=bos + tokens[at: at + N_KL - len(bos)], chunks=[bos + tokens[i: i + n] for i in range(0, len(tokens), n)],
        texts=texts, prompts=[bos + m.tokenize(t.encode(), add_bos=False, special=False) for t in texts])
    (args.work / "ids.json").write_text(json.dumps(ids))

    def logits(seq):
        m.reset()
        m.eval(seq)
        return m.scores[: len(seq)]

    def greedy(_, prompt):
        row, out = logits(prompt)[len(prompt) - 1], []
        while True:
            out.append(int(np.argmax(row)))
            if len(out) == N_GREEDY:
                return out
            m.eval(out[-1:])
            row = m.scores[m.n_tokens - 1]

    measure(args, "peer", ids, logits, greedy, version=llama_cpp.__version__)


# --- the truth ---

def truth(args):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "goldens"))
    import gguf_model
    import torch
    import numerics
    from gguf_model import transformers

    transformers.logging.set_verbosity_error()
    own, path, ids = args.what == "truth", model_path(args), load_ids(args)
    model = gguf_model.load(path) if own else numerics.load(path, "f16")

    @torch.no_grad()
    def greedy(_, prompt):
        cache, feed, out = None, prompt, []
        while len(out) < N_GREEDY:
            r = model(torch.tensor([feed]), past_key_values=cache, use_cache=True)
            cache = r.past_key_values
            top = torch.topk(r.logits[0, -1], TOP)
            out.append(dict(ids=top.indices.tolist(), logits=top.values.tolist()))
            feed = out[-1]["ids"][:1]
        return out if own else [step["ids"][0] for step in out]

    measure(args, args.what, ids, lambda s: gguf_model.logits(model, s), greedy, version=transformers.__version__)


# --- LAR, through its command ---

def lar(args):
    path, ids = model_path(args), load_ids(args)
    n_vocab = np.load(args.work / "truth.npy", mmap_mode="r").shape[1]

    def run(*a):
        r = subprocess.run([args.lar, *a, *args.more], capture_output=True, check=False)
        if r.returncode:
            sys.exit(f"{args.lar} {' '.join(a)}: {r.stderr.decode()[-2000:]}")
        return r.stdout.decode()

    for text, want in zip(ids["texts"], ids["prompts"]):
        r = subprocess.run([args.lar, "tokenize", "-m", path], input=text.encode(), capture_output=True, check=True)
        got = [int(t) for t in r.stdout.split()]
        if got != want:
            sys.exit(f"tokens of {text!r}: lar gives {got}, the peer {want}")

    with tempfile.TemporaryDirectory(dir=args.work) as tmp:
        feed, rows = pathlib.Path(tmp) / "ids.txt", pathlib.Path(tmp) / "logits.f32"

        def logits(seq):
            feed.write_text(" ".join(map(str, seq)) + "\n")
            run("logits", "-m", path, "--ids", "@" + str(feed), "--all", "--out", str(rows))
            return np.fromfile(rows, dtype="<f4").reshape(len(seq), n_vocab)

        def greedy(i, _):
            r = json.loads(run("run", "-m", path, "-p", ids["texts"][i], "-n", str(N_GREEDY), "--temp", "0", "--raw",
                               "--ignore-eos", "--json"))
            return r["tokens"]

        measure(args, args.side, ids, logits, greedy)


# --- the comparison ---

def divergence(a, b):
    kl = []
    for i in range(0, len(a), 16):
        p, q = log_softmax(a[i: i + 16]), log_softmax(b[i: i + 16])
        kl += list((np.exp(p) * (p - q)).sum(axis=-1))
    top = float((np.argmax(a, axis=-1) == np.argmax(b, axis=-1)).mean())
    return dict(mean=float(np.mean(kl)), median=float(np.median(kl)), max=float(np.max(kl)), same_top=top, n=len(kl))


def continuations(want, got):
    """Margins at the first token where a continuation leaves the truth's; none where it never does."""
    margins = []
    for w, g in zip(want, got):
        step = next((k for k, t in enumerate(g) if t != w[k]["ids"][0]), None)
        if step is None:
            continue
        w, t = w[step], g[step]
        at = w["ids"].index(t) if t in w["ids"] else -1
        margins.append(round(w["logits"][0] - w["logits"][at], 4))
    good = len(want) - sum(m >= 0.5 for m in margins)
    return dict(n=len(want), same=len(want) - len(margins), margins=margins, within=good / len(want))


def report(args):
    ids = load_ids(args)
    n_scored = sum(len(c) - 1 for c in ids["chunks"])
    sides = [p.stem for p in sorted(args.work.glob("*.npy")) if p.stem != "truth" and p.with_suffix(".json").exists()]
    base = np.load(args.work / "truth.npy", mmap_mode="r")
    told = {s: json.loads((args.work / f"{s}.json").read_text()) for s in ["truth", *sides]}
    out = dict(model=ids["model"], sha256=ids["sha256"], text_sha256=ids["text_sha256"], scored=n_scored,
               ppl={s: float(np.exp(np.sum(told[s]["nll"]) / n_scored)) for s in told}, kl={}, greedy={}, passed={})
    for s in sides:
        out["kl"][s] = divergence(base, np.load(args.work / f"{s}.npy", mmap_mode="r"))
        out["greedy"][s] = continuations(told["truth"]["greedy"], told[s]["greedy"])
    print(f"{ids['model']}: {n_scored} tokens scored, perplexity of the truth {out['ppl']['truth']:.4f}")
    print(f"{'':10} {'mean KL':>10} {'median':>10} {'max':>9} {'same top':>9} {'ppl':>9} {'vs truth':>9} "
          f"{'greedy same':>12} {'margin<0.5':>11} {'worst':>7}")
    for s in sides:
        k, g, p = out["kl"][s], out["greedy"][s], out["ppl"][s]
        print(f"{s:10} {k['mean']:10.6f} {k['median']:10.6f} {k['max']:9.5f} {k['same_top']:9.2%} {p:9.4f} "
              f"{p / out['ppl']['truth'] - 1:+9.3%} {g['same']:9d}/{g['n']} {g['within']:11.0%} "
              f"{max(g['margins'], default=0):7.3f}")
        if s not in ("peer", "rules") and "peer" in sides:
            out["passed"][s] = dict(kl=k["mean"] <= 1.1 * out["kl"]["peer"]["mean"],
                                    ppl=abs(p / out["ppl"]["peer"] - 1) <= 0.005, greedy=g["within"] >= 0.9)
            print(f"{s}: KL {k['mean'] / out['kl']['peer']['mean']:.3f} x the peer's, perplexity "
                  f"{p / out['ppl']['peer'] - 1:+.3%} of the peer's: {out['passed'][s]}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(out, indent=1) + "\n")
    return 0 if all(all(v.values()) for v in out["passed"].values()) else 1


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("what", choices=["peer", "truth", "rules", "lar", "report"])
    a.add_argument("--model", nargs="+")
    a.add_argument("--text")
    a.add_argument("--work", type=pathlib.Path, required=True)
    a.add_argument("--lar", default="./lar")
    a.add_argument("--side", default="lar", help="name under which lar's numbers are kept")
    a.add_argument("--json")
    own, more = sys.argv[1:], []
    if "--" in own:
        own, more = own[: own.index("--")], own[own.index("--") + 1:]
    args = a.parse_args(own)
    args.more = more
    args.work.mkdir(parents=True, exist_ok=True)
    return dict(peer=peer, truth=truth, rules=truth, lar=lar, report=report)[args.what](args)


if __name__ == "__main__":
    sys.exit(main())
