#!/usr/bin/env python3
"""Writes tests/data/hf: small random Hugging Face folders with the logits that transformers gives.

Per entry of MODELS a folder NAME with config.json, model.safetensors (BF16), tokenizer files and
golden.json: {"ids", "n_vocab", "std", "logits_file", "texts": [[text, [ids]], ...], "options":
[{"name", "config": {path: value}, "distance"}, ...]}. An option is a change of config.json that switches
one feature off (or to another value), with how far transformers' logits move then. With "patches" instead of
"config" it changes weights ([{"offset", "hex", "count"}] in model.safetensors); with "refused" it cannot be said
in GGUF, and lar must not convert it. Weights are what the file holds, computed with in F32.
gpt_oss/mxfp4.safetensors has the experts of gpt_oss in MXFP4, deepseek3/fp8.safetensors weights of deepseek3
in FP8 with factors of blocks of 16 x 16: the same numbers.
Usage: hf.py [OUT_FOLDER [NAME...]].
"""
import contextlib
import copy
import json
import pathlib
import sys
import tempfile

sys.path.pop(0)  # this folder has a tokenizers.py of its own

import numpy as np
import tokenizers
import torch
import transformers as T
from safetensors.torch import load_file, save_file
from tokenizers import Regex, decoders, models, pre_tokenizers, processors, trainers

VOCAB, N_TOKENS = 300, 40
BASE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, vocab_size=VOCAB, max_position_embeddings=128, rms_norm_eps=1e-3)
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
ODD = r"[A-Z][a-z]+|\p{N}{2}| ?[^\s\p{N}]+|\s+"
CORPUS = ["the quick brown fox jumps over the lazy dog and then the other dogs",
          "of in and to that is it was for on are as with his they at be this from"]
TEXTS = ["Hello, world!", " the quick 1234 brown\n\nfoxes' tails", "déjà vu 日本語 😀\t.", "I'll be there at 10:45"]


def byte_level(split):
    tk = tokenizers.Tokenizer(models.BPE())
    bl = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    tk.pre_tokenizer = bl if split is None else pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(split), "isolated"), bl])
    tk.decoder = decoders.ByteLevel()
    tk.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=VOCAB - 4, special_tokens=["<|bos|>", "<|eos|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tk.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 0)])
    return T.PreTrainedTokenizerFast(tokenizer_object=tk, bos_token="<|bos|>", eos_token="<|eos|>")


def spec(cls, config, split=None, options=(), **kw):
    return dict(cls=cls, config=config, split=split, options=options, extra=kw)


def cfg(cls, **kw):
    return lambda: cls(**{**BASE, **kw})


LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32, beta_fast=32.0,
            beta_slow=1.0)
PLAIN = dict(rope_type="default", rope_theta=10000.0)
DEEPSEEK = dict(num_hidden_layers=3, kv_lora_rank=24, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10,
                num_key_value_heads=4, moe_intermediate_size=24, first_k_dense_replace=1)
SHARED = ("shared experts", {"mlp.shared_experts.down_proj.weight": 0.0})
LATENT_NORM = ("norm of the latent", {"kv_a_layernorm.weight": 1.0})
MSCALE = dict(mscale=0.707, mscale_all_dim=0.707)
GPT_OSS_YARN = {**YARN, "rope_theta": 150000.0, "truncate": False}


class Weights(dict):
    """An option: weights whose names end with a key are set to its value."""


class Refused(dict):
    """An option: as of config.json, but one that lar does not convert."""


DELTA = dict(head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8,
             linear_value_head_dim=8)
MROPE = dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25, mrope_section=[1, 1, 0],
             mrope_interleaved=True)
MODELS = {
    "deepseek2_lite": spec(
        T.DeepseekV2ForCausalLM,
        cfg(T.DeepseekV2Config, **DEEPSEEK, q_lora_rank=None, n_routed_experts=6, n_shared_experts=2,
            num_experts_per_tok=2, routed_scaling_factor=1.5, rope_parameters={**YARN, **MSCALE}), None,
        [("yarn", {"rope_parameters": PLAIN}), ("yarn in the scores", {"rope_parameters": YARN}),
         ("rotated part", {"rope_parameters": {**YARN, **MSCALE, "rope_theta": 100.0}}),
         ("scale of the experts", {"routed_scaling_factor": 1.0}), ("second expert", {"num_experts_per_tok": 1}),
         (SHARED[0], Weights(SHARED[1])), (LATENT_NORM[0], Weights(LATENT_NORM[1]))]),
    "deepseek2": spec(
        T.DeepseekV2ForCausalLM,
        cfg(T.DeepseekV2Config, **DEEPSEEK, q_lora_rank=20, n_routed_experts=8, n_shared_experts=1,
            num_experts_per_tok=3, topk_method="group_limited_greedy", n_group=4, topk_group=2,
            routed_scaling_factor=2.0, rope_parameters=PLAIN), None,
        [("groups", {"topk_method": "greedy"}), ("a third group", {"topk_group": 3}),
         ("norm of the query", Weights({"q_a_layernorm.weight": 1.0}))]),
    "deepseek3": spec(
        T.DeepseekV3ForCausalLM,
        cfg(T.DeepseekV3Config, **DEEPSEEK, q_lora_rank=20, n_routed_experts=8, n_shared_experts=1,
            num_experts_per_tok=3, n_group=2, topk_group=1, rms_norm_eps=1e-6, routed_scaling_factor=2.5,
            norm_topk_prob=True, rope_parameters={**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}), None,
        [("groups", {"n_group": 1}), ("norm of the weights", {"norm_topk_prob": False}),
         ("scale of the experts", {"routed_scaling_factor": 1.0}),
         ("correction bias", Weights({"e_score_correction_bias": 0.0})), (SHARED[0], Weights(SHARED[1])),
         ("yarn", {"rope_parameters": PLAIN}),
         ("other mscale", {"rope_parameters": {**YARN, "mscale": 1.5, "mscale_all_dim": 1.0}}),
         ("order of rotated pairs", Refused(rope_interleave=False))]),
    "gpt_oss": spec(
        T.GptOssForCausalLM,
        cfg(T.GptOssConfig, num_hidden_layers=3, intermediate_size=64, head_dim=32, sliding_window=8,
            num_local_experts=5, num_experts_per_tok=2, rope_parameters=GPT_OSS_YARN), None,
        [("sinks", Weights({"self_attn.sinks": -1e4})), ("window", {"sliding_window": 64}),
         ("yarn", {"rope_parameters": {**PLAIN, "rope_theta": 150000.0}}),
         ("magnitude of yarn", {"rope_parameters": {**GPT_OSS_YARN, "attention_factor": 1.0}}),
         ("second expert", {"num_experts_per_tok": 1}), ("bias of the router", Weights({"router.bias": 0.0})),
         ("biases of experts", Weights({"gate_up_proj_bias": 0.0})),
         ("biases of attention", Weights({"k_proj.bias": 0.0, "q_proj.bias": 0.0, "o_proj.bias": 0.0})),
         ("clamp", Refused(swiglu_limit=1000.0)), ("gain of the gate", Refused(swiglu_alpha=1.0)),
         ("exact ends of the ramp", Refused(rope_parameters={**GPT_OSS_YARN, "truncate": True})),
         ("window in every layer", Refused(layer_types=["sliding_attention"] * 3))]),
    "llama": spec(T.LlamaForCausalLM, cfg(T.LlamaConfig), options=[("gqa's norm eps", {"rms_norm_eps": 0.5})]),
    "llama3": spec(T.LlamaForCausalLM, cfg(T.LlamaConfig, rope_parameters=LLAMA3, tie_word_embeddings=True), ODD,
                   [("rope scaling", {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}})]),
    "mistral": spec(T.MistralForCausalLM, cfg(T.MistralConfig, sliding_window=None, head_dim=16), QWEN2),
    "mixtral": spec(T.MixtralForCausalLM,
                    cfg(T.MixtralConfig, num_local_experts=4, num_experts_per_tok=2, sliding_window=None), None,
                    [("second expert", {"num_experts_per_tok": 1})]),
    "qwen2": spec(T.Qwen2ForCausalLM, cfg(T.Qwen2Config), QWEN2),
    "qwen3": spec(T.Qwen3ForCausalLM, cfg(T.Qwen3Config, head_dim=16), QWEN2),
    "qwen2moe": spec(T.Qwen2MoeForCausalLM,
                     cfg(T.Qwen2MoeConfig, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24,
                         shared_expert_intermediate_size=40), QWEN2,
                     [("second expert", {"num_experts_per_tok": 1})]),
    "qwen3moe": spec(T.Qwen3MoeForCausalLM,
                     cfg(T.Qwen3MoeConfig, head_dim=16, num_experts=6, num_experts_per_tok=3,
                         moe_intermediate_size=24, norm_topk_prob=True), QWEN2,
                     [("other experts", {"num_experts_per_tok": 1})]),
    "phi3": spec(T.Phi3ForCausalLM, cfg(T.Phi3Config, pad_token_id=1)),
    "gemma2": spec(T.Gemma2ForCausalLM,
                   cfg(T.Gemma2Config, head_dim=16, sliding_window=8, query_pre_attn_scalar=16,
                       attn_logit_softcapping=3.0, final_logit_softcapping=4.0), None,
                   [("window", {"sliding_window": 64}), ("soft cap of scores", {"attn_logit_softcapping": None}),
                    ("soft cap of logits", {"final_logit_softcapping": None})]),
    "gemma3": spec(T.Gemma3ForCausalLM,
                   cfg(T.Gemma3TextConfig, num_hidden_layers=7, hidden_size=24, head_dim=8, sliding_window=8,
                       query_pre_attn_scalar=8), None, [("window", {"sliding_window": 64})]),
    "olmo2": spec(T.Olmo2ForCausalLM, cfg(T.Olmo2Config)),
    "granite": spec(T.GraniteForCausalLM,
                    cfg(T.GraniteConfig, embedding_multiplier=3.0, residual_multiplier=0.5,
                        attention_multiplier=0.3, logits_scaling=2.0), None,
                    [("embedding scale", {"embedding_multiplier": 1.0}),
                     ("residual scale", {"residual_multiplier": 1.0}),
                     ("score scale", {"attention_multiplier": 0.1}), ("logit scale", {"logits_scaling": 1.0})]),
    "qwen3next": spec(T.Qwen3NextForCausalLM,
                      cfg(T.Qwen3NextConfig, rms_norm_eps=1e-6, num_hidden_layers=4, num_experts=6,
                          num_experts_per_tok=3, moe_intermediate_size=24, shared_expert_intermediate_size=40,
                          **DELTA), QWEN2,
                      [("other experts", {"num_experts_per_tok": 1}),
                       ("partial rope", {"partial_rotary_factor": 0.5,
                                         "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
                                                             "partial_rotary_factor": 0.5}})],
                      double=True),
    "qwen35": spec(T.Qwen3_5ForCausalLM,
                   cfg(T.Qwen3_5TextConfig, rms_norm_eps=1e-6, num_hidden_layers=4, rope_parameters=MROPE, **DELTA),
                   QWEN2, double=True),
    "qwen35moe": spec(T.Qwen3_5MoeForCausalLM,
                      cfg(T.Qwen3_5MoeTextConfig, rms_norm_eps=1e-6, num_hidden_layers=4, num_experts=6,
                          num_experts_per_tok=3, moe_intermediate_size=24, shared_expert_intermediate_size=40,
                          rope_parameters=MROPE, **DELTA), QWEN2,
                      [("other experts", {"num_experts_per_tok": 1})], double=True),
    "lfm2": spec(T.Lfm2ForCausalLM,
                 cfg(T.Lfm2Config, num_hidden_layers=4, intermediate_size=72, block_multiple_of=16, norm_eps=1e-3,
                     layer_types=["conv", "full_attention", "conv", "conv"]), None,
                 [("other heads", {"norm_eps": 0.5})]),
    "smollm3": spec(T.SmolLM3ForCausalLM, cfg(T.SmolLM3Config, num_hidden_layers=5, pad_token_id=1)),
}


