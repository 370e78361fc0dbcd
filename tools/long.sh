# shellcheck shell=bash
# long.sh - sourced by ./check --long: what takes hours. LONG_SECONDS (3600) for each fuzz target;
# the other loops take a fixed time. $out/fuzz keeps what the fuzzers found.

long() {
    long_seconds=${LONG_SECONDS:-3600}
    build "build, release" all tests || return
    long_fuzz
    long_threads
    long_soak
    long_kill_session
    long_kill_download
    long_converted
    long_parity
}

# ---- fuzzing --------------------------------------------------------------------------------------

long_fuzz() {
    local major vars=(CC=clang FUZZER=1 SAN=address,undefined) b t name
    need_packages clang || { count 0 1 0; return; }
    major=$(clang -dumpversion | cut -d . -f 1)
    # The runtime of the fuzzer is a package of its own on newer systems.
    apt-cache show "libclang-rt-$major-dev" >/dev/null 2>&1 &&
        need_packages "libclang-rt-$major-dev"
    build "build, fuzz targets" fuzz "${vars[@]}" || return
    b=$(folder "${vars[@]}")
    for t in tests/fuzz/fuzz_*.c; do
        name=$(basename "$t" .c)
        mkdir -p "$out/fuzz/$name/corpus"
        built_counts "fuzz ${name#fuzz_}, $long_seconds s" timeout $((long_seconds + 600)) \
            "$b/fuzz/$name" -max_total_time="$long_seconds" -timeout=10 -rss_limit_mb=1024 \
            -max_len=65536 -jobs="$jobs" -workers="$jobs" -artifact_prefix="$out/fuzz/$name/" \
            "$out/fuzz/$name/corpus" "tests/fuzz/corpus/${name#fuzz_}"
        rm -f fuzz-[0-9].log fuzz-[0-9][0-9].log
    done
}

# ---- threads and time -----------------------------------------------------------------------------

# All tests under ThreadSanitizer; ./check has the pool's own.
long_threads() {
    local quiet=
    setarch -R true 2>/dev/null && quiet="setarch -R"
    build "build, TSan" tests SAN=thread || return
    programs "tests, TSan" "$quiet" SAN=thread
}

# A long answer in a small context: shifts all the time, in constant memory.
soak() {
    "$(folder)/lar" run -m tests/data/tiny.gguf -p "Once upon a time" -n 20000 --ctx 128 --temp 0.8 \
        --raw --ignore-eos --json </dev/null >"$out/soak.json" || return 1
    python3 - "$out/soak.json" <<'PYTHON'
import json, sys
r = json.load(open(sys.argv[1]))
n, rss = len(r["tokens"]), r["peak_rss_bytes"]
print("%d tokens, peak %d bytes" % (n, rss))
sys.exit(0 if n == 20000 and rss < 100 << 20 else 1)
PYTHON
}

long_soak() {
    built_counts "soak: 20,000 tokens in 128" soak
}

# ---- kill loops -----------------------------------------------------------------------------------

# Start a command in a process group of its own and kill all of it after $1 milliseconds.
killed_after() {
    local ms=$1 pid
    shift
    set -m
    "$@" </dev/null >>"$out/killed.log" 2>&1 &
    pid=$!
    set +m
    sleep "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))"
    kill -KILL -- "-$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    return 0
}

# After a kill at any moment the saved session is the old one or the new one: it loads.
kill_session() {
    local lar i file=$out/session.kv
    lar=$(folder)/lar
    rm -f "$out"/session.kv*
    local args=(run -m tests/data/tiny.gguf --raw --ignore-eos --temp 0 -n 200 --ctx 4096)
    "$lar" "${args[@]}" -p "Once upon a time" --cache "$file" </dev/null >/dev/null || return 1
    for i in $(seq 100); do
        killed_after $((RANDOM % 150 + 1)) "$lar" "${args[@]}" -p "Once upon a time $i" --cache "$file"
        if ! "$lar" run -m tests/data/tiny.gguf --raw -n 1 --temp 0 --ctx 4096 -p "Once" \
            --cache "$file" </dev/null >>"$out/killed.log" 2>&1; then
            echo "after kill $i the session does not load"
            return 1
        fi
    done
}

long_kill_session() {
    built_counts "100 kills while a session is saved" kill_session
}

# A download that is killed again and again still ends with the right file.
kill_download() {
    local i dir=$out/models
    rm -rf "$dir"
    mkdir -p "$dir"
    for i in $(seq 15); do
        LAR_MODELS=$PWD/$dir killed_after $((RANDOM % 2500 + 300)) ./start hello
        find "$dir" -name '*.gguf' ! -name '.*' | grep -q . && break
    done
    LAR_MODELS=$PWD/$dir timeout 900 ./start "What is the capital of France?" </dev/null || return 1
    # ./start knows the checksum; a file that it would not have accepted is not there.
    (cd "$dir" && sha256sum ./*.gguf) | grep -q "$(sed -n 's/^model_sha=//p' start)"
}

long_kill_download() {
    case $out in /*) local here=$out ;; *) local here=$PWD/$out ;; esac
    if ! python3 -m pip --version >/dev/null 2>&1; then
        skip "kills while the model is fetched" "there is no pip"
        return
    fi
    out=${here#"$PWD"/} built_counts "kills while the model is fetched" kill_download
    rm -rf "$out/models"
}

# ---- parity with other implementations on the real model --------------------------------------------

parity_ready() {
    [ -f "$out/venv/complete" ] && return
    python3 -m venv "$out/venv" &&
        "$out/venv/bin/python" -m pip install -q numpy torch transformers gguf sentencepiece llama-cpp-python &&
        touch "$out/venv/complete"
}

parity() {
    local work=$out/parity py=$out/venv/bin/python
    mkdir -p "$work"
    if [ ! -f "$work/prose.txt" ]; then
        (cd "$work" && apt-get download -q r-cran-janeaustenr) || return 1
        "$py" tools/parity/prose.py "$work"/r-cran-janeaustenr_*.deb >"$work/prose.tmp" || return 1
        mv "$work/prose.tmp" "$work/prose.txt"
    fi
    "$py" tools/parity/parity.py peer --model "$1" --text "$work/prose.txt" --work "$work" &&
        "$py" tools/parity/parity.py truth --model "$1" --work "$work" &&
        "$py" tools/parity/parity.py lar --model "$1" --work "$work" --lar "$(folder)/lar" &&
        "$py" tools/parity/parity.py report --work "$work"
}

# What `lar convert` writes, opened by llama-cpp-python.
long_converted() {
    need_packages python3-venv || true
    if ! parity_ready >"$out/venv.log" 2>&1; then
        skip "converted files in another program" "Python packages could not be installed ($out/venv.log)"
        return
    fi
    built_counts "converted files in another program" \
        "$out/venv/bin/python" tools/parity/hf_peer.py --lar "$(folder)/lar"
}

long_parity() {
    local dir=${LAR_MODELS:-${XDG_DATA_HOME:-${HOME:-/nowhere}/.local/share}/lar/models}
    local model=$dir/SmolLM2-135M-Instruct.Q4_1.gguf
    if [ ! -f "$model" ]; then
        skip "parity on the real model" "it is not in $dir; ./start fetches it"
        return
    fi
    have apt-get || { skip "parity on the real model" "its text comes from a Debian package"; return; }
    need_packages python3-venv || true
    if ! parity_ready >"$out/venv.log" 2>&1; then
        skip "parity on the real model" "its Python packages could not be installed ($out/venv.log)"
        return
    fi
    built_counts "parity on the real model" parity "$model"
}
