#!/usr/bin/env bash
# Builds the Debian package into target/debian, looks into it, and runs what it has unpacked.
# usage: scripts/package.sh [--debug]
#
# --debug packs the programs of a debug build, which CI has anyway. Needs Rust, and installs from
# Debian's packages what else is missing: tools for packages, those of systemd, which checks the
# units, and curl. Fetches cargo-deb into .tools/.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh

cargo_deb_version=3.8.0

main() {
    local profile=release programs=target/release
    case "${1:-}" in
        '') ;;
        --debug) profile=dev programs=target/debug ;;
        *) echo "usage: scripts/package.sh [--debug]" >&2; exit 2 ;;
    esac

    need_rust
    need dpkg-deb dpkg
    need dpkg-shlibdeps dpkg-dev
    need curl curl
    install_cargo_deb
    # The package's assets name target/, whatever CARGO_TARGET_DIR says.
    cargo build --profile "$profile" --locked --target-dir target
    write_manual "$programs/shovel-pool"
    local package
    package=$(CARGO_TARGET_DIR=target cargo deb --quiet --no-build --locked \
        --profile "$profile" --package shovel-supervisor --output target/debian/)
    unpacked=$(mktemp --directory)
    trap 'kill "${pool:-}" 2>/dev/null || true; rm -rf "$unpacked"' EXIT
    dpkg-deb --raw-extract "$package" "$unpacked"
    check_contents
    check_units
    check_it_serves "$PWD/$programs/user-app"
    echo "== $package"
}

# It runs for seconds, so optimizing it would cost more than it saves.
install_cargo_deb() {
    export PATH="$PWD/.tools/bin:$PATH"
    command -v cargo-deb >/dev/null ||
        cargo install --quiet --locked --debug --root .tools \
            --no-default-features --features gzip cargo-deb@"$cargo_deb_version"
}

# write_manual PROGRAM: what the program says of itself, as files.
write_manual() {
    mkdir -p target/package
    "$1" --man >target/package/shovel-pool.1
    "$1" --completions bash >target/package/shovel-pool
}

check_contents() {
    local file
    for file in usr/bin/shovel-pool etc/shovel-pool/shovel-pool.toml \
        usr/lib/systemd/system/shovel-pool.{service,socket} usr/share/man/man1/shovel-pool.1.gz \
        usr/share/bash-completion/completions/shovel-pool usr/share/doc/shovel-pool/copyright; do
        [ -s "$unpacked/$file" ] || fail "the package has no $file"
    done
    [ "$(cat "$unpacked/DEBIAN/conffiles")" = /etc/shovel-pool/shovel-pool.toml ] ||
        fail "an upgrade would overwrite settings"
    for file in preinst postinst prerm postrm; do
        [ ! -e "$unpacked/DEBIAN/$file" ] || fail "the package runs a script: $file"
    done
    grep -q '^Depends: .*libc6' "$unpacked/DEBIAN/control" || fail "the package needs no libc6?"
    gzip --decompress --stdout "$unpacked/usr/share/man/man1/shovel-pool.1.gz" |
        grep -q -- 'workers' || fail "the manual page tells of no workers"
}

# The programs that the units name are those of the package.
check_units() {
    need systemd-analyze systemd
    local units=$unpacked/units unit
    mkdir "$units"
    for unit in shovel-pool.service shovel-pool.socket; do
        sed "s|=/usr/bin/|=$unpacked/usr/bin/|; /^Documentation=/d" \
            "$unpacked/usr/lib/systemd/system/$unit" >"$units/$unit"
    done
    local said
    said=$(systemd-analyze verify --recursive-errors=no "$units"/* 2>&1) || fail "$said"
    [ -z "$said" ] || fail "$said"
}

# check_it_serves APP: the settings of the package with a program are settings that work.
check_it_serves() {
    local settings=$unpacked/settings.toml log=$unpacked/pool.log address=
    sed "s|^#program = .*|program = \"$1\"|" "$unpacked/etc/shovel-pool/shovel-pool.toml" >"$settings"
    "$unpacked/usr/bin/shovel-pool" --config "$settings" --listen 127.0.0.1:0 \
        --admin-socket "$unpacked/admin.sock" 2>"$log" &
    pool=$!
    until [ "$address" ]; do
        kill -0 "$pool" 2>/dev/null || fail "$(cat "$log")"
        sleep 0.1
        address=$(sed -n 's|.*listening address="http://\([0-9.:]*\)".*|\1|p' "$log")
    done
    curl --silent --fail --max-time 20 "http://$address/" >/dev/null || fail "$(cat "$log")"
    "$unpacked/usr/bin/shovel-pool" reload --admin-socket "$unpacked/admin.sock" >/dev/null ||
        fail "$(cat "$log")"
    kill "$pool"
    wait "$pool" || fail "$(cat "$log")"
}

fail() {
    echo "$*" >&2
    exit 1
}

main "$@"
