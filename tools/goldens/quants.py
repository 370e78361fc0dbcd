#!/usr/bin/env python3
"""Writes tests/data/quants: random blocks of every format and what they dequantize to.

The values are gguf.quants.dequantize's; with $GGML_LIB set, llama.cpp's to_float is compared and must agree.
Scales are finite F16 of every size, both signs, zero, subnormal and the largest; some blocks are all 00 or FF
otherwise. Usage: quants.py [OUT_FOLDER]. Formats in tests/data/README.md.
"""
import json
import pathlib
import sys

import gguf
import numpy as np
from gguf.quants import dequantize

import ggml

T = gguf.GGMLQuantizationType
# Byte offsets of the F16 scales in a block, from ggml's ggml-common.h.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0], T.MXFP4: [],
          T.IQ1_S: [0], T.IQ1_M: [], T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0],
          T.TQ1_0: [52], T.TQ2_0: [64]}
EDGES = np.array([0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00], dtype=np.uint16)


def finite16(rng, n, exponent_mask):
    v = rng.integers(0, 1 << 16, n, dtype=np.uint16)
    return np.where((v & exponent_mask) == exponent_mask, v & ~np.uint16(exponent_mask), v)


def blocks_of(rng, t, n, size):
    if t in (T.F16, T.BF16):
        v = finite16(rng, n, 0x7C00 if t == T.F16 else 0x7F80)
        v[: len(EDGES)] = EDGES if t == T.F16 else [0, 0x8000, 1, 0x807F, 0x0080, 0x7F7F, 0xFF7F, 0x3F80]
        return v.view(np.uint8).reshape(n, size)
    b = rng.integers(0, 256, (n, size), dtype=np.uint8)
    b[1], b[2] = 0, 255
    if t == T.MXFP4:  # exponents: the subnormal ones, and none that gives infinities
        b[:, 0] = rng.integers(0, 252, n)
        b[1:6, 0] = 0, 1, 2, 251, 127
    if t == T.IQ1_M:  # its F16 lies in four places; the second byte has the highest bits of the exponent
        b[:, 55] &= 0xBF
    for at in SCALES[t]:
        scale = finite16(rng, n, 0x7C00)
        usual = rng.normal(0, 0.02, n).astype(np.float16).view(np.uint16)
        scale = np.where(rng.random(n) < 0.5, usual, scale)
        scale[1:3] = 0x3C00
        k = rng.permutation(len(EDGES))[: max(0, min(len(EDGES), n - 4))]
        scale[3: 3 + len(k)] = EDGES[k]
        b[:, at: at + 2] = scale.astype("<u2").view(np.uint8).reshape(n, 2)
    return b


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/quants")
    out.mkdir(parents=True, exist_ok=True)
    lib, index = ggml.library(), []
    for t in (T.F16, T.BF16, *SCALES):
        rng = np.random.default_rng(int(t))
        per, size = gguf.GGML_QUANT_SIZES[t]
        n = 512 if per == 1 else 32 if per == 32 else 12
        blocks = blocks_of(rng, t, n, size)
        with np.errstate(over="ignore"):
            y = np.array(dequantize(blocks.reshape(-1) if per > 1 else blocks.view("<f2" if t == T.F16 else np.uint8)
                                    .reshape(-1), t), dtype=np.float32).reshape(-1)
        assert y.size == n * per and np.isfinite(y).all(), t
        if lib:
            other = ggml.dequantize(lib, t, blocks, n * per)
            differ = y.view(np.uint32) != other.view(np.uint32)
            ulp = np.abs(y[differ] - other[differ]) / np.spacing(np.abs(y[differ])) if differ.any() else [0]
            print(f"{t.name}: {n} blocks, {int(differ.sum())} of {y.size} values differ from llama.cpp's, "
                  f"at most {float(np.max(ulp)):.2g} ulp")
        (out / f"{t.name}.bin").write_bytes(blocks.tobytes() + y.astype("<f4").tobytes())
        index.append(dict(type=t.name, ggml_type=int(t), file=f"{t.name}.bin", block_elements=per, block_bytes=size,
                          n_blocks=n))
    (out / "index.json").write_text(
        '{"formats": [\n ' + ",\n ".join(json.dumps(f) for f in index) + "\n]}\n")


if __name__ == "__main__":
    main()
