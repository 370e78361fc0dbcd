"""llama.cpp's own quantizers and dequantizers by ctypes: the second oracle for block formats.

Needs the folder with libggml-base (llama-cpp-python installs it as llama_cpp/lib) in $GGML_LIB.
"""
import ctypes
import os
import pathlib

import numpy as np


class Traits(ctypes.Structure):
    _fields_ = [("type_name", ctypes.c_char_p), ("block_elements", ctypes.c_int64), ("interleave", ctypes.c_int64),
                ("block_bytes", ctypes.c_size_t), ("is_quantized", ctypes.c_bool),
                ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
                ("from_float_ref", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64))]


def library():
    folder = os.environ.get("GGML_LIB")
    if not folder:
        return None
    lib = ctypes.CDLL(str(next(p for p in pathlib.Path(folder).iterdir() if p.name.startswith("libggml-base"))))
    lib.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64,
                                        ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    return lib


def dequantize(lib, ggml_type, blocks, n):
    t = lib.ggml_get_type_traits(int(ggml_type)).contents
    out = np.empty(n, dtype=np.float32)
    src = np.ascontiguousarray(blocks)
    t.to_float(src.ctypes.data, out.ctypes.data, n)
    return out


def quantize(lib, ggml_type, w):
    """Rows of F32 to bytes [rows, bytes per row]."""
    t = lib.ggml_get_type_traits(int(ggml_type)).contents
    rows, cols = w.shape
    out = np.empty((rows, cols // t.block_elements * t.block_bytes), dtype=np.uint8)
    w = np.ascontiguousarray(w, dtype=np.float32)
    n = lib.ggml_quantize_chunk(int(ggml_type), w.ctypes.data, out.ctypes.data, 0, rows, cols, None)
    assert n == out.nbytes, (n, out.nbytes)
    return out
