"""The tiny byte-level BPE vocabulary that the small test models carry: 256 bytes, merges, controls."""
import gguf

CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
MERGES = (
    "Ġ t|h e|Ġt he|i n|e r|o n|a n|r e|Ġ a|Ġ s|o u|Ġ w|a t|n d|Ġ o|e n|i s|Ġ c|o r|i t|Ġ b|e s|Ġ p|in g|"
    "Ġ f|e d|a l|l l|Ġ m|Ġo f|Ġ in|Ġ d|a r|Ġa nd|Ġt o|Ġ h|o m|a s|l e|r o|i c|l o|Ġ l|v e|Ġ n|en t|Ġ y|Ġy ou|"
    "c h|u t|i d|Ġb e|Ġi s|Ġ he|s t|Ġ re|i l|Ġw h|Ġ g|o w"
).split("|")
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'"
    " + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def byte_chars():
    """GPT-2's printable stand-in for each byte."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    out, n = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in out:
            out[b] = chr(256 + n)
            n += 1
    return [out[b] for b in range(256)]


def add_tokenizer(writer, n_vocab):
    """n_vocab = 256 bytes + as many merges as fit + the four controls."""
    merges = [m for m in MERGES][: n_vocab - 256 - len(CONTROLS)]
    tokens = byte_chars() + [m.replace(" ", "") for m in merges] + CONTROLS
    assert len(tokens) == n_vocab == len(set(tokens)), (len(tokens), n_vocab)
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([normal] * (n_vocab - len(CONTROLS)) + [control] * len(CONTROLS))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(n_vocab - 4)
    writer.add_eos_token_id(n_vocab - 2)
    writer.add_pad_token_id(n_vocab - 1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)
