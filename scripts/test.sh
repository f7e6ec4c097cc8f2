#!/usr/bin/env bash
# Passes all tests: of the crates, of the documentation's examples, of the programs with real
# clients, and of the chat page in Chromium.
# usage: scripts/test.sh [--no-browser]
#
# Needs Rust, and installs from Debian's packages what else is missing: a C linker, python3 (one
# test's worker is written in it), and for the browser check chromium, nodejs and npm, the last of
# which fetches playwright-core into scripts/browser/node_modules.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh

main() {
    local browser=yes
    case "${1:-}" in
        '') ;;
        --no-browser) browser=no ;;
        *) echo "usage: scripts/test.sh [--no-browser]" >&2; exit 2 ;;
    esac

    need_rust
    need python3 python3
    # The process tests run these by path, and `cargo test` would not build them.
    cargo build --workspace --bins --examples --locked
    cargo test --workspace --locked
    if [ "$browser" = yes ]; then
        check_in_browser
    fi
    echo "== all tests passed"
}

check_in_browser() {
    echo "== the chat in Chromium"
    need chromium chromium
    need node nodejs
    need npm npm
    (cd scripts/browser && npm ci --loglevel error --no-audit --no-fund)

    local programs="${CARGO_TARGET_DIR:-target}/debug" url
    log=$(mktemp)
    "$programs/shovel-pool" --workers 4 --listen 127.0.0.1:0 "$programs/user-app" 2>"$log" &
    pool=$!
    trap 'kill "$pool" 2>/dev/null || true; rm -f "$log"' EXIT
    until url=$(grep -om1 'http://[0-9.:]*' "$log"); do
        kill -0 "$pool" 2>/dev/null || { cat "$log" >&2; return 1; }
        sleep 0.1
    done
    CHROMIUM=$(command -v chromium) POOL_PID=$pool node scripts/browser/chat.js "$url/" || { cat "$log" >&2; return 1; }
    kill "$pool"
    wait "$pool"
}

main "$@"
