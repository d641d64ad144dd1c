#!/bin/bash
# The running platform from outside: real FFmpeg, real players in headless Chromium. Further arguments go to the tests.
set -euo pipefail
. "$(dirname "$0")/env.sh"
scripts/players.sh
# The tests drive target/debug/headwater; one at a time, so that each has the machine that its players need.
[ -x target/debug/headwater ] || step "build the server" cargo build --locked --package headwater
exec cargo test --locked --quiet --package e2e -- --test-threads=1 "$@"
