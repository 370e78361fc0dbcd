#!/usr/bin/env python3
"""Writes src/quant/grids.c: the codebooks of IQ1, IQ2 and IQ3, which are part of these formats.

They are taken from gguf.quants (Python package gguf 0.19.0). clang-format the result.
"""
import pathlib

from gguf import quants

# Bits of a code, and how GRID macros spread them.
GRIDS = {"iq1": (quants.IQ1_S, 2), "iq2_xxs": (quants.IQ2_XXS, 2), "iq2_xs": (quants.IQ2_XS, 2),
         "iq2_s": (quants.IQ2_S, 2), "iq3_xxs": (quants.IQ3_XXS, 4), "iq3_s": (quants.IQ3_S, 4)}
HEAD = """/*
 * grids.c - the codebooks of IQ1, IQ2 and IQ3, made by tools/grids.py. Eight (IQ3: four) weights choose an
 * entry; here it has two (IQ3: four) bits for each of them, the first the lowest: the number of the
 * weight's size, for IQ1 its value + 1. Spread as grid.h says. Depends on quant/grid.h.
 *
 * Source: ggml (ggml-common.h), by way of the gguf Python package.
 */
#include "quant/grid.h"

#ifdef LAR_VARIANT_generic
#define B2(c, i, to) ((((uint32_t)(c) >> 2 * (i)) & 3) << (to))
#define B4(c, i) ((((uint32_t)(c) >> 4 * (i)) & 15) << 8 * (i))
#define EIGHT(c)                                                                                   \\
    (B2(c, 0, 0) | B2(c, 1, 8) | B2(c, 2, 16) | B2(c, 3, 24) | B2(c, 4, 4) | B2(c, 5, 12) |          \\
     B2(c, 6, 20) | B2(c, 7, 28))
#define FOUR(c) (B4(c, 0) | B4(c, 1) | B4(c, 2) | B4(c, 3))
#define ROW(G, a, b, c, d, e, f, g, h) G(a), G(b), G(c), G(d), G(e), G(f), G(g), G(h)
"""


def main():
    out = [HEAD]
    for name, (cls, bits) in GRIDS.items():
        cls.init_grid()
        number = {v: i for i, v in enumerate(cls.grid_map)}
        codes = [sum(number[int(v)] << bits * i for i, v in enumerate(row)) for row in cls.grid.reshape(cls.grid_shape)]
        macro = "FOUR" if bits == 4 else "EIGHT"
        out.append(f"const uint32_t lar__grid_{name}[{len(codes)}] = {{")
        for i in range(0, len(codes), 8):
            out.append(f"    ROW({macro}, " + ", ".join(f"0x{c:04x}" for c in codes[i: i + 8]) + "),")
        out.append("};")
    out.append("#endif")
    path = pathlib.Path(__file__).resolve().parents[1] / "src/quant/grids.c"
    path.write_text("\n".join(out) + "\n")


main()
