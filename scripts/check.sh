#!/bin/bash
# Everything that is judged without running the product.
set -euo pipefail
. "$(dirname "$0")/env.sh"
scripts/setup.sh run
scripts/web.sh check
step "formatting" cargo fmt --all --check
step "lints" cargo clippy --locked --workspace --all-targets -- -D warnings
step "house rules" cargo xtask tidy
step "licences and dependencies" scripts/deny.sh
