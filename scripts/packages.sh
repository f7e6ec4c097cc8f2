# Sourced by the scripts beside this one: installs what a machine lacks.

# need COMMAND PACKAGE...: installs these packages of Debian unless the command is there.
need() {
    local command=$1 as_root=()
    shift
    command -v "$command" >/dev/null && return
    if ! command -v apt-get >/dev/null; then
        echo "$command is missing, and this is not Debian: install it (there: $*) and try again" >&2
        return 1
    fi
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    echo "== $command is missing: installing $*"
    "${as_root[@]}" apt-get -qq update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
}

# need_rust: Rust cannot come from Debian, whose release is too old; it links with the C compiler.
need_rust() {
    if ! command -v cargo >/dev/null; then
        echo "cargo is missing: install Rust (rust-version in Cargo.toml says which) and try again" >&2
        return 1
    fi
    need cc gcc libc6-dev
}
