#!/bin/bash
# Licences, sources and doubled dependencies, by cargo-deny. It is built once, below target/tools, when the system has none.
set -euo pipefail
. "$(dirname "$0")/env.sh"

if ! command -v cargo-deny >/dev/null 2>&1; then
  echo "deny: building cargo-deny once, below target/tools (some minutes)"
  cargo install cargo-deny --locked --quiet --root target/tools
fi
# The advisories need their database from the network: checked when it can be had, said when not.
cargo deny --log-level error check bans licenses sources
if ! timeout 60 cargo deny --log-level error fetch db >/dev/null 2>&1; then
  echo "deny: the advisory database cannot be fetched from here: advisories are not checked"
else
  cargo deny --log-level error check --disable-fetch advisories
fi
