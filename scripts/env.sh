# Sourced by the other scripts: our own tools first, and plain text when nobody watches.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
if [ -x target/tools/node/bin/node ]; then
  PATH="$PWD/target/tools/node/bin:$PATH"
fi
PATH="$PWD/target/tools/bin:$PATH"
export PATH
if [ ! -t 1 ]; then
  export CARGO_TERM_COLOR=never NO_COLOR=1 FORCE_COLOR=0
fi

step() {
  scripts/step.sh "$@"
}
