#!/usr/bin/env bash
# First searches the worlds of transfer as far as SHOVEL_NEMESIS_STATES states, or
# 5,000,000, each: ten times as far as the tests do.
#
# Then runs the checker for as long as one likes: hundreds of clients, and a nemesis that kills,
# stops, reloads and breaks their workers. Round after round, each with a seed and a pool of its own,
# until one finds something that must not be.
# usage: scripts/soak.sh [SECONDS] [SEED]    (600 seconds; the first seed is drawn)
#
# SHOVEL_CHECK_CLIENTS says how many clients, 240 unless given. A round can be repeated alone:
#     SHOVEL_CHECK_SEED=7 SHOVEL_CHECK_SECONDS=60 cargo test -p shovel-tests --test suite transfer::checker
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh

# Of the nemesis in one round: long enough for everything to happen many times, and short enough for
# all of its logs to be held in memory.
SECONDS_PER_ROUND=60

main() {
    local lasts=${1:-600} seed=${2:-$RANDOM} log round=0
    [[ "$lasts" =~ ^[0-9]+$ && "$seed" =~ ^[0-9]+$ ]] || {
        echo "usage: scripts/soak.sh [SECONDS] [SEED]" >&2
        exit 2
    }
    need_rust
    SHOVEL_NEMESIS_STATES=${SHOVEL_NEMESIS_STATES:-5000000} cargo test --release \
        -p shovel-core --test search --locked worlds
    cargo build --workspace --bins --locked
    cargo test -p shovel-tests --test suite --locked --no-run
    log=$(mktemp)
    export SHOVEL_CHECK_SECONDS=$((lasts < SECONDS_PER_ROUND ? lasts : SECONDS_PER_ROUND))
    local begun=$SECONDS
    while [ "$round" -eq 0 ] || [ $((SECONDS - begun)) -lt "$lasts" ]; do
        if ! SHOVEL_CHECK_SEED=$((seed + round)) cargo test -p shovel-tests --test suite --locked \
            transfer::checker -- --nocapture >"$log" 2>&1; then
            # The log of the pool, in JSON, is for whoever opens the file.
            grep --invert-match '^{"' "$log" >&2 || true
            echo "== seed $((seed + round)) found something after $((SECONDS - begun)) s; all of it: $log" >&2
            exit 1
        fi
        grep '^seed ' "$log" || true
        round=$((round + 1))
    done
    rm -f "$log"
    echo "== $round rounds, nothing found, $((SECONDS - begun)) s"
}

main "$@"
