#!/usr/bin/env python3
"""Writes tests/data/models: small random checkpoints as GGUF with the logits that transformers gives.

One F32 file per entry of MODELS, NAME.logits (raw little-endian F32, [n_tokens, n_vocab]) and NAME.json.
Every option that changes the answer is listed there with the bytes of the file that switch it off and how
far the logits move then. Usage: models.py [OUT_FOLDER [NAME...]]. tests/data/README.md has the formats.
"""
import hashlib
import importlib.metadata
import json
import pathlib
import struct
import sys

import gguf
import numpy as np
import torch

import gguf_model
import tokens
from gguf_model import transformers

VOCAB = 272
N_TOKENS = 48
ONE, ZERO = "0000803f", "00000000"
BASE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)
YARN_BETAS = dict(YARN, beta_fast=4.0, beta_slow=1.0)
LINEAR = dict(rope_type="linear", factor=4.0)


# --- switching options off: each gives the byte patches, made on the finished file ---

def put(key, fmt, value):
    """Overwrite a scalar's bytes, or a string by one of the same length."""
    def patch(view):
        data = value.encode() if fmt == "s" else struct.pack("<" + fmt, value)
        at, n = view.value(key)
        assert n == len(data), (key, n, data)
        return [dict(offset=at, hex=data.hex(), count=1)]
    return patch


def hide(key):
    """Rename a key, so that its default holds."""
    return lambda view: [dict(offset=view.name(key), hex=b"x".hex(), count=1)]


def hide_tensor(name):
    return lambda view: [dict(offset=view.tensor_name(name), hex=b"x".hex(), count=1)]


def fill(*suffixes, value):
    """Every tensor whose name ends so becomes this constant."""
    def patch(view):
        out = [dict(offset=t.data_offset, hex=value, count=int(t.n_elements))
               for t in view.reader.tensors if t.name.endswith(suffixes)]
        assert out, suffixes
        return out
    return patch


class View:
    """Where things lie in a GGUF file, in bytes from its beginning."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)

    @staticmethod
    def _at(field, part):
        return int(field.offset) + sum(int(p.nbytes) for p in field.parts[:part])

    def value(self, key):
        f = self.reader.fields[key]
        return self._at(f, f.data[0]), int(f.parts[f.data[0]].nbytes)

    def name(self, key):
        return self._at(self.reader.fields[key], 1)

    def tensor_name(self, name):
        return self._at(next(t.field for t in self.reader.tensors if t.name == name), 1)


# --- options that no byte of the file holds: how to break the truth instead ---

def tile_kv(model):
    """Query head i reads KV head i % n_kv instead of i // (n_head / n_kv)."""
    for layer in model.model.layers:
        a = layer.self_attn
        d, g = a.head_dim, a.num_key_value_groups
        order = [kv * g + j for j in range(g) for kv in range(model.config.num_key_value_heads)]
        rows = torch.tensor([h * d + i for h in np.argsort(order) for i in range(d)])
        with torch.no_grad():
            a.q_proj.weight.copy_(a.q_proj.weight[rows])
            if a.q_proj.bias is not None:
                a.q_proj.bias.copy_(a.q_proj.bias[rows])
            a.o_proj.weight.copy_(a.o_proj.weight[:, rows])


def without(*names):
    def change(model):
        for layer in model.model.layers:
            for name in names:
                owner, _, leaf = name.rpartition(".")
                setattr(layer.get_submodule(owner), leaf, torch.nn.Identity())
    return change


def no_embed_scale(model):
    model.model.embed_tokens.embed_scale.fill_(1.0)


def set_config(**kw):
    return lambda cfg: [setattr(cfg, k, v) for k, v in kw.items()]


def scale_local(cfg):
    cfg.rope_parameters["sliding_attention"] = dict(
        cfg.rope_parameters["full_attention"],
        rope_theta=cfg.rope_parameters["sliding_attention"]["rope_theta"])


def opt(name, patch=None, **broken):
    return dict(name=name, patch=patch, **broken)


