#!/bin/bash
# Runs every fuzz target with seeded mutations for the given seconds each, on the stable toolchain. `cargo fuzz run TARGET` in fuzz/ runs the
# same targets guided by coverage, where a nightly toolchain is at hand.
set -euo pipefail
. "$(dirname "$0")/env.sh"
seconds=${1:?usage: fuzz.sh SECONDS}
# With the whole workspace named, what the tests have built is used as it is.
cargo build --locked --quiet --workspace --bin fuzz-driver
exec target/debug/fuzz-driver --seconds "$seconds"
