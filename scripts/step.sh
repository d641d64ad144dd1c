#!/bin/bash
# Runs one step: its name, its output, and its seconds. STEPS, when set, is a file that collects the results.
set -u
if [ ! -t 1 ]; then
  export CARGO_TERM_COLOR=never NO_COLOR=1 FORCE_COLOR=0
fi
name=$1
shift
echo "==> $name"
start=$(date +%s)
"$@"
code=$?
seconds=$(($(date +%s) - start))
if [ "$code" -eq 0 ]; then
  result="ok"
else
  result="FAILED (exit code $code)"
fi
echo "<== $name: $result, $seconds s"
if [ -n "${STEPS:-}" ]; then
  printf '%5d s  %-34s %s\n' "$seconds" "$name" "$result" >>"$STEPS"
fi
exit "$code"
