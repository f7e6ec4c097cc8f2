#!/usr/bin/env bash
# CPU time per echoed message: the pool with one, two and four workers, and axum in one process as
# the yardstick.
# usage: scripts/bench.sh [clients] [messages under way] [bytes] [seconds]
#
# Each server is pinned to the first processor and the load runs on the others, so at least two
# are needed. Numbers of a machine that does other work mean nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh

main() {
    need_rust
    need taskset util-linux
    cargo build --release --locked --target-dir target
    cargo build --release --locked --target-dir target --manifest-path bench/Cargo.toml

    cd target/release
    for workers in 1 2 4; do
        measure "shovel-pool, workers: $workers" 18080 ./shovel-pool --workers "$workers" ./user-app
    done
    measure "axum" 18081 ./axum-echo
}

# measure NAME PORT SERVER...: the servers answer once they listen, so they are asked until then.
measure() {
    local name=$1 port=$2
    shift 2
    echo "== $name"
    PORT=$port taskset --cpu-list 0 "$@" 2>/dev/null &
    server=$!
    trap 'kill "$server" 2>/dev/null || true' EXIT
    until (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null; do
        kill -0 "$server" || return 1
        sleep 0.1
    done
    taskset --cpu-list 1-"$(($(nproc --all) - 1))" \
        ./shovel-bench "$server" 127.0.0.1:"$port" /ws/echo "${load[@]}"
    kill "$server"
    wait "$server" || true
}

load=("$@")
main
