#!/usr/bin/env python3
"""Writes tests/data/embed: small random models that make vectors of texts, as sentence-transformers folders.

Per entry of MODELS a folder NAME with config.json, model.safetensors (BF16), tokenizer files, modules.json,
1_Pooling, and golden.json: {"texts", "ids": per text, "width", "std" of all states, "vectors": {pooling: per text},
"pooling": the folder's, "options": [{"name", "config": {key: value}, "distance"}]}. Vectors are those of transformers'
states in F32, eager attention, pooled here, before normalisation. An option is a change of config.json that switches a
feature off, with how far the mean vectors move then, in std. Usage: encoders.py [OUT_FOLDER [NAME...]].
With --minilm FOLDER it writes minilm.json instead: what all-MiniLM-L6-v2, which lies there, makes of texts.
"""
import json
import pathlib
import sys
import tempfile

sys.path.pop(0)  # this folder has a tokenizers.py of its own

import numpy as np
import tokenizers
import torch
import transformers as T
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCAB, WIDTH = 300, 32
BASE = dict(hidden_size=WIDTH, intermediate_size=48, num_attention_heads=4, vocab_size=VOCAB, pad_token_id=0)
CORPUS = ["the quick brown fox jumps over the lazy dog and then the other dogs",
          "of in and to that is it was for on are as with his they at be this from"]
TEXTS = ["", "Hello, world!", " the quick 1234 brown\n\nfoxes' tails", "Déjà vu 日本語 😀\t.",
         "the lazy dog and then the other dogs, " * 5, "I'll be there at 10:45"]


def wordpiece():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tk = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tk.normalizer = normalizers.BertNormalizer()
    tk.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tk.decoder = decoders.WordPiece()
    tk.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=VOCAB, special_tokens=special, show_progress=False))
    tk.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return T.PreTrainedTokenizerFast(tokenizer_object=tk, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                                     pad_token="[PAD]", mask_token="[MASK]")


def byte_level(first):
    """With [CLS] and [SEP] around a text, or an end alone."""
    tk = tokenizers.Tokenizer(models.BPE())
    tk.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tk.decoder = decoders.ByteLevel()
    tk.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["[CLS]", "[SEP]"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tk.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]" if first else "$A [SEP]",
                                                      special_tokens=[("[CLS]", 0), ("[SEP]", 1)])
    return T.PreTrainedTokenizerFast(tokenizer_object=tk, bos_token="[CLS]", eos_token="[SEP]", cls_token="[CLS]",
                                     sep_token="[SEP]")


def rope(theta):
    return dict(rope_type="default", rope_theta=theta)


MODELS = {
    "bert": (T.BertModel, T.BertConfig(**BASE, num_hidden_layers=2, max_position_embeddings=128, layer_norm_eps=1e-3),
             wordpiece, "mean", [("norms' epsilon", {"layer_norm_eps": 0.5})]),
    "nomic_bert": (T.NomicBertModel, T.NomicBertConfig(**BASE, num_hidden_layers=2, max_position_embeddings=128,
                                                       layer_norm_eps=1e-3, rope_parameters=rope(1000.0)),
                   wordpiece, "mean", [("rope", {"rope_parameters": rope(7.0)})]),
    "modernbert": (T.ModernBertModel,
                   T.ModernBertConfig(**BASE, num_hidden_layers=5, max_position_embeddings=128, norm_eps=1e-3,
                                      local_attention=8, bos_token_id=0, eos_token_id=1, cls_token_id=0, sep_token_id=1,
                                      rope_parameters=dict(full_attention=rope(160000.0), sliding_attention=rope(100.0))),
                   lambda: byte_level(True), "cls",
                   [("window", {"local_attention": 200}),
                    ("local rope", {"rope_parameters": dict(full_attention=rope(160000.0), sliding_attention=rope(1e6))}),
                    ("every other layer sees all", {"layer_types": ["full_attention", "sliding_attention"] * 2 + ["full_attention"]})]),
    "qwen3": (T.Qwen3Model, T.Qwen3Config(**{**BASE, "pad_token_id": None}, num_hidden_layers=2, num_key_value_heads=2,
                                          head_dim=16, max_position_embeddings=128, eos_token_id=1),
              lambda: byte_level(False), "lasttoken", []),
}


def states_of(model, tk, texts):
    model.set_attn_implementation("eager")
    ids = [tk(t)["input_ids"] for t in texts]
    with torch.no_grad():
        return ids, [model(input_ids=torch.tensor([i])).last_hidden_state[0].double().numpy() for i in ids]


