# shellcheck shell=bash
# steps.sh - sourced by ./check: steps with a line each, and the count of what passed.
# Expects $out, $tally (a file of "passed failed skipped" lines), $jobs.

count() {
    printf '%d %d %d\n' "$1" "$2" "$3" >>"$tally"
}

skip() {
    printf '%-48s skipped: %s\n' "$1" "$2"
    count 0 0 1
}

finish() {
    awk '{ p += $1; f += $2; s += $3 }
        END { printf "%d passed, %d failed", p, f; if (s) printf ", %d skipped", s; print ""
              exit f > 0 || p == 0 }' "$tally"
    exit $?
}

now() {
    date +%s.%N | cut -c 1-12
}

# line NAME START STATUS
line() {
    awk -v name="$1" -v from="$2" -v to="$(now)" -v rc="$3" 'BEGIN {
        printf "%-48s %6.1f s%s\n", name, to - from, rc ? "  FAILED" : "" }'
}

# A command that counts for itself (it appends to $tally); what it prints is shown. That it fails
# without having counted a failure is a failure, too.
step() {
    local name=$1 from rc=0 before after
    shift
    from=$(now)
    before=$(awk '{ f += $2 } END { print f + 0 }' "$tally")
    "$@" >"$out/step.log" 2>&1 </dev/null || rc=$?
    after=$(awk '{ f += $2 } END { print f + 0 }' "$tally")
    line "$name" "$from" "$rc"
    cat "$out/step.log"
    if [ "$rc" -ne 0 ] && [ "$after" = "$before" ]; then
        echo "    ended with status $rc"
        count 0 1 0
    fi
    return "$rc"
}

# A command that is one check; its output is shown when it fails.
built_counts() {
    local name=$1 from rc=0
    shift
    from=$(now)
    "$@" >"$out/step.log" 2>&1 </dev/null || rc=$?
    line "$name" "$from" "$rc"
    if [ "$rc" -ne 0 ]; then
        tail -n 60 "$out/step.log" | sed 's/^/    | /'
        count 0 1 0
        return 1
    fi
    count 1 0 0
}

# A test script: its last line "N passed, N failed[, N skipped]" is counted, else its exit status.
script() {
    local name=$1 from rc=0 sum
    shift
    from=$(now)
    timeout 600 bash "$@" >"$out/step.log" 2>&1 </dev/null || rc=$?
    line "$name" "$from" "$rc"
    sum=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) skipped\)\{0,1\}.*$/\1 \2 \4/p' \
        "$out/step.log" | tail -n 1)
    # shellcheck disable=SC2086 # two or three numbers
    set -- ${sum:-$((rc == 0)) 0 0}
    if [ "$rc" -ne 0 ] && [ "$2" -eq 0 ]; then
        set -- "$1" 1 "${3:-0}"
    fi
    count "$1" "$2" "${3:-0}"
    [ "$rc" -eq 0 ] || tail -n 60 "$out/step.log" | sed 's/^/    | /'
}

# build NAME MAKE-ARGUMENT...
build() {
    local name=$1
    shift
    built_counts "$name" make -j "$jobs" "$@"
}

# Where make puts the objects of a configuration.
folder() {
    make --no-print-directory -s where "$@"
}

# programs NAME RUNNER MAKE-VARIABLE...: run all test programs of a configuration. $exe: how they end.
programs() {
    local name=$1 runner=$2 b
    shift 2
    b=$(folder "$@")
    # Only those whose source is there: an older program may be left over.
    local list=() t
    for t in tests/test_*.c; do
        t=${t#tests/}
        list+=("$b/tests/${t%.c}${exe:-}")
    done
    step "$name" tools/run-tests --tally "$tally" --jobs "$jobs" --runner "$runner" "${list[@]}"
}

# corpus NAME MAKE-VARIABLE...: every file of each target's corpus through the target.
corpus() {
    local name=$1 b t target
    shift
    b=$(folder "$@")
    for t in tests/fuzz/fuzz_*.c; do
        target=$(basename "$t" .c)
        if [ -z "$(find "tests/fuzz/corpus/${target#fuzz_}" -type f 2>/dev/null | head -n 1)" ]; then
            echo "    there is no corpus for $target"
            count 0 1 0
            continue
        fi
        find "tests/fuzz/corpus/${target#fuzz_}" -type f -print0 |
            LC_ALL=C sort -z >"$out/$target.list"
        built_counts "$name: ${target#fuzz_}, $(tr -cd '\0' <"$out/$target.list" | wc -c) files" \
            timeout 300 xargs -0 -a "$out/$target.list" "$b/fuzz/$target"
    done
}
