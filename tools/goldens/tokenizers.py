#!/usr/bin/env python3
"""Goldens of the tokenizers: tests/data/tok/*.gguf (vocabulary only) and *.json (texts with their ids).

Trains small tokenizers with Hugging Face tokenizers and SentencePiece on the texts below; what those libraries
make of the texts is the truth. Run from the repository root; needs the packages tokenizers, sentencepiece, gguf.
"""
import io
import json
import os
import random
import sys
import unicodedata

# This file is called as the package that it needs: look for packages elsewhere first.
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]

import gguf
import numpy
import sentencepiece
import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

OUT = "tests/data/tok"

TEXT = """The quick brown fox jumps over the lazy dog. It's 10:45; they've said "hello, world!" and we'll go.
In 1492 Columbus sailed; 3.14159265 is pi, 1234567890 a number, 0x1F hex and 12,345,678 money.
def main(argc, argv):\n    if argc > 1:\n\t\treturn argv[1] + "\\n"\n\n\n    return None  # nothing
Äpfel und Übermut: die Straße ist naß. L'été, ça va? Ελληνικά γράμματα, кириллица и текст, İstanbul'da ısı.
日本語のテキストと中文字符，以及한국어 문장。ภาษาไทยไม่มีช่องว่าง हिन्दी में लिखा है العربية لغة جميلة
CamelCaseWords HTTPServer iPhone McDonald's O'REILLY DON'T I'M YOU'LL 'tis ''s x's 😀👍🏽 ½ ² Ⅷ ٣٤٥ e\u0301 n\u0303
foo_bar(baz)[0] = {a: 1, b: 2}; // comment  /* block */ <tag attr="v">text</tag> $5 €6 ^~|` @user #tag
"""
# What random texts are made of: every kind of character that a split pattern tells apart.
POOL = list("aabcsdtmMSTDLxyzABZ019 56\t\n\r  ''.,!?;:-_+$^~|`<>()/\\\"#") + [
    "'s", "'LL", "'re", "'Ve", "  ", "\n\n", "\r\n", "   ", "\u00a0", "\u3000", "\u0085", "\u2028", "\u180e", "ß", "Ä", "é",
    "e\u0301", "\u0301", "İ", "ı", "ſ", "'ſ", "ǅ", "ʰ", "ª", "α", "Σ", "ж", "Ѐ", "中", "文", "字", "〇", "々", "ひ", "カ", "ー", "한", "국",
    "ก", "า", "ิ", "है", "ह", "ा", "ا", "ل", "٣", "३", "½", "²", "Ⅷ", "①", "😀", "👍🏽", "€", "。", "，", "！", "…", "،", "।", "’", "“",
    "\u200b", "\u200d", "\ufeff", "\ufffd", "ﬁ", "Ａ", "１", "𝒳", "𐐀", "ᾳ", "ﬓ", "\x01", "\x7f"]


def random_texts(seed, count, length):
    r = random.Random(seed)
    texts = []
    for _ in range(count):
        run, s = r.choice(POOL), ""
        for _ in range(length):
            if r.random() < 0.6:
                run = r.choice(POOL)
            s += run
        texts.append(s)
    return texts


TEXTS = [l for l in TEXT.split("\n")] + [TEXT, "", " ", "a", "\n", " \n ", "   x", "x   ", "\t\t\n\n  y", "1", "12345", "123456 7"] \
    + random_texts(1, 24, 14)

# The split patterns as the models' tokenizer.json have them (tiktoken's for kimi-k2).
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
UP, LOW = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
HAN_UP, HAN_LOW = UP[:-1] + r"&&[^\p{Han}]]", LOW[:-1] + r"&&[^\p{Han}]]"
HEAD, TAIL = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"


def cased(up, low, tail):
    return HEAD + up + "*" + low + "+" + tail + "|" + HEAD + up + "+" + low + "*" + tail


END = r"\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = cased(UP, LOW, TAIL) + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + END
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
             r"| ?[\p{P}\p{S}]+[\r\n]*|" + END)