def common(arch, gqa=True):
    out = [opt("rms_epsilon", put(f"{arch}.attention.layer_norm_rms_epsilon", "f", 1e-6)),
           opt("rope_freq_base", put(f"{arch}.rope.freq_base", "f", 10000.0)),
           opt("attn_norm", fill("attn_norm.weight", value=ONE)),
           opt("ffn_norm", fill("ffn_norm.weight", value=ONE)),
           opt("output_norm", fill("output_norm.weight", value=ONE))]
    if gqa:
        out.append(opt("gqa_head_order", model=tile_kv))
    return out


def yarn_options(arch):
    p = f"{arch}.rope.scaling."
    return [opt("yarn", put(p + "type", "s", "none")),
            opt("yarn_factor", put(p + "factor", "f", 2.0)),
            opt("yarn_original_context_length", put(p + "original_context_length", "I", 16)),
            # What stretching the positions alone would do: no ramp, no factor on the rotated pairs.
            opt("yarn_as_linear", config=lambda c: setattr(c, "rope_parameters", {
                "rope_type": "linear", "factor": 4.0, "rope_theta": c.rope_parameters["rope_theta"]})),
            opt("yarn_attention_factor", config=lambda c: c.rope_parameters.update(attention_factor=1.0))]


YARN_BETA_OPTIONS = [
    opt("yarn_beta_fast", hide("llama.rope.scaling.yarn_beta_fast")),
    opt("yarn_beta_slow", put("llama.rope.scaling.yarn_beta_slow", "f", 0.125)),
]

GEMMA3_OPTIONS = [
    opt("sliding_window", put("gemma3.attention.sliding_window", "I", 4096)),
    opt("sliding_window_exact", put("gemma3.attention.sliding_window", "I", 9)),
    opt("q_norm", fill("attn_q_norm.weight", value=ONE)),
    opt("k_norm", fill("attn_k_norm.weight", value=ONE)),
    opt("qk_norm_absent", model=without("self_attn.q_norm", "self_attn.k_norm")),
    opt("post_attention_norm", fill("post_attention_norm.weight", value=ONE)),
    opt("post_ffw_norm", fill("post_ffw_norm.weight", value=ONE)),
    opt("post_norms_absent", model=without("post_attention_layernorm", "post_feedforward_layernorm")),
    opt("embedding_scale", model=no_embed_scale),
    opt("gelu_tanh", config=set_config(hidden_activation="silu")),
]

