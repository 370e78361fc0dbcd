#!/usr/bin/env python3
"""tests/data/quants/quantize.bin: what gguf.quants makes of weights, for the formats whose quantizer is simple.

For each of Q4_0 Q4_1 Q5_0 Q5_1 Q8_0, in this order: 16 blocks of 32 F32 weights, then the blocks' bytes.
"""
import pathlib
import numpy as np
from gguf import quants, GGMLQuantizationType as T

rng = np.random.default_rng(20)
out = bytearray()
for t in (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0):
    x = rng.standard_normal((16, 32)).astype(np.float32)
    x *= np.exp(rng.uniform(-6, 3, (16, 1))).astype(np.float32)
    x[0] = 0
    x[1] = 0.25
    x[2, 5:] = 0
    x[3] = np.arange(32) / 2 - 8   # halves
    x[4] = -np.abs(x[4])
    x[5] *= 1e-6
    out += x.astype("<f4").tobytes() + quants.quantize(x, t).tobytes()
path = pathlib.Path(__file__).resolve().parents[2] / "tests/data/quants/quantize.bin"
path.write_bytes(out)
