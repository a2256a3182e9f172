#!/usr/bin/env bash
# `load ab` on the real stack: a side against itself, nginx against a replica asked directly, and the cache on against off.
#
#   cargo build --release -p api -p lab -p loadgen && load-tests/ab.sh
#
# Two stacks run side by side, one of them with CACHE=off; load ab measures the sides in turns. Results:
# load-tests/results/ab/*.json and the page load-tests/results/ab.md.
set -euo pipefail
export LC_ALL=C

rounds=${ROUNDS:-10} length=${LENGTH:-2s} rate=${RATE:-200} note=${NOTE:-}
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
programs=${PROGRAMS:-target/release}
load=$programs/load lab=$programs/lab
results="load-tests/results/ab"
state=$(mktemp -d)

fail() { printf 'ab: %s\n' "$*" >&2; exit 2; }
for program in "$load" "$lab" "$programs/api"; do
  [ -x "$program" ] || fail "$program is missing: cargo build --release -p api -p lab -p loadgen"
done

finish() {
  for cache in on off; do "$lab" --state-dir "$state/$cache" down --purge >/dev/null 2>&1 || true; done
  rm -rf "$state"
}
trap finish EXIT

declare -A url
for cache in on off; do
  "$lab" --state-dir "$state/$cache" up --detach --env "CACHE=$cache" --port 0 >"$state/up.log" 2>&1 ||
    fail "the stack does not start: $(tail -n 5 "$state/up.log")"
  "$lab" --state-dir "$state/$cache" status --json >"$state/status.json"
  url[$cache]=$(sed -n 's/.*"base_url": "\([^"]*\)".*/\1/p' "$state/status.json")
  [ "$cache" = off ] || url[direct]=$(sed -n 's/.*"url": "\([^"]*\)".*/\1/p' "$state/status.json" | head -n 1)
  # Cold starts are not what is compared: first connections, first reads, the record in the cache.
  "$load" run "${url[$cache]}/data/1" --requests 300 --connections 3 >/dev/null
done

# Name, what the sides are, and their addresses. An invalid run (exit code 2) is part of the result, which says so.
compare() {
  printf '\n## %s\n\n' "$2"
  "$load" ab "$3/data/1" "$4/data/1" --rounds "$rounds" --rate "$rate" --duration "$length" --json "$results/$1.json" >"$state/$1.txt" ||
    [ $? -eq 2 ] || fail "$(cat "$state/$1.txt")"
  echo '```'
  # The ports are drawn at random, so they are named instead.
  sed "s|${url[on]}|http://stack|g; s|${url[direct]}|http://api-1|g; s|${url[off]}|http://stack-without-cache|g" "$state/$1.txt"
  echo '```'
}

mkdir -p "$results"
{
  echo "# load ab on the running stack"
  echo
  echo "Made by \`load-tests/ab.sh\` on $(nproc) cores ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)), Linux $(uname -r | cut -d- -f1):"
  echo "\`load ab A B --rounds $rounds --rate $rate --duration $length\`, each run \`GET /data/1\` in an open loop. $note"
  compare itself "A side against itself: no difference is to be found" "${url[on]}" "${url[on]}"
  compare nginx "Through nginx (A) against a replica asked directly (B)" "${url[on]}" "${url[direct]}"
  compare cache "The cache on (A) against off (B)" "${url[on]}" "${url[off]}"
} >"$state/ab.md"
mv "$state/ab.md" "$results.md"
cat "$results.md"
