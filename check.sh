#!/bin/sh
# Everything a change has to pass: format, lints, tests, documentation. One build profile serves them all.
set -eu
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/etude-target}"
cargo fmt --check
cargo clippy --release --all-targets -- -D warnings
cargo test --release
RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps
