"""LAR's rules for quantized weights, imitated on a transformers model: what its answer should be near to.

Activations that meet quantized weights are rounded per 32 values (d = amax / 127, nearest even), as
docs/ARCHITECTURE.md says; weights in F32, F16 and BF16 take them as they are. Keys and values are rounded to the
type of the cache. Sums are torch's: the result is close to LAR's, not the same bits. Depends on gguf_model.
"""
import gguf
import torch

import gguf_model
from gguf_model import transformers

FLOAT = (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16)


def round32(x):
    b = x.reshape(*x.shape[:-1], -1, 32)
    d = b.abs().amax(-1, keepdim=True) / 127
    q = torch.round(b / torch.where(d == 0, torch.ones_like(d), d))
    return (q * d).reshape(x.shape)


def _keep(kv):
    if kv == "f32":
        return lambda x: x
    return (lambda x: x.half().float()) if kv == "f16" else round32


def load(path, kv="f16", activations=True):
    model, f = gguf_model.load(path), gguf_model.File(path)
    kind = {gguf_model.hf_name(f.arch, t.name): t.tensor_type for t in f.reader.tensors}
    for name, module in model.named_modules():
        if activations and isinstance(module, torch.nn.Linear):
            tied = name == "lm_head" and model.config.tie_word_embeddings
            if kind["model.embed_tokens.weight" if tied else name + ".weight"] not in FLOAT:
                module.register_forward_pre_hook(lambda _, a: (round32(a[0]),))
    keep = _keep(kv)

    def attention(module, query, key, value, mask, scaling=None, **_):
        n = module.num_key_value_groups
        k, v = (keep(t).repeat_interleave(n, 1) for t in (key, value))
        w = query @ k.transpose(2, 3) * scaling
        w = torch.softmax(w if mask is None else w + mask, -1)
        return (w @ v).transpose(1, 2).contiguous(), w

    transformers.AttentionInterface.register("lar", attention)
    transformers.AttentionMaskInterface.register("lar", transformers.masking_utils.eager_mask)
    model.config._attn_implementation = "lar"
    return model
