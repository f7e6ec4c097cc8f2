#!/usr/bin/env bash
# What 10,000 clients that are out for a pool's memory can take, and what honest ones see of it. The
# figures of docs/security.md.
# usage: scripts/hostile.sh [bound] [clients] [attack...]
#
# The bound is what --max-client-memory is set to, or "default". Attacks are by default all greedy ones;
# `shovel-hostile` knows more. Needs so many descriptors for each of two processes, and a few; takes
# about a minute for each attack. Numbers of a machine that does other work mean little.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh

main() {
    local bound=${1:-default} clients=${2:-10000}
    shift $(($# < 2 ? $# : 2))
    local attacks=("$@")
    [ ${#attacks[@]} -gt 0 ] || attacks=(unread unfinished uploads pipelines greedy)
    need_rust
    ulimit -n "$(ulimit -Hn)"
    cargo build --release --locked --target-dir target
    cargo build --release --locked --target-dir target --manifest-path bench/Cargo.toml
    cd target/release
    for attack in "${attacks[@]}"; do
        run "$bound" "$attack" "$clients"
    done
}

run() {
    local bound=$1 attack=$2 clients=$3
    local flags=()
    [ "$bound" = default ] || flags=(--max-client-memory "$bound")
    echo "== $attack, --max-client-memory $bound"
    log=$(mktemp)
    ./shovel-pool --workers 2 --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
        "${flags[@]}" ./user-app 2>"$log" &
    server=$!
    trap 'kill "$server" 2>/dev/null || true; rm -f "$log"' EXIT
    until grep -q "worker ready" "$log"; do
        kill -0 "$server" || { cat "$log" >&2; return 1; }
        sleep 0.1
    done
    ./shovel-hostile "$server" "$(address "listening")" "$(address "listening for operators")" \
        "$attack" "$clients"
    kill "$server"
    wait "$server" || true
    rm -f "$log"
}

# address MESSAGE: where the pool says that it listens.
address() {
    sed -n "s|.* $1 address=\"\{0,1\}http://\([0-9.:]*\).*|\1|p" "$log" | head -n 1
}

main "$@"
