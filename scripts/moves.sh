#!/usr/bin/env bash
# What clients see while 10,000 portable connections move: at a reload, when a worker is killed,
# over a hundred reloads, and asleep. The figures of docs/lifecycle.md.
# usage: scripts/moves.sh [clients] [scenario...]
#
# Needs so many descriptors for each of two processes, and half again; scenarios are reload, kill,
# reloads and sleep, by default all. Numbers of a machine that does other work mean little.
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
    local scenario=$1 clients=$2 port=18090
    local flags=()
    [ "$scenario" != sleep ] || flags=(--sleep-after 2s --min-workers 0)
    echo "== $scenario"
    log=$(mktemp)
    ./shovel-pool --workers 4 --listen 127.0.0.1:$port "${flags[@]}" ./user-app 2>"$log" &
    server=$!
    trap 'kill "$server" 2>/dev/null || true; rm -f "$log"' EXIT
    until grep -q "worker ready" "$log"; do
        kill -0 "$server" || { cat "$log" >&2; return 1; }
        sleep 0.1
    done
    ./shovel-moves "$server" 127.0.0.1:$port "$scenario" "$clients"
    grep -o "reload finished.*" "$log" | tail -n 1 || true
    kill "$server"
    wait "$server" || true
    rm -f "$log"
}

main "$@"
