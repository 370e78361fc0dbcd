#!/usr/bin/env python3
"""Writes tests/data/tiny.gguf and tiny_mix.gguf, the canonical tiny models, with goldens beside them.

The truth is the F32 evaluation of the dequantized weights; beside it lies what LAR's rules for quantized weights
should give (numerics.py). Needs $GGML_LIB (see ggml.py), whose quantizers make the blocks, with fixed results.
Usage: tiny.py [OUT_FOLDER]. Formats in tests/data/README.md.
"""
import hashlib
import pathlib
import sys

import gguf
import numpy as np
import torch

import ggml
import gguf_model
import models
import numerics
from gguf_model import transformers

T = gguf.GGMLQuantizationType
VOCAB = 320
CONFIG = dict(hidden_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=2048, rms_norm_eps=1e-5, tie_word_embeddings=True, rope_theta=100000.0)
MIX = {  # blk.LAYER.NAME: every format at least once
    "0.attn_q": T.Q4_0, "0.attn_k": T.F16, "0.attn_v": T.BF16, "0.attn_output": T.Q5_0,
    "0.ffn_gate": T.Q4_K, "0.ffn_up": T.Q5_K, "0.ffn_down": T.Q6_K,
    "1.attn_q": T.Q2_K, "1.attn_k": T.F32, "1.attn_v": T.Q8_0, "1.attn_output": T.Q3_K,
    "1.ffn_gate": T.IQ4_XS, "1.ffn_up": T.Q5_1, "1.ffn_down": T.IQ4_NL,
}


def usual(name):
    return T.Q8_0 if name == "token_embd.weight" else T.Q4_1


def mixed(name):
    return T.Q4_1 if name == "token_embd.weight" else MIX[name.removeprefix("blk.").removesuffix(".weight")]


FILES = {"tiny": (512, usual, gguf.LlamaFileType.MOSTLY_Q4_1), "tiny_mix": (256, mixed, gguf.LlamaFileType.GUESSED)}


def main():
    lib = ggml.library()
    assert lib, "set GGML_LIB to the folder that holds libggml-base"
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data")
    for i, (name, (ff, kind, file_type)) in enumerate(FILES.items()):
        spec, types = dict(arch="llama", config=dict(CONFIG, intermediate_size=ff)), {}

        def encode(tensor, a):
            t = types[tensor] = kind(tensor) if a.ndim == 2 else T.F32
            return None if t == T.F32 else (ggml.quantize(lib, t, a), t)

        model = models.randomize(models.build(spec, VOCAB), 2000 + i)
        path = out / f"{name}.gguf"
        models.write_gguf(path, model, spec, name, VOCAB, encode, file_type)
        ids = models.ids_for(2100 + i, VOCAB, 64)
        again = gguf_model.load(str(path))
        truth = gguf_model.logits(again, ids)
        fine = gguf_model.distance(gguf_model.logits(again.double(), ids), truth)
        (out / f"{name}.logits").write_bytes(truth.astype("<f4").tobytes())
        rules = gguf_model.logits(numerics.load(str(path), "f32").double(), ids)
        (out / f"{name}.rules.logits").write_bytes(rules.astype("<f4").tobytes())
        other = gguf_model.logits(numerics.load(str(path), "f32"), ids)
        off = np.abs(other - rules).max(axis=1) / truth.std()
        models.dump(out / f"{name}.json", dict(
            file=f"{name}.gguf", sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            logits_file=f"{name}.logits", n_vocab=VOCAB, n_tokens=len(ids), ids=ids,
            std=float(truth.std(dtype="f8")), own_error=fine,
            rules=dict(logits_file=f"{name}.rules.logits", kv="f32", distance=gguf_model.distance(rules, truth),
                       steady=int((off <= 1e-4).sum()), own_error=float(off.max())),
            made_by=models.provenance("tiny.py"), types={k: t.name for k, t in types.items()}))
        print(f"{name}: {path.stat().st_size} bytes, F64 within {fine:.1e} std, rules: {(off <= 1e-4).sum()} steady")


if __name__ == "__main__":
    main()
