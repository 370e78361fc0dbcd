"""Makes tests/data/marian: a small random translation model of Marian's, and what the real engine makes of it.

usage: marian.py PACKAGE
PACKAGE is the unpacked npm package @browsermt/bergamot-translator (0.4.9; the engine as WebAssembly, run by node 20).
Python: numpy 2, sentencepiece 0.2.
"""
import io
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import sentencepiece as spm

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "data", "marian")
DIM, FF, HEADS, ENC, DEC, VOCAB = 64, 128, 4, 2, 2, 112
NAME = "eneo"

# A sentence a line: the engine cuts a line's sentences at the length of the longest.
LINES = """The cat sat on the mat.
A dog ran after the cat, and the cat ran away!
Where is the red house?
one two three four five six seven eight nine ten
Numbers such as 12, 345 and 6.78 stay in the text.
"Quoted," she said.

   A line with spaces around it.\x20\x20\x20
Mr. smith went home [1].
It cost 3.50 ... and was gone
ALL CAPITALS HERE
a
?
Unknown letters: \u0416\u0443\u043a, \u4f60\u597d, \U0001F600.
The quick brown fox jumps over the lazy dog while the sun sets behind the far blue hills and the wind blows on.
again and again and again and again and again and again and again and again and again and again and again
"""

NODE = r"""
import {readFile} from 'node:fs/promises';
const [, , pkg, dir, name, input] = process.argv;
const {BatchTranslator, TranslatorBacking} = await import(pkg + '/translator.mjs');
const from = name.slice(0, 2), to = name.slice(2);
const bytes = async f => { const b = await readFile(f); return b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength); };
class Folder extends TranslatorBacking {
  async loadModelRegistery() { return [{from, to, files: {}}]; }
  async loadTranslationModel() {
    return {model: await bytes(`${dir}/model.${name}.intgemm.alphas.bin`), shortlist: await bytes(`${dir}/lex.${name}.s2t.bin`),
            vocabs: [await bytes(`${dir}/vocab.${name}.spm`)], qualityModel: null, config: {}};
  }
}
const t = new BatchTranslator({batchSize: 1, workers: 1}, new Folder({pivotLanguage: null}));
const lines = (await readFile(input, 'utf8')).split('\n');
lines.pop();
for (const text of lines)
  console.log((await t.translate({from, to, text, html: false, qualityScores: false})).target.text);
t.delete();
setTimeout(() => process.exit(0), 100);
"""


def tensors(rng):
    out = []

    def alpha(name, value):
        out.append((name + "_QuantMultA", 0x404, (1, 1), struct.pack("<f", value) + bytes(252)))

    def matrix(name, rows, cols, a, table=False):
        w = rng.standard_normal((rows, cols)).astype(np.float32) * (0.7 if table else 8 / np.sqrt(rows))
        mult = np.float32(127 / np.abs(w).max())
        q = np.clip(np.rint(w * mult), -127, 127).astype(np.int8)
        data = (q if table else q.T).tobytes() + struct.pack("<f", mult)
        out.append((name, 0x4101, (rows, cols), data + bytes(-len(data) % 256)))
        if a:
            alpha(name, a)

    def floats(name, n, mean=0.0, std=0.1):
        x = (mean + std * rng.standard_normal(n)).astype(np.float32)
        out.append((name, 0x404, (1, n), x.tobytes() + bytes(-4 * n % 256)))

    def norm(name):
        floats(name + "_ln_scale", DIM, 1)
        floats(name + "_ln_bias", DIM)

    matrix("Wemb", VOCAB, DIM, 0, table=True)
    alpha("none", 127 / 4.0)
    # As the engine's exporter writes it: as a matrix, since the name says so. Its bias is made with this one.
    out.append(("Wemb_QuantMultA", 0x4101, (1, 1), b"\x7f" + struct.pack("<f", 4.0) + bytes(251)))
    bias = (0.3 * rng.standard_normal(VOCAB)).astype(np.float32)
    bias[0] = 8  # sentences end
    out.append(("decoder_ff_logit_out_b", 0x404, (1, VOCAB), bias.tobytes() + bytes(-4 * VOCAB % 256)))
    for side, n, attn in (("encoder", ENC, "self"), ("decoder", DEC, "context")):
        for i in range(1, n + 1):
            p = f"{side}_l{i}_"
            for x in "qkvo":
                matrix(p + f"{attn}_W{x}", DIM, DIM, 30.0)
                floats(p + f"{attn}_b{x}", DIM)
            norm(p + f"{attn}_Wo")
            matrix(p + "ffn_W1", DIM, FF, 30.0)
            floats(p + "ffn_b1", FF)
            matrix(p + "ffn_W2", FF, DIM, 40.0)
            floats(p + "ffn_b2", DIM)
            norm(p + "ffn_ffn")
            if side == "decoder":
                matrix(p + "rnn_W", DIM, DIM, 30.0)
                matrix(p + "rnn_Wf", DIM, DIM, 30.0)
                floats(p + "rnn_bf", DIM)
                norm(p + "rnn_ffn")
    return out


