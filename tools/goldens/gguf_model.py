"""A transformers model in F32 from a GGUF file: the truth that goldens and parity runs compare with.

Architectures llama, qwen2, qwen3, gemma3. Weights are dequantized by gguf.quants; the q and k rows of
`llama` files, which the converter interleaves, are put back. Depends on gguf, numpy, torch, transformers.
"""
import math
import os
import sys

import gguf
import numpy as np
import torch
from gguf.quants import dequantize

# The tokenizers.py in this folder is not the package of that name, which transformers needs.
_path = sys.path
sys.path = [p for p in _path if os.path.realpath(p or ".") != os.path.dirname(os.path.realpath(__file__))]
import tokenizers  # noqa: E402, F401
import transformers  # noqa: E402
sys.path = _path

LAYER = {  # GGUF blk.N.* -> transformers model.layers.N.*
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GEMMA3_LAYER = dict(
    LAYER,
    ffn_norm="pre_feedforward_layernorm",
    post_attention_norm="post_attention_layernorm",
    post_ffw_norm="post_feedforward_layernorm",
)
TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def hf_name(arch, name):
    """The transformers name of a GGUF tensor, or None for one that is not a parameter there."""
    if name in TOP:
        return TOP[name]
    part = name.split(".")
    table = GEMMA3_LAYER if arch == "gemma3" else LAYER
    if len(part) == 4 and part[0] == "blk" and part[2] in table:
        return f"model.layers.{part[1]}.{table[part[2]]}.{part[3]}"
    return None


def permute(w, n_head):
    """Rotary pairs (i, i + d/2) to (2i, 2i + 1), as the converter stores llama's q and k rows."""
    return w.reshape(n_head, 2, w.shape[0] // n_head // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, n_head):
    return w.reshape(n_head, w.shape[0] // n_head // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


class File:
    """Metadata and dequantized tensors of one GGUF file."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.arch = self.get("general.architecture")

    def get(self, key, default=None):
        f = self.reader.fields.get(key.replace("{arch}", getattr(self, "arch", "")))
        return default if f is None else f.contents()

    def hp(self, key, default=None):
        return self.get("{arch}." + key, default)

    def tensors(self):
        for t in self.reader.tensors:
            yield t.name, np.array(dequantize(t.data, t.tensor_type), dtype=np.float32)


def rope_parameters(f, theta, scaled=True):
    p = {"rope_type": "default", "rope_theta": float(theta)}
    kind = f.hp("rope.scaling.type", "linear")
    factor = f.hp("rope.scaling.factor", f.hp("rope.scale_linear", 0.0)) or 1.0
    if not scaled or kind == "none" or (kind == "linear" and factor == 1.0):
        return p
    p.update(rope_type=kind, factor=float(factor))
    if kind == "yarn":
        p["original_max_position_embeddings"] = int(f.hp("rope.scaling.original_context_length"))
        p["beta_fast"] = float(f.hp("rope.scaling.yarn_beta_fast", 32.0))
        p["beta_slow"] = float(f.hp("rope.scaling.yarn_beta_slow", 1.0))
    return p


def config(f, n_vocab, names):
    heads, hidden = f.hp("attention.head_count"), f.hp("embedding_length")
    head_dim = f.hp("attention.key_length", hidden // heads)
    c = dict(
        vocab_size=n_vocab,
        hidden_size=hidden,
        intermediate_size=f.hp("feed_forward_length"),
        num_hidden_layers=f.hp("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=f.hp("attention.head_count_kv", heads),
        head_dim=head_dim,
        rms_norm_eps=f.hp("attention.layer_norm_rms_epsilon"),
        max_position_embeddings=f.hp("context_length"),
        tie_word_embeddings="output.weight" not in names,
        pad_token_id=None,
        attn_implementation="eager",
    )
    theta = f.hp("rope.freq_base", 10000.0)
    if f.arch == "llama":
        c.update(
            attention_bias="blk.0.attn_q.bias" in names,
            mlp_bias="blk.0.ffn_gate.bias" in names,
            rope_parameters=rope_parameters(f, theta),
        )
        return transformers.LlamaConfig(**c)
    if f.arch == "qwen2":
        return transformers.Qwen2Config(**c, rope_parameters=rope_parameters(f, theta))
    if f.arch == "qwen3":
        return transformers.Qwen3Config(**c, rope_parameters=rope_parameters(f, theta))
    assert f.arch == "gemma3", f.arch
    window = f.hp("attention.sliding_window", 0)
    period = f.hp("attention.sliding_window_pattern", 6) if window else 1
    n = c["num_hidden_layers"]
    # The 27B model alone (62 layers) scales by the width per head and not by the head's size.
    c.update(
        query_pre_attn_scalar=hidden // heads if n == 62 else head_dim,
        sliding_window=window or 1,
        layer_types=["sliding_attention" if (i + 1) % period else "full_attention" for i in range(n)],
        final_logit_softcapping=f.hp("final_logit_softcapping", 0.0) or None,
        rope_parameters={
            "full_attention": rope_parameters(f, f.hp("rope.freq_base", 1000000.0)),
            "sliding_attention": rope_parameters(f, f.hp("rope.freq_base_swa", 10000.0), scaled=False),
        },
    )
    return transformers.Gemma3TextConfig(**c)


MODELS = {
    "llama": transformers.LlamaForCausalLM,
    "qwen2": transformers.Qwen2ForCausalLM,
    "qwen3": transformers.Qwen3ForCausalLM,
    "gemma3": transformers.Gemma3ForCausalLM,
}


def load(path, interleaved=True, change_config=None):
    """The model of a GGUF file. interleaved=False reads llama's q and k as if never permuted."""
    f = File(path)
    names = {t.name: tuple(int(d) for d in t.shape) for t in f.reader.tensors}
    cfg = config(f, names["token_embd.weight"][1], names)
    if change_config:
        change_config(cfg)
    state, rope_freqs = {}, None
    for name, w in f.tensors():
        if name == "rope_freqs.weight":
            rope_freqs = torch.from_numpy(w)
            continue
        to = hf_name(f.arch, name)
        if to is None:
            continue
        if f.arch == "llama" and interleaved and (".attn_q." in name or ".attn_k." in name):
            w = unpermute(w, cfg.num_attention_heads if ".attn_q." in name else cfg.num_key_value_heads)
        if f.arch == "gemma3" and "norm" in name:
            w = w - np.float32(1)  # files hold the factor, transformers what is added to 1
        state[to] = torch.from_numpy(np.ascontiguousarray(w))
    if cfg.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = MODELS[f.arch](cfg).eval().to(torch.float32)
    missing, extra = model.load_state_dict(state, strict=False)
    assert not missing and not extra, (missing, extra)
    if rope_freqs is not None:
        model.model.rotary_emb.inv_freq = model.model.rotary_emb.inv_freq / rope_freqs
    return model


@torch.no_grad()
def logits(model, ids):
    """F32 logits [n_tokens, n_vocab] of one sequence from an empty cache."""
    return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def distance(a, truth):
    """max |difference| in units of the truth's standard deviation."""
    return float(np.abs(a.astype(np.float64) - truth).max() / truth.std(dtype=np.float64))


def llama3_factors(cfg, theta, dim):
    """What the converter stores as rope_freqs.weight for rope_type llama3 (divisors of the frequencies)."""
    low = cfg["original_max_position_embeddings"] / cfg["low_freq_factor"]
    high = cfg["original_max_position_embeddings"] / cfg["high_freq_factor"]
    out = []
    for i in range(0, dim, 2):
        wave = 2 * math.pi * theta ** (i / dim)
        if wave < high:
            out.append(1.0)
        elif wave > low:
            out.append(cfg["factor"])
        else:
            s = (cfg["original_max_position_embeddings"] / wave - cfg["low_freq_factor"]) / (
                cfg["high_freq_factor"] - cfg["low_freq_factor"]
            )
            out.append(1 / ((1 - s) / cfg["factor"] + s))
    return np.array(out, dtype=np.float32)
