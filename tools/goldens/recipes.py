#!/usr/bin/env python3
"""tests/data/recipes.json: which type llama.cpp's quantizer gives each tensor of made-up models, by recipe.

Needs llama-cpp-python, gguf, numpy. Models are named tensors of noise, as large as a shape's rules need;
"NAME+" is the recipe with an importance matrix. Types are letters; see "types".
"""
import ctypes
import json
import pathlib
import re
import tempfile
import gguf
import llama_cpp.llama_cpp as L
import numpy as np

rng = np.random.default_rng(5)
E = 256
RECIPES = ("Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K F16 BF16 "
           "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS IQ3_XS IQ3_S IQ3_M IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4_MOE").split()
MODELS = [
    dict(arch="llama", layers=20, kv=1),
    dict(arch="llama", layers=17, kv=4, head=False),
    dict(arch="llama", layers=9, kv=2, embd=288, ff=160, vocab=40),
    dict(arch="llama", layers=16, kv=1, experts=8),
    dict(arch="qwen2moe", layers=18, kv=4, experts=4, shared=True),
    dict(arch="phi3", layers=24, kv=2, qkv=True),
    dict(arch="falcon", layers=32, kv=1, qkv=True, gate=False),
    dict(arch="llama", layers=80, heads=8, kv=1),
]


def tensors(arch, layers, kv, heads=4, embd=E, ff=E, vocab=64, head=True, experts=0, shared=False, qkv=False, gate=True):
    hd = embd // heads
    out = {"token_embd.weight": (vocab, embd), "output_norm.weight": (embd,)}
    for l in range(layers):
        b = f"blk.{l}."
        out[b + "attn_norm.weight"] = (embd,)
        if qkv:
            out[b + "attn_qkv.weight"] = ((heads + 2 * kv) * hd, embd)
        else:
            out |= {b + "attn_q.weight": (embd, embd), b + "attn_k.weight": (kv * hd, embd), b + "attn_v.weight": (kv * hd, embd)}
        out[b + "attn_output.weight"] = (embd, embd)
        parts = ([("_exps", (experts,)), ("_shexp", ())] if shared else [("_exps", (experts,))]) if experts else [("", ())]
        for name, outer in parts:
            if gate:
                out[b + f"ffn_gate{name}.weight"] = (*outer, ff, embd)
            out[b + f"ffn_up{name}.weight"] = (*outer, ff, embd)
            out[b + f"ffn_down{name}.weight"] = (*outer, embd, ff)
        if experts:
            out[b + "ffn_gate_inp.weight"] = (experts, embd)
    if head:
        out["output.weight"] = (vocab, embd)
    return out


def write(path, m, shapes):
    w = gguf.GGUFWriter(path, m["arch"])
    n = lambda key, v: w.add_uint32(m["arch"] + "." + key, v)
    n("block_count", m["layers"])
    n("context_length", 128)
    n("embedding_length", m.get("embd", E))
    n("feed_forward_length", m.get("ff", E))
    n("attention.head_count", m.get("heads", 4))
    n("attention.head_count_kv", m["kv"])
    n("vocab_size", m.get("vocab", 64))
    for key in ("rms_epsilon", "epsilon"):
        w.add_float32(f"{m['arch']}.attention.layer_norm_{key}", 1e-5)
    if m.get("experts"):
        n("expert_count", m["experts"])
        n("expert_used_count", 2)
    if m.get("shared"):
        n("expert_feed_forward_length", E)
        n("expert_shared_feed_forward_length", E)
    for name, s in shapes.items():
        x = rng.standard_normal(s[-2:] if len(s) > 2 else s, dtype=np.float32) / 16
        x = np.broadcast_to(x, s)
        w.add_tensor(name, np.ascontiguousarray(x, dtype=np.float16 if len(s) > 1 else np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def imatrix(shapes):
    keep, list_ = [], []
    for name, s in shapes.items():
        if len(s) > 1:
            x = (ctypes.c_float * (s[-1] * (s[0] if len(s) > 2 else 1)))(*[1.0] * (s[-1] * (s[0] if len(s) > 2 else 1)))
            keep.append(x)
            list_.append((name.encode(), ctypes.cast(x, ctypes.POINTER(ctypes.c_float)), len(x)))
    list_.append((None, None, 0))
    return (L.llama_model_imatrix_data * len(list_))(*list_), keep


said = []


@L.llama_log_callback
def listen(level, text, user):
    said.append(text.decode())


def main():
    L.llama_log_set(listen, None)
    letters, out = {}, []
    ftype = {k.rsplit("MOSTLY_", 1)[-1]: v for k, v in vars(L).items() if k.startswith("LLAMA_FTYPE")}
    with tempfile.TemporaryDirectory() as tmp:
        for m in MODELS:
            shapes = tensors(**m)
            src, dst = f"{tmp}/in.gguf", f"{tmp}/out.gguf"
            write(src, m, shapes)
            matrix, keep = imatrix(shapes)
            types = {}
            for r in RECIPES:
                for plus in ("", "+"):
                    p = L.llama_model_quantize_default_params()
                    p.nthread, p.ftype, p.dry_run = 1, ftype[r], True
                    p.imatrix = matrix if plus else None
                    said.clear()
                    if L.llama_model_quantize(src.encode(), dst.encode(), ctypes.byref(p)):
                        raise SystemExit("".join(said)[-500:])
                    got = {}
                    for line in "".join(said).splitlines():
                        tensor = re.match(r"\[ *\d+/ *\d+\] +(\S+) .*type = +(\w+),.*?(?:\((\w+)\))?$", line)
                        if tensor:
                            got[tensor[1]] = (tensor[3] or tensor[2]).lower()
                    types[r + plus] = "".join(letters.setdefault(got[n], chr(97 + len(letters))) for n in shapes)
            model = {"arch": m["arch"], "layers": m["layers"], "experts": m.get("experts", 0),
                     "gqa": m.get("heads", 4) // m["kv"], "tensors": [[n, *s[::-1]] for n, s in shapes.items()], "recipes": types}
            out.append(model)
            print(m, len(types), flush=True)
    data = {"types": letters, "models": out}
    path = pathlib.Path(__file__).resolve().parents[2] / "tests/data/recipes.json"
    path.write_text(json.dumps(data, separators=(",", ":")).replace('},{"arch"', '},\n{"arch"') + "\n")


main()