CONFIG = f"""bert-train-type-embeddings: true
dec-cell: ssru
dec-cell-base-depth: 2
dec-cell-high-depth: 1
dec-depth: {DEC}
dim-emb: {DIM}
dim-rnn: 1024
dim-vocabs:
  - {VOCAB}
  - {VOCAB}
enc-cell: gru
enc-cell-depth: 1
enc-depth: {ENC}
enc-type: bidirectional
input-types: []
layer-normalization: false
lemma-dim-emb: 0
output-omit-bias: false
right-left: false
skip: false
tied-embeddings: false
tied-embeddings-all: true
tied-embeddings-src: false
transformer-aan-activation: swish
transformer-aan-depth: 2
transformer-aan-nogate: false
transformer-decoder-autoreg: rnn
transformer-dim-aan: 2048
transformer-dim-ffn: {FF}
transformer-ffn-activation: relu
transformer-ffn-depth: 2
transformer-guided-alignment-layer: last
transformer-heads: {HEADS}
transformer-no-projection: false
transformer-pool: false
transformer-postprocess: dan
transformer-postprocess-emb: d
transformer-postprocess-top: ""
transformer-preprocess: ""
transformer-tied-layers: []
transformer-train-position-embeddings: false
type: transformer
ulr: false
ulr-dim-emb: 0
ulr-trainable-transformation: false
version: v1.9.56
"""


def write_model(path, rng):
    items = tensors(rng) + [("special:model.yml", 0x101, (len(CONFIG) + 1,), CONFIG.encode() + b"\0")]
    items.sort(key=lambda t: t[0])
    head = struct.pack("<QQ", 1, len(items))
    for name, kind, shape, data in items:
        head += struct.pack("<QQQQ", len(name) + 1, kind, len(shape), len(data))
    for name, *_ in items:
        head += name.encode() + b"\0"
    for _, _, shape, _ in items:
        head += struct.pack(f"<{len(shape)}i", *shape)
    pad = -(len(head) + 8) % 256
    with open(path, "wb") as f:
        f.write(head + struct.pack("<Q", pad) + bytes(pad) + b"".join(t[3] for t in items))


def write_shortlist(path, rng):
    first, best = 20, 12
    lists = [sorted(rng.choice(VOCAB, best, replace=False).tolist()) for _ in range(VOCAB)]
    offsets = np.cumsum([0] + [len(x) for x in lists]).astype(np.uint64)
    ids = np.array(sum(lists, []), np.uint32)
    body = struct.pack("<QQQQ", first, best, len(offsets), len(ids)) + offsets.tobytes() + ids.tobytes()
    h, mask = 0, 2**64 - 1
    for (v,) in struct.iter_unpack("<Q", body[: len(body) // 8 * 8]):
        h ^= (v + 0x9E3779B9 + (h << 6) + (h >> 2)) & mask
        h &= mask
    with open(path, "wb") as f:
        f.write(struct.pack("<QQ", 0xF11A48D5013417F5, h) + body)


def main():
    package = os.path.abspath(sys.argv[1])
    rng = np.random.default_rng(7)
    os.makedirs(HERE, exist_ok=True)
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES.split("\n") * 3), model_writer=model, vocab_size=VOCAB, model_type="unigram",
        character_coverage=0.998, eos_id=0, unk_id=1, bos_id=-1, pad_id=-1, minloglevel=2,
        normalization_rule_name="identity")
    with open(f"{HERE}/vocab.{NAME}.spm", "wb") as f:
        f.write(model.getvalue())
    write_model(f"{HERE}/model.{NAME}.intgemm.alphas.bin", rng)
    write_shortlist(f"{HERE}/lex.{NAME}.s2t.bin", rng)
    with open(f"{HERE}/source.txt", "w") as f:
        f.write(LINES)
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["cp", "-r", package, f"{tmp}/engine"], check=True)
        os.rename(f"{tmp}/engine/translator.js", f"{tmp}/engine/translator.mjs")
        with open(f"{tmp}/engine/package.json", "w") as f:
            f.write("{}")
        with open(f"{tmp}/run.mjs", "w") as f:
            f.write(NODE)
        out = subprocess.run(["node", f"{tmp}/run.mjs", f"{tmp}/engine", HERE, NAME, f"{HERE}/source.txt"], check=True,
                             capture_output=True).stdout
    with open(f"{HERE}/target.txt", "wb") as f:
        f.write(out)


main()
