#!/usr/bin/env python3
"""Converts the folders of tests/data/hf and opens what comes out with llama-cpp-python.

Proves that `lar convert` writes files that other GGUF programs read as we do: for each family the peer's
logits (F32 weights and cache) are compared with transformers' golden ones, and the token ids of the golden
texts. (llama3's split pattern has no name there; these texts are split alike by the peer's default.) Usage: hf_peer.py --lar PROGRAM [--json FILE] [NAME...]. Exit status 1 when one differs.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

from tiny_peer import logits, mean_kl

MOST = 1e-4  # of the logits' standard deviation
LOOSE = {"gemma2": 5e-3, "gemma3": 5e-3}  # the peer looks GELU up in a table of F16


# Where the peer does not do what transformers does, and why: not opened.
OTHER = {"deepseek2": "it ranks V2's groups by the sum of two experts, not by the best",
         "deepseek2_lite": "it knows V2-Lite by its number of layers",
         "gpt_oss": "it rounds the ends of YaRN's ramp"}


def token_ids(path, texts):
    m = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return [m.tokenize(t.encode(), add_bos=True, special=False) for t in texts]


def compare(lar, folder, work):
    g = json.loads((folder / "golden.json").read_text())
    out, link = work / f"{folder.name}.gguf", work / "checkpoint"
    # The file's name is the folder's; the peer wants certain tokens in what is called phi3.
    link.unlink(missing_ok=True)
    link.symlink_to(folder.resolve())
    subprocess.run([lar, "convert", link, out, "--type", "f32", "--json"], check=True, stdout=subprocess.DEVNULL)
    truth = np.fromfile(folder / g["logits_file"], dtype="<f4").reshape(len(g["ids"]), g["n_vocab"])
    peer = logits(out, g["ids"])
    texts, want = zip(*g["texts"])
    same = sum(a == b for a, b in zip(token_ids(out, texts), want))
    return dict(name=folder.name, distance=float(np.abs(peer - truth).max() / truth.std()), kl=mean_kl(truth, peer),
                texts=len(texts), same_texts=same)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--lar", default="./lar")
    a.add_argument("--json")
    a.add_argument("names", nargs="*")
    a = a.parse_args()
    root = pathlib.Path("tests/data/hf")
    rows, bad = [], 0
    with tempfile.TemporaryDirectory() as tmp:
        for folder in [root / n for n in a.names] or sorted(p for p in root.iterdir() if p.is_dir()):
            if folder.name in OTHER:
                print(f"{folder.name:10} not compared: {OTHER[folder.name]}")
                continue
            try:
                r = compare(a.lar, folder, pathlib.Path(tmp))
            except ValueError as e:
                r = dict(name=folder.name, refused=str(e))
            rows.append(r)
            if "refused" in r:
                print(f"{r['name']:10} refused: {r['refused']}")
                bad += 1
                continue
            ok = r["distance"] <= LOOSE.get(r["name"], MOST) and r["same_texts"] == r["texts"]
            bad += not ok
            print(f"{r['name']:10} max |d| {r['distance']:.1e} std, KL {r['kl']:.1e}, "
                  f"texts {r['same_texts']}/{r['texts']}{'' if ok else '   DIFFERS'}")
    if a.json:
        pathlib.Path(a.json).write_text(json.dumps(dict(llama_cpp_python=llama_cpp.__version__, rows=rows), indent=1))
    print(f"{len(rows) - bad} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
