#!/usr/bin/env bash
# Passes the Autobahn WebSocket test suite: its fuzzing client against the echo behind a pool.
# usage: scripts/autobahn.sh [--quick]
#
# Runs all cases but 12 and 13, which test permessage-deflate; --quick leaves out the large messages
# of 9 too. Fails unless each case and its closing handshake is OK, NON-STRICT or INFORMATIONAL; the
# report is target/autobahn/index.html. It tests the programs in target/release as they are, and
# builds them only if they are missing. Needs python3, and fetches the suite with pip into .tools/.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh

suite_version=25.10.1
helpers=scripts/autobahn
tools=.tools/autobahn
python=$tools/venv/bin/python
programs=target/release
reports=target/autobahn
excluded='12.*,13.*'

main() {
    case "${1:-}" in
        '') ;;
        --quick) excluded+=',9.*' ;;
        *) echo "usage: scripts/autobahn.sh [--quick]" >&2; exit 2 ;;
    esac

    # The helpers lie among the sources, where no bytecode belongs.
    export PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1
    install_suite
    if [ ! -x "$programs/shovel-pool" ] || [ ! -x "$programs/user-app" ]; then
        need_rust
        cargo build --release --locked --target-dir target
    fi
    rm -rf "$reports"
    mkdir -p "$reports"
    start_pool
    local failed=0
    PYTHONPATH=$tools/python3 "$python" "$helpers/fuzz.py" \
        "ws://$address/ws/echo" "$reports" '*' "$excluded" || failed=1
    kill "$pool"
    wait "$pool" || { cat "$reports/pool.log" >&2; failed=1; }
    return "$failed"
}

# The suite is published for Python 2 only, so it is converted.
install_suite() {
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || need "venv of python3" python3-venv
    [ -x "$tools/venv/bin/pip" ] || python3 -m venv "$tools/venv"
    pip_install --requirement "$helpers/requirements.txt"
    local source=$tools/python2-$suite_version
    # Its dependencies and its bytecode would be those of Python 2.
    [ -d "$source" ] ||
        pip_install --no-deps --no-compile --target "$source" autobahntestsuite=="$suite_version"
    "$python" "$helpers/convert.py" "$source/autobahntestsuite" "$tools/python3/autobahntestsuite"
}

pip_install() {
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

# Sets `pool` and `address`.
start_pool() {
    local log=$reports/pool.log
    "$programs/shovel-pool" --workers 2 --listen 127.0.0.1:0 "$programs/user-app" 2>"$log" &
    pool=$!
    trap 'kill "$pool" 2>/dev/null || true' EXIT
    address=
    until [ "$address" ]; do
        kill -0 "$pool" 2>/dev/null || { cat "$log" >&2; return 1; }
        sleep 0.1
        address=$(sed -n 's|.*listening address="http://\([0-9.:]*\)".*|\1|p' "$log")
    done
}

main "$@"