CJK = "[一-龥\u3040-ゟ゠-ヿ]+"
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
PRE = {
    "gpt-2": [GPT2],
    "llama-bpe": [LLAMA3],
    "qwen2": [QWEN2],
    "smollm": [r"\p{N}", GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+".encode("utf-8", "surrogatepass").decode("utf-8"),
                       r"\p{N}"],
    "deepseek-llm": ["[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕ"
                     r"Ἐ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-" "\u1f7d" r"ᾀ-ᾴᾶ-ᾼ" "\u1fbe" r"ῂ-ῄῆ-ῌῐ-" "\u1fd3" r"ῖ-" "\u1fdb" r"ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ" "\u2126"
                     r"ℨ" "\u212a" r"-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
                     r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}+"],
    "deepseek-v3": [r"\p{N}{1,3}", CJK, DEEPSEEK3],
    "spark2_5": [r"\p{N}{1,3}", CJK, DEEPSEEK3.replace(r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+", r" ?[\p{P}\p{S}]+|[\r\n]"), r"\p{N}"],
    "youtu": ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + CJK,
              cased(UP, LOW, TAIL) + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + END],
    "qwen35": [QWEN2.replace(r"]?\p{L}+", r"]?[\p{L}\p{M}]+").replace(r" ?[^\s\p{L}\p{N}]", r" ?[^\s\p{L}\p{M}\p{N}]")],
    "tekken": [cased(UP, LOW, "") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + END],
    "gpt-4o": [GPT4O],
    "kimi-k2": [r"[\p{Han}]+|" + cased(HAN_UP, HAN_LOW, TAIL) + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + END],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "bailingmoe": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"],
    "seed-coder": [LLAMA3.replace(r"{1,3}", "{1}").replace(r"[^\s\p{L}\p{N}]+[\r\n]*", r"[^\s\p{L}\p{N}" "\r\n]+")],
    "exaone-moe": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
                   r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"],
    "bloom": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
    "chameleon": [r"<sentinel:[0-9]+>", r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}",
                  r"[\p{P}!-/:-@\[-`{-~]", GPT2],
    "minicpm5": [r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")],
    "ufakzeka": [QWEN2.split(")|", 1)[1]],
    "laguna": [r"[^\n]+|[\n]+", QWEN2],
    "jais-2": [LLAMA3.replace(r"|\s+(?!\S)|\s+", "".join(r"|\s{%d}(?!\S)" % n for n in (512, 256, 128, 64, 32, 16, 8, 4))
                              + r"|\s{1,2}(?!\S)|\s{1}")],
}
IGNORE_MERGES = {"llama-bpe", "tekken", "youtu", "minicpm5"}


def pre_tokenizer(rules):
    parts = [pre_tokenizers.Split(Regex(r), "isolated") for r in rules]
    return pre_tokenizers.Sequence(parts + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def write_gguf(name, model, tokens, types, scores=None, merges=None, pre=None, flags=None, ids=None, charsmap=None):
    w = gguf.GGUFWriter(os.path.join(OUT, name + ".gguf"), "llama")
    w.add_tokenizer_model(model)
    if pre:
        w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(types)
    if scores is not None:
        w.add_token_scores(scores)
    if merges is not None:
        w.add_token_merges(merges)
    for key, value in (flags or {}).items():
        w.add_bool("tokenizer.ggml." + key, value)
    for key, value in (ids or {}).items():
        w.add_uint32("tokenizer.ggml.%s_token_id" % key, value)
    if charsmap:
        w.add_precompiled_charsmap(charsmap)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def write_json(name, data):
    data["made_with"] = {"tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__,
                         "python": sys.version.split()[0], "unicode": unicodedata.unidata_version}
    with open(os.path.join(OUT, name + ".json"), "w") as f:
        f.write(json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("],[", "],\n["))
        f.write("\n")


def byte_level():
    """One vocabulary whose merges cross every boundary, so that each pattern's cuts show."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=1100, min_frequency=2, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    corpus = random_texts(7, 1200, 10) + TEXT.split("\n") * 3 + [TEXT[i:i + 9] for i in range(0, len(TEXT), 4)] * 2
    tok.train_from_iterator(corpus, trainer)
    state = json.loads(tok.to_str())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in state["merges"]]
    tokens = [t for t, _ in sorted(state["vocab"].items(), key=lambda x: x[1])]
    types = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
    write_gguf("bpe", "gpt2", tokens, types, merges=merges, pre="gpt-2", ids={"bos": 0, "eos": 2})
    expected = {}
    for name, rules in PRE.items():
        state["ignore_merges"] = name in IGNORE_MERGES
        one = Tokenizer(models.BPE(vocab=state["vocab"], merges=[tuple(m.split(" ")) for m in merges],
                                   ignore_merges=state["ignore_merges"]))
        one.pre_tokenizer = pre_tokenizer(rules)
        expected[name] = [one.encode(t, add_special_tokens=False).ids for t in TEXTS]
    tok.pre_tokenizer = pre_tokenizer(PRE["gpt-2"])
    tok.decoder = decoders.ByteLevel()
    chat = "<|im_start|>user\nIt's <|im_end|> here<|im_end|>\n<|im_start|><|im_star|>"
    write_json("bpe", {"texts": TEXTS, "pre": expected,
                       "special": [{"text": chat, "ids": tok.encode(chat, add_special_tokens=False).ids}]})


def wordpiece():
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    tok.train_from_iterator(TEXT.split("\n") * 2 + random_texts(3, 60, 10), trainer)
    state = json.loads(tok.to_str())["model"]
    words = [t for t, _ in sorted(state["vocab"].items(), key=lambda x: x[1])]
    tokens = [w if w in special else w[2:] if w.startswith("##") else "\u2581" + w for w in words]
    assert len(set(tokens)) == len(tokens)
    types = [gguf.TokenType.CONTROL if w in special else gguf.TokenType.NORMAL for w in words]
    write_gguf("wordpiece", "bert", tokens, types, ids={"unknown": 1, "cls": 2, "bos": 2, "seperator": 3, "padding": 0})
    texts = TEXTS + ["x" * 100, "x" * 101, "Ångström ÇA VA naïve İI ΑΣ Σ", "한국어 ガ か\u3099", "a\u0301\u0300b \u200bz"]
    write_json("wordpiece", {"texts": texts, "ids": [tok.encode(t, add_special_tokens=False).ids for t in texts]})


def fields(b):
    """The fields of a protocol buffer, as (number, value)."""
    def varint(i):
        n = shift = 0
        while True:
            n |= (b[i] & 127) << shift
            shift += 7
            i += 1
            if b[i - 1] < 128:
                return n, i
    i, out = 0, []
    while i < len(b):
        key, i = varint(i)
        if key & 7 == 0:
            value, i = varint(i)
        else:
            n, i = varint(i) if key & 7 == 2 else (8 if key & 7 == 1 else 4, i)
            value = b[i:i + n]
            i += n
        out.append((key >> 3, value))
    return out


def sentencepieces():
    corpus = [l for l in TEXT.split("\n") if l] * 3
    # NUL and U+2581 are not text to SentencePiece.
    texts = [t for t in TEXTS if t and "\u2581" not in t]
    rules = "\n".join("%s\t%s" % (" ".join("%X" % ord(c) for c in a), " ".join("%X" % ord(c) for c in b)) for a, b in [
        ("ﬁ", "fi"), ("Ａ", "A"), ("１", "1"), ("½", "1\u20442"), ("e\u0301", "é"), ("\u00a0", " "), ("\u3000", " "), ("\t", " "),
        ("\n", " "), ("\r", " "), ("Ⅷ", "VIII"), ("…", "..."), ("ǅ", "Dž"), ("\u200b", ""), ("²", "2")])
    rules_file = os.path.join(OUT, "rules.tsv")
    with open(rules_file, "w") as f:
        f.write(rules + "\n")
    variants = {
        "unigram": dict(model_type="unigram", vocab_size=420, normalization_rule_tsv=rules_file),
        "unigram-bytes": dict(model_type="unigram", vocab_size=700, normalization_rule_name="identity", byte_fallback=True,
                              remove_extra_whitespaces=False),
        "spm": dict(model_type="bpe", vocab_size=900, normalization_rule_name="identity", byte_fallback=True,
                    remove_extra_whitespaces=False),
        "spm-unknown": dict(model_type="bpe", vocab_size=500, normalization_rule_name="identity",
                            remove_extra_whitespaces=False, add_dummy_prefix=False, user_defined_symbols=["<sep>", "\n"]),
    }
    for name, options in variants.items():
        out = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=out, character_coverage=0.98,
                                                 minloglevel=2, hard_vocab_limit=False, num_threads=1, **options)
        sp = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
        ids, user = range(sp.get_piece_size()), options.get("user_defined_symbols", [])
        # The numbers of SentencePiece's types are GGUF's.
        types = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 5 if sp.is_unused(i)
                 else 4 if sp.id_to_piece(i) in user else 1 for i in ids]
        charsmap = [v for f, v in fields(dict(fields(out.getvalue()))[3]) if f == 2]
        write_gguf(name, "t5" if options["model_type"] == "unigram" else "llama",
                   [sp.id_to_piece(i) for i in ids], types, scores=[sp.get_score(i) for i in ids],
                   flags={"add_space_prefix": options.get("add_dummy_prefix", True),
                          "remove_extra_whitespaces": options.get("remove_extra_whitespaces", True)},
                   ids={"unknown": 0, "bos": 1, "eos": 2}, charsmap=charsmap[0] if charsmap and charsmap[0] else None)
        more = ["<sep>a<sep>", "  two  spaces  "] if name == "spm-unknown" else ["  two  spaces  "]
        write_json(name, {"texts": texts + more, "ids": [sp.encode(t) for t in texts + more],
                          "decoded": [sp.decode(sp.encode(t)) for t in texts + more]})


def main():
    os.makedirs(OUT, exist_ok=True)
    numpy.random.seed(0)
    byte_level()
    wordpiece()
    sentencepieces()
    os.remove(os.path.join(OUT, "rules.tsv"))
    total = sum(os.path.getsize(os.path.join(OUT, f)) for f in os.listdir(OUT))
    print("%s: %d bytes; tokenizers %s, sentencepiece %s" % (OUT, total, tokenizers.__version__, sentencepiece.__version__))


if __name__ == "__main__":
    main()