MODELS = {
    "llama_gqa": dict(
        arch="llama", config=dict(BASE, tie_word_embeddings=True, rope_theta=500.0),
        options=common("llama") + [opt("rope_pairs", interleaved=False)]),
    "llama_mha_bias": dict(
        arch="llama", head_dim=16,
        config=dict(BASE, num_key_value_heads=4, head_dim=16, rope_theta=500.0,
                    attention_bias=True, mlp_bias=True, tie_word_embeddings=False),
        omit=["llama.attention.head_count_kv"],
        options=common("llama", gqa=False) + [
            opt("rope_pairs", interleaved=False),
            opt("attn_q_bias", fill("attn_q.bias", value=ZERO)),
            opt("attn_k_bias", fill("attn_k.bias", value=ZERO)),
            opt("attn_v_bias", fill("attn_v.bias", value=ZERO)),
            opt("attn_output_bias", fill("attn_output.bias", value=ZERO)),
            opt("ffn_gate_bias", fill("ffn_gate.bias", value=ZERO)),
            opt("ffn_up_bias", fill("ffn_up.bias", value=ZERO)),
            opt("ffn_down_bias", fill("ffn_down.bias", value=ZERO)),
            opt("untied_output", hide_tensor("output.weight"))]),
    "llama_rope_llama3": dict(
        arch="llama", head_dim=16,
        config=dict(BASE, head_dim=16, rope_theta=500.0, rope=LLAMA3, tie_word_embeddings=True),
        options=common("llama") + [opt("rope_freqs", fill("rope_freqs.weight", value=ONE))]),
    "llama_rope_linear": dict(
        arch="llama", head_dim=16,
        config=dict(BASE, head_dim=16, rope_theta=500.0, rope=LINEAR, tie_word_embeddings=True),
        options=common("llama") + [opt("linear_factor", put("llama.rope.scaling.factor", "f", 1.0))]),
    "llama_rope_yarn": dict(
        arch="llama", head_dim=16,
        config=dict(BASE, head_dim=16, rope_theta=500.0, rope=YARN_BETAS, tie_word_embeddings=True),
        options=common("llama") + yarn_options("llama") + YARN_BETA_OPTIONS),
    "qwen2_tied": dict(
        arch="qwen2", config=dict(BASE, tie_word_embeddings=True, rope_theta=500.0),
        options=common("qwen2") + [
            opt("attn_q_bias", fill("attn_q.bias", value=ZERO)),
            opt("attn_k_bias", fill("attn_k.bias", value=ZERO)),
            opt("attn_v_bias", fill("attn_v.bias", value=ZERO))]),
    "qwen2_untied_scale_linear": dict(  # the factor under its old name, which many files still carry
        arch="qwen2", old_linear=True,
        config=dict(BASE, tie_word_embeddings=False, rope_theta=500.0, rope=LINEAR),
        options=common("qwen2") + [
            opt("scale_linear", put("qwen2.rope.scale_linear", "f", 1.0)),
            opt("untied_output", hide_tensor("output.weight"))]),
    "qwen3_tied": dict(
        arch="qwen3", head_dim=16,
        config=dict(BASE, head_dim=16, tie_word_embeddings=True, rope_theta=500.0),
        options=common("qwen3") + [
            opt("q_norm", fill("attn_q_norm.weight", value=ONE)),
            opt("k_norm", fill("attn_k_norm.weight", value=ONE)),
            opt("qk_norm_absent", model=without("self_attn.q_norm", "self_attn.k_norm"))]),
    "qwen3_untied_yarn": dict(
        arch="qwen3", head_dim=16,
        config=dict(BASE, head_dim=16, tie_word_embeddings=False, rope_theta=500.0, rope=YARN),
        options=common("qwen3") + yarn_options("qwen3") + [
            opt("untied_output", hide_tensor("output.weight"))]),
    "gemma3_linear": dict(
        arch="gemma3", head_dim=16,
        config=dict(BASE, num_hidden_layers=7, head_dim=16, query_pre_attn_scalar=16, sliding_window=8,
                    rope_theta=5000.0, rope=dict(rope_type="linear", factor=8.0), theta_local=10000.0),
        options=common("gemma3") + GEMMA3_OPTIONS + [
            opt("linear_factor", put("gemma3.rope.scaling.factor", "f", 1.0)),
            opt("linear_on_global_layers_only", config=scale_local)]),
    "gemma3_softcap": dict(  # every second layer global, softcapped logits, one KV head
        arch="gemma3", head_dim=16, period=2,
        config=dict(BASE, num_hidden_layers=4, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=16,
                    sliding_window=8, rope_theta=5000.0, theta_local=300.0, final_logit_softcapping=6.0),
        options=common("gemma3", gqa=False) + GEMMA3_OPTIONS + [
            opt("sliding_window_pattern", put("gemma3.attention.sliding_window_pattern", "I", 6)),
            opt("rope_freq_base_swa", put("gemma3.rope.freq_base_swa", "f", 10000.0)),
            opt("final_logit_softcapping", put("gemma3.final_logit_softcapping", "f", 0.0))]),
    "gemma3_62": dict(  # as many layers as the 27B: the scale comes from the width per head
        arch="gemma3", head_dim=8, vocab=264, post=0.125,
        config=dict(BASE, hidden_size=16, intermediate_size=8, num_hidden_layers=62, num_attention_heads=1,
                    num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=16, sliding_window=8,
                    rope_theta=5000.0, theta_local=10000.0),
        options=[opt("attention_scale_27b", config=set_config(query_pre_attn_scalar=8))]),
}


# --- building ---

def build(spec, vocab):
    c = dict(spec["config"], vocab_size=vocab, pad_token_id=None, attn_implementation="eager")
    theta, rope = c.pop("rope_theta"), c.pop("rope", dict(rope_type="default"))
    rope = dict(rope, rope_theta=theta)
    if spec["arch"] == "gemma3":
        n, period = c["num_hidden_layers"], spec.get("period", 6)
        c["rope_parameters"] = dict(
            full_attention=rope, sliding_attention=dict(rope_type="default", rope_theta=c.pop("theta_local")))
        c["layer_types"] = ["sliding_attention" if (i + 1) % period else "full_attention" for i in range(n)]
        return transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**c))
    c["rope_parameters"] = rope
    cfg = dict(llama=transformers.LlamaConfig, qwen2=transformers.Qwen2Config,
               qwen3=transformers.Qwen3Config)[spec["arch"]](**c)
    return gguf_model.MODELS[spec["arch"]](cfg)


