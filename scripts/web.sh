#!/bin/bash
# The viewer app: `build` makes web/dist when it is older than its sources, `check` also runs its type check and its tests.
set -euo pipefail
. "$(dirname "$0")/env.sh"
what=${1:?usage: web.sh build|check}

install_modules() {
  if [ ! -e web/node_modules/.package-lock.json ] || [ web/package-lock.json -nt web/node_modules/.package-lock.json ]; then
    step "web: install packages" npm --prefix web ci --no-audit --no-fund --silent
    touch web/node_modules/.package-lock.json
  fi
}

is_built() {
  [ -e web/dist/index.html ] || return 1
  local newer
  newer=$(find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -newer web/dist/index.html -print -quit)
  [ -z "$newer" ]
}

build() {
  is_built && return
  install_modules
  step "web: build" npm --prefix web run --silent build
  touch web/dist/index.html
}

case $what in
  build) build ;;
  check)
    install_modules
    step "web: check" npm --prefix web run --silent check
    build
    ;;
esac
