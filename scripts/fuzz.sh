#!/usr/bin/env bash
# Fuzzes targets of fuzz/, all of them unless some are named, two at a time, each for so many seconds
# (600 unless told); says what was found in the end, and fails then.
# usage: scripts/fuzz.sh [SECONDS] [TARGET...]
#        scripts/fuzz.sh keep     makes fuzz/corpus of all that was found by now, as small as it can be
#
# Begins with fuzz/corpus, and keeps what is new in fuzz/work, which is nobody else's. Needs Rust and a
# C++ compiler, and installs what is missing: g++ from Debian's packages, cargo-fuzz from crates.io.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh

CARGO_FUZZ_VERSION=0.13.1
AT_ONCE=2
# Of a target: its corpus is read anew in each check.
MOST_FILES=200
MOST_BYTES=$((200 * 1024))

# Coverage instrumentation is an unstable flag; this allows it on a stable toolchain.
export RUSTC_BOOTSTRAP=1
export PATH="$PWD/.tools/bin:$PATH"

main() {
    local seconds=600
    need_rust
    need c++ g++
    command -v cargo-fuzz >/dev/null ||
        cargo install --quiet --locked --debug --root .tools cargo-fuzz@"$CARGO_FUZZ_VERSION"
    # cargo-fuzz would change it.
    cargo fetch --quiet --locked --manifest-path fuzz/Cargo.toml --target "$(host)"
    # The code is safe Rust: address sanitizing would only slow it down.
    cargo fuzz build --sanitizer none

    case "${1:-}" in
        keep) shift; for target in $(targets "$@"); do keep "$target"; done; return ;;
        *[!0-9]*) ;;
        ?*) seconds=$1; shift ;;
    esac
    fuzz_all "$seconds" "$@"
}

targets() {
    if [ $# -gt 0 ]; then echo "$@"; else cargo fuzz list; fi
}

fuzz_all() {
    local seconds=$1 failed=0 begun=$SECONDS
    shift
    for target in $(targets "$@"); do
        while [ "$(jobs -rp | wc -l)" -ge "$AT_ONCE" ]; do wait -n || failed=1; done
        fuzz "$target" "$seconds" &
    done
    while [ -n "$(jobs -p)" ]; do wait -n || failed=1; done
    echo "== fuzzed for $((SECONDS - begun)) s"
    return "$failed"
}

# Its output is kept for those who fail, so that two do not mix.
fuzz() {
    local target=$1 seconds=$2 log
    mkdir -p "fuzz/work/$target" "fuzz/corpus/$target" "fuzz/artifacts/$target"
    log=fuzz/work/$target.log
    if "$(program "$target")" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 \
        -artifact_prefix="fuzz/artifacts/$target/" -print_final_stats=1 \
        "fuzz/work/$target" "fuzz/corpus/$target" >"$log" 2>&1; then
        echo "== $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, no finding"
    else
        tail -n 40 "$log"
        echo "== $target: a FINDING; the input that shows it is above, and in fuzz/artifacts" >&2
        return 1
    fi
}

program() {
    echo "fuzz/target/$(host)/release/$1"
}

host() {
    rustc -vV | sed -n 's/^host: //p'
}

# Those inputs alone that reach something which no smaller one does, in the order of their sizes.
keep() {
    local target=$1 new bytes=0 files=0 size
    new=$(mktemp -d)
    mkdir -p "fuzz/work/$target" "fuzz/corpus/$target"
    "$(program "$target")" -merge=1 "$new" "fuzz/corpus/$target" "fuzz/work/$target" 2>/dev/null
    rm -rf "fuzz/corpus/$target"
    mkdir "fuzz/corpus/$target"
    while read -r size name; do
        [ $((files += 1)) -le "$MOST_FILES" ] && [ $((bytes += size)) -le "$MOST_BYTES" ] || break
        cp "$new/$name" "fuzz/corpus/$target/$name"
    done < <(find "$new" -type f -printf '%s %f\n' | sort -n)
    rm -rf "$new"
    echo "== $target: $(find "fuzz/corpus/$target" -type f | wc -l) files"
}

main "$@"
