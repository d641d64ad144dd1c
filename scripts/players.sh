#!/bin/bash
# The players that the end-to-end tests and the bench drive in Chromium, from the npm registry; quick when they are there.
set -euo pipefail
. "$(dirname "$0")/env.sh"
players=tests/e2e/players
if [ ! -e $players/node_modules/.package-lock.json ] || [ $players/package-lock.json -nt $players/node_modules/.package-lock.json ]; then
  step "players: install packages" npm --prefix $players ci --no-audit --no-fund --silent
  touch $players/node_modules/.package-lock.json
fi
