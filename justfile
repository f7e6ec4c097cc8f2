# Lists what there is.
default:
    @just --list

# Everything that CI runs.
check:
    .ci/run

# Builds in release mode and starts the example behind a pool of four.
run:
    scripts/run.sh

# All tests; `just test --no-browser` leaves out Chromium.
test *options:
    scripts/test.sh {{ options }}

# Formats everything.
fmt:
    cargo fmt --all
    cargo fmt --manifest-path fuzz/Cargo.toml
    cargo fmt --manifest-path bench/Cargo.toml

# What clippy and rustdoc say.
lint:
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Whether what comments and documents refer to is there.
references:
    scripts/references.py

# Fuzzes each decoder for so many seconds.
fuzz seconds="600":
    scripts/fuzz.sh {{ seconds }}

# Breaks one rule at a time and demands that a test notices.
mutations *names:
    scripts/mutations.sh {{ names }}

# Changes the decisions of core in every way that cargo-mutants knows; or those of some files.
mutants *files:
    scripts/mutants.sh {{ files }}

# Hundreds of clients while workers die, hang and are replaced, for so many seconds.
soak seconds="600":
    scripts/soak.sh {{ seconds }}

# CPU time per echoed message, side by side with axum in one process.
bench:
    scripts/bench.sh

# The Debian package; --debug builds it in debug mode.
package *options:
    scripts/package.sh {{ options }}

# What clients see while 10,000 connections move: reload, kill, a hundred reloads, sleep.
moves *options:
    scripts/moves.sh {{ options }}

# What 10,000 hostile clients can take, and what honest ones see of it.
hostile *options:
    scripts/hostile.sh {{ options }}

# The Autobahn suite against release builds; --quick leaves the long cases out.
autobahn *options:
    scripts/autobahn.sh {{ options }}
