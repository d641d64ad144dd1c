#!/bin/bash
# Every check and every test, from a clean clone or again. Ends with a table of the steps and their seconds.
set -uo pipefail
. "$(dirname "$0")/env.sh"

mkdir -p target
# The random tests draw the same cases in every run: a red run says something about the change. To explore, run them by `cargo test`.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20261120}
STEPS=$(mktemp)
export STEPS
began=$(date +%s)

summary() {
  local code=$?
  echo
  cat "$STEPS"
  rm -f "$STEPS"
  local seconds=$(($(date +%s) - began))
  if [ "$code" -eq 0 ]; then
    echo "make test: ok, $seconds s"
  else
    echo "make test: FAILED, $seconds s"
  fi
  exit "$code"
}
trap summary EXIT
# A run that is stopped from outside is not a good one.
trap 'exit 129' HUP INT TERM

must() {
  step "$@" || exit 1
}

must "set-up" scripts/setup.sh test
must "web app" scripts/web.sh check
must "formatting" cargo fmt --all --check
must "house rules" cargo xtask tidy --no-generated
must "build everything" cargo test --locked --workspace --no-run --quiet
must "unit and integration tests" cargo test --locked --workspace --exclude e2e --quiet --lib --bins --test it
must "examples in the documentation" cargo test --locked --workspace --exclude e2e --quiet --doc
must "fuzz targets, 2 s each" scripts/fuzz.sh 2
must "end to end" scripts/e2e.sh
must "lints" cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
must "licences and dependencies" scripts/deny.sh
