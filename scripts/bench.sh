#!/bin/bash
# Builds everything as it is shipped and prints the table of docs/reference/performance.md.
set -euo pipefail
. "$(dirname "$0")/env.sh"
scripts/web.sh build
scripts/players.sh
step "build for measuring" cargo build --locked --release --package headwater --package benches
exec cargo run --locked --quiet --release --package benches -- "$@"
