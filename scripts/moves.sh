#!/usr/bin/env bash
# What clients see while 10,000 portable connections move: at a reload, when a worker is killed,
# over a hundred reloads, and asleep. The figures of docs/lifecycle.md.
# usage: scripts/moves.sh [clients] [scenario...]
#
# Needs so many descriptors for each of two processes, and half again; scenarios are reload, kill,
# reloads and sleep, by default all. Listens on PORT, by default 18090, and the one after it.
# Numbers of a machine that does other work mean little.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh

main() {
    local clients=${1:-10000}
    shift || true
    local scenarios=("$@")
    [ ${#scenarios[@]} -gt 0 ] || scenarios=(reload kill reloads sleep)
    need_rust
    ulimit -n "$(ulimit -Hn)"
    cargo build --release --locked --target-dir target
    cargo build --release --locked --target-dir target --manifest-path bench/Cargo.toml
    cd target/release
    for scenario in "${scenarios[@]}"; do
        run "$scenario" "$clients"
    done
}

run() {
    local scenario=$1 clients=$2 port=${PORT:-18090}
    local admin=$((port + 1))
    local flags=()
    [ "$scenario" != sleep ] || flags=(--sleep-after 2s --min-workers 0)
    # What each thread keeps of small pieces that were freed would count as allocated.
    [ "$scenario" != reloads ] || export GLIBC_TUNABLES=glibc.malloc.tcache_count=0
    echo "== $scenario"
    log=$(mktemp)
    ./shovel-pool --workers 4 --listen "127.0.0.1:$port" --admin-listen "127.0.0.1:$admin" \
        --admin-host shovel.test \
        "${flags[@]}" ./user-app 2>"$log" &
    server=$!
    trap 'kill "$server" 2>/dev/null || true; rm -f "$log"' EXIT
    until grep -q "worker ready" "$log"; do
        kill -0 "$server" || { cat "$log" >&2; return 1; }
        sleep 0.1
    done
    ./shovel-moves "$server" "127.0.0.1:$port" "127.0.0.1:$admin" "$scenario" "$clients"
    grep -o "reload finished.*" "$log" | tail -n 1 || true
    kill "$server"
    wait "$server" || true
    rm -f "$log"
}

main "$@"