@torch.no_grad()
def randomize(model, seed, post=1.0):
    """Weights large enough that every part of the model matters to its logits. post scales the norms behind
    Gemma's attention and FFN: a deep stack of them near 1 would make rounding errors grow too far."""
    rng = np.random.default_rng(seed)
    gemma = model.config.model_type.startswith("gemma")
    for name, p in model.named_parameters():
        if name.endswith("norm.weight") or "norm" in name.split(".")[-2]:
            # In steps of 1/1024, so that Gemma's 1 + w is exact in F32.
            w = np.round(rng.normal(0.0 if gemma else 1.0, 0.35, p.shape) * 1024) / 1024
            if gemma and ("post_attention" in name or "post_feedforward" in name):
                w = (1 + w) * post - 1
        elif name.endswith("bias"):
            w = rng.normal(0.0, 0.5, p.shape)
        elif "embed_tokens" in name or "lm_head" in name:
            w = rng.normal(0.0, 0.25, p.shape)
        else:
            gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.2
            w = rng.normal(0.0, gain / np.sqrt(p.shape[-1]), p.shape)
        p.copy_(torch.from_numpy(np.asarray(w, dtype=np.float32)))
    return model.eval()


def write_gguf(path, model, spec, name, vocab, encode=None, file_type=gguf.LlamaFileType.ALL_F32):
    """Names and metadata as the llama.cpp converter writes them. encode(name, array) may quantize."""
    arch, cfg = spec["arch"], model.config
    w = gguf.GGUFWriter(path, arch)
    omit = spec.get("omit", [])
    w.add_type("model")
    w.add_name(f"LAR test model {name}")
    w.add_block_count(cfg.num_hidden_layers)
    w.add_context_length(cfg.max_position_embeddings)
    w.add_embedding_length(cfg.hidden_size)
    w.add_feed_forward_length(cfg.intermediate_size)
    w.add_head_count(cfg.num_attention_heads)
    if f"{arch}.attention.head_count_kv" not in omit:
        w.add_head_count_kv(cfg.num_key_value_heads)
    w.add_layer_norm_rms_eps(cfg.rms_norm_eps)
    w.add_vocab_size(vocab)
    w.add_file_type(file_type)
    head_dim = spec.get("head_dim")
    if head_dim:
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if arch == "llama":
        w.add_rope_dimension_count(head_dim or cfg.hidden_size // cfg.num_attention_heads)
    rope = cfg.rope_parameters
    if arch == "gemma3":
        w.add_sliding_window(cfg.sliding_window)
        if "period" in spec:
            w.add_sliding_window_pattern(spec["period"])
            w.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        if cfg.final_logit_softcapping:
            w.add_final_logit_softcapping(cfg.final_logit_softcapping)
        rope = rope["full_attention"]
    w.add_rope_freq_base(rope["rope_theta"])
    kind = rope["rope_type"]
    if spec.get("old_linear"):
        w.add_float32(f"{arch}.rope.scale_linear", rope["factor"])
    elif kind in ("linear", "yarn"):
        w.add_rope_scaling_type(gguf.RopeScalingType(kind))
        w.add_rope_scaling_factor(rope["factor"])
        if kind == "yarn":
            w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
            if "beta_fast" in rope:
                w.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
                w.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    tokens.add_tokenizer(w, vocab)
    if kind == "llama3":
        w.add_tensor("rope_freqs.weight", gguf_model.llama3_factors(rope, rope["rope_theta"], cfg.head_dim))
    arch_id = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch)
    names = gguf.get_tensor_name_map(arch_id, cfg.num_hidden_layers)
    for hf, p in model.state_dict().items():
        if hf == "lm_head.weight" and cfg.tie_word_embeddings:
            continue
        if hf.endswith("embed_scale"):
            continue
        a = p.detach().numpy()
        if arch == "llama" and ".q_proj." in hf:
            a = gguf_model.permute(a, cfg.num_attention_heads)
        if arch == "llama" and ".k_proj." in hf:
            a = gguf_model.permute(a, cfg.num_key_value_heads)
        if arch == "gemma3" and "norm" in hf:
            a = a + np.float32(1)
        to = names.get_name(hf, try_suffixes=(".weight", ".bias"))
        assert gguf_model.hf_name(arch, to) == hf, (hf, to)
        a = np.ascontiguousarray(a, dtype=np.float32)
        q = encode(to, a) if encode else None
        if q is None:
            w.add_tensor(to, a)
        else:
            w.add_tensor(to, q[0], raw_dtype=q[1])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def ids_for(seed, vocab, n=N_TOKENS):
    return [int(i) for i in np.random.default_rng(seed).integers(0, vocab, n)]