POOL = {"mean": lambda h: h.mean(0), "cls": lambda h: h[0], "last": lambda h: h[-1]}


def make(out, name, cls, config, tokenizer, pooling, options):
    folder = out / name
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    model, tk = cls(config), tokenizer()
    gen = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for n, p in model.named_parameters():
            r = torch.randn(p.shape, generator=gen)
            one = 1.0 if "norm" in n.lower() and n.endswith("weight") else 0.0
            p.copy_(one + 0.2 * r if p.dim() == 1 else 0.3 * r)
    model.to(torch.bfloat16).save_pretrained(folder)
    tk.save_pretrained(folder)
    kinds = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    (folder / "modules.json").write_text(json.dumps(
        [dict(idx=i, name=str(i), path=p, type="sentence_transformers.models." + k)
         for i, (k, p) in enumerate(zip(kinds, paths))], indent=1) + "\n")
    modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken"]
    (folder / "1_Pooling/config.json").write_text(json.dumps(
        {"word_embedding_dimension": WIDTH, **{"pooling_mode_" + m: m.startswith(pooling) and "sqrt" not in m for m in modes}},
        indent=1) + "\n")
    (folder / "sentence_bert_config.json").write_text(json.dumps(dict(max_seq_length=100)) + "\n")
    texts = TEXTS
    ids, states = states_of(cls.from_pretrained(folder, dtype=torch.float32).eval(), tk, texts)
    std = float(np.concatenate(states).std())
    made = []
    for label, change in options:
        with tempfile.TemporaryDirectory() as tmp:
            for f in folder.iterdir():
                if f.is_file():
                    (pathlib.Path(tmp) / f.name).write_bytes(f.read_bytes())
            c = {**json.loads((folder / "config.json").read_text()), **change}
            (pathlib.Path(tmp) / "config.json").write_text(json.dumps(c))
            _, other = states_of(cls.from_pretrained(tmp, dtype=torch.float32).eval(), tk, texts)
        d = max(float(np.abs(a.mean(0) - b.mean(0)).max()) for a, b in zip(states, other)) / std
        assert d > 1e-2, (name, label, d)
        made.append(dict(name=label, config=change, distance=d))
    vectors = {k: [[float(f"{x:.9g}") for x in f(h)] for h in states] for k, f in POOL.items()}
    (folder / "golden.json").write_text(json.dumps(
        dict(texts=texts, ids=ids, width=WIDTH, std=std, pooling={"lasttoken": "last"}.get(pooling, pooling), vectors=vectors,
             options=made, made_by=dict(transformers=T.__version__, torch=torch.__version__,
                                        tokenizers=tokenizers.__version__)), ensure_ascii=False) + "\n")
    print(name, f"std {std:.3f}", *[f"{o['name']} {o['distance']:.3f}" for o in made], sep=", ")


MINILM = ["", "Hello world", "The capital of France is Paris.", "日本語のテキストです。中文也可以", "😀🎉 emoji ok 👨‍👩‍👧",
          "Ünïcödé déjà VU naïve ﬁ ﬂ Ⅳ", "a" * 150 + " long word", "word " * 600, "don't; it's 3.14% (a+b)",
          "\t tabs\nand\r\nlines  ", "Привет мир", "한국어 문장", "اللغة العربية", "straße İstanbul"]


def minilm(folder, out):
    """Mean of the states, 1 long; cut at 256 tokens, as its sentence_bert_config.json says."""
    tk, model = T.AutoTokenizer.from_pretrained(folder), T.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tk.backend_tokenizer.no_truncation(), tk.backend_tokenizer.no_padding()
    tokens, vectors = [], []
    for t in MINILM:
        ids = tk(t, truncation=True, max_length=256)["input_ids"]
        with torch.no_grad():
            v = torch.nn.functional.normalize(model(torch.tensor([ids])).last_hidden_state[0].mean(0), dim=0)
        tokens.append(len(ids))
        vectors.append([float(f"{x:.7g}") for x in v.tolist()])
    (out / "minilm.json").write_text(json.dumps(
        dict(texts=MINILM, tokens=tokens, vectors=vectors, made_by=dict(transformers=T.__version__, torch=torch.__version__)),
        ensure_ascii=False) + "\n")


def main():
    if sys.argv[1:2] == ["--minilm"]:
        return minilm(sys.argv[2], pathlib.Path(__file__).resolve().parents[2] / "tests/data/embed")
    root = pathlib.Path(__file__).resolve().parents[2]
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/data/embed"
    for name in sys.argv[2:] or MODELS:
        make(out, name, *MODELS[name])


if __name__ == "__main__":
    main()
