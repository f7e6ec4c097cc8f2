#!/usr/bin/env bash
# Builds the pool and its example app in release mode and starts
#
#     shovel-pool --workers 4 ./target/release/user-app
#
# which serves a chat on http://127.0.0.1:8080 until Ctrl-C; PORT=9000 scripts/run.sh takes another
# port. Needs Rust; installs a C linker from Debian's packages if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh

need_rust
# The command below names target/, whatever CARGO_TARGET_DIR says.
cargo build --release --locked --target-dir target

PATH="$PWD/target/release:$PATH"
set -x
exec shovel-pool --workers 4 ./target/release/user-app
