#!/usr/bin/env bash
# Breaks one rule at a time and demands that a test notices: for each patch in tests/mutations the
# sources are patched in a scratch copy, and one of its tests must fail there.
# usage: scripts/mutations.sh [NAME...]    (names of patches, or beginnings of them)
#        scripts/mutations.sh --check      (whether all of them could be tried; tries none)
#
# Before its diff a patch says what it breaks and who has to notice:
#     Breaks: an owner's death lets out what its handler had staged
#     Build: --workspace --bins                what `cargo build` is given first; may be left out
#     Test: -p shovel-core --lib transfer      what `cargo test` is given; one or more
# The first test that fails is enough, and the others are not run. What it said is in
# target/mutations/logs, one file per patch: whether it failed for the right reason.
set -euo pipefail
cd "$(dirname "$0")/.."

# A search that finds nothing is cut short, so that a survivor costs seconds.
export SHOVEL_NEMESIS_STATES="${SHOVEL_NEMESIS_STATES:-100000}" SHOVEL_WALKS="${SHOVEL_WALKS:-10000}"
export RUST_BACKTRACE=0
# A broken rule may make a test wait for ever, which counts as noticed.
SECONDS_PER_TEST=300

root=$PWD
scratch=$root/target/mutations/sources
logs=$root/target/mutations/logs
log=$logs/unpatched
export CARGO_TARGET_DIR=$root/target/mutations/target

main() {
    if [ "${1:-}" = --check ]; then
        check_all
        return
    fi
    local -a patches=()
    local name patch
    if [ $# -eq 0 ]; then
        patches=(tests/mutations/*.patch)
    else
        for name in "$@"; do
            patches+=(tests/mutations/"$name"*.patch)
        done
    fi
    mkdir -p "$logs"
    copy_sources
    demand_that_all_pass "${patches[@]}"

    local survivors=0 broken=0 verdict begun
    printf '%-32s %-9s %5s  %s\n' mutation verdict time 'noticed by'
    for patch in "${patches[@]}"; do
        begun=$SECONDS
        verdict=$(try "$root/$patch")
        printf '%-32s %-9s %4ss  %s\n' "$(basename "$patch" .patch)" "${verdict%% *}" \
            "$((SECONDS - begun))" "${verdict#* }"
        case "$verdict" in
            survived*) survivors=$((survivors + 1)) ;;
            broken*) broken=$((broken + 1)) ;;
        esac
    done
    echo "== ${#patches[@]} mutations, $survivors survived, $broken cannot be tried, $SECONDS s"
    [ "$survivors" -eq 0 ] && [ "$broken" -eq 0 ]
}

# Stricter than when they are tried: the lines around a change must be what they were.
check_all() {
    local patch broken=0
    for patch in tests/mutations/*.patch; do
        git apply --check "$patch" || { echo "$patch does not apply" >&2; broken=1; }
        [ -n "$(headers Breaks "$patch")" ] || { echo "$patch: breaks what?" >&2; broken=1; }
        [ -n "$(headers Test "$patch")" ] || { echo "$patch: who notices?" >&2; broken=1; }
    done
    return "$broken"
}

copy_sources() {
    rm -rf "$scratch"
    mkdir -p "$scratch"
    git ls-files -z --cached --others --exclude-standard -- Cargo.toml Cargo.lock crates tests |
        tar --create --null --files-from=- --ignore-failed-read | tar --extract --directory "$scratch"
    # Cargo compares times: what an earlier run left in the target folder was built from a patch.
    find "$scratch" -name '*.rs' -exec touch {} +
}

# headers NAME PATCH: the values of such lines before the diff.
headers() {
    sed -n "/^diff /q; s/^$1: //p" "$2"
}

demand_that_all_pass() {
    local arguments
    cat "$@" | sed -n 's/^Build: //p' | sort -u | while read -r arguments; do
        in_scratch cargo build --locked $arguments || fail "does not build: $arguments"
    done
    cat "$@" | sed -n 's/^Test: //p' | sort -u | while read -r arguments; do
        echo "== unpatched: cargo test $arguments" >&2
        in_scratch cargo test --locked $arguments || fail "fails without any patch: $arguments"
    done
}

# try PATCH: prints the verdict, and by what.
try() {
    local patch=$1 arguments test log
    log=$logs/$(basename "$patch" .patch)
    if ! (cd "$scratch" && patch --strip=1 --silent --forward <"$patch") >"$log" 2>&1; then
        echo "broken does not apply"
        # What it left behind must not be in the way of the next.
        copy_sources
        return
    fi
    local verdict="survived -"
    while read -r arguments; do
        in_scratch cargo build --locked $arguments || verdict="broken does not build"
    done < <(headers Build "$patch")
    while [ "$verdict" = "survived -" ] && read -r arguments; do
        if ! in_scratch cargo test --locked --no-run $arguments; then
            verdict="broken does not compile"
        elif ! in_scratch timeout "$SECONDS_PER_TEST" cargo test --locked $arguments; then
            test=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | head -n 1)
            verdict="killed ${test:-no answer in $SECONDS_PER_TEST s} ($arguments)"
        fi
    done < <(headers Test "$patch")
    # Not by copying: the files must be newer than what was built from the patch.
    (cd "$scratch" && patch --strip=1 --silent --reverse <"$patch")
    echo "$verdict"
}

in_scratch() {
    (cd "$scratch" && "$@") </dev/null >"$log" 2>&1
}

fail() {
    echo "$1" >&2
    tail -n 40 "$log" >&2
    exit 1
}

main "$@"
