#!/usr/bin/env bash
# Fuzzes every target in fuzz/ for some seconds each (default 30); stops at the first finding.
# usage: scripts/fuzz.sh [seconds]
set -euo pipefail

seconds=${1:-30}
cd "$(dirname "$0")/.."

cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked

# Coverage instrumentation is an unstable flag; this allows it on a stable toolchain.
export RUSTC_BOOTSTRAP=1

for target in $(cargo fuzz list); do
    echo "== $target"
    # The code is safe Rust: address sanitizing would only slow it down.
    cargo fuzz run --sanitizer none "$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=5 -print_final_stats=1
done