def randomize(model, name):
    gen = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for n, p in model.named_parameters():
            r = torch.randn(p.shape, generator=gen)
            norm = n.endswith("norm.weight") or "layernorm" in n
            centred = name.startswith("gemma") or name.startswith(("qwen3next", "qwen35")) and "linear_attn" not in n
            one = 1.0 if norm and not centred else 0.0
            p.copy_(one + 0.2 * r if p.dim() == 1 else 0.3 * r)
            if name == "gpt_oss":
                if "experts" in n and p.dim() == 3:  # large enough for the clamp, and MXFP4 can say it
                    p.copy_(from_mxfp4(*to_mxfp4(4 * p.transpose(1, 2))).transpose(1, 2))
                if n.endswith("sinks"):
                    p.copy_(2 * r)
            if name == "deepseek3" and is_fp8(n) and p.dim() > 1:
                parts = p.unflatten(-2, (2, -1)) if "gate_up" in n else p  # two tensors in the file
                once = from_fp8(*to_fp8(parts))  # may round up to the next power of two
                p.copy_(from_fp8(*to_fp8(once)).reshape(p.shape))
        for n, b in model.named_buffers():
            if n.endswith("e_score_correction_bias"):
                b.copy_(0.3 * torch.randn(b.shape, generator=gen))


