#!/bin/bash
# The running platform from outside: real FFmpeg, real players in headless Chromium. Further arguments go to the tests.
set -euo pipefail
. "$(dirname "$0")/env.sh"
players=tests/e2e/players
if [ ! -e $players/node_modules/.package-lock.json ] || [ $players/package-lock.json -nt $players/node_modules/.package-lock.json ]; then
  step "players: install packages" npm --prefix $players ci --no-audit --no-fund --silent
  touch $players/node_modules/.package-lock.json
fi
# The tests drive target/debug/headwater; one at a time, so that each has the machine that its players need.
[ -x target/debug/headwater ] || step "build the server" cargo build --locked --package headwater
exec cargo test --locked --quiet --package e2e -- --test-threads=1 "$@"
