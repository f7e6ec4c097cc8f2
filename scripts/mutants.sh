#!/usr/bin/env bash
# Changes the pure decisions of crates/core in every way that cargo-mutants knows, one at a time, and
# demands that a test of that crate notices. Unlike scripts/mutations.sh it needs no patches.
# usage: scripts/mutants.sh [FILE...]    (of crates/core; all of them unless given)
#
# A change takes some seconds, so all of them take an hour or more. What nobody noticed is in
# target/mutants/mutants.out/missed.txt. Fetches cargo-mutants into .tools/.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh

cargo_mutants_version=27.1.0
output=target/mutants

# A search that finds nothing is cut short, so that a survivor costs seconds.
export SHOVEL_NEMESIS_STATES="${SHOVEL_NEMESIS_STATES:-100000}" SHOVEL_WALKS="${SHOVEL_WALKS:-10000}"
export RUST_BACKTRACE=0

main() {
    local file status=0
    local -a only=()
    for file in "$@"; do
        [ -f "$file" ] || { echo "there is no $file" >&2; exit 2; }
        only+=(--file "$file")
    done
    need_rust
    install_cargo_mutants
    mkdir -p "$output"
    # A change may make a test wait for ever; a busy machine may make it slow.
    cargo mutants --package shovel-core --output "$output" --cargo-arg=--locked --no-shuffle \
        --minimum-test-timeout 60 --timeout-multiplier 10 "${only[@]}" || status=$?
    # Some were stopped, which counts as noticed, unless others were missed.
    if [ "$status" -eq 3 ] && [ ! -s "$output/mutants.out/missed.txt" ]; then
        status=0
    fi
    return "$status"
}

# It waits for the compiler most of the time, so optimizing it would cost more than it saves.
install_cargo_mutants() {
    export PATH="$PWD/.tools/bin:$PATH"
    command -v cargo-mutants >/dev/null ||
        cargo install --quiet --locked --debug --root .tools cargo-mutants@"$cargo_mutants_version"
}

main "$@"
