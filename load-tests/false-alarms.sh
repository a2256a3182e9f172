#!/usr/bin/env bash
# Counts how often `load ab` reports a difference where there is none, by measuring one server against itself repeatedly.
#
#   cargo build --release -p loadgen && load-tests/false-alarms.sh
#
# One nginx on a separate core serves a constant answer. The result is the number of comparisons that reported a difference;
# one of twenty is accepted. (1,000 simulated comparisons are a test of the crate.)
set -euo pipefail
export LC_ALL=C

comparisons=${COMPARISONS:-20} rounds=${ROUNDS:-10} length=${LENGTH:-250ms} connections=${CONNECTIONS:-4} port=${PORT:-18981}
top=$(cd "$(dirname "$0")/.." && pwd)
load=${LOAD:-$top/target/release/load}
. "$top/load-tests/constant-nginx.sh"

alarms=0
for comparison in $(seq "$comparisons"); do
  taskset -c 1 "$load" ab "$url" "$url" --rounds "$rounds" -d "$length" -c "$connections" --no-control >"$folder/output" ||
    fail "comparison $comparison: $(tail -n 3 "$folder/output")"
  if grep -qE '^(Speed|Failures): B is' "$folder/output"; then
    alarms=$((alarms + 1))
    cat "$folder/output"
  fi
done
echo "$alarms of $comparisons comparisons of a server with itself called a difference ($rounds rounds of 2 × $length each)"