MXFP4 = torch.tensor([0.0, 0.5, 1, 1.5, 2, 3, 4, 6])


def to_mxfp4(x):
    """[..., 32 n] to blocks U8 [..., n, 16] and scales U8 [..., n], as gpt-oss's folders have them."""
    x = x.reshape(*x.shape[:-1], -1, 32)
    e = torch.floor(torch.log2(x.abs().amax(-1))) - 2
    y = x / torch.exp2(e)[..., None]
    q = (y.abs()[..., None] - MXFP4).abs().argmin(-1) + 8 * (y < 0)
    return (q[..., ::2] | q[..., 1::2] << 4).to(torch.uint8), (e + 127).to(torch.uint8)


def from_mxfp4(blocks, scales):
    q = torch.stack([blocks & 15, blocks >> 4], -1).flatten(-2).long()
    y = torch.where(q < 8, 1.0, -1.0) * MXFP4[q % 8] * torch.exp2(scales.float() - 127)[..., None]
    return y.flatten(-2)


def write_mxfp4(folder):
    """The same model, its experts' weights in blocks and scales."""
    t = load_file(folder / "model.safetensors")
    for n in [n for n in t if n.endswith("experts.gate_up_proj") or n.endswith("experts.down_proj")]:
        w = t.pop(n).float().transpose(1, 2)
        t[n + "_blocks"], t[n + "_scales"] = to_mxfp4(w)
        assert torch.equal(from_mxfp4(t[n + "_blocks"], t[n + "_scales"]), w)
    save_file({n: x.contiguous() for n, x in t.items()}, folder / "mxfp4.safetensors")


def is_fp8(n):
    return ".layers." in n and not n.endswith("gate.weight") and "norm" not in n


def in_blocks(x, size=16):
    """Each element's block's largest one."""
    pad = torch.nn.functional.pad(x.abs(), (0, -x.shape[-1] % size, 0, -x.shape[-2] % size))
    rows, cols = pad.shape[-2] // size, pad.shape[-1] // size
    return pad.unflatten(-1, (cols, size)).unflatten(-3, (rows, size)).amax((-1, -3))


def spread(s, shape, size=16):
    return s.repeat_interleave(size, -1).repeat_interleave(size, -2)[..., :shape[-2], :shape[-1]]


def to_fp8(x):
    """Factors are powers of two, so that BF16 holds the same numbers."""
    s = torch.exp2(torch.floor(torch.log2(in_blocks(x))) - 7)
    return (x / spread(s, x.shape)).to(torch.float8_e4m3fn), s


def from_fp8(q, s):
    return q.float() * spread(s, q.shape)


def write_fp8(folder):
    t = load_file(folder / "model.safetensors")
    for n in [n for n in t if is_fp8(n) and t[n].dim() == 2]:
        q, s = to_fp8(t[n].float())
        assert torch.equal(from_fp8(q, s), t[n].float()), n
        t[n], t[n + "_scale_inv"] = q, s
    save_file({n: x.contiguous() for n, x in t.items()}, folder / "fp8.safetensors")


