# Sourced by the scripts beside it: the one environment in which everything here is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
clone=$PWD
cache=${XDG_CACHE_HOME:-$HOME/.cache}/narthex
[ -d "$HOME/.cargo/bin" ] && PATH=$HOME/.cargo/bin:$PATH
mkdir -p "$cache"

say() { printf 'narthex: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# RocksDB costs half an hour of CPU, so its objects outlive the clone. Cargo tells clones apart
# by neither path nor content, so a target folder belongs to one living clone at a time: the
# first takes $cache/target, others get a copy of it, and whoever takes over a folder rebuilds
# the workspace's own crates.
claim_target() {
    local shared=$cache/target owner mine
    exec 9>"$cache/lock"
    flock 9
    owner=$(cat "$shared/clone" 2>/dev/null || true)
    if [ "$owner" = "$clone" ] || [ -z "$owner" ] || [ ! -e "$owner/Cargo.toml" ]; then
        mine=$shared
    else
        mine=$shared-$(printf %s "$clone" | cksum | cut -d' ' -f1)
        copy_when_idle "$shared" "$mine"
    fi
    mkdir -p "$mine"
    if [ "$(cat "$mine/clone" 2>/dev/null || true)" != "$clone" ]; then
        rm -rf "$mine"/release/.fingerprint/narthex-* "$mine"/release/narthex
        printf '%s\n' "$clone" >"$mine/clone"
    fi
    exec 9>&-
    export CARGO_TARGET_DIR=$mine
}

# Where another clone builds right now, waiting for it is shorter than building RocksDB again.
copy_when_idle() {
    local lock=$1/release/.cargo-lock
    [ -e "$2" ] && return
    [ -e "$lock" ] || return 0
    flock --nonblock "$lock" true || say "another clone (${owner}) builds in $1; waiting for it"
    say "another clone (${owner}) uses $1; copying it to $2"
    rm -rf "$2.copying"
    flock "$lock" cp -a --reflink=auto "$1" "$2.copying" || return 0
    rm -rf "$2.copying/release/incremental" "$2.copying/clone"
    mv "$2.copying" "$2"
}

[ -n "${CARGO_TARGET_DIR:-}" ] || claim_target
mkdir -p "$CARGO_TARGET_DIR"

if command -v ccache >/dev/null; then
    export CC=${CC:-ccache gcc} CXX=${CXX:-ccache g++}
fi

# .cargo/config.toml builds for Haswell. Cargo appends this variable to it and the last one counts.
if [ "$(uname -m)" = x86_64 ] && ! { grep -qw avx2 /proc/cpuinfo && grep -qw bmi2 /proc/cpuinfo &&
    grep -qw pclmulqdq /proc/cpuinfo; }; then
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=-Ctarget-cpu=x86-64-v2
fi

# A C++ job takes up to half a GiB and a rustc about one: with little memory, fewer at once.
available_mib=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)
if [ -z "${CARGO_BUILD_JOBS:-}" ] && [ "$available_mib" -lt $(($(nproc) * 1200)) ]; then
    export CARGO_BUILD_JOBS=$((available_mib < 2400 ? 1 : available_mib / 1200))
fi