def provenance(script):
    return dict(script=f"tools/goldens/{script}", transformers=transformers.__version__,
                torch=torch.__version__.split("+")[0], gguf=importlib.metadata.version("gguf"),
                numpy=np.__version__)


def apply(data, patches):
    data = bytearray(data)
    for p in patches:
        b = bytes.fromhex(p["hex"]) * p["count"]
        data[p["offset"]: p["offset"] + len(b)] = b
    return bytes(data)


def options(path, spec, ids, truth):
    view, data, out = View(path), path.read_bytes(), []
    scratch = path.with_suffix(".off.gguf")
    for o in spec["options"]:
        patches = o["patch"](view) if o["patch"] else []
        try:
            scratch.write_bytes(apply(data, patches))
            model = gguf_model.load(str(scratch), interleaved=o.get("interleaved", True),
                                    change_config=o.get("config"))
        finally:
            scratch.unlink(missing_ok=True)
        if "model" in o:
            o["model"](model)
        d = gguf_model.distance(gguf_model.logits(model, ids), truth)
        assert d > 0.01, f"{path.name}: {o['name']} moves the logits by {d} only"
        out.append(dict(name=o["name"], distance=round(d, 6), patches=patches))
    return out


def dump(path, obj):
    """JSON with one option per line."""
    opts = obj.pop("options", None)
    text = json.dumps(obj, indent=1, ensure_ascii=False)
    text = text.replace(json.dumps(obj["ids"], indent=1).replace("\n", "\n "), json.dumps(obj["ids"]))
    if opts is not None:
        text = text[:-2] + ',\n "options": [\n  ' + ",\n  ".join(json.dumps(o) for o in opts) + "\n ]\n}"
    path.write_text(text + "\n")


def make(out, seed, name, spec):
    vocab = spec.get("vocab", VOCAB)
    model = randomize(build(spec, vocab), seed, spec.get("post", 1.0))
    path = out / f"{name}.gguf"
    write_gguf(path, model, spec, name, vocab)
    ids = ids_for(seed + 1, vocab)
    truth = gguf_model.logits(model, ids)
    again = gguf_model.distance(gguf_model.logits(gguf_model.load(str(path)), ids), truth)
    assert again < 2e-5, f"{name}: the file says something else than the model: {again}"
    fine = gguf_model.distance(gguf_model.logits(gguf_model.load(str(path)).double(), ids), truth)
    (out / f"{name}.logits").write_bytes(truth.astype("<f4").tobytes())
    dump(out / f"{name}.json", dict(
        file=f"{name}.gguf", sha256=hashlib.sha256(path.read_bytes()).hexdigest(), logits_file=f"{name}.logits",
        n_vocab=vocab, n_tokens=len(ids), ids=ids, std=float(truth.std(dtype=np.float64)),
        own_error=fine, made_by=provenance("models.py"), options=options(path, spec, ids, truth)))
    return path.stat().st_size, again, fine


def main():
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/models")
    out.mkdir(parents=True, exist_ok=True)
    for i, (name, spec) in enumerate(MODELS.items()):
        if len(sys.argv) < 3 or name in sys.argv[2:]:
            size, again, fine = make(out, 1000 + 10 * i, name, spec)
            print(f"{name}: {size} bytes, reloaded within {again:.1e}, F64 within {fine:.1e} std")


if __name__ == "__main__":
    main()
