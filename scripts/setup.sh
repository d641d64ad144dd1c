#!/bin/bash
# Installs what is missing for `run`, `test` or `bench`, by the system's packages; says what it does, and is silent and quick when
# everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:?usage: setup.sh run|test|bench}

# The oldest Node that the web build runs on, as major * 100 + minor (web/package.json, "engines").
NODE_MIN=2019
# The release line installed below target/ when the system's own is older (Debian 12 has 18).
NODE_LINE=22

packages=()

has() {
  command -v "$1" >/dev/null 2>&1
}

node_version() {
  "$1" --version 2>/dev/null | sed -E 's/^v([0-9]+)\.([0-9]+)\..*/\1 \2/' | awk '{ print $1 * 100 + $2 }'
}

node_is_new_enough() {
  local version
  version=$(node_version "$1" || true)
  [ -n "$version" ] && [ "$version" -ge "$NODE_MIN" ]
}

want() { # want COMMAND PACKAGE...
  has "$1" || packages+=("${@:2}")
}

install_packages() {
  [ ${#packages[@]} -gt 0 ] || return 0
  if ! has apt-get; then
    echo "setup: please install ${packages[*]} with your system's package manager, then run this again." >&2
    exit 1
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    has sudo || {
      echo "setup: please run as root: apt-get install ${packages[*]}" >&2
      exit 1
    }
    as_root=(sudo)
  fi
  echo "setup: installing ${packages[*]}"
  # A server that arrives as a package is not started: the bench starts its own. The index may be too old for the archive.
  install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
      apt-get install -y -q --no-install-recommends "${packages[@]}"
  }
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
  install
}

install_node() {
  local tools="$PWD/target/tools/node"
  if node_is_new_enough node || node_is_new_enough "$tools/bin/node"; then
    return 0
  fi
  local machine
  case $(uname -m) in
    x86_64) machine=x64 ;;
    aarch64 | arm64) machine=arm64 ;;
    *)
      echo "setup: please install Node 20.19 or newer; there is no build of it for $(uname -m) in the npm registry" >&2
      exit 1
      ;;
  esac
  echo "setup: the system's Node is too old for the web build: installing Node $NODE_LINE below target/tools"
  mkdir -p "$tools"
  npm install --no-save --no-audit --no-fund --silent --prefix "$tools/package" "node-linux-$machine@$NODE_LINE"
  mkdir -p "$tools/bin"
  ln -sf "../package/node_modules/node-linux-$machine/bin/node" "$tools/bin/node"
  node_is_new_enough "$tools/bin/node"
}

# What the tests start for themselves, on free ports: a browser, a database, servers to transfer to.
servers() {
  want chromium chromium
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || packages+=(postgresql)
  [ -x /usr/sbin/sshd ] || packages+=(openssh-server)
  [ -x /usr/sbin/vsftpd ] || packages+=(vsftpd)
  want openssl openssl
}

if ! has cargo; then
  echo "setup: Rust is missing: install it as https://rustup.rs says, then run this again." >&2
  exit 1
fi
want cc build-essential
want ffmpeg ffmpeg
want npm nodejs npm
[ -e /usr/share/fonts/truetype/dejavu ] || ! has apt-get || packages+=(fonts-dejavu-core)
case $purpose in
  test) servers ;;
  bench)
    servers
    [ -e /usr/lib/nginx/modules/ngx_rtmp_module.so ] || packages+=(nginx libnginx-mod-rtmp)
    ;;
esac
install_packages
install_node