def find_patches(path, changes):
    """Patches of a safetensors file that set whole BF16 or F32 tensors to a value."""
    head = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8:8 + head])
    patches = []
    for n, t in sorted(header.items()):
        for end, value in changes.items():
            if n.endswith(end):
                count = int(np.prod(t["shape"]))
                raw = torch.tensor([value], dtype=dict(BF16=torch.bfloat16, F32=torch.float32)[t["dtype"]])
                patches.append(dict(offset=8 + head + t["data_offsets"][0],
                                    hex=raw.view(torch.uint8).numpy().tobytes().hex(), count=count))
    assert patches, changes
    return patches


def apply(path, patches):
    raw = bytearray(path.read_bytes())
    for p in patches:
        b = bytes.fromhex(p["hex"]) * p["count"]
        raw[p["offset"]:p["offset"] + len(b)] = b
    path.write_bytes(raw)


@contextlib.contextmanager
def in_double():
    """What a model casts to F32 is double. The delta rule in chunks loses 1e-4 of the logits' deviation in F32."""
    single, to_single = torch.float32, torch.Tensor.float
    torch.float32, torch.Tensor.float = torch.float64, torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.Tensor.float = single, to_single


def truth_of(m, folder, ids):
    """Of F32 arithmetic, or of double where the family says so."""
    if not m["extra"].get("double"):
        return logits_of(m["cls"].from_pretrained(folder, dtype=torch.float32).eval(), ids)
    model = m["cls"].from_pretrained(folder, dtype=torch.float64).eval()
    model.set_experts_implementation("eager")
    with in_double():
        return logits_of(model, ids)


def logits_of(model, ids):
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def patch(config, changes):
    """The changes as lar's test makes them: on the JSON, top level."""
    for k, v in changes.items():
        config[k] = v
    return config


def make(out, name, m):
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    model = m["cls"](m["config"]())
    randomize(model, name)
    model.to(torch.bfloat16).save_pretrained(folder)
    tk = byte_level(m["split"])
    tk.save_pretrained(folder)
    if name == "gpt_oss":
        write_mxfp4(folder)
    if name == "deepseek3":
        write_fp8(folder)
    ids = [0] + np.random.default_rng(5).integers(2, VOCAB - 8, N_TOKENS - 1).tolist()
    truth = truth_of(m, folder, ids)
    std = float(truth.std())
    options = []
    for label, change in m["options"]:
        with tempfile.TemporaryDirectory() as tmp:
            for f in folder.iterdir():
                (pathlib.Path(tmp) / f.name).write_bytes(f.read_bytes())
            entry = dict(name=label)
            if isinstance(change, Weights):
                entry["patches"] = find_patches(folder / "model.safetensors", change)
                apply(pathlib.Path(tmp) / "model.safetensors", entry["patches"])
            else:
                c = patch(json.loads((folder / "config.json").read_text()), copy.deepcopy(change))
                (pathlib.Path(tmp) / "config.json").write_text(json.dumps(c))
                entry.update(config=change, **(dict(refused=True) if isinstance(change, Refused) else {}))
            other = truth_of(m, tmp, ids)
        distance = float(np.abs(other - truth).max() / std)
        assert distance > 1e-2, (name, label, distance)
        options.append(dict(entry, distance=distance))
    truth.astype("<f4").tofile(folder / "golden.logits")
    texts = [[t, tk(t)["input_ids"]] for t in TEXTS]
    made = dict(transformers=T.__version__, torch=torch.__version__, tokenizers=tokenizers.__version__)
    (folder / "golden.json").write_text(json.dumps(
        dict(file="model.safetensors", logits_file="golden.logits", n_vocab=VOCAB, ids=ids, std=std, texts=texts,
             options=options, made_by=made), indent=1, ensure_ascii=False) + "\n")
    print(f"{name}: std {std:.3f}", *[f"{o['name']} {o['distance']:.3f}" for o in options], sep=", ")


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/data/hf"
    for name in sys.argv[2:] or MODELS:
        make(out, name, MODELS[name])


if __name__ == "__main__":
    main()
