#!/usr/bin/env bash
# cli_test.sh [LAR] - the `lar` command from outside: contracts, exit codes, pipes, terminals, completion, chat.
# Runs from the repository root on the committed tiny model. Python is used as a tool (JSON, a pseudo terminal).
# Prints "N passed, N failed"; exit status 1 when one failed.
set -u
lar=${1:-./lar}
case $lar in /*) ;; *) lar=$PWD/$lar ;; esac
tiny=$PWD/tests/data/tiny.gguf
tools=$PWD/tests/cli_pty.py
pass=0 fail=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LAR_MODELS=$work/models XDG_STATE_HOME=$work/state HOME=$work
unset NO_COLOR LAR_CPU COLUMNS XDG_CACHE_HOME LAR_PREFIX_CACHE
mkdir "$LAR_MODELS"

if [ ! -x "$lar" ] || [ ! -f "$tiny" ]; then
    echo "cli_test: needs $lar and tests/data/tiny.gguf"
    exit 1
fi

# ok NAME COMMAND...: passes when the command succeeds.
ok() {
    local name=$1
    shift
    if "$@" >"$work/ok" 2>&1; then
        pass=$((pass + 1))
    else
        fail=$((fail + 1))
        echo "FAIL $name: $*"
        head -c 600 "$work/ok"
    fi
}

# call ARGUMENTS...: run lar without standard input; $out, $err (files) and $rc.
out=$work/out err=$work/err rc=0
call() {
    rc=0
    timeout 60 "$lar" "$@" >"$out" 2>"$err" </dev/null || rc=$?
}

code() { [ "$rc" -eq "$1" ]; }
says() { grep -q -e "$2" "$1"; }
lines() { [ "$(wc -l <"$1")" -eq "$2" ]; }
empty() { [ ! -s "$1" ]; }
plain() { ! grep -q $'\033' "$1"; }
one_error() { code "$1" && empty "$out" && says "$err" '^lar: ' && says "$err" "$2"; }
# json FILE EXPRESSION: of the one JSON value in FILE, named j.
json() {
    python3 -c 'import json, sys
s = open(sys.argv[1], encoding="utf-8").read()
j = json.loads(s)
assert s.count("\n") == 1 and s.endswith("\n"), "not one line"
assert eval("(" + sys.argv[2] + ")"), sys.argv[2]' "$1" "$2"
}

# ---- verbs, help, exit codes ------------------------------------------------------------------------
call version
ok version code 0
ok "version text" says "$out" '^lar [0-9]'
call --version
ok --version says "$out" '^lar [0-9]'
call version --json
ok "version --json" json "$out" 'j["version"] and j["abi"] >= 0'
call
ok "no verb: help" says "$out" '^Verbs'
for verb in chat run list pull rm verify show tokenize template logits bench eval doctor cache convert quantize imatrix perplexity completion help version; do
    call help "$verb"
    ok "help $verb" code 0
    ok "help $verb: usage" says "$out" "^Usage: lar $verb"
    call "$verb" --help
    ok "$verb --help" says "$out" "^Usage: lar $verb"
done
for words in "show $tiny x" 'show -m a x' 'doctor x' 'list x' 'help run x' 'version x'; do
    # shellcheck disable=SC2086 # one word an argument
    call $words
    ok "too many: $words" one_error 2 "'x' is one argument too many"
done
call help run
ok "help from the field table" says "$out" '--top-k'
ok "help has ranges" says "$out" '(0 to 100)'
call rum
ok "unknown verb" one_error 2 "did you mean 'run'"
call run --tmep 1 hi
ok "unknown flag" one_error 2 'did you mean --temp'
call run --nothinglikeit hi
ok "unknown flag without a neighbour" one_error 2 "unknown flag"
call run -m "$tiny" -p hi --temp warm
ok "bad number" one_error 2 'want a number from 0 to 100'
call run -m "$tiny" -p hi -n 1.5
ok "bad whole number" one_error 2 'whole number'
call run -m "$tiny" -p hi --temp -1
ok "out of range" one_error 2 'temp'
call run -m "$tiny" -p hi --kv f64
ok "bad choice" one_error 2 'want one of f32, f16, q8_0, q4_0'
call run -m "$tiny" -p hi -n
ok "missing value" one_error 2 'value is missing'
call run -m "$tiny" --color blue -p hi
ok "bad --color" one_error 2 'want one of auto'
call run
ok "no prompt" one_error 2 'no prompt'
call chat a b
ok "chat with two words" one_error 2 'too much'
call run -m "$work/none.gguf" -p hi
ok "no such file" one_error 1 'No such file'
call run -m nothing -p hi
ok "no such model" one_error 1 "no fetched model 'nothing'"
call run hi
ok "no default model" one_error 1 'none is fetched'
printf 'not a model' >"$work/bad.gguf"
call run -m "$work/bad.gguf" -p hi
ok "not a model" one_error 1 'bad.gguf'

# ---- run -------------------------------------------------------------------------------------------
call run -m "$tiny" -p Hello -n 8 --temp 0 --raw --ignore-eos --json
ok "run --json" code 0
ok "run --json contract" json "$out" 'isinstance(j["text"], str) and len(j["tokens"]) == 8 and
 all(isinstance(t, int) for t in j["tokens"]) and j["timings"]["prompt_tokens"] > 0 and
 j["timings"]["prompt_per_second"] > 0 and j["timings"]["predicted_per_second"] > 0 and
 j["timings"]["first_token_ms"] > 0 and j["peak_rss_bytes"] > 1000000'
ok "run --json: nothing on stderr" empty "$err"
cp "$out" "$work/first.json"
call run -m "$tiny" -p Hello -n 40 --temp 0 --raw --ignore-eos --json --speculate off
cp "$out" "$work/plain.json"
call run -m "$tiny" --draft "$tiny" -p Hello -n 40 --temp 0 --raw --ignore-eos --json --speculate draft --draft-min 4
ok "run --draft: the same answer, every guess right" python3 -c 'import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:]); s = b["speculation"]
assert a["tokens"] == b["tokens"] and "speculation" not in a and list(s["kinds"]) == ["draft"]
assert s["accepted"] == s["drafted"] > 20 and s["acceptance"] == 1' "$work/plain.json" "$out"
call run -m "$tiny" --draft tests/data/models/gemma3_62.gguf -p Hello -n 4
ok "run --draft: another vocabulary" code 2
ok "run --draft: says what differs" grep -q 'token 260 is "<|endoftext|>" there and "er"' "$err"
call run -m "$tiny" -p Hello -n 4 --speculate draft
ok "run --speculate draft without one" grep -q -e '--draft MODEL' "$err"
call run --model="$tiny" --prompt=Hello -n8 --temp=0 --raw --ignore-eos --json -t 1
ok "--flag=value, -nN" python3 -c 'import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:]); assert a["tokens"] == b["tokens"]' "$out" "$work/first.json"
call run "$tiny" Hello -n 8 --temp 0 --raw --ignore-eos
ok "run MODEL PROMPT" code 0
ok "run text ends with a newline" python3 -c 'import sys; s = open(sys.argv[1], "rb").read()
import json; t = json.load(open(sys.argv[2]))["text"].encode(); assert s.rstrip(b"\n") == t.rstrip(b"\n") and s[-1:] == b"\n"' "$out" "$work/first.json"
ok "no colours in a pipe" plain "$out"
ok "nothing else in a pipe" empty "$err"
printf 'Hello' | timeout 60 "$lar" run -m "$tiny" -n 8 --temp 0 --raw --ignore-eos --json >"$out" 2>"$err"
ok "piped prompt" python3 -c 'import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:]); assert a["tokens"] == b["tokens"]' "$out" "$work/first.json"
printf 'lo' | timeout 60 "$lar" run -m "$tiny" -n 4 --raw --json "Hel" >"$out" 2>"$err"
ok "words, then the pipe" json "$out" 'j["timings"]["prompt_tokens"] >= 4'
printf 'a\0b' | timeout 60 "$lar" run -m "$tiny" -n 4 >"$out" 2>"$err"
rc=$?
ok "NUL in a piped prompt" one_error 1 'NUL'
call run -m "$tiny" -n 4 --temp 0 --raw -- --not-a-flag
ok "-- ends flags" code 0
call run -m "$tiny" --messages '[{"role":"user","content":"Hi"}]' -n 4 --json
ok "--messages" json "$out" 'j["timings"]["prompt_tokens"] > 5'
printf '[{"role":"user","content":"Hi"}]' >"$work/m.json"
call run -m "$tiny" --messages "@$work/m.json" -n 4 --json
ok "--messages @FILE" code 0
call run -m "$tiny" --messages '{' -n 4
ok "broken JSON" code 2
call run -m "$tiny" -p Hello -n 4 --raw --json --stop a --stop b
ok "--stop twice" code 0
call run -m "$tiny" -p Hello --raw -n 4 --cache "$work/c" --json
ok "--cache makes a file" test -s "$work/c"
call run -m "$tiny" -p Hello --raw -n 4 --cache "$work/c" --json
ok "--cache is used" json "$out" 'j["timings"]["cached_tokens"] > 0'
echo notes >"$work/notes"
call run -m "$tiny" -p Hello --raw -n 4 --cache "$work/notes"
ok "--cache is somebody's file" one_error 1 'notes is not a saved session'
ok "--cache overwrites nothing else" grep -qx notes "$work/notes"
call run -p Hello world
ok "a prompt given twice" one_error 2 "given twice.*'world'"
call run -p Hello --raw -n 2 "$tiny"
ok "a MODEL after -p" code 0
call run hello world
ok "unquoted words" one_error 1 "no fetched model 'hello'"
ok "unquoted words: hint" says "$err" 'quote them: lar run "hello world"'
LAR_CPU=nosuch call run -m "$tiny" -p Hello
ok "LAR_CPU is named" one_error 2 'LAR_CPU.*nosuch'
call run -m "$tiny" -p Hello --seed 1e17
ok "bounds are whole numbers" one_error 2 'to 9007199254740991'

# ---- settings beside a model -----------------------------------------------------------------------
cp "$tiny" "$work/own.gguf"
echo '{"temp": 0, "max_tokens": 3, "ignore_eos": true}' >"$work/own.settings.json"
call run -m "$work/own.gguf" -p Hello --raw --json
ok "settings beside a model" json "$out" 'len(j["tokens"]) == 3'
call run -m "$work/own.gguf" -p Hello --raw --json -n 2
ok "a flag comes before them" json "$out" 'len(j["tokens"]) == 2'
echo '{"max_tokens": 3, "ignore_eos": true, "temp": "warm", "bogus": 1, "prompt": "x",
    "logit_bias": "x", "template_vars": 1}' >"$work/own.settings.json"
call run -m "$work/own.gguf" -p Hello --raw --json
ok "wrong settings fail nothing" json "$out" 'len(j["tokens"]) == 3'
for field in temp bogus prompt logit_bias template_vars; do
    ok "a wrong setting is named: $field" says "$err" "^note: .*own.settings.json: '$field' is not used"
done
call logits -m "$work/own.gguf" -p Hello
ok "settings are for answers only" empty "$err"
echo '[1' >"$work/own.settings.json"
call run -m "$work/own.gguf" -p Hello --raw -n 2
ok "broken settings are said" says "$err" '^note: .*own.settings.json is not used: line [0-9]*: .'
ok "broken settings fail nothing" code 0
call run -m "$tiny" -p Hello --raw -n 4 --ctx 999999
ok "a reduced context is said" says "$err" '^note: .*context'
call run -m "$tiny" -p Hello --raw -n 4 --cpu nosuch
ok "unknown kernels" says "$err" '^lar: '
call run -m "$tiny" -p "$(printf 'word %.0s' {1..3000})" --raw -n 4
ok "a prompt longer than the context" one_error 1 'tokens'
ok "with a hint" says "$err" '--ctx'

# ---- pipes -------------------------------------------------------------------------------------------
if [ -e /dev/full ]; then
    rc=0
    timeout 60 "$lar" show "$tiny" >/dev/full 2>"$err" </dev/null || rc=$?
    ok "full disk: code" code 1
    ok "full disk: message" says "$err" 'cannot write'
fi
if [ -e /dev/full ]; then
    rc=0
    timeout 60 "$lar" run -m "$tiny" -p Hi --raw -n 20 >/dev/full 2>"$err" </dev/null || rc=$?
    ok "full disk while answering: code" code 1
    ok "full disk while answering: reason" says "$err" 'cannot write.*No space left'
fi
rc=0
timeout 60 "$lar" run -m "$tiny" -p Hi --raw -n 20 >&- 2>"$err" </dev/null || rc=$?
ok "closed output: code" code 1
ok "closed output: reason" says "$err" 'cannot write.*Bad file'
timeout 60 "$lar" show "$tiny" --metadata --json 2>"$err" </dev/null | head -c 5 >/dev/null
ok "a closed pipe is quiet" empty "$err"
# An open pipe that never says anything must not hold up -p.
mkfifo "$work/fifo"
(exec 3<>"$work/fifo"; timeout 20 "$lar" run -m "$tiny" -p Hi --raw -n 2 --json <"$work/fifo" >"$out" 2>"$err"; echo $? >"$work/rc")
ok "-p does not wait for an open pipe" grep -q '^0$' "$work/rc"
call show "$tiny" --color always
ok "--color always colours" says "$out" $'\033'
NO_COLOR=1 call show "$tiny"
ok "NO_COLOR" plain "$out"

# ---- the prefix cache ---------------------------------------------------------------------------------
prefix=$work/.cache/lar/prefix
printf 'a b c d e f g h i j k l m n o p q r s t u v w x y z %.0s' {1..12} >"$work/long"
long() { # FLAGS...: an answer to a long prompt
    rc=0
    timeout 60 "$lar" run -m "$tiny" --raw -n 4 --temp 0 --ignore-eos "$@" <"$work/long" >"$out" 2>"$err" || rc=$?
}
pages() { find "$prefix" -name '*.kv' 2>/dev/null | wc -l; }
# soon COMMAND...: what is kept is written by a process of its own, after the answer.
soon() {
    local i
    for i in {1..200}; do
        "$@" && return
        sleep 0.05
    done
    return 1
}
some_pages() { [ "$(pages)" -gt 5 ] && [ ! -e "$prefix"/*.tmp ]; }
long --json
ok "--json keeps nothing" test ! -e "$work/.cache"
call bench -m "$tiny" --prompts 300 --generate 1 --repetitions 1
call logits -m "$tiny" -p "$(cat "$work/long")"
ok "bench and logits keep nothing" test ! -e "$work/.cache"
long --no-prefix-cache
cp "$out" "$work/plain"
LAR_PREFIX_CACHE=off long
LAR_PREFIX_CACHE=0 long
long --cache "$work/long.session"
sleep 0.5
ok "switched off, it keeps nothing" test ! -e "$work/.cache"
LAR_PREFIX_CACHE=much long
ok "a size that is none" says "$err" "LAR_PREFIX_CACHE is 'much'"
long
ok "run keeps a long prompt" soon some_pages
ok "for this user alone" test "$(stat -c %a "$prefix" 2>/dev/null || stat -f %Lp "$prefix")" = 700
sleep 0.3
long --json --prefix-cache
ok "and the next run finds it" json "$out" 'j["timings"]["cached_on_disk"] > 300 and
 j["timings"]["cached_on_disk"] == j["timings"]["cached_tokens"]'
long --json
ok "--json does not look" json "$out" 'j["timings"]["cached_tokens"] == 0'
long
ok "the answer is the same" cmp "$out" "$work/plain"
chat_pages() { [ "$(pages)" -gt "$before" ]; }
before=$(pages)
timeout 60 "$lar" chat -m "$tiny" -n 2 --temp 0 <"$work/long" >"$out" 2>"$err"
ok "chat keeps a long prompt" soon chat_pages
sleep 0.3
call cache
ok "cache" says "$out" "of 2.1 GB, $prefix"
call cache --json
ok "cache --json" json "$out" 'type(j["files"]) is int and j["files"] > 6 and j["bytes"] > 10000 and j["limit"] == 2**31'
call doctor
ok "doctor shows it" says "$out" "^prefix cache .*$prefix"
touch "$prefix/notes" "$prefix/be.txt" "$prefix/ab" "$prefix/ab-xyz"
call cache --clear
ok "cache --clear" says "$out" '^0 '
ok "cache --clear removes nothing else" test "$(ls -m "$prefix")" = 'ab, ab-xyz, be.txt, notes'
LAR_PREFIX_CACHE=200K long
small_pages() { [ "$(pages)" -gt 0 ]; }
soon small_pages
sleep 0.3
call cache
ok "LAR_PREFIX_CACHE is the size" test "$(pages)" -le 3
(unset HOME; long; call cache; ok "no HOME" says "$out" 'HOME is not set'; exit "$fail") || fail=$((fail + 1))
rm -rf "$work/.cache"
touch "$work/.cache"
long
ok "a folder that cannot be made" cmp "$out" "$work/plain"
ok "... is no reason to say anything" empty "$err"
rm -f "$work/.cache"

# ---- tokenize, template, logits, show, doctor, list ----------------------------------------------------
printf 'Hello' | timeout 60 "$lar" tokenize -m "$tiny" >"$out" 2>"$err"
ok "tokenize" grep -Eq '^[0-9]+( [0-9]+)*$' "$out"
ok "tokenize: one line" lines "$out" 1
printf 'a\0b\xff\xfe' | timeout 60 "$lar" tokenize -m "$tiny" --no-bos >"$out" 2>"$err"
ok "tokenize any bytes" grep -Eq '^[0-9]+( [0-9]+)+$' "$out"
printf '' | timeout 60 "$lar" tokenize -m "$tiny" --no-bos >"$out" 2>"$err"
ok "tokenize nothing" lines "$out" 1
printf '<|im_end|>' | timeout 60 "$lar" tokenize -m "$tiny" --no-bos >"$out"
printf '<|im_end|>' | timeout 60 "$lar" tokenize -m "$tiny" --no-bos --special >"$work/special"
ok "special tokens only when asked" [ "$(wc -w <"$work/special")" -eq 1 -a "$(wc -w <"$out")" -gt 1 ]
printf 'Hello' | timeout 60 "$lar" tokenize -m "$tiny" --json >"$out"
ok "tokenize --json" json "$out" 'len(j["tokens"]) > 0'
printf '{"messages":[{"role":"user","content":"Hi"}],"add_generation_prompt":true}' >"$work/req"
timeout 60 "$lar" template -m "$tiny" <"$work/req" >"$out" 2>"$err"
ok "template -m" says "$out" 'Hi'
printf '{%% for m in messages %%}[{{ m.role }}:{{ m.content }}{{ extra }}]{%% endfor %%}' >"$work/t.jinja"
printf '{"messages":[{"role":"user","content":"Hi"}],"extra":"!"}' |
    timeout 60 "$lar" template --template "$work/t.jinja" >"$out" 2>"$err"
ok "template --template FILE" [ "$(cat "$out")" = '[user:Hi!]' ]
ok "template: not a byte more" [ "$(wc -c <"$out")" -eq 10 ]
echo '{"x":1}' | timeout 60 "$lar" template -m "$tiny" >"$out" 2>"$err"
rc=$?
ok "template without messages" code 0
ok "template without messages: a note" says "$err" "^note: .*no 'messages'"
printf '{"messages":' | timeout 60 "$lar" template --template "$work/t.jinja" >"$out" 2>"$err"
rc=$?
ok "template: broken request" one_error 1 ''
call logits -m "$tiny" -p Hello --top 5 --json
ok "logits --json" json "$out" 'len(j["logits"]) == 5 and len(j["sha256"]) == 64 and
 all(set(x) >= {"id", "logit", "logprob"} for x in j["logits"]) and
 j["logits"] == sorted(j["logits"], key=lambda x: -x["logit"])'
for kv in f32 f16 q8_0 q4_0; do
    call logits -m "$tiny" -p Hello --top 1 --kv "$kv" --json
    ok "logits --kv $kv" json "$out" 'len(j["logits"]) == 1'
done
call logits -m "$tiny" -p Hello --top 1 --json
cp "$out" "$work/logits"
echo Hello | timeout 60 "$lar" logits -m "$tiny" --top 1 --json >"$out" 2>"$err"
ok "logits of a piped prompt" cmp "$out" "$work/logits"
call logits -m "$tiny" -p Hello
ok "logits as a table" says "$out" 'sha256 [0-9a-f]'
call show "$tiny"
ok show says "$out" '^architecture *llama'
ok "show memory" says "$out" '^Memory'
call show "$tiny" --json
ok "show --json" json "$out" 'j["architecture"] == "llama" and j["tensors"] and j["metadata"]'
call show "$tiny" --tensors
ok "show --tensors" says "$out" 'token_embd.weight'
call show "$tiny" --metadata
ok "show --metadata" says "$out" 'general.architecture'
call doctor
ok doctor says "$out" '^GPU *none'
call doctor --json
ok "doctor --json" json "$out" 'isinstance(j["variants"], list) and "generic" in j["variants"] and
 j["variant"] in j["variants"] and j["threads"] > 0 and j["memory"]["total"] > 0 and "model_directory" in j'
call bench "$tiny" -p 16 -n 4 -r 1 --seconds 0 --json
ok "bench --json" json "$out" 'len(j["rows"]) == 2 and j["peak_rss"] > 1e6 and j["variant"] and
 [m["threads"] for m in j["machine"]] == [j["rows"][0]["threads"]] and
 all(r["gb_share"] > 0 and r["gmac_share"] > 0 for r in j["rows"])'
call bench "$tiny" -p 8,16 -n 4 -b 8,16 -t 1,2 --kv f16,q8_0 --parallel 1,3 -d 0,5 -r 1 --seconds 0 --no-limits --csv
ok "bench --csv" python3 -c 'import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
key = lambda r: tuple(r[k] for k in ("test", "tokens", "depth", "batch", "parallel", "threads", "kv"))
sys.exit(not (len(rows) == 2 * 2 * 2 * (1 + 2 + 2) and len(set(map(key, rows))) == len(rows) and
  all(float(r["per_second_min"]) <= float(r["per_second"]) <= float(r["per_second_max"]) and
      r["gb_share"] == "" for r in rows)))' "$out"
call bench "$tiny" -p 16 -n 4 -r 1 --seconds 0 --no-limits
ok "bench as a table" says "$out" '^test *tokens/s .*GB/s'
call bench "$tiny" --csv --json
ok "bench: one format" one_error 2 'want one of them'
call bench "$tiny" -p 16x
ok "bench: a wrong list" one_error 2 "prompts: '16x'"
call bench "$tiny" --kv q9
ok "bench: a wrong cache type" one_error 2 "kv: 'q9'"
call list --json
ok "list, empty" json "$out" 'j["models"] == []'
cp "$tiny" "$LAR_MODELS/Tiny-Model.gguf"
call list
ok list says "$out" '^Tiny-Model .*default'
call run -m tiny-model -p Hi --raw -n 2
ok "a name, whatever its case" code 0
call run -p Hi --raw -n 2
ok "the only model is the default" code 0
call run -m tiny-modle -p Hi
ok "did you mean" one_error 1 "did you mean 'Tiny-Model'"
cp "$tiny" "$LAR_MODELS/other.gguf"
call run -p Hi --raw -n 2
ok "two models, no default" one_error 1 'default'
echo other >"$LAR_MODELS/default"
call list --json
ok "the default file" json "$out" '[m["name"] for m in j["models"] if m["default"]] == ["other"]'

# ---- flags that contradict each other, files that cannot be ------------------------------------------
call run -m "$tiny" -p Hi --raw -n 4 --draft-max 2 --draft-min 9
ok "draft-min over draft-max" one_error 2 "at most draft-max's 2"
call run -m "$tiny" -p Hi --raw -n 4 --draft "$tiny" --speculate off
ok "a draft model that is not used" one_error 2 'speculate off'
call run -m "$tiny" -p Hi --raw -n 4 --kv Q8_0
ok "a choice in capitals" code 0
call run -m "$tiny" -p Hi --raw -n 4 --cache "$work/no/such"
ok "--cache is tried before the answer" one_error 1 'cache: .*directory does not exist'
call run -m "$tiny" -p Hi --cpu none
ok "an unknown variant" one_error 2 "no kernel variant 'none'"
LAR_CPU=none call run -m "$tiny" -p Hi
ok "an unknown variant by environment" one_error 2 "LAR_CPU: there is no kernel variant 'none'"
call bench "$tiny" -p 0 -n 2 --seconds 0 --no-limits --json
ok "bench of generation alone" code 0
call help bench
ok "what --no-limits says" says "$out" 'no-limits  *Do not measure'
call eval no-such-task "$tiny"
ok "an unknown evaluation" one_error 1 'LAR_EVALS'

# ---- files made of others: quantize, convert ---------------------------------------------------------
mkdir "$work/made"
cp "$tiny" "$work/made/in.gguf"
ln -s in.gguf "$work/made/link.gguf"
ln "$work/made/in.gguf" "$work/made/hard.gguf"
for name in in link hard; do
    call quantize "$work/made/in.gguf" "$work/made/$name.gguf" Q8_0 --allow-requantize
    ok "quantize onto the input, called $name" one_error 2 'output is the input'
done
ok "the input is as it was" cmp "$tiny" "$work/made/in.gguf"
call quantize "$tiny" "$work/made/out.gguf" Q4_9
ok "quantize to an unknown type" one_error 2 "'Q4_9' is not known, want one of: F32"
printf 'old\n' >"$work/made/out.gguf"
# A limit on files' sizes is a disk that is full, as far as the program sees.
limited() { (ulimit -f 60; trap '' XFSZ; call "$@"; exit "$rc"); rc=$?; }
limited quantize "$tiny" "$work/made/out.gguf" F16 --allow-requantize
ok "quantize to a full disk" one_error 1 'out.gguf: cannot write'
limited convert tests/data/hf/llama "$work/made/out.gguf" --type f32
ok "convert to a full disk" one_error 1 'out.gguf: cannot write'
ok "what was there is still there" grep -qx old "$work/made/out.gguf"
ok "and nothing else" test "$(ls -m "$work/made")" = 'hard.gguf, in.gguf, link.gguf, out.gguf'
call convert tests/data/hf/llama "$work/made/out.gguf" --json
ok "convert --json" json "$out" 'j["architecture"] == "llama" and j["tensors"] == 21'
call convert "$work/made" "$work/made/other.gguf"
ok "convert of another folder" one_error 1 'not a Hugging Face model folder'
call convert tests/data/hf/llama
ok "convert without an output" one_error 2 'want two words'

call run -m tests/data/hf/llama Hello
ok "a folder for a model" one_error 1 'a folder, want a GGUF file'
call convert tests/data/hf/llama "$work/made/other.gguf" --type Q4_K_M
ok "convert to a mixture" one_error 2 'made by quantize'
call eval README.md "$tiny" --data tests/data/eval/items.jsonl
ok "an evaluation that is no JSON" one_error 1 'README.md: not valid JSON'
call template -m "$tiny"
ok "a template without a request" one_error 2 'no request'

# ---- text from a pipe --------------------------------------------------------------------------------
text=docs/NUMERICS.md
call perplexity "$tiny" "$text" --window 64 --chunks 3 --json
cp "$out" "$work/by-name"
for how in "" "-f -"; do
    # shellcheck disable=SC2086
    timeout 60 "$lar" perplexity "$tiny" $how --window 64 --chunks 3 --json <"$text" >"$out" 2>"$err"
    ok "perplexity of standard input ($how)" cmp "$work/by-name" "$out"
done
ok "perplexity says how it was measured" json "$out" 'j["kv_type"] == "f16" and j["windows"] == 3'
call perplexity "$tiny" --window 64
ok "perplexity of nothing" one_error 2 'no text'
# What is written at the end is tried at the beginning: the window would be the next error.
call perplexity "$tiny" "$text" --window 64 --stride 64 --plot "$work/no/such.svg"
ok "a plot that cannot be written" one_error 1 'such.svg: cannot create'
call imatrix -m "$tiny" -f "$work/no-text" -o "$work/no/such.gguf"
ok "a matrix that cannot be written" one_error 1 'such.gguf: cannot create'
call eval tests/data/eval/letters.json "$tiny" --data "$work/no-data" --out "$work/no/such.json"
ok "a score that cannot be written" one_error 1 'such.json: cannot create'

# ---- completion ------------------------------------------------------------------------------------------
for shell in bash zsh fish; do
    call completion "$shell"
    ok "completion $shell" code 0
    if command -v "$shell" >/dev/null; then
        cp "$out" "$work/comp.$shell"
        ok "completion parses in $shell" "$shell" -n "$work/comp.$shell"
    fi
done
# shellcheck disable=SC2016
ok "completion works in bash" bash -c 'source "$1"; PATH=$2:$PATH
    COMP_WORDS=(lar run --top) COMP_CWORD=2; _lar; [[ " ${COMPREPLY[*]} " == *" --top-k "* ]] &&
    COMP_WORDS=(lar ru) COMP_CWORD=1 && _lar && [ "${COMPREPLY[*]}" = run ] &&
    COMP_WORDS=(lar run --kv q8) COMP_CWORD=3 && _lar && [ "${COMPREPLY[*]}" = q8_0 ] &&
    COMP_WORDS=(lar run Tin) COMP_CWORD=2 && _lar && [ "${COMPREPLY[*]}" = Tiny-Model ]' \
    _ "$work/comp.bash" "$(dirname "$lar")"
call completion tcsh
ok "completion for another shell" one_error 2 'bash, zsh or fish'

# ---- terminals ---------------------------------------------------------------------------------------------
printf 'Hi' | timeout 60 "$lar" chat "$tiny" --temp 0 --max-tokens 4 >"$out" 2>"$err"
rc=$?
ok "chat from a pipe answers" code 0
ok "chat from a pipe is plain" plain "$out"
while IFS= read -r line; do
    case $line in
    "ok "*) pass=$((pass + 1)) ;;
    *) fail=$((fail + 1)) && echo "FAIL terminal: $line" ;;
    esac
done < <(timeout 120 python3 "$tools" "$lar" "$tiny" "$work" 2>&1)

echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ]
